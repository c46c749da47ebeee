"""What gradients do not flow through."""

import numpy as np

import minigrad as mg
from minigrad import nn


def test_no_gradient_in_either_mode():
    def f(x):
        return x * mg.stop_gradient(np.sin(x) * x)

    held = np.sin(2.0) * 2
    assert mg.grad(f)(2.0) == held
    assert mg.jvp(f, (2.0,), (1.0,))[1] == held
    assert mg.grad(mg.grad(f))(2.0) == 0
    x = mg.tensor(2.0, requires_grad=True)
    f(x).backward()
    assert x.grad == np.float32(held)


def test_containers_and_modules():
    x = mg.tensor([1.0], requires_grad=True)
    held = mg.stop_gradient({"a": x * 2, "b": [np.ones(2), 3.0], "c": None})
    assert not held["a"].live
    assert held["b"][1] == 3.0
    assert held["c"] is None
    net = nn.Linear(1, 1, rng=0)
    y = mg.stop_gradient(net)(x)
    y.sum().backward()
    assert net.weight.grad is None
    assert x.grad == net.weight.data[0]
    assert net.weight.requires_grad

    def loss(net, x):
        return (mg.stop_gradient(net)(x) * net(x)).sum()

    g = mg.grad(loss)(net, np.ones((1, 1), np.float32))
    np.testing.assert_allclose(g["bias"].data, net(np.ones((1, 1), np.float32)).data[0])
