"""Outputs in containers, beside a cache or alone: their gradients come built like them."""

import functools
from typing import NamedTuple

import numpy as np
import pytest

from minigrad import compare_backward

RNG = np.random.default_rng(5)
X, W, B = RNG.normal(size=(5, 3)), RNG.normal(size=(3, 4)), RNG.normal(size=4)
XHC = tuple([RNG.normal(size=(4, 3)) for _ in range(3)])
XS_W = RNG.normal(size=(5, 3)), RNG.normal(size=(3, 3))


class State(NamedTuple):
    h: np.ndarray
    c: np.ndarray


def step(x, h, c):
    new_c = np.tanh(x) * c + h
    return State(np.sin(new_c) * h, new_c), (x, h, c, new_c)


def step_backward(dstate, cache):
    (dh, dc), (x, h, c, new_c) = dstate, cache
    dc = dc + dh * h * np.cos(new_c)
    return dc * c / np.cosh(x) ** 2, dc + dh * np.sin(new_c), dc * np.tanh(x)


def made(kind):
    """The step, with its state in a container of another kind."""

    def forward(x, h, c):
        state, cache = step(x, h, c)
        return kind(state), cache

    return forward


def all_steps(xs, w):
    h, ys, kept = np.zeros(3), [], []
    for x in xs:
        before, h = h, np.tanh(w @ h + x)
        ys.append(h)
        kept.append((before, h))
    return ys, (kept, w)


def all_steps_backward(dys, cache):
    kept, w = cache
    dh, dw, dxs = np.zeros(3), np.zeros_like(w), []
    assert len(dys) == len(kept)
    dys = dys.copy()  # a list
    for before, h in reversed(kept):
        d = (dh + dys.pop()) * (1 - h * h)
        dw += np.outer(d, before)
        dh = w.T @ d
        dxs.insert(0, d)
    return np.array(dxs), dw


def halves(x, bottom):
    top = [x[:2], x[2:]]
    return tuple(top), bottom.shape


def last_replaced(items, w):
    y = np.tanh(items[-1] @ w)
    return (*items[:1], y), (items, y, w)


def last_replaced_backward(dout, cache):
    items, y, w = cache
    d = dout[1] * (1 - y * y)
    return (dout[0], d @ w.T), items[-1].T @ d


