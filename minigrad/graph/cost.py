"""What operations cost, counted from shapes: floating-point operations, bytes, memory kept.

A multiplication and an addition are two FLOPs, as in Golub and Van Loan, Matrix Computations, 1.1;
a function such as tanh is one for each element, and what only moves elements has none. It is the
forward pass alone that is counted; a backward pass of products takes twice as many.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.tape import Outputs
from .nodes import GraphNode

__all__ = ["Cost", "cost_of", "is_view", "total"]


class Cost(NamedTuple):
    """FLOPs of an operation, None where no rule is known; bytes that it reads and writes, and
    bytes of its result, which the tape keeps for the backward pass: none if it is a view.
    """

    flops: int | None
    bytes: int
    kept: int


def cost_of(node: GraphNode) -> Cost:
    """Return the cost of an operation; nothing for an input, which is there anyway.

    >>> import minigrad as mg
    >>> y = mg.tensor(np.ones((4, 3)), requires_grad=True) @ np.ones((3, 2))
    >>> cost_of(mg.Graph(y).nodes[-1])
    Cost(flops=48, bytes=208, kept=64)
    """
    if not node.op or node.tensor is None or is_view(node):
        return Cost(0, 0, 0)
    primitive: Any = node.tensor.primitive
    outputs = node.value if isinstance(node.value, Outputs) else (node.value,)
    inputs = [x for x in node.tensor.xs if isinstance(x, np.ndarray)]
    kept = sum([y.nbytes for y in outputs if not _shares(y, inputs)])
    moved = sum([x.nbytes for x in {id(x): x for x in inputs}.values()])
    family = getattr(primitive, "family", "general")
    shapes = [np.shape(x) for x in node.tensor.xs]
    flops = _flops(node.op, family, shapes, outputs[0].shape, node.params or {})
    return Cost(flops, moved + sum([y.nbytes for y in outputs]) if kept else 0, kept)


def total(costs: Sequence[Cost]) -> Cost:
    """Return the sum of costs; FLOPs are those of the operations whose rule is known."""
    known = [c.flops for c in costs if c.flops is not None]
    flops = sum(known) if known or not costs else None
    return Cost(flops, sum([c.bytes for c in costs]), sum([c.kept for c in costs]))


def is_view(node: GraphNode) -> bool:
    """Whether an operation only looks at its input another way, as indexing does."""
    if node.op == "pick":
        return True
    if getattr(node.value, "base", None) is None:  # it owns its memory
        return False
    return _shares(node.value, node.tensor.xs if node.tensor is not None else ())


def _shares(value: Any, inputs: Sequence[Any]) -> bool:
    return any(isinstance(x, np.ndarray) and np.may_share_memory(x, value) for x in inputs)


# ---- FLOPs ---------------------------------------------------------------------------------------

Shape = tuple[int, ...]
MOVES = {  # move elements, or choose among them
    "astype", "broadcast_to", "concatenate", "copy", "delete", "diagonal", "expand_dims", "flip",
    "from_diagonal", "getitem", "index_set", "linspace", "moveaxis", "pad", "pick", "positive",
    "ravel", "repeat", "reshape", "resize", "roll", "split", "squeeze", "stack", "swapaxes",
    "take_along_axis", "tile", "transpose", "tril", "triu", "unfold", "where",
}  # fmt: skip
EACH_INPUT = {  # FLOPs for each element of the input
    "sum": 1, "prod": 1, "max": 1, "min": 1, "mean": 1, "cumsum": 1, "cumprod": 1, "fold": 1,
    "scatter": 1, "vector_norm": 2, "var": 4, "std": 4,
    "logsumexp": 4,  # greatest, difference, exp, sum
    "softmax": 5, "log_softmax": 5,
}  # fmt: skip


def _flops(
    op: str, family: str, shapes: Sequence[Shape], out: Shape, params: dict[str, Any]
) -> int | None:
    size = math.prod(out or ())
    if op in MOVES:
        return 0
    if op == "matmul":
        return 2 * size * shapes[0][-1]
    if op == "conv":
        return 2 * size * math.prod(shapes[1][1:])
    if op == "conv_transpose":
        return 2 * math.prod(shapes[0]) * math.prod(shapes[1][1:])
    if op == "conv_weight":
        return 2 * math.prod(shapes[1]) * math.prod(out[1:])
    if op in ("max_pool", "avg_pool"):
        return int(size * math.prod(params["kernel"]))
    if op == "index_add":
        return math.prod(shapes[-1])
    if op == "einsum":
        return _einsum(params["subscripts"], shapes)
    if op in EACH_INPUT:
        return EACH_INPUT[op] * math.prod(shapes[0])
    return size if family == "elementwise" else None


def _einsum(subscripts: str, shapes: Sequence[Shape]) -> int | None:
    """Return the FLOPs of a sum over one operand or two; of more, the order decides."""
    terms = subscripts.replace(" ", "").partition("->")[0].split(",")
    if len(shapes) > 2 or len(terms) != len(shapes):
        return None
    sizes, rest = dict[str, int](), list[Shape]()
    for term, shape in zip(terms, shapes, strict=True):
        before, dots, after = term.partition("...")
        stop = len(shape) - len(after)
        rest.append(shape[len(before) : stop] if dots else ())
        letters = [*zip(before, shape, strict=False), *zip(after, shape[stop:], strict=True)]
        for letter, n in letters:
            sizes[letter] = max(n, sizes.get(letter, n))
    each = math.prod(sizes.values()) * math.prod(np.broadcast_shapes(*rest))
    return each * len(shapes)
