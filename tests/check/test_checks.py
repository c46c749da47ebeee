"""check_grads and numerical derivatives: what they find, and how they say it."""

import re

import numpy as np
import pytest

import minigrad as mg
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
    frozen = mg.custom_vjp(lambda x: x**3, lambda g, z, x: g * 3 * x * mg.tensor(x).detach())
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
