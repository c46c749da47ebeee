"""Mistakes with the parts of an array: gates in each other's blocks, slices assigned and not added."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations, permutations
from typing import Any

import numpy as np

from ..tape import Outputs
from .backward import Backward, Edge, Edit, Site
from .spot import Mistake, Spot
from .words import Words

__all__ = ["assigned", "exchanged", "masked", "misplaced"]


def _parts(walk: Backward) -> Iterator[list[Site]]:
    """List the sites that cut one array into parts of one shape: gates, taps of a convolution."""
    groups: dict[Any, list[Site]] = {}
    for site in walk.sites:
        k = site.members[-1]
        if site.op in ("getitem", "pick") and walk.edges[k]:
            groups.setdefault((walk.edges[k][0], np.shape(walk.z[k])), []).append(site)
    for sites in groups.values():
        if 2 <= len(sites) <= 8 and len({len(site) for site in sites}) == 1:
            yield sites


def exchanged(walk: Backward, words: Words) -> Iterator[Mistake]:
    """Gradients put in each other's places: parts of one array, inputs of one operation."""
    for sites in _parts(walk):
        n = len(sites)
        orders: Iterable[Any] = permutations(range(n)) if n <= 4 else _swaps(n)
        for order in orders:
            moved = [i for i in range(n) if order[i] != i]
            if moved:
                yield _reordered(walk, words, sites, order, moved)
    for site in walk.sites:
        k0 = site.members[-1]
        for a, b in combinations(walk.edges[k0], 2):
            ca, cb = walk.contributions.get((k0, a)), walk.contributions.get((k0, b))
            if ca is None or isinstance(ca, Outputs) or np.shape(ca) != np.shape(cb):
                continue
            edits: dict[Edge, Edit] = {}
            for k in site.members:
                if {(k, a), (k, b)} <= walk.contributions.keys():
                    edits[k, a] = lambda e, g, c, now, b=b: walk.pulled(e[0], g, b)[b]  # type: ignore[misc]
                    edits[k, b] = lambda e, g, c, now, a=a: walk.pulled(e[0], g, a)[a]  # type: ignore[misc]
            kind = "permuted" if site.op in ("concatenate", "stack") else "swapped operand"
            yield Mistake(
                kind, 1.2, edits,
                lambda k=k0, a=a, b=b: f"the gradients that {words.value(k)} passes to "  # type: ignore[misc]
                f"{words.marked(k, a)} and {words.marked(k, b)} are exchanged",
            )  # fmt: skip


def _reordered(
    walk: Backward, words: Words, sites: list[Site], order: Any, moved: list[int]
) -> Mistake:
    by = {
        k: m for i in moved
        for k, m in zip(sites[i].members, sites[order[i]].members, strict=True)
    }  # fmt: skip

    def edit(e: Edge, g: Any, c: Any, now: Any) -> Any:
        return walk.pulled(by[e[0]], g, 0)[0]

    def says() -> str:
        names = ", ".join([words.value(sites[i].members[-1]) for i in moved])
        whole = words.marked(sites[0].members[-1], 0)
        return f"the gradients of {names} are put into each other's blocks of {whole}"

    edits = {(k, 0): edit for k in by}
    return Mistake("permuted", 1.0 + 0.1 * (len(moved) > 2), edits, says)


def _swaps(n: int) -> Iterator[list[int]]:
    for a, b in combinations(range(n), 2):
        order = list(range(n))
        order[a], order[b] = b, a
        yield order


def assigned(walk: Backward, words: Words) -> Iterator[Mistake]:
    """Parts that overlap are assigned and not added: the last one written wins."""
    for sites in _parts(walk):
        yield from _placed_as_one(walk, words, sites)
        if sites[0].op != "getitem":
            continue
        covers = []
        for site in sites:
            k = site.members[-1]
            covers.append(walk.pulled(k, np.ones(np.shape(walk.z[k])))[0] != 0)
        if sum(c.astype(int) for c in covers).max() < 2:
            continue
        for later in (lambda i, b: b > i, lambda i, b: b < i):
            edits: dict[Edge, Edit] = {}
            for i, site in enumerate(sites):
                over = [c for b, c in enumerate(covers) if later(i, b)]
                keep = ~np.any(over, axis=0) if over else np.ones(covers[i].shape, bool)
                for k in site.members:
                    edits[k, 0] = lambda e, g, c, now, keep=keep: c * keep  # type: ignore[misc]
            yield Mistake(
                "not accumulated", 1.0, edits,
                lambda sites=sites: "the gradients of "  # type: ignore[misc]
                f"{', '.join([words.value(s.members[-1]) for s in sites])} overlap, and are "
                "assigned where they should be added (= where += belongs)",
            )  # fmt: skip


