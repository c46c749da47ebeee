"""Reductions over axes, and what is normalised over them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from ..core.primitive import Case, general, linear, operation
from ..core.tensor import OPS, Tensor, as_floating, as_tensor

__all__ = [
    "average", "log_softmax", "logsumexp", "max", "mean", "min", "nancumprod", "nancumsum",
    "nanmax", "nanmean", "nanmin", "nanprod", "nanstd", "nansum", "nanvar", "prod", "ptp",
    "softmax", "std", "sum", "var",
]  # fmt: skip

Axis = int | tuple[int, ...] | None


def _kept(shape: tuple[int, ...], axis: Axis) -> tuple[int, ...]:
    """Give the shape that a reduction of `shape` over `axis` has with keepdims."""
    if axis is None or not shape:  # NumPy takes axis=0 of a number
        return (1,) * len(shape)
    axes = {a % len(shape) for a in (axis if isinstance(axis, tuple) else (axis,))}
    return tuple([1 if k in axes else n for k, n in enumerate(shape)])


def _keep(a: Any, x: Any, axis: Axis) -> Any:
    """Put the reduced axes back into `a`, with length 1, so that it broadcasts against x."""
    return a.reshape(_kept(x.shape, axis))


def _count(z: Any, a: Any) -> float:
    """Count the elements of `a` that make one of z; where z is empty, any number serves."""
    return a.size / (z.size or 1)  # type: ignore[no-any-return]


def _by_slope(slope: Callable[..., Any]) -> dict[str, Any]:
    """Make both rules of a reduction from its slope by each element."""

    def pull(
        g: Any, z: Any, a: Any, axis: Axis = None, keepdims: bool = False, **options: Any
    ) -> Any:
        return _keep(g, a, axis) * slope(z, a, axis, **options)

    def push(
        da: Any, z: Any, a: Any, axis: Axis = None, keepdims: bool = False, **options: Any
    ) -> Any:
        return (da * slope(z, a, axis, **options)).sum(axis=axis, keepdims=keepdims)

    return {"pulls": [pull], "pushes": [push]}


def _reduced(r: Any) -> list[Case]:
    return [
        Case.of(r(2, 3)), Case.of(r(2, 3), axis=0), Case.of(r(2, 3, 2), axis=-1, keepdims=True),
        Case.of(r(2, 3, 2), axis=(0, -1)), Case.of(r(3), axis=None, keepdims=True),
        Case.of(r(3, 4).T[::2], axis=1), Case.of(r(0, 2), axis=1), Case.of(r()),
    ]  # fmt: skip


def _sums(r: Any) -> list[Case]:
    return [*_reduced(r), Case.of(r(2, 3), axis=()), Case.of(r(0, 2)), Case.of(r(0, 2), axis=0)]


def _reduction(ufunc: Any) -> Callable[..., Any]:
    """Make a forward function: what NumPy's does, without its wrappers, which cost half of it."""

    def reduction(a: Any, *, axis: Axis = None, keepdims: bool = False) -> Any:
        return ufunc.reduce(a, axis, keepdims=keepdims)

    return reduction


def _mean(a: Any, *, axis: Axis = None, keepdims: bool = False) -> Any:
    return a.mean(axis=axis, keepdims=keepdims)


