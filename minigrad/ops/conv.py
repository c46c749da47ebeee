"""Convolutions and pooling, over any number of spatial axes: strided views and one product.

Convolution is one trilinear form in an image x, a kernel w and a result y,

    F(x, w, y) = sum of y[n, o, p] * w[o, c, i] * window(x)[n, c, i, p]    over n, o, c, i, p

and the three primitives are its partial derivatives: `conv` by y, `conv_transpose` by x (so that a
picture of every y is painted into x), `conv_weight` by w. The transposes of each are the other two,
which is all there is to say about derivatives of any order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..core.context import placed
from ..core.dtypes import Array
from ..core.primitive import Case, Primitive
from ..core.tensor import ArrayLike, Tensor, op
from ..guard.errors import shown
from . import strided
from .families import general, linear, multilinear, untracked
from .strided import Sizes, out_size, padded, padded_size, window_view

__all__ = [
    "avg_pool1d", "avg_pool2d", "conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d",
    "max_pool1d", "max_pool2d",
]  # fmt: skip

Size: TypeAlias = int | Sequence[int]
"""A number for every spatial axis, or one for all."""


# ---- the three partial derivatives of the trilinear form -----------------------------------------


def _conv(
    x: Array, w: Array, *, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> Any:
    """Slide the kernels w (O, C / groups, *kernel) over x (N, C, *size), to y (N, O, *out)."""
    view = window_view(padded(x, padding), w.shape[2:], stride, dilation)
    out, taps = view.shape[w.ndim :], math.prod(w.shape[1:])
    columns = view.reshape(len(x), groups, taps, math.prod(out))
    return (w.reshape(groups, len(w) // groups, taps) @ columns).reshape(len(x), len(w), *out)


def _rows_of_groups(y: Array, groups: int) -> Array:
    """Return y (N, O, *out) as matrices (N, groups, O / groups, positions), in order for BLAS."""
    shape = (len(y), groups, y.shape[1] // groups, math.prod(y.shape[2:]))
    return np.ascontiguousarray(y).reshape(shape)


def _conv_transpose(
    y: Array, w: Array, *, size: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> Any:
    """Paint every y (N, O, *out) times its kernel into an image (N, C, *size), and add."""
    out, taps = y.shape[2:], math.prod(w.shape[1:])
    rows = _rows_of_groups(y, groups)
    kernels = w.reshape(groups, len(w) // groups, taps).mT
    columns = kernels * rows if groups == len(w) else kernels @ rows
    columns = columns.reshape(len(y), groups * w.shape[1], *w.shape[2:], *out)
    return strided.fold(columns, size=size, stride=stride, padding=padding, dilation=dilation)


def _conv_weight(
    x: Array,
    y: Array,
    *,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> Any:
    """Correlate x (N, C, *size) with y (N, O, *out), to kernels (O, C / groups, *kernel)."""
    view = window_view(padded(x, padding), kernel, stride, dilation)
    (n, o, *out), c = y.shape, x.shape[1] // groups
    positions, taps = math.prod(out), c * math.prod(kernel)
    rows = _rows_of_groups(y, groups)
    if positions >= 16 * rows.shape[2]:  # enough work for a product in every sample
        w = (rows @ view.reshape(n, groups, taps, positions).mT).sum(axis=0)
    else:
        columns = np.moveaxis(view, 0, 1 + len(kernel)).reshape(groups, taps, n * positions)
        w = np.moveaxis(rows, 0, 2).reshape(groups, o // groups, n * positions) @ columns.mT
    return w.reshape(o, c, *kernel)


# shapes of x and of the kernels, stride, padding, dilation, groups: one axis and two
_CONVOLUTIONS: tuple[tuple[Any, ...], ...] = (
    ((2, 2, 5),    (3, 2, 3),    (1,),   (0,),   (1,),   1),
    ((2, 4, 7),    (6, 2, 2),    (2,),   (1,),   (2,),   2),
    ((2, 1, 6, 6), (1, 1, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((3, 2, 3, 4), (2, 2, 2, 3), (1, 1), (0, 0), (1, 1), 1),
    ((2, 2, 4, 5), (4, 1, 3, 2), (2, 1), (1, 2), (1, 2), 2),
    ((1, 2, 6, 4), (3, 2, 2, 1), (3, 2), (0, 1), (2, 1), 1),
    ((2, 3, 2, 3), (3, 1, 1, 1), (1, 1), (0, 0), (1, 1), 3),
    ((0, 1, 3),    (2, 1, 2),    (1,),   (0,),   (1,),   1),
)  # fmt: skip


def _operands(r: Any) -> list[tuple[Any, Any, Any, dict[str, Any]]]:
    """Draw x, w and y for every line of the table."""
    names, found = ("stride", "padding", "dilation", "groups"), []
    for x_shape, w_shape, *options in _CONVOLUTIONS:
        x, w, p = r(*x_shape), r(*w_shape), dict(zip(names, options, strict=True))
        found.append((x, w, r(*_conv(x, w, **p).shape), p))
    return found


# fmt: off
conv: Primitive = multilinear(
    _conv,
    lambda g, z, x, w, **p: conv_transpose.like_numpy(g, w, size=x.shape[2:], **p),
    lambda g, z, x, w, **p: conv_weight.like_numpy(x, g, kernel=w.shape[2:], **p),
    samples=lambda r: [Case.of(x, w, **p) for x, w, y, p in _operands(r)])
conv_transpose: Primitive = multilinear(
    _conv_transpose,
    lambda g, z, y, w, size, **p: conv.like_numpy(g, w, **p),
    lambda g, z, y, w, size, **p: conv_weight.like_numpy(g, y, kernel=w.shape[2:], **p),
    samples=lambda r: [Case.of(y, w, size=x.shape[2:], **p) for x, w, y, p in _operands(r)])
conv_weight: Primitive = multilinear(
    _conv_weight,
    lambda g, z, x, y, kernel, **p: conv_transpose.like_numpy(y, g, size=x.shape[2:], **p),
    lambda g, z, x, y, kernel, **p: conv.like_numpy(x, g, **p),
    samples=lambda r: [Case.of(x, y, kernel=w.shape[2:], **p) for x, w, y, p in _operands(r)])
# fmt: on


# ---- pooling -------------------------------------------------------------------------------------


def _reduce_windows(f: np.ufunc, x: Array, kernel: Sizes, stride: Sizes, dilation: Sizes) -> Array:
    """Reduce every window by a ufunc, one axis after the other: in k + k steps, not k * k."""
    out = out_size(x.shape[2:], kernel, stride, dilation)
    for axis, (k, s, d, n) in enumerate(zip(kernel, stride, dilation, out, strict=True), 2):
        at = (slice(None),) * axis
        first, *others = [x[(*at, slice(i * d, i * d + (n - 1) * s + 1, s))] for i in range(k)]
        x = first.copy()
        for other in others:
            f(x, other, out=x)
    return x


def _max_pool(x: Array, *, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Any:
    return _reduce_windows(
        np.maximum, padded(x, padding, _lowest(x.dtype)), kernel, stride, dilation
    )


def _avg_pool(x: Array, *, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Any:
    return _reduce_windows(np.add, padded(x, padding), kernel, stride, dilation) / math.prod(kernel)


def _lowest(dtype: Any) -> Any:
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min


def _per_window(z: Any) -> Any:
    """Return a pooled z (N, C, *out) with axes of length 1 where its windows have the kernel's."""
    return z.reshape((*z.shape[:2], *(1,) * (z.ndim - 2), *z.shape[2:]))


