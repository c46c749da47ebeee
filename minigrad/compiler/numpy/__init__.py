"""The NumPy back end: where every value lives, and programs as straight-line Python."""
