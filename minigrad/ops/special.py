"""Special functions of each element, by their series and approximations: erf, gelu, sinc."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.dtypes import Array
from ..core.primitive import Case, Primitive
from .families import elementwise

__all__ = ["erf", "erfc", "gelu", "sinc"]


def _gelu(x: Array) -> Any:
    """Return x times the normal distribution function at x, exactly (Hendrycks and Gimpel 2016)."""
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
    """Return the quotient of two polynomials, by Horner's rule."""
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
    """Return near(x) where abs(x) <= 0.46875, and elsewhere tail(x, erfc(abs(x)))."""
    x = np.asarray(x)
    wide = x.astype(np.promote_types(x.dtype, np.float32)).reshape(-1)
    out, is_near = np.empty_like(wide), np.abs(wide) <= 0.46875
    out[is_near] = near(wide[is_near])
    outer = wide[~is_near]
    out[~is_near] = tail(outer, _complement(np.abs(outer)))
    return out.reshape(x.shape).astype(x.dtype if x.dtype.kind == "f" else out.dtype, copy=False)


def _erf(x: Array) -> Any:
    """Error function, to about 1e-16."""
    return _by_size(x, lambda x: x * _ratio(x * x, _NEAR), lambda x, c: np.sign(x) * (1 - c))


def _erfc(x: Array) -> Any:
    """Complement of the error function, 1 - erf(x), without cancellation for large x."""
    return _by_size(
        x, lambda x: 1 - x * _ratio(x * x, _NEAR), lambda x, c: np.where(x < 0, 2 - c, c)
    )


def _sinc(x: Array, *, n: int = 0) -> Any:
    """Derivative of order n of sinc(x) = sin(pi x) / (pi x); of order 0, the function itself.

    As x sinc(x) is s(x) = sin(pi x) / pi, the derivatives obey x f[n] = s[n] - n f[n-1]. Near 0
    this cancels, and the power series is summed instead.
    """
    near = np.abs(x) < 0.25 * (n + 1) if n else x == 0
    u, v = np.where(near, 1, x), np.where(near, x, 0)
    half_turns = np.round(u)  # left out, as long as pi u would be exact without them
    turn, sign = math.pi * (u - half_turns), 1 - 2 * (half_turns % 2)
    wave = sign * np.sin(turn), sign * np.cos(turn)
    far = wave[0] / u / math.pi
    if not n:
        return np.where(near, 1, far)
    for k in range(1, n + 1):
        far = ((-1) ** (k // 2) * math.pi ** (k - 1) * wave[k % 2] - k * far) / u
    series = 0 * v
    for k in reversed(range((n + 1) // 2, (n + 1) // 2 + 14 + n)):
        series = series * v * v + (-1) ** k * math.pi ** (2 * k) / (
            (2 * k + 1) * math.factorial(2 * k - n)
        )
    return np.where(near, series * v ** (n % 2), far)


erf = elementwise(_erf, lambda g, z, x: g * (1.1283791670955126 * np.exp(-x * x)))
erfc = elementwise(_erfc, lambda g, z, x: g * (-1.1283791670955126 * np.exp(-x * x)))
gelu = elementwise(
    _gelu,
    lambda g, z, x: (
        g * (0.5 * erfc.like_numpy(x * -(0.5**0.5)) + 0.3989422804014327 * x * np.exp(-0.5 * x * x))
    ),
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
