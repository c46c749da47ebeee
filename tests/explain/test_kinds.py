"""The table of kinds of mistakes: every row, planted at a term, is known again on both roads."""

import functools

import numpy as np
import pytest

import minigrad as mg
from minigrad.check.debug import located
from minigrad.explain.backward import Backward
from minigrad.explain.changes import Changes
from minigrad.explain.kinds import KINDS, WHOLE, sentence
from minigrad.explain.recognised import recognised, whole
from minigrad.explain.single import Search
from minigrad.explain.spots import spots
from minigrad.explain.term import Term
from minigrad.explain.words import Words

FROM_ABOVE = ("a term of the gradient is missing", "a term of the gradient is twice there")
"""Where the right value of one term is known, these are mistakes of the terms above it."""
ROWS = [row for part in KINDS for row in part]


def sigmoid(s):
    return 1 / (1 + np.exp(-s))


def gated(x, h, w, u, b, v):
    """Have two gates, a state, square matrices, a bias, a mean of squares."""
    for t in range(4):
        a = x[t] @ w + h @ u + b
        z = sigmoid(a)
        r = sigmoid(a * v)
        n = np.tanh(x[t] @ u)
        h = z * h + r * n
    return np.mean((h - x[0]) ** 2)


def normed(x, h, w, u, b, v):
    """Have sums that are broadcast again: a norm and a softmax, over axes of one length."""
    y = (x[0] - np.mean(x[0], axis=0)) / np.sqrt(np.mean(x[1] ** 2, axis=0) + 0.1)
    e = np.exp(y @ w + b)
    s = e / np.sum(e, axis=1, keepdims=True)
    k = v / np.sum(np.abs(u), axis=0, keepdims=True)
    return np.sum(s * k * h) * -0.5 - np.sum(np.log(h**2 + 1))


def indexed(x, h, w, u, b, v):
    """Have a maximum, rows taken twice, axes turned, a clip and a relu."""
    rows = np.maximum(w[[0, 2, 2, 1]] @ u, 0.1)
    top = np.max(rows, axis=1)
    y = np.transpose(x, (1, 0, 2)).reshape(4, 16)[:, :4]
    part = np.abs(y * h) + rows * b * v[:, None]
    return np.sum(part * x[3]) + np.sum(top * b)


def draw(seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"x": (4, 4, 4), "h": (4, 4), "w": (4, 4), "u": (4, 4), "b": (4,), "v": (4,)}
    return {name: 0.2 + 0.6 * rng.normal(size=shape) for name, shape in shapes.items()}


@functools.cache
def recorded(loss):
    leaves = {name: mg.tensor(x, requires_grad=True, name=name) for name, x in draw().items()}
    with located():
        walk = Backward(loss(**leaves))
    return walk, Words(walk)


def given(walk, edits):
    """Return the gradients of the leaves that a mistake leads to."""
    with np.errstate(all="ignore"):
        delta, failed = Changes(walk, walk.leaves)([edits])
    leaves = [k for k in walk.leaves if k in walk.cots]
    found = {k: walk.cots[k] + (delta[k][0] if k in delta else 0) for k in leaves}
    good = not failed and all(np.isfinite(g).all() for g in found.values())
    wrong = [k for k in leaves if not np.allclose(found[k], walk.cots[k], rtol=1e-6, atol=1e-9)]
    return found if good and wrong else None


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_a_mistake_is_known_again_where_it_was_made(row):
    """The right value of one term is known, and what stands in its place."""
    said = set()
    for walk, words in map(recorded, (gated, normed, indexed)):
        for spot in spots(walk, words):
            edge = min(spot.tops)  # of the first step: there are others
            t = Term(walk, words, edge, spot.tops[edge])
            if t.top != t.k and not row.chains:
                continue
            if row.name == "clipped":
                t.wrong = np.clip(t.c, -0.01, 0.01)
            for option, it in row.options(t):
                with np.errstate(all="ignore"):
                    wrong = row.written(t, option)
                if np.shape(wrong) != np.shape(t.c) or not np.isfinite(wrong).all():
                    continue
                if np.allclose(wrong, t.c, rtol=1e-6):
                    continue
                found = recognised(walk, words, edge, wrong)
                assert found, f"{row.name} is not known again: {sentence(row, t, it)}"
                text = found[1] if row.name in FROM_ABOVE else sentence(row, t, it)
                if found == (row.kind, text):
                    return
                said.add(found)
    pytest.fail(f"{row.name}: none is said to be that, but {said}")


SEEN = [row for row in ROWS if row.name != "clipped"]  # which can only be seen at the term


@pytest.mark.parametrize("row", SEEN, ids=[row.name for row in SEEN])
def test_a_mistake_at_all_steps_is_found_from_the_gradients_alone(row):
    said = set()
    for walk, words in map(recorded, (gated, normed, indexed)):
        for spot in spots(walk, words):
            for mistake in spot.mistakes(walk, words, [row]):
                manual = given(walk, mistake.edits)
                if manual is None:
                    continue
                found = Search(walk, words, manual, 1e-8).found(60.0)
                texts = [(m.kind, m.says()) for m in found]
                assert texts, f"{row.name} is not found again: {mistake.says()}"
                if (mistake.kind, mistake.says()) in texts:
                    return
                said.add(texts[0])
    pytest.fail(f"{row.name}: none is found to be that, but {said}")


@pytest.mark.parametrize("row", WHOLE, ids=[row.name for row in WHOLE])
def test_a_gradient_that_is_another_as_a_whole(row):
    walk, words = recorded(gated)
    k = next(k for k in sorted(walk.leaves) if walk.nodes[k].name == "u")
    right = walk.cots[k]
    for option, it in row.options(right, np.clip(3 * right, -0.01, 0.01)):
        wrong = row.written(right, option)
        found = whole(walk, words, k, wrong)
        assert found == (row.kind, row.says.format(what="`u`", it=it))
