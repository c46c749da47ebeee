"""The table of kinds of mistakes: every row, planted at a term, is known again on both roads."""

import functools
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import minigrad as mg
from minigrad.explain.changes import Changes
from minigrad.explain.kinds import KINDS, sentence
from minigrad.explain.recognised import Whole, _as_a_whole, misshapen, recognised, said
from minigrad.explain.single import Search, searched
from minigrad.explain.spots import spots
from minigrad.explain.term import Term, chains
from tests.helpers import assert_current

FROM_ABOVE = ("a term of the gradient is missing", "a term of the gradient is twice there")
"""Where the right value of one term is known, these are mistakes of the terms above it."""
ROWS = [row for part in KINDS for row in part]
OF_ALL = ("its blocks are exchanged", "it is moved by one")  # rows of any array, but of no term
TERMS = [row for row in ROWS if row.name not in OF_ALL]


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
    """Record a loss as `compare_backward` does: with the user's expressions."""
    zeros = lambda p: {name: np.zeros_like(x) for name, x in p.items()}
    case = mg.compare_backward(lambda p: loss(**p), zeros, draw()).case
    return case.walk, case.words


def given(walk, edits):
    """Return the gradients of the leaves that a mistake leads to."""
    with np.errstate(all="ignore"):
        delta, failed = Changes(walk, walk.leaves)([edits])
    leaves = [k for k in walk.leaves if k in walk.cots]
    found = {k: walk.cots[k] + (delta[k][0] if k in delta else 0) for k in leaves}
    good = not failed and all(np.isfinite(g).all() for g in found.values())
    wrong = [k for k in leaves if not np.allclose(found[k], walk.cots[k], rtol=1e-6, atol=1e-9)]
    return found if good and wrong else None


@functools.cache
def planted(row):
    """Plant a row at one term: its sentence, where it is known again, and else what was said."""
    others = set()
    for walk, words in map(recorded, (gated, normed, indexed)):
        every = [*spots(walk, words)]
        every.sort(key=lambda spot: walk.site_of[max(spot.tops)[0]].op == "getitem")  # dull
        for spot in every:
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
                text = sentence(row.says, t, it)
                found = recognised(walk, words, edge, wrong)
                assert found, f"{row.name} is not known again: {text}"
                if found == (row.kind, found[1] if row.name in FROM_ABOVE else text):
                    return text, None
                others.add(found)
    return None, others


@pytest.mark.parametrize("row", TERMS, ids=[row.name for row in TERMS])
def test_a_mistake_is_known_again_where_it_was_made(row):
    """The right value of one term is known, and what stands in its place."""
    text, others = planted(row)
    assert text, f"{row.name}: none is said to be that, but {others}"


SEEN = [row for row in TERMS if row.name != "clipped"]  # which can only be seen at the term


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


WHOLE = [row for row in ROWS if row.whole]


@functools.cache
def planted_as_a_whole(row):
    """Plant a row in the gradient of `u`: its sentences, and what was said."""
    walk, _ = recorded(gated)
    k = next(k for k in sorted(walk.leaves) if walk.nodes[k].name == "u")
    right = walk.cots[k]
    wrong = np.clip(right, -0.01, 0.01) if row.kind == "clipped" else right / 3
    q = Whole(right, wrong, "the gradient of `u`")
    options = [*row.options(q)]
    return [(row.kind, sentence(row.says, q, it)) for _, it in options], [
        _as_a_whole(q._replace(wrong=row.written(q, option))) for option, _ in options
    ]


@pytest.mark.parametrize("row", WHOLE, ids=[row.name for row in WHOLE])
def test_a_gradient_that_is_another_as_a_whole(row):
    texts, found = planted_as_a_whole(row)
    assert texts
    assert all(one in texts for one in found)
    assert texts[-1] in found


AT_SOME_STEPS = (
    ("not accumulated", "at every step but the last (= where += belongs): what"),
    ("initial state", "at the first step only, of `h`: what"),
    ("truncated", "the gradient is cut at step 2 only: what"),
    ("truncated", "the gradient is cut at step 0, 2: what"),
    ("sign", "at the last step only: the sign of what"),
    ("missing term", "at the first step only: what"),
    ("derivative left out", "at every step but the first: the derivative of"),
)


@pytest.mark.parametrize(("kind", "text"), AT_SOME_STEPS)
def test_a_mistake_at_some_steps_is_found_from_the_gradients_alone(kind, text):
    walk, words = recorded(gated)
    others = set()
    for spot in spots(walk, words):
        for mistake in spot.at_some_steps(walk, words):
            if mistake.kind != kind or not mistake.says().startswith(text):
                continue
            if manual := given(walk, mistake.edits):
                found = Search(walk, words, manual, 1e-8).found(60.0)
                texts = [(m.kind, m.says()) for m in found]
                if (mistake.kind, mistake.says()) in texts:
                    return
                others.add(texts[0] if texts else None)
    pytest.fail(f"none is found to be that, but {others}")


