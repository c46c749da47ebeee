"""Functions that move elements without changing them; all linear."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from ..core.dtypes import Array, native, real
from ..core.primitive import Case
from ..core.tape import Outputs
from ..core.tensor import ArrayLike, Tensor, apply, as_tensor
from .families import Axis, linear, operation, untracked

__all__ = [
    "append", "array_split", "astype", "atleast_1d", "atleast_2d", "atleast_3d", "block",
    "broadcast_arrays", "broadcast_to", "column_stack", "concatenate", "dsplit", "dstack", "expand_dims", "flip",
    "fliplr", "flipud", "full_like", "hsplit", "hstack", "linspace", "meshgrid", "moveaxis",
    "ravel", "reshape", "roll", "rollaxis", "rot90", "split", "squeeze", "stack", "swapaxes",
    "transpose", "unstack", "vsplit", "vstack",
]  # fmt: skip


Arrays: TypeAlias = Sequence[ArrayLike] | Tensor | Array
"""Several arrays: a list of them, or one that is taken along its first axis."""


def _back(g: Any, z: Any, x: Any, **params: Any) -> Any:
    """The transpose of every reshaping: the old shape."""
    return g.reshape(x.shape)


def _reshape(a: Array, *, shape: int | Sequence[int]) -> Any:
    return a.reshape(shape)


def _ravel(a: Array) -> Any:
    return a.reshape(-1)


def _squeeze(a: Array, *, axis: Axis = None) -> Any:
    return a.squeeze(axis)


def _expand_dims(a: Array, *, axis: int | Sequence[int]) -> Any:
    return np.expand_dims(a, axis)


def _transpose(a: Array, *, axes: Sequence[int] | None = None) -> Any:
    return a.transpose(axes)


def _pull_transpose(g: Any, z: Any, a: Any, axes: Any = None) -> Any:
    return g.transpose(
        None if axes is None else [int(k) for k in np.argsort(np.array(axes) % g.ndim)]
    )


def _swapaxes(a: Array, *, axis1: int, axis2: int) -> Any:
    return a.swapaxes(axis1, axis2)


def _moveaxis(a: Array, *, source: int | Sequence[int], destination: int | Sequence[int]) -> Any:
    return np.moveaxis(a, source, destination)


def _broadcast_to(array: Array, *, shape: int | Sequence[int]) -> Any:
    return np.broadcast_to(array, shape)


def _flip(m: Array, *, axis: Axis = None) -> Any:
    return np.flip(m, axis)


def _astype(x: Array, *, dtype: npt.DTypeLike) -> Any:
    return x.astype(dtype)


def _roll(a: Array, *, shift: int | Sequence[int], axis: int | Sequence[int] | None = None) -> Any:
    return np.roll(a, shift, axis)


def _concatenate(*arrays: Array, axis: int | None = 0) -> Any:
    return np.concatenate(arrays, axis=axis)


def _split_cotangent(wanted: Any, g: Any, z: Any, *arrays: Any, axis: int | None = 0) -> list[Any]:
    if axis is None:
        cuts = pairwise(accumulate(map(np.size, arrays), initial=0))
        return [g[a:b].reshape(np.shape(x)) for (a, b), x in zip(cuts, arrays, strict=True)]
    at = (slice(None),) * (axis % g.ndim)
    cuts = pairwise(accumulate([x.shape[axis] for x in arrays], initial=0))
    return [g[(*at, slice(a, b))] for a, b in cuts]


def _stack(*arrays: Array, axis: int = 0) -> Any:
    return np.stack(arrays, axis=axis)


def _unstack_cotangent(wanted: Any, g: Any, z: Any, *arrays: Any, axis: int = 0) -> list[Any]:
    at = (slice(None),) * (axis % g.ndim)
    return [g[(*at, k)] for k in range(len(arrays))]


def _cut(ary: Array, *, at: tuple[int, ...], axis: int = 0) -> Outputs:
    """Return the parts of an array between the indices `at` along an axis, as views."""
    if axis == -1:
        return Outputs([ary[..., a:b] for a, b in pairwise((0, *at, None))])
    before = (slice(None),) * (axis % ary.ndim)
    return Outputs([ary[(*before, slice(a, b))] for a, b in pairwise((0, *at, None))])


def _joined_cotangent(g: Any, z: Any, ary: Any, at: tuple[int, ...], axis: int = 0) -> Any:
    return np.concatenate(g, axis)


# fmt: off
reshape      = linear(_reshape,      _back, key=np.reshape,
                           samples=Case.each({"shape": (3, 2)}, {"shape": -1}, {"shape": (2, -1, 1)}))
ravel        = linear(_ravel,        _back, key=np.ravel, samples=Case.each({}))
squeeze      = linear(_squeeze,      _back, key=np.squeeze,
                           samples=Case.each({}, {"axis": 0}, {"axis": (0, -1)}, shape=(1, 3, 1)))
expand_dims  = linear(_expand_dims,  _back, key=np.expand_dims,
                           samples=Case.each({"axis": 1}, {"axis": (0, -1)}))
transpose    = linear(_transpose,    _pull_transpose, key=np.transpose,
                           samples=Case.each({}, {"axes": (1, 2, 0)}, {"axes": (0, -1, 1)}, shape=(2, 3, 2)))
swapaxes     = linear(_swapaxes,     lambda g, z, a, axis1, axis2: g.swapaxes(axis1, axis2),
                           key=np.swapaxes, samples=Case.each({"axis1": 0, "axis2": -1}))
moveaxis     = linear(_moveaxis,     lambda g, z, a, source, destination: np.moveaxis(g, destination, source),
                           key=np.moveaxis, samples=Case.each({"source": 0, "destination": 2}, shape=(2, 3, 2)))
broadcast_to = linear(_broadcast_to, lambda g, z, a, shape: g, key=np.broadcast_to,
                           samples=Case.each({"shape": (4, 2, 3)}, {"shape": (2, 3)}))
flip         = linear(_flip,         lambda g, z, m, axis=None: np.flip(g, axis), key=np.flip,
                           samples=Case.each({}, {"axis": 0}, {"axis": (0, 1)}))
converted    = linear(_astype,       lambda g, z, x, dtype: g, samples=lambda r: [])
roll         = linear(_roll,         lambda g, z, a, shift, axis=None: np.roll(g, np.multiply(shift, -1), axis),
                           key=np.roll,
                           samples=Case.each({"shift": 1}, {"shift": -2, "axis": 1}, {"shift": (1, 2), "axis": (0, 1)}))
concatenated = linear(_concatenate,  together=_split_cotangent, samples=lambda r: [])
stacked      = linear(_stack,        together=_unstack_cotangent, samples=lambda r: [])
cut          = linear(_cut,          _joined_cotangent, name="split", samples=Case.each({"at": (1, 1)}, {"at": (2,), "axis": -1}))
# fmt: on


@operation(np.astype, Case.each({"dtype": np.float64}))
def astype(x: ArrayLike, dtype: npt.DTypeLike, *, copy: bool = True) -> Tensor:
    """Convert to another dtype; what is not floating any more is a constant."""
    dtype = native(dtype)
    if dtype.kind == "f":
        return converted(x, dtype=dtype)
    whole = _whole(x, dtype=dtype)
    return whole if isinstance(whole, Tensor) else Tensor(real(whole, "a tensor", "holds"))


@untracked
def _whole(x: Array, *, dtype: npt.DTypeLike) -> Array:
    return np.asarray(x).astype(dtype)


# ---- joining -----------------------------------------------------------------------------------


@operation(
    np.concatenate,
    lambda r: [
        Case.of([r(2, 3), r(1, 3)]),
        Case.of([r(2, 1), r(4, 2)[::2], r(2, 0)], axis=-1),
        Case.of([r(2, 3), r(2)], axis=None),
    ],
)
def concatenate(arrays: Arrays, axis: int | None = 0) -> Tensor:
    """Join along an axis that exists; None joins the flattened arrays."""
    return concatenated(arrays, axis=axis)


@operation(
    np.stack,
    lambda r: [
        Case.of([r(2), r(2), r(2)]),
        Case.of([r(2, 3), r(3, 2).T], axis=-1),
    ],
)
def stack(arrays: Arrays, axis: int = 0) -> Tensor:
    """Join along a new axis."""
    return stacked(arrays, axis=axis)


@operation(np.append, lambda r: [Case.of(r(2), r(2, 2)), Case.of(r(2, 2), r(2, 1), axis=1)])
def append(arr: ArrayLike, values: ArrayLike, axis: int | None = None) -> Tensor:
    """Join two arrays; None joins them flattened."""
    return concatenate([arr, values], axis)


def _at_least(function: Any) -> Callable[..., Any]:
    """Return the operation that adds axes of length 1 where NumPy's function does."""

    def at_least(*arys: ArrayLike) -> Any:
        found = [t.reshape(function(t.value).shape) for t in map(as_tensor, arys)]
        return found[0] if len(found) == 1 else tuple(found)

    samples = lambda r: [Case.of(r()), Case.of(r(2)), Case.of(r(2, 2), r(), r(1, 2, 1))]
    doc = f"As numpy.{function.__name__}; several arrays give a tuple."
    return operation(function, samples, doc)(at_least)


