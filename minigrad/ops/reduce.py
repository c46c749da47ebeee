"""Reductions and scans along axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..primitive import Case, Primitive, general, linear, multilinear, operation
from ..tensor import OPS, Tensor

__all__ = [
    "average", "convolve", "correlate", "cumprod", "cumsum", "diff", "gradient", "log_softmax",
    "logsumexp", "max", "mean", "min", "nanmax", "nanmean", "nanmin", "nanprod", "nanstd", "nansum",
    "nanvar", "prod", "ptp", "softmax", "std", "sum", "trapezoid", "var",
]  # fmt: skip

Axis = int | tuple[int, ...] | None


def _kept(shape: tuple[int, ...], axis: Axis) -> tuple[int, ...]:
    """Give the shape that a reduction of `shape` over `axis` has with keepdims."""
    if axis is None:
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


# fmt: off
def _reduced(r: Any) -> list[Case]:
    return [
        Case.of(r(2, 3)), Case.of(r(2, 3), axis=0), Case.of(r(2, 3, 2), axis=-1, keepdims=True),
        Case.of(r(2, 3, 2), axis=(0, -1)), Case.of(r(3), axis=None, keepdims=True),
        Case.of(r(3, 4).T[::2], axis=1), Case.of(r(0, 2), axis=1), Case.of(r()),
    ]


def _sums(r: Any) -> list[Case]:
    return [*_reduced(r), Case.of(r(2, 3), axis=()), Case.of(r(0, 2)), Case.of(r(0, 2), axis=0)]


def _scans(r: Any) -> list[Case]:
    return [
        Case.of(r(2, 3)), Case.of(r(2, 3), axis=0), Case.of(r(4, 3).T[::2], axis=-1),
        Case.of(r(0, 2), axis=0), Case.of(r()),
    ]
# fmt: on


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


def _cumsum(a: Any, *, axis: int | None = None) -> Any:
    return a.cumsum(axis)


def _pull_cumsum(g: Any, z: Any, a: Any, axis: int | None = None) -> Any:
    along = 0 if axis is None else axis
    return np.flip(np.cumsum(np.flip(g, along), axis=along), along).reshape(a.shape)


sum = linear(_reduction(np.add), _pull_sum, key=np.sum, name="sum", samples=_sums)
mean = linear(_mean, _pull_mean, key=np.mean, name="mean", samples=_reduced)
cumsum = linear(_cumsum, _pull_cumsum, key=np.cumsum, name="cumsum", samples=_scans)


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


# ---- products: the derivative by one factor is the product of the others, also among zeros -------


def _cumprod(a: Any, *, axis: int | None = None) -> Any:
    return a.cumprod(axis)


def _shifted(rows: Any, first: Any) -> Any:
    """Give `first` and then all rows but the last."""
    return np.concatenate([first(rows[:1]), rows[:-1]])


def _before(rows: Any) -> Any:
    """Multiply, for each row, the rows before it; no division, so zeros are safe."""
    return np.cumprod(_shifted(rows, np.ones_like), axis=0)


def _others(z: Any, a: Any, axis: Axis) -> Any:
    """Multiply, for each element, all the other elements along `axis`."""
    axes = tuple(range(len(a.shape))) if axis is None else axis
    axes = tuple([k % len(a.shape) for k in (axes if isinstance(axes, tuple) else (axes,))])
    rest = tuple([k for k in range(len(a.shape)) if k not in axes])
    front = a.transpose(axes + rest)
    rows = front.reshape((math.prod(front.shape[: len(axes)]), *front.shape[len(axes) :]))
    both = _before(rows) * np.flip(_before(np.flip(rows, 0)), 0)
    return both.reshape(front.shape).transpose(np.argsort(axes + rest))


def _recurrence(a: Any, b: Any) -> Any:
    """Solve z[k] = a[k] z[k-1] + b[k] along the first axis, from z[-1] = 0."""
    z = np.array(b)
    for k in range(1, len(z)):
        z[k] += a[k] * z[k - 1]
    return z


def _pull_recurrence(g: Any, a: Any) -> Any:
    """Solve the same backward: u[k] = a[k+1] u[k+1] + g[k]."""
    return np.flip(recurrence.like_numpy(np.roll(np.flip(a, 0), 1, 0), np.flip(g, 0)), 0)


def _rows(a: Any, axis: int | None) -> Any:
    return a.reshape(-1) if axis is None else np.moveaxis(a, axis, 0)


def _pull_cumprod(g: Any, z: Any, a: Any, axis: int | None = None) -> Any:
    rows = _rows(a, axis)
    ga = _before(rows) * _pull_recurrence(_rows(g, axis), rows)
    return ga.reshape(a.shape) if axis is None else np.moveaxis(ga, 0, axis)


def _push_cumprod(da: Any, z: Any, a: Any, axis: int | None = None) -> Any:
    rows = _rows(a, axis)
    dz = recurrence.like_numpy(rows, _before(rows) * _rows(da, axis))
    return dz if axis is None else np.moveaxis(dz, 0, axis)


def _zeros(r: Any) -> list[Case]:
    return [Case.of(np.array([2.0, 0.0, 3.0])), Case.of(np.zeros((2, 2)))]


prod = general(
    _reduction(np.multiply), key=np.prod, name="prod", **_by_slope(_others),
    samples=lambda r: [*_reduced(r), *_zeros(r)],
)  # fmt: skip
cumprod = general(
    _cumprod, key=np.cumprod, name="cumprod", pulls=[_pull_cumprod], pushes=[_push_cumprod],
    samples=lambda r: [*_scans(r), *_zeros(r)],
)  # fmt: skip
recurrence: Primitive = general(
    _recurrence,
    name="recurrence",
    pulls=[
        lambda g, z, a, b: _pull_recurrence(g, a) * _shifted(z, np.zeros_like),
        lambda g, z, a, b: _pull_recurrence(g, a),
    ],
    pushes=[
        lambda da, z, a, b: recurrence.like_numpy(a, da * _shifted(z, np.zeros_like)),
        lambda db, z, a, b: recurrence.like_numpy(a, db),
    ],
    samples=lambda r: [Case.of(r(4), r(4)), Case.of(r(3, 2), r(3, 2)), Case.of(r(0), r(0))],
)


# ---- exponentials ----------------------------------------------------------------------------------


def _logsumexp(a: Any, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """Logarithm of the sum of exponentials over `axis`; -inf, with gradient 0, where all are -inf."""
    top = a.max(axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    with np.errstate(divide="ignore"):
        z = np.log(np.exp(a - top).sum(axis=axis, keepdims=True)) + top
    return z if keepdims else z.reshape(a.sum(axis=axis).shape)


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
    return 0.5 * _slope_var(z, a, axis, ddof) / np.where(s == 0, 1, s)


var = general(_var, key=np.var, name="var", samples=_spread, **_by_slope(_slope_var))
std = general(_std, key=np.std, name="std", samples=_spread, **_by_slope(_slope_std))


# ---- composed of the above -------------------------------------------------------------------------


def _tensor(x: Any) -> Tensor:
    return x if isinstance(x, Tensor) else Tensor(np.asarray(x))


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
    a, w = _tensor(a), _tensor(weights)
    if w.shape != a.shape:
        axes = tuple([k % a.ndim for k in (axis if isinstance(axis, tuple) else (axis or 0,))])
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
        t = _tensor(a)
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
_without_nan(np.nancumsum, np.cumsum, 0)
_without_nan(np.nancumprod, np.cumprod, 1)


def _numbers(t: Tensor, axis: Axis, keepdims: bool) -> Any:
    return (~np.isnan(t.value)).sum(axis=axis, keepdims=keepdims, dtype=t.dtype)


@operation(np.nanmean, _gaps)
def nanmean(a: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Mean of what is not NaN."""
    t = _tensor(a)
    total = nansum(t, axis, keepdims=keepdims)
    return total / _numbers(t, axis, keepdims)  # type: ignore[no-any-return]


