"""What a state must be to fit a module, to be loaded or called with: names, shapes, numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..core.dtypes import Array, real, require_plain
from ..core.tensor import ArrayLike, Tensor, as_tensor, taken_out
from ..guard.errors import shown
from ..transforms.modules import with_tensors
from .arguments import flag

__all__ = ["Described", "fitted", "functional_call", "misfits"]

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

    They lie in memory as those do (a matrix by columns stays so): a product depends on that in its
    last bits. ValueError that lists all that does not fit.
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
            new[name] = a = _cast(arrays[name], t.data if isinstance(t, Tensor) else t)
            lost = np.isfinite(arrays[name]) & ~np.isfinite(a)
            if t.dtype.kind != "f":
                lost = a != arrays[name]
            if lost.any():
                found.append(f"{name} holds {arrays[name][lost][0]}, which {t.dtype} cannot hold")
    if found:
        raise ValueError("; ".join(found))
    return new


def _cast(a: Array, like: Array) -> Array:
    cast = np.empty(a.shape, like.dtype) if a.shape != like.shape else np.empty_like(like)
    with np.errstate(all="ignore"):  # what is lost is looked for, and said
        np.copyto(cast, a, casting="unsafe")
    return cast


def functional_call(
    module: Any,
    state: Mapping[str, ArrayLike] | Sequence[Mapping[str, ArrayLike]],
    args: Any = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    strict: bool = False,
) -> Any:
    """Return `module(*args, **kwargs)`, with the tensors of `state` for its own of the same names.

    The module is left as it is, and gradients flow to what is given. What is not given stays the
    module's own, unless `strict`. `args` is a tuple, or the one argument; `state` a dict, or
    several. ValueError that names all that is unexpected, mis-shaped or, with `strict`, missing.

    >>> from minigrad import grad, nn
    >>> net, x = nn.Linear(2, 1, bias=False, rng=0), np.ones((1, 2), np.float32)
    >>> grad(lambda state: functional_call(net, state, x).sum())({"weight": np.zeros((1, 2))})
    {'weight': array([[1., 1.]])}
    """
    if not hasattr(type(module), "named_buffers"):
        raise TypeError(
            f"functional_call: the first argument must be a module, not {shown(module)}"
        )
    own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    several = [state] if isinstance(state, Mapping) else list(state)
    if not all(isinstance(part, Mapping) for part in several):
        raise TypeError(
            "functional_call: the second argument is a dict of tensors by name, as "
            f"dict(net.named_parameters()), or a list of such dicts, not {shown(state)}"
        )
    new = {name: as_tensor(t) for part in several for name, t in part.items()}
    needed = (
        own if flag("functional_call", "strict", strict) else {k: own[k] for k in own if k in new}
    )
    if found := misfits(needed, {name: (t.shape, t.dtype) for name, t in new.items()}):
        raise ValueError(
            f"functional_call: the state does not fit this {type(module).__name__}: "
            f"{'; '.join(found)}"
        )
    twin = with_tensors(module, own, new)
    return twin(*(args if isinstance(args, tuple) else (args,)), **(kwargs or {}))
