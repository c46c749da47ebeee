"""Static pictures: a graph written in DOT, the language of Graphviz.

    box, white          an operation: `f = sigmoid`, its parameters beside it, shape and dtype
    text without a box  an operation that only looks at its input another way, as `transpose`
    box, square         an input: blue a constant, green and bold a leaf that takes a gradient
    box, dashed         a state: `h[t−1]` enters a repetition from the one before, `h[t]` leaves it
    box, double         an output
    frame               a scope; `step ×77` stands for 77 scopes that repeat one another

The text is the same for the same computation. Laying it out is the work of Graphviz's program
`dot`, without which `.source` and `.save()` still work.
"""

from __future__ import annotations

import functools
import html
import re
import shutil
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from ..graph import Cluster, End, Graph, Node, Wire
from ..tape import Outputs

if TYPE_CHECKING:
    import graphviz

__all__ = ["GraphTooLarge", "draw", "drawing_classes"]

SCALAR_NODES = 50  # up to so many, a graph of numbers shows values and gradients
GREY, PURPLE, ORANGE = "#64748b", "#6d28d9", "#c2410c"
PAGE = f"""\
\tgraph [rankdir=TB nodesep=0.25 ranksep=0.3 fontname="Helvetica,Arial,sans-serif" fontsize=12]
\tnode [shape=box style="rounded,filled" fillcolor=white color="{GREY}" margin="0.1,0.04" \
height=0.3 fontname="Helvetica,Arial,sans-serif" fontsize=11]
\tedge [color="{GREY}" arrowsize=0.6 fontname="Helvetica,Arial,sans-serif" fontsize=9]
"""
STYLE = {
    "operation": "",
    "view": ' shape=none style="" margin="0.05,0.02" height=0.2',
    "parameter": ' style="filled,bold" fillcolor="#dcfce7"',
    "leaf": ' style="filled,bold" fillcolor="#dcfce7"',
    "constant": ' style=filled fillcolor="#e0f2fe"',
    "port": f' style="rounded,dashed" color="{ORANGE}" fontcolor="{ORANGE}"',
    "output": ' peripheries=2 fillcolor="#fef3c7"',
}


class GraphTooLarge(ValueError):
    """The layout would take too long."""


def draw(outputs: Any, fold: bool = True, max_cost: int = 2500) -> graphviz.Digraph:
    """Draw the graph behind a Tensor, or a container of them, as a `graphviz.Digraph`.

    Repetitions are folded to one, unless `fold` is False. A graph of numbers shows values and, as
    far as they are computed, gradients. GraphTooLarge beyond `max_cost`, of which `dot` lays out
    some 1,000 per second; RuntimeError for a tensor without a graph. In a notebook the picture is
    shown; `.render("name", format="svg")` writes it and `.source` is the text.
    """
    page = _Page(Graph(outputs, fold))
    cost = page.cost()
    if cost > max_cost:
        raise GraphTooLarge(
            f"this graph has {len(page.boxes):,} nodes to draw and would cost {cost:,} to lay out, "
            f"more than max_cost={max_cost:,}. Draw a part of it (an intermediate tensor), "
            + ("" if fold else "leave fold=True, ")
            + 'put each repetition in `with mg.scope("step", t):` so that it folds to one, '
            f"or pass max_cost={cost} and wait"
        )
    digraph, _ = drawing_classes()
    return digraph(name="minigrad", body=page.lines())  # type: ignore[no-any-return]


