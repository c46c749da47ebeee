"""Einstein's sum, the product that all others are: one primitive, whose gradient is itself again."""

from __future__ import annotations

import operator
import string
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache, reduce
from typing import Any

import numpy as np

from ..core.dtypes import Array
from ..core.primitive import Case, Primitive
from ..core.tensor import OPS, ArrayLike, Tensor, op
from ..guard.errors import shown
from .families import constant, each, operation

__all__ = ["einsum", "matvec", "vecdot", "vecmat"]

_LETTERS = string.ascii_uppercase + string.ascii_lowercase  # in the order of the implicit output


@lru_cache(maxsize=1024)
def _terms(subscripts: str, ndims: tuple[int, ...]) -> tuple[tuple[str, ...], str]:
    """Return the letters of each operand and of the output, `...` and an implied output spelt out."""
    left, arrow, out = subscripts.replace(" ", "").partition("->")
    terms = left.split(",")
    if not arrow:
        once = sorted(k for k, n in Counter(left).items() if n == 1 and k.isalpha())
        out = "..." * ("..." in left) + "".join(once)
    spare = "".join(sorted(set(_LETTERS).difference(subscripts)))
    hidden = [n + 3 - len(t) if "..." in t else 0 for t, n in zip(terms, ndims, strict=True)]
    names = [spare[max(hidden) - n : max(hidden)] for n in [*hidden, max(hidden)]]
    *terms, out = [t.replace("...", n) for t, n in zip([*terms, out], names, strict=True)]
    return tuple(terms), out


def _einsum(*operands: Array, subscripts: str) -> Any:
    """Sum of products over the letters that the output leaves out."""
    if not all(isinstance(x, np.ndarray) for x in operands):
        kind = np.result_type(*operands)  # Python's numbers are weak here too
        operands = tuple([np.asarray(x, kind) for x in operands])
    n = len(operands)
    large = n > 2 or (n == 2 and operands[0].size + operands[1].size > 2000)  # planning pays
    return np.einsum(subscripts, *operands, optimize=large)


def _pull_einsum(k: int, g: Any, z: Any, *operands: Any, subscripts: str) -> Any:
    """Sum the cotangent with the other operands, to the letters of operand k.

    Letters that occur nowhere else are filled with ones; of a letter repeated in the operand, each
    occurrence gets its own name, and an identity matrix holds the names together; an axis of length
    1 that was broadcast is summed.
    """
    terms, out = _terms(subscripts, tuple(map(np.ndim, operands)))
    x, named = operands[k], list(zip(terms, operands, strict=True))
    if not x.size:
        return np.zeros_like(x)
    rest = [(out, g), *named[:k], *named[k + 1 :]]
    full = {i for t, a in rest for i, n in zip(t, np.shape(a), strict=True) if n > 1}
    spare = iter(sorted(set(_LETTERS).difference(*terms)))
    kept = ""
    for i, n in zip(terms[k], x.shape, strict=True):
        if n == 1:
            continue
        if i in kept:
            kept += next(spare)
            rest.append((i + kept[-1], np.eye(n, dtype=x.dtype)))
        else:
            kept += i
            if i not in full:
                rest.append((i, np.ones(n, x.dtype)))
    names = ",".join([t for t, _ in rest])
    gx = _product.like_numpy(*[a for _, a in rest], subscripts=f"{names}->{kept}")
    return gx.reshape(x.shape)


def _push_einsum(dxs: Any, z: Any, *operands: Any, subscripts: str) -> Any:
    tangents = [
        _product.like_numpy(*operands[:k], dx, *operands[k + 1 :], subscripts=subscripts)
        for k, dx in enumerate(dxs)
        if dx is not None
    ]
    return reduce(operator.add, tangents)


_SUMS: tuple[tuple[str, tuple[tuple[int, ...], ...]], ...] = (
    ("ij,jk->ik", ((2, 3), (3, 4))), ("ij,jk", ((2, 3), (3, 4))), ("ba", ((2, 3),)),
    ("ii->i", ((3, 3),)), ("ii", ((3, 3),)), ("ii->", ((3, 3),)), ("iij->j", ((3, 3, 2),)),
    ("iji,i->j", ((2, 3, 2), (2,))), ("iii->i", ((2, 2, 2),)), ("ij->", ((2, 3),)),
    ("ij,j->i", ((2, 3), (1,))), ("ij,ij->ij", ((2, 3), (1, 3))), ("i,i", ((1,), (3,))),
    ("i,j->ij", ((2,), (3,))), (",i->i", ((), (3,))), ("i,i,i->i", ((3,), (3,), (3,))),
    ("ij,kj,kl,l->i", ((2, 3), (2, 3), (2, 4), (4,))), ("...ij,...jk", ((4, 2, 3), (3, 2))),
    ("...i->...", ((2, 3),)), ("i...,i...->...", ((3, 2, 1), (3, 4))), ("... , ...", ((2, 1), (3,))),
    ("b...ii->b...", ((2, 3, 2, 2),)), ("ij,jk->ik", ((2, 0), (0, 3))), ("ij->j", ((0, 3),)),
    ("ij,jk->ik", ((40, 30), (30, 30))),
)  # fmt: skip

