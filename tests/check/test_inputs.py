"""Objects and dicts that were used before: what an earlier run has left in them is no input."""

import numpy as np
import pytest

from minigrad import compare_backward

RNG = np.random.default_rng(6)
X, W, B = RNG.normal(size=(5, 3)), RNG.normal(size=(3, 4)), RNG.normal(size=4)


class Net:
    """A layer with its parameters, its statistics, and all that it keeps."""

    factor = 1.0

    def __init__(self):
        self.W, self.b, self.mean = W.copy(), B.copy(), np.zeros(3)

    def forward(self, x):
        self.x = x
        self.mean = 0.9 * self.mean + 0.1 * x.mean(axis=0)
        self.h = np.tanh((x - self.mean) @ self.W + self.b)
        return self.h

    def backward(self, dout):
        d = self.factor * dout * (1 - self.h**2)
        self.dW, self.db = (self.x - self.mean).T @ d, d.sum(axis=0)
        self.dh = dout
        return self


class InPlace(Net):
    def forward(self, x):
        self.x = x
        self.mean *= 0.9
        self.mean += 0.1 * x.mean(axis=0)
        self.h = np.tanh((x - self.mean) @ self.W + self.b)
        return self.h


def used(cls, x, factor=1.0):
    net = cls()
    net.forward(x)
    net.backward(np.ones((5, 4)))
    if factor != 1.0:
        net.factor = factor
    return net


def forward(net):
    return np.sum(net.forward(X))


GIVES = {
    "itself": lambda net: net.backward(np.ones((5, 4))),
    "a dict": lambda net: {
        name: getattr(net.backward(np.ones((5, 4))), name) for name in ("dW", "db", "dh")
    },
}


@pytest.mark.parametrize("cls", [Net, InPlace])
@pytest.mark.parametrize("gives", GIVES)
@pytest.mark.parametrize("x", [X, X[::-1] + 1])
def test_an_object_after_use(cls, gives, x):
    report = compare_backward(forward, GIVES[gives], used(cls, x))
    assert report.ok, report
    assert {"W", "b"} <= {row.name for row in report.rows}
    assert not {"x", "h", "dW", "db", "dh"} & {*report.not_compared}
    report = compare_backward(forward, GIVES[gives], used(cls, x, factor=1.01))
    assert {row.name for row in report.rows if not row.ok} >= {"W", "b"}


def test_objects_in_an_object_after_use():
    class Two:
        def __init__(self):
            self.scale, self.layers = np.array([2.0]), [used(Net, X), used(Net, X + 1)]

    def backward(two):
        for net in two.layers:
            net.backward(two.scale * np.ones((5, 4)))
        return {"layers": [{"dW": net.dW, "db": net.db} for net in two.layers]}

    two = Two()
    report = compare_backward(
        lambda two: np.sum(two.scale * sum(net.forward(X) for net in two.layers)), backward, two
    )
    assert report.ok, report
    assert {row.name for row in report.rows} == {
        "layers[0].W", "layers[0].b", "layers[1].W", "layers[1].b",
    }  # fmt: skip
    assert report.not_compared == ("scale", "layers[0].mean", "layers[1].mean")


@pytest.mark.parametrize("cls", [Net, InPlace])
@pytest.mark.parametrize("times", [0, 1])
def test_a_list_of_objects_that_change_in_place(cls, times):
    def run(p):
        p["kept"] = x = p["x"]
        x -= 1.0
        for net in p["nets"]:
            x = net.forward(x) @ W.T
        return np.sum(x)

    def backward(p):
        assert "kept" in p
        found, d = [], np.ones((5, 3))
        for net in reversed(p["nets"]):
            net.backward(d @ W)
            found.insert(0, {"W": net.dW, "b": net.db})
            d = (d @ W * (1 - net.h**2)) @ net.W.T
            d = d - 0.1 * d.mean(axis=0)
        return {"nets": found, "x": d}

    p = {"x": X, "nets": [cls(), cls()]}
    for _ in range(times):
        run(p | {"x": X + 1})
        backward(p | {"kept": X})
    report = compare_backward(run, backward, p)
    assert report.ok, report
    assert len(report.rows) == 5


def test_a_dict_after_use():
    def run(p):
        p["h"] = np.tanh(p["x"] @ p["W"])
        return np.sum(p["h"])

    def backward(p):
        d = 1 - np.tanh(p["x"] @ p["W"]) ** 2
        return {"dW": p["x"].T @ d, "dh": np.ones((5, 4))}

    p = {"x": X, "W": W, "dW": 2 * W, "h": X @ W}
    report = compare_backward(run, backward, p)
    assert {row.name: row.verdict for row in report.rows} == {"W": "ok"}
    assert (report.not_compared, report.not_known) == (("x",), ("dh",))


def test_what_forward_reads_is_an_input_whatever_its_name():
    def run(p):
        p["y"] = p["W"] + p["y"]  # overwritten, but after it was read
        return np.sum(p["y"] * p["dW"])

    def backward(p):
        return {"W": p["dW"], "y": p["dW"], "dW": W + X.T @ X @ W}

    p = {"W": W, "dW": W + 1, "y": X.T @ X @ W}
    report = compare_backward(run, backward, p)
    assert {row.name: row.verdict for row in report.rows} == {"W": "ok", "dW": "ok", "y": "ok"}


def test_an_unused_input_of_another_name_is_one_still():
    p = {"W": W, "dW": W[:2], "spare": W}
    report = compare_backward(
        lambda p: np.sum(p["W"]), lambda p: {"W": 1 + 0 * W, "spare": 0 * W}, p
    )
    assert report.ok, report
    assert report.not_compared == ("dW",)


def test_layers_that_are_called_in_a_net_without_arrays_of_its_own():
    class Layer:
        def __init__(self, w):
            self.w, self.above = w.copy(), None

        def __call__(self, x):
            self.x, self.y = x, np.tanh(x @ self.w)
            return self.y

        def backward(self, dout):
            d = dout * (1 - self.y**2)
            self.dw = self.x.T @ d
            return d @ self.w.T

    class Stack:
        def __init__(self):
            self.name, self.layers = "stack", [Layer(W), Layer(W.T)]
            self.make = Layer

        def __call__(self, x):
            for layer in self.layers:
                x = layer(x)
            return x

    def backward(dout, net, x):
        for layer in reversed(net.layers):
            dout = layer.backward(dout)
        return net, dout

    net = Stack()
    for _ in range(2):
        report = compare_backward(lambda net, x: net(x), backward, (net, X))
        assert report.ok, report
        assert {row.name for row in report.rows} == {"net.layers[0].w", "net.layers[1].w", "x"}
        assert report.remarks[1:] == report.not_compared == ()
        backward(net(X), net, X)
    report = compare_backward(
        lambda net, x: net(x), lambda dout, net, x: backward(2 * dout, net, x), (net, X)
    )
    assert not any(row.ok for row in report.rows)
