"""How much of a graph fits into a picture: scopes are shut until it does.

What costs is the boxes and the ranks that arrows cross: a box that feeds every step takes `dot`
minutes at 500 boxes.
"""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from ..graph.graph import Graph, Tensors
from ..graph.nodes import Cluster
from ..graph.stats import Cotangents, Measured
from ..guard.errors import shown
from .scene import Agreement, Scene

__all__ = ["GraphTooLarge", "boxes_by_depth", "check_depth", "fitting_scene", "keeping"]

TOO_LARGE = (
    "laying this graph out would cost at least {:,}, above max_cost={:,} (`dot` does some 1,000 "
    "per second). Look at it with mg.viz.show(loss, 'graph.html'), which has room for all; draw a "
    "part, as in draw(h) of an intermediate tensor; leave fold=True, and put every repetition into "
    '`with mg.scope("step", t):`, so that it is drawn once, and other operations into scopes, '
    "which are drawn as single boxes where there is no room; or raise max_cost"
)


class GraphTooLarge(ValueError):  # noqa: N818 (it reads as what happened)
    """Laying the graph out would take too long."""


@contextmanager
def keeping() -> Iterator[None]:
    """Build something large of which nothing is garbage, without looking for garbage in it.

    That takes 40 % of the time for a graph of 100,000 nodes.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@keeping()
def fitting_scene(
    outputs: Tensors,
    fold: bool,
    depth: int | None,
    grads: bool | Cotangents,
    agreement: Agreement | None,
    max_cost: int,
) -> Scene:
    """Return the scene with scopes shut, the innermost first, until it costs at most `max_cost`.

    GraphTooLarge if it costs more with every scope shut; ValueError for a depth below 1.
    """
    check_depth(depth)
    graph = Graph(outputs, fold, inside=True)
    levels = boxes_by_depth(graph)
    depths = range(min(depth or len(levels), len(levels)), 0, -1)
    fitting = [d for d in depths if levels[d - 1] <= max_cost]
    if not fitting:  # known without looking at the arrows
        raise GraphTooLarge(TOO_LARGE.format(levels[0], max_cost))
    measured = Measured(graph, grads)
    for d in fitting:
        scene = Scene(graph, measured, agreement, d)
        if (cost := _cost(scene)) <= max_cost:
            return scene
    raise GraphTooLarge(TOO_LARGE.format(cost, max_cost))


def check_depth(depth: int | None) -> None:
    """Raise ValueError, or TypeError, for a depth that nothing can be drawn at."""
    if depth is not None and not isinstance(depth, int):
        raise TypeError(f"depth is the number of scopes to look into, not {shown(depth)}")
    if depth is not None and depth < 1:
        raise ValueError(f"depth is the number of scopes to look into, at least 1, not {depth}")


def boxes_by_depth(graph: Graph) -> list[int]:
    """Return the number of boxes at depth 1, 2 ... until nothing is shut."""
    operations, scopes, stack = [0], [0], [(graph.root, 0)]
    while stack:
        cluster, level = stack.pop()
        if level == len(scopes):
            operations.append(0)
            scopes.append(0)
        scopes[level] += 1
        for item in cluster.items:
            if isinstance(item, Cluster):
                stack.append((item, level + 1))
            else:
                operations[level] += graph.nodes[item].op not in ("transpose", "pick")
    scopes.append(0)
    return [sum(operations[:d]) + scopes[d] for d in range(1, len(scopes))]


def _cost(scene: Scene) -> int:
    """Return boxes plus the ranks that arrows cross if every box stands as low as it can."""
    above: dict[str, list[str]] = defaultdict(list)
    waiting, height = dict.fromkeys(scene.boxes, 0), dict.fromkeys(scene.boxes, 0)
    for line in scene.wiring.lines:
        above[line.target].append(line.source)
        waiting[line.source] += 1
    stack = [key for key, n in waiting.items() if n == 0]
    while stack:
        key = stack.pop()
        for source in above[key]:
            height[source] = max(height[source], height[key] + 1)
            waiting[source] -= 1
            if waiting[source] == 0:
                stack.append(source)
    ranks = [height[line.source] - height[line.target] for line in scene.wiring.lines]
    return len(scene.boxes) + sum([max(n - 1, 0) for n in ranks])
