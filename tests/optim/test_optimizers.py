"""Optimisers against their formulas and PyTorch; clipping; what cannot be meant."""

import copy
import pickle
import tracemalloc

import numpy as np
import pytest

import minigrad as mg

OPTIONS = [
    ("SGD", {}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "maximize": True, "weight_decay": 0.1}),
    ("Adam", {}),
    ("Adam", {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.1, "amsgrad": True, "betas": (0.9, 0.9)}),
    ("Adam", {"lr": 0.1, "decoupled_weight_decay": True, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.1, "maximize": True, "betas": (0.0, 0.9)}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.2, "amsgrad": True}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.0}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.1, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.1, "momentum": 0.9}),
    ("RMSprop", {"lr": 0.1, "centered": True}),
    ("RMSprop", {"lr": 0.1, "centered": True, "momentum": 0.9, "weight_decay": 0.1}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "eps": 1e-3}),
    ("Adagrad", {"lr": 0.1, "initial_accumulator_value": 0.5}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5, "rho": 0.5, "eps": 1e-3, "weight_decay": 0.1}),
    ("NAdam", {}),
    ("NAdam", {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3, "momentum_decay": 0.1}),
    ("NAdam", {"lr": 0.1, "weight_decay": 0.1}),
    ("NAdam", {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}),
]
table = pytest.mark.parametrize(
    ("name", "options"), OPTIONS, ids=[f"{name}-{[*o]}" for name, o in OPTIONS]
)
SHAPES = (), (7,), (3, 4), (2, 1, 3)


def steps(count, seed=0):
    """The gradients of the parameters in each step: of growing size, some zero, some missing."""
    rng = np.random.default_rng(seed)
    for t in range(count):
        gradients = [np.array((1 + t / 10) * rng.normal(size=shape)) for shape in SHAPES]
        gradients[2][:, 0] = 0
        yield gradients if t % 5 != 2 else [None, *gradients[1:]]


def started():
    rng = np.random.default_rng(1)
    return [mg.tensor(np.array(rng.normal(size=shape)), requires_grad=True) for shape in SHAPES]


