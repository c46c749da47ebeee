"""The article's LSTM: its gates read the previous cell a, where others read the hidden state."""

import numpy as np

from .catalogue import mistakes, sizes


def draw(rng, dtype=np.float64, kind="usual"):
    T, I, H = sizes(rng, kind, usual=(6, 2, 3), square=(6, 4, 4))
    shapes = {"x": (T, I), "a0": (H,), "r": (H,)}
    for k in "ifoc":
        shapes |= {f"W_{k}a": (H, H), f"W_{k}x": (H, I), f"b_{k}": (H,)}
    return {name: rng.normal(size=s).astype(dtype) for name, s in shapes.items()}


def forward(p):
    x, a, hs = p["x"], p["a0"], []
    for t in range(len(x)):
        s_i = p["W_ia"] @ a + p["W_ix"] @ x[t] + p["b_i"]
        s_f = p["W_fa"] @ a + p["W_fx"] @ x[t] + p["b_f"]
        s_o = p["W_oa"] @ a + p["W_ox"] @ x[t] + p["b_o"]
        s_c = p["W_ca"] @ a + p["W_cx"] @ x[t] + p["b_c"]
        i = 1 / (1 + np.exp(-s_i))
        f = 1 / (1 + np.exp(-s_f))
        o = 1 / (1 + np.exp(-s_o))
        new = np.tanh(s_c)
        c = f * a + i * new
        u = np.tanh(c)
        hs.append(o * u)
        a = c
    m = np.mean(np.stack(hs), axis=0)
    return np.sum(m * p["r"])


def backward(p):
    x, T = p["x"], len(p["x"])
    a, hs, gates = [p["a0"]], [np.zeros_like(p["a0"])], []
    for t in range(T):
        s = {k: p[f"W_{k}a"] @ a[t] + p[f"W_{k}x"] @ x[t] + p[f"b_{k}"] for k in "ifoc"}
        i, f, o = (1 / (1 + np.exp(-s[k])) for k in "ifo")
        new = np.tanh(s["c"])
        a.append(f * a[t] + i * new)
        hs.append(o * np.tanh(a[t + 1]))
        gates.append((s, i, f, o, new))
    d = {name: np.zeros_like(v) for name, v in p.items()}
    d["r"] = sum(hs[1:]) / T
    da = np.zeros_like(p["a0"])
    for t in range(T)[::-1]:
        s, i, f, o, new = gates[t]
        u = np.tanh(a[t + 1])
        dh = p["r"] / T
        do = dh * u
        dc = da + dh * o * (1 - u**2)
        di, df, dnew = dc * new, dc * a[t], dc * i
        ds = {"i": di * i * (1 - i), "f": df * f * (1 - f), "o": do * o * (1 - o)}
        ds["c"] = dnew / np.cosh(s["c"]) ** 2
        for k in ds:
            d[f"W_{k}a"] += np.outer(ds[k], a[t])
            d[f"W_{k}x"] += np.outer(ds[k], x[t])
            d[f"b_{k}"] += ds[k]
            d["x"][t] += p[f"W_{k}x"].T @ ds[k]
        da = dc * f + sum(p[f"W_{k}a"].T @ ds[k] for k in ds)
    return d | {"a0": da}


