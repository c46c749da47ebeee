"""Static pictures: a graph written in DOT, the language of Graphviz.

    white box         an operation: `f = sigmoid`, with its parameters, its shape and dtype
    bare text         an operation that only looks at its input another way, as indexing does
    square box        an input: a constant (blue), or a leaf that takes a gradient (green, bold)
    dashed box        a state: `h[t−1]` comes from the repetition before, `h[t]` goes to the next
    double box        an output
    frame             a scope; `step ×77` stands for 77 scopes that repeat one another

Parameters are written into the operations that use them, for a box that feeds every step takes
`dot` minutes. Small digits at arrows are the positions of the arguments, where these matter. The
text is the same for the same computation, and needs no `dot`; only pictures do.
"""

from __future__ import annotations

import functools
import html
import re
import shutil
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from ..graph import Cluster, End, Graph, Node, Wire
from ..tape import Outputs

if TYPE_CHECKING:
    import graphviz

__all__ = ["GraphTooLarge", "draw", "drawing_classes"]

SCALAR_NODES = 50  # up to so many, a graph of numbers shows values and gradients
SYMMETRIC = {"add", "multiply", "maximum", "minimum"}
UNSAFE = "[^ -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"  # what XML does not allow
GREY, PURPLE, ORANGE = "#64748b", "#6d28d9", "#c2410c"
FONT = 'fontname="Helvetica,Arial,sans-serif"'
PAGE = f"""\
\tgraph [rankdir=TB nodesep=0.25 ranksep=0.3 {FONT} fontsize=10]
\tnode [shape=box style="rounded,filled" fillcolor=white color="{GREY}" margin="0.1,0.04" \
height=0.3 {FONT} fontsize=11]
\tedge [color="{GREY}" arrowsize=0.6 {FONT} fontsize=9 labeldistance=1.5 labelangle=-40]
"""
TOO_LARGE = (
    "laying this graph out would cost at least {:,}, above max_cost={:,} (`dot` does some 1,000 "
    "per second). Draw a part, as in draw(h) of an intermediate tensor; put every repetition into "
    '`with mg.scope("step", t):` and leave fold=True, so that it is drawn once; or raise max_cost'
)
NO_DOT = (
    "Graphviz's program `dot` is not installed; the Python package graphviz does not include it. "
    "Install it with `apt-get install graphviz`, `brew install graphviz` or `conda install -c "
    "conda-forge graphviz`. The text of the picture, .source and .save(), needs no program."
)
STYLE = {
    "operation": "",
    "view": ' shape=none style="" margin="0.05,0.02" height=0.2',
    "parameter": ' style="filled,bold" fillcolor="#dcfce7"',
    "leaf": ' style="filled,bold" fillcolor="#dcfce7"',
    "constant": ' style=filled fillcolor="#e0f2fe"',
    "port": f' style="rounded,dashed" color="{ORANGE}" fontcolor="{ORANGE}"',
    "output": ' peripheries=2 fillcolor="#fef3c7"',
}


class GraphTooLarge(ValueError):  # noqa: N818 (it reads as what happened)
    """Laying the graph out would take too long."""


def draw(outputs: Any, fold: bool = True, max_cost: int = 2500) -> graphviz.Digraph:
    """Draw the graph behind a Tensor, or a container of them, as a `graphviz.Digraph`.

    A notebook shows it, `.render("name", format="svg")` writes it, `.source` is its text. `fold`
    draws repetitions once. A small graph of numbers shows values, and gradients where there are
    any. GraphTooLarge (a ValueError) if boxes and the ranks that arrows cross exceed `max_cost`;
    RuntimeError for a tensor without a graph.
    """
    graph = Graph(outputs, fold)
    boxes = {k for k in graph.shown if graph.nodes[k].op not in ("", "transpose")}
    if len(boxes) > max_cost:  # known without looking at the arrows
        raise GraphTooLarge(TOO_LARGE.format(len(boxes), max_cost))
    page = _Page(graph)
    if (cost := page.cost()) > max_cost:
        raise GraphTooLarge(TOO_LARGE.format(cost, max_cost))
    return drawing_classes()[0](name="minigrad", body=page.lines())


@functools.cache
def drawing_classes() -> tuple[Any, Any]:
    """Make the classes of a drawing and its error, out of graphviz, which nothing else imports."""
    import graphviz

    class DotNotFound(graphviz.ExecutableNotFound):  # type: ignore[misc]
        """Graphviz's program `dot` is not installed."""

        __init__ = RuntimeError.__init__

    def require_dot() -> None:
        if shutil.which("dot") is None:
            raise DotNotFound(NO_DOT)

    class Drawing(graphviz.Digraph):  # type: ignore[misc]
        """A picture of a computation graph."""

        def render(self, *args: Any, **kwargs: Any) -> Any:
            require_dot()
            return super().render(*args, **kwargs)

        def pipe(self, *args: Any, **kwargs: Any) -> Any:
            require_dot()
            return super().pipe(*args, **kwargs)

        def _repr_mimebundle_(self, *args: Any, **kwargs: Any) -> Any:
            try:
                return super()._repr_mimebundle_(*args, **kwargs)
            except DotNotFound:
                return {"text/plain": f"{self!r}\n{NO_DOT}"}

    return Drawing, DotNotFound


