"""An LSTM, its gates i f g o stacked in one matrix, and a squared error at every step."""

import numpy as np

from .catalogue import mistakes, sizes


def draw(rng, dtype=np.float64, kind="usual"):
    T, B, I, H = sizes(rng, kind, usual=(5, 2, 3, 4), square=(5, 4, 4, 4))
    shapes = {"x": (T, B, I), "y": (T, B, H), "h0": (B, H), "c0": (B, H)}
    shapes |= {"Wx": (I, 4 * H), "Wh": (H, 4 * H), "b": (4 * H,)}
    return {name: 0.7 * rng.normal(size=s).astype(dtype) for name, s in shapes.items()}


def sigmoid(s):
    return 1 / (1 + np.exp(-s))


def forward(p):
    x, h, c = p["x"], p["h0"], p["c0"]
    H = h.shape[1]
    losses = []
    for t in range(len(x)):
        a = x[t] @ p["Wx"] + h @ p["Wh"] + p["b"]
        i = sigmoid(a[:, :H])
        f = sigmoid(a[:, H : 2 * H])
        g = np.tanh(a[:, 2 * H : 3 * H])
        o = sigmoid(a[:, 3 * H :])
        c = f * c + i * g
        u = np.tanh(c)
        h = o * u
        e = h - p["y"][t]
        losses.append(np.sum(e**2))
    return sum(losses) / (2 * len(x))


def backward(p):
    x, Wx, Wh = p["x"], p["Wx"], p["Wh"]
    T, H = len(x), len(Wh)
    h, c = p["h0"].copy(), p["c0"].copy()
    hs, cs, gates = [h], [c], []
    for t in range(T):
        a = x[t] @ Wx + h @ Wh + p["b"]
        i, f, o = sigmoid(a[:, :H]), sigmoid(a[:, H : 2 * H]), sigmoid(a[:, 3 * H :])
        g = np.tanh(a[:, 2 * H : 3 * H])
        c = f * c + i * g
        u = np.tanh(c)
        h = o * u
        hs.append(h)
        cs.append(c)
        gates.append((i, f, g, o, u))
    dx, dy, dWx, dWh, db = (np.zeros_like(p[k]) for k in ("x", "y", "Wx", "Wh", "b"))
    dh_next, dc_next = np.zeros_like(h), np.zeros_like(c)
    for t in reversed(range(T)):
        i, f, g, o, u = gates[t]
        de = (hs[t + 1] - p["y"][t]) / T
        dy[t] = -de
        dh = de + dh_next
        do = dh * u
        dc = dc_next + dh * o * (1 - u**2)
        df = dc * cs[t]
        di = dc * g
        dg = dc * i
        dai = di * i * (1 - i)
        daf = df * f * (1 - f)
        dag = dg * (1 - g**2)
        dao = do * o * (1 - o)
        da = np.concatenate([dai, daf, dag, dao], axis=1)
        dWx += x[t].T @ da
        dWh += hs[t].T @ da
        db += da.sum(axis=0)
        dx[t] = da @ Wx.T
        dh_next = da @ Wh.T
        dc_next = dc * f
    return {"x": dx, "y": dy, "Wx": dWx, "Wh": dWh, "b": db, "h0": dh_next, "c0": dc_next}


