"""Recurrent layers in use: cells of one's own, pieces of a series, learned states, bad input."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.core import tree
from tests.helpers import close, leaf

T, B, I, H = 5, 3, 2, 4
KINDS = [nn.RNN, nn.GRU, nn.LSTM]


def series(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape or (T, B, I))


def parts(state):
    return tree.flatten(state)[0]


# ---- a cell of one's own -------------------------------------------------------------------------


class MinimalGated(nn.Module):
    """Zhou et al., 2016: a GRU with one gate."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.forget = nn.Linear(I + H, H, rng=rng, dtype=float)
        self.new = nn.Linear(I + H, H, rng=rng, dtype=float)

    def forward(self, x, h):
        f = mg.sigmoid(self.forget(mg.concatenate([x, h], axis=-1)))
        new = mg.tanh(self.new(mg.concatenate([x, f * h], axis=-1)))
        return (1 - f) * h + f * new


class Counting(nn.Module):
    """A state that is a dict of a dict, and begins by itself; the output is its first part."""

    def initial(self, batch):
        return {"sum": mg.tensor(np.zeros((batch, I))), "inner": {"steps": np.zeros((batch, 1))}}

    def forward(self, x, state):
        steps = state["inner"]["steps"] + 1
        return {"sum": state["sum"] + x * steps, "inner": {"steps": steps}}


@pytest.mark.parametrize("reverse", [False, True])
def test_a_cell_of_ones_own(reverse):
    """Is called step by step, its parameters are trained, and lengths are each sequence alone."""
    cell = MinimalGated()
    layer, x, h0 = nn.Recurrent(cell, reverse=reverse), leaf(series()), leaf(series(B, H))
    assert next(name for name, _ in layer.named_parameters()) == "cell.forget.weight"
    lengths = [2, T, 3]
    hs, last = layer(x, h0, lengths=lengths)
    (hs * hs).sum().backward()
    for b, n in enumerate(lengths):
        h = h0.data[b]
        for t in reversed(range(n)) if reverse else range(n):
            h = cell(x.data[t, b], h).data
            close(hs[t, b], h)
        close(last[b], h)
        assert not hs.data[n:, b].any()
    mg.check_grads(lambda x, h: layer(x, h, lengths=lengths)[0], (x.data, h0.data))
    assert str(hs.inputs[0].inputs[0].scope).startswith("recurrent/step[")


def test_a_state_of_ones_own():
    hs, last = nn.Recurrent(Counting())(np.ones((T, B, I)), lengths=[1, T, 2])
    np.testing.assert_array_equal(last["inner"]["steps"].data[:, 0], [1, T, 2])
    np.testing.assert_array_equal(last["sum"].data[:, 0], [1, 15, 3])
    np.testing.assert_array_equal(hs.data[:, 1, 0], [1, 3, 6, 10, 15])


def test_both_directions_and_layers_are_composed():
    """As a bidirectional LSTM of two layers does."""
    lstm = nn.LSTM(I, H, 2, bidirectional=True, rng=0, dtype=float)
    x, lengths, first = series(), [2, T, 3], tuple(np.zeros((4, B, H)) for _ in range(2))
    y, ends = x, []
    for k in range(2):
        sides = []
        for reverse in (False, True):
            one = nn.Recurrent(lstm.cell(k, reverse), reverse=reverse)
            side, end = one(y, lengths=lengths)
            sides.append(side)
            ends.append(end)
        y = mg.concatenate(sides, axis=-1)
    hs, last = lstm(x, first, lengths=lengths)
    close(y, hs)
    for a, b in zip(zip(*ends, strict=True), last, strict=True):
        close(mg.stack(a), b)


