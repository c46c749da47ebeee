"""Convolutions and pooling as modules; names, shapes and initial bounds are PyTorch's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..core.dtypes import DType
from ..core.tensor import ArrayLike, Tensor
from ..ops import conv
from ..ops.conv import Size, sizes
from . import init
from .arguments import flag, whole
from .inputs import taken
from .module import Module

__all__ = [
    "AvgPool1d", "AvgPool2d", "Conv1d", "Conv2d", "ConvTranspose1d", "ConvTranspose2d", "MaxPool1d",
    "MaxPool2d",
]  # fmt: skip


class _Conv(Module):
    """What convolutions share: a weight and a bias, uniform in +-1/sqrt(size of one weight[k])."""

    function: Callable[..., Tensor]
    axes: int

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Size, stride: Size = 1,
        padding: Size = 0, dilation: Size = 1, groups: int = 1, bias: bool = True, *,
        rng: init.Seed = None, dtype: DType = None,
    ) -> None:  # fmt: skip
        in_channels = whole(self, "in_channels", in_channels)
        out_channels = whole(self, "out_channels", out_channels)
        groups, who, axes = whole(self, "groups", groups), type(self), self.axes
        kernel = sizes(who, axes, "kernel_size", kernel_size, 1)
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{type(self).__name__}: groups={groups} must divide in_channels={in_channels} and "
                f"out_channels={out_channels}"
            )
        shape = (*self._channels(in_channels, out_channels, groups), *kernel)
        rng, bound = init.generator(rng), 1 / math.sqrt(math.prod(shape[1:]))
        self.weight = init.uniform(rng, bound, shape, dtype)
        has_bias = flag(self, "bias", bias)
        self.bias = init.uniform(rng, bound, (out_channels,), dtype) if has_bias else None
        self.options: dict[str, Any] = {
            "stride": sizes(who, axes, "stride", stride, 1),
            "padding": sizes(who, axes, "padding", padding, 0),
            "dilation": sizes(who, axes, "dilation", dilation, 1),
            "groups": groups,
        }

    def _channels(self, inside: int, outside: int, groups: int) -> tuple[int, int]:
        return outside, inside // groups

    def forward(self, x: ArrayLike) -> Tensor:
        x = taken(self, x, self.weight)
        return type(self).function(x, self.weight, self.bias, **self.options)


class Conv1d(_Conv):
    """`conv1d` of x (N, in, L) with weight (out, in / groups, k) and bias (out,)."""

    function, axes = conv.conv1d, 1


class Conv2d(_Conv):
    """`conv2d` of x (N, in, H, W) with weight (out, in / groups, kh, kw) and bias (out,)."""

    function, axes = conv.conv2d, 2


class _ConvTranspose(_Conv):
    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Size, stride: Size = 1,
        padding: Size = 0, output_padding: Size = 0, groups: int = 1, bias: bool = True,
        dilation: Size = 1, *, rng: init.Seed = None, dtype: DType = None,
    ) -> None:  # fmt: skip
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias,
            rng=rng, dtype=dtype,
        )  # fmt: skip
        extra = sizes(type(self), self.axes, "output_padding", output_padding, 0)
        self.options["output_padding"] = extra

    def _channels(self, inside: int, outside: int, groups: int) -> tuple[int, int]:
        return inside, outside // groups


class ConvTranspose1d(_ConvTranspose):
    """`conv_transpose1d` of x (N, in, L) with weight (in, out / groups, k) and bias (out,)."""

    function, axes = conv.conv_transpose1d, 1


class ConvTranspose2d(_ConvTranspose):
    """`conv_transpose2d` of x (N, in, H, W) with weight (in, out / groups, kh, kw), bias (out,)."""

    function, axes = conv.conv_transpose2d, 2


class _Pool(Module):
    function: Callable[..., Tensor]
    axes: int

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> None:
        kernel = sizes(type(self), self.axes, "kernel_size", kernel_size, 1)
        step = kernel if stride is None else sizes(type(self), self.axes, "stride", stride, 1)
        pad = sizes(type(self), self.axes, "padding", padding, 0)
        self.options: dict[str, Any] = {"kernel_size": kernel, "stride": step, "padding": pad}

    def forward(self, x: ArrayLike) -> Tensor:
        return type(self).function(x, **self.options)


class _MaxPool(_Pool):
    def __init__(
        self, kernel_size: Size, stride: Size | None = None, padding: Size = 0, dilation: Size = 1
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        self.options["dilation"] = sizes(type(self), self.axes, "dilation", dilation, 1)


class MaxPool1d(_MaxPool):
    """`max_pool1d` of x (N, C, L)."""

    function, axes = conv.max_pool1d, 1


class MaxPool2d(_MaxPool):
    """`max_pool2d` of x (N, C, H, W)."""

    function, axes = conv.max_pool2d, 2


class AvgPool1d(_Pool):
    """`avg_pool1d` of x (N, C, L)."""

    function, axes = conv.avg_pool1d, 1


class AvgPool2d(_Pool):
    """`avg_pool2d` of x (N, C, H, W)."""

    function, axes = conv.avg_pool2d, 2
