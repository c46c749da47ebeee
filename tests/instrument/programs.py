"""Longer forward passes, and more ways to write one: as in `forwards`."""

import collections
import contextlib
import copy
import dataclasses
import enum
import functools
import itertools
import math
import time
import typing

import numpy as np

from tests.instrument.forwards import X, Y, given


@given((3, 3))
def order_f(x):
    a = x.reshape(9, order="F")
    b = np.reshape(x, (1, 9), order="F")
    c = x.ravel(order="F")
    d = x.flatten("F")
    return np.sum(a * np.arange(9)) + b[0, 1] ** 2 + c[3] * d[1]


@given((3,))
def list_buffer(x):
    out = [0.0] * 3
    for i in range(3):
        out[i] = x[i] * 2
    out[1] += 3 * x[0]
    return np.sum(np.array(out) ** 2)


@given((2, 3))
def nested_list_buffer(x):
    out = [[0] * 3 for _ in range(2)]
    for i in range(2):
        for j in range(3):
            out[i][j] = x[i][j] ** 2
    return np.array(out).sum() + np.asarray(out, dtype=np.float64)[0, 1]


@given((3,))
def object_array(x):
    a = np.empty(3, dtype=object)
    for i in range(3):
        a[i] = x[i:] * 2
    return sum(np.sum(v**2) for v in a)


@given((4, 3))
def einsum_forms(x):
    return (
        np.einsum("ij,kj->ik", x, X).sum()
        + np.einsum("ij->j", x) @ np.ones(3)
        + np.einsum("i,i", x[:, 0], x[:, 1])
    )


@given((3, 3))
def linalg_forms(x):
    a = x @ x.T + np.eye(3)
    return (
        np.linalg.norm(x)
        + np.linalg.slogdet(a)[1]
        + np.sum(np.linalg.solve(a, X[:3]))
        + np.linalg.det(a)
        + np.sum(np.linalg.cholesky(a))
        + np.trace(np.linalg.inv(a))
    )


@given((4,))
def np_random_choice(x):
    rng = np.random.RandomState(0)
    i = rng.choice(4, 2, replace=False)
    perm = rng.permutation(4)
    drop = rng.binomial(1, 0.5, size=4)
    return np.sum(x[i]) ** 2 + np.sum(x[perm] * np.arange(4)) + np.sum(x * drop)


@given((4,))
def take_and_friends(x):
    return (
        x.take([0, 1]).sum()
        + np.take(x, 2) ** 2
        + x.repeat(2).sum()
        + np.tile(x, 2).prod()
        + np.roll(x, 1)[0] * x[1]
        + x.clip(-0.5, 0.5).sum()
        + np.clip(x, 0, None).sum()
        + np.maximum(x, 0).sum()
        + np.minimum(x, 0).dot(x)
        + np.abs(x).mean()
        + np.sign(x).sum()
    )


@given((4, 3))
def argmax_gather(x):
    m = x.argmax(axis=1)
    v = x[np.arange(4), m]
    w = np.take_along_axis(x, m[:, None], 1)
    return np.sum(v**2) + np.sum(w) + x.max(1).sum() + np.amax(x)


@given((3,))
def append_in_loop(x):
    out = np.array([])
    for k in range(3):
        out = np.append(out, x[k] ** 2)
    rows = np.empty((0, 3))
    for k in range(2):
        rows = np.vstack([rows, x * k])
    return out.sum() + rows.sum() + np.append(rows, [x], axis=0).sum()


@given((3,))
def stack_append(x):
    hs = []
    for k in range(3):
        hs.append(x * k)
    a = np.stack(hs, axis=1)
    b = np.concatenate([h[None] for h in hs])
    c = np.array(hs).T
    return (
        np.sum(a * c)
        + b[1].sum()
        + np.vstack(hs).sum()
        + np.dstack([x, x]).sum()
        + np.column_stack((x, x)).sum()
        + np.hstack(hs).sum()
    )


@given((3,))
def sigmoid_stable(x):
    def sig(z):
        out = np.empty_like(z)
        pos = z >= 0
        out[pos] = 1 / (1 + np.exp(-z[pos]))
        e = np.exp(z[~pos])
        out[~pos] = e / (1 + e)
        return out

    return np.sum(sig(x) ** 2)


@given((3,))
def float_if(x):
    def s(v):
        if v >= 0:
            return 1 / (1 + math.exp(-v))
        z = math.exp(v)
        return z / (1 + z)

    return sum(s(v) for v in x) + float(s(x[0])) + np.array([s(v) for v in x]).prod()


