"""Where functions have corners: NaN among the numbers, ties, bounds, and distances of 0.

A second derivative at a corner is the right value or NaN, never a finite wrong number. NaN in what
is chosen from is in the result as in NumPy, and the gradient is NaN or that of what was chosen.
"""

import numpy as np
import pytest

import minigrad as mg

INF, NAN = np.inf, np.nan


def gradient(f, *xs):
    got = mg.grad(lambda *xs: f(*xs).sum(), tuple(range(len(xs))))(*map(np.float64, xs))
    return [g.tolist() for g in got]


# ---- second derivatives at corners ---------------------------------------------------------------

AT_CORNERS = {
    "abs": (lambda x: np.abs(x) ** 2, [0.0, 1.0], 2 * np.eye(2)),
    "fabs": (lambda x: np.fabs(x) ** 2, [0.0, 1.0], 2 * np.eye(2)),
    "copysign": (lambda x: np.copysign(x, 1.0) ** 2, [0.0, 1.0], 2 * np.eye(2)),
    "root of a square": (lambda x: np.sqrt(x * x) ** 2, [0.0, 1.0], 2 * np.eye(2)),
    "hypot": (lambda x: np.hypot(x[0], x[1]) ** 2, [0.0, 0.0], 2 * np.eye(2)),
    "hypot, scaled": (lambda x: np.exp(-3 * np.hypot(x[0], x[1]) ** 2), [0.0, 0.0], -6 * np.eye(2)),
}


def right_or_nan(hessian, right):
    if not np.isnan(hessian).any():
        np.testing.assert_allclose(hessian, right, atol=1e-12)


@pytest.mark.parametrize("name", AT_CORNERS)
@pytest.mark.filterwarnings("ignore:(divide by zero|invalid value) encountered:RuntimeWarning")
def test_second_derivatives_at_corners_are_right_or_nan(name):
    """Zeros would look right, and are wrong: the corner's own second derivative is infinite."""
    f, x, right = AT_CORNERS[name]
    x, both = np.array(x), lambda x: f(x).sum()
    right_or_nan(mg.hessian(both)(x).data, right)
    for v in np.eye(2):
        right_or_nan(mg.hvp(both, (x,), (v,))[0].data, right @ v)
        right_or_nan(mg.grad(lambda x: (mg.grad(both)(x) * v).sum())(x).data, right @ v)  # noqa: B023


def test_beside_a_corner_second_derivatives_are_right():
    x, r = np.array([3e-9, -4e-9]), 5e-9
    hessian = mg.hessian(lambda x: np.hypot(x[0], x[1]))(x).data
    np.testing.assert_allclose(hessian, (np.eye(2) - np.outer(x, x) / r**2) / r)
    assert mg.hessian(lambda x: np.abs(x).sum())(x).data.tolist() == [[0, 0], [0, 0]]


# ---- NaN -----------------------------------------------------------------------------------------

CHOICES = {
    "maximum": np.maximum, "minimum": np.minimum, "relu": mg.relu, "leaky_relu": mg.leaky_relu,
    "elu": mg.elu, "clip": lambda x: np.clip(x, -1.0, 1.0),
    "clip by bounds": lambda x, y: np.clip(x, y - 1.0, y + 1.0), "abs": np.abs,
}  # fmt: skip


@pytest.mark.parametrize("name", CHOICES)
def test_nan_passes_a_choice(name):
    """Not 0, as if nothing depended on it: NaN is in the result, and its gradient passes."""
    f = CHOICES[name]
    xs = [NAN, 1.0] if name in ("maximum", "minimum", "clip by bounds") else [NAN]
    leaves = [mg.tensor(x, requires_grad=True) for x in map(np.float64, xs)]
    y = f(*leaves)
    assert np.isnan(y.item())
    y.backward()
    assert leaves[0].grad != 0


def test_fmax_and_fmin_leave_nan_out():
    for f in (np.fmax, np.fmin):
        assert gradient(f, [NAN, 1.0], [2.0, NAN]) == [[0, 1], [1, 0]]
        assert np.isnan(f(mg.tensor(NAN, requires_grad=True), NAN).item())


# ---- choices -------------------------------------------------------------------------------------


def test_clip_passes_the_gradient_to_the_bound_that_holds():
    x, low, high = [-1.0, 0.5, 9.0, 0.0, 2.0], 0.0, 2.0
    assert gradient(np.clip, x, low, high) == [[0, 1, 0, 1, 1], 1, 1]
    assert gradient(lambda x, low: np.clip(x, low, None), x, low) == [[0, 1, 1, 1, 1], 1]
    assert gradient(lambda x, high: x.clip(max=high), x, high) == [[1, 1, 0, 1, 1], 1]
    assert gradient(lambda x, low: mg.clip(x, low), x, low) == [[0, 1, 1, 1, 1], 1]


