"""The state of a module: what belongs to it, and what can be put into it."""

import copy
import pickle

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn


class Attention(nn.Module):
    """Keeps what it computes, to be looked at, in all the ways that people do."""

    def __init__(self):
        self.lin = nn.Linear(2, 3, rng=0)
        self.mask = mg.tensor([1.0, 1.0, 0.0])
        self.maps, self.by_name = [], {}

    def forward(self, x):
        self.weights = mg.softmax(self.lin(x)) * self.mask
        self.last = self.weights.detach()
        self.maps.append(self.last)
        self.by_name["first"] = self.weights[0]
        return self.weights[:, 0].mean()


X = np.ones((4, 2), np.float32)


@pytest.mark.parametrize("recording", [True, False])
def test_what_was_computed_is_no_state(recording):
    m, names = Attention(), {"lin.weight", "lin.bias", "mask"}
    for _ in range(2):
        if recording:
            m(X)
        else:
            with mg.no_grad():
                m(X)
    assert set(m.state_dict()) == names
    assert {name for name, _ in m.named_parameters()} == names - {"mask"}
    assert "weights" not in repr(m)
    Attention().load_state_dict(m.state_dict())
    m.load_state_dict(Attention().state_dict())


def test_what_was_given_is_state_however_it_came_there():
    m = nn.Module()
    scaled = mg.tensor([1.0, 2.0]) * 2
    scaled.requires_grad = True
    m.scaled, m.buffer, m.frozen = scaled, mg.tensor(1.0), mg.tensor([3.0], requires_grad=True)
    m.frozen.requires_grad = False
    m.start, m.copied = m.frozen.detach(), mg.tensor(scaled)
    names = {"scaled", "buffer", "frozen", "start", "copied"}
    for same in (m, copy.deepcopy(m), pickle.loads(pickle.dumps(m))):
        assert set(same.state_dict()) == names
        assert [name for name, _ in same.named_parameters()] == ["scaled", "frozen"]
        assert [name for name, _ in same.named_buffers()] == ["buffer", "start", "copied"]
        assert mg.grad(lambda m: (m.scaled * m.frozen).sum())(same).keys() == {"scaled"}


class Statistics(nn.Module):
    """Keeps a mean in the way that looks right, and leaves the state by it."""

    def __init__(self):
        self.mean = mg.tensor(0.0)

    def forward(self, x, make):
        self.mean = make(0.9 * self.mean + 0.1 * x.mean())


@pytest.mark.parametrize("make", [lambda t: t, lambda t: t.detach(), lambda t: t.data, float])
def test_a_buffer_that_leaves_the_state_is_noticed(make):
    m = Statistics()
    with pytest.warns(
        mg.GraphWarning, match=r"Statistics\.mean is a buffer.*write mean\.data = "
    ) as seen:
        m(X, make)
    assert seen[0].filename == __file__
    assert not m.state_dict()
    m = Statistics()
    m(X, mg.tensor)
    m.mean.data = m.mean.data + 1
    del m.mean
    m.mean = None
    m.mean = mg.tensor(1.0)
    m.mean = mg.tensor(2.0, requires_grad=True)
    assert m.state_dict() == {"mean": 2}


def test_two_tensors_of_one_name_are_refused():
    """By whoever asks for names: a dict of them would lose one without a word."""
    m = nn.Module()
    m.d = {"a.b": mg.tensor([1.0], requires_grad=True), "a": {"b": mg.tensor([2.0])}}
    for ask in (m.state_dict, m.parameters, lambda: m.load_state_dict({})):
        with pytest.raises(ValueError, match=r"two tensors have the name 'd\.a\.b'"):
            ask()
    m.d = {"a.b": m.d["a.b"], "a": {"b": m.d["a.b"]}}  # one tensor, twice
    assert m.state_dict().keys() == {"d.a.b"}


class Mixed(nn.Module):
    def __init__(self):
        self.w = mg.tensor(np.ones(2, np.float32), requires_grad=True)
        self.half = mg.tensor(np.ones(2, np.float16))
        self.count = mg.tensor(np.array([1, 2]))
        self.small = mg.tensor(np.array([1, 2], np.uint8))
        self.flags = mg.tensor(np.array([True, False]))


