"""Where the values of a kernel are in memory: pointers, offsets and strides, in elements."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..program import Row, View

__all__ = ["Place", "Slot", "contiguous", "is_layout", "merged"]


@dataclass(eq=False, slots=True)
class Slot:
    """A piece of memory: an array that the kernel is given, or a part of its workspace.

    Parts of the workspace whose contents are not needed at the same time are one: `taken`.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    level: Any = None
    given: bool = False
    taken: Slot | None = None

    @property
    def root(self) -> Slot:
        return self if self.taken is None else self.taken.root

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class Place(NamedTuple):
    """Where an array is: behind a slot's begin, `step` elements further in every round."""

    slot: Slot
    offset: int
    step: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def row(self, row: Row) -> Place:
        s = self.strides[0]
        offset, step = self.offset + row.start * s, self.step + row.step * s
        return Place(self.slot, offset, step, self.shape[1:], self.strides[1:])

    def cut(self, axis: int, start: int, stop: int, stride: int = 1) -> Place:
        """Return the place of what lies between `start` and `stop` along an axis."""
        shape, strides = [*self.shape], [*self.strides]
        offset = self.offset + start * strides[axis]
        shape[axis] = len(range(start, stop, stride))
        strides[axis] *= stride
        return self._replace(offset=offset, shape=tuple(shape), strides=tuple(strides))

    def turned(self, axes: tuple[int, ...]) -> Place:
        shape, strides = [tuple([t[k] for k in axes]) for t in (self.shape, self.strides)]
        return self._replace(shape=shape, strides=strides)

    def seen(self, view: View) -> Place:
        """Return the place of what a view shows of the value that is here."""
        place = self if view.row is None else self.row(view.row)
        if view.columns is not None:
            place = place.cut(len(place.shape) - 1, *view.columns)
        return place.turned((1, 0)) if view.turned else place

    def spread(self, shape: tuple[int, ...]) -> Place:
        """Return the place of the array broadcast to a shape; repeated by strides of 0."""
        new = len(shape) - len(self.shape)
        strides = [0] * new + [
            0 if a == 1 and b != 1 else s
            for a, b, s in zip(self.shape, shape[new:], self.strides, strict=True)
        ]
        return self._replace(shape=shape, strides=tuple(strides))

    def reshaped(self, shape: tuple[int, ...]) -> Place | None:
        """Return the place of the array in another shape; None if that needs a copy."""
        axes = merged(self.shape, (self.strides,))
        strides: list[int] = []
        n, s = 1, 0
        for d in reversed(shape):
            if n == 1 and axes:
                n, (s,) = axes.pop()
            if d == 1:
                strides.append(s)
                continue
            if n % d:
                return None
            strides.append(s)
            n, s = n // d, s * d
        if n != 1 or axes:
            return None
        return self._replace(shape=shape, strides=tuple(strides[::-1]))


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides of an array whose rows follow each other."""
    return tuple([math.prod(shape[k + 1 :]) for k in range(len(shape))])


def merged(
    shape: tuple[int, ...], strides: tuple[tuple[int, ...], ...]
) -> list[tuple[int, tuple[int, ...]]]:
    """Return lengths of axes, with the strides of several arrays, in as few axes as they allow.

    Axes of length 1 are left out; two are one if in every array the first continues the second.
    """
    axes: list[tuple[int, tuple[int, ...]]] = []
    for k, n in enumerate(shape):
        if n == 1:
            continue
        here = tuple([s[k] for s in strides])
        if axes and all(a == b * n for a, b in zip(axes[-1][1], here, strict=True)):
            axes[-1] = axes[-1][0] * n, here
        else:
            axes.append((n, here))
    return axes


def is_layout(strides: tuple[int, ...], shape: tuple[int, ...], as_result: bool = False) -> bool:
    """Whether BLAS can take a matrix as it lies in memory."""
    (down, right), (rows, columns) = strides, shape
    plain = (columns == 1 or right == 1) and (rows == 1 or down >= columns)
    turned = (rows == 1 or down == 1) and (columns == 1 or right >= rows)
    return plain or (turned and not as_result)