atleast_1d, atleast_2d, atleast_3d = map(_at_least, (np.atleast_1d, np.atleast_2d, np.atleast_3d))


def _joining(function: Any, raised: Callable[..., Any], axis: int) -> Callable[..., Tensor]:
    """Return the operation that joins arrays along an axis, first `raised` to have it."""

    def join(tup: Arrays) -> Tensor:
        parts = [raised(a) for a in tup]
        return concatenate(parts, min(axis, parts[0].ndim - 1))

    samples = lambda r: [Case.of([r(*s), r(*s)]) for s in ((2,), (2, 2), ())]
    return operation(function, samples, f"As numpy.{function.__name__}.")(join)


hstack, vstack = _joining(np.hstack, atleast_1d, 1), _joining(np.vstack, atleast_2d, 0)
dstack = _joining(np.dstack, atleast_3d, 2)
column_stack = _joining(
    np.column_stack, lambda a: t if (t := as_tensor(a)).ndim > 1 else atleast_2d(t).T, 1
)


def _depth(arrays: Any) -> int:
    """Return how deep lists are nested, everywhere alike: 0 for an array."""
    if not isinstance(arrays, list):
        if isinstance(arrays, tuple):
            raise TypeError("block: nested lists, not tuples")
        return 0
    depths = {_depth(part) for part in arrays}
    if len(depths) != 1:
        raise ValueError(f"block: lists nested {sorted(depths)} deep, or empty; nest all alike")
    return 1 + depths.pop()


