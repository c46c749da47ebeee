"""The tape frozen: what pictures, reports and compilers read.

    nodes   the operations behind some outputs and what these take in, in order of creation
    root    the tree of scopes: in which module, which call, which step each operation stands
    fold    consecutive scopes that repeat one another, kept once, with their number
    wires   the edges that are left, each saying which repetitions it stands for

Nothing here is recursive, and the cost is linear: `y = y + y` sixty times is sixty operations.

Neighbouring scopes repeat one another if they have the same label and owner, and operation by
operation the same name, metadata, shape, dtype and inputs. An input that both have is

    the same    place inside, place in the repetition before, or node outside (a parameter)
    a constant  of one shape and dtype: the same for all, or every repetition has its own
    a state     from outside in the first repetition, from the one before in all the others
    a step on   in an earlier fold, if both are as far apart as the indices of the scopes

and an integer of the metadata is the same or a step on too, as in `x[t]`. Scopes without an index
must pass on a state: if they do not, they are calls in different places.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from . import tree
from .context import Scope
from .tensor import Tensor

__all__ = ["Cluster", "End", "Graph", "Node", "Wire"]

HOLE = "\0"  # stands for an integer in the text of some metadata


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """An operation, or an input: a parameter of a module, another leaf, or a constant.

    `args` are its inputs by position: a number is that of a node, text a scalar constant. `tensor`
    is where a gradient would be found; a constant array has none.
    """

    number: int
    kind: Literal["operation", "parameter", "leaf", "constant"]
    name: str | None
    value: npt.NDArray[Any]
    tensor: Tensor | None
    op: str = ""
    args: tuple[int | str, ...] = ()
    params: Mapping[str, Any] | None = None
    scope: Scope | None = None


class Cluster:
    """The operations of a scope and the clusters of the scopes inside, in execution order.

    `frames` are the scopes it stands for: one, or every repetition of a fold; none for the root.
    """

    __slots__ = ("frames", "items", "number")

    def __init__(self, number: int, frames: list[Scope]) -> None:
        self.number, self.frames, self.items = number, frames, list[int | Cluster]()

    @property
    def letter(self) -> str:
        """What counts the repetitions: t for steps, k for calls, else the label of the scope."""
        frame = self.frames[0]
        return "k" if frame.index is None else "t" if frame.label == "step" else frame.label

    def moment(self, repetition: int) -> int:
        """The value of the letter in a repetition."""
        index = self.frames[repetition].index
        return repetition if index is None else index


class End(NamedTuple):
    """Where a wire starts or ends: a node, or a port, which carries its state through a fold.

    The port "in" of node n is n in the repetition before; "out" is n on leaving this one.
    """

    node: int
    port: Literal["", "in", "out"] = ""
    fold: Cluster | None = None


class Wire(NamedTuple):
    """An edge of the folded graph: `position` is the argument's, `label` says when (`t=76`)."""

    source: End
    target: End
    position: int
    label: str


Path = tuple[tuple[Cluster, int], ...]  # the folds around a node and its repetition in each


