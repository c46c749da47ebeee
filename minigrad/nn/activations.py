"""Activations as modules, with PyTorch's names, arguments and defaults; `mg.relu` is one, too.

Each applies functions of minigrad's; where x has a corner, the gradient is that of the function.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.dtypes import DType
from ..core.tensor import ArrayLike, Tensor, as_tensor, numbers_of, op
from ..ops.elementwise import (
    elu,
    leaky_relu,
    log_sigmoid,
    relu,
    sigmoid,
    silu,
    softplus,
    tanh,
    where,
)
from ..ops.reduce import log_softmax, softmax
from ..ops.shape import reshape, split
from ..ops.special import gelu
from .arguments import Number, whole
from .init import full
from .inputs import called, taken
from .module import Module

__all__ = [
    "CELU", "ELU", "GELU", "GLU", "SELU", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU",
    "LogSigmoid", "LogSoftmax", "Mish", "PReLU", "ReLU", "ReLU6", "SiLU", "Sigmoid", "Softmax",
    "Softmin", "Softplus", "Softsign", "Tanh", "Tanhshrink", "Threshold",
]  # fmt: skip


class _Plain(Module):
    """An activation without options: `function` of x."""

    function: Callable[..., Tensor]

    def forward(self, x: ArrayLike) -> Tensor:
        return type(self).function(x)


class ReLU(_Plain):
    """`mg.relu`: the positive part of x; the gradient at 0 is 0."""

    function = relu


class SiLU(_Plain):
    """`mg.silu`: x * sigmoid(x), also called swish."""

    function = silu


class Sigmoid(_Plain):
    """`mg.sigmoid`: 1 / (1 + exp(-x))."""

    function = sigmoid


class Tanh(_Plain):
    """`mg.tanh`."""

    function = tanh


class LogSigmoid(_Plain):
    """`mg.log_sigmoid`: log(sigmoid(x)), without overflow."""

    function = log_sigmoid


class Mish(Module):
    """x * tanh(softplus(x)). Source: Misra, 2019."""

    def forward(self, x: ArrayLike) -> Tensor:
        return as_tensor(x) * tanh(softplus(x))


class Softsign(Module):
    """x / (1 + abs(x))."""

    def forward(self, x: ArrayLike) -> Tensor:
        return as_tensor(x) / (1 + abs(as_tensor(x)))


class Tanhshrink(Module):
    """x - tanh(x)."""

    def forward(self, x: ArrayLike) -> Tensor:
        return as_tensor(x) - tanh(x)


class GELU(Module):
    """`mg.gelu`: x * P(z < x) for a standard normal z; or, with "tanh", close to it.

        0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))

    Source: Hendrycks and Gimpel, 2016.
    """

    def __init__(self, approximate: str = "none") -> None:
        if approximate not in ("none", "tanh"):
            raise ValueError(f'GELU: approximate must be "none" or "tanh", not {approximate!r}')
        self.approximate = approximate

    def forward(self, x: ArrayLike) -> Tensor:
        if self.approximate == "none":
            return gelu(x)
        t: Any = as_tensor(x)
        y: Tensor = 0.5 * t * (1 + tanh(math.sqrt(2 / math.pi) * (t + 0.044715 * t**3)))
        return y


class ELU(Module):
    """`mg.elu`: x where x > 0, alpha * (exp(x) - 1) elsewhere. Source: Clevert et al., 2016."""

    alpha = Number("(-inf, inf)")

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def forward(self, x: ArrayLike) -> Tensor:
        return elu(x, alpha=self.alpha)


class CELU(Module):
    """x where x > 0, alpha * (exp(x / alpha) - 1) elsewhere. Source: Barron, 2017."""

    alpha = Number("(0, inf)")

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def forward(self, x: ArrayLike) -> Tensor:
        y: Tensor = elu(as_tensor(x) / self.alpha) * self.alpha
        return y


class SELU(Module):
    """1.0507 * elu(x, alpha=1.6733), which keeps mean 0 and variance 1: Klambauer et al., 2017."""

    def forward(self, x: ArrayLike) -> Tensor:
        return 1.0507009873554804934193349852946 * elu(x, alpha=1.6732632423543772848170429916717)


class LeakyReLU(Module):
    """`mg.leaky_relu`: x where x > 0, negative_slope * x elsewhere."""

    negative_slope = Number("(-inf, inf)")

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def forward(self, x: ArrayLike) -> Tensor:
        return leaky_relu(x, slope=self.negative_slope)


class PReLU(Module):
    """x where x > 0, weight * x elsewhere, with a trained slope for all, or for each channel.

    The channels are the second axis of x. Source: He et al., 2015.
    """

    init = Number("(-inf, inf)")

    def __init__(self, num_parameters: int = 1, init: float = 0.25, *, dtype: DType = None) -> None:
        self.num_parameters = n = whole(self, "num_parameters", num_parameters)
        self.init = init
        self.weight = full(init, (n,), dtype)

    def forward(self, x: ArrayLike) -> Tensor:
        t, n = as_tensor(taken(self, x, self.weight)), self.num_parameters
        channels = t.shape[1] if t.ndim > 1 else 1
        if n not in (1, channels):
            raise ValueError(
                f"{called(self)}: the input has shape {t.shape}, and must have {n} channels in its "
                "second axis, one for each slope"
            )
        slope = reshape(self.weight, (n,) + (1,) * max(t.ndim - 2, 0))
        y: Tensor = where(numbers_of(t) > 0, t, slope * t)
        return y


class Softplus(Module):
    """log(1 + exp(beta x)) / beta. Source: Dugas et al., 2001.

    It is exact at any size: there is no `threshold` from which on it would be x.
    """

    beta = Number("(0, inf)")

    def __init__(self, beta: float = 1.0) -> None:
        self.beta = beta

    def forward(self, x: ArrayLike) -> Tensor:
        return softplus(x) if self.beta == 1 else softplus(as_tensor(x) * self.beta) / self.beta


class Threshold(Module):
    """x where x > threshold, `value` elsewhere."""

    threshold, value = Number("(-inf, inf)"), Number("(-inf, inf)")

    def __init__(self, threshold: float, value: float) -> None:
        self.threshold, self.value = threshold, value

    def forward(self, x: ArrayLike) -> Tensor:
        t = as_tensor(x)
        y: Tensor = where(numbers_of(t) > self.threshold, t, self.value)
        return y


class Hardtanh(Module):
    """x between min_val and max_val, the nearer one of these elsewhere; the gradient there is 0."""

    min_val, max_val = Number("(-inf, inf)"), Number("(-inf, inf)")

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        self.min_val, self.max_val = min_val, max_val
        if min_val >= max_val:
            raise ValueError(
                f"{type(self).__name__}: min_val must be less than max_val, not {min_val} and "
                f"{max_val}"
            )

    def forward(self, x: ArrayLike) -> Tensor:
        return _between(as_tensor(x), self.min_val, self.max_val)


class ReLU6(Hardtanh):
    """x between 0 and 6, the nearer one of these elsewhere. Source: Krizhevsky, 2010."""

    def __init__(self) -> None:
        super().__init__(0.0, 6.0)


class Hardsigmoid(Module):
    """x / 6 + 1/2 between 0 and 1, the nearer one of these elsewhere."""

    def forward(self, x: ArrayLike) -> Tensor:
        return _between(as_tensor(x) + 3, 0.0, 6.0) / 6


class Hardswish(Module):
    """x * Hardsigmoid(x). Source: Howard et al., 2019."""

    def forward(self, x: ArrayLike) -> Tensor:
        t = as_tensor(x)
        return t * _between(t + 3, 0.0, 6.0) / 6


class GLU(Module):
    """a * sigmoid(b), of the halves a and b of x along `dim`. Source: Dauphin et al., 2017."""

    def __init__(self, dim: int = -1) -> None:
        self.dim = whole(self, "dim", dim, None)

    def forward(self, x: ArrayLike) -> Tensor:
        t = as_tensor(x)
        if not -t.ndim <= self.dim < t.ndim or t.shape[self.dim] % 2:
            raise ValueError(
                f"{called(self)}: the input has shape {t.shape}, and must have an even number of "
                f"elements along axis {self.dim}"
            )
        a, b = split(t, 2, axis=self.dim)
        return a * sigmoid(b)


def _between(t: Tensor, low: float, high: float) -> Tensor:
    """Clip t, with gradient 0 also where it is one of the bounds, as PyTorch has it."""
    x = numbers_of(t)
    y: Tensor = where((x > low) & (x < high), t, np.clip(x, low, high))
    return y


class Softmax(Module):
    """`mg.softmax`: exp(x), divided by its sum along `dim`."""

    function: Callable[..., Any] = softmax

    def __init__(self, dim: int = -1) -> None:
        self.dim = whole(self, "dim", dim, None)

    def forward(self, x: ArrayLike) -> Tensor:
        y: Tensor = type(self).function(x, axis=self.dim)
        return y


class LogSoftmax(Softmax):
    """`mg.log_softmax`: x minus the logarithm of the sum of exp(x) along `dim`."""

    function = log_softmax


class Softmin(Softmax):
    """`Softmax` of -x."""

    def forward(self, x: ArrayLike) -> Tensor:
        return super().forward(op(np.negative)(x))
