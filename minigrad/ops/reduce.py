"""Reductions and scans along axes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..primitive import Case, general, linear

__all__ = [
    "cumsum", "log_softmax", "logsumexp", "max", "mean", "min", "prod", "softmax", "std", "sum",
    "var",
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


def _reduced(r: Any) -> list[Case]:
    return [
        Case.of(r(2, 3)),
        Case.of(r(2, 3), axis=0),
        Case.of(r(2, 3, 2), axis=-1, keepdims=True),
        Case.of(r(2, 3, 2), axis=(0, 2)),
        Case.of(r(3), axis=None, keepdims=True),
        Case.of(r()),
    ]


def _sums(r: Any) -> list[Case]:
    return [*_reduced(r), Case.of(r(2, 3), axis=()), Case.of(r(0, 2)), Case.of(r(0, 2), axis=0)]


def _sum(a: Any, *, axis: Axis = None, keepdims: bool = False) -> Any:
    return a.sum(axis=axis, keepdims=keepdims)


def _mean(a: Any, *, axis: Axis = None, keepdims: bool = False) -> Any:
    return a.mean(axis=axis, keepdims=keepdims)


def _pull_sum(g: Any, z: Any, a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    return np.broadcast_to(_keep(g, a, axis), a.shape)


def _pull_mean(g: Any, z: Any, a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    return np.broadcast_to(_keep(g / (a.size / z.size), a, axis), a.shape)


def _cumsum(a: Any, *, axis: int | None = None) -> Any:
    return np.cumsum(a, axis=axis)


def _pull_cumsum(g: Any, z: Any, a: Any, axis: int | None = None) -> Any:
    along = 0 if axis is None else axis
    return np.flip(np.cumsum(np.flip(g, along), axis=along), along).reshape(a.shape)


sum = linear(_sum, _pull_sum, key=np.sum, name="sum", samples=_sums)
mean = linear(_mean, _pull_mean, key=np.mean, name="mean", samples=_reduced)
cumsum = linear(
    _cumsum,
    _pull_cumsum,
    key=np.cumsum,
    name="cumsum",
    samples=lambda r: [Case.of(r(2, 3)), Case.of(r(2, 3), axis=0), Case.of(r(2, 3), axis=-1)],
)


# ---- extremes: a tie shares the gradient evenly ------------------------------------------------


def _max(a: Any, *, axis: Axis = None, keepdims: bool = False) -> Any:
    return a.max(axis=axis, keepdims=keepdims)


def _min(a: Any, *, axis: Axis = None, keepdims: bool = False) -> Any:
    return a.min(axis=axis, keepdims=keepdims)


def _weights(z: Any, a: Any, axis: Axis) -> Any:
    """Share 1 among the elements that attain the extreme; constant, of a's dtype."""
    hit = a == _keep(z, a, axis)
    return hit / np.maximum(hit.sum(axis=axis, keepdims=True), 1, dtype=a.dtype)


