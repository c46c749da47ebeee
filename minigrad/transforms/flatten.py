"""Everything in a container as one vector, for optimisers of vectors."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import accumulate, pairwise

import numpy as np

from ..core.context import tracing
from ..core.dtypes import Array, plain
from ..core.tensor import ArrayLike, Tensor, value_of
from ..core.tree import Tree
from .modules import opened

__all__ = ["flatten"]


def flatten(container: Tree) -> tuple[Array | Tensor, Callable[[ArrayLike], Tree]]:
    """Return everything in a container as one vector, and the way back.

    For optimisers of vectors, as in SciPy. The way back takes arrays and Tensors, and gradients
    flow through it; it restores shapes and dtypes, and of a module makes a twin. The vector is an
    array, or a Tensor if live tensors are in the container.

    >>> vector, unflatten = flatten({"w": np.ones((2, 2)), "b": 0.5})
    >>> vector, unflatten(2 * vector)["w"].tolist()
    (array([1. , 1. , 1. , 1. , 0.5]), [[2.0, 2.0], [2.0, 2.0]])
    """
    leaves, _, build = opened(container)
    parts = [
        x
        if isinstance(x, Tensor) and (x.live or tracing())
        else plain(value_of(x), "flatten", "takes")
        for x in leaves
    ]
    if kinds := {p.dtype for p in parts if p.dtype.kind != "f"}:
        raise TypeError(
            f"flatten: {', '.join(map(str, kinds))} in the container, where steps would be rounded "
            "away; write floats, and keep whole numbers elsewhere"
        )
    shapes, dtypes = [p.shape for p in parts], [p.dtype for p in parts]
    ends = list(accumulate([math.prod(shape) for shape in shapes], initial=0))
    vector = np.concatenate([p.reshape(-1) for p in parts] or [np.zeros(0)])

    def unflatten(v: ArrayLike) -> Tree:
        if np.shape(v) != (ends[-1],):
            raise ValueError(f"unflatten: expected shape {(ends[-1],)}, got {np.shape(v)}")
        v = v if isinstance(v, Tensor) else np.array(v)  # which an optimiser may change
        cut = [v[a:b].reshape(shape) for (a, b), shape in zip(pairwise(ends), shapes, strict=True)]
        return build([p if p.dtype == d else p.astype(d) for p, d in zip(cut, dtypes, strict=True)])

    return vector, unflatten
