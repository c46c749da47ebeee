"""How large gradients are, layer by layer and step by step: a plot with Matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..graph.graph import Graph, Tensors
from ..graph.nodes import Cluster
from ..graph.stats import Cotangents, Measured
from . import words
from .findings import address, ranges
from .fit import keeping
from .scene import Scene

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["gradient_flow"]

MOST_PARAMETERS = 200  # rows; of more, those in the middle are one row that says how many


def gradient_flow(
    outputs: Tensors, *, fold: bool = True, grads: bool | Cotangents = True
) -> Figure:
    """Return a plot of the rms gradient of parameters, and of states through the time steps.

    A gradient that falls by a constant factor with every step back is a straight line here, for the
    scale is logarithmic; where it is zero or not finite is said in words. Gives a Matplotlib
    figure: `.savefig("flow.png")`. `fold` and `grads` are as in `draw`, but gradients
    are computed for the plot unless cotangents are given. ImportError without Matplotlib.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise ImportError(
            "gradient_flow plots with Matplotlib, which is not installed: pip install "
            "'minigrad[plot]'; mg.viz.show(loss) and print(mg.viz.summary(loss)) need nothing"
        ) from None
    with keeping():
        graph = Graph(outputs, fold, modules=False)  # every parameter has a row
        scene = Scene(graph, Measured(graph, grads))
    if scene.measured.grads is None:
        raise ValueError("gradient_flow: grads=False leaves nothing to plot")
    lines, bars = _state_sizes(scene), _parameter_sizes(scene)
    panels = [bool(lines), bool(bars)]
    if not any(panels):
        raise ValueError("gradient_flow: the graph has neither parameters nor states that repeat")
    rows = 0.18 * len(bars), 2.6 + 0.22 * -(-len(lines) // 2)
    figure, axes = plt.subplots(
        1, sum(panels), figsize=(6.0 * sum(panels), max(3.6, 1.2 + max(rows))),
        layout="constrained", squeeze=False,
    )  # fmt: skip
    if plt.get_backend().lower().endswith("inline"):
        plt.close(figure)  # a notebook would show it once more at the end of the cell
    row = list(axes[0])
    if lines:
        _through_time(row.pop(0), lines)
        figure.legend(fontsize="small", loc="outside lower left", ncols=2)
    if bars:
        _by_parameter(row.pop(0), bars)
    return figure


def _through_time(axis: Axes, lines: Sequence[tuple[str, list[int], list[float]]]) -> None:
    for name, moments, sizes in lines:
        good = [x if _is_shown(x) else math.nan for x in sizes]
        zero = [m for m, x in zip(moments, sizes, strict=True) if x == 0]
        bad = [m for m, x in zip(moments, sizes, strict=True) if not x < math.inf]
        gone = {"0": zero, "not finite": bad}
        notes = [f"{sign} at t = {ranges(at)}" for sign, at in gone.items() if at]
        label = f"{name} ({'; '.join(notes)})" if notes else name
        axis.plot(moments, good, label=label, marker="." if len(sizes) < 40 else None)
    axis.set(yscale="log", xlabel="time step", ylabel="rms gradient", title="through time")
    if not any(_is_shown(x) for _, _, sizes in lines for x in sizes):
        axis.set_ylim(0.1, 1)  # a logarithmic axis of nothing has no limits of its own
        axis.set_xlim(lines[0][1][0], lines[0][1][-1])
    axis.grid(True, alpha=0.3)


def _by_parameter(axis: Axes, rows: Sequence[tuple[str, float | None]]) -> None:
    """Plot sizes as points: on a logarithmic axis, a bar has no base."""
    shown = [(k, x) for k, (_, x) in enumerate(rows) if x is not None and _is_shown(x)]
    axis.plot([x for _, x in shown], [k for k, _ in shown], "o", markersize=4)
    axis.set(xscale="log", xlabel="rms gradient", title="by parameter")
    if not shown:
        axis.set_xlim(0.1, 1)
    axis.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize="small")
    axis.set_ylim(len(rows) - 0.5, -0.5)  # the first on top
    axis.grid(True, alpha=0.3)
    for k, (_, x) in enumerate(rows):
        if x is not None and not _is_shown(x):
            text = " 0" if x == 0 else " not finite"
            axis.annotate(text, (0, k), xycoords=("axes fraction", "data"), va="center")


def _is_shown(x: float) -> bool:
    """Whether a logarithmic axis has a place for a size."""
    return 0 < x < math.inf


def _state_sizes(scene: Scene) -> list[tuple[str, list[int], list[float]]]:
    """Return name, moments and sizes of the states of the outermost folds, or of a fold's end."""
    graph, found, stack = scene.graph, [], [scene.graph.root]
    while stack:
        cluster = stack.pop()
        below = [item for item in cluster.items if isinstance(item, Cluster)]
        if not cluster.moments:
            stack += reversed(below)
            continue
        ports = [
            box.node for box in scene.boxes.values() if box.home is cluster and "_out" in box.key
        ]
        for k in ports or cluster.numbers[-1:]:
            nodes = scene.members[graph.shown[k]]
            each = len(nodes) // len(cluster.moments)
            last = nodes[each - 1 :: each]  # what a repetition ends with
            node, where = graph.nodes[k], address(scene, k).partition(": ")[0].rpartition("/")[0]
            name = f"{where or 'loop'}: {words.clean(node.name or node.op)}"
            found.append((name, cluster.moments, [_rms_gradient(scene, n) for n in last]))
    return found


def _parameter_sizes(scene: Scene) -> list[tuple[str, float | None]]:
    """Return the parameters, or leaves where there are none, in order of their use."""
    nodes = scene.graph.nodes
    used = list(dict.fromkeys([p for k in sorted(scene.wiring.uses) for p in scene.wiring.uses[k]]))
    used = used or [n.number for n in nodes if n.kind in ("leaf", "parameter")]
    rows: list[tuple[str, float | None]] = [
        (words.clean(nodes[k].name or "input", 40), _rms_gradient(scene, k)) for k in used
    ]
    half, more = MOST_PARAMETERS // 2, len(rows) - MOST_PARAMETERS
    return rows if more <= 0 else [*rows[:half], (f"… {more:,} more …", None), *rows[-half:]]


def _rms_gradient(scene: Scene, k: int) -> float:
    stats = scene.measured.grads[k] if scene.measured.grads else None
    return 0.0 if stats is None else math.nan if stats.bad else stats.rms
