"""The tour, in a second: if this fails, look here first."""

import numpy as np

import minigrad as mg


def test_a_scalar():
    x = mg.tensor(3.0, requires_grad=True)
    (x * x + 2.0 * x).backward()
    assert x.grad == 8.0


def test_an_array_broadcasts_and_reuses():
    a = mg.tensor([[1.0], [2.0]], requires_grad=True)
    b = mg.tensor([10.0, 20.0, 30.0], requires_grad=True)
    (a * b + a).sum().backward()
    np.testing.assert_array_equal(a.grad, [[63.0], [63.0]])
    np.testing.assert_array_equal(b.grad, [3.0, 3.0, 3.0])


def test_numpy_is_the_interface():
    x = np.array([0.5, 1.0])
    y, tangent = mg.jvp(lambda x: np.float64(2) * np.tanh(x), (x,), (np.ones(2),))
    np.testing.assert_allclose(y, 2 * np.tanh(x))
    np.testing.assert_allclose(tangent, 2 / np.cosh(x) ** 2)


def test_second_order():
    def f(x):
        return (x**3).sum()

    np.testing.assert_allclose(mg.hessian(f)(np.array([1.0, 2.0])), [[6, 0], [0, 12]])


def test_a_network_learns():
    x, rng = np.linspace(-1, 1, 32, dtype=np.float32)[:, None], np.random.default_rng(0)
    net = mg.nn.Sequential(mg.nn.Linear(1, 16, rng=rng), mg.tanh, mg.nn.Linear(16, 1, rng=rng))
    optimizer = mg.optim.Adam(net.parameters(), lr=0.03)
    for _ in range(200):
        optimizer.zero_grad()
        loss = mg.nn.mse_loss(net(x), x**2)
        loss.backward()
        optimizer.step()
    assert loss.item() < 2e-3


def test_an_lstm_agrees_with_bptt():
    rng = np.random.default_rng(0)
    lstm, x = mg.nn.LSTM(3, 4, rng=0, dtype=np.float64), rng.normal(size=(6, 2, 3))
    weights = rng.normal(size=(6, 2, 4))
    (lstm(x)[0] * weights).sum().backward()

    state = lstm.state_dict()
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    _, _, cache = mg.bptt.lstm_forward(x, *[state[f"{name}_l0"] for name in names])
    by_hand = mg.bptt.lstm_backward(weights, cache)
    for name, p in lstm.named_parameters():
        np.testing.assert_allclose(
            p.grad, by_hand[name.removesuffix("_l0")], rtol=1e-12, atol=1e-13
        )
