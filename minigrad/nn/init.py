"""Initial values of parameters."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from ..core.dtypes import DType, get_default_dtype
from ..core.tensor import Tensor, tensor

__all__ = ["Seed", "generator", "uniform"]

Seed: TypeAlias = "int | np.random.Generator | None"  # text: np.random is loaded when used


def generator(rng: Seed) -> np.random.Generator:
    """Make a random generator from a seed; a generator is used as it is, None is a fresh one."""
    return rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)


def uniform(rng: Seed, bound: float, shape: tuple[int, ...], dtype: DType = None) -> Tensor:
    """Draw a parameter uniformly from [-bound, bound]."""
    values: Any = generator(rng).uniform(-bound, bound, shape)
    return tensor(values.astype(dtype or get_default_dtype()), requires_grad=True)
