"""Inverses, determinants and solutions of linear systems; public in `minigrad.linalg`.

Matrices stand in the last two axes, and functions take stacks of them. A rule is found by
differentiating what defines the result (A inv(A) = I, A x = b) and solving for the tangent; the
pull is the transpose of that. A singular matrix raises LinAlgError.

Sources: M. Giles, An extended collection of matrix derivative results for forward and reverse mode
algorithmic differentiation, Oxford 2008 (inv, det, solve); G. Golub, V. Pereyra, The
differentiation of pseudo-inverses and nonlinear least squares problems whose variables separate,
SIAM J. Numer. Anal. 10, 1973 (pinv).
"""

from __future__ import annotations

import math
import operator
import string
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from ..core.context import tracing
from ..core.dtypes import Array
from ..core.primitive import Case
from ..core.tensor import ArrayLike, Tensor, as_tensor, checked, op, value_of
from .decompose import definite, square_samples, symmetric, symmetric_part
from .families import general, operation, untracked
from .reduce import product_of_others

__all__ = [
    "det", "inv", "lstsq", "matrix_power", "multi_dot", "pinv", "slogdet", "solve", "tensorinv",
    "tensorsolve",
]  # fmt: skip


_squares = square_samples(lambda r, *shape: r.regular(*shape))

inv = general(
    np.linalg.inv,
    pulls=[lambda g, z, a: -z.mT @ g @ z.mT],
    pushes=[lambda da, z, a: -z @ da @ z],  # 0 = dA Z + A dZ
    key=np.linalg.inv,
    samples=_squares,
)


def _singular(r: Any) -> list[Case]:
    return [*_squares(r), Case.of(np.ones((3, 3)) + np.diag([0.0, 0.0, 2.0]))]


def _cofactors(a: Array) -> Any:
    """Slopes of the determinant by each element: det(a) inv(a)', and what that is if det(a) is 0.

    Of a = U S V it is det(U V) U P V, where P[i] is the product of all S but the i-th.
    """
    z = np.linalg.det(a)
    if (z != 0).all():
        return z[..., None, None] * np.linalg.inv(a).mT
    u, s, v, sign = _turned(a)
    return sign * (u * product_of_others(None, s, -1)[..., None, :]) @ v


def _turned(a: Any) -> tuple[Any, Any, Any, Any]:
    """Return the factors U, S, V of matrices, and det(U V), which is 1 or -1."""
    u, s, v = np.linalg.svd(a)
    return u, s, v, np.rint(np.linalg.det(u) * np.linalg.det(v))[..., None, None]


def _turn_cofactors(g: Any, z: Any, a: Any) -> Any:
    """Return the change of the cofactors z along g; the same rule is its own transpose.

    Of a regular matrix, with W = inv(a)', it is det(a) (<W, g> W - W g' W). In general it is such
    a sum between the factors, where P[i, k] is the product of all S but the i-th and the k-th.
    """
    if not any(isinstance(x, Tensor) and x.live for x in (g, z, a)):
        return _turned_along(g, z, a)
    if tracing():
        checked(_require_regular, a)
        return _turn(g, z, a, True)
    return _turn(g, z, a, _is_regular(value_of(a)))


@untracked
def _turned_along(g: Array, z: Array, a: Array) -> Any:
    return _turn(g, z, a, _is_regular(a))


def _is_regular(a: Array) -> bool:
    return bool((np.linalg.det(a) != 0).all())


def _require_regular(a: Array) -> None:
    if not _is_regular(a):
        raise np.linalg.LinAlgError(
            "second derivatives of det in a compiled function need regular matrices, and one is "
            "singular; compute these without mg.compile"
        )


def _turn(g: Any, z: Any, a: Any, is_regular: bool) -> Any:
    if is_regular:
        w = np.linalg.inv(a).mT
        return (w * g).sum(axis=(-2, -1), keepdims=True) * z - w @ g.mT @ z
    u, s, v, sign = _turned(a)
    n, h = a.shape[-1], u.mT @ g @ v.mT
    eye = np.eye(n, dtype=a.dtype)
    p = product_of_others(None, np.where(eye == 1, 1, s[..., None, :]), -1) * (1 - eye)
    on_diagonal = (p * np.diagonal(h, axis1=-2, axis2=-1)[..., None, :]).sum(axis=-1)
    return sign * (u @ (eye * on_diagonal[..., None] - p * h.mT) @ v)


cofactors = general(
    _cofactors,
    pulls=[_turn_cofactors],
    pushes=[_turn_cofactors],
    samples=_singular,
)
det = general(
    np.linalg.det,
    pulls=[lambda g, z, a: g[..., None, None] * cofactors.like_numpy(a)],
    pushes=[lambda da, z, a: (da * cofactors.like_numpy(a)).sum(axis=(-2, -1))],
    key=np.linalg.det,
    samples=lambda r: [*_singular(r), Case.of(np.zeros((2, 2, 2)))],
)


