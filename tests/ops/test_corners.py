"""Where functions have corners: NaN among the numbers, ties, bounds, and distances of 0.

A second derivative at a corner is the right value or NaN, never a finite wrong number. NaN in what
is chosen from is in the result as in NumPy, and the gradient is NaN or that of what was chosen.
"""

import math

import numpy as np
import pytest

import minigrad as mg
from tests.helpers import leaf

INF, NAN, ONES = np.inf, np.nan, np.ones(2)


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
    "norm": (lambda x: np.linalg.norm(x) ** 2, [0.0, 0.0], 2 * np.eye(2)),
    "norm of order 3": (lambda x: np.linalg.norm(x, 3) ** 3, [0.0, 0.0], np.zeros((2, 2))),
    "norm of order 1": (lambda x: np.linalg.norm(x, 1) ** 2, [0.0], [[2.0]]),
    "norm of infinite order": (lambda x: np.linalg.norm(x, INF) ** 2, [0.0], [[2.0]]),
    "norms of rows": (
        lambda x: np.linalg.norm(x.reshape(2, 1), axis=1) ** 2,
        [0.0, 3.0],
        2 * np.eye(2),
    ),
    "norm of a matrix": (
        lambda x: np.linalg.norm(x.reshape(1, 2), "fro") ** 2,
        [0.0, 0.0],
        2 * np.eye(2),
    ),
    "nuclear norm": (
        lambda x: np.linalg.norm(x.reshape(1, 2), "nuc") ** 2,
        [0.0, 0.0],
        2 * np.eye(2),
    ),
    "spectral norm": (lambda x: np.linalg.norm(x.reshape(2, 1), 2) ** 2, [0.0, 0.0], 2 * np.eye(2)),
    "column sums": (
        lambda x: np.linalg.norm(x.reshape(2, 1), INF) ** 2,
        [0.0, 1.0],
        [[0, 0], [0, 2.0]],
    ),
    "kernel": (lambda x: np.exp(-(np.linalg.norm(x - ONES) ** 2) / 2), [1.0, 1.0], -np.eye(2)),
    "std": (lambda x: np.std(x) ** 2, [1.0, 1.0], [[0.5, -0.5], [-0.5, 0.5]]),
    "nanstd": (lambda x: np.nanstd(x) ** 2, [1.0, 1.0], [[0.5, -0.5], [-0.5, 0.5]]),
    "root of the variance": (
        lambda x: np.sqrt(np.var(x)) ** 2,
        [1.0, 1.0],
        [[0.5, -0.5], [-0.5, 0.5]],
    ),
    "range": (lambda x: np.ptp(x) ** 2, [1.0, 1.0], [[2.0, -2.0], [-2.0, 2.0]]),
    "variance": (np.var, [1.0, 1.0], [[0.5, -0.5], [-0.5, 0.5]]),
    "product": (lambda x: np.prod(x) ** 2, [0.0, 3.0], [[18.0, 0], [0, 0]]),
    "cumulative product": (lambda x: np.cumprod(x)[1:] ** 2, [0.0, 3.0], [[18.0, 0], [0, 0]]),
}
RIGHT = {"product", "cumulative product", "variance"}
"""Those that have no corner there: NaN would be no answer."""


def right_or_nan(hessian, right):
    if not np.isnan(hessian).any():
        np.testing.assert_allclose(hessian, right, atol=1e-12)


@pytest.mark.parametrize("name", AT_CORNERS)
@pytest.mark.filterwarnings("ignore:(divide by zero|invalid value) encountered:RuntimeWarning")
def test_second_derivatives_at_corners_are_right_or_nan(name):
    """Zeros would look right, and are wrong: the corner's own second derivative is infinite."""
    f, x, right = AT_CORNERS[name]
    x, both = np.array(x), lambda x: f(x).sum()
    hessian, right = mg.hessian(both)(x), np.array(right)
    right_or_nan(hessian, right)
    assert name not in RIGHT or not np.isnan(hessian).any()
    for v in np.eye(len(x)):
        right_or_nan(mg.hvp(both, (x,), (v,))[0], right @ v)
        right_or_nan(mg.grad(lambda x: (mg.grad(both)(x) * v).sum())(x), right @ v)  # noqa: B023


def test_beside_a_corner_second_derivatives_are_right():
    x, r = np.array([3e-9, -4e-9]), 5e-9
    hessian = mg.hessian(lambda x: np.hypot(x[0], x[1]))(x)
    np.testing.assert_allclose(hessian, (np.eye(2) - np.outer(x, x) / r**2) / r)
    np.testing.assert_allclose(mg.hessian(np.linalg.norm)(x), hessian)
    assert mg.hessian(lambda x: np.abs(x).sum())(x).tolist() == [[0, 0], [0, 0]]


