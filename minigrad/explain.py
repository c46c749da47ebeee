"""Which one mistake in a backward pass gives these numbers?

A hypothesis edits the recorded backward pass at one site, at every time step or at some: an edge
is not followed, a derivative is left out or replaced, an operand or a cotangent is another one, a
contribution is scaled, transposed or put in another's place. One altered walk gives the gradients
that it would lead to. Those that reproduce all the given numbers are listed, the most ordinary
mistake first; where none does alone, pairs are tried, and then the nearest is named.

There are no templates of architectures: all this is read off the graph.
"""

from __future__ import annotations

import math
import os
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, combinations, permutations
from typing import Any, NamedTuple

import numpy as np

from .forms import FORMS, RIGHT
from .tape import Outputs, unbroadcast
from .walk import Backward, Edge, Edit, Site, times

__all__ = ["Explanation", "Explanations", "Where", "explain", "where"]

Array = np.ndarray[Any, np.dtype[Any]]


class Where(NamedTuple):
    """A place in the forward computation: an operation, its scope path, and the user's line."""

    op: str
    node: int
    scope: str
    line: str
    expression: str

    def __str__(self) -> str:
        text = f"`{self.expression}`" if self.expression else self.op
        return (
            text
            + (f" in {self.scope}" if self.scope else "")
            + (f" ({self.line})" if self.line else "")
        )


@dataclass(frozen=True, slots=True)
class Explanation:
    """A mistake that would give the manual gradients.

    `kind` is one of "missing term", "derivative left out", "wrong derivative", "wrong step",
    "sign", "factor", "swapped operand", "transpose", "permuted", "broadcast", "truncated",
    "not accumulated", "counted twice", "initial state", "overwritten", and "nearest" for one that
    does not reproduce the numbers. `steps` are the time steps it is made at, None for all.
    `residual` is the largest difference that is left, in units of the largest element of its
    entry. `alike` are other single mistakes that give the same numbers: nothing here tells them
    apart.
    """

    sentence: str
    kind: str
    where: Where
    steps: tuple[int, ...] | None
    residual: float
    alike: tuple[Explanation, ...] = ()

    def __str__(self) -> str:
        return self.sentence


class Explanations(list[Explanation]):
    """Explanations, best first; printed, their sentences."""

    def __str__(self) -> str:
        if not self:
            return "nothing to explain: all gradients agree"
        first, *others = self
        lines = [first.sentence]
        if others:
            lines.append("These would give the same numbers, and nothing here tells them apart:")
            lines += [f"  - {other.sentence}" for other in others]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """Edits of the backward pass, with the words for them; `cost` orders them: ordinary first."""

    kind: str
    cost: float
    site: Site | None
    edits: Mapping[Edge, Edit]
    words: str
    steps: tuple[int, ...] | None = None
    behind: int = 0
    linear: bool = False


