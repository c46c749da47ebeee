"""ONNX models do in onnxruntime what the module does here."""

import sys

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.core import tree
from minigrad.interop import to_onnx


def test_without_the_package(tmp_path, monkeypatch):
    for name in ("onnx", "onnx.helper"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"pip install 'minigrad\[interop\]'"):
        to_onnx(nn.Linear(2, 1), tmp_path / "m.onnx", np.eye(2, dtype=np.float32))
    assert not [*tmp_path.iterdir()]


onnx = pytest.importorskip("onnx", reason="onnx is not installed")


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class Several(nn.Module):
    """A bit of everything: two inputs, one of whole numbers, a dict of outputs, slices, masks."""

    def __init__(self):
        self.table = nn.Embedding(9, 4)
        self.gru = nn.GRU(6, 5, bidirectional=True)
        self.head = nn.Sequential(nn.Linear(10, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
        self.scale = mg.tensor(np.array(2.0), requires_grad=True)  # float64
        self.keep = mg.tensor(np.array([True, False, True]))

    def forward(self, tokens, extra):
        x = mg.concatenate([self.table(tokens), extra], axis=-1)
        y, h = self.gru(x)
        z = self.head(y[-1, ..., ::-1])
        z = mg.where(self.keep.data, z, 2.0)
        tail = mg.stack([h[0], h[1]], axis=1)[:, None, :, 1:-1:2] / self.scale
        picked = y[np.array([3, 0])][:, [1, 0]]
        return {"logits": mg.log_softmax(z), "tail": tail.max(axis=2), "picked": picked.mean()}


MODULES = {
    "Linear": (lambda: nn.Linear(4, 3), drawn(5, 4)),
    "activations": (
        lambda: nn.Sequential(
            nn.Tanh(), nn.GELU(), nn.GELU("tanh"), nn.ReLU(), nn.Linear(4, 4), nn.Sigmoid(),
            nn.ELU(), nn.SiLU(), nn.LeakyReLU(0.2), nn.Softplus(), nn.LogSigmoid(), nn.Mish(),
            nn.SELU(), nn.Softsign(), nn.Softmax(-1),
        ),
        drawn(5, 4),
    ),
    "LSTM": (lambda: nn.LSTM(4, 3, 2, bidirectional=True), drawn(6, 5, 4)),
    "LSTM-projected": (lambda: nn.LSTM(4, 3, proj_size=2, batch_first=True), drawn(5, 6, 4)),
    "GRU": (lambda: nn.GRU(4, 3), drawn(6, 5, 4)),
    "RNN": (lambda: nn.RNN(4, 3, 2, nonlinearity="relu"), drawn(6, 5, 4)),
    "LSTMCell": (lambda: nn.LSTMCell(4, 3), drawn(5, 4)),
    "Conv1d": (lambda: nn.Conv1d(4, 6, 3, 2, 1, 2, groups=2), drawn(2, 4, 9)),
    "Conv2d": (lambda: nn.Conv2d(3, 4, (3, 2), (1, 2), (2, 0)), drawn(2, 3, 8, 7)),
    "Conv2d-around": (
        lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), drawn(2, 3, 5, 5),
    ),
    "ConvTranspose2d": (
        lambda: nn.ConvTranspose2d(3, 2, 3, 2, 1, output_padding=1), drawn(2, 3, 4, 5),
    ),
    "pools": (
        lambda: nn.Sequential(
            nn.MaxPool2d(2, 1), nn.AvgPool2d(3, 2, 1), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        ),
        drawn(2, 3, 8, 8),
    ),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(3), drawn(2, 3, 4, 4)),
    "LayerNorm": (lambda: nn.LayerNorm(4), drawn(5, 4)),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), drawn(2, 4, 5)),
    "Embedding": (lambda: nn.Embedding(9, 3), np.array([[1, 2, 0], [3, 8, 4]])),
    "Bilinear": (lambda: nn.Bilinear(4, 3, 2), drawn(5, 4), drawn(5, 3)),
    "MultiheadAttention": (lambda: nn.MultiheadAttention(4, 2), *[drawn(3, 2, 4)] * 3),
    "TransformerEncoderLayer": (lambda: nn.TransformerEncoderLayer(4, 2, 8), drawn(3, 2, 4)),
    "float64": (lambda: nn.Linear(4, 3, dtype=np.float64), drawn(5, 4).astype(float)),
    "several": (Several, np.array([[1, 2, 0], [3, 8, 4]] * 2), drawn(4, 3, 2)),
}  # fmt: skip


