"""Products of vectors and matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..primitive import Case, multilinear, operation
from ..tensor import OPS, Tensor

__all__ = ["dot", "matmul", "outer", "tensordot"]


def _matmul(x1: Any, x2: Any) -> Any:
    """Matrix product with NumPy's rules for vectors and stacks of matrices."""
    if x2.ndim == 2 and x1.ndim > 2:  # one large product instead of a stack of small ones
        return (x1.reshape(-1, x1.shape[-1]) @ x2).reshape(*x1.shape[:-1], x2.shape[-1])
    return x1 @ x2


def _pull_left(g: Any, z: Any, a: Any, b: Any) -> Any:
    if b.ndim == 1:
        return g[..., None] * b
    if a.ndim == 1:
        return (b @ g[..., None])[..., 0]
    return matmul.like_numpy(g, b.mT)


def _pull_right(g: Any, z: Any, a: Any, b: Any) -> Any:
    if a.ndim == 1:
        return g * a if b.ndim == 1 else a[:, None] * g[..., None, :]
    if b.ndim == 1:
        return (a.mT @ g[..., None])[..., 0]
    if b.ndim == 2 and a.ndim > 2:  # as in forward; it also sums over the stack
        return a.reshape(-1, a.shape[-1]).mT @ g.reshape(-1, g.shape[-1])
    return a.mT @ g


_SHAPES: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((2, 3), (3, 2)), ((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((4, 2, 3), (3, 2)),
    ((2, 3), (4, 3, 2)), ((4, 1, 2, 3), (2, 3, 2)), ((3,), (4, 3, 2)), ((4, 2, 3), (3,)),
    ((2, 0), (0, 3)),
)  # fmt: skip

matmul = multilinear(
    _matmul,
    _pull_left,
    _pull_right,
    key=np.matmul,
    name="matmul",
    samples=lambda r: [Case.of(r(*a), r(*b)) for a, b in _SHAPES],
)


def _products(r: Any) -> list[Case]:
    shapes: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
        ((), (2, 3)), ((2, 3), ()), ((3,), (3,)), ((2, 3), (3, 4)), ((2, 3), (3,)), ((2, 3), (4, 3, 2)),
    ]  # fmt: skip
    return [Case.of(r(*a), r(*b)) for a, b in shapes]


@operation(np.dot, _products)
def dot(a: Any, b: Any) -> Tensor:
    """Product over the last axis of a and the last but one of b, as `numpy.dot`."""
    n, m = np.ndim(a), np.ndim(b)
    if n == 0 or m == 0:
        return OPS[np.multiply](a, b)  # type: ignore[no-any-return]
    if m <= 2:
        return matmul(a, b)
    return tensordot(a, b, ((n - 1,), (m - 2,)))


@operation(
    np.tensordot,
    lambda r: [
        Case.of(r(2, 3, 4), r(3, 4, 2)),
        Case.of(r(2), r(3), axes=0),
        Case.of(r(2, 3), r(4, 3), axes=((-1,), (1,))),
    ],
)
def tensordot(a: Any, b: Any, axes: int | Sequence[Any] = 2) -> Tensor:
    """Sum of products over `axes`: how many last and first axes, or the two lists of them."""
    transpose, reshape = OPS[np.transpose], OPS[np.reshape]
    n, m = np.ndim(a), np.ndim(b)
    if isinstance(axes, int):
        axes = (range(n - axes, n), range(axes))
    over_a, over_b = (
        [k % d for k in np.atleast_1d(list_)]
        for list_, d in zip(map(list, axes), (n, m), strict=True)
    )
    free_a = [k for k in range(n) if k not in over_a]
    free_b = [k for k in range(m) if k not in over_b]
    rows, columns = [np.shape(a)[k] for k in free_a], [np.shape(b)[k] for k in free_b]
    left = reshape(transpose(a, free_a + over_a), (math.prod(rows), -1))
    right = reshape(transpose(b, over_b + free_b), (-1, math.prod(columns)))
    return matmul(left, right).reshape((*rows, *columns))


@operation(np.outer, lambda r: [Case.of(r(2), r(3)), Case.of(r(2, 2), r(2))])
def outer(a: Any, b: Any) -> Tensor:
    """Products of every element of a with every element of b, both flattened."""
    reshape = OPS[np.reshape]
    return OPS[np.multiply](reshape(a, (-1, 1)), reshape(b, (1, -1)))  # type: ignore[no-any-return]
