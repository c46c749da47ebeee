"""What may be put where in a backward pass: every place, and what it may have to be there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..instrument.expressions import Statement
from .blame import OF_GRADIENTS, Labels, Suspect
from .names import about, letters
from .places import Place, Places
from .series import Series, SeriesOf
from .truth import Quantity, Truth, matched
from .words import Words

__all__ = ["COPY", "FAR", "Attempt", "Attempts"]

COPY = 0.0
"""The factor that stands for no factor, but a copy of an array that is written to later."""

DEEP = 8
FAR = 5
"""From where on the tape is far: no farther is looked after something is found."""


class Attempt(NamedTuple):
    """A series in a place, `factor` times; without one the value, divided by it, or a COPY of it.

    `far` says how far the two are from each other on the tape.
    """

    far: float
    place: Place
    series: Series | None
    factor: float


class Attempts:
    """Lists attempts, the nearest on the tape first."""

    def __init__(self, labels: Labels, truth: Truth, words: Words, true: Mapping[str, Any]) -> None:
        self.labels, self.words, self.true, self.walk = labels, words, true, truth.walk
        self.series, self.places = SeriesOf(truth), Places(labels, self.meant)
        self.orders = self._orders()

    def _orders(self) -> dict[Statement | None, int]:
        """Say of loops whether they go through the steps forward (1 and more) or backward."""
        found: dict[Statement | None, int] = defaultdict(int)
        for site, values in self.places.values.items():
            steps = [
                m.quantity.step for i, _ in values for m in self.labels.matches[i][:1]
                if m.factor == 1 and m.quantity.step is not None
            ]  # fmt: skip
            if len(steps) > 1:
                found[site.statement.within] += int(np.sign(np.diff(steps)).sum())
        return found

    def of(self, suspects: list[Suspect]) -> list[Attempt]:
        """List what may be tried."""
        found = list[Attempt]()
        factors = self.factors()
        found += [Attempt(0.0, place, None, COPY) for place in self.places.shared()]
        for penalty, place in self.places.around(suspects):
            n, shapes = len(place.values), self._shapes(place)
            if n == 1 or len(factors) == 1:
                found += [Attempt(penalty, place, None, c) for c in factors]
            away = self._away(place)
            bound = place.site.whole or place.site.name
            name = place.site.name or place.site.text
            forward = self.labels.forward[place.values[0][0]]
            order = self.orders[place.site.statement.within]
            scales = self._scales_of_inputs(place)
            for series in self.series[1] if n == 1 and bound else self.series.fitting(shapes):
                if series.order * order < 0:
                    continue
                of_values = series.kind in ("derivative", "value")
                if not forward if of_values else forward and not bound and n > 1:
                    continue
                near = min([away.get(k, FAR) for k in self.series.about(series)]) if away else 1
                q = next(q for q in series.quantities if q)
                named = self.named(name, q)
                unnamed = 0.1 * (not self.words.short(q.k).isidentifier())
                far = penalty + near - named + unnamed
                found.append(Attempt(far, place, series, 1.0))
                if series.kind in OF_GRADIENTS:
                    found += [Attempt(far + 0.2, place, series, c) for c in scales]
        found += self._operands()
        return sorted(found, key=lambda attempt: attempt.far)

    def _operands(self) -> Iterator[Attempt]:
        """List what may be meant by operands that are right, but of something else."""
        for place in self.places.operands():
            forward = self.labels.forward[place.values[0][0]]
            kinds = {"value", "derivative"} if forward else {"gradient"}
            if not forward and self.labels.status[place.values[0][0]] != "right":
                kinds.clear()
            order = self.orders[place.site.statement.within]
            away = self._away(place)
            if earlier := self._earlier(place):
                yield Attempt(1.0, place, earlier, 1.0)
            for series in self.series.fitting(self._shapes(place)):
                if series.kind not in kinds or series.order * order < 0:
                    continue
                near = min(away.get(q.k, FAR) for q in series.quantities[:2] if q)
                yield Attempt(1.5 + near, place, series, 1.0)

    def _scales_of_inputs(self, place: Place) -> set[float]:
        """Collect the factors that inputs of a place have, to be divided by later."""
        found, events = set[float](), self.labels.events
        for d in events[place.values[0][0]].deps:
            if self.labels.status[d] == "scaled":
                found |= {m.factor for m in self.labels.matches[d] if m.quantity.kind == "gradient"}
        return found if len(found) < 3 else set()

    def _shapes(self, place: Place) -> list[tuple[int, ...]]:
        return [self.labels.events[i].value.shape for i, _ in place.values]

    def _earlier(self, place: Place) -> Series | None:
        """Return what was in the arrays that a place reads, before they were written to."""
        found = [self._before(i) for i, _ in place.values]
        return Series("value", found) if any(found) else None

    def _before(self, i: int) -> Quantity | None:
        e = self.places.written(i)
        while e is not None and e.old is not None:
            e = self.labels.events[e.old]
            if e.value.shape == self.labels.events[i].value.shape:
                for m in self.labels.matches[e.number]:
                    if m.factor == 1 and m.quantity.kind in ("value", "gradient"):
                        return m.quantity
        return None

    # ---- how near --------------------------------------------------------------------------------

    def factors(self) -> set[float]:
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

    def named(self, name: str, quantity: Quantity) -> bool:
        """Whether a variable is named as a quantity: h, or dh for its gradient."""
        node = letters(self.words.short(quantity.k))
        if quantity.kind == "value":
            return node == letters(name)
        return node in about(name) or (node == letters(name) and name in self.true)

    def meant(self, i: int, name: str) -> bool:
        """Whether an event is what the name that it is bound to says."""
        return any(
            m.factor == 1 and m.quantity.kind in ("gradient", "value")
            and self.named(name, m.quantity)
            for m in self.labels.matches[i]
        )  # fmt: skip

    def _away(self, place: Place) -> dict[int, int]:
        """Say how far nodes are on the tape from those that a value and its inputs are about."""
        labels, found = self.labels, dict[int, int]()
        for i, _ in place.values[:3] + place.values[-1:]:
            some, seen = [i], {i}
            for depth in range(DEEP):
                for d in some:
                    for m in labels.matches[d][:6]:
                        if m.quantity.kind != "value" or labels.forward[i]:
                            found[m.quantity.k] = 0
                            found |= dict.fromkeys([k for k, _ in m.quantity.edges[:4]], 0)
                some = [b for a in some for b in labels.events[a].deps if b not in seen]
                seen.update(some)
                if not some or (found and depth > 1):
                    break
        edge = [*found]
        for distance in range(1, FAR):
            edge = [
                m for k in edge for m in (*self._below(k), *self.walk.uses[k][:20])
                if m not in found
            ]  # fmt: skip
            found |= dict.fromkeys(edge, distance)
        return found

    def _below(self, k: int) -> list[int]:
        """List the inputs of a node, and that of the functions that are one thought with it."""
        links = self.walk.chain(k)
        below = [*self.walk.edges[k].values()]
        return [*below, *self.walk.edges[links[-1]].values()] if len(links) > 1 else below
