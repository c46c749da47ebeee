"""Optimisers against their formulas and PyTorch; clipping; what cannot be meant."""

import copy
import pickle

import numpy as np
import pytest

import minigrad as mg


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
    with pytest.raises(ValueError, match="lr must be positive and finite, not -1"):
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


def test_clipping_of_gradients_whose_squares_are_no_numbers():
    """1e200 squared is infinite, 1e-200 squared is zero; the norms are neither."""
    for size in (1e200, 1e-200):
        p, q = (mg.tensor(np.zeros(1), requires_grad=True) for _ in "pq")
        p.grad, q.grad = np.array([3 * size]), np.array([4 * size])
        assert mg.optim.clip_grad_norm_([p, q], size) == pytest.approx(5 * size)
        np.testing.assert_allclose([*p.grad, *q.grad], [0.6 * size, 0.8 * size])


def _leaf(*values, name=None):
    return mg.tensor(np.array(values), requires_grad=True, name=name)


OPTIMISERS = {
    "sgd": lambda params, **more: mg.optim.SGD(params, lr=0.1, **more),
    "momentum": lambda params, **more: mg.optim.SGD(params, lr=0.1, momentum=0.9, **more),
    "adam": lambda params, **more: mg.optim.Adam(params, lr=0.1, **more),
    "adamw": lambda params, **more: mg.optim.AdamW(params, lr=0.1, **more),
}
every = pytest.mark.parametrize("make", OPTIMISERS.values(), ids=OPTIMISERS)


@every
def test_a_frozen_parameter_rests(make):
    """Frozen after a step: its old gradient, its momentum and its decay have no hold on it."""
    p, q = _leaf(1.0), _leaf(2.0)
    optimizer = make([p, q], weight_decay=0.5)
    p.grad, q.grad = np.ones(1), np.ones(1)
    optimizer.step()
    p.requires_grad, before = False, (p.item(), q.item())
    assert mg.optim.clip_grad_norm_([p, q], 9.0) == 1.0  # of q alone
    optimizer.step()
    assert p.item() == before[0]
    assert q.item() != before[1]
    p.requires_grad = True
    optimizer.step()
    assert p.item() != before[0]


def test_a_module_forgets_the_gradients_of_frozen_parameters_too():
    net = mg.nn.Linear(1, 1)
    net(np.ones((1, 1), np.float32)).sum().backward()
    net.weight.requires_grad = False
    net.zero_grad()
    assert net.weight.grad is None


@every
def test_each_parameter_counts_its_own_steps(make):
    """What one parameter does must not depend on when another got its gradients."""
    alone, late, other = _leaf(3.0), _leaf(3.0), _leaf(1.0)
    one, both = make([alone]), make([other, late])
    for k in range(9):
        other.grad = np.array([0.1])
        late.grad = None if k < 5 else np.array([0.3 + k])
        both.step()
        if k >= 5:
            alone.grad = late.grad
            one.step()
    assert alone.item() == late.item()


@every
def test_what_an_optimiser_remembers_is_its_own(make):
    """It shares no memory with gradients or parameters, which users change in place."""
    p = _leaf(1.0, 2.0)
    optimizer = make([p])
    for _ in range(2):
        p.grad = np.array([1.0, -1.0])
        before = p.grad.copy()
        optimizer.step()
        assert (p.grad == before).all()
        held = [v for v in optimizer.memory[0].values() if isinstance(v, np.ndarray)]
        for a in held:
            assert [b for b in (p.grad, p.data) if np.shares_memory(a, b)] == []
        assert not np.shares_memory(p.grad, p.data)


@every
def test_a_gradient_that_is_no_gradient(make):
    p, q = _leaf(1.0, 2.0, name="p"), _leaf(1.0, 2.0, name="q")
    optimizer = make([p, q])
    for bad, message in (
        (np.array([1.0, np.nan]), "q is not finite.*mg.debug"),
        (np.array([1.0]), r"q has shape \(1,\), and must have \(2,\)"),
    ):
        p.grad, q.grad = np.ones(2), bad
        with pytest.raises(ValueError, match=message):
            optimizer.step()
    assert p.tolist() == q.tolist() == [1.0, 2.0]  # nothing moved, nor is anything remembered
    assert optimizer.memory == [{}, {}]


@every
def test_half_precision_is_moved_in_single(make):
    """In float16, 1e-8 is 0 and so is the square of 1e-4: Adam would divide by zero."""
    half, single = (mg.tensor(np.ones(2, d), requires_grad=True) for d in (np.float16, np.float32))
    optimizers = make([half]), make([single])
    for p, optimizer in zip((half, single), optimizers, strict=True):
        p.grad = np.array([0.0, 1e-4], p.dtype)
        optimizer.step()
    assert half.dtype == np.float16
    np.testing.assert_allclose(half.data, single.data, rtol=1e-3)


