"""Whom to believe: central differences of the user's own function, run on plain arrays.

A tape knows what was recorded. Where a tensor left the graph, as through `.item()`, the gradient
that the tape gives is not that of the function, and whoever is right must not be called wrong. So a
verdict rests on the function itself, differentiated along a few directions and by the worst
elements; by every element it would have to be run thousands of times.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np

from ..core.context import no_grad
from ..core.dtypes import Array
from ..core.tensor import Tensor, value_of
from ..guard.errors import NUMPY, users_call
from .differences import along, is_along, repeatable
from .gradients import direction
from .rows import Row, Verdict, row_of, size

__all__ = ["Opinion", "Witness", "departures", "held", "lost", "said"]

CLOSE = {2: 5e-2, 4: 1e-3, 8: 1e-6}
"""How close a right gradient must come to the differences, by the dtype's bytes."""
DIRECTIONS = 3
"""How many random directions a gradient is held against, that nothing else speaks for."""
ASIDE = 1e-2
"""How far from a kink it is looked at beside it, of the size of the element but at least of 1."""
ELEMENTS = 64
"""How many elements or directions are looked at, at most, where there are kinks."""
OURS = __file__.rpartition("check")[0]


class Slope(NamedTuple):
    """A derivative by differences, and how far off a right one may be: at a kink, further."""

    value: float
    slack: float
    kink: float

    @property
    def error(self) -> float:
        """How far off it may be but for a kink."""
        return self.slack - 1.02 * self.kink


class Opinion(NamedTuple):
    """Whom differences confirm where manual and automatic differ, and what they say."""

    right: Literal["manual", "automatic", "both", "neither", "unknown"]
    text: str


