"""Optimisers against their formulas, clipping, windows and batches, the training loop."""

import io

import numpy as np
import pytest

import minigrad as mg
from minigrad.data import batches, windows
from minigrad.train import fit


def _minimise(make, steps=5):
    p = mg.tensor(np.array([1.0, -2.0]), requires_grad=True, name="p")
    optimizer, seen = make([p]), []
    for _ in range(steps):
        optimizer.zero_grad()
        (p * p * np.array([1.0, 3.0])).sum().backward()
        optimizer.step()
        seen.append(p.numpy())
    return np.array(seen)


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"lr": 0.1}),
        ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}),
        ("Adam", {"lr": 0.1}),
        ("Adam", {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
        ("AdamW", {"lr": 0.1, "weight_decay": 0.2}),
    ],
)
def test_optimisers_are_pytorchs(name, options):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    ours = _minimise(lambda params: getattr(mg.optim, name)(params, **options))
    p = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
    optimizer = getattr(torch.optim, name)([p], **options)
    for row in ours:
        optimizer.zero_grad()
        (p * p * torch.tensor([1.0, 3.0])).sum().backward()
        optimizer.step()
        np.testing.assert_allclose(row, p.detach().numpy(), rtol=1e-12)


def test_the_first_steps_by_hand():
    p, g = np.array([1.0, -2.0]), np.array([2.0, -12.0])
    np.testing.assert_allclose(_minimise(lambda q: mg.optim.SGD(q, lr=0.1), 1)[0], p - 0.1 * g)
    adam = _minimise(lambda q: mg.optim.Adam(q, lr=0.1), 1)[0]
    np.testing.assert_allclose(adam, p - 0.1 * np.sign(g), rtol=1e-7)
    adamw = _minimise(lambda q: mg.optim.AdamW(q, lr=0.1, weight_decay=0.5), 1)[0]
    np.testing.assert_allclose(adamw, p * 0.95 - 0.1 * np.sign(g), rtol=1e-7)


def test_float32_stays_float32():
    p = mg.tensor([1.0, 2.0], requires_grad=True)
    optimizer = mg.optim.Adam([p], weight_decay=0.1)
    (p * p).sum().backward()
    mg.optim.clip_grad_norm_([p], 0.5)
    optimizer.step()
    assert (p.dtype, p.grad.dtype) == (np.float32, np.float32)


def test_optimisers_refuse_what_they_cannot_move():
    p = mg.tensor([1.0], requires_grad=True)
    with pytest.raises(ValueError, match="no parameters"):
        mg.optim.SGD([], lr=0.1)
    with pytest.raises(TypeError, match="leaf tensors"):
        mg.optim.SGD([p * 2], lr=0.1)
    with pytest.raises(ValueError, match="positive, not -1"):
        mg.optim.Adam([p], lr=-1)


def test_clipping():
    p, q = (mg.tensor(np.zeros(n), requires_grad=True, name=f"w{n}") for n in (1, 2))
    p.grad, q.grad = np.array([3.0]), np.array([0.0, 4.0])
    assert mg.optim.clip_grad_norm_([p, q], 10.0) == 5.0
    assert q.grad.tolist() == [0, 4]
    assert mg.optim.clip_grad_norm_([p, q], 1.0) == 5.0
    np.testing.assert_allclose([*p.grad, *q.grad], [0.6, 0, 0.8])
    q.grad[1] = np.nan
    with pytest.raises(ValueError, match="gradient of w2 is not finite"):
        mg.optim.clip_grad_norm_([p, q], 1.0)
    assert p.grad[0] == pytest.approx(0.6)
    with pytest.raises(ValueError, match="positive"):
        mg.optim.clip_grad_norm_([p], -1.0)


def test_windows():
    x, y = windows(np.arange(5.0), 3)
    assert x.tolist() == [[0, 1, 2], [1, 2, 3]]
    assert y.tolist() == [3, 4]
    with pytest.raises(ValueError, match=r"1 value.* position 2 \(nan\)"):
        windows([1.0, 2.0, np.nan, 4.0], 2)
    with pytest.raises(ValueError, match="series of 2 values"):
        windows([1.0, 2.0], 2)
    with pytest.raises(ValueError, match="one axis"):
        windows(np.ones((2, 2)), 1)


def test_batches():
    x, y = np.arange(5), np.arange(5) * 10
    assert [a.tolist() for a, _ in batches(x, y, size=2)] == [[0, 1], [2, 3], [4]]
    shuffled = list(batches(x, y, size=2, rng=np.random.default_rng(0)))
    assert sorted(np.concatenate([a for a, _ in shuffled])) == x.tolist()
    assert all((b == 10 * a).all() for a, b in shuffled)
    with pytest.raises(ValueError, match="size 0"):
        next(batches(x, size=0))


def _fit(loss, validations, **options):
    net = mg.nn.Linear(1, 1, rng=0)
    supply = iter(validations)
    out = io.StringIO()
    history = fit(
        net,
        mg.optim.SGD(net.parameters(), lr=0.1),
        lambda: [1.0, 2.0],
        lambda batch: loss(net, batch),
        lambda: next(supply),
        epochs=len(validations),
        out=out,
        **options,
    )
    return net, history, out.getvalue()


def _square(net, batch):
    return mg.nn.mse_loss(net(np.full((1, 1), batch, np.float32)), np.ones((1, 1), np.float32))


def test_fit_stops_early_and_keeps_the_best():
    net, history, text = _fit(_square, [3.0, 1.0, 2.0, 2.0, 0.5], patience=2)
    assert history["validation"] == [3.0, 1.0, 2.0, 2.0]
    assert history.best == 1
    best, *_ = _fit(_square, [3.0, 1.0])
    np.testing.assert_array_equal(net.weight.data, best.weight.data)
    assert text.count("\n") == 4
    assert "epoch 2/5" in text
    assert not net.training


def test_fit_raises_on_a_loss_that_is_not_finite_and_restores():
    before = mg.nn.Linear(1, 1, rng=0).weight.numpy()
    with pytest.raises(FloatingPointError, match="nan in epoch 1"):
        _fit(lambda net, batch: _square(net, batch) * np.float32(np.nan), [1.0])

    def interrupted(net, batch):
        interrupted.net = net
        if batch == 2.0:
            raise KeyboardInterrupt
        return _square(net, batch)

    _, history, text = _fit(interrupted, [1.0])
    assert "interrupted" in text
    assert history.epochs == []
    np.testing.assert_array_equal(interrupted.net.weight.data, before)


def test_fit_without_batches():
    net = mg.nn.Linear(1, 1)
    with pytest.raises(ValueError, match="no batches"):
        fit(net, mg.optim.SGD(net.parameters(), lr=1), list, _square, float, epochs=1, out=None)
