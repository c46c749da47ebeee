"""The loop over time: `scan` repeats a function along the first axis, in scopes `step[t]`.

>>> def step(h, x):
...     h = np.tanh(h + x)
...     return h, h
>>> last, hs = scan(step, np.zeros(3), np.ones((100, 3)), checkpoint=10)
>>> last.shape, hs.shape
((3,), (100, 3))
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core import tree
from ..core.context import scope
from ..core.dtypes import plain
from ..core.tensor import Tensor, op
from ..core.tree import Tree
from .arguments import Function, callable_for
from .checkpoint import checkpoint as _checkpoint

__all__ = ["scan"]


def scan(
    f: Function, carry: Tree, xs: Tree, *, checkpoint: int | bool = False
) -> tuple[Tree, Tree]:
    """Return the last carry, and the ys, of `f(carry, x) -> (carry, y)` for every x in `xs`.

    The loop over time: x is each row along the first axis of `xs`, and the ys are stacked along a
    new first axis. Carry, x and y are nested containers; y may be None. The steps stand in scopes
    `step[t]`, and the cost is linear in their number. With `checkpoint=k` the memory is that of k
    steps and T / k carries, for one more forward pass; `checkpoint=True` is k = sqrt(T). ValueError
    if the lengths along the first axis differ or are zero, or if f changes the structure of the
    carry.
    """
    callable_for("scan", f)
    leaves, structure = tree.flatten(xs)
    leaves = [x if isinstance(x, Tensor) else plain(x, "scan", "takes") for x in leaves]
    lengths = {x.shape[0] if x.ndim else 0 for x in leaves}
    if len(lengths) != 1 or lengths == {0}:
        raise ValueError(
            "scan: xs must have one common length along the first axis, not shapes "
            f"{[x.shape for x in leaves]}"
        )
    (T,) = lengths
    k = T if not checkpoint else math.isqrt(T - 1) + 1 if checkpoint is True else checkpoint
    if not isinstance(k, (int, np.integer)) or k < 1:
        raise ValueError(f"scan: checkpoint must be a positive number of steps, not {checkpoint}")

    def steps(carry: Tree, part: list[Any], start: int) -> tuple[Tree, Tree]:
        rows, carried, told = [], tree.flatten(carry)[1], None
        for t in range(len(part[0])):
            with scope("step", start + t):
                out = f(carry, tree.unflatten(structure, [x[t] for x in part]))
            if not isinstance(out, tuple) or len(out) != 2:
                raise TypeError(f"scan: f must return a pair (carry, y), not {type(out).__name__}")
            carry, y = out
            _alike(carried, tree.flatten(carry)[1], "carry", "that it got")
            row, now = tree.flatten(y)
            told = _alike(told or now, now, "y", "at first")
            rows.append(row)
        ys = [op(np.stack)(column) for column in zip(*rows, strict=True)]
        return carry, tree.unflatten(told or tree.EMPTY, ys)

    if not checkpoint:
        return steps(carry, leaves, 0)
    segment, chunks = _checkpoint(steps), []
    for start in range(0, T, k):
        carry, ys = segment(carry, [x[start : start + k] for x in leaves], start)
        chunks.append(ys)
    columns = zip(*[tree.flatten(ys)[0] for ys in chunks], strict=True)
    joined = [op(np.concatenate)(column) for column in columns]
    return carry, tree.unflatten(tree.flatten(chunks[0])[1], joined)


def _alike(old: tree.Structure, new: tree.Structure, what: str, which: str) -> tree.Structure:
    if old != new and tree.names(old) != tree.names(new):
        raise ValueError(
            f"scan: f must return a {what} nested like the one {which}, {tree.names(old)}, not "
            f"{tree.names(new)}"
        )
    return old
