"""Neural networks: modules that hold parameters, composed from primitives."""

from .layers import Linear, Sequential
from .losses import cross_entropy, mse_loss
from .module import Module
from .recurrent import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell

__all__ = [
    "GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "Linear", "Module", "RNNCell", "Sequential",
    "cross_entropy", "mse_loss",
]  # fmt: skip
