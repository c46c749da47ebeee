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
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
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
from typing import Any, NamedTuple

import numpy as np

from ...core import tree
from ...core.tensor import Tensor
from ...guard.errors import users_file

__all__ = ["ABSENT", "Reach", "content"]

ABSENT = object()

_CONTAINERS = (dict, list, set, deque, bytearray, array)
_VIEWS: Any = (MappingProxyType, type({}.keys()), type({}.values()), type({}.items()))
_NAMING = (operator.attrgetter, operator.itemgetter, operator.methodcaller)
_HOLD_NOTHING = {
    bool, int, float, complex, str, bytes, type(None), type(Ellipsis), BuiltinFunctionType,
    CodeType, np.ufunc, np.random.Generator
}  # fmt: skip
_BY_TEXT = {"getattr", "hasattr", "vars", "globals", "__dict__", "__getattribute__", "eval"}
_ALL_OF_IT = {"vars", "__dict__", "dir", "fields", "asdict", "astuple"}
_MAKE = {"__init__", "__new__"}
_SELDOM = {  # methods that Python calls by itself, but not where numbers are computed
    *_MAKE, "__repr__", "__str__", "__del__", "__reduce__", "__reduce_ex__", "__getstate__",
    "__setstate__", "__copy__", "__deepcopy__", "__dir__", "__setattr__", "__setitem__",
    "__delattr__", "__delitem__", "__init_subclass__", "__subclasshook__",
}  # fmt: skip


class Reach:
    """The places that functions, and what they call, may read: all that their code has names for.

    Which object an expression leads to is known only when it runs, so a name in any function counts
    for all objects: more is found than is read. Of an object of a library's, what the methods of
    its class look up counts, too; what that leads to is looked into as far as it is of the same
    class, or the user's. Attributes whose names are computed are not found.
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
        self.internal: set[Any] = set()  # to objects of libraries: places, or items of them
        self.by_text = self.texts.copy() if self.names & _BY_TEXT else set()
        seen: dict[int, Any] = {}  # and alive, so that no other gets its identity
        todo = [*functions]
        while todo:
            part, within = todo.pop(), None
            if type(part) is _Within:
                part, within = part
            kind: Any = type(part)
            if id(part) in seen or kind in _HOLD_NOTHING:
                continue
            if within is None:
                seen[id(part)] = part
                todo += self._held(part, kind)
            elif (
                _is_like(kind, within)
                or issubclass(kind, np.ndarray)
                or _is_container(kind)
                or _is_open(kind)
            ):
                seen[id(part)] = part
                self.internal.update((id(part), id(_own(part))))
                todo += [_Within.of(inner, within) for inner in self._held(part, kind)]

    def _held(self, part: Any, kind: Any) -> Iterator[Any]:
        """List what an object leads to, and note the places."""
        if issubclass(kind, MethodType):
            yield from (part.__func__, part.__self__)
        elif issubclass(kind, functools.partial):
            yield from (part.func, *part.args, part.keywords)
        elif issubclass(kind, (property, DynamicClassAttribute)):
            yield part.fget
        elif issubclass(kind, (staticmethod, classmethod)):
            yield part.__func__
        elif issubclass(kind, functools.cached_property):
            yield part.func
        elif issubclass(kind, (functools.partialmethod, functools.singledispatchmethod)):
            yield from vars(part).values()
        elif issubclass(kind, _VIEWS):
            yield from gc.get_referents(part)
        elif issubclass(kind, _NAMING):
            said = [name for name in part.__reduce__()[1] if isinstance(name, str)]
            self.names.update([name for path in said for name in path.split(".")])
        elif issubclass(kind, ContextVar):
            yield from self._item(Variable(part), part.name, part.get(None))
        elif issubclass(kind, weakref.ref):
            yield part()
        elif issubclass(kind, weakref.ProxyTypes):
            with suppress(ReferenceError):
                yield part.__dir__.__self__  # of the object itself
        elif issubclass(kind, FunctionType):
            yield from self._of_function(part)
            yield from self._of_attributes(part, [vars(part)])
        elif issubclass(kind, ModuleType):
            yield from self._of_attributes(part, [vars(part)] if _is_users(part) else [])
        elif not issubclass(kind, Tensor):
            if _is_container(kind) and not issubclass(kind, (tuple, frozenset)):
                self.containers.append(part)
                yield from dict.values(part) if issubclass(kind, dict) else part
            elif _is_container(kind):
                yield from part
            elif issubclass(kind, np.ndarray):
                self.arrays.append(part)
                yield from part.flat if part.dtype == object else ()
            elif tree.is_module(part):
                self.modules.append(part)
                yield from [module for _, module in part.named_modules()]
            yield from self._of_object(part, kind)

    def _of_function(self, f: FunctionType) -> Iterator[Any]:
        code = f.__code__
        is_users = users_file(code.co_filename)
        for name, cell in zip(code.co_freevars, f.__closure__ or (), strict=True):
            value = content(cell)
            if is_users:
                self.cells.append((cell, value, name))
            yield value
        yield from f.__defaults__ or ()
        yield f.__kwdefaults__
        if not is_users:
            return
        self.names.update(_names_in(code))
        self.texts.update(_texts_in(code))
        self.functions.append(f)
        for name in sorted({*_globals_in(code), *self.by_text.intersection(_texts_in(code))}):
            if name in f.__globals__:
                yield from self._item(f.__globals__, name, f.__globals__[name])
            elif hasattr(builtins, name) or "NameError" in self.names:
                self.missing.append((f.__globals__, name))
        for name in _names_in(code):
            if name in sys.modules and name not in f.__globals__:  # import inside of it
                yield from self._item(sys.modules, name, sys.modules[name])

    def _of_object(self, part: Any, kind: Any) -> Iterator[Any]:
        """List what is in the attributes of an object, or of a class."""
        if issubclass(kind, type):
            classes = (*part.__mro__, *kind.__mro__)
            yield from self._of_attributes(part, self._opened(classes))
            return
        own = _own(part)
        if tree.is_module(part):
            ours = not _is_open(kind)  # which say themselves when they change
            own = {} if ours else own
        elif own is not None and self.names & _ALL_OF_IT:
            self.containers.append(own)
            yield from own.values()
        if _is_open(kind) and not tree.is_module(part):
            self.objects.append((part, kind, own))
        own = {} if own is None else own
        more = _looked_up_by(kind, self.names) if not issubclass(kind, np.ndarray) else ()
        yield from self._of_attributes(part, [own, *self._opened(kind.__mro__)], more)

    def _opened(self, classes: Iterable[type]) -> list[Mapping[str, Any]]:
        return [self.classes.setdefault(c, vars(c)) for c in classes if _is_open(c)]

    def _of_attributes(
        self, part: Any, places: list[Mapping[str, Any]], more: Collection[str] = ()
    ) -> Iterator[Any]:
        """List the attributes that are read, of the dicts in which Python looks, in its order."""
        if not places:
            return
        names = self.names.union(self.by_text, more).intersection(*[set().union(*places)])
        is_class = issubclass(type(part), type)
        in_itself = is_class or issubclass(type(part), ModuleType)
        for place in places if in_itself else places[1:]:
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
                    found = self._item(place, name, place[name])
                    if name in self.names or name in self.by_text or name not in more:
                        yield from found
                    else:
                        self.internal.add((id(place), name))
                        yield from [_Within.of(inner, type(part)) for inner in found]
                elif not isinstance(value, functools.cached_property):
                    self.missing.append((place, name))
        absent = self.by_text
        if "AttributeError" in self.names or any("__getattr__" in place for place in places):
            absent = self.names | absent
        self.missing += [(place, name) for name in sorted(absent - names) for place in places]

    def _item(self, place: Any, name: str, value: Any) -> Iterator[Any]:
        if not issubclass(type(value), ModuleType) or _is_users(value):
            self.items.append((place, name, value))
            yield value


class _Within(NamedTuple):
    """What only a library has a name for: looked into as far as it is of that class."""

    part: Any
    kind: type

    @classmethod
    def of(cls, part: Any, kind: type) -> _Within:
        """Return a part of what is such a part already, too."""
        return part if type(part) is cls else cls(part, kind)


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


def _own(part: Any) -> Any:
    """Return the dict of an object; None if it has none, or does not give it."""
    try:
        return part.__dict__
    except Exception:  # whatever its class does
        return None


def _is_users(module: ModuleType) -> bool:
    root = module.__name__.partition(".")[0]
    return root not in sys.stdlib_module_names and users_file(getattr(module, "__file__", "") or "")


@functools.lru_cache(1000)
def _is_open(c: Any) -> bool:
    """Whether a class is written in the user's code."""
    module = sys.modules.get(str(c.__module__))
    return module is None or _is_users(module)


