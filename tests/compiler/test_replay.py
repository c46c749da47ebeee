"""The replay law: what is recorded at one draw of numbers is right at all others.

Every operation of the registry, at every sample: its outputs, and the gradients of a weighted sum
of them by all its floating inputs, recorded once and run on other numbers: of other signs, in
another order, with ties and zeros.
"""

import warnings

import numpy as np
import pytest

from minigrad.compiler.tracing.record import Recorder, recorded
from minigrad.core import tape, tree
from minigrad.core.tensor import Tensor, value_of
from minigrad.testing import Draw, operations

DRAWS = [Draw(1)]
CASES = [
    pytest.param(op, k, id=f"{name}-{k}")
    for name, op in operations().items()
    for k in range(len(op.samples(Draw(0))))
]
PASSED_OVER = {
    "compress": "its condition decides the shape",
    "extract": "its condition decides the shape",
}
"""What refuses an argument that is computed, so that this stays a constant here."""


def opened(op, case):
    """The operation as a function of all its arrays, and these."""
    leaves, structure = tree.flatten(case.args)
    places = [
        k for k, x in enumerate(leaves)
        if isinstance(x, np.ndarray) and not (op.__name__ in PASSED_OVER and x.dtype.kind != "f")
    ]  # fmt: skip

    def f(*xs):
        full = list(leaves)
        for k, x in zip(places, xs, strict=True):
            full[k] = x
        return tree.flatten(op(*tree.unflatten(structure, full), **case.params))[0]

    return f, [leaves[k] for k in places]


def others(op, k, xs):
    """Arrays of the same shapes: those of other draws, with ties, zeros, signs turned."""
    for draw in DRAWS:
        case = op.samples(draw)[k]
        ys = opened(op, case)[1]
        if [y.shape for y in ys] == [x.shape for x in xs]:
            yield ys
    floats = [x.dtype.kind == "f" for x in xs]
    for change in (
        lambda x: -x,
        lambda x: np.round(x.ravel()[::-1].reshape(x.shape)),
        np.zeros_like,
    ):
        yield [change(x) if yes else x for x, yes in zip(xs, floats, strict=True)]


def weights(ys):
    return [np.cos(1 + np.arange(y.size)).reshape(y.shape) for y in ys]


def eager(f, xs):
    """The outputs, and the cotangents of the floating inputs, for these weights."""
    leaves = [Tensor(np.array(x), x.dtype.kind == "f") for x in xs]
    ys = [y if isinstance(y, Tensor) else Tensor(np.asarray(y)) for y in f(*leaves)]
    live = [y for y in ys if y.live]
    path, _ = tape.between(None, live)
    seeds = [w.astype(y.dtype) for w, y in zip(weights(live), live, strict=True)]
    found = tape.pull(path, live, seeds, leaves)
    return [value_of(y) for y in ys], {k: found[t] for k, t in enumerate(leaves) if t in found}


@pytest.mark.parametrize(("op", "k"), CASES)
def test_replay(op, k):
    f, xs = opened(op, op.samples(Draw(0))[k])
    replays(f, xs, others(op, k, xs))


def replays(f, xs, draws):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        recording = recorded(f, xs, [x.dtype.kind == "f" for x in xs], backward=True)
        recording.program.check()
        live = [out.live for out in recording.outputs]
        for ys in draws:
            try:
                wanted, gradients = eager(f, ys)
            except (np.linalg.LinAlgError, ValueError, ZeroDivisionError):
                continue  # which this operation refuses
            seeds = weights([y for y, yes in zip(wanted, live, strict=True) if yes])
            seeds = [s.astype(v.dtype) for s, v in
                     zip(seeds, recording.program.sections[1].inputs, strict=True)]  # fmt: skip
            try:
                outs, backs = recording.program.run(ys, seeds)
            except np.linalg.LinAlgError as error:
                if "when this was compiled" not in str(error):
                    raise
                continue
            for a, b in zip(outs, wanted, strict=True):
                same(a, b)
            for source, g in zip(recording.sources, backs, strict=True):
                same(g, gradients.get(source, np.zeros_like(g)))
            assert {*gradients} <= {*recording.sources}


def same(a, b):
    a, b = np.asarray(a), np.asarray(b)
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("name", ["relu", "max", "sort"])
def test_it_is_red_where_values_are_baked_in(name, monkeypatch):
    """Without the comparisons that the recorder is shown, masks and orders become constants."""
    monkeypatch.setattr(Recorder, "constant", lambda *args: NotImplemented)
    op = operations()[name]
    f, xs = opened(op, op.samples(Draw(0))[1])
    with pytest.raises(AssertionError):
        replays(f, xs, others(op, 1, xs))
