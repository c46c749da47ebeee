"""Numbers of a backward pass that are no arrays: counts, indices, strides, rates.

One that should be another number is found by trying the sizes that there are, and what is next to
it: one more, one less, twice, half, the opposite, the other end.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..instrument.expressions import Site, Statement
from ..instrument.recording import Edit
from .places import Place, Places

__all__ = ["MIXED_UP", "Number", "Numbers"]

KINDS = ("Name", "BinOp", "UnaryOp", "Call", "Subscript", "Attribute")
SIZES = 24
"""How many sizes are tried."""


MIXED_UP = "mixed up"
"""What a variable is that stands in the place of another one."""


class Number(NamedTuple):
    """A place where a number stands, what it is, and what is put there."""

    place: Place
    edit: Edit
    now: str
    new: str


class Numbers:
    """Lists other numbers; `factors` are those that wrong results have."""

    def __init__(self, places: Places, factors: set[float]) -> None:
        self.labels, self.places, self.factors = places.labels, places, factors
        self.doubtful = sorted(places.doubtful())
        self.sizes = self._sizes()

    def __iter__(self) -> Iterator[Number]:
        """List numbers that statements bind, two of them together, then operands."""
        statements = self.statements()
        some = [s for s in self.labels.recorded.recording.counts if s.statement in statements]
        values = self._values([s for s in some if s.kind in KINDS])
        bound = [s for s in values if s.whole and s.statement.targets]
        inner = [s for s in values if not s.whole and not _binds(s, values)]
        inner.sort(key=lambda s: (s.statement.line, -len(s.text)))
        for site in bound:
            for new, words in self._steps(values[site]):
                yield self._number((site,), values[site], new, words)
        steps = [s for s in bound if len({*values[s]}) > 1]
        for a, b in itertools.combinations(steps, 2):
            if len(values[a]) == len(values[b]) and abs(a.statement.line - b.statement.line) < 3:
                for new, words in self._steps(values[a]):
                    words = f"{words}, and so should `{b.statement.targets[0]}`"
                    yield self._number((a, b), values[a], new, words)
        for site in bound:
            for new, words in self._others(values[site]):
                yield self._number((site,), values[site], new, words)
        for site in inner:
            for new, words in [*self._steps(values[site]), *self._others(values[site])]:
                yield self._number((site,), values[site], new, words)

    def statements(self) -> set[Statement]:
        """Collect statements in doubt, the loops around, and those that bind what they read."""
        events, counts = self.labels.events, self.labels.recorded.recording.counts
        found = {
            site.statement for i in self.doubtful
            for site in [events[i].site, *[use.site for use in events[i].uses]]
        }  # fmt: skip
        for statement in [*found]:
            while statement.within is not None:
                statement = statement.within
                found.add(statement)
        more = {*found}
        while more:
            names = {
                (s.file, s.function, name)
                for s in more for name in re.findall(r"[^\W\d]\w*", s.text)
            }  # fmt: skip
            more = {
                s.statement for s in counts
                if s.statement not in found and any(
                    (s.statement.file, s.statement.function, name) in names
                    for target in s.statement.targets for name in re.findall(r"\w+", target)
                )
            }  # fmt: skip
            found |= more
        return found

    def _values(self, sites: list[Site]) -> dict[Site, list[Any]]:
        """Return the values, each time, of those that give numbers."""
        values: dict[Site, list[Any]] = {site: [] for site in sites}

        def noted(site: Site) -> Edit:
            def edit(_: int, x: Any) -> Any:
                values[site].append(x)
                return x

            return edit

        self.labels.recorded.again({site: noted(site) for site in sites})
        return {
            site: some for site, some in values.items()
            if some and all(
                isinstance(x, int | float | np.integer | np.floating) and not isinstance(x, bool)
                for x in some
            )
        }  # fmt: skip

    def _number(self, sites: tuple[Site, ...], values: list[Any], new: Any, words: str) -> Number:
        return Number(self.place(sites), lambda _, x: new(x), _text(values), words)

    def place(self, sites: tuple[Site, ...]) -> Place:
        """Return expressions as a place, with the first event in doubt that they may lead to."""
        events, statement = self.labels.events, sites[0].statement
        at = [i for i in self.doubtful if events[i].site.statement is statement]
        after = [i for i in self.doubtful if events[i].site.statement.line > statement.line]
        i = next(iter([*at, *after, *self.doubtful]))
        return Place(sites[0], statement, [(i, i)], others=sites[1:])

    def _others(self, values: list[Any]) -> Iterator[tuple[Any, str]]:
        v, once = values[0], len({*values}) == 1
        if once and v:
            for f in self.factors:
                for c in (v * f, v / f):
                    yield (lambda x, c=c: c), f"{c:.4g}"
        whole = isinstance(v, int | np.integer)
        for c in [0, 1, *self.sizes]:
            if not once or c != v:
                yield (lambda x, c=c: c), str(c)
        for c in self.sizes if once and not whole and v else ():
            yield (lambda x, c=c: x * c), f"{v * c:.4g}"
            yield (lambda x, c=c: x / c), f"{v / c:.4g}"

    def _steps(self, values: list[Any]) -> Iterator[tuple[Any, str]]:
        v = values[0]
        once, whole = len({*values}) == 1, isinstance(v, int | np.integer)
        low, high = min(values), max(values)

        def said(x: Any, words: str) -> str:
            return f"{x:.4g}" if once else words

        yield (lambda x: 2 * x), said(2 * v, "twice as large")
        if once or not whole:
            yield (lambda x: -x), said(-v, "of the other sign")
        if whole:
            yield (lambda x: x + 1), said(v + 1, "one more")
            yield (lambda x: x - 1), said(v - 1, "one less")
            if not once:
                yield (lambda x: low + high - x), "in the other order"
                for c in sorted({c for c in self.sizes if c > 2})[:3]:
                    yield (lambda x, c=c: c * x), f"{c} times as large"
        else:
            yield (lambda x: x / 2), said(v / 2, "half as large")

    def _sizes(self) -> list[int]:
        """List the sizes of axes, and of several together."""
        axes, several = dict[int, int](), dict[int, int]()
        for z in self.labels.truth.walk.z:
            shape = np.shape(z) if not isinstance(z, tuple) else ()
            for n in shape:
                axes[n] = axes.get(n, 0) + 1
            for a in range(len(shape)):
                for b in range(a + 2, len(shape) + 1):
                    n = int(np.prod(shape[a:b]))
                    several[n] = several.get(n, 0) + 1
        some = [sorted(x, key=x.__getitem__, reverse=True) for x in (axes, several)]
        return [n for n in dict.fromkeys([*some[0], *some[1]]) if n > 1][:SIZES]


def _binds(site: Site, values: dict[Site, list[Any]]) -> bool:
    """Whether a number is a part of another one that is bound to a name."""
    around = site.around
    while around is not None and around in values:
        if around.whole and around.statement.targets:
            return True
        around = around.around
    return False


def _text(values: list[Any]) -> str:
    some = [f"{x:.4g}" for x in dict.fromkeys(values)]
    return ", ".join(some[:3]) + (", ..." if len(some) > 3 else "")