@operation(np.nanvar, _gaps)
def nanvar(a: Any, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Tensor:
    """Variance of what is not NaN."""
    t = _tensor(a)
    gaps = np.isnan(t.value)
    deviation = np.where(gaps, 0, np.where(gaps, 0, t) - nanmean(t, axis, True))
    total = (deviation**2).sum(axis=axis, keepdims=keepdims)
    return total / (_numbers(t, axis, keepdims) - ddof)  # type: ignore[no-any-return]


@operation(np.nanstd, _gaps)
def nanstd(a: Any, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Tensor:
    """Deviation of what is not NaN; its gradient is 0 where nothing deviates."""
    v = nanvar(a, axis, ddof, keepdims)
    positive = np.sqrt(np.where(v == 0, 1, v))
    return OPS[np.where](v == 0, 0, positive)  # type: ignore[no-any-return]


def _cumulative(function: Any, base: Any, unit: int) -> None:
    def cumulative(x: Any, *, axis: int | None = None, include_initial: bool = False) -> Tensor:
        t = _tensor(x)
        if axis is None and t.ndim != 1:
            raise ValueError(f"{function.__name__}: give an axis for an array of shape {t.shape}")
        axis = axis or 0
        if include_initial:
            one = np.full_like(t.value.take([0], axis), unit)
            t = OPS[np.concatenate]([one, t], axis)
        return OPS[base](t, axis=axis)  # type: ignore[no-any-return]

    cumulative.__name__ = function.__name__
    samples = lambda r: [Case.of(r(3)), Case.of(r(2, 3), axis=-1, include_initial=True)]
    operation(function, samples)(cumulative)


_cumulative(np.cumulative_sum, np.cumsum, 0)
_cumulative(np.cumulative_prod, np.cumprod, 1)


# ---- differences ---------------------------------------------------------------------------------


def _along(axis: int, ndim: int, *parts: slice) -> list[tuple[slice, ...]]:
    """Make indices that take these parts of one axis."""
    return [(slice(None),) * (axis % ndim) + (part,) for part in parts]


@operation(
    np.diff,
    lambda r: [
        Case.of(r(4)), Case.of(r(2, 4), n=2), Case.of(r(3, 2), axis=0, prepend=0.0),
        Case.of(r(3, 2), 1, 1, r(3, 1), r(3, 2)), Case.of(r(2), n=0),
    ],
)  # fmt: skip
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Tensor:
    """Differences of neighbours along `axis`, n times."""
    t = _tensor(a)
    after, before = _along(axis, t.ndim, slice(1, None), slice(None, -1))
    one = [1 if k == axis % t.ndim else m for k, m in enumerate(t.shape)]
    joined = [
        np.full(one, e, t.dtype) if isinstance(e, (int, float)) else e
        for e in (prepend, t, append)
        if e is not None
    ]
    if len(joined) > 1:
        t = OPS[np.concatenate](joined, axis)
    for _ in range(n):
        t = t[after] - t[before]
    return t


@operation(
    np.trapezoid,
    lambda r: [
        Case.of(r(4)), Case.of(r(4, 2), dx=0.5, axis=0), Case.of(r(2, 4), r(4)),
        Case.of(r(2, 4), r(2, 4), axis=1),
    ],
)  # fmt: skip
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Tensor:
    """Integral along `axis` by the trapezoidal rule; gradients flow through `x` too."""
    t = _tensor(y)
    after, before = _along(axis, t.ndim, slice(1, None), slice(None, -1))
    if x is not None:
        x = _tensor(x)
        dx = diff(x, axis=axis if x.ndim > 1 else -1)
        if x.ndim == 1:
            dx = dx.reshape([-1 if k == axis % t.ndim else 1 for k in range(t.ndim)])
    return (dx * (t[after] + t[before]) * 0.5).sum(axis=axis)  # type: ignore[no-any-return]


@operation(
    np.gradient,
    lambda r: [
        Case.of(r(4)), Case.of(r(3, 4), 0.5, axis=1, edge_order=2), Case.of(r(3, 4), 0.5, r(domain=(0.5, 1.0))),
        Case.of(r(2, 4), np.array([0.0, 1.0, 1.5, 3.0]), axis=(1,), edge_order=2),
    ],
)  # fmt: skip
def gradient(f: Any, *varargs: Any, axis: Axis = None, edge_order: int = 1) -> Any:
    """Derivative along each axis by second-order differences, as `numpy.gradient`.

    The spacing is a number, or the coordinates along the axis as an array; gradients flow through
    it too. One axis gives a Tensor, several give a tuple of them.
    """
    t = _tensor(f)
    axes = range(t.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    spacings = varargs if len(varargs) > 1 else (varargs or (1.0,)) * len(axes)
    found = [_slope(t, h, k % t.ndim, edge_order) for h, k in zip(spacings, axes, strict=True)]
    return found[0] if len(found) == 1 else tuple(found)


def _slope(t: Tensor, spacing: Any, axis: int, edge_order: int) -> Tensor:
    """Derive along one axis; h are the steps between neighbours."""
    n = t.shape[axis]
    if n < edge_order + 1:
        raise ValueError(f"gradient: axis {axis} of shape {t.shape} is too short for its edges")
    h = np.diff(spacing) if np.ndim(spacing) else spacing * np.ones(n - 1, t.dtype)
    h = h.astype(t.dtype).reshape([-1 if k == axis else 1 for k in range(t.ndim)])

    def part(x: Any, start: int, stop: int | None) -> Any:
        return x[_along(axis, t.ndim, slice(start, stop))[0]]

    a, b = part(h, 0, -1), part(h, 1, None)
    left, middle, right = part(t, 0, -2), part(t, 1, -1), part(t, 2, None)
    inside = ((right - middle) * (a / b) + (middle - left) * (b / a)) / (a + b)
    steps = (part(t, 1, None) - part(t, 0, -1)) / h
    first, last = part(steps, 0, 1), part(steps, -1, None)
    if edge_order == 2:  # go on along the parabola through the three points at the edge
        first = 2 * first - part(inside, 0, 1)
        last = 2 * last - part(inside, -1, None)
    return OPS[np.concatenate]([first, inside, last], axis)  # type: ignore[no-any-return]


# ---- convolution ---------------------------------------------------------------------------------


def _convolve(a: Any, v: Any, *, mode: str = "full") -> Any:
    """Products of two sequences, one of them turned around, summed at every overlap."""
    return np.convolve(a, v, mode)  # type: ignore[call-overload]


def _pull_convolve(g: Any, a: Any, v: Any, mode: str = "full") -> Any:
    """Put g in its place among all overlaps, and slide v along, not turned around."""
    n, m = a.shape[0], v.shape[0]
    short = n if n < m else m
    start = {"full": 0, "same": (short - 1) // 2, "valid": short - 1}[mode]
    whole = np.pad(g, (start, n + m - 1 - start - g.shape[0]))
    return np.convolve(whole, np.flip(v, 0), "valid")


def _sequences(r: Any) -> list[Case]:
    modes = [{"mode": mode} for mode in ("full", "same", "valid")]
    return [Case.of(r(n), r(m), **mode) for n, m in ((5, 2), (3, 4), (1, 3)) for mode in modes]


convolve = multilinear(
    _convolve,
    lambda g, z, a, v, **mode: _pull_convolve(g, a, v, **mode),
    lambda g, z, a, v, **mode: _pull_convolve(g, v, a, **mode),
    key=np.convolve, name="convolve", samples=_sequences,
)  # fmt: skip


@operation(np.correlate, _sequences)
def correlate(a: Any, v: Any, mode: str = "valid") -> Tensor:
    """Products of two sequences summed at every overlap: `convolve` with v turned around."""
    return convolve(a, _tensor(v)[::-1], mode=mode)
