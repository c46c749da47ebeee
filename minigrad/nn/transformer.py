"""A transformer's block: Vaswani et al., "Attention is all you need", 2017."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.dtypes import DType
from ..core.tensor import ArrayLike, Tensor
from ..ops.elementwise import relu
from ..ops.special import gelu
from . import init
from .arguments import flag
from .attention import MultiheadAttention
from .inputs import called, taken
from .layers import Dropout, Linear
from .module import Module
from .norms import LayerNorm

__all__ = ["TransformerEncoderLayer"]

_ACTIVATIONS: dict[Any, Callable[[Any], Tensor]] = {"relu": relu, "gelu": gelu}


class TransformerEncoderLayer(Module):
    """Attention of a sequence to itself, then two linear layers; each is added to what it is given.

        x = norm1(x + attention(x));  x = norm2(x + linear2(activation(linear1(x))))

    or, with `norm_first`, x + attention(norm1(x)), and so on: Xiong et al., 2020. src is (L, N, E),
    with `batch_first` (N, L, E), or (L, E) for one sample. Several make an encoder, each with its
    own numbers: `Sequential(*[TransformerEncoderLayer(64, 4) for _ in range(6)])`.
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Tensor], Tensor] = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        *,
        rng: init.Seed = None,
        dtype: DType = None,
    ) -> None:
        rng = None if rng is None else init.generator(rng)
        if not callable(activation) and activation not in _ACTIVATIONS:
            raise ValueError(
                f'{type(self).__name__}: activation must be "relu", "gelu" or a function, not '
                f"{activation!r}"
            )
        self.d_model, self.nhead = d_model, nhead
        self.norm_first = flag(self, "norm_first", norm_first)
        self.self_attn = MultiheadAttention(
            d_model, nhead, dropout, bias, batch_first=batch_first, rng=rng, dtype=dtype
        )
        self.linear1 = Linear(d_model, dim_feedforward, bias, rng=rng, dtype=dtype)
        self.dropout = Dropout(dropout, rng=rng)
        self.linear2 = Linear(dim_feedforward, d_model, bias, rng=rng, dtype=dtype)
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.dropout1, self.dropout2 = Dropout(dropout, rng=rng), Dropout(dropout, rng=rng)
        self.activation = activation if callable(activation) else _ACTIVATIONS[activation]

    def forward(
        self,
        src: ArrayLike,
        src_mask: ArrayLike | None = None,
        src_key_padding_mask: ArrayLike | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Return the output, of the shape of `src`; masks are those of `MultiheadAttention`."""
        shape = np.shape(src)
        if len(shape) not in (2, 3) or shape[-1] != self.d_model:
            raise ValueError(
                f"{called(self)}: the input has shape {shape}, and must have 3 axes, or 2 for one "
                f"sample, the last of length {self.d_model}"
            )
        x: Any = taken(self, src, self.linear1.weight)

        def attended(h: Any) -> Tensor:
            y, _ = self.self_attn(
                h, h, h, src_key_padding_mask, False, src_mask, is_causal=is_causal
            )
            return self.dropout1(y)

        def fed_forward(h: Any) -> Tensor:
            return self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(h)))))

        if self.norm_first:
            x = x + attended(self.norm1(x))
            y: Tensor = x + fed_forward(self.norm2(x))
            return y
        x = self.norm1(x + attended(x))
        return self.norm2(x + fed_forward(x))
