"""What PyTorch and others call by another name, and what to write here.

Each table is for one place that a name is looked for in; an entry is a line of Python, and a test
runs every one of them. What is added to minigrad leaves its table.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

__all__ = ["TABLES", "Elsewhere", "of_argument", "of_axis", "of_name"]

_FUNCTIONS = (
    "abs", "cos", "cosh", "elu", "erf", "exp", "expm1", "gelu", "leaky_relu", "log", "log10",
    "log1p", "log2", "log_softmax", "logsumexp", "reciprocal", "relu", "sigmoid", "sign", "silu",
    "sin", "sinh", "softmax", "softplus", "sqrt", "square", "tan", "tanh",
)  # fmt: skip
_DTYPES = {"half": "float16", "float": "float32", "double": "float64", "int": "int32"}
_DTYPES |= {"long": "int64", "bool": "bool"}
_HERE = "t  # there are no devices: arrays are in memory"

TENSOR = {
    **{name: f"mg.{name}(t)" for name in _FUNCTIONS},
    **{name: f"t.astype(np.{dtype})" for name, dtype in _DTYPES.items()},
    "add_": "t.data += other",
    "bmm": "t @ other.T",
    "chunk": "mg.split(t, parts, axis)",
    "clone": "t.copy()",
    "contiguous": "t",
    "copy_": "t.data = array",
    "cpu": _HERE,
    "cuda": _HERE,
    "detach_": "t = t.detach()",
    "device": _HERE,
    "dim": "t.ndim",
    "div_": "t.data /= other",
    "expand": "mg.broadcast_to(t, shape)",
    "fill_": "t.data[...] = 0.5",
    "gather": "mg.take_along_axis(t, indices, axis)",
    "index_select": "mg.take(t, [0, 1], axis)",
    "masked_fill": "mg.where(mask, 0.0, t)",
    "matmul": "t @ other.T",
    "mm": "t @ other.T",
    "mul_": "t.data *= other",
    "norm": "np.linalg.norm(t)",
    "numel": "t.size",
    "permute": "t.transpose(1, 0)",
    "pow": "t**2",
    "requires_grad_": "t.requires_grad = True",
    "split": "mg.split(t, parts, axis)",
    "sub_": "t.data -= other",
    "t": "t.T",
    "to": "t.astype(dtype)  # there are no devices: arrays are in memory",
    "type": "t.astype(dtype)",
    "unbind": "list(t)",
    "unsqueeze": "mg.expand_dims(t, axis)",
    "view": "t.reshape(shape)",
    "zero_": "t.data[...] = 0",
}
_MADE = ("arange", "empty", "eye", "full", "ones", "zeros")
_RANDOM = {"rand": "random(shape)", "randn": "normal(size=shape)", "randint": "integers(5)"}
_SEEDED = "rng = np.random.default_rng(0); mg.tensor(rng.{})"
_OPTIMISERS = ("Adam", "AdamW", "SGD")

PACKAGE = {
    **dict.fromkeys(("array", "as_tensor", "asarray", "from_numpy"), "mg.tensor(x)"),
    **{name: f"mg.tensor(np.{name}(...))" for name in _MADE},
    **{name: _SEEDED.format(draw) for name, draw in _RANDOM.items()},
    **{name: f"mg.optim.{name}" for name in _OPTIMISERS},
    "Module": "mg.nn.Module",
    "Parameter": "mg.tensor(x, requires_grad=True)",
    "Variable": "mg.tensor(x, requires_grad=True)",
    "bmm": "a @ b",
    "cat": "mg.concatenate([a, b])",
    "concat": "mg.concatenate([a, b])",
    "cuda": _HERE,
    "device": _HERE,
    "fit": "mg.train.fit",
    "from_array": "mg.tensor(x)",
    "load": "mg.io.load(net, path)",
    "manual_seed": "rng = np.random.default_rng(0); mg.nn.Linear(1, 1, rng=rng)",
    "mm": "a @ b",
    "permute": "mg.transpose(t, (1, 0))",
    "save": "mg.io.save(net, path)",
    "unsqueeze": "mg.expand_dims(t, axis)",
    "view": "mg.reshape(t, shape)",
}
_ACTIVATIONS = {"ELU": "elu", "GELU": "gelu", "LeakyReLU": "leaky_relu", "ReLU": "relu"}
_ACTIVATIONS |= {"SiLU": "silu", "Sigmoid": "sigmoid", "Softmax": "softmax", "Tanh": "tanh"}

NN = {
    **{name: f"mg.{function}" for name, function in _ACTIVATIONS.items()},
    "CrossEntropyLoss": "mg.nn.cross_entropy(logits, labels)",
    "MSELoss": "mg.nn.mse_loss(t, other)",
    "ModuleDict": '{"first": net}  # a dict is enough',
    "ModuleList": "[net, net]  # a list is enough",
    "Parameter": "mg.tensor(x, requires_grad=True)",
    "functional": "mg.relu(t), mg.softmax(t)",
}
TABLES = {"minigrad": PACKAGE, "minigrad.nn": NN, "Tensor": TENSOR}
"""By the place that a name is looked for in: the name, and a line to write."""

_ARGUMENTS = {"dim": "axis", "dims": "axis", "keepdim": "keepdims", "axes": "axis"}
_OF_TWO = {"max": "np.maximum(a, b)", "min": "np.minimum(a, b)", "sum": "a + b", "prod": "a * b"}


class Elsewhere:
    """An attribute that a class does not have: looking for it says what to write."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type) -> NoReturn:
        where = owner.__name__
        raise AttributeError(f"{where} has no attribute {self.name!r}{of_name(where, self.name)}")


def of_name(place: str, name: str) -> str:
    """Return what to write instead of a name that a place does not have, as the end of an error."""
    if name in TABLES.get(place, ()):
        return f"; write {TABLES[place][name]}"
    is_numpys = place == "minigrad" and not name.startswith("_") and hasattr(np, name)
    return f"; NumPy has it, write np.{name}" if is_numpys else ""


def of_argument(name: str) -> str:
    """Return what an argument of another library is called here, as the end of an error."""
    return f"; write {_ARGUMENTS[name]}= instead of {name}=" if name in _ARGUMENTS else ""


def of_axis(function: str, axis: Any) -> str:
    """Return what to write for f(a, b) of two arrays, the second of which would be the axis."""
    if not hasattr(axis, "ndim") or (axis.ndim == 0 and axis.dtype.kind in "iu"):
        return ""
    return "; its second argument is the axis" + (
        f": for two arrays write {_OF_TWO[function]}" if function in _OF_TWO else ""
    )
