"""What is called in NumPy code instead of what is written there, while it is recorded.

`f(x)` is rewritten to `callee(f)(x)`. That is f itself, unless f would make a plain array or a
plain number of what gradients flow through: makers of arrays give assignable ones, `np.array` and
NumPy's functions take lists of tensors, methods of plain arrays take tensors, `float`, `math` and
`scipy.special` are followed, `isinstance` and `type` answer as for NumPy's arrays.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import math
import sys
from contextvars import ContextVar
from types import BuiltinFunctionType, FunctionType, GeneratorType, MethodType, ModuleType
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..core.tensor import OPS, Tensor
from ..guard.errors import NUMPY, users_file
from .assignable import (
    PLAIN_OPTIONS,
    Assignable,
    NotFollowed,
    holds_tensor,
    into_plain,
    is_live,
    joined,
    plain,
    recorded,
    wrapped,
)
from .functions import numpys_result, of_values, stands_apart, strided
from .held import is_users
from .makers import MAKERS, array, maker, of_chance
from .rewrite import Instrumented, Rewriter, original, rewritten
from .scipys import MATH, SCIPYS, scipys_name

__all__ = ["Calls", "Run", "callee", "running"]


class Run:
    """One run of NumPy code on tensors: the functions with hooks in them, and what they cache."""

    def __init__(self, instrumented: Instrumented) -> None:
        self.instrumented = instrumented
        self.functions: dict[int, tuple[Any, Any]] = {}
        self.cached: dict[Any, Any] = {}

    def hook_class(self, kind: type) -> None:
        """Put hooks into what Python itself calls of a class of the user's."""
        if id(kind) not in self.functions and is_users(kind):
            self.functions[id(kind)] = kind, kind
            found = [f for c in kind.__mro__ for f in vars(c).values()]
            found += [part for f in found if isinstance(f, property) for part in (f.fget, f.fset)]
            codes = [f.__code__ for f in found if isinstance(f, FunctionType)]
            self.instrumented.add([code for code in codes if users_file(code.co_filename)])


running: ContextVar[Run | None] = ContextVar("the run of NumPy code", default=None)


class Calls(Rewriter):
    """Puts `callee` around what is called, and around np.c_ and np.r_."""

    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        is_super = isinstance(node.func, ast.Name) and node.func.id == "super"
        if not is_super:
            node.func = self.call(callee, node.func, node.func)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        self.generic_visit(node)
        joins = node.attr in ("c_", "r_") and isinstance(node.ctx, ast.Load)
        return self.call(callee, node, node) if joins else node

    def visit_BinOp(self, node: ast.BinOp) -> ast.BinOp:
        left = node.left
        is_text = isinstance(left, ast.Constant) and isinstance(left.value, str)
        self.generic_visit(node)
        if is_text and isinstance(node.op, ast.Mod):
            node.right = self.call(_shown, node.right, node.right)
        return node


def _shown(x: Any) -> Any:
    """What stands on the right of `"%.3f" % x`."""
    return x if running.get() is None else plain(x)


# ---- what is called instead: by the values, or so that gradients flow through --------------------


def _followed(f: Any, known: Any) -> Any:
    """Make of a function one that does what is known to have derivatives, where they are needed."""

    def call(*args: Any, **kwargs: Any) -> Any:
        args = tuple([[*x] if isinstance(x, GeneratorType) else x for x in args])
        if not is_live([*args, *kwargs.values()]):
            return f(*plain(args), **plain(kwargs))
        return wrapped(known(*map(joined, args), **recorded(kwargs)))

    return call


def _unknown(f: Any, why: str) -> Any:
    """Make of a function one of the values; it may show them, but not compute floats from them."""
    return _followed(f, lambda *args, **kwargs: of_values(f, args, kwargs, why))


