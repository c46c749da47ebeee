"""Forward passes as people write them, in NumPy: each takes arrays and gives one number.

`@given(*shapes)` says the shapes of the arrays; `FORWARDS` lists all.
"""

import collections
import copy
import dataclasses
import functools
import math
import operator

import numpy as np
from numpy.lib.stride_tricks import as_strided, sliding_window_view

FORWARDS = []
X = np.random.default_rng(0).normal(size=(4, 3))
Y = np.array([0, 2, 1, 0])


def given(*shapes, positive=False):
    def note(f):
        FORWARDS.append((f, shapes, positive))
        return f

    return note


# ---- buffers -------------------------------------------------------------------------------------


@given((3, 3), (3,))
def states_in_zeros(w, b):
    h = np.zeros((5, 3))
    for t in range(1, 5):
        h[t] = np.tanh(w @ h[t - 1] + b + X[t - 1])
    return h.sum()


@given((3, 3))
def states_from_minus_one(w):
    h = np.zeros((5, 3))
    h[-1] = np.ones(3)
    for t in range(4):
        h[t] = np.tanh(np.dot(w, h[t - 1]) + X[t])
    return (h**2).mean()


@given((2, 3))
def empty_then_filled(x):
    out = np.empty((2, 3))
    for i in range(2):
        for j in range(3):
            out[i, j] = x[i, j] ** 2 + (x[i, j - 1] if j else 0)
    return np.sum(out * np.arange(6).reshape(2, 3))


@given((2, 3))
def empty_like_and_rows(x):
    out = np.empty_like(x)
    out[0] = np.sin(x[1])
    out[1] = np.cos(x[0])
    return np.sum(out * [1.0, 2.0, 3.0])


@given((4,))
def zeros_like_accumulated(x):
    s = np.zeros_like(x)
    for k in range(3):
        s += x**k / math.factorial(k)
    return np.sum(s**2)


@given((4,))
def zero_dimensional_accumulator(x):
    total = np.zeros(())
    for v in x:
        total += v * v
    return total


@given((4,))
def accumulator_of_one(x):
    loss = np.zeros(1)
    for k in range(4):
        loss[0] += np.exp(x[k])
    return loss[0]


@given((3,))
def full_of_a_tensor(x):
    a = np.full((2, 3), x)
    a[0, 1] = 5.0
    return np.sum(a * a)


@given((3,))
def full_then_masked(x):
    a = np.full(3, -np.inf)
    a[:] = x
    a[x < 0] *= 2
    return a.sum()


@given((3, 3))
def ones_times(x):
    a = np.ones((3, 3))
    a[1:] *= x[1:]
    return np.prod(a[:, 0]) + a.sum()


@given((3,))
def eye_with_diagonal(x):
    a = np.eye(3)
    np.fill_diagonal(a, x)
    return np.sum(np.linalg.inv(a + 4 * np.eye(3)))


@given((3,))
def copied_before_written(x):
    a = x.copy()
    a[0] = a[1] * a[2]
    return np.sum(a * x)


@given((3,))
def written_through_a_view(x):
    a = np.zeros((2, 3))
    first = a[0]
    first += x
    a[1] = first * 2
    first *= 3
    return np.sum(a**2)


@given((4,))
def overlapping_views(x):
    a = x * 1.0
    a[1:] = a[:-1]
    a[:-1] += a[1:]
    return np.sum(a * np.arange(4.0))


@given((4,))
def negative_steps(x):
    a = np.zeros(4)
    a[::-1] = x
    a[::2] *= 3
    b = a[::-1]
    b[0] = 7.0
    return np.sum(a * np.arange(4.0))


@given((2, 3))
def transposed_view(x):
    a = np.zeros((3, 2))
    a.T[...] = x
    a.T[0] += 1
    return np.sum(a * np.arange(6).reshape(3, 2))


@given((6,))
def reshaped_view(x):
    a = np.zeros(6)
    grid = a.reshape(2, 3)
    grid[0] = x[:3]
    grid[1] = x[3:] ** 2
    grid.ravel()[2] = 1.5
    return np.sum(a**2)


@given((5,))
def fancy_writing(x):
    a = np.zeros(7)
    a[[0, 2, 4]] = x[:3]
    a[np.array([1, 1])] = x[3:]
    return np.sum(a * np.arange(7.0))


@given((5,))
def fancy_augmented(x):
    a = np.ones(4)
    a[[0, 1, 1]] += x[:3]
    return np.sum(a**2)


