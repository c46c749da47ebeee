"""Losses: what they compute, their names, options and defaults are PyTorch's.

`input` is what a model gives, `target` what it should. Their shapes must be equal (or fit, where
the target names classes): nothing broadcasts. `reduction` is "mean", "sum" or "none".
"""

from __future__ import annotations

import math
from functools import partial
from numbers import Integral
from typing import Any, Literal, TypeAlias

import numpy as np

from ..core.context import tracing
from ..core.dtypes import Array, plain
from ..core.tensor import ArrayLike, Tensor, as_floating, as_tensor, checked, numbers_of
from ..guard.errors import shown
from ..ops.elementwise import abs as absolute
from ..ops.elementwise import clip, exp, log, maximum, relu, softplus, square, where
from ..ops.families import untracked
from ..ops.norms import vector_norm
from ..ops.reduce import log_softmax, mean
from ..ops.reduce import sum as total
from .arguments import flag, number

__all__ = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits",
    "cosine_embedding_loss", "cosine_similarity", "cross_entropy", "huber_loss", "kl_div",
    "l1_loss", "mse_loss", "nll_loss", "smooth_l1_loss",
]  # fmt: skip

Reduction: TypeAlias = Literal["mean", "sum", "none"]
"""What becomes of the losses of the elements: their mean, their sum, or themselves."""

# ---- differences ---------------------------------------------------------------------------------


def mse_loss(input: ArrayLike, target: ArrayLike, *, reduction: Reduction = "mean") -> Tensor:
    """Return the mean of the squared differences; the shapes must be equal: nothing broadcasts."""
    x, y = _pair("mse_loss", input, target)
    return _reduced("mse_loss", square(x - y), reduction)


def l1_loss(input: ArrayLike, target: ArrayLike, *, reduction: Reduction = "mean") -> Tensor:
    """Return the mean of the absolute differences; the shapes must be equal."""
    x, y = _pair("l1_loss", input, target)
    return _reduced("l1_loss", absolute(x - y), reduction)


def huber_loss(
    input: ArrayLike, target: ArrayLike, *, reduction: Reduction = "mean", delta: float = 1.0
) -> Tensor:
    """Return the mean of d^2 / 2 where |d| <= delta and of delta (|d| - delta / 2) elsewhere.

    d = input - target; the shapes must be equal. Source: Huber, 1964.
    """
    check_options("huber_loss", reduction=reduction, delta=delta)
    x, y = _pair("huber_loss", input, target)
    return _reduced("huber_loss", _huber(x - y, delta), reduction)


def smooth_l1_loss(
    input: ArrayLike, target: ArrayLike, *, reduction: Reduction = "mean", beta: float = 1.0
) -> Tensor:
    """Return `huber_loss` with delta = beta, divided by beta: `l1_loss` for beta = 0."""
    check_options("smooth_l1_loss", reduction=reduction, beta=beta)
    x, y = _pair("smooth_l1_loss", input, target)
    losses = _huber(x - y, beta) / beta if beta else absolute(x - y)
    return _reduced("smooth_l1_loss", losses, reduction)


def _huber(d: Tensor, delta: float) -> Tensor:
    c = clip(d, -delta, delta)  # inside c = d, which gives d^2 / 2
    return c * (d - c / 2)


# ---- classes -------------------------------------------------------------------------------------