class Search:
    """The hypotheses about one backward pass, and the numbers they are held to.

    `given` are the manual gradients by node number.
    """

    def __init__(self, walk: Backward, given: Mapping[int, Array], rtol: float) -> None:
        self.walk, self.rtol = walk, rtol
        self.error = {
            k: np.asarray(m, np.float64) - walk.cots.get(k, 0.0) for k, m in given.items()
        }
        self.scale = {
            k: max(_size(m), _size(walk.cots.get(k, np.zeros(1))), 1e-300) for k, m in given.items()
        }
        self.wrong = [k for k, e in self.error.items() if _size(e) > rtol * self.scale[k]]
        self.behind = 0
        for k in self.wrong:
            self.behind |= walk.reach[k]
        self.names = Names(walk)
        self.target = self._vector(self.error)
        self.uses: dict[int, list[int]] = {}
        for k, edges in enumerate(walk.edges):
            for _, s in edges:
                self.uses.setdefault(s, []).append(k)

    def _vector(self, change: Mapping[int, Any]) -> Array:
        parts = [
            (np.zeros(e.shape) + change.get(k, 0.0)).ravel() / self.scale[k]
            for k, e in self.error.items()
        ]
        return np.concatenate(parts) if parts else np.zeros(0)

    def tried(self, h: Hypothesis) -> tuple[float, Array]:
        """Walk with the edits: the largest error left, and the change, in units of the scales."""
        with np.errstate(all="ignore"):
            change = self._vector(self.walk.walk(h.edits))
            left = float(np.max(abs(self.target - change), initial=0.0))
        return (left if math.isfinite(left) else math.inf), change

    def fits(self, left: float) -> bool:
        """Whether so little is left that the numbers are reproduced, not only approached."""
        return left <= self.rtol and left <= 1e-3 * float(abs(self.target).max())

    # ---- hypotheses ------------------------------------------------------------------------------

    def phases(self) -> Iterator[Iterator[Hypothesis]]:
        """Give the hypotheses, the cheap and ordinary first."""
        yield chain(self._every(self._simple), self._chains(), self._permuted())
        yield self._sometimes(self._plain)
        yield self._every(self._operands)
        yield chain(self._every(self._cotangents), self._overwritten())
        yield chain(self._sometimes(self._rest), self._sometimes(self._operands))

    def _every(self, make: Callable[[Site, int], Iterator[Hypothesis]]) -> Iterator[Hypothesis]:
        for site, j in self._edges():
            yield from make(site, j)

    def _edges(self) -> Iterator[tuple[Site, int]]:
        """List the edges that lead to every wrong gradient, as they are at a site."""
        for site in reversed(self.walk.sites):
            for j in sorted({j for k in site.members for j, _ in self.walk.edges[k]}):
                behind = 0
                for k in site.members:
                    behind |= self._reach(k, j)
                if self.behind & ~behind == 0 and any(
                    _size(self.walk.contributions.get((k, j), 0.0)) for k in site.members
                ):
                    yield site, j

    def _reach(self, k: int, j: int) -> int:
        return next((self.walk.reach[s] for i, s in self.walk.edges[k] if i == j), 0)

    def _source(self, k: int, j: int) -> int | None:
        return next((s for i, s in self.walk.edges[k] if i == j), None)

    def _hypothesis(
        self, kind: str, cost: float, site: Site, j: int, edit: Edit, words: str, **more: Any
    ) -> Hypothesis:
        edits = {(k, j): edit for k in site.members if (k, j) in self.walk.contributions}
        behind = 0
        for k, _ in edits:
            behind |= self._reach(k, j)
        return Hypothesis(kind, cost, site, edits, words, behind=behind, **more)

    def _simple(self, site: Site, j: int) -> Iterator[Hypothesis]:
        """Edges not followed, derivatives left out or replaced, factors, transposes."""
        walk, names = self.walk, self.names
        k0 = next(k for k in reversed(site.members) if (k, j) in walk.contributions)
        op, source = site.op, self._source(k0, j)
        what, here = names.edge(k0, j), names.value(k0)
        leaf = source in walk.leaves
        right = names.right(k0, j)

        inside = names.inner(k0)

        def h(kind: str, cost: float, edit: Edit, words: str, **more: Any) -> Hypothesis:
            cost += 0.6 * (inside and not walk.places[k0][1])
            return self._hypothesis(kind, cost, site, j, edit, words, **more)

        several = len(self.uses.get(source, [])) > 1 if source is not None else False
        yield h(
            "missing term",
            1.0 if several or leaf else 1.2,
            lambda g, c, k, d: times(c, 0.0),
            f"the gradient does not flow from {here} back to {what}: this term is missing",
            linear=True,
        )
        yield h("sign", 1.0 + (op not in ("subtract", "negative")) * 0.2,
                lambda g, c, k, d: times(c, -1.0),
                f"the sign is wrong where {here} passes its gradient to {what}")  # fmt: skip
        yield h("counted twice", 1.1 + 0.4 * (not several), lambda g, c, k, d: times(c, 2.0),
                f"what {here} passes to {what} is counted twice")  # fmt: skip
        c0 = walk.contributions[k0, j]
        if isinstance(c0, Outputs):
            return
        for factor, text in names.factors(k0, j):
            if factor != 2.0:
                yield h("factor", 1.1, lambda g, c, k, d, f=factor: times(c, f),
                        f"the gradient that {here} passes to {what} has a factor {text} too much")  # fmt: skip
        x, z = walk.xs[k0][j], walk.z[k0]
        family = getattr(walk.nodes[k0].primitive, "family", "")
        number = [i for i, v in enumerate(walk.xs[k0]) if i != j and np.ndim(v) == 0]
        if family == "elementwise":
            if not (np.shape(c0) == np.shape(walk.cots[k0]) and np.array_equal(c0, walk.cots[k0])):
                kind, cost = "derivative left out", 0.9
                if op in ("negative", "subtract"):
                    kind, cost = "sign", 0.8
                elif op in ("multiply", "divide") and number:
                    kind, cost = "factor", 0.8
                yield h(kind, cost, lambda g, c, k, d: _fit(g, c),
                        f"the derivative of {here} is left out: its gradient is passed to {what} "
                        f"as it is; {right}")  # fmt: skip
            for text, form, forms_cost in FORMS:
                if (len(walk.xs[k0]) == 1 or number) and not inside:
                    yield h("wrong derivative", forms_cost,
                            lambda g, c, k, d, f=form: _fit(g * f(walk.z[k], walk.xs[k][j]), c),
                            f"the derivative of {here} is taken as {names.formed(text, k0, j)}; "
                            f"{right}")  # fmt: skip
            if op == "divide" and not number:
                other = walk.xs
                for text, form in (
                    ("-x/y", lambda k: -other[k][0] / other[k][1]),
                    ("-1/y**2", lambda k: -1 / other[k][1] ** 2),
                    ("-x", lambda k: -other[k][0]),
                    ("1/y", lambda k: 1 / other[k][1]),
                    ("x/y", lambda k: other[k][0] / other[k][1]),
                    ("y", lambda k: other[k][1]),
                    ("1/y**2", lambda k: 1 / other[k][1] ** 2),
                ):
                    yield h("wrong derivative", 1.5,
                            lambda g, c, k, d, f=form: _fit(g * f(k), c),
                            f"the derivative of {here} (x / y) by {what} is taken as {text}; {right}")  # fmt: skip
        elif np.shape(c0) and family != "linear":
            if np.size(z) < np.size(x) and np.ndim(walk.cots[k0]) <= np.ndim(c0):
                n = np.size(x) / np.size(z)
                kind = "factor" if op in ("mean", "sum", "average") else "wrong derivative"
                f = n if op == "mean" else 1.0 / n
                yield h(kind, 0.8, lambda g, c, k, d, f=f: times(c, f),
                        f"{here} is taken for a {'sum' if op == 'mean' else 'mean'}: "
                        f"the gradient is {f:g} times what it should be")  # fmt: skip
        g0 = walk.cots[k0]
        if np.ndim(c0) >= 2 and c0.shape[-1] == c0.shape[-2]:
            yield h("transpose", 1.2 if leaf else 1.3, lambda g, c, k, d: np.swapaxes(c, -1, -2),
                    f"the gradient that {here} passes to {what} is transposed; {right}")  # fmt: skip
        if op in ("matmul", "dot", "einsum", "tensordot") and len(walk.xs[k0]) == 2:
            y = walk.xs[k0][1 - j]
            if np.ndim(y) >= 2 and y.shape[-1] == y.shape[-2]:

                def turned(g: Any, c: Any, k: int, d: Any) -> Any:
                    xs = list(walk.xs[k])
                    xs[1 - j] = np.swapaxes(xs[1 - j], -1, -2)
                    return walk.pulled(k, j, g, tuple(xs))

                yield h("transpose", 1.1, turned,
                        f"{names.edge(k0, 1 - j)} is not transposed (or is, where it should not "
                        f"be) in the gradient of {what} in {here}; {right}")  # fmt: skip
            if np.ndim(g0) >= 2 and g0.shape[-1] == g0.shape[-2]:
                yield h("transpose", 1.3,
                        lambda g, c, k, d: walk.pulled(k, j, np.swapaxes(g, -1, -2)),
                        f"the gradient of {here} is transposed before it gives that of {what}")  # fmt: skip
        if (
            np.shape(c0) != np.shape(g0)
            and np.ndim(g0)
            and family != "multilinear"
            and (np.size(c0) < np.size(g0))
        ):
            for axis in range(np.ndim(g0)):
                for at in (0, -1):

                    def one(g: Any, c: Any, k: int, d: Any, axis: int = axis, at: int = at) -> Any:
                        mask = np.zeros(np.shape(g))
                        index: list[Any] = [slice(None)] * np.ndim(g)
                        index[axis] = at
                        mask[tuple(index)] = 1.0
                        return walk.pulled(k, j, g * mask)

                    yield h("broadcast", 1.3, one,
                            f"the gradient of {what}, which {here} broadcasts, has only the "
                            f"{'first' if at == 0 else 'last'} of axis {axis}: sum over it")  # fmt: skip
            if np.ndim(g0) == 2 and g0.shape[0] == g0.shape[1]:
                yield h("broadcast", 1.1, lambda g, c, k, d: walk.pulled(k, j, g.T),
                        f"the gradient of {what}, which {here} broadcasts, is summed over the "
                        "wrong axis")  # fmt: skip
        if leaf:
            for axis in range(np.ndim(c0)):
                yield h("permuted", 1.4, lambda g, c, k, d, a=axis: np.flip(c, a),
                        f"the gradient of {what} is reversed along axis {axis}")  # fmt: skip

    def _plain(self, site: Site, j: int) -> Iterator[Hypothesis]:
        """Select the simple hypotheses that people make at single steps."""
        ordinary = ("missing term", "sign", "counted twice", "derivative left out")
        return (h for h in self._simple(site, j) if h.kind in ordinary)

    def _rest(self, site: Site, j: int) -> Iterator[Hypothesis]:
        return (h for h in self._simple(site, j) if h.kind == "factor" or h.cost < 1.25)

    def _chains(self) -> Iterator[Hypothesis]:
        """Make the mistakes of one derivative in that of a chain, as of 1 / (1 + exp(-x))."""
        walk, names = self.walk, self.names
        for site in walk.sites:
            links = [self._links(k) for k in site.members]
            if any(len(ks) < 2 for ks in links):
                continue
            for n in range(2, min(map(len, links)) + 1):
                parts = [ks[:n] for ks in links]
                k0, bottom = parts[-1][0], parts[-1][-1]
                if not names.whole(parts[-1], links[-1]):
                    continue
                j = walk.edges[bottom][0][0]
                z, x = names.short(k0), names.edge(bottom, j).strip("`")
                top = {ks[-1]: ks[0] for ks in parts}
                behind = 0
                for k in top:
                    behind |= self._reach(k, walk.edges[k][0][0])
                forms: list[Any] = [("1", lambda z, x: np.ones(np.shape(x)), 0.7), *FORMS]
                if n == 2 and site.op in ("negative", "multiply", "divide", "add", "subtract"):
                    forms = forms[:1]
                for text, form, cost in forms:

                    def put(g: Any, c: Any, k: int, d: Any, form: Any = form, top: Any = top) -> Any:
                        m = top[k]
                        whole = walk.cots[m] + d[m] if m in d else walk.cots[m]
                        return whole * form(walk.z[m], walk.xs[k][walk.edges[k][0][0]])

                    edits = {(k, walk.edges[k][0][0]): put for k in top}
                    kind = "derivative left out" if text == "1" else "wrong derivative"
                    said = (
                        f"the derivative of {names.value(k0)} is left out: its gradient is passed "
                        f"to `{x}` as it is"
                        if text == "1"
                        else f"the derivative of {names.value(k0)} by `{x}` is taken as "
                        f"`{text.format(z=z, x=x)}`"
                    )
                    right = self._chain_right(k0, bottom, z)
                    yield Hypothesis(
                        kind, cost - 0.15, site, edits, said + right, behind=behind
                    )

    def _chain_right(self, k: int, bottom: int, z: str) -> str:
        """Say what the derivative of a chain should be, where it is a function with a name."""
        walk = self.walk
        y, x = walk.z[k], walk.xs[bottom][walk.edges[bottom][0][0]]
        with np.errstate(all="ignore"):
            if np.allclose(y, 1 / (1 + np.exp(-x)), rtol=1e-9):
                return f"; it should be `g * {z} * (1 - {z})`"
        return ""

    def _links(self, k: int) -> list[int]:
        """Follow a chain of elementwise functions of one variable down from node k."""
        walk, links = self.walk, []
        while len(walk.edges[k]) == 1 and (
            getattr(walk.nodes[k].primitive, "family", "") == "elementwise"
            and all(np.ndim(v) == 0 for i, v in enumerate(walk.xs[k]) if i != walk.edges[k][0][0])
            and (not links or self.uses.get(k) == [links[-1]])
            and np.ndim(walk.z[k])
        ):
            links.append(k)
            k = walk.edges[k][0][1]
        return links

    def _operands(self, site: Site, j: int) -> Iterator[Hypothesis]:
        """Another value in the place of one that the derivative needs."""
        walk, names = self.walk, self.names
        members = [k for k in site.members if (k, j) in walk.contributions]
        k0 = members[-1]
        family = getattr(walk.nodes[k0].primitive, "family", "")
        if family not in ("elementwise", "multilinear"):
            return
        here, what, right = names.value(k0), names.edge(k0, j), names.right(k0, j)
        unary = len(walk.xs[k0]) == 1
        spots = [-1, 0] if unary else [i for i in range(len(walk.xs[k0])) if i != j]
        for i in spots:
            now = [walk.z[k] if i < 0 else walk.xs[k][i] for k in members]
            if isinstance(now[0], Outputs) or not np.ndim(now[0]):
                continue
            for cost, kind, text, other in self._values(site, members, now):
                by = dict(zip(members, other, strict=True))

                def swapped(g: Any, c: Any, k: int, d: Any, i: int = i, by: Any = by) -> Any:
                    if i < 0:
                        return walk.pulled(k, j, g, None, by[k])
                    xs = list(walk.xs[k])
                    xs[i] = by[k]
                    return walk.pulled(k, j, g, tuple(xs))

                old = here if i < 0 else names.edge(k0, i)
                yield self._hypothesis(
                    kind, cost, site, j, swapped,
                    f"the gradient that {here} passes to {what} uses {text} where {old} belongs; "
                    f"{right}",
                )  # fmt: skip

    def _values(
        self, site: Site, members: list[int], now: list[Any]
    ) -> Iterator[tuple[float, str, str, list[Any]]]:
        """List other values of the same shape, step by step, with words for them."""
        walk, names, n = self.walk, self.names, len(members)
        seen = {_mark(now)}
        pool: list[tuple[str, list[Any], float]] = []
        shape = np.shape(now[0])
        for other in walk.sites:
            if len(other.members) >= n > 0:
                ks = other.members[-n:] if len(other.members) != n else other.members
                pool.append((names.value(ks[0]), [walk.z[k] for k in ks], 0.0))
                for i in range(len(walk.xs[ks[0]])):
                    pool.append((names.edge(ks[-1], i), [walk.xs[k][i] for k in ks], 0.05))
            elif len(other.members) == 1:
                pool.append((names.value(other.members[0]), [walk.z[other.members[0]]] * n, 0.1))
        for leaf in walk.leaves:
            pool.append((names.value(leaf), [walk.z[leaf]] * n, 0.1))
        if n > 1:
            yield from self._steps(now, "", 1.2, seen)
            last = [now[-1]] * n
            if _mark(last) not in seen:
                seen.add(_mark(last))
                yield 1.4, "overwritten", "its value of the last step, at every step,", last
        for text, values, extra in pool:
            if len(values) != n or any(
                isinstance(v, Outputs) or np.shape(v) != shape for v in values
            ):
                continue
            if _mark(values) not in seen:
                seen.add(_mark(values))
                kind = "wrong step" if self._shifted(values, now) else "swapped operand"
                yield (1.2 if kind == "wrong step" else 1.6) + extra, kind, text, values

    def _steps(
        self, now: list[Any], text: str, cost: float, seen: set[Any]
    ) -> Iterator[tuple[float, str, str, list[Any]]]:
        for shift, words in (
            (1, "its value of the next step"),
            (-1, "its value of the step before"),
        ):
            moved = [now[min(max(t + shift, 0), len(now) - 1)] for t in range(len(now))]
            if len({np.shape(v) for v in moved}) == 1 and _mark(moved) not in seen:
                yield cost + 0.1, "wrong step", words, moved

    def _shifted(self, a: list[Any], b: list[Any]) -> bool:
        """Whether a is the same quantity as b, a step apart."""
        return len(a) > 1 and (
            all(np.array_equal(x, y) for x, y in zip(a[:-1], b[1:], strict=True))
            or all(np.array_equal(x, y) for x, y in zip(a[1:], b[:-1], strict=True))
        )

    def _cotangents(self, site: Site, j: int) -> Iterator[Hypothesis]:
        """Another gradient in the place of the one that is passed on."""
        walk, names = self.walk, self.names
        members = [k for k in site.members if (k, j) in walk.contributions]
        n, k0 = len(members), members[-1]
        now = [walk.cots[k] for k in members]
        if isinstance(now[0], Outputs) or not np.ndim(now[0]):
            return
        here, what = names.value(k0), names.edge(k0, j)
        seen = {_mark(now)}
        for other in walk.sites:
            if len(other.members) < n:
                continue
            ks = other.members[-n:]
            ready = all(min(self.uses.get(m, [m])) > k for m, k in zip(ks, members, strict=True))
            if not ready:
                continue
            chosen = [
                (None, [walk.cots.get(m) for m in ks], f"the gradient of {names.value(ks[-1])}")
            ]
            for i in sorted({i for i, _ in walk.edges[ks[-1]]}):
                chosen.append((
                    i, [walk.contributions.get((m, i)) for m in ks],
                    f"what {names.value(ks[-1])} passes to {names.edge(ks[-1], i)}",
                ))  # fmt: skip
            for i, values, text in chosen:
                if any(v is None or np.shape(v) != np.shape(g) for v, g in zip(values, now)):  # noqa: B905
                    continue
                if _mark(values) in seen or (other is site and i == j):
                    continue
                seen.add(_mark(values))
                partner = dict(zip(members, ks, strict=True))

                def used(
                    g: Any, c: Any, k: int, d: Any, i: int | None = i, partner: Any = partner
                ) -> Any:
                    m = partner[k]
                    total = walk.cots[m] + d[m] if m in d else walk.cots[m]
                    return walk.pulled(k, j, total if i is None else walk.pulled(m, i, total))

                reused = i is not None and all(
                    np.array_equal(walk.cots[m], g) for m, g in zip(ks, now, strict=True)
                )
                above = i is None and all(
                    s == m for k, m in zip(members, ks, strict=True)
                    for s in [self._source_of_use(k, m)]
                )  # fmt: skip
                kind = "overwritten" if reused else "swapped operand"
                if above:
                    kind = "derivative left out"
                yield self._hypothesis(
                    kind, 1.8 - 0.3 * above, site, j, used,
                    f"the gradient of {what} in {here} is made from {text}, where the gradient of "
                    f"{here} belongs",
                )  # fmt: skip

    def _overwritten(self) -> Iterator[Hypothesis]:
        """A cotangent multiplied in place for one of its uses, before the others have it."""
        walk, names = self.walk, self.names
        for site in walk.sites:
            k0 = site.members[-1]
            if len(walk.edges[k0]) < 2 or site.op != "add":
                continue
            for j, s in walk.edges[k0]:
                if s not in walk.site_of or np.shape(walk.z[s]) != np.shape(walk.z[k0]):
                    continue
                for i, _ in walk.edges[s]:
                    if np.shape(walk.contributions.get((s, i))) != np.shape(walk.z[k0]):
                        continue

                    def put(g: Any, c: Any, k: int, d: Any, j: int = j, i: int = i) -> Any:
                        m = self._source(k, j)
                        return g if m is None else walk.pulled(m, i, g)

                    edits = {(k, b): put for k in site.members for b, _ in walk.edges[k]}
                    rest = {
                        e: f for k in site.members for b, t in walk.edges[k] if b != j
                        for e, f in [((k, b), put)]
                    }  # fmt: skip
                    for chosen in (edits, rest):
                        yield Hypothesis(
                            "overwritten", 1.5, site, chosen,
                            f"the gradient of {names.value(k0)} is overwritten: it is already "
                            f"multiplied as for {names.edge(s, i)} when the others use it",
                        )  # fmt: skip

    def _source_of_use(self, k: int, m: int) -> int | None:
        """Give m if node m is an elementwise function of node k, perhaps through sums."""
        for _ in range(8):
            uses = self.uses.get(k, [])
            if len(uses) != 1:
                return None
            k = uses[0]
            if k == m:
                return m
        return None

    def _permuted(self) -> Iterator[Hypothesis]:
        """Blocks in each other's places: slices of one array, inputs of one operation."""
        walk, names = self.walk, self.names
        groups: dict[Any, list[Site]] = {}
        for site in walk.sites:
            k = site.members[-1]
            if site.op in ("getitem", "pick", "take") and walk.edges[k]:
                groups.setdefault((walk.edges[k][0][1], np.shape(walk.z[k])), []).append(site)
        for sites in groups.values():
            n = len(sites)
            if not 2 <= n <= 8 or len({len(s) for s in sites}) != 1:
                continue
            orders: Any = permutations(range(n)) if n <= 4 else _swaps(n)
            for order in orders:
                moved = [i for i in range(n) if order[i] != i]
                if not moved:
                    continue
                edits: dict[Edge, Edit] = {}
                for i in moved:
                    for k, m in zip(sites[i].members, sites[order[i]].members, strict=True):

                        def put(g: Any, c: Any, k: int, d: Any, m: int = m) -> Any:
                            return self.walk.pulled(m, 0, g)

                        edits[k, 0] = put
                texts = [names.value(sites[i].members[-1]) for i in moved]
                yield Hypothesis(
                    "permuted", 1.1 + 0.1 * (len(moved) > 2), sites[moved[0]], edits,
                    f"the gradients of {', '.join(texts)} are put into each other's blocks of "
                    f"{names.edge(sites[0].members[-1], 0)}",
                )  # fmt: skip
        for site in walk.sites:
            k0 = site.members[-1]
            js = [j for j, _ in walk.edges[k0]]
            for a, b in combinations(js, 2):
                ca, cb = walk.contributions.get((k0, a)), walk.contributions.get((k0, b))
                if np.shape(ca) != np.shape(cb) or isinstance(ca, Outputs) or ca is None:
                    continue
                both: dict[Edge, Edit] = {}
                for k in site.members:
                    if (k, a) in walk.contributions and (k, b) in walk.contributions:
                        both[k, a] = lambda g, c, k, d, b=b: walk.pulled(k, b, g)
                        both[k, b] = lambda g, c, k, d, a=a: walk.pulled(k, a, g)
                yield Hypothesis(
                    "permuted" if site.op in ("concatenate", "stack") else "swapped operand",
                    1.2, site, both,
                    f"the gradients that {names.value(k0)} passes to {names.edge(k0, a)} and "
                    f"{names.edge(k0, b)} are exchanged",
                )  # fmt: skip

    def _sometimes(self, make: Callable[[Site, int], Iterator[Hypothesis]]) -> Iterator[Hypothesis]:
        """Make a mistake at the first or last step only, or at all others, or from some step on."""
        for site, j in self._edges():
            n = len(site)
            if n < 2:
                continue
            spans = [("last", [n - 1]), ("first", [0])]
            if n > 2:
                spans += [("but last", [*range(n - 1)]), ("but first", [*range(1, n)])]
            for h in make(site, j):
                for mode, steps in spans:
                    yield self._at(h, site, j, mode, steps)
                if h.linear and n > 3:
                    for t in range(1, n - 1):
                        yield self._at(h, site, j, "one", [t])
                        yield self._at(h, site, j, "up to", [*range(t + 1)])

    def _at(self, h: Hypothesis, site: Site, j: int, mode: str, steps: list[int]) -> Hypothesis:
        walk = self.walk
        edits = {
            (site.members[t], j): e for t in steps for e in [h.edits.get((site.members[t], j))] if e
        }
        behind = 0
        for k, _ in edits:
            behind |= self._reach(k, j)
        first, last = self._source(site.members[0], j), self._source(site.members[-1], j)
        leaf = last in walk.leaves
        state = last is not None and not leaf and self._carried(site, j)
        words = {
            "last": "at the last step only, ", "first": "at the first step only, ",
            "but last": "at every step but the last, ", "but first": "at every step but the first, ",
            "one": f"at step {steps[0]} only, ", "up to": f"at the steps up to {steps[-1]}, ",
        }[mode] + h.words  # fmt: skip
        kind, cost = h.kind, h.cost + 0.5
        if h.kind == "missing term":
            if leaf and first == last and len(steps) == len(site) - 1 and mode != "one":
                kind, cost = "not accumulated", 0.9
                words = (
                    f"the gradient of {self.names.value(last)} from {self.names.value(site.members[0])} "
                    f"is not accumulated: only the {'last' if mode == 'but last' else 'first'} step "
                    "counts (= where += belongs)"
                )  # fmt: skip
            elif state and mode == "but first":
                kind, cost = "missing term", 0.9
                words = (
                    f"the gradient does not flow through {self.names.value(site.members[-1])} to "
                    f"{self.names.edge(site.members[-1], j)} of the step before: this term is missing"
                )
            elif mode == "first" and first in walk.leaves and state:
                kind, cost = "initial state", 0.8
                words = (
                    f"the gradient of the initial state {self.names.value(first)} lacks what "
                    f"{self.names.value(site.members[0])} passes to it at the first step"
                )
            elif state and mode in ("one", "last", "up to"):
                kind, cost = "truncated", 1.4
                words = (
                    f"the gradient is cut at step {steps[-1]}: {self.names.value(site.members[0])} "
                    f"does not pass it on to the step before"
                )
        elif mode == "first" and first in walk.leaves and state and first != last:
            kind = "initial state" if h.kind in ("derivative left out", "counted twice") else kind
        return replace(
            h, kind=kind, cost=cost, edits=edits, words=words, steps=tuple(steps), behind=behind
        )

    def _carried(self, site: Site, j: int) -> bool:
        """Whether an edge takes a state from the step before."""
        for k in site.members[1:]:
            s = self._source(k, j)
            if s is not None and s not in self.walk.leaves:
                return (
                    s < site.members[self.walk.time[k] - 1]
                    or self.walk.time.get(s, 0) < self.walk.time[k]
                )
        return False


