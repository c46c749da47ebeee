"""The tape frozen: what pictures, reports and compilers read.

    nodes   the operations behind some outputs and what these take in, in order of creation
    root    the tree of scopes: which module, which call, which step each operation stands in
    fold    consecutive scopes that repeat one another, kept once with their count
    wires   the edges that are left, each saying which repetitions it stands for

Nothing here is recursive, and the cost is linear: `y = y + y` sixty times is sixty operations.

Two neighbouring scopes repeat one another if they have the same label and owner, and operation by
operation the same name, metadata, shape, dtype and inputs, where an input of both is

    the same    place inside, or place in the repetition before, or node outside (each parameter)
    a constant  of the same shape and dtype, either one for all or every repetition its own
    a state     from outside in the first repetition, from the one before in all the others

An integer of the metadata may also keep its distance to the index of the scope: `x[t]`. Scopes
without an index must pass a state on, for else they are calls in different places.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from . import tree
from .context import Scope
from .tensor import Tensor

__all__ = ["Cluster", "End", "Graph", "Node", "Wire"]

Kind = Literal["operation", "parameter", "leaf", "constant"]
HOLE = "\0"  # where an integer goes in the text of some metadata


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """An operation, or an input: a parameter of a module, another leaf, or a constant.

    `args` are the inputs by position: numbers of nodes, and scalar constants as text. `tensor` is
    where a gradient is found; a constant array has none.
    """

    number: int
    kind: Kind
    op: str
    name: str | None
    args: tuple[int | str, ...]
    params: Mapping[str, Any]
    scope: Scope | None
    value: npt.NDArray[Any]
    tensor: Tensor | None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.value.dtype


class Cluster:
    """The operations of one scope, with the clusters of the scopes inside, in execution order.

    `frames` are the scopes it stands for: one, or all repetitions of a fold (none for the root).
    """

    __slots__ = ("frames", "items", "number")

    def __init__(self, number: int, frames: list[Scope]) -> None:
        self.number, self.frames, self.items = number, frames, list[int | Cluster]()

    @property
    def letter(self) -> str:
        """What counts the repetitions: t for steps, another label itself, k for calls."""
        frame = self.frames[0]
        return "k" if frame.index is None else "t" if frame.label == "step" else frame.label

    def moment(self, repetition: int) -> int:
        """The value of the letter at a repetition."""
        index = self.frames[repetition].index
        return repetition if index is None else index


class End(NamedTuple):
    """Where a wire starts or ends: at a node, or at its port: the state that enters a fold or leaves it.

    The port "in" of node n at a fold stands for n in the repetition before, "out" for n in this one.
    """

    node: int
    port: Literal["", "in", "out"] = ""
    fold: Cluster | None = None


class Wire(NamedTuple):
    """An edge of the folded graph; `position` is that of the argument, `label` as in `t=76`."""

    source: End
    target: End
    position: int
    label: str


Path = tuple[tuple[Cluster, int], ...]  # the folds around a node, with the repetition it is in


class Graph:
    """The graph behind `outputs`, a Tensor or a container of them, as it was recorded.

    RuntimeError for a tensor without a graph. `fold=False` keeps every repetition.
    """

    def __init__(self, outputs: Any, fold: bool = True) -> None:
        tensors = _with_graphs(outputs)
        self.nodes, numbers = _frozen(tensors)
        self.outputs = tuple([numbers[t] for t in tensors])
        self.root = _tree(self.nodes)
        # which node shows each node, and the folds around it, as far as they are folded yet
        self._shown = list(range(len(self.nodes)))
        self._paths: list[Path] = [()] * len(self.nodes)
        self._moving: dict[tuple[int, int], str] = {}
        if fold:
            self._fold()

    def __len__(self) -> int:
        return len(self.nodes)

    def shown(self, number: int) -> int:
        """Give the node that stands for a node: itself, unless it was folded away."""
        while self._shown[number] != number:
            number = self._shown[number]
        return number

    def path(self, number: int) -> Path:
        """List the folds around a node, outermost first, each with the repetition it is in."""
        path = self._paths[number]
        while self._shown[number] != number:
            number = self._shown[number]
            path += self._paths[number][len(path) :]
        return path

    def options(self, number: int) -> str:
        """Write the metadata of an operation: `[:, 0:4]`, `[t]`, `(axis=0)`; empty if none."""
        text, holes = _options(self.nodes[number].params)
        first, *rest = text.split(HOLE)
        return first + "".join(
            [
                self._moving.get((number, k)) or getattr(hole, "__name__", str(hole)) + piece
                if (number, k) not in self._moving
                else self._moving[number, k] + piece
                for k, (hole, piece) in enumerate(zip(holes, rest, strict=True))
            ]
        )
