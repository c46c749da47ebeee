"""Schedules against PyTorch's, step by step; where they go on from a state; what is refused."""

import math
import pickle
import warnings

import numpy as np
import pytest

import minigrad as mg
from minigrad import optim

STEPS = 60
SCHEDULES = {  # what makes it, of a module of schedules and an optimiser
    "StepLR": lambda m, o: m.StepLR(o, 7, gamma=0.5),
    "MultiStepLR": lambda m, o: m.MultiStepLR(o, [30, 5, 5, 17], gamma=0.3),
    "ExponentialLR": lambda m, o: m.ExponentialLR(o, 0.93),
    "LinearLR": lambda m, o: m.LinearLR(o),
    "LinearLR, options": lambda m, o: m.LinearLR(o, 0.1, 0.5, 23),
    "CosineAnnealingLR": lambda m, o: m.CosineAnnealingLR(o, 40),
    "CosineAnnealingLR, short": lambda m, o: m.CosineAnnealingLR(o, T_max=7, eta_min=0.001),
    "LambdaLR": lambda m, o: m.LambdaLR(o, lambda t: 1 / (1 + t)),
    "LambdaLR, two": lambda m, o: m.LambdaLR(o, [lambda t: 0.9**t, lambda t: 1.0]),
    "OneCycleLR": lambda m, o: m.OneCycleLR(o, 0.5, STEPS),
    "OneCycleLR, options": lambda m, o: m.OneCycleLR(
        o, [0.5, 1.0], epochs=6, steps_per_epoch=10, pct_start=0.41, anneal_strategy="linear",
        base_momentum=0.7, max_momentum=0.8, div_factor=10.0, final_div_factor=100.0,
    ),
    "OneCycleLR, three phases": lambda m, o: m.OneCycleLR(o, 0.5, STEPS, three_phase=True),
    "OneCycleLR, rates alone": lambda m, o: m.OneCycleLR(o, 0.5, STEPS, cycle_momentum=False),
    "ChainedScheduler": lambda m, o: m.ChainedScheduler(
        [m.LinearLR(o, 0.1, total_iters=9), m.ExponentialLR(o, 0.95), m.StepLR(o, 11)]
    ),
    "SequentialLR": lambda m, o: m.SequentialLR(
        o,
        [m.LinearLR(o, 0.2, total_iters=10), m.CosineAnnealingLR(o, 30), m.ExponentialLR(o, 0.9)],
        [10, 40],
    ),
}  # fmt: skip
KINDS = {
    "SGD": {"momentum": 0.9}, "Adam": {},
}  # fmt: skip
every = pytest.mark.parametrize("name", SCHEDULES)


def made(kind="SGD"):
    """An optimiser of two groups."""
    p, q = (mg.tensor([1.0], requires_grad=True) for _ in "pq")
    groups = [{"params": [p]}, {"params": [q], "lr": 0.03}]
    return getattr(optim, kind)(groups, lr=0.1, **KINDS[kind])


def seen(optimizer):
    """The rates and momenta of all groups."""
    return [
        (g["lr"], g["momentum"] if "momentum" in g else g["betas"][0])
        for g in optimizer.param_groups
    ]


def run(optimizer, schedule, steps):
    rows = []
    for _ in range(steps):
        schedule.step()
        rows.append(seen(optimizer))
    return rows


@pytest.fixture(scope="module")
def torch():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("torch", reason="PyTorch is not installed")


def theirs(torch, kind="SGD"):
    p, q = (torch.ones(1, requires_grad=True) for _ in "pq")
    groups = [{"params": [p]}, {"params": [q], "lr": 0.03}]
    return getattr(torch.optim, kind)(groups, lr=0.1, **KINDS[kind])


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step")
@pytest.mark.parametrize("kind", KINDS)
@every
def test_schedules_are_pytorchs(torch, name, kind):
    """All rates and momenta, to 1e-12, the last steps of a cycle included."""
    ours, others = made(kind), theirs(torch, kind)
    one = SCHEDULES[name](optim, ours)
    other = SCHEDULES[name](torch.optim.lr_scheduler, others)
    np.testing.assert_allclose(seen(ours), seen(others), rtol=1e-12)
    rows = run(ours, one, STEPS - 1)
    np.testing.assert_allclose(rows, run(others, other, STEPS - 1), rtol=1e-12, atol=1e-16)
    assert one.get_last_lr() == [lr for lr, _ in rows[-1]]


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step")
def test_back_to_back_and_with_rates_set_by_hand(torch):
    """Two schedules in one loop, and a loop that changes the rate: both are as in PyTorch."""
    rows = []
    for module, optimizer in ((optim, made()), (torch.optim.lr_scheduler, theirs(torch))):
        one, other = module.LinearLR(optimizer), module.CosineAnnealingLR(optimizer, 20)
        rows.append([])
        for t in range(STEPS):
            one.step()
            other.step()
            if t == 7:
                optimizer.param_groups[0]["lr"] *= 0.5
            rows[-1].append(seen(optimizer))
    np.testing.assert_allclose(*rows, rtol=1e-12, atol=1e-16)


