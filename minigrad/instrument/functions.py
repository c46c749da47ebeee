"""NumPy's functions, and scipy.special's, on assignable arrays."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.tensor import OPS, Tensor, op, plain_index
from ..guard import leaving
from ..ops import elementwise, reduce, special
from .assignable import (
    Assignable,
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

__all__ = ["SCIPYS", "function_result", "of_values", "stands_apart", "strided", "ufunc_result"]


VIEWS: Any = {
    np.transpose, np.reshape, np.ravel, np.swapaxes, np.squeeze, np.expand_dims, np.moveaxis,
    np.rollaxis, np.broadcast_to, np.diagonal, np.flip, np.fliplr, np.flipud, np.rot90,
    np.atleast_1d, np.atleast_2d, np.atleast_3d, np.matrix_transpose,
}  # fmt: skip
"""Functions that give a view of their first argument, where NumPy can."""

_OF_SEVERAL: Any = {np.atleast_1d, np.atleast_2d, np.atleast_3d}

SPLITS: Any = {np.split, np.array_split, np.hsplit, np.vsplit, np.dsplit}

if hasattr(np, "unstack"):
    SPLITS.add(np.unstack)

LIKE: Any = {np.zeros_like, np.ones_like, np.empty_like, np.full_like}

FUNCTIONS: dict[Any, Callable[..., Any]] = {}
"""Functions of NumPy's on assignable arrays that no operation stands for."""


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
        operation = OPS.get(key) or (SCIPYS.get(name) if method == "__call__" else None)
        if operation is None and method != "__call__":
            operation = _folded(ufunc, method)
        if operation is None and all("O" in kind for kind in ufunc.types):  # np.frompyfunc's
            return ufunc(*map(_as_objects, inputs))
        if operation is None:
            result = of_values(key, inputs, options, str(leaving.no_derivative(key)))
            return result if out is None else written(out, result, name)
        result = operation(*map(joined, inputs), **recorded(options))
    if where is not True:
        before = out[0] if isinstance(out, tuple) else out
        result = op(np.where)(where, now(result), 0.0 if before is None else now(before))
    return wrapped(result) if out is None else written(out, now(result), name)


def _as_objects(x: Any) -> Any:
    if not isinstance(x, Tensor):
        return x
    out = np.empty(x.shape, object)
    for i in np.ndindex(*x.shape):
        out[i] = wrapped(x)[i]
    return out


def _folded(ufunc: Any, method: str) -> Callable[..., Any] | None:
    """Return the reduction of a ufunc of two arguments, one element after another."""
    if ufunc not in OPS or method not in ("reduce", "accumulate"):
        return None

    def fold(a: Any, axis: int = 0, **_: Any) -> Any:
        parts = np.unstack(a, axis=axis)
        seen = [parts[0]]
        for part in parts[1:]:
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


_NEUTRAL: dict[Any, Any] = {
    np.sum: 0, np.prod: 1, np.max: None, np.min: None, np.amax: None, np.amin: None, np.mean: 0
}  # fmt: skip
"""Reductions, and what in them counts for nothing."""


