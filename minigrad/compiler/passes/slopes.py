"""Slopes first: what a loop backward multiplies its cotangents by is known before it begins.

Reverse mode is linear in the cotangent. Of `g * z - g * z * z`, where z is a row of what the loop
forward collected, the factor `z - z * z` needs no g: it is computed for all rounds at once, in a
few calls instead of a few in every round, and `g` is multiplied once.

    a value of the body that depends on no carry      a row of a stack, made before the loop
    sums of products of one value and such factors    that value times one row of a stack

It pays where calls are what costs, so for stacks that stay in the caches, and not in a kernel. The
products are taken in another order, which changes the last digit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ...core.tensor import OPS
from ...ops import index
from ..program import (
    Item,
    Loop,
    Op,
    Operand,
    Program,
    Row,
    Section,
    Value,
    View,
    is_elementwise,
)
from .dead import without_the_dead

__all__ = ["slopes_first"]

_MULTIPLY, _ADD, _SUBTRACT = OPS[np.multiply], OPS[np.add], OPS[np.subtract]
_NEGATIVE = OPS[np.negative]
STACKS = 1 << 20
"""Bytes that the slopes of one loop may take, about what the second cache holds."""


class _Call(NamedTuple):
    """A factor that is computed: a function of factors."""

    does: Any
    args: tuple[_Factor, ...]


_Factor: TypeAlias = "_Call | View | int | float | bool"
"""What depends on no carry: a view of a value outside, a number, or a function of such."""


class _Linear(NamedTuple):
    """A value of the body as a factor times another value of the body."""

    base: View
    factor: _Factor


def slopes_first(program: Program, limit: int = STACKS) -> Program:
    """Return a program whose loops multiply by factors that are made before they begin."""
    sections = []
    for section in program.sections:
        items: list[Item] = []
        for item in section.items:
            if isinstance(item, Loop):
                before, item = _Slopes(item, limit).split()
                items += before
            items.append(item)
        sections.append(Section(section.inputs, items, section.outputs))
    return without_the_dead(Program(sections))


class _Slopes:
    def __init__(self, loop: Loop, limit: int) -> None:
        self.loop, self.left = loop, limit
        self.inner = {v for op in loop.body for v in op.outs} | {c.value for c in loop.carries}
        self.factors: dict[Value, _Factor] = {}  # values of the body that depend on no carry
        self.linear: dict[Value, _Linear] = {}
        self.before: list[Item] = []
        self.made: dict[_Factor, View] = {}  # stacks and what they are cut from, by what they are
        for op in loop.body:
            self.note(op)

    # ---- what the body is -----------------------------------------------------------------------

    def note(self, op: Op) -> None:
        """Note what an operation makes, if it is a factor, or linear in one value of the body."""
        if not is_elementwise(op.does) or op.several or op.params or op.out.dtype.kind != "f":
            return
        if any(v.dtype != op.out.dtype for v in op.views):
            return
        known = [self.factor(a) for a in op.args]
        factors = tuple([f for f in known if f is not None])
        if len(factors) == len(known):
            self.factors[op.out] = _Call(op.does, factors)
            return
        if op.does is _MULTIPLY:
            k = known.index(None)
            a, other = op.args[k], known[1 - k]
            if other is not None and isinstance(a, View) and a.shape == op.out.shape:
                base, factor = self.form(a)
                self.linear[op.out] = _Linear(base, _times(factor, other))
        elif op.does in (_ADD, _SUBTRACT) and known == [None, None]:
            one, two = self.form(op.views[0]), self.form(op.views[1])
            if one.base == two.base and one.base.shape == op.out.shape:
                self.linear[op.out] = _Linear(one.base, _Call(op.does, (one.factor, two.factor)))
        elif op.does is _NEGATIVE and isinstance(op.args[0], View):
            base, factor = self.form(op.args[0])
            self.linear[op.out] = _Linear(base, _Call(op.does, (factor,)))

    def factor(self, a: Operand) -> _Factor | None:
        """Return an operand as a factor; None if it depends on a carry."""
        if not isinstance(a, View):
            return a
        if a.value not in self.inner:
            return None if a.turned or (a.row and abs(a.row.step) > 1) else a
        return self.factors.get(a.value) if a.is_whole else None

    def form(self, a: View) -> _Linear:
        return self.linear.get(a.value, _Linear(a, 1.0)) if a.is_whole else _Linear(a, 1.0)

    # ---- what it becomes ------------------------------------------------------------------------

    def split(self) -> tuple[list[Item], Loop]:
        """Return what is done before the loop, and the loop that is left."""
        loop = self.loop
        wanted = {c.next for c in loop.carries} | {c.source for c in loop.collects}
        wanted |= {inner for _, inner in loop.lasts}
        body: list[Op] = []
        for op in reversed(loop.body):
            new = self.shorter(op) if wanted.intersection(op.outs) else None
            if new is None:
                new = op
            if wanted.intersection(op.outs) or op.has_effect:
                body.append(new)
                wanted.update([v.value for v in new.views])
        if len(body) >= len(loop.body) or self.left < 0:
            return [], loop
        return self.before, Loop(loop.rounds, body[::-1], loop.carries, loop.collects, loop.lasts)

    def shorter(self, op: Op) -> Op | None:
        """Return an operation as one product with a row of a stack; None if that is no gain."""
        form = self.linear.get(op.outs[0])
        row = self.row(form.factor, op.outs[0]) if form and type(form.factor) is _Call else None
        return Op(_MULTIPLY, (form.base, row), {}, op.outs, note=op.note) if form and row else None

    def row(self, factor: _Call, like: Value) -> View | None:
        """Return the row that a round reads of a factor's stack; None if it cannot be made."""
        steps = {leaf.row.step for leaf in _leaves(factor) if leaf.row and leaf.row.step}
        if len(steps) != 1:
            return None
        (step,) = steps
        if factor not in self.made:
            nbytes = self.loop.rounds * like.nbytes
            if not all(self.fits(leaf, like) for leaf in _leaves(factor)):
                return None
            self.left -= nbytes
        stack = self.stack(factor, like.dtype)
        if stack.shape != (self.loop.rounds, *like.shape):
            return None
        return stack._replace(row=Row(step, 0 if step > 0 else self.loop.rounds - 1))

    def fits(self, leaf: View, like: Value) -> bool:
        """Whether a leaf broadcasts over rounds as it does in one round."""
        if leaf.row is None or leaf.row.step == 0:
            return leaf.columns is None
        return len(leaf.shape) == len(like.shape)

    def stack(self, factor: _Factor, dtype: np.dtype[Any]) -> View:
        """Return a factor for all rounds, in ascending order of the rows that it reads."""
        if factor in self.made:
            return self.made[factor]
        if isinstance(factor, _Call):
            args = [
                self.stack(f, dtype) if isinstance(f, (_Call, View)) else f for f in factor.args
            ]
            shapes = [a.shape for a in args if isinstance(a, View)]
            made = Value(np.broadcast_shapes(*shapes), dtype)
            self.before.append(Op(factor.does, tuple(args), {}, (made,)))
            view = View(made)
        else:
            assert isinstance(factor, View)
            view = self.rows(factor)
        self.made[factor] = view
        return view

    def rows(self, leaf: View) -> View:
        """Return the rows of a view that the rounds read, together."""
        if leaf.row is None or not leaf.row.step:
            return leaf
        ends = leaf.row.at(0), leaf.row.at(self.loop.rounds - 1)
        lo, hi = min(ends), max(ends) + 1
        if (lo, hi) == (0, leaf.value.shape[0]):
            return leaf._replace(row=None)
        key = View(leaf.value, leaf.row)
        if key not in self.made or leaf == key:
            cut = Value((hi - lo, *leaf.value.shape[1:]), leaf.dtype)
            params = {"index": slice(lo, hi)}
            self.before.append(Op(index.getitem, (View(leaf.value),), params, (cut,)))
            self.made[key] = View(cut)
        return self.made[key]._replace(columns=leaf.columns)


def _times(factor: _Factor, other: _Factor) -> _Factor:
    """Return a product of factors; 1 is what a value is as a factor times itself."""
    return (
        other if not isinstance(factor, (_Call, View)) and factor == 1 else _product(factor, other)
    )


def _product(factor: _Factor, other: _Factor) -> _Call:
    return _Call(_MULTIPLY, (factor, other))


def _leaves(factor: _Factor) -> Iterator[View]:
    if isinstance(factor, View):
        yield factor
    elif isinstance(factor, _Call):
        for arg in factor.args:
            yield from _leaves(arg)
