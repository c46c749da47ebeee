"""The recurrences of an introductory article, each beside its gradient derived by hand.

    python examples/article.py

minigrad began with an article that introduces recurrent networks by four recurrences, all of them a
little different from the ones in libraries. Each stands here twice:

    forward     composed from primitives; its gradient is automatic, nobody wrote a backward pass
    by hand     backpropagation through time (BPTT) in plain NumPy, with the derivation above it

and both gradients are held against central differences. Everything is float64, one sequence without
a batch: x is (T, I), row t is x_t. The dict p holds x and the parameters by the article's names.

How to read a derivation. v_ is the value that entered the step (v_{t-1}), dv the adjoint of v: the
derivative of the loss L by v, summed over all paths from v to L. A line `v = f(u)` run backward says
`du += f'(u) dv`, so a backward pass is the forward pass read from its last line to its first, each
line exchanged for its adjoint lines. Three rules do all the work (W' is W transposed):

    v = u * w         du += dv * w            dw += dv * u
    s = W u + b       dW += outer(ds, u)      du += W' ds      db += ds
    v = tanh(s)       ds += dv * (1 - v^2)    and for sigmoid  ds += dv * v * (1 - v)

The loss is a fixed random linear functional of all outputs, L = sum_t <r_t, h_t>: every output
matters, and dh_t starts as r_t.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import minigrad as mg
from minigrad.compare import compare
from minigrad.testing import numerical_grad

Dict = dict[str, Any]
GATES = "ifoc"
BPTT_RTOL, NUMERIC_RTOL = 1e-12, 1e-7

# --- 1. The LSTM whose gates read the previous cell ----------------------------------------------


def lstm(p: Dict) -> tuple[mg.Tensor]:
    """h (T, H) of the article's LSTM: its gates see a = c_{t-1}, the cell, where others see h_{t-1}."""
    x, a, hs = p["x"], np.zeros(len(p["b_c"])), []
    for t in range(len(x)):
        i = mg.sigmoid(p["W_ia"] @ a + p["W_ix"] @ x[t] + p["b_i"])
        f = mg.sigmoid(p["W_fa"] @ a + p["W_fx"] @ x[t] + p["b_f"])
        o = mg.sigmoid(p["W_oa"] @ a + p["W_ox"] @ x[t] + p["b_o"])
        c_new = mg.tanh(p["W_ca"] @ a + p["W_cx"] @ x[t] + p["b_c"])
        c = f * a + i * c_new
        h = o * mg.tanh(c)
        a = c
        hs.append(h)
    return (mg.stack(hs),)


def lstm_by_hand(p: Dict) -> tuple[tuple[np.ndarray], Callable[..., Dict]]:
    """h (T, H), and the function from dh (T, H) to the gradients by all of p.

    forward                          backward, from the last line to the first
    a  = c, for the next step        dc      = da                  what the next step sent
    h  = o * tanh(c)                 do      = dh * tanh(c)
                                     dc     += dh * o * (1 - tanh(c)^2)
    c  = f * a_ + i * c_new          df      = dc * a_             di = dc * c_new
                                     dc_new  = dc * i              da_ = dc * f
    c_new   = tanh(s_c)              ds_c    = dc_new * (1 - c_new^2)
    i, f, o = sigmoid(s)             ds_i    = di * i * (1 - i)    likewise f, o
    s_k = W_ka a_ + W_kx x + b_k     dW_ka  += outer(ds_k, a_)     dW_kx += outer(ds_k, x)
    for the gates k = i f o c        db_k   += ds_k
                                     da_    += W_ka' ds_k          dx    += W_kx' ds_k

    The last line is what the usual LSTM has in dh_: here all four gates add to the adjoint of the
    cell, so that it is carried back along five paths and not along the forget gate alone.
    """
    x, T, H = p["x"], len(p["x"]), len(p["b_c"])
    a, h, steps = np.zeros((T + 1, H)), np.zeros((T, H)), []
    for t in range(T):
        s = {k: p[f"W_{k}a"] @ a[t] + p[f"W_{k}x"] @ x[t] + p[f"b_{k}"] for k in GATES}
        i, f, o = (1 / (1 + np.exp(-s[k])) for k in "ifo")
        c_new = np.tanh(s["c"])
        a[t + 1] = f * a[t] + i * c_new
        h[t] = o * np.tanh(a[t + 1])
        steps.append((i, f, o, c_new))

    def backward(r: np.ndarray) -> Dict:
        d = {name: np.zeros_like(value) for name, value in p.items()}
        da = np.zeros(H)
        for t in reversed(range(T)):
            i, f, o, c_new = steps[t]
            tanh_c, dh = np.tanh(a[t + 1]), r[t]
            do = dh * tanh_c
            dc = da + dh * o * (1 - tanh_c**2)
            df, di, dc_new, da = dc * a[t], dc * c_new, dc * i, dc * f
            ds = {"i": di * i * (1 - i), "f": df * f * (1 - f), "o": do * o * (1 - o)}
            ds["c"] = dc_new * (1 - c_new**2)
            for k in GATES:
                d[f"W_{k}a"] += np.outer(ds[k], a[t])
                d[f"W_{k}x"] += np.outer(ds[k], x[t])
                d[f"b_{k}"] += ds[k]
                da = da + p[f"W_{k}a"].T @ ds[k]
                d["x"][t] += p[f"W_{k}x"].T @ ds[k]
        return d

    return (h,), backward


# --- 2. The gated RNN ----------------------------------------------------------------------------


