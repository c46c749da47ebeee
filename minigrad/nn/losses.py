"""Losses."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.dtypes import plain
from ..core.tensor import Tensor, value_of
from ..ops.elementwise import square
from ..ops.reduce import log_softmax, mean

__all__ = ["cross_entropy", "mse_loss"]


def mse_loss(prediction: Tensor, target: Any) -> Tensor:
    """Mean of the squared differences; shapes must be equal, so that nothing broadcasts unseen."""
    if np.shape(prediction) != np.shape(target):
        raise ValueError(
            f"mse_loss: the prediction has shape {np.shape(prediction)}, "
            f"the target {np.shape(target)}"
        )
    return mean(square(prediction - target))


def cross_entropy(logits: Tensor, labels: Any) -> Tensor:
    """Mean of -log softmax(logits)[label]; logits (..., classes), integer labels (...)."""
    classes = plain(value_of(labels), "cross_entropy", "takes")
    if classes.dtype.kind not in "iu" or classes.shape != logits.shape[:-1]:
        raise ValueError(
            f"cross_entropy: logits of shape {logits.shape} need integer labels of shape "
            f"{logits.shape[:-1]}, not {classes.dtype} of shape {classes.shape}"
        )
    if classes.size and not 0 <= classes.min() <= classes.max() < logits.shape[-1]:
        raise ValueError(f"cross_entropy: labels must lie in 0 .. {logits.shape[-1] - 1}")
    rows = log_softmax(logits).reshape(-1, logits.shape[-1])
    chosen: Tensor = rows[np.arange(classes.size), classes.ravel()]
    return -mean(chosen)
