"""Initial values of parameters."""

from __future__ import annotations

from types import NoneType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .._lazy import found as _found
from ..core.dtypes import DType, get_default_dtype
from ..core.tensor import Tensor, tensor
from ..guard.errors import shown

__all__ = ["Seed", "generator", "uniform"]

# loads np.random with this page: a forked child would wait for ever for another thread's import
Seed: TypeAlias = int | np.random.Generator | None
"""A seed, a generator, or None for a fresh one."""


def generator(rng: Seed) -> np.random.Generator:
    """Return a random generator made from a seed, itself if it is one, a fresh one for None."""
    if isinstance(rng, bool) or not isinstance(
        rng, (int, np.integer, np.random.Generator, NoneType)
    ):
        raise TypeError(
            f"rng must be a seed, as rng=0, or np.random.default_rng(seed), not {shown(rng)}"
        )
    return np.random.default_rng(rng)  # a generator as it is


def uniform(rng: Seed, bound: float, shape: tuple[int, ...], dtype: DType = None) -> Tensor:
    """Return a parameter drawn uniformly from [-bound, bound]."""
    values: Any = generator(rng).uniform(-bound, bound, shape)
    return tensor(values.astype(dtype or get_default_dtype()), requires_grad=True)


if not TYPE_CHECKING:

    def __getattr__(name):
        return _found(name, __name__, {})  # an error, which says what to write
