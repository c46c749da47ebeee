"""How operations are stated (`families`), and every one of them, a page for each kind.

Importing this package fills the registry.
"""

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
    norms,
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
    "norms",
    "order",
    "reduce",
    "series",
    "shape",
    "solve",
    "special",
]
