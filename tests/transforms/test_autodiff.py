"""Transforms: every road to a derivative gives the same numbers."""

import threading
from typing import NamedTuple

import numpy as np
import pytest

import minigrad as mg
from minigrad.testing import numerical_grad


def f(x):
    """A number that depends on every kind of rule: elementwise, linear, multilinear, general."""
    y = np.tanh(x[1:] * x[:-1]) @ np.arange(1.0, x.size) + np.prod(x)
    return mg.logsumexp(x) * y + (x**3).sum() / x[0]


X = np.array([0.7, -0.4, 1.3])


def test_seven_hessians_agree():
    basis = np.eye(X.size)

    def rows(hvp):
        return np.stack([hvp(v).numpy() for v in basis])

    def directional(g):
        return lambda x, v: mg.jvp(g, (x,), (v,))[1]

    def pulled(x):
        _y, pullback = mg.vjp(f, x)
        return pullback(np.ones(()))[0]

    hessians = {
        "rev-rev": rows(lambda v: mg.grad(lambda x: (mg.grad(f)(x) * v).sum())(X)),
        "fwd-rev": rows(lambda v: directional(mg.grad(f))(X, v)),
        "rev-fwd": rows(lambda v: mg.grad(lambda x: directional(f)(x, v))(X)),
        "fwd-fwd": np.array(
            [
                [mg.jvp(lambda x: directional(f)(x, u), (X,), (v,))[1].item() for u in basis]  # noqa: B023
                for v in basis
            ]
        ),
        "jacobian of vjp": mg.jacobian(pulled)(X).numpy(),
        "hessian": mg.hessian(f)(X).numpy(),
        "hvp": rows(lambda v: mg.hvp(f, (X,), (v,))[0]),
    }
    for row, e in enumerate(basis):
        numeric = numerical_grad(lambda x, e=e: (mg.grad(f)(x) * e).sum(), X)
        for name, h in hessians.items():
            np.testing.assert_allclose(h[row], numeric, rtol=1e-8, err_msg=name)


def test_third_derivatives():
    third = mg.grad(mg.grad(mg.grad(np.tanh)))
    t = np.tanh(0.3)
    exact = (1 - t**2) * (6 * t**2 - 2)
    np.testing.assert_allclose(third(np.float64(0.3)).data, exact, rtol=1e-13)


def test_an_inner_gradient_keeps_the_outer_variable():
    # d/dx [x * d/dy (x y^2) at y = 2] = d/dx [x * 4 x] = 8 x
    def outer(x):
        return x * mg.grad(lambda y: x * y * y)(2.0)

    assert mg.grad(outer)(3.0).item() == 24.0


def test_perturbations_are_not_confused():
    # d/dx [x * d/dy (x + y)] = 1
    assert mg.grad(lambda x: x * mg.grad(lambda y: x + y)(1.0))(1.0).item() == 1.0
    inner = mg.jvp(lambda x: x * mg.jvp(lambda y: x + y, (1.0,), (1.0,))[1], (1.0,), (1.0,))
    assert inner[1].item() == 1.0


def test_a_gradient_is_differentiable_by_captured_parameters():
    w = mg.tensor(np.array([1.0, 2.0]), requires_grad=True)
    slope = mg.grad(lambda x: ((w * x) ** 2).sum())(np.array([3.0, 4.0]))  # 2 w^2 x
    (slope**2).sum().backward()
    x = np.array([3.0, 4.0])
    np.testing.assert_allclose(w.grad, 2 * (2 * w.data**2 * x) * (4 * w.data * x))


def test_results_are_constants_when_nothing_outside_is_live():
    value, gradient = mg.value_and_grad(lambda x: (x * x).sum())(X)
    assert not value.requires_grad
    assert not gradient.requires_grad
    y, pullback = mg.vjp(np.sin, X)
    assert not y.requires_grad
    assert not pullback(np.ones(3))[0].requires_grad


def test_gradients_by_rebound_parameters_use_the_recorded_values():
    w = mg.tensor(np.array(3.0), requires_grad=True)
    _y, pullback = mg.vjp(lambda x: w * w * x, np.array(2.0))
    w.data = np.array(100.0)
    g = pullback(np.array(1.0))[0]
    assert g.item() == 9.0
    g.backward()
    assert w.grad == 6.0


class Point(NamedTuple):
    x: float
    y: float


def test_containers_of_any_kind():
    def norm(p):
        return p["a"].x ** 2 + p["a"].y * p["rest"][0] * p["rest"][1][0]

    tree = {"a": Point(2.0, 3.0), "rest": [4.0, (5.0, None)]}
    g = mg.grad(norm)(tree)
    assert isinstance(g["a"], Point)
    assert [t.item() for t in (g["a"].x, g["a"].y, g["rest"][0], g["rest"][1][0])] == [
        4,
        20,
        15,
        12,
    ]
    assert g["rest"][1][1] is None


