"""What a checkpoint runs again does the same again, or is refused."""

import copy
import threading
from types import SimpleNamespace

import numpy as np
import pytest

import minigrad as mg
from tests.helpers import leaf

X = np.random.default_rng(7).normal(size=(6, 5))


def gradient(f, x):
    x.grad = None
    (f(x) ** 2).sum().backward()
    return x.grad


class Block(mg.nn.Module):
    """Two masks from one generator."""

    def __init__(self):
        self.first, self.second = mg.nn.Dropout(0.3, rng=5), mg.nn.Dropout(0.2, rng=5)
        self.second.rng = self.first.rng
        self.linear = mg.nn.Linear(5, 5, rng=0, dtype=np.float64)

    def forward(self, x):
        return self.second(self.linear(self.first(np.tanh(x))))


AROUND = {
    "once": mg.checkpoint,
    "twice": lambda f: mg.checkpoint(mg.checkpoint(f)),
    "in parts": lambda f: mg.checkpoint(
        lambda x: mg.checkpoint(f.second)(mg.checkpoint(lambda x: f.linear(f.first(np.tanh(x))))(x))
    ),
    "one of two": lambda f: (
        lambda x: f.second(mg.checkpoint(lambda x: f.linear(f.first(np.tanh(x))))(x))
    ),
    "in a scan": lambda f: (
        lambda x: mg.scan(
            lambda c, x: (c, f.second(f.linear(f.first(np.tanh(x))))), 0.0, x, checkpoint=2
        )[1]
    ),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", AROUND)
def test_dropout_draws_the_same_masks_again(name, dtype):
    """Gradients, and what the generator draws next, are those of the plain function."""
    x, seen = leaf(X, dtype), []
    for around in (AROUND[name], lambda f: f):
        block = Block()
        if around is not AROUND[name] and name == "in a scan":  # masks by rows
            around = lambda f: (
                lambda x: mg.stack([f.second(f.linear(f.first(np.tanh(x[k])))) for k in range(6)])
            )
        f, steps = around(block), []
        for _ in range(2):
            block.zero_grad()
            steps += [gradient(f, x), block.linear.weight.grad]
        seen.append([*steps, block.first.rng.random(3)])
    for a, b in zip(*seen, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5 if dtype == np.float32 else 1e-12)


def test_dropout_through_every_transform():
    def number(x, rng=3):
        return (np.tanh(mg.dropout(x, 0.4, np.random.default_rng(rng))) ** 3).sum()

    drop = mg.nn.Dropout(0.4, rng=3)
    again = mg.checkpoint(lambda x: (np.tanh(drop(x)) ** 3).sum())

    def fresh(f):
        def run(*args):
            drop.rng = np.random.default_rng(3)
            return f(*args)

        return run

    v = np.cos(X)
    np.testing.assert_allclose(fresh(mg.grad(again))(X), mg.grad(number)(X))
    for f in (lambda h: mg.hvp(h, (X,), (v,))[0], lambda h: mg.jvp(h, (X,), (v,))[1]):
        np.testing.assert_allclose(fresh(f)(again), f(number), rtol=1e-12)
    _, pullback = fresh(mg.vjp)(again, X)
    for _ in range(2):
        np.testing.assert_allclose(pullback(1.0)[0], mg.grad(number)(X))


def test_running_again_takes_nothing_from_the_generator():
    drop, rest = mg.nn.Dropout(0.5, rng=0), list[float]()
    _, pullback = mg.vjp(mg.checkpoint(drop), X)
    expected = copy.deepcopy(drop.rng).random(500).tolist()

    def draw():
        for _ in range(100):
            rest.extend(drop.rng.random(5))

    thread = threading.Thread(target=draw)
    thread.start()
    for _ in range(30):
        pullback(X)
    thread.join()
    assert rest == expected


def test_a_generator_among_the_arguments_stands_where_it_stood():
    def noisy(x, rngs):
        y = x * rngs["a"].normal(size=x.shape)
        return mg.dropout(y, 0.5, rngs["a"]) + rngs["b"].normal() * x**2 + rngs["a"].normal() * x

    def loss(f, x):
        rng = np.random.default_rng(1)
        return f(x, {"a": rng, "b": rng}) + rng.normal()

    plain, again = (
        mg.grad(lambda x, f=f: (loss(f, x) ** 2).sum())(X) for f in (noisy, mg.checkpoint(noisy))
    )
    np.testing.assert_array_equal(plain, again)


@pytest.mark.parametrize("momentum", [0.1, 0.5])
@pytest.mark.parametrize("around", [mg.checkpoint, lambda f: mg.checkpoint(mg.checkpoint(f))])
def test_batch_norm_counts_a_batch_once(around, momentum):
    states, gradients = [], []
    for wrap in (lambda f: f, around):
        norm = mg.nn.BatchNorm1d(5, momentum=momentum, dtype=np.float64)
        f, x = wrap(lambda x, norm=norm: norm(np.sin(x))), leaf(X)
        for _ in range(3):
            gradients.append(gradient(f, x))
        states.append(norm.state_dict())
    for k, part in states[0].items():
        np.testing.assert_array_equal(part, states[1][k])
    assert states[1]["num_batches_tracked"] == 3
    np.testing.assert_allclose(gradients[:3], gradients[3:], rtol=1e-12)


def test_what_leaves_by_another_way_has_its_gradient():
    """As a penalty that a module keeps: no return is needed for it to be right."""

    class Penalised(mg.nn.Module):
        def __init__(self):
            self.weight = leaf(np.ones(5))

        def forward(self, x):
            y = np.tanh(x * self.weight)
            self.penalty = (y**2).sum()
            return y

    found = []
    for wrap in (lambda f: f, mg.checkpoint):
        net, x = Penalised(), leaf(X)
        y = wrap(net)(np.sin(x))
        (y.sum() + net.penalty).backward()
        found.append((x.grad, net.weight.grad))
    for plain, again in zip(*found, strict=True):
        np.testing.assert_allclose(again, plain, rtol=1e-12)


def test_a_result_that_is_no_container_is_recorded_as_without():
    x = leaf(X)
    out = mg.checkpoint(lambda x: SimpleNamespace(y=np.sin(x)))(x)
    out.y.sum().backward()
    np.testing.assert_array_equal(x.grad, np.cos(X))


@pytest.mark.parametrize("wrap", [mg.checkpoint, lambda f: mg.checkpoint(mg.checkpoint(f))])
def test_a_transform_inside_by_what_the_function_did_not_get(wrap):
    """Its leaves are made anew by every run, and are constants to both."""

    def slope(w, x):
        return mg.grad(lambda y: np.exp(w * y).sum())(X[0]) * x

    found = []
    for around in (lambda f: f, wrap):
        w, x = leaf(np.arange(5.0) / 5), leaf(X[1])
        (around(lambda x: slope(w, x))(x) ** 2).sum().backward()  # noqa: B023
        g = mg.grad(lambda w: (around(lambda x: slope(w, x))(X[1]) ** 2).sum())  # noqa: B023
        found.append([w.grad, x.grad, g(w.data), mg.jacobian(g)(w.data)])
    for plain, again in zip(*found, strict=True):
        np.testing.assert_allclose(again, plain, rtol=1e-12)


# ---- refused -------------------------------------------------------------------------------------

ZEROS = np.zeros((6, 5))


def counted(f):
    runs = []

    def run(x):
        runs.append(1)
        return f(x, len(runs))

    return run


def drawing():
    rng = np.random.default_rng(0)
    return rng.normal


DIFFERENT = {
    "noise": (lambda n: lambda x: x + n(size=X.shape), X),
    "noise that is rounded away": (lambda n: lambda x: x * 1e9 + n(size=X.shape) * x * 1e-9, X),
    "noise times zeros": (lambda n: lambda x: x * n(size=X.shape), ZEROS),
    "noise that relu cuts off": (lambda n: lambda x: mg.relu(x - 9 - abs(n())), X),
    "a mask of zeros": (lambda n: lambda x: x * (n(size=X.shape) > 0), ZEROS),
    "noise in an index": (lambda n: lambda x: x[[int(999 * abs(n())) % 5, 0]], np.ones((6, 5))),
    "another operation": (lambda n: counted(lambda x, k: np.sin(x) if k % 2 else np.tan(x)), ZEROS),
    "another order": (lambda n: counted(lambda x, k: x - x.T if k % 2 else x.T - x), np.eye(3)),
    "another axis": (lambda n: counted(lambda x, k: np.flip(x, k % 2)), np.eye(2) * 0 + 1),
    "another number": (lambda n: counted(lambda x, k: x * k), ZEROS),
    "one operation more": (lambda n: counted(lambda x, k: x if k % 2 else x + 0.0), X),
    "another output": (lambda n: counted(lambda x, k: [x * 1.0, x * 1.0][:: 1 - k % 2 * 2]), X),
    "a captured tensor more": (lambda n: counted(lambda x, k: x * 1.0 if k % 2 else x * ONE), X),
}
ONE = mg.tensor(np.ones(()), requires_grad=True)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", DIFFERENT)
def test_what_does_something_else_is_refused_whatever_its_size(name, dtype):
    make, x = DIFFERENT[name]
    f, x = mg.checkpoint(make(drawing())), leaf(x, dtype)
    y = f(x)
    y = y[0] if isinstance(y, list) else y
    with pytest.raises(RuntimeError, match=r"did something else.*pass in"):
        y.sum().backward()


def test_what_changed_in_between_is_refused():
    mask, drop, c = np.zeros((6, 5)), mg.nn.Dropout(0.5, rng=0), mg.tensor(np.ones(5))
    norm = mg.nn.BatchNorm1d(5, dtype=np.float64).eval()
    norm(X)
    changes = [
        (lambda x: x * mask, lambda: mask.fill(1)),
        (drop, drop.eval),
        (lambda x: x * c, lambda: setattr(c, "data", np.zeros(5))),
        (norm, lambda: norm.train()(X)),
    ]
    for f, change in changes:
        y = mg.checkpoint(f)(leaf(ZEROS))
        change()
        with pytest.raises(RuntimeError, match="did something else"):
            y.sum().backward()


def test_objects_made_anew_are_the_same_options():
    def f(x):
        return np.einsum("ij->j", np.pad(x[1:3, np.array([0, 1])], ((0, 1), (0, 0)))) * np.nan

    for y in (mg.checkpoint(f)(leaf(X)), mg.checkpoint(lambda x: np.sum(x[:0]))(leaf(X))):
        y.sum().backward()
