"""Modules, recurrent layers against the analytic BPTT, losses."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import bptt, nn
from minigrad.testing import check_grads

WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
LAYERS = {
    "rnn": (nn.RNN, nn.RNNCell, bptt.rnn_forward, bptt.rnn_backward),
    "gru": (nn.GRU, nn.GRUCell, bptt.gru_forward, bptt.gru_backward),
    "lstm": (nn.LSTM, nn.LSTMCell, bptt.lstm_forward, bptt.lstm_backward),
}


def _close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("size", [(1, 1, 1, 1), (6, 2, 3, 4)])
def test_gradients_agree_with_analytic_bptt(kind, layers, size):
    layer, _, forward, backward = LAYERS[kind]
    (t, b, i, h), rng = size, np.random.default_rng(0)
    module = layer(i, h, layers, rng=rng, dtype=np.float64)
    states = ["h0", "c0"][: len(module.sizes)]
    x = mg.tensor(rng.normal(size=(t, b, i)), requires_grad=True)
    first = [mg.tensor(rng.normal(size=(layers, b, h)), requires_grad=True) for _ in states]
    hs, last = module(x, tuple(first) if len(first) > 1 else first[0])
    finals = last if isinstance(last, tuple) else (last,)
    seeds = [rng.normal(size=z.shape) for z in (hs, *finals)]
    sum((z * s).sum() for z, s in zip((hs, *finals), seeds, strict=True)).backward()

    # by hand: all layers forward, then back from the last
    state, inputs, caches = module.state_dict(), x.numpy(), []
    for k in range(layers):
        weights = [state[f"{name}_l{k}"] for name in WEIGHTS]
        inputs, *_, cache = forward(inputs, *weights, *[s.numpy()[k] for s in first])
        caches.append(cache)
    _close(hs.data, inputs)
    dhs, by_hand = seeds[0], {}
    for k in reversed(range(layers)):
        ends = dict(zip(["dh_n", "dc_n"], [s[k] for s in seeds[1:]], strict=False))
        g = backward(dhs, caches[k], **ends)
        by_hand |= {f"{name}_l{k}": g[name] for name in WEIGHTS}
        for name, s in zip(states, first, strict=True):
            _close(s.grad[k], g[name])
        dhs = g["x"]
    _close(x.grad, dhs)
    for name, p in module.named_parameters():
        _close(p.grad, by_hand[name])


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_is_its_cell_repeated(kind):
    layer, cell, *_ = LAYERS[kind]
    rng = np.random.default_rng(1)
    module, one = layer(3, 4, rng=rng, dtype=np.float64), cell(3, 4, dtype=np.float64)
    one.load_state_dict({k.removesuffix("_l0"): v for k, v in module.state_dict().items()})
    x, state = rng.normal(size=(5, 2, 3)), None
    for row in x:
        state = one(row, state)
    hs, _ = module(x)
    _close(hs[-1].data, (state[0] if isinstance(state, tuple) else state).data)
    unbatched = one(x[0, 0])
    assert (unbatched[0] if isinstance(unbatched, tuple) else unbatched).shape == (4,)


@pytest.mark.parametrize("kind", LAYERS)
def test_second_derivatives_of_cells(kind):
    cell = LAYERS[kind][1](2, 3, rng=0, dtype=np.float64)
    state = (np.full((1, 3), 0.3),) * len(cell.sizes)
    check_grads(
        lambda x, *s: cell(x, s if len(s) > 1 else s[0]),
        (np.array([[0.5, -0.2]]), *state),
    )


@pytest.mark.oracle
@pytest.mark.parametrize("kind", LAYERS)
def test_weights_move_to_pytorch_and_give_the_same(kind):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    layer, theirs = LAYERS[kind][0], getattr(torch.nn, kind.upper())
    x = np.random.default_rng(0).normal(size=(7, 4, 3))
    ours = layer(3, 5, 2, rng=0, dtype=np.float64)
    other = theirs(3, 5, 2).double()
    other.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})
    hs, _ = ours(x)
    hs.sum().backward()
    hs2, _ = other(torch.tensor(x))
    hs2.sum().backward()
    _close(hs.data, hs2.detach().numpy())
    theirs_by_name = dict(other.named_parameters())
    for name, p in ours.named_parameters():
        _close(p.grad, theirs_by_name[name].grad.numpy())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m(np.ones(5)), r"\(time, batch, features\), or .*got shape \(5,\)"),
        (lambda m: m(np.ones((0, 2, 3))), "sequence is empty"),
        (lambda m: m(np.ones((5, 2, 7))), r"\(5, 2, 7\).*length 3.*weight_ih_l0.*\(16, 3\)"),
        (lambda m: m(np.ones((5, 2, 3)), (np.ones((1, 2, 4)),)), "state is .h, c., got 1"),
        (
            lambda m: m(np.ones((5, 2, 3)), (np.ones((1, 2, 4)), np.ones((1, 9, 4)))),
            r"c0 must have shape \(1, 2, 4\), got \(1, 9, 4\)",
        ),
    ],
)
def test_wrong_inputs_of_an_lstm(call, message):
    with pytest.raises(ValueError, match=message):
        call(nn.LSTM(3, 4))


def test_wrong_inputs_of_other_modules():
    with pytest.raises(ValueError, match=r"Linear.*\(2, 5\).*length 3.*weight has shape \(4, 3\)"):
        nn.Linear(3, 4)(np.ones((2, 5)))
    with pytest.raises(NotImplementedError, match="no forward"):
        nn.Module()(1)


class Net(nn.Module):
    def __init__(self):
        self.layers = [nn.Linear(2, 3, rng=0), nn.Linear(3, 1, bias=False, rng=1)]
        self.shared = self.layers[0]
        self.extra = {"scale": mg.tensor(2.0, requires_grad=True)}
        self.mean = mg.tensor([0.0, 0.0])
        self.last = None

    def forward(self, x):
        self.last = mg.tanh(self.layers[0](x - self.mean)) * self.extra["scale"]
        return self.layers[1](self.last)


def test_parameters_and_state_by_name():
    net = Net()
    names = ["layers[0].weight", "layers[0].bias", "layers[1].weight", "extra.scale"]
    assert sorted(n for n, _ in net.named_parameters()) == sorted(names)
    assert sorted(net.state_dict()) == sorted([*names, "mean"])
    net(np.ones((1, 2), np.float32))  # an activation held as an attribute is no part of the state
    assert sorted(net.state_dict()) == sorted([*names, "mean"])
    net.layers[0].weight.requires_grad = False
    assert sorted(n for n, _ in net.named_parameters()) == sorted(names)  # frozen is no buffer
    assert [n for n, _ in net.named_buffers()] == ["mean"]
    assert "layers[0].weight" in net.state_dict()
    assert "layers[1]: Linear(" in repr(net)


def test_calls_are_scopes():
    y = Net()(np.ones((1, 2), np.float32))
    assert str(y.scope) == "net/layers[1]"
    hs, _ = nn.LSTM(2, 3)(np.ones((4, 1, 2), np.float32))
    assert str(hs.inputs[3].scope) == "lstm/step[3]"
    assert [t.name for t in hs.inputs] == ["h"] * 4


def test_a_state_fits_whole_or_not_at_all():
    net, before = Net(), Net().state_dict()
    bad = {"layers[0].weight": np.ones((3, 2)), "mean": np.ones(5), "other": np.ones(1)}
    with pytest.raises(ValueError, match=r"missing layers\[0\]\.bias.*unexpected other.*mean has"):
        net.load_state_dict(bad)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_training_and_evaluation_modes():
    net = Net()
    assert not net.eval().layers[0].training
    assert net.train().layers[1].training
