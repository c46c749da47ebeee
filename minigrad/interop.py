"""Modules for other programs: ONNX models, which many of them run."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from .core import tree
from .core.context import enable_grad
from .core.dtypes import Array
from .core.tensor import ArrayLike, Tensor, tensor, value_of
from .graph.graph import Graph
from .guard.errors import shown
from .io.replacing import Path, replacing
from .nn.module import Module

__all__ = ["to_onnx"]

_OPSET, _IR = 20, 10
_SAME = {  # element by element, or of the same inputs and no options
    "absolute": "Abs", "abs": "Abs", "add": "Add", "ceil": "Ceil", "copy": "Identity",
    "cos": "Cos", "cosh": "Cosh", "divide": "Div", "elu": "Elu", "erf": "Erf", "exp": "Exp",
    "floor": "Floor", "gelu": "Gelu", "leaky_relu": "LeakyRelu", "log": "Log", "matmul": "MatMul",
    "maximum": "Max", "minimum": "Min", "multiply": "Mul", "negative": "Neg", "power": "Pow",
    "reciprocal": "Reciprocal", "relu": "Relu", "sigmoid": "Sigmoid", "sin": "Sin", "sinh": "Sinh",
    "softplus": "Softplus", "sqrt": "Sqrt", "subtract": "Sub", "tan": "Tan", "tanh": "Tanh",
}  # fmt: skip
_REDUCED = {
    "max": "ReduceMax", "mean": "ReduceMean", "min": "ReduceMin", "prod": "ReduceProd",
    "sum": "ReduceSum", "logsumexp": "ReduceLogSumExp",
}  # fmt: skip
_TURNED = ("transpose", "swapaxes", "moveaxis", "permute_dims", "matrix_transpose")
_RESHAPED = ("reshape", "ravel", "squeeze", "expand_dims", "atleast_1d", "atleast_2d", "unflatten")


def to_onnx(module: Module, path: Path, *inputs: ArrayLike) -> None:
    """Write an ONNX model of `module(*inputs)`, in evaluation, for inputs of these shapes.

    It is what the module does with inputs of these shapes and dtypes, sequences step by step.
    Inputs have the names that `forward` gives them, parameters their own. Needs the `onnx` package
    (the extra `interop`).

    The module is called with other numbers, too, and so is the model: ValueError, with nothing
    written, if operations, constants or indices change with the numbers (`mg.where(x > 0, ...)`),
    or if the model's outputs are others. So give inputs as the module will see. ValueError for an
    operation that has no translation.
    """
    if not isinstance(module, Module):
        raise TypeError(
            f"to_onnx: the first argument must be a module, not {shown(module)}; write "
            "minigrad.interop.to_onnx(net, path, x)"
        )
    arrays = [np.array(value_of(x)) for x in inputs]
    draws = [arrays, *([_otherwise(a, k, n) for k, a in enumerate(arrays)] for n in range(3))]
    modes = [(m, m.training) for m in module.modules()]
    try:
        module.eval()
        models, results = zip(*[_translated(module, draw) for draw in draws], strict=True)
    finally:
        for m, mode in modes:
            m.training = mode
    written = {model.SerializeToString() for model in models}
    if len(written) > 1:
        raise ValueError(
            f"to_onnx: what this {type(module).__name__} does depends on the numbers of its inputs "
            "in a way that is not recorded: a comparison, as in mg.where(x > 0, x, y), an if, "
            "x.data, an index that is computed"
        )
    _check(module, models[-1], draws[-1], results[-1])
    with replacing(path) as file:
        file.write(written.pop())


def _otherwise(a: Array, k: int, n: int) -> Array:
    """Return other numbers for input k, of the same kind: smaller ones, in another order."""
    rng, flat = np.random.default_rng([k, n]), a.reshape(-1)
    other = rng.permutation(flat).reshape(a.shape)
    if a.dtype.kind == "f":
        other = (other * rng.uniform(0.5, 1, a.shape)).astype(a.dtype)
    elif np.array_equal(a, other) and a.dtype.kind in "iu" and (a > 0).all():
        other = a - 1
    if a.size and (flat == flat[0]).all() and np.array_equal(a, other):
        raise ValueError(
            f"to_onnx: input {k} holds nothing but {flat[0]}; give different numbers, so that it "
            "is seen what depends on them"
        )
    return other


def _check(module: Module, model: Any, inputs: list[Array], outputs: list[Array]) -> None:
    """ValueError if the model does not give the outputs, as ONNX's own evaluator computes them."""
    _package("onnx.checker").check_model(model)
    feed = dict(zip([given.name for given in model.graph.input], inputs, strict=True))
    found = _package("onnx.reference").ReferenceEvaluator(model).run(None, feed)
    floats = [a for a in (*inputs, *module.state_dict().values(), *outputs) if a.dtype.kind == "f"]
    close = min(1000 * max(float(np.finfo(a.dtype).eps) for a in floats), 0.02)
    for named, ours, theirs in zip(model.graph.output, outputs, found, strict=True):
        scale = float(np.abs(ours).max(initial=0))
        if not np.allclose(ours, theirs, rtol=close, atol=close * scale, equal_nan=True):
            worst = np.abs(ours - theirs).max()
            raise ValueError(f"to_onnx: {named.name} of the model is wrong by up to {worst:.1g}")


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise ImportError(
            "to_onnx needs the onnx package, which is not installed; write pip install "
            "'minigrad[interop]'"
        ) from None


