"""One LSTM training step: forward, and the gradients of x, W_ih, W_hh and b of sum(h).

    python benchmarks/bench_lstm.py [--rounds 7] [--all]

Everyone computes the same from the same arrays, checked before it is timed:

    i f g o = sigmoid, sigmoid, tanh, sigmoid  of  x W_ih' + b + h W_hh'
    c = f * c + i * g
    h = o * tanh(c)

and is written as its users would write it for speed: x W_ih' for all steps in one product, the four
gates in one product per step, h collected and summed once. Ratios are minigrad.nn.LSTM's time over
the other's, so less is better for minigrad.

"its operations, no tape" is what NumPy alone costs: the operations and rules that minigrad.nn.LSTM
runs, each once, written out in a row. Nothing that composes the cell from operations of NumPy and
runs each when it is called can be faster, whatever its tape costs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from timing import Step, agree, header, measure, peer, table, unguarded

import minigrad as mg

SIZES = [
    (20, 1, 16, 16),
    (50, 16, 32, 64),
    (50, 32, 64, 128),
    (100, 64, 128, 256),
    (35, 20, 650, 650),
]
TARGETS = [
    {"torch composed": 0.5, "HIPS autograd": 0.2, "mygrad": 0.2},
    {"torch composed": 0.6, "HIPS autograd": 0.35, "mygrad": 0.35},
    {"torch composed": 0.75},
    {"torch composed": 0.75},
    {"torch composed": 0.75},
]


class Problem(NamedTuple):
    """x (T, B, I), weight_ih (4H, I), weight_hh (4H, H), bias (4H,), float32, gates i f g o."""

    x: np.ndarray
    weight_ih: np.ndarray
    weight_hh: np.ndarray
    bias: np.ndarray

    @classmethod
    def draw(cls, T: int, B: int, features: int, H: int) -> Problem:
        rng = np.random.default_rng(0)
        shapes = [(T, B, features), (4 * H, features), (4 * H, H), (4 * H,)]
        scales = [1, *[H**-0.5] * 3]
        return cls(
            *[
                (scale * rng.standard_normal(shape)).astype(np.float32)
                for shape, scale in zip(shapes, scales, strict=True)
            ]
        )


def gemms(p: Problem, copied: bool = False) -> Step:
    """The matrix products alone, into buffers that exist: the floor for everything on this BLAS.

    `copied`: those with W' and U' read contiguous copies, made before, which most BLAS like better.
    """
    T, B, features = p.x.shape
    rows, H = p.weight_hh.shape
    x, w, u = p.x.reshape(T * B, features), p.weight_ih, p.weight_hh
    wt, ut = (np.ascontiguousarray(v.T) for v in (w, u)) if copied else (w.T, u.T)
    a, h = np.zeros((T, B, rows), np.float32), np.zeros((T, B, H), np.float32)
    flat_a, flat_h = a.reshape(T * B, rows), h.reshape(T * B, H)
    dx, dw, du = (np.empty_like(v) for v in (x, w, u))
    da, dh = np.empty((B, rows), np.float32), np.empty((B, H), np.float32)

    def step() -> None:
        np.matmul(x, wt, out=flat_a)
        for t in range(T):
            np.matmul(h[t], ut, out=da)
        for t in range(T):
            np.matmul(a[t], u, out=dh)
        np.matmul(flat_a, w, out=dx)
        np.matmul(flat_a.T, x, out=dw)
        np.matmul(flat_a.T, flat_h, out=du)

    return step


def by_hand(p: Problem) -> Step:
    def step() -> tuple[np.ndarray, ...]:
        hs, _, cache = mg.bptt.lstm_forward(p.x, p.weight_ih, p.weight_hh, p.bias, None)
        g = mg.bptt.lstm_backward(np.ones_like(hs), cache)
        return g["x"], g["weight_ih"], g["weight_hh"], g["bias_ih"]

    return step


def by_hand_in_buffers(p: Problem, slopes_first: bool = False) -> Step:
    """As NumPy is written for speed: every array exists, U' is copied, views are made before.

    `slopes_first`: what the backward loop multiplies dh and dc by holds no gradient, so it is made
    for all steps at once, in few calls: less work for small arrays, more memory for large ones.
    """
    T, B, features = p.x.shape
    G, H = p.weight_hh.shape
    x, w, u, b = p.x.reshape(T * B, features), p.weight_ih, p.weight_hh, p.bias
    mul, add, sub, tanh, empty = (
        np.multiply,
        np.add,
        np.subtract,
        np.tanh,
        partial(np.empty, dtype=w.dtype),
    )
    Z, dZ, TC, ut = empty((T, B, G)), empty((T, B, G)), empty((T, B, H)), empty((H, G))
    Hs, C = np.zeros((2, T + 1, B, H), w.dtype)
    z2, (dh, dc, s1) = empty((B, G)), empty((3, B, H))
    half, tanhs = (np.repeat(np.array(v, w.dtype), H) for v in ([0.5, 0.5, 1, 0.5], [0, 0, 1, 0]))
    rest = 1 - half
    flat, dflat = Z.reshape(T * B, G), dZ.reshape(T * B, G)
    (I, F, N, O), (dI, dF, dN, dO) = np.split(Z, 4, axis=2), np.split(dZ, 4, axis=2)
    steps = list(zip(Z, I, F, N, O, C, C[1:], TC, Hs, Hs[1:], strict=False))
    gates = list(zip(Z, I, F, N, O, C, TC, dZ, dI, dF, dN, dO, strict=False))[::-1]
    if slopes_first:
        slopes, K, Q = empty((T, B, 3, H)), empty((T, B, H)), empty((T, B, H))
        three = [dz.reshape(B, 4, H)[:, :3] for dz in dZ]
        slow = list(zip(K, Q, slopes, F, dZ, three, dO, strict=True))[::-1]
        dc3, Z1 = dc[:, None, :], empty((T, B, G))

    def forward() -> None:
        np.copyto(ut, u.T)
        np.matmul(x, w.T, out=flat)
        add(flat, b, flat)
        for z, i, f, g, o, c0, c1, tc, h0, h1 in steps:
            np.matmul(h0, ut, out=z2)
            add(z, z2, z)
            mul(z, half, z)  # sigmoid(z) = tanh(z / 2) / 2 + 1 / 2
            tanh(z, z)
            mul(z, half, z)
            add(z, rest, z)
            mul(f, c0, c1)
            mul(i, g, s1)
            add(c1, s1, c1)
            tanh(c1, tc)
            mul(o, tc, h1)

    def backward() -> None:
        for z, i, f, g, o, c0, tc, dz, di, df, dg, do in gates:
            add(dh, 1, dh)
            mul(dh, tc, do)
            mul(tc, tc, s1)
            sub(1, s1, s1)
            mul(s1, o, s1)
            mul(s1, dh, s1)
            add(dc, s1, dc)
            mul(dc, g, di)
            mul(dc, c0, df)
            mul(dc, i, dg)
            mul(dc, f, dc)
            add(z, tanhs, z2)
            mul(dz, z2, dz)
            sub(1, z, z2)
            mul(dz, z2, dz)
            np.matmul(dz, u, out=dh)

    def backward_slopes_first() -> None:
        sub(1, Z, Z1)
        mul(Z1, Z, Z1)
        mul(N, Z1[..., :H], slopes[:, :, 0])
        mul(C[:-1], Z1[..., H : 2 * H], slopes[:, :, 1])
        mul(N, N, Q)
        sub(1, Q, Q)
        mul(I, Q, slopes[:, :, 2])
        mul(TC, Z1[..., 3 * H :], Q)
        mul(TC, TC, K)
        sub(1, K, K)
        mul(K, O, K)
        for k, q, slope, f, dz, dz3, do in slow:
            add(dh, 1, dh)
            mul(dh, q, do)
            mul(dh, k, s1)
            add(dc, s1, dc)
            mul(dc3, slope, dz3)
            mul(dc, f, dc)
            np.matmul(dz, u, out=dh)

    def step() -> tuple[np.ndarray, ...]:
        forward()
        dh[:] = dc[:] = 0
        backward_slopes_first() if slopes_first else backward()
        dw, du = dflat.T @ x, dflat.T @ Hs[:-1].reshape(T * B, H)
        return (dflat @ w).reshape(p.x.shape), dw, du, dflat.sum(0)

    return step


def written_out(p: Problem) -> Step:
    sigmoid = mg.sigmoid.forward
    T, B, features = p.x.shape
    H = p.weight_hh.shape[1]
    blocks = [slice(k * H, (k + 1) * H) for k in range(4)]

    def step() -> tuple[np.ndarray, ...]:
        flat_x, w, u, b = p.x.reshape(T * B, features), p.weight_ih, p.weight_hh, p.bias
        xw = (flat_x @ w.T).reshape(T, B, 4 * H) + b
        ut, h, c = u.T, np.zeros((B, H), np.float32), np.zeros((B, H), np.float32)
        hs, kept = [], []
        for t in range(T):
            a = xw[t] + h @ ut
            i, f, g, o = [a[..., block] for block in blocks]
            i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
            before, c = (h, c), f * c + i * g
            tc = np.tanh(c)
            h = o * tc
            hs.append(h)
            kept.append((*before, i, f, g, o, tc))
        out = np.stack(hs)
        dhs = np.broadcast_to(np.ones_like(out.sum()), out.shape)
        dh = dc = np.zeros((B, H), np.float32)
        das = []
        for t in reversed(range(T)):
            _, c, i, f, g, o, tc = kept[t]
            dh = dhs[t] + dh
            do, dtc = dh * tc, dh * o
            dc = dc + (dtc - dtc * tc * tc)
            di, df, dg = dc * g, dc * c, dc * i
            di, df, do = [(dz := d * z) - dz * z for d, z in ((di, i), (df, f), (do, o))]
            da = np.concatenate((di, df, dg - dg * g * g, do), -1)
            das.append(da)
            dh, dc = da @ u, dc * f
        da = np.concatenate(das[::-1])
        hs_before = np.concatenate([k[0] for k in kept])
        return (da @ w).reshape(p.x.shape), da.T @ flat_x, da.T @ hs_before, da.sum(0)

    return step


def minigrad_layer(p: Problem) -> mg.nn.LSTM:
    rows, features = p.weight_ih.shape
    lstm = mg.nn.LSTM(features, rows // 4, dtype=p.x.dtype)
    lstm.load_state_dict(
        {
            "weight_ih_l0": p.weight_ih,
            "weight_hh_l0": p.weight_hh,
            "bias_ih_l0": p.bias,
            "bias_hh_l0": np.zeros_like(p.bias),
        }
    )
    return lstm


def minigrad_eager(p: Problem) -> Step:
    lstm = minigrad_layer(p)
    x = mg.tensor(p.x, requires_grad=True)

    def step() -> tuple[Any, ...]:
        x.grad = None
        lstm.zero_grad()
        hs, _ = lstm(x)
        hs.sum().backward()
        return x.grad, lstm.weight_ih_l0.grad, lstm.weight_hh_l0.grad, lstm.bias_ih_l0.grad

    return step


def torch_layer(p: Problem) -> Any:
    torch, (rows, features) = peer("torch"), p.weight_ih.shape
    lstm = torch.nn.LSTM(features, rows // 4)
    with torch.no_grad():
        lstm.weight_ih_l0.copy_(torch.tensor(p.weight_ih))
        lstm.weight_hh_l0.copy_(torch.tensor(p.weight_hh))
        lstm.bias_ih_l0.copy_(torch.tensor(p.bias))
        lstm.bias_hh_l0.zero_()
    return lstm


def torch_fused(p: Problem) -> Step | None:
    if (torch := peer("torch")) is None:
        return None
    lstm, x = torch_layer(p), torch.tensor(p.x, requires_grad=True)

    def step() -> tuple[Any, ...]:
        x.grad = None
        lstm.zero_grad(set_to_none=True)
        hs, _ = lstm(x)
        hs.sum().backward()
        return x.grad, lstm.weight_ih_l0.grad, lstm.weight_hh_l0.grad, lstm.bias_ih_l0.grad

    return step


def torch_composed(p: Problem, compiled: bool = False) -> Step | None:
    """Unbind and chunk, not x[t] and slices: their gradients are one stack each.

    `compiled`: the loss by `torch.compile`, which unrolls the loop.
    """
    if (torch := peer("torch")) is None:
        return None
    leaves = [torch.tensor(v, requires_grad=True) for v in p]
    B, H = p.x.shape[1], p.weight_hh.shape[1]

    def loss(x: Any, w: Any, u: Any, b: Any) -> Any:
        ut = u.T
        h = c = torch.zeros(B, H)
        hs = []
        for xw in (x @ w.T + b).unbind(0):
            i, f, g, o = torch.addmm(xw, h, ut).chunk(4, 1)
            i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
            c = f * c + i * g
            h = o * torch.tanh(c)
            hs.append(h)
        return torch.stack(hs).sum()

    if compiled:
        loss = torch.compile(loss)

    def step() -> list[Any]:
        for leaf in leaves:
            leaf.grad = None
        loss(*leaves).backward()
        return [leaf.grad for leaf in leaves]

    return step


def jax_scan(p: Problem) -> Step | None:
    if (jax := peer("jax")) is None:
        return None
    jnp = jax.numpy
    B, H = p.x.shape[1], p.weight_hh.shape[1]

    def loss(x: Any, w: Any, u: Any, b: Any) -> Any:
        def cell(state: Any, xw: Any) -> Any:
            h, c = state
            i, f, g, o = jnp.split(xw + h @ u.T, 4, axis=1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zeros = jnp.zeros((B, H), x.dtype)
        return jax.lax.scan(cell, (zeros, zeros), x @ w.T + b)[1].sum()

    gradient = jax.jit(jax.grad(loss, (0, 1, 2, 3)))
    arguments = [jnp.asarray(v) for v in p]
    return lambda: jax.block_until_ready(gradient(*arguments))


def hips_autograd(p: Problem) -> Step | None:
    if (anp := peer("autograd.numpy")) is None:
        return None
    B, H = p.x.shape[1], p.weight_hh.shape[1]
    half = np.float32(0.5)  # a Python number would make everything float64 on the way back

    def sigmoid(a: Any) -> Any:
        return half * anp.tanh(half * a) + half

    def loss(x: Any, w: Any, u: Any, b: Any) -> Any:
        xw, ut = anp.dot(x, w.T) + b, u.T
        h = c = np.zeros((B, H), np.float32)
        hs = []
        for t in range(len(x)):
            i, f, g, o = anp.split(xw[t] + anp.dot(h, ut), 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * anp.tanh(g)
            h = sigmoid(o) * anp.tanh(c)
            hs.append(h)
        return anp.sum(anp.stack(hs))

    gradient = peer("autograd").grad(loss, (0, 1, 2, 3))
    return lambda: gradient(*p)


def mygrad_eager(p: Problem) -> Step | None:
    if (mygrad := peer("mygrad")) is None:
        return None
    sigmoid = peer("mygrad.nnet.activations").sigmoid
    leaves = [mygrad.tensor(v) for v in p]
    B, H = p.x.shape[1], p.weight_hh.shape[1]

    def step() -> list[Any]:
        x, w, u, b = leaves
        xw, ut = mygrad.matmul(x, w.T) + b, u.T
        h = c = np.zeros((B, H), np.float32)
        hs = []
        for t in range(len(p.x)):
            a = xw[t] + mygrad.matmul(h, ut)
            i, f, g, o = (a[:, k * H : (k + 1) * H] for k in range(4))
            c = sigmoid(f) * c + sigmoid(i) * mygrad.tanh(g)
            h = sigmoid(o) * mygrad.tanh(c)
            hs.append(h)
        mygrad.stack(hs).sum().backward()
        return [leaf.grad for leaf in leaves]

    return step


IMPLEMENTATIONS: dict[str, Callable[[Problem], Step | None]] = {
    "GEMMs alone, NumPy": gemms,
    "GEMMs alone, W', U' copied": lambda p: gemms(p, copied=True),
    "BPTT by hand, NumPy": by_hand,
    "BPTT by hand, in buffers": by_hand_in_buffers,
    "BPTT by hand, slopes first": lambda p: by_hand_in_buffers(p, slopes_first=True),
    "its operations, no tape": written_out,
    "minigrad.nn.LSTM": minigrad_eager,
    "torch.nn.LSTM, fused": torch_fused,
    "torch composed": torch_composed,
    "JAX jit + scan": jax_scan,
    "HIPS autograd": hips_autograd,
    "mygrad": mygrad_eager,
    "mygrad, guard off": lambda p: unguarded(mygrad_eager(p)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="turns of each (%(default)s)")
    parser.add_argument("--all", action="store_true", help="all five sizes, not the first two")
    options = parser.parse_args()
    print(header())
    for size, targets in list(zip(SIZES, TARGETS, strict=True))[: None if options.all else 2]:
        problem = Problem.draw(*size)
        candidates = {name: make(problem) for name, make in IMPLEMENTATIONS.items()}
        gradients = {
            name: dict(zip(Problem._fields, map(np.asarray, step()), strict=True))
            for name, step in candidates.items()
            if step is not None and not name.startswith("GEMMs")
        }
        agree(gradients, "BPTT by hand, NumPy")
        timings = measure(candidates, "minigrad.nn.LSTM", options.rounds)
        title = f"LSTM training step, (T, B, I, H) = {size}, float32; all gradients agree"
        table(title, timings, "minigrad.nn.LSTM", "us per time step", 1e6 / size[0], targets)


if __name__ == "__main__":
    main()