def test_a_cell_may_see_pictures():
    """Whatever axes come after the batch, as in a ConvLSTM."""
    w = leaf(series(2, 3, 3, 3))

    def cell(x, h):
        return mg.tanh(mg.conv2d(mg.concatenate([x, h], axis=1), w, padding=1))

    x, h = series(T, B, 1, 4, 5), series(B, 2, 4, 5)
    hs, last = nn.Recurrent(cell)(x, h, lengths=[T, 2, 2])
    assert hs.shape == (T, B, 2, 4, 5)
    close(last[1], hs[1, 1])
    first, _ = nn.Recurrent(cell, batch_first=True)(x.swapaxes(0, 1), h, lengths=[T, 2, 2])
    close(first.swapaxes(0, 1), hs)


def test_a_cell_may_take_tokens():
    embedding, rows = nn.Embedding(7, H, rng=0), np.array([[1, 2], [3, 4], [5, 6]])
    hs, _ = nn.Recurrent(lambda x, h: mg.tanh(h + embedding(x)))(rows, np.zeros((2, H), np.float32))
    assert hs.shape == (3, 2, H)


# ---- pieces of a series --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_goes_on_where_it_was(kind):
    layer, x = kind(I, H, 2, rng=0, dtype=float), series()
    hs, last = layer(x)
    first, state = layer(x[:2])
    second, state = layer(x[2:], state)
    close(mg.concatenate([first, second]), hs)
    for a, b in zip(parts(state), parts(last), strict=True):
        close(a, b)


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_backpropagation_through_time(kind):
    """The gradient of a piece is that of the piece alone, from the state as a constant."""
    layer, x = kind(I, H, rng=0, dtype=float), series()
    _, state = layer(x[:2], mg.stop_gradient(None))
    hs, _ = layer(x[2:], mg.stop_gradient(state))
    layer.zero_grad()
    hs.sum().backward()
    got = [p.grad for p in layer.parameters()]
    layer.zero_grad()
    constant = tuple(s.data for s in parts(state))
    layer(x[2:], constant if len(constant) > 1 else constant[0])[0].sum().backward()
    for g, p in zip(got, layer.parameters(), strict=True):
        close(g, p.grad)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2}])
def test_the_cell_of_a_layer_goes_on_step_by_step(kind, options):
    layer, x = kind(I, H, **options, rng=0, dtype=float), series()
    cell, state = layer.cell(), None
    for row in x:
        state = cell(row, state)
    _, last = layer(x)
    for a, b in zip(parts(state), parts(last), strict=True):
        close(a, b[0])
    assert cell.weight_ih is layer.weight_ih_l0
    for layer_, reverse in ((-1, False), (layer.num_layers, False), (0, not layer.bidirectional)):
        if (layer_, reverse) != (0, False):
            with pytest.raises(IndexError, match="there is no cell of layer"):
                layer.cell(layer_, reverse)


# ---- the state at the beginning ------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_learned_state(kind):
    """Is one for all sequences, is trained and saved, and gives way to one that is given."""
    layer = kind(I, H, 2, bidirectional=True, learn_state=True, rng=0, dtype=float)
    names = [f"{letter}0" for letter in layer.sizes]
    assert [n for n, _ in layer.named_parameters() if n in ("h0", "c0")] == names
    x, plain = series(), kind(I, H, 2, bidirectional=True, dtype=float)
    plain.load_state_dict({k: v for k, v in layer.state_dict().items() if k not in names})
    np.testing.assert_array_equal(layer(x)[0].data, plain(x)[0].data)
    given = [series(4, 1, H, seed=k) for k, _ in enumerate(names)]
    for name, value in zip(names, given, strict=True):
        getattr(layer, name).data = value
    wide = [leaf(np.repeat(s, B, axis=1)) for s in given]
    hs, _ = layer(x)
    (hs * hs).sum().backward()
    same, _ = plain(x, tuple(wide) if len(wide) > 1 else wide[0])
    (same * same).sum().backward()
    close(hs, same)
    for name, s in zip(names, wide, strict=True):
        close(getattr(layer, name).grad, s.grad.sum(axis=1, keepdims=True))
    alone, _ = layer(x[:, 0])
    close(alone, hs[:, 0])
    zeros = tuple(np.zeros((4, B, H)) for _ in names)
    close(layer(x, zeros if len(zeros) > 1 else zeros[0])[0], plain(x)[0])


