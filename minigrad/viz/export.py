"""The graph for other programs: as JSON, and as Mermaid for Markdown pages.

The JSON is one object; what the page of `mg.viz.show` reads is the same:

    format      "minigrad-graph 1"
    title       the first output
    outputs     numbers of nodes
    dtype       what a box does not say, because most have it
    forms       what nodes have in common: {kind, op, name, options, shape, dtype, line, inputs,
                flops, bytes, kept}; of several outputs the shape is null; the line is known if
                recorded under `mg.debug()`; inputs are the shapes of what goes in; FLOPs are null
                where no rule is known, bytes are read and written, and kept for the backward pass
    nodes       columns with an entry for every node, in order of creation:
                  form    its place in `forms`
                  args    its inputs by position: numbers of nodes, or the text of a constant
                  shown   the node that stands for it, itself unless it is folded away
    values      columns: size, zeros, bad (elements that are not finite), and rms, min, max of the
                finite ones, null if there are none
    grads       the same of gradients, null where none flows; null if they are not computed
    times       null, or columns: seconds forward, null for a compiled function, and backward,
                null without gradients
    histograms  null, or {values, grads}: by node [low, high, counts], or null
    training    null, or {name, steps, values, grads}: at each step a list by number of node of the
                rms, null for nothing and -1 for what is not finite
    agreement   null, or {errors, texts}: by number of node, as text; an error is null if it is nan
    scopes      {key, title, parent, items}, of a fold also {when, letter, moments, detected}, of a
                module its {line}: items are keys of boxes and scopes, in order; where they are
                very many, they stand in scopes that are a {part}
    boxes       what is drawn, by key: {kind, title, home, fact, notes, node, members, written,
                output}, without what is empty: a title is a list of [text, style], home is a scope,
                members are the nodes that it stands for by repetition, written its parameters
    inside      the key of the box that shows a node which has none, by number of node, as text
    wires       [source, target, label, position, state, folds, times, rounds]: keys of boxes; the
                folds that it leaves, and a list of the repetitions where it does, or null for all;
                from round to round of two loops, pairs of these, or null
"""

from __future__ import annotations

import json
import math
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..core.dtypes import Array
from ..core.tape import Outputs
from ..graph.cost import Cost
from ..graph.graph import Graph, GraphNode, Tensors
from ..graph.nodes import Cluster, clusters
from ..graph.source import file_name, place_of
from ..graph.stats import Cotangents, Histogram, Measured, Stats
from ..graph.times import Times
from . import words
from .fit import fitting_scene, keeping
from .scene import Agreement, Box, Scene, Training
from .wiring import Line
from .words import clean

__all__ = ["as_data", "dumps", "to_json", "to_mermaid"]

FORMAT = "minigrad-graph 1"
NO_COST = Cost(0, 0, 0)  # of an input
PART = 250  # items of a scope
IN_NO_FOLD = frozenset([()])  # of a wire that leaves none


def to_json(
    outputs: Tensors,
    *,
    fold: bool = True,
    grads: bool | Cotangents = None,
    agreement: Agreement | None = None,
    histograms: bool = False,
    time: bool = False,
) -> str:
    """Return the graph behind `outputs` as JSON, for other programs.

    The arguments are as in `show`; the format is described at the top of this file.
    """
    with keeping():
        graph = Graph(outputs, fold, inside=True)
        measured = Measured(graph, grads, histograms, time)
        return dumps(as_data(Scene(graph, measured, agreement)))


