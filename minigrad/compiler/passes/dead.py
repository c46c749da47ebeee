"""What nothing depends on is not computed, nor kept."""

from __future__ import annotations

from ..program import Item, Loop, Op, Program, Section, Value, View

__all__ = ["without_the_dead"]


def without_the_dead(program: Program) -> Program:
    """Return a program without the operations, loops and stacks that no output depends on."""
    wanted = {o.value for s in program.sections for o in s.outputs if isinstance(o, View)}
    sections = []
    for section in reversed(program.sections):
        kept: list[Item] = []
        for item in reversed(section.items):
            if isinstance(item, Loop):
                item = _loop(item, wanted)
                if not item.body and not item.outs:
                    continue
            elif not _is_wanted(item, wanted):
                continue
            kept.append(item)
            wanted.update([v.value for v in item.views])
        sections.append(Section(section.inputs, kept[::-1], section.outputs))
    return Program(sections[::-1])


def _is_wanted(op: Op, wanted: set[Value]) -> bool:
    return op.has_effect or not wanted.isdisjoint(op.outs)


def _loop(loop: Loop, wanted: set[Value]) -> Loop:
    """Return a loop without what is dead in it; what a wanted carry passes on is wanted, too."""
    collects = [c for c in loop.collects if c.stack in wanted]
    lasts = [(outer, inner) for outer, inner in loop.lasts if outer in wanted]
    inside = {c.source for c in collects} | {inner for _, inner in lasts}
    while True:
        body: list[Op] = []
        for op in reversed(loop.body):
            if _is_wanted(op, inside):
                body.append(op)
                inside.update([v.value for v in op.views])
        carries = [c for c in loop.carries if c.value in inside]
        if inside.issuperset([c.next for c in carries]):
            return Loop(loop.rounds, body[::-1], carries, collects, lasts)
        inside.update([c.next for c in carries])
