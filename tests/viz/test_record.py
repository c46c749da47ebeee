"""Gradients over training: what is kept of each step, and the page with its slider."""

import json
import re

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim, train, viz

X = np.random.default_rng(0).normal(size=(8, 4, 2)).astype(np.float32)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.out = nn.LSTM(2, 3, rng=0), nn.Linear(3, 1, rng=1)

    def forward(self, x):
        return self.out(self.lstm(x)[0][-1])


def data(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page.text, re.S)[1])["graph"]


def test_what_is_kept_is_what_was_measured_then():
    net = Net()
    seen = viz.record(lambda: (net(X) ** 2).mean())
    expected = []
    for _ in range(4):
        loss = (net(X) ** 2).mean()
        loss.backward()
        graph = mg.Graph(loss)
        k = graph.numbers[net.out.weight]
        expected.append(float(np.sqrt((net.out.weight.grad**2).mean())))
        net.zero_grad()
        assert seen() is None
        net.out.weight.data = net.out.weight.data * 2
    assert len(seen) == 4
    training = data(seen.show())["training"]
    assert (training["name"], training["steps"]) == ("epoch", [0, 1, 2, 3])
    np.testing.assert_allclose([column[k] for column in training["grads"]], expected, rtol=1e-3)
    weights = [column[k] for column in training["values"]]
    np.testing.assert_allclose(np.divide(weights[1:], weights[:-1]), 2, rtol=1e-3)
    constant = next(n.number for n in graph.nodes if n.kind == "constant")
    assert [column[constant] for column in training["grads"]] == [None] * 4
    assert net.out.weight.grad is None
    assert repr(seen) == "<record of 4 epochs of 157 nodes: .show('training.html')>"


def test_fit_calls_it_after_each_epoch():
    net = Net()
    seen = viz.record(lambda: (net(X) ** 2).mean(), "round")
    seen()
    history = train.fit(
        net, optim.SGD(net.parameters(), lr=0.1), lambda: [X, X], lambda x: (net(x) ** 2).mean(),
        epochs=3, callbacks=[seen], out=None,
    )  # fmt: skip
    assert len(history) == 3
    assert seen.steps == [0, 1, 2, 3]
    assert data(seen.show())["training"]["name"] == "round"


def test_what_is_not_finite_is_kept_apart_from_what_is_not_there():
    w = mg.tensor(np.ones(2), requires_grad=True)
    seen = viz.record(lambda: (w * np.ones(2)).sum())
    with np.errstate(all="ignore"):
        seen()
        w.data = np.array([np.inf, 1.0])
        seen()
    training = data(seen.show())["training"]
    assert [column[0] for column in training["values"]] == [1.0, -1]
    assert [column[0] for column in training["grads"]] == [1.0, 1.0]
    assert [column[1] for column in training["grads"]] == [None, None]


def test_checkpoints_are_open_and_stay_so_when_parameters_move():
    w = mg.tensor(np.ones(2), requires_grad=True)
    seen = viz.record(lambda: mg.checkpoint(np.tanh)(w).sum())
    for _ in range(2):
        seen()
        w.data = w.data * 2
    assert "tanh" in [form["op"] for form in data(seen.show())["forms"]]


def test_all_of_training_has_one_scale():
    w = mg.tensor(np.ones(2), requires_grad=True)
    seen = viz.record(lambda: (w * np.ones(2)).sum())
    for _ in range(4):
        seen()
        w.data = w.data * 1e3
    scales = json.loads(re.search(r'id="data">(.*?)</script>', seen.show().text, re.S)[1])
    scale = scales["look"]["scales"]["values"]
    assert scale["low"] <= 0
    assert scale["high"] >= 9


def test_errors_say_what_to_do():
    with pytest.raises(TypeError, match=r"record\(lambda: loss\(net\(x\), y\)\)"):
        viz.record(mg.tensor([1.0]))
    with pytest.raises(TypeError, match="name is what steps are called"):
        viz.record(lambda: 1, name=3)
    w = mg.tensor(np.ones(2), requires_grad=True)
    with pytest.raises(TypeError, match="the history of fit, or nothing"):
        viz.record(lambda: (w * 1).sum())(5)
    with pytest.raises(TypeError, match="depth is the number of scopes"):
        viz.draw((w * 1).sum(), depth="a")
    times = iter([2, 2, 3])
    seen = viz.record(lambda: sum(w * 1 for _ in range(next(times))).sum())
    with pytest.raises(ValueError, match="nothing was measured yet"):
        seen.show()
    seen()
    seen()
    with pytest.raises(ValueError, match="the same examples every time"):
        seen()
    assert len(seen) == 2
    seen.show()
    with pytest.raises(RuntimeError, match="no graph"):
        viz.record(lambda: mg.tensor([1.0]))()
    with pytest.raises(ValueError, match="cotangent"):
        viz.record(lambda: w * 2)()