# ---- the table, printed --------------------------------------------------------------------------


FILE = Path(__file__).parents[2] / "docs" / "mistakes.md"
HEAD = """# Mistakes

What people write in the place of a term of a backward pass, and what is said of it: the rows of the
table in `minigrad/explain/kinds.py`, each with an example. A *term* is what one operation passes to
one of its inputs; `g` is the gradient of what the operation gives. Every row is tried where
`compare_backward` has found the wrong statement, and by the search for a single mistake where only
gradients are given (`compare(numbers, loss)`); some are looked for at some time steps only, too:
then the kind may be "initial state", "truncated" or "not accumulated". Written by `make pages`.
"""
PARTS = ("What everybody does", "What is common", "What is rarer")


def example(row):
    return planted(row)[0] or planted_as_a_whole(row)[0][0][1]


def page():
    """Print the table, with an example of every row."""
    lines = [HEAD]

    def table(title, rows):
        lines.extend([f"## {title}", "", "| mistake | kind | for example |", "|---|---|---|"])
        for row, text in rows:
            text = text[0].upper() + text[1:].replace("|", "\\|")
            lines.append(f"| {row.name} | {row.kind} | {text} |")
        lines.append("")

    for title, part in zip(PARTS, KINDS, strict=True):
        table(title, [(row, example(row)) for row in part])
    return "\n".join(lines)


def test_the_page_is_current():
    assert_current(FILE, page())


# ---- where a true quantity was expected ----------------------------------------------------------


def node(name, step=2):
    walk, words = recorded(gated)
    named = [
        k for k, (place, result) in words.expressions.items() if result and place.target == name
    ]
    return walk, words, named[step]


def known_again(expected, k, value, wrong, edges=(), every=False):
    walk, words = recorded(gated)
    quantity = SimpleNamespace(kind=expected, k=k, value=value, edges=edges, every=every)
    return said(walk, words, quantity, wrong)


def test_a_derivative_is_known_again():
    walk, _, k = node("n")
    n, (j,) = walk.z[k], walk.edges[k]
    kind, text = known_again("derivative", k, 1 - n**2, 1 - n, [(k, j)])
    assert kind == "wrong derivative"
    assert "is taken as `1 - n`; right is `g * (1 - n**2)`" in text


def test_the_derivative_of_a_helper_is_known_again():
    walk, words, k = node("z")
    tops = next(tops for tops in chains(walk, words) if k in tops.values())
    edge = next(e for e, top in tops.items() if top == k)
    z = walk.z[k]
    kind, text = known_again("derivative", k, z * (1 - z), z * (1 + z), [edge])
    assert kind == "wrong derivative"
    assert "`z = sigmoid(a)` is taken as `z * (1 + z)`; right is `g * z * (1 - z)`" in text


def test_a_value_is_known_again():
    walk, _, k = node("z")
    *_, other = node("r")
    *_, before = node("z", 1)
    z = walk.z[k]
    assert known_again("value", k, z, walk.z[other]) == (
        "swapped operand", "`r = sigmoid(a * v)` stands where `z = sigmoid(a)` belongs",
    )  # fmt: skip
    kind, text = known_again("value", k, z, walk.z[before])
    assert kind == "wrong step"
    assert "of step 1 stands where that of step 2 belongs" in text
    assert known_again("value", k, z, z.T)[0] == "transpose"
    assert known_again("value", k, z, -z)[0] == "sign"
    assert known_again("value", k, z, 0 * z)[0] == "overwritten"
    assert known_again("value", k, z, z**3) is None


def test_a_part_of_the_terms_of_a_gradient_is_known_again():
    walk, _, k = node("h", 1)
    some = sorted(e for e in walk.into(k) if e in walk.contributions)[1:]
    right = sum(walk.contributions[e] for e in some)
    wrong = right - walk.contributions[some[0]]
    kind, text = known_again("part", k, right, wrong, some)
    assert kind == "missing term"
    assert text.endswith("is missing")


def test_gradients_of_all_steps_are_known_again_at_the_first_that_is_wrong():
    walk, _, k = node("n", 3)
    ks = walk.site_of[k].members
    right = np.stack([walk.cots[m] for m in ks])
    kind, text = known_again("gradient", k, right, right * [[[1]], [[2]], [[2]], [[1]]], every=True)
    assert (kind, "has a factor 2 too much" in text) == ("factor", True)


