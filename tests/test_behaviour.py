"""The awkward points, each a decision: ties, zeros, infinities, empty arrays."""

import numpy as np
import pytest

import minigrad as mg


def g(f, *xs):
    """The gradients of sum(f(*xs)), as lists."""
    arrays = [np.array(x, dtype=np.float64) for x in xs]
    found = mg.grad(lambda *xs: f(*xs).sum(), argnums=tuple(range(len(xs))))(*arrays)
    return [t.tolist() for t in found]


@pytest.mark.parametrize(
    ("f", "xs", "expected"),
    [
        (mg.max, [[1, 3, 3, 2]], [[0, 0.5, 0.5, 0]]),
        (mg.min, [[1, 1, 1, 2]], [[1 / 3, 1 / 3, 1 / 3, 0]]),
        (mg.maximum, [2, 2], [0.5, 0.5]),
        (mg.minimum, [[2, 1], [2, 3]], [[0.5, 1], [0.5, 0]]),
        (mg.relu, [[-1, 0, 1]], [[0, 0, 1]]),
        (lambda x: mg.maximum(x, 0.0), [0], [0.5]),
        (mg.abs, [[-2, 0, 2]], [[-1, 0, 1]]),
        (lambda x: mg.clip(x, 0.0, 1.0), [[-1, 0, 0.5, 1, 2]], [[0, 1, 1, 1, 0]]),
        (mg.std, [[2, 2]], [[0, 0]]),
        (mg.prod, [[2, 0, 3]], [[0, 6, 0]]),
        (mg.prod, [[0, 0, 3]], [[0, 0, 0]]),
        (lambda x: x**0, [[0, 2]], [[0, 0]]),
        (lambda x: x**0.0, [[0, 2]], [[0, 0]]),
        (mg.power, [[0, 0], [2, 0]], [[0, 0], [0, 0]]),
        (lambda x: x**3, [-2], [12]),
        (lambda x: x**2, [0], [0]),
        (mg.sigmoid, [[-1000, 1000]], [[0, 0]]),
        (mg.softplus, [[-1000, 1000]], [[0, 1]]),
        (mg.logsumexp, [[-np.inf, -np.inf]], [[0, 0]]),
        (mg.logsumexp, [[-np.inf, 0]], [[0, 1]]),
        (lambda x: mg.sum(x, axis=()), [[1, 2]], [[1, 1]]),
        (mg.sum, [np.zeros((0, 3))], [[]]),
        (lambda x: x[[0, 0, 1]], [[5, 6, 7]], [[2, 1, 0]]),
        (lambda x: x[[]], [[5, 6]], [[0, 0]]),
        (lambda x: mg.broadcast_to(x, (2, 3)), [[1, 2, 3]], [[2, 2, 2]]),
        (lambda x: x.T + x, [[[1, 2], [3, 4]]], [[[2, 2], [2, 2]]]),
    ],
)
def test_gradient(f, xs, expected):
    assert g(f, *xs) == expected


def test_values_far_out():
    assert mg.sigmoid(np.array([-1000.0, 0, 1000])).tolist() == [0, 0.5, 1]
    assert mg.logsumexp(np.array([-np.inf, -np.inf])).item() == -np.inf
    assert mg.log_softmax(np.array([1000.0, 0])).tolist() == [0, -1000]
    assert mg.nn.cross_entropy(mg.tensor([[1000.0, 0.0]]), [1]).item() == 1000


def test_sqrt_at_zero_is_honest():
    with np.errstate(divide="ignore"):
        assert g(mg.sqrt, 0.0) == [np.inf]


def test_a_negative_base_has_no_derivative_by_the_exponent():
    with np.errstate(invalid="ignore"):
        base, exponent = g(mg.power, -2.0, 3.0)
    assert base == 12
    assert np.isnan(exponent)


def test_double_where_keeps_nan_out():
    with np.errstate(divide="ignore", invalid="ignore"):
        [leaky] = g(lambda x: mg.where(x > 0, mg.log(x), 0.0), [0.0, 1.0])
    assert np.isnan(leaky[0])
    [safe] = g(lambda x: mg.where(x > 0, mg.log(mg.where(x > 0, x, 1.0)), 0.0), [0.0, 1.0])
    assert safe == [0, 1]


def test_second_derivatives_at_awkward_points():
    assert mg.grad(mg.grad(lambda x: x**2))(0.0).item() == 2
    assert mg.grad(mg.grad(mg.grad(lambda x: mg.exp(-(x**2)))))(0.0).item() == 0
    assert mg.hessian(mg.prod)(np.array([2.0, 0, 3])).tolist() == [[0, 3, 0], [3, 0, 2], [0, 2, 0]]


def test_empty_arrays():
    assert g(lambda a, b: a @ b, np.ones((2, 0)), np.ones((0, 3))) == [[[], []], []]
    with pytest.raises(ValueError, match="max"):
        mg.max(np.zeros(0))


def test_integer_powers_raise_as_in_numpy():
    with pytest.raises(ValueError, match="power"):
        mg.power(np.array(2), -1)


def test_float16_sums_as_numpy_does():
    ones = mg.tensor(np.ones(70_000, np.float16))
    with np.errstate(over="ignore"):
        assert ones.sum().item() == np.inf
    assert ones.mean().item() == 1


def test_broadcasting_of_every_kind():
    a, b, c = np.ones((3, 1)), np.ones((1, 4)), np.ones(())
    da, db, dc = mg.grad(lambda a, b, c: (a * b + c).sum(), argnums=(0, 1, 2))(a, b, c)
    assert (da.shape, db.shape, dc.shape) == (a.shape, b.shape, c.shape)
    assert (da.data[0, 0], db.data[0, 0], dc.item()) == (4, 3, 12)
