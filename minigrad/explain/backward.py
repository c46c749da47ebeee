"""A recorded backward pass: its gradients, and what each operation passes to its inputs.

An *edge* (k, j) is the j-th input of node k on the tape. What the rule there makes of the node's
cotangent g is its *contribution* c to the cotangent of that input.

A *site* is a place in the program: all nodes that one expression made, in order of time. Where the
lines were recorded, the expression is known exactly; else sites are told apart by the scope paths,
or by the fold of the graph. What a loop within a step makes, for every gate say, are as many sites.
"""

from __future__ import annotations

import copy
import functools
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..core.primitive import Joint
from ..core.tape import Deferred, Outputs, between, pulled, unbroadcast
from ..core.tensor import Tensor
from ..graph.graph import Graph
from ..graph.source import Place, place_of

__all__ = ["Backward", "Edge", "Site", "less", "mark", "times"]

Edge = tuple[int, int]


class Site:
    """The nodes made at one place of the program, in order of time.

    `part` is (1, n) to (n, n) for those that a loop within each step has made together.
    """

    def __init__(
        self, op: str, place: Place | None, members: Iterable[int] = (), part: Any = (1, 1)
    ) -> None:
        self.op, self.place, self.members, self.part = op, place, list(members), part

    def __len__(self) -> int:
        return len(self.members)


