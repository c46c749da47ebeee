"""Batch normalization in training (Ioffe and Szegedy, 2015, algorithm 1), then a tanh."""

import numpy as np

from .catalogue import mistakes, sizes


def draw(rng, dtype=np.float64, kind="usual"):
    B, D = sizes(rng, kind, usual=(6, 3), square=(4, 4))
    shapes = {"x": (B, D), "gamma": (D,), "beta": (D,)}
    return {name: rng.normal(size=s).astype(dtype) for name, s in shapes.items()}


def forward(p):
    x = p["x"]
    mean = np.mean(x, axis=0)
    centred = x - mean
    var = np.mean(centred**2, axis=0)
    inv = 1 / np.sqrt(var + 1e-3)
    hat = centred * inv
    y = p["gamma"] * hat + p["beta"]
    t = np.tanh(y)
    return np.sum(t**2)


def backward(p):
    x, gamma = p["x"], p["gamma"]
    n = len(x)
    centred = x - x.mean(0)
    inv = (centred**2).mean(0)
    inv = 1 / np.sqrt(inv + 1e-3)
    hat = centred * inv
    t = np.tanh(gamma * hat + p["beta"])
    dt = 2 * t
    dy = dt * (1 - t**2)
    dbeta = dy.sum(axis=0)
    dgamma = np.sum(dy * hat, axis=0)
    dhat = dy * gamma
    dinv = np.sum(dhat * centred, axis=0)
    dvar = -0.5 * dinv * inv**3
    dcentred = dhat * inv + dvar * 2 / n * centred
    dmean = -dcentred.sum(axis=0)
    dx = dcentred + dmean / n
    return {"x": dx, "gamma": dgamma, "beta": dbeta}


MISTAKES = mistakes("""
dt = 2 * t -> dt = t | factor, wrong derivative | t**2
dy = dt * (1 - t**2) -> dy = dt | derivative left out | np.tanh
dy = dt * (1 - t**2) -> dy = dt * (1 - t) | wrong derivative | np.tanh
dy.sum(axis=0) -> dy.mean(axis=0) | factor, broadcast | y =
dy.sum(axis=0) -> dy.sum(axis=1) | broadcast | y = | square
np.sum(dy * hat, axis=0) -> np.sum(dy * centred, axis=0) | swapped operand | y =
np.sum(dy * hat -> np.sum(dt * hat | derivative left out, swapped operand | y = or np.tanh
dhat = dy * gamma -> dhat = dy | derivative left out | y =
dvar = -0.5 -> dvar = 0.5 | sign | inv =
inv**3 -> inv**2 | wrong derivative | inv =
-0.5 * dinv -> -dinv | factor, wrong derivative | inv =
+ dvar * 2 / n * centred -> + 0 | missing term | inv or var =
dvar * 2 / n * centred -> dvar * 2 * centred | factor | var =
dvar * 2 / n * centred -> dvar / n * centred | factor, wrong derivative | var =
dcentred + dmean / n -> dcentred | missing term | mean = or centred =
dmean = -dcentred.sum(axis=0) -> dmean = -dcentred.sum() | broadcast | centred =
dmean / n -> dmean | factor, derivative left out | mean =
hat = centred * inv -> hat = centred; hat *= inv | overwritten, swapped operand | hat = or var =
dhat * inv -> dhat | derivative left out | hat =
np.sum(dhat * centred, axis=0) -> np.sum(dhat * hat, axis=0) | swapped operand | hat =
""")
