"""minigrad: a tiny reverse-mode automatic-differentiation tensor library on NumPy.

What is public is what the pages below name in their `__all__`; each operation is stated on its page
alone. NumPy's own functions on Tensors (`np.tanh(t)`) are the same operations.

The engine and the operations are loaded at once, every other room when one of its names is first
used: `import minigrad` costs little more than `import numpy`.
"""

from typing import TYPE_CHECKING

from ._lazy import found as _found
from .check.debug import debug as debug
from .core.context import enable_grad as enable_grad
from .core.context import no_grad as no_grad
from .core.context import scope as scope
from .core.dtypes import set_default_dtype as set_default_dtype
from .core.tensor import Tensor as Tensor
from .core.tensor import label as label
from .core.tensor import tensor as tensor
from .guard.errors import GraphWarning as GraphWarning
from .ops.constant import *
from .ops.conv import *
from .ops.einsum import *
from .ops.elementwise import *
from .ops.embed import *
from .ops.families import define as define
from .ops.index import *
from .ops.linalg import *
from .ops.order import *
from .ops.reduce import *
from .ops.series import *
from .ops.shape import *
from .ops.special import *
from .transforms.autodiff import *
from .transforms.checkpoint import checkpoint as checkpoint
from .transforms.constants import stop_gradient as stop_gradient
from .transforms.flatten import flatten as flatten
from .transforms.scan import scan as scan

__version__ = "0.1.0"

_ROOMS = {  # a name and the room that states it; "" where the name is the room's own
    "bptt": "",
    "data": "",
    "fft": "",
    "interop": "",
    "io": "",
    "linalg": "",
    "metrics": "",
    "nn": "",
    "optim": "",
    "parallel": "",
    "testing": "",
    "train": "",
    "viz": "",
    "Graph": "graph.graph",
    "chain_rule": "check.chain_rule",
    "check_grads": "check.gradients",
    "check_primitive": "check.laws",
    "compare": "check.compare",
    "compile": "compiler.compiled",
    "compare_backward": "check.passes",
    "custom_vjp": "check.custom",
    "manual_seed": "core.random",
    "numpy_code": "instrument.numpy_code",
}

if TYPE_CHECKING:
    from . import bptt as bptt
    from . import data as data
    from . import fft as fft
    from . import interop as interop
    from . import io as io
    from . import linalg as linalg
    from . import metrics as metrics
    from . import nn as nn
    from . import optim as optim
    from . import parallel as parallel
    from . import testing as testing
    from . import train as train
    from . import viz as viz
    from .check.chain_rule import chain_rule as chain_rule
    from .check.compare import compare as compare
    from .check.custom import custom_vjp as custom_vjp
    from .check.gradients import check_grads as check_grads
    from .check.laws import check_primitive as check_primitive
    from .check.passes import compare_backward as compare_backward
    from .compiler.compiled import compile as compile
    from .core.random import manual_seed as manual_seed
    from .graph.graph import Graph as Graph
    from .instrument.numpy_code import numpy_code as numpy_code
else:  # where a type checker must not look: it would believe that there is every name
    __all__ = [name for name, what in globals().items() if callable(what) and name[0] != "_"]
    __all__ += _ROOMS

    def __getattr__(name):
        return _found(name, __name__, _ROOMS)

    def __dir__():
        return __all__
