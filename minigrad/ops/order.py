"""By order: sorted, partitioned, and the quantiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.context import tracing
from ..core.dtypes import Array
from ..core.primitive import Case
from ..core.tensor import (
    ArrayLike,
    Tensor,
    as_floating,
    as_tensor,
    checked,
    numbers_of,
    op,
    value_of,
)
from .families import Axis, kept_shape, operation
from .reduce import rows_over

__all__ = ["median", "partition", "percentile", "quantile", "sort"]


def _sorts(r: Any) -> list[Case]:
    return [
        Case.of(r(4)), Case.of(r(2, 3), axis=0), Case.of(r(2, 3), axis=None),
        Case.of(r(4, 3).T[::2], axis=-1), Case.of(r(0, 2), axis=0),
    ]  # fmt: skip


@operation(np.sort, _sorts)
def sort(a: ArrayLike, axis: int | None = -1, *, stable: bool = True) -> Tensor:
    """Return the elements in order along `axis` (None: of all); among equals the first stays first."""
    t = as_tensor(a)
    return op(np.take_along_axis)(t, np.argsort(numbers_of(t), axis, kind="stable"), axis)


@operation(np.partition, lambda r: [Case.of(r(5), 2), Case.of(r(2, 4), (0, -2), axis=0)])
def partition(a: ArrayLike, kth: int | Sequence[int], axis: int | None = -1) -> Tensor:
    """Return the elements with the kth in its place: none greater before it, none smaller after."""
    t = as_tensor(a)
    return op(np.take_along_axis)(t, np.argpartition(numbers_of(t), kth, axis), axis)


@operation(
    np.quantile,
    lambda r: [
        Case.of(r(5), 0.3), Case.of(r(2, 4), np.array([0, 1]), axis=1),
        Case.of(r(2, 3, 2), 0.6, axis=(0, -1), keepdims=True), Case.of(r(3, 2).T, 0.5, axis=0),
    ],
)  # fmt: skip
def quantile(a: ArrayLike, q: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """Return what a share q of the values lies below, linear between the two neighbours in order.

    Of the methods of `numpy.quantile` this is "linear"; q is constant. NaN gives NaN.
    """
    if isinstance(q, Tensor) and q.live:
        raise TypeError("quantile: gradients do not flow through 'q'; detach() it")
    is_traced = isinstance(q, Tensor) and tracing() is not None
    t = as_floating(a)
    share_of: Any = q if is_traced else np.asarray(value_of(q))
    checked(_are_shares, share_of)
    rows, _ = rows_over(t, axis)
    if not len(rows):
        raise ValueError(f"quantile: of no elements, along axis {axis} of shape {t.shape}")
    place = share_of * (len(rows) - 1)
    low, high = np.floor(place).astype(int), np.ceil(place).astype(int)
    wanted = range(len(rows)) if is_traced else np.unique((low, high))
    share = (place - low).astype(t.dtype).reshape(share_of.shape + (1,) * (rows.ndim - 1))
    order = np.argpartition(numbers_of(rows), wanted, axis=0)
    columns = np.indices(rows.shape[1:], sparse=True)
    below, above = (rows[(order[k], *columns)] for k in (low, high))
    u, v = numbers_of(below), numbers_of(above)
    far = (u == np.inf) | ((u == -np.inf) & (v < np.inf))  # then on the way is where it starts
    z: Tensor = below + (np.where(far, 0, above) - np.where(far, 0, below)) * share
    gaps = np.isnan(numbers_of(rows)).any(0)
    if tracing() or gaps.any():
        z = z * np.where(gaps, np.nan, np.ones((), t.dtype))
    return z.reshape(share_of.shape + kept_shape(t.shape, axis)) if keepdims else z


def _are_shares(q: Array) -> None:
    if not ((q >= 0) & (q <= 1)).all():
        raise ValueError(f"quantile: q is a share from 0 to 1, not {q}")


@operation(np.percentile, lambda r: [Case.of(r(5), 30), Case.of(r(2, 3), 70, axis=0)])
def percentile(a: ArrayLike, q: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """Return what q percent of the values lie below: see `quantile`."""
    return quantile(
        a, (q if isinstance(q, Tensor) else np.asarray(q)) / 100, axis, keepdims=keepdims
    )


@operation(
    np.median,
    lambda r: [Case.of(r(5)), Case.of(r(2, 4), axis=-1), Case.of(r(2, 3), axis=(0, 1), keepdims=True)],
)  # fmt: skip
def median(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """Middle of the values in order; of an even number, the mean of the two in the middle."""
    return quantile(a, 0.5, axis, keepdims=keepdims)