def _blocks(arrays: Any, depth: int, ndim: int) -> Tensor:
    if not depth:
        t = as_tensor(arrays)
        return t.reshape((1,) * (ndim - t.ndim) + t.shape)
    return concatenate([_blocks(part, depth - 1, ndim) for part in arrays], axis=-depth)


def _ndim(arrays: Any) -> int:
    return max(map(_ndim, arrays)) if isinstance(arrays, list) else np.ndim(arrays)


@operation(
    np.block,
    lambda r: [
        Case.of([[r(2, 2), r(2, 1)], [r(1, 3)]]), Case.of([r(), r(2), r(2, 1).T]), Case.of(r(2, 2)),
        Case.of([[[r(2)], [r(2)]], [[r(1, 2)], [r(2)]]]),
    ],
)  # fmt: skip
def block(arrays: ArrayLike | list[Any]) -> Tensor:
    """Join nested lists: the innermost along the last axis, those around along the one before."""
    depth = _depth(arrays)
    return _blocks(arrays, depth, max(depth, _ndim(arrays)))


# ---- cutting -----------------------------------------------------------------------------------


Cuts: TypeAlias = int | Sequence[int] | Array
"""Into how many sections, or the indices at which to cut."""


def _cuts(r: Any) -> list[Case]:
    x = r(2, 4, 2)
    return [Case.of(x, 2), Case.of(x, [1]), Case.of(x, 1, axis=0), Case.of(x, (1, 3), axis=1)]


