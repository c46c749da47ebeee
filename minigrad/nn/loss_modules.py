"""The losses as modules, which keep their options: each is its function's, with its docstring."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.tensor import ArrayLike, Tensor, tensor, value_of
from .losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    check_options,
    cosine_embedding_loss,
    cosine_similarity,
    cross_entropy,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    nll_loss,
    smooth_l1_loss,
)
from .module import Module

__all__ = [
    "BCELoss", "BCEWithLogitsLoss", "CosineEmbeddingLoss", "CosineSimilarity", "CrossEntropyLoss",
    "HuberLoss", "KLDivLoss", "L1Loss", "MSELoss", "NLLLoss", "SmoothL1Loss",
]  # fmt: skip


class _Loss(Module):
    """A loss with its options kept: `CrossEntropyLoss(weight)(logits, labels)`."""

    _function: Callable[..., Tensor]
    _options: tuple[str, ...]

    def __init_subclass__(cls, of: Callable[..., Tensor] | None = None) -> None:
        if of is None:  # a subclass of the user's
            return
        given = inspect.signature(of).parameters.values()
        kept = [p for p in given if p.default is not p.empty]
        who = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
        signature = inspect.Signature([who, *kept], return_annotation="None")
        cls._function, cls._options = staticmethod(of), tuple([p.name for p in kept])

        def init(self: _Loss, *args: Any, **options: Any) -> None:
            bound = signature.bind(self, *args, **options)
            bound.apply_defaults()
            named = {k: v for k, v in bound.arguments.items() if k != "self"}
            batch = of is kl_div and named["reduction"] == "batchmean"
            check_options(type(self).__name__, **named | ({"reduction": "mean"} if batch else {}))
            for name, value in named.items():
                is_weights = name in ("weight", "pos_weight") and value is not None
                setattr(self, name, tensor(np.array(value_of(value))) if is_weights else value)

        init.__name__, init.__qualname__ = "__init__", f"{cls.__name__}.__init__"
        init.__signature__ = signature  # type: ignore[attr-defined]
        cls.__init__ = init  # type: ignore[method-assign]

    def __init__(self, *args: Any, **options: Any) -> None:
        raise NotImplementedError

    def forward(self, *inputs: ArrayLike) -> Tensor:
        return self._function(*inputs, **{name: getattr(self, name) for name in self._options})


class MSELoss(_Loss, of=mse_loss):
    """`mse_loss` as a module."""


class L1Loss(_Loss, of=l1_loss):
    """`l1_loss` as a module."""


class HuberLoss(_Loss, of=huber_loss):
    """`huber_loss` as a module."""


class SmoothL1Loss(_Loss, of=smooth_l1_loss):
    """`smooth_l1_loss` as a module."""


class CrossEntropyLoss(_Loss, of=cross_entropy):
    """`cross_entropy` as a module; a `weight` is a buffer."""


class NLLLoss(_Loss, of=nll_loss):
    """`nll_loss` as a module; a `weight` is a buffer."""


class BCEWithLogitsLoss(_Loss, of=binary_cross_entropy_with_logits):
    """`binary_cross_entropy_with_logits` as a module; `weight` and `pos_weight` are buffers."""


class BCELoss(_Loss, of=binary_cross_entropy):
    """`binary_cross_entropy` as a module; a `weight` is a buffer."""


class KLDivLoss(_Loss, of=kl_div):
    """`kl_div` as a module."""


class CosineSimilarity(_Loss, of=cosine_similarity):
    """`cosine_similarity` as a module."""


class CosineEmbeddingLoss(_Loss, of=cosine_embedding_loss):
    """`cosine_embedding_loss` as a module."""
