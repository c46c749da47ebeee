"""Reductions over axes, and what is normalised over them."""

from __future__ import annotations

import builtins
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from ..core.dtypes import Array
from ..core.primitive import Case
from ..core.tensor import OPS, ArrayLike, Tensor, as_floating, as_tensor, checked, numbers_of, op
from .elementwise import over
from .families import Axis, general, kept_shape, linear, operation, reduction, untracked

__all__ = [
    "average", "log_softmax", "logsumexp", "max", "mean", "min", "nancumprod", "nancumsum",
    "nanmax", "nanmean", "nanmin", "nanprod", "nanstd", "nansum", "nanvar", "prod", "ptp",
    "softmax", "std", "sum", "var",
]  # fmt: skip


def _count(z: Any, a: Any) -> Any:
    """Return how many elements of `a` make one of z; where z is empty, any number serves."""
    return a.size / (z.size or 1)


def _reduced(r: Any) -> list[Case]:
    return [
        Case.of(r(2, 3)), Case.of(r(2, 3), axis=0), Case.of(r(2, 3, 2), axis=-1, keepdims=True),
        Case.of(r(2, 3, 2), axis=(0, -1)), Case.of(r(3), axis=None, keepdims=True),
        Case.of(r(3, 4).T[::2], axis=1), Case.of(r(0, 2), axis=1), Case.of(r()),
    ]  # fmt: skip


def _sums(r: Any) -> list[Case]:
    return [*_reduced(r), Case.of(r(2, 3), axis=()), Case.of(r(0, 2)), Case.of(r(0, 2), axis=0)]


def _of_ufunc(ufunc: Any) -> Callable[..., Any]:
    """Return a forward function: what NumPy's does, without its wrappers, which cost half of it."""

    def forward(a: Array, *, axis: Axis = None, keepdims: bool = False) -> Any:
        return ufunc.reduce(a, axis, keepdims=keepdims)

    return forward


def _mean(a: Array, *, axis: Axis = None, keepdims: bool = False) -> Any:
    return a.mean(axis=axis, keepdims=keepdims)


