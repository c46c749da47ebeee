"""The tape frozen: what pictures, reports and compilers read.

    nodes   the operations behind some outputs and what these take in, in order of creation
    root    the tree of scopes: in which module, which call, which step each operation stands
    fold    consecutive scopes that repeat one another, kept once, with their number
    wires   the edges that are left, each saying which repetitions it stands for

Neighbouring scopes repeat one another if they have the same label and owner, and operation by
operation the same name, metadata, shape, dtype and inputs. An input that both have is

    the same    place inside, place in the repetition before, or node outside (a parameter)
    a constant  of one shape and dtype: the same for all, or every repetition has its own
    a state     from outside in the first repetition, from the one before in all the others

and an integer of the metadata is the same or goes with the index of the scope, as in `x[t]`. Scopes
without an index must pass on a state: if they do not, they are calls in different places.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from . import tree
from .tensor import Tensor

__all__ = ["Cluster", "End", "Graph", "Node", "Wire"]

HOLE = "\0"  # stands for an integer in the text of some metadata
Path = tuple[tuple["Cluster", int], ...]  # folds, with a repetition of each


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """An operation, or an input: a parameter of a module, another leaf, or a constant.

    `args` are its inputs by position: a number is that of a node, text a scalar constant.
    """

    number: int
    kind: Literal["operation", "parameter", "leaf", "constant"]
    name: str | None
    value: Any  # an array as it was used, or the Outputs of a primitive with several
    tensor: Any  # the Tensor, which has the gradient; None for a constant array
    op: str = ""
    args: tuple[int | str, ...] = ()
    params: dict[str, Any] | None = None
    scope: Any = None


class Cluster:
    """The operations of a scope and the clusters of the scopes inside, in execution order.

    A fold stands for several scopes: `moments` are the values of `letter` in each, as in t = 0, 1.
    The letter is t for steps, k for calls, and else the label of the scope.
    """

    def __init__(self, number: int, frame: Any) -> None:
        self.number, self.frame = number, frame
        self.items, self.numbers = list[int | Cluster](), list[int]()  # here; and also inside
        self.letter, self.moments = "", list[int]()


class End(NamedTuple):
    """An end of a wire: a node, or a port of a fold, where the value of the node is passed on."""

    node: int
    port: Literal["", "in", "out"] = ""  # in: from the repetition before; out: from this one
    fold: Cluster | None = None


class Wire(NamedTuple):
    """An edge of the folded graph: `position` is the argument's, `label` says when (`t=76`)."""

    source: End
    target: End
    position: int
    label: str


