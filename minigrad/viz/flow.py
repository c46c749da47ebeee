"""How large gradients are, layer by layer and step by step: a plot with Matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..graph.folding import Cluster
from ..graph.graph import Graph, Tensors
from ..graph.stats import Cotangents, Measured
from . import words
from .findings import address
from .fit import keeping
from .scene import Scene

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["gradient_flow"]

MOST_PARAMETERS = 40  # bars; of more, the middle ones are left out


def gradient_flow(
    outputs: Tensors, *, fold: bool = True, grads: bool | Cotangents = True
) -> Figure:
    """Return a plot of the rms gradient of parameters, and of states through the time steps.

    A gradient that falls by a constant factor with every step back is a straight line here, for the
    scale is logarithmic; zeros and what is not finite stand at the lower edge as `0` and `!`. Gives
    a Matplotlib figure: `.savefig("flow.png")`. `fold` and `grads` are as in `draw`, but gradients
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
        graph = Graph(outputs, fold)
        scene = Scene(graph, Measured(graph, grads))
    if scene.measured.grads is None:
        raise ValueError("gradient_flow: grads=False leaves nothing to plot")
    lines, bars = _state_sizes(scene), _parameter_sizes(scene)
    panels = [bool(lines), bool(bars)]
    if not any(panels):
        raise ValueError("gradient_flow: the graph has neither parameters nor states that repeat")
    tall = max(3.0, 1.2 + 0.2 * len(bars), 2.6 + 0.1 * len(lines))
    figure, axes = plt.subplots(
        1, sum(panels), figsize=(5.5 * sum(panels), tall), layout="constrained", squeeze=False
    )
    row = list(axes[0])
    if lines:
        axis = row.pop(0)
        for name, moments, sizes in lines:
            _series(axis, name, moments, sizes)
        _edge(
            axis,
            [(m, x) for _, moments, sizes in lines for m, x in zip(moments, sizes, strict=True)],
        )
        axis.set(yscale="log", xlabel="time step", ylabel="rms gradient", title="through time")
        if not any(0 < x < math.inf for _, _, sizes in lines for x in sizes):
            axis.set_ylim(0.1, 1)  # a logarithmic axis of nothing has no limits of its own
            axis.set_xlim(lines[0][1][0], lines[0][1][-1])
        axis.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
        axis.grid(True, alpha=0.3)
    if bars:
        axis = row.pop(0)
        names, sizes = [name for name, _ in bars], [x for _, x in bars]
        good = [x if 0 < x < math.inf else math.nan for x in sizes]
        axis.barh(range(len(bars)), good)
        axis.set(xscale="log", xlabel="rms gradient", title="by parameter")
        if not any(0 < x < math.inf for x in sizes):
            axis.set_xlim(0.1, 1)
        axis.set_yticks(range(len(bars)), names, fontsize="small")
        axis.set_ylim(len(bars) - 0.5, -0.5)  # the first on top
        axis.grid(True, axis="x", alpha=0.3)
        for k, x in enumerate(sizes):
            if not 0 < x < math.inf:
                axis.annotate(" 0" if x == 0 else " !", (0, k), xycoords=("axes fraction", "data"))
    return figure


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


def _parameter_sizes(scene: Scene) -> list[tuple[str, float]]:
    """Return the parameters, or leaves where there are none, in order of their use."""
    nodes = scene.graph.nodes
    used = list(dict.fromkeys([p for k in sorted(scene.wiring.uses) for p in scene.wiring.uses[k]]))
    used = used or [n.number for n in nodes if n.kind in ("leaf", "parameter")]
    most = MOST_PARAMETERS
    bars = [(words.clean(nodes[k].name or "input", 40), _rms_gradient(scene, k)) for k in used]
    return bars if len(bars) <= most else bars[: most // 2] + bars[-most // 2 :]


def _rms_gradient(scene: Scene, k: int) -> float:
    stats = scene.measured.grads[k] if scene.measured.grads else None
    return 0.0 if stats is None else math.nan if stats.bad else stats.rms


def _series(axis: Axes, name: str, moments: Sequence[int], sizes: Sequence[float]) -> None:
    good = [x if 0 < x < math.inf else math.nan for x in sizes]
    axis.plot(moments, good, label=name, marker="." if len(sizes) < 40 else None)


def _edge(axis: Axes, points: Sequence[tuple[int, float]]) -> None:
    for moment, x in points:
        if not 0 < x < math.inf:
            sign = "0" if x == 0 else "!"
            axis.annotate(sign, (moment, 0.01), xycoords=("data", "axes fraction"), ha="center")
