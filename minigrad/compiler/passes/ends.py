"""The first and the last round, which reverse mode leaves incomplete.

In the first round backward nothing comes from a later step yet: its additions are missing. In the
last one, what nobody wants is not computed. With zeros added there, and that computed, they are
rounds as the others, and all that is kept of the rounds is in one piece.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..program import Item, Op, Program, Row, Section, Value, View, viewed
from .flat import ADD, Flat
from .rounds import Found, Read

__all__ = ["Edit", "begun", "ended", "with_whole_rounds"]


def with_whole_rounds(flat: Flat, found: list[Found]) -> Program:
    """Return the program with what rounds lack, at the ends of loops, computed there."""
    edits = [edit for f in found for edit in (begun(flat, f), ended(flat, f)) if edit]
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


class Edit(NamedTuple):
    """Operations to write in the place of those from `start` to `stop`."""

    start: int
    stop: int
    ops: list[Op]
    covers: int  # operations that were there, and become part of a round


def begun(flat: Flat, f: Found) -> Edit | None:
    """Complete the round before the first, in which additions of what is carried are missing."""
    i, pairs = f.start, dict[int, int]()
    floor = max([start for start, _ in flat.spans if start <= f.start])
    for k in reversed(range(f.period)):
        if i > floor and flat.kinds[i - 1] == flat.kinds[f.start + k]:
            i -= 1
            pairs[k] = i
        elif flat.ops[f.start + k].does is not ADD:
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
    return Edit(i, f.start + f.period, ops, len(pairs))


def _summands(op: Op, reads: list[Read], stand: dict[int, View | None]) -> list[View]:
    """Return what an added addition adds, but for zeros: what is carried is zero at first."""
    views = [
        stand[read.slot] if read.kind == "inside" and read.slot in stand else view
        for view, read in zip(op.views, reads, strict=True)
        if read.kind != "carry"
    ]
    return [v for v in views if v]


def _with_sums(
    flat: Flat,
    f: Found,
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


def ended(flat: Flat, f: Found) -> Edit | None:
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
    return Edit(f.stop, i, ops, there)


def _cloned(flat: Flat, f: Found, k: int, r: int, now: dict[int, View]) -> Op | None:
    """Return the operation k of the body in a round that is before or after those of the loop."""
    op = flat.ops[f.start + k]
    views = [v for j in range(len(op.views)) if (v := _at(flat, f, k, j, r, now))]
    if len(views) < len(op.views):
        return None
    new = _reading(op, views)
    new.outs = tuple([Value(v.shape, v.dtype) for v in op.outs])
    return new


def _at(flat: Flat, f: Found, k: int, j: int, r: int, now: dict[int, View]) -> View | None:
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
