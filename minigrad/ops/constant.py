"""Functions without a useful derivative: they give arrays, constant to the graph."""

from __future__ import annotations

import numpy as np

from ..primitive import constant

__all__ = ["argmax", "argmin", "argsort", "ceil", "floor", "rint", "sign"]

argmax, argmin, argsort = constant(np.argmax), constant(np.argmin), constant(np.argsort)
ceil, floor, rint, sign = (
    constant(np.ceil),
    constant(np.floor),
    constant(np.rint),
    constant(np.sign),
)

for _function in (
    np.all, np.allclose, np.any, np.array_equal, np.count_nonzero, np.empty_like, np.equal,
    np.greater, np.greater_equal, np.isclose, np.isfinite, np.isinf, np.isnan, np.less,
    np.less_equal, np.logical_and, np.logical_not, np.logical_or, np.ndim, np.nonzero, np.not_equal,
    np.ones_like, np.result_type, np.shape, np.signbit, np.size, np.zeros_like,
):  # fmt: skip
    constant(_function)
