"""NumPy's functions on assignable arrays."""

from __future__ import annotations

import functools
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
    np.transpose, np.reshape, np.ravel, np.swapaxes, np.squeeze, np.expand_dims, np.moveaxis,
    np.rollaxis, np.broadcast_to, np.diagonal, np.flip, np.fliplr, np.flipud, np.rot90,
    np.atleast_1d, np.atleast_2d, np.atleast_3d, np.matrix_transpose,
}  # fmt: skip
"""Functions that give a view of their first argument, where NumPy can."""

_OF_SEVERAL: Any = {np.atleast_1d, np.atleast_2d, np.atleast_3d}

SPLITS: Any = {np.split, np.array_split, np.hsplit, np.vsplit, np.dsplit, np.unstack}
"""Functions that give several views."""

LIKE: Any = {np.zeros_like, np.ones_like, np.empty_like, np.full_like}


SEQUENCES: Any = {
    np.stack, np.concatenate, np.vstack, np.hstack, np.dstack, np.column_stack,
    np.broadcast_arrays, np.einsum, np.select, np.choose, np.meshgrid,
}  # fmt: skip
"""Functions that are given lists of arrays."""


def numpys_result(f: Any, args: Sequence[Any], options: dict[str, Any]) -> Any:
    """Return what a function of NumPy's gives, a ufunc or a method of one; of lists, too."""
    ufunc = f.__self__ if isinstance(f, BuiltinFunctionType) else f
    if type(ufunc) is not np.ufunc:
        return function_result(f, _arrays(f, args), options)
    method = "__call__" if ufunc is f else f.__name__
    if method in ("reduce", "accumulate") and len(args) > 1:
        options, args = {"axis": args[1], **options}, args[:1]
    return ufunc_result(ufunc, method, args, dict(options))


def _arrays(f: Any, args: Sequence[Any]) -> Sequence[Any]:
    """Return the arguments with arrays for lists of tensors, also in a list of arrays."""
    if f is np.block:
        return args
    if f in SEQUENCES:
        return [_arrays(None, x) if type(x) in (list, tuple) else x for x in args]
    return [joined(x) if type(x) in (list, tuple) and holds_tensor(x) else x for x in args]


def ufunc_result(ufunc: Any, method: str, inputs: Sequence[Any], options: dict[str, Any]) -> Any:
    """Return what a ufunc, or a method of one, gives."""
    out, where = options.pop("out", None), options.pop("where", True)
    if method == "__call__" and len(inputs) > ufunc.nin:
        inputs, out = inputs[: ufunc.nin], inputs[ufunc.nin]
    name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
    if method == "at":
        _update_at(ufunc, *inputs)
        return None
    if not any(map(is_live, inputs)):
        result: Any = getattr(ufunc, method)(*map(plain, inputs), **plain(options))
    elif method == "outer":
        a, b = map(joined, inputs)
        result = ufunc_result(
            ufunc, "__call__", (np.reshape(a, (*a.shape, *[1] * np.ndim(b))), b), options
        )
    else:
        key = ufunc if method == "__call__" else getattr(ufunc, method)
        operation = OPS.get(key) or (
            SCIPYS.get(f"special.{name}") if method == "__call__" else None
        )
        if operation is None and method != "__call__":
            operation = _folded(ufunc, method)
        if operation is None:
            result = of_values(key, inputs, options, str(leaving.no_derivative(key)))
            return result if out is None else written(out, result, name)
        options = {k: v for k, v in options.items() if k not in _OF_NO_VALUE}
        inputs = _in_dtype(inputs, options)
        result = operation(*map(joined, inputs), **recorded(options))
    if where is not True:
        before = out[0] if isinstance(out, tuple) else out
        result = op(np.where)(where, now(result), 0.0 if before is None else now(before))
    return wrapped(result) if out is None else written(out, now(result), name)


