"""Optimisers: each takes the parameters once, and `step()` moves them along their `.grad`.

A step rebinds `p.data` to a new array, so a graph recorded before still gives the right gradient.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from .core.tensor import Tensor

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "clip_grad_norm_"]

Array = npt.NDArray[Any]


class Optimizer:
    """Base: holds the parameters, and calls `_update` for each that has a gradient."""

    def __init__(self, params: Iterable[Tensor], lr: float) -> None:
        self.params = list(params)
        if not self.params:
            raise ValueError(f"{type(self).__name__}: no parameters")
        for p in self.params:
            if not isinstance(p, Tensor) or p.primitive is not None:
                raise TypeError(f"{type(self).__name__}: parameters are leaf tensors, not {p!r}")
        if not lr > 0:
            raise ValueError(f"{type(self).__name__}: the learning rate must be positive, not {lr}")
        self.lr, self.steps = lr, 0
        self.memory: list[dict[str, Array]] = [{} for _ in self.params]

    def zero_grad(self) -> None:
        """Forget the gradients; call it before each backward pass."""
        for p in self.params:
            p.grad = None

    def step(self) -> None:
        """Move every parameter that has a gradient."""
        self.steps += 1
        for p, memory in zip(self.params, self.memory, strict=True):
            if p.grad is not None:
                p.data = self._update(p.data, p.grad, memory)

    def _update(self, p: Array, g: Array, memory: dict[str, Array]) -> Array:
        raise NotImplementedError


class SGD(Optimizer):
    """p <- p - lr v, with v <- momentum v + g, and g + weight_decay p in place of g."""

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr)
        self.momentum, self.weight_decay = momentum, weight_decay

    def _update(self, p: Array, g: Array, memory: dict[str, Array]) -> Array:
        if self.weight_decay:
            g = g + self.weight_decay * p
        if self.momentum:
            g = memory["v"] = self.momentum * memory["v"] + g if "v" in memory else g
        return p - self.lr * g


class Adam(Optimizer):
    """Adam, Kingma & Ba (2015), algorithm 1:

    m <- b1 m + (1 - b1) g
    v <- b2 v + (1 - b2) g^2
    p <- p - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)

    `weight_decay` adds weight_decay p to the gradient; `AdamW` shrinks p itself instead.
    """

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

    def _update(self, p: Array, g: Array, memory: dict[str, Array]) -> Array:
        return self._move(p, g + self.weight_decay * p if self.weight_decay else g, memory)

    def _move(self, p: Array, g: Array, memory: dict[str, Array]) -> Array:
        (b1, b2), t = self.betas, self.steps
        m, v = memory.setdefault("m", 0 * g), memory.setdefault("v", 0 * g)
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

    def _update(self, p: Array, g: Array, memory: dict[str, Array]) -> Array:
        return self._move(p * (1 - self.lr * self.weight_decay), g, memory)


def clip_grad_norm_(params: Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients down together so that their joint 2-norm is at most `max_norm`.

    Returns the norm before. Raises ValueError, and changes nothing, if a gradient is not finite.
    """
    if not max_norm > 0:
        raise ValueError(f"clip_grad_norm_: max_norm must be positive, not {max_norm}")
    held = [(k, p, p.grad) for k, p in enumerate(params) if p.grad is not None]
    squares = [float(np.sum(np.square(g, dtype=np.float64))) for _, _, g in held]
    for (k, p, _), square in zip(held, squares, strict=True):
        if not math.isfinite(square):
            raise ValueError(
                f"clip_grad_norm_: the gradient of {p.name or f'parameter {k}'} is not finite"
            )
    norm = math.sqrt(sum(squares))
    if norm > max_norm:
        for _, p, g in held:
            p.grad = g * p.dtype.type(max_norm / norm)
    return norm
