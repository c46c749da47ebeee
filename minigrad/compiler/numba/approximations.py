"""exp, log, tanh and the logistic function for kernels, as polynomials without branches.

exp(x) is 2**n exp(r), where n is the nearest integer to x / log 2, and |r| <= log(2) / 2; there
exp(r) = 1 + r + r*r q(r), and q interpolates at Chebyshev's points (degree 4 in float32, 9 in
float64). Then tanh(x) = (e - 1) / (e + 1) with e = exp(2 |x|), where e - 1 does not cancel as
2**n (exp(r) - 1) + (2**n - 1); and the logistic function is e / (e + 1) with e = exp(x), as eager.
log(x) is n log 2 + log(m) with m in [sqrt(1/2), sqrt(2)), and log(m) = 2 atanh(s), s = (m-1)/(m+1).

The largest errors, in units in the last place, measured in the tests on dense samples (NumPy's are
0.5 to 2.5 of them):

              float32    float64
    exp         1.2        1.2
    tanh        2.5        2.5
    sigmoid     2.5        2.5
    log         1.5        1.5

That holds of all numbers, as far as results are not denormal; NaN, infinities and zeros with their
signs are as in NumPy.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .native import bits, fma, nopython

__all__ = ["BOUNDS", "FLOAT32", "FLOAT64", "Functions"]

BOUNDS = {"exp": 1.2, "tanh": 2.5, "sigmoid": 2.5, "log": 1.5}
"""The largest errors, in units in the last place."""


class Functions(NamedTuple):
    """Nopython functions of one number, of one dtype."""

    exp: Any
    tanh: Any
    sigmoid: Any
    log: Any


def _functions(
    dtype: Any,
    whole: Any,
    exponential: list[float],
    logarithm: list[float],
    log2_parts: tuple[float, float],
    ends: tuple[float, float],
    saturated: tuple[float, float],
) -> Functions:
    """Return the functions of `dtype`, whose bits are a `whole`.

    `log2_parts` sum to log 2, the first with so few digits that its multiples are exact. exp of
    what is below and above `ends` is 0 and infinite, and tanh and the logistic function are 1
    from `saturated` on.
    """
    number = np.finfo(dtype)
    digits, bias = whole(number.nmant), whole(1 - number.minexp)
    # Added to a number, this leaves its nearest integer in the last digits.
    shift = dtype(1.5 * 2.0**number.nmant)
    shift_bits, sign_bit = whole(shift.view(whole)), whole(np.iinfo(whole).min)
    inverse, (high, low) = dtype(1 / np.log(2)), map(dtype, log2_parts)
    (least, most), (tanh_end, sigmoid_end) = map(dtype, ends), map(dtype, saturated)
    zero, one, two = map(dtype, (0, 1, 2))
    infinite, nan, bit = dtype(np.inf), dtype(np.nan), whole(1)
    exponential_terms = tuple(map(dtype, exponential[::-1]))
    logarithm_terms = tuple(map(dtype, logarithm[::-1]))
    root, normal, lift = dtype(0.5**0.5), number.tiny, dtype(2.0**number.nmant)
    root_bits = whole(root.view(whole))

    @nopython
    def powered(k: Any) -> Any:
        return bits(whole((k + bias) << digits))

    @nopython
    def reduced(x: Any) -> Any:
        """Return n, and exp(r) - 1."""
        t = fma(x, inverse, shift)
        n = t - shift
        r = fma(n, -low, fma(n, -high, x))
        q = exponential_terms[0]
        for c in exponential_terms[1:]:
            q = fma(q, r, c)
        return whole(bits(t) - shift_bits), fma(r * r, q, r)

    @nopython
    def exp(x: Any) -> Any:
        x = most if x > most else x  # NaN passes
        x = least if x < least else x
        n, p = reduced(x)
        near = whole(n >> bit)  # 2**n may be out of range where the result is not
        return (p + one) * powered(near) * powered(whole(n - near))

    @nopython
    def tanh(x: Any) -> Any:
        a = bits(whole(bits(x) & ~sign_bit))
        a = tanh_end if a > tanh_end else a
        n, p = reduced(a + a)
        s = powered(n)
        e = fma(s, p, s - one)
        return bits(whole(bits(e / (e + two)) | (bits(x) & sign_bit)))

    @nopython
    def sigmoid(x: Any) -> Any:
        x = sigmoid_end if x > sigmoid_end else x
        e = exp(x)
        return e / (e + one)

    @nopython
    def log(x: Any) -> Any:
        small = x < normal
        y = x * lift if small else x
        k = bits(y)
        n = whole((k - root_bits) >> digits)
        m = bits(whole(k - (n << digits)))
        f = m - one
        s = f / (f + two)
        u = s * s
        q = logarithm_terms[0]
        for c in logarithm_terms[1:]:
            q = fma(q, u, c)
        w = dtype(n - digits if small else n)
        # log(m) = f - s (f - u q), as 2 s = f - s f
        z = fma(w, high, f - fma(s, f - u * q, -w * low))
        z = -infinite if x == zero else z
        z = nan if x < zero else z
        return x if not (x < infinite) else z

    return Functions(exp, tanh, sigmoid, log)


FLOAT32 = _functions(
    np.float32,
    np.int32,
    [0.5, 0.16666578, 0.041666556, 0.008363173, 0.0013926176],
    [0.6666667, 0.40000123, 0.28550822, 0.23330468],
    (0.693359375, -2.12194440e-4),
    (-104.0, 89.0),
    (10.0, 40.0),
)
FLOAT64 = _functions(
    np.float64,
    np.int64,
    [
        0.5, 0.16666666666666669, 0.041666666666624164, 0.008333333333330065,
        0.0013888888917196719, 0.00019841269863040545, 2.4801521322368692e-05,
        2.7557268480310024e-06, 2.7620075879983367e-07, 2.5100375832561234e-08,
    ],
    [
        0.6666666666666666, 0.4000000000000088, 0.28571428570803614, 0.22222222391713917,
        0.18181795640132906, 0.15386239702814658, 0.13268773138656886, 0.13086626147840102,
    ],
    (0.693147180369123816490, 1.90821492927058770002e-10),
    (-746.0, 710.0),
    (20.0, 40.0),
)  # fmt: skip
