"""Mistakes in one derivative: left out, wrong, scaled, transposed, summed wrongly."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..tape import unbroadcast
from .backward import Edge, times
from .forms import FORMS, QUOTIENTS
from .spot import Mistake, Spot

__all__ = [
    "derivatives", "fit", "plain", "reductions", "reordered", "scaled", "switched", "transposes",
]  # fmt: skip

PRODUCTS = ("matmul", "einsum", "tensordot", "dot")


def plain(spot: Spot) -> Iterator[Mistake]:
    """A term that is missing, has the wrong sign or is counted twice; a derivative left out."""
    yield spot.mistake(
        "missing term", 0.8, lambda e, g, c, now: times(c, 0),
        lambda: f"the gradient does not flow from {spot.here} back to {spot.what}: this term is missing",
    )  # fmt: skip
    yield spot.mistake(
        "sign", 0.8 if _own_sign(spot) else 1.1, lambda e, g, c, now: times(c, -1),
        lambda: f"the sign is wrong where {spot.here} passes its gradient to {spot.what}; {spot.right}",
    )  # fmt: skip
    yield spot.mistake(
        "counted twice", 1.1 if spot.kind == "one" and (spot.leaf or spot.carried) else 1.35, lambda e, g, c, now: times(c, 2),
        lambda: f"what {spot.here} passes to {spot.what} is counted twice",
    )  # fmt: skip
    if _may_be_left_out(spot):
        yield spot.mistake(
            "derivative left out", 0.9, lambda e, g, c, now: fit(g, c),
            lambda: f"the derivative of {spot.here} is left out: its gradient is passed to "
                    f"{spot.what} as it is; {spot.right}",
        )  # fmt: skip
        yield spot.mistake(
            "counted twice", 1.4, lambda e, g, c, now: fit(g, c) + c,
            lambda: f"the gradient of {spot.here} is passed to {spot.what} as it is, in addition to "
                    f"what belongs there; {spot.right}",
        )  # fmt: skip


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
    for factor, cost, says in itertools.chain(_own_factors(spot), _lengths(spot)):
        if factor and not any(math.isclose(factor, f, rel_tol=1e-9) for f in seen):
            seen.append(factor)
            yield spot.mistake(
                "factor", cost, lambda e, g, c, now, f=factor: times(c, f),  # type: ignore[misc]
                lambda says=says: f"the gradient that {spot.here} passes to {spot.what} {says}",  # type: ignore[misc]
            )  # fmt: skip


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
    if spot.several:
        return
    walk = spot.walk
    simple = spot.numbers and spot.op in ("add", "subtract", "multiply", "divide")
    if spot.family != "linear" and spot.unary and np.shape(spot.z) == np.shape(spot.x) and not simple:
        for text, form, cost in FORMS if not spot.inside else ():

            def edit(e: Edge, g: Any, c: Any, now: Any, form: Any = form) -> Any:
                return fit(g * form(walk.z[e[0]], walk.xs[e[0]][e[1]]), c)

            yield spot.mistake(
                "wrong derivative", cost, edit,
                lambda text=text: f"the derivative of {spot.here} is taken as "  # type: ignore[misc]
                f"`{_written(text, spot)}`; {spot.right}",
            )  # fmt: skip
    if spot.op == "divide" and not spot.numbers:
        for text, quotient in QUOTIENTS[spot.j]:
            yield spot.mistake(
                "wrong derivative", 1.25,
                lambda e, g, c, now, f=quotient: fit(g * f(*walk.xs[e[0]]), c),  # type: ignore[misc]
                lambda text=text: f"the derivative of {spot.here}, x / y, by {spot.what} is "  # type: ignore[misc]
                f"taken as `{text}`; {spot.right}",
            )  # fmt: skip


def _written(text: str, spot: Spot) -> str:
    return text.format(z=spot.words.short(spot.k), x=spot.words.input(spot.k, spot.j))


def _square(x: Any) -> bool:
    return np.ndim(x) >= 2 and np.shape(x)[-1] == np.shape(x)[-2]


def transposes(spot: Spot) -> Iterator[Mistake]:
    """A transpose that is missing, or one too many: it goes unnoticed where matrices are square."""
    walk = spot.walk
    if spot.several:
        return
    if _square(spot.c):
        yield spot.mistake(
            "transpose", 1.15, lambda e, g, c, now: np.swapaxes(c, -1, -2),
            lambda: f"the gradient that {spot.here} passes to {spot.what} is transposed; {spot.right}",
        )  # fmt: skip
    if spot.op not in PRODUCTS or len(spot.xs) != 2:
        return
    other = 1 - spot.j
    if _square(spot.xs[other]):

        def turned(e: Edge, g: Any, c: Any, now: Any) -> Any:
            xs = list(walk.xs[e[0]])
            xs[other] = np.swapaxes(xs[other], -1, -2)
            return walk.pulled(e[0], g, e[1], xs)[e[1]]

        yield spot.mistake(
            "transpose", 1.1, turned,
            lambda: f"{spot.words.marked(spot.k, other)} is not transposed (or is, where it should "
                    f"not be) in the gradient that {spot.here} passes to {spot.what}; {spot.right}",
        )  # fmt: skip
    for axis in range(np.ndim(spot.xs[other])) if np.ndim(spot.xs[other]) > 1 else ():

        def flipped(e: Edge, g: Any, c: Any, now: Any, axis: int = axis) -> Any:
            xs = list(walk.xs[e[0]])
            xs[other] = np.flip(xs[other], axis)
            return walk.pulled(e[0], g, e[1], xs)[e[1]]

        yield spot.mistake(
            "permuted", 1.35, flipped,
            lambda axis=axis: f"{spot.words.marked(spot.k, other)} is reversed along axis {axis} in "  # type: ignore[misc]
            f"the gradient that {spot.here} passes to {spot.what}",
        )  # fmt: skip
    if _square(spot.g):

        def before(e: Edge, g: Any, c: Any, now: Any) -> Any:
            return walk.pulled(e[0], np.swapaxes(g, -1, -2), e[1])[e[1]]

        yield spot.mistake(
            "transpose", 1.2, before,
            lambda: f"the gradient of {spot.here} is transposed before it gives that of "
                    f"{spot.what}; {spot.right}",
        )  # fmt: skip


def reductions(spot: Spot) -> Iterator[Mistake]:
    """What was broadcast or summed over gets its gradient from some elements, or the wrong axis."""
    walk, g0, c0 = spot.walk, spot.g, spot.c
    if spot.several or not np.ndim(g0):
        return
    widened = spot.family == "elementwise" or spot.op == "broadcast_to"
    shared = np.size(c0) < np.size(g0) and widened
    summed = spot.op in PRODUCTS and not spot.carried and np.ndim(g0) > 1 and spot.j == 1
    if summed and np.ndim(g0) > 2:

        def corner(e: Edge, g: Any, c: Any, now: Any) -> Any:
            only = np.zeros(np.shape(g))
            only[(-1,) * (np.ndim(g) - 1)] = 1
            return walk.pulled(e[0], g * only, e[1])[e[1]]

        yield spot.mistake(
            "not accumulated", 1.25, corner,
            lambda: f"the gradient that {spot.here} passes to {spot.what} takes only the last of "
                    "each axis: sum over them (+= where = stands)",
        )  # fmt: skip
    for axis, at in itertools.product(range(np.ndim(g0)), (0, -1)) if shared or summed else ():
        if summed and axis == np.ndim(g0) - 1:
            continue

        def one(e: Edge, g: Any, c: Any, now: Any, axis: int = axis, at: int = at) -> Any:
            only = np.zeros(np.shape(g))
            index: list[Any] = [slice(None)] * np.ndim(g)
            index[axis] = at
            only[tuple(index)] = 1
            return walk.pulled(e[0], g * only, e[1])[e[1]]

        yield spot.mistake(
            "not accumulated" if summed else "broadcast", 1.2, one,
            lambda axis=axis, at=at: f"the gradient that {spot.here} passes to {spot.what} takes "  # type: ignore[misc]
            f"only the {'last' if at else 'first'} of axis {axis}: sum over it (+= where = stands)",
        )  # fmt: skip
    if (shared or (spot.leaf and not spot.carried)) and np.size(c0) > 1:
        yield spot.mistake(
            "broadcast", 1.1, lambda e, g, c, now: np.full_like(c, c.sum()),
            lambda: f"the gradient that {spot.here} passes to {spot.what} is summed over all axes, "
                    f"to one number for the shape {np.shape(c0)}",
        )  # fmt: skip
    if shared and _square(g0):
        yield spot.mistake(
            "broadcast", 0.9,
            lambda e, g, c, now: walk.pulled(e[0], np.swapaxes(g, -1, -2), e[1])[e[1]],
            lambda: f"{spot.what} is broadcast in {spot.here}, and its gradient is summed over the "
                    "wrong axis",
        )  # fmt: skip
    if shared and np.ndim(c0) == np.ndim(g0):
        yield from _wrong_axes(spot)


def _wrong_axes(spot: Spot) -> Iterator[Mistake]:
    """The gradient of a sum or mean that is broadcast again is summed over another axis than it."""
    walk = spot.walk
    if walk.site_of.get(spot.source) is None or walk.site_of[spot.source].op not in ("sum", "mean"):
        return
    below = {e: walk.edges[e[0]][e[1]] for e in spot.edges}
    for axis in [a for a, n in enumerate(np.shape(spot.c)) if n > 1]:
        whole = {(s, next(iter(walk.edges[s]))): e for e, s in below.items()}

        def edit(e: Edge, g: Any, c: Any, now: Any, axis: int = axis, whole: Any = whole) -> Any:
            k, j = whole[e]
            g = walk.raw(k, j, now(k)).sum(axis=axis, keepdims=True)
            return g * walk.pulled(e[0], np.ones(np.shape(walk.z[e[0]])))[e[1]]

        yield Mistake(
            "broadcast", 1.0, dict.fromkeys(whole, edit),
            lambda axis=axis: f"{spot.what} is broadcast in {spot.here}, and its gradient is "  # type: ignore[misc]
            f"summed over axis {axis}: the wrong one",
            at=spot.k,
        )  # fmt: skip


def reordered(spot: Spot) -> Iterator[Mistake]:
    """The elements of a gradient in another order: a reshape where a transpose belongs, or flipped."""
    shape = np.shape(spot.c)
    if spot.several or len(shape) < 2 or not (spot.leaf or spot.family == "linear"):
        return
    orders = list(itertools.permutations(range(len(shape))))[1:] if len(shape) < 5 else []
    for order in orders:
        back = np.argsort(order)
        turned = tuple([shape[a] for a in back])
        for edit in (
            lambda e, g, c, now, order=order: c.transpose(order).reshape(np.shape(c)),
            lambda e, g, c, now, order=order, to=turned: c.reshape(to).transpose(order),
        ):
            yield spot.mistake(
                "permuted", 1.2, edit,
                lambda order=order: f"the elements of the gradient that {spot.here} passes to "  # type: ignore[misc]
                f"{spot.what} are in another order, as of axes {order}: a reshape stands where a "
                "transpose belongs, or the reverse",
            )  # fmt: skip
    for axis in range(len(shape)):
        yield spot.mistake(
            "permuted", 1.3, lambda e, g, c, now, axis=axis: np.flip(c, axis),  # type: ignore[misc]
            lambda axis=axis: f"the gradient that {spot.here} passes to {spot.what} is reversed "  # type: ignore[misc]
            f"along axis {axis}",
        )  # fmt: skip


def switched(spot: Spot) -> Iterator[Mistake]:
    """Where a gradient is let through or not, another quantity decides than the right one."""
    walk = spot.walk
    if spot.op not in ("maximum", "minimum", "relu", "leaky_relu", "abs", "absolute", "clip"):
        return
    for site in walk.sites:
        if len(site) != len(spot.edges) or np.shape(walk.z[site.members[-1]]) != np.shape(spot.c):
            continue
        by = dict(zip([k for k, _ in spot.edges], site.members, strict=True))
        yield spot.mistake(
            "swapped operand", 1.3,
            lambda e, g, c, now, by=by: fit(g * (walk.z[by[e[0]]] > 0), c),  # type: ignore[misc]
            lambda m=site.members[-1]: f"the gradient of {spot.here} is let through to "  # type: ignore[misc]
            f"{spot.what} where {spot.words.value(m)} is positive; {spot.right}",
        )  # fmt: skip


def fit(g: Any, c: Any) -> Any:
    """Sum or broadcast a cotangent to the shape of the contribution that it replaces."""
    shape = np.shape(c)
    if np.shape(g) == shape:
        return g
    if np.ndim(g) >= len(shape) and np.size(g) >= np.size(c):
        return unbroadcast(g, shape)
    return np.broadcast_to(g, shape)
