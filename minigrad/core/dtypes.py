"""What a tensor may hold, and what Python's floats become."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "TOLERANCE", "Array", "DType", "get_default_dtype", "native", "plain", "real", "require_plain",
    "require_real", "set_default_dtype",
]  # fmt: skip

Array: TypeAlias = npt.NDArray[Any]
"""A NumPy array of any dtype."""

DType: TypeAlias = npt.DTypeLike | None
"""What a dtype may be given as; None leaves it to the data, or to the default dtype."""

TOLERANCE = {2: 5e-2, 4: 1e-3, 8: 1e-10}
"""The largest relative error of a gradient that is ok, by the bytes of the coarser dtype.

A correct BPTT of an LSTM (200 steps, batch 4, 8 inputs, hidden 64) is off by at most 8e-3 in
float16, 9.4e-7 in float32 (50 seeds, 3 losses) and 1.6e-15 in float64 (30 seeds); with weights so
large that the recurrence is chaotic (8 times the usual), by 4e-3 in float32 and 1.2e-12 in float64.
"""

_default_dtype: np.dtype[Any] = np.dtype(np.float32)


def get_default_dtype() -> np.dtype[Any]:
    """The dtype that Python floats take in `tensor` and in modules: float32 unless set."""
    return _default_dtype


def set_default_dtype(dtype: npt.DTypeLike) -> None:
    """Set the dtype that Python floats take; a real floating dtype."""
    global _default_dtype
    wanted = native(dtype)
    if wanted.kind != "f":
        raise TypeError(f"the default dtype must be a real floating dtype, not {wanted}")
    _default_dtype = wanted


def native(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """Return a dtype in this machine's byte order, which is no property of numbers."""
    return np.dtype(dtype).newbyteorder("=")


def plain(x: Any, who: str, verb: str) -> Array:
    """Return `x`, which is no Tensor, as a plain array of real numbers, in native byte order.

    TypeError for what `require_plain` and `real` refuse; `who` and `verb` begin its text.
    """
    if type(x) is not np.ndarray:
        require_plain(x, who, verb)
        x = np.asarray(x)
    return real(x, who, verb)


def require_plain(x: Any, who: str, verb: str) -> None:
    """Raise TypeError for an array, also in a list, whose arithmetic is its own.

    Taken as plain numbers, a masked array would lose its mask, `np.matrix` its product, and an
    array with units these. Subclasses that compute as arrays do, such as `np.memmap`, are fine.
    """
    if isinstance(x, (list, tuple)):
        for part in x:
            require_plain(part, who, verb)
    elif isinstance(x, np.ndarray) and type(x) is not np.ndarray:
        kind = type(x)
        if (
            kind.__mul__ is not np.ndarray.__mul__
            or kind.__array_ufunc__ is not np.ndarray.__array_ufunc__
        ):
            ways = [_WAYS_OUT[c.__name__] for c in kind.__mro__ if c.__name__ in _WAYS_OUT]
            raise TypeError(f"{who} {verb} plain arrays, {[*ways, _OTHERWISE][0]}")


_WAYS_OUT = {  # by name, for `np.ma` is loaded when it is first used
    "MaskedArray": "not a masked array, whose mask would be lost; write m.filled(value), or "
    "np.asarray(m) to use what is masked too",
    "matrix": "not np.matrix, whose * is the product of matrices; write np.asarray(m), and @ for "
    "the product",
}
_OTHERWISE = "not a subclass of arrays with arithmetic of its own; write np.asarray(x)"


def real(array: Array, who: str, verb: str) -> Array:
    """Return an array of real numbers in native byte order.

    TypeError for complex numbers, objects, text, dates.
    """
    dtype = array.dtype
    if dtype.kind not in "fiub":
        raise TypeError(
            f"{who} {verb} real numbers, not {dtype}"
            + ("; write the real and imaginary parts as two tensors" * (dtype.kind == "c"))
        )
    return array if dtype.isnative else array.astype(native(dtype))


def require_real(dtype: np.dtype[Any]) -> None:
    """Raise TypeError unless gradients can flow through this dtype."""
    if dtype.kind != "f":
        raise TypeError(
            f"only real floating tensors can require gradients, not {dtype}; "
            "pass floats (2.0 instead of 2) or dtype=np.float32"
        )
