"""Batches epoch after epoch, in an order that is saved with a checkpoint and gone on with."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import numpy.typing as npt

from ..core.dtypes import Array, plain, require_plain
from ..core.random import Seed, generator
from ..core.tensor import Tensor, value_of
from ..guard.errors import shown
from ..nn.arguments import flag, whole
from .arrays import padded

__all__ = ["Batches", "DataLoader", "Share", "class_weights"]


class Share(NamedTuple):
    """What one of several processes gets of a batch: its part, None if that has no rows."""

    batch: Any
    rows: int
    of: int


class Batches:
    """Base: what is gone through in batches, in an order that `_order` gives for every epoch.

    `epoch` counts those gone through to the end, `position` the batches given since.
    """

    def __init__(self) -> None:
        self.epoch = self.position = 0
        self._order_of: Any = None  # what the order of this epoch is drawn from
        self._goes_on = False

    def __len__(self) -> int:
        raise NotImplementedError

    def __iter__(self) -> Iterator[Any]:
        return (share.batch for share in self.shares())

    def __repr__(self) -> str:
        said = ", ".join([f"{name}={value}" for name, value in self._described().items()])
        return f"{type(self).__name__}({said})  # {len(self)} batches, epoch {self.epoch + 1}"

    def shares(self, rank: int = 0, ranks: int = 1) -> Iterator[Share]:
        """Yield of every batch the part of process `rank` of so many, and the numbers of rows.

        An epoch that was left early begins anew, unless `load_state_dict` has put it there.
        """
        self.leave()
        if not self._goes_on:
            self._order_of = self._draw()
        self._goes_on = False
        order = self._order()
        for k in range(self.position, len(self)):
            rows = self._rows(k, order)
            own = np.array_split(rows, ranks)[rank]
            batch = self._batch(k, own) if len(own) else None
            self.position = k + 1
            yield Share(batch, self._count(k, len(own)), self._count(k, len(rows)))
        self.epoch += 1
        self.position = 0

    def leave(self) -> None:
        """Forget the place in an epoch that was left early, unless that was loaded."""
        if not self._goes_on:
            self.position, self._order_of = 0, None

    def _draw(self) -> Any:
        """Return what `_order` is drawn from in a new epoch."""

    def _order(self) -> Array:
        """Return the rows in the order of this epoch."""
        raise NotImplementedError

    def _rows(self, k: int, order: Array) -> Array:
        """Return the rows of batch k."""
        raise NotImplementedError

    def _batch(self, k: int, rows: Array) -> Any:
        """Return these rows of batch k."""
        raise NotImplementedError

    def _count(self, k: int, rows: int) -> int:
        """Return how many examples so many rows of batch k are."""
        return rows

    def _described(self) -> dict[str, Any]:
        """Return what must be the same where a state is loaded."""
        raise NotImplementedError

    def _sample(self) -> list[int]:
        """Return checksums of a few rows, which differ for other data."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the data, and the state of the generator that shuffles it."""
        place = {"epoch": self.epoch, "position": self.position, "order": self._order_of}
        return {**self._described(), **place}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned, also inside an epoch, with the batches to come.

        ValueError that lists all that does not fit, with nothing changed.
        """
        who, own = type(self).__name__, self.state_dict()
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"{who}.load_state_dict: takes a dict, not {shown(state_dict)}")
        found = [f"missing {k}" for k in own if k not in state_dict]
        found += [f"unexpected {k}" for k in state_dict if k not in own]
        found += [
            f"{k} is {shown(state_dict[k])}, and here {shown(v)}"
            for k, v in self._described().items()
            if k in state_dict and state_dict[k] != v
        ]
        if found:
            raise ValueError(f"the state does not fit this {who}: {'; '.join(found)}")
        place = whole(who, "position", state_dict["position"], 0)
        epoch = whole(who, "epoch", state_dict["epoch"], 0)
        if place > len(self):
            raise ValueError(
                f"the state does not fit this {who}: it is at batch {place} of {len(self)}"
            )
        self._restore(state_dict)
        self.epoch, self.position, self._order_of = epoch, place, state_dict["order"]
        self._goes_on = place > 0

    def _restore(self, state: Mapping[str, Any]) -> None:
        """Take from a state what is more than a place."""


class DataLoader(Batches):
    """Batches of arrays, lists and sequences: tuples with a part for each, rows side by side.

    Every loop over it is an epoch. With `shuffle` each has an order of its own, from the seed or
    the generator `rng`; with `weights`, one for each row, as many rows are drawn with replacement,
    in proportion to them (`class_weights(y)[y]` draws every class alike). The last batch may be
    smaller; with `drop_last` it is left out.

    A row that is a tuple is one of several parts. With `pad`, a part whose rows are sequences
    becomes two, `padded` and its lengths: `DataLoader(names, y, batch_size=2, pad=True)` gives
    (x, lengths, y). `collate` makes the batches otherwise: it is called with the rows of each part.
    What has a length and rows by number may stand in the place of a list, and is read when needed.

    `state_dict()` holds the place in the epoch: after `load_state_dict` the same batches follow.

    >>> loader = DataLoader([1, 2, 3, 4, 5], batch_size=2, shuffle=True, rng=0)
    >>> len(loader), [x.tolist() for (x,) in loader]
    (3, [[4, 3], [1, 5], [2]])
    """

    def __init__(
        self,
        *data: npt.ArrayLike | Sequence[Any],
        batch_size: int,
        shuffle: bool = False,
        drop_last: bool = False,
        pad: bool = False,
        batch_first: bool = False,
        weights: npt.ArrayLike | None = None,
        collate: Callable[..., Any] | None = None,
        rng: Seed = None,
    ) -> None:
        super().__init__()
        self.batch_size = whole(self, "batch_size", batch_size)
        self.shuffle, self.drop_last = (
            flag(self, "shuffle", shuffle),
            flag(self, "drop_last", drop_last),
        )
        self.pad, self.batch_first = flag(self, "pad", pad), flag(self, "batch_first", batch_first)
        if collate is not None and not callable(collate):
            raise TypeError(f"DataLoader: collate must be a function, not {shown(collate)}")
        if collate is not None and pad:
            raise ValueError("DataLoader: collate makes the whole batch; leave pad=True out")
        self.collate = collate
        if not data:
            raise TypeError("DataLoader: give arrays, as in DataLoader(x, y, batch_size=32)")
        self._columns = [self._column(given) for given in data]
        lengths = [len(column) for column in self._columns]
        if len({*lengths}) > 1:
            raise ValueError(f"DataLoader: the lengths {lengths} must be equal")
        self._n = lengths[0]
        if len(self) == 0:
            last = f" beside the last batch of {self.batch_size}, which is dropped" * self.drop_last
            raise ValueError(f"DataLoader: there are no batches in {self._n} rows{last}")
        self._chances = None if weights is None else self._likely(weights)
        # a generator of its own, so that what else is drawn does not change the order
        own = rng is None and self.shuffle
        self._rng = np.random.default_rng(generator().integers(1 << 63)) if own else generator(rng)
        if self.shuffle:
            return
        if rng is not None or weights is not None:
            what = "weights draws rows" if rng is None else "rng is for an order"
            raise ValueError(f"DataLoader: {what} at random; write shuffle=True")

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        whole_ones, rest = divmod(self._n, self.batch_size)
        return whole_ones + (rest > 0 and not self.drop_last)

    # ---- what is given ---------------------------------------------------------------------------

    def _column(self, given: Any) -> Any:
        """Return what has a length and gives rows by their numbers; TypeError for anything else."""
        if hasattr(given, "__array__"):  # a table too, whose rows are not found by number
            require_plain(given, "DataLoader", "takes")
            given = given if isinstance(given, Tensor) else np.asarray(given)
            if not given.ndim:
                raise TypeError(f"DataLoader: give arrays with rows, not {shown(given)}")
            return self._of_list(list(given)) if given.dtype == object else given
        if not isinstance(given, (str, bytes, Mapping, set)):
            if isinstance(given, (list, tuple)):
                return self._of_list(list(given))
            if hasattr(given, "__getitem__") and hasattr(given, "__len__"):
                return _Rows(given)
        number = "; write batch_size=... by its name" * isinstance(given, int)
        raise TypeError(f"DataLoader: give arrays, or lists of rows, not {shown(given)}{number}")

    def _of_list(self, rows: list[Any]) -> Any:
        kinds = {len(row) if isinstance(row, tuple) else None for row in rows}
        if len(kinds) > 1:
            raise ValueError("DataLoader: all rows must be tuples of one length, or none")
        if self.collate is not None or kinds != {None} or self.pad:
            return _Rows(rows)
        return _array(rows)

    def _likely(self, weights: npt.ArrayLike) -> Array:
        w = plain(weights, "DataLoader: weights", "must hold").astype(np.float64)
        if w.shape != (self._n,):
            raise ValueError(
                f"DataLoader: weights must have shape ({self._n},), one for each row, not "
                f"{w.shape}; of a weight for each class, write weights[labels]"
            )
        if not (np.isfinite(w).all() and (w >= 0).all() and w.any()):
            raise ValueError("DataLoader: weights must be finite, at least 0, and not all 0")
        chances: Array = w / w.sum()
        return chances

    # ---- batches ---------------------------------------------------------------------------------

    def _draw(self) -> int | None:
        return int(self._rng.integers(1 << 63)) if self.shuffle else None

    def _order(self) -> Array:
        if self._order_of is None:
            return np.arange(self._n)
        rng = np.random.default_rng(self._order_of)
        if self._chances is None:
            return rng.permutation(self._n)
        drawn: Array = rng.choice(self._n, self._n, p=self._chances)
        return drawn

    def _rows(self, k: int, order: Array) -> Array:
        rows: Array = order[k * self.batch_size : (k + 1) * self.batch_size]
        return rows

    def _batch(self, k: int, rows: Array) -> Any:
        parts: list[Any] = []
        for column in self._columns:
            found = column[rows]
            parts += found if isinstance(column, _Rows) else [found]
        if self.collate is not None:
            return self.collate(*parts)
        made: list[Any] = []
        for part in parts:
            if not isinstance(part, list):
                made.append(part)
            elif self.pad and np.ndim(part[0]):
                made += padded(part, batch_first=self.batch_first)
            else:
                made.append(_array(part))
        return tuple(made)

    # ---- state -----------------------------------------------------------------------------------

    def _described(self) -> dict[str, Any]:
        names = ("batch_size", "shuffle", "drop_last")
        return {"rows": self._n} | {name: getattr(self, name) for name in names}

    def _sample(self) -> list[int]:
        rows = np.array([0, self._n // 2, self._n - 1])
        return [checksum(column[rows]) for column in self._columns]

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the data, and the state of the generator that shuffles it."""
        random = self._rng.bit_generator.state if self.shuffle else None
        return super().state_dict() | {"generator": random}

    def _restore(self, state: Mapping[str, Any]) -> None:
        if self.shuffle:
            whole(self, "order", state["order"] if state["position"] else 0, 0)
            self._rng.bit_generator.state = state["generator"]


