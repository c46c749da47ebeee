"""Kernels: the numbers of `Program.run`, from a source that depends on the structure alone."""

import os
import pathlib
import subprocess
import sys
import threading

import numpy as np
import pytest

import minigrad as mg
from minigrad.compiler.numpy.execute import Executable
from minigrad.compiler.program import Function, Loop, Op, Program, Section, Value, View
from tests.compiler.interpreted import interpreted
from tests.compiler.lstm import lstm_step
from tests.compiler.random_ir import random_program
from tests.compiler.test_numpy_backend import PRIMITIVES, Draw, one_operation
from tests.compiler.unrolling import unrolled

pytest.importorskip("numba", reason="numba is not installed: there are no kernels")
from minigrad.compiler.numba import disk, kernels
from minigrad.compiler.numba.elements import ANY, COMPARISONS, FLOATING, LOGICAL
from minigrad.compiler.numba.kernels import kernels_of, with_kernels


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    old = os.environ.get("MINIGRAD_CACHE")
    folder = os.environ["MINIGRAD_CACHE"] = str(tmp_path_factory.mktemp("kernels"))
    yield pathlib.Path(folder)
    del os.environ["MINIGRAD_CACHE"]
    if old is not None:
        os.environ["MINIGRAD_CACHE"] = old


@pytest.fixture
def by_python(monkeypatch):
    """Kernels run by Python, every access checked, without compilation."""
    monkeypatch.setattr(disk, "compiled", interpreted)


def agree(got, want, bound):
    for a, b in zip(got, want, strict=True):
        if isinstance(b, float):
            assert a == b
            continue
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        size = max(1.0, float(np.abs(b).max(initial=0)))
        np.testing.assert_allclose(a, b, rtol=0, atol=bound * size)


# ---- by Python: is the source right? ------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_every_primitive_that_kernels_know(by_python):
    known = set()
    for name, primitive in PRIMITIVES.items():
        for case in primitive.samples(Draw(0)):
            for dtype in (np.float32, np.float64):
                if not any(isinstance(a, np.ndarray) for a in case.args):
                    continue
                program, arrays = one_operation(primitive, case, dtype)
                replaced = with_kernels(program)
                replaced.check()
                if kernels_of(replaced):
                    known.add(name)
                    (got,), (want,) = replaced.run(arrays), program.run(arrays)
                    agree(got, want, 50 * np.finfo(dtype).eps)
    assert known >= {
        "add", "matmul", "softmax", "logsumexp", "tanh", "max", "mean", "where", "concatenate",
        "stack", "getitem", "reshape", "broadcast_to", "transpose", "power", "gelu", "split",
    } - {"where", "concatenate", "stack"}  # fmt: skip


@pytest.mark.parametrize("seed", range(160))
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_random_programs(seed, by_python):
    dtype = np.float32 if seed % 2 else np.float64
    program, inputs = random_program(seed, dtype)
    replaced = with_kernels(program)
    replaced.check()
    want = program.run(*inputs)
    for _ in range(2):  # also in a workspace that has been used
        for got, expected in zip(replaced.run(*inputs), want, strict=True):
            agree(got, expected, 100 * np.finfo(dtype).eps)


def test_the_source_depends_on_the_structure_alone():
    sources = set()
    for steps, batch, inputs, hidden in ((5, 3, 4, 7), (50, 8, 12, 31), (3, 2, 5, 11)):
        program, _ = lstm_step(steps, batch, inputs, hidden)
        (kernel,) = kernels_of(with_kernels(program))
        sources.add(kernel.source)
    assert len(sources) == 1


def test_an_lstm_step_is_one_kernel():
    program, _ = lstm_step(4, 3, 2, 5)
    replaced = with_kernels(program)
    assert len(replaced.items) == len(kernels_of(replaced)) == 1


def test_what_kernels_do_not_know_stays_in_python(by_python):
    x, y, z, s = [Value((4,), np.dtype(float)) for _ in range(4)]
    sort = Function("sort", np.sort)
    items = [
        Op(mg.tanh, (View(x),), {}, (y,)),
        Op(sort, (View(y),), {}, (s,)),
        Op(mg.exp, (View(s),), {}, (z,)),
    ]
    program = Program([Section([x], items, [View(z)])])
    replaced = with_kernels(program)
    assert [item.name for item in replaced.items] == ["kernel", "sort", "kernel"]
    array = np.array([1.0, -1.0, 3.0, 0.5])
    np.testing.assert_allclose(replaced.run([array])[0][0], np.exp(np.sort(np.tanh(array))))


# ---- compiled -----------------------------------------------------------------------------------

