"""Factorisations of matrices: Cholesky, QR, eigenvalues, singular values; in `minigrad.linalg`.

Matrices stand in the last two axes, and functions take stacks of them. A rule is found by
differentiating what defines the factors (A = Q R with Q'Q = I; A V = V W with V'V = I) and solving
for their tangents; the pull is the transpose of that. Sources:

    I. Murray, Differentiation of the Cholesky decomposition, arXiv:1602.07527.
    S. Walter, L. Lehmann, Algorithmic differentiation of linear algebra functions with application
        in optimum experimental design, arXiv:1001.1654: QR.
    M. Giles, An extended collection of matrix derivative results for forward and reverse mode
        algorithmic differentiation, Oxford 2008: eigenvalues and singular values.
    J. Townsend, Differentiating the singular value decomposition, 2016: its vectors.

`cholesky` and `eigh` take the symmetric part (a + a')/2 of a symmetric matrix, so that gradients are
symmetric too. NumPy reads one triangle and trusts that the other agrees; a matrix whose triangles
differ by more than rounding is refused, for both readings would be guesses.

Vectors of repeated values are not determined, so derivatives through them are NaN where values
differ by no more than rounding, and so are second derivatives of the values. First derivatives of a symmetric function of the values (their
sum, a norm) are right everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from ..core.context import tracing
from ..core.dtypes import Array
from ..core.primitive import Case, Samples
from ..core.tensor import ArrayLike, Tensor, numbers_of, op
from .families import general, operation, untracked

__all__ = ["cholesky", "eigh", "eigvalsh", "qr", "svd", "svdvals"]


def definite(r: Any, *shape: int) -> Any:
    """Draw symmetric matrices with positive eigenvalues well apart, for samples."""
    a = r.regular(*shape)
    return (a + a.mT) / 2


def square_samples(draw: Callable[..., Any]) -> Samples:
    """Return the samples of square matrices, and stacks of them, drawn by `draw(r, *shape)`."""
    return lambda r: [Case.of(draw(r, *s)) for s in ((3, 3), (2, 2, 2), (1, 1), (0, 3, 3), (0, 0))]


def symmetric(x: Any) -> Any:
    return 0.5 * (x + x.mT)


def symmetric_part(a: Array) -> Any:
    """Return (a + a')/2; LinAlgError unless the triangles agree to 1e-5 of the largest element."""
    if a.ndim < 2:
        return a  # which NumPy refuses
    if a.shape[-1] != a.shape[-2]:
        raise np.linalg.LinAlgError(f"the matrix is not symmetric, nor square: {a.shape}")
    if not a.size:
        return a
    a = a if a.dtype.kind == "f" else a.astype(float)
    apart = np.abs(a - a.mT).max(axis=(-2, -1))
    exact = max(1e-5, 1000 * float(np.finfo(a.dtype).eps))
    if (apart > exact * np.abs(a).max(axis=(-2, -1))).any():
        raise np.linalg.LinAlgError(
            f"the matrix is not symmetric: its triangles differ by up to {apart.max():g}, and NumPy "
            "would read one of them alone. Write np.tril(a) + np.tril(a, -1).mT for the lower one, "
            "or (a + a.mT) / 2"
        )
    return symmetric(a)


def _half(x: Any) -> Any:
    """Return the lower triangle with half of the diagonal, and zeros above."""
    n = x.shape[-1]
    return x * (np.tri(n, dtype=x.dtype) - 0.5 * np.eye(n, dtype=x.dtype))


def _cholesky(a: Array, *, upper: bool = False) -> Any:
    """Triangular factor of a symmetric a = L L', or with `upper` its transpose."""
    return np.linalg.cholesky(symmetric_part(a), upper=upper)


def _pull_cholesky(g: Any, z: Any, a: Any, upper: bool = False) -> Any:
    L, gL = (z.mT, g.mT) if upper else (z, g)
    left = np.linalg.solve(L.mT, _half(L.mT @ gL))
    return symmetric(np.linalg.solve(L.mT, left.mT))


def _push_cholesky(da: Any, z: Any, a: Any, upper: bool = False) -> Any:
    L = z.mT if upper else z
    inside = np.linalg.solve(L, np.linalg.solve(L, symmetric(da)).mT)  # inv(L) dA inv(L)'
    dL = L @ _half(inside)
    return dL.mT if upper else dL


cholesky = general(
    _cholesky,
    pulls=[_pull_cholesky],
    pushes=[_push_cholesky],
    key=np.linalg.cholesky,
    samples=lambda r: [*square_samples(definite)(r), Case.of(definite(r, 3, 3), upper=True)],
)


def _reduced_qr(a: Array) -> tuple[Array, Array]:
    """Factors of matrices with at least as many rows as columns: Q'Q = I, R upper triangular."""
    return np.linalg.qr(a)


def _solve_r(r: Any, x: Any) -> Any:
    """Solve r y = x; LinAlgError that says what a singular R means."""
    try:
        return np.linalg.solve(r, x)
    except np.linalg.LinAlgError:
        raise np.linalg.LinAlgError(
            f"qr with R of shape {r.shape}: columns of the matrix depend on one another, so that Q "
            "is not determined, and has no derivative"
        ) from None


def _pull_qr(g: Any, z: Any, a: Any) -> Any:
    (gq, gr), (q, r) = g, z
    m = r @ gr.mT - gq.mT @ q
    right = gq + q @ (np.tril(m) + np.tril(m, -1).mT)
    return _solve_r(r, right.mT).mT


def _push_qr(da: Any, z: Any, a: Any) -> Any:
    q, r = z
    c = _solve_r(r.mT, da.mT).mT  # dA inv(R) = dQ + Q T, with T = dR inv(R) upper
    m = q.mT @ c
    low = np.tril(m, -1)  # the skew matrix Q'dQ has this lower triangle
    t = m - low + low.mT
    return c - q @ t, t @ r


reduced_qr = general(
    _reduced_qr,
    pulls=[_pull_qr],
    pushes=[_push_qr],
    samples=lambda r: [Case.of(r.regular(*s)) for s in ((3, 3), (4, 2), (2, 3, 2), (0, 2, 2))],
)


@operation(
    np.linalg.qr,
    lambda r: [
        Case.of(r.regular(3, 2)),
        Case.of(r.regular(2, 4)),
        Case.of(r.regular(2, 2, 3), mode="complete"),
        Case.of(r.regular(3, 2), mode="r"),
    ],
)
def qr(a: ArrayLike, mode: str = "reduced") -> Any:
    """Factors Q with orthonormal columns and R upper triangular: a = Q R.

    The first min(rows, columns) columns must be independent. `mode="complete"` is taken where it is
    the same as "reduced": for no more rows than columns.
    """
    rows, columns = np.shape(a)[-2:]
    if mode not in ("reduced", "r") and not (mode == "complete" and rows <= columns):
        raise ValueError(
            f"qr of shape {np.shape(a)}, mode={mode!r}: minigrad has the modes 'reduced' and 'r'; "
            "the columns that 'complete' adds are not determined by the matrix"
        )
    if rows < columns:  # the last columns of R are Q'a, those of a
        x = op(np.positive)(a)
        out: Any = reduced_qr(x[..., :rows])
        rest = out.Q.mT @ x[..., rows:]
        out = out._replace(R=op(np.concatenate)((out.R, rest), axis=-1))
    else:
        out = reduced_qr(a)
    return out.R if mode == "r" else out


def _reciprocal(x: Any) -> Any:
    """Return 1 / x, and NaN without a warning where x is 0."""
    return np.where(x == 0, np.nan, 1 / np.where(x == 0, 1, x))


def _inverse_gaps(w: Any) -> Any:
    """Return F, with F[i, j] = 1 / (w[j] - w[i]), and 0 on the diagonal; NaN where it is rounding."""
    eye = np.eye(w.shape[-1], dtype=w.dtype)
    gaps = w[..., None, :] - w[..., :, None] + eye
    return _reciprocal(np.where(_alike(gaps, w), 0, gaps)) * (1 - eye)


def _inverse_gaps_of_squares(s: Any) -> Any:
    """Return F, with F[i, j] = 1 / (s[j]^2 - s[i]^2), and 0 on the diagonal."""
    eye = np.eye(s.shape[-1], dtype=s.dtype)
    sums = s[..., None, :] + s[..., :, None]
    return _inverse_gaps(s) * _reciprocal(sums * (1 - eye) + eye)


@untracked
def _alike(gaps: Array, w: Array) -> Array:
    return np.asarray(np.abs(gaps) <= _rounding(w)[..., None])


@untracked
def _is_corner(s: Array) -> Array:
    return np.asarray(s <= _rounding(s))


def _rounding(w: Array) -> Array:
    """Return how far the values of a matrix of these are rounded, along the last axis."""
    sizes = np.abs(w)
    units = 4 * sizes.shape[-1] * np.finfo(sizes.dtype).eps
    return np.asarray(sizes.max(axis=-1, keepdims=True, initial=0) * units)


def _is_used(g: Any) -> bool:
    """Whether an output was used; if not, its cotangent is an array of zeros."""
    return isinstance(g, Tensor) or bool(g.any())


def _eigh(a: Array, *, UPLO: Literal["L", "U"] = "L") -> tuple[Array, Array]:
    """Eigenvalues, ascending, and eigenvectors, in columns, of a symmetric matrix.

    Both triangles are used, whatever UPLO says. The sign of a vector is LAPACK's choice.
    """
    return np.linalg.eigh(symmetric_part(a), UPLO)


def _pull_eigh(g: Any, z: Any, a: Any, UPLO: str = "L") -> Any:
    (gw, gv), (w, v) = g, z
    ga = (v * gw[..., None, :]) @ v.mT
    if _is_used(gv):
        ga = ga + v @ (_inverse_gaps(w) * (v.mT @ gv)) @ v.mT
    return symmetric(ga)


def _push_eigh(da: Any, z: Any, a: Any, UPLO: str = "L") -> Any:
    w, v = z
    p = v.mT @ symmetric(da) @ v
    return np.diagonal(p, axis1=-2, axis2=-1), v @ (_inverse_gaps(w) * p)


eigh = general(
    _eigh,
    pulls=[_pull_eigh],
    pushes=[_push_eigh],
    key=np.linalg.eigh,
    samples=lambda r: [*square_samples(definite)(r), Case.of(definite(r, 3, 3), UPLO="U")],
)


@operation(np.linalg.eigvalsh, square_samples(definite))
def eigvalsh(a: ArrayLike, UPLO: str = "L") -> Tensor:
    """Eigenvalues, ascending, of a symmetric matrix."""
    return eigh(a, UPLO=UPLO)[0]


_SVD: Any = type(np.linalg.svd(np.eye(1)))  # NumPy's named tuple


def _reduced_svd(a: Array) -> tuple[Array, Array, Array]:
    """Factors U S Vh of matrices: min(rows, columns) singular values, descending."""
    return np.linalg.svd(a, full_matrices=False)


def _pull_svd(g: Any, z: Any, a: Any) -> Any:
    (gu, gs, gvh), (u, s, vh) = g, z
    ga = (u * gs[..., None, :]) @ vh
    if not (_is_used(gu) or _is_used(gvh)):
        return ga
    x, y, f = u.mT @ gu, vh @ gvh.mT, _inverse_gaps_of_squares(s)
    inside = f * (x - x.mT) * s[..., None, :] + s[..., :, None] * f * (y - y.mT)
    ga = ga + u @ inside @ vh
    if u.shape[-2] > s.shape[-1]:
        ga = ga + ((gu - u @ x) * _reciprocal(s)[..., None, :]) @ vh
    if vh.shape[-1] > s.shape[-1]:
        ga = ga + (u * _reciprocal(s)[..., None, :]) @ (gvh - y.mT @ vh)
    return ga


def _push_svd(da: Any, z: Any, a: Any) -> Any:
    u, s, vh = z
    p, f = u.mT @ da @ vh.mT, _inverse_gaps_of_squares(s)
    ps, sp = p * s[..., None, :], s[..., :, None] * p
    du, dvh = u @ (f * (ps + ps.mT)), (f * (sp + sp.mT)).mT @ vh
    if u.shape[-2] > s.shape[-1]:
        du = du + (da @ vh.mT - u @ p) * _reciprocal(s)[..., None, :]
    if vh.shape[-1] > s.shape[-1]:
        dvh = dvh + _reciprocal(s)[..., :, None] * (u.mT @ da - p @ vh)
    return du, np.diagonal(p, axis1=-2, axis2=-1), dvh


reduced_svd = general(
    _reduced_svd,
    pulls=[_pull_svd],
    pushes=[_push_svd],
    samples=lambda r: [
        Case.of(r.regular(*s)) for s in ((3, 3), (4, 2), (2, 3), (2, 3, 2), (0, 2, 2), (1, 1))
    ],
)


@operation(
    np.linalg.svd,
    lambda r: [
        Case.of(r.regular(3, 2), full_matrices=False),
        Case.of(r.regular(2, 2, 2)),
        Case.of(r.regular(2, 3), compute_uv=False),
        Case.of(definite(r, 2, 2, 2) * np.array([[[1]], [[-1]]]), hermitian=True),
    ],
)
def svd(
    a: ArrayLike, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    """Singular value decomposition a = U diag(S) Vh, S descending.

    Matrices that are not square need `full_matrices=False`. The sign of a pair of vectors is
    LAPACK's choice, so a sensible function does not depend on it. With `hermitian` the matrix must
    be symmetric, and the factors come from its eigenvalues.
    """
    if hermitian:
        w, v = eigh(a)
        order = np.argsort(abs(numbers_of(w)))[..., ::-1]
        w, v = (
            op(np.take_along_axis)(x, at, -1)
            for x, at in ((w, order), (v, np.broadcast_to(order[..., None, :], v.shape)))
        )
        u, s, vh = v, abs(w), (v * np.sign(w)[..., None, :]).mT
        return _SVD(u, s, vh) if compute_uv else s
    if not compute_uv:
        return svdvals(a)
    if full_matrices and np.shape(a)[-2] != np.shape(a)[-1]:
        raise ValueError(
            f"svd of shape {np.shape(a)}: pass full_matrices=False; the vectors that True adds "
            "are not determined by the matrix"
        )
    return reduced_svd(a)


@operation(np.linalg.svdvals, lambda r: [Case.of(r.regular(3, 2)), Case.of(r.regular(2, 2, 2))])
def svdvals(x: ArrayLike) -> Tensor:
    """Singular values, descending; the gradient of one that is 0, or rounding, is 0."""
    s = reduced_svd(x)[1]
    corner = _is_corner(s)
    return abs(s * ~corner) + s.detach() * corner if tracing() or corner.any() else s
