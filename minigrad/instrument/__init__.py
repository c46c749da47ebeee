"""The user's functions, run with hooks in them.

rewrite        code with hooks in it, in the place of a function's own
expressions    hooks at every expression
recording      what every expression gave, and what it was computed from
numpy_code     NumPy code, as people write it, made differentiable
calls          what is called in it instead of what is written there
assignable     arrays that can be assigned to, and that gradients flow through
memory         what is behind them: which tensors the elements came from
functions      NumPy's functions on them
makers         what makes arrays and numbers
scipys         functions of SciPy's and of math, as operations
held           what functions are given and keep
"""

from .assignable import NotFollowed
from .numpy_code import numpy_code
from .recording import Edit, Event, Recorded, record
from .rewrite import Instrumented, Rewriter, codes_run

__all__ = [
    "Edit", "Event", "Instrumented", "NotFollowed", "Recorded", "Rewriter", "codes_run",
    "numpy_code", "record",
]  # fmt: skip