def gated_rnn(p: Dict) -> tuple[mg.Tensor]:
    """h (T, H): a tanh network a, and a gate z that mixes it with the output before."""
    x, H, hs = p["x"], len(p["b_a"]), []
    a, h = np.zeros(H), np.zeros(H)
    for t in range(len(x)):
        a = mg.tanh(p["W_aa"] @ a + p["W_ax"] @ x[t] + p["b_a"])
        z = mg.sigmoid(p["W_za"] @ a + p["W_zx"] @ x[t] + p["b_z"])
        h = (1 - z) * a + z * h
        hs.append(h)
    return (mg.stack(hs),)


def gated_rnn_by_hand(p: Dict) -> tuple[tuple[np.ndarray], Callable[..., Dict]]:
    """h (T, H), and the function from dh (T, H) to the gradients by all of p.

    forward                          backward
    h   = (1 - z) * a + z * h_       dz    = dh * (h_ - a)         dh_ = dh * z
                                     da   += dh * (1 - z)          da: from the next step so far
    z   = sigmoid(s_z)               ds_z  = dz * z * (1 - z)
    s_z = W_za a + W_zx x + b_z      da   += W_za' ds_z            the gate reads the new a
    a   = tanh(s_a)                  ds_a  = da * (1 - a^2)
    s_a = W_aa a_ + W_ax x + b_a     da_   = W_aa' ds_a
    both s_k = W_ka .. + W_kx x + b_k:  dW_ka, dW_kx, db_k and dx as in 1.

    Two states go from step to step, so two adjoints come back: dh_ and da_.
    """
    x, T, H = p["x"], len(p["x"]), len(p["b_a"])
    a, h, z = np.zeros((T + 1, H)), np.zeros((T + 1, H)), np.zeros((T, H))
    for t in range(T):
        a[t + 1] = np.tanh(p["W_aa"] @ a[t] + p["W_ax"] @ x[t] + p["b_a"])
        z[t] = 1 / (1 + np.exp(-(p["W_za"] @ a[t + 1] + p["W_zx"] @ x[t] + p["b_z"])))
        h[t + 1] = (1 - z[t]) * a[t + 1] + z[t] * h[t]

    def backward(r: np.ndarray) -> Dict:
        d = {name: np.zeros_like(value) for name, value in p.items()}
        da, dh = np.zeros(H), np.zeros(H)
        for t in reversed(range(T)):
            dh = dh + r[t]
            dz = dh * (h[t] - a[t + 1])
            ds_z = dz * z[t] * (1 - z[t])
            da = da + dh * (1 - z[t]) + p["W_za"].T @ ds_z
            ds_a = da * (1 - a[t + 1] ** 2)
            for k, ds, reads in (("z", ds_z, a[t + 1]), ("a", ds_a, a[t])):
                d[f"W_{k}a"] += np.outer(ds, reads)
                d[f"W_{k}x"] += np.outer(ds, x[t])
                d[f"b_{k}"] += ds
                d["x"][t] += p[f"W_{k}x"].T @ ds
            da, dh = p["W_aa"].T @ ds_a, dh * z[t]
        return d

    return (h[1:],), backward


# --- 3. Stacked tanh layers and a readout --------------------------------------------------------

LAYERS = ("1", "2", "out")  # h^1, h^2 and the readout y, which has the same form


def stacked(p: Dict) -> tuple[mg.Tensor, mg.Tensor]:
    """h (T, H) of the top layer and y (T, O): h^l = tanh(W^l [h^{l-1}, x] + b^l), y likewise.

    Nothing in these lines looks back in time, so h^0 is taken from recurrence 2. That also lets them
    be written for all t at once: rows are time steps, and W [h, x] becomes [h, x] W'.
    """
    (h,) = gated_rnn(p)
    hs = [h]
    for l in LAYERS:
        below = hs[1] if l == "2" else hs[-1]
        s = mg.concatenate([below, p["x"]], axis=1) @ p[f"W_{l}"].T + p[f"b_{l}"]
        hs.append(mg.tanh(s))
    return hs[-2], hs[-1]


def stacked_by_hand(p: Dict) -> tuple[tuple[np.ndarray, ...], Callable[..., Dict]]:
    """h and y, and the function from dh (T, H) and dy (T, O) to the gradients by all of p.

    forward, rows are time           backward
    y = tanh(S), S = [h, x] W' + b   dS = dy * (1 - y^2)           dW = dS' [h, x]
                                     db = sum of dS over time      [dh, dx] += dS W
    h^2, h^1 in the same way, from the top down; then dh^0 goes into the backward pass of 2.

    x enters every layer, so dx is a sum over the layers.
    """
    (h,), below = gated_rnn_by_hand(p)
    hs, x = [h], p["x"]
    for l in LAYERS:
        hs.append(np.tanh(np.concatenate([hs[-1], x], axis=1) @ p[f"W_{l}"].T + p[f"b_{l}"]))

    def backward(r_h: np.ndarray, r_y: np.ndarray) -> Dict:
        d, dx, dh = {}, np.zeros_like(x), r_y
        for k in (2, 1, 0):
            dS = dh * (1 - hs[k + 1] ** 2)
            d[f"W_{LAYERS[k]}"] = dS.T @ np.concatenate([hs[k], x], axis=1)
            d[f"b_{LAYERS[k]}"] = dS.sum(axis=0)
            dh, dx_k = np.split(dS @ p[f"W_{LAYERS[k]}"], [hs[k].shape[1]], axis=1)
            dx += dx_k
            if k == 2:
                dh = dh + r_h  # the loss also reads the top layer
        d = below(dh) | d
        d["x"] += dx
        return d

    return (hs[-2], hs[-1]), backward