def checksum(rows: Any) -> int:
    """Return a number for an array or a list of rows; 0 for what cannot be compared."""
    if isinstance(rows, (np.ndarray, Tensor)):
        return crc32(np.ascontiguousarray(value_of(rows)).tobytes())
    try:
        return crc32(pickle.dumps(rows))
    except Exception:
        return 0


class _Rows:
    """A list of rows, or what stands for one: gives a list of rows for each part of them."""

    def __init__(self, rows: Any) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, at: Array) -> list[list[Any]]:
        found = [self._rows[int(k)] for k in at]
        if isinstance(found[0], tuple):
            return [list(part) for part in zip(*found, strict=True)]
        return [found]


def _array(rows: list[Any]) -> Array:
    """Return rows of one shape as an array."""
    try:
        made = np.asarray(rows)
    except ValueError:
        made = np.asarray(None)
    if made.dtype == object:
        raise ValueError(
            "DataLoader: the rows have several shapes, or are no numbers; write pad=True for "
            "sequences of several lengths, or collate=... to make batches yourself"
        )
    return made


def class_weights(labels: npt.ArrayLike, classes: int | None = None) -> Array:
    """Return a weight for each class, N / (classes * its number of rows), so that rare ones count.

    `cross_entropy(logits, y, weight=w)` weighs the loss with them, `DataLoader(..., weights=w[y])`
    draws every class alike. ValueError for a class without rows, whose weight would be infinite.

    >>> class_weights([0, 0, 0, 1]).round(3).tolist()
    [0.667, 2.0]
    """
    y = plain(labels, "class_weights", "takes labels,")
    if y.dtype.kind not in "iu" or y.ndim != 1 or not y.size:
        raise TypeError(
            f"class_weights: takes labels (N,), integers from 0, not {y.dtype} of shape {y.shape}"
        )
    n = int(y.max()) + 1 if classes is None else whole("class_weights", "classes", classes)
    if y.min() < 0 or y.max() >= n:
        raise ValueError(
            f"class_weights: labels must lie in 0 .. {n - 1}, not {y.min()}, {y.max()}"
        )
    counts = np.bincount(y, minlength=n)
    if not counts.all():
        raise ValueError(f"class_weights: class {int(counts.argmin())} has no rows")
    weights: Array = y.size / (n * counts)
    return weights
