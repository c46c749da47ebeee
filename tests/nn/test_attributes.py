"""What the attributes of a module may hold: nothing that looks like a parameter and is none."""

import collections
import copy
import dataclasses
import types
import warnings

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.guard.errors import GraphWarning

X = np.ones((1, 2))


def leaf(x):
    return mg.tensor(np.array(x, dtype=np.float64), requires_grad=True)


def module(init):
    class M(nn.Module):
        def __init__(self, *args, **options):
            init(self, *args, **options)

    return M


@pytest.mark.parametrize(
    "init",
    [
        lambda m: setattr(m, "w", leaf([1.0, 2.0]) * 0.01),
        lambda m: setattr(m, "w", [leaf([1.0]), leaf([1.0, 2.0]) * 0.01]),
        lambda m: setattr(m, "w", {"a": np.tanh(leaf([1.0]))}),
    ],
)
def test_what_init_computes_is_worth_a_warning(init):
    with pytest.warns(GraphWarning, match=r"M\.w\S* is computed in __init__.*mg\.tensor\("):
        module(init)()


def test_a_view_of_a_parameter_kept_in_init():
    class M(nn.Module):
        def __init__(self):
            self.W = leaf(np.eye(2))
            self.V = self.W.T

    with pytest.warns(
        GraphWarning, match=r"M\.V is computed in __init__.*compute it in forward"
    ) as w:
        M()
    assert w[0].filename == __file__

    class Inherited(M):
        def __init__(self, size):
            super().__init__()

    with pytest.warns(GraphWarning, match=r"Inherited\.V"):
        Inherited(2)


def test_what_init_was_given_and_what_is_set_elsewhere_is_meant():
    """A network whose weights another one computes, and states that forward keeps."""

    class Generated(nn.Module):
        def __init__(self, w, *more, last):
            self.w, self.more, self.last = w, more, last
            self.factor = leaf(2.0)

        def forward(self, x):
            self.h = x @ self.w
            self.seen = [self.h, *self.more]
            return self.h

    w = leaf(np.eye(2))
    m = Generated(w * 2, w + 1, w + 2, last=w - 1)
    m(X).sum().backward()
    assert w.grad.tolist() == [[2, 2], [2, 2]]
    m.h = np.tanh(m.h)
    assert [name for name, _ in m.named_parameters()] == ["factor"]
    assert mg.grad(lambda v: module(lambda m: setattr(m, "w", v * v))().w)(3.0) == 6


@pytest.mark.parametrize(
    "value",
    [
        lambda w: w * 0.5,
        lambda w: w.data * 0.5,
        lambda w: w.tolist(),
        lambda w: 0.5,
        lambda w: mg.no_grad()(lambda: w * 0.5)(),
        lambda w: [w * 0.5],
        lambda w: lambda: w,
    ],
)
def test_a_parameter_is_not_replaced_by_what_is_not_trained(value):
    m = nn.Linear(2, 2, rng=0)
    before = m.weight
    with pytest.raises(
        TypeError, match=r"(?s)Linear\.weight is a parameter.*weight\.data = .*del weight"
    ):
        m.weight = value(m.weight)
    with pytest.raises(TypeError, match=r"Linear\.weight is a parameter"):
        m.weight *= 0.5
    assert m.weight is before


def test_what_a_parameter_may_become():
    m = nn.Linear(2, 2, rng=0)
    m.bias = None
    m.weight = leaf(np.eye(2))
    assert [name for name, _ in m.named_parameters()] == ["weight"]
    m.weight = m.weight.detach()  # frozen
    with pytest.warns(mg.GraphWarning, match="weight is a buffer"):
        m.weight = m.weight * 2
    m.weight = leaf(np.eye(2))
    del m.weight
    m.weight = leaf(np.eye(2)) * 2
    m.bias = leaf(np.zeros(2))
    m.bias = nn.Linear(1, 1)
    assert {name for name, _ in m.named_parameters()} == {"bias.weight", "bias.bias"}


def test_a_twin_in_a_transform_may_be_changed():
    def loss(m):
        m.weight = m.weight * 2
        m.weight *= 3
        return m(X).sum()

    m = nn.Linear(2, 2, rng=0, dtype=np.float64)
    assert mg.grad(loss)(m)["weight"].tolist() == [[6, 6], [6, 6]]
    assert m.weight.primitive is None


@dataclasses.dataclass(slots=True)
class Pair:
    a: object
    b: object


BOXES = {
    "set": lambda m: {m},
    "frozenset": lambda m: frozenset([m]),
    "deque": lambda m: collections.deque([m]),
    "values": lambda m: {"a": m}.values(),
    "keys": lambda m: {m: 1}.keys(),
    "UserList": lambda m: collections.UserList([m]),
    "UserDict": lambda m: collections.UserDict(a=m),
    "mappingproxy": lambda m: types.MappingProxyType({"a": m}),
    "ChainMap": lambda m: collections.ChainMap({"a": m}),
    "ndarray": lambda m: np.array([[m, None]], dtype=object),
    "SimpleNamespace": lambda m: types.SimpleNamespace(a=m),
    "Pair": lambda m: Pair(1, m),
}


@pytest.mark.parametrize("kind", BOXES)
def test_containers_that_are_not_looked_into_are_refused(kind):
    words = rf"^parts\S*: .* in a (dict_)?{kind} are not .*a list, a tuple or a dict"
    for part in (nn.Linear(1, 1, rng=0), leaf([1.0])):
        if kind == "ndarray" and isinstance(part, mg.Tensor):
            continue  # NumPy asks it for an array
        m = nn.Module()
        for box in (BOXES[kind](part), [BOXES[kind](part)]):
            with pytest.raises(TypeError, match=words):
                m.parts = box
        m.parts = []
        m.parts.append(BOXES[kind](part))
        with pytest.raises(TypeError, match=r"^parts\[0\]: "):
            m.parameters()


ONCE = {
    "generator": lambda layers: (layer for layer in layers),
    "map": lambda layers: map(copy.copy, layers),
    "zip": lambda layers: zip(layers, layers, strict=True),
    "list_iterator": iter,
    "enumerate": enumerate,
}


@pytest.mark.parametrize("kind", ONCE)
def test_parentheses_in_the_place_of_brackets(kind):
    m = nn.Module()
    with pytest.warns(GraphWarning, match=rf"Module\.layers is a {kind}, .*write a list"):
        m.layers = ONCE[kind]([nn.Linear(1, 1, rng=0)])


def test_other_containers_are_the_users_own():
    m = nn.Module()
    m.names, m.kinds = {"a", "b"}, {nn.Linear, nn.Module}
    m.results = [collections.deque([leaf([1.0]) * 2]), Pair(leaf([1.0]) * 2, mg.tensor(1.0))]
    m.stream, m.kind = (lambda: (yield))(), Pair
    m.queue, m.table = collections.deque([1, 2]), np.array([None, "a"], dtype=object)
    m.order = collections.OrderedDict(a=nn.Linear(1, 1, rng=0))
    m.pair = collections.namedtuple("Pair", "a b")(leaf([1.0]), nn.Linear(1, 1, rng=0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del m.stream  # which cannot be copied
        assert len(copy.deepcopy(m).parameters()) == 5