def _math(f: Any) -> Any:
    known = MATH.get(f.__name__)
    if known is None:
        return _unknown(f, f"math.{f.__name__} has no derivative in minigrad; write it in NumPy")
    one = lambda x: x.reshape(()) if isinstance(x, Tensor) and x.size == 1 else x
    return _followed(f, lambda *xs: known(*map(one, xs)))


def _librarys(f: Any) -> Any:
    """A function of another library: on the values, unless it takes tensors."""
    on_values = _unknown(
        f,
        f"{f.__module__}.{f.__name__} computes from what gradients flow through, and minigrad does "
        "not know its derivative; write it in NumPy, or define it as a primitive (see mg.define)",
    )

    def call(*args: Any, **kwargs: Any) -> Any:
        if is_live([*args, *kwargs.values()]):
            with contextlib.suppress(NotFollowed):
                return f(*args, **kwargs)
        return on_values(*args, **kwargs)

    return call


def _minigrads(f: Any) -> Any:
    """A function of minigrad's: it takes plain tensors, from functions of the user's as well."""
    return lambda *args, **kwargs: wrapped(
        f(*recorded(tuple(map(_giving_tensors, args))), **recorded(kwargs))
    )


def _giving_tensors(f: Any) -> Any:
    if type(f) not in (FunctionType, MethodType):
        return f
    return functools.wraps(f)(lambda *args, **kwargs: recorded(callee(f)(*args, **kwargs)))


def _numpys(f: Any) -> Any:
    """A function of NumPy's, which may be given lists of tensors, and tensors from elsewhere."""
    operation: Any = None if stands_apart(f) else OPS.get(f)

    def call(*args: Any, **kwargs: Any) -> Any:
        is_usual = len(args) == 1 and type(args[0]) is Assignable and operation is not None
        if is_usual and PLAIN_OPTIONS.issuperset(kwargs):
            return wrapped(operation(args[0].now(), **kwargs))
        if holds_tensor(args) or (kwargs and holds_tensor([*kwargs.values()])):
            return numpys_result(f, args, kwargs)
        return f(*args, **kwargs)

    return call


def _method_of_array(f: Any, a: Any) -> Any:
    """A method of a plain array, which may be given tensors."""
    name = f.__name__

    def call(*args: Any, **kwargs: Any) -> Any:
        if not holds_tensor([*args, *kwargs.values()]):
            return f(*args, **kwargs)
        if hasattr(np, name):
            return numpys_result(getattr(np, name), (a, *args), kwargs)
        if is_live(args):
            raise into_plain(f"by .{name}")
        return f(*plain(args), **plain(kwargs))

    return maker(f) if name == "copy" else call


# ---- functions that call others ----------------------------------------------------------------


def _calling(f: Any) -> Any:
    """A function that is given functions, as `map` is."""
    return lambda *args, **kwargs: f(
        *map(_callee, args), **{key: _callee(x) for key, x in kwargs.items()}
    )


def _callee(x: Any) -> Any:
    return callee(x) if callable(x) and not isinstance(x, Tensor) else x