ONES = np.ones(2)
MISFITS = {
    "complex": ({"w": ONES + 2j}, "w must hold real numbers, not complex128"),
    "structured": ({"w": np.zeros(2, [("a", "f4")])}, "w must hold real numbers"),
    "text": ({"w": np.array(["1.5", "2.5"])}, "w must hold real numbers, not <U3"),
    "objects": ({"w": np.array([1.0, None])}, "w must hold real numbers, not object"),
    "dates": ({"w": np.zeros(2, "M8[s]")}, "w must hold real numbers, not datetime64"),
    "masked": ({"w": np.ma.masked_array(ONES, [0, 1])}, r"w is no array.*m\.filled"),
    "ragged": ({"w": [[1.0], [1.0, 2.0]]}, "w is no array of numbers"),
    "large": ({"w": [1.0, 1e300]}, r"w holds 1e\+300, which float32 cannot hold"),
    "too large for half": ({"half": [1.0, 70_000]}, "half holds 70000.0, which float16"),
    "a large integer": ({"half": np.array([1, 70_000])}, "half holds 70000, which float16"),
    "Python's integers": ({"w": [1, 10**40]}, "w must hold real numbers, not object"),
    "fractions": ({"count": [1.0, 2.5]}, "count holds 2.5, which int64 cannot hold"),
    "nan among integers": ({"count": [1.0, np.nan]}, "count holds nan, which int64"),
    "unsigned": (
        {"count": np.array([1, 2**64 - 1], np.uint64)},
        "count holds 18446744073709551615",
    ),
    "wrapped": ({"small": [1, 256]}, "small holds 256, which uint8"),
    "negative": ({"small": [1, -1]}, "small holds -1, which uint8"),
    "no flags": ({"flags": [1, 2]}, "flags holds 2, which bool"),
    "shape": ({"w": np.ones((1, 2))}, r"w has shape \(1, 2\), expected \(2,\)"),
    "a number": ({"w": 1.0}, r"w has shape \(\), expected \(2,\)"),
    "unexpected": ({"v": ONES, 3: ONES}, "unexpected v; unexpected 3"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_nothing_changes_unless_all_fits(name):
    bad, message = MISFITS[name]
    m = Mixed()
    before = m.state_dict()
    good = {k: v + 1 if v.dtype != bool else ~v for k, v in before.items()}
    with pytest.raises(ValueError, match=rf"does not fit this Mixed: .*{message}"):
        m.load_state_dict(good | bad)
    for k, v in m.state_dict().items():
        np.testing.assert_array_equal(v, before[k])


def test_all_misfits_are_said_at_once():
    state = Mixed().state_dict() | {k: v for bad, _ in MISFITS.values() for k, v in bad.items()}
    del state["half"]
    with pytest.raises(ValueError, match="missing half") as error:
        Mixed().load_state_dict(state)
    for part in ("unexpected v", "unexpected 3", "w has", "count holds", "small", "flags"):
        assert part in str(error.value)


def test_what_fits_is_copied_in_the_dtypes_of_the_module():
    m, w = Mixed(), np.array([0.1, np.inf])
    state = {"w": w, "half": [0, 65504], "count": [3.0, 4.0], "small": mg.tensor([5.0, 255.0])}
    m.load_state_dict(state | {"flags": np.array([0, 1])})
    before = {name: t.dtype for name, t in Mixed()._named_tensors()}
    assert {name: t.dtype for name, t in m._named_tensors()} == before
    w[0] = 7
    np.testing.assert_array_equal(m.w.data, np.float32([0.1, np.inf]))
    assert [m.count.tolist(), m.small.tolist(), m.flags.tolist()] == [[3, 4], [5, 255], [0, 1]]


@pytest.mark.oracle
def test_states_come_from_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    theirs, ours = torch.nn.Linear(2, 3), nn.Linear(2, 3)
    ours.load_state_dict({k: v.detach() for k, v in theirs.state_dict().items()})
    np.testing.assert_array_equal(ours.weight.data, theirs.weight.detach().numpy())


def test_a_path_or_a_module_in_the_place_of_a_state():
    m = nn.Linear(1, 1)
    for given in ("x.npz", nn.Linear(1, 1), None, [("weight", ONES)]):
        with pytest.raises(TypeError, match=r"minigrad\.io\.load\(net, path\).*state_dict\(\)"):
            m.load_state_dict(given)


def test_what_is_loaded_lies_in_memory_as_before():
    """A product with a matrix by columns has other last bits than with one by rows."""
    x = np.random.default_rng(0).normal(size=(5, 37)).astype(np.float32)
    first, second = nn.Linear(37, 53, rng=1), nn.Linear(37, 53, rng=2)
    for net in (first, second):
        net.weight.data = np.asfortranarray(net.weight.data)
    optimizers = [mg.optim.Adam(net.parameters()) for net in (first, second)]
    for net, optimizer in zip((first, second), optimizers, strict=True):
        net(x).sum().backward()
        optimizer.step()
    state = {name: np.ascontiguousarray(a) for name, a in first.state_dict().items()}
    second.load_state_dict(state)
    optimizers[1].load_state_dict(optimizers[0].state_dict())
    assert second.weight.data.flags.f_contiguous
    assert optimizers[1].memory[0]["exp_avg"].flags.f_contiguous
    np.testing.assert_array_equal(first(x).data, second(x).data)
