"""One way to write what can be written in several: the normal form that the other passes expect.

    x[t], z[:, a:b], split, x.T     views, which cost nothing, where an operand can be one
    scatter of all rows, or concatenate of equal arrays     stack
    scatter of slices that make up the last axis            concatenate
    sum(keepdims=True), then reshape                        sum
    (T, B, I) @ (I, H)                                      (T*B, I) @ (I, H), and reshape
    (a @ b).T                                               b.T @ a.T, of which a copy is not needed
    arithmetic with one number spread over an array         with the number, then spread
    x * 1, x ** 1, x.reshape(x.shape), a copy               x
    what is computed twice, from constants alone, or for nothing    once, now, not at all

Every rule is exact, in the numbers too, but for the order in which a product over rows sums.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...core.tensor import OPS
from ...ops import index, shape
from ..program import (
    COPY,
    STACK,
    Op,
    Operand,
    Program,
    Row,
    Section,
    Value,
    View,
    held,
    is_elementwise,
    mapped,
    viewed,
)
from .dead import without_the_dead

__all__ = ["normal", "told"]

_FOLDED = 1 << 16  # elements; a larger constant is computed again at every call
_MATMUL, _SUM = OPS[np.matmul], OPS[np.sum]


def normal(program: Program) -> Program:
    """Return a flat program in normal form."""
    normalizing = _Normalizing(program)
    sections = [normalizing.section(section) for section in program.sections]
    return without_the_dead(Program(sections))


class _Normalizing:
    """A walk along a flat program that writes it anew; each rule is a method for one primitive."""

    def __init__(self, program: Program) -> None:
        self.uses: Counter[Value] = Counter()
        for section in program.sections:
            for op in section.items:
                assert isinstance(op, Op)
                self.uses.update([v.value for v in op.views])
            self.uses.update([o.value for o in section.outputs if isinstance(o, View)])
        self.now: dict[Value, View] = {}  # what stands for a value of the old program
        self.spread: dict[Value, View] = {}  # the one number that all elements are
        self.made: dict[Any, tuple[Value, ...]] = {}  # by what is computed: to compute it once
        self.maker: dict[Value, Op] = {}
        self.order: dict[Value, int] = {}
        self.items: list[Any] = []

    def section(self, section: Section) -> Section:
        self.items = []
        for op in section.items:
            assert isinstance(op, Op)
            changed = any(v.value in self.now for v in op.views)
            self.op(op.reading(self.seen) if changed else op)
        outputs = [self.seen(o) if isinstance(o, View) else o for o in section.outputs]
        return Section(section.inputs, self.items, outputs)

    def seen(self, v: View) -> View:
        outer = self.now.get(v.value)
        return v if outer is None else self.view(v, outer)

    def view(self, inner: View, outer: View) -> View:
        """Return the view `inner` of what `outer` shows, which is copied if that is no view."""
        both = viewed(inner, outer)
        if both is None:
            copied = self.emit(Op(COPY, (outer,), {}, (Value(outer.shape, outer.dtype),)))
            both = inner._replace(value=copied.value)
        return both

    # ---- operations are written here -----------------------------------------------------------

    def op(self, op: Op) -> None:
        """Write an operation, whose operands are in normal form, by the rule of its primitive."""
        if op.several:
            if op.does is not shape.cut or not self.split(op):
                self.emit(op)
            return
        rule = _RULES.get(op.does)
        result = rule(self, op) if rule else None
        if result is None and is_elementwise(op.does):
            result = self.elementwise(op)
        if result is None:
            result = self.emit(op)
        if result.value is not op.out:
            self.now[op.out] = result

    def emit(self, op: Op) -> View:
        """Write an operation unless it is known already; return what it makes, the first of it."""
        if op.has_effect:
            self.items.append(op)
            return View(op.outs[0])
        kinds = tuple([_kind(v) for v in op.outs])
        key = op.does, tuple(map(told, op.args)), told(op.params), kinds
        known = self.made.setdefault(key, op.outs)
        if known is not op.outs:
            self.now.update(zip(op.outs, map(View, known), strict=True))
        elif self.is_constant(op):
            self.fold(op)
        else:
            self.order.update([(v, len(self.items)) for v in op.outs])
            self.items.append(op)
            self.maker.update([(v, op) for v in op.outs])
        return View(known[0])

    def is_constant(self, op: Op) -> bool:
        for a in op.args:
            if isinstance(a, View) and a.value.array is None:
                return False
        views = op.views
        known = bool(views) and all(v.value.array is not None for v in views)
        return known and all(math.prod(v.shape) <= _FOLDED for v in op.outs)

    def fold(self, op: Op) -> None:
        """Compute what depends on constants alone."""

        def array(v: View) -> Any:
            return v.of(v.value.array)

        args = [array(a) if isinstance(a, View) else a for a in op.args]
        with np.errstate(all="ignore"):
            made = op.does.forward(*args, **mapped(array, op.params))
        for value, result in zip(op.outs, made if op.several else (made,), strict=True):
            value.array = np.array(result, value.dtype)
            value.array.flags.writeable = False

    # ---- one number, spread over an array -------------------------------------------------------

    def number(self, a: Operand) -> Operand | None:
        """Return the one number that an operand is all over, itself or as a view; else None."""
        if not isinstance(a, View):
            return a
        if not a.shape:
            return a if a.is_whole else None
        return self.spread.get(a.value)

    def elementwise(self, op: Op) -> View | None:
        """Compute what is one number all over once, and then spread it; drop factors of 1."""
        out = op.out
        if op.does is OPS[np.multiply]:
            for a, b in (op.args, op.args[::-1]):
                if _is_one(self.number(a)) and isinstance(b, View) and _kind(b) == _kind(out):
                    return b
        ones = tuple([one for a in op.args if (one := self.number(a)) is not None])
        if not out.shape or len(ones) < len(op.args) or not any(isinstance(a, View) for a in ones):
            return None
        number = self.emit(Op(op.does, ones, op.params, (Value((), out.dtype),), note=op.note))
        spread = Op(shape.broadcast_to, (number,), {"shape": out.shape}, op.outs, note=op.note)
        return self.broadcast(spread)

    # ---- the rules ------------------------------------------------------------------------------

    def same(self, op: Op) -> View | None:
        """A copy, or a change of shape or dtype that changes nothing."""
        (a,) = op.args
        return a if isinstance(a, View) and _kind(a) == _kind(op.out) else None

    def power(self, op: Op) -> View | None:
        """The first power, which is what reverse mode makes of a square."""
        a, n = op.args
        first = isinstance(a, View) and _kind(a) == _kind(op.out) and _is_one(n)
        return a if isinstance(a, View) and first else None

    def reshape(self, op: Op) -> View | None:
        (a,) = op.args
        if not isinstance(a, View):
            return None
        maker = self.maker.get(a.value) if a.is_whole else None
        if maker and maker.does is shape.reshape and isinstance(maker.args[0], View):
            a = maker.args[0]
        if a.shape == op.out.shape:
            return a
        if maker and maker.does is _SUM and maker.params.get("keepdims"):
            (x,), axis = maker.args, maker.params.get("axis")
            if isinstance(x, View) and _without(x.shape, axis) == op.out.shape:
                plain = Op(_SUM, (x,), {"axis": axis}, (Value(op.out.shape, op.out.dtype),))
                return self.sum(plain) or self.emit(plain)
        made = self.emit(Op(shape.reshape, (a,), {"shape": op.out.shape}, op.outs, note=op.note))
        if a.value in self.spread:
            self.spread[made.value] = self.spread[a.value]
        return made

    def transpose(self, op: Op) -> View | None:
        (a,) = op.args
        if not isinstance(a, View) or len(a.shape) != 2:
            return None
        if op.does is shape.transpose and op.params.get("axes") is not None:
            n0, _ = [k % 2 for k in op.params["axes"]]
            if n0 == 0:
                return a
        elif op.does is shape.swapaxes and len({op.params[k] % 2 for k in op.params}) == 1:
            return a
        maker = self.maker.get(a.value) if a.is_whole else None
        if maker and maker.does is _MATMUL and self.uses[maker.out] <= 1:
            x, y = maker.args
            if isinstance(x, View) and isinstance(y, View) and len(x.shape) == len(y.shape) == 2:
                flipped = [v._replace(turned=not v.turned) for v in (y, x)]
                made = Op(_MATMUL, tuple(flipped), {}, op.outs, note=maker.note)
                return self.emit(made)
        return a._replace(turned=not a.turned)

    def broadcast(self, op: Op) -> View | None:
        (a,) = op.args
        if not isinstance(a, View):
            return None
        if a.shape == op.out.shape:
            return a
        one = self.reshaped(a, ()) if math.prod(a.shape) == 1 else self.number(a)
        if not isinstance(one, View):
            return None
        made = self.emit(Op(op.does, (one,), {"shape": op.out.shape}, op.outs, note=op.note))
        self.spread[made.value] = one
        return made

    def getitem(self, op: Op) -> View | None:
        (a,) = op.args
        inner = _view_of(op.params["index"], a) if isinstance(a, View) else None
        return self.view(inner, a) if inner is not None and isinstance(a, View) else None

    def split(self, op: Op) -> bool:
        """Parts along the last axis are columns; return whether these are."""
        (a,), axis = op.args, op.params.get("axis", 0)
        if not isinstance(a, View) or axis % len(a.shape) != len(a.shape) - 1:
            return False
        ends = [0, *op.params["at"], a.shape[-1]]
        for k, out in enumerate(op.outs):
            lo, hi = ends[k], ends[k] + out.shape[-1]
            self.now[out] = self.view(View(a.value, None, (lo, hi)), a)
        return True

    def sum(self, op: Op) -> View | None:
        """A sum over the first axes is one over rows."""
        (a,), axis = op.args, op.params.get("axis")
        if not isinstance(a, View) or not isinstance(axis, tuple) or len(axis) < 2:
            return None
        axes = sorted([k % len(a.shape) for k in axis])
        if axes != [*range(len(axes))] or len(axes) == len(a.shape):
            return None
        rest = a.shape[len(axes) :]
        flat = self.reshaped(a, (math.prod(a.shape[: len(axes)]), *rest))
        total = Value(rest, op.out.dtype)  # of flags, how many are set: another dtype than theirs
        return self.reshaped(self.emit(Op(_SUM, (flat,), {"axis": 0}, (total,))), op.out.shape)

    def concatenate(self, op: Op) -> View | None:
        views = [a for a in op.args if isinstance(a, View)]
        axis = op.params.get("axis", 0)
        if len(views) == 1 and axis is not None and len(op.args) == 1:
            return views[0]
        if axis == 0 and len(views) == len(op.args) and len({v.shape for v in views}) == 1:
            if len(views) < 3 or not views[0].shape:
                return None
            stacked = self.stacked(views, op)
            if stacked.shape == op.out.shape:
                return stacked
            return self.reshaped(stacked, op.out.shape)
        return None

    def stack(self, op: Op) -> View | None:
        views = [a for a in op.args if isinstance(a, View)]
        if op.params.get("axis", 0) % len(op.out.shape) or len(views) != len(op.args):
            return None
        return self.stacked(views, op)

    def stacked(self, views: list[View], op: Op) -> View:
        """Join views of one shape along a new axis; the rows of one value, in order, are it."""
        first = views[0]
        if len(first.value.shape) > len(first.shape) and first.value.shape[0] == len(views):
            rows = [View(first.value, Row(0, k)) for k in range(len(views))]
            if views == rows:
                return View(first.value)
        kind = (len(views), *first.shape)
        out = op.out if op.out.shape == kind else Value(kind, op.out.dtype)
        return self.emit(Op(STACK, tuple(views), {}, (out,), note=op.note))

    def scatter(self, op: Op) -> View | None:
        places, kind = op.params["indices"], tuple(op.params["shape"])
        views = [a for a in op.args if isinstance(a, View)]
        if len(views) != len(op.args) or any(v.dtype != op.out.dtype for v in views):
            return None
        rows = [_int_of(k) for k in places]
        if all(k is not None for k in rows) and all(v.shape == kind[1:] for v in views):
            order = {k % kind[0]: v for k, v in zip(rows, views, strict=True) if k is not None}
            if len(order) == len(views) == kind[0]:
                return self.stacked([order[k] for k in range(kind[0])], op)
        inners = [_view_of(place, View(op.out)) for place in places]
        spans = {v.columns: w for v, w in zip(inners, views, strict=True) if v and v.row is None}
        if len(spans) == len(views) and None not in spans:
            ordered = sorted(spans.items(), key=lambda row: row[0] or ())
            ends = [0, *[hi for span, _ in ordered if span for hi in span], kind[-1]]
            if ends[::2] == ends[1::2]:
                parts = tuple([v for _, v in ordered])
                made = Op(shape.concatenated, parts, {"axis": -1}, op.outs, note=op.note)
                return self.concatenate(made) or self.emit(made)
        return None

    def matmul(self, op: Op) -> View | None:
        a, b = op.args
        if not isinstance(a, View) or not isinstance(b, View):
            return None
        if len(a.shape) == len(b.shape) == 2:
            ordered = self.in_one_order(a, b)
            return self.emit(Op(_MATMUL, ordered, {}, op.outs, note=op.note)) if ordered else None
        if len(a.shape) < 3 or len(b.shape) != 2:
            return None
        rows = math.prod(a.shape[:-1])
        flat = self.reshaped(a, (rows, a.shape[-1]))
        product = Value((rows, b.shape[1]), op.out.dtype)
        made = self.emit(Op(_MATMUL, (flat, b), {}, (product,), note=op.note))
        return self.reshaped(made, op.out.shape)

    def reshaped(self, a: View, kind: tuple[int, ...]) -> View:
        return self.reshape(Op(shape.reshape, (a,), {"shape": kind}, (Value(kind, a.dtype),))) or a

    def in_one_order(self, a: View, b: View) -> tuple[View, View] | None:
        """A product that sums over stacked rows may sum them in any order: both stacks ascend.

        Reverse mode collects the parts from the last round to the first.
        """
        parts = [self.rows(v) for v in (a, b)]
        if not a.turned or b.turned or not all(parts):
            return None
        (stack_a, _), (stack_b, _) = parts  # type: ignore[misc]
        if len(stack_a.args) != len(stack_b.args) or not self.descends(stack_a):
            return None
        new = []
        for (stack, flat), v in zip(parts, (a, b), strict=True):  # type: ignore[misc]
            views = [x for x in reversed(stack.args) if isinstance(x, View)]
            turned = self.stacked(views, Op(STACK, stack.args, {}, (Value(*_kind(stack.out)),)))
            new.append(self.reshaped(turned, flat.shape)._replace(turned=v.turned))
        return new[0], new[1]

    def rows(self, v: View) -> tuple[Op, Value] | None:
        """Return the stack that a matrix is the rows of, and the matrix as a value."""
        maker = self.maker.get(v.value)
        if v.row is None and v.columns is None and maker and maker.does is shape.reshape:
            (x,) = maker.args
            if isinstance(x, View) and x.is_whole:
                stack = self.maker.get(x.value)
                if stack and stack.does is STACK and len(stack.out.shape) > 2:
                    return stack, v.value
        return None

    def descends(self, stack: Op) -> bool:
        """Whether the parts of a stack come from the last that was made to the first."""
        a, b = [x for x in stack.args if isinstance(x, View)][1:3]
        if a.value is b.value and a.row and b.row:
            return a.row.start > b.row.start
        return self.order.get(a.value, -1) > self.order.get(b.value, -1)


_RULES: dict[Any, Callable[[_Normalizing, Op], View | None]] = {
    shape.reshape: _Normalizing.reshape,
    shape.ravel: _Normalizing.reshape,
    shape.squeeze: _Normalizing.reshape,
    shape.expand_dims: _Normalizing.reshape,
    shape.transpose: _Normalizing.transpose,
    shape.swapaxes: _Normalizing.transpose,
    shape.broadcast_to: _Normalizing.broadcast,
    shape.converted: _Normalizing.same,
    OPS[np.positive]: _Normalizing.same,
    OPS[np.copy]: _Normalizing.same,
    OPS[np.power]: _Normalizing.power,
    index.getitem: _Normalizing.getitem,
    index.scatter: _Normalizing.scatter,
    shape.concatenated: _Normalizing.concatenate,
    shape.stacked: _Normalizing.stack,
    STACK: _Normalizing.stack,
    _MATMUL: _Normalizing.matmul,
    _SUM: _Normalizing.sum,
}


def told(x: Any) -> Any:
    """Return what tells an operand or a parameter from others, to be a key."""
    if isinstance(x, (View, np.dtype)):
        return x
    if isinstance(x, (tuple, list)):
        return type(x).__name__, *map(told, x)
    if isinstance(x, Mapping):
        return tuple([(k, told(v)) for k, v in x.items()])
    if isinstance(x, slice):
        return "slice", told(x.start), told(x.stop), told(x.step)
    if isinstance(x, (int, float, str, bool, type(None), type(...))):
        return type(x), repr(x)  # 1 is not 1.0, nor 0.0 -0.0
    return type(x), id(x)  # an array, or anything else that the program holds


def _kind(v: Value | View) -> tuple[tuple[int, ...], np.dtype[Any]]:
    return v.shape, v.dtype


def _is_one(number: Operand | None) -> bool:
    if isinstance(number, View):
        array = number.value.array
        return array is not None and array.size == 1 and bool(array == 1)
    return number is not None and number == 1


def _without(kind: tuple[int, ...], axis: Any) -> tuple[int, ...]:
    """Return a shape without the axes that are summed over."""
    if axis is None:
        return ()
    axes = {k % len(kind) for k in (axis if isinstance(axis, tuple) else (axis,))}
    return tuple([n for k, n in enumerate(kind) if k not in axes])


def _int_of(place: Any) -> int | None:
    """Return the whole number that an index is, alone or in a tuple; None if it is another."""
    if isinstance(place, tuple) and len(place) == 1:
        (place,) = place
    return int(place) if isinstance(place, (int, np.integer)) and place is not bool(place) else None


def _view_of(place: Any, a: View) -> View | None:
    """Return the view that an index makes of what `a` shows: a row, columns, or both, else None."""
    parts = list(place) if isinstance(place, tuple) else [place]
    if any(not isinstance(k, (int, np.integer, slice, type(...))) for k in parts):
        return None
    if any(isinstance(end, View) for end in held(parts)) or any(k is bool(k) for k in parts):
        return None
    if ... in parts:
        k = parts.index(...)
        parts[k : k + 1] = [slice(None)] * (len(a.shape) - len(parts) + 1)
    row, columns, last = None, None, len(a.shape) - 1
    for axis, (k, n) in enumerate(zip(parts, a.shape, strict=False)):
        if not isinstance(k, slice):
            if axis:
                return None
            row = Row(0, int(k) % n)
        elif (cut := k.indices(n)) != (0, n, 1):
            if axis != last or cut[2] != 1:
                return None
            columns = cut[0], max(cut[:2])
    return View(a.value, row, columns)
