"""Products of vectors and matrices, and the parts of a matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from ..core.dtypes import Array
from ..core.primitive import Case, Primitive
from ..core.tape import Deferred
from ..core.tensor import OPS, ArrayLike, Tensor, op
from .families import linear, multilinear, operation

__all__ = [
    "cross", "diag", "diagflat", "diagonal", "dot", "inner", "kron", "matmul",
    "matrix_transpose", "outer", "tensordot", "trace", "tril", "triu", "vdot",
]  # fmt: skip

Shapes: TypeAlias = Sequence[tuple[tuple[int, ...], tuple[int, ...]]]


# ---- the matrix product ----------------------------------------------------------------------------


def _long(stack: Any) -> Any:
    """View a stack of matrices as one, below one another; also if it is empty."""
    return stack.reshape(math.prod(stack.shape[:-1]), stack.shape[-1])


def _matmul(x1: Array, x2: Array) -> Any:
    """Matrix product with NumPy's rules for vectors and stacks of matrices."""
    if x2.ndim == 2 and x1.ndim > 2:  # one large product instead of a stack of small ones
        return (_long(x1) @ x2).reshape(*x1.shape[:-1], x2.shape[-1])
    return x1 @ x2


def _pull_left(g: Any, z: Any, a: Any, b: Any) -> Any:
    if b.ndim == 1:
        return g[..., None] * b
    if a.ndim == 1:
        return (b @ g[..., None])[..., 0]
    return g @ b.mT if g.ndim <= 2 else matmul.like_numpy(g, b.mT)


def _pull_right(g: Any, z: Any, a: Any, b: Any) -> Any:
    if a.ndim == 1:
        return g * a if b.ndim == 1 else a[:, None] * g[..., None, :]
    if b.ndim == 1:
        return (a.mT @ g[..., None])[..., 0]
    if b.ndim > 2:
        return a.mT @ g
    if a.ndim > 2:  # as in forward; it also sums over the stack
        a, g = _long(a), _long(g)
    return Deferred(_sum_of_products, b, (a, g))


def _sum_of_products(parts: list[Any], like: Any) -> Any:
    """Sum a' g over all uses of a matrix, as in a loop over time, by one product of long columns."""
    lefts, gs = zip(*parts, strict=True)
    if len(gs) == 1:
        return lefts[0].mT @ gs[0]
    return np.concatenate(lefts).mT @ np.concatenate(gs)


