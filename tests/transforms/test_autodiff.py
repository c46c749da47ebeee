"""Transforms: every road to a derivative gives the same numbers."""

import threading
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest

import minigrad as mg
from minigrad.testing import numerical_grad
from tests.helpers import in_threads


def f(x):
    """A number that depends on every kind of rule: elementwise, linear, multilinear, general."""
    y = np.tanh(x[1:] * x[:-1]) @ np.arange(1.0, x.size) + np.prod(x)
    return mg.logsumexp(x) * y + (x**3).sum() / x[0]


X = np.array([0.7, -0.4, 1.3])


def test_seven_hessians_agree():
    basis = np.eye(X.size)

    def rows(hvp):
        return np.stack([hvp(v) for v in basis])

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
        "jacobian of vjp": mg.jacobian(pulled)(X),
        "hessian": mg.hessian(f)(X),
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
    np.testing.assert_allclose(third(np.float64(0.3)), exact, rtol=1e-13)


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
    assert type(value) is np.float64
    assert type(gradient) is np.ndarray
    y, pullback = mg.vjp(np.sin, mg.tensor(X))
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
    np.testing.assert_array_equal(da, 2 * b)
    np.testing.assert_array_equal(db, 2 * a)
    with pytest.raises(TypeError, match="pair"):
        mg.grad(lambda x: x, has_aux=True)(1.0)
    with pytest.raises(ValueError, match=r"grad: argnums 2 with 1 .*grad\(f\)\(x\)"):
        mg.grad(lambda x: x, argnums=2)(1.0)
    with pytest.raises(ValueError, match=r"argnums \[0, -2\] names an argument twice"):
        mg.grad(lambda a, b: a * b, argnums=(0, -2))(1.0, 2.0)


def test_an_unused_argument_has_gradient_zero():
    g = mg.grad(lambda a, b: (a * 2).sum(), argnums=(0, 1))(X, np.ones((2, 2)))
    np.testing.assert_array_equal(g[1], np.zeros((2, 2)))
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
    np.testing.assert_allclose(table[0]["v"], np.outer(x["u"], x["u"][:2]))
    numeric = numerical_grad(lambda u: g({"u": u, "v": x["v"]})[0][1, 0], x["u"])
    np.testing.assert_allclose(table[0]["u"][1, 0], numeric, rtol=1e-9)


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
        assert mg.grad(lambda x: w * x)(2.0) == 1.0
        assert not mg.grad(lambda x: w * x)(mg.tensor(2.0)).requires_grad
        value, _ = mg.value_and_grad(lambda x: w * x)(mg.tensor(2.0))
        assert not value.requires_grad


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

    in_threads(*[partial(work, first) for first in (True, False)])
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
        with pytest.raises(TypeError, match=r"as in ...\(f, \(x,\), \(v,\)\), not ndarray"):
            call(np.prod, X, X)


def test_a_pullback_can_be_called_again():
    _, pullback = mg.vjp(lambda x: x * x, X)
    for scale in (1.0, 2.0):
        np.testing.assert_array_equal(pullback(scale * np.ones(3))[0], scale * 2 * X)


# ---- arrays in, arrays out -----------------------------------------------------------------------

W = mg.tensor(np.array([1.0, 2.0, 3.0]), requires_grad=True)

