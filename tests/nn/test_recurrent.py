"""Recurrent layers against PyTorch's, and sequences of several lengths against each one alone."""

from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.core import tree
from tests.helpers import close, leaf

T, B, I, H = 6, 4, 3, 5
LENGTHS = [[3, 6, 1, 3], [6, 5, 5, 2], [2, 2, 2, 2], [1, 1, 1, 1], [6, 6, 6, 6]]
OPTIONS = [
    {},
    {"bias": False},
    {"num_layers": 2},
    {"bidirectional": True},
    {"num_layers": 3, "bidirectional": True, "bias": False},
    {"num_layers": 2, "bidirectional": True, "batch_first": True},
]
CONFIGURATIONS = [
    *[(kind, options) for kind in ("RNN", "GRU", "LSTM") for options in OPTIONS],
    ("RNN", {"nonlinearity": "relu", "num_layers": 2}),
    ("LSTM", {"proj_size": 2}),
    ("LSTM", {"proj_size": 2, "num_layers": 2, "bidirectional": True}),
]


def _name(value):
    options = value.items() if isinstance(value, dict) else ()
    return "-".join(f"{k}={v}" for k, v in options) or ("plain" if value == {} else str(value))


every_configuration = pytest.mark.parametrize(("kind", "options"), CONFIGURATIONS, ids=_name)


def drawn(module, batch=(B,), seed=0):
    """Return an input and a state, leaves of random numbers."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(B, T, I) if module.batch_first and batch else (T, *batch, I))
    count = module.num_layers * (1 + module.bidirectional)
    return leaf(x), tuple(
        [leaf(rng.normal(size=(count, *batch, n))) for n in module.sizes.values()]
    )


def weighted(outputs):
    """Return a number that depends on every element of a container, in its own way."""
    rng = np.random.default_rng(1)
    return sum([(y * rng.normal(size=y.shape)).sum() for y in tree.flatten(outputs)[0]])


def ran(module, x, state, **options):
    """Return the outputs and last states, and the gradients of the input, states and parameters."""
    module.zero_grad()
    for t in (x, *state):
        t.grad = None
    out = module(x, state if len(state) > 1 else state[0], **options)
    weighted(out).backward()
    own = {name: p.grad for name, p in module.named_parameters()}
    outputs = {k: y.data for k, y in enumerate(tree.flatten(out)[0])}
    return outputs, own | {"x": x.grad} | {k: s.grad for k, s in enumerate(state)}


def same(a, b, rtol=1e-10):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=rtol, atol=1e-12, err_msg=str(name))


# ---- PyTorch -------------------------------------------------------------------------------------


def theirs_of(torch, kind, options, module, x, state, lengths=None):
    """Return what PyTorch's layer, of the same parameters, gives: as `ran` does."""
    rnn = torch.nn.utils.rnn
    other = getattr(torch.nn, kind)(I, H, **options).double()
    other.load_state_dict({k: torch.tensor(v) for k, v in module.state_dict().items()})
    x, *state = [torch.tensor(t.numpy(), requires_grad=True) for t in (x, *state)]
    first, given = options.get("batch_first", False), x
    if lengths is not None:
        given = rnn.pack_padded_sequence(x, torch.tensor(lengths), first, enforce_sorted=False)
    hs, last = other(given, tuple(state) if len(state) > 1 else state[0])
    if lengths is not None:
        hs, _ = rnn.pad_packed_sequence(hs, first, total_length=T)
    out = [hs, *(last if isinstance(last, tuple) else [last])]
    rng = np.random.default_rng(1)
    sum([(y * torch.tensor(rng.normal(size=tuple(y.shape)))).sum() for y in out]).backward()
    own = {name: p.grad.numpy() for name, p in other.named_parameters()}
    states = {k: s.grad.numpy() for k, s in enumerate(state)}
    return {k: y.detach().numpy() for k, y in enumerate(out)}, own | {"x": x.grad} | states


@pytest.mark.oracle
@every_configuration
def test_outputs_states_and_all_gradients_are_pytorchs(kind, options):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    module = getattr(nn, kind)(I, H, **options, rng=0, dtype=float)
    for batch in ((B,), ()):
        x, state = drawn(module, batch)
        ours, theirs = ran(module, x, state), theirs_of(torch, kind, options, module, x, state)
        same(ours[0], theirs[0])
        same(ours[1], theirs[1])