class Backward:
    """The backward pass of a scalar `loss`: its nodes in order, their cotangents and contributions.

    Everything is held in float64, so that an edit is told from rounding.
    """

    def __init__(self, loss: Tensor) -> None:
        self.nodes: list[Any] = between(None, [loss])[0]
        self.number = {t: k for k, t in enumerate(self.nodes)}
        self.end = len(self.nodes) - 1
        same: dict[int, Any] = {}  # so that what was one array is one array still
        self.z = [_wide(t.value, same) for t in self.nodes]
        self.xs = [
            t.xs if isinstance(t.primitive, Joint) else _wide(_rounded(t.xs, t.value), same)
            for t in self.nodes
        ]
        self.leaves = {k for k, t in enumerate(self.nodes) if t.primitive is None}
        self.edges = [
            {j: self.number[s] for j, s in enumerate(t.inputs) if s in self.number and _rule(t, j)}
            for t in self.nodes
        ]
        self.uses: dict[int, list[int]] = defaultdict(list)
        for k, sources in enumerate(self.edges):
            for s in sources.values():
                self.uses[s].append(k)
        self.run()
        self.sites = self._sites(loss)
        self.site_of = {k: site for site in self.sites for k in site.members}
        self.rank = {k: r for site in self.sites for r, k in enumerate(site.members)}
        self.length = max([len(site) for site in self.sites], default=1)

    def into(self, s: int) -> list[Edge]:
        """List the edges that lead to a node."""
        return [(k, j) for k in {*self.uses[s]} for j, t in self.edges[k].items() if t == s]

    def run(self) -> None:
        """Run the backward pass on the values that are held."""
        self.cots: dict[int, Any] = {self.end: np.ones(np.shape(self.z[self.end]))}
        self.contributions: dict[Edge, Any] = {}
        for k in range(self.end, -1, -1):
            if k in self.cots:
                for j, c in self.pulled(k, self.cots[k]).items():
                    self.contributions[k, j] = c
                    _add(self.cots, self.edges[k][j], c)

    def step(self, k: int) -> int:
        """Give the time step of a node: that of its scope, or its place among those of its site."""
        scope = self.nodes[k].scope
        for frame in reversed(scope.frames if scope else ()):
            if frame.index is not None:
                return int(frame.index)
        return self.length - len(self.site_of[k]) + self.rank[k]

    def carries(self, k: int, j: int) -> bool:
        """Whether an edge takes a state from the step before, or the first step the initial one."""
        s, site = self.edges[k][j], self.site_of.get(k)
        if site is None or len(site) < 2:
            return False
        if s < site.members[0]:  # before the first step
            later = site.members[self.rank[k] + 1 :][:1]
            return any(self.carries(m, j) for m in later if self.edges[m].get(j, s) != s)
        before = site.members[self.rank[k] - 1] if self.rank[k] else -1
        return s > before and self.step(s) < self.step(k)

    def initial(self, s: int) -> bool:
        """Whether a node is an initial state."""
        return any(not self.rank[k] and self.carries(k, j) for k, j in self.into(s))

    def beside(self, k: int, m: int, other: int) -> int | None:
        """Find what is to `other`, of another step or call of a function, as m is to node k."""
        site, near, place = self.site_of.get(m), other + m - k, self.place(m)
        if site is None:
            return m
        if self.site_of[other] is self.site_of[k]:
            r = self.rank[other] + self.rank[m] - self.rank[k]
            return m if len(site) == 1 else dict(enumerate(site.members)).get(r)
        its = self.place(near) if near in self.site_of else None
        same = its and place and its.line_of_code == place.line_of_code
        return near if same and self.site_of[near].op == site.op else m

    def sum_of(self, k: int) -> int:
        """Go up from a node through the additions that it is a term of, and nothing else."""
        while len(self.uses[k]) == 1 and self.site_of[(m := self.uses[k][0])].op == "add":
            if np.shape(self.z[m]) != np.shape(self.z[k]):
                break
            k = m
        return k

    def chain(self, k: int) -> list[int]:
        """Follow elementwise functions of one variable down from node k: 1 / (1 + exp(-x))."""
        links: list[int] = []
        while (
            len(self.edges[k]) == 1
            and self.family(k) == "elementwise"
            and all(np.ndim(x) == 0 for i, x in enumerate(self.xs[k]) if i not in self.edges[k])
            and (not links or self.uses[k] == [links[-1]])
            and np.ndim(self.z[k])
        ):
            links.append(k)
            (k,) = self.edges[k].values()
        return links

    def family(self, k: int) -> str:
        """Name the family of primitives that a node's is of."""
        return getattr(self.nodes[k].primitive, "family", "")

    def index(self, k: int) -> tuple[Any, ...]:
        """Give the index that a getitem takes, as a tuple."""
        index = self.nodes[k].params["index"]
        return index if isinstance(index, tuple) else (index,)

    def place(self, k: int) -> Place | None:
        """Give the user's expression for a node, if it was recorded."""
        t = self.nodes[k]
        if t.primitive is not None and t.primitive.name == "pick":
            t = t.inputs[0]
        return place_of(t)

    def pulled(
        self, k: int, g: Any, j: int | None = None, xs: Any = None, z: Any = None
    ) -> dict[int, Any]:
        """Apply the rules of a node to a cotangent, all or one, perhaps on other values."""
        node, edges = self.nodes[k], self.edges[k]
        xs, z = self.xs[k] if xs is None else xs, self.z[k] if z is None else z
        wanted = [i in edges and j in (None, i) for i in range(len(xs))]
        if not any(wanted):
            return {}
        found = {}
        for i, c in enumerate(pulled(node, wanted, g, z, xs)):
            if wanted[i]:
                c = c.total() if type(c) is Deferred else c
                if not isinstance(c, Outputs) and c.shape != (shape := np.shape(node.xs[i])):
                    c = unbroadcast(c, shape)
                found[i] = c
        return found

    def raw(self, k: int, j: int, g: Any) -> Any:
        """Give what a rule makes of a cotangent before it is summed over what was broadcast."""
        node = self.nodes[k]
        return node.primitive.pulls[j](g, self.z[k], *self.xs[k], **node.params)

    def noise(self, eps: float) -> dict[int, float]:
        """Say how far every cotangent moves at most if every contribution is rounded by `eps`."""
        rng = np.random.default_rng(0)
        moved = {self.end: self.cots[self.end]}
        for k in range(self.end, -1, -1):
            for j, c in (self.pulled(k, moved[k]) if k in moved else {}).items():
                _add(moved, self.edges[k][j], _shaken(c, eps, rng))
        return {
            k: float(np.max(abs(m - self.cots[k]), initial=0.0))
            for k, m in moved.items()
            if not isinstance(m, Outputs)
        }

    def replay(self, values: Mapping[int, Any]) -> Backward:
        """Run the forward pass again, in float64, with other values of some leaves."""
        again, new = copy.copy(self), dict(values)
        again.__dict__.pop("series", None)
        again.xs = list(self.xs)
        for k, t in enumerate(self.nodes):
            known = [self.number.get(s) for s in t.inputs]
            if any(s in new for s in known):
                xs = [new.get(s, x) for s, x in zip(known, self.xs[k], strict=True)]  # type: ignore[arg-type]
                new[k] = t.primitive.forward(*xs, **t.params)
                again.xs[k] = tuple(xs)
        again.z = [new.get(k, z) for k, z in enumerate(self.z)]
        return again

    @functools.cached_property
    def series(self) -> list[tuple[list[Any], int, int]]:
        """What the forward pass computes and takes, in time: values, the last node, and the input.

        The input is -1 for the output. Every series is there once.
        """
        found: dict[int, tuple[list[Any], int, int]] = {}
        several = [([self.z[k]], k, -1) for k in sorted(self.leaves)]
        for site in self.sites:
            ks, last = site.members, site.members[-1]
            several.append(([self.z[k] for k in ks], last, -1))
            for i in range(len(self.xs[last])):
                several.append(([self.xs[k][i] for k in ks], last, i))
        for values, k, i in several:
            if not any(isinstance(v, Outputs) for v in values) and np.ndim(values[-1]):
                found.setdefault(mark(values), (values, k, i))
        return list(found.values())

    @property
    def loss(self) -> float:
        """The loss, as the values that are held give it."""
        return float(np.asarray(self.z[self.end]).reshape(()))

    def behind(self, keys: Iterable[int]) -> list[int]:
        """Give for every node which of the `keys` lie at it or behind it, as bits."""
        bit = {k: 1 << b for b, k in enumerate(keys)}
        bits = [bit.get(k, 0) for k in range(len(self.nodes))]
        for k, sources in enumerate(self.edges):
            for s in sources.values():
                bits[k] |= bits[s]
        return bits

    def _sites(self, loss: Tensor) -> list[Site]:
        """Sort the operations by the place in the program that made them."""
        places = [self.place(k) for k in range(len(self.nodes))]
        shown: dict[Any, int] = {}
        if not any(places) and not any(t.scope for t in self.nodes):
            graph = Graph(loss)
            shown = {n.tensor: graph.shown[n.number] for n in graph.nodes if n.tensor is not None}
        ranks: dict[Any, int] = defaultdict(int)
        sites: dict[Any, Site] = {}
        for k, (t, place) in enumerate(zip(self.nodes, places, strict=True)):
            if t.primitive is None:
                continue
            if place:
                key: Any = place.site, t.params.get("k") if t.primitive.name == "pick" else None
            elif t in shown:
                key = shown[t]
            else:
                ranks[t.scope, t.primitive.name] += 1
                frames = t.scope.frames if t.scope else ()
                path = tuple([(f.label, id(f.owner)) for f in frames])
                key = path, ranks[t.scope, t.primitive.name]
            key = key, t.primitive.name, tuple([np.shape(x) for x in t.xs])
            sites.setdefault(key, Site(t.primitive.name, place)).members.append(k)
        return self._apart(list(sites.values()))

    def _apart(self, sites: list[Site]) -> list[Site]:
        """Take apart what a loop within each step has made: a comprehension over the gates."""
        found = list[Site]()
        clocks = sorted({len(site): site for site in sites if len(site) > 1}.values(), key=len)
        for site in sites:
            n = next((n for c in reversed(clocks) if (n := self._per_step(site, c)) > 1), 1)
            found += [Site(site.op, site.place, site.members[i::n], (i + 1, n)) for i in range(n)]
        return found

    def _per_step(self, site: Site, clock: Site) -> int:
        """Count how many members of a site, none made from another, each step of a clock has."""
        n, rest = divmod(len(site), len(clock))
        if rest or n < 2:
            return 1
        ticks = np.searchsorted(clock.members, site.members)
        steps = ticks.reshape(-1, n)
        if np.any(steps != steps[:, :1]) or np.any(np.diff(steps[:, 0]) != 1):
            return 1
        some = site.members[-n:]
        made = {some[0]}  # from the first of the last step
        for k in range(some[0] + 1, some[-1] + 1):
            if made.intersection(self.edges[k].values()):
                made.add(k)
        return 1 if made.intersection(some[1:]) else n


