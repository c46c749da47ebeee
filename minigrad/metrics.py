"""How good predictions are, as plain numbers: of arrays or tensors, and nothing flows back."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ._lazy import found as _found
from .core.context import no_grad
from .core.dtypes import Array, plain
from .core.tensor import ArrayLike, value_of
from .nn.arguments import whole
from .nn.losses import cross_entropy

__all__ = [
    "accuracy", "balanced_accuracy", "bits_per_character", "confusion_matrix", "rmse",
]  # fmt: skip


def accuracy(predicted: ArrayLike, labels: ArrayLike) -> float:
    """Return the share of labels that are predicted.

    Predictions are labels of the same shape, or scores with the classes on axis 1, as
    `cross_entropy` takes them: logits (N, C) or (N, C, T) for labels (N,) or (N, T). So they are
    for all metrics of classes. ValueError for other shapes, TypeError for what is no label.

    >>> accuracy([[2.0, 1.0], [0.0, 3.0]], [0, 0])
    0.5
    """
    p, y = _labels("accuracy", predicted, labels)
    return float((p == y).mean())


def confusion_matrix(
    predicted: ArrayLike, labels: ArrayLike, classes: int | None = None
) -> npt.NDArray[np.int64]:
    """Return how often a class, the row, is predicted to be one, the column: counts (C, C).

    Without `classes` there are as many as scores have columns, or as the largest label says.

    >>> confusion_matrix([0, 1, 1, 1], [0, 0, 1, 1]).tolist()
    [[1, 1], [0, 2]]
    """
    p, y = _labels("confusion_matrix", predicted, labels)
    if classes is None:
        scores = np.shape(predicted)
        classes = scores[1] if len(scores) > np.ndim(y) else 1 + int(max(p.max(), y.max()))
    n = whole("confusion_matrix", "classes", classes)
    if max(p.max(), y.max()) >= n:
        raise ValueError(
            f"confusion_matrix: labels must lie in 0 .. {n - 1}, not {max(p.max(), y.max())}"
        )
    return np.bincount((y * n + p).ravel(), minlength=n * n).reshape(n, n)


def balanced_accuracy(predicted: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean over classes of the share of its labels that is predicted.

    A class that is rare counts as much as any other; one that labels have not is left out.

    >>> balanced_accuracy([0, 0, 0, 0], [0, 0, 0, 1])
    0.5
    """
    counts = confusion_matrix(predicted, labels)
    rows = counts.sum(axis=1)
    return float((np.diag(counts)[rows > 0] / rows[rows > 0]).mean())


def bits_per_character(logits: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean of -log2 softmax(logits)[label]: bits to write a character down.

    Logits and labels are as in `cross_entropy`, which is this in nats.

    >>> bits_per_character(np.zeros((3, 8)), [0, 1, 2])
    3.0
    """
    with no_grad():
        nats = cross_entropy(np.asarray(value_of(logits), np.float64), labels).item()
    return float(nats / math.log(2))


def rmse(predicted: ArrayLike, target: ArrayLike) -> float:
    """Return the root of the mean squared error; ValueError for shapes that are not the same.

    >>> rmse([1.0, 2.0], [1.0, 4.0]).__round__(3)
    1.414
    """
    p, y = (plain(value_of(a), "rmse", "takes") for a in (predicted, target))
    if p.shape != y.shape or not p.size:
        raise ValueError(f"rmse: the shapes {p.shape} and {y.shape} must be the same, of numbers")
    return float(np.sqrt(np.mean((p.astype(float) - y) ** 2)))


def _labels(who: str, predicted: ArrayLike, labels: ArrayLike) -> tuple[Array, Array]:
    """Return predicted and true labels, of one shape."""
    p, y = (plain(value_of(a), who, "takes") for a in (predicted, labels))
    if p.ndim == y.ndim + 1 and p.ndim > 1:
        if not np.isfinite(p).all():
            raise ValueError(f"{who}: there are scores that are not finite")
        p = p.argmax(axis=1)
    for what, a in (("predictions", p), ("labels", y)):
        if a.dtype.kind not in "iub":
            raise TypeError(
                f"{who}: {what} must be integers, not {a.dtype}; of scores (N, C) the labels "
                "are (N,)"
            )
    if p.shape != y.shape or not y.size:
        raise ValueError(
            f"{who}: there must be one prediction for each label, not shapes {np.shape(predicted)} "
            f"and {y.shape}"
        )
    if min(p.min(), y.min()) < 0:
        raise ValueError(f"{who}: labels count from 0; there is {min(p.min(), y.min())}")
    return p.astype(np.int64), y.astype(np.int64)


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        return _found(name, __name__, {})  # an error, which says what to write
