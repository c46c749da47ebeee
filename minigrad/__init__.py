"""minigrad: a tiny reverse-mode automatic-differentiation tensor library on NumPy.

What is public is what the pages below name in their `__all__`; each operation is stated on its page
alone. NumPy's own functions on Tensors (`np.tanh(t)`) are the same operations.
"""

from . import bptt as bptt
from . import data as data
from . import fft as fft
from . import io as io
from . import linalg as linalg
from . import nn as nn
from . import optim as optim
from . import train as train
from . import viz as viz
from .check.chain_rule import chain_rule as chain_rule
from .check.compare import compare as compare
from .check.compare import compare_backward as compare_backward
from .check.custom import custom_vjp as custom_vjp
from .check.debug import debug as debug
from .check.gradients import check_grads as check_grads
from .check.laws import check_primitive as check_primitive
from .core.context import no_grad as no_grad
from .core.context import scope as scope
from .core.dtypes import set_default_dtype as set_default_dtype
from .core.primitive import define as define
from .core.tensor import Tensor as Tensor
from .core.tensor import label as label
from .core.tensor import tensor as tensor
from .graph.graph import Graph as Graph
from .ops.constant import *
from .ops.conv import *
from .ops.einsum import *
from .ops.elementwise import *
from .ops.embed import *
from .ops.index import *
from .ops.linalg import *
from .ops.order import *
from .ops.reduce import *
from .ops.series import *
from .ops.shape import *
from .transforms.autodiff import *
from .transforms.scan import checkpoint as checkpoint
from .transforms.scan import scan as scan

__version__ = "0.1.0"
