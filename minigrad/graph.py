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

and an integer of the metadata may keep its distance to the index of the scope, as in `x[t]`. Scopes
without an index must pass on a state: if they do not, they are calls in different places.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
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

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.value.dtype


class Cluster:
    """The operations of a scope and the clusters of the scopes inside, in execution order.

    `frames` are the scopes it stands for: one, or every repetition of a fold; none for the root.
    """

    __slots__ = ("frames", "items", "number")

    def __init__(self, number: int, frames: list[Scope]) -> None:
        self.number, self.frames = number, frames
        self.items: list[int | Cluster] = []

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
        fills = [
            self._moving.get((number, k)) or getattr(hole, "__name__", str(hole))
            for k, hole in enumerate(holes)
        ]
        return "".join([p + f for p, f in zip(text.split(HOLE), [*fills, ""], strict=True)])

    def wires(self) -> list[Wire]:
        """List the edges between the nodes shown, through ports where a fold carries a state."""
        shown = [self.shown(k) for k in range(len(self.nodes))]
        paths = [self.path(k) for k in range(len(self.nodes))]
        edges: list[tuple[int, int, int, int, int]] = []
        states: dict[tuple[Cluster, int, int], int] = {}  # (fold, node, position) -> state it reads
        for node in self.nodes:
            v, seen = node.number, dict[int, int]()
            for j, u in enumerate(node.args):
                if isinstance(u, str):
                    continue
                p, q, depth = paths[u], paths[v], 0
                while depth < len(p) and depth < len(q) and p[depth] == q[depth]:
                    depth += 1
                if p[depth:] and q[depth:] and p[depth][0] is q[depth][0]:
                    states[q[depth][0], shown[v], j] = shown[u]
                seen[u] = seen.get(u, -1) + 1
                edges.append((u, v, j, seen[u], depth))
        leaving = {(fold, state) for (fold, _, _), state in states.items()}

        found: dict[tuple[End, End, int], tuple[int, set[Path], str]] = {}

        def join(source: End, target: End, copy: int, j: int, when: Path, then: str) -> None:
            found.setdefault((source, target, copy), (j, set(), then))[1].add(when)

        for u, v, j, copy, depth in edges:
            p, q, state = paths[u][depth:], paths[v][depth:], shown[u]
            source, target, carried, then = End(state), End(shown[v]), None, ""
            if p and q and p[0][0] is q[0][0]:
                carried, p, q = p[0][0], p[1:], q[1:]
            for fold, _ in reversed(p):
                if (fold, state) in leaving:
                    source = End(state, "out", fold)
            for fold, _ in q:
                if (fold, shown[v], j) in states:
                    target = End(states[fold, shown[v], j], "in", fold)
                    then = f"{fold.letter}={fold.moment(0)}"
                    break
            if carried is None:
                join(source, target, copy, j, p, then or ("each" if q else ""))
            else:
                join(source, End(state, "out", carried), 0, 0, p, "")
                join(End(state, "in", carried), target, copy, j, (), then)
        return [
            Wire(*ends, j, _label(times, then)) for (*ends, _), (j, times, then) in found.items()
        ]

    # ---- folding -------------------------------------------------------------------------------

    def _fold(self) -> None:
        stack = [self.root]
        while stack:
            cluster, kept = stack.pop(), list[int | Cluster]()
            run: _Run | None = None
            for item in cluster.items:
                if run is not None and run.takes(item):
                    continue
                if run is not None:
                    run.close()
                run = _Run(self, item) if isinstance(item, Cluster) else None
                kept.append(item)
            if run is not None:
                run.close()
            cluster.items = kept
            stack += reversed([c for c in kept if isinstance(c, Cluster)])


