"""Layers without memory; names, shapes and initial bounds of parameters are PyTorch's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self, TypeVar

import numpy as np

from ..core.context import tracing
from ..core.dtypes import DType, get_default_dtype, plain
from ..core.tensor import ArrayLike, Tensor, as_tensor, numbers_of, tensor
from ..ops.einsum import einsum
from ..ops.elementwise import where
from ..ops.embed import dropout, embedding
from ..ops.linalg import matmul
from ..ops.shape import reshape
from ..transforms.constants import stop_gradient
from . import init
from .arguments import Number, flag, whole
from .inputs import called, check_features, taken
from .module import Module

__all__ = [
    "Bilinear", "Dropout", "Dropout1d", "Dropout2d", "Embedding", "Flatten", "Identity", "Linear",
    "Unflatten",
]  # fmt: skip


T = TypeVar("T")


class Identity(Module):
    """x as it is, whatever it was made with: what stands where no module is wanted."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def forward(self, x: T) -> T:
        return x


class Linear(Module):
    """`y = x W^T + b`, with weight (out, in) and bias (out,); x is (..., in).

    Drawn uniformly from +-1/sqrt(in), as in PyTorch. ValueError if x has other features than `in`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        rng: init.Seed = None,
        dtype: DType = None,
    ) -> None:
        self.in_features = n = whole(self, "in_features", in_features)
        self.out_features = m = whole(self, "out_features", out_features)
        rng, bound = init.generator(rng), 1 / math.sqrt(n)
        self.weight = init.uniform(rng, bound, (m, n), dtype)
        has_bias = flag(self, "bias", bias)
        self.bias = init.uniform(rng, bound, (m,), dtype) if has_bias else None

    def forward(self, x: ArrayLike) -> Tensor:
        check_features(self, x, self.weight)
        y = matmul(taken(self, x, self.weight), self.weight.T)
        return y if self.bias is None else y + self.bias


class Bilinear(Module):
    """`y[k] = a^T W[k] b + bias[k]`: weight (out, in1, in2), a (..., in1), b (..., in2).

    Drawn uniformly from +-1/sqrt(in1). ValueError if the inputs do not fit.
    """

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        *,
        rng: init.Seed = None,
        dtype: DType = None,
    ) -> None:
        self.in1_features = n1 = whole(self, "in1_features", in1_features)
        self.in2_features = n2 = whole(self, "in2_features", in2_features)
        self.out_features = m = whole(self, "out_features", out_features)
        rng, bound = init.generator(rng), 1 / math.sqrt(n1)
        self.weight = init.uniform(rng, bound, (m, n1, n2), dtype)
        has_bias = flag(self, "bias", bias)
        self.bias = init.uniform(rng, bound, (m,), dtype) if has_bias else None

    def forward(self, input1: ArrayLike, input2: ArrayLike) -> Tensor:
        first, second = np.shape(input1), np.shape(input2)
        wanted = self.weight.shape[1:]
        if not first or first[:-1] != second[:-1] or (first[-1], *second[-1:]) != wanted:
            raise ValueError(
                f"{called(self)}: the inputs have shapes {first} and {second}, and must differ in "
                f"the last axis alone, of lengths {wanted[0]} and {wanted[1]}"
            )
        a = taken(self, input1, self.weight, "the first input")
        b = taken(self, input2, self.weight, "the second input")
        y = einsum("...i,kij,...j->...k", a, self.weight, b)
        return y if self.bias is None else y + self.bias


class Embedding(Module):
    """Rows of weight (num_embeddings, embedding_dim), drawn from N(0, 1), by integer indices.

    The row at `padding_idx`, zero at first, gets no gradient. IndexError for indices out of range.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        rng: init.Seed = None,
        dtype: DType = None,
    ) -> None:
        self.num_embeddings = rows = whole(self, "num_embeddings", num_embeddings)
        self.embedding_dim = width = whole(self, "embedding_dim", embedding_dim)
        self.padding_idx = padding_idx
        if padding_idx is not None:
            k = whole(self, "padding_idx", padding_idx, None)
            if not -rows <= k < rows:
                raise ValueError(
                    f"{type(self).__name__}: padding_idx must be one of the {rows} rows, not {k}"
                )
            self.padding_idx = k % rows
        values = init.generator(rng).standard_normal((rows, width))
        if self.padding_idx is not None:
            values[self.padding_idx] = 0
        self.weight = tensor(values.astype(dtype or get_default_dtype()), requires_grad=True)

    @classmethod
    def from_pretrained(
        cls, embeddings: ArrayLike, freeze: bool = True, padding_idx: int | None = None
    ) -> Self:
        """Return a module that holds a copy of these rows, frozen unless `freeze` is False."""
        if np.ndim(embeddings) != 2:
            raise ValueError(
                f"{cls.__name__}.from_pretrained: the embeddings must be rows, in an array of two "
                f"axes, not of shape {np.shape(embeddings)}"
            )
        rows = tensor(embeddings, requires_grad=True)
        module = cls(rows.shape[0], rows.shape[1], padding_idx, rng=0, dtype=rows.dtype)
        module.weight.data = rows.data
        return module.requires_grad_(not flag(cls.__name__, "freeze", freeze))

    def forward(self, indices: ArrayLike) -> Tensor:
        rows = embedding(self.weight, indices)
        if self.padding_idx is None:
            return rows
        given = numbers_of(indices)
        padded = (
            given if isinstance(given, Tensor) else plain(given, "embedding", "takes")
        ) == self.padding_idx
        if tracing() or padded.any():
            rows = where(padded[..., None], stop_gradient(rows), rows)
        return rows


