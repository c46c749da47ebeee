"""The recurrences of an introductory article, each beside its gradient derived by hand.

    python examples/article.py

minigrad began with an article that introduces recurrent networks, by recurrences that differ a
little from those in libraries. Each stands here twice:

    forward     composed from primitives; its gradient is automatic, nobody wrote a backward pass
    by hand     backpropagation through time (BPTT) in plain NumPy, with the derivation above it

and both gradients are held against central differences. Everything is float64, one sequence without
a batch: x is (T, I), row t is x_t. The dict p holds x and the parameters by the article's names.

How to read a derivation: v_ is the value that entered the step (v_{t-1}), and dv the adjoint of v,
the derivative of the loss L by v, summed over all paths from v to L. A backward pass is the forward
pass read from its last line to its first, each line exchanged for its adjoints; += because v may be
read in several places. Three rules do all the work (W' is W transposed):

    v = u * w         du += dv * w            dw += dv * u
    s = W u + b       dW += outer(ds, u)      du += W' ds      db += ds
    v = tanh(s)       ds += dv * (1 - v^2)    and for sigmoid  ds += dv * v * (1 - v)

The loss is a fixed random linear functional of all outputs, L = sum_t <r_t, h_t>.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import minigrad as mg
from minigrad.check.compare import compare
from minigrad.testing import numerical_grad

Dict = dict[str, Any]
GATES, LAYERS = "ifoc", ("1", "2", "out")

# --- 1. The LSTM whose gates read the previous cell ----------------------------------------------


def lstm(p: Dict) -> tuple[mg.Tensor]:
    """h (T, H). The gates see the cell, a = c_{t-1}, where other LSTMs see h_{t-1}."""
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
        d, da = {name: np.zeros_like(value) for name, value in p.items()}, np.zeros(H)
        for t in reversed(range(T)):
            i, f, o, c_new = steps[t]
            tanh_c = np.tanh(a[t + 1])
            dh = r[t]
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


def stacked(p: Dict) -> tuple[mg.Tensor, mg.Tensor]:
    """h (T, H) of the top layer and y (T, O): h^l = tanh(W^l [h^{l-1}, x] + b^l), y likewise.

    Nothing here looks back in time, so h^0 is taken from recurrence 2, and all steps are computed
    at once: rows are time steps, and W [h, x] becomes [h, x] W'.
    """
    hs = [*gated_rnn(p)]
    for l in LAYERS:
        S = mg.concatenate([hs[-1], p["x"]], axis=1) @ p[f"W_{l}"].T + p[f"b_{l}"]
        hs.append(mg.tanh(S))
    return hs[-2], hs[-1]


def stacked_by_hand(p: Dict) -> tuple[tuple[np.ndarray, ...], Callable[..., Dict]]:
    """h and y, and the function from dh (T, H) and dy (T, O) to the gradients by all of p.

    forward, rows are time           backward
    y = tanh(S), S = [h, x] W' + b   dS = dy * (1 - y^2)           dW = dS' [h, x]
                                     db = sum of dS over time      [dh, dx] += dS W
    h^2 and h^1 likewise, dx summed over all three; then dh^0 goes into the backward pass of 2.
    """
    (h,), below = gated_rnn_by_hand(p)
    hs, x = [h], p["x"]
    for l in LAYERS:
        hs.append(np.tanh(np.concatenate([hs[-1], x], axis=1) @ p[f"W_{l}"].T + p[f"b_{l}"]))

    def backward(r_h: np.ndarray, r_y: np.ndarray) -> Dict:
        r, d, dx, dh = (0, r_h, r_y), {}, 0, 0  # r: what the loss sends to h^1, h^2 and y
        for k in (2, 1, 0):
            l, h, dS = LAYERS[k], hs[k], (dh + r[k]) * (1 - hs[k + 1] ** 2)
            d |= {f"W_{l}": dS.T @ np.concatenate([h, x], axis=1), f"b_{l}": dS.sum(axis=0)}
            dh, dx_k = np.split(dS @ p[f"W_{l}"], [h.shape[1]], axis=1)
            dx = dx + dx_k
        d = below(dh) | d
        return d | {"x": d["x"] + dx}

    return (hs[-2], hs[-1]), backward


# --- 4. The code listing -------------------------------------------------------------------------


class LSTM(mg.nn.Module):
    """The article's class: recurrence 1 with N(0, 1 / hidden_dim) weights and one bias for all.

    Its forward pass is right, and stands here. Its backward pass has four mistakes:

    names        It reads variables that nothing has set. Backward needs a_, x, i, f, o, c_new and c
                 of every step, so forward stores them (`steps` and `a` in `lstm_by_hand`).
    mask         It zeroes the adjoint where the output is not positive, as behind a ReLU. There is
                 none: h = o * tanh(c) sends dh * tanh(c) to o and dh * o * (1 - tanh(c)^2) to c.
    one product  It gives all four gates one outer product. Each has its own ds_k: the adjoint of
                 that gate times the slope of its own sigmoid or tanh.
    no carry     It starts every step from dh alone. What step t + 1 sent to the cell comes first:
                 dc = da, and da_ = dc * f + sum over k of W_ka' ds_k goes on to step t - 1.
    """

    def __init__(self, input_dim: int, hidden_dim: int, rng: np.random.Generator) -> None:
        for k in GATES:
            for name, columns in ((f"W_{k}x", input_dim), (f"W_{k}a", hidden_dim)):
                w = rng.standard_normal((hidden_dim, columns)) / np.sqrt(hidden_dim)
                setattr(self, name, mg.tensor(w, requires_grad=True))
        self.b = mg.tensor(np.zeros(hidden_dim), requires_grad=True)

    def forward(self, x: Any) -> mg.Tensor:
        return lstm(four_biases({"x": x, **dict(self.named_parameters())}))[0]


def four_biases(p: Dict) -> Dict:
    return {name: v for name, v in p.items() if name != "b"} | {f"b_{k}": p["b"] for k in GATES}


def listing_by_hand(p: Dict) -> tuple[tuple[np.ndarray], Callable[..., Dict]]:
    """`lstm_by_hand` for one bias in four places: its gradient is the sum of the four."""
    h, backward = lstm_by_hand(four_biases(p))

    def backward_to_b(r: np.ndarray) -> Dict:
        d = backward(r)
        db = sum(d.pop(f"b_{k}") for k in GATES)
        return d | {"b": db}

    return h, backward_to_b


MISTAKES = {  # what `lstm_by_hand` says, and what to plant; the last is true of other LSTMs
    "mask, as behind a ReLU": ("dh = r[t]", "dh = r[t] * (h[t] > 0)"),
    "one product for all gates": ("np.outer(ds[k], ", "np.outer(dh, "),
    "no carry of the cell": ("dc = da + dh * o", "dc = dh * o"),
    "carry through f alone": ('da = da + p[f"W_{k}a"].T @ ds[k]', "pass"),
}

# --- The three roads -----------------------------------------------------------------------------


def two_roads(forward: Any, by_hand: Any, p: Dict) -> tuple[Callable[..., Any], Dict, Dict]:
    """The loss L of p, and its gradient by hand and by automatic differentiation."""
    outputs, backward = by_hand(p)
    rng = np.random.default_rng(1)
    r = [rng.standard_normal(out.shape) for out in outputs]

    def L(p: Dict) -> Any:
        return sum((r_k * out).sum() for r_k, out in zip(r, forward(p), strict=True))

    return L, backward(*r), mg.grad(L)(p)


def check(title: str, forward: Any, by_hand: Any, p: Dict) -> bool:
    """Print how far the three are apart, relative to each entry's largest element."""
    L, manual, automatic = two_roads(forward, by_hand, p)
    analytic = compare(manual, automatic, rtol=1e-12)
    numeric = compare(numerical_grad(L, p), automatic, rtol=1e-7)
    errors = {row.name: row.max_rel for row in numeric.rows}
    print(f"\n{title}\n  entry   shape     autodiff - BPTT   autodiff - differences")
    for row in sorted(analytic.rows, key=lambda row: row.name):
        print(f"  {row.name:7} {row.shape!s:9} {row.max_rel:15.1e}   {errors[row.name]:22.1e}")
    return analytic.ok and numeric.ok


