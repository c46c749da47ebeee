"""Checks for tests: gradients against central differences, hand-written ones, and the laws."""

from .check.compare import GradientMismatch
from .check.gradients import check_grads, directional, numerical_grad
from .check.laws import LAWS, Draw, check_primitive, operations
from .check.passes import assert_same_gradients
from .core.primitive import Case

__all__ = [
    "LAWS", "Case", "Draw", "GradientMismatch", "assert_same_gradients", "check_grads",
    "check_primitive", "directional", "numerical_grad", "operations",
]  # fmt: skip
