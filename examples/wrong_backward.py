"""A backward pass derived by hand, with a mistake, and what minigrad says about it.

    python examples/wrong_backward.py

An LSTM in plain NumPy, as it is written from scratch in many places, and backpropagation through
time beside it. One line is wrong, in a way that does not stop the training: nothing crashes, the
loss goes down, only slower. `mg.compare_backward` holds the gradients against the automatic ones,
runs the backward pass with every value in it held against what it should be, and names the line
that is wrong, what stands there and what belongs there.

It writes wrong_backward.html, the graph with every operation coloured by how far off its gradient
is, and wrong_backward.dot (and .svg, where Graphviz is installed).
"""

from __future__ import annotations

import shutil
import sys
from typing import Any

import numpy as np

import minigrad as mg

Dict = dict[str, Any]


def sigmoid(s: Any) -> Any:
    return 1 / (1 + np.exp(-s))


def forward(p: Dict) -> Any:
    """The loss, the mean of the squares of all h: x (T, B, I), h and c (B, H), gates i f g o."""
    h, c, H = p["h0"], p["c0"], p["W_hh"].shape[0]
    hs = []
    for x in p["x"]:
        a = x @ p["W_ih"] + h @ p["W_hh"] + p["b"]
        i = sigmoid(a[:, :H])
        f = sigmoid(a[:, H : 2 * H])
        g = np.tanh(a[:, 2 * H : 3 * H])
        o = sigmoid(a[:, 3 * H :])
        c = f * c + i * g
        h = o * np.tanh(c)
        hs.append(h)
    return np.mean(np.stack(hs) ** 2)


def backward(p: Dict) -> Dict:
    """The gradients of all inputs by backpropagation through time; one line is wrong."""
    x, W_ih, W_hh, b = p["x"], p["W_ih"], p["W_hh"], p["b"]
    T, H = len(x), W_hh.shape[0]
    hs, cs, gates = [p["h0"]], [p["c0"]], []
    for t in range(T):
        a = x[t] @ W_ih + hs[-1] @ W_hh + b
        i, f, o = sigmoid(a[:, :H]), sigmoid(a[:, H : 2 * H]), sigmoid(a[:, 3 * H :])
        g = np.tanh(a[:, 2 * H : 3 * H])
        gates.append((i, f, g, o))
        cs.append(f * cs[-1] + i * g)
        hs.append(o * np.tanh(cs[-1]))

    dx, dW_ih, dW_hh, db = (np.zeros_like(v) for v in (x, W_ih, W_hh, b))
    dh_next, dc_next = np.zeros_like(hs[0]), np.zeros_like(cs[0])
    for t in reversed(range(T)):
        i, f, g, o = gates[t]
        tanh_c = np.tanh(cs[t + 1])
        dh = 2 * hs[t + 1] / np.size(hs[1:]) + dh_next
        do = dh * tanh_c
        dc = dc_next + dh * o * (1 - tanh_c**2)
        di, df, dg = dc * g, dc * cs[t + 1], dc * i  # c of this step: it should be cs[t]
        da = np.concatenate(
            [di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)], axis=1
        )
        dx[t] = da @ W_ih.T
        dW_ih += x[t].T @ da
        dW_hh += hs[t].T @ da
        db += da.sum(axis=0)
        dh_next = da @ W_hh.T
        dc_next = dc * f
    return {"x": dx, "W_ih": dW_ih, "W_hh": dW_hh, "b": db, "h0": dh_next, "c0": dc_next}


def draw(T: int = 12, B: int = 4, features: int = 3, H: int = 8) -> Dict:
    rng = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {"x": (T, B, features), "h0": (B, H), "c0": (B, H)}
    shapes |= {"W_ih": (features, 4 * H), "W_hh": (H, 4 * H), "b": (4 * H,)}
    return {name: 0.5 * rng.standard_normal(shape) for name, shape in shapes.items()}


def main() -> int:
    report = mg.compare_backward(forward, backward, draw())
    print(report)
    print(f"\n{report.explain()}")
    print(f"\nthe graph: {report.show('wrong_backward.html')}", end="")
    picture = report.draw()
    picture.save("wrong_backward.dot")
    print(", wrong_backward.dot", end="")
    if shutil.which("dot"):
        picture.render(outfile="wrong_backward.svg", cleanup=True)
        print(", wrong_backward.svg", end="")
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
