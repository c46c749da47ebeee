"""Functions of SciPy's and of `math`, as operations: what people use in a forward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..core.tensor import op
from ..ops import elementwise, reduce, special
from .assignable import joined, plain, refused

__all__ = ["MATH", "SCIPYS", "scipys_name"]


def _xlogy(x: Any, y: Any) -> Any:
    is_zero = np.equal(plain(x), 0)
    return np.where(is_zero, 0.0, x * np.log(np.where(is_zero, 1.0, y)))


def _over(f: Any) -> Callable[..., Any]:
    """A function over all elements, unless an axis is given."""

    def call(a: Any, axis: Any = None) -> Any:
        if axis is None:
            return f(np.ravel(a), axis=-1).reshape(np.shape(a))
        return f(a, axis=axis)

    return call


def _logsumexp(a: Any, axis: Any = None, b: Any = None, keepdims: bool = False) -> Any:
    if b is not None:
        top = np.max(plain(a), axis=axis, keepdims=True)
        total = np.log(np.sum(b * np.exp(a - top), axis=axis, keepdims=True)) + top
        return total if keepdims else np.sum(total, axis=axis)
    return reduce.logsumexp(a, axis=axis, keepdims=keepdims)


def _correlated(turned: bool) -> Callable[..., Any]:
    """Convolution, which turns b around, or correlation; of any number of axes."""

    def call(a: Any, b: Any, mode: str = "full", method: str = "auto", **more: Any) -> Any:
        if more.get("boundary", "fill") != "fill" or more.get("fillvalue", 0):
            raise refused("a boundary other than zeros", "np.pad the array, and mode='valid'")
        axes = tuple(range(np.ndim(b)))
        b = np.flip(b) if turned else b
        sizes = np.shape(b)
        if mode == "valid":
            if any(n > m for n, m in zip(sizes, np.shape(a), strict=True)):
                raise refused("mode='valid' with a larger second array", "exchange the two")
        else:  # of the full one, what stands in the middle
            before = [(n - 1) // 2 if turned or mode == "full" else n // 2 for n in sizes]
            widths = [(n - 1 - k, k) for n, k in zip(sizes, before, strict=True)]
            a = np.pad(a, widths if mode == "same" else [(n - 1, n - 1) for n in sizes])
        windows = sliding_window_view(a, sizes)
        return np.tensordot(windows, b, axes=(tuple(k - len(axes) for k in axes), axes))

    return call


def _solve_triangular(a: Any, b: Any, trans: Any = 0, lower: bool = False, **_: Any) -> Any:
    a = np.tril(a) if lower else np.triu(a)
    return np.linalg.solve(a.T if trans in (1, "T") else a, b)


def _cholesky(a: Any, lower: bool = False, **_: Any) -> Any:
    low = np.linalg.cholesky(a)
    return low if lower else low.T


def _cdist(a: Any, b: Any, metric: str = "euclidean") -> Any:
    square = np.sum((joined(a)[:, None] - joined(b)[None]) ** 2, axis=-1)
    if metric not in ("euclidean", "sqeuclidean"):
        raise refused(f"cdist with metric={metric!r}", "write the distances in NumPy")
    return np.sqrt(square) if metric == "euclidean" else square


_HALF = 0.5**0.5
SCIPYS: dict[str, Callable[..., Any]] = {
    "special.expit": elementwise.sigmoid, "special.log_expit": elementwise.log_sigmoid,
    "special.erf": special.erf, "special.erfc": special.erfc,
    "special.softplus": elementwise.softplus, "special.exp2": elementwise.exp2,
    "special.exp10": lambda x: np.power(10.0, x), "special.cbrt": elementwise.cbrt,
    "special.logit": lambda x: np.log(x) - np.log1p(-x),
    "special.xlogy": _xlogy, "special.xlog1py": lambda x, y: _xlogy(x, 1 + y),
    "special.entr": lambda x: -_xlogy(x, x), "special.rel_entr": lambda x, y: _xlogy(x, x / y),
    "special.kl_div": lambda x, y: _xlogy(x, x / y) - x + y,
    "special.ndtr": lambda x: 0.5 * special.erfc(-_HALF * x),
    "special.logsumexp": _logsumexp, "special.softmax": _over(reduce.softmax),
    "special.log_softmax": _over(reduce.log_softmax),
    **{f"signal.{name}": _correlated(name[:2] != "co" or name[2] == "n") for name in (
        "convolve", "convolve2d", "correlate", "correlate2d", "fftconvolve")},
    "linalg.inv": op(np.linalg.inv), "linalg.det": op(np.linalg.det),
    "linalg.solve": op(np.linalg.solve), "linalg.norm": op(np.linalg.norm),
    "linalg.cholesky": _cholesky, "linalg.solve_triangular": _solve_triangular,
    "spatial.cdist": _cdist,
}  # fmt: skip
"""By module and name, SciPy's functions as functions of tensors."""


def scipys_name(f: Any) -> str:
    """Return the name that a function of SciPy's has in the table."""
    module = (f.__module__ or "").split(".")
    return f"{module[1]}.{f.__name__}" if module[0] == "scipy" and len(module) > 1 else ""


MATH: dict[str, Callable[..., Any]] = {
    **{name: getattr(np, name) for name in (
        "exp", "exp2", "expm1", "log1p", "log2", "log10", "sqrt", "cbrt", "copysign", "fmod",
        "sin", "cos", "tan", "sinh", "cosh", "tanh", "radians", "degrees")},
    **{f"a{name}": getattr(np, f"arc{name}") for name in (
        "sin", "cos", "tan", "sinh", "cosh", "tanh", "tan2")},
    "pow": np.power, "fabs": np.abs, "erf": special.erf, "erfc": special.erfc,
    "log": lambda x, base=None: np.log(x) if base is None else np.log(x) / np.log(base),
    "hypot": lambda *xs: np.sqrt(sum(x * x for x in xs)), "fsum": np.sum, "prod": np.prod,
    "dist": lambda p, q: np.sqrt(np.sum((p - q) ** 2)),
}  # fmt: skip
"""The functions of `math` that have derivatives, as functions of tensors."""
