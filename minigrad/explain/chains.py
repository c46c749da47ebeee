"""Mistakes in the derivative of a chain of functions as a whole, such as 1 / (1 + exp(-x))."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .backward import Backward, Edge
from .forms import FORMS
from .spot import Mistake
from .words import Words, factor

__all__ = ["chains", "composed"]


def composed(walk: Backward, words: Words) -> list[tuple[Any, dict[int, int]]]:
    """List the chains: their operations, and by the last node of each the first, step by step."""
    whole: list[tuple[Any, dict[int, int]]] = []
    for site in walk.sites:
        links = [walk.chain(k) for k in site.members]
        for n in range(2, min(map(len, links)) + 1):
            if _one_thought(words, links[-1][:n], links[-1]):
                top = {ks[n - 1]: ks[0] for ks in links}
                whole.append((tuple([walk.nodes[k].primitive.name for k in links[-1][:n]]), top))
    return whole


def chains(walk: Backward, words: Words) -> Iterator[Mistake]:
    """Take every part of a chain for one function, and its derivative for another."""
    whole = composed(walk, words)
    for ops, top in whole:
        yield from _replaced(walk, words, top)
        for other, its in whole:
            if other == ops and its is not top and len(its) == len(top):
                yield from _of_another(walk, words, top, its)


def _one_thought(words: Words, part: list[int], links: list[int]) -> bool:
    """Whether a part of a chain is all that a helper function computes, or outside of any."""
    call = words.expressions.get(part[0], (None, True))[0]
    same = [k for k in links if words.expressions.get(k, (None, True))[0] == call]
    if words.inner(part[0]):
        above = [words.expressions.get(k, (None, True))[0] for k in words.walk.uses[part[0]]]
        return part == same and call not in above
    if words.interior & {*words.walk.uses[part[0]]}:
        return False
    one = [k for k in links if k in words.interior]
    return part == one or not any(k in words.interior for k in part)


def _bottom(walk: Backward, k: int) -> tuple[Edge, Any]:
    j = next(iter(walk.edges[k]))
    return (k, j), walk.xs[k][j]


def _replaced(walk: Backward, words: Words, top: dict[int, int]) -> Iterator[Mistake]:
    last, first = list(top.items())[-1]
    (_, j), x0 = _bottom(walk, last)
    names = {"z": factor(words.short(first)), "x": factor(words.input(last, j))}
    forms: list[Any] = [("", lambda z, x: np.ones(np.shape(x)), 0.75), *FORMS]
    simple = ("negative", "multiply", "divide", "add", "subtract")
    if walk.chain(first).index(last) == 1 and walk.nodes[first].primitive.name in simple:
        forms = forms[:1]
    if len(forms) > 1:  # of x in f(-x), where the minus belongs to another function
        forms += [(f"-({t or 1})", lambda z, x, f=f: -f(z, x), c + 0.15) for t, f, c in forms]
    scales = {"has the wrong sign": -1.0, "has a factor 2 too much": 2.0, "lacks a factor 2": 0.5}
    sigmoid = _right(walk.z[first], x0, "")  # whose minus nobody thinks of
    forms += [(text, None, 1.15 if sigmoid and by < 0 else 0.95) for text, by in scales.items()]
    for text, form, cost in forms:
        by = scales.get(text)

        def edit(e: Edge, g: Any, c: Any, now: Any, form: Any = form, by: Any = by) -> Any:
            m = top[e[0]]
            return c * by if form is None else now(m) * form(walk.z[m], walk.xs[e[0]][e[1]])

        def says(text: str = text) -> str:
            whole = f"the derivative of {words.value(first)} by {words.marked(last, j)} "
            wrong = f"is taken as `{text.format(**names)}`" if text else "is left out"
            wrong = text if text in scales else wrong
            return whole + wrong + _right(walk.z[first], x0, names["z"])

        edits = {_bottom(walk, k)[0]: edit for k in top}
        kind = "wrong derivative" if text not in ("", "-(1)") else "derivative left out"
        if text in scales:
            kind = "sign" if scales[text] < 0 else "factor"
        yield Mistake(kind, cost, edits, says, at=first)


def _of_another(
    walk: Backward, words: Words, top: dict[int, int], its: dict[int, int]
) -> Iterator[Mistake]:
    """The right derivative, but of another gate: r * (1 - r) in the place of z * (1 - z)."""
    last, first = list(top.items())[-1]
    edge, x0 = _bottom(walk, last)
    z0, one = walk.z[first], np.ones(np.shape(x0))
    with np.errstate(all="ignore"):
        slope = walk.contributions.get(edge, one) / walk.cots.get(first, one)
        right = next(
            (f for f in FORMS if "{x}" not in f[0] and np.allclose(f[1](z0, x0), slope)), None
        )
    if right is None or np.shape(walk.z[list(its.values())[-1]]) != np.shape(z0):
        return
    partner = dict(zip(top.values(), its.values(), strict=True))

    def edit(e: Edge, g: Any, c: Any, now: Any) -> Any:
        m = top[e[0]]
        return now(m) * right[1](walk.z[partner[m]], walk.xs[e[0]][e[1]])

    def says() -> str:
        z, other = factor(words.short(first)), factor(words.short(partner[first]))
        return (
            f"the derivative of {words.value(first)} is taken as `{right[0].format(z=other)}`, "
            f"that of `{other}`; it should be `{right[0].format(z=z)}`"
        )

    edits = {_bottom(walk, k)[0]: edit for k in top}
    yield Mistake("swapped operand", 1.15, edits, says, at=first)


def _right(z: Any, x: Any, name: str) -> str:
    """Say what the derivative should be where the chain is a function with a name."""
    with np.errstate(all="ignore"):
        if np.allclose(z, 1 / (1 + np.exp(-x)), rtol=1e-9):
            return f"; it should be `g * {name} * (1 - {name})`"
    return ""
