"""Static pictures: a scene written in DOT, the language of Graphviz.

    white box         an operation: `f = sigmoid`, with its parameters and its shape
    bare text         an operation that only looks at its input another way, as indexing does
    square box        an input: a constant (blue), or a leaf that takes a gradient (green, bold)
    dashed box        a state: `h[t−1]` comes from the repetition before, `h[t]` goes to the next
                      (`h[t+1]` where the steps are in reverse)
    double box        an output
    frame             a scope; `step ×77` stands for 77 scopes that repeat one another
    strip             the rms of the gradient, through the repetitions from left to right

Parameters are written into the operations that use them, for a box that feeds every step takes
`dot` minutes. Small digits at arrows are the positions of the arguments, where these matter. The
text is the same for the same computation, and needs no `dot`; only pictures do.
"""

from __future__ import annotations

import html as markup
import shutil
import textwrap
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import graphviz

from ..graph.graph import Tensors
from ..graph.nodes import Cluster
from ..graph.stats import Cotangents
from . import colours, html, text, words
from .findings import address, worst
from .fit import fitting_scene
from .scene import Agreement, Box, Scene
from .wiring import Line
from .words import Run, clean

__all__ = ["DotNotFound", "draw", "drawing", "escaped", "small"]

GREY, PURPLE, ORANGE, FRAME = "#64748b", "#6d28d9", "#c2410c", "#94a3b8"
FONT = 'fontname="Helvetica,Arial,sans-serif"'
STRIP_WIDTH = 112  # points
PAGE = f"""\
\tgraph [rankdir=TB nodesep=0.2 ranksep=0.28 {FONT} fontsize=10 labelloc=b labeljust=l]
\tnode [shape=box style="rounded,filled" fillcolor=white color="{GREY}" margin="0.06,0.03" \
height=0.3 {FONT} fontsize=11]
\tedge [color="{GREY}" arrowsize=0.6 {FONT} fontsize=9 labeldistance=1.5 labelangle=-40]
"""
NO_DOT = (
    "Graphviz's program `dot` is not installed; the Python package graphviz does not include it. "
    "Install it with `apt-get install graphviz`, `brew install graphviz` or `conda install -c "
    "conda-forge graphviz`; or write a page, which needs nothing: mg.viz.show(loss, 'graph.html'). "
    "The text of the picture, .source and .save(), needs no program."
)
STYLE = {
    "operation": "",
    "view": ' shape=none style="" margin="0.04,0.01" height=0.2',
    "parameter": ' style="filled,bold" fillcolor="#dcfce7"',
    "leaf": ' style="filled,bold" fillcolor="#dcfce7"',
    "constant": ' style=filled fillcolor="#e0f2fe"',
    "port": f' style="rounded,dashed" color="{ORANGE}" fontcolor="{ORANGE}"',
    "scope": f' fillcolor="#f1f5f9" color="{FRAME}" penwidth=2',
}
OUTPUT = ' peripheries=2 fillcolor="#fef3c7"'
KEY = {  # what the legend says, of what there is in the picture
    "leaf": "green: takes a gradient",
    "constant": "blue: constant",
    "view": "no box: another view of its input",
    "port": "dashed: state passed on from step to step",
}


def draw(
    outputs: Tensors,
    *,
    fold: bool = True,
    depth: int | None = None,
    grads: bool | Cotangents = None,
    agreement: Agreement | None = None,
    max_cost: int = 2500,
    left_to_right: bool = False,
) -> graphviz.Digraph:
    """Return a picture of the graph behind a Tensor, or a container of them: a `graphviz.Digraph`.

    A notebook shows it, `.render("name", format="svg")` writes it, `.source` is its text. `fold`
    draws repetitions once; scopes from `depth` on are single boxes, by default only where the
    picture would be too large otherwise.

    Gradients are those of the outputs, and are shown if a backward pass has been run; `grads=True`
    computes them for the picture, `grads=False` leaves them out, and for outputs that are not
    numbers `grads` are their cotangents. A small graph of numbers shows values and gradients.

    `agreement` maps Tensors to relative errors, nan for what was not compared, each perhaps in a
    pair with a text; they are then shown in the place of gradients, and the worst are listed.
    `left_to_right` lays it out from left to right, as a wide page has room for.

    GraphTooLarge (a ValueError) if boxes and the ranks that arrows cross exceed `max_cost` even
    with every scope shut; RuntimeError for a tensor without a graph.
    """
    scene = fitting_scene(outputs, fold, depth, grads, agreement, max_cost)
    body = as_dot(scene)
    if left_to_right:
        body[0] = body[0].replace("rankdir=TB", "rankdir=LR")
    if shutil.which("dot"):
        return drawing(body)
    whole = Scene(scene.graph, scene.measured, agreement)
    page = html.Page(html.as_html(whole))
    return drawing(body, {"text/html": page._repr_html_(), "text/plain": text.as_text(scene)})


