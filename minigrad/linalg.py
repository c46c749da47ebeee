"""What `numpy.linalg` names, for Tensors: norms, inverses, solutions, factorisations, products.

Each is stated on a page of `minigrad.ops`; this is only where they are found together.
"""

# ruff: noqa: F403  (the pages say what is public)

from .ops import linalg as _linalg
from .ops.decompose import *
from .ops.einsum import vecdot as vecdot
from .ops.linalg import cross as cross
from .ops.linalg import matmul as matmul
from .ops.linalg import matrix_transpose as matrix_transpose
from .ops.linalg import outer as outer
from .ops.linalg import tensordot as tensordot
from .ops.norms import *
from .ops.solve import *

diagonal, trace = _linalg.matrix_diagonal, _linalg.matrix_trace
