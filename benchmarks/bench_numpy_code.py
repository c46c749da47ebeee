"""What it costs to record NumPy code as it stands, against the same code written for Tensors.

    OMP_NUM_THREADS=1 python benchmarks/bench_numpy_code.py [--rounds 50]

`mg.numpy_code(f)` runs f with hooks in it, on arrays that can be assigned to; the baseline is f on
plain Tensors, with lists where f has buffers. Both give the same gradients, checked first. Timed is
the recorded forward pass alone: the backward pass is that of the same graph. Candidates take turns
in one process; CPU time, the ratio of the fastest rounds.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from timing import header

import minigrad as mg

T, B, I, H = 20, 8, 16, 32


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


def lstm_of_lists(p: Any, x: Any) -> Any:
    h, c, hs = np.zeros((B, H)), np.zeros((B, H)), []
    for t in range(T):
        z = np.matmul(x[t], p["wx"]) + np.matmul(h, p["wh"]) + p["b"]
        i, f, o = sigmoid(z[:, :H]), sigmoid(z[:, H : 2 * H]), sigmoid(z[:, 2 * H : 3 * H])
        c = f * c + i * np.tanh(z[:, 3 * H :])
        h = o * np.tanh(c)
        hs.append(h)
    return np.sum(np.stack(hs) ** 2)


def lstm_of_buffers(p: Any, x: Any) -> Any:
    h, c = np.zeros((T + 1, B, H)), np.zeros((T + 1, B, H))
    for t in range(T):
        z = x[t].dot(p["wx"]) + h[t].dot(p["wh"]) + p["b"]
        i, f, o = sigmoid(z[:, :H]), sigmoid(z[:, H : 2 * H]), sigmoid(z[:, 2 * H : 3 * H])
        c[t + 1] = f * c[t] + i * np.tanh(z[:, 3 * H :])
        h[t + 1] = o * np.tanh(c[t + 1])
    return np.sum(h[1:] ** 2)


def mlp(p: Any, x: Any) -> Any:
    for k in range(3):
        x = np.tanh(x @ p[f"w{k}"])
    x = x - np.max(x, axis=1, keepdims=True)
    return -np.mean(np.log(np.exp(x) / np.sum(np.exp(x), axis=1, keepdims=True)))


def numbers(p: Any, x: Any) -> Any:
    y, total = p["y"], 0.0
    for _ in range(300):
        y = y - 0.1 * np.sin(y) * y
        total = total + y * y
    return np.sum(total)


def elements_in_a_list(p: Any, x: Any) -> Any:
    rows = [[p["a"][i, j] * p["a"][j, i] for j in range(20)] for i in range(20)]
    return np.sum(np.stack([v for row in rows for v in row]) ** 2)


def elements_in_a_buffer(p: Any, x: Any) -> Any:
    out = np.zeros((20, 20))
    for i in range(20):
        for j in range(20):
            out[i, j] = p["a"][i, j] * p["a"][j, i]
    return np.sum(out**2)


def cases() -> dict[str, tuple[Any, Any, Any, Any]]:
    rng = np.random.default_rng(0)
    lstm = {"wx": rng.normal(size=(I, 4 * H)), "wh": rng.normal(size=(H, 4 * H)) / 6}
    lstm["b"] = rng.normal(size=4 * H)
    x = rng.normal(size=(T, B, I))
    layers = {f"w{k}": rng.normal(size=(64, 64)) / 8 for k in range(3)}
    return {
        "LSTM, states in lists": (lstm_of_lists, lstm_of_lists, lstm, x),
        "LSTM, states in buffers": (lstm_of_buffers, lstm_of_lists, lstm, x),
        "MLP 64-64-64, batch 64": (mlp, mlp, layers, rng.normal(size=(64, 64))),
        "arrays of 2, no buffer": (numbers, numbers, {"y": rng.normal(size=2)}, x),
        "400 elements": (
            elements_in_a_buffer, elements_in_a_list, {"a": rng.normal(size=(20, 20))}, x,
        ),
    }  # fmt: skip


def same(f: Any, g: Any, p: Any, x: Any) -> None:
    a, b = mg.grad(mg.numpy_code(f))(p, x), mg.grad(g)(p, x)
    for name in p:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-9, atol=1e-12)


def fastest(steps: list[Callable[[], Any]], rounds: int) -> list[float]:
    best = [float("inf")] * len(steps)
    gc.collect()
    gc.freeze()  # so that collecting does not walk what was imported before
    for _ in range(rounds):
        for k, step in enumerate(steps):
            start = time.process_time()
            step()
            best[k] = min(best[k], time.process_time() - start)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    rounds = parser.parse_args().rounds
    print(header())
    print(f"\n  {'forward pass':26} {'NumPy, ms':>10} {'Tensors':>10} {'numpy_code':>10}   ratio")
    for name, (f, g, p, x) in cases().items():
        same(f, g, p, x)
        leaves = {k: mg.tensor(v, requires_grad=True) for k, v in p.items()}
        hooked = mg.numpy_code(f)
        steps = [lambda: f(p, x), lambda: g(leaves, x), lambda: hooked(leaves, x)]  # noqa: B023
        times = [1000 * s for s in fastest(steps, rounds)]
        row = "".join(f"{t:11.3f}" for t in times)
        print(f"  {name:26}{row}   {times[2] / times[1]:5.2f}")


if __name__ == "__main__":
    main()
