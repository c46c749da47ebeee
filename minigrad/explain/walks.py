"""Walks of a backward pass with some of its lines changed, several at once.

The rules of a backward pass are linear in the cotangent, so only what changes has to be walked. A
search tries thousands of changes on arrays that are often small: those of several walks are held in
one array, with an axis more in front, so that Python's own time is shared by all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.tape import Outputs, unbroadcast
from .backward import Backward, Edge, Edit, less, times

__all__ = ["Change", "Walks"]

Change = tuple[Mapping[Edge, Edit], Mapping[Edge, int]]
"""The edits of one walk, and the edges whose contribution goes to another node instead."""
BASIC = (int, slice, type(None), type(Ellipsis))
"""What an index is made of that takes every element at most once."""


class Walks:
    """Walks of the backward pass `back` that say how the cotangents of the `given` nodes change.

    Other leaves are left out. What is elementwise and used once is multiplied up beforehand, and
    jumped over.
    """

    def __init__(self, back: Backward, given: Iterable[int]) -> None:
        self.back, self.given = back, list(given)
        others = back.leaves.difference(self.given)
        self.steps = [
            [_Step(back, k, j, s) for j, s in edges.items() if s not in others]
            for k, edges in enumerate(back.edges)
        ]
        kept = {*self.given, back.end}
        self.tops: dict[int, int] = {}  # of every node that is jumped over, where the jump begins
        for k in range(back.end, -1, -1):
            if len(back.uses[k]) == 1 and k not in kept and k in back.cots:
                (user,) = back.uses[k]
                if all(step.only_multiplies for step in self.steps[user] if step.source == k):
                    self.tops[k] = self.tops.get(user, user)
        self.jumps: list[list[_Step]] = []
        for steps in self.steps:  # what is jumped over comes before, so that it is there already
            self.jumps.append([])
            for step in steps:
                if step.source in self.tops:
                    self.jumps[-1] += [s.after(step) for s in self.jumps[step.source]]
                else:
                    self.jumps[-1].append(step)
        sizes = [np.size(c) for c in back.cots.values() if not isinstance(c, Outputs)]
        self.at_once = int(np.clip(2**12 / np.mean(sizes), 1, 32))

    def __call__(self, changes: Sequence[Change]) -> tuple[dict[int, Any], list[int]]:
        """Give the changes of the cotangents, an axis of walks in front, and which walks failed.

        A walk fails where an edit gives a shape that does not go together with the right one, or
        asks for a part that is not there.
        Nodes that are not given and have been jumped over are left out.
        """
        back, n = self.back, len(changes)
        delta: dict[int, Any] = {}
        own: set[int] = set()  # whose change is an array of our own, added to in place
        failed: set[int] = set()
        edited: dict[int, dict[Edge, list[tuple[int, Edit]]]] = defaultdict(dict)
        for i, (edits, _) in enumerate(changes):
            for edge, edit in edits.items():
                edited[edge[0]].setdefault(edge, []).append((i, edit))
        slow = {self.tops[k] for k in edited if k in self.tops}

        def change(m: int) -> Any:
            """Find the change of a node, also in the middle of a chain that was jumped over."""
            if m in delta or m not in self.tops or self.tops[m] in slow:
                return delta.get(m)
            (user,) = back.uses[m]
            d = change(user)
            step = next(step for step in self.steps[user] if step.source == m)
            return None if d is None else step(d)

        def add(s: int, i: int, d: Any) -> None:
            """Add to the change of a node in one walk."""
            if s not in own:
                delta[s] = _copied(delta[s]) if s in delta else _zeros(n, back.cots[s])
                own.add(s)
            _add_row(delta[s], i, d)

        for k in range(max(edited, default=-1), -1, -1):
            here = edited.get(k)
            if here is None:
                if (d := delta.get(k)) is not None:
                    steps = self.steps[k] if k in slow or k in self.tops else self.jumps[k]
                    for step in steps:
                        step.add(d, delta, own)
                continue
            if k not in back.cots:
                continue
            d = change(k)
            for step in self.steps[k]:
                edge, through = (k, step.input), None
                if d is not None:
                    through = step(d)
                    _add(delta, own, step.source, through, fresh=through is not d)
                for i, edit in here.get(edge, ()):

                    def now(m: int, i: int = i) -> Any:
                        moved = change(m)
                        return back.cots[m] if moved is None else back.cots[m] + _row(moved, i)

                    c = back.contributions[edge]
                    if through is not None:
                        c = c + _row(through, i)
                    try:
                        new = edit(edge, now(k), c, now)
                        to = changes[i][1].get(edge)
                        if to is not None:
                            add(to, i, new)
                            new = times(new, 0)
                        difference = less(new, c)
                        if isinstance(c, Outputs) or difference.any():
                            add(step.source, i, difference)
                    except (ValueError, IndexError):
                        failed.add(i)
        return delta, sorted(failed)


class _Step:
    """What an edge does to changes: multiply them, then put them at an index or apply a function.

    The function takes all walks at once.
    """

    __slots__ = ("factor", "function", "index", "input", "shape", "source")

    def __init__(self, back: Backward, k: int, j: int, s: int) -> None:
        self.input, self.source = j, s
        self.factor = self.function = self.index = self.shape = None
        node, xs, z = back.nodes[k], back.xs[k], back.z[k]
        shape, name = np.shape(node.xs[j]), node.primitive.name
        if back.family(k) == "elementwise":
            with np.errstate(all="ignore"):
                factor = back.raw(k, j, np.ones(np.shape(z)))
            if np.shape(factor) == np.shape(z):
                self.factor = None if np.all(factor == 1) else factor
                if shape != np.shape(z):
                    self.function = _unbroadcast(shape, np.ndim(z))
                return
        if name == "getitem" and all(isinstance(part, BASIC) for part in back.index(k)):
            self.index, self.shape = (slice(None), *back.index(k)), shape
        elif name == "matmul" and np.ndim(xs[0]) == np.ndim(xs[1]) == 2:
            other = np.swapaxes(xs[1 - j], 0, 1)
            self.function = (lambda d: d @ other) if j == 0 else (lambda d: other @ d)
        else:
            self.function = _each(lambda g: back.pulled(k, g, j)[j])

    @property
    def only_multiplies(self) -> bool:
        return self.function is None and self.shape is None

    def __call__(self, d: Any) -> Any:
        """Give what the edge makes of the changes `d`."""
        if self.factor is not None:
            d = d * self.factor
        if self.function is not None:
            return self.function(d)
        if self.shape is None:
            return d
        out = np.zeros((len(d), *self.shape))
        out[self.index] = d
        return out

    def add(self, d: Any, delta: dict[int, Any], own: set[int]) -> None:
        """Add what the edge makes of the changes to those of its source."""
        s = self.source
        if self.shape is not None and s in own:
            delta[s][self.index] += d if self.factor is None else d * self.factor
        else:
            c = self(d)
            _add(delta, own, s, c, fresh=c is not d)

    def after(self, first: _Step) -> _Step:
        """Give the step from the node of `first`, which only multiplies, to the source of this."""
        both = _Step.__new__(_Step)
        for name in self.__slots__:
            setattr(both, name, getattr(self, name))
        both.input = first.input
        if first.factor is not None:
            both.factor = first.factor if self.factor is None else first.factor * self.factor
        return both


def _add(delta: dict[int, Any], own: set[int], s: int, c: Any, fresh: bool) -> None:
    if s not in delta:
        delta[s] = c
        if fresh:
            own.add(s)
    elif s in own and not isinstance(c, Outputs):
        delta[s] += c
    else:
        delta[s] = delta[s] + c
        own.add(s)


def _unbroadcast(shape: tuple[int, ...], ndim: int) -> Callable[[Any], Any]:
    """Sum over the axes of ndim that `shape` was broadcast along, behind the axis of walks."""
    whole = (1,) * (ndim - len(shape)) + shape
    return lambda d: unbroadcast(d, (len(d), *whole)).reshape(len(d), *shape)


def _each(rule: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Apply a rule to one walk after the other."""

    def function(d: Any) -> Any:
        n = len(d[0] if isinstance(d, Outputs) else d)
        found = [rule(_row(d, i)) for i in range(n)]
        if isinstance(found[0], Outputs):
            return Outputs([np.stack(parts) for parts in zip(*found, strict=True)])
        return np.stack(found)

    return function


def _row(d: Any, i: int) -> Any:
    return Outputs([part[i] for part in d]) if isinstance(d, Outputs) else d[i]


def _add_row(d: Any, i: int, c: Any) -> None:
    if isinstance(d, Outputs):
        for part, one in zip(d, c, strict=True):
            part[i] += one
    else:
        d[i] += c


def _copied(d: Any) -> Any:
    return Outputs([np.array(part) for part in d]) if isinstance(d, Outputs) else np.array(d)


def _zeros(n: int, like: Any) -> Any:
    if isinstance(like, Outputs):
        return Outputs([np.zeros((n, *np.shape(part))) for part in like])
    return np.zeros((n, *np.shape(like)))
