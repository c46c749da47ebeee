"""Every operation, on every sample, against JAX: value, first and second derivative, float64.

JAX names most functions as NumPy does; `oracles` writes out those that it does not. It compiles
what it runs, which costs more than all else here: so each operation is one program, for all its
samples together, and compiled in haste. An operation that JAX has not, and a sample that it answers
otherwise, stand in `WITHOUT` and `SKIPPED` with the reason.
"""

import warnings
from functools import cache

import numpy as np
import pytest
from oracle import OPERATIONS, Tally, questions

pytestmark = pytest.mark.oracle
jax = jnp = None


@pytest.fixture(autouse=True, scope="module")
def load_jax():
    """Import JAX when the first test runs, not when tests are collected."""
    global jax, jnp
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        jax = pytest.importorskip(
            "jax", reason="JAX is not installed; the oracle suite compares with it"
        )
        jnp = jax.numpy
        jax.config.update("jax_enable_x64", True)


# ---- how JAX writes it, where not by the same name -----------------------------------------------


def named(name):
    """The function of the same name, in the modules where NumPy and JAX have such functions."""
    for module in (jnp, jnp.linalg, jnp.fft, jax.nn, jax.scipy.special):
        if hasattr(module, name):
            return getattr(module, name)
    return None


def convolution(x, w, stride, padding, dilation, groups):
    pads = [(p, p) for p in padding]
    return jax.lax.conv_general_dilated(
        x, w, stride, pads, rhs_dilation=dilation, feature_group_count=groups
    )


def transposed(f, shape, g):
    return jax.linear_transpose(f, jax.ShapeDtypeStruct(shape, g.dtype))(g)[0]


def conv_transpose(y, w, size, groups, **p):
    shape = (len(y), groups * w.shape[1], *size)
    return transposed(lambda x: convolution(x, w, groups=groups, **p), shape, y)


def conv_weight(x, y, kernel, groups, **p):
    shape = (y.shape[1], x.shape[1] // groups, *kernel)
    return transposed(lambda w: convolution(x, w, groups=groups, **p), shape, y)


def windows(x, kernel, stride, padding, dilation, fill=0.0):
    """Take the elements of every window: axes of the kernel after the channels, then places."""
    x = jnp.pad(x, [(0, 0), (0, 0), *[(p, p) for p in padding]], constant_values=fill)
    for axis, (k, s, d) in enumerate(zip(kernel, stride, dilation, strict=True), 2):
        axis = 2 * axis - 2  # those before have become two
        places = (x.shape[axis] - (k - 1) * d - 1) // s + 1
        x = jnp.take(x, np.arange(places) * s + np.arange(k)[:, None] * d, axis=axis)
    n = len(kernel)
    return x.transpose(0, 1, *range(2, 2 + 2 * n, 2), *range(3, 3 + 2 * n, 2))


def fold(a, size, **p):
    kernel = a.shape[2 : 2 + len(size)]
    return transposed(lambda x: windows(x, kernel, **p), (*a.shape[:2], *size), a)


def pooled(f, fill):
    return lambda x, **p: f(windows(x, **p, fill=fill), tuple(range(2, x.ndim)))


def from_diagonal(a, shape, offset=0, axis1=0, axis2=1):
    k = np.arange(a.shape[-1])
    z = jnp.moveaxis(jnp.zeros(shape), (axis1, axis2), (-2, -1))
    z = z.at[..., k + max(-offset, 0), k + max(offset, 0)].set(a)
    return jnp.moveaxis(z, (-2, -1), (axis1, axis2))


def pad(x, pad_width, mode="constant", constant_values=0):
    if isinstance(pad_width, dict):
        pad_width = [pad_width.get(k - x.ndim, (0, 0)) for k in range(x.ndim)]
    options = {"constant_values": constant_values} if mode == "constant" else {}
    return jnp.pad(x, pad_width, mode, **options)


def pair(z):
    return jnp.real(z), jnp.imag(z)


def recurrence(a, b):
    z = [b[:1]]
    for k in range(1, len(b)):
        z.append(a[k] * z[-1] + b[k])
    return jnp.concatenate(z)


def scatter(gs, indices, shape):
    z = jnp.zeros(shape)
    for g, index in zip(gs, indices, strict=True):
        z = z.at[index].add(g)
    return z


def sinc(x, n=0):
    f = jnp.sinc
    for _ in range(n):
        f = lambda x, f=f: jax.jvp(f, (x,), (jnp.ones_like(x),))[1]
    return f(x)


def square_or_wide(f):
    """Triangles of vectors are of rows repeated, in NumPy."""
    return lambda m, k=0: f(m if m.ndim > 1 else jnp.tile(m, (len(m), 1)), k)


def symmetric(a):
    return (a + a.mT) / 2


@cache
def oracles():
    """The operations that JAX writes otherwise."""
    return {
        "astype": lambda x, dtype: x.astype(dtype),
        "avg_pool": pooled(jnp.mean, 0.0),
        "cholesky": lambda a, upper=False: jnp.linalg.cholesky(symmetric(a), upper=upper),
        "clip": lambda a, a_min=None, a_max=None, min=None, max=None: jnp.clip(
            a, a_min if min is None else min, a_max if max is None else max
        ),
        "compress": lambda c, a, axis=None: jnp.take(a, np.flatnonzero(c), axis),
        "conv": convolution,
        "conv_transpose": conv_transpose,
        "conv_weight": conv_weight,
        "eigh": lambda a, UPLO="L": jnp.linalg.eigh(symmetric(a)),
        "eigvalsh": lambda a: jnp.linalg.eigvalsh(symmetric(a)),
        "einsum": lambda xs, subscripts: jnp.einsum(subscripts, *xs),
        "extract": lambda c, a: jnp.take(a, np.flatnonzero(c)),
        "fold": fold,
        "from_diagonal": from_diagonal,
        "gelu": lambda x: jax.nn.gelu(x, approximate=False),
        "getitem": lambda a, index: a[index],
        "index_add": lambda a, v, index: a.at[index].add(v),
        "index_multiply": lambda a, v, index: a.at[index].multiply(v, unique_indices=True),
        "index_set": lambda a, v, index: a.at[index].set(v),
        "irfft": lambda re, im, **p: jnp.fft.irfft(re + 1j * im, **p),
        "leaky_relu": lambda x, slope=0.01: jax.nn.leaky_relu(x, slope),
        "max_pool": pooled(jnp.max, -np.inf),
        "over": jnp.divide,
        "pad": pad,
        "pinv": lambda a, hermitian=False, **cut: jnp.linalg.pinv(symmetric(a) if hermitian else a),
        "quantile": lambda a, q, **p: jnp.quantile(a, np.asarray(q, float), **p),
        "_real": jnp.real,
        "_real_if_close": jnp.real,
        "real_signal": lambda re, im, **p: jnp.fft.irfft(re + 1j * im, **p),
        "real_spectrum": lambda a, **p: pair(jnp.fft.rfft(a, **p)),
        "recurrence": recurrence,
        "reduced_qr": jnp.linalg.qr,
        "reduced_svd": lambda a: jnp.linalg.svd(a, full_matrices=False),
        "repeat": lambda a, repeats, axis=None: jnp.repeat(a, np.asarray(repeats), axis),
        "rfft": lambda a, **p: pair(jnp.fft.rfft(a, **p)),
        "scatter": scatter,
        "side": jnp.sign,
        "sinc": sinc,
        "tril": square_or_wide(jnp.tril),
        "triu": square_or_wide(jnp.triu),
        "unfold": windows,
        "vector_outer": jnp.outer,
    }


WITHOUT = {
    "cofactors": "are the gradient of det, which is compared",
    "partition": "orders both sides otherwise",
    "pick": "takes one of several outputs: every operation that has them goes through it",
    "sliding_window_view": "JAX has no such function; windows of images are compared",
}
"""Operations that JAX cannot be asked about, and why."""

SKIPPED = {
    ("det", 4): "JAX cannot index the empty matrix",
    ("eigh", 5): "JAX has no UPLO, and LAPACK's signs of vectors depend on it",
    ("gradient", 1): "JAX has no edge_order",
    ("gradient", 3): "JAX has no edge_order",
    ("index_set", 5): "the gradient of a value overwritten by another is not defined in JAX",
    ("index_set", 6): "the gradient of a value overwritten by another is not defined in JAX",
    ("lstsq", 1): "JAX gives residuals where NumPy has none",
    ("meshgrid", 2): "JAX takes no numbers",
    ("nanstd", 1): "NaN in JAX where nothing deviates",
    ("nanstd", 2): "NaN in JAX where nothing deviates",
}
"""Samples (by number) that JAX answers otherwise, and why."""


# ---- the comparison ------------------------------------------------------------------------------

TALLY = Tally()
HASTE = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
}


