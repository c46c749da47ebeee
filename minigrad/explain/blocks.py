"""Mistakes with the parts of an array: gates in each other's blocks, slices not added up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations, permutations
from typing import Any

import numpy as np

from ..core.tape import Outputs
from .backward import Backward, Edge, Edit
from .spot import Mistake, Spot
from .words import Words

__all__ = ["assigned", "exchanged", "masked", "misplaced", "repeated", "shifted"]


Parts = list[list[int]]  # for every part of an array, the nodes that cut it out, in order of time


def _parts(walk: Backward) -> Iterator[Parts]:
    """List what cuts one array into parts of one shape: gates, taps of a convolution."""
    groups: dict[Any, dict[Any, list[list[int]]]] = {}
    for s in range(len(walk.nodes)):
        users: dict[Any, list[int]] = {}
        for m in walk.uses[s]:
            if walk.site_of[m].op in ("getitem", "pick") and m in walk.cots:
                users.setdefault(np.shape(walk.z[m]), []).append(m)
        for shape, parts in users.items():
            key = walk.site_of.get(s, s), shape, len(parts)
            groups.setdefault(key, {})[s] = [[m] for m in parts]
    for (_, _, n), cut in groups.items():
        if 2 <= n <= 9:
            yield [[m for parts in cut.values() for m in parts[i]] for i in range(n)]


def exchanged(walk: Backward, words: Words) -> Iterator[Mistake]:
    """Gradients put in each other's places: parts of one array, inputs of one operation."""
    for parts in _parts(walk):
        n = len(parts)
        orders: Iterable[Any] = permutations(range(n)) if n <= 4 else _swaps(n)
        for order in orders:
            moved = [i for i in range(n) if order[i] != i]
            if moved:
                yield _reordered(walk, words, parts, order, moved)
    for site in walk.sites:
        k0 = site.members[-1]
        for a, b in combinations(walk.edges[k0], 2):
            ca, cb = walk.contributions.get((k0, a)), walk.contributions.get((k0, b))
            if ca is None or cb is None or isinstance(ca, Outputs) or np.shape(ca) != np.shape(cb):
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


def _reordered(walk: Backward, words: Words, parts: Parts, order: Any, moved: list[int]) -> Mistake:
    by = {k: m for i in moved for k, m in zip(parts[i], parts[order[i]], strict=True)}

    def says() -> str:
        names = ", ".join([words.value(parts[i][-1]) for i in moved])
        whole = words.marked(parts[0][-1], 0)
        return f"the gradients of {names} are put into each other's blocks of {whole}"

    return Mistake("permuted", 1.0 + 0.1 * (len(moved) > 2), _placed(walk, by), says)


def _swaps(n: int) -> Iterator[list[int]]:
    for a, b in combinations(range(n), 2):
        order = list(range(n))
        order[a], order[b] = b, a
        yield order


def assigned(walk: Backward, words: Words) -> Iterator[Mistake]:
    """Parts that overlap are assigned and not added: the last one wins. Or all go to one place."""
    for parts in _parts(walk):
        names = [words.value(part[-1]) for part in parts]
        whole = words.marked(parts[0][-1], 0)
        for one, name in ((parts[0], names[0]), (parts[-1], names[-1])):
            by = {k: m for part in parts for k, m in zip(part, one, strict=True) if part is not one}
            said = f"the gradients of all parts of {whole} are put where that of {name} belongs"
            yield Mistake("wrong step", 1.15, _placed(walk, by), lambda said=said: said)  # type: ignore[misc]
        if walk.site_of[parts[0][-1]].op != "getitem":
            continue
        covers = [walk.pulled(p[-1], np.ones(np.shape(walk.z[p[-1]])))[0] != 0 for p in parts]
        if sum(cover.astype(int) for cover in covers).max() < 2:
            continue
        said = f"the gradients of {', '.join(names)} overlap, and are assigned where they should be"
        for order in (range(len(parts)), reversed(range(len(parts)))):
            owner = np.full(covers[0].shape, -1)
            for i in order:
                owner[covers[i]] = i
            edits: dict[Edge, Edit] = {}
            for i, part in enumerate(parts):
                for k in part:
                    edits[k, 0] = lambda e, g, c, now, own=owner == i: c * own  # type: ignore[misc]
            yield Mistake(
                "not accumulated", 1.0, edits,
                lambda said=said: f"{said} added (= where += belongs)",  # type: ignore[misc]
            )  # fmt: skip


