"""Indexing: reading with any of NumPy's indices, and functional writing."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from ..primitive import Case, Primitive, general, linear, operation
from ..tape import Outputs, Pending
from ..tensor import OPS, At, Tensor, plain_index, value_of

__all__ = ["getitem", "index_add", "index_set", "take"]


_BASIC = {int, slice, type(None), type(Ellipsis)}


def _is_basic(index: Any) -> bool:
    """Whether an index makes a view, so that no element is named twice."""
    return _BASIC.issuperset(map(type, index if isinstance(index, tuple) else (index,)))


def _add_at(a: Any, index: Any, b: Any) -> None:
    """Add b to a at the index, once for every time an element is named."""
    if _is_basic(index) or (isinstance(index, np.ndarray) and index.dtype.kind == "b"):
        a[index] += b
    else:
        np.add.at(a, index, b)


def _getitem(a: Any, *, index: Any) -> Any:
    return a[index]


def _scatter(*gs: Any, indices: tuple[Any, ...], shape: tuple[int, ...]) -> Any:
    """Add every g at its index of an array of zeros: the transpose of indexing, many at once."""
    out = np.zeros(shape, gs[0].dtype)
    for index, g in zip(indices, gs, strict=True):
        _add_at(out, index, g)
    return out


def _index_set(a: Any, values: Any, *, index: Any) -> Any:
    """Copy a with the values at the index."""
    out = np.array(a, dtype=np.result_type(a, values))
    out[index] = values
    return out


def _index_add(a: Any, values: Any, *, index: Any) -> Any:
    """Copy a with the values added at the index, once for every time an element is named."""
    out = np.array(a, dtype=np.result_type(a, values))
    _add_at(out, index, values)
    return out


def _zeroed(g: Any, index: Any) -> Any:
    return index_set.like_numpy(g, 0, index=index)


INDICES: tuple[Any, ...] = (
    0, -1, slice(1, None), slice(None, None, -2), (slice(None), 1), (Ellipsis, None, 0), (), None,
    np.array([0, 0, 2]), (np.array([0, 2]), np.array([1, 1])), np.array([[0], [1]]),
    (slice(None), np.array([1, 1, 0])), np.array([True, False, True]), np.array([], dtype=int),
)  # fmt: skip


def _reads(r: Any) -> list[Case]:
    return [Case.of(r(3, 2), index=index) for index in INDICES]


def _writes(r: Any) -> list[Case]:
    return [
        Case.of(r(3, 2), r(*np.zeros((3, 2))[index].shape), index=index)
        for index in (0, (slice(None), 1), np.array([2, 0]), np.array([True, False, True]))
    ] + [Case.of(r(3, 2), r(), index=slice(1, None))]


getitem = linear(
    _getitem,
    lambda g, z, a, index: Pending(scatter.like_numpy, a, index, g),
    key=operator.getitem,
    name="getitem",
    samples=_reads,
)
scatter: Primitive = linear(
    _scatter,
    each=lambda k, g, z, *gs, indices, shape: g[indices[k]],
    name="scatter",
    samples=lambda r: [
        Case.of([r(2), r(2), r(2, 2)], indices=(0, 0, np.array([1, 1])), shape=(3, 2)),
        Case.of([r(3)], indices=((slice(None), 1),), shape=(3, 2)),
    ],
)


def _pick(outputs: Any, *, k: int) -> Any:
    return outputs[k]


def _pull_pick(g: Any, z: Any, outputs: Any, k: int) -> Any:
    def assembled(*gs: Any, indices: tuple[int, ...], shape: None) -> Outputs:
        """Sum what came for each output; zeros for an output that was not used."""
        parts: list[Any] = [np.zeros_like(v) for v in value_of(outputs)]
        for k, g in zip(indices, gs, strict=True):
            parts[k] = parts[k] + g
        return Outputs(parts)

    return Pending(assembled, outputs, k, g)


pick = general(
    _pick,
    key=Outputs,
    name="pick",
    pulls=[_pull_pick],
    pushes=[lambda d, z, outputs, k: d[k]],
    samples=lambda r: [],
)
index_set = linear(
    _index_set,
    lambda g, z, a, values, index: _zeroed(g, index),
    lambda g, z, a, values, index: g[index],
    key=At.set,
    name="index_set",
    samples=_writes,
)
index_add = linear(
    _index_add,
    lambda g, z, a, values, index: g,
    lambda g, z, a, values, index: g[index],
    key=At.add,
    name="index_add",
    samples=_writes,
)


@operation(np.take, lambda r: [Case.of(r(3, 2), np.array([[0, 2]])), Case.of(r(3, 2), 1, axis=-1)])
def take(a: Any, indices: Any, axis: int | None = None) -> Tensor:
    """Read whole slices along `axis` (None: from the flattened array)."""
    if axis is None:
        return getitem(OPS[np.ravel](a), plain_index(indices))
    return getitem(a, (*(slice(None),) * (axis % np.ndim(a)), np.asarray(plain_index(indices))))
