"""The loops that were found, written down: what each carries, collects, and gives at the end."""

from __future__ import annotations

from dataclasses import dataclass

from ...ops import index, shape
from ..program import (
    COPY,
    STACK,
    Carry,
    Collect,
    Item,
    Loop,
    Op,
    Operand,
    Program,
    Row,
    Section,
    Value,
    View,
    viewed,
)
from .flat import Flat
from .rounds import Found, Read

__all__ = ["Building"]


class Building:
    """Writes the program with loops, and decides what each of them collects."""

    def __init__(self, flat: Flat, found: list[Found]) -> None:
        self.flat, self.found = flat, found
        self.now: dict[Value, View] = {}  # what stands for a value that is a stack of a loop
        self.lasts: dict[Value, Value] = {}
        self.items: list[Item] = []
        self.stacks: dict[int, list[Piece]] = {}  # the parts of an operation that joins rounds
        starts = {f.start: f for f in found}
        inside = {i for f in found for i in range(f.start, f.stop)}
        self.order: list[int | Found] = [
            starts.get(i, i) for i in range(len(flat.ops)) if i in starts or i not in inside
        ]
        self.demand()

    # ---- what is wanted of the loops ------------------------------------------------------------

    def demand(self) -> None:
        """Find out which values of which rounds are read outside their loop."""
        whole: dict[tuple[Found, int], list[int]] = {}  # steps of the rounds wanted of a slot
        begun: set[tuple[Found, int]] = set()  # of which also what was before the first round
        single: list[Value] = []
        for place in self.order:
            if isinstance(place, Found):
                single += [first.value for first in place.firsts.values()]
                for read in [read for reads in place.reads for read in reads]:
                    if read.kind == "loop":
                        key = read.loop, read.slot
                        whole.setdefault(key, [])
                        ends = read.row.at(0), read.row.at(place.rounds - 1)  # type: ignore[union-attr]
                        begun.update([key] * (min(ends) < 0))
            elif self.flat.ops[place].does is STACK:
                pieces = self.stacks[place] = self.pieces(self.flat.ops[place])
                for piece in pieces:
                    if piece.loop is None:
                        single.append(piece.view.value)
                    else:
                        key = piece.loop, piece.slot
                        whole.setdefault(key, []).append(piece.step)
                        begun.update([key] * (min(piece.first_round, piece.last_round) < 0))
            else:
                single += [v.value for v in self.flat.ops[place].views]
        for section in self.flat.program.sections:
            single += [o.value for o in section.outputs if isinstance(o, View)]
        wanted: dict[tuple[Found, int], set[int]] = {}
        for value in single:
            if at := self.place(View(value)):
                f, slot, r = at
                wanted.setdefault((f, slot), set()).add(r)
        for (f, slot), rounds in wanted.items():
            if (f, slot) in whole or rounds != {f.rounds - 1}:
                whole.setdefault((f, slot), [])
            else:
                value = f.value(self.flat, slot, f.rounds - 1)
                self.lasts[value] = Value(value.shape, value.dtype, value.name)
        for (f, slot), steps in whole.items():
            self.collect(f, slot, (f, slot) in begun, down=bool(steps) and max(steps) < 0)

    def collect(self, f: Found, slot: int, begun: bool, down: bool) -> None:
        """Have a loop collect a value of its body; `down`: from the last row to the first."""
        source, rows = self.flat.values[f.base + slot], f.rounds + begun
        stack = Value((rows, *source.shape), source.dtype, source.name)
        row = Row(-1, f.rounds - 1) if down else Row(1, int(begun))
        f.collects[slot] = Collect(stack, source, row, f.firsts[slot] if begun else None)

    def pieces(self, op: Op) -> list[Piece]:
        """Cut the operands of a stack into runs, each of one value in consecutive rounds."""
        views = [a for a in op.args if isinstance(a, View)]
        places = [self.place(v) for v in views]
        for k, at in enumerate(places):  # what a loop begins with belongs to the run next to it
            for near in (k - 1, k + 1):
                other = places[near] if at is None and 0 <= near < len(places) else None
                if other and other[2] == 0 and other[0].firsts.get(other[1]) == views[k]:
                    places[k] = other[0], other[1], -1
        pieces: list[Piece] = []
        for view, at in zip(views, places, strict=True):
            if not (pieces and at and pieces[-1].goes_on(at)):
                pieces.append(Piece(view, *(at or (None, 0, 0))))
        return [
            part
            for piece in pieces
            for part in ([piece] if piece.length > 1 else [Piece(piece.view, None, 0, 0)])
        ]

    def place(self, v: View) -> tuple[Found, int, int] | None:
        """Return the loop, the slot in its body and the round that make a whole value."""
        if v.is_whole and v.value in self.flat.slots:
            for f in self.found:
                if at := f.place(self.flat.slots[v.value]):
                    return f, *at
        return None

    # ---- writing --------------------------------------------------------------------------------

    def program(self) -> Program:
        sections = []
        for section, (start, stop) in zip(self.flat.program.sections, self.flat.spans, strict=True):
            self.items = []
            for place in self.order:
                if start <= (place.start if isinstance(place, Found) else place) < stop:
                    self.write(place)
            outputs: list[Operand] = [
                self.seen(o) if isinstance(o, View) else o for o in section.outputs
            ]
            sections.append(Section(section.inputs, self.items, outputs))
        return Program(sections)

    def write(self, place: int | Found) -> None:
        if isinstance(place, Found):
            self.items.append(self.loop(place))
        elif place in self.stacks:
            self.stack(self.flat.ops[place], self.stacks[place])
        else:
            self.items.append(self.flat.ops[place].reading(self.seen))

    def seen(self, v: View) -> View:
        """Return a view of the flat program in this one, outside loops."""
        if v.value in self.lasts:
            return v._replace(value=self.lasts[v.value])
        if at := self.place(View(v.value)):
            f, slot, r = at
            collect = f.collects[slot]
            return self.within(v, View(collect.stack, Row(0, collect.row.at(r))))
        return self.within(v, self.now[v.value]) if v.value in self.now else v

    def within(self, inner: View, outer: View) -> View:
        both = viewed(inner, outer)
        if both is None:
            copied = Value(outer.shape, outer.dtype)
            self.items.append(Op(COPY, (outer,), {}, (copied,)))
            both = inner._replace(value=copied)
        return both

    def stack(self, op: Op, pieces: list[Piece]) -> None:
        """Write what joins the rounds of loops: a stack of theirs, or part of it."""
        if all(piece.loop is None for piece in pieces):
            self.items.append(op.reading(self.seen))
            return
        parts = []
        for piece in pieces:
            if piece.loop is None:
                one = Value((1, *piece.view.shape), piece.view.dtype)
                made = Op(shape.reshape, (self.seen(piece.view),), {"shape": one.shape}, (one,))
            else:
                collect = piece.loop.collects[piece.slot]
                a, b = [collect.row.at(r) for r in (piece.first_round, piece.last_round)]
                if (a, b) == (0, collect.stack.shape[0] - 1):
                    parts.append(collect.stack)
                    continue
                cut = slice(a, b + 1) if a <= b else slice(a, b - 1 if b else None, -1)
                one = Value((piece.length, *op.out.shape[1:]), op.out.dtype)
                made = Op(index.getitem, (View(collect.stack),), {"index": cut}, (one,))
            self.items.append(made)
            parts.append(one)
        if len(parts) == 1:
            self.now[op.out] = View(parts[0])
        else:
            views = tuple(map(View, parts))
            self.items.append(Op(shape.concatenated, views, {"axis": 0}, op.outs, note=op.note))

    def loop(self, f: Found) -> Loop:
        carried = {
            slot: Value(v.shape, v.dtype, v.name)
            for slot in f.firsts
            for v in [self.flat.values[f.base + slot]]
        }
        body = []
        for k, reads in enumerate(f.reads):
            supply = iter(reads)
            body.append(
                self.flat.ops[f.start + k].reading(
                    lambda v, supply=supply: self.inside(f, v, next(supply), carried)  # type: ignore[misc]
                )
            )
        carries = [
            Carry(carried[slot], self.seen(first), self.flat.values[f.base + slot])
            for slot, first in f.firsts.items()
        ]
        for collect in f.collects.values():
            collect.first = None if collect.first is None else self.seen(collect.first)
        lasts = [
            (self.lasts[value], self.flat.values[f.base + slot])
            for slot in range(f.width)
            if (value := f.value(self.flat, slot, f.rounds - 1)) in self.lasts
        ]
        return Loop(f.rounds, body, carries, [*f.collects.values()], lasts)

    def inside(self, f: Found, v: View, read: Read, carried: dict[int, Value]) -> View:
        """Return an operand of the body of a loop."""
        if read.kind == "inside":
            return v
        if read.kind == "carry":
            return v._replace(value=carried[read.slot], row=None)
        if read.kind == "loop":
            collect = read.loop.collects[read.slot]
            step, start = read.row  # type: ignore[misc]
            row = Row(collect.row.step * step, collect.row.at(start))
            return v._replace(value=collect.stack, row=row)
        outer = self.seen(View(self.flat.value(read.slot)))
        return self.within(v._replace(row=read.row), outer)


@dataclass(eq=False)
class Piece:
    """Consecutive operands of a stack: one view, or a value of a loop's body in several rounds."""

    view: View
    loop: Found | None
    slot: int
    first_round: int
    step: int = 0
    length: int = 1

    @property
    def last_round(self) -> int:
        return self.first_round + self.step * (self.length - 1)

    def goes_on(self, at: tuple[Found, int, int]) -> bool:
        """Take one more operand into this run, if it is of the next round."""
        loop, slot, r = at
        step = r - self.last_round
        fits = step == self.step if self.length > 1 else step in (1, -1)
        if loop is not self.loop or slot != self.slot or not fits:
            return False
        self.step, self.length = step, self.length + 1
        return True
