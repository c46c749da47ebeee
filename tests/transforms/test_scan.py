"""scan and checkpoint: the loop over time is the loop, and what is run again is the same."""

import gc
import time
import tracemalloc
from functools import partial

import numpy as np
import pytest

import minigrad as mg
from minigrad.testing import check_grads
from tests.helpers import close, in_threads, leaf

X = np.array([0.7, -0.4, 1.3])


# ---- checkpoint ----------------------------------------------------------------------------------


def test_checkpoint_of_containers_constants_and_keywords():
    def g(p, mode, *, scale):
        assert mode == "sum"
        y = {"y": (p["a"] * scale, None), "n": 3, "c": np.ones(2), "same": p["a"]}
        return y | {"sum": (p["a"] * p["b"]).sum()}

    results = []
    for h in (g, mg.checkpoint(g)):
        a, b, scale = leaf(X), leaf(2.0), leaf([1.0, 2.0, 3.0])
        out = h({"a": a, "b": b}, "sum", scale=scale)
        assert (out["n"], out["y"][1]) == (3, None)
        (out["y"][0].sum() * out["sum"] + (out["same"] ** 2).sum()).backward()
        results.append([t.grad for t in (a, b, scale)])
    for plain, again in zip(*results, strict=True):
        close(again, plain)


def test_checkpoint_finds_what_the_function_captured():
    w, inner = leaf([1.0, 2.0, 3.0], name="w"), leaf(0.5)
    h = np.sin(inner * w)  # captured as well, and not a leaf
    g = mg.checkpoint(lambda x: np.tanh(w * x) * h)
    y = g(X)
    assert y.primitive.name == "checkpoint"
    assert [t.name for t in y.inputs] == ["w", None]
    (y**2).sum().backward()
    again = [w.grad, inner.grad]
    w.grad = inner.grad = None
    ((np.tanh(w * X) * np.sin(inner * w)) ** 2).sum().backward()
    for a, t in zip(again, (w, inner), strict=True):
        close(a, t.grad)


def test_checkpoint_of_a_module_trains_it():
    rng = np.random.default_rng(0)
    lstm = mg.nn.LSTM(2, 3, rng=rng, dtype=np.float64)
    x, gradients = rng.normal(size=(5, 2, 2)), []
    for layer in (lstm, mg.checkpoint(lstm), mg.checkpoint(mg.checkpoint(lstm))):
        lstm.zero_grad()
        hs, (_, c) = layer(x)
        (hs * hs).sum().backward()
        (c**3).sum().backward()
        gradients.append([p.grad for p in lstm.parameters()])
    for other in gradients[1:]:
        for a, b in zip(gradients[0], other, strict=True):
            close(a, b)


def test_checkpoint_inside_a_gradient_by_what_it_captures():
    # the leaves of a finished run are closed; the function that runs again must still see them
    def g(w):
        return mg.checkpoint(lambda x: (w * x * w).sum())(X)

    two = np.array(2.0)
    close(mg.grad(g)(two), 4 * X.sum())
    close(mg.grad(mg.grad(g))(two), 2 * X.sum())
    y, pullback = mg.vjp(g, two)
    close(pullback(3.0)[0], 12 * X.sum())
    close(pullback(1.0)[0], 4 * X.sum())
    close(mg.jvp(g, (two,), (1.0,))[1], 4 * X.sum())
    assert type(y) is np.float64


def test_checkpoint_keeps_inner_values_no_longer_than_needed():
    def deep(x):
        for _ in range(50):
            x = np.sin(x)
        return x

    def peak(g):
        x = leaf(np.ones(20_000))
        gc.collect()
        tracemalloc.start()
        y = g(x)
        gc.collect()
        held = tracemalloc.get_traced_memory()[0]
        y.sum().backward()
        tracemalloc.stop()
        return held

    assert peak(deep) > 20 * peak(mg.checkpoint(deep))


def test_checkpoint_without_anything_live():
    assert mg.checkpoint(np.sin)(X).tolist() == np.sin(X).tolist()
    with mg.no_grad():
        assert not mg.checkpoint(np.sin)(leaf(X)).requires_grad


