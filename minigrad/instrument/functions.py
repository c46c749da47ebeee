"""NumPy's functions on assignable arrays."""

from __future__ import annotations

import functools
import itertools
import operator
import sys
from collections.abc import Callable, Sequence
from types import BuiltinFunctionType
from typing import Any

import numpy as np

from ..core.tensor import OPS, Tensor, op, plain_index
from ..guard import leaving
from .assignable import (
    Assignable,
    holds_tensor,
    into_plain,
    is_live,
    joined,
    now,
    plain,
    recorded,
    refused,
    wrapped,
    written,
)
from .scipys import SCIPYS

__all__ = ["by_numbers", "numpys_result", "of_values", "stands_apart", "strided"]

VIEWS: Any = {
    np.transpose, np.swapaxes, np.squeeze, np.expand_dims, np.moveaxis, np.rollaxis,
    np.broadcast_to, np.diagonal, np.flip, np.fliplr, np.flipud, np.rot90, np.atleast_1d,
    np.atleast_2d, np.atleast_3d, np.matrix_transpose,
}  # fmt: skip
"""Functions that give a view of their first argument, where NumPy can."""

SPLITS: Any = {np.split, np.array_split, np.hsplit, np.vsplit, np.dsplit, np.unstack}
"""Functions that give several views."""

SEQUENCES: Any = {
    np.stack, np.concatenate, np.vstack, np.hstack, np.dstack, np.column_stack,
    np.broadcast_arrays, np.einsum, np.select, np.meshgrid,
}  # fmt: skip
"""Functions that are given lists of arrays."""

_OF_NO_VALUE = {"casting", "kind", "optimize", "order", "stable", "subok"}
"""Options that change no value."""


def stands_apart(f: Any) -> bool:
    """Whether more is to be done for a function than an operation does."""
    return any(f in kind for kind in (VIEWS, SPLITS, SEQUENCES, FUNCTIONS))


def numpys_result(f: Any, args: Sequence[Any], options: dict[str, Any]) -> Any:
    """Return what a function of NumPy's gives, a ufunc or a method of one; of lists, too."""
    ufunc = f.__self__ if isinstance(f, BuiltinFunctionType) else f
    options = dict(options)
    if type(ufunc) is np.ufunc:
        if f.__name__ == "at":
            return _update_at(ufunc, *args)
        if f is ufunc and len(args) > f.nin:
            args, options["out"] = args[: f.nin], args[f.nin]
        if f.__name__ in ("reduce", "accumulate") and len(args) > 1:
            options, args = {"axis": args[1], **options}, args[:1]
    args = _arrays(f, args)
    if f in FUNCTIONS:
        return FUNCTIONS[f](*args, **options)
    out, where = options.pop("out", None), True
    if type(f) is np.ufunc:
        where = options.pop("where", True)
    if out is None and args and type(args[0]) is Assignable and (f in VIEWS or f in SPLITS):
        return _views(f, args[0], plain([*args[1:]]), options)
    if not is_live([*args, *options.values()]):
        result: Any = f(*map(plain, args), **plain(options))
    elif (operation := _operation(f, ufunc)) is None:
        return of_values(f, args, options, str(leaving.no_derivative(f)))
    else:
        for name in {"where", "initial"} & options.keys():
            raise refused(
                f"{f.__name__} with {name}=", "write np.where(condition, x, 0) or np.maximum first"
            )
        options = {k: v for k, v in options.items() if k not in _OF_NO_VALUE}
        if f is not np.astype and (dtype := options.pop("dtype", None)) is not None:
            args = [x.astype(dtype) if isinstance(x, Tensor) else x for x in map(joined, args)]
        if where is not True:  # 0.5: a place where derivatives are finite, to be multiplied by 0
            args = [op(np.where)(where, x, 0.5) for x in map(joined, args)]
        result = operation(*map(recorded, args), **recorded(options))
    if where is not True:
        before = out[0] if isinstance(out, tuple) else out
        result = op(np.where)(where, now(result), 0.0 if before is None else now(before))
    return wrapped(result) if out is None else written(out, now(result), f.__name__)


def _arrays(f: Any, args: Sequence[Any]) -> Sequence[Any]:
    """Return the arguments with arrays for lists of tensors, also in a list of arrays."""
    if f is np.block:
        return args
    if f in SEQUENCES:
        return [_arrays(None, x) if type(x) in (list, tuple) else x for x in args]
    return [joined(x) if type(x) in (list, tuple) and holds_tensor(x) else x for x in args]


