"""What other libraries call otherwise: every line that an error says to write is run here."""

import importlib
import inspect
import pickle

import numpy as np
import pytest

import minigrad as mg
import minigrad.nn.init
from minigrad.core.tensor import OPS
from minigrad.guard.hints import TABLES

LINES = [(place, name) for place, table in TABLES.items() for name in table]


def at(place):
    """What a name is looked for in: a room, or an object of a class."""
    t = mg.tensor([1.0], requires_grad=True)
    made = {
        "At": t.at, "Module": mg.nn.Linear(1, 1), "Optimizer": mg.optim.Adam([t]), "Tensor": t,
    }  # fmt: skip
    return made[place] if place in made else importlib.import_module(place)


@pytest.mark.parametrize(("place", "name"), LINES)
def test_what_a_hint_says_can_be_written(place, name, tmp_path):
    assert not hasattr(at(place), name), "it is there: take it out of the table"
    line = TABLES[place][name].replace("(...)", "(3)" if name != "full" else "(3, 1.0)")
    net = mg.nn.Linear(2, 1)
    mg.io.save(net, tmp_path / "net")
    t = mg.tensor([[0.2, 0.4], [0.6, 0.8]], requires_grad=True)
    (t * t).sum().backward()
    array = np.ones((2, 2), np.float32)
    net(array).sum().backward()
    opt = mg.optim.SGD(net.parameters(), lr=0.1)
    given = {
        "mg": mg, "np": np, "t": t, "a": t, "b": t, "other": array, "array": array, "x": array,
        "net": net, "path": tmp_path / "net", "shape": (4, 1), "axis": 1, "parts": 2, "v": 0.5,
        "mask": array > 0, "indices": array.astype(int), "dtype": np.float64, "y": array[:, :1],
        "logits": t, "labels": np.array([0, 1]), "rng": np.random.default_rng(0), "opt": opt,
        "f": lambda x: (x * x).sum(), "slope": lambda g, z, x: g, "params": {"w": t},
        "state": net.state_dict(), "memory": opt.memory, "init": type, "frozen": [t],
        "batches": lambda: [array], "loss": lambda x: net(x).sum(), "validate": lambda: 1.0,
    }  # fmt: skip
    if "broadcast_to(t, shape)" in line:
        given["shape"] = (2, 2, 2)
    if "SciPy" in line:
        pytest.importorskip("scipy.optimize", reason="SciPy is not installed")
        given["loss"] = lambda x: (net(x) ** 2).sum()
    exec(line, given)


