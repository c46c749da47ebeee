"""How gradients change if some terms of a backward pass are others: walks of several at once.

The rules of a backward pass are linear in the cotangent, so only what changes has to be walked. The
arrays of several walks are held in one, with an axis more in front: Python's own time is shared.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.tape import Outputs, unbroadcast
from .backward import Backward, Edge, less

__all__ = ["CLOSE", "Changes", "Edit", "size"]

CLOSE = 1e-8
"""How far off what explains a gradient may be, of the largest element."""

BASIC = (int, slice, type(None), type(Ellipsis))
"""What an index is made of that takes every element at most once."""
Step = Callable[[Any], Any]
Edit = Callable[[Edge, Any, Callable[[int], Any]], Any]
"""`edit((k, j), c, now)` gives another contribution of node k, which would be c; `now(m)` is the
gradient of node m, as the edits have left it."""


class Changes:
    """The changes of the gradients of the `given` nodes, and of those on the way to them.

    What flows outside of the nodes `within` is left out. A walk that lasts until it is `until`, in
    the time that `time.monotonic` measures, fails.
    """

    def __init__(
        self, walk: Backward, given: Iterable[int], within: Any = None, until: float = math.inf
    ) -> None:
        self.walk, self.until, behind = walk, until, walk.behind(given)
        self.steps: list[dict[int, Step]] = [
            {j: _step(walk, k, j) for j, s in edges.items() if behind[s]}
            if within is None or k in within
            else {}
            for k, edges in enumerate(walk.edges)
        ]
        sizes = [np.size(c) for c in walk.cots.values() if not isinstance(c, Outputs)]
        self.at_once = int(np.clip(2**13 / np.mean(sizes), 1, 64))

    def __call__(self, several: Sequence[Mapping[Edge, Edit]]) -> tuple[dict[int, Any], list[int]]:
        """Return the changes by node, an axis of walks in front, and which walks failed.

        One fails where an edit gives a shape that does not go together with the right one.
        """
        walk, n, failed = self.walk, len(several), set[int]()
        delta: dict[int, Any] = {}
        edited: dict[int, list[tuple[int, Edge, Edit]]] = defaultdict(list)
        for i, edits in enumerate(several):
            for edge, edit in edits.items():
                edited[edge[0]].append((i, edge, edit))
        for k in range(max(edited, default=-1), -1, -1):
            if time.monotonic() > self.until:
                return {}, [*range(n)]
            d, steps = delta.get(k), self.steps[k]
            through = {j: step(d) for j, step in steps.items()} if d is not None else {}
            here = edited.get(k, ())
            new = {j: _like(through[j]) for _, (_, j), _ in here if j in through}
            for i, (_, j), edit in here:
                if j not in steps or k not in walk.cots:
                    continue
                c = walk.contributions[k, j]
                now = lambda m, i=i: _moved(walk.cots[m], delta, m, i)
                try:
                    right = _plus(c, _row(through[j], i)) if j in through else c
                    change = less(edit((k, j), right, now), c)
                    if j not in new:
                        new[j] = _zeros(n, c)
                    _set(new[j], i, change)
                except (ValueError, IndexError, KeyError, AssertionError):
                    failed.add(i)
            for j, c in {**through, **new}.items():
                s = walk.edges[k][j]
                delta[s] = _plus(delta[s], c) if s in delta else c
        return delta, sorted(failed)

    def of(self, s: int, several: Sequence[Mapping[Edge, Edit]]) -> Iterator[Any]:
        """Give the change of the gradient of node s in each walk; inf where there can be none."""
        for start in range(0, len(several), self.at_once):
            some = several[start : start + self.at_once]
            delta, failed = self(some)
            for i in range(len(some)):
                yield math.inf if i in failed or s not in delta else delta[s][i]


def _step(walk: Backward, k: int, j: int) -> Step:
    """Return what an edge makes of changes, of all walks at once."""
    node, xs, shape = walk.nodes[k], walk.xs[k], np.shape(walk.z[k])
    wanted, name = np.shape(node.xs[j]), node.primitive.name
    if walk.family(k) == "elementwise":
        slope = walk.raw(k, j, np.ones(shape))
        if np.shape(slope) == shape:

            def times(d: Any) -> Any:
                return d * slope

            if wanted == shape:
                return times
            full = (1,) * (len(shape) - len(wanted)) + wanted
            return lambda d: unbroadcast(times(d), (len(d), *full)).reshape(len(d), *wanted)
    if name == "getitem" and all(isinstance(part, BASIC) for part in walk.index(k)):
        index = (slice(None), *walk.index(k))

        def put(d: Any) -> Any:
            out = np.zeros((len(d), *wanted))
            out[index] = d
            return out

        return put
    if name == "matmul" and np.ndim(xs[0]) == np.ndim(xs[1]) == 2:
        other = np.swapaxes(xs[1 - j], 0, 1)
        return (lambda d: d @ other) if j == 0 else (lambda d: other @ d)
    if name == "matmul" and (np.ndim(xs[0]), np.ndim(xs[1])) == (2, 1):
        return (lambda d: d[..., None] * xs[1]) if j == 0 else (lambda d: d @ xs[0])

    def each(d: Any) -> Any:
        n = len(d[0] if isinstance(d, Outputs) else d)
        found = [walk.pulled(k, _row(d, i), j)[j] for i in range(n)]
        if isinstance(found[0], Outputs):
            return Outputs([np.stack(parts) for parts in zip(*found, strict=True)])
        return np.stack(found)

    return each


def _moved(g: Any, delta: Mapping[int, Any], m: int, i: int) -> Any:
    return _plus(g, _row(delta[m], i)) if m in delta else g


def _plus(a: Any, b: Any) -> Any:
    if isinstance(a, Outputs):
        return Outputs([x + y for x, y in zip(a, b, strict=True)])
    return a + b


def _row(d: Any, i: int) -> Any:
    return Outputs([part[i] for part in d]) if isinstance(d, Outputs) else d[i]


def _like(d: Any) -> Any:
    return Outputs([np.array(part) for part in d]) if isinstance(d, Outputs) else np.array(d)


def _zeros(n: int, like: Any) -> Any:
    if isinstance(like, Outputs):
        return Outputs([np.zeros((n, *np.shape(part))) for part in like])
    return np.zeros((n, *np.shape(like)))


def _set(d: Any, i: int, c: Any) -> None:
    for part, one in zip(d, c, strict=True) if isinstance(d, Outputs) else [(d, c)]:
        part[i] = one


def size(x: Any) -> float:
    """Return the largest element, inf if one is not finite."""
    size = float(np.max(abs(np.asarray(x)), initial=0.0))
    return size if math.isfinite(size) else math.inf