SPECIAL = [0.0, -0.0, np.nan, np.inf, -np.inf, 1e-42, -1e-42, 1.0, -1.0, 3e38, -3e38, 88.8, -88.0]
LOOSE = {np.power, mg.ops.special.gelu.key, mg.ops.elementwise.silu.key}


def elementwise(dtype):
    """Return a program of all elementwise functions that kernels know, and what they are given."""
    rng = np.random.default_rng(1)
    numbers = np.concatenate([SPECIAL, rng.normal(size=20), 5 * rng.normal(size=20)])
    if dtype is np.float64:
        numbers = np.concatenate([numbers, [709.0, 710.0, -745.0, 1e308, 5e-324]])
    x = numbers.astype(dtype)
    xs = [x, rng.permutation(x), rng.permutation(x)]
    flags = [x > 0, xs[1] > 0, xs[2] > 0]
    values, bools = [[Value(a.shape, a.dtype) for a in arrays] for arrays in (xs, flags)]
    items = []
    for tables, args, arrays in (
        ((ANY, FLOATING, COMPARISONS), values, xs), ((LOGICAL,), bools, flags)
    ):  # fmt: skip
        for key in dict.fromkeys([key for table in tables for key in table]):
            does = PRIMITIVES_BY_KEY.get(key) or Function(getattr(key, "__name__", "?"), key)
            text = next(table[key] for table in tables if key in table)
            count = 1 + max([k for k in range(3) if f"{{{k}}}" in text], default=0)
            params = {"dtype": dtype} if key is mg.ops.shape.converted.key else {}
            with np.errstate(all="ignore"):
                out = np.asarray(does.forward(*arrays[:count], **params))
            outs = (Value(out.shape, out.dtype),)
            items.append(Op(does, tuple(map(View, args[:count])), params, outs))
    for exponent in (2, 3, 0.5, -1, -2):
        items.append(Op(mg.power, (View(values[0]), exponent), {}, (Value(x.shape, x.dtype),)))
    chosen = Value(x.shape, x.dtype)
    args = View(bools[0]), View(values[1]), 0.0
    items.append(Op(mg.ops.elementwise.selected, args, {}, (chosen,)))
    outputs = [View(op.out) for op in items]
    return Program([Section([*values, *bools], items, outputs)]), [*xs, *flags], items


PRIMITIVES_BY_KEY = {p.key: p for p in PRIMITIVES.values()}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_elementwise_functions_of_all_sorts_of_numbers(dtype):
    """NaN, infinities, zeros and their signs, denormals, huge: as in NumPy."""
    program, arrays, items = elementwise(dtype)
    replaced = with_kernels(program)
    assert len(kernels_of(replaced)) == len(replaced.items) == 1
    (got,), (want,) = replaced.run(arrays), program.run(arrays)
    numbers = np.finfo(dtype)
    for a, b, op in zip(got, want, items, strict=True):
        assert a.dtype == b.dtype, op.name
        if b.dtype == bool:
            np.testing.assert_array_equal(a, b, err_msg=op.name)
            continue
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b), err_msg=op.name)
        known = ~np.isnan(b)
        np.testing.assert_array_equal(np.isinf(a), np.isinf(b), err_msg=op.name)
        zeros = known & (b == 0)
        np.testing.assert_array_equal(a[zeros], b[zeros], err_msg=op.name)
        # The last digits of what is around 1, and less of what is computed by a sum with 1.
        np.testing.assert_allclose(
            a[known], b[known], rtol=8 * numbers.eps, atol=numbers.tiny, err_msg=op.name
        )


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_an_lstm_step(dtype):
    for sizes in ((6, 3, 5, 7), (9, 4, 3, 33)):
        program, arrays = lstm_step(*sizes, dtype=dtype)
        replaced = with_kernels(program)
        (want,) = program.run(arrays)
        for _ in range(2):
            (got,) = replaced.run(arrays)
            agree(got, want, 20 * np.finfo(dtype).eps)


def test_what_is_not_in_one_piece_or_may_not_be_written():
    program, arrays = lstm_step(6, 3, 5, 7)
    (want,) = program.run(arrays)
    replaced = with_kernels(program)
    others = [a.copy(order="F") for a in arrays]
    for a in others:
        a.flags.writeable = False
    agree(replaced.run(others)[0], want, 1e-5)
    spaced = [np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim else a for a in arrays]
    agree(replaced.run(spaced)[0], want, 1e-5)


