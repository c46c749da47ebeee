"""What code may read outside of itself: the places that Python keeps references in, by name."""

from __future__ import annotations

import builtins
import dis
import functools
import gc
import operator
import sys
import weakref
from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from types import (
    BuiltinFunctionType,
    CodeType,
    DynamicClassAttribute,
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

__all__ = ["ABSENT", "Reach", "content"]

ABSENT = object()

_CONTAINERS = (dict, list, set, deque, bytearray, array)
_VIEWS: Any = (MappingProxyType, type({}.keys()), type({}.values()), type({}.items()))
_NAMING = (operator.attrgetter, operator.itemgetter, operator.methodcaller)
_HOLD_NOTHING = {
    bool, int, float, complex, str, bytes, type(None), type(Ellipsis), BuiltinFunctionType,
    CodeType, np.ufunc, np.random.Generator
}  # fmt: skip
_HEAP_TYPE = 1 << 9  # a class that is made when a program runs, as those written in Python are
_BY_TEXT = {"getattr", "hasattr", "vars", "globals", "__dict__", "__getattribute__", "eval"}
_ALL_OF_IT = {"vars", "__dict__", "dir", "fields", "asdict", "astuple"}
_MAKE = {"__init__", "__new__"}


class Reach:
    """The places that functions, and what they call, may read: all that their code has names for.

    Which object an expression leads to is known only when it runs, so a name in any function counts
    for all objects: more is found than is read. Code of libraries counts only for the names in it.
    Attributes whose names are computed are not found.
    """

    def __init__(self, *functions: Any) -> None:
        self.names = {"forward", "__wrapped__"}  # which ours look up
        self.texts: set[str] = set()  # names, too, where code says getattr(settings, "rate")
        count = 0
        while count < (count := len(self.names | self.texts)):  # by them other functions are found
            self._find(functions)

    def _find(self, functions: Iterable[Any]) -> None:
        self.cells: list[tuple[Any, Any, str]] = []
        self.items: list[tuple[Any, str, Any]] = []  # of dicts of attributes, and of globals
        self.missing: list[tuple[Any, str]] = []  # what would be found before such an item
        self.containers: list[Any] = []
        self.arrays: list[Any] = []
        self.modules: list[Any] = []
        self.functions: list[FunctionType] = []
        self.objects: list[tuple[Any, type, Any]] = []  # with their class and their dict
        self.classes: dict[type, Mapping[str, Any]] = {}
        self.by_text = self.texts.copy() if self.names & _BY_TEXT else set()
        seen: dict[int, Any] = {}  # and alive, so that no other gets its identity
        todo = [*functions]
        while todo:
            part = todo.pop()
            if id(part) not in seen and type(part) not in _HOLD_NOTHING:
                seen[id(part)] = part
                todo += self._held(part)

    def _held(self, part: Any) -> Iterator[Any]:
        """List what an object leads to, and note the places."""
        if isinstance(part, MethodType):
            yield from (part.__func__, part.__self__)
        elif isinstance(part, functools.partial):
            yield from (part.func, *part.args, part.keywords)
        elif isinstance(part, (property, DynamicClassAttribute)):
            yield from self._of_getter(part.fget)
        elif isinstance(part, (staticmethod, classmethod)):
            yield part.__func__
        elif isinstance(part, functools.cached_property):
            yield part.func
        elif isinstance(part, _VIEWS):
            yield from gc.get_referents(part)
        elif isinstance(part, _NAMING):
            said = [name for name in part.__reduce__()[1] if isinstance(name, str)]
            self.names.update([name for path in said for name in path.split(".")])
        elif isinstance(part, ContextVar):
            yield from self._item(Variable(part), part.name, part.get(None))
        elif isinstance(part, weakref.ref):
            yield part()
        elif isinstance(part, FunctionType):
            yield from self._of_function(part)
            yield from self._of_attributes(part, [vars(part)])
        elif isinstance(part, ModuleType):
            yield from self._of_attributes(part, [vars(part)] if _is_users(part) else [])
        elif not isinstance(part, Tensor):
            if isinstance(part, _CONTAINERS):
                self.containers.append(part)
                yield from dict.values(part) if isinstance(part, dict) else part
            elif isinstance(part, (tuple, frozenset)):
                yield from part
            elif isinstance(part, np.ndarray):
                self.arrays.append(part)
                yield from part.flat if part.dtype == object else ()
            elif tree.is_module(part):
                self.modules.append(part)
                yield from [module for _, module in part.named_modules()]
            yield from self._of_object(part)

    def _of_function(self, f: FunctionType) -> Iterator[Any]:
        code = f.__code__
        is_users = users_file(code.co_filename)
        if not our_file(code.co_filename):
            self.names.update(_names_in(code))
            self.texts.update(_texts_in(code))
        for name, cell in zip(code.co_freevars, f.__closure__ or (), strict=True):
            value = content(cell)
            if is_users:
                self.cells.append((cell, value, name))
            yield value
        yield from f.__defaults__ or ()
        yield f.__kwdefaults__
        if is_users:
            self.functions.append(f)
            for name in sorted({*_globals_in(code), *self.by_text.intersection(_texts_in(code))}):
                if name in f.__globals__:
                    yield from self._item(f.__globals__, name, f.__globals__[name])
                elif hasattr(builtins, name) or "NameError" in self.names:
                    self.missing.append((f.__globals__, name))
            for name in _names_in(code):
                if name in sys.modules and name not in f.__globals__:  # import inside of it
                    yield from self._item(sys.modules, name, sys.modules[name])

    def _of_getter(self, get: Any) -> Iterator[Any]:
        if isinstance(get, FunctionType):
            self.names.update(_names_in(get.__code__))  # of ours, too: optimizer.lr
        yield get

    def _of_object(self, part: Any) -> Iterator[Any]:
        places = [*self._looked_up_in(part)]
        if not places:
            return
        if not isinstance(part, type) and not tree.is_module(part):
            own = getattr(part, "__dict__", None)
            if type(part).__flags__ & _HEAP_TYPE:
                self.objects.append((part, type(part), own))
            of_numpy = _is_of(type(part), "numpy") and not isinstance(part, np.ndarray)
            if own is not None and (self.names & _ALL_OF_IT or of_numpy):
                self.containers.append(own)
                yield from own.values()
        get = getattr(type(part), "__get__", None)  # it is a descriptor
        yield from self._of_getter(get) if isinstance(get, FunctionType) else ()
        yield from self._of_attributes(part, places)

    def _looked_up_in(self, part: Any) -> Iterator[Mapping[str, Any]]:
        """List the dicts in which Python looks for an attribute, in its order.

        Classes in C and NumPy's are left out, and our modules, which say themselves when they
        change.
        """
        classes, is_class = type(part).__mro__, isinstance(part, type)
        closed = ("numpy", "minigrad") if is_class or tree.is_module(part) else ("numpy",)
        if is_class:
            classes = part.__mro__ + classes
        elif not (tree.is_module(part) and _is_of(type(part), "minigrad")):
            yield getattr(part, "__dict__", {})
        for c in classes:
            if c.__flags__ & _HEAP_TYPE and not _is_of(c, *closed):
                yield self.classes.setdefault(c, vars(c))

    def _of_attributes(self, part: Any, places: list[Mapping[str, Any]]) -> Iterator[Any]:
        if not places:
            return
        names = (self.names | self.by_text).intersection(*[set().union(*places)])
        is_class = isinstance(part, type)
        in_itself = is_class or isinstance(part, ModuleType)
        for place in places if in_itself else places[1:]:
            if str(place.get("__module__")).startswith("minigrad"):
                continue
            called = [name for name in place if _is_called_unseen(name, place[name])]
            names.update(called if is_class else [name for name in called if name not in _MAKE])
        for name in sorted(names):
            holding = [k for k, place in enumerate(places) if name in place]
            value = places[holding[0]][name]
            if isinstance(value, MemberDescriptorType) and not is_class:
                slots = Slots(part)
                if name in slots:
                    yield from self._item(slots, name, slots[name])
                else:
                    self.missing.append((slots, name))
                continue
            for k, place in enumerate(places[: holding[-1] + 1]):
                if k in holding:  # also what is not the first, which super() finds
                    yield from self._item(place, name, place[name])
                elif not isinstance(value, functools.cached_property):
                    self.missing.append((place, name))
        absent = self.by_text
        if "AttributeError" in self.names or any("__getattr__" in place for place in places):
            absent = self.names | absent
        self.missing += [(place, name) for name in sorted(absent - names) for place in places]

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


class Variable:
    """What a context variable holds, as a dict of one item."""

    def __init__(self, variable: ContextVar[Any]) -> None:
        self.variable = variable

    def __getitem__(self, name: str) -> Any:
        return self.variable.get(None)

    def __setitem__(self, name: str, value: Any) -> None:
        self.variable.set(value)


def content(cell: Any) -> Any:
    """Return what a variable of the function around holds; ABSENT if nothing."""
    try:
        return cell.cell_contents
    except ValueError:
        return ABSENT


def _is_users(module: ModuleType) -> bool:
    root = module.__name__.partition(".")[0]
    return root not in sys.stdlib_module_names and users_file(getattr(module, "__file__", "") or "")


def _is_of(c: type, *packages: str) -> bool:
    return c.__module__.partition(".")[0] in packages


def _is_called_unseen(name: str, value: Any) -> bool:
    """Whether Python calls a method by itself, as it does for `a @ b`, `a[i]` and `str(a)`."""
    kinds = (FunctionType, classmethod, staticmethod)
    return name[:2] == "__" == name[-2:] and isinstance(value, kinds)


# ---- what code says ------------------------------------------------------------------------------


def _all_codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for c in code.co_consts:
        if isinstance(c, CodeType):
            yield from _all_codes(c)


@functools.lru_cache(1000)
def _names_in(code: CodeType) -> tuple[str, ...]:
    """Return the names that code, and that of the functions in it, may look up."""
    inner = [c for one in _all_codes(code) for c in one.co_consts if isinstance(c, tuple)]
    patterns = [name for names in inner for name in names if isinstance(name, str)]
    return (*[name for one in _all_codes(code) for name in one.co_names], *patterns)


@functools.lru_cache(1000)
def _globals_in(code: CodeType) -> tuple[str, ...]:
    """Return the names that are looked up among the global variables."""
    found = [i for one in _all_codes(code) for i in dis.get_instructions(one)]
    return tuple({i.argval for i in found if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")})


@functools.lru_cache(1000)
def _texts_in(code: CodeType) -> tuple[str, ...]:
    """Return the texts in code that could be names."""
    texts = [c for one in _all_codes(code) for c in one.co_consts if isinstance(c, str)]
    return tuple([text for text in texts if text.isidentifier()])
