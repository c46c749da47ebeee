"""Indexing: reading, functional writing, and what NumPy rearranges and looks up."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from types import EllipsisType
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.array_utils import normalize_axis_index
from numpy.lib.stride_tricks import sliding_window_view

from ..core.dtypes import Array, plain
from ..core.primitive import Case, Primitive, Samples
from ..core.tape import Deferred, Outputs
from ..core.tensor import (
    BASIC,
    ArrayLike,
    At,
    Tensor,
    as_tensor,
    checked,
    numbers_of,
    op,
    plain_index,
    value_of,
)  # fmt: skip
from .families import Axis, general, linear, operation, untracked

__all__ = [
    "compress", "delete", "extract", "getitem", "index_add", "index_multiply", "index_set",
    "interp", "pad", "repeat", "resize", "select", "take", "take_along_axis", "tile",
]  # fmt: skip

Index: TypeAlias = int | slice | EllipsisType | Array | Sequence[int] | tuple[Any, ...] | None


def _names_once(index: Any) -> bool:
    """Whether an index cannot name an element twice: it makes a view, or is a mask."""
    if isinstance(index, np.ndarray):
        return bool(index.dtype.kind == "b")
    return BASIC.issuperset(map(type, index if isinstance(index, tuple) else (index,)))


def add_at(a: Array, index: Any, b: Any) -> None:
    """Add b to a at the index, once for every time an element is named.

    Element by element in flat memory is NumPy's fast path: 2 to 5 times faster than by rows, and
    faster than sorting or counting, but for the few (see `benchmarks/bench_ops.py`).
    """
    if _names_once(index):
        a[index] += b
    elif np.size(b) > 200 and (places := _flat_places(index, a)) is not None:
        if np.shape(b) != places.shape:
            b = np.broadcast_to(b, places.shape)
        np.add.at(a.reshape(-1), places.reshape(-1), b.reshape(-1).astype(a.dtype, copy=False))
    else:
        np.add.at(a, index, b)


def _flat_places(index: Any, a: Array) -> Any:
    """Return the places in flat memory of what an index names; None where that would cost more."""
    first, *others = index if isinstance(index, tuple) else (index,)
    if not a.flags.c_contiguous or len(others) >= a.ndim:
        return None
    if _is_integer(first) and all(map(_is_integer, others)):
        places = np.asarray(first, np.intp)  # less than 0, or too large, it is so in memory too
        for k, n in zip(others, a.shape[1:], strict=False):
            places = places * n + np.arange(n)[k]
        rest = a.shape[1 + len(others) :]
        inside = np.arange(math.prod(rest)).reshape(rest)
        return np.add.outer(places * inside.size, inside)
    return np.arange(a.size).reshape(a.shape)[index] if 4 * a[index].size > a.size else None


def _is_integer(x: Any) -> bool:
    return x.dtype.kind in "iu" if isinstance(x, np.ndarray) else isinstance(x, (int, np.integer))


def _getitem(a: Array, *, index: Index) -> Any:
    return a[index]


def _scatter(*gs: Array, indices: tuple[Any, ...], shape: tuple[int, ...]) -> Any:
    """Add every g at its index of an array of zeros: the transpose of indexing, many at once."""
    out = np.zeros(shape, gs[0].dtype)
    for index, g in zip(indices, gs, strict=True):
        add_at(out, index, g)
    return out


def _index_set(a: Array, values: Array, *, index: Index) -> Any:
    """Copy a with the values at the index."""
    out = np.array(a, dtype=np.result_type(a, values))
    out[index] = values
    return out


def _index_add(a: Array, values: Array, *, index: Index) -> Any:
    """Copy a with the values added at the index, once for every time an element is named."""
    out = np.array(a, dtype=np.result_type(a, values), order="C")
    add_at(out, index, values)
    return out


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


def _rewrites(r: Any) -> list[Case]:
    """Samples that name elements more than once."""
    twice = np.array([0, 2, 0])
    return [*_writes(r), Case.of(r(3, 2), r(3, 2), index=twice), Case.of(r(3), r(), index=twice)]


def _pull_set(g: Any, z: Any, a: Any, values: Any, index: Any) -> Any:
    """Return the cotangent of every value, 0 for one that a later one has overwritten."""
    if np.ndim(values) == 0 and isinstance(index, np.ndarray) and index.dtype == bool:
        return _without(g, index)
    read = g[index]
    if _names_once(index):
        return read
    return np.where(_is_last(index, read.shape, a.shape), read, 0)


@untracked
def _is_last(index: Any, shape: tuple[int, ...], whole: tuple[int, ...]) -> Array:
    """Return which of the places that an index names are not named again later."""
    order, last = np.arange(math.prod(shape)).reshape(shape), np.zeros(whole, int)
    last[index] = order
    return np.asarray(last[index] == order)


def _without(g: Any, mask: Any) -> Any:
    """Return g where a mask holds and 0 elsewhere; the mask may have fewer axes."""
    return np.where(mask.reshape(mask.shape + (1,) * (g.ndim - mask.ndim)), g, 0)


def _scattered(parts: list[Any], like: Any) -> Any:
    indices, gs = zip(*parts, strict=True)
    return scatter.like_numpy(*gs, indices=indices, shape=like.shape)


getitem = linear(
    _getitem,
    lambda g, z, a, index: Deferred(_scattered, a, (index, g)),
    key=operator.getitem,
    samples=_reads,
)
scatter: Primitive = linear(
    _scatter,
    together=lambda wanted, g, z, *gs, indices, shape: [g[index] for index in indices],
    samples=lambda r: [
        Case.of([r(2), r(2), r(2, 2)], indices=(0, 0, np.array([1, 1])), shape=(3, 2)),
        Case.of([r(3)], indices=((slice(None), 1),), shape=(3, 2)),
    ],
)


def _pick(outputs: Any, *, k: int) -> Any:
    return outputs[k]


def _assembled(parts: list[Any], like: Any) -> Outputs:
    """Sum what came for each of several outputs; zeros for an output that was not used."""
    values = value_of(like)
    sums: list[Any] = [None] * len(values)
    for k, g in parts:
        sums[k] = g if sums[k] is None else sums[k] + g
    return Outputs(
        [np.zeros_like(v) if g is None else g for g, v in zip(sums, values, strict=True)]
    )


pick = general(
    _pick,
    key=Outputs,
    name="pick",
    pulls=[lambda g, z, outputs, k: Deferred(_assembled, outputs, (k, g))],
    pushes=[lambda d, z, outputs, k: d[k]],
    samples=lambda r: [],
)
index_set: Primitive = linear(
    _index_set,
    lambda g, z, a, values, index: index_set.like_numpy(g, 0, index=index),
    _pull_set,
    key=At.set, name="index_set", samples=_rewrites,
)  # fmt: skip
index_add = linear(
    _index_add,
    lambda g, z, a, values, index: g,
    lambda g, z, a, values, index: g[index],
    key=At.add, name="index_add", samples=_rewrites,
)  # fmt: skip


@operation(At.multiply, _writes)
def index_multiply(a: ArrayLike, values: ArrayLike, *, index: Index) -> Tensor:
    """Copy a with the elements at the index multiplied by the values; each may be named once."""
    place = plain_index(index)
    checked(_names_none_twice, place, np.shape(a))
    return index_set(a, getitem(a, index=place) * values, index=place)


def _names_none_twice(index: Any, shape: tuple[int, ...]) -> None:
    hits = np.zeros(shape, int)
    add_at(hits, index, 1)
    if (hits > 1).any():
        raise ValueError("index_multiply: the index names an element more than once")


@operation(
    np.take,
    lambda r: [
        Case.of(r(3, 2), np.array([[0, 2], [0, -1]])), Case.of(r(3, 2), 1, axis=-1),
        Case.of(r(4, 3).T[::2], np.array([2, 2, 0]), axis=1),
    ],
)  # fmt: skip
def take(a: ArrayLike, indices: ArrayLike, axis: int | None = None) -> Tensor:
    """Read whole slices along `axis` (None: from the flattened array)."""
    places = indices if isinstance(indices, Tensor) else plain(indices, "take", "takes")
    if places.dtype.kind == "b" or not places.size:  # to take, True is the number 1
        places = places.astype(int)
    places = value_of(places)
    if axis is None and np.ndim(a) == 1:  # a view of all would cost its length at every reading
        axis = 0
    if axis is None:
        return getitem(op(np.ravel)(a), index=places)
    return getitem(a, index=(*[slice(None)] * normalize_axis_index(axis, np.ndim(a)), places))


# ---- rearrangements: done to the numbers of the elements, they say where each cotangent goes ------


def _pull_of_rearrangement(done_to: Callable[..., Any]) -> Callable[..., Any]:
    def pull(g: Any, z: Any, a: Any, **params: Any) -> Any:
        if not a.size:
            return np.zeros_like(a)
        places = value_of(done_to(np.arange(a.size).reshape(a.shape), **params))
        return scatter.like_numpy(g, indices=(places,), shape=(a.size,)).reshape(a.shape)

    return pull


def _rearrangement(forward: Callable[..., Any], key: Any, samples: Samples) -> Primitive:
    pull = _pull_of_rearrangement(lambda *args, **params: primitive.like_numpy(*args, **params))
    primitive = linear(forward, pull, key=key, samples=samples)
    return primitive


def _repeat(a: Array, *, repeats: int | Sequence[int] | Array, axis: int | None = None) -> Any:
    return np.repeat(a, repeats, axis)


def _tile(A: Array, *, reps: int | Sequence[int]) -> Any:
    return np.tile(A, reps)


def _resize(a: Array, *, new_shape: int | Sequence[int]) -> Any:
    return np.resize(a, new_shape)


def _delete(
    arr: Array, *, obj: int | slice | Sequence[int] | Array, axis: int | None = None
) -> Any:
    return np.delete(arr, obj, axis)


def _sliding_window_view(x: Array, *, window_shape: int | Sequence[int], axis: Axis = None) -> Any:
    return sliding_window_view(x, window_shape, axis)


def _take_along_axis(arr: Array, *, indices: Array, axis: int | None = -1) -> Any:
    return np.take_along_axis(arr, indices, axis)


repeat = _rearrangement(
    _repeat,
    np.repeat,
    Case.each({"repeats": 2}, {"repeats": [2, 0, 1], "axis": 1}, {"repeats": 3, "axis": 0}),
)
tile = _rearrangement(
    _tile, np.tile, Case.each({"reps": 2}, {"reps": (2, 1, 3)}, {"reps": ()}, {"reps": 0})
)
resize = _rearrangement(_resize, np.resize, Case.each({"new_shape": (2, 2)}, {"new_shape": 7}))
delete = _rearrangement(_delete, np.delete, Case.each({"obj": 1}, {"obj": slice(0, 2), "axis": 1}))
_rearrangement(
    _sliding_window_view,
    sliding_window_view,
    Case.each({"window_shape": 2, "axis": 1}, {"window_shape": (2, 2)}),
)
take_along_axis = _rearrangement(
    _take_along_axis,
    np.take_along_axis,
    Case.each(
        {"indices": np.array([[0, 2, 2], [1, 1, 0]]), "axis": 1},
        {"indices": np.array([[0, 1, 0]]), "axis": 0},
        {"indices": np.array([5, 0]), "axis": None},
    ),
)


Widths: TypeAlias = int | Sequence[Any] | Array | Mapping[int, Any]
"""How many elements to add before and after: for all axes, for each, or by axis."""
_PADDINGS = ("constant", "edge", "reflect", "symmetric", "wrap")


def _widths(pad_width: Widths, ndim: int) -> Array:
    """Return the widths (ndim, 2) before and after each axis; a dict names axes, others get none."""
    if isinstance(pad_width, Mapping):
        rows: list[Any] = [pad_width.get(k, pad_width.get(k - ndim, 0)) for k in range(ndim)]
        pad_width = [np.broadcast_to(row, 2) for row in rows]
    return np.broadcast_to(pad_width, (ndim, 2))


def _pad(
    array: Array, *, pad_width: Widths, mode: str = "constant", constant_values: ArrayLike = 0
) -> Any:
    """Widen by a constant or by copies of elements, which then share their gradient."""
    if mode not in _PADDINGS:
        raise ValueError(f"minigrad pads with the modes {', '.join(_PADDINGS)}")
    options = {"constant_values": constant_values} if mode == "constant" else {}
    return np.pad(array, _widths(pad_width, array.ndim), mode, **options)  # type: ignore[call-overload]


def _pull_pad(
    g: Any, z: Any, a: Any, pad_width: Any, mode: str = "constant", constant_values: Any = 0
) -> Any:
    if mode != "constant":
        return pull_copies(g, z, a, pad_width=pad_width, mode=mode)
    starts = _widths(pad_width, a.ndim)[:, 0]
    return g[tuple([slice(k, k + n) for k, n in zip(starts.tolist(), a.shape, strict=True)])]


def _push_pad(
    da: Any, z: Any, a: Any, pad_width: Any, mode: str = "constant", constant_values: Any = 0
) -> Any:
    return padded.like_numpy(da, pad_width=pad_width, mode=mode)


pull_copies = _pull_of_rearrangement(lambda *args, **params: padded.like_numpy(*args, **params))
padded: Primitive = general(
    _pad, name="pad", pulls=[_pull_pad], pushes=[_push_pad], samples=lambda r: []
)  # fmt: skip


@operation(
    np.pad,
    lambda r: [
        *Case.each({"pad_width": 1}, {"pad_width": ((1, 0), (2, 1)), "constant_values": 3.0})(r),
        *Case.each({"pad_width": {-1: (2, 1)}})(r),
        *Case.each(*[{"pad_width": (2, 1), "mode": mode} for mode in _PADDINGS], shape=(3, 3))(r),
        Case.of(r(2, 2), ((1, 0), (2, 1)), "constant", r()), Case.of(r(2), 2, "constant", r(2)),
        Case.of(r(2, 3), 1, "constant", r(2, 2)),
    ],
)  # fmt: skip
def pad(
    array: ArrayLike, pad_width: Widths, mode: str = "constant", constant_values: ArrayLike = 0
) -> Tensor:
    """Widen by a constant, to which gradients flow too, or by copies of elements."""
    if not isinstance(constant_values, Tensor) or mode != "constant":
        return padded(array, pad_width=pad_width, mode=mode, constant_values=constant_values)
    x, fill = as_tensor(array), constant_values
    numbers = [np.arange(t.size).reshape(t.shape) for t in (x, fill)]  # of the elements of both
    places = np.pad(numbers[0], _widths(pad_width, x.ndim), constant_values=x.size + numbers[1])
    joined = op(np.concatenate)([x.reshape(-1), fill.astype(x.dtype).reshape(-1)])
    return getitem(joined, index=places)


# ---- by condition and by table -------------------------------------------------------------------

_MASK = np.array([True, False, True])


@operation(np.compress, lambda r: [Case.of(_MASK, r(3, 2), axis=0), Case.of(_MASK, r(2, 3))])
def compress(condition: ArrayLike, a: ArrayLike, axis: int | None = None) -> Tensor:
    """Return the slices along `axis` where the condition, one for each, holds."""
    holds = condition if isinstance(condition, Tensor) else plain(condition, "compress", "takes")
    if holds.ndim != 1:
        raise ValueError(f"compress: a condition for each slice, not of shape {holds.shape}")
    return take(a, np.flatnonzero(holds), axis)


@operation(np.extract, lambda r: [Case.of(_MASK, r(3)), Case.of(r(2, 3) > 0, r(2, 3))])
def extract(condition: ArrayLike, arr: ArrayLike) -> Tensor:
    """Return the elements where the condition holds."""
    holds = condition if isinstance(condition, Tensor) else plain(condition, "extract", "takes")
    return take(arr, np.flatnonzero(holds))


@operation(
    np.select,
    lambda r: [Case.of([x < -0.5, x < 0.5], [r(2, 3), r(3)], 1.0) for x in [r(2, 3)]],
)
def select(
    condlist: Sequence[ArrayLike], choicelist: Sequence[ArrayLike], default: ArrayLike = 0
) -> Tensor:
    """Choose by the first condition that holds; the default where none does."""
    choices = [c if isinstance(c, (int, float)) else as_tensor(c) for c in choicelist]
    conditions = [plain(value_of(c), "select", "takes") for c in condlist]
    if any(c.dtype != bool for c in conditions):
        raise TypeError(f"select: conditions are boolean, not {[c.dtype.name for c in conditions]}")
    kind = np.result_type(*map(value_of, choices), value_of(default))
    z = as_tensor(np.asarray(default, kind) if isinstance(default, (int, float)) else default)
    for condition, choice in zip(reversed(conditions), reversed(choices), strict=True):
        z = op(np.where)(condition, choice, z)
    return z


@operation(
    np.interp,
    lambda r: [
        Case.of(r(2, 3), np.array([-1.0, 0.1, 0.7, 1.5]), r(4)),
        Case.of(r(), np.array([-1.0, 1.0]), r(2), left=0.0, right=5.0),
    ],
)
def interp(
    x: ArrayLike,
    xp: ArrayLike,
    fp: ArrayLike,
    left: ArrayLike | None = None,
    right: ArrayLike | None = None,
) -> Tensor:
    """Interpolate linearly between the points (xp, fp), xp increasing; constant outside.

    Gradients flow to all three. At a point the slope is that on the right; at the last, on the left.
    Unlike NumPy's, the result of float32 is float32.
    """
    x, xp, fp = as_tensor(x), as_tensor(xp), as_tensor(fp)
    if xp.ndim != 1 or xp.shape != fp.shape or len(xp) < 2:
        raise ValueError(f"interp: two points or more, not xp {xp.shape} and fp {fp.shape}")
    k: Any = np.clip(
        np.searchsorted(numbers_of(xp), numbers_of(x), side="right") - 1, 0, len(xp) - 2
    )
    z = (fp[k + 1] - fp[k]) / (xp[k + 1] - xp[k]) * (x - xp[k]) + fp[k]
    z = op(np.where)(x < numbers_of(xp)[0], fp[0] if left is None else left, z)
    return op(np.where)(x > numbers_of(xp)[-1], fp[-1] if right is None else right, z)
