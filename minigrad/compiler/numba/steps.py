"""Operations of a kernel as steps, and where their values are.

A step is a group of elementwise functions and reductions over one shape, which are done together
for each element; a matrix product; or a loop of steps. What is joined or collected is written where
it will be, and memory whose contents nobody needs any more is used again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from ...core.dtypes import Array
from ..program import Collect, Item, Loop, Op, Row, Value, View
from .fused import Each, Join, Low, Product, Reduce, Seen, lowered
from .places import Place, Slot, contiguous, is_layout
from .sinking import sunk

__all__ = ["Group", "Level", "Rounds", "Step", "Steps", "is_direct", "ops_of", "views_of"]


@dataclass(eq=False, slots=True)
class Group:
    """Elementwise functions and reductions over one shape, done together for each element."""

    shape: tuple[int, ...]
    ops: list[Each | Reduce]
    values: set[Value] = field(default_factory=set)  # which its functions find in registers


@dataclass(eq=False, slots=True)
class Rounds:
    """Steps that are repeated."""

    rounds: int
    level: Level


Step: TypeAlias = Group | Product | Rounds
Part: TypeAlias = Callable[[Place], Place]
"""Where a part of a value is, from where the value is."""


@dataclass(eq=False, slots=True)
class Level:
    """Steps in order: those of a kernel, or of a loop in it."""

    steps: list[Step] = field(default_factory=list)
    at: dict[Value, int] = field(default_factory=dict)  # after which step a value is known
    moves: list[tuple[Value, Value]] = field(default_factory=list)  # carried to the next round


class Steps:
    """Makes steps of operations, and places for their values."""

    def __init__(self, items: Sequence[Item], leaving: Iterable[Value]) -> None:
        self.leaving = dict.fromkeys(leaving)
        self.places: dict[Value, Place] = {}
        self.inside: dict[Value, tuple[Value, Part]] = {}  # values that are parts of others
        self.level_of: dict[Value, Level] = {}
        self.reads: dict[Value, Slot] = {}
        self.constants: dict[Value, Slot] = {}
        self.writes: dict[Value, Slot] = {}
        self.top = self.level = Level()
        self.low: dict[Op, list[Low]] = {}
        items = _sunk(items, self.leaving)
        for item in items:
            for op in [item] if isinstance(item, Op) else item.body:
                self.low[op] = lowered(op) or []
        self.scan([op for op in items if isinstance(op, Op)])
        for item in items:
            if isinstance(item, Loop):
                self.loop(item)
            else:
                self.op(item)

    # ---- where values are ----------------------------------------------------------------------

    def place(self, value: Value) -> Place:
        """Return where a value is, or will be."""
        known = self.places.get(value)
        if known is None:
            known = self.places[value] = self.found(value)
        return known

    def found(self, value: Value) -> Place:
        if value in self.inside:
            whole, part = self.inside[value]
            return part(self.place(whole))
        level = self.level_of.get(value)
        slot = Slot(value.dtype, value.shape, level, given=level is None or value in self.leaving)
        if level is None:
            (self.constants if _is_frozen(value.array) else self.reads)[value] = slot
        elif value in self.leaving:
            self.writes[value] = slot
        return Place(slot, 0, 0, value.shape, contiguous(value.shape))

    def seen(self, view: View) -> Place:
        return self.place(view.value).seen(view)

    def scan(self, ops: Sequence[Op]) -> None:
        """Find what is part of what: what is joined is made in the place of the whole."""
        made: set[Value] = set()
        for op in ops:
            for low in self.low[op]:
                self.level_of[low.out] = self.level
                if not isinstance(low, Seen):
                    made.add(low.out)
        for op in reversed(ops):
            for low in self.low[op]:
                if isinstance(low, Join):
                    for view, part in zip(low.args, low.places, strict=True):
                        if view.is_whole and view.value in made:
                            self.put_inside(view.value, low.out, part)

    def put_inside(self, value: Value, whole: Value, part: Part) -> None:
        if value not in self.inside and value not in self.leaving and value not in self.places:
            self.inside[value] = whole, part

    # ---- operations become steps ---------------------------------------------------------------

    def op(self, op: Op) -> None:
        for low in self.low[op]:
            self.level_of[low.out] = self.level
            if isinstance(low, (Each, Reduce)):
                self.join(low)
            elif isinstance(low, Product):
                self.product(low)
            elif isinstance(low, Join):
                for view, part in zip(low.args, low.places, strict=True):
                    if self.inside.get(view.value) != (low.out, part):
                        self.copy(view, low.out, part)
                ends = [self.level.at.get(v.value, -1) for v in low.args if v.is_whole]
                last = max([*ends, self.level.at.get(low.out, -1)])
                self.known(low.out, last)
            else:
                self.see(low)

    def product(self, product: Product) -> None:
        """Add a product, of matrices that lie in memory as BLAS takes them."""
        args = []
        for v in product.args:
            place = self.seen(v)
            if len(v.shape) > 1 and not is_layout(place.strides[-2:], place.shape[-2:]):
                straight = Value(v.shape, v.dtype)
                self.copy(v, straight)
                v = View(straight)
            args.append(v)
        a, b = args
        out, place = product.out, self.place(product.out)
        matrices = len(a.shape) > 1 and len(b.shape) > 1
        if matrices and not is_layout(place.strides[-2:], place.shape[-2:], as_result=True):
            out = Value(out.shape, out.dtype)
            self.level_of[out] = self.level
        self.level.steps.append(Product(out, (a, b)))
        self.known(out, len(self.level.steps) - 1)
        if out is not product.out:
            self.copy(View(out), product.out)

    def known(self, value: Value, step: int) -> None:
        self.level.at[value] = max(step, self.level.at.get(value, -1))

    def see(self, low: Seen) -> None:
        """A view of what is in memory already; a copy where there is none, or where it leaves."""
        (view,) = low.args
        place = low.change(self.seen(view))
        if place is None:
            straight = Value(view.shape, view.dtype)
            self.copy(view, straight)
            place = low.change(self.place(straight))
            assert place is not None
            view = View(straight)
        self.alias(low.out, place, self.level.at.get(view.value, -1))

    def alias(self, value: Value, place: Place, step: int) -> None:
        """Let a value be what is at a place after a step; copied, if it must be elsewhere."""
        copied = value in self.leaving or value in self.inside
        seen = Value(value.shape, value.dtype) if copied else value
        self.places[seen] = place
        self.known(seen, step)
        if copied:
            self.join(Each.copy(value, View(seen)))

    def copy(self, view: View, whole: Value, part: Part | None = None) -> None:
        """Copy into a value, or into a part of it."""
        new = whole
        if part is None:
            self.level_of[whole] = self.level
        else:
            new = Value(view.shape, view.dtype)
            self.inside[new] = whole, part
            self.level_of[new] = self.level
        self.join(Each.copy(new, view))
        self.known(whole, self.level.at[new])

    def join(self, new: Each | Reduce) -> None:
        """Put a function into the earliest group of its shape after what it reads is known."""
        steps, at = self.level.steps, self.level.at
        least = 0
        for a in new.args:
            if isinstance(a, View):
                k = at.get(a.value, -1)
                group = steps[k] if k >= 0 else None
                direct = isinstance(group, Group) and a.is_whole and a.value in group.values
                least = max(least, k if direct and a.shape == new.shape else k + 1)
        for k in range(least, len(steps)):
            group = steps[k]
            if isinstance(group, Group) and group.shape == new.shape:
                break
        else:
            k, group = len(steps), Group(new.shape, [])
            steps.append(group)
        group.ops.append(new)
        if isinstance(new, Each):
            group.values.add(new.out)
        self.known(new.out, k)

    # ---- loops ---------------------------------------------------------------------------------

    def loop(self, loop: Loop) -> None:
        outer, inner = self.level, Level()
        self.level_of.update(dict.fromkeys(loop.outs, outer))
        kept = [c.source for c in loop.collects] + [v for _, v in loop.lasts]
        body = sunk(loop.body, [*kept, *[c.next for c in loop.carries]])
        for op in body:
            self.low.setdefault(op, lowered(op) or [])
        made = {v for op in body for v in op.outs}
        seen = {low.out for op in body for low in self.low[op] if isinstance(low, Seen)}
        carried = {c.next for c in loop.carries} - {c.value for c in loop.carries}
        copies: list[tuple[View, Value, Part]] = []
        for c in loop.collects:
            row = _row_of(c.row)
            if c.source in made - seen and c.source not in self.inside:
                self.put_inside(c.source, c.stack, row)
            else:
                copies.append((View(c.source), c.stack, row))
            if c.first is not None:
                self.copy(c.first, c.stack, _row_of(Row(0, c.row.at(-1))))
        after: list[tuple[Value, Value, int]] = []  # to be read where the last round left it
        passed = {c.value: c.next for c in loop.carries}
        for last, v in loop.lasts:
            v = passed.get(v, v)  # what a further round would read
            if v in self.inside or v in carried:
                after.append((last, v, loop.rounds - 1))
            elif v in made - seen:
                self.put_inside(v, last, lambda place: place)
            else:
                copies.append((View(v), last, lambda place: place))
        for carry in loop.carries:
            stack = _stack_of(carry, loop.collects)
            if stack is not None:
                before = Row(stack.row.step, stack.row.start - stack.row.step)
                self.places[carry.value] = self.place(stack.stack).row(before)
                continue
            held = Value(carry.value.shape, carry.value.dtype)
            self.copy(carry.first, held)
            self.places[carry.value] = self.place(held)
            inner.moves.append((held, carry.next))
        body = self.straightened(body, loop)
        self.level = inner
        self.scan(body)
        for k, (held, v) in enumerate(inner.moves):
            if v not in carried:  # it is written over before this round ends
                now = Value(v.shape, v.dtype)
                self.copy(View(v), now)
                inner.moves[k] = held, now
        for op in body:
            self.op(op)
        for view, whole, part in copies:
            self.copy(view, whole, part)
        moves = [*inner.moves]
        self.carry(inner)
        self.level = outer
        outer.steps.append(Rounds(loop.rounds, inner))
        for value in loop.outs:
            outer.at[value] = len(outer.steps) - 1
        held_of = {v: held for held, v in moves}
        for last, v, r in after:
            place = self.place(held_of.get(v, v))
            place = place._replace(offset=place.offset + r * place.step, step=0)
            self.alias(last, place, len(outer.steps) - 1)

    def straightened(self, body: Sequence[Op], loop: Loop) -> list[Op]:
        """Copy matrices from outside that products read turned: by rows, they are faster."""
        inner = {v for op in body for v in op.outs} | {c.value for c in loop.carries}
        copies: dict[View, Value] = {}

        def read(v: View) -> View:
            if v.value in inner or not v.turned or (v.row is not None and v.row.step):
                return v
            if v not in copies:
                copies[v] = Value(v.shape, v.dtype)
                self.copy(v, copies[v])
            return View(copies[v])

        new = []
        for op in body:
            if any(isinstance(low, Product) for low in self.low[op]):
                op = op.reading(read)
                self.low[op] = lowered(op) or []
            new.append(op)
        return new

    def carry(self, inner: Level) -> None:
        """Let what is carried be written where the next round reads it, if it is free."""
        late: list[tuple[Value, Value]] = []
        joined = {whole for whole, _ in self.inside.values()}
        for held, v in inner.moves:
            place, new, step = self.place(v), self.place(held), inner.at.get(v, -1)
            own = Place(place.slot, 0, 0, place.slot.shape, contiguous(place.slot.shape))
            free = place == own and place.slot.level is inner and not place.slot.given
            free = free and place.slot.taken is None and v not in joined
            if free and step >= 0 and not self.read_from(inner, new, step):
                place.slot.taken = new.slot
            else:
                late.append((held, v))
        inner.moves = late
        groups: dict[tuple[int, ...], Group] = {}
        for held, v in late:
            now = Value(v.shape, v.dtype)
            self.places[now] = self.place(held)
            groups.setdefault(v.shape, Group(v.shape, [])).ops.append(Each.copy(now, View(v)))
        inner.steps += groups.values()

    def read_from(self, level: Level, place: Place, step: int) -> bool:
        """Whether what is at a place is read after a step, or in it not only element by element."""
        for k, s in enumerate(level.steps[step:], step):
            for v in views_of(s):
                if self.place(v.value).slot is place.slot:
                    alike = isinstance(s, Group) and s.shape == v.shape and self.seen(v) == place
                    if k > step or not alike:
                        return True
        return False


def _is_frozen(array: Array | None) -> bool:
    """Whether a constant stays as it is: nobody can write into it, or into what it views."""
    while isinstance(array, np.ndarray) and not array.flags.writeable:
        if array.base is None:
            return True
        array = array.base
    return False


def _sunk(items: Sequence[Item], leaving: Iterable[Value]) -> list[Item]:
    """Return the items with slices sunk through elementwise functions, between loops."""
    kept, new, run = {*leaving}, list[Item](), list[Op]()
    for item in items:
        if isinstance(item, Loop):
            kept.update(v.value for v in item.views)
    for part in [*items, None]:
        if isinstance(part, Op):
            run.append(part)
            continue
        later = {v.value for item in items if item not in run for v in item.views}
        new += sunk(run, kept | later)
        run = []
        new += [part] if part else []
    return new


def _row_of(row: Row) -> Callable[[Place], Place]:
    return lambda place: place.row(row)


def _stack_of(carry: Any, collects: Sequence[Collect]) -> Collect | None:
    """Return the stack in whose row before the one that is written a carry can be read."""
    for c in collects:
        if c.source is carry.next and c.first is not None and c.first == carry.first:
            return c
    return None


def ops_of(step: Group | Product) -> Sequence[Each | Reduce | Product]:
    return step.ops if isinstance(step, Group) else [step]


def views_of(step: Step) -> Iterator[View]:
    """Iterate over what a step reads from memory."""
    if not isinstance(step, Rounds):
        for op in ops_of(step):
            for a in op.args:
                if isinstance(a, View) and not is_direct(a, step):
                    yield a


def is_direct(view: View, step: Step) -> bool:
    """Whether a view is of what the group itself has made."""
    return isinstance(step, Group) and view.is_whole and view.value in step.values
