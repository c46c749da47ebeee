"""Layers without memory; names, shapes and initial bounds of parameters are PyTorch's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.context import repeating
from ..core.dtypes import DType, get_default_dtype
from ..core.tensor import Tensor, tensor
from ..ops.elementwise import sqrt
from ..ops.embed import dropout, embedding
from ..ops.linalg import matmul
from ..ops.reduce import mean, var
from ..ops.shape import reshape
from . import init
from .module import Module

__all__ = [
    "BatchNorm1d", "BatchNorm2d", "Dropout", "Embedding", "LayerNorm", "Linear", "Sequential",
]  # fmt: skip


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
        self.in_features, self.out_features = in_features, out_features
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


class Embedding(Module):
    """Rows of weight (num_embeddings, embedding_dim), drawn from N(0, 1), by integer indices."""

    def __init__(
        self, num_embeddings: int, embedding_dim: int, *, rng: init.Seed = None, dtype: DType = None
    ) -> None:
        values: Any = init.generator(rng).standard_normal((num_embeddings, embedding_dim))
        self.weight = tensor(values.astype(dtype or get_default_dtype()), requires_grad=True)

    def forward(self, indices: Any) -> Tensor:
        return embedding(self.weight, indices)


class Dropout(Module):
    """`dropout(x, p)` while training, x in evaluation; the masks come from the module's `rng`."""

    def __init__(self, p: float = 0.5, *, rng: init.Seed = None) -> None:
        self.p, self.rng = p, init.generator(rng)

    def forward(self, x: Any) -> Tensor:
        return dropout(x, self.p, self.rng, self.training)


class LayerNorm(Module):
    """`(x - mean) / sqrt(var + eps) * weight + bias` over the last axes, of `normalized_shape`.

    Source: Ba et al., 2016. ValueError if x does not end in these axes.
    """

    def __init__(
        self, normalized_shape: int | tuple[int, ...], eps: float = 1e-5, *, dtype: DType = None
    ) -> None:
        given = normalized_shape
        shape = (given,) if isinstance(given, int) else tuple(given)
        self.eps = eps
        self.weight, self.bias = _ones(shape, dtype), _zeros(shape, dtype)

    def forward(self, x: Any) -> Tensor:
        shape, own = np.shape(x), self.weight.shape
        if shape[-len(own) :] != own:
            raise ValueError(f"LayerNorm: the input has shape {shape}, and must end in {own}")
        axes = tuple(range(-len(own), 0))
        m, v = mean(x, axis=axes, keepdims=True), var(x, axis=axes, keepdims=True)
        y: Tensor = (x - m) / sqrt(v + self.eps) * self.weight + self.bias
        return y


class _BatchNorm(Module):
    """Each channel of x (N, C, ...) brought to mean 0 and variance 1, times weight, plus bias.

    In training over the batch, whose mean and (unbiased) variance move the running ones by
    `momentum`; in evaluation with the running ones. Source: Ioffe and Szegedy, 2015.
    """

    ndims: tuple[int, ...]

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, *, dtype: DType = None
    ) -> None:
        shape, self.eps, self.momentum = (num_features,), eps, momentum
        self.weight, self.bias = _ones(shape, dtype), _zeros(shape, dtype)
        self.running_mean = _zeros(shape, dtype).detach()
        self.running_var = _ones(shape, dtype).detach()
        self.num_batches_tracked = tensor(np.array(0))

    def forward(self, x: Any) -> Tensor:
        shape, (channels,) = np.shape(x), self.weight.shape
        who = type(self).__name__
        if len(shape) not in self.ndims or shape[1] != channels:
            raise ValueError(
                f"{who}: the input has shape {shape}, and must have {channels} channels in its "
                f"second of {' or '.join(map(str, self.ndims))} axes"
            )
        axes = (0, *range(2, len(shape)))
        if self.training:
            n = math.prod(shape) // channels
            if n < 2:
                raise ValueError(
                    f"{who}: in training the input, of shape {shape}, needs more than one value "
                    "for each channel; use a larger batch, or eval()"
                )
            m, v = mean(x, axis=axes), var(x, axis=axes)
            if not repeating():
                self._track(self.running_mean, m.data)
                self._track(self.running_var, v.data * (n / (n - 1)))
                self.num_batches_tracked.data = self.num_batches_tracked.data + 1
        else:
            m, v = self.running_mean, self.running_var
        over = (-1,) + (1,) * (len(shape) - 2)
        scale = self.weight / sqrt(v + self.eps)
        y: Tensor = (x - reshape(m, over)) * reshape(scale, over) + reshape(self.bias, over)
        return y

    def _track(self, running: Tensor, now: Any) -> None:
        running.data = (1 - self.momentum) * running.data + self.momentum * now


class BatchNorm1d(_BatchNorm):
    __doc__ = _BatchNorm.__doc__
    ndims = (2, 3)


class BatchNorm2d(_BatchNorm):
    __doc__ = _BatchNorm.__doc__
    ndims = (4,)


def _ones(shape: tuple[int, ...], dtype: DType) -> Tensor:
    return tensor(np.ones(shape, dtype or get_default_dtype()), requires_grad=True)


def _zeros(shape: tuple[int, ...], dtype: DType) -> Tensor:
    return tensor(np.zeros(shape, dtype or get_default_dtype()), requires_grad=True)


def check_features(who: str, x: Any, weight: Tensor) -> None:
    """Raise ValueError unless the last axis of x is what `weight` (out, in) multiplies."""
    shape, expected = np.shape(x), weight.shape[-1]
    if not shape or shape[-1] != expected:
        raise ValueError(
            f"{who}: the input has shape {shape}, and its last axis must be of length {expected}, "
            f"for {weight.name} has shape {weight.shape}"
        )