_SHAPES: Shapes = (
    ((2, 3), (3, 2)), ((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((4, 2, 3), (3, 2)),
    ((2, 3), (4, 3, 2)), ((4, 1, 2, 3), (2, 3, 2)), ((3,), (4, 3, 2)), ((4, 2, 3), (3,)),
    ((2, 0), (0, 3)), ((3, 2, 0), (0, 3)), ((3, 0, 2), (2, 3)), ((3, 2, 2), (2, 0)), ((0, 2, 3), (3, 2)),
)  # fmt: skip

matmul = multilinear(
    _matmul,
    _pull_left,
    _pull_right,
    key=np.matmul,
    samples=lambda r: [Case.of(r(*a), r(*b)) for a, b in _SHAPES],
)


# ---- products that are others with their axes moved ------------------------------------------------


def _products(r: Any) -> list[Case]:
    shapes: Shapes = [
        ((), (2, 3)), ((2, 3), ()), ((3,), (3,)), ((2, 3), (3, 4)), ((2, 3), (3,)), ((2, 3), (4, 3, 2)),
    ]  # fmt: skip
    return [Case.of(r(*a), r(*b)) for a, b in shapes]


@operation(np.dot, _products)
def dot(a: ArrayLike, b: ArrayLike) -> Tensor:
    """Product over the last axis of a and the last but one of b, as `numpy.dot`."""
    n, m = np.ndim(a), np.ndim(b)
    if n == 0 or m == 0:
        return op(np.multiply)(a, b)
    if m <= 2:
        return matmul(a, b)
    return tensordot(a, b, ((n - 1,), (m - 2,)))


@operation(
    np.tensordot,
    lambda r: [
        Case.of(r(2, 3, 4), r(3, 4, 2)),
        Case.of(r(2), r(3), axes=0),
        Case.of(r(2, 3), r(4, 3), axes=((-1,), (1,))),
        Case.of(r(2, 3), r(4, 3), axes=(1, -1)),
        Case.of(r(2, 0), r(0, 3), axes=1),
    ],
)
def tensordot(a: ArrayLike, b: ArrayLike, axes: int | Sequence[int | Sequence[int]] = 2) -> Tensor:
    """Sum of products over `axes`: how many last and first axes, or the two lists of them."""
    transpose, reshape = op(np.transpose), op(np.reshape)
    (n, left), (m, right) = (len(np.shape(a)), np.shape(a)), (len(np.shape(b)), np.shape(b))
    if isinstance(axes, (int, np.integer)):
        axes = (range(n - axes, n), range(axes))
    over_a, over_b = (list(normalize_axis_tuple(p, d)) for p, d in zip(axes, (n, m), strict=True))
    summed = [left[k] for k in over_a]
    if summed != [right[k] for k in over_b]:
        raise ValueError(
            f"tensordot on shapes {left}, {right}: axes {over_a} and {over_b} differ in length"
        )
    free_a, free_b = (
        [k for k in range(n) if k not in over_a],
        [k for k in range(m) if k not in over_b],
    )
    rows, columns = [left[k] for k in free_a], [right[k] for k in free_b]
    x = reshape(transpose(a, free_a + over_a), (math.prod(rows), math.prod(summed)))
    y = reshape(transpose(b, over_b + free_b), (math.prod(summed), math.prod(columns)))
    return matmul(x, y).reshape((*rows, *columns))


@operation(np.outer, lambda r: [Case.of(r(2), r(3)), Case.of(r(2, 2), r(2))])
def outer(a: ArrayLike, b: ArrayLike) -> Tensor:
    """Products of every element of a with every element of b, both flattened."""
    reshape = op(np.reshape)
    return op(np.multiply)(reshape(a, (-1, 1)), reshape(b, (1, -1)))


@operation(np.linalg.outer, lambda r: [Case.of(r(2), r(3))])
def vector_outer(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """Products of every element of one vector with every element of another."""
    if np.ndim(x1) != 1 or np.ndim(x2) != 1:
        raise ValueError(f"takes vectors, not shapes {np.shape(x1)}, {np.shape(x2)}; see outer")
    return outer(x1, x2)


@operation(
    np.inner, lambda r: [Case.of(r(2, 3), r(4, 2, 3)), Case.of(r(3), r(3)), Case.of(r(), r(2))]
)
def inner(a: ArrayLike, b: ArrayLike) -> Tensor:
    """Sum of products over the last axes of both."""
    if not (np.ndim(a) and np.ndim(b)):
        return op(np.multiply)(a, b)
    return tensordot(a, b, (-1, -1))


@operation(np.vdot, lambda r: [Case.of(r(2, 3), r(2, 3)), Case.of(r(3), r(3)), Case.of(r(), r())])
def vdot(a: ArrayLike, b: ArrayLike) -> Tensor:
    """Sum of the products of all elements, both flattened."""
    ravel = op(np.ravel)
    return matmul(ravel(a), ravel(b))


@operation(
    np.kron,
    lambda r: [
        Case.of(r(2, 3), r(3, 2)),
        Case.of(r(2), r(3)),
        Case.of(r(2), r(2, 1, 2)),
        Case.of(r(), r(2)),
    ],
)
def kron(a: ArrayLike, b: ArrayLike) -> Tensor:
    """Kronecker product: a matrix of blocks, b times each element of a."""
    n = max(np.ndim(a), np.ndim(b))
    left, right = ((1,) * (n - np.ndim(x)) + np.shape(x) for x in (a, b))
    reshape = op(np.reshape)
    outside = reshape(a, [k for s in left for k in (s, 1)])
    inside = reshape(b, [k for s in right for k in (1, s)])
    return op(np.multiply)(outside, inside).reshape(
        [p * q for p, q in zip(left, right, strict=True)]
    )


# ---- the product of vectors in space -----------------------------------------------------------------


def _cross(
    a: Array,
    b: Array,
    *,
    axisa: int = -1,
    axisb: int = -1,
    axisc: int = -1,
    axis: int | None = None,
) -> Array:
    """Vector product of 3-vectors along the axes, the others broadcast; `axis` stands for all three."""
    if axis is not None:
        axisa = axisb = axisc = axis
    if a.shape[axisa] != 3 or b.shape[axisb] != 3:
        raise ValueError("minigrad takes vectors of 3 elements; append a 0 to those of 2")
    return np.cross(a, b, axisa, axisb, axisc)


def _axes_from_end(
    z: Any,
    a: Any,
    b: Any,
    axisa: int = -1,
    axisb: int = -1,
    axisc: int = -1,
    axis: int | None = None,
) -> list[int]:
    """Return the vectors' axes of a, b and z, from the end: broadcasting does not move them there."""
    given = (axisa, axisb, axisc) if axis is None else (axis,) * 3
    return [k % x.ndim - x.ndim for k, x in zip(given, (a, b, z), strict=True)]


def _pull_cross_a(g: Any, z: Any, a: Any, b: Any, **axes: Any) -> Any:
    ka, kb, kz = _axes_from_end(z, a, b, **axes)
    return np.cross(b, g, kb, kz, ka)


def _pull_cross_b(g: Any, z: Any, a: Any, b: Any, **axes: Any) -> Any:
    ka, kb, kz = _axes_from_end(z, a, b, **axes)
    return np.cross(g, a, kz, ka, kb)


cross = multilinear(
    _cross,
    _pull_cross_a,
    _pull_cross_b,
    key=np.cross,
    samples=lambda r: [
        Case.of(r(3), r(3)),
        Case.of(r(2, 3), r(3)),
        Case.of(r(4, 1, 3), r(2, 3)),
        Case.of(r(3, 2), r(3, 2), axis=0),
        Case.of(r(3, 5), r(4, 5, 3), axisa=0, axisc=1),
    ],
)


# ---- parts of a matrix -----------------------------------------------------------------------------


def _diagonal(a: Array, *, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    return a.diagonal(offset, axis1, axis2)


def _from_diagonal(
    a: Array, *, shape: tuple[int, ...], offset: int = 0, axis1: int = 0, axis2: int = 1
) -> Array:
    """Zeros of `shape` with a on a diagonal: the transpose of taking it."""
    out = np.zeros(shape, a.dtype)
    k = np.arange(a.shape[-1])
    np.moveaxis(out, (axis1, axis2), (-2, -1))[..., k + max(-offset, 0), k + max(offset, 0)] = a
    return out


diagonal = linear(
    _diagonal,
    lambda g, z, a, **place: _from_diagonal_.like_numpy(g, shape=a.shape, **place),
    key=np.diagonal,
    samples=lambda r: [
        Case.of(r(3, 3)),
        Case.of(r(2, 4), offset=1),
        Case.of(r(4, 2), offset=-2),
        Case.of(r(2, 3, 3), offset=-1, axis1=-1, axis2=0),
        Case.of(r(2, 2), offset=5),
    ],
)
_from_diagonal_: Primitive = linear(
    _from_diagonal,
    lambda g, z, a, shape, **place: np.diagonal(g, **place),
    samples=lambda r: [
        Case.of(r(3), shape=(3, 3)),
        Case.of(r(2), shape=(3, 4), offset=2),
        Case.of(r(4, 2), shape=(2, 4, 3), offset=-1, axis1=2, axis2=0),
    ],
)


def _tril(m: Array, *, k: int = 0) -> Array:
    return np.tril(m, k)


def _triu(m: Array, *, k: int = 0) -> Array:
    return np.triu(m, k)


tril = linear(
    _tril,
    lambda g, z, m, k=0: np.tril(g, k),
    key=np.tril,
    samples=(
        _halves := lambda r: [Case.of(r(3, 4)), Case.of(r(2, 3, 3), k=-1), Case.of(r(3), k=1)]
    ),
)
triu = linear(
    _triu,
    lambda g, z, m, k=0: np.triu(g, k),
    key=np.triu,
    samples=_halves,
)


@operation(
    np.diag,
    lambda r: [Case.of(r(3)), Case.of(r(2), k=-1), Case.of(r(3, 4), k=1), Case.of(r(3, 2))],
)
def diag(v: ArrayLike, k: int = 0) -> Tensor:
    """Square matrix of zeros with a vector on a diagonal, or a diagonal of a matrix."""
    if np.ndim(v) not in (1, 2):
        raise ValueError(f"diag: takes a vector or a matrix, not shape {np.shape(v)}; see diagonal")
    if np.ndim(v) == 2:
        return diagonal(v, offset=k)
    return _from_diagonal_(v, shape=(np.size(v) + abs(k),) * 2, offset=k)


@operation(np.diagflat, lambda r: [Case.of(r(2, 2)), Case.of(r(), k=1)])
def diagflat(v: ArrayLike, k: int = 0) -> Tensor:
    """Square matrix of zeros with all elements of v, flattened, on a diagonal."""
    return diag(op(np.ravel)(v), k)


@operation(
    np.trace,
    lambda r: [
        Case.of(r(3, 4)),
        Case.of(r(3, 2), offset=-1),
        Case.of(r(2, 4, 3), offset=1, axis1=-1, axis2=0),
    ],
)
def trace(a: ArrayLike, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """Sum of a diagonal."""
    return diagonal(a, offset=offset, axis1=axis1, axis2=axis2).sum(axis=-1)


@operation(np.matrix_transpose, lambda r: [Case.of(r(2, 3)), Case.of(r(4, 2, 3))])
def matrix_transpose(x: ArrayLike) -> Tensor:
    """Matrices with their last two axes exchanged."""
    return op(np.swapaxes)(x, -1, -2)


# ---- the same under the names of numpy.linalg, where matrices stand in the last two axes ---------------


def matrix_diagonal(x: ArrayLike, *, offset: int = 0) -> Tensor:
    """Diagonal of matrices in the last two axes."""
    return diagonal(x, offset=offset, axis1=-2, axis2=-1)


def matrix_trace(x: ArrayLike, *, offset: int = 0) -> Tensor:
    """Sum of the diagonal of matrices in the last two axes."""
    return trace(x, offset, -2, -1)


OPS |= {
    np.linalg.cross: cross,
    np.linalg.diagonal: matrix_diagonal,
    np.linalg.matmul: matmul,
    np.linalg.matrix_transpose: matrix_transpose,
    np.linalg.tensordot: tensordot,
    np.linalg.trace: matrix_trace,
}
