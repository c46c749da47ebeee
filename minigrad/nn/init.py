"""Initial values of parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._lazy import found as _found
from ..core.dtypes import DType, get_default_dtype
from ..core.random import Seed, generator
from ..core.tensor import Tensor, tensor

__all__ = ["Seed", "generator", "uniform"]


def uniform(rng: Seed, bound: float, shape: tuple[int, ...], dtype: DType = None) -> Tensor:
    """Return a parameter drawn uniformly from [-bound, bound]."""
    values: Any = generator(rng).uniform(-bound, bound, shape)
    return tensor(values.astype(dtype or get_default_dtype()), requires_grad=True)


if not TYPE_CHECKING:

    def __getattr__(name):
        return _found(name, __name__, {})  # an error, which says what to write
