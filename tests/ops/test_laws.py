"""Every law, on every operation, on every sample: a new primitive is tested by existing."""

import numpy as np
import pytest

import minigrad as mg
from minigrad.core import tree
from minigrad.core.tensor import value_of
from minigrad.testing import LAWS, Draw, operations

CASES = [
    pytest.param(op, case, id=f"{name}-{k}")
    for name, op in operations().items()
    for k, case in enumerate(op.samples(Draw(0)))
]


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(("op", "case"), CASES)
def test_law(law, op, case):
    LAWS[law](op, case)


def swapped(x):
    """Copy what a sample holds with its arrays in the other byte order."""
    if isinstance(x, np.ndarray):
        return x.astype(x.dtype.newbyteorder())
    if isinstance(x, dict):
        return {k: swapped(v) for k, v in x.items()}
    return type(x)(map(swapped, x)) if type(x) in (tuple, list) else x


def opened(op, args, params):
    """The operation as a function of its real arrays alone, to a list, and these arrays."""
    leaves, structure = tree.flatten(args)
    real = [k for k, x in enumerate(leaves) if isinstance(x, np.ndarray) and x.dtype.kind == "f"]

    def f(*xs):
        full = list(leaves)
        for k, x in zip(real, xs, strict=True):
            full[k] = x
        return tree.flatten(op(*tree.unflatten(structure, full), **params))[0]

    return f, [leaves[k] for k in real]


def derivatives(op, args, params):
    """List the values of an operation at its real arrays, and all its gradients and tangents."""
    f, xs = opened(op, args, params)
    zs, pullback = mg.vjp(f, *xs)
    gradients = pullback([np.ones_like(z) for z in zs])
    tangents = mg.jvp(f, tuple(xs), tuple(np.ones_like(x) for x in xs))[1]
    return [np.asarray(value_of(t)) for t in (*zs, *gradients, *tangents)]


@pytest.mark.parametrize(("op", "case"), CASES)
def test_byte_order_is_no_property_of_numbers(op, case):
    """The same bits come of arrays in the other byte order, and in the machine's own."""
    ours = derivatives(op, case.args, case.params)
    theirs = derivatives(op, swapped(case.args), swapped(case.params))
    for a, b in zip(ours, theirs, strict=True):
        assert b.dtype.isnative
        np.testing.assert_array_equal(a, b, strict=True)


PASSED_OVER = {
    "conv_weight": "0 of the padding times NaN is NaN, and its slope 0",
    "irfft": "the imaginary part of a real frequency is not used, but NaN of it is",
    "real_signal": "the imaginary part of a real frequency is not used, but NaN of it is",
}


@pytest.mark.parametrize(("op", "case"), CASES)
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_nan_in_the_result_is_in_the_gradient(op, case):
    """Not 0 everywhere, as if the NaN that came out had come from nothing that went in."""
    f, xs = opened(op, case.args, case.params)
    before = [np.isnan(value_of(z)).any() for z in f(*xs)]
    for k, x in enumerate(xs):
        if op.__name__ in PASSED_OVER or not x.size:
            continue
        spoilt = [y.copy() for y in xs]
        spoilt[k].flat[0] = np.nan
        leaves = [mg.tensor(y, requires_grad=True) for y in spoilt]
        try:
            zs = f(*leaves)
        except np.linalg.LinAlgError:  # LAPACK sees to it
            continue
        zs = [z for z, was in zip(zs, before, strict=True) if np.isnan(z.data).any() and not was]
        if any(z.requires_grad for z in zs):
            weights = [np.cos(np.arange(z.size)).reshape(z.shape) for z in zs]
            sum((z * w).sum() for z, w in zip(zs, weights, strict=True)).backward()
            g = leaves[k].grad
            assert g.flat[0] != 0 or np.isnan(g).any()