class Witness:
    """Central differences of `f`, which returns a number for arrays by name.

    `f` gets copies, floating ones in float64; or constant Tensors, if it raises on arrays and not
    on these. ValueError, whose text begins with `who`, if it gives another number when it is run
    again. `what` are the differences, in the text of an opinion.
    """

    def __init__(
        self,
        f: Callable[[dict[str, Any]], Any],
        arrays: Mapping[str, Array],
        who: str,
        what: str = "central differences",
    ) -> None:
        self.f, self.what = f, what
        self.arrays = {
            name: x.astype(np.float64) if x.dtype.kind == "f" else x for name, x in arrays.items()
        }
        self.finest = {
            name: 16 * float(np.finfo(x.dtype).eps) if x.dtype.kind == "f" and x.itemsize < 8 else 0
            for name, x in arrays.items()
        }
        self.mute: list[str] = []  # of which there are no differences
        self.on_tensors = False
        try:
            self.zero = repeatable(lambda: [self._run({})], who)
        except Exception as error:
            self.on_tensors = True  # it may use their methods
            try:
                self.zero = repeatable(lambda: [self._run({})], who)
            except Exception:
                raise error from None

    def _run(self, moved: Mapping[str, Array]) -> Any:
        given: dict[str, Any] = {}
        for name, x in self.arrays.items():
            given[name] = moved.get(name, x).copy()
            if self.on_tensors and x.dtype.kind == "f":
                given[name] = Tensor(given[name])
        try:
            return value_of(self.f(given))
        except Exception:
            if not moved:
                raise
            return np.nan  # it may check what it is given: that rows of chances sum to one

    def along(self, name: str, v: Array, shift: Array | float = 0.0) -> Slope:
        """Return the derivative by one array along `v`; beside it, if there is a `shift`."""
        at = self.arrays[name] + shift
        zero = self.zero if np.array_equal(at, self.arrays[name]) else None
        try:
            (s,) = along(
                lambda x: self._run({name: x}), [at], [v], finest=self.finest[name], zero=zero
            )
        except ValueError:  # it raises, or is not finite around it
            if name not in self.mute:
                self.mute.append(name)
            return Slope(np.nan, np.inf, 0.0)
        return Slope(s.value.item(), s.slack.item(), s.jump.item() / 2)

    def by_element(self, name: str, at: tuple[int, ...], shift: float = 0.0) -> Slope:
        """Return the derivative by one element; beside it, if there is a `shift`."""
        one = np.zeros(self.arrays[name].shape)
        one[at] = 1
        return self.along(name, one, shift * one)

    def agrees(self, other: Witness, name: str, v: Array) -> bool:
        """Whether another function has the same derivative along `v`."""
        ours, theirs = self.along(name, v), other.along(name, v)
        allowed = ours.error + theirs.error + 1e-6 * (abs(ours.value) + abs(theirs.value))
        return abs(ours.value - theirs.value) <= allowed

    def opinion(self, name: str, row: Row) -> Opinion:
        """Return whose number differences by the worst element of an entry confirm."""
        assert row.worst_at is not None
        value, slack, kink = self.by_element(name, row.worst_at)
        gap = abs(row.manual - row.automatic)
        if value != value:
            return Opinion("unknown", f"there are no {self.what}, not being finite around it")
        is_kink = kink > 0.1 * gap
        near = slack + (1e-3 if is_kink else 0.1) * gap
        ours, theirs = (abs(value - x) <= near for x in (row.manual, row.automatic))
        text = f"{self.what} give "
        text += f"{value - kink:.8g} to {value + kink:.8g}" if is_kink else f"{value:.8g}"
        if ours and theirs:
            return Opinion("both" if is_kink else "unknown", text)
        return Opinion("manual" if ours else "automatic" if theirs else "neither", text)

    def at_kinks(self, name: str, row: Row, m: Array, a: Array) -> Row:
        """Return the verdict on an entry that differs at a kink, both right at the worst element.

        `m` is right if both are at every element that differs, and if it is the gradient beside the
        kinks: on the side of each where that has the slope of `m`, or on the other. Each element's
        slope may be right, and all of them together not: of equal numbers one is the largest.
        """
        gaps = abs(m.astype(np.float64) - a)
        different = np.argwhere(gaps > row.rtol * max(size(m), size(a)))
        shift = np.zeros(m.shape)
        for at in sorted(map(tuple, different.tolist()), key=lambda at: -gaps[at])[:ELEMENTS]:
            one = replace(row, worst_at=at, manual=float(m[at]), automatic=float(a[at]))
            right, text = self.opinion(name, one)
            if right == "automatic":
                return one.noted(f"{text}: {OPINIONS[right]}")
            step = ASIDE * max(1.0, abs(float(self.arrays[name][at])))
            up = self.by_element(name, at, step).value
            down = 2 * self.by_element(name, at).value - up
            shift[at] = step if abs(m[at] - up) < abs(m[at] - down) else -step
        v = (m.astype(np.float64) - a) / gaps.max()
        ours, theirs = (float(np.sum(g * v)) for g in (m, a))
        beside = [theirs, *[self.along(name, v, side * shift).value for side in (1, -1)]]
        text = f"{self.opinion(name, row).text}: both are right"
        near = 0.1 * abs(ours - theirs)
        if len(different) > ELEMENTS or not (
            ours < min(beside) - near or ours > max(beside) + near
        ):
            return replace(row, verdict="ok").noted(text)
        return row.noted(
            f"{text} by themselves, but together these slopes are {ours:.8g}, and those beside the "
            f"kink {min(beside):.8g} to {max(beside):.8g}: manual is wrong"
        )

    def row(self, name: str, m: Array, rtol: float | None) -> Row:
        """Return the verdict of differences alone, on an entry that nothing was recorded for."""
        shape = self.arrays[name].shape
        if m.shape != shape or not np.isfinite(m).all() or not m.size:
            return row_of(name, m, np.zeros(shape), rtol, 0.0)
        v = self.mismatch(name, m, directions=DIRECTIONS)
        at = np.unravel_index(int(abs(m if v is None else m * v).argmax()), shape)
        one = np.zeros(shape)
        one[at] = 1
        value, *_ = self.along(name, one)
        wrong = v is not None or self._off(name, m, one, 0.0)[0] > 0
        verdict: Verdict = "non-finite" if name in self.mute and not wrong else "ok"
        note = "against central differences"
        if wrong:
            verdict, note = "differs", f"central differences give {value:.8g}: manual is wrong"
        error, scale = abs(float(m[at]) - value), max(size(m), abs(value))
        return Row(
            name, shape, verdict, error, error / scale if scale else 0.0,
            tuple(map(int, at)), float(m[at]), value, rtol=max(_close(m), rtol or 0.0),
            note=note,
        )  # fmt: skip

    def mismatch(
        self, name: str, g: Array, noise: float = 0.0, directions: int = 1
    ) -> Array | None:
        """Return a direction along which `g` does not give the derivative; None if it may.

        `noise` is what rounding may do to `g`. Directions are random; and where there are kinks,
        halves of these, for at one kink much else would be right.
        """
        rng = np.random.default_rng(0)
        tries = [direction(rng, self.arrays[name]) for _ in range(directions)]
        for _ in range(ELEMENTS):
            if not tries:
                break
            v = tries.pop()
            off, at_kink = self._off(name, g, v, noise)
            if off > 0 and (wrong := self._narrowed(name, g, v, noise)) is not None:
                return wrong
            if at_kink and np.count_nonzero(v) > 1:
                tries += _halves(v)
        return None

    def _narrowed(self, name: str, g: Array, v: Array, noise: float) -> Array | None:
        """Return a part of a direction along which `g` is wrong: one element if that can be.

        None if every part by itself is right, but at kinks: where one bends up and another bends
        down, one hides the other.
        """
        while np.count_nonzero(v) > 1:
            halves = _halves(v)
            offs, kinks = zip(*[self._off(name, g, half, noise) for half in halves], strict=True)
            if max(offs) <= 0:
                return None if any(kinks) else v
            v = halves[offs.index(max(offs))]
        return v

    def _off(self, name: str, g: Array, v: Array, noise: float) -> tuple[float, bool]:
        """Return how much further <g, v> is from the derivative along `v` than a right one.

        And whether there is a kink.
        """
        shares = g.astype(np.float64) * v
        close = float(_close(g) * np.sum(abs(shares)) + noise * np.sum(abs(v)))
        if is_along(
            lambda x: self._run({name: x}), [self.arrays[name]], [v], float(np.sum(shares)), close,
            self.finest[name], self.zero,
        ):  # fmt: skip
            return -close, False
        value, slack, kink = self.along(name, v)
        return float(abs(np.sum(shares) - value) - close - slack), bool(kink > close)


