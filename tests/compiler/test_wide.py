"""Equal functions of neighbouring columns at once: the same bits, in fewer calls."""

import numpy as np
import pytest

import minigrad as mg
from minigrad.compiler.passes import blocks
from minigrad.compiler.passes.blocks import in_blocks
from minigrad.compiler.passes.passes import optimised
from minigrad.compiler.passes.slopes import slopes_first
from minigrad.compiler.passes.wide import widened
from minigrad.compiler.program import (
    Carry,
    Collect,
    Loop,
    Op,
    Program,
    Row,
    Section,
    Value,
    View,
)
from minigrad.compiler.tracing.record import recorded
from tests.compiler.random_ir import random_program


def bits_agree(program, inputs):
    wide = widened(program)
    wide.check()
    for got, want in zip(wide.run(*inputs), program.run(*inputs), strict=True):
        for a, b in zip(got, want, strict=True):
            np.testing.assert_array_equal(a, b)
    return wide


def calls(program):
    loops = [item for item in program.items if isinstance(item, Loop)]
    return [sum(op.name != "concatenate" for op in loop.body) for loop in loops]


def peephole(x, w, u, p):
    """A cell whose gates read the state of the cell before, in a Python loop."""
    h = c = mg.tensor(np.zeros((1, 4), np.float32))
    hs = []
    for t in range(x.shape[0]):
        i, f, g, o = mg.split(x[t] @ w + h @ u, 4, axis=1)
        i, f = mg.sigmoid(i + p[0] * c), mg.sigmoid(f + p[1] * c)
        c = f * c + i * mg.tanh(g)
        h = mg.sigmoid(o + p[2] * c) * mg.tanh(c)
        hs.append(h)
    return mg.stack(hs)


def program_of(kind, batch=1, rounds=8):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rounds, batch, 3)).astype(np.float32)
    if kind == "peephole":
        f = peephole
        shapes = [(3, 16), (4, 16), (3, 1, 4)]
        arrays = [x, *[rng.normal(size=s).astype(np.float32) for s in shapes]]
    else:
        layer = {"LSTM": mg.nn.LSTM, "GRU": mg.nn.GRU}[kind](3, 4)
        f, arrays = (lambda x: layer(x)[0]), [x]
    recording = recorded(lambda *xs: [f(*xs)], arrays, [True] * len(arrays), backward=True)
    backward = recording.program.sections[1]
    inputs = [*arrays, *[t.value for t in recording.captured]]
    seeds = [rng.normal(size=v.shape).astype(v.dtype) for v in backward.inputs]
    return optimised(recording.program), [inputs, seeds]


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_gates_are_done_at_once_where_slopes_come_first(kind):
    program, inputs = program_of(kind)
    program = slopes_first(program)
    wide = bits_agree(program, inputs)
    assert sum(calls(wide)) < sum(calls(program))


def test_what_a_loop_begins_with_may_be_a_row_of_what_was_joined():
    """A second loop goes on from the gates of the first one's last round."""
    kind, one = np.dtype(float), (1, 2)
    x, y = Value((3, 1, 4), kind), Value((3, 1, 2), kind)
    i, f, h, new = [Value(one, kind) for _ in range(4)]
    si, sf, hs = [Value((3, *one), kind) for _ in range(3)]
    gates = [
        Op(mg.sigmoid, (View(x, Row(1, 0), (0, 2)),), {}, (i,)),
        Op(mg.sigmoid, (View(x, Row(1, 0), (2, 4)),), {}, (f,)),
    ]
    first = Loop(3, gates, [], [Collect(si, i, Row(1, 0)), Collect(sf, f, Row(1, 0))])
    step = [Op(mg.add, (View(h), View(y, Row(1, 0))), {}, (new,))]
    begin = View(sf, Row(0, 2))
    second = Loop(3, step, [Carry(h, begin, new)], [Collect(hs, new, Row(1, 0))])
    total = Value((3, *one), kind)
    product = Op(mg.multiply, (View(si), View(sf)), {}, (total,))
    section = Section([x, y], [first, second, product], [View(hs), View(total)])
    rng = np.random.default_rng(0)
    wide = bits_agree(Program([section]), [[rng.normal(size=v.shape) for v in (x, y)]])
    assert calls(wide) == [1, 1]


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "peephole"])
def test_gates_are_done_at_once(kind):
    program, inputs = program_of(kind)
    wide = bits_agree(program, inputs)
    assert sum(calls(wide)) < sum(calls(program))
    if kind == "LSTM":
        assert (calls(program), calls(wide)) == ([11, 24], [10, 17])


def test_columns_of_several_rows_stay_apart():
    """They are not one piece of memory."""
    program, inputs = program_of("LSTM", batch=2)
    assert calls(bits_agree(program, inputs)) == calls(program)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "peephole"])
def test_columns_are_copied_apart_once(kind):
    """The gates of an LSTM; those of a GRU are collected as they are."""
    program, inputs = program_of(kind, batch=2)
    apart = in_blocks(program)
    apart.check()
    for got, want in zip(apart.run(*inputs), program.run(*inputs), strict=True):
        for a, b in zip(got, want, strict=True):
            np.testing.assert_array_equal(a, b)
    if kind == "LSTM":
        loop = next(item for item in apart.items if isinstance(item, Loop))
        (copied,) = [op for op in loop.body if op.does is mg.copy]
        readers = [op.name for op in loop.body for v in op.views if v.value is copied.out]
        assert readers == ["sigmoid", "sigmoid", "tanh", "sigmoid"]


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_random_programs(seed):
    program, inputs = random_program(seed, rows=1)
    bits_agree(program, inputs)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_random_columns_are_copied_apart(seed, monkeypatch):
    monkeypatch.setattr(blocks, "READS", 1)
    program, inputs = random_program(seed)
    apart = in_blocks(program)
    apart.check()
    for got, want in zip(apart.run(*inputs), program.run(*inputs), strict=True):
        for a, b in zip(got, want, strict=True):
            np.testing.assert_array_equal(a, b)