def test_checkpoint_of_an_unused_argument_gives_zero():
    a, b = leaf(X), leaf(X)
    mg.checkpoint(lambda a, b: a * 2)(a, b).sum().backward()
    close(b.grad, 0 * X)


def test_checkpoint_notices_a_function_that_does_not_repeat_itself():
    rng, w, v = np.random.default_rng(0), leaf(1.0), leaf(2.0)
    y = mg.checkpoint(lambda x: x * rng.normal(size=3))(leaf(X))
    with pytest.raises(RuntimeError, match="random numbers"):
        y.sum().backward()
    parameters = [w, v]
    y = mg.checkpoint(lambda x: x * parameters.pop())(leaf(X))
    with pytest.raises(RuntimeError, match="something else"):
        y.sum().backward()


def test_checkpoint_notices_new_data():
    w = leaf(2.0, name="w")
    y = mg.checkpoint(lambda x: x * w)(leaf(X))
    w.data = np.array(3.0)
    with pytest.raises(RuntimeError, match="'w' was given new data"):
        y.sum().backward()


def test_an_exception_inside_a_checkpoint_leaves_nothing_behind():
    fail = []

    @mg.checkpoint
    def g(x):
        with mg.scope("inside"):
            y = np.sin(x * w)
            if fail:
                raise ZeroDivisionError
            return y

    w = leaf(2.0)
    y = g(leaf(X)).sum()
    inner, pullback = mg.vjp(lambda w: mg.checkpoint(lambda x: g(x) * w)(X), np.array(3.0))
    fail.append(1)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            g(X)
        with pytest.raises(ZeroDivisionError):
            y.backward()
        with pytest.raises(ZeroDivisionError):
            pullback(np.ones(3))
    fail.clear()
    y.backward()
    close(w.grad, (X * np.cos(2 * X)).sum())
    close(pullback(np.ones(3))[0], np.sin(2 * X).sum())
    assert inner.shape == (3,)


def test_what_is_run_again_stands_in_its_own_scope():
    seen = []

    @mg.checkpoint
    def g(x):
        y = np.sin(x)
        seen.append(str(y.scope))
        return y

    with mg.scope("step", 3):
        y = g(leaf(X))
    with mg.scope("elsewhere"):
        y.sum().backward()
    assert seen == ["step[3]", "step[3]"]


def test_checkpoints_in_threads():
    w, wrong = leaf(1.5), []

    def work(seed):
        x = np.random.default_rng(seed).uniform(0.5, 2, 4)
        segment = mg.checkpoint(lambda x, v: np.sin(w * x) * v)
        for _ in range(20):
            g = mg.grad(lambda v: (segment(x, v) ** 2).sum() * v)(np.array(2.0))
            if not np.isclose(g.item(), 3 * 4 * (np.sin(1.5 * x) ** 2).sum(), rtol=1e-12):
                wrong.append(g.item())

    def slow(v):
        def inside(x):
            time.sleep(1e-3)  # lets the other threads in
            return np.exp(v * x)

        return mg.checkpoint(inside)(X)

    y, pullback = mg.vjp(slow, np.array(2.0))

    def share():
        for _ in range(10):
            g = pullback(np.ones(3))[0]
            if not np.isclose(g.item(), (X * y).sum(), rtol=1e-12):
                wrong.append(g.item())

    in_threads(*[partial(work, k) for k in range(3)], share, share, share)
    assert wrong == []


# ---- scan ----------------------------------------------------------------------------------------


def cell(carry, x):
    h, w = carry["h"], carry["w"]
    h = np.tanh(h * w + x["a"]) + x["b"]
    return {"h": h, "w": w}, {"h": h, "sum": (h.sum(), None)}


def rolled(carry, xs, checkpoint=False):
    return mg.scan(cell, carry, xs, checkpoint=checkpoint)


def unrolled(carry, xs):
    hs = []
    for t in range(len(xs["a"])):
        carry, y = cell(carry, {k: x[t] for k, x in xs.items()})
        hs.append(y["h"])
    return carry, {"h": mg.stack(hs), "sum": (mg.stack([h.sum() for h in hs]), None)}


