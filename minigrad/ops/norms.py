"""Norms of vectors and matrices, and the condition number; public in `minigrad.linalg`.

At 0, where a norm has a corner, its gradient is 0: a subgradient, never NaN.
"""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias

import numpy as np

from ..core.dtypes import Array
from ..core.primitive import Case
from ..core.tensor import ArrayLike, Tensor, as_floating, op
from .elementwise import over, side
from .families import Axis, constant, operation, reduction
from .reduce import of_any_size, shares

__all__ = ["cond", "matrix_norm", "matrix_rank", "norm", "vector_norm"]


Order: TypeAlias = float | Literal["fro", "nuc"]
"""The order of a norm: p of (sum |x|^p)^(1/p), Frobenius, or nuclear (of the singular values)."""


def _vector_norm(x: Array, *, axis: Axis = None, keepdims: bool = False, ord: float = 2) -> Any:
    """Norm of order `ord` of the elements along `axis` (None: of all); the gradient at 0 is 0."""
    if ord in (0, 1) or math.isinf(ord):
        return np.linalg.vector_norm(x, axis=axis, keepdims=keepdims, ord=ord)  # type: ignore[arg-type]

    def length(x: Array) -> Any:
        if axis is None and ord == 2:
            return np.linalg.norm(x, axis=None, keepdims=keepdims)  # a quarter of the time
        return np.linalg.vector_norm(x, axis=axis, keepdims=keepdims, ord=ord)  # type: ignore[arg-type]

    return of_any_size(length, x, axis, ord)


def _norm_slope(z: Any, x: Any, axis: Axis, ord: float = 2) -> Any:
    """Return the derivative by each element, sign(x) (|x| / z)^(ord - 1)."""
    if math.isinf(ord):  # elements that attain it share the gradient
        hit = abs(x) == z
        return side.like_numpy(np.where(hit, x, 1)) * shares(hit, axis, x.dtype)
    if ord in (0, 1):
        return side.like_numpy(x) if ord else np.zeros_like(x)
    ratio = over.like_numpy(x, z)
    if ord == 2:
        return ratio
    sign = np.sign(x) if ord > 2 else side.like_numpy(x)  # up to 2, elements of 0 are corners
    return sign * np.where(ratio == 0, 1, abs(ratio)) ** (ord - 1)


vector_norm = reduction(
    _vector_norm,
    _norm_slope,
    key=np.linalg.vector_norm,
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


_MATRIX: tuple[Order, ...] = ("fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf)


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
def matrix_norm(x: ArrayLike, *, keepdims: bool = False, ord: Order | None = "fro") -> Tensor:
    """Norm of matrices in the last two axes.

    'fro': root of the sum of squares; 1 and inf: largest sum of a column and of a row; 2: largest
    singular value; 'nuc': their sum; -1, -inf and -2: the smallest instead of the largest.
    """
    if ord is None or ord == "fro":
        return vector_norm(x, axis=(-2, -1), keepdims=keepdims)
    if ord not in _MATRIX:
        raise ValueError(f"matrix_norm: ord is one of {_MATRIX}, not {ord!r}")
    if isinstance(ord, str) or abs(ord) == 2:
        sizes = op(np.linalg.svdvals)(x)
    else:
        sizes = abs(as_floating(x)).sum(axis=-2 if abs(ord) == 1 else -1)
    z = sizes.sum(-1) if isinstance(ord, str) else sizes.max(-1) if ord > 0 else sizes.min(-1)
    return op(np.expand_dims)(z, (-2, -1)) if keepdims else z


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
def norm(
    x: ArrayLike, ord: Order | None = None, axis: Axis = None, keepdims: bool = False
) -> Tensor:
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
    matrices = op(np.moveaxis)(x, axes, (-2, -1))
    z = matrix_norm(matrices, ord="fro" if ord is None else ord)
    return op(np.expand_dims)(z, axes) if keepdims else z


@operation(np.linalg.cond, lambda r: [Case.of(r.regular(2, 3, 3), p) for p in (None, -2, 1, "fro")])
def cond(x: ArrayLike, p: Order | None = None) -> Tensor:
    """Condition number: the norm of order p times that of the inverse; inf for a matrix of zeros."""
    if p in (None, 2, -2):
        s = op(np.linalg.svd)(x, full_matrices=False)[1]
        with np.errstate(divide="ignore", invalid="ignore"):
            z = s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
        return op(np.where)(np.isnan(z) & ~np.isnan(s).any(-1), np.inf, z)
    return matrix_norm(x, ord=p) * matrix_norm(op(np.linalg.inv)(x), ord=p)


matrix_rank = constant(np.linalg.matrix_rank)
