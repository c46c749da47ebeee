"""Arrays and numbers that NumPy code makes: of what gradients flow through, and assignable."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.tensor import Tensor, op
from .assignable import Assignable, holds_tensor, is_live, joined, now, plain, refused, wrapped
from .functions import by_numbers

__all__ = ["MAKERS", "array", "maker", "of_chance"]


def _asked(f: Any) -> Any:
    """Make of a function that gives no real number one of the values."""
    return lambda *args, **kwargs: f(*plain(args), **plain(kwargs))


def maker(f: Any) -> Any:
    """Make of a function that makes arrays one of assignable ones."""
    return lambda *args, **kwargs: wrapped(f(*plain(args), **plain(kwargs)))


def array(x: Any, dtype: Any = None, *, copy: Any = True, ndmin: int = 0, **options: Any) -> Any:
    """Return what np.array gives."""
    if not holds_tensor(x):
        return wrapped(np.array(x, dtype, copy=copy, ndmin=ndmin, **options))
    if dtype is not None and np.dtype(dtype) == object:
        out = np.empty(len(x), object)
        out[:] = [*x]
        return out
    if isinstance(x, Tensor) and not copy:
        return _asarray(x, dtype)
    t = op(np.copy)(now(x)) if isinstance(x, Tensor) else joined(x)
    t = t if dtype is None else op(np.astype)(t, np.dtype(dtype))
    return wrapped(t.reshape((1,) * (ndmin - t.ndim) + t.shape) if t.ndim < ndmin else t)


def _asarray(x: Any, dtype: Any = None, *rest: Any, **options: Any) -> Any:
    if isinstance(x, Tensor):
        x = wrapped(x)
        return x if dtype is None or np.dtype(dtype) == x.dtype else x.astype(dtype)
    if holds_tensor(x):
        return array(x, dtype)
    a = np.asarray(x, dtype, *rest, **options)
    return a if a is x else wrapped(a)


def _contiguous(x: Any, dtype: Any = None) -> Any:
    x = _asarray(x, dtype)
    return x if x.flags.c_contiguous else x.copy()


def _full(shape: Any, x: Any, dtype: Any = None, **_: Any) -> Any:
    if not holds_tensor(x):
        return wrapped(np.full(shape, x, dtype))
    return array(op(np.broadcast_to)(joined(x), shape=shape), dtype)


def _full_like(a: Any, x: Any, dtype: Any = None, shape: Any = None, **_: Any) -> Any:
    return _full(np.shape(a) if shape is None else shape, x, dtype or plain(a).dtype)


def _float(*args: Any) -> Any:
    if args and isinstance(args[0], Tensor):
        x = wrapped(args[0])
        return x.item() if x.size == 1 and is_live(x) else float(x.value)
    return float(*args)


def _number(kind: Any) -> Any:
    def convert(*args: Any) -> Any:
        if args and holds_tensor(args[0]):
            return wrapped(op(np.astype)(joined(args[0]), np.dtype(kind)))
        return kind(*args)

    return convert


def _isinstance(x: Any, kinds: Any) -> bool:
    if not isinstance(x, Tensor):
        return isinstance(x, kinds)
    return isinstance(plain(x), kinds) or (not isinstance(x, Assignable) and isinstance(x, kinds))


def _type(*args: Any) -> Any:
    return type(*(plain(args) if len(args) == 1 else args))


class _Joins:
    """np.c_ or np.r_ of tensors."""

    def __init__(self, of: Any) -> None:
        self.of = of

    def __getitem__(self, key: Any) -> Any:
        parts = key if isinstance(key, tuple) else (key,)
        if not holds_tensor(parts):
            return wrapped(self.of[key])
        texts = [part for part in parts if isinstance(part, str)]
        arrays = [self.of[x] if isinstance(x, slice) else x for x in parts if type(x) is not str]
        return by_numbers(lambda *numbers: self.of[(*texts, *numbers)], *arrays)


MAKERS: dict[Any, Any] = {
    float: _float, int: _asked(int), isinstance: _isinstance, type: _type,
    np.array: array, np.copy: array, np.asarray: _asarray, np.asanyarray: _asarray,
    np.ascontiguousarray: _contiguous, np.full: _full, np.full_like: _full_like,
    np.fromiter: lambda xs, dtype, *_, **__: array([*xs], dtype),
    np.c_: _Joins(np.c_), np.r_: _Joins(np.r_),
    np.ndenumerate: lambda a: ((i, a[i]) for i in np.ndindex(*np.shape(a))),
    **{kind: _number(kind) for kind in (np.float16, np.float32, np.float64, np.longdouble)},
    **{kind: _asked(kind) for kind in (np.int8, np.int16, np.int32, np.int64, np.bool)},
    **{f: maker(f) for f in (
        np.zeros, np.empty, np.ones, np.eye, np.identity, np.zeros_like, np.empty_like,
        np.ones_like, np.tri, np.fromfunction)},
}  # fmt: skip
"""By what is called to make an array or a number, what is called instead."""


def of_chance(f: Any) -> Any:
    """A method of a generator of random numbers, which makes arrays."""

    def call(*args: Any, **kwargs: Any) -> Any:
        first, *rest = args or (None,)
        if f.__name__ == "shuffle" and isinstance(first, Tensor):
            wrapped(first)[...] = by_numbers(lambda a: (f(a, *rest, **kwargs), a)[1], first)
            return None
        if f.__name__ in ("permutation", "permuted", "choice") and isinstance(first, Tensor):
            return by_numbers(lambda a: f(a, *rest, **kwargs), first)
        if is_live([*args, *kwargs.values()]):
            raise refused(
                f"random numbers are drawn by {f.__name__} with a distribution that gradients flow "
                "through",
                "write mean + std * rng.normal(size=mean.shape)",
            )
        return wrapped(f(*plain(args), **plain(kwargs)))

    return call