class Graph:
    """The graph behind `outputs`, a Tensor or a container of them, as it was recorded.

    `shown[n]` is the node that stands for node n: itself, unless that is folded away. `paths[n]`
    are the folds around it, outermost first, each with the repetition that node n is in.
    RuntimeError for a tensor without a graph. `fold=False` keeps every repetition apart.
    """

    def __init__(self, outputs: Any, fold: bool = True) -> None:
        tensors = _with_graphs(outputs)
        self.nodes, numbers = _frozen(tensors)
        self.outputs = [numbers[t] for t in tensors]
        self.root = _tree(self.nodes)
        self.shown = list(range(len(self.nodes)))
        self.paths: list[Path] = [()] * len(self.nodes)
        self._moving: dict[tuple[int, int], str] = {}  # (node, hole) -> "t+1"
        if fold:
            self._fold()

    def options(self, number: int) -> str:
        """Write the metadata of an operation: `[:, 0:4]`, `[t]`, `(axis=0)`; empty without any."""
        text, holes = _options(self.nodes[number].params)
        for k, hole in enumerate(holes):
            fixed = getattr(hole, "__name__", str(hole))
            text = text.replace(HOLE, self._moving.get((number, k), fixed), 1)
        return text

    def wires(self) -> list[Wire]:
        """List the edges between the nodes shown, through ports where a fold carries a state."""
        edges: list[tuple[int, int, int, int, Cluster | None, Path, Path]] = []
        states: dict[tuple[Cluster, int, int], int] = {}  # (fold, node, position) -> what it reads
        for node in self.nodes:
            for j, arg in [(j, arg) for j, arg in enumerate(node.args) if isinstance(arg, int)]:
                u, v, carrier = self.shown[arg], self.shown[node.number], None
                p, q = self.paths[arg], self.paths[node.number]
                while p and q and p[0] == q[0]:
                    p, q = p[1:], q[1:]
                if p and q and p[0][0] is q[0][0]:
                    carrier, p, q = p[0][0], p[1:], q[1:]
                    states[carrier, v, j] = u
                edges.append((u, v, j, node.args[max(0, j - 8) : j].count(arg), carrier, p, q))
        leaving = {(fold, state) for (fold, _, _), state in states.items()}
        found: dict[tuple[End, End, int], tuple[int, set[Path]]] = {}
        for u, v, j, copy, carrier, p, q in edges:
            source = next((End(u, "out", f) for f, _ in p if (f, u) in leaving), End(u))
            ports = [End(states[f, v, j], "in", f) for f, _ in q if (f, v, j) in states]
            target = ports[0] if ports else End(v)
            if carrier:
                found.setdefault((source, End(u, "out", carrier), 0), (0, set()))[1].add(p)
                source, p = End(u, "in", carrier), ()
            found.setdefault((source, target, copy), (j, set()))[1].add(p)
        return [Wire(a, b, j, _label(times, b)) for (a, b, _), (j, times) in found.items()]

    def _fold(self) -> None:
        """Keep one of every run of repetitions, from the outermost scopes to the innermost."""
        stack = [self.root]
        while stack:
            cluster, kept, k = stack.pop(), list[int | Cluster](), 0
            while k < len(cluster.items):
                kept.append(cluster.items[k])
                k += self._fold_from(cluster.items, k)
            cluster.items = kept
            stack += [item for item in reversed(kept) if isinstance(item, Cluster)]
        for k, u in enumerate(self.shown):  # in folds within folds; u is first, and done
            if u != k:
                self.shown[k] = self.shown[u]
                self.paths[k] += self.paths[u][len(self.paths[k]) :]

    def _fold_from(self, items: list[int | Cluster], start: int) -> int:
        """Fold the repetitions of `items[start]` that follow it into it, and count them."""
        first, run, rule, used = items[start], list[_Repetition](), list[str](), set[Any]()
        for k in range(start + 1, len(items)):
            item = items[k]
            if not isinstance(first, Cluster) or not isinstance(item, Cluster):
                break
            run = run or [_Repetition(self, first, {})]
            used |= {value for token, value in run[-1].slots if token[0] == "constant"}
            new = _Repetition(self, item, run[-1].places)
            moves = new.moves(run[-1], used)
            if moves is None or rule not in ([], moves):
                break
            rule = ["same" if move == "state" else move for move in moves]
            run.append(new)
        if not isinstance(first, Cluster) or len(run) < 2:
            return 1
        frame, numbers = first.frame, first.numbers
        first.letter = "k" if frame.index is None else "t" if frame.label == "step" else frame.label
        first.moments = [r if x.frame.index is None else x.frame.index for r, x in enumerate(run)]
        for r, repetition in enumerate(run):
            own = dict(zip(repetition.places, numbers, strict=True))
            for move, (_, v), (_, u) in zip(rule, repetition.slots, run[0].slots, strict=False):
                if move == "own":
                    own[v] = u
            for v, u in own.items():
                self.shown[v] = u
                self.paths[v] += ((first, r),)
        for move, (token, hole) in zip(rule, run[0].slots, strict=False):
            if move == "step":
                offset, (_, place, k) = hole - first.moments[0], token
                text = f"{offset:+d}".replace("-", "−") if offset else ""
                self._moving[numbers[place], k] = first.letter + text
        return len(run)


class _Repetition:
    """A cluster read as a repetition, perhaps of the one with the places `before`."""

    def __init__(self, graph: Graph, cluster: Cluster, before: dict[Any, int]) -> None:
        self.nodes, self.before, frame = graph.nodes, before, cluster.frame
        self.frame, self.form = frame, [frame.label, frame.index is None, id(frame.owner)]
        self.slots: list[tuple[Any, Any]] = []  # integers and inputs: must be equal, and may move
        self.places: dict[Any, int] = {}  # of the operations
        scopes, shared, around = {frame: 0}, dict[Any, int](), graph.paths[cluster.numbers[0]]
        for place, number in enumerate(cluster.numbers):
            node = graph.nodes[number]
            for s in node.scope.frames[len(frame.frames) :]:
                if s not in scopes:
                    self.form += [s.label, s.index, id(s.owner), scopes[s.parent]]
                    scopes[s] = len(scopes)
            text, holes = _options(node.params)
            self.form += [scopes[node.scope], node.op, text, node.value.shape, node.value.dtype]
            self.slots += [(("hole", place, k), hole) for k, hole in enumerate(holes)]
            for arg in node.args:
                other = graph.nodes[arg] if isinstance(arg, int) else node
                token: tuple[Any, ...] = ("outside", arg)
                if arg in self.places:
                    token = ("inside", self.places[arg])
                elif arg in before:
                    token = ("before", before[arg])
                elif other.kind == "constant" and graph.paths[other.number] in ((), around):
                    x, first = other.value, shared.setdefault(arg, len(self.slots))
                    token = ("constant", first, x.shape, x.dtype)
                self.slots.append((token, arg))
            self.places[number] = place

    def moves(self, last: _Repetition, used: set[Any]) -> list[str] | None:
        """Say what each slot did since the `last` repetition; None if this does not repeat it."""
        if last.form != self.form or len(last.slots) != len(self.slots):
            return None
        moves, states, index = list[str](), dict[Any, int](), self.frame.index
        stride = 1 if index is None else index - last.frame.index
        for (was, x), (now, y) in zip(last.slots, self.slots, strict=True):
            if was == now and (x == y or now[0] in ("inside", "before")):
                moves.append("same")
            elif was == now and now[0] == "constant" and y not in used:
                moves.append("own")
            elif was == now and now[0] == "hole" and isinstance(x, int) and y == x + stride:
                moves.append("step")
            elif now[0] == "before" and states.setdefault(now, x) == x:
                start = self.nodes[x].value if isinstance(x, int) else np.float64()
                if was[0] == "inside" or start.shape != self.nodes[y].value.shape:
                    return None
                moves.append("state")
            else:
                return None
        passes_on = states or last.before or (index is not None and stride)
        return [*moves, str(stride)] if passes_on else None


