"""linearize, elementwise_grad, flatten, and modules as arguments.

Every road to a number is taken, and all must meet.
"""

import functools
import gc
import importlib.util
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad.testing import check_grads, numerical_grad
from tests.helpers import close, in_threads, leaf

X = np.array([0.7, -0.4, 1.3])


def f(x):
    """A number that depends on every kind of rule."""
    y = np.tanh(x[1:] * x[:-1]) @ np.arange(1.0, x.size) + np.prod(x)
    return mg.logsumexp(x) * y + (x**3).sum() / x[0]


def in_parts(x):
    """The same number, through two checkpoints, one in the other."""

    def product(x):
        return np.tanh(x[1:] * x[:-1]), {"prod": np.prod(x)}

    @mg.checkpoint
    def sum_of_products(x):
        a, rest = mg.checkpoint(product)(x)
        return a @ np.arange(1.0, x.size) + rest["prod"]

    return mg.logsumexp(x) * sum_of_products(x) + (x**3).sum() / x[0]


# ---- linearize -----------------------------------------------------------------------------------


def test_linearize_runs_the_function_once():
    runs = []

    def g(p):
        runs.append(1)
        return {"y": np.sin(p["a"]) * p["b"], "z": [p["a"].sum()]}

    p = {"a": X, "b": np.array(2.0)}
    y, pushforward = mg.linearize(g, p)
    close(y["y"], 2 * np.sin(X))
    for v in ({"a": np.ones(3), "b": np.array(0.0)}, {"a": 0 * X, "b": np.array(3.0)}):
        out, expected = pushforward(v), mg.jvp(g, (p,), (v,))[1]
        close(out["y"], expected["y"])
        close(out["z"][0], expected["z"][0])
    assert len(runs) == 3  # one, and one for each jvp
    with pytest.raises(ValueError, match="nested like"):
        pushforward(np.ones(3))


def test_linearize_is_linear_and_its_transpose_is_the_pullback():
    _, push = mg.linearize(np.tanh, X)
    _, pull = mg.vjp(np.tanh, X)
    u, v = np.array([1.0, -2.0, 0.5]), np.array([0.3, 0.1, -1.0])
    close(push(2 * u + v), 2 * push(u) + push(v))
    close((push(u) * v).sum(), (pull(v)[0] * u).sum())


# ---- every composition ---------------------------------------------------------------------------


def pushed(g, v):
    return lambda x: mg.linearize(g, x)[1](v)


def hessians(g):
    """The Hessian of g, by every pair of transforms, as functions of x."""
    basis = np.eye(X.size)
    flat, back = mg.flatten(X)
    return {
        "hessian": mg.hessian(g),
        "linearize of grad": lambda x: mg.stack([mg.linearize(mg.grad(g), x)[1](v) for v in basis]),
        "grad of linearize": lambda x: mg.stack([mg.grad(pushed(g, v))(x) for v in basis]),
        "linearize twice": lambda x: mg.stack(
            [mg.stack([pushed(pushed(g, u), v)(x) for u in basis]) for v in basis]
        ),
        "jacobian of vjp": mg.jacobian(lambda x: mg.vjp(g, x)[1](np.ones(()))[0]),
        "hvp": lambda x: mg.stack([mg.hvp(g, (x,), (v,))[0] for v in basis]),
        "flattened": lambda x: mg.hessian(lambda v: g(back(v)))(flat),
        "in a container": lambda x: mg.hessian(lambda p: g(p["x"][0]))({"x": [x]})["x"][0]["x"][0],
        "checkpoint around": mg.hessian(mg.checkpoint(g)),
        "checkpoint between": mg.jacobian(mg.checkpoint(mg.grad(g))),
        "checkpoint outside": mg.checkpoint(mg.hessian(g)),
        "checkpoint, forward": lambda x: mg.stack(
            [mg.grad(pushed(mg.checkpoint(g), v))(x) for v in basis]
        ),
        "inside no_grad": mg.no_grad()(mg.hessian(g)),
    }


@pytest.mark.parametrize("name", hessians(f))
@pytest.mark.parametrize("g", [f, in_parts])
def test_hessians_agree(name, g):
    numeric = np.stack(
        [numerical_grad(lambda x, e=e: (mg.grad(f)(x) * e).sum(), X) for e in np.eye(3)]
    )
    found = hessians(g)[name](X)
    close(found, numeric, rtol=1e-8)
    close(found, mg.hessian(f)(X), rtol=1e-11)