def _slogdet(a: Array) -> tuple[Array, Array]:
    return np.linalg.slogdet(a)


slogdet = general(
    _slogdet,
    pulls=[lambda g, z, a: g[1][..., None, None] * _inverse(a).mT],
    pushes=[lambda da, z, a: (0 * z[0], (da * _inverse(a).mT).sum(axis=(-2, -1)))],
    key=np.linalg.slogdet,
    samples=_squares,
)


def _inverse(a: Any) -> Any:
    try:
        return np.linalg.inv(a)
    except np.linalg.LinAlgError:
        raise np.linalg.LinAlgError(
            f"slogdet of shape {a.shape}: a matrix is singular, and its log|det|, -inf, has no "
            "derivative; det has one"
        ) from None


def _column(v: Any, b: Any) -> Any:
    """Return v as a matrix of one column, if the right side b is one vector."""
    return v[..., None] if b.ndim == 1 else v


def _solve_like(a: Any, v: Any, b: Any) -> Any:
    """Solve a x = v; v is like b, and may have batch axes even where b is one vector."""
    return np.linalg.solve(a, v[..., None])[..., 0] if b.ndim == 1 else np.linalg.solve(a, v)


def _pull_solve_a(g: Any, z: Any, a: Any, b: Any) -> Any:
    return -_column(_solve_like(a.mT, g, b), b) @ _column(z, b).mT


def _push_solve_a(da: Any, z: Any, a: Any, b: Any) -> Any:
    dz = -np.linalg.solve(a, da @ _column(z, b))  # A dz = db - dA z
    return dz[..., 0] if b.ndim == 1 else dz


solve = general(
    np.linalg.solve,
    pulls=[_pull_solve_a, lambda g, z, a, b: _solve_like(a.mT, g, b)],
    pushes=[_push_solve_a, lambda db, z, a, b: _solve_like(a, db, b)],
    key=np.linalg.solve,
    samples=lambda r: [
        Case.of(r.regular(*a), r(*b))
        for a, b in (
            ((3, 3), (3,)), ((3, 3), (3, 2)), ((4, 2, 2), (2,)), ((4, 2, 2), (2, 3)),
            ((2, 2), (4, 2, 1)), ((3, 1, 2, 2), (2, 2, 2)), ((0, 0), (0,)),
        )
    ],
)  # fmt: skip


@operation(
    np.linalg.tensorsolve,
    lambda r: [
        Case.of(r.regular(6, 6).reshape(2, 3, 6), r(2, 3)),
        Case.of(r.regular(4, 4).reshape(2, 4, 2), r(4), axes=(0,)),
    ],
)
def tensorsolve(a: ArrayLike, b: ArrayLike, axes: Sequence[int] | None = None) -> Tensor:
    """Solve `tensordot(a, x, x.ndim) = b`; `axes` of a are moved to its end first."""
    if axes is not None:
        a = op(np.moveaxis)(a, axes, range(-len(axes), 0))
    unknown = np.shape(a)[np.ndim(b) :]
    matrix = op(np.reshape)(a, (-1, math.prod(unknown)))
    return solve(matrix, op(np.ravel)(b)).reshape(unknown)


@operation(
    np.linalg.tensorinv,
    lambda r: [
        Case.of(r.regular(6, 6).reshape(2, 3, 3, 2)),
        Case.of(r.regular(4, 4).reshape(4, 2, 2), ind=1),
    ],
)
def tensorinv(a: ArrayLike, ind: int = 2) -> Tensor:
    """Invert `tensordot(a, ., ind)`; the first `ind` axes of a become the last of the result."""
    if ind < 1:
        raise ValueError(f"tensorinv: ind counts axes from 1, not {ind}")
    rows, columns = np.shape(a)[:ind], np.shape(a)[ind:]
    return inv(op(np.reshape)(a, (math.prod(rows), -1))).reshape(columns + rows)


def _pull_pinv(g: Any, z: Any, a: Any, hermitian: bool = False, **cut: Any) -> Any:
    a = symmetric(a) if hermitian else a
    left, right = g.mT @ z @ z.mT, z.mT @ z @ g.mT
    ga = left - a @ (z @ left) + right - (right @ z) @ a - z.mT @ g @ z.mT
    return symmetric(ga) if hermitian else ga


def _push_pinv(da: Any, z: Any, a: Any, hermitian: bool = False, **cut: Any) -> Any:
    a, da = (symmetric(a), symmetric(da)) if hermitian else (a, da)
    left, right = z @ z.mT @ da.mT, da.mT @ z.mT @ z
    return left - (left @ a) @ z + right - z @ (a @ right) - z @ da @ z


