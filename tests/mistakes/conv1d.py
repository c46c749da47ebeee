"""A convolution over time (a sum over taps), a bias, a rectifier, and the mean over time."""

import numpy as np

from .catalogue import mistakes, sizes


def draw(rng, dtype=np.float64, kind="usual"):
    T, I, O = sizes(rng, kind, usual=(7, 3, 4), square=(8, 4, 4))
    T = max(T, 3)
    shapes = {"x": (T, I), "w": (3, I, O), "b": (O,), "v": (O,)}
    return {name: rng.normal(size=s).astype(dtype) for name, s in shapes.items()}


def forward(p):
    x, w = p["x"], p["w"]
    n = len(x) - 2
    y = x[0:n] @ w[0] + x[1 : n + 1] @ w[1] + x[2 : n + 2] @ w[2] + p["b"]
    h = np.maximum(y, 0.1 * y)
    m = np.mean(h, axis=0)
    return np.sum(np.sin(m) * p["v"])


def backward(p):
    x, w, v = p["x"], p["w"], p["v"]
    n = len(x) - 2
    y = sum(x[k : k + n] @ w[k] for k in range(3)) + p["b"]
    m = np.maximum(y, 0.1 * y).mean(0)
    dv = np.sin(m)
    dm = v * np.cos(m)
    dh = np.tile(dm / n, (n, 1))
    dy = dh * np.where(y > 0, 1, 0.1)
    db = dy.sum(0)
    dw, dx = np.zeros_like(w), np.zeros_like(x)
    for k in range(3):
        dw[k] = x[k : k + n].T @ dy
        dx[k : k + n] += dy @ w[k].T
    return {"x": dx, "w": dw, "b": db, "v": dv}


MISTAKES = mistakes("""
dm = v * np.cos(m) -> dm = v | derivative left out | np.sin
dm = v * np.cos(m) -> dm = np.cos(m) | derivative left out, swapped operand | np.sin
dm = v * np.cos(m) -> dm = v * np.sin(m) | wrong derivative | np.sin
dm = v * np.cos(m) -> dm = -v * np.cos(m) | sign | np.sin
dv = np.sin(m) -> dv = m | swapped operand | np.sin
dm / n -> dm | factor, derivative left out | np.mean
dm / n -> dm / len(x) | factor | np.mean
np.where(y > 0, 1, 0.1) -> np.where(y > 0, 1, 0) | missing term, wrong derivative | np.maximum
np.where(y > 0, 1, 0.1) -> 1 | derivative left out, wrong derivative | np.maximum
np.where(y > 0, 1, 0.1) -> np.where(y > 0, 0.1, 1) | wrong derivative, swapped operand | np.maximum
db = dy.sum(0) -> db = dy.mean(0) | factor, broadcast | y =
db = dy.sum(0) -> db = dy[0] | broadcast, not accumulated | y =
x[k : k + n].T @ dy -> x[2 - k : 2 - k + n].T @ dy | permuted, swapped operand | y =
dy @ w[k].T -> dy @ w[2 - k].T | permuted, swapped operand | y =
dy @ w[k].T -> dy @ w[k] | transpose | y = | square
dx[k : k + n] += -> dx[k : k + n] = | not accumulated, missing term, overwritten | y =
dx[k : k + n] += -> dx[0:n] += | wrong step, swapped operand | y =
dy @ w[k].T -> dy @ w[0].T | swapped operand | y =
dw[k] = x[k : k + n].T @ dy -> dw[k] = x[0:n].T @ dy | swapped operand, wrong step | y =
""")