@untracked
def _hits(
    z: Array, x: Array, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes
) -> tuple[Array, Array]:
    """Mark what attains the maximum in each window, and count it; both constant to the graph.

    The count is NaN for a window with NaN in it, and so are the shares of the gradient there.
    """
    view = window_view(padded(x, padding, _lowest(x.dtype)), kernel, stride, dilation)
    hit = view.copy() == _per_window(z)  # in rows: the sums below are 20 times faster for it
    count = np.add.reduce(hit, axis=tuple(range(2, z.ndim)), dtype=x.dtype)
    count[count == 0] = np.nan
    return hit, count


def _pull_max_pool(g: Any, z: Any, x: Any, kernel: Sizes, **p: Any) -> Any:
    hit, count = _hits(z, x, kernel, **p)
    return fold.like_numpy(hit * _per_window(g / count), size=x.shape[2:], **p)


def _push_max_pool(dx: Any, z: Any, x: Any, kernel: Sizes, **p: Any) -> Any:
    hit, count = _hits(z, x, kernel, **p)
    chosen = hit * unfold.like_numpy(dx, kernel=kernel, **p)
    return chosen.sum(axis=tuple(range(2, z.ndim))) / count


def _pull_avg_pool(g: Any, z: Any, x: Any, kernel: Sizes, **p: Any) -> Any:
    shape = (*g.shape[:2], *kernel, *g.shape[2:])
    shares = np.broadcast_to(_per_window(g / math.prod(kernel)), shape)
    return fold.like_numpy(shares, size=x.shape[2:], **p)


