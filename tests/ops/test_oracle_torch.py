"""Every operation, on every sample, against PyTorch: value, first and second derivative, float64.

The table says for each operation how PyTorch writes it. Most fall into a few groups, listed by
name; what only moves elements is asked of NumPy, on an array of their positions, and gathered. An
operation without an entry fails: add its name to a group, a line to `oracles`, or, where PyTorch
has nothing to compare with, a reason to `WITHOUT`.
"""

import math
import operator
import warnings
from functools import cache

import numpy as np
import pytest
from oracle import OPERATIONS, Tally, questions

from minigrad.core import tree

pytestmark = pytest.mark.oracle
torch = None


@pytest.fixture(autouse=True, scope="module")
def load_torch():
    """Import PyTorch when the first test runs, not when tests are collected."""
    global torch
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch = pytest.importorskip(
            "torch", reason="PyTorch is not installed; the oracle suite compares with it"
        )
        torch.set_num_threads(1)


# ---- how PyTorch writes it: groups ---------------------------------------------------------------


def named(name, **renamed):
    """The function torch.name (torch.linalg.svd, ...), its arguments renamed where they differ."""

    def f(*xs, **params):
        found = operator.attrgetter(name)(torch)
        return found(*xs, **{renamed.get(k, k): v for k, v in params.items()})

    return f


def moved(f):
    """What puts elements elsewhere: `f` on their positions; position 0 is the number 0."""

    def gathered(*args, **params):
        leaves, structure = tree.flatten(args)
        flat, places, start = [torch.zeros(1, dtype=torch.float64)], [], 1
        for x in leaves:
            if isinstance(x, torch.Tensor):
                flat.append(x.reshape(-1))
                places.append(np.arange(start, start + x.numel()).reshape(x.shape))
                start += x.numel()
            else:
                places.append(x)
        found = f(*tree.unflatten(structure, places), **params)
        return tree.map(lambda at: torch.cat(flat)[torch.tensor(np.array(at))], found)

    return gathered


def rows(x, axis):
    """The axes reduced as one axis at the end, and the shapes without them and with length 1."""
    axes = range(x.ndim) if axis is None else [k % x.ndim for k in np.atleast_1d(axis).astype(int)]
    rest = [k for k in range(x.ndim) if k not in axes]
    shape = [x.shape[k] for k in rest]
    n = math.prod(x.shape[k] for k in axes)
    kept = [1 if k in axes else size for k, size in enumerate(x.shape)]
    return x.permute([*rest, *axes]).reshape(*shape, n), shape, kept


def over(f):
    """What reduces its last axis, as a reduction over any axes."""

    def reduced(x, axis=None, keepdims=False, **options):
        flat, shape, kept = rows(x, axis)
        return f(flat, **options).reshape(kept if keepdims else shape)

    return reduced


def along(f):
    """What runs along its last axis, as a function along any axis, or all flattened (None)."""

    def run(x, axis=None, **options):
        return f(x.reshape(-1) if axis is None else x.movedim(axis, -1), **options).movedim(
            -1, 0 if axis is None else axis
        )

    return run


def without_nan(f, fill):
    return lambda x, axis=None: f(torch.where(torch.isnan(x), fill, x), axis=axis)


def variance(x, ddof=0):
    """Variance of the numbers in each row that are not NaN."""
    gaps = torch.isnan(x)
    w = (~gaps).to(x.dtype)
    n, x = w.sum(-1, keepdim=True), torch.where(gaps, 0.0, x)
    return (w * (x - x.sum(-1, keepdim=True) / n) ** 2).sum(-1) / (n[..., 0] - ddof)


def deviation(x, ddof=0):
    """Root of the variance; 0, with derivatives 0, where nothing deviates."""
    v = variance(x, ddof)
    return torch.where(v == 0, 0.0, torch.where(v == 0, 1.0, v).sqrt())


# ---- how PyTorch writes it: single operations ----------------------------------------------------


