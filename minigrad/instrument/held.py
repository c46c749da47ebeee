"""What functions are given and keep: containers, objects of the user's, what names stand for."""

from __future__ import annotations

import copy
import functools
import operator
import sys
from collections.abc import Callable, Hashable, Iterator
from types import FunctionType
from typing import Any

import numpy as np

from ..core.tensor import Tensor
from ..guard.errors import users_file
from .assignable import Assignable

__all__ = ["carried_over", "copied", "generators", "is_users", "settle_names", "settled", "tensors"]


def _items(x: Any) -> dict[Any, Any]:
    """Return what a list, a dict or an object of the user's holds, by index, key or name."""
    if isinstance(x, dict):
        return dict(x)
    if isinstance(x, list):
        return dict(enumerate(x))
    kind: Any = type(x)
    if not is_users(kind):
        return {}
    found = dict(getattr(x, "__dict__", {}))
    for c in kind.__mro__:
        slots = vars(c).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(x, name) and name not in ("__dict__", "__weakref__"):
                found[name] = getattr(x, name)
    return found


def _put(x: Any, key: Any, part: Any) -> None:
    if isinstance(x, (dict, list)):
        x[key] = part
    else:
        object.__setattr__(x, key, part)


def _tuple(x: Any, parts: list[Any]) -> Any:
    """Return a tuple of the kind of x."""
    return x._make(parts) if hasattr(x, "_make") else type(x)(parts)


@functools.lru_cache(maxsize=1024)
def is_users(kind: Hashable) -> bool:
    """Whether a class is the user's."""
    if not isinstance(kind, type) or issubclass(kind, (type, Tensor, np.ndarray, np.generic)):
        return False
    if kind.__module__ == "builtins":
        return False
    module = sys.modules.get(kind.__module__)
    return users_file(getattr(module, "__file__", None) or "<notebook>")


def _parts(x: Any) -> list[Any]:
    if isinstance(x, (list, tuple)):
        return [] if _SIMPLE.issuperset(map(type, x)) else [*x]
    return [*_items(x).values()]


def tensors(x: Any) -> Iterator[Tensor]:
    """Walk through the tensors in containers, and in objects of the user's."""
    seen, stack = {}, [x]
    while stack:
        part = stack.pop()
        if isinstance(part, Tensor):
            yield part
        elif type(part) not in _SIMPLE and id(part) not in seen:
            seen[id(part)] = part
            stack += _parts(part)


_SIMPLE = {int, float, bool, str, bytes, type(None), np.ndarray, np.float64, FunctionType}


def copied(
    x: Any, leaf: Callable[[Any], Any], copies: dict[int, Any], everything: bool = False
) -> Any:
    """Copy containers and objects that hold tensors, or everything; `leaf` gives the tensors.

    `copies` gets what was copied, with the copy, and that as it was made.
    """
    if isinstance(x, Tensor) or (everything and type(x) is np.ndarray):
        return leaf(x)
    if type(x) in _SIMPLE:
        return x
    if id(x) in copies:
        return copies[id(x)][1]
    if everything and isinstance(x, (np.random.Generator, np.random.RandomState)):
        return copy.deepcopy(x)
    if isinstance(x, tuple):
        parts = [copied(part, leaf, copies, everything) for part in x]
        return x if all(map(operator.is_, parts, x)) else _tuple(x, parts)
    if not everything and next(tensors(x), None) is None:
        return x
    kind: Any = type(x)
    if not isinstance(x, (dict, list)) and not is_users(kind):
        return x
    try:
        made = copy.copy(x)
    except Exception:  # a lock, a connection: whatever it is, there is one of it
        return x
    if made is not x:
        copies[id(x)] = x, made, {}
        for part, put in _places(made):
            put(copied(part, leaf, copies, everything))
        copies[id(x)] = x, made, _items(made)
    return made


def carried_over(given: Any, made: Any, before: Any) -> None:
    """Do to what was given what f has done to the copy of it."""
    after = _items(made)
    if isinstance(given, list):
        if len(after) != len(before) or any(after[k] is not before[k] for k in after):
            given[:] = [given[k] if after[k] is before.get(k) else x for k, x in after.items()]
        return
    for key in before.keys() - after.keys():
        if isinstance(given, dict):
            del given[key]
        else:
            object.__delattr__(given, key)
    for key, part in after.items():
        if key not in before or part is not before[key]:
            _put(given, key, part)


def settled(x: Any, leaf: Callable[[Any], Any], seen: dict[int, Any]) -> Any:
    """Return x with `leaf` of the assignable arrays in it; what can be changed is changed."""
    todo: list[Any] = []
    result = _replaced(x, leaf, seen, todo)
    while todo:
        holder = todo.pop()
        for part, put in _places(holder):
            now = _replaced(part, leaf, seen, todo)
            if now is not part:
                put(now)
    return result


def _replaced(x: Any, leaf: Callable[[Any], Any], seen: dict[int, Any], todo: list[Any]) -> Any:
    kind: Any = type(x)
    if kind is Assignable:
        return leaf(x)
    holds_others = kind is FunctionType or (kind is np.ndarray and x.dtype.hasobject)
    if kind in _SIMPLE and not holds_others:
        return x
    if id(x) not in seen:
        seen[id(x)] = x, x
        if isinstance(x, tuple):
            parts = [_replaced(part, leaf, seen, todo) for part in x]
            if not all(map(operator.is_, parts, x)):
                seen[id(x)] = x, _tuple(x, parts)
        else:
            todo.append(x)
    return seen[id(x)][1]


def _places(x: Any) -> list[tuple[Any, Callable[[Any], None]]]:
    """List what something holds that can be changed, each with what puts another there."""
    if isinstance(x, np.ndarray):
        return [(part, functools.partial(x.flat.__setitem__, k)) for k, part in enumerate(x.flat)]
    if isinstance(x, FunctionType):
        cells = [cell for cell in x.__closure__ or () if _is_filled(cell)]
        return [(c.cell_contents, functools.partial(setattr, c, "cell_contents")) for c in cells]
    return [(part, functools.partial(_put, x, key)) for key, part in _items(x).items()]


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def settle_names(functions: list[Any], leaf: Callable[[Any], Any], seen: dict[int, Any]) -> None:
    """Do what `settled` does with what functions know by global and enclosing names."""
    for f in functions:
        settled(f, leaf, seen)
        for name in _global_names(f):
            part = f.__globals__[name]
            now = settled(part, leaf, seen) if _may_hold(part) else part
            if now is not part:
                f.__globals__[name] = now


def _global_names(f: Any) -> list[str]:
    is_function = isinstance(f, FunctionType)
    return [k for k in f.__code__.co_names if k in f.__globals__] if is_function else []


def _may_hold(x: Any) -> bool:
    kind: Any = type(x)
    return kind in (Assignable, dict, list, tuple) or is_users(kind)


def generators(f: Any) -> list[Any]:
    """List the generators of random numbers that a function knows by name."""
    known = [f.__globals__[name] for name in _global_names(f)]
    known += [part for part, _ in _places(f)] if isinstance(f, FunctionType) else []
    return [x for x in known if isinstance(x, np.random.Generator)]