class _Repetition:
    """A cluster read as a repetition of the one `before`: its form, and what may move in it."""

    def __init__(self, graph: Graph, cluster: Cluster, before: Mapping[int, int]) -> None:
        self.frame = cluster.frames[0]
        self.numbers = _members(cluster)
        self.places = {number: k for k, number in enumerate(self.numbers)}
        self.form: list[Any] = []
        self.holes: list[tuple[int, int, Any]] = []  # (place, hole, what is in it)
        self.inputs: list[tuple[tuple[Any, ...], int]] = []  # (what must be equal, node)
        around = graph.path(self.numbers[0])
        inside: dict[Scope | None, int] = {self.frame: 0}
        slots: dict[int, int] = {}
        for place, number in enumerate(self.numbers):
            node = graph.nodes[number]
            text, holes = _options(node.params)
            self.form += [node.op, text, node.shape, node.dtype, len(node.args)]
            self.form.append(self._scope(node.scope, inside))
            self.holes += [(place, k, hole) for k, hole in enumerate(holes)]
            for arg in node.args:
                if isinstance(arg, str):
                    self.form.append(arg)
                    continue
                other = graph.nodes[arg]
                if arg in self.places:
                    token: tuple[Any, ...] = ("inside", self.places[arg])
                elif arg in before:
                    token = ("before", before[arg])
                elif other.kind == "constant":
                    slot = slots.setdefault(arg, len(self.inputs))
                    token = ("constant", slot, other.shape, other.dtype)
                elif (path := graph.path(arg)) and path != around[: len(path)]:
                    token = ("fold", graph.shown(arg))
                else:
                    token = ("node", arg)
                self.inputs.append((token, arg))

    def _scope(self, scope: Scope | None, inside: dict[Scope | None, int]) -> tuple[Any, ...]:
        """Number the scopes inside as they are entered, and describe the new ones."""
        new: list[Scope] = []
        while scope not in inside:
            assert scope is not None
            new.append(scope)
            scope = scope.parent
        at = [inside[scope]]
        for s in reversed(new):
            inside[s] = len(inside)
            at += [s.label, s.index, id(s.owner)]
        return tuple(at)


class _Run:
    """Consecutive clusters that repeat the first, as far as they were taken."""

    def __init__(self, graph: Graph, first: Cluster) -> None:
        self.graph, self.first = graph, first
        self.repetitions: list[_Repetition] = []
        self.moves: tuple[int, list[str]] | None = None
        self.constants: set[int] = set()

    def takes(self, item: int | Cluster) -> bool:
        """Take the next item of the scope if it is one more repetition."""
        if not isinstance(item, Cluster):
            return False
        a, b = self.first.frames[0], item.frames[0]
        if a.label != b.label or a.owner is not b.owner or (a.index is None) != (b.index is None):
            return False
        if not self.repetitions:
            self._append(_Repetition(self.graph, self.first, {}))
        last = self.repetitions[-1]
        new = _Repetition(self.graph, item, last.places)
        stride = 1 if b.index is None else b.index - (last.frame.index or 0)
        moves = self._moves(last, new, stride)
        if moves is None:
            return False
        if self.moves is None and "state" not in moves and (b.index is None or not stride):
            return False
        now = (stride, ["same" if move == "state" else move for move in moves])
        if self.moves not in (None, now):
            return False
        self.moves = now
        self._append(new)
        return True

    def _append(self, repetition: _Repetition) -> None:
        self.repetitions.append(repetition)
        self.constants |= {arg for token, arg in repetition.inputs if token[0] == "constant"}

    def _moves(self, last: _Repetition, new: _Repetition, stride: int) -> list[str] | None:
        """Say of every hole and input what it does from one repetition to the next, if allowed."""
        if last.form != new.form or len(last.holes) != len(new.holes):
            return None
        nodes, moves, states = self.graph.nodes, list[str](), dict[int, int]()
        for (_, _, x), (_, _, y) in zip(last.holes, new.holes, strict=True):
            if x is y or (type(x) is int and x == y):
                moves.append("same")
            elif type(x) is int and type(y) is int and y - x == stride:
                moves.append("step")
            else:
                return None
        for (was, u), (now, v) in zip(last.inputs, new.inputs, strict=True):
            if was == now and (now[0] not in ("constant", "fold") or u == v):
                moves.append("same")
            elif was == now and now[0] == "constant" and v not in self.constants:
                moves.append("own")
            elif was == now and now[0] == "fold" and self._distance(u, v) == stride:
                moves.append("step")
            elif (
                len(self.repetitions) == 1
                and now[0] == "before"
                and was[0] != "inside"
                and states.setdefault(now[1], u) == u
                and (nodes[u].shape, nodes[u].dtype) == (nodes[v].shape, nodes[v].dtype)
            ):
                moves.append("state")
            else:
                return None
        return moves

    def _distance(self, u: int, v: int) -> int | None:
        """How far apart two nodes of one place are in a fold, if only in one."""
        p, q = self.graph.path(u), self.graph.path(v)
        apart = [(a, b) for a, b in zip(p, q, strict=True) if a != b]
        if len(apart) != 1:
            return None
        ((fold, r), (_, s)) = apart[0]
        return fold.moment(s) - fold.moment(r)

    def close(self) -> None:
        """Fold what was taken into the first cluster."""
        if len(self.repetitions) < 2 or self.moves is None:
            return
        graph, first, moves = self.graph, self.repetitions[0], self.moves[1]
        around = graph.path(first.numbers[0])
        self.first.frames = [repetition.frame for repetition in self.repetitions]
        for move, (place, k, hole) in zip(moves, first.holes, strict=False):
            if move == "step":
                offset = hole - self.first.moment(0)
                sign = f"{'+' if offset > 0 else '−'}{abs(offset)}" if offset else ""
                graph._moving[first.numbers[place], k] = self.first.letter + sign
        for r, repetition in enumerate(self.repetitions):
            pairs = dict(zip(repetition.numbers, first.numbers, strict=True))
            inputs = zip(moves[len(first.holes) :], repetition.inputs, first.inputs, strict=True)
            for move, (_, v), (_, u) in inputs:
                if move == "own" and graph._paths[v] in ((), around):
                    pairs[v] = u
            for v, u in pairs.items():
                graph._shown[v] = u
                graph._paths[v] += ((self.first, r),)