def _halves(v: Array) -> list[Array]:
    places = np.flatnonzero(v)
    first = np.where(np.arange(v.size).reshape(v.shape) < places[len(places) // 2], v, 0.0)
    return [first, v - first]


def held(
    witness: Witness,
    rows: dict[str, Row],
    manual: Mapping[str, Array],
    automatic: Mapping[str, Array],
    noise: Callable[[str], float],
    rtol: float | None,
    recording: Callable[[], Witness],
    also: Sequence[str] = (),
) -> list[str]:
    """Hold what was compared against the witness; return whose automatic gradients are wrong.

    Their rows are made anew, from differences alone; in rows that differ it is noted who is right.
    Where both sides agree, only other differences of the `recording` speak against them: the same
    ones are too rough. `also` are names to look at that manual does not give.
    """
    wrong = list[str]()
    largest = max(size(a) for a in automatic.values())
    for name, a in automatic.items():
        row = rows.get(name, Row(name, a.shape, "missing"))
        if name not in witness.arrays:
            continue
        if row.verdict == "non-finite" and np.isfinite(manual[name]).all():
            alone = witness.row(name, manual[name], rtol)
            rows[name] = alone.noted("automatic is not finite") if alone.comparable else row
        if not (row.comparable or name in also):
            continue
        rounding = 16 * float(np.finfo(a.dtype).eps) * largest
        v = witness.mismatch(name, a, rounding)
        if v is not None:
            v = witness.mismatch(name, a, rounding + 100 * noise(name))
        confirmed = v is None
        if confirmed and row.verdict == "differs":
            right, text = witness.opinion(name, row)
            if right == "manual":
                confirmed = row.max_abs <= rounding + 100 * noise(name)
                rows[name] = witness.row(name, manual[name], rtol)
            elif right == "both":
                rows[name] = witness.at_kinks(name, row, manual[name], a)
            else:
                rows[name] = row.noted(f"{text}: {OPINIONS[right]}")
        if v is not None and row.ok and name in (other := recording()).arrays:
            confirmed = witness.agrees(other, name, v)
        if not confirmed:
            wrong.append(name)
            if name in manual:
                rows[name] = witness.row(name, manual[name], rtol)
    return wrong


OPINIONS = {
    "automatic": "manual is wrong",
    "neither": "neither agrees",
    "unknown": "too rough to tell",
}


def _close(g: Array) -> float:
    return CLOSE[min(g.itemsize, 8)]


# ---- where tensors leave the graph ---------------------------------------------------------------

WAYS_OUT = {
    Tensor.data.fget.__code__: ".data",  # type: ignore[attr-defined]
    Tensor.numpy.__code__: ".numpy()",
    Tensor.item.__code__: ".item()",
    Tensor.tolist.__code__: ".tolist()",
    Tensor.detach.__code__: ".detach()",
    Tensor.__float__.__code__: "float()",
    Tensor.__int__.__code__: "int()",
    no_grad.__enter__.__code__: "mg.no_grad()",
}
"""The methods, by their code, after which gradients do not flow any more."""


def departures(run: Callable[[], Any]) -> list[str]:
    """Return the user's lines at which `run` takes live tensors out of the graph.

    Python shows every call of a function to a profiler, so that nobody else has to watch.
    """
    found: dict[str, str] = {}

    def watch(frame: Any, event: str, arg: Any) -> None:
        if event == "call" and (way := WAYS_OUT.get(frame.f_code)):
            me, by = frame.f_locals["self"], frame.f_back.f_code.co_filename
            if not by.startswith((OURS, NUMPY)) and (getattr(me, "live", type(me) is no_grad)):
                found.setdefault(str(users_call()), way)

    if sys.getprofile() is None:
        sys.setprofile(watch)
        try:
            run()
        finally:
            sys.setprofile(None)
    return [f"by {way} in {line}" for line, way in found.items()]


def lost(names: Sequence[str], lines: Sequence[str]) -> str:
    """Return whose gradients were recorded in part only, and where a tensor left the graph."""
    text = f"what was recorded is not all that depends on {', '.join(map(repr, names))}; "
    if not lines:
        return f"{text}no line was seen where a tensor leaves the graph, perhaps a library took it"
    return f"{text}a tensor leaves the graph" + "".join([f"\n    {line}" for line in lines])


def said(error: BaseException) -> str:
    """Return what an error says, with the line of the user's function if it names none itself."""
    frames = traceback.extract_tb(error.__traceback__)
    own = next((f for f in frames if not f.filename.startswith((OURS, NUMPY))), None)
    while error.__cause__:
        error = error.__cause__
    text = f"{type(error).__name__}: {error}"
    if own is not None and ", line " not in text:
        text += f"\n    {own.filename}, line {own.lineno}: {own.line}"
    return text