def _number(cuts: Cuts) -> Any:
    """Return a number of sections as an int, also one in an array; indices as they are."""
    cuts = cuts.tolist() if isinstance(cuts, Tensor) else cuts
    return int(cuts) if isinstance(cuts, np.ndarray) and not cuts.ndim else cuts


@operation(np.array_split, lambda r: [*_cuts(r), Case.of(r(2, 5), 3, axis=-1)])
def array_split(ary: ArrayLike, indices_or_sections: Cuts, axis: int = 0) -> list[Tensor]:
    """Cut along `axis` into as many sections, of nearly equal length, or at indices."""
    cuts, axis = _number(indices_or_sections), normalize_axis_index(axis, np.ndim(ary))
    if isinstance(cuts, (int, np.integer)):
        if cuts <= 0:
            raise ValueError(f"array_split: cannot cut into {cuts} sections")
        n = np.shape(ary)[axis]
        cuts = [k * (n // cuts) + min(k, n % cuts) for k in range(1, cuts)]
    return list(cut(ary, at=tuple([int(k) for k in cuts]), axis=axis))


@operation(np.split, _cuts)
def split(ary: ArrayLike, indices_or_sections: Cuts, axis: int = 0) -> list[Tensor]:
    """Cut along `axis` into equal sections (an int) or at indices; views, as slices are."""
    sections = _number(indices_or_sections)
    if not isinstance(sections, (int, np.integer)) or sections <= 0:
        return array_split(ary, sections, axis)
    x = as_tensor(ary)
    width, rest = divmod(x.value.shape[normalize_axis_index(axis, x.value.ndim)], sections)
    if rest:
        raise ValueError(
            f"split: axis {axis} of shape {x.shape} does not divide into {sections} equal "
            "sections; array_split makes nearly equal ones"
        )
    at = tuple([k * width for k in range(1, sections)])
    return list(apply(cut, (x,), {"at": at, "axis": axis}))


def _splitting(function: Any, axis: int, least: int) -> Callable[..., list[Tensor]]:
    def cut_along(ary: ArrayLike, indices_or_sections: Cuts) -> list[Tensor]:
        if np.ndim(ary) < least:
            raise ValueError(f"{function.__name__}: {np.ndim(ary)} axes are too few")
        return split(ary, indices_or_sections, min(axis, np.ndim(ary) - 1))

    samples = lambda r: _cuts(r)[:2]
    return operation(function, samples, f"As numpy.{function.__name__}.")(cut_along)


hsplit, vsplit, dsplit = (
    _splitting(np.hsplit, 1, 1),
    _splitting(np.vsplit, 0, 2),
    _splitting(np.dsplit, 2, 3),
)


@operation(np.unstack, lambda r: [Case.of(r(2, 3)), Case.of(r(2, 3), axis=-1)])
def unstack(x: ArrayLike, axis: int = 0) -> tuple[Tensor, ...]:
    """Return the slices along `axis`; the cost of the gradient is linear in their number."""
    t = as_tensor(x)
    axis = normalize_axis_index(axis, t.ndim)
    at = (slice(None),) * axis
    return tuple([t[(*at, k)] for k in range(t.shape[axis])])


# ---- turning and spreading -----------------------------------------------------------------------


@operation(np.flipud, Case.each({}))
def flipud(m: ArrayLike) -> Tensor:
    """Turn the first axis around."""
    return flip(m, 0)


@operation(np.fliplr, Case.each({}))
def fliplr(m: ArrayLike) -> Tensor:
    """Turn the second axis around."""
    return flip(m, 1)


@operation(np.rot90, Case.each({}, {"k": 2}, {"k": -1, "axes": (1, 0)}))
def rot90(m: ArrayLike, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Tensor:
    """Turn by k right angles in the plane of two axes."""
    first, second = normalize_axis_tuple(axes, np.ndim(m))
    for _ in range(k % 4):
        m = swapaxes(flip(m, second), first, second)
    return as_tensor(m)


@operation(np.rollaxis, Case.each({"axis": 2}, {"axis": 0, "start": 2}, shape=(2, 1, 3)))
def rollaxis(a: ArrayLike, axis: int, start: int = 0) -> Tensor:
    """Move an axis back to before where `start` stands; `moveaxis` is clearer."""
    n = np.ndim(a)
    axis, start = normalize_axis_index(axis, n), start + n * (start < 0)
    if not 0 <= start <= n:
        raise np.exceptions.AxisError(f"rollaxis: start={start} for shape {np.shape(a)}")
    return moveaxis(a, axis, start - (axis < start))


@operation(np.broadcast_arrays, lambda r: [Case.of(r(2, 1), r(3), r())])
def broadcast_arrays(*args: ArrayLike) -> tuple[Tensor, ...]:
    """Return the arrays in the shape that they broadcast to together."""
    shape = np.broadcast_shapes(*map(np.shape, args))
    return tuple([broadcast_to(a, shape) for a in args])


@operation(
    np.meshgrid,
    lambda r: [
        Case.of(r(2), r(3)),
        Case.of(r(2), r(3), r(2), indexing="ij"),
        Case.of(r(2), r(), sparse=True),
    ],
)
def meshgrid(
    *xi: ArrayLike, copy: bool = True, sparse: bool = False, indexing: str = "xy"
) -> tuple[Tensor, ...]:
    """Return the coordinates of every point of a grid, as `numpy.meshgrid`."""
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: indexing is 'xy' or 'ij', not {indexing!r}")
    order = [*range(len(xi))]
    if indexing == "xy":
        order[:2] = order[1::-1]
    grid = tuple([reshape(x, vector_shape(at, len(xi))) for at, x in zip(order, xi, strict=True)])
    return grid if sparse else broadcast_arrays(*grid)


@operation(np.full_like, lambda r: [Case.of(r(2, 3), r()), Case.of(r(2, 3), r(3))])
def full_like(a: ArrayLike, fill_value: ArrayLike) -> Tensor:
    """Return the fill value in the shape and dtype of `a`; gradients flow to the fill value."""
    return astype(broadcast_to(fill_value, np.shape(a)), as_tensor(a).dtype)


def _linspace(
    start: Array, stop: Array, *, num: int = 50, endpoint: bool = True, axis: int = 0
) -> Any:
    """Return `num` evenly spaced numbers from start to stop, along a new axis."""
    axis = operator.index(axis)
    kind = np.result_type(start, stop, 1.0)  # to NumPy, Python's numbers are float64 here
    return np.linspace(start, stop, num, endpoint, dtype=kind, axis=axis)


def _ramp(g: Any, num: int = 50, endpoint: bool = True, axis: int = 0) -> Any:
    """Return the numbers from 0 to 1 along `axis`: the share of `stop` in each of linspace's."""
    shares = np.linspace(0, 1, num, endpoint).astype(g.dtype)
    return shares.reshape(vector_shape(axis % g.ndim, g.ndim))


def vector_shape(axis: int, ndim: int) -> list[int]:
    """Return the shape that lays a vector along `axis` of an array: -1 there, and 1 elsewhere."""
    return [-1 if k == axis else 1 for k in range(ndim)]


linspace = linear(
    _linspace,
    lambda g, z, a, b, axis=0, **params: (g * (1 - _ramp(g, axis=axis, **params))).sum(axis=axis),
    lambda g, z, a, b, axis=0, **params: (g * _ramp(g, axis=axis, **params)).sum(axis=axis),
    key=np.linspace,
    samples=lambda r: [
        Case.of(r(), r(), num=4),
        Case.of(r(2, 1), r(3), num=3, endpoint=False, axis=-1),
    ],
)
