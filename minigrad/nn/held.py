"""What the attributes of a module hold: its parts and its state, by name, and what is neither."""

from __future__ import annotations

import sys
from collections import UserList, deque
from collections.abc import Iterable, Iterator, Mapping, Set, ValuesView
from dataclasses import fields, is_dataclass
from inspect import CO_VARARGS, CO_VARKEYWORDS
from types import FrameType, SimpleNamespace
from typing import Any

import numpy as np

from ..core.tensor import Tensor, was_given, was_trained
from ..guard.errors import GraphWarning, warn

__all__ = [
    "Holder", "given_to_init", "gives_once", "held_by", "is_parameter", "is_state",
    "warn_of_equal",
]  # fmt: skip


class Holder:
    """What holds tensors and others of its kind by name: the base of modules."""


def warn_of_equal(who: str, named: Iterable[tuple[str, Tensor]]) -> None:
    """Warn of two parameters that were drawn alike, as by one seed given twice."""
    drawn: dict[Any, tuple[str, Tensor]] = {}
    for name, t in named:
        if not t.requires_grad or t.size < 2:
            continue
        first, last = t.value.flat[0], t.value.flat[-1]
        if first == last:  # not drawn, as the ones and zeros that norms and biases begin with
            continue
        other, same = drawn.setdefault((t.shape, t.dtype, first, last), (name, t))
        if same is not t and np.array_equal(same.value, t.value):
            warn(
                f"{who}: {other} and {name} hold the same numbers, as of two layers made with one "
                "seed, and so they may stay the same for ever; give all layers one generator, "
                "rng = np.random.default_rng(0), or write mg.manual_seed(0) before they are made",
                GraphWarning,
            )
            return


def is_parameter(part: Any) -> bool:
    """Whether something is a leaf that is trained, or was before it was frozen."""
    return isinstance(part, Tensor) and part.primitive is None and (part.live or was_trained(part))


def is_state(t: Tensor) -> bool:
    """Whether a tensor is a parameter or a buffer, and nothing that was computed."""
    return t.primitive is None and (t.live or was_given(t))


def gives_once(value: Any) -> bool:
    """Whether a value is what `map`, `zip`, `iter` or an expression in parentheses gives."""
    return isinstance(value, Iterator) and type(value).__module__ == "builtins"


def given_to_init(module: Holder) -> set[Tensor] | None:
    """Return the tensors that the `__init__` of a module was given; None if it is not running."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        code, names = frame.f_code, frame.f_locals
        if code.co_name == "__init__" and names.get(code.co_varnames[0]) is module:
            stars = [bool(code.co_flags & flag) for flag in (CO_VARARGS, CO_VARKEYWORDS)]
            count = code.co_argcount + code.co_kwonlyargcount + sum(stars)
            given = [names.get(name) for name in code.co_varnames[1:count]]
            return {t for _, t in held_by(given, "") if isinstance(t, Tensor)}
        frame = frame.f_back
    return None


def held_by(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """List the tensors and modules an attribute holds, by name; TypeError if they have none."""
    if isinstance(value, (Tensor, Holder)):
        yield name, value
    elif isinstance(value, (list, tuple)):
        for k, part in enumerate(value):
            yield from held_by(part, f"{name}[{k}]")
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from held_by(part, f"{name}.{key}")
    elif any(isinstance(part, Holder) or is_parameter(part) for part in _unseen(value)):
        raise TypeError(
            f"{name}: the parameters in a {type(value).__name__} are not looked for, and would not "
            "be trained; write a list, a tuple or a dict"
        )


def _unseen(value: Any) -> Iterable[Any]:
    """List what a container holds that gives no names, or has them elsewhere."""
    if isinstance(value, np.ndarray):
        return value.flat if value.dtype == object else ()
    if isinstance(value, (Set, deque, ValuesView, UserList)):
        return value
    if isinstance(value, Mapping):  # and no dict
        return value.values()
    if isinstance(value, SimpleNamespace):
        return vars(value).values()
    if is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name, None) for field in fields(value)]
    return ()
