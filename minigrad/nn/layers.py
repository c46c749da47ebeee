"""Layers without memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..ops.linalg import matmul
from ..tensor import DType, Tensor
from . import init
from .module import Module

__all__ = ["Linear", "Sequential"]


class Linear(Module):
    """`y = x W^T + b`, with weight (out, in) and bias (out,); x is (..., in).

    Drawn uniformly from +-1/sqrt(in), as in PyTorch. ValueError if x has other features than `in`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        rng: init.Seed = None,
        dtype: DType = None,
    ) -> None:
        rng = init.generator(rng)
        bound = 1 / math.sqrt(in_features)
        self.weight = init.uniform(rng, bound, (out_features, in_features), dtype)
        self.bias = init.uniform(rng, bound, (out_features,), dtype) if bias else None

    def forward(self, x: Any) -> Tensor:
        check_features("Linear", x, self.weight)
        y = matmul(x, self.weight.T)
        return y if self.bias is None else y + self.bias


class Sequential(Module):
    """Modules and functions applied one after the other."""

    def __init__(self, *steps: Callable[..., Any]) -> None:
        self.steps = steps

    def forward(self, x: Any) -> Any:
        for step in self.steps:
            x = step(x)
        return x


def check_features(who: str, x: Any, weight: Tensor) -> None:
    """Raise ValueError unless the last axis of x is what `weight` (out, in) multiplies."""
    shape, expected = np.shape(x), weight.shape[-1]
    if not shape or shape[-1] != expected:
        raise ValueError(
            f"{who}: the input has shape {shape}, and its last axis must be of length {expected}, "
            f"for {weight.name} has shape {weight.shape}"
        )
