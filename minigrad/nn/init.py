"""Initial values of parameters: PyTorch's by name, in place, from one generator or another.

>>> from minigrad import nn
>>> layer = nn.Linear(3, 3)
>>> _ = nn.init.orthogonal_(layer.weight, rng=0)
>>> _ = nn.init.zeros_(layer.bias)
>>> bool(np.allclose(layer.weight.data @ layer.weight.data.T, np.eye(3), atol=1e-6))
True

For all layers of one kind: `net.apply(f)` with an f that looks at the module it is given. Each
returns the parameter, whose numbers it has replaced; TypeError for what is no floating parameter.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .._lazy import found as _found
from ..core.dtypes import Array, DType, get_default_dtype
from ..core.random import Seed as Seed
from ..core.random import generator as generator
from ..core.tensor import Tensor, tensor
from ..guard.errors import shown
from .arguments import number, whole

__all__ = [
    "calculate_gain", "constant_", "dirac_", "eye_", "kaiming_normal_", "kaiming_uniform_",
    "normal_", "ones_", "orthogonal_", "sparse_", "trunc_normal_", "uniform_", "xavier_normal_",
    "xavier_uniform_", "zeros_",
]  # fmt: skip


def uniform(rng: Seed, bound: float, shape: tuple[int, ...], dtype: DType = None) -> Tensor:
    """Return a parameter drawn uniformly from [-bound, bound]."""
    values: Any = generator(rng).uniform(-bound, bound, shape)
    return tensor(values.astype(dtype or get_default_dtype()), requires_grad=True)


def full(value: float, shape: tuple[int, ...], dtype: DType = None) -> Tensor:
    """Return a parameter that is the same number everywhere."""
    return tensor(np.full(shape, value, dtype or get_default_dtype()), requires_grad=True)


def xavier(rng: Seed, shape: tuple[int, int], dtype: DType = None) -> Tensor:
    """Return a parameter drawn as `xavier_uniform_` does."""
    return uniform(rng, math.sqrt(6 / sum(shape)), shape, dtype)


# ---- numbers that are given ----------------------------------------------------------------------


def constant_(t: Tensor, val: float) -> Tensor:
    """Fill a parameter with one number."""
    number("constant_", "val", val, "(-inf, inf)")
    return _filled(t, np.full(_shape("constant_", t), val))


def ones_(t: Tensor) -> Tensor:
    """Fill a parameter with ones."""
    return _filled(t, np.ones(_shape("ones_", t)))


def zeros_(t: Tensor) -> Tensor:
    """Fill a parameter with zeros."""
    return _filled(t, np.zeros(_shape("zeros_", t)))


def eye_(t: Tensor) -> Tensor:
    """Make a parameter of two axes the identity matrix, or as much of it as there is room for."""
    rows, columns = _shape("eye_", t, 2, 2)
    return _filled(t, np.eye(rows, columns))


def dirac_(t: Tensor, groups: int = 1) -> Tensor:
    """Make the weight of a convolution one that keeps its input, channel by channel."""
    shape = _shape("dirac_", t, 3)
    if shape[0] % whole("dirac_", "groups", groups):
        raise ValueError(f"dirac_: groups={groups} must divide the channels of shape {shape}")
    values, outs = np.zeros(shape), shape[0] // groups
    middle = tuple([n // 2 for n in shape[2:]])
    for group in range(groups):
        for k in range(min(outs, shape[1])):
            values[(group * outs + k, k, *middle)] = 1
    return _filled(t, values)


# ---- numbers that are drawn ----------------------------------------------------------------------


def uniform_(t: Tensor, a: float = 0.0, b: float = 1.0, rng: Seed = None) -> Tensor:
    """Draw a parameter uniformly from [a, b)."""
    shape = _shape("uniform_", t)
    if number("uniform_", "a", a, "(-inf, inf)") > number("uniform_", "b", b, "(-inf, inf)"):
        raise ValueError(f"uniform_: a must be at most b, not {a} and {b}")
    return _filled(t, generator(rng).uniform(a, b, shape))


def normal_(t: Tensor, mean: float = 0.0, std: float = 1.0, rng: Seed = None) -> Tensor:
    """Draw a parameter from a normal distribution."""
    _spread("normal_", mean, std)
    return _filled(t, generator(rng).normal(mean, std, _shape("normal_", t)))


def trunc_normal_(
    t: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    rng: Seed = None,
) -> Tensor:
    """Draw a parameter from a normal distribution, again what is outside of [a, b].

    ValueError if the mean is more than two standard deviations outside.
    """
    shape = _shape("trunc_normal_", t)
    _spread("trunc_normal_", mean, std)
    if a >= b or not a - 2 * std <= mean <= b + 2 * std:
        raise ValueError(
            f"trunc_normal_: too few numbers of mean {mean} and std {std} are in [{a}, {b}]"
        )
    rng, values = generator(rng), np.full(shape, np.nan)
    while (wanted := ~((values >= a) & (values <= b))).any():
        values[wanted] = rng.normal(mean, std, int(wanted.sum()))
    return _filled(t, values)


def xavier_uniform_(t: Tensor, gain: float = 1.0, rng: Seed = None) -> Tensor:
    """Draw uniformly from +-gain * sqrt(6 / (fan_in + fan_out)): Glorot and Bengio, 2010.

    The fans are what goes into one output and what one input goes into: of a weight (out, in, ...)
    `in` and `out` times the elements of the kernel.
    """
    bound = _gain("xavier_uniform_", gain) * math.sqrt(6 / sum(_fans("xavier_uniform_", t)))
    return uniform_(t, -bound, bound, rng)


def xavier_normal_(t: Tensor, gain: float = 1.0, rng: Seed = None) -> Tensor:
    """Draw from N(0, gain^2 * 2 / (fan_in + fan_out)): see `xavier_uniform_`."""
    std = _gain("xavier_normal_", gain) * math.sqrt(2 / sum(_fans("xavier_normal_", t)))
    return normal_(t, 0.0, std, rng)


def kaiming_uniform_(
    t: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    rng: Seed = None,
) -> Tensor:
    """Draw uniformly from +-gain * sqrt(3 / fan): He et al., 2015.

    The gain is that of `nonlinearity`, with the slope `a` of a leaky_relu; the fan, of
    `xavier_uniform_`, that of `mode`: "fan_in" or "fan_out".
    """
    bound = math.sqrt(3) * _kaiming("kaiming_uniform_", t, a, mode, nonlinearity)
    return uniform_(t, -bound, bound, rng)


def kaiming_normal_(
    t: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    rng: Seed = None,
) -> Tensor:
    """Draw from N(0, gain^2 / fan): see `kaiming_uniform_`."""
    return normal_(t, 0.0, _kaiming("kaiming_normal_", t, a, mode, nonlinearity), rng)


def orthogonal_(t: Tensor, gain: float = 1.0, rng: Seed = None) -> Tensor:
    """Make the rows of a parameter (rows, ...), or its columns if these are fewer, orthonormal.

    Then `* gain`. Each such matrix is as likely as another. Source: Saxe et al., 2014.
    """
    shape = _shape("orthogonal_", t, 2)
    rows, columns = shape[0], math.prod(shape[1:])
    drawn = generator(rng).normal(size=(max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(drawn)
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)  # else the signs would not be drawn: Mezzadri, 2007
    values = (q.T if rows < columns else q).reshape(shape)
    return _filled(t, _gain("orthogonal_", gain) * values)


def sparse_(t: Tensor, sparsity: float, std: float = 0.01, rng: Seed = None) -> Tensor:
    """Draw a parameter of two axes from N(0, std^2), with a part of every column zero.

    Source: Martens, 2010.
    """
    rows, columns = _shape("sparse_", t, 2, 2)
    _spread("sparse_", 0.0, std)
    zeros = math.ceil(number("sparse_", "sparsity", sparsity, "[0, 1]") * rows)
    rng = generator(rng)
    values = rng.normal(0.0, std, (rows, columns))
    for column in values.T:
        column[rng.permutation(rows)[:zeros]] = 0
    return _filled(t, values)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Return what keeps the variance behind a nonlinearity, by its name: sqrt(2) for "relu".

    `param` is the slope of "leaky_relu", 0.01 if it is None. ValueError for other names.
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else number("calculate_gain", "param", param, "(-inf, inf)")
        return math.sqrt(2 / (1 + slope**2))
    if nonlinearity not in _GAINS:
        names = ", ".join([*_GAINS, "leaky_relu"])
        raise ValueError(f"calculate_gain: nonlinearity must be one of {names}, not {nonlinearity}")
    return _GAINS[nonlinearity]


_LINEAR = ("linear", "sigmoid", "conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d")
_GAINS = dict.fromkeys(_LINEAR, 1.0) | {"tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}


# ---- what all of them check ----------------------------------------------------------------------


def _shape(who: str, t: Tensor, least: int = 0, most: int = 64) -> tuple[int, ...]:
    """Return the shape of a parameter; TypeError for what is none, ValueError for wrong axes."""
    if not isinstance(t, Tensor) or t.primitive is not None or t.dtype.kind != "f":
        raise TypeError(
            f"{who}: takes a floating parameter, such as net.weight, not {shown(t)}; for all of a "
            "module write net.apply(f), with an f that looks at each module"
        )
    if not least <= t.ndim <= most:
        wanted = str(least) if least == most else f"{least} or more"
        raise ValueError(f"{who}: the parameter must have {wanted} axes, and has shape {t.shape}")
    return t.shape


def _filled(t: Tensor, values: Array) -> Tensor:
    t.data = values.astype(t.dtype)
    return t


def _gain(who: str, gain: float) -> float:
    return number(who, "gain", gain, "(0, inf)")


def _spread(who: str, mean: float, std: float) -> None:
    number(who, "mean", mean, "(-inf, inf)")
    number(who, "std", std, "[0, inf)")


def _fans(who: str, t: Tensor) -> tuple[int, int]:
    outside, inside, *kernel = _shape(who, t, 2)
    return inside * math.prod(kernel), outside * math.prod(kernel)


def _kaiming(who: str, t: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    """Return the standard deviation that keeps the variance: gain / sqrt(fan)."""
    fans = dict(zip(("fan_in", "fan_out"), _fans(who, t), strict=True))
    if mode not in fans:
        raise ValueError(f'{who}: mode must be "fan_in" or "fan_out", not {mode!r}')
    return calculate_gain(nonlinearity, a) / math.sqrt(fans[mode])


if not TYPE_CHECKING:

    def __getattr__(name):
        return _found(name, __name__, {})  # an error, which says what to write