def _pull_extreme(g: Any, z: Any, a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    return _keep(g, a, axis) * _weights(z, a, axis)


def _push_extreme(da: Any, z: Any, a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    return (da * _weights(z, a, axis)).sum(axis=axis, keepdims=keepdims)


max = general(
    _max, key=np.max, name="max", pulls=[_pull_extreme], pushes=[_push_extreme], samples=_reduced
)
min = general(
    _min, key=np.min, name="min", pulls=[_pull_extreme], pushes=[_push_extreme], samples=_reduced
)


# ---- products: the derivative by one factor is the product of the others, also among zeros -------


def _prod(a: Any, *, axis: Axis = None, keepdims: bool = False) -> Any:
    return a.prod(axis=axis, keepdims=keepdims)


def _others(a: Any, axis: Axis) -> Any:
    """Multiply, for each element, all the other elements along `axis`; no division, so zeros are safe."""
    axes = tuple(range(len(a.shape))) if axis is None else axis
    axes = tuple([k % len(a.shape) for k in (axes if isinstance(axes, tuple) else (axes,))])
    rest = tuple([k for k in range(len(a.shape)) if k not in axes])
    front = a.transpose(axes + rest)
    rows = front.reshape((math.prod(front.shape[: len(axes)]), *front.shape[len(axes) :]))
    before, after = [rows[:1] * 0 + 1], [rows[:1] * 0 + 1]
    for k in range(len(rows) - 1):
        before.append(before[-1] * rows[k : k + 1])
        after.append(after[-1] * rows[len(rows) - 1 - k : len(rows) - k])
    both = np.concatenate(before) * np.concatenate(after[::-1])
    return both.reshape(front.shape).transpose(np.argsort(axes + rest))


def _pull_prod(g: Any, z: Any, a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    return _keep(g, a, axis) * _others(a, axis)


def _push_prod(da: Any, z: Any, a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    return (da * _others(a, axis)).sum(axis=axis, keepdims=keepdims)


prod = general(
    _prod,
    key=np.prod,
    name="prod",
    pulls=[_pull_prod],
    pushes=[_push_prod],
    samples=lambda r: [*_reduced(r), Case.of(np.array([2.0, 0.0, 3.0])), Case.of(np.zeros((2, 2)))],
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


def _pull_logsumexp(g: Any, z: Any, a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    return _keep(g, a, axis) * _probability(z, a, axis)


def _push_logsumexp(da: Any, z: Any, a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    return (da * _probability(z, a, axis)).sum(axis=axis, keepdims=keepdims)


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
        Case.of(r(3)),
        Case.of(r(2, 3)),
        Case.of(r(2, 3), axis=0),
        Case.of(r(2, 2), axis=(0, 1)),
    ]


logsumexp = general(
    _logsumexp,
    name="logsumexp",
    pulls=[_pull_logsumexp],
    pushes=[_push_logsumexp],
    samples=_reduced,
)
softmax = general(
    _softmax, name="softmax", pulls=[_rule_softmax], pushes=[_rule_softmax], samples=_normalised
)
log_softmax = general(
    _log_softmax,
    name="log_softmax",
    pulls=[_pull_log_softmax],
    pushes=[_push_log_softmax],
    samples=_normalised,
)


# ---- spread ----------------------------------------------------------------------------------------


def _spread(r: Any) -> list[Case]:
    return [*_reduced(r)[:-2], Case.of(r(4), ddof=1), Case.of(r(3, 4), axis=1, ddof=1)]


def _var(a: Any, *, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Any:
    return a.var(axis=axis, ddof=ddof, keepdims=keepdims)


def _std(a: Any, *, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Any:
    return a.std(axis=axis, ddof=ddof, keepdims=keepdims)


def _slope_var(z: Any, a: Any, axis: Axis, ddof: float) -> Any:
    return (a - a.mean(axis=axis, keepdims=True)) * (2 / (a.size / z.size - ddof))


def _slope_std(z: Any, a: Any, axis: Axis, ddof: float) -> Any:
    """Half the slope of the variance over the deviation; 0 where nothing deviates."""
    s = _keep(z, a, axis)
    return 0.5 * _slope_var(z, a, axis, ddof) / np.where(s == 0, 1, s)


def _rules(slope: Any) -> dict[str, Any]:
    def pull(g: Any, z: Any, a: Any, axis: Axis = None, ddof: float = 0, keepdims: Any = 0) -> Any:
        return _keep(g, a, axis) * slope(z, a, axis, ddof)

    def push(da: Any, z: Any, a: Any, axis: Axis = None, ddof: float = 0, keepdims: Any = 0) -> Any:
        return (da * slope(z, a, axis, ddof)).sum(axis=axis, keepdims=bool(keepdims))

    return {"pulls": [pull], "pushes": [push]}


var = general(_var, key=np.var, name="var", samples=_spread, **_rules(_slope_var))
std = general(_std, key=np.std, name="std", samples=_spread, **_rules(_slope_std))
