"""Spots, where mistakes are made, and mistakes.

A spot is what one term of a hand-written backward pass gives, at every time step. Most are one
input of the operations of one site. Others are several of these that people write as one:

    siblings    the same operation on the same kind of input, as for every gate or tap
    calls       one expression of a function that is called at several places
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

from ..core.tape import Outputs
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

    k is its node and j the input, g the cotangent, c what it contributes, xs the inputs, x the
    j-th, z the output, `source` the node that x comes from.
    """

    kind = "one"

    def __init__(self, walk: Backward, words: Words, edges: Sequence[Edge]) -> None:
        self.walk, self.words = walk, words
        self.edges = [e for e in edges if e in walk.contributions]
        self.k, self.j = k, j = self.edges[-1]
        node = walk.nodes[k]
        self.op, self.family = node.primitive.name, walk.family(k)
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

    @functools.cached_property
    def steps(self) -> dict[Edge, int]:
        """The time step of every edge: of its node, or its place if one node joins them all."""
        one = len(self.edges) > 1 and self.edges[0][0] == self.edges[-1][0]
        return {e: e[1] if one else self.walk.step(e[0]) for e in self.edges}

    def step(self, edge: Edge) -> int:
        return self.steps[edge]

    @functools.cached_property
    def carried(self) -> bool:
        """Whether the input is a state: what the step before has made."""
        return any(self.walk.carries(*edge) for edge in self.edges)

    def mistake(
        self, kind: str, cost: float, edit: Edit, text: str, at: int | None = None, **names: Any
    ) -> Mistake:
        """Make a mistake at all edges; inside of what is one thought, people make fewer of them.

        The text is filled in when it is read: `{here}` is the operation, `{what}` the input,
        `{right}` what should be, `{passes}` "the gradient that {here} passes to {what}".
        """

        def says() -> str:
            here, what = self.here, self.what
            passes = f"the gradient that {here} passes to {what}"
            given = {name: v() if callable(v) else v for name, v in names.items()}
            return text.format(here=here, what=what, right=self.right, passes=passes, **given)

        edits = dict.fromkeys(self.edges, edit)
        return Mistake(kind, cost + 0.8 * self.inside, edits, says, at=at)


class Group(Spot):
    """Several spots that are written as one, and how to name what they have in common."""

    def __init__(self, kind: str, spots: Sequence[Spot], said: str = "") -> None:
        edges = sorted([edge for spot in spots for edge in spot.edges])
        super().__init__(spots[0].walk, spots[0].words, edges)
        self.kind, self.spots, self._said, self.inside = kind, spots, said, False

    @property
    def here(self) -> str:
        if self.kind == "calls":
            place = self.walk.place(self.k)
            assert place is not None
            return f"`{place.expression}` in every call of `{place.function}`"
        like = self.kind == "siblings" and len(self.spots) > 1
        return super().here + " (and the like)" * like

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


def groups(walk: Backward, words: Words, some: Sequence[Spot], wrong: set[int]) -> Iterator[Group]:
    """List the spots that are written as one; of leaves, only those whose gradient is wrong."""
    sets: dict[Any, list[Spot]] = defaultdict(list)
    for spot in some:
        leaf = spot.leaf and not spot.carried
        if spot.several or (leaf and spot.source not in wrong):
            continue
        site = walk.site_of.get(spot.source)
        place = walk.place(spot.k)
        if place and place.outer:
            sets["calls", (place.line_of_code, spot.op, spot.j)].append(spot)
        if not spot.inside:
            alike = spot.op, spot.j, np.shape(spot.c), np.shape(spot.g), leaf, len(spot.edges)
            sets["siblings", alike].append(spot)
            sets["siblings", (alike, _origin(walk, spot.source))].append(spot)
            if leaf:
                sets["siblings", ("to leaves", _gradient(walk, spot))].append(spot)
                sets["siblings", ("to leaves", spot.op, spot.j, np.shape(spot.g))].append(spot)
        if site or spot.leaf:
            sets["total", site or spot.source].append(spot)
        if site and spot.carried:
            sets["carry", site].append(spot)
            sets["carry", None].append(spot)
    seen = set[Any]()
    for (kind, _), these in sets.items():
        edges = frozenset([edge for spot in these for edge in spot.edges])
        if len(these) < 2 or len(these) > 12 or (kind, edges) in seen:
            continue
        seen.add((kind, edges))
        if kind == "carry" and len({walk.site_of.get(spot.source) for spot in these}) > 1:
            yield Group(kind, these, "the states")
            continue
        said = "" if kind in ("siblings", "calls") else words.value(these[0].source)
        yield Group(kind, these, said + " of the step before" * (kind == "carry"))


def _origin(walk: Backward, s: int) -> Any:
    """Name the array that a node is a part of, or else its site."""
    while s not in walk.leaves and walk.site_of[s].op == "getitem" and walk.edges[s]:
        (s,) = walk.edges[s].values()
    return walk.site_of.get(s, s)


def _gradient(walk: Backward, spot: Spot) -> tuple[int, ...]:
    """Name the gradient that a spot passes on, by the nodes above the additions it came through."""
    return tuple([walk.sum_of(k) for k, _ in spot.edges])


def _flows(c: Any) -> bool:
    parts: Iterable[Any] = c if isinstance(c, tuple) else (c,)
    return any(np.any(part) for part in parts)