@given((4, 3))
def one_hot_rows(x):
    p = np.exp(x) / np.sum(np.exp(x), axis=1, keepdims=True)
    d = p.copy()
    d[np.arange(4), Y] -= 1
    return np.sum(d**2)


@given((4, 3))
def hinge_margins(w):
    scores = X.dot(w[:3])
    correct = scores[np.arange(4), Y][:, None]
    margins = np.maximum(0, scores - correct + 1)
    margins[np.arange(4), Y] = 0
    return np.sum(margins) / 4


@given((3, 4))
def masked_to_zero(x):
    x = x * 2
    x[x < 0] = 0
    return np.sum(x**2)


@given((3, 4))
def leaky_by_mask(x):
    out = np.zeros_like(x)
    out[x > 0] = x[x > 0]
    out[x <= 0] = 0.1 * x[x <= 0]
    return np.sum(out**2)


@given((3, 4))
def shifted_in_place(s):
    s = s @ np.ones((4, 4))
    s -= s.max(axis=1, keepdims=True)
    e = np.exp(s)
    e /= e.sum(axis=1, keepdims=True)
    return -np.sum(np.log(e[:, 0]))


@given((3,))
def alias_sees_it(x):
    a = x * 2
    b = a
    b += 1
    b[0] = 3.0
    return np.sum(a * x)


@given((3,))
def in_place_on_plain_result(x):
    z = X.dot(np.ones(3))
    z += x.sum()
    z *= 2
    plain = X[:, 0] * 0.5
    plain -= x[0]
    plain[1:] *= x[1]
    return np.sum(z**2) + np.sum(plain)


@given((3,), (2,))
def two_parts_of_a_buffer(x, y):
    a = np.zeros((1, 5))
    a[:, :3] = x
    a[0, 3:] = y
    return np.sum(a @ np.arange(5.0))


@given((3,))
def buffer_written_twice(x):
    a = np.zeros(3)
    a[:] = x
    b = a * 2
    a[:] = x**2
    return np.sum(a * b)


@given((2, 2))
def images_in_four_loops(k):
    image = np.arange(16.0).reshape(1, 4, 4) / 10
    out = np.zeros((1, 3, 3))
    for n in range(1):
        for i in range(3):
            for j in range(3):
                out[n, i, j] = np.sum(image[n, i : i + 2, j : j + 2] * k)
    return np.sum(np.tanh(out))


@given((5, 3))
def list_of_states_in_columns(x):
    a = np.zeros((3, 5))
    for t in range(5):
        a[:, t] = np.tanh(x[t])
    return np.sum(a[:, -1] * a[:, 0]) + a.mean()


@given((3,))
def padded_by_hand(x):
    a = np.zeros(5)
    a[1:-1] = x
    return np.sum(a[:-2] * a[2:]) + np.sum(a[1:-1] ** 3)


@given((3,))
def put_and_putmask(x):
    a = np.zeros(4)
    a.put([0, 2], x[:2])
    np.put(a, [1], x[2])
    np.putmask(a, a > 0.5, a * 3)
    return np.sum(a**2)


@given((3,))
def place_and_flat(x):
    a = np.zeros((2, 2))
    a.flat[1:] = x
    np.place(a, a > 0.2, x[:1])
    return np.sum(a.flat[3] ** 2 + a**2)


@given((3,))
def filled(x):
    a = np.empty((2, 2))
    a.fill(x[0])
    a[0, 0] = x[1]
    return np.prod(a) + x[2]


@given((3,))
def assigned_a_list(x):
    a = np.zeros((2, 3))
    a[0] = [x[0], x[1] * x[2], 1.0]
    return np.sum(a**2)


@given((3, 3))
def swapped_rows(x):
    a = x.copy()
    a[[0, 1]] = a[[1, 0]]
    return np.sum(a * np.arange(9.0).reshape(3, 3))


@given((4,))
def prefix_sums(x):
    c = np.zeros(5)
    for k in range(4):
        c[k + 1] = c[k] + x[k]
    return np.sum(c**2)


@given((3, 3))
def gaussian_elimination(a):
    a = a + 4 * np.eye(3)
    n = len(a)
    det = 1.0
    for k in range(n):
        det *= a[k, k]
        for i in range(k + 1, n):
            a[i, k:] -= a[k, k:] * (a[i, k] / a[k, k])
    return det


