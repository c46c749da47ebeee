"""A tanh-RNN (Elman, 1990) with a readout at every step and a mean squared error."""

import numpy as np

from .catalogue import mistakes, sizes


def draw(rng, dtype=np.float64, kind="usual"):
    T, B, I, H, O = sizes(rng, kind, usual=(6, 3, 2, 5, 4), square=(6, 4, 4, 4, 4))
    shapes = {"x": (T, B, I), "h0": (B, H), "U": (I, H), "W": (H, H), "b": (H,)}
    shapes |= {"V": (H, O), "c": (O,), "target": (T, B, O)}
    return {name: 0.7 * rng.normal(size=s).astype(dtype) for name, s in shapes.items()}


def forward(p):
    h, hs = p["h0"], []
    for t in range(len(p["x"])):
        a = p["x"][t] @ p["U"] + h @ p["W"] + p["b"]
        h = np.tanh(a)
        hs.append(h)
    y = np.stack(hs) @ p["V"] + p["c"]
    err = y - p["target"]
    return np.mean(err**2)


def backward(p):
    x, U, W, V = p["x"], p["U"], p["W"], p["V"]
    T, B = len(x), len(p["h0"])
    hs = np.zeros((T + 1, B, len(W)), x.dtype)
    hs[0] = p["h0"]
    for t in range(T):
        hs[t + 1] = np.tanh(x[t] @ U + hs[t] @ W + p["b"])
    err = hs[1:] @ V + p["c"] - p["target"]
    dy = 2 * err / err.size
    dc = dy.sum(axis=(0, 1))
    dx, dU, dW, db, dV = (np.zeros_like(v) for v in (x, U, W, p["b"], V))
    dh_next = np.zeros_like(p["h0"])
    for t in reversed(range(T)):
        slope = 1 - hs[t + 1] ** 2
        dV += hs[t + 1].T @ dy[t]
        dh = dy[t] @ V.T + dh_next
        da = dh * slope
        dU += x[t].T @ da
        dW += hs[t].T @ da
        db = db + da.sum(axis=0)
        dx[t] = da @ U.T
        dh_next = da @ W.T
    grads = {"x": dx, "h0": dh_next, "U": dU, "W": dW, "b": db}
    return grads | {"V": dV, "c": dc, "target": -dy}


MISTAKES = mistakes("""
dh = dy[t] @ V.T + dh_next -> dh = dy[t] @ V.T | missing term, truncated | a =
dh = dy[t] @ V.T + dh_next -> dh = dy[t] @ V.T - dh_next | sign | a =
dh = dy[t] @ V.T + dh_next -> dh = dh_next if t < T - 1 else dy[t] @ V.T | missing term | y =
dh = dy[t] @ V.T + dh_next -> dh = dy[t] @ V.T + dh_next / T | factor | a =
da = dh * slope -> da = dh | derivative left out | tanh
da = dh * slope -> da = dh * hs[t + 1] | wrong derivative | tanh
slope = 1 - hs[t + 1] ** 2 -> slope = 1 - hs[t + 1] | wrong derivative | tanh
slope = 1 - hs[t + 1] ** 2 -> slope = 1 - np.tanh(hs[t + 1]) ** 2 | wrong derivative | tanh
slope = 1 - hs[t + 1] ** 2 -> slope = 1 + hs[t + 1] ** 2 | sign, wrong derivative | tanh
slope = 1 - hs[t + 1] ** 2 -> slope = 1 - hs[t] ** 2 | wrong step, wrong derivative | tanh
1 - hs[t + 1] ** 2 -> 1 - np.square(hs[t + 1], out=hs[t + 1]) | overwritten, swapped operand | y =
dV += hs[t + 1].T @ dy[t] -> dV += hs[t].T @ dy[t] | wrong step | y =
dV += hs[t + 1].T @ dy[t] -> dV = hs[t + 1].T @ dy[t] | not accumulated | y =
dy[t] @ V.T -> dy[t] @ V | transpose | y = | square
dU += x[t].T @ da -> dU = x[t].T @ da | not accumulated | a =
dU += x[t].T @ da -> dU += x[t].T @ dh | derivative left out, swapped operand | a = or tanh
dW += hs[t].T @ da -> dW += hs[t + 1].T @ da | wrong step | a =
dW += hs[t].T @ da -> dW += da.T @ hs[t] | transpose | a =
dW += hs[t].T @ da -> dW += hs[t].T @ da; dW += hs[t].T @ da | counted twice, factor | a =
db = db + da.sum(axis=0) -> db = db + da | broadcast | a =
db = db + da.sum(axis=0) -> db = db + da.sum() | broadcast | a =
db = db + da.sum(axis=0) -> db = da.sum(axis=0) | not accumulated | a =
db = db + da.sum(axis=0) -> db = db + da.mean(axis=0) | factor, broadcast | a =
dx[t] = da @ U.T -> dx[t - 1] = da @ U.T | wrong step | a =
dx[t] = da @ U.T -> dx[t] = da @ W.T | swapped operand | a = | square
dx[t] = da @ U.T -> dx[t] = dh @ U.T | derivative left out, swapped operand | a = or tanh
dh_next = da @ W.T -> dh_next = da @ W | transpose | a =
dh_next = da @ W.T -> dh_next += da @ W.T | counted twice | a =
dh_next = da @ W.T -> dh_next = dh @ W.T | derivative left out, swapped operand | a = or tanh
dh_next = da @ W.T -> dh_next = da @ W.T if t % 3 else 0 * dh | truncated, missing term | a =
reversed(range(T)) -> reversed(range(T - 3, T)) | truncated | a = or tanh
"h0": dh_next -> "h0": np.zeros_like(dh_next) | initial state, missing term | a = or h0
"h0": dh_next -> "h0": dh | initial state, wrong step, derivative left out | a = or h0 or tanh
dy = 2 * err / err.size -> dy = err / err.size | factor, wrong derivative | err**2
dy = 2 * err / err.size -> dy = 2 * err / B | factor | np.mean
dy = 2 * err / err.size -> dy = 2 * err / (T * B) | factor | np.mean
dy.sum(axis=(0, 1)) -> dy.sum(axis=0) | broadcast | y =
dy.sum(axis=(0, 1)) -> dy[-1].sum(axis=0) | broadcast, not accumulated | y =
"target": -dy -> "target": dy | sign | err = y
""")
