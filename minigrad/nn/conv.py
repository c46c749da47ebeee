"""Convolutions and pooling as modules; names, shapes and initial bounds are PyTorch's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.dtypes import DType
from ..core.tensor import ArrayLike, Tensor, op
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

_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


class _Conv(Module):
    """What convolutions share: a weight and a bias, uniform in +-1/sqrt(size of one weight[k])."""

    function: Callable[..., Tensor]
    axes: int

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Size, stride: Size = 1,
        padding: Size = 0, dilation: Size = 1, groups: int = 1, bias: bool = True, *,
        rng: init.Seed = None, dtype: DType = None,
    ) -> None:  # fmt: skip
        self.in_channels = in_channels = whole(self, "in_channels", in_channels)
        self.out_channels = out_channels = whole(self, "out_channels", out_channels)
        self.groups, who, axes = whole(self, "groups", groups), type(self), self.axes
        self.kernel_size = sizes(who, axes, "kernel_size", kernel_size, 1)
        self.stride = sizes(who, axes, "stride", stride, 1)
        self.padding: Any = sizes(who, axes, "padding", padding, 0)
        self.dilation = sizes(who, axes, "dilation", dilation, 1)
        if in_channels % self.groups or out_channels % self.groups:
            raise ValueError(
                f"{who.__name__}: groups={groups} must divide in_channels={in_channels} and "
                f"out_channels={out_channels}"
            )
        shape = (*self._channels(in_channels, out_channels, self.groups), *self.kernel_size)
        rng, bound = init.generator(rng), 1 / math.sqrt(math.prod(shape[1:]))
        self.weight = init.uniform(rng, bound, shape, dtype)
        has_bias = flag(self, "bias", bias)
        self.bias = init.uniform(rng, bound, (out_channels,), dtype) if has_bias else None

    def _channels(self, inside: int, outside: int, groups: int) -> tuple[int, int]:
        return outside, inside // groups

    def _options(self) -> dict[str, Any]:
        return {
            "stride": self.stride, "padding": self.padding, "dilation": self.dilation,
            "groups": self.groups,
        }  # fmt: skip

    def forward(self, x: ArrayLike) -> Tensor:
        x = taken(self, x, self.weight)
        return type(self).function(x, self.weight, self.bias, **self._options())


class _ConvForward(_Conv):
    """A convolution, whose padding may be one that keeps the size, and of other numbers than 0."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Size, stride: Size = 1,
        padding: Size | str = 0, dilation: Size = 1, groups: int = 1, bias: bool = True,
        padding_mode: str = "zeros", *, rng: init.Seed = None, dtype: DType = None,
    ) -> None:  # fmt: skip
        who = type(self).__name__
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ValueError(f'{who}: padding must be numbers, "same" or "valid", not {padding!r}')
        if padding_mode not in _MODES:
            modes = ", ".join(_MODES)
            raise ValueError(f"{who}: padding_mode must be one of {modes}, not {padding_mode!r}")
        around = 0 if isinstance(padding, str) else padding
        super().__init__(
            in_channels, out_channels, kernel_size, stride, around, dilation, groups, bias,
            rng=rng, dtype=dtype,
        )  # fmt: skip
        self.padding_mode = padding_mode
        self.around = [(n, n) for n in self.padding]
        self.padding = padding if isinstance(padding, str) else self.padding
        if padding == "same":
            if any(s > 1 for s in self.stride):
                raise ValueError(f'{who}: padding="same" needs stride=1, not {self.stride}')
            spans = [d * (k - 1) for k, d in zip(self.kernel_size, self.dilation, strict=True)]
            self.around = [(n // 2, n - n // 2) for n in spans]

    def forward(self, x: ArrayLike) -> Tensor:
        x, options = taken(self, x, self.weight), self._options()
        if self.padding_mode == "zeros" and all(before == after for before, after in self.around):
            options["padding"] = tuple([before for before, _ in self.around])
        elif np.ndim(x) == self.axes + 2:  # else the convolution says what is wrong
            x = op(np.pad)(x, [(0, 0), (0, 0), *self.around], mode=_MODES[self.padding_mode])
            options["padding"] = 0
        return type(self).function(x, self.weight, self.bias, **options)


class Conv1d(_ConvForward):
    """`conv1d` of x (N, in, L) with weight (out, in / groups, k) and bias (out,).

    `padding` is a number of elements, or "same" for the size of x; what is padded are zeros, or
    as `padding_mode` says: "reflect", "replicate" or "circular".
    """

    function, axes = conv.conv1d, 1


class Conv2d(_ConvForward):
    """`conv2d` of x (N, in, H, W) with weight (out, in / groups, kh, kw) and bias (out,).

    The padding is as in `Conv1d`, one number for both axes or one for each.
    """

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
        self.output_padding = sizes(type(self), self.axes, "output_padding", output_padding, 0)

    def _channels(self, inside: int, outside: int, groups: int) -> tuple[int, int]:
        return inside, outside // groups

    def _options(self) -> dict[str, Any]:
        return super()._options() | {"output_padding": self.output_padding}


class ConvTranspose1d(_ConvTranspose):
    """`conv_transpose1d` of x (N, in, L) with weight (in, out / groups, k) and bias (out,)."""

    function, axes = conv.conv_transpose1d, 1


class ConvTranspose2d(_ConvTranspose):
    """`conv_transpose2d` of x (N, in, H, W) with weight (in, out / groups, kh, kw), bias (out,)."""

    function, axes = conv.conv_transpose2d, 2


# ---- pooling -------------------------------------------------------------------------------------


class _Pool(Module):
    function: Callable[..., Tensor]
    axes: int

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> None:
        who, axes = type(self), self.axes
        self.kernel_size = sizes(who, axes, "kernel_size", kernel_size, 1)
        self.stride = self.kernel_size if stride is None else sizes(who, axes, "stride", stride, 1)
        self.padding = sizes(who, axes, "padding", padding, 0)

    def forward(self, x: ArrayLike) -> Tensor:
        return type(self).function(x, self.kernel_size, self.stride, self.padding)


class _MaxPool(_Pool):
    def __init__(
        self, kernel_size: Size, stride: Size | None = None, padding: Size = 0, dilation: Size = 1
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        self.dilation = sizes(type(self), self.axes, "dilation", dilation, 1)

    def forward(self, x: ArrayLike) -> Tensor:
        return type(self).function(x, self.kernel_size, self.stride, self.padding, self.dilation)


class MaxPool1d(_MaxPool):
    """`max_pool1d` of x (N, C, L)."""

    function, axes = conv.max_pool1d, 1


class MaxPool2d(_MaxPool):
    """`max_pool2d` of x (N, C, H, W)."""

    function, axes = conv.max_pool2d, 2


class _AvgPool(_Pool):
    def __init__(
        self, kernel_size: Size, stride: Size | None = None, padding: Size = 0, *,
        count_include_pad: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(kernel_size, stride, padding)
        self.count_include_pad = flag(self, "count_include_pad", count_include_pad)

    def forward(self, x: ArrayLike) -> Tensor:
        y = super().forward(x)
        if self.count_include_pad or not any(self.padding):
            return y
        inside = super().forward(np.ones((1, 1, *np.shape(x)[2:]), y.dtype))
        return y / inside


class AvgPool1d(_AvgPool):
    """`avg_pool1d` of x (N, C, L); padding counts as zeros, or not, as `count_include_pad` says."""

    function, axes = conv.avg_pool1d, 1


class AvgPool2d(_AvgPool):
    """`avg_pool2d` of x (N, C, H, W); padding counts as in `AvgPool1d`."""

    function, axes = conv.avg_pool2d, 2
