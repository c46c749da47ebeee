"""Every layer is PyTorch's: names, arguments, initial values; outputs and all gradients.

One table of cases. Weights are copied by name, inputs are drawn, and what both make of them, in
training and in evaluation, differs by rounding alone. Recurrent layers and losses have their own.
"""

import inspect

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.core import tree
from minigrad.core.tensor import value_of

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = pytest.mark.oracle

IMAGES, SERIES, ROWS = (2, 4, 5, 6), (3, 4, 7), (5, 4)
INDICES = np.array([[0, 2, 2], [4, 1, 0]])
CORNERS = np.array([-6, -3, -1, -0.5, 0, 0.5, 1, 3, 6])
PADDED = np.array([[False, True, False], [False, False, True]])


def case(name, *args, x=(ROWS,), id="", given=None, **options):
    return pytest.param(name, args, options, x, given or {}, id=f"{name}{id and '-'}{id}")


ACTIVATIONS = [
    ("ReLU",), ("LeakyReLU",), ("LeakyReLU", 0.3), ("ELU",), ("ELU", 0.7), ("CELU", 0.7), ("SELU",),
    ("GELU",), ("GELU", "tanh"), ("SiLU",), ("Sigmoid",), ("Tanh",), ("Softplus",),
    ("Softplus", 2.0), ("LogSigmoid",), ("Mish",), ("Softsign",), ("Tanhshrink",), ("Hardtanh",),
    ("Hardtanh", -0.5, 3.0), ("ReLU6",), ("Hardsigmoid",), ("Hardswish",), ("Threshold", 0.5, 20.0),
    ("Softmax", -1), ("Softmax", 1), ("LogSoftmax", 1), ("Softmin", 0), ("GLU",), ("GLU", 1),
    ("PReLU",), ("PReLU", 4),
]  # fmt: skip
CASES = [
    *[case(*a, x=(IMAGES,), id="-".join(map(str, a[1:]))) for a in ACTIVATIONS],
    *[
        case(*a, x=(CORNERS,), id="corners")
        for a in ACTIVATIONS
        if a[0] not in ("GLU", "PReLU") and 1 not in a
    ],
    case("PReLU", x=(CORNERS,), id="corners"),
    case("Identity", 1, a=2),
    case("Linear", 4, 3),
    case("Linear", 4, 3, bias=False, x=((*IMAGES[:2], 4),)),
    case("Bilinear", 4, 3, 2, x=(ROWS, (5, 3))),
    case("Bilinear", 4, 3, 2, False, x=((2, 3, 4), (2, 3, 3)), id="no-bias"),
    case("Embedding", 5, 3, x=(INDICES,)),
    case("Embedding", 5, 3, 2, x=(INDICES,), id="padding"),
    case("Embedding", 5, 3, padding_idx=-1, x=(INDICES,), id="padding-last"),
    case("Flatten", x=(IMAGES,)),
    case("Flatten", 0, 2, x=(IMAGES,), id="first"),
    case("Unflatten", 1, (2, -1), x=(IMAGES,)),
    case("Dropout", 0.0),
    case("Dropout1d", 0.0, x=(SERIES,)),
    case("Dropout2d", 0.0, x=(IMAGES,)),
    case("LayerNorm", 4),
    case("LayerNorm", (5, 6), 1e-3, x=(IMAGES,), id="two-axes"),
    case("LayerNorm", 4, elementwise_affine=False, id="plain"),
    case("LayerNorm", 4, bias=False, id="no-bias"),
    case("RMSNorm", 4),
    case("RMSNorm", (5, 6), 1e-3, x=(IMAGES,), id="two-axes"),
    case("RMSNorm", 4, elementwise_affine=False, id="plain"),
    case("GroupNorm", 2, 4, x=(IMAGES,)),
    case("GroupNorm", 4, 4, 1e-2, False, x=(SERIES,), id="plain"),
    case("GroupNorm", 1, 4, id="rows"),
    case("InstanceNorm1d", 4, x=(SERIES,)),
    case("InstanceNorm2d", 4, affine=True, x=(IMAGES,), id="affine"),
    case("BatchNorm1d", 4),
    case("BatchNorm1d", 4, 1e-3, 0.3, x=(SERIES,), id="series"),
    case("BatchNorm1d", 4, affine=False, momentum=None, id="plain"),
    case("BatchNorm2d", 4, x=(IMAGES,)),
    case("BatchNorm2d", 4, track_running_stats=False, x=(IMAGES,), id="of-the-batch"),
    case("Conv1d", 4, 6, 3, x=(SERIES,)),
    case("Conv1d", 4, 6, 3, 2, 1, 2, 2, False, x=(SERIES,), id="options"),
    case("Conv1d", 4, 6, 4, padding="same", x=(SERIES,), id="same"),
    case("Conv1d", 4, 6, 3, padding="same", dilation=2, padding_mode="circular", x=(SERIES,),
         id="circular"),
    case("Conv1d", 4, 6, 3, padding="valid", x=(SERIES,), id="valid"),
    case("Conv2d", 4, 6, (3, 2), (1, 2), (2, 0), (1, 2), 2, x=(IMAGES,)),
    case("Conv2d", 4, 2, 3, padding=1, padding_mode="reflect", x=(IMAGES,), id="reflect"),
    case("Conv2d", 4, 2, 3, padding=(1, 2), padding_mode="replicate", x=(IMAGES,), id="replicate"),
    case("Conv2d", 4, 2, (2, 3), padding="same", x=(IMAGES,), id="same"),
    case("ConvTranspose1d", 4, 6, 3, 2, 1, 1, 2, True, 1, x=(SERIES,)),
    case("ConvTranspose2d", 4, 6, (3, 2), (2, 1), (0, 1), dilation=2, x=(IMAGES,)),
    case("MaxPool1d", 3, x=(SERIES,)),
    case("MaxPool1d", 3, 1, 1, 2, x=(SERIES,), id="options"),
    case("MaxPool2d", (2, 3), x=(IMAGES,)),
    case("AvgPool1d", 3, 2, 1, x=(SERIES,)),
    case("AvgPool2d", 2, x=(IMAGES,)),
    case("AvgPool2d", 3, 2, 1, count_include_pad=False, x=(IMAGES,), id="without-padding"),
    case("AdaptiveAvgPool1d", 3, x=(SERIES,)),
    case("AdaptiveAvgPool1d", 1, x=(SERIES,), id="one"),
    case("AdaptiveAvgPool2d", (3, None), x=(IMAGES,)),
    case("Upsample", None, 2, x=(IMAGES,)),
    case("Upsample", (7, 3), x=(IMAGES,), id="size"),
    case("Upsample", scale_factor=(1.7, 0.6), mode="bilinear", x=(IMAGES,), id="bilinear"),
    case("Upsample", (9, 4), mode="bilinear", align_corners=True, x=(IMAGES,), id="corners"),
    case("Upsample", 11, None, "linear", x=(SERIES,), id="linear"),
    case("Upsample", 1, None, "linear", True, x=(SERIES,), id="one"),
    case("MultiheadAttention", 4, 2, x=((3, 2, 4),) * 3),
    case("MultiheadAttention", 4, 2, x=((3, 4), (5, 4), (5, 4)), id="one-sample"),
    case("MultiheadAttention", 4, 2, x=((3, 2, 4), 0, 0), id="of-itself"),
    case("MultiheadAttention", 4, 2, bias=False, x=((3, 4), 0, 0), id="of-itself-without-bias"),
    case("MultiheadAttention", 4, 2, bias=False, kdim=3, vdim=5, batch_first=True,
         x=((2, 4, 4), (2, 3, 3), (2, 3, 5)), id="sizes", given={"key_padding_mask": PADDED}),
    case("MultiheadAttention", 4, 4, batch_first=True, x=((2, 3, 4),) * 3, id="masks",
         given={"attn_mask": np.triu(np.ones((3, 3), bool), 1), "key_padding_mask": PADDED,
                "average_attn_weights": False}),
    case("MultiheadAttention", 4, 2, x=((3, 2, 4),) * 3, id="added",
         given={"attn_mask": np.linspace(-1, 1, 36).reshape(4, 3, 3), "need_weights": False}),
    case("TransformerEncoderLayer", 4, 2, 5, 0.0, x=((3, 2, 4),)),
    case("TransformerEncoderLayer", 4, 2, 5, 0.0, "gelu", 1e-3, True, True, False, x=((2, 3, 4),),
         id="norm-first", given={"src_key_padding_mask": PADDED}),
]  # fmt: skip


