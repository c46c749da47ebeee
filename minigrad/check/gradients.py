"""Derivatives held against central differences, the witness that shares nothing with the tape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core import tree
from ..core.tensor import value_of
from ..transforms.autodiff import jvp, vjp

__all__ = ["check_grads", "direction", "directional", "dot", "numerical_grad"]

Array = np.ndarray[Any, np.dtype[Any]]
STEP = 1e-3
"""Step of the fourth-order differences: truncation and rounding meet near 1e-12."""


def directional(f: Callable[..., Any], xs: Sequence[Array], vs: Sequence[Array]) -> list[Array]:
    """Differentiate `f` at `xs` along `vs`, by the fourth-order central difference in float64."""

    def at(h: float) -> list[Array]:
        moved = [np.asarray(x + h * v) for x, v in zip(xs, vs, strict=True)]
        return [np.array(value_of(y), np.float64) for y in tree.flatten(f(*moved))[0]]

    near = [a - b for a, b in zip(at(STEP), at(-STEP), strict=True)]
    far = [a - b for a, b in zip(at(2 * STEP), at(-2 * STEP), strict=True)]
    return [(8 * a - b) / (12 * STEP) for a, b in zip(near, far, strict=True)]


def numerical_grad(f: Callable[..., Any], tree_of_arrays: Any) -> Any:
    """Differentiate a number-valued `f` of one container by every element, in float64.

    It runs `f` four times for each element: the slow witness, for checks.
    """
    leaves, structure = tree.flatten(tree_of_arrays)
    xs = [np.array(value_of(x), np.float64) for x in leaves]

    def of_leaves(*moved: Array) -> Any:
        return f(tree.unflatten(structure, moved))

    return tree.unflatten(structure, _entries(of_leaves, xs, [np.ones(())]))


def check_grads(
    f: Callable[..., Any],
    args: Sequence[Any],
    order: int = 2,
    modes: Sequence[str] = ("rev", "fwd"),
    *,
    rtol: float = 1e-6,
    seed: int = 0,
) -> None:
    """Check the derivatives of `f` at `args` against central differences, to the given order.

    `args` are nested containers of real arrays; copies in float64 are used. Each order is checked
    in a random direction, in reverse ("rev") and forward mode ("fwd"). Where one fails, every
    element is examined, and the AssertionError names the argument, the index, both numbers and the
    order. At a kink of `f` (relu at 0) there is no derivative to agree with.

    >>> check_grads(lambda x: np.sin(x) * x, (np.array([1.0, 2.0]),))
    """
    for mode in modes:
        if mode not in ("rev", "fwd"):
            raise ValueError(f"check_grads: a mode is 'rev' or 'fwd', not {mode!r}")
    leaves, structure = tree.flatten(tuple(args))
    xs = [np.array(value_of(x), np.float64) for x in leaves]

    def of_leaves(*moved: Any) -> Any:
        return tree.flatten(f(*tree.unflatten(structure, moved)))[0]

    names = [f"args{name}" for name in tree.names(structure)]
    _check(of_leaves, xs, names, 1, order, modes, rtol, np.random.default_rng(seed))


def _check(
    f: Callable[..., list[Any]],
    xs: list[Array],
    names: list[str],
    order: int,
    last: int,
    modes: Sequence[str],
    rtol: float,
    rng: np.random.Generator,
) -> None:
    vs = [direction(rng, x) for x in xs]
    expected = directional(f, xs, vs)
    one = sum(y.size for y in expected) == 1  # then the numbers in a message are the derivative's
    us = [np.ones_like(y) if one else direction(rng, y) for y in expected]

    def pulled(*xs: Any) -> list[Any]:
        return list(vjp(f, *xs)[1](us))

    def pushed(*xs: Any) -> list[Any]:
        return list(jvp(f, xs, vs)[1])

    for mode, derivative in (("rev", pulled), ("fwd", pushed)):
        if mode not in modes:
            continue
        got = [np.asarray(value_of(d)) for d in derivative(*xs)]
        ours = dot(got, vs if mode == "rev" else us)
        theirs = dot(us, expected)
        size = dot(map(np.abs, us), map(np.abs, expected)) + 1e-3
        if not abs(ours - theirs) <= rtol * size:
            raise AssertionError(_located(f, xs, us, names, mode, order, (ours, theirs)))
        if order < last:
            _check(derivative, xs, names, order + 1, last, modes, rtol, rng)


def _located(
    f: Callable[..., list[Any]],
    xs: list[Array],
    us: list[Array],
    names: list[str],
    mode: str,
    order: int,
    totals: tuple[float, float],
) -> str:
    """Examine every element, and say where the derivative is worst."""
    exact = _entries(f, xs, us)
    if mode == "rev":
        ours = [np.asarray(value_of(g)) for g in vjp(f, *xs)[1](us)]
    else:
        ours = _entries(f, xs, us, lambda f, xs, vs: [value_of(d) for d in jvp(f, xs, vs)[1]])
    worst, text = -1.0, ""
    for name, a, b in zip(names, ours, exact, strict=True):
        for index in np.ndindex(b.shape):
            got, wanted = float(a[index]), float(b[index])
            gap = abs(got - wanted) / (abs(got) + abs(wanted) + 1e-12)
            if not gap <= worst:  # NaN is worst of all
                worst = np.inf if np.isnan(gap) else gap
                place = f"{name}[{', '.join(map(str, index))}]" if index else name
                text = f"worst at {place}: automatic {got:.10g}, central difference {wanted:.10g}"
    return (
        f"order {order}, mode {mode}: along a random direction the derivative is {totals[0]:.10g}, "
        f"by central differences {totals[1]:.10g}; {text}"
    )


def _entries(
    f: Callable[..., Any],
    xs: Sequence[Array],
    us: Sequence[Array],
    along: Callable[..., Any] = directional,
) -> list[Array]:
    """Differentiate <us, f> by every element of every x, one direction at a time."""
    table = [np.zeros_like(x) for x in xs]
    vs = [np.zeros_like(x) for x in xs]
    for v, row in zip(vs, table, strict=True):
        for index in np.ndindex(v.shape):
            v[index] = 1
            row[index] = dot(us, along(f, xs, vs))
            v[index] = 0
    return table


def direction(rng: np.random.Generator, like: Array) -> Array:
    return np.asarray(rng.uniform(0.5, 1.5, like.shape) * rng.choice([-1.0, 1.0], like.shape))


def dot(us: Any, vs: Any) -> float:
    with np.errstate(invalid="ignore"):  # what is not finite is found by what comes out
        return float(
            sum(np.sum(np.asarray(u) * np.asarray(v)) for u, v in zip(us, vs, strict=True))
        )
