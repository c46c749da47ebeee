"""What the rounds of a loop have in common: how every operand of the body is found in each round.

made in this round, by the same operation of the body
made in the round before (a carry); in the first round, something from outside
the same view of the same value outside
a row of one value outside, where the row moves by a constant step
what an earlier loop made in some round, where the round moves by a constant step: a row, then,
of what that loop collects
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..program import Collect, Row, Value, View
from .flat import ROUNDS, Flat

__all__ = ["Found", "Read", "agreed", "classified"]


class Read(NamedTuple):
    """What one operand is in all rounds."""

    kind: str  # "inside", "carry", "outside", "loop"
    slot: int  # in the body, counted from its first; or of a value outside; or in the loop's body
    row: Row | None = None  # the row of a value outside; or the round of the loop
    loop: Any = None


@dataclass(eq=False)
class Found:
    """A run of operations that is a loop."""

    start: int  # the first operation
    period: int
    rounds: int
    reads: list[list[Read]]
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

    def value(self, flat: Flat, slot: int, r: int) -> Value:
        return flat.values[self.base + self.width * r + slot]

    def made(self, flat: Flat, slot: int, r: int) -> View | None:
        """Return what the loop made in the round r, or began with; None if there is no such."""
        if r < 0:
            return self.firsts.get(slot) if r == -1 else None
        return View(self.value(flat, slot, r)) if r < self.rounds else None


def classified(
    flat: Flat, start: int, period: int, stop: int, loops: Sequence[Found]
) -> Found | None:
    """Return the longest loop of this period that begins at an operation; None if there is none."""
    rounds, base = (stop - start) // period, flat.first[start]
    if rounds < ROUNDS:
        return None
    width = flat.first[start + period] - base
    reads: list[list[Read]] = []
    firsts: dict[int, View] = {}
    for k in range(period):
        table = flat.reads[start + k :: period][:rounds]
        views, row = flat.ops[start + k].views, []
        for j, view in enumerate(views):
            read, rounds = _read(flat, table[:rounds, j], base, width, view, firsts, loops)
            if read is None or rounds < ROUNDS:
                return None
            row.append(read)
        reads.append(row)
    return Found(start, period, rounds, reads, firsts, base, width)


def _read(
    flat: Flat,
    table: npt.NDArray[Any],
    base: int,
    width: int,
    view: View,
    firsts: dict[int, View],
    loops: Sequence[Found],
) -> tuple[Read | None, int]:
    """Return what an operand is in all rounds, and in how many rounds it is that."""
    slots, rows = table[:, 0], table[:, 1]
    rounds = len(slots)
    inside = slots - base - width * np.arange(rounds)
    fixed = rows == rows[0]
    row = None if rows[0] < 0 else Row(0, int(rows[0]))
    if 0 <= inside[0] < width:
        return Read("inside", int(inside[0]), row), agreed(fixed & (inside == inside[0]))
    if slots[0] == slots[1] == slots[2]:  # one value outside, perhaps a row that moves
        step = int(rows[1] - rows[0])
        same = (slots == slots[0]) & (rows == rows[0] + step * np.arange(rounds))
        moving = Row(step, int(rows[0])) if rows[0] >= 0 else None
        return Read("outside", int(slots[0]), moving), agreed(same)
    if -width <= inside[1] < 0 and rows[1] < 0:
        slot = int(inside[1]) + width
        first = View(view.value, view.row)
        carried = flat.values[base + slot]
        if (first.shape, first.dtype) == (carried.shape, carried.dtype):
            if firsts.setdefault(slot, first) != first:
                return None, 0
            ok = (rows < 0) & (inside == inside[1])
            ok[0] = slots[0] < base
            return Read("carry", slot), agreed(ok)
        return None, 0
    for loop in loops:
        if (read := _of_loop(flat, slots, rows, view, loop)) is not None:
            return read
    return None, 0


def _of_loop(
    flat: Flat, slots: npt.NDArray[Any], rows: npt.NDArray[Any], view: View, loop: Found
) -> tuple[Read, int] | None:
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
    return Read("loop", slot, Row(step, int(when[1]) - step), loop), agreed(ok)


def agreed(ok: npt.NDArray[Any]) -> int:
    """Return how many rounds from the first on are right."""
    return len(ok) if ok.all() else int(np.argmin(ok))