def made(module, seed):
    """Give a module of PyTorch's numbers that are no special ones; return them by name."""
    rng, state = np.random.default_rng(seed), {}
    for name, t in module.state_dict().items():
        if t.is_floating_point():
            state[name] = rng.uniform(0.5, 1.5, t.shape) * rng.choice([-1, 1], t.shape)
            state[name] = abs(state[name]) if name.endswith("running_var") else state[name]
        else:
            state[name] = t.numpy()
    module.load_state_dict({name: torch.tensor(a) for name, a in state.items()})
    return state


ROUNDED = {"CELU": 1e-7, "Hardsigmoid": 1e-7}
"""How exact PyTorch's derivatives are where its kernels keep 1 / alpha, and 1 / 6, in float32."""


def close(a, b, what, tolerance=1e-10):
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=1e-10, err_msg=what)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning:torch")
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(("name", "args", "options", "inputs", "given"), CASES)
def test_outputs_and_all_gradients(name, args, options, inputs, given, training):
    theirs = getattr(torch.nn, name)(*args, **options).double().train(training)
    ours = getattr(nn, name)(*args, **options).astype(np.float64).train(training)
    state = made(theirs, 0)
    assert list(ours.state_dict()) == list(state), "the names of the state"
    ours.load_state_dict(state)
    rng = np.random.default_rng(1)
    given_twice = [x if isinstance(x, int) else k for k, x in enumerate(inputs)]
    drawn = [x if isinstance(x, np.ndarray) else rng.normal(size=x) * 2 for x in inputs]
    floating = [a.dtype.kind == "f" for a in drawn]
    xs = [mg.tensor(a, requires_grad=f) for a, f in zip(drawn, floating, strict=True)]
    others = [torch.tensor(a, requires_grad=f) for a, f in zip(drawn, floating, strict=True)]
    xs, others = [xs[k] for k in given_twice], [others[k] for k in given_twice]
    outputs = tree.flatten(ours(*xs, **given))[0]
    more = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in given.items()}
    expected = tree.flatten(theirs(*others, **more))[0]
    seeds = [rng.normal(size=y.shape) for y in outputs]
    sum((y * s).sum() for y, s in zip(outputs, seeds, strict=True)).backward()
    sum((y * torch.tensor(s)).sum() for y, s in zip(expected, seeds, strict=True)).backward()
    for k, (y, z) in enumerate(zip(outputs, expected, strict=True)):
        close(y.data, z.detach().numpy(), f"output {k}")
    for k, (x, z) in enumerate(zip(xs, others, strict=True)):
        if floating[k]:
            tolerance = ROUNDED.get(name, 1e-10)
            close(x.grad, z.grad.numpy(), f"gradient of input {k}", tolerance)
    by_name = dict(theirs.named_parameters())
    for key, p in ours.named_parameters():
        close(p.grad, by_name[key].grad.numpy(), f"gradient of {key}")
    for key, a in theirs.state_dict().items():
        close(ours.state_dict()[key], a.numpy(), f"{key} afterwards")


