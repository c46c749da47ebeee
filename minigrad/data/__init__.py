"""Batches of arrays, lists and sequences; windows, streams and splits of what they are made of."""

from typing import TYPE_CHECKING

from .._lazy import found as _found
from .arrays import batches, padded
from .loader import DataLoader, class_weights
from .series import Streams, split, windows

__all__ = ["DataLoader", "Streams", "batches", "class_weights", "padded", "split", "windows"]

if not TYPE_CHECKING:

    def __getattr__(name):
        return _found(name, __name__, {})  # an error, which says what to write
