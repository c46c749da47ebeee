"""Sizes of images changed by linear maps along their axes: means over windows, interpolation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.dtypes import Array
from ..core.tensor import ArrayLike, Tensor, as_floating, as_tensor, op
from ..ops.linalg import matmul
from .arguments import flag, number, whole
from .inputs import called
from .module import Module

__all__ = ["AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "Upsample"]


class _AdaptiveAvgPool(Module):
    """Means over windows that part the axes of x evenly into as many as `output_size` says."""

    axes: int

    def __init__(self, output_size: int | Sequence[int | None] | None) -> None:
        given: Any = output_size
        several = tuple(given) if isinstance(given, (tuple, list)) else (given,) * self.axes
        if len(several) != self.axes:
            raise ValueError(
                f"{type(self).__name__}: output_size must be one number or {self.axes}, not {given}"
            )
        self.output_size = tuple(
            [None if n is None else whole(self, "output_size", n) for n in several]
        )

    def forward(self, x: ArrayLike) -> Tensor:
        t = as_floating(x)
        if t.ndim != self.axes + 2 or 0 in t.shape[2:]:
            raise ValueError(
                f"{called(self)}: the input must have {self.axes + 2} axes, (N, C, ...), with "
                f"something in them, and has shape {t.shape}"
            )
        for axis, n in enumerate(self.output_size, 2):
            if n is not None and n != t.shape[axis]:
                t = _along(t, axis, _means(t.shape[axis], n))
        return t


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """Means of x (N, C, L) in `output_size` windows: from floor(i L / n) to ceil((i + 1) L / n)."""

    axes = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """Means of x (N, C, H, W) in windows as of `AdaptiveAvgPool1d`; None keeps an axis as it is."""

    axes = 2


class Upsample(Module):
    """x (N, C, L) or (N, C, H, W) in another size: `size`, or `scale_factor` times its own.

    `mode` is "nearest", or "linear" between two neighbours, of images "bilinear". Places stand for
    the middles of their pixels; with `align_corners` the outermost ones stay where they are. As in
    PyTorch, one number goes for all axes, and sizes are rounded down.
    """

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
    ) -> None:
        who = type(self).__name__
        if (size is None) == (scale_factor is None):
            raise ValueError(f"{who}: give one of size and scale_factor")
        if mode not in ("nearest", "linear", "bilinear"):
            raise ValueError(f'{who}: mode must be "nearest", "linear" or "bilinear", not {mode!r}')
        if align_corners is not None and mode == "nearest":
            raise ValueError(f"{who}: align_corners is of linear modes, not of {mode!r}")
        self.size: Any = size
        self.scale_factor: Any = scale_factor
        for name, given in (("size", size), ("scale_factor", scale_factor)):
            for one in given if isinstance(given, (tuple, list)) else [given]:
                if one is not None and name == "size":
                    whole(self, name, one)
                elif one is not None:
                    number(self, name, one, "(0, inf)")
        self.mode = mode
        corners = None if align_corners is None else flag(self, "align_corners", align_corners)
        self.align_corners = corners

    def forward(self, x: ArrayLike) -> Tensor:
        t = as_tensor(x) if self.mode == "nearest" else as_floating(x)
        axes = {"linear": (3,), "bilinear": (4,)}.get(self.mode, (3, 4))
        given = self.scale_factor if self.size is None else self.size
        several = isinstance(given, (tuple, list))
        if t.ndim not in axes or 0 in t.shape[2:] or (several and len(given) != t.ndim - 2):
            raise ValueError(
                f"{called(self)}: the input has shape {t.shape}, and must be (N, C, "
                f"{'L' if axes == (3,) else 'H, W'}), with something in it, for mode "
                f"{self.mode!r} and sizes {given}"
            )
        for axis, one in enumerate(given if several else [given] * (t.ndim - 2), 2):
            n = t.shape[axis]
            out = math.floor(n * one) if self.size is None else one
            if out < 1:
                raise ValueError(f"{called(self)}: nothing is left of axis {axis} of {t.shape}")
            step = 1 / one if self.size is None else n / out
            if self.mode == "nearest":
                places = np.minimum(np.floor(np.arange(out) * step).astype(int), n - 1)
                t = op(np.take)(t, places, axis=axis)
            else:
                t = _along(t, axis, _between(n, out, step, bool(self.align_corners)))
        return t


def _along(t: Tensor, axis: int, matrix: Array) -> Tensor:
    """Multiply what stands along an axis by a matrix (length, new length)."""
    y: Tensor = matmul(op(np.moveaxis)(t, axis, -1), matrix.astype(t.dtype))
    return op(np.moveaxis)(y, -1, axis)


def _means(length: int, windows: int) -> Array:
    """Return the matrix (length, windows) by which windows of a vector have their mean."""
    start = np.arange(windows) * length // windows
    end = -(-np.arange(1, windows + 1) * length // windows)
    place = np.arange(length)[:, None]
    means: Array = ((place >= start) & (place < end)) / (end - start)
    return means


def _between(length: int, out: int, step: float, align_corners: bool) -> Array:
    """Return the matrix (length, out) that interpolates a vector linearly."""
    if align_corners:
        at = np.arange(out) * ((length - 1) / max(out - 1, 1))
    else:
        at = np.maximum((np.arange(out) + 0.5) * step - 0.5, 0)
    at = np.minimum(at, length - 1)
    place = np.arange(length)[:, None]
    shares: Array = np.maximum(1 - abs(place - at), 0)
    return shares
