"""What to look at first in a graph: extreme gradients, what is not finite, what is wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..core.tensor import Tensor
from . import words
from .scene import Scene

__all__ = ["address", "broken", "findings", "ranges", "said", "worst"]


def findings(scene: Scene) -> list[tuple[str, str, int]]:
    """Return what to look at first, as (what it is, how large, node): extremes of gradients."""
    grads = scene.measured.grads or []
    hidden = {k for k in scene.wiring.hidden if scene.graph.nodes[k].op}  # what has no box
    sizes = [
        (s.rms, k)
        for k, s in enumerate(grads)
        if s is not None and s.rms > 0 and scene.graph.shown[k] not in hidden
    ]
    if not sizes:
        return []
    ends = (("smallest gradient", min(sizes)), ("largest gradient", max(sizes)))
    found = [(what, words.numeral(x, 3), k) for what, (x, k) in ends]
    zero = [k for k, s in enumerate(grads) if s is not None and s.is_zero]
    seen = [k for k in zero if scene.graph.shown[k] not in hidden] or zero
    return found + [("gradient all zero", f"{len(zero):,} of {len(grads):,}", k) for k in seen[:1]]


def broken(scene: Scene) -> list[tuple[str, int, str]]:
    """Return what has elements that are not finite: `value` or `gradient`, node, and where.

    Repetitions of one operation are one entry, at the first of them.
    """
    kinds = (("value", scene.measured.values), ("gradient", scene.measured.grads or []))
    together: dict[tuple[str, int], list[int]] = {}
    for kind, all_of in kinds:
        for k, s in enumerate(all_of):
            if s and s.bad:
                together.setdefault((kind, scene.graph.shown[k]), []).append(k)
    return [(kind, ks[0], _addresses(scene, ks)) for (kind, _), ks in together.items()]


def said(
    scene: Scene, remarks: Sequence[tuple[str, str, Tensor | None]]
) -> list[tuple[str, str, int | None]]:
    """Return what stands at the top of a page: (sentence, line of source, node to mark or None).

    Of errors without remarks, that is where the largest of them is.
    """
    found = list[tuple[str, str, int | None]]()
    for text, source, t in remarks:
        if t is not None and t not in scene.graph.numbers:
            name = f" {t.name!r}" if t.name else ""
            raise ValueError(f"show: the tensor{name} of {text!r} is not a node of the graph")
        found.append((text, source, None if t is None else scene.graph.numbers[t]))
    wrong = [(x, k) for k, x in scene.errors.items() if x is not None and x > scene.tolerance]
    if wrong and not remarks:
        x, k = max(wrong, key=lambda pair: (pair[0], -pair[1]))
        why = f": {scene.texts[k]}" if k in scene.texts else ""
        text = f"The largest relative error is {words.numeral(x)}, at {address(scene, k)}{why}"
        found.append((text, "", k))
    return found


def _addresses(scene: Scene, nodes: list[int]) -> str:
    """Return which node these are repetitions of, and when: `lstm/step: f, t = 0 … 4, 7`."""
    path = scene.graph.paths[nodes[0]]
    if len(nodes) == 1 or not path:
        return address(scene, nodes[0])
    where = address(scene, nodes[0]).removesuffix(_time(scene, nodes[0]))
    if len(path) > 1:
        return f"{where}, {len(nodes):,} times, first {_time(scene, nodes[0])[2:]}"
    fold = path[0][0]
    moments = [fold.moments[scene.graph.paths[k][0][1]] for k in nodes]
    return f"{where}, {fold.letter} = {ranges(moments)}"


def ranges(moments: Sequence[int]) -> str:
    """Return numbers as text, those in a row as their ends: `0 … 4, 7`."""
    rows: list[list[int]] = []
    for m in sorted({*moments}):
        if rows and m == rows[-1][-1] + 1:
            rows[-1].append(m)
        else:
            rows.append([m])
    texts = [str(row[0]) if len(row) == 1 else f"{row[0]} … {row[-1]}" for row in rows]
    return ", ".join(texts if len(texts) <= 8 else [*texts[:6], "…", texts[-1]])


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
    u = scene.graph.shown[k]
    path, home = [], scene.nesting.homes.get(u)
    while home is not None and home.frame is not None:
        path.append(words.title(home).partition(":")[0].partition(" ×")[0])
        home = scene.nesting.parents.get(home)
    text = words.plain_text(scene.runs(u if scene.graph.nodes[u].op else k))
    return (f"{'/'.join(reversed(path))}: {text}" if path else text) + _time(scene, k)


def _time(scene: Scene, k: int) -> str:
    """Return when a node is, in the folds around it: `, layer=1, t=7`."""
    return "".join([f", {fold.letter}={fold.moments[r]}" for fold, r in scene.graph.paths[k]])
