"""Spots, where mistakes are made, and mistakes.

A spot is what one term of a hand-written backward pass gives, at every time step. Most are one
input of the operations of one site. Others are several of these that people write as one:

    siblings    the same operation on the same kind of input, as for every gate or tap
    a stack     the inputs of one operation that joins all time steps
    a total     all that flows into one quantity
    a carry     what flows into a quantity from the step after: `dh_next`
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..tape import Outputs
from .backward import Backward, Edge, Edit
from .words import Words

__all__ = ["Mistake", "Spot", "groups", "spots"]


@dataclass(frozen=True, slots=True)
class Mistake:
    """What somebody may have done wrong: edits of the backward pass, and the words for them.

    What the edges in `moves` contribute goes to another node; `gives` are gradients that are simply
    others. `cost` orders mistakes, the ordinary first. `steps` are the time steps, if not all. `at`
    is the node to point at, if not the last that is edited.
    """

    kind: str
    cost: float
    edits: Mapping[Edge, Edit]
    says: Callable[[], str]
    steps: tuple[int, ...] | None = None
    moves: Mapping[Edge, int] = field(default_factory=dict)
    gives: Mapping[int, Any] = field(default_factory=dict)
    at: int | None = None


class Spot:
    """Some edges, in order of time. The last stands for all.

    k is its node and j the input, g the cotangent, c what it contributes, xs the inputs, x the j-th,
    z the output, `source` the node that x comes from.
    """

    def __init__(self, walk: Backward, words: Words, edges: Sequence[Edge]) -> None:
        self.walk, self.words = walk, words
        self.edges = [e for e in edges if e in walk.contributions]
        self.k, self.j = k, j = self.edges[-1]
        node = walk.nodes[k]
        self.op, self.family = node.primitive.name, getattr(node.primitive, "family", "")
        self.xs, self.z, self.g = walk.xs[k], walk.z[k], walk.cots[k]
        self.c, self.x, self.source = walk.contributions[k, j], walk.xs[k][j], walk.edges[k][j]
        self.leaf = self.source in walk.leaves
        self.numbers = [float(x) for i, x in enumerate(self.xs) if i != j and np.ndim(x) == 0]
        self.unary = len(self.xs) - len(self.numbers) == 1
        self.several = isinstance(self.c, Outputs) or isinstance(self.g, Outputs)
        self.inside = k in words.interior

    @property
    def here(self) -> str:
        return self.words.value(self.k)

    @property
    def what(self) -> str:
        return self.words.marked(self.k, self.j)

    @property
    def right(self) -> str:
        return self.words.right(self.k, self.j)

    def step(self, edge: Edge) -> int:
        """Give the time step of an edge: of its node, or its place if one node joins them all."""
        one = len(self.edges) > 1 and self.edges[0][0] == self.edges[-1][0]
        return edge[1] if one else self.walk.step(edge[0])

    @functools.cached_property
    def carried(self) -> bool:
        """Whether the input is a state: what the step before has made."""
        return any(self.walk.carries(*edge) for edge in self.edges)

    def mistake(
        self, kind: str, cost: float, edit: Edit, says: Callable[[], str], **more: Any
    ) -> Mistake:
        """Make a mistake at all edges; inside of what is one thought, people make fewer of them."""
        edits = dict.fromkeys(self.edges, edit)
        return Mistake(kind, cost + 0.6 * self.inside, edits, says, **more)


class Group(Spot):
    """Several spots that are written as one, in the words for it."""

    def __init__(
        self, walk: Backward, words: Words, edges: Sequence[Edge], kind: str, said: str
    ) -> None:
        super().__init__(walk, words, sorted(edges))
        self.kind, self._said = kind, said
        self.inside = False

    @property
    def here(self) -> str:
        return f"{super().here} (and the like)" if self.kind == "siblings" else super().here

    @property
    def what(self) -> str:
        return self._said or super().what


def spots(walk: Backward, words: Words) -> list[Spot]:
    """List the spots of one input at one site, from the loss backwards; not where nothing flows."""
    found = []
    for site in reversed(walk.sites):
        k = site.members[-1]
        inputs = sorted({j for k in site.members for j in walk.edges[k]})
        if len(site.members) == 1 and len(inputs) > 2 and callable(walk.nodes[k].primitive.pulls):
            columns = [[(k, j) for j in inputs]]
        else:
            columns = [[(k, j) for k in site.members] for j in inputs]
        for edges in columns:
            if any(_flows(walk.contributions.get(edge, 0)) for edge in edges):
                found.append(Spot(walk, words, edges))
    return found


def groups(walk: Backward, words: Words, some: Iterable[Spot]) -> Iterator[Group]:
    """List the spots that are written as one: siblings, totals and carries."""
    alike: dict[Any, list[Spot]] = defaultdict(list)
    into: dict[Any, list[Spot]] = defaultdict(list)
    for spot in some:
        key = spot.op, spot.j, np.shape(spot.c), np.shape(spot.g), spot.leaf, len(spot.edges)
        if not spot.inside and not spot.several:
            alike[key].append(spot)
        into[walk.site_of.get(spot.source, spot.source)].append(spot)
    for these in alike.values():
        if 2 <= len(these) <= 8:
            edges = [edge for spot in these for edge in spot.edges]
            yield Group(walk, words, edges, "siblings", "")
    for these in into.values():
        if len(these) < 2 and len(these[0].edges) < 2:
            continue
        source = these[0].source
        edges = [edge for spot in these for edge in spot.edges]
        if len(these) > 1 or these[0].leaf:
            yield Group(walk, words, edges, "total", words.value(source))
        carried = [spot for spot in these if spot.carried]
        if 1 < len(carried):
            edges = [edge for spot in carried for edge in spot.edges]
            yield Group(walk, words, edges, "carry", f"{words.value(source)} of the step before")


def _flows(c: Any) -> bool:
    parts: Iterable[Any] = c if isinstance(c, tuple) else (c,)
    return any(np.any(part) for part in parts)
