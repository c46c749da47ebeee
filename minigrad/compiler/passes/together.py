"""Products and sums of many rounds as one: what a recurrent net's authors do by hand.

    x[0] @ W, x[1] @ W, ...         one product of all rows, before the first is needed
    da[9] @ W.T, da[8] @ W.T, ...   one product, once the last row is there
    ... + b[1].sum(0) + b[0].sum(0)     one sum over a stack

The rows are joined with `stack`, which costs nothing where they are rows of one value already, or
where a loop writes them into one. The sums are in another order than those of the recorded program.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np

from ...core.tensor import OPS
from ...ops import shape
from ..program import STACK, Item, Op, Program, Row, Section, Value, View
from .normal import normal, told

__all__ = ["together"]

MANY = 3
"""So many products or sums, or more, become one."""
_MATMUL, _SUM, _ADD = OPS[np.matmul], OPS[np.sum], OPS[np.add]


def together(program: Program) -> Program:
    """Return a flat program in normal form with equal products, and sums of sums, done at once."""
    sections, changed = [], False
    for section in program.sections:
        new = _Joining(program, section).section()
        changed = changed or new is not section
        sections.append(new)
    return normal(Program(sections)) if changed else program


class _Group(NamedTuple):
    """Operations of a section that become the operations `new`, written at one place."""

    members: list[int]
    place: int
    new: list[Op]


class _Joining:
    def __init__(self, program: Program, section: Section) -> None:
        self.section_ = section
        self.ops = [op for op in section.items if isinstance(op, Op)]
        self.made = {out: i for i, op in enumerate(self.ops) for out in op.outs}
        self.uses: dict[Value, list[int]] = defaultdict(list)
        for i, op in enumerate(self.ops):
            for v in op.views:
                self.uses[v.value].append(i)
        end = len(self.ops)
        for other in program.sections:
            for o in other.outputs:
                if isinstance(o, View):
                    self.uses[o.value].append(end)
            if other is not section:
                for item in other.items:
                    for v in item.views:
                        self.uses[v.value].append(end)

    def section(self) -> Section:
        """Return the section with its groups done at once; itself, if there are none."""
        groups = [*self.products(), *self.sums()]
        if not groups:
            return self.section_
        gone = {i for group in groups for i in group.members}
        at: dict[int, list[Op]] = defaultdict(list)
        for group in groups:
            at[group.place] += group.new
        items: list[Item] = [*at[-1]]
        for i, op in enumerate(self.ops):
            items += [] if i in gone else [op]
            items += at[i]
        return Section(self.section_.inputs, items, self.section_.outputs)

    def defined(self, v: View) -> int:
        """Return the place after which a view can be read."""
        return self.made.get(v.value, -1)

    def products(self) -> list[_Group]:
        """Find products of several matrices with one, that can be done at one place."""
        alike: dict[Any, list[int]] = defaultdict(list)
        for i, op in enumerate(self.ops):
            if op.does is _MATMUL and len(op.views) == 2:
                a, b = op.views
                if len(a.shape) == len(b.shape) == 2 and not a.turned:
                    alike[b, a.shape].append(i)
        groups = []
        for (b, _), members in alike.items():
            if len(members) < MANY:
                continue
            lefts = [a for i in members for a in [self.ops[i].args[0]] if isinstance(a, View)]
            first, last = members[0], members[-1]
            used = min([u for i in members for u in self.uses[self.ops[i].out]], default=last + 1)
            before = max([self.defined(v) for v in [*lefts, b]])
            if before >= used - (used > last):
                continue
            place = used - 1 if used > last else first - 1
            members = self.as_joined(members)
            groups.append(_Group(members, place, self.one_product(members, b)))
        return groups

    def as_joined(self, members: list[int]) -> list[int]:
        """Return operations in the order in which their results are joined, if they are."""
        for i in self.uses[self.ops[members[0]].out]:
            if i < len(self.ops) and self.ops[i].does is STACK:
                makers = [self.made.get(v.value) for v in self.ops[i].views]
                if sorted(members) == sorted([k for k in makers if k in members]):
                    return [k for k in makers if k in members]
        return members

    def one_product(self, members: list[int], b: View) -> list[Op]:
        lefts = [self.ops[i].views[0] for i in members]
        n, (rows, inner), dtype = len(lefts), lefts[0].shape, self.ops[members[0]].out.dtype
        stack, flat = Value((n, rows, inner), dtype), Value((n * rows, inner), dtype)
        product, all_ = Value((n * rows, b.shape[1]), dtype), Value((n, rows, b.shape[1]), dtype)
        new = [
            Op(STACK, tuple(lefts), {}, (stack,)),
            Op(shape.reshape, (View(stack),), {"shape": flat.shape}, (flat,)),
            Op(_MATMUL, (View(flat), b), {}, (product,), note=self.ops[members[0]].note),
            Op(shape.reshape, (View(product),), {"shape": all_.shape}, (all_,)),
        ]
        for k, i in enumerate(members):
            new.append(Op(OPS[np.copy], (View(all_, Row(0, k)),), {}, self.ops[i].outs))
        return new

    def sums(self) -> list[_Group]:
        """Find chains of additions of equal sums, of which only the last result is used."""
        groups, seen = [], set[int]()
        for last in reversed(range(len(self.ops))):
            if last in seen or self.ops[last].does is not _ADD:
                continue
            members, parts, before = list[int](), list[Op](), View(self.ops[last].out)
            while (step := self.step(before, parts)) and (not parts or self.is_used_once(before)):
                add = self.made[before.value]
                members += [add, self.made[step.out]]
                parts.append(step)
                (before,) = [v for v in self.ops[add].views if v.value is not step.out]
            seen.update(members)
            first = self.like(before, parts[0]) if parts else None
            if first:
                members.append(self.made[first.out])
                parts.append(first)
            if len(parts) >= MANY and (first or before.shape == parts[0].out.shape):
                new = self.one_sum(parts, None if first else before, last)
                used = min(self.uses[self.ops[last].out], default=last + 1)
                groups.append(_Group(members, used - 1, new))
        return groups

    def is_used_once(self, v: View) -> bool:
        return v.is_whole and len(self.uses[v.value]) == 1

    def like(self, v: View, part: Op) -> Op | None:
        """Return the operation that makes a view, if it is a sum as `part` is, used only here."""
        maker = self.ops[self.made[v.value]] if v.value in self.made else None
        if maker is None or maker.does is not _SUM or not self.is_used_once(v):
            return None
        (x,), (y,) = maker.views, part.views
        same = (told(maker.params), x.shape, x.dtype) == (told(part.params), y.shape, y.dtype)
        return maker if same and maker.out.dtype == part.out.dtype else None

    def step(self, total: View, parts: list[Op]) -> Op | None:
        """Return the sum, like the `parts`, that makes `total` when it is added to something."""
        op = self.ops[self.made[total.value]] if total.value in self.made else None
        if op is None or op.does is not _ADD or len(op.views) != 2 or not total.is_whole:
            return None
        for v, other in sorted([op.views, op.views[::-1]], key=lambda two: -self.defined(two[0])):
            maker = self.ops[self.made[v.value]] if v.value in self.made else None
            if maker and maker.does is _SUM and self.like(v, parts[0] if parts else maker):
                fits = not maker.params.get("keepdims") and maker.out.shape == op.out.shape
                if fits and other.shape == op.out.shape and v.value is not other.value:
                    return maker
        return None

    def one_sum(self, parts: list[Op], before: View | None, last: int) -> list[Op]:
        views, out = [part.views[0] for part in parts], self.ops[last].out
        stack = Value((len(parts), *views[0].shape), views[0].dtype)
        total = Value(out.shape, out.dtype) if before else out
        axis, ndim = parts[0].params.get("axis"), len(views[0].shape)
        axes = range(ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        over = (0, *[k % ndim + 1 for k in axes])
        new = [
            Op(STACK, tuple(views), {}, (stack,)),
            Op(_SUM, (View(stack),), {"axis": over}, (total,), note=parts[0].note),
        ]
        if before:
            new.append(Op(_ADD, (before, View(total)), {}, (out,), note=self.ops[last].note))
        return new
