"""The passes: each leaves the numbers as they are, and what repeats itself becomes loops."""

import numpy as np
import pytest

import minigrad as mg
from minigrad.compiler.listing import listed
from minigrad.compiler.passes.passes import PASSES, optimised
from minigrad.compiler.passes.slopes import slopes_first
from minigrad.compiler.program import Loop, Op
from minigrad.compiler.tracing.record import recorded
from tests.compiler.nets import NETS
from tests.compiler.random_ir import random_program
from tests.compiler.unrolling import unrolled

SEED = [np.ones(())]
ONE_IS_OTHER = {"leaky", "last only"}
"""Whose first round backward computes something else."""


def flat(name, steps, seed=0):
    f, arrays = NETS[name](steps, np.random.default_rng(seed))
    live = [True] * len(arrays)
    return recorded(lambda *xs: [f(*xs)], arrays, live, backward=True).program, arrays


def loops(program):
    return [item for item in program.items if isinstance(item, Loop)]


def agree(got, want):
    for one, other in zip(got, want, strict=True):
        for a, b in zip(one, other, strict=True):
            assert np.shape(a) == np.shape(b)
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", NETS)
def test_every_pass_computes_the_same(name):
    program, arrays = flat(name, 6)
    _, others = flat(name, 6, seed=1)
    wants = [program.run(xs, SEED) for xs in (arrays, others)]
    for step in PASSES:
        program = step(program)
        program.check()
        for xs, want in zip((arrays, others), wants, strict=True):
            agree(program.run(xs, SEED), want)
    unrolled(program).check()
    agree(unrolled(program).run(arrays, SEED), wants[0])


@pytest.mark.parametrize("name", [name for name in NETS if name != "steps of time"])
def test_what_repeats_itself_is_a_loop_forward_and_backward(name):
    found = {steps: optimised(flat(name, steps)[0]) for steps in (5, 9)}
    forward, backward = [section.items for section in found[9].sections]
    rounds = 36 if name == "chain" else 9
    for items in (forward, backward):
        assert [item for item in items if isinstance(item, Loop)]
        found_rounds = {item.rounds for item in items if isinstance(item, Loop)}
        assert found_rounds <= ({8, 9} if name in ONE_IS_OTHER else {rounds})
    assert len(found[5].items) == len(found[9].items) < 60  # does not grow with the steps
    five, nine = [[len(loop.body) for loop in loops(found[k])] for k in (5, 9)]
    assert five == nine


@pytest.mark.parametrize("name", NETS)
def test_a_whole_step_in_one_section_has_the_loops_of_both_walks(name):
    f, arrays = NETS[name](8, np.random.default_rng(0))
    step = mg.value_and_grad(f, argnums=tuple(range(len(arrays))))
    recording = recorded(lambda *xs: mg.core.tree.flatten(step(*xs))[0], arrays)
    whole, two = optimised(recording.program), optimised(flat(name, 8)[0])
    assert len(loops(whole)) == len(loops(two))
    _, others = NETS[name](8, np.random.default_rng(1))
    agree(whole.run(others), recording.program.run(others))


def test_equal_constants_are_one_value():
    def f(x):
        for _ in range(5):
            x = x + np.array([1.0, 2.0]) * np.array([1.0, 2.0])
        return [x * np.array([1.0, -2.0]), x * np.array([1, -2])]

    constants = recorded(f, [np.ones(2)]).constants
    assert [v.array.tolist() for v in constants] == [[1, 4], [1, -2], [1, -2]]


def test_a_users_own_lstm_has_the_loops_of_the_layer():
    bodies = {
        name: [sorted([op.name for op in loop.body]) for loop in loops(optimised(flat(name, 8)[0]))]
        for name in ("lstm", "own lstm")
    }
    layer, own = bodies["lstm"], bodies["own lstm"]
    assert layer[1] == own[1]
    assert sorted([*layer[0], "add"]) == own[0]  # the bias, which the layer adds outside


@pytest.mark.parametrize("name", ["lstm", "own lstm", "gru", "peephole"])
def test_one_product_a_step_is_left_in_each_loop(name):
    """What every step multiplies by one matrix is multiplied at once, outside."""
    for loop in loops(optimised(flat(name, 7)[0])):
        assert [op.name for op in loop.body].count("matmul") == 1


@pytest.mark.parametrize("seed", range(40))
def test_random_programs_are_what_they_were(seed):
    with np.errstate(all="ignore"):
        program, inputs = random_program(seed, length=12)
        want = program.run(*inputs)
        program = unrolled(program)
        for step in PASSES:
            program = step(program)
            program.check()
            agree(program.run(*inputs), want)


def test_what_is_known_already_is_computed_once_and_at_once():
    def f(x):
        a, b = np.tanh(x), np.tanh(x)
        unused = np.exp(x)  # noqa: F841
        return [(a * b * np.ones(3)).reshape(3, 1).reshape(3), np.cos(np.zeros(3)) + x]

    program = optimised(recorded(f, [np.arange(3.0)]).program)
    names = [item.name for item in program.items if isinstance(item, Op)]
    assert sorted(names) == ["add", "multiply", "multiply", "tanh"]


def test_a_draw_stays_where_and_as_often_as_it_was():
    rng = np.random.default_rng(0)
    drop = mg.nn.Dropout(0.5, rng=rng)
    program = optimised(recorded(lambda x: [drop(x) + drop(x)], [np.ones(4)]).program)
    effects = [i for i in program.items if isinstance(i, Op) and getattr(i.does, "effect", False)]
    assert len(effects) == 2


@pytest.mark.parametrize("name", NETS)
def test_slopes_are_computed_before_the_loop(name):
    program, arrays = flat(name, 6)
    plain = optimised(program)
    program = slopes_first(plain)
    program.check()
    agree(program.run(arrays, SEED), plain.run(arrays, SEED))
    before, after = [[len(loop.body) for loop in loops(p)] for p in (plain, program)]
    assert all(a <= b for a, b in zip(after, before, strict=True))
    if name in ("lstm", "gru", "own lstm", "peephole"):
        assert 3 * after[1] < 2 * before[1]
    assert listed(slopes_first(plain, limit=100)) == listed(plain)  # not beyond the caches


@pytest.mark.parametrize("seed", range(40, 70))
def test_random_programs_have_the_same_slopes(seed):
    with np.errstate(all="ignore"):
        program, inputs = random_program(seed, length=12)
        want = program.run(*inputs)
        program = slopes_first(program)
        program.check()
        agree(program.run(*inputs), want)
