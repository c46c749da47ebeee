"""Mistakes that the numbers ask for: a factor, or a wrong derivative made of a few functions."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, combinations
from typing import Any

import numpy as np

from .backward import Edge, Edit, times
from .forms import BASIS
from .local import fit
from .spot import Mistake, Spot
from .trial import Trial
from .words import factor

__all__ = ["combined", "fitted"]


def fitted(trial: Trial, spot: Spot) -> Iterator[Mistake]:
    """Find the factor, or the wrong derivative of a few functions, that the numbers ask for.

    This works where the gradients depend on it linearly, not where the spot is in a loop.
    """
    if len(spot.edges) > 1:
        return
    k, j = spot.edges[0]
    idle, missing = trial.changes([({}, {}), ({(k, j): lambda e, g, c, now: times(c, 0)}, {})])
    drop = idle - missing
    if drop @ drop and np.count_nonzero(drop) > 2:
        factor = 1 + float((trial.target - idle) @ drop / (drop @ drop))
        factor = factor if np.isfinite(factor) else 0.0
        q = next((q for q in range(1, 500) if abs(factor * q - round(factor * q)) < 1e-7), 0)
        if q and factor and (q, round(factor)) not in ((1, -1), (1, 0), (1, 1), (1, 2)):
            p = round(factor * q)
            yield spot.mistake(
                "factor", 1.3, lambda e, g, c, now: times(c, p / q),
                "{passes} has a factor {factor} too much",
                factor=f"{p}/{q}" if q > 1 else f"{p}",
            )  # fmt: skip
    if spot.unary and spot.family == "elementwise" and not spot.inside:
        yield from combined(trial, (k, j), k)


def combined(trial: Trial, edge: Edge, top: int) -> Iterator[Mistake]:
    """Make a wrong derivative of the output z of node `top` by the input x of an edge."""
    walk, words = trial.walk, trial.words
    z, x = walk.z[top], walk.xs[edge[0]][edge[1]]
    with np.errstate(all="ignore"):
        values = [form(z, x) for _, form in BASIS]
    kept = [i for i, v in enumerate(values) if np.isfinite(v).all()]
    edits: list[dict[Edge, Edit]] = [
        {edge: lambda e, g, c, now, v=values[i]: c + fit(now(top) * v, c)}  # type: ignore[misc]
        for i in kept
    ]
    edits += [{edge: lambda e, g, c, now: times(c, 0)}, {}]
    *columns, missing, idle = trial.changes([(e, {}) for e in edits])
    wanted, table = trial.target - missing, np.array(columns) - idle
    for chosen in chain(((a,) for a in range(len(kept))), combinations(range(len(kept)), 2)):
        some = table[list(chosen)]
        if not some.any(axis=1).all():
            continue
        weights, *_ = np.linalg.lstsq(some.T, wanted, rcond=None)
        if not np.max(abs(weights)) < 9:  # nor nan
            continue
        simple = [round(4 * w) / 4 for w in weights]
        if not all(simple) or max(map(abs, simple)) > 8:
            continue
        if not trial.fits(float(abs(wanted - np.array(simple) @ some).max())):
            continue
        terms = [(w, *BASIS[kept[a]]) for w, a in zip(simple, chosen, strict=True)]

        def edit(e: Edge, g: Any, c: Any, now: Any, terms: Any = terms) -> Any:
            return fit(now(top) * sum(w * form(z, x) for w, _, form in terms), c)

        def says(terms: Any = terms) -> str:
            text = " + ".join([_term(w, form) for w, form, _ in terms]).replace("+ -", "- ")
            names = {"z": factor(words.short(top)), "x": factor(words.input(*edge))}
            right = f"; {words.right(*edge)}" if top == edge[0] else ""
            return (
                f"the derivative of {words.value(top)} by {words.marked(*edge)} is taken as "
                f"`{text.format(**names)}`{right}"
            )

        cost = 1.1 + 0.15 * len(terms)
        yield Mistake("wrong derivative", cost, {edge: edit}, says, at=top)


def _term(weight: float, form: str) -> str:
    number = f"{weight:g}"
    if not form or form.startswith("/"):
        return f"{number} {form}".strip()
    return {"1": form, "-1": f"-{form}"}.get(number, f"{number} * {form}")