MISTAKES = mistakes("""
de = (hs[t + 1] - p["y"][t]) / T -> de = hs[t + 1] - p["y"][t] | factor | sum(losses)
de = (hs[t + 1] - p["y"][t]) / T -> de = (hs[t] - p["y"][t]) / T | wrong step | e = h
dy[t] = -de -> dy[t] = de | sign | e = h
dh = de + dh_next -> dh = de | missing term, truncated | a =
dh = de + dh_next -> dh = de + dh_next + dh_next | counted twice, factor | a =
dh = de + dh_next -> dh = dh_next if t < T - 1 else de | missing term | e = h
do = dh * u -> do = dh * cs[t + 1] | swapped operand | h = o
do = dh * u -> do = dh | derivative left out | h = o
do = dh * u -> do = dh; do *= u | overwritten | h = o
do = dh * u -> do = de * u | missing term, swapped operand | h = o or a =
dc = dc_next + dh * o * (1 - u**2) -> dc = dh * o * (1 - u**2) | missing term, truncated | c = f
dc = dc_next + dh * o * (1 - u**2) -> dc = dc_next | missing term | u = or h = o
dc_next + dh * o * (1 - u**2) -> dc_next + dh * o | derivative left out | u =
dc_next + dh * o * (1 - u**2) -> (dc_next + dh * o) * (1 - u**2) | wrong derivative | c = f or u =
dc_next + dh * o * (1 - u**2) -> dc_next + dh * (1 - u**2) | derivative left out | h = o
dh * o * (1 - u**2) -> de * o * (1 - u**2) | missing term, swapped operand | a = or h = o or u =
(1 - u**2) -> (1 - np.tanh(u) ** 2) | wrong derivative | u =
(1 - u**2) -> (1 - cs[t + 1] ** 2) | wrong derivative | u =
(1 - u**2) -> (1 - np.tanh(cs[t]) ** 2) | wrong step, wrong derivative | u =
(1 - u**2) -> u * (1 - u) | wrong derivative | u =
df = dc * cs[t] -> df = dc * cs[t + 1] | wrong step | c = f
df = dc * cs[t] -> df = dc * cs[t - 1] | wrong step | c = f
df = dc * cs[t] -> df = dc * hs[t] | swapped operand | c = f
df = dc * cs[t] -> df = dh * cs[t] | derivative left out, swapped operand | c = f or u = or h = o
di = dc * g -> di = dc * i | swapped operand | c = f
dg = dc * i -> dg = dc * f | swapped operand | c = f
dai = di * i * (1 - i) -> dai = di * (1 - i) | wrong derivative | i = s
dai = di * i * (1 - i) -> dai = di * i * (1 + i) | sign, wrong derivative | i = s
daf = df * f * (1 - f) -> daf = df | derivative left out | f = s
daf = df * f * (1 - f) -> daf = df * sigmoid(f) | wrong derivative | f = s
dag = dg * (1 - g**2) -> dag = dg * g * (1 - g) | wrong derivative | g =
dag = dg * (1 - g**2) -> dag = dg * (1 - np.tanh(g) ** 2) | wrong derivative | g =
dag = dg * (1 - g**2) -> dag = dg | derivative left out | g =
dao = do * o * (1 - o) -> dao = do * sigmoid(o) * (1 - sigmoid(o)) | wrong derivative | o = s
dao = do * o * (1 - o) -> dao = do * i * (1 - i) | wrong derivative, swapped operand | o = s
[dai, daf, dag, dao] -> [dai, daf, dao, dag] | permuted | a = or g = or o = s
[dai, daf, dag, dao] -> [daf, dai, dag, dao] | permuted | a = or i = s or f = s
[dai, daf, dag, dao] -> [di, daf, dag, dao] | derivative left out | i = s
dWx += x[t].T @ da -> dWx = x[t].T @ da | not accumulated | a =
dWx += x[t].T @ da -> dWx += x[t - 1].T @ da | wrong step | a =
dWx += x[t].T @ da -> dWx += x[t] @ da | transpose | a = | square
dWh += hs[t].T @ da -> dWh += hs[t + 1].T @ da | wrong step | a =
dWh += hs[t].T @ da -> dWh += cs[t].T @ da | swapped operand | a =
dWh += hs[t].T @ da -> dWh += hs[t] @ da | transpose | a = | square
db += da.sum(axis=0) -> db += da.sum() | broadcast | a =
db += da.sum(axis=0) -> db += da.mean(axis=0) | factor, broadcast | a =
db += da.sum(axis=0) -> db = da.sum(axis=0) | not accumulated | a =
dx[t] = da @ Wx.T -> dx[t] = da @ Wh.T | swapped operand | a = | square
dx[t] = da @ Wx.T -> dx[t] = da[:, : 3 * H] @ Wx[:, : 3 * H].T | missing term | a = or o = s
dh_next = da @ Wh.T -> dh_next = da[:, H:] @ Wh[:, H:].T | missing term | a = or i = s
dh_next = da @ Wh.T -> dh_next += da @ Wh.T | counted twice | a =
dh_next = da @ Wh.T -> dh_next = -da @ Wh.T | sign | a =
dc_next = dc * f -> dc_next = dc | derivative left out | c = f
dc_next = dc * f -> dc_next += dc * f | counted twice | c = f
dc_next = dc * f -> dc_next = dc * gates[t - 1][1] | wrong step, swapped operand | c = f
dc_next = dc * f -> dc_next = dc * i | swapped operand | c = f
dc_next = dc * f -> dc_next = dc_next * f | missing term, swapped operand | c = f or u = or h = o
c = f * c + i * g -> c[:] = f * c + i * g | overwritten, wrong step | c = f
reversed(range(T)) -> reversed(range(1, T)) | truncated, missing term | a = or c = f or h = o
reversed(range(T)) -> reversed(range(T - 2, T)) | truncated | a = or c = f or h = o
"h0": dh_next -> "h0": np.zeros_like(h) | initial state, missing term | a = or h0
"c0": dc_next -> "c0": np.zeros_like(c) | initial state, missing term | c = f or c0
"c0": dc_next -> "c0": dc | initial state, derivative left out, wrong step | c = f or c0
"h0": dh_next, "c0" -> "c0": dh_next, "h0" | permuted, swapped operand, initial state | a = or c = f
""")
