"""What an expression of a backward pass may have to be, the times that it is evaluated."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from .backward import Edge, Site
from .truth import Quantity, Truth, fitted

__all__ = ["Series", "SeriesOf"]


class Series(NamedTuple):
    """What an expression may have to be, the times that it is evaluated; None: as it is."""

    kind: str
    quantities: list[Quantity | None]
    order: int = 0  # 1 if the first step is the first, -1 if it is the last


class SeriesOf:
    """Lists series by their length, from the operations that there are so many of."""

    def __init__(self, truth: Truth) -> None:
        self.truth, self.walk = truth, truth.walk
        self.lengths: dict[int, list[Series]] = {}
        self.fit: dict[Any, list[Series]] = {}
        self.nodes: dict[int, tuple[int, ...]] = {}

    def __getitem__(self, n: int) -> list[Series]:
        if n not in self.lengths:
            self.lengths[n] = [*self._once()] if n == 1 else [*self._often(n)]
        return self.lengths[n]

    def fitting(self, shapes: Sequence[tuple[int, ...]]) -> list[Series]:
        """List those that fit into these shapes at all times."""
        key = tuple(shapes)
        if key not in self.fit:
            self.fit[key] = [
                series for series in self[len(key)]
                if all(
                    q is None or _fit(q.value.shape, shape)
                    for q, shape in zip(series.quantities, key, strict=True)
                )
            ]  # fmt: skip
        return self.fit[key]

    def about(self, series: Series) -> tuple[int, ...]:
        """List the nodes that the first and the last of a series are about."""
        key = id(series.quantities)
        if key not in self.nodes:
            some = [q for q in series.quantities[:2] + series.quantities[-2:] if q]
            self.nodes[key] = (*{k for q in some for k in (q.k, *[e[0] for e in q.edges[:1]])},)
        return self.nodes[key]

    def _once(self) -> Iterator[Series]:
        for q in self.truth.quantities:
            if q.kind not in ("so far", "part"):
                yield Series(q.kind, [q])

    def _often(self, n: int) -> Iterator[Series]:
        walk, truth = self.walk, self.truth

        def both(kind: str, get: Callable[[int], Quantity | None]) -> Iterator[Series]:
            some = [get(k) for k in ks[::-1]]
            if sum(q is not None for q in some) > n // 2:
                yield Series(kind, some, -1)
                yield Series(kind, some[::-1], 1)

        for ks in self._members(n):
            yield from both("gradient", truth.gradient)
            yield from self._shares(ks, [*ks])
            for j in walk.edges[ks[-1]]:
                sources = [walk.edges[k].get(j) for k in ks]
                yield from both("contribution", lambda k, j=j: truth.contribution(k, j))  # type: ignore[misc]
                yield from both("gradient", lambda k, j=j: truth.gradient(walk.edges[k].get(j)))  # type: ignore[misc]
                yield from both("derivative", lambda k, j=j: truth.local(k, j))  # type: ignore[misc]
                yield from self._shares(ks, sources)
            yield from both("derivative", truth.composed)
            yield from both("value", truth.of_value)
            for j in range(len(walk.xs[ks[-1]])):
                yield from both("value", lambda k, j=j: truth.of_input(k, j))  # type: ignore[misc]

    def _members(self, n: int) -> Iterator[list[int]]:
        """List nodes that one expression made n times, whatever their shapes.

        Of layers, all but the first or the last, too.
        """
        layers: dict[Any, list[Site]] = defaultdict(list)
        for site in self.walk.sites:
            if len(site) == n:
                yield site.members
            if site.place:
                layers[site.place.site, site.op, site.part].append(site)
        for some in layers.values():
            ks = sorted(k for site in some for k in site.members)
            if len(some) > 1 and len(ks) == n:
                yield ks
            if len(some) > 1 and len(ks) == n + 1:
                yield ks[1:]
                yield ks[:-1]

    def _shares(self, ks: list[int], nodes: list[int | None]) -> Iterator[Series]:
        """List what each operation sends to nodes, and what all the others do."""
        into: dict[Any, dict[int, list[Edge]]] = defaultdict(lambda: defaultdict(list))
        for s in nodes:
            for edge in self.walk.into(s) if s is not None else ():
                into[id(self.walk.site_of.get(edge[0]))][s].append(edge)  # type: ignore[index]
        if len(into) < 2:
            return
        for by in into.values():
            for others in (False, True):
                some = [
                    self.truth.share(s, by.get(-1 if s is None else s, []), others) for s in nodes
                ]
                if sum(q is not None for q in some) > len(nodes) // 2:
                    yield Series("contribution", some[::-1], -1)
                    yield Series("contribution", some, 1)


@lru_cache(maxsize=10_000)
def _fit(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether an array of one shape can be given another, transposed perhaps."""
    return fitted(np.broadcast_to(0.0, a), b) is not None
