"""The law of magnitudes: what a wide dtype says of numbers from 1e-30 to 1e30, a narrow one says.

Every elementwise function of the registry, its value and its first and second derivatives, in
float16, float32 and float64, of both signs: where they can be represented they are finite, and
what the next wider dtype computes of the same numbers. So nothing overflows, vanishes or cancels on
the way, as in `z + s * (1 - z)` for the slope of silu, which was 0 from 1e8 on.
"""

import numpy as np
import pytest

import minigrad as mg
from minigrad.core.primitive import Primitive
from minigrad.core.tensor import OPS
from minigrad.testing import Draw

WIDE = {np.float16: np.float64, np.float32: np.float64, np.float64: np.longdouble}
NAMES = {
    p.name: p
    for p in dict.fromkeys(OPS.values())
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


def derivatives(f, xs):
    """The value, and first and second derivatives by each real argument and pair of them."""
    real = [k for k, x in enumerate(xs) if x.dtype.kind == "f"]
    found = {"value": f(*xs)}
    for j in real:
        slope = mg.elementwise_grad(f, j)
        found[f"by {j}"] = slope(*xs)
        for k in real[j:]:
            found[f"by {j} and {k}"] = mg.elementwise_grad(slope, k)(*xs)
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
