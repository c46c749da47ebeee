"""What `numpy.linalg` names, for Tensors: norms, inverses, solutions, factorisations, products.

Each is stated on a page of `minigrad.ops`; this is only where they are found together.
"""

# ruff: noqa: F401, F403  (the pages say what is public)

from .ops.decompose import *
from .ops.einsum import vecdot as vecdot
from .ops.linalg import cross as cross
from .ops.linalg import matmul as matmul
from .ops.linalg import matrix_diagonal as diagonal
from .ops.linalg import matrix_trace as trace
from .ops.linalg import matrix_transpose as matrix_transpose
from .ops.linalg import outer as outer
from .ops.linalg import tensordot as tensordot
from .ops.norm import *
from .ops.solve import *
