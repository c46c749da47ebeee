"""Averages of weights against their definition and PyTorch's."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim


class Net(nn.Module):
    def __init__(self):
        self.norm = nn.BatchNorm1d(2, dtype=np.float64)
        self.out = nn.Linear(2, 1, rng=0, dtype=np.float64)

    def forward(self, x):
        return self.out(self.norm(x))


def trained(net, updates, steps=6):
    """The weights of a training run, after each step."""
    optimizer, rng, rows = optim.SGD(net.parameters(), lr=0.3), np.random.default_rng(0), []
    for _ in range(steps):
        optimizer.zero_grad()
        net(rng.normal(size=(8, 2))).sum().backward()
        optimizer.step()
        rows.append(net.out.weight.numpy())
        for average in updates:
            average.update_parameters(net)
    return rows


def test_averages_are_what_they_say():
    net = Net()
    swa, ema = optim.AveragedModel(net), optim.AveragedModel(net, decay=0.8)
    start = net.out.weight.numpy()
    np.testing.assert_array_equal(swa.module.out.weight.data, start)
    rows = trained(net, [swa, ema])
    np.testing.assert_allclose(swa.module.out.weight.data, np.mean(rows, axis=0), rtol=1e-12)
    expected = rows[0]
    for row in rows[1:]:
        expected = 0.8 * expected + 0.2 * row
    np.testing.assert_allclose(ema.module.out.weight.data, expected, rtol=1e-12)
    np.testing.assert_array_equal(swa.module.norm.running_mean.data, net.norm.running_mean.data)
    assert swa.n_averaged.item() == len(rows)
    x = np.ones((3, 2))
    np.testing.assert_array_equal(swa.eval()(x).data, swa.module(x).data)
    assert not np.array_equal(swa(x).data, net.eval()(x).data)


def test_statistics_of_an_average():
    """Those of the data, whatever the running ones were; modes and momenta are as before."""
    net, rng = Net(), np.random.default_rng(0)
    batches = [(rng.normal(size=(8, 2)), None) for _ in range(5)]
    trained(net, [])
    net.norm.training = False
    for given in (batches, [x for x, _ in batches]):
        optim.update_bn(given, net)
        means = np.mean([x.mean(axis=0) for x, _ in batches], axis=0)
        variances = np.mean([x.var(axis=0, ddof=1) for x, _ in batches], axis=0)
        np.testing.assert_allclose(net.norm.running_mean.data, means, rtol=1e-12)
        np.testing.assert_allclose(net.norm.running_var.data, variances, rtol=1e-12)
    assert (net.training, net.norm.training, net.norm.momentum) == (True, False, 0.1)
    with pytest.raises(ValueError, match="there are no batches"):
        optim.update_bn(iter([]), net)
    optim.update_bn([], nn.Linear(2, 1))  # which has none to set


@pytest.mark.oracle
@pytest.mark.parametrize("decay", [None, 0.9])
def test_averages_are_pytorchs(decay):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    utils = pytest.importorskip("torch.optim.swa_utils")
    net, other = nn.Linear(2, 1, dtype=np.float64), torch.nn.Linear(2, 1, dtype=torch.float64)
    how = {} if decay is None else {"multi_avg_fn": utils.get_ema_multi_avg_fn(decay)}
    ours, theirs = optim.AveragedModel(net, decay=decay), utils.AveragedModel(other, **how)
    rng = np.random.default_rng(0)
    for _ in range(10):
        for name, p in net.named_parameters():
            p.data = rng.normal(size=p.shape)
            getattr(other, name).data = torch.tensor(p.numpy())
        ours.update_parameters(net)
        theirs.update_parameters(other)
    for name, p in ours.module.named_parameters():
        expected = getattr(theirs.module, name).detach().numpy()
        np.testing.assert_allclose(p.data, expected, rtol=1e-12)


def test_an_average_is_saved_and_goes_on(tmp_path):
    net = Net()
    one, other = optim.AveragedModel(net, decay=0.5), optim.AveragedModel(Net(), decay=0.5)
    trained(net, [one])
    mg.io.save(one, tmp_path / "average")
    mg.io.load(other, tmp_path / "average")
    for average in (one, other):
        average.update_parameters(net)
    for name, value in one.state_dict().items():
        np.testing.assert_array_equal(value, other.state_dict()[name])


def test_averages_keep_dtypes_and_memory_of_their_own():
    for dtype in (np.float16, np.float32):
        net = nn.Linear(2, 1, dtype=dtype)
        average = optim.AveragedModel(net, decay=0.9)
        for _ in range(2):
            average.update_parameters(net)
            for p, q in zip(average.module.parameters(), net.parameters(), strict=True):
                assert p.dtype == dtype
                assert not np.shares_memory(p.data, q.data)


def test_averages_of_something_else():
    average = optim.AveragedModel(nn.Linear(2, 1))
    with pytest.raises(ValueError, match="other parameters than the one averaged: weight"):
        average.update_parameters(nn.Linear(3, 1))
    with pytest.raises(ValueError, match="averaged: bias"):
        average.update_parameters(nn.Linear(2, 1, bias=False))
    with pytest.raises(TypeError, match="takes a module, not"):
        optim.AveragedModel([1.0])
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\), not 1"):
        optim.AveragedModel(nn.Linear(2, 1), decay=1)
