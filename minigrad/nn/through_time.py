"""The loop over time of every recurrent layer, with sequences of several lengths side by side.

A batch of several lengths is packed into the rows of the steps that there are, time first:

    valid (T, B)   1 1 1        x[valid] is   a0 b0 c0 | a1 c1 | c2
                   1 0 1
                   0 0 1

The sequences leave the batch where they end; in reverse each joins it at its own last step, with
its initial state. So they need no sorting, and nothing is computed beyond their ends.

What is compiled may not depend on the lengths: there `valid` is a Tensor, all steps are computed,
and a sequence that has ended, or not begun, keeps the state it has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from ..core import tree
from ..core.context import scope, tracing
from ..core.dtypes import Array, plain
from ..core.tensor import ArrayLike, Tensor
from ..ops.elementwise import where
from ..ops.index import index_set, scatter
from ..ops.shape import concatenate, stack
from .inputs import called
from .module import Module

__all__ = ["padded", "rows_of", "through_time", "valid_steps"]


def through_time(
    step: Callable[[Any, Any], Any],
    xs: Any,
    state: Any,
    valid: Array | Tensor | None = None,
    reverse: bool = False,
) -> tuple[Tensor, Any]:
    """Return the outputs of all steps, and the last state, of `step(x, state) -> state`.

    x is each row along the first axis of xs; or, of packed xs, the rows of the steps that are
    `valid` (T, B), and the outputs are packed, too. The output is the first part of the state,
    whose parts have the batch as their first axis. In `reverse` from the last step to the first.
    """
    batch = _Batch(valid, state, reverse) if isinstance(valid, np.ndarray) else None
    rows: Any = range(len(xs)) if batch is None else batch.rows
    times, hs = range(len(rows)), []
    for t in reversed(times) if reverse else times:
        if batch is not None:
            state = batch.at(t, state)
        with scope("step", t):
            new = step(xs[rows[t]], state)
            state = _kept(valid[t], new, state) if isinstance(valid, Tensor) else new
        hs.append(state if isinstance(state, Tensor) else tree.flatten(state)[0][0])
    if reverse:
        hs.reverse()
    return (stack(hs), state) if batch is None else (concatenate(hs), batch.last(state))


def _kept(valid: Tensor, new: Any, state: Any) -> Any:
    """Return the new state of the sequences that run, and the old one of the others."""
    return tree.map(lambda a, b: where(_beside(valid, a), a, b), new, state)


def _beside(valid: Tensor, x: Any) -> Tensor:
    """Return a mask with as many axes as x, to be broadcast against it."""
    return valid.reshape(*valid.shape, *(1,) * (x.ndim - valid.ndim))


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
) -> Array | Tensor | None:
    """Return which steps there are of each sequence, (T, B); None if all; traced, a Tensor.

    TypeError or ValueError unless the lengths are a number of steps for each.
    """
    if lengths is None:
        return None
    if not batch:
        raise ValueError(
            f"{called(module)}: an input without a batch is one sequence: cut it, x[:n], in the "
            "place of lengths"
        )
    who, tracer = called(module), tracing()
    if tracer and isinstance(lengths, Tensor):
        _check_kind(who, lengths, batch)
        tracer.checked(lambda n: _check_range(who, n, steps), [lengths])
        return np.arange(steps)[:, None] < lengths
    n = lengths.numpy() if isinstance(lengths, Tensor) else lengths  # it decides on shapes
    n = plain(n, f"{who}: lengths", "must hold")
    _check_kind(who, n, batch)
    _check_range(who, n, steps)
    return None if (n == steps).all() else np.arange(steps)[:, None] < n


def _check_kind(who: str, n: Any, batch: Sequence[int]) -> None:
    if n.dtype.kind not in "iu":
        raise TypeError(f"{who}: lengths must be integers, not {n.dtype}")
    if n.shape != tuple(batch):
        raise ValueError(
            f"{who}: lengths must have shape {tuple(batch)}, one for each sequence of the batch, "
            f"got {n.shape}"
        )


def _check_range(who: str, n: Array, steps: int) -> None:
    wrong = np.flatnonzero((n < 1) | (n > steps))
    if wrong.size:
        k = wrong[0]
        raise ValueError(
            f"{who}: lengths must lie in 1 .. {steps}, the steps of the input; lengths[{k}] is "
            f"{n[k]}"
        )


def padded(rows: Tensor, valid: Array | Tensor) -> Tensor:
    """Return packed rows as (T, B, ...), zeros where a sequence has ended."""
    if isinstance(valid, Tensor):
        masked: Tensor = where(_beside(valid, rows), rows, 0)
        return masked
    return scatter([rows], indices=(valid,), shape=(*valid.shape, *rows.shape[1:]))


def rows_of(t: Any, index: Any) -> Any:
    """Return t[index]; of a constant by its name, which pictures show.

    A Tensor as the index is a mask (T, B), and what it leaves out is 0.
    """
    if isinstance(index, Tensor):
        return where(_beside(index, t), t, 0)
    rows = t[index]
    if isinstance(rows, Tensor) and not rows.live:
        rows.name = t.name
    return rows