@pytest.mark.oracle
@every_configuration
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_lengths_are_pytorchs_packed_sequences(kind, options, lengths):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    module = getattr(nn, kind)(I, H, **options, rng=0, dtype=float)
    x, state = drawn(module)
    ours = ran(module, x, state, lengths=lengths)
    theirs = theirs_of(torch, kind, options, module, x, state, lengths)
    same(ours[0], theirs[0])
    same(ours[1], theirs[1])


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("RNNCell", {}), ("RNNCell", {"nonlinearity": "relu", "bias": False}), ("GRUCell", {}),
        ("GRUCell", {"bias": False}), ("LSTMCell", {}), ("LSTMCell", {"bias": False}),
    ],
)  # fmt: skip
def test_cells_are_pytorchs(kind, options):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    cell = getattr(nn, kind)(I, H, **options, rng=0, dtype=float)
    other = getattr(torch.nn, kind)(I, H, **options).double()
    other.load_state_dict({k: torch.tensor(v) for k, v in cell.state_dict().items()})
    rng = np.random.default_rng(0)
    for batch in ((B,), ()):
        cell.zero_grad()
        other.zero_grad()
        x, *state = leaves = [leaf(rng.normal(size=(*batch, n))) for n in (I, *cell.sizes.values())]
        xt, *st = theirs = [torch.tensor(t.numpy(), requires_grad=True) for t in leaves]
        out = tree.flatten(cell(x, tuple(state) if len(state) > 1 else state[0]))[0]
        told = other(xt, tuple(st) if len(st) > 1 else st[0])
        told = told if isinstance(told, tuple) else (told,)
        for z, y in zip(out, told, strict=True):
            close(z, y.detach().numpy())
        weights = [rng.normal(size=z.shape) for z in out]
        sum([(z * w).sum() for z, w in zip(out, weights, strict=True)]).backward()
        sum([(y * torch.tensor(w)).sum() for y, w in zip(told, weights, strict=True)]).backward()
        pairs = [*zip(cell.parameters(), other.parameters(), strict=True)]
        for ours, its in [*zip(leaves, theirs, strict=True), *pairs]:
            close(ours.grad, its.grad.numpy(), 1e-10)


@pytest.mark.oracle
@every_configuration
def test_parameters_have_pytorchs_names_shapes_and_order(kind, options):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    module, other = getattr(nn, kind)(I, H, **options), getattr(torch.nn, kind)(I, H, **options)
    theirs = {name: tuple(p.shape) for name, p in other.named_parameters()}
    assert {name: p.shape for name, p in module.named_parameters()} == theirs
    assert [name for name, _ in module.named_parameters()] == list(theirs)
    assert [p.name for p in module.parameters()] == list(theirs)
    module.load_state_dict({k: v.numpy() for k, v in other.state_dict().items()})
    for name, p in module.named_parameters():
        assert abs(p.data).max() <= H**-0.5
        np.testing.assert_array_equal(p.data, other.state_dict()[name].numpy())


# ---- lengths -------------------------------------------------------------------------------------

MORE = [
    ("LSTM", {"peephole": True, "layer_norm": True, "proj_size": 2, "bidirectional": True}),
    ("GRU", {"layer_norm": True, "num_layers": 2, "bidirectional": True, "batch_first": True}),
]


@pytest.mark.parametrize(("kind", "options"), CONFIGURATIONS + MORE, ids=_name)
@pytest.mark.parametrize("lengths", LENGTHS[:3], ids=str)
def test_lengths_are_each_sequence_alone(kind, options, lengths):
    """Outputs, last states and gradients; what stands beyond the ends is not even looked at."""
    module = getattr(nn, kind)(I, H, **options, rng=0, dtype=float)
    x, state = drawn(module)
    time = 1 if module.batch_first else 0
    valid = np.arange(T)[:, None] < lengths
    valid = np.swapaxes(valid, 0, time)
    x.data[~valid] = np.nan
    hs, last = module(x, state if len(state) > 1 else state[0], lengths=np.array(lengths, np.int32))
    assert not hs.data[~valid].any()
    weighted((hs, last)).backward()
    got = {name: p.grad for name, p in module.named_parameters()}
    got |= {"x": x.grad} | {k: s.grad for k, s in enumerate(state)}
    assert not x.grad[~valid].any()

    module.zero_grad()
    alone_x, alone_state = leaf(x.data), [leaf(s.data) for s in state]
    outputs, ends = [], []
    for b, n in enumerate(lengths):
        one = alone_x[b, :n] if time else alone_x[:n, b]
        s = [s[:, b] for s in alone_state]
        y, end = module(one, tuple(s) if len(s) > 1 else s[0])
        outputs.append(mg.concatenate([y, np.zeros((T - n, y.shape[1]))]))
        ends.append(end)
    alone_hs = mg.stack(outputs, axis=1 - time)
    alone_last = tree.map(lambda *parts: mg.stack(parts, axis=1), *ends)
    close(hs, alone_hs)
    for a, b in zip(tree.flatten(last)[0], tree.flatten(alone_last)[0], strict=True):
        close(a, b)
    weighted((alone_hs, alone_last)).backward()
    wanted = {name: p.grad for name, p in module.named_parameters()}
    same(got, wanted | {"x": alone_x.grad} | {k: s.grad for k, s in enumerate(alone_state)})


