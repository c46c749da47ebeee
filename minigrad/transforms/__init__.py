"""Functions of functions: derivatives (`autodiff`), and loops and memory (`scan`)."""
