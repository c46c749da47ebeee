"""A linear classifier: softmax cross-entropy with an L2 penalty."""

import numpy as np

from .catalogue import mistakes, sizes


def draw(rng, dtype=np.float64, kind="usual"):
    B, I, C = sizes(rng, kind, usual=(5, 3, 4), square=(4, 4, 4))
    return {
        "x": rng.normal(size=(B, I)).astype(dtype),
        "W": rng.normal(size=(I, C)).astype(dtype),
        "b": rng.normal(size=C).astype(dtype),
        "y": rng.integers(0, C, B),
    }


def forward(p):
    z = p["x"] @ p["W"] + p["b"]
    u = z - np.max(z, axis=1, keepdims=True)
    e = np.exp(u)
    s = np.sum(e, axis=1, keepdims=True)
    logp = u - np.log(s)
    nll = -np.mean(logp[np.arange(len(p["y"])), p["y"]])
    return nll + 0.1 * np.sum(p["W"] ** 2)


def backward(p):
    x, W, y = p["x"], p["W"], p["y"]
    z = x @ W + p["b"]
    prob = np.exp(z - z.max(1, keepdims=True))
    prob /= prob.sum(1, keepdims=True)
    hot = np.zeros_like(prob)
    hot[np.arange(len(y)), y] = 1
    dz = (prob - hot) / len(y)
    dW = x.T @ dz + 0.2 * W
    db = dz.sum(0)
    dx = dz @ W.T
    return {"x": dx, "W": dW, "b": db}


MISTAKES = mistakes("""
(prob - hot) / len(y) -> prob - hot | factor | np.mean
(prob - hot) / len(y) -> prob / len(y) | missing term | logp = or nll
(prob - hot) / len(y) -> -hot / len(y) | missing term | logp = or s = or e =
(prob - hot) / len(y) -> (hot - prob) / len(y) | sign | nll
(prob - hot) / len(y) -> (prob + hot) / len(y) | sign | logp or nll
(prob - hot) / len(y) -> (prob - hot) / prob.size | factor | np.mean
(prob - hot) / len(y) -> 2 * (prob - hot) / len(y) | factor, counted twice | nll
+ 0.2 * W -> + 0.1 * W | factor, wrong derivative | ** 2
+ 0.2 * W -> + 0 * W | missing term | ** 2
+ 0.2 * W -> - 0.2 * W | sign | ** 2
+ 0.2 * W -> + 0.2 | wrong derivative, derivative left out | ** 2
dz.sum(0) -> dz.mean(0) | factor, broadcast | z =
dz.sum(0) -> dz | broadcast | z =
dz.sum(0) -> dz.sum(1) | broadcast | z = | square
dz @ W.T -> dz @ W | transpose | z = | square
""")