class Graph:
    """The graph behind `outputs`, a Tensor or a container of them, as it was recorded.

    RuntimeError for a tensor without a graph. `fold=False` keeps every repetition apart.
    """

    def __init__(self, outputs: Any, fold: bool = True) -> None:
        tensors = _with_graphs(outputs)
        self.nodes, numbers = _frozen(tensors)
        self.outputs = tuple([numbers[t] for t in tensors])
        self.root = _tree(self.nodes)
        self._shown = list(range(len(self.nodes)))  # one fold further: see `shown`
        self._paths: list[Path] = [()] * len(self.nodes)
        self._moving: dict[tuple[int, int], str] = {}  # (node, hole) -> "t+1"
        if fold:
            self._fold()

    def shown(self, number: int) -> int:
        """Give the node that stands for a node: itself, unless that is folded away."""
        while self._shown[number] != number:
            number = self._shown[number]
        return number

    def path(self, number: int) -> Path:
        """List the folds around a node, outermost first, and its repetition in each."""
        path = self._paths[number]
        while self._shown[number] != number:
            number = self._shown[number]
            path += self._paths[number][len(path) :]
        return path

    def options(self, number: int) -> str:
        """Write the metadata of an operation: `[:, 0:4]`, `[t]`, `(axis=0)`; empty without any."""
        text, holes = _options(self.nodes[number].params)
        for k, hole in enumerate(holes):
            moving = self._moving.get((number, k))
            text = text.replace(HOLE, moving or getattr(hole, "__name__", str(hole)), 1)
        return text

    def wires(self) -> list[Wire]:
        """List the edges between the nodes shown, through ports where a fold carries a state."""
        shown = [self.shown(k) for k in range(len(self.nodes))]
        paths = [self.path(k) for k in range(len(self.nodes))]
        edges: list[tuple[int, int, int, int, Path, Path]] = []
        states: dict[tuple[Cluster, int, int], int] = {}  # (fold, node, position) -> what it reads
        for v, node in enumerate(self.nodes):
            copies: dict[int, int] = {}
            for j, u in enumerate(node.args):
                if isinstance(u, str):
                    continue
                p, q = _apart(paths[u], paths[v])
                if p and q and p[0][0] is q[0][0]:
                    states[q[0][0], shown[v], j] = shown[u]
                copies[u] = copies.get(u, -1) + 1
                edges.append((shown[u], shown[v], j, copies[u], p, q))
        leaving = {(fold, state) for (fold, _, _), state in states.items()}

        found: dict[tuple[End, End, int], tuple[int, set[Path]]] = {}

        def join(source: End, target: End, copy: int, j: int, when: Path) -> None:
            found.setdefault((source, target, copy), (j, set()))[1].add(when)

        for u, v, j, copy, p, q in edges:
            carrier = p[0][0] if p and q and p[0][0] is q[0][0] else None
            if carrier:
                p, q = p[1:], q[1:]
            out = [End(u, "out", fold) for fold, _ in p if (fold, u) in leaving]
            into = [End(states[f, v, j], "in", f) for f, _ in q if (f, v, j) in states]
            source, target = [*out, End(u)][0], [*into, End(v)][0]
            if carrier:
                join(source, End(u, "out", carrier), 0, 0, p)
                source, p = End(u, "in", carrier), ()
            join(source, target, copy, j, p)
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

    def _fold_from(self, items: list[int | Cluster], start: int) -> int:
        """Fold the repetitions of `items[start]` that follow it into it, and count them."""
        first, run, rule, used = items[start], list[_Repetition](), list[str](), set[int]()
        for k in range(start + 1, len(items)):
            item = items[k]
            if not isinstance(first, Cluster) or not isinstance(item, Cluster):
                break
            a, b = first.frames[0], item.frames[0]
            if (
                a.label != b.label
                or a.owner is not b.owner
                or (a.index is None) != (b.index is None)
            ):
                break
            run = run or [_Repetition(self, first, {}, used)]
            new = _Repetition(self, item, run[-1].places, used)
            moves = new.moves_from(run[-1], is_second=len(run) == 1)
            if moves is None or rule not in ([], moves):
                break
            rule = ["same" if move == "state" else move for move in moves]
            run.append(new)
            used |= {arg for _, arg in new.inputs}
        if isinstance(first, Cluster) and len(run) > 1:
            self._keep(first, run, rule)
        return max(1, len(run))

    def _keep(self, cluster: Cluster, run: list[_Repetition], rule: list[str]) -> None:
        """Let `cluster` stand for a run of repetitions, of which it is the first."""
        cluster.frames, first = [repetition.frame for repetition in run], run[0]
        around, own = self.path(first.numbers[0]), rule[len(first.holes) : -1]
        for move, (place, k, hole) in zip(rule, first.holes, strict=False):
            if move == "step":
                offset = hole - cluster.moment(0)
                sign = "" if not offset else f"{'+' if offset > 0 else '−'}{abs(offset)}"
                self._moving[first.numbers[place], k] = cluster.letter + sign
        for r, repetition in enumerate(run):
            pairs = dict(zip(repetition.numbers, first.numbers, strict=True))
            for move, (_, v), (_, u) in zip(own, repetition.inputs, first.inputs, strict=True):
                if move == "own" and self._paths[v] in ((), around):
                    pairs[v] = u
            for v, u in pairs.items():
                self._shown[v] = u
                self._paths[v] += ((cluster, r),)


