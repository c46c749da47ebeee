"""The passes in their order: what is recorded becomes what is run."""

from __future__ import annotations

import gc
from collections.abc import Callable

import numpy as np

from ...core.tensor import OPS
from ...ops import shape
from ..program import (
    Function,
    Item,
    Loop,
    Op,
    Program,
    Section,
    Value,
    View,
    is_elementwise,
)
from .dead import without_the_dead
from .normal import normal
from .roll import rolled
from .together import together

__all__ = ["CONTIGUOUS", "PASSES", "optimised"]

CONTIGUOUS = Function("contiguous", np.ascontiguousarray)
"""Copies a view to rows that lie one after the other in memory."""


def optimised(program: Program) -> Program:
    """Return a recorded program in its fastest form known here, for any back end."""
    collects = gc.isenabled()
    gc.disable()  # it looks through all there is, again and again, and finds nothing to free
    try:
        for step in PASSES:
            program = step(program)
    finally:
        if collects:
            gc.enable()
    return program


def broadcasting(program: Program) -> Program:
    """Have elementwise operations broadcast themselves: what is spread before is not read whole."""
    spread = {
        item.out: a
        for item in program.items
        if isinstance(item, Op) and item.does is shape.broadcast_to
        for a in item.views
    }
    return _rewritten(program, lambda op: _broadcasting(op, spread)) if spread else program


def _broadcasting(op: Op, spread: dict[Value, View]) -> Op:
    if not is_elementwise(op.does) or not op.out.shape:
        return op
    args = list(op.args)
    for k, a in enumerate(args):
        small = spread.get(a.value) if isinstance(a, View) else None
        if small and isinstance(a, View) and (a.is_whole or not small.shape):
            shapes = [b.shape for b in [*args[:k], small, *args[k + 1 :]] if isinstance(b, View)]
            if np.broadcast_shapes(*shapes) == op.out.shape:
                args[k] = small
    return Op(op.does, tuple(args), op.params, op.outs, op.several, op.note)


def with_layout(program: Program) -> Program:
    """Copy matrices that loops read transposed, once, outside: products by rows are faster."""
    sections = []
    copies: dict[View, View] = {}

    def copied(v: View) -> View:
        return copies.get(v, v)

    for section in program.sections:
        items: list[Item] = []
        for item in section.items:
            if isinstance(item, Loop):
                outside = {v.value for v in item.views}
                for op in item.body:
                    for v in op.views if op.does is OPS[np.matmul] else ():
                        if v.turned and v.row is None and v.value in outside and v not in copies:
                            copy = Value(v.shape, v.dtype)
                            items.append(Op(CONTIGUOUS, (v,), {}, (copy,)))
                            copies[v] = View(copy)
                item = _with_body(item, lambda op: op.reading(copied))
            items.append(item)
        sections.append(Section(section.inputs, items, section.outputs))
    return Program(sections)


def _rewritten(program: Program, change: Callable[[Op], Op]) -> Program:
    return Program(
        [
            Section(
                section.inputs,
                [
                    _with_body(item, change) if isinstance(item, Loop) else change(item)
                    for item in section.items
                ],
                section.outputs,
            )
            for section in program.sections
        ]
    )


def _with_body(loop: Loop, change: Callable[[Op], Op]) -> Loop:
    body = [change(op) for op in loop.body]
    return Loop(loop.rounds, body, loop.carries, loop.collects, loop.lasts)


PASSES = (normal, together, rolled, broadcasting, without_the_dead, with_layout)