def _placed(walk: Backward, by: dict[int, int]) -> dict[Edge, Edit]:
    """Put the gradient of every part where that of another belongs."""
    return {(k, 0): lambda e, g, c, now: walk.pulled(by[e[0]], g, 0)[0] for k in by}


def repeated(spot: Spot) -> Iterator[Mistake]:
    """What was taken several times, as the row of a word, gets its gradient from the last only."""
    if spot.op != "getitem" or spot.several or spot.j:
        return
    walk = spot.walk

    def edit(e: Edge, g: Any, c: Any, now: Any) -> Any:
        put = np.zeros(np.shape(c))
        put[walk.index(e[0])] = g
        return put

    if any(
        not np.allclose(
            edit(e, walk.cots[e[0]], walk.contributions[e], None), walk.contributions[e]
        )
        for e in spot.edges
    ):
        yield spot.mistake(
            "not accumulated", 0.85, edit,
            "elements of {what} are taken several times in {here}, and only the last one passes "
            "its gradient: `d[index] += g` assigns, `np.add.at(d, index, g)` adds",
        )  # fmt: skip


def shifted(spot: Spot) -> Iterator[Mistake]:
    """An input of a concatenation gets the gradient of other elements: `d[-n:]` and not `d[:n]`."""
    if spot.op != "concatenate" or spot.several:
        return
    n = np.shape(spot.z)
    (axis,) = [a for a, size in enumerate(np.shape(spot.c)) if size != n[a]] or [0]
    size = np.shape(spot.c)[axis]
    starts = {0: "first", n[axis] - size: "last"}
    for start, which in starts.items():

        def edit(e: Edge, g: Any, c: Any, now: Any, start: int = start) -> Any:
            return np.take(g, range(start, start + size), axis)

        if not np.array_equal(edit((spot.k, spot.j), spot.g, None, None), spot.c):
            yield spot.mistake(
                "permuted", 1.15, edit,
                "{what} is given the gradient of the {which} {size} elements of {here} along axis "
                "{axis}, which are others", which=which, size=size, axis=axis,
            )  # fmt: skip


def misplaced(spot: Spot) -> Iterator[Mistake]:
    """The gradient of a part is put where that of the next or the last step belongs."""
    walk = spot.walk
    if spot.op != "getitem" or spot.several or len(spot.edges) < 2 or spot.j:
        return
    ks = [k for k, _ in spot.edges]
    for by, when in ((1, "the next step"), (-1, "the step before")):
        place = {k: ks[(r + by) % len(ks)] for r, k in enumerate(ks)}
        if any(_index(walk, k) != _index(walk, m) for k, m in place.items()):
            edit = next(iter(_placed(walk, place).values()))
            text = "the gradient of {here} is put where that of {when} belongs in {what}"
            yield spot.mistake("wrong step", 1.1, edit, text, when=when)


def _index(walk: Backward, k: int) -> list[Any]:
    return [part.tolist() if isinstance(part, np.ndarray) else part for part in walk.index(k)]


def masked(spot: Spot) -> Iterator[Mistake]:
    """The path of one gate is left out, or gates are exchanged, on the way to one input only."""
    walk = spot.walk
    if spot.several or spot.op in ("getitem", "pick") or not np.ndim(spot.g):
        return
    names = [spot.words.value(m) for m in _cutting(walk, spot.k)]
    for a, name in enumerate(names):

        def without(e: Edge, g: Any, c: Any, now: Any, a: int = a) -> Any:
            return walk.pulled(e[0], g * (1 - _mask(walk, e[0], a)), e[1])[e[1]]

        text = "the path of {gate} is missing in what {here} passes to {what}"
        yield spot.mistake("missing term", 1.1, without, text, gate=name)
    for a, b in combinations(range(len(names)), 2):

        def swapped(e: Edge, g: Any, c: Any, now: Any, a: int = a, b: int = b) -> Any:
            one, two = _mask(walk, e[0], a) != 0, _mask(walk, e[0], b) != 0
            if one.sum() != two.sum():
                return c
            new = np.array(g)
            new[one], new[two] = g[two], g[one]
            return walk.pulled(e[0], new, e[1])[e[1]]

        yield spot.mistake(
            "permuted", 1.2, swapped,
            "the gradients of {one} and {two} are exchanged in what {here} passes to {what}",
            one=names[a], two=names[b],
        )  # fmt: skip


def _cutting(walk: Backward, k: int) -> list[int]:
    """List what cuts that which becomes of a node, through additions, into parts."""
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
