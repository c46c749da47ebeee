"""Batches of arrays once through, and sequences side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.dtypes import Array, plain, require_plain
from ..core.tensor import Tensor
from ..guard.errors import shown
from ..nn.arguments import flag, whole

__all__ = ["batches", "padded"]


def batches(
    *arrays: npt.ArrayLike, size: int, rng: np.random.Generator | None = None
) -> Iterator[tuple[Array, ...]]:
    """Yield rows of the arrays in batches of at most `size`, shuffled if a generator is given.

    The last batch may be smaller. ValueError for arrays of different lengths.

    >>> [x.tolist() for (x,) in batches([1, 2, 3], size=2)]
    [[1, 2], [3]]
    """
    size = whole("batches", "size", size)
    if not arrays:
        raise TypeError("batches: give arrays, as in batches(x, y, size=32)")
    for a in arrays:
        require_plain(a, "batches", "takes")
    given: list[Any] = [a if isinstance(a, Tensor) else np.asarray(a) for a in arrays]
    for a, what in zip(given, arrays, strict=True):
        if not a.ndim:
            raise TypeError(f"batches: give arrays with rows, not {shown(what)}")
    n = len(given[0])
    if any(len(a) != n for a in given):
        raise ValueError(f"batches: the lengths {[len(a) for a in given]} must be equal")
    if rng is not None and not isinstance(rng, np.random.Generator):
        raise TypeError(
            f"batches: rng must be a generator, not {shown(rng)}, which would give the same order "
            "in every epoch; write rng = np.random.default_rng(seed) once, before the loop"
        )
    order = np.arange(n) if rng is None else rng.permutation(n)
    return _batches(given, order, size)


def _batches(arrays: list[Any], order: Array, size: int) -> Iterator[tuple[Array, ...]]:
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        yield tuple([a[rows] for a in arrays])


def padded(
    sequences: Sequence[npt.ArrayLike], *, batch_first: bool = False
) -> tuple[Array, npt.NDArray[np.int64]]:
    """Return sequences (T_k, ...) side by side, (T, B, ...), zeros beyond the ends; and the T_k.

    What recurrent layers take: `hs, last = lstm(x, lengths=lengths)`. With `batch_first` the array
    is (B, T, ...). ValueError for sequences that are empty, or whose steps have several shapes.

    >>> x, lengths = padded([[1.0, 2.0, 3.0], [4.0]])
    >>> x.tolist(), lengths.tolist()
    ([[1.0, 4.0], [2.0, 0.0], [3.0, 0.0]], [3, 1])
    """
    rows = [plain(s, "padded", "takes sequences of arrays, it") for s in sequences]
    if not rows:
        raise ValueError("padded: give at least one sequence")
    steps = [a.shape[1:] if a.ndim and len(a) else None for a in rows]
    for k, shape in enumerate(steps):
        if shape is None:
            raise ValueError(
                f"padded: every sequence must have at least one step; sequence {k} has shape "
                f"{rows[k].shape}"
            )
        if shape != steps[0]:
            raise ValueError(
                f"padded: the steps of all sequences must have one shape; those of sequence 0 have "
                f"{steps[0]}, those of sequence {k} {shape}"
            )
    lengths = np.array([len(a) for a in rows])
    out = np.zeros((len(rows), lengths.max(), *rows[0].shape[1:]), np.result_type(*rows))
    for k, a in enumerate(rows):
        out[k, : len(a)] = a
    return (out if flag("padded", "batch_first", batch_first) else out.swapaxes(0, 1)), lengths