CALLS = {
    "grad": lambda g, x: mg.grad(g)(x),
    "grad, of a container": lambda g, x: mg.grad(lambda p: g(p["x"][0]))({"x": [x]})["x"][0],
    "grad, several": lambda g, x: mg.grad(lambda n, x: n * g(x), (0, 1))(2.0, x)[1],
    "grad, by keyword": lambda g, x: mg.grad(lambda n, x: n * g(x))(2.0, x=x),
    "value": lambda g, x: mg.value_and_grad(g)(x)[0],
    "aux": lambda g, x: mg.grad(lambda x: (g(x), {"y": g(x)}), has_aux=True)(x)[1]["y"],
    "vjp": lambda g, x: mg.vjp(g, x)[0],
    "pullback": lambda g, x: mg.vjp(g, x)[1](1.0)[0],
    "jvp": lambda g, x: mg.jvp(g, (x,), (np.ones(3),))[0],
    "tangent": lambda g, x: mg.jvp(g, (x,), (np.ones(3),))[1],
    "pushforward": lambda g, x: mg.linearize(g, x)[1](np.ones(3)),
    "jacobian": lambda g, x: mg.jacobian(lambda x: x * g(x))(x),
    "jacobian, empty": lambda g, x: mg.jacobian(lambda x: x[:0] * g(x))(x),
    "hessian": lambda g, x: mg.hessian(g)(x),
    "hvp": lambda g, x: mg.hvp(g, (x,), (np.ones(3),))[0],
    "elementwise_grad": lambda g, x: mg.elementwise_grad(lambda x: x * g(X))(x),
    "checkpoint": lambda g, x: mg.grad(mg.checkpoint(g))(x),
    "grad, checkpointed": lambda g, x: mg.checkpoint(mg.grad(g))(x),
}


def captures(x):
    return (W * x**3).sum()


@pytest.mark.parametrize("name", CALLS)
def test_arrays_in_arrays_out(name):
    call = CALLS[name]
    got = call(f, X)
    assert type(got) in (np.ndarray, np.float64)
    assert (type(got) is np.float64) == (np.ndim(got) == 0)
    with_tensors = call(f, mg.tensor(X))
    assert isinstance(with_tensors, mg.Tensor)
    assert not with_tensors.requires_grad
    np.testing.assert_array_equal(got, with_tensors)
    if isinstance(got, np.ndarray):
        got += 1  # writable, and nobody else's
        np.testing.assert_array_equal(call(f, X), with_tensors)


@pytest.mark.parametrize("name", [n for n in CALLS if n not in ("jacobian, empty",)])
def test_what_can_be_differentiated_again_stays_a_tensor(name):
    """Of a captured parameter, and of an outer transform's variable; not inside no_grad."""
    call = CALLS[name]
    got = call(captures, X)
    assert isinstance(got, mg.Tensor)
    W.grad = None
    (got * got).sum().backward()
    inside = mg.grad(lambda w: (call(lambda x: (w * x**3).sum(), X) ** 2).sum())(W.data)
    assert type(inside) is np.ndarray
    np.testing.assert_allclose(W.grad, inside, rtol=1e-12)
    with mg.no_grad():
        plain = call(captures, X)
        assert type(plain) in (np.ndarray, np.float64)
        np.testing.assert_allclose(plain, got.data, rtol=1e-12)
        assert not call(captures, mg.tensor(X)).requires_grad


def test_constants_inside_a_transform_stay_arrays():
    """So an optimiser can be run inside: nothing that it computes depends on the outer variable."""

    def outer(x):
        slope = mg.grad(lambda y: y**3)(np.array(2.0))
        assert type(slope) is np.float64
        return slope * x

    assert mg.grad(outer)(1.0) == 12.0


def test_what_was_computed_before_and_is_returned_keeps_its_graph():
    h = W * 2.0
    for y in (
        mg.vjp(lambda x: h, X)[0],
        mg.value_and_grad(lambda x: h[0])(X)[0],
        mg.value_and_grad(lambda x: (x.sum(), h), has_aux=True)(X)[0][1],
        mg.linearize(lambda x: {"h": h}, X)[0]["h"],
    ):
        W.grad = None
        y.sum().backward()
        assert W.grad[0] == 2


def test_a_module_gives_tensors():
    net = mg.nn.Linear(3, 1, rng=0, dtype=np.float64)
    value, gradient = mg.value_and_grad(lambda net: net(X).sum())(net)
    assert isinstance(value, mg.Tensor)
    for name, p in net.named_parameters():
        assert isinstance(gradient[name], mg.Tensor)
        p.data = p.data - 0.1 * gradient[name]
    assert isinstance(mg.grad(lambda x, net: net(x).sum())(X, net), mg.Tensor)
    with mg.no_grad():
        assert isinstance(mg.grad(lambda x: net(x).sum())(X), np.ndarray)