# ---- transforms ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer",
    [
        nn.LSTM(1, 2, 2, bidirectional=True, peephole=True, learn_state=True, rng=0, dtype=float),
        nn.GRU(1, 2, layer_norm=True, rng=0, dtype=float),
        nn.Recurrent(nn.LSTMCell(1, 2, proj_size=1, rng=0, dtype=float), reverse=True),
    ],
)
def test_derivatives_of_any_order_in_both_modes(layer):
    x = series(2, 2, 1)
    mg.check_grads(lambda x: layer(x, lengths=[1, 2]), (x,))


def test_a_gradient_by_the_module():
    layer, x = nn.LSTM(I, H, bidirectional=True, learn_state=True, rng=0, dtype=float), series()
    gradient = mg.grad(lambda m: m(x, lengths=[1, 2, 5])[0].sum())(layer)
    layer(x, lengths=[1, 2, 5])[0].sum().backward()
    for name, p in layer.named_parameters():
        close(gradient[name], p.grad)


def test_a_checkpoint_draws_the_same_masks():
    layer = nn.GRU(I, H, 2, dropout=0.5, recurrent_dropout=0.5, rng=0, dtype=float)
    x, stood = leaf(series()), np.random.default_rng(3).bit_generator.state
    grads = []
    for call in (layer, mg.checkpoint(layer)):
        layer.zero_grad()
        layer.rng.bit_generator.state = stood
        call(x)[0].sum().backward()
        grads.append([p.grad for p in layer.parameters()])
    for a, b in zip(*grads, strict=True):
        close(a, b)


# ---- bad input -----------------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self, layer):
        self.reader = layer

    def forward(self, *args, **kwargs):
        return self.reader(*args, **kwargs)


x32 = np.ones((T, B, I), np.float32)


@pytest.mark.parametrize(
    ("lengths", "error", "message"),
    [
        ([1, 2], ValueError, r"lengths must have shape \(3,\).*got \(2,\)"),
        (4, ValueError, r"lengths must have shape \(3,\).*got \(\)"),
        ([[1, 2, 3]], ValueError, r"lengths must have shape \(3,\).*got \(1, 3\)"),
        ([1, 0, 2], ValueError, r"lengths must lie in 1 \.\. 5.*lengths\[1\] is 0"),
        ([1, 2, -1], ValueError, r"lengths must lie in 1 \.\. 5.*lengths\[2\] is -1"),
        ([6, 2, 1], ValueError, r"lengths must lie in 1 \.\. 5.*lengths\[0\] is 6"),
        ([1.0, 2.0, 3.0], TypeError, "lengths must be integers, not float64"),
        ([True, True, True], TypeError, "lengths must be integers, not bool"),
        (["1", "2", "3"], TypeError, "lengths must hold"),
    ],
)
@pytest.mark.parametrize("kind", [nn.LSTM, nn.Recurrent])
def test_wrong_lengths(kind, lengths, error, message):
    layer = nn.Recurrent(nn.LSTMCell(I, H)) if kind is nn.Recurrent else kind(I, H)
    with pytest.raises(error, match=rf"{kind.__name__} in net/reader: {message}"):
        Net(layer)(x32, lengths=lengths)