def _label(times: set[Path], target: End) -> str:
    """Say which repetitions a wire leaves and, if it sets a state, which it enters: `t=76`."""
    parts = []
    for level in zip(*times, strict=True):
        fold, repetitions = level[0][0], sorted({r for _, r in level})
        some = [str(fold.moments[r]) for r in repetitions[:3]] + ["…"] * (len(repetitions) > 3)
        full = len(repetitions) == len(fold.moments)
        parts.append(f"all {fold.letter}" if full else f"{fold.letter}={', '.join(some)}")
    if target.port == "in" and target.fold:
        parts.append(f"{target.fold.letter}={target.fold.moments[0]}")
    return " → ".join(parts)


def _with_graphs(outputs: Any) -> list[Tensor]:
    """List the tensors of a container; RuntimeError for one that nothing was recorded for."""
    leaves, structure = tree.flatten(outputs)
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


def _frozen(outputs: list[Tensor]) -> tuple[list[Node], dict[Any, int]]:
    """List everything behind `outputs` in order of creation; constants at their first use."""
    held: dict[Tensor, Any] = {t: t.value for t in outputs}  # as it was when it was used
    stack = list(held)
    while stack:
        t = stack.pop()
        for s, x in zip(t.inputs, t.xs, strict=True):
            if s is not None and s not in held:
                held[s] = x
                stack.append(s)
    tape = sorted(held, key=lambda t: t.index)
    parameters, nodes = _parameters(tape), list[Node]()
    numbers: dict[Any, int] = {}  # by tensor, or by id for an array, which its operation keeps

    def add(key: Any, *entry: Any) -> None:
        numbers[key] = len(nodes)
        nodes.append(Node(len(nodes), *entry))

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
                add(key, "constant", name, x, s)
            args.append(numbers[key] if key in numbers else str(x))
        add(t, "operation", t.name, t.value, t, t.primitive.name, tuple(args), t.params, t.scope)
    return nodes, numbers


def _parameters(tape: list[Tensor]) -> dict[Tensor, str]:
    """Name the parameters of the modules that were called, as the outermost of them does."""
    owners = {id(s.owner): s.owner for t in tape if t.scope for s in t.scope.frames}
    names: dict[Tensor, str] = {}
    for owner in owners.values():
        for name, t in owner.named_parameters() if hasattr(owner, "named_parameters") else ():
            if len(name) > len(names.get(t, "")):
                names[t] = name
    return names


def _tree(nodes: list[Node]) -> Cluster:
    """Sort the operations into the clusters of their scopes."""
    clusters: dict[Any, Cluster] = {None: Cluster(0, None)}
    for node in nodes:
        for s in node.scope.frames if node.scope else ():
            if s not in clusters:
                clusters[s] = Cluster(len(clusters), s)
                clusters[s.parent].items.append(clusters[s])
            clusters[s].numbers.append(node.number)
        if node.op:
            clusters[node.scope].items.append(node.number)
    return clusters[None]


def _options(params: dict[str, Any] | None) -> tuple[str, list[Any]]:
    """Write metadata as text with a hole for every integer, and list what is in the holes."""
    holes: list[Any] = []

    def write(value: Any) -> str:
        if isinstance(value, (tuple, list)):
            return f"({', '.join([write(v) for v in value])})"
        if isinstance(value, slice):
            ends = [value.start, value.stop, *([value.step] if value.step is not None else [])]
            return ":".join(["" if end is None else write(end) for end in ends])
        if isinstance(value, np.ndarray):
            return f"{value.dtype}{value.shape}"
        if callable(value) or (isinstance(value, (int, np.integer)) and value is not bool(value)):
            holes.append(value if callable(value) else int(value))
            return HOLE
        return "..." if value is Ellipsis else repr(value)

    given = {k: write(v) for k, v in params.items() if v is not None} if params else {}
    if list(given) == ["index"]:
        text = given["index"]
        return f"[{text[1:-1] if text[0] == '(' else text}]", holes
    return f"({', '.join([f'{k}={v}' for k, v in given.items()])})" if given else "", holes
