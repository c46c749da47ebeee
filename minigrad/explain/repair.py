"""Repairs that were tried: one expression of the user's replaced by what it should have given.

The backward pass runs again with a true quantity in the place of an expression, every time that it
is evaluated. What makes wrong gradients right and breaks none is the proof that the mistake is
there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..instrument.expressions import Site, Statement
from ..instrument.recording import Edit, Sum
from .blame import Labels, Suspect, differing
from .truth import Quantity, Truth, fitted, matched

__all__ = ["Place", "Repair", "Repairs", "Series"]

SUSPECTS, LARGER, LATER = 8, 12, 14
"""How many suspects are repaired, and how far from each a place may be."""


class Place(NamedTuple):
    """An expression that may be replaced: in the suspect's statement, later, or before ("input").

    `sum` is given where the right side of `a += b` is replaced such that a is what is given.
    """

    kind: str
    site: Site
    statement: Statement
    value: Any
    event: int
    sum: Sum | None = None


class Series(NamedTuple):
    """What an expression may have to be, the times that it is evaluated."""

    kind: str
    quantities: list[Quantity]

    def at(self, n: int) -> Quantity | None:
        """Return the quantity for the n-th time."""
        return self.quantities[n] if n < len(self.quantities) else None


class Repair(NamedTuple):
    """A place, what was put there (a series, or the value divided by a factor), what it cured."""

    place: Place
    series: Series | None
    factor: float
    cured: frozenset[str]


class Repairs:
    """Tries repairs, for some seconds."""

    def __init__(
        self, labels: Labels, truth: Truth, true: Mapping[str, Any], seconds: float
    ) -> None:
        self.labels, self.truth, self.true = labels, truth, true
        self.end = time.perf_counter() + seconds
        self.tried = 0
        self.lengths: dict[int, list[Series]] = {}

    def found(self, suspects: list[Suspect]) -> list[Repair]:
        """Return what makes wrong results right and breaks none."""
        found, factors = list[Repair](), self._factors()
        for place in self._places(suspects[:SUSPECTS]):
            for series, factor, edit in self._edits(place, factors):
                if time.perf_counter() > self.end:
                    return found
                if cured := self._cured(place, edit):
                    found.append(Repair(place, series, factor, frozenset(cured)))
        return found

    def _cured(self, place: Place, edit: Edit) -> set[str]:
        self.tried += 1
        sums = {place.site: place.sum} if place.sum else {}
        try:
            with np.errstate(all="ignore"):
                result = self.labels.recorded.again({place.site: edit}, sums)
            wrong = differing(result, self.true)
        except Exception:  # the user's code may not take it
            return set()
        return set() if wrong - self.labels.wrong else self.labels.wrong - wrong

    # ---- what is put there -----------------------------------------------------------------------

    def _edits(
        self, place: Place, factors: set[float]
    ) -> Iterator[tuple[Series | None, float, Edit]]:
        n = self.labels.recorded.recording.counts[place.site]
        if n == 1 or len(factors) == 1:
            for c in factors:
                yield None, c, lambda _, x, c=c: x / c  # type: ignore[misc]
        shape, seen = place.value.shape, set()
        values = place.kind == "input" and n > 1
        for series in self._series(n):
            if series.kind == "value" and not values:
                continue
            given = [fitted(q.value, shape) for q in series.quantities]
            if any(x is None for x in given):
                continue
            key = tuple(x.tobytes() for x in given)
            if key not in seen:
                seen.add(key)
                yield series, 1.0, _put(given)

    def _series(self, n: int) -> list[Series]:
        """List what n evaluations of an expression may be meant as."""
        if n not in self.lengths:
            self.lengths[n] = [*self._all_series(n)]
        return self.lengths[n]

    def _all_series(self, n: int) -> Iterator[Series]:
        if n == 1:
            kinds = ("gradient", "contribution", "unsummed", "derivative")
            for q in self.truth.quantities:
                if q.kind in kinds:
                    yield Series(q.kind, [q])
            return
        walk, truth = self.truth.walk, self.truth

        def both(kind: str, get: Callable[[int], Quantity | None]) -> Iterator[Series]:
            some = [q for k in ks[::-1] if (q := get(k)) is not None]
            if len(some) == n:
                yield Series(kind, some)
                yield Series(kind, some[::-1])

        for site in walk.sites:
            ks = site.members
            if len(ks) != n:
                continue
            yield from both("gradient", lambda k: truth.gradient(k))
            for j in walk.edges[ks[-1]]:
                yield from both("contribution", lambda k, j=j: truth.contribution(k, j))  # type: ignore[misc]
                yield from both("gradient", lambda k, j=j: truth.gradient(walk.edges[k].get(j)))  # type: ignore[misc]
                yield from both("derivative", lambda k, j=j: truth.local(k, j))  # type: ignore[misc]
            yield from both("derivative", truth.composed)
            yield from both("value", truth.of_value)
            for j in range(len(walk.xs[ks[-1]])):
                yield from both("value", lambda k, j=j: truth.of_input(k, j))  # type: ignore[misc]

    def _factors(self) -> set[float]:
        """Collect the factors that wrong results have."""
        found = set()
        for name in self.labels.wrong:
            r = np.asarray(self.labels.recorded.result.get(name, np.nan))
            t = self.true[name]
            if r.shape == t.shape and r.size > 1 and t.any() and r.any() and np.isfinite(r).all():
                match = matched(r, t, 1e-8)
                if match and not match[1]:
                    found.add(round(match[0], 12))
        return found

    # ---- where -----------------------------------------------------------------------------------

    def _places(self, suspects: list[Suspect]) -> list[Place]:
        found = dict[tuple[Site, bool], Place]()
        for where in (self._own, self._later, self._inputs):
            for suspect in suspects:
                for place in where(suspect):
                    v = place.value
                    if v.size and v.dtype.kind == "f" and place.site.kind != "old":
                        found.setdefault((place.site, place.sum is not None), place)
        return [*found.values()]

    def _own(self, s: Suspect) -> Iterator[Place]:
        """List the suspected expressions, and the larger ones in their statements."""
        events, users, served = self.labels.events, self.labels.users, self.labels.served
        for i in s.events[:2]:
            e = events[i]
            if e.written:
                yield from self._added(s, i)
                continue
            yield Place("own", e.site, s.statement, e.value, i)
            at = i
            for _ in range(LARGER):
                larger = [
                    u for u in users[at]
                    if events[u].site.statement is e.site.statement
                    and not events[u].written and not served[u]
                ]  # fmt: skip
                if not larger:
                    break
                at = larger[0]
                yield Place("own", events[at].site, s.statement, events[at].value, at)

    def _added(self, s: Suspect, i: int) -> Iterator[Place]:
        """List the right side of `a += b` or `a[k] = b`, and what it makes of a."""
        e = self.labels.events[i]
        statement = e.site.statement
        if e.added is not None:
            b = self.labels.events[e.added]
            uses = [use.site for use in b.uses if use.site.statement is statement]
            yield Place("own", uses[-1] if uses else b.site, s.statement, b.value, i)
        kids = [kid for kid in e.site.kids if kid.kind != "old"]
        olds = [kid for kid in e.site.kids if kid.kind == "old"]
        whole = "[" not in "".join(statement.targets)
        if kids and olds and whole and e.site.op in ("Add", "Sub"):
            sign = 1 if e.site.op == "Add" else -1
            yield Place("own", kids[-1], s.statement, e.value, i, (olds[0], sign))

    def _later(self, s: Suspect) -> Iterator[Place]:
        """List later expressions, while nothing is right again."""
        labels, events = self.labels, self.labels.events
        for i in s.events[:1]:
            at = i
            for _ in range(LATER):
                here = events[at].site.statement
                after = [
                    u for u in labels.users[at] if not labels.served[u] and u not in labels.bad
                ]
                forks = any(events[u].site.statement is not here for u in after)
                if not after or (len(after) > 1 and forks):
                    break
                at = after[0]
                e = events[at]
                if e.site.statement is not events[i].site.statement and not e.written:
                    yield Place("later", e.site, e.site.statement, e.value, at)

    def _inputs(self, s: Suspect) -> Iterator[Place]:
        """List what a suspect is computed from, under the names that it was last bound to."""
        events = self.labels.events
        for i in s.events[:2]:
            here, deps = events[i].site.statement, [*events[i].deps]
            for d in events[i].deps:
                if events[d].site.statement is here:
                    deps += events[d].deps
            for d in deps:
                e = events[d]
                if not e.deps:
                    continue
                for use in reversed(e.uses):
                    if use.site.whole or use.site.kind in ("Name", "IfExp"):
                        yield Place("input", use.site, use.site.statement, e.value, d)
                if not e.written:
                    yield Place("input", e.site, e.site.statement, e.value, d)


def _put(given: list[Any]) -> Edit:
    def edit(n: int, x: Any) -> Any:
        fits = n < len(given) and np.size(x) == given[n].size
        return given[n].reshape(np.shape(x)) if fits else x

    return edit
