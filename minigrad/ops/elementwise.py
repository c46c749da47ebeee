"""Functions of each element: one line states forward, reverse and forward-mode rule."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from ..core.primitive import Case, Primitive, elementwise, general, operation
from ..core.tensor import OPS, Tensor, as_tensor

__all__ = [
    "abs", "add", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "cbrt",
    "clip", "copy", "copysign", "cos", "cosh", "deg2rad", "divide", "divmod", "elu", "erf", "erfc", "exp",
    "exp2", "expm1", "fabs", "float_power", "fmax", "fmin", "fmod", "gelu", "hypot", "ldexp", "leaky_relu",
    "log", "log1p", "log2", "log10", "log_sigmoid", "logaddexp", "logaddexp2", "maximum", "minimum",
    "multiply", "nan_to_num", "negative", "positive", "power", "rad2deg", "reciprocal", "relu",
    "remainder", "sigmoid", "silu", "sin", "sinc", "sinh", "softplus", "sqrt", "square", "subtract",
    "tan", "tanh", "where",
]  # fmt: skip

positive_part, open_unit = (0.3, 2.0), (-0.9, 0.9)


def _lowered(y: Any) -> Any:
    """Give y - 1, but 1 where y is 0: then y * x**lowered is 0 at y = 0, whatever x is."""
    if isinstance(y, (int, float)):
        return y - 1 if y else 1
    return np.where(y == 0, 1, y - 1)


def _log_base(x: Any) -> Any:
    """Give log(x), but 0 where x is 0: then z * log(x) is 0 at z = 0 too. A number stays a number."""
    if isinstance(x, (int, float)):
        return math.log(x or 1) if x >= 0 else math.nan
    return np.log(np.where(x == 0, 1, x))


def _chosen(g: Any, z: Any, x: Any, other: Any) -> Any:
    """Give g where x is the chosen value z, half of it in a tie."""
    return np.where(x == other, 0.5 * g, np.where(x == z, g, 0))


def _over(x: Any, r: Any) -> Any:
    """Give x / r, but 0 where r is 0: the slope of a distance, with its subgradient at the origin."""
    return x / np.where(r == 0, np.inf, r)


def _share(x: Any, z: Any) -> Any:
    """Give x - z for the share that x has in z = log(exp(x) + ...), without inf - inf."""
    dominant = x == z
    return np.where(dominant, 0, x) - np.where(dominant, 0, z)


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
remainder  = elementwise(np.remainder,  lambda g, z, x, y: g,                 lambda g, z, x, y: -g * np.floor_divide(x, y),
                         samples=_remainders)
fmod       = elementwise(np.fmod,       lambda g, z, x, y: g,                 lambda g, z, x, y: -g * np.trunc(x / y),
                         samples=_remainders)
arctan2    = elementwise(np.arctan2,    lambda g, z, y, x: g * _over(_over(x, r := np.hypot(x, y)), r),
                                        lambda g, z, y, x: -g * _over(_over(y, r := np.hypot(x, y)), r))
hypot      = elementwise(np.hypot,      lambda g, z, x, y: g * _over(x, z),   lambda g, z, x, y: g * _over(y, z))
logaddexp  = elementwise(np.logaddexp,  lambda g, z, x, y: g * (z > -np.inf) * np.exp(_share(x, z)),
                                        lambda g, z, x, y: g * (z > -np.inf) * np.exp(_share(y, z)))
logaddexp2 = elementwise(np.logaddexp2, lambda g, z, x, y: g * (z > -np.inf) * np.exp2(_share(x, z)),
                                        lambda g, z, x, y: g * (z > -np.inf) * np.exp2(_share(y, z)))
copysign   = elementwise(np.copysign,   lambda g, z, x, y: g * np.sign(x) * np.sign(z), None, samples=_signs)
ldexp      = elementwise(np.ldexp,      lambda g, z, x, n: np.ldexp(g, n), None,
                         samples=lambda r: [Case.of(r(2, 3), np.array([-1, 0, 2])), Case.of(r(), 3)])
positive   = elementwise(np.positive,   lambda g, z, x: g)
conjugate  = elementwise(np.conjugate,  lambda g, z, x: g)  # all is real
negative   = elementwise(np.negative,   lambda g, z, x: -g)
abs        = elementwise(np.absolute,   lambda g, z, x: g * np.sign(x), name="abs")
fabs       = elementwise(np.fabs,       lambda g, z, x: g * np.sign(x))
reciprocal = elementwise(np.reciprocal, lambda g, z, x: -g * z * z, domain=positive_part)
square     = elementwise(np.square,     lambda g, z, x: 2 * g * x)
sqrt       = elementwise(np.sqrt,       lambda g, z, x: 0.5 * g / z, domain=positive_part)
cbrt       = elementwise(np.cbrt,       lambda g, z, x: g / (3 * z * z), domain=positive_part)
deg2rad    = elementwise(np.deg2rad,    lambda g, z, x: np.deg2rad(g))
rad2deg    = elementwise(np.rad2deg,    lambda g, z, x: np.rad2deg(g))
exp        = elementwise(np.exp,        lambda g, z, x: g * z)
exp2       = elementwise(np.exp2,       lambda g, z, x: g * z * 0.6931471805599453)
expm1      = elementwise(np.expm1,      lambda g, z, x: g * (z + 1))
log        = elementwise(np.log,        lambda g, z, x: g / x, domain=positive_part)
log1p      = elementwise(np.log1p,      lambda g, z, x: g / (x + 1), domain=positive_part)
log2       = elementwise(np.log2,       lambda g, z, x: g / (x * 0.6931471805599453), domain=positive_part)
log10      = elementwise(np.log10,      lambda g, z, x: g / (x * 2.302585092994046), domain=positive_part)
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


def _sigmoid(x: Any) -> Any:
    """Logistic function e / (e + 1) with e = exp(x); it is 1 long before e overflows."""
    cap, one = _CONSTANTS.get(getattr(x, "dtype", None), (40, 1))
    e = np.exp(np.minimum(x, cap))
    return e / (e + one)


def _softplus(x: Any) -> Any:
    """Smooth relu, log(1 + exp(x)), without overflow."""
    return np.logaddexp(x, 0)


def _relu(x: Any) -> Any:
    """Positive part of x; the gradient at 0 is 0 (that of `maximum(x, 0)` is 1/2)."""
    return np.maximum(x, 0)


def _leaky_relu(x: Any, *, slope: float = 0.01) -> Any:
    """Give x where x > 0 and slope * x elsewhere; the gradient at 0 is the slope."""
    return np.where(x > 0, x, slope * x)


def _elu(x: Any, *, alpha: float = 1.0) -> Any:
    """Give x where x > 0 and alpha * (exp(x) - 1) elsewhere; the gradient at 0 is alpha."""
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _silu(x: Any) -> Any:
    """Give x * sigmoid(x), also called swish."""
    return x * _sigmoid(x)


def _log_sigmoid(x: Any) -> Any:
    """Logarithm of the logistic function, without forming it."""
    return -np.logaddexp(-x, 0)


def _gelu(x: Any) -> Any:
    """Give x times the normal distribution function at x, exactly (Hendrycks and Gimpel 2016)."""
    return x * (0.5 * _erfc(x * -(0.5**0.5)))


# Coefficients, highest power first: W. J. Cody, Rational Chebyshev approximations for the error
# function, Mathematics of Computation 23 (1969), 631-637. For erf(x)/x in x^2 up to 0.46875, for
# exp(x^2) erfc(x) in x up to 4, and for its correction in 1/x^2 beyond.
_NEAR = (
    (1.85777706184603153e-1, 3.16112374387056560, 1.13864154151050156e2, 3.77485237685302021e2,
     3.20937758913846947e3),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3,
     2.84423683343917062e3),
)  # fmt: skip
_MIDDLE = (
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594, 6.61191906371416295e1,
     2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
     1.23033935479799725e3),
    (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2,
     1.62138957456669019e3, 3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3,
     1.23033935480374942e3),
)  # fmt: skip
_FAR = (
    (1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
     1.60837851487422766e-2, 6.58749161529837803e-4),
    (1.0, 2.56852019228982242, 1.87295284992346725, 5.27905102951428412e-1,
     6.05183413124413191e-2, 2.33520497626869185e-3),
)  # fmt: skip


def _ratio(x: Any, coefficients: tuple[tuple[float, ...], tuple[float, ...]]) -> Any:
    """Divide two polynomials, by Horner's rule."""
    top, bottom = coefficients[0][0], coefficients[1][0]
    for a, b in zip(coefficients[0][1:], coefficients[1][1:], strict=True):
        top, bottom = top * x + a, bottom * x + b
    return top / bottom


