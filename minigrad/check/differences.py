"""Central differences that know how far off they are: a witness that shares nothing with a tape.

Along the line t -> f(x + t v) the difference of fourth order

    D(t) = (r^2 d(t/r) - d(t)) / (r^2 - 1)    where d(t) = (f(x + t v) - f(x - t v)) / 2 t

is off by what is not straight at large steps (as t^4), and by the rounding of f at small ones (as
1/t). No step suits every function: 1/x at 1e-5 needs a small one, 1e6 + (x - 1)^2 near 1 a large
one. So D is taken at steps t, t/r, t/r^2, ... Where neighbours agree it is right, and how far apart
they are is its error, which is never taken for less than the rounding eps |f| / t.

At a kink, such as relu at 0, the derivatives from the left and from the right are different, and D
is half way between them. How far apart they are is seen by (f(x + t v) - 2 f(x) + f(x - t v)) / t.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core import tree
from ..core.dtypes import Array, plain
from ..core.tensor import value_of

__all__ = ["EPS", "SURE", "Slope", "along", "is_along", "repeatable"]

RATIO = 2.3
"""Of each step to the next: no rounding, and no grid, goes with all powers of it."""
GLANCE = 19
"""The power of the one step that is enough where it gives what was expected: 1e-7."""
FIRST = range(11, 13)
"""The powers that are tried first where a known error is small enough: steps near 1e-4."""
QUICK = range(7, 10)
"""The powers that are tried first otherwise: steps near 1e-3, good for 11 digits."""
LADDER = range(31)
"""All powers, down from the size of the arguments, or 1 for smaller ones."""
DEEPER = 16
"""As many on both sides of the size of the smallest argument, if that is further down."""
DOUBTS = 9
"""How many smaller steps must agree with what is not certain, from a step of 1 downwards."""
SURE = 1e-8
"""How exact the first steps must be, of the largest derivative, for no others to be tried."""
BAND = 10.0
"""Elements that need steps more than 2**10 apart are moved one after the other."""
EPS = float(np.finfo(np.float64).eps)
HIDDEN = 4e-6
"""How much rounding f may have, of its value, that its dtype does not tell: float32 inside."""


class Slope(NamedTuple):
    """The derivatives of the elements of one output along a direction.

    `error` says how far off `value` may be; `jump` how far the derivatives from the left and from
    the right are apart, which is rounding where f is smooth.
    """

    value: Array
    error: Array
    jump: Array

    @property
    def slack(self) -> Array:
        """How far a right derivative may be from `value`: at a kink, any between left and right.

        And a little further, as the kink may be close by.
        """
        return 2 * self.error + 0.51 * self.jump


def along(
    f: Callable[..., Any],
    xs: Sequence[Array],
    vs: Sequence[Array],
    noise: float = 0.0,
    finest: float = 0.0,
    zero: Sequence[Array] | None = None,
    enough: float = 0.0,
) -> list[Slope]:
    """Return the derivative of every output of `f`, at the arrays `xs`, along `vs`.

    `f` gets new arrays each time. A step at which it raises or is not finite is passed over. The
    outputs are taken to be off by their rounding, and by `noise` at least; no step is smaller than
    `finest`, for arguments that are known to so many digits: kinks that close are at them. `zero`
    are the outputs at `xs`, if they are known; what is exact to `enough` is left at that.
    ValueError if it is not finite at `xs` itself, or at no step on both sides.
    """
    found = [_Line(f, xs, some, noise, finest, zero).slopes(enough) for some in _bands(xs, vs)]
    return [
        Slope(*[np.sum(parts, axis=0) for parts in zip(*of_one, strict=True)])
        for of_one in zip(*found, strict=True)
    ]


def is_along(
    f: Callable[..., Any],
    xs: Sequence[Array],
    vs: Sequence[Array],
    expected: float,
    close: float,
    finest: float = 0.0,
    zero: Sequence[Array] | None = None,
) -> bool:
    """Whether one small step says already that the derivative of a number along `vs` is `expected`.

    To `close`, and that there is no kink. It takes two runs of `f`; False says nothing.
    """
    bands = list(_bands(xs, vs))
    if len(bands) > 1:
        return False
    return _Line(f, xs, bands[0], 0.0, finest, zero).gives(expected, close)


def repeatable(run: Callable[[], Sequence[Any]], who: str) -> list[Array]:
    """Return the outputs of a function that is run twice; ValueError if they are not the same."""
    first, again = ([np.asarray(value_of(y)) for y in run()] for _ in range(2))
    if len(first) != len(again):
        raise ValueError(f"{who} gives {len(first)} outputs and then {len(again)}")
    for a, b in zip(first, again, strict=True):
        if a.shape != b.shape or not np.allclose(a, b, rtol=1e-9, atol=0, equal_nan=True):
            one = a.size == b.size == 1
            was = f"{a.item():.10g} and then {b.item():.10g}" if one else "other numbers"
            raise ValueError(
                f"{who} gives {was} when it is run again, so differences of it say nothing; draw "
                "random numbers outside, or make their generator from a seed inside, as in "
                "rng = np.random.default_rng(0), and keep no state"
            )
    return first


def _bands(xs: Sequence[Array], vs: Sequence[Array]) -> Iterator[list[Array]]:
    """Yield the parts of a direction that suit the same steps: what moves 1.0 leaves 1e17."""
    with np.errstate(divide="ignore"):
        reach = [np.log2(np.fmax(1, abs(x)) / abs(v)) for x, v in zip(xs, vs, strict=True)]
    least = min([float(np.min(r, initial=np.inf)) for r in reach], default=np.inf)
    with np.errstate(invalid="ignore"):
        bands = [np.where(r < np.inf, (r - least) // BAND, 0) for r in reach]  # inf stays
    for band in sorted({0.0}.union(*[b.ravel().tolist() for b in bands])):
        yield [np.where(b == band, v, 0.0) for b, v in zip(bands, vs, strict=True)]


class _Line:
    """`f` on the line x + t v, with all its outputs in one vector."""

    def __init__(
        self,
        f: Callable[..., Any],
        xs: Sequence[Array],
        vs: Sequence[Array],
        noise: float,
        finest: float,
        zero: Sequence[Array] | None,
    ) -> None:
        self.f, self.xs, self.vs, self.noise, self.finest = f, xs, vs, noise, finest
        outputs = self._outputs(0.0) if zero is None else zero
        self.shapes = [y.shape for y in outputs]
        self.ends = np.cumsum([y.size for y in outputs])[:-1]
        self.zero = _flat(outputs)
        if not np.isfinite(self.zero).all():
            raise ValueError(
                "central differences: f gives nan or infinity at the arguments themselves, where "
                "it has no derivative; choose arguments inside its domain"
            )
        dtypes = [y.dtype if y.dtype.kind == "f" else np.dtype(np.float64) for y in outputs]
        eps = [max(float(np.finfo(dtype).eps), EPS) for dtype in dtypes]
        self.eps = np.repeat(eps, [y.size for y in outputs])
        x, v = abs(_flat(xs)), abs(_flat(vs))
        moves = (v > 0) & (x < np.inf)  # neither infinity nor nan is changed by a step
        x, v = x[moves], v[moves]
        self.unit = float(np.min(np.maximum(1, x) / v, initial=np.inf))
        self.least = float(np.min((x / v)[x > 0], initial=np.inf))
        self.largest = float(np.max(x, initial=1))
        self.width = float(np.max(x / v, initial=0))

    def gives(self, expected: float, close: float) -> bool:
        """Whether one small step gives what is expected of the first output, and shows no kink."""
        if not (self.zero.size and self.unit < np.inf):
            return expected == 0
        t = self.unit * max(RATIO**-GLANCE, self.finest)
        with np.errstate(all="ignore"):
            up, zero, down = (float(y[0]) for y in (self._at(t), self.zero, self._at(-t)))
            seen = np.array([up, zero, down])
            if np.array_equal(seen, seen.astype(np.float32)) and not up == zero == down:
                return False  # computed in float32, and rounded as that
            value, jump = (up - down) / (2 * t), abs(up - 2 * zero + down) / t
            off = 4 * float(self.eps[0]) * max(abs(up), abs(down)) / t
            off += EPS * self.width / t * abs(value)
            return abs(value - expected) + off <= close and jump / 2 + off <= close / 2

    def slopes(self, enough: float) -> list[Slope]:
        """Return the derivative of every output."""
        best = Slope(*np.zeros((3, self.zero.size)))
        if self.zero.size and self.unit < np.inf:  # else nothing comes out, or nothing moves
            with np.errstate(all="ignore"):
                best = self._best(enough)
        if not np.isfinite(best.error).all():
            raise ValueError(
                "central differences: f is not finite on both sides of the arguments, however "
                "small the step; choose arguments inside its domain, and not at the edge of it"
            )
        columns = zip(*[np.split(a, self.ends) for a in best], self.shapes, strict=True)
        return [Slope(*[a.reshape(shape) for a in parts]) for *parts, shape in columns]

    def _best(self, enough: float) -> Slope:
        """Return what the first steps give, and where that is not exact, the best of all steps."""
        if enough:
            first = Slope(*[a[0] for a in self._rungs(FIRST, np.arange(self.zero.size))[:3]])
            if np.all(first.error <= enough) and np.isfinite(first.error).all():
                return first
        value, error, jump, *_ = (a[0] for a in self._rungs(QUICK, np.arange(self.zero.size)))
        largest = [np.full(d.shape, np.max(abs(d), initial=0)) for d in np.split(value, self.ends)]
        exact = error <= SURE * _flat(largest)
        constant = (value == 0) & ~exact
        if constant.any():
            constant &= (self._at(self.unit) == self.zero) & (self._at(-self.unit) == self.zero)
            rounding = (4 * self.eps * abs(self.zero) + self.noise) * self.largest / self.unit
            error[constant] = rounding[constant]
        (rough,) = np.nonzero(~(exact | constant))
        if rough.size:
            for a, better in zip((value, error, jump), self._chosen(rough), strict=True):
                a[rough] = better
        return Slope(value, error, jump)

    def _chosen(self, which: Array) -> list[Array]:
        """Return what the best step gives: with the least error for its size, else the least error.

        What a smaller step contradicts, such as the slope along a staircase, is passed over; and so
        is a kink that only larger steps meet, for it is somewhere else.
        """
        if self.finest:
            last = max(QUICK.start, int(-math.log(self.finest, RATIO)))
            found = self._rungs(LADDER[: last + 1], which)
        else:
            found = self._rungs(LADDER, which)
        last = int(math.log(max(1, self.unit / self.least), RATIO)) + DEEPER
        if last > LADDER.stop and not self.finest:
            more = self._rungs(range(max(LADDER.stop - 2, last - 2 * DEEPER), last), which)
            found = [np.concatenate(pair) for pair in zip(found, more, strict=True)]
        value, error, jump, size, rounding = found
        slack = error + HIDDEN * size
        low = np.fmax.accumulate((value - slack)[::-1])[::-1]  # what smaller steps allow
        high = np.fmin.accumulate((value + slack)[::-1])[::-1]
        slack = error + jump / 2
        error[~((low <= value + slack) & (value - slack <= high))] = np.inf
        unsure = 4 * rounding + HIDDEN * size
        seen = np.fmin.accumulate((jump + unsure)[::-1])[::-1]  # of a kink, by smaller steps
        error[jump > 2 * seen + unsure] = np.inf
        certain = error < 0.1 * abs(value)
        relative = np.where(certain, error / abs(value), 1.0)
        doubts = DOUBTS + int(math.log(self.largest, RATIO))
        for k in range(1, min(doubts, len(value))):  # of a bounded f, those of large steps are 0
            gap = np.where(certain, 0, abs(value - np.roll(value, -k, 0)))[:-k]
            error[:-k] = np.fmax(error[:-k], gap - 4 * rounding[k:])
        step = np.lexsort((error, relative), axis=0)[:1]
        return [np.take_along_axis(a, step, 0)[0] for a in (value, error, jump)]

    def _rungs(self, powers: range, which: Array) -> list[Array]:
        """Return what steps of these powers give: a row for every three that follow each other.

        Of two, one row, in which the error is how far the smaller step is from their extrapolation.
        Value, error and jump, as those of a `Slope`; |f| / t, and how much of that is rounding.
        """
        r, ts = RATIO, self.unit * RATIO ** -np.array(powers, np.float64)[:, None]
        up, down = (
            np.stack([self._at(float(t))[which] for t in sign * ts[:, 0]]) for sign in (1, -1)
        )
        zero = self.zero[which]
        plain, even = (up - down) / (2 * ts), (up - 2 * zero + down) / ts
        odd = (r**2 * plain[1:] - plain[:-1]) / (r**2 - 1)  # D, off by t^4
        even = (r * even[1:] - even[:-1]) / (r - 1)  # the jump, off by t^3
        apart = abs(odd - plain[1:])
        if len(odd) > 1:
            even = (r**3 * even[1:] - even[:-1]) / (r**3 - 1)  # by t^5
            apart = abs(odd[1:] - odd[:-1])
            apart = np.maximum(apart, np.concatenate([apart[1:], apart[-1:]]))
        seen = np.stack([zero, *up, *down])
        single = np.all((seen == seen.astype(np.float32)) | np.isnan(seen), axis=0)
        single &= np.any((seen != zero) & ~np.isnan(seen), axis=0)
        eps = np.where(single, np.finfo(np.float32).eps, 0)  # in float64 hardly any would be
        ts, odd, up, down = (a[-len(apart) :] for a in (ts, odd, up, down))
        size = np.maximum(abs(up), abs(down)) / ts
        rounding = 4 * np.maximum(eps, self.eps[which]) * size + self.noise / ts
        moved = EPS * self.width / ts * abs(odd)  # by the rounding of x + t v
        return [odd, apart + rounding + moved, abs(even), size, rounding]

    def _at(self, t: float) -> Array:
        try:
            outputs = self._outputs(t)
        except Exception:
            outputs = []
        same = [y.shape for y in outputs] == self.shapes
        return _flat(outputs) if same else np.full(self.zero.shape, np.nan)

    def _outputs(self, t: float) -> list[Array]:
        moved = [np.array(x + t * v) for x, v in zip(self.xs, self.vs, strict=True)]
        leaves = tree.flatten(self.f(*moved))[0]
        return [plain(value_of(y), "central differences: f", "gives") for y in leaves]


def _flat(arrays: Sequence[Array]) -> Array:
    return np.concatenate([np.zeros(0), *[a.ravel().astype(np.float64) for a in arrays]])