def _translated(module: Module, arrays: list[Array]) -> tuple[Any, list[Array]]:
    """Return the model of one call, and what the call gave."""
    with enable_grad():
        given = [tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
        leaves, structure = tree.flatten(module(*given))
        graph = Graph(leaves, fold=False)
    model = _Model()
    for name, t in zip(_names(module, len(given)), given, strict=True):
        model.inputs[name] = t
        model.known[t] = name
    for node in graph.nodes:
        if node.tensor is not None and node.tensor not in model.known:
            t = node.tensor
            if node.kind == "operation":
                model.operation(t)
            else:
                model.known[t] = model.constant(node.value, node.name or "")
    outputs = [f"output{name}" for name in tree.names(structure)]
    return model.built(type(module).__name__, outputs, leaves), [t.value for t in leaves]


def _names(module: Module, count: int) -> list[str]:
    """Return what `forward` calls its inputs."""
    try:
        parameters = inspect.signature(module.forward).parameters.values()
        named = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    except (TypeError, ValueError):
        named = []
    return [named[k] if k < len(named) else f"input{k}" for k in range(count)]


class _Model:
    """A model as it grows: nodes, and the names of the tensors that they make."""

    def __init__(self) -> None:
        self.helper, self.arrays = _package("onnx.helper"), _package("onnx.numpy_helper")
        self.nodes: list[Any] = []
        self.constants: dict[str, Array] = {}
        self.inputs: dict[str, Tensor] = {}
        self.known: dict[Tensor, str] = {}

    def constant(self, value: ArrayLike, name: str = "") -> str:
        """Return the name of an array that does not change."""
        taken = {*self.inputs, *self.constants}
        name = name if name and name not in taken else f"constant{len(self.constants)}"
        self.constants[name] = np.asarray(value_of(value))
        return name

    def whole(self, *numbers: Any) -> str:
        return self.constant(np.array(numbers, np.int64).reshape(-1))

    def add(self, kind: str, *names: str, outputs: int = 1, **options: Any) -> str:
        """Add a node; return the name of what it makes, or what the names of several begin with."""
        out = f"/{kind.lower()}{len(self.nodes)}"
        made = [out] if outputs == 1 else [f"{out}.{k}" for k in range(outputs)]
        self.nodes.append(self.helper.make_node(kind, names, made, name=out, **options))
        return out

    def operation(self, t: Tensor) -> None:
        """Translate what made a tensor; ValueError if that cannot be."""
        assert t.primitive is not None
        kind, options = t.primitive.name, dict(t.params or {})
        if kind == "pick":
            self.known[t] = f"{self.known[t.inputs[0]]}.{options['k']}"
            return
        names, dtype = [], getattr(t.value, "dtype", None)  # of several outputs none
        for s, x in zip(t.inputs, t.xs, strict=True):
            if s is None or s not in self.known:
                names.append(self.constant(np.asarray(x, dtype)))
            else:
                same = dtype is None or x.dtype == dtype
                names.append(self.known[s] if same else self.cast(self.known[s], dtype))
        self.known[t] = self.translated(kind, t, names, options)

    def cast(self, name: str, dtype: Any) -> str:
        return self.add("Cast", name, to=self.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def built(self, name: str, outputs: list[str], tensors: list[Tensor]) -> Any:
        """Return the whole model."""
        helper = self.helper

        def info(name: str, t: Tensor) -> Any:
            kind = helper.np_dtype_to_tensor_dtype(t.dtype)
            return helper.make_tensor_value_info(name, kind, t.shape)

        for out, t in zip(outputs, tensors, strict=True):
            self.nodes.append(helper.make_node("Identity", [self.known[t]], [out]))
        graph = helper.make_graph(
            self.nodes, name,
            [info(name, t) for name, t in self.inputs.items()],
            [info(name, t) for name, t in zip(outputs, tensors, strict=True)],
            [self.arrays.from_array(a, name) for name, a in self.constants.items()],
        )  # fmt: skip
        opsets = [helper.make_opsetid("", _OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR)

    # ---- operations -----------------------------------------------------------------------------

    def translated(self, kind: str, t: Tensor, names: list[str], options: dict[str, Any]) -> str:
        """Add the nodes of an operation, and return the name of the last one."""
        x: Any = t.xs[0]
        if kind in _SAME and options.keys() <= {"slope", "alpha", "approximate"}:
            options = {"alpha" if k == "slope" else k: v for k, v in options.items()}
            return self.add(_SAME[kind], *names, **options)
        if kind in _RESHAPED:
            return self.add("Reshape", names[0], self.whole(*t.shape))
        if kind in _TURNED:
            sizes = range(2, 2 + x.ndim)  # different ones, which say what becomes of each axis
            turned = getattr(np, kind)(np.empty(sizes, np.bool_), **options).shape
            return self.add("Transpose", names[0], perm=[n - 2 for n in turned])
        if kind in _REDUCED:
            axis, keepdims = options.pop("axis", None), options.pop("keepdims", False)
            if not options:
                axes = range(x.ndim) if axis is None else np.atleast_1d(axis)
                over = [names[0], self.whole(*axes)]
                return self.add(_REDUCED[kind], *over, keepdims=int(bool(keepdims)))
        translate: Callable[..., str] | None = getattr(self, f"of_{kind}", None)
        if translate is None:
            given = f" with {options}" if options else ""
            raise ValueError(f"to_onnx: there is no translation of {kind}{given}")
        return translate(t, *names, **options)

    def of_square(self, t: Tensor, x: str) -> str:
        return self.add("Mul", x, x)

    def of_silu(self, t: Tensor, x: str) -> str:
        return self.add("Mul", x, self.add("Sigmoid", x))

    def of_log_sigmoid(self, t: Tensor, x: str) -> str:
        return self.add("Neg", self.add("Softplus", self.add("Neg", x)))

    def of_einsum(self, t: Tensor, *xs: str, subscripts: str) -> str:
        return self.add("Einsum", *xs, equation=subscripts)

    def of_softmax(self, t: Tensor, x: str, axis: int = -1) -> str:
        return self.add("Softmax", x, axis=axis)

    def of_log_softmax(self, t: Tensor, x: str, axis: int = -1) -> str:
        return self.add("LogSoftmax", x, axis=axis)

    def of_where(self, t: Tensor, chosen: str, x: str, y: str) -> str:
        return self.add("Where", self.cast(chosen, bool), x, y)

    def of_clip(self, t: Tensor, x: str, low: str, high: str) -> str:
        return self.add("Min", self.add("Max", x, low), high)

    def of_broadcast_to(self, t: Tensor, x: str, shape: Any) -> str:
        return self.add("Expand", x, self.whole(*t.shape))

    def of_concatenate(self, t: Tensor, *xs: str, axis: int = 0) -> str:
        return self.add("Concat", *xs, axis=axis)

    def of_stack(self, t: Tensor, *xs: str, axis: int = 0) -> str:
        return self.add(
            "Concat", *[self.add("Unsqueeze", x, self.whole(axis)) for x in xs], axis=axis
        )

    def of_split(self, t: Tensor, x: str, at: Any, axis: int = 0) -> str:
        ends = [0, *at, t.xs[0].shape[axis]]
        sizes = self.whole(*np.diff(ends))
        return self.add("Split", x, sizes, outputs=len(at) + 1, axis=axis)

    def of_getitem(self, t: Tensor, x: str, index: Any) -> str:
        size, parts = t.xs[0].shape, index if isinstance(index, tuple) else (index,)
        if isinstance(index, np.ndarray | Tensor):
            found = np.asarray(value_of(index))
            for name, given in self.inputs.items():
                if given.shape == found.shape and np.array_equal(given.value, found):
                    return self.add("Gather", x, name, axis=0)
        if any(not isinstance(p, int | np.integer | slice | None | type(...)) for p in parts):
            # which element of x each of the result is
            flat = np.arange(t.xs[0].size).reshape(size)[index]
            return self.add("Gather", self.add("Reshape", x, self.whole(-1)), self.constant(flat))
        parts = tuple(p for p in parts if p is not None)
        if ... in parts:
            k = parts.index(...)
            parts = (*parts[:k], *[slice(None)] * (len(size) - len(parts) + 1), *parts[k + 1 :])
        cuts = []
        for axis, (part, n) in enumerate(zip(parts, size, strict=False)):
            if not isinstance(part, slice):
                part = slice(part, part + 1 or None)
            start, stop, step = part.indices(n)
            if (start, stop, step) != (0, n, 1):
                cuts.append((start, stop if stop >= 0 else -n - 1, axis, step))
        if cuts:
            x = self.add("Slice", x, *[self.whole(*numbers) for numbers in zip(*cuts, strict=True)])
        return self.add("Reshape", x, self.whole(*t.shape))

    def of_pad(
        self, t: Tensor, x: str, pad_width: Any, mode: str = "constant", constant_values: float = 0
    ) -> str:
        width = np.broadcast_to(pad_width, (t.ndim, 2)).T
        fill = self.constant(np.asarray(constant_values, t.dtype))
        return self.add("Pad", x, self.whole(*width.reshape(-1)), fill, mode=mode)

    def of_conv(self, t: Tensor, x: str, weight: str, groups: int, **windows: Any) -> str:
        return self.add("Conv", x, weight, group=groups, **_windows(**windows))

    def of_conv_transpose(
        self, t: Tensor, x: str, weight: str, size: Any, groups: int, **windows: Any
    ) -> str:
        options, kernel = _windows(**windows), t.xs[1].shape[2:]
        over = (windows[k] for k in ("stride", "padding", "dilation"))
        ends = zip(size, t.xs[0].shape[2:], kernel, *over, strict=True)
        more = [n - ((m - 1) * s - 2 * p + (k - 1) * d + 1) for n, m, k, s, p, d in ends]
        return self.add("ConvTranspose", x, weight, group=groups, output_padding=more, **options)

    def of_max_pool(self, t: Tensor, x: str, kernel: Any, **windows: Any) -> str:
        return self.add("MaxPool", x, kernel_shape=kernel, **_windows(**windows))

    def of_avg_pool(self, t: Tensor, x: str, kernel: Any, **windows: Any) -> str:
        options = _windows(**windows)
        return self.add("AveragePool", x, kernel_shape=kernel, count_include_pad=1, **options)


def _windows(stride: Any, padding: Any, dilation: Any) -> dict[str, Any]:
    return {"strides": stride, "pads": [*padding, *padding], "dilations": dilation}
