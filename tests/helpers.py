"""What many tests begin with."""

import difflib
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import minigrad as mg
from minigrad.core.tensor import value_of


def leaf(values, dtype=np.float64, **options):
    """A tensor that requires gradients: a copy of `values`, in float64 unless said otherwise."""
    return mg.tensor(np.array(values, dtype), requires_grad=True, **options)


def close(a, b, rtol=1e-12):
    """Assert that two arrays or tensors hold the same numbers, but for rounding."""
    np.testing.assert_allclose(value_of(a), value_of(b), rtol=rtol, atol=1e-14)


def ramp(*shape, name=None):
    """A leaf of this shape, whose elements go from -1 to 1 in even steps."""
    return leaf(np.linspace(-1, 1, int(np.prod(shape))).reshape(shape), name=name)


def in_threads(*calls):
    """Call all at once, each in its own thread; list what they return, raise what one raises."""
    with ThreadPoolExecutor(len(calls)) as pool:
        running = [pool.submit(call) for call in calls]
    return [call.result() for call in running]


def lstm_loss(steps=77, layers=1, size=3):
    """A readout of the last state of an LSTM: the picture that most is asked of."""
    lstm = mg.nn.LSTM(2, size, layers, rng=0)
    x = np.random.default_rng(0).normal(size=(steps, 4, 2)).astype(np.float32)
    _, (h, _) = lstm(mg.tensor(x, name="x"))
    loss = mg.nn.Linear(size, 1, rng=0)(h[-1]).sum()
    mg.label(loss=loss)
    return loss


def stepped():
    """The states of four steps, each in a scope."""
    w, h, states = mg.tensor(np.ones(3), requires_grad=True, name="w"), np.zeros(3), []
    for t in range(4):
        with mg.scope("step", t):
            h = mg.tanh(h * w)
        states.append(h)
    return states


def assert_current(path, made):
    """Assert that a file is what `make pages` writes; the error shows the lines that differ."""
    kept, new = path.read_text(encoding="utf-8").splitlines(), made.splitlines()
    diff = difflib.unified_diff(kept, new, path.name, "now", n=0, lineterm="")
    assert kept == new, "\n".join([*diff, "If this is meant, `make pages` renews the file."])