class _Repetition:
    """A cluster read as a repetition, perhaps of the one with the `before` places."""

    def __init__(
        self, graph: Graph, cluster: Cluster, before: Mapping[int, int], used: set[int]
    ) -> None:
        self.graph, self.frame, self.used = graph, cluster.frames[0], used
        self.numbers = _members(cluster)
        self.places = {number: k for k, number in enumerate(self.numbers)}
        self.form: list[Any] = []  # what has to be equal
        self.holes: list[tuple[int, int, Any]] = []  # what is in hole k of the operation at a place
        self.inputs: list[tuple[tuple[Any, ...], int]] = []  # what has to be equal, and the node
        scopes: dict[Scope | None, int] = {self.frame: 0}  # numbered as they are entered
        slots: dict[int, int] = {}
        for place, number in enumerate(self.numbers):
            node = graph.nodes[number]
            scope, new = node.scope, list[Scope]()
            while scope is not None and scope not in scopes:
                new.append(scope)
                scope = scope.parent
            self.form.append(scopes[scope])
            for s in reversed(new):
                scopes[s] = len(scopes)
                self.form += [s.label, s.index, id(s.owner)]
            text, holes = _options(node.params)
            self.form += [node.op, text, node.value.shape, node.value.dtype, len(node.args)]
            self.holes += [(place, k, hole) for k, hole in enumerate(holes)]
            for arg in node.args:
                if isinstance(arg, str):
                    self.form.append(arg)
                    continue
                other = graph.nodes[arg]
                token: tuple[Any, ...] = ("node", arg)
                if arg in self.places:
                    token = ("inside", self.places[arg])
                elif arg in before:
                    token = ("before", before[arg])
                elif other.kind == "constant":
                    slot = slots.setdefault(arg, len(self.inputs))
                    token = ("constant", slot, other.value.shape, other.value.dtype)
                self.inputs.append((token, arg))

    def moves_from(self, last: _Repetition, is_second: bool) -> list[str] | None:
        """Say what each hole and each input did since the last one; None if this is no repetition."""
        if last.form != self.form or len(last.holes) != len(self.holes):
            return None
        index = self.frame.index
        stride = 1 if index is None else index - (last.frame.index or 0)
        moves: list[str] = []
        states: dict[int, int] = {}
        for (_, _, x), (_, _, y) in zip(last.holes, self.holes, strict=True):
            if type(x) is int and type(y) is int and y - x in (0, stride):
                moves.append("step" if y - x else "same")
            elif x is y:
                moves.append("same")
            else:
                return None
        for (was, u), (now, v) in zip(last.inputs, self.inputs, strict=True):
            a, b = self.graph.nodes[u].value, self.graph.nodes[v].value
            if was == now and (now[0] != "constant" or u == v):
                moves.append("same")
            elif was == now and v not in self.used:
                moves.append("own")
            elif (
                is_second
                and (was[0], now[0]) in (("node", "before"), ("constant", "before"))
                and (a.shape, a.dtype) == (b.shape, b.dtype)
                and states.setdefault(now[1], u) == u
            ):
                moves.append("state")
            else:
                return None
        if is_second and "state" not in moves and (index is None or not stride):
            return None
        return [*moves, str(stride)]


def _apart(p: Path, q: Path) -> tuple[Path, Path]:
    """Leave out the folds that two paths share, as long as they are in the same repetition."""
    depth = 0
    while depth < len(p) and depth < len(q) and p[depth] == q[depth]:
        depth += 1
    return p[depth:], q[depth:]


def _label(times: set[Path], target: End) -> str:
    """Say which repetitions a wire leaves and, if it sets a state, which it enters: `t=76`."""
    parts = []
    for level in zip(*times, strict=True):
        fold, repetitions = level[0][0], sorted({r for _, r in level})
        some = ", ".join([str(fold.moment(r)) for r in repetitions[:3]])
        some += ", …" if len(repetitions) > 3 else ""
        full = len(repetitions) == len(fold.frames)
        parts.append(f"all {fold.letter}" if full else f"{fold.letter}={some}")
    if target.port == "in" and target.fold:
        parts.append(f"{target.fold.letter}={target.fold.moment(0)}")
    return " → ".join(parts)


def _with_graphs(outputs: Any) -> list[Tensor]:
    """List the tensors of a container; RuntimeError for one that nothing was recorded for."""
    leaves, structure = tree.flatten(outputs)
    if not leaves:
        raise ValueError("a graph is read from at least one tensor, and there is none here")
    for t, path in zip(leaves, tree.names(structure), strict=True):
        if not isinstance(t, Tensor):
            raise TypeError(f"a graph is read from tensors; {path or 'this'} is {type(t).__name__}")
        if not t.live:
            which = f"tensor {t.name!r}" if t.name else f"a tensor of shape {t.shape}"
            raise RuntimeError(
                f"{which}{f' (at {path})' if path else ''} has no graph: it is a constant, or was "
                "computed from constants only or under mg.no_grad(). Create an input with "
                "mg.tensor(..., requires_grad=True) and compute outside mg.no_grad()"
            )
    return leaves


