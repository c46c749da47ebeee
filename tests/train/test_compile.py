"""fit(compile=True): the same training, by programs."""

import numpy as np
import pytest

import minigrad as mg


def trained(compile, epochs=3):
    mg.manual_seed(
        0
    )  # no bias before BatchNorm: its gradient is rounding, of which Adam makes steps
    net = mg.nn.Sequential(
        mg.nn.Linear(3, 8, bias=False), mg.nn.BatchNorm1d(8), mg.nn.Tanh(), mg.nn.Dropout(0.2),
        mg.nn.Linear(8, 1),
    )  # fmt: skip
    x = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    y = x[:, :1] * x[:, 1:2]
    calls = []

    def loss(batch):
        calls.append(None)
        return mg.nn.mse_loss(net(batch[0]), batch[1])

    optimizer = mg.optim.Adam(net.parameters(), lr=0.01)
    loader = mg.data.DataLoader(x, y, batch_size=16, shuffle=True)
    validate = lambda: float(((net(x).data - y) ** 2).mean())
    history = mg.train.fit(
        net, optimizer, loader, loss, validate, epochs=epochs, clip=1.0, compile=compile, out=None
    )
    return history, net.state_dict(), len(calls)


@pytest.mark.parametrize("compile", [True, "numpy"])
def test_a_compiled_training_is_the_same_training(compile):
    history, state, calls = trained(compile)
    expected, states, steps = trained(False)
    for name in ("train", "validation"):
        np.testing.assert_allclose(history[name], expected[name], rtol=1e-4)
    for name, array in state.items():
        np.testing.assert_allclose(array, states[name], rtol=1e-3, atol=1e-5)
    assert calls < steps, "the function itself runs only at first, for each shape of batch"


def test_a_loss_that_cannot_be_compiled_is_refused():
    net = mg.nn.Linear(1, 1)
    optimizer, x = mg.optim.SGD(net.parameters(), lr=0.1), np.ones((4, 1), np.float32)
    with pytest.raises(TypeError, match=r"mg\.compile"):
        mg.train.fit(
            net, optimizer, mg.data.DataLoader(x, batch_size=2),
            lambda batch: net(batch[0]).sum() if float(net(batch[0]).sum()) > 0 else net.bias.sum(),
            epochs=1, compile=True, out=None,
        )  # fmt: skip
