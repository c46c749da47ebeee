"""A checkpoint opens: what is inside is run again, and stands in its place."""

import json

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, viz
from minigrad.graph.graph import Graph
from minigrad.graph.nodes import Cluster
from minigrad.graph.options import moving_texts, sum_text
from minigrad.graph.stats import Measured
from tests.helpers import leaf

rng = np.random.default_rng(0)
X = rng.normal(size=(12, 3))


def scanned(checkpoint, w, x=X):
    def step(h, x):
        h = np.tanh(x @ w + h)
        return h, h * 2

    h, hs = mg.scan(step, np.zeros(3), mg.tensor(x, name="x"), checkpoint=checkpoint)
    return (h * hs[3]).sum()


def nested(w):
    inner = mg.checkpoint(lambda x: np.tanh(x @ w))
    return mg.checkpoint(lambda x: inner(np.sin(inner(x))) * w[0])(leaf(X)).sum()


def captures_what_another_made(w):
    a = mg.checkpoint(lambda w: np.exp(w) + 1)(w)
    b = np.cos(a)
    return mg.checkpoint(lambda x: (x @ a + b[0]) * x)(leaf(X)).sum()


def several(w):
    a, b = mg.checkpoint(lambda w: (np.sin(w), (np.cos(w), w * 3)))(w)
    return (a * b[0] + b[1]).sum()


def gives_what_it_got(w):
    return (mg.checkpoint(lambda w: w)(w) * 2).sum()


def draws(w):
    net = nn.Dropout(0.5, rng=0)
    return mg.checkpoint(lambda w: net(w) * w)(w * 1).sum()


def net(w):
    steps = nn.Sequential(*[nn.Linear(3, 3, rng=k, dtype=np.float64) for k in range(4)])
    return mg.checkpoint(steps)(X @ w).sum()


CASES = {
    f.__name__: f
    for f in (nested, captures_what_another_made, several, gives_what_it_got, draws, net)
} | {f"scan, checkpoint={k}": lambda w, k=k: scanned(k, w) for k in (1, 4, 5, True)}


@pytest.mark.parametrize("name", CASES)
def test_it_has_the_values_and_the_gradients_of_what_was_recorded(name):
    w = leaf(rng.normal(size=(3, 3)))
    loss = CASES[name](w)
    closed, graph = Graph(loss), Graph(loss, inside=True)
    assert any(n.op == "checkpoint" for n in closed.nodes)
    assert not any(n.op == "checkpoint" for n in graph.nodes)
    assert graph.shut == {}
    assert graph.nodes[graph.outputs[0]].value == loss.data
    (now,) = graph.tensors
    assert now is not loss
    assert [t.index for t in now.inputs if t is not None] < [now.index]
    loss.backward()
    expected, w.grad = w.grad, None
    now.backward()
    np.testing.assert_allclose(w.grad, expected, rtol=1e-13)
    stats = Measured(graph, True)
    assert stats.grads[graph.numbers[w]].max == pytest.approx(expected.max())
    orders = [n.tensor.index for n in graph.nodes if n.op]
    assert orders == sorted(orders)


def test_without_a_checkpoint_nothing_is_written_anew():
    loss = (leaf(X) * 2).sum()
    assert Graph(loss, inside=True).tensors == [loss]


def test_the_tape_stays_as_it_was():
    w = leaf(np.eye(3))
    loss = scanned(4, w)
    before = [(n.tensor, n.tensor.inputs) for n in Graph(loss, fold=False).nodes if n.op]
    viz.summary(loss, grads=True)
    after = [(n.tensor, n.tensor.inputs) for n in Graph(loss, fold=False).nodes if n.op]
    assert before == after
    assert w.grad is None


def test_an_unfolded_scan_is_that_without_checkpoints():
    w = leaf(np.eye(3))
    plain = [n.op for n in Graph(scanned(False, w), fold=False).nodes if n.op != "stack"]
    there = [n.op for n in Graph(scanned(4, w), fold=False, inside=True).nodes if n.op != "stack"]
    there.remove("concatenate")
    assert there == plain


def test_segments_are_folded_and_their_time_is_said():
    text = viz.summary(scanned(4, leaf(np.eye(3))), grads=True, ascii=False)
    assert "checkpoint ×3  k = 0 … 2" in text
    assert "step ×4  r = 0 … 3, t = 4k+r" in text
    assert "x[4k+r] " in text
    uneven = viz.summary(scanned(5, leaf(np.eye(3))), ascii=False)
    assert "step ×5  r = 0 … 4, t = 5k+r" in uneven
    assert "step ×2  t = 10 … 11" in uneven


