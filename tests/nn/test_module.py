"""What can be asked of a module, and done to all of it."""

import collections
import copy
import pickle

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn

X = np.ones((2, 2), np.float32)


class Net(nn.Module):
    def __init__(self, hidden=3):
        rng = np.random.default_rng(0)
        self.hidden = hidden
        self.layers = nn.ModuleList([nn.Linear(2, hidden, rng=rng), nn.Linear(hidden, 2, rng=rng)])
        self.heads = nn.ModuleDict({"a": nn.Sequential(nn.Linear(2, 1, rng=rng), mg.tanh)})
        self.norm = nn.BatchNorm1d(2)
        self.shared = self.layers[0]
        self.scale = mg.tensor([2.0], requires_grad=True)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.heads["a"](self.norm(x)) * self.scale


NAMES = [
    "scale", "layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias",
    "heads.a.0.weight", "heads.a.0.bias", "norm.weight", "norm.bias",
]  # fmt: skip
BUFFERS = ["norm.running_mean", "norm.running_var", "norm.num_batches_tracked"]


def test_everything_is_found_once_and_in_order():
    net = Net()
    assert [name for name, _ in net.named_parameters()] == NAMES
    assert [name for name, _ in net.named_buffers()] == BUFFERS
    assert list(net.state_dict()) == NAMES + BUFFERS
    assert [p.name for p in net.parameters()] == [name.rpartition(".")[2] for name in NAMES]
    paths = ["", "layers", "layers.0", "layers.1", "heads", "heads.a", "heads.a.0", "norm"]
    assert [path for path, _ in net.named_modules()] == paths
    assert net.modules() == [module for _, module in net.named_modules()]
    assert [name for name, _ in net.named_children()] == ["layers", "heads", "norm", "shared"]
    assert net.children()[3] is net.layers[0]
    assert len(net.buffers()) == 3


def test_calls_have_the_names_of_the_parameters():
    y = Net()(X)
    scopes, todo = set(), [y]
    while todo:
        t = todo.pop()
        if t is not None and t.primitive:
            scopes.add(str(t.scope))
            todo += t.inputs
    paths = ["layers.0", "layers.1", "norm", "heads.a", "heads.a/0"]
    assert scopes == {"net", *(f"net/{path}" for path in paths)}
    with pytest.raises(ValueError, match=r"Linear in net/layers\.0: .*shape \(2, 5\).*length 2"):
        Net()(np.ones((2, 5), np.float32))


def test_frozen_and_trained_again():
    net = Net().requires_grad_(False)
    assert not net(X).requires_grad
    assert [name for name, _ in net.named_parameters()] == NAMES
    assert [name for name, _ in net.named_buffers()] == BUFFERS
    for same in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), net):
        same.requires_grad_()
        assert all(p.requires_grad for p in same.parameters())
        assert not any(t.requires_grad for t in same.buffers())
    net.layers[0].requires_grad_(False)
    gradient = mg.grad(lambda m: m(X).sum())(net)
    assert list(gradient) == [name for name in NAMES if not name.startswith("layers.0")]
    with pytest.raises(TypeError, match="wanted must be True or False"):
        net.requires_grad_("no")


def test_an_optimiser_of_frozen_parameters_trains_them_once_they_are_not():
    net = nn.Linear(2, 1, rng=0).requires_grad_(False)
    with pytest.warns(UserWarning, match="none of the parameters requires a gradient"):
        opt = mg.optim.SGD(net.parameters(), lr=0.1)
    before = net.state_dict()
    net.requires_grad_()
    net(X).sum().backward()
    opt.step()
    assert (net.weight.data != before["weight"]).all()


def test_of_one_module_alone():
    net = Net()
    assert net.parameters(recurse=False) == [net.scale]
    assert net.buffers(recurse=False) == []
    assert [name for name, _ in net.norm.named_buffers(recurse=False)] == [
        name.removeprefix("norm.") for name in BUFFERS
    ]
    assert dict(net.layers[0].named_parameters(False)).keys() == {"weight", "bias"}
    with pytest.raises(TypeError, match="recurse must be True or False, not 'net'"):
        list(net.named_parameters("net"))


