"""Constants to the derivative: what gradients do not flow through."""

from __future__ import annotations

from ..core.tensor import Tensor
from ..core.tree import Tree
from .modules import opened

__all__ = ["stop_gradient"]


def stop_gradient(x: Tree) -> Tree:
    """Return x as a constant: the same numbers, through which no gradient flows, in either mode.

    x is a Tensor, an array, a container of these, or a module, of which a twin with constants in
    the place of its parameters is returned; what is no Tensor is returned as it is.

    >>> from minigrad import grad
    >>> grad(lambda x: x * stop_gradient(x))(3.0)  # of x * 3
    np.float64(3.0)
    """
    leaves, _, build = opened(x)
    return build([leaf.detach() if isinstance(leaf, Tensor) else leaf for leaf in leaves])