@pytest.mark.parametrize(
    ("name", "args", "options", "inputs", "given"),
    [c for c in CASES if c.values[0] != "Embedding"],
)
def test_whole_numbers_are_numbers(name, args, options, inputs, given):
    """Nothing is rounded away because the input is of integers."""
    module = getattr(nn, name)(*args, **options).astype(np.float64).eval()
    rng = np.random.default_rng(0)
    drawn = [x if isinstance(x, np.ndarray) else rng.integers(-3, 4, x) for x in inputs]
    drawn = [drawn[x] if isinstance(x, int) else a for x, a in zip(inputs, drawn, strict=True)]
    integers = [a.astype(int) for a in drawn]
    assert repr(module).startswith(f"{name}(")
    outputs = tree.flatten(module(*integers, **given))[0]
    expected = tree.flatten(module(*[a.astype(float) for a in integers], **given))[0]
    for y, z in zip(outputs, expected, strict=True):
        close(value_of(y), value_of(z), "output")


# ---- arguments and initial values ----------------------------------------------------------------

OWN = {"rng", "dtype"}
LACKING = {
    "device": "there are no devices",
    "inplace": "tensors are immutable",
    "max_norm": "", "norm_type": "", "scale_grad_by_freq": "", "sparse": "", "_weight": "",
    "_freeze": "Embedding.from_pretrained",
    "recompute_scale_factor": "", "ceil_mode": "", "return_indices": "", "divisor_override": "",
    "add_bias_kv": "", "add_zero_attn": "",
    "threshold": "softplus is exact at any size",
    "min_value": "an old name", "max_value": "an old name",
}  # fmt: skip
"""Arguments of PyTorch's that layers here do not have, and why, where there is a reason."""
EXCEPTIONS = {
    ("ConvTranspose1d", "padding_mode"), ("ConvTranspose2d", "padding_mode"),  # zeros, also there
    ("InstanceNorm1d", "momentum"), ("InstanceNorm1d", "track_running_stats"),
    ("InstanceNorm2d", "momentum"), ("InstanceNorm2d", "track_running_stats"),
    ("GroupNorm", "bias"), ("BatchNorm1d", "bias"), ("BatchNorm2d", "bias"),
    ("InstanceNorm1d", "bias"), ("InstanceNorm2d", "bias"),
}  # fmt: skip
DEFAULTS = {
    # PyTorch guesses the axis from the number of axes, and warns
    ("Softmax", "dim"): -1, ("LogSoftmax", "dim"): -1, ("Softmin", "dim"): -1,
    ("TransformerEncoderLayer", "activation"): "relu",  # there the function itself
}  # fmt: skip
NAMES = sorted({c.values[0] for c in CASES} - {"Identity"})


