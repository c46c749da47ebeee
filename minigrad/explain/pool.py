"""The quantities of a forward pass, as series over time: what may be taken for one another."""

from __future__ import annotations

import math
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..core.tape import Outputs
from .backward import Backward
from .words import Words

__all__ = ["SHIFTS", "Other", "Pool", "Values", "constantly", "mark"]

Values = Sequence[Any]
Other = tuple[str, float, Callable[[], str], Values]  # kind, cost, words, values step by step


SHIFTS = (
    (1, "the next step"),
    (-1, "the step before"),
    (2, "two steps later"),
    (-2, "two steps before"),
)


SPOILT: list[tuple[str, Callable[[Any], Any]]] = [
    ("1 - v**2", lambda v: 1 - v**2),
    ("v * (1 - v)", lambda v: v * (1 - v)),
    ("1 - v", lambda v: 1 - v),
    ("v**2", lambda v: v**2),
    ("-v", lambda v: -v),
    ("exp(v)", lambda v: np.exp(np.minimum(v, 50))),
]
"""What a value may have become by an operation in place."""


class Pool:
    """All quantities of the forward pass as series over time: what may be taken for another."""

    def __init__(self, walk: Backward, words: Words) -> None:
        self.walk, self.words = walk, words
        self.series: list[tuple[Callable[[], str], Values]] = []
        self.makers: dict[int, list[int]] = {}  # by the mark of a series, the nodes that made it
        self.nodes = {id(v): k for k, v in enumerate(walk.z)}
        for site in walk.sites:
            ks, last = site.members, site.members[-1]
            self._add(lambda k=last: words.value(k), [walk.z[k] for k in ks])  # type: ignore[misc]
            self.makers.setdefault(mark([walk.z[k] for k in ks]), ks)
            for i in range(len(walk.xs[last])):
                said = lambda k=last, i=i: words.marked(k, i)
                self._add(said, [walk.xs[k][i] for k in ks])
        for k in sorted(walk.leaves):
            self._add(lambda k=k: words.value(k), [walk.z[k]])  # type: ignore[misc]
        self.kin: dict[int, set[int]] = defaultdict(set)  # the series that hold a value
        for n, (_, values) in enumerate(self.series):
            for v in values if len(values) > 1 else ():
                self.kin[mark([v])].add(n)
        self.states = self._states()

    def _add(self, says: Callable[[], str], values: Values) -> None:
        if not any(isinstance(v, Outputs) for v in values) and np.ndim(values[-1]):
            self.series.append((says, values))

    def _states(self) -> dict[int, tuple[list[Any], int]]:
        """Collect what a state is before and after all steps, by the mark of either series."""
        found: dict[int, tuple[list[Any], int]] = {}
        longer = [(values, [mark([v]) for v in values]) for _, values in self.series]
        later: dict[Any, list[Values]] = defaultdict(list)
        for after, marks in longer:
            if len(after) > 1:
                later[tuple(marks[:-1])].append(after)
        for before, marks in longer:
            for after in later.get(tuple(marks[1:]), ()):
                states = [*before, after[-1]]
                found[mark(before)] = states, 0
                found.setdefault(mark(after), (states, 1))
        return found

    def moved(self, now: Values, by: int) -> Iterator[Values]:
        """Give the values of another step: as an index that wraps, held at the ends, or zero."""
        n = len(now)
        states, start = self.states.get(mark(now), (list(now), 0))
        yield [states[(t + start + by) % len(states)] for t in range(n)]
        yield [now[min(max(t + by, 0), n - 1)] for t in range(n)]
        yield [now[t + by] if 0 <= t + by < n else 0 * now[t] for t in range(n)]

    def instead(self, now: Values, turned: bool = False, deep: bool = True) -> Iterator[Other]:
        """List other values for `now`: of another step, or another quantity, perhaps transposed."""
        n, shape, seen = len(now), np.shape(now[-1]), {mark(now)}

        def new(values: Values) -> bool:
            if any(np.shape(v) != shape for v in values) or (number := mark(values)) in seen:
                return False
            seen.add(number)
            return True

        for by, text in SHIFTS if n > 1 else ():
            for values in self.moved(now, by):
                if new(values):
                    said = f"its value of {text}"
                    yield "wrong step", 1.1 + 0.1 * (abs(by) > 1), constantly(said), values
        if n > 1:
            for last in (self.states.get(mark(now), (now, 0))[0][-1], now[-1]):
                if new([last] * n):
                    said = "its value of the last step, at every step,"
                    yield "overwritten", 1.25, constantly(said), [last] * n
        if n > 1 and new([0 * now[0], *now[1:]]):
            said = "zeros at the first step"
            yield "initial state", 1.2, constantly(said), [0 * now[0], *now[1:]]
        for values, text in _reordered(now):
            if new(values):
                yield "permuted", 1.3, constantly(text), values
        if deep:
            yield from (other for other in self._recomputed(now) if new(other[3]))
        around = self._around(now)
        for says, whole in self.series:
            values = [whole[0]] * n if len(whole) == 1 else whole
            for start in range(max(0, len(values) - n - 1), len(values) - n + 1):
                chosen = values[start : start + n]
                if new(chosen):
                    if _shifted(chosen, now) or (n == 1 and self._kin(chosen[0], now[0])):
                        yield "wrong step", 1.15, says, chosen
                    else:
                        near = mark(chosen) in around
                        yield "swapped operand", 1.15 if near else 1.3, says, chosen
                elif turned and np.ndim(chosen[0]) > 1:
                    other = [np.swapaxes(v, -1, -2) for v in chosen]
                    if new(other):
                        yield "swapped operand", 1.35, says, other
            if n > 1 and len(whole) == n and new(late := [0 * whole[0], *whole[:-1]]):
                said = f"{says()} of the step before"
                kind = "wrong step" if self._kin(whole[0], now[-1]) else "swapped operand"
                yield kind, 1.35, constantly(said), late
        for text, form in SPOILT if now[0].dtype.kind == "f" else ():
            if new(values := [form(v) for v in now]):
                yield "overwritten", 1.5, constantly(f"`{text}` of it"), values

    def _kin(self, a: Any, b: Any) -> bool:
        return not self.kin[mark([a])].isdisjoint(self.kin[mark([b])])

    def _around(self, now: Values) -> set[int]:
        """Mark what is one operation away from the values in question."""
        walk, marks = self.walk, set[int]()
        ks = [self.nodes.get(id(v)) for v in now]
        if None in ks:
            return marks
        site = walk.site_of.get(ks[-1])  # type: ignore[arg-type]
        ends = {walk.site_of.get(m) for m in walk.uses[ks[-1]]}  # type: ignore[index]
        ends |= {walk.site_of.get(s) for s in walk.edges[ks[-1]].values()}  # type: ignore[index]
        for other in ends - {None, site}:
            assert other is not None
            marks.add(mark([walk.z[k] for k in other.members]))
        return marks

    def _recomputed(self, now: Values) -> Iterator[Other]:
        """Compute the values again with one input of another step: tanh(c) of the wrong c."""
        walk, words = self.walk, self.words
        ks = self.makers.get(mark(now), [])
        for i in range(len(walk.xs[ks[0]]) if ks else 0):
            inputs = [walk.xs[k][i] for k in ks]
            if walk.site_of[ks[0]].op == "stack" or np.ndim(inputs[0]) == 0:
                continue
            for by, text in SHIFTS[:2] if len(ks) > 1 else ():
                for values in self.moved(inputs, by):
                    if all(np.shape(v) == np.shape(x) for v, x in zip(values, inputs, strict=True)):
                        said = f"{words.value(ks[-1])} with {words.marked(ks[-1], i)} of {text}"
                        yield "wrong step", 1.15, constantly(said), self._again(ks, i, values)
        if ks and len(walk.xs[ks[0]]) == 1 and walk.nodes[ks[0]].primitive.family == "linear":
            inputs = [walk.xs[k][0] for k in ks]
            for kind, cost, says, values in self.instead(inputs, deep=False):
                yield kind, cost, says, self._again(ks, 0, values)
            nd = np.ndim(inputs[0])
            for axes in [(a,) for a in range(nd)] + [(nd - 2, nd - 1)] * (nd > 2):
                said = (
                    f"{words.marked(ks[-1], 0)} reversed along axis {' and '.join(map(str, axes))}"
                )
                values = [np.flip(v, axes) for v in inputs]
                yield "permuted", 1.35, constantly(said), self._again(ks, 0, values)
        elif len(ks) == 1 and walk.site_of[ks[0]].op == "stack":
            k = ks[0]
            for kind, cost, says, values in self.instead(walk.xs[k], deep=False):
                z = walk.nodes[k].primitive.forward(*values, **walk.nodes[k].params)
                yield kind, cost, says, [z]

    def _again(self, ks: list[int], i: int, values: Values) -> list[Any]:
        made = []
        for k, v in zip(ks, values, strict=True):
            xs = list(self.walk.xs[k])
            xs[i] = v
            node = self.walk.nodes[k]
            with np.errstate(all="ignore"):
                made.append(node.primitive.forward(*xs, **node.params))
        return made


def constantly(text: str) -> Callable[[], str]:
    return lambda: text


def _reordered(now: Values) -> Iterator[tuple[Values, str]]:
    """List a series backwards, and as a square grid transposed: the taps of a kernel."""
    n, side = len(now), math.isqrt(len(now))
    if n > 1:
        yield list(now)[::-1], "its values in reverse order"
    if side > 1 and side * side == n:
        yield [now[side * (t % side) + t // side] for t in range(n)], "its values transposed"


def _shifted(a: Values, b: Values) -> bool:
    """Whether a is the same quantity as b, a step apart."""
    if len(a) < 2:
        return False
    pairs = (zip(a[:-1], b[1:], strict=True), zip(a[1:], b[:-1], strict=True))
    return any(all(np.array_equal(x, y) for x, y in ps) for ps in pairs)


def mark(values: Values) -> int:
    """Number a series by its contents."""
    number = zlib.crc32(repr((len(values), np.shape(values[-1]))).encode())
    for v in values:
        number = zlib.crc32(np.ascontiguousarray(v).tobytes(), number)
    return number
