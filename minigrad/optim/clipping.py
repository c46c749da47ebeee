"""Clipping of gradients: all are made new, so that what else holds one keeps its numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from ..core.tensor import Tensor
from ..nn.arguments import number
from .parameters import given_parameters, gradients

__all__ = ["clip_grad_norm_", "clip_grad_value_"]


def clip_grad_norm_(params: Iterable[Tensor], max_norm: float, norm_type: float = 2.0) -> float:
    """Return the joint p-norm of all gradients, scaled down together if it exceeds `max_norm`.

    p is `norm_type`, math.inf for the largest number. The norm is that of before. ValueError, with
    nothing changed, if a gradient is not finite.
    """
    who = "clip_grad_norm_"
    max_norm = number(who, "max_norm", max_norm, "(0, inf]")
    p = number(who, "norm_type", norm_type, "[1, inf]")
    held = gradients(who, given_parameters(who, params))
    largest = max([float(np.abs(g).max(initial=0)) for _, _, g in held], default=0.0)
    if not largest:
        return 0.0
    # powers of what is at most 1: the square of 1e200 would be infinite, that of 1e-200 zero
    parts = [np.divide(g, largest, dtype=np.promote_types(g.dtype, float)) for _, _, g in held]
    root = 1.0
    if p == 2:
        root = math.sqrt(sum([float(np.vdot(part, part)) for part in parts]))
    elif math.isfinite(p):
        root = sum([float((np.abs(part) ** p).sum()) for part in parts]) ** (1 / p)
    if largest * root > max_norm:
        for _, t, g in held:
            t.grad = g * (max_norm / largest / root)
    return largest * root


def clip_grad_value_(params: Iterable[Tensor], clip_value: float) -> None:
    """Limit every number of every gradient to [-clip_value, clip_value].

    ValueError, with nothing changed, if a gradient is not finite.
    """
    who = "clip_grad_value_"
    bound = number(who, "clip_value", clip_value, "(0, inf]")
    for _, t, g in gradients(who, given_parameters(who, params)):
        t.grad = np.clip(g, -bound, bound)
