"""One entry of a report: how far apart two gradients are, and where they are worst.

With m and a the manual and the automatic gradient of one entry,

    error      |m - a|, element by element
    scale      max(|m|, |a|) over the whole entry
    max rel    the largest error / scale: 0 for equal, 1 for a gradient left out, 2 for a wrong sign
    cosine     <m, a> / (|m| |a|): 1 for equal directions, whatever their lengths

The scale is the entry's and not the element's: where terms cancel, an element keeps the rounding
error of its terms, and its own relative error says nothing. Nor is it the report's: an entry of
1e-12 must agree to as many digits as one of 1, and all zeros against 1e-300 differ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from ..core.dtypes import TOLERANCE, Array

__all__ = ["HEAD", "LEFT", "TOLERANCE", "Array", "Row", "Verdict", "rank", "row_of", "size"]

Verdict: TypeAlias = Literal["ok", "differs", "missing", "extra", "shape", "non-finite"]
"""What is said of an entry: see `compare`."""

HEAD: tuple[str, ...] = ("entry", "shape", "max abs", "max rel", "worst at")
HEAD += ("manual", "automatic", "cosine", "verdict")
LEFT = (0, 1, 4, 8)  # columns of text; numbers stand to the right


@dataclass(frozen=True, slots=True)
class Row:
    """One entry of a report. What has no meaning for the verdict is nan, or None for the index.

    `shape` is that of the automatic gradient where there is one; `manual` and `automatic` are the
    values at `worst_at`; `rtol` is the tolerance that `max_rel` was held to.
    """

    name: str
    shape: tuple[int, ...]
    verdict: Verdict
    max_abs: float = math.nan
    max_rel: float = math.nan
    worst_at: tuple[int, ...] | None = None
    manual: float = math.nan
    automatic: float = math.nan
    cosine: float = math.nan
    rtol: float = math.nan
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether the entry is there on both sides and agrees."""
        return self.verdict == "ok"

    @property
    def comparable(self) -> bool:
        """Whether there are two arrays of one shape and of finite numbers."""
        return self.verdict in ("ok", "differs")

    def noted(self, note: str) -> Row:
        """Return the row with one more note."""
        return replace(self, note="; ".join(filter(None, [self.note, note])))

    def cells(self) -> list[str]:
        """The row as text, in the columns of the table."""
        m, a, digits = self.manual, self.automatic, 8
        while not self.ok and m != a and digits < 17 and f"{m:.{digits}g}" == f"{a:.{digits}g}":
            digits += 1  # as many as it takes to see the difference
        errors = ["-" if math.isnan(x) else f"{x:.2g}" for x in (self.max_abs, self.max_rel)]
        values = ["-" if self.worst_at is None else f"{x:.{digits}g}" for x in (m, a)]
        return [
            self.name if self.name.isprintable() else repr(self.name),
            str(self.shape),
            *errors,
            str(list(self.worst_at)) if self.worst_at else "-",
            *values,
            "-" if math.isnan(self.cosine) else f"{self.cosine:.6g}",
            f"{self.verdict}: {self.note}" if self.note else self.verdict,
        ]


def rank(row: Row) -> tuple[bool, float, str]:
    """Return the key that orders rows, the worst first."""
    excess = row.max_rel / (row.rtol or 1.0)
    return row.ok, -math.inf if math.isnan(excess) else -excess, row.name


def row_of(name: str, m: Array, a: Array, rtol: float | None, largest: float) -> Row:
    """Return one entry compared; `largest` is the largest element of all automatic gradients."""
    if m.shape != a.shape:
        hint = ": transposed?" if m.shape == a.shape[::-1] else ""
        return Row(name, a.shape, "shape", note=f"got {m.shape}, expected {a.shape}{hint}")
    shape, width = a.shape, min(m.itemsize, a.itemsize, 8)
    limit = TOLERANCE[width] if rtol is None else float(rtol)
    if not a.size:
        return Row(name, shape, "ok", 0.0, 0.0, rtol=limit)
    wide = np.result_type(m, a, np.float64)
    m, a = m.ravel().astype(wide), a.ravel().astype(wide)
    broken = np.flatnonzero(~(np.isfinite(m) & np.isfinite(a)))
    verdict: Verdict = "non-finite"
    note = f"{broken.size} of {m.size} elements"
    if broken.size:
        k, max_abs, max_rel, cosine = int(broken[0]), math.nan, math.nan, math.nan
    else:
        dtype, scale = np.finfo(f"f{width}"), max(size(m), size(a))
        eps, tiny = float(dtype.eps), float(dtype.smallest_normal)
        with np.errstate(over="ignore", under="ignore"):
            error, cosine = abs(m - a), _cosine(m, a)
            k = int(error.argmax())
            # subnormal numbers have few digits: 8 of the smallest are within the dtype's tolerance
            max_abs, max_rel = error[k], error[k] / max(scale, 8 * eps * tiny / TOLERANCE[width])
        verdict, note = "ok" if max_rel <= limit else "differs", ""
        # a bias before a batch norm, the bias of an attention's keys: measured up to 3 eps
        if verdict == "differs" and scale <= 16 * eps * largest:
            note = "zero but for rounding, beside the largest entry?"
        elif verdict == "differs" and width < 8 and rtol is None and max_rel < 0.1:
            note = "rounding? repeat in float64"
        elif verdict == "differs":
            with np.errstate(all="ignore"):
                note = _pattern(m, a, error > limit * scale, shape, max(1e-9, 10 * eps))
    at = tuple(map(int, np.unravel_index(k, shape)))
    numbers = float(m[k]), float(a[k]), cosine, limit
    return Row(name, shape, verdict, float(max_abs), float(max_rel), at, *numbers, note)


def _pattern(m: Array, a: Array, wrong: Array, shape: tuple[int, ...], close: float) -> str:
    """Return what the wrong elements have in common: a factor, or a place."""
    if not m.any():
        return "all zero"
    k = int(abs(a).argmax())
    factor = float(m[k] / a[k]) if a[k] else 0.0
    if m.size > 1 and 0 < abs(factor) < math.inf and size(m - factor * a) <= close * size(m):
        return f"{factor:.6g} times the automatic"
    places = []
    for axis, n in enumerate(shape):
        others = tuple([k for k in range(len(shape)) if k != axis])
        hit = np.flatnonzero(wrong.reshape(shape).any(axis=others))
        lo, hi = int(hit[0]), int(hit[-1]) + 1
        if hi - lo == n or hi - lo > len(hit):
            continue
        block = n % (hi - lo) == 0 and lo % (hi - lo) == 0 and hi - lo > 1
        which = f"{lo}:{hi}" if hi - lo > 1 else f"{lo}"
        of = f", block {lo // (hi - lo)} of {n // (hi - lo)}" if block else ""
        places.append(f"at {which} of axis {axis}{of}")
    return f"only {' and '.join(places)}" if places else ""


def size(x: Array) -> float:
    """Return the largest absolute value, 0 if there is none."""
    return float(abs(x).max(initial=0))


def _cosine(m: Array, a: Array) -> float:
    if not (m.any() and a.any()):
        return math.nan
    m, a = m / size(m), a / size(a)  # so that no square overflows or vanishes
    return float(np.clip((m * a).sum() / np.sqrt((m * m).sum() * (a * a).sum()), -1, 1))
