"""Scaled dot-product attention (Vaswani et al., 2017, equation 1), one head, a batch."""

import numpy as np

from .catalogue import mistakes, sizes


def draw(rng, dtype=np.float64, kind="usual"):
    B, T, S, D, V = sizes(rng, kind, usual=(2, 3, 4, 5, 6), square=(2, 4, 4, 4, 4))
    shapes = {"Q": (B, T, D), "K": (B, S, D), "V": (B, S, V), "r": (B, T, V)}
    return {name: rng.normal(size=s).astype(dtype) for name, s in shapes.items()}


def forward(p):
    KT = np.swapaxes(p["K"], 1, 2)
    s = p["Q"] @ KT
    u = s / np.sqrt(p["Q"].shape[-1])
    e = np.exp(u)
    n = np.sum(e, axis=-1, keepdims=True)
    a = e / n
    out = a @ p["V"]
    return np.sum(out * p["r"])


def backward(p):
    Q, K, V = p["Q"], p["K"], p["V"]
    scale = 1 / np.sqrt(Q.shape[-1])
    e = np.exp(Q @ K.transpose(0, 2, 1) * scale)
    a = e / e.sum(-1, keepdims=True)
    dr = a @ V
    dout = p["r"]
    dV = a.transpose(0, 2, 1) @ dout
    da = dout @ V.transpose(0, 2, 1)
    du = a * (da - (da * a).sum(-1, keepdims=True))
    ds = du * scale
    dQ = ds @ K
    dK = ds.transpose(0, 2, 1) @ Q
    return {"Q": dQ, "K": dK, "V": dV, "r": dr}


MISTAKES = mistakes("""
ds = du * scale -> ds = du | factor, derivative left out | u =
ds = du * scale -> ds = du / scale | factor, wrong derivative | u =
ds = du * scale -> ds = du * scale**2 | factor | u =
da - (da * a).sum(-1, keepdims=True) -> da | missing term | a = or n =
da - (da * a).sum(-1, keepdims=True) -> da + (da * a).sum(-1, keepdims=True) | sign | a = or n =
(da * a).sum(-1 -> (da * a).sum(1 | broadcast | n = or a =
du = a * (da - (da * a) -> du = (da - (da * a) | derivative left out | e = or a =
du = a * (da -> du = -a * (da | sign | e = or a = or u = or out =
a.transpose(0, 2, 1) @ dout -> a @ dout | transpose | out = | square
dout @ V.transpose(0, 2, 1) -> dout @ V | transpose | out = | square
dQ = ds @ K -> dQ = ds @ Q | swapped operand | s = | square
dQ = ds @ K -> dQ = du @ K | derivative left out, factor, swapped operand | u = or s =
ds.transpose(0, 2, 1) @ Q -> ds @ Q | transpose | s = or KT | square
dV = a.transpose -> dV = e.transpose | swapped operand | out =
dK = ds.transpose -> dK = da.transpose | swapped operand, derivative left out | KT or a = or e =
{"Q": dQ, "K": dK -> {"Q": dK, "K": dQ | permuted, swapped operand | s = or KT | square
dK = ds.transpose(0, 2, 1) @ Q -> dK = -ds.transpose(0, 2, 1) @ Q | sign | s = or KT
""")
