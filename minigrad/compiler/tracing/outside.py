"""What a function reads from outside: variables, and what these hold, as they stood."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator
from operator import is_
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from .reach import ABSENT, Reach, content

__all__ = ["Outside"]

_SCALARS = (bool, int, float, complex, str, bytes)
FEW, MANY = 1000, 10**6  # elements of an array


class Outside:
    """The places that functions may read, with what was there."""

    def __init__(self, *functions: Any) -> None:
        reach = Reach(*functions)
        self.cells, self.items, self.missing = reach.cells, reach.items, reach.missing
        self.containers = [(c, [[*part] for part in _parts(c)]) for c in reach.containers]
        self.classes = {id(place): c for c, place in reach.classes.items()}
        self.functions = [
            (f, f.__code__, f.__defaults__, f.__kwdefaults__) for f in reach.functions
        ]
        self.objects = reach.objects
        self.bases = [(c, c.__mro__) for c in reach.classes]
        self.arrays = [(x, x.shape, x.tobytes()) for x in reach.arrays if x.size <= MANY]
        self.operands: WeakValueDictionary[int, Any] = WeakValueDictionary()
        self.internal = reach.internal
        self.modules = [*_from_the_outermost(reach.modules)]
        self.written: list[str] = []
        self.sequences = self._sequences()

    def change(self, with_arrays: bool = True) -> str:
        """Return the name of what is not as it was; empty if everything is.

        It is asked at every call, and small programs spend much of their time with it.
        """
        for cell, value, name in self.cells:
            if (now := content(cell)) is not value and not _same(now, value):
                return name
        for place, name, value in self.items:
            try:
                now = place[name]
            except LookupError:
                return name
            if now is not value and not _same(now, value):
                return name
        for place, name in self.missing:
            if name in place:
                return name
        for now, then in self.sequences:
            if len(now) != len(then) or not (
                all(map(is_, now, then)) or all(map(_same, now, then))
            ):
                return next(filter(None, [_changed(*pair) for pair in self.containers]), "a dict")
        for f, code, defaults, more in self.functions:
            if (
                f.__code__ is not code
                or f.__defaults__ is not defaults
                or f.__kwdefaults__ is not more
            ):
                return f.__name__
        for x, kind, own in self.objects:
            if type(x) is not kind or (own is not None and x.__dict__ is not own):
                return f"the class or the attributes of a {kind.__name__}"
        for c, bases in self.bases:
            if c.__mro__ is not bases:
                return f"the bases of {c.__name__}"
        if with_arrays and (written := self.written_into()):
            shapes = [shape for x, shape, _ in self.arrays if id(x) in written]
            return f"an array of shape {shapes[0]}"
        return ""

    def written_into(self) -> list[int]:
        """Return which arrays do not hold what they held, by identity."""
        return [id(x) for x, shape, held in self.arrays if x.shape != shape or x.tobytes() != held]

    def forget(self, arrays: Collection[int]) -> None:
        """Leave out arrays that a program reads itself at every call."""
        self.operands.update({id(x): x for x, *_ in self.arrays if id(x) in arrays})
        self.arrays = [entry for entry in self.arrays if id(entry[0]) not in arrays]

    def computes_with(self, operands: Iterable[Any]) -> None:
        """Note which arrays, or views of them, are operands: large ones are nothing else."""
        known = {id(x) for y in operands for x in (y, getattr(y, "base", None))}
        self.forget({id(x) for x, *_ in self.arrays if x.size > FEW and id(x) in known})

    def put_back(self) -> Iterator[tuple[str, Any]]:
        """Undo what the functions changed themselves, and forget it; list the names and values.

        A program does not change it; and if it depended on it, it would be another one next time.
        What objects of libraries keep inside, as their caches, is only forgotten.
        """
        for cell, value, name in self.cells:
            if not _same(now := content(cell), value):
                yield name, None if now is ABSENT else now
                if value is ABSENT:
                    del cell.cell_contents
                else:
                    cell.cell_contents = value
                self.cells = [entry for entry in self.cells if entry[0] is not cell]
        for place, name, value in self.items:
            if not _same(now := _item(place, name), value):
                if self.internal.isdisjoint((id(place), (id(place), name))):
                    yield name, None if now is ABSENT else now
                    self._set(place, name, value)
                self.items = _without(self.items, place, name)
        for place, name in self.missing:
            if name in place:
                if id(place) not in self.internal:
                    yield name, place[name]
                    self._set(place, name, ABSENT)
                self.missing = _without(self.missing, place, name)
        for container, copies in self.containers:
            if _changed(container, copies):
                if id(container) not in self.internal:
                    yield f"a {type(container).__name__}", [*_parts(container)[-1]]
                    _restore(container, copies)
                self.containers = [entry for entry in self.containers if entry[0] is not container]
        self.sequences = self._sequences()
        changed = self.written_into()
        for x, shape, held in self.arrays:
            if id(x) in changed and x.dtype != object and x.shape == shape:
                yield f"an array of shape {shape}", None
                x[...] = np.frombuffer(held, x.dtype).reshape(shape)
        self.forget(changed)

    def _sequences(self) -> list[tuple[Any, list[Any]]]:
        pairs = [zip(_parts(c), copies, strict=True) for c, copies in self.containers]
        return [pair for parts in pairs for pair in parts]

    def _set(self, place: Any, name: str, value: Any) -> None:
        owner = self.classes.get(id(place))
        if owner is not None:
            delattr(owner, name) if value is ABSENT else setattr(owner, name, value)
        elif value is ABSENT:
            del place[name]
        else:
            place[name] = value


def _from_the_outermost(modules: list[Any]) -> dict[Any, None]:
    """Return modules without repetitions, those that no other one holds with theirs first."""
    inner = {m for module in modules for _, m in module.named_modules() if m is not module}
    roots = [module for module in modules if module not in inner]
    return dict.fromkeys([m for root in roots for _, m in root.named_modules()])


def _without(entries: list[Any], place: Any, name: str) -> list[Any]:
    return [entry for entry in entries if entry[0] is not place or entry[1] != name]


def _item(place: Any, name: str) -> Any:
    try:
        return place[name]
    except LookupError:
        return ABSENT


def _parts(container: Any) -> list[Any]:
    """Return what of a container is compared in order, as it is at any time."""
    if not isinstance(container, dict):
        return [container]
    kind = OrderedDict if isinstance(container, OrderedDict) else dict
    return [kind.keys(container), kind.values(container)]


def _changed(container: Any, copies: list[list[Any]]) -> str:
    """Return what in a container is not as it was; empty if everything is."""
    kind, parts = type(container).__name__, _parts(container)
    if len(parts[0]) != len(copies[0]):
        return f"the length of a {kind}"
    for part, then in zip(parts, copies, strict=True):
        for k, (a, b) in enumerate(zip(part, then, strict=True)):
            if not _same(a, b):
                key = repr([*parts[0]][k]) if isinstance(container, dict) else k
                return f"[{key}] of a {kind}"
    return ""


def _restore(container: Any, copies: list[list[Any]]) -> None:
    if isinstance(container, dict):
        kind = OrderedDict if isinstance(container, OrderedDict) else dict
        kind.clear(container)
        kind.update(container, zip(*copies, strict=True))
        return
    while container:
        container.pop()
    container.update(*copies) if isinstance(container, set) else container.extend(*copies)


def _same(now: Any, then: Any) -> bool:
    """Whether it is the same object, or the same Python value in another."""
    return now is then or (
        type(now) is type(then) and type(now) in _SCALARS and repr(now) == repr(then)
    )
