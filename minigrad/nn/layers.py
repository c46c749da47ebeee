"""Layers without memory; names, shapes and initial bounds of parameters are PyTorch's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.dtypes import Array, DType, get_default_dtype
from ..core.tensor import ArrayLike, Tensor, tensor
from ..ops.elementwise import sqrt
from ..ops.embed import dropout, embedding
from ..ops.linalg import matmul
from ..ops.reduce import mean, var
from ..ops.shape import reshape
from ..transforms.checkpoint import repeating
from . import init
from .arguments import Number, flag, whole
from .inputs import called, check_features, taken
from .module import Module

__all__ = [
    "BatchNorm1d", "BatchNorm2d", "Dropout", "Embedding", "LayerNorm", "Linear",
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
        self.in_features = n = whole(self, "in_features", in_features)
        self.out_features = m = whole(self, "out_features", out_features)
        rng, bound = init.generator(rng), 1 / math.sqrt(n)
        self.weight = init.uniform(rng, bound, (m, n), dtype)
        has_bias = flag(self, "bias", bias)
        self.bias = init.uniform(rng, bound, (m,), dtype) if has_bias else None

    def forward(self, x: ArrayLike) -> Tensor:
        check_features(self, x, self.weight)
        y = matmul(taken(self, x, self.weight), self.weight.T)
        return y if self.bias is None else y + self.bias


class Embedding(Module):
    """Rows of weight (num_embeddings, embedding_dim), drawn from N(0, 1), by integer indices."""

    def __init__(
        self, num_embeddings: int, embedding_dim: int, *, rng: init.Seed = None, dtype: DType = None
    ) -> None:
        rows = whole(self, "num_embeddings", num_embeddings)
        width = whole(self, "embedding_dim", embedding_dim)
        values = init.generator(rng).standard_normal((rows, width))
        self.weight = tensor(values.astype(dtype or get_default_dtype()), requires_grad=True)

    def forward(self, indices: ArrayLike) -> Tensor:
        return embedding(self.weight, indices)


class Dropout(Module):
    """`dropout(x, p)` while training, x in evaluation; the masks come from the module's `rng`.

    Without one they come from the generator that `mg.manual_seed` seeds.
    """

    p = Number("[0, 1)")

    def __init__(self, p: float = 0.5, *, rng: init.Seed = None) -> None:
        self.p, self.rng = p, None if rng is None else init.generator(rng)

    def forward(self, x: ArrayLike) -> Tensor:
        return dropout(x, self.p, init.generator(self.rng), self.training)


class LayerNorm(Module):
    """`(x - mean) / sqrt(var + eps) * weight + bias` over the last axes, of `normalized_shape`.

    Source: Ba et al., 2016. ValueError if x does not end in these axes.
    """

    eps = Number("[0, 1)")

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float = 1e-5, *, dtype: DType = None
    ) -> None:
        given: Any = normalized_shape
        sizes = given if isinstance(given, (tuple, list)) and given else [given]
        shape = tuple([whole(self, "normalized_shape", n) for n in sizes])
        self.eps = eps
        self.weight, self.bias = _ones(shape, dtype), _zeros(shape, dtype)

    def forward(self, x: ArrayLike) -> Tensor:
        shape, own = np.shape(x), self.weight.shape
        if shape[-len(own) :] != own:
            raise ValueError(f"{called(self)}: the input has shape {shape}, and must end in {own}")
        t: Any = taken(self, x, self.weight)
        axes = tuple(range(-len(own), 0))
        m, v = mean(t, axis=axes, keepdims=True), var(t, axis=axes, keepdims=True)
        y: Tensor = (t - m) / sqrt(v + self.eps) * self.weight + self.bias
        return y


class _BatchNorm(Module):
    """Each channel of x (N, C, ...) brought to mean 0 and variance 1, times weight, plus bias.

    In training over the batch, whose mean and (unbiased) variance move the running ones by
    `momentum`, or, if that is None, make them the mean over all batches; in evaluation with the
    running ones. Source: Ioffe and Szegedy, 2015.
    """

    ndims: tuple[int, ...]
    eps = Number("[0, 1)")
    momentum = Number("[0, 1]", optional=True)

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        *,
        dtype: DType = None,
    ) -> None:
        shape, self.eps, self.momentum = (whole(self, "num_features", num_features),), eps, momentum
        self.weight, self.bias = _ones(shape, dtype), _zeros(shape, dtype)
        self.running_mean = _zeros(shape, dtype).detach()
        self.running_var = _ones(shape, dtype).detach()
        self.num_batches_tracked = tensor(np.array(0))

    def forward(self, x: ArrayLike) -> Tensor:
        shape, (channels,) = np.shape(x), self.weight.shape
        if len(shape) not in self.ndims or shape[1] != channels:
            raise ValueError(
                f"{called(self)}: the input has shape {shape}, and must have {channels} channels "
                f"in its second of {' or '.join(map(str, self.ndims))} axes"
            )
        n = math.prod(shape) // channels
        if self.training and n < 2:
            raise ValueError(
                f"{called(self)}: in training the input, of shape {shape}, needs more than one "
                "value for each channel; use a larger batch, or eval()"
            )
        t: Any = taken(self, x, self.weight)
        axes = (0, *range(2, len(shape)))
        if self.training:
            m, v = mean(t, axis=axes), var(t, axis=axes)
            if not repeating():
                self._track(m.data, v.data * (n / (n - 1)))
        else:
            m, v = self.running_mean, self.running_var
        over = (-1,) + (1,) * (len(shape) - 2)
        scale = self.weight / sqrt(v + self.eps)
        y: Tensor = (t - reshape(m, over)) * reshape(scale, over) + reshape(self.bias, over)
        return y

    def _track(self, m: Array, v: Array) -> None:
        """Move the running mean and variance towards those of a batch."""
        batches = self.num_batches_tracked
        batches.data = batches.data + 1
        part = 1 / batches.item() if self.momentum is None else self.momentum
        for running, now in ((self.running_mean, m), (self.running_var, v)):
            running.data = (1 - part) * running.data + part * now


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