PLATEAUS = [
    {}, {"patience": 2, "factor": 0.5}, {"patience": 1, "cooldown": 3},
    {"patience": 1, "min_lr": 0.02}, {"patience": 0, "threshold": 0.1},
    {"patience": 1, "mode": "max"},
    {"patience": 1, "threshold": 0.5, "threshold_mode": "abs"},
    {"patience": 0, "threshold": 0.2, "threshold_mode": "abs", "mode": "max"},
    {"patience": 0, "eps": 0.05},
]  # fmt: skip


@pytest.mark.oracle
@pytest.mark.parametrize("options", PLATEAUS, ids=str)
def test_plateaus_are_pytorchs(torch, options):
    losses = np.random.default_rng(3).normal(size=STEPS) + np.linspace(2, 0, STEPS)
    rows = []
    for module, optimizer in ((optim, made()), (torch.optim.lr_scheduler, theirs(torch))):
        schedule = module.ReduceLROnPlateau(optimizer, **options)
        rows.append([])
        for loss in losses:
            schedule.step(loss)
            rows[-1].append(seen(optimizer))
    np.testing.assert_allclose(*rows, rtol=1e-12)
    if options:
        assert rows[0][-1] != rows[0][0], "nothing was reduced: the case tests nothing"


def test_a_warm_up():
    optimizer = made()
    schedule = optim.LinearWarmup(optimizer, 4)
    rates = [optimizer.param_groups[0]["lr"], *[r[0][0] for r in run(optimizer, schedule, 6)]]
    np.testing.assert_allclose(rates, [0.025, 0.05, 0.075, *[0.1] * 4])


def test_a_cycle_ends_at_its_smallest_rate():
    """The loop that calls step() after its last batch too does not make it rise, or negative."""
    for anneal in ("cos", "linear"):
        optimizer = made()
        schedule = optim.OneCycleLR(optimizer, 0.5, 10, anneal_strategy=anneal)
        rows = run(optimizer, schedule, 10)
        assert rows[-1] == rows[-2]
        assert rows[-1][0][0] == pytest.approx(0.5 / 25 / 1e4)
        with pytest.raises(ValueError, match="there are 10 steps, and this is one more"):
            schedule.step()
    for share in (0.0, 0.1, 1.0):
        run(optimizer, optim.OneCycleLR(optimizer, 0.5, 10, pct_start=share), 9)


# ---- states --------------------------------------------------------------------------------------


@every
def test_a_schedule_goes_on_from_its_state(name):
    """The state has the rates in it, so that the order of loading does not matter."""
    ours = made()
    one = SCHEDULES[name](optim, ours)
    run(ours, one, 13)
    state = pickle.loads(pickle.dumps(one.state_dict()))
    rows = run(ours, one, 40)
    again = made()
    other = SCHEDULES[name](optim, again)
    other.load_state_dict(state)
    np.testing.assert_array_equal(run(again, other, 40), rows)


def test_a_plateau_goes_on_from_its_state():
    losses = np.random.default_rng(3).normal(size=STEPS)
    ours = made()
    one = optim.ReduceLROnPlateau(ours, patience=2)
    for loss in losses[:20]:
        one.step(loss)
    again = made()
    other = optim.ReduceLROnPlateau(again, patience=5)
    other.load_state_dict(one.state_dict())
    for loss in losses[20:]:
        one.step(loss)
        other.step(loss)
        assert seen(ours) == seen(again)


def test_states_of_something_else():
    optimizer = made()
    schedule = optim.StepLR(optimizer, 3)
    state = schedule.state_dict()
    for bad, message in [
        (optim.ExponentialLR(made(), 0.9).state_dict(), "it is of ExponentialLR; missing step_siz"),
        (state | {"more": 1}, "unexpected more"),
        ({k: v for k, v in state.items() if k != "gamma"}, "missing gamma"),
        (state | {"last_lr": [0.1]}, "it has 1 groups, expected 2"),
        (state | {"gamma": -1}, "gamma must be positive"),
    ]:
        with pytest.raises(ValueError, match=message):
            schedule.load_state_dict(bad)
    with pytest.raises(TypeError, match="takes a dict"):
        schedule.load_state_dict(None)
    chained = SCHEDULES["ChainedScheduler"](optim, made())
    with pytest.raises(ValueError, match="it has 1 schedules, expected 3"):
        chained.load_state_dict(optim.ChainedScheduler([schedule]).state_dict())


