"""minigrad: a tiny reverse-mode automatic-differentiation tensor library on NumPy.

What is public is what the pages below name in their `__all__`; each operation is stated on its page
alone. NumPy's own functions on Tensors (`np.tanh(t)`) are the same operations.
"""

from . import bptt as bptt
from . import data as data
from . import io as io
from . import linalg as linalg
from . import nn as nn
from . import optim as optim
from . import train as train
from . import viz as viz
from .autodiff import *
from .compare import compare as compare
from .compare import compare_backward as compare_backward
from .context import no_grad as no_grad
from .context import scope as scope
from .custom import custom_vjp as custom_vjp
from .debug import debug as debug
from .dtypes import set_default_dtype as set_default_dtype
from .explain import chain_rule as chain_rule
from .graph import Graph as Graph
from .ops import fft as fft
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
from .primitive import define as define
from .scan import checkpoint as checkpoint
from .scan import scan as scan
from .tensor import Tensor as Tensor
from .tensor import label as label
from .tensor import tensor as tensor
from .testing import check_grads as check_grads
from .testing import check_primitive as check_primitive

__version__ = "0.1.0"
