"""What is made of a long series: windows with what follows them, streams, parts in time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.dtypes import Array, plain, require_plain
from ..core.random import Seed, generator
from ..core.tensor import Tensor
from ..guard.errors import shown
from ..nn.arguments import number, whole
from .loader import Batches, checksum

__all__ = ["Streams", "split", "windows"]


def windows(series: npt.ArrayLike, length: int, horizon: int | None = None) -> tuple[Array, Array]:
    """Return windows (K, length) of a series (N,), and the value that follows each, (K,).

    Of several variables, (N, V), they are (K, length, V) and (K, V). With a `horizon` of H steps,
    what follows is (K, H) or (K, H, V). K = N - length - H + 1, with H = 1 if none is given. Both
    are copies. ValueError for a series that is too short, or holds what is not finite.

    >>> x, y = windows([1.0, 2.0, 3.0, 4.0], 2)
    >>> x.tolist(), y.tolist()
    ([[1.0, 2.0], [2.0, 3.0]], [3.0, 4.0])
    >>> x, y = windows(np.ones((10, 3)), 4, horizon=2)
    >>> x.shape, y.shape
    ((5, 4, 3), (5, 2, 3))
    """
    values, length = (
        plain(series, "windows", "takes"),
        whole("windows", "length", length),
    )
    steps = 1 if horizon is None else whole("windows", "horizon", horizon)
    if values.ndim not in (1, 2):
        raise ValueError(
            f"windows: the series must be (N,), or (N, V) of V variables, not of shape "
            f"{values.shape}"
        )
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        where = ", ".join(map(str, bad[0]))
        raise ValueError(
            f"windows: the series has {len(bad)} value(s) that are not finite, the first at "
            f"position {where} ({values[tuple(bad[0])]}); fill or cut them first"
        )
    if length + steps > len(values):
        what = "a next value" if horizon is None else f"{steps} values after them"
        raise ValueError(
            f"windows: a series of {len(values)} values has no windows of {length} and {what}"
        )
    both = np.lib.stride_tricks.sliding_window_view(values, length + steps, axis=0)
    both = np.moveaxis(both, -1, 1)
    after = both[:, length:] if horizon is not None else both[:, length]
    return both[:, :length].copy(), after.copy()


class Streams(Batches):
    """Chunks (T, B, ...) of long sequences (N, ...), for truncated backpropagation through time.

    A sequence is cut into `batch_size` streams of N // B steps, side by side, and these into chunks
    of `length` steps, the last of which may be shorter: what a stream has in one chunk goes on in
    the next. So the state of a recurrent layer is carried from chunk to chunk, without its graph,
    and `at_start` says where it begins anew. The last N mod B values are left out.

    >>> text = np.arange(10)
    >>> chunks = Streams(text[:-1], text[1:], batch_size=2, length=3)
    >>> for x, y in chunks:
    ...     print(x.T.tolist(), y.T.tolist(), chunks.at_start)
    [[0, 1, 2], [4, 5, 6]] [[1, 2, 3], [5, 6, 7]] True
    [[3], [7]] [[4], [8]] False
    """

    def __init__(self, *sequences: npt.ArrayLike, batch_size: int, length: int) -> None:
        super().__init__()
        self.batch_size = whole(self, "batch_size", batch_size)
        self.length = whole(self, "length", length)
        if not sequences:
            raise TypeError("Streams: give arrays, as in Streams(x, y, batch_size=32, length=50)")
        for s in sequences:
            require_plain(s, "Streams", "takes")
        arrays: list[Any] = [np.asarray(s) for s in sequences]
        for a in arrays:
            if not a.ndim or a.dtype == object:
                raise TypeError(f"Streams: give sequences of numbers, not {shown(a)}")
        lengths = [len(a) for a in arrays]
        if len({*lengths}) > 1:
            raise ValueError(f"Streams: the lengths {lengths} must be equal")
        self._steps = lengths[0] // self.batch_size
        if not self._steps:
            raise ValueError(
                f"Streams: {lengths[0]} steps are too few for {self.batch_size} streams"
            )
        n = self._steps * self.batch_size
        self._streams = [a[:n].reshape(self.batch_size, self._steps, *a.shape[1:]) for a in arrays]

    @property
    def at_start(self) -> bool:
        """Whether the chunk given last, or the next one if there is none, is an epoch's first."""
        return self.position <= 1

    def __len__(self) -> int:
        """Return the number of chunks of an epoch."""
        return -(-self._steps // self.length)

    def _order(self) -> Array:
        return np.arange(self.batch_size)

    def _rows(self, k: int, order: Array) -> Array:
        return order

    def _batch(self, k: int, rows: Array) -> tuple[Array, ...]:
        steps = slice(k * self.length, (k + 1) * self.length)
        return tuple([a[rows, steps].swapaxes(0, 1) for a in self._streams])

    def _count(self, k: int, rows: int) -> int:
        return rows * min(self.length, self._steps - k * self.length)

    def _sample(self) -> list[int]:
        return [checksum(a[:, [0, self._steps // 2, -1]]) for a in self._streams]

    def _described(self) -> dict[str, Any]:
        return {"steps": self._steps, "batch_size": self.batch_size, "length": self.length}


def split(
    *data: npt.ArrayLike | Sequence[Any],
    shares: Sequence[float] = (0.8, 0.1, 0.1),
    rng: Seed = None,
    gap: int = 0,
) -> list[tuple[Any, ...]]:
    """Return the rows of arrays or lists in parts: for training, validation and test.

    Each part is a tuple with a part of each. They follow one another, as in time; with a seed or a
    generator, rows are dealt out at random. `gap` rows are left out between parts that follow one
    another: as many as windows overlap, or the end of the training set is in the validation.
    ValueError unless shares add up to 1 and every part gets a row.

    >>> [part.tolist() for (part,) in split(np.arange(10), shares=(0.5, 0.3, 0.2))]
    [[0, 1, 2, 3, 4], [5, 6, 7], [8, 9]]
    >>> (train,), (test,) = split(np.arange(10), shares=(0.8, 0.2), rng=0)
    >>> len(train), len(test)
    (8, 2)
    """
    if not data:
        raise TypeError("split: give arrays, as in split(x, y)")
    for a in data:
        require_plain(a, "split", "takes")
    given: list[Any] = [a if isinstance(a, (Tensor, list, tuple)) else np.asarray(a) for a in data]
    for a, what in zip(given, data, strict=True):
        if not hasattr(a, "__len__") or not getattr(a, "ndim", 1):
            raise TypeError(f"split: give arrays with rows, not {shown(what)}")
    lengths = [len(a) for a in given]
    if len({*lengths}) > 1:
        raise ValueError(f"split: the lengths {lengths} must be equal")
    parts = [number("split", "shares", share, "(0, 1]") for share in shares]
    if not parts or abs(sum(parts) - 1) > 1e-9:
        raise ValueError(f"split: the shares must add up to 1, not {sum(parts):.6g}")
    gap = whole("split", "gap", gap, 0)
    if gap and rng is not None:
        raise ValueError("split: a gap is between parts in time; leave rng out")
    n = lengths[0]
    order = np.arange(n) if rng is None else generator(rng).permutation(n)
    ends = [0, *[round(n * share) for share in accumulate(parts[:-1])], n]
    rows = [order[ends[k] + gap * (k > 0) : ends[k + 1]] for k in range(len(parts))]
    if not all(map(len, rows)):
        raise ValueError(
            f"split: {n} rows in shares {tuple(parts)} leave parts of {[*map(len, rows)]}; every "
            "part must have a row"
        )
    return [tuple([_taken(a, at) for a in given]) for at in rows]


def _taken(a: Any, rows: Array) -> Any:
    if isinstance(a, (list, tuple)):
        return type(a)([a[k] for k in rows])
    return a[rows]
