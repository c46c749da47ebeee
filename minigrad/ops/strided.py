"""Windows of images as strided views, and their transpose; plain NumPy.

A window view of an image (N, C, *size) has the shape (N, C, *kernel, *out); its entry [.., i, p]
is the padded image at p * stride + i * dilation. It costs nothing: the elements are the image's.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..core.dtypes import Array

__all__ = [
    "Sizes", "fold", "out_size", "padded", "padded_size", "unfold", "unpadded", "window_view",
]  # fmt: skip

Sizes: TypeAlias = tuple[int, ...]


def unpadded(x: Array, padding: Sizes) -> Array:
    """Return the view of a padded image that leaves its padding out."""
    inside = [slice(p, n - p) for p, n in zip(padding, x.shape[2:], strict=True)]
    return x[:, :, *inside]


def padded_size(size: Sizes, padding: Sizes) -> Sizes:
    """Return the size of an image with its padding."""
    return tuple([n + 2 * p for n, p in zip(size, padding, strict=True)])


def padded(x: Array, padding: Sizes, fill: float = 0) -> Array:
    """Return an image with `fill` around it, at both ends of every axis; itself without padding."""
    if not any(padding):
        return x
    out = np.full((*x.shape[:2], *padded_size(x.shape[2:], padding)), fill, x.dtype)
    unpadded(out, padding)[...] = x
    return out


def out_size(size: Sizes, kernel: Sizes, stride: Sizes, dilation: Sizes) -> Sizes:
    """Return how many windows a (padded) image has along every axis."""
    axes = zip(size, kernel, stride, dilation, strict=True)
    return tuple([(n - (k - 1) * d - 1) // s + 1 for n, k, s, d in axes])


def window_view(x: Array, kernel: Sizes, stride: Sizes, dilation: Sizes) -> Array:
    """Return the windows (N, C, *kernel, *out) of an image (N, C, *size), as a view."""
    lead, steps = x.strides[:2], x.strides[2:]
    taps = [n * d for n, d in zip(steps, dilation, strict=True)]
    jumps = [n * s for n, s in zip(steps, stride, strict=True)]
    shape = (*x.shape[:2], *kernel, *out_size(x.shape[2:], kernel, stride, dilation))
    return as_strided(x, shape, (*lead, *taps, *jumps))


def unfold(x: Array, *, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Array:
    """Return a copy of every window of the padded image: (N, C, *size) -> (N, C, *kernel, *out)."""
    return window_view(padded(x, padding), kernel, stride, dilation).copy()


def fold(a: Array, *, size: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Array:
    """Add windows (N, C, *kernel, *out) up to an image (N, C, *size): unfold transposed."""
    kernel = a.shape[2 : 2 + len(size)]
    image = np.zeros((*a.shape[:2], *padded_size(size, padding)), a.dtype)
    view = window_view(image, kernel, stride, dilation)
    if all((k - 1) * d < s for k, s, d in zip(kernel, stride, dilation, strict=True)):
        view[...] = a  # they do not overlap
    else:
        for tap in np.ndindex(kernel):
            view[:, :, *tap] += a[:, :, *tap]
    return unpadded(image, padding)
