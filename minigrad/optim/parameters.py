"""What an optimiser is given: parameters, groups of them, gradients; and words for all else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..core import tree
from ..core.dtypes import Array
from ..core.tensor import Tensor, value_of
from ..guard.errors import shown, warn

__all__ = ["Params", "called", "given_groups", "given_parameters", "gradients", "require_list"]

Params: TypeAlias = Iterable[Tensor | Mapping[str, Any]]
"""Parameters, or groups of them: `{"params": [...], "lr": 0.01}`, with options of their own."""


def require_list(who: str, params: Any) -> None:
    """Raise TypeError for what is mistaken for a list of parameters, and say what to write."""
    if tree.is_module(params):
        raise TypeError(f"{who}: takes parameters, not a module; write net.parameters()")
    if isinstance(params, Tensor):
        raise TypeError(f"{who}: takes a list of tensors; write [w], not w")
    if callable(params):
        name = getattr(params, "__name__", "parameters")
        raise TypeError(
            f"{who}: takes parameters, not a function; write {name}(), with parentheses"
        )
    if isinstance(params, dict):
        raise TypeError(
            f"{who}: takes a list of tensors, not a dict; write "
            + ("[group], a list of groups" if "params" in params else "list(d.values())")
        )


def given_groups(who: str, params: Any) -> list[Mapping[str, Any]]:
    """Return the groups that are given, or one of all parameters; TypeError for what is neither."""
    require_list(who, params)
    try:
        given = list(params)
    except TypeError:
        raise TypeError(f"{who}: takes a list of tensors, not {shown(params)}") from None
    are_groups = [isinstance(part, Mapping) for part in given]
    if given and all(are_groups):
        return given
    if any(are_groups):
        raise TypeError(
            f"{who}: takes parameters or groups, and was given both; write "
            '{"params": [...]} for each group'
        )
    return [{"params": given}]


def given_parameters(who: str, params: Any, before: Sequence[Tensor] = ()) -> list[Tensor]:
    """List the parameters that are given; TypeError or ValueError for what is none.

    `before` are those of other groups, of which none may come again.
    """
    require_list(who, params)
    try:
        given = list(params)
    except TypeError:
        raise TypeError(f"{who}: takes a list of tensors, not {shown(params)}") from None
    if not given:
        raise ValueError(
            f"{who}: no parameters; the list is empty (are all of them frozen?), or it is a "
            "generator that was used up before"
        )
    seen = {id(p): k for k, p in enumerate(before)}
    for k, p in enumerate(given, len(before)):
        if not isinstance(p, Tensor) or p.primitive is not None:
            raise TypeError(f"{who}: parameters are leaf tensors, not {shown(p)}{_leads(p)}")
        if id(p) in seen:
            raise ValueError(
                f"{who}: {called(k, p)} is given twice, at {seen[id(p)]} and {k}; "
                + (
                    "a parameter belongs to one group"
                    if seen[id(p)] < len(before)
                    else "write list(dict.fromkeys(params)) to have each once"
                )
            )
        seen[id(p)] = k
    if not [p for p in given if p.live]:
        warn(
            f"{who}: none of the parameters requires a gradient, so none will move; "
            "write mg.tensor(..., requires_grad=True)"
        )
    return given


def _leads(given: Any) -> str:
    """What to write instead of something that is no parameter."""
    if isinstance(given, Tensor) and given.primitive is not None:
        return f", the result of {given.primitive.name}; give what it was computed from"
    if isinstance(given, dict):
        return '; write [*group["params"]], or opt.params'
    if isinstance(given, tuple):
        return "; write net.parameters() instead of net.named_parameters()"
    if isinstance(given, list):
        return "; write one flat list"
    if tree.is_module(given):
        return "; write its .parameters()"
    if isinstance(given, (np.ndarray, float)):
        return "; write mg.tensor(..., requires_grad=True)"
    return ""


def gradients(who: str, params: Sequence[Tensor]) -> list[tuple[int, Tensor, Array]]:
    """List the parameters that have a gradient and require one, checked; warn if none has."""
    held = [(k, p, np.asarray(value_of(p.grad))) for k, p in enumerate(params) if p.live]
    held = [(k, p, g) for k, p, g in held if params[k].grad is not None]
    for k, p, g in held:
        if g.shape != p.shape:
            raise ValueError(
                f"{who}: the gradient of {called(k, p)} has shape {g.shape}, and must have "
                f"{p.shape}, as the parameter"
            )
        if not _is_finite(g):
            raise ValueError(
                f"{who}: the gradient of {called(k, p)} is not finite; run the forward and "
                "backward pass in mg.debug() to find where that begins"
            )
    if not held:
        warn(f"{who}: no parameter has a gradient; write loss.backward() before it")
    return held


def _is_finite(g: Array) -> bool:
    """Whether all is finite: no array is made unless the sum is not, as it is of large numbers."""
    with np.errstate(all="ignore"):
        return bool(np.isfinite(g.sum()) or np.isfinite(g).all())


def called(k: int, p: Tensor) -> str:
    """Name a parameter for an error."""
    return p.name or f"parameter {k}"
