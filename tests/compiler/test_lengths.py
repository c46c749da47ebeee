"""Sequences of several lengths, compiled: the lengths are numbers like others."""

import numpy as np
import pytest

import minigrad as mg
from minigrad.compiler.passes.passes import optimised
from minigrad.compiler.program import Loop
from minigrad.compiler.tracing.record import recorded

LAYERS = {
    "rnn": lambda: mg.nn.RNN(3, 4, dtype=float),
    "gru, batch first": lambda: mg.nn.GRU(3, 4, batch_first=True, dtype=float),
    "lstm": lambda: mg.nn.LSTM(3, 4, num_layers=2, bidirectional=True, dtype=float),
}


def loss_of(net):
    def loss(x, lengths):
        hs, last = net(x, lengths=lengths)
        last = last[0] * last[1] if isinstance(last, tuple) else last
        return (hs**2).sum() + last.sum()

    return loss


@pytest.mark.parametrize("name", LAYERS)
def test_one_program_serves_all_lengths(name):
    net, rng = LAYERS[name](), np.random.default_rng(0)
    loss = loss_of(net)
    fast = mg.compile(loss, backend="numpy")
    for _ in range(4):
        numbers, lengths = rng.normal(size=(5, 5, 3)), rng.integers(1, 6, 5)
        results = []
        for f in (loss, fast):
            x = mg.tensor(numbers, requires_grad=True)
            net.zero_grad()
            y = f(x, lengths)
            y.backward()
            results.append([y.data, x.grad, *[p.grad for p in net.parameters()]])
        for a, b in zip(*results, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)
    with pytest.raises(ValueError, match=r"lengths must lie in 1 \.\. 5.*lengths\[2\] is 9"):
        fast(np.ones((5, 5, 3)), np.array([1, 2, 9, 1, 1]))


def test_what_lies_beyond_the_ends_is_not_looked_at():
    net = LAYERS["rnn"]()
    fast = mg.compile(loss_of(net), backend="numpy")
    x = np.ones((4, 2, 3))
    x[2:, 0] = np.nan
    for _ in range(3):
        net.zero_grad()
        fast(x, np.array([2, 4])).backward()
        assert all(np.isfinite(p.grad).all() for p in net.parameters())


def test_masks_are_rows_in_the_loops():
    net = LAYERS["rnn"]()
    loss = loss_of(net)
    x, lengths = np.ones((9, 2, 3)), np.array([9, 4])
    recording = recorded(lambda *xs: [loss(*xs)], [x, lengths], [True, False], backward=True)
    program = optimised(recording.program)
    rounds = [item.rounds for item in program.items if isinstance(item, Loop)]
    assert rounds == [9, 8]  # the last output has two gradients, which makes one round other