class Names:
    """Words for the quantities of a graph."""

    def __init__(self, walk: Backward) -> None:
        self.walk = walk

    def value(self, k: int) -> str:
        """Name a node: by its own name, the variable or the expression it stands for."""
        t = self.walk.nodes[k]
        place, result = self.walk.places.get(k, (None, False))
        if place is not None:
            if not result:
                inner = t.xs.place.expression
                return f"`{inner}` in `{place.expression}`"
            if place.target:
                return f"`{place.target} = {place.expression}`"
            return f"`{place.expression}`"
        if t.name:
            return f"`{t.name}`"
        if t.primitive is None:
            return f"a leaf of shape {t.shape}"
        return f"{t.primitive.name} {np.shape(t.value)}"

    def inner(self, k: int) -> bool:
        """Whether a node stands in a helper function, and is not what it returns."""
        return getattr(getattr(self.walk.nodes[k].xs, "place", None), "top", None) is not None

    def whole(self, part: list[int], links: list[int]) -> bool:
        """Whether a part of a chain is all of what a helper function computes, or outside any."""
        call = self.walk.places.get(part[0], (None, True))[0]
        same = [k for k in links if self.walk.places.get(k, (None, True))[0] == call]
        return part == same if self.inner(part[0]) else not any(map(self.inner, part))

    def short(self, k: int) -> str:
        """Name a node by a variable where it has one."""
        t = self.walk.nodes[k]
        place, result = self.walk.places.get(k, (None, False))
        if place is not None and result:
            return place.target or place.expression
        if place is not None:
            return str(t.xs.place.expression)
        return str(t.name or (t.primitive.name if t.primitive else "x"))

    def edge(self, k: int, j: int) -> str:
        """Name an input of a node, shortly."""
        t = self.walk.nodes[k]
        s = t.inputs[j]
        if s in self.walk.number:
            n = self.walk.number[s]
            return self.value(n) if t.primitive is None else f"`{self.short(n)}`"
        x = t.xs[j]
        if isinstance(x, (int, float)):
            return f"{x:g}"
        return f"`{s.name}`" if s is not None and s.name else "a constant"

    def right(self, k: int, j: int) -> str:
        """Say what the derivative should be."""
        node = self.walk.nodes[k]
        text = RIGHT.get((node.primitive.name, j)) or RIGHT.get((node.primitive.name, None))
        if text is None:
            return f"it should be the derivative of {node.primitive.name}"
        inputs = [self.edge(k, i).strip("`") for i in range(len(node.xs))]
        z = self.short(k)
        names = dict(zip("xy", inputs, strict=False))
        return f"it should be {text.format(z=z, g='g', **names)}"

    def formed(self, text: str, k: int, j: int) -> str:
        z, x = self.short(k), self.edge(k, j).strip("`")
        return "`" + text.format(z=z, x=x) + "`"

    def factors(self, k: int, j: int) -> Iterator[tuple[float, str]]:
        """List constants that gradients are multiplied with by mistake."""
        yield 0.5, "1/2"
        sizes: dict[int, str] = {}
        for shape in (np.shape(self.walk.xs[k][j]), np.shape(self.walk.z[k]), *self._shapes()):
            for axis, n in enumerate(shape):
                if n > 1:
                    sizes.setdefault(n, f"{n} (the length of an axis of {shape})")
            n = math.prod(shape)
            if n > 1 and len(shape) > 1:
                sizes.setdefault(n, f"{n} (the size of {shape})")
        for site in self.walk.sites:
            if len(site) > 1:
                sizes.setdefault(len(site), f"{len(site)} (the number of steps)")
        for n, text in sizes.items():
            if n > 2:
                yield float(n), text
                yield 1.0 / n, f"1/{text}"
                yield math.sqrt(n), f"sqrt({n})"
                yield 1 / math.sqrt(n), f"1/sqrt({n})"

    def _shapes(self) -> list[tuple[int, ...]]:
        if not hasattr(self, "_leaf_shapes"):
            self._leaf_shapes = [np.shape(self.walk.z[k]) for k in self.walk.leaves]
        return self._leaf_shapes


