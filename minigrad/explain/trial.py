"""Mistakes held to the numbers: what each would give, and how far that is from the manual ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from ..core.tape import Outputs
from .backward import Backward, Edge, Edit, times
from .spot import Mistake
from .walks import Change, Walks
from .words import Words

__all__ = ["Array", "Trial", "left_of"]

Array = np.ndarray[Any, np.dtype[Any]]


class Trial:
    """The mistakes that may have been made, and the numbers they are held to.

    `given` are the manual gradients by node. They are compared as one long vector, each in units of
    its largest element; `target` is what has to be explained.
    """

    def __init__(
        self, walk: Backward, words: Words, given: Mapping[int, Array], rtol: float
    ) -> None:
        self.walk, self.words, self.rtol = walk, words, rtol
        self.manual = {k: np.asarray(m, np.float64) for k, m in given.items()}
        right = {k: walk.cots.get(k, np.zeros(np.shape(m))) for k, m in given.items()}
        self.errors = {k: np.asarray(m, np.float64) - right[k] for k, m in given.items()}
        self.scales = {k: max(_size(m), _size(right[k]), 1e-300) for k, m in given.items()}
        self.target = self._target(given)
        self.reach = walk.behind(given)
        self.wrong_nodes = [k for k, e in self.errors.items() if _size(e) > rtol * self.scales[k]]
        self.wrong = sum(1 << bit for bit, k in enumerate(self.errors) if k in self.wrong_nodes)
        self.close = min(rtol, 1e-3 * _size(self.target))
        self.walks = self.short = Walks(walk, given)
        if self.wrong_nodes:  # all walks go first to the one that the fewest edges lead to
            self.short = Walks(walk, [min(self.wrong_nodes, key=lambda k: len(walk.into(k)))])
        self.idle = self._idle()

    def vectors(self, changes: Mapping[int, Any], keys: Iterable[int], n: int = 1) -> Array:
        """Put n changes of some of the given gradients in rows, in units of their scales."""
        shapes = {k: (n, *self.errors[k].shape) for k in keys}
        parts = [
            np.broadcast_to(changes.get(k, 0.0) / self.scales[k], shape).reshape(n, -1)
            for k, shape in shapes.items()
        ]
        return np.concatenate(parts, 1) if parts else np.zeros((n, 0))

    def _idle(self) -> dict[Edge, Edit]:
        """Collect the edges where what flows cancels out: a maximum taken off before exp, say.

        Whoever derives a gradient by hand leaves them out, and they matter once there is a mistake.
        """
        found: dict[Edge, Edit] = {}
        for (k, j), c in self.walk.contributions.items():
            g = self.walk.cots[k]
            if isinstance(c, Outputs) or isinstance(g, Outputs) or np.size(c) >= np.size(g):
                continue
            if 0 < _size(c) < 1e-12 * _size(g) and self.reach[self.walk.edges[k][j]]:
                found[k, j] = lambda e, g, c, now: times(c, 0)
        return found

    def changes(self, changes: Sequence[Change], walks: Walks | None = None) -> Array:
        """Give the changes of the given gradients in rows, or of those that other walks go to.

        The row is nan where shapes do not go together: nobody can have made this mistake.
        """
        walks = walks or self.walks
        delta, failed = self._walked(walks, changes)
        with np.errstate(all="ignore"):
            rows = self.vectors(delta, walks.given, len(changes))
        rows[failed] = math.nan
        return rows

    def _walked(self, walks: Walks, changes: Sequence[Change]) -> tuple[dict[int, Any], list[int]]:
        with np.errstate(all="ignore"):
            return walks([({**self.idle, **edits}, moves) for edits, moves in changes])

    def tried(
        self, mistakes: Iterable[Mistake], walks: Walks | None = None
    ) -> Iterator[tuple[Mistake, float, Array]]:
        """Try mistakes: how much of the error is left, inf if shapes do not fit, and the change."""
        rest, walks = iter(mistakes), walks or self.walks
        target = self._target(walks.given)
        while some := list(islice(rest, walks.at_once)):
            rows = self.changes([(m.edits, m.moves) for m in some], walks)
            for mistake, row in zip(some, rows, strict=True):
                if mistake.gives:
                    given = {k: (g - self.walk.cots[k])[None] for k, g in mistake.gives.items()}
                    row = self.vectors(given, walks.given)[0]
                yield mistake, left_of(target, row), row

    def _target(self, keys: Iterable[int]) -> Array:
        (row,) = self.vectors({k: e[None] for k, e in self.errors.items()}, keys)
        return np.asarray(row)

    def errors_everywhere(self, mistake: Mistake) -> dict[int, float]:
        """Give the relative error that a mistake leads to, of the gradient of every node."""
        walks = Walks(self.walk, range(len(self.walk.nodes)))  # no jumps: every node is asked for
        delta, _ = self._walked(walks, [(mistake.edits, mistake.moves)])
        found = {}
        for k, g in self.walk.cots.items():
            if not isinstance(g, Outputs):
                g = mistake.gives.get(k, g + delta[k][0] if k in delta else g)
                size = max(_size(g), _size(self.walk.cots[k]))
                found[k] = _size(g - self.walk.cots[k]) / size if size else 0.0
        return found

    def fits(self, left: float) -> bool:
        """Whether so little is left that the numbers are reproduced, not only approached."""
        return left <= self.close

    def behind(self, mistake: Mistake) -> int:
        """Say which of the given gradients a mistake touches, as bits."""
        bits = self.reached(mistake.edits)
        for k in (*mistake.moves.values(), *mistake.gives):
            bits |= self.reach[k]
        return bits

    def reached(self, edges: Iterable[Edge]) -> int:
        """Say which of the given gradients lie behind some edges, as bits."""
        bits = 0
        for k, j in edges:
            bits |= self.reach[self.walk.edges[k][j]]
        return bits

    def rank(self, mistake: Mistake) -> tuple[float, int]:
        """Rank by cost, and a missing term where it is used rather than where it ends up."""
        cost = mistake.cost + 0.7 * (self.behind(mistake) != self.wrong)
        last = max([k for k, _ in mistake.edits], default=0)
        return cost, last if mistake.kind == "missing term" else -last

    def may_explain(self, bits: int) -> bool:
        """Whether the only mistake, or one of two, can be one that touches these gradients."""
        return not self.wrong & ~bits or (bits != 0 and not bits & ~self.wrong)


def left_of(target: Array, change: Array) -> float:
    """Say how much of the error is left, at most."""
    left = float(np.max(abs(target - change), initial=0.0))
    return left if math.isfinite(left) else math.inf


def _size(x: Any) -> float:
    return float(np.max(abs(np.asarray(x)), initial=0.0))