def dumps(content: dict[str, Any]) -> str:
    """Return JSON in ASCII that may stand in a page: without `<`, `>` and `&`."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def as_data(scene: Scene) -> dict[str, Any]:
    """Return what `to_json` writes."""
    graph, measured = scene.graph, scene.measured
    options = {n.number: graph.options(n.number) for n in scene.shown}
    forms: dict[tuple[Any, ...], int] = {}
    form = [
        forms.setdefault(_form(n, options[u], _cost(scene, n.number, u)), len(forms))
        for n, u in zip(graph.nodes, graph.shown, strict=True)
    ]
    fields = ("kind", "op", "name", "options", "shape", "dtype", "line", "inputs", *Cost._fields)
    histograms: dict[str, Any] | None = None
    agreement: dict[str, Any] | None = None
    if measured.histograms:
        histograms = {
            "values": [_histogram(h) for h in measured.histograms],
            "grads": measured.grad_histograms and [_histogram(h) for h in measured.grad_histograms],
        }
    if scene.compared:
        errors = dict(zip(scene.errors, _rounded([*scene.errors.values()]), strict=True))
        agreement = {"errors": errors, "texts": scene.texts}
    scopes = _in_parts(_scopes(scene))
    homes = {key: scope["key"] for scope in scopes for key in scope["items"]}
    for scope in scopes:
        scope["parent"] = homes.get(scope["key"])
    return {
        "format": FORMAT,
        "title": words.plain_text(scene.runs(graph.shown[graph.outputs[0]]))
        if graph.outputs
        else "",
        "outputs": graph.outputs,
        "dtype": str(scene.usual or ""),
        "forms": [dict(zip(fields, _texts(key), strict=True)) for key in forms],
        "nodes": {"form": form, "args": [n.args for n in graph.nodes], "shown": graph.shown},
        "values": _stats_columns(measured.values),
        "grads": measured.grads and _stats_columns(measured.grads),
        "times": measured.times and _times_columns(measured.times),
        "training": scene.training and _training_data(scene.training),
        "histograms": histograms,
        "agreement": agreement,
        "scopes": scopes,
        "boxes": {box.key: _box_data(scene, box, homes[box.key]) for box in scene.boxes.values()},
        "inside": _inside(scene),
        "wires": [_wire_data(line) for line in scene.wiring.lines],
    }


def _cost(scene: Scene, k: int, u: int) -> Cost:
    cost = scene.costs.get(u, NO_COST)
    return cost._replace(kept=0) if k in scene.graph.forgotten else cost


def _form(node: GraphNode, options: str, cost: Cost) -> tuple[Any, ...]:
    value, place = node.value, place_of(node.tensor) if node.op else None
    shape = dtype = None
    if not isinstance(value, Outputs):
        shape, dtype = value.shape, value.dtype
    inputs = tuple(map(np.shape, node.tensor.xs)) if node.op and node.tensor is not None else ()
    line = place and str(place)
    return node.kind, node.op, node.name, options, shape, dtype, line, inputs, *cost


def _texts(form: tuple[Any, ...]) -> list[Any]:
    kind, op, name, options, shape, dtype, line, *rest = form
    named = None if name is None else clean(name)
    dtype = dtype and str(dtype)
    return [kind, op, named, clean(options), shape, dtype, line and _place(line), *rest]


def _place(line: str) -> str:
    """Return `some/folder/net.py, line 3, in f: y = x` without the folders."""
    file, comma, rest = line.partition(", line ")
    return clean(os.path.basename(file) + comma + rest, 200)


def _stats_columns(stats: Sequence[Stats | None]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {}
    for k, name in enumerate(Stats._fields):
        column: list[Any] = [None if s is None else s[k] for s in stats]
        columns[name] = _rounded(column) if name in ("rms", "min", "max") else column
    return columns


def _times_columns(times: Sequence[Times]) -> dict[str, Any]:
    forward, backward = zip(*times, strict=True)
    return {
        "forward": _rounded(forward),
        "backward": None if None in backward else _rounded(backward),
    }


def _training_data(training: Training) -> dict[str, Any]:
    columns = {key: [*map(_rounded, getattr(training, key))] for key in ("values", "grads")}
    return {"name": clean(training.name), "steps": training.steps} | columns


def _rounded(column: Sequence[float | None] | Array) -> list[float | None]:
    """Return numbers rounded to 4 digits; None for nan."""
    numbers = np.array(column, np.float64).clip(-1e308, 1e308)
    text = " ".join(["%.4g"] * len(column)) % tuple(numbers.tolist())
    return [None if word == "nan" else float(word) for word in text.split()]


def _histogram(h: Histogram | None) -> list[Any] | None:
    return None if h is None else [*_rounded([h.low, h.high]), h.counts]


def _scopes(scene: Scene) -> list[dict[str, Any]]:
    """Return the scopes with what is in them: inputs and states, then operations, in order."""
    inside: dict[Cluster, list[str]] = defaultdict(list)
    for box in scene.boxes.values():
        if box.kind not in ("operation", "view", "scope"):
            inside[box.home].append(box.key)
    found = []
    for cluster in clusters(scene.graph.root):
        items = [f"c{i.number}" if isinstance(i, Cluster) else f"n{i}" for i in cluster.items]
        keys = [key for key in items if key[0] == "c" or key in scene.boxes]
        frame: Any = cluster.frame
        after = [key for key in inside[cluster] if "_out" in key]
        before = [key for key in inside[cluster] if "_out" not in key]
        scope: dict[str, Any] = {
            "key": f"c{cluster.number}",
            "title": words.title(cluster) if frame else "",
            "items": before + keys + after,
        }
        if cluster.moments:
            scope |= {"when": words.when(cluster), "letter": clean(cluster.letter)}
            scope |= {"moments": cluster.moments, "detected": cluster.detected}
        if line := _defined(frame and frame.owner):
            scope["line"] = line
        found.append(scope)
    return found


def _in_parts(scopes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return scopes with those of very many items cut into parts, which can be shut, and so on."""
    found, stack = list[dict[str, Any]](), [(scope, 0) for scope in reversed(scopes)]
    while stack:
        scope, first = stack.pop()
        found.append(scope)
        items, parts = scope["items"], list[str]()
        step = max(40, -(-len(items) // 40))
        for start in range(0, len(items), step) if len(items) > PART else ():
            title = f"{first + start + 1:,} … {first + min(start + step, len(items)):,}"
            part = {"key": f"{scope['key']}/{start}", "title": title, "part": True}
            stack.append((part | {"items": items[start : start + step]}, first + start))
            parts.append(str(part["key"]))
        scope["items"] = parts or items
    return found


def _inside(scene: Scene) -> dict[int, str]:
    """Return for nodes without a box the one that shows them: for parameters, views, picks."""
    keys = {k: box.key for box in scene.boxes.values() for k in box.written}
    keys |= {k: scene.nesting.key(end) for k, end in scene.wiring.begun.items()}
    for k, users in scene.wiring.uses.items():
        keys |= {p: f"n{k}" for p in users if p not in keys}
    for k in sorted(scene.wiring.hidden):
        node = scene.graph.nodes[k]
        if node.op and isinstance(node.args[0], int):
            source = scene.graph.shown[node.args[0]]
            keys[k] = keys.get(source, f"n{source}")
    return {k: key for k, key in keys.items() if key in scene.boxes and f"n{k}" not in scene.boxes}


def _defined(module: Any) -> str:
    """Return where the forward method of a module stands."""
    code = getattr(getattr(type(module), "forward", None), "__code__", None)
    return f"{file_name(code.co_filename)}, line {code.co_firstlineno}" if code else ""


def _box_data(scene: Scene, box: Box, home: str) -> dict[str, Any]:
    content = {
        "kind": box.kind,
        "title": [list(run) for run in box.runs],
        "home": home,
        "fact": box.fact,
        "notes": box.notes,
        "node": box.node,
        "members": box.members,
        "written": scene.everything(box)[len(box.members) :],
        "output": box.is_output,
    }
    return {key: value for key, value in content.items() if value or key == "node"}


def _wire_data(line: Line) -> list[Any]:
    times = line.wire.times
    if times == IN_NO_FOLD:
        return [line.source, line.target, line.label, line.position, line.is_state, [], None, None]
    folds = [fold for fold, _ in next(iter(times))]
    every = len(times) == math.prod([len(fold.moments) for fold in folds])
    return [
        line.source,
        line.target,
        line.label,
        line.position,
        line.is_state,
        [f"c{fold.number}" for fold in folds],
        None if every else sorted([[r for _, r in path] for path in times]),
        sorted([[p, q] for _, p, _, q in line.wire.rounds]) or None,
    ]


# ---- Mermaid -------------------------------------------------------------------------------------

MERMAID = """\
flowchart TD
    classDef leaf fill:#dcfce7,stroke:#64748b,stroke-width:2px,color:#000
    classDef constant fill:#e0f2fe,stroke:#64748b,color:#000
    classDef operation fill:#fff,stroke:#64748b,color:#000
    classDef view fill:none,stroke:none
    classDef port fill:none,stroke:#c2410c,stroke-dasharray:4,color:#c2410c
    classDef scope fill:#f1f5f9,stroke:#94a3b8,stroke-width:2px,color:#000
    classDef output fill:#fef3c7,stroke:#64748b,stroke-width:3px,color:#000
"""


def to_mermaid(
    outputs: Tensors,
    *,
    fold: bool = True,
    depth: int | None = None,
    grads: bool | Cotangents = None,
    agreement: Agreement | None = None,
    max_cost: int = 400,
) -> str:
    """Return the graph behind `outputs` as a Mermaid flow chart, for pages in Markdown.

    The arguments are as in `draw`; Mermaid's own limit is 500 arrows.
    """
    scene = fitting_scene(outputs, fold, depth, grads, agreement, max_cost)
    return MERMAID + "".join(_nested(scene)) + "".join(map(_mermaid_arrow, scene.wiring.lines))


def _nested(scene: Scene) -> Iterator[str]:
    shut = {f"c{cluster.number}" for cluster in scene.nesting.shut}
    content = {scope["key"]: scope for scope in _scopes(scene) if scope["key"] not in shut}
    stack: list[tuple[str, int]] = [(f"c{scene.graph.root.number}", 0)]
    while stack:
        key, level = stack.pop()
        indent = "    " * (level + 1)
        if key in scene.boxes:
            yield indent + _mermaid_box(scene, scene.boxes[key])
        elif key == "end":
            yield f"{indent}end\n"
        elif key in content:
            scope = content[key]
            if scope["title"]:
                title = " · ".join([scope[part] for part in ("title", "when") if part in scope])
                yield f'{indent}subgraph {key}["{_mermaid_text(title)}"]\n'
                stack.append(("end", level))
            inner = level + bool(scope["title"])
            stack += [(item, inner) for item in reversed(scope["items"])]


def _mermaid_box(scene: Scene, box: Box) -> str:
    size = scene.size(box.members, scene.scalar) if box.kind not in ("port", "view") else ""
    lines = [words.plain_text(box.runs), " ".join([box.fact, size]).strip(), *box.notes]
    text = "<br/>".join([_mermaid_text(line) for line in lines if line])
    kind = "output" if box.is_output else "leaf" if box.kind == "parameter" else box.kind
    left, right = ("[", "]") if box.kind in ("leaf", "constant", "parameter") else ("(", ")")
    return f'{box.key}{left}"{text}"{right}:::{kind}\n'


def _mermaid_arrow(line: Line) -> str:
    label = " ".join([line.label, line.position and f"({line.position})"]).strip()
    text = f'|"{_mermaid_text(label)}"|' if label else ""
    return f"    {line.source} {'-.->' if line.is_state else '-->'}{text} {line.target}\n"


def _mermaid_text(text: str) -> str:
    """Return text in which signs that Mermaid would read are written by number."""
    return re.sub(r"[^\w ,.:·…×→−+()\[\]=|%/{}'!~*-]", lambda m: f"#{ord(m[0])};", text)
