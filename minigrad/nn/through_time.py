"""The loop over time of every recurrent layer, with sequences of several lengths side by side.

A batch of several lengths is packed into the rows of the steps that there are, time first:

    valid (T, B)   1 1 1        x[valid] is   a0 b0 c0 | a1 c1 | c2
                   1 0 1
                   0 0 1

The sequences leave the batch where they end; in reverse each joins it at its own last step, with
its initial state. So they need no sorting, and nothing is computed beyond their ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from ..core import tree
from ..core.context import scope
from ..core.dtypes import Array, plain
from ..core.tensor import ArrayLike, Tensor
from ..ops.index import index_set, scatter
from ..ops.shape import concatenate, stack
from .inputs import called
from .module import Module

__all__ = ["padded", "rows_of", "through_time", "valid_steps"]


def through_time(
    step: Callable[[Any, Any], Any],
    xs: Any,
    state: Any,
    valid: Array | None = None,
    reverse: bool = False,
) -> tuple[Tensor, Any]:
    """Return the outputs of all steps, and the last state, of `step(x, state) -> state`.

    x is each row along the first axis of xs; or, of packed xs, the rows of the steps that are
    `valid` (T, B), and the outputs are packed, too. The output is the first part of the state,
    whose parts have the batch as their first axis. In `reverse` from the last step to the first.
    """
    batch = None if valid is None else _Batch(valid, state, reverse)
    rows: Any = range(len(xs)) if batch is None else batch.rows
    times, hs = range(len(rows)), []
    for t in reversed(times) if reverse else times:
        if batch is not None:
            state = batch.at(t, state)
        with scope("step", t):
            state = step(xs[rows[t]], state)
        hs.append(state if isinstance(state, Tensor) else tree.flatten(state)[0][0])
    if reverse:
        hs.reverse()
    return (stack(hs), state) if batch is None else (concatenate(hs), batch.last(state))


class _Batch:
    """The sequences that run: they leave where they end or, in reverse, join at their last step."""

    def __init__(self, valid: Array, first: Any, reverse: bool) -> None:
        self.valid, self.first, self.reverse = valid, first, reverse
        self.running, self.ended = np.full(valid.shape[1], not reverse), list[Any]()
        self.size = int(self.running.sum())
        self.sizes = [int(n) for n in valid.sum(axis=1) if n]
        ends = accumulate(self.sizes)
        self.rows = [slice(end - n, end) for n, end in zip(self.sizes, ends, strict=True)]

    def at(self, t: int, state: Any) -> Any:
        """Return the state of those that run at step t, from that of those that ran before."""
        if self.sizes[t] == self.size:
            return state
        before, now = self.running, self.valid[t]
        self.running, self.size = now, self.sizes[t]
        if not self.reverse:
            stays, ends = now[before], ~now[before]
            self.ended.append(tree.map(lambda s: s[ends], state))
            return tree.map(lambda s: s[stays], state)
        if before.any():
            state = tree.map(lambda s0, s: index_set(s0, s, index=before), self.first, state)
        return state if now.all() else tree.map(lambda s: s[now], state)

    def last(self, state: Any) -> Any:
        """Return the states at the ends of all sequences, in their order."""
        if not self.ended:
            return state
        order = np.argsort(self.valid.sum(axis=0), kind="stable")  # as they ended
        places = np.argsort(order)
        return tree.map(lambda *parts: concatenate(parts)[places], *self.ended, state)


def valid_steps(
    module: Module, lengths: ArrayLike | None, steps: int, batch: Sequence[int]
) -> Array | None:
    """Return which steps there are of each sequence, (T, B); None if all.

    TypeError or ValueError unless the lengths are a number of steps for each.
    """
    if lengths is None:
        return None
    if not batch:
        raise ValueError(
            f"{called(module)}: an input without a batch is one sequence: cut it, x[:n], in the "
            "place of lengths"
        )
    n = lengths.numpy() if isinstance(lengths, Tensor) else lengths  # it decides on shapes
    n = plain(n, f"{called(module)}: lengths", "must hold")
    if n.dtype.kind not in "iu":
        raise TypeError(f"{called(module)}: lengths must be integers, not {n.dtype}")
    if n.shape != tuple(batch):
        raise ValueError(
            f"{called(module)}: lengths must have shape {tuple(batch)}, one for each sequence "
            f"of the batch, got {n.shape}"
        )
    wrong = np.flatnonzero((n < 1) | (n > steps))
    if wrong.size:
        k = wrong[0]
        raise ValueError(
            f"{called(module)}: lengths must lie in 1 .. {steps}, the steps of the input; "
            f"lengths[{k}] is {n[k]}"
        )
    return None if (n == steps).all() else np.arange(steps)[:, None] < n


def padded(rows: Tensor, valid: Array) -> Tensor:
    """Return packed rows as (T, B, ...), zeros where a sequence has ended."""
    return scatter([rows], indices=(valid,), shape=(*valid.shape, *rows.shape[1:]))


def rows_of(t: Any, index: Any) -> Any:
    """Return t[index]; of a constant by its name, which pictures show."""
    rows = t[index]
    if isinstance(rows, Tensor) and not rows.live:
        rows.name = t.name
    return rows