def _frozen(outputs: list[Tensor]) -> tuple[list[Node], dict[Any, int]]:
    """List everything behind `outputs` in order of creation; constant arrays at their first use."""
    held: dict[Tensor, Any] = {t: t.value for t in outputs}  # as it was when it was used
    stack = list(held)
    while stack:
        t = stack.pop()
        for s, x in zip(t.inputs, t.xs, strict=True):
            if s is not None and s not in held:
                held[s] = x
                stack.append(s)
    tape = sorted(held, key=lambda t: t.index)
    parameters = _parameters(tape)
    nodes: list[Node] = []
    numbers: dict[Any, int] = {}  # by tensor, or by id for an array, which its operation keeps

    def add(key: Any, *entry: Any) -> None:
        numbers[key] = len(nodes)
        nodes.append(Node(len(nodes), *entry))

    for t in tape:
        if t.primitive is None:
            kind = "parameter" if t in parameters else "leaf" if t.live else "constant"
            if t.live or t.ndim or t.name:
                add(t, kind, parameters.get(t, t.name), held[t], t)
            continue
        args: list[int | str] = []
        for s, x in zip(t.inputs, t.xs, strict=True):
            key = id(x) if s is None else s
            if key not in numbers and isinstance(x, np.ndarray) and x.ndim:
                add(key, "constant", None, x, None)
            args.append(numbers[key] if key in numbers else str(x))
        add(t, "operation", t.name, t.value, t, t.primitive.name, tuple(args), t.params, t.scope)
    return nodes, numbers


def _parameters(tape: list[Tensor]) -> dict[Tensor, str]:
    """Name the parameters of the modules that were called, as the outermost of them does."""
    scopes, owners, names = set[Scope](), dict[int, Any](), dict[Tensor, str]()
    for t in tape:
        scope = t.scope
        while scope is not None and scope not in scopes:
            scopes.add(scope)
            owners[id(scope.owner)] = scope.owner
            scope = scope.parent
    for owner in owners.values():
        for name, t in getattr(owner, "named_parameters", dict[str, Tensor]().items)():
            if len(name) > len(names.get(t, "")):
                names[t] = name
    return names


def _tree(nodes: list[Node]) -> Cluster:
    """Sort the operations into the clusters of their scopes."""
    clusters: dict[Scope | None, Cluster] = {None: Cluster(0, [])}
    for node in nodes:
        scope, new = node.scope, list[Scope]()
        while scope is not None and scope not in clusters:
            new.append(scope)
            scope = scope.parent
        for s in reversed(new):
            clusters[s] = Cluster(len(clusters), [s])
            clusters[s.parent].items.append(clusters[s])
        if node.op:
            clusters[node.scope].items.append(node.number)
    return clusters[None]


def _members(cluster: Cluster) -> list[int]:
    """List the operations of a cluster and of those inside, in order of creation."""
    stack, numbers = list(cluster.items), list[int]()
    while stack:
        item = stack.pop()
        if isinstance(item, Cluster):
            stack += item.items
        else:
            numbers.append(item)
    return sorted(numbers)


def _options(params: Mapping[str, Any] | None) -> tuple[str, list[Any]]:
    """Write metadata as text with a hole for every integer, and list what is in the holes."""
    holes: list[Any] = []

    def write(value: Any) -> str:
        if isinstance(value, (tuple, list)):
            return f"({', '.join([write(v) for v in value])})"
        if isinstance(value, slice):
            ends = [value.start, value.stop, value.step][: 2 + (value.step is not None)]
            return ":".join(["" if v is None else write(v) for v in ends])
        if isinstance(value, np.ndarray):
            return f"{value.dtype}{value.shape}"
        if isinstance(value, (int, np.integer)) and not isinstance(value, bool) or callable(value):
            holes.append(value if callable(value) else int(value))
            return HOLE
        return "..." if value is Ellipsis else repr(value)

    given = {k: write(v) for k, v in (params or {}).items() if v is not None}
    if list(given) == ["index"]:
        text = given["index"]
        return f"[{text[1:-1] if text[0] == '(' else text}]", holes
    return f"({', '.join([f'{k}={v}' for k, v in given.items()])})" if given else "", holes
