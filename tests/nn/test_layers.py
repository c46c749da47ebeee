"""What modules are made of and what comes into them: refused or said where it cannot be meant."""

import warnings

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.core import tree

CELLS = [nn.RNN, nn.GRU, nn.LSTM, nn.RNNCell, nn.GRUCell, nn.LSTMCell]
SIZES = {  # a way to make each module of one size, by the name of that size
    (nn.Linear, "in_features"): lambda n: nn.Linear(n, 2),
    (nn.Linear, "out_features"): lambda n: nn.Linear(2, n),
    (nn.Embedding, "num_embeddings"): lambda n: nn.Embedding(n, 2),
    (nn.Embedding, "embedding_dim"): lambda n: nn.Embedding(2, n),
    (nn.LayerNorm, "normalized_shape"): lambda n: nn.LayerNorm((2, n)),
    (nn.RMSNorm, "normalized_shape"): nn.RMSNorm,
    (nn.GroupNorm, "num_groups"): lambda n: nn.GroupNorm(n, 4),
    (nn.GroupNorm, "num_channels"): lambda n: nn.GroupNorm(1, n),
    (nn.InstanceNorm1d, "num_features"): nn.InstanceNorm1d,
    (nn.Bilinear, "in1_features"): lambda n: nn.Bilinear(n, 2, 2),
    (nn.Bilinear, "in2_features"): lambda n: nn.Bilinear(2, n, 2),
    (nn.Bilinear, "out_features"): lambda n: nn.Bilinear(2, 2, n),
    (nn.PReLU, "num_parameters"): nn.PReLU,
    (nn.MultiheadAttention, "embed_dim"): lambda n: nn.MultiheadAttention(n, 1),
    (nn.MultiheadAttention, "num_heads"): lambda n: nn.MultiheadAttention(4, n),
    (nn.MultiheadAttention, "kdim"): lambda n: nn.MultiheadAttention(4, 2, kdim=n),
    (nn.AdaptiveAvgPool1d, "output_size"): nn.AdaptiveAvgPool1d,
    (nn.BatchNorm1d, "num_features"): nn.BatchNorm1d,
    (nn.BatchNorm2d, "num_features"): nn.BatchNorm2d,
    (nn.Conv1d, "in_channels"): lambda n: nn.Conv1d(n, 2, 1),
    (nn.Conv2d, "out_channels"): lambda n: nn.Conv2d(2, n, 1),
    (nn.Conv2d, "kernel_size"): lambda n: nn.Conv2d(2, 2, n),
    (nn.Conv2d, "kernel_size "): lambda n: nn.Conv2d(2, 2, (1, n)),
    (nn.Conv2d, "stride"): lambda n: nn.Conv2d(2, 2, 1, stride=n),
    (nn.Conv1d, "dilation"): lambda n: nn.Conv1d(2, 2, 1, dilation=n),
    (nn.ConvTranspose2d, "groups"): lambda n: nn.ConvTranspose2d(2, 2, 1, groups=n),
    (nn.MaxPool2d, "kernel_size"): nn.MaxPool2d,
    (nn.AvgPool1d, "stride"): lambda n: nn.AvgPool1d(2, stride=n),
    (nn.MaxPool1d, "dilation"): lambda n: nn.MaxPool1d(2, dilation=n),
    **{(kind, "input_size"): lambda n, kind=kind: kind(n, 2) for kind in CELLS},
    **{(kind, "hidden_size"): lambda n, kind=kind: kind(2, n) for kind in CELLS},
    **{(kind, "num_layers"): lambda n, kind=kind: kind(2, 2, n) for kind in CELLS[:3]},
}


