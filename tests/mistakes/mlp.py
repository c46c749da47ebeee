"""A perceptron with two hidden layers and a mean squared error."""

import numpy as np

from .catalogue import mistakes, sizes


def draw(rng, dtype=np.float64, kind="usual"):
    B, I, H, K, O = sizes(rng, kind, usual=(3, 5, 4, 6, 2), square=(4, 4, 4, 4, 4))
    shapes = {"x": (B, I), "W1": (I, H), "b1": (H,), "W2": (H, K), "b2": (K,), "W3": (K, O)}
    shapes |= {"b3": (O,), "y": (B, O)}
    return {name: rng.normal(size=s).astype(dtype) for name, s in shapes.items()}


def forward(p):
    a1 = p["x"] @ p["W1"] + p["b1"]
    h1 = np.tanh(a1)
    a2 = h1 @ p["W2"] + p["b2"]
    h2 = np.maximum(a2, 0)
    out = h2 @ p["W3"] + p["b3"]
    e = out - p["y"]
    return np.mean(e**2)


def backward(p):
    x, W1, W2, W3 = p["x"], p["W1"], p["W2"], p["W3"]
    h1 = np.tanh(x @ W1 + p["b1"])
    a2 = h1 @ W2 + p["b2"]
    h2 = np.maximum(a2, 0)
    e = h2 @ W3 + p["b3"] - p["y"]
    dout = 2 * e / e.size
    dy = -dout
    dW3 = h2.T @ dout
    db3 = dout.sum(axis=0)
    dh2 = dout @ W3.T
    da2 = dh2 * (a2 > 0)
    dW2 = h1.T @ da2
    db2 = da2.sum(0)
    dh1 = da2 @ W2.T
    da1 = dh1 * (1 - h1**2)
    dW1 = x.T @ da1
    db1 = np.sum(da1, axis=0)
    dx = da1 @ W1.T
    return {"x": dx, "W1": dW1, "b1": db1, "W2": dW2, "b2": db2, "W3": dW3, "b3": db3, "y": dy}


MISTAKES = mistakes("""
2 * e / e.size -> e / e.size | factor, wrong derivative | e**2 or np.mean
2 * e / e.size -> 2 * e | factor | np.mean
2 * e / e.size -> 2 * e / len(e) | factor | np.mean
2 * e / e.size -> np.sign(e) / e.size | wrong derivative | e**2
dy = -dout -> dy = dout | sign | e = out
dy = -dout -> dy = 0 * dout | missing term | e = out
dh2 * (a2 > 0) -> dh2 | derivative left out | np.maximum
dh2 * (a2 > 0) -> dh2 * (a2 < 0) | wrong derivative | np.maximum
dh2 * (a2 > 0) -> dh2 * a2 | wrong derivative | np.maximum
dh1 * (1 - h1**2) -> dh1 * (1 - h1) | wrong derivative | np.tanh
dh1 * (1 - h1**2) -> dh1 | derivative left out | np.tanh
dh1 * (1 - h1**2) -> dh1 * h1 * (1 - h1) | wrong derivative | np.tanh
dh1 * (1 - h1**2) -> dh1 * (1 - np.tanh(h1)**2) | wrong derivative | np.tanh
np.sum(da1, axis=0) -> np.mean(da1, axis=0) | factor, broadcast | a1 =
da2.sum(0) -> da2[0] | broadcast, not accumulated | a2 =
da2.sum(0) -> da2[-1] | broadcast, not accumulated | a2 =
dout.sum(axis=0) -> dout.sum(axis=1) | broadcast | out = | square
dout.sum(axis=0) -> dout | broadcast | out =
da2 @ W2.T -> da2 @ W2 | transpose | a2 = | square
h1.T @ da2 -> h1 @ da2 | transpose | a2 = | square
h1.T @ da2 -> (h1.T @ da2).T | transpose | a2 =
dW2 = h1.T @ da2 -> dW2 = h1.T @ dh2 | derivative left out, swapped operand | a2 = or np.maximum
dW1 = x.T @ da1 -> dW1 = x.T @ dh1 | derivative left out, swapped operand | a1 = or np.tanh
dW3 = h2.T @ dout -> dW3 = a2.T @ dout | swapped operand | out =
""")