def test_lengths_of_all_steps_are_no_lengths():
    """Also on the tape."""
    module, x = nn.LSTM(I, H, rng=0), np.ones((T, B, I), np.float32)
    for lengths in (None, [T] * B, mg.tensor(np.full(B, T))):
        hs, _ = module(x, lengths=lengths)
        assert str(hs.inputs[-1].scope) == f"lstm/step[{T - 1}]"
        assert len(mg.Graph(hs).nodes) == len(mg.Graph(module(x)[0]).nodes)


def test_nothing_is_computed_beyond_the_ends():
    sizes = []

    def cell(x, h):
        sizes.append(len(x))
        return h + x

    nn.Recurrent(cell)(np.ones((5, 3)), np.zeros(3), lengths=[2, 4, 1])
    assert sizes == [3, 2, 1, 1]
    sizes.clear()
    nn.Recurrent(cell, reverse=True)(np.ones((5, 3)), np.zeros(3), lengths=[2, 4, 1])
    assert sizes == [1, 1, 2, 3]


# ---- a run ---------------------------------------------------------------------------------------


@pytest.mark.oracle
@pytest.mark.parametrize(("kind", "options"), [("LSTM", {}), ("GRU", {"bidirectional": True})])
def test_the_losses_of_a_hundred_steps_are_pytorchs(kind, options):
    """The next number of sunspots, from the years before: 2 to 6 of them, in batches of 8."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    rnn, size = torch.nn.utils.rnn, 8
    csv = Path(__file__).parents[2] / "examples" / "data" / "sunspots.csv"
    series = np.loadtxt(csv, delimiter=",", skiprows=1)[:, 1] / 100
    layer = getattr(nn, kind)(1, size, **options, rng=0, dtype=float)
    sides = 1 + layer.bidirectional
    readout = nn.Linear(sides * size, 1, rng=1, dtype=float)
    other, last = getattr(torch.nn, kind)(1, size, **options), torch.nn.Linear(sides * size, 1)
    for ours, theirs in ((layer, other), (readout, last)):
        theirs.double().load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})
    optimizer = mg.optim.Adam([*layer.parameters(), *readout.parameters()], lr=0.01)
    its = torch.optim.Adam([*other.parameters(), *last.parameters()], lr=0.01)
    rng, ours, theirs = np.random.default_rng(0), [], []
    for _ in range(100):
        lengths = rng.integers(2, 7, 8)
        starts = rng.integers(0, len(series) - 7, 8)
        pieces = [series[a : a + n, None] for a, n in zip(starts, lengths, strict=True)]
        x, lengths = mg.data.padded(pieces)
        target = series[starts + lengths, None]

        _, state = layer(x, lengths=lengths)
        h = state[0] if kind == "LSTM" else state
        top = mg.concatenate(list(h[-sides:]), axis=-1)
        loss = nn.mse_loss(readout(top), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        ours.append(loss.item())

        packed = rnn.pack_padded_sequence(
            torch.tensor(x), torch.tensor(lengths), enforce_sorted=False
        )
        _, state = other(packed)
        h = state[0] if kind == "LSTM" else state
        loss = ((last(torch.cat(list(h[-sides:]), -1)) - torch.tensor(target)) ** 2).mean()
        its.zero_grad()
        loss.backward()
        its.step()
        theirs.append(loss.item())
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert np.mean(ours[-10:]) < np.mean(ours[:10]) / 3