@pytest.mark.parametrize("which", SIZES, ids=lambda key: f"{key[0].__name__}-{key[1]}")
def test_sizes_are_positive_integers(which):
    (kind, name), make = which, SIZES[which]
    for n in (1, np.int64(2), np.uint8(1)):
        make(n)
    for n in (0, -1, 1.0, True, "2", None, 1.5, np.ones(2)):
        if n is None and name in ("stride", "kdim", "output_size"):
            continue  # that of the window, of the queries, of the input
        with pytest.raises(
            (TypeError, ValueError), match=f"^{kind.__name__}: {name.strip()} must be"
        ):
            make(n)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Dropout(1.5), r"Dropout: p must be in \[0, 1\), not 1.5"),
        (lambda: nn.Dropout(-0.1), r"p must be in \[0, 1\)"),
        (lambda: nn.Dropout(np.nan), r"p must be in \[0, 1\), not nan"),
        (lambda: nn.Dropout(True), "p must be a number, not True"),
        (lambda: setattr(nn.Dropout(0.5), "p", 2), r"p must be in \[0, 1\)"),
        (lambda: nn.Dropout(0.5, rng="seed"), r"rng must be a seed.*np\.random\.default_rng"),
        (lambda: nn.Linear(1, 1, rng=np.random), r"rng must be a seed.*np\.random\.default_rng"),
        (lambda: nn.LayerNorm(3, eps=-1e-5), r"eps must be in \[0, 1\), not -1e-05"),
        (lambda: nn.LayerNorm(3, 4), r"eps must be in \[0, 1\), not 4"),
        (lambda: nn.LayerNorm(()), "normalized_shape must be an integer"),
        (lambda: nn.BatchNorm1d(3, eps=np.inf), r"eps must be in \[0, 1\), not inf"),
        (lambda: nn.BatchNorm1d(3, momentum=1.1), r"momentum must be in \[0, 1\], not 1.1"),
        (lambda: nn.BatchNorm2d(3, momentum="x"), "momentum must be a number, not 'x'"),
        (lambda: nn.Linear(784, 128, 10), "bias must be True or False, not 10"),
        (lambda: nn.Conv1d(1, 1, 1, bias=None), "bias must be True or False, not None"),
        (lambda: nn.Conv1d(1, 1, 1, padding=-1), "padding must be an integer, at least 0"),
        (lambda: nn.Conv2d(1, 1, 1, padding="full"), 'numbers, "same" or "valid", not .full'),
        (lambda: nn.Conv2d(1, 1, 1, 2, padding="same"), r"same.* needs stride=1, not \(2, 2\)"),
        (lambda: nn.Conv1d(1, 1, 1, padding_mode="wrap"), "must be one of zeros, .*circular, not"),
        (lambda: nn.ConvTranspose2d(1, 1, 1, padding="same"), "padding must be an integer or"),
        (lambda: nn.AdaptiveAvgPool2d((1, 2, 3)), "output_size must be one number or 2, not"),
        (lambda: nn.Upsample(), "give one of size and scale_factor"),
        (lambda: nn.Upsample(2, 2), "give one of size and scale_factor"),
        (lambda: nn.Upsample(2, mode="bicubic"), 'must be "nearest", "linear" or "bilinear", not'),
        (lambda: nn.Upsample(2, align_corners=True), "align_corners is of linear modes"),
        (lambda: nn.Upsample(2.0), "size must be an integer, at least 1, not 2.0"),
        (lambda: nn.Upsample(None, (2, 0)), "scale_factor must be positive and finite, not 0"),
        (lambda: nn.AvgPool1d(2, count_include_pad=1), "count_include_pad must be True or False"),
        (lambda: nn.GroupNorm(3, 4), "num_groups=3 must divide num_channels=4"),
        (lambda: nn.RMSNorm(3, 1), r"eps must be in \[0, 1\), not 1"),
        (lambda: nn.Embedding(3, 2, 3), "padding_idx must be one of the 3 rows, not 3"),
        (lambda: nn.Embedding(3, 2, 1.0), "padding_idx must be an integer, not 1.0"),
        (lambda: nn.Embedding.from_pretrained([1.0]), r"rows, .* not of shape \(1,\)"),
        (lambda: nn.MultiheadAttention(6, 4), "num_heads=4 must divide embed_dim=6"),
        (lambda: nn.MultiheadAttention(4, 2, 1.0), r"dropout must be in \[0, 1\), not 1"),
        (lambda: nn.TransformerEncoderLayer(4, 2, activation="elu"), 'must be "relu", "gelu" or'),
        (lambda: nn.GELU("yes"), 'approximate must be "none" or "tanh", not .yes'),
        (lambda: nn.ELU(np.nan), "alpha must be finite, not nan"),
        (lambda: nn.CELU(0), "alpha must be positive and finite, not 0"),
        (lambda: nn.Softplus(-1), "beta must be positive and finite, not -1"),
        (lambda: nn.LeakyReLU("0.1"), "negative_slope must be a number, not '0.1'"),
        (lambda: nn.Hardtanh(1, 1), "min_val must be less than max_val, not 1 and 1"),
        (lambda: nn.Softmax(None), "dim must be an integer, not None"),
        (lambda: nn.Flatten(1.0), "start_dim must be an integer, not 1.0"),
        (lambda: nn.ConvTranspose1d(1, 1, 1, output_padding=0.5), "output_padding must be"),
        (lambda: nn.LSTM(2, 2, batch_first=1), "batch_first must be True or False, not 1"),
        (lambda: nn.Linear(1, 1, dtype=int), "only real floating tensors"),
        (lambda: nn.Linear(1, 1).train("test"), "mode must be True or False"),
        (lambda: nn.Sequential(mg.relu, nn.Dropout), r"step 1 .*class Dropout.*Dropout\(\.\.\.\)"),
        (lambda: nn.Sequential([nn.Linear(1, 1)]), r"step 0 .*Linear.*write Sequential\(\*steps\)"),
        (lambda: nn.Sequential(None), "step 0 must be a module or a function, not None"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


@pytest.mark.parametrize("kind", [nn.Dropout, nn.LayerNorm, nn.BatchNorm1d])
def test_a_class_called_with_the_input(kind):
    """Dropout(x) in the place of Dropout(0.5)(x)."""
    for x in (np.ones((2, 3)), mg.tensor([1.0, 2.0])):
        with pytest.raises(TypeError, match=rf"of shape .*write|call it then: {kind.__name__}"):
            kind(x)


# ---- dtypes --------------------------------------------------------------------------------------

TAKE = {  # modules, and the shape of what they take
    "Linear": (lambda **k: nn.Linear(3, 2, **k), (4, 3)),
    "LayerNorm": (lambda **k: nn.LayerNorm(3, **k), (4, 3)),
    "BatchNorm1d": (lambda **k: nn.BatchNorm1d(3, **k), (4, 3)),
    "Conv1d": (lambda **k: nn.Conv1d(3, 2, 1, **k), (4, 3, 2)),
    "Conv2d": (lambda **k: nn.Conv2d(3, 2, 1, **k), (4, 3, 2, 2)),
    "ConvTranspose1d": (lambda **k: nn.ConvTranspose1d(3, 2, 1, **k), (4, 3, 2)),
    "RMSNorm": (lambda **k: nn.RMSNorm(3, **k), (4, 3)),
    "GroupNorm": (lambda **k: nn.GroupNorm(1, 3, **k), (4, 3)),
    "PReLU": (nn.PReLU, (4, 3)),
    "LSTM": (lambda **k: nn.LSTM(3, 2, 2, **k), (4, 1, 3)),
    "GRUCell": (lambda **k: nn.GRUCell(3, 2, **k), (4, 3)),
}


def _dtype(y):
    return (y[0] if isinstance(y, tuple) else y).dtype


@pytest.mark.parametrize("name", TAKE)
def test_what_would_drag_a_module_into_another_dtype_is_said(name):
    """Once, at the line of the user's that gives it in."""
    make, shape = TAKE[name]
    for x in (np.ones(shape), mg.tensor(np.ones(shape)), np.ones(shape, int)):
        module = make()
        with pytest.warns(
            UserWarning, match=rf"{name}: .* {x.dtype}.*x.astype\(np.float32\)"
        ) as seen:
            module(x)
        assert [w.filename for w in seen] == [__file__]
    for dtype in (np.float16, np.float32):
        assert _dtype(make(dtype=np.float32)(np.ones(shape, dtype))) == np.float32
    for dtype in (np.float32, np.float64, int):
        assert _dtype(make(dtype=np.float64)(np.ones(shape, dtype))) == np.float64
    assert _dtype(make()(np.ones(shape).tolist())) == np.float32  # Python's numbers are weak
    assert _dtype(make(dtype=np.float64)(np.ones(shape).tolist())) == np.float64


def test_a_net_says_it_once_and_where():
    class Net(nn.Module):
        def __init__(self):
            self.layers = [nn.Linear(3, 3), nn.Linear(3, 3)]

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)
            return x

    net, x = Net(), np.ones((2, 3))
    for call in (net, mg.no_grad()(net)):
        with pytest.warns(UserWarning, match=r"Linear in net/layers\[0\]: ") as seen:
            call(x)
        assert len(seen) == 1