def test_a_frozen_parameter_is_guarded_as_one():
    net = nn.Linear(2, 2, rng=0).requires_grad_(False)
    with pytest.raises(TypeError, match=r"Linear\.weight is a parameter"):
        net.weight = net.weight * 2


def test_frozen_parameters_are_not_compared():
    net = nn.Linear(2, 1, rng=0)
    net.weight.requires_grad = False
    net(X).sum().backward()
    assert mg.compare({"bias": np.array([2.0])}, net).ok


def test_apply_goes_from_below_and_once():
    seen = []
    net = Net()
    assert net.apply(seen.append) is net
    assert seen[-1] is net
    assert [type(m).__name__ for m in seen[:3]] == ["Linear", "Linear", "ModuleList"]
    assert len(seen) == len(net.modules())


def test_another_dtype():
    net = Net()
    net(X).sum().backward()
    assert net.astype(np.float64) is net
    assert {t.dtype for t in net.parameters()} == {np.dtype(float)}
    assert net.norm.running_mean.dtype == float
    assert net.norm.num_batches_tracked.dtype == int
    assert net.scale.grad.dtype == float
    assert net(X.astype(float)).dtype == float
    net(X.astype(float)).sum().backward()
    mg.optim.SGD(net.parameters(), lr=0.1).step()
    for dtype in (int, complex, bool):
        with pytest.raises(TypeError, match="only real floating"):
            net.astype(dtype)


def test_buffers_registered():
    m = nn.Module()
    m.register_buffer("mask", X)
    m.register_buffer("cache", [1.0], persistent=False)
    assert [name for name, _ in m.named_buffers()] == ["mask", "cache"]
    assert list(m.state_dict()) == ["mask"]
    outer = nn.Module()
    outer.inner = m
    assert list(outer.state_dict()) == ["inner.mask"]
    outer.load_state_dict({"inner.mask": 2 * X})
    m.register_buffer("cache", 1.0)
    assert list(m.state_dict()) == ["mask", "cache"]
    for name in ("a.b", "", 3):
        with pytest.raises(ValueError, match="register_buffer: the name must be one of an attr"):
            m.register_buffer(name, 1.0)


# ---- states --------------------------------------------------------------------------------------


def test_every_misfit_is_named_at_once():
    with pytest.raises(ValueError, match=r"does not fit this Net: ") as error:
        Net().load_state_dict(Net(4).state_dict() | {"more": X, "scale": X})
    text = str(error.value)
    assert "unexpected more" in text
    assert "scale has shape (2, 2), expected (1,)" in text
    assert "layers.0.weight has shape (4, 2), expected (3, 2)" in text
    assert "layers.1.weight has shape (2, 4), expected (2, 3)" in text
    with pytest.raises(ValueError, match=r"missing scale; .*unexpected 0\.weight"):
        Net().load_state_dict(nn.Sequential(nn.Linear(2, 3)).state_dict())


def test_what_fits_is_loaded_without_strict():
    net = Net()
    before, state = net.state_dict(), {"scale": np.array([5.0]), "more": X}
    loaded = net.load_state_dict(state, strict=False)
    assert loaded.missing_keys == [name for name in before if name != "scale"]
    assert loaded.unexpected_keys == ["more"]
    assert net.scale.tolist() == [5.0]
    np.testing.assert_array_equal(net.state_dict()["norm.bias"], before["norm.bias"])
    with pytest.raises(ValueError, match="scale has shape"):
        net.load_state_dict({"scale": X}, strict=False)
    assert net.load_state_dict(before) == ([], [])


