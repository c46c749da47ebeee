"""The memory of a kernel: which values need any, and which may use the same.

Values that are made and read in one group are in registers. The others lie in slots of a workspace,
which are used again by others once nobody needs what they hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..program import Value
from .fused import Each
from .places import Place, Slot
from .steps import Group, Level, Rounds, Steps, ops_of, views_of

__all__ = ["arranged", "stored_by"]


def _accesses(
    made: Steps, stored: Mapping[Value, None]
) -> Iterator[tuple[int, Slot, Level, Place | None]]:
    """Iterate over when slots are read or written, in which level, and how.

    The last is the place, where a group reads or writes it element by element; else None.
    """
    now = 0

    def walk(level: Level) -> Iterator[tuple[int, Slot, Level, Place | None]]:
        nonlocal now
        for step in level.steps:
            now += 1
            if isinstance(step, Rounds):
                start = now
                inside = [*walk(step.level)]
                now += 1
                yield from inside
                for _, slot, _, _ in inside:
                    if slot.root.level is not step.level:
                        yield start, slot, level, None
                        yield now, slot, level, None
                continue
            whole = step.shape if isinstance(step, Group) else None
            for view in views_of(step):
                place = made.seen(view)
                how = None if whole is None else place.spread(whole)
                yield now, place.slot, level, how
            for op in ops_of(step):
                if op.out in stored:
                    place = made.place(op.out)
                    yield now, place.slot, level, place if isinstance(op, Each) else None

    return walk(made.top)


def stored_by(made: Steps) -> dict[Value, None]:
    """Return the values that are written to memory: all that are read outside their group."""
    stored = dict.fromkeys([*made.leaving, *made.inside])  # in order: sources are alike

    def walk(level: Level) -> None:
        for step in level.steps:
            if isinstance(step, Rounds):
                walk(step.level)
                continue
            stored.update(dict.fromkeys([v.value for v in views_of(step)]))
            for op in ops_of(step):
                if not isinstance(op, Each):
                    stored[op.out] = None
        stored.update(dict.fromkeys([v for _, v in level.moves]))

    walk(made.top)
    # A view of a value, and what is carried, is read in that value's place.
    slots = {made.place(v).slot.root for v in stored}
    every = [*made.places]
    stored.update(dict.fromkeys([v for v in every if made.places[v].slot.root in slots]))
    return stored


def arranged(made: Steps, stored: Mapping[Value, None]) -> list[Slot]:
    """Return the slots of the workspace, of which several values may use one.

    They do so one after the other: a group may write over what it reads for the last time, if it
    reads of it the element that it writes, and no other.
    """
    seen: dict[Slot, dict[int, set[Any]]] = {}  # how each slot is used, by the time
    for now, slot, _, place in _accesses(made, stored):
        if not slot.root.given:
            used = place and (place.offset, place.step, place.strides)
            seen.setdefault(slot.root, {}).setdefault(now, set()).add(used)
    roots: dict[Slot, tuple[int, set[Any]]] = {}  # with when and how they are used last
    for slot, uses in sorted(seen.items(), key=lambda item: min(item[1])):
        first, last = min(uses), max(uses)
        for root, (end, how) in roots.items():
            together = uses[first] | how
            over = end == first and len(together) == 1 and None not in together
            if (root.dtype, root.size) == (slot.dtype, slot.size) and (end < first or over):
                slot.taken = root
                roots[root] = last, uses[last]
                break
        else:
            roots[slot] = last, uses[last]
    return [*roots]
