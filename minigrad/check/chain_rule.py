"""The chain rule, written out: local derivatives with their numbers, multiplied along each path.

For small graphs, to read: on larger ones there are too many paths.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..core.dtypes import Array
from ..core.tensor import Tensor
from ..explain.backward import Backward, Edge
from ..explain.words import stated

__all__ = ["ChainRule", "chain_rule"]

MAX_PATHS, MAX_SIZE = 32, 12


class Factor(NamedTuple):
    """A local derivative: of what, by what, as a formula, and in numbers (None for a matrix)."""

    above: str
    below: str
    formula: str
    value: Array | None


@dataclass(frozen=True)
class ChainRule:
    """A derivation: printed as text, as `.latex`, or shown as a formula by a notebook.

    `paths` lists the names along each path from the loss, and what it contributes to `gradient`.
    """

    names: dict[int, str]
    operations: list[str]
    factors: dict[Edge, Factor]
    paths: list[tuple[list[Edge], Array]]
    wrt: str
    gradient: Array

    def __str__(self) -> str:
        top = self._end()
        lines = ["forward", *[f"  {text}" for text in self.operations], "", "local derivatives"]
        for f in self.factors.values():
            equals = f" = {f.formula}" if f.formula not in ("", _text(f.value)) else ""
            lines.append(f"  d{f.above}/d{f.below}{equals} = {_text(f.value)}")
        lines += ["", f"paths from {top} to {self.wrt}"]
        for edges, product in self.paths:
            factors = [self.factors[e] for e in edges]
            chain = " * ".join([f"d{f.above}/d{f.below}" for f in factors])
            values = [f.value for f in factors]
            numbers = " * ".join(map(_text, values)) + " = " if _multiply(values) else ""
            lines.append(f"  {chain} = {numbers}{_text(product)}")
        total = " + ".join([_text(product) for _, product in self.paths])
        several = f"{total} = " if len(self.paths) > 1 else ""
        return "\n".join([*lines, "", f"d{top}/d{self.wrt} = {several}{_text(self.gradient)}"])

    @property
    def latex(self) -> str:
        """The sum over the paths as an `align*` environment of LaTeX."""
        top, wrt = _latex(self._end()), _latex(self.wrt)
        rows = [rf"\frac{{\partial {top}}}{{\partial {wrt}}}"]
        for n, (edges, product) in enumerate(self.paths):
            factors = [self.factors[e] for e in edges]
            ends = [(_latex(f.above), _latex(f.below)) for f in factors]
            chain = r" \, ".join([rf"\frac{{\partial {a}}}{{\partial {b}}}" for a, b in ends])
            values = [f.value for f in factors]
            numbers = ""
            if _multiply(values):
                numbers = " = " + r" \cdot ".join([rf"({_matrix(v)})" for v in values])
            note = rf" && \text{{path {n + 1}: }} {chain}{numbers} = {_matrix(product)}"
            rows.append(f"{'=' if not n else '+'}&\\; {_matrix(product)}{note}")
        rows[0] += " " + rows.pop(1)
        rows.append(rf"=&\; {_matrix(self.gradient)}")
        return "\\begin{align*}\n" + " \\\\\n".join(rows) + "\n\\end{align*}"

    def _repr_latex_(self) -> str:
        return self.latex

    def _end(self) -> str:
        return self.names[max(self.names)]


def chain_rule(loss: Tensor, wrt: Tensor) -> ChainRule:
    """Return the derivation of the gradient of a scalar `loss` by one tensor behind it.

    ValueError for a graph with more than 32 paths from one to the other, or with arrays of more
    than 12 elements: nobody would read that.

    >>> from minigrad import tensor
    >>> w = tensor(np.array(0.5), requires_grad=True, name="w")
    >>> print(chain_rule(w * w + w, w))
    forward
      v1 = w * w = 0.25
      loss = v1 + w = 0.75
    <BLANKLINE>
    local derivatives
      dloss/dv1 = 1
      dloss/dw = 1
      dv1/dw (left) = w = 0.5
      dv1/dw (right) = w = 0.5
    <BLANKLINE>
    paths from loss to w
      dloss/dv1 * dv1/dw (left) = 1 * 0.5 = 0.5
      dloss/dv1 * dv1/dw (right) = 1 * 0.5 = 0.5
      dloss/dw = 1
    <BLANKLINE>
    dloss/dw = 0.5 + 0.5 + 1 = 2
    """
    if not isinstance(loss, Tensor) or not loss.live or loss.primitive is None:
        raise ValueError(
            "chain_rule: the loss has no graph: compute it from tensors that require gradients"
        )
    if loss.size != 1:
        raise ValueError(f"chain_rule: the loss must have one element, not shape {loss.shape}")
    walk = Backward(loss)
    if wrt not in walk.number:
        raise ValueError("chain_rule: the loss does not depend on that tensor")
    start = walk.number[wrt]
    on_way = [bool(bits) for bits in walk.behind([start])]
    paths = _paths(walk, start, on_way)
    large = max([np.size(walk.z[k]) for k in range(len(walk.nodes)) if on_way[k]])
    if large > MAX_SIZE:
        raise ValueError(
            f"chain_rule: an array on the way has {large} elements; give a graph to read, with "
            f"{MAX_SIZE} at most"
        )
    names = _names(walk, on_way)
    return ChainRule(
        names,
        [
            f"{names[k]} = {_written(walk, names, k)} = {_text(walk.z[k])}"
            for k in names
            if k in walk.rank
        ],
        {edge: _factor(walk, names, edge) for edge in _edges(paths)},
        [(path, _along(walk, path)) for path in paths],
        names[start],
        walk.cots[start],
    )


def _paths(walk: Backward, start: int, on_way: list[bool]) -> list[list[Edge]]:
    found, stack = list[list[Edge]](), [(walk.end, list[Edge]())]
    while stack:
        k, path = stack.pop()
        if k == start:
            found.append(path)
        if len(found) + len(stack) > MAX_PATHS:
            raise ValueError(
                f"chain_rule: there are more than {MAX_PATHS} paths from the loss to that tensor, "
                "too many to read; choose a tensor nearer to the loss"
            )
        steps = [(s, [*path, (k, j)]) for j, s in walk.edges[k].items() if on_way[s]]
        stack += reversed(steps)
    return found


def _edges(paths: list[list[Edge]]) -> list[Edge]:
    return sorted({edge for path in paths for edge in path}, key=lambda e: (-e[0], e[1]))


def _names(walk: Backward, on_way: list[bool]) -> dict[int, str]:
    names, count = dict[int, str](), 0
    for k, t in enumerate(walk.nodes):
        if k == walk.end:
            names[k] = t.name or "loss"
        elif on_way[k] or t.primitive is None:
            count += not t.name
            names[k] = t.name or f"v{count}"
    return names


SIGNS = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "power": "**", "matmul": "@"}


def _written(walk: Backward, names: dict[int, str], k: int) -> str:
    t = walk.nodes[k]
    inputs = [_input(walk, names, k, j) for j in range(len(t.xs))]
    op = t.primitive.name
    return f" {SIGNS[op]} ".join(inputs) if op in SIGNS else f"{op}({', '.join(inputs)})"


def _input(walk: Backward, names: dict[int, str], k: int, j: int) -> str:
    s = walk.nodes[k].inputs[j]
    if s in walk.number and walk.number[s] in names:
        return names[walk.number[s]]
    return (s.name if s is not None else None) or _text(walk.nodes[k].xs[j])


def _factor(walk: Backward, names: dict[int, str], edge: Edge) -> Factor:
    """Return the local derivative of an edge."""
    k, j = edge
    t, s = walk.nodes[k], walk.edges[k][j]
    below, twice = names[s], [i for i, other in walk.edges[k].items() if other == s]
    if len(twice) > 1:
        below += f" ({'left' if j == twice[0] else 'right'})"
    inputs = [_input(walk, names, k, i) for i in range(len(t.xs))]
    formula = _without_g(stated(t.primitive.name, j, names[k], inputs))
    value: Array | None = None
    if getattr(t.primitive, "family", "") == "elementwise":
        value = walk.pulled(k, np.ones(np.shape(walk.z[k])), j)[j]
        if np.shape(value) != np.shape(walk.z[k]):
            value = None
    return Factor(names[k], below, formula if value is not None else "", value)


def _without_g(text: str) -> str:
    """Return the derivative that a rule states: `1 - {z}**2` for `g * (1 - {z}**2)`."""
    if "@" in text or "," in text:
        return ""
    text = re.sub(r" \* g\b", "", re.sub(r"\bg \* ", "", text))
    text = re.sub(r"\bg\b", "1", text)
    return (
        text.strip().removeprefix("(").removesuffix(")") if text.startswith("(") else text.strip()
    )


def _along(walk: Backward, path: list[Edge]) -> Array:
    """Return what a path contributes to the gradient."""
    g = np.ones(np.shape(walk.z[walk.end]))
    for k, j in path:
        g = walk.pulled(k, g, j)[j]
    return g


def _multiply(values: Sequence[Array | None]) -> bool:
    """Whether there are factors to multiply, each in numbers."""
    return len(values) > 1 and all(v is not None for v in values)


def _text(value: Array | float | None) -> str:
    if value is None:
        return "a matrix of derivatives"
    if np.ndim(value) == 0:
        return f"{float(value):.6g}"
    return " ".join(np.array2string(np.asarray(value), precision=4, separator=", ").split())


def _matrix(value: Array | None) -> str:
    """Return numbers in LaTeX, a vector or matrix as one."""
    if value is None:
        return r"\cdot"
    rows = np.atleast_2d(value) if np.ndim(value) < 3 else np.reshape(value, (1, -1))
    if np.ndim(value) == 0:
        return f"{float(value):.4g}"
    body = r" \\ ".join([" & ".join([f"{x:.4g}" for x in row]) for row in rows])
    return rf"\begin{{pmatrix}} {body} \end{{pmatrix}}"


def _latex(name: str) -> str:
    if re.fullmatch(r"[A-Za-z]", name):
        return name
    if found := re.fullmatch(r"([A-Za-z])(\d+)", name):
        return f"{found[1]}_{{{found[2]}}}"
    escaped = re.sub(r"([_#%&$])", r"\\\1", name)
    return rf"\mathrm{{{escaped}}}"