def _is_container(kind: type) -> bool:
    """Whether the items of an object are those of a container of Python's."""
    if issubclass(kind, dict):
        return True
    plain: list[Any] = [c for c in (*_CONTAINERS, tuple, frozenset) if issubclass(kind, c)]
    own: Any = kind
    return any(own.__iter__ is c.__iter__ and own.__len__ is c.__len__ for c in plain)


def _is_of_library(kind: type) -> bool:
    return not _is_open(kind) and kind.__module__ != "builtins"


def _is_like(kind: type, within: type) -> bool:
    return kind is within or (_is_of(kind, "minigrad") and _is_of(within, "minigrad"))


def _is_of(c: type, package: str) -> bool:
    return str(c.__module__).partition(".")[0] == package


def _is_called_unseen(name: str, value: Any) -> bool:
    """Whether Python calls a method by itself, as it does for `a @ b`, `a[i]` and `str(a)`."""
    kinds = (FunctionType, classmethod, staticmethod)
    return name[:2] == "__" == name[-2:] and isinstance(value, kinds)


def _looked_up_by(kind: type, names: set[str]) -> frozenset[str]:
    """Return the names that classes of libraries look up, where these names are read from outside.

    They begin with the methods that operators call.
    """
    classes = [c for c in kind.__mro__ if _is_of_library(c)]
    begin = {n for c in classes for n in vars(c) if n in names}
    for c in classes:
        if not _is_of(c, "minigrad"):
            begin.update([n for n, v in vars(c).items() if _is_called_unseen(n, v)])
    return _closure(tuple(classes), frozenset(begin - _SELDOM))


@functools.lru_cache(1000)
def _closure(classes: tuple[type, ...], begin: frozenset[str]) -> frozenset[str]:
    found, todo = {*begin}, [*begin]
    while todo:
        name = todo.pop()
        for value in [vars(c)[name] for c in classes if name in vars(c)]:
            for get in (getattr(value, "fget", value), getattr(type(value), "__get__", None)):
                f = getattr(get, "__func__", get)
                new = {*_names_in(f.__code__)} - found if isinstance(f, FunctionType) else set()
                found |= new
                todo += new
    return frozenset(found)


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
