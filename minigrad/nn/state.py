"""What a saved state must be to fit a module: its names, its shapes, numbers that it can hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.dtypes import Array, real, require_plain
from ..core.tensor import Tensor, taken_out

__all__ = ["Described", "fitted", "misfits"]

Described = tuple[tuple[int, ...], "np.dtype[Any]"]  # shape and dtype, known before the values are


def misfits(own: Mapping[str, Tensor | Array], given: Mapping[str, Described]) -> list[str]:
    """List every name that is missing, unexpected, of another shape, or of what is no number."""
    found = [f"missing {name}" for name in own if name not in given]
    found += [f"unexpected {name}" for name in given if name not in own]
    for name, t in own.items():
        if name in given:
            shape, dtype = given[name]
            if shape != t.shape:
                found.append(f"{name} has shape {shape}, expected {t.shape}")
            try:
                real(np.empty(0, dtype), name, "must hold")
            except TypeError as error:
                found.append(str(error))
    return found


def fitted(own: Mapping[str, Tensor | Array], state: Mapping[str, Any]) -> dict[str, Array]:
    """Return copies of the arrays of `state`, as the tensors of `own` can hold them.

    ValueError that lists all that does not fit.
    """
    arrays, found = {}, []
    for name, value in state.items():
        try:
            require_plain(value, "it", "must hold")
            arrays[name] = np.asarray(taken_out(value))
        except (ValueError, TypeError, RuntimeError) as error:
            found.append(f"{name} is no array of numbers: {error}")
    described = {name: (a.shape, a.dtype) for name, a in arrays.items()}
    refused = dict.fromkeys(state.keys() - arrays.keys())
    found += misfits({k: t for k, t in own.items() if k not in refused}, described)
    new = {}
    for name, t in own.items():
        if name in arrays and arrays[name].dtype.kind in "fiub":
            new[name] = a = _cast(arrays[name], t.dtype)
            lost = np.isfinite(arrays[name]) & ~np.isfinite(a)
            if t.dtype.kind != "f":
                lost = a != arrays[name]
            if lost.any():
                found.append(f"{name} holds {arrays[name][lost][0]}, which {t.dtype} cannot hold")
    if found:
        raise ValueError("; ".join(found))
    return new


def _cast(a: Array, dtype: np.dtype[Any]) -> Array:
    with np.errstate(all="ignore"):  # what is lost is looked for, and said
        return a.astype(dtype)