@given((3, 3))
def cholesky_by_hand(m):
    a = m @ m.T + 2 * np.eye(3)
    low = np.zeros_like(a)
    for i in range(3):
        for j in range(i + 1):
            s = np.dot(low[i, :j], low[j, :j])
            low[i, j] = np.sqrt(a[i, i] - s) if i == j else (a[i, j] - s) / low[j, j]
    return np.sum(np.log(np.diag(low)))


@given((4, 3))
def distances_in_two_loops(x):
    d = np.zeros((4, 4))
    for i in range(4):
        for j in range(4):
            d[i][j] = np.sqrt(np.sum((x[i] - X[j]) ** 2))
    return d.sum()


@given((5,))
def sorted_in_place(x):
    a = x**2
    a.sort()
    return np.sum(a * np.arange(5.0))


# ---- plain arrays on the left, lists, numbers ------------------------------------------------


@given((3, 2))
def dot_of_a_plain_array(w):
    return np.sum(np.tanh(X.dot(w)) ** 2)


@given((4, 3))
def plain_methods(w):
    return X.T.dot(w).trace() + X.reshape(12).dot(w.reshape(12)) + (X @ w.T).sum()


@given((4,))
def array_of_numbers(x):
    a = np.array([x[0] * x[1], x[2] ** 2, 1.0])
    return a.dot(a)


@given((3,))
def array_of_rows(x):
    rows = [x * k for k in range(3)]
    return np.linalg.det(np.array(rows) + np.eye(3))


@given((3,))
def nested_array(x):
    r = np.array([[np.cos(x[0]), -np.sin(x[0])], [np.sin(x[0]), np.cos(x[0])]])
    return np.sum(r @ x[1:])


@given((3,))
def sums_of_lists(x):
    return (
        np.sum([v**2 for v in x]) + np.mean([x[0], x[1]]) * np.max([x[2], 0.1]) + np.prod(list(x))
    )


@given((3, 4))
def vstack_of_lists(x):
    return (
        np.sum(np.vstack([row * k for k, row in enumerate(x)]) ** 2)
        + np.hstack([x[0], [x[1, 1], 2.0]]).sum()
    )


@given((3,), positive=True)
def math_functions(x):
    return (
        math.exp(x[0]) + math.log(x[1]) * math.sqrt(x[2]) + math.pow(x[0], 3) + math.tanh(x[1])
        + math.sin(x[2]) * math.fabs(-x[0]) + math.log(x[0], 2) + math.hypot(x[0], x[1])
        + math.erf(x[2]) + math.atan2(x[0], x[1])
    )  # fmt: skip


@given((3,))
def python_floats(x):
    a = float(x[0])
    b = x.sum().item()
    c = np.float64(x[1]) * np.float64(2)
    d = x.tolist()
    return a * b + c + d[2] ** 2 + x.item(1) + float(np.sum(x**2))


@given((4,))
def map_float(x):
    values = list(map(float, x))
    return sum(v * v for v in values) + max(values) - min(values) + abs(values[0])


@given((4,))
def builtins_on_numbers(x):
    order = sorted(x, key=lambda v: -v)
    return sum(k * v for k, v in enumerate(order)) + max(x) * min(x) + pow(x[0], 2) + abs(x[1])


@given((4,))
def reduce_and_accumulate(x):
    return functools.reduce(lambda a, b: a * b + 1, x) + functools.reduce(operator.mul, x)


@given((4,))
def math_fsum(x):
    return math.fsum(v * v for v in x) + math.fsum([x[0], x[1]])


@given((3,))
def rounded_for_printing(x):
    loss = np.sum(x**2)
    text = f"{loss:.3f} {x} {x[0]!r}"
    text += "%.2f and %s" % (loss, x) + f"{loss:.1e}" + str(x) + repr(loss)
    print(text, loss, round(float(loss), 2), end="")
    return loss


# ---- scipy ------------------------------------------------------------------------------------


@given((3, 4))
def scipy_special(x):
    import scipy.special
    from scipy.special import expit, logsumexp

    lse = logsumexp(x, axis=1) + logsumexp(x)
    return (
        np.sum(expit(x)) + lse.sum() + np.sum(scipy.special.softmax(x, axis=1) ** 2)
        + np.sum(scipy.special.log_softmax(x, axis=-1) ** 2) + np.sum(scipy.special.erf(x))
        + scipy.special.expit(x[0, 0]) + np.sum(scipy.special.log_expit(x))
    )  # fmt: skip


