"""minigrad: a tiny reverse-mode automatic-differentiation tensor library on NumPy."""

from . import bptt, io, nn, optim, train
from .autodiff import grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp
from .context import no_grad, scope
from .ops.constant import argmax, argmin, argsort, ceil, floor, rint, sign
from .ops.elementwise import (
    abs,
    add,
    arctan,
    clip,
    cos,
    cosh,
    divide,
    exp,
    expm1,
    leaky_relu,
    log,
    log1p,
    log2,
    log10,
    maximum,
    minimum,
    multiply,
    negative,
    positive,
    power,
    reciprocal,
    relu,
    sigmoid,
    sin,
    sinh,
    softplus,
    sqrt,
    square,
    subtract,
    tan,
    tanh,
    where,
)
from .ops.index import getitem, take
from .ops.linalg import dot, matmul, outer, tensordot
from .ops.reduce import (
    cumsum,
    log_softmax,
    logsumexp,
    max,
    mean,
    min,
    prod,
    softmax,
    std,
    sum,
    var,
)
from .ops.shape import (
    astype,
    broadcast_to,
    concatenate,
    expand_dims,
    flip,
    moveaxis,
    ravel,
    reshape,
    split,
    squeeze,
    stack,
    swapaxes,
    transpose,
    unstack,
)
from .tensor import Tensor, label, set_default_dtype, tensor
from .testing import check_grads

__version__ = "0.1.0"