def _placed_as_one(walk: Backward, words: Words, sites: list[Site]) -> Iterator[Mistake]:
    for one in (sites[0], sites[-1]):
        by = {
            k: m for site in sites
            for k, m in zip(site.members, one.members, strict=True) if site is not one
        }  # fmt: skip

        def edit(e: Edge, g: Any, c: Any, now: Any, by: dict[int, int] = by) -> Any:
            return walk.pulled(by[e[0]], g, 0)[0]

        yield Mistake(
            "wrong step", 1.15, {(k, 0): edit for k in by},
            lambda one=one: f"the gradients of all parts of {words.marked(one.members[-1], 0)} are "  # type: ignore[misc]
            f"put where that of {words.value(one.members[-1])} belongs",
        )  # fmt: skip


def misplaced(spot: Spot) -> Iterator[Mistake]:
    """The gradient of a part is put where that of the next or the last step belongs."""
    walk = spot.walk
    if spot.op != "getitem" or spot.several or len(spot.edges) < 2 or spot.j:
        return
    ks = [k for k, _ in spot.edges]
    for by, text in ((1, "the next step"), (-1, "the step before")):
        place = {k: ks[(r + by) % len(ks)] for r, k in enumerate(ks)}
        if all(walk.nodes[k].params == walk.nodes[m].params for k, m in place.items()):
            continue

        def edit(e: Edge, g: Any, c: Any, now: Any, place: Any = place) -> Any:
            return walk.pulled(place[e[0]], g, 0)[0]

        yield spot.mistake(
            "wrong step", 1.1, edit,
            lambda text=text: f"the gradient of {spot.here} is put where that of {text} belongs in "  # type: ignore[misc]
            f"{spot.what}",
        )  # fmt: skip


def masked(spot: Spot) -> Iterator[Mistake]:
    """The path of one gate is left out, or gates are exchanged, on the way to one input only."""
    walk, words = spot.walk, spot.words
    if spot.several or spot.op in ("getitem", "pick") or not np.ndim(spot.g):
        return
    cuts = _cuts(walk, spot.k)
    for site in cuts:
        which = [i for i in range(len(cuts)) if cuts[i] is site]

        def without(e: Edge, g: Any, c: Any, now: Any, which: Any = which) -> Any:
            return walk.pulled(e[0], g * (1 - _mask(walk, e[0], which[0])), e[1])[e[1]]

        yield spot.mistake(
            "missing term", 1.1, without,
            lambda site=site: f"the path of {words.value(site.members[-1])} is missing in what "  # type: ignore[misc]
            f"{spot.here} passes to {spot.what}",
        )  # fmt: skip
    for a, b in combinations(range(len(cuts)), 2):

        def swapped(e: Edge, g: Any, c: Any, now: Any, a: int = a, b: int = b) -> Any:
            one, two = _mask(walk, e[0], a) != 0, _mask(walk, e[0], b) != 0
            if one.sum() != two.sum():
                return c
            new = np.array(g)
            new[one], new[two] = g[two], g[one]
            return walk.pulled(e[0], new, e[1])[e[1]]

        yield spot.mistake(
            "permuted", 1.2, swapped,
            lambda a=a, b=b: f"the gradients of {words.value(cuts[a].members[-1])} and "  # type: ignore[misc]
            f"{words.value(cuts[b].members[-1])} are exchanged in what {spot.here} passes to "
            f"{spot.what}",
        )  # fmt: skip


def _cuts(walk: Backward, k: int) -> list[Site]:
    """List the sites that cut what becomes of a node, through additions, into parts."""
    return [walk.site_of[m] for m in _cutting(walk, k)]


def _cutting(walk: Backward, k: int) -> list[int]:
    for _ in range(6):
        parts = [m for m in walk.uses[k] if walk.site_of[m].op == "getitem"]
        if len(parts) > 1:
            return sorted(parts)
        if len(walk.uses[k]) != 1 or walk.site_of[walk.uses[k][0]].op not in ("add", "split"):
            return []
        (k,) = walk.uses[k]
        if walk.site_of[k].op == "split":
            return sorted(walk.uses[k])
    return []


def _mask(walk: Backward, k: int, which: int) -> Any:
    """Give ones where a part takes from what becomes of node k, and zeros elsewhere."""
    m = _cutting(walk, k)[which]
    c = walk.pulled(m, np.ones(np.shape(walk.z[m])))[0]
    if isinstance(c, Outputs):
        (split,) = walk.edges[m].values()
        c = walk.pulled(split, c)[0]
    return np.broadcast_to(c, np.shape(walk.z[k])) if np.shape(c) != np.shape(walk.z[k]) else c