def _label(times: set[Path], then: str) -> str:
    """Say which repetitions a wire leaves, and (`then`) which it enters: `all t`, `t=76`, `t=0`."""
    parts = []
    for level in zip(*times, strict=True):
        fold, repetitions = level[0][0], sorted({r for _, r in level})
        if len(repetitions) == len(fold.frames):
            parts.append(f"{'each' if then == 'each' else 'all'} {fold.letter}")
        else:
            some = ", ".join([str(fold.moment(r)) for r in repetitions[:3]])
            parts.append(f"{fold.letter}={some}{', …' * (len(repetitions) > 3)}")
    return " → ".join(parts if then in ("", "each") else [*parts, then])


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


def _frozen(outputs: list[Tensor]) -> tuple[list[Node], dict[Tensor, int]]:
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
    numbers: dict[Any, int] = {}  # by tensor, and by id for an array: its operation keeps it
    for t in tape:
        if t.primitive is None:
            kind = "parameter" if t in parameters else "leaf" if t.live else "constant"
            if kind != "constant" or t.ndim or t.name:
                numbers[t] = len(nodes)
                nodes.append(Node(len(nodes), kind, parameters.get(t, t.name), held[t], t))
            continue
        args: list[int | str] = []
        for s, x in zip(t.inputs, t.xs, strict=True):
            key = id(x) if s is None else s
            if key not in numbers:
                if not isinstance(x, np.ndarray) or not x.ndim:
                    args.append(str(x))
                    continue
                numbers[key] = len(nodes)
                nodes.append(Node(len(nodes), "constant", None, x, None))
            args.append(numbers[key])
        numbers[t] = len(nodes)
        op = (len(nodes), "operation", t.name, t.value, t, t.primitive.name, tuple(args))
        nodes.append(Node(*op, t.params, t.scope))
    return nodes, numbers


def _parameters(tape: list[Tensor]) -> dict[Tensor, str]:
    """Name the parameters of all modules that were called, as the outermost of them does."""
    scopes, owners, names = set[Scope](), dict[int, Any](), dict[Tensor, str]()
    for t in tape:
        scope = t.scope
        while scope is not None and scope not in scopes:
            scopes.add(scope)
            owners[id(scope.owner)] = scope.owner
            scope = scope.parent
    for owner in owners.values():
        if hasattr(owner, "named_parameters"):
            for name, t in owner.named_parameters():
                if len(name) > len(names.get(t, "")):
                    names[t] = name
    return names


def _tree(nodes: list[Node]) -> Cluster:
    """Sort the operations into the clusters of their scopes."""
    number = count().__next__
    clusters: dict[Scope | None, Cluster] = {None: Cluster(number(), [])}
    for node in nodes:
        if node.kind != "operation":
            continue
        scope, new = node.scope, list[Scope]()
        while scope not in clusters:
            assert scope is not None
            new.append(scope)
            scope = scope.parent
        for s in reversed(new):
            clusters[s] = Cluster(number(), [s])
            clusters[s.parent].items.append(clusters[s])
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
    if not params:
        return "", []
    holes: list[Any] = []

    def write(value: Any, inner: bool = True) -> str:
        if isinstance(value, (tuple, list)):
            parts = ", ".join([write(v) for v in value])
            return f"({parts})" if inner else parts
        if isinstance(value, slice):
            ends = [value.start, value.stop, value.step][: 2 + (value.step is not None)]
            return ":".join(["" if v is None else write(v) for v in ends])
        if isinstance(value, np.ndarray):
            return f"{value.dtype}{value.shape}"
        if value is Ellipsis:
            return "..."
        if value is None or isinstance(value, (bool, float, str, np.bool_, np.floating)):
            return repr(value)
        holes.append(int(value) if isinstance(value, (int, np.integer)) else value)
        return HOLE

    if list(params) == ["index"]:
        return f"[{write(params['index'], inner=False)}]", holes
    given = ", ".join([f"{k}={write(v)}" for k, v in params.items() if v is not None])
    return f"({given})" if given else "", holes
