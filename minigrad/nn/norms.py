"""Normalisation: over features, over groups of channels, over the batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.dtypes import Array, DType
from ..core.tensor import ArrayLike, Tensor, as_floating, as_tensor, numbers_of, tensor
from ..ops.elementwise import sqrt
from ..ops.families import Axis
from ..ops.reduce import mean, var
from ..ops.shape import reshape
from ..transforms.checkpoint import repeating
from . import init
from .arguments import Number, flag, whole
from .inputs import called, taken
from .module import Module

__all__ = [
    "BatchNorm1d", "BatchNorm2d", "GroupNorm", "InstanceNorm1d", "InstanceNorm2d", "LayerNorm",
    "RMSNorm",
]  # fmt: skip


class _OverFeatures(Module):
    """What is normalised over the last axes, of `normalized_shape`."""

    weight: Tensor | None

    def _shape(self, given: Any) -> tuple[int, ...]:
        sizes = given if isinstance(given, (tuple, list)) and given else [given]
        self.normalized_shape = tuple([whole(self, "normalized_shape", n) for n in sizes])
        return self.normalized_shape

    def _checked(self, x: ArrayLike) -> tuple[Tensor, tuple[int, ...]]:
        """Return the input and the axes to normalise; ValueError if x does not end in these."""
        shape, own = np.shape(x), self.normalized_shape
        if shape[-len(own) :] != own:
            raise ValueError(f"{called(self)}: the input has shape {shape}, and must end in {own}")
        t = x if self.weight is None else taken(self, x, self.weight)
        return as_floating(t), tuple(range(-len(own), 0))


class LayerNorm(_OverFeatures):
    """`(x - mean) / sqrt(var + eps) * weight + bias` over the last axes, of `normalized_shape`.

    Source: Ba et al., 2016. ValueError if x does not end in these axes.
    """

    eps = Number("[0, 1)")

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: DType = None,
    ) -> None:
        self.eps, shape = eps, self._shape(normalized_shape)
        self.elementwise_affine = flag(self, "elementwise_affine", elementwise_affine)
        has_bias = flag(self, "bias", bias) and elementwise_affine
        self.weight = init.full(1, shape, dtype) if elementwise_affine else None
        self.bias = init.full(0, shape, dtype) if has_bias else None

    def forward(self, x: ArrayLike) -> Tensor:
        t, axes = self._checked(x)
        return _scaled(normalised(t, axes, self.eps), self.weight, self.bias)


class RMSNorm(_OverFeatures):
    """`x / sqrt(mean(x^2) + eps) * weight` over the last axes, of `normalized_shape`.

    If `eps` is None it is that of the dtype of x. Source: Zhang and Sennrich, 2019. ValueError if
    x does not end in these axes.
    """

    eps = Number("[0, 1)", optional=True)

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        *,
        dtype: DType = None,
    ) -> None:
        self.eps, shape = eps, self._shape(normalized_shape)
        self.elementwise_affine = flag(self, "elementwise_affine", elementwise_affine)
        self.weight = init.full(1, shape, dtype) if elementwise_affine else None

    def forward(self, x: ArrayLike) -> Tensor:
        t, axes = self._checked(x)
        eps = float(np.finfo(t.dtype).eps) if self.eps is None else self.eps
        return _scaled(t * (1 / sqrt(mean(t * t, axis=axes, keepdims=True) + eps)), self.weight)


class _OverChannels(Module):
    """What has a weight and a bias for each channel of x (N, C, ...)."""

    eps = Number("[0, 1)")
    ndims: tuple[int, ...] = ()
    weight: Tensor | None
    bias: Tensor | None

    def _parameters(self, channels: int, affine: bool, dtype: DType) -> None:
        self.affine = flag(self, "affine", affine)
        self.weight = init.full(1, (channels,), dtype) if affine else None
        self.bias = init.full(0, (channels,), dtype) if affine else None

    def _check(self, x: ArrayLike, channels: int) -> None:
        shape = np.shape(x)
        axes = " or ".join(map(str, self.ndims)) or "two or more"
        if len(shape) not in (self.ndims or range(2, 33)) or shape[1] != channels:
            raise ValueError(
                f"{called(self)}: the input has shape {shape}, and must have {channels} channels "
                f"in its second of {axes} axes"
            )

    def _taken(self, x: ArrayLike) -> Tensor:
        return as_tensor(x if self.weight is None else taken(self, x, self.weight))

    def _per_group(self, x: ArrayLike, channels: int, groups: int) -> Tensor:
        """Return x with mean 0 and variance 1 in each group of channels of each sample."""
        self._check(x, channels)
        shape = np.shape(x)
        if (n := math.prod(shape[2:]) * (channels // groups)) < 2:
            raise ValueError(
                f"{called(self)}: the input, of shape {shape}, has {n} value in each group, and "
                "needs two, for one would become 0"
            )
        rows = reshape(self._taken(x), (shape[0], groups, -1))
        return reshape(normalised(rows, -1, self.eps), shape)

    def _affine(self, y: Tensor) -> Tensor:
        over = (-1,) + (1,) * (y.ndim - 2)
        both = [None if t is None else reshape(t, over) for t in (self.weight, self.bias)]
        return _scaled(y, *both)


class GroupNorm(_OverChannels):
    """Groups of channels of x (N, C, ...), each brought to mean 0 and variance 1 in each sample.

    Then `* weight + bias`, by channel. Source: Wu and He, 2018. ValueError if the number of groups
    does not divide that of the channels, or if x has others.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        dtype: DType = None,
    ) -> None:
        self.num_groups = groups = whole(self, "num_groups", num_groups)
        self.num_channels = channels = whole(self, "num_channels", num_channels)
        if channels % groups:
            raise ValueError(
                f"{type(self).__name__}: num_groups={groups} must divide num_channels={channels}"
            )
        self.eps = eps
        self._parameters(channels, affine, dtype)

    def forward(self, x: ArrayLike) -> Tensor:
        return self._affine(self._per_group(x, self.num_channels, self.num_groups))


