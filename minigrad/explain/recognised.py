"""What stands in the place of a right value: the row of the table that gives it."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..core.tape import Outputs
from .backward import Backward, Edge
from .changes import CLOSE, Changes, size
from .kinds import KINDS, sentence
from .spots import Spot, parts
from .term import chains, fit
from .words import Words

__all__ = ["misshapen", "recognised", "recognised_derivative", "recognised_value", "said", "whole"]

NEAR = 4
"""How many operations above a place a mistake is looked for: as many as a line may have."""


class Expected(Protocol):
    """A true quantity: of node k, or of edges that lead to it; of `every` step, stacked."""

    @property
    def kind(self) -> str: ...
    @property
    def k(self) -> int: ...
    @property
    def edges(self) -> tuple[Edge, ...]: ...
    @property
    def value(self) -> Any: ...
    @property
    def every(self) -> bool: ...


@np.errstate(all="ignore")
def said(walk: Backward, words: Words, expected: Expected, wrong: Any) -> tuple[str, str] | None:
    """Return the kind of a mistake, and what is said of it, where a true quantity was expected.

    Whatever `wrong` is (it may be transposed, or not yet summed), the inputs of it are right.
    """
    kind, k, edges, value = expected.kind, expected.k, expected.edges, np.asarray(expected.value)
    wrong = np.asarray(wrong, np.float64)
    if expected.every and wrong.shape == value.shape:
        ks, many = walk.site_of[k].members, range(len(value) - 1, -1, -1)
        apart = [n for n in many if size(wrong[n] - value[n]) > CLOSE * size(value)]
        if len(ks) != len(value) or not apart or kind not in ("gradient", "value"):
            return None
        k, value, wrong, edges = ks[apart[0]], value[apart[0]], wrong[apart[0]], ()
    if kind == "value":
        return recognised_value(walk, words, k, wrong)
    if kind == "derivative":
        return recognised_derivative(walk, words, edges[0], wrong, k)
    if wrong.shape != value.shape and wrong.size == value.size:
        turned = wrong.shape == value.shape[::-1]
        other = wrong.T if turned else wrong.reshape(value.shape)
        if size(other - value) <= CLOSE * size(value):
            return misshapen(value, wrong, f"the gradient of {words.value(k)}")
        wrong = other
    if len(edges) == 1:
        c = walk.contributions[edges[0]]
        fits = np.shape(wrong) == np.shape(value) and kind == "unsummed"
        return recognised(walk, words, edges[0], fit(wrong, c) if fits else wrong)
    if wrong.shape != value.shape:
        return misshapen(value, wrong, f"the gradient of {words.value(k)}")
    return recognised(walk, words, k, walk.cots[k] + (wrong - value))  # of some of its terms


@np.errstate(all="ignore")
def recognised(
    walk: Backward, words: Words, place: int | Edge, wrong: Any, until: float = math.inf
) -> tuple[str, str] | None:
    """Return the kind of a mistake, and what is said of it, at a place with right inputs.

    `wrong` stands in the place of the gradient of a node, or of what an edge contributes to it.
    None if no row of the table gives it.
    """
    wrong = np.asarray(wrong, np.float64)
    s, edge = (place, None) if isinstance(place, int) else (walk.edges[place[0]][place[1]], place)
    right = walk.cots[s] if edge is None else walk.contributions[edge]
    if isinstance(right, Outputs) or not np.isfinite(wrong).all():
        return None
    if np.shape(right) != np.shape(wrong):
        return misshapen(right, wrong, f"the gradient of {words.value(s)}")
    error, limit = wrong - right, CLOSE * max(size(wrong), size(right))
    if size(error) <= limit:
        return None
    around, near = _around(walk, words, s, edge, error)
    changes = Changes(walk, [s], near, until)
    for number, mistakes in enumerate(parts(walk, words, around, until)):
        mistakes.sort(key=lambda m: m.rank)
        edits = [m.edits for m in mistakes]
        for mistake, change in zip(mistakes, changes.of(s, edits), strict=True):
            if size(change - error) <= limit:
                return mistake.kind, mistake.says()
        if number == 2 and edge is None and (found := whole(walk, words, s, wrong)):
            return found
    return None


def recognised_derivative(
    walk: Backward, words: Words, edge: Edge, wrong: Any, top: int | None = None
) -> tuple[str, str] | None:
    """Return the same for what stands in the place of the derivative of an elementwise operation.

    Of functions of one variable that are one thought, `top` is the last.
    """
    g = walk.cots[edge[0] if top is None else top]
    if np.shape(wrong) != np.shape(g):
        return misshapen(
            np.ones(np.shape(g)), np.asarray(wrong), f"the derivative of {words.value(edge[0])}"
        )
    return recognised(walk, words, edge, fit(g * wrong, walk.contributions[edge]))


@np.errstate(all="ignore")
def recognised_value(walk: Backward, words: Words, k: int, wrong: Any) -> tuple[str, str] | None:
    """Return the same for what stands in the place of the value of node k."""
    right, name, site = np.asarray(walk.z[k]), words.value(k), walk.site_of.get(k)
    for m, z in enumerate(walk.z):
        if m != k and (np.array_equal(z, wrong) or np.array_equal(z, np.transpose(wrong))):
            if site is not None and walk.site_of.get(m) is site:
                when = f"of step {walk.step(m)} stands where that of step {walk.step(k)} belongs"
                return "wrong step", f"{name} {when}"
            return "swapped operand", f"{words.value(m)} stands where {name} belongs"
    if not np.any(wrong):
        return "overwritten", f"{name} is zero here"
    return _as_a_whole(Whole(right, np.asarray(wrong), name))


def misshapen(right: Any, wrong: Any, name: str) -> tuple[str, str]:
    """Return the kind of a mistake, and what is said of it, where a shape is wrong."""
    text = f"{name} has shape {wrong.shape}, not {right.shape}"
    extra, kind = wrong.ndim - right.ndim, "broadcast"

    def same(x: Any) -> bool:
        return size(x - right) <= 1e-4 * size(right)

    if wrong.shape == right.shape[::-1]:
        kind, how = (
            ("transpose", "it is transposed")
            if same(wrong.T)
            else (kind, "perhaps it is transposed")
        )
    elif extra > 0 and wrong.shape[extra:] == right.shape and same(wrong.sum((*range(extra),))):
        how = f"sum it over axis {', '.join(map(str, range(extra)))}, along which it is broadcast"
    elif wrong.size == right.size and same(wrong.reshape(right.shape)):
        how = "the numbers are right, reshape it"
    elif wrong.size < right.size:
        whole = np.allclose(wrong, right.sum(), rtol=1e-4)
        how = f"it is summed over {'too many axes' if whole else 'axes that it should keep'}"
    else:
        return kind, text
    return kind, f"{text}: {how}"


class Whole(NamedTuple):
    """A quantity, for the rows that hold of any, what stands in its place, and what it is called.

    Like a term it has the names that sentences need.
    """

    c: Any
    wrong: Any
    passes: str
    several: bool = False
    here: str = ""
    what: str = ""
    right: str = ""


def _as_a_whole(q: Whole) -> tuple[str, str] | None:
    if np.shape(q.c) != np.shape(q.wrong):
        return misshapen(q.c, q.wrong, q.passes)
    limit = CLOSE * max(size(q.wrong), size(q.c))
    for row in itertools.chain.from_iterable(KINDS):
        for option, it in row.options(q) if row.whole else ():
            if size(row.written(q, option) - q.wrong) <= limit:
                return row.kind, sentence(row.says, q, it)
    return None


def whole(walk: Backward, words: Words, s: int, wrong: Any) -> tuple[str, str] | None:
    """Return the kind of a mistake in the gradient of node s as a whole, and what is said of it."""
    name, limit = words.value(s), CLOSE * max(size(wrong), size(walk.cots[s]))
    if found := _as_a_whole(Whole(walk.cots[s], wrong, f"the gradient of {name}")):
        return found
    for k in sorted(walk.cots, reverse=True):
        same = k != s and np.shape(walk.cots[k]) == np.shape(wrong)
        if same and size(walk.cots[k] - wrong) <= limit:
            kind = "permuted" if k in walk.leaves else "swapped operand"
            kind = "initial state" if walk.initial(s) and k not in walk.leaves else kind
            return kind, f"the gradient of {words.value(k)} stands in the place of that of {name}"
    return None


def _around(
    walk: Backward, words: Words, s: int, edge: Edge | None, error: Any
) -> tuple[list[Spot], set[int]]:
    """List the terms around the gradient of node s, the nearest first, and their nodes."""
    tops: dict[Edge, list[int]] = defaultdict(list)
    for chain in chains(walk, words):
        for e, top in chain.items():
            tops[e].append(top)
    found, near, level = list[Spot](), set[int](), {s}
    for distance in range(NEAR):
        edges = [e for m in level for e in walk.into(m) if e in walk.contributions]
        edges = [edge] if edge and not distance else edges
        for e in edges:
            wrong = None if distance else walk.contributions[e] + error
            found += [Spot({e: top}, distance, wrong) for top in (e[0], *tops[e])]
        if not distance and not edge:
            sites: dict[Any, dict[Edge, int]] = defaultdict(dict)
            for k, j in edges:
                sites[walk.site_of[k], j][k, j] = k
            found += [Spot(several) for several in sites.values() if len(several) > 1]
        level = {k for k, _ in edges}
        near |= level | {top for e in edges for top in tops[e]}
    return found, near
