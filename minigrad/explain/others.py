"""What may be taken for what a term is made of: another value for an operand, another gradient.

Each is given with words for it, as a function of the term: what belongs to the term's own step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..core.tape import Outputs
from .backward import mark
from .term import Term, fit

__all__ = [
    "PRODUCTS", "at_other_steps", "of_other_nodes", "other_gradients", "other_values",
    "terms_of_it",
]  # fmt: skip

SHIFTS = (
    (1, "the next step"), (-1, "the step before"), (2, "two steps later"), (-2, "two steps before"),
)  # fmt: skip
PRODUCTS = ("matmul", "einsum", "tensordot", "dot")
Of = Callable[[Term], Any]
Option = tuple[Any, str]


def _operands(t: Term) -> list[int]:
    """List the inputs that the derivative is written with; -1 is the output."""
    if t.family not in ("elementwise", "multilinear") or t.several or t.top != t.k:
        return []
    chosen = [-1, t.j] if t.unary else [i for i in range(len(t.xs)) if i != t.j]
    return [i for i in chosen if np.ndim(_operand(t, t.k, i))]


def at_other_steps(t: Term) -> Iterator[Option]:
    """Give an operand of another step: by an index that wraps, held at the ends, or zero there."""
    ks = t.walk.site_of[t.k].members
    for i in _operands(t) if len(ks) > 1 else ():
        states, start = _states(t, ks, i)
        n, now = len(states), [_operand(t, k, i) for k in ks]
        seen = {mark(now)}
        for by, text in SHIFTS:
            at = [r + start + by for r in range(len(ks))]
            for values in (
                [states[a % n] for a in at],
                [states[min(max(a, 0), n - 1)] for a in at],
                [states[a] if 0 <= a < n else 0 * states[0] for a in at],
            ):
                if _new(values, now, seen):
                    yield _at(i, values), f"its value of {text} where `{_name(t, i)}`"
        for values, text in (
            ([states[-1]] * len(ks), "its value of the last step, at every step,"),
            ([0 * states[0], *now[1:]], "zeros at the first step"),
            (now[::-1], "its values in reverse order"),
        ):
            if _new(values, now, seen):
                yield _at(i, values), f"{text} where `{_name(t, i)}`"


def other_values(t: Term) -> Iterator[Option]:
    """Give another quantity of the forward pass for an operand, the nearest first."""
    walk, ks = t.walk, t.walk.site_of[t.k].members
    for i in _operands(t):
        now = [_operand(t, k, i) for k in ks]
        seen = {mark(now)}
        around = {t.top, *walk.edges[t.top].values(), *walk.uses[t.top], *walk.uses[t.source]}
        around |= {*walk.edges[t.source].values()}
        for values, m, a in sorted(walk.series, key=lambda one: one[1] not in around):
            some = [values[0]] * len(ks) if len(values) == 1 else values[-len(ks) :]
            turns = (False, True) if t.op in PRODUCTS and np.ndim(some[0]) > 1 else (False,)
            for turned in turns:
                new = [np.swapaxes(v, -1, -2) for v in some] if turned else some
                if len(new) == len(ks) and _new(new, now, seen):
                    said = t.words.value(m) if a < 0 else t.words.marked(m, a)
                    yield _at(i, new), f"{said}{', transposed,' * turned} where `{_name(t, i)}`"


def _new(values: Sequence[Any], now: Sequence[Any], seen: set[int]) -> bool:
    """Whether values have the right shapes, and are not among those seen before."""
    if any(np.shape(v) != np.shape(x) for v, x in zip(values, now, strict=True)):
        return False
    number = mark(values)
    new = number not in seen
    seen.add(number)
    return new


def _at(i: int, values: Sequence[Any]) -> Of:
    def of(t: Term) -> Any:
        if len(t.walk.site_of[t.k]) != len(values):
            raise ValueError("it is made at other steps")
        return t.pulled(None, i, values[t.walk.rank[t.k]])

    return of


def _operand(t: Term, k: int, i: int) -> Any:
    return t.walk.z[k] if i < 0 else t.walk.xs[k][i]


def _name(t: Term, i: int) -> str:
    return t.words.short(t.k) if i < 0 else t.words.input(t.k, i)


def _states(t: Term, ks: Sequence[int], i: int) -> tuple[list[Any], int]:
    """Return an operand at all steps, with what it is before the first or after the last.

    The second is the place of the first step in it. What is computed from a state, tanh(c), is
    computed from these as well.
    """
    walk, now = t.walk, [_operand(t, k, i) for k in ks]
    number = {id(z): k for k, z in enumerate(walk.z)}
    made = [number.get(id(v)) for v in now]
    s = made[-1]
    site = walk.site_of.get(-1 if s is None else s)
    if site is not None and made == site.members:  # what was it before the first step?
        for m in {*walk.uses[site.members[0]]}:
            first = walk.site_of[m].members[0]
            for j, n in walk.edges[m].items():
                if n in made and walk.carries(m, j):
                    return [walk.xs[first][j], *now], 1
        if made != [*ks] and len(walk.xs[site.members[0]]) == len(walk.edges[site.members[0]]) == 1:
            node = walk.nodes[site.members[0]]
            inner, start = _states(t, site.members, 0)
            if len(inner) > len(ks):
                return [node.primitive.forward(v, **node.params) for v in inner], start
    site = walk.site_of.get(made[1] if len(ks) > 2 and made[1] is not None else -1)
    if site is not None and len(site) == len(ks) and made[1:] == site.members[:-1]:
        return [*now, walk.z[site.members[-1]]], 0
    return now, 0


# ---- gradients -----------------------------------------------------------------------------------


def of_other_nodes(t: Term) -> Iterator[Option]:
    """Give the gradient of a node that all goes through: a derivative on the way is left out."""
    for m, said in _above(t):
        if _leads_to(t, m):
            yield _from(t, m, None), f"{said} is used where that of {t.here} belongs"


def other_gradients(t: Term) -> Iterator[Option]:
    """Give the gradient of another node, or what one passes to another of its inputs."""
    for m, said in _above(t):
        if not _leads_to(t, m):
            yield _from(t, m, None), said
        for b in t.walk.edges[m]:
            c = t.walk.contributions.get((m, b), ())
            if (m, b) != (t.k, t.j) and np.shape(c) == np.shape(t.g):
                yield _from(t, m, b), f"{said}, as passed to {t.words.marked(m, b)},"


def _above(t: Term) -> Iterator[tuple[int, str]]:
    """List what has its gradient earlier, of one shape with g: the last node at each site."""
    walk, seen = t.walk, {mark([t.g])} if not t.several else set()
    n = len(walk.site_of[t.k])
    for site in walk.sites if not t.several and np.ndim(t.g) else ():
        m = _beside(t, site.members[-1], n)
        if m in walk.cots and m >= min(walk.uses[t.top], default=m) and len(site) in (1, n):
            g = walk.cots[m]
            if m != t.top and not isinstance(g, Outputs) and _new([g], [t.g], seen):
                yield m, f"the gradient of {t.words.value(m)}"


def _beside(t: Term, last: int, n: int) -> int:
    """Give the node of a site that is of the term's own step."""
    site = t.walk.site_of[last]
    return site.members[t.walk.rank[t.k]] if len(site) == n else last