def test_argnums_aux_and_keywords():
    def g(a, b, *, scale):
        return scale * (a * b).sum(), {"sum": (a + b).sum()}

    a, b = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    (value, aux), (da, db) = mg.value_and_grad(g, argnums=(0, 1), has_aux=True)(a, b, scale=2.0)
    assert value.item() == 22.0
    assert aux["sum"].item() == 10.0
    assert not aux["sum"].requires_grad
    np.testing.assert_array_equal(da.data, 2 * b)
    np.testing.assert_array_equal(db.data, 2 * a)
    with pytest.raises(TypeError, match="pair"):
        mg.grad(lambda x: x, has_aux=True)(1.0)
    with pytest.raises(ValueError, match="argnums 2 with 1"):
        mg.grad(lambda x: x, argnums=2)(1.0)
    with pytest.raises(ValueError, match=r"argnums \(0, -2\) names an argument twice"):
        mg.grad(lambda a, b: a * b, argnums=(0, -2))(1.0, 2.0)


def test_an_unused_argument_has_gradient_zero():
    g = mg.grad(lambda a, b: (a * 2).sum(), argnums=(0, 1))(X, np.ones((2, 2)))
    np.testing.assert_array_equal(g[1].data, np.zeros((2, 2)))
    assert mg.grad(lambda x: 5.0)(2.0).item() == 0.0
    assert mg.jvp(lambda x: (x, 1.0), (2.0,), (3.0,))[1][1].item() == 0.0


@pytest.mark.parametrize("n", [2, 5])  # fewer inputs than outputs, and more: both directions
def test_jacobian_of_containers(n):
    x = {"u": np.linspace(0.1, 1, n), "v": np.array(2.0)}

    def g(p):
        return [np.outer(p["u"], p["u"][:2]) * p["v"], p["u"].sum() ** 2]

    table = mg.jacobian(g)(x)
    assert table[0]["u"].shape == (n, 2, n)
    assert table[0]["v"].shape == (n, 2)
    assert table[1]["u"].shape == (n,)
    np.testing.assert_allclose(table[0]["v"].data, np.outer(x["u"], x["u"][:2]))
    numeric = numerical_grad(lambda u: g({"u": u, "v": x["v"]})[0][1, 0], x["u"])
    np.testing.assert_allclose(table[0]["u"].data[1, 0], numeric, rtol=1e-9)


def test_jacobian_of_nothing():
    for n, m, dtype in ((0, 2, np.float32), (3, 0, np.float64), (0, 0, np.float32)):
        j = mg.jacobian(lambda x, m=m: np.ones(m, x.dtype) * x.sum())(np.zeros(n, dtype))
        assert (j.shape, j.dtype) == ((m, n), dtype)


def test_gradients_inside_no_grad():
    with mg.no_grad():
        g = mg.grad(lambda x: x**3)(2.0)
    assert g.item() == 12.0
    w = mg.tensor(1.0, requires_grad=True)
    with mg.no_grad():
        assert not mg.grad(lambda x: w * x)(2.0).requires_grad


def test_an_exception_leaves_nothing_behind():
    def bad(x):
        raise ZeroDivisionError

    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            mg.grad(lambda x: mg.grad(bad)(x))(1.0)
    assert mg.grad(mg.grad(lambda x: x**3))(2.0).item() == 12.0


def test_a_decorator_serves_several_threads():
    inside, leaving, wrong = threading.Barrier(2), threading.Event(), []

    @mg.no_grad()
    @mg.scope("both")
    def compute(first):
        inside.wait()
        if not first:
            leaving.wait()
        return (mg.tensor(1.0, requires_grad=True) * 2).requires_grad

    def work(first):
        try:
            recorded = compute(first), (mg.tensor(1.0, requires_grad=True) * 2).requires_grad
            if recorded != (False, True):
                wrong.append(recorded)
        except Exception as error:
            wrong.append(error)
        finally:
            leaving.set()

    threads = [threading.Thread(target=work, args=(first,)) for first in (True, False)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []


@pytest.mark.parametrize("call", [mg.grad(lambda x: x * 1.0), lambda x: mg.jvp(np.sin, (x,), (x,))])
def test_integers_cannot_be_differentiated(call):
    with pytest.raises(TypeError, match="pass floats"):
        call(np.array(3))


def test_wrong_shapes_say_what_was_expected():
    with pytest.raises(ValueError, match="one number"):
        mg.grad(lambda x: x * 2.0)(X)
    with pytest.raises(ValueError, match=r"cotangent of shape \(2,\) for a tensor of shape \(3,\)"):
        mg.vjp(np.sin, X)[1](np.ones(2))
    with pytest.raises(ValueError, match="nested like"):
        mg.jvp(lambda p: p["a"], ({"a": X},), ({"b": X},))
    for call in (mg.jvp, mg.hvp):
        with pytest.raises(TypeError, match=r"as in jvp\(f, \(x,\), \(v,\)\), not ndarray"):
            call(np.prod, X, X)


def test_a_pullback_can_be_called_again():
    _, pullback = mg.vjp(lambda x: x * x, X)
    for scale in (1.0, 2.0):
        np.testing.assert_array_equal(pullback(scale * np.ones(3))[0].data, scale * 2 * X)
