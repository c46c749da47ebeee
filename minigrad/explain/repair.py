"""Repairs that were tried: one expression of the user's replaced by what it should have given.

The backward pass runs again with a true quantity in the place of an expression, every time that it
is evaluated. What makes wrong gradients right and breaks none is the proof that the mistake is
there, or on the way from there to the results: of those that cure the most, the first to run is
taken, but for places that are right in their own role.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..instrument.expressions import Site, Statement
from ..instrument.recording import Edit, Sum
from .attempts import COPY, FAR, Attempts
from .blame import Labels, Suspect, differing
from .mixed import mixed_up
from .names import about, letters
from .places import NAMES, Place
from .series import Series
from .sizes import Number, Numbers
from .truth import Quantity, Truth, fitted, matched
from .words import Words

__all__ = ["Repair", "Repairs"]

SUSPECTS = 8
"""How many suspects are repaired."""

TRIES, AFTER, NUMBERS = 600, 100, 250
"""How often the backward pass runs again: at all, after something is found, with other numbers."""

PROVEN = 4
"""How many repairs together are a proof."""


class Repair(NamedTuple):
    """What was put somewhere: a series, `factor` times.

    Without a series it is the value divided by a factor, or a COPY of it, or another number.
    """

    place: Place
    series: Series | None
    factor: float
    cured: frozenset[str]
    edit: Edit
    first: int  # the first time that it is another value
    fits: float  # how well the place and the quantity go together
    number: Number | None = None
    together: bool = False  # with the others that are it, it makes everything right

    @property
    def at(self) -> int:
        """When it is replaced first."""
        return self.place.values[self.first][1]

    @property
    def event(self) -> int:
        """The event that is replaced first."""
        return self.place.values[self.first][0]

    @property
    def edits(self) -> dict[Site, Edit]:
        """What is put at which expressions."""
        return dict.fromkeys(self.place.sites, self.edit)

    @property
    def quantity(self) -> Quantity | None:
        """What it should have been."""
        return self.series.quantities[self.first] if self.series else None


class Repairs:
    """Tries repairs, for some seconds."""

    def __init__(
        self, labels: Labels, truth: Truth, words: Words, true: Mapping[str, Any], seconds: float,
        before: tuple[Mapping[Site, Edit], Mapping[Site, Sum]] = ({}, {}),
    ) -> None:  # fmt: skip
        self.labels, self.truth, self.words, self.true = labels, truth, words, true
        self.before = before  # edits that earlier mistakes are repaired by
        self.walk = truth.walk
        self.seconds = seconds
        self.tried, self.seen = 0, set[Any]()
        self.attempts = Attempts(labels, truth, words, true)
        self.places = self.attempts.places

    def found(self, suspects: list[Suspect]) -> list[Repair]:
        """Return what makes wrong results right and breaks none, the best first."""
        found, best = list[Repair](), (0.0, np.inf)
        self.until = time.thread_time() + self.seconds
        end, last = time.thread_time() + 2 * self.seconds / 3, TRIES
        for far, place, series, factor in self.attempts.of(suspects[:SUSPECTS]):
            late = time.thread_time() > end or self.tried > last
            if late or (best[0] and far > FAR):
                break
            edit, first = self._edit(place, series, factor)
            if edit is None:
                continue
            rank = -self._fits(place, series, factor, first), place.values[first][1]
            if rank >= best or not (cured := self._cured(place, edit)):
                continue
            if writer := self._lost(place, series, first):
                place = place._replace(statement=writer)
            found.append(Repair(place, series, factor, frozenset(cured), edit, first, -rank[0]))
            if cured == self.labels.wrong and rank[0] < 0 and not self._is_result(place):
                best, last = rank, min(last, self.tried + AFTER)
        if not best[0]:
            found += self._numbers()
        found = self._sorted([*found, *self._copied(found)])
        return found if best[0] else self._proven(found)

    def _copied(self, found: list[Repair]) -> Iterator[Repair]:
        """Give repairs of later expressions that are the same: those that were copied."""
        best = next(iter(self._sorted(found)), None)
        if best is None or best.series is None or best.place.alias or best.place.sum:
            return
        if best.place.statement is not best.place.site.statement or best.place.site.kind in NAMES:
            return
        events, (site, statement, values, *_) = self.labels.events, best.place
        for other, others in [*self.places.values.items()]:
            if other.text != site.text or other.statement is statement or best.place.others:
                continue
            if len(others) != len(values) or others[0][1] < values[0][1]:
                continue
            pairs = zip(others, values, strict=True)
            if all(np.array_equal(events[i].value, events[j].value) for (i, _), (j, _) in pairs):
                place = best.place._replace(site=other, statement=other.statement, values=others)
                edit, first = self._edit(place, best.series, best.factor, again=True)
                if edit and self._cured(place, edit) == best.cured:
                    yield best._replace(place=place, edit=edit, first=first, fits=best.fits + 0.1)

    def _proven(self, found: list[Repair]) -> list[Repair]:
        """Mark a few repairs that make everything right together."""
        left, some = {*self.labels.wrong}, list[Repair]()
        for repair in found:
            if repair.fits >= 0.5 and repair.cured & left and not self._is_result(repair.place):
                some.append(repair)
                left -= repair.cured
        if left or len(some) > PROVEN:
            return found
        return [r._replace(together=any(r is s for s in some)) for r in found]

    def _numbers(self) -> Iterator[Repair]:
        """Give variables and numbers that should be others, until everything is right."""
        last = self.tried + NUMBERS
        numbers = Numbers(self.places, self.attempts.factors())
        for number in itertools.chain(mixed_up(numbers), numbers):
            if time.thread_time() > self.until or self.tried > last:
                break
            if cured := self._cured(number.place, number.edit):
                cures = frozenset(cured)
                yield Repair(number.place, None, 1.0, cures, number.edit, 0, 1, number)
                if cured == self.labels.wrong:
                    break

    def _is_result(self, place: Place) -> bool:
        """Whether what is replaced is a result itself: that proves nothing."""
        return all(i in self.labels.final for i, _ in place.values)

    def _sorted(self, found: list[Repair]) -> list[Repair]:
        def key(r: Repair) -> tuple[float, ...]:
            return -len(r.cured), -r.fits, r.at, r.series is None

        return sorted(found, key=key)

    def _cured(self, place: Place, edit: Edit) -> set[str]:
        self.tried += 1
        edits = {**self.before[0], **dict.fromkeys(place.sites, edit)}
        sums = {**self.before[1]}
        if place.sum:
            sums[place.site] = place.sum
        try:
            with np.errstate(all="ignore"):
                result = self.labels.recorded.again(edits, sums)
            wrong = differing(result, self.true)
        except Exception:  # the user's code may not take it
            return set()
        return set() if wrong - self.labels.wrong else self.labels.wrong - wrong

    # ---- how likely ------------------------------------------------------------------------------

    def _fits(self, place: Place, series: Series | None, factor: float, first: int) -> float:
        """Say how well a repair goes with what the place gives: below 0, it is right as it is."""
        labels, i, name = self.labels, place.values[first][0], place.site.name
        status, quantity = labels.status[i], series.quantities[first] if series else None
        if series is None and factor == COPY:
            return 1
        if series is None and status == "neutral":
            return 0.5
        if series is None and self._scales(i, factor):
            return 2
        if self._lost(place, series, first):
            return 1
        if place.operand and labels.forward[i]:
            return 1
        meant = self.attempts.meant(i, name)
        made = labels.events[i].site
        if place.alias and made is not place.site and made not in place.site.kids:
            text = place.site.text  # it hands on what it gets
            same = text != name and letters(name) == letters(text)
            same = same or (name in self.true and letters(name) in about(text))
            return 2 if status in ("right", "part", "neutral") and not (same or meant) else -1
        if status not in ("right", "so far"):
            return 1
        if quantity and (self.attempts.named(name, quantity) or self._other_step(i, quantity)):
            return 1
        if meant:
            return -1
        kinds = {m.quantity.kind for m in labels.matches[i] if m.factor == 1}
        if quantity and quantity.kind == "gradient" and kinds <= {"derivative", "value"}:
            return 0 if labels.served[i] else 1  # what it is multiplied by is left out
        read = place.site.kind in ("Name", "Subscript") and status == "right"
        if read and quantity and quantity.kind == "gradient":
            return 0.5
        return 1 if place.own and not labels.served[i] else 0

    def _scales(self, i: int, factor: float) -> bool:
        """Whether an event is one of its inputs times a factor that is too much."""
        v = self.labels.events[i].value
        inputs = [self.labels.events[d].value for d in self.labels.events[i].deps]
        ratios = [m for x in inputs if x.shape == v.shape and x.any() and (m := matched(v, x))]
        return any(abs(ratio - factor) <= 1e-9 * abs(factor) for ratio, how in ratios if not how)

    def _other_step(self, i: int, quantity: Quantity) -> bool:
        """Whether an event is what is meant, but of another step."""
        site = self.walk.site_of.get(quantity.k)
        return site is not None and any(
            m.factor == 1 and m.quantity.kind == quantity.kind and m.quantity.k != quantity.k
            and self.walk.site_of.get(m.quantity.k) is site
            for m in self.labels.matches[i]
        )  # fmt: skip

    def _lost(self, place: Place, series: Series | None, first: int) -> Statement | None:
        """Return the statement that wrote over what is meant, in the array that a place reads."""
        q = series and series.quantities[first]
        if q is None or place.site.kind not in ("Name", "Subscript"):
            return None
        e = self.places.written(place.values[first][0])
        if e is None or _holds(e.value, q.value):
            return None
        writer = e.site.statement
        while e.old is not None:
            e = self.labels.events[e.old]
            if _holds(e.value, q.value):
                return writer
        return None

    # ---- what is put there -----------------------------------------------------------------------

    def _edit(
        self, place: Place, series: Series | None, factor: float, again: bool = False
    ) -> tuple[Edit | None, int]:
        """Return the edit, None if it changes nothing, and the first time that it does."""
        if series is None:
            return (lambda _, x: x / factor) if factor != COPY else (lambda _, x: np.copy(x)), 0
        events = [self.labels.events[i] for i, _ in place.values]
        given = [
            None if q is None else fitted(factor * q.value, e.value.shape)
            for q, e in zip(series.quantities, events, strict=True)
        ]
        if len(given) == 1 and given[0] is None and series.quantities[0] is not None:
            given = [factor * series.quantities[0].value]  # in the shape that it should have
        if any(x is None and q is not None for x, q in zip(given, series.quantities, strict=True)):
            return None, 0
        changed = [
            n for n, (x, e) in enumerate(zip(given, events, strict=True))
            if x is not None and not _close(x, e.value)
        ]  # fmt: skip
        key = place.sites, place.sum, tuple(None if x is None else x.tobytes() for x in given)
        if not changed or (key in self.seen and not again):
            return None, 0
        self.seen.add(key)
        return _put(given), changed[0]


def _holds(a: Any, x: Any) -> bool:
    """Whether an array is another one, or has it as one of its parts."""
    if a.size < x.size or a.shape[a.ndim - x.ndim :] != x.shape:
        return False
    return any(_close(x, part) for part in a.reshape(-1, *x.shape))


def _put(given: list[Any]) -> Edit:
    def edit(n: int, x: Any) -> Any:
        y = given[n] if n < len(given) else None
        if y is None:
            return x
        return y.reshape(np.shape(x)) if np.size(x) == y.size else y

    return edit


def _close(x: Any, y: Any) -> bool:
    return x.shape == y.shape and bool(np.all(abs(x - y) <= 1e-9 * max(abs(x).max(), 1e-300)))
