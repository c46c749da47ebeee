"""Weights between minigrad and PyTorch, both ways, by name, through safetensors."""

import json
import re
import struct
import sys
import tracemalloc

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.io import load, save

X = np.random.default_rng(0).normal(size=(5, 3, 4)).astype(np.float32)


def _header(**tensors):
    text = json.dumps(tensors).encode()
    return struct.pack("<Q", len(text)) + text


def _tensor(dtype, shape, first, last):
    return {"dtype": dtype, "shape": shape, "data_offsets": [first, last]}


class Net(nn.Module):
    def __init__(self, seed=0):
        self.layers = [nn.Linear(2, 3, rng=seed), nn.Linear(3, 1, bias=False, rng=seed)]
        self.extra = {"größe": mg.tensor(2.0 + seed, requires_grad=True)}
        self.count = mg.tensor(np.array(3 + seed))
        self.flags = mg.tensor(np.array([True, False]))
        self.none = mg.tensor(np.zeros((0, 2), np.float16))


def test_without_the_package(tmp_path, monkeypatch):
    (tmp_path / "w.safetensors").write_bytes(bytes(100))
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    for call in (save, load):
        with pytest.raises(ImportError, match=r"pip install 'minigrad\[interop\]'; .*\.npz"):
            call(Net(), tmp_path / "w.safetensors")
    assert (tmp_path / "w.safetensors").read_bytes() == bytes(100)
    assert len([*tmp_path.iterdir()]) == 1
    save(Net(), tmp_path / "w.npz")
    load(Net(1), tmp_path / "w.npz")


safetensors = pytest.importorskip("safetensors", reason="safetensors is not installed")


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    assert list(a) == list(b)
    for name, value in a.items():
        np.testing.assert_array_equal(value, b[name], err_msg=name)
        assert value.dtype == b[name].dtype


def test_what_is_saved_is_loaded(tmp_path):
    net, other, path = Net(), Net(1), tmp_path / "net.safetensors"
    net.layers[0].weight.data = np.asfortranarray(net.layers[0].weight.data)
    save(net, path)
    load(other, path)
    same(net, other)
    other.layers[0].weight.data += 1  # may be written to
    from safetensors.numpy import load_file

    theirs = load_file(path)
    assert {*theirs} == {k.replace("[", ".").replace("]", "") for k in net.state_dict()}
    np.testing.assert_array_equal(theirs["layers.0.weight"], net.layers[0].weight.data)
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]


def test_lists_have_the_names_of_module_lists(tmp_path):
    """And minigrad's own are read, too; two of one name are refused."""
    from safetensors.numpy import save_file

    net, other, path = Net(), Net(1), tmp_path / "net.safetensors"
    save_file(net.state_dict(), path)
    load(other, path)
    same(net, other)
    both = net.state_dict() | {"layers.0.weight": net.layers[0].weight.data}
    save_file(both, path)
    before = other.state_dict()
    with pytest.raises(ValueError, match=r"layers\[0\]\.weight is in it twice"):
        load(other, path)
    assert all(np.array_equal(v, before[k]) for k, v in other.state_dict().items())
    setattr(net, "layers.0.weight", mg.tensor([1.0]))
    with pytest.raises(ValueError, match="called the same in a file"):
        save(net, path)


@pytest.mark.parametrize("name", ["__metadata__", "\ud800"])
def test_a_name_that_the_format_has_not(name, tmp_path):
    m = nn.Module()
    setattr(m, name, mg.tensor([1.0]))
    with pytest.raises(ValueError, match="cannot hold the name"):
        save(m, tmp_path / "m.safetensors")
    assert not [*tmp_path.iterdir()]


def test_more_names_than_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(mg.io.safetensors, "_HEADER", 300)
    with pytest.raises(ValueError, match=r"the names take \d+ bytes, and at most 300 are read"):
        save(Net(), tmp_path / "m.safetensors")
    assert not [*tmp_path.iterdir()]


def test_a_dtype_that_the_format_has_not(tmp_path):
    m = nn.Module()
    m.w = mg.tensor(np.ones(2, np.longdouble))
    with pytest.raises(ValueError, match=r"w is of .*, which safetensors has not"):
        save(m, tmp_path / "m.safetensors")


