"""Functions without a useful derivative: they give arrays, constant to the graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.tensor import OPS, ArrayLike, Tensor
from .families import constant

__all__ = [
    "argmax", "argmin", "argsort", "ceil", "floor", "floor_divide", "heaviside", "isfinite",
    "isinf", "isnan", "rint", "round", "searchsorted", "sign", "trunc",
]  # fmt: skip

argmax, argmin, argsort = constant(np.argmax), constant(np.argmin), constant(np.argsort)
ceil, floor, rint, sign = [constant(f) for f in (np.ceil, np.floor, np.rint, np.sign)]
trunc, floor_divide = constant(np.trunc), constant(np.floor_divide)
step = constant(np.heaviside)
isfinite, isinf, isnan = [constant(f) for f in (np.isfinite, np.isinf, np.isnan)]
round, searchsorted = constant(np.round), constant(np.searchsorted)

for _function in (
    # comparisons and what is asked of the values
    np.all, np.allclose, np.any, np.array_equal, np.array_equiv, np.count_nonzero, np.equal,
    np.greater, np.greater_equal, np.isclose, np.iscomplex, np.isin, np.isneginf, np.isposinf,
    np.isreal, np.less, np.less_equal, np.logical_and, np.logical_not, np.logical_or,
    np.logical_xor, np.not_equal, np.signbit,
    # places
    np.argpartition, np.argwhere, np.diag_indices_from, np.digitize, np.flatnonzero, np.nanargmax,
    np.nanargmin, np.nonzero, np.tril_indices_from, np.triu_indices_from, np.unravel_index,
    # step functions, and the neighbours of a number
    np.angle, np.around, np.imag, np.spacing,
    # whole numbers
    np.bitwise_and, np.bitwise_count, np.bitwise_or, np.bitwise_xor, np.gcd, np.invert, np.lcm,
    np.left_shift, np.packbits, np.right_shift, np.unpackbits,
    # shapes, dtypes, memory
    np.can_cast, np.common_type, np.empty_like, np.iscomplexobj, np.isrealobj, np.may_share_memory,
    np.min_scalar_type, np.ndim, np.ones_like, np.result_type, np.shape, np.shares_memory, np.size,
    np.zeros_like,
    # text and files
    np.array2string, np.array_repr, np.array_str, np.save, np.savetxt, np.savez,
    np.savez_compressed,
    # methods of ufuncs
    np.logical_and.reduce, np.logical_or.reduce, np.logical_xor.reduce, np.bitwise_and.reduce,
    np.bitwise_or.reduce, np.bitwise_xor.reduce, np.gcd.reduce, np.lcm.reduce,
):  # fmt: skip
    constant(_function)
if hasattr(np, "fix"):  # deprecated since NumPy 2.5
    constant(np.fix)


def heaviside(x1: ArrayLike, x2: ArrayLike) -> Any:
    """numpy.heaviside of the data: an array, constant to the graph unless the value at 0 is live."""
    if isinstance(x2, Tensor) and x2.live:
        return OPS[np.where](np.equal(x1, 0), x2, step(x1, 0))
    return step(x1, x2)


OPS[np.heaviside] = heaviside