@pytest.mark.parametrize(
    ("layer", "args", "message"),
    [
        (nn.GRU(I, H), (x32[..., :1],), r"GRU in net/reader: .*\(5, 3, 1\).*length 2.*\(12, 2\)"),
        (nn.GRU(I, H), (1.0,), r"GRU in net/reader: .*\(time, features\), got shape \(\)"),
        (nn.GRU(I, H), (x32[None],), r"got shape \(1, 5, 3, 2\)"),
        (nn.GRU(I, H), (x32[:0, 0],), r"the sequence is empty.*\(0, 2\)"),
        (nn.GRU(I, H), (x32, np.ones((B, H))), r"h0 must have shape \(1, 3, 4\), got \(3, 4\)"),
        (nn.GRU(I, H), (x32, (np.ones((1, B, H)),)), "the state is h alone, got 1 parts"),
        (nn.GRU(I, H), (x32[:, 0], np.ones((1, 1, H))), r"h0 must have shape \(1, 4\), got \(1, 1"),
        (nn.LSTM(I, H), (x32, np.ones((2, 1, B, H))), r"the state is \(h, c\), got an array of sh"),
        (nn.LSTM(I, H), (x32, (np.ones((1, B, H)),)), r"the state is \(h, c\), got 1 parts"),
        (nn.LSTM(I, H), (x32, (np.ones((1, B, H)), None)), r"c0 must have shape .*got \(\)"),
        (
            nn.LSTM(I, H, 2, bidirectional=True, proj_size=3),
            (x32, (np.ones((4, B, H)), np.ones((4, B, H)))),
            r"h0 must have shape \(4, 3, 3\), got \(4, 3, 4\)",
        ),
        (nn.LSTMCell(I, H), (x32[0], (x32[0], x32[0])), r"LSTMCell in net/.*h0 must.*\(3, 2\)"),
        (nn.Recurrent(np.add), (np.ones(3), 0.0), r"\(time, batch, \.\.\.\).*got shape \(3,\)"),
        (nn.Recurrent(np.add), (np.ones((0, 3)), 0.0), "at least one step"),
        (nn.Recurrent(np.add), (x32,), r"give the state to begin with, or.*initial\(batch\)"),
        (nn.Recurrent(nn.GRUCell(1, H)), (x32,), r"GRUCell in net/reader: .*length 1"),
        (
            nn.Recurrent(lambda x, h: (h, h)), (x32, np.ones((B, I))),
            r"like the one it got, \{'': \(3, 2\)\}, not \{'\[0\]': \(3, 2\), '\[1\]': \(3, 2\)\}",
        ),
        (nn.Recurrent(np.add), (x32, np.ones(I)), r"the one it got, \{'': \(2,\)\}, not \{'': \(3"),
    ],
)  # fmt: skip
def test_wrong_input(layer, args, message):
    with pytest.raises(ValueError, match=message):
        Net(layer)(*args)


