"""Tables and noise: embedding, one-hot vectors, dropout; composed from primitives."""

from __future__ import annotations

import operator
from functools import partial
from typing import Any

import numpy as np

from ..core.context import tracing
from ..core.dtypes import Array, DType, get_default_dtype, plain
from ..core.tensor import ArrayLike, Tensor, checked, op, tensor, value_of
from ..transforms.checkpoint import drawn, source

__all__ = ["dropout", "embedding", "one_hot"]


def embedding(weight: ArrayLike, indices: ArrayLike) -> Tensor:
    """Rows of weight (rows, ...) by integer indices of any shape: (*indices, ...).

    The gradient of a row is the sum over all places that read it. Negative indices are refused.

    >>> embedding(np.array([[0.0, 1.0], [2.0, 3.0]]), [1, 1, 0])
    tensor([[2., 3.],
            [2., 3.],
            [0., 1.]], dtype=float64)
    """
    shape = np.shape(weight)
    if not shape:
        raise ValueError("embedding: weight must have rows, and is a single number")
    index = _whole_numbers("embedding: indices", indices, shape[0], f"weight of shape {shape}")
    return op(operator.getitem)(weight, index=index)


def one_hot(labels: ArrayLike, classes: int, dtype: DType = None) -> Array:
    """Array (*labels, classes) with 1 at each label and 0 elsewhere: a constant of the graph.

    >>> one_hot([2, 0], 3)
    array([[0., 0., 1.],
           [1., 0., 0.]], dtype=float32)
    """
    index = _whole_numbers("one_hot: labels", labels, classes, f"classes={classes}")
    hot: Array = (index if tracing() else value_of(index))[..., None] == np.arange(classes)
    return hot.astype(dtype or get_default_dtype())


def dropout(x: ArrayLike, p: float, rng: np.random.Generator, training: bool = True) -> Tensor:
    """Zero each element with probability p, and divide the others by 1 - p; x when not training.

    The mask is drawn from `rng`, whose state alone decides it, and is a constant of the graph.
    Source: Srivastava et al., 2014, in the inverted form.

    >>> dropout(np.ones(6), 0.5, np.random.default_rng(0))
    tensor([2., 2., 2., 0., 0., 0.], dtype=float64)
    """
    if not 0 <= p < 1:
        raise ValueError(f"dropout: p must be in [0, 1), the part that is dropped, not {p!r}")
    t = x if isinstance(x, Tensor) else tensor(x)
    if not training or p == 0:
        return t
    if not isinstance(rng, np.random.Generator):
        raise TypeError(
            f"dropout: rng must be a generator, np.random.default_rng(seed), not {rng!r}: a seed "
            "would draw the same mask at every call"
        )
    kept: Array = drawn(source(rng), "random", t.shape, dtype=np.float32) >= p
    return t * (kept.astype(t.dtype) * (1 / (1 - p)))


def _whole_numbers(what: str, values: Any, n: int, where: str) -> Any:
    """Return the values, as integers; IndexError unless they lie in 0 .. n - 1."""
    is_tensor = isinstance(values, Tensor)
    index = values if is_tensor else plain(values, what.partition(":")[0], "takes")
    if index.dtype.kind not in "iu":
        if index.size:
            raise TypeError(f"{what} must be integers, not {index.dtype}")
        index = index.astype(int)
    checked(partial(_in_range, what, n, where), index)
    return index


def _in_range(what: str, n: int, where: str, index: Array) -> None:
    if index.size and not 0 <= index.min() <= index.max() < n:
        raise IndexError(
            f"{what} must lie in 0 .. {n - 1}, for {where}; got {index.min()} .. {index.max()}"
        )
