"""Recurrent gradients derived by hand: tanh-RNN, GRU and LSTM through time, in plain NumPy.

Run a layer forward, pull a cotangent back through all its steps, and hold the result against a
difference quotient or an automatic gradient, with which it shares no code.

>>> rng = np.random.default_rng(0)
>>> x, weight_ih, weight_hh = (rng.standard_normal(s) for s in [(5, 2, 3), (16, 3), (16, 4)])
>>> hs, c_n, cache = lstm_forward(x, weight_ih, weight_hh, None, None)
>>> grads = lstm_backward(np.ones_like(hs), cache, intermediates=True)  # of hs.sum()
>>> grads["weight_ih"].shape, grads["df"].shape  # df: of the forget gate at every step
((16, 3), (5, 2, 4))
>>> e = 1e-6 * rng.standard_normal(x.shape)
>>> up, down = (lstm_forward(x + d, *cache.inputs[1:])[0].sum() for d in (e, -e))
>>> bool(np.isclose(up - down, 2 * (grads["x"] * e).sum()))
True

Shapes are PyTorch's: x is (T, B, I), time first, and the hidden states hs are (T, B, H). With k
gates stacked (RNN 1; GRU 3: r z n; LSTM 4: i f g o) weight_ih is (k*H, I), weight_hh (k*H, H) and
a bias (k*H,) or None. h0 and c0 are (B, H); None means zeros. All inputs share one floating
dtype, which every result keeps; cotangents are cast to it. A shape or dtype that does not fit
raises a ValueError which names the argument, what was expected and what came.

States have T+1 rows: row t enters step t, row t+1 leaves it. In the equations h_ and c_ enter the
step, h and c leave it, W' is W transposed, * is elementwise, and dv is the cotangent of v: the
derivative of the loss by v along every path from v to the loss, later steps included. dhs_ is
the part of dh_ that the loss sends directly.

P. J. Werbos, "Backpropagation through time: what it does and how to do it", 1990.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]
Opt: TypeAlias = Array | None
"""An array, or None for zeros."""

Gradients: TypeAlias = dict[str, Array]
"""The gradients of the inputs, by their names."""


class Inputs(NamedTuple):
    """What every layer is given. Kept by reference: change nothing in place before backward."""

    x: Array
    weight_ih: Array
    weight_hh: Array
    bias_ih: Opt
    bias_hh: Opt


class RNNCache(NamedTuple):
    """What `rnn_backward` needs: h (T+1, B, H)."""

    inputs: Inputs
    h: Array


class GRUCache(NamedTuple):
    """What `gru_backward` needs: h (T+1, B, H), gates r z n (T, B, 3H), v_n (T, B, H)."""

    inputs: Inputs
    h: Array
    gates: Array
    v_n: Array


class LSTMCache(NamedTuple):
    """What `lstm_backward` needs: h, c (T+1, B, H), gates i f g o (T, B, 4H), tanh_c (T, B, H)."""

    inputs: Inputs
    h: Array
    c: Array
    gates: Array
    tanh_c: Array


def rnn_forward(
    x: Array, weight_ih: Array, weight_hh: Array, bias_ih: Opt, bias_hh: Opt, h0: Opt = None
) -> tuple[Array, RNNCache]:
    """Hidden states (T, B, H) of a tanh-RNN, and the cache for `rnn_backward`.

    a = x W_ih' + b_ih + h_ W_hh' + b_hh
    h = tanh(a)

    J. L. Elman, "Finding structure in time", 1990.
    """
    inputs = _inputs(1, x, weight_ih, weight_hh, bias_ih, bias_hh)
    h = _states("h0", h0, inputs)
    a = _x_side(inputs, inputs.bias_ih, inputs.bias_hh)
    for t in range(len(a)):
        a[t] += h[t] @ inputs.weight_hh.T
        h[t + 1] = np.tanh(a[t])
    return h[1:].copy(), RNNCache(inputs, h)


def rnn_backward(
    dhs: Opt, cache: RNNCache, dh_n: Opt = None, intermediates: bool = False
) -> Gradients:
    """Gradients by the name of the input, given dhs (T, B, H) of hs, dh_n (B, H) of its last row.

    A cotangent left None is zero. With `intermediates` also dh and da, each (T, B, H).

    h = tanh(a)           da  = dh * (1 - h*h)
    a = .. + h_ W_hh'     dh_ = dhs_ + da W_hh
    """
    inputs, h = cache
    dh = _cotangents("dh_n", dh_n, h, dhs)
    da = np.empty_like(h[1:])
    for t in reversed(range(len(da))):
        da[t] = dh[t + 1] * (1 - h[t + 1] * h[t + 1])
        dh[t] += da[t] @ inputs.weight_hh
    grads = _gradients(inputs, h, da, da) | {"h0": dh[0].copy()}
    return grads | {"dh": dh[1:], "da": da} if intermediates else grads


def gru_forward(
    x: Array, weight_ih: Array, weight_hh: Array, bias_ih: Opt, bias_hh: Opt, h0: Opt = None
) -> tuple[Array, GRUCache]:
    """Hidden states (T, B, H) of a GRU, and the cache for `gru_backward`.

    u = x W_ih' + b_ih    v = h_ W_hh' + b_hh    each in columns r z n
    r = sigmoid(u_r + v_r)
    z = sigmoid(u_z + v_z)
    n = tanh(u_n + r * v_n)
    h = (1 - z) * n + z * h_

    K. Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical
    machine translation", 2014. There r acts before the product with W_hh, here (PyTorch) after it.
    """
    inputs = _inputs(3, x, weight_ih, weight_hh, bias_ih, bias_hh)
    h = _states("h0", h0, inputs)
    gates = _x_side(inputs, inputs.bias_ih)  # holds u; step t turns row t into r z n
    H = h.shape[2]
    rz, n = np.split(gates, [2 * H], axis=2)
    r, z = np.split(rz, 2, axis=2)
    v_n = np.empty_like(n)
    b_hh = 0 if inputs.bias_hh is None else inputs.bias_hh
    for t in range(len(gates)):
        v = h[t] @ inputs.weight_hh.T + b_hh
        rz[t] = _squash(rz[t] + v[:, : 2 * H], 0.5)
        v_n[t] = v[:, 2 * H :]
        n[t] = np.tanh(n[t] + r[t] * v_n[t])
        h[t + 1] = (1 - z[t]) * n[t] + z[t] * h[t]
    return h[1:].copy(), GRUCache(inputs, h, gates, v_n)


def gru_backward(
    dhs: Opt, cache: GRUCache, dh_n: Opt = None, intermediates: bool = False
) -> Gradients:
    """Gradients by the name of the input, given dhs (T, B, H) of hs, dh_n (B, H) of its last row.

    A cotangent left None is zero. With `intermediates` also dh, dr, dz, dn, each (T, B, H).

    h = (1 - z) * n + z * h_       dn = dh * (1 - z)    dz = dh * (h_ - n)
    n = tanh(u_n + r * v_n)        du_n = dn * (1 - n*n)    dv_n = du_n * r    dr = du_n * v_n
    r, z = sigmoid(u_rz + v_rz)    du_rz = dv_rz = (dr, dz) * rz * (1 - rz)
    v = h_ W_hh' + b_hh            dh_ = dhs_ + dh * z + dv W_hh
    """
    inputs, h, gates, v_n = cache
    dh = _cotangents("dh_n", dh_n, h, dhs)
    rz, n = np.split(gates, [2 * h.shape[2]], axis=2)
    dgates, dv = np.empty_like(gates), np.empty_like(gates)
    du = np.empty_like(gates) if intermediates else dgates  # written over what is not wanted
    (drz, dn), (du_rz, du_n), (dv_rz, dv_n) = (
        np.split(d, [2 * h.shape[2]], axis=2) for d in (dgates, du, dv)
    )
    (r, z), (dr, dz) = np.split(rz, 2, axis=2), np.split(drz, 2, axis=2)
    for t in reversed(range(len(gates))):
        dn[t] = dh[t + 1] * (1 - z[t])
        dz[t] = dh[t + 1] * (h[t] - n[t])
        du_n[t] = dn[t] * (1 - n[t] * n[t])
        dv_n[t] = du_n[t] * r[t]
        dr[t] = du_n[t] * v_n[t]
        du_rz[t] = dv_rz[t] = drz[t] * rz[t] * (1 - rz[t])
        dh[t] += dh[t + 1] * z[t] + dv[t] @ inputs.weight_hh
    grads = _gradients(inputs, h, du, dv) | {"h0": dh[0].copy()}
    return grads | {"dh": dh[1:], "dr": dr, "dz": dz, "dn": dn} if intermediates else grads


def lstm_forward(
    x: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Opt,
    bias_hh: Opt,
    h0: Opt = None,
    c0: Opt = None,
) -> tuple[Array, Array, LSTMCache]:
    """Hidden states (T, B, H) and last cell state (B, H) of an LSTM, cache for `lstm_backward`.

    a = x W_ih' + b_ih + h_ W_hh' + b_hh    in columns i f g o
    i, f, o = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o)
    g = tanh(a_g)
    c = f * c_ + i * g
    h = o * tanh(c)

    S. Hochreiter and J. Schmidhuber, "Long short-term memory", 1997; the forget gate f is from
    F. A. Gers, J. Schmidhuber and F. Cummins, "Learning to forget", 2000.
    """
    inputs = _inputs(4, x, weight_ih, weight_hh, bias_ih, bias_hh)
    h, c = _states("h0", h0, inputs), _states("c0", c0, inputs)
    gates = _x_side(inputs, inputs.bias_ih, inputs.bias_hh)  # step t turns row t into i f g o
    i, f, g, o = np.split(gates, 4, axis=2)
    s = np.repeat(np.array([0.5, 0.5, 1, 0.5], gates.dtype), h.shape[2])
    tanh_c = np.empty_like(i)
    for t in range(len(gates)):
        gates[t] = _squash(gates[t] + h[t] @ inputs.weight_hh.T, s)
        c[t + 1] = f[t] * c[t] + i[t] * g[t]
        tanh_c[t] = np.tanh(c[t + 1])
        h[t + 1] = o[t] * tanh_c[t]
    return h[1:].copy(), c[-1].copy(), LSTMCache(inputs, h, c, gates, tanh_c)


def lstm_backward(
    dhs: Opt, cache: LSTMCache, dh_n: Opt = None, dc_n: Opt = None, intermediates: bool = False
) -> Gradients:
    """Gradients by the name of the input, given dhs (T, B, H) of hs, dh_n and dc_n (B, H) of h, c.

    A cotangent left None is zero. With `intermediates` also dh, dc, di, df, dg, do: (T, B, H).

    h = o * tanh(c)         do = dh * tanh(c)    dc = dc_next + dh * o * (1 - tanh(c)^2)
    c = f * c_ + i * g      di = dc * g    df = dc * c_    dg = dc * i    dc_ = dc * f
    i, f, o = sigmoid(a)    da = d * (0 + gate) * (1 - gate), d being its di, df, do
    g = tanh(a_g)           da_g = dg * (1 + g) * (1 - g)
    a = .. + h_ W_hh'       dh_ = dhs_ + da W_hh

    dc_next is the dc_ of step t+1.
    """
    inputs, h, c, gates, tanh_c = cache
    i, f, g, o = np.split(gates, 4, axis=2)
    dh, dc = _cotangents("dh_n", dh_n, h, dhs), _cotangents("dc_n", dc_n, c)
    dgates = np.empty_like(gates)
    di, df, dg, do = np.split(dgates, 4, axis=2)
    da = np.empty_like(gates) if intermediates else dgates  # written over what is not wanted
    k = np.repeat(np.array([0, 0, 1, 0], gates.dtype), h.shape[2])
    for t in reversed(range(len(gates))):
        do[t] = dh[t + 1] * tanh_c[t]
        dc[t + 1] += dh[t + 1] * o[t] * (1 - tanh_c[t] * tanh_c[t])
        di[t] = dc[t + 1] * g[t]
        df[t] = dc[t + 1] * c[t]
        dg[t] = dc[t + 1] * i[t]
        dc[t] = dc[t + 1] * f[t]
        da[t] = dgates[t] * (k + gates[t]) * (1 - gates[t])
        dh[t] += da[t] @ inputs.weight_hh
    grads = _gradients(inputs, h, da, da) | {"h0": dh[0].copy(), "c0": dc[0].copy()}
    if intermediates:
        grads |= {"dh": dh[1:], "dc": dc[1:], "di": di, "df": df, "dg": dg, "do": do}
    return grads


# --- What the three share -------------------------------------------------------------------------


def _squash(a: Array, s: Array | float) -> Array:
    """y = s tanh(s a) + 1 - s, written over a: the sigmoid where s is 1/2, tanh where it is 1."""
    a *= s
    np.tanh(a, out=a)
    a *= s
    a += 1 - s
    return a


def _x_side(inputs: Inputs, *biases: Opt) -> Array:
    """x W_ih' plus the biases that are there, (T, B, k*H): one product for all steps."""
    T, B, features = inputs.x.shape
    a = inputs.x.reshape(T * B, features) @ inputs.weight_ih.T
    a += sum(bias for bias in biases if bias is not None)
    return a.reshape(T, B, len(inputs.weight_ih))