def test_cotangents_and_tangents_may_be_tensors():
    _, pullback = mg.vjp(lambda x: x * x, X)
    _, pushforward = mg.linearize(lambda x: x * x, X)
    u = mg.tensor(np.ones(3), requires_grad=True)
    for walk in (lambda u: pullback(u)[0], pushforward):
        assert type(walk(u.data)) is np.ndarray
        assert isinstance(walk(u.detach()), mg.Tensor)
        u.grad = None
        walk(u).sum().backward()
        np.testing.assert_array_equal(u.grad, 2 * X)


def test_python_floats_are_what_numpy_makes_of_them():
    assert mg.grad(np.sin)(1.0) == np.cos(1.0)
    value, (dw, da) = mg.value_and_grad(lambda w, a: (w * a).sum(), (0, 1))(X, 0.1)
    assert value == (X * 0.1).sum()
    assert (dw.dtype, da.dtype) == (np.float64, np.float64)
    assert mg.grad(lambda x: x * 3)(np.float32(2)).dtype == np.float32


def test_arrays_may_change_before_the_pullback_is_called():
    x = X.copy()
    y, pullback = mg.vjp(np.exp, x)
    _, pushforward = mg.linearize(np.exp, x)
    x[...] = y[...] = 0
    np.testing.assert_array_equal(pullback(np.ones(3))[0], np.exp(X))
    np.testing.assert_array_equal(pushforward(np.ones(3)), np.exp(X))


def rosenbrock(x):
    return ((1 - x[:-1]) ** 2 + 100 * (x[1:] - x[:-1] ** 2) ** 2).sum()


SCIPY = {
    "BFGS": lambda o, x: o.minimize(rosenbrock, x, jac=mg.grad(rosenbrock), method="BFGS").x,
    "BFGS, jac=True": lambda o, x: o.minimize(mg.value_and_grad(rosenbrock), x, jac=True).x,
    "trust-exact": lambda o, x: (
        o.minimize(
            rosenbrock,
            x,
            jac=mg.grad(rosenbrock),
            hess=mg.hessian(rosenbrock),
            method="trust-exact",
        ).x
    ),
    "Newton-CG, hessp": lambda o, x: (
        o.minimize(
            rosenbrock,
            x,
            jac=mg.grad(rosenbrock),
            hessp=lambda x, v: mg.hvp(rosenbrock, (x,), (v,))[0],
            method="Newton-CG",
        ).x
    ),
    "SLSQP, with a constraint": lambda o, x: (
        o.minimize(
            rosenbrock,
            x,
            jac=mg.grad(rosenbrock),
            method="SLSQP",
            tol=1e-12,
            constraints={"type": "ineq", "fun": circle, "jac": mg.grad(circle)},
        ).x
    ),
    "trust-constr": lambda o, x: (
        o.minimize(
            rosenbrock,
            x,
            jac=mg.grad(rosenbrock),
            hess=mg.hessian(rosenbrock),
            method="trust-constr",
            constraints=o.NonlinearConstraint(circle, 0, np.inf, jac=mg.grad(circle)),
        ).x
    ),
    "root": lambda o, x: o.root(mg.grad(rosenbrock), x, jac=mg.hessian(rosenbrock)).x,
    "least_squares": lambda o, x: o.least_squares(residuals, x, jac=mg.jacobian(residuals)).x,
    "newton": lambda o, x: np.full(3, o.newton(cube, 2.0, fprime=mg.grad(cube))),
    "root_scalar": lambda o, x: np.full(
        3, o.root_scalar(mg.value_and_grad(cube), x0=2.0, fprime=True, method="newton").root
    ),
    "brentq": lambda o, x: np.full(3, o.brentq(mg.grad(lambda x: x**4 / 4 - x), 0.0, 3.0)),
    "curve_fit": lambda o, x: np.append(
        o.curve_fit(line, X, line(X, 1.0, 1.0), jac=mg_slopes)[0], 1.0
    ),
}


def circle(x):
    return 4 - (x**2).sum()


def residuals(x):
    return np.concatenate([1 - x[:-1], 10 * (x[1:] - x[:-1] ** 2)])


def cube(x):
    return x**3 - 1.0


def line(x, a, b):
    return a * np.exp(-b * x)


