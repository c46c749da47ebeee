"""Operations in the words of kernels: elementwise expressions, reductions, products, joins, views.

What these cannot say is left to Python. `lowered` says it of one operation; a softmax, say, is
four of these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from ...ops import index, linalg, reduce, shape
from ..program import STACK, Item, Loop, Op, Value, View, held
from .elements import expression, key_of
from .places import Place

__all__ = [
    "Each", "Join", "Known", "Low", "Product", "Reduce", "Seen", "kind_name", "lowered",
    "supported",
]  # fmt: skip

_KINDS = {np.dtype(k): name for k, name in (("f4", "f4"), ("f8", "f8"), ("i8", "i8"), ("?", "b1"))}
_BOOL = np.dtype(bool)


@dataclass(eq=False, slots=True)
class Known:
    """A number that is known when the program is made: one that the kernel is given."""

    number: float


@dataclass(eq=False, slots=True)
class Each:
    """`out` is an expression of elements of `args`, taken in `kinds`, computed in `kind`."""

    out: Value
    text: str
    args: tuple[Any, ...]
    kinds: tuple[np.dtype[Any], ...]
    kind: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.out.shape

    @classmethod
    def copy(cls, out: Value, view: View) -> Each:
        return cls(out, "{0}", (view,), (out.dtype,), out.dtype)


@dataclass(eq=False, slots=True)
class Reduce:
    """`out` is the sum, the largest or the smallest of an array's elements along some axes."""

    out: Value
    name: str
    args: tuple[View]
    axes: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.args[0].shape


@dataclass(eq=False, slots=True)
class Product:
    """`out` is the matrix product of two arrays of the same dtype, by NumPy's rules."""

    out: Value
    args: tuple[View, View]


@dataclass(eq=False, slots=True)
class Join:
    """`out` consists of arrays side by side: `places` say where in it each one lies."""

    out: Value
    args: tuple[View, ...]
    places: tuple[Callable[[Place], Place], ...]


@dataclass(eq=False, slots=True)
class Seen:
    """`out` is another view of the same memory, if `change` gives one."""

    out: Value
    args: tuple[View]
    change: Callable[[Place], Place | None]


Low: TypeAlias = Each | Reduce | Product | Join | Seen


def supported(item: Item, products: bool) -> bool:
    """Whether a kernel can do all of it; `products`: also matrix products."""
    if isinstance(item, Loop):
        whole = all(_fits(c.value) for c in item.carries)
        return whole and all(supported(op, products) for op in item.body)
    if not all(map(_fits, item.outs)) or not all(_fits(v.value) for v in item.views):
        return False
    low = lowered(item)
    return low is not None and (products or not any(isinstance(x, Product) for x in low))


def _fits(v: Value) -> bool:
    return v.dtype in _KINDS and 0 not in v.shape


def kind_name(dtype: np.dtype[Any]) -> str:
    """Return what a dtype is called in kernels."""
    return _KINDS[dtype]


def lowered(op: Op) -> list[Low] | None:
    """Return an operation in the words of kernels; None if they have none for it."""
    if any(isinstance(x, View) for x in held(op.params)) or op.has_effect:
        return None
    if op.several:
        return _split(op) if op.does is shape.cut else None
    rule = _RULES.get(op.does) or _RULES.get(key_of(op.does))
    return rule(op) if rule else _each(op)


def _each(op: Op) -> list[Low] | None:
    given = [None if isinstance(a, View) else a for a in op.args]
    stated = expression(op.does, given, op.params)
    if stated is None or not _broadcasts(op):
        return None
    text, kind = stated
    dtypes = [a.dtype if isinstance(a, View) else a for a in op.args]
    out = op.out.dtype
    if kind == "choice":
        condition = op.args[0]
        if not isinstance(condition, View) or condition.dtype != _BOOL:
            return None
        return [Each(op.out, text, op.args, (_BOOL, out, out), out)]
    if kind == "logical":
        if any(d != _BOOL for d in dtypes) or out != _BOOL:
            return None
        return [Each(op.out, text, op.args, (_BOOL,) * len(op.args), _BOOL)]
    if kind == "comparison":
        common = np.result_type(*dtypes)
        if common not in _KINDS or out != _BOOL or (common.kind != "f" and len(dtypes) == 1):
            return None
        return [Each(op.out, text, op.args, (common,) * len(op.args), common)]
    if kind == "floating" and out.kind != "f":
        return None
    if out == _BOOL and not (text in ("{0}", "@(0)", "@(1)") and all(d == _BOOL for d in dtypes)):
        return None
    if out.kind == "i" and any(isinstance(d, np.dtype) and d.kind == "f" for d in dtypes):
        return None  # how a number that is too large becomes an integer is not NumPy's
    return [Each(op.out, text, op.args, (out,) * len(op.args), out)]


def _broadcasts(op: Op) -> bool:
    shapes = [a.shape for a in op.args if isinstance(a, View)]
    return np.broadcast_shapes(*shapes) == op.out.shape if shapes else False


