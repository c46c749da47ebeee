"""Norms of vectors and matrices, and the condition number; public in `minigrad.linalg`.

At 0, where a norm has a corner, its gradient is 0: a subgradient, never NaN.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.primitive import Case, constant, general, operation
from ..core.tensor import OPS, Tensor, as_floating

__all__ = ["cond", "matrix_norm", "matrix_rank", "norm", "vector_norm"]


def _vector_norm(x: Any, *, axis: Any = None, keepdims: bool = False, ord: float = 2) -> Any:
    """Norm of order `ord` of the elements along `axis` (None: of all); the gradient at 0 is 0."""
    if axis is None and ord == 2:
        return np.linalg.norm(x, axis=None, keepdims=keepdims)  # a quarter of the time
    return np.linalg.vector_norm(x, axis=axis, keepdims=keepdims, ord=ord)


def _kept(z: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    """Put the reduced axes back, with length 1."""
    if axis is None:
        return z.reshape((1,) * x.ndim)
    return z if keepdims else np.expand_dims(z, axis)


def _slope(z: Any, x: Any, axis: Any, keepdims: bool, ord: float) -> Any:
    """Differentiate the norm by each element: sign(x) (|x| / z)^(ord - 1)."""
    z = _kept(z, x, axis, keepdims)
    if math.isinf(ord):  # elements that attain it share the gradient
        hit = abs(x) == z
        return np.sign(x) * (hit / hit.sum(axis=axis, keepdims=True, dtype=x.dtype))
    if ord in (0, 1):
        return np.sign(x) if ord else np.zeros_like(x)
    ratio = x / np.where(z == 0, np.inf, z)
    if ord == 2:
        return ratio
    return np.sign(x) * np.where(ratio == 0, 1, abs(ratio)) ** (ord - 1)


def _pull_norm(
    g: Any, z: Any, x: Any, axis: Any = None, keepdims: bool = False, ord: float = 2
) -> Any:
    return _kept(g, x, axis, keepdims) * _slope(z, x, axis, keepdims, ord)


def _push_norm(
    dx: Any, z: Any, x: Any, axis: Any = None, keepdims: bool = False, ord: float = 2
) -> Any:
    return (dx * _slope(z, x, axis, keepdims, ord)).sum(axis=axis, keepdims=keepdims)


vector_norm = general(
    _vector_norm,
    pulls=[_pull_norm],
    pushes=[_push_norm],
    key=np.linalg.vector_norm,
    name="vector_norm",
    samples=lambda r: [
        Case.of(r(3)),
        Case.of(r(2, 3), keepdims=True),
        Case.of(r(2, 3), axis=0),
        Case.of(r(2, 3, 2), axis=(0, -1), keepdims=True),
        *[
            Case.of(0.2 * r(2, 3) + np.array([1, -2, 3]), axis=-1, ord=p)
            for p in (1, 3, 2.5, 0.5, -1, 0, np.inf, -np.inf)
        ],
    ],
)


_MATRIX: tuple[Any, ...] = ("fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf)


@operation(
    np.linalg.matrix_norm,
    lambda r: [
        *[
            Case.of(0.2 * r(2, 3, 2) + np.array([[9, 1], [0.7, 3], [0.7, 0.7]]), ord=p)
            for p in _MATRIX
        ],
        Case.of(r.regular(3, 2), ord=1, keepdims=True),
    ],
)
def matrix_norm(x: Any, *, keepdims: bool = False, ord: Any = "fro") -> Tensor:
    """Norm of matrices in the last two axes.

    'fro': root of the sum of squares; 1 and inf: largest sum of a column and of a row; 2: largest
    singular value; 'nuc': their sum; -1, -inf and -2: the smallest instead of the largest.
    """
    if ord is None or ord == "fro":
        return vector_norm(x, axis=(-2, -1), keepdims=keepdims)
    if ord not in _MATRIX:
        raise ValueError(f"matrix_norm: ord is one of {_MATRIX}, not {ord!r}")
    if ord in ("nuc", 2, -2):
        sizes = OPS[np.linalg.svdvals](x)
    else:
        sizes = abs(as_floating(x)).sum(axis=-2 if abs(ord) == 1 else -1)
    z = sizes.sum(-1) if ord == "nuc" else sizes.max(-1) if ord > 0 else sizes.min(-1)
    return OPS[np.expand_dims](z, (-2, -1)) if keepdims else z  # type: ignore[no-any-return]


@operation(
    np.linalg.norm,
    lambda r: [
        Case.of(r(2, 2, 2)),
        Case.of(r(3), 3),
        Case.of(r(2, 3), axis=-1, keepdims=True),
        Case.of(r(2, 3), ord=1, axis=0),
        Case.of(r.regular(3, 2), "nuc"),
        Case.of(r.regular(3, 2), keepdims=True),
        Case.of(r(3, 2, 2), np.inf, axis=(2, 0), keepdims=True),
    ],
)
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Norm of vectors along an axis, of matrices along two, or of all elements (both left out).

    See `vector_norm` and `matrix_norm` for `ord`. The gradient of the norm of zeros is 0.
    """
    if ord is None and axis is None:
        return vector_norm(x, keepdims=True) if keepdims else vector_norm(x)
    every = tuple(range(np.ndim(x)))
    axes = every if axis is None else axis if isinstance(axis, tuple) else (axis,)
    if len(axes) == 1:
        return vector_norm(x, axis=axes[0], ord=2 if ord is None else ord, keepdims=keepdims)
    if len(axes) != 2:
        raise ValueError(f"norm of shape {np.shape(x)}: give one axis, for vectors, or two")
    matrices = OPS[np.moveaxis](x, axes, (-2, -1))
    z = matrix_norm(matrices, ord="fro" if ord is None else ord)
    return OPS[np.expand_dims](z, axes) if keepdims else z


@operation(np.linalg.cond, lambda r: [Case.of(r.regular(2, 3, 3), p) for p in (None, -2, 1, "fro")])
def cond(x: Any, p: Any = None) -> Tensor:
    """Condition number: the norm of order p times that of the inverse; inf for a matrix of zeros."""
    if p in (None, 2, -2):
        s: Tensor = OPS[np.linalg.svdvals](x)
        with np.errstate(divide="ignore", invalid="ignore"):
            z = s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
        return OPS[np.where](np.isnan(z) & ~np.isnan(s).any(-1), np.inf, z)  # type: ignore[no-any-return]
    return matrix_norm(x, ord=p) * matrix_norm(OPS[np.linalg.inv](x), ord=p)


matrix_rank = constant(np.linalg.matrix_rank)