def test_a_state_that_drags_is_said_too():
    x, h = np.ones((4, 1, 3), np.float32), np.zeros((1, 1, 2))
    with pytest.warns(UserWarning, match="LSTM: c0 is float64"):
        nn.LSTM(3, 2)(x, (h.astype(np.float32), h))


def test_checks_in_float64_of_a_float32_net_pass_and_say_so():
    """A checker makes its inputs float64: what it finds is right, but for the rounded weights."""
    net, x = nn.Linear(3, 2, rng=0), np.ones((1, 3), np.float32)
    with pytest.warns(UserWarning, match="dtype=np.float64"):
        mg.check_grads(lambda x: net(x) ** 2, (x,), rtol=1e-6)
    exact = nn.Linear(3, 2, rng=0, dtype=np.float64)
    mg.check_grads(lambda x: exact(x) ** 2, (x,), rtol=1e-6)


# ---- shapes --------------------------------------------------------------------------------------


class Block(nn.Module):
    def __init__(self):
        self.inner = nn.Sequential(nn.Linear(2, 3), nn.Linear(4, 5))
        self.lstm, self.conv, self.rows = nn.LSTM(3, 2), nn.Conv1d(3, 2, 1), nn.Embedding(3, 2)
        self.norms = {"layer": nn.LayerNorm((2, 3)), "group": nn.GroupNorm(2, 4)}
        self.norms |= {"batch": nn.BatchNorm1d(3), "instance": nn.InstanceNorm2d(3)}
        self.pair, self.look = nn.Bilinear(2, 3, 1), nn.MultiheadAttention(4, 2)
        self.slope, self.pool, self.drop = nn.PReLU(3), nn.AdaptiveAvgPool1d(2), nn.Dropout2d()
        self.up, self.down = nn.Upsample(4, mode="linear"), nn.Upsample(None, 0.2)
        self.block = nn.TransformerEncoderLayer(4, 2, 3)
        self.same, self.flat, self.half = nn.Conv1d(2, 2, 2, padding="same"), nn.Flatten(), nn.GLU()
        self.w = mg.tensor(np.ones((3, 2)), requires_grad=True)

    def forward(self, what, x):
        return what(self, x)