def test_threads():
    program, arrays = lstm_step(6, 3, 5, 7)
    replaced = with_kernels(program)
    given = [[a * s for a in arrays] for s in (0.5, 1.0, 1.5, 2.0)]
    wants = [program.run(a)[0] for a in given]
    failures = []

    def work(k):
        try:
            for _ in range(30):
                agree(replaced.run(given[k])[0], wants[k], 1e-4)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures


def test_results_belong_to_the_caller():
    program, arrays = lstm_step(6, 3, 5, 7)
    replaced = with_kernels(program)
    (first,) = replaced.run(arrays)
    kept = [a.copy() for a in first]
    replaced.run([2 * a for a in arrays])
    for a, b in zip(first, kept, strict=True):
        np.testing.assert_array_equal(a, b)


def test_kernels_are_vectorised():
    """The gates of an LSTM: many arrays in one loop, of which LLVM must know that none overlap."""
    program, _ = lstm_step(6, 3, 5, 7)
    (kernel,) = kernels_of(with_kernels(program))
    (code,) = kernel.compiled.inspect_asm().values()
    lines = [line.split("\t") for line in code.splitlines()]
    operations = {parts[1] for parts in lines if len(parts) > 1}
    packed = {"vmulps", "mulps", "fmul.4s", "fmul\tv"}
    if not any(m in code for m in ("ymm", "zmm", "xmm", ".4s")):
        pytest.skip("a processor whose vector instructions are not known to this test")
    assert operations & packed or ".4s" in code
    products = [parts[2] for parts in lines if len(parts) > 2 and parts[1] == "vmulps"]
    if "vmulps" in operations:
        wide = [p for p in products if "ymm" in p or "zmm" in p]
        assert len(wide) > 20


# ---- the cache on disk --------------------------------------------------------------------------

SCRIPT = """
import sys, time
from tests.compiler.test_kernels import kernels_of, small, with_kernels
program, arrays = small()
replaced = with_kernels(program)
(got,), (want,) = replaced.run(arrays), program.run(arrays)
assert abs(got[0] - want[0]).max() < 1e-12
print(sum(kernels_of(replaced)[0].compiled.stats.cache_hits.values()))
"""


def small():
    x, w, y, z = [Value(s, np.dtype(float)) for s in ((4, 3), (3, 2), (4, 2), (4, 2))]
    items = [Op(mg.matmul, (View(x), View(w)), {}, (y,)), Op(mg.tanh, (View(y),), {}, (z,))]
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=v.shape) for v in (x, w)]
    return Program([Section([x, w], items, [View(z)])]), arrays


