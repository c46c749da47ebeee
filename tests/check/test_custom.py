"""Backward passes that users write."""

import numpy as np
import pytest

import minigrad as mg
from minigrad.core.tensor import value_of
from minigrad.testing import check_grads

X = np.array([0.7, -0.4, 1.3])


def layer(x, w, b):
    return np.tanh(x @ w + b)


def layer_backward(g, z, x, w, b):
    ds = g * (1 - z * z)
    return ds @ w.T, x.T @ ds, ds.sum(axis=0)


def draw():
    rng = np.random.default_rng(0)
    return rng.normal(size=(4, 3)), rng.normal(size=(3, 2)), rng.normal(size=2)


def test_custom_vjp_is_used_in_training():
    calls = []

    def backward(*args):
        calls.append(1)
        return layer_backward(*args)

    g, (x, w, b) = mg.custom_vjp(layer, backward), draw()
    gradients = []
    for f in (layer, g):
        w_, b_ = mg.tensor(w, requires_grad=True), mg.tensor(b, requires_grad=True)
        loss = (f(x, w_, b_) ** 2).sum()
        loss.backward()
        gradients.append((w_.grad, b_.grad))
    for a, b_ in zip(*gradients, strict=True):
        np.testing.assert_allclose(a, b_, rtol=1e-13)
    assert len(calls) == 1  # for both inputs together
    assert g.__name__ == "layer"
    assert repr(g) == "<custom_vjp layer>"


def test_custom_vjp_may_change_its_cotangent_and_nothing_else():
    def backward(g, z, x):
        g *= 2
        return g

    x = mg.tensor(X, requires_grad=True)
    (mg.custom_vjp(lambda x: x * 2, backward)(x) + x).backward(np.ones(3))
    assert x.grad.tolist() == [3, 3, 3]

    def careless(g, z, x):
        x *= g
        return x

    with pytest.raises(ValueError, match="read-only"):
        mg.custom_vjp(lambda x: x * 2, careless)(x).sum().backward()
    assert x.tolist() == X.tolist()


def test_custom_vjp_is_compared_in_one_call():
    report = mg.custom_vjp(layer, layer_backward).check(*draw())
    assert report.ok
    assert {row.name for row in report.rows} == {"x", "w", "b"}

    def forgot(g, z, x, w, b):
        dx, _dw, db = layer_backward(g, z, x, w, b)
        return dx, x.T @ g, db

    report = mg.custom_vjp(layer, forgot).check(*draw())
    assert [row.name for row in report.rows if not row.ok] == ["w"]


def test_custom_vjp_to_any_order_and_forward():
    g = mg.custom_vjp(layer, layer_backward)
    check_grads(g, draw(), order=3)
    x, w, b = draw()
    h = mg.hessian(lambda b: (g(x, w, b) ** 2).sum())(b)
    np.testing.assert_allclose(h, mg.hessian(lambda b: (layer(x, w, b) ** 2).sum())(b), rtol=1e-11)


def test_custom_vjp_that_is_not_differentiable_says_so():
    def backward(g, z, x):
        out = np.empty(x.shape)
        out[...] = g * np.cos(x)
        return out

    g = mg.custom_vjp(np.sin, backward)
    np.testing.assert_allclose(mg.grad(lambda x: g(x).sum())(X), np.cos(X))
    with pytest.raises(TypeError, match=r"would become an array(.|\n)*inside mg\.no_grad"):
        mg.grad(lambda x: mg.grad(lambda x: g(x).sum())(x).sum())(X)

    g = mg.custom_vjp(np.sin, lambda g, z, x: value_of(g) * np.cos(value_of(x)))
    with pytest.raises(TypeError, match="differentiable NumPy"):
        mg.grad(lambda x: mg.grad(lambda x: g(x).sum())(x).sum())(X)

    def broken(g, z, x):
        g[0] = 0
        return g

    g = mg.custom_vjp(np.sin, broken)
    with pytest.raises(TypeError, match="immutable") as caught:
        mg.grad(lambda x: mg.grad(lambda x: g(x).sum())(x).sum())(X)
    assert "ran on Tensors" in caught.value.__notes__[0]


