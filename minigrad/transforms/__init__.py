"""Functions of functions.

arguments   what the caller passes, and what is refused of it
modules     modules as arguments: containers of their parameters
autodiff    derivatives
checkpoint  memory: what is inside a function is forgotten, and computed again
scan        loops over time
constants   what no gradient flows through
flatten     a container as one vector
"""
