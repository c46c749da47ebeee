"""A term of a gradient: the one place in a backward pass that a mistake is made at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.tape import Outputs, unbroadcast
from .backward import Backward, Edge
from .words import Words, factor

__all__ = ["Term", "chains", "fit"]


class Term:
    """What the operation of node k passes to its j-th input: `c`, made from the gradient `g`.

    Functions of one variable that are one thought, 1 / (1 + exp(-x)), are one operation: then `top`
    is the node of the whole, and (k, j) takes x. z is the output, x the input, xs all inputs of
    node k. `now(m)` is the gradient of node m, which earlier mistakes may have changed. `wrong` is
    what stands in the place of c, where that is known.
    """

    __slots__ = ("c", "g", "j", "k", "now", "top", "walk", "words", "wrong")

    def __init__(
        self, walk: Backward, words: Words, edge: Edge, top: int | None = None, c: Any = None,
        now: Callable[[int], Any] | None = None, wrong: Any = None,
    ) -> None:  # fmt: skip
        self.walk, self.words, (self.k, self.j) = walk, words, edge
        self.top = self.k if top is None else top
        self.now = now or walk.cots.__getitem__
        self.g = self.now(self.top)
        self.c = walk.contributions[edge] if c is None else c
        self.wrong = wrong

    @property
    def xs(self) -> Any:
        return self.walk.xs[self.k]

    @property
    def x(self) -> Any:
        return self.walk.xs[self.k][self.j]

    @property
    def z(self) -> Any:
        return self.walk.z[self.top]

    @property
    def source(self) -> int:
        return self.walk.edges[self.k][self.j]

    @property
    def op(self) -> str:
        """The operation; "" for a chain of several."""
        return self.walk.nodes[self.k].primitive.name if self.top == self.k else ""

    @property
    def family(self) -> str:
        return self.walk.family(self.k)

    @property
    def numbers(self) -> list[float]:
        """The other inputs that are single numbers."""
        return [float(x) for i, x in enumerate(self.xs) if i != self.j and np.ndim(x) == 0]

    @property
    def unary(self) -> bool:
        return len(self.xs) - len(self.numbers) == 1

    @property
    def several(self) -> bool:
        """Whether the operation has several outputs, or its input is one of several."""
        return isinstance(self.c, Outputs) or isinstance(self.g, Outputs)

    @property
    def leaf(self) -> bool:
        return self.source in self.walk.leaves

    @property
    def carried(self) -> bool:
        return self.walk.carries(self.k, self.j)

    @property
    def passed(self) -> Any:
        """The gradient g as it is, in the shape of the term."""
        params, g = self.walk.nodes[self.k].params, self.g
        if self.family == "reduction" and params.get("axis") is not None:
            g = g if params.get("keepdims") else np.expand_dims(g, params["axis"])
        return fit(g, self.c)

    def pulled(self, g: Any = None, i: int | None = None, value: Any = None) -> Any:
        """Apply the rule to another gradient, or to another value of input i; -1 is the output.

        With another input the output is computed again, so that it does not matter which of the two
        the rule is written with.
        """
        walk, k, j, node = self.walk, self.k, self.j, self.walk.nodes[self.k]
        g, xs, z = self.g if g is None else g, None, None
        if i == -1:
            z = value
        elif i is not None:
            xs = list(walk.xs[k])
            xs[i] = np.asarray(value, np.asarray(xs[i]).dtype)  # a mask may stand for a number
            if self.family == "elementwise":
                z = node.primitive.forward(*xs, **node.params)
        return walk.pulled(k, g, j, xs, z)[j]

    # ---- words -----------------------------------------------------------------------------------

    @property
    def here(self) -> str:
        return self.words.value(self.top)

    @property
    def what(self) -> str:
        return self.words.marked(self.k, self.j)

    @property
    def passes(self) -> str:
        return f"what {self.here} sends to {self.what}" + " of the step before" * self.carried

    @property
    def names(self) -> dict[str, str]:
        """Names for the output z and the input x in formulas."""
        short = self.words.short(self.top), self.words.input(self.k, self.j)
        return dict(zip("zx", map(factor, short), strict=True))

    @property
    def right(self) -> str:
        """Say what the term is; "" for a chain that is no function with a name."""
        if self.top == self.k:
            return f"right is {self.words.right(self.k, self.j)}"
        with np.errstate(all="ignore"):
            sigmoid = np.allclose(self.z, 1 / (1 + np.exp(-self.x)), rtol=1e-9)
        return "right is `g * {z} * (1 - {z})`".format(**self.names) if sigmoid else ""


def chains(walk: Backward, words: Words) -> list[dict[Edge, int]]:
    """List the chains of functions that are one thought: by the edge to the first, the last node.

    Of each there is one for all steps.
    """
    found = []
    for site in walk.sites:
        links = [walk.chain(k) for k in site.members]
        for n in range(2, min(map(len, links)) + 1):
            if _one_thought(words, links[-1][:n], links[-1]):
                tops = {(ks[n - 1], next(iter(walk.edges[ks[n - 1]]))): ks[0] for ks in links}
                if all(e in walk.contributions for e in tops):
                    found.append(tops)
    return found


def _one_thought(words: Words, part: Sequence[int], links: Sequence[int]) -> bool:
    """Whether a part of a chain is all that a helper function computes, or outside of any."""
    call = words.expressions.get(part[0], (None, True))[0]
    if words.inner(part[0]):
        above = [words.expressions.get(k, (None, True))[0] for k in words.walk.uses[part[0]]]
        same = [k for k in links if words.expressions.get(k, (None, True))[0] == call]
        return part == same and call not in above
    if words.interior & {*words.walk.uses[part[0]]}:
        return False
    one = [k for k in links if k in words.interior]
    return part == one or not any(k in words.interior for k in part)


def fit(g: Any, c: Any) -> Any:
    """Sum or broadcast a cotangent to the shape of the contribution that it replaces."""
    shape = np.shape(c)
    if np.shape(g) == shape:
        return g
    if np.ndim(g) >= len(shape) and np.size(g) >= np.size(c):
        return unbroadcast(g, shape)
    return np.broadcast_to(g, shape)
