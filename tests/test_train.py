"""The training loop."""

import io

import numpy as np
import pytest

import minigrad as mg
from minigrad.train import fit


def _fit(loss, validations, **options):
    net = mg.nn.Linear(1, 1, rng=0)
    supply = iter(validations)
    out = io.StringIO()
    history = fit(
        net,
        mg.optim.SGD(net.parameters(), lr=0.1),
        lambda: [1.0, 2.0],
        lambda batch: loss(net, batch),
        lambda: next(supply),
        epochs=len(validations),
        out=out,
        **options,
    )
    return net, history, out.getvalue()


def _square(net, batch):
    return mg.nn.mse_loss(net(np.full((1, 1), batch, np.float32)), np.ones((1, 1), np.float32))


def test_fit_stops_early_and_keeps_the_best():
    net, history, text = _fit(_square, [3.0, 1.0, 2.0, 2.0, 0.5], patience=2)
    assert history["validation"] == [3.0, 1.0, 2.0, 2.0]
    assert history.best == 1
    best, *_ = _fit(_square, [3.0, 1.0])
    np.testing.assert_array_equal(net.weight.data, best.weight.data)
    assert text.count("\n") == 4
    assert "epoch 2/5" in text
    assert not net.training


def test_fit_raises_on_a_loss_that_is_not_finite_and_restores():
    before = mg.nn.Linear(1, 1, rng=0).weight.numpy()
    with pytest.raises(FloatingPointError, match="nan in epoch 1"):
        _fit(lambda net, batch: _square(net, batch) * np.float32(np.nan), [1.0])

    def interrupted(net, batch):
        interrupted.net = net
        if batch == 2.0:
            raise KeyboardInterrupt
        return _square(net, batch)

    _, history, text = _fit(interrupted, [1.0])
    assert "interrupted" in text
    assert history.epochs == []
    np.testing.assert_array_equal(interrupted.net.weight.data, before)


def test_fit_without_batches():
    net = mg.nn.Linear(1, 1)
    with pytest.raises(ValueError, match="no batches"):
        fit(net, mg.optim.SGD(net.parameters(), lr=1), list, _square, float, epochs=1, out=None)