class _Page:
    """The boxes and arrows of a picture."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.outputs = graph, defaultdict[int, list[str]](list)
        for k in graph.outputs:
            when = ", ".join([f"{fold.letter}={fold.moments[r]}" for fold, r in graph.paths[k]])
            self.outputs[graph.shown[k]] += [f"output at {when}"] if when else []
        shown = [node for node in graph.nodes if graph.shown[node.number] == node.number]
        self.scalar = len(shown) <= SCALAR_NODES and all(n.value.shape == () for n in shown)
        self.written: dict[int, str] = {}  # parameters and their transposes, which have no boxes
        for node in shown if not self.scalar else ():
            text = node.name or "parameter" if node.kind == "parameter" else ""
            if node.op == "transpose" and node.args[0] in self.written and not node.name:
                text = f"{self.written[node.args[0]]}ᵀ{graph.options(node.number)}"
            if text and node.number not in self.outputs:
                self.written[node.number] = text
        self.wires: list[Wire] = []
        self.wired: dict[int, set[int]] = defaultdict(set)  # node -> positions of arrows
        self.starts: dict[End, str] = {}  # what a state is at first, if no arrow says it
        for wire in graph.wires():
            source, target = graph.nodes[wire.source.node], graph.nodes[wire.target.node]
            text = "" if wire.source.port else self.written.get(source.number, "")
            if wire.target.port == "in" and (source.kind, source.name) == ("constant", None):
                text = "constant" if np.any(source.value) else "zeros"
            if not text:
                self.wires.append(wire)
            elif wire.target.port == "in":
                self.starts[wire.target] = f"{wire.label}: {text}"
            if not text and not wire.target.port:
                self.wired[target.number].add(wire.position)
                start = target.args[wire.position]  # of the first repetition
                if isinstance(start, str) and (fold := wire.source.fold):
                    self.starts[wire.source] = f"{fold.letter}={fold.moments[0]}: {start}"
        ends = {end for wire in self.wires for end in (wire.source, wire.target)}
        ends |= {End(n.number) for n in shown if n.op and n.number not in self.written}
        self.boxes = sorted(ends | {End(k) for k in self.outputs}, key=lambda e: (e.node, _id(e)))
        self.states = Counter([(e.fold, e.port, _name(graph.nodes[e.node])) for e in self.boxes])

    def cost(self) -> int:
        """Count the boxes, and the ranks that arrows cross if every box stands as low as it can."""
        above: dict[End, list[End]] = defaultdict(list)
        waiting, height = dict.fromkeys(self.boxes, 0), dict.fromkeys(self.boxes, 0)
        for wire in self.wires:
            above[wire.target].append(wire.source)
            waiting[wire.source] += 1
        stack = [end for end, n in waiting.items() if n == 0]
        while stack:
            end = stack.pop()
            for source in above[end]:
                height[source] = max(height[source], height[end] + 1)
                waiting[source] -= 1
                if waiting[source] == 0:
                    stack.append(source)
        ranks = [height[wire.source] - height[wire.target] for wire in self.wires]
        return len(self.boxes) + sum([max(n - 1, 0) for n in ranks])

    def lines(self) -> list[str]:
        """Write the body of the DOT text: frames with their boxes, then the arrows."""
        inside: dict[int, list[End]] = defaultdict(list)  # inputs and ports, by number of frame
        for end in self.boxes:
            path = self.graph.paths[end.node]
            home = end.fold or (path[-1][0] if path else self.graph.root)
            if end.fold or not self.graph.nodes[end.node].op:
                inside[home.number].append(end)
        out, stack = [PAGE], list[Any]([self.graph.root])
        while stack:
            item = stack.pop()
            if isinstance(item, Cluster):
                if item.frame:
                    out.append(f"\tsubgraph cluster_{item.number} {{\n\t\t{_frame(item)}\n")
                    stack.append("\t}\n")
                out += [self._box(end) for end in inside[item.number]]
                stack += reversed(item.items)
            elif isinstance(item, str):
                out.append(item)
            elif item not in self.written:
                out.append(self._box(End(item)))
        return out + [self._arrow(wire) for wire in self.wires]

    def _box(self, end: End) -> str:
        node = self.graph.nodes[end.node]
        path, name, color = self.graph.paths[end.node], _name(node), GREY
        if end.fold:
            several = f" {end.node}" if self.states[end.fold, end.port, name] > 1 else ""
            text = f"{name}{several}[{_safe(end.fold.letter)}{'−1' if end.port == 'in' else ''}]"
            style, color, facts = "port", ORANGE, [self.starts[end]] if end in self.starts else []
        else:
            moment = f"[{_safe(path[-1][0].letter)}]" if path else ""
            style, text, facts = node.kind, f"<b>{name}</b>{moment}", self._facts(node)
            if node.op:
                style, text = self._operation(node)
        if not end.port and end.node in self.outputs:
            style, facts = "output", facts + self.outputs[end.node]
        text = "<br/>".join([text, *[_small(fact, color) for fact in facts]])
        return f"\t{_id(end)} [label=<{text}>{STYLE[style]}]\n"

    def _operation(self, node: Node) -> tuple[str, str]:
        """Write an operation as `f = power(·, 2)`, or `matmul · weight` if the wires come first."""
        inputs = []
        for j, arg in enumerate(node.args):
            if j in self.wired[node.number] or (isinstance(arg, int) and arg not in self.written):
                inputs.append("")
            elif isinstance(arg, str):
                inputs.append(_safe(arg))
            else:
                inputs.append(f'<i><font color="{PURPLE}">{_safe(self.written[arg])}</font></i>')
        name, op, options = node.name, _safe(node.op), _safe(self.graph.options(node.number))
        text = (f"<b>{_safe(name)}</b> = {op}" if name else f"<b>{op}</b>") + options
        written = [x for x in inputs if x]
        if any(x[0] != "<" for x in written) or inputs[len(inputs) - len(written) :] != written:
            text += f"({', '.join([x or '·' for x in inputs])})"
        elif written:
            text += f" · {', '.join(written)}"
        xs = node.tensor.xs if isinstance(node.value, np.ndarray) else ()
        if any(isinstance(x, np.ndarray) and np.may_share_memory(x, node.value) for x in xs):
            return "view", f'<font point-size="9">{text}</font>'
        return "operation", text

    def _facts(self, node: Node) -> list[str]:
        if isinstance(node.value, Outputs):
            return [f"{len(node.value)} outputs"]
        if not self.scalar or self.graph.paths[node.number]:
            return [f"{node.value.shape} {node.value.dtype}"]
        facts = [f"value {node.value.item():.4g}"]
        if node.kind in ("leaf", "parameter"):
            grad = node.tensor.grad
            facts.append("grad not computed" if grad is None else f"grad {grad.item():.4g}")
        return facts

    def _arrow(self, wire: Wire) -> str:
        target, attributes = self.graph.nodes[wire.target.node], []
        if wire.label:
            attributes.append(f"label=<&#8194;{_small(wire.label)}>")
        positions = self.wired[target.number] if not wire.target.port else ()
        if 1 < len(positions) < 4 and target.op not in SYMMETRIC:
            attributes.append(f"headlabel=<{_small(str(wire.position + 1))}>")
        if wire.source.port == "in" or wire.target.port:
            attributes.append(f'color="{ORANGE}"')
        text = f" [{' '.join(attributes)}]" if attributes else ""
        return f"\t{_id(wire.source)} -> {_id(wire.target)}{text}\n"


def _frame(cluster: Cluster) -> str:
    frame: Any = cluster.frame
    title, owner, moments = _safe(frame.label), frame.owner, cluster.moments
    if owner is not None:
        title += f": {_safe(type(owner).__name__)}"
    for a, b in (("input_size", "hidden_size"), ("in_features", "out_features")):
        if hasattr(owner, a) and hasattr(owner, b):
            title += f"({_safe(getattr(owner, a))}→{_safe(getattr(owner, b))})"
    if moments:
        span = _small(f"{cluster.letter} = {moments[0]} … {moments[-1]}")
        title = f"<b>{title} ×{len(moments)}</b>&#8195;{span}"
    elif frame.index is not None:
        title += f"[{frame.index}]"
    fill, width = ("#f1f5f9", 2) if moments else ("#ffffff", 1)
    style = f'style="rounded,filled" color="#94a3b8" fillcolor="{fill}" penwidth={width}'
    return f"graph [label=<{title}> labeljust=l {style}]"


def _name(node: Node) -> str:
    return _safe(node.name or node.op or ("array" if node.kind == "constant" else "tensor"))


def _id(end: End) -> str:
    return f"n{end.node}" + (f"_{end.port}{end.fold.number}" if end.fold else "")


def _small(text: str, color: str = GREY) -> str:
    return f'<font point-size="9" color="{color}">{_safe(text)}</font>'


def _safe(text: Any, limit: int = 60) -> str:
    """Make any text safe in an HTML-like label, on one line, and short."""
    text = re.sub(UNSAFE, "\ufffd", " ".join(str(text).split()))
    text = text if len(text) <= limit else f"{text[: limit - 1]}…"
    return html.escape(text).replace("\\", "&#92;&#92;")  # `dot` expands \N, even in HTML
