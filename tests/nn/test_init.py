"""Initial values by name: those of PyTorch's equations, in place, from the generator given."""

import inspect

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import init
from tests.helpers import leaf

DRAWN = {  # the standard deviation, and the largest absolute value, of a weight (60, 40, 5)
    "uniform_": (lambda t, rng: init.uniform_(t, -3, 3, rng), 3 / 3**0.5, 3),
    "normal_": (lambda t, rng: init.normal_(t, 0, 0.3, rng), 0.3, np.inf),
    "trunc_normal_": (lambda t, rng: init.trunc_normal_(t, 0, 1, -2, 2, rng), 0.8796, 2),
    "xavier_uniform_": (
        lambda t, rng: init.xavier_uniform_(t, 2.0, rng),
        2 * (2 / 500) ** 0.5,
        2 * (6 / 500) ** 0.5,
    ),
    "xavier_normal_": (lambda t, rng: init.xavier_normal_(t, 1.0, rng), (2 / 500) ** 0.5, np.inf),
    "kaiming_uniform_": (
        lambda t, rng: init.kaiming_uniform_(t, 5**0.5, rng=rng),
        (1 / 3 / 200) ** 0.5,
        (1 / 200) ** 0.5,
    ),
    "kaiming_normal_": (
        lambda t, rng: init.kaiming_normal_(t, 0, "fan_out", "relu", rng),
        (2 / 300) ** 0.5,
        np.inf,
    ),
}


@pytest.mark.parametrize("name", DRAWN)
def test_spread_bounds_and_generator(name):
    draw, std, most = DRAWN[name]
    t = leaf(np.zeros((60, 40, 5)))
    assert draw(t, np.random.default_rng(0)) is t
    assert t.data.std() == pytest.approx(std, rel=0.02)
    assert abs(t.data.mean()) < std * 5 / t.size**0.5
    assert abs(t.data).max() <= most
    if np.isfinite(most):
        assert abs(t.data).max() > 0.99 * most
    first = t.numpy()
    np.testing.assert_array_equal(draw(t, 0).data, first)
    mg.manual_seed(0)
    np.testing.assert_array_equal(draw(t, None).data, first)
    assert not np.array_equal(draw(t, None).data, first)
    assert t.requires_grad


def test_numbers_that_are_given():
    t = mg.tensor(np.full((2, 3), 7.0, np.float32), requires_grad=True)
    assert init.constant_(t, 0.25).tolist() == [[0.25] * 3] * 2
    assert init.ones_(t).data.all()
    assert not init.zeros_(t).data.any()
    assert init.eye_(t).tolist() == [[1, 0, 0], [0, 1, 0]]
    assert t.dtype == np.float32


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (6, 2), (3, 2, 4)])
def test_orthogonal(shape):
    t = init.orthogonal_(leaf(np.zeros(shape)), 2.0, rng=0)
    m = t.data.reshape(shape[0], -1)
    m = m if m.shape[0] <= m.shape[1] else m.T
    np.testing.assert_allclose(m @ m.T, 4 * np.eye(len(m)), atol=1e-12)


def test_dirac_keeps_the_input():
    x = np.random.default_rng(0).normal(size=(2, 4, 7))
    for groups in (1, 2):
        conv = nn.Conv1d(4, 4, 3, padding=1, groups=groups, bias=False, dtype=float)
        init.dirac_(conv.weight, groups)
        np.testing.assert_allclose(conv(x).data, x)


def test_sparse():
    t = init.sparse_(leaf(np.zeros((10, 30))), 0.25, std=2.0, rng=0)
    assert ((t.data == 0).sum(0) == 3).all()
    assert t.data[t.data != 0].std() == pytest.approx(2, rel=0.15)


def test_of_all_layers_at_once():
    net = nn.Sequential(nn.Linear(3, 3), mg.relu, nn.Linear(3, 3))

    def begin(m):
        if isinstance(m, nn.Linear):
            init.xavier_uniform_(m.weight, rng=None)
            init.zeros_(m.bias)

    mg.manual_seed(0)
    net.apply(begin)
    assert not net[0].bias.data.any()
    assert not np.array_equal(net[0].weight.data, net[2].weight.data)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: init.zeros_(nn.Linear(1, 1)), r"takes a floating parameter.*net\.apply\(f\)"),
        (lambda t: init.zeros_(np.ones(3)), "takes a floating parameter.*not an array"),
        (lambda t: init.zeros_(t * 2), "takes a floating parameter"),
        (lambda t: init.normal_(mg.tensor([1])), "takes a floating parameter"),
        (lambda t: init.xavier_uniform_(t[0].detach()), "must have 2 or more axes.*shape \\(3,\\)"),
        (lambda t: init.eye_(leaf(np.ones((1, 1, 1)))), "must have 2 axes, and has shape"),
        (lambda t: init.normal_(t, 0, -1), "normal_: std must be at least 0 and finite, not -1"),
        (lambda t: init.normal_(t, np.inf), "normal_: mean must be finite, not inf"),
        (lambda t: init.uniform_(t, 1, 0), "a must be at most b, not 1 and 0"),
        (lambda t: init.trunc_normal_(t, 9), r"too few numbers of mean 9 .* \[-2.0, 2.0\]"),
        (lambda t: init.trunc_normal_(t, 0, 1, 2, 1), "too few"),
        (lambda t: init.kaiming_normal_(t, mode="fan"), 'mode must be "fan_in" or "fan_out"'),
        (lambda t: init.kaiming_normal_(t, nonlinearity="softmax"), "must be one of linear, .*not"),
        (lambda t: init.xavier_normal_(t, 0), "gain must be positive and finite, not 0"),
        (lambda t: init.sparse_(t, 2), r"sparsity must be in \[0, 1\], not 2"),
        (lambda t: init.dirac_(leaf(np.ones((3, 1, 1))), 2), "groups=2 must divide"),
        (lambda t: init.constant_(t, "0"), "val must be a number"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant(call, message):
    t = leaf(np.ones((3, 3)))
    with pytest.raises((TypeError, ValueError), match=message):
        call(t)
    assert (t.data == 1).all()


@pytest.mark.oracle
def test_gains_and_signatures_are_pytorchs():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    for name in (*init._LINEAR, "tanh", "relu", "leaky_relu", "selu"):
        assert init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name))
    assert init.calculate_gain("leaky_relu", 0.2) == torch.nn.init.calculate_gain("leaky_relu", 0.2)
    theirs = {name for name in dir(torch.nn.init) if name[-1] == "_" != name[0]}
    assert theirs == {name for name in init.__all__ if name[-1] == "_"}
    for name in theirs:
        names = list(inspect.signature(getattr(torch.nn.init, name)).parameters)
        ours = [
            "generator" if k == "rng" else k
            for k in inspect.signature(getattr(init, name)).parameters
        ]
        assert ours[1:] == names[1:]
