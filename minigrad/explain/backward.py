"""A recorded backward pass, to be walked again with some of its lines changed.

An *edge* (k, j) is the j-th input of node k on the tape. What the rule there makes of the node's
cotangent g is its *contribution* c to the cotangent of that input. An *edit* puts another in its
place. Rules are linear in the cotangent, so only what changes has to be walked.

A *site* is a place in the program: all nodes that one expression made, in order of time. Where the
lines were recorded, the expression is known exactly; else sites are told apart by the scope paths,
or by the fold of the graph. What a loop within a step makes, for every gate say, are as many sites.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ..graph import Graph
from ..places import Place
from ..primitive import Joint
from ..tape import Outputs, Pending, between, pulled, unbroadcast
from ..tensor import Tensor

__all__ = ["Backward", "Edge", "Edit", "Site", "less", "times"]

Edge = tuple[int, int]
Now = Callable[[int], Any]
Edit = Callable[[Edge, Any, Any, Now], Any]
"""`edit((k, j), g, c, now)` gives another contribution of node k, whose cotangent is g and whose
contribution would be c; `now(m)` is the cotangent of node m, as the edits have left it."""


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


class _Step:
    """What an edge does to a change: multiply it, then put it at an index or apply a function."""

    __slots__ = ("factor", "function", "index", "input", "shape", "source")

    def __init__(
        self,
        j: int,
        source: int,
        factor: Any,
        function: Any = None,
        index: Any = None,
        shape: Any = None,
    ) -> None:
        self.input, self.source, self.factor = j, source, factor
        self.function, self.index, self.shape = function, index, shape

    @property
    def plain(self) -> bool:
        return self.function is None and self.shape is None

    def apply(self, d: Any) -> Any:
        if self.factor is not None:
            d = d * self.factor
        if self.function is not None:
            return self.function(d)
        if self.shape is None:
            return d
        out = np.zeros(self.shape)
        out[self.index] = d
        return out

    def add(self, d: Any, delta: dict[int, Any], own: set[int]) -> None:
        """Add what the edge makes of a change to that of its source; `own` are arrays made here."""
        s = self.source
        if s not in delta:
            delta[s] = self.apply(d)
            if self.shape is not None or (self.factor is not None and self.function is None):
                own.add(s)
        elif s not in own:
            delta[s] = delta[s] + self.apply(d)
        elif self.shape is not None:
            delta[s][self.index] += d if self.factor is None else d * self.factor
        else:
            c = self.apply(d)
            if type(c) is Pending or c.shape != delta[s].shape:
                delta[s] = delta[s] + c
                own.discard(s)
            else:
                delta[s] += c

    def after(self, factor: Any, j: int) -> _Step:
        """Give this step behind a multiplication, for input j of another node."""
        if factor is None:
            both = self.factor
        else:
            both = factor if self.factor is None else factor * self.factor
        return _Step(j, self.source, both, self.function, self.index, self.shape)


class Backward:
    """The backward pass of a scalar `loss`: its nodes in order, their cotangents and contributions.

    Everything is held in float64, so that an edit is told from rounding.
    """

    def __init__(self, loss: Tensor) -> None:
        self.nodes: list[Any] = between(None, [loss])[0]
        self.number = {t: k for k, t in enumerate(self.nodes)}
        self.end = len(self.nodes) - 1
        self.xs = [t.xs if isinstance(t.primitive, Joint) else _wide(t.xs) for t in self.nodes]
        self.z = [_wide(t.value) for t in self.nodes]
        self.leaves = {k for k, t in enumerate(self.nodes) if t.primitive is None}
        self.edges = [
            {j: self.number[s] for j, s in enumerate(t.inputs) if s in self.number and _rule(t, j)}
            for t in self.nodes
        ]
        self.uses: dict[int, list[int]] = defaultdict(list)
        for k, sources in enumerate(self.edges):
            for s in sources.values():
                self.uses[s].append(k)
        self.cots: dict[int, Any] = {self.end: np.ones(loss.shape)}
        self.contributions: dict[Edge, Any] = {}
        for k in range(self.end, -1, -1):
            if k in self.cots:
                for j, c in self.pulled(k, self.cots[k]).items():
                    self.contributions[k, j] = c
                    _add(self.cots, self.edges[k][j], c)
        self.sites = self._sites(loss)
        self.site_of = {k: site for site in self.sites for k in site.members}
        self.rank = {k: r for site in self.sites for r, k in enumerate(site.members)}
        self.length = max([len(site) for site in self.sites], default=1)

    def into(self, s: int) -> list[Edge]:
        """List the edges that lead to a node."""
        return [(k, j) for k in {*self.uses[s]} for j, t in self.edges[k].items() if t == s]

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
        if s in self.leaves:
            later = site.members[self.rank[k] + 1 :][:1]
            return any(self.carries(m, j) for m in later if self.edges[m].get(j) not in self.leaves)
        before = site.members[self.rank[k] - 1] if self.rank[k] else -1
        return s > before and self.step(s) < self.step(k)

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

    def chain(self, k: int) -> list[int]:
        """Follow elementwise functions of one variable down from node k: 1 / (1 + exp(-x))."""
        links: list[int] = []
        while (
            len(self.edges[k]) == 1
            and getattr(self.nodes[k].primitive, "family", "") == "elementwise"
            and all(np.ndim(x) == 0 for i, x in enumerate(self.xs[k]) if i not in self.edges[k])
            and (not links or self.uses[k] == [links[-1]])
            and np.ndim(self.z[k])
        ):
            links.append(k)
            (k,) = self.edges[k].values()
        return links

    def place(self, k: int) -> Place | None:
        """Give the user's expression for a node, if it was recorded."""
        t = self.nodes[k]
        if t.primitive is not None and t.primitive.name == "pick":
            t = t.inputs[0]
        return getattr(t.xs, "place", None)

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
                c = c.total() if type(c) is Pending else c
                if not isinstance(c, Outputs) and c.shape != (shape := np.shape(node.xs[i])):
                    c = unbroadcast(c, shape)
                found[i] = c
        return found

    def raw(self, k: int, j: int, g: Any) -> Any:
        """Give what a rule makes of a cotangent before it is summed over what was broadcast."""
        node = self.nodes[k]
        return node.primitive.pulls[j](g, self.z[k], *self.xs[k], **node.params)

    def walk(
        self, edits: Mapping[Edge, Edit], moves: Mapping[Edge, int] | None = None
    ) -> dict[int, Any]:
        """Give the change of every cotangent that the edits change, but of those in mid-chain.

        What an edge in `moves` contributes goes to another node instead.
        """
        delta: dict[int, Any] = {}
        own: set[int] = set()  # whose change is an array of our own, added to in place
        edited: dict[int, list[tuple[int, Edit]]] = defaultdict(list)
        for (k, j), edit in edits.items():
            edited[k].append((j, edit))
        slow = {self.tops[k] for k in edited if k in self.tops}

        def change(m: int) -> Any:
            """Find the change of a node, also in the middle of a chain that was jumped over."""
            if m in delta or m not in self.tops or self.tops[m] in slow:
                return delta.get(m)
            (user,) = self.uses[m]
            d = change(user)
            step = next(step for step in self._steps[user] if step.source == m)
            return None if d is None else step.apply(d)

        def now(m: int) -> Any:
            d = change(m)
            return self.cots[m] if d is None else self.cots[m] + d

        for k in range(max(edited, default=-1), -1, -1):
            here = edited.get(k)
            d = delta.get(k) if here is None else change(k)
            if type(d) is Pending:
                d = delta[k] = d.total()
            if here is None:
                if d is None:
                    continue
                if k in slow or k in self.tops:
                    for step in self._steps[k]:
                        step.add(d, delta, own)
                    continue
                for s, factor, other in self._jumps[k]:  # as step.add, for what is most of a search
                    if other is not None:
                        other.add(d, delta, own)
                    elif s in own:
                        delta[s] += d * factor
                    else:
                        delta[s] = delta[s] + d * factor if s in delta else d * factor
                        own.add(s)
                continue
            if k not in self.cots:
                continue
            edits_here = dict(here)
            for step in self._steps[k]:
                edit_here = edits_here.get(step.input)
                if edit_here is None:
                    if d is not None:
                        step.add(d, delta, own)
                    continue
                edge = k, step.input
                c = self.contributions[edge]
                new = edit_here(edge, now(k), c if d is None else c + _summed(step.apply(d)), now)
                if moves and edge in moves:
                    _add(delta, moves[edge], new)
                    new = times(new, 0)
                change_here = less(new, c)
                if isinstance(c, Outputs) or change_here.any():
                    own.discard(step.source)
                    _add(delta, step.source, change_here)
        return {k: _summed(d) for k, d in delta.items()}

    def compile(self, given: Iterable[int]) -> None:
        """Prepare the walks of a search: chains are jumped over, but for the `given` nodes."""
        self._steps: list[list[_Step]] = [
            [self._step(k, j, s) for j, s in edges.items()] for k, edges in enumerate(self.edges)
        ]
        kept = {*given, *self.leaves, self.end}
        self.tops: dict[int, int] = {}  # of every node that is jumped over, where the jump begins
        for k in range(self.end, -1, -1):
            if len(self.uses[k]) == 1 and k not in kept and k in self.cots:
                (user,) = self.uses[k]
                if all(step.plain for step in self._steps[user] if step.source == k):
                    self.tops[k] = self.tops.get(user, user)
        jumps: list[list[_Step]] = []
        for steps in self._steps:  # what is jumped over comes before, so that it is there already
            jumps.append([])
            for step in steps:
                if step.source in self.tops:
                    jumps[-1] += [s.after(step.factor, step.input) for s in jumps[step.source]]
                else:
                    jumps[-1].append(step)
        self._jumps = [
            [(s.source, s.factor, None if s.plain and s.factor is not None else s) for s in steps]
            for steps in jumps
        ]

    def _step(self, k: int, j: int, s: int) -> _Step:
        node, xs, z = self.nodes[k], self.xs[k], self.z[k]
        rules, params, shape = node.primitive.pulls, node.params, np.shape(node.xs[j])
        name, family = node.primitive.name, getattr(node.primitive, "family", "")
        if callable(rules) or isinstance(xs[j], Outputs) or isinstance(z, Outputs):
            return _Step(j, s, None, lambda g: self.pulled(k, g, j)[j])
        if family == "elementwise" and shape == np.shape(z):
            with np.errstate(all="ignore"):
                factor = rules[j](np.ones(shape), z, *xs, **params)
            if np.shape(factor) == shape:
                return _Step(j, s, None if np.all(factor == 1) else factor)
        if name == "getitem" and _basic(params["index"]):
            return _Step(j, s, None, None, params["index"], shape)
        rule = rules[j]

        def apply(g: Any) -> Any:
            c = rule(g, z, *xs, **params)
            return c if type(c) is Pending or c.shape == shape else unbroadcast(c, shape)

        return _Step(j, s, None, apply)

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

    def replay(self, leaf: int, value: Any) -> float:
        """Compute the loss again, in float64, with another value of one leaf."""
        new: dict[int, Any] = {leaf: value}
        for k, t in enumerate(self.nodes):
            known = [self.number.get(s) for s in t.inputs]
            if any(s in new for s in known):
                xs = [new.get(s, x) for s, x in zip(known, self.xs[k], strict=True)]  # type: ignore[arg-type]
                new[k] = t.primitive.forward(*xs, **t.params)
        return float(np.asarray(new.get(self.end, self.z[self.end])).reshape(()))

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


