"""Optimisers, schedules of learning rates, clipping of gradients, averages of weights."""

from typing import TYPE_CHECKING

from .._lazy import found as _found
from .clipping import clip_grad_norm_, clip_grad_value_
from .methods import SGD, Adadelta, Adagrad, Adam, AdamW, Lion, NAdam, RMSprop
from .optimizer import Optimizer

__all__ = [
    "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Lion", "NAdam", "Optimizer", "RMSprop",
    "clip_grad_norm_", "clip_grad_value_",
]  # fmt: skip

if not TYPE_CHECKING:

    def __getattr__(name):
        return _found(name, __name__, {})  # an error, which says what to write
