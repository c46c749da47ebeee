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

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

__all__ = [
    "Structure", "Tree", "flatten", "is_module", "map", "names", "unflatten",
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


def is_module(part: Any) -> bool:
    """Whether this names its parameters, as a `minigrad.nn.Module` does, and is no class."""
    return hasattr(type(part), "named_parameters")