def test_errors_and_names_go_to_what_has_taken_the_place():
    w = leaf(np.eye(3))
    y = mg.checkpoint(np.tanh)(w)
    mg.label(y=y)
    loss = y.sum()
    source = viz.draw(loss, agreement={y: 0.5, w: 0.0}).source
    assert "y</b> = tanh" in source.replace("&#160;", " ")
    assert "error 0.5" in source


@pytest.mark.parametrize(
    "make",
    [
        lambda w: mg.checkpoint(lambda h: np.tanh(h * w))(w),
        lambda w: mg.checkpoint(lambda h, g: np.tanh(h * g))(w, w),
        lambda w: mg.scan(lambda h, x: (np.tanh(h * w[0] + x), None), w[0], X[:4], checkpoint=2)[0],
    ],
    ids=["captured and given", "given twice", "a carry that is captured"],
)
def test_an_input_that_is_also_another_one_is_no_obstacle(make):
    w = leaf(rng.normal(size=(3, 3)))
    graph = Graph(make(w).sum(), inside=True)
    assert graph.shut == {}
    assert "checkpoint" not in [n.op for n in graph.nodes]


def test_of_what_is_inside_the_tape_keeps_nothing():
    kept = {}
    for checkpoint in (False, 4):
        loss = scanned(checkpoint, leaf(np.eye(3)))
        for inside in (True, False):
            graph = Graph(loss, inside=inside)
            scene = viz.scene.Scene(graph, Measured(graph))
            kept[checkpoint, inside] = scene.cost([*scene.costs]).kept
            pages = json.loads(viz.to_json(loss))
            forms, form = pages["forms"], pages["nodes"]["form"]
            if inside:
                assert sum(forms[f]["kept"] for f in form) == kept[checkpoint, inside]
    assert kept[4, True] == kept[4, False]
    assert kept[4, True] < kept[False, True] / 2
    assert "checkpoints run forward once more" in viz.summary(loss, time=True)


@pytest.mark.parametrize("error", [ValueError, KeyError, ZeroDivisionError])
def test_whatever_goes_wrong_inside_it_stays_shut(error):
    first = []

    def f(h):
        if first:
            raise error("boom")
        first.append(1)
        return np.tanh(h)

    loss = mg.checkpoint(f)(leaf(X)).sum()
    assert error.__name__ in next(iter(Graph(loss, inside=True).shut.values()))
    assert f"cannot be opened: {error.__name__}" in viz.summary(loss, ascii=False)


def test_what_cannot_be_opened_says_why():
    w = leaf(np.eye(3))
    loss = scanned(4, w)
    w.data = w.data * 2
    graph = Graph(loss, inside=True)
    assert len(graph.shut) == 3
    assert "cannot be opened" in viz.draw(loss).source
    assert "was given new data between forward and backward" in graph.shut[min(graph.shut)]
    viz.show(loss)


def test_the_one_that_can_be_opened_is():
    a, b = leaf(np.eye(3)), leaf(np.eye(3))
    loss = (mg.checkpoint(lambda x: np.tanh(x) * a)(X[:3]) @ mg.checkpoint(np.sin)(b)).sum()
    a.data = a.data * 2
    ops = [n.op for n in Graph(loss, inside=True).nodes if n.op]
    assert ops == ["checkpoint", "sin", "matmul", "sum"]


@pytest.mark.parametrize(
    ("moves", "text"),
    [([(4, 0, 0), (1, 0, 0)], "4k+r"), ([(4, 3, 0), (1, 3, 0)], "4k+r+3"), ([(1, 7, 0)], "r+7"),
     ([(-4, 8, 0), (-1, 8, 0)], "8−4k−r"), ([(4, 5, 1), (1, 8, 1)], "4k+r+4")],
)  # fmt: skip
def test_an_integer_that_moves_with_two_loops(moves, text):
    folds = [Cluster(k, None) for k in range(len(moves))]
    for fold, letter, (_, _, first) in zip(folds, "kr"[-len(moves) :], moves, strict=True):
        fold.letter, fold.moments = letter, [first, first + 1, first + 2]
    entries = [(fold, a, b) for fold, (a, b, _) in zip(folds, moves, strict=True)]
    assert moving_texts(entries) == text
    assert sum_text([("k", 4), ("t", 1)], -1) == "4k+t−1"


def test_an_index_of_two_loops_is_said():
    x, total = leaf(rng.normal(size=12)), 0.0
    for k in range(3):
        with mg.scope("row", k):
            for j in range(4):
                with mg.scope("step", j):
                    total = np.tanh(x[4 * k + j] + total)
    text = viz.summary(total, ascii=False)
    assert "row ×3  row = 0 … 2" in text
    assert "[4row+t]" in text