def mg_slopes(x, *p):
    return np.stack(mg.jacobian(lambda *p: line(x, *p), (0, 1))(*p), axis=1)


@pytest.mark.parametrize("name", SCIPY)
def test_scipy_takes_the_transforms_as_they_are(name):
    optimize = pytest.importorskip("scipy.optimize", reason="SciPy is not installed")
    found = SCIPY[name](optimize, np.array([0.8, 0.9, 1.1]))
    np.testing.assert_allclose(found, np.ones(3), atol=2e-4)


def test_scipy_inside_a_transform():
    """A derivative of a minimum by a parameter: dx*/da = -H^-1 d grad / da."""
    optimize = pytest.importorskip("scipy.optimize", reason="SciPy is not installed")

    def inner(x, a):
        return (x - a) ** 4 + x**2

    def minimum(a):
        """The argument at the minimum, and one step of Newton's that carries the derivative."""
        at = a.data.item()
        x = optimize.minimize(inner, 1.0, (at,), jac=mg.grad(inner), tol=1e-12).x[0]
        return x - mg.grad(inner)(x, a) / mg.hessian(inner)(x, at)

    (x,) = optimize.minimize(inner, 1.0, (1.0,), tol=1e-12).x
    slope = 12 * (x - 1) ** 2
    np.testing.assert_allclose(mg.grad(minimum)(1.0), slope / (slope + 2), rtol=1e-5)


# ---- what cannot be meant ------------------------------------------------------------------------


def total(x):
    return (x**2).sum()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mg.grad(total, X), r"grad: argnums .* array\(.*write grad\(f\)\(x\)"),
        (lambda: mg.value_and_grad(total, mg.tensor(X)), r"argnums .* tensor\(.*value_and_grad\(f"),
        (lambda: mg.jacobian(total, 2.0), r"argnums .* 2\.0; .*jacobian\(f\)\(x\)"),
        (lambda: mg.hessian(total, [X]), r"argnums .*; .*hessian\(f\)\(x\)"),
        (lambda: mg.elementwise_grad(np.sin, X), r"argnums .*elementwise_grad\(f\)\(x\)"),
        (lambda: mg.elementwise_grad(np.multiply, (0, 1)), "argnums"),
        (lambda: mg.grad(total, True), "argnums .* True"),
        (lambda: mg.grad(total, None), "argnums .* None"),
        (lambda: mg.grad(total, 1)(X), r"argnums 1 with 1 positional .* from 0.*grad\(f\)\(x\)"),
        (lambda: mg.grad(total)(x=X), r"argnums 0 with 0 positional .*grad\(f\)\(x\)"),
        (lambda: mg.grad(total, (0, -1))(X), "names an argument twice"),
        (
            lambda: mg.grad(total(X)),
            r"grad: f must be a function, not float64; write f, not f\(x\)",
        ),
        (lambda: mg.vjp(X, total), "vjp: f must be a function, not ndarray"),
        (lambda: mg.checkpoint(total(X)), "checkpoint: f must be a function"),
        (lambda: mg.scan(X, 0.0, X), "scan: f must be a function"),
        (lambda: mg.grad(total, has_aux=True)(X), r"pair \(value, aux\), not float64 of shape"),
        (
            lambda: mg.grad(lambda x: x[:2], has_aux=True)(X),
            r"pair .*, not float64 of shape \(2,\)",
        ),
        (lambda: mg.grad(lambda x: (total(x), 1, 2), has_aux=True)(X), "pair .*, not tuple"),
        (lambda: mg.grad(lambda x: (total(x), 1))(X), "one number.* not tuple.*has_aux=True"),
        (lambda: mg.grad(lambda x: [total(x)])(X), "one number.* not list"),
        (lambda: mg.grad(lambda x: {"loss": total(x)})(X), "one number.* not dict"),
        (lambda: mg.grad(lambda x: x)(X), r"one number.* not float64 of shape \(3,\); reduce it"),
        (lambda: mg.grad(lambda x: total(x) > 1)(X), "one number, a float, not bool"),
        (lambda: mg.grad(np.argmax)(X), "one number, a float, not int64"),
        (lambda: mg.grad(lambda x: None)(X), "grad: f returned None; write return"),
        (lambda: mg.vjp(lambda x: None, X), "vjp: f returned None"),
        (lambda: mg.grad(lambda x: "loss")(X), "f returned str; it must return real numbers"),
        (lambda: mg.jacobian(lambda x: (v for v in x))(X), "f returned generator; it must"),
        (lambda: mg.grad(total)(np.arange(3)), "not int64; pass floats"),
        (lambda: mg.grad(lambda p: total(p["w"]))({"w": X, "n": 3}), r"int64; .*at \[0\]\.n of"),
        (lambda: mg.grad(total)("abc"), "grad takes real numbers"),
        (lambda: mg.grad(total)(1 + 2j), "real numbers.* two tensors"),
        (lambda: mg.vjp(np.sin, X)[1](np.ones(2)), r"vjp: the cotangent of shape \(2,\).* \(3,\)"),
        (lambda: mg.vjp(np.sin, X)[1]([1.0, 2.0, 3.0]), r"nested like .*np\.array"),
        (lambda: mg.vjp(np.sum, X)[1](1j), "vjp: the cotangent takes real numbers"),
        (lambda: mg.jvp(np.sin, (X,), (1.0,)), r"jvp: the tangent of shape \(\)"),
        (lambda: mg.jvp(np.multiply, (X, X), (X,)), "jvp: the tangent must be nested like"),
        (lambda: mg.hvp(total, (X,), (X, X)), "hvp: the tangent must be nested like"),
        (lambda: mg.hvp(total, X, X), r"as in hvp\(f, \(x,\), \(v,\)\), not ndarray"),
        (lambda: mg.linearize(np.sin, X)[1](np.ones(2)), "linearize: the tangent of shape"),
        (lambda: mg.flatten({"w": X, "n": 3}), "flatten: int64 .*write floats"),
    ],
)
def test_misuse_says_what_to_write(call, words):
    with pytest.raises((TypeError, ValueError), match=words) as caught:
        call()
    assert len(str(caught.value)) < 300


