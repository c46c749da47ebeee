"""The memory behind an array that was written to: which tensors its elements came from.

A `Memory` holds the values, and for every element which write gave it, and the place in what was
written. Reading gives back the very tensor that was written, if it was written whole, and else puts
one together from operations that exist: `stack`, `concatenate`, `where`, a gather. So derivatives
of every order are those of the operations, nothing is copied for a write, and what the tape
recorded never changes.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from ..core.dtypes import Array
from ..core.tensor import OPS, Tensor, op

__all__ = ["Memory", "shaped"]

_read: Any = OPS[operator.getitem]
CONSTANT = -1
"""The number of the write that gave an element, where that was no tensor."""


class Memory:
    """The values of an array that was written to, and where they came from.

    `node` is the tensor of the whole as it was at `node_version`. Where there are `writes`, `owner`
    says of every element which of them gave it, and `place` where in that it stands; else all of it
    is `node`. Both have the shape and the order in memory of `array`, so what makes a view of
    one makes that of the others.
    """

    __slots__ = (
        "array", "is_live", "node", "node_version", "owner", "place", "version", "writes",
    )  # fmt: skip

    def __init__(self, node: Tensor) -> None:
        self.array = node.value.copy(order="K")
        self.is_live, self.version = node.live, 0
        self.owner: Any = None
        self.place: Any = None
        self.node, self.node_version = node, 0
        self.writes: list[Tensor] = []

    def replace(self, t: Tensor) -> None:
        """Let a tensor of this shape be all of it."""
        self.array[...] = t.value
        self.version += 1
        self.is_live = True
        self.node, self.node_version, self.writes = t, self.version, []

    def split(self) -> None:
        """Tell the elements apart from now on."""
        if self.owner is None:
            self.owner = np.empty_like(self.array, dtype=np.int32)
            self.place = np.empty_like(self.array, dtype=np.int64)
        self.owner[...] = 0 if self.node.live else CONSTANT
        self.place[...] = np.arange(self.array.size).reshape(self.array.shape)
        self.writes = [self.node]

    def write(self, owner: Array, place: Array, index: Any, x: Any) -> None:
        """Note that x, a tensor or a constant, was written at an index of a view."""
        if not isinstance(x, Tensor) or not x.live:
            owner[index] = CONSTANT
            return
        self.is_live = True
        owner[index] = len(self.writes)
        place[index] = np.arange(x.size).reshape(x.shape) if x.size > 1 else 0
        self.writes.append(x)

    def whole(self) -> Tensor:
        """Return the tensor of all of it."""
        if self.node_version != self.version:
            if self.writes:
                self.node = self.read(self.owner, self.place, self.array)
            else:
                self.node = Tensor(self.array.copy())
            self.node_version = self.version
        return self.node

    def read(self, owner: Array, place: Array, values: Array) -> Any:
        """Return the tensor of the elements of a view."""
        if not owner.size:
            return Tensor(np.array(values))
        first = int(owner[(0,) * owner.ndim])
        if (owner == first).all():
            is_constant = first == CONSTANT
            return Tensor(np.array(values)) if is_constant else _piece(self.writes[first], place)
        used: list[int] = np.unique(owner).tolist()
        for way in (self._masked, self._singly, self._in_slices):
            t = way(owner, place, values, used)
            if t is not None:
                return t
        return self._gathered(owner, place, values, used)

    def _masked(self, owner: Array, place: Array, values: Array, used: list[int]) -> Any:
        """As `x[mask] = 0` leaves it: one tensor, and constants here and there."""
        if len(used) != 2 or used[0] != CONSTANT:
            return None
        t, constant = self.writes[used[1]], owner == CONSTANT
        if t.size != owner.size:
            return None
        if not (constant | (place == np.arange(owner.size).reshape(owner.shape))).all():
            return None
        return op(np.where)(constant, np.array(values), shaped(t, owner.shape))

    def _singly(self, owner: Array, place: Array, values: Array, used: list[int]) -> Any:
        """As `x[i, j] = v` leaves it: every element was written alone."""
        if any(self.writes[k].size != 1 for k in used if k != CONSTANT):
            return None
        flat = values.ravel()
        parts = [
            flat[i] if k == CONSTANT else shaped(self.writes[k], ())
            for i, k in enumerate(owner.ravel().tolist())
        ]
        return shaped(op(np.stack)(parts), owner.shape)

    def _in_slices(self, owner: Array, place: Array, values: Array, used: list[int]) -> Any:
        """As `x[t] = v` and `x[:, a:b] = v` leave it: along one axis, pieces of tensors follow."""
        for axis in range(owner.ndim):
            rows = np.moveaxis(owner, axis, 0)
            row = rows.reshape(len(rows), -1)[:, 0]
            cuts = np.flatnonzero(np.diff(row)) + 1
            owners = row[[0, *cuts]].tolist()
            if not (row == rows.T).all() or sum(k != CONSTANT for k in owners) > len(used):
                continue
            is_each = len(owners) == len(row)
            places, constants = (
                np.moveaxis(x, axis, 0) if is_each else np.split(x, cuts, axis)
                for x in (place, values)
            )
            parts = [
                np.array(constant) if k == CONSTANT else _piece(self.writes[k], at)
                for k, at, constant in zip(owners, places, constants, strict=True)
            ]
            return op(np.stack if is_each else np.concatenate)(parts, axis=axis)
        return None

    def _gathered(self, owner: Array, place: Array, values: Array, used: list[int]) -> Any:
        """Whatever else: all that was written in a row, and the elements picked from it."""
        starts, parts, n = np.zeros(used[-1] + 2, int), list[Any](), 0
        for k in used:
            part = values.ravel().copy() if k == CONSTANT else shaped(self.writes[k], (-1,))
            starts[k + 1] = n
            parts.append(part)
            n += part.size
        inside = np.where(owner == CONSTANT, np.arange(owner.size).reshape(owner.shape), place)
        return _read(op(np.concatenate)(parts), index=starts[owner + 1] + inside)


def _follow(places: Array, start: int) -> bool:
    return bool((places == np.arange(start, start + places.size)).all())


def _piece(t: Tensor, places: Array) -> Any:
    """Return the elements of a tensor at places in its flat memory."""
    if t.size == 1:
        one = shaped(t, ())
        return op(np.broadcast_to)(one, shape=places.shape) if places.shape else one
    flat = places.ravel()
    start = int(flat[0])
    if flat.size == 1:
        at = tuple(map(int, np.unravel_index(start, t.shape)))
        return shaped(_read(t, index=at), places.shape)
    if not _follow(flat, start):
        return _read(shaped(t, (-1,)), index=places.copy())  # the memory's own will change
    if flat.size == t.size:
        return shaped(t, places.shape)
    return shaped(_read(shaped(t, (-1,)), index=slice(start, start + flat.size)), places.shape)


def shaped(t: Any, shape: tuple[int, ...]) -> Any:
    if t.shape == shape or (shape == (-1,) and t.ndim == 1):
        return t
    return t.reshape(shape)