@pytest.mark.parametrize("checkpoint", [False, True, 1, 3, 7, 100])
def test_scan_is_the_loop(checkpoint):
    rng = np.random.default_rng(0)
    carry = {"h": rng.normal(size=3), "w": np.array(0.7)}
    xs = {"a": rng.normal(size=(7, 3)), "b": rng.normal(size=7)}

    def loss(loop):
        def number(carry, xs):
            last, ys = loop(carry, xs)
            assert ys["sum"][1] is None
            return (last["h"] ** 2).sum() + (ys["h"] ** 3).sum() * ys["sum"][0][2]

        return number

    scanned = loss(lambda carry, xs: rolled(carry, xs, checkpoint))
    a = mg.value_and_grad(scanned, (0, 1))(carry, xs)
    b = mg.value_and_grad(loss(unrolled), (0, 1))(carry, xs)
    close(a[0], b[0])
    for name in ("h", "w"):
        close(a[1][0][name], b[1][0][name])
    for name in ("a", "b"):
        close(a[1][1][name], b[1][1][name])
    check_grads(scanned, (carry, xs))


def test_scan_over_constants_and_integers():
    last, ys = mg.scan(lambda c, t: (c + t, None), 0.0, np.arange(5))
    assert last.item() == 10
    assert ys is None
    x = leaf(2.0)
    last, ys = mg.scan(lambda c, t: (c * x, c), 1.0, np.arange(4), checkpoint=2)
    assert ys.tolist() == [1, 2, 4, 8]
    last.backward()
    assert x.grad == 4 * 2**3


def test_scan_takes_a_list_for_a_tuple():
    (a, b), _ = mg.scan(lambda c, x: ((c[0] + x, c[1] * 2), None), [0.0, 1.0], np.ones(3))
    assert (a.item(), b) == (3, 8)


def test_scan_pushes_step_scopes_once_each():
    seen = []

    def step(c, x):
        y = np.sin(c + x)
        seen.append(str(y.scope))
        return y, y

    with mg.scope("net"):
        mg.scan(step, leaf(0.0), np.ones(5), checkpoint=2)
    assert seen == [f"net/step[{t}]" for t in range(5)]


def test_scan_is_linear_in_the_number_of_steps():
    def memory(T):
        x = leaf(np.ones((T, 50)))
        gc.collect()
        tracemalloc.start()
        mg.scan(lambda c, x: (np.tanh(c + x), None), np.zeros(50), x)[0].sum().backward()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert memory(800) < 6 * memory(200)


def test_scan_in_checkpointed_segments_needs_less_memory():
    def peak(checkpoint):
        rng = np.random.default_rng(0)
        lstm, x = mg.nn.LSTMCell(4, 16, rng=rng), rng.normal(size=(200, 8, 4)).astype(np.float32)
        zeros = np.zeros((8, 16), np.float32)

        def step(state, x):
            return lstm(x, state), None

        gc.collect()
        tracemalloc.start()
        (h, _), _ = mg.scan(step, (zeros, zeros), x, checkpoint=checkpoint)
        h.sum().backward()
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most, lstm.weight_hh.grad

    (plain, g), (less, again) = peak(False), peak(14)
    assert plain > 4 * less
    np.testing.assert_allclose(again, g, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: mg.scan(cell, 0.0, {"a": np.ones(3), "b": np.ones(4)}), ValueError, "one common"),
        (lambda: mg.scan(cell, 0.0, np.ones((0, 2))), ValueError, "one common length"),
        (lambda: mg.scan(cell, 0.0, 1.0), ValueError, "one common length"),
        (lambda: mg.scan(lambda c, x: c, 0.0, np.ones(2)), TypeError, "pair"),
        (lambda: mg.scan(lambda c, x: ([c], c), 0.0, np.ones(2)), ValueError, "nested like"),
        (lambda: mg.scan(lambda c, x: (c, c), 0.0, X, checkpoint=-1), ValueError, "positive"),
        (lambda: mg.scan(lambda c, x: (c, c), 0.0, X, checkpoint=2.5), ValueError, "positive"),
        (
            lambda: mg.scan(lambda c, x: (c + 1, (x,) if c else x), 0, X),
            ValueError,
            r"y nested like the one at first, \[''\], not \['\[0\]'\]",
        ),
    ],
)
def test_scan_refuses(call, error, words):
    with pytest.raises(error, match=words):
        call()
