"""Is it right? Derivatives held against witnesses, and what users state themselves.

differences central differences that know how far off they are
gradients   derivatives held against them; `check_grads`
rows        manual against automatic: one entry
compare     the report of all entries; `compare`
witness     whom to believe: differences of the user's own function
inputs      what a user's functions take: the arrays in it by name
calling     what a backward pass is called with
returned    whose gradients it returns
runs        both passes, run
passes      a backward pass beside its forward pass; `compare_backward`
chain_rule  the chain rule of a small graph, written out
laws        what every primitive must obey; `check_primitive`
debug       stop at the first NaN, and say where it came from
custom      hand-written backward passes in training; `custom_vjp`
"""