def _gradients(inputs: Inputs, h: Array, du: Array, dv: Array) -> Gradients:
    """What u = x W_ih' + b_ih and v = h_ W_hh' + b_hh pass on: one product each for all steps.

    dx = du W_ih    dW_ih = du' x    db_ih = sum du    dW_hh = dv' h_    db_hh = sum dv
    """
    x, weight_ih, _, bias_ih, bias_hh = inputs
    x_rows, h_rows, du, dv = (a.reshape(-1, a.shape[2]) for a in (x, h[:-1], du, dv))
    grads: Gradients = {
        "x": (du @ weight_ih).reshape(x.shape),
        "weight_ih": du.T @ x_rows,
        "weight_hh": dv.T @ h_rows,
    }
    if bias_ih is not None:
        grads["bias_ih"] = du.sum(axis=0)
    if bias_hh is not None:
        grads["bias_hh"] = dv.sum(axis=0)
    return grads


def _states(name: str, first: Opt, inputs: Inputs) -> Array:
    """A buffer (T+1, B, H) for the states, the initial state in row 0."""
    T, B, _ = inputs.x.shape
    states = np.empty((T + 1, B, inputs.weight_hh.shape[1]), inputs.x.dtype)
    states[0] = 0 if first is None else _check(name, first, states[0].shape, states.dtype)
    return states


