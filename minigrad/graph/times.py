"""How long operations take: each is run again, forward on what it was given, and backward.

That is measured rather than noted when the operation ran, for it can be repeated: the least of
several runs says what an operation costs, a single one what else the machine did. Nothing is
changed, no array and no `.grad`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from ..core import tape
from ..core.context import Observer, observed
from ..core.dtypes import Array
from .graph import Graph

__all__ = ["ROUNDS", "Times", "times_of", "whole"]

ROUNDS = 3


class Times(NamedTuple):
    """Seconds that a node takes: its function, and its rules with the sum of what they are given.

    `forward` is None for a compiled function, `backward` where no backward pass was run.
    """

    forward: float | None
    backward: float | None


def times_of(graph: Graph, cotangents: Sequence[Array] | None) -> list[Times]:
    """Return how long each node of a graph takes, by number: the least of three runs.

    Cotangents are those of the outputs. What a node with many uses is given is summed when it is
    reached, so the gradient of a parameter takes its time at the parameter.
    """
    backward: dict[Any, float] = {}
    with np.errstate(all="ignore"), observed(None):
        forward = [_forward(node.tensor) if node.op else 0.0 for node in graph.nodes]
        if cotangents is None:
            return [Times(seconds, None) for seconds in forward]
        path, _ = tape.between(None, graph.tensors)
        for _ in range(ROUNDS):
            clock = _Clock()
            tape.pull(path, graph.tensors, cotangents, watch=clock)
            backward = {t: min(s, backward.get(t, s)) for t, s in clock.seconds.items()}
    return [
        Times(seconds, backward.get(node.tensor, 0.0))
        for seconds, node in zip(forward, graph.nodes, strict=True)
    ]


def whole(times: Sequence[Times]) -> Times:
    """Return the sum of times, of those that are known."""
    columns = [[x for x in column if x is not None] for column in zip(*times, strict=True)]
    return Times(*[sum(known) if known else None for known in columns] or (0.0, 0.0))


def _forward(t: Any) -> float | None:
    forward, xs, params = t.primitive.forward, t.xs, t.params
    least = math.inf
    for _ in range(ROUNDS):
        start = perf_counter()
        try:
            forward(*xs, **params)
        except NotImplementedError:
            return None
        least = min(least, perf_counter() - start)
    return least


class _Clock(Observer, AbstractContextManager[None]):
    """Takes the time from one node to the next: its sum and its rules."""

    def __init__(self) -> None:
        self.seconds = dict[Any, float]()
        self.node: Any = None
        self.last = 0.0

    def walk(self, path: Sequence[Any]) -> None:
        self.last = perf_counter()

    def at(self, node: Any, g: Any) -> AbstractContextManager[None]:
        self.node = node
        return self

    def __exit__(self, *exc: object) -> None:
        now = perf_counter()
        self.seconds[self.node] = now - self.last
        self.last = now