def explain(
    walk: Backward, given: Mapping[int, Array], rtol: float = 1e-9, seconds: float = 20.0
) -> Explanations:
    """Search for the mistake that turns the gradients of `walk` into the `given` ones."""
    search = Search(walk, given, rtol)
    if not search.wrong:
        return Explanations()
    found: list[tuple[float, float, Hypothesis]] = []
    near: list[tuple[float, Hypothesis, Array]] = []
    start = time.monotonic()
    for phase in search.phases():
        for h in phase:
            if search.behind & ~h.behind and h.behind:
                continue
            left, change = search.tried(h)
            if search.fits(left):
                found.append((h.cost, left, h))
            elif math.isfinite(left):
                near.append((float(np.linalg.norm(search.target - change)), h, change))
                if len(near) > 4000:
                    near = sorted(near, key=lambda n: n[0])[:1000]
            if time.monotonic() - start > seconds:
                break
        if found or time.monotonic() - start > seconds:
            break
    if found:
        found.sort(key=lambda f: f[0])
        out = [_explanation(search, h, left) for _, left, h in found]
        unique = [out[i] for i in _first_of([h for _, _, h in found])]
        return Explanations(
            [replace(e, alike=tuple(o for o in unique if o is not e)) for e in unique]
        )
    return _pairs(search, near, start + 2 * seconds)