@given((4,), positive=True)
def scipy_special_of_entropies(x):
    import scipy.special as sp

    p = x / x.sum()
    return (
        np.sum(sp.xlogy(p, p)) + np.sum(sp.entr(p)) + np.sum(sp.rel_entr(p, 0.25))
        + np.sum(sp.logit(p)) + sp.ndtr(x[0]) + np.sum(sp.kl_div(p, [0.1, 0.2, 0.3, 0.4]))
        + sp.logsumexp(x, b=[1, 2, 3, 4]) + np.sum(sp.softmax(x) ** 2)
    )  # fmt: skip


@given((5, 6), (2, 3))
def scipy_signal_of_images(image, kernel):
    from scipy import signal

    out = np.zeros((2, 4, 4))
    for k in range(2):
        out[k] = signal.correlate2d(image, kernel, "valid")
    full = signal.convolve2d(image, kernel) + signal.convolve2d(image, kernel, "full")
    same = signal.convolve2d(image, kernel, mode="same") * signal.correlate2d(
        image, kernel, mode="same"
    )
    one = signal.convolve(image[0], kernel[0], "same") + signal.fftconvolve(
        image[0], kernel[0], mode="same"
    )
    return np.sum(out**2) + np.sum(full**2) + np.sum(same) + np.sum(one**2)


@given((3, 3), (3,))
def scipy_linalg_of_a_gaussian(a, y):
    from scipy import linalg
    from scipy.spatial.distance import cdist

    k = np.exp(-0.5 * cdist(a, a, "sqeuclidean")) + 0.1 * np.eye(3)
    low = linalg.cholesky(k, lower=True)
    z = linalg.solve_triangular(low, y, lower=True)
    far = cdist(a, X)
    return (
        0.5 * z @ z + np.sum(np.log(np.diag(low))) + linalg.solve(k, y).sum() + linalg.det(k)
        + linalg.norm(a) + np.sum(far) + linalg.inv(k)[0, 1] + linalg.cholesky(k)[0, 1]
    )  # fmt: skip


# ---- vectorize, c_, out=, where=, methods of ufuncs ----------------------------------------------


@np.vectorize
def huber(v):
    if abs(v) < 0.5:
        return 0.5 * v * v
    return 0.5 * (abs(v) - 0.25)


@given((3, 4))
def vectorized(x):
    return np.sum(huber(x)) + np.vectorize(math.exp)(x[0]).sum()


@given((3, 2))
def joined_with_ones(x):
    a = np.c_[np.ones(3), x]
    b = np.r_[x[0], 1.0, x[1] * 2]
    return np.sum(a @ np.arange(3.0)) * np.sum(b**2) + np.c_[x[:, 0], x[:, 1]].prod()


@given((4,))
def out_arguments(x):
    a = np.empty(4)
    np.exp(x, out=a)
    np.multiply(a, x, out=a)
    np.add(a, 1, a)
    b = np.zeros(1)
    np.sum(a, keepdims=True, out=b)
    np.dot(X.T, a, out=(c := np.empty(3)))
    return b[0] + np.sum(c**2)


@given((4,))
def where_arguments(x):
    a = np.zeros(4)
    np.log(x, out=a, where=x > 0)
    b = np.divide(1, x, out=np.zeros_like(x), where=x != 0)
    return np.sum(a) + np.sum(b)


@given((4,))
def methods_of_ufuncs(x):
    a = np.zeros(3)
    np.add.at(a, [0, 1, 1, 2], x)
    np.subtract.at(a, [0, 0], x[:2])
    most = np.zeros(3)
    np.maximum.at(most, [2, 2], [0.3, 0.2])
    a *= 1 + most
    return (
        np.sum(a**2) + np.add.reduce(x) * np.multiply.reduce(x) + np.maximum.reduce(x)
        + np.sum(np.multiply.outer(x, x)) + np.sum(np.add.accumulate(x) ** 2)
        + np.logaddexp.reduce(x) + np.sum(np.multiply.accumulate(x)) + np.add.reduce([x[0], x[1]])
    )  # fmt: skip


@given((3, 4))
def reductions_with_axes(x):
    return np.sum(np.add.reduce(x, axis=1) ** 2) + np.sum(np.maximum.reduce(x, 0) ** 2)


@given((3,))
def copyto_with_mask(x):
    a = np.ones(3)
    np.copyto(a, x, where=[True, False, True])
    b = np.empty(3)
    np.copyto(b, a)
    return np.sum(b**2)


