"""Spots, where mistakes are made, and mistakes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .backward import Backward, Edge, Edit, Site
from .words import Words

__all__ = ["Mistake", "Spot", "spots"]


@dataclass(frozen=True, slots=True)
class Mistake:
    """What somebody may have done wrong: edits of the backward pass, and the words for them.

    `cost` orders mistakes, the ordinary first. `steps` are the time steps it is made at, if not all.
    """

    kind: str
    cost: float
    edits: Mapping[Edge, Edit]
    says: Callable[[], str]
    steps: tuple[int, ...] | None = None


class Spot:
    """One input of the operations at a site: what one term of a hand-written backward pass gives.

    The last of its members stands for all of them: k is its node, g its cotangent, c what it
    contributes, x the input in question among xs, z the output.
    """

    def __init__(self, walk: Backward, words: Words, site: Site, j: int) -> None:
        self.walk, self.words, self.site, self.j = walk, words, site, j
        self.members = [k for k in site.members if (k, j) in walk.contributions]
        self.k = k = self.members[-1]
        node = walk.nodes[k]
        self.op, self.family = site.op, getattr(node.primitive, "family", "")
        self.xs, self.z, self.g, self.c = walk.xs[k], walk.z[k], walk.cots[k], walk.contributions[k, j]
        self.x, self.source = self.xs[j], walk.edges[k][j]
        self.leaf = self.source in walk.leaves
        self.several = len(walk.uses[self.source]) > len(self.members)
        self.numbers = [float(x) for i, x in enumerate(self.xs) if i != j and np.ndim(x) == 0]
        self.unary = len(self.xs) - len(self.numbers) == 1
        self.inside = words.inner(k) and not words.result(k)

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
    def carried(self) -> bool:
        """Whether the input is a state: what the step before has made."""
        walk = self.walk
        for k in self.members[1:]:
            s = walk.edges[k][self.j]
            if s not in walk.leaves:
                before = walk.site_of[k].members[walk.rank[k] - 1]
                return s < before or walk.rank[s] < walk.rank[k]
        return False

    def mistake(self, kind: str, cost: float, edit: Edit, says: Callable[[], str]) -> Mistake:
        """Make a mistake at all members; inside a helper function, people make fewer of them."""
        edits = {(k, self.j): edit for k in self.members}
        return Mistake(kind, cost + 0.6 * self.inside, edits, says)


def spots(walk: Backward, words: Words) -> Iterator[Spot]:
    """List the spots, from the loss backwards; not those where nothing flows."""
    for site in reversed(walk.sites):
        for j in sorted({j for k in site.members for j in walk.edges[k]}):
            edges = [(k, j) for k in site.members if (k, j) in walk.contributions]
            if any(_flows(walk.contributions[edge]) for edge in edges):
                yield Spot(walk, words, site, j)


def _flows(c: Any) -> bool:
    parts: Iterable[Any] = c if isinstance(c, tuple) else (c,)
    return any(np.any(part) for part in parts)