@pytest.mark.parametrize(
    ("what", "shape", "message"),
    [
        (lambda m, x: m.inner(x), (1, 2), r"Linear in block/inner/1.*\(1, 3\).*length 4"),
        (lambda m, x: m.lstm(x), (2,), r"LSTM in block/lstm: the input must be .*got shape \(2,"),
        (lambda m, x: m.lstm(x), (2, 2, 5), r"LSTM in block/lstm.*\(2, 2, 5\).*length 3"),
        (lambda m, x: m.conv(x), (2, 5, 2), r"conv1d in block/conv: .*\(2, 5, 2\) has 5 channels"),
        (lambda m, x: x @ m.w, (1, 4), r"matmul in block on shapes \(1, 4\), \(3, 2\)"),
        (lambda m, x: m.rows([3]), (1,), r"(?s)must lie in 0 .. 2.*in Embedding in block/rows"),
        (lambda m, x: m.norms["layer"](x), (4, 3), r"LayerNorm in block/norms.layer: .*\(4, 3\)"),
        (lambda m, x: m.norms["group"](x), (2, 3), r"GroupNorm in block/norms.group: .*4 channels"),
        (lambda m, x: m.norms["group"](x), (2, 4, 0), "has 0 value in each group"),
        (lambda m, x: nn.GroupNorm(4, 4)(x), (2, 4), "has 1 value in each group, and"),
        (lambda m, x: m.norms["batch"](x), (2, 3, 4, 5), "in its second of 2 or 3 axes"),
        (lambda m, x: m.norms["instance"](x), (2, 3, 4), "in its second of 4 axes"),
        (lambda m, x: m.pair(x, x), (2, 2), r"Bilinear in block/pair: .*lengths 2 and 3"),
        (lambda m, x: m.pair(x, x[:1]), (2, 2), "must differ in the last axis alone"),
        (lambda m, x: m.look(x, x, x), (2, 3, 5), r"query \(L, N, 4\), key .*\(2, 3, 5\)"),
        (lambda m, x: m.look(x, x, x[1:]), (2, 3, 4), "as many values as keys"),
        (lambda m, x: m.look(x[:, :2], x, x), (2, 3, 4), "of one batch"),
        (lambda m, x: m.look(x, x, x, attn_mask=np.eye(3)), (2, 3, 4), "attn_mask must have shape"),
        (lambda m, x: m.look(x, x, x, np.zeros((3, 2), int)), (2, 3, 4),
         r"MultiheadAttention in block/look: key_padding_mask must hold booleans, or floats to be"),
        (lambda m, x: m.look(x, x, x, np.ones((3, 2), bool)), (2, 3, 4),
         r"MultiheadAttention in block/look: the mask leaves no key for 3 of 3 queries"),
        (lambda m, x: m.up(x), (2, 3, 4, 5), r"Upsample in block/up: .*\(N, C, L\), .* 'linear'"),
        (lambda m, x: m.down(x), (2, 3), r"Upsample in block/down: the input has shape \(2, 3\)"),
        (lambda m, x: m.down(x), (2, 3, 4), "nothing is left of axis 2"),
        (lambda m, x: m.block(x), (2, 3, 5), r"TransformerEncoderLayer in block/block: .*length 4"),
        (lambda m, x: m.slope(x), (2, 4), "PReLU in block/slope: .*3 channels"),
        (lambda m, x: m.pool(x), (2, 4), r"AdaptiveAvgPool1d in block/pool: .*3 axes"),
        (lambda m, x: m.drop(x), (2, 4), r"Dropout2d in block/drop: .*4 axes"),
        (lambda m, x: m.same(x), (2, 4), r"conv1d in block/same: x must be \(N, C, L\)"),
        (lambda m, x: m.flat(x), (2,), "Flatten in block/flat: the input has 1 axes"),
        (lambda m, x: m.half(x), (2, 3), "GLU in block/half: .*an even number"),
        (lambda m, x: nn.scaled_dot_product_attention(x, x, x[:1]), (2, 3), "do not fit"),
        (lambda m, x: nn.scaled_dot_product_attention(x, x, x, x, 0, True), (2, 2), "not both"),
        (lambda m, x: {}["a"], (1,), "(?s)a.*in Block"),
    ],
)  # fmt: skip
def test_errors_inside_a_model_say_where(what, shape, message):
    with pytest.raises((ValueError, IndexError, KeyError, TypeError), match=message) as error:
        Block()(what, np.ones(shape, np.float32))
    notes = getattr(error.value, "__notes__", [])
    assert len(notes) == (0 if " in block" in str(error.value) else 1)


