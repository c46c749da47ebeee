"""A row of the table at some terms: at all steps of a loop or at one, or at some of them only."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.tape import Outputs
from .backward import Backward, Edge
from .changes import Edit
from .kinds import KINDS, Row, sentence
from .term import Term, chains
from .words import Words

__all__ = ["Mistake", "Spot", "groups", "parts", "spots"]


class Mistake(NamedTuple):
    """Some edits of a backward pass, the kind, what is said of them, one of the terms, the row."""

    kind: str
    edits: Mapping[Edge, Edit]
    says: Callable[[], str]
    term: Term
    row: Any
    rank: tuple[int, int] = (0, 0)


class Spot(NamedTuple):
    """Terms that one expression makes, at all steps or at one: the edge and the node of each."""

    tops: Mapping[Edge, int]
    distance: int = 0
    wrong: Any = None

    def inside(self, words: Words) -> bool:
        """Whether these are parts of what is one thought, where people make fewer mistakes."""
        edge = max(self.tops)
        return self.tops[edge] == edge[0] and edge[0] in words.interior

    def mistakes(self, walk: Backward, words: Words, rows: Sequence[Row]) -> Iterator[Mistake]:
        """List the mistakes of some rows, made at all of these terms."""
        edge = max(self.tops)
        t = Term(walk, words, edge, self.tops[edge], wrong=self.wrong)
        for number, row in enumerate(rows):
            if t.top != t.k and not row.chains:
                continue
            for option, it in row.options(t):

                def edit(e: Edge, c: Any, now: Any, row: Row = row, o: Any = option) -> Any:
                    return row.written(Term(walk, words, e, self.tops[e], c, now), o)

                yield Mistake(
                    row.kind, dict.fromkeys(self.tops, edit),
                    lambda row=row, it=it: sentence(row.says, t, it),  # type: ignore[misc]
                    t, row, (self.distance, number),
                )  # fmt: skip

    def at_some_steps(self, walk: Backward, words: Words) -> Iterator[Mistake]:
        """List the plain mistakes, made at some of the steps only."""
        one = len({k for k, _ in self.tops}) == 1  # whose inputs are the steps
        steps = {(k, j): j if one else walk.step(k) for k, j in self.tops}
        every = sorted(set(steps.values()))
        carried = any(walk.carries(*e) for e in self.tops)
        start = walk.edges[min(self.tops)[0]][min(self.tops)[1]]
        same = len({walk.edges[k][j] for k, j in self.tops}) * len(every) == len(self.tops)
        for mistake in self.mistakes(walk, words, PLAIN) if len(every) > 1 else ():
            missing = mistake.kind == "missing term"
            for when, some in _spans(every, carried and missing):
                first = some == every[:1] and walk.initial(start)
                kind = mistake.kind
                if missing and same and len(some) == len(every) - 1:
                    kind, when = "not accumulated", f"{when} (= where += belongs)"
                elif carried and first and kind != "sign":
                    kind, when = "initial state", f"{when}, of {words.value(start)}"
                elif carried and missing and len(some) < len(every) - 1:
                    kind, when = "truncated", f"the gradient is cut {when}"
                edits = {e: edit for e, edit in mistake.edits.items() if steps[e] in some}
                says = lambda when=when, mistake=mistake: f"{when}: {mistake.says()}"
                yield mistake._replace(kind=kind, says=says, edits=edits)


PLAIN = [row for part in KINDS[:2] for row in part if row.plain]
"""The rows that may hold at some steps only."""


def _spans(steps: list[int], cut: bool) -> Iterator[tuple[str, list[int]]]:
    """List the steps that a mistake may be made at, with words for them; more for a `cut`."""
    yield "at the first step only", steps[:1]
    yield "at the last step only", steps[-1:]
    if len(steps) > 2:
        yield "at every step but the first", steps[1:]
        yield "at every step but the last", steps[:-1]
    for t in steps[1:-1] if cut and len(steps) > 3 else ():
        yield f"at step {t} only", [t]
        yield f"at the steps up to {t}", [s for s in steps if s <= t]
        yield f"at the steps from {t} on", [s for s in steps if s >= t]
    for n in range(2, len(steps) // 2 + 2) if cut and len(steps) > 3 else ():
        for start in range(n):
            yield f"at step {', '.join(map(str, steps[start::n]))}", steps[start::n]


def spots(walk: Backward, words: Words) -> Iterator[Spot]:
    """List the terms of a backward pass: of one input of what one expression makes."""
    for site in walk.sites:
        k = site.members[-1]
        inputs = sorted({j for m in site.members for j in walk.edges[m]})
        if len(site.members) == 1 and len(inputs) > 2 and callable(walk.nodes[k].primitive.pulls):
            columns = [[(k, j) for j in inputs]]  # what joins all steps
        else:
            columns = [[(m, j) for m in site.members] for j in inputs]
        for edges in columns:
            tops = {(m, j): m for m, j in edges if _flows(walk.contributions.get((m, j), 0))}
            if tops:
                yield Spot(tops)
            if any(walk.carries(*e) for e in tops) and len(tops) > 1:
                yield Spot(dict(list(tops.items())[1:]))  # but not to the initial state
    for tops in chains(walk, words):
        yield Spot(tops)


def groups(walk: Backward, some: Sequence[Spot]) -> Iterator[Spot]:
    """Put together what people write as one: the same for every gate, all that carries a state."""
    sets: dict[Any, list[Spot]] = defaultdict(list)
    for spot in some:
        k, j = max(spot.tops)
        s, c = walk.edges[k][j], walk.contributions[k, j]
        if spot.tops[k, j] == k and not isinstance(c, Outputs):
            op, leaf = walk.site_of[k].op, s in walk.leaves
            sets[op, j, np.shape(c), np.shape(walk.cots[k]), leaf, len(spot.tops)].append(spot)
            while s in walk.site_of and walk.site_of[s].op == "getitem" and walk.edges[s]:
                (s,) = walk.edges[s].values()
            sets[op, j, np.shape(c), walk.site_of.get(s, s), len(spot.tops)].append(spot)
            if any(walk.carries(*e) for e in spot.tops):
                sets[walk.site_of.get(s)].append(spot)
    for these in sets.values():
        if 1 < len(these) <= 12:
            yield Spot({e: k for spot in these for e, k in spot.tops.items()})


def parts(
    walk: Backward, words: Words, some: Sequence[Spot], until: float = math.inf
) -> Iterator[list[Mistake]]:
    """List the mistakes at some terms, the ordinary first, and last those inside of one thought.

    The list ends where it is too late, in the time that `time.monotonic` measures.
    """
    for inside in (False, True):
        these = [spot for spot in some if spot.inside(words) == inside]
        for number, rows in enumerate(KINDS):
            yield list(_in_time(until, (spot.mistakes(walk, words, rows) for spot in these)))
            if number == 0:
                yield list(_in_time(until, (spot.at_some_steps(walk, words) for spot in these)))


def _in_time(until: float, several: Iterable[Iterable[Mistake]]) -> Iterator[Mistake]:
    for mistakes in several:
        if time.monotonic() > until:
            return
        yield from mistakes


def _flows(c: Any) -> bool:
    return any(np.any(part) for part in (c if isinstance(c, tuple) else (c,)))