# shape of x, kernel, stride, padding, dilation
_POOLS: tuple[tuple[Any, ...], ...] = (
    ((2, 2, 6),    (2,),   (2,),   (0,),   (1,)),
    ((1, 2, 7),    (3,),   (1,),   (1,),   (2,)),
    ((2, 1, 4, 6), (2, 3), (2, 3), (0, 0), (1, 1)),
    ((2, 2, 5, 4), (3, 2), (2, 1), (1, 1), (1, 1)),
    ((1, 1, 6, 5), (2, 2), (1, 2), (0, 1), (3, 2)),
    ((1, 2, 3, 3), (1, 1), (2, 1), (0, 0), (1, 1)),
    ((0, 1, 4),    (2,),   (2,),   (0,),   (1,)),
)  # fmt: skip


def _images(r: Any) -> list[Case]:
    names = ("kernel", "stride", "padding", "dilation")
    return [
        Case.of(r(*shape), **dict(zip(names, options, strict=True))) for shape, *options in _POOLS
    ]


def _unfolded(r: Any) -> list[Case]:
    cases = [(x, strided.unfold(x, **p), dict(p)) for (x,), p in _images(r)]
    return [Case.of(a, size=x.shape[2:], **p) for x, a, p in cases if p.pop("kernel")]


unfold: Primitive = linear(
    strided.unfold,
    lambda g, z, x, kernel, **p: fold.like_numpy(g, size=x.shape[2:], **p),
    samples=_images,
)
fold: Primitive = linear(
    strided.fold,
    lambda g, z, a, size, **p: unfold.like_numpy(g, kernel=a.shape[2 : 2 + len(size)], **p),
    samples=_unfolded,
)
max_pool = general(_max_pool, pulls=[_pull_max_pool], pushes=[_push_max_pool], samples=_images)
avg_pool = linear(_avg_pool, _pull_avg_pool, samples=_images)


# ---- what is public: PyTorch's arguments, checked; each for one spatial axis and for two -----------


def _convolution(axes: int) -> Callable[..., Tensor]:
    def conv_(
        x: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None, stride: Size = 1, padding: Size = 0,
        dilation: Size = 1, groups: int = 1,
    ) -> Tensor:  # fmt: skip
        """Convolution of x (N, C, *size) with weight (O, C / groups, *kernel), plus bias (O,).

        As in PyTorch this is a correlation: y[n, o, p] sums weight[o, c, i] * x[n, c, p * stride +
        i * dilation - padding], where x is 0 outside. An integer option goes for all axes, a tuple
        gives one for each. Each of the groups of channels makes its own part of the outputs.

        >>> conv2d(np.ones((1, 1, 3, 4)), np.ones((1, 1, 2, 2)), padding=(0, 1))
        tensor([[[[2., 4., 4., 4., 2.],
                  [2., 4., 4., 4., 2.]]]], dtype=float64)
        """
        size, p = _size_and_options(conv_, axes, x, stride, padding, dilation)
        (groups,) = sizes(conv_, 1, "groups", groups, 1)
        channels, w = np.shape(x)[1], np.shape(weight)
        if len(w) != axes + 2 or channels != w[1] * groups or w[0] % groups:
            raise ValueError(
                f"{placed(conv_)}: x of shape {np.shape(x)} has {channels} channels; with groups="
                f"{groups} the weight must have shape (O, {channels / groups:g}, *kernel), where "
                f"groups divides O, not {w}"
            )
        _check_fit(conv_, size, w[2:], p)
        return _with_bias(conv_, conv(x, weight, groups=groups, **p), bias)

    return _with_name(f"conv{axes}d", conv_)