@given((3,))
def in_place_ops(x):
    a = x.copy()
    a += 1
    a -= x * 2
    a *= 3
    a /= 2
    a **= 2
    b = x * 1
    b[1:] += 1
    b[0] -= 2
    b[::2] *= 2
    b[1] /= 3
    b[2] **= 2
    return np.sum(a) + np.sum(b)


@given((3,))
def in_place_matmul(x):
    a = np.eye(3)
    v = x.copy()
    a[0] = x
    v = a @ v
    a @= a
    return np.sum(v) + np.sum(a)


@given((3,))
def setdefault_dict(x):
    grads = {}
    for k in range(3):
        grads[k] = grads.get(k, 0) + x[k]
        grads.setdefault("s", np.zeros(3))[k] = x[k] ** 2
    return sum(grads[k] for k in range(3)) + grads["s"].sum()


@given((3,))
def defaultdict_arrays(x):
    d = collections.defaultdict(lambda: np.zeros(3))
    d["a"] += x
    d["a"][0] += x[1]
    d["b"][:] = x**2
    return np.sum(d["a"] * d["b"])


@given((3,))
def max_key(x):
    k = max(range(3), key=lambda i: x[i])
    j = min(range(3), key=x.__getitem__)
    return (
        x[k] * 2
        + x[j]
        + max(x[0], x[1], key=abs)
        + max(x[0], 0)
        + min(1.0, x[2])
        + sorted(x)[1]
        + sorted(x, reverse=True)[0]
    )


@given((3,))
def partials(x):
    f = functools.partial(np.multiply, x)
    h = functools.partial(math.pow, 2.0)
    return np.sum(f(x)) + h(x[0])


@given((3,))
def accumulate_iter(x):
    return (
        sum(itertools.accumulate(x, lambda a, b: a * b + 1))
        + sum(a * b for a, b in itertools.product(x, x))
        + sum(itertools.chain(x, x * 2))
        + sum(v for k, v in itertools.groupby([1]) for v in x)
    )


@given((4,))
def interp_trap(x):
    return (
        np.trapezoid(x, dx=0.1)
        + np.interp(0.5, [0, 1], x[:2])
        + np.sum(np.diff(x) ** 2)
        + np.sum(np.gradient(x))
        + np.sum(np.cumsum(x) * np.cumprod(x))
        + np.sum(np.convolve(x, [1, 2]))
        + np.correlate(x, x)[0]
    )


@given((4, 3))
def conditions(x):
    m = np.where(x > 0, x, 0.1 * x)
    i = np.where(x[0] > 0)[0]
    j = np.argwhere(x > 0)
    k = np.nonzero(x)
    return (
        m.sum()
        + x[0, i].sum()
        + sum(x[tuple(a)] for a in j)
        + x[k].sum()
        + np.sum((x > 0) * x)
        + np.count_nonzero(x > 0)
        + np.sum(x[x > 0])
    )


@given((4, 3))
def one_hot_eye(w):
    T = np.eye(3)[Y]
    T2 = np.zeros((4, 3))
    T2[np.arange(4), Y] = 1
    p = np.exp(w) / np.exp(w).sum(1, keepdims=True)
    return (
        -np.sum(T * np.log(p))
        - np.mean(np.log(p[range(4), Y]))
        + np.sum((p - T2) ** 2)
        - np.sum(np.log(p[T2 == 1]))
    )