_product = Primitive(
    _einsum,
    each(_pull_einsum),
    _push_einsum,
    samples=lambda r: [Case.of([r(*s) for s in shapes], subscripts=k) for k, shapes in _SUMS],
    family="multilinear",
)


def einsum(
    subscripts: str | ArrayLike,
    *operands: ArrayLike | Sequence[Any],
    optimize: bool | str | Sequence[Any] | None = None,
    **params: Any,
) -> Tensor:
    """Sum of products over named axes, as `numpy.einsum`: `einsum("ij,jk->ik", a, b)`.

    Letters may repeat inside an operand ("ii->i"), an ellipsis stands for the axes not named, and
    `einsum(a, [0, 1], b, [1, 2])` names the axes by numbers. The gradient is an einsum again.
    `optimize` is accepted and not needed: the order of the products is chosen here.

    >>> einsum("ii->i", np.array([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [1.0, 4.0]
    """
    if not isinstance(subscripts, str):
        given: list[Any] = [subscripts, *operands]
        for text in [x for x in given if isinstance(x, str)]:
            raise TypeError(f"einsum: the subscripts come first; write mg.einsum({text!r}, a, b)")
        n = len(given) // 2
        lists = [*given[1 : 2 * n : 2], *given[2 * n :]]  # of an odd number, the last is the output
        for axes in lists:
            if not isinstance(axes, (list, tuple, range)):
                raise TypeError(
                    "einsum: without subscripts, a list of axes comes after each operand, not "
                    f'{shown(axes)}; write mg.einsum("ij,jk->ik", a, b)'
                )
        names = ["".join(["..." if k is ... else _LETTERS[k] for k in axes]) for axes in lists]
        subscripts, operands = "->".join([",".join(names[:n]), *names[n:]]), tuple(given[0::2][:n])
    return _product(operands, subscripts=subscripts, **params)


OPS[np.einsum] = einsum
constant(np.einsum_path)


def _einsum_of_two(subscripts: str, x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """Sum over one axis of both, which einsum would broadcast if it were 1 in one of them."""
    terms = subscripts.partition("->")[0].split(",")
    (k,) = set(terms[0]) & set(terms[1]) - {"."}
    ends = [np.shape(x)[t.index(k) - len(t) :][:1] for t, x in zip(terms, (x1, x2), strict=True)]
    if ends[0] != ends[1]:
        raise ValueError(f"shapes {np.shape(x1)}, {np.shape(x2)} differ in the axis summed over")
    return einsum(subscripts, x1, x2)


_VECTORS: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((4, 1, 3), (2, 3)),
    ((0, 3), (3,)),
)


@operation(
    np.vecdot,
    lambda r: [*[Case.of(r(*a), r(*b)) for a, b in _VECTORS], Case.of(r(3, 2), r(3, 1), axis=0)],
)
def vecdot(x1: ArrayLike, x2: ArrayLike, axis: int = -1) -> Tensor:
    """Inner products of vectors along `axis`, the other axes broadcast."""
    if axis != -1:
        x1, x2 = (op(np.moveaxis)(x, axis, -1) for x in (x1, x2))
    return _einsum_of_two("...i,...i->...", x1, x2)


OPS[np.linalg.vecdot] = vecdot


# NumPy has these two from 2.2 on
@operation(
    getattr(np, "matvec", "numpy.matvec"),
    lambda r: [Case.of(r(2, 3), r(3)), Case.of(r(2, 3), r(4, 1, 3))],
)
def matvec(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """Product of matrices with vectors, stacks of both broadcast."""
    return _einsum_of_two("...ij,...j->...i", x1, x2)


@operation(
    getattr(np, "vecmat", "numpy.vecmat"),
    lambda r: [Case.of(r(2), r(2, 3)), Case.of(r(4, 1, 2), r(3, 2, 3))],
)
def vecmat(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """Product of vectors with matrices, stacks of both broadcast."""
    return _einsum_of_two("...i,...ij->...j", x1, x2)