def test_custom_vjp_of_containers_and_integers():
    def f(p, k, rest):
        return {"y": p["a"][k] * p["b"], "z": p["a"].sum() * rest[0]}

    def backward(g, z, p, k, rest):
        da = g["z"] * rest[0] * np.ones_like(p["a"])
        da[k] += g["y"] * p["b"]
        return {"a": da, "b": g["y"] * p["a"][k]}, None, (g["z"] * p["a"].sum(),)

    g = mg.custom_vjp(f, backward)
    args = ({"a": X, "b": np.array(2.0)}, 1, (np.array(3.0),))
    report = g.check(*args)
    assert report.ok
    assert {row.name for row in report.rows} == {"p.a", "p.b", "rest[0]"}
    a = mg.tensor(X, requires_grad=True)
    out = g({"a": a, "b": 2.0}, 1, (3.0,))
    (out["y"] + out["z"]).backward()
    assert a.grad.tolist() == [3, 5, 3]


def test_custom_vjp_with_a_forward_by_hand():
    rng = np.random.default_rng(0)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    lstm = mg.nn.LSTM(2, 3, rng=rng, dtype=np.float64)
    weights = [lstm.state_dict()[f"{name}_l0"] for name in names]

    def automatic(x, weight_ih, weight_hh, bias_ih, bias_hh):
        def step(state, x):
            h, c = state
            i, f, g, o = np.split(x @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh, 4, axis=-1)
            c = mg.sigmoid(f) * c + mg.sigmoid(i) * np.tanh(g)
            h = mg.sigmoid(o) * np.tanh(c)
            return (h, c), h

        zeros = np.zeros((x.shape[1], weight_hh.shape[1]))
        return mg.scan(step, (zeros, zeros), x)[1]

    def forward(x, *weights):
        hs, _, cache = mg.bptt.lstm_forward(x, *weights)
        return hs, cache

    def backward(dhs, cache):
        g = mg.bptt.lstm_backward(dhs, cache)
        return g["x"], *[g[name] for name in names]

    g = mg.custom_vjp(automatic, backward, forward=forward)
    x = rng.normal(size=(6, 2, 2))
    report = g.check(x, *weights)
    assert report.ok
    assert {row.name for row in report.rows} == {"x", *names, "output"}
    (g(x, *lstm.parameters()) ** 2).sum().backward()
    by_hand = {name: p.grad for name, p in lstm.named_parameters()}
    lstm.zero_grad()
    (lstm(x)[0] ** 2).sum().backward()
    assert mg.compare(by_hand, lstm).ok


def test_custom_vjp_refuses_what_it_cannot_know():
    w = mg.tensor(2.0, requires_grad=True, name="w")
    with pytest.raises(ValueError, match="depends on 'w', which is not among its arguments"):
        mg.custom_vjp(lambda x: x * w, lambda g, z, x: g)(X)
    x = mg.tensor(X, requires_grad=True)
    for backward, words in (
        (lambda g, z, x, y: g, "2 cotangents"),
        (lambda g, z, x, y: (g, g, g), "2 cotangents"),
        (lambda g, z, x, y: ([g], g), "nested like"),
        (lambda g, z, x, y: (g[:2], g), r"shape \(2,\) for input 0, which has shape \(3,\)"),
    ):
        with pytest.raises(ValueError, match=words):
            mg.custom_vjp(lambda x, y: x * y, backward)(x, 2.0).sum().backward()


def test_a_backward_that_changes_its_cache_is_stopped():
    """A second pullback would go on from what the first one left: it gave twice the gradient."""

    def doubling(g, cache):
        cache["y"] *= 2
        return g * cache["y"]

    cubed = mg.custom_vjp(
        lambda x: x**3, doubling, forward=lambda x: (x**3, {"y": 1.5 * x**2, "of": "x"})
    )
    _, pullback = mg.vjp(cubed, X)
    with pytest.raises(ValueError, match="read-only"):
        pullback(np.ones(3))