def _complement(y: Any) -> Any:
    """Error function's complement for y > 0.46875, with the small relative error of exp."""
    out, far = np.empty_like(y), y > 4
    out[~far] = _ratio(y[~far], _MIDDLE)
    v = 1 / y[far]
    out[far] = v * (0.5641895835477563 - v * v * _ratio(v * v, _FAR))
    y = np.minimum(y, 30)
    q = np.trunc(y * 16) / 16  # q * q is exact, so that the exponent keeps its last digits
    return out * np.exp(-q * q) * np.exp((q - y) * (q + y))


def _by_size(x: Any, near: Any, tail: Any) -> Any:
    """Compute near(x) where abs(x) <= 0.46875, and elsewhere tail(x, erfc(abs(x)))."""
    x = np.asarray(x)
    wide = x.astype(np.promote_types(x.dtype, np.float32)).reshape(-1)
    out, is_near = np.empty_like(wide), np.abs(wide) <= 0.46875
    out[is_near] = near(wide[is_near])
    outer = wide[~is_near]
    out[~is_near] = tail(outer, _complement(np.abs(outer)))
    return out.reshape(x.shape).astype(x.dtype if x.dtype.kind == "f" else out.dtype, copy=False)


def _erf(x: Any) -> Any:
    """Error function, to about 1e-16."""
    return _by_size(x, lambda x: x * _ratio(x * x, _NEAR), lambda x, c: np.sign(x) * (1 - c))


