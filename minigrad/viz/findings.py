"""What to look at first in a graph: extreme gradients, what is not finite, what is wrong."""

from __future__ import annotations

import math

from . import words
from .scene import Scene

__all__ = ["address", "broken", "findings", "worst"]


def findings(scene: Scene) -> list[tuple[str, str, int]]:
    """Return what to look at first, as (what it is, how large, node): extremes of gradients."""
    grads = scene.measured.grads or []
    sizes = [(s.rms, k) for k, s in enumerate(grads) if s is not None and s.rms > 0]
    if not sizes:
        return []
    ends = (("smallest gradient", min(sizes)), ("largest gradient", max(sizes)))
    found = [(what, words.numeral(x, 3), k) for what, (x, k) in ends]
    zero = [k for k, s in enumerate(grads) if s is not None and s.is_zero]
    return found + [("gradient all zero", f"{len(zero):,} of {len(grads):,}", k) for k in zero[:1]]


def broken(scene: Scene) -> list[tuple[str, int]]:
    """Return the nodes with elements that are not finite: `value` or `gradient`, and which."""
    kinds = (("value", scene.measured.values), ("gradient", scene.measured.grads or []))
    return [(kind, k) for kind, all in kinds for k, s in enumerate(all) if s and s.bad]


def worst(scene: Scene, n: int = 10) -> list[tuple[int, str, str]]:
    """Return the nodes that agree least: node, error, text; those with a text first."""
    errors = sorted(
        [(k, x) for k, x in scene.errors.items() if x is not None],
        key=lambda row: (not math.isnan(row[1]), row[0] not in scene.texts, -row[1], row[0]),
    )
    return [
        (k, "not compared" if math.isnan(x) else words.numeral(x), scene.texts.get(k, ""))
        for k, x in errors[:n]
    ]


def address(scene: Scene, k: int) -> str:
    """Return which node this is, and when: `lstm/step: f = sigmoid, t=7`."""
    graph, u = scene.graph, scene.graph.shown[k]
    path, home = [], scene.nesting.homes.get(u)
    while home is not None and home.frame is not None:
        path.append(words.title(home).partition(":")[0].partition(" ×")[0])
        home = scene.nesting.parents.get(home)
    text = words.plain_text(scene.runs(u))
    when = [f"{fold.letter}={fold.moments[r]}" for fold, r in graph.paths[k]]
    return ", ".join([f"{'/'.join(reversed(path))}: {text}" if path else text, *when])
