"""The loops of a program written out: what it is without them."""

from typing import Any

from minigrad.compiler.program import (
    COPY,
    STACK,
    Item,
    Loop,
    Op,
    Program,
    Row,
    Section,
    Value,
    View,
    viewed,
)


def unrolled(program: Program) -> Program:
    """The program, every round of its loops with values of its own."""
    unrolling = _Unrolling()
    return Program([unrolling.section(section) for section in program.sections])


class _Unrolling:
    def __init__(self) -> None:
        self.now: dict[Value, View] = {}  # what stands for a value of the rolled program
        self.rows: dict[Value, list[Any]] = {}  # of what loops collect
        self.items: list[Item] = []

    def section(self, section: Section) -> Section:
        self.items = []
        for item in section.items:
            if isinstance(item, Loop):
                self.loop(item)
            else:
                self.items.append(item.reading(self.seen))
        outputs = [self.seen(o) if isinstance(o, View) else o for o in section.outputs]
        return Section(section.inputs, self.items, outputs)

    def seen(self, v: View, r: int = 0) -> View:
        if v.row is not None:
            k = v.row.at(r)
            if v.value in self.rows:
                return self.through(v._replace(row=None), self.rows[v.value][k])
            v = v._replace(row=Row(0, k))
        return self.through(v, self.now[v.value]) if v.value in self.now else v

    def through(self, inner: View, outer: View) -> View:
        view = viewed(inner, outer)
        if view is None:
            copied = Value(outer.shape, outer.dtype)
            self.items.append(Op(COPY, (outer,), {}, (copied,)))
            view = inner._replace(value=copied)
        return view

    def loop(self, loop: Loop) -> None:
        for c in loop.collects:
            rows = self.rows[c.stack] = [None] * c.stack.shape[0]
            if c.first is not None:
                rows[c.row.at(-1)] = self.seen(c.first)
        self.now.update([(c.value, self.seen(c.first)) for c in loop.carries])
        for r in range(loop.rounds):
            for op in loop.body:
                new = op.reading(lambda v, r=r: self.seen(v, r))
                new.outs = tuple([Value(v.shape, v.dtype, v.name) for v in op.outs])
                self.now.update(zip(op.outs, map(View, new.outs), strict=True))
                self.items.append(new)
            for c in loop.collects:
                self.rows[c.stack][c.row.at(r)] = self.now[c.source]
            passed = [(c.value, self.now.get(c.next, View(c.next))) for c in loop.carries]
            self.now.update(passed)
        for c in loop.collects:
            self.items.append(Op(STACK, tuple(self.rows[c.stack]), {}, (c.stack,)))
        self.now.update([(outer, self.now[inner]) for outer, inner in loop.lasts])
