"""How a graph is put in words: operations, scopes, shapes and numbers, as every page says it.

Text comes in runs, pieces with a style: `name` for what the reader looks for, `parameter` for what
is learned, plain for the rest. It is cleaned of what no page can show, but not escaped: each page
does that for its own language.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.dtypes import Array
from ..core.tape import Outputs
from ..graph.cost import is_view
from ..graph.graph import Graph
from ..graph.nodes import Cluster
from ..graph.options import moving_sum, sum_text
from ..graph.stats import Stats

__all__ = [
    "Run", "amount", "clean", "duration", "magnitude", "module_sizes", "name_of_each",
    "node_runs", "numeral", "plain_text", "shape_and_dtype", "title", "when",
]  # fmt: skip

UNSAFE = re.compile("[^ -~\u00a0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # not for XML
LIMIT = 60
ARRAY = {"constant": "array", "leaf": "input"}  # what has no name
SHAPED = {"reshape", "broadcast_to"}  # their options are the shape, which is written anyway
TRIVIAL = re.compile(  # options of convolutions that change nothing
    r"(, |(?<=\())(stride=(1|\(1(, 1)*,?\))|dilation=(1|\(1(, 1)*,?\))|groups=1"
    r"|padding=(0|\(0(, 0)*,?\)))(?=[,)])"
)


class Run(NamedTuple):
    """A piece of text in one style."""

    text: str
    style: str = ""


def clean(text: Any, limit: int = LIMIT) -> str:
    """Return any text on one line, without characters that a page cannot hold, and short."""
    line = UNSAFE.sub("\ufffd", " ".join(str(text).split()))
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def plain_text(runs: Sequence[Run]) -> str:
    """Return the text without styles."""
    return "".join([run.text for run in runs])


def node_runs(
    graph: Graph, k: int, inside: Mapping[int, str], wired: Collection[int] = ()
) -> list[Run]:
    """Return a node as text: `f = sigmoid`, `matmul · weightᵀ`, `power(·, 2)`, `[t]`, or a name.

    `inside` are the parameters that are written where they are used; `wired` are the positions of
    arguments that come by a wire in some repetition.
    """
    node = graph.nodes[k]
    if not node.op:
        return [Run(clean(node.name or ARRAY.get(node.kind, node.kind)), "name")]
    if not (node.name or node.params or inside or str in map(type, node.args)):
        return [Run(clean(node.op), "name")]  # as most are, in a graph that is large
    options = clean(TRIVIAL.sub("", graph.options(k)).replace("(, ", "(").replace("()", ""))
    inputs = [Run("·")] * len(node.args)
    for j, arg in enumerate(node.args):
        if j in wired:
            continue
        if isinstance(arg, str):
            inputs[j] = Run(_constant_text(arg))
        elif arg in inside:
            inputs[j] = Run(clean(inside[arg]), "parameter")
    what, written = clean(node.op), [run for run in inputs if run.text != "·"]
    if what in SHAPED:
        options = ""
    if what == "getitem" and written:  # weight[rows]
        body, written = [written[0], Run(options)], []
    elif what == "pick":
        body = [Run(f"[{(node.params or {}).get('k')}]")]
    elif what == "getitem" and is_view(node):
        body = [Run(options)]
    else:
        body = [Run(what), Run(options)]
    if written and all(run.style for run in written) and inputs[-len(written) :] == written:
        body += [Run(" · "), *_with_commas(written)]  # the wires come first
    elif written:
        body += [Run("("), *_with_commas(inputs), Run(")")]
    if node.name:
        return [Run(clean(node.name), "name"), Run(" = "), *[run for run in body if run.text]]
    head = body[0] if body[0].style else body[0]._replace(style="name")
    return [head, *[run for run in body[1:] if run.text]]


def name_of_each(
    names: Sequence[str | None], folds: Sequence[tuple[str, Sequence[int]]], default: str = "array"
) -> str:
    """Return one name for those of repetitions, by the numbers in their brackets.

    `folds` are the letters of those around, outermost first, each with the moment of every name.

    >>> name_of_each(["x[9]", "x[8]", "x[7]"], [("t", [0, 1, 2])])
    'x[9−t]'
    >>> name_of_each(["x[1]", "x[2]", "x[4]", "x[5]"], [("k", [0, 0, 1, 1]), ("r", [0, 1, 0, 1])])
    'x[3k+r+1]'
    >>> for names in (["x", "x", "x"], ["x[8]"] * 3, ["x[3]", "x[0]", "x[4]"], ["x", "y[1]", "x"]):
    ...     name_of_each(names, [("t", [0, 1, 2])])
    'x[t]'
    'x[8]'
    'x[…]'
    'x or y'
    """
    letter = folds[-1][0]
    if None in names:  # some are none that has a name
        return f"{default}[{letter}]"
    said = [name or "" for name in names]
    heads = [name.partition("[")[0] for name in said]
    if len({*said}) == 1:
        return said[0] if "[" in said[0] else f"{said[0]}[{letter}]"
    if len(several := [*dict.fromkeys(heads)]) > 1:
        return " or ".join(several) if len(several) < 4 else f"{said[0]} … {said[-1]}"
    text = ""
    for column in itertools.zip_longest(*[re.split(r"(\d+)", n[len(heads[0]) :]) for n in said]):
        if len({*column}) == 1:
            text += column[0]
            continue
        numbers = [int(part) if part and part.isdigit() else -1 for part in column]
        moving = moving_sum(numbers, folds)
        if not moving:
            return f"{heads[0]}[…]"
        text += moving
    return heads[0] + text


def _constant_text(constant: str) -> str:
    """Return a number as it stands in an operation: a whole one as it is."""
    try:
        return numeral(float(constant), 4) if "." in constant else clean(constant)
    except ValueError:
        return clean(constant)


def _with_commas(runs: Sequence[Run]) -> list[Run]:
    return [part for run in runs for part in (Run(", "), run)][1:]


def title(cluster: Cluster) -> str:
    """Return the title of a scope: `lstm: LSTM(64→128)`, `step[3]`, `step ×77`."""
    frame: Any = cluster.frame
    text, owner = clean(frame.label), frame.owner
    if owner is not None:
        text += f": {clean(type(owner).__name__)}{module_sizes(owner)}"
    if cluster.moments:
        return f"{text} ×{len(cluster.moments)}"
    if cluster.shift:
        fold, step, _ = cluster.shift
        moved = sum_text([(clean(fold.letter), step)], frame.index - step * fold.moments[0])
        return f"{text}[{moved}]"
    return text if frame.index is None else f"{text}[{frame.index}]"


def module_sizes(module: Any) -> str:
    """Return the sizes of what a module takes and returns, where it says so: `(64→128)`."""
    for a, b in (("input_size", "hidden_size"), ("in_features", "out_features")):
        if hasattr(module, a) and hasattr(module, b):
            return f"({clean(getattr(module, a))}→{clean(getattr(module, b))})"
    return ""


def when(cluster: Cluster) -> str:
    """Return what a fold stands for: `t = 0 … 76`."""
    ends = " … ".join([str(cluster.moments[k]).replace("-", "−") for k in (0, -1)])
    span = f"{clean(cluster.letter)} = {ends}"
    if cluster.shift:
        fold, step, start = cluster.shift
        terms = [(clean(fold.letter), step), (cluster.letter, 1)]
        moved = sum_text(terms, start - step * fold.moments[0])
        span += f", {clean(cluster.counted)} = {moved}"
    return span + ", detected" * cluster.detected


def shape_and_dtype(value: Array | Outputs, usual: np.dtype[Any] | None = None) -> str:
    """Return shape and dtype as text, `(4, 2) float64`, without the dtype that is `usual`."""
    if isinstance(value, Outputs):
        return f"{len(value)} outputs"
    shape = str(np.shape(value))
    return shape if value.dtype == usual else f"{shape} {value.dtype}"


def numeral(x: float, digits: int = 2) -> str:
    """Return a number in few digits: `0.25`, `1.2e−5`, `3e12`."""
    text = f"{x:.{digits}g}"
    if "e" not in text and 0 < abs(x) < 1e-2:
        text = f"{x:.{digits - 1}e}"
    head, e, power = text.partition("e")
    head = head.rstrip("0").rstrip(".") if "." in head else head
    return (f"{head}e{int(power)}" if e else head).replace("-", "−")


def amount(n: int | None) -> str:
    """Return a count in three digits: `812`, `1.24k`, `34.5M`; `-` if it is not known."""
    if n is None:
        return "-"
    power = next((k for k in range(6) if abs(n) < 999.5 * 1000**k), 5)
    return f"{n / 1000**power:.{3 if power else 0}{'g' if power else 'f'}}{' kMGTP'[power].strip()}"


def duration(seconds: float) -> str:
    """Return a time in three digits: `12.5 µs`, `3 ms`, `1.2 s`."""
    k = next((k for k in range(3) if seconds >= 0.9995 / 1000**k), 3)
    return f"{seconds * 1000**k:.3g} {('s', 'ms', 'µs', 'ns')[k]}"


def magnitude(stats: Sequence[Stats | None]) -> str:
    """Return how large something is: an rms, or the range of several; and what is not finite."""
    given = [s for s in stats if s is not None and s.size]
    if not given:
        return ""
    bad, size = sum([s.bad for s in given]), sum([s.size for s in given])
    sizes = [s.rms for s in given if not math.isnan(s.rms)]
    text = ""
    if sizes:
        low, high = numeral(min(sizes)), numeral(max(sizes))
        text = low if low == high else f"{low} … {high}"
    return text if not bad else f"{text} ! {bad:,} of {size:,} not finite".strip()
