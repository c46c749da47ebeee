"""A program as text, with a line for every operation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .program import Item, Op, Operand, Program, Value, View

__all__ = ["Listing", "listed"]


def listed(program: Program) -> str:
    """Return a program as text."""
    return "\n\n".join(Listing().sections(program))


class Listing:
    """A program as text, with numbers for the values that have no name."""

    def __init__(self) -> None:
        self.names: dict[Value, str] = {}
        self.taken: set[str] = set()

    def sections(self, program: Program) -> Iterator[str]:
        kinds = ["forward", "backward"] if len(program.sections) == 2 else ["program"]
        for kind, section in zip(kinds, program.sections, strict=True):
            head = ", ".join([f"{self.name(v)}: {_type(v)}" for v in section.inputs])
            lines = [f"{kind}({head})"]
            for item in section.items:
                lines += [f"    {line}" for line in self.item(item)]
            yield "\n".join([*lines, f"    return {', '.join(map(self.operand, section.outputs))}"])

    def item(self, item: Item) -> Iterator[str]:
        if isinstance(item, Op):
            yield self.op(item)
            return
        yield f"for r in range({item.rounds}):"
        for c in item.carries:
            read, first = f"{self.name(c.value)}: {_type(c.value)}", self.operand(c.first)
            yield f"    {read} = {first} first, then {self.name(c.next)}"
        for op in item.body:
            yield f"    {self.op(op)}"
        for kept in item.collects:
            row, also = self.operand(View(kept.stack, kept.row)), kept.first
            before = f", and {self.operand(also)} before the first" if also else ""
            yield f"    {row} = {self.name(kept.source)}  ({_type(kept.stack)}{before})"
        for outer, inner in item.lasts:
            yield f"{self.name(outer)}: {_type(outer)} = {self.name(inner)} of the last round"

    def op(self, op: Op) -> str:
        outs = ", ".join([f"{self.name(v)}: {_type(v)}" for v in op.outs])
        given = [self.operand(a) for a in op.args]
        given += [f"{k}={self.param(v)}" for k, v in op.params.items()]
        return f"{outs} = {op.name}({', '.join(given)})"

    def param(self, v: Any) -> str:
        if isinstance(v, View):
            return self.operand(v)
        if isinstance(v, (tuple, list)):
            return f"({', '.join(map(self.param, v))})"
        if isinstance(v, slice):
            ends = ["" if end is None else self.param(end) for end in (v.start, v.stop)]
            return ":".join(ends if v.step is None else [*ends, self.param(v.step)])
        return f"{v.dtype}{list(v.shape)}" if isinstance(v, np.ndarray) else repr(v)

    def operand(self, o: Operand) -> str:
        if not isinstance(o, View):
            return repr(o)
        index = []
        if o.row is not None:
            step, start = o.row
            moving = {0: "", 1: "r", -1: "-r"}.get(step, f"{step}r")
            index.append(f"{moving}{start:+d}" if moving and start else moving or str(start))
            index[0] = f"{start}{moving}" if moving.startswith("-") and start else index[0]
        if o.columns is not None:
            index.append(
                f"{'' if len(o.value.shape) == 1 else '..., '}{o.columns[0]}:{o.columns[1]}"
            )
        brackets = f"[{', '.join(index)}]" if index else ""
        return f"{self.name(o.value)}{brackets}{'.T' * o.turned}"

    def name(self, value: Value) -> str:
        if value not in self.names:
            name = value.name or f"v{len(self.names)}"
            while name in self.taken:
                name += "_"
            self.taken.add(name)
            self.names[value] = name
        return self.names[value]


def _type(v: Value) -> str:
    return f"{v.dtype.kind}{v.dtype.itemsize}[{','.join(map(str, v.shape))}]"