def _pinv(
    a: Array,
    *,
    rcond: float | Array | None = None,
    hermitian: bool = False,
    rtol: float | Array | None = None,
) -> Array:
    """Pseudo-inverse; its derivative is that at constant rank, as at a change of rank it jumps.

    With `hermitian` the matrix must be symmetric, and its gradient is.
    """
    a = symmetric_part(a) if hermitian else a
    if rtol is None:
        return np.linalg.pinv(a, rcond, hermitian)
    return np.linalg.pinv(a, hermitian=hermitian, rtol=rtol)


pinv = general(
    _pinv,
    pulls=[_pull_pinv],
    pushes=[_push_pinv],
    key=np.linalg.pinv,
    samples=lambda r: [
        Case.of(r.regular(4, 2)),
        Case.of(r.regular(2, 2, 3)),
        Case.of(r.regular(3, 3), rcond=1e-10),
        Case.of(r.regular(3, 2), rtol=1e-10),
        Case.of(definite(r, 3, 3), hermitian=True),
        Case.of(definite(r, 2, 2), hermitian=True, rtol=1e-10),
        Case.of(r(0, 2)),
    ],
)


@operation(
    np.linalg.lstsq,
    lambda r: [Case.of(r.regular(4, 2), r(4)), Case.of(r.regular(2, 3), r(2, 2))],
)
def lstsq(
    a: ArrayLike, b: ArrayLike, rcond: float | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Least-squares solution of a x = b, of least norm: `(x, residuals, rank, singular values)`.

    The residuals are the squared distances of b from a x, empty where NumPy has them empty.
    """
    rows, columns = np.shape(a)
    s = op(np.linalg.svdvals)(a)
    cut = np.finfo(s.dtype).eps * max(rows, columns) if rcond is None else rcond
    rank = _rank(s, cut)
    n = int(value_of(rank))
    if tracing():
        checked(partial(_require_rank, n), rank)
    x = pinv(a, rcond=cut) @ b
    left = b - a @ x
    residuals = (left * left).sum(axis=0).reshape(-1)
    return x, residuals if n == columns < rows else residuals[:0], as_tensor(rank), s


@untracked
def _rank(s: Array, cut: float) -> Array:
    return np.asarray(np.sum(s > cut * s.max(initial=0)))


def _require_rank(n: int, rank: Array) -> None:
    """Raise LinAlgError unless the rank is what the shape of the residuals follows from."""
    if rank != n:
        raise np.linalg.LinAlgError(
            f"lstsq: a matrix has rank {rank}, and had {n} when this was compiled, from which the "
            "shape of the residuals follows; compute this without mg.compile"
        )


# ---- products of many --------------------------------------------------------------------------------


@operation(
    np.linalg.matrix_power, lambda r: [Case.of(r.regular(2, 2), n) for n in (0, 1, 2, 5, -3)]
)
def matrix_power(a: ArrayLike, n: int) -> Tensor:
    """Product of n copies of a, by repeated squaring; of its inverse for negative n."""
    if np.ndim(a) < 2 or np.shape(a)[-1] != np.shape(a)[-2]:
        raise np.linalg.LinAlgError(f"matrix_power of shape {np.shape(a)}: not square")
    n = operator.index(n)
    power = inv(a) if n < 0 else op(np.positive)(a)
    if not n:
        return op(np.broadcast_to)(np.eye(power.shape[-1], dtype=power.dtype), power.shape)
    n = abs(n)
    while n % 2 == 0:
        n, power = n // 2, power @ power
    z = power
    while n := n // 2:
        power = power @ power
        z = z @ power if n % 2 else z
    return z


@operation(
    np.linalg.multi_dot,
    lambda r: [Case.of([r(2, 3), r(3, 4), r(4, 2)]), Case.of([r(3), r(3, 4), r(4, 2), r(2)])],
)
def multi_dot(arrays: Sequence[ArrayLike]) -> Tensor:
    """Product of matrices in a cheap order; the first and the last may be vectors."""
    shapes = [np.shape(a) for a in arrays]
    ends = [(s[0], s[-1]) for s in shapes if s]
    if (
        len(ends) < 2
        or any(a[1] != b[0] for a, b in pairwise(ends))
        or any(
            len(s) != 2 and (len(s) != 1 or k not in (0, len(shapes) - 1))
            for k, s in enumerate(shapes)
        )
    ):
        raise np.linalg.LinAlgError(f"multi_dot: shapes {shapes} do not make a product")
    k = string.ascii_letters
    terms = [k[i : i + 2] for i in range(len(arrays))]
    terms[0], terms[-1] = terms[0][-np.ndim(arrays[0]) :], terms[-1][: np.ndim(arrays[-1])]
    outside = (terms[0][0] * (np.ndim(arrays[0]) > 1)) + (terms[-1][1:])
    return op(np.einsum)(",".join(terms) + "->" + outside, *arrays)
