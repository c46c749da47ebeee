"""Functions that repeat themselves, as people write them: loops for the compiler to find."""

import numpy as np

import minigrad as mg
from minigrad import nn


def _draws(rng, *shapes):
    return [rng.normal(scale=0.5, size=s) for s in shapes]


def layer(make):
    """A recurrent layer of the library, and the sum of the squares of what it gives."""

    def made(steps, rng, batch=2, inputs=3, hidden=4):
        net = make(inputs, hidden)
        (x,) = _draws(rng, (steps, batch, inputs))
        weights = _draws(rng, *[p.shape for p in net.parameters()])
        names = [name for name, _ in net.named_parameters()]

        def f(x, *values):
            hs, _ = mg.nn.functional_call(net, dict(zip(names, values, strict=True)), x)
            return (hs * hs).sum()

        return f, [x, *weights]

    return made


def loop(step):
    """A user's own loop over the steps of x, with one matrix for the inputs and one for h."""

    def made(steps, rng, batch=2, inputs=3, hidden=4):
        x, W, U, b, p = _draws(
            rng, (steps, batch, inputs), (inputs, 4 * hidden), (hidden, 4 * hidden), 4 * hidden,
            (3, hidden),
        )  # fmt: skip

        def f(x, W, U, b, p):
            h = c = np.zeros((batch, hidden))
            hs = []
            for t in range(steps):
                h, c = step(x[t] @ W + h @ U + b, h, c, p, hidden)
                hs.append(h)
            return (mg.stack(hs) ** 2).sum()

        return f, [x, W, U, b, p]

    return made


def _lstm(z, h, c, p, n):
    i, f, o = [mg.sigmoid(z[:, k * n : (k + 1) * n]) for k in (0, 1, 3)]
    c = f * c + i * mg.tanh(z[:, 2 * n : 3 * n])
    return o * mg.tanh(c), c


def _peephole(z, h, c, p, n):
    i, f = [mg.sigmoid(z[:, k * n : (k + 1) * n] + p[k] * c) for k in (0, 1)]
    c = f * c + i * mg.tanh(z[:, 2 * n : 3 * n])
    return mg.sigmoid(z[:, 3 * n :] + p[2] * c) * mg.tanh(c), c


def _leaky(z, h, c, p, n):
    new = mg.maximum(z[:, :n], 0.1 * z[:, :n])
    return 0.9 * h + 0.1 * new, c


def chain(steps, rng, size=3):
    """y = tanh(y * a + b), again and again."""

    def f(y, a, b):
        for _ in range(4 * steps):
            y = mg.tanh(y * a + b)
        return y.sum()

    return f, _draws(rng, size, size, size)


def both_ways(steps, rng):
    """One loop forward and one backward in time, whose states are joined."""

    def f(x, U, V):
        h = g = np.zeros((2, 3))
        hs, gs = [], []
        for t in range(steps):
            h = mg.tanh(x[t] + h @ U)
            hs.append(h)
        for t in reversed(range(steps)):
            g = mg.tanh(x[t] + g @ V)
            gs.append(g)
        joined = mg.concatenate([mg.stack(hs), mg.stack(gs[::-1])], axis=-1)
        return (joined**2).sum()

    return f, _draws(rng, (steps, 2, 3), (3, 3), (3, 3))


def last_only(steps, rng):
    """Only the last state counts, and a loss at every step besides."""

    def f(x, U, v):
        h, loss = np.zeros((2, 3)), 0.0
        for t in range(steps):
            h = mg.tanh(x[t] + h @ U)
            loss = loss + 0.1 * ((h @ v) ** 2).sum()
        return loss + h.sum()

    return f, _draws(rng, (steps, 2, 3), (3, 3), 3)


def steps_of_time(steps, rng):
    """Euler's method, with the lengths of the steps in an array: one number in every round."""

    def f(y, t, W):
        for k in range(steps):
            t0, t1 = t[k], t[k + 1]
            y = y + (t1 - t0) * mg.tanh((y**3) @ W) * (1 + (t1 - t0) * y)
        return (y**2).sum()

    return f, [*_draws(rng, (2, 3)), np.cumsum(rng.random(steps + 1)), *_draws(rng, (3, 3))]


NETS = {
    "rnn": layer(nn.RNN),
    "gru": layer(nn.GRU),
    "lstm": layer(nn.LSTM),
    "two layers": layer(lambda i, h: nn.LSTM(i, h, num_layers=2)),
    "two directions": layer(lambda i, h: nn.GRU(i, h, bidirectional=True)),
    "own lstm": loop(_lstm),
    "peephole": loop(_peephole),
    "leaky": loop(_leaky),
    "chain": chain,
    "both ways": both_ways,
    "last only": last_only,
    "steps of time": steps_of_time,
}
"""By name: from a number of steps and a generator to a function and its arrays."""