def _views(f: Any, a: Assignable, rest: list[Any], options: dict[str, Any]) -> Any:
    if f in VIEWS:
        return a.view_by(lambda x: f(x, *rest, **options), lambda t: OPS[f](t, *rest, **options))
    return [
        a.view_by(
            lambda x, k=k: f(x, *rest, **options)[k],  # type: ignore[misc]
            lambda t, k=k: OPS[f](t, *rest, **options)[k],  # type: ignore[misc]
        )
        for k in range(len(f(a.value, *rest, **options)))
    ]


def _operation(f: Any, ufunc: Any) -> Any:
    """Return the operation that a function is, or what it is made of; None if there is none."""
    if f in OPS:
        if type(ufunc) is np.ufunc:
            return OPS[f]
        return lambda *xs, **options: Tensor.__array_function__(_ANY, f, (), xs, options)
    if f is ufunc:
        return SCIPYS.get(f"special.{f.__name__}") if type(f) is np.ufunc else None
    if f.__name__ == "outer":
        return lambda a, b: ufunc(np.reshape(a, (*np.shape(a), *[1] * np.ndim(b))), b)
    if f.__name__ in ("reduce", "accumulate") and ufunc in OPS:
        return functools.partial(_folded, f.__name__, ufunc)
    return None


def _folded(method: str, ufunc: Any, a: Any, axis: int = 0) -> Any:
    """Return the reduction by a ufunc of two arguments, one element after another."""
    seen = [*itertools.accumulate(np.moveaxis(a, axis, 0), ufunc)]
    return seen[-1] if method == "reduce" else np.stack(seen, axis=axis)


_ANY = Tensor(np.zeros(()))


def _update_at(ufunc: Any, a: Any, index: Any, b: Any = None) -> None:
    """Do what np.add.at does: once for every time an element is named."""
    if not is_live([a, b]):
        values = plain(a).copy()
        ufunc.at(values, *[plain(x) for x in (index, b) if x is not None])
        a[...] = values
    elif ufunc not in (np.add, np.subtract):
        raise refused(f"np.{ufunc.__name__}.at has no derivative in minigrad", "write a loop")
    elif type(a) is not Assignable:
        raise into_plain(f"by np.{ufunc.__name__}.at")
    else:
        b = joined(b)
        a[...] = a.now().at[plain_index(index)].add(b if ufunc is np.add else -b)


def of_values(f: Any, args: Any, options: Any, why: str) -> Any:
    """Return what a function without a derivative gives of the values, if that is no floats."""
    result = f(*plain(list(args)), **plain(options))
    if _has_floats(result):
        head, _, tail = why.partition("; ")
        raise refused(head, tail.replace(", or take the array out of the graph with .data", ""))
    return result


def _has_floats(x: Any) -> bool:
    if isinstance(x, (list, tuple)):
        return any(map(_has_floats, x))
    return isinstance(x, (float, Tensor)) or getattr(x, "dtype", np.dtype(int)).kind in "fcO"


# ---- functions of NumPy's that no operation stands for -----------------------------------------