def _pull_sum(g: Any, z: Any, a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    return np.broadcast_to(g.reshape(kept_shape(a.shape, axis)), a.shape)


def _pull_mean(g: Any, z: Any, a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    return _pull_sum(g / _count(z, a), z, a, axis)


sum = linear(_of_ufunc(np.add), _pull_sum, key=np.sum, samples=_sums)
mean = linear(_mean, _pull_mean, key=np.mean, samples=_reduced)


# ---- extremes: a tie shares the gradient evenly ------------------------------------------------


@untracked
def shares(hit: Array, axis: Axis, dtype: Any) -> Any:
    """Return 1 shared among the hits along `axis`; NaN where there is none: the extreme is NaN."""
    with np.errstate(invalid="ignore"):
        return hit / np.add.reduce(hit, axis, dtype, keepdims=True)


def _attained(z: Any, a: Any, axis: Axis) -> Any:
    return shares(a == z, axis, a.dtype)


max = reduction(_of_ufunc(np.maximum), _attained, key=np.max, samples=_reduced)
min = reduction(_of_ufunc(np.minimum), _attained, key=np.min, samples=_reduced)
OPS[np.amax], OPS[np.amin] = max, min


# ---- the product: its derivative by one factor is the product of the others, also among zeros -----


def product_of_others(z: Any, a: Any, axis: Axis) -> Any:
    """Multiply, for each element, all the other elements along `axis`."""
    if not a.ndim:
        return np.ones_like(a)
    rows, back = rows_over(widened(a), axis)
    after = np.flip(product_before(np.flip(rows, 0)), 0)
    return back(product(product_before(rows), after)).astype(a.dtype, copy=False)


def rows_over(a: Any, axis: Axis) -> tuple[Any, Callable[[Any], Any]]:
    """Return `a` with the axes of a reduction first and joined to one, and what undoes this."""
    axes = normalize_axis_tuple(range(a.ndim) if axis is None else axis, a.ndim)
    order = axes + tuple([k for k in range(a.ndim) if k not in axes])
    front = a.transpose(order)
    rows = front.reshape((math.prod(front.shape[: len(axes)]), *front.shape[len(axes) :]))
    return rows, lambda rows: rows.reshape(front.shape).transpose(np.argsort(order))


def product_before(rows: Any) -> Any:
    """Return, for each row, the product of the rows before it; no division, so zeros are safe."""
    return np.cumprod(shifted(rows, np.ones_like), axis=0)


def widened(x: Any) -> Any:
    """Return x in float64: what comes before may be large and what comes after small, or vice versa."""
    return x.astype(np.promote_types(x.dtype, np.float64), copy=False)


def product(x: Any, y: Any) -> Any:
    """Return x y, where 0 times what overflowed is 0: a product of numbers, one of which is 0."""
    return _beside(x, y) * _beside(y, x)


def _beside(x: Any, y: Any) -> Any:
    """Return x, which is finite where y is 0."""
    largest = np.finfo(x.dtype).max
    return np.where(y == 0, np.clip(x, -largest, largest), x)


def shifted(rows: Any, first: Callable[..., Any]) -> Any:
    """Return `first(rows[:1])`, zeros or ones, and then all rows but the last."""
    return np.concatenate([first(rows[:1]), rows[:-1]])


prod = reduction(
    _of_ufunc(np.multiply), product_of_others, key=np.prod,
    samples=lambda r: [*_reduced(r), Case.of(np.array([2.0, 0.0, 3.0])), Case.of(np.zeros((2, 2)))],
)  # fmt: skip


# ---- exponentials ----------------------------------------------------------------------------------


def _from_top(a: Array, axis: Axis) -> tuple[Any, Any, Any]:
    """Return the largest along `axis`, a less that, and the logarithm of the sum of its exponentials."""
    top = a.max(axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    below = a - top
    with np.errstate(divide="ignore"):
        return top, below, np.log(np.exp(below).sum(axis=axis, keepdims=True))


def _logsumexp(a: Array, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """Logarithm of the sum of exponentials over `axis`; -inf, with gradient 0, where all are -inf."""
    top, _, log_sum = _from_top(a, axis)
    z = log_sum + top
    return z if keepdims or not z.ndim else z.squeeze(axis)


def _probability(z: Any, a: Any, axis: Axis) -> Any:
    """Return the softmax of a; normalised, for z is rounded, by more than its log(2) if it is large."""
    p = np.exp(a - np.where(z == -np.inf, 0, z))
    total = p.sum(axis=axis, keepdims=True)
    return p / np.where(total == 0, 1, total)


def _softmax(a: Array, *, axis: Axis = -1) -> Any:
    """Exponentials normalised to sum to 1 along `axis`."""
    e = np.exp(a - a.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _rule_softmax(g: Any, z: Any, a: Any, axis: Axis = -1) -> Any:
    return z * (g - (g * z).sum(axis=axis, keepdims=True))


def _log_softmax(a: Array, *, axis: Axis = -1) -> Any:
    """Logarithm of softmax, computed without it."""
    _, below, log_sum = _from_top(a, axis)
    return below - log_sum


def _pull_log_softmax(g: Any, z: Any, a: Any, axis: Axis = -1) -> Any:
    return g - np.exp(z) * g.sum(axis=axis, keepdims=True)


def _push_log_softmax(da: Any, z: Any, a: Any, axis: Axis = -1) -> Any:
    return da - (np.exp(z) * da).sum(axis=axis, keepdims=True)


def _normalised(r: Any) -> list[Case]:
    return [
        Case.of(r(3)), Case.of(r(2, 3)), Case.of(r(3, 2).T, axis=0), Case.of(r(2, 2), axis=(0, 1)),
    ]  # fmt: skip


logsumexp = reduction(_logsumexp, _probability, samples=_reduced)
softmax = general(_softmax, pulls=[_rule_softmax], pushes=[_rule_softmax], samples=_normalised)
log_softmax = general(
    _log_softmax, pulls=[_pull_log_softmax], pushes=[_push_log_softmax], samples=_normalised
)


# ---- spread ----------------------------------------------------------------------------------------


def _spread(r: Any) -> list[Case]:
    return [*_reduced(r)[:-1], Case.of(r(4), ddof=1), Case.of(r(3, 4), axis=1, ddof=1)]


def _var(a: Array, *, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Any:
    return a.var(axis=axis, ddof=ddof, keepdims=keepdims)


def _std(a: Array, *, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Any:
    return of_any_size(lambda a: a.std(axis=axis, ddof=ddof, keepdims=keepdims), a, axis)


@functools.lru_cache
def _safe(dtype: Any, power: float) -> float:
    """Return the least number whose power is as exact as it, far from what vanishes."""
    numbers = np.finfo(dtype)
    least: float = float(numbers.smallest_normal / numbers.eps) ** (1 / builtins.max(abs(power), 1))
    return builtins.max(least, 1e-300)


def of_any_size(f: Callable[[Any], Any], a: Array, axis: Axis, power: float = 2) -> Any:
    """Return f(a), homogeneous in a, but computed by a power of it that may overflow or vanish.

    Where the result is not safely inside, it is f of numbers up to 1, and scaled.
    """
    with np.errstate(over="ignore", under="ignore"):
        z = f(a)
    low = _safe(z.dtype, power)
    if ((z > low) & (z < 1 / low)).all():
        return z
    top = np.abs(a).max(axis=axis, keepdims=True, initial=0)
    top = np.where(np.isfinite(top) & (top > 0), top, 1)
    z = f(a / top)
    return z * top.reshape(z.shape)


def _slope_var(z: Any, a: Any, axis: Axis, ddof: float = 0) -> Any:
    return 2 * (a - a.mean(axis=axis, keepdims=True)) / (_count(z, a) - ddof)


def _slope_std(z: Any, a: Any, axis: Axis, ddof: float = 0) -> Any:
    """Return half the slope of the variance over the deviation; 0 where nothing deviates."""
    return over.like_numpy(0.5 * _slope_var(z, a, axis, ddof), z)


var = reduction(_var, _slope_var, key=np.var, samples=_spread)
std = reduction(_std, _slope_std, key=np.std, samples=_spread)


# ---- composed of the above -------------------------------------------------------------------------


@operation(np.ptp, lambda r: _reduced(r)[:-1])
def ptp(a: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Range of the values, max - min; it has a corner, as a distance has, where all are equal."""
    return abs(max(a, axis, keepdims) - min(a, axis, keepdims))


@operation(
    np.average,
    lambda r: [
        *_sums(r)[:5], Case.of(r(2, 3), None, r(2, 3, domain=(0.5, 1.0))),
        Case.of(r(2, 3), 1, r(3, domain=(0.5, 1.0)), keepdims=True),
        Case.of(r(2, 3, 2), (2, 0), r(2, 2, domain=(0.5, 1.0))),
    ],
)  # fmt: skip
def average(
    a: ArrayLike, axis: Axis = None, weights: ArrayLike | None = None, *, keepdims: bool = False
) -> Tensor:
    """Mean with weights, through which gradients flow too; of the shape of `a`, or of its `axis`."""
    if weights is None:
        return mean(a, axis, keepdims)
    a, w = as_tensor(a), as_tensor(weights)
    if w.shape != a.shape:
        axes = normalize_axis_tuple(axis or 0, a.ndim)
        if axis is None or w.shape != tuple([a.shape[k] for k in axes]):
            raise ValueError(f"average: weights of shape {w.shape} for {a.shape}, axis={axis}")
        kept = [n if k in axes else 1 for k, n in enumerate(a.shape)]
        w = op(np.broadcast_to)(w.transpose(np.argsort(axes)).reshape(kept), a.shape)
    total = w.sum(axis=axis, keepdims=keepdims)
    checked(_not_zero, total)
    return (a * w).sum(axis=axis, keepdims=keepdims) / total


def _not_zero(total: Array) -> None:
    if not np.all(total != 0):
        raise ZeroDivisionError("average: the weights sum to zero")


def _nan_samples(r: Any) -> list[Case]:
    """Samples with NaN among the numbers."""
    x = r(3, 3)
    x[0, 1] = np.nan
    return [Case.of(x), Case.of(x, axis=0), Case.of(x.T, axis=-1), Case.of(r(3))]


def _without_nan(function: Any, base: Any, fill: float) -> Callable[..., Tensor]:
    """Return the operation `base` with `fill` read for every NaN, whose gradient is 0."""

    def without_nan(a: ArrayLike, axis: Axis = None, **options: bool) -> Tensor:
        t = as_tensor(a)
        if t.dtype.kind != "f":
            return op(base)(t, axis=axis, **options)
        gaps = np.isnan(numbers_of(t)) if math.isfinite(fill) else _gaps(t, axis)
        return op(base)(op(np.where)(gaps, fill, t), axis=axis, **options)

    doc = f"As numpy.{function.__name__}: NaN is left out, with gradient 0."
    return operation(function, _nan_samples, doc)(without_nan)


nansum, nanprod = _without_nan(np.nansum, np.sum, 0), _without_nan(np.nanprod, np.prod, 1)
nanmax, nanmin = _without_nan(np.nanmax, np.max, -np.inf), _without_nan(np.nanmin, np.min, np.inf)
nancumsum = _without_nan(np.nancumsum, np.cumsum, 0)
nancumprod = _without_nan(np.nancumprod, np.cumprod, 1)


@untracked
def _gaps(t: Array, axis: Axis) -> Array:
    """Return where NaN is left out; not where there is nothing else, for then the result is NaN."""
    gaps = np.isnan(t)
    return gaps & ~gaps.all(axis=axis, keepdims=True)


@untracked
def _free(t: Array, axis: Axis, keepdims: bool, ddof: float = 0) -> Array:
    """Return how many numbers there are, less `ddof`; NaN for none."""
    count: Array = (~np.isnan(t)).sum(axis=axis, keepdims=keepdims, dtype=t.dtype) - ddof
    return np.where(count > 0, count, np.nan)


def _deviation(t: Tensor, axis: Axis) -> Tensor:
    """Return the distances from the mean of what is not NaN, and 0 in the gaps."""
    where, gaps = op(np.where), _gaps(t, axis)
    return where(gaps, 0, where(gaps, 0, t) - nanmean(t, axis, True))


@operation(np.nanmean, _nan_samples)
def nanmean(a: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Mean of what is not NaN."""
    t = as_floating(a)
    total = op(np.where)(_gaps(t, axis), 0, t).sum(axis=axis, keepdims=keepdims)
    z: Tensor = total / _free(t, axis, keepdims)
    return z


@operation(np.nanvar, _nan_samples)
def nanvar(a: ArrayLike, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Tensor:
    """Variance of what is not NaN."""
    t = as_floating(a)
    total = (_deviation(t, axis) ** 2).sum(axis=axis, keepdims=keepdims)
    z: Tensor = total / _free(t, axis, keepdims, ddof)
    return z


@operation(np.nanstd, _nan_samples)
def nanstd(a: ArrayLike, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Tensor:
    """Deviation of what is not NaN; its gradient is 0 where nothing deviates."""
    t = as_floating(a)
    length = op(np.linalg.vector_norm)(_deviation(t, axis), axis=axis, keepdims=keepdims)
    z: Tensor = length / np.sqrt(_free(t, axis, keepdims, ddof))
    return z


# ---- methods of ufuncs: along the first axis, if not said otherwise --------------------------------


def _along_first(method: Callable[..., Any], key: Any) -> None:
    @functools.wraps(method, assigned=("__name__",))
    def along(array: ArrayLike, axis: Axis = 0, **options: Any) -> Any:
        return OPS[key](array, axis=axis, **options)

    OPS[method] = along


_along_first(np.add.reduce, np.sum)
_along_first(np.multiply.reduce, np.prod)
_along_first(np.maximum.reduce, np.max)
_along_first(np.minimum.reduce, np.min)
_along_first(np.logaddexp.reduce, logsumexp.key)
_along_first(np.hypot.reduce, np.linalg.vector_norm)
_along_first(np.add.accumulate, np.cumsum)
_along_first(np.multiply.accumulate, np.cumprod)