def test_one_sequence_has_no_lengths():
    with pytest.raises(ValueError, match=r"LSTM: an input without a batch is one seq.*x\[:n\]"):
        nn.LSTM(I, H)(x32[:, 0], lengths=[3])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.LSTM(2, 3, proj_size=3), "LSTM: proj_size must be less than hidden_size, 3, n"),
        (lambda: nn.LSTM(2, 3, proj_size=-1), "LSTM: proj_size must be an integer, at least 0"),
        (lambda: nn.LSTM(2, 3, bias=1), "LSTM: bias must be True or False, not 1"),
        (lambda: nn.LSTM(2, 3, peephole="yes"), "LSTM: peephole must be True or False"),
        (lambda: nn.LSTM(2, 3, forget_bias=np.nan), "LSTM: forget_bias must be in .-100, 100., no"),
        (lambda: nn.LSTM(2, 3, forget_bias=True), "LSTM: forget_bias must be a number"),
        (lambda: nn.LSTMCell(2, 3, forget_bias=1, bias=False), "LSTMCell: forget_bias needs bias="),
        (lambda: nn.GRU(2, 3, layer_norm=0), "GRU: layer_norm must be True or False, not 0"),
        (lambda: nn.GRU(2, 3, 2, dropout=1.0), r"GRU: dropout must be in \[0, 1\), not 1.0"),
        (lambda: nn.GRU(2, 3, recurrent_dropout=-0.1), r"GRU: recurrent_dropout must be in \[0, 1"),
        (lambda: nn.GRU(2, 3, bidirectional=2), "GRU: bidirectional must be True or False, not 2"),
        (lambda: nn.GRU(2, 3, learn_state=None), "GRU: learn_state must be True or False"),
        (
            lambda: nn.RNN(2, 3, nonlinearity="relu6"),
            "RNN: nonlinearity must be 'tanh' or 'relu', ",
        ),
        (lambda: nn.RNNCell(2, 3, nonlinearity=mg.tanh), "RNNCell: nonlinearity must be 'tanh' or"),
        (lambda: nn.Recurrent(nn.LSTMCell), "the cell must be a module or a function.*not the cla"),
        (lambda: nn.Recurrent(3), "Recurrent: the cell must be a module or a function .*not 3"),
        (
            lambda: nn.Recurrent(np.add, reverse=1),
            "Recurrent: reverse must be True or False, not 1",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(make, message):
    with pytest.raises(
        (ValueError, TypeError), match=f"^{message}" if message[0].isupper() else message
    ):
        make()


def test_dropout_that_has_no_place_is_said():
    with pytest.warns(UserWarning, match="LSTM: dropout=0.5 is between layers.*recurrent_dropout"):
        nn.LSTM(2, 3, dropout=0.5)


# ---- on the tape ---------------------------------------------------------------------------------


def folds(outputs):
    """The scopes of the folds of a graph, with the first and the last step of each."""
    text = mg.viz.summary(outputs, width=200, ascii=True).splitlines()
    inside, found = [], []
    for row in text:
        level = row.count("| ")
        name = row.replace("| ", "").strip()
        inside[level:] = [name.split("  ")[0].split(":")[0]]
        if " x" in inside[-1] and " t = " in name:
            span = name.split(" t = ")[1].split("  ")[0]
            found.append(("/".join(inside[:-1]), span))
    return found


def test_scopes_and_folds():
    """A picture shows a step of each layer and direction."""
    x = np.ones((12, B, I), np.float32)
    assert folds(nn.LSTM(I, H)(x)) == [("lstm", "0 .. 11")]
    both = [("lstm/forward", "0 .. 11"), ("lstm/reverse", "11 .. 0")]
    assert folds(nn.LSTM(I, H, bidirectional=True)(x)) == both
    assert folds(nn.RNN(I, H, 2, bidirectional=True)(x)) == [
        (f"rnn/layer[{k}]/{direction}", span)
        for k in range(2)
        for direction, span in (("forward", "0 .. 11"), ("reverse", "11 .. 0"))
    ]
    hs, _ = nn.GRU(I, H, bidirectional=True)(x, lengths=[12, 4, 4])  # where the batch is the same
    assert folds(hs) == [
        ("gru/forward", "0 .. 3"), ("gru/forward", "4 .. 11"),
        ("gru/reverse", "11 .. 4"), ("gru/reverse", "3 .. 0"),
    ]  # fmt: skip
    assert folds(nn.Recurrent(nn.GRUCell(I, H))(x)) == [("recurrent", "0 .. 11")]
    assert folds(nn.Recurrent(nn.LSTM(I, H).cell(), reverse=True)(x)) == [("recurrent", "11 .. 0")]


def test_a_state_comes_from_the_step_that_was_computed_before():
    """In reverse that is the one after it in time."""
    picture = mg.viz.draw(nn.RNN(I, H, bidirectional=True)(np.ones((12, B, I), np.float32))).source
    assert picture.count("h[t−1]") == picture.count("h[t+1]") == 1
    assert "t=0: zeros" in picture
    assert "t=11: zeros" in picture


def test_a_report_names_the_step_and_direction():
    layer, x = nn.LSTM(I, H, bidirectional=True, rng=0, dtype=float), series()
    hs, _ = layer(x)
    scopes = {str(t.scope) for t in hs.inputs[1].inputs}
    assert scopes == {f"lstm/reverse/step[{t}]" for t in range(T)}
    assert [t.name for t in hs.inputs[0].inputs] == ["h"] * T
