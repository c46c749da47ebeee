"""Mistakes that put one quantity in the place of another: operands, gradients, factors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, permutations, product
from typing import Any

import numpy as np

from ..tape import Outputs
from .backward import Backward, Edge
from .local import PRODUCTS, fit
from .pool import SHIFTS, Pool, Values, mark
from .spot import Group, Mistake, Spot
from .words import Words

__all__ = ["aliased", "crossed", "factors", "gradients", "mixed", "operands", "overwritten"]


def operands(spot: Spot, pool: Pool) -> Iterator[Mistake]:
    """Another value in the place of one that the derivative needs."""
    walk, j = spot.walk, spot.j
    parts = spot.spots if isinstance(spot, Group) else [spot]
    if spot.family not in ("elementwise", "multilinear") or any(
        len({k for k, _ in part.edges}) < len(part.edges) for part in parts
    ):
        return
    own = [-1, j] if spot.unary else []
    for i in own or [i for i in range(len(spot.xs)) if i != j]:
        now = [[walk.z[k] if i < 0 else walk.xs[k][i] for k, _ in part.edges] for part in parts]
        if any(isinstance(v, Outputs) or not np.ndim(v) for values in now for v in values):
            continue
        for kind, cost, text, values in _together(spot, pool, now, i):
            by = {
                e: v for part, vs in zip(parts, values, strict=True)
                for e, v in zip(part.edges, vs, strict=True)
            }  # fmt: skip

            def edit(e: Edge, g: Any, c: Any, now: Any, i: int = i, by: Any = by) -> Any:
                k, j = e
                if i < 0:
                    return walk.pulled(k, g, j, None, by[e])[j]
                xs = list(walk.xs[k])
                xs[i] = by[e]
                return walk.pulled(k, g, j, xs)[j]

            def says(i: int = i, text: Callable[[], str] = text) -> str:
                old = spot.here if i < 0 else spot.words.marked(spot.k, i)
                return (
                    f"the gradient that {spot.here} passes to {spot.what} uses {text()} where "
                    f"{old} belongs; {spot.right}"
                )

            if own and kind == "swapped operand" and _own(spot, values[-1][-1]):
                kind = "wrong derivative"
            yield spot.mistake(kind, cost, edit, says)


def _own(spot: Spot, value: Any) -> bool:
    """Whether a value is the input or the output of the function: the derivative is taken there."""
    return np.array_equal(value, spot.x) or np.array_equal(value, spot.z)


def _together(
    spot: Spot, pool: Pool, now: Sequence[Values], i: int
) -> Iterator[tuple[str, float, Callable[[], str], list[Values]]]:
    """List other values for all parts of a spot: for siblings, each its own, or one for all."""
    if len({mark(values) for values in now}) == 1:
        for kind, cost, text, values in pool.instead(now[0], spot.op in PRODUCTS):
            yield kind, cost, text, [values] * len(now)
        return
    for by, when in SHIFTS:
        for moved in zip(*[pool.moved(values, by) for values in now], strict=True):
            said = f"its value of {when}"
            yield "wrong step", 1.1 + 0.1 * (abs(by) > 1), lambda said=said: said, list(moved)  # type: ignore[misc]
    if len({len(values) for values in now}) > 1:
        return
    if len({np.shape(v) for values in now for v in values}) == 1 and len(now) <= 9:
        orders = permutations(range(len(now))) if len(now) <= 4 else [range(len(now))[::-1]]
        for order in [*orders][len(now) <= 4 :]:
            said = "those of its siblings in another order"
            yield "permuted", 1.2, lambda said=said: said, [now[i] for i in order]  # type: ignore[misc]
    for values, part in zip(now, spot.spots if isinstance(spot, Group) else [spot], strict=True):
        if all(np.shape(v) == np.shape(w) for v, w in zip(values, now[0], strict=True)):
            said = f"{part.words.marked(part.k, i)} everywhere"
            yield "swapped operand", 1.15, lambda said=said: said, [values] * len(now)  # type: ignore[misc]


def factors(spot: Spot, pool: Pool) -> Iterator[Mistake]:
    """A quantity, or the derivative of one, that the gradient is multiplied with or lacks."""
    walk, words, k0 = spot.walk, spot.words, spot.k
    if spot.several or not np.ndim(spot.c):
        return
    near = {spot.source, k0, *walk.edges[k0].values(), *walk.uses[spot.source], *walk.uses[k0]}
    near |= {m for k in list(near) for m in (*walk.edges[k].values(), *walk.uses[k])}
    for m in sorted(near):
        v, shape = walk.z[m], np.shape(spot.c)
        if isinstance(v, Outputs) or not np.ndim(v) or np.ndim(v) > len(shape):
            continue
        if any(a not in (1, b) for a, b in zip(np.shape(v)[::-1], shape[::-1])):  # noqa: B905
            continue
        members = walk.site_of[m].members if m in walk.site_of else [m]
        offset = walk.rank.get(m, 0) - walk.rank[k0]
        slope = len(walk.edges[m]) == 1 and spot.walk.nodes[m].primitive.family == "elementwise"
        for power, derived in ((1, False), (-1, False), (0, False), (1, True), (-1, True)):
            if derived and not slope:
                continue

            def edit(
                e: Edge, g: Any, c: Any, now: Any, members: Any = members, offset: int = offset,
                power: int = power, derived: bool = derived,
            ) -> Any:  # fmt: skip
                r = walk.rank[e[0]] + offset if len(members) > 1 else 0
                if not 0 <= r < len(members):
                    return c
                v = walk.z[members[r]]
                if derived:
                    v = next(iter(walk.pulled(members[r], np.ones(np.shape(v))).values()))
                return c * v**power if power else c * (v > 0)

            def says(m: int = m, power: int = power, derived: bool = derived) -> str:
                name = f"the derivative of {words.value(m)}" if derived else words.value(m)
                passes = f"the gradient that {spot.here} passes to {spot.what}"
                if power == 0:
                    return f"{passes} is let through only where {name} is positive, as behind a relu"
                if power < 0:
                    return f"{passes} lacks the factor {name}"
                return f"{passes} is multiplied by {name}, which does not belong there"

            kind = "derivative left out" if power < 0 else "wrong derivative"
            yield spot.mistake(kind, 1.35 if power < 0 else 1.45, edit, says)


def gradients(spot: Spot) -> Iterator[Mistake]:
    """Another gradient in the place of the one that is passed on."""
    walk, words = spot.walk, spot.words
    longest = max(spot.spots, key=lambda s: len(s.edges)) if isinstance(spot, Group) else spot
    ks = [k for k, _ in longest.edges]
    now = [walk.cots[k] for k in ks]
    if spot.several or not np.ndim(now[0]) or len(set(ks)) < len(ks):
        return
    place = {walk.step(k): r for r, k in enumerate(ks)} if isinstance(spot, Group) else {}
    seen = {mark(now)}
    for site in walk.sites:
        others = site.members[-len(ks) :]
        if len(others) < len(ks) or not all(m in walk.cots for m in others):
            continue
        pairs = list(zip(ks, others, strict=True))
        if not all(min(walk.uses[m], default=m) > k for k, m in pairs):
            continue  # not known yet when it would be needed
        above = all(_leads_to(walk, k, m) for k, m in pairs)
        chosen: list[tuple[int | None, Values]] = [(None, [walk.cots[m] for m in others])]
        for b in walk.edges[others[-1]]:
            if (others[-1], b) != (spot.k, spot.j):
                chosen.append((b, [walk.contributions.get((m, b)) for m in others]))
        for i, values in chosen:
            if any(np.shape(v) != np.shape(g) for v, g in zip(values, now, strict=True)):
                continue
            if (number := mark([np.asarray(v) for v in values])) in seen:
                continue
            seen.add(number)

            def edit(
                e: Edge, g: Any, c: Any, now: Any, i: int | None = i, others: Any = others
            ) -> Any:
                other = others[place[walk.step(e[0])] if place else ks.index(e[0])]
                g = now(other) if i is None else walk.pulled(other, now(other), i)[i]
                return walk.pulled(e[0], g, e[1])[e[1]]

            def says(i: int | None = i, m: int = others[-1], above: bool = above) -> str:
                text = f"the gradient of {words.value(m)}"
                if above and i is None:
                    return (
                        f"the derivative of {words.value(m)} by {spot.here} is left out: {text} is "
                        f"used where that of {spot.here} belongs"
                    )
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
            at = others[-1] if above and i is None else None
            yield spot.mistake(kind, 1.25 if at else 1.45, edit, says, at=at)


def _leads_to(walk: Backward, k: int, m: int) -> bool:
    """Whether all that becomes of node k goes through node m, a few operations on."""
    seen, stack = {k}, [k]
    while stack:
        for n in walk.uses[stack.pop()]:
            if n > m or n == walk.end or len(seen) > 12:
                return False
            if n not in seen and n != m:
                seen.add(n)
                stack.append(n)
    return m > k


def overwritten(walk: Backward, words: Words) -> Iterator[Mistake]:
    """A gradient multiplied in place for one of its terms, before the others have had it."""
    for site in walk.sites:
        k0 = site.members[-1]
        terms = [_terms(walk, k) for k in site.members]
        n = len(terms[-1])
        if n < 2 or any(len(ts) != n for ts in terms):
            continue
        for i, depth in product(range(n), range(5)):
            paths = [_path(walk, ts[i], depth) for ts in terms]
            if len({len(path) for path in paths}) > 1 or len(paths[-1]) <= depth:
                continue
            if np.shape(walk.contributions.get(paths[-1][-1], 0)) != np.shape(walk.z[k0]):
                continue
            rests = [[b for b in range(n) if b != i], [*range(i)], [*range(i + 1, n)]]
            rests += [[b] for b in range(n) if b != i]
            for rest in [r for q, r in enumerate(rests) if r and r not in rests[:q]]:
                by = {ts[b]: path for ts, path in zip(terms, paths, strict=True) for b in rest}

                def edit(e: Edge, g: Any, c: Any, now: Any, by: Any = by) -> Any:
                    new = g
                    for k, j in by[e]:
                        new = walk.pulled(k, new, j)[j]
                    return walk.pulled(e[0], fit(new, g), e[1])[e[1]]

                def says(e: Edge = terms[-1][i], k: int = k0) -> str:
                    return (
                        f"the gradient of {words.value(k)} is overwritten: it is already "
                        f"multiplied as for {words.marked(*e)} when the others use it"
                    )

                yield Mistake("overwritten", 1.28, dict.fromkeys(by, edit), says, at=k0)


def mixed(walk: Backward, words: Words) -> Iterator[Mistake]:
    """Two terms of one gradient are taken for each other: di for df."""
    for site in walk.sites:
        terms = [_terms(walk, k) for k in site.members]
        n = len(terms[-1])
        for a, b in combinations(range(n), 2) if all(len(ts) == n for ts in terms) else ():
            one, two = terms[-1][a], terms[-1][b]
            shapes = [np.shape(walk.contributions[e]) for e in (one, two)]
            if shapes[0] != shapes[1] or one[0] == two[0]:
                continue
            by = {ts[a]: ts[b] for ts in terms} | {ts[b]: ts[a] for ts in terms}

            def edit(e: Edge, g: Any, c: Any, now: Any, by: Any = by) -> Any:
                k, j = by[e]
                return walk.pulled(k, now(k), j)[j]

            def says(one: Edge = one, two: Edge = two) -> str:
                return (
                    f"the gradients of {words.marked(*one)} and {words.marked(*two)}, from "
                    f"{words.value(one[0])} and {words.value(two[0])}, are exchanged"
                )

            yield Mistake("swapped operand", 1.15, dict.fromkeys(by, edit), says)


def _path(walk: Backward, edge: Edge, depth: int) -> list[Edge]:
    """Follow an edge down, as long as there is one way, for `depth` edges more."""
    path = [edge]
    while len(path) <= depth:
        s = walk.edges[path[-1][0]][path[-1][1]]
        if len(walk.edges[s]) != 1 or walk.site_of[s].op in ("getitem", "pick"):
            break
        path.append((s, next(iter(walk.edges[s]))))
    return path


def crossed(walk: Backward, words: Words) -> Iterator[Mistake]:
    """The whole gradients of two like quantities are exchanged: those of two gates, say."""
    groups: dict[Any, list[Any]] = defaultdict(list)
    for site in walk.sites:
        k = site.members[-1]
        if k in walk.cots and k not in words.interior and not isinstance(walk.z[k], Outputs):
            groups[site.op, np.shape(walk.z[k]), len(site)].append(site)
    for (op, shape, _), sites in groups.items():
        if op not in ("add", "matmul", "getitem", "pick") or not shape or len(sites) > 12:
            continue
        for one, two in combinations(sites, 2):
            pairs = list(zip(one.members, two.members, strict=True))
            if any(a in walk.uses[b] or b in walk.uses[a] for a, b in pairs):
                continue
            by = dict(pairs) | {b: a for a, b in pairs}

            def edit(e: Edge, g: Any, c: Any, now: Any, by: Any = by) -> Any:
                return walk.pulled(e[0], now(by[e[0]]), e[1])[e[1]]

            def says(a: int = one.members[-1], b: int = two.members[-1]) -> str:
                return f"the gradients of {words.value(a)} and {words.value(b)} are exchanged"

            edits = {(k, j): edit for k in by for j in walk.edges[k]}
            yield Mistake("permuted", 1.1, edits, says)


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
            needed = i != j or getattr(walk.nodes[k].primitive, "family", "") == "elementwise"
            if needed and isinstance(x, np.ndarray) and x.ndim:
                users[id(x)].append(((k, j), i))
        if len(walk.xs[k]) == 1 and getattr(walk.nodes[k].primitive, "family", "") == "elementwise":
            users[id(walk.z[k])].append(((k, j), -1))
    for says, values in pool.series:
        places = [users.get(id(v), []) for v in values]
        if sum(map(len, places)) <= len(values) or not all(places):
            continue
        if any(e[0] in words.interior for us in places for e, _ in us):
            continue
        for kind, cost, text, other in pool.instead(values):
            if kind == "swapped operand" and cost > 1.2:
                continue  # not computed from it, so not what it is overwritten with
            by = {e: (i, o) for us, o in zip(places, other, strict=True) for e, i in us}

            def edit(e: Edge, g: Any, c: Any, now: Any, by: Any = by) -> Any:
                (k, j), (i, o) = e, by[e]
                if i < 0:
                    return walk.pulled(k, g, j, None, o)[j]
                xs = list(walk.xs[k])
                xs[i] = o
                return walk.pulled(k, g, j, xs)[j]

            def said(old: Any = says, text: Callable[[], str] = text) -> str:
                return f"wherever the gradients need {old()}, {text()} is used: was it overwritten?"

            kind = kind if kind == "wrong step" else "overwritten"
            yield Mistake(kind, cost + 0.1, dict.fromkeys(by, edit), said)
