"""Functions recorded once and run as optimised programs: `mg.compile`.

program    what a program is; `listing` prints it, `tensors` draws it
tracing    from a function to a program: what it does, and what it reads from outside
passes     from that program to the one that runs: loops found, products done at once
numpy      the NumPy back end: where every value lives, and straight-line source
numba      the numba back end: runs of operations and loops as one nopython function
compiled   what a user calls; an `entry` for each signature, a `node` on the tape
"""