def test_what_is_held_twice_may_have_either_name():
    """As in a state of PyTorch's, which has both."""

    class Tied(nn.Module):
        def __init__(self):
            self.rows = nn.Embedding(3, 2, rng=0)
            self.out = nn.Linear(2, 3, bias=False, rng=1)
            self.out.weight = self.rows.weight
            self.again = nn.Sequential(self.out)

    net, w = Tied(), np.ones((3, 2), np.float32)
    assert list(net.state_dict()) == ["rows.weight"]
    for names in (["out.weight"], ["again.0.weight", "rows.weight"], ["rows.weight", "out.weight"]):
        w = w + 1
        assert net.load_state_dict(dict.fromkeys(names, w)) == ([], [])
        assert (net.out.weight.data == w).all()
    with pytest.raises(ValueError, match=r"out\.weight and another name of rows\.weight are one t"):
        net.load_state_dict({"rows.weight": w, "out.weight": w + 1})
    with pytest.raises(ValueError, match=r"unexpected again\.1\.weight"):
        net.load_state_dict({"rows.weight": w, "again.1.weight": w})


# ---- printing ------------------------------------------------------------------------------------

TEXT = """\
Net(hidden=4)  # 30 parameters, 12 of them frozen, float32: scale (1,)
  layers: ModuleList()  # 22
    0: Linear(in_features=2, out_features=4)  # 12: weight (4, 2) frozen, bias (4,) frozen
    1: Linear(in_features=4, out_features=2)  # 10: weight (2, 4), bias (2,)
  heads: ModuleDict()  # 3
    a: Sequential()  # 3
      0: Linear(in_features=2, out_features=1)  # 3: weight (1, 2), bias (1,)
      1: tanh
"""


def test_a_module_is_printed_with_shapes_counts_and_activations():
    net = Net(4)
    net.layers[0].requires_grad_(False)
    assert repr(net).startswith(TEXT)
    assert "running_mean (2,), running_var (2,)" in repr(net)
    assert repr(nn.Dropout(0.3)) == "Dropout(p=0.3)"
    assert "bias=False" in repr(nn.Linear(1, 1, bias=False))
    assert "(in_channels=2, out_channels=2, kernel_size=(3, 3))  #" in repr(nn.Conv2d(2, 2, 3))
    assert "padding='same')" in repr(nn.Conv1d(2, 2, 3, padding="same"))
    seen = []
    mg.grad(lambda m: (seen.append(repr(m)), m.weight.sum())[1])(nn.Linear(1, 1, rng=0))
    assert seen == [repr(nn.Linear(1, 1))]
    block = repr(nn.TransformerEncoderLayer(2, 1, 2, activation="gelu"))
    assert "\n  activation: gelu" in block
    assert repr(nn.Module()) == "Module()"
    outer = nn.Module()
    outer.inner = nn.Module()
    outer.inner.outer = outer
    assert repr(outer) == "Module()\n  inner: Module()\n    outer: Module(...)"
    assert outer.load_state_dict({}) == ([], [])


# ---- containers ----------------------------------------------------------------------------------


def linear(k):
    return nn.Linear(k, k + 1, rng=k)


def test_a_list_of_modules():
    a, b, c, d = map(linear, range(1, 5))
    m = nn.ModuleList([a, b])
    assert [*m] == [a, b]
    assert (len(m), m[0], m[-1], m[np.int64(1)]) == (2, a, b, b)
    assert m.append(c) is m
    m.insert(0, d)
    assert [*m] == [d, a, b, c]
    assert [*m[1:3]] == [a, b]
    assert type(m[1:3]) is nn.ModuleList
    m[1] = c
    assert m.pop() is c
    del m[0]
    assert [*m.extend([d])] == [c, b, d]
    assert list(m.state_dict())[::2] == ["0.weight", "1.weight", "2.weight"]
    assert b in m
    assert a not in m
    assert [*(m + nn.ModuleList([a]))] == [c, b, d, a]
    assert len(m) == 3
    m += [a]
    assert m.pop() is a
    with pytest.raises(IndexError, match=r"ModuleList of 3 parts: there is none at 3"):
        m[3]
    with pytest.raises(TypeError, match="there is none at 'a'"):
        m["a"]
    with pytest.raises(NotImplementedError, match="ModuleList has no forward"):
        m(X)
    for bad in (mg.relu, None, nn.Linear):
        with pytest.raises(TypeError, match=r"ModuleList: 0 must be a module, not"):
            nn.ModuleList([bad])
    for bad in (a, None, 3):
        with pytest.raises(TypeError, match=r"takes several modules, .*ModuleList\(\[module\]\)"):
            nn.ModuleList(bad)


