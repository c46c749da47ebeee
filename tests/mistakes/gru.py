"""A GRU in PyTorch's form (the reset gate after the product), a readout of its last state."""

import numpy as np

from .catalogue import mistakes, sizes


def draw(rng, dtype=np.float64, kind="usual"):
    T, B, I, H, O = sizes(rng, kind, usual=(5, 2, 3, 4, 6), square=(5, 4, 4, 4, 4))
    shapes = {"x": (T, B, I), "h0": (B, H), "cn": (H,), "V": (H, O), "y": (B, O)}
    for k in "rzn":
        shapes |= {f"W{k}": (I, H), f"U{k}": (H, H), f"b{k}": (H,)}
    return {name: 0.7 * rng.normal(size=s).astype(dtype) for name, s in shapes.items()}


def forward(p):
    x, h = p["x"], p["h0"]
    for t in range(len(x)):
        ar = x[t] @ p["Wr"] + h @ p["Ur"] + p["br"]
        az = x[t] @ p["Wz"] + h @ p["Uz"] + p["bz"]
        r = 1 / (1 + np.exp(-ar))
        z = 1 / (1 + np.exp(-az))
        q = h @ p["Un"] + p["cn"]
        an = x[t] @ p["Wn"] + p["bn"] + r * q
        n = np.tanh(an)
        h = (1 - z) * n + z * h
    e = h @ p["V"] - p["y"]
    return np.sum(e**2) / (2 * len(e))


def backward(p):
    x, h, V = p["x"], p["h0"], p["V"]
    hs, gates = [h], []
    for t in range(len(x)):
        r = 1 / (1 + np.exp(-(x[t] @ p["Wr"] + h @ p["Ur"] + p["br"])))
        z = 1 / (1 + np.exp(-(x[t] @ p["Wz"] + h @ p["Uz"] + p["bz"])))
        q = h @ p["Un"] + p["cn"]
        n = np.tanh(x[t] @ p["Wn"] + p["bn"] + r * q)
        h = (1 - z) * n + z * h
        hs.append(h)
        gates.append((r, z, q, n))
    d = {name: np.zeros_like(v) for name, v in p.items()}
    de = (h @ V - p["y"]) / len(h)
    d["y"] = -de
    d["V"] = h.T @ de
    dh = de @ V.T
    for t in reversed(range(len(x))):
        r, z, q, n = gates[t]
        h_prev = hs[t]
        dn = dh * (1 - z)
        dz = dh * (h_prev - n)
        dan = dn * (1 - n**2)
        dr = dan * q
        dq = dan * r
        dar = dr * r * (1 - r)
        daz = dz * z * (1 - z)
        for k, da, du in (("r", dar, dar), ("z", daz, daz), ("n", dan, dq)):
            d[f"W{k}"] += x[t].T @ da
            d[f"b{k}"] += da.sum(0)
            d[f"U{k}"] += h_prev.T @ du
        d["cn"] += dq.sum(0)
        d["x"][t] = dar @ p["Wr"].T + daz @ p["Wz"].T + dan @ p["Wn"].T
        dh = dh * z + dar @ p["Ur"].T + daz @ p["Uz"].T + dq @ p["Un"].T
    d["h0"] = dh
    return d


