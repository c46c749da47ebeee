"""What a training loop saw: a table of numbers, printed, plotted, written, and gone on with."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from ..guard.errors import shown
from ..nn.arguments import whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["History"]

_ROWS = 12  # that are printed; of more, some are left out


class History:
    """What `fit` saw: the numbers of each epoch, and the epoch whose parameters were kept.

    `epochs` is a list of dicts, one for each; `history["validation"]` a list of one number for
    each. `best` counts from 0, and is -1 as long as there is none; `stopped` says why training
    ended early, "" if it did not. Printing shows a table, as notebooks do; `plot()` draws it,
    `to_csv()` writes it.
    """

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []
        self.best = -1
        self.stopped = ""

    def __getitem__(self, name: str) -> list[float]:
        if name not in self.names():
            found = ", ".join(map(repr, self.names())) or "nothing: there was no epoch yet"
            raise KeyError(f"History: there is no {name!r}; there is {found}")
        return [epoch[name] for epoch in self.epochs]

    def __len__(self) -> int:
        return len(self.epochs)

    def names(self) -> list[str]:
        """Return the names of the numbers of an epoch."""
        return list(dict.fromkeys([name for epoch in self.epochs for name in epoch]))

    # ---- as a table ------------------------------------------------------------------------------

    def _table(self) -> tuple[list[str], list[list[str]]]:
        """Return a head and the rows to show, the best of them marked with an asterisk."""
        names, n = self.names(), len(self)
        some = {*np.linspace(0, n - 1, min(n, _ROWS)).round().astype(int).tolist()}
        rows = [
            [f"{k + 1}{'*' * (k == self.best)}"]
            + [f"{self.epochs[k][name]:.5g}" if name in self.epochs[k] else "" for name in names]
            for k in sorted(some | ({self.best} if 0 <= self.best < n else set()))
        ]
        return ["epoch", *names], rows

    def _said(self) -> str:
        count = f"{len(self)} epoch{'s' * (len(self) != 1)}"
        best = f", the best was {self.best + 1}" if self.best >= 0 else ""
        return f"{count}{best}{f'; stopped: {self.stopped}' if self.stopped else ''}"

    def __repr__(self) -> str:
        head, rows = self._table()
        if not rows:
            return f"History: {self._said()}"
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        lines = ["  ".join(map(str.rjust, row, widths)).rstrip() for row in [head, *rows]]
        return "\n".join([*lines, self._said()])

    def _repr_html_(self) -> str:
        head, rows = self._table()
        lines = [f"<tr>{''.join([f'<th>{escape(name)}</th>' for name in head])}</tr>"]
        lines += [f"<tr>{''.join([f'<td>{escape(x)}</td>' for x in row])}</tr>" for row in rows]
        return f"<table>{''.join(lines)}</table><p>{escape(self._said())}</p>"

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return a table as text, a line for each epoch; with a path, it is written there too.

        Numbers are written with all their digits; what an epoch has not is empty.
        """
        text = io.StringIO()
        table = csv.DictWriter(text, ["epoch", *self.names()], lineterminator="\n")
        table.writeheader()
        table.writerows([{"epoch": k, **epoch} for k, epoch in enumerate(self.epochs, 1)])
        if path is not None:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text.getvalue())
        return text.getvalue()

    def plot(self, names: Iterable[str] = ("train", "validation"), ax: Axes | None = None) -> Axes:
        """Return axes with a line over the epochs for each of these numbers; the best is marked.

        ImportError without Matplotlib, ValueError without an epoch, KeyError for another name.
        """
        wanted = [names] if isinstance(names, str) else list(names)
        if not self.epochs:
            raise ValueError("History.plot: there was no epoch yet")
        if wanted == ["train", "validation"]:  # what fit has without being told
            wanted = [name for name in wanted if name in self.names()]
        lines = {name: self[name] for name in wanted}
        if ax is None:
            try:
                import matplotlib.pyplot as plt
            except ImportError:
                raise ImportError(
                    "History.plot needs Matplotlib, which is not installed: pip install "
                    "'minigrad[plot]'; print(history) and history.to_csv() need nothing"
                ) from None
            ax = plt.subplots(layout="constrained")[1]
        for name, line in lines.items():
            ax.plot(range(1, len(self) + 1), line, label=name)
        if self.best >= 0:
            ax.axvline(self.best + 1, color="0.6", linestyle=":", label="best")
        ax.set_xlabel("epoch")
        ax.legend()
        return ax

    # ---- state -----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of all of it."""
        epochs = [dict(epoch) for epoch in self.epochs]
        return {"epochs": epochs, "best": self.best, "stopped": self.stopped}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned; ValueError, with nothing changed, for others."""
        own = {"epochs", "best", "stopped"}
        if not isinstance(state_dict, Mapping) or {*state_dict} != own:
            raise ValueError(
                "History.load_state_dict: takes what state_dict() returned, not "
                f"{shown(state_dict)}"
            )
        epochs, stopped = state_dict["epochs"], state_dict["stopped"]
        best = whole(self, "best", state_dict["best"], -1)
        numbers = [
            isinstance(epoch, Mapping) and all(isinstance(x, (int, float)) for x in epoch.values())
            for epoch in epochs
        ]
        if not all(numbers) or not isinstance(stopped, str) or best >= len(numbers):
            raise ValueError("the state does not fit this History: it is of something else")
        self.epochs, self.best = [dict(epoch) for epoch in epochs], best
        self.stopped = stopped