def _cotangents(name: str, last: Opt, states: Array, dhs: Opt = None) -> Array:
    """What the loss itself sends to each row of the states; the loop adds what flows back."""
    d = np.zeros_like(states)
    if dhs is not None:
        d[1:] = _check("dhs", dhs, states[1:].shape)
    if last is not None:
        d[-1] += _check(name, last, states[0].shape)
    return d


def _inputs(
    k: int, x: Array, weight_ih: Array, weight_hh: Array, bias_ih: Opt, bias_hh: Opt
) -> Inputs:
    """The inputs of a layer with k gates, checked against one another."""
    weight_ih = _check("weight_ih", weight_ih, (f"{k}*H", "I"))
    rows, features = weight_ih.shape
    if rows % k:
        raise ValueError(f"weight_ih: expected {k}*H rows, got {rows} (shape {weight_ih.shape})")
    x = _check("x", x, ("T", "B", features))
    if len(x) == 0:
        raise ValueError(f"x: expected at least one step in (T, B, I), got shape {x.shape}")
    if not np.issubdtype(x.dtype, np.floating):
        raise ValueError(f"x: expected a floating dtype, got {x.dtype}; convert with x.astype")
    return Inputs(
        x,
        _check("weight_ih", weight_ih, weight_ih.shape, x.dtype),
        _check("weight_hh", weight_hh, (rows, rows // k), x.dtype),
        None if bias_ih is None else _check("bias_ih", bias_ih, (rows,), x.dtype),
        None if bias_hh is None else _check("bias_hh", bias_hh, (rows,), x.dtype),
    )


def _check(
    name: str, value: Array, shape: tuple[int | str, ...], dtype: np.dtype[Any] | None = None
) -> Array:
    """The value, if its shape and dtype fit; a letter in the shape stands for any size."""
    value = np.asarray(value)
    if len(shape) != value.ndim or any(
        isinstance(want, int) and want != got for want, got in zip(shape, value.shape, strict=True)
    ):
        wanted = str(shape).replace("'", "")
        raise ValueError(f"{name}: expected shape {wanted}, got {value.shape}")
    if dtype is not None and value.dtype != dtype:
        raise ValueError(f"{name}: expected {dtype} like x, got {value.dtype}; convert one of them")
    return value