class _InstanceNorm(_OverChannels):
    """Each channel of each sample of x (N, C, ...) brought to mean 0 and variance 1.

    With `affine`, then `* weight + bias`, by channel. Source: Ulyanov et al., 2016. There are no
    running means: it does the same in training and in evaluation.
    """

    def __init__(
        self, num_features: int, eps: float = 1e-5, *, affine: bool = False, dtype: DType = None
    ) -> None:
        self.num_features, self.eps = whole(self, "num_features", num_features), eps
        self._parameters(self.num_features, affine, dtype)

    def forward(self, x: ArrayLike) -> Tensor:
        return self._affine(self._per_group(x, self.num_features, self.num_features))


class InstanceNorm1d(_InstanceNorm):
    __doc__ = _InstanceNorm.__doc__
    ndims = (3,)


class InstanceNorm2d(_InstanceNorm):
    __doc__ = _InstanceNorm.__doc__
    ndims = (4,)


class _BatchNorm(_OverChannels):
    """Each channel of x (N, C, ...) brought to mean 0 and variance 1, times weight, plus bias.

    In training over the batch, whose mean and (unbiased) variance move the running ones by
    `momentum`, or, if that is None, make them the mean over all batches; in evaluation with the
    running ones, or over the batch without `track_running_stats`. Source: Ioffe and Szegedy, 2015.
    """

    momentum = Number("[0, 1]", optional=True)

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        dtype: DType = None,
    ) -> None:
        self.num_features, self.eps = whole(self, "num_features", num_features), eps
        self.momentum = momentum
        self._parameters(self.num_features, affine, dtype)
        self.track_running_stats = flag(self, "track_running_stats", track_running_stats)
        if track_running_stats:
            shape = (self.num_features,)
            self.running_mean = init.full(0, shape, dtype).detach()
            self.running_var = init.full(1, shape, dtype).detach()
            self.num_batches_tracked = tensor(np.array(0))

    def forward(self, x: ArrayLike) -> Tensor:
        self._check(x, self.num_features)
        of_batch = self.training or not self.track_running_stats
        n = math.prod(np.shape(x)) // self.num_features
        if of_batch and n < 2:
            raise ValueError(
                f"{called(self)}: in training the input, of shape {np.shape(x)}, needs more than "
                "one value for each channel; use a larger batch, or eval()"
            )
        t = self._taken(x)
        m: Tensor
        v: Tensor
        if of_batch:
            axes = (0, *range(2, t.ndim))
            m, v = mean(t, axis=axes), var(t, axis=axes)
            if self.track_running_stats and not repeating():
                self._track(numbers_of(m), numbers_of(v) * (n / (n - 1)))
        else:
            m, v = self.running_mean, self.running_var
        over = (-1,) + (1,) * (t.ndim - 2)
        scale = 1 / sqrt(v + self.eps) if self.weight is None else self.weight / sqrt(v + self.eps)
        bias = self.bias if self.bias is None else reshape(self.bias, over)
        return _scaled(t - reshape(m, over), reshape(scale, over), bias)

    def _track(self, m: Array, v: Array) -> None:
        """Move the running mean and variance towards those of a batch."""
        batches = self.num_batches_tracked
        batches.data = numbers_of(batches) + 1
        part: Any = self.momentum
        if part is None:
            part = (1 / numbers_of(batches)).astype(m.dtype)
        for running, now in ((self.running_mean, m), (self.running_var, v)):
            running.data = (1 - part) * numbers_of(running) + part * now


class BatchNorm1d(_BatchNorm):
    __doc__ = _BatchNorm.__doc__
    ndims = (2, 3)


class BatchNorm2d(_BatchNorm):
    __doc__ = _BatchNorm.__doc__
    ndims = (4,)


def normalised(t: Any, axis: Axis, eps: float) -> Tensor:
    """Return t moved to mean 0 and scaled to variance 1 along an axis, or several.

    All that has the size of t is a product: those cost less than quotients, above all backward.
    """
    d = t - mean(t, axis=axis, keepdims=True)
    v = mean(d * d, axis=axis, keepdims=True)
    scaled: Tensor = d * (1 / sqrt(v + eps))
    return scaled


def _scaled(y: Tensor, weight: Tensor | None, bias: Tensor | None = None) -> Tensor:
    scaled: Tensor = y if weight is None else y * weight
    return scaled if bias is None else scaled + bias
