"""Losses."""

from __future__ import annotations

import numpy as np

from ..core.dtypes import plain
from ..core.tensor import ArrayLike, Tensor, as_tensor, value_of
from ..ops.elementwise import square
from ..ops.reduce import log_softmax, mean

__all__ = ["cross_entropy", "mse_loss"]


def mse_loss(prediction: ArrayLike, target: ArrayLike) -> Tensor:
    """Return the mean of the squared differences; the shapes must be equal: nothing broadcasts."""
    shape, wanted = np.shape(prediction), np.shape(target)
    if shape != wanted:
        raise ValueError(f"mse_loss: the prediction has shape {shape}, the target {wanted}")
    _require_rows("mse_loss", shape)
    return mean(square(as_tensor(prediction) - target))


def cross_entropy(logits: ArrayLike, labels: ArrayLike) -> Tensor:
    """Return the mean of -log softmax(logits)[label]: logits (..., classes), integer labels (...).

    ValueError for labels that are not integers 0 .. classes - 1, or of another shape.
    """
    given, classes = as_tensor(logits), plain(value_of(labels), "cross_entropy", "takes")
    shape = given.shape
    if not shape:
        raise ValueError("cross_entropy: logits must have an axis of classes, and are one number")
    if classes.dtype.kind not in "iu" or classes.shape != shape[:-1]:
        raise ValueError(
            f"cross_entropy: logits of shape {shape} need integer labels of shape {shape[:-1]}, "
            f"not {classes.dtype} of shape {classes.shape}"
        )
    _require_rows("cross_entropy", shape)
    if not 0 <= classes.min() <= classes.max() < shape[-1]:
        raise ValueError(f"cross_entropy: labels must lie in 0 .. {shape[-1] - 1}")
    rows = log_softmax(given).reshape(-1, shape[-1])
    return -mean(rows[np.arange(classes.size), classes.ravel()])


def _require_rows(who: str, shape: tuple[int, ...]) -> None:
    """Raise ValueError for an empty batch: the mean of nothing is nan."""
    if 0 in shape:
        raise ValueError(f"{who}: there is nothing to take the mean of in shape {shape}")
