"""What a tensor may hold, and what Python's floats become."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "get_default_dtype", "real", "require_real", "set_default_dtype"]

Array: TypeAlias = npt.NDArray[Any]
"""A NumPy array of any dtype."""

_default_dtype: np.dtype[Any] = np.dtype(np.float32)


def get_default_dtype() -> np.dtype[Any]:
    """The dtype that Python floats take in `tensor` and in modules: float32 unless set."""
    return _default_dtype


def set_default_dtype(dtype: npt.DTypeLike) -> None:
    """Set the dtype that Python floats take; a real floating dtype."""
    global _default_dtype
    wanted = np.dtype(dtype)
    if wanted.kind != "f":
        raise TypeError(f"the default dtype must be a real floating dtype, not {wanted}")
    _default_dtype = wanted


def real(array: npt.NDArray[Any], who: str, verb: str) -> npt.NDArray[Any]:
    """Give an array of real numbers back; TypeError for complex numbers, objects, text, dates."""
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"{who} {verb} real numbers, not {array.dtype}"
            + ("; write the real and imaginary parts as two tensors" * (array.dtype.kind == "c"))
        )
    return array


def require_real(dtype: np.dtype[Any]) -> None:
    """Raise TypeError unless gradients can flow through this dtype."""
    if dtype.kind != "f":
        raise TypeError(
            f"only real floating tensors can require gradients, not {dtype}; "
            "pass floats (2.0 instead of 2) or dtype=np.float32"
        )
