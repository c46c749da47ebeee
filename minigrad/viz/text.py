"""The graph as text: a folded tree for the terminal, one line for each scope and operation.

lstm: LSTM(8→16)                          1,664
│ matmul · weight_ih_l0ᵀ   (77, 32, 64)     512   0.4    1.2e−4
│ step ×77  t = 0 … 76                    1,024
│ │ f = sigmoid            (32, 16)               0.51   0 … 1e−3   0▁▁▂▂▃▄▄▅▆▆█
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..graph.graph import Graph, Tensors
from ..graph.nodes import Cluster
from ..graph.stats import Cotangents, Measured
from ..graph.times import ROUNDS, Times, whole
from . import words
from .colours import Scale
from .findings import address, broken, findings, worst
from .fit import boxes_by_depth, check_depth, keeping
from .scene import Agreement, Box, Scene

__all__ = ["Text", "as_text", "summary"]

BARS, PLAIN_BARS, STRIP_CELLS = "▁▂▃▄▅▆▇█", "_.:-=+*#", 12
MOST_LINES, LONGEST = 200, 60  # in all; operations of one scope
ASCII = {"·": "*", "→": "->", "−": "-", "ᵀ": ".T", "×": "x", "…": "..", "│": "|", "←": "<-"}
DIM, BOLD, OF_PARAMETERS, OF_SIGNS = "2", "1", "35", "31"  # codes of a terminal
COSTS, TIMES = ("FLOPs", "bytes", "kept"), ("forward", "backward")
COLUMNS = ("shape", "parameters", "value", "gradient", *COSTS, *TIMES)
FIRST = ("backward", "forward", "FLOPs", "kept", "gradient", "shape", "bytes", "value")  # for room


class Text(str):
    """Text that shows itself as it is."""

    def __repr__(self) -> str:
        return str(self)


class TextRow(NamedTuple):
    """A line: pieces of text with the codes of their colours, and what stands in which column."""

    name: list[tuple[str, str]]
    cells: Mapping[str, str] = {}
    strip: list[tuple[str, str]] = []  # noqa: RUF012 (it stays empty)


@keeping()
def summary(
    outputs: Tensors,
    *,
    fold: bool = True,
    depth: int | None = None,
    grads: bool | Cotangents = None,
    agreement: Agreement | None = None,
    width: int | None = None,
    color: bool | None = None,
    ascii: bool | None = None,
    cost: bool = False,
    time: bool = False,
) -> Text:
    """Return the graph behind a Tensor, or a container of them, as a tree for the terminal.

    For every operation: shape, number of its parameters, rms of its value and of its gradient, and
    that through the repetitions as a row of bars, on one logarithmic scale. `cost=True` adds what
    the forward pass takes, all repetitions together: floating-point operations, `-` where no rule
    is known; bytes read and written; bytes that the tape keeps for the backward pass. `time=True`
    runs every operation again, three times, and says how long it takes at least, forward and, where
    there are gradients, backward. `fold`, `depth`, `grads` and `agreement` are as in `draw`. The
    text is as wide as the terminal, has colours on one unless NO_COLOR is set, and stays in ASCII
    where the terminal knows no more.
    """
    check_depth(depth)
    graph = Graph(outputs, fold, inside=True)
    levels = boxes_by_depth(graph)
    fitting = [d for d, boxes in enumerate(levels, 1) if boxes <= MOST_LINES]
    measured = Measured(graph, grads, time=time)
    scene = Scene(graph, measured, agreement, depth or max(fitting, default=1))
    return as_text(scene, width, color, ascii, cost)


def as_text(
    scene: Scene,
    width: int | None = None,
    color: bool | None = None,
    ascii: bool | None = None,
    cost: bool = False,
) -> Text:
    """Return a scene as text."""
    out: Any = sys.stdout  # None in a program without a console
    on_terminal = out is not None and out.isatty()
    if width is None:
        width = shutil.get_terminal_size().columns if on_terminal else 100
    if color is None:
        color = on_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    if ascii is None:
        ascii = not _can_write("".join(ASCII) + BARS, getattr(out, "encoding", None))
    rows = _tree_rows(scene, PLAIN_BARS if ascii else BARS)
    columns = [c for c in COLUMNS if cost or c not in COSTS]
    table = _table([_head(scene), *rows], columns, max(width, 40), color, ascii)
    return Text("\n".join([*table, *_foot(scene, ascii, cost)]))


def _can_write(text: str, encoding: str | None) -> bool:
    try:
        text.encode(encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _head(scene: Scene) -> TextRow:
    size = scene.scale.name.replace("rms ", "") if scene.scale else "gradient"
    return TextRow([("", "")], {column: column for column in COLUMNS} | {"gradient": size})


def _tree_rows(scene: Scene, bars: str) -> list[TextRow]:
    inputs: dict[Cluster, list[Box]] = defaultdict(list)
    boxes = {box.node: box for box in scene.boxes.values() if box.kind in ("operation", "view")}
    for box in scene.boxes.values():
        if box.kind in ("leaf", "parameter", "constant"):
            inputs[box.home].append(box)
    rows, stack = list[TextRow](), list[Any]([(scene.graph.root, 0)])
    while stack:
        item, level = stack.pop()
        indent = [("│ " * level, DIM)]
        if isinstance(item, Box):
            rows.append(_line(scene, item, indent, bars))
        elif isinstance(item, str):
            rows.append(TextRow([*indent, (item, DIM)]))
        elif item in scene.nesting.shut:
            if (key := f"c{item.number}") in scene.boxes:
                rows.append(_line(scene, scene.boxes[key], indent, bars))
        else:
            if item.frame:
                rows.append(_scope(scene, item, indent))
                level += 1
            own: list[Any] = [boxes.get(i) if isinstance(i, int) else i for i in item.items]
            below: list[Any] = [i for i in [*inputs[item], *own] if i is not None]
            if len(below) > LONGEST:
                half = LONGEST // 2
                below[half:-half] = [f"… {len(below) - 2 * half:,} more"]
            stack += [(i, level) for i in reversed(below)]
    return rows


def _scope(scene: Scene, cluster: Cluster, indent: list[tuple[str, str]]) -> TextRow:
    name = [*indent, (words.title(cluster), BOLD)]
    if cluster.moments:
        name.append((f"  {words.when(cluster)}", DIM))
    count = _parameter_count(scene, scene.parameters(cluster))
    return TextRow(name, {"parameters": count, **_cost(scene, cluster.numbers)})


def _line(scene: Scene, box: Box, indent: list[tuple[str, str]], bars: str) -> TextRow:
    codes = {"name": BOLD, "parameter": OF_PARAMETERS, "": ""}
    name = [*indent, *[(run.text, codes[run.style]) for run in box.runs]]
    if box.is_output:
        name.append((" ".join([" ← output", *box.notes]), DIM))
    elif box.node in scene.graph.shut:
        name.append((" ".join([" ", *box.notes]), DIM))
    graph, measured = scene.graph, scene.measured
    shape = words.shape_and_dtype(graph.nodes[box.node].value, scene.usual) if box.node >= 0 else ""
    if box.cluster:
        name.append((f"  {box.fact.partition(', ')[0]}", DIM))
    members = box.members
    value = words.magnitude([measured.values[k] for k in members]) if box.node >= 0 else ""
    if scene.scalar and len(members) == 1:
        value = words.numeral(graph.nodes[box.node].value.item(), 4)
    size = re.sub(r"^(\|g\||error|grad) ", "", scene.size(members, scene.scalar))
    strip = _bars(scene.scale, members, bars) if scene.scale and len(members) > 1 else []
    inside = box.cluster.numbers if box.cluster else [box.node] * (box.kind != "port")
    count = _parameter_count(scene, box.written)
    cells = {"shape": shape, "parameters": count, "value": value, "gradient": size}
    return TextRow(name, cells | _cost(scene, inside), strip)


def _cost(scene: Scene, numbers: Sequence[int]) -> dict[str, str]:
    """Return what operations cost, and how long they take, by column."""
    if not numbers:
        return {}
    cost = scene.cost([k for k in numbers if scene.graph.nodes[k].op])
    cells = dict(zip(COSTS, map(words.amount, cost), strict=True)) if any(cost) else {}
    times = zip(TIMES, scene.time(numbers), strict=True) if scene.measured.times else ()
    return cells | {column: words.duration(t) for column, t in times if t}


def _parameter_count(scene: Scene, parameters: Sequence[int]) -> str:
    n = scene.parameter_count(parameters)
    return f"{n:,}" if n else ""


def _bars(scale: Scale, numbers: Sequence[int], bars: str) -> list[tuple[str, str]]:
    """Return a bar for each repetition, or a sign for what has no magnitude."""
    row = list[tuple[str, str]]()
    for cell in scale.strip(numbers, STRIP_CELLS):
        r, g, b = [int(cell.colour[i : i + 2], 16) for i in (1, 3, 5)]
        height = min(int(cell.place * len(bars)), len(bars) - 1)
        row.append((cell.sign or bars[height], f"38;2;{r};{g};{b}" if not cell.sign else OF_SIGNS))
    return row


def _table(
    rows: Sequence[TextRow], columns: Sequence[str], width: int, color: bool, ascii: bool
) -> list[str]:
    """Return rows in columns; where there is no room, the last are left out, names are cut."""

    def written(text: str) -> str:
        if not ascii:
            return text
        return "".join([ASCII.get(c, c) for c in text]).encode("ascii", "replace").decode()

    cells = [{c: written(text) for c, text in row.cells.items()} for row in rows]
    names = [[(written(text), code) for text, code in row.name] for row in rows]
    widths = {c: max([len(row.get(c, "")) for row in cells[1:]], default=0) for c in columns}
    widths = {c: max(w, len(cells[0][c])) for c, w in widths.items() if w}
    longest = max([sum([len(text) for text, _ in name]) for name in names])
    strip = max([len(row.strip) for row in rows])
    room, shown = width - min(longest, max(24, width // 3)) - (strip and strip + 2), set[str]()
    for c in (*FIRST, "parameters"):
        if c in widths and room >= widths[c] + 2:
            room -= widths[c] + 2
            shown.add(c)
    left = min(longest, width - sum([widths[c] + 2 for c in shown]) - (strip and strip + 2))

    def paint(text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if color and code and text.strip() else text

    lines = []
    for row, name, line in zip(rows, names, cells, strict=True):
        text, used = "", 0
        for piece, code in name:
            piece = piece if used + len(piece) <= left else piece[: max(0, left - used - 1)] + "~"
            if used < left:
                text += paint(piece, code)
            used += len(piece)
        text += " " * max(0, left - used)
        for c in [c for c in columns if c in shown]:
            cell, is_number = line.get(c, ""), c == "parameters" or c in (*COSTS, *TIMES)
            text += "  " + (cell.rjust(widths[c]) if is_number else cell.ljust(widths[c]))
        if row.strip:
            text += "  " + "".join([paint(bar, code) for bar, code in row.strip])
        lines.append(text.rstrip())
    return lines


def _whole_cost(scene: Scene) -> str:
    """Return the cost of all operations, and which are not in the number of FLOPs."""
    flops, moved, kept = [words.amount(n) for n in scene.cost([*scene.costs])]
    unknown = sorted({scene.graph.nodes[k].op for k, c in scene.costs.items() if c.flops is None})
    text = f"forward: {flops} FLOPs; {moved}B read and written; {kept}B kept for backward"
    return text + f"; FLOPs not known of {', '.join(unknown)}" * bool(unknown)


def _whole_time(scene: Scene, times: Sequence[Times]) -> str:
    """Return how long all operations take, and which are not in the time forward."""
    took = [f"{words.duration(t)} {name}" for name, t in zip(TIMES, whole(times), strict=True) if t]
    nodes = zip(scene.graph.nodes, times, strict=True)
    unknown = sorted({node.op for node, t in nodes if t.forward is None})
    text = f"time: {', '.join(took)}; of every operation alone, the least of {ROUNDS}"
    text += f"; forward not known of {', '.join(unknown)}" * bool(unknown)
    return text + "; checkpoints run forward once more" * bool(scene.graph.forgotten)


def _foot(scene: Scene, ascii: bool, cost: bool) -> list[str]:
    graph, scale, lines = scene.graph, scene.scale, [""]
    parameters = {k for k, n in enumerate(graph.nodes) if n.kind == "parameter"}
    size = sum([graph.nodes[k].value.size for k in parameters])
    facts = [f"{len(graph.nodes):,} nodes", f"{size:,} parameters" * bool(size)]
    facts.append(f"{scene.usual} unless marked" if scene.usual is not None else "")
    lines.append("; ".join([fact for fact in facts if fact]))
    if cost:
        lines.append(_whole_cost(scene))
    if scene.measured.times:
        lines.append(_whole_time(scene, scene.measured.times))
    if scale is None:
        lines.append("gradients not computed: run backward() first, or pass grads=True")
    else:
        signs = ", ".join([f"{sign} {meaning}" for sign, meaning in scale.signs.items()])
        lines.append(f"bars: {scale.name}, {' to '.join(scale.ends)}; {signs}")
    lines += [f"{what} {x}: {address(scene, k)}" for what, x, k in findings(scene)]
    lines += [f"not finite: {kind} of {where}" for kind, _, where in broken(scene)[:10]]
    least = worst(scene)
    lines += ["worst first:"] * bool(least)
    lines += [f"  {error}  {address(scene, k)}  {text}".rstrip() for k, error, text in least]
    if ascii:
        table = {ord(c): text for c, text in ASCII.items()}
        lines = [line.translate(table).encode("ascii", "replace").decode() for line in lines]
    return lines