@given((3, 4))
def along_an_axis(x):
    return np.sum(np.apply_along_axis(lambda r: r / np.sum(r**2), 1, x)) + np.sum(
        np.apply_along_axis(np.sum, 0, x) ** 2
    )


@given((2, 3))
def enumerated(x):
    out = np.zeros_like(x)
    for (i, j), v in np.ndenumerate(x):
        out[i, j] = v ** (i + j + 1)
    for idx in np.ndindex(x.shape):
        out[idx] += x[idx]
    return np.sum(out) + sum(v for v in x.flat)


@given((4,))
def inserted_and_appended(x):
    a = np.insert(x, 0, 1.0)
    b = np.append(x, x[0] * 2)
    c = np.delete(x, 1)
    d = np.insert(x, [1, 3], [x[0], 5.0])
    return np.sum(a[:-1] * a[1:]) + np.sum(b**2) + np.sum(c**3) + np.sum(d * np.arange(6.0))


@given((2, 3))
def inserted_columns(x):
    return np.sum(np.insert(x, 0, 1, axis=1)[:, 1:] ** 2) + np.sum(
        np.insert(x, 1, x[0] * 2, axis=0) * np.arange(9.0).reshape(3, 3)
    )


@given((2, 3))
def put_along_axis(x):
    a = np.zeros((2, 3))
    np.put_along_axis(a, np.argmax(x, axis=1)[:, None], np.max(x, axis=1, keepdims=True), axis=1)
    return np.sum(a**2)


@given((3,))
def polynomials(x):
    y = 0.0
    for c in x:
        y = y * 0.5 + c
    return y + np.sum(np.diff(x) ** 2) + np.sum(x[:, None] ** np.arange(4))


@given((4,))
def by_conditions(x):
    return np.sum(np.select([x < 0, x > 0.5], [x**2, np.sin(x)], 0.0))


# ---- strides -------------------------------------------------------------------------------------


@given((1, 1, 5, 5), (2, 1, 3, 3))
def im2col_by_strides(x, w):
    n, c, h, wide = x.shape
    s = x.strides
    cols = as_strided(x, (n, c, 3, 3, 3, 3), (s[0], s[1], s[2], s[3], s[2], s[3]))
    return np.sum(np.tanh(np.tensordot(w, cols, ((1, 2, 3), (1, 4, 5)))))


@given((6,))
def strides_of_a_slice(x):
    y = x[::2]
    windows = np.lib.stride_tricks.as_strided(y, shape=(2, 2), strides=y.strides * 2)
    return np.sum(windows @ [1.0, 2.0])


@given((2, 3, 4, 4))
def im2col_into_a_buffer(x):
    n, c, h, w = x.shape
    padded = np.zeros((n, c, h + 2, w + 2))
    padded[:, :, 1:-1, 1:-1] = x
    cols = np.zeros((n, c, 3, 3, h, w))
    for i in range(3):
        for j in range(3):
            cols[:, :, i, j] = padded[:, :, i : i + h, j : j + w]
    cols = cols.transpose(0, 4, 5, 1, 2, 3).reshape(n * h * w, -1)
    return np.sum(np.tanh(cols @ np.linspace(-1, 1, 27)))


@given((6,))
def sliding_windows(x):
    return np.sum(np.max(sliding_window_view(x, 3), axis=1) ** 2)


@given((2, 4, 4))
def max_pooling(x):
    out = np.zeros((2, 2, 2))
    for i in range(2):
        for j in range(2):
            out[:, i, j] = np.max(x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2], axis=(1, 2))
    return np.sum(out**2) + np.sum(x.reshape(2, 2, 2, 2, 2).max(axis=2).max(axis=3))


# ---- what holds values ---------------------------------------------------------------------------


class Layer:
    def __init__(self, w):
        self.w = w
        self.cache = {}
        self.h = np.zeros((3, 3))

    def forward(self, x):
        self.x = x
        self.cache["z"] = z = x.dot(self.w)
        self.h[0] = z[0]
        self.out = self.relu(z)
        return self.out

    @staticmethod
    def relu(z):
        return np.maximum(z, 0)

    @property
    def size(self):
        a = np.zeros(2)
        a[0] = np.sum(self.w**2)
        return a[0]

    def __call__(self, x):
        return self.forward(x)