# ---- reductions ---------------------------------------------------------------------------------


def _axes(op: Op, default: Any = None) -> tuple[int, ...]:
    axis, ndim = op.params.get("axis", default), len(_view(op).shape)
    if not ndim:
        return ()
    axes: tuple[int, ...] = normalize_axis_tuple(axis, ndim) if axis is not None else ()
    return tuple(range(ndim)) if axis is None else axes


def _view(op: Op) -> View:
    (view,) = op.args
    assert isinstance(view, View)
    return view


def _kept(view: View, axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple([1 if k in axes else n for k, n in enumerate(view.shape)])


def _count(view: View, axes: tuple[int, ...]) -> int:
    count = 1
    for k in axes:
        count *= view.shape[k]
    return count


def _reduction(name: str) -> Callable[[Op], list[Low] | None]:
    def rule(op: Op) -> list[Low] | None:
        if not isinstance(op.args[0], View) or not {*op.params} <= {"axis", "keepdims"}:
            return None
        view, out = _view(op), op.out
        counts = name == "sum" and view.dtype.kind in "bi"  # of what is whole, in int64
        if out.dtype != (np.dtype(np.int64) if counts else view.dtype) or out.dtype.kind == "b":
            return None
        return [Reduce(out, name, (view,), _axes(op))] if counts or view.dtype.kind == "f" else None

    return rule


def _mean(op: Op) -> list[Low] | None:
    if not isinstance(op.args[0], View) or not {*op.params} <= {"axis", "keepdims"}:
        return None
    view, out, axes = _view(op), op.out, _axes(op)
    if view.dtype.kind != "f" or out.dtype != view.dtype:
        return None
    total = Value(out.shape, out.dtype)
    count = Known(float(_count(view, axes)))
    return [Reduce(total, "sum", (view,), axes), _of(out, "{0} / {1}", View(total), count)]


def _of(out: Value, text: str, *args: Any) -> Each:
    return Each(out, text, args, (out.dtype,) * len(args), out.dtype)


def _softmax(op: Op) -> list[Low] | None:
    a = op.args[0]
    if not isinstance(a, View) or a.dtype.kind != "f" or op.out.dtype != a.dtype:
        return None
    axes = _axes(op, -1)
    new: Any = lambda kept: Value(_kept(a, axes) if kept else a.shape, a.dtype)
    top, e, total = new(True), new(False), new(True)
    return [
        Reduce(top, "max", (a,), axes), _of(e, "exp_@({0} - {1})", a, View(top)),
        Reduce(total, "sum", (View(e),), axes), _of(op.out, "{0} / {1}", View(e), View(total)),
    ]  # fmt: skip


def _from_top(a: View, axes: tuple[int, ...]) -> tuple[list[Low], Value, Value, Value]:
    """Return a less its largest, that, and the logarithm of the sum of its exponentials."""
    kept = _kept(a, axes)
    top, finite, total, log = [Value(kept, a.dtype) for _ in range(4)]
    below, e = [Value(a.shape, a.dtype) for _ in range(2)]
    steps: list[Low] = [
        Reduce(top, "max", (a,), axes),
        _of(finite, "{0} if abs({0}) < @(np.inf) else @(0)", View(top)),
        _of(below, "{0} - {1}", a, View(finite)), _of(e, "exp_@({0})", View(below)),
        Reduce(total, "sum", (View(e),), axes), _of(log, "log_@({0})", View(total)),
    ]  # fmt: skip
    return steps, below, finite, log


def _log_softmax(op: Op) -> list[Low] | None:
    a = op.args[0]
    if not isinstance(a, View) or a.dtype.kind != "f" or op.out.dtype != a.dtype:
        return None
    steps, below, _, log = _from_top(a, _axes(op, -1))
    return [*steps, _of(op.out, "{0} - {1}", View(below), View(log))]


def _logsumexp(op: Op) -> list[Low] | None:
    a = op.args[0]
    if not isinstance(a, View) or a.dtype.kind != "f" or op.out.dtype != a.dtype:
        return None
    steps, _, top, log = _from_top(a, _axes(op))
    z = Value(top.shape, a.dtype)
    steps.append(_of(z, "{0} + {1}", View(log), View(top)))
    return [*steps, Seen(op.out, (View(z),), lambda p: p.reshaped(op.out.shape))]


# ---- products -----------------------------------------------------------------------------------


def _product(op: Op) -> list[Low] | None:
    a, b = op.args
    if not isinstance(a, View) or not isinstance(b, View) or op.params:
        return None
    if not a.dtype == b.dtype == op.out.dtype or a.dtype.kind != "f":
        return None
    if not a.shape or not b.shape:
        return None
    return [Product(op.out, (a, b))]


# ---- the same memory, seen otherwise ------------------------------------------------------------


def _seen(change: Callable[[Op, Place], Place | None]) -> Callable[[Op], list[Low] | None]:
    def rule(op: Op) -> list[Low] | None:
        (a,) = op.args
        if not isinstance(a, View) or a.dtype != op.out.dtype:
            return None
        return [Seen(op.out, (a,), lambda place: change(op, place))]

    return rule


def _turned(op: Op, place: Place) -> Place:
    axes, n = op.params.get("axes"), len(place.shape)
    axes = range(n)[::-1] if axes is None else axes
    return place.turned(tuple([k % n for k in axes]))


def _swapped(op: Op, place: Place) -> Place:
    axes, n = [*range(len(place.shape))], len(place.shape)
    i, j = op.params["axis1"] % n, op.params["axis2"] % n
    axes[i], axes[j] = axes[j], axes[i]
    return place.turned(tuple(axes))


def _got(op: Op) -> list[Low] | None:
    """Basic indices: integers, slices, new axes and ellipses."""
    (a,), parts = op.args, op.params.get("index")
    parts = parts if isinstance(parts, tuple) else (parts,)
    basic = (int, np.integer, slice, type(None), type(...))
    plain = all(isinstance(k, basic) and not isinstance(k, bool) for k in parts)
    if not isinstance(a, View) or not plain:
        return None
    return [Seen(op.out, (a,), lambda place: _indexed(place, parts, op.out.shape))]


def _indexed(place: Place, parts: tuple[Any, ...], shape: tuple[int, ...]) -> Place:
    used = sum(k is not None and k is not ... for k in parts)
    every = [slice(None)] * (len(place.shape) - used)
    cuts: list[Any] = []
    for k in parts if ... in parts else (*parts, ...):
        cuts += every if k is ... else [k]
    axis, kept = 0, list[int]()
    for k in cuts:
        if k is None:
            continue
        n = place.shape[axis]
        if isinstance(k, slice):
            place = place.cut(axis, *k.indices(n))
            kept.append(axis)
        else:
            place = place.cut(axis, k % n, k % n + 1)
        axis += 1
    place = place.turned(tuple(kept))
    strides = iter(place.strides)
    new = [0 if k is None else next(strides) for k in cuts if k is None or isinstance(k, slice)]
    return place._replace(shape=shape, strides=tuple(new))


def _split(op: Op) -> list[Low] | None:
    (a,), axis = op.args, op.params.get("axis", 0)
    if not isinstance(a, View):
        return None
    axis %= len(a.shape)
    ends = [0, *op.params["at"], a.shape[axis]]
    if sorted(ends) != ends or ends[-1] > a.shape[axis]:
        return None
    spans = zip(op.outs, ends[:-1], ends[1:], strict=True)
    return [Seen(out, (a,), _cut(axis, x, y)) for out, x, y in spans]


def _cut(axis: int, start: int, stop: int) -> Callable[[Place], Place]:
    return lambda place: place.cut(axis, start, stop)


# ---- joined -------------------------------------------------------------------------------------


def _concatenated(op: Op) -> list[Low] | None:
    views, axis = [a for a in op.args if isinstance(a, View)], op.params.get("axis", 0)
    if axis is None or len(views) != len(op.args):
        return None
    axis %= len(op.out.shape)
    ends = [*accumulate([a.shape[axis] for a in views], initial=0)]
    places = [_cut(axis, x, y) for x, y in pairwise(ends)]
    return [Join(op.out, tuple(views), tuple(places))]


def _stacked(op: Op) -> list[Low] | None:
    views, axis = [a for a in op.args if isinstance(a, View)], op.params.get("axis", 0)
    if len(views) != len(op.args):
        return None
    axis %= len(op.out.shape)
    rest = tuple([k for k in range(len(op.out.shape)) if k != axis])
    rows = [_cut(axis, k, k + 1) for k in range(len(views))]
    places = [lambda place, row=row: row(place).turned(rest) for row in rows]
    return [Join(op.out, tuple(views), tuple(places))]


_RULES: dict[Any, Callable[[Op], list[Low] | None]] = {
    reduce.sum: _reduction("sum"), reduce.max: _reduction("max"), reduce.min: _reduction("min"),
    reduce.mean: _mean, reduce.softmax: _softmax, reduce.log_softmax: _log_softmax,
    reduce.logsumexp: _logsumexp, linalg.matmul: _product, np.matmul: _product,
    shape.reshape: _seen(lambda op, p: p.reshaped(op.out.shape)),
    shape.ravel: _seen(lambda op, p: p.reshaped(op.out.shape)),
    shape.squeeze: _seen(lambda op, p: p.reshaped(op.out.shape)),
    shape.expand_dims: _seen(lambda op, p: p.reshaped(op.out.shape)),
    shape.broadcast_to: _seen(lambda op, p: p.spread(op.out.shape)),
    shape.transpose: _seen(_turned), shape.swapaxes: _seen(_swapped),
    index.getitem: _got, shape.concatenated: _concatenated, shape.stacked: _stacked,
    STACK: _stacked,
}  # fmt: skip
