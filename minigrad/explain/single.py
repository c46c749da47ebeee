"""The small search: which single mistake gives these numbers?

Where only the final gradients are known, every row of the table of kinds is tried at every term, at
all steps together or at some, by a walk of what it changes. There are no templates of
architectures: all is read off the graph.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from ..core.tape import Outputs
from .backward import Backward, Edge, times
from .changes import CLOSE, Changes, Edit, size
from .kinds import KINDS
from .spots import Mistake, groups, spots
from .words import Words

__all__ = ["Search"]


class Search:
    """The single mistakes that turn the gradients of a recorded loss into those `given`, by node.

    These are compared to `rtol` of the largest element of each.
    """

    def __init__(self, walk: Backward, words: Words, given: Mapping[int, Any], rtol: float) -> None:
        self.walk, self.words, self.rtol = walk, words, max(rtol, CLOSE)
        right = {k: walk.cots.get(k, np.zeros(np.shape(m))) for k, m in given.items()}
        self.given = {k: np.asarray(m, np.float64) for k, m in given.items()}
        self.errors = {k: m - right[k] for k, m in self.given.items()}
        self.sizes = {k: max(size(m), size(right[k]), 1e-300) for k, m in self.given.items()}
        self.wrong = [k for k, e in self.errors.items() if size(e) > rtol * self.sizes[k]]
        self.reach = walk.behind(given)
        self.bits = sum(1 << b for b, k in enumerate(given) if k in self.wrong)
        self.idle = self._idle()

    def _idle(self) -> dict[Edge, Edit]:
        """Collect the edges where what flows cancels out: a maximum taken off before exp, say.

        Whoever derives a gradient by hand leaves them out, and they matter once there is a mistake.
        """
        found: dict[Edge, Edit] = {}
        for (k, j), c in self.walk.contributions.items():
            g = self.walk.cots[k]
            if isinstance(c, Outputs) or isinstance(g, Outputs) or np.size(c) >= np.size(g):
                continue
            if 0 < size(c) < 1e-12 * size(g) and self.reach[self.walk.edges[k][j]]:
                found[k, j] = lambda e, c, now: times(c, 0)
        return found

    def found(self, seconds: float) -> list[Mistake]:
        """Return the mistakes that fit, the most ordinary first."""
        until = time.monotonic() + seconds
        key = min(self.wrong, key=lambda k: len(self.walk.into(k)))
        short, whole = Changes(self.walk, [key]), Changes(self.walk, self.given)
        for idle in (self.idle, {}) if self.idle else ({},):  # perhaps they were derived, too
            for mistakes in self._parts():
                found, edits = list[Mistake](), [{**idle, **m.edits} for m in mistakes]
                for n, change in enumerate(short.of(key, edits)):
                    if self._fits(key, change) and self._explains(whole, edits[n]):
                        found.append(mistakes[n])
                    if time.monotonic() > until:
                        return found
                if found:
                    return found
        return []

    def _parts(self) -> Iterator[list[Mistake]]:
        """List the mistakes that touch all that is wrong, the ordinary first, by parts."""
        walk, words = self.walk, self.words
        every = [spot for spot in spots(walk, words) if not self.bits & ~self._touched(spot.tops)]
        touching = [*every, *groups(walk, every)]
        for number, rows in enumerate(KINDS):
            found = [m for spot in touching for m in spot.mistakes(walk, words, rows)]
            yield sorted(found, key=self._rank)
            if number == 0:
                some = [m for spot in touching for m in spot.at_some_steps(walk, words)]
                yield sorted(filter(self._may_be, some), key=self._rank)

    def _may_be(self, mistake: Mistake) -> bool:
        """Whether a mistake touches all that is wrong."""
        return not self.bits & ~self._touched(mistake.edits)

    def _touched(self, edges: Collection[Edge]) -> int:
        """Say which of the given gradients lie behind some edges, as bits."""
        bits = 0
        for k, j in edges:
            bits |= self.reach[self.walk.edges[k][j]]
        return bits

    def _rank(self, mistake: Mistake) -> tuple[Any, ...]:
        """Rank by row, and a missing term where it is used rather than where it ends up."""
        last = max(mistake.edits)[0]
        beyond = self._touched(mistake.edits) != self.bits
        return beyond, mistake.rank, last if mistake.kind == "missing term" else -last

    def _fits(self, k: int, change: Any) -> bool:
        return size(change - self.errors[k]) <= self.rtol * self.sizes[k]

    def _explains(self, changes: Changes, edits: Mapping[Edge, Edit]) -> bool:
        """Whether some edits give all the numbers."""
        with np.errstate(all="ignore"):
            delta, failed = changes([edits])
        return not failed and all(
            self._fits(k, delta[k][0] if k in delta else 0.0) for k in self.given
        )