def test_a_shape_is_known_again():
    walk, _, _ = node("h")
    b = next(k for k in walk.leaves if walk.nodes[k].name == "b")
    right = walk.cots[b]
    rows = np.vstack([right, 0 * right])
    for wrong, kind, text in (
        (rows, "broadcast", "(2, 4), not (4,): sum it over axis 0, along which it is broadcast"),
        (right[None], "broadcast", "sum it over axis 0"),
        (right.sum(), "broadcast", "it is summed over too many axes"),
        (right[:2], "broadcast", "it is summed over axes that it should keep"),
    ):
        assert known_again("gradient", b, right, wrong)[0] == kind
        assert text in known_again("gradient", b, right, wrong)[1]
    assert misshapen(np.ones((2, 3)), np.ones((3, 2)), "`w`")[0] == "transpose"
    assert "reshape it" in misshapen(np.ones((2, 3)), np.ones(6), "`w`")[1]


def test_what_is_known_by_no_row_is_not_named():
    walk, _, k = node("n")
    rng = np.random.default_rng(1)
    assert known_again("gradient", k, walk.cots[k], rng.normal(size=(4, 4))) is None
    assert known_again("gradient", k, walk.cots[k], walk.cots[k] * np.nan) is None


def spoilt(a, rng):
    """What may stand in the place of an array: nonsense of any size and shape."""
    return [
        a * rng.normal(size=a.shape), 0 * a, a * 1e300, a[..., None], a.sum(), a.T, a.ravel(),
        np.full(a.shape, np.nan), np.full(a.shape, np.inf), a * 1e-320,
    ][rng.integers(10)]  # fmt: skip


@pytest.mark.parametrize("loss", [gated, normed, indexed])
def test_whatever_stands_in_a_place_nothing_is_raised(loss):
    walk, words = recorded(loss)
    rng = np.random.default_rng(0)
    edges = sorted(e for e, c in walk.contributions.items() if np.ndim(c))
    for k, j in rng.permutation(edges)[:25].tolist():
        s, c = walk.edges[k][j], walk.contributions[k, j]
        places = [("gradient", s, walk.cots[s], ()), ("value", s, walk.z[s], ())]
        places += [("contribution", s, c, ((k, j),)), ("unsummed", s, c, ((k, j),))]
        if walk.family(k) == "elementwise":
            slope = walk.raw(k, j, np.ones(np.shape(walk.z[k])))
            places.append(("derivative", k, slope, ((k, j),)))
        kind, k, value, some = places[rng.integers(len(places))]
        quantity = SimpleNamespace(kind=kind, k=k, value=value, edges=some, every=False)
        found = said(walk, words, quantity, spoilt(np.asarray(value), rng))
        assert found is None or all(isinstance(text, str) for text in found)


# ---- the search ----------------------------------------------------------------------------------


def test_gradients_that_are_wrong_for_different_reasons_are_explained_one_by_one():
    walk, words = recorded(gated)
    keys = {walk.nodes[k].name: k for k in walk.leaves}
    manual = {k: walk.cots[k] for k in keys.values()}
    manual[keys["w"]] = -manual[keys["w"]]
    manual[keys["b"]] = 3 * manual[keys["b"]]
    found = searched(walk, words, manual, 1e-8, 60.0)
    assert {e.kind for e in found} == {"sign", "factor"}
    assert all(str(e).startswith("test_kinds.py:") for e in found)


def test_a_limit_of_time_holds_inside_a_batch_of_candidates():
    walk, words = recorded(gated)
    rng = np.random.default_rng(3)
    manual = {k: rng.normal(size=np.shape(walk.z[k])) for k in walk.leaves}
    start = time.monotonic()
    (found,) = searched(walk, words, manual, 1e-8, 0.1)
    assert found.kind == "nearest"
    assert time.monotonic() - start < 2
    late = Changes(walk, walk.leaves, until=0.0)
    edit = {next(iter(walk.contributions)): lambda e, c, now: 2 * c}
    assert late([edit, edit]) == ({}, [0, 1])
    assert [*late.of(max(walk.leaves), [edit])] == [np.inf]


def test_two_gradients_under_each_others_names():
    walk, words = recorded(gated)
    w, u = [k for k in walk.leaves if walk.nodes[k].name in "wu"]
    found = searched(walk, words, {w: walk.cots[u], u: walk.cots[w]}, 1e-8, 60.0)
    assert [e.kind for e in found] == ["permuted", "permuted"]
    assert "stands in the place of that of" in found[0].sentence


def test_nonsense_is_called_so():
    walk, words = recorded(gated)
    rng = np.random.default_rng(3)
    manual = {k: rng.normal(size=np.shape(walk.z[k])) for k in walk.leaves}
    (found,) = searched(walk, words, manual, 1e-8, 60.0)
    assert found.kind == "nearest"
    assert "No single mistake that is known here gives these numbers" in found.sentence


def test_what_is_right_needs_no_explanation():
    walk, words = recorded(gated)
    found = searched(walk, words, {k: walk.cots[k] for k in walk.leaves}, 1e-8, 60.0)
    assert found == []
    assert str(found) == "nothing to explain: all gradients agree"


if __name__ == "__main__":
    FILE.write_text(page(), encoding="utf-8")