@pytest.mark.parametrize("name", NAMES)
def test_arguments_have_pytorchs_names_order_and_defaults(name):
    theirs = inspect.signature(getattr(torch.nn, name)).parameters
    ours = inspect.signature(getattr(nn, name)).parameters
    if not (theirs.keys() - {"args", "kwargs"}):
        assert not ours
        return
    shared = [k for k in ours if k not in OWN]
    lacking = [k for k in theirs if k not in ours and k != "dtype"]
    assert all(k in LACKING or (name, k) in EXCEPTIONS for k in lacking), lacking
    assert shared == [k for k in theirs if k in shared], "the order"
    by_position = [k for k in shared if ours[k].kind is not inspect.Parameter.KEYWORD_ONLY]
    assert by_position == list(theirs)[: len(by_position)], "what may be given by position"
    for k in shared:
        assert ours[k].default == DEFAULTS.get((name, k), theirs[k].default)


DRAWN = [
    ("Linear", (300, 200)), ("Bilinear", (30, 40, 50)), ("Embedding", (300, 200)),
    ("Conv1d", (40, 50, 30)), ("Conv2d", (20, 60, 8)), ("ConvTranspose1d", (40, 60, 20)),
    ("ConvTranspose2d", (40, 30, 7)), ("MultiheadAttention", (200, 2)), ("PReLU", (300,)),
    ("LayerNorm", (300,)), ("BatchNorm2d", (300,)), ("GroupNorm", (3, 300)), ("RMSNorm", (300,)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args"), DRAWN, ids=[name for name, _ in DRAWN])
def test_initial_values_have_pytorchs_distribution(name, args):
    """The quantiles are the same, but for chance."""
    torch.manual_seed(0)
    theirs = getattr(torch.nn, name)(*args).state_dict()
    ours = getattr(nn, name)(*args, **({"rng": 0} if name in WITH_RNG else {})).state_dict()
    for key, a in theirs.items():
        a, b = a.numpy().ravel(), ours[key].ravel()
        at = np.linspace(0.05, 0.95, 7)
        tolerance = 4 * (np.ptp(np.quantile(a, [0.1, 0.9])) + 1e-9) / np.sqrt(a.size)
        np.testing.assert_allclose(np.quantile(b, at), np.quantile(a, at), atol=tolerance)
        if name != "Embedding":  # of a normal distribution, the ends are chance
            assert abs(b).max() <= abs(a).max() * (1 + 10 / a.size)


WITH_RNG = {
    name for name, _ in DRAWN if "rng" in inspect.signature(getattr(nn, name)).parameters
}  # fmt: skip


def test_padding_begins_with_zeros():
    assert not nn.Embedding(4, 3, 1, rng=0).weight.data[1].any()
    assert nn.Embedding(4, 3, 1, rng=0).weight.data[[0, 2, 3]].all()


@pytest.mark.parametrize("boolean", [True, False, None])
def test_scaled_dot_product_attention(boolean):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=s) for s in ((2, 3, 4, 5), (2, 3, 6, 5), (2, 3, 6, 7))]
    mask = rng.random((4, 6)) < 0.7 if boolean else rng.normal(size=(4, 6))
    options = {"is_causal": True, "scale": 0.3} if boolean is None else {"attn_mask": mask}
    xs = [mg.tensor(a, requires_grad=True) for a in arrays]
    others = [torch.tensor(a, requires_grad=True) for a in arrays]
    y = nn.scaled_dot_product_attention(*xs, **options)
    more = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    z = torch.nn.functional.scaled_dot_product_attention(*others, **more)
    (y * y).sum().backward()
    (z * z).sum().backward()
    close(y.data, z.detach().numpy(), "output")
    for k, (a, b) in enumerate(zip(xs, others, strict=True)):
        close(a.grad, b.grad.numpy(), f"gradient {k}")


def test_a_mask_that_is_trained_has_its_gradient():
    """As a bias by the distance of positions is."""
    rng = np.random.default_rng(0)
    x, bias = rng.normal(size=(3, 2, 4)), rng.normal(size=(3, 3))
    theirs, ours = torch.nn.MultiheadAttention(4, 2).double(), nn.MultiheadAttention(4, 2)
    ours.astype(np.float64).load_state_dict(made(theirs, 0))
    a, b = mg.tensor(bias, requires_grad=True), torch.tensor(bias, requires_grad=True)
    y, _ = ours(x, x, x, attn_mask=a)
    (y * y).sum().backward()
    z, _ = theirs(*[torch.tensor(x)] * 3, attn_mask=b)
    (z * z).sum().backward()
    close(a.grad, b.grad.numpy(), "gradient of the mask")
