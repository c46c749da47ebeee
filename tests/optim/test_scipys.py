"""SciPy's minimisers over the parameters of a module."""

import sys

import numpy as np
import pytest

import minigrad as mg
from tests.helpers import leaf


@pytest.fixture
def scipy():
    return pytest.importorskip("scipy.optimize", reason="SciPy is not installed")


RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
Y = np.tanh(X @ [1.0, -2.0, 0.5]) * 2 + 1


def net():
    return mg.nn.Sequential(
        mg.nn.Linear(3, 4, rng=0, dtype=np.float64),
        mg.tanh,
        mg.nn.Linear(4, 1, rng=1, dtype=np.float64),
    )


def loss_of(model):
    return mg.nn.mse_loss(model(X)[:, 0], Y)


@pytest.mark.parametrize("method", ["L-BFGS-B", "BFGS", "CG", "Newton-CG", "SLSQP"])
def test_a_module_is_fitted(scipy, method):
    model = net()
    before = loss_of(model).item()
    result = mg.optim.minimize(
        lambda: loss_of(model), model.parameters(), method, options={"maxiter": 150}
    )
    assert loss_of(model).item() == pytest.approx(result.fun, rel=1e-12)
    assert result.fun < 1e-3 * before
    assert [p.grad for p in model.parameters()] == [None] * 4
    assert result.x.size == sum(p.size for p in model.parameters())


def test_it_is_scipys_own_run(scipy):
    """The same points as those of a function of one vector, bit for bit."""
    a, b = leaf([-1.2]), leaf([[1.0]], name="b")

    def rosenbrock(x, y):
        return ((1 - x) ** 2 + 100 * (y - x**2) ** 2).sum()

    ours = mg.optim.minimize(lambda: rosenbrock(a, b[0]), [a, b], tol=1e-12)
    f = mg.value_and_grad(lambda v: rosenbrock(v[:1], v[1:]))
    theirs = scipy.minimize(f, np.array([-1.2, 1.0]), method="L-BFGS-B", jac=True, tol=1e-12)
    np.testing.assert_allclose(ours.x, theirs.x, rtol=1e-12)
    assert (ours.nfev, ours.nit) == (theirs.nfev, theirs.nit)
    np.testing.assert_array_equal([a.item(), b.item()], ours.x)


def test_methods_without_gradients_compute_none(scipy):
    w = leaf([3.0, 2.0])
    result = mg.optim.minimize(lambda: ((w - 1.0) ** 2).sum(), [w], "Nelder-Mead", tol=1e-9)
    np.testing.assert_allclose(w.data, 1, atol=1e-4)
    assert result.success


def test_frozen_parameters_and_those_not_used_rest(scipy):
    w, frozen, unused = leaf([3.0]), leaf([2.0]), leaf([5.0])
    frozen.requires_grad = False
    mg.optim.minimize(lambda: ((w - frozen) ** 2).sum(), [frozen, w, unused])
    assert (w.item(), frozen.item(), unused.item()) == pytest.approx((2, 2, 5))


def test_options_reach_scipy(scipy):
    w = leaf([3.0])
    seen = []
    mg.optim.minimize(
        lambda: ((w - 1.0) ** 2).sum(), [w], bounds=[(2.0, 4.0)], callback=lambda x: seen.append(+x)
    )
    assert w.item() == 2.0
    assert seen


@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError])
def test_an_interrupt_keeps_the_best(scipy, kind):
    w, losses = leaf([3.0]), {}

    def loss():
        if len(losses) == 4:
            raise kind
        z = mg.cosh(w - 1.0).sum()
        losses[w.item()] = z.item()
        return z

    with pytest.raises(kind):
        mg.optim.minimize(loss, [w], tol=1e-14)
    assert losses[w.item()] == min(losses.values())


def test_a_loss_that_is_no_number(scipy):
    """L-BFGS-B calls NaN a success."""
    w = leaf([3.0])
    with np.errstate(all="ignore"):
        with pytest.raises(FloatingPointError, match="as given is nan"):
            mg.optim.minimize(lambda: mg.log(-w).sum(), [w])
        assert w.item() == 3.0
        with pytest.raises(FloatingPointError, match="L-BFGS-B ended where the loss is nan"):
            mg.optim.minimize(lambda: (w * 100 if w.item() == 3.0 else mg.log(-(w**2))).sum(), [w])
    assert w.item() == 3.0


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda w: mg.optim.minimize(w * 2, [w]), TypeError, "a function that computes the loss"),
        (lambda w: mg.optim.minimize(lambda: w * 2, w), TypeError, r"write \[w\]"),
        (lambda w: mg.optim.minimize(lambda: w * 2, [w]), TypeError, "a tensor of one number"),
        (lambda w: mg.optim.minimize(lambda: 2.0, [w]), TypeError, "of one number, not 2"),
    ],
)
def test_what_it_refuses(scipy, call, kind, message):
    with pytest.raises(kind, match=message):
        call(leaf([1.0, 2.0]))


def test_without_scipy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match=r"not installed: pip install 'minigrad\[scipy\]'"):
        mg.optim.minimize(lambda: None, [leaf([1.0])])
