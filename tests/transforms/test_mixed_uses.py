"""One tensor in several kinds of use at once: what each use gives is added up, in every mode.

The gradients of some uses are summed late and together (rows of a matrix, the factors of products,
the parts of a split), so that T of them cost T. Different kinds must not be summed as one.
"""

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

import minigrad as mg
from minigrad.core.tape import Deferred

X = np.array([[0.3, -0.7], [1.1, 0.4], [-0.2, 0.9]])
ROWS = np.array([[1.0, 2.0, -1.0], [0.5, 0.0, 3.0], [1.0, 1.0, 1.0], [0.0, -2.0, 0.5]])


def tied(E):
    """Cross-entropy of an embedding that is read by columns, and multiplies what was read."""
    words, labels = np.array([1, 1, 0]), np.array([0, 1, 1])
    return mg.nn.cross_entropy(E[:, words].T @ E, labels)


def scanned(W):
    return mg.scan(lambda h, row: (np.tanh(h + row), None), np.zeros(2), W)[0].sum()


USES = {
    "row": lambda W: (W[0] ** 2).sum(),
    "entry": lambda W: W[2, 1] ** 3,
    "slice": lambda W: np.sin(W[1:, 0]).sum(),
    "rows again": lambda W: (W[np.array([2, 0, 2])] ** 2).sum(),
    "mask": lambda W: (W[np.array([True, False, True])] ** 3).sum(),
    "loop": lambda W: sum(k * (row**2).sum() for k, row in enumerate(W)),
    "scan": scanned,
    "parts": lambda W: sum(k * np.sin(p).sum() for k, p in enumerate(np.split(W, [1], 0))),
    "split": lambda W: np.split(W, 2, axis=1)[1].sum() ** 2,
    "product": lambda W: ((ROWS @ W) ** 2).sum(),
    "product of integers": lambda W: ((np.eye(3, dtype=int) @ W) ** 2).sum(),
    "product of float32": lambda W: ((ROWS.astype(np.float32) @ W) ** 2).sum(),
    "product of a stack": lambda W: (np.stack([ROWS, ROWS]) @ W).sum() ** 2,
    "product of a vector": lambda W: (np.ones(3) @ W).sum() ** 3,
    "product on the left": lambda W: ((W @ X.T) ** 2).sum(),
    "product with itself": lambda W: np.sin(W.T @ W).sum(),
    "differences": lambda W: (np.diff(W, axis=0) ** 2).sum(),
    "take one": lambda W: np.take(W.reshape(-1), 3) ** 2,
    "take": lambda W: np.take(W, np.array([0, 0, 1]), axis=1).sum() ** 2,
    "two axes": lambda W: (W[np.array([[0], [2]]), np.array([[1, 0]])] ** 3).sum(),
    "tied": tied,
    "whole": lambda W: np.exp(W).sum(),
    "max": lambda W: W.max() ** 2,
    "moved": lambda W: (W.reshape(-1)[1] * W.T[0]).sum(),
}


def added(names):
    return lambda W: sum(USES[name](W) for name in names)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(st.lists(st.sampled_from(sorted(USES)), min_size=2, max_size=6))
def test_every_use_adds_its_own_gradient(names):
    """In every order: the sum's derivatives are the sums of those of each use alone."""
    f, v = added(names), np.cos(np.arange(6.0)).reshape(3, 2)
    for derivative in (
        lambda f: mg.grad(f)(X),
        lambda f: mg.hvp(f, (X,), (v,))[0],
        lambda f: mg.grad(lambda W: (mg.grad(f)(W) * v).sum())(X),
        lambda f: mg.grad(lambda Y: f(Y * 1.0))(X),
    ):
        alone = sum(derivative(USES[name]) for name in names)
        np.testing.assert_allclose(derivative(f), alone, rtol=1e-12, atol=1e-12)
    W = mg.tensor(X, requires_grad=True)
    f(W).backward()
    alone = sum(mg.grad(USES[name])(X) for name in names)
    np.testing.assert_allclose(W.grad, alone, rtol=1e-12, atol=1e-12)


def test_a_gradient_penalty_over_rows_and_a_product():
    """Of a quadratic loss with the Hessian H: d |grad|^2 / dW = 2 H grad."""
    x = ROWS[:1]
    H = 2 * x.T @ x + np.diag([2.0, 0, 0])
    loss = added(["row"])

    def both(W):
        return loss(W) + ((x @ W) ** 2).sum()

    got = mg.grad(lambda W: (mg.grad(both)(W) ** 2).sum())(X)
    np.testing.assert_allclose(got, 2 * H @ H @ X)


def test_what_is_still_to_be_summed_is_not_moved():
    """What comes is appended to what has been collected: T parts cost T, not T^2."""
    collected = Deferred(np.add, X, 0)
    parts = collected.parts[np.add]
    for k in range(1, 9):
        collected = Deferred(np.add, X, k) + collected
    assert collected.parts[np.add] is parts
    assert parts == [*range(9)]
