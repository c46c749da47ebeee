"""Repetitions become loops: a flat program is searched for rounds, and every round looked at.

A run of operations is a loop if every operand of every round is one of these, and in each round the
same one:

    made in this round, by the same operation of the body
    made in the round before (a carry); in the first round, something from outside
    the same view of the same value outside
    a row of one value outside, where the row moves by a constant step
    what an earlier loop made in some round, where the round moves by a constant step: a row, then,
    of what that loop collects

What does not fit stays as it is, so nothing is assumed: an LSTM is a loop because its operations
repeat, as are a user's own Python loop and what reverse mode does with both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..core.tensor import OPS
from ..graph.folding import periods
from ..ops import index, shape
from .normal import told
from .program import (
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

__all__ = ["rolled"]

_ADD = OPS[np.add]
ROUNDS = 3
"""A loop has at least as many rounds."""
OPERATIONS = 12
"""A loop stands for at least as many operations of the flat program."""


def rolled(program: Program) -> Program:
    """Return a flat program in normal form with its repetitions as loops."""
    flat = _Flat(program)
    found = _loops(flat)
    whole = _Flat(_with_whole_rounds(flat, found))
    if _size(whole, again := _loops(whole)) < _size(flat, found):
        flat, found = whole, again
    return _Building(flat, found).program()


def _loops(flat: _Flat) -> list[_Found]:
    found: list[_Found] = []
    for start, stop in flat.spans:
        found += _search(flat, start, stop, found)
    return found


def _size(flat: _Flat, found: list[_Found]) -> int:
    """Return how many operations are written down if these are loops."""
    return len(flat.ops) - sum([f.period * (f.rounds - 1) for f in found])


# ---- a flat program as numbers ------------------------------------------------------------------


class _Flat:
    """The operations of all sections, with numbers for what they read and make.

    Every value that an operation makes has a slot, in order; values from outside have numbers
    below zero. `reads[i]` is an array with a row for each view of the operation i: the slot of its
    value, and the row that it is of, or -1.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.ops: list[Op] = []
        self.spans: list[tuple[int, int]] = []  # the operations of each section
        for section in program.sections:
            start = len(self.ops)
            self.ops += _late_additions([op for op in section.items if isinstance(op, Op)])
            self.spans.append((start, len(self.ops)))
        self.slots: dict[Value, int] = {}
        self.values: list[Value] = []  # by slot
        self.first: list[int] = []  # the first slot of an operation
        self.outside: dict[Value, int] = {}
        self.reads: list[npt.NDArray[Any]] = []
        ids: dict[Any, int] = {}
        tokens, kinds = [], []
        for op in self.ops:
            self.first.append(len(self.values))
            for out in op.outs:
                self.slots[out] = len(self.values)
                self.values.append(out)
            rows = [(self.slot(v.value), -1 if v.row is None else v.row.start) for v in op.views]
            self.reads.append(np.array(rows, int).reshape(-1, 2))
            kind = _kind(op)
            kinds.append(ids.setdefault(kind, len(ids)))
            tokens.append(ids.setdefault((kind, _forms(op)), len(ids)))
        self.first.append(len(self.values))
        self.tokens, self.kinds = np.array(tokens), np.array(kinds)

    def slot(self, value: Value) -> int:
        if value in self.slots:
            return self.slots[value]
        return self.outside.setdefault(value, -1 - len(self.outside))

    def value(self, slot: int) -> Value:
        return self.values[slot] if slot >= 0 else [*self.outside][-1 - slot]


def _late_additions(ops: list[Op]) -> list[Op]:
    """Return operations with each addition moved to before the first that reads it.

    Reverse mode adds what it has, and goes on with something else: additions that are missing in
    the first round should stand at the beginning of the others. Those that are not done in rounds
    stay, so as not to come between them.
    """
    many = Counter([op.outs[0].shape for op in ops if op.does is _ADD])
    place, reader = [*range(len(ops))], dict[Value, int]()
    for i in reversed(range(len(ops))):
        k = reader.get(ops[i].outs[0], i)
        late = ops[i].does is _ADD and many[ops[i].out.shape] >= ROUNDS
        if late and (ops[k].does is not _ADD or place[k] > k):
            place[i] = place[k]
        for v in ops[i].views:
            k = reader.setdefault(v.value, i)
            if place[i] <= place[k]:
                reader[v.value] = i
    return [ops[i] for i in sorted(range(len(ops)), key=lambda i: (place[i], i))]


