"""Random programs: every road to their derivatives gives the same numbers.

Reverse mode, forward mode, central differences and, where it is installed, PyTorch must agree. The
derivative is checked along a random direction, and hypothesis shrinks what fails to a few lines.
"""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import minigrad as mg
from minigrad.testing import directional
from tests.random_graphs import ROOMY, UNARY, drawn, programs, run, torch


@settings(ROOMY, max_examples=500)
@given(programs())
def test_first_derivatives(program):
    def f(*xs):
        return run(program, np, xs)

    xs, vs = drawn(program, 0), drawn(program, 1)
    exact = directional(f, xs, vs)[0]
    value, pullback = mg.vjp(f, *xs)
    gradient = pullback(np.ones(()))
    reverse = sum(float((g * v).sum()) for g, v in zip(gradient, vs, strict=True))
    forward = mg.jvp(f, xs, vs)[1].item()
    size = sum(float(np.abs(g * v).sum()) for g, v in zip(gradient, vs, strict=True)) + 1
    assert abs(reverse - forward) <= 1e-12 * size
    assert abs(reverse - exact) <= 1e-7 * size
    again = mg.vjp(mg.checkpoint(f), *xs)[1](np.ones(()))
    for g, h in zip(gradient, again, strict=True):
        np.testing.assert_array_equal(g, h)
    if torch:
        ts = [torch.tensor(x, requires_grad=True) for x in xs]
        theirs = run(program, torch, ts)
        np.testing.assert_allclose(value.item(), theirs.item(), rtol=1e-12)
        theirs.backward()
        for g, t in zip(gradient, ts, strict=True):
            np.testing.assert_allclose(g, t.grad.numpy(), rtol=1e-10, atol=1e-12 * size)


@settings(ROOMY, max_examples=120)
@given(programs(), st.integers(-30, 30))
def test_every_magnitude_and_byte_order(program, power):
    """Finite, the same in both directions, and bit for bit from the other byte order."""

    def f(*xs):
        return run(program, np, xs)

    xs, vs = [10.0**power * x for x in drawn(program, 0)], drawn(program, 1)
    gradient = mg.vjp(f, *xs)[1](np.ones(()))
    terms = [(g * v).sum() for g, v in zip(gradient, vs, strict=True)]
    size = sum(np.abs(g * v).sum() for g, v in zip(gradient, vs, strict=True)) + 1
    assert np.isfinite(size)
    assert abs(sum(terms) - mg.jvp(f, tuple(xs), tuple(vs))[1]) <= 1e-10 * size
    swapped = mg.vjp(f, *[x.astype(">f8") for x in xs])[1](np.ones((), ">f8"))
    for g, h in zip(gradient, swapped, strict=True):
        np.testing.assert_array_equal(g, h, strict=True)


@settings(ROOMY, max_examples=120)
@given(programs())
def test_second_derivatives(program):
    def f(*xs):
        return run(program, np, xs)

    def dot(us, vs):
        return sum((u * v).sum() for u, v in zip(us, vs, strict=True))

    every = tuple(range(len(program[0])))
    xs, us, vs = (drawn(program, k) for k in range(3))
    slope = mg.grad(f, every)
    over = [float(dot(h, us).item()) for h in (mg.hvp(f, xs, vs), mg.hvp(mg.checkpoint(f), xs, vs))]
    reverse = mg.grad(lambda *xs: dot(slope(*xs), vs), every)(*xs)
    forward = mg.jvp(lambda *xs: mg.jvp(f, xs, vs)[1], xs, us)[1].item()
    exact = directional(lambda *xs: dot(slope(*xs), vs), xs, us)[0]
    size = float(sum(np.abs(h * u).sum() for h, u in zip(reverse, us, strict=True))) + 1
    for found in (*over, dot(reverse, us).item(), forward):
        assert abs(found - exact) <= 1e-6 * size
        assert abs(found - forward) <= 1e-11 * size
    if torch:
        ts = [torch.tensor(x, requires_grad=True) for x in xs]
        options = {"create_graph": True, "materialize_grads": True}
        along = dot(
            torch.autograd.grad(run(program, torch, ts), ts, **options), map(torch.tensor, vs)
        )
        theirs = torch.autograd.grad(along, ts, **options)
        assert abs(dot(theirs, map(torch.tensor, us)).item() - forward) <= 1e-10 * size


def test_the_oracle_took_part():
    if torch is None:
        pytest.skip("PyTorch is not installed: random programs are held against NumPy alone")
    assert run(([()], [(UNARY["tanh"], (0,))], 1), torch, [torch.tensor(0.5)]).item() != 0
