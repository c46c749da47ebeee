"""Batches and windows of arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["batches", "windows"]

Array = npt.NDArray[Any]


def windows(series: Any, length: int) -> tuple[Array, Array]:
    """Cut a series (N,) into windows (N - length, length) and the value after each (N - length,).

    >>> x, y = windows([1.0, 2.0, 3.0, 4.0], 2)
    >>> x.tolist(), y.tolist()
    ([[1.0, 2.0], [2.0, 3.0]], [3.0, 4.0])
    """
    values = np.asarray(series)
    if values.ndim != 1:
        raise ValueError(f"windows: the series must have one axis, not shape {values.shape}")
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise ValueError(
            f"windows: the series has {bad.size} value(s) that are not finite, the first at "
            f"position {bad[0]} ({values[bad[0]]}); fill or cut them first"
        )
    if not 1 <= length < len(values):
        raise ValueError(
            f"windows: a series of {len(values)} values has no windows of {length} and a next value"
        )
    return np.lib.stride_tricks.sliding_window_view(values, length)[:-1].copy(), values[length:]


def batches(
    *arrays: Array, size: int, rng: np.random.Generator | None = None
) -> Iterator[tuple[Array, ...]]:
    """Yield rows of the arrays in batches of at most `size`, shuffled if a generator is given."""
    n = len(arrays[0])
    if size < 1 or any(len(a) != n for a in arrays):
        raise ValueError(
            f"batches: size {size} must be positive, and lengths {[len(a) for a in arrays]} equal"
        )
    order = np.arange(n) if rng is None else rng.permutation(n)
    for start in range(0, n, size):
        rows = order[start : start + size]
        yield tuple([a[rows] for a in arrays])
