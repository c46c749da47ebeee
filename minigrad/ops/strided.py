"""Windows of images as strided views, and their transpose; plain NumPy.

A window view of an image (N, C, *size) has the shape (N, C, *kernel, *places); its entry [.., i, p]
is the padded image at p * stride + i * dilation. It costs nothing: the elements are the image's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

__all__ = ["Sizes", "fold", "framed", "grown", "padded", "places", "unfold", "windows"]

Sizes = tuple[int, ...]


def framed(x: Any, padding: Sizes) -> Any:
    """View a padded image without its padding."""
    return x[(..., *[slice(p, n - p) for p, n in zip(padding, x.shape[2:], strict=True)])]


def grown(size: Sizes, padding: Sizes) -> Sizes:
    return tuple([n + 2 * p for n, p in zip(size, padding, strict=True)])


def padded(x: Any, padding: Sizes, fill: Any = 0) -> Any:
    if not any(padding):
        return x
    out = np.full((*x.shape[:2], *grown(x.shape[2:], padding)), fill, x.dtype)
    framed(out, padding)[...] = x
    return out


def places(size: Sizes, kernel: Sizes, stride: Sizes, dilation: Sizes) -> Sizes:
    """Count the windows of a (padded) image along every axis."""
    axes = zip(size, kernel, stride, dilation, strict=True)
    return tuple([(n - (k - 1) * d - 1) // s + 1 for n, k, s, d in axes])


def windows(x: Any, kernel: Sizes, stride: Sizes, dilation: Sizes) -> Any:
    """View an image (N, C, *size) as its windows (N, C, *kernel, *places)."""
    lead, steps = x.strides[:2], x.strides[2:]
    taps = [n * d for n, d in zip(steps, dilation, strict=True)]
    jumps = [n * s for n, s in zip(steps, stride, strict=True)]
    shape = (*x.shape[:2], *kernel, *places(x.shape[2:], kernel, stride, dilation))
    return as_strided(x, shape, (*lead, *taps, *jumps))


def unfold(x: Any, *, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Any:
    """Copy every window of the padded image: (N, C, *size) -> (N, C, *kernel, *places)."""
    return windows(padded(x, padding), kernel, stride, dilation).copy()


def fold(a: Any, *, size: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Any:
    """Add windows (N, C, *kernel, *places) up to an image (N, C, *size): unfold transposed."""
    kernel = a.shape[2 : 2 + len(size)]
    image = np.zeros((*a.shape[:2], *grown(size, padding)), a.dtype)
    view = windows(image, kernel, stride, dilation)
    if all((k - 1) * d < s for k, s, d in zip(kernel, stride, dilation, strict=True)):
        view[...] = a  # they do not overlap
    else:
        for tap in np.ndindex(kernel):
            view[:, :, *tap] += a[:, :, *tap]
    return framed(image, padding)