def test_what_is_added_later_has_its_name_too():
    m = nn.Module()
    m.layers = nn.ModuleList()
    m.layers.append(linear(2)).append(linear(1))
    assert str(m.layers[0](X).scope) == "layers.0"
    assert str(m.layers[1](X[:, :1]).scope) == "layers.1"


def test_modules_by_name():
    a, b, c = map(linear, range(1, 4))
    m = nn.ModuleDict({"a": a})
    m["b"] = b
    m.update([("c", c)])
    assert [*m] == [*m.keys()] == ["a", "b", "c"]
    assert [*m.values()] == [a, b, c]
    assert dict(m.items()) == {"a": a, "b": b, "c": c}
    assert ("a" in m, "z" in m, len(m)) == (True, False, 3)
    assert m.pop("b") is b
    del m["a"]
    assert list(m.state_dict()) == ["c.weight", "c.bias"]
    assert [*nn.ModuleDict(m)] == ["c"]
    m["keys"] = a  # a method's name is a name like another
    assert [*m.keys()] == ["c", "keys"]
    with pytest.raises(KeyError, match=r"there is no 'z' among \['c', 'keys'\]"):
        m["z"]
    for name in ("a.b", "", 1):
        with pytest.raises(ValueError, match="text without a dot, not"):
            m[name] = a
    with pytest.raises(TypeError, match="ModuleDict: c must be a module"):
        m["c"] = mg.relu


def test_steps_in_a_row():
    a, b, c = linear(1), linear(2), linear(3)
    m = nn.Sequential(a, mg.tanh, b)
    assert [*m] == [a, mg.tanh, b] == [*m.steps]
    assert m[1] is mg.tanh
    x = np.ones((1, 1), np.float32)
    np.testing.assert_array_equal(m[:2](x).data, np.tanh(a(x)).data)
    assert list(m[1:].state_dict()) == ["1.weight", "1.bias"]
    assert m.append(c)(x).shape == (1, 4)
    named = nn.Sequential(collections.OrderedDict(first=a, act=mg.tanh))
    assert list(named.state_dict()) == ["first.weight", "first.bias"]
    assert named[0] is a
    m[1] = mg.relu
    assert m.steps[1] is mg.relu
    twin = copy.deepcopy(m)
    twin[0].weight.data = twin[0].weight.data + 1
    assert not np.array_equal(twin(x).data, m(x).data)
    with pytest.raises(TypeError, match=r"step 4 must be a module or a function, not None"):
        m.append(None)


def test_a_container_is_a_container_for_transforms():
    net = Net()
    net.norm.eval()
    gradient = mg.grad(lambda m: m(X).sum())(net)
    net(X).sum().backward()
    for name, p in net.named_parameters():
        np.testing.assert_allclose(gradient[name].data, p.grad, rtol=1e-6)


# ---- hooks ---------------------------------------------------------------------------------------


def test_hooks_see_and_change_what_goes_in_and_comes_out():
    net, seen = nn.Linear(2, 2, rng=0), []
    plain = net(X).data
    before = net.register_forward_pre_hook(lambda m, args: seen.append(("in", m, len(args))))
    after = net.register_forward_hook(lambda m, args, y: seen.append(("out", m, y.shape)))
    np.testing.assert_array_equal(net(X).data, plain)
    assert seen == [("in", net, 1), ("out", net, (2, 2))]
    before.remove()
    after.remove()
    with net.register_forward_pre_hook(lambda m, args: 2 * args[0]):
        np.testing.assert_array_equal(net(X).data, net.forward(2 * X).data)
    with (
        net.register_forward_hook(lambda m, args, y: y * 3),
        net.register_forward_hook(lambda m, args, y: y + args[0]),
    ):
        np.testing.assert_allclose(net(X).data, 3 * plain + X)
    np.testing.assert_array_equal(net(X).data, plain)
    for register in (net.register_forward_hook, net.register_forward_pre_hook):
        with pytest.raises(TypeError, match="a hook must be a function, not 3"):
            register(3)


