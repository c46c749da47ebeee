"""What the caller of a transform passes: which arguments to differentiate by, cotangents, tangents.

Misuse is refused here, with what to write instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..core import tree
from ..core.tensor import Tensor, cotangent_for
from .modules import opened

__all__ = [
    "Argnums", "Function", "callable_for", "chosen", "kind", "matching", "picked",
    "wanted_arguments",
]  # fmt: skip

Function: TypeAlias = Callable[..., Any]
"""A function of containers of arrays, Tensors or modules, or one that a transform makes of it."""

Argnums: TypeAlias = int | Sequence[int]
"""The positions of the arguments to differentiate by: one, or several."""


def kind(x: Any) -> str:
    """Describe a value by its dtype and shape, or by its type."""
    is_array = isinstance(x, (Tensor, np.ndarray))
    return f"{x.dtype} of shape {x.shape}" if is_array else type(x).__name__


def matching(given: Any, structure: tree.Structure, like: Sequence[Tensor], what: str) -> list[Any]:
    """Return the leaves of cotangents or tangents; ValueError unless nested and shaped `like`.

    A module stands for what it has in the place of its parameters, as a twin from `flatten` has.
    """
    leaves, its, _ = opened(given)
    names = tree.names(structure)
    if tree.names(its) != names:
        raise ValueError(
            f"{what} must be nested like {names}, not like {tree.names(its)}; lists are "
            "containers, so write np.array([...]) for an array"
        )
    return [cotangent_for(t, g, what) for g, t in zip(leaves, like, strict=True)]


def callable_for(caller: str, f: Function) -> Function:
    """Return `f`; TypeError if it is no function."""
    if not callable(f):
        raise TypeError(
            f"{caller}: f must be a function, not {type(f).__name__}; write f, not f(x)"
        )
    return f


def wanted_arguments(caller: str, f: Function, argnums: Argnums) -> list[int]:
    """Return the positions of the arguments to differentiate by; TypeError for anything else."""
    callable_for(caller, f)
    wanted: list[Any] = list(argnums) if isinstance(argnums, (tuple, list, range)) else [argnums]
    for k in wanted:
        if isinstance(k, (bool, np.bool)) or not isinstance(k, (int, np.integer)):
            raise TypeError(
                f"{caller}: argnums says which arguments to differentiate by, an int or a tuple of "
                f"ints, and is {argnums!r:.60}; for the derivative at x write {caller}(f)(x)"
            )
    return wanted


def chosen(
    caller: str, f: Function, wanted: list[int], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[str, Function, list[Any], Any]:
    """Return `f` as a function of the arguments `wanted` alone, and what else `_Run` takes."""
    for k in wanted:
        if not -len(args) <= k < len(args):
            raise ValueError(
                f"{caller}: argnums {k} with {len(args)} positional argument(s), counted from 0; "
                f"pass by position what is differentiated, as in {caller}(f)(x)"
            )
    others = {*range(len(args))} - {k % len(args) for k in wanted}
    if len(others) + len(wanted) > len(args):
        raise ValueError(f"{caller}: argnums {wanted} names an argument twice")

    def partial(*chosen: Any) -> Any:
        full = list(args)
        for k, x in zip(wanted, chosen, strict=True):
            full[k] = x
        return f(*full, **kwargs)

    rest = ([args[k] for k in others], kwargs) if others or kwargs else None
    return caller, partial, [args[k] for k in wanted], rest


def picked(chosen: tuple[Any, ...], argnums: Argnums) -> Any:
    """Return what belongs to the arguments: a tuple if `argnums` names several, else the one."""
    return chosen if isinstance(argnums, (tuple, list, range)) else chosen[0]