def test_clip_by_bounds_that_broadcast_or_cross():
    x = np.array([[-2.0, 0.0, 3.0], [5.0, 0.2, -0.3]])
    low, high = np.array([-1.0, 0.1, 0.0]), np.array([[1.0], [-1.0]])
    for bounds in ((low, high), (high, low), (low, None), (None, high)):
        t = mg.tensor(x, requires_grad=True)
        live = [None if b is None else mg.tensor(b, requires_grad=True) for b in bounds]
        z = np.clip(t, *live)
        np.testing.assert_array_equal(z.data, np.clip(x, *bounds))
        z.sum().backward()
        given = [g.grad for g in (t, *live) if g is not None]
        assert sum(g.sum() for g in given) == z.size  # every result is one of the three
        assert [g.shape for g in given] == [np.shape(b) for b in (x, *bounds) if b is not None]


def test_clip_keeps_whole_numbers_whole():
    n = np.array([[1, 5], [-7, 2]])
    for bounds in ((0, 3), (None, 2), (0, None), (np.array([0, 2]), 4)):
        z = np.clip(mg.tensor(n), *bounds)
        np.testing.assert_array_equal(z.data, np.clip(n, *bounds), strict=True)
    assert np.clip(mg.tensor([1.0, 9.0]), 2, None).dtype == np.float32


def test_where_of_a_condition_alone_is_nonzero():
    t = mg.tensor([[0.0, 2.0], [3.0, 0.0]], requires_grad=True)
    for f in (np.where, mg.where):
        assert [k.tolist() for k in f(t)] == [[0, 1], [1, 0]]
        assert [k.tolist() for k in f(t > 2)] == [[1], [0]]
    assert t[np.where(t)].tolist() == [2, 3]
    with pytest.raises(ValueError, match="both x and y"):
        mg.where(t, 1.0)


def test_leaky_relu_has_both_names_of_its_slope():
    for slope in ({"negative_slope": 0.1}, {"slope": 0.1}):
        t = mg.tensor([-2.0, 3.0, 0.0], requires_grad=True)
        z = mg.leaky_relu(t, **slope)
        z.sum().backward()
        np.testing.assert_allclose(z.data, [-0.2, 3, 0])
        np.testing.assert_allclose(t.grad, [0.1, 1, 0.1])
    assert mg.leaky_relu(-1.0, 0.5).item() == -0.5
    with pytest.raises(TypeError, match="one of its names"):
        mg.leaky_relu(-1.0, slope=0.1, negative_slope=0.2)


# ---- large numbers that are equal, and quotients that round --------------------------------------


def test_logaddexp_shares_the_gradient_of_large_equal_numbers():
    """Not 1 for each: x + log 2 rounds to x, so that exp(x - z) is 1."""
    for big in (1e20, -1e20, INF):
        assert gradient(np.logaddexp, big, big) == [0.5, 0.5]
        assert gradient(np.logaddexp2, big, big) == [0.5, 0.5]
    assert gradient(np.logaddexp, [INF, 0.0], [0.0, -INF]) == [[1, 1], [0, 0]]
    hessian = mg.hessian(np.logaddexp, (0, 1))(1e20, 1e20)
    assert [[h.item() for h in row] for row in hessian] == [[0.25, -0.25], [-0.25, 0.25]]


def test_fmod_counts_whole_divisors_as_its_value_does():
    """1 = 9 * 0.1 + 0.09999999999999995 in floating numbers, although 1 / 0.1 rounds to 10."""
    assert gradient(np.fmod, [1.0, -1.0, 0.7], 0.1)[1] == -(9 - 9 + 6)
    assert gradient(np.fmod, 1.0, 0.1) == [1, -9]


def test_sinc_far_out_has_the_sign_of_its_own_place():
    """pi x is rounded, by more than a turn if x is large; the place within a turn is exact."""
    x = np.array([1e6 + 0.5, 1e10 + 0.25, 12345678.0, 1e15])
    np.testing.assert_allclose(
        mg.sinc(x).data, [1 / np.pi / x[0], np.sin(np.pi / 4) / np.pi / x[1], 0, 0], rtol=1e-7
    )
    slope = mg.elementwise_grad(np.sinc)(x).data
    np.testing.assert_allclose(slope[2:], [1 / x[2], 1 / x[3]], rtol=1e-7)