def test_a_hook_may_see_the_arguments_by_keyword():
    lstm, seen = nn.LSTM(2, 3, rng=0), []
    x, lengths = np.ones((4, 2, 2), np.float32), [4, 2]
    with lstm.register_forward_hook(
        lambda m, args, kwargs, out: seen.append((m, len(args), kwargs)), with_kwargs=True
    ):
        lstm(x, lengths=lengths)
    lstm(x)
    assert seen == [(lstm, 1, {"lengths": lengths})]
    with pytest.raises(TypeError, match="a hook must be a function, not 3"):
        lstm.register_forward_hook(3, with_kwargs=True)


def test_hooks_of_a_part_in_a_transform():
    net, seen = nn.Sequential(nn.Linear(2, 3, rng=0), mg.tanh), []
    net[0].register_forward_hook(lambda m, args, y: seen.append(str(y.scope)))
    mg.grad(lambda m: m(X).sum())(net)
    assert seen == ["sequential/0"]


def test_the_gradient_of_what_a_layer_gives():
    net, seen = nn.Sequential(nn.Linear(2, 3, rng=0), mg.tanh), {}

    def watch(m, args, y):
        y.register_hook(lambda g: seen.update(g=g))

    net[0].register_forward_hook(watch)
    y = net(X)
    y.sum().backward()
    np.testing.assert_allclose(seen["g"], 1 - y.data**2, rtol=1e-6)


# ---- a call with another state -------------------------------------------------------------------


def test_called_with_another_state():
    net, other = Net(), Net().state_dict()
    other = {name: a + 0.5 if a.dtype.kind == "f" else a for name, a in other.items()}
    before = net.state_dict()
    y = nn.functional_call(net.eval(), other, X)
    for name, a in net.state_dict().items():
        np.testing.assert_array_equal(a, before[name])
    net.load_state_dict(other)
    np.testing.assert_array_equal(net(X).data, y.data)
    half = [{"scale": other["scale"]}, {"norm.bias": other["norm.bias"]}]
    assert nn.functional_call(net, half, (X,), {}).shape == (2, 1)


def test_gradients_by_the_state_of_any_order():
    net, x = nn.Linear(2, 1, rng=0, dtype=float), np.array([[1.0, 2.0]])
    state = net.state_dict()

    def loss(state):
        return (nn.functional_call(net, state, x) ** 2).sum()

    def after_a_step(state):  # as in MAML
        g = mg.grad(loss)(state)
        return loss({name: p - 0.1 * g[name] for name, p in state.items()})

    mg.check_grads(loss, (state,))
    mg.check_grads(after_a_step, (state,))
    w = mg.tensor(state["weight"], requires_grad=True)
    nn.functional_call(net, {"weight": w * 2}, x).sum().backward()
    assert w.grad.tolist() == [[2, 4]]
    assert net.weight.grad is None
    assert net.bias.grad.tolist() == [1]


def test_buffers_and_twins_are_called_with_another_state_too():
    norm = nn.BatchNorm1d(2).eval()
    y = nn.functional_call(norm, {"running_mean": np.ones(2, np.float32)}, X)
    assert not y.data.any()
    net = nn.Sequential(nn.Linear(2, 1, rng=0))

    def loss(m):
        return nn.functional_call(m, {"0.bias": m[0].bias * 3}, X).sum()

    g = mg.grad(loss)(net)
    assert g["0.bias"].tolist() == [6]
    assert g["0.weight"].tolist() == [[2, 2]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda m: nn.functional_call(m, {"scale": X, "w": X, "b": 1.0}, X),
            r"fit this Net: unexpected w; unexpected b; scale has shape \(2, 2\), expected \(1,\)",
        ),
        (lambda m: nn.functional_call(m, {}, X, strict=True), "missing scale; missing layers"),
        (lambda m: nn.functional_call({}, m, X), "the first argument must be a module"),
        (lambda m: nn.functional_call(m, X, X), "the second argument is a dict of tensors"),
        (lambda m: nn.functional_call(m, [m], X), "the second argument is a dict of tensors"),
    ],
)
def test_a_state_that_does_not_fit_a_call(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call(Net())