def cross_entropy(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return the mean of -log softmax(input)[target], of logits (N, C), (C,) or (N, C, ...).

    The target holds integers 0 .. C - 1 in the shape without C, or floats, probabilities of the
    classes, in the shape of the logits. Each class counts by its `weight`; elements whose target is
    `ignore_index` do not count. The mean is that over the weights of the targets, or over the
    number of distributions where the target holds probabilities. `label_smoothing` mixes that much
    of the uniform distribution into the target. Source: Szegedy et al., 2016, section 7.

    ValueError for indices out of range, probabilities that do not sum to 1 and shapes that do not
    fit; for sequences (N, T, C), write `logits.swapaxes(1, -1)`.

    >>> round(cross_entropy([[2.0, 0.0], [0.0, 2.0]], [0, 0]).item(), 4)
    1.1269
    """
    who = "cross_entropy"
    check_options(
        who, reduction=reduction, label_smoothing=label_smoothing, ignore_index=ignore_index
    )
    logits, axis = _classes(who, input)
    scale = _class_weights(who, weight, logits, axis)
    given = _numbers(who, target)
    if given.dtype.kind != "f" or given.shape != logits.shape:
        rows = _log_softmax(logits, axis)
        return _by_index(who, rows, given, scale, ignore_index, reduction, label_smoothing)
    checked(partial(_check_probabilities, who, axis), given)
    if ignore_index != -100:
        raise ValueError(f"{who}: ignore_index={ignore_index} is for indices, not probabilities")
    share = label_smoothing / logits.shape[axis]
    mixed = as_tensor(target) * (1 - label_smoothing) + share if share else as_tensor(target)
    rows = _log_softmax(logits, axis)
    excluded = np.isneginf(numbers_of(rows)) & (numbers_of(mixed) == 0)  # 0 log 0 = 0
    terms = mixed * (where(excluded, 0.0, rows) if tracing() or excluded.any() else rows)
    return _reduced(who, -total(terms if scale is None else terms * scale, axis), reduction)


def nll_loss(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the mean of -input[target], of logarithms of probabilities, as log_softmax gives them.

    Shapes, weights and errors are those of `cross_entropy`, which takes logits. ValueError also for
    an input above 0, the logarithm of no probability.
    """
    check_options("nll_loss", reduction=reduction, ignore_index=ignore_index)
    rows, axis = _classes("nll_loss", input)
    checked(partial(_check_logarithms, "nll_loss", "the input"), rows)
    scale = _class_weights("nll_loss", weight, rows, axis)
    given = _numbers("nll_loss", target)
    return _by_index("nll_loss", rows, given, scale, ignore_index, reduction, 0.0)


def _classes(who: str, input: ArrayLike) -> tuple[Tensor, int]:
    """Return what has a number for each class, and the axis of the classes."""
    x = as_floating(input)
    if not x.ndim:
        raise ValueError(f"{who}: the input must have an axis of classes, and is one number")
    axis = min(1, x.ndim - 1)
    if not x.shape[axis]:
        raise ValueError(f"{who}: nothing is on axis {axis}, of the classes, in shape {x.shape}")
    return x, axis


def _numbers(who: str, target: Any) -> Any:
    """Return a target as an array; where a program is traced, as a constant tensor."""
    given = numbers_of(target)
    return given if isinstance(given, Tensor) else plain(given, who, "takes")


def _log_softmax(x: Tensor, axis: int) -> Tensor:
    """Return log_softmax; of the last axis as everybody writes it, and pictures show it."""
    return log_softmax(x) if axis == x.ndim - 1 else log_softmax(x, axis)


def _by_index(
    who: str,
    rows: Tensor,
    target: Any,
    scale: Any,
    ignored: int,
    reduction: Reduction,
    smoothing: float,
) -> Tensor:
    """Return the loss of the classes that indices name, from the logarithms of probabilities."""
    axis = min(1, rows.ndim - 1)
    shape = rows.shape[:axis] + rows.shape[axis + 1 :]
    if target.dtype.kind not in "iu" or target.shape != shape:
        write = ""
        if target.shape == shape and target.dtype.kind == "f":
            write = "; write target.astype(int)"
        elif target.shape == rows.shape and who == "cross_entropy":
            write = "; for probabilities write target.astype(float)"
        elif target.shape == rows.shape[:-1]:
            write = "; the classes come on axis 1: write logits.swapaxes(1, -1)"
        raise ValueError(
            f"{who}: an input of shape {rows.shape} needs integer labels of shape {shape}, not "
            f"{target.dtype} of shape {target.shape}{write}"
        )
    classes = rows.shape[axis]
    counted = _counted(who, target, classes, ignored)
    index = target if counted is None else np.where(counted, target, 0)
    grid: list[Any] = [np.arange(n).reshape(n, *[1] * (len(shape) - 1 - k))
                       for k, n in enumerate(shape)]  # fmt: skip
    losses = -rows[(*grid[:axis], index, *grid[axis:])]
    weights = None if scale is None else scale.ravel()[index]
    if weights is not None:
        losses = losses * weights
    if smoothing:
        spread = total(rows if scale is None else rows * scale, axis) * (-smoothing / classes)
        losses = losses * (1 - smoothing) + spread
    if counted is not None:
        losses = where(counted, losses, 0.0)
    if reduction != "mean" or (counted is None and weights is None):
        return _reduced(who, losses, reduction)
    _require_some(who, shape)
    each = np.ones(shape, losses.dtype) if weights is None else weights
    weight = _sum_of_weights(each, counted)
    checked(partial(_require_weight, who, ignored), weight, counted)
    return total(losses) / (weight.astype(losses.dtype) if tracing() else float(weight))


@untracked
def _sum_of_weights(each: Array, counted: Array | None) -> Array:
    return np.asarray(each.sum(where=True if counted is None else counted, dtype=float))


def _require_weight(who: str, ignored: int, weight: Array, counted: Array | None) -> None:
    if not weight:
        none = counted is not None and not counted.any()
        raise ValueError(
            f"{who}: the mean is of nothing, for "
            + (f"all is {ignored}" if none else "the classes of the target weigh 0")
            + "; leave such batches out, or write reduction='sum'"
        )


def _counted(who: str, target: Any, classes: int, ignored: int) -> Any:
    """Return where a target counts, None for everywhere; ValueError for one that is no class."""
    checked(partial(_require_classes, who, classes, ignored), target)
    if tracing():
        return target != ignored
    inside = not target.size or (target.min() >= 0 and target.max() < classes)
    if inside and not 0 <= ignored < classes:
        return None
    counted: Array = target != ignored
    return None if counted.all() else counted


def _require_classes(who: str, classes: int, ignored: int, target: Array) -> None:
    if not target.size or (target.min() >= 0 and target.max() < classes):
        return
    counted = target != ignored
    wrong = counted & ((target < 0) | (target >= classes))
    if wrong.any():
        at = tuple([int(k) for k in np.argwhere(wrong)[0]])
        raise ValueError(
            f"{who}: labels must lie in 0 .. {classes - 1}, for there are {classes} classes, and "
            f"the target is {target[at]} at {at}"
        )


def _class_weights(who: str, weight: ArrayLike | None, x: Tensor, axis: int) -> Any:
    """Return the weights of the classes, in a shape that broadcasts along them."""
    if weight is None:
        return None
    w = _constant(who, "weight", weight, x, (x.shape[axis],))
    return w.reshape(-1, *[1] * (x.ndim - 1 - axis))


# ---- two classes ---------------------------------------------------------------------------------


def binary_cross_entropy_with_logits(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    reduction: Reduction = "mean",
    pos_weight: ArrayLike | None = None,
) -> Tensor:
    """Return the mean of -y log s(x) - (1 - y) log(1 - s(x)), s being the sigmoid of logits x.

    The target y, from 0 to 1, has the shape of x. `weight` broadcasts over the elements;
    `pos_weight` multiplies the first term, one number for each position of the last axes.
    """
    who = "binary_cross_entropy_with_logits"
    check_options(who, reduction=reduction)
    x, y = _pair(who, input, target)
    _check_shares(who, "the target", y)
    yes = softplus(-x)
    if pos_weight is not None:
        yes = yes * _constant(who, "pos_weight", pos_weight, x)
    losses = y * yes + (1 - y) * softplus(x)
    return _reduced(who, _weighted(who, losses, weight), reduction)


def binary_cross_entropy(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the mean of -y log p - (1 - y) log(1 - p), of probabilities p.

    As in PyTorch no logarithm is below -100, and its slope at 0 is 1e12. Where p comes of a
    sigmoid, `binary_cross_entropy_with_logits` is exact, also where p is 0 or 1.
    """
    who = "binary_cross_entropy"
    check_options(who, reduction=reduction)
    p, y = _pair(who, input, target)
    _check_shares(who, "the input", p, "; for logits there is binary_cross_entropy_with_logits")
    _check_shares(who, "the target", y)
    losses = -(y * _bounded_log(p) + (1 - y) * _bounded_log(1 - p))
    return _reduced(who, _weighted(who, losses, weight), reduction)


def _bounded_log(p: Tensor) -> Tensor:
    """Return log(p), and a steep line from -100 where that would be less."""
    slope = min(1e12, float(np.finfo(p.dtype).max))
    above = numbers_of(p) > p.dtype.type(math.exp(-100))
    y: Tensor = where(above, log(where(above, p, 1.0)), p * slope - 100.0)
    return y


def _weighted(who: str, losses: Tensor, weight: ArrayLike | None) -> Tensor:
    return losses if weight is None else losses * _constant(who, "weight", weight, losses)


# ---- distributions and directions ----------------------------------------------------------------


def kl_div(
    input: ArrayLike,
    target: ArrayLike,
    *,
    reduction: Reduction | Literal["batchmean"] = "mean",
    log_target: bool = False,
) -> Tensor:
    """Return the mean of t (log t - input), of probabilities t and logarithms of probabilities.

    This is the divergence of the input from the target, KL(t || exp(input)), when it is summed over
    the classes: so write reduction="batchmean", the sum divided by the length of the first axis.
    With `log_target` the target holds log t. Source: Kullback & Leibler, 1951.
    """
    check_options("kl_div", reduction=None if reduction == "batchmean" else reduction)
    x, t = _pair("kl_div", input, target)
    checked(partial(_check_logarithms, "kl_div", "the input"), x)
    if flag("kl_div", "log_target", log_target):
        checked(partial(_check_logarithms, "kl_div", "the target"), t)
        losses = exp(t) * (t - x)
    else:
        _check_shares("kl_div", "the target", t)
        some = numbers_of(t) > 0
        losses = where(some, t * (log(where(some, t, 1.0)) - where(some, x, 0.0)), 0.0)
    if reduction != "batchmean":
        return _reduced("kl_div", losses, reduction)
    _require_some("kl_div", losses.shape)
    return total(losses) / (len(losses) if losses.ndim else 1)


def cosine_similarity(x1: ArrayLike, x2: ArrayLike, axis: int = 1, *, eps: float = 1e-8) -> Tensor:
    """Return x1 . x2 / (max(|x1|, eps) max(|x2|, eps)) along an axis; the others broadcast."""
    check_options("cosine_similarity", eps=eps)
    a, b = as_floating(x1), as_floating(x2)
    there = -min(a.ndim, b.ndim) <= axis < min(a.ndim, b.ndim)
    if not there or a.shape[axis] != b.shape[axis]:
        raise ValueError(
            f"cosine_similarity: on axis {axis} of shapes {a.shape} and {b.shape} there are no "
            "vectors of one length"
        )
    return total(_direction(a, axis, eps) * _direction(b, axis, eps), axis)


def cosine_embedding_loss(
    input1: ArrayLike,
    input2: ArrayLike,
    target: ArrayLike,
    *,
    margin: float = 0.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the mean of 1 - cos where the target is 1, of max(0, cos - margin) where it is -1.

    cos is the `cosine_similarity` of vectors (N, D) or (D,); the target is of shape (N,) or ().
    """
    who = "cosine_embedding_loss"
    check_options(who, margin=margin, reduction=reduction)
    a, b = _pair(who, input1, input2, ("first input", "second"))
    y = _numbers(who, target)
    if a.ndim not in (1, 2) or y.shape != a.shape[:-1]:
        raise ValueError(
            f"{who}: takes vectors (N, D) and a target (N,), or (D,) and one number, not shapes "
            f"{a.shape} and {y.shape}"
        )
    checked(partial(_require_sides, who), y)
    cos = cosine_similarity(a, b, -1)
    return _reduced(who, where(y == 1, 1 - cos, relu(cos - margin)), reduction)


def _require_sides(who: str, y: Array) -> None:
    if not (np.abs(y) == 1).all():
        raise ValueError(f"{who}: the target must be 1 or -1, not {y[np.abs(y) != 1][0]}")


def _direction(x: Tensor, axis: int, eps: float) -> Tensor:
    least = max(eps, float(np.finfo(x.dtype).tiny))
    y: Tensor = x / maximum(vector_norm(x, axis=axis, keepdims=True), least)
    return y


# ---- what is given, and what is returned ---------------------------------------------------------

_RANGES = {
    "beta": "[0, inf)", "delta": "(0, inf)", "eps": "(0, inf)", "label_smoothing": "[0, 1]",
    "margin": "[-1, 1]",
}  # fmt: skip
_ROUNDING = 2e-3
"""How far probabilities may be from summing to 1: thirds, to three digits, sum to 0.999."""


def check_options(who: str, **options: Any) -> None:
    """Raise ValueError or TypeError for options that cannot be meant."""
    for name, value in options.items():
        if name in _RANGES:
            number(who, name, value, _RANGES[name])
        elif name == "reduction" and value not in (None, "mean", "sum", "none"):
            more = " or 'batchmean'" if who.startswith("kl_div") else ""
            raise ValueError(
                f"{who}: reduction must be 'mean', 'sum', 'none'{more}, not {shown(value)}"
            )
        elif name == "ignore_index" and (
            not isinstance(value, Integral) or isinstance(value, bool)
        ):
            raise TypeError(f"{who}: ignore_index must be an integer, not {shown(value)}")


def _pair(
    who: str, input: ArrayLike, target: ArrayLike, names: tuple[str, str] = ("input", "target")
) -> tuple[Tensor, Tensor]:
    """Return two tensors of one shape; whole numbers take the dtype of the other."""
    x, y = as_floating(input), as_tensor(target)
    if x.shape != y.shape:
        write = f"; write {names[1]}.reshape({x.shape})" if x.size == y.size else ""
        raise ValueError(
            f"{who}: the {names[0]} has shape {x.shape}, the {names[1]} {y.shape}, and nothing "
            f"broadcasts{write}"
        )
    return x, y if y.dtype.kind == "f" else y.astype(x.dtype)


def _constant(
    who: str, name: str, given: ArrayLike, x: Tensor, shape: tuple[int, ...] | None = None
) -> Any:
    """Return weights as an array of the dtype of x: of this shape, or one that broadcasts to x."""
    if isinstance(given, Tensor) and given.live:
        raise ValueError(f"{who}: no gradient flows to {name}; write {name}.detach()")
    w = _numbers(who, given).astype(x.dtype)
    wanted = x.shape if shape is None else shape
    fits = w.shape == wanted
    if shape is None and w.ndim <= x.ndim:
        fits = all(n in (1, m) for n, m in zip(w.shape[::-1], x.shape[::-1], strict=False))
    if not fits:
        kind = "one for each class: shape" if shape is not None else "of a shape that broadcasts to"
        raise ValueError(f"{who}: {name} must be {kind} {wanted}, not {w.shape}")
    checked(partial(_require_weights, who, name), w)
    return w


def _require_weights(who: str, name: str, w: Array) -> None:
    if not (np.isfinite(w).all() and (w >= 0).all()):
        bad = w[~(np.isfinite(w) & (w >= 0))][0]
        raise ValueError(f"{who}: {name} must be finite, and at least 0, not {bad}")


def _check_shares(who: str, what: str, x: Tensor, write: str = "") -> None:
    """Raise ValueError unless all lie in 0 .. 1; NaN is no mistake of the caller's here."""
    checked(partial(_require_shares, who, what, write), x)


def _require_shares(who: str, what: str, write: str, x: Array) -> None:
    out = (x < 0) | (x > 1)
    if out.any():
        raise ValueError(f"{who}: {what} must lie in 0 .. 1, and has {x[out][0]}{write}")


def _check_logarithms(who: str, what: str, x: Array) -> None:
    if (x > _ROUNDING).any():
        raise ValueError(
            f"{who}: {what} must hold logarithms of probabilities, at most 0, and has {x.max()}; "
            "write mg.log_softmax(logits, 1) for logits, mg.log(p) for probabilities"
        )


def _check_probabilities(who: str, axis: int, p: Array) -> None:
    if ((p < 0) | (p > 1 + _ROUNDING)).any():
        bad = p[(p < 0) | (p > 1 + _ROUNDING)][0]
        raise ValueError(f"{who}: probabilities lie in 0 .. 1, and the target has {bad}")
    sums = p.sum(axis, dtype=float)
    off = np.abs(sums - 1) > _ROUNDING
    if off.any():
        raise ValueError(
            f"{who}: the probabilities of the classes, on axis {axis} of the target, must sum to 1 "
            f"and sum to {sums[off].flat[0]:.6g}"
            + ("; for logits write mg.softmax(target, 1)" if (sums > 1).any() else "")
        )


def _reduced(who: str, losses: Tensor, reduction: Any) -> Tensor:
    """Return the mean, the sum, or the losses themselves."""
    check_options(who, reduction=reduction)
    if reduction == "none":
        return losses
    if reduction == "sum":
        return total(losses)
    _require_some(who, losses.shape)
    return mean(losses)


def _require_some(who: str, shape: tuple[int, ...]) -> None:
    """Raise ValueError for an empty batch: the mean of nothing is nan."""
    if 0 in shape:
        raise ValueError(f"{who}: there is nothing to take the mean of in shape {shape}")
