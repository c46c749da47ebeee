"""The tape: what is summed later is summed right, whatever it is mixed with."""

import itertools

import numpy as np
import pytest

import minigrad as mg

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
