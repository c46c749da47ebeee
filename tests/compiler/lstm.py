"""An LSTM training step as a rolled program, as the passes give it, written by hand."""

import numpy as np

import minigrad as mg
from minigrad.compiler.program import Carry, Collect, Loop, Op, Program, Row, Section, Value, View
from minigrad.ops.shape import concatenated, reshape


class _Ops(list):
    def __call__(self, does, args, out, **params):
        self.append(Op(does, args, params, (out,)))
        return out


def lstm_step(steps, batch, inputs, hidden, dtype="f4"):
    """Return the program of a sum of all h and its gradients, and arrays for it."""
    T, B, I, H = steps, batch, inputs, hidden
    dt, G, N = np.dtype(dtype), 4 * H, T * B

    def value(*shape, name=""):
        return Value(shape, dt, name)

    def stack(v, n=T):
        return value(n, *v.shape, name=f"{v.name}s")

    x, w, u, b = value(T, B, I), value(G, I), value(G, H), value(G)
    seed, zero = value(), Value((B, H), dt, "zero", np.zeros((B, H), dt))
    items = _Ops()
    x2 = items(reshape, (View(x),), value(N, I), shape=(N, I))
    xw2 = items(mg.matmul, (View(x2), View(w, turned=True)), value(N, G))
    xwb = items(mg.add, (View(xw2), View(b)), value(N, G))
    xw = items(reshape, (View(xwb),), value(T, B, G), shape=(T, B, G))

    h, c, body = value(B, H), value(B, H), _Ops()
    hu = body(mg.matmul, (View(h), View(u, turned=True)), value(B, G))
    z = body(mg.add, (View(xw, Row(1, 0)), View(hu)), value(B, G))
    cut = [View(z, None, (k * H, (k + 1) * H)) for k in range(4)]
    gates = (mg.sigmoid, mg.sigmoid, mg.tanh, mg.sigmoid)
    i, f, g, o = [body(does, (v,), value(B, H)) for does, v in zip(gates, cut, strict=True)]
    fc = body(mg.multiply, (View(f), View(c)), value(B, H))
    ig = body(mg.multiply, (View(i), View(g)), value(B, H))
    c1 = body(mg.add, (View(fc), View(ig)), value(B, H))
    tc = body(mg.tanh, (View(c1),), value(B, H))
    h1 = body(mg.multiply, (View(o), View(tc)), value(B, H))
    hs, cs = stack(h1, T + 1), stack(c1, T + 1)
    kept = {v: stack(v) for v in (i, f, g, o, tc)}
    collects = [Collect(hs, h1, Row(1, 1), View(zero)), Collect(cs, c1, Row(1, 1), View(zero))]
    collects += [Collect(s, v, Row(1, 0)) for v, s in kept.items()]
    carries = [Carry(h, View(zero), h1), Carry(c, View(zero), c1)]
    items.append(Loop(T, body, carries, collects))

    dh, dc, body = value(B, H), value(B, H), _Ops()
    back = Row(-1, T - 1)
    i, f, g, o, tc = [View(s, back) for s in kept.values()]

    def do(does, a, b):
        return View(body(does, (a, b), value(B, H)))

    def through_sigmoid(d, z):
        q = do(mg.multiply, d, z)
        return do(mg.subtract, q, do(mg.multiply, q, z))

    def through_tanh(d, z):
        return do(mg.subtract, d, do(mg.multiply, do(mg.multiply, d, z), z))

    d = do(mg.add, View(dh), View(seed))
    dc1 = do(mg.add, View(dc), through_tanh(do(mg.multiply, d, o), tc))
    di, df = do(mg.multiply, dc1, g), do(mg.multiply, dc1, View(cs, back))
    dg, do_ = do(mg.multiply, dc1, i), do(mg.multiply, d, tc)
    new_dc = do(mg.multiply, dc1, f)
    parts = (through_sigmoid(di, i), through_sigmoid(df, f), through_tanh(dg, g),
             through_sigmoid(do_, o))  # fmt: skip
    dz = body(concatenated, parts, value(B, G), axis=-1)
    new_dh = body(mg.matmul, (View(dz), View(u)), value(B, H))
    dzs = stack(dz)
    carries = [Carry(dh, View(zero), new_dh), Carry(dc, View(zero), new_dc.value)]
    items.append(Loop(T, body, carries, [Collect(dzs, dz, back)]))

    dz2 = items(reshape, (View(dzs),), value(N, G), shape=(N, G))
    dx2 = items(mg.matmul, (View(dz2), View(w)), value(N, I))
    dx = items(reshape, (View(dx2),), value(T, B, I), shape=(T, B, I))
    dw = items(mg.matmul, (View(dz2, turned=True), View(x2)), value(G, I))
    before = items(mg.getitem, (View(hs),), value(T, B, H), index=slice(0, -1))
    rows = items(reshape, (View(before),), value(N, H), shape=(N, H))
    du = items(mg.matmul, (View(dz2, turned=True), View(rows)), value(G, H))
    db = items(mg.sum, (View(dz2),), value(G), axis=0)
    after = items(mg.getitem, (View(hs),), value(T, B, H), index=slice(1, None))
    total = items(mg.sum, (View(after),), value(), axis=None)
    loss = items(mg.multiply, (View(total), View(seed)), value())
    outputs = [View(v) for v in (loss, dx, dw, du, db)]
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=s) for s in ((T, B, I), (G, I), (G, H), G)]
    arrays[1:] = [a / H**0.5 for a in arrays[1:]]
    program = Program([Section([x, w, u, b, seed], items, outputs)])
    program.check()
    return program, [a.astype(dt) for a in arrays] + [np.ones((), dt)]
