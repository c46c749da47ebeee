"""Which part of which constant an array is, read from its memory: `x[3]`, `x[::-1]`, `x[:, None]`.

What is taken out of a constant is not recorded, so no graph says where it came from. But it is a
view, which has the address and the strides that tell.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from ..core.tensor import named

__all__ = ["named_part", "row"]


def named_part(x: Any) -> str | None:
    """Return what an array is a part of, if that is a constant with a name.

    >>> import minigrad as mg
    >>> x = mg.tensor(np.zeros((6, 4)), name="x")
    >>> [named_part(y.data) for y in (x[2], x[::-1], x[::-1][0, 1:], x[:, None], x.T, x + 1)]
    ['x[2]', 'x[::-1]', 'x[5, 1:]', 'x[:, None]', 'x[…]', None]
    """
    base = getattr(x, "base", None)
    name = named(base)
    return None if name is None else name + _index(x, base)


def row(x: Any) -> int | None:
    """Return the t for which an array is `base[t]`, if it is a row of another one."""
    base = getattr(x, "base", None)
    if not isinstance(base, np.ndarray) or base.shape[1:] != x.shape or not base.strides[0]:
        return None
    t, rest = divmod(_address(x) - _address(base), base.strides[0])
    return t if not rest and base.strides[1:] == x.strides else None


def _address(x: Any) -> int:
    return int(x.__array_interface__["data"][0])


def _index(x: Any, base: Any) -> str:
    """Return an index by which `x` is taken out of `base`, its owner, if there is a simple one."""
    left, starts = _address(x) - _address(base), []
    for stride in base.strides:
        start, left = divmod(left, stride) if stride else (0, 1)
        starts.append(start)
    axes = [*zip(x.shape, x.strides, strict=True)]
    new = [k for k, (n, _) in enumerate(axes) if n == 1][: max(0, x.ndim - base.ndim)]
    kept = [axis for k, axis in enumerate(axes) if k not in new]
    for places in itertools.combinations(range(base.ndim), len(kept)) if not left else ():
        words = [str(start) for start in starts]
        for k, (n, stride) in zip(places, kept, strict=True):
            step, rest = divmod(stride, base.strides[k]) if n > 1 else (1, 0)
            last = starts[k] + (n - 1) * step
            if rest or not step or not 0 <= last < base.shape[k]:
                break
            words[k] = _slice(starts[k], last, step, base.shape[k])
        else:
            for k in new:
                words.insert(k, "None")
            while words and words[-1] == ":":
                words.pop()
            return f"[{', '.join(words)}]" if words else ""
    return "[…]"


def _slice(start: int, last: int, step: int, length: int) -> str:
    """Return the slice from the place `start` to `last`, as short as it can be written."""
    if step < 0:
        first = "" if start == length - 1 else str(start)
        return f"{first}:{'' if last + step < 0 else last - 1}:{step}"
    end = "" if last + step >= length else str(last + 1)
    return f"{start or ''}:{end}" + ("" if step == 1 else f":{step}")
