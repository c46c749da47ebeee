"""The tape frozen: what pictures, reports and compilers read.

nodes   the operations behind some outputs and what these take in, in order of creation
root    the tree of scopes: in which module, which call, which step each operation stands
fold    what repeats itself, kept once, with its number (see `folding`)
wires   the edges that are left, each saying which repetitions it stands for
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np

from ..core import tree
from ..core.tensor import Tensor
from .folding import Folding
from .nodes import Cluster, FoldPath, GraphNode
from .opened import Opened, behind, inside_of, opened
from .options import HOLE, moving_sum, moving_texts, text_with_holes
from .parts import named_part

__all__ = ["Cluster", "End", "Graph", "GraphNode", "HasTensors", "Tensors", "Wire"]


class HasTensors(Protocol):
    """Something that is shown by tensors of its own: a compiled function."""

    def tensors(self) -> list[Tensor]:
        """Return the outputs, with their graph."""


Tensors: TypeAlias = "Tensor | HasTensors | Sequence[Tensors] | Mapping[Any, Tensors] | None"
"""A Tensor, a container of them (see `core.tree`), or a compiled function: its newest program."""


class End(NamedTuple):
    """An end of a wire: a node, or a port of a fold, where the value of the node is passed on."""

    node: int
    port: Literal["", "in", "out"] = ""  # in: from the repetition before; out: from this one
    fold: Cluster | None = None


class Wire(NamedTuple):
    """An edge of the folded graph.

    `position` is that of the argument; `times` are the folds that it leaves, each time with the
    repetition that it leaves.
    """

    source: End
    target: End
    position: int
    times: frozenset[FoldPath]
    rounds: frozenset[tuple[Cluster, int, Cluster, int]] = frozenset()  # of one loop, and another

    @property
    def label(self) -> str:
        """The repetitions that it leaves and, if it sets a state, the one it enters: `t=76`."""
        parts = list[str]()
        if self.rounds and (moving := _moving(self.rounds)):
            return moving
        for level in zip(*self.times, strict=True):
            fold, repetitions = level[0][0], sorted({r for _, r in level})
            some = [str(fold.moments[r]) for r in repetitions[:3]] + ["…"] * (len(repetitions) > 3)
            full = len(repetitions) == len(fold.moments)
            parts.append(f"all {fold.letter}" if full else f"{fold.letter}={', '.join(some)}")
        if self.target.port == "in" and (fold := self.target.fold):
            parts.append(f"{fold.letter}={fold.moments[0]}")
        return " → ".join(parts)


class Graph:
    """The graph behind `outputs`, a Tensor or a container of them, as it was recorded.

    `shown[n]` is the node that stands for node n: itself, unless that is folded away. `paths[n]`
    are the folds around it, outermost first, each with the repetition that node n is in.
    RuntimeError for a tensor without a graph. `fold=False` keeps every repetition apart, and
    `modules=False` modules in a row, which repeat one another with parameters of their own.
    `inside` opens checkpointed functions, which run again for it; `forgotten` are the nodes that
    only then are there, and `shut` says which could not be opened, by number, and why.
    """

    def __init__(
        self, outputs: Tensors, fold: bool = True, modules: bool = True, inside: bool = False
    ) -> None:
        self.tensors = _with_graphs(outputs)
        found, held = Opened(self.tensors, {}, {}, set()), behind(self.tensors)
        if inside and any(map(inside_of, held)):
            found = opened(self.tensors)
            self.tensors, held = found.outputs, behind(found.outputs)
        self.nodes, self.numbers = _frozen(held)
        numbers = {t: self.numbers[s] for t, s in found.places.items() if s in self.numbers}
        self.numbers |= numbers
        self.shut = {self.numbers[t]: why for t, why in found.shut.items()}
        self.forgotten = {self.numbers[t] for t in found.forgotten if t in self.numbers}
        self.outputs = [self.numbers[t] for t in self.tensors]
        self.root = _scope_tree(self.nodes)
        self.shown = list(range(len(self.nodes)))
        self.paths: list[FoldPath] = [()] * len(self.nodes)
        self._moving: dict[tuple[int, int], list[tuple[Cluster, int, int]]] = {}
        if fold:
            folding = Folding(self.nodes, self.root, modules)
            self.shown, self.paths, self._moving = folding.shown, folding.paths, folding.moving

    def options(self, number: int) -> str:
        """Return the metadata of an operation as text: `[:, 0:4]`, `[t]`, `(axis=0)`, or empty."""
        params = self.nodes[number].params
        if not params:
            return ""
        text, holes = text_with_holes(params)
        for k, hole in enumerate(holes):
            part = getattr(hole, "__name__", str(hole))
            if moves := self._moving.get((number, k)):
                part = moving_texts(moves)
            text = text.replace(HOLE, part, 1)
        return text

    def wires(self) -> list[Wire]:
        """Return the edges between the nodes shown, through ports where a fold carries a state."""
        edges: list[tuple[int, int, int, int, Cluster | None, FoldPath, FoldPath]] = []
        states: dict[tuple[Cluster, int, int], int] = {}  # (fold, node, position) -> what it reads
        shown, paths = self.shown, self.paths
        for node in self.nodes:
            for j, arg in enumerate(node.args):
                if isinstance(arg, str):
                    continue
                u, v, carrier = shown[arg], shown[node.number], None
                p, q = paths[arg], paths[node.number]
                while p and q and p[0] == q[0]:
                    p, q = p[1:], q[1:]
                if p and q and p[0][0] is q[0][0]:
                    carrier, p, q = p[0][0], p[1:], q[1:]
                    states[carrier, v, j] = u
                copy = node.args[max(0, j - 8) : j].count(arg) if j else 0
                if j and p and q and len(node.args) == 2:  # two rounds of another loop
                    copy = int(not isinstance(node.args[0], str) and shown[node.args[0]] == u)
                edges.append((u, v, j, copy, carrier, p, q))
        leaving = {(fold, state) for (fold, _, _), state in states.items()}
        found: dict[tuple[End, End, int], tuple[int, set[FoldPath]]] = {}
        rounds: dict[tuple[End, End, int], set[tuple[Cluster, int, Cluster, int]]] = {}
        ends = [End(k) for k in range(len(self.nodes))]
        for u, v, j, copy, carrier, p, q in edges:
            source, target = ends[u], ends[v]
            if p or q:
                source = next((End(u, "out", f) for f, _ in p if (f, u) in leaving), source)
                ports = [End(states[f, v, j], "in", f) for f, _ in q if (f, v, j) in states]
                target = ports[0] if ports else target
            if carrier:
                found.setdefault((source, End(u, "out", carrier), 0), (0, set()))[1].add(p)
                source, p = End(u, "in", carrier), ()
            key = source, target, copy
            found.setdefault(key, (j, set()))[1].add(p)
            if len(p) == len(q) == 1 and not carrier and not target.port:
                rounds.setdefault(key, set()).add((*p[0], *q[0]))
        return [
            Wire(*key[:2], j, frozenset(times), frozenset(rounds.get(key, ())))
            for key, (j, times) in found.items()
        ]


def _moving(rounds: frozenset[tuple[Cluster, int, Cluster, int]]) -> str:
    """Return which round of one loop each round of another reads: `[t]`, `[9−t]`; or nothing."""
    fold, _, to, _ = next(iter(rounds))
    if any(a is not fold or b is not to for a, _, b, _ in rounds):
        return ""
    pairs = sorted([(to.moments[q], fold.moments[p]) for _, p, _, q in rounds])
    text = moving_sum([p for _, p in pairs], [(to.letter, [q for q, _ in pairs])])
    return text and (f"[{text}]" if fold.letter == to.letter else f"{fold.letter} = {text}")


def _with_graphs(outputs: Tensors) -> list[Tensor]:
    """Return the tensors of a container; RuntimeError for one that nothing was recorded for."""
    if hasattr(type(outputs), "tensors"):  # a compiled function
        outputs = outputs.tensors()  # type: ignore[union-attr]
    leaves, structure = tree.flatten(outputs)
    if not leaves:
        raise ValueError("a graph is read from one or more tensors; this container is empty")
    for t, path in zip(leaves, tree.names(structure), strict=True):
        if not isinstance(t, Tensor):
            raise TypeError(f"a graph is read from tensors; {path or 'this'} is {type(t).__name__}")
        if not t.live:
            which = f"tensor {t.name or path!r}" if t.name or path else f"a {t.shape} tensor"
            raise RuntimeError(
                f"{which} has no graph: it is constant, or computed under mg.no_grad(). Create an "
                "input with mg.tensor(..., requires_grad=True), and compute outside mg.no_grad()"
            )
    return leaves


def _frozen(held: dict[Tensor, Any]) -> tuple[list[GraphNode], dict[Any, int]]:
    """Return what stands behind some outputs in order of creation; constants at their first use."""
    tape = sorted(held, key=lambda t: t.index)
    parameters, nodes = _parameter_names(tape), list[GraphNode]()
    numbers: dict[Any, int] = {}  # by tensor, or by id for an array, which its operation keeps

    def add(key: Any, *entry: Any) -> None:
        numbers[key] = len(nodes)
        nodes.append(GraphNode(len(nodes), *entry))

    for t in tape:
        if t.primitive is None:
            if t.live:
                kind, name = ("parameter", parameters[t]) if t in parameters else ("leaf", t.name)
                add(t, kind, name, held[t], t)
            continue
        args: list[int | str] = []
        for s, x in zip(t.inputs, t.xs, strict=True):
            key, name = (id(x), None) if s is None else (s, s.name)
            if key not in numbers and isinstance(x, np.ndarray) and (x.ndim or name):
                add(key, "constant", name or named_part(x), x, s)
            args.append(numbers[key] if key in numbers else str(x))
        add(t, "operation", t.name, t.value, t, t.primitive.name, tuple(args), t.params, t.scope)
    return nodes, numbers


def _parameter_names(tape: list[Tensor]) -> dict[Tensor, str]:
    """Return the names of the parameters of modules that were called, by the outermost module."""
    scopes = dict.fromkeys([t.scope for t in tape if t.scope])
    owners = {id(s.owner): s.owner for scope in scopes for s in scope.frames}
    names: dict[Tensor, str] = {}
    for owner in owners.values():
        for name, t in owner.named_parameters() if tree.is_module(owner) else ():
            if len(name) > len(names.get(t, "")):
                names[t] = name
    return names


def _scope_tree(nodes: list[GraphNode]) -> Cluster:
    """Return the clusters of all scopes, with the operations in them: the outermost one."""
    clusters: dict[Any, Cluster] = {None: Cluster(0, None)}
    scope: Any = None
    frames: tuple[Any, ...] = ()
    for node in nodes:
        if node.scope is not scope:
            scope, frames = node.scope, node.scope.frames if node.scope else ()
        for s in frames:
            if s not in clusters:
                clusters[s] = Cluster(len(clusters), s)
                clusters[s.parent].items.append(clusters[s])
            clusters[s].numbers.append(node.number)
        if node.op:
            clusters[node.scope].items.append(node.number)
    return clusters[None]