def _pairs(
    search: Search, near: list[tuple[float, Hypothesis, Array]], until: float
) -> Explanations:
    """Try two mistakes together, and else say which single one comes nearest."""
    whole = float(np.linalg.norm(search.target))
    near = sorted(near, key=lambda n: n[0])[:300]
    if not near:
        where = Where("", -1, "", "", "")
        return Explanations([Explanation(
            "no single mistake that is known here touches all the wrong gradients", "nearest",
            where, None, 1.0)])  # fmt: skip
    changes = np.array([change for _, _, change in near])
    gram, dots = changes @ changes.T, changes @ search.target
    left2 = (
        whole**2
        - 2 * (dots[:, None] + dots)
        + gram.diagonal()[:, None]
        + gram.diagonal()
        + 2 * gram
    )
    left2[np.tril_indices(len(near))] = math.inf
    for flat in np.argsort(left2, axis=None)[:60]:
        a, b = (near[int(i)][1] for i in np.unravel_index(flat, left2.shape))
        if time.monotonic() > until or {*a.edits} & {*b.edits}:
            continue
        both = replace(a, edits={**a.edits, **b.edits})
        left, _ = search.tried(both)
        if search.fits(left):
            one, two = _explanation(search, a, left), _explanation(search, b, left)
            return Explanations([replace(one, sentence=f"two mistakes together: {a.words}; and {b.words}",
                                         kind=f"{a.kind} + {b.kind}", alike=(two,))])  # fmt: skip
    size, h, change = near[0]
    left = float(np.max(abs(search.target - change)))
    share = max(0.0, 1 - size / whole)
    e = _explanation(search, h, left)
    return Explanations([replace(e, kind="nearest", sentence=(
        f"no single mistake known here gives these numbers; the nearest explains {share:.0%} of "
        f"the error: {h.words}"))])  # fmt: skip


