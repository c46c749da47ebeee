"""Functions of each element: one line states forward, reverse and forward-mode rule."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from ..primitive import Case, elementwise, general

__all__ = [
    "abs", "add", "arctan", "clip", "cos", "cosh", "divide", "exp", "expm1", "leaky_relu", "log",
    "log1p", "log2", "log10", "maximum", "minimum", "multiply", "negative", "positive", "power",
    "reciprocal", "relu", "sigmoid", "sin", "sinh", "softplus", "sqrt", "square", "subtract", "tan",
    "tanh", "where",
]  # fmt: skip

positive_part = (0.3, 2.0)


def _lowered(y: Any) -> Any:
    """Give y - 1, but 1 where y is 0: then y * x**lowered is 0 at y = 0, whatever x is."""
    if isinstance(y, (int, float)):
        return y - 1 if y else 1
    return np.where(y == 0, 1, y - 1)


def _chosen(g: Any, z: Any, x: Any, other: Any) -> Any:
    """Give g where x is the chosen value z, half of it in a tie."""
    return np.where(x == other, 0.5 * g, np.where(x == z, g, 0))


def _power_samples(r: Any) -> list[Case]:
    x, y = r(2, 3, domain=positive_part), r(3)
    return [
        Case.of(x, y),
        Case.of(r(), r(1, domain=positive_part) * 0 + 3.0),
        *[Case.of(r(3), p) for p in (0, 1, 2, 3, 2.0)],
        *[Case.of(x, p) for p in (-1, 0.5, -1.5)],
        Case.of(2.0, y),
    ]


# fmt: off
add        = elementwise(np.add,        lambda g, z, x, y: g,                 lambda g, z, x, y: g)
subtract   = elementwise(np.subtract,   lambda g, z, x, y: g,                 lambda g, z, x, y: -g)
multiply   = elementwise(np.multiply,   lambda g, z, x, y: g * y,             lambda g, z, x, y: g * x)
divide     = elementwise(np.divide,     lambda g, z, x, y: g / y,             lambda g, z, x, y: -g * z / y,
                         domain=positive_part)
power      = elementwise(np.power,      lambda g, z, x, y: g * y * x ** _lowered(y),
                                        lambda g, z, x, y: g * z * np.log(np.where(x == 0, 1, x)),
                         forward=operator.pow, samples=_power_samples)
maximum    = elementwise(np.maximum,    lambda g, z, x, y: _chosen(g, z, x, y), lambda g, z, x, y: _chosen(g, z, y, x))
minimum    = elementwise(np.minimum,    lambda g, z, x, y: _chosen(g, z, x, y), lambda g, z, x, y: _chosen(g, z, y, x))
positive   = elementwise(np.positive,   lambda g, z, x: g)
negative   = elementwise(np.negative,   lambda g, z, x: -g)
abs        = elementwise(np.absolute,   lambda g, z, x: g * np.sign(x), name="abs")
reciprocal = elementwise(np.reciprocal, lambda g, z, x: -g * z * z, domain=positive_part)
square     = elementwise(np.square,     lambda g, z, x: 2 * g * x)
sqrt       = elementwise(np.sqrt,       lambda g, z, x: 0.5 * g / z, domain=positive_part)
exp        = elementwise(np.exp,        lambda g, z, x: g * z)
expm1      = elementwise(np.expm1,      lambda g, z, x: g * (z + 1))
log        = elementwise(np.log,        lambda g, z, x: g / x, domain=positive_part)
log1p      = elementwise(np.log1p,      lambda g, z, x: g / (x + 1), domain=positive_part)
log2       = elementwise(np.log2,       lambda g, z, x: g / (x * 0.6931471805599453), domain=positive_part)
log10      = elementwise(np.log10,      lambda g, z, x: g / (x * 2.302585092994046), domain=positive_part)
sin        = elementwise(np.sin,        lambda g, z, x: g * np.cos(x))
cos        = elementwise(np.cos,        lambda g, z, x: -g * np.sin(x))
tan        = elementwise(np.tan,        lambda g, z, x: g * (1 + z * z), domain=(-1.0, 1.0))
arctan     = elementwise(np.arctan,     lambda g, z, x: g / (1 + x * x))
sinh       = elementwise(np.sinh,       lambda g, z, x: g * np.cosh(x))
cosh       = elementwise(np.cosh,       lambda g, z, x: g * np.sinh(x))
tanh       = elementwise(np.tanh,       lambda g, z, x: g * (1 - z * z))
# fmt: on


def _sigmoid(x: Any) -> Any:
    """Logistic function 1 / (1 + exp(-x)), without overflow warnings: 0 and 1 far out."""
    with np.errstate(over="ignore"):
        e = np.exp(-x)
    e += 1
    return np.reciprocal(e)


def _softplus(x: Any) -> Any:
    """Smooth relu, log(1 + exp(x)), without overflow."""
    return np.logaddexp(x, 0)


def _relu(x: Any) -> Any:
    """Positive part of x; the gradient at 0 is 0 (that of `maximum(x, 0)` is 1/2)."""
    return np.maximum(x, 0)


def _leaky_relu(x: Any, *, slope: float = 0.01) -> Any:
    """Give x where x > 0 and slope * x elsewhere; the gradient at 0 is the slope."""
    return np.where(x > 0, x, slope * x)


def _clip(a: Any, *, a_min: Any = None, a_max: Any = None) -> Any:
    """Limit the values to [a_min, a_max], both constants; the gradient is 1 inside and at the bounds."""
    return np.clip(a, a_min, a_max)


def _where(condition: Any, x: Any, y: Any) -> Any:
    """Choose from x where the condition holds and from y elsewhere, with broadcasting.

    The untaken branch gets a gradient of 0, which its own rule may turn into NaN (0 * inf): write
    `where(x > 0, log(where(x > 0, x, 1)), 0)` instead of `where(x > 0, log(x), 0)`.
    """
    return np.where(condition, x, y)


def _where_samples(r: Any) -> list[Case]:
    c = r(3) > 0
    return [Case.of(c, r(3), r(3)), Case.of(c, r(2, 1), r()), Case.of(True, r(2), 0.0)]


def _clip_samples(r: Any) -> list[Case]:
    a = r(2, 3)
    return [Case.of(a, a_min=-1.0, a_max=1.0), Case.of(a, a_max=0.5), Case.of(a, a_min=0.0)]


sigmoid = elementwise(_sigmoid, lambda g, z, x: g * z * (1 - z), name="sigmoid")
softplus = elementwise(_softplus, lambda g, z, x: g * -np.expm1(-z), name="softplus")
relu = elementwise(_relu, lambda g, z, x: g * (x > 0), name="relu")
leaky_relu = elementwise(
    _leaky_relu, lambda g, z, x, slope=0.01: np.where(x > 0, g, slope * g), name="leaky_relu"
)
clip = general(
    _clip,
    key=np.clip,
    name="clip",
    pulls=[inside := lambda g, z, a, **bounds: g * (a == z)],
    pushes=[inside],
    samples=_clip_samples,
)
where = elementwise(
    np.where,
    None,
    lambda g, z, c, x, y: np.where(c, g, 0),
    lambda g, z, c, x, y: np.where(c, 0, g),
    samples=_where_samples,
)
