"""Arguments checked where they are given."""

from fractions import Fraction

import numpy as np
import pytest

import minigrad as mg
from minigrad.guard.errors import shown
from minigrad.nn.arguments import Number, flag, number, whole


@pytest.mark.parametrize(
    ("within", "good", "bad"),
    [
        ("(0, inf)", [1e-300, 1, 10**400, Fraction(1, 2)], [0, -1, np.inf, np.nan]),
        ("[0, inf)", [0, -0.0, 5], [-1e-300, np.inf, np.nan]),
        ("(0, inf]", [np.inf, 1], [0, -np.inf, np.nan]),
        ("[0, 1)", [0, 0.999], [1, -0.1, np.nan]),
        ("[0, 1]", [0, 1], [1.001, np.nan]),
    ],
)
def test_ranges_are_those_of_mathematics(within, good, bad):
    for value in good:
        assert number("f", "x", value, within) == value
    for value in bad:
        with pytest.raises(ValueError, match="f: x must be"):
            number("f", "x", value, within)
    for value in ("1", None, True, np.True_, 1j, np.ones(1), mg.tensor(1.0), [1.0]):
        with pytest.raises(TypeError, match="f: x must be a number, not"):
            number("f", "x", value, within)


def test_numbers_become_pythons():
    """NumPy's would decide the dtype of what they are multiplied with."""
    for value in (np.float64(0.5), np.float32(0.5), np.float16(0.5)):
        assert type(number("f", "x", value, "[0, 1)")) is float
    assert type(whole("f", "n", np.uint8(3))) is int


def test_whole_numbers_and_flags():
    assert [whole("f", "n", v, 0) for v in (0, np.int64(3))] == [0, 3]
    for bad in (2.0, np.float64(2), True, "2", None, np.array(2)):
        with pytest.raises(TypeError, match="f: n must be an integer, at least 1, not"):
            whole("f", "n", bad)
    with pytest.raises(ValueError, match="at least 1, not 0"):
        whole("f", "n", 0)
    assert flag("f", "b", np.False_) is False
    for bad in (0, 1, None, "no", np.ones(2)):
        with pytest.raises(TypeError, match="f: b must be True or False, not"):
            flag("f", "b", bad)


class Ball:
    size = Number("(0, inf)")
    ends = Number("[0, 1]", length=2)
    colour = Number("[0, 1]", optional=True)


def test_attributes_are_numbers_whenever_they_are_set():
    ball, other = Ball(), Ball()
    ball.size, other.size, ball.ends, ball.colour = 1, 2, [0, 1], None
    assert (ball.size, other.size, ball.ends, ball.colour) == (1, 2, (0, 1), None)
    assert Ball.size.within == "(0, inf)"
    for name, bad in (("size", -1), ("size", None), ("ends", (0, 2)), ("ends", 1), ("colour", 2)):
        with pytest.raises((ValueError, TypeError), match=f"Ball: {name}"):
            setattr(ball, name, bad)
    assert (ball.size, ball.ends, ball.colour) == (1, (0, 1), None)


def test_values_in_few_words():
    assert shown(mg.nn.Linear) == "the class Linear"
    assert shown(mg.nn.Linear(1, 1)) == "a module, Linear"
    assert shown(np.ones((2, 3))) == "an array of shape (2, 3)"
    assert shown(mg.tensor([1.0])) == "a tensor of shape (1,)"
    assert shown(np.float64(2)) == "2.0"
    assert len(shown("x" * 10_000)) < 80
