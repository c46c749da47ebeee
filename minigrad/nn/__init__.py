"""Neural networks: modules that hold parameters, composed from primitives."""

from typing import TYPE_CHECKING

from .._lazy import found as _found
from .containers import ModuleDict, ModuleList, Sequential
from .conv import (
    AvgPool1d,
    AvgPool2d,
    Conv1d,
    Conv2d,
    ConvTranspose1d,
    ConvTranspose2d,
    MaxPool1d,
    MaxPool2d,
)
from .layers import BatchNorm1d, BatchNorm2d, Dropout, Embedding, LayerNorm, Linear
from .losses import cross_entropy, mse_loss
from .module import Module
from .recurrent import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell

__all__ = [
    "GRU", "LSTM", "RNN", "AvgPool1d", "AvgPool2d", "BatchNorm1d", "BatchNorm2d", "Conv1d",
    "Conv2d", "ConvTranspose1d", "ConvTranspose2d", "Dropout", "Embedding", "GRUCell", "LSTMCell",
    "LayerNorm", "Linear", "MaxPool1d", "MaxPool2d", "Module", "ModuleDict", "ModuleList",
    "RNNCell", "Sequential", "cross_entropy", "mse_loss",
]  # fmt: skip

if not TYPE_CHECKING:

    def __getattr__(name):
        return _found(name, __name__, {})  # an error, which says what to write