def average(a, axis=None, weights=None, keepdims=False):
    if weights is None:
        return over(lambda x: x.mean(-1))(a, axis, keepdims)
    if weights.shape != a.shape:
        axes = np.atleast_1d(axis) % a.ndim
        shape = [n if k in axes else 1 for k, n in enumerate(a.shape)]
        weights = weights.permute(*np.argsort(axes)).reshape(shape).expand(a.shape)
    total = over(lambda x: x.sum(-1))
    return total(a * weights, axis, keepdims) / total(weights, axis, keepdims)


def cond(x, p=None):
    if p in (None, -2):
        return torch.linalg.cond(x, p)
    return torch.linalg.matrix_norm(x, p) * torch.linalg.matrix_norm(torch.linalg.inv(x), p)


def convolve(a, v, mode="full"):
    n, m = sorted((len(a), len(v)))
    z = functional("conv1d")(a[None, None], v.flip(0)[None, None], padding=len(v) - 1)[0, 0]
    start, length = {
        "full": (0, n + m - 1),
        "same": ((n - 1) // 2, m),
        "valid": (n - 1, m - n + 1),
    }[mode]
    return z[start : start + length]


def cross(a, b, axisa=-1, axisb=-1, axisc=-1, axis=None):
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = torch.broadcast_tensors(a.movedim(axisa, -1), b.movedim(axisb, -1))
    return torch.linalg.cross(a, b).movedim(-1, axisc)


def cumulative(f, unit):
    def run(x, axis=0, include_initial=False):
        one = torch.full_like(x.narrow(axis, 0, 1), unit)
        return f(torch.cat([one, x], axis) if include_initial else x, axis)

    return run


def diff(a, n=1, axis=-1, prepend=None, append=None):
    if isinstance(prepend, float):
        prepend = torch.full_like(a.narrow(axis, 0, 1), prepend)
    return torch.diff(a, n, axis, prepend, append)


def dot(a, b):
    if not (a.ndim and b.ndim):
        return a * b
    return torch.tensordot(a, b, dims=([-1], [max(b.ndim - 2, 0)]))


def gradient(f, *spacings, axis=None, edge_order=1):
    """Slopes of the parabolas (at edges of order 1: lines) through neighbours."""

    def slope(k, points, x, f):
        """Derive at point k the polynomial through the points, in Lagrange's form."""
        total = 0
        for j in points:
            others = [m for m in points if m != j]
            for m in others:
                rest = math.prod((x[k] - x[i]) / (x[j] - x[i]) for i in others if i != m)
                total = total + f[j] * rest / (x[j] - x[m])
        return total

    axes = range(f.ndim) if axis is None else np.atleast_1d(axis)
    found = []
    for axis, h in zip(axes, spacings or (1.0,) * len(axes), strict=True):
        n = f.shape[axis]
        x = h if np.ndim(h) == 1 else [k * h for k in range(n)]
        e = edge_order + 1
        ends = {0: range(e), n - 1: range(n - e, n)}
        rows = f.movedim(int(axis), 0)
        slopes = [slope(k, ends.get(k, range(k - 1, k + 2)), x, rows) for k in range(n)]
        found.append(torch.stack(slopes).movedim(0, int(axis)))
    return found


def interp(x, xp, fp, left=None, right=None):
    """Add up the pieces that x has passed, the last in part."""
    z = fp[0]
    for k in range(len(xp) - 1):
        passed = torch.minimum(torch.relu(x - xp[k]), xp[k + 1] - xp[k])
        z = z + passed * (fp[k + 1] - fp[k]) / (xp[k + 1] - xp[k])
    z = z if left is None else torch.where(x < xp[0], left, z)
    return z if right is None else torch.where(x > xp[-1], right, z)


def lstsq(a, b):
    x = torch.linalg.pinv(a) @ b
    squares = ((b - a @ x) ** 2).sum(0).reshape(-1)
    full = a.shape[0] > a.shape[1]
    return x, squares if full else squares[:0], torch.linalg.matrix_rank(a), torch.linalg.svdvals(a)


def pad(x, pad_width, mode="constant", constant_values=0):
    if mode != "constant":
        return moved(np.pad)(x, pad_width=pad_width, mode=mode)
    fill = torch.as_tensor(constant_values, dtype=x.dtype)
    numbers = 1 + np.arange(fill.numel()).reshape(fill.shape)  # of what is outside; 0 is inside
    outside = np.pad(np.zeros(x.shape, int), pad_width, constant_values=numbers)
    fills = torch.cat([fill.new_zeros(1), fill.reshape(-1)])[torch.as_tensor(outside)]
    return moved(np.pad)(x, pad_width=pad_width) + fills


def put(a, values, *, index):
    out = a.copy()
    out[index] = values
    return out


def quantile(a, q, axis=None, keepdims=False):
    found = [
        over(lambda x, q=q: torch.quantile(x, q, dim=-1))(a, axis, keepdims) for q in np.ravel(q)
    ]
    return torch.stack(found).reshape(np.shape(q) + found[0].shape)


def recurrence(a, b):
    z = []
    for k in range(len(b)):
        z.append(a[k] * z[-1] + b[k] if k else b[k])
    return torch.stack(z) if z else b.clone()


def scattered(gs, *, indices, shape):
    z = torch.zeros(math.prod(shape), dtype=torch.float64)
    places = np.arange(len(z)).reshape(shape)
    for g, index in zip(gs, indices, strict=True):
        z = z.index_add(0, torch.as_tensor(places[index].ravel()), g.reshape(-1))
    return z.reshape(shape)


def log_softmax(a, axis=-1):
    return a - over(lambda x: torch.logsumexp(x, -1))(a, axis, True)


def sinc(x, n=0):
    z = torch.sinc(x)
    for _ in range(n):
        (z,) = torch.autograd.grad(z.sum(), x, create_graph=True)
    return z


# factors, with the signs that NumPy's LAPACK chooses


def symmetric(a):
    return (a + a.mT) / 2


def signs(ours, theirs):
    """1 or -1 for each column, so that it points as NumPy's."""
    return torch.sign((ours.detach() * torch.as_tensor(theirs)).sum(-2, keepdim=True))


def eigh(a, UPLO="L"):
    w, v = torch.linalg.eigh(symmetric(a))
    return w, v * signs(v, np.linalg.eigh(symmetric(a).detach().numpy(), UPLO)[1])


def qr(a, mode="reduced"):
    q, r = torch.linalg.qr(a)
    s = signs(q, np.linalg.qr(a.detach().numpy())[0])
    return s.mT * r if mode == "r" else (q * s, s.mT * r)


def pinv(a, hermitian=False, **cut):
    return torch.linalg.pinv(symmetric(a) if hermitian else a)


def svd(a, full_matrices=True, compute_uv=True, hermitian=False):
    a = symmetric(a) if hermitian else a
    u, s, vh = torch.linalg.svd(a, full_matrices=False)
    sign = signs(u, np.linalg.svd(a.detach().numpy(), False, True, hermitian)[0])
    return (u * sign, s, vh * sign.mT) if compute_uv else s


# convolutions: of one or two spatial axes


def convolution(x, w, **p):
    return functional(f"conv{x.ndim - 2}d")(x, w, **p)


def windows(x, kernel, stride, padding, dilation, fill=0.0):
    n = len(kernel)
    x = functional("pad")(x, [p for p in reversed(padding) for _ in range(2)], value=fill)
    for k, (size, s, d) in enumerate(zip(kernel, stride, dilation, strict=True)):
        x = x.unfold(2 + k, (size - 1) * d + 1, s)[..., ::d]
    return x.permute(0, 1, *range(2 + n, 2 + 2 * n), *range(2, 2 + n))


def transposed(f, shape, g):
    """The transpose of a linear f, at g: the gradient of <f(x), g>."""
    x = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad((f(x) * g).sum(), x, create_graph=True)[0]


def fold(a, size, **p):
    kernel = a.shape[2 : 2 + len(size)]
    return transposed(lambda x: windows(x, kernel, **p), (*a.shape[:2], *size), a)


def conv_transpose(y, w, size, groups, **p):
    channels = groups * w.shape[1]
    return transposed(lambda x: convolution(x, w, groups=groups, **p), (len(y), channels, *size), y)


def conv_weight(x, y, kernel, groups, **p):
    shape = (y.shape[1], x.shape[1] // groups, *kernel)
    return transposed(lambda w: convolution(x, w, groups=groups, **p), shape, y)


def pooled(f, fill):
    return lambda x, **p: f(windows(x, **p, fill=fill), tuple(range(2, x.ndim)))


# ---- the table -----------------------------------------------------------------------------------

SAME = """
    abs add arccos arccosh arcsin arcsinh arctan arctan2 arctanh copysign cos cosh deg2rad divide
    erf erfc exp exp2 expm1 float_power fmax fmin hypot inner kron log log10 log1p log2 logaddexp
    logaddexp2 matmul maximum minimum multiply nan_to_num negative positive rad2deg reciprocal relu
    sigmoid sin sinh sqrt square subtract tan tanh
"""
LINALG = "det inv matrix_power multi_dot slogdet solve svdvals tensorinv"
MOVES = """
    append array_split atleast_1d atleast_2d atleast_3d block broadcast_arrays broadcast_to
    column_stack compress concatenate delete diag diagflat diagonal dsplit dstack expand_dims
    extract flip fliplr flipud hsplit hstack matrix_transpose meshgrid moveaxis ravel repeat
    reshape resize roll rollaxis rot90 split squeeze stack swapaxes take take_along_axis tile
    transpose tril triu unstack vsplit vstack
"""


def functional(name):
    return getattr(torch.nn.functional, name)


def reductions():
    return {
        "sum": lambda x: x.sum(-1),
        "mean": lambda x: x.mean(-1),
        "max": lambda x: x.amax(-1),
        "min": lambda x: x.amin(-1),
        "prod": lambda x: x.prod(-1),
        "ptp": lambda x: x.amax(-1) - x.amin(-1),
        "logsumexp": lambda x: torch.logsumexp(x, -1),
        "var": variance,
        "std": deviation,
        "median": lambda x: torch.quantile(x, 0.5, dim=-1),
    }


def clip(a, a_min=None, a_max=None, min=None, max=None):
    low, high = a_min if min is None else min, a_max if max is None else max
    a = a if low is None else torch.maximum(a, torch.as_tensor(low))
    return a + 0 if high is None else torch.minimum(a, torch.as_tensor(high))


@cache
def oracles():
    """Every operation as PyTorch writes it, by name."""
    r = reductions()
    total, product = over(r["sum"]), over(r["prod"])
    scan, factors = along(lambda x: x.cumsum(-1)), along(lambda x: x.cumprod(-1))
    f = functional
    return {
        **{name: named(name) for name in SAME.split()},
        **{name: named(f"linalg.{name}") for name in LINALG.split()},
        **{name: moved(getattr(np, name)) for name in MOVES.split()},
        **{name: over(g) for name, g in r.items()},
        # elementwise
        "cbrt": lambda x: torch.sign(x) * abs(x) ** (1 / 3),
        "clip": clip,
        "conjugate": torch.positive,
        "copy": torch.positive,
        "elu": f("elu"),
        "fabs": torch.abs,
        "fmod": lambda x, y: torch.fmod(torch.as_tensor(x), y),
        "gelu": f("gelu"),
        "ldexp": lambda x, n: x * 2.0 ** torch.as_tensor(n),
        "leaky_relu": lambda x, slope=0.01: f("leaky_relu")(x, slope),
        "log_sigmoid": f("logsigmoid"),
        "power": operator.pow,
        "_real": torch.positive,
        "_real_if_close": torch.positive,
        "side": torch.sign,
        "silu": f("silu"),
        "over": operator.truediv,
        "remainder": lambda x, y: x - y * torch.floor(x / y).detach(),
        "divmod": lambda x, y: (q := torch.floor(x / y).detach(), x - y * q),
        "sinc": sinc,
        "softplus": f("softplus"),
        "where": lambda c, x, y: torch.where(torch.as_tensor(c), x, y),
        # reductions, scans, order
        "average": average,
        "correlate": lambda a, v, mode="valid": convolve(a, v.flip(0), mode),
        "convolve": convolve,
        "cumprod": factors,
        "cumsum": scan,
        "cumulative_prod": cumulative(torch.cumprod, 1),
        "cumulative_sum": cumulative(torch.cumsum, 0),
        "diff": diff,
        "gradient": gradient,
        "interp": interp,
        "log_softmax": log_softmax,
        "nancumprod": without_nan(factors, 1.0),
        "nancumsum": without_nan(scan, 0.0),
        "nanmax": without_nan(over(r["max"]), -math.inf),
        "nanmean": over(lambda x: torch.nanmean(x, -1)),
        "nanmin": without_nan(over(r["min"]), math.inf),
        "nanprod": without_nan(product, 1.0),
        "nanstd": over(deviation),
        "nansum": without_nan(total, 0.0),
        "nanvar": over(variance),
        "partition": lambda a, kth, axis=-1: torch.take_along_dim(
            a, torch.as_tensor(np.argpartition(a.detach().numpy(), kth, axis)), axis
        ),
        "percentile": lambda a, q, axis=None: quantile(a, q / 100, axis),
        "quantile": quantile,
        "recurrence": recurrence,
        "select": lambda cs, xs, d: torch.where(
            torch.as_tensor(cs[0]), xs[0], torch.where(torch.as_tensor(cs[1]), xs[1], d)
        ),
        "softmax": lambda a, axis=-1: log_softmax(a, axis).exp(),
        "sort": lambda a, axis=-1: along(lambda x: x.sort(-1).values)(a, axis),
        "trapezoid": named("trapezoid", axis="dim"),
        # shapes and indices
        "astype": lambda x, dtype: x.to(torch.float64),
        "full_like": lambda a, fill: fill.expand(a.shape),
        "getitem": moved(lambda a, index: a[index]),
        "index_add": lambda a, v, index: (
            a
            + scattered([v.expand(np.empty(a.shape)[index].shape)], indices=[index], shape=a.shape)
        ),
        "index_multiply": lambda a, v, index: moved(put)(
            a, moved(lambda a: a[index])(a) * v, index=index
        ),
        "index_set": moved(put),
        "linspace": lambda a, b, num=50, endpoint=True, axis=0: torch.stack(
            [a + (b - a) * w for w in np.linspace(0, 1, num, endpoint)], axis
        ),
        "pad": pad,
        "scatter": scattered,
        "sliding_window_view": moved(np.lib.stride_tricks.sliding_window_view),
        # products
        "cross": cross,
        "dot": dot,
        "einsum": lambda xs, subscripts: torch.einsum(subscripts, *xs),
        "from_diagonal": lambda a, shape, offset=0, axis1=0, axis2=1: torch.diagonal_scatter(
            torch.zeros(shape, dtype=torch.float64), a, offset, axis1, axis2
        ),
        "matvec": lambda a, x: (a @ x[..., None])[..., 0],
        "vector_outer": torch.outer,
        "outer": lambda a, b: torch.outer(a.reshape(-1), b.reshape(-1)),
        "tensordot": lambda a, b, axes=2: torch.tensordot(
            a, b, dims=axes if isinstance(axes, int) else [[*np.atleast_1d(k)] for k in axes]
        ),
        "trace": lambda a, **place: moved(np.diagonal)(a, **place).sum(-1),
        "vdot": lambda a, b: torch.vdot(a.reshape(-1), b.reshape(-1)),
        "vecdot": named("linalg.vecdot", axis="dim"),
        "vecmat": lambda x, a: (x[..., None, :] @ a)[..., 0, :],
        # linear algebra
        "cholesky": lambda a, upper=False: torch.linalg.cholesky(symmetric(a), upper=upper),
        "cond": cond,
        "eigh": eigh,
        "eigvalsh": lambda a: torch.linalg.eigvalsh(symmetric(a)),
        "lstsq": lstsq,
        "matrix_norm": named("linalg.matrix_norm", keepdims="keepdim"),
        "norm": named("linalg.norm", axis="dim", keepdims="keepdim"),
        "pinv": pinv,
        "qr": qr,
        "reduced_qr": qr,
        "reduced_svd": svd,
        "svd": svd,
        "tensorsolve": named("linalg.tensorsolve", axes="dims"),
        "vector_norm": named("linalg.vector_norm", axis="dim", keepdims="keepdim"),
        # Fourier transforms
        "fftshift": named("fft.fftshift", axes="dim"),
        "ifftshift": named("fft.ifftshift", axes="dim"),
        "irfft": lambda re, im, axis=-1, **p: torch.fft.irfft(torch.complex(re, im), dim=axis, **p),
        "real_signal": lambda re, im, **p: torch.fft.irfft(torch.complex(re, im), **p),
        "real_spectrum": lambda a, **p: pair(torch.fft.rfft(a, **p)),
        "rfft": lambda a, axis=-1, **p: pair(torch.fft.rfft(a, dim=axis, **p)),
        # convolutions
        "avg_pool": pooled(torch.mean, 0.0),
        "conv": convolution,
        "conv_transpose": conv_transpose,
        "conv_weight": conv_weight,
        "fold": fold,
        "max_pool": pooled(torch.amax, -math.inf),
        "unfold": windows,
    }


def pair(z):
    return z.real, z.imag


WITHOUT = {
    "cofactors": "are the gradient of det, which is compared",
    "pick": "takes one of several outputs: every operation that has them goes through it",
}
"""Operations that PyTorch cannot be asked about, and why."""

FIRST_ONLY = {
    ("sinc", 1): "the second derivative at 0, -pi^2 / 3, is NaN in PyTorch",
    ("det", 6): "the second derivative at a matrix of zeros is NaN in PyTorch",
}
"""Samples (by number) whose second derivatives PyTorch does not know, and why. JAX knows them."""


# ---- the comparison ------------------------------------------------------------------------------

TALLY = Tally()


def plain(ts):
    return [t.numpy(force=True) for t in ts]


def compare(q, oracle):
    ts = [torch.tensor(x, requires_grad=True) for x in q.xs]
    outs = q.opened(oracle)(*ts)
    TALLY.close("values", q.values, plain(outs), q)
    loss = sum([(outs[k] * torch.tensor(u)).sum() for k, u in zip(q.real, q.us, strict=True)])
    first = torch.autograd.grad(loss, ts, create_graph=True, materialize_grads=True)
    TALLY.close("first", q.first, plain(first), q)
    TALLY.samples += 1
    slope = sum([(g * torch.tensor(v)).sum() for g, v in zip(first, q.vs, strict=True)])
    second = [torch.zeros_like(t) for t in ts]
    if slope.requires_grad:
        second = torch.autograd.grad(slope, ts, materialize_grads=True)
    if (q.name, q.k) in FIRST_ONLY:
        assert not all(torch.isfinite(h).all() for h in second), "PyTorch knows it: compare"
    else:
        TALLY.close("second", q.second, plain(second), q)


@pytest.mark.parametrize("name", [n for n in OPERATIONS if n not in WITHOUT])
def test_oracle(name):
    oracle = oracles().get(name)
    assert oracle, f"{name} has no entry in the table: how does PyTorch write it?"
    TALLY.operations += 1
    for q in questions(name):
        compare(q, oracle)


def test_the_tables_name_what_exists():
    names = [*oracles(), *WITHOUT, *[name for name, _ in FIRST_ONLY]]
    assert [n for n in names if n not in OPERATIONS] == []


def test_how_much_was_compared(capsys):
    if TALLY.operations < len(OPERATIONS) - len(WITHOUT):
        pytest.skip("only some of the operations were selected")
    assert TALLY.samples == sum(len(questions(n)) for n in OPERATIONS if n not in WITHOUT)
    assert min(TALLY.values, TALLY.first) >= TALLY.samples
    with capsys.disabled():
        print(f"\nPyTorch: {vars(TALLY)}")
