"""Hooks on the cotangents of tensors: called once each, and what they return takes its place."""

import gc
import weakref

import numpy as np
import pytest

import minigrad as mg
from minigrad.core import hooks
from tests.helpers import leaf


def test_a_hook_sees_the_whole_gradient_once():
    x, seen = leaf([1.0, 2.0]), []
    y = x * 3
    y.register_hook(seen.append)
    x.register_hook(seen.append)
    ((y * y).sum() + y.sum() + x[0]).backward()
    assert [g.tolist() for g in seen] == [[7, 13], [22, 39]]
    assert x.grad.tolist() == [22, 39]


def test_what_a_hook_returns_takes_its_place():
    x = leaf([1.0, 2.0])
    y = x * 3
    y.retain_grad()
    first = y.register_hook(lambda g: g * 10)
    y.register_hook(lambda g: g + 1)
    y.sum().backward()
    assert y.grad.tolist() == [11, 11]
    assert x.grad.tolist() == [33, 33]
    first.remove()
    first.remove()
    x.grad = None
    y.sum().backward()
    assert x.grad.tolist() == [6, 6]
    with x.register_hook(np.zeros_like):
        x.grad = None
        y.sum().backward()
    assert x.grad.tolist() == [0, 0]


def test_in_transforms_of_any_order():
    def f(x):
        y = x * x
        y.register_hook(lambda g: 2 * g)
        return y * x

    # y' doubled: 2 * 2x * x + x^2
    assert mg.grad(f)(3.0) == 5 * 9
    assert mg.vjp(f, 3.0)[1](1.0)[0] == 45
    assert mg.grad(mg.grad(f))(3.0) != 0
    assert mg.jvp(f, (3.0,), (1.0,))[1] == 27  # forward mode: no hooks
    seen = []

    def g(x):
        x.register_hook(lambda g: seen.append(type(g)))
        return x**3

    mg.grad(g)(2.0)
    assert seen == [np.ndarray]
    mg.grad(mg.grad(g))(2.0)
    assert seen[1] is mg.Tensor


def test_second_derivatives_flow_through_what_a_hook_returns():
    def f(x):
        y = np.sin(x)
        y.register_hook(lambda g: g * g)
        return y**2

    # the cotangent of y is 2y, squared: 4 sin(x)^2 cos(x); the walk back through that calls the
    # hook again, with 8 y cos(x), as PyTorch does
    x, y, c = 0.7, np.sin(0.7), np.cos(0.7)
    assert mg.grad(f)(x) == pytest.approx(4 * y**2 * c)
    assert mg.grad(mg.grad(f))(x) == pytest.approx((8 * y * c) ** 2 * c - 4 * y**2 * y)


@pytest.mark.oracle
def test_hooks_are_pytorchs_also_in_second_derivatives():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    def f(x, sin):
        y = sin(x)
        y.register_hook(lambda g: g * g * y)
        x.register_hook(lambda g: 3 * g)
        return y**3 * x

    x = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(f(x, torch.sin), x, create_graph=True)
    (second,) = torch.autograd.grad(first, x)
    ours = leaf(0.7)
    first_of_ours = mg.grad(lambda x: f(x, np.sin))
    assert first_of_ours(0.7) == pytest.approx(first.item())
    f(ours, np.sin).backward()
    assert ours.grad == pytest.approx(first.item())
    assert second.item() != 0


@pytest.mark.parametrize("watched", [False, True])
def test_in_checkpoints_hooks_are_called_once(watched):
    x, w, seen = leaf([1.0, 2.0]), leaf([3.0, 4.0]), []
    w.register_hook(lambda g: seen.append(("w", g.tolist())))
    x.register_hook(lambda g: seen.append(("x", g.tolist())))

    def f(x):
        y = x * w
        y.register_hook(lambda g: seen.append(("y", g.tolist())))
        return y * w

    def run():
        (mg.checkpoint(f)(x) + w).sum().backward()

    mg.debug()(run)() if watched else run()
    assert sorted(seen) == [("w", [7, 17]), ("x", [9, 16]), ("y", [3, 4])]
    assert w.grad.tolist() == [7, 17]


def test_the_gradient_shown_cannot_be_changed_in_place():
    x = leaf([1.0])
    y = x * 2

    def clip(g):
        g[g > 0] = 0

    y.register_hook(clip)
    with pytest.raises(ValueError, match="read-only"):
        y.sum().backward()


def test_a_hook_is_called_without_observers_as_with_one():
    for block in (mg.debug, mg.enable_grad):
        x = leaf([1.0, 2.0])
        y = x * 3
        y.register_hook(lambda g: -g)
        with block():
            y.sum().backward()
        assert x.grad.tolist() == [-3, -3]


def test_what_is_no_hook_and_no_gradient():
    x = leaf([1.0, 2.0])
    y = x * 2
    with pytest.raises(TypeError, match="register_hook: a hook must be a function, not None"):
        y.register_hook(None)
    with pytest.raises(RuntimeError, match=r"register_hook\(\) on .*no gradient flows there"):
        mg.tensor([1.0]).register_hook(print)
    for bad in (lambda g: g[:1], lambda g: 1.0):
        with (
            y.register_hook(bad),
            pytest.raises(
                ValueError, match=r"the hook returned a gradient of shape \(.*\) for a t"
            ),
        ):
            y.sum().backward()
    with y.register_hook(lambda g: "g"), pytest.raises(TypeError, match="real numbers"):
        y.sum().backward()


def test_hooks_keep_nothing_alive():
    gc.disable()
    try:
        x = leaf(np.ones(3))
        y = x * 2
        y.register_hook(lambda g: g)
        alive, place = weakref.ref(y), id(y)
        assert hooks._tensors[place] is y
        del y
        assert alive() is None
        assert place not in hooks._tensors
    finally:
        gc.enable()