class Deeper(Layer):
    def forward(self, x):
        y = super().forward(x)
        return y + self.h[0] + self.size


@given((3, 3), (2, 3))
def objects(w, x):
    layer = Deeper(w)
    return np.sum(layer(x) ** 2) + np.sum(layer.cache["z"]) + layer.x[0, 0]


@dataclasses.dataclass
class Step:
    h: np.ndarray
    logits: np.ndarray = None


@given((3, 3))
def dataclasses_of_steps(w):
    steps = [Step(np.zeros(3))]
    for t in range(3):
        h = np.tanh(w @ steps[-1].h + X[t])
        steps.append(Step(h, logits=h * 2))
    return sum(np.sum(s.logits**2) for s in steps[1:])


@given((3, 3))
def dicts_of_steps(w):
    h, z = {}, {}
    h[-1] = np.zeros(3)
    for t in range(3):
        z[t] = np.dot(w, h[t - 1]) + X[t]
        h[t] = np.tanh(z[t])
    return np.sum(h[2] * z[0]) + sum(np.sum(v) for v in h.values())


Cell = collections.namedtuple("Cell", "c h")


@given((3,))
def named_tuples(x):
    cell = Cell(np.zeros(3), x)
    for _ in range(3):
        cell = cell._replace(c=cell.c + cell.h, h=np.tanh(cell.c * cell.h))
    return np.sum(cell.c**2)


@given((3,))
def deques_and_defaultdicts(x):
    q = collections.deque([x, x * 2], maxlen=2)
    d = collections.defaultdict(float)
    for k in range(4):
        q.append(q[0] * q[1])
        d[k % 2] += np.sum(q[-1])
    return d[0] + d[1]


@given((3,))
def generators(x):
    def halves(v):
        while np.max(np.abs(v)) > 0.1:
            yield v
            v = v / 2

    return sum(np.sum(v**2) for v in halves(x))


@given((3,))
def newton(x):
    y, steps = np.ones(3), 0
    while np.abs(y * y - (x * x + 1)).max() > 1e-13 and steps < 50:
        y = (y + (x * x + 1) / y) / 2
        steps += 1
    return y.sum()


@functools.cache
def binomials(n):
    if n == 0:
        return np.ones(1)
    a = np.zeros(n + 1)
    a[:-1] += binomials(n - 1)
    a[1:] += binomials(n - 1)
    return a


@given((4,))
def cached_constants(x):
    return np.sum(binomials(3) * x) ** 2


@given((4,))
def fixed_seed(x):
    np.random.seed(3)
    mask = (np.random.rand(4) < 0.5) / 0.5
    rng = np.random.default_rng(5)
    noise = rng.normal(size=4)
    noise[0] = 0
    return np.sum((x * mask + noise) ** 2)


@given((4,))
def from_global_random(x):
    return np.sum((x * np.random.normal(size=4)) ** 2)


@given((3, 4))
def asked_for_types(x):
    if not isinstance(x, np.ndarray) or type(x) is not np.ndarray:
        raise TypeError("not an array")
    if isinstance(x.sum(), (float, np.floating)) and np.isscalar(float(x[0, 0])):
        x = x * 2
    assert x.dtype == np.float64 and x.dtype.kind == "f"
    return np.sum(np.asarray(x, dtype=float) ** 2)


@given((4,))
def integers_and_booleans(x):
    order = np.zeros(4, dtype=int)
    order[:] = np.argsort(x)
    count = np.zeros(2, int)
    for v in x:
        count[int(v > 0)] += 1
    keep = np.ones(4, bool)
    keep[order[0]] = False
    return np.sum(x[order] * np.arange(4)) + count[1] * x.sum() + np.sum(x[keep] ** 2)


@given((3,))
def deep_copies(x):
    state = {"h": x, "all": [x * 2]}
    other = copy.deepcopy(state)
    other["h"][0] = 1.0
    other["all"][0] += 1
    return np.sum(state["h"] * other["h"]) + np.sum(other["all"][0] * state["all"][0])


@given((3,))
def closures_and_lambdas(x):
    total = np.zeros(3)

    def add(k):
        nonlocal total
        total += (lambda v: v**k)(x)

    for k in range(3):
        add(k)
    return sum(map(lambda v: v * v, total))


@given((3, 4))
def meshes_and_broadcasts(x):
    a, b = np.meshgrid(x[:, 0], x[0])
    c = np.broadcast_to(x[:, :1], (3, 4)).copy()
    c[0] = 1
    return np.sum(a * b) + np.sum(c * x) + np.sum(x[:, np.newaxis] * x[np.newaxis, :])


