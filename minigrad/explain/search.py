"""The search: which mistake in a backward pass gives these numbers?

Every mistake is tried by one altered walk. Those that reproduce all the given gradients to rounding
are listed, the most ordinary first. Where no single one does, pairs are tried, and then the nearest
is named. There are no templates of architectures: all is read off the graph.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from heapq import nsmallest
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np

from .blocks import assigned, exchanged, masked, misplaced, repeated, shifted
from .calls import in_every_call
from .chains import chains, composed
from .fitted import combined, fitted
from .gradients import crossed, gradients, mixed, overwritten, partial
from .leaves import returned, started
from .local import derivatives, plain, scaled, switched
from .operands import aliased, factors, operands
from .pool import Pool
from .shapes import reductions, reordered, transposes
from .spans import accumulated, carried_on, exchanged_steps, kept, shortened, spans
from .spot import Mistake, groups, spots
from .trial import Array, Trial, left_of
from .words import Where

__all__ = ["Explanation", "Explanations", "explain"]

Found = tuple[Mistake, float]
MARGIN = 0.2
"""How much more far-fetched than the first explanation another may be, to be tried as well."""
KEPT = 300
"""How many mistakes that come near are tried in pairs."""


AT_A_SPOT = (
    plain, scaled, derivatives, transposes, reductions, accumulated, reordered, switched, masked,
    misplaced, repeated, shifted, gradients, partial, exchanged_steps,
)  # fmt: skip
"""What is tried at every spot, with nothing but the spot."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A mistake that would give the manual gradients.

    `kind` is one of "missing term", "derivative left out", "wrong derivative", "wrong step",
    "sign", "factor", "swapped operand", "transpose", "permuted", "broadcast", "truncated",
    "not accumulated", "counted twice", "initial state", "overwritten"; two of them with a "+" for
    two mistakes; "nearest" for one that does not reproduce the numbers. `steps` are the time steps
    it is made at, None for all. `residual` is the largest difference that is left, in units of the
    largest element of its entry.
    """

    sentence: str
    kind: str
    where: Where
    steps: tuple[int, ...] | None
    residual: float
    mistake: Mistake | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return self.sentence


class Explanations(list[Explanation]):
    """Explanations, best first. The others give the same numbers: nothing tells them apart.

    Printed, their sentences.
    """

    SHOWN = 5

    def __str__(self) -> str:
        if not self:
            return "nothing to explain: all gradients agree"
        first, *others = self
        lines = [first.sentence]
        if others:
            lines.append("These would give the same numbers, and nothing here tells them apart:")
            lines += [f"  - {other.sentence}" for other in others[: self.SHOWN]]
        if len(others) > self.SHOWN:
            lines.append(f"  - and {len(others) - self.SHOWN} more")
        return "\n".join(lines)


def mistakes(trial: Trial) -> list[Mistake]:
    """List the mistakes that may explain the numbers, the ordinary first.

    It has to touch every wrong gradient or, as one of two, some of these and no right one.
    """
    walk, words = trial.walk, trial.words
    every, pool = spots(walk, words), Pool(walk, words)
    found: list[Mistake] = []

    def add(these: Iterable[Mistake]) -> None:
        found.extend([m for m in these if trial.may_explain(trial.behind(m))])

    for spot in every:
        if not trial.may_explain(trial.reached(spot.edges)):
            continue
        for make in AT_A_SPOT:
            add(make(spot))
        add(operands(spot, pool))
        add(factors(spot, pool))
        add(fitted(trial, spot))
        add(carried_on(spot, chain(plain(spot), scaled(spot), operands(spot, pool))))
    for group in groups(walk, words, every, set(trial.wrong_nodes)):
        add(plain(group))
        add(scaled(group))
        if group.kind in ("siblings", "calls"):
            for make in (derivatives, transposes, reductions, gradients):
                add(make(group))
            add(operands(group, pool))
        else:
            add(accumulated(group))
            add(kept(group, group.spots))
        if group.kind != "siblings":
            add(factors(group, pool))
        every.append(group)
    for spot in every:
        for mistake in plain(spot):
            add(spans(spot, mistake))
    for _, top in composed(walk, words):
        if len(top) == 1:
            ((bottom, first),) = top.items()
            add(combined(trial, (bottom, next(iter(walk.edges[bottom]))), first))
    for of_all in (chains, exchanged, assigned, overwritten, mixed, crossed):
        add(of_all(walk, words))
    add(aliased(walk, words, pool))
    add(shortened(walk, words, set(trial.wrong_nodes)))
    add(started(walk, words, trial.manual))
    add(returned(walk, words, trial.manual, trial.wrong_nodes, trial.rtol))
    add(in_every_call(walk, words, found))
    return sorted(found, key=trial.rank)


def explain(trial: Trial, seconds: float) -> Explanations:
    """Search for the mistake that turns the automatic gradients into the manual ones."""
    if not trial.wrong:
        return Explanations()
    found, others = _fitting(trial, seconds)
    if not found and trial.idle:  # perhaps they have been derived, like all the rest
        trial.idle, left_out = {}, trial.idle
        found, _ = _fitting(trial, seconds)
        trial.idle = trial.idle if found else left_out
    if found:
        return Explanations([_explanation(trial, *f) for f in _different(found)])
    tries = trial.tried([m for _, m in nsmallest(4 * KEPT, others, key=itemgetter(0))])
    sized = (
        (float(np.linalg.norm(trial.target - change)), mistake, change)
        for mistake, left, change in tries
        if math.isfinite(left)
    )
    return _two(trial, nsmallest(KEPT, sized, key=itemgetter(0)), time.monotonic() + seconds)


def _fitting(trial: Trial, seconds: float) -> tuple[list[Found], list[tuple[float, Mistake]]]:
    """Find what fits, best first; and else give what is left by all others, of one gradient."""
    found, others = list[Found](), list[tuple[float, Mistake]]()
    progress, limit = _Progress(seconds), math.inf
    every = mistakes(trial)
    for mistake, left, _ in trial.tried(
        [m for m in every if not trial.wrong & ~trial.behind(m)], trial.short
    ):
        if progress.over() or trial.rank(mistake)[0] > limit:
            break
        if trial.fits(left):
            ((_, left, _),) = trial.tried([mistake])
        if trial.fits(left):
            found.append((mistake, left))
            limit = min(limit, trial.rank(mistake)[0] + MARGIN)
        others.append((left, mistake))
    progress.done()
    others += [(0.0, m) for m in every if trial.wrong & ~trial.behind(m)]
    return sorted(found, key=lambda f: trial.rank(f[0])), others


def _two(trial: Trial, near: list[tuple[float, Mistake, Array]], until: float) -> Explanations:
    """Try two mistakes together, and else say which single one comes nearest."""
    if not near:
        nothing = "no single mistake that is known here touches all the wrong gradients"
        return Explanations([Explanation(nothing, "nearest", Where("", -1, "", "", ""), None, 1.0)])
    changes = np.array([change for _, _, change in near])
    gram, dots = changes @ changes.T, changes @ trial.target
    norms = gram.diagonal() - 2 * dots
    left = trial.target @ trial.target + norms[:, None] + norms + 2 * gram
    left[np.tril_indices(len(near))] = math.inf
    pairs = list[tuple[float, Explanation]]()
    for flat in np.argsort(left, axis=None, kind="stable")[:60]:
        (_, a, _), (_, b, _) = (near[int(i)] for i in np.unravel_index(flat, left.shape))
        if time.monotonic() > until or a.edits.keys() & b.edits.keys():
            continue
        if a.moves or b.moves or a.gives or b.gives:
            continue
        rest = left_of(trial.target, trial.changes([({**a.edits, **b.edits}, {})])[0])
        if trial.fits(rest):
            both = replace(
                _explanation(trial, a, rest),
                sentence=f"Two mistakes together: {a.says()}; and {b.says()}.",
                kind=f"{a.kind} + {b.kind}",
            )
            pairs.append((trial.rank(a)[0] + trial.rank(b)[0], both))
    if pairs:
        return Explanations([min(pairs, key=itemgetter(0))[1]])
    size, mistake, change = near[0]
    share = min(max(0.0, 1 - size / float(np.linalg.norm(trial.target))), 0.99)
    explanation = _explanation(trial, mistake, left_of(trial.target, change))
    said = explanation.sentence[0].lower() + explanation.sentence[1:]
    sentence = (
        "No single mistake known here gives these numbers, nor do two; the nearest explains "
        f"{share:.0%} of the error: {said}"
    )
    return Explanations([replace(explanation, kind="nearest", sentence=sentence)])


def _different(found: list[Found]) -> list[Found]:
    """Keep one of those that edit the same edges, to the same numbers."""
    kept: dict[Any, Found] = {}
    for mistake, left in found:
        key = mistake.kind, frozenset(mistake.edits), frozenset(mistake.gives)
        kept.setdefault(key, (mistake, left))
    return list(kept.values())


def _explanation(trial: Trial, mistake: Mistake, left: float) -> Explanation:
    at = mistake.at if mistake.at is not None else max(k for k, _ in mistake.edits)
    where = trial.words.where(at, not trial.words.in_every_call([k for k, _ in mistake.edits]))
    says = mistake.says()
    sentence = says[0].upper() + says[1:] + (f" [{where}]." if str(where) else ".")
    return Explanation(sentence, mistake.kind, where, mistake.steps, left, mistake)


class _Progress:
    """A limit of time, and a word on the terminal when a search takes longer than two seconds."""

    def __init__(self, seconds: float) -> None:
        self.start, self.seconds, self.tried, self.shown = time.monotonic(), seconds, 0, False

    def over(self) -> bool:
        self.tried += 1
        spent = time.monotonic() - self.start
        if spent > 2 and self.tried % 50 == 0 and sys.stderr.isatty():
            sys.stderr.write(f"\r{self.tried} mistakes tried, {spent:.0f} s of {self.seconds:.0f}")
            sys.stderr.flush()
            self.shown = True
        return spent > self.seconds

    def done(self) -> None:
        if self.shown:
            sys.stderr.write("\r" + " " * 60 + "\r")