@pytest.mark.parametrize("kind", [nn.Dropout1d, nn.Dropout2d])
def test_whole_channels_are_dropped(kind):
    x, drop = np.ones((40, 50, *(3,) * kind.axes)), kind(0.3, rng=0)
    y = drop(x).data
    dropped = (y == 0).reshape(40, 50, -1)
    assert (dropped.all(-1) == dropped.any(-1)).all()
    assert dropped.all(-1).mean() == pytest.approx(0.3, abs=0.05)
    assert set(np.unique(y)) == {0, 1 / 0.7}
    assert drop.eval()(x).data is not None
    np.testing.assert_array_equal(drop(x).data, x)


def test_dropped_attention_keeps_its_mean():
    look = nn.MultiheadAttention(4, 2, dropout=0.5, rng=0)
    x = np.random.default_rng(0).normal(size=(3, 2, 4)).astype(np.float32)
    mg.manual_seed(0)
    outs = [look(x, x, x, need_weights=False)[0].data for _ in range(600)]
    assert (outs[0] != outs[1]).all()
    expected = look.eval()(x, x, x)[0].data
    np.testing.assert_allclose(np.mean(outs, axis=0), expected, atol=0.1)


def test_a_seed_decides_what_is_drawn_and_dropped():
    x = np.random.default_rng(0).normal(size=(3, 2, 4)).astype(np.float32)
    for kind in (nn.MultiheadAttention, nn.TransformerEncoderLayer):
        a, b = kind(4, 2, dropout=0.5, rng=3), kind(4, 2, dropout=0.5, rng=3)
        args = (x,) * (3 if kind is nn.MultiheadAttention else 1)
        mg.manual_seed(0)
        first, again, other = tree.flatten(a(*args)), tree.flatten(a(*args)), tree.flatten(b(*args))
        np.testing.assert_array_equal(first[0][0].data, other[0][0].data)
        assert not np.array_equal(first[0][0].data, again[0][0].data)


