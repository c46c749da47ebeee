"""Columns of elementwise functions become elementwise functions of columns.

    z = a + b;  sigmoid(z[:, :n])        sigmoid(a[:, :n] + b[:, :n])

So the gates of a recurrent cell, and what is added for all of them at once, become one group.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..program import Op, Operand, Value, View
from .fused import Each, lowered

__all__ = ["sunk"]


def sunk(ops: Sequence[Op], kept: Iterable[Value]) -> list[Op]:
    """Return the operations with elementwise functions of columns for columns of such functions.

    That is done where nothing but columns are read of a function's values, which are not `kept`.
    """
    reads: dict[Value, list[tuple[Op, View]]] = {}
    for op in ops:
        for v in op.views:
            reads.setdefault(v.value, []).append((op, v))
    whole, sinking = {*kept}, dict[Value, Op]()

    def by_columns(reader: Op, v: View) -> bool:
        if v.row is not None or v.turned:
            return False
        sinks = len(reader.outs) == 1 and reader.out in sinking and reader.out.shape == v.shape
        return v.columns is not None or sinks

    for op in reversed(ops):  # what reads a value has been decided on before it
        if op.several or op.out in whole or len(op.out.shape) < 2 or not _is_each(op):
            continue
        if op.out in reads and all(by_columns(*read) for read in reads[op.out]):
            sinking[op.out] = op
    new: list[Op] = []
    made: dict[tuple[Value, int, int], Value] = {}

    def columns(v: View, lo: int, hi: int) -> View:
        start = v.columns[0] if v.columns else 0
        lo, hi = lo + start, hi + start
        return View(part(v.value, lo, hi)) if v.value in sinking else v._replace(columns=(lo, hi))

    def part(value: Value, lo: int, hi: int) -> Value:
        if (value, lo, hi) not in made:
            op, n = sinking[value], value.shape[-1]
            args: list[Operand] = []
            for a in op.args:
                wide = isinstance(a, View) and a.shape[-1:] == (n,)
                args.append(columns(a, lo, hi) if isinstance(a, View) and wide else a)
            out = Value((*value.shape[:-1], hi - lo), value.dtype, value.name)
            made[value, lo, hi] = out
            new.append(Op(op.does, tuple(args), op.params, (out,), note=op.note))
        return made[value, lo, hi]

    def read(v: View) -> View:
        cut = v.value in sinking and v.columns
        return columns(v._replace(columns=None), *cut) if cut else v

    for op in ops:
        if op.several or op.out not in sinking:
            new.append(op.reading(read))
    return new


def _is_each(op: Op) -> bool:
    low = lowered(op)
    turned = any(v.turned for v in op.views)
    return not turned and low is not None and len(low) == 1 and isinstance(low[0], Each)