@pytest.fixture
def torch():
    """PyTorch, whose optimisers count in its default dtype: NAdam's products of mu, for one."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.set_default_dtype(torch.float64)
    yield torch
    torch.set_default_dtype(torch.float32)


@pytest.mark.oracle
@table
def test_optimisers_are_pytorchs(torch, name, options):
    """50 steps, each equal to 1e-12; two groups, the second with a learning rate of its own."""
    ours = started()
    theirs = [torch.tensor(p.numpy(), requires_grad=True) for p in ours]
    one, other = (
        getattr(module, name)([{"params": ps[:3]}, {"params": ps[3:], "lr": 0.03}], **options)
        for module, ps in ((mg.optim, ours), (torch.optim, theirs))
    )
    for gradients in steps(50):
        for p, q, g in zip(ours, theirs, gradients, strict=True):
            p.grad, q.grad = g, None if g is None else torch.tensor(g)
        one.step()
        other.step()
        for p, q in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_lion_is_its_paper(decay):
    """Chen et al., 2023, program 1, written in NumPy."""
    (b1, b2), lr = (0.9, 0.99), 0.02
    p = started()[2]
    w, m = p.numpy(), np.zeros(p.shape)
    optimizer = mg.optim.Lion([p], lr, (b1, b2), decay)
    for gradients in steps(50):
        p.grad = g = gradients[2]
        optimizer.step()
        update = np.sign(m * b1 + g * (1 - b1))
        m = m * b2 + g * (1 - b2)
        w = w - lr * (update + w * decay)
        np.testing.assert_allclose(p.data, w, rtol=1e-12)


def _minimise(make, steps=5):
    p = mg.tensor(np.array([1.0, -2.0]), requires_grad=True, name="p")
    optimizer, seen = make([p]), []
    for _ in range(steps):
        optimizer.zero_grad()
        (p * p * np.array([1.0, 3.0])).sum().backward()
        optimizer.step()
        seen.append(p.numpy())
    return np.array(seen)


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


@pytest.mark.oracle
@pytest.mark.parametrize("norm_type", [1, 1.5, 2, 3, np.inf])
def test_norms_are_pytorchs(torch, norm_type):
    ours, rng = started(), np.random.default_rng(0)
    theirs = [torch.tensor(p.numpy(), requires_grad=True) for p in ours]
    for p, q in zip(ours, theirs, strict=True):
        p.grad = np.array(rng.normal(size=p.shape))
        q.grad = torch.tensor(p.grad)
    norm = mg.optim.clip_grad_norm_(ours, 0.5, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs, 0.5, norm_type)
    assert norm == pytest.approx(float(expected), rel=1e-12)
    for p, q in zip(ours, theirs, strict=True):  # PyTorch's are smaller by 1e-6 / norm
        np.testing.assert_allclose(p.grad, q.grad.numpy(), rtol=2e-6)


def test_clipping_by_value():
    p, q = _leaf(0.0, 0.0, name="p"), _leaf(0.0, name="q")
    p.grad, q.grad = before = np.array([3.0, -0.1]), np.array([-2.0])
    mg.optim.clip_grad_value_([p, q], 0.5)
    assert (p.grad.tolist(), q.grad.tolist()) == ([0.5, -0.1], [-0.5])
    assert before[0].tolist() == [3.0, -0.1]
    q.grad = np.array([np.inf])
    with pytest.raises(ValueError, match="clip_grad_value_: the gradient of q is not finite"):
        mg.optim.clip_grad_value_([p, q], 0.1)
    assert p.grad.tolist() == [0.5, -0.1]
    with pytest.raises(ValueError, match="clip_value must be positive, not 0"):
        mg.optim.clip_grad_value_([p], 0)
    with pytest.raises(ValueError, match="norm_type must be at least 1"):
        mg.optim.clip_grad_norm_([p], 1.0, 0.5)


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
    "rmsprop": lambda params, **more: mg.optim.RMSprop(
        params, lr=0.1, momentum=0.9, centered=True, **more
    ),
    "adagrad": lambda params, **more: mg.optim.Adagrad(params, lr=0.1, **more),
    "adadelta": lambda params, **more: mg.optim.Adadelta(params, lr=0.1, **more),
    "nadam": lambda params, **more: mg.optim.NAdam(params, lr=0.1, **more),
    "lion": lambda params, **more: mg.optim.Lion(params, lr=0.1, **more),
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
    "a group": (lambda: {"params": [W]}, TypeError, r"write \[group\], a list of groups"),
    "groups and more": (lambda: [{"params": [W]}, W], TypeError, "parameters"),
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


def test_copies_and_a_module_in_the_place_of_parameters():
    with pytest.raises(TypeError, match=r"write net\.parameters\(\)"):
        mg.optim.SGD(NET)
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


def test_gradients_are_forgotten_or_made_zero():
    p, q = _leaf(1.0, 2.0), _leaf(1.0)
    optimizer = mg.optim.SGD([p, q])
    p.grad = g = np.ones(2)
    optimizer.zero_grad(set_to_none=False)
    assert (p.grad.tolist(), q.grad, g.tolist()) == ([0, 0], None, [1, 1])
    optimizer.zero_grad()
    assert p.grad is None
    with pytest.raises(TypeError, match="set_to_none must be True or False"):
        optimizer.zero_grad([p])


def test_a_step_takes_no_loss():
    with pytest.raises(TypeError, match=r"step\(\) takes no arguments; write loss\.backward\(\)"):
        mg.optim.SGD([W], lr=0.1).step(W.sum())


# ---- memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=[f"{n}-{[*o]}" for n, o in OPTIONS])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_step_allocates_the_new_array_alone(name, options, order):
    """And temporaries of pieces, of 1/32 of this parameter, few of them at a time."""
    p = mg.tensor(np.zeros((64, 32768), np.float32), requires_grad=True)
    p.grad = np.array(np.ones(p.shape), np.float32, order=order)
    optimizer = getattr(mg.optim, name)([p], **options)
    optimizer.step()
    tracemalloc.start()
    optimizer.step()
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert p.data.nbytes <= peak <= 1.2 * p.data.nbytes
    assert held <= 1.001 * p.data.nbytes


@pytest.mark.parametrize("shape", [(300, 700), (3, 70000), (70000, 3), (2, 3, 40000), (210000,)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_pieces_make_up_the_whole(shape, order):
    """In every shape and order of memory the numbers are those of single elements."""
    rng = np.random.default_rng(0)
    values, g = rng.normal(size=shape), rng.normal(size=shape)
    whole = mg.tensor(np.array(values, order=order), requires_grad=True)
    some = mg.tensor(values.ravel()[::1000], requires_grad=True)
    whole.grad, some.grad = np.array(g, order="C"), g.ravel()[::1000]
    for p in (whole, some):
        optimizer = mg.optim.Adam([p], weight_decay=0.1)
        optimizer.step()
        optimizer.step()
    np.testing.assert_array_equal(whole.numpy().ravel()[::1000], some.numpy())


def test_an_optimiser_of_whole_arrays():
    """One of a user's own, which asks for norms, is not given pieces unless it says so."""

    class Normed(mg.optim.Optimizer):
        def _descent(self, p, g, memory, h, out):
            return h["lr"] * g / np.linalg.norm(g)

    p = mg.tensor(np.zeros(200_000), requires_grad=True)
    p.grad = np.ones(p.shape)
    Normed([p], 1.0).step()
    assert np.linalg.norm(p.data) == pytest.approx(1)
    with pytest.raises(NotImplementedError, match="Optimizer has no _descent"):
        mg.optim.Optimizer([p], 1.0).step()


