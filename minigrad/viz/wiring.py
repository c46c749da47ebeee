"""What becomes of the edges of a graph: lines between boxes, and text where no line is drawn.

nesting   in which scope an operation stands, and which scopes are single boxes
written   the parameters, and views of them, that are written into the operations that use them
wiring    the lines that are left, and what ports of folds say
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..core.tree import is_module
from ..graph.cost import is_view
from ..graph.graph import End, Graph, GraphNode, Wire
from ..graph.nodes import Cluster
from .words import clean

__all__ = ["Line", "Nesting", "Wiring", "Written", "wiring"]

SYMMETRIC = {"add", "multiply", "maximum", "minimum"}


class Nesting:
    """In which scope every operation that is shown stands, and which scopes are shut.

    With a `depth`, a scope that many levels down is shut: one box stands for all that is in it.
    """

    def __init__(self, graph: Graph, depth: int | None = None) -> None:
        self.graph = graph
        self.homes: dict[int, Cluster] = {}
        self.parents: dict[Cluster, Cluster] = {}
        self.shut: dict[Cluster, Cluster] = {}  # to the outermost one that is shut around it
        self._keys: dict[End, str] = {}
        stack = [(graph.root, 0)]
        while stack:
            cluster, level = stack.pop()
            if level and depth is not None and level >= depth and cluster not in self.shut:
                self.shut[cluster] = cluster
            for item in cluster.items:
                if isinstance(item, int):
                    self.homes[item] = cluster
                    continue
                self.parents[item] = cluster
                if cluster in self.shut:
                    self.shut[item] = self.shut[cluster]
                stack.append((item, level + 1))

    def home(self, end: End) -> Cluster:
        """Return the scope that an end of a wire stands in."""
        if end.fold:
            return end.fold
        if self.graph.nodes[end.node].op:
            return self.homes[end.node]
        path = self.graph.paths[end.node]  # a constant of each repetition
        return path[-1][0] if path else self.graph.root

    def key(self, end: End) -> str:
        """Return the key of the box of an end: `n12`, the port `n12_out3`, the scope `c3`."""
        if end not in self._keys:
            home, port = self.home(end), f"_{end.port}{end.fold.number}" if end.fold else ""
            shut = self.shut.get(home)
            self._keys[end] = f"n{end.node}{port}" if shut is None else f"c{shut.number}"
        return self._keys[end]


class Written:
    """The parameters, and views of them, that are written into the operations that use them.

    `patterns` are their texts by number of node, with `@` where the name stands: `@ᵀ`. What is an
    output is not among them, for it has a box.
    """

    def __init__(
        self, graph: Graph, nodes: Sequence[GraphNode], outputs: Mapping[int, Any]
    ) -> None:
        self.graph = graph
        self.patterns: dict[int, str] = {}
        self._names: dict[int, dict[Any, str]] = {}  # by id of a module: parameter -> name
        for node in nodes:
            k, only = node.number, node.args[0] if len(node.args) == 1 else None
            if k in outputs:
                continue
            if node.kind == "parameter":
                self.patterns[k] = "@"
            elif only in self.patterns and not node.name and _only_turns(node):
                inner = self.patterns[int(only)]
                is_matrix = node.op == "transpose" and not graph.options(k)
                self.patterns[k] = f"{inner}ᵀ" if is_matrix else f"{node.op}({inner})"

    def parameter(self, k: int) -> int:
        """Return the parameter that a node is, or is a view of."""
        while self.graph.nodes[k].op:
            k = int(self.graph.nodes[k].args[0])
        return k

    def text(self, k: int, user: int) -> str:
        """Return the text of a node, with the name that the innermost module around `user` uses."""
        node, scope = self.graph.nodes[self.parameter(k)], self.graph.nodes[user].scope
        name = node.name
        for frame in reversed(scope.frames if scope else ()):
            owner = frame.owner
            if id(owner) not in self._names:
                named = owner.named_parameters() if is_module(owner) else ()
                self._names[id(owner)] = {t: name for name, t in named}
            if node.tensor in self._names[id(owner)]:
                name = self._names[id(owner)][node.tensor]
                break
        return self.patterns[k].replace("@", clean(name or "parameter"))


def _only_turns(node: GraphNode) -> bool:
    return is_view(node) and node.op != "getitem"


@dataclass(slots=True, frozen=True)
class Line:
    """A wire between two boxes; `wire` is one that it stands for."""

    source: str
    target: str
    label: str
    position: str  # of the argument, where it matters
    is_state: bool
    wire: Wire


class Wiring(NamedTuple):
    """What has become of every edge: a line, text in an operation, or text at a port."""

    lines: list[Line]
    ends: set[End]  # what has a box
    hidden: set[int]  # nodes without a box of their own
    positions: dict[int, set[int]]  # node -> those of its arguments that are not written
    uses: dict[int, list[int]]  # node -> the parameters written in it
    starts: dict[End, str]  # port -> what the state is at first, if no line says it
    begun: dict[int, End]  # node -> the port where it is said that a state begins with it


def wiring(
    graph: Graph,
    nodes: Sequence[GraphNode],
    outputs: Mapping[int, Any],
    written: Written,
    nesting: Nesting,
) -> Wiring:
    """Return what becomes of the edges between `nodes`, those of the graph that are shown."""
    wires = graph.wires()
    picks = _picks(nodes, wires, outputs)
    drawn: list[tuple[Wire, str]] = []  # with its label
    positions: dict[int, set[int]] = defaultdict(set)
    uses: dict[int, list[int]] = defaultdict(list)
    starts, begun = dict[End, str](), dict[int, End]()
    for wire in wires:
        source, target = graph.nodes[wire.source.node], graph.nodes[wire.target.node]
        text = "" if wire.source.port else written.patterns.get(source.number, "")
        unnamed = (source.kind, source.name) == ("constant", None)
        if wire.target.port == "in" and unnamed:
            text = "constant" if np.any(source.value) else "zeros"
        if text and wire.target.port == "in":
            text = written.text(source.number, wire.target.node) if "@" in text else text
            begun[source.number] = wire.target
            starts[wire.target] = f"{wire.label}: {text}"
        elif text:
            used = written.parameter(source.number)
            uses[target.number] += [used] * (used not in uses[target.number])
        elif target.number not in picks:
            label = wire.label
            if source.number in picks and not wire.source.port:
                label = " ".join([f"[{(source.params or {})['k']}]", label]).strip()
                wire = wire._replace(source=End(int(source.args[0])))
            drawn.append((wire, label))
        if not text and not wire.target.port:
            positions[target.number].add(wire.position)
            start = target.args[wire.position]  # of the first repetition
            if isinstance(start, str) and (fold := wire.source.fold):
                starts[wire.source] = f"{fold.letter}={fold.moments[0]}: {clean(start)}"
    hidden = picks | set(written.patterns)
    ends = {end for wire, _ in drawn for end in (wire.source, wire.target)}
    ends |= {End(n.number) for n in nodes if n.op and n.number not in hidden}
    ends |= {End(k) for k in outputs}
    lines = _lines_of_boxes(graph, nesting, positions, drawn)
    return Wiring(lines, ends, hidden, positions, uses, starts, begun)


def _picks(
    nodes: Sequence[GraphNode], wires: Sequence[Wire], outputs: Mapping[int, Any]
) -> set[int]:
    """Return what picks one of several outputs, and has no name and no other part to play."""
    picks = {n.number for n in nodes if n.op == "pick" and not n.name}
    ported = {w.target.node for w in wires if w.target.port}
    ported |= {w.source.node for w in wires if w.source.port}
    return picks - ported - set(outputs)


def _lines_of_boxes(
    graph: Graph,
    nesting: Nesting,
    positions: Mapping[int, set[int]],
    drawn: Sequence[tuple[Wire, str]],
) -> list[Line]:
    """Return wires led to the boxes that stand for their ends; those inside of one are not seen."""
    found: dict[tuple[Any, ...], Line] = {}
    for wire, label in drawn:
        source, target = nesting.key(wire.source), nesting.key(wire.target)
        if source == target:
            continue
        node, position = graph.nodes[wire.target.node], ""
        several = positions.get(node.number, ()) if not wire.target.port else ()
        if 1 < len(several) < 4 and node.op not in SYMMETRIC and target[0] == "n":
            position = str(wire.position + 1)
        is_state = wire.source.port == "in" or bool(wire.target.port)
        line = Line(source, target, label, position, is_state, wire)
        shut = source[0] == "c" or target[0] == "c"
        found.setdefault((source, target, "" if shut else (label, wire.position)), line)
    return list(found.values())
