"""Convolutions and pooling as modules; names, shapes and initial bounds are PyTorch's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..core.dtypes import DType
from ..core.tensor import Tensor
from ..ops import conv
from ..ops.conv import Size, sizes
from . import init
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
        kernel = sizes(type(self), self.axes, "kernel_size", kernel_size, 1)
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{type(self).__name__}: groups={groups} must divide in_channels={in_channels} and "
                f"out_channels={out_channels}"
            )
        shape = (*self._channels(in_channels, out_channels, groups), *kernel)
        rng, bound = init.generator(rng), 1 / math.sqrt(math.prod(shape[1:]))
        self.weight = init.uniform(rng, bound, shape, dtype)
        self.bias = init.uniform(rng, bound, (out_channels,), dtype) if bias else None
        self.options: dict[str, Any] = {"stride": stride, "padding": padding}
        self.options |= {"dilation": dilation, "groups": groups}

    def _channels(self, inside: int, outside: int, groups: int) -> tuple[int, int]:
        return outside, inside // groups

    def forward(self, x: Any) -> Tensor:
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
        self.options["output_padding"] = output_padding

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

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> None:
        self.options: dict[str, Any] = {"kernel_size": kernel_size, "stride": stride}
        self.options["padding"] = padding

    def forward(self, x: Any) -> Tensor:
        return type(self).function(x, **self.options)


class _MaxPool(_Pool):
    def __init__(
        self, kernel_size: Size, stride: Size | None = None, padding: Size = 0, dilation: Size = 1
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        self.options["dilation"] = dilation


class MaxPool1d(_MaxPool):
    """`max_pool1d` of x (N, C, L)."""

    function = conv.max_pool1d


class MaxPool2d(_MaxPool):
    """`max_pool2d` of x (N, C, H, W)."""

    function = conv.max_pool2d


class AvgPool1d(_Pool):
    """`avg_pool1d` of x (N, C, L)."""

    function = conv.avg_pool1d


class AvgPool2d(_Pool):
    """`avg_pool2d` of x (N, C, H, W)."""

    function = conv.avg_pool2d
