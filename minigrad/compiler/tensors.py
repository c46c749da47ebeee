"""A program as tensors with a graph, for all who read graphs: pictures, pages, summaries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.context import Scope
from ..core.dtypes import Array
from ..core.tape import Outputs
from ..core.tensor import Tensor
from ..ops import index, shape
from .program import STACK, Item, Loop, Op, Operand, Program, Row, Value, View, mapped

__all__ = ["as_tensors"]


def as_tensors(program: Program, *inputs: Sequence[Array]) -> list[Tensor]:
    """Return the outputs of a program as tensors whose graph is what the program does.

    Sections are scopes, and so is every round of a loop, which pictures fold to one. What the last
    round passes on, and nobody reads, is among the outputs, by the name "unused": rounds are alike.
    """
    drawing, names = _Drawing(), ["forward", "backward"] if len(program.sections) > 1 else ["step"]
    outputs = []
    for name, section, arrays in zip(names, program.sections, inputs, strict=True):
        for value, array in zip(section.inputs, arrays, strict=True):
            drawing.known[value] = Tensor(np.asarray(array), True, value.name or None)
        scope = Scope(None, name, None, None) if len(names) > 1 else None
        for item in section.items:
            drawing.item(item, scope)
        outputs += [drawing.seen(o, scope) for o in section.outputs if isinstance(o, View)]
    return outputs + drawing.unused


class _Drawing:
    def __init__(self) -> None:
        self.known: dict[Value, Tensor] = {}
        self.unused: list[Tensor] = []

    def item(self, item: Item, scope: Scope | None, r: int = 0) -> None:
        if isinstance(item, Loop):
            self.loop(item, scope)
            return
        args = [self.seen(a, scope, r) if isinstance(a, View) else a for a in item.args]
        params = mapped(lambda v: self.seen(v, scope, r).value, item.params)
        xs = tuple([a.value if isinstance(a, Tensor) else a for a in args])
        with np.errstate(all="ignore"):
            made = item.does.forward(*xs, **params)
        inputs = [a if isinstance(a, Tensor) else None for a in args]
        if not item.several:
            self.known[item.out] = _made(np.asarray(made), item, inputs, xs, params, scope)
            return
        whole = _made(Outputs(map(np.asarray, made)), item, inputs, xs, params, scope)
        self.known.update(zip(item.outs, whole.opened(), strict=True))

    def loop(self, loop: Loop, scope: Scope | None) -> None:
        rows: dict[Value, list[Any]] = {}
        for c in loop.collects:
            rows[c.stack] = [None] * c.stack.shape[0]
            if c.first is not None:
                rows[c.stack][c.row.at(-1)] = self.seen(c.first, scope)
        for carry in loop.carries:
            self.known[carry.value] = self.seen(carry.first, scope)
        for r in range(loop.rounds):
            step = Scope(scope, "step", r, None)
            for op in loop.body:
                self.item(op, step, r)
            for c in loop.collects:
                rows[c.stack][c.row.at(r)] = self.known[c.source]
            passed = [self.known[carry.next] for carry in loop.carries]
            self.known.update(zip([carry.value for carry in loop.carries], passed, strict=True))
        for stack, parts in rows.items():
            op = Op(STACK, (), {}, (stack,))
            xs = tuple([t.value for t in parts])
            self.known[stack] = _made(np.stack(xs), op, parts, xs, {}, scope)
        self.known.update([(outer, self.known[inner]) for outer, inner in loop.lasts])
        kept = {c.source for c in loop.collects} | {inner for _, inner in loop.lasts}
        for carry in loop.carries:
            if carry.next not in kept:
                self.known[carry.next].name = "unused"
                self.unused.append(self.known[carry.next])

    def seen(self, v: Operand, scope: Scope | None, r: int = 0) -> Tensor:
        """Return what a view shows; what is no whole value is an operation in a picture."""
        if not isinstance(v, View):
            return Tensor(np.asarray(v))
        if v.value not in self.known:
            self.known[v.value] = Tensor(np.asarray(v.value.array))
        t = self.known[v.value]
        if v.row is not None or v.columns is not None:
            place = [] if v.row is None else [v.row.at(r)]
            last = [] if v.columns is None else [slice(*v.columns)]
            between = [slice(None)] * (t.value.ndim - len(place) - len(last) if last else 0)
            params = {"index": (*place, *between, *last)}
            plain = v._replace(turned=False, row=None if v.row is None else Row(0, v.row.at(r)))
            op = Op(index.getitem, (), params, ())
            t = _made(np.asarray(plain.of(t.value)), op, [t], (t.value,), params, scope)
        if v.turned:
            op = Op(shape.transpose, (), {}, ())
            t = _made(t.value.T, op, [t], (t.value,), {}, scope)
        return t


def _made(value: Any, op: Op, inputs: Any, xs: Any, params: Any, scope: Scope | None) -> Tensor:
    t = Tensor(value, True)
    t.primitive, t.inputs, t.xs, t.params, t.scope = op.does, inputs, xs, params, scope
    return t