def _erfc(x: Any) -> Any:
    """Complement of the error function, 1 - erf(x), without cancellation for large x."""
    return _by_size(
        x, lambda x: 1 - x * _ratio(x * x, _NEAR), lambda x, c: np.where(x < 0, 2 - c, c)
    )


def _clip(a: Any, *, a_min: Any = None, a_max: Any = None, min: Any = None, max: Any = None) -> Any:
    """Limit the values to [a_min, a_max], both constants; the gradient is 1 inside and at the bounds."""
    return np.clip(a, a_min if min is None else min, a_max if max is None else max)


def _where(condition: Any, x: Any, y: Any) -> Any:
    """Choose from x where the condition holds and from y elsewhere, with broadcasting.

    The untaken branch gets a gradient of 0, which its own rule may turn into NaN (0 * inf): write
    `where(x > 0, log(where(x > 0, x, 1)), 0)` instead of `where(x > 0, log(x), 0)`.
    """
    return np.where(condition, x, y)


def _nan_to_num(
    x: Any, *, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None
) -> Any:
    """Replace NaN and infinities by numbers, where the gradient is then 0."""
    return np.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)


def _sinc(x: Any, *, n: int = 0) -> Any:
    """Derivative of order n of sinc(x) = sin(pi x) / (pi x); of order 0, the function itself.

    As x sinc(x) is s(x) = sin(pi x) / pi, the derivatives obey x f[n] = s[n] - n f[n-1]. Near 0
    this cancels, and the power series is summed instead.
    """
    if not n:  # NumPy before 2.4 gives NaN for 0 in float16
        return np.where(x == 0, 1, np.sinc(np.where(x == 0, 1, x)))
    near = np.abs(x) < 0.25 * (n + 1)
    u, v = np.where(near, 1, x), np.where(near, x, 0)
    far, wave = np.sinc(u), (np.sin(math.pi * u), np.cos(math.pi * u))
    for k in range(1, n + 1):
        far = ((-1) ** (k // 2) * math.pi ** (k - 1) * wave[k % 2] - k * far) / u
    series = 0 * v
    for k in reversed(range((n + 1) // 2, (n + 1) // 2 + 14 + n)):
        series = series * v * v + (-1) ** k * math.pi ** (2 * k) / (
            (2 * k + 1) * math.factorial(2 * k - n)
        )
    return np.where(near, series * v ** (n % 2), far)


def _where_samples(r: Any) -> list[Case]:
    c = r(3) > 0
    return [Case.of(c, r(3), r(3)), Case.of(c, r(2, 1), r()), Case.of(True, r(2), 0.0)]


def _clip_samples(r: Any) -> list[Case]:
    a = r(2, 3)
    return [Case.of(a, a_min=-1.0, a_max=1.0), Case.of(a, a_max=0.5), Case.of(a, a_min=0.0)]


sigmoid = elementwise(_sigmoid, lambda g, z, x: (gz := g * z) - gz * z, name="sigmoid")
softplus = elementwise(_softplus, lambda g, z, x: g * -np.expm1(-z), name="softplus")
relu = elementwise(_relu, lambda g, z, x: g * (x > 0), name="relu")
leaky_relu = elementwise(
    _leaky_relu, lambda g, z, x, slope=0.01: np.where(x > 0, g, slope * g), name="leaky_relu"
)
elu = elementwise(_elu, lambda g, z, x, alpha=1.0: np.where(x > 0, g, g * (z + alpha)), name="elu")
silu = elementwise(_silu, lambda g, z, x: g * (z + sigmoid.like_numpy(x) * (1 - z)), name="silu")
log_sigmoid = elementwise(_log_sigmoid, lambda g, z, x: g * -np.expm1(z), name="log_sigmoid")
erf = elementwise(_erf, lambda g, z, x: g * (1.1283791670955126 * np.exp(-x * x)), name="erf")
erfc = elementwise(_erfc, lambda g, z, x: g * (-1.1283791670955126 * np.exp(-x * x)), name="erfc")
gelu = elementwise(
    _gelu,
    lambda g, z, x: (
        g * (0.5 * erfc.like_numpy(x * -(0.5**0.5)) + 0.3989422804014327 * x * np.exp(-0.5 * x * x))
    ),
    name="gelu",
)
sinc: Primitive = elementwise(
    np.sinc,
    lambda g, z, x, n=0: g * sinc.like_numpy(x, n=n + 1),
    forward=_sinc,
    samples=lambda r: [
        Case.of(r(2, 3, domain=(-3.0, 3.0))),
        Case.of(np.array([0.0, 1e-3, -0.2, 0.5, 1.0])),
        *[Case.of(r(), n=n) for n in (1, 2, 3)],
    ],
)
nan_to_num = elementwise(
    np.nan_to_num,
    lambda g, z, x, **replacements: g * np.isfinite(x),
    forward=_nan_to_num,
    samples=lambda r: [Case.of(r(2, 3)), Case.of(r(2), nan=1.0, posinf=2.0, neginf=-2.0)],
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
    forward=_where,
    samples=_where_samples,
)


def _copy(a: Any) -> Any:
    return a.copy()


copy = elementwise(np.copy, lambda g, z, a: g, forward=_copy)


@operation(np.real, lambda r: [Case.of(r(2, 3))])
def _real(val: Any) -> Tensor:
    return copy(val)


@operation(np.real_if_close, lambda r: [Case.of(r(2, 3))])
def _real_if_close(a: Any) -> Tensor:
    return copy(a)


@operation(np.divmod, _remainders)
def divmod(x1: Any, x2: Any) -> tuple[Tensor, Tensor]:
    """Return the whole quotient, whose derivatives are 0, and the remainder."""
    return as_tensor(OPS[np.floor_divide](x1, x2)), remainder(x1, x2)
