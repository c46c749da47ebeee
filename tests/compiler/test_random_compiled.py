"""Random programs, compiled: what is returned, and its gradients, are those of the eager program.

Each is called on several draws, other than the one it was recorded on: other signs, other order,
ties. `python -m tests.compiler.test_random_compiled 1000` tries that many;
with MINIGRAD_LONG set, on both back ends.
"""

import importlib.util
import os
import pickle
import sys
import time

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given, settings

import minigrad as mg
from tests.compiler.random_functions import (
    BY_DATA,
    COMPARED,
    compiled_programs,
    recurrences,
    recurrent,
)
from tests.helpers import in_threads
from tests.random_graphs import ROOMY

BOUND = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-10}
HAS_NUMBA = importlib.util.find_spec("numba") is not None
NUMBA = pytest.mark.skipif(not HAS_NUMBA, reason="numba is not installed: no kernels to test")
LONG = pytest.mark.skipif(
    not (HAS_NUMBA and os.environ.get("MINIGRAD_LONG")),
    reason="kernels of random programs take minutes to compile: set MINIGRAD_LONG, with numba",
)
each_backend = pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=LONG)])
kernels_too = pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=NUMBA)])


def leaves(tree):
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, list | tuple):
        return [leaf for part in tree for leaf in leaves(part)]
    return [tree]


