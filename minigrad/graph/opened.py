"""Checkpoints opened: the graph as it would be if nothing in it had been forgotten.

A checkpointed function is one operation on the tape. To see what is inside, it is run once more, as
its backward pass does, and what it records is put in its place; everything is written down anew, in
order, for the tape itself stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

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


class Opened(NamedTuple):
    """Outputs behind which no checkpoint is, and what became of it.

    `places`: what has taken the place of each tensor. `shut`: what is still one operation, with
    the reason; its parameters are others now, for instance. `forgotten`: what the tape itself does
    not keep.
    """

    outputs: list[Tensor]
    places: dict[Tensor, Tensor]
    shut: dict[Tensor, str]
    forgotten: set[Tensor]


def opened(outputs: Sequence[Tensor]) -> Opened:
    """Open the checkpoints behind some outputs."""
    now = Opened(list(outputs), {}, {}, set())
    while True:  # for inside of one there may be others
        nodes = sorted(behind(now.outputs), key=lambda t: t.index)
        if all(inside_of(t) is None or t in now.shut for t in nodes):
            return now
        now = _written_anew(nodes, now)


def inside_of(t: Tensor) -> Any:
    """Return what records anew the inside of a checkpoint; None for anything else."""
    return getattr(t.primitive, "inside", None)


def _written_anew(nodes: Sequence[Tensor], before: Opened) -> Opened:
    new: dict[Any, Tensor] = {}
    parts: dict[Any, list[Tensor]] = {}
    shut, forgotten = {**before.shut}, {*before.forgotten}
    for t in nodes:
        if t.primitive is None:
            continue
        inputs = tuple([new.get(s, s) for s in t.inputs])
        if inside_of(t) is not None and t not in shut:
            try:
                parts[t], inner = _run_again(t, inputs, new)
                forgotten |= inner
            except Exception as error:  # whatever the user's function raises
                shut[t] = reason(error)
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
    places = {t: new.get(s, s) for t, s in before.places.items()} | new
    shut = {new.get(t, t): why for t, why in shut.items()}
    outputs = [new.get(t, t) for t in before.outputs]
    return Opened(outputs, places, shut, {new.get(t, t) for t in forgotten})


def reason(error: Exception) -> str:
    """Say in a few words why a checkpoint cannot be run again."""
    text = " ".join(str(error).split())
    if isinstance(error, RuntimeError) and text.startswith("checkpoint: "):
        return text.removeprefix("checkpoint: ").partition(";")[0]
    return f"{type(error).__name__}: {text}"


def _run_again(
    t: Tensor, inputs: Sequence[Any], new: Mapping[Any, Tensor]
) -> tuple[list[Tensor], set[Tensor]]:
    """Return the outputs of a checkpoint, as operations of `inputs`, and what is only inside."""
    start = tape.next_index()
    with observed(None):
        own, outputs = inside_of(t)(t.value, t.xs)
    given = {**new, **dict(zip(own, inputs, strict=False))}  # captured ones come after
    inside: set[Any] = {
        node for node in tape.since(start, outputs)[0] if node.primitive is not None
    }
    for node in inside:
        node.inputs = tuple([given.get(s, s) for s in node.inputs])
    made = [y if y in inside else _passed_on(given.get(y, y), t.scope) for y in outputs]
    return made, inside - {*made}


def _passed_on(y: Tensor, scope: Any) -> Tensor:
    """Return what a function gives back as it got it, as a result of its own."""
    return made_by(y.value, OPS[np.positive], (y,), (y.value,), {}, scope)
