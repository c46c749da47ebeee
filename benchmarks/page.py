"""What the benchmark of `mg.compile` writes: tables in Markdown, and a plot of one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

OURS, THEIRS, TEXT = "#2f81f7", "#9aa4af", "#768390"  # to be read on white and on black


class Table(NamedTuple):
    """Rows of cells under columns, the first of which names the rows."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def markdown(self) -> str:
        widths = [
            max(len(row[k]) for row in (self.columns, *self.rows)) for k in range(len(self.columns))
        ]
        rule = [f"{'-' * (w + 1)}{':' if k else '-'}" for k, w in enumerate(widths)]
        lines = [self._line(self.columns, widths), f"|{'|'.join(rule)}|"]
        lines += [self._line(row, widths) for row in self.rows]
        return "\n".join([f"### {self.title}", "", *lines, *[f"\n{note}" for note in self.notes]])

    @staticmethod
    def _line(row: Sequence[str], widths: Sequence[int]) -> str:
        first, *rest = (
            cell.rjust(w) if k else cell.ljust(w)
            for k, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        return "| " + " | ".join([first, *rest]) + " |"


def number(x: float) -> str:
    """Write a positive number with two digits or more."""
    digits = 0 if x >= 100 else 1 if x >= 10 else 2 if x >= 0.1 else 3
    return f"{x:.{digits}f}"


def held(x: float | None, target: float | None = None) -> str:
    """Write x beside the most that it may be, bold where it is more; None was not measured."""
    if target is None:
        return "-" if x is None else number(x)
    if x is None:
        return f"- (≤ {target:g})"
    if x <= target:
        return f"{number(x)} ≤ {target:g}"
    said = number(x) if float(number(x)) > target else f"{x:.4f}"  # not 0.85 > 0.85
    return f"**{said} > {target:g}**"


def plot(
    path: Path, titles: Sequence[str], panels: Sequence[Mapping[str, float]], unit: str
) -> None:
    """Draw a panel of bars for each case: how long everybody takes, on one logarithmic scale.

    Names that begin with "compiled" are ours. ImportError without Matplotlib.
    """
    try:
        import matplotlib
    except ImportError:
        raise ImportError(
            "the plot needs Matplotlib, which is not installed: pip install 'minigrad[plot]'"
        ) from None
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    names = list(dict.fromkeys(name for panel in panels for name in panel))
    style = {
        "svg.fonttype": "none", "svg.hashsalt": "minigrad", "font.size": 9, "text.color": TEXT,
        "axes.labelcolor": TEXT, "axes.edgecolor": TEXT, "xtick.color": TEXT, "ytick.color": TEXT,
    }  # fmt: skip
    with plt.rc_context(style):
        figure, axes = plt.subplots(
            1, len(panels), figsize=(2.2 + 1.9 * len(panels), 0.8 + 0.24 * len(names)),
            sharey=True, squeeze=False, layout="constrained",
        )  # fmt: skip
        for axis, title, panel in zip(axes[0], titles, panels, strict=True):
            for k, name in enumerate(names):
                if name in panel:
                    ours = name.startswith("compiled")
                    axis.barh(k, panel[name], color=OURS if ours else THEIRS, height=0.7)
                    axis.annotate(
                        f" {number(panel[name])}", (panel[name], k), va="center", fontsize=7
                    )
            axis.set(xscale="log", title=title)
            axis.set_xlim(0.5 * min(panel.values()), 6 * max(panel.values()))
            axis.set_yticks(range(len(names)), names)
            axis.set_ylim(len(names) - 0.4, -0.6)
            axis.title.set_fontsize(9)
            axis.spines[["top", "right"]].set_visible(False)
            axis.tick_params(labelsize=8, which="both")
        figure.supxlabel(unit, fontsize=9)
        figure.savefig(path, transparent=True, metadata={"Date": None})
        plt.close(figure)