def test_an_empty_sum_has_gradient_zero():
    assert mg.grad(lambda x: sum(v for v in ()))(X).tolist() == [0, 0, 0]


MIXED = {
    "cumsum": np.cumsum,
    "flip": lambda x: x[::-1] ** 2,
    "minus the mean": lambda x: x - x.mean(),
    "softmax": mg.softmax,
    "sort": np.sort,
    "times a sum": lambda x: x * x.sum(),
    "one of all": lambda x: np.sin(x) + np.where(np.arange(3) == 1, x[2], 0.0),
}
OWN = {
    "sin": np.sin,
    "nothing": lambda x: np.sin(x) ** 2 + np.cos(x) ** 2,
    "constant": np.ones_like,
    "large and small": lambda x: np.exp(20 * x) + 1e-9 * x,
    "kinks": lambda x: abs(mg.relu(x) - 1.0),
    "by index": lambda x: np.stack([np.exp(x[k]) for k in range(3)]),
    "not finite": lambda x: np.sqrt(x - x),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_elementwise_grad_is_of_elementwise_functions(dtype):
    x = X.astype(dtype)
    for f in MIXED.values():
        with pytest.raises(ValueError, match=r"depend on other elements.*use jacobian"):
            mg.elementwise_grad(f)(x)
        with pytest.raises(ValueError, match="depend on other elements"):
            mg.grad(lambda x: mg.elementwise_grad(f)(x).sum())(x)  # noqa: B023
    for f in OWN.values():
        with np.errstate(all="ignore"):
            found, exact = mg.elementwise_grad(f)(x), np.diag(mg.jacobian(f)(x))
        np.testing.assert_allclose(found, exact, rtol=1e-6)


def test_flatten_gives_arrays_of_its_own():
    """SciPy may change its vector in place, after a callback kept what it stood for."""
    vector, unflatten = mg.flatten({"w": X, "b": 0.5})
    kept = unflatten(vector)
    vector += 1
    assert (kept["w"].tolist(), kept["b"]) == (X.tolist(), 0.5)
