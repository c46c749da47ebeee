"""Repairs of operands, layers, memory and numbers: the statement that is named first."""

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
    _, hs = cache
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
        (
            layered, slope_of_the_wrong_one, weights(),
            "slope = np.cos(hs[i + 1])", "`np.sin(zs[-1])`",
        ),
        (layered, stepped_before_it_is_read, weights(), "ws[i] -= 0.1 * dws[i]", "`ws[2]`"),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)  # fmt: skip
def test_the_statement_that_mixes_up_an_operand(forward, backward, p, statement, words):
    found = first(forward, backward, p)
    assert found.statement == statement
    assert words in found.expected
    assert found.repaired


def grouped(p):
    x = p["x"]
    m, v = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
    return np.sum(SCALE * (x - m) / np.sqrt(v + 1e-5)), v


def divided_by_the_wrong_size(p, v):
    n = SCALE.shape[0]
    inv = 1 / np.sqrt(v + 1e-5)
    y = (p["x"] - p["x"].mean(axis=1, keepdims=True)) * inv
    sums = SCALE.sum(axis=1, keepdims=True) + y * (SCALE * y).sum(axis=1, keepdims=True)
    return {"x": (SCALE - sums / n) * inv}


SCALE, NOISE = rng.normal(size=(2, 3, 8))


def strided(x, w):
    out = np.zeros(3)
    for t in range(3):
        out[t] = (x[2 * t : 2 * t + 2] * w).sum()
    return out, (x, w)


def strides_left_out(dout, cache):
    x, w = cache
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for t in range(3):
        start = t
        dx[start : start + 2] += dout[t] * w
        dw += dout[t] * x[start : start + 2]
    return dx, dw


@pytest.mark.parametrize(
    ("forward", "backward", "inputs", "statement", "is_now", "expected"),
    [
        (grouped, divided_by_the_wrong_size, {"x": NOISE}, "n = SCALE.shape[0]", "3", "8"),
        (
            strided, strides_left_out, {"x": rng.normal(size=7), "w": rng.normal(size=2)},
            "start = t", "0, 1, 2", "twice as large",
        ),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)  # fmt: skip
def test_the_statement_that_binds_another_number(
    forward, backward, inputs, statement, is_now, expected
):
    found = first(forward, backward, inputs)
    assert found.statement == statement
    assert f"is {is_now}; it should be {expected}." in found.sentence
    assert found.repaired


A = rng.normal(size=(5, 3))


def two_layers(p):
    h = np.maximum(A @ p["w1"] + p["b1"], 0)
    return np.sum(np.exp(0.3 * h @ p["w2"])) / 5, h


def relu_of_the_gradient(p, h):
    dout = 0.3 * np.exp(0.3 * h @ p["w2"])
    dh = dout @ p["w2"].T
    dz = np.maximum(dh, 0)
    return {
        "w1": A.T @ dz / 5,
        "b1": np.sum(dz, 0) / 5,
        "w2": h.T @ dout / 5,
    }


def test_a_factor_that_is_divided_by_later_does_not_hide_a_mistake():
    p = {"w1": rng.normal(size=(3, 6)), "b1": rng.normal(size=6), "w2": rng.normal(size=(6, 2))}
    found = first(two_layers, relu_of_the_gradient, p)
    assert found.statement == "dz = np.maximum(dh, 0)"
    assert found.expected.startswith("5 times ")
    assert found.repaired == ("b1", "w1")


def three_branches(p):
    a, b, c = np.tanh(A @ p["wa"]), np.sin(A @ p["wb"]), np.exp(A @ p["wc"])
    return np.sum(a * b + c * b), (a, b, c)


def two_biases_of_the_wrong_branch(p, cache):
    a, b, c = cache
    grads = [b * (1 - a**2), (a + c) * np.cos(A @ p["wb"]), b * c]
    return {"wa": A.T @ grads[0], "wb": A.T @ grads[0], "wc": A.T @ grads[1]}


def test_independent_mistakes_are_cured_together():
    p = {name: 0.4 * rng.normal(size=(3, 4)) for name in ("wa", "wb", "wc")}
    report = mg.compare_backward(three_branches, two_biases_of_the_wrong_branch, p)
    found = list(report.explain(np.inf))
    assert found[0].line == two_biases_of_the_wrong_branch.__code__.co_firstlineno + 3
    assert found[0].repaired


def both_ways(p):
    s = p["u"] @ p["v"].T
    rows = np.log(np.exp(s).sum(1))
    columns = np.log(np.exp(s).sum(0))
    return np.sum(rows) + np.sum(columns) - 2 * np.trace(s)


def the_same_way_twice(p):
    s = p["u"] @ p["v"].T
    eye = 2 * np.eye(4)
    rows = np.exp(s - np.log(np.exp(s).sum(1))[:, None])
    columns = np.exp(s - np.log(np.exp(s).sum(1))[:, None])
    ds = rows + columns - eye
    return {"u": ds @ p["v"], "v": ds.T @ p["u"]}


def test_of_two_places_that_are_equal_the_later_is_the_copy():
    p = {"u": rng.normal(size=(4, 3)), "v": rng.normal(size=(4, 3))}
    found = first(both_ways, the_same_way_twice, p)
    assert found.statement.startswith("columns = np.exp(s - ")


def paired(left, right, w):
    both = (left, right)
    return (*both[:1], np.tanh(both[1] @ w)), (both, w)


def inputs_among_gradients(dout, cache):
    both, w = cache
    dy = dout[1] * (1 - np.tanh(both[1] @ w) ** 2)
    dboth = (*both[:1], dy @ w.T)
    return dboth[0], dboth[1], both[1].T @ dy


def test_a_tuple_that_stands_in_the_place_of_another():
    p = {"left": rng.normal(size=(4, 3)), "right": rng.normal(size=(4, 3))}
    found = first(paired, inputs_among_gradients, {**p, "w": rng.normal(size=(3, 2))})
    assert found.statement == "dboth = (*both[:1], dy @ w.T)"
    assert found.expected == "`dout`"
    assert found.repaired == ("left",)
    assert found.kind == "swapped operand"


def gated(p):
    i = np.tanh(A @ p["wi"]) ** 2
    g = np.sin(A @ p["wg"])
    return np.sum(np.exp(i * g)), (i, g)


def an_operand_twice(p, cache):
    i, g = cache
    dc = np.exp(i * g)
    di = dc * i
    dai = di * i * (1 - np.sqrt(i) ** 2) * 2 / np.tanh(A @ p["wi"])
    return {"wi": A.T @ dai, "wg": A.T @ (dc * i * np.cos(A @ p["wg"]))}


def test_a_variable_that_is_read_again_is_no_copy():
    p = {name: rng.normal(size=(3, 4)) for name in ("wi", "wg")}
    assert first(gated, an_operand_twice, p).statement == "di = dc * i"
