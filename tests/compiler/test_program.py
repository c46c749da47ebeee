"""Programs as data: what they compute, what holds of them, and how they look."""

import numpy as np
import pytest

import minigrad as mg
from minigrad.compiler.listing import listed
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
from tests.compiler.unrolling import unrolled

FLOAT = np.dtype(float)


def value(*shape, name=""):
    return Value(shape, FLOAT, name)


def recurrence(rounds=4, backwards=False):
    """h = tanh(x[t] * w + h), all h collected with the first one, and the last."""
    x, w, first = value(rounds, 3, name="x"), value(3, name="w"), value(3, name="first")
    h, xw, z, new = value(3, name="h"), value(3), value(3), value(3)
    stack, last = value(rounds + 1, 3, name="hs"), value(3)
    row = Row(-1, rounds - 1) if backwards else Row(1, 0)
    body = [
        Op(mg.multiply, (View(x, row), View(w)), {}, (xw,)),
        Op(mg.add, (View(xw), View(h)), {}, (z,)),
        Op(mg.tanh, (View(z),), {}, (new,)),
    ]
    loop = Loop(
        rounds,
        body,
        [Carry(h, View(first), new)],
        [Collect(stack, new, Row(1, 1), View(first))],
        [(last, new)],
    )
    total = value()
    read = Op(mg.sum, (View(stack, Row(0, 2), (0, 2)),), {"axis": None}, (total,))
    section = Section([x, w, first], [loop, read], [View(stack), View(last), View(total), 2.0])
    return Program([section])


def expected(x, w, first, backwards):
    hs = [first]
    for row in x[::-1] if backwards else x:
        hs.append(np.tanh(row * w + hs[-1]))
    return [np.stack(hs), hs[-1], hs[2][:2].sum(), 2.0]


@pytest.mark.parametrize("backwards", [False, True])
def test_a_loop_carries_and_collects(backwards):
    program = recurrence(backwards=backwards)
    program.check()
    rng = np.random.default_rng(0)
    arrays = rng.normal(size=(4, 3)), rng.normal(size=3), rng.normal(size=3)
    want = expected(*arrays, backwards)
    for p in (program, unrolled(program)):
        p.check()
        (got,) = p.run(arrays)
        for a, b in zip(got, want, strict=True):
            np.testing.assert_array_equal(a, b)
    assert len(unrolled(program).items) == 4 * 3 + 2


def test_what_does_not_hold_is_found():
    early = recurrence()
    early.sections[0].items.reverse()
    with pytest.raises(AssertionError, match="before it is made"):
        early.check()
    beyond = recurrence()
    beyond.sections[0].items[0].rounds = 5
    with pytest.raises(AssertionError):
        beyond.check()
    twice = recurrence()
    twice.sections[0].items.append(twice.sections[0].items[1])
    with pytest.raises(AssertionError, match="made twice"):
        twice.check()


def test_a_program_is_readable():
    assert listed(recurrence(backwards=True)).splitlines() == [
        "program(x: f8[4,3], w: f8[3], first: f8[3])",
        "    for r in range(4):",
        "        h: f8[3] = first first, then v4",
        "        v5: f8[3] = multiply(x[3-r], w)",
        "        v6: f8[3] = add(v5, h)",
        "        v4: f8[3] = tanh(v6)",
        "        hs[r+1] = v4  (f8[5,3], and first before the first)",
        "    v8: f8[3] = v4 of the last round",
        "    v9: f8[] = sum(hs[2, ..., 0:2], axis=None)",
        "    return hs, v8, v9, 2.0",
    ]
