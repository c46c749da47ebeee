"""Repairs that were tried: one expression of the user's replaced by what it should have given.

The backward pass runs again with a true quantity in the place of an expression, every time that it
is evaluated. What makes wrong gradients right and breaks none is the proof that the mistake is
there, or on the way from there to the results: of those that cure the most, the first to run is
taken, but for places that are right in their own role.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..instrument.expressions import Site, Statement
from ..instrument.recording import Edit, Sum
from .backward import Edge
from .blame import Labels, Suspect, differing
from .truth import Quantity, Truth, fitted, matched
from .words import Words

__all__ = ["Place", "Repair", "Repairs", "Series"]

SUSPECTS, LARGER = 8, 12
"""How many suspects are repaired, and how many larger expressions around each."""

NAMES = ("Name", "Subscript", "Attribute", "IfExp")
LITERALS = ("Tuple", "List", "Dict")

DEEP = 8
FAR = 5
"""From where on the tape is far: no farther is looked after something is found."""


class Place(NamedTuple):
    """An expression that may be replaced, and the statement that is blamed if that helps.

    `sum` is given where the right side of `a += b` is replaced such that a is what is given.
    `alias` says that the expression computes nothing: the statement gives a value another name.
    """

    site: Site
    statement: Statement
    values: list[tuple[int, int]]  # the event each time, and when it was
    sum: Sum | None = None
    alias: bool = False
    own: bool = False


class Series(NamedTuple):
    """What an expression may have to be, the times that it is evaluated; None: as it is."""

    kind: str
    quantities: list[Quantity | None]
    order: int = 0  # 1 if the first step is the first, -1 if it is the last


class Repair(NamedTuple):
    """What was put somewhere (a multiple of a series, or else the value divided by a factor)."""

    place: Place
    series: Series | None
    factor: float
    cured: frozenset[str]
    first: int  # the first time that it is another value
    fits: float  # how well the place and the quantity go together

    @property
    def event(self) -> int:
        """The event that is replaced first."""
        return self.place.values[self.first][0]

    @property
    def quantity(self) -> Quantity | None:
        """What it should have been."""
        return self.series.quantities[self.first] if self.series else None


class Repairs:
    """Tries repairs, for some seconds."""

    def __init__(
        self, labels: Labels, truth: Truth, words: Words, true: Mapping[str, Any], seconds: float
    ) -> None:
        self.labels, self.truth, self.words, self.true = labels, truth, words, true
        self.walk = truth.walk
        self.seconds = seconds
        self.tried, self.seen = 0, set[Any]()
        self.lengths: dict[int, list[Series]] = {}
        self.values: dict[Site, list[tuple[int, int]]] = defaultdict(list)
        for e in labels.events:
            for use in e.uses:
                self.values[use.site].append((e.number, use.at))
            if e.written:
                self.values[e.site].append((e.number, e.number))
        for some in self.values.values():
            some.sort(key=lambda pair: pair[1])
        self.orders = self._orders()

    def _orders(self) -> dict[Statement | None, int]:
        """Say of loops whether they go through the steps forward (1 and more) or backward."""
        found: dict[Statement | None, int] = defaultdict(int)
        for site, values in self.values.items():
            steps = [
                m.quantity.step for i, _ in values for m in self.labels.matches[i][:1]
                if m.factor == 1 and m.quantity.step is not None
            ]  # fmt: skip
            if len(steps) > 1:
                found[site.statement.within] += int(np.sign(np.diff(steps)).sum())
        return found

    def found(self, suspects: list[Suspect]) -> list[Repair]:
        """Return what makes wrong results right and breaks none, the best first."""
        found, best = list[Repair](), (0.0, np.inf)
        end = time.thread_time() + self.seconds
        for far, place, series, factor in self._attempts(suspects[:SUSPECTS]):
            if time.thread_time() > end or (best[0] and far > FAR):
                break
            edit, first = self._edit(place, series, factor)
            if edit is None:
                continue
            rank = -self._fits(place, series, factor, first), place.values[first][1]
            if rank >= best or not (cured := self._cured(place, edit)):
                continue
            if writer := self._lost(place, series, first):
                place = place._replace(statement=writer)
            found.append(Repair(place, series, factor, frozenset(cured), first, -rank[0]))
            if cured == self.labels.wrong and rank[0] < 0:
                best, end = rank, min(end, time.thread_time() + self.seconds / 5)
        return self._sorted(found)

    def _attempts(self, suspects: list[Suspect]) -> list[tuple[float, Place, Series | None, float]]:
        """List what may be put where, the nearest on the tape first."""
        found = list[tuple[float, Place, Series | None, float]]()
        factors = self._factors()
        for penalty, place in self._places(suspects):
            n, shape = len(place.values), self.labels.events[place.values[0][0]].value.shape
            if n == 1 or len(factors) == 1:
                found += [(penalty, place, None, c) for c in factors]
            away = self._away(place)
            bound = place.site.whole or place.site.name
            name = place.site.name or place.site.text
            forward = self.labels.forward[place.values[0][0]]
            order = self.orders[place.site.statement.within]
            for series in self._series(n):
                if series.order * order < 0:
                    continue
                q = next(q for q in series.quantities if q is not None)
                if fitted(q.value, shape) is None and not (n == 1 and bound):
                    continue
                of_values = series.kind in ("derivative", "value")
                if not forward if of_values else forward and not bound and n > 1:
                    continue
                some = [q for q in series.quantities[:2] + series.quantities[-2:] if q]
                near = (
                    1
                    if not away
                    else min(
                        min(away.get(k, FAR) for k in (q.k, *[e[0] for e in q.edges[:1]]))
                        for q in some
                    )
                )
                named = self._named(name, some[0])
                unnamed = 0.1 * (not self.words.short(some[0].k).isidentifier())
                found.append((penalty + near - named + unnamed, place, series, 1.0))
        return sorted(found, key=lambda attempt: attempt[0])

    def _sorted(self, found: list[Repair]) -> list[Repair]:
        def key(r: Repair) -> tuple[float, ...]:
            at = r.place.values[r.first][1]
            return -len(r.cured), -r.fits, at, r.series is None

        return sorted(found, key=key)

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

    # ---- how likely ------------------------------------------------------------------------------

    def _fits(self, place: Place, series: Series | None, factor: float, first: int) -> float:
        """Say how well a repair goes with what the place gives: below 0, it is right as it is."""
        labels, i, name = self.labels, place.values[first][0], place.site.name
        status, quantity = labels.status[i], series.quantities[first] if series else None
        if series is None and self._scales(i, factor):
            return 2
        if self._lost(place, series, first):
            return 1
        meant = self._meant(i, name)
        if place.alias:  # it hands on what it gets
            text = place.site.text
            same = text != name and _full(name) == _full(text)
            same = same or (name in self.true and name in _about(text))
            return 2 if status in ("right", "part", "neutral") and not (same or meant) else -1
        if status not in ("right", "so far"):
            return 1
        if quantity and (self._named(name, quantity) or self._other_step(i, quantity)):
            return 1
        if meant:
            return -1
        return 1 if place.own and not labels.served[i] else 0

    def _scales(self, i: int, factor: float) -> bool:
        """Whether an event is one of its inputs times a factor that is too much."""
        v = self.labels.events[i].value
        inputs = [self.labels.events[d].value for d in self.labels.events[i].deps]
        ratios = [m for x in inputs if x.shape == v.shape and x.any() and (m := matched(v, x))]
        return any(abs(ratio - factor) <= 1e-9 * abs(factor) for ratio, how in ratios if not how)

    def _named(self, name: str, quantity: Quantity) -> bool:
        """Whether a variable is named as a quantity: h, or dh for its gradient."""
        node = _full(self.words.short(quantity.k))
        if quantity.kind == "value":
            return node == _full(name)
        return node in _about(name) or (node == _full(name) and name in self.true)

    def _meant(self, i: int, name: str) -> bool:
        """Whether an event is what the name that it is bound to says."""
        return any(
            m.factor == 1 and m.quantity.kind in ("gradient", "value")
            and self._named(name, m.quantity)
            for m in self.labels.matches[i]
        )  # fmt: skip

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
        e = self.labels.events[place.values[first][0]]
        while not e.written and e.deps and e.site.kind in NAMES:
            e = self.labels.events[e.deps[0]]
        if not e.written or _holds(e.value, q.value):
            return None
        writer = e.site.statement
        while e.old is not None:
            e = self.labels.events[e.old]
            if _holds(e.value, q.value):
                return writer
        return None

    # ---- what is put there -----------------------------------------------------------------------

    def _edit(self, place: Place, series: Series | None, factor: float) -> tuple[Edit | None, int]:
        """Return the edit, None if it changes nothing, and the first time that it does."""
        if series is None:
            return lambda _, x: x / factor, 0
        events = [self.labels.events[i] for i, _ in place.values]
        given = [
            None if q is None else fitted(q.value, e.value.shape)
            for q, e in zip(series.quantities, events, strict=True)
        ]
        if len(given) == 1 and given[0] is None and series.quantities[0] is not None:
            given = [series.quantities[0].value]  # in the shape that it should have
        if any(x is None and q is not None for x, q in zip(given, series.quantities, strict=True)):
            return None, 0
        changed = [
            n for n, (x, e) in enumerate(zip(given, events, strict=True))
            if x is not None and not _close(x, e.value)
        ]  # fmt: skip
        key = place.site, place.sum, tuple(None if x is None else x.tobytes() for x in given)
        if not changed or key in self.seen:
            return None, 0
        self.seen.add(key)
        return _put(given), changed[0]

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

    def _series(self, n: int) -> list[Series]:
        """List what n evaluations of an expression may be meant as."""
        if n not in self.lengths:
            self.lengths[n] = [*self._all_series(n)]
        return self.lengths[n]

    def _all_series(self, n: int) -> Iterator[Series]:
        walk, truth = self.walk, self.truth
        if n == 1:
            for q in truth.quantities:
                if q.kind not in ("so far", "part"):
                    yield Series(q.kind, [q])
            return

        def both(kind: str, get: Callable[[int], Quantity | None]) -> Iterator[Series]:
            some = [get(k) for k in ks[::-1]]
            if sum(q is not None for q in some) > n // 2:
                yield Series(kind, some, -1)
                yield Series(kind, some[::-1], 1)

        for site in walk.sites:
            ks = site.members
            if len(ks) != n:
                continue
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

    def _places(self, suspects: list[Suspect]) -> list[tuple[float, Place]]:
        """List suspected expressions and what statements on the way to results give.

        Each with a penalty: how much farther a quantity may be that is tried before it.
        """
        labels, found = self.labels, dict[tuple[Site, bool], tuple[float, Place]]()
        bindings = self._bindings()
        every = [(0.0, p) for s in suspects if not s.weak for p in self._own(s)]
        for place in bindings:
            handed = not (place.site.whole or place.site.name)
            doubt = 2 * (handed and labels.forward[place.values[0][0]])
            every.append((doubt + 0.5 * (not place.alias), place))
        every += [(1.0, p) for s in suspects for p in self._read(s)]
        every += [(3.0, p) for s in suspects if s.weak for p in self._own(s)]
        for penalty, place in every:
            if not place.values or place.site.kind == "old" or self._beyond_doubt(place):
                continue
            v = self.labels.events[place.values[0][0]].value
            if v.size and v.dtype.kind == "f":
                found.setdefault((place.site, place.sum is not None), (penalty, place))
        return [*found.values()]

    def _beyond_doubt(self, place: Place) -> bool:
        """Whether a place gives data, or always what its name says."""
        labels = self.labels
        return all(
            not labels.events[i].deps
            or (labels.status[i] == "right" and self._meant(i, place.site.name))
            for i, _ in place.values
        )

    def _own(self, s: Suspect) -> Iterator[Place]:
        """List the suspected expressions, and the larger ones in their statements."""
        events, users, served = self.labels.events, self.labels.users, self.labels.served
        for i in s.events[:2]:
            e = events[i]
            if e.written:
                yield from self._added(s.statement, i)
                continue
            yield Place(e.site, s.statement, self.values[e.site], own=True)
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
                yield Place(events[at].site, s.statement, self.values[events[at].site], own=True)
            for u in users[at]:
                if events[u].written and events[u].site.statement is e.site.statement:
                    yield from self._added(s.statement, u)

    def _added(self, blamed: Statement, i: int) -> Iterator[Place]:
        """List the right side of `a += b` or `a[k] = b`, and what it makes of a."""
        e = self.labels.events[i]
        kids = [kid for kid in e.site.kids if kid.kind != "old"]
        olds = [kid for kid in e.site.kids if kid.kind == "old"]
        if kids:
            yield Place(kids[-1], blamed, self.values[kids[-1]], own=True)
        whole = "[" not in "".join(e.site.statement.targets)
        if kids and olds and whole and e.site.op in ("Add", "Sub"):
            sign = 1 if e.site.op == "Add" else -1
            yield Place(kids[-1], blamed, self.values[e.site], (olds[0], sign), own=True)

    def _bindings(self) -> list[Place]:
        """List what statements bind, of those that all wrong results depend on."""
        labels = self.labels
        results = [
            i for name in sorted(labels.wrong) if (i := labels.outputs.get(name)) is not None
        ]
        behind: dict[Site, set[int]] = defaultdict(set)
        for result in {*results}:
            seen, stack = {result}, [result]
            while stack:
                e = labels.events[stack.pop()]
                for use in e.uses:
                    behind[use.site].add(result)
                new = [d for d in e.deps if d not in seen]
                seen.update(new)
                stack += new
        found = []
        for site, reached in behind.items():
            bound = site.whole or site.name or (site.around and site.around.kind in LITERALS)
            if not bound or reached != {*results} or site.kind in ("write", "Tuple", "Dict"):
                continue
            plain = site.kind in NAMES and all(kid.kind in NAMES for kid in site.kids)
            alias = plain and bool(site.name or not site.whole)
            found.append(Place(site, site.statement, self.values[site], alias=alias))
        return found

    def _read(self, s: Suspect) -> Iterator[Place]:
        """List what a suspect reads."""
        events = self.labels.events
        for i in s.events[:2]:
            here = events[i].site.statement
            deps = [*events[i].deps]
            for d in deps:
                if events[d].site.statement is here and len(deps) < 50:
                    deps += events[d].deps
            for d in dict.fromkeys(deps):
                for use in events[d].uses:
                    if use.site.statement is here and use.site.kind in ("Name", "Subscript"):
                        yield Place(use.site, here, self.values[use.site], own=True)


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


def _full(name: str) -> str:
    """Return the letters of a name: of dh[t] and d["h"] those of dh and h."""
    quoted = re.search(r"""\[["'](\w+)["']\]$""", name)
    name = quoted[1] if quoted else name.split("[")[0]
    return re.sub(r"\W|_", "", name.replace("self.", "").lower())


def _about(name: str) -> set[str]:
    """List what a variable may be the gradient of, by its name: dh, grad_h, h_grad of h."""
    full, found = _full(name), set[str]()
    for mark in ("gradient", "grad", "delta", "dl", "d", "g"):
        if full.startswith(mark):
            found.add(full[len(mark) :])
        if full.endswith(mark) and len(mark) > 1:
            found.add(full[: -len(mark)])
    if re.search(r"""\[["'](\w+)["']\]$""", name):
        found.add(full)  # grads["h"]
    return found - {""}