def test_a_corner_of_one_row_is_no_matter_of_the_others():
    x = np.array([[0.0, 0.0], [3.0, 4.0]])
    hessian = mg.hessian(lambda x: np.linalg.norm(x, axis=1).sum())(x).reshape(4, 4)
    right = (np.eye(2) - np.outer([3, 4], [3, 4]) / 25) / 5
    np.testing.assert_allclose(hessian[2:, 2:], right)
    assert np.isnan(hessian[:2, :2]).all()
    for ord in (3, 4, 2.5):  # elements of 0 are no corners of these
        h = mg.hessian(lambda x: np.linalg.norm(x, ord))(np.array([0.0, 1.0, 2.0]))  # noqa: B023
        assert np.isfinite(h).all()
    h = mg.hessian(lambda x: np.linalg.norm(x, INF))(np.array([0.0, 1.0, -2.0]))
    assert (h == 0).all()


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
    if len(xs) == 2:
        leaves = [mg.tensor(x, requires_grad=True) for x in map(np.float64, xs[::-1])]
        f(*leaves).backward()
        assert leaves[1].grad != 0


def test_fmax_and_fmin_leave_nan_out():
    for f in (np.fmax, np.fmin):
        assert gradient(f, [NAN, 1.0], [2.0, NAN]) == [[0, 1], [1, 0]]
        assert np.isnan(f(mg.tensor(NAN, requires_grad=True), NAN).item())


def test_nan_among_the_elements_is_in_the_gradient_of_an_extreme():
    """Not 0 for all, as if the result, which is NaN, depended on nothing."""
    x = np.array([[1.0, NAN, 3.0], [1.0, 2.0, 2.0]])
    for f in (np.max, np.min, np.ptp, lambda x, **p: np.linalg.norm(x, INF, **p)):
        assert np.isnan(gradient(f, x)[0]).any()
        rows = np.array(gradient(lambda x: f(x, axis=1), x)[0])  # noqa: B023
        assert np.isnan(rows[0]).any()
        assert np.isfinite(rows[1]).all()
    for f in (np.median, np.sort, np.cumprod, np.prod, np.std, lambda x: np.quantile(x, 0.3)):
        g = gradient(f, x[0])[0]
        assert np.isnan(f(mg.tensor(x[0])).data).any()
        assert np.isnan(g).any() or f is np.sort  # which only moves its elements
    rows = np.array(gradient(lambda x: np.median(x, axis=1), x)[0])
    assert np.isnan(rows[0]).any()
    assert rows[1].sum() == 1


def test_nan_in_a_window_is_in_the_gradient_of_its_largest():
    x = np.arange(8.0).reshape(1, 1, 8)
    x[0, 0, 2] = NAN
    z = mg.max_pool1d(leaf(x), 2)
    np.testing.assert_array_equal(z.data, [[[1, NAN, 5, 7]]])
    g = np.array(gradient(lambda x: mg.max_pool1d(x, 2), x)[0])[0, 0]
    np.testing.assert_array_equal(g, [0, 1, NAN, NAN, 0, 1, 0, 1])
    moved = mg.jvp(lambda x: mg.max_pool1d(x, 2), (x,), (np.ones_like(x),))[1]
    np.testing.assert_array_equal(moved, [[[1, NAN, 1, 1]]])


def test_what_leaves_nan_out_has_gradient_0_there_and_is_nan_of_nothing_else():
    x = np.array([[1.0, NAN, 3.0], [NAN, NAN, NAN]])
    for f in (np.nanmax, np.nanmin, np.nanmean, np.nanvar, np.nanstd):
        t = mg.tensor(x, requires_grad=True)
        z = f(t, axis=1)
        assert np.isnan(z.data).tolist() == [False, True]
        z.sum().backward()
        assert t.grad[0, 1] == 0
        assert np.isfinite(t.grad[0]).all()
        assert np.isnan(t.grad[1]).all()
    for f, nothing in ((np.nansum, 0), (np.nanprod, 1)):
        assert f(mg.tensor(x), axis=1).tolist()[1] == nothing
        assert gradient(lambda x: f(x, axis=1), x)[0][1] == [0, 0, 0]  # noqa: B023


# ---- products ------------------------------------------------------------------------------------


def others(x):
    """The product of the others for each element, in integers of any size; inf if too large."""
    whole = [int(v) for v in x]
    found = [math.prod(whole[:k] + whole[k + 1 :]) for k in range(len(whole))]
    return [float(p) if abs(p) < 3e38 else math.copysign(INF, p) for p in found]


