"""Saving and loading: weights and whole trainings, in files that hold nothing executable.

A file appears whole or not at all, and is checked before anything is changed.
"""

from typing import TYPE_CHECKING

from .._lazy import found as _found
from .checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from .weights import load, save

__all__ = ["load", "load_checkpoint", "read_checkpoint", "save", "save_checkpoint"]

if not TYPE_CHECKING:

    def __getattr__(name):
        return _found(name, __name__, {})  # an error, which says what to write
