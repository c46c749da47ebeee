"""Attention: Vaswani et al., "Attention is all you need", 2017."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from ..core.dtypes import Array, DType, plain
from ..core.tensor import (
    ArrayLike,
    Tensor,
    as_tensor,
    checked,
    label,
    numbers_of,
    tensor,
    value_of,
)  # fmt: skip
from ..ops.embed import dropout
from ..ops.families import untracked
from ..ops.linalg import matmul
from ..ops.reduce import mean, softmax
from ..ops.shape import reshape, split, swapaxes
from . import init
from .arguments import Number, flag, number, whole
from .inputs import called, taken
from .layers import Linear
from .module import Module

__all__ = ["MultiheadAttention", "scaled_dot_product_attention"]


def scaled_dot_product_attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    attn_mask: ArrayLike | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    *,
    rng: init.Seed = None,
) -> Tensor:
    """Return `softmax(query key^T * scale + mask) value`; the scale is 1/sqrt(E) unless given.

    query (..., L, E), key (..., S, E), value (..., S, V) -> (..., L, V). A mask (L, S), or one that
    broadcasts to (..., L, S), is added; one of booleans is True where a key takes part. With
    `is_causal` a query takes no later key. With `dropout_p` weights are dropped, whatever the mode.
    ValueError for shapes that do not fit, or a query that no key is left for.

    >>> q = np.eye(2)[None]
    >>> scaled_dot_product_attention(q, q, q, is_causal=True)[0, 0]
    tensor([1., 0.], dtype=float64)
    """
    q, k, v = as_tensor(query), as_tensor(key), as_tensor(value)
    who = "scaled_dot_product_attention"
    p = number(who, "dropout_p", dropout_p, "[0, 1)")
    if min(q.ndim, k.ndim, v.ndim) < 2 or q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise ValueError(
            f"{who}: query (..., L, E), key (..., S, E) and value (..., S, V) do not fit with "
            f"shapes {q.shape}, {k.shape} and {v.shape}"
        )
    if is_causal and attn_mask is not None:
        raise ValueError(f"{who}: give is_causal or attn_mask, not both")
    mask: Any = _causal(q.shape[-2], k.shape[-2]) if flag(who, "is_causal", is_causal) else None
    if attn_mask is not None:
        mask = _mask_of_scores(who, "attn_mask", attn_mask)
    if mask is not None and mask.dtype == bool:
        mask = _added(~mask, q.dtype)
    weights = _weights(who, q, k, mask, scale)
    return matmul(dropout(weights, p, init.generator(rng)) if p else weights, v)


class MultiheadAttention(Module):
    """Attention of `num_heads` parts of the features, each with its own projections.

    query (L, N, E), key (S, N, kdim), value (S, N, vdim) -> output (L, N, E) and the weights
    (N, L, S), a mean over the heads; with `batch_first` (N, L, E), and so on; without N for one
    sample. The parameters are PyTorch's: in_proj_weight (3E, E), or one for each of query, key and
    value if `kdim` or `vdim` is given, in_proj_bias (3E,), out_proj, drawn as there (Glorot and
    Bengio, 2010); what is dropped is drawn from the same `rng`. ValueError for inputs and masks
    that do not fit.
    """

    dropout = Number("[0, 1)")

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        *,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        rng: init.Seed = None,
        dtype: DType = None,
    ) -> None:
        self.embed_dim = e = whole(self, "embed_dim", embed_dim)
        self.num_heads = whole(self, "num_heads", num_heads)
        if e % self.num_heads:
            raise ValueError(
                f"{type(self).__name__}: num_heads={num_heads} must divide embed_dim={embed_dim}"
            )
        self.kdim = e if kdim is None else whole(self, "kdim", kdim)
        self.vdim = e if vdim is None else whole(self, "vdim", vdim)
        self.dropout, self.batch_first = dropout, flag(self, "batch_first", batch_first)
        self.rng = rng = None if rng is None else init.generator(rng)
        if self.kdim == self.vdim == e:
            self.in_proj_weight = init.xavier(rng, (3 * e, e), dtype)
        else:
            self.q_proj_weight = init.xavier(rng, (e, e), dtype)
            self.k_proj_weight = init.xavier(rng, (e, self.kdim), dtype)
            self.v_proj_weight = init.xavier(rng, (e, self.vdim), dtype)
        has_bias = flag(self, "bias", bias)
        self.in_proj_bias = init.full(0, (3 * e,), dtype) if has_bias else None
        self.out_proj = Linear(e, e, bias, rng=rng, dtype=dtype)
        if self.out_proj.bias is not None:
            init.zeros_(self.out_proj.bias)

    def forward(
        self,
        query: ArrayLike,
        key: ArrayLike,
        value: ArrayLike,
        key_padding_mask: ArrayLike | None = None,
        need_weights: bool = True,
        attn_mask: ArrayLike | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the output, and the weights if `need_weights`, those of each head if not averaged.

        `key_padding_mask` (N, S) and `attn_mask` (L, S), or (N * num_heads, L, S), are True where a
        key is left out, or are added. `is_causal` leaves out later keys, by itself.
        """
        lone, e, heads = np.ndim(query) == 2, self.embed_dim, self.num_heads
        q, k, v = self._projected(query, key, value, lone)
        (n, length, _), size = q.shape, k.shape[1]
        q, k, v = [swapaxes(reshape(t, (n, -1, heads, e // heads)), 1, 2) for t in (q, k, v)]
        label(q=q, k=k, v=v)
        mask = self._mask(key_padding_mask, attn_mask, (n, heads, length, size), q.dtype)
        if flag(self, "is_causal", is_causal):
            later = _added(~_causal(length, size), q.dtype)
            mask = later if mask is None else mask + later
        weights = _weights(called(self), q, k, mask)
        dropped = dropout(weights, self.dropout, init.generator(self.rng), self.training)
        y = self.out_proj(reshape(swapaxes(matmul(dropped, v), 1, 2), (n, length, e)))
        y = y[0] if lone else y if self.batch_first else swapaxes(y, 0, 1)
        if not flag(self, "need_weights", need_weights):
            return y, None
        shown = mean(weights, axis=1) if average_attn_weights else weights
        return y, shown[0] if lone else shown

    def _projected(self, query: Any, key: Any, value: Any, lone: bool) -> list[Tensor]:
        """Return the inputs, batch first, times their weights."""
        names, features = ("query", "key", "value"), (self.embed_dim, self.kdim, self.vdim)
        shapes = [np.shape(x) for x in (query, key, value)]
        full = [(1, *s) if lone else s for s in shapes]
        full = [s if lone or self.batch_first or len(s) != 3 else (s[1], s[0], s[2]) for s in full]
        n = full[0][:1]
        expected = [(*n, *s[1:2], f) for s, f in zip(full, features, strict=True)]
        if full != expected or full[1][1] != full[2][1]:
            axes = "(L, {})" if lone else "(N, L, {})" if self.batch_first else "(L, N, {})"
            layout = [f"{k} {axes.format(f)}" for k, f in zip(names, features, strict=True)]
            raise ValueError(
                f"{called(self)}: takes {', '.join(layout)}, of one batch and with as many values "
                f"as keys; got shapes {', '.join(map(str, shapes))}"
            )
        xs: list[Any] = []
        for k, x in enumerate((query, key, value)):
            t: Any = taken(self, x, self.out_proj.weight, f"the {names[k]}")
            xs.append(reshape(t, full[k]) if lone else t if self.batch_first else swapaxes(t, 0, 1))
        bias = self.in_proj_bias
        joint = "in_proj_weight" in vars(self)
        if joint and query is key is value:  # of itself: one product instead of three
            y = matmul(xs[0], self.in_proj_weight.T)
            return list(split(y if bias is None else y + bias, 3, axis=-1))
        weights: Any = (
            split(self.in_proj_weight, 3)
            if joint
            else (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        )
        made = [matmul(t, w.T) for t, w in zip(xs, weights, strict=True)]
        return made if bias is None else [y + b for y, b in zip(made, split(bias, 3), strict=True)]

    def _mask(self, padding: Any, given: Any, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return what is added before the softmax, of a shape that broadcasts to (N, H, L, S)."""
        n, heads, length, size = shape
        total: Any = None
        for what, mask, fits in (
            ("key_padding_mask", padding, {(n, size): (n, 1, 1, size)}),
            ("attn_mask", given, {(length, size): (1, 1, length, size),
                                  (n * heads, length, size): shape}),
        ):  # fmt: skip
            if mask is None:
                continue
            mask = _mask_of_scores(called(self), what, mask)
            if n == 1 and what == "key_padding_mask" and mask.ndim == 1:
                mask = mask[None]  # of one sample
            if mask.shape not in fits:
                raise ValueError(
                    f"{called(self)}: {what} must have shape {' or '.join(map(str, fits))}, not "
                    f"{mask.shape}"
                )
            mask = mask.reshape(fits[mask.shape])  # of a Tensor, a Tensor: it may be trained
            part = _added(mask, dtype) if mask.dtype == bool else mask
            total = part if total is None else total + part
        return total


def _weights(who: str, q: Tensor, k: Tensor, mask: Any, scale: float | None = None) -> Tensor:
    """Return the part of each key for each query; ValueError if nothing is left for one."""
    scores: Any = matmul(q * (1 / math.sqrt(q.shape[-1]) if scale is None else scale), k.mT)
    if mask is not None:
        if not isinstance(mask, Tensor):
            mask = tensor(mask.astype(scores.dtype), name="mask")
        scores = scores + mask
        checked(partial(_leaves_some, who), mask)
    weights = softmax(scores)
    label(scores=scores, weights=weights)
    return weights


def _leaves_some(who: str, mask: Array) -> None:
    lost = np.isneginf(mask).all(axis=-1)
    if lost.any():
        raise ValueError(
            f"{who}: the mask leaves no key for {lost.sum()} of {lost.size} queries, the first "
            f"at {tuple(int(n) for n in np.argwhere(lost)[0])}"
        )


def _mask_of_scores(who: str, what: str, mask: Any) -> Any:
    """Return a mask, an array or a Tensor; TypeError for numbers that may be meant as booleans."""
    array = plain(value_of(mask), who, "takes")
    if array.dtype.kind not in "bf":
        raise TypeError(
            f"{who}: {what} must hold booleans, or floats to be added, not {array.dtype}; write "
            f"{what} == 1, if that is meant"
        )
    if not isinstance(mask, Tensor):
        return array
    return numbers_of(mask) if array.dtype == bool else mask


def _causal(length: int, size: int) -> Array:
    """Return True where a query, by row, may take a key, by column: not a later one."""
    return np.tri(length, size, dtype=bool)


@untracked
def _added(left_out: Array, dtype: Any) -> Array:
    """Return -inf where a key is left out, and 0 elsewhere."""
    zero: Array = np.zeros(left_out.shape, dtype)
    zero[left_out] = -np.inf
    return zero