@pytest.mark.parametrize(
    ("look", "message"),
    [
        (lambda t: t.view, r"Tensor has no attribute 'view'; write t\.reshape\(shape\)"),
        (lambda t: mg.Tensor.cuda, "no attribute 'cuda'; write t .*no devices"),
        (lambda t: mg.zeros, r"'minigrad' has no attribute 'zeros'; write mg\.tensor\(np\.zeros"),
        (lambda t: mg.float32, r"NumPy has it, write np\.float32"),
        (lambda t: mg.nn.relu, r"'minigrad\.nn' has no attribute 'relu'; write mg\.relu"),
        (lambda t: t.viewed, r"no attribute 'viewed'$"),
        (lambda t: mg.zeroes, r"no attribute 'zeroes'$"),
        (
            lambda t: mg.nn.Linear(1, 1).weights,
            r"Linear has no attribute 'weights'; write net\.par",
        ),
        (
            lambda t: mg.nn.Sequential.fit,
            r"Sequential has no attribute 'fit'; write mg\.train\.fit",
        ),
        (lambda t: mg.nn.init.he_uniform, r"write mg\.nn\.init\.kaiming_uniform_"),
        (lambda t: at("Optimizer").state, r"Adam has no .*'state'; write opt\.memory"),
        (
            lambda t: mg.optim.RMSProp,
            r"'minigrad\.optim' has no .*'RMSProp'; write mg\.optim\.RMSprop",
        ),
        (lambda t: mg.data.random_split, r"write mg\.data\.split"),
        (lambda t: mg.viz.make_dot, r"write mg\.viz\.draw"),
        (lambda t: t.at[0].min, r"At has no attribute 'min'; write t\.at\[0\]\.set"),
    ],
)
def test_the_error_says_it(look, message):
    with pytest.raises(AttributeError, match=message):
        look(mg.tensor([1.0]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: t.sum(dim=0), r"sum: .*no argument 'dim'.*write axis= instead of dim="),
        (lambda t: mg.softmax(t, dim=0), "softmax: .*write axis= instead of dim="),
        (lambda t: t.mean(axis=0, keepdim=True), "write keepdims= instead of keepdim="),
        (lambda t: mg.ptp(t, dim=0), "write axis= instead of dim="),
        (lambda t: t.transpose(dims=0), "unexpected keyword argument 'dims'$"),
        (lambda t: mg.transpose(t, dims=(0,)), "write axes= instead of dims="),
        (lambda t: t.swapaxes(dim0=0, dim1=0), "write axis1= instead of dim0="),
        (lambda t: t.var(correction=1), "write ddof= instead of correction="),
        (lambda t: mg.tril(t, diagonal=1), "write k= instead of diagonal="),
        (lambda t: mg.roll(t, shifts=1), "write shift= instead of shifts="),
        (lambda t: mg.sin(t, dim=0), "it takes x$"),
        (lambda t: t.argmax(dim=0), r"argmax on shapes \(3,\).*; write axis= instead of dim="),
        (lambda t: np.sign(t, dim=0), "argument 'dim'$"),
        (lambda t: t.at(0).set(1.0), r"write x\[i\] for what is there, and x\.at\[i\]\.set"),
        (lambda t: t.at[0] + 1, r"x\.at\[i\] is a place, no value"),
        (lambda t: 2.0 * t.at[0], r"x\.at\[i\] is a place, no value"),
        (lambda t: np.ones(3) * t.at[0], r"x\.at\[i\] is a place, no value"),
        (lambda t: np.exp(t.at[0]), r"x\.at\[i\] is a place, no value"),
        (lambda t: t.at.__setitem__(0, 1.0), r"x\.at\[i\] is a place, no value"),
        (
            lambda t: mg.einsum(t, t, "i,i"),
            r"subscripts come first; write mg\.einsum\('i,i', a, b\)",
        ),
        (lambda t: mg.einsum(t, t), r"a list of axes comes after .* not a tensor of shape \(3,\)"),
        (lambda t: mg.io.load("net.npz"), r"must be a module, not 'net\.npz'; .*load\(net, path\)"),
        (
            lambda t: mg.io.save(path="net.npz", module={}),
            "io.save: the first argument must be a m",
        ),
        (lambda t: np.max(t, t), r"max: .*second argument is the axis.*write np\.maximum\(a, b\)"),
        (lambda t: t.min(t), r"write np\.minimum\(a, b\)"),
        (lambda t: mg.sum(t, np.ones(3)), r"second argument is the axis.*write a \+ b"),
        (lambda t: mg.softmax(t, np.ones(3)), "its second argument is the axis$"),
        (lambda t: mg.Tensor([1.0]), r"not \[1\.0\]; write mg\.tensor"),
        (lambda t: mg.Tensor(1.0), r"not 1\.0; write mg\.tensor"),
        (lambda t: mg.tensor(1.0, 2.0), r"requires_grad must be True or False, not 2\.0"),
        (lambda t: mg.tensor([1.0], np.float64), r"dtype=np\.float32 for a dtype"),
        (lambda t: setattr(t, "requires_grad", "no"), "must be True or False, not 'no'"),
    ],
)
def test_arguments_in_another_place_or_by_another_name(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call(mg.tensor(np.ones(3), requires_grad=True))


def test_a_hint_is_no_attribute():
    t = mg.tensor([1.0])
    assert not hasattr(t, "view")
    assert getattr(t, "cuda", None) is None
    assert pickle.loads(pickle.dumps(t)).tolist() == [1.0]
    assert "to" not in dir(t)


def test_constants_that_take_an_axis_say_what_dim_is_called():
    tried = 0
    for function, operation in OPS.items():
        if hasattr(operation, "is_constant"):
            try:
                taken = inspect.signature(function).parameters
            except ValueError:
                continue
            for name, here in {"dim": "axis", "keepdim": "keepdims"}.items():
                if here in taken:
                    tried += 1
                    with pytest.raises(TypeError, match=f"; write {here}= instead of {name}=$"):
                        operation(mg.tensor(np.ones((2, 3))), **{name: 1})
    assert tried > 12


class Mixin:
    def fit(self):
        return "fitted"

    @property
    def summary(self):
        return f"{type(self).__name__} summed up"


class Own(mg.nn.Module, Mixin):
    layers = 3

    def __init__(self):
        self.weights = mg.tensor([1.0], requires_grad=True)
        self.modules = [mg.nn.Linear(1, 1), mg.nn.Linear(1, 1)]

    def apply(self, f):
        return f(self.weights)

    def predict(self):
        return super().predict()


def test_subclasses_may_have_the_names_of_hints():
    own = Own()
    assert own.apply(np.sum).item() == 1
    assert [*own.state_dict()][:2] == ["weights", "modules[0].weight"]
    assert (own.fit(), Own.fit(own)) == ("fitted", "fitted")
    assert (own.summary, own.layers) == ("Own summed up", 3)
    assert {"apply", "weights", "modules", "layers", "fit", "summary"} <= {*dir(own)}
    assert not {"evaluate", "save", "cuda"} & {*dir(own)}
    own.save = lambda: "saved"
    assert own.save() == "saved"
    assert not hasattr(own, "cuda")
    with pytest.raises(
        AttributeError, match=r"Own has no attribute 'predict'; write with mg\.no_g"
    ):
        own.predict()

    class Schedule(mg.optim.SGD):
        def minimize(self, loss):
            return loss

    assert Schedule([own.weights], lr=0.1).minimize(3) == 3
    again = pickle.loads(pickle.dumps(own.modules[0]))
    assert again.state_dict().keys() == {"weight", "bias"}


@pytest.mark.parametrize("place", [place for place in TABLES if place[0].isupper()])
def test_hints_are_not_listed(place):
    assert not TABLES[place].keys() & {*dir(at(place))}
    assert not [name for name in TABLES[place] if hasattr(at(place), name)]