def test_third_derivatives_through_checkpoints():
    plain = mg.jacobian(mg.hessian(f))(X)
    again = mg.jacobian(mg.jacobian(mg.checkpoint(mg.grad(in_parts))))(X)
    close(again, plain, rtol=1e-10)


# ---- elementwise_grad ----------------------------------------------------------------------------


def test_elementwise_grad():
    close(mg.elementwise_grad(np.tanh)(X), 1 - np.tanh(X) ** 2)
    close(mg.elementwise_grad(mg.elementwise_grad(np.sin))(X), -np.sin(X))
    close(mg.elementwise_grad(lambda a, x: a * x**2, 1)(2.0, X), 4 * X)
    close(mg.jacobian(mg.elementwise_grad(np.exp))(X), np.diag(np.exp(X)))
    close(mg.checkpoint(mg.elementwise_grad(np.exp))(X), np.exp(X))
    with pytest.raises(ValueError, match=r"\[\(3,\)\] into \[\(\)\].*jacobian"):
        mg.elementwise_grad(np.sum)(X)


# ---- flatten -------------------------------------------------------------------------------------


def test_flatten_and_back():
    tree = {"w": np.arange(6.0).reshape(2, 3), "rest": [np.float32([7, 8]), (9.0, None)]}
    vector, unflatten = mg.flatten(tree)
    assert vector.dtype == np.float64
    assert vector.tolist() == [0, 1, 2, 3, 4, 5, 7, 8, 9]
    back = unflatten(vector * 2)
    assert back["rest"][1] == (18.0, None)
    assert back["rest"][0].dtype == np.float32
    assert back["w"].tolist() == [[0, 2, 4], [6, 8, 10]]
    with pytest.raises(ValueError, match=r"expected shape \(9,\), got \(8,\)"):
        unflatten(vector[1:])
    assert mg.flatten({})[0].shape == (0,)


def test_flatten_is_differentiable_both_ways():
    def number(p):
        vector, unflatten = mg.flatten(p)
        q = unflatten(vector * vector)
        return (q["a"] * q["b"]).sum()

    p = {"a": X, "b": np.array(2.0)}
    g = mg.grad(number)(p)
    close(g["a"], 2 * X * 4)
    close(g["b"], 4 * (X**2).sum())
    check_grads(number, (p,))


