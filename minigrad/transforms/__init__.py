"""Functions of functions.

modules   modules as arguments: containers of their parameters
autodiff  derivatives
scan      loops over time, and memory
vector    a container as one vector
"""
