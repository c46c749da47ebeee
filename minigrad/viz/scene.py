"""What a picture shows: boxes, frames and wires, and the numbers that colour them.

Every page reads a scene: it says what is drawn, and a page says how. Parameters are written into
the operations that use them; what only picks one of several outputs is written on the wire; a
scope deeper than `depth` is one box.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.tape import Outputs
from ..core.tensor import Tensor
from ..core.tree import is_module
from ..graph.folding import Cluster
from ..graph.graph import End, Graph, Node, Wire
from ..graph.stats import Measured, Stats
from . import colours, words
from .words import Run, clean

__all__ = ["Agreement", "Box", "Line", "Scene"]

SCALAR_NODES = 50  # up to so many, a graph of numbers shows values and gradients
SYMMETRIC = {"add", "multiply", "maximum", "minimum"}
Agreement = Mapping[Any, Any]  # Tensor -> relative error, or (relative error, text)


@dataclass(slots=True)
class Box:
    """One thing in the picture: a node, a port of a fold, or a scope that is kept shut.

    `members` are the nodes that it stands for, by repetition; `written` the parameters in it.
    """

    key: str
    kind: str  # operation, view, parameter, leaf, constant, port, scope
    runs: list[Run]
    home: Cluster
    node: int = -1
    cluster: Cluster | None = None
    fact: str = ""
    notes: list[str] = field(default_factory=list)
    members: list[int] = field(default_factory=list)
    written: list[int] = field(default_factory=list)
    is_output: bool = False


@dataclass(slots=True, frozen=True)
class Line:
    """A wire between two boxes; `wire` is one that it stands for."""

    source: str
    target: str
    label: str
    position: str  # of the argument, where it matters
    is_state: bool
    wire: Wire


class Scene:
    """The boxes and lines for the graph behind `outputs`, each cluster below `depth` shut.

    `agreement` maps Tensors of the graph to relative errors, nan for what was not compared, each
    perhaps in a pair with a text; it is shown in the place of gradients. TypeError or ValueError
    for another mapping.
    """

    def __init__(
        self,
        graph: Graph,
        measured: Measured,
        agreement: Agreement | None = None,
        depth: int | None = None,
    ) -> None:
        self.graph, self.measured = graph, measured
        nodes, shown = graph.nodes, graph.shown
        self.shown = [node for node in nodes if shown[node.number] == node.number]
        self.members: dict[int, list[int]] = defaultdict(list)
        for k, u in enumerate(shown):
            self.members[u].append(k)
        self.errors, self.texts = _agreement(graph, agreement)
        self.compared = agreement is not None
        self.usual = _usual_dtype(self.shown)
        self.scalar = len(self.shown) <= SCALAR_NODES and all(
            n.value.shape == () for n in self.shown
        )
        self.outputs = _outputs(graph)
        self.written = {} if self.scalar else _written(graph, self.shown, self.outputs)
        self._keys: dict[End, str] = {}
        self._names: dict[int, dict[Any, str]] = {}  # by id of a module: parameter -> name
        self.homes: dict[int, Cluster] = {}  # of the operations that are shown
        self.parents: dict[Cluster, Cluster] = {}
        self.shut: dict[Cluster, Cluster] = {}  # to the outermost one that is shut around it
        self._place(depth)
        self._wire(graph.wires())
        self.boxes = self._boxes()
        scales = self.scales()
        self.scale = scales.get("errors", scales.get("grads"))  # if there is anything to show

    # ---- wires -----------------------------------------------------------------------------------

    def _wire(self, wires: Sequence[Wire]) -> None:
        """Sort the wires: drawn, written into an operation, or said at a port."""
        nodes = self.graph.nodes
        self.wired: dict[int, set[int]] = defaultdict(set)  # node -> positions with an arrow
        self.begun: dict[int, End] = {}  # node -> the port where it is said that it begins there
        self.starts: dict[End, str] = {}  # what a state is at first, if no arrow says it
        picks = self._picks(wires)
        drawn: list[tuple[Wire, str]] = []  # with its label
        self.uses: dict[int, list[int]] = defaultdict(list)  # node -> parameters written in it
        for wire in wires:
            source, target = nodes[wire.source.node], nodes[wire.target.node]
            text = "" if wire.source.port else self.written.get(source.number, "")
            unnamed = (source.kind, source.name) == ("constant", None)
            if wire.target.port == "in" and unnamed:
                text = "constant" if np.any(source.value) else "zeros"
            if text and wire.target.port == "in":
                text = self.write(source.number, wire.target.node) if "@" in text else text
                self.begun[source.number] = wire.target
                self.starts[wire.target] = f"{wire.label}: {text}"
            elif text:
                used = self._parameter(source.number)
                self.uses[target.number] += [used] * (used not in self.uses[target.number])
            elif target.number not in picks:
                label = wire.label
                if source.number in picks and not wire.source.port:
                    label = " ".join([f"[{(source.params or {})['k']}]", label]).strip()
                    wire = wire._replace(source=End(int(source.args[0])))
                drawn.append((wire, label))
            if not text and not wire.target.port:
                self.wired[target.number].add(wire.position)
                start = target.args[wire.position]  # of the first repetition
                if isinstance(start, str) and (fold := wire.source.fold):
                    self.starts[wire.source] = f"{fold.letter}={fold.moments[0]}: {clean(start)}"
        self.hidden = picks | set(self.written)
        self.ends = {end for wire, _ in drawn for end in (wire.source, wire.target)}
        self.ends |= {End(n.number) for n in self.shown if n.op and n.number not in self.hidden}
        self.ends |= {End(k) for k in self.outputs}
        self.lines = self._lines(drawn)

    def _picks(self, wires: Sequence[Wire]) -> set[int]:
        """List what picks one of several outputs, and has no name and no other part to play."""
        picks = {n.number for n in self.shown if n.op == "pick" and not n.name}
        ported = {w.target.node for w in wires if w.target.port}
        ported |= {w.source.node for w in wires if w.source.port}
        return picks - ported - set(self.outputs)

    def _parameter(self, k: int) -> int:
        """Find the parameter that a transpose is of."""
        while self.graph.nodes[k].op:
            k = int(self.graph.nodes[k].args[0])
        return k

    def write(self, k: int, user: int) -> str:
        """Write a parameter, or a view of one, as the innermost module around its user names it."""
        node, scope = self.graph.nodes[self._parameter(k)], self.graph.nodes[user].scope
        name = node.name
        for frame in reversed(scope.frames if scope else ()):
            owner = frame.owner
            if id(owner) not in self._names:
                named = owner.named_parameters() if is_module(owner) else ()
                self._names[id(owner)] = {t: name for name, t in named}
            if node.tensor in self._names[id(owner)]:
                name = self._names[id(owner)][node.tensor]
                break
        return self.written[k].replace("@", clean(name or "parameter"))

    def _lines(self, drawn: Sequence[tuple[Wire, str]]) -> list[Line]:
        """Lead wires to the boxes that stand for their ends; those inside of one are not seen."""
        found: dict[tuple[Any, ...], Line] = {}
        for wire, label in drawn:
            source, target = self.key(wire.source), self.key(wire.target)
            if source == target:
                continue
            node, position = self.graph.nodes[wire.target.node], ""
            positions = self.wired[node.number] if not wire.target.port else ()
            if 1 < len(positions) < 4 and node.op not in SYMMETRIC and target[0] == "n":
                position = str(wire.position + 1)
            is_state = wire.source.port == "in" or bool(wire.target.port)
            line = Line(source, target, label, position, is_state, wire)
            shut = source[0] == "c" or target[0] == "c"
            found.setdefault((source, target, "" if shut else (label, wire.position)), line)
        return list(found.values())

    def key(self, end: End) -> str:
        """Name the box that an end of a wire is in: `n12`, the port `n12_out3`, the scope `c3`."""
        if end not in self._keys:
            home, port = self._home(end), f"_{end.port}{end.fold.number}" if end.fold else ""
            shut = self.shut.get(home)
            self._keys[end] = f"n{end.node}{port}" if shut is None else f"c{shut.number}"
        return self._keys[end]

    def _home(self, end: End) -> Cluster:
        if end.fold:
            return end.fold
        node = self.graph.nodes[end.node]
        if node.op:
            return self.homes[end.node]
        path = self.graph.paths[end.node]  # a constant of each repetition
        return path[-1][0] if path else self.graph.root

    # ---- boxes -----------------------------------------------------------------------------------

    def _boxes(self) -> dict[str, Box]:
        ends = sorted(self.ends, key=lambda end: (end.node, self.key(end)))
        alike: Counter[Any] = Counter(
            [(e.fold, e.port, words.plain(self._name(e.node))) for e in ends if e.port]
        )
        boxes: dict[str, Box] = {}
        for end in ends:
            key = self.key(end)
            if key[0] == "c":
                if key not in boxes:
                    boxes[key] = self._scope(key, self.shut[self._home(end)])
            elif end.fold:
                name = words.plain(self._name(end.node))
                several = f" {end.node}" if alike[end.fold, end.port, name] > 1 else ""
                moment = f"[{clean(end.fold.letter)}{'−1' if end.port == 'in' else ''}]"
                box = Box(key, "port", [Run(name + several + moment)], end.fold, end.node)
                box.notes = [self.starts[end]] if end in self.starts else []
                boxes[key] = box
            else:
                boxes[key] = self._box(key, self.graph.nodes[end.node], self._home(end))
        return boxes

    def _name(self, k: int) -> list[Run]:
        node = self.graph.nodes[k]
        return [Run(clean(node.name or node.op or "array"))]

    def _box(self, key: str, node: Node, home: Cluster) -> Box:
        k, graph = node.number, self.graph
        runs = self.runs(k)
        kind = "view" if node.op and words.is_view(node) else node.kind
        box = Box(key, kind, runs, home, k, members=self.members[k], written=self.uses[k])
        if not node.op and graph.paths[k]:
            box.runs = [*runs, Run(f"[{clean(graph.paths[k][-1][0].letter)}]")]
        box.fact = words.kind_of(node.value, self.usual)
        if self.scalar and not graph.paths[k]:
            box.fact = f"value {words.number(node.value.item(), 4)}"
        values = [self.measured.values[m] for m in box.members]
        if bad := sum([s.bad for s in values]):
            size = sum([s.size for s in values])
            box.notes.append(f"! value: {bad:,} of {size:,} not finite")
        if k in self.outputs:
            box.is_output, box.notes = True, box.notes + self.outputs[k]
        return box

    def parameters(self, cluster: Cluster) -> list[int]:
        """List the parameters that are used in a scope."""
        return sorted({p for k in cluster.numbers for p in self.uses.get(k, ())})

    def runs(self, k: int) -> list[Run]:
        """Write a node, with the parameters that it uses."""
        args = self.graph.nodes[k].args if self.written else ()
        inside = {int(arg): self.write(int(arg), k) for arg in args if arg in self.written}
        return words.operation(self.graph, k, inside, self.wired.get(k, ()))

    def _scope(self, key: str, cluster: Cluster) -> Box:
        home = self.parents[cluster]
        inside = [k for k in cluster.numbers if self.graph.shown[k] == k and k not in self.hidden]
        n, used = len(inside), self.parameters(cluster)
        size = sum([self.graph.nodes[p].value.size for p in used])
        box = Box(key, "scope", [Run(words.title(cluster), "name")], home, cluster=cluster)
        box.fact = f"{n:,} operation{'s' * (n != 1)}" + (f", {size:,} parameters" if size else "")
        box.notes = [words.when(cluster)] if cluster.moments else []
        box.written = used
        box.members = self.members[inside[-1]] if inside else []
        if self.errors:  # what is worst in it, where gradients are those of its result
            box.members = sorted({*cluster.numbers, *[m for k in inside for m in self.members[k]]})
        box.is_output = any(k in self.outputs for k in inside)
        return box

    def _place(self, depth: int | None) -> None:
        """Note where every operation and cluster stands, and what is shut."""
        stack = [(self.graph.root, 0)]
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

    # ---- numbers ---------------------------------------------------------------------------------

    def scales(self) -> dict[str, colours.Scale]:
        """Make the scales that can colour the picture, by what they show, best first."""
        found: dict[str, colours.Scale] = {}
        if self.compared:
            found["errors"] = colours.agreement(self.errors)
        shown = [k for box in self.boxes.values() for k in [*box.members, *box.written]]
        folded = [k for k in shown if self.graph.paths[k]]  # where there is time, it is what to see
        for key, name in (("grads", "rms gradient"), ("values", "rms value")):
            stats: Sequence[Stats | None] | None = getattr(self.measured, key)
            if stats is not None:
                sizes = {
                    k: None if s is None or not s.size else math.nan if s.bad else s.rms
                    for k, s in enumerate(stats)
                }
                found[key] = colours.magnitude(name, sizes, folded or shown, shown)
        return found

    def size(self, numbers: Sequence[int], signed: bool = False) -> str:
        """Write what the scale shows of some nodes: `|g| 1e−18 … 1e−4`, `error 3e−12`, or nothing.

        `signed` is for a picture of numbers: the gradient itself.
        """
        if self.scale is None:
            return ""
        if self.scale.is_error:
            errors = [x for k in numbers if (x := self.errors.get(k)) is not None]
            if not errors:
                return ""
            worst = max(errors, key=lambda x: math.inf if math.isnan(x) else x)
            return "not compared" if math.isnan(worst) else f"error {words.number(worst)}"
        grads = self.measured.grads or []
        stats = [grads[k] for k in numbers]
        if signed and len(stats) == 1 and (one := stats[0]) is not None and not one.bad:
            return f"grad {words.number(one.min, 4)}"
        text = words.magnitude(stats)
        return f"|g| {text}" if text else ""


def _agreement(
    graph: Graph, given: Agreement | None
) -> tuple[dict[int, float | None], dict[int, str]]:
    """Read a mapping of Tensors to errors as one of numbers of nodes to errors, and to texts."""
    errors, texts = dict[int, float | None](), dict[int, str]()
    for t, value in (given or {}).items():
        if not isinstance(t, Tensor):
            raise TypeError(f"agreement: a mapping from Tensors, not from {type(t).__name__}")
        if t not in graph.numbers:
            raise ValueError(
                f"agreement: {'tensor ' + repr(t.name) if t.name else f'a {t.shape} tensor'} is "
                "not a node of the graph"
            )
        error, text = value if isinstance(value, tuple) else (value, "")
        if error < 0:
            raise ValueError(f"agreement: a relative error is at least 0, or nan, not {error}")
        errors[graph.numbers[t]] = float(error)
        if text:
            texts[graph.numbers[t]] = clean(text, 200)
    return errors, texts


def _outputs(graph: Graph) -> dict[int, list[str]]:
    """Say for every node that is an output in which repetition it is one."""
    outputs: dict[int, list[str]] = defaultdict(list)
    for k in graph.outputs:
        when = ", ".join([f"{fold.letter}={fold.moments[r]}" for fold, r in graph.paths[k]])
        outputs[graph.shown[k]] += [f"output at {when}"] if when else []
    return outputs


def _written(graph: Graph, shown: Sequence[Node], outputs: Mapping[int, Any]) -> dict[int, str]:
    """List what is written where it is used: parameters and views of them, `@` for the name."""
    written: dict[int, str] = {}
    for node in shown:
        k, only = node.number, node.args[0] if len(node.args) == 1 else None
        if k in outputs:
            continue
        if node.kind == "parameter":
            written[k] = "@"
        elif only in written and not node.name and words.is_view(node) and node.op != "getitem":
            inner = written[int(only)]
            is_matrix = node.op == "transpose" and not graph.options(k)
            written[k] = f"{inner}ᵀ" if is_matrix else f"{node.op}({inner})"
    return written


def _usual_dtype(nodes: Sequence[Node]) -> Any:
    """Give the dtype that most operations have."""
    dtypes = Counter([n.value.dtype for n in nodes if not isinstance(n.value, Outputs)])
    return dtypes.most_common(1)[0][0] if dtypes else None
