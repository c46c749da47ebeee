"""The inputs of a hand-written pass: the arrays in them by name, and copies in their containers.

Inputs stand in containers of any nesting: dicts, lists, tuples, named tuples, dataclasses and plain
objects with attributes. All else in them, such as sizes and options, is passed on as it is.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from types import ModuleType, SimpleNamespace
from typing import Any, TypeAlias

import numpy as np

from ..core.dtypes import Array, plain
from ..core.tensor import Tensor, value_of

__all__ = [
    "Inputs", "Place", "fields", "is_numbers", "is_object", "leaves", "named", "parameters",
    "shape_text",
]  # fmt: skip

Place: TypeAlias = tuple[str | int, ...]
"""Where something stands: keys and names of attributes as text, places in a list as numbers."""


class Inputs:
    """What a forward pass takes: one container, or a tuple of arguments in their order.

    Or a dict of arguments, if forward takes several and these are their names.

    `arrays` are all arrays in it by name, and `real` the names of the floating ones, which have
    gradients; `top` are the paths of what stands on top. An argument that is a number or a text,
    and a container of options (with texts or flags in it, or without an array), has none.
    """

    def __init__(self, who: str, given: Any, forward: Callable[..., Any]) -> None:
        known = parameters(forward) or []
        names = [p.name for p in known]
        several = sum(p.default is p.empty for p in known) > 1
        by_name = several and isinstance(given, Mapping) and {*given} == {*names[: len(given)]}
        given = tuple([given[name] for name in names[: len(given)]]) if by_name else given
        self.who, self.positional = who, isinstance(given, tuple) and not hasattr(given, "_fields")
        self.paths: dict[str, Place] = {}
        self.arrays: dict[str, Array] = {}
        self.items: list[tuple[Place, Any]] = [((), given)]
        self.top: list[Place] = [(key,) for key, _ in fields(given) or ()]
        if self.positional:
            names += [f"args[{k}]" for k in range(len(names), len(given))]
            self.top = [(name,) for name in names[: len(given)]]
            self.items = list(zip(self.top, given, strict=True))
        elif fields(given) is None or isinstance(given, list):
            one = ", which is a tuple as well if there is one: (x,)" if np.ndim(given) else ""
            raise TypeError(
                f"{who}: inputs is a dict of arrays by name, as in {{'x': x}}, or a tuple of the "
                f"arguments of forward{one}; not {type(given).__name__}"
            )
        for path, x in self.items:
            if not self.positional or _has_arrays(x) or (by_name and isinstance(x, float)):
                for its, part in leaves(x, path):
                    self._take(its, part)
        self.real = [name for name, x in self.arrays.items() if x.dtype.kind == "f"]
        if not self.arrays:
            raise ValueError(f"{who}: inputs is empty; there is nothing to differentiate")

    def _take(self, path: Place, x: Any) -> None:
        if not is_numbers(x):
            return
        name = named(path)
        if name in self.arrays:
            raise ValueError(
                f"{self.who}: two inputs are named {name!r}; give them different names"
            )
        array = plain(value_of(x), f"{self.who}: input {name!r}", "takes")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"{self.who}: input {name!r} holds nan or infinity")
        self.arrays[name], self.paths[name] = array, path

    def copies(self, dtype: Any = None) -> dict[str, Any]:
        """Return new floating arrays by name, in a dtype if one is given."""
        return {name: np.array(self.arrays[name], dtype) for name in self.real}

    def built(self, values: Mapping[str, Any]) -> list[Any]:
        """Return the arguments of forward: copies of the containers, with these values in them."""

        def leaf(path: Place, x: Any) -> Any:
            name = named(path)
            is_real = self.paths.get(name) == path and name in self.real
            return values[name] if is_real else _copy(value_of(x))

        return [_mapped(x, path, leaf) for path, x in self.items]

    def restored(
        self, arguments: list[Any], given: Mapping[str, Any], values: Mapping[str, Array]
    ) -> list[Any]:
        """Return arguments with these values where they still hold what was `given`.

        Objects stay as they are, with all that is kept in them; but Tensors become arrays.
        """

        def leaf(path: Place, x: Any) -> Any:
            name = named(path)
            return values[name] if name in given and x is given[name] else value_of(x)

        on_tensors = any(isinstance(x, Tensor) for x in given.values())
        return [
            _mapped(x, path, leaf, into_objects=on_tensors)
            for (path, _), x in zip(self.items, arguments, strict=True)
        ]

    def changed(self, given: Mapping[str, Any], arguments: list[Any]) -> list[str]:
        """Return the inputs that are others now than when these arguments were built of them."""
        now = {its: x for (path, _), y in zip(self.items, arguments, strict=True)
               for its, x in leaves(y, path)}  # fmt: skip
        return [
            name
            for name, x in given.items()
            if now.get(self.paths[name]) is not x
            or not np.array_equal(value_of(x), self.arrays[name])
        ]

    def forget(self, names: Iterable[str]) -> None:
        """Make constants of inputs."""
        for name in names:
            self.real.remove(name)
            del self.arrays[name], self.paths[name]

    def under(self, path: Place) -> list[str]:
        """Return the names of the floating inputs at a path or below it."""
        return [name for name in self.real if self.paths[name][: len(path)] == path]


def named(path: Place) -> str:
    """Return a path as text: `params.weight`, `layers[0].bias`."""
    text = "".join([f"[{key}]" if isinstance(key, int) else f".{key}" for key in path])
    return text.removeprefix(".")


def fields(x: Any) -> list[tuple[str | int, Any]] | None:
    """Return what a container holds, each under its key; None for what is no container."""
    if isinstance(x, Mapping):
        return [(str(key), part) for key, part in x.items()]
    if isinstance(x, (list, tuple)) and not is_numbers(x):
        keys = getattr(x, "_fields", None) or range(len(x))
        return list(zip(keys, x, strict=True))
    if is_object(x):
        names = [*getattr(x, "__dataclass_fields__", ()), *getattr(x, "__dict__", ())]
        return [(name, getattr(x, name)) for name in dict.fromkeys(names)]
    return None


def leaves(x: Any, path: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Yield all that is no container, with its path; a list of nothing but numbers is an array."""
    parts = fields(x)
    if parts is None:
        yield path, x
    for key, part in parts or ():
        yield from leaves(part, (*path, key))