@pytest.mark.oracle
@pytest.mark.parametrize("name", MODULES)
def test_onnxruntime_gives_the_same(name, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    make, *inputs = MODULES[name]
    module, path = make(), tmp_path / "m.onnx"
    to_onnx(module, path, *inputs)
    assert all(m.training for m in module.modules())
    module.eval()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    others = [
        drawn(*x.shape, seed=k).astype(x.dtype) if x.dtype.kind == "f" else x[::-1].copy()
        for k, x in enumerate(inputs, 1)
    ]
    given = [i.name for i in session.get_inputs()]
    found = session.run(None, dict(zip(given, others, strict=True)))
    leaves, structure = tree.flatten(module(*others))
    assert [o.name for o in session.get_outputs()] == [f"output{n}" for n in tree.names(structure)]
    for ours, theirs in zip(leaves, found, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours.data, theirs, rtol=1e-5, atol=2e-6)


def test_names(tmp_path):
    net = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    to_onnx(net, tmp_path / "m.onnx", drawn(5, 4))
    model = onnx.load(tmp_path / "m.onnx")
    assert [i.name for i in model.graph.input] == ["x"]
    assert {i.name for i in model.graph.initializer} == net.state_dict().keys()
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


class Function(nn.Module):
    def __init__(self, function):
        self.function = function
        self.w = mg.tensor([1.0, 2.0], requires_grad=True)

    def forward(self, x):
        return self.function(x, self.w)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, w: mg.where(x > 0, x, w),
        lambda x, w: x + x.data,
        lambda x, w: x * w if x[0, 0].item() > 1 else x + w,
        lambda x, w: x[:, int(x[0].data.argmax())],
    ],
)
def test_what_is_not_recorded_is_noticed(function, tmp_path):
    x = np.array([[3.0, -1.0], [0.5, 0.7], [-4.0, 5.0], [1.5, -3.0]])
    with pytest.raises(ValueError, match="depends on the numbers of its inputs"):
        to_onnx(Function(function), tmp_path / "m.onnx", x)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x, w: mg.linalg.svdvals(x), "no translation of reduced_svd"),
        (lambda x, w: mg.cumsum(x, axis=0), "no translation of cumsum"),
        (lambda x, w: mg.var(x, ddof=1), "no translation of var with {'ddof': 1}"),
    ],
)
def test_what_has_no_translation_is_named(function, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        to_onnx(Function(function), tmp_path / "m.onnx", drawn(3, 2))
    assert not [*tmp_path.iterdir()]


def test_a_wrong_translation_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setitem(mg.interop._SAME, "tanh", "Sin")
    with pytest.raises(ValueError, match=r"output of the model is wrong by up to \d"):
        to_onnx(nn.Tanh(), tmp_path / "m.onnx", 5 * drawn(3, 2))
    assert not [*tmp_path.iterdir()]


def test_inputs_that_show_nothing_are_refused(tmp_path):
    for net, x in (
        (nn.Linear(2, 1), np.zeros((3, 2), np.float32)),
        (nn.Embedding(3, 2), np.zeros(4, int)),
    ):
        with pytest.raises(ValueError, match="input 0 holds nothing but 0"):
            to_onnx(net, tmp_path / "m.onnx", x)
    to_onnx(nn.Embedding(3, 2), tmp_path / "m.onnx", np.array([2]))
    with pytest.raises(TypeError, match=r"to_onnx\(net, path, x\)"):
        to_onnx(np.tanh, tmp_path / "m.onnx", drawn(2))