@given((4, 3))
def batch_norm_by_steps(x):
    n = len(x)
    mu = 1.0 / n * np.sum(x, axis=0)
    xmu = x - mu
    var = 1.0 / n * np.sum(xmu**2, axis=0)
    ivar = 1.0 / np.sqrt(var + 1e-5)
    cache = (xmu, ivar)
    return np.sum((cache[0] * cache[1]) ** 3)


@given((4, 3))
def cross_entropy(w):
    scores = X @ w.T
    scores -= np.max(scores, axis=1, keepdims=True)
    p = np.exp(scores) / np.sum(np.exp(scores), axis=1)[:, None]
    loss = 0.0
    for i in range(len(Y)):
        loss += -np.log(p[i, Y[i]])
    loss /= len(Y)
    loss += 0.5 * 0.1 * np.sum(w * w)
    return loss


@given((4,))
def split_in_parts(x):
    a, b = np.split(x, 2)
    a *= 2
    left, right = np.array_split(np.append(a, b), 2)
    return np.sum(left * right) + x[0]


@given((4,))
def conditional_on_values(x):
    total = 0
    for v in x:
        if v > 0:
            total += v**2
        elif v < -0.5:
            total -= v
        else:
            continue
    return total + (x.max() if x.any() else 0)


@given((2, 2))
def matrix_powers(a):
    p = np.identity(2)
    for _ in range(3):
        p = p @ a
    p[0, 1] = 0
    return np.trace(p) + np.sum(np.triu(a))


@given((3,))
def try_and_with(x):
    out = np.zeros(3)
    with np.errstate(all="ignore"):
        try:
            out[5] = x[0]
        except IndexError:
            out[1] = x[0]
    return np.sum(out**2) + x[1]


@given((4,))
def comprehension_of_pairs(x):
    return sum(a * b for a, b in zip(x, x[1:])) + np.sum([[a * b for a in x] for b in x])


@given((3, 3))
def viterbi_like_maxima(x):
    best = np.zeros((3, 3))
    back = np.zeros((3, 3), dtype=int)
    best[0] = x[0]
    for t in range(1, 3):
        for s in range(3):
            scores = best[t - 1] + x[s]
            back[t, s] = np.argmax(scores)
            best[t, s] = scores[back[t, s]] + 0.1 * x[t, s]
    return best[-1].max()


@given((5,))
def masked_loss_over_time(x):
    mask = np.array([1, 1, 0, 1, 0], dtype=bool)
    loss = np.zeros(5)
    loss[mask] = x[mask] ** 2
    return loss.sum() / mask.sum()


@given((2, 3))
def swapaxes_views(x):
    a = np.zeros((3, 2, 1))
    np.swapaxes(a, 0, 1)[..., 0] = x
    b = np.expand_dims(a, 0)
    b[0, 0] += 1
    np.squeeze(a)[1] *= 2
    return np.sum(a**2)


@given((4, 4))
def diagonal_blocks(x):
    a = np.zeros((4, 4))
    a[:2, :2] = x[:2, :2]
    a[2:, 2:] = x[2:, 2:].T
    return np.sum(np.linalg.inv(a + 3 * np.eye(4)))


@given((4,))
def masks_and_indices_used_again(x):
    mask, at, steps = np.zeros(4, bool), np.zeros(2, int), np.arange(4)
    weights = np.array([[1.0, 2.0, 3.0, 4.0]])[0] @ np.eye(4)
    total = 0.0
    for t in range(3):
        mask[:] = False
        mask[t] = True
        at += 1
        steps *= 2
        weights[t] = -t
        total += np.sum(x[mask]) * t + np.sum(x[at] ** 2) + np.sum(x * steps) + np.sum(weights * x)
        total += np.sum(np.where(mask, x, x**2)) + X[t].dot(x[:3]) + np.multiply(steps, x)[1]
    return total


@given((2, 3))
def order_of_copies(x):
    a = x.T.copy()
    a.ravel()[1] = 5.0
    b = np.ascontiguousarray(x.T)
    b[0] = 0.0
    c = x.astype(float, copy=False)
    return np.sum(a * b) + np.sum(c**2)


@given((4, 3))
def its_shape_is_set(x):
    y = x * 2
    y.shape = (2, 6)
    return np.sum(y @ y.T)