def test_the_scipy_example_fits(capsys):
    pytest.importorskip("scipy", reason="SciPy is not installed")
    path = Path(__file__).parents[2] / "examples" / "scipy_fit.py"
    spec = importlib.util.spec_from_file_location("scipy_fit", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    years, numbers = example.load()
    years, y = years[:80], np.sqrt(numbers[:80])
    example.WAVES = 1
    found = example.fits(years, y, example.start(years, y))
    for fit in found:
        assert fit.loss < 0.5 * y.var()
        assert fit.loss == pytest.approx(found[0].loss, rel=1e-6)
        assert fit.params["period"] == pytest.approx(11, abs=0.5)
    assert found[1].calls[0] * 3 < found[0].calls[0]
    assert found[2].calls[2] > 0


def test_flatten_of_a_module_gives_a_twin():
    linear = mg.nn.Linear(2, 3, rng=np.random.default_rng(0), dtype=np.float64)
    vector, unflatten = mg.flatten(linear)
    assert isinstance(vector, np.ndarray)
    assert vector.shape == (9,)
    x = np.ones((1, 2))
    close(unflatten(vector)(x), linear(x))
    g = mg.grad(lambda v: (unflatten(v)(x) ** 2).sum())(vector)
    (linear(x) ** 2).sum().backward()
    close(g[:6].reshape(3, 2), linear.weight.grad)
    close(g[6:], linear.bias.grad)


# ---- modules as arguments ------------------------------------------------------------------------


class Net(mg.nn.Module):
    def __init__(self):
        rng = np.random.default_rng(0)
        self.layers = [mg.nn.Linear(2, 3, rng=rng, dtype=np.float64) for _ in range(1)]
        self.tied = self.layers[0]
        self.scale = mg.tensor(np.array(1.5), requires_grad=True)
        self.frozen = mg.tensor(np.array(2.0))
        self.calls = []

    def forward(self, x):
        self.calls.append(1)
        return np.tanh(self.layers[0](x) * self.scale) * self.frozen + self.tied.bias


def penalised(net, x):
    return (net(x) ** 2).sum() + sum((p**2).sum() for p in net.parameters())


def test_gradient_of_a_module_is_by_parameter_name():
    net, x = Net(), np.ones((4, 2))
    value, g = mg.value_and_grad(penalised)(net, x)
    assert [p.grad for p in net.parameters()] == [None] * 3
    loss = penalised(net, x)
    loss.backward()
    close(value, loss)
    assert g.keys() == dict(net.named_parameters()).keys()
    for name, p in net.named_parameters():
        close(g[name], p.grad)
        assert not g[name].requires_grad
    assert len(net.calls) == 2  # lists without parameters are shared


def test_modules_nest_in_containers_and_transforms():
    net, x = Net(), np.ones((4, 2))
    v = {name: np.full(p.shape, 0.1) for name, p in net.named_parameters()}
    names = list(v)
    (hv,) = mg.hvp(lambda net: penalised(net, x), (net,), (v,))
    h = mg.hessian(penalised)(net, x)
    reverse = mg.grad(lambda net: sum((mg.grad(penalised)(net, x)[k] * v[k]).sum() for k in v))(net)
    for a in names:
        rows = [np.tensordot(h[a][b].data, v[b], axes=np.ndim(v[b])) for b in names]
        close(hv[a], sum(rows), rtol=1e-11)
        close(reverse[a], hv[a], rtol=1e-11)
    g = mg.grad(lambda p: penalised(p["net"], p["x"][0]))({"net": net, "x": [x]})
    close(g["net"]["scale"], mg.grad(penalised)(net, x)["scale"])
    close(g["x"][0], mg.grad(penalised, 1)(net, x))


class Held(mg.nn.Module):
    """The same slope, reached through what functions hold."""

    def __init__(self, kind):
        self.slope = leaf(2.0)
        self.kind = mg.nn.Linear  # a class is no part of it
        self.f = {
            "method": self.act,
            "closure": lambda x: x * self.slope,
            "closure over the tensor": (lambda slope: lambda x: x * slope)(self.slope),
            "default": lambda x, slope=self.slope: x * slope,
            "keyword": lambda x, *, slope=self.slope: x * slope,
            "partial": functools.partial(self.act, times=1.0),
            "sequential": mg.nn.Sequential(np.positive, self.act),
            "container": [{"f": self.act}],
            "checkpoint": mg.checkpoint(self.act),
            "decorated": mg.scope("act")(self.act),
            "partial of a closure": functools.partial(lambda s, x: x * s(), lambda: self.slope),
        }[kind]

    def act(self, x, times=1.0):
        return x * self.slope * times

    def forward(self, x):
        f = self.f[0]["f"] if isinstance(self.f, list) else self.f
        return f(x)


KINDS = (
    "method, closure, closure over the tensor, default, keyword, partial, sequential, container, "
    "checkpoint, decorated, partial of a closure"
)


@pytest.mark.parametrize("kind", KINDS.split(", "))
def test_functions_of_a_module_are_its_twins(kind):
    """A bound method or a closure would go on with the parameters of the module itself."""
    net = Held(kind)
    g = mg.grad(lambda net: (net(X) ** 2).sum())(net)
    assert g.keys() == {"slope"}
    close(g["slope"], (2 * 2 * X**2).sum())
    assert not g["slope"].requires_grad
    (net(X) ** 2).sum().backward()
    close(net.slope.grad, g["slope"])


def test_an_inner_gradient_by_a_module_keeps_the_outer_variable():
    net = Net()

    def slope(x):
        return mg.grad(lambda net: (net(x) ** 2).sum())(net)["scale"]

    x = np.array([[0.3, -0.2]])
    close(mg.grad(slope)(x), numerical_grad(slope, x), rtol=1e-8)


def test_a_module_captured_stays_what_it_is():
    # of two uses of one module, only the argument is differentiated
    net, x = Net(), np.ones((1, 2))
    g = mg.grad(lambda twin: (twin(x) * net(x)).sum())(net)
    h = mg.grad(lambda twin: (twin(x) ** 2).sum())(net)
    for name in g:
        close(2 * g[name].data, h[name].data)


def test_a_checkpointed_module_as_argument():
    net, x = Net(), np.ones((2, 2))
    plain = mg.grad(penalised)(net, x)
    for loss in (
        mg.checkpoint(penalised),
        lambda net, x: mg.checkpoint(lambda x: penalised(net, x))(x),
    ):
        again = mg.grad(loss)(net, x)
        for name in plain:
            close(again[name], plain[name])


def test_modules_in_threads():
    net, wrong = Net(), []
    xs = [np.full((2, 2), 0.1 * k) for k in range(4)]
    expected = [mg.grad(penalised)(net, x)["scale"].item() for x in xs]

    def work(k):
        for _ in range(10):
            if mg.grad(penalised)(net, xs[k])["scale"].item() != expected[k]:
                wrong.append(k)

    in_threads(*[partial(work, k) for k in range(4)])
    assert wrong == []


# ---- memory --------------------------------------------------------------------------------------


def no_cycle(f):
    """Whether what f leaves behind is freed by counting references alone."""
    f()
    gc.collect()
    gc.disable()
    try:
        f()
        return gc.collect() == 0
    finally:
        gc.enable()


def refused(call):
    try:
        call()
    except ValueError:
        return
    raise AssertionError


def scanned(checkpoint):
    return lambda x: mg.scan(lambda c, x: (c + np.sin(x), c), x[0], x, checkpoint=checkpoint)[0]


@pytest.mark.parametrize(
    "run",
    [
        lambda: mg.grad(f)(X),
        lambda: mg.hessian(f)(X),
        lambda: mg.jacobian(mg.hessian(f))(X),
        lambda: mg.hvp(f, (X,), (X,)),
        lambda: mg.vjp(np.sin, X)[1](X),
        lambda: mg.grad(lambda p: f(p["x"][0]))({"x": [X]}),
        lambda: mg.grad(mg.checkpoint(f))(X),
        lambda: mg.checkpoint(f)(leaf(X)).backward(),
        lambda: scanned(False)(leaf(X)).backward(),
        lambda: mg.grad(scanned(2))(X),
        lambda: mg.grad(lambda net: penalised(net, np.ones((1, 2))))(Net()),
        lambda: mg.grad(mg.custom_vjp(np.prod, lambda g, z, x: g * z / x))(X),
        lambda: check_grads(f, (X,)),
        lambda: refused(lambda: np.dot(leaf(X), leaf(X[1:]))),
        lambda: refused(lambda: mg.grad(lambda x: x @ x[1:])(X)),
    ],
)
def test_nothing_waits_for_the_garbage_collector(run):
    assert no_cycle(run)


# ---- determinism ---------------------------------------------------------------------------------


def test_the_same_program_gives_the_same_bits():
    def program():
        rng = np.random.default_rng(3)
        lstm = mg.nn.LSTM(3, 5, 2, rng=rng)
        x = mg.tensor(rng.normal(size=(9, 4, 3)).astype(np.float32), requires_grad=True)
        hs, _ = mg.checkpoint(lstm)(x)
        y = hs[np.array([0, 0, 3, 8])] * x[1:5, :, :1] + mg.softmax(hs[-1])
        (y * y).sum().backward()
        curved = mg.hvp(lambda w: (np.tanh(x.data @ w) ** 2).sum(), (np.ones(3),), (np.ones(3),))
        return [p.grad.tobytes() for p in (*lstm.parameters(), x)], curved[0].tobytes()

    first = program()
    for _ in range(3):
        junk = [np.empty(k) for k in range(1, 200, 7)]  # moves what comes next in memory
        assert program() == first
        del junk


def test_a_twin_of_a_module_is_a_tangent():
    """What `flatten` gives back for a vector, and a dict by names, are the same direction."""
    tree = {"net": mg.nn.Linear(2, 1, dtype=float, rng=0), "s": 2.0}
    x = np.array([[1.0, -2.0], [0.5, 3.0]])

    def loss(t):
        return np.mean(t["net"](x) ** 2) * t["s"]

    _, back = mg.flatten(tree)
    by_name = {"net": {"weight": np.array([[0.0, 1.0]]), "bias": np.array([2.0])}, "s": 3.0}
    twin, named = (
        mg.flatten(mg.hvp(loss, (tree,), (v,))[0])[0] for v in (back(np.arange(4.0)), by_name)
    )
    close(twin, named)
    assert np.any(named.data)
