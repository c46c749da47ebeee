"""A flat program as numbers: what each operation does, reads and makes, for what searches it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from ...core.tensor import OPS
from ..program import STACK, Op, Program, Value, View
from .normal import told

__all__ = ["ADD", "ROUNDS", "Flat"]

ADD = OPS[np.add]
ROUNDS = 3
"""A loop has at least as many rounds."""
WIDEST = 16
"""So many views, or fewer, has an operation in a loop."""


class Flat:
    """The operations of all sections, with numbers for what they read and make.

    Every value that an operation makes has a slot, in order; values from outside have numbers
    below zero. `reads[i, j]` are, of the j-th view of the operation i, the slot of its value and
    the row that it is of, or -1.
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
        self.outsiders: list[Value] = []  # by -1 - number
        ids: dict[Any, int] = {}
        tokens, kinds, reads = [], [], []
        for i, op in enumerate(self.ops):
            views = op.views
            kind = _kind(op, views)
            kinds.append(ids.setdefault(kind, len(ids)))
            tokens.append(ids.setdefault((kind, _forms(op)), len(ids)))
            for j, v in enumerate(views[:WIDEST]):
                reads.append((i, j, self.slot(v.value), -1 if v.row is None else v.row.start))
            self.first.append(len(self.values))
            for out in op.outs:
                self.slots[out] = len(self.values)
                self.values.append(out)
        self.first.append(len(self.values))
        self.tokens, self.kinds = np.array(tokens), np.array(kinds)
        self.reads = np.full((len(self.ops), WIDEST, 2), -1)
        at, position, *what = np.array(reads, int).reshape(-1, 4).T
        self.reads[at, position] = np.array(what).T

    def slot(self, value: Value) -> int:
        if value in self.slots:
            return self.slots[value]
        if value not in self.outside:
            self.outside[value] = -1 - len(self.outsiders)
            self.outsiders.append(value)
        return self.outside[value]

    def value(self, slot: int) -> Value:
        return self.values[slot] if slot >= 0 else self.outsiders[-1 - slot]


def _late_additions(ops: list[Op]) -> list[Op]:
    """Return operations with each addition moved to before the first that reads it.

    Reverse mode adds what it has, and goes on with something else: additions that are missing in
    the first round should stand at the beginning of the others. Those that are not done in rounds
    stay, so as not to come between them.
    """
    many = Counter([op.outs[0].shape for op in ops if op.does is ADD])
    place, reader = [*range(len(ops))], dict[Value, int]()
    for i in reversed(range(len(ops))):
        k = reader.get(ops[i].outs[0], i)
        late = ops[i].does is ADD and many[ops[i].out.shape] >= ROUNDS
        if late and (ops[k].does is not ADD or place[k] > k):
            place[i] = place[k]
        for v in ops[i].views:
            k = reader.setdefault(v.value, i)
            if place[i] <= place[k]:
                reader[v.value] = i
    return [ops[i] for i in sorted(range(len(ops)), key=lambda i: (place[i], i))]


def _kind(op: Op, views: list[View]) -> Any:
    """Return what an operation does, whatever it reads; what is in no loop is like no other."""
    if op.does is STACK or op.has_effect or len(views) > WIDEST:
        return id(op)
    if op.params and len(views) > sum([isinstance(a, View) for a in op.args]):
        return id(op)  # a computed index
    outs = tuple([(v.shape, v.dtype) for v in op.outs])
    return op.does, op.several, told(op.params) if op.params else (), outs


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
