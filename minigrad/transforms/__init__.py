"""Functions of functions.

arguments  what the caller passes, and what is refused of it
modules    modules as arguments: containers of their parameters
autodiff   derivatives
replay     what a function needs to repeat itself
scan       loops over time, and memory
vector     a container as one vector
"""
