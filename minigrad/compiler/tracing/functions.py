"""Functions without a derivative as operations: what they are given, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ...core.tensor import Tensor
from ...guard.errors import users_call
from ..program import Function
from .numbers import ValueNeededError

__all__ = [
    "OF_ANY_SHAPE", "OF_SHAPES", "OUT_OF_PROGRAMS", "called", "may_be_computed", "named", "plain",
    "shape_depends", "silent", "with_errors",
]  # fmt: skip

_functions: dict[Any, Function] = {}
OF_SHAPES = {
    np.can_cast, np.common_type, np.empty_like, np.iscomplexobj, np.isrealobj, np.may_share_memory,
    np.ndim, np.ones_like, np.result_type, np.shape, np.shares_memory, np.size, np.zeros_like,
    np.tril_indices_from, np.triu_indices_from, np.diag_indices_from, np.iscomplex,
}  # fmt: skip
OF_ANY_SHAPE = {np.argwhere, np.flatnonzero, np.nonzero}
OUT_OF_PROGRAMS = {
    np.array2string, np.array_repr, np.array_str, np.min_scalar_type, np.save, np.savetxt,
    np.savez, np.savez_compressed,
}  # fmt: skip
_INDICES = {"constant_values", "index", "indices", "shift"}
"""Options that may be computed: they decide no shape."""


def called(
    function: Any, name: str, args: Sequence[Any], params: Mapping[str, Any]
) -> tuple[Function, list[Any], Mapping[str, Any]]:
    """Return a function, its operands, and its options; what is no operand is part of it."""
    operands = [k for k, x in enumerate(args) if isinstance(x, (Tensor, np.ndarray, np.generic))]
    numbers = [k for k, x in enumerate(args) if type(x) in (int, float, bool)]
    if len(operands) + len(numbers) == len(args):
        return named(name, function, keep=not isinstance(function, partial)), [*args], params
    leaves: list[Any] = []
    shape = [_holes(x, leaves) for x in args]

    def forward(*xs: Any, **options: Any) -> Any:
        supply = iter(xs)
        return function(*[_filled(x, supply) for x in shape], **options)

    return Function(name, forward), leaves, params


def _holes(x: Any, leaves: list[Any]) -> Any:
    if isinstance(x, (list, tuple)):
        return type(x)([_holes(part, leaves) for part in x])
    if isinstance(x, (Tensor, np.ndarray)):
        leaves.append(x)
        return _Hole
    return x


class _Hole:
    """Where an operand stands among the arguments of a function."""


def _filled(x: Any, supply: Iterator[Any]) -> Any:
    if isinstance(x, (list, tuple)):
        return type(x)([_filled(part, supply) for part in x])
    return next(supply) if x is _Hole else x


def named(name: str, function: Any, keep: bool = False) -> Function:
    if isinstance(function, Function):
        return function
    if not keep:
        return Function(name, function)
    if function not in _functions:
        _functions[function] = Function(name, function)
    return _functions[function]


def silent(check: Any) -> Callable[..., bool]:
    """Return a check as a function that gives True, if at all."""

    def forward(*xs: Any) -> bool:
        check(*xs)
        return True

    return forward


def may_be_computed(primitive: Any, params: Mapping[str, Any], is_traced: Any) -> None:
    """Raise TypeError for an option from which the shape of the result would follow."""
    for name, option in params.items():
        if type(option) is float and is_traced(option):
            raise ValueNeededError
        if is_traced(option) and name not in _INDICES:
            raise shape_depends(f"{name} of {primitive.name}, computed from data,")
        if name == "index" and primitive.name == "getitem" and _is_mask(option, is_traced):
            raise shape_depends("an index that is a mask, computed from data,")


def _is_mask(index: Any, is_traced: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(k, np.ndarray) and k.dtype == bool and is_traced(k) for k in parts)


def shape_depends(what: str) -> TypeError:
    return TypeError(
        f"mg.compile: {what} decides the shape of what follows, and shapes may not depend on the "
        "numbers that a program is given; write np.where(mask, x, 0) for x[mask], and do the rest "
        f"outside of the compiled function\n    {users_call()}"
    )


def plain(x: Any) -> Any:
    if isinstance(x, Tensor):
        x = x.value.view()
        x.flags.writeable = False
    return type(x)(map(plain, x)) if type(x) in (list, tuple) else x


def with_errors(function: Any, errors: Any) -> Callable[..., Any]:
    """Return a function that takes errors of arithmetic as the block it was recorded in does."""

    def forward(*xs: Any, **options: Any) -> Any:
        with np.errstate(**errors):
            return function(*xs, **options)

    return forward
