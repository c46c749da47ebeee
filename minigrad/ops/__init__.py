"""Every operation, one page for each kind; importing this package fills the registry."""

from . import (
    constant,
    conv,
    decompose,
    einsum,
    elementwise,
    embed,
    fft,
    index,
    linalg,
    norm,
    order,
    reduce,
    series,
    shape,
    solve,
    special,
)

__all__ = [
    "constant",
    "conv",
    "decompose",
    "einsum",
    "elementwise",
    "embed",
    "fft",
    "index",
    "linalg",
    "norm",
    "order",
    "reduce",
    "series",
    "shape",
    "solve",
    "special",
]