def mark(values: Iterable[Any]) -> int:
    """Number some values by their contents."""
    return hash(tuple([np.asarray(v, np.float64).tobytes() for v in values]))


def less(a: Any, b: Any) -> Any:
    """Subtract cotangents, also of several outputs."""
    if isinstance(b, Outputs):
        return Outputs([x - y for x, y in zip(a, b, strict=True)])
    return a - b


def times(c: Any, factor: float) -> Any:
    """Scale a cotangent, also of several outputs."""
    return Outputs([x * factor for x in c]) if isinstance(c, Outputs) else c * factor


def _add(cots: dict[int, Any], k: int, c: Any) -> None:
    cots[k] = cots[k] + c if k in cots else c


def _rule(node: Any, j: int) -> bool:
    pulls = node.primitive.pulls
    return callable(pulls) or pulls[j] is not None


def _shaken(c: Any, eps: float, rng: np.random.Generator) -> Any:
    if isinstance(c, Outputs):
        return Outputs([_shaken(x, eps, rng) for x in c])
    return c * (1 + eps * rng.uniform(-1, 1, np.shape(c)))


def _rounded(xs: Any, value: Any) -> Any:
    """Round Python's numbers as the operation did: in float32, 0.1 is another number."""
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or value.itemsize >= 8:
        return xs
    return tuple([float(value.dtype.type(x)) if type(x) is float else x for x in xs])


def _wide(x: Any, same: dict[int, Any]) -> Any:
    if isinstance(x, tuple):
        parts = [_wide(part, same) for part in x]
        return type(x)(parts) if isinstance(x, Outputs) else tuple(parts)
    if not isinstance(x, np.ndarray) or x.dtype.kind != "f":
        return x
    if id(x) not in same:
        same[id(x)] = x.astype(np.float64, copy=False)
    return same[id(x)]
