"""Equal functions of neighbouring columns as one call: what a call costs is paid once.

    sigmoid(z[:, 0:H]), sigmoid(z[:, H:2H])         sigmoid(z[:, 0:2H])
    concatenate(a * x, b * y, c * z)                concatenate(a, b, c) * concatenate(x, y, z)

Inside loops only, and of arrays with one row: columns of several are not one piece of memory, and
what NumPy does of them costs up to three times as much as it does of one piece. A concatenation is
free where its parts are written into its columns, so it is where the search begins, and what it
goes on with: the gates of a recurrent cell, which the backward loop reads side by side, become one
value that the forward loop collects. The numbers are the same, bit for bit. It is of use where a
function is a call, not in a kernel that fuses them.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from ...ops import shape
from ..program import (
    Carry,
    Collect,
    Item,
    Loop,
    Op,
    Operand,
    Program,
    Section,
    Value,
    View,
    is_elementwise,
    viewed,
)

__all__ = ["widened"]


def widened(program: Program) -> Program:
    """Return a program whose loops do equal functions of neighbouring columns at once."""
    tried = [_Widening(program, order).program() for order in (1, -1)]
    return min([program, *tried], key=_calls)


def _calls(program: Program) -> int:
    loops = [item for item in program.items if isinstance(item, Loop)]
    return sum([op.does is not shape.concatenated for loop in loops for op in loop.body])


class _Widening:
    """All loops of a program, from the last to the first: a loop decides what it reads of others.

    `order` is the order in which the operands of equal functions are tried to be joined.
    """

    def __init__(self, program: Program, order: int) -> None:
        self.source, self.order = program, order
        self.loops = [item for item in program.items if isinstance(item, Loop)]
        self.collected = {c.stack: (loop, c) for loop in self.loops for c in loop.collects}
        self.whole = self._read_whole()
        self.now: dict[Value, View] = {}  # columns of a stack, in the place of a stack
        self.joined: dict[Loop, list[tuple[Collect, list[Collect]]]] = defaultdict(list)

    def _read_whole(self) -> set[Value]:
        """Stacks that are to be one piece: read neither by rows nor element by element."""
        found = set()
        for section in self.source.sections:
            views: list[Operand] = [*section.outputs]
            for item in section.items:
                if isinstance(item, Loop) or not is_elementwise(item.does):
                    views += item.views
            found |= {v.value for v in views if isinstance(v, View) and v.row is None}
        return found

    def beside(self, collects: Sequence[Collect], whole: Value) -> Collect:
        """Collect what several stacks hold as columns of one."""
        stacks = [c.stack for c in collects]
        stack = Value(_total([s.shape for s in stacks]), whole.dtype)
        for value, columns in zip(stacks, _columns(stacks), strict=True):
            self.now[value] = View(stack, None, columns)
        return Collect(stack, whole, collects[0].row)

    def program(self) -> Program:
        new = {id(loop): _Body(self, loop).loop() for loop in reversed(self.loops)}
        sections = []
        for section in self.source.sections:
            items = [
                new[id(item)] if isinstance(item, Loop) else item.reading(self.seen)
                for item in section.items
            ]
            outputs = [self.seen(o) if isinstance(o, View) else o for o in section.outputs]
            sections.append(Section(section.inputs, items, outputs))
        return Program([self.resolved(section) for section in sections])

    def resolved(self, section: Section) -> Section:
        """Return the section with the stacks that later loops have joined."""
        items: list[Item] = []
        for item in section.items:
            if isinstance(item, Loop):
                body = [op.reading(self.seen) for op in item.body]
                carries = [Carry(c.value, self.seen(c.first), c.next) for c in item.carries]
                collects = [
                    Collect(c.stack, c.source, c.row, c.first and self.seen(c.first))
                    for c in item.collects
                ]
                item = Loop(item.rounds, body, carries, collects, item.lasts)
            items.append(item)
        return Section(section.inputs, items, section.outputs)

    def seen(self, v: View) -> View:
        outer = self.now.get(v.value)
        return v if outer is None else viewed(v, outer) or v

    def side_by_side(self, views: Sequence[View]) -> View | None:
        """Rows of several stacks of one loop as a row of one, which that loop will collect."""
        first = views[0]
        if any(v.row != first.row or v.columns or v.turned or v.row is None for v in views):
            return None
        stacks = [v.value for v in views]
        if any(s not in self.collected or s in self.whole or s in self.now for s in stacks):
            return None
        loops, collects = zip(*[self.collected[s] for s in stacks], strict=True)
        loop = loops[0]
        made = {v for op in loop.body if is_elementwise(op.does) for v in op.outs}
        count = Counter([c.source for c in loop.collects] + [c.next for c in loop.carries])
        count.update([inner for _, inner in loop.lasts])
        if len(set(stacks)) < len(stacks) or any(other is not loop for other in loops):
            return None
        if any(c.first or c.row != collects[0].row for c in collects):
            return None
        if any(c.source not in made or count[c.source] > 1 for c in collects):
            return None
        if not first.shape or any(v.shape[:-1] != first.shape[:-1] for v in views):
            return None
        if any(v.dtype != first.dtype for v in views) or math.prod(first.shape[:-1]) != 1:
            return None
        whole = Value(_total([c.source.shape for c in collects]), first.dtype)
        kept = self.beside(collects, whole)
        self.joined[loop].append((kept, list(collects)))
        return View(kept.stack, first.row)


class _Body:
    """The body of a loop, whose operations are replaced by wider ones."""

    def __init__(self, outer: _Widening, loop: Loop) -> None:
        self.outer, self.source = outer, loop
        self.now: dict[Value, View] = {}
        self.ops: dict[Op, float] = {op: k for k, op in enumerate(loop.body)}  # in order
        self.maker = {v: op for op in loop.body for v in op.outs}
        self.collects = list(loop.collects)
        self.packed: set[Value] = set()  # parts of a concatenation already
        self.spare: set[Op] = set()  # concatenations that are only there if they are read

    def loop(self) -> Loop:
        loop = self.source
        if not any(op.has_effect for op in loop.body):
            for op in [op for op in self.ops if self.is_joining(op)]:
                self.packed.update([v.value for v in op.views])
            for kept, parts in self.outer.joined[loop]:
                self.collects = [c for c in self.collects if c not in parts] + [kept]
                self.concatenated([View(c.source) for c in parts], kept.source)
            self.states = {c.next for c in loop.carries} | {inner for _, inner in loop.lasts}
            self.fixed = {c.source for c in self.collects} | self.states
            for op in [op for op in self.ops if self.is_joining(op)]:
                self.widen(op)
            self.neighbours()
        return Loop(loop.rounds, self.sorted(), loop.carries, self.collects, loop.lasts)

    def is_joining(self, op: Op) -> bool:
        """Whether an operation joins whole values of this body along the last axis."""
        axis = op.params.get("axis", 0)
        return (
            op.does is shape.concatenated
            and axis is not None
            and axis % len(op.out.shape) == len(op.out.shape) - 1
            and all(isinstance(a, View) and a.is_whole for a in op.args)
            and all(v.value in self.maker and v.dtype == op.out.dtype for v in op.views)
            and len({v.value for v in op.views}) == len(op.args)
        )

    def seen(self, v: View) -> View:
        """Return a view as it is now: of a wider value, perhaps."""
        v = self.outer.seen(v)
        outer = self.now.get(v.value)
        return v if outer is None else viewed(v, outer) or v

    # ---- joining -------------------------------------------------------------------------------

    def concatenated(self, parts: Sequence[View], out: Value | None = None) -> View:
        """Write a concatenation of whole values, which is free: they are written into it."""
        out = out or Value(_total([v.shape for v in parts]), parts[0].dtype)
        op = Op(shape.concatenated, tuple(parts), {"axis": -1}, (out,))
        self.ops[op] = max([self.ops[self.maker[v.value]] for v in parts]) + 0.5
        self.maker[out] = op
        self.packed.update([v.value for v in parts])
        return View(out)

    def together(self, views: Sequence[View], create: bool) -> View | None:
        """Return several operands side by side as one; None if they are not, and cannot be."""
        views = [self.seen(v) for v in views]
        first = views[0]
        if all(v == first._replace(columns=v.columns) for v in views) and not first.turned:
            spans = [v.columns for v in views if v.columns is not None]
            if len(spans) == len(views) and all(a[1] == b[0] for a, b in pairwise(spans)):
                return self.whole(first._replace(columns=(spans[0][0], spans[-1][1])))
            return None
        if not create:
            return None
        if all(v.is_whole and v.value in self.maker for v in views):
            values = [v.value for v in views]
            kinds = {(v.shape[:-1], v.dtype) for v in views}
            ops = {self.maker[v] for v in values}
            usable = all(is_elementwise(op.does) and not op.several for op in ops)
            if len(set(values)) < len(values) or len(kinds) > 1 or not usable:
                return None
            if not self.packed.isdisjoint(values) or not self.fixed.isdisjoint(values):
                return None
            joined = self.concatenated(views)
            op = self.maker[joined.value]
            self.spare.add(op)
            self.widen(op)
            return self.seen(joined)
        return self.outer.side_by_side(views)

    def whole(self, v: View) -> View:
        """Return a view of all columns as one of no columns in particular."""
        n = v.value.shape[-1] if v.value.shape else 0
        return v._replace(columns=None) if v.columns == (0, n) else v

    def widen(self, joining: Op) -> None:
        """Do what makes the parts of a concatenation at once, as far as it is the same."""
        parts = [v.value for v in joining.views]
        args: list[View] = []
        at = 0
        while at < len(parts):
            n = self.alike(parts[at:])
            wide = self.merged(parts[at : at + n], joining.out if n == len(parts) else None)
            for length in range(n - 1, 1, -1):
                if wide is None:
                    wide = self.merged(parts[at : at + length], None)
                    n = length if wide is not None else n
            if wide is None:
                args.append(View(parts[at]))
                at += 1
            else:
                args.append(View(wide))
                at += n
        if args[0].value is joining.out:
            del self.ops[joining]
            return
        new = Op(joining.does, tuple(args), joining.params, joining.outs, False, joining.note)
        self.replace(joining, new)

    def replace(self, old: Op, new: Op) -> None:
        self.ops[new] = self.ops.pop(old)
        self.maker.update([(v, new) for v in new.outs])
        if old in self.spare:
            self.spare.remove(old)
            self.spare.add(new)

    def alike(self, values: Sequence[Value]) -> int:
        """Return how many of these values, from the first on, the same function makes."""
        first, n = self.maker[values[0]], 1
        while n < len(values) and _form(self.maker[values[n]]) == _form(first):
            n += 1
        return n if is_elementwise(first.does) and not first.params else 1

    def merged(self, values: Sequence[Value], out: Value | None) -> Value | None:
        """Write one operation for those that make these values; None if they have not one form."""
        ops = [self.maker[v] for v in values]
        collects = self.collected(values)
        if len(ops) < 2 or collects is None or len(set(ops)) < len(ops):
            return None
        if any(math.prod(v.shape[:-1]) != 1 for v in values):
            return None
        if any(
            op.out is not v or self.ops.get(op) is None for op, v in zip(ops, values, strict=True)
        ):
            return None
        for create in (True, False):
            args = self.operands(ops, create)
            if args is not None:
                break
        if args is None or self.depends(ops):
            return None
        kind = _total([v.shape for v in values])
        out = out or Value(kind, values[0].dtype)
        op = Op(ops[0].does, tuple(args), {}, (out,), False, ops[0].note)
        self.ops[op] = max([self.ops.pop(old) for old in ops])
        self.maker[out] = op
        for value, columns in zip(values, _columns(values), strict=True):
            self.now[value] = View(out, None, columns)
        if collects:
            self.collects = [c for c in self.collects if c not in collects]
            self.collects.append(self.outer.beside(collects, out))
            self.fixed.add(out)
        return out

    def collected(self, values: Sequence[Value]) -> list[Collect] | None:
        """Return what collects these values, if that can be one; None if they are to stay."""
        if self.fixed.isdisjoint(values):
            return []
        found = [c for v in values for c in self.collects if c.source is v]
        if [c.source for c in found] != [*values] or not self.states.isdisjoint(values):
            return None
        stays = self.outer.whole | self.outer.now.keys()
        if any(c.first or c.row != found[0].row or c.stack in stays for c in found):
            return None
        return found

    def operands(self, ops: Sequence[Op], create: bool) -> list[Operand] | None:
        found: dict[int, Operand | None] = {}
        for k in range(len(ops[0].args))[:: self.outer.order]:
            found[k] = self.operand([op.args[k] for op in ops], [op.out for op in ops], create)
        args = [found[k] for k in range(len(ops[0].args))]
        return None if any(a is None for a in args) else [a for a in args if a is not None]

    def operand(
        self, given: Sequence[Operand], outs: Sequence[Value], create: bool
    ) -> Operand | None:
        views = [self.seen(a) for a in given if isinstance(a, View)]
        if not views:
            return given[0]
        if all(v == views[0] for v in views) and (not views[0].shape or views[0].shape[-1] == 1):
            return views[0]  # one number for every column
        if any(v.shape[-1:] != out.shape[-1:] for v, out in zip(views, outs, strict=True)):
            return None
        return self.together(views, create)

    def depends(self, ops: Sequence[Op]) -> bool:
        """Whether one of these operations needs another, so that they cannot be one."""
        wanted, seen = set(ops), set[Op]()
        todo = list(ops)
        while todo:
            op = todo.pop()
            for v in op.views:
                maker = self.maker.get(self.seen(v).value)
                if maker in wanted:
                    return True
                if maker is not None and maker not in seen:
                    seen.add(maker)
                    todo.append(maker)
        return False

    def neighbours(self) -> None:
        """Merge equal functions of neighbouring columns, wherever they are."""
        groups: dict[Any, list[Op]] = defaultdict(list)
        for op in self.ops:
            columns = [v for v in map(self.seen, op.views) if v.columns is not None]
            if columns and is_elementwise(op.does) and not op.params and not op.several:
                groups[_form(op)].append(op)
        for ops in groups.values():
            ops.sort(key=lambda op: [self.seen(v).columns or (0, 0) for v in op.views])
            k = 0
            while k < len(ops):
                n = len(ops) - k
                while n > 1:
                    run = ops[k : k + n]
                    if self.operands(run, False) and self.merged([op.out for op in run], None):
                        break
                    n -= 1
                k += n

    # ---- writing -------------------------------------------------------------------------------

    def sorted(self) -> list[Op]:
        """Return the operations in an order in which they can be done, like the given one."""
        ops = {op.out if not op.several else op.outs[0]: (op, k) for op, k in self.ops.items()}
        new = [(op.reading(self.seen), k, op) for op, k in ops.values()]
        kept = self.live(new)
        maker = {v: n for n, (op, _) in enumerate(kept) for v in op.outs}
        needs = [{maker[v.value] for v in op.views if v.value in maker} for op, _ in kept]
        users: list[list[int]] = [[] for _ in kept]
        for n, before in enumerate(needs):
            for m in before:
                users[m].append(n)
        missing = [len(before) for before in needs]
        ready = [(kept[n][1], n) for n, count in enumerate(missing) if not count]
        heapq.heapify(ready)
        order = []
        while ready:
            _, n = heapq.heappop(ready)
            order.append(kept[n][0])
            for m in users[n]:
                missing[m] -= 1
                if not missing[m]:
                    heapq.heappush(ready, (kept[m][1], m))
        assert len(order) == len(kept)
        return order

    def live(self, new: Iterable[tuple[Op, float, Op]]) -> list[tuple[Op, float]]:
        """Return the operations without the concatenations that nobody reads."""
        rest = list(new)
        read = {v.value for op, _, _ in rest for v in op.views} | {c.source for c in self.collects}
        return [(op, k) for op, k, old in rest if old not in self.spare or op.out in read]


def _form(op: Op) -> Any:
    """Return what operations have in common that could be one."""
    args = [("view", len(a.shape)) if isinstance(a, View) else (type(a), a) for a in op.args]
    return op.does, op.out.dtype, op.out.shape[:-1], tuple(args), bool(op.params), op.several


def _total(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    return (*shapes[0][:-1], sum([s[-1] for s in shapes]))


def _columns(values: Sequence[Value]) -> list[tuple[int, int]]:
    ends = [0]
    for value in values:
        ends.append(ends[-1] + value.shape[-1])
    return list(pairwise(ends))
