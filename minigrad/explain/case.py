"""A recorded loss and the gradients derived by hand for it: who is right, where it begins, why."""

from __future__ import annotations

import difflib
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.tensor import Tensor
from ..graph.graph import Graph
from ..graph.source import spot
from .backward import Backward
from .explanation import Explanation, Explanations
from .findings import explained
from .listing import Listing
from .recognised import misshapen, recognised
from .single import Search, errors_of, searched, told
from .traced import Finding, Traced
from .words import Words

__all__ = ["Case", "Divergence"]

Array = np.ndarray[Any, np.dtype[Any]]
SHARE, SHOWN = 0.4, 5
"""Which part of the time repairs may be tried, and again mistakes; how many places are shown."""

PICTURED = 2.0
"""How many seconds a mistake is searched for, to colour what was not compared in a picture."""

PRECISION = {2: 2e-2, 4: 3e-4, 8: 1e-8}
"""How far off an explanation may be, of the largest element of an entry, by the dtype's bytes."""


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first wrong gradient on the way from the loss: all that it is computed from is right.

    `place` is the line of the forward pass, "lstm.py:54", or the scope where lines are unknown.
    """

    name: str
    sentence: str
    step: int | None
    place: str

    def __str__(self) -> str:
        return self.sentence


class Case:
    """The graph behind a report: what the manual gradients are gradients of.

    `loss` is a Tensor of one element; `manual` has arrays by the names of leaves, of parameters
    and of intermediates by scope path and name ("lstm/step[7].c") or an end of it that is unique.
    ValueError for a name that nothing has, or several have.

    `rerun`, where there is code to run, calls the user's backward pass again, on new float64 copies
    of the inputs and right after the forward pass; it returns the objects that backward gave, by
    the names of the inputs.
    """

    def __init__(
        self,
        loss: Tensor,
        manual: Mapping[str, Array],
        rerun: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        self.rerun = rerun
        self.loss, self.walk = loss, Backward(loss)
        self.words = Words(self.walk)
        self.named = _named(self.walk, self.words, loss)
        self._noise: dict[int, float] | None = None
        self.manual: dict[str, Array] = {}
        self.keys: dict[str, int] = {}
        for name, gradient in manual.items():
            self.add(name, gradient)

    def add(self, name: str, gradient: Array) -> None:
        """Take one more manual gradient; ValueError for a name that nothing has, or several."""
        self.keys[name], self.manual[name] = self._key(name), gradient

    def without(self, names: Iterable[str]) -> Case:
        """Return the case without some of the manual gradients."""
        kept = {name: m for name, m in self.manual.items() if name not in names}
        return Case(self.loss, kept, self.rerun)

    def _key(self, name: str) -> int:
        """Find the node of a name: a leaf's, the whole name, or the end of one path."""
        exact = self.named.get(name, [])
        leaves = [k for k in exact if k in self.walk.leaves]
        ends = [
            k for path, ks in self.named.items() for k in ks
            if path == name or path.endswith(("/" + name, "." + name))
        ]  # fmt: skip
        for found in (leaves, exact, ends):
            if len(found) == 1:
                return found[0]
        known = [path for path in self.named if path]
        if ends:
            raise ValueError(f"compare: {name!r} names {len(ends)} tensors; give more of the path")
        near = difflib.get_close_matches(name, known, 3, 0.4) or known[:5]
        raise ValueError(
            f"compare: nothing behind the loss is named {name!r}; "
            + (f"names near it are {', '.join(map(repr, near))}" if near else "nothing has a name")
        )

    def name_nodes(self) -> None:
        """Name the operations as the variables of the program, for pictures."""
        for k, (place, result) in self.words.expressions.items():
            t = self.walk.nodes[k]
            if result and place.target and t.name is None:
                t.name = place.target

    def automatic(self) -> dict[str, Array]:
        """Return the automatic gradients of what manual names, and of all other named leaves."""
        names = dict(self.keys)
        for path, ks in self.named.items():
            leaves = [k for k in ks if k in self.walk.leaves]
            if path and len(leaves) == 1 and leaves[0] not in names.values():
                names[path] = leaves[0]
        return {name: self._automatic(k) for name, k in names.items()}

    def _automatic(self, k: int) -> Array:
        value = self.walk.nodes[k].value
        return np.asarray(self.walk.cots.get(k, np.zeros(value.shape))).astype(value.dtype)

    def noise(self, name: str) -> float:
        """Say how far rounding may move an entry, from a walk with every contribution shaken."""
        if self._noise is None:
            widths = [self.walk.nodes[k].value.dtype.itemsize for k in self.walk.leaves]
            self._noise = self.walk.noise(float(np.finfo(f"f{min([8, *widths])}").eps))
        return self._noise.get(self.keys.get(name, -1), 0.0)

    def divergence(self, wrong: Iterable[str]) -> Divergence | None:
        """Name the first wrong gradient, coming from the loss; None if only leaves were given."""
        walk, words = self.walk, self.words
        if (first := self._first(wrong)) is None:
            return None
        name, above = first
        k = self.keys[name]
        users = [n for n in walk.uses[k] if n in walk.cots]
        at = users[0] if users else k
        step = walk.step(k) if k in walk.site_of and len(walk.site_of[k]) > 1 else None
        when = f"step {step}, " if step is not None else ""
        text = f"{when}the gradient of {words.value(k)} is the first that is wrong"
        text += ", coming from the loss"
        if above:
            names = ", ".join([words.value(n) for n in sorted(above, reverse=True)[:3]])
            text += f"; what it is computed from is right: the gradient of {names}"
        if found := recognised(walk, words, k, self.manual[name]):
            text += f". How it is wrong: {found[1]}"
        elif users:
            text += f". The line to look at is the derivative of {words.value(at)}"
        line = words.place(at)
        scope = str(self.walk.nodes[at].scope or "")
        place = spot(line.file, line.line) if line else scope
        text += f" [{place}]" if place else ""
        return Divergence(name, text[0].upper() + text[1:] + ".", step, place)

    def _first(self, wrong: Iterable[str]) -> tuple[str, set[int]] | None:
        """Name the first wrong gradient, and the given ones that it is computed from: all right."""
        walk, given = self.walk, set(self.keys.values())
        bad = {self.keys[name]: name for name in wrong if name in self.keys}
        for k in sorted(bad, reverse=True) if not given <= walk.leaves else ():
            above, seen, stack = set[int](), {k}, [k]
            while stack:
                for n in walk.uses[stack.pop()]:
                    if n in given:
                        above.add(n)
                    elif n not in seen:
                        seen.add(n)
                        stack.append(n)
            if not above & bad.keys():
                return bad[k], above
        return None

    def traced(self, wrong: Iterable[str], seconds: float) -> Traced | None:
        """Run the backward pass with every value held against the truth; None without code."""
        return Traced(self, self.rerun, wrong, seconds) if self.rerun else None

    def explained(
        self, wrong: Collection[str], shapes: Collection[str], seconds: float
    ) -> Explanations:
        """Return what is wrong in the backward pass, or which mistake would give its numbers.

        Entries in `shapes` have the wrong one. A gradient that is all zero may be a placeholder.
        """
        nothing = {name for name in wrong if name in self.manual and not np.any(self.manual[name])}
        if (traced := self.traced(wrong, SHARE * seconds)) and traced.findings:
            findings = sorted(traced.findings, key=lambda f: {*f.results} <= nothing)
            proven, until = _proven(findings), time.monotonic() + SHARE * seconds
            located = []
            for n, f in enumerate(findings[:SHOWN]):
                end = until if n < (proven or SHOWN) else 0.0

                def ask(f: Finding = f, end: float = end) -> tuple[str, str] | None:
                    return self._searched(f, wrong, shapes, end)

                located.append(explained(self.walk, self.words, f, ask))
            return Explanations(
                located, Listing(traced.annotations, located[: proven or 1]), proven
            )
        until = time.monotonic() + seconds
        found = self._by_numbers(wrong, shapes, seconds)
        if nothing and len(nothing) < len(wrong) and not _is_one_mistake(found):
            others = self.without(nothing)._by_numbers(wrong, shapes, until - time.monotonic())
            found = others if _is_one_mistake(others) else found
        return found

    def listing(self) -> Listing:
        """Return the backward pass, with what each statement gives beside it."""
        traced = self.traced((), 0.0)
        return Listing(traced.annotations if traced else ())

    def _searched(
        self, finding: Finding, wrong: Collection[str], shapes: Collection[str], until: float
    ) -> tuple[str, str] | None:
        """Find the single mistake that gives the gradients that depend on a place, or one of them.

        It is asked where the values at that place do not tell what is wrong with it.
        """
        for name in shapes if len(finding.results) == 1 else ():
            if name in finding.results:
                return self._misshapen(name)
        given = self._given()
        for results in (finding.results, finding.results[:1]):
            some = {
                k: m
                for k, m in given.items()
                if self.names[k] in results or self.names[k] not in wrong
            }
            left = until - time.monotonic()
            if left > 0 and any(self.names[k] in results for k in some):
                found = Search(self.walk, self.words, some, PRECISION[8]).found(left)
                if found:
                    return found[0].kind, found[0].says()
        return None

    def _by_numbers(
        self, wrong: Iterable[str], shapes: Iterable[str], seconds: float
    ) -> Explanations:
        """Search for the mistake that gives these numbers, whatever code made them."""
        if some := [name for name in shapes if name in self.keys]:
            ends = [next(iter(self.walk.uses[k]), k) for k in map(self.keys.__getitem__, some)]
            return Explanations(
                [told(self.words, k, *self._misshapen(n)) for k, n in zip(ends, some, strict=True)]
            )
        given, rtol = self._given(), PRECISION[8]
        for k, m in given.items():
            width = min(m.itemsize, self.walk.nodes[k].value.dtype.itemsize, 8)
            rtol = max(rtol, PRECISION[width])
        if (first := self._first(wrong)) is not None:  # which is explained where it is
            k = self.keys[first[0]]
            if k in given and (found := recognised(self.walk, self.words, k, given[k])):
                return Explanations([told(self.words, max(self.walk.uses[k], default=k), *found)])
        return searched(self.walk, self.words, given, rtol, seconds)

    def _misshapen(self, name: str) -> tuple[str, str]:
        """Say what is wrong with a gradient of the wrong shape."""
        right = self._automatic(self.keys[name])
        return misshapen(right, self.manual[name], f"the gradient of `{name}`")

    def unexplained(self, wrong: Iterable[str]) -> Explanations:
        """Return the words for gradients that no mistake is searched for."""
        text = f"There are no numbers that a mistake would give: {', '.join(wrong)}."
        return Explanations([Explanation("", 0, "", "nearest", text)])

    def _given(self) -> dict[int, Array]:
        """Return the manual gradients that a mistake may give: finite, and of the right shape."""
        return {
            k: np.asarray(m)
            for name, m in self.manual.items()
            if np.shape(m) == np.shape(self.walk.z[k := self.keys[name]]) and np.isfinite(m).all()
        }

    @property
    def names(self) -> dict[int, str]:
        """The names of gradients, by node."""
        return {k: name for name, k in self.keys.items()}

    def tensor(self, e: Explanation) -> Tensor | None:
        """Return the result whose gradient an explanation is about, if that is known."""
        return None if e.node is None else self.walk.nodes[e.node]

    def agreement(
        self, compared: Mapping[str, tuple[float, str]], best: Explanation | None
    ) -> dict[Tensor, tuple[float, str]]:
        """Give the relative error of the gradient of every node that is known, and a text with it.

        Known are those that were `compared`, by name; and all others, if a single mistake gives
        the numbers: then they are what it leads to.
        """
        found: dict[Tensor, tuple[float, str]] = {}
        edits = best.edits if best is not None else None
        if best is not None and best.node is not None and edits is None:
            some = Search(self.walk, self.words, self._given(), PRECISION[8]).found(PICTURED)
            edits = some[0].edits if some else None
        if edits is not None:
            errors = errors_of(self.walk, edits)
            found = {self.walk.nodes[k]: (error, "") for k, error in errors.items()}
        if best is not None and best.node is not None:
            t = self.walk.nodes[best.node]
            found[t] = found.get(t, (math.nan, ""))[0], best.sentence
        for name, pair in compared.items():
            if name in self.keys:
                found[self.walk.nodes[self.keys[name]]] = pair
        return found


def _proven(findings: Sequence[Finding]) -> int:
    """Return how many of the first findings make all wrong gradients right, once repaired; or 0."""
    left = {name for f in findings for name in f.results}
    for n, f in enumerate(findings, 1):
        left -= {*f.repaired}
        if not left or not f.repaired:
            return n if not left else 0
    return 0


def _is_one_mistake(found: Explanations) -> bool:
    return bool(found) and found[0].edits is not None


def _named(walk: Backward, words: Words, loss: Tensor) -> dict[str, list[int]]:
    """Collect the nodes of the tape by name: parameters and leaves, intermediates with a path."""
    names: dict[str, list[int]] = {}
    for node in Graph(loss, fold=False).nodes:
        if node.tensor in walk.number and node.name:
            path = f"{node.scope}.{node.name}" if node.op and node.scope else node.name
            names.setdefault(path, []).append(walk.number[node.tensor])
    for k, (place, result) in words.expressions.items():
        if result and place.target and k in walk.site_of:
            path = place.target
            if len(walk.site_of[k]) > 1:
                path = f"step[{walk.step(k)}].{path}"
            if k not in names.setdefault(path, []):
                names[path].append(k)
    return names