class Dropout(Module):
    """`dropout(x, p)` while training, x in evaluation; the masks come from the module's `rng`.

    Without one they come from the generator that `mg.manual_seed` seeds.
    """

    p = Number("[0, 1)")

    def __init__(self, p: float = 0.5, *, rng: init.Seed = None) -> None:
        self.p, self.rng = p, None if rng is None else init.generator(rng)

    def forward(self, x: ArrayLike) -> Tensor:
        return dropout(x, self.p, init.generator(self.rng), self.training)


class _DropoutOfChannels(Dropout):
    """Dropout of whole channels of x (N, C, ...): Tompson et al., 2015."""

    axes: int

    def forward(self, x: ArrayLike) -> Tensor:
        t = as_tensor(x)
        if t.ndim != self.axes + 2:
            raise ValueError(
                f"{called(self)}: the input must have {self.axes + 2} axes, (N, C, ...), and has "
                f"shape {t.shape}"
            )
        shape = t.shape[:2] + (1,) * self.axes
        return t * super().forward(np.ones(shape, t.dtype)) if self.training else t


class Dropout1d(_DropoutOfChannels):
    """Dropout of whole channels of x (N, C, L). Source: Tompson et al., 2015."""

    axes = 1


class Dropout2d(_DropoutOfChannels):
    """Dropout of whole channels of x (N, C, H, W). Source: Tompson et al., 2015."""

    axes = 2


class Flatten(Module):
    """x with the axes from `start_dim` to `end_dim`, both included, made one."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = whole(self, "start_dim", start_dim, None)
        self.end_dim = whole(self, "end_dim", end_dim, None)

    def forward(self, x: ArrayLike) -> Tensor:
        shape = np.shape(x)
        start, end = (_axis(self, k, len(shape)) for k in (self.start_dim, self.end_dim))
        if start > end:
            raise ValueError(
                f"{called(self)}: the axes go from {start} to {end}, backward, in the input of "
                f"shape {shape}"
            )
        size = math.prod(shape[start : end + 1])
        return reshape(x, (*shape[:start], size, *shape[end + 1 :]))


class Unflatten(Module):
    """x with the axis `dim` parted into several, of `unflattened_size`, where one may be -1."""

    def __init__(self, dim: int, unflattened_size: int | Sequence[int]) -> None:
        self.dim, given = whole(self, "dim", dim, None), unflattened_size
        sizes = given if isinstance(given, (tuple, list)) else [given]
        self.unflattened_size = tuple([whole(self, "unflattened_size", n, -1) for n in sizes])

    def forward(self, x: ArrayLike) -> Tensor:
        shape = np.shape(x)
        k = _axis(self, self.dim, len(shape))
        return reshape(x, (*shape[:k], *self.unflattened_size, *shape[k + 1 :]))


def _axis(module: Module, k: int, ndim: int) -> int:
    if not -ndim <= k < ndim:
        raise ValueError(f"{called(module)}: the input has {ndim} axes, and none of number {k}")
    return k % ndim
