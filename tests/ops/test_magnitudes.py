"""The law of magnitudes: what a wide dtype says of numbers from 1e-30 to 1e30, a narrow one says.

Every elementwise function and reduction of the registry, its value and its first and second
derivatives, in float16, float32 and float64, of both signs: where they can be represented they are
finite, and what the next wider dtype computes of the same numbers. So nothing overflows, vanishes
or cancels on the way, as in `z + s * (1 - z)` for the slope of silu, which was 0 from 1e8 on.
"""

import numpy as np
import pytest

import minigrad as mg
from minigrad.core.primitive import Primitive
from minigrad.core.tensor import OPS
from minigrad.testing import Draw

WIDE = {np.float16: np.float64, np.float32: np.float64, np.float64: np.longdouble}
OWN = [op for op in dict.fromkeys(OPS.values()) if not op.__module__.startswith("test")]
"""What minigrad states: other tests state primitives too, before these are collected or after."""

NAMES = {
    p.name: p
    for p in OWN
    if isinstance(p, Primitive) and p.family == "elementwise" and p.samples(Draw(0))
}
EXACT = {np.float16: 30, np.float32: 200, np.float64: 2000}
"""To how many units in the last place: exp(-x * x) loses x * x of them."""

NATURAL = {
    **dict.fromkeys(
        ["arctanh", "logaddexp", "logaddexp2", "sigmoid", "silu", "tanh"], lambda k, *x: 1
    ),
    "hypot": lambda k, x, y: np.hypot(x, y) ** (1.0 - k),
    "arctan2": lambda k, x, y: np.hypot(x, y) ** (0.0 - k),
}
"""The size to which the derivative of order k is exact, where it is a small difference: of 1, as in
the tails of tanh, and of what else is in the Hessian of a distance."""


def arguments(name, dtype):
    """Numbers of every magnitude and both signs; for two arguments, all pairs of fewer."""
    (args, _), *_ = NAMES[name].samples(Draw(0))
    low, high = (
        np.log10(float(np.finfo(dtype).smallest_normal)),
        np.log10(float(np.finfo(dtype).max)),
    )
    low, high = max(low + 1, -30), min(high - 0.1, 30)
    if len(args) == 1:
        x = np.concatenate(
            [np.logspace(low, high, 61), np.linspace(0.05, 40, 57), [88.5, 104, 709]]
        )
        return [np.concatenate([x, [0.0], -x]).astype(dtype)]
    if "power" in name:
        x, y = np.meshgrid(np.logspace(low, high, 9), [-1, -0.5, 0.0, 0.5, 1, 2])
        return [x.ravel().astype(dtype), y.ravel().astype(dtype)]
    x = np.concatenate([np.logspace(low, high, 9), [0.3, 0.9, 1.1, 2.5, 17.0]])
    x = np.concatenate([x, [0.0], -x])
    if isinstance(args[1], np.ndarray) and args[1].dtype.kind == "f":
        return [a.ravel().astype(dtype) for a in np.meshgrid(x, x)]
    return [x.astype(dtype), np.array(1)]


def value(t):
    return np.asarray(t.data if isinstance(t, mg.Tensor) else t)


def summed(f, k):
    """The derivative of each element by its own argument, for elementwise f."""
    return mg.grad(lambda *xs: f(*xs).sum(), k)


def derivatives(f, xs):
    """The value, and first and second derivatives by each real argument and pair of them."""
    real = [k for k, x in enumerate(xs) if x.dtype.kind == "f"]
    found = {"value": f(*xs)}
    for j in real:
        slope = summed(f, j)
        found[f"by {j}"] = slope(*xs)
        for k in real[j:]:
            found[f"by {j} and {k}"] = summed(slope, k)(*xs)
    return {name: value(z) for name, z in found.items()}


@pytest.mark.parametrize("dtype", WIDE)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_magnitudes(name, dtype):
    wide, narrow = WIDE[dtype], np.finfo(dtype)
    if np.finfo(wide).maxexp == narrow.maxexp:
        pytest.skip("no wider dtype on this machine")
    f, xs = NAMES[name], arguments(name, dtype)
    ours = derivatives(f, xs)
    right = derivatives(f, [x.astype(wide) if x.dtype.kind == "f" else x for x in xs])
    tried = 0
    for what, theirs in right.items():
        order = len(what.split()) // 2
        size = np.abs(theirs) + (NATURAL[name](order, *xs) if name in NATURAL and order else 0)
        fits = (size <= float(narrow.max) / 4) & (np.abs(right["value"]) <= float(narrow.max))
        off = np.abs(ours[what].astype(wide) - theirs)
        least = max(4 * float(narrow.smallest_normal), 1e-30)
        wrong = fits & ~(off <= EXACT[dtype] * float(narrow.eps) * size + least)
        at = [x[wrong][:4] if x.ndim else x for x in xs]
        assert not wrong.any(), f"{what} at {at}: {ours[what][wrong][:4]}, not {theirs[wrong][:4]}"
        tried += fits.sum()
    assert tried


REDUCTIONS = {
    op.__name__: op
    for op in OWN
    if getattr(op, "family", "") == "reduction"
    or op.__name__ in ("softmax", "log_softmax", "cumprod", "ptp", "norm", "nanstd", "nanprod")
}


def reduced(f, params, x, v):
    """The value, the gradient of <u, f>, and its Hessian times v."""
    z = f(x, **params)
    u = np.cos(np.arange(z.size)).reshape(z.shape).astype(x.dtype)
    loss = lambda x: (f(x, **params) * u).sum()
    return value(z), value(mg.grad(loss)(x)), value(mg.hvp(loss, (x,), (v,))[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_magnitudes_of_reductions(name, dtype):
    wide, narrow, f = WIDE[dtype], np.finfo(dtype), REDUCTIONS[name]
    if np.finfo(wide).maxexp == narrow.maxexp:
        pytest.skip("no wider dtype on this machine")
    scales = [1e-30, 1e-22, 1e-16, 1e-6, 1.0, 1e4, 1e10, 1e18, 1e30]
    scales += [1e-200, 1e-160, 1e160, 1e200] * (dtype is np.float64)
    for args, params in f.samples(Draw(0)):
        if len(args) > 1 or not args[0].size:
            continue
        for scale in scales:
            x = (args[0] * scale).astype(dtype)
            v = np.sin(1 + np.arange(x.size)).reshape(x.shape).astype(dtype)
            ours = reduced(f, params, x, v)
            right = reduced(f, params, x.astype(wide), v.astype(wide))
            if (np.abs(right[0]) > float(narrow.max) / 8).any():
                continue
            units = [np.abs(right[0]), 1, 1 / scale]  # of what is added up, and cancels
            for a, b, unit in zip(ours, right, units, strict=True):
                size = np.abs(b) + unit
                fits = np.isfinite(b) & (size < float(narrow.max) / 8)
                fits &= size > float(narrow.smallest_normal) / float(narrow.eps)
                np.testing.assert_array_less(
                    np.where(fits, np.abs(a.astype(wide) - b), 0),
                    200 * float(narrow.eps) * size + 1e-300,
                    err_msg=f"{params}, scaled by {scale}",
                )
