"""Mistakes in one derivative: the term missing, its sign, a factor, or another derivative."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.tape import unbroadcast
from .backward import Edge, times
from .forms import FORMS, QUOTIENTS
from .spot import Mistake, Spot
from .words import factor

__all__ = ["derivatives", "fit", "plain", "scaled", "switched"]


def plain(spot: Spot) -> Iterator[Mistake]:
    """A term that is missing, has the wrong sign or is counted twice; a derivative left out."""
    yield spot.mistake(
        "missing term", 0.8, lambda e, g, c, now: times(c, 0),
        "the gradient does not flow from {here} back to {what}: this term is missing",
    )  # fmt: skip
    yield spot.mistake(
        "sign", 0.8 if _own_sign(spot) else 1.1, lambda e, g, c, now: times(c, -1),
        "the sign is wrong where {here} passes its gradient to {what}; {right}",
    )  # fmt: skip
    several = len(spot.walk.uses[spot.source]) > 1
    adds = spot.kind == "one" and (spot.leaf or spot.carried or several)
    yield spot.mistake(
        "counted twice", 1.1 if adds else 1.35, lambda e, g, c, now: times(c, 2),
        "what {here} passes to {what} is counted twice",
    )  # fmt: skip
    if _may_be_left_out(spot):
        yield spot.mistake(
            "derivative left out", 0.9, lambda e, g, c, now: fit(g, c),
            "the derivative of {here} is left out: its gradient is passed to {what} as it is; "
            "{right}",
        )  # fmt: skip
        yield spot.mistake(
            "counted twice", 1.4, lambda e, g, c, now: fit(g, c) + c,
            "the gradient of {here} is passed to {what} as it is, in addition to what belongs "
            "there; {right}",
        )  # fmt: skip
    if spot.op in ("max", "min", "prod") and not spot.several:
        yield spot.mistake(
            "derivative left out", 0.95, lambda e, g, c, now: _back(spot, g, c),
            "the derivative of {here} is left out: its gradient is passed to all elements of "
            "{what} as it is; {right}",
        )  # fmt: skip
        share = np.size(spot.z) / np.size(spot.x)
        yield spot.mistake(
            "wrong derivative", 1.0, lambda e, g, c, now: _back(spot, g, c) * share,
            "the gradient of {here} is shared by all elements of {what}, as if it were a mean; "
            "{right}",
        )  # fmt: skip


def _back(spot: Spot, g: Any, c: Any) -> Any:
    """Broadcast the gradient of a reduction back along the axes that it was made over."""
    params = spot.walk.nodes[spot.k].params
    axis = params.get("axis")
    if axis is not None and not params.get("keepdims"):
        g = np.expand_dims(g, axis)
    return np.broadcast_to(g, np.shape(c))


def _own_sign(spot: Spot) -> bool:
    """Whether the derivative has a minus sign to be forgotten."""
    if spot.op in ("negative", "cos", "reciprocal"):
        return True
    if spot.op in ("multiply", "power"):
        return any(a < 0 for a in spot.numbers)
    return spot.op in ("subtract", "divide") and spot.j == 1


def _may_be_left_out(spot: Spot) -> bool:
    if spot.several or spot.family == "linear":
        return False
    if spot.op in ("add", "subtract", "negative", "positive"):
        return False
    if spot.op in ("multiply", "divide") and spot.numbers:
        return False  # a factor, see below
    return spot.family == "elementwise" or np.shape(spot.z) == np.shape(spot.x)


def scaled(spot: Spot) -> Iterator[Mistake]:
    """A constant factor: one that the derivative has, or the length of something."""
    seen = [0.0, 1.0, -1.0]
    for off, cost, text in itertools.chain(_own_factors(spot), _lengths(spot)):
        if off and not any(math.isclose(off, f, rel_tol=1e-9) for f in seen):
            seen.append(off)

            def edit(e: Edge, g: Any, c: Any, now: Any, off: float = off) -> Any:
                return times(c, off)

            yield spot.mistake("factor", cost, edit, "{passes} {is_off}", is_off=text)


def _own_factors(spot: Spot) -> Iterator[tuple[float, float, str]]:
    """The numbers in this derivative, which are forgotten, doubled, or put on the wrong side."""
    if spot.several:
        return
    op, x, z, c, g = spot.op, np.shape(spot.x), np.shape(spot.z), np.size(spot.c), np.size(spot.g)
    if op in ("mean", "average"):
        n = math.prod(x) // max(math.prod(z), 1)
        yield n, 0.8, f"is not divided by n = {n}, the number of elements of the mean"
        axes = spot.walk.nodes[spot.k].params.get("axis")
        over = x if axes is None else [x[a] for a in np.atleast_1d(axes)]
        for m in [m for m in over if 1 < m < n]:
            yield n / m, 0.9, f"is divided by {m} instead of n = {n}, the elements of the mean"
        for m in _sizes(spot):
            yield n / m, 1.1, f"is divided by {m} instead of n = {n}, the elements of the mean"
        for m in (n - 1, n + 1, n + 2):
            if m:
                yield n / m, 1.15, f"is divided by {m} instead of n = {n}, the elements of the mean"
    elif math.prod(z) < math.prod(x) and spot.family != "multilinear":
        n = math.prod(x) // max(math.prod(z), 1)
        yield 1 / n, 0.9, f"is divided by {n}, as if {op} were a mean"
    if 0 < c < g and spot.family != "multilinear":
        yield c / g, 0.9, f"is averaged over the {g // c} elements that share it, and not summed"
    if op in ("power", "float_power") and spot.j == 0 and spot.numbers and spot.numbers[0]:
        yield 1 / spot.numbers[0], 0.85, f"lacks the factor {spot.numbers[0]:g} of the derivative"
        yield 2, 1.1, "has a factor 2 too much"
    if op in ("square", "sqrt"):
        f = 0.5 if op == "square" else 2.0
        yield f, 0.85, f"lacks the factor {1 / f:g} of the derivative"
        yield 1 / f, 1.1, f"has a factor {1 / f:g} too much"
    if op in ("multiply", "divide") and spot.numbers and spot.numbers[0] not in (0.0, 1.0):
        name = f"{spot.numbers[0]:g}"
        a = spot.numbers[0] if op == "multiply" else 1 / spot.numbers[0]
        right, wrong = ("multiplied", "divided") if op == "multiply" else ("divided", "multiplied")
        yield 1 / a, 0.8, f"is not {right} by {name}"
        yield 1 / a**2, 1.0, f"is {wrong} by {name} instead of {right}"
        yield a, 1.0, f"is {right} by {name} twice"
        for m in _sizes(spot):
            instead = m if op == "multiply" else 1 / m
            yield instead / a, 1.1, f"is {right} by {m} instead of {name}"


def _sizes(spot: Spot) -> dict[int, str]:
    """List the lengths that a factor may be taken from, with words for them."""
    walk, sizes = spot.walk, dict[int, str]()
    shapes = [np.shape(spot.x), np.shape(spot.z), *[np.shape(walk.z[k]) for k in walk.leaves]]
    for shape in filter(None, shapes):  # several outputs have no shape
        for n in shape:
            sizes.setdefault(n, f"{n}, the length of an axis of {shape},")
    for site in walk.sites:
        sizes.setdefault(len(site), f"{len(site)}, the number of steps,")
    return {n: text for n, text in sizes.items() if n > 1}


def _lengths(spot: Spot) -> Iterator[tuple[float, float, str]]:
    yield 2, 1.2, "has a factor 2 too much"
    yield 0.5, 1.2, "has a factor 1/2 too much"
    for n, text in _sizes(spot).items():
        yield 1 / n, 1.25, f"has a factor 1/{text} too much"
        yield n, 1.25, f"has a factor {text} too much"


def derivatives(spot: Spot) -> Iterator[Mistake]:
    """Another derivative in the place of the right one."""
    walk = spot.walk
    if spot.several or spot.inside or spot.family == "linear":
        return
    constant = spot.numbers and spot.op in ("add", "subtract", "multiply", "divide")
    if spot.unary and np.shape(spot.z) == np.shape(spot.x) and not constant:
        for text, form, cost in FORMS:

            def edit(e: Edge, g: Any, c: Any, now: Any, form: Any = form) -> Any:
                return fit(g * form(walk.z[e[0]], walk.xs[e[0]][e[1]]), c)

            yield spot.mistake(
                "wrong derivative", cost, edit,
                "the derivative of {here} is taken as `{taken}`; {right}",
                taken=lambda text=text: text.format(
                    z=factor(spot.words.short(spot.k)), x=factor(spot.words.input(spot.k, spot.j))
                ),
            )  # fmt: skip
    for text, quotient in QUOTIENTS[spot.j] if spot.op == "divide" and not spot.numbers else ():

        def of_both(e: Edge, g: Any, c: Any, now: Any, quotient: Any = quotient) -> Any:
            return fit(g * quotient(*walk.xs[e[0]]), c)

        yield spot.mistake(
            "wrong derivative", 1.25, of_both,
            "the derivative of {here}, x / y, by {what} is taken as `{taken}`; {right}", taken=text,
        )  # fmt: skip


def switched(spot: Spot) -> Iterator[Mistake]:
    """Where a gradient is let through or not, another quantity decides than the right one."""
    walk = spot.walk
    if spot.op not in ("maximum", "minimum", "relu", "leaky_relu", "abs", "clip"):
        return
    for site in walk.sites:
        if len(site) != len(spot.edges) or np.shape(walk.z[site.members[-1]]) != np.shape(spot.c):
            continue
        by = dict(zip([k for k, _ in spot.edges], site.members, strict=True))

        def edit(e: Edge, g: Any, c: Any, now: Any, by: dict[int, int] = by) -> Any:
            return fit(g * (walk.z[by[e[0]]] > 0), c)

        yield spot.mistake(
            "swapped operand", 1.3, edit,
            "the gradient of {here} is let through to {what} where {other} is positive; {right}",
            other=spot.words.value(site.members[-1]),
        )  # fmt: skip


def fit(g: Any, c: Any) -> Any:
    """Sum or broadcast a cotangent to the shape of the contribution that it replaces."""
    shape = np.shape(c)
    if np.shape(g) == shape:
        return g
    if np.ndim(g) >= len(shape) and np.size(g) >= np.size(c):
        return unbroadcast(g, shape)
    return np.broadcast_to(g, shape)
