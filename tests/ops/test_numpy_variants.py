"""NumPy is the interface, off the beaten track: every function on what it was not written for.

Each sample of each differentiable function is varied in one argument at a time: arrays by numbers,
lists, empty arrays, 0-d, integers, booleans, NaN, other shapes, strides and dtypes; axes and counts
by others, in range and out of it. What NumPy makes of it, minigrad makes too, with a gradient that
fits; where NumPy raises, so does minigrad, and the error names the function.
"""

import inspect
import re

import numpy as np
import pytest
from test_numpy import FUNCTIONS, cases, of_kind, signature

import minigrad as mg
from minigrad.core import tree
from minigrad.core.tensor import OPS

X = np.random.default_rng(0).uniform(-1.5, 1.5, (2, 3, 4))
ARRAYS = [
    X[0, 0, 0], np.zeros(0), np.zeros((0, 2)), np.ones(1), X[0, :, :3], X[0, 0, :3], X[0].T[::2],
    X[:, :, :3], X[0, :, :3].astype(np.float32), X[0, :, :3].astype(np.float16),
    np.arange(6).reshape(2, 3), np.array([True, False, True]), np.array([np.nan, 1.0, np.inf]),
    2.0, 3, [1.0, 2.0, 3.0],
]  # fmt: skip
COUNTS = [0, 1, -1, 2, -2, 5, -7, None, np.int64(1)]
AXES = [*COUNTS, (0,), (0, 1), (0, -1), (0, 0), ()]
NAMES = {"axis", "axes", "keepdims", "ddof", "k", "n", "offset"}

REFUSED = {
    "cross": "vectors of 3 elements",
    "diff": "boolean subtract",
    "fft.fftshift": "repeated axis",
    "fft.ifftshift": "repeated axis",
    "full_like": "copyto has no derivative",  # np.full_like(number, t) does not ask a Tensor first
    "gradient": "edge_order",
    "linalg.eigh": "not symmetric",
    "linalg.eigvalsh": "not symmetric",
    "linalg.matrix_norm": "zero-size",
    "linspace": "interpreted as an integer",
    "linalg.pinv": "not symmetric",
    "linalg.svd": "full_matrices=False|not symmetric",
    "linalg.tensorsolve": "repeated axis",
    "median": "of no elements",
    "pad": "zero-size",
    "take": "out of bounds|arrays used as indices",
    "unstack": "interpreted as an integer",
    "cumulative_prod": "interpreted as an integer",
    "cumulative_sum": "interpreted as an integer",
}
"""What NumPy takes and minigrad does not: what the error says."""

LARGER = {
    "average": "nothing",
    "cumulative_prod": "axis=() of a vector",
    "cumulative_sum": "axis=() of a vector",
    "gradient": "booleans, as numbers",
    "linalg.cross": "as np.cross",
    "linalg.tensorinv": "numbers",
    "linalg.tensorsolve": "any order of axes",
    "linalg.vecdot": "axis=(0,)",
    "percentile": "booleans, as numbers",
    "quantile": "booleans, as numbers",
    "reshape": "shape=None, which NumPy before 2.2 takes for no shape",
    "take": "no indices of any dtype",
    "vecdot": "axis=(0,)",
}
"""What minigrad takes and NumPy does not."""

OTHER = {
    "partition": "both sides in another order",
}
"""Where the values differ on purpose."""


def variations(f):
    """List the samples, and with one argument exchanged."""
    for args, params, _ in cases(f)[:6]:
        args = list(args)
        yield args, params
        for k, x in enumerate(args):
            for other in others(x):
                yield [*args[:k], other, *args[k + 1 :]], params
        theirs = signature(f)
        taken = {*inspect.signature(f).bind(*args, **params).arguments} if theirs else NAMES
        for name in sorted({*params} | (NAMES - taken) & {*(theirs or ())}):
            if name in NAMES:
                some = {"keepdims": [True, False], "axis": AXES, "axes": AXES}.get(name, COUNTS)
                for other in some:
                    yield args, params | {name: other}


