"""The search: which mistake in a backward pass gives these numbers?

Every mistake is tried by one altered walk. Those that reproduce all the given gradients to rounding
are listed, the most ordinary first. Where no single one does, pairs are tried, and then the nearest
is named. There are no templates of architectures: all is read off the graph.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import nsmallest
from itertools import chain, combinations, islice
from operator import itemgetter
from typing import Any

import numpy as np

from ..tape import Outputs
from .backward import Backward, Edge, Edit, times
from .blocks import assigned, exchanged, masked, misplaced, repeated, shifted
from .chains import chains, composed
from .forms import BASIS
from .gradients import crossed, gradients, mixed, overwritten, partial
from .leaves import returned, started
from .local import derivatives, fit, plain, scaled, switched
from .operands import aliased, factors, operands
from .pool import Pool
from .shapes import reductions, reordered, transposes
from .spans import accumulated, carried_on, kept, shortened, spans
from .spot import Mistake, Spot, groups, spots
from .walks import Change, Walks
from .words import Where, Words, factor

__all__ = ["Explanation", "Explanations", "explain"]

Array = np.ndarray[Any, np.dtype[Any]]
Found = tuple[Mistake, float]
MARGIN = 0.2
"""How much more far-fetched than the first explanation another may be, to be tried as well."""
KEPT = 300
"""How many mistakes that come near are tried in pairs."""


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


class Search:
    """The mistakes that may have been made, and the numbers they are held to.

    `given` are the manual gradients by node. They are compared as one long vector, each in units of
    its largest element; `target` is what has to be explained.
    """

    def __init__(
        self, walk: Backward, words: Words, given: Mapping[int, Array], rtol: float
    ) -> None:
        self.walk, self.words, self.rtol = walk, words, rtol
        self.manual = {k: np.asarray(m, np.float64) for k, m in given.items()}
        right = {k: walk.cots.get(k, np.zeros(np.shape(m))) for k, m in given.items()}
        self.errors = {k: np.asarray(m, np.float64) - right[k] for k, m in given.items()}
        self.scales = {k: max(_size(m), _size(right[k]), 1e-300) for k, m in given.items()}
        self.target = self._target(given)
        self.reach = walk.behind(given)
        self.walks = self.short = Walks(walk, given)
        self.wrong = 0
        for bit, (k, error) in enumerate(self.errors.items()):
            self.wrong |= (_size(error) > rtol * self.scales[k]) << bit
            if self.wrong >> bit & 1:  # to the one that is soonest walked to all walks go first
                self.short = min(self.short, Walks(walk, [k]), key=lambda w: w.length)
        self.idle = self._idle()

    def vectors(self, changes: Mapping[int, Any], keys: Iterable[int], n: int = 1) -> Array:
        """Put n changes of some of the given gradients in rows, in units of their scales."""
        shapes = {k: (n, *self.errors[k].shape) for k in keys}
        parts = [
            np.broadcast_to(changes.get(k, 0.0) / self.scales[k], shape).reshape(n, -1)
            for k, shape in shapes.items()
        ]
        return np.concatenate(parts, 1) if parts else np.zeros((n, 0))

    def _idle(self) -> dict[Edge, Edit]:
        """Collect the edges where what flows cancels out: a maximum taken off before exp, say.

        Whoever derives a gradient by hand leaves them out, and they matter once there is a mistake.
        """
        found: dict[Edge, Edit] = {}
        for (k, j), c in self.walk.contributions.items():
            g = self.walk.cots[k]
            if isinstance(c, Outputs) or isinstance(g, Outputs) or np.size(c) >= np.size(g):
                continue
            if 0 < _size(c) < 1e-12 * _size(g) and self.reach[self.walk.edges[k][j]]:
                found[k, j] = lambda e, g, c, now: times(c, 0)
        return found

    def changes(self, changes: Sequence[Change], walks: Walks | None = None) -> Array:
        """Give the changes of the given gradients in rows, or of those that other walks go to.

        The row is nan where shapes do not go together: nobody can have made this mistake.
        """
        walks = walks or self.walks
        with np.errstate(all="ignore"):
            delta, failed = walks([({**self.idle, **edits}, moves) for edits, moves in changes])
            rows = self.vectors(delta, walks.given, len(changes))
        rows[failed] = math.nan
        return rows

    def tried(
        self, mistakes: Iterable[Mistake], walks: Walks | None = None
    ) -> Iterator[tuple[Mistake, float, Array]]:
        """Try mistakes: how much of the error is left, inf if shapes do not fit, and the change."""
        rest, walks = iter(mistakes), walks or self.walks
        target = self._target(walks.given)
        while some := list(islice(rest, walks.at_once)):
            rows = self.changes([(m.edits, m.moves) for m in some], walks)
            for mistake, row in zip(some, rows, strict=True):
                if mistake.gives:
                    given = {k: (g - self.walk.cots[k])[None] for k, g in mistake.gives.items()}
                    row = self.vectors(given, walks.given)[0]
                yield mistake, _left(target, row), row

    def _target(self, keys: Iterable[int]) -> Array:
        (row,) = self.vectors({k: e[None] for k, e in self.errors.items()}, keys)
        return np.asarray(row)

    def errors_everywhere(self, mistake: Mistake) -> dict[int, float]:
        """Give the relative error that a mistake leads to, of the gradient of every node."""
        walks = Walks(self.walk, range(len(self.walk.nodes)))  # no jumps: every node is asked for
        with np.errstate(all="ignore"):
            delta, _ = walks([({**self.idle, **mistake.edits}, mistake.moves)])
        found = {}
        for k, g in self.walk.cots.items():
            if not isinstance(g, Outputs):
                g = mistake.gives.get(k, g + delta[k][0] if k in delta else g)
                size = max(_size(g), _size(self.walk.cots[k]))
                found[k] = _size(g - self.walk.cots[k]) / size if size else 0.0
        return found

    def fits(self, left: float) -> bool:
        """Whether so little is left that the numbers are reproduced, not only approached."""
        return left <= min(self.rtol, 1e-3 * float(abs(self.target).max()))

    def behind(self, mistake: Mistake) -> int:
        """Say which of the given gradients a mistake touches, as bits."""
        bits = 0
        for k, j in mistake.edits:
            bits |= self.reach[self.walk.edges[k][j]]
        for k in (*mistake.moves.values(), *mistake.gives):
            bits |= self.reach[k]
        return bits

    # ---- what is tried ---------------------------------------------------------------------------

    def mistakes(self) -> list[Mistake]:
        """List the mistakes that may explain the numbers, the ordinary first.

        It has to touch every wrong gradient or, as one of two, some of these and no right one.
        """
        walk, words = self.walk, self.words
        every, pool = spots(walk, words), Pool(walk, words)
        found: list[Mistake] = []

        def add(these: Iterable[Mistake]) -> None:
            found.extend([m for m in these if self._may_explain(self.behind(m))])

        wrong = [k for bit, k in enumerate(self.errors) if self.wrong >> bit & 1]
        for spot in every:
            if not self._may_explain(self._bits(spot)):
                continue
            for make in (plain, scaled, derivatives, transposes, reductions, accumulated):
                add(make(spot))
            for make in (reordered, switched, masked):
                add(make(spot))
            add(misplaced(spot))
            for make in (repeated, shifted, gradients, partial):
                add(make(spot))
            add(operands(spot, pool))
            add(factors(spot, pool))
            add(self._fitted(spot))
            add(carried_on(spot, chain(plain(spot), scaled(spot), operands(spot, pool))))
        for group in groups(walk, words, every, set(wrong)):
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
        add(chains(walk, words))
        for _, top in composed(walk, words):
            if len(top) == 1:
                ((bottom, first),) = top.items()
                edge = bottom, next(iter(walk.edges[bottom]))
                add(self._combined(edge, first))
        add(exchanged(walk, words))
        add(assigned(walk, words))
        add(overwritten(walk, words))
        add(mixed(walk, words))
        add(crossed(walk, words))
        add(aliased(walk, words, pool))
        add(shortened(walk, words, set(wrong)))
        add(started(walk, words, self.manual))
        add(returned(walk, words, self.manual, wrong, self.rtol))
        return sorted(found, key=self.rank)

    def rank(self, mistake: Mistake) -> tuple[float, int]:
        """Rank by cost, and a missing term where it is used rather than where it ends up."""
        cost = mistake.cost + 0.7 * (self.behind(mistake) != self.wrong)
        last = max([k for k, _ in mistake.edits], default=0)
        return cost, last if mistake.kind == "missing term" else -last

    def _may_explain(self, bits: int) -> bool:
        return not self.wrong & ~bits or (bits != 0 and not bits & ~self.wrong)

    def _bits(self, spot: Spot) -> int:
        bits = 0
        for k, j in spot.edges:
            bits |= self.reach[self.walk.edges[k][j]]
        return bits

    def _fitted(self, spot: Spot) -> Iterator[Mistake]:
        """Find the factor, or the wrong derivative of a few functions, that the numbers ask for.

        This works where the gradients depend on it linearly, not where the spot is in a loop.
        """
        if len(spot.edges) > 1:
            return
        k, j = spot.edges[0]
        idle, missing = self.changes([({}, {}), ({(k, j): lambda e, g, c, now: times(c, 0)}, {})])
        drop = idle - missing
        if drop @ drop and np.count_nonzero(drop) > 2:
            factor = 1 + float((self.target - idle) @ drop / (drop @ drop))
            q = next((q for q in range(1, 500) if abs(factor * q - round(factor * q)) < 1e-7), 0)
            if q and factor and (q, round(factor)) not in ((1, -1), (1, 0), (1, 1), (1, 2)):
                p = round(factor * q)
                yield spot.mistake(
                    "factor", 1.3, lambda e, g, c, now: times(c, p / q),
                    "{passes} has a factor {factor} too much",
                    factor=f"{p}/{q}" if q > 1 else f"{p}",
                )  # fmt: skip
        if spot.unary and spot.family == "elementwise" and not spot.inside:
            yield from self._combined((k, j), k)

    def _combined(self, edge: Edge, top: int) -> Iterator[Mistake]:
        """Make a wrong derivative of the output z of node `top` by the input x of an edge."""
        walk, words = self.walk, self.words
        z, x = walk.z[top], walk.xs[edge[0]][edge[1]]
        with np.errstate(all="ignore"):
            values = [form(z, x) for _, form in BASIS]
        kept = [i for i, v in enumerate(values) if np.isfinite(v).all()]
        edits: list[dict[Edge, Edit]] = [
            {edge: lambda e, g, c, now, v=values[i]: c + fit(now(top) * v, c)}  # type: ignore[misc]
            for i in kept
        ]
        edits += [{edge: lambda e, g, c, now: times(c, 0)}, {}]
        *columns, missing, idle = self.changes([(e, {}) for e in edits])
        wanted, table = self.target - missing, np.array(columns) - idle
        for chosen in chain(((a,) for a in range(len(kept))), combinations(range(len(kept)), 2)):
            some = table[list(chosen)]
            if not some.any(axis=1).all():
                continue
            weights, *_ = np.linalg.lstsq(some.T, wanted, rcond=None)
            simple = [round(4 * w) / 4 for w in weights]
            if not all(simple) or max(map(abs, simple)) > 8:
                continue
            if not self.fits(float(abs(wanted - np.array(simple) @ some).max())):
                continue
            terms = [(w, *BASIS[kept[a]]) for w, a in zip(simple, chosen, strict=True)]

            def edit(e: Edge, g: Any, c: Any, now: Any, terms: Any = terms) -> Any:
                return fit(now(top) * sum(w * form(z, x) for w, _, form in terms), c)

            def says(terms: Any = terms) -> str:
                text = " + ".join([_term(w, form) for w, form, _ in terms]).replace("+ -", "- ")
                names = {"z": factor(words.short(top)), "x": factor(words.input(*edge))}
                right = f"; {words.right(*edge)}" if top == edge[0] else ""
                return (
                    f"the derivative of {words.value(top)} by {words.marked(*edge)} is taken as "
                    f"`{text.format(**names)}`{right}"
                )

            cost = 1.1 + 0.15 * len(terms)
            yield Mistake("wrong derivative", cost, {edge: edit}, says, at=top)


def _term(weight: float, form: str) -> str:
    number = f"{weight:g}"
    if not form or form.startswith("/"):
        return f"{number} {form}".strip()
    return {"1": form, "-1": f"-{form}"}.get(number, f"{number} * {form}")


def explain(search: Search, seconds: float) -> Explanations:
    """Search for the mistake that turns the automatic gradients into the manual ones."""
    if not search.wrong:
        return Explanations()
    found, others = _fitting(search, seconds)
    if not found and search.idle:  # perhaps they have been derived, like all the rest
        search.idle, left_out = {}, search.idle
        found, _ = _fitting(search, seconds)
        search.idle = search.idle if found else left_out
    if found:
        return Explanations([_explanation(search, *f) for f in _different(found)])
    tries = search.tried([m for _, m in nsmallest(4 * KEPT, others, key=itemgetter(0))])
    sized = (
        (float(np.linalg.norm(search.target - change)), mistake, change)
        for mistake, left, change in tries
        if math.isfinite(left)
    )
    return _two(search, nsmallest(KEPT, sized, key=itemgetter(0)), time.monotonic() + seconds)


def _fitting(search: Search, seconds: float) -> tuple[list[Found], list[tuple[float, Mistake]]]:
    """Find what fits, best first; and else give what is left by all others, of one gradient."""
    found, others = list[Found](), list[tuple[float, Mistake]]()
    progress, limit = _Progress(seconds), math.inf
    mistakes = search.mistakes()
    for mistake, left, _ in search.tried(
        [m for m in mistakes if not search.wrong & ~search.behind(m)], search.short
    ):
        if progress.over() or search.rank(mistake)[0] > limit:
            break
        if search.fits(left):
            ((_, left, _),) = search.tried([mistake])
        if search.fits(left):
            found.append((mistake, left))
            limit = min(limit, search.rank(mistake)[0] + MARGIN)
        others.append((left, mistake))
    progress.done()
    others += [(0.0, m) for m in mistakes if search.wrong & ~search.behind(m)]
    return sorted(found, key=lambda f: search.rank(f[0])), others


def _two(search: Search, near: list[tuple[float, Mistake, Array]], until: float) -> Explanations:
    """Try two mistakes together, and else say which single one comes nearest."""
    if not near:
        nothing = "no single mistake that is known here touches all the wrong gradients"
        return Explanations([Explanation(nothing, "nearest", Where("", -1, "", "", ""), None, 1.0)])
    changes = np.array([change for _, _, change in near])
    gram, dots = changes @ changes.T, changes @ search.target
    norms = gram.diagonal() - 2 * dots
    left = search.target @ search.target + norms[:, None] + norms + 2 * gram
    left[np.tril_indices(len(near))] = math.inf
    pairs = list[tuple[float, Explanation]]()
    for flat in np.argsort(left, axis=None, kind="stable")[:60]:
        (_, a, _), (_, b, _) = (near[int(i)] for i in np.unravel_index(flat, left.shape))
        if time.monotonic() > until or a.edits.keys() & b.edits.keys():
            continue
        if a.moves or b.moves or a.gives or b.gives:
            continue
        rest = _left(search.target, search.changes([({**a.edits, **b.edits}, {})])[0])
        if search.fits(rest):
            both = replace(
                _explanation(search, a, rest),
                sentence=f"Two mistakes together: {a.says()}; and {b.says()}.",
                kind=f"{a.kind} + {b.kind}",
            )
            pairs.append((search.rank(a)[0] + search.rank(b)[0], both))
    if pairs:
        return Explanations([min(pairs, key=itemgetter(0))[1]])
    size, mistake, change = near[0]
    share = min(max(0.0, 1 - size / float(np.linalg.norm(search.target))), 0.99)
    explanation = _explanation(search, mistake, _left(search.target, change))
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


def _explanation(search: Search, mistake: Mistake, left: float) -> Explanation:
    at = mistake.at if mistake.at is not None else max(k for k, _ in mistake.edits)
    where = search.words.where(at, not search.words.everywhere([k for k, _ in mistake.edits]))
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


def _left(target: Array, change: Array) -> float:
    """Say how much of the error is left, at most."""
    left = float(np.max(abs(target - change), initial=0.0))
    return left if math.isfinite(left) else math.inf


def _size(x: Any) -> float:
    return float(np.max(abs(np.asarray(x)), initial=0.0))
