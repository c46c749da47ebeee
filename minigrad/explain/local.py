"""Mistakes in one derivative: left out, wrong, scaled, transposed, summed wrongly."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..tape import Outputs, unbroadcast
from .backward import Backward, times
from .forms import FORMS, QUOTIENTS
from .spot import Mistake, Spot
from .words import Words

__all__ = ["chains", "derivatives", "fit", "plain", "scaled"]

PRODUCTS = ("matmul", "einsum", "tensordot", "dot")


def plain(spot: Spot) -> Iterator[Mistake]:
    """A term that is missing, has the wrong sign or is counted twice; a derivative left out."""
    yield spot.mistake(
        "missing term", 1.0 if spot.several or spot.leaf else 1.2, lambda k, g, c, now: times(c, 0),
        lambda: f"the gradient does not flow from {spot.here} back to {spot.what}: this term is missing",
    )  # fmt: skip
    own = spot.op == "negative" or (spot.op == "subtract" and spot.j == 1)
    yield spot.mistake(
        "sign", 0.8 if own else 1.2, lambda k, g, c, now: times(c, -1),
        lambda: f"the sign is wrong where {spot.here} passes its gradient to {spot.what}; {spot.right}",
    )  # fmt: skip
    if spot.several or spot.leaf:
        yield spot.mistake(
            "counted twice", 1.15, lambda k, g, c, now: times(c, 2),
            lambda: f"what {spot.here} passes to {spot.what} is counted twice",
        )  # fmt: skip
    if _may_be_left_out(spot):
        yield spot.mistake(
            "derivative left out", 0.9, lambda k, g, c, now: fit(g, c),
            lambda: f"the derivative of {spot.here} is left out: its gradient is passed to "
                    f"{spot.what} as it is; {spot.right}",
        )  # fmt: skip


def _may_be_left_out(spot: Spot) -> bool:
    if isinstance(spot.c, Outputs) or isinstance(spot.g, Outputs) or spot.family == "linear":
        return False
    if spot.op in ("add", "subtract", "negative", "positive"):
        return False
    if spot.op in ("multiply", "divide") and spot.numbers:
        return False  # a factor, see below
    return spot.family == "elementwise" or np.shape(spot.z) == np.shape(spot.x)


def scaled(spot: Spot) -> Iterator[Mistake]:
    """A constant factor: one that the derivative has, or the length of something."""
    seen = {0.0, 1.0, -1.0, *([2.0] if spot.several or spot.leaf else [])}
    for factor, cost, says in itertools.chain(_own_factors(spot), _lengths(spot)):
        if not any(math.isclose(factor, f, rel_tol=1e-9) for f in seen):
            seen.add(factor)
            yield spot.mistake(
                "factor", cost, lambda k, g, c, now, f=factor: times(c, f),  # type: ignore[misc]
                lambda says=says: f"the gradient that {spot.here} passes to {spot.what} {says}",  # type: ignore[misc]
            )  # fmt: skip


def _own_factors(spot: Spot) -> Iterator[tuple[float, float, str]]:
    """The numbers in this derivative, which are forgotten, doubled, or put on the wrong side."""
    if isinstance(spot.c, Outputs):
        return
    op, x, z = spot.op, np.shape(spot.x), np.shape(spot.z)
    if op in ("mean", "average") and np.size(spot.z):
        n = np.size(spot.x) // np.size(spot.z)
        yield n, 0.8, f"is not divided by n = {n}, the number of elements of the mean"
        for m in x:
            if 1 < m < n:
                yield n / m, 0.9, f"is divided by {m} instead of n = {n}, the elements of the mean"
        yield n / (n - 1 or 1), 1.1, f"is divided by {n - 1} instead of n = {n}"
        yield n / (n + 1), 1.3, f"is divided by {n + 1} instead of n = {n}"
        yield n / (n + 2), 1.3, f"is divided by {n + 2} instead of n = {n}"
        yield 1 / n, 1.1, f"is divided twice by n = {n}"
    elif np.size(spot.z) < np.size(spot.x) and spot.family != "multilinear" and len(x):
        n = np.size(spot.x) // max(np.size(spot.z), 1)
        yield 1 / n, 0.9, f"is divided by {n}, as if {op} were a mean"
    if np.size(spot.c) < np.size(spot.g) and spot.family != "multilinear" and np.size(spot.c):
        n = np.size(spot.g) // np.size(spot.c)
        yield 1 / n, 0.9, f"is averaged over the {n} elements that share it, and not summed"
    if op in ("power", "float_power") and spot.j == 0 and spot.numbers and spot.numbers[0]:
        p = spot.numbers[0]
        yield 1 / p, 0.9, f"lacks the factor {p:g} of the derivative"
        yield 2, 1.1, "has a factor 2 too much"
    if op == "square":
        yield 0.5, 0.9, "lacks the factor 2 of the derivative"
        yield 2, 1.1, "has a factor 2 too much"
    if op == "sqrt":
        yield 2, 0.9, "lacks the factor 1/2 of the derivative"
        yield 0.5, 1.1, "has a factor 1/2 too much"
    if op in ("multiply", "divide") and spot.numbers and spot.numbers[0] not in (0.0, 1.0):
        a = spot.numbers[0] if op == "multiply" else 1 / spot.numbers[0]
        name = f"{spot.numbers[0]:g}"
        side = ("multiplied", "divided") if op == "multiply" else ("divided", "multiplied")
        yield 1 / a, 0.85, f"is not {side[0]} by {name}"
        yield 1 / a**2, 1.0, f"is {side[1]} by {name} instead of {side[0]}"
        yield a, 1.0, f"is {side[0]} by {name} twice"
        if a < 0:
            yield -1.0, 0.9, "has the wrong sign"


def _lengths(spot: Spot) -> Iterator[tuple[float, float, str]]:
    walk = spot.walk
    yield 2, 1.3, "has a factor 2 too much"
    yield 0.5, 1.3, "has a factor 1/2 too much"
    sizes: dict[int, str] = {}
    shapes = [np.shape(spot.x), np.shape(spot.z), *[np.shape(walk.z[k]) for k in walk.leaves]]
    for shape in shapes:
        for n in shape:
            sizes.setdefault(n, f"{n}, the length of an axis of {shape},")
        if len(shape) > 1:
            n = math.prod(shape)
            sizes.setdefault(n, f"{n}, the size of {shape},")
    for site in walk.sites:
        sizes.setdefault(len(site), f"{len(site)}, the number of steps,")
    for n, text in sizes.items():
        if n > 1:
            yield 1 / n, 1.35, f"has a factor 1/{text} too much"
            yield n, 1.35, f"has a factor {text} too much"
            yield math.sqrt(n), 1.5, f"has a factor sqrt({n}) too much"
            yield 1 / math.sqrt(n), 1.5, f"has a factor 1/sqrt({n}) too much"


def derivatives(spot: Spot) -> Iterator[Mistake]:
    """Another derivative in the place of the right one; a transpose; a sum over the wrong axis."""
    if isinstance(spot.c, Outputs) or isinstance(spot.g, Outputs):
        return
    walk, j = spot.walk, spot.j
    if spot.family != "linear" and spot.unary and np.shape(spot.z) == np.shape(spot.x):
        for text, form, cost in FORMS if not spot.inside else ():
            yield spot.mistake(
                "wrong derivative", cost,
                lambda k, g, c, now, f=form: fit(g * f(walk.z[k], walk.xs[k][j]), c),  # type: ignore[misc]
                lambda text=text: f"the derivative of {spot.here} is taken as "  # type: ignore[misc]
                f"`{_written(text, spot)}`; {spot.right}",
            )  # fmt: skip
    if spot.op == "divide" and not spot.numbers:
        for text, quotient in QUOTIENTS[j]:
            yield spot.mistake(
                "wrong derivative", 1.3,
                lambda k, g, c, now, f=quotient: fit(g * f(*walk.xs[k]), c),  # type: ignore[misc]
                lambda text=text: f"the derivative of {spot.here}, x / y, by {spot.what} is "  # type: ignore[misc]
                f"taken as `{text}`; {spot.right}",
            )  # fmt: skip
    yield from _transposes(spot)
    yield from _reductions(spot)


def _written(text: str, spot: Spot) -> str:
    return text.format(z=spot.words.short(spot.k), x=spot.words.input(spot.k, spot.j))


def _square(x: Any) -> bool:
    return np.ndim(x) >= 2 and np.shape(x)[-1] == np.shape(x)[-2]


def _transposes(spot: Spot) -> Iterator[Mistake]:
    walk, j = spot.walk, spot.j
    if _square(spot.c):
        yield spot.mistake(
            "transpose", 1.2 if spot.leaf else 1.3, lambda k, g, c, now: np.swapaxes(c, -1, -2),
            lambda: f"the gradient that {spot.here} passes to {spot.what} is transposed; {spot.right}",
        )  # fmt: skip
    if spot.op not in PRODUCTS or len(spot.xs) != 2:
        return
    if _square(spot.xs[1 - j]):

        def turned(k: int, g: Any, c: Any, now: Any) -> Any:
            xs = list(walk.xs[k])
            xs[1 - j] = np.swapaxes(xs[1 - j], -1, -2)
            return walk.pulled(k, g, j, xs)[j]

        yield spot.mistake(
            "transpose", 1.1, turned,
            lambda: f"{spot.words.marked(spot.k, 1 - j)} is not transposed (or is, where it should "
                    f"not be) in the gradient that {spot.here} passes to {spot.what}; {spot.right}",
        )  # fmt: skip
    if _square(spot.g):
        yield spot.mistake(
            "transpose", 1.3, lambda k, g, c, now: walk.pulled(k, np.swapaxes(g, -1, -2), j)[j],
            lambda: f"the gradient of {spot.here} is transposed before it gives that of "
                    f"{spot.what}; {spot.right}",
        )  # fmt: skip


def _reductions(spot: Spot) -> Iterator[Mistake]:
    """What was broadcast gets its gradient from some elements only, or from the wrong axis."""
    walk, j, g0 = spot.walk, spot.j, spot.g
    if not np.ndim(g0) or np.size(spot.c) >= np.size(g0) or spot.family == "multilinear":
        return
    for axis, at in itertools.product(range(np.ndim(g0)), (0, -1)):

        def one(k: int, g: Any, c: Any, now: Any, axis: int = axis, at: int = at) -> Any:
            only = np.zeros(np.shape(g))
            index: list[Any] = [slice(None)] * np.ndim(g)
            index[axis] = at
            only[tuple(index)] = 1
            return walk.pulled(k, g * only, j)[j]

        yield spot.mistake(
            "broadcast", 1.3, one,
            lambda axis=axis, at=at: f"{spot.what} is broadcast in {spot.here}, but its gradient "  # type: ignore[misc]
            f"takes only the {'last' if at else 'first'} element of axis {axis}: sum over it",
        )  # fmt: skip
    if _square(g0):
        yield spot.mistake(
            "broadcast", 1.1, lambda k, g, c, now: walk.pulled(k, np.swapaxes(g, -1, -2), j)[j],
            lambda: f"{spot.what} is broadcast in {spot.here}, and its gradient is summed over the "
                    "wrong axis",
        )  # fmt: skip


def chains(walk: Backward, words: Words) -> Iterator[Mistake]:
    """Mistakes in the derivative of a chain of functions, such as 1 / (1 + exp(-x)), as a whole."""
    for site in walk.sites:
        links = [_links(walk, k) for k in site.members]
        for n in range(2, min(map(len, links)) + 1):
            parts = [ks[:n] for ks in links]
            if _one_thought(words, parts[-1], links[-1]):
                yield from _chain(walk, words, parts)


def _chain(walk: Backward, words: Words, parts: list[list[int]]) -> Iterator[Mistake]:
    top = {ks[-1]: ks[0] for ks in parts}
    first, last = parts[-1][0], parts[-1][-1]
    j = next(iter(walk.edges[last]))
    names = {"z": words.short(first), "x": words.input(last, j)}
    forms: list[Any] = [("", lambda z, x: np.ones(np.shape(x)), 0.7), *FORMS]
    if walk.site_of[first].op in ("negative", "multiply", "divide", "add", "subtract") and len(
        parts[-1]
    ) == 2:
        forms = forms[:1]
    for text, form, cost in forms:

        def edit(k: int, g: Any, c: Any, now: Any, form: Any = form) -> Any:
            m = top[k]
            return now(m) * form(walk.z[m], walk.xs[k][next(iter(walk.edges[k]))])

        def says(text: str = text) -> str:
            y, x = walk.z[first], walk.xs[last][j]
            with np.errstate(all="ignore"):
                sigmoid = bool(np.allclose(y, 1 / (1 + np.exp(-x)), rtol=1e-9))
            right = f"; it should be `g * {names['z']} * (1 - {names['z']})`" if sigmoid else ""
            whole = f"the derivative of {words.value(first)} by `{names['x']}` is "
            wrong = f"taken as `{text.format(**names)}`" if text else "left out"
            return f"{whole}{wrong}{right}"

        edits = {(k, next(iter(walk.edges[k]))): edit for k in top}
        yield Mistake("wrong derivative" if text else "derivative left out", cost - 0.15, edits, says)


def _links(walk: Backward, k: int) -> list[int]:
    """Follow a chain of elementwise functions of one variable from node k down."""
    links: list[int] = []
    while (
        len(walk.edges[k]) == 1
        and getattr(walk.nodes[k].primitive, "family", "") == "elementwise"
        and all(np.ndim(x) == 0 for i, x in enumerate(walk.xs[k]) if i not in walk.edges[k])
        and (not links or walk.uses[k] == [links[-1]])
        and np.ndim(walk.z[k])
    ):
        links.append(k)
        (k,) = walk.edges[k].values()
    return links


def _one_thought(words: Words, part: list[int], links: list[int]) -> bool:
    """Whether a part of a chain is all that a helper function computes, or stands outside of any."""
    call = words.expressions.get(part[0], (None, True))[0]
    same = [k for k in links if words.expressions.get(k, (None, True))[0] == call]
    return part == same if words.inner(part[0]) else not any(map(words.inner, part))


def fit(g: Any, c: Any) -> Any:
    """Sum or broadcast a cotangent to the shape of the contribution that it replaces."""
    shape = np.shape(c)
    if np.shape(g) == shape:
        return g
    if np.ndim(g) >= len(shape) and np.size(g) >= np.size(c):
        return unbroadcast(g, shape)
    return np.broadcast_to(g, shape)
