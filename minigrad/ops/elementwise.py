"""Functions of each element: one line states forward, reverse and forward-mode rule."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from ..core.dtypes import Array
from ..core.primitive import Case
from ..core.tensor import OPS, ArrayLike, Tensor, as_tensor, op
from .families import elementwise, operation

__all__ = [
    "abs", "add", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "cbrt",
    "clip", "copy", "copysign", "cos", "cosh", "deg2rad", "divide", "divmod", "elu", "exp", "exp2",
    "expm1", "fabs", "float_power", "fmax", "fmin", "fmod", "hypot", "ldexp", "leaky_relu",
    "log", "log1p", "log2", "log10", "log_sigmoid", "logaddexp", "logaddexp2", "maximum", "minimum",
    "multiply", "nan_to_num", "negative", "positive", "power", "rad2deg", "reciprocal", "relu",
    "remainder", "sigmoid", "silu", "sin", "sinh", "softplus", "sqrt", "square", "subtract",
    "tan", "tanh", "where",
]  # fmt: skip

positive_part, open_unit = (0.3, 2.0), (-0.9, 0.9)


def _lowered(y: Any) -> Any:
    """Return y - 1, but 1 where y is 0: then y * x**lowered is 0 at y = 0, whatever x is."""
    if isinstance(y, (int, float)):
        return y - 1 if y else 1
    return np.where(y == 0, 1, y - 1)


def _log_base(x: Any) -> Any:
    """Return log(x), but 0 where x is 0: then z * log(x) is 0 at z = 0 too. Numbers stay numbers."""
    if isinstance(x, (int, float)):
        return math.log(x or 1) if x >= 0 else math.nan
    return np.log(np.where(x == 0, 1, x))


def _chosen(g: Any, z: Any, x: Any, other: Any) -> Any:
    """Return g, half of it in a tie, and 0 where the other one is chosen; NaN, chosen, passes g."""
    return np.where(x == other, 0.5 * g, np.where(other == z, 0, g))


def _over(x: Any, r: Any) -> Any:
    """Return x / r, but 0 where r is 0: the slope of a distance, a subgradient at its origin.

    There the slope jumps, so its own derivative is NaN: a second derivative is never a wrong number.
    """
    return x / np.where(r == 0, np.inf, r)


def _side(x: Any) -> Any:
    """Return the sign of x, the slope of its absolute value; the derivative where it jumps is NaN."""
    return np.sign(x)


def _share(x: Any, y: Any, scale: float = 1.0) -> Any:
    """Return exp(x) / (exp(x) + exp(y)), of the differences: x and y may be large, and equal.

    Of two that are -inf it is 0, as in `logsumexp`; `scale` is the logarithm of another base.
    """
    alike = np.isinf(x) & (x == y)  # where x - y would be NaN
    difference = np.where(alike, 0, x) - np.where(alike, 0, y)
    return sigmoid.like_numpy(scale * difference) * ((x > -np.inf) | (y > -np.inf))


def _power_samples(r: Any) -> list[Case]:
    x, y = r(2, 3, domain=positive_part), r(3)
    return [
        Case.of(x, y),
        Case.of(r(), r(1, domain=positive_part) * 0 + 3.0),
        *[Case.of(r(3), p) for p in (0, 1, 2, 3, 2.0)],
        *[Case.of(x, p) for p in (-1, 0.5, -1.5)],
        Case.of(2.0, y),
    ]


def _signs(r: Any) -> list[Case]:
    return [Case.of(r(2, 3), r(3)), Case.of(r(3, 2).T, -0.0), Case.of(r(6)[::2], r())]


def _remainders(r: Any) -> list[Case]:
    """Quotients of 1 to 2, away from the jumps."""
    x, y = r(3, 2, domain=(3.6, 4.9)), r(2, domain=(2.5, 3.5))
    return [Case.of(x, y), Case.of(-x, y), Case.of(x.T, r(1, domain=(-3.5, -2.5))), Case.of(4.0, y)]


_power_rules = (
    lambda g, z, x, y: g * y * x ** _lowered(y),
    lambda g, z, x, y: g * z * _log_base(x),
)
_extreme_rules = (lambda g, z, x, y: _chosen(g, z, x, y), lambda g, z, x, y: _chosen(g, z, y, x))

# fmt: off
add        = elementwise(np.add,        lambda g, z, x, y: g,                 lambda g, z, x, y: g)
subtract   = elementwise(np.subtract,   lambda g, z, x, y: g,                 lambda g, z, x, y: -g)
multiply   = elementwise(np.multiply,   lambda g, z, x, y: g * y,             lambda g, z, x, y: g * x)
divide     = elementwise(np.divide,     lambda g, z, x, y: g / y,             lambda g, z, x, y: -g * z / y,
                         domain=positive_part)
power      = elementwise(np.power,      *_power_rules, forward=operator.pow, samples=_power_samples)
float_power = elementwise(np.float_power, *_power_rules, samples=_power_samples)  # float64, as NumPy's
maximum    = elementwise(np.maximum,    *_extreme_rules)
minimum    = elementwise(np.minimum,    *_extreme_rules)
fmax       = elementwise(np.fmax,       *_extreme_rules)
fmin       = elementwise(np.fmin,       *_extreme_rules)
over       = elementwise(_over,         lambda g, z, x, r: g / np.where(r == 0, np.nan, r),
                                        lambda g, z, x, r: -g * z / np.where(r == 0, np.nan, r),
                         domain=positive_part)
side       = elementwise(_side,         lambda g, z, x: g * (0 / np.where(x == 0, np.nan, x)))
remainder  = elementwise(np.remainder,  lambda g, z, x, y: g,                 lambda g, z, x, y: -g * np.floor_divide(x, y),
                         samples=_remainders)
fmod       = elementwise(np.fmod,       lambda g, z, x, y: g,                 lambda g, z, x, y: -g * np.rint((x - z) / y),
                         samples=_remainders)
arctan2    = elementwise(np.arctan2,    lambda g, z, y, x: g * over.like_numpy(over.like_numpy(x, r := np.hypot(x, y)), r),
                                        lambda g, z, y, x: -g * over.like_numpy(over.like_numpy(y, r := np.hypot(x, y)), r))
hypot      = elementwise(np.hypot,      lambda g, z, x, y: g * over.like_numpy(x, z),
                                        lambda g, z, x, y: g * over.like_numpy(y, z))
logaddexp  = elementwise(np.logaddexp,  lambda g, z, x, y: g * _share(x, y),
                                        lambda g, z, x, y: g * _share(y, x))
logaddexp2 = elementwise(np.logaddexp2, lambda g, z, x, y: g * _share(x, y, 0.6931471805599453),
                                        lambda g, z, x, y: g * _share(y, x, 0.6931471805599453))
copysign   = elementwise(np.copysign,   lambda g, z, x, y: g * side.like_numpy(x) * np.sign(z), None, samples=_signs)
ldexp      = elementwise(np.ldexp,      lambda g, z, x, n: np.ldexp(g, n), None,
                         samples=lambda r: [Case.of(r(2, 3), np.array([-1, 0, 2])), Case.of(r(), 3)])
positive   = elementwise(np.positive,   lambda g, z, x: g)
conjugate  = elementwise(np.conjugate,  lambda g, z, x: g)  # all is real
negative   = elementwise(np.negative,   lambda g, z, x: -g)
abs        = elementwise(np.absolute,   lambda g, z, x: g * side.like_numpy(x), name="abs")
fabs       = elementwise(np.fabs,       lambda g, z, x: g * side.like_numpy(x))
reciprocal = elementwise(np.reciprocal, lambda g, z, x: -g * z * z, domain=positive_part)
square     = elementwise(np.square,     lambda g, z, x: 2 * g * x)
sqrt       = elementwise(np.sqrt,       lambda g, z, x: 0.5 * g / z, domain=positive_part)
cbrt       = elementwise(np.cbrt,       lambda g, z, x: g / (3 * z * z), domain=positive_part)
deg2rad    = elementwise(np.deg2rad,    lambda g, z, x: np.deg2rad(g))
rad2deg    = elementwise(np.rad2deg,    lambda g, z, x: np.rad2deg(g))
exp        = elementwise(np.exp,        lambda g, z, x: g * z)
exp2       = elementwise(np.exp2,       lambda g, z, x: g * z * 0.6931471805599453)
expm1      = elementwise(np.expm1,      lambda g, z, x: g * np.exp(x))
log        = elementwise(np.log,        lambda g, z, x: g / x, domain=positive_part)
log1p      = elementwise(np.log1p,      lambda g, z, x: g / (x + 1), domain=positive_part)
log2       = elementwise(np.log2,       lambda g, z, x: g * 1.4426950408889634 / x, domain=positive_part)
log10      = elementwise(np.log10,      lambda g, z, x: g * 0.4342944819032518 / x, domain=positive_part)
sin        = elementwise(np.sin,        lambda g, z, x: g * np.cos(x))
cos        = elementwise(np.cos,        lambda g, z, x: -g * np.sin(x))
tan        = elementwise(np.tan,        lambda g, z, x: g * (1 + z * z), domain=(-1.0, 1.0))
arcsin     = elementwise(np.arcsin,     lambda g, z, x: g / np.sqrt(1 - x * x), domain=open_unit)
arccos     = elementwise(np.arccos,     lambda g, z, x: -g / np.sqrt(1 - x * x), domain=open_unit)
arctan     = elementwise(np.arctan,     lambda g, z, x: g / (1 + x * x))
sinh       = elementwise(np.sinh,       lambda g, z, x: g * np.cosh(x))
cosh       = elementwise(np.cosh,       lambda g, z, x: g * np.sinh(x))
arcsinh    = elementwise(np.arcsinh,    lambda g, z, x: g / np.hypot(x, 1))
arccosh    = elementwise(np.arccosh,    lambda g, z, x: g / (np.sqrt(x - 1) * np.sqrt(x + 1)), domain=(1.3, 3.0))
arctanh    = elementwise(np.arctanh,    lambda g, z, x: g / ((1 - x) * (1 + x)), domain=open_unit)
tanh       = elementwise(np.tanh,       lambda g, z, x: g - g * z * z)
OPS[np.radians], OPS[np.degrees] = deg2rad, rad2deg
# fmt: on


# Two numbers as arrays, which ufuncs take in half the time that a Python number costs them.
_CONSTANTS: dict[Any, Any] = {
    np.dtype(kind): (np.array(11 if kind is np.float16 else 40, kind), np.ones((), kind))
    for kind in (np.float16, np.float32, np.float64)
}


def _sigmoid(x: Array) -> Any:
    """Logistic function e / (e + 1) with e = exp(x); it is 1 long before e overflows."""
    cap, one = _CONSTANTS.get(getattr(x, "dtype", None), (80, 1))
    e = np.exp(np.minimum(x, cap))
    return e / (e + one)


def _softplus(x: Array) -> Any:
    """Smooth relu, log(1 + exp(x)), without overflow."""
    return np.logaddexp(x, 0)


def _relu(x: Array) -> Any:
    """Positive part of x; the gradient at 0 is 0 (that of `maximum(x, 0)` is 1/2)."""
    return np.maximum(x, 0)


def _leaky(x: Any, g: Any, slope: float = 0.01, negative_slope: float | None = None) -> Any:
    """Return g where x > 0, and slope * g elsewhere."""
    if negative_slope is not None:
        if slope != 0.01:
            raise TypeError("give the slope by one of its names, slope or negative_slope")
        slope = negative_slope
    return np.where(x > 0, g, slope * g)


def _leaky_relu(x: Array, *, slope: float = 0.01, negative_slope: float | None = None) -> Any:
    """Return x where x > 0 and slope * x elsewhere; the gradient at 0 is the slope.

    `negative_slope` is the same, under the name that PyTorch and JAX have.
    """
    return _leaky(x, x, slope, negative_slope)


def _elu(x: Array, *, alpha: float = 1.0) -> Any:
    """Return x where x > 0 and alpha * (exp(x) - 1) elsewhere; the gradient at 0 is alpha."""
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _silu(x: Array) -> Any:
    """Return x * sigmoid(x), also called swish."""
    return x * _sigmoid(x)


def _log_sigmoid(x: Array) -> Any:
    """Logarithm of the logistic function, computed without it."""
    return -np.logaddexp(-x, 0)


def _nan_to_num(
    x: Array,
    *,
    copy: bool = True,
    nan: float = 0.0,
    posinf: float | None = None,
    neginf: float | None = None,
) -> Any:
    """Replace NaN and infinities by numbers, where the gradient is then 0."""
    return np.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)


sigmoid = elementwise(_sigmoid, lambda g, z, x: (gz := g * z) - gz * z)
softplus = elementwise(_softplus, lambda g, z, x: g * -np.expm1(-z))
relu = elementwise(_relu, lambda g, z, x: g * ~(x <= 0))  # NaN passes
leaky_relu = elementwise(_leaky_relu, lambda g, z, x, **slope: _leaky(x, g, **slope))
elu = elementwise(
    _elu,
    lambda g, z, x, alpha=1.0: np.where(x > 0, g, g * (alpha * np.exp(np.where(x > 0, 0, x)))),
)
silu = elementwise(_silu, lambda g, z, x: g * ((s := sigmoid.like_numpy(x)) + z * (1 - s)))
log_sigmoid = elementwise(_log_sigmoid, lambda g, z, x: g * -np.expm1(z))
nan_to_num = elementwise(
    np.nan_to_num,
    lambda g, z, x, **replacements: g * np.isfinite(x),
    forward=_nan_to_num,
    samples=lambda r: [Case.of(r(2, 3)), Case.of(r(2), nan=1.0, posinf=2.0, neginf=-2.0)],
)


# ---- a choice of one of several ------------------------------------------------------------------


def _clip(a: Array, a_min: Array, a_max: Array) -> Any:
    return np.clip(a, a_min, a_max)


clipped = elementwise(
    _clip,
    lambda g, z, a, low, high: g * ~((a < low) | (a > high)),  # NaN passes
    lambda g, z, a, low, high: g * ~((a >= low) | (low > high)),
    lambda g, z, a, low, high: g * ~((a <= high) & ~(low > high)),
    samples=lambda r: [],
)


def _clips(r: Any) -> list[Case]:
    a, low, high = r(2, 3), r(3, domain=(-1.5, -0.1)), r(2, 1, domain=(0.1, 1.5))
    return [
        Case.of(a, low, high), Case.of(a, high, low), Case.of(a, -1.0, 1.0), Case.of(r(), r(3), 9.0),
        Case.of(a, None, 0.5), Case.of(a, a_min=0.0), Case.of(a, min=-0.5, max=1.0), Case.of(a, None, None),
    ]  # fmt: skip


@operation(np.clip, _clips)
def clip(
    a: ArrayLike,
    a_min: ArrayLike | None = None,
    a_max: ArrayLike | None = None,
    *,
    min: ArrayLike | None = None,
    max: ArrayLike | None = None,
) -> Tensor:
    """Limit the values to [a_min, a_max], where None is no bound; `min` and `max` are the same.

    The gradient is that of `a` inside and at the bounds, and of a bound beyond it.
    """
    low, high = a_min if min is None else min, a_max if max is None else max
    t = as_tensor(a)
    ends: tuple[Any, Any] = -np.inf, np.inf
    if t.dtype.kind != "f":
        ends = (0, 1) if t.dtype == bool else (np.iinfo(t.dtype).min, np.iinfo(t.dtype).max)
    return clipped(t, ends[0] if low is None else low, ends[1] if high is None else high)


def _where(condition: Array, x: Array, y: Array) -> Any:
    return np.where(condition, x, y)


selected = elementwise(
    _where,
    None,
    lambda g, z, c, x, y: np.where(c, g, 0),
    lambda g, z, c, x, y: np.where(c, 0, g),
    samples=lambda r: [],
)


@operation(
    np.where,
    lambda r: [
        *[Case.of(c, x, y) for c in [r(3) > 0] for x, y in ((r(3), r(3)), (r(2, 1), r()))],
        Case.of(True, r(2), 0.0),
    ],
)
def where(condition: ArrayLike, x: ArrayLike | None = None, y: ArrayLike | None = None) -> Any:
    """Choose from x where the condition holds and from y elsewhere, with broadcasting.

    The untaken branch gets a gradient of 0, which its own rule may turn into NaN (0 * inf): write
    `where(x > 0, log(where(x > 0, x, 1)), 0)` instead of `where(x > 0, log(x), 0)`.

    With the condition alone, return the indices where it is not 0, as `nonzero` does.
    """
    if x is None and y is None:
        return np.nonzero(condition)  # type: ignore[arg-type]
    if x is None or y is None:
        raise ValueError("where: give both x and y to choose from, or neither")
    return selected(condition, x, y)


# ---- copies --------------------------------------------------------------------------------------


def _copy(a: Array) -> Any:
    return a.copy()


copy = elementwise(np.copy, lambda g, z, a: g, forward=_copy)


@operation(np.real, lambda r: [Case.of(r(2, 3))])
def _real(val: ArrayLike) -> Tensor:
    return copy(val)


@operation(np.real_if_close, lambda r: [Case.of(r(2, 3))])
def _real_if_close(a: ArrayLike) -> Tensor:
    return copy(a)


@operation(np.divmod, _remainders)
def divmod(x1: ArrayLike, x2: ArrayLike) -> tuple[Tensor, Tensor]:
    """Return the whole quotient, whose derivatives are 0, and the remainder."""
    return as_tensor(op(np.floor_divide)(x1, x2)), remainder(x1, x2)
