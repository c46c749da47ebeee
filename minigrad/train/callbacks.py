"""What is called while training goes on, and may end it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.tensor import value_of
from ..guard.errors import shown
from ..nn.arguments import number, whole
from ..nn.recurrent import LSTM
from ..parallel import Communicator, require_communicator
from .history import History

__all__ = ["Callback", "CellDistance"]


class Callback:
    """Base: what `fit` calls as it goes, method by method.

    One that has `state_dict` and `load_state_dict` is saved with a checkpoint.

    >>> from minigrad import nn, optim
    >>> class Average(Callback):
    ...     def __init__(self, net):
    ...         self.net, self.average = net, optim.AveragedModel(net, decay=0.99)
    ...
    ...     def after_step(self):
    ...         self.average.update_parameters(self.net)
    >>> average = Average(nn.Linear(2, 1))
    >>> more = {"callbacks": [average], "parts": {"average": average.average}}  # fit(..., **more)
    """

    def begin(self) -> None:
        """Called once, before training."""

    def after_step(self) -> None:
        """Called after every step of the optimiser."""

    def after_epoch(self, history: History) -> str | None:
        """Called after every epoch: return why training shall stop, or None.

        Its numbers are in `history.epochs[-1]`, where more may be put.
        """

    def end(self) -> None:
        """Called once, after training, however it has ended."""


class CellDistance(Callback):
    """Stop where an LSTM's memory moves too far, which is taken for over-fitting.

    Measured is |c_T - c_0|, the L2 distance between the final and the initial state of the memory
    cells, of every sequence that the LSTM reads in training: its mean over sequences, layers and
    directions of an epoch is "cell distance" in the history. Training stops when it exceeds
    `bound`, or when it has risen for `patience` epochs in which the validation was no better than
    the best. In several processes give `comm`, so that the mean is over all of them.

    >>> lstm = LSTM(1, 8)
    >>> stop = CellDistance(lstm, bound=3.0, patience=5)  # fit(..., callbacks=[stop])
    """

    def __init__(
        self,
        lstm: LSTM,
        *,
        bound: float | None = None,
        patience: int | None = None,
        comm: Communicator | None = None,
    ) -> None:
        if not isinstance(lstm, LSTM):
            raise TypeError(f"CellDistance: takes an LSTM, not {shown(lstm)}")
        self.lstm, self.comm = lstm, comm
        self.bound = None if bound is None else number(self, "bound", bound, "(0, inf)")
        self.patience = None if patience is None else whole(self, "patience", patience)
        if comm is not None:
            require_communicator("CellDistance", comm)
        self._sum, self._count, self._last, self._risen = 0.0, 0, float("inf"), 0

    def begin(self) -> None:
        """Look at what the LSTM does, from now on."""
        self._handle = self.lstm.register_forward_hook(self._seen, with_kwargs=True)

    def end(self) -> None:
        """Look no longer."""
        self._handle.remove()

    def _seen(self, lstm: Any, args: Any, kwargs: Any, output: Any) -> None:
        if not lstm.training:
            return
        state = args[1] if len(args) > 1 else kwargs.get("state")
        first = value_of(state[1]) if state is not None else getattr(lstm, "c0", None)
        c = output[1][1].data
        before = np.zeros(()) if first is None else np.asarray(value_of(first))
        if first is not None and before.ndim > c.ndim:
            before = before[:, 0]  # learned, and the input has no batch
        distances = np.linalg.norm(c.astype(np.float64) - before, axis=-1)
        self._sum += float(distances.sum())
        self._count += distances.size

    def after_epoch(self, history: History) -> str | None:
        """Put the mean of the epoch into the history, and say whether it is too large."""
        total, count = self._sum, self._count
        if self.comm is not None:
            parts = self.comm.allgather((total, count))
            total, count = sum([s for s, _ in parts]), sum([n for _, n in parts])
        self._sum, self._count = 0.0, 0
        if not count:
            raise ValueError(
                "CellDistance: the LSTM was not called in training mode in this epoch; is it a "
                "part of the module?"
            )
        mean, row = total / count, history.epochs[-1]
        row["cell distance"] = mean
        if self.patience is not None and "validation" not in row:
            raise ValueError("CellDistance: patience looks at the validation; give fit validate")
        improved = history.best == len(history) - 1
        self._risen = self._risen + 1 if mean > self._last and not improved else 0
        self._last = mean
        if self.bound is not None and mean > self.bound:
            return f"the cell distance {mean:.4g} exceeds {self.bound:g}"
        if self.patience is not None and self._risen >= self.patience:
            return f"the cell distance has risen for {self._risen} epochs, to {mean:.4g}"
        return None

    def state_dict(self) -> dict[str, Any]:
        """Return what was measured so far."""
        return {"sum": self._sum, "count": self._count, "last": self._last, "risen": self._risen}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned; ValueError for anything else."""
        if not isinstance(state_dict, Mapping) or {*state_dict} != {*self.state_dict()}:
            raise ValueError(f"the state does not fit CellDistance: {shown(state_dict)}")
        self._sum, self._last = float(state_dict["sum"]), float(state_dict["last"])
        self._count, self._risen = int(state_dict["count"]), int(state_dict["risen"])