def is_numbers(x: Any) -> bool:
    """Whether this is an array of numbers, or lists of them which are one."""
    if isinstance(x, (Tensor, np.ndarray, np.generic)):
        return value_of(x).dtype.kind not in "USOVMmb"
    if isinstance(x, (list, tuple)):
        return bool(x) and not hasattr(x, "_fields") and _is_rectangle(x)
    if not isinstance(x, type) and hasattr(x, "__array__"):
        return True  # of another library: refused, or taken as an array
    return isinstance(x, (int, float, complex)) and not isinstance(x, bool)


def shape_text(values: Iterable[Any]) -> str:
    """Return what values are, as text: their shapes, or their types."""
    texts = [str(np.shape(value_of(x))) if is_numbers(x) else type(x).__name__ for x in values]
    return ", ".join(texts) or "nothing"


def parameters(f: Callable[..., Any]) -> list[inspect.Parameter] | None:
    """Return the parameters of a function that can be given in order; None where nobody knows."""
    try:
        known = [*inspect.signature(f).parameters.values()]
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_POSITIONAL for p in known):
        return None
    return [p for p in known if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def _mapped(
    x: Any, path: Place, leaf: Callable[[Place, Any], Any], into_objects: bool = True
) -> Any:
    """Return a copy of nested containers, with what `leaf` makes of all that is in them."""
    parts = fields(x) if into_objects or not is_object(x) else None
    if parts is None:
        return leaf(path, x)
    new = [_mapped(part, (*path, key), leaf, into_objects) for key, part in parts]
    if isinstance(x, Mapping):
        items = dict(zip(x, new, strict=True))
        if type(x) is dict or not isinstance(x, MutableMapping):
            return items
        like: Any = copy.copy(x)
        like.update(items)
        return like
    if isinstance(x, (list, tuple)):
        return x._make(new) if hasattr(x, "_make") else type(x)(new)
    made = copy.copy(x)
    for (name, _), part in zip(parts, new, strict=True):
        object.__setattr__(made, str(name), part)  # a frozen one, too
    return made


def _copy(x: Any) -> Any:
    """Return a copy of what is no input, so that nothing is kept in it from run to run."""
    try:
        return copy.deepcopy(x)
    except Exception:  # a module, a lock, a file
        return x


def is_object(x: Any) -> bool:
    """Whether this is an object whose attributes are meant: there are arrays in them."""
    if dataclasses.is_dataclass(x) or isinstance(x, SimpleNamespace):
        return not isinstance(x, type)
    seen, stack = set[int](), [x]
    while stack:
        part = stack.pop()
        if isinstance(part, np.ndarray):
            return part is not x and not isinstance(x, (Mapping, list, tuple))
        if id(part) in seen or _is_opaque(part):
            continue
        seen.add(id(part))
        if isinstance(part, (list, tuple)):
            stack += part
        else:
            stack += (part if isinstance(part, Mapping) else getattr(part, "__dict__", {})).values()
    return False


def _is_opaque(x: Any) -> bool:
    """Whether nobody looks into it: functions, modules, arrays and matrices of other libraries."""
    is_code = isinstance(x, (type, ModuleType)) or inspect.isroutine(x)
    return is_code or hasattr(x, "dtype") or hasattr(x, "__array__")


def _has_arrays(x: Any) -> bool:
    """Whether an argument is an array, or a container of some: not as one of several options."""
    parts = [part for _, part in leaves(x)]
    if isinstance(x, Mapping) and not all(map(is_numbers, parts)):
        return False
    return any(isinstance(p, (np.ndarray, Tensor, list, tuple)) and is_numbers(p) for p in parts)


def _is_rectangle(x: Any) -> bool:
    """Whether nested lists hold numbers and nothing else, in equal rows."""
    if not isinstance(x, (list, tuple)):
        return isinstance(x, (int, float, complex, np.number)) and not isinstance(x, bool)
    if not all(map(_is_rectangle, x)):
        return False
    return len({np.shape(part) for part in x}) <= 1
