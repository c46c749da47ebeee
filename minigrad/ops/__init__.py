"""Every operation, one page for each kind; importing this package fills the registry."""

from . import constant, elementwise, index, linalg, reduce, shape

__all__ = ["constant", "elementwise", "index", "linalg", "reduce", "shape"]
