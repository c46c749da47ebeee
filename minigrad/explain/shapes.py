"""Mistakes with the axes of arrays: transposes, sums over the wrong axis, elements out of order."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .backward import Backward, Edge, Edit
from .local import fit
from .spot import Mistake, Spot

__all__ = ["PRODUCTS", "reductions", "reordered", "transposes"]

PRODUCTS = ("matmul", "einsum", "tensordot", "dot")


def _square(x: Any) -> bool:
    return np.ndim(x) >= 2 and np.shape(x)[-1] == np.shape(x)[-2]


def _of(walk: Backward, change: Callable[[Any], Any]) -> Edit:
    """Change the cotangent before a rule gets it."""
    return lambda e, g, c, now: walk.pulled(e[0], change(g), e[1])[e[1]]


def _with(walk: Backward, other: int, change: Callable[[Any], Any]) -> Edit:
    """Change another input before a rule gets it."""

    def edit(e: Edge, g: Any, c: Any, now: Any) -> Any:
        xs = list(walk.xs[e[0]])
        xs[other] = change(xs[other])
        return walk.pulled(e[0], g, e[1], xs)[e[1]]

    return edit


def _turned(x: Any) -> Any:
    return np.swapaxes(x, -1, -2)


def transposes(spot: Spot) -> Iterator[Mistake]:
    """A transpose that is missing, or one too many: it goes unnoticed where matrices are square."""
    walk = spot.walk
    if spot.several:
        return
    if _square(spot.c):
        yield spot.mistake(
            "transpose", 1.15, lambda e, g, c, now: _turned(c), "{passes} is transposed; {right}"
        )
    if len(spot.xs) == 2 and spot.op in ("multiply", "divide"):
        yield from _other_axes(spot, 1 - spot.j)
    if spot.op not in PRODUCTS or len(spot.xs) != 2:
        return
    other = 1 - spot.j
    name, y = spot.words.marked(spot.k, other), spot.xs[other]
    if _square(y):
        yield spot.mistake(
            "transpose", 1.1, _with(walk, other, _turned),
            "{other} is not transposed (or is, where it should not be) in {passes}; {right}",
            other=name,
        )  # fmt: skip
    for axis in range(np.ndim(y)) if np.ndim(y) > 1 else ():
        flipped = _with(walk, other, functools.partial(np.flip, axis=axis))
        text = "{other} is reversed along axis {axis} in {passes}"
        yield spot.mistake("permuted", 1.35, flipped, text, other=name, axis=axis)
    if _square(spot.g):
        yield spot.mistake(
            "transpose", 1.2, _of(walk, _turned),
            "the gradient of {here} is transposed before it gives that of {what}; {right}",
        )  # fmt: skip


def _other_axes(spot: Spot, other: int) -> Iterator[Mistake]:
    """What is broadcast is taken along another axis of the same length: `y` for `y[:, None]`."""
    whole, y = np.shape(spot.z), spot.xs[other]
    full = np.reshape(y, (1,) * (len(whole) - np.ndim(y)) + np.shape(y))
    for a, b in itertools.combinations(range(len(whole)), 2):
        shape = list(np.shape(full))
        shape[a], shape[b] = shape[b], shape[a]
        if shape != [*np.shape(full)] and all(
            n in (1, m) for n, m in zip(shape, whole, strict=True)
        ):

            def turned(y: Any, a: int = a, b: int = b) -> Any:
                return np.swapaxes(np.reshape(y, np.shape(full)), a, b)

            yield spot.mistake(
                "broadcast", 1.2, _with(spot.walk, other, turned),
                "{other} is taken along axis {axis} in {passes}, and not along axis {right_axis}",
                other=spot.words.marked(spot.k, other), axis=b if shape[b] > 1 else a,
                right_axis=a if shape[b] > 1 else b,
            )  # fmt: skip


def reductions(spot: Spot) -> Iterator[Mistake]:
    """What was broadcast or summed over gets its gradient from some elements, or the wrong axis."""
    walk, g, c = spot.walk, spot.g, spot.c
    if spot.several or not np.ndim(g):
        return
    widened = spot.family == "elementwise" or spot.op == "broadcast_to"
    shared = np.size(c) < np.size(g) and widened
    summed = spot.op in PRODUCTS and not spot.carried and np.ndim(g) > 1
    summed = summed and (spot.j == 1 or np.ndim(c) < np.ndim(g))
    if summed and np.ndim(g) > 2:
        yield spot.mistake(
            "not accumulated", 1.25,
            _of(walk, lambda g: _only(g, (-1,) * (np.ndim(g) - 2) + _last(spot.j))),
            "{passes} takes only the last of each axis: sum over them (+= where = stands)",
        )  # fmt: skip
    axes = [*range(np.ndim(g))] if shared or summed else []
    if summed:
        del axes[-1 if spot.j else -2]
    for axis, at in itertools.product(axes, (0, -1)):
        yield spot.mistake(
            "not accumulated" if summed or at else "broadcast", 1.2,
            _of(walk, functools.partial(_only, index=(slice(None),) * axis + (at,))),
            "{passes} takes only the {which} of axis {axis}: sum over it (+= where = stands)",
            which="last" if at else "first", axis=axis,
        )  # fmt: skip
    if (shared or (spot.leaf and not spot.carried)) and np.size(c) > 1:
        yield spot.mistake(
            "broadcast", 1.1, lambda e, g, c, now: np.full_like(c, c.sum()),
            "{passes} is summed over all axes, to one number for the shape {shape}",
            shape=np.shape(c),
        )  # fmt: skip
    if shared and np.size(c) > 1:
        yield spot.mistake(
            "broadcast", 1.15, lambda e, g, c, now: np.full_like(c, c.mean()),
            "{passes} is averaged over all axes, to one number for the shape {shape}",
            shape=np.shape(c),
        )  # fmt: skip
    if shared and _square(g):
        yield spot.mistake(
            "broadcast", 0.9, _of(walk, _turned),
            "{what} is broadcast in {here}, and its gradient is summed over the wrong axis",
        )  # fmt: skip
    if shared:
        yield from _wrong_axes(spot)


def _last(j: int) -> tuple[Any, ...]:
    """Index the last of what a matrix product sums over for the gradient of its j-th input."""
    return (-1,) if j else (slice(None), -1)


def _only(g: Any, index: tuple[Any, ...]) -> Any:
    """Keep the elements at an index, and put zeros elsewhere."""
    kept = np.zeros(np.shape(g))
    kept[index] = g[index]
    return kept


def _wrong_axes(spot: Spot) -> Iterator[Mistake]:
    """The gradient of a sum or mean that is broadcast again is summed over other axes than it.

    There may be functions of one variable between, as the square root of a variance has. Who
    derives a softmax as one may divide by the sum `first`, before summing, or afterwards.
    """
    walk = spot.walk
    above: dict[Edge, tuple[Edge, list[int]]] = {}
    for k, j in spot.edges:
        links = walk.chain(walk.edges[k][j])
        s = walk.edges[links[-1]][next(iter(walk.edges[links[-1]]))] if links else walk.edges[k][j]
        if s in walk.leaves or walk.site_of[s].op not in ("sum", "mean"):
            return
        if np.shape(walk.z[k]) != np.shape(walk.xs[s][0]):
            return
        above[s, next(iter(walk.edges[s]))] = (k, j), links
    shape = np.shape(spot.g)
    kept = (1,) * (len(shape) - np.ndim(spot.c)) + np.shape(spot.c)
    right = tuple([a for a, n in enumerate(kept) if n < shape[a]])
    axes = [(a,) for a, n in enumerate(shape) if n > 1] + [tuple(range(len(shape))), ()]
    whole = math.prod([shape[a] for a in right])
    for over, first, mean in itertools.product(axes, (False, True), (False, True)):
        number = math.prod([shape[a] for a in over])
        if over == right or (mean and (walk.site_of[s].op != "mean" or number in (1, whole))):
            continue
        scale = whole / number if mean else 1.0  # a mean over the wrong axis, and not a sum

        def edit(
            e: Edge, g: Any, c: Any, now: Any,
            over: Any = over, first: bool = first, scale: float = scale,
        ) -> Any:  # fmt: skip
            (k, j), links = above[e]
            v = walk.xs[k][j] if first else 1.0
            total = scale * (walk.raw(k, j, now(k)) * v).sum(axis=over, keepdims=True) / v
            for m in [*links, e[0]]:
                (slope,) = walk.pulled(m, np.ones(np.shape(walk.z[m]))).values()
                total = total * slope
            return total

        said = f"{spot.what} is broadcast in {spot.here}, and its gradient is "
        said += (
            f"summed over {'the wrong axis' if len(over) == 1 else 'the axes'} "
            + " and ".join(map(str, over))
            if over
            else "not summed: what the other elements pass to it is missing"
        )
        yield Mistake(
            "broadcast" if over else "missing term", 1.0 + 0.1 * first, dict.fromkeys(above, edit),
            lambda said=said: said, at=spot.k,  # type: ignore[misc]
        )  # fmt: skip


def reordered(spot: Spot) -> Iterator[Mistake]:
    """The elements of a gradient in another order: a reshape where a transpose belongs."""
    shape = np.shape(spot.c)
    if spot.several:
        return
    moves = spot.family == "linear" and np.shape(spot.g) == shape
    if moves and not np.array_equal(spot.g, spot.c):
        yield spot.mistake(
            "transpose" if spot.op == "transpose" else "permuted", 1.05,
            lambda e, g, c, now: fit(g, c),
            "the elements of the gradient of {here} are not put back into the order that they have "
            "in {what}",
        )  # fmt: skip
    if not 2 <= len(shape) <= 4 or not (spot.leaf or spot.family == "linear"):
        return
    for order in list(itertools.permutations(range(len(shape))))[1:]:
        turned = tuple([shape[a] for a in np.argsort(order)])
        for edit in (
            lambda e, g, c, now, order=order: c.transpose(order).reshape(np.shape(c)),
            lambda e, g, c, now, order=order, turned=turned: c.reshape(turned).transpose(order),
        ):
            yield spot.mistake(
                "permuted", 1.2, edit,
                "the elements of {passes} are in another order, as of axes {order}: a reshape "
                "stands where a transpose belongs, or the reverse", order=order,
            )  # fmt: skip
    for axis in range(len(shape)):
        yield spot.mistake(
            "permuted", 1.3, lambda e, g, c, now, axis=axis: np.flip(c, axis),  # type: ignore[misc]
            "{passes} is reversed along axis {axis}", axis=axis,
        )  # fmt: skip