def _transposed_convolution(axes: int) -> Callable[..., Tensor]:
    def transposed(
        x: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None, stride: Size = 1, padding: Size = 0,
        output_padding: Size = 0, groups: int = 1, dilation: Size = 1,
    ) -> Tensor:  # fmt: skip
        """Transpose of the convolution: x (N, C, *size), weight (C, O / groups, *kernel), bias (O,).

        Every element of x adds its kernel to the output, of size (size - 1) * stride - 2 * padding
        + (kernel - 1) * dilation + 1 + output_padding. The last, less than the stride, chooses one
        of the sizes that the convolution takes to the size of x. The arguments come in PyTorch's
        order.

        >>> conv_transpose1d(np.array([[[1.0, 2.0]]]), np.array([[[1.0, 10.0]]]), stride=2)
        tensor([[[ 1., 10.,  2., 20.]]], dtype=float64)
        """
        size, p = _size_and_options(transposed, axes, x, stride, padding, dilation)
        extra = sizes(transposed, axes, "output_padding", output_padding, 0)
        (groups,) = sizes(transposed, 1, "groups", groups, 1)
        channels, w = np.shape(x)[1], np.shape(weight)
        if len(w) != axes + 2 or channels != w[0] or channels % groups:
            raise ValueError(
                f"{placed(transposed)}: x of shape {np.shape(x)} has {channels} channels; the "
                f"weight must have shape ({channels}, O / groups, *kernel), where groups={groups} "
                f"divides {channels}, not {w}"
            )
        steps = zip(size, w[2:], extra, *p.values(), strict=True)
        whole = tuple([(n - 1) * s - 2 * q + (k - 1) * d + 1 + e for n, k, e, s, q, d in steps])
        if min(whole) < 1 or any(e >= s for e, s in zip(extra, p["stride"], strict=True)):
            raise ValueError(
                f"{placed(transposed)}: the output would have size {whole}; it must be positive, "
                f"and output_padding {extra} less than the stride {p['stride']}"
            )
        return _with_bias(
            transposed, conv_transpose(x, weight, size=whole, groups=groups, **p), bias
        )

    return _with_name(f"conv_transpose{axes}d", transposed)


def _max_pooling(axes: int) -> Callable[..., Tensor]:
    def pool(
        x: ArrayLike, kernel_size: Size, stride: Size | None = None, padding: Size = 0,
        dilation: Size = 1,
    ) -> Tensor:  # fmt: skip
        """Largest element of every window of x (N, C, *size); the stride is the window's, if None.

        Padding counts as -inf. Ties share the gradient evenly, as in `max`; PyTorch takes the first.

        >>> max_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 2)
        tensor([[[[ 5.,  7.],
                  [13., 15.]]]], dtype=float64)
        """
        return _pool(pool, max_pool, axes, x, kernel_size, stride, padding, dilation)

    return _with_name(f"max_pool{axes}d", pool)


def _avg_pooling(axes: int) -> Callable[..., Tensor]:
    def pool(
        x: ArrayLike, kernel_size: Size, stride: Size | None = None, padding: Size = 0
    ) -> Tensor:
        """Mean of every window of x (N, C, *size), padding counted as zeros; see `max_pool2d`."""
        return _pool(pool, avg_pool, axes, x, kernel_size, stride, padding, 1)

    return _with_name(f"avg_pool{axes}d", pool)