def _folded(ufunc: Any, method: str) -> Callable[..., Any] | None:
    """Return the reduction of a ufunc of two arguments, one element after another."""
    if ufunc not in OPS or method not in ("reduce", "accumulate"):
        return None

    def fold(a: Any, axis: int = 0, **_: Any) -> Any:
        first, *parts = np.moveaxis(a, axis, 0)
        seen = [first]
        for part in parts:
            seen.append(ufunc(seen[-1], part))
        return seen[-1] if method == "reduce" else np.stack(seen, axis=axis)

    return fold


def _update_at(ufunc: Any, a: Any, index: Any, b: Any = None) -> None:
    """Do what `ufunc.at` does: once for every time an element is named."""
    if type(a) is not Assignable:
        if is_live(b):
            raise into_plain(f"by np.{ufunc.__name__}.at")
        ufunc.at(a, plain(index), plain(b))
        return
    index = plain_index(index)
    if ufunc in (np.add, np.subtract):
        a[...] = a.now().at[index].add(joined(b) if ufunc is np.add else -joined(b))
        return
    places = np.arange(a.size).reshape(a.shape)[index]
    one_by_one = np.broadcast_to(joined(b), places.shape) if b is not None else None
    for k in np.ndindex(places.shape):
        at = np.unravel_index(places[k], a.shape)
        a[at] = ufunc(a[at]) if one_by_one is None else ufunc(a[at], one_by_one[k])


def of_values(f: Any, args: Any, options: Any, why: str) -> Any:
    """Return what a function without a derivative gives of the values, if that is no floats."""
    result = f(*plain(list(args)), **plain(options))
    if _has_floats(result):
        head, _, tail = why.partition("; ")
        raise refused(head, tail.replace(", or take the array out of the graph with .data", ""))
    return result


def _has_floats(x: Any) -> bool:
    if isinstance(x, Tensor):
        return True
    if isinstance(x, (list, tuple)):
        return any(map(_has_floats, x))
    return isinstance(x, (float, np.floating, np.ndarray)) and np.asarray(x).dtype.kind in "fcO"


_REDUCED: dict[Any, Any] = {
    np.sum: (np.add, 0), np.prod: (np.multiply, 1),
    np.max: (np.maximum, None), np.min: (np.minimum, None),
}  # fmt: skip
"""Reductions: by what, and what in them counts for nothing; None is what `initial=` says."""

_OF_NO_VALUE = {"casting", "kind", "optimize", "order", "stable", "subok"}
"""Options that change no value."""


def _in_dtype(args: Sequence[Any], options: dict[str, Any]) -> Sequence[Any]:
    """Take `dtype=` out of the options, and return the arguments in it."""
    dtype = options.pop("dtype", None)
    if dtype is None:
        return args
    return [x.astype(dtype) if isinstance(x, Tensor) else x for x in map(joined, args)]


def _is_by_columns(func: Any, args: Any, options: Any) -> bool:
    """Whether a function takes elements in Fortran's order."""
    given = [x for x in (*args, options.get("order")) if type(x) is str]
    return func in (np.reshape, np.ravel) and given == ["F"]


def stands_apart(func: Any) -> bool:
    """Whether more is to be done for a function than an operation does."""
    return any(func in kind for kind in (VIEWS, SPLITS, LIKE, SEQUENCES, FUNCTIONS))


