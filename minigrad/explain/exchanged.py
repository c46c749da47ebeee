"""Mistakes that put one quantity in the place of another: operands, gradients, factors."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..tape import Outputs
from .backward import Backward, Edge
from .local import PRODUCTS, fit
from .spot import Mistake, Spot
from .words import Words

__all__ = ["Pool", "aliased", "factors", "gradients", "operands", "overwritten"]

Values = Sequence[Any]
Other = tuple[str, float, Callable[[], str], Values]  # kind, cost, words, values step by step


class Pool:
    """All quantities of the forward pass as series over time: what may be taken for another."""

    def __init__(self, walk: Backward, words: Words) -> None:
        self.walk, self.words = walk, words
        self.series: list[tuple[Callable[[], str], Values]] = []
        for site in walk.sites:
            ks, last = site.members, site.members[-1]
            self._add(lambda k=last: words.value(k), [walk.z[k] for k in ks])  # type: ignore[misc]
            for i in range(len(walk.xs[last])):
                said = lambda k=last, i=i: words.marked(k, i)  # noqa: E731
                self._add(said, [walk.xs[k][i] for k in ks])
        for k in sorted(walk.leaves):
            self._add(lambda k=k: words.value(k), [walk.z[k]])  # type: ignore[misc]
        self.whole = self._joined()

    def _add(self, says: Callable[[], str], values: Values) -> None:
        if not any(isinstance(v, Outputs) for v in values) and np.ndim(values[-1]):
            self.series.append((says, values))

    def _joined(self) -> dict[int, list[Any]]:
        """Collect, by the mark of each element, the states from the initial one to the last."""
        found: dict[int, list[Any]] = {}
        for _, values in self.series:
            marks = [_mark([v]) for v in values]
            for _, others in self.series:
                if len(others) == len(values) > 1 and marks[1:] == [_mark([v]) for v in others[:-1]]:
                    found[_mark(values)] = [*values, others[-1]]
        return found

    def instead(self, now: Values, turned: bool = False) -> Iterator[Other]:
        """List other values for `now`: of another step, or another quantity; `turned`: transposed."""
        n, shape, seen = len(now), np.shape(now[-1]), {_mark(now)}

        def new(values: Values) -> bool:
            if any(np.shape(v) != shape for v in values) or (mark := _mark(values)) in seen:
                return False
            seen.add(mark)
            return True

        if n > 1:
            states = self.whole.get(_mark(now), list(now))
            for by, text in ((1, "next step"), (-1, "step before"), (2, "step after next"), (-2, "step two before")):
                moved = [states[(t + by) % len(states)] for t in range(n)]
                held = [now[min(max(t + by, 0), n - 1)] for t in range(n)]
                for values in (moved, held):
                    if new(values):
                        said = f"its value of the {text}"
                        yield "wrong step", 1.1 + 0.1 * (abs(by) > 1), lambda said=said: said, values  # type: ignore[misc]
            if new(last := [states[-1]] * n) or new(last := [now[-1]] * n):
                yield "overwritten", 1.25, lambda: "its value of the last step, at every step,", last
        for says, values in self.series:
            if len(values) == 1 and n > 1:
                values = [values[0]] * n
            for start in range(max(0, len(values) - n - 1), len(values) - n + 1):
                chosen = values[start : start + n]
                if new(chosen):
                    same = n == 1 and any(np.array_equal(v, now[0]) for v in values)
                    yield ("wrong step", 1.15, says, chosen) if same or shifted(chosen, now) else (
                        "swapped operand", 1.3, says, chosen)  # fmt: skip
                elif turned and n <= len(values) and np.ndim(chosen[0]) > 1:
                    other = [np.swapaxes(v, -1, -2) for v in chosen]
                    if new(other):
                        yield "swapped operand", 1.35, says, other


def operands(spot: Spot, pool: Pool) -> Iterator[Mistake]:
    """Another value in the place of one that the derivative needs."""
    walk, j = spot.walk, spot.j
    if spot.family not in ("elementwise", "multilinear") or len({e[0] for e in spot.edges}) < len(
        spot.edges
    ):
        return
    ks = [k for k, _ in spot.edges]
    for i in [-1, 0] if len(spot.xs) == 1 else [i for i in range(len(spot.xs)) if i != j]:
        now = [walk.z[k] if i < 0 else walk.xs[k][i] for k in ks]
        if isinstance(now[0], Outputs) or not np.ndim(now[0]):
            continue
        for kind, cost, text, values in pool.instead(now, spot.op in PRODUCTS):
            by = dict(zip(ks, values, strict=True))

            def edit(e: Edge, g: Any, c: Any, now: Any, i: int = i, by: Any = by) -> Any:
                k, j = e
                if i < 0:
                    return walk.pulled(k, g, j, None, by[k])[j]
                xs = list(walk.xs[k])
                xs[i] = by[k]
                return walk.pulled(k, g, j, xs)[j]

            def says(i: int = i, text: Callable[[], str] = text) -> str:
                old = spot.here if i < 0 else spot.words.marked(spot.k, i)
                return (
                    f"the gradient that {spot.here} passes to {spot.what} uses {text()} where "
                    f"{old} belongs; {spot.right}"
                )

            yield spot.mistake(kind, cost, edit, says)


def factors(spot: Spot, pool: Pool) -> Iterator[Mistake]:
    """A quantity, or the derivative of one, that the gradient is multiplied with or lacks."""
    walk, words, k0 = spot.walk, spot.words, spot.k
    if spot.several or not np.ndim(spot.c):
        return
    near = {spot.source, k0, *walk.edges[k0].values(), *walk.uses[spot.source], *walk.uses[k0]}
    near |= {m for k in list(near) for m in (*walk.edges[k].values(), *walk.uses[k])}
    for m in sorted(near - walk.leaves):
        site = walk.site_of[m]
        if np.shape(walk.z[m]) != np.shape(spot.c) or isinstance(walk.z[m], Outputs):
            continue
        offset = walk.rank[m] - walk.rank[k0]
        slope = len(walk.edges[m]) == 1 and spot.walk.nodes[m].primitive.family == "elementwise"
        for power, derived in ((1, False), (-1, False), (1, True), (-1, True)):
            if derived and not slope:
                continue

            def edit(
                e: Edge, g: Any, c: Any, now: Any, site: Any = site, offset: int = offset,
                power: int = power, derived: bool = derived,
            ) -> Any:  # fmt: skip
                r = walk.rank[e[0]] + offset if len(site) > 1 else 0
                if not 0 <= r < len(site):
                    return c
                m = site.members[r]
                v = walk.z[m]
                if derived:
                    v = next(iter(walk.pulled(m, np.ones(np.shape(v))).values()))
                return c * v**power if np.shape(v) == np.shape(c) else c

            def says(m: int = m, power: int = power, derived: bool = derived) -> str:
                name = f"the derivative of {words.value(m)}" if derived else words.value(m)
                verb = "is multiplied by" if power == 1 else "lacks the factor"
                extra = ", which does not belong there" if power == 1 else ""
                return f"the gradient that {spot.here} passes to {spot.what} {verb} {name}{extra}"

            kind = "wrong derivative" if power == 1 else "derivative left out"
            yield spot.mistake(kind, 1.35 + 0.1 * (power == 1), edit, says)


def gradients(spot: Spot) -> Iterator[Mistake]:
    """Another gradient in the place of the one that is passed on."""
    walk, words = spot.walk, spot.words
    ks = [k for k, _ in spot.edges]
    now = [walk.cots[k] for k in ks]
    if spot.several or not np.ndim(now[0]) or len(set(ks)) < len(ks):
        return
    seen = {_mark(now)}
    for site in walk.sites:
        others = site.members[-len(ks) :]
        if len(others) < len(ks) or not all(m in walk.cots for m in others):
            continue
        pairs = list(zip(ks, others, strict=True))
        if not all(min(walk.uses[m], default=m) > k for k, m in pairs):
            continue  # not known yet when it would be needed
        above = all(_leads_to(walk, k, m) for k, m in pairs)
        chosen: list[tuple[int | None, Values]] = [(None, [walk.cots[m] for m in others])]
        for i in walk.edges[others[-1]]:
            if (others[-1], i) != (spot.k, spot.j):
                chosen.append((i, [walk.contributions.get((m, i)) for m in others]))
        for i, values in chosen:
            if any(np.shape(v) != np.shape(g) for v, g in zip(values, now, strict=True)):
                continue
            if (mark := _mark(values)) in seen:
                continue
            seen.add(mark)

            def edit(
                e: Edge, g: Any, c: Any, now: Any, i: int | None = i, by: Any = dict(pairs)
            ) -> Any:
                m = by[e[0]]
                g = now(m) if i is None else walk.pulled(m, now(m), i)[i]
                return walk.pulled(e[0], g, e[1])[e[1]]

            def says(i: int | None = i, m: int = others[-1]) -> str:
                text = f"the gradient of {words.value(m)}"
                if i is not None:
                    text = f"what {words.value(m)} passes to {words.marked(m, i)}"
                return (
                    f"the gradient that {spot.here} passes to {spot.what} is made from {text}, "
                    f"where the gradient of {spot.here} belongs"
                )

            same = i is not None and all(
                np.array_equal(walk.cots[m], g) for m, g in zip(others, now, strict=True)
            )
            kind = "overwritten" if same else "swapped operand"
            if above and i is None:
                kind = "derivative left out"
            yield spot.mistake(kind, 1.25 if above and i is None else 1.45, edit, says)


def _leads_to(walk: Backward, k: int, m: int) -> bool:
    """Whether node m is what becomes of node k, through operations that only it goes into."""
    for _ in range(8):
        if len(walk.uses[k]) != 1:
            return False
        (k,) = walk.uses[k]
        if k == m:
            return True
    return False


def overwritten(walk: Backward, words: Words) -> Iterator[Mistake]:
    """A gradient multiplied in place for one of its terms, before the others have had it."""
    for site in walk.sites:
        k0 = site.members[-1]
        terms = [_terms(walk, k) for k in site.members]
        n = len(terms[-1])
        if n < 2 or any(len(ts) != n for ts in terms):
            continue
        for i in range(n):
            if np.shape(walk.contributions.get(terms[-1][i])) != np.shape(walk.z[k0]):
                continue
            rests = [[b for b in range(n) if b != i], [*range(i)], [*range(i + 1, n)]]
            rests += [[b] for b in range(n) if b != i]
            for rest in [r for q, r in enumerate(rests) if r and r not in rests[:q]]:
                by = {ts[b]: ts[i] for ts in terms for b in rest}

                def edit(e: Edge, g: Any, c: Any, now: Any, by: Any = by) -> Any:
                    k, j = by[e]
                    return walk.pulled(e[0], fit(walk.pulled(k, g, j)[j], g), e[1])[e[1]]

                def says(e: Edge = terms[-1][i], k: int = k0) -> str:
                    return (
                        f"the gradient of {words.value(k)} is overwritten: it is already "
                        f"multiplied as for {words.marked(*e)} when the others use it"
                    )

                yield Mistake("overwritten", 1.3, dict.fromkeys(by, edit), says, at=k0)


def _terms(walk: Backward, k: int) -> list[Edge]:
    """List the edges that use the gradient of a node, seen through additions."""
    found, stack = list[Edge](), [k]
    while stack:
        m = stack.pop()
        through = m == k or walk.nodes[m].primitive is None
        if walk.nodes[m].primitive and walk.nodes[m].primitive.name == "add":
            for j, s in walk.edges[m].items():
                if np.shape(walk.z[s]) == np.shape(walk.z[k]) and walk.uses[s] == [m]:
                    stack.append(s)
                elif (m, j) in walk.contributions:
                    found.append((m, j))
        elif not through or m == k:
            found += [(m, j) for j in walk.edges[m] if (m, j) in walk.contributions]
    return sorted(found)


def aliased(walk: Backward, words: Words, pool: Pool) -> Iterator[Mistake]:
    """A value that was overwritten in the forward pass, wherever the derivatives need it."""
    users: dict[int, list[tuple[Edge, int]]] = defaultdict(list)
    for k, j in walk.contributions:
        for i, x in enumerate(walk.xs[k]):
            if i != j and isinstance(x, np.ndarray) and x.ndim:
                users[id(x)].append(((k, j), i))
    for says, values in pool.series:
        places = [[u for u in users.get(id(v), ())] for v in values]
        if sum(map(len, places)) <= len(values) or not all(places):
            continue
        for kind, cost, text, other in pool.instead(values):
            by = {e: (i, o) for us, o in zip(places, other, strict=True) for e, i in us}

            def edit(e: Edge, g: Any, c: Any, now: Any, by: Any = by) -> Any:
                (k, j), (i, o) = e, by[e]
                xs = list(walk.xs[k])
                xs[i] = o
                return walk.pulled(k, g, j, xs)[j]

            def said(old: Any = says, text: Callable[[], str] = text) -> str:
                return f"wherever the gradients need {old()}, {text()} is used: was it overwritten?"

            kind = kind if kind == "wrong step" else "overwritten"
            yield Mistake(kind, cost + 0.15, dict.fromkeys(by, edit), said)


def shifted(a: Values, b: Values) -> bool:
    """Whether a is the same quantity as b, a step apart."""
    if len(a) < 2:
        return False
    pairs = (zip(a[:-1], b[1:], strict=True), zip(a[1:], b[:-1], strict=True))
    return any(all(np.array_equal(x, y) for x, y in ps) for ps in pairs)


def _mark(values: Values) -> int:
    mark = 0
    for v in values:
        mark = zlib.crc32(np.ascontiguousarray(v).tobytes(), mark)
    return mark