MISTAKES = mistakes("""
d["r"] = sum(hs[1:]) / T -> d["r"] = sum(hs[:-1]) / T | wrong step | np.stack or * p["r"]
d["r"] = sum(hs[1:]) / T -> d["r"] = sum(hs[1:]) | factor | np.mean or * p["r"]
dh = p["r"] / T -> dh = p["r"] | factor, derivative left out | np.mean
dh = p["r"] / T -> dh = -p["r"] / T | sign | np.sum or np.mean or hs.append
u = np.tanh(a[t + 1]) -> u = np.tanh(a[t]) | wrong step | u = or hs.append
u = np.tanh(a[t + 1]) -> u = a[t + 1] | wrong derivative, swapped operand | u = or hs.append
do = dh * u -> do = dh * hs[t + 1] | swapped operand | hs.append
dc = da + dh * o -> dc = dh * o | missing term, truncated | c = f or @ a + or a = c
dc = da + dh * o * (1 - u**2) -> dc = da + dh * o | derivative left out | u =
dh * o * (1 - u**2) -> dh * o; dc *= 1 - u**2 | wrong derivative | u = or a = c or c = f
dc = da + dh * o * (1 - u**2) -> dc = da - dh * o * (1 - u**2) | sign | u = or hs.append
dc = da + dh * o * (1 - u**2) -> dc = da + dh * u * (1 - u**2) | swapped operand | hs.append
(1 - u**2) -> (1 - np.tanh(u) ** 2) | wrong derivative | u =
(1 - u**2) -> (1 - a[t + 1] ** 2) | wrong derivative | u =
di, df, dnew = dc * new, dc * a[t] -> di, df, dnew = dc * new, dc * a[t + 1] | wrong step | c = f
di, df, dnew = dc * new, dc * a[t] -> di, df, dnew = dc * new, dc * hs[t] | swapped operand | c = f
di, df, dnew = dc * new -> df, di, dnew = dc * new | permuted, swapped operand | c = f
dc * a[t], dc * i -> dc * a[t], np.multiply(dc, i, out=dc) | overwritten | c = f
"i": di * i * (1 - i) -> "i": di * i * i | wrong derivative | i = 1
"i": di * i * (1 - i) -> "i": di * s["i"] * (1 - s["i"]) | wrong derivative | i = 1
"f": df * f * (1 - f) -> "f": df * (1 - f**2) | wrong derivative | f = 1
"f": df * f * (1 - f) -> "f": df * f | wrong derivative | f = 1
"o": do * o * (1 - o) -> "o": do | derivative left out | o = 1
"o": do * o * (1 - o) -> "o": do * f * (1 - f) | wrong derivative, swapped operand | o = 1
ds["c"] = dnew / np.cosh(s["c"]) ** 2 -> ds["c"] = dnew | derivative left out | new =
np.cosh(s["c"]) ** 2 -> np.cosh(new) ** 2 | wrong derivative | new =
np.cosh(s["c"]) ** 2 -> np.cosh(s["c"]) | wrong derivative | new =
np.outer(ds[k], a[t]) -> np.outer(a[t], ds[k]) | transpose | @ a +
np.outer(ds[k], a[t]) -> np.outer(ds[k], a[t + 1]) | wrong step | @ a +
np.outer(ds[k], a[t]) -> np.outer(ds[k], hs[t]) | swapped operand | @ a +
np.outer(ds[k], a[t]) -> np.outer(ds["i"], a[t]) | swapped operand | s_f = or s_o = or s_c =
np.outer(ds[k], x[t]) -> np.outer(x[t], ds[k]) | transpose | @ a + | square
np.outer(ds[k], x[t]) -> np.outer(ds[k], x[t - 1]) | wrong step | @ a +
d[f"W_{k}x"] += -> d[f"W_{k}x"] = | not accumulated | @ a +
d[f"b_{k}"] += ds[k] -> d[f"b_{k}"] = ds[k] | not accumulated | @ a +
d[f"b_{k}"] += ds[k] -> d[f"b_{k}"] += ds[k].sum() | broadcast | @ a +
d["x"][t] += -> d["x"][t] = | not accumulated, missing term, overwritten | s_i = or s_f = or s_o =
p[f"W_{k}x"].T @ ds[k] -> p[f"W_{k}x"] @ ds[k] | transpose | @ a + | square
dc * f + sum(p[f"W_{k}a"].T @ ds[k] for k in ds) -> dc * f | missing term | @ a +
da = dc * f + sum -> da = sum | missing term | c = f
da = dc * f + sum -> da += dc * f + sum | counted twice | c = f or a = c
da = dc * f + sum -> da = dc + sum | derivative left out | c = f
da = dc * f + sum -> da = dc * gates[t - 1][2] + sum | wrong step, swapped operand | c = f
@ ds[k] for k in ds) -> @ ds[k] for k in "ifc") | missing term | s_o =
p[f"W_{k}a"].T @ ds[k] for k in ds) -> p[f"W_{k}a"] @ ds[k] for k in ds) | transpose | @ a +
@ ds[k] for k in ds) -> @ ds[k] for k in "ifoco") | counted twice, factor | s_o =
range(T)[::-1] -> range(T)[:-4:-1] | truncated | @ a + or c = f or u = or a = c
range(T)[::-1] -> range(T - 1, 0, -1) | truncated, missing term | @ a + or c = f or a = c
{"a0": da} -> {"a0": np.zeros_like(da)} | initial state, missing term | c = f or @ a + or a0
{"a0": da} -> {"a0": dc} | initial state, wrong step, derivative left out | c = f or @ a + or a0
""")