def compiled(f, given):
    """Compile without optimising, in a quarter of the time, where this JAX has these options."""
    lowered = jax.jit(f).lower(given)
    try:
        return lowered.compile(HASTE)
    except Exception:
        return lowered.compile()


def program(f, q):
    """Give the value, the gradient and the Hessian times v of one question, for JAX to compile."""

    def run(xs, us, vs):
        def gradient(*xs):
            zs, pull = jax.vjp(q.opened(f), *xs)
            seeds = dict(zip(q.real, us, strict=True))
            none = [np.zeros(z.shape, jax.dtypes.float0) for z in zs]
            return pull([seeds.get(k, none[k]) for k in range(len(zs))]), zs

        first, second, zs = jax.jvp(gradient, tuple(xs), tuple(vs), has_aux=True)
        return zs, first, second

    return run


@pytest.mark.parametrize("name", [n for n in OPERATIONS if n not in WITHOUT])
def test_oracle(name):
    f = oracles().get(name) or named(name)
    assert f, f"{name} has no entry in the table: how does JAX write it?"
    TALLY.operations += 1
    asked = [q for q in questions(name) if (name, q.k) not in SKIPPED]
    programs = [program(f, q) for q in asked]
    given = [(q.xs, q.us, q.vs) for q in asked]
    together = compiled(lambda given: [p(*g) for p, g in zip(programs, given, strict=True)], given)
    for q, (values, first, second) in zip(asked, together(given), strict=True):
        TALLY.samples += 1
        TALLY.close("values", q.values, values, q)
        TALLY.close("first", q.first, first, q)
        TALLY.close("second", q.second, second, q)


def test_the_tables_name_what_exists():
    names = [*oracles(), *WITHOUT, *[name for name, _ in SKIPPED]]
    assert [n for n in names if n not in OPERATIONS] == []


def test_how_much_was_compared(capsys):
    if TALLY.operations < len(OPERATIONS) - len(WITHOUT):
        pytest.skip("only some of the operations were selected")
    every = sum(len(questions(n)) for n in OPERATIONS if n not in WITHOUT)
    assert TALLY.samples == every - len(SKIPPED)
    assert min(TALLY.values, TALLY.first, TALLY.second) >= TALLY.samples
    with capsys.disabled():
        print(f"\nJAX: {vars(TALLY)}")
