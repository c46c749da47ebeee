"""Colours for numbers that span many powers of ten: one scale for a picture, with its legend.

Both palettes change in lightness all the way, so they can be told apart in grey and by the colour
blind; what has no magnitude has a sign of its own: zero, and what is not finite.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from .words import numeral

__all__ = ["BAD", "Cell", "Scale", "error_scale", "magnitude_scale", "share_scale"]

MAGNITUDE = ["#392d7d", "#2c4b95", "#0269a4", "#1385a2", "#179e9e", "#0ab98f", "#6ecc73", "#b6d85b"]
MAGNITUDE += ["#f7e04f"]
ERROR = ["#caf3e0", "#c3eab7", "#d3da83", "#e6bf50", "#e79c26", "#e4780c", "#cd571b", "#ae3823"]
ERROR += ["#8d1925"]
ZERO, BAD, NONE = "#ffffff", "#d100d1", "#e2e8f0"


class Cell(NamedTuple):
    """One cell of a strip: its colour, its sign if it has no magnitude, its place on the scale."""

    colour: str
    sign: str = ""
    place: float = 0.0


class Scale(NamedTuple):
    """From 10**low to 10**high along the palette; `values` are by number of node.

    A value is None where there is nothing to show, and nan for what is not finite (or, of an error,
    what was not compared). `below` and `above`: the ends stand for what is beyond them, too.
    """

    name: str
    values: Mapping[int, float | None]
    palette: Sequence[str]
    low: float
    high: float
    signs: Mapping[str, str]  # what a sign means
    below: bool = False
    above: bool = False

    @property
    def is_error(self) -> bool:
        return self.palette is ERROR

    @property
    def ends(self) -> tuple[str, str]:
        """The ends as text: `1e−6`, `≥ 1`."""
        low, high = numeral(10.0**self.low), numeral(10.0**self.high)
        return f"≤ {low}" if self.below else low, f"≥ {high}" if self.above else high

    def joined(self, other: Scale) -> Scale:
        """Return this scale, as far as both reach."""
        low, high = min(self.low, other.low), max(self.high, other.high)
        below, above = self.below or other.below, self.above or other.above
        return self._replace(low=low, high=high, below=below, above=above)

    def cell(self, values: Iterable[float | None]) -> Cell:
        """Return one cell for several values, with the worst sign among them.

        Its colour is that of the geometric mean, or of the largest error.
        """
        known, (zero, bad) = [x for x in values if x is not None], self.signs
        logs = [math.log10(x) for x in known if 0 < x < math.inf]
        if not known:
            return Cell(NONE)
        if any(not math.isfinite(x) for x in known):
            return Cell(BAD, bad)
        if not logs:
            return Cell(ZERO, zero)
        log = max(logs) if self.is_error else sum(logs) / len(logs)
        place = min(1.0, max(0.0, (log - self.low) / (self.high - self.low)))
        sign = zero if 0.0 in known and not self.is_error else ""
        return Cell(blend(self.palette, place), sign, place)

    def strip(self, numbers: Sequence[int], width: int = 16) -> list[Cell]:
        """Return the cells of a node through its repetitions: of many, several in each."""
        values = [self.values.get(k) for k in numbers]
        if all(x is None for x in values):
            return []
        n = min(width, len(values))
        cuts = [round(k * len(values) / n) for k in range(n + 1)]
        return [self.cell(values[a:b]) for a, b in itertools.pairwise(cuts)]


def magnitude_scale(
    name: str, values: Mapping[int, float | None], span: Iterable[int], shown: Iterable[int]
) -> Scale:
    """Return a scale of magnitudes, from the smallest to the largest of those in `span`."""
    logs = _logs(values, span)
    low, high = math.floor(min(logs, default=-1.0)), math.ceil(max(logs, default=0.0))
    high, every = max(high, low + 1), _logs(values, shown)
    beyond = min(every, default=low) < low, max(every, default=high) > high
    signs = {"0": "zero", "!": "not finite"}
    return Scale(name, values, MAGNITUDE, low, high, signs, *beyond)


def share_scale(name: str) -> Scale:
    """Return the scale of parts of a whole, from a thousandth on."""
    return Scale(name, {}, MAGNITUDE, -3, 0, {}, below=True)


def error_scale(values: Mapping[int, float | None], tolerance: float) -> Scale:
    """Return the scale of relative errors, from the tolerance to the worst that there is."""
    low = math.log10(tolerance)
    high = max(low + 1, *_logs(values, values), -math.inf)
    signs = {"=": "equal", "?": "not compared"}
    return Scale("relative error", values, ERROR, low, high, signs, below=True)


def _logs(values: Mapping[int, float | None], numbers: Iterable[int]) -> list[float]:
    sizes = [values.get(k) or 0.0 for k in numbers]
    return [math.log10(x) for x in sizes if 0 < x < math.inf]


def blend(palette: Sequence[str], x: float) -> str:
    """Return the colour at x, from 0 to 1, between the colours of a palette."""
    at = x * (len(palette) - 1)
    k = min(int(at), len(palette) - 2)
    pairs = [(int(palette[j][i : i + 2], 16)) for i in (1, 3, 5) for j in (k, k + 1)]
    mixed = [round(a + (b - a) * (at - k)) for a, b in zip(pairs[::2], pairs[1::2], strict=True)]
    return "#" + "".join([f"{c:02x}" for c in mixed])


def ink(colour: str) -> str:
    """Return black or white, whichever is read better on a colour."""
    r, g, b = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return "#000000" if 0.3 * r + 0.59 * g + 0.11 * b > 128 else "#ffffff"