@functools.cache
def drawing_classes() -> tuple[Any, Any]:
    """Make the classes of a drawing and of its error; graphviz is imported here and nowhere else."""
    import graphviz

    class DotNotFound(graphviz.ExecutableNotFound):
        """Graphviz's program `dot` is not installed."""

        def __init__(self) -> None:
            RuntimeError.__init__(
                self,
                "Graphviz's program `dot` is not installed; the Python package graphviz does not "
                "include it. Install it with `apt-get install graphviz`, `brew install graphviz` "
                "or `conda install -c conda-forge graphviz`, or .save() the text of the picture "
                "and lay it out elsewhere",
            )

    def has_dot() -> bool:
        return shutil.which("dot") is not None

    class Drawing(graphviz.Digraph):
        """A picture of a computation graph."""

        def render(self, *args: Any, **kwargs: Any) -> str:
            if not has_dot():
                raise DotNotFound
            return super().render(*args, **kwargs)

        def pipe(self, *args: Any, **kwargs: Any) -> Any:
            if not has_dot():
                raise DotNotFound
            return super().pipe(*args, **kwargs)

        def _repr_mimebundle_(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
            if not has_dot():
                return {"text/plain": f"{self!r}\n{DotNotFound()}"}
            return super()._repr_mimebundle_(*args, **kwargs)

    return Drawing, DotNotFound


class _Page:
    """The boxes and wires of a picture."""

    def __init__(self, graph: Graph) -> None:
        self.graph, nodes = graph, graph.nodes
        shown = [node for node in nodes if graph.shown(node.number) == node.number]
        self.scalar = len(shown) <= SCALAR_NODES and all(n.value.shape == () for n in shown)
        outputs = [graph.shown(k) for k in graph.outputs]
        self.written: dict[int, str] = {}  # parameters, in the operations that use them
        for node in shown:
            if node.number in outputs or self.scalar:
                continue
            if node.kind == "parameter":
                self.written[node.number] = node.name or "parameter"
            elif node.op == "transpose" and not (node.name or graph.options(node.number)):
                (arg,) = node.args
                if arg in self.written:
                    self.written[node.number] = f"{self.written[arg]}ᵀ"
        self.wires: list[Wire] = []
        self.starts: dict[End, str] = {}  # what a state is at first, where that has no box
        self.wired: set[tuple[int, int]] = set()  # (node, position) of the arguments with a wire
        for wire in graph.wires():
            source = nodes[wire.source.node]
            text = "" if wire.source.port else self.written.get(source.number, "")
            if wire.target.port == "in" and not text and source.kind == "constant":
                text = "" if source.name else "constant" if np.any(source.value) else "zeros"
            if not text:
                self.wires.append(wire)
                self.wired.add((wire.target.node, wire.position))
            elif wire.target.port == "in":
                self.starts[wire.target] = f"{wire.label}: {text}"
        ends = {end for wire in self.wires for end in (wire.source, wire.target)}
        ends |= {End(n.number) for n in shown if n.op and n.number not in self.written}
        self.boxes = sorted(ends | {End(k) for k in outputs}, key=lambda end: (end.node, _id(end)))

    def cost(self) -> int:
        """Count the boxes, and the ranks that wires cross if every box stands as low as it can."""
        below: dict[End, list[End]] = {end: [] for end in self.boxes}
        above: dict[End, list[End]] = {end: [] for end in self.boxes}
        for wire in self.wires:
            below[wire.source].append(wire.target)
            above[wire.target].append(wire.source)
        left = {end: len(targets) for end, targets in below.items()}
        height = dict.fromkeys(below, 0)
        stack = [end for end, n in left.items() if n == 0]
        while stack:
            end = stack.pop()
            for source in above[end]:
                height[source] = max(height[source], height[end] + 1)
                left[source] -= 1
                if not left[source]:
                    stack.append(source)
        crossed = [max(height[w.source] - height[w.target] - 1, 0) for w in self.wires]
        return len(self.boxes) + sum(crossed)

    # ---- writing ---------------------------------------------------------------------------------

    def lines(self) -> list[str]:
        inside: dict[int, list[End]] = defaultdict(list)  # boxes that are no items, by cluster
        for end in self.boxes:
            if end.fold:
                inside[end.fold.number].append(end)
            elif not self.graph.nodes[end.node].op:
                path = self.graph.path(end.node)
                inside[path[-1][0].number if path else 0].append(end)
        out, stack = [PAGE], list[Any]([self.graph.root])
        while stack:
            item = stack.pop()
            if isinstance(item, Cluster):
                if item.frames:
                    out.append(f"\tsubgraph cluster_{item.number} {{\n{self._frame(item)}")
                    stack.append("\t}\n")
                stack += [part for part in reversed(item.items) if part not in self.written]
                out += [self._box(end) for end in inside[item.number]]
            else:
                out.append(item if isinstance(item, str) else self._box(End(item)))
        return out + [self._wire(wire) for wire in self.wires]

    def _frame(self, cluster: Cluster) -> str:
        frame, count = cluster.frames[0], len(cluster.frames)
        title = _esc(frame.label)
        if frame.owner is not None:
            kind = type(frame.owner).__name__
            sizes = [
                f"({_esc(getattr(frame.owner, a))}→{_esc(getattr(frame.owner, b))})"
                for a, b in (("input_size", "hidden_size"), ("in_features", "out_features"))
                if hasattr(frame.owner, a) and hasattr(frame.owner, b)
            ]
            title = "" if frame.label == kind.lower() else f"{title}: "
            title += _esc(kind) + "".join(sizes[:1])
        if count > 1:
            first, last = cluster.moment(0), cluster.moment(count - 1)
            title = f"<b>{title} ×{count}</b>&#8195;" + _small(f"{cluster.letter} = {first} … {last}")
        elif frame.index is not None:
            title += f"[{frame.index}]"
        fill = "#f1f5f9" if count > 1 else "#ffffff"
        return (
            f'\t\tgraph [label=<{title}> labeljust=l style="rounded,filled" color="#94a3b8" '
            f'fillcolor="{fill}" penwidth={2 if count > 1 else 1}]\n'
        )

    def _box(self, end: End) -> str:
        node = self.graph.nodes[end.node]
        if end.fold:
            then = "−1" if end.port == "in" else ""
            text = f"{_esc(node.name or f'{node.op} {node.number}')}[{_esc(end.fold.letter)}{then}]"
            if end in self.starts:
                text += f"<br/>{_small(self.starts[end], ORANGE)}"
            return f"\t{_id(end)} [label=<{text}>{STYLE['port']}]\n"
        outputs = map(self.graph.shown, self.graph.outputs)
        if node.op:
            view = any(
                np.may_share_memory(node.value, x) for x in node.tensor.xs if isinstance(x, np.ndarray)
            )
            style, text = ("view" if view else "operation"), self._operation(node)
        else:
            path = self.graph.path(node.number)
            text = _esc(node.name or {"constant": "array"}.get(node.kind, "tensor"))
            moment = f"[{path[-1][0].letter}]" if path else ""
            style, text = node.kind, f"<b>{text}{moment}</b>"
        if end.node in outputs:
            style = "output"
        facts = "".join([f"<br/>{_small(fact)}" for fact in self._facts(node)])
        if style == "view":
            text = f'<font point-size="9">{text}</font>'
        return f"\t{_id(end)} [label=<{text}{facts}>{STYLE[style]}]\n"

    def _operation(self, node: Node) -> str:
        op = _esc(node.op) if node.name else f"<b>{_esc(node.op)}</b>"
        text = op + _esc(self.graph.options(node.number))
        names = []
        for j, arg in enumerate(node.args):
            if isinstance(arg, str):
                names.append(_esc(arg))
            elif arg in self.written and (node.number, j) not in self.wired:
                names.append(f'<i><font color="{PURPLE}">{_esc(self.written[arg])}</font></i>')
            else:
                names.append("")
        wires = names.count("")
        if any(names[:wires]) or any(isinstance(arg, str) for arg in node.args):
            text += f"({', '.join([name or '·' for name in names])})"
        elif any(names):
            text += f" · {', '.join(names[wires:])}"
        return f"<b>{_esc(node.name)}</b> = {text}" if node.name else text

    def _facts(self, node: Node) -> list[str]:
        if isinstance(node.value, Outputs):
            return [f"{len(node.value)} outputs"]
        if not self.scalar:
            return [f"{node.value.shape} {node.value.dtype}"]
        facts = [f"value {node.value.item():.4g}"]
        if node.kind in ("leaf", "parameter") and node.tensor is not None:
            grad = node.tensor.grad
            facts.append("grad not computed" if grad is None else f"grad {grad.item():.4g}")
        return facts

    def _wire(self, wire: Wire) -> str:
        state = "port" if wire.source.port == "in" or wire.target.port else ""
        style = f' color="{ORANGE}"' * bool(state)
        label = f"label=<&#8194;{_small(wire.label)}>" if wire.label else ""
        attributes = f" [{(label + style).strip()}]" if label or style else ""
        return f"\t{_id(wire.source)} -> {_id(wire.target)}{attributes}\n"


def _id(end: End) -> str:
    return f"n{end.node}" + (f"_{end.port}{end.fold.number}" if end.fold else "")


def _small(text: str, color: str = GREY) -> str:
    return f'<font point-size="9" color="{color}">{_esc(text)}</font>'


def _esc(text: Any, limit: int = 60) -> str:
    """Make any text safe in an HTML-like label, and short."""
    text = re.sub("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", str(text))
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return html.escape(re.sub("[\t\n\r ]+", " ", text)).replace("\\", "&#92;")
