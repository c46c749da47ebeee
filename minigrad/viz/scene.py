"""What a picture shows: boxes, frames and lines, and the numbers that colour them.

Every page reads a scene: it says what is drawn, and a page says how. Parameters are written into
the operations that use them; what only picks one of several outputs is written on the line; a
scope deeper than `depth` is one box.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..core.dtypes import TOLERANCE, Array
from ..core.tape import Outputs
from ..core.tensor import Tensor
from ..graph.cost import Cost, cost_of, is_view, total
from ..graph.graph import Graph, GraphNode
from ..graph.nodes import Cluster
from ..graph.stats import Measured, Stats
from ..graph.times import Times, whole
from . import colours, words
from .wiring import Nesting, Written, wiring
from .words import Run, clean

__all__ = ["Agreement", "Box", "Scene", "Training"]

SCALAR_NODES = 50  # up to so many, a graph of numbers shows values and gradients
Agreement: TypeAlias = Mapping[Tensor, float | tuple[float, str]]
"""Relative errors of tensors, nan for what was not compared; each perhaps with a text."""


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


class Training(NamedTuple):
    """What was measured over training: at each step, the rms of the values and of the gradients.

    They are columns by number of node, with nan for nothing and -1 for what is not finite.
    """

    name: str
    steps: list[int]
    values: list[Array]
    grads: list[Array]


class Scene:
    """The boxes and lines for a graph, each scope `depth` levels down shut.

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
        self.training: Training | None = None
        self.compared = agreement is not None
        self.errors, self.texts = _agreement(graph, agreement)
        self.shown = [node for node in graph.nodes if graph.shown[node.number] == node.number]
        self.members: dict[int, list[int]] = defaultdict(list)  # of what is shown: by repetition
        for k, u in enumerate(graph.shown):
            self.members[u].append(k)
        self.outputs = _outputs(graph)
        self.usual = _usual_dtype(self.shown)
        self.tolerance = TOLERANCE.get(self.usual.itemsize if self.usual else 8, TOLERANCE[8])
        is_small = len(self.shown) <= SCALAR_NODES
        self.scalar = is_small and all(n.value.shape == () for n in self.shown)
        self.nesting = Nesting(graph, depth)
        self.written = Written(graph, () if self.scalar else self.shown, self.outputs)
        self.wiring = wiring(graph, self.shown, self.outputs, self.written, self.nesting)

    # ---- boxes -----------------------------------------------------------------------------------

    @cached_property
    def boxes(self) -> dict[str, Box]:
        """What is drawn, by key."""
        return {box.key: box for box in self._boxes()}

    def _boxes(self) -> Iterator[Box]:
        home, key = self.nesting.home, self.nesting.key
        ends = sorted(self.wiring.ends, key=lambda end: (end.node, key(end)))
        alike: Counter[Any] = Counter(
            [(e.fold, e.port, self._name(e.node)) for e in ends if e.port]
        )
        scopes = set[str]()
        for end in ends:
            shut = self.nesting.shut.get(home(end))
            if shut is not None:
                if key(end) not in scopes:
                    scopes.add(key(end))
                    yield self._scope(key(end), shut)
            elif end.fold:
                name = self._name(end.node)
                several = f" {end.node}" if alike[end.fold, end.port, name] > 1 else ""
                first, second, *_ = end.fold.moments
                before = f"{first - second:+d}".replace("-", "−") if end.port == "in" else ""
                moment = f"[{clean(end.fold.letter)}{before}]"
                box = Box(key(end), "port", [Run(name + several + moment)], end.fold, end.node)
                box.notes = [self.wiring.starts[end]] if end in self.wiring.starts else []
                yield box
            else:
                yield self._box(key(end), self.graph.nodes[end.node], home(end))

    def _name(self, k: int) -> str:
        node = self.graph.nodes[k]
        return clean(node.name or node.op or "array")

    def _box(self, key: str, node: GraphNode, home: Cluster) -> Box:
        k, graph = node.number, self.graph
        runs, uses = self.runs(k), self.wiring.uses.get(k, [])
        kind = "view" if node.op and is_view(node) else node.kind
        box = Box(key, kind, runs, home, k, members=self.members[k], written=uses)
        if not node.op and graph.paths[k]:
            box.runs = [Run(self._name_of_each(k, runs[0].text), "name")]
        box.fact = words.shape_and_dtype(node.value, self.usual)
        if self.scalar and not graph.paths[k]:
            box.fact = f"value {words.numeral(node.value.item(), 4)}"
        values = [self.measured.values[m] for m in box.members]
        if bad := sum([s.bad for s in values]):
            size = sum([s.size for s in values])
            box.notes.append(f"! value: {bad:,} of {size:,} not finite")
        if k in graph.shut:
            box.notes.append(f"cannot be opened: {clean(graph.shut[k])}")
        if k in self.outputs:
            box.is_output, box.notes = True, box.notes + self.outputs[k]
        return box

    def _name_of_each(self, k: int, name: str) -> str:
        """Return the name of an input of which every repetition has its own."""
        nodes, paths, members = self.graph.nodes, self.graph.paths, self.members[k]
        if nodes[k].kind != "constant":
            return f"{name}[{clean(paths[k][-1][0].letter)}]"
        folds = [
            (clean(fold.letter), [fold.moments[paths[m][level][1]] for m in members])
            for level, (fold, _) in enumerate(paths[k])
        ]
        names = [None if nodes[m].name is None else clean(nodes[m].name) for m in members]
        return words.name_of_each(names, folds)

    def parameters(self, cluster: Cluster) -> list[int]:
        """Return the parameters that are used in a scope."""
        return sorted({p for k in cluster.numbers for p in self.wiring.uses.get(k, ())})

    def parameter_count(self, parameters: Sequence[int]) -> int:
        """Return the number of elements of parameters that are shown, and of those like them."""
        return sum([self.graph.nodes[p].value.size * len(self.members[p]) for p in parameters])

    def runs(self, k: int) -> list[Run]:
        """Return a node as text, with the parameters that it uses."""
        patterns, args = self.written.patterns, self.graph.nodes[k].args
        inside = {int(arg): self.written.text(int(arg), k) for arg in args if arg in patterns}
        return words.node_runs(self.graph, k, inside, self.wiring.positions.get(k, ()))

    def _scope(self, key: str, cluster: Cluster) -> Box:
        home, hidden = self.nesting.parents[cluster], self.wiring.hidden
        inside = [k for k in cluster.numbers if self.graph.shown[k] == k and k not in hidden]
        n, used = len(inside), self.parameters(cluster)
        size = self.parameter_count(used)
        box = Box(key, "scope", [Run(words.title(cluster), "name")], home, cluster=cluster)
        box.fact = f"{n:,} operation{'s' * (n != 1)}" + (f", {size:,} parameters" if size else "")
        box.notes = [words.when(cluster)] if cluster.moments else []
        box.written = used
        box.members = self.members[inside[-1]] if inside else []
        if self.errors:  # what is worst in it, where gradients are those of its result
            box.members = sorted({*cluster.numbers, *[m for k in inside for m in self.members[k]]})
        box.is_output = any(k in self.outputs for k in inside)
        return box

    def everything(self, box: Box) -> list[int]:
        """Return the nodes that a box stands for, and the parameters written in it."""
        return [*box.members, *[m for p in box.written for m in self.members[p]]]

    # ---- numbers ---------------------------------------------------------------------------------

    @cached_property
    def scale(self) -> colours.Scale | None:
        """What colours the picture: errors or gradients, if there are any."""
        scales = self.scales()
        return scales.get("errors", scales.get("grads"))

    def scales(self) -> dict[str, colours.Scale]:
        """Return the scales that can colour the picture, by what they show, best first."""
        found: dict[str, colours.Scale] = {}
        if self.compared:
            found["errors"] = colours.error_scale(self.errors, self.tolerance)
        shown = [k for box in self.boxes.values() for k in self.everything(box)]
        folded = [k for k in shown if self.graph.paths[k]]  # where there is time, it is what to see
        for key, name in (("grads", "rms gradient"), ("values", "rms value")):
            stats: Sequence[Stats | None] | None = getattr(self.measured, key)
            if stats is not None:
                sizes = {
                    k: None if s is None or not s.size else math.nan if s.bad else s.rms
                    for k, s in enumerate(stats)
                }
                found[key] = colours.magnitude_scale(name, sizes, folded or shown, shown)
            for column in getattr(self.training, key, ()):  # one scale for all of training
                before = dict(enumerate(column.tolist()))
                scale = colours.magnitude_scale(name, before, folded or shown, shown)
                found[key] = found[key].joined(scale)
        return found

    def cost(self, numbers: Sequence[int]) -> Cost:
        """Return what operations that are shown cost, in all of their repetitions together.

        Of what stands inside of a checkpoint the tape keeps nothing.
        """
        rows, forgotten = [], self.graph.forgotten
        for k in numbers:
            if self.graph.shown[k] == k:
                each, times = self.costs[k], len(self.members[k])
                flops = None if each.flops is None else each.flops * times
                kept = sum([m not in forgotten for m in self.members[k]]) if forgotten else times
                rows.append(Cost(flops, each.bytes * times, each.kept * kept))
        return total(rows)

    @cached_property
    def costs(self) -> dict[int, Cost]:
        """What each operation that is shown costs once, by number."""
        return {n.number: cost_of(n) for n in self.shown if n.op}

    def time(self, numbers: Sequence[int]) -> Times:
        """Return how long operations that are shown take, in all repetitions, with what is in them.

        A parameter, or a view, that is written in several takes its time in the first; what picks
        one of several outputs, in the operation that has them.
        """
        some = {k for k in numbers if self.graph.shown[k] == k}
        some.update([hidden for k in some for hidden in self._written_first.get(k, ())])
        times = self.measured.times or []
        return whole([times[m] for k in some for m in self.members[k]])

    @cached_property
    def _written_first(self) -> dict[int, list[int]]:
        first: dict[int, int] = {}
        for k, parameters in sorted(self.wiring.uses.items()):
            for p in parameters if k not in self.wiring.hidden else ():
                first.setdefault(p, k)
        views = {h: self.written.parameter(h) for h in self.written.patterns}
        first |= {h: first[p] for h, p in views.items() if p in first}
        nodes = self.graph.nodes
        picks = [k for k in self.wiring.hidden if nodes[k].op == "pick"]
        first |= {k: self.graph.shown[int(nodes[k].args[0])] for k in picks}
        found: dict[int, list[int]] = defaultdict(list)
        for hidden, k in first.items():
            found[k].append(hidden)
        return found

    def size(self, numbers: Sequence[int], signed: bool = False) -> str:
        """Return what the scale shows of some nodes: `|g| 1e−18 … 1e−4`, `error 3e−12`, or nothing.

        `signed` is for a picture of numbers: the gradient itself.
        """
        if self.scale is None:
            return ""
        if self.scale.is_error:
            errors = [x for k in numbers if (x := self.errors.get(k)) is not None]
            if not errors:
                return ""
            worst = max(errors, key=lambda x: math.inf if math.isnan(x) else x)
            return "not compared" if math.isnan(worst) else f"error {words.numeral(worst)}"
        grads = self.measured.grads or []
        stats = [grads[k] for k in numbers]
        if signed and len(stats) == 1 and (one := stats[0]) is not None and not one.bad:
            return f"grad {words.numeral(one.min, 4)}"
        text = words.magnitude(stats)
        return f"|g| {text}" if text else ""


def _agreement(
    graph: Graph, given: Agreement | None
) -> tuple[dict[int, float | None], dict[int, str]]:
    """Return relative errors and texts by number of node."""
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
    """Return for every node that is an output in which repetitions it is one."""
    outputs: dict[int, list[str]] = defaultdict(list)
    for k in graph.outputs:
        when = ", ".join([f"{fold.letter}={fold.moments[r]}" for fold, r in graph.paths[k]])
        outputs[graph.shown[k]] += [f"output at {when}"] if when else []
    return outputs


def _usual_dtype(nodes: Sequence[GraphNode]) -> np.dtype[Any] | None:
    """Return the dtype that most nodes have."""
    dtypes = Counter([n.value.dtype for n in nodes if not isinstance(n.value, Outputs)])
    return dtypes.most_common(1)[0][0] if dtypes else None
