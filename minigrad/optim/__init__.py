"""Optimisers, schedules of learning rates, clipping of gradients, averages of weights."""

from typing import TYPE_CHECKING

from .._lazy import found as _found
from .averaging import AveragedModel, update_bn
from .clipping import clip_grad_norm_, clip_grad_value_
from .lr_scheduler import (
    ChainedScheduler,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    LinearWarmup,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)
from .methods import SGD, Adadelta, Adagrad, Adam, AdamW, Lion, NAdam, RMSprop
from .optimizer import Optimizer
from .scipys import minimize

__all__ = [
    "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "AveragedModel", "ChainedScheduler",
    "CosineAnnealingLR", "ExponentialLR", "LRScheduler", "LambdaLR", "LinearLR", "LinearWarmup",
    "Lion", "MultiStepLR", "NAdam", "OneCycleLR", "Optimizer", "RMSprop", "ReduceLROnPlateau",
    "SequentialLR", "StepLR", "clip_grad_norm_", "clip_grad_value_", "minimize", "update_bn",
]  # fmt: skip

if not TYPE_CHECKING:

    def __getattr__(name):
        return _found(name, __name__, {})  # an error, which says what to write