@given((2, 4, 4, 2))
def nhwc_pool(x):
    n, h, w, c = x.shape
    out = np.zeros((n, h // 2, w // 2, c))
    arg = np.zeros(out.shape, dtype=np.int64)
    for i in range(n):
        for r in range(h // 2):
            for s in range(w // 2):
                for k in range(c):
                    win = x[i, 2 * r : 2 * r + 2, 2 * s : 2 * s + 2, k]
                    out[i, r, s, k] = np.max(win)
                    arg[i, r, s, k] = np.argmax(win)
    return np.sum(out**2)


@given((3,), positive=True)
def math_more(x):
    return (
        math.log1p(x[0])
        + math.expm1(x[1])
        + math.log2(x[0])
        + math.log10(x[2])
        + math.cosh(x[0])
        + math.sinh(x[1])
        + math.cos(x[2])
        + math.tan(x[0])
        + math.atan(x[1])
        + math.radians(x[0])
        + math.degrees(x[1])
        + math.exp2(x[0])
        + math.cbrt(x[1])
        + math.copysign(x[0], -1)
        + math.prod([x[0], x[1]])
        + math.dist([x[0], 1], [x[1], 2])
        + math.floor(x[0])
        + math.fmod(x[0], 1)
        + math.erfc(x[0])
        + (1 if math.isclose(x[0], 1) else 0)
    )


@given((3,))
def item_forms(x):
    a = np.sum(x).item()
    b = x[0].item()
    c = np.array(x[1]).item()
    d = x.item(2)
    e = x[:1].item()
    f_ = x.sum().tolist()
    h = x.tolist()[0]
    i = x[1].astype(float)
    j = np.asarray(x[2]).reshape(1)[0]
    return a * b + c * d + e + f_ * h + i + j


@given((2, 3))
def flat_forms(x):
    s = 0
    for v in x.flat:
        s += v**2
    y = np.zeros_like(x)
    y.flat[::2] = x.flat[::2]
    y.flat = y.flat[:]
    for v in np.nditer(np.ones(3)):
        s += float(v)
    return s + y.sum() + x.flat[4] * x.flat[-1] + x.ravel()[-1]


@given((4, 3))
def sorted_in_place(x):
    a, b = x.copy(), x * 2
    a.sort(axis=0)
    b[1:].partition(1, axis=0)
    return np.sum(a * np.arange(3.0) + b * np.arange(12.0).reshape(4, 3))


@given((3, 3))
def diag_forms(x):
    a = np.diag(np.diag(x))
    b = x.copy()
    b[np.diag_indices(3)] = 0
    c = x - np.diag(x.diagonal())
    d = x.copy()
    d[np.triu_indices(3, 1)] = -1
    np.fill_diagonal(b, x[0])
    return (
        a.sum()
        + b.sum()
        + c.sum() ** 2
        + (d**2).sum()
        + np.tril(x).sum()
        + x[np.tril_indices(3)].prod()
    )


@given((3, 3))
def ix_forms(x):
    s = x[np.ix_([0, 2], [1, 2])]
    y = np.zeros((3, 3))
    y[np.ix_([0, 1], [0, 1])] = x[:2, :2]
    return (
        s.sum() ** 2
        + (y**2).sum()
        + x[[0, 1]][:, [1, 2]].sum()
        + x[..., None][:, 0, 0].sum()
        + x[-1, ::-1][0]
    )


@given((3,))
def swap_elements(x):
    a = x.copy()
    a[0], a[1] = a[1], a[0]
    a[[1, 2]] = a[[2, 1]]
    t = a[0]
    a[0] = a[2]
    a[2] = t
    return a @ np.arange(3.0)


@given((3,))
def bubble_sort(x):
    a = x.copy()
    n = 3
    for i in range(n):
        for j in range(n - 1 - i):
            if a[j] > a[j + 1]:
                a[j], a[j + 1] = a[j + 1], a[j]
    return a @ np.arange(3.0)


@given((3,))
def copy_module(x):

    a = copy.copy(x)
    a[0] = 1
    b = copy.deepcopy([x, {"k": x}])
    b[0][0] = 2
    c = x[:]
    d = x[:].copy()
    d[1] = 0
    return a.sum() + b[0].sum() + b[1]["k"].sum() + c.sum() + d.sum()


@given((2, 3))
def np_block(x):
    return (
        np.block([[x, np.ones((2, 1))], [np.zeros((1, 4))]]).sum()
        + np.pad(x, 1).sum()
        + np.pad(x, ((0, 1), (1, 0)), mode="edge").sum()
        + np.flip(x, 1)[0, 0]
        + np.rot90(x)[0, 0]
        + np.fliplr(x)[1, 0]
        + np.broadcast_to(x[0], (3, 3)).sum()
        + np.moveaxis(x, 0, 1).sum()
        + np.tensordot(x, x, 2)
    )


@given((3, 3))
def hmm_forward(A):
    A = np.exp(A) / np.exp(A).sum(1, keepdims=True)
    B = np.array([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]])
    obs = [0, 1, 1, 0]
    alpha = np.zeros((4, 3))
    alpha[0] = B[:, obs[0]] / 3
    for t in range(1, 4):
        for j in range(3):
            alpha[t, j] = alpha[t - 1].dot(A[:, j]) * B[j, obs[t]]
    scale = np.zeros(4)
    a2 = np.zeros((4, 3))
    a2[0] = B[:, 0] / 3
    scale[0] = 1 / a2[0].sum()
    a2[0] *= scale[0]
    for t in range(1, 4):
        a2[t] = (a2[t - 1] @ A) * B[:, obs[t]]
        scale[t] = 1.0 / np.sum(a2[t])
        a2[t] *= scale[t]
    return np.log(alpha[-1].sum()) - np.sum(np.log(scale))


@given((3,))
def class_in_function(x):
    class Cell:
        W = np.ones((3, 3))

        def __init__(self, h):
            self.h = h
            self.trace = np.zeros((2, 3))

        def __call__(self, x):
            self.trace[0] = x
            self.h = np.tanh(self.W.dot(self.h) + x)
            return self.h

        @classmethod
        def make(cls):
            return cls(np.zeros(3))

        @property
        def norm(self):
            return float(np.linalg.norm(self.h))

    c = Cell.make()
    return np.sum(c(x) + c(x)) + c.trace.sum() + c.norm


class Holder:
    def __init__(s, v):
        s.data = v
        s.grad = np.zeros_like(v)

    def __add__(s, o):
        return Holder(s.data + o.data)

    def __mul__(s, o):
        r = np.empty_like(s.data)
        r[:] = s.data * o.data
        return Holder(r)

    def __getitem__(s, i):
        return s.data[i]

    def __len__(s):
        return len(s.data)

    def __iter__(s):
        return iter(s.data)

    def __array__(s, dtype=None, copy=None):
        return s.data


@given((3,))
def operators_of_classes(x):
    p = Holder(x)
    q = p * p + p
    return np.sum(q.data) + q[0] + len(q) + sum(v for v in q)


@given((2, 4, 6), (6, 18), (6, 6))
def attention(x, Wqkv, Wo):
    B, T, C = x.shape
    nh = 2
    qkv = x @ Wqkv
    q, k, v = np.split(qkv, 3, axis=-1)
    q = q.reshape(B, T, nh, C // nh).transpose(0, 2, 1, 3)
    k = k.reshape(B, T, nh, C // nh).transpose(0, 2, 1, 3)
    v = v.reshape(B, T, nh, C // nh).transpose(0, 2, 1, 3)
    att = q @ k.transpose(0, 1, 3, 2) / math.sqrt(C // nh)
    mask = np.triu(np.ones((T, T)), k=1).astype(bool)
    att[:, :, mask] = -1e9
    att = att - att.max(-1, keepdims=True)
    e = np.exp(att)
    att = e / e.sum(axis=-1, keepdims=True)
    y = (att @ v).transpose(0, 2, 1, 3).reshape(B, T, C) @ Wo
    mu = np.mean(y, -1, keepdims=True)
    sd = np.std(y, axis=-1, keepdims=True)
    y = (y - mu) / (sd + 1e-5)
    y = 0.5 * y * (1 + np.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * y**3)))
    pe = np.zeros((T, C))
    pos = np.arange(T)[:, None]
    div = np.exp(np.arange(0, C, 2) * -(math.log(10000.0) / C))
    pe[:, 0::2] = np.sin(pos * div)
    pe[:, 1::2] = np.cos(pos * div)
    return np.sum((y + pe) ** 2)


@given((4, 3), (3, 3))
def crf(emissions, trans):
    tags = [0, 2, 1, 1]
    score = emissions[0][tags[0]]
    for i in range(1, 4):
        score += trans[tags[i - 1], tags[i]] + emissions[i, tags[i]]
    alpha = emissions[0].copy()
    for t in range(1, 4):
        new = np.zeros(3)
        for j in range(3):
            new[j] = np.logaddexp.reduce(alpha + trans[:, j]) + emissions[t, j]
        alpha = new
    m = np.max(alpha)
    logZ = m + np.log(np.sum(np.exp(alpha - m)))
    return logZ - score


@given((2,), (2, 2), (2, 2, 2))
def gmm(logits, mus, A):
    pis = np.exp(logits) / np.exp(logits).sum()
    data = X[:, :2]
    ll = np.zeros((4, 2))
    for k in range(2):
        S = A[k] @ A[k].T + np.eye(2)
        for n in range(4):
            d = data[n] - mus[k]
            ll[n, k] = (
                np.log(pis[k])
                - 0.5 * d @ np.linalg.inv(S) @ d
                - 0.5 * np.log(np.linalg.det(2 * np.pi * S))
            )
    return np.sum(np.log(np.sum(np.exp(ll), axis=1)))


@given((3,))
def rk4(theta):
    def f(s, t):
        return np.array([s[1], -theta[0] * np.sin(s[0]) - theta[1] * s[1]])

    s = np.array([1.0, theta[2]])
    hist = [s]
    dt = 0.1
    for i in range(5):
        k1 = f(s, 0)
        k2 = f(s + dt / 2 * k1, 0)
        k3 = f(s + dt / 2 * k2, 0)
        k4 = f(s + dt * k3, 0)
        s = s + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        hist.append(s)
    hist = np.array(hist)
    return np.sum(hist[:, 0] ** 2) + hist[-1, 1]


@given((4, 2), (3, 2))
def matfac(P_, Q):
    R = [(0, 1, 3.0), (1, 2, 1.0), (3, 0, 4.0)]
    sse = 0
    for u, i, r in R:
        pred = 0
        for k in range(2):
            pred += P_[u][k] * Q[i][k]
        e = r - pred
        sse += e**2
    return sse + 0.1 * (np.linalg.norm(P_) ** 2 + (Q**2).sum())


@given((3,), (4,))
def softdtw(x, y):
    D = np.abs(np.subtract.outer(x, y)) ** 2
    n, m = D.shape
    R = np.full((n + 1, m + 1), 1e10)
    R[0, 0] = 0.0
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            r0 = -R[i - 1, j - 1]
            r1 = -R[i - 1, j]
            r2 = -R[i, j - 1]
            mx = max(r0, r1, r2)
            s = np.exp(r0 - mx) + np.exp(r1 - mx) + np.exp(r2 - mx)
            R[i, j] = D[i - 1, j - 1] - (np.log(s) + mx)
    return R[-1, -1]


@given((4, 2))
def bezier(ctrl):
    t = 0.3
    p = ctrl.copy()
    n = len(p)
    for r in range(1, n):
        for i in range(n - r):
            p[i] = (1 - t) * p[i] + t * p[i + 1]
    return np.sum(p[0] ** 2)


@given((3, 3))
def pagerank(A):
    M = np.abs(A) + 0.1
    M /= M.sum(axis=0)
    v = np.ones(3) / 3
    last = v + 1
    while np.linalg.norm(v - last, 2) > 1e-14:
        last = v
        v = 0.85 * M @ v + 0.15 / 3
    return v[0] * 2 + v[1]


@given((2,))
def pendulum(p):
    N, dt = 6, 0.05
    state = np.zeros((N, 2))
    state[0] = [1.0, 0.0]
    E = np.zeros(N)
    for i in range(N - 1):
        th, om = state[i]
        state[i + 1, 0] = th + dt * om
        state[i + 1, 1] = om - dt * (p[0] * np.sin(th) + p[1] * om)
        E[i + 1] = 0.5 * state[i + 1][1] ** 2
    return np.trapezoid(E, dx=dt) + state[-1].sum()


@given((3,))
def closures_kept(x):
    def make():
        cache = {}

        def fwd(z):
            cache["z"] = z
            out = np.zeros(3)
            out[1:] = z[1:] * z[:-1]
            return out

        def get():
            return cache["z"]

        return fwd, get

    f, get = make()
    y = f(x)
    return y.sum() + get()[0]


@given((3, 3))
def sparse_updates(E):
    ids = [0, 2, 2, 1]
    emb = E[ids]
    s = np.zeros((3, 3))
    np.add.at(s, ids, emb)
    cnt = collections.Counter(ids)
    w = np.array([cnt[i] for i in range(3)], dtype=float)
    s /= w[:, None]
    return np.sum(s**2) + emb.mean()


@given((6,))
def unpack_params(theta):
    W, b = theta[:4].reshape(2, 2), theta[4:]
    i = 0
    shapes = [(2, 2), (2,)]
    ps = []
    for sh in shapes:
        n = int(np.prod(sh))
        ps.append(theta[i : i + n].reshape(sh))
        i += n
    flat = np.concatenate([p.ravel() for p in ps])
    flat2 = np.hstack([p.flatten() for p in ps])
    return np.sum(np.tanh(W @ b)) + np.sum(ps[0] @ ps[1]) + flat @ flat2


@given((3,), positive=True)
def likelihoods(x):
    from math import lgamma, log, pi

    mu, s = x[0], x[1]
    data = [0.5, 1.0, 2.0]
    ll = 0.0
    for d in data:
        ll += -0.5 * log(2 * pi * s**2) - (d - mu) ** 2 / (2 * s**2)
    pois = sum(k * np.log(x[2]) - x[2] - lgamma(k + 1) for k in (1, 2))
    ll += pois
    return -ll


@given((3, 4))
def masks_and_nan(x):
    m = np.array([[1, 0, 1, 1]] * 3, dtype=bool)
    y = np.where(m, x, np.nan)
    a = np.nanmean(y, axis=1)
    z = x.copy()
    z[~m] = -np.inf
    p = np.exp(z - z.max(1, keepdims=True))
    p = p / p.sum(1, keepdims=True)
    return a.sum() + np.sum(p[m] ** 2) + np.nansum(y)


@given((3, 3))
def iterative_inverse(A):
    A = A + 4 * np.eye(3)
    Xk = A.T / (np.linalg.norm(A, 1) * np.linalg.norm(A, np.inf))
    I = np.eye(len(A))
    for _ in range(30):
        Xn = Xk @ (2 * I - A @ Xk)
        if np.max(np.abs(Xn - Xk)) < 1e-13:
            break
        Xk = Xn
    return Xn[0, 1] + np.trace(Xn)


@given((3, 3))
def givens_qr(A):
    R = A.copy().astype(float)
    Q = np.eye(3)
    n = 3
    for j in range(n):
        for i in range(n - 1, j, -1):
            a, b = R[i - 1, j], R[i, j]
            r = np.hypot(a, b)
            c, s = a / r, b / r
            G = np.eye(n)
            G[i - 1, i - 1] = c
            G[i, i] = c
            G[i - 1, i] = s
            G[i, i - 1] = -s
            R = G @ R
            Q = Q @ G.T
    return np.abs(np.diag(R)).sum() + (Q @ R)[0, 0]


class Mode(enum.Enum):
    A = 1
    B = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Cfg:
    n: int = 3
    mode: Mode = Mode.A
    init: typing.Any = dataclasses.field(default=None)


@given((3,))
def configs(x):
    c = Cfg(init=x)
    c2 = dataclasses.replace(c, init=c.init * 2)
    d = dataclasses.asdict(Cfg(2))
    match c.mode:
        case Mode.A:
            y = c.init * c.n
        case _:
            y = 0
    return np.sum(y * c2.init) + d["n"]


class It:
    def __init__(s, x):
        s.x = x
        s.i = 0

    def __iter__(s):
        return s

    def __next__(s):
        if s.i >= len(s.x):
            raise StopIteration
        s.i += 1
        return s.x[s.i - 1] ** 2


@contextlib.contextmanager
def ctx(x):
    yield x * 2


def deco(f):
    @functools.wraps(f)
    def w(*a, **k):
        r = f(*a, **k)
        w.calls = getattr(w, "calls", 0) + 1
        return r

    return w


@deco
def helper(x, *, k=1):
    out = np.empty(3)
    out[:] = x * k
    return out


@given((3,))
def protocols(x):
    with ctx(x) as y:
        s = sum(It(y))
    t0 = time.time()
    z = helper(x, k=2) + helper(x)
    assert time.time() >= t0
    return s + z.sum() ** 2 + functools.reduce(lambda a, b: a + b * 2, It(x))


@given((3, 3))
def options_of_functions(x):
    a = (
        np.mean(x, axis=0, dtype=float)
        + x.sum(axis=0, dtype=np.float64)
        + np.sort(x, kind="stable")[0]
    )
    c = np.add(x, x, dtype=float).sum()
    d = np.polyval([1.0, 2.0, 3.0], x).sum()
    e = x.compress([True, False, True], axis=1).sum() + x.view()[0, 0] + np.r_["-1", x, x][0, 4]
    v = np.vectorize(math.tanh)(x)
    v.sort(axis=0)
    rng = np.random.default_rng(0)
    y = np.array([x[0, 0], 2.0, x[1, 1]])
    rng.shuffle(y)
    return a.sum() + c + d + e + np.sum(v * [1.0, 2.0, 3.0]) + y[0] ** 2 + rng.permutation(x)[0, 1]


class Compiled:
    """What a compiler for loops makes of a function: it takes arrays alone."""

    def __init__(self, f):
        self.py_func = f

    def __call__(self, *arrays):
        return self.py_func(*[np.asarray(a, float) + 0.0 for a in map(np.array, arrays)])


@given((3, 3))
def compiled_loop(x):
    @Compiled
    def rows(a):
        out = np.zeros(3)
        for i in range(3):
            for j in range(3):
                out[i] += a[i, j] * (j + 1)
        return out

    return np.sum(rows(x) ** 2)
