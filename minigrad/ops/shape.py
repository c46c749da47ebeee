"""Functions that move elements without changing them; all linear."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from ..primitive import Case, linear, operation
from ..tensor import Tensor

__all__ = [
    "astype", "broadcast_to", "concatenate", "expand_dims", "flip", "moveaxis", "ravel", "reshape",
    "split", "squeeze", "stack", "swapaxes", "transpose", "unstack",
]  # fmt: skip


def _back(g: Any, z: Any, x: Any, **params: Any) -> Any:
    """The transpose of every reshaping: the old shape."""
    return g.reshape(x.shape)


def _reshape(a: Any, *, shape: Any) -> Any:
    return a.reshape(shape)


def _ravel(a: Any) -> Any:
    return a.reshape(-1)


def _squeeze(a: Any, *, axis: Any = None) -> Any:
    return a.squeeze(axis)


def _expand_dims(a: Any, *, axis: Any) -> Any:
    return np.expand_dims(a, axis)


def _transpose(a: Any, *, axes: Any = None) -> Any:
    return a.transpose(axes)


def _pull_transpose(g: Any, z: Any, a: Any, axes: Any = None) -> Any:
    return g.transpose(
        None if axes is None else [int(k) for k in np.argsort(np.array(axes) % g.ndim)]
    )


def _swapaxes(a: Any, *, axis1: int, axis2: int) -> Any:
    return a.swapaxes(axis1, axis2)


def _moveaxis(a: Any, *, source: Any, destination: Any) -> Any:
    return np.moveaxis(a, source, destination)


def _broadcast_to(array: Any, *, shape: Any) -> Any:
    return np.broadcast_to(array, shape)


def _flip(m: Any, *, axis: Any = None) -> Any:
    return np.flip(m, axis)


def _astype(x: Any, *, dtype: Any) -> Any:
    return x.astype(dtype)


def _concatenate(*arrays: Any, axis: int = 0) -> Any:
    return np.concatenate(arrays, axis=axis)


def _part_of(k: int, g: Any, z: Any, *arrays: Any, axis: int = 0) -> Any:
    axis %= g.ndim
    start = sum(a.shape[axis] for a in arrays[:k])
    return g[(slice(None),) * axis + (slice(start, start + arrays[k].shape[axis]),)]


def _stack(*arrays: Any, axis: int = 0) -> Any:
    return np.stack(arrays, axis=axis)


def _slice_of(k: int, g: Any, z: Any, *arrays: Any, axis: int = 0) -> Any:
    return g[(slice(None),) * (axis % g.ndim) + (k,)]


def _cases(*options: dict[str, Any], shape: tuple[int, ...] = (2, 3)) -> Any:
    return lambda r: [Case.of(r(*shape), **option) for option in options]


# fmt: off
reshape      = linear(_reshape,      _back, key=np.reshape, name="reshape",
                           samples=_cases({"shape": (3, 2)}, {"shape": -1}, {"shape": (2, -1, 1)}))
ravel        = linear(_ravel,        _back, key=np.ravel, name="ravel", samples=_cases({}))
squeeze      = linear(_squeeze,      _back, key=np.squeeze, name="squeeze",
                           samples=_cases({}, {"axis": 0}, {"axis": (0, -1)}, shape=(1, 3, 1)))
expand_dims  = linear(_expand_dims,  _back, key=np.expand_dims, name="expand_dims",
                           samples=_cases({"axis": 1}, {"axis": (0, -1)}))
transpose    = linear(_transpose,    _pull_transpose, key=np.transpose, name="transpose",
                           samples=_cases({}, {"axes": (1, 2, 0)}, {"axes": (0, -1, 1)}, shape=(2, 3, 2)))
swapaxes     = linear(_swapaxes,     lambda g, z, a, axis1, axis2: g.swapaxes(axis1, axis2),
                           key=np.swapaxes, name="swapaxes", samples=_cases({"axis1": 0, "axis2": -1}))
moveaxis     = linear(_moveaxis,     lambda g, z, a, source, destination: np.moveaxis(g, destination, source),
                           key=np.moveaxis, name="moveaxis",
                           samples=_cases({"source": 0, "destination": 2}, shape=(2, 3, 2)))
broadcast_to = linear(_broadcast_to, lambda g, z, a, shape: g, key=np.broadcast_to, name="broadcast_to",
                           samples=_cases({"shape": (4, 2, 3)}, {"shape": (2, 3)}))
flip         = linear(_flip,         lambda g, z, m, axis=None: np.flip(g, axis), key=np.flip, name="flip",
                           samples=_cases({}, {"axis": 0}, {"axis": (0, 1)}))
astype       = linear(_astype,       lambda g, z, x, dtype: g, key=np.astype, name="astype",
                           samples=_cases({"dtype": np.float64}))
concatenate  = linear(_concatenate,  each=_part_of, key=np.concatenate, name="concatenate",
                           samples=lambda r: [Case.of([r(2, 3), r(1, 3)]), Case.of([r(2, 1), r(2, 2)], axis=-1)])
stack        = linear(_stack,        each=_slice_of, key=np.stack, name="stack",
                           samples=lambda r: [Case.of([r(2), r(2), r(2)]), Case.of([r(2), r(2)], axis=-1)])
# fmt: on


@operation(np.split, lambda r: [])
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Tensor]:
    """Cut along `axis` into equal sections (an int) or at indices; views, as slices are."""
    x = ary if isinstance(ary, Tensor) else Tensor(np.asarray(ary))
    n = x.shape[axis]
    if isinstance(indices_or_sections, int):
        if n % indices_or_sections:
            raise ValueError(
                f"split: axis {axis} of shape {x.shape} does not divide into "
                f"{indices_or_sections} equal sections"
            )
        cuts = list(range(0, n + 1, n // indices_or_sections))
    else:
        cuts = [0, *indices_or_sections, n]
    at = (slice(None),) * (axis % x.ndim)
    return [x[(*at, slice(a, b))] for a, b in pairwise(cuts)]


def unstack(x: Any, axis: int = 0) -> list[Tensor]:
    """List the slices along `axis`; the cost of the gradient is linear in their number."""
    t = x if isinstance(x, Tensor) else Tensor(np.asarray(x))
    at = (slice(None),) * (axis % t.ndim)
    return [t[(*at, k)] for k in range(t.shape[axis])]
