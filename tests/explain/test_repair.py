"""Repairs of operands, layers, memory and numbers: what was replaced is the statement that is named."""

import numpy as np
import pytest

import minigrad as mg

rng = np.random.default_rng(0)
X, GOAL = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))


def first(forward, backward, *inputs):
    """Return what is said first, with all the time that it takes."""
    return next(iter(mg.compare_backward(forward, backward, *inputs).explain(np.inf)))


def one_jacobian_of_scores(p):
    z = GOAL[:, 0] @ p["w"]
    a = np.exp(z) / np.exp(z).sum()
    J = np.diag(z) - np.outer(z, z)
    return {"w": np.outer(GOAL[:, 0], J @ (np.array([0.5, 1, 2]) / a))}


def one_squashed(p):
    z = GOAL[:, 0] @ p["w"]
    a = np.exp(z) / np.exp(z).sum()
    return np.sum(np.array([0.5, 1, 2]) * np.log(a))


def layered(p):
    zs, hs = [], [X]
    for w in p["ws"]:
        zs.append(hs[-1] @ w)
        hs.append(np.sin(zs[-1]))
    return 0.5 * ((hs[-1] - GOAL) ** 2).sum(), (zs, hs)


def slope_of_the_wrong_one(p, cache):
    zs, hs = cache
    dws, dh = [None] * 3, hs[-1] - GOAL
    for i in (2, 1, 0):
        slope = np.cos(hs[i + 1])
        dz = dh * slope
        dws[i] = hs[i].T @ dz
        dh = dz @ p["ws"][i].T
    return {"ws": dws}


def stepped_before_it_is_read(p, cache):
    zs, hs = cache
    ws = [w.copy() for w in p["ws"]]
    dws, dh = [None] * 3, hs[-1] - GOAL
    for i in (2, 1, 0):
        dz = dh * np.cos(zs[i])
        dws[i] = hs[i].T @ dz
        ws[i] -= 0.1 * dws[i]
        dh = dz @ ws[i].T
    return {"ws": dws}


def weights():
    return {"ws": [rng.normal(size=shape) for shape in ((3, 4), (4, 6), (6, 2))]}


@pytest.mark.parametrize(
    ("forward", "backward", "p", "statement", "words"),
    [
        (
            one_squashed, one_jacobian_of_scores, {"w": rng.normal(size=(5, 3))},
            "J = np.diag(z) - np.outer(z, z)", "`a`",
        ),
        (layered, slope_of_the_wrong_one, weights(), "slope = np.cos(hs[i + 1])", "`np.sin(zs[-1])`"),
        (layered, stepped_before_it_is_read, weights(), "ws[i] -= 0.1 * dws[i]", "`ws[2]`"),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)  # fmt: skip
def test_the_statement_that_mixes_up_an_operand(forward, backward, p, statement, words):
    found = first(forward, backward, p)
    assert found.statement == statement
    assert words in found.expected
    assert found.repaired
