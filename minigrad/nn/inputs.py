"""What comes into a module: its shape, its dtype, and the words for what does not fit."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.context import current, placed
from ..core.dtypes import Array
from ..core.tensor import Tensor, holds_numpy, tensor, was_given
from ..guard.errors import warn

__all__ = ["check_features", "called", "taken"]


def called(module: object) -> str:
    """Name a module for an error, with the path to the call of it that is running."""
    return placed(type(module))


def taken(module: object, x: Any, weight: Tensor, what: str = "the input") -> Tensor | Array:
    """Return x as it is, or a list of numbers in the dtype of `weight`.

    Warn if x would have all that follows computed in a wider dtype: float64 costs twice the time,
    and NumPy makes it unless told otherwise. What was computed from parameters has its dtype from
    elsewhere, and is not warned of again.
    """
    if not isinstance(x, (Tensor, np.ndarray)):
        return np.asarray(x) if holds_numpy(x) else tensor(x, dtype=weight.dtype)
    if x.dtype != weight.dtype and (wide := np.result_type(x.dtype, weight.dtype)) != weight.dtype:
        computed = isinstance(x, Tensor) and not was_given(x)
        recorded = isinstance(x, Tensor) and (x.live or not current().recording)
        if not (computed and recorded):
            warn(
                f"{called(module)}: {what} is {x.dtype} and the parameters are {weight.dtype}, so "
                f"all that follows is computed in {wide}; write x.astype(np.{weight.dtype}), or "
                f"make the module with dtype=np.{wide}"
            )
    return x


def check_features(module: object, x: Any, weight: Tensor) -> None:
    """Raise ValueError unless the last axis of x is what `weight` (out, in) multiplies."""
    shape, expected = np.shape(x), weight.shape[-1]
    if not shape or shape[-1] != expected:
        raise ValueError(
            f"{called(module)}: the input has shape {shape}, and its last axis must be of length "
            f"{expected}, for {weight.name} has shape {weight.shape}"
        )
