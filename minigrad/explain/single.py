"""The small search: which single mistake gives these numbers?

Where only the final gradients are known, every row of the table of kinds is tried at every term, at
all steps together or at some, by a walk of what it changes. There are no templates of
architectures: all is read off the graph.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..core.tape import Outputs
from .backward import Backward, Edge, times
from .changes import CLOSE, Changes, Edit, size
from .explanation import Explanation, Explanations
from .recognised import recognised
from .spots import Mistake, groups, parts, spots
from .words import Words

__all__ = ["Search", "errors_of", "searched", "told"]


@np.errstate(all="ignore")
def searched(
    walk: Backward, words: Words, given: Mapping[int, Any], rtol: float, seconds: float
) -> Explanations:
    """Return what is wrong with the gradients given by node, the most ordinary first.

    Where no single mistake gives all of them, each is explained for itself, if it can be.
    """
    search, until = Search(walk, words, given, rtol), time.monotonic() + seconds
    if not search.wrong:
        return Explanations()
    if found := search.found(0.75 * seconds):
        different: dict[Any, Mistake] = {}
        for mistake in found:
            different.setdefault((mistake.kind, frozenset(mistake.edits)), mistake)
        return Explanations([_explanation(walk, words, m) for m in different.values()])
    alone = Explanations()
    for k in search.wrong:
        if said := recognised(walk, words, k, given[k], until):
            alone.append(told(words, max(walk.uses[k], default=k), *said))
    if alone:
        return alone
    text, near = "no single mistake that is known here gives these numbers", search.nearest
    if near is None:
        return Explanations([Explanation("", 0, "", "nearest", text[0].upper() + text[1:] + ".")])
    text = f"{text}; the nearest: {near.says()}"
    return Explanations([told(words, near.term.top, "nearest", text)])


def _explanation(walk: Backward, words: Words, m: Mistake) -> Explanation:
    """Return the explanation that is a mistake: with the errors that it leads to everywhere."""
    called = not words.in_every_call([k for k, _ in m.edits])
    said = told(words, m.term.top, m.kind, m.says(), called)
    return replace(said, expected=m.term.right.removeprefix("right is "), edits=m.edits)


def told(words: Words, k: int, kind: str, text: str, called: bool = True) -> Explanation:
    """Return an explanation whose place is where a node was made, or the call of that function."""
    place = words.place(k, called)
    at = (place.file, place.line, place.statement) if place else ("", 0, "")
    return Explanation(*at, kind, text[0].upper() + text[1:] + ".", node=k)


@np.errstate(all="ignore")
def errors_of(walk: Backward, edits: Mapping[Edge, Edit]) -> dict[int, float]:
    """Return the relative error that edits lead to, of the gradient of every node."""
    delta, _ = Changes(walk, range(len(walk.nodes)))([edits])
    found = {}
    for k, right in walk.cots.items():
        if not isinstance(right, Outputs):
            change = delta[k][0] if k in delta else 0 * right
            most = max(size(right), size(right + change))
            found[k] = size(change) / most if most else 0.0
    return found


class Search:
    """The single mistakes that turn the gradients of a recorded loss into those `given`, by node.

    These are compared to `rtol` of the largest element of each.
    """

    @np.errstate(all="ignore")
    def __init__(self, walk: Backward, words: Words, given: Mapping[int, Any], rtol: float) -> None:
        self.walk, self.words, self.rtol = walk, words, max(rtol, CLOSE)
        right = {k: walk.cots.get(k, np.zeros(np.shape(m))) for k, m in given.items()}
        self.given = {k: np.asarray(m, np.float64) for k, m in given.items()}
        self.errors = {k: m - right[k] for k, m in self.given.items()}
        self.sizes = {k: max(size(m), size(right[k]), 1e-300) for k, m in self.given.items()}
        self.wrong = [k for k, e in self.errors.items() if size(e) > rtol * self.sizes[k]]
        self.reach = walk.behind(given)
        self.bits = sum(1 << b for b, k in enumerate(given) if k in self.wrong)
        self.ratio = self._ratio()
        self.idle = self._idle()
        self.nearest: Mistake | None = None

    def _ratio(self) -> float:
        """Return the factor that all wrong gradients have, or 1."""
        if not self.wrong:
            return 1.0
        right = np.concatenate([np.ravel(self.given[k] - self.errors[k]) for k in self.wrong])
        wrong = np.concatenate([np.ravel(self.given[k]) for k in self.wrong])
        ratio = float(np.vdot(right, wrong) / (np.vdot(right, right) or 1.0))
        return ratio if size(wrong - ratio * right) <= self.rtol * size(wrong) else 1.0

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

    @np.errstate(all="ignore")
    def found(self, seconds: float) -> list[Mistake]:
        """Return the mistakes that fit, the most ordinary first."""
        until = time.monotonic() + seconds
        key = min(self.wrong, key=lambda k: len(self.walk.into(k)))
        short = Changes(self.walk, [key], until=until)
        whole = Changes(self.walk, self.given, until=until)
        error, least = self.errors[key], float(np.linalg.norm(self.errors[key]))
        for idle in (self.idle, {}) if self.idle else ({},):  # perhaps they were derived, too
            for mistakes in self._parts(until):
                found, edits = list[Mistake](), [{**idle, **m.edits} for m in mistakes]
                for mistake, one, change in zip(mistakes, edits, short.of(key, edits), strict=True):
                    if self._fits(key, change) and self._explains(whole, one):
                        found.append(mistake)
                    elif (left := float(np.linalg.norm(error - change))) < least:
                        self.nearest, least = mistake, left
                    if time.monotonic() > until:
                        return found
                if found:
                    return found
        return []

    def _parts(self, until: float) -> Iterator[list[Mistake]]:
        """List the mistakes that touch all that is wrong, the ordinary first, by parts."""
        every = list(spots(self.walk, self.words))
        some = [
            spot._replace(wrong=times(self.walk.contributions[max(spot.tops)], self.ratio))
            for spot in [*every, *groups(self.walk, every)]
            if not self.bits & ~self._touched(spot.tops)
        ]
        for mistakes in parts(self.walk, self.words, some, until):
            fitting = [m for m in mistakes if not self.bits & ~self._touched(m.edits)]
            yield sorted(fitting, key=self._rank)

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
        delta, failed = changes([edits])
        return not failed and all(
            self._fits(k, delta[k][0] if k in delta else 0.0) for k in self.given
        )