@pytest.mark.parametrize("f", [np.prod, np.nanprod])
@pytest.mark.parametrize(
    "x",
    [
        [1e30, 1e30, 0, 1e30], [1e30, 0, 1e30, 0], [0, 0, 1e30, 1e30], [1e30, 1e30, 0, 0],
        [-1e30, 1e30, 0, 0, -1e30], [1e13, 0, 0, 1e13, 1e13, 0, 1e13, 1e13, 1e13], [2, 3, 0, 5],
        [1e30, 0],
    ],
)  # fmt: skip
def test_products_of_zeros_and_large_numbers(f, x):
    """Among the others is a 0, or there is none: in no order is it 0 times infinity."""
    t = mg.tensor(np.float32(x), requires_grad=True)
    with np.errstate(over="ignore", invalid="ignore"):
        f(t).backward()
    np.testing.assert_allclose(t.grad, np.float32(others(x)), rtol=1e-5)


def test_products_whose_parts_leave_the_range_of_numbers():
    x = np.float32([1e-15, 1e-15, 1e20, 1e20])
    np.testing.assert_allclose(gradient32(np.prod, x), [1e25, 1e25, 1e-10, 1e-10], rtol=1e-5)


def gradient32(f, x):
    t = mg.tensor(np.float32(x), requires_grad=True)
    with np.errstate(over="ignore", invalid="ignore"):
        f(t).sum().backward()
    return t.grad


@pytest.mark.parametrize("f", [np.cumprod, np.nancumprod, np.cumulative_prod])
def test_cumulative_products_of_zeros_and_large_numbers(f):
    """Behind a zero nothing matters to what is before it, however large; and the other way."""
    assert gradient32(f, [0, 0, 1e30, 1e30, 1]).tolist() == [1, 0, 0, 0, 0]
    assert gradient32(f, [0, 1e30, 0, 1e30, 1e30]).tolist() == [np.float32(1e30), 0, 0, 0, 0]
    assert gradient32(f, [1e30, 0, 0, 1e30, 1e30]).tolist() == [1, np.float32(1e30), 0, 0, 0]
    assert gradient32(f, [2, 0, 3, 4]).tolist() == [1, 2 + 6 + 24, 0, 0]
    assert gradient32(f, [1e-30, 1e-30, 1e30, 1e30])[0] == np.float32(1e30)  # although z vanishes


@pytest.mark.parametrize("zeros", [(), (0,), (7,), (120, 400), (499,)])
@pytest.mark.parametrize("columns", [(), (3,)])
def test_long_cumulative_products_are_those_of_short_pieces(zeros, columns):
    """By blocks, and by division where no factor is 0: as the product of the others, summed."""
    rng = np.random.default_rng(0)
    x, u = 1 + 0.1 * rng.normal(size=(500, *columns)), rng.normal(size=(500, *columns))
    x[list(zeros)] = 0
    t = mg.tensor(x, requires_grad=True)
    (np.cumprod(t, axis=0) * u).sum().backward()
    right = np.zeros_like(x)
    for k in range(500):
        without = np.concatenate([x[:k], np.ones_like(x[:1]), x[k + 1 :]])
        right[k] = (np.cumprod(without, axis=0) * u)[k:].sum(0)
    np.testing.assert_allclose(t.grad, right, rtol=1e-9, atol=1e-9)
    v = rng.normal(size=x.shape)
    moved = mg.jvp(lambda x: (np.cumprod(x, axis=0) * u).sum(), (x,), (v,))[1].item()
    np.testing.assert_allclose(moved, (right * v).sum(), rtol=1e-9, atol=1e-8)


# ---- exponentials of large numbers ---------------------------------------------------------------


def test_logsumexp_and_log_softmax_of_large_equal_numbers():
    """The largest is as large as their logarithm of a sum is exact: probabilities sum to 1."""
    for big in (1e10, -1e10, 3e38):
        x = np.float32([big, big, -INF])
        t = mg.tensor(x, requires_grad=True)
        mg.logsumexp(t).backward()
        np.testing.assert_allclose(t.grad, [0.5, 0.5, 0])
        z = mg.log_softmax(mg.tensor(x[:2], requires_grad=True))
        np.testing.assert_allclose(z.data, np.log([0.5, 0.5]), rtol=1e-6)
        loss = mg.nn.cross_entropy(t.reshape(1, 3), np.array([0]))
        np.testing.assert_allclose(loss.data, np.log(2), rtol=1e-6)
    h = mg.hessian(mg.logsumexp)(np.array([1e20, 1e20]))
    assert h.tolist() == [[0.25, -0.25], [-0.25, 0.25]]


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
    slope = mg.elementwise_grad(np.sinc)(x)
    np.testing.assert_allclose(slope[2:], [1 / x[2], 1 / x[3]], rtol=1e-7)
