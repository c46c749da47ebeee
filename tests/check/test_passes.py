"""What `compare_backward` takes: forward and backward passes as people write them."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

import minigrad as mg
from minigrad import compare_backward

RNG = np.random.default_rng(3)
X, W, B = RNG.normal(size=(5, 3)), RNG.normal(size=(3, 4)), RNG.normal(size=4)


def verdicts(report):
    return {row.name: row.verdict for row in report.rows}


# ---- layers --------------------------------------------------------------------------------------


def affine_forward(x, w, b):
    return np.tanh(x @ w + b), (x, w, np.tanh(x @ w + b))


def affine_backward(dout, cache):
    x, w, out = cache
    d = dout * (1 - out**2)
    return d @ w.T, x.T @ d, d.sum(axis=0)


def step_forward(x, h, c):
    new_c = np.tanh(x) * c + h
    return np.sin(new_c) * h, new_c, (x, h, c, new_c)


def step_backward(dh_new, dc_new, cache):
    x, h, c, new_c = cache
    dc = dc_new + dh_new * h * np.cos(new_c)
    return dc * c / np.cosh(x) ** 2, dc + dh_new * np.sin(new_c), dc * np.tanh(x)


def normalised_forward(x, gamma, beta, how):
    mean, eps = x.mean(axis=0), how.get("eps", 1e-5)
    spread = np.sqrt(x.var(axis=0) + eps)
    hat = (x - mean) / spread
    how["running"] = 0.9 * how.get("running", 0.0) + mean
    assert how["mode"] == "train"
    return gamma * hat + beta, (gamma, hat, spread)


def normalised_backward(dout, cache):
    gamma, hat, spread = cache
    d = dout * gamma
    dx = (d - d.mean(axis=0) - hat * (d * hat).mean(axis=0)) / spread
    return dx, (dout * hat).sum(axis=0), dout.sum(axis=0)


class Layer:
    """Keeps on itself what its backward pass needs, and its gradients in lists."""

    def forward(self, x, w):
        self.x, self.w, self.calls = x, w, getattr(self, "calls", 0) + 1
        return np.maximum(x @ w, 0)

    def backward(self, dout):
        d = dout * (self.x @ self.w > 0)
        return [d @ self.w.T, self.x.T @ d]


def square(x):
    return x * x, x


STEP = tuple([RNG.normal(size=(4, 3)) for _ in range(3)])

LAYERS = {
    "out, cache": (affine_forward, affine_backward, (X, W, B)),
    "two outputs": (step_forward, step_backward, STEP),
    "gradients in a tuple": (
        step_forward, lambda douts, cache: step_backward(*douts, cache), STEP
    ),
    "options": (
        normalised_forward, normalised_backward,
        (X, np.ones(3), np.zeros(3), {"mode": "train", "running": np.zeros(3), "eps": 1e-5}),
    ),
    "kept on self": (Layer().forward, Layer.backward, (X, W)),
    "inputs by name": (
        lambda x, w, b: x @ w + b,
        lambda dout, x, w: (dout @ w.T, x.T @ dout, dout.sum(axis=0)), (X, W, B),
    ),
    "inputs in order": (
        lambda x, w: x @ w, lambda g, left, right: (g @ right.T, left.T @ g), (X, W)
    ),
    "an array as cache": (square, lambda dout, cache: 2 * cache * dout, (X,)),
    "values as cache": (
        lambda x, w: (x @ w, x, "text", w), lambda dout, x, t, w: (dout @ w.T, x.T @ dout), (X, W)
    ),
    "cache first": (square, lambda cache, dout: 2 * cache * dout, (X,)),
    "a cache that is not used": (square, lambda dout, x: 2 * x * dout, (X,)),
    "an input with a default": (
        lambda x, power=2: (x**power, (x, power)),
        lambda dout, cache, scale=1.0: scale * dout * cache[1] * cache[0] ** (cache[1] - 1),
        (X, 3),
    ),
    "a dict in": (
        lambda p: (p["x"] @ p["w"], p), lambda dout, cache: {"dx": dout @ cache["w"].T},
        {"x": X, "w": W},
    ),
    "a scalar output": (
        lambda x, y: (np.mean((x - y) ** 2), (x, y)),
        lambda dloss, cache: (dloss * (cache[0] - cache[1]) / 7.5, None), (X, X[::-1].copy()),
    ),
}  # fmt: skip
LAYERS["kept on self"] = (lambda net: (net.forward, net.backward, (X, W)))(Layer())


def spoilt(g):
    """The same gradients, but for one."""
    if isinstance(g, dict):
        return {name: 1.01 * x for name, x in g.items()}
    return (1.01 * g[0], *g[1:]) if isinstance(g, (tuple, list)) else 1.01 * g


def with_result(backward, change):
    """A backward pass of the same signature, whose result is changed."""
    import functools

    @functools.wraps(backward)
    def changed(*args, **kwargs):
        return change(backward(*args, **kwargs))

    return changed


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", LAYERS)
def test_layers(name, dtype):
    forward, backward, inputs = LAYERS[name]

    def cast(x):
        return x.astype(dtype) if isinstance(x, np.ndarray) else x

    if isinstance(inputs, dict):
        inputs = {k: cast(x) for k, x in inputs.items()}
    else:
        inputs = tuple(map(cast, inputs))
    report = compare_backward(forward, backward, inputs)
    assert report.ok, report
    assert "drawn at random (seed 0)" in str(report)
    report = compare_backward(forward, with_result(backward, spoilt), inputs)
    assert [row.name for row in report.rows if not row.ok] == [report.rows[0].name]


def test_the_names_of_positional_inputs_are_those_of_parameters():
    report = compare_backward(affine_forward, affine_backward, (X, W, B))
    assert {row.name for row in report.rows} == {"x", "w", "b"}
    assert report.remarks[0].startswith("dout: drawn at random (seed 0); gradients are those of ")
    assert report.remarks[0].endswith("np.sum(dout * output)")
    report = compare_backward(step_forward, step_backward, STEP)
    assert report.remarks[0].endswith("np.sum(dh_new * output 0) + np.sum(dc_new * output 1)")
    report = compare_backward(step_forward, lambda ds, cache: step_backward(*ds, cache), STEP)
    assert report.remarks[0].endswith("np.sum(ds[0] * output 0) + np.sum(ds[1] * output 1)")


def test_every_output_has_its_own_gradient():
    """What comes through the second output is compared, too."""
    report = compare_backward(
        step_forward, lambda dh, dc, cache: step_backward(dh, 0 * dc, cache), STEP
    )
    assert not any(row.ok for row in report.rows)


def test_options_and_inputs_are_as_before():
    how = {"mode": "train", "running": np.zeros(3)}
    x = X.copy()
    assert compare_backward(
        normalised_forward, normalised_backward, (x, np.ones(3), np.zeros(3), how)
    ).ok
    np.testing.assert_array_equal(how["running"], np.zeros(3))
    np.testing.assert_array_equal(x, X)


# ---- losses --------------------------------------------------------------------------------------


def loss(p):
    h = np.tanh(p["X"] @ p["W"])
    return np.sum(h * h), (h, p["X"])


def gradients(h, x, w):
    d = 2 * h * (1 - h * h)
    return d @ w.T, x.T @ d


def of_inputs(p):
    return gradients(loss(p)[1][0], p["X"], p["W"])


def of_inputs_and_cache(p, cache):
    return gradients(*cache, p["W"])


def of_cache(cache):
    h, x = cache
    return None, x.T @ (2 * h * (1 - h * h))


LOSSES = {
    "inputs": of_inputs,
    "inputs and cache": of_inputs_and_cache,
    "another name": lambda params, saved_for_later: of_inputs_and_cache(params, saved_for_later),
    "cache": of_cache,
    "a cache of some name": lambda kept: of_cache(kept),
    "inputs of some name": lambda weights: of_inputs(weights),
    "any arguments": lambda *args: of_inputs_and_cache(*args),
    "a default": lambda p, cache=None: of_inputs_and_cache(p, cache),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    backward, inputs = LOSSES[name], {"X": X, "W": W}
    report = compare_backward(loss, backward, inputs)
    assert report.ok, report
    assert report.remarks == ()
    assert "W" in verdicts(report)
    report = compare_backward(loss, with_result(backward, lambda g: (None, -g[1])), inputs)
    assert verdicts(report) == {"W": "differs"}


def test_a_backward_pass_of_no_arguments():
    class Net:
        def forward(self, p):
            self.w = p["w"]
            return np.sum(self.w**3)

        def backward(self):
            return {"dw": 3 * self.w**2}

    net = Net()
    assert compare_backward(net.forward, net.backward, {"w": W}).ok


def test_the_loss_may_stand_after_what_was_computed():
    def forward(x, w):
        y = x @ w
        return y, np.mean(y**2)

    def backward(x, w):
        return 2 * (x @ w) @ w.T / 20, 2 * x.T @ (x @ w) / 20

    assert compare_backward(forward, backward, (X, W)).ok


def test_random_numbers_of_numpy_are_the_same_each_time():
    """As a layer that draws its mask from np.random, and keeps it."""

    def dropped(x):
        mask = (np.random.rand(*x.shape) < 0.5) / 0.5
        return x * mask, mask

    before = np.random.get_state()[1].copy()
    assert compare_backward(dropped, lambda dout, mask: dout * mask, (X,)).ok
    assert not compare_backward(dropped, lambda dout, mask: dout * (mask > 0), (X,)).ok
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_what_cannot_be_called_is_refused():
    with pytest.raises(ValueError, match=r"gives \(\), and backward is <lambda>\(a, b, c\)\. Of a"):
        compare_backward(lambda p: np.sum(p["x"]), lambda a, b, c: {}, {"x": X})
    with pytest.raises(ValueError, match=r"gives \(5, 4\), tuple, and .*\(dout, cache\)"):
        compare_backward(affine_forward, lambda: (), (X, W, B))
    with pytest.raises(ValueError, match="forward must give a scalar, or backward take"):
        compare_backward(lambda p: np.tanh(p["x"]), lambda p: p, {"x": X})


def test_a_call_that_cannot_be_told_is_refused():
    """Inputs or cache: both calls give gradients in the right shapes."""

    def forward(p):
        return np.sum(p["x"] ** 2), {"x": p["x"] * 2}

    with pytest.raises(ValueError, match=r"in 2 ways(.|\n)*q = (the cache|input 0)"):
        compare_backward(forward, lambda q: {"x": q["x"]}, {"x": X})
    assert compare_backward(forward, lambda cache: {"x": cache["x"]}, {"x": X}).ok
    assert not compare_backward(forward, lambda p: {"x": p["x"]}, {"x": X}).ok


def test_gradients_in_a_tuple_of_as_many_as_the_output_has_rows_are_refused():
    def forward(x):
        return x * 2, x * 3, None

    def backward(d, rest):
        first, second = d
        return np.zeros((2, 3)) + 2 * first + 3 * second

    with pytest.raises(ValueError, match="d = the gradients of the outputs in a tuple"):
        compare_backward(forward, backward, (X[:2],))


def test_an_error_of_backward_is_its_own():
    def wrong(q):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as error:
        compare_backward(loss, wrong, {"X": X, "W": W})
    assert "backward was called with" in "".join(error.value.__notes__)


# ---- inputs and gradients in containers ----------------------------------------------------------


@dataclass(frozen=True)
class Net:
    w: np.ndarray
    parts: list
    name: str = "net"


def of_net(net, x):
    assert net.name == "net"
    y = np.tanh(x @ net.w)
    return np.sum(y @ net.parts[0]["v"]), y


def of_net_backward(net, x, y):
    d = np.sum(net.parts[0]["v"], axis=1) * (1 - y * y)
    dv = np.repeat(y.sum(axis=0)[:, None], 2, axis=1)
    return x.T @ d, dv, d @ net.w.T


NET = Net(W, [{"v": RNG.normal(size=(4, 2))}])


@pytest.mark.parametrize(
    "pack",
    [
        lambda dw, dv, dx: (Net(dw, [{"v": dv}]), dx),
        lambda dw, dv, dx: (SimpleNamespace(dw=dw, parts=[SimpleNamespace(dv=dv)]), dx),
        lambda dw, dv, dx: [{"w": dw, "parts": [{"v": dv}]}, dx],
        lambda dw, dv, dx: {"x": dx, "net": {"w": dw, "parts": [{"v": dv}]}},
        lambda dw, dv, dx: {"grad_x": dx, "dw": dw, "v_grad": dv},
    ],
)
def test_objects_of_parameters(pack):
    class Weights(Net):
        pass

    for net in (NET, Net(**vars(NET))):
        report = compare_backward(
            lambda net, x: of_net(net, x),
            lambda net, x, y: pack(*of_net_backward(net, x, y)), (net, X),
        )  # fmt: skip
        assert report.ok, report
        assert {row.name for row in report.rows} == {"net.w", "net.parts[0].v", "x"}


def test_one_object_of_parameters():
    def forward(net):
        return np.sum(np.sin(net.w)) + np.sum(net.parts[0]["v"] ** 2)

    def backward(net):
        return {"dw": np.cos(net.w), "v": 2 * net.parts[0]["v"]}

    assert verdicts(compare_backward(forward, backward, NET)) == {"w": "ok", "parts[0].v": "ok"}
    bare = SimpleNamespace(w=W, parts=NET.parts, layers=3)
    assert verdicts(compare_backward(forward, backward, bare)) == {"w": "ok", "parts[0].v": "ok"}


def test_an_object_that_holds_parameters_and_gradients():
    """W, what is cached, and dW, as in layers that are objects."""

    class Linear:
        def forward(self, x, w):
            self.x, self.w = x, w
            return x @ w

        def backward(self, dout):
            self.dx, self.dw = dout @ self.w.T, self.x.T @ dout
            return self

    layer = Linear()
    report = compare_backward(layer.forward, layer.backward, (X, W))
    assert verdicts(report) == {"x": "ok", "w": "ok"}


NAMES = ["dW", "d_W", "grad_W", "gradW", "W_grad", "grad_of_W", "delta_W", "dLdW", "dL_dW", "dw"]


@pytest.mark.parametrize("name", NAMES)
def test_names_made_from_those_of_inputs(name):
    right = of_inputs({"X": X, "W": W})[1]
    report = compare_backward(loss, lambda p: {name: right}, {"X": X, "W": W})
    assert verdicts(report) == {"W": "ok"}


def test_a_name_is_the_inputs_own_before_it_is_made_from_another():
    report = compare_backward(
        lambda p: np.sum(p["W"] ** 2) + np.sum(p["dW"]),
        lambda p: {"W": 2 * p["W"], "dW": np.ones(4)}, {"W": W, "dW": B},
    )  # fmt: skip
    assert report.ok, report
    with pytest.raises(ValueError, match="two gradients of 'W', one of them as 'dW'"):
        compare_backward(loss, lambda p: {"W": W, "dW": W}, {"X": X, "W": W})


def test_a_tuple_that_is_shorter_than_the_inputs():
    labels = np.array([0, 1, 2, 3, 1])

    def forward(x, labels, w, scale=2):
        return scale * np.sum((x @ w)[np.arange(5), labels])

    def backward(x, labels, w, scale):
        d = scale * np.eye(4)[labels]
        return d @ w.T, x.T @ d

    inputs = (X, labels, W, 3)
    assert verdicts(compare_backward(forward, backward, inputs)) == {"x": "ok", "w": "ok"}
    only = lambda x, labels, w, scale: backward(x, labels, w, scale)[1]
    report = compare_backward(forward, only, inputs)
    assert (verdicts(report), report.not_compared) == ({"w": "ok"}, ("x",))

    def by_name(x, labels, w, scale):
        dx, dw = backward(x, labels, w, scale)
        return dw, dx

    assert compare_backward(forward, by_name, inputs).ok
    with pytest.raises(ValueError, match=r"1 of shapes \(5, 3\) for the inputs 'x', 'y'; return a"):
        compare_backward(lambda x, y: np.sum(x * y), lambda x, y: (x,), (X, X))


def test_a_tuple_may_begin_with_the_loss():
    both = lambda x, w: (np.sum((x @ w) ** 2), 2 * (x @ w) @ w.T, 2 * x.T @ (x @ w))
    forward = lambda x, w: both(x, w)[0]
    assert verdicts(compare_backward(forward, both, (X, W))) == {"x": "ok", "w": "ok"}


def test_arguments_by_name():
    """Of a forward pass of several parameters, a dict may hold the arguments."""
    inputs = {"b": B, "w": W, "x": X}
    report = compare_backward(affine_forward, affine_backward, inputs)
    assert verdicts(report) == {"x": "ok", "w": "ok", "b": "ok"}
    slope = lambda x, w: {"dw": 2 * w * np.sum(x**2)}
    assert compare_backward(lambda x, w: np.sum((w * x) ** 2), slope, {"w": 0.5, "x": X}).ok
    right = lambda x, w: {"dw": np.cos(x @ w).T @ x}
    report = compare_backward(lambda x, w: np.sum(np.sin(x @ w)), right, {"x": X, "w": W})
    assert verdicts(report) == {"w": "shape"}


def test_gradients_of_equal_shapes_are_in_the_order_of_the_inputs():
    """That they have changed places is a mistake, not another way to write it."""

    def backward(x, y):
        dx, dy = y, x
        return dy, dx

    report = compare_backward(lambda x, y: np.sum(x * y), backward, (X, X[::-1].copy()))
    assert verdicts(report) == {"x": "differs", "y": "differs"}


def test_integers_are_gradients_too():
    x = np.array([1.0, -2.0, 3.0])
    count = lambda p: {"x": (p["x"] > 0).astype(int)}
    assert compare_backward(lambda p: np.sum(np.maximum(p["x"], 0)), count, {"x": x}).ok


def test_numbers_and_texts_in_a_dict_are_passed_on():
    def forward(p):
        assert isinstance(p["sizes"], list)
        return np.sum(p["x"][: p["sizes"][0]]) * (2 if p["how"] == "double" else 1)

    backward = lambda p: {"x": np.array([2.0, 2.0, 0.0])}
    inputs = {"x": np.ones(3), "sizes": [2, 3], "how": "double"}
    assert compare_backward(forward, backward, inputs).ok


# ---- which are compared --------------------------------------------------------------------------


def test_only_what_is_returned_is_compared_and_the_first_line_says_so():
    report = compare_backward(loss, lambda p: {"W": of_inputs(p)[1], "X": None}, {"X": X, "W": W})
    assert report.ok
    assert str(report).splitlines()[0].endswith("(tolerance 1e-10); not compared: 'X'")
    assert "not compared" in report._repr_html_()
    for empty in ({}, {"W": None}, (None, None)):
        with pytest.raises(ValueError, match=r"backward returned no gradients.*'X', 'W'"):
            compare_backward(loss, lambda p: empty, {"X": X, "W": W})  # noqa: B023


def test_what_nothing_is_named_is_said():
    right = of_inputs({"X": X, "W": W})
    report = compare_backward(
        loss, lambda p: {"W": right[1], "dz9": X, "h": 2 * np.tanh(X @ W), "log": "text"},
        {"X": X, "W": W},
    )  # fmt: skip
    assert verdicts(report) == {"W": "ok", "h": "ok"}
    assert report.not_known == ("dz9",)
    assert report.summary.endswith("not compared: 'X'; not known: 'dz9'")
    with pytest.raises(ValueError, match="nothing behind the loss is named 'V'"):
        compare_backward(loss, lambda p: {"V": right[1]}, {"X": X, "W": W})


def test_wrt():
    inputs = {"X": X, "W": W, "k": np.arange(3)}
    right = of_inputs(inputs)
    wrong_x = lambda p: {"X": 2 * right[0], "W": right[1]}
    assert verdicts(compare_backward(loss, wrong_x, inputs, wrt="W")) == {"W": "ok"}
    report = compare_backward(loss, lambda p: {"X": None, "W": right[1]}, inputs, wrt=["W", "X"])
    assert verdicts(report) == {"W": "ok", "X": "missing"}
    assert "backward returns no gradient of it" in report.worst.note
    report = compare_backward(loss, lambda p: {"W": right[1]}, inputs, wrt=("X",))
    assert verdicts(report) == {"X": "missing"}
    assert "backward returns no gradient of it" in report.worst.note
    with pytest.raises(mg.testing.GradientMismatch):
        mg.testing.assert_same_gradients(loss, wrong_x, inputs)
    mg.testing.assert_same_gradients(loss, wrong_x, inputs, wrt="W")
    with pytest.raises(ValueError, match="wrt: 'V' is none of the inputs; the floating ones are"):
        compare_backward(loss, wrong_x, inputs, wrt="V")
    with pytest.raises(ValueError, match="wrt: 'k' is an integer"):
        compare_backward(loss, wrong_x, inputs, wrt="k")
    with pytest.raises(ValueError, match="wrt is empty"):
        compare_backward(loss, wrong_x, inputs, wrt=[])
    with pytest.raises(TypeError, match="wrt goes with forward"):
        mg.testing.assert_same_gradients({"W": W}, {"W": W}, wrt="W")
    report = compare_backward(of_net, of_net_backward_dict, (NET, X), wrt="net")
    assert verdicts(report) == {"net.w": "ok", "net.parts[0].v": "ok"}


def of_net_backward_dict(net, x, y):
    dw, dv, dx = of_net_backward(net, x, y)
    return {"w": dw, "v": dv, "x": 0 * dx}


class Sparse:
    """A matrix of another library: it has arrays among its attributes, and is none."""

    def __init__(self, dense):
        self.data, self.shape, self.dtype = dense, dense.shape, dense.dtype

    def dot(self, w):
        return np.asarray(self.data) @ w


def test_a_matrix_of_another_library_is_a_constant():
    def forward(m, w):
        return np.sum(np.sin(m.dot(w)))

    def backward(m, w):
        return m.data.T @ np.cos(m.dot(w))

    report = compare_backward(forward, backward, (Sparse(X), W))
    assert (verdicts(report), report.not_compared) == ({"w": "ok"}, ())
    report = compare_backward(
        lambda p: forward(p["m"], p["w"]), lambda p: {"w": backward(p["m"], p["w"])},
        {"m": Sparse(X), "w": W},
    )  # fmt: skip
    assert (verdicts(report), report.not_compared) == ({"w": "ok"}, ())


def test_bad_inputs():
    with pytest.raises(TypeError, match="'x'"):
        compare_backward(
            lambda p: np.sum(p["x"]), lambda p: p, {"x": np.ma.array(X, mask=X > 0), "w": W}
        )
    with pytest.raises(TypeError, match=r"a tuple as well if there is one: \(x,\); not ndarray"):
        compare_backward(square, lambda dout, cache: dout, X)
    with pytest.raises(TypeError, match=r"a dict of arrays by name.*; not list"):
        compare_backward(square, lambda dout, cache: dout, [X])
    with pytest.raises(ValueError, match="'x' holds nan"):
        compare_backward(square, lambda dout, cache: dout, (X * np.nan,))
    for empty in ({}, (), ("text",)):
        with pytest.raises(ValueError, match="inputs is empty"):
            compare_backward(lambda x="": 1.0, lambda: {}, empty)


# ---- what must not matter ------------------------------------------------------------------------


def test_a_local_named_like_an_input_an_unused_input_and_data_in_float32():
    data = X.astype(np.float32)

    def forward(p):
        np.random.seed(0)
        noise = np.random.normal(size=(5, 4))
        W = p["W"] * 2  # a local of the name of an input
        X = data @ W + noise
        return np.sum(np.sin(X))

    def backward(p):
        np.random.seed(0)
        d = np.cos(data @ (p["W"] * 2) + np.random.normal(size=(5, 4)))
        return {"W": 2 * data.T @ d}

    report = compare_backward(forward, backward, {"W": W, "X": X})
    assert verdicts(report) == {"W": "ok"}
    report = compare_backward(forward, lambda p: {"W": backward(p)["W"] / 2}, {"W": W, "X": X})
    assert verdicts(report) == {"W": "differs"}
    assert report.case is not None


def test_a_cast_to_float32_within():
    def forward(p):
        return np.sum(np.tanh(p["W"].astype(np.float32)))

    def backward(p):
        return {"W": 1 - np.tanh(p["W"].astype(np.float32)) ** 2}

    assert compare_backward(forward, backward, {"W": W}).ok
    assert not compare_backward(forward, lambda p: {"W": 1.01 * backward(p)["W"]}, {"W": W}).ok


# ---- placeholders --------------------------------------------------------------------------------


@pytest.mark.parametrize("zero", [0.0, None])
def test_a_placeholder_does_not_spoil_the_explanation_of_the_others(zero):
    def forward(p):
        h = np.tanh(p["x"] @ p["w"] + p["b"])
        return np.sum((h @ p["v"]) ** 2)

    def backward(p):
        h = np.tanh(p["x"] @ p["w"] + p["b"])
        d = 2 * (h @ p["v"])
        dh = (d @ p["v"].T) * (1 - h)  # a square is missing
        later = None if zero is None else np.zeros_like(p["v"])
        return {"x": dh @ p["w"].T, "w": p["x"].T @ dh, "b": dh.sum(axis=0), "v": later}

    inputs = {"x": X, "w": W, "b": B, "v": RNG.normal(size=(4, 2))}
    report = compare_backward(forward, backward, inputs)
    found = report.explain()
    assert found[0].kind == "wrong derivative"
    assert "taken as `1 - h`" in str(found[0])
    if zero is None:
        assert report.not_compared == ("v",)
    else:
        (row,) = [row for row in report.rows if row.name == "v"]
        assert (row.verdict, "all zero" in row.note) == ("differs", True)


# ---- what it costs -------------------------------------------------------------------------------


def test_a_right_backward_costs_two_runs_of_forward_for_each_input():
    runs = []

    def forward(p):
        runs.append(1)
        return loss(p)

    assert compare_backward(forward, lambda p: of_inputs(p), {"X": X, "W": W}).ok
    assert len(runs) <= 6 + 2 * 2


def test_the_state_of_chance_is_looked_after_only_where_it_is_used(monkeypatch):
    asked = []
    get_state = np.random.get_state
    monkeypatch.setattr(np.random, "get_state", lambda: asked.append(1) or get_state())
    assert compare_backward(loss, of_inputs, {"X": X, "W": W}).ok
    assert len(asked) <= 3