def _where(func: Any, a: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return what a reduction `where=` a mask holds is to reduce, and its other options."""
    options = dict(options)
    mask, neutral = np.asarray(options.pop("where")), _NEUTRAL[func]
    if neutral is None:
        neutral = options.pop("initial")
    a = joined(a)
    if func is np.mean:
        shape: Any = np.shape(a)
        axes: Any = {"axis": options.get("axis"), "keepdims": True}
        number = np.sum(np.ones(shape), **axes) / np.sum(np.broadcast_to(mask, shape), **axes)
        a = a * number.astype(a.dtype)
    return np.where(mask, a, neutral), options


def _is_by_columns(func: Any, args: Any, options: Any) -> bool:
    """Whether a function takes elements in Fortran's order."""
    given = [x for x in (*args, options.get("order")) if type(x) is str]
    return func in (np.reshape, np.ravel) and given == ["F"]


def stands_apart(func: Any) -> bool:
    """Whether more is to be done for a function than an operation does."""
    return func in VIEWS or func in SPLITS or func in LIKE or func in FUNCTIONS


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
    if options.get("where") is not None and func in _NEUTRAL and is_live(first):
        first, options = _where(func, first, options)
        args = (first, *args[1:])
    if func in LIKE and not is_live(args[1:]):
        return wrapped(func(*map(plain, args), **plain(options)))
    if not is_live([*args, *options.values()]):
        result: Any = func(*map(plain, args), **plain(options))
    else:
        if func not in OPS:
            return of_values(func, args, options, str(leaving.no_derivative(func)))
        unsaid = {"dtype": None, "casting": "same_kind", "order": "C", "where": True}
        options = {k: v for k, v in options.items() if k not in unsaid or v != unsaid[k]}
        dtype = options.pop("dtype", None) if func in _NEUTRAL else None
        if dtype is not None:
            args = (op(np.astype)(joined(first), np.dtype(dtype)), *args[1:])
        result = Tensor.__array_function__(
            now(first) if isinstance(first, Tensor) else Tensor(np.zeros(())),
            func, (), recorded(list(args)), recorded(options),
        )  # fmt: skip
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


def _insert(a: Any, obj: Any, values: Any, axis: Any = None) -> Any:
    a, values = joined(a), joined(values)
    if axis is None:
        a, axis = np.ravel(a), 0
    axis = axis % np.ndim(a)
    n = np.shape(a)[axis]
    order = np.insert(np.arange(n), obj, -1 - np.arange(np.size(obj) if np.size(obj) > 1 else 1))
    if np.size(obj) == 1 and np.ndim(values) and np.ndim(a) == 1:  # several, at one place
        order = np.insert(np.arange(n), obj, -1 - np.arange(np.size(values)))
    count = len(order) - n
    shape = (*np.shape(a)[:axis], count, *np.shape(a)[axis + 1 :])
    if np.ndim(obj) == 0 and np.ndim(values) == np.ndim(a) and np.ndim(a) > 1:
        values = np.moveaxis(values, 0, axis)
    both = np.concatenate([a, np.broadcast_to(values, shape)], axis=axis)
    return wrapped(np.take(both, np.where(order < 0, n - 1 - order, order), axis=axis))


def _copyto(a: Any, b: Any, casting: Any = "same_kind", where: Any = True) -> None:
    if type(a) is not Assignable:
        if is_live(b):
            raise into_plain("by np.copyto")
        np.copyto(a, plain(b), casting, where)
    elif where is True:
        a[...] = b
    else:
        mask = np.broadcast_to(plain(where), a.shape)
        a[mask] = np.broadcast_to(joined(b), a.shape)[mask]


def _fill_diagonal(a: Any, value: Any, wrap: bool = False) -> None:
    places = np.arange(a.size).reshape(a.shape)
    marked = np.zeros(a.shape, bool)
    np.fill_diagonal(marked, True, wrap)
    at = np.unravel_index(places[marked], a.shape)
    n = len(at[0])
    flat = np.ravel(joined(value))
    a[at] = flat if flat.size == 1 else flat[np.arange(n) % flat.size]


def _putmask(a: Any, mask: Any, values: Any) -> None:
    mask = plain(mask).astype(bool)
    flat = np.ravel(joined(values))
    a[mask] = flat if flat.size == 1 else flat[np.flatnonzero(mask) % flat.size]


def _place(a: Any, mask: Any, values: Any) -> None:
    mask = plain(mask).astype(bool)
    flat = np.ravel(joined(values))
    a[mask] = flat[np.arange(mask.sum()) % flat.size]


def _put(a: Any, places: Any, values: Any, mode: str = "raise") -> None:
    a.flat[np.asarray(places)] = values


def _put_along_axis(a: Any, indices: Any, values: Any, axis: Any) -> None:
    marks = np.arange(a.size).reshape(a.shape)
    picked = np.take_along_axis(marks, plain(indices), axis)
    a[np.unravel_index(picked, a.shape)] = values


def _ediff1d(a: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    parts = [to_begin, np.diff(np.ravel(joined(a))), to_end]
    return wrapped(np.concatenate([np.atleast_1d(joined(x)) for x in parts if x is not None]))


def _cov(m: Any, *_: Any, rowvar: bool = True, bias: bool = False, ddof: Any = None) -> Any:
    x = np.atleast_2d(joined(m))
    x = x if rowvar else x.T
    x = x - np.mean(x, axis=1, keepdims=True)
    return wrapped(np.squeeze(x @ x.T / (x.shape[1] - (not bias if ddof is None else ddof))))


def _vander(x: Any, N: Any = None, increasing: bool = False) -> Any:
    n = np.size(x) if N is None else N
    powers = [now(x) ** k for k in range(n)]
    return wrapped(np.stack(powers if increasing else powers[::-1], axis=-1))


def _polyval(p: Any, x: Any) -> Any:
    y: Any = 0
    for c in p:
        y = y * x + c
    return y


def _bincount(x: Any, weights: Any = None, minlength: int = 0) -> Any:
    if not is_live(weights):
        return np.bincount(plain(x), plain(weights), minlength)
    n = max(int(np.max(plain(x), initial=-1)) + 1, minlength)
    w = joined(weights)
    return wrapped(Tensor(np.zeros(n, w.dtype)).at[plain(x)].add(w))


def _choose(a: Any, choices: Any, **_: Any) -> Any:
    parts = np.stack(np.broadcast_arrays(*[joined(x) for x in choices]))
    a = np.broadcast_to(plain(a), parts.shape[1:])
    return wrapped(np.take_along_axis(parts, a[None], 0)[0])


def _trapz(y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Any:
    return wrapped(op(np.trapezoid)(joined(y), joined(x), dx, axis))


def _xlogy(x: Any, y: Any) -> Any:
    is_zero = np.equal(plain(x), 0)
    return np.where(is_zero, 0.0, x * np.log(np.where(is_zero, 1.0, y)))


def _of_sum(f: Any) -> Any:
    def call(a: Any, axis: Any = None, **options: Any) -> Any:
        a = joined(a)
        if axis is None:
            return f(np.ravel(a), axis=-1).reshape(a.shape)
        return f(a, axis=axis, **options)

    return call


def _logsumexp(
    a: Any, axis: Any = None, b: Any = None, keepdims: bool = False, return_sign: bool = False
) -> Any:
    if return_sign:
        raise refused("logsumexp with return_sign", "write the logarithm and the sign in NumPy")
    a = joined(a)
    if b is not None:
        top = np.max(plain(a), axis=axis, keepdims=True)
        total = np.log(np.sum(joined(b) * np.exp(a - top), axis=axis, keepdims=True)) + top
        return total if keepdims else total.reshape(np.sum(plain(a), axis=axis).shape)
    return reduce.logsumexp(a, axis=axis, keepdims=keepdims)


_ROOT_HALF = 0.5**0.5
SCIPYS: dict[str, Callable[..., Any]] = {
    "expit": elementwise.sigmoid, "log_expit": elementwise.log_sigmoid, "erf": special.erf,
    "erfc": special.erfc, "softplus": elementwise.softplus, "exp2": elementwise.exp2,
    "logit": lambda x: np.log(x) - np.log1p(-x),
    "xlogy": _xlogy, "xlog1py": lambda x, y: _xlogy(x, 1 + y),
    "entr": lambda x: -_xlogy(x, x), "rel_entr": lambda x, y: _xlogy(x, x / y),
    "kl_div": lambda x, y: _xlogy(x, x / y) - x + y,
    "exp10": lambda x: np.power(10.0, x), "cbrt": elementwise.cbrt,
    "ndtr": lambda x: 0.5 * special.erfc(-_ROOT_HALF * x),
    "log_ndtr": lambda x: np.log(0.5 * special.erfc(-_ROOT_HALF * x)),
    "huber": lambda d, r: np.where(
        np.abs(plain(r)) <= d, 0.5 * r * r, d * (np.abs(r) - 0.5 * d)
    ),
    "pseudo_huber": lambda d, r: d * d * (np.sqrt(1 + (r / d) ** 2) - 1),
    "logsumexp": _logsumexp, "softmax": _of_sum(reduce.softmax),
    "log_softmax": _of_sum(reduce.log_softmax),
}  # fmt: skip
"""What functions of scipy.special are here, by name."""


for _name, _f in (
    ("insert", _insert), ("copyto", _copyto), ("fill_diagonal", _fill_diagonal),
    ("putmask", _putmask), ("place", _place), ("put", _put), ("ediff1d", _ediff1d),
    ("put_along_axis", _put_along_axis), ("cov", _cov), ("vander", _vander),
    ("polyval", _polyval), ("bincount", _bincount), ("choose", _choose),
    ("trapz", _trapz),
):  # fmt: skip
    if hasattr(np, _name):
        FUNCTIONS[getattr(np, _name)] = _f


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