def strided(x: Any, shape: Any = None, strides: Any = None, *rest: Any, **options: Any) -> Any:
    if not isinstance(x, Tensor):
        return np.lib.stride_tricks.as_strided(x, shape, strides, *rest, **options)
    a = wrapped(x)
    given, size = a.strides, a.itemsize
    shape = a.shape if shape is None else tuple(shape) if np.ndim(shape) else (shape,)
    steps = given if strides is None else tuple(strides)
    at, wanted = _offsets(a.shape, given, size), _offsets(shape, steps, size)
    places = np.full(int(at.max(initial=0) - at.min(initial=0)) + 1, -1)
    places[at - at.min(initial=0)] = np.arange(a.size).reshape(a.shape)
    wanted = wanted - at.min(initial=0)
    inside = (wanted >= 0) & (wanted < len(places))
    if not inside.all() or (places[wanted] < 0).any():
        raise refused(
            f"as_strided reads elements that an array of shape {a.shape} does not show",
            "take the windows of the whole array, or use sliding_window_view",
        )

    def on_array(values: Any) -> Any:
        if values.strides != tuple([n // size * values.itemsize for n in given]):
            raise refused(
                "an array that as_strided has a view of is written to, and its memory is not in "
                "the order that it was",
                "write x = x.copy() before as_strided",
            )
        return np.lib.stride_tricks.as_strided(
            values, shape, tuple([n // size * values.itemsize for n in steps])
        )

    return a.view_by(on_array, lambda t: op(operator.getitem)(t.reshape(-1), index=places[wanted]))


def _offsets(shape: Any, strides: Any, itemsize: int) -> Any:
    """Return where every element is in memory, counted in elements."""
    at: Any = np.zeros((), int)
    for n, step in zip(shape, strides, strict=True):
        at = at[..., None] + np.arange(n) * (step // itemsize)
    return at


def by_numbers(move: Callable[..., Any], *parts: Any) -> Any:
    """Return what a function gives that only moves elements: it moves their numbers."""
    arrays = [joined(part) for part in parts]
    numbers, n = list[Any](), 0
    for x in arrays:
        numbers.append(n + np.arange(np.size(x)).reshape(np.shape(x)))
        n += np.size(x)
    both = np.concatenate([np.ravel(x) for x in arrays])
    return wrapped(op(operator.getitem)(both, index=np.asarray(move(*numbers))))


def _insert(a: Any, obj: Any, values: Any, axis: Any = None) -> Any:
    return by_numbers(lambda a, values: np.insert(a, obj, values, axis), a, values)


def _in_place(function: Any, k: int) -> Callable[..., None]:
    """Make of a function that writes its k-th argument into the first what does that here."""

    def write(a: Any, *args: Any, **options: Any) -> None:
        if not is_live([a, *args]):
            args = tuple(map(plain, args))
        elif type(a) is not Assignable:
            raise into_plain(f"by np.{function.__name__}")
        values, marks = joined(args[k - 1]), np.full(np.shape(a), -1)
        numbers = np.arange(np.size(values)).reshape(np.shape(values))
        given = [numbers if i == k - 1 else plain(x) for i, x in enumerate(args)]
        function(marks, *given, **plain(options))
        a[marks >= 0] = np.ravel(values)[marks[marks >= 0]]

    return write


def _polyval(p: Any, x: Any) -> Any:
    return functools.reduce(lambda y, c: y * x + c, p, 0.0 * x)


def _reshape(a: Any, shape: Any, order: str = "C") -> Any:
    return wrapped(joined(a)).reshape(plain(shape), order=order)


def _ravel(a: Any, order: str = "C") -> Any:
    return wrapped(joined(a)).ravel(order)


def _atleast(f: Any) -> Any:
    return lambda *xs: _views(f, wrapped(joined(xs[0])), [], {}) if len(xs) == 1 else [*map(f, xs)]


FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.reshape: _reshape, np.ravel: _ravel,
    **{f: _atleast(f) for f in (np.atleast_1d, np.atleast_2d, np.atleast_3d)},
    np.insert: _insert, np.polyval: _polyval,
    **{f: _in_place(f, 1) for f in (np.copyto, np.fill_diagonal)},
    **{f: _in_place(f, 2) for f in (np.put, np.place, np.putmask, np.put_along_axis)},
}  # fmt: skip
"""Functions of NumPy's on assignable arrays that no operation stands for."""


# ---- NumPy's protocols -----------------------------------------------------------------------


class _Counting:
    """What finds out how many references there are to an array in `a += this`, and no others."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        out = kwargs.get("out", (None,))[0]
        return sys.getrefcount(out)


def _counted() -> Any:
    a: Any = np.zeros(1)
    a += _Counting()
    return a


_ALONE = _counted()


def _array_ufunc(self: Assignable, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
    out = kwargs.get("out", (None,))[0]
    f = ufunc if method == "__call__" else getattr(ufunc, method)
    if type(out) is not np.ndarray or inputs[0] is not out or not _is_operator(sys._getframe(1)):
        return numpys_result(f, inputs, kwargs)
    if sys.getrefcount(out) > _ALONE or out.base is not None:
        raise into_plain(f"in place, by np.{ufunc.__name__}")
    t = numpys_result(f, inputs, {})  # `a += t` binds a anew, and nobody else has the old one
    return t if t.dtype == out.dtype else t.astype(out.dtype)


def _is_operator(frame: Any) -> bool:
    return leaving.instruction(frame) == "BINARY_OP"


def _array_function(self: Assignable, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
    return numpys_result(func, args, kwargs)


Assignable.__array_ufunc__ = _array_ufunc  # type: ignore[assignment]
Assignable.__array_function__ = _array_function  # type: ignore[assignment]
