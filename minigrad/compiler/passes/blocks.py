"""Columns that a loop reads apart are copied apart first, all at once.

    z = ...; sigmoid(z[:, 0:H]), tanh(z[:, H:2H]), ...      z = ...; p = copy of z as (n, B, H)
                                                            sigmoid(p[0]), tanh(p[1]), ...

Columns of several rows are not one piece of memory: NumPy walks along them row by row, and a call
costs up to three times as much. One copy costs less than three such calls. The numbers are the
same, bit for bit. It is of use where a function is a call, not in a kernel that fuses them.
"""

from __future__ import annotations

import math
from collections import defaultdict

from ...ops import elementwise, shape
from ..numpy.plan import BLOCKS
from ..program import Item, Loop, Op, Program, Row, Section, Value, View, is_elementwise

__all__ = ["in_blocks"]

READS = 3
"""So many calls that read columns pay for the copy."""


def in_blocks(program: Program) -> Program:
    """Return a program whose loops copy columns apart where that makes the calls cheaper."""
    sections = []
    for section in program.sections:
        items: list[Item] = [
            _with_blocks(item) if isinstance(item, Loop) else item for item in section.items
        ]
        sections.append(Section(section.inputs, items, section.outputs))
    return Program(sections)


def _with_blocks(loop: Loop) -> Loop:
    reads: dict[Value, list[tuple[Op, View]]] = defaultdict(list)
    for op in loop.body:
        for v in op.views:
            reads[v.value].append((op, v))
    kept = {c.source for c in loop.collects} | {c.next for c in loop.carries}
    kept |= {inner for _, inner in loop.lasts}
    blocks: dict[Value, tuple[Value, int]] = {}  # what is copied apart, and how wide
    body = []
    for op in loop.body:
        body.append(op.reading(lambda v: _in(blocks, v)))
        for value in op.outs:
            width = 0 if value in kept else _width(value, reads[value])
            if width:
                n, lead = value.shape[-1] // width, value.shape[:-1]
                split = Value((*lead, n, width), value.dtype)
                turned = Value((n, *lead, width), value.dtype)
                apart = Value(turned.shape, value.dtype)
                blocks[value] = apart, width
                ends = {"source": -2, "destination": 0}
                body += [
                    Op(shape.reshape, (View(value),), {"shape": split.shape}, (split,)),
                    Op(shape.moveaxis, (View(split),), ends, (turned,)),
                    Op(elementwise.copy, (View(turned),), {}, (apart,)),
                ]
    return Loop(loop.rounds, body, loop.carries, loop.collects, loop.lasts)


def _in(blocks: dict[Value, tuple[Value, int]], v: View) -> View:
    if v.value not in blocks or v.columns is None:
        return v
    apart, width = blocks[v.value]
    return View(apart, Row(0, v.columns[0] // width))


def _width(value: Value, reads: list[tuple[Op, View]]) -> int:
    """Return how wide the blocks are that a value is read in; 0 if it is read otherwise."""
    if len(reads) < READS or math.prod(value.shape[:-1]) < 2 or value.nbytes > BLOCKS:
        return 0
    _, first = reads[0]
    width = first.columns[1] - first.columns[0] if first.columns else 0
    for op, v in reads:
        if v.row is not None or v.turned or v.columns is None or not is_elementwise(op.does):
            return 0
        if not width or v.columns[1] - v.columns[0] != width or v.columns[0] % width:
            return 0
    return width if value.shape[-1] % width == 0 else 0