def test_recorded_graphs_stay_right():
    """A step between the forward and the backward pass does not change the gradient."""
    p = _leaf(3.0)
    loss = p * p
    p.grad = np.ones(1)
    mg.optim.SGD([p], 0.5).step()
    loss.backward()
    assert (p.item(), p.grad.item()) == (2.5, 1 + 6)


# ---- groups --------------------------------------------------------------------------------------


def test_groups_have_options_of_their_own():
    p, q, r = _leaf(1.0), _leaf(1.0), _leaf(1.0)
    optimizer = mg.optim.SGD([{"params": [p], "lr": 0.5}, {"params": (q,)}], lr=0.1)
    optimizer.add_param_group({"params": [r], "lr": 0.2, "name": "head"})
    assert optimizer.params == [p, q, r]
    assert optimizer.param_groups[1]["params"] == (q,)  # which nobody can append to
    for t in (p, q, r):
        t.grad = np.ones(1)
    optimizer.step()
    np.testing.assert_allclose([p.item(), q.item(), r.item()], [0.5, 0.9, 0.8])
    assert [g["lr"] for g in optimizer.param_groups] == [0.5, 0.1, 0.2]
    assert optimizer.momentum == 0
    with pytest.raises(AttributeError, match=r"SGD: lr differs .*0\.5, 0\.1, 0\.2; write opt\.par"):
        optimizer.lr  # noqa: B018
    optimizer.param_groups[1]["lr"] = 0.0
    optimizer.step()
    assert q.item() == 0.9
    optimizer.lr = 0.3
    assert [g["lr"] for g in optimizer.param_groups] == [0.3] * 3
    assert "1 parameter: lr=0.3, maximize=False, momentum=0.0" in repr(optimizer)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mg.optim.SGD([{"params": [W]}, {"params": [W]}]), "w is given twice.*one group"),
        (lambda: mg.optim.SGD([{"params": []}]), "no parameters"),
        (lambda: mg.optim.SGD([{"params": W}]), r"list of tensors; write \[w\]"),
        (lambda: mg.optim.SGD([{"lr": 0.1}]), r'a group is {"params": \[\.\.\.\]}'),
        (lambda: mg.optim.SGD([{"params": [W]}, _leaf(1.0)]), "was given both"),
        (lambda: mg.optim.SGD([{"params": [W], "rho": 0.1}]), "no option 'rho'; there are lr, max"),
        (lambda: mg.optim.SGD([{"params": [W], "lr": -1}]), "SGD: lr must be positive"),
        (lambda: mg.optim.SGD([{"params": [W], "momentum": 1}]), r"momentum must be in \[0, 1\)"),
        (lambda: mg.optim.SGD([W]).param_groups[0].update(lr=-1), "SGD: lr must be at least 0"),
        (lambda: mg.optim.SGD([W]).add_param_group([_leaf(1.0)]), "a group is"),
        (lambda: mg.optim.SGD([W]).param_groups[0].update(params=[]), "write opt.add_param_group"),
        (lambda: mg.optim.SGD([W], nesterov=True), "nesterov needs a momentum, and no dampening"),
        (lambda: mg.optim.SGD([W], 0.1, 0.9, 0.1, nesterov=True), "nesterov needs a momentum"),
        (lambda: mg.optim.SGD([W], maximize=1), "maximize must be True or False"),
        (lambda: mg.optim.RMSprop([W], alpha=1), r"alpha must be in \[0, 1\)"),
        (lambda: mg.optim.Adadelta([W], rho=1.1), r"rho must be in \[0, 1\]"),
        (lambda: mg.optim.Adagrad([W], initial_accumulator_value=-1), "at least 0"),
        (lambda: mg.optim.NAdam([W], momentum_decay=-1), "momentum_decay must be at least 0"),
        (lambda: mg.optim.Lion([W], betas=(0.9, 1)), r"betas\[1\] must be in \[0, 1\)"),
    ],
)
def test_groups_and_options_that_cannot_be_meant(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


# ---- states --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=[f"{n}-{[*o]}" for n, o in OPTIONS])
def test_training_goes_on_bit_for_bit(name, options):
    """From a saved state, in another process's object, with the options that it was saved with."""

    def run(params, optimizer, gradients):
        for rows in gradients:
            for p, g in zip(params, rows, strict=True):
                p.grad = g
            optimizer.step()

    def make(params):
        return getattr(mg.optim, name)([{"params": params[:1]}, {"params": params[1:]}], **options)

    whole, half = started(), started()
    run(whole, make(whole), steps(20))
    before = make(half)
    run(half, before, [*steps(20)][:10])
    before.param_groups[1]["lr"] = 0.5 * before.param_groups[1]["lr"]
    state = pickle.loads(pickle.dumps(before.state_dict()))
    again = [mg.tensor(p.numpy(), requires_grad=True) for p in half]
    after = make(again)
    after.load_state_dict(state)
    for group in (*before.param_groups, *after.param_groups):
        group["lr"] = before.param_groups[0]["lr"]
    run(half, before, [*steps(20)][10:])
    run(again, after, [*steps(20)][10:])
    for p, q, r in zip(whole, half, again, strict=True):
        np.testing.assert_array_equal(p.data, q.data)
        np.testing.assert_array_equal(q.data, r.data)


def test_a_state_is_a_copy():
    p = _leaf(1.0, 2.0)
    p.grad = np.ones(2)
    optimizer = mg.optim.Adam([p])
    optimizer.step()
    state = optimizer.state_dict()
    assert state["param_groups"][0]["params"] == [0]
    kept = state["state"][0]["exp_avg"].copy()
    optimizer.step()
    np.testing.assert_array_equal(state["state"][0]["exp_avg"], kept)
    optimizer.load_state_dict(state)
    optimizer.step()
    np.testing.assert_array_equal(state["state"][0]["exp_avg"], kept)
    assert optimizer.memory[0]["step"] == 2


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "Adagrad", "Adadelta", "NAdam"])
def test_memory_has_the_names_of_pytorchs(torch, name):
    p, q = _leaf(1.0), torch.ones(1, requires_grad=True)
    p.grad, q.grad = np.ones(1), torch.ones(1)
    options = {"momentum": 0.9} if name == "SGD" else {}
    ours, theirs = (
        getattr(module, name)([t], **options) for module, t in ((mg.optim, p), (torch.optim, q))
    )
    ours.step()
    theirs.step()
    assert ours.memory[0].keys() - {"step"} == theirs.state[q].keys() - {"step"}
    theirs = theirs.state_dict()
    for group in theirs["param_groups"]:
        for option in group.keys() - ours.param_groups[0].keys():
            del group[option]
    theirs["state"][0].setdefault("step", 1)  # PyTorch's SGD does not count
    ours.load_state_dict(theirs)
    assert ours.memory[0]["step"] == 1


