"""Where values live: every place holds, when it is read, what was written there for it."""

import numpy as np
import pytest

import minigrad as mg
from minigrad.compiler.numpy.execute import Executable
from minigrad.compiler.numpy.straight import Straight
from minigrad.compiler.passes.passes import optimised
from minigrad.compiler.program import Loop, View, viewed
from minigrad.compiler.tracing.record import recorded
from minigrad.ops import shape
from tests.compiler.random_ir import random_program


class Shadow:
    """Runs a plan without numbers: what is written is which value it is, and when it was made."""

    def __init__(self, program, plan):
        self.plan, self.memory = plan, {}
        self.now, self.clock = {}, 0
        loops = [item for item in program.items if isinstance(item, Loop)]
        ours = {c.value for loop in loops for c in loop.carries}
        ours |= {v for loop in loops for op in loop.body for v in op.outs}
        ours |= {v for item in program.items for v in item.outs}
        self.helpers = {place: v for v, place in plan.places.items() if v not in ours}
        for section in program.sections:
            for item in section.items:
                self.loop(item) if isinstance(item, Loop) else self.op(item)
            for o in section.outputs:
                self.read(o)

    def array(self, buffer):
        """Return the memory of a buffer: of the one that it is part of, or that it shares."""
        if buffer in self.plan.parts:
            base, start, stop = self.plan.parts[buffer]
            found = self.array(base)
            found = found if (start, stop) == (0, len(found)) else found[start:stop]
            view = found.reshape(buffer.shape)
            assert not found.size or np.shares_memory(view, found)
            return view
        if buffer in self.plan.shared:
            return self.array(self.plan.shared[buffer]).reshape(buffer.shape)
        return self.memory.setdefault(buffer, np.full(buffer.shape, -1))

    def tag(self, value):
        """Return what stands for the numbers of a value."""
        if value not in self.now:  # from outside
            self.anew(value)
        return self.now[value]

    def anew(self, value):
        self.clock += 1
        self.now[value] = np.full(value.shape, self.clock)

    def write(self, place, r, tag):
        shown(place, self.array(place.value), r)[...] = tag

    def read(self, view, r=0):
        if isinstance(view, View) and (place := self.plan.places.get(view.value)):
            found = shown(place, self.array(place.value), r)
            assert np.array_equal(found, self.now[view.value]), f"{view} is not there any more"

    def op(self, op, r=0):
        for view in op.views:
            self.read(view, r)
        for out in op.outs:
            if out in self.plan.aliases:
                (a,) = op.args
                self.now[out] = shown(a, self.tag(a.value), r).reshape(out.shape)
            else:
                self.anew(out)
                if place := self.plan.places.get(out):
                    self.write(place, r, self.now[out])
        if op.does is shape.concatenated and op.out in self.plan.places:
            stop = 0  # what was written into its columns is still there, under another name
            for a in op.args if all(isinstance(a, View) for a in op.args) else ():
                start, stop = stop, stop + a.shape[-1]
                part = viewed(View(op.out, None, (start, stop)), self.plan.places[op.out])
                if op.out.shape[:-1] == a.shape[:-1] and self.plan.placed(a) == part:
                    self.now[a.value] = shown(part, self.array(part.value), r).copy()
        self.copies(self.plan.after[op], r)

    def copies(self, copies, r=0):
        for place, source in copies:
            self.read(source, r)
            tag = shown(source, self.tag(source.value), r)
            self.write(place, r, tag)
            if place in self.helpers:
                self.now[self.helpers[place]] = tag

    def loop(self, loop):
        firsts = [shown(c.first, self.tag(c.first.value), 0) for c in loop.carries]
        stacks = {c.stack: np.full(c.stack.shape, -1) for c in loop.collects}
        for c in loop.collects:
            if c.first is not None:
                stacks[c.stack][c.row.at(-1)] = shown(c.first, self.tag(c.first.value), 0)
        self.copies(self.plan.after[loop])
        self.now.update(zip([c.value for c in loop.carries], firsts, strict=True))
        for r in range(loop.rounds):
            for c in loop.carries:
                self.read(View(c.value), r)
            self.copies(self.plan.begin[loop], r)
            for op in loop.body:
                self.op(op, r)
            for c in loop.collects:
                stacks[c.stack][c.row.at(r)] = self.now[c.source]
            passed = [self.now[c.next] for c in loop.carries]
            self.copies(self.plan.end[loop], r)
            self.now.update(zip([c.value for c in loop.carries], passed, strict=True))
        self.now.update([(outer, self.now[inner]) for outer, inner in loop.lasts])
        for c in loop.collects:  # columns of rows have got the name of what they were joined to
            found = shown(self.plan.places[c.stack], self.array(self.plan.places[c.stack].value), 0)
            rows = [c.row.at(r) for r in range(-1 if c.first else 0, loop.rounds)]
            assert sorted(rows) == [*range(len(found))]
            assert np.array_equal(found, stacks[c.stack]), "a row is not there any more"
        self.now.update(stacks)
        for value in loop.outs:
            self.read(View(value))


def shown(view, array, r):
    """Return what a view shows of an array, as an array also if it has no axes."""
    if view.row is not None:
        array = array[view.row.at(r), ...]
    if view.columns is not None:
        array = array[..., slice(*view.columns)]
    return array.T if view.turned else array


@pytest.mark.parametrize("seed", range(60))
def test_no_place_is_written_between_two_reads(seed):
    program, _ = random_program(seed)
    executable = Executable(program)
    Shadow(executable.program, executable.straight.plan)


def lstm(rounds, batch, features, hidden):
    """An LSTM's training step as it is for arrays so large that memory counts."""
    layer = mg.nn.LSTM(features, hidden, dtype=float)
    x = np.ones((rounds, batch, features))
    recording = recorded(lambda x: [layer(x)[0].sum()], [x], [True], backward=True)
    return Straight(optimised(recording.program))


def test_an_lstm_keeps_what_one_written_by_hand_keeps():
    """Gates, two states, tanh(c), and in the backward pass the cotangents of the gates."""
    rounds, batch, hidden = 30, 8, 16
    plan = lstm(rounds, batch, 4, hidden).plan
    unit = rounds * batch * hidden * 8
    stacks = [b for b in plan.buffers() if b.nbytes >= unit]
    assert sum(b.nbytes for b in stacks) <= 11.5 * unit
    others = sum(b.nbytes for b in plan.buffers()) - sum(b.nbytes for b in stacks)
    assert others < 2 * unit  # of one round; they do not grow with the number of rounds


def test_what_an_lstm_does_in_a_round_is_in_place():
    """One copy in a round, of the parts of the cotangents, and no array that is made there."""
    source = lstm(8, 2, 3, 4).source
    bodies = [line for line in source.splitlines() if line.startswith(" " * 12)]
    assert len(bodies) > 40
    assert not [line for line in bodies if " = " in line]
    (copied,) = [line.strip() for line in bodies if "copyto" in line]
    assert copied == "copyto(columns_r, parts_turned)"


def test_what_is_joined_in_one_row_is_written_into_its_columns():
    source = lstm(8, 1, 3, 4).source
    bodies = [line for line in source.splitlines() if line.startswith(" " * 12)]
    assert not [line for line in bodies if "copyto" in line or " = " in line]
