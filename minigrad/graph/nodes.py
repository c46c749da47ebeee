"""What a graph is made of: nodes, and the clusters that its scopes are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from ..core.context import Scope
from ..core.tensor import Tensor

__all__ = ["Cluster", "FoldPath", "GraphNode", "clusters", "numbered"]

FoldPath: TypeAlias = tuple[tuple["Cluster", int], ...]
"""Folds from the outermost to the innermost, each with one of its repetitions."""


@dataclass(frozen=True, slots=True, eq=False)
class GraphNode:
    """An operation, or an input: a parameter of a module, another leaf, or a constant.

    `args` are its inputs by position: a number is that of a node, text a scalar constant.
    """

    number: int
    kind: Literal["operation", "parameter", "leaf", "constant"]
    name: str | None
    value: Any  # an array as it was used, or the Outputs of a primitive with several
    tensor: Tensor | None  # which has the gradient; None for a constant array
    op: str = ""
    args: tuple[int | str, ...] = ()
    params: dict[str, Any] | None = None
    scope: Scope | None = None


class Cluster:
    """The operations of a scope and the clusters of the scopes inside, in execution order.

    A fold stands for several scopes: `moments` are the values of `letter` in each, as in t = 0, 1.
    The letter is t for steps and loops, k for calls, and else the label of the scope. `detected`:
    a loop that was written without scopes. A fold of modules in a row is through depth, not time:
    its letter is their name without the number, as in blocks = 0, 1, 2. If a scope goes on counting
    where that of the fold's last repetition has ended, its moments are r = 0, 1, and `shift` is the
    fold around, how far that counts, and from where: what is `counted` is t = 4k+r.
    """

    def __init__(self, number: int, frame: Any, detected: bool = False) -> None:
        self.number, self.frame, self.detected = number, frame, detected
        self.items, self.numbers = list[int | Cluster](), list[int]()  # here; and also inside
        self.letter, self.moments = "", list[int]()
        self.shift: tuple[Cluster, int, int] | None = None
        self.counted = ""  # what it counts then


def clusters(root: Cluster) -> list[Cluster]:
    """Return a cluster and those below it, each before what is in it."""
    found, stack = list[Cluster](), [root]
    while stack:
        cluster = stack.pop()
        found.append(cluster)
        stack += [item for item in reversed(cluster.items) if isinstance(item, Cluster)]
    return found


def numbered(label: str) -> tuple[str, int]:
    """Return a name in a list without its number, and that: `blocks` and 3 of `blocks[3]`."""
    found = re.fullmatch(r"(.*?)\[?(\d+)\]?", label)
    return (found[1], int(found[2])) if found else (label, 0)
