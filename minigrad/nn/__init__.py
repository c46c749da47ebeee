"""Neural networks: modules that hold parameters, composed from primitives."""

# ruff: noqa: F403  (the pages say what is public)

from typing import TYPE_CHECKING

from .._lazy import found as _found
from .activations import *
from .attention import *
from .cells import GRUCell as GRUCell
from .cells import LSTMCell as LSTMCell
from .cells import RNNCell as RNNCell
from .containers import *
from .conv import *
from .layers import *
from .loss_modules import *
from .losses import *
from .module import Module as Module
from .norms import *
from .recurrent import *
from .resizing import *
from .state import functional_call as functional_call
from .transformer import *

if not TYPE_CHECKING:
    __all__ = [name for name, what in globals().items() if callable(what) and name[0] != "_"]

    def __getattr__(name):
        return _found(name, __name__, {})  # an error, which says what to write
