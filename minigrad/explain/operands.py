"""Mistakes that put another value in the place of one that a derivative needs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import chain, permutations
from typing import Any

import numpy as np

from ..core.tape import Outputs
from .backward import Backward, Edge, Edit
from .pool import SHIFTS, Other, Pool, Values, constantly, mark
from .shapes import PRODUCTS
from .spot import Group, Mistake, Spot
from .words import Words

__all__ = ["aliased", "factors", "operands"]

Others = tuple[str, float, Callable[[], str], list[Values]]
"""As `Other`, but values for every part of a spot."""


def operands(spot: Spot, pool: Pool) -> Iterator[Mistake]:
    """Another value for an input, or for the output (-1) if the derivative is written with it."""
    walk, j = spot.walk, spot.j
    parts = spot.spots if isinstance(spot, Group) else [spot]
    once = all(len({k for k, _ in part.edges}) == len(part.edges) for part in parts)
    if spot.family not in ("elementwise", "multilinear") or not once:
        return
    own = [-1, j] if spot.unary else []
    for i in own or [i for i in range(len(spot.xs)) if i != j]:
        if any(len(walk.xs[k]) <= i for part in parts for k, _ in part.edges):
            continue  # siblings need not take as many operands
        now = [[walk.z[k] if i < 0 else walk.xs[k][i] for k, _ in part.edges] for part in parts]
        if any(isinstance(v, Outputs) or not np.ndim(v) for values in now for v in values):
            continue
        for kind, cost, says, values in chain(_together(spot, pool, now, i), _spoilt(pool, now)):
            by = {
                e: (i, v)
                for part, vs, old in zip(parts, values, now, strict=True) if vs is not old
                for e, v in zip(part.edges, vs, strict=True)
            }  # fmt: skip
            last = values[-1][-1]
            if own and any(np.array_equal(last, v) for v in (spot.x, spot.z)):
                kind = "wrong derivative"  # at the output instead of the input, or the reverse
            its = spot if len(by) == len(spot.edges) else _narrowed(spot, by)
            yield its.mistake(
                kind, cost, _replaced(walk, by),
                "{passes} uses {other} where {old} belongs; {right}",
                other=says, old=its.here if i < 0 else its.words.marked(its.k, i),
            )  # fmt: skip


def _narrowed(spot: Spot, edges: Collection[Edge]) -> Spot:
    """Give the spot of some of the edges of a group only."""
    assert isinstance(spot, Group)
    return Group(spot.kind, [part for part in spot.spots if part.edges[0] in edges])


def _replaced(walk: Backward, by: dict[Edge, tuple[int, Any]]) -> Edit:
    """Apply the rule of every edge to another value of input i, or of the output for i = -1.

    With another input the output is computed again, so that it does not matter which of the two
    the rule is written with.
    """

    def edit(e: Edge, g: Any, c: Any, now: Any) -> Any:
        (k, j), (i, value) = e, by[e]
        if i < 0:
            return walk.pulled(k, g, j, None, value)[j]
        xs, z, node = list(walk.xs[k]), None, walk.nodes[k]
        xs[i] = np.asarray(value, xs[i].dtype)  # a mask may stand for a number, or a number for it
        with np.errstate(all="ignore"):
            if walk.family(k) == "elementwise":
                z = node.primitive.forward(*xs, **node.params)
            return walk.pulled(k, g, j, xs, z)[j]

    return edit


def _spoilt(pool: Pool, now: Sequence[Values]) -> Iterator[Others]:
    """List gradients that may have been written over a value: its own, or of what made it."""
    walk, ks = pool.walk, [pool.nodes.get(id(v)) for v in now[0]]
    for _ in range(4):
        if len(now) > 1 or None in ks or any(k not in walk.cots for k in ks):
            return
        values = [walk.cots[k] for k in ks]  # type: ignore[index]
        if any(np.shape(g) != np.shape(v) for g, v in zip(values, now[0], strict=True)):
            return
        said = constantly(f"the gradient of {pool.words.value(ks[-1])}")  # type: ignore[arg-type]
        yield "overwritten", 1.4, said, [values]
        ks = [walk.edges[k].get(min(walk.edges[k], default=0)) for k in ks]  # type: ignore[index]


def _together(spot: Spot, pool: Pool, now: Sequence[Values], i: int) -> Iterator[Others]:
    """List other values for all parts of a spot: for siblings, each its own, or one for all."""
    if len({mark(values) for values in now}) == 1:
        for kind, cost, says, values in pool.instead(now[0], spot.op in PRODUCTS):
            yield kind, cost, says, [values] * len(now)
        return
    for by, when in SHIFTS:
        for moved in zip(*[pool.moved(values, by) for values in now], strict=True):
            if any(mark(a) != mark(b) for a, b in zip(moved, now, strict=True)):
                cost = 1.1 + 0.1 * (abs(by) > 1)
                yield "wrong step", cost, constantly(f"its value of {when}"), [*moved]
    if len({len(values) for values in now}) > 1:
        return
    if len({np.shape(v) for values in now for v in values}) == 1 and len(now) <= 9:
        n = len(now)
        orders = list(permutations(range(n)))[1:] if n <= 4 else [tuple(range(n))[::-1]]
        says = constantly("those of its siblings in another order")
        for order in orders:
            yield "permuted", 1.2, says, [now[a] for a in order]
    for values, part in zip(now, spot.spots if isinstance(spot, Group) else [spot], strict=True):
        if all(np.shape(v) == np.shape(w) for v, w in zip(values, now[0], strict=True)):
            says = constantly(f"{part.words.marked(part.k, i)} everywhere")
            yield "swapped operand", 1.15, says, [values] * len(now)


def factors(spot: Spot, pool: Pool) -> Iterator[Mistake]:
    """A quantity, or the derivative of one, that the gradient is multiplied with or lacks."""
    walk, k0, shape = spot.walk, spot.k, np.shape(spot.c)
    if spot.several or not shape:
        return
    near = {spot.source, k0, *walk.edges[k0].values(), *walk.uses[spot.source], *walk.uses[k0]}
    near |= {m for k in list(near) for m in (*walk.edges[k].values(), *walk.uses[k])}
    for m in sorted(near):
        v = walk.z[m]
        if isinstance(v, Outputs) or not 0 < np.ndim(v) <= len(shape):
            continue
        if any(a not in (1, b) for a, b in zip(np.shape(v)[::-1], shape[::-1])):  # noqa: B905
            continue
        name = spot.words.value(m)
        yield from _scaled_by(spot, m, name, False)
        if len(walk.edges[m]) == 1 and walk.family(m) == "elementwise":
            yield from _scaled_by(spot, m, f"the derivative of {name}", True)


def _scaled_by(spot: Spot, m: int, name: str, derived: bool) -> Iterator[Mistake]:
    walk = spot.walk

    def scaled(change: Callable[[Any, Any], Any]) -> Edit:
        def edit(e: Edge, g: Any, c: Any, now: Any) -> Any:
            its = walk.beside(spot.k, m, e[0])
            if its is None:
                return c
            v = walk.z[its]
            if derived:
                (v,) = walk.pulled(its, np.ones(np.shape(v))).values()
            return change(c, v)

        return edit

    yield spot.mistake(
        "derivative left out", 1.35, scaled(lambda c, v: c / v), "{passes} lacks the factor {name}",
        name=name,
    )  # fmt: skip
    yield spot.mistake(
        "wrong derivative", 1.45, scaled(lambda c, v: c * v),
        "{passes} is multiplied by {name}, which does not belong there", name=name,
    )  # fmt: skip
    if not derived:
        yield spot.mistake(
            "wrong derivative", 1.45, scaled(lambda c, v: c * (v > 0)),
            "{passes} is let through only where {name} is positive, as behind a relu", name=name,
        )  # fmt: skip


def aliased(walk: Backward, words: Words, pool: Pool) -> Iterator[Mistake]:
    """A value that was overwritten in the forward pass, wherever the derivatives need it."""
    users: dict[int, list[tuple[Edge, int]]] = defaultdict(list)
    for k, j in walk.contributions:
        elementwise = walk.family(k) == "elementwise"
        for i, x in enumerate(walk.xs[k]):
            if (i != j or elementwise) and isinstance(x, np.ndarray) and x.ndim:
                users[id(x)].append(((k, j), i))
        if len(walk.xs[k]) == 1 and elementwise:
            users[id(walk.z[k])].append(((k, j), -1))
    distinct = {tuple(map(id, values)): (name, values) for name, values in reversed(pool.series)}
    for name, values in distinct.values():
        places = [users.get(id(v), []) for v in values]
        if sum(map(len, places)) <= len(values) or not all(places):
            continue
        if any(k in words.interior for found in places for (k, _), _ in found):
            continue
        for kind, cost, says, others in _overwriting(pool, values):
            by = {e: (i, v) for found, v in zip(places, others, strict=True) for e, i in found}
            yield Mistake(
                kind if kind in ("wrong step", "initial state") else "overwritten", cost + 0.1,
                dict.fromkeys(by, _replaced(walk, by)),
                lambda name=name, says=says: f"wherever the gradients need {name()}, {says()} is "  # type: ignore[misc]
                "used: was it overwritten?",
            )  # fmt: skip


def _overwriting(pool: Pool, values: Values) -> Iterator[Other]:
    """List what may stand in the place of a value: itself at another step, or what it became."""
    return (o for o in pool.instead(values) if o[0] != "swapped operand" or o[1] < 1.2)
