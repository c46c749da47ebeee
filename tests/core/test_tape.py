"""The tape: what is summed later is summed right, whatever it is mixed with."""

import itertools

import numpy as np
import pytest

import minigrad as mg
from minigrad.core import tape, tree
from minigrad.testing import Draw, operations

W = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
USES = {  # of one matrix, each with its gradient at W
    "row": (lambda w: (w[0] ** 2).sum(), [[2, 4], [0, 0], [0, 0]]),
    "rows": (lambda w: w[np.array([2, 2, 1])].sum(), [[0, 0], [1, 1], [2, 2]]),
    "product": (lambda w: (np.ones((4, 3)) @ w).sum(), np.full((3, 2), 4)),
    "left": (lambda w: (w @ np.ones((2, 1))).sum(), np.ones((3, 2))),
    "whole": (lambda w: (w * w).sum(), 2 * W),
}


@pytest.mark.parametrize("order", [*itertools.permutations(USES, 3)], ids="-".join)
def test_one_matrix_in_several_kinds_of_operation(order):
    """Products, indexing and whole uses are each summed in a way of their own, in any order."""
    expected = sum(np.array(USES[use][1], dtype=float) for use in (*order, *order))
    w = mg.tensor(W, requires_grad=True)
    sum(USES[use][0](w) for use in (*order, *order)).backward()
    np.testing.assert_array_equal(w.grad, expected)


def test_on_tensors_too():
    def squared_slope(w):
        g = mg.grad(lambda w: sum(USES[use][0](w) for use in USES))(w)
        return (g * g).sum()

    mg.check_grads(squared_slope, (W,), order=2)


# ---- the two walks of reverse mode: the plain one, and the one that counts nanoseconds -----------

EVERY = [
    pytest.param(op, case, id=f"{name}-{k}")
    for name, op in operations().items()
    for k, case in enumerate(op.samples(Draw(0)))
]


def same_walks(outputs, on_tensors):
    """Hold one walk to the other, for the gradients of leaves and of a node on the way."""
    path, _ = tape.between(None, outputs)
    rng = np.random.default_rng(0)
    gs = [rng.normal(size=y.shape).astype(y.dtype) for y in outputs]
    if on_tensors:
        gs = [mg.tensor(g) for g in gs]
    keep = path[len(path) // 2 : len(path) // 2 + 1]
    fast = tape.pull(path, outputs, gs, on_tensors=on_tensors, keep=keep)
    plain = tape.plain_pull(path, outputs, gs, on_tensors=on_tensors, keep=keep)
    assert [*map(id, fast)] == [*map(id, plain)]
    for t, g in fast.items():
        for a, b in zip(parts(g), parts(plain[t]), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-15)


def parts(g):
    return [p.data if isinstance(p, mg.Tensor) else p for p in (g if isinstance(g, tuple) else [g])]


@pytest.mark.parametrize(("op", "case"), EVERY)
def test_pull_is_the_plain_walk(op, case):
    leaves, structure = tree.flatten(case.args)
    live = [
        mg.tensor(x, requires_grad=True) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x
        for x in leaves
    ]
    out = tree.flatten(op(*tree.unflatten(structure, live), **case.params))[0]
    outputs = [y for y in out if isinstance(y, mg.Tensor) and y.requires_grad]
    if outputs:
        same_walks(outputs, on_tensors=False)


@pytest.mark.parametrize("on_tensors", [False, True])
def test_pull_is_the_plain_walk_through_a_program(on_tensors):
    """Uses of all kinds, a state through time, several outputs, broadcasting, one leaf twice."""
    rng = np.random.default_rng(1)
    w, xs = (mg.tensor(rng.normal(size=s), requires_grad=True) for s in ((4, 4), (6, 1, 4)))
    h, loss = np.zeros((2, 4)), 0.0
    for t in range(6):
        h = np.tanh(h @ w + xs[t] * w[0])
        loss = loss + (h * h).sum()
    values, vectors = np.linalg.eigh(w @ w.T + np.eye(4))
    loss = loss + (values * np.arange(4.0)).sum() + (vectors**2 * w).sum()
    same_walks([loss, h], on_tensors)
