"""explain() has an answer to any numbers: nonsense is called so, and nothing is raised."""

import importlib

import numpy as np
import pytest

from minigrad import compare_backward
from tests.mistakes.__main__ import PAGES


def answered(forward, backward, inputs, seconds):
    report = compare_backward(forward, backward, inputs)
    found = report.explain(seconds=seconds)
    assert report.ok == (len(found) == 0)
    assert str(found)
    assert str(report)


def scrambled(rng, right):
    """A gradient as somebody's backward pass may give it: anything between right and nonsense."""
    size = 10.0 ** rng.choice([0, 0, 0, -12, 12, 300, -320])
    nonsense = size * rng.normal(size=np.shape(right))
    broken = nonsense.copy()
    broken.flat[:1] = rng.choice([np.nan, np.inf])
    some = [
        right, right * rng.normal(), right + 1e-3 * rng.normal(size=np.shape(right)), nonsense,
        nonsense, broken, 0 * right, nonsense.T.copy(), nonsense[None], np.float32(right), None,
    ]  # fmt: skip
    return some[rng.integers(len(some))]


@pytest.mark.parametrize("name", PAGES)
def test_scrambled_gradients_of_the_pages(name):
    page = importlib.import_module(f"tests.mistakes.{name}")
    for seed in range(4):
        rng = np.random.default_rng(seed)
        inputs = page.draw(rng, kind=("usual", "square", "random")[seed % 3])
        given = {k: scrambled(rng, g) for k, g in page.backward(inputs).items()}
        answered(page.forward, lambda p, given=given: given, inputs, seconds=0.05)


def columns_in_turn(p):
    """A state that a product and, in turn, one of two columns are added to."""
    state, total = np.zeros(4), 0.0
    for step in range(4):
        state = np.tanh(p["columns"][:, step % 2] + p["square"].dot(state))
        total += np.sum(state * state)
    return total


def one_column(p):
    """The same with a slice that is one column wide, made a vector of."""
    state, total = np.zeros(4), 0.0
    for _ in range(4):
        state = np.tanh(p["columns"][:, 0:1].reshape(4) + p["square"].dot(state))
        total += -1 * np.log(np.sum(np.exp(state)))
    return total


def hinges(p):
    """Scores that are cut out one by one, and compared where they are too close."""
    total, points = 0.0, np.random.default_rng(0).normal(size=(4, 4))
    for row in range(4):
        scores = np.dot(points[row], p["square"])
        for other in range(1, 4):
            margin = scores[other] - scores[0] + 1
            if margin > 0:
                total += margin
    return total / 4 + 0.3 * np.sum(p["columns"] ** 2) * np.sum(p["square"] * p["square"])


@pytest.mark.parametrize("forward", [columns_in_turn, one_column, hinges])
def test_nonsense_for_loops_over_slices(forward):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        inputs = {"columns": rng.normal(size=(4, 2)), "square": rng.normal(size=(4, 4))}

        def nonsense(p, rng=rng):
            return {name: rng.normal(size=x.shape) for name, x in p.items()}

        answered(forward, nonsense, inputs, seconds=0.5)