MISTAKES = mistakes("""
(h @ V - p["y"]) / len(h) -> h @ V - p["y"] | factor | np.sum
(h @ V - p["y"]) / len(h) -> (h @ V - p["y"]) / len(x) | factor | np.sum
d["y"] = -de -> d["y"] = de | sign | e = h
d["V"] = h.T @ de -> d["V"] = hs[-2].T @ de | wrong step | e = h
d["V"] = h.T @ de -> d["V"] = de.T @ h | transpose | e = h
h_prev = hs[t] -> h_prev = hs[t - 1] | wrong step | ar = or az = or q = or h = (1
h_prev = hs[t] -> h_prev = hs[t + 1] | wrong step | ar = or az = or q = or h = (1
dn = dh * (1 - z) -> dn = dh * z | swapped operand, wrong derivative | h = (1
dn = dh * (1 - z) -> dn = dh | derivative left out | h = (1
dn = dh * (1 - z) -> dn = dh; dn *= 1 - z | overwritten | h = (1
dz = dh * (h_prev - n) -> dz = dh * (n - h_prev) | sign | h = (1
dz = dh * (h_prev - n) -> dz = dh * h_prev | missing term | h = (1
dz = dh * (h_prev - n) -> dz = dh * (hs[t + 1] - n) | wrong step | h = (1
dan = dn * (1 - n**2) -> dan = dn * n * (1 - n) | wrong derivative | n = np
dan = dn * (1 - n**2) -> dan = dn * (1 - np.tanh(n) ** 2) | wrong derivative | n = np
dan = dn * (1 - n**2) -> dan = dn | derivative left out | n = np
dr = dan * q -> dr = dan * h_prev | swapped operand | an =
dr = dan * q -> dr = dn * q | derivative left out, swapped operand | an = or n = np
dq = dan * r -> dq = dan | derivative left out | an =
dar = dr * r * (1 - r) -> dar = dr * r | wrong derivative | r = 1
dar = dr * r * (1 - r) -> dar = dr * (r - 1) * r | sign, wrong derivative | r = 1
daz = dz * z * (1 - z) -> daz = dz * (1 - z**2) | wrong derivative | z = 1
daz = dz * z * (1 - z) -> daz = dz | derivative left out | z = 1
daz = dz * z * (1 - z) -> daz = dz * r * (1 - r) | wrong derivative, swapped operand | z = 1
("r", dar, dar), ("z", daz, daz) -> ("z", dar, dar), ("r", daz, daz) | permuted | ar = or az =
("n", dan, dq) -> ("n", dan, dan) | derivative left out, swapped operand | q = or an =
("n", dan, dq) -> ("n", dn, dq) | derivative left out, swapped operand | an = or n = np
d[f"W{k}"] += -> d[f"W{k}"] = | not accumulated | ar = or az = or an =
d[f"U{k}"] += h_prev.T @ du -> d[f"U{k}"] += du.T @ h_prev | transpose | ar = or az = or q =
d[f"U{k}"] += h_prev.T @ du -> d[f"U{k}"] += hs[t + 1].T @ du | wrong step | ar = or az = or q =
d[f"b{k}"] += da.sum(0) -> d[f"b{k}"] += da.mean(0) | factor, broadcast | ar = or az = or an =
d[f"b{k}"] += da.sum(0) -> d[f"b{k}"] += da[0] | broadcast | ar = or az = or an =
d["cn"] += dq.sum(0) -> d["cn"] += dan.sum(0) | derivative left out, swapped operand | q = or an =
d["cn"] += dq.sum(0) -> d["cn"] = dq.sum(0) | not accumulated | q =
d["x"][t] = dar @ p["Wr"].T + daz -> d["x"][t] = daz | missing term | ar =
dan @ p["Wn"].T -> dn @ p["Wn"].T | derivative left out, swapped operand | an = or n = np
dan @ p["Wn"].T -> dan @ p["Un"].T | swapped operand | an = | square
dh = dh * z + dar -> dh = dar | missing term | h = (1
dh = dh * z + dar -> dh += dh * z + dar | counted twice | h = (1
dh = dh * z + dar -> dh = dh * (1 - z) + dar | swapped operand, wrong derivative | h = (1
dar @ p["Ur"].T + daz @ p["Uz"].T -> dar @ p["Ur"].T | missing term | az =
daz @ p["Uz"].T -> daz @ p["Uz"].T + daz @ p["Uz"].T | counted twice, factor | az =
dar @ p["Ur"].T -> dar @ p["Ur"] | transpose | ar =
dq @ p["Un"].T -> dan @ p["Un"].T | derivative left out, swapped operand | q = or an =
reversed(range(len(x))) -> range(len(x) - 1, 0, -1) | truncated | ar = or az = or q = or h = (1
range(len(x))): -> range(len(x))[-2:]): | truncated | ar = or az = or q = or an = or h = (1
d["h0"] = dh -> pass | initial state, missing term | ar = or az = or q = or h = (1 or h0
""")
