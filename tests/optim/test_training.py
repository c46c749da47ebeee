"""A hundred steps of training beside PyTorch: the same weights, data and order give one curve."""

import pickle

import numpy as np
import pytest

import minigrad as mg

STEPS, CLASSES, FEATURES = 100, 5, 6


def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, FEATURES))
    y = (x @ rng.normal(size=(FEATURES, CLASSES))).argmax(axis=1)
    return x, y, [rng.permutation(60)[:20] for _ in range(STEPS)]


def ours(dtype, make, schedule):
    net = mg.nn.Sequential(
        mg.nn.Linear(FEATURES, 16, rng=0, dtype=dtype),
        mg.tanh,
        mg.nn.LayerNorm(16, dtype=dtype),
        mg.nn.Linear(16, CLASSES, rng=1, dtype=dtype),
    )
    start = [p.numpy() for p in net.parameters()]
    optimizer = make(mg.optim, net.parameters())
    rates = schedule(mg.optim.lr_scheduler, optimizer)
    loss_of = mg.nn.CrossEntropyLoss(label_smoothing=0.1)
    x, y, batches = data()
    losses = []
    for batch in batches:
        optimizer.zero_grad()
        loss = loss_of(net(x[batch].astype(dtype)), y[batch])
        loss.backward()
        mg.optim.clip_grad_norm_(net.parameters(), 0.5)
        optimizer.step()
        rates.step()
        losses.append(loss.item())
    return losses, start


def theirs(torch, dtype, make, schedule, start):
    dtype = getattr(torch, np.dtype(dtype).name)
    net = torch.nn.Sequential(
        torch.nn.Linear(FEATURES, 16),
        torch.nn.Tanh(),
        torch.nn.LayerNorm(16),
        torch.nn.Linear(16, CLASSES),
    ).to(dtype)
    with torch.no_grad():
        for p, values in zip(net.parameters(), start, strict=True):
            p.copy_(torch.tensor(values))
    optimizer = make(torch.optim, net.parameters())
    rates = schedule(torch.optim.lr_scheduler, optimizer)
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    x, y, batches = (torch.tensor(np.array(part)) for part in data())
    losses = []
    for batch in batches:
        optimizer.zero_grad()
        loss = loss_of(net(x[batch].to(dtype)), y[batch])
        loss.backward()
        # PyTorch divides by the norm + 1e-6, which minigrad does not
        norm = torch.linalg.vector_norm(torch.cat([p.grad.flatten() for p in net.parameters()]))
        for p in net.parameters():
            p.grad *= min(1.0, 0.5 / norm.item())
        optimizer.step()
        rates.step()
        losses.append(loss.item())
    return losses


RUNS = {
    "Adam": (
        lambda m, ps: m.Adam(ps, lr=0.02, weight_decay=0.01),
        lambda m, o: m.CosineAnnealingLR(o, STEPS),
    ),
    "SGD": (
        lambda m, ps: m.SGD(ps, lr=0.2, momentum=0.9, nesterov=True),
        lambda m, o: m.OneCycleLR(o, 0.4, STEPS),
    ),
    "NAdam": (
        lambda m, ps: m.NAdam(ps, lr=0.02),
        lambda m, o: m.SequentialLR(o, [m.LinearLR(o), m.StepLR(o, 30)], [5]),
    ),
}


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("run", RUNS)
def test_a_hundred_steps_are_pytorchs(run, dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    losses, start = ours(dtype, *RUNS[run])
    expected = theirs(torch, dtype, *RUNS[run], start)
    assert losses[-1] < 0.7 * losses[0]
    rtol = 1e-6 if dtype == np.float64 else 1e-3  # rounding grows along the way
    np.testing.assert_allclose(losses, expected, rtol=rtol)


@pytest.mark.parametrize("optimizer_first", [True, False])
def test_a_run_goes_on_bit_for_bit(optimizer_first):
    """Weights, optimiser and schedule are saved and loaded, in either order: as if never stopped.

    The schedule changes learning rates and momenta.
    """

    def made():
        net = mg.nn.Linear(FEATURES, CLASSES, rng=0)
        optimizer = mg.optim.AdamW(net.parameters(), lr=0.01)
        return net, optimizer, mg.optim.OneCycleLR(optimizer, 0.1, STEPS)

    def run(net, optimizer, schedule, batches):
        x, y, _ = data()
        for batch in batches:
            optimizer.zero_grad()
            mg.nn.cross_entropy(net(x[batch].astype(np.float32)), y[batch]).backward()
            optimizer.step()
            schedule.step()

    batches = data()[2]
    whole, half, again = made(), made(), made()
    run(*whole, batches)
    run(*half, batches[:40])
    net, optimizer, schedule = again
    net.load_state_dict(half[0].state_dict())
    for part, saved in [(optimizer, half[1]), (schedule, half[2])][:: 1 if optimizer_first else -1]:
        part.load_state_dict(pickle.loads(pickle.dumps(saved.state_dict())))
    run(*again, batches[40:])
    for p, q in zip(whole[0].parameters(), net.parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data)