def _vectorized(f: Any) -> Any:
    """What np.vectorize makes of a function of numbers."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if not holds_tensor(args) or kwargs or f.signature:
            return f(*args, **kwargs)
        xs = [wrapped(x) for x in np.broadcast_arrays(*map(joined, args))]
        of_numbers = callee(f.pyfunc)
        found = [of_numbers(*[x[i] for x in xs]) for i in np.ndindex(*xs[0].shape)]
        return array(found).reshape(xs[0].shape)

    return call


def _apply_along_axis(f: Any, axis: int, a: Any, *args: Any, **kwargs: Any) -> Any:
    f, rows = callee(f), np.moveaxis(wrapped(a), axis, -1)
    lead = rows.shape[:-1]
    found = [f(rows[i], *args, **kwargs) for i in np.ndindex(*lead)]
    t = array(found).reshape(lead + np.shape(found[0]))
    return np.moveaxis(t, -1, axis) if np.ndim(found[0]) else t


def _cached(f: Any, run: Run) -> Any:
    """A function with a cache, which must not keep what this run gives it."""
    if f not in run.cached:
        options = f.cache_parameters()
        inner = callee(f.__wrapped__)
        run.cached[f] = functools.lru_cache(options["maxsize"], options["typed"])(inner)
    return run.cached[f]


_TABLE: dict[Any, Any] = {
    **MAKERS, as_strided: strided, np.apply_along_axis: _apply_along_axis,
    **{f: _calling(f) for f in (
        map, filter, sorted, max, min, functools.reduce, functools.partial)},
    **{f: _math(f) for name, f in vars(math).items() if callable(f) and name[0] != "_"},
}  # fmt: skip
"""By what is called, what is called instead. What is not here `callee` decides by its kind."""

_CHANCE = np.random.Generator, np.random.RandomState
_Dispatched: Any = type(np.sum)


def callee(f: Any) -> Any:
    """Return f, or what is called instead of it while NumPy code is recorded in this context."""
    run = running.get()
    if run is None:
        return f
    kind = type(f)
    if kind is FunctionType:
        found = run.functions.get(id(f))
        if found is None:
            found = run.functions[id(f)] = f, _function(f)
        return found[1]
    if kind is MethodType:
        return _method(f, run)
    if kind is BuiltinFunctionType:
        owner = f.__self__
        if type(owner) is np.ndarray:
            return _method_of_array(f, owner)
        if type(owner) is np.ufunc:
            return _numpys(f)
        if isinstance(owner, _CHANCE):
            return of_chance(f)
        return _TABLE.get(f, f) if owner is None or type(owner) is ModuleType else f
    if kind is np.ufunc or kind is _Dispatched:
        found = _TABLE.get(f)
        if found is None:
            found = _TABLE[f] = _numpys(f)
        return found
    if isinstance(f, type):
        if f in _TABLE:
            return _TABLE[f]
        run.hook_class(f)
        return f
    if kind is np.vectorize:
        return _vectorized(f)
    if kind is functools._lru_cache_wrapper:
        return _cached(f, run)
    if f is np.c_ or f is np.r_:
        return _TABLE[f]
    if kind.__module__.startswith("minigrad."):
        return _minigrads(f)
    if hasattr(f, "py_func"):  # as Numba keeps it
        return callee(f.py_func)
    run.hook_class(kind)
    return f


def _hooked(f: Any) -> Any:
    """Return a function of the user's with hooks in it: itself, or one with other code."""
    made = rewritten(Calls, f.__code__) if original(f.__code__) is f.__code__ else None
    if made is None:
        return f
    g = FunctionType(made, f.__globals__, f.__name__, f.__defaults__, f.__closure__)
    g.__kwdefaults__, g.__qualname__, g.__dict__ = f.__kwdefaults__, f.__qualname__, f.__dict__
    return g


def _function(f: Any) -> Any:
    """The same for a function written in Python."""
    if (found := _TABLE.get(f)) is not None:
        return found
    if hasattr(f, "records_numpy_code"):
        return f
    file, module = f.__code__.co_filename, f.__globals__.get("__name__", "")
    if users_file(file):
        return _hooked(f)
    if module.startswith("minigrad."):
        return _minigrads(f)
    if (known := SCIPYS.get(scipys_name(f))) is not None:
        return _followed(f, known)
    if file.startswith(NUMPY):
        return _numpys(f)
    if module.partition(".")[0] in sys.stdlib_module_names:
        return f
    return _librarys(f)


def _method(f: Any, run: Run) -> Any:
    owner, function = f.__self__, f.__func__
    if type(owner) is Assignable:
        return f
    if isinstance(owner, Tensor):
        return getattr(wrapped(owner), f.__name__)
    if isinstance(owner, _CHANCE):
        return of_chance(f)
    if type(function) is not FunctionType:
        return f
    if isinstance(owner, type):
        run.hook_class(owner)
    g = callee(function)
    return f if g is function else MethodType(g, owner)