def _kind(op: Op) -> Any:
    """Return what an operation does, whatever it reads."""
    if op.does is STACK or getattr(op.does, "effect", False):
        return id(op)
    if len(op.views) > sum([isinstance(a, View) for a in op.args]):
        return id(op)  # a computed index: not rolled
    outs = tuple([(v.shape, v.dtype) for v in op.outs])
    return op.does, op.several, told(op.params), outs


def _forms(op: Op) -> Any:
    """Return what the operands of all rounds have in common: all but which values, which rows."""
    return tuple(
        [
            (a.value.shape[a.row is not None :], a.columns, a.turned, a.dtype)
            if isinstance(a, View)
            else told(a)
            for a in op.args
        ]
    )


# ---- what the rounds have in common -------------------------------------------------------------


class _Read(NamedTuple):
    """What one operand is in all rounds."""

    kind: str  # "inside", "carry", "outside", "loop"
    slot: int  # in the body, counted from its first; or of a value outside; or in the loop's body
    row: Row | None = None  # the row of a value outside; or the round of the loop
    loop: Any = None


@dataclass(eq=False)
class _Found:
    """A run of operations that is a loop."""

    start: int  # the first operation
    period: int
    rounds: int
    reads: list[list[_Read]]
    firsts: dict[int, View]  # what the first round reads of each carry, by slot in the body
    base: int = 0  # the first slot
    width: int = 0  # slots a round
    collects: dict[int, Collect] = field(default_factory=dict)

    @property
    def stop(self) -> int:
        return self.start + self.period * self.rounds

    def place(self, slot: int) -> tuple[int, int] | None:
        """Return where in the body, and in which round, a slot of the flat program is made."""
        k = slot - self.base
        return (k % self.width, k // self.width) if 0 <= k < self.width * self.rounds else None

    def value(self, flat: _Flat, slot: int, r: int) -> Value:
        return flat.values[self.base + self.width * r + slot]

    def made(self, flat: _Flat, slot: int, r: int) -> View | None:
        """Return what the loop made in the round r, or began with; None if there is no such."""
        if r < 0:
            return self.firsts.get(slot) if r == -1 else None
        return View(self.value(flat, slot, r)) if r < self.rounds else None


def _search(flat: _Flat, start: int, stop: int, before: list[_Found]) -> list[_Found]:
    """Find the loops among the operations from `start` to `stop`."""
    found: list[_Found] = []
    if stop - start < OPERATIONS:
        return found
    taken = np.zeros(stop - start, bool)
    for a, b, period in periods(flat.tokens[start:stop]):
        if b - a < OPERATIONS or taken[a:b].any():
            continue
        first, last = start + a, start + b
        while last - first >= max(ROUNDS * period, OPERATIONS):
            tried = [
                _classified(flat, first + phase, period, last, before + found)
                for phase in _phases(flat, first, period)
            ]
            fitting = [f for f in tried if f and f.rounds >= ROUNDS]
            if not fitting:
                break
            best = min(fitting, key=lambda f: _preference(flat, f))
            found.append(best)
            taken[best.start - start : best.stop - start] = True
            first = best.stop
    return sorted(found, key=lambda f: f.start)


def _phases(flat: _Flat, start: int, period: int) -> list[int]:
    """Return where a round may begin: where few values are passed on, or with an addition.

    Additions are what may be missing in the round before the first.
    """
    stop = min(start + 3 * period, len(flat.ops))
    base, last = flat.first[start], {}
    for i in range(start, stop):
        for slot in flat.reads[i][:, 0]:
            if slot >= base:
                last[int(slot)] = i
    live = np.zeros(stop - start + 2, int)
    maker = np.repeat(np.arange(start, stop), np.diff(flat.first[start : stop + 1]))
    for slot, i in last.items():
        live[maker[slot - base] - start + 1] += 1
        live[i - start + 1] -= 1
    passed = np.cumsum(live)[period : 2 * period]
    by_carries = sorted(range(len(passed)), key=lambda phase: (passed[phase], phase))
    adding = [phase for phase in by_carries[4:] if flat.ops[start + phase].does is _ADD]
    return by_carries[:4] + adding[:4]


def _classified(
    flat: _Flat, start: int, period: int, stop: int, loops: Sequence[_Found]
) -> _Found | None:
    """Return the longest loop of this period that begins at an operation; None if there is none."""
    rounds, base = (stop - start) // period, flat.first[start]
    if rounds < ROUNDS:
        return None
    width = flat.first[start + period] - base
    reads: list[list[_Read]] = []
    firsts: dict[int, View] = {}
    for k in range(period):
        table = np.stack([flat.reads[start + r * period + k] for r in range(rounds)])
        views, row = flat.ops[start + k].views, []
        for j, view in enumerate(views):
            read, rounds = _read(flat, table[:rounds, j], base, width, view, firsts, loops)
            if read is None or rounds < ROUNDS:
                return None
            row.append(read)
        reads.append(row)
    return _Found(start, period, rounds, reads, firsts, base, width)


def _read(
    flat: _Flat,
    table: npt.NDArray[Any],
    base: int,
    width: int,
    view: View,
    firsts: dict[int, View],
    loops: Sequence[_Found],
) -> tuple[_Read | None, int]:
    """Return what an operand is in all rounds, and in how many rounds it is that."""
    slots, rows = table[:, 0], table[:, 1]
    rounds = len(slots)
    inside = slots - base - width * np.arange(rounds)
    fixed = rows == rows[0]
    row = None if rows[0] < 0 else Row(0, int(rows[0]))
    if 0 <= inside[0] < width:
        return _Read("inside", int(inside[0]), row), _agree(fixed & (inside == inside[0]))
    if slots[0] == slots[1] == slots[2]:  # one value outside, perhaps a row that moves
        step = int(rows[1] - rows[0])
        same = (slots == slots[0]) & (rows == rows[0] + step * np.arange(rounds))
        moving = Row(step, int(rows[0])) if rows[0] >= 0 else None
        return _Read("outside", int(slots[0]), moving), _agree(same)
    if -width <= inside[1] < 0 and rows[1] < 0:
        slot = int(inside[1]) + width
        first = View(view.value, view.row)
        carried = flat.values[base + slot]
        if (first.shape, first.dtype) == (carried.shape, carried.dtype):
            if firsts.setdefault(slot, first) != first:
                return None, 0
            ok = (rows < 0) & (inside == inside[1])
            ok[0] = slots[0] < base
            return _Read("carry", slot), _agree(ok)
        return None, 0
    for loop in loops:
        if (read := _of_loop(flat, slots, rows, view, loop)) is not None:
            return read
    return None, 0


def _of_loop(
    flat: _Flat, slots: npt.NDArray[Any], rows: npt.NDArray[Any], view: View, loop: _Found
) -> tuple[_Read, int] | None:
    """Return an operand as what an earlier loop made, and in how many rounds; None if it is not."""
    k = slots - loop.base
    inner, when = k % loop.width, k // loop.width
    made = (k >= 0) & (k < loop.width * loop.rounds) & (rows < 0)
    if not made[1]:
        return None
    slot = int(inner[1])
    first = loop.firsts.get(slot)
    if first is not None:  # what the loop began with is what it made in the round -1
        begins = (slots == flat.slot(first.value)) & (
            rows == (-1 if first.row is None else first.row.start)
        )
        made, when, inner = made | begins, np.where(begins, -1, when), np.where(begins, slot, inner)
    step = int(when[2] - when[1])
    ok = made & (inner == slot) & (when == when[1] + step * (np.arange(len(slots)) - 1))
    return _Read("loop", slot, Row(step, int(when[1]) - step), loop), _agree(ok)


def _agree(ok: npt.NDArray[Any]) -> int:
    """Return how many rounds from the first on are right."""
    return len(ok) if ok.all() else int(np.argmin(ok))


# ---- the first and the last round, which reverse mode leaves incomplete -------------------------
#
# In the first round backward nothing comes from a later step yet: its additions are missing. In the
# last one, what nobody wants is not computed. With zeros added there, and that computed, they are
# rounds as the others, and all that is kept of the rounds is in one piece.


def _preference(flat: _Flat, f: _Found) -> tuple[int, ...]:
    """Return what is smallest for the best place where a round may begin."""
    covered = [edit.covers for edit in (_begun(flat, f), _ended(flat, f)) if edit]
    return 3 * len(f.firsts) - f.rounds * f.period - sum(covered), f.start


def _with_whole_rounds(flat: _Flat, found: list[_Found]) -> Program:
    """Return the program with what rounds lack, at the ends of loops, computed there."""
    edits = [edit for f in found for edit in (_begun(flat, f), _ended(flat, f)) if edit]
    sections = []
    for section, (start, stop) in zip(flat.program.sections, flat.spans, strict=True):
        items: list[Item] = []
        at = start
        for edit in sorted(edits, key=lambda edit: edit.start):
            if at <= edit.start and edit.stop <= stop:
                items += [*flat.ops[at : edit.start], *edit.ops]
                at = edit.stop
        items += flat.ops[at:stop]
        sections.append(Section(section.inputs, items, section.outputs))
    return Program(sections)


class _Edit(NamedTuple):
    """Operations to write in the place of those from `start` to `stop`."""

    start: int
    stop: int
    ops: list[Op]
    covers: int  # operations that were there, and become part of a round


def _begun(flat: _Flat, f: _Found) -> _Edit | None:
    """Complete the round before the first, in which additions of what is carried are missing."""
    i, pairs = f.start, dict[int, int]()
    floor = max([start for start, _ in flat.spans if start <= f.start])
    for k in reversed(range(f.period)):
        if i > floor and flat.kinds[i - 1] == flat.kinds[f.start + k]:
            i -= 1
            pairs[k] = i
        elif flat.ops[f.start + k].does is not _ADD:
            return None
    if len(pairs) == f.period or 2 * len(pairs) < f.period:
        return None
    now: dict[int, View] = {}  # what the round made, by slot in the body
    stand: dict[int, View | None] = {}  # what an added sum is: its one operand, or zero
    ops: list[Op] = []
    for k in range(f.period):
        slot = flat.first[f.start + k] - f.base
        new: Op | None
        if k in pairs:
            new = _with_sums(flat, f, k, flat.ops[pairs[k]], "inside", now, stand)
        else:
            new = _cloned(flat, f, k, -1, now)
            summands = [] if new is None else _summands(new, f.reads[k], stand)
            if new is None or len(summands) > 1:
                return None
            stand[slot] = summands[0] if summands else None
        if new is None:
            return None
        now.update([(slot + n, View(out)) for n, out in enumerate(new.outs)])
        ops.append(new)
    for k in range(f.period):  # the next round carries on what was added
        new = _with_sums(flat, f, k, flat.ops[f.start + k], "carry", now, stand)
        if new is None:
            return None
        ops.append(new)
    return _Edit(i, f.start + f.period, ops, len(pairs))


def _summands(op: Op, reads: list[_Read], stand: dict[int, View | None]) -> list[View]:
    """Return what an added addition adds, but for zeros: what is carried is zero at first."""
    views = [
        stand[read.slot] if read.kind == "inside" and read.slot in stand else view
        for view, read in zip(op.views, reads, strict=True)
        if read.kind != "carry"
    ]
    return [v for v in views if v]


def _with_sums(
    flat: _Flat,
    f: _Found,
    k: int,
    op: Op,
    kind: str,
    now: dict[int, View],
    stand: dict[int, View | None],
) -> Op | None:
    """Return what the operation k of the body is in a round, as it reads the sums that were added.

    None if `op`, which is it without them, does not read what these sums are.
    """
    views = []
    for view, usual, read in zip(op.views, flat.ops[f.start + k].views, f.reads[k], strict=True):
        if read.kind == kind and read.slot in stand:
            usual, is_it = usual._replace(row=None), stand[read.slot]
            if is_it is None or viewed(usual, is_it) != view:
                return None
            view = usual._replace(value=now[read.slot].value)
        views.append(view)
    return op if views == op.views else _reading(op, views)


def _reading(op: Op, views: list[View]) -> Op:
    supply = iter(views)
    return op.reading(lambda _: next(supply))


def _ended(flat: _Flat, f: _Found) -> _Edit | None:
    """Complete the round after the last, of which is missing what nobody wants."""
    i, stop = f.stop, min([stop for _, stop in flat.spans if stop >= f.stop])
    now: dict[int, View] = {}
    ops: list[Op] = []
    for k in range(f.period):
        new = _cloned(flat, f, k, f.rounds, now)
        if new is None:
            return None
        if i < stop and flat.kinds[i] == flat.kinds[f.start + k] and flat.ops[i].args == new.args:
            new = flat.ops[i]
            i += 1
        slot = flat.first[f.start + k] - f.base
        now.update([(slot + n, View(out)) for n, out in enumerate(new.outs)])
        ops.append(new)
    there = i - f.stop
    if there == f.period or 2 * there < f.period:
        return None
    return _Edit(f.stop, i, ops, there)


def _cloned(flat: _Flat, f: _Found, k: int, r: int, now: dict[int, View]) -> Op | None:
    """Return the operation k of the body in a round that is before or after those of the loop."""
    op = flat.ops[f.start + k]
    views = [v for j in range(len(op.views)) if (v := _at(flat, f, k, j, r, now))]
    if len(views) < len(op.views):
        return None
    new = _reading(op, views)
    new.outs = tuple([Value(v.shape, v.dtype) for v in op.outs])
    return new


def _at(flat: _Flat, f: _Found, k: int, j: int, r: int, now: dict[int, View]) -> View | None:
    """Return what an operand of the body is in a round before or after those of the loop."""
    view, read = flat.ops[f.start + k].views[j], f.reads[k][j]
    row = None if read.row is None else Row(0, read.row.at(r))
    if read.kind == "carry":
        kind = flat.values[f.base + read.slot]
        if r < 0:
            return view._replace(value=_zeros(kind.shape, kind.dtype), row=None)
        last = flat.values[f.base + f.width * (f.rounds - 1) + read.slot]
        return view._replace(value=last, row=None)
    outer: View | None
    if read.kind == "inside":
        outer = now[read.slot]
    elif read.kind == "outside":
        outer = View(flat.value(read.slot))
        if row is not None and not 0 <= row.start < outer.shape[0]:
            return None
    else:
        outer, row = read.loop.made(flat, read.slot, row.start if row else 0), None
    return viewed(view._replace(row=row), outer) if outer else None


def _zeros(kind: tuple[int, ...], dtype: np.dtype[Any]) -> Value:
    return Value(kind, dtype, "", np.zeros(kind, dtype))


# ---- the loops, written down --------------------------------------------------------------------


class _Building:
    """Writes the program with loops, and decides what each of them collects."""

    def __init__(self, flat: _Flat, found: list[_Found]) -> None:
        self.flat, self.found = flat, found
        self.now: dict[Value, View] = {}  # what stands for a value that is a stack of a loop
        self.lasts: dict[Value, Value] = {}
        self.items: list[Item] = []
        self.stacks: dict[int, list[_Piece]] = {}  # the parts of an operation that joins rounds
        starts = {f.start: f for f in found}
        inside = {i for f in found for i in range(f.start, f.stop)}
        self.order: list[int | _Found] = [
            starts.get(i, i) for i in range(len(flat.ops)) if i in starts or i not in inside
        ]
        self.demand()

    # ---- what is wanted of the loops ------------------------------------------------------------

    def demand(self) -> None:
        """Find out which values of which rounds are read outside their loop."""
        whole: dict[tuple[int, int], list[int]] = {}  # loop and slot: steps of the rounds wanted
        begun: set[tuple[int, int]] = set()  # of which also what was before the first round
        single: list[Value] = []
        for place in self.order:
            if isinstance(place, _Found):
                single += [first.value for first in place.firsts.values()]
                for read in [read for reads in place.reads for read in reads]:
                    if read.kind == "loop":
                        key = self.found.index(read.loop), read.slot
                        whole.setdefault(key, [])
                        ends = read.row.at(0), read.row.at(place.rounds - 1)  # type: ignore[union-attr]
                        begun.update([key] * (min(ends) < 0))
            elif self.flat.ops[place].does is STACK:
                pieces = self.stacks[place] = self.pieces(self.flat.ops[place])
                for piece in pieces:
                    if piece.loop is None:
                        single.append(piece.view.value)
                    else:
                        key = self.found.index(piece.loop), piece.slot
                        whole.setdefault(key, []).append(piece.step)
                        begun.update([key] * (min(piece.first_round, piece.last_round) < 0))
            else:
                single += [v.value for v in self.flat.ops[place].views]
        for section in self.flat.program.sections:
            single += [o.value for o in section.outputs if isinstance(o, View)]
        wanted: dict[tuple[int, int], set[int]] = {}
        for value in single:
            for n, f in enumerate(self.found):
                if value in self.flat.slots and (at := f.place(self.flat.slots[value])):
                    wanted.setdefault((n, at[0]), set()).add(at[1])
        for (n, slot), rounds in wanted.items():
            f = self.found[n]
            if (n, slot) in whole or rounds != {f.rounds - 1}:
                whole.setdefault((n, slot), [])
            else:
                value = f.value(self.flat, slot, f.rounds - 1)
                self.lasts[value] = Value(value.shape, value.dtype, value.name)
        for (n, slot), steps in whole.items():
            self.collect(
                self.found[n], slot, (n, slot) in begun, down=bool(steps) and max(steps) < 0
            )

    def collect(self, f: _Found, slot: int, begun: bool, down: bool) -> None:
        """Have a loop collect a value of its body; `down`: from the last row to the first."""
        source, rows = self.flat.values[f.base + slot], f.rounds + begun
        stack = Value((rows, *source.shape), source.dtype, source.name)
        row = Row(-1, f.rounds - 1) if down else Row(1, int(begun))
        f.collects[slot] = Collect(stack, source, row, f.firsts[slot] if begun else None)

    def pieces(self, op: Op) -> list[_Piece]:
        """Cut the operands of a stack into runs, each of one value in consecutive rounds."""
        views = [a for a in op.args if isinstance(a, View)]
        places = [self.place(v) for v in views]
        for k, at in enumerate(places):  # what a loop begins with belongs to the run next to it
            for near in (k - 1, k + 1):
                other = places[near] if at is None and 0 <= near < len(places) else None
                if other and other[2] == 0 and other[0].firsts.get(other[1]) == views[k]:
                    places[k] = other[0], other[1], -1
        pieces: list[_Piece] = []
        for view, at in zip(views, places, strict=True):
            if not (pieces and at and pieces[-1].goes_on(at)):
                pieces.append(_Piece(view, *(at or (None, 0, 0))))
        return [
            part
            for piece in pieces
            for part in ([piece] if piece.length > 1 else [_Piece(piece.view, None, 0, 0)])
        ]

    def place(self, v: View) -> tuple[_Found, int, int] | None:
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
                if start <= (place.start if isinstance(place, _Found) else place) < stop:
                    self.write(place)
            outputs: list[Operand] = [
                self.seen(o) if isinstance(o, View) else o for o in section.outputs
            ]
            sections.append(Section(section.inputs, self.items, outputs))
        return Program(sections)

    def write(self, place: int | _Found) -> None:
        if isinstance(place, _Found):
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

    def stack(self, op: Op, pieces: list[_Piece]) -> None:
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

    def loop(self, f: _Found) -> Loop:
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

    def inside(self, f: _Found, v: View, read: _Read, carried: dict[int, Value]) -> View:
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
class _Piece:
    """Consecutive operands of a stack: one view, or a value of a loop's body in several rounds."""

    view: View
    loop: _Found | None
    slot: int
    first_round: int
    step: int = 0
    length: int = 1

    @property
    def last_round(self) -> int:
        return self.first_round + self.step * (self.length - 1)

    def goes_on(self, at: tuple[_Found, int, int]) -> bool:
        """Take one more operand into this run, if it is of the next round."""
        loop, slot, r = at
        step = r - self.last_round
        fits = step == self.step if self.length > 1 else step in (1, -1)
        if loop is not self.loop or slot != self.slot or not fits:
            return False
        self.step, self.length = step, self.length + 1
        return True
