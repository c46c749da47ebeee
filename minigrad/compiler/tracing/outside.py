"""What a function reads from outside: variables, and what these hold, as they stood."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from operator import is_
from typing import Any

from .reach import Reach

__all__ = ["Outside"]

_SCALARS = (bool, int, float, complex, str, bytes)
_ABSENT = object()


class Outside:
    """The places that functions may read, with what was there."""

    def __init__(self, *functions: Any) -> None:
        reach = Reach(*functions)
        self.cells, self.items, self.missing = reach.cells, reach.items, reach.missing
        self.containers = [(c, [[*part] for part in _parts(c)]) for c in reach.containers]
        self.classes = {id(place): c for c, place in reach.classes.items()}
        self.written: list[str] = []
        self.sequences = self._sequences()

    def stands(self) -> bool:
        """Whether everything is as it was; small programs spend much of their time with it."""
        for cell, value, _ in self.cells:
            if cell.cell_contents is not value and not _same(cell.cell_contents, value):
                return False
        try:
            for place, name, value in self.items:
                now = place[name]
                if now is not value and not _same(now, value):
                    return False
        except LookupError:
            return False
        for place, name in self.missing:
            if name in place:
                return False
        for now, then in self.sequences:
            if len(now) != len(then):
                return False
            if not all(map(is_, now, then)) and not all(map(_same, now, then)):
                return False
        return True

    def change(self) -> str:
        """Return the name of what is not as it was; empty if everything is."""
        for cell, value, name in self.cells:
            if not _same(cell.cell_contents, value):
                return name
        for place, name, value in self.items:
            if not _same(_item(place, name), value):
                return name
        for place, name in self.missing:
            if name in place:
                return name
        for container, copies in self.containers:
            if where := _changed(container, copies):
                return where
        return ""

    def put_back(self) -> Iterator[tuple[str, Any]]:
        """Undo what the functions changed themselves, and forget it; list the names and values.

        A program does not change it; and if it depended on it, it would be another one next time.
        """
        for cell, value, name in self.cells:
            if not _same(now := cell.cell_contents, value):
                yield name, now
                cell.cell_contents = value
                self.cells = [entry for entry in self.cells if entry[0] is not cell]
        for place, name, value in self.items:
            if not _same(now := _item(place, name), value):
                yield name, None if now is _ABSENT else now
                self._set(place, name, value)
                self.items = _without(self.items, place, name)
        for place, name in self.missing:
            if name in place:
                yield name, place[name]
                self._set(place, name, _ABSENT)
                self.missing = _without(self.missing, place, name)
        for container, copies in self.containers:
            if _changed(container, copies):
                yield f"a {type(container).__name__}", [*_parts(container)[-1]]
                _restore(container, copies)
                self.containers = [entry for entry in self.containers if entry[0] is not container]
        self.sequences = self._sequences()

    def _sequences(self) -> list[tuple[Any, list[Any]]]:
        pairs = [zip(_parts(c), copies, strict=True) for c, copies in self.containers]
        return [pair for parts in pairs for pair in parts]

    def _set(self, place: Any, name: str, value: Any) -> None:
        owner = self.classes.get(id(place))
        if owner is not None:
            delattr(owner, name) if value is _ABSENT else setattr(owner, name, value)
        elif value is _ABSENT:
            del place[name]
        else:
            place[name] = value


def _without(entries: list[Any], place: Any, name: str) -> list[Any]:
    return [entry for entry in entries if entry[0] is not place or entry[1] != name]


def _item(place: Any, name: str) -> Any:
    try:
        return place[name]
    except LookupError:
        return _ABSENT


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
        type(now) is type(then) and isinstance(now, _SCALARS) and repr(now) == repr(then)
    )
