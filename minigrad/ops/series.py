"""Along one axis: cumulative sums and products, differences, integrals, convolution."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from ..core.context import tracing
from ..core.dtypes import Array
from ..core.primitive import Case, Primitive
from ..core.tensor import ArrayLike, Tensor, as_floating, as_tensor, op
from .families import general, kept_shape, linear, multilinear, operation
from .reduce import product, product_before, shifted, widened
from .shape import vector_shape

__all__ = [
    "convolve", "correlate", "cumprod", "cumsum", "cumulative_prod", "cumulative_sum", "diff",
    "gradient", "trapezoid",
]  # fmt: skip


# ---- cumulative sums and products: a product's derivative is that of the others, among zeros too ---


def _scans(r: Any) -> list[Case]:
    return [
        Case.of(r(2, 3)), Case.of(r(2, 3), axis=0), Case.of(r(4, 3).T[::2], axis=-1),
        Case.of(r(0, 2), axis=0), Case.of(r()),
    ]  # fmt: skip


def _cumsum(a: Array, *, axis: int | None = None) -> Any:
    return a.cumsum(axis)


def _pull_cumsum(g: Any, z: Any, a: Any, axis: int | None = None) -> Any:
    along = 0 if axis is None else axis
    return np.flip(np.cumsum(np.flip(g, along), axis=along), along).reshape(a.shape)


cumsum = linear(_cumsum, _pull_cumsum, key=np.cumsum, samples=_scans)


def _cumprod(a: Array, *, axis: int | None = None) -> Any:
    return a.cumprod(axis)


def _recurrence(a: Array, b: Array) -> Array:
    """Solution of z[k] = a[k] z[k-1] + b[k] along the first axis, where z[-1] = 0.

    Where z overflows and a is 0, what comes after is the number that it is without z.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        z = _by_blocks(a, b, np.multiply)
        return z if np.isfinite(z).all() else _by_blocks(a, b, product)