def run_in_another_process(folder):
    root = pathlib.Path(__file__).parents[2]
    env = os.environ | {"MINIGRAD_CACHE": str(folder), "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return int(done.stdout)


def test_another_process_finds_what_was_compiled(cache):
    program, arrays = small()
    with_kernels(program).run(arrays)  # which fills the folder, unless a test before it did
    assert run_in_another_process(cache) == 1


def test_damaged_files_are_compiled_again(tmp_path, cache):
    program, arrays = small()
    with_kernels(program).run(arrays)
    for path in cache.rglob("*"):
        if path.is_file():
            copy = tmp_path / path.relative_to(cache)
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(b"damaged" if path.suffix in (".nbi", ".py") else path.read_bytes())
    assert run_in_another_process(tmp_path) == 0
    assert run_in_another_process(tmp_path) == 1


def test_a_folder_that_cannot_be_written(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    assert run_in_another_process(blocked / "below") == 0


def test_a_kernel_is_compiled_once():
    program, _ = lstm_step(6, 3, 5, 7)
    one, other = [kernels_of(with_kernels(program))[0] for _ in range(2)]
    assert one.compiled is other.compiled


def test_numba_missing_is_said(monkeypatch):
    monkeypatch.setattr(kernels.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"minigrad\[jit\]"):
        with_kernels(Program([]))


def test_loops_with_something_unknown_stay_in_python(by_python):
    x, y = Value((3, 2), np.dtype(float)), Value((2,), np.dtype(float))
    last = Value((2,), np.dtype(float))
    from minigrad.compiler.program import Row

    body = [Op(Function("sort", np.sort), (View(x, Row(1, 0)),), {}, (y,))]
    loop = Loop(3, body, lasts=[(last, y)])
    replaced = with_kernels(Program([Section([x], [loop], [View(last)])]))
    assert replaced.items == [loop]


# ---- the approximations -------------------------------------------------------------------------


def over_array(function, dtype):
    import numba

    from minigrad.compiler.numba.native import at, nopython, pointer, put

    @nopython
    def inner(p, q, n):
        for k in range(n):
            put(q, k, function(at(p, k)))

    @numba.njit
    def outer(x, y):
        inner(pointer(x, 0, dtype), pointer(y, 0, dtype), x.size)

    def call(x):
        y = np.empty_like(x)
        outer(x, y)
        return y

    return call


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["exp", "tanh", "sigmoid", "log"])
def test_approximations_are_as_exact_as_stated(name, dtype):
    from minigrad.compiler.numba.approximations import BOUNDS, FLOAT32, FLOAT64

    numbers = np.finfo(dtype)
    if np.finfo(np.longdouble).nmant <= numbers.nmant:
        pytest.skip("long doubles are no longer than doubles here: nothing to compare with")
    functions = FLOAT32 if dtype is np.float32 else FLOAT64
    end = 100 if dtype is np.float32 else 745
    parts = [np.linspace(-end, end, 200_001), np.linspace(-20, 20, 200_001)]
    parts += [s * np.geomspace(1e-30, 1e30, 100_001) for s in (1, -1)]
    x = np.concatenate(parts).astype(dtype)
    x = np.abs(x[x != 0]) if name == "log" else x
    wide = x.astype(np.longdouble)
    exact = {
        "exp": np.exp,
        "tanh": np.tanh,
        "log": np.log,
        "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
    }
    with np.errstate(all="ignore"):
        want = exact[name](wide)
        got = over_array(getattr(functions, name), dtype)(x)
        normal = (np.abs(want) > numbers.tiny) & (np.abs(want) < numbers.max)
        unit = np.spacing(np.abs(want[normal]).astype(dtype))
    error = np.abs(got[normal] - want[normal]) / unit
    assert error.max() < BOUNDS[name]
    denormal = np.abs(want) <= numbers.tiny
    tiny = np.abs(got[denormal] - want[denormal]).max(initial=0)
    assert tiny <= 2 * numbers.smallest_subnormal
    assert np.isinf(got[np.abs(want) > np.longdouble(numbers.max) * 1.001]).all()


# ---- as a back end ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(0, 60, 3))
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_as_a_back_end(seed, by_python):
    """Also with results written into, and with a second backward pass in the same workspace."""
    program, inputs = random_program(seed)
    want = program.run(*inputs)
    executable = Executable(program, "numba")
    workspace = executable.take()
    for k in [0, *[1] * (2 * len(inputs) - 2), *range(len(inputs))]:
        got = executable.run(k, inputs[k], workspace)
        agree(got, want[k], 100 * np.finfo(float).eps)
        for a in got:
            if isinstance(a, np.ndarray):
                a[...] = 7


def test_long_programs_are_several_kernels(monkeypatch, by_python):
    monkeypatch.setattr(kernels, "_LONGEST", 5)
    program, arrays = lstm_step(3, 2, 4, 5, "f8")
    flat = unrolled(program)
    replaced = with_kernels(flat)
    replaced.check()
    assert len(kernels_of(replaced)) > len(flat.items) // 5
    agree(replaced.run(arrays)[0], program.run(arrays)[0], 1e-13)


def test_kernels_are_reported_and_readable():
    x, y = Value((3,), np.dtype(float), "x"), Value((3,), np.dtype(float), "y")
    program = Program([Section([x], [Op(mg.tanh, (View(x),), {}, (y,))], [View(y)])])
    executable = Executable(program, "numba")
    assert "a kernel of 1 operations and 0 loops, as 1 groups and 0 products" in executable.report()
    assert "y0 = tanh_f8(x0)" in executable.source


def test_flags_are_counted_over_several_axes(by_python):
    def f(x):
        return (mg.stack([x, 2 * x, 3 * x]) > 1).sum(axis=(0, 1))

    fast = mg.compile(f, backend="numba")
    x = np.arange(8.0).reshape(4, 2)
    for _ in range(3):
        got = fast(x)
        assert got.dtype == f(x).dtype == np.int64
        np.testing.assert_array_equal(got, f(x))


def test_a_constant_that_is_changed_in_place_is_read_again(by_python):
    table, x = np.arange(3.0), np.ones(3)
    fast = mg.compile(lambda x: np.tanh(x * table), backend="numba")
    for k in range(4):
        table[0] = k
        np.testing.assert_allclose(fast(x), np.tanh(x * table))


def test_no_kernels_where_numba_must_not_compile(monkeypatch):
    program, _ = lstm_step(3, 2, 4, 5)
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert with_kernels(program) is program


def test_a_user_without_a_home(monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("MINIGRAD_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(disk.pathlib.Path, "home", home)
    assert disk._from_disk("kernel_none", "", []) is None
