"""The true quantities of a recorded loss, and which of them an array is.

A hand-written backward pass computes these and hardly anything else: gradients, what each operation
sends to each of its inputs, derivatives, values. An array is looked up by its number of elements,
then by statistics that know neither order, sign nor scale, and then held against the few that are
left, up to one factor and a transposition.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.tape import Outputs
from .backward import Backward, Edge

__all__ = ["KINDS", "Match", "Quantity", "Truth", "fitted", "matched"]

TOLERANCE = 1e-9
FEW, MANY = 4, 400
"""Up to how many contributions all subsets are known, and running sums."""

KINDS = {
    "gradient": 0, "contribution": 1, "unsummed": 2, "derivative": 3, "value": 4, "so far": 5,
    "part": 6,
}  # fmt: skip
"""How likely an array that is several of them is meant as which: a gradient first.

unsummed    a contribution, before it is summed over what was broadcast
so far      the sum of the first contributions, or of the last: a sum over time that is under way
part        the sum of some of two to four contributions
"""


class Quantity:
    """A true array: of node k, or of an edge or several that lead to it.

    `step` is the time step on the tape, None if it is not in a loop; `every` says that the steps
    are stacked.
    """

    __slots__ = ("edges", "every", "k", "kind", "step", "value")

    def __init__(
        self, kind: str, k: int, value: Any, edges: tuple[Edge, ...], step: int | None, every: bool
    ) -> None:
        self.kind, self.k, self.value, self.edges = kind, k, value, edges
        self.step, self.every = step, every

    def __repr__(self) -> str:
        return f"{self.kind} of {self.k} {self.edges or ''}"


class Match(NamedTuple):
    """An array is `factor` times a quantity: "", "reshaped" or "transposed"."""

    quantity: Quantity
    factor: float
    how: str


class Truth:
    """All true quantities of a backward pass."""

    def __init__(self, walk: Backward) -> None:
        self.walk = walk
        self.quantities: list[Quantity] = []
        self._gradients()
        self._contributions()
        self._derivatives()
        self._steps()
        self._values()
        self.sized: dict[int, list[Quantity]] = defaultdict(list)
        for q in self.quantities:
            self.sized[q.value.size].append(q)
        self.tables = {
            n: _statistics(np.stack([q.value.ravel() for q in some]))
            for n, some in self.sized.items()
        }
        self.known: dict[Any, list[Match]] = {}

    def matches(self, value: Any) -> list[Match]:
        """Return what an array may be, the likeliest first."""
        v = _plain(value)
        if v is None or v.size not in self.sized:
            return []
        key = v.shape, v.tobytes()
        if key not in self.known:
            mine = _statistics(v.reshape(1, -1))
            near = abs(self.tables[v.size] - mine) <= 1e-8 * np.maximum(1, abs(mine))
            found = []
            for n in np.flatnonzero(near.all(1)):
                q = self.sized[v.size][n]
                if match := matched(v, q.value):
                    factor, how = match
                    factor = 1.0 if abs(factor - 1) < TOLERANCE else factor
                    if v.size > 1 or factor == 1:
                        found.append(Match(q, factor, how))
            found.sort(key=lambda m: (m.factor != 1, m.how == "transposed", KINDS[m.quantity.kind]))
            self.known[key] = found
        return self.known[key]

    def _add(
        self, kind: str, k: int, value: Any, edges: Iterable[Edge] = (), every: bool = False
    ) -> None:
        q = self.quantity(kind, k, value, edges, every)
        if q is None or (v := _plain(q.value)) is None:
            return
        self.quantities.append(q)
        if kind in ("gradient", "contribution", "derivative"):  # what is constant is kept once
            for a in range(v.ndim):
                if v.shape[a] > 1 and np.all(v == (once := v.take([0], a))):
                    self._add(kind, k, once, edges, every)

    def _gradients(self) -> None:
        for k in range(len(self.walk.nodes)):
            self._add("gradient", k, self.walk.cots.get(k))

    def _contributions(self) -> None:
        walk = self.walk
        for s in range(len(walk.nodes)):
            into = sorted([e for e in walk.into(s) if e in walk.contributions], reverse=True)
            if not into or isinstance(walk.cots.get(s), Outputs):
                continue
            if len(into) > 1:
                for e in into:
                    self._add("contribution", s, walk.contributions[e], [e])
            if 2 < len(into) <= FEW:
                for n in range(2, len(into)):
                    for some in itertools.combinations(into, n):
                        self._add("part", s, sum(walk.contributions[e] for e in some), some)
            if FEW < len(into) < MANY:
                for e in into:
                    rest = [x for x in into if x != e]
                    self._add("part", s, sum(walk.contributions[x] for x in rest), rest)
            if len(into) > 2:
                groups: dict[Any, list[Edge]] = defaultdict(list)
                for k, j in into:
                    groups[id(walk.site_of.get(k)), j].append((k, j))
                if len(groups) > 1:
                    for group in groups.values():
                        if len(group) > 1:
                            total = sum(walk.contributions[e] for e in group)
                            self._add("contribution", s, total, group)
                        self._running(s, group)
                self._running(s, into)
            for k, j in into:
                if np.shape(walk.z[k]) != np.shape(walk.z[s]) and walk.family(k) == "elementwise":
                    self._add("unsummed", s, walk.raw(k, j, walk.cots[k]), [(k, j)])

    def _running(self, s: int, edges: list[Edge]) -> None:
        """Add the sums under way, from the last step to the first and the other way round."""
        for order in (edges, edges[::-1]) if len(edges) < MANY else ():
            total = self.walk.contributions[order[0]]
            for n, e in enumerate(order[1:-1], 2):
                total = total + self.walk.contributions[e]
                self._add("so far", s, total, order[:n])

    # ---- one of them -----------------------------------------------------------------------------

    def gradient(self, k: int | None) -> Quantity | None:
        """Return the gradient of a node."""
        return None if k is None else self.quantity("gradient", k, self.walk.cots.get(k))

    def contribution(self, k: int, j: int) -> Quantity | None:
        """Return what node k sends to its j-th input: its gradient if nothing else does."""
        value = self.walk.contributions.get((k, j))
        s = self.walk.edges[k].get(j)
        if s is not None and len(self.walk.into(s)) == 1:
            return self.gradient(s)
        return None if s is None else self.quantity("contribution", s, value, [(k, j)])

    def share(self, s: int | None, edges: Sequence[Edge], others: bool) -> Quantity | None:
        """Return what some edges that lead to node s send there, or what all others do."""
        if s is None:
            return None
        sent = self.walk.contributions
        every = [e for e in self.walk.into(s) if e in sent]
        some = [e for e in every if (e in edges) is not others]
        if len(some) == len(every):
            return self.gradient(s)
        if not some or isinstance(sent[some[0]], Outputs):
            return None
        kind = "contribution" if len(some) == 1 else "part"
        return self.quantity(kind, s, sum(sent[e] for e in some), some)

    def local(self, k: int, j: int) -> Quantity | None:
        """Return the derivative of an elementwise node by an input, in the shape of the node."""
        if self.walk.family(k) != "elementwise" or j not in self.walk.edges[k]:
            return None
        return self.quantity("derivative", k, self._derivative(k, j), [(k, j)])

    def composed(self, k: int) -> Quantity | None:
        """Return the derivative of a chain of elementwise functions that ends in node k."""
        links = self.walk.chain(k)
        if len(links) < 2:
            return None
        value = np.prod([self._derivative(m, *self.walk.edges[m]) for m in links], axis=0)
        (j,) = self.walk.edges[links[-1]]
        return self.quantity("derivative", k, value, [(links[-1], j)])

    def of_value(self, k: int) -> Quantity | None:
        """Return the value of a node."""
        return self.quantity("value", k, self.walk.z[k])

    def of_input(self, k: int, j: int) -> Quantity | None:
        """Return the value of an input of a node."""
        xs = self.walk.xs[k]
        if not isinstance(xs, tuple) or j >= len(xs):
            return None
        return self.quantity("value", self.walk.edges[k].get(j, k), xs[j])

    def quantity(
        self, kind: str, k: int, value: Any, edges: Iterable[Edge] = (), every: bool = False
    ) -> Quantity | None:
        """Return a quantity, or None for numbers that cannot be given."""
        if value is None or isinstance(value, tuple | list):
            return None
        v = np.asarray(value)
        if v.dtype.kind not in "fiub" or not np.isfinite(v).all():
            return None
        edges = tuple(edges)
        at = k if kind in ("gradient", "value") or not edges else edges[0][0]
        site = self.walk.site_of.get(at)
        step = self.walk.step(at) if site is not None and len(site) > 1 and not every else None
        return Quantity(kind, k, v.astype(float), edges, step, every)

    def _derivative(self, k: int, j: int) -> Any:
        shape = np.shape(self.walk.z[k])
        return np.broadcast_to(self.walk.raw(k, j, np.ones(shape)), shape)

    # ---- all of them -----------------------------------------------------------------------------

    def _derivatives(self) -> None:
        for k in range(len(self.walk.nodes)):
            if self.walk.family(k) != "elementwise":
                continue
            for j in self.walk.edges[k]:
                self._add("derivative", k, self._derivative(k, j), [(k, j)])
            total: Any = 1.0
            for m in self.walk.chain(k):
                (j,) = self.walk.edges[m]
                total = total * self._derivative(m, j)
                if m != k:
                    self._add("derivative", k, total, [(m, j)])

    def _steps(self) -> None:
        """Add what all steps have, stacked, and sums of gradients over the last steps."""
        walk = self.walk
        for site in walk.sites:
            ks = site.members
            shapes = {np.shape(walk.z[k]) for k in ks}
            if len(ks) < 2 or len(shapes) > 1 or isinstance(walk.z[ks[0]], tuple):
                continue
            zero = np.zeros(*shapes)
            cots = [walk.cots.get(k, zero) for k in ks]
            self._add("gradient", ks[-1], np.stack(cots), every=True)
            self._add("value", ks[-1], np.stack([walk.z[k] for k in ks]), every=True)
            if zero.ndim and len(ks) < MANY:
                for total in itertools.islice(itertools.accumulate(cots[::-1]), 1, None):
                    self._add("so far", ks[-1], total, every=True)

    def _values(self) -> None:
        for k, z in enumerate(self.walk.z):
            self._add("value", k, z)
            xs = self.walk.xs[k]
            for x in xs if isinstance(xs, tuple) else ():
                if isinstance(x, np.ndarray | np.generic | float):
                    self._add("value", k, x)


def matched(v: Any, q: Any, tolerance: float = TOLERANCE) -> tuple[float, str] | None:
    """Return the factor between two arrays of one size, and how their axes differ, or None."""
    if v.shape == q.shape:
        factor = _ratio(v, q, tolerance)
        return (factor, "") if factor else _turned(v, q, tolerance)
    factor = _ratio(v.ravel(), q.ravel(), tolerance)
    return (factor, "reshaped") if factor else _turned(v, q, tolerance)


def _turned(v: Any, q: Any, tolerance: float) -> tuple[float, str] | None:
    a, b = v.squeeze(), q.squeeze()
    if not 1 < b.ndim <= 4 or sorted(a.shape) != sorted(b.shape):
        return None
    for axes in itertools.permutations(range(b.ndim)):
        turned = b.transpose(axes)
        if turned.shape == a.shape and (factor := _ratio(a, turned, tolerance)):
            return factor, "transposed"
    return None


def _ratio(a: Any, b: Any, tolerance: float) -> float | None:
    at = np.argmax(abs(b))
    factor = a.flat[at] / b.flat[at]
    if factor and np.all(abs(a - factor * b) <= tolerance * abs(a).max()):
        return float(factor)
    return None


def _plain(value: Any) -> Any:
    """Return an array that can be told from others in float64, else None."""
    if value is None or isinstance(value, tuple | list):
        return None
    v = np.asarray(value)
    if v.dtype.kind not in "fiub" or not v.size:
        return None
    v = v.astype(float)
    if not np.isfinite(v).all() or not v.any() or (v.size > 1 and np.all(v == v.flat[0])):
        return None
    return v


def _statistics(rows: Any) -> Any:
    a = abs(rows)
    if a.shape[1] > 1:  # one number is looked up as it is
        a = a / a.max(1, keepdims=True)
    return np.stack([a.mean(1), (a * a).mean(1), (a * a * a).mean(1)], 1)


def fitted(q: Any, shape: Sequence[int]) -> Any:
    """Return a quantity in a shape, transposed or without axes of length 1, or None."""
    if q.shape == shape:
        return q
    if q.ndim == 2 and q.T.shape == shape:
        return q.T
    if [n for n in q.shape if n > 1] == [n for n in shape if n > 1]:
        return q.reshape(shape)
    return None
