"""Optimisers: each takes the parameters once, and `step()` moves them along their `.grad`.

A step rebinds `p.data` to a new array, so a graph recorded before still gives the right gradient.
What an optimiser remembers is its own: it neither keeps nor changes a gradient.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ._lazy import found as _found
from .core import tree
from .core.dtypes import Array
from .core.tensor import Tensor, value_of
from .guard import hints
from .guard.errors import shown, warn
from .nn.arguments import Number, number

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "clip_grad_norm_"]


@hints.elsewhere
class Optimizer:
    """Base: holds the parameters, and calls `_update` for each that has a gradient.

    TypeError for what is no parameter, ValueError for a parameter given twice and for numbers that
    cannot be meant, also where they are set later, as by a schedule.
    """

    lr = Number("[0, inf)")

    def __new__(cls, params: Any = (), *args: Any, **kwargs: Any) -> Self:
        _require_list(cls.__name__, params)  # SGD(net): first that, then that the lr is missing
        return super().__new__(cls)

    def __init__(self, params: Iterable[Tensor], lr: float) -> None:
        who = type(self).__name__
        self.params = _parameters(who, params)
        self.lr = number(self, "lr", lr, "(0, inf)")  # a schedule may bring it down to 0
        self.memory: list[dict[str, Any]] = [{} for _ in self.params]

    def zero_grad(self) -> None:
        """Forget the gradients; call it before each backward pass."""
        for p in self.params:
            p.grad = None

    def step(self, *surplus: object) -> None:
        """Move every parameter that has a gradient and requires one.

        Float16 parameters are moved in float32, where eps is not 0. ValueError, with nothing
        changed, for a gradient that is not finite or of another shape.
        """
        who = f"{type(self).__name__}.step"
        if surplus:
            raise TypeError(f"{who}() takes no arguments; write loss.backward() before it")
        for k, p, g in _gradients(who, self.params):
            wide = np.promote_types(p.dtype, np.float32)
            p.data = self._update(
                p.data.astype(wide, copy=False), g.astype(wide, copy=False), self.memory[k]
            )

    def _update(self, p: Any, g: Any, memory: dict[str, Any]) -> Any:
        """Return the new value of a parameter; `memory` is its own, empty before its first step."""
        raise NotImplementedError


class SGD(Optimizer):
    """p <- p - lr v, with v <- momentum v + g, and g + weight_decay p in place of g."""

    momentum = Number("[0, 1)")
    weight_decay = Number("[0, inf)")

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr)
        self.momentum, self.weight_decay = momentum, weight_decay

    def _update(self, p: Any, g: Any, memory: dict[str, Any]) -> Any:
        if self.weight_decay:
            g = g + self.weight_decay * p
        if self.momentum:
            g = memory["v"] = self.momentum * memory.get("v", 0.0) + g  # a new array, also at first
        return p - self.lr * g


class Adam(Optimizer):
    """Adam, Kingma & Ba (2015), algorithm 1:

    m <- b1 m + (1 - b1) g
    v <- b2 v + (1 - b2) g^2
    p <- p - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)

    t counts the steps of this parameter, those in which it had a gradient. `weight_decay` adds
    weight_decay p to the gradient; `AdamW` shrinks p itself instead.
    """

    betas = Number("[0, 1)", length=2)
    eps = Number("[0, inf)")
    weight_decay = Number("[0, inf)")

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr)
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay

    def _update(self, p: Any, g: Any, memory: dict[str, Any]) -> Any:
        return self._move(p, g + self.weight_decay * p if self.weight_decay else g, memory)

    def _move(self, p: Any, g: Any, memory: dict[str, Any]) -> Any:
        if not memory:
            memory |= {"t": 0, "m": np.zeros_like(p), "v": np.zeros_like(p)}
        (b1, b2), m, v = self.betas, memory["m"], memory["v"]
        t = memory["t"] = memory["t"] + 1
        m += (1 - b1) * (g - m)
        v += (1 - b2) * (g * g - v)
        return p - self.lr / (1 - b1**t) * m / (np.sqrt(v / (1 - b2**t)) + self.eps)


class AdamW(Adam):
    """Adam with decoupled decay, Loshchilov & Hutter (2019): p <- p - lr weight_decay p first."""

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)

    def _update(self, p: Any, g: Any, memory: dict[str, Any]) -> Any:
        return self._move(p * (1 - self.lr * self.weight_decay), g, memory)


def clip_grad_norm_(params: Iterable[Tensor], max_norm: float) -> float:
    """Return the joint 2-norm of all gradients, scaled down together if it exceeds `max_norm`.

    The norm is that of before. ValueError, with nothing changed, if a gradient is not finite.
    """
    who = "clip_grad_norm_"
    max_norm = number(who, "max_norm", max_norm, "(0, inf]")
    held = _gradients(who, _parameters(who, params))
    largest = max([float(np.abs(g).max(initial=0)) for _, _, g in held], default=0.0)
    if not largest:
        return 0.0
    # squares of what is at most 1: those of 1e200 would be infinite, those of 1e-200 zero
    parts = [np.divide(g, largest, dtype=np.promote_types(g.dtype, float)) for _, _, g in held]
    root = math.sqrt(sum([float(np.vdot(part, part)) for part in parts]))
    if largest * root > max_norm:
        for _, p, g in held:
            p.grad = g * (max_norm / largest / root)
    return largest * root


def _require_list(who: str, params: Any) -> None:
    """Raise TypeError for what is mistaken for a list of parameters, and say what to write."""
    if tree.is_module(params):
        raise TypeError(f"{who}: takes parameters, not a module; write net.parameters()")
    if isinstance(params, Tensor):
        raise TypeError(f"{who}: takes a list of tensors; write [w], not w")
    if callable(params):
        name = getattr(params, "__name__", "parameters")
        raise TypeError(
            f"{who}: takes parameters, not a function; write {name}(), with parentheses"
        )
    if isinstance(params, dict):
        raise TypeError(f"{who}: takes a list of tensors, not a dict; write list(d.values())")


def _parameters(who: str, params: Any) -> list[Tensor]:
    """List the parameters that are given; TypeError or ValueError for what is none."""
    _require_list(who, params)
    try:
        given = list(params)
    except TypeError:
        raise TypeError(f"{who}: takes a list of tensors, not {shown(params)}") from None
    if not given:
        raise ValueError(
            f"{who}: no parameters; the list is empty (are all of them frozen?), or it is a "
            "generator that was used up before"
        )
    seen: dict[int, int] = {}
    for k, p in enumerate(given):
        if not isinstance(p, Tensor) or p.primitive is not None:
            raise TypeError(f"{who}: parameters are leaf tensors, not {shown(p)}{_leads(p)}")
        if id(p) in seen:
            raise ValueError(
                f"{who}: {_called(k, p)} is given twice, at {seen[id(p)]} and {k}; "
                "write list(dict.fromkeys(params)) to have each once"
            )
        seen[id(p)] = k
    if not [p for p in given if p.live]:
        warn(
            f"{who}: none of the parameters requires a gradient, so none will move; "
            "write mg.tensor(..., requires_grad=True)"
        )
    return given


def _leads(given: Any) -> str:
    """What to write instead of something that is no parameter."""
    if isinstance(given, Tensor) and given.primitive is not None:
        return f", the result of {given.primitive.name}; give what it was computed from"
    if isinstance(given, dict):
        return "; parameter groups are not supported: make one optimiser for each group"
    if isinstance(given, tuple):
        return "; write net.parameters() instead of net.named_parameters()"
    if isinstance(given, list):
        return "; write one flat list"
    if tree.is_module(given):
        return "; write its .parameters()"
    if isinstance(given, (np.ndarray, float)):
        return "; write mg.tensor(..., requires_grad=True)"
    return ""


def _gradients(who: str, params: Sequence[Tensor]) -> list[tuple[int, Tensor, Array]]:
    """List the parameters that have a gradient and require one, checked; warn if none has."""
    held = [(k, p, np.asarray(value_of(p.grad))) for k, p in enumerate(params) if p.live]
    held = [(k, p, g) for k, p, g in held if params[k].grad is not None]
    for k, p, g in held:
        if g.shape != p.shape:
            raise ValueError(
                f"{who}: the gradient of {_called(k, p)} has shape {g.shape}, and must have "
                f"{p.shape}, as the parameter"
            )
        if not np.isfinite(g).all():
            raise ValueError(
                f"{who}: the gradient of {_called(k, p)} is not finite; run the forward and "
                "backward pass in mg.debug() to find where that begins"
            )
    if not held:
        warn(f"{who}: no parameter has a gradient; write loss.backward() before it")
    return held


def _called(k: int, p: Tensor) -> str:
    return p.name or f"parameter {k}"


if not TYPE_CHECKING:

    def __getattr__(name):
        return _found(name, __name__, {})  # an error, which says what to write
