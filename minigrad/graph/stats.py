"""Statistics of values and gradients, node by node: a few numbers of each array, never the array.

Values stand on the tape. Gradients are those of the outputs that the graph was read from; a
backward pass is run for them, in which every cotangent is measured as it arrives, those of
intermediate results too. No `.grad` is changed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..core import tape, tree
from ..core.context import Observer
from ..core.dtypes import Array
from ..core.tape import Outputs
from ..core.tensor import ArrayLike, cotangent_for, value_of
from .graph import Graph
from .times import Times, times_of

__all__ = ["Cotangents", "Histogram", "Measured", "Stats", "histogram", "measure", "measure_all"]

SAMPLE, BINS = 4096, 20
AT_ONCE = 2**18  # elements that are measured together
Cotangents: TypeAlias = "ArrayLike | Sequence[Cotangents] | Mapping[Any, Cotangents] | None"
"""Cotangents in a container like that of the outputs; of one element, None stands for 1."""


class Stats(NamedTuple):
    """What is kept of an array; rms, min and max are those of its finite elements."""

    size: int
    rms: float  # nan if there is no finite element
    min: float
    max: float
    zeros: int
    bad: int  # elements that are not finite

    @property
    def is_zero(self) -> bool:
        """Whether every element is zero."""
        return 0 < self.size == self.zeros


class Histogram(NamedTuple):
    """Counts in bins of equal width from `low` to `high`, of the finite elements of an array."""

    low: float
    high: float
    counts: list[int]


def measure(value: ArrayLike | Outputs) -> Stats:
    """Return the statistics of an array, a number, or the several outputs of a primitive.

    >>> measure(np.array([0.0, 0.0, 3.0, 3.0, np.nan]))._replace(rms=None)
    Stats(size=5, rms=None, min=0.0, max=3.0, zeros=2, bad=1)
    >>> round(measure(np.array([0.0, 3.0, -4.0])).rms, 4)
    2.8868
    """
    x = _floats(value)
    size = x.size
    if size == 1:
        number = float(x.item())
        if math.isfinite(number):
            return Stats(1, abs(number), number, number, int(number == 0), 0)
    elif size:
        low, high = float(x.min()), float(x.max())  # nan if there is one
        if math.isfinite(low) and math.isfinite(high):
            return Stats(size, _rms(x, low, high), low, high, size - int(np.count_nonzero(x)), 0)
    finite = x[np.isfinite(x)]
    if not finite.size:
        return Stats(size, math.nan, math.nan, math.nan, 0, size)
    return measure(finite)._replace(size=size, bad=size - finite.size)


def measure_all(values: Sequence[Any]) -> list[Stats]:
    """Return the statistics of many arrays; those of one small shape are looked at together."""
    found: dict[int, Stats] = {}
    alike: dict[Any, list[int]] = {}
    for k, x in enumerate(values):
        is_float = type(x) is np.ndarray and x.dtype.kind == "f" and x.dtype.itemsize > 2
        if is_float and 0 < x.size <= SAMPLE:
            alike.setdefault((x.size, x.dtype), []).append(k)
        else:
            found[k] = measure(x)
    for (size, _), numbers in alike.items():
        at_once = AT_ONCE // size
        for start in range(0, len(numbers), at_once):
            some = numbers[start : start + at_once]
            for k, stats in zip(some, _of_rows([values[k] for k in some]), strict=True):
                found[k] = measure(values[k]) if stats is None else stats
    return [found[k] for k in range(len(values))]


def _of_rows(values: Sequence[Any]) -> list[Stats | None]:
    """Return the statistics of arrays of one size; None where squares are not to be trusted."""
    size = values[0].size
    x = np.concatenate([value.reshape(-1) for value in values]).reshape(len(values), size)
    low, high = x.min(axis=1), x.max(axis=1)
    top = np.maximum(-low, high)  # nan if there is one
    rms = top if size == 1 else np.sqrt(np.einsum("ij,ij->i", x, x).astype(np.float64) / size)
    plain = (top == 0) | ((top > 1e-15) & (top < 1e15))
    zeros = size - np.count_nonzero(x, axis=1)
    columns = [column.tolist() for column in (plain, rms, low, high, zeros)]
    rows = zip(*columns, strict=True)
    return [Stats(size, r, a, b, z, 0) if ok else None for ok, r, a, b, z in rows]


def histogram(value: ArrayLike | Outputs) -> Histogram | None:
    """Return counts of the elements, or of an even sample of many; None if none is finite."""
    x = _floats(value).ravel()
    x = x[:: -(-x.size // SAMPLE) or 1]
    x = x[np.isfinite(x)].astype(np.float64)
    if not x.size:
        return None
    low, high = float(x.min()), float(x.max())
    scale = high / 2 - low / 2  # half the width, which may be too large for a float
    places = ((x / 2 - low / 2) / (scale or 1.0) * BINS).astype(np.intp).clip(0, BINS - 1)
    return Histogram(low, high, np.bincount(places, minlength=BINS).tolist())


class Measured:
    """The statistics of every node of a graph, by number: of its value, and of its gradient.

    `grads`: True for the gradients of outputs of one element each, or their cotangents, in a
    container like that of the outputs; False for none. None takes them if a backward pass has
    reached a leaf of the graph before, for who wants to see gradients has computed some. `grads`
    is then None where they are not computed, which is not zero; a node has None where no gradient
    flows, as a constant. ValueError where a cotangent is missing or has another shape. `time` takes
    the time of every node as well, backward where there are gradients.
    """

    def __init__(
        self,
        graph: Graph,
        grads: bool | Cotangents = None,
        histograms: bool = False,
        time: bool = False,
    ) -> None:
        with np.errstate(all="ignore"):
            self.values = measure_all([node.value for node in graph.nodes])
            self.grads: list[Stats | None] | None = None
            self.histograms: list[Histogram | None] | None = None
            self.grad_histograms: list[Histogram | None] | None = None
            if histograms:
                self.histograms = [histogram(node.value) for node in graph.nodes]
            cotangents = _cotangents(graph, grads)
            self.times: list[Times] | None = times_of(graph, cotangents) if time else None
            if cotangents is None:
                return
            keep = _Keep(histograms)
            path, _ = tape.between(None, graph.tensors)
            tape.pull(path, graph.tensors, cotangents, watch=keep)
            keep.measure()
        self.grads = [keep.stats.get(node.tensor) for node in graph.nodes]
        if histograms:
            self.grad_histograms = [keep.histograms.get(node.tensor) for node in graph.nodes]


class _Keep(Observer):
    """Measures the cotangents of nodes, some small ones together, and lets them go."""

    def __init__(self, histograms: bool) -> None:
        self.stats, self.histograms = dict[Any, Stats](), dict[Any, Histogram | None]()
        self.wanted = histograms
        self._waiting, self._size = dict[Any, Any](), 0

    def at(self, node: Any, g: Any) -> AbstractContextManager[None]:
        if type(g) is np.ndarray and g.size <= SAMPLE:
            self._waiting[node] = g.copy()  # for rules may write over it
            self._size += g.size
            if self._size > AT_ONCE:
                self.measure()
        else:
            self.stats[node] = measure(g)
        if self.wanted:
            self.histograms[node] = histogram(g)
        return nullcontext()

    def measure(self) -> None:
        """Measure what waits for it."""
        self.stats.update(zip(self._waiting, measure_all([*self._waiting.values()]), strict=True))
        self._waiting, self._size = {}, 0


def _cotangents(graph: Graph, grads: bool | Cotangents) -> list[Array] | None:
    """Return the cotangents of the outputs, or None if gradients are not wanted."""
    tensors = graph.tensors
    if grads is None:
        leaves = [n.tensor for n in graph.nodes if n.kind in ("leaf", "parameter")]
        reached = any(t is not None and t.grad is not None for t in leaves)
        grads = reached and all(t.size == 1 for t in tensors)
    if grads is False:
        return None
    given = [None] * len(tensors) if grads is True else tree.flatten(grads)[0]
    if len(given) != len(tensors):
        raise ValueError(
            f"grads: {len(given)} cotangents for {len(tensors)} outputs; give one for each, in a "
            "container like that of the outputs"
        )
    for t, g in zip(tensors, given, strict=True):
        if g is None and t.size != 1:
            raise ValueError(
                f"grads: an output of shape {t.shape} needs a cotangent of that shape; pass "
                "grads=cotangents, or take an output of one element, as t.sum()"
            )
    return [
        value_of(cotangent_for(t, g, "grads: a cotangent"))
        for t, g in zip(tensors, given, strict=True)
    ]


def _floats(value: ArrayLike | Outputs) -> Array:
    if isinstance(value, Outputs):
        return np.concatenate([_floats(part).ravel() for part in value])
    x = np.asarray(value)
    return x if x.dtype.kind == "f" and x.dtype.itemsize > 2 else x.astype(np.float64)


def _rms(x: Array, low: float, high: float) -> float:
    """Return the root of the mean square, scaled where squares overflow or vanish."""
    top = max(-low, high)
    flat = x.ravel()
    if 1e-15 < top < 1e15:
        return math.sqrt(float(flat @ flat) / flat.size)
    if top == 0:
        return 0.0
    flat = flat.astype(np.float64) / top
    return top * math.sqrt(float(flat @ flat) / flat.size)