def test_later_keys_are_left_out():
    look = nn.MultiheadAttention(4, 2, rng=0, dtype=float)
    x = np.random.default_rng(0).normal(size=(3, 2, 4))
    y, weights = look(x, x, x, is_causal=True)
    assert (weights.data == np.tril(weights.data)).all()
    np.testing.assert_allclose(y.data[:1], look(x[:1], x[:1], x[:1])[0].data)
    later = look(x, x, x, attn_mask=np.triu(np.ones((3, 3), bool), 1))[0].data
    np.testing.assert_array_equal(y.data, later)


def test_rows_that_were_trained_elsewhere():
    rows = np.arange(6.0).reshape(3, 2)
    frozen = nn.Embedding.from_pretrained(rows)
    assert not frozen.weight.requires_grad
    assert frozen([2]).tolist() == [[4, 5]]
    trained = nn.Embedding.from_pretrained(rows, freeze=False, padding_idx=0)
    trained([0, 1]).sum().backward()
    assert trained.weight.grad.tolist() == [[0, 0], [1, 1], [0, 0]]
    assert trained.weight.dtype == float


# ---- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_batch_first_is_the_same_with_two_axes_swapped(kind):
    x = np.random.default_rng(0).normal(size=(5, 7, 3))
    module, twin = kind(3, 2, 2, dtype=float), kind(3, 2, 2, batch_first=True, dtype=float)
    twin.load_state_dict(module.state_dict())
    hs, last = module(x)
    swapped, same = twin(x.swapaxes(0, 1))
    np.testing.assert_array_equal(swapped.data, hs.data.swapaxes(0, 1))
    for a, b in zip(tree.flatten(last)[0], tree.flatten(same)[0], strict=True):
        np.testing.assert_array_equal(a.data, b.data)
    with pytest.raises(ValueError, match=r"\(batch, time, features\)"):
        twin(x[0, 0])


@pytest.mark.oracle
@pytest.mark.parametrize("momentum", [0.3, 0.0, 1.0, None])
def test_running_statistics_are_pytorchs(momentum):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    ours = nn.BatchNorm1d(3, momentum=momentum, dtype=float)
    theirs = torch.nn.BatchNorm1d(3, momentum=momentum).double()
    for seed in range(3):
        x = np.random.default_rng(seed).normal(size=(5, 3))
        ours(x)
        theirs(torch.tensor(x))
    for name, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[name], value.numpy(), rtol=1e-12, atol=1e-15)


def test_no_warning_where_nothing_is_wrong():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = np.ones((4, 3), np.float32)
        nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), mg.relu, nn.Dropout(0.5))(
            x
        ).sum().backward()