def _first_of(found: list[Hypothesis]) -> list[int]:
    """Keep one of those that edit the same edges, to the same numbers."""
    first: dict[Any, int] = {}
    for i, h in enumerate(found):
        first.setdefault(frozenset(h.edits), i)
    return sorted(first.values())


def _explanation(search: Search, h: Hypothesis, left: float) -> Explanation:
    place = where(search.walk, max(k for k, _ in h.edits))
    at = place.line.partition(": ")[0] or place.scope
    sentence = h.words[0].upper() + h.words[1:] + (f" [{at}]." if at else ".")
    return Explanation(sentence, h.kind, place, h.steps, left)


def where(walk: Backward, k: int) -> Where:
    """Describe the place of node k."""
    node = walk.nodes[k]
    place, _ = walk.places.get(k, (None, False))
    line = f"{os.path.basename(place.file)}:{place.line}: {place.statement}" if place else ""
    op = node.primitive.name if node.primitive else "leaf"
    return Where(op, node.index, str(node.scope or ""), line, place.expression if place else "")


def _fit(g: Any, c: Any) -> Any:
    """Sum or broadcast a cotangent to the shape of the contribution it replaces."""
    shape = np.shape(c)
    if np.shape(g) == shape:
        return g
    if np.ndim(g) >= len(shape) and np.size(g) >= np.size(c):
        return unbroadcast(g, shape)
    return np.broadcast_to(g, shape)


def _mark(values: list[Any]) -> int:
    mark = 0
    for v in values:
        mark = zlib.crc32(np.ascontiguousarray(v).tobytes(), mark)
    return mark


def _swaps(n: int) -> Iterator[list[int]]:
    for a, b in combinations(range(n), 2):
        order = list(range(n))
        order[a], order[b] = b, a
        yield order


def _size(x: Any) -> float:
    if isinstance(x, Outputs):
        return max([_size(y) for y in x], default=0.0)
    return float(np.max(abs(np.asarray(x)), initial=0.0))
