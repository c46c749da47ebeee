"""What code may read outside of itself: the places that Python keeps references in, by name."""

from __future__ import annotations

import functools
import gc
import sys
from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any

import numpy as np

from ...core import tree
from ...core.tensor import Tensor
from ...guard.errors import our_file, users_file

__all__ = ["Reach", "names_in"]

_CONTAINERS = (dict, list, set, deque, bytearray, array)
_HOLD_NOTHING = (
    Tensor, np.ndarray, np.generic, np.ufunc, np.dtype, np.random.Generator, str, bytes, int, float,
    complex, type(None), BuiltinFunctionType, CodeType, Enum
)  # fmt: skip
_HEAP_TYPE = 1 << 9  # a class that is made when a program runs, as those written in Python are
_BY_TEXT = {"getattr", "hasattr", "vars", "globals", "__dict__", "__getattribute__"}
_NOT_BY_OPERATORS = {"__init__", "__new__", "__del__", "__repr__", "__str__", "__reduce__"}


class Reach:
    """The places that functions, and what they call, may read: all that their code has names for.

    Which object an expression leads to is known only when it runs, so a name in any function counts
    for all objects: more is found than is read. Code of libraries counts only for the names in it.
    Attributes whose names are computed are not found.
    """

    def __init__(self, *functions: Any) -> None:
        self.names = {"forward", "__wrapped__"}  # which ours call
        self.texts: set[str] = set()  # names, too, where code says getattr(settings, "rate")
        count = 0
        while count < (count := len(self.names | self.texts)):  # by them other functions are found
            self._find(functions)

    def _find(self, functions: Iterable[Any]) -> None:
        self.cells: list[tuple[Any, Any, str]] = []
        self.items: list[tuple[Any, str, Any]] = []  # of dicts of attributes, and of globals
        self.missing: list[tuple[Any, str]] = []  # what would be found before such an item
        self.containers: list[Any] = []
        self.classes: dict[type, Mapping[str, Any]] = {}
        self.by_text = self.texts.copy() if self.names & _BY_TEXT else set()
        seen: set[int] = set()
        todo = [*functions]
        while todo:
            part = todo.pop()
            if id(part) not in seen and not isinstance(part, _HOLD_NOTHING):
                seen.add(id(part))
                todo += self._held(part)

    def _held(self, part: Any) -> Iterator[Any]:
        """List what an object leads to, and note the places."""
        if isinstance(part, MethodType):
            yield from (part.__func__, part.__self__)
        elif isinstance(part, functools.partial):
            yield from (part.func, *part.args, *part.keywords.values())
        elif isinstance(part, property):
            yield part.fget
        elif isinstance(part, (staticmethod, classmethod)):
            yield part.__func__
        elif isinstance(part, functools.cached_property):
            yield part.func
        elif isinstance(part, MappingProxyType):
            yield from gc.get_referents(part)
        elif isinstance(part, FunctionType):
            yield from self._of_function(part)
            yield from self._of_attributes(part, [vars(part)])
        elif isinstance(part, ModuleType):
            yield from self._of_attributes(part, [vars(part)] if _is_users(part) else [])
        else:
            if isinstance(part, _CONTAINERS):
                self.containers.append(part)
                yield from dict.values(part) if isinstance(part, dict) else part
            elif isinstance(part, (tuple, frozenset)):
                yield from part
            yield from self._of_attributes(part, [*self._looked_up_in(part)])

    def _of_function(self, f: FunctionType) -> Iterator[Any]:
        code = f.__code__
        is_users = users_file(code.co_filename)
        if not our_file(code.co_filename):
            self.names.update(names_in(code))
            self.texts.update(_texts_in(code))
        for name, cell in zip(code.co_freevars, f.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:  # not yet filled
                continue
            if is_users:
                self.cells.append((cell, value, name))
            yield value
        yield from f.__defaults__ or ()
        yield from (f.__kwdefaults__ or {}).values()
        if is_users:
            for name in sorted({*names_in(code), *self.by_text.intersection(_texts_in(code))}):
                if name in f.__globals__:
                    yield from self._item(f.__globals__, name, f.__globals__[name])

    def _looked_up_in(self, part: Any) -> Iterator[Mapping[str, Any]]:
        """List the dicts in which Python looks for an attribute, in its order.

        Classes of libraries in C, ours and NumPy's are left out, and the modules of ours, which say
        themselves when they change.
        """
        classes = type(part).__mro__
        if isinstance(part, type):
            classes = part.__mro__ + classes
        elif not (tree.is_module(part) and _is_ours(type(part))):
            yield getattr(part, "__dict__", {})
        for c in classes:
            if c.__flags__ & _HEAP_TYPE and not _is_ours(c):
                yield self.classes.setdefault(c, vars(c))

    def _of_attributes(self, part: Any, places: list[Mapping[str, Any]]) -> Iterator[Any]:
        names = (self.names | self.by_text).intersection(*[set().union(*places)])
        for place in places[1:]:
            names.update(name for name in place if _is_called_by_operators(name, place[name]))
        for name in sorted(names):
            k = next(k for k, place in enumerate(places) if name in place)
            value = places[k][name]
            if isinstance(value, MemberDescriptorType) and not isinstance(part, type):
                slots = Slots(part)
                if name in slots:
                    yield from self._item(slots, name, slots[name])
                else:
                    self.missing.append((slots, name))
                continue
            if not isinstance(value, functools.cached_property):
                self.missing += [(place, name) for place in places[:k]]
            yield from self._item(places[k], name, value)
        if places:
            self.missing += [(places[0], name) for name in self.by_text - names]

    def _item(self, place: Any, name: str, value: Any) -> Iterator[Any]:
        if not isinstance(value, ModuleType) or _is_users(value):
            self.items.append((place, name, value))
            yield value


class Slots:
    """The attributes of an object that its class has `__slots__` for, as a dict."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner

    def __contains__(self, name: str) -> bool:
        return hasattr(self.owner, name)

    def __getitem__(self, name: str) -> Any:
        if name not in self:
            raise KeyError(name)
        return getattr(self.owner, name)

    def __setitem__(self, name: str, value: Any) -> None:
        object.__setattr__(self.owner, name, value)

    def __delitem__(self, name: str) -> None:
        object.__delattr__(self.owner, name)


def _is_users(module: ModuleType) -> bool:
    root = module.__name__.partition(".")[0]
    return root not in sys.stdlib_module_names and users_file(getattr(module, "__file__", "") or "")


def _is_ours(c: type) -> bool:
    return c.__module__.partition(".")[0] in ("minigrad", "numpy")


def _is_called_by_operators(name: str, value: Any) -> bool:
    return (
        isinstance(value, FunctionType)
        and name[:2] == "__" == name[-2:]
        and name not in _NOT_BY_OPERATORS
    )


@functools.lru_cache(1000)
def names_in(code: CodeType) -> tuple[str, ...]:
    """Return the names that code, and that of the functions in it, may look up."""
    return (*code.co_names, *[name for inner in _codes_in(code) for name in names_in(inner)])


@functools.lru_cache(1000)
def _texts_in(code: CodeType) -> tuple[str, ...]:
    """Return the texts in code, and in that of the functions in it, that could be names."""
    texts = [c for c in code.co_consts if isinstance(c, str) and c.isidentifier()]
    return (*texts, *[text for inner in _codes_in(code) for text in _texts_in(inner)])


def _codes_in(code: CodeType) -> Iterable[CodeType]:
    return (c for c in code.co_consts if isinstance(c, CodeType))
