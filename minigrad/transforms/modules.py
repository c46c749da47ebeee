"""Modules as arguments of a transform: containers of their parameters, rebuilt as twins.

A twin holds the leaves of a run in the place of a module's parameters. The module itself is left as
it is, whatever the function does to the twin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import CellType, FunctionType, MethodType
from typing import Any

from ..core import tree
from ..core.tensor import Tensor
from ..core.tree import Tree, is_module

__all__ = ["opened", "with_tensors"]

_OF_TWINS = ("named_parameters", "_exchanged")


def opened(container: Tree) -> tuple[list[Any], tree.Structure, Callable[..., Tree]]:
    """Flatten with the modules opened; also return what rebuilds the container from its leaves."""
    parts, outer = tree.flatten(container)
    if not any(map(is_module, parts)):
        return parts, outer, lambda leaves: tree.unflatten(outer, leaves)
    opened = [_parameters(x) if is_module(x) else x for x in parts]
    leaves, structure = tree.flatten(tree.unflatten(outer, opened))

    def build(new: Sequence[Any]) -> Any:
        supply = iter([x if isinstance(x, Tensor) else Tensor(x) for x in new])
        return tree.unflatten(
            outer,
            [
                with_tensors(x, dict(x.named_parameters()), dict(zip(inside, supply, strict=False)))
                if is_module(x)
                else next(supply)
                for x, inside in zip(parts, opened, strict=True)
            ],
        )

    return leaves, structure, build


def _parameters(module: Any) -> dict[str, Any]:
    """Return by name what a module trains: of a twin the tensors it holds, else constants."""
    if held := vars(module).get("_exchanged"):
        return held()  # type: ignore[no-any-return]
    return {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}


def with_tensors(module: Any, own: Mapping[str, Tensor], new: Mapping[str, Any]) -> Any:
    """Return a twin of a module, which holds `new` in the place of `own`, by name.

    The modules in it, and the containers and functions that hold something exchanged, are copied
    (a bound method, or a closure that `self` is in, would go on with the module itself); all else,
    such as buffers and random generators, is shared.
    """
    return _twin(module, {id(own[name]): t for name, t in new.items()}, {})


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
        elif hasattr(type(part), "_twin") and not is_module(part):  # what holds a function
            twins[id(part)] = part._twin(lambda held: _twin(held, exchanged, twins))
    if is_module(part) and twins[id(part)] is part:
        copy = twins[id(part)] = object.__new__(type(part))
        own = {k: v for k, v in vars(part).items() if k not in _OF_TWINS}
        vars(copy).update(_twin(own, exchanged, twins))
        vars(copy)["named_parameters"] = lambda *args: (
            (name, exchanged.get(id(p), p)) for name, p in part.named_parameters(*args)
        )
        vars(copy)["_exchanged"] = lambda: {
            name: exchanged[id(p)] for name, p in part.named_parameters() if id(p) in exchanged
        }
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
