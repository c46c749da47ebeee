"""Mistakes that put another gradient in the place of the one that is passed on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations, product
from typing import Any

import numpy as np

from ..core.tape import Outputs
from .backward import Backward, Edge
from .local import fit
from .pool import Values, constantly, mark
from .spot import Group, Mistake, Spot
from .words import Words

__all__ = ["crossed", "gradients", "mixed", "overwritten", "partial"]


def gradients(spot: Spot) -> Iterator[Mistake]:
    """The gradient of another node, or what another passes on, in the place of the right one."""
    walk, words = spot.walk, spot.words
    longest = max(spot.spots, key=lambda s: len(s.edges)) if isinstance(spot, Group) else spot
    ks = [k for k, _ in longest.edges]
    now = [walk.cots[k] for k in ks]
    if spot.several or not np.ndim(now[0]) or len(set(ks)) < len(ks):
        return
    rank = {walk.step(k): r for r, k in enumerate(ks)} if isinstance(spot, Group) else {}
    seen = {mark(now)}
    for site in walk.sites:
        ms = site.members[-len(ks) :]
        known = len(ms) == len(ks) and all(m in walk.cots for m in ms)
        if not known or not all(
            min(walk.uses[m], default=m) > k for k, m in zip(ks, ms, strict=True)
        ):
            continue  # not computed yet when it would be needed
        above = all(_leads_to(walk, k, m) for k, m in zip(ks, ms, strict=True))
        chosen: list[tuple[int | None, Values]] = [(None, [walk.cots[m] for m in ms])]
        for b in walk.edges[ms[-1]]:
            if (ms[-1], b) != (spot.k, spot.j):
                chosen.append((b, [walk.contributions.get((m, b)) for m in ms]))
        for i, values in chosen:
            if _reshaped(walk, spot.k) and [*map(np.size, values)] == [*map(np.size, now)]:
                values = [np.reshape(v, np.shape(g)) for v, g in zip(values, now, strict=True)]
            if any(np.shape(v) != np.shape(g) for v, g in zip(values, now, strict=True)):
                continue
            if (number := mark([np.asarray(v) for v in values])) in seen:
                continue
            seen.add(number)

            def edit(e: Edge, g: Any, c: Any, now: Any, i: Any = i, ms: list[int] = ms) -> Any:
                m = ms[rank[walk.step(e[0])] if rank else ks.index(e[0])]
                new = now(m) if i is None else walk.pulled(m, now(m), i)[i]
                return walk.pulled(e[0], np.reshape(new, np.shape(g)), e[1])[e[1]]

            other = words.value(ms[-1])
            if i is None and above:
                yield spot.mistake(
                    "derivative left out", 1.25, edit,
                    "the derivative of {other} by {here} is left out: the gradient of {other} is "
                    "used where that of {here} belongs", ms[-1], other=other,
                )  # fmt: skip
                continue
            text = "{passes} is made from the gradient of {other}, where that of {here} belongs"
            if i is not None:
                other += f" passes to {words.marked(ms[-1], i)}"
                text = "{passes} is made from what {other}, where the gradient of {here} belongs"
            same = i is not None and all(
                np.array_equal(walk.cots[m], g) for m, g in zip(ms, now, strict=True)
            )
            kind = "overwritten" if same else "swapped operand"
            yield spot.mistake(kind, 1.45, edit, text, other=other)


def partial(spot: Spot) -> Iterator[Mistake]:
    """Of the terms of a gradient one is left out, or counted twice, on one of its ways only."""
    walk = spot.walk
    if spot.several or spot.kind != "one":
        return
    terms = {
        (walk.site_of[m], i): m
        for k, _ in spot.edges for m, i in walk.into(walk.sum_of(k)) if m in walk.cots
    }  # fmt: skip
    for (site, i), m in terms.items() if len(terms) > 1 else ():
        for times_more in (-1, 1):

            def edit(
                e: Edge, g: Any, c: Any, now: Any,
                site: Any = site, i: int = i, more: int = times_more,
            ) -> Any:  # fmt: skip
                for n, b in walk.into(walk.sum_of(e[0])):
                    if walk.site_of[n] is site and b == i and n in walk.cots:
                        g = g + more * fit(walk.pulled(n, now(n), b)[b], g)
                return walk.pulled(e[0], g, e[1])[e[1]]

            yield spot.mistake(
                "missing term" if times_more < 0 else "counted twice", 1.35, edit,
                "what {other} passes on {wrong} in the gradient of {here}, where that goes to "
                "{what}", other=spot.words.value(m),
                wrong="is missing" if times_more < 0 else "is counted twice",
            )  # fmt: skip


def _reshaped(walk: Backward, k: int) -> bool:
    """Whether a node is only reshaped, as what a tensordot multiplies."""
    return len(walk.uses[k]) == 1 and walk.site_of[walk.uses[k][0]].op == "reshape"


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
    for terms, k0 in _all_terms(walk):
        n = len(terms[-1])
        for i, depth in product(range(n), range(5)):
            paths = [_path(walk, some[i], depth) for some in terms]
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

                said = constantly(
                    f"the gradient of {words.value(k0)} is overwritten: it is already multiplied "
                    f"as for {words.marked(*terms[-1][i])} when the others use it"
                )
                yield Mistake("overwritten", 1.28, dict.fromkeys(by, edit), said, at=k0)


def mixed(walk: Backward, words: Words) -> Iterator[Mistake]:
    """Two terms of one gradient are taken for each other: di for df."""
    for terms, _ in _all_terms(walk):
        for a, b in combinations(range(len(terms[-1])), 2):
            one, two = terms[-1][a], terms[-1][b]
            if np.shape(walk.contributions[one]) != np.shape(walk.contributions[two]):
                continue
            if one[0] == two[0]:
                continue
            by = {ts[a]: ts[b] for ts in terms} | {ts[b]: ts[a] for ts in terms}

            def edit(e: Edge, g: Any, c: Any, now: Any, by: Any = by) -> Any:
                k, j = by[e]
                return walk.pulled(k, now(k), j)[j]

            said = constantly(
                f"the gradients of {words.marked(*one)} and {words.marked(*two)}, from "
                f"{words.value(one[0])} and {words.value(two[0])}, are exchanged"
            )
            yield Mistake("swapped operand", 1.15, dict.fromkeys(by, edit), said)


def _all_terms(walk: Backward) -> Iterator[tuple[list[list[Edge]], int]]:
    """List the gradients that are used several times, step by step, with the node of the last."""
    for site in walk.sites:
        terms = [_terms(walk, k) for k in site.members]
        if len(terms[-1]) > 1 and len({len(some) for some in terms}) == 1:
            yield terms, site.members[-1]


def _terms(walk: Backward, k: int) -> list[Edge]:
    """List the edges that use the gradient of a node, seen through additions."""
    found, stack = list[Edge](), [k]
    while stack:
        m = stack.pop()
        if walk.nodes[m].primitive.name != "add":
            found += [(m, j) for j in walk.edges[m] if m == k and (m, j) in walk.contributions]
            continue
        for j, s in walk.edges[m].items():
            own = s not in walk.leaves and walk.uses[s] == [m]
            if own and np.shape(walk.z[s]) == np.shape(walk.z[k]):
                stack.append(s)
                if walk.nodes[s].primitive.name != "add":
                    found += [(s, i) for i in walk.edges[s] if (s, i) in walk.contributions]
            elif (m, j) in walk.contributions:
                found.append((m, j))
    return sorted(found)


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
            by = dict(zip(one.members, two.members, strict=True))
            if any(a in walk.uses[b] or b in walk.uses[a] for a, b in by.items()):
                continue
            by |= {b: a for a, b in by.items()}

            def edit(e: Edge, g: Any, c: Any, now: Any, by: dict[int, int] = by) -> Any:
                return walk.pulled(e[0], now(by[e[0]]), e[1])[e[1]]

            names = f"{words.value(one.members[-1])} and {words.value(two.members[-1])}"
            said = constantly(f"the gradients of {names} are exchanged")
            edits = {(k, j): edit for k in by for j in walk.edges[k]}
            yield Mistake("permuted", 1.1, edits, said)
