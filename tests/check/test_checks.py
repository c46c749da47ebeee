"""check_grads and numerical derivatives: what they find, and how they say it."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.check.differences import along
from minigrad.core.tensor import value_of
from minigrad.testing import check_grads, directional, numerical_grad

X = np.array([[0.5, -0.3, 1.2], [0.7, 0.1, -0.4]])


def spoilt(change):
    """x^3, with a backward pass by hand whose cotangent is changed."""

    def backward(g, z, x):
        return change(g * 3 * x * x)

    return mg.custom_vjp(lambda x: x**3, backward)


def one_wrong(g):
    g = np.array(g)
    g[1, 2] *= 2
    return g


def test_a_wrong_element_is_named_with_both_numbers():
    cube = spoilt(one_wrong)
    with pytest.raises(AssertionError) as caught:
        check_grads(lambda p, y: (cube(p["w"]) * y).sum(), ({"w": X}, np.full((2, 3), 2.0)))
    said = re.fullmatch(
        r"order 1, mode rev: along a random direction the derivative is \S+, by central "
        r"differences \S+; worst at args\[0\]\.w\[1, 2\]: automatic (\S+), "
        r"central difference (\S+)",
        str(caught.value),
    )
    assert said, caught.value
    wrong, right = map(float, said.groups())
    assert right == pytest.approx(2 * 3 * X[1, 2] ** 2)
    assert wrong == pytest.approx(2 * right)


def test_a_wrong_second_derivative_is_of_order_two():
    frozen = mg.custom_vjp(lambda x: x**3, lambda g, z, x: g * 3 * x * value_of(x))
    check_grads(frozen, (X,), order=1)
    with pytest.raises(AssertionError, match="order 2, mode"):
        check_grads(frozen, (X,), order=2)


def test_forward_mode_is_checked_by_itself():
    def halved(x):
        y, _ = mg.jvp(lambda x: x**2, (x,), (x,))
        return y

    check_grads(halved, (X,), modes=("fwd",), order=3)
    cube = spoilt(lambda g: 2 * g)  # forward mode follows the function
    check_grads(cube, (X,), modes=("fwd",), order=1)
    with pytest.raises(AssertionError, match="order 1, mode rev"):
        check_grads(cube, (X,), modes=("rev",), order=1)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_derivative_that_is_not_finite_is_wrong(bad):
    with pytest.raises(AssertionError, match=rf"automatic {bad}"):
        check_grads(spoilt(lambda g: g * bad), (X,), order=1)


def test_a_small_relative_error_is_found():
    with pytest.raises(AssertionError, match="order 1"):
        check_grads(spoilt(lambda g: g * (1 + 1e-5)), (X,), order=1)


def test_modes_have_names():
    with pytest.raises(ValueError, match="'rev' or 'fwd', not 'reverse'"):
        check_grads(np.sin, (X,), modes=("reverse",))


def test_numerical_derivatives_are_good_to_eleven_digits():
    g = numerical_grad(lambda p: (np.sin(p["a"]) * p["b"]).sum(), {"a": X, "b": 2.0})
    np.testing.assert_allclose(g["a"], 2 * np.cos(X), rtol=1e-11)
    np.testing.assert_allclose(g["b"], np.sin(X).sum(), rtol=1e-11)
    (d,) = directional(np.exp, [X], [np.ones_like(X)])
    np.testing.assert_allclose(d, np.exp(X), rtol=1e-11)


# ---- any scale ---------------------------------------------------------------------------------

C = np.array([1.0, 2.0, 3.0])
RIGHT = {
    "1/x at 1e-5": (lambda x: (1 / x).sum(), np.array([1e-5, -3e-5])),
    "log at 1e-8": (lambda x: np.log(x).sum(), np.array([1e-8])),
    "log at 1e-30": (lambda x: np.log(x).sum(), np.array([1e-30, 2.0])),
    "sqrt at 1e-12": (lambda x: np.sqrt(x).sum(), np.array([1e-12, 1.0])),
    "squares at 1e8": (lambda x: (x**2).sum(), np.array([1e8, -3e7])),
    "sin at 1e8": (lambda x: np.sin(x).sum(), np.array([1e8])),
    "near a pole": (lambda x: (1 / (x - 3)).sum(), np.array([3 + 1e-5])),
    "near an optimum": (lambda x: 1e6 + ((x - C) ** 2).sum(), C + 1e-6),
    "at an optimum": (lambda x: 1e6 + ((x - C) ** 2).sum(), C.copy()),
    "a sum that is always 1": (lambda x: mg.softmax(x).sum(), X),
    "tiny derivatives": (lambda x: 1e-20 * np.sin(x).sum(), X),
    "several scales": (lambda x: np.log(x[0]) + x[1] * 1e-3 + x[2] ** 2, np.array([1e-8, 1e6, 1])),
    "float32 inside": (lambda x: np.sin(x.astype(np.float32)).sum(), X),
    "steps out of the domain": (lambda x: (x * np.log(x)).sum(), np.array([1e-3, 0.2])),
    "a kink": (lambda x: mg.relu(x).sum(), np.array([0.0, 1e-7, -1e-7, 2.0])),
    "ties": (lambda x: np.max(x), np.ones(4)),
    "a convex and a concave kink": (
        lambda x: mg.relu(x[0]) - 3 * mg.relu(x[1]) + x[2] ** 2, np.array([0.0, 0.0, 1.0])
    ),
    "a staircase": (lambda x: np.round(x * 1e3).sum() + (x**2).sum(), X),
    "a constant": (lambda x: 3.0 + 0 * x.sum(), X),
    "no elements": (lambda x: x.sum(), np.zeros((0, 3))),
    "several outputs": (lambda x: {"a": 1e8 * x, "b": [x.sum() * 1e-8]}, X),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_right_derivatives_pass_at_any_scale(name):
    f, x = RIGHT[name]
    check_grads(f, (x,), order=1 if name in ("float32 inside", "ties") else 2)


def replaced(f, change):
    """`f`, with a backward pass by hand that changes the automatic cotangents of its arguments."""

    def backward(g, z, *xs):
        cotangents = [value_of(c).copy() for c in mg.vjp(f, *xs)[1](g)]
        change(*cotangents)
        return tuple(cotangents) if len(xs) > 1 else cotangents[0]

    return mg.custom_vjp(f, backward)


def doubled(at):
    def change(g, *_):
        g[at] *= 2

    return change


def dropped(at):
    def change(g, *_):
        g[at] = 0

    return change


def scaled(*factors):
    def change(*gs):
        for g, by in zip(gs, factors, strict=True):
            g *= by

    return change


WRONG = {
    "1/x at 1e-5": (*RIGHT["1/x at 1e-5"], doubled(0)),
    "log at 1e-30": (*RIGHT["log at 1e-30"], doubled(0)),
    "log at 1e-30, beside": (*RIGHT["log at 1e-30"], dropped(1)),
    "sqrt at 1e-12, beside": (*RIGHT["sqrt at 1e-12"], dropped(1)),
    "sin at 1e8": (*RIGHT["sin at 1e8"], doubled(0)),
    "squares at 1e8": (*RIGHT["squares at 1e8"], scaled(1 + 1e-4)),
    "near an optimum": (*RIGHT["near an optimum"], doubled(1)),
    "tiny derivatives": (*RIGHT["tiny derivatives"], doubled((0, 1))),
    "several scales, 0": (*RIGHT["several scales"], doubled(0)),
    "several scales, 1": (*RIGHT["several scales"], doubled(1)),
    "several scales, 2": (*RIGHT["several scales"], dropped(2)),
    "float32 inside": (*RIGHT["float32 inside"], scaled(1.01)),
    "a kink": (*RIGHT["a kink"], dropped(3)),
    "a kink, beyond": (lambda x: mg.relu(x).sum(), np.zeros(2), lambda g: g.__iadd__(1.2)),
    "behind two kinks": (*RIGHT["a convex and a concave kink"], dropped(2)),
    "a large constant": (lambda x: 1e9 + np.sin(x).sum(), X, doubled((1, 1))),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_derivatives_do_not_pass_at_any_scale(name):
    f, x, change = WRONG[name]
    with pytest.raises(AssertionError, match="order 1, mode rev"):
        check_grads(replaced(f, change), (x,), order=1)


@pytest.mark.parametrize("factors", [(1, 2), (2, 1), (0, 1), (1, 0)])
def test_no_argument_hides_behind_another(factors):
    f, args = lambda a, b: 1e4 * a.sum() + 1e-4 * np.sin(b).sum(), (X, np.ones(3))
    check_grads(replaced(f, scaled(1, 1)), args, order=1)
    with pytest.raises(AssertionError, match=rf"args\[{int(factors[0] == 1)}\]"):
        check_grads(replaced(f, scaled(*factors)), args, order=1)


def test_no_output_hides_behind_another():
    f = mg.custom_vjp(lambda x: (1e9 * x, x), lambda g, z, x: 1e9 * g[0] + 2 * g[1])
    with pytest.raises(AssertionError, match="order 1, mode rev"):
        check_grads(f, (X,), order=1)

    def pushed(x):  # whose forward mode leaves out the second output
        y, _ = mg.vjp(lambda x: x, x)
        return 1e9 * x, y + 0 * x

    frozen = mg.custom_vjp(lambda x: x * 1e-9, lambda g, z, x: g * 1e-9)
    check_grads(lambda x: (1e9 * x, frozen(x)), (X,), order=2)
    check_grads(pushed, (X,), order=1)


@given(st.integers(-12, 12), st.integers(-12, 6), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_scale_and_gain_do_not_matter(scale, gain, seed):
    rng = np.random.default_rng(seed)
    s, a, x = 10.0**scale, 10.0**gain, 10.0**scale * rng.uniform(0.5, 1.5, 3)

    def f(x):
        return a * (np.tanh(x / s) * np.log(x / s + 1)).sum()

    check_grads(f, (x,), order=1)
    at = int(rng.integers(3))
    with pytest.raises(AssertionError, match=rf"worst at args\[0\]\[{at}\]"):
        check_grads(replaced(f, doubled(at)), (x,), order=1, modes=("rev",))


@given(st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_differences_know_how_far_off_they_are(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=3) * 10.0 ** rng.integers(-6, 7)
    gain, offset = 10.0 ** rng.integers(-6, 7), rng.choice([0, 1, 1e6]) * rng.normal()
    v = rng.normal(size=3)
    f, slope = [
        (lambda x: np.sin(x), lambda x: np.cos(x)),
        (lambda x: x**3, lambda x: 3 * x**2),
        (lambda x: np.arctan(x), lambda x: 1 / (1 + x**2)),
        (lambda x: np.sqrt(1 + x**2), lambda x: x / np.sqrt(1 + x**2)),
    ][rng.integers(4)]
    (found,) = along(lambda x: gain * f(x) + offset, [x], [v])
    exact = gain * slope(x) * v
    assert (abs(found.value - exact) <= found.slack + 1e-12 * abs(exact)).all()
    assert (found.error <= 1e-4 * abs(exact) + 1e-9 * (abs(gain * f(x)) + abs(offset))).all()


# ---- what says nothing is refused ----------------------------------------------------------------


def test_what_is_not_a_function_of_its_arguments_is_refused():
    rng = np.random.default_rng(0)
    for run in (
        lambda: check_grads(lambda x: (x * rng.normal()).sum(), (X,)),
        lambda: check_grads(lambda x: x * rng.normal(), (np.ones(1),)),
        lambda: numerical_grad(lambda x: (x * rng.normal()).sum(), X),
        lambda: directional(lambda x: x * rng.normal(), [X], [X]),
    ):
        with pytest.raises(ValueError, match=r"when it is run again.*seed"):
            run()


@pytest.mark.parametrize(
    ("f", "x", "words"),
    [
        (np.log, np.array([0.0, -1.0]), "nan or infinity at the arguments"),
        (lambda x: np.sqrt(x) ** 3, np.zeros(2), "both sides"),
    ],
)
def test_outside_of_the_domain_there_is_nothing_to_check(f, x, words):
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=words):
        check_grads(f, (x,))


def test_arguments_that_would_check_nothing_are_refused():
    for options in ({"order": 0}, {"modes": ()}, {"rtol": np.nan}, {"rtol": np.inf}):
        with pytest.raises(ValueError, match="nothing would be checked"):
            check_grads(np.sin, (X,), **options)
    with pytest.raises(ValueError, match="args is empty"):
        check_grads(lambda: 1.0, ())
    with pytest.raises(ValueError, match="f returns nothing"):
        check_grads(lambda x: None, (X,))
    for lone in (X, 2.0, mg.tensor(X)):
        with pytest.raises(TypeError, match=r"check_grads\(f, \(x,\)\)"):
            check_grads(np.sin, lone)
    check_grads(np.sin, (X,), modes="rev")


def test_complex_numbers_are_refused():
    for run in (
        lambda: check_grads(lambda x: x, (np.array([1j]),)),
        lambda: check_grads(lambda x: value_of(x) * 1j, (X,)),
        lambda: numerical_grad(lambda x: x.sum(), np.array([1j])),
    ):
        with pytest.raises(TypeError, match="real"):
            run()


def test_whole_numbers_are_made_floats_and_indices_say_so():
    check_grads(lambda x, n: x**n, (X + 2, 3), order=1)
    with pytest.raises(IndexError) as caught:
        check_grads(lambda x, k: x[k].sum(), (X, np.array([0, 1])))
    assert "made floats of args[1]" in caught.value.__notes__[-1]


def test_a_numerical_gradient_is_that_of_one_number():
    with pytest.raises(ValueError, match=r"must return one number.*sizes \[6\]"):
        numerical_grad(np.sin, X)
    with pytest.raises(ValueError, match="not 2 outputs"):
        numerical_grad(lambda x: (x.sum(), 1.0), X)
    assert numerical_grad(lambda x: x.sum(), np.zeros((0, 2))).shape == (0, 2)
    g = numerical_grad(lambda p: np.log(p[0]) + p[1], [1e-8, 3])
    np.testing.assert_allclose(g, [1e8, 1], rtol=1e-9)
    assert np.isclose(numerical_grad(lambda x: 1e6 + (x - 1) ** 2, 1 + 1e-6), 2e-6, rtol=1e-3)


@pytest.mark.parametrize("off", [1e-2, 1e-3, 1e-4])
def test_a_kink_that_is_near_is_not_one_that_is_here(off):
    """Steps that reach across it see a slope half way; smaller ones see none."""
    relu = lambda x: np.sum(np.maximum(x, 0))
    x = np.array([-off, 2.0, off])
    np.testing.assert_allclose(numerical_grad(relu, x), [0, 1, 1], atol=1e-8)
    clip = lambda x: np.sum(np.clip(x, -1, 1))
    np.testing.assert_allclose(numerical_grad(clip, 1 + x * [-1, 0, 1]), [0, 0.5, 0], atol=1e-8)
    second = lambda x: np.sort(x)[1]
    x = np.array([0.5, 0.5 - off, -1.0, 2.0])
    np.testing.assert_allclose(numerical_grad(second, x), [0, 1, 0, 0], atol=1e-8)


def test_a_forgotten_mask_is_wrong_beside_the_kink():
    x = 1e-3 * np.array([-1.0, -2.0, 0.5, 3.0])
    forward = lambda p: np.sum(np.maximum(p["x"], 0))
    assert mg.compare_backward(forward, lambda p: {"x": 1.0 * (p["x"] > 0)}, {"x": x}).ok
    assert not mg.compare_backward(forward, lambda p: {"x": np.ones(4)}, {"x": x}).ok
    assert not mg.custom_vjp(lambda x: np.maximum(x, 0), lambda g, z, x: g).check(x).ok


def test_numerical_grad_runs_f_four_times_for_an_element():
    runs = []

    def f(x):
        runs.append(1)
        return np.sum(np.sin(x) * np.array([1.0, 1e-4, 1e-7, 1.0]))

    x = np.array([0.3, 1.0, 2.0, -0.5])
    g = mg.testing.numerical_grad(f, x)
    np.testing.assert_allclose(g, np.cos(x) * [1.0, 1e-4, 1e-7, 1.0], rtol=0, atol=1e-8)
    assert len(runs) == 2 + 4 * x.size


def test_numerical_grad_of_arrays_of_different_sizes_is_exact_in_each():
    p = {"small": np.array([0.5, 1.0]), "large": np.array([2.0])}
    g = mg.testing.numerical_grad(
        lambda p: np.sum(np.sin(p["small"])) * 1e-6 + np.sum(p["large"] ** 3), p
    )
    np.testing.assert_allclose(g["small"], 1e-6 * np.cos(p["small"]), rtol=1e-7)
    np.testing.assert_allclose(g["large"], [12.0], rtol=1e-8)
    kink = mg.testing.numerical_grad(lambda x: np.sum(np.abs(x)), np.array([0.0, 1e-5, -3.0]))
    np.testing.assert_allclose(kink, [0.0, 1.0, -1.0], atol=1e-8)