def _from(t: Term, m: int, b: int | None) -> Of:
    k0 = t.k

    def of(t: Term) -> Any:
        its = t.walk.beside(k0, m, t.k)
        assert its is not None
        g = t.now(its) if b is None else t.walk.pulled(its, t.now(its), b)[b]
        return t.pulled(np.reshape(g, np.shape(t.g)))

    return of


def _leads_to(t: Term, m: int) -> bool:
    """Whether all that becomes of the output goes through node m, a few operations on."""
    walk, seen, stack = t.walk, {t.top}, [t.top]
    while stack:
        for n in walk.uses[stack.pop()]:
            if n > m or n == walk.end or len(seen) > 12:
                return False
            if n not in seen and n != m:
                seen.add(n)
                stack.append(n)
    return m > t.top


def terms_of_it(t: Term) -> Iterator[Option]:
    """Give the terms of the gradient g, of which one may be missing, or be there twice."""
    walk = t.walk
    top = t.walk.sum_of(t.top)
    into = {(walk.site_of[m], j): m for m, j in walk.into(top) if m in walk.cots}
    for (site, j), m in into.items() if len(into) > 1 and not t.several else ():

        def of(t: Term, site: Any = site, j: int = j) -> Any:
            total = 0 * t.g
            for n, b in t.walk.into(t.walk.sum_of(t.top)):
                if t.walk.site_of[n] is site and b == j and n in t.walk.cots:
                    total = total + fit(t.walk.pulled(n, t.now(n), b)[b], t.g)
            return t.pulled(total)

        yield of, t.words.value(m)