HOSTILE = {
    "text": (b"no file of ours, whatever", "a header of .* bytes, or it is no safetensors file"),
    "empty": (b"", "header too small"),
    "header": (struct.pack("<Q", 1 << 62) + b"{}", "a header of"),
    "large header": (struct.pack("<Q", 9_000_000) + b"{}", "invalid header length"),
    "deep": (struct.pack("<Q", 100_000) + b"[" * 100_000, "invalid JSON"),
    "shape": (_header(weight=_tensor("F32", [1 << 62, 1 << 62], 0, 4)) + bytes(4), "overflow"),
    "larger": (_header(weight=_tensor("F32", [1 << 30], 0, 1 << 32)) + bytes(4), "incomplete"),
    "offsets": (_header(weight=_tensor("F32", [1], 4, 8)) + bytes(8), "invalid offset"),
    "overlap": (
        _header(weight=_tensor("F32", [1], 0, 4), bias=_tensor("F32", [1], 0, 4)) + bytes(4),
        "invalid offset",
    ),
    "twice": (
        _header(wxight=_tensor("F32", [0], 0, 0), weight=_tensor("F32", [1, 1], 0, 4))
        .replace(b"wxight", b"weight") + bytes(4),
        "a name twice",
    ),
    "dtype": (_header(weight=_tensor("F8_E5M2", [4], 0, 4)) + bytes(4), "which NumPy has not"),
    "zip": (b"PK\3\4" + bytes(100), "no safetensors file|a header of"),
    "pickle": (b"\x80\2cos\nsystem\n(S'true'\ntR.", "no safetensors file"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files(kind, tmp_path):
    data, message = HOSTILE[kind]
    net, path = nn.Linear(1, 1, rng=0), tmp_path / "w.safetensors"
    path.write_bytes(data)
    before = net.state_dict()
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"w\.safetensors is not a whole safetensors") as error:
            load(net, path)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
    assert str(error.value).count(": ") >= 1
    assert re.search(message, str(error.value)), str(error.value)
    assert all(np.array_equal(v, before[k]) for k, v in net.state_dict().items())


@pytest.mark.parametrize(
    ("old", "new"), [(b"minigrad.crc", b"minigrad.crb"), (b" of mini", b" of mind")]
)
def test_checksums_are_found_where_their_name_is_damaged(old, new, tmp_path):
    net, path = nn.Linear(2, 2, rng=0), tmp_path / "w.safetensors"
    save(net, path)
    data = path.read_bytes()
    assert data.count(old) == 1
    before = net.state_dict()
    path.write_bytes(data.replace(old, new)[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"checksum of '(weight|bias)' is another|Extra data"):
        load(net, path)
    assert all(np.array_equal(v, before[k]) for k, v in net.state_dict().items())


def test_checksums_of_other_names(tmp_path):
    from safetensors.numpy import save_file

    net, path = nn.Linear(2, 2), tmp_path / "w.safetensors"
    save_file(net.state_dict(), path, {"minigrad.crc32": '{"weight": 1} of minigrad'})
    with pytest.raises(ValueError, match="its checksums are of other names"):
        load(net, path)


def test_what_does_not_fit(tmp_path):
    net, path = nn.Linear(2, 1), tmp_path / "w.safetensors"
    save(nn.Linear(3, 1), path)
    with pytest.raises(ValueError, match=r"w\.safetensors does not fit this Linear: weight has sh"):
        load(net, path)


# ---- PyTorch -------------------------------------------------------------------------------------

LAYERS = {
    "Linear": (lambda m: m.Linear(4, 2), X),
    "Conv2d": (lambda m: m.Conv2d(3, 2, (2, 3), padding=1, groups=1), X[None].swapaxes(1, 2)),
    "LSTM": (lambda m: m.LSTM(4, 3, 2, bidirectional=True), X),
    "LSTM-projected": (lambda m: m.LSTM(4, 3, proj_size=2), X),
    "GRU": (lambda m: m.GRU(4, 3, 2, batch_first=True), X),
    "RNN": (lambda m: m.RNN(4, 3, nonlinearity="relu"), X),
    "LSTMCell": (lambda m: m.LSTMCell(4, 3), X[0]),
    "Embedding": (lambda m: m.Embedding(6, 3, padding_idx=1), np.array([[0, 1], [5, 2]])),
    "LayerNorm": (lambda m: m.LayerNorm((3, 4)), X),
    "BatchNorm1d": (lambda m: m.BatchNorm1d(3), X),
    "MultiheadAttention": (lambda m: m.MultiheadAttention(4, 2), (X, X, X)),
    "MultiheadAttention-sizes": (
        lambda m: m.MultiheadAttention(4, 2, kdim=4, vdim=3), (X, X, X[..., :3]),
    ),
    "TransformerEncoderLayer": (lambda m: m.TransformerEncoderLayer(4, 2, 5, 0.0), X),
    "Sequential": (lambda m: m.Sequential(m.Linear(4, 3), m.Tanh(), m.Linear(3, 2)), X),
    "ModuleList": (lambda m: m.ModuleList([m.Linear(4, 3), m.GRU(3, 2)]), None),
    "ModuleDict": (lambda m: m.ModuleDict({"a": m.Linear(4, 3), "b": m.GRUCell(3, 2)}), None),
}  # fmt: skip


def outputs(net, x, made):
    """Return all arrays that a net makes of x."""
    found = net(*(made(part) for part in (x if isinstance(x, tuple) else (x,))))
    flat = []
    while not flat or any(isinstance(y, tuple) for y in flat):
        flat = [z for y in flat or [found] for z in (y if isinstance(y, tuple) else (y,))]
        found = None
    return [np.asarray(y.detach().numpy()) for y in flat]


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning:torch")
@pytest.mark.parametrize("name", LAYERS)
def test_both_ways_with_pytorch(name, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from safetensors.torch import load_file, save_file

    make, x = LAYERS[name]
    theirs, path = make(torch.nn), tmp_path / "net.safetensors"
    rng = np.random.default_rng(1)
    theirs.load_state_dict(
        {
            k: torch.tensor(rng.uniform(0.1, 0.9, t.shape), dtype=t.dtype)
            if t.is_floating_point() else t + 7
            for k, t in theirs.state_dict().items()
        }
    )  # fmt: skip
    ours = make(nn)
    save_file(theirs.state_dict(), path)
    load(ours, path)
    for k, t in theirs.state_dict().items():
        np.testing.assert_array_equal(ours.state_dict()[k], t.numpy(), err_msg=k)
    again = make(torch.nn)
    save(ours, path)
    assert again.load_state_dict(load_file(path)) == ([], [])
    for k, t in theirs.state_dict().items():
        assert torch.equal(again.state_dict()[k], t), k
        assert again.state_dict()[k].dtype == t.dtype
    if x is not None:
        ours.eval(), again.eval()
        pairs = zip(outputs(ours, x, np.asarray), outputs(again, x, torch.tensor), strict=True)
        for a, b in pairs:
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


@pytest.mark.oracle
def test_bfloat16_is_read_as_float32(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from safetensors.torch import save_file

    net, theirs = nn.Linear(4, 3), torch.nn.Linear(4, 3).bfloat16()
    save_file(theirs.state_dict(), tmp_path / "w.safetensors")
    load(net, tmp_path / "w.safetensors")
    for k, t in theirs.state_dict().items():
        np.testing.assert_array_equal(net.state_dict()[k], t.float().numpy())


@pytest.mark.oracle
def test_a_tensor_that_is_held_twice(tmp_path):
    """Is in minigrad's file once; safetensors' `load_model` knows of that, and so do we."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from safetensors.torch import load_model, save_file, save_model

    def tied(m, first, last):
        first.weight = last.weight
        return m.ModuleList([first, last])

    theirs = tied(torch.nn, torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    ours = tied(nn, nn.Linear(3, 3), nn.Linear(3, 3))
    path = tmp_path / "w.safetensors"
    save(ours, path)
    assert load_model(theirs, path) == (set(), [])
    np.testing.assert_array_equal(theirs[0].weight.detach().numpy(), ours[1].weight.data)
    with torch.no_grad():
        theirs[0].weight += 1
    save_model(theirs, path)
    load(ours, path)
    np.testing.assert_array_equal(theirs[0].weight.detach().numpy(), ours[1].weight.data)
    state = {k: t.clone() for k, t in theirs.state_dict().items()}  # both names
    save_file(state, path)
    load(ours, path)
    state["1.weight"] += 1
    save_file(state, path)
    with pytest.raises(ValueError, match="are one tensor in this"):
        load(ours, path)
    del state["0.weight"]  # the other name alone
    save_file(state, path)
    load(ours, path)
    np.testing.assert_array_equal(state["1.weight"].numpy(), ours[0].weight.data)
