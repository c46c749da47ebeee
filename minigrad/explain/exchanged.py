"""Mistakes that put one quantity in the place of another: operands, gradients, blocks."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations, permutations
from typing import Any

import numpy as np

from ..tape import Outputs
from .backward import Backward, Edge, Edit, Site
from .local import fit
from .spot import Mistake, Spot
from .words import Words

__all__ = ["Pool", "exchanged", "gradients", "operands", "overwritten"]

Values = Sequence[Any]


class Pool:
    """All quantities of the forward pass, by site: what may be taken for another."""

    def __init__(self, walk: Backward, words: Words) -> None:
        self.walk, self.words = walk, words
        self.series: list[tuple[Callable[[], str], Values, float]] = []
        for site in walk.sites:
            ks, last = site.members, site.members[-1]
            self._add(lambda k=last: words.value(k), [walk.z[k] for k in ks], 0.0)  # type: ignore[misc]
            for i in range(len(walk.xs[last])):
                said = lambda k=last, i=i: words.marked(k, i)  # noqa: E731
                self._add(said, [walk.xs[k][i] for k in ks], 0.05)
        for k in sorted(walk.leaves):
            self._add(lambda k=k: words.value(k), [walk.z[k]], 0.1)  # type: ignore[misc]

    def _add(self, says: Callable[[], str], values: Values, extra: float) -> None:
        if not any(isinstance(v, Outputs) for v in values) and np.ndim(values[-1]):
            self.series.append((says, values, extra))

    def instead(self, now: Values) -> Iterator[tuple[str, float, Callable[[], str], Values]]:
        """List other values for `now`, step by step: of the neighbouring step, or of another name."""
        n, shape, seen = len(now), np.shape(now[-1]), {_mark(now)}

        def new(values: Values) -> bool:
            if any(np.shape(v) != shape for v in values) or (mark := _mark(values)) in seen:
                return False
            seen.add(mark)
            return True

        for says, values, extra in self.series:
            if len(values) == 1 and n > 1:
                values = [values[0]] * n
            if len(values) < n:
                continue
            kind, cost = "swapped operand", 1.6
            for start in range(max(0, len(values) - n - 1), len(values) - n + 1):
                chosen = values[start : start + n]
                if new(chosen):
                    if shifted(chosen, now):
                        kind, cost = "wrong step", 1.2
                    yield kind, cost + extra, says, chosen
        if n > 1:
            for moved, text in (
                ([*now[1:], now[-1]], "its value of the next step"),
                ([now[0], *now[:-1]], "its value of the step before"),
            ):
                if new(moved):
                    yield "wrong step", 1.3, lambda text=text: text, moved  # type: ignore[misc]
            if new(last := [now[-1]] * n):
                yield "overwritten", 1.4, lambda: "its value of the last step, at every step,", last


def operands(spot: Spot, pool: Pool) -> Iterator[Mistake]:
    """Another value in the place of one that the derivative needs."""
    walk, j, members = spot.walk, spot.j, spot.members
    if spot.family not in ("elementwise", "multilinear"):
        return
    alone = len(spot.xs) == 1
    for i in [-1, 0] if alone else [i for i in range(len(spot.xs)) if i != j]:
        now = [walk.z[k] if i < 0 else walk.xs[k][i] for k in members]
        if isinstance(now[0], Outputs) or not np.ndim(now[0]):
            continue
        for kind, cost, text, values in pool.instead(now):
            by = dict(zip(members, values, strict=True))

            def edit(k: int, g: Any, c: Any, now: Any, i: int = i, by: Any = by) -> Any:
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


def gradients(spot: Spot) -> Iterator[Mistake]:
    """Another gradient in the place of the one that is passed on."""
    walk, words, j, members = spot.walk, spot.words, spot.j, spot.members
    now = [walk.cots[k] for k in members]
    if isinstance(now[0], Outputs) or not np.ndim(now[0]):
        return
    seen = {_mark(now)}
    for site in walk.sites:
        others = site.members[-len(members) :]
        if len(others) < len(members) or not all(m in walk.cots for m in others):
            continue
        pairs = list(zip(members, others, strict=True))
        if not all(min(walk.uses[m], default=m) > k for k, m in pairs):
            continue  # not known yet when it would be needed
        above = all(_leads_to(walk, k, m) for k, m in pairs)
        chosen: list[tuple[int | None, Values]] = [(None, [walk.cots[m] for m in others])]
        for i in walk.edges[others[-1]]:
            if site is not spot.site or i != j:
                chosen.append((i, [walk.contributions.get((m, i)) for m in others]))
        for i, values in chosen:
            if any(np.shape(v) != np.shape(g) for v, g in zip(values, now, strict=True)):
                continue
            if (mark := _mark(values)) in seen:
                continue
            seen.add(mark)

            def edit(
                k: int, g: Any, c: Any, now: Any, i: int | None = i, by: Any = dict(pairs)
            ) -> Any:
                m = by[k]
                return walk.pulled(k, now(m) if i is None else walk.pulled(m, now(m), i)[i], j)[j]

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
            yield spot.mistake(kind, 1.5 if above and i is None else 1.8, edit, says)


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
    """A gradient multiplied in place for one of its uses, before the others have had it."""
    for site in walk.sites:
        k0 = site.members[-1]
        if site.op != "add" or len(walk.edges[k0]) < 2:
            continue
        for j, s in walk.edges[k0].items():
            if s in walk.leaves or np.shape(walk.z[s]) != np.shape(walk.z[k0]):
                continue
            for i in walk.edges[s]:
                if np.shape(walk.contributions.get((s, i))) != np.shape(walk.z[k0]):
                    continue

                def edit(k: int, g: Any, c: Any, now: Any, j: int = j, i: int = i) -> Any:
                    m = walk.edges[k].get(j)
                    if m is not None and i in walk.edges[m]:
                        g = walk.pulled(m, g, i)[i]
                    return fit(g, c)

                def says(k: int = k0, s: int = s, i: int = i) -> str:
                    return (
                        f"the gradient of {words.value(k)} is overwritten: it is already "
                        f"multiplied as for {words.marked(s, i)} when the others use it"
                    )

                everywhere = {(k, b): edit for k in site.members for b in walk.edges[k]}
                elsewhere = {edge: edit for edge in everywhere if edge[1] != j}
                for edits in (everywhere, elsewhere):
                    yield Mistake("overwritten", 1.5, edits, says)


def exchanged(walk: Backward, words: Words) -> Iterator[Mistake]:
    """Gradients put in each other's places: blocks of one array, inputs of one operation."""
    groups: dict[Any, list[Site]] = {}
    for site in walk.sites:
        k = site.members[-1]
        if site.op in ("getitem", "pick") and walk.edges[k]:
            groups.setdefault((walk.edges[k][0], np.shape(walk.z[k])), []).append(site)
    for sites in groups.values():
        if 2 <= len(sites) <= 8 and len({len(site) for site in sites}) == 1:
            yield from _blocks(walk, words, sites)
    for site in walk.sites:
        k0 = site.members[-1]
        for a, b in combinations(walk.edges[k0], 2):
            ca, cb = walk.contributions.get((k0, a)), walk.contributions.get((k0, b))
            if ca is None or isinstance(ca, Outputs) or np.shape(ca) != np.shape(cb):
                continue
            edits: dict[Edge, Edit] = {}
            for k in site.members:
                if {(k, a), (k, b)} <= walk.contributions.keys():
                    edits[k, a] = lambda k, g, c, now, b=b: walk.pulled(k, g, b)[b]  # type: ignore[misc]
                    edits[k, b] = lambda k, g, c, now, a=a: walk.pulled(k, g, a)[a]  # type: ignore[misc]
            kind = "permuted" if site.op in ("concatenate", "stack") else "swapped operand"
            yield Mistake(
                kind, 1.2, edits,
                lambda k=k0, a=a, b=b: f"the gradients that {words.value(k)} passes to "  # type: ignore[misc]
                f"{words.marked(k, a)} and {words.marked(k, b)} are exchanged",
            )  # fmt: skip


def _blocks(walk: Backward, words: Words, sites: list[Site]) -> Iterator[Mistake]:
    n = len(sites)
    orders: Iterable[Any] = permutations(range(n)) if n <= 4 else _swaps(n)
    for order in orders:
        moved = [i for i in range(n) if order[i] != i]
        if not moved:
            continue
        by = {
            k: m for i in moved
            for k, m in zip(sites[i].members, sites[order[i]].members, strict=True)
        }  # fmt: skip

        def edit(k: int, g: Any, c: Any, now: Any, by: dict[int, int] = by) -> Any:
            return walk.pulled(by[k], g, 0)[0]

        def says(moved: list[int] = moved) -> str:
            names = ", ".join([words.value(sites[i].members[-1]) for i in moved])
            whole = words.marked(sites[0].members[-1], 0)
            return f"the gradients of {names} are put into each other's blocks of {whole}"

        yield Mistake("permuted", 1.1 + 0.1 * (len(moved) > 2), {(k, 0): edit for k in by}, says)


def _swaps(n: int) -> Iterator[list[int]]:
    for a, b in combinations(range(n), 2):
        order = list(range(n))
        order[a], order[b] = b, a
        yield order


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