def check_mistakes(cases: dict[str, Dict]) -> bool:
    """Print how far off BPTT is with one line wrong; say whether the last case shows them all."""
    print(f"\nBPTT with one line wrong  {''.join(f'{title:>30}' for title in cases)}")
    shown = []
    for mistake, (right, wrong) in MISTAKES.items():
        cells, planted = [], dict(globals())
        exec(inspect.getsource(lstm_by_hand).replace(right, wrong), planted)
        for p in cases.values():
            L, _, _ = two_roads(lstm, lstm_by_hand, p)
            report = mg.compare_backward(
                L, lambda p, by_hand=planted["lstm_by_hand"]: two_roads(lstm, by_hand, p)[1], p
            )
            count = sum(not row.ok for row in report.rows)
            cells.append(f"{count} of {len(p)} wrong, by {report.worst.max_rel:.2f}")
        shown.append(not report.ok)
        print(f"  {mistake:24}{''.join(f'{cell:>30}' for cell in cells)}")
        print(f"      {report.explain()[0]}")
    return all(shown)


def main() -> int:
    rng, T, I, H, O = np.random.default_rng(0), 6, 2, 3, 2

    def draw(gates: str, **shapes: tuple[int, ...]) -> Dict:
        for k in gates:
            shapes |= {f"W_{k}a": (H, H), f"W_{k}x": (H, I), f"b_{k}": (H,)}
        return {name: rng.standard_normal(shape) for name, shape in shapes.items()}

    model, x = LSTM(input_dim=1, hidden_dim=1, rng=rng), np.array([[1.0], [2.0], [3.0]])
    one_cell, p, gated = model.state_dict() | {"x": x}, draw(GATES, x=(T, I)), draw("az", x=(T, I))
    layers = {"W_1": (H, H + I), "b_1": (H,), "W_2": (H, H + I), "b_2": (H,)}
    layers = gated | draw("", W_out=(O, H + I), b_out=(O,), **layers)
    agree = [
        check("1. LSTM, its gates read the cell", lstm, lstm_by_hand, p),
        check("2. gated RNN", gated_rnn, gated_rnn_by_hand, gated),
        check("3. tanh layers on 2, and a readout", stacked, stacked_by_hand, layers),
        check("4. the listing", lambda p: lstm(four_biases(p)), listing_by_hand, one_cell),
    ]
    print(f"  h of LSTM(1, 1) on [[1], [2], [3]]: {model(x).data.ravel()}")
    agree += [check_mistakes({"the listing": four_biases(one_cell), f"{H} cells, {T} steps": p})]
    if (model(x).data > 0).all():
        print("  the mask hides on the left, where every h is positive: check on random data")
    print("\nall agree" if all(agree) else "\nNOT all agree")
    return 0 if all(agree) else 1


if __name__ == "__main__":
    sys.exit(main())
