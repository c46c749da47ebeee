"""What a saved state must be to fit an optimiser: groups, options, and arrays of its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..guard.errors import shown
from ..nn.state import fitted
from .options import Group

__all__ = ["fitted_state"]


def fitted_state(optimizer: Any, given: Any) -> tuple[list[Group], list[dict[str, Any]]]:
    """Return groups and memory as a saved state has them; ValueError that lists all misfits."""
    who = type(optimizer).__name__
    if not isinstance(given, Mapping) or not {"state", "param_groups"} <= given.keys():
        raise TypeError(
            f"{who}.load_state_dict: takes what state_dict() returned, not {shown(given)}"
        )
    found: list[str] = []
    groups, saved = optimizer.param_groups, given["param_groups"]
    if len(saved) != len(groups):
        found.append(f"it has {len(saved)} groups, expected {len(groups)}")
    new = [
        _group(f"group {k}", own, group, found)
        for k, (own, group) in enumerate(zip(groups, saved, strict=False))
    ]
    state, memory = given["state"], []
    count = len(optimizer.memory)
    found += [f"unexpected state of parameter {k}" for k in state if k not in range(count)]
    if not found:
        group_of = [group for group in new for _ in group["params"]]
        for k, p in enumerate(optimizer.params):
            memory.append(_memory(optimizer, f"parameter {k}", p, state.get(k), group_of[k], found))
    if found:
        raise ValueError(f"the state does not fit this {who}: {'; '.join(found)}")
    return new, memory


def _group(where: str, own: Group, saved: Mapping[str, Any], found: list[str]) -> Group:
    """Return a group with the options of a saved one; add what does not fit to the list."""
    options = Group(own.kind, own.data)
    free = {"name", "initial_lr"}
    found += [f"{where} lacks {name}" for name in own if name not in saved and name not in free]
    for name, value in saved.items():
        if name == "params":
            if len(value) != len(own["params"]):
                found.append(f"{where} has {len(value)} parameters, expected {len(own['params'])}")
        elif name not in own and name not in free:
            found.append(f"{where} has {name}, which is unexpected")
        else:
            try:
                options[name] = value
            except (TypeError, ValueError) as error:
                found.append(f"{where}: {error}")
    return options


def _memory(
    optimizer: Any,
    where: str,
    p: Any,
    saved: Mapping[str, Any] | None,
    group: Group,
    found: list[str],
) -> dict[str, Any]:
    """Return the memory of a parameter, copied; add what does not fit to the list."""
    if not saved:
        return {}
    numbers: dict[str, Any] = {}
    optimizer._count(numbers, group.data)
    like = np.empty_like(p.data, np.promote_types(p.dtype, np.float32))
    arrays = dict.fromkeys(optimizer._kept(group.data), like)
    memory: dict[str, Any] = {}
    for name in numbers:
        value = saved.get(name)
        if hasattr(value, "__float__") and not getattr(value, "ndim", 0):
            memory[name] = type(numbers[name])(value)
        else:
            found.append(f"{where}: {name} must be a number, not {shown(value)}")
    try:
        memory |= fitted(arrays, {k: v for k, v in saved.items() if k not in numbers})
    except ValueError as error:
        found.append(f"{where}: {error}")
    return memory