def _by_blocks(a: Array, b: Array, times: Callable[..., Any]) -> Array:
    """Solve sqrt(n) blocks of n short rows at once, each from 0; then join them.

    What a block ends with goes through the products of the next.
    """
    n = len(b)
    blocks = 1 if n < 64 or b.size > 1000 * n else math.isqrt(n)
    rows = -(-n // blocks)
    z, a = (_in_blocks(x, (blocks, rows)) for x in (b, a))
    for k in range(1, rows):
        z[:, k] += times(a[:, k], z[:, k - 1])
        if blocks > 1:
            a[:, k] = times(a[:, k], a[:, k - 1])
    for j in range(1, blocks):
        z[j] += times(a[j], z[j - 1, -1])
    return z.reshape(-1, *b.shape[1:])[:n]


def _in_blocks(x: Array, shape: tuple[int, int]) -> Array:
    """Copy the rows into blocks, and zeros after them."""
    out = np.zeros((math.prod(shape), *x.shape[1:]), x.dtype)
    out[: len(x)] = x
    return out.reshape(*shape, *x.shape[1:])


def _pull_recurrence(g: Any, a: Any) -> Any:
    """Solve the same backward: u[k] = a[k+1] u[k+1] + g[k]."""
    return np.flip(recurrence.like_numpy(np.roll(np.flip(a, 0), 1, 0), np.flip(g, 0)), 0)


def _axis_first(a: Any, axis: int | None) -> Any:
    """Return `a` with the axis in front; flattened, if there is none."""
    return a.reshape(-1) if axis is None or not a.ndim else np.moveaxis(a, axis, 0)


def _axis_back(rows: Any, like: Any, axis: int | None) -> Any:
    """Return the rows with the first axis where it is in `like`: undoes `_axis_first`."""
    return rows.reshape(like.shape) if axis is None or not like.ndim else np.moveaxis(rows, 0, axis)


def _pull_cumprod(g: Any, z: Any, a: Any, axis: int | None = None) -> Any:
    rows, g = _axis_first(a, axis), _axis_first(g, axis)
    if _divides(z):  # sum g[i] z[i] / a[k] over i from k on
        ga = np.flip(np.cumsum(np.flip(g * _axis_first(z, axis), 0), axis=0), 0) / rows
    else:
        wide = widened(rows)
        ga = product(product_before(wide), _pull_recurrence(widened(g), wide))
        ga = ga.astype(a.dtype, copy=False)
    return _axis_back(ga, a, axis)


def _push_cumprod(da: Any, z: Any, a: Any, axis: int | None = None) -> Any:
    rows, da = _axis_first(a, axis), _axis_first(da, axis)
    if _divides(z):
        dz = _axis_first(z, axis) * np.cumsum(da / rows, axis=0)
    else:
        wide = widened(rows)
        dz = recurrence.like_numpy(wide, product(product_before(wide), widened(da)))
        dz = dz.astype(z.dtype, copy=False)
    return _axis_back(dz, z, axis)


def _divides(z: Any) -> bool:
    """Whether products are far from 0 and infinity, so that one may divide by the factors.

    What is traced is to be right for other products, too.
    """
    return tracing() is None and bool(((z != 0) & np.isfinite(z)).all())


cumprod = general(
    _cumprod, key=np.cumprod, pulls=[_pull_cumprod], pushes=[_push_cumprod],
    samples=lambda r: [*_scans(r), Case.of(np.array([2.0, 0.0, 3.0])), Case.of(np.zeros((2, 2)))],
)  # fmt: skip
recurrence: Primitive = general(
    _recurrence,
    pulls=[
        lambda g, z, a, b: _pull_recurrence(g, a) * shifted(z, np.zeros_like),
        lambda g, z, a, b: _pull_recurrence(g, a),
    ],
    pushes=[
        lambda da, z, a, b: recurrence.like_numpy(a, da * shifted(z, np.zeros_like)),
        lambda db, z, a, b: recurrence.like_numpy(a, db),
    ],
    samples=lambda r: [
        Case.of(r(4), r(4)),
        Case.of(r(3, 2), r(3, 2)),
        Case.of(r(0), r(0)),
        Case.of(r(70, domain=(-1.0, 1.0)), r(70)),
    ],
)


def _cumulative(function: Any, base: Any, unit: int) -> Callable[..., Tensor]:
    """Return the operation `base` along one axis, which may begin with its unit."""

    def cumulative(
        x: ArrayLike, *, axis: int | None = None, include_initial: bool = False
    ) -> Tensor:
        t = as_tensor(x) if np.ndim(x) else as_tensor(x).reshape(1)
        if axis is None and t.ndim > 1:
            raise ValueError(f"{function.__name__}: give an axis for an array of shape {t.shape}")
        axis = normalize_axis_index(axis or 0, t.ndim)
        if include_initial:
            first = np.full(kept_shape(t.shape, axis), unit, t.dtype)
            t = op(np.concatenate)([first, t], axis)
        return op(base)(t, axis=axis)

    samples = lambda r: [Case.of(r(3)), Case.of(r(2, 3), axis=-1, include_initial=True)]
    doc = f"As numpy.{function.__name__}: `include_initial` puts {unit} first."
    return operation(function, samples, doc)(cumulative)


cumulative_sum = _cumulative(np.cumulative_sum, np.cumsum, 0)
cumulative_prod = _cumulative(np.cumulative_prod, np.cumprod, 1)


# ---- differences ---------------------------------------------------------------------------------


def _part(x: Any, axis: int, start: int | None, stop: int | None) -> Any:
    """Return x[start:stop] along an axis."""
    return x[(*[slice(None)] * normalize_axis_index(axis, x.ndim), slice(start, stop))]


def _neighbours(t: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Return the elements along an axis that follow another, and those that they follow."""
    return _part(t, axis, 1, None), _part(t, axis, None, -1)


@operation(
    np.diff,
    lambda r: [
        Case.of(r(4)), Case.of(r(2, 4), n=2), Case.of(r(3, 2), axis=0, prepend=0.0),
        Case.of(r(3, 2), 1, 1, r(3, 1), r(3, 2)), Case.of(r(2), n=0),
    ],
)  # fmt: skip
def diff(
    a: ArrayLike,
    n: int = 1,
    axis: int = -1,
    prepend: ArrayLike | None = None,
    append: ArrayLike | None = None,
) -> Tensor:
    """Differences of neighbours along `axis`, n times."""
    t = as_tensor(a)
    if n < 0:
        raise ValueError(f"diff: n says how often, and must not be negative: {n}")
    if n == 0:
        return t
    axis = normalize_axis_index(axis, t.ndim)
    one = kept_shape(t.shape, axis)

    def end(e: Any) -> Any:
        """Return one number in the shape of one slice; Python's are weak."""
        if np.ndim(e):
            return e
        weak = isinstance(e, (int, float))
        return op(np.broadcast_to)(np.asarray(e, np.result_type(t.dtype, e)) if weak else e, one)

    joined = [end(e) for e in (prepend, t, append) if e is not None]
    if len(joined) > 1:
        t = op(np.concatenate)(joined, axis)
    for _ in range(n):
        after, before = _neighbours(t, axis)
        t = after - before
    return t


@operation(
    np.trapezoid,
    lambda r: [
        Case.of(r(4)), Case.of(r(4, 2), dx=0.5, axis=0), Case.of(r(2, 4), r(4)),
        Case.of(r(2, 4), r(2, 4), axis=1),
    ],
)  # fmt: skip
def trapezoid(
    y: ArrayLike, x: ArrayLike | None = None, dx: ArrayLike = 1.0, axis: int = -1
) -> Tensor:
    """Integral along `axis` by the trapezoidal rule; gradients flow through `x` too."""
    t = as_tensor(y)
    after, before = _neighbours(t, axis)
    if x is not None:
        x = as_tensor(x)
        dx = diff(x, axis=axis if x.ndim > 1 else -1)
        if x.ndim == 1:
            axis = normalize_axis_index(axis, t.ndim)
            dx = dx.reshape(vector_shape(axis, t.ndim))
    return (op(np.multiply)(dx, after + before) * 0.5).sum(axis=axis)


@operation(
    np.gradient,
    lambda r: [
        Case.of(r(4)), Case.of(r(3, 4), 0.5, axis=1, edge_order=2), Case.of(r(3, 4), 0.5, r(domain=(0.5, 1.0))),
        Case.of(r(2, 4), np.array([0.0, 1.0, 1.5, 3.0]), axis=(1,), edge_order=2),
    ],
)  # fmt: skip
def gradient(
    f: ArrayLike,
    *varargs: ArrayLike,
    axis: int | Sequence[int] | None = None,
    edge_order: int = 1,
) -> Tensor | tuple[Tensor, ...]:
    """Derivative along each axis by second-order differences, as `numpy.gradient`.

    The spacing is a number, or the coordinates along the axis as an array; gradients flow through
    it too. One axis gives a Tensor, several give a tuple of them.
    """
    t = as_floating(f)
    axes = normalize_axis_tuple(range(t.ndim) if axis is None else axis, t.ndim)
    spacings = varargs or (1.0,)
    if len(spacings) == 1 and not np.ndim(spacings[0]):
        spacings *= len(axes)
    if len(spacings) != len(axes) or edge_order not in (1, 2):
        raise ValueError(
            f"gradient: {len(spacings)} spacings for {len(axes)} axes, edge_order={edge_order}; "
            "give one spacing for each axis, or one number, and an edge_order of 1 or 2"
        )
    found = [_derivative_along(t, h, k, edge_order) for h, k in zip(spacings, axes, strict=True)]
    return found[0] if len(found) == 1 else tuple(found)


def _derivative_along(t: Tensor, spacing: Any, axis: int, edge_order: int) -> Tensor:
    """Return the derivative along one axis; h are the steps between neighbours."""
    n = t.shape[axis]
    if n < edge_order + 1:
        raise ValueError(f"gradient: axis {axis} of shape {t.shape} is too short for its edges")
    if np.ndim(spacing) and np.shape(spacing) != (n,):
        raise ValueError(
            f"gradient: coordinates of shape {np.shape(spacing)} for axis {axis} of {t.shape}"
        )
    h = np.diff(spacing) if np.ndim(spacing) else spacing * np.ones(n - 1, t.dtype)
    h = h.astype(t.dtype).reshape(vector_shape(axis, t.ndim))

    def part(x: Any, start: int, stop: int | None) -> Any:
        return _part(x, axis, start, stop)

    a, b = part(h, 0, -1), part(h, 1, None)
    left, middle, right = part(t, 0, -2), part(t, 1, -1), part(t, 2, None)
    inside = ((right - middle) * (a / b) + (middle - left) * (b / a)) / (a + b)
    steps = (part(t, 1, None) - part(t, 0, -1)) / h
    first, last = part(steps, 0, 1), part(steps, -1, None)
    if edge_order == 2:  # go on along the parabola through the three points at the edge
        first = 2 * first - part(inside, 0, 1)
        last = 2 * last - part(inside, -1, None)
    return op(np.concatenate)([first, inside, last], axis)


# ---- convolution ---------------------------------------------------------------------------------


def _convolve(a: Array, v: Array, *, mode: str = "full") -> Any:
    """Products of two sequences, one of them turned around, summed at every overlap."""
    return np.convolve(a, v, mode)  # type: ignore[call-overload]


def _pull_convolve(g: Any, a: Any, v: Any, mode: str = "full") -> Any:
    """Put g in its place among all overlaps, and slide v along, not turned around."""
    n, m = np.size(a), np.size(v)
    short = n if n < m else m
    start = {"full": 0, "same": (short - 1) // 2, "valid": short - 1}[mode]
    whole = np.pad(g, (start, n + m - 1 - start - g.shape[0]))
    return np.convolve(whole, np.flip(v), "valid")


def _sequences(r: Any) -> list[Case]:
    modes = [{"mode": mode} for mode in ("full", "same", "valid")]
    return [Case.of(r(n), r(m), **mode) for n, m in ((5, 2), (3, 4), (1, 3)) for mode in modes]


convolve = multilinear(
    _convolve,
    lambda g, z, a, v, **mode: _pull_convolve(g, a, v, **mode),
    lambda g, z, a, v, **mode: _pull_convolve(g, v, a, **mode),
    key=np.convolve, samples=_sequences,
)  # fmt: skip


@operation(np.correlate, _sequences)
def correlate(a: ArrayLike, v: ArrayLike, mode: str = "valid") -> Tensor:
    """Products of two sequences summed at every overlap: `convolve` with v turned around."""
    if np.ndim(a) != 1 or np.ndim(v) != 1:
        raise ValueError(f"correlate: takes sequences, not shapes {np.shape(a)}, {np.shape(v)}")
    return convolve(a, as_tensor(v)[::-1], mode=mode)