def test_a_step_without_gradients_is_noticed():
    p = _leaf(1.0)
    with pytest.warns(UserWarning, match=r"SGD.step: no parameter has a gradient.*backward"):
        mg.optim.SGD([p], lr=0.1).step()
    with pytest.warns(UserWarning, match="clip_grad_norm_: no parameter has a gradient"):
        assert mg.optim.clip_grad_norm_([p], 1.0) == 0
    with pytest.warns(UserWarning, match="none of the parameters requires a gradient") as caught:
        mg.optim.SGD([mg.tensor([1.0])], lr=0.1)
    assert caught[0].filename == __file__


NET = mg.nn.Linear(2, 1)
W = _leaf(1.0, name="w")
PARAMETERS = {
    "a module": (lambda: NET, TypeError, r"not a module; write net\.parameters\(\)"),
    "a method": (lambda: NET.parameters, TypeError, r"write parameters\(\), with parentheses"),
    "pairs": (lambda: NET.named_parameters(), TypeError, r"instead of net\.named_parameters\(\)"),
    "a dict": (lambda: {"w": W}, TypeError, r"list\(d\.values\(\)\)"),
    "groups": (lambda: [{"params": [W]}], TypeError, "one optimiser for each group"),
    "a list in a list": (lambda: [[W]], TypeError, "one flat list"),
    "modules": (lambda: [NET], TypeError, r"write its \.parameters\(\)"),
    "one tensor": (lambda: W, TypeError, r"list of tensors; write \[w\]"),
    "an array": (lambda: [np.ones(2)], TypeError, r"array of shape \(2,\); write mg\.tensor"),
    "a result": (lambda: [W * 2], TypeError, "the result of multiply"),
    "a number": (lambda: 3, TypeError, "list of tensors, not 3"),
    "nothing": (list, ValueError, "no parameters"),
    "a used generator": (lambda: (p for p in []), ValueError, "generator that was used up"),
    "one twice": (lambda: [_leaf(2.0), W, W], ValueError, "w is given twice, at 1 and 2"),
}


@every
@pytest.mark.parametrize("name", PARAMETERS)
def test_what_is_no_list_of_parameters(make, name):
    give, kind, message = PARAMETERS[name]
    with pytest.raises(kind, match=message):
        make(give())
    with pytest.raises(kind, match=f"clip_grad_norm_.*{message}"):
        mg.optim.clip_grad_norm_(give(), 1.0)


def test_a_module_is_refused_also_where_the_learning_rate_is_missing():
    with pytest.raises(TypeError, match=r"write net\.parameters\(\)"):
        mg.optim.SGD(NET)
    with pytest.raises(TypeError, match="'lr'"):
        mg.optim.SGD(NET.parameters())
    optimizer = mg.optim.SGD(NET.parameters(), lr=0.1)
    assert copy.deepcopy(optimizer).lr == pickle.loads(pickle.dumps(optimizer)).lr == 0.1


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        (name, bad)
        for name, values in {
            "lr": [0, -1, np.inf, np.nan, "fast", None, True, np.ones(1), [0.1]],
            "weight_decay": [-0.1, np.inf, np.nan, True],
            "momentum": [-0.1, 1, 5, np.nan, True],
            "betas": [(1.0, 0.9), (0.9, 2.0), (-0.1, 0.9), (np.nan, 0.9), 0.9, (0.9,)],
            "eps": [-1, np.nan, np.inf, True],
        }.items()
        for bad in values
    ],
)
def test_numbers_that_cannot_be_meant(name, bad):
    """Neither when the optimiser is made, nor later."""
    optimizers = [mg.optim.SGD] if name == "momentum" else [mg.optim.Adam, mg.optim.AdamW]
    for kind in [*optimizers, *([mg.optim.SGD] if name in ("lr", "weight_decay") else [])]:
        with pytest.raises((ValueError, TypeError), match=rf"^{kind.__name__}: {name}.* must be"):
            kind([W], **({"lr": 0.1} | {name: bad}))
        optimizer = kind([W], lr=0.1)
        if (name, bad) == ("lr", 0):
            continue  # where a schedule ends
        with pytest.raises((ValueError, TypeError), match=f"^{kind.__name__}: {name}"):
            setattr(optimizer, name, bad)
    for given in (np.float32(0.5), np.int64(1), 1):
        assert type(mg.optim.SGD([W], lr=given).lr) in (float, int)  # weak: float32 stays float32


def test_a_step_takes_no_loss():
    with pytest.raises(TypeError, match=r"step\(\) takes no arguments; write loss\.backward\(\)"):
        mg.optim.SGD([W], lr=0.1).step(W.sum())