CONTAINERS = {
    "tuple": (made(tuple), step_backward, XHC),
    "list": (made(list), step_backward, XHC),
    "named tuple": (step, lambda d, cache: step_backward((d.h, d.c), cache), XHC),
    "dict": (
        made(State._asdict), lambda d, cache: step_backward((d["h"], d["c"]), cache), XHC
    ),
    "dict alone": (
        lambda x, h, c: step(x, h, c)[0]._asdict(),
        lambda d, x, h, c: step_backward((d["h"], d["c"]), step(x, h, c)[1]), XHC,
    ),
    "named tuple alone": (
        lambda x, h, c: step(x, h, c)[0],
        lambda d, x, h, c: step_backward((d.h, d.c), step(x, h, c)[1]), XHC,
    ),
    "nested": (
        made(lambda s: {"now": [s.h], "next": (s.c, None)}),
        lambda d, cache: step_backward((d["now"][0], d["next"][0]), cache), XHC,
    ),
    "cache first": (made(tuple), lambda cache, d: step_backward(d, cache), XHC),
    "and another output": (
        lambda x, h, c: (tuple(step(x, h, c)[0]), 2 * x, step(x, h, c)[1]),
        lambda ds, dx, cache: (step_backward(ds, cache)[0] + 2 * dx, *step_backward(ds, cache)[1:]),
        XHC,
    ),
    "steps": (all_steps, all_steps_backward, XS_W),
    "steps alone": (
        lambda xs, w: all_steps(xs, w)[0],
        lambda dys, xs, w: all_steps_backward(dys, all_steps(xs, w)[1]), XS_W,
    ),
    "one step alone": (
        lambda xs, w: all_steps(xs, w)[0],
        lambda dys, xs, w: all_steps_backward(dys, all_steps(xs, w)[1]), (XS_W[0][:1], XS_W[1]),
    ),
    "parts of an input": (
        halves, lambda d, shape: (np.concatenate(d), np.zeros(shape)), (X, B)
    ),
    "an input handed on": (last_replaced, last_replaced_backward, ((B, X), W)),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", CONTAINERS)
def test_outputs_in_a_container(name, dtype):
    forward, backward, inputs = CONTAINERS[name]
    inputs = tuple([
        tuple([part.astype(dtype) for part in x]) if isinstance(x, tuple) else x.astype(dtype)
        for x in inputs
    ])  # fmt: skip
    report = compare_backward(forward, backward, inputs)
    assert report.ok, report
    assert len(report.remarks) == 1  # it is recorded

    @functools.wraps(backward)
    def wrong(*args):
        *others, last = backward(*args)
        return (*others, last + 0.01)

    report = compare_backward(forward, wrong, inputs)
    assert [row.ok for row in report.rows].count(False) == 1


def test_what_is_drawn_for_parts_is_said():
    said = lambda name: compare_backward(*CONTAINERS[name]).remarks[0].partition("those of ")[2]
    assert said("tuple") == "np.sum(dstate[0] * output[0]) + np.sum(dstate[1] * output[1])"
    assert said("dict") == "np.sum(d.h * output.h) + np.sum(d.c * output.c)"
    assert said("steps").endswith(" + ... + np.sum(dys[4] * output[4])")
    assert said("and another output").endswith("output 0[1]) + np.sum(dx * output 1)")


def test_every_part_has_its_own_gradient():
    lost = lambda dstate, cache: step_backward((dstate[0], 0 * dstate[1]), cache)
    report = compare_backward(made(tuple), lost, XHC)
    assert not any(row.ok for row in report.rows)


def test_a_container_that_is_no_output_is_the_cache():
    """Behind the first value, or with anything but floating arrays in it."""

    def forward(x, w):
        y = x @ w
        return y, (x, w)

    backward = lambda dout, cache: (dout @ cache[1].T, cache[0].T @ dout)
    assert compare_backward(forward, backward, (X, W)).ok
    with pytest.raises(ValueError, match="or the first value, a container of them"):
        compare_backward(lambda x: ({"y": x, "n": 3}, x), lambda dout, cache: dout["y"], (X,))


def test_a_container_before_a_loss_is_what_was_computed():
    def forward(x, w):
        h = np.tanh(x @ w)
        return {"h": h}, np.sum(h)

    def backward(x, w, kept):
        d = 1 - kept["h"] ** 2
        return d @ w.T, x.T @ d

    report = compare_backward(forward, backward, (X, W))
    assert (report.ok, report.remarks) == (True, ())


def test_outputs_and_parameters_without_telling_names_are_refused():
    """Of `h, h**2, sum` the last two may be outputs or kept values."""

    def forward(x):
        h = np.tanh(x)
        return h, h**2, h * 3, h

    def backward(a, b, c, h):
        return (a + 2 * h * b + 3 * c) * (1 - h * h)

    with pytest.raises(ValueError, match="cannot be told which is meant; name the gradients"):
        compare_backward(forward, backward, (X,))
    named = lambda da, db, dc, h: backward(da, db, dc, h)
    assert compare_backward(forward, named, (X,)).ok


@pytest.mark.parametrize(
    "name", ["dout", "grad_output", "gradOutput", "upstream", "delta", "error", "y_bar", "out_grad"]
)
def test_names_of_gradients_beside_an_array_that_is_kept(name):
    forward = lambda x: (x * (x > 0), 1.0 * (x > 0))
    backward = eval(f"lambda {name}, kept: {name} * kept")
    assert compare_backward(forward, backward, (X,)).ok
