"""Checkpoints opened: the graph as it would be if nothing in it had been forgotten.

A checkpointed function is one operation on the tape. To see what is inside, it is run once more, as
its backward pass does, and what it records is put in its place; everything is written down anew, in
order, for the tape itself stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core import tape
from ..core.context import observed
from ..core.tape import Outputs
from ..core.tensor import OPS, Tensor, made_by

__all__ = ["behind", "inside_of", "opened"]


def behind(outputs: Sequence[Tensor]) -> dict[Tensor, Any]:
    """Return everything that outputs were computed from, with the values that were used."""
    held: dict[Tensor, Any] = {t: t.value for t in outputs}
    stack = list(held)
    while stack:
        t = stack.pop()
        for s, x in zip(t.inputs, t.xs, strict=True):
            if s is not None and s not in held:
                held[s] = x
                stack.append(s)
    return held


def opened(
    outputs: Sequence[Tensor],
) -> tuple[list[Tensor], dict[Tensor, Tensor], dict[Tensor, str]]:
    """Return outputs behind which no checkpoint is; what has taken the place of each tensor; and
    what is still one operation, with the reason: its parameters are others now, for instance.
    """
    now, places, shut = list(outputs), dict[Tensor, Tensor](), dict[Tensor, str]()
    while True:  # for inside of one there may be others
        nodes = sorted(behind(now), key=lambda t: t.index)
        if all(inside_of(t) is None or t in shut for t in nodes):
            return now, places, shut
        step = _written_anew(nodes, shut)
        places = {t: step.get(s, s) for t, s in places.items()} | step
        shut = {step.get(t, t): why for t, why in shut.items()}
        now = [step.get(t, t) for t in now]


def inside_of(t: Tensor) -> Any:
    """Return what records anew the inside of a checkpoint; None for anything else."""
    return getattr(t.primitive, "inside", None)


def _written_anew(nodes: Sequence[Tensor], shut: dict[Tensor, str]) -> dict[Tensor, Tensor]:
    new: dict[Any, Tensor] = {}
    parts: dict[Any, list[Tensor]] = {}
    for t in nodes:
        if t.primitive is None:
            continue
        inputs = tuple([new.get(s, s) for s in t.inputs])
        if inside_of(t) is not None and t not in shut:
            try:
                parts[t] = _run_again(t, inputs, new)
            except RuntimeError as error:
                shut[t] = str(error).partition(": ")[2].partition(";")[0]
        if t in parts and not isinstance(t.value, Outputs):
            new[t] = parts[t][0]
        elif t.inputs[0] in parts and t.primitive.name == "pick":
            new[t] = parts[t.inputs[0]][t.params["k"]]
        elif t not in parts:
            new[t] = made_by(t.value, t.primitive, inputs, t.xs, t.params, t.scope)
            if hasattr(t, "origin"):
                new[t].origin = t.origin
        if t.name and t in new and new[t].name is None:
            new[t].name = t.name
    return new


def _run_again(t: Tensor, inputs: Sequence[Any], new: dict[Any, Tensor]) -> list[Tensor]:
    """Return the outputs of a checkpoint, as operations of what has taken the place of others."""
    start = tape.next_index()
    with observed(None):
        outputs: list[Tensor] = inside_of(t)(t.value, t.xs, inputs)
    inside = {*tape.since(start, outputs)[0]}
    for node in inside:
        node.inputs = tuple([new.get(s, s) for s in node.inputs])
    return [y if y in inside else _passed_on(y, t.scope) for y in outputs]


def _passed_on(y: Tensor, scope: Any) -> Tensor:
    """Return what a function gives back as it got it, as a result of its own."""
    return made_by(y.value, OPS[np.positive], (y,), (y.value,), {}, scope)
