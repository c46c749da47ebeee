"""What PyTorch and others call by another name, and what to write here.

Each table is for one place that a name is looked for in; an entry is a line of Python, and a test
runs every one of them. What is added to minigrad leaves its table.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeVar

import numpy as np

__all__ = ["TABLES", "Elsewhere", "elsewhere", "of_argument", "of_axis", "of_name"]

C = TypeVar("C", bound=type)

_DTYPES = {"half": "float16", "float": "float32", "double": "float64"}
_NO_DEVICES = "# there are no devices: arrays are in memory"
_FIT = "mg.train.fit(net, opt, batches, loss, validate, epochs=10)"

# ---- tensors -------------------------------------------------------------------------------------

_FUNCTIONS = (
    "abs", "arctan", "arcsinh", "ceil", "cos", "cosh", "diag", "elu", "erf", "erfc", "exp", "exp2",
    "expm1", "fliplr", "flipud", "floor", "gelu", "isfinite", "isinf", "isnan", "leaky_relu", "log",
    "log10", "log1p", "log2", "log_sigmoid", "log_softmax", "logsumexp", "median", "reciprocal",
    "relu", "sigmoid", "sign", "silu", "sin", "sinc", "sinh", "softmax", "softplus", "sqrt",
    "square", "tan", "tanh", "tril", "triu", "trunc",
)  # fmt: skip
_OF_TWO_TENSORS = ("inner", "kron", "maximum", "minimum", "outer", "tensordot", "vdot")
_OPERATORS = {
    "add": "+", "sub": "-", "subtract": "-", "mul": "*", "multiply": "*", "div": "/", "divide": "/",
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
}  # fmt: skip
_IN_PLACE = {"add_": "+=", "sub_": "-=", "mul_": "*=", "div_": "/="}
_IN_PLACE |= {"assign_add": "+=", "assign_sub": "-="}
_TENSOR_DTYPES = _DTYPES | {"int": "int32", "long": "int64", "bool": "bool"}
_HERE = f"t  {_NO_DEVICES}"

TENSOR = {
    **{name: f"mg.{name}(t)" for name in _FUNCTIONS},
    **{name: f"mg.{name}(t, other)" for name in _OF_TWO_TENSORS},
    **{name: f"t {sign} other" for name, sign in _OPERATORS.items()},
    **{name: f"t.data {sign} other" for name, sign in _IN_PLACE.items()},
    **{name: f"t.astype(np.{dtype})" for name, dtype in _TENSOR_DTYPES.items()},
    **dict.fromkeys(("block_until_ready", "contiguous"), "t"),
    **dict.fromkeys(("bmm", "matmul", "mm", "mv"), "t @ other.T"),
    **dict.fromkeys(("cpu", "cuda", "device", "is_cuda"), _HERE),
    **dict.fromkeys(("assign", "copy_", "set_"), "t.data = array"),
    "amax": "t.max(axis)",
    "amin": "t.min(axis)",
    "apply_": "t.data = np.exp(t.data)",
    "broadcast_to": "mg.broadcast_to(t, shape)",
    "cast": "t.astype(dtype)",
    "chunk": "mg.split(t, parts, axis)",
    "clamp": "t.clip(0, 1)",
    "clamp_": "t.data = np.clip(t.data, 0, 1)",
    "clone": "t.copy()",
    "detach_": "t = t.detach()",
    "dim": "t.ndim",
    "expand": "mg.broadcast_to(t, shape)",
    "expand_as": "mg.broadcast_to(t, other.shape)",
    "fill_": "t.data[...] = 0.5",
    "flip": "mg.flip(t, axis)",
    "gather": "mg.take_along_axis(t, indices, axis)",
    "grad_fn": "t.primitive",
    "index_select": "mg.take(t, [0, 1], axis)",
    "is_leaf": "t.primitive is None",
    "masked_fill": "mg.where(mask, 0.0, t)",
    "masked_select": "t[mask]",
    "moveaxis": "mg.moveaxis(t, 0, -1)",
    "narrow": "t[:, 0:2]",
    "ndimension": "t.ndim",
    "neg": "-t",
    "nelement": "t.size",
    "norm": "np.linalg.norm(t)",
    "normal_": "t.data = rng.normal(size=t.shape)",
    "numel": "t.size",
    "pad": "mg.pad(t, 1)",
    "permute": "t.transpose(1, 0)",
    "pow": "t**2",
    "quantile": "mg.quantile(t, 0.5)",
    "repeat_interleave": "t.repeat(2, axis)",
    "requires_grad_": "t.requires_grad = True",
    "reshape_as": "t.reshape(other.shape)",
    "roll": "mg.roll(t, 1, axis)",
    "scatter": "t.at[mask].set(0.0)",
    "scatter_add": "t.at[mask].add(0.5)",
    "select": "t[:, 0]",
    "split": "mg.split(t, parts, axis)",
    "stop_gradient": "t.detach()",
    "t": "t.T",
    "tile": "mg.tile(t, (2, 1))",
    "to": f"t.astype(dtype)  {_NO_DEVICES}",
    "topk": "mg.sort(t, axis)[:, -parts:]  # the largest comes last",
    "type": "t.astype(dtype)",
    "type_as": "t.astype(other.dtype)",
    "unbind": "list(t)",
    "uniform_": "t.data = rng.uniform(size=t.shape)",
    "unsqueeze": "mg.expand_dims(t, axis)",
    "view": "t.reshape(shape)",
    "view_as": "t.reshape(other.shape)",
    "zero_": "t.data[...] = 0",
}
AT = {
    "apply": "t.at[0].set(f(t[0]))",
    "div": "t.at[0].multiply(1 / v)",
    "divide": "t.at[0].multiply(1 / v)",
    "get": "t[0]",
    "max": "t.at[0].set(mg.maximum(t[0], v))",
    "min": "t.at[0].set(mg.minimum(t[0], v))",
    "mul": "t.at[0].multiply(v)",
    "power": "t.at[0].set(t[0] ** v)",
    "sub": "t.at[0].add(-v)",
    "subtract": "t.at[0].add(-v)",
}

# ---- modules and optimisers ----------------------------------------------------------------------

_NET = f"net  {_NO_DEVICES}"

MODULE = {
    **{name: f"net.astype(np.{dtype})" for name, dtype in _DTYPES.items()},
    **dict.fromkeys(("cpu", "cuda", "device", "to"), _NET),
    "freeze": "net.requires_grad_(False)",
    "layers": "net.modules()",
    **dict.fromkeys(("load", "load_weights"), "mg.io.load(net, path)"),
    **dict.fromkeys(("save", "save_pretrained", "save_weights"), "mg.io.save(net, path)"),
    **dict.fromkeys(
        (
            "trainable_parameters",
            "trainable_variables",
            "trainable_weights",
            "variables",
            "weights",
        ),
        "net.parameters()",
    ),
    "add": "mg.nn.Sequential(net, mg.relu)",
    "add_module": "net.first = mg.nn.Linear(3, 1)",
    "append": "mg.nn.Sequential(net, mg.relu)",
    "compile": "mg.compile(net)",
    "flatten_parameters": "net  # there is nothing to flatten",
    "count_params": "sum(p.size for p in net.parameters())",
    "evaluate": "mg.nn.mse_loss(net.eval()(x), y)",
    "fit": _FIT,
    "get_weights": "net.state_dict()",
    "get_parameter": 'dict(net.named_parameters())["weight"]',
    "get_submodule": 'dict(net.named_modules())[""]',
    "init": "mg.nn.Linear(3, 1, rng=0)  # parameters are made with the module",
    "num_parameters": "sum(p.size for p in net.parameters())",
    "predict": "with mg.no_grad(): net.eval()(x)",
    "register_full_backward_hook": "net.register_forward_hook(lambda m, x, y: y.register_hook(f))",
    "register_module": "net.first = mg.nn.Linear(3, 1)",
    "register_parameter": "net.scale = mg.tensor(x, requires_grad=True)",
    "set_weights": "net.load_state_dict(state)",
    "summary": "print(mg.viz.summary(net(x)))",
    "unfreeze": "net.requires_grad_()",
}
OPTIMIZER = {
    "apply_gradients": "loss(x).backward(); opt.step()",
    "compute_gradients": "loss(x).backward()",
    "learning_rate": "opt.lr",
    "minimize": "opt.zero_grad(); loss(x).backward(); opt.step()",
    "state": "opt.memory  # a dict for each parameter",
    "update": "loss(x).backward(); opt.step()",
    "zero_gradients": "opt.zero_grad()",
}

# ---- the package and its rooms -------------------------------------------------------------------

_MADE = ("arange", "empty", "eye", "full", "ones", "zeros")
_RANDOM = {"rand": "random(shape)", "randn": "normal(size=shape)", "randint": "integers(5)"}
_SEEDED = "rng = np.random.default_rng(0); mg.tensor(rng.{})"
_OPTIMISERS = ("Adadelta", "Adagrad", "Adam", "AdamW", "Lion", "NAdam", "RMSprop", "SGD")
_RECORDED = "f(t)  # recorded wherever no mg.no_grad() is around it"
_TREE = "{name: 2.0 * p for name, p in params.items()}  # grad takes dicts, lists and tuples"
_LOADER = "mg.data.DataLoader(x, y, batch_size=2)"

PACKAGE = {
    **{name: f"mg.tensor(np.{name}(...))" for name in _MADE},
    **{name: _SEEDED.format(draw) for name, draw in _RANDOM.items()},
    **{name: f"mg.optim.{name}" for name in _OPTIMISERS},
    **dict.fromkeys(("array", "as_tensor", "asarray", "from_array", "from_numpy"), "mg.tensor(x)"),
    **dict.fromkeys(("constant", "convert_to_tensor", "device_put"), "mg.tensor(x)"),
    **dict.fromkeys(("Parameter", "Variable"), "mg.tensor(x, requires_grad=True)"),
    **dict.fromkeys(("cat", "concat"), "mg.concatenate([a, b])"),
    **dict.fromkeys(("bmm", "mm"), "a @ b"),
    "is_grad_enabled": _RECORDED,
    **dict.fromkeys(("inference_mode", "set_grad_enabled"), "mg.no_grad()"),
    **dict.fromkeys(("jacfwd", "jacrev"), "mg.jacobian(f)"),
    "jit": "mg.compile(f)",
    **dict.fromkeys(("tree", "tree_map", "tree_util"), _TREE),
    **dict.fromkeys(("custom_gradient", "custom_jvp"), "mg.define(elementwise=[slope])(f)"),
    **dict.fromkeys(("func", "functional"), "mg.grad(f)(x)"),
    **dict.fromkeys(("Dataset", "DataLoader", "utils"), _LOADER),
    "Function": "mg.define(elementwise=[slope])(f)",
    "GradientTape": "mg.value_and_grad(f)(x)",
    "Module": "mg.nn.Module",
    "Sequential": "mg.nn.Sequential(net, mg.relu)",
    "autograd": "mg.grad(f)(x)  # or loss.backward(); for a Function of your own, mg.define",
    "cast": "t.astype(dtype)",
    "clamp": "mg.clip(t, 0, 1)",
    "cuda": _HERE,
    "device": _HERE,
    "fit": "mg.train.fit",
    "gather": "mg.take_along_axis(t, indices, axis)",
    "is_tensor": "isinstance(t, mg.Tensor)",
    "keras": "mg.nn.Sequential(net, mg.relu)",
    "lax": "mg.scan, mg.conv2d, mg.where",
    "layers": "mg.nn.Sequential(net, mg.relu)",
    "load": "mg.io.load(net, path)",
    **dict.fromkeys(
        ("load_checkpoint", "save_checkpoint"),
        "mg.io.save_checkpoint(path, net=net); mg.io.load_checkpoint(path, net=net)",
    ),
    "masked_fill": "mg.where(mask, 0.0, t)",
    "norm": "mg.linalg.norm(t)",
    "numpy": "np.sin(t)  # NumPy's own functions take tensors",
    "permute": "mg.transpose(t, (1, 0))",
    "random": "rng = np.random.default_rng(0)",
    "reduce_max": "mg.max(t, axis)",
    "reduce_mean": "mg.mean(t, axis)",
    "reduce_sum": "mg.sum(t, axis)",
    "repeat_interleave": "mg.repeat(t, 2, axis)",
    "save": "mg.io.save(net, path)",
    "scatter": "t.at[mask].set(0.0)",
    "set_default_tensor_type": "mg.set_default_dtype",
    "topk": "mg.sort(t, axis)[:, -parts:]  # the largest comes last",
    "unsqueeze": "mg.expand_dims(t, axis)",
    "view": "mg.reshape(t, shape)",
    "vmap": "np.stack([f(row) for row in x])  # operations broadcast: f(x) may do",
}
_ACTIVATIONS = (
    "elu", "gelu", "leaky_relu", "log_sigmoid", "log_softmax", "relu", "sigmoid", "silu", "softmax",
    "softplus", "tanh",
)  # fmt: skip
_CROSS_ENTROPY = "mg.nn.cross_entropy(logits, labels)"
_CLIP = "mg.optim.clip_grad_norm_([t], 1.0)"

NN = {
    **{name: f"mg.{name}" for name in _ACTIVATIONS},
    **dict.fromkeys(("Swish", "swish"), "mg.nn.SiLU()  # or mg.silu"),
    **dict.fromkeys(("CategoricalCrossentropy", "softmax_cross_entropy"), _CROSS_ENTROPY),
    **dict.fromkeys(("MeanSquaredError", "l2_loss"), "mg.nn.mse_loss(t, other)"),
    **dict.fromkeys(("MeanAbsoluteError", "mae_loss"), "mg.nn.l1_loss(t, other)"),
    "sigmoid_binary_cross_entropy": "mg.nn.binary_cross_entropy_with_logits(t, mask)",
    **dict.fromkeys(("DataParallel", "to_device"), _NET),
    **dict.fromkeys(("clip_grad_norm_", "utils"), _CLIP),
    "BatchNormalization": "mg.nn.BatchNorm1d(3)",
    "Bidirectional": "mg.nn.LSTM(3, 8, bidirectional=True)",
    "SimpleRNN": "mg.nn.RNN(3, 8)",
    "StackedRNNCells": "mg.nn.LSTM(3, 8, num_layers=2)",
    "TimeDistributed": "mg.nn.Linear(3, 1)  # of each step of x (T, B, 3)",
    "pad_sequence": "mg.data.padded([[1.0, 2.0], [3.0]])  # and the lengths",
    **dict.fromkeys(
        ("pack_padded_sequence", "pack_sequence", "pad_packed_sequence"),
        "mg.nn.LSTM(2, 8)(x[:, None], lengths=[2])  # packs, and pads again",
    ),
    "Buffer": "mg.tensor(x)  # an attribute that requires no gradient",
    "Conv1D": "mg.nn.Conv1d(3, 8, 5)  # channels come before places",
    "Conv2D": "mg.nn.Conv2d(3, 8, 5)  # channels come before places",
    "Dense": "mg.nn.Linear(3, 1)",
    "Embed": "mg.nn.Embedding(10, 3)",
    "Dropout3d": "mg.nn.Dropout2d(0.5)  # of x (N, C, H, W)",
    "GlobalAveragePooling2D": "mg.nn.AdaptiveAvgPool2d(1)",
    "LayerNormalization": "mg.nn.LayerNorm(3)",
    "LazyLinear": "mg.nn.Linear(3, 1)",
    "AdaptiveMaxPool2d": "mg.max(t, axis=(-2, -1))",
    "MaxPooling2D": "mg.nn.MaxPool2d(2)  # channels come before places",
    "Model": "mg.nn.Module",
    "Parameter": "mg.tensor(x, requires_grad=True)",
    "ParameterList": "[t, t]  # a list is enough",
    "TransformerEncoder": (
        "mg.nn.Sequential(*[mg.nn.TransformerEncoderLayer(4, 2) for _ in range(3)])"
    ),
    "dropout": "mg.dropout(t, 0.5, rng)",
    "functional": "mg.relu(t), mg.softmax(t)",
    "one_hot": "mg.one_hot(labels, 3)",
}
_INIT = (
    "constant", "eye", "kaiming_normal", "kaiming_uniform", "normal", "ones", "orthogonal",
    "trunc_normal", "xavier_normal", "xavier_uniform", "zeros",
)  # fmt: skip
_OF_NAMES = {"constant": ", 0.5"}

INIT = {
    **{name: f"mg.nn.init.{name}_(t{_OF_NAMES.get(name, '')})" for name in _INIT},
    **{f"glorot_{kind}": f"mg.nn.init.xavier_{kind}_(t)" for kind in ("normal", "uniform")},
    **{
        f"he_{kind}": f'mg.nn.init.kaiming_{kind}_(t, nonlinearity="relu")'
        for kind in ("normal", "uniform")
    },
    "lecun_normal": 'mg.nn.init.kaiming_normal_(t, nonlinearity="linear")',
}
_LIKE_ADAM = "mg.optim.Adam([t], lr=0.001)  # or NAdam, AdamW"
_LOWER = {name.lower(): f"mg.optim.{name}([t], lr=0.001)" for name in _OPTIMISERS}
_AVERAGE = "mg.optim.AveragedModel(net, decay=0.999)  # without decay: SWA"
_SCIPY = "mg.optim.minimize(lambda: loss(x), net.parameters())  # SciPy's L-BFGS-B"
_LAMBDA = "mg.optim.LambdaLR(opt, lambda t: 0.9**t)"
_WARM = "mg.optim.LinearWarmup(opt, 100)"
_COSINE = "mg.optim.CosineAnnealingLR(opt, 100)"

OPTIM = {
    **_LOWER,
    **dict.fromkeys(("Adamax", "RAdam", "adamax", "radam"), _LIKE_ADAM),
    "Nadam": _LOWER["nadam"],
    "RMSProp": _LOWER["rmsprop"],
    **dict.fromkeys(("ConstantLR", "LinearSchedule", "PolynomialLR", "schedules"), _LAMBDA),
    **dict.fromkeys(
        ("CosineAnnealingWarmRestarts", "CosineDecay", "cosine_decay_schedule"), _COSINE
    ),
    **dict.fromkeys(("CyclicLR", "cosine_onecycle_schedule"), "mg.optim.OneCycleLR(opt, 0.1, 100)"),
    **dict.fromkeys(("get_linear_schedule_with_warmup", "linear_schedule"), _WARM),
    "MultiplicativeLR": _LAMBDA,
    **dict.fromkeys(("LBFGS", "lbfgs"), _SCIPY),
    **dict.fromkeys(("EMA", "ExponentialMovingAverage", "swa_utils"), _AVERAGE),
    **dict.fromkeys(("clip_by_global_norm", "clip_grad_norm"), _CLIP),
    "apply_updates": "opt.step()",
    "sgd": "mg.optim.SGD([t], lr=0.1)",
}
DATA = {
    **dict.fromkeys(("Dataset", "TensorDataset"), _LOADER),
    **dict.fromkeys(("Subset", "random_split"), "mg.data.split(x, y, shares=(0.5, 0.5), rng=0)"),
    "WeightedRandomSampler": "mg.data.DataLoader(x, batch_size=2, shuffle=True, weights=[1, 2])",
}
_KEPT = "mg.train.fit(net, opt, batches, loss, validate, epochs=10, patience=3)"
TRAIN = {
    **dict.fromkeys(("Trainer", "train"), _FIT),
    **dict.fromkeys(("EarlyStopping", "ModelCheckpoint"), f"{_KEPT}  # the best epoch is kept"),
}
METRICS = {
    **dict.fromkeys(("accuracy_score", "categorical_accuracy"), "mg.metrics.accuracy([0], [0])"),
    "balanced_accuracy_score": "mg.metrics.balanced_accuracy([0], [0])",
    "perplexity": "2 ** mg.metrics.bits_per_character(t, [0, 1])",
    **dict.fromkeys(("mse", "mean_squared_error"), "mg.metrics.rmse(x, x) ** 2"),
    "root_mean_squared_error": "mg.metrics.rmse(x, x)",
}
VIZ = dict.fromkeys(("make_dot", "plot", "plot_model"), "mg.viz.draw(f(t))")

TABLES = {
    "At": AT, "Module": MODULE, "Optimizer": OPTIMIZER, "Tensor": TENSOR, "minigrad": PACKAGE,
    "minigrad.data": DATA, "minigrad.metrics": METRICS, "minigrad.nn": NN,
    "minigrad.nn.init": INIT, "minigrad.optim": OPTIM, "minigrad.train": TRAIN,
    "minigrad.viz": VIZ,
}  # fmt: skip
"""By the place that a name is looked for in: the name, and a line to write."""

# ---- arguments -----------------------------------------------------------------------------------

_ARGUMENTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("axes", "axis", "dim", "dims", "reduction_indices"), ("axis", "axes")),
    **dict.fromkeys(("keepdim", "keep_dims"), ("keepdims",)),
    "correction": ("ddof",),
    "diagonal": ("k", "offset"),
    "dim0": ("axis1",),
    "dim1": ("axis2",),
    "shifts": ("shift",),
    "size": ("shape",),
}
_OF_TWO = {"max": "np.maximum(a, b)", "min": "np.minimum(a, b)", "sum": "a + b", "prod": "a * b"}


class Elsewhere:
    """An attribute that a class does not have: looking for it says what to write.

    Subclasses may have it all the same: in themselves, in their objects, in another base class.
    """

    def __init__(self, place: type, name: str) -> None:
        self.place, self.name = place, name

    def __get__(self, instance: Any, owner: type) -> Any:
        mro = owner.__mro__
        if any(self.name in vars(base) for base in mro[mro.index(self.place) + 1 :]):
            bound = owner if instance is None else instance
            return getattr(super(self.place, bound), self.name)
        hint = of_name(self.place.__name__, self.name)
        raise AttributeError(f"{owner.__name__} has no attribute {self.name!r}{hint}")


def elsewhere(place: C) -> C:
    """Decorate a class: looking for a name in its table says what to write."""
    names = TABLES[place.__name__].keys() - vars(place).keys()
    for name in names:
        setattr(place, name, Elsewhere(place, name))

    def listed(instance: object) -> list[str]:  # what `dir` says: what there is, and no hint
        found = object.__dir__(instance)
        return [k for k in found if k not in names or hasattr(instance, k)]

    place.__dir__ = listed  # type: ignore[assignment]
    return place


def of_name(place: str, name: str) -> str:
    """Return what to write instead of a name that a place does not have, as the end of an error."""
    if name in TABLES.get(place, ()):
        return f"; write {TABLES[place][name]}"
    is_numpys = place == "minigrad" and not name.startswith("_") and hasattr(np, name)
    return f"; NumPy has it, write np.{name}" if is_numpys else ""


def of_argument(name: str, taken: Collection[str]) -> str:
    """Return what an argument of another library is called here, as the end of an error.

    Of the arguments that are `taken`: "" if none of them is the one that is meant.
    """
    here = [k for k in _ARGUMENTS.get(name, ()) if k in taken and k != name]
    return f"; write {here[0]}= instead of {name}=" if here else ""


def of_axis(function: str, axis: Any) -> str:
    """Return what to write for f(a, b) of two arrays, the second of which would be the axis."""
    if not hasattr(axis, "ndim") or (axis.ndim == 0 and axis.dtype.kind in "iu"):
        return ""
    return "; its second argument is the axis" + (
        f": for two arrays write {_OF_TWO[function]}" if function in _OF_TWO else ""
    )
