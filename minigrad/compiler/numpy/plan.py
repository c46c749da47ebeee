"""Where every value of a program lives, decided before any array is made.

A *buffer* is an array that values are written into; the *place* of a value is a view of a buffer,
in loops with a row that moves. Values without a place are whatever their function returned.

- What a loop collects is written into its row at once. A value that is carried and collected is
  read from the row before, in a buffer with one row more; others are carried in one buffer.
- What is joined along the last axis is written into its columns, if there is one row of them. Else
  columns are no piece of memory, and functions slow: then the parts are pieces of one buffer, which
  are copied all at once.
- A value that a section returns is in a buffer made anew at each call, a *fresh* one. All others
  are a workspace's, and a later section finds there what an earlier one left.
- A buffer is used again after the last use of what it held; by elementwise functions already at
  that last use. What a later section reads is never overwritten.

A few copies remain; they are lists of (destination, source), done after an operation, before a
loop, or at the begin or end of every round.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, TypeAlias

from ...ops import shape
from ..program import (
    Carry,
    Collect,
    Item,
    Loop,
    Op,
    Program,
    Row,
    Section,
    Value,
    View,
    viewed,
)
from .written import Written

__all__ = ["Plan"]

Copies: TypeAlias = list[tuple[View, View]]

FOREVER = 1 << 60
BLOCKS = 1 << 20
"""Bytes up to which a concatenation is copied from its parts: while it stays in the caches."""
RESHAPES = (shape.reshape, shape.ravel, shape.expand_dims, shape.squeeze)


class Plan:
    """The places of a program's values, given which operations write where they are told, and how.

    places   of values, as views of buffers
    parts    buffers that are rows a to b of another, perhaps in another shape
    shared   buffers that are the memory of another one, which is used again
    fresh    buffers that are made anew at each call
    after    copies to be done after an operation, or before the first round of a loop
    begin    copies at the begin of each round; the sources are values that are carried
    end      copies at the end of each round
    lasting  values without a place that a later section reads
    kept     buffers, and values without a place, whose memory a later section reads
    aliases  values that are another one in another shape
    blocks   for a concatenation: the buffer that its parts are rows of, and its place with as many
             columns of columns
    """

    def __init__(self, program: Program, written: Mapping[Op, Written | None]) -> None:
        self.program, self.written = program, written
        self.places: dict[Value, View] = {}
        self.parts: dict[Value, tuple[Value, int, int]] = {}
        self.shared: dict[Value, Value] = {}
        self.fresh: set[Value] = set()
        self.after: defaultdict[Any, Copies] = defaultdict(list)
        self.begin: defaultdict[Any, Copies] = defaultdict(list)
        self.end: defaultdict[Any, Copies] = defaultdict(list)
        self.lasting: set[Value] = set()
        self.aliases: set[Value] = set()
        self.kept: set[Value] = set()
        self.blocks: dict[Op, tuple[Value, View]] = {}
        self._inner: dict[Loop, _Body] = {}
        for section in program.sections:
            for item in section.items:
                if isinstance(item, Loop):
                    self._inner[item] = _Body(item, self)
                    self._stacks(item)
                    self._carries(item)
                    self._ops(item.body)
                    self._lasts(item)
            self._ops([item for item in section.items if isinstance(item, Op)])
        _Lives(self).share()

    def writes(self, op: Op) -> bool:
        """Whether an operation writes where it is told."""
        return self.written[op] is not None

    def writes_over(self, op: Op) -> bool:
        """Whether it may write over the elements that it reads."""
        how = self.written[op]
        return how is not None and how.over

    def root(self, buffer: Value) -> Value:
        """Return the buffer that `buffer` is a part of, or itself."""
        while buffer in self.parts:
            buffer = self.parts[buffer][0]
        return buffer

    def buffers(self) -> list[Value]:
        """Return the buffers of a workspace, each once."""
        roots = dict.fromkeys(self.root(place.value) for place in self.places.values())
        return [b for b in roots if b not in self.fresh and b not in self.shared]

    def placed(self, view: View) -> View | None:
        """Return an operand as a view of a buffer; None if it is none."""
        place = self.places.get(view.value)
        return None if place is None else viewed(view, place)

    # ---- homes ---------------------------------------------------------------------------------

    def _own(self, value: Value) -> None:
        self.places.setdefault(value, View(Value(value.shape, value.dtype, value.name)))

    def _part(self, buffer: Value, start: int, stop: int, like: Value) -> Value:
        if (start, stop) == (0, buffer.shape[0]) and like.shape == buffer.shape:
            return buffer
        part = Value(like.shape, like.dtype, like.name)
        self.parts[part] = buffer, start, stop
        return part

    def _stacks(self, loop: Loop) -> None:
        """Rows of what is collected; states that are carried as well share a buffer with them."""
        made = {v: op for op in loop.body for v in op.outs}
        for carry in loop.carries:
            if carry.next in self.places or carry.next not in made:
                continue
            kept = [c for c in loop.collects if _is_state(c, carry)]
            if kept:
                self._state(loop, carry, kept)
        for c in loop.collects:
            if c.stack not in self.places:
                self._own(c.stack)
                row = self.places[c.stack]._replace(row=c.row)
                if c.source not in made:
                    self.begin[loop].append((row, View(c.source)))
                elif c.source in self.places:
                    self.after[made[c.source]].append((row, View(c.source)))
                else:
                    self.places[c.source] = row
                if c.first is not None:
                    before = row._replace(row=Row(0, c.row.at(-1)))
                    self.after[loop].append((before, c.first))

    def _state(self, loop: Loop, carry: Carry, kept: list[Collect]) -> None:
        """One row for each state, the first one included: row r is read and row r + 1 written."""
        step = kept[0].row.step
        kept = [c for c in kept if c.row.step == step and c.stack not in self.places]
        if not kept:
            return
        n, value = loop.rounds, carry.value
        buffer = Value((n + 1, *value.shape), value.dtype, kept[0].stack.name)
        read, written = (Row(1, 0), Row(1, 1)) if step == 1 else (Row(-1, n), Row(-1, n - 1))
        self.places[value] = View(buffer, read)
        self.places[carry.next] = View(buffer, written)
        self.after[loop].append((View(buffer, Row(0, read.start)), carry.first))
        for c in kept:
            start = (read if c.source is value else written).start - c.row.start
            stop = start + c.stack.shape[0]
            self.places[c.stack] = View(self._part(buffer, start, stop, c.stack))

    def _carries(self, loop: Loop) -> None:
        """A buffer for each value that is carried and has no row; written at once if it may be."""
        body = self._inner[loop]
        read = {c.value for c in loop.carries}
        late = []
        for carry in loop.carries:
            if carry.value in self.places:
                continue
            self._own(carry.value)
            place = self.places[carry.value]
            self.after[loop].append((place, carry.first))
            op = body.made.get(carry.next)
            if carry.next in read:
                late.append((place, carry.next))
            elif op is not None and carry.next not in self.places and body.is_free(carry.value, op):
                self.places[carry.next] = place
            else:
                self._own(carry.next)  # not a view of what is carried, which is written first
                self.end[loop].append((place, View(carry.next)))
        for _, inner in loop.lasts:
            self._own(inner)
        for place, value in late:  # what other carries held in this round
            held = Value(value.shape, value.dtype, value.name)
            self._own(held)
            self.begin[loop].append((self.places[held], View(value)))
            self.end[loop].append((place, View(held)))

    def _lasts(self, loop: Loop) -> None:
        carried = {c.value: c.next for c in loop.carries}
        for outer, inner in loop.lasts:
            place = self.places[inner]
            if place.row and inner in carried:
                place = self.places[carried[inner]]
            row = place.row and Row(0, place.row.at(loop.rounds - 1))
            self.places[outer] = place._replace(row=row)

    def _ops(self, ops: list[Op]) -> None:
        made = {v: op for op in ops for v in op.outs}
        for op in reversed(ops):  # what is joined first needs the place of the whole
            if not self._writable(op):
                continue
            self._own(op.out)
            if op.does is shape.concatenated:
                self._join(op, made)
        for op in ops:
            if op.does in RESHAPES and op.out not in self.places and isinstance(op.args[0], View):
                self._reshape(op, op.args[0])

    def _join(self, op: Op, made: dict[Value, Op]) -> None:
        """Places for the parts of a concatenation along the last axis, who have no other."""
        views = [a for a in op.args if isinstance(a, View)]
        if op.params.get("axis", 0) not in (-1, len(op.out.shape) - 1) or len(op.out.shape) < 2:
            return
        free = [
            a.is_whole and a.value not in self.places and self._writable(made.get(a.value))
            for a in views
        ]
        place, n = self.places[op.out], len(views)
        one_row = math.prod(op.out.shape[:-1]) == 1
        if one_row or op.out.nbytes > BLOCKS:
            stop = 0
            for a, is_free in zip(views, free, strict=True):
                start, stop = stop, stop + a.shape[-1]
                part = viewed(View(op.out, None, (start, stop)), place)
                if is_free and part is not None:
                    self.places[a.value] = part
        elif all(free) and len({a.shape for a in views}) == 1 and place.columns is None:
            if len({a.value for a in views}) < n or not place.value.shape[0]:
                return
            blocks = Value((n, *views[0].shape), op.out.dtype, "parts")
            for k, a in enumerate(views):
                self.places[a.value] = View(blocks, Row(0, k))
            whole = place.value
            parted = Value((*whole.shape[:-1], n, views[0].shape[-1]), whole.dtype, "columns")
            self.parts[parted] = whole, 0, whole.shape[0]
            self.blocks[op] = blocks, place._replace(value=parted)

    def _reshape(self, op: Op, a: View) -> None:
        place = self.places.get(a.value)
        if place is None or not (a.is_whole and place.is_whole) or not op.out.shape:
            return
        n = place.value.shape[0] if place.value.shape else 0
        if n and place.value.shape != op.out.shape:
            self.places[op.out] = View(self._part(place.value, 0, n, op.out))
            self.aliases.add(op.out)

    def _writable(self, op: Op | None) -> bool:
        return op is not None and self.writes(op)


class _Body:
    """When the values of a loop are made and last read, in operations; what is views counts on."""

    def __init__(self, loop: Loop, plan: Plan) -> None:
        self.plan = plan
        self.made = {v: op for op in loop.body for v in op.outs}
        self.at = {op: k for k, op in enumerate(loop.body)}
        self.last: defaultdict[Value, int] = defaultdict(int)
        end = len(loop.body)
        self.last.update({c.next: end for c in loop.carries})
        self.last.update({inner: end for _, inner in loop.lasts if inner in self.made})
        for k, op in reversed([*enumerate(loop.body)]):
            seen = k if plan.writes(op) else max([k, *[self.last[v] for v in op.outs]])
            for view in op.views:
                self.last[view.value] = max(self.last[view.value], seen)

    def is_free(self, value: Value, op: Op) -> bool:
        """Whether an operation may write over a value that is carried: nobody reads it later."""
        if self.last[value] != self.at[op]:
            return self.last[value] < self.at[op]
        views = [v for v in op.views if v.value is value]
        fits = all(v.is_whole and v.shape == op.out.shape for v in views)
        return fits and self.plan.writes_over(op)


def _is_state(c: Collect, carry: Carry) -> bool:
    """Whether a row of the stack is the state that a round reads, or makes."""
    if abs(c.row.step) != 1:
        return False
    if c.source is carry.value:
        return c.first is None
    return c.source is carry.next and (c.first is None or c.first == carry.first)


class _Lives:
    """From when to when every buffer holds something that is read, and which take turns."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.first: dict[Value, int] = {}
        self.last: dict[Value, int] = {}
        self.section: dict[Value, int] = {}
        self.behind: dict[Value, set[Value]] = {}  # what a value without a place may be a view of
        self.over: dict[Value, list[Value]] = {}  # whose last use may be overwritten, by buffer
        self.tick = 0
        for k, section in enumerate(plan.program.sections):
            self.now = k
            self.section.update(dict.fromkeys(section.inputs, k))
            for item in section.items:
                self._item(item)
            self.tick += 1
            self._outputs(section)
        plan.kept = {v for v, tick in self.last.items() if tick == FOREVER}
        self._returned()

    def _seen(self, view: View) -> set[Value]:
        place = self.plan.places.get(view.value)
        if place is not None:
            return {self.plan.root(place.value)}
        return self.behind.get(view.value, set())

    def _read(self, view: View) -> None:
        value = view.value
        earlier = self.section.setdefault(value, self.now) < self.now
        if earlier and value not in self.plan.places and value.array is None:
            self.plan.lasting.add(value)
        for buffer in self._seen(view):
            late = self.section.get(buffer, self.now) < self.now
            self.last[buffer] = FOREVER if late else max(self.last.get(buffer, 0), self.tick)

    def _written(self, buffer: Value) -> None:
        root = self.plan.root(buffer)
        self.first.setdefault(root, self.tick)
        self.section.setdefault(root, self.now)
        self.last[root] = max(self.last.get(root, 0), self.tick)

    def _item(self, item: Item) -> None:
        self.tick += 1
        if isinstance(item, Op):
            self._op(item)
            return
        plan, moves = self.plan, self.plan.begin[item] + self.plan.end[item]
        spanning = {plan.root(place.value) for place, _ in plan.after[item] + moves}
        spanning |= {plan.root(plan.places[c.value].value) for c in item.carries}
        spanning |= {plan.root(plan.places[v].value) for v in item.outs if v in plan.places}
        for buffer in spanning:
            self._written(buffer)
        for view in item.views:
            self._read(view)
        for op in item.body:
            self.tick += 1
            self._op(op)
        self.tick += 1
        inner = {v for op in item.body for v in op.outs}
        for view in [v for op in item.body for v in op.views if v.value not in inner]:
            self._read(view)
        for view in [source for _, source in moves]:
            self._read(view)
        for buffer in spanning:
            self._written(buffer)

    def _op(self, op: Op) -> None:
        plan = self.plan
        for view in op.views:
            self._read(view)
        for _, source in plan.after[op]:
            self.section.setdefault(source.value, self.now)
        for place, _ in plan.after[op]:
            self._written(place.value)
        seen = set[Value]().union(*map(self._seen, op.views))
        for out in op.outs:
            self.section.setdefault(out, self.now)
            if out in plan.places:
                buffer = plan.places[out].value
                root = plan.root(buffer)
                if root not in self.first and plan.places[out].is_whole and plan.writes(op):
                    self.over[root] = self._overwritten(op)
                self._written(buffer)
            else:
                self.behind[out] = {out, *seen}

    def _overwritten(self, op: Op) -> list[Value]:
        """Buffers whose memory the result may take if this is their last use."""
        if not self.plan.writes_over(op):
            return []
        whole: dict[Value, bool] = {}
        for view in op.views:
            place = self.plan.placed(view)
            fits = place is not None and place.is_whole and view.shape == op.out.shape
            fits = fits and view.dtype == op.out.dtype
            for buffer in self._seen(view):
                whole[buffer] = whole.get(buffer, True) and fits
        return [buffer for buffer, fits in whole.items() if fits]

    def _outputs(self, section: Section) -> None:
        for o in section.outputs:
            if isinstance(o, View):
                self._read(o)

    def _returned(self) -> None:
        """Buffers whose value a section returns, and nobody else holds, are made at each call."""
        plan = self.plan
        count: defaultdict[Value, int] = defaultdict(int)
        outputs = [
            (k, o)
            for k, section in enumerate(plan.program.sections)
            for o in section.outputs
            if isinstance(o, View)
        ]
        for _, o in outputs:
            for buffer in self._seen(o):
                count[buffer] += 1
        for k, o in outputs:
            place = plan.placed(o)
            if place is not None and place.is_whole:
                root = plan.root(place.value)
                if self.section[root] == k and root not in plan.kept and count[root] == 1:
                    plan.fresh.add(root)

    def share(self) -> None:
        """Give buffers of one size and dtype to one another, each after the last use."""
        plan, shared = self.plan, self.plan.shared
        order = sorted(self.first, key=self.first.__getitem__)
        free: defaultdict[Any, list[Value]] = defaultdict(list)
        ending = sorted(self.first, key=self.last.__getitem__)
        n = 0
        given: set[Value] = set()
        for buffer in order:
            if buffer in plan.fresh:
                continue
            tick, kind = self.first[buffer], _kind(buffer)
            while n < len(ending) and self.last[ending[n]] < tick:
                old = ending[n]
                n += 1
                if old not in plan.fresh and old not in given:
                    free[_kind(old)].append(old)
            for old in self.over.get(buffer, []):
                usable = old not in plan.fresh and old not in given and _kind(old) == kind
                if usable and self.last[old] == tick:
                    given.add(old)
                    shared[buffer] = shared.get(old, old)
                    break
            else:
                if free[kind]:
                    old = free[kind].pop()
                    shared[buffer] = shared.get(old, old)


def _kind(buffer: Value) -> tuple[int, Any]:
    return math.prod(buffer.shape), buffer.dtype
