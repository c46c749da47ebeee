"""The training loop, what it saw, and what may stop it."""

from typing import TYPE_CHECKING

from .._lazy import found as _found
from .callbacks import Callback, CellDistance
from .history import History
from .loop import fit

__all__ = ["Callback", "CellDistance", "History", "fit"]

if not TYPE_CHECKING:

    def __getattr__(name):
        return _found(name, __name__, {})  # an error, which says what to write
