"""Backward passes that walk again, and further each time, through what the one before walked.

    for x in series:
        h = step(h, x)              # h = step(h.detach(), x) was meant: every loss walks the whole
        loss(h).backward()          # way back, and adds gradients that are none of this step

Several losses of one graph, or one loss twice, are no such thing: nothing was computed in between,
or not from what was new in the pass before. But if a step was taken in between, what was recorded
before it is out of date:

    loss = f(w)                     # loss = f(w) belongs into the loop
    for _ in range(100):
        loss.backward(); optimizer.step()
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from contextvars import ContextVar
from operator import attrgetter
from typing import Any, NamedTuple

from .errors import GraphWarning, warn
from .leaving import described

__all__ = ["notice"]

_SOME = 32
_index = attrgetter("index")


class _Pass(NamedTuple):
    """A backward pass: how many in a row go on from the one before, and what was new in this one.

    What was made since the pass before has indices from `start` to `end`; `walked` are some of it,
    enough to be met again, for a graph must not be kept by being remembered.
    """

    start: int
    end: int
    walked: frozenset[int]
    run: int


_NONE = _Pass(-1, -1, frozenset(), 0)
_last: ContextVar[_Pass] = ContextVar("minigrad.repeated_backward", default=_NONE)


def notice(path: Sequence[Any], end: int) -> None:
    """See the path of a backward pass, and warn of what is walked again, or is out of date.

    That is the third pass in a row that goes on from the one before; or what was computed before
    that one, of data that a leaf holds no more. `end` is the index of what is made next.
    """
    last = _last.get()
    known = bisect_right(path, last.start, key=_index)
    new = bisect_right(path, last.end, known, key=_index)
    met = [t for t in path[known:new] if t.primitive is not None and t.index in last.walked]
    run = last.run + 1 if met and new < len(path) else 0
    if run == 2:
        warn(_told(path[new:], last.end), GraphWarning)
    old = next(filter(_rebound, path[:new]), None) if run == 0 else None
    if old is not None:
        warn(_out_of_date(old), GraphWarning)
    some = path[new :: max(1, (len(path) - new) // _SOME)]
    _last.set(_Pass(last.end, end, frozenset(map(_index, some)), run))


def _told(new: Sequence[Any], end: int) -> str:
    """Name the result that was carried over from before the last backward pass."""
    carried: Any = next(
        t
        for node in new
        for t in node.inputs
        if t is not None and t.live and t.primitive is not None and t.index <= end
    )
    origin = getattr(carried, "origin", None)
    where = f", in {carried.scope}" if carried.scope else ""
    where += f"\n    {origin.place}\n" if origin else ""
    return (
        "the third backward() in a row that walks through what the one before walked, and further: "
        f"by way of {described(carried)}, the result of {carried.primitive.name}{where}; write "
        "t.detach() where it is carried into the next step, or, if all this is one loss, add the "
        "parts up and call backward() once"
    )


def _rebound(node: Any) -> list[Any]:
    """List the leaves that an operation used, and that hold other data by now."""
    used = zip(node.inputs, node.xs, strict=True)
    return [
        t for t, x in used if t is not None and t.primitive is None and t.live and t.value is not x
    ]


def _out_of_date(node: Any) -> str:
    return (
        f"backward() walks through what {node.primitive.name} computed before "
        f"{described(_rebound(node)[0])} was given new data, by a step or otherwise, and gives the "
        "gradient at the old data; compute the loss, and all that it is made from, anew each time"
    )
