"""Gradients over training: the graph of a loss, measured again and again as its parameters move."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.dtypes import Array
from ..graph.graph import Graph, Tensors
from ..graph.stats import Measured, Stats
from ..guard.errors import shown
from .fit import keeping
from .html import Page, as_html
from .scene import Scene, Training

__all__ = ["Record", "record"]

BAD = -1.0  # of what is not finite


def record(f: Callable[[], Tensors], name: str = "epoch") -> Record:
    """Return a function that measures, whenever it is called, what `f` computes, and keeps it.

    `f` returns a loss of one element, of the same few examples every time. What is kept of a call
    is the root mean square of every value and of every gradient, 16 bytes a node; no `.grad` is
    changed. `fit` calls it after each epoch, as one of its `callbacks`, a loop of one's own where
    it likes to; `name` is what its calls are counted in. `.show(path)` returns the page, with a
    slider, and with a heat map of operations and parameters over training.

    `f` runs once more at each call, so modules that draw random numbers or count batches should be
    in eval mode inside of it. ValueError if the graph is not the one that it was at first.

    >>> import minigrad as mg
    >>> net = mg.nn.Linear(2, 1, rng=0)
    >>> seen = record(lambda: (net(np.ones((4, 2), np.float32)) ** 2).mean())
    >>> for _ in range(3):
    ...     seen()
    ...     net.weight.data = net.weight.data / 2
    >>> seen.show()  # doctest: +ELLIPSIS
    <graph page, ... not saved: page.save('graph.html')>
    """
    if not callable(f):
        raise TypeError(
            f"record: takes a function that returns the loss, not {type(f).__name__}: "
            "record(lambda: loss(net(x), y))"
        )
    if not isinstance(name, str):
        raise TypeError(f"record: name is what steps are called, as 'epoch', not {shown(name)}")
    return Record(f, name)


class Record:
    """What `record` returns: call it to measure, `show` it to see."""

    def __init__(self, f: Callable[[], Tensors], name: str) -> None:
        self.f, self.name = f, name
        self.steps: list[int] = []
        self.values: list[Array] = []
        self.grads: list[Array] = []
        self._newest: tuple[Graph, Measured] | None = None
        self._form: list[Any] = []

    def __call__(self, history: Any = None) -> None:
        """Measure now; `fit` gives its history, whose length is the number of the epoch."""
        if not (history is None or hasattr(history, "__len__")):
            raise TypeError(f"record: takes the history of fit, or nothing, not {shown(history)}")
        outputs = self.f()
        with keeping():
            graph = Graph(outputs, inside=True)
            form = [(n.kind, n.op, n.value.shape, *_numbers(n.args)) for n in graph.nodes]
            if self._form and form != self._form:
                raise ValueError(
                    f"record: the graph has {len(form):,} nodes and had {len(self._form):,} at "
                    "first, or others; compute the loss of the same examples every time"
                )
            measured = Measured(graph, True)
        following = self.steps[-1] + 1 if self.steps else 0
        self.steps.append(max(following, 0 if history is None else len(history)))
        self.values.append(_column(measured.values))
        self.grads.append(_column(measured.grads or []))
        self._newest, self._form = (graph, measured), form

    def show(self, path: str | os.PathLike[str] | None = None) -> Page:
        """Return the page of the newest graph, with all that was measured; see `viz.show`.

        ValueError if nothing was measured yet.
        """
        if self._newest is None:
            raise ValueError(
                "record: nothing was measured yet; call it, or give it to fit as a callback"
            )
        with keeping():
            scene = Scene(*self._newest)
            scene.training = Training(self.name, self.steps, self.values, self.grads)
            page = Page(as_html(scene))
        if path is not None:
            page.save(path)
        return page

    def __len__(self) -> int:
        return len(self.steps)

    def __repr__(self) -> str:
        n, nodes = len(self), f" of {len(self._form):,} nodes" if self._form else ""
        return f"<record of {n} {self.name}{'s' * (n != 1)}{nodes}: .show('training.html')>"

    def _repr_html_(self) -> str:
        return self.show()._repr_html_()


def _numbers(args: tuple[int | str, ...]) -> list[int]:
    return [-1 if isinstance(arg, str) else arg for arg in args]  # scalar constants may change


def _column(stats: list[Any]) -> Array:
    """Return the rms of each node: nan for none, -1 for what is not finite."""

    def number(s: Stats | None) -> float:
        return np.nan if s is None or not s.size else BAD if s.bad else s.rms

    return np.array([number(s) for s in stats])
