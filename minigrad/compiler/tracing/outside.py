"""What a function reads from outside: variables, and what these hold, as they stood."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from ...core import tree
from ...core.tensor import Tensor
from ...guard.errors import users_file

__all__ = ["Outside", "names_in"]

MOST = 1000
_NOT_LOOKED_INTO = (
    Tensor, np.ndarray, np.generic, type, ModuleType, str, bytes, int, float, np.random.Generator
)  # fmt: skip
_SCALARS = (bool, int, float, complex, str, bytes)


class Outside:
    """The variables of functions, and the items of their containers and of plain objects."""

    def __init__(self, *functions: Any) -> None:
        self.cells: list[tuple[Any, Any, str]] = []
        self.items: list[tuple[Any, Any, Any]] = []
        self.containers: list[tuple[Any, Any]] = []  # with copies of them
        self.written: list[str] = []
        self.names: set[str] = set()
        for _ in range(2):  # at first to know all names that the functions mention
            self.cells, self.items, self.containers = [], [], []
            seen: set[int] = set()
            for f in functions:
                self._watch(f, seen, 4)

    def stands(self) -> bool:
        """Whether everything is as it was; nothing else is done at every call of small programs."""
        for cell, value, _ in self.cells:
            if cell.cell_contents is not value and not _alike(cell.cell_contents, value):
                return False
        for container, copy in self.containers:
            if len(container) != len(copy):
                return False
        for container, key, value in self.items:
            try:
                now = container[key]
            except LookupError:
                return False
            if now is not value and not _alike(now, value):
                return False
        return True

    def change(self) -> str:
        """Return the name of what is not as it was; empty if everything is."""
        for cell, value, name in self.cells:
            if not _same(cell.cell_contents, value):
                return name
        for container, copy in self.containers:
            if len(container) != len(copy):
                return f"the length of a {type(container).__name__}"
        for container, key, value in self.items:
            if not _same(_item(container, key), value):
                return str(key)
        return ""

    def put_back(self) -> Iterator[tuple[str, Any]]:
        """Undo what the functions changed themselves, and forget it; list the names and values.

        A program does not change it; and if it depended on it, it would be another one next time.
        """
        for cell, value, name in [*self.cells]:
            if not _same(cell.cell_contents, value):
                yield name, cell.cell_contents
                cell.cell_contents = value
                self._forget(cell)
        for container, copy in [*self.containers]:
            now = [*container.items()] if isinstance(container, dict) else container
            then = [*copy.items()] if isinstance(copy, dict) else copy
            if len(now) != len(then) or not all(map(_same_item, now, then)):
                yield f"a {type(container).__name__}", container.copy()
                container.clear()
                container.update(copy) if isinstance(copy, dict) else container.extend(copy)
                self._forget(container)
        for item in [*self.items]:
            container, key, value = item
            now = _item(container, key)
            if not _same(now, value):
                yield str(key), None if now is _ABSENT else now
                container[key] = value
                self.items = [i for i in self.items if i is not item]

    def _forget(self, part: Any) -> None:
        self.cells = [c for c in self.cells if c[0] is not part]
        self.containers = [c for c in self.containers if c[0] is not part]
        self.items = [i for i in self.items if i[0] is not part]

    def _watch(self, part: Any, seen: set[int], deep: int) -> None:
        if id(part) in seen or deep < 0 or len(self.items) > MOST:
            return
        seen.add(id(part))
        if isinstance(part, functools.partial):
            for one in (part.func, *part.args, *part.keywords.values()):
                self._watch(one, seen, deep)
        elif isinstance(part, MethodType):
            self._watch(part.__func__, seen, deep)
            self._watch(part.__self__, seen, deep)
        elif isinstance(part, FunctionType):
            self._watch_function(part, seen, deep - 1)
        elif type(part) in (dict, list):
            if len(part) > MOST:  # as data are, which a function is given parts of
                return
            self.containers.append((part, part.copy()))
            for key, value in part.items() if isinstance(part, dict) else enumerate(part):
                self._watch_item(part, key, value, seen, deep - 1)
        elif isinstance(part, tuple):
            for value in part:
                self._watch(value, seen, deep - 1)
        elif not isinstance(part, _NOT_LOOKED_INTO) and not tree.is_module(part):
            for name in [*self.names, "__call__"]:
                if isinstance(method := getattr(type(part), name, None), FunctionType):
                    self._watch(method, seen, deep)
            for key, value in getattr(part, "__dict__", {}).items():
                if key in self.names:
                    self._watch_item(vars(part), key, value, seen, deep - 1)

    def _watch_function(self, f: FunctionType, seen: set[int], deep: int) -> None:
        is_users = users_file(f.__code__.co_filename)
        if is_users:
            self.names.update(names_in(f.__code__))
        for name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:  # not yet filled
                continue
            if is_users:
                self.cells.append((cell, value, name))
            self._watch(value, seen, deep)
        for name in names_in(f.__code__) if is_users else ():
            value = f.__globals__.get(name)
            if name in f.__globals__ and not isinstance(value, (ModuleType, type)):
                self._watch_item(f.__globals__, name, value, seen, deep)

    def _watch_item(self, container: Any, key: Any, value: Any, seen: set[int], deep: int) -> None:
        self.items.append((container, key, value))
        self._watch(value, seen, deep)


_ABSENT = object()


def _item(container: Any, key: Any) -> Any:
    try:
        return container[key]
    except LookupError:
        return _ABSENT


def _alike(now: Any, then: Any) -> bool:
    """Whether a Python value is the same, in another object."""
    return type(now) is type(then) and isinstance(now, _SCALARS) and repr(now) == repr(then)


def _same(now: Any, then: Any) -> bool:
    return now is then or _alike(now, then)


def _same_item(now: Any, then: Any) -> bool:
    if isinstance(now, tuple) and isinstance(then, tuple) and len(now) == len(then) == 2:
        return all(map(_same, now, then))
    return _same(now, then)


@functools.lru_cache(1000)
def names_in(code: CodeType) -> tuple[str, ...]:
    """Return the names that code, and that of the functions in it, may look up."""
    names = code.co_names
    for const in code.co_consts:
        if isinstance(const, CodeType):
            names += names_in(const)
    return names
