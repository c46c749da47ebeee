"""A recorded backward pass, edge by edge, to be walked again with some edges edited.

An *edge* (k, j) is the j-th input of node k on the tape; what the rule there makes of the node's
cotangent is its *contribution* to the cotangent of the input. An edit puts another contribution in
its place. As rules are linear in the cotangent, only the change has to be walked: an edit costs
what lies behind it.

A *site* is a place in the program: all nodes that one expression made, in order of time. Where the
lines were recorded (`located`) the expression is known exactly; else a site is told by the scope
path, or by the fold of the graph.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .debug import Place
from .graph import Graph
from .tape import Outputs, Pending, between, pulled, unbroadcast
from .tensor import Tensor

__all__ = ["Backward", "Edge", "Site"]

Edge = tuple[int, int]
Edit = Callable[[Any, Any, int, dict[int, Any]], Any]
"""`edit(g, c, k, delta)`: another contribution, from the cotangent g of node k and the right one c;
delta has the changes of the cotangents that are complete so far."""


class Site:
    """The nodes made at one place of the program, in order of time."""

    def __init__(self, number: int, op: str, place: Place | None) -> None:
        self.number, self.op, self.place = number, op, place
        self.members: list[int] = []

    def __len__(self) -> int:
        return len(self.members)


class Backward:
    """The backward pass of a scalar `loss`: its nodes in order, their cotangents and contributions.

    Everything is held in float64, so that an edit is told from rounding.
    """

    def __init__(self, loss: Tensor) -> None:
        self.nodes: list[Any] = between(None, [loss])[0]
        self.number = {t: k for k, t in enumerate(self.nodes)}
        self.xs = [tuple([_wide(x) for x in t.xs]) for t in self.nodes]
        self.z = [_wide(t.value) for t in self.nodes]
        self.edges = [
            [
                (j, self.number[s])
                for j, s in enumerate(t.inputs)
                if s in self.number and (callable(t.primitive.pulls) or t.primitive.pulls[j])
            ]
            for t in self.nodes
        ]
        self.cots: dict[int, Any] = {len(self.nodes) - 1: np.ones(loss.shape)}
        self.contributions: dict[Edge, Any] = {}
        for k in range(len(self.nodes) - 1, -1, -1):
            if k not in self.cots or not self.edges[k]:
                continue
            rules = self.nodes[k].primitive.pulls
            for j, s in self.edges[k]:
                c = self.contributions[k, j] = self._pulled(rules, k, j, self.cots[k])
                self.cots[s] = self.cots[s] + c if s in self.cots else c
        self.leaves = [k for k, t in enumerate(self.nodes) if t.primitive is None]
        bit = {k: 1 << b for b, k in enumerate(self.leaves)}
        self.reach = [0] * len(self.nodes)  # the leaves behind every node, as bits
        for k in range(len(self.nodes)):
            self.reach[k] = bit.get(k, 0)
            for _, s in self.edges[k]:
                self.reach[k] |= self.reach[s]
        self.sites = self._sites(loss)
        self.places = self._places()
        self.site_of = {k: site for site in self.sites for k in site.members}
        self.time = {k: r for site in self.sites for r, k in enumerate(site.members)}

    def pulled(self, k: int, j: int, g: Any, xs: Any = None, z: Any = None) -> Any:
        """Apply the rule of an edge to the cotangent `g`, perhaps with other inputs or output."""
        return self._pulled(self.nodes[k].primitive.pulls, k, j, g, xs, z)

    def _pulled(self, rules: Any, k: int, j: int, g: Any, xs: Any = None, z: Any = None) -> Any:
        node = self.nodes[k]
        xs, z = self.xs[k] if xs is None else xs, self.z[k] if z is None else z
        wanted = [i == j for i in range(len(xs))]
        c = pulled(node, wanted, g, z, xs)[j]
        if type(c) is Pending:
            c = c.total()
        if not isinstance(c, Outputs) and c.shape != (shape := np.shape(node.xs[j])):
            c = unbroadcast(c, shape)
        return c

    def walk(self, edits: Mapping[Edge, Edit]) -> dict[int, Any]:
        """Give the change of every cotangent that the edits change."""
        delta: dict[int, Any] = {}
        edited: dict[int, dict[int, Edit]] = defaultdict(dict)
        for (k, j), edit in edits.items():
            edited[k][j] = edit
        for k in range(max(edited), -1, -1):
            d, here = delta.get(k), edited.get(k)
            if d is None and here is None:
                continue
            if k not in self.cots or not self.edges[k]:
                continue
            rules = self.nodes[k].primitive.pulls
            for j, s in self.edges[k]:
                if here and j in here:
                    g, c = self.cots[k], self.contributions[k, j]
                    if d is not None:
                        g = g + d
                        c = c + self._pulled(rules, k, j, d)
                    change = less(here[j](g, c, k, delta), self.contributions[k, j])
                elif d is None:
                    continue
                else:
                    change = self._pulled(rules, k, j, d)
                delta[s] = delta[s] + change if s in delta else change
        return delta

    def noise(self, eps: float) -> dict[int, float]:
        """Walk with every contribution off by some eps: how far every cotangent moves at most."""
        rng = np.random.default_rng(0)
        moved: dict[int, Any] = {len(self.nodes) - 1: self.cots[len(self.nodes) - 1]}
        for k in range(len(self.nodes) - 1, -1, -1):
            if k in moved and self.edges[k]:
                rules = self.nodes[k].primitive.pulls
                for j, s in self.edges[k]:
                    c = self._pulled(rules, k, j, moved[k])
                    c = (
                        Outputs([_shaken(x, eps, rng) for x in c])
                        if isinstance(c, Outputs)
                        else _shaken(c, eps, rng)
                    )
                    moved[s] = moved[s] + c if s in moved else c
        return {k: float(np.max(abs(moved[k] - self.cots[k]), initial=0.0)) for k in moved
                if not isinstance(moved[k], Outputs)}  # fmt: skip

    def replay(self, leaf: int, value: Any) -> float:
        """Compute the loss again, in float64, with another value of one leaf."""
        new: dict[int, Any] = {leaf: value}
        for k, t in enumerate(self.nodes):
            if any(self.number.get(s) in new for s in t.inputs):
                xs = [
                    new.get(self.number.get(s), x)
                    for s, x in zip(t.inputs, self.xs[k], strict=True)
                ]
                new[k] = t.primitive.forward(*xs, **t.params)
        return float(np.asarray(new.get(len(self.nodes) - 1, self.z[-1])).reshape(()))

    def _places(self) -> dict[int, tuple[Place, bool]]:
        """Give every operation the user's expression, and say whether it is the result of it.

        In a helper function, the expression is the call of it, whose last operation is the result.
        """
        found: dict[int, tuple[Place, bool]] = {}
        last, inside = None, set[Any]()
        for k, t in enumerate(self.nodes):
            place = getattr(t.xs, "place", None)
            if place is None:
                continue
            if place.top is None:
                found[k], last = (place, True), None
                continue
            call = place.top.site
            if call == last and place.site not in inside:
                found[k - 1] = found[k - 1][0], False
            else:
                inside = set()
            inside.add(place.site)
            found[k], last = (place.top, True), call
        return found

    def _sites(self, loss: Tensor) -> list[Site]:
        """Sort the operations by the place in the program that made them."""
        places = [getattr(t.xs, "place", None) for t in self.nodes]
        shown: dict[Any, int] = {}
        if not any(places) and not any(t.scope for t in self.nodes):
            graph = Graph(loss, grads=False)
            shown = {n.tensor: graph.shown[n.number] for n in graph.nodes if n.tensor is not None}
        ranks: dict[Any, int] = defaultdict(int)
        sites: dict[Any, Site] = {}
        for k, t in enumerate(self.nodes):
            if t.primitive is None:
                continue
            key: Any = places[k].site if places[k] else None
            if key is None and t in shown:
                key = shown[t]
            elif key is None:
                ranks[t.scope, t.primitive.name] += 1
                frames = t.scope.frames if t.scope else ()
                path = tuple([(f.label, id(f.owner)) for f in frames])
                key = path, ranks[t.scope, t.primitive.name]
            shapes = tuple([np.shape(x) for x in t.xs])
            key = key, t.primitive.name, shapes
            if key not in sites:
                sites[key] = Site(len(sites), t.primitive.name, places[k])
            sites[key].members.append(k)
        return list(sites.values())


def less(a: Any, b: Any) -> Any:
    """Subtract cotangents, also of several outputs."""
    if isinstance(b, Outputs):
        return Outputs([x - y for x, y in zip(a, b, strict=True)])
    return a - b


def times(c: Any, factor: float) -> Any:
    """Scale a cotangent, also of several outputs."""
    return Outputs([x * factor for x in c]) if isinstance(c, Outputs) else c * factor


def _shaken(c: Any, eps: float, rng: np.random.Generator) -> Any:
    return c * (1 + eps * rng.uniform(-1, 1, np.shape(c)))


def _wide(x: Any) -> Any:
    if isinstance(x, Outputs):
        return Outputs([_wide(y) for y in x])
    return x.astype(np.float64) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x