def _pool(
    who: Callable[..., Any], primitive: Primitive, axes: int, x: ArrayLike, kernel_size: Size,
    stride: Size | None, padding: Size, dilation: Size,
) -> Tensor:  # fmt: skip
    kernel = sizes(who, axes, "kernel_size", kernel_size, 1)
    size, p = _size_and_options(
        who, axes, x, kernel if stride is None else stride, padding, dilation
    )
    span = _check_fit(who, size, kernel, p)
    if any(2 * q > n for q, n in zip(p["padding"], span, strict=True)):
        raise ValueError(
            f"{placed(who)}: padding {p['padding']} is more than half of the window {span}, so "
            "that some windows would hold nothing else"
        )
    return primitive(x, kernel=kernel, **p)


def _with_name(name: str, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    function.__name__ = function.__qualname__ = name
    return function


def _with_bias(who: Callable[..., Any], y: Tensor, bias: ArrayLike | None) -> Tensor:
    if bias is None:
        return y
    if np.shape(bias) != y.shape[1:2]:
        raise ValueError(
            f"{placed(who)}: the bias must have shape {y.shape[1:2]}, a number for each output "
            f"channel, not {np.shape(bias)}"
        )
    return y + op(np.reshape)(bias, (-1,) + (1,) * (y.ndim - 2))


def _size_and_options(
    who: Callable[..., Any], axes: int, x: ArrayLike, stride: Size, padding: Size, dilation: Size
) -> tuple[Sizes, dict[str, Sizes]]:
    """Return the spatial size of x and the options, an integer for each axis; ValueError if not."""
    shape = np.shape(x)
    if len(shape) != axes + 2:
        hint = "; for one sample write x[None]" if len(shape) == axes + 1 else ""
        layout = ("(N, C, L)", "(N, C, H, W)")[axes - 1]
        raise ValueError(f"{placed(who)}: x must be {layout}, not of shape {shape}{hint}")
    return shape[2:], {
        "stride": sizes(who, axes, "stride", stride, 1),
        "padding": sizes(who, axes, "padding", padding, 0),
        "dilation": sizes(who, axes, "dilation", dilation, 1),
    }


def sizes(who: Callable[..., Any], axes: int, name: str, value: Size, least: int) -> Sizes:
    """Return an option as an integer for each axis, at least `least`; ValueError names `who`."""
    given: tuple[Any, ...] = tuple(value) if isinstance(value, (tuple, list)) else (value,) * axes
    fits = [
        isinstance(n, (int, np.integer)) and not isinstance(n, bool) and n >= least for n in given
    ]
    if len(given) != axes or not all(fits):
        raise ValueError(
            f"{placed(who)}: {name} must be an integer{' or a pair' * (axes == 2)}, at least "
            f"{least}, not {shown(value)}"
        )
    return tuple(map(int, given))


def _check_fit(who: Callable[..., Any], size: Sizes, kernel: Sizes, p: dict[str, Sizes]) -> Sizes:
    """Return the spans of a dilated kernel; ValueError if it is larger than the padded image."""
    span = tuple([(k - 1) * d + 1 for k, d in zip(kernel, p["dilation"], strict=True)])
    room = padded_size(size, p["padding"])
    if min(kernel) < 1 or any(n > m for n, m in zip(span, room, strict=True)):
        raise ValueError(
            f"{placed(who)}: the kernel {kernel}, which with dilation {p['dilation']} spans "
            f"{span}, does not fit into {room}, which is {size} with padding {p['padding']}"
        )
    return span


conv1d, conv2d = map(_convolution, (1, 2))
conv_transpose1d, conv_transpose2d = map(_transposed_convolution, (1, 2))
max_pool1d, max_pool2d = map(_max_pooling, (1, 2))
avg_pool1d, avg_pool2d = map(_avg_pooling, (1, 2))