def function_result(func: Any, args: Sequence[Any], options: dict[str, Any]) -> Any:
    """Return what a function of NumPy's gives."""
    first = args[0] if args else None
    if type(first) is Assignable and options.get("out") is None:
        rest = [plain(x) for x in args[1:]]
        if func in _OF_SEVERAL and len(args) > 1:
            return [function_result(func, (x,), {}) for x in args]
        if func in VIEWS and not _is_by_columns(func, args, options):
            return first.view_by(
                lambda a: func(a, *rest, **options), lambda t: OPS[func](t, *rest, **options)
            )
        if func in VIEWS:
            shape = () if func is np.ravel else rest[:1] or (options["shape"],)
            return getattr(first, func.__name__)(*shape, order="F")
        if func in SPLITS:
            count = len(func(first.value, *rest, **options))
            return [
                first.view_by(
                    lambda a, k=k: func(a, *rest, **options)[k],  # type: ignore[misc]
                    lambda t, k=k: OPS[func](t, *rest, **options)[k],  # type: ignore[misc]
                )
                for k in range(count)
            ]
    if func in FUNCTIONS:
        return FUNCTIONS[func](*args, **options)
    options = dict(options)
    out = options.pop("out", None)
    initial = options.pop("initial", None) if func in _REDUCED else None
    if options.get("where") is not None and func in _REDUCED:
        nothing = initial if _REDUCED[func][1] is None else _REDUCED[func][1]
        args = (np.where(plain(options.pop("where")), first, nothing), *args[1:])
    if func in LIKE and not is_live(args[1:]):
        return wrapped(func(*map(plain, args), **plain(options)))
    if not is_live([*args, *options.values()]):
        result: Any = func(*map(plain, args), **plain(options))
    else:
        if func not in OPS:
            return of_values(func, args, options, str(leaving.no_derivative(func)))
        options = {k: v for k, v in options.items() if k not in _OF_NO_VALUE}
        args = args if func is np.astype else _in_dtype(args, options)
        result = Tensor.__array_function__(
            now(first) if isinstance(first, Tensor) else Tensor(np.zeros(())),
            func, (), recorded(list(args)), recorded(options),
        )  # fmt: skip
    if initial is not None:
        result = _REDUCED[func][0](result, initial)
    return wrapped(result) if out is None else written(out, now(result), func.__name__)


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


def _choose(a: Any, choices: Any, **options: Any) -> Any:
    return by_numbers(lambda *numbers: np.choose(plain(a), numbers, **options), *choices)


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


def _bincount(x: Any, weights: Any = None, minlength: int = 0) -> Any:
    numbers = np.bincount(plain(x), minlength=minlength)
    if weights is None:
        return numbers
    return wrapped(Tensor(np.zeros(len(numbers))).at[plain(x)].add(joined(weights)))


FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.insert: _insert, np.choose: _choose, np.polyval: _polyval, np.bincount: _bincount,
    **{f: _in_place(f, 1) for f in (np.copyto, np.fill_diagonal)},
    **{f: _in_place(f, 2) for f in (np.put, np.place, np.putmask, np.put_along_axis)},
}  # fmt: skip
"""Functions of NumPy's on assignable arrays that no operation stands for."""


# ---- NumPy's protocols -----------------------------------------------------------------------


def _references(inputs: Any, kwargs: Any, out: Any) -> int:
    return sys.getrefcount(out)


class _Counting:
    """What finds out how many references there are to an array in `a += this`, and no others."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        out = kwargs.get("out", (None,))[0]
        return _references(inputs, kwargs, out)


def _counted() -> Any:
    a: Any = np.zeros(1)
    a += _Counting()
    return a


_ALONE = _counted()


def _is_whole(a: Any) -> bool:
    """Whether nobody else sees the memory of an array."""
    base = a.base
    return base is None or (type(base) is np.ndarray and sys.getrefcount(base) <= 3)


def _array_ufunc(self: Assignable, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
    out = kwargs.get("out", (None,))[0]
    is_operator = leaving.instruction(sys._getframe(1)) == "BINARY_OP"
    if type(out) is np.ndarray and inputs[0] is out and is_operator:
        if _references(inputs, kwargs, out) > _ALONE or not _is_whole(out):
            raise into_plain(f"in place, by np.{ufunc.__name__}")
        del kwargs["out"]  # `a += t` binds a anew, and nobody else has the old one
        t = ufunc_result(ufunc, method, inputs, kwargs)
        return t if t.dtype == out.dtype else t.astype(out.dtype)
    return ufunc_result(ufunc, method, inputs, kwargs)


def _array_function(self: Assignable, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
    return function_result(func, args, kwargs)


Assignable.__array_ufunc__ = _array_ufunc  # type: ignore[assignment]
Assignable.__array_function__ = _array_function  # type: ignore[assignment]