def shown(tree):
    """The containers, with the shape and the dtype of every leaf."""
    if isinstance(tree, dict):
        return {key: shown(part) for key, part in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(shown(part) for part in tree)
    return None if tree is None else (np.shape(tree), str(np.asarray(number(tree)).dtype))


def number(x):
    return x.data if isinstance(x, mg.Tensor) else x


def agree(found, expected, scale=0.0):
    """Assert the same containers, shapes, dtypes, and numbers but for rounding."""
    assert shown(found) == shown(expected)
    for a, b in zip(leaves(found), leaves(expected), strict=True):
        if b is None:
            continue
        a, b = np.asarray(number(a)), np.asarray(number(b))
        if b.dtype.kind != "f":
            np.testing.assert_array_equal(a, b)
            continue
        finite = np.abs(b[np.isfinite(b)])
        size = max(float(finite.max()) if finite.size else 0.0, scale, 1e-30)
        np.testing.assert_allclose(a, b, rtol=0, atol=BOUND[b.dtype] * size, equal_nan=True)


def gradients(f, xs):
    ts = [mg.tensor(x, requires_grad=True) for x in xs]
    out = f(*ts)
    out["total"].backward()
    return out, [t.grad for t in ts]


def same_gradients(found, expected):
    scale = max((float(np.abs(g).max()) for g in expected if g is not None and g.size), default=0)
    agree(found, expected, scale)


def try_everything(program, backend, dtype, steps=None):
    fast = mg.compile(program, backend=backend)
    draws = [program.draws(seed, dtype, steps) for seed in range(4)]
    for xs in (*draws, draws[1]):
        kept = [x.copy() for x in xs]
        agree(fast(*xs), program(*xs))
        for x, before in zip(xs, kept, strict=True):
            np.testing.assert_array_equal(x, before)
    for xs in (draws[2], draws[0], draws[1]):
        (value, grads), (expected, by_eager) = gradients(fast, xs), gradients(program, xs)
        agree(value, expected)
        same_gradients(grads, by_eager)

    def loss(*xs):
        return program(*xs)["total"]

    every = tuple(range(len(program.inputs)))
    step, eager = (
        mg.compile(mg.value_and_grad(loss, every), backend=backend),
        mg.value_and_grad(loss, every),
    )
    for xs in draws[:3]:
        (value, grads), (expected, by_eager) = step(*xs), eager(*xs)
        agree(value, expected)
        same_gradients(list(grads), list(by_eager))
    xs = draws[3]  # under a transform of the caller's
    same_gradients(
        list(mg.grad(lambda *xs: fast(*xs)["total"], every)(*xs)), list(mg.grad(loss, every)(*xs))
    )


EXAMPLES = {"numpy": 5, "numba": 1}
DTYPES = st.sampled_from([np.float64, np.float32])


@each_backend
def test_random_programs(backend):
    @settings(ROOMY, max_examples=EXAMPLES[backend])
    @given(compiled_programs(), DTYPES)
    def tried(program, dtype):
        try_everything(program, backend, dtype)

    tried()


@each_backend
def test_random_cells(backend):
    """Loops over time: several carries, rows read in any order, masks, one loop after another."""

    @settings(ROOMY, max_examples=EXAMPLES[backend])
    @given(recurrences(), DTYPES)
    def tried(program, dtype):
        try_everything(program, backend, dtype)

    tried()


@each_backend
def test_ties(backend):
    @settings(ROOMY, max_examples=EXAMPLES[backend])
    @given(compiled_programs(ties=True))
    def tried(program):
        try_everything(program, backend, np.float64, steps=2)

    tried()


@each_backend
def test_empty_arrays(backend):
    @settings(ROOMY, max_examples=EXAMPLES[backend])
    @given(compiled_programs(dimensions=(0, 1, 2)))
    def tried(program):
        assume(any(0 in shape for shape in program.inputs) or () in program.inputs)
        try_everything(program, backend, np.float64)

    tried()


def views(program, seed):
    """Inputs that are views: turned around, every second, transposed, broadcast, of one buffer."""
    rng = np.random.default_rng(seed)
    buffer = rng.uniform(-1, 1, 4096)
    made = []
    for k, shape in enumerate(program.inputs):
        size, way = int(np.prod(shape)), (seed + k) % 5
        start = 3 * k  # what belongs to one input overlaps what belongs to the next
        if way == 0:
            x = buffer[start : start + size].reshape(shape)
        elif way == 1:
            x = buffer[start : start + 2 * size : 2][::-1].reshape(shape)
        elif way == 2:
            x = buffer[start : start + size].reshape(shape[::-1]).T
        elif way == 3:
            x = np.broadcast_to(buffer[start], shape)
        else:
            x = np.lib.stride_tricks.as_strided(buffer[start:], shape, (8,) * len(shape))
        made.append(x)
    return made


@each_backend
def test_views_and_aliases(backend):
    """Of one signature, but other strides, and memory that several inputs share."""

    @settings(ROOMY, max_examples=EXAMPLES[backend])
    @given(compiled_programs())
    def tried(program):
        fast = mg.compile(program, backend=backend)
        agree(fast(*program.draws(0)), program(*program.draws(0)))
        for seed in range(5):
            xs = views(program, seed)
            agree(fast(*xs), program(*xs))
        first = program.draws(0)
        same = [next(x for x in first if x.shape == y.shape) for y in first]
        agree(fast(*same), program(*same))
        t = [mg.tensor(x, requires_grad=True) for x in first]
        tied = [next(a for a in t if a.shape == b.shape) for b in t]
        grads = []
        for f in (program, fast):
            f(*tied)["total"].backward()
            grads.append([a.grad for a in t])
            for a in t:
                a.grad = None
        same_gradients(grads[1], grads[0])

    tried()


def shared(leaf, xs):
    """Whether it is an input, as it is in eager programs too that return one."""
    return any(np.may_share_memory(leaf, x) for x in xs)


@each_backend
def test_arrays_that_change(backend):
    """Inputs are changed in place between the calls, and results are written into by the caller."""

    @settings(ROOMY, max_examples=EXAMPLES[backend])
    @given(compiled_programs())
    def tried(program):
        fast = mg.compile(program, backend=backend)
        xs = program.draws(0)
        kept = []
        for round_ in range(4):
            expected = program(*[x.copy() for x in xs])
            found = fast(*xs)
            agree(found, expected)
            before = [x.copy() for x in xs]
            if round_ % 2:
                for leaf in leaves(found):
                    if isinstance(leaf, np.ndarray) and not shared(leaf, xs):
                        leaf[...] = 7
            else:
                kept.append((found, [np.array(number(v)) for v in leaves(found)]))
            for x, b in zip(xs, before, strict=True):
                np.testing.assert_array_equal(x, b)
            for x, new in zip(xs, program.draws(round_ + 1), strict=True):
                x[...] = new
        for found, then in kept:
            for leaf, value in zip(leaves(found), then, strict=True):
                if not shared(np.asarray(number(leaf)), xs):
                    np.testing.assert_array_equal(number(leaf), value)

    tried()


@each_backend
def test_two_forwards_before_a_backward(backend):
    @settings(ROOMY, max_examples=EXAMPLES[backend])
    @given(compiled_programs())
    def tried(program):
        fast = mg.compile(program, backend=backend)
        runs = {}
        for f in (program, fast):
            ts = [[mg.tensor(x, requires_grad=True) for x in program.draws(s)] for s in range(3)]
            outs = [f(*t)["total"] for t in ts]
            for k in (1, 0, 2):
                outs[k].backward()
            outs[0].backward()  # walked again: its gradients are twice those
            runs[f] = [[t.grad for t in tensors] for tensors in ts]
        for found, expected in zip(runs[fast], runs[program], strict=True):
            same_gradients(found, expected)

    tried()


@each_backend
def test_threads(backend):
    """One compiled function in four threads at once, forward and backward."""

    @settings(ROOMY, max_examples=3 if backend == "numpy" else 1)
    @given(compiled_programs())
    def tried(program):
        fast = mg.compile(program, backend=backend)
        draws = [program.draws(seed) for seed in range(4)]
        expected = [gradients(program, xs) for xs in draws]

        def work(k):
            return [gradients(fast, draws[(k + i) % 4]) for i in range(6)]

        for k, results in enumerate(in_threads(*[lambda k=k: work(k) for k in range(4)])):
            for i, (value, grads) in enumerate(results):
                agree(value, expected[(k + i) % 4][0])
                same_gradients(grads, expected[(k + i) % 4][1])

    tried()


@kernels_too
def test_an_exception_in_the_middle(backend):
    """What one call raises is what eager raises, and the next call is right."""

    def f(a, x):
        h = np.tanh(x @ a)
        return (mg.linalg.solve(a, h) ** 2).sum() + h.mean()

    rng = np.random.default_rng(0)
    good = [(rng.normal(size=(3, 3)), rng.normal(size=(3, 3))) for _ in range(3)]
    singular = (np.zeros((3, 3)), good[0][1])
    fast = mg.compile(f, backend=backend)
    for args in (good[0], singular, good[1], singular, good[2]):
        if args is singular:
            with pytest.raises(np.linalg.LinAlgError):
                f(*args)
            with pytest.raises(np.linalg.LinAlgError):
                fast(*args)
        else:
            agree(fast(*args), f(*args))
            (value, grads), (expected, by_eager) = (
                mg.value_and_grad(g, (0, 1))(*args) for g in (fast, f)
            )
            agree(value, expected)
            same_gradients(list(grads), list(by_eager))


def test_an_error_of_the_user_is_the_users():
    def f(x):
        if x.shape[0] == 2:
            raise ValueError("two rows are not enough")
        return np.tanh(x).sum()

    fast = mg.compile(f, backend="numpy")
    for rows in (3, 2, 3, 2, 4):
        x = np.ones((rows, 2))
        if rows == 2:
            with pytest.raises(ValueError, match="two rows are not enough"):
                fast(x)
        else:
            agree(fast(x), f(x))


def test_one_value_in_two_places_of_the_result():
    def f(x):
        y = np.exp(x)
        return {"total": y.sum(), "first": y, "second": y}

    fast, found = mg.compile(f, backend="numpy"), []
    for g in (f, fast, fast):
        x = mg.tensor(np.arange(3.0), requires_grad=True)
        out = g(x)
        (2 * out["first"] + 3 * out["second"]).sum().backward()
        found.append(x.grad)
    agree(found[1:], [found[0]] * 2)


def test_pickling_is_refused_clearly():
    fast = mg.compile(np.tanh, backend="numpy")
    fast(np.ones(3))
    with pytest.raises(TypeError, match=r"(?i)compile"):
        pickle.dumps(fast)


@each_backend
def test_special_values(backend):
    """NaN, infinities, zeros of both signs, tiny and huge numbers go through as they do eagerly."""
    odd = np.array(
        [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 1e-310, 1e300, -1e300, 0.5, 88.8]
    )
    smooth = {
        "exp": np.exp,
        "log1p": lambda x: np.log1p(x * x),
        "tanh": np.tanh,
        "sigmoid": mg.sigmoid,
        "softplus": mg.softplus,
        "gelu": mg.gelu,
        "sqrt": lambda x: np.sqrt(np.abs(x)),
        "divided": lambda x: x / (1 + np.abs(x)),
        "silu": mg.silu,
        "logsumexp": lambda x: mg.logsumexp(x[3:8]),
    }
    one = {name: f for name, f in BY_DATA.items() if name not in ("normed", "sort", "rounded")}
    every = [
        *smooth.values(),
        *one.values(),
        *(lambda x, f=f: f(x, x[::-1]) for f in COMPARED.values()),
    ]

    def f(x):
        return [g(x) for g in every]

    with np.errstate(all="ignore"):
        fast = mg.compile(f, backend=backend)
        for dtype in (np.float64, np.float32):
            fast(np.linspace(-1, 1, odd.size).astype(dtype))
            for x in (odd, odd[::-1], -odd):
                x = x.astype(dtype)
                for a, b, name in zip(fast(x), f(x), [*smooth, *one, *COMPARED], strict=True):
                    a, b = np.atleast_1d(number(a)), np.atleast_1d(number(b))
                    assert a.dtype == b.dtype, name
                    np.testing.assert_allclose(
                        a,
                        b,
                        rtol=1e-4 if dtype == np.float32 else 1e-9,
                        atol=1e-7 if dtype == np.float32 else 1e-14,
                        err_msg=name,
                    )


@each_backend
def test_lengths_of_loops(backend):
    """A loop of any length is right, those of lengths that come after the recording too."""

    def f(x):
        h = recurrent(x)
        return {"total": (h**2).sum(), "h": h}

    fast = mg.compile(f, backend=backend)
    rng = np.random.default_rng(0)
    for T in (1, 2, 3, 7, 20, 21, 2, 50):
        xs = [rng.normal(size=(T, 2, 3))]
        (value, grads), (expected, by_eager) = gradients(fast, xs), gradients(f, xs)
        agree(value, expected)
        same_gradients(grads, by_eager)


def test_huge_programs_are_bounded():
    """Thousands of operations that repeat nothing: right, or refused in words, in bounded time."""
    rng = np.random.default_rng(0)
    constants, kinds = rng.normal(size=2000), rng.integers(4, size=2000)
    steps = [np.tanh, np.sin, lambda x: x * 0.9, lambda x: x + 0.01]

    def f(x):
        for k, c in zip(kinds, constants, strict=True):
            x = steps[k](x) + 1e-3 * float(c)
        return x

    fast, x, start = mg.compile(f, backend="numpy"), rng.normal(size=3), time.perf_counter()
    words = ""
    try:
        found = [fast(x), fast(-x)]
    except (ValueError, TypeError, RuntimeError) as refused:
        words = str(refused)
    if words:
        assert "operations" in words or "scan" in words, words
    else:
        agree(found, [f(x), f(-x)])
    assert time.perf_counter() - start < 20


def test_draws_are_those_of_eager():
    """Dropout draws, call for call, what the same generators give eagerly, forward and back."""

    def run(compiled):
        mg.manual_seed(3)
        net = mg.nn.Sequential(
            mg.nn.Linear(4, 16), mg.nn.Dropout(0.5), mg.nn.Tanh(), mg.nn.Dropout(0.2, rng=1)
        )
        f = mg.compile(net, backend="numpy") if compiled else net
        results = []
        for seed in range(5):
            y = f(np.random.default_rng(seed).normal(size=(3, 4)).astype(np.float32))
            y.sum().backward()
            results += [y, *[p.grad.copy() for p in net.parameters()]]
            net.zero_grad()
        return results

    found = run(True)
    agree(found, run(False))
    assert not np.array_equal(number(found[0]) == 0, number(found[3]) == 0)


if __name__ == "__main__":
    EXAMPLES.update(numpy=int(sys.argv[1]), numba=int(sys.argv[1]) // 10)
    sys.exit(
        pytest.main(
            [
                __file__,
                "-q",
                "-x",
                "-k",
                "random or cells or ties or empty or views or change or forwards",
            ]
        )
    )