def test_a_state_of_something_else_is_refused_whole():
    p, q = _leaf(1.0, 2.0), _leaf(1.0)
    adam, sgd = mg.optim.Adam([p, q]), mg.optim.SGD([p], momentum=0.9)
    for t in (p, q):
        t.grad = np.ones(t.shape)
    adam.step()
    sgd.step()
    before = adam.state_dict()
    with pytest.raises(ValueError, match="does not fit this SGD: group 0 lacks momentum") as caught:
        sgd.load_state_dict(before)
    said = str(caught.value)
    for part in (
        "lacks nesterov",
        "has betas, which is unexpected",
        "has 2 parameters, expected 1",
        "unexpected state of parameter 1",
    ):
        assert part in said
    bad = adam.state_dict()
    bad["param_groups"][0]["lr"] = -1
    with pytest.raises(ValueError, match=r"group 0: Adam: lr must be at least 0.*not -1"):
        adam.load_state_dict(bad)
    bad = adam.state_dict()
    bad["state"][0]["exp_avg"] = np.ones(3)
    bad["state"][0]["exp_avg_sq"] = "large"
    bad["state"][1] = {"step": "one", "exp_avg": np.ones(1), "other": np.ones(1)}
    with pytest.raises(ValueError, match="does not fit this Adam") as caught:
        adam.load_state_dict(bad)
    said = str(caught.value)
    for part in (
        r"parameter 0: exp_avg has shape (3,), expected (2,)",
        "exp_avg_sq must hold real numbers",
        "parameter 1: step must be a number, not 'one'",
        "missing exp_avg_sq; unexpected other",
    ):
        assert part in said, said
    with pytest.raises(ValueError, match="it has 0 groups, expected 1"):
        adam.load_state_dict({"state": {}, "param_groups": []})
    for wrong in ({}, None, adam):
        with pytest.raises(TypeError, match=r"takes what state_dict\(\) returned"):
            adam.load_state_dict(wrong)
    for k, memory in before["state"].items():  # nothing has changed
        for name, value in memory.items():
            np.testing.assert_array_equal(adam.memory[k][name], value)
