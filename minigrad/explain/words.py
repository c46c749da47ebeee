"""Words for the quantities of a recorded graph, as the user wrote them where that is known."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..graph.source import Place
from .backward import Backward

__all__ = ["Words", "factor", "stated"]

SHORT = 3
"""How many lines a helper function has that is one thought: a report points at the call of it."""

RIGHT: dict[tuple[str, int | None], str] = {
    ("tanh", 0): "g * (1 - {z}**2)",
    ("sigmoid", 0): "g * {z} * (1 - {z})",
    ("exp", 0): "g * {z}",
    ("log", 0): "g / {x}",
    ("sqrt", 0): "g / (2 * {z})",
    ("square", 0): "2 * g * {x}",
    ("reciprocal", 0): "-g * {z}**2",
    ("sin", 0): "g * cos({x})",
    ("cos", 0): "-g * sin({x})",
    ("abs", 0): "g * sign({x})",
    ("softplus", 0): "g * sigmoid({x})",
    ("negative", 0): "-g",
    ("add", None): "g",
    ("subtract", 0): "g",
    ("subtract", 1): "-g",
    ("multiply", 0): "g * {y}",
    ("multiply", 1): "g * {x}",
    ("divide", 0): "g / {y}",
    ("divide", 1): "-g * {x} / {y}**2",
    ("power", 0): "g * {y} * {x}**({y} - 1)",
    ("matmul", 0): "g @ {y}.T",
    ("matmul", 1): "{x}.T @ g",
    ("relu", 0): "g * ({x} > 0)",
    ("maximum", 0): "g * ({x} > {y})",
    ("maximum", 1): "g * ({y} > {x})",
    ("max", 0): "g * ({x} == {z})",
    ("min", 0): "g * ({x} == {z})",
    ("softmax", 0): "{z} * (g - sum(g * {z}))",
    ("sum", 0): "g, at every element that was summed",
    ("mean", 0): "g / n, at every element of the n that were averaged",
}
"""The right contribution to the gradient of each input, by operation and position: g is the
gradient of the output z; x and y are the inputs."""


def stated(op: str, j: int, z: str, inputs: Sequence[str]) -> str:
    """State the right contribution to the j-th input of an operation, by names for z and inputs."""
    if op == "power" and j == 0 and inputs[1].lstrip("-").replace(".", "", 1).isdigit():
        p = float(inputs[1])
        return f"{p:g} * g * {inputs[0]}" + (f"**{p - 1:g}" if p != 2 else "")
    text = RIGHT.get((op, j)) or RIGHT.get((op, None)) or ""
    return text.format(z=z, **dict(zip("xy", inputs, strict=False)))


def factor(text: str) -> str:
    """Put an expression in brackets if it has to be, to be written into a formula."""
    try:
        whole = ast.parse(text, mode="eval").body
    except SyntaxError:
        return text
    loose = (ast.BinOp, ast.UnaryOp, ast.Compare, ast.BoolOp, ast.IfExp, ast.Lambda)
    return f"({text})" if isinstance(whole, loose) else text


class Words:
    """Names for nodes and edges: a variable, the user's expression, a label, or the operation."""

    def __init__(self, walk: Backward) -> None:
        self.walk = walk
        self.callers: dict[int, set[Any]] = defaultdict(set)  # by its code, who calls a function
        self.calls: dict[int, Place] = {}  # of a long function that is called from several places
        self.expressions = self._expressions()
        self.interior = self._interior()

    def _expressions(self) -> dict[int, tuple[Place, bool]]:
        """Give every operation an expression of the forward pass.

        In a helper function, a short one that is called from several places, that is the call of
        it; the second says whether the operation is what the call returns: the last one made in it.
        """
        places = {k: p for k in range(len(self.walk.nodes)) if (p := self.walk.place(k))}
        for place in places.values():
            for inner, call in pairwise(place.chain):
                self.callers[inner.code].add(call.site)
        found: dict[int, tuple[Place, bool]] = {}
        last, inside = None, set[Any]()
        for k, place in places.items():
            chain = place.chain
            while len(chain) > 1:
                several = len(self.callers[chain[-2].code]) > 1
                if several and chain[-2].lines <= SHORT:
                    break
                call = chain.pop()
                if several:
                    self.calls[k] = call
            shown = chain[-1]
            if shown is place:
                found[k], last = (place, True), None
                continue
            if shown.site == last and place.site not in inside:
                found[k - 1] = found[k - 1][0], False
            else:
                inside = set()
            inside.add(place.site)
            found[k], last = (shown, True), shown.site
        return found

    def _interior(self) -> set[int]:
        """Collect the operations in what is one thought: a helper function, 1 / (1 + exp(-x))."""
        found = {k for k in self.expressions if self.inner(k) and not self.result(k)}
        for k in range(len(self.walk.nodes)):
            links = self.walk.chain(k)
            place = self.walk.place(k)
            line = place.line if place else None
            same = [m for m in links if ((p := self.walk.place(m)) and p.line) == line]
            if len(same) > 2:
                found.update(same)
        return found

    def value(self, k: int) -> str:
        """Name a node at length: "`h = np.tanh(a)`", "sigmoid `f` (4, 16)"."""
        t = self.walk.nodes[k]
        place, result = self.expressions.get(k, (None, True))
        if place is not None:
            if not result:
                inner = self.walk.place(k)
                return f"`{inner.expression if inner else '?'}` in `{place.expression}`"
            target = f"{place.target} = " if place.target else ""
            call = f" in `{self.calls[k].expression}`" if k in self.calls else ""
            return f"`{target}{place.expression}`{self._which(k)}{call}"
        if t.primitive is None:
            return f"`{t.name}`" if t.name else f"a leaf of shape {t.shape}"
        return f"{t.primitive.name} " + (f"`{t.name}`" if t.name else f"of shape {_shape(t)}")

    def _which(self, k: int) -> str:
        """Say which it is of those that a loop makes in every step."""
        site = self.walk.site_of.get(k)
        i, n = site.part if site else (1, 1)
        return f" (number {i} of {n})" if n > 1 else ""

    def short(self, k: int) -> str:
        """Name a node by its variable where it has one, without marks."""
        t = self.walk.nodes[k]
        place, result = self.expressions.get(k, (None, True))
        if place is not None:
            inner = place if result else self.walk.place(k)
            return (inner.target or inner.expression) if inner else "?"
        return str(t.name or (t.primitive.name if t.primitive else "x"))

    def input(self, k: int, j: int) -> str:
        """Name the j-th input of a node, without marks."""
        t = self.walk.nodes[k]
        s, x = t.inputs[j], t.xs[j]
        if s in self.walk.number:
            return self.short(self.walk.number[s])
        if not isinstance(x, np.ndarray) or not x.ndim:
            return f"{float(x):g}"
        return s.name if s is not None and s.name else "a constant"

    def marked(self, k: int, j: int) -> str:
        """Name the j-th input of a node, in marks where it is the user's text."""
        text = self.input(k, j)
        return text if text == "a constant" else f"`{text}`"

    def right(self, k: int, j: int) -> str:
        """Say what the contribution to the j-th input is."""
        t = self.walk.nodes[k]
        inputs = [factor(self.input(k, i)) for i in range(len(t.xs))]
        written = stated(t.primitive.name, j, factor(self.short(k)), inputs)
        if not written:
            return f"the derivative of {t.primitive.name}"
        formula, comma, rest = written.rpartition(", at every")
        return f"`{formula or rest}`" + (comma + rest if formula else "")

    def inner(self, k: int) -> bool:
        """Whether a node stands in a helper function."""
        return k in self.expressions and self.expressions[k][0] is not self.walk.place(k)

    def result(self, k: int) -> bool:
        """Whether a node is what the expression gives, not something inside a helper function."""
        return self.expressions.get(k, (None, True))[1]

    def in_every_call(self, ks: Sequence[int]) -> bool:
        """Whether nodes are expressions of a function, each in several calls of it."""
        calls: dict[Any, set[Any]] = defaultdict(set)
        for k in ks:
            if place := self.walk.place(k):
                calls[place.line_of_code].add(self.expressions[k][0].site)
        return all(len(some) > 1 for some in calls.values())

    def place(self, k: int, called: bool = True) -> Place | None:
        """Return the place of a node, in a function where that is called or in itself."""
        return self.expressions[k][0] if called and k in self.expressions else self.walk.place(k)


def _shape(t: Any) -> str:
    return str(getattr(t.value, "shape", None) or f"{np.size(t.value)} outputs")
