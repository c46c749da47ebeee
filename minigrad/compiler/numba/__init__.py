"""The numba back end: runs of operations and loops as nopython functions."""