def _pull_sum(g: Any, z: Any, a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    return np.broadcast_to(_keep(g, a, axis), a.shape)


def _pull_mean(g: Any, z: Any, a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    return np.broadcast_to(_keep(g / _count(z, a), a, axis), a.shape)


sum = linear(_reduction(np.add), _pull_sum, key=np.sum, name="sum", samples=_sums)
mean = linear(_mean, _pull_mean, key=np.mean, name="mean", samples=_reduced)


# ---- extremes: a tie shares the gradient evenly ------------------------------------------------


def _weights(z: Any, a: Any, axis: Axis) -> Any:
    """Share 1 among the elements that attain the extreme; constant, of a's dtype."""
    hit = a == _keep(z, a, axis)
    return hit / np.maximum(hit.sum(axis=axis, keepdims=True), 1, dtype=a.dtype)


# fmt: off
max = general(_reduction(np.maximum), key=np.max, name="max", **_by_slope(_weights), samples=_reduced)
min = general(_reduction(np.minimum), key=np.min, name="min", **_by_slope(_weights), samples=_reduced)
# fmt: on
OPS[np.amax], OPS[np.amin] = max, min


# ---- the product: its derivative by one factor is the product of the others, also among zeros -----


def _others(z: Any, a: Any, axis: Axis) -> Any:
    """Multiply, for each element, all the other elements along `axis`."""
    if not a.ndim:
        return np.ones_like(a)
    axes = normalize_axis_tuple(range(a.ndim) if axis is None else axis, a.ndim)
    rest = tuple([k for k in range(a.ndim) if k not in axes])
    front = a.transpose(axes + rest)
    rows = front.reshape((math.prod(front.shape[: len(axes)]), *front.shape[len(axes) :]))

    def before(rows: Any) -> Any:
        """Multiply, for each row, the rows before it; no division, so zeros are safe."""
        return np.cumprod(np.concatenate([np.ones_like(rows[:1]), rows[:-1]]), axis=0)

    both = before(rows) * np.flip(before(np.flip(rows, 0)), 0)
    return both.reshape(front.shape).transpose(np.argsort(axes + rest))


prod = general(
    _reduction(np.multiply), key=np.prod, name="prod", **_by_slope(_others),
    samples=lambda r: [*_reduced(r), Case.of(np.array([2.0, 0.0, 3.0])), Case.of(np.zeros((2, 2)))],
)  # fmt: skip


# ---- exponentials ----------------------------------------------------------------------------------


def _logsumexp(a: Any, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """Logarithm of the sum of exponentials over `axis`; -inf, with gradient 0, where all are -inf."""
    top = a.max(axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    with np.errstate(divide="ignore"):
        z = np.log(np.exp(a - top).sum(axis=axis, keepdims=True)) + top
    return z if keepdims or not z.ndim else z.squeeze(axis)


def _probability(z: Any, a: Any, axis: Axis) -> Any:
    kept = _keep(z, a, axis)
    return np.exp(a - np.where(kept == -np.inf, 0, kept))


def _softmax(a: Any, *, axis: Axis = -1) -> Any:
    """Exponentials normalised to sum to 1 along `axis`."""
    e = np.exp(a - a.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _rule_softmax(g: Any, z: Any, a: Any, axis: Axis = -1) -> Any:
    return z * (g - (g * z).sum(axis=axis, keepdims=True))


def _log_softmax(a: Any, *, axis: Axis = -1) -> Any:
    """Logarithm of softmax, computed without forming it."""
    return a - _logsumexp(a, axis=axis, keepdims=True)


def _pull_log_softmax(g: Any, z: Any, a: Any, axis: Axis = -1) -> Any:
    return g - np.exp(z) * g.sum(axis=axis, keepdims=True)


def _push_log_softmax(da: Any, z: Any, a: Any, axis: Axis = -1) -> Any:
    return da - (np.exp(z) * da).sum(axis=axis, keepdims=True)


def _normalised(r: Any) -> list[Case]:
    return [
        Case.of(r(3)), Case.of(r(2, 3)), Case.of(r(3, 2).T, axis=0), Case.of(r(2, 2), axis=(0, 1)),
    ]  # fmt: skip


logsumexp = general(
    _logsumexp, name="logsumexp", **_by_slope(_probability), samples=_reduced
)  # fmt: skip
softmax = general(
    _softmax, name="softmax", pulls=[_rule_softmax], pushes=[_rule_softmax], samples=_normalised
)
log_softmax = general(
    _log_softmax, name="log_softmax", pulls=[_pull_log_softmax], pushes=[_push_log_softmax],
    samples=_normalised,
)  # fmt: skip


# ---- spread ----------------------------------------------------------------------------------------


def _spread(r: Any) -> list[Case]:
    return [*_reduced(r)[:-1], Case.of(r(4), ddof=1), Case.of(r(3, 4), axis=1, ddof=1)]


def _var(a: Any, *, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Any:
    return a.var(axis=axis, ddof=ddof, keepdims=keepdims)


def _std(a: Any, *, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Any:
    return a.std(axis=axis, ddof=ddof, keepdims=keepdims)


def _slope_var(z: Any, a: Any, axis: Axis, ddof: float = 0) -> Any:
    return 2 * (a - a.mean(axis=axis, keepdims=True)) / (_count(z, a) - ddof)


def _slope_std(z: Any, a: Any, axis: Axis, ddof: float = 0) -> Any:
    """Half the slope of the variance over the deviation; 0 where nothing deviates."""
    s = _keep(z, a, axis)
    return 0.5 * _slope_var(z, a, axis, ddof) / np.where(s == 0, np.inf, s)


var = general(_var, key=np.var, name="var", samples=_spread, **_by_slope(_slope_var))
std = general(_std, key=np.std, name="std", samples=_spread, **_by_slope(_slope_std))


# ---- composed of the above -------------------------------------------------------------------------


@operation(np.ptp, _reduced)
def ptp(a: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Range of the values, max - min."""
    return max(a, axis, keepdims) - min(a, axis, keepdims)


@operation(
    np.average,
    lambda r: [
        *_sums(r)[:5], Case.of(r(2, 3), None, r(2, 3, domain=(0.5, 1.0))),
        Case.of(r(2, 3), 1, r(3, domain=(0.5, 1.0)), keepdims=True),
        Case.of(r(2, 3, 2), (2, 0), r(2, 2, domain=(0.5, 1.0))),
    ],
)  # fmt: skip
def average(a: Any, axis: Axis = None, weights: Any = None, *, keepdims: bool = False) -> Tensor:
    """Mean with weights, through which gradients flow too; of the shape of `a`, or of its `axis`."""
    if weights is None:
        return mean(a, axis, keepdims)
    a, w = as_tensor(a), as_tensor(weights)
    if w.shape != a.shape:
        axes = normalize_axis_tuple(axis or 0, a.ndim)
        if axis is None or w.shape != tuple([a.shape[k] for k in axes]):
            raise ValueError(f"average: weights of shape {w.shape} for {a.shape}, axis={axis}")
        kept = [n if k in axes else 1 for k, n in enumerate(a.shape)]
        w = OPS[np.broadcast_to](w.transpose(np.argsort(axes)).reshape(kept), a.shape)
    total = w.sum(axis=axis, keepdims=keepdims)
    if not np.all(total != 0):
        raise ZeroDivisionError("average: the weights sum to zero")
    return (a * w).sum(axis=axis, keepdims=keepdims) / total  # type: ignore[no-any-return]


def _gaps(r: Any) -> list[Case]:
    """Samples with NaN among the numbers."""
    x = r(2, 3)
    x[0, 1] = np.nan
    return [Case.of(x), Case.of(x, axis=0), Case.of(x.T, axis=-1), Case.of(r(3))]


def _without_nan(function: Any, base: Any, fill: float) -> Callable[..., Tensor]:
    """Make the function that reads `fill` for every NaN, whose gradient is 0, and does `base`."""

    def without_nan(a: Any, axis: Axis = None, **options: Any) -> Tensor:
        t = as_tensor(a)
        if t.dtype.kind != "f":
            return OPS[base](t, axis=axis, **options)  # type: ignore[no-any-return]
        gaps = np.isnan(t.value)
        z: Tensor = OPS[base](np.where(gaps, fill, t), axis=axis, **options)
        if math.isinf(fill):  # nothing to choose from
            z = OPS[np.where](gaps.all(axis=axis, **options), np.nan, z)
        return z

    without_nan.__name__ = function.__name__
    without_nan.__doc__ = f"As numpy.{function.__name__}: NaN is left out, with gradient 0."
    return operation(function, _gaps)(without_nan)


nansum, nanprod = _without_nan(np.nansum, np.sum, 0), _without_nan(np.nanprod, np.prod, 1)
nanmax, nanmin = _without_nan(np.nanmax, np.max, -np.inf), _without_nan(np.nanmin, np.min, np.inf)
nancumsum = _without_nan(np.nancumsum, np.cumsum, 0)
nancumprod = _without_nan(np.nancumprod, np.cumprod, 1)


def _numbers(t: Tensor, axis: Axis, keepdims: bool) -> Any:
    return (~np.isnan(t.value)).sum(axis=axis, keepdims=keepdims, dtype=t.dtype)


@operation(np.nanmean, _gaps)
def nanmean(a: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Mean of what is not NaN."""
    t = as_floating(a)
    total = nansum(t, axis, keepdims=keepdims)
    return total / _numbers(t, axis, keepdims)  # type: ignore[no-any-return]


@operation(np.nanvar, _gaps)
def nanvar(a: Any, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Tensor:
    """Variance of what is not NaN."""
    t = as_floating(a)
    gaps = np.isnan(t.value)
    deviation = np.where(gaps, 0, np.where(gaps, 0, t) - nanmean(t, axis, True))
    total = (deviation**2).sum(axis=axis, keepdims=keepdims)
    free = _numbers(t, axis, keepdims) - ddof
    return total / np.where(free > 0, free, np.nan)  # type: ignore[no-any-return]


@operation(np.nanstd, _gaps)
def nanstd(a: Any, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Tensor:
    """Deviation of what is not NaN; its gradient is 0 where nothing deviates."""
    v = nanvar(a, axis, ddof, keepdims)
    positive = np.sqrt(np.where(v == 0, 1, v))
    return OPS[np.where](v == 0, 0, positive)  # type: ignore[no-any-return]