# ---- what cannot be meant ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda o: optim.StepLR(o.params, 3), "StepLR: takes an optimiser first, not"),
        (lambda o: optim.LambdaLR(None, abs), "takes an optimiser first, not None"),
        (lambda o: optim.StepLR(o, 0), "step_size must be an integer, at least 1, not 0"),
        (lambda o: optim.StepLR(o, 3, gamma=0), "StepLR: gamma must be positive"),
        (lambda o: optim.MultiStepLR(o, [1, 2.5]), "milestones must be an integer"),
        (lambda o: optim.ExponentialLR(o, math.nan), "gamma must be positive and finite, not nan"),
        (lambda o: optim.LinearLR(o, 0), r"start_factor must be in \(0, 1\]"),
        (lambda o: optim.LinearWarmup(o, 1), "at least 2"),
        (lambda o: optim.CosineAnnealingLR(o, 0), "T_max must be an integer, at least 1"),
        (lambda o: optim.CosineAnnealingLR(o, 5, -1), "eta_min must be at least 0"),
        (lambda o: optim.LambdaLR(o, [abs]), "each of the 2 groups"),
        (lambda o: optim.LambdaLR(o, lambda t: -1.0), "SGD: lr must be at least 0"),
        (lambda o: optim.OneCycleLR(o, 0.1), "give total_steps, or epochs and steps_per_epoch"),
        (lambda o: optim.OneCycleLR(o, 0.1, 9, anneal_strategy="exp"), "'cos' or 'linear', not 'e"),
        (lambda o: optim.OneCycleLR(o, 0.1, 9, pct_start=2), r"pct_start must be in \[0, 1\]"),
        (lambda o: optim.OneCycleLR(o, 0.1, 9, pct_start=0.6, three_phase=True), "at most 0.5"),
        (lambda o: optim.OneCycleLR(o, [0.1], 9), "1 max_lr for 2 groups"),
        (
            lambda o: optim.OneCycleLR(o, 0.1, 9, max_momentum=1),
            "max_momentum must be in",
        ),
        (lambda o: optim.OneCycleLR(optim.Adagrad(o.params), 0.1, 9), "Adagrad has no momentum"),
        (lambda o: optim.ReduceLROnPlateau(o, "low"), "mode must be 'min' or 'max', not 'low'"),
        (lambda o: optim.ReduceLROnPlateau(o, factor=1), r"factor must be in \(0, 1\)"),
        (lambda o: optim.ReduceLROnPlateau(o).step(math.nan), "is nan"),
        (lambda o: optim.ReduceLROnPlateau(o).step([1.0]), "step takes a number"),
        (lambda o: optim.ReduceLROnPlateau(o).step(), "metrics"),
        (lambda o: optim.ChainedScheduler([]), "takes a list of schedules"),
        (lambda o: optim.ChainedScheduler([optim.ReduceLROnPlateau(o)]), "step by themselves"),
        (
            lambda o: optim.ChainedScheduler([optim.StepLR(o, 1), optim.StepLR(made(), 1)]),
            "of one optimiser",
        ),
        (
            lambda o: optim.SequentialLR(o, [optim.StepLR(o, 1), optim.StepLR(o, 1)], []),
            "2 schedules need 1 rising milestones",
        ),
    ],
)
def test_what_a_schedule_refuses(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make(made())


def test_a_group_added_too_late():
    optimizer = made()
    schedule = optim.StepLR(optimizer, 3)
    optimizer.add_param_group({"params": [mg.tensor([1.0], requires_grad=True)]})
    with pytest.raises(ValueError, match="has 3 groups, and had 2; make the schedule after"):
        schedule.step()


def test_plateaus_take_tensors():
    schedule = optim.ReduceLROnPlateau(made())
    for loss in (np.float32(1.0), np.array(0.5), mg.tensor(0.25, requires_grad=True) * 1.0):
        schedule.step(loss)
    assert (schedule.best, schedule.last_epoch) == (0.25, 3)


def test_they_have_pytorchs_address():
    assert optim.lr_scheduler.StepLR is optim.StepLR
    assert optim.lr_scheduler.ChainedScheduler is optim.ChainedScheduler