def less(a: Any, b: Any) -> Any:
    """Subtract cotangents, also of several outputs."""
    if isinstance(b, Outputs):
        return Outputs([x - y for x, y in zip(a, b, strict=True)])
    return a - b


def times(c: Any, factor: float) -> Any:
    """Scale a cotangent, also of several outputs."""
    return Outputs([x * factor for x in c]) if isinstance(c, Outputs) else c * factor


def _summed(c: Any) -> Any:
    return c.total() if type(c) is Pending else c


def _basic(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return all(isinstance(i, (int, slice, type(None), type(Ellipsis))) for i in parts)


def _add(cots: dict[int, Any], k: int, c: Any) -> None:
    cots[k] = cots[k] + c if k in cots else c


def _rule(node: Any, j: int) -> bool:
    pulls = node.primitive.pulls
    return callable(pulls) or pulls[j] is not None


def _shaken(c: Any, eps: float, rng: np.random.Generator) -> Any:
    if isinstance(c, Outputs):
        return Outputs([_shaken(x, eps, rng) for x in c])
    return c * (1 + eps * rng.uniform(-1, 1, np.shape(c)))


def _wide(x: Any) -> Any:
    if isinstance(x, tuple):
        return type(x)([_wide(y) for y in x]) if isinstance(x, Outputs) else tuple(map(_wide, x))
    floating = isinstance(x, np.ndarray) and x.dtype.kind == "f"
    return x.astype(np.float64, copy=False) if floating else x
