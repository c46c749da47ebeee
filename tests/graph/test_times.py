"""How long operations take: that it is measured where it is spent, and changes nothing."""

import time

import numpy as np
import pytest

import minigrad as mg
from minigrad import viz
from minigrad.graph.graph import Graph
from minigrad.graph.stats import Measured
from minigrad.graph.times import whole
from minigrad.viz.words import duration
from tests.helpers import lstm_loss

FORWARD, BACKWARD = 0.02, 0.03


def slow_square(x):
    """Return a square that takes 20 ms forward and 30 ms backward."""

    def square(x):
        time.sleep(FORWARD)
        return x**2

    def backward(g, z, x):
        time.sleep(BACKWARD)
        return 2 * x * g

    return mg.custom_vjp(square, backward)(x)


def measured(y, **options):
    graph = Graph(y)
    return graph, Measured(graph, time=True, **options).times


def test_it_is_the_slow_operation_that_takes_the_time():
    x = mg.tensor(np.ones(3), requires_grad=True)
    graph, times = measured((np.tanh(slow_square(x)) * 2).sum(), grads=True)
    took = {n.op: t for n, t in zip(graph.nodes, times, strict=True)}
    slow = max(took, key=lambda op: sum(took[op]))
    assert took[slow].forward >= FORWARD
    assert took[slow].backward >= BACKWARD
    assert whole(times).forward < 2 * FORWARD, "the others are fast, and it was the least of three"
    assert x.grad is None


def test_the_gradient_of_a_parameter_takes_its_time_at_the_parameter():
    """A hundred uses of a matrix are summed at once, by one large product."""
    w, x = mg.tensor(np.ones((200, 200)), requires_grad=True), np.ones((100, 200))
    y = sum(x @ w for _ in range(100)).sum()
    graph, times = measured(y, grads=True)
    products = [t.backward for n, t in zip(graph.nodes, times, strict=True) if n.op == "matmul"]
    (leaf,) = [t for n, t in zip(graph.nodes, times, strict=True) if n.kind == "leaf"]
    assert leaf.forward == 0
    assert leaf.backward > sorted(products)[50] * 10


def test_without_gradients_there_is_no_backward():
    graph, times = measured(lstm_loss(3), grads=False)
    assert {t.backward for t in times} == {None}
    assert all((t.forward > 0) == bool(n.op) for n, t in zip(graph.nodes, times, strict=True))
    assert whole(times).backward is None
    assert Measured(graph).times is None


@pytest.mark.parametrize("kind", ["checkpoint", "compiled", "several outputs", "dropout"])
def test_whatever_made_it_can_be_run_again(kind):
    x = mg.tensor(np.ones((4, 3)), requires_grad=True)
    if kind == "checkpoint":
        y = mg.checkpoint(lambda x: np.tanh(x) ** 2)(x)
    elif kind == "compiled":
        fast = mg.compile(lambda x: np.tanh(x) ** 2)
        for _ in range(3):
            y = fast(x)
    elif kind == "several outputs":
        y = mg.linalg.eigh(x.T @ x + np.diag([1.0, 2.0, 3.0]))[0]
    else:
        y = mg.dropout(x, 0.5, rng=np.random.default_rng(0))
    before = y.data.copy()
    graph, times = measured(y.sum(), grads=True)
    (made,) = [
        t
        for n, t in zip(graph.nodes, times, strict=True)
        if n.tensor is y or "compiled" in (n.op or "")
    ][-1:]
    assert made.forward is None if kind == "compiled" else made.forward > 0
    assert whole(times).backward > 0
    np.testing.assert_array_equal(y.data, before)
    foot = [
        line for line in viz.summary(y, time=True, grads=before).splitlines() if "time: " in line
    ]
    assert ("forward not known of compiled" in foot[0]) == (kind == "compiled")
    assert ": 0 ns" not in foot[0]


def test_the_summary_says_it():
    text = viz.summary(lstm_loss(5), grads=True, time=True, width=140, color=False, ascii=False)
    head, *rows = text.splitlines()
    assert head.split()[-2:] == ["forward", "backward"]
    (step,) = [row for row in rows if "step ×5" in row]
    assert len([word for word in step.split() if word in ("ns", "µs", "ms", "s")]) == 2
    assert "of every operation alone, the least of 3" in text
    plain = viz.summary(lstm_loss(5), grads=True, width=140, color=False, ascii=False)
    assert "forward" not in plain
    alone = viz.summary(lstm_loss(5), time=True, width=140, color=False, ascii=True)
    assert "backward" not in alone.splitlines()[0]


def test_a_scope_takes_what_is_in_it_and_nothing_is_counted_twice():
    graph = Graph(lstm_loss(5))
    scene = viz.scene.Scene(graph, Measured(graph, True, time=True))
    times, rows = scene.measured.times, [n.number for n in scene.shown if n.op]
    in_rows = [k for k in rows if k not in scene.wiring.hidden]
    together = whole([scene.time([k]) for k in in_rows])
    inputs = [t for n, t in zip(graph.nodes, times, strict=True) if n.kind in ("leaf", "constant")]
    for a, b, c in zip(together, whole(inputs), whole(times), strict=True):
        assert a + b == pytest.approx(c)
    assert scene.time(rows) == pytest.approx(together)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 ns"), (4.21e-7, "421 ns"), (9.996e-7, "1 µs"), (1.25e-5, "12.5 µs"),
     (3e-3, "3 ms"), (0.9994, "999 ms"), (0.9996, "1 s"), (75.0, "75 s")],
)  # fmt: skip
def test_durations(seconds, text):
    assert duration(seconds) == text