class DotNotFound(graphviz.ExecutableNotFound):  # type: ignore[misc]
    """Graphviz's program `dot` is not installed."""

    def __init__(self, *args: object) -> None:
        RuntimeError.__init__(self, *args)


def _require_dot() -> None:
    if shutil.which("dot") is None:
        raise DotNotFound(NO_DOT)


class Drawing(graphviz.Digraph):  # type: ignore[misc]
    """A picture of a computation graph; `instead` is what a notebook shows without `dot`."""

    instead: Mapping[str, str] = {}

    def __repr__(self) -> str:
        arrows = sum([" -> " in line.partition("[label")[0] for line in self.body])
        keys = [line.partition(" [label=")[0].strip() for line in self.body]
        boxes = sum([key.isidentifier() and key != "graph" for key in keys])
        return (
            f"<picture of {boxes:,} boxes and {arrows:,} arrows: a notebook shows it, "
            '.render("name", format="svg") writes it, .source is its text>'
        )

    def render(self, *args: Any, **kwargs: Any) -> Any:
        """Write the picture to a file: see `graphviz.Digraph.render`."""
        _require_dot()
        return super().render(*args, **kwargs)

    def pipe(self, *args: Any, **kwargs: Any) -> Any:
        """Return the picture in a format, such as `pipe("svg")`: see `graphviz.Digraph.pipe`."""
        _require_dot()
        return super().pipe(*args, **kwargs)

    def _repr_mimebundle_(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super()._repr_mimebundle_(*args, **kwargs)
        except DotNotFound:
            return {"text/plain": f"{self!r}\n{NO_DOT}", **self.instead}


def drawing(body: list[str], instead: Mapping[str, str] | None = None) -> Drawing:
    """Return a drawing of DOT text."""
    made = Drawing(name="minigrad", body=body)  # no __init__ of its own, for copies are made by it
    made.instead = instead or {}
    return made


# ---- the text ------------------------------------------------------------------------------------


def as_dot(scene: Scene) -> list[str]:
    """Return the body of the DOT text: frames with their boxes, then the arrows."""
    inside: dict[Cluster, list[Box]] = defaultdict(list)
    operations: dict[int, Box] = {}
    for box in scene.boxes.values():
        if box.kind in ("operation", "view"):
            operations[box.node] = box
        elif box.kind != "scope":
            inside[box.home].append(box)
    legend = _legend(scene)
    out, stack = [PAGE, f"\tgraph [label=<{legend}>]\n"] if legend else [PAGE], list[Any]()
    stack.append(scene.graph.root)
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            out.append(item)
        elif not isinstance(item, Cluster):
            if item in operations:
                out.append(_box(scene, operations[item]))
        elif item in scene.nesting.shut:
            key = f"c{item.number}"
            out += [_box(scene, scene.boxes[key])] if key in scene.boxes else []
        else:
            if item.frame:
                out.append(f"\tsubgraph cluster_{item.number} {{\n\t\t{_frame(item)}\n")
                stack.append("\t}\n")
            out += [_box(scene, box) for box in inside[item]]
            stack += reversed(item.items)
    return out + [_arrow(line) for line in scene.wiring.lines]


def _box(scene: Scene, box: Box) -> str:
    color = ORANGE if box.kind == "port" else GREY
    size = scene.size(box.members, scene.scalar) if box.kind != "view" else ""
    facts = [box.fact, size] if box.node < 0 or scene.scalar else [f"{box.fact}  {size}".strip()]
    if scene.scalar and not size and box.kind in ("leaf", "parameter"):
        facts.append("grad not computed")
    title = _runs(box.runs)
    if box.kind == "view":
        title = f'<font point-size="9">{title}</font>'
    lines = [title, *[small(fact, color) for fact in [*facts, *box.notes] if fact]]
    if scene.scale and box.kind != "scope":
        lines += [
            _parameter(scene, k, box.node) for k in box.written if scene.size(scene.members[k])
        ]
    content = "<br/>".join(lines)
    is_one = box.kind == "scope" and bool(scene.errors)
    strip = _strip(scene, box.members, is_one) if box.kind not in ("port", "view") else ""
    if strip:
        content = (
            '<table border="0" cellspacing="0" cellpadding="1">'
            f"<tr><td>{content}</td></tr><tr><td>{strip}</td></tr></table>"
        )
    style = STYLE[box.kind] + OUTPUT * box.is_output
    return f"\t{box.key} [label=<{content}>{style}]\n"


def _strip(scene: Scene, numbers: list[int], is_one: bool) -> str:
    """Return what the scale shows of a node through its repetitions, as a row of cells."""
    written = scene.scalar and len(numbers) == 1  # as a number
    cells = scene.scale.strip(numbers) if scene.scale and not written else []
    if cells and is_one and scene.scale:
        cells = [scene.scale.cell([scene.scale.values.get(k) for k in numbers])]
    return _cells_in_a_row(cells, STRIP_WIDTH // len(cells)) if cells else ""


def _cells_in_a_row(cells: Sequence[colours.Cell], width: int) -> str:
    row = [
        f'<td width="{width}" height="8" bgcolor="{cell.colour}">{_sign(cell)}</td>'
        for cell in cells
    ]
    table = '<table border="0" cellborder="0" cellspacing="0" cellpadding="0">'
    return f"{table}<tr>{''.join(row)}</tr></table>"


def _sign(cell: colours.Cell) -> str:
    ink = colours.ink(cell.colour)
    return f'<font point-size="6" color="{ink}">{cell.sign}</font>' if cell.sign else ""


def _parameter(scene: Scene, k: int, user: int) -> str:
    """Return a parameter of an operation, with a square in the colour of each gradient."""
    members = scene.members[k]
    cells = scene.scale.strip(members, 12) if scene.scale else [colours.Cell(GREY)]
    square = "".join([cell.sign or f'<font color="{cell.colour}">■</font>' for cell in cells])
    name = f'<font color="{PURPLE}"><i>{escaped(scene.written.text(k, user))}</i></font>'
    return f'<font point-size="9">{square} {name}</font> {small(scene.size(members))}'


def _legend(scene: Scene) -> str:
    """Return what colours and shapes mean, of those that there are."""
    rows, scale, kinds = list[str](), scene.scale, {box.kind for box in scene.boxes.values()}
    if scale and (not scene.scalar or any(len(box.members) > 1 for box in scene.boxes.values())):
        low, high = scale.ends
        colors = [colours.blend(scale.palette, k / 23) for k in range(24)]
        bar = _cells_in_a_row([colours.Cell(color) for color in colors], 6)
        signs = [f"{sign} {meaning}" for sign, meaning in scale.signs.items()]
        cells = [small(f"{scale.name}  {low}"), bar, small(high), small(",  ".join(signs))]
        rows.append("".join([f"<td>{cell}</td>" for cell in cells]))
    key = [KEY[kind] for kind in KEY if kind in kinds]
    if scene.written.patterns:
        key.insert(0, "purple: parameter")
    if scene.usual is not None and not scene.scalar:
        key.append(f"{scene.usual} unless marked")
    if not scale:
        key.append("gradients not computed: run backward() first, or draw with grads=True")
    lines = [small(line, limit=200) for line in textwrap.wrap("; ".join(key), 78)]
    least = worst(scene)
    lines += [small("worst first:")] * bool(least)
    for k, error, why in least:
        lines.append(f"{_safe(address(scene, k))} {small(f'{error} {why}'.strip(), limit=80)}")
    body = "".join([f'{line}<br align="left"/>' for line in lines])
    if lines:
        rows.append(f'<td colspan="4" align="left" balign="left">{body}</td>')
    table = "".join([f"<tr>{row}</tr>" for row in rows])
    return f'<table border="0" cellspacing="0" cellpadding="2">{table}</table>' if rows else ""


def _arrow(line: Line) -> str:
    attributes = []
    if line.label:  # with the position, which would lie on it
        both = f"{line.label} ({line.position})" if line.position else line.label
        attributes.append(f"label=<&#8194;{small(both)}>")
    elif line.position:
        attributes.append(f"headlabel=<{small(line.position)}>")
    if line.is_state:
        attributes.append(f'color="{ORANGE}"')
    given = f" [{' '.join(attributes)}]" if attributes else ""
    return f"\t{line.source} -> {line.target}{given}\n"


def _frame(cluster: Cluster) -> str:
    title, is_fold = _safe(words.title(cluster)), bool(cluster.moments)
    if is_fold:
        title = f"<b>{title}</b>&#8195;{small(words.when(cluster))}"
    fill, width = ("#f1f5f9", 2) if is_fold else ("#ffffff", 1)
    style = f'style="rounded,filled" color="{FRAME}" fillcolor="{fill}" penwidth={width}'
    return f"graph [label=<{title}> labelloc=t labeljust=l {style}]"


def _runs(runs: list[Run]) -> str:
    styles = {
        "": "{}",
        "name": "<b>{}</b>",
        "parameter": f'<i><font color="{PURPLE}">{{}}</font></i>',
    }
    return "".join([styles[run.style].format(_with_spaces(run.text)) for run in runs])


def _with_spaces(content: str) -> str:
    """Return text whose spaces stay, which a browser drops at the ends of a piece."""
    return escaped(content).replace(" ", "&#160;")


def small(content: str, color: str = GREY, limit: int = words.LIMIT) -> str:
    """Return text in small letters of another colour."""
    return f'<font point-size="9" color="{color}">{_safe(content, limit)}</font>'


def _safe(content: Any, limit: int = words.LIMIT) -> str:
    """Return any text safe for an HTML-like label, on one line, and short."""
    return escaped(clean(content, limit))


def escaped(content: str) -> str:
    """Return clean text safe for an HTML-like label."""
    return markup.escape(content).replace("\\", "&#92;&#92;")  # `dot` expands \N, even in HTML
