"""A forgotten detach is worth a warning; several backward passes that are meant are not."""

import threading
import tracemalloc
import warnings

import numpy as np
import pytest

import minigrad as mg
from minigrad.guard.errors import GraphWarning

WORDS = r"third backward\(\) in a row .*t\.detach\(\)"


def leaf(x, **more):
    return mg.tensor(np.array(x, dtype=np.float64), requires_grad=True, **more)


@pytest.fixture
def w():
    return leaf(np.eye(3) / 2, name="w")


@pytest.fixture(autouse=True)
def one_pass_before():
    (leaf(1.0) * 2).backward()  # so that no test goes on from another


def step(h, w):
    return np.tanh(h @ w)


def counted(loop):
    """How often a program warns, by Python's own filter set to say everything."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loop()
    assert {(w.category, w.filename) for w in caught} <= {(GraphWarning, __file__)}
    return len(caught)


def test_a_state_that_is_carried_on(w):
    def loop():
        h = np.ones(3)
        for _ in range(6):
            h = step(h, w)
            (h**2).sum().backward()

    assert counted(loop) == 1
    with pytest.warns(GraphWarning, match=rf"{WORDS}.* add the parts up"):
        loop()


def test_a_loss_that_is_added_to(w):
    def loop():
        total = 0.0
        for k in range(5):
            total = total + (step(np.ones(3), w) ** k).sum()
            total.backward()

    assert counted(loop) == 1


def test_a_loop_of_three_and_one_of_two(w):
    def loop(n):
        h = np.ones(3)
        for _ in range(n):
            h = step(h, w)
            h.sum().backward()

    assert counted(lambda: loop(2)) == 0
    assert counted(lambda: loop(3)) == 1


def test_a_recurrent_layer_and_an_optimiser():
    cell, rng = mg.nn.LSTMCell(2, 3, rng=0), np.random.default_rng(0)
    optimizer = mg.optim.SGD(cell.parameters(), lr=0.1)

    def loop(detached):
        state = None
        for _ in range(6):
            optimizer.zero_grad()
            h, c = cell(rng.normal(size=(1, 2)).astype(np.float32), state)
            state = (h.detach(), c.detach()) if detached else (h, c)
            (h**2).mean().backward()
            optimizer.step()

    assert counted(lambda: loop(True)) == 0
    assert counted(lambda: loop(False)) == 1


STALE = r"gives the gradient at the old data; compute the loss.* anew each time"


def test_a_loss_computed_once_and_stepped_upon(w):
    optimizer = mg.optim.SGD([w], lr=0.1)

    def loop(of):
        for _ in range(4):
            optimizer.zero_grad()
            of().backward()
            optimizer.step()

    assert counted(lambda: loop(lambda: (np.exp(w) ** 2).sum())) == 0
    loss = (np.exp(w) ** 2).sum()
    assert counted(lambda: loop(lambda: loss)) == 3
    part = np.exp(w)
    assert counted(lambda: loop(lambda: (part**2).sum())) == 2  # from the third pass on
    with pytest.warns(GraphWarning, match=rf"what exp computed before .*'w'.* {STALE}"):
        loop(lambda: loss)


def test_the_gradient_at_old_data_is_no_fault_where_it_is_taken_once(w):
    """As in line searches: recorded, moved, and only then differentiated."""

    def loop():
        for _ in range(3):
            loss = (w * w).sum()
            w.data = w.data * 0.9
            loss.backward()

    assert counted(loop) == 0


def test_what_is_carried_on_is_named(w):
    def loop(name):
        h = np.ones(3)
        for k in range(4):
            with mg.scope("step", k):
                h = step(h, w)
                if name:
                    h.name = f"{name}{k}"
                h.sum().backward()

    with pytest.warns(GraphWarning, match=r"tensor 'h1', the result of tanh, in step\[1\]; write"):
        loop("h")
    with pytest.warns(GraphWarning, match=r"a tensor of shape \(3,\), the result of tanh, in step"):
        loop("")
    with (
        mg.debug(),
        pytest.warns(GraphWarning, match=r"test_repeated_backward.*: return np\.tanh\(h @ w\)"),
    ):
        loop("h")


MEANT = {}


def meant(loop):
    MEANT[loop.__name__] = loop


@meant
def the_same_loss(w):
    loss = step(np.ones(3), w).sum()
    for _ in range(5):
        loss.backward()


@meant
def several_losses_of_one_graph(w):
    h = step(np.ones(3), w)
    for loss in [(h**k).sum() for k in range(1, 6)]:
        loss.backward()


@meant
def several_heads_of_one_trunk(w):
    h = step(step(np.ones(3), w), w)
    for k in range(1, 6):
        np.tanh(h * k).sum().backward()


@meant
def a_penalty_beside_each_loss(w):
    for _ in range(4):
        loss = (step(np.ones(3), w) ** 2).sum()
        loss.backward()
        (loss * 2 + (w**2).sum()).backward()


@meant
def detached(w):
    h = np.ones(3)
    for _ in range(5):
        h = step(h, w)
        h.sum().backward()
        h = h.detach()


@meant
def truncated_every_fourth(w):
    h = np.ones(3)
    for k in range(12):
        h = step(h, w)
        if k % 4 == 3:
            h.sum().backward()
            h = h.detach()


@meant
def the_next_graph_is_made_ahead(w):
    ahead = step(np.ones(3), w).sum()
    for _ in range(6):
        loss, ahead = ahead, step(np.ones(3), w).sum()
        (loss * 2).backward()


@meant
def transforms_of_a_carried_state(w):
    h = np.ones(3)
    for _ in range(5):
        h = step(h, w)
        mg.grad(lambda v: step(h, v).sum())(w.data)  # noqa: B023


@meant
def two_networks_in_turn(w):
    for _ in range(4):
        fake = step(np.ones(3), w)
        (fake**2).sum().backward()
        (fake * 2).sum().backward()


@pytest.mark.parametrize("loop", MEANT.values(), ids=MEANT)
def test_what_is_meant_is_silent(loop, w):
    assert counted(lambda: loop(w)) == 0


def test_every_thread_has_its_own_passes(w):
    """Two threads, each with two passes, are not one with four."""
    turns = [threading.Barrier(2) for _ in range(3)]

    def work(v):
        h = np.ones(3)
        for turn in turns[:2]:
            turn.wait()
            h = step(h, v)
            h.sum().backward()

    def loop():
        threads = [threading.Thread(target=work, args=(v,)) for v in (w, leaf(np.eye(3)))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert counted(loop) == 0


def test_no_graph_is_kept(w):
    def steps():
        for _ in range(3):
            loss = step(np.ones((20_000, 3)), w).sum()
            loss.backward()

    steps()
    tracemalloc.start()
    try:
        steps()
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()
