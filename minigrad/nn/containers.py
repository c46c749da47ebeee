"""Modules of modules: in a row that is applied, in a list, in a dict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self, TypeAlias, overload

from ..core.context import changed
from ..guard.errors import shown
from .module import Module

__all__ = ["ModuleDict", "ModuleList", "Sequential"]

Part: TypeAlias = Callable[..., Any]
"""A module, or where a container says so any function."""


class _Parts(Module):
    """What containers share: parts by name, whose names are theirs in the state and in scopes."""

    _parts: dict[str, Any]
    _in_scope = False  # whether the container is called, so that its name stands before theirs

    def _put(self, parts: Mapping[str, Any]) -> None:
        for name, part in parts.items():
            self._check(name, part)
        object.__setattr__(self, "_parts", dict(parts))
        changed()
        if self._in_scope or self._label is not None:
            self._labelled(self._label)

    def _check(self, name: str, part: Any) -> None:
        if not isinstance(part, Module):
            raise TypeError(
                f"{type(self).__name__}: {name} must be a module, not {shown(part)}{_made(part)}"
            )

    def _labelled(self, path: str | None) -> None:
        object.__setattr__(self, "_label", path)
        for name, part in self._parts.items():
            if isinstance(part, Module) and part._label is None:
                part._labelled(name if self._in_scope else f"{path}.{name}")

    def _attributes(self) -> Iterable[tuple[str, Any]]:
        own = [(k, v) for k, v in vars(self).items() if k != "_parts"]
        return [*self._parts.items(), *own]

    def __len__(self) -> int:
        return len(self._parts)


class _Row(_Parts):
    """A container whose parts have an order, and numbers for names."""

    def _renumbered(self, parts: Iterable[Any]) -> None:
        self._put({str(k): part for k, part in enumerate(parts)})

    def _place(self, k: int) -> str:
        names = list(self._parts)
        try:
            return names[k]
        except (IndexError, TypeError) as error:
            who = f"{type(self).__name__} of {len(names)} parts"
            raise type(error)(f"{who}: there is none at {k!r}") from None

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._parts.values()))

    @overload
    def __getitem__(self, k: int) -> Any: ...
    @overload
    def __getitem__(self, k: slice) -> Self: ...
    def __getitem__(self, k: int | slice) -> Any:
        if not isinstance(k, slice):
            return self._parts[self._place(k)]
        row = object.__new__(type(self))
        row._renumbered(list(self._parts.values())[k])
        return row

    def __setitem__(self, k: int, part: Any) -> None:
        self._put(self._parts | {self._place(k): part})

    def __delitem__(self, k: int | slice) -> None:
        parts = list(self._parts.values())
        del parts[k]
        self._renumbered(parts)

    def append(self, part: Part) -> Self:
        """Put a part at the end; return the container."""
        return self.extend([part])

    def extend(self, parts: Iterable[Part]) -> Self:
        """Put parts at the end; return the container."""
        number = len(self)
        self._put(self._parts | {str(number + k): part for k, part in enumerate(parts)})
        return self

    def __add__(self, parts: Iterable[Part]) -> Self:
        return self[:].extend(parts)

    __iadd__ = extend

    def insert(self, k: int, part: Part) -> None:
        """Put a part before the one at k; all are numbered anew."""
        parts = list(self._parts.values())
        parts.insert(k, part)
        self._renumbered(parts)

    def pop(self, k: int = -1) -> Any:
        """Take out the part at k, and return it; the others are numbered anew."""
        part = self[k]
        del self[k]
        return part


class Sequential(_Row):
    """Modules and functions applied one after the other: `Sequential(Linear(2, 3), mg.relu)`.

    Parts are named by their numbers ("0.weight"), or as a dict names them, if that is what is
    given; they can be read, replaced and added as in a list. TypeError for a step that cannot be
    called, or for a class in the place of a module.
    """

    _in_scope = True

    def __init__(self, *steps: Part | Mapping[str, Part]) -> None:
        if len(steps) == 1 and isinstance(steps[0], Mapping):
            self._put(steps[0])
        else:
            self._renumbered(steps)

    def _check(self, name: str, step: Any) -> None:
        if isinstance(step, type) or not callable(step):
            write = f"{step.__name__}(...)" if isinstance(step, type) else "Sequential(*steps)"
            raise TypeError(
                f"Sequential: step {name} must be a module or a function, not {shown(step)}; "
                f"write {write}"
            )

    @property
    def steps(self) -> tuple[Part, ...]:
        """What is applied, in order."""
        return tuple(self._parts.values())

    def _shown(self) -> Iterator[tuple[str, Any]]:
        return iter(self._parts.items())

    def forward(self, x: Any) -> Any:
        for step in self._parts.values():
            x = step(x)
        return x


class ModuleList(_Row):
    """Modules in a list, which can be read, replaced and added as in one: `for m in self.layers`.

    A plain list in an attribute is enough, but that its parts are named as in a list
    ("layers[0].weight"), and here as in PyTorch ("layers.0.weight").
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self._renumbered(_several(self, modules))


class ModuleDict(_Parts):
    """Modules by name, in their order: a dict of them. A plain dict in an attribute is enough."""

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] = ()) -> None:
        self._put({})
        self.update(modules)

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Put these in, in the place of others of the same names."""
        self._put(self._parts | dict(_several(self, modules)))

    def _check(self, name: str, part: Any) -> None:
        if not isinstance(name, str) or not name or "." in name:
            raise ValueError(
                f"ModuleDict: the names are part of those of the parameters: text without a dot, "
                f"not {shown(name)}"
            )
        super()._check(name, part)

    def __getitem__(self, name: str) -> Any:
        if name not in self._parts:
            raise KeyError(f"ModuleDict: there is no {name!r} among {list(self._parts)}")
        return self._parts[name]

    def __setitem__(self, name: str, module: Module) -> None:
        self.update({name: module})

    def __delitem__(self, name: str) -> None:
        self.pop(name)

    def __contains__(self, name: object) -> bool:
        return name in self._parts

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._parts))

    def keys(self) -> Iterable[str]:
        """Return the names, in order."""
        return self._parts.keys()

    def values(self) -> Iterable[Any]:
        """Return the modules, in order."""
        return self._parts.values()

    def items(self) -> Iterable[tuple[str, Any]]:
        """Return pairs of a name and a module, in order."""
        return self._parts.items()

    def pop(self, name: str) -> Any:
        """Take out a module, and return it."""
        module = self[name]
        self._put({k: v for k, v in self._parts.items() if k != name})
        return module


def _several(container: Module, given: Any) -> Any:
    """Return what a container is made of; TypeError if it is a single module, or none at all."""
    if (isinstance(given, Module) and not isinstance(given, _Parts)) or not isinstance(
        given, (Iterable, ModuleDict)
    ):
        who, brackets = type(container).__name__, isinstance(container, ModuleDict)
        write = '{"name": module}' if brackets else "[module]"
        raise TypeError(f"{who}: takes several modules, not {shown(given)}; write {who}({write})")
    return given.items() if isinstance(given, (ModuleDict, Mapping)) else given


def _made(part: Any) -> str:
    return f"; write {part.__name__}(...)" if isinstance(part, type) else ""