def others(x):
    if isinstance(x, np.ndarray):
        return ARRAYS
    if x is None or (isinstance(x, (int, tuple)) and not isinstance(x, bool)):
        return AXES if isinstance(x, tuple) else COUNTS
    if isinstance(x, list) and all(isinstance(part, np.ndarray) for part in x):
        replaced = [[*x[:k], other, *x[k + 1 :]] for k in range(len(x)) for other in ARRAYS]
        return [*replaced, [], tuple(x), x[:1]]
    return []


def attempt(f, args, params):
    try:
        return f(*args, **params), None
    except Exception as error:
        return None, error


def agree(got, expected, name, what):
    got, expected = tree.flatten(got)[0], tree.flatten(expected)[0]
    assert len(got) == len(expected), what
    for ours, theirs in zip(got, map(np.asarray, expected), strict=True):
        if not isinstance(ours, mg.Tensor):
            continue
        assert ours.shape == theirs.shape, what
        assert (ours.dtype.kind == "f") == (theirs.dtype.kind == "f") or theirs.dtype.kind in "iub"
        if name not in OTHER:
            tolerance = {"float16": 2e-2, "float32": 1e-4}.get(str(ours.dtype), 1e-9)
            np.testing.assert_allclose(
                ours.data.astype(float), theirs.astype(float), tolerance, tolerance, err_msg=what
            )


def gradient_fits(f, args, params, what):
    """The two modes are transposes, and gradients have their inputs' shapes and dtypes."""
    leaves, structure = tree.flatten(tuple(args))
    places = [k for k, x in enumerate(leaves) if isinstance(x, np.ndarray) and x.dtype.kind == "f"]
    xs, rng = [leaves[k] for k in places], np.random.default_rng(1)

    def of_reals(*xs):
        full = [mg.tensor(x) if isinstance(x, np.ndarray) else x for x in leaves]
        for k, x in zip(places, xs, strict=True):
            full[k] = x
        ys = tree.flatten(f(*tree.unflatten(structure, full), **params))[0]
        return [y for y in ys if isinstance(y, mg.Tensor) and y.dtype.kind == "f"]

    try:
        ys, pullback = mg.vjp(of_reals, *xs)
    except TypeError as error:
        assert "gradients do not flow through" in str(error), what  # noqa: PT017
        return
    us, vs = ([rng.normal(size=t.shape).astype(t.dtype) for t in ts] for ts in (ys, xs))
    gs, (_, ds) = pullback(us), mg.jvp(of_reals, xs, vs)
    assert [(g.shape, g.dtype) for g in gs] == [(x.shape, x.dtype) for x in xs], what
    pulled, pushed = (
        sum(float((a.astype(float) * np.asarray(b, float)).sum()) for a, b in pairs)
        for pairs in (zip(vs, gs, strict=True), zip(us, ds, strict=True))
    )
    least = min([x.dtype.itemsize for x in (*xs, *ys)], default=8)
    if np.isfinite(pulled) and np.isfinite(pushed):
        assert abs(pulled - pushed) <= {2: 0.1, 4: 1e-3, 8: 1e-9}[least] * (1 + abs(pulled)), what


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("f", of_kind("differentiable"))
def test_variations(f):
    name = next(name for name, g in FUNCTIONS.items() if g is f)
    fits = 0
    for args, params in variations(f):
        what = f"np.{name} of {tree.map(lambda x: getattr(x, 'shape', x), args)}, {params}"
        ours = tree.map(lambda x: mg.tensor(x) if isinstance(x, np.ndarray) else x, tuple(args))
        if not any(isinstance(x, mg.Tensor) for x in tree.flatten(ours)[0]):
            continue
        expected, refused = attempt(f, args, params)
        got, error = attempt(f, ours, params)
        if error is None:
            assert refused is None or name in LARGER, f"{what}: NumPy says {refused!r}"
            if refused is None:
                agree(got, expected, name, what)
                gradient_fits(f, args, params, what)
                fits += 1
            continue
        assert isinstance(error, (TypeError, ValueError, IndexError)), f"{what}: {error!r}"
        said = re.search(REFUSED.get(name, "$^"), str(error))
        named = any(n in str(error) for n in (f.__name__, OPS[f].__name__))
        assert said or (named and refused is not None), f"{what}: {error!r}"
    assert fits > 1
