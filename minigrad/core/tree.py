"""Nested containers of arrays: flatten, unflatten, map, and the name of every leaf.

A container is a dict, list, tuple or named tuple, nested at will; None is an empty container;
everything else is a leaf.

>>> leaves, structure = flatten({"w": 1.0, "rest": [2.0, (3.0, None)]})
>>> leaves, names(structure)
([1.0, 2.0, 3.0], ['w', 'rest[0]', 'rest[1][0]'])
>>> unflatten(structure, [10, 20, 30])
{'w': 10, 'rest': [20, (30, None)]}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import CellType, FunctionType, MethodType
from typing import Any, NamedTuple, TypeAlias

__all__ = [
    "Structure", "Tree", "flatten", "is_module", "map", "names", "parameters", "unflatten",
    "with_parameters",
]  # fmt: skip

Tree: TypeAlias = Any
"""A container of arrays, numbers, Tensors or modules, or one of these alone."""


class Structure(NamedTuple):
    """The shape of a container: its kind (None for a leaf), its keys and what is under each."""

    kind: Any
    keys: tuple[Any, ...] = ()
    parts: tuple[Structure, ...] = ()


LEAF = Structure(None)
EMPTY = Structure(type(None))


def flatten(tree: Tree) -> tuple[list[Any], Structure]:
    """Return the leaves of a container, and its structure; dicts keep their order."""
    leaves: list[Any] = []
    return leaves, _taken_apart(tree, leaves)


# Functions that call themselves stand outside: inside, they would refer to themselves, and what
# they hold, such as the leaves of a graph, would live on until the garbage collector comes.
def _taken_apart(part: Any, leaves: list[Any]) -> Structure:
    if part is None:
        return EMPTY
    if isinstance(part, dict):
        parts = tuple([_taken_apart(v, leaves) for v in part.values()])
        return Structure(type(part), tuple(part), parts)
    if isinstance(part, (list, tuple)):
        parts = tuple([_taken_apart(v, leaves) for v in part])
        return Structure(type(part), tuple(range(len(part))), parts)
    leaves.append(part)
    return LEAF


def unflatten(structure: Structure, leaves: Iterable[Any]) -> Tree:
    """Return a container of this structure, with these leaves."""
    return _built(structure, iter(leaves))


def _built(node: Structure, supply: Iterator[Any]) -> Any:
    if node.kind is None:
        return next(supply)
    if node.kind is type(None):
        return None
    parts = [_built(part, supply) for part in node.parts]
    if issubclass(node.kind, dict):
        return dict(zip(node.keys, parts, strict=True))
    return node.kind(*parts) if hasattr(node.kind, "_fields") else node.kind(parts)


def map(f: Callable[..., Any], tree: Tree, *others: Tree) -> Tree:
    """Return what `f` makes of the leaves of containers; ValueError if their structures differ."""
    leaves, structure = flatten(tree)
    columns: list[Sequence[Any]] = [leaves]
    for other in others:
        column, its_structure = flatten(other)
        if names(its_structure) != names(structure):
            raise ValueError(
                f"containers differ: {names(structure)} against {names(its_structure)}"
            )
        columns.append(column)
    return unflatten(structure, [f(*row) for row in zip(*columns, strict=True)])


def names(structure: Structure) -> list[str]:
    """Return the path of every leaf: `params.weight`, `layers[0].bias`; of a lone leaf ''."""
    return list(_named(structure, ""))


def _named(node: Structure, prefix: str) -> Iterator[str]:
    if node.kind is None:
        yield prefix
    elif node.kind is not type(None):
        is_dict = issubclass(node.kind, dict)
        fields = getattr(node.kind, "_fields", None)
        for key, part in zip(node.keys, node.parts, strict=True):
            if is_dict or fields:
                label = fields[key] if fields else str(key)
                yield from _named(part, f"{prefix}.{label}" if prefix else label)
            else:
                yield from _named(part, f"{prefix}[{key}]")


# ---- modules: leaves to `flatten`; to a transform, containers of their parameters ----------------


def is_module(part: Any) -> bool:
    """Whether this names its parameters, as a `minigrad.nn.Module` does, and is no class."""
    return hasattr(type(part), "named_parameters")


def parameters(module: Any) -> dict[str, Any]:
    """Return a module's parameters by name: of a twin the tensors it holds, else constants."""
    is_twin = "named_parameters" in vars(module)
    return {name: p if is_twin else p.detach() for name, p in module.named_parameters()}


def with_parameters(module: Any, new: Mapping[str, Any]) -> Any:
    """Return a twin of a module, which holds these by name in the place of its parameters.

    The modules in it, and the containers and functions that hold something exchanged, are copied
    (a bound method, or a closure that `self` is in, would go on with the module itself); all else,
    such as buffers and random generators, is shared.
    """
    exchanged = {id(p): new[name] for name, p in module.named_parameters()}
    return _twin(module, exchanged, {})


def _twin(part: Any, exchanged: dict[int, Any], twins: dict[int, Any]) -> Any:
    if id(part) in exchanged:
        return exchanged[id(part)]
    if isinstance(part, dict):
        items = {k: _twin(v, exchanged, twins) for k, v in part.items()}
        return items if any(items[k] is not part[k] for k in part) else part
    if isinstance(part, (list, tuple)):
        parts = [_twin(v, exchanged, twins) for v in part]
        if all(a is b for a, b in zip(parts, part, strict=True)):
            return part
        return part._make(parts) if hasattr(part, "_make") else type(part)(parts)
    if id(part) not in twins:
        twins[id(part)] = part  # for functions that call themselves
        if isinstance(part, (FunctionType, MethodType, partial)):
            twins[id(part)] = _rebound(part, lambda held: _twin(held, exchanged, twins))
    if is_module(part) and twins[id(part)] is part:
        copy = twins[id(part)] = object.__new__(type(part))
        own = {k: v for k, v in vars(part).items() if k != "named_parameters"}
        vars(copy).update(_twin(own, exchanged, twins))
        vars(copy)["named_parameters"] = lambda *args: (
            (name, exchanged[id(p)]) for name, p in part.named_parameters(*args)
        )
    return twins[id(part)]


def _rebound(function: Any, twin: Callable[[Any], Any]) -> Any:
    """Return a function that holds the twins of what this one does; itself, if there are none."""
    if isinstance(function, MethodType):
        owner = twin(function.__self__)
        return function if owner is function.__self__ else MethodType(function.__func__, owner)
    if isinstance(function, partial):
        parts = (function.func, function.args, function.keywords)
        f, args, keywords = new = twin(parts)
        return function if new is parts else partial(f, *args, **keywords)
    cells = function.__closure__ or ()
    if CellType() in cells:  # not yet filled
        return function
    held = (function.__defaults__, function.__kwdefaults__, *[c.cell_contents for c in cells])
    new = twin(held)
    if new is held:
        return function
    defaults, keywords, *contents = new
    closure = tuple([CellType(x) for x in contents])
    copy = FunctionType(
        function.__code__, function.__globals__, function.__name__, defaults, closure
    )
    copy.__kwdefaults__ = keywords
    copy.__dict__.update(function.__dict__)
    return copy
