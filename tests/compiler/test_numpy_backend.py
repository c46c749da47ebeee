"""Programs as Python that calls NumPy: the numbers of `Program.run`, in arrays of the caller's."""

import threading

import numpy as np
import pytest

import minigrad as mg
from minigrad.compiler.numpy.execute import Executable
from minigrad.compiler.program import (
    Carry,
    Collect,
    Function,
    Loop,
    Op,
    Program,
    Row,
    Section,
    Value,
    View,
)
from minigrad.compiler.tracing.record import Note
from minigrad.core.primitive import Case, Primitive
from minigrad.core.tensor import OPS
from minigrad.testing import Draw
from tests.compiler.random_ir import random_program

PRIMITIVES = {p.name: p for p in OPS.values() if isinstance(p, Primitive)}
BOUND = {"sigmoid": 4, "silu": 4}  # units in the last place; what is not here has the same bits


def one_operation(primitive, case, dtype=None):
    """Return the program of one call, and its inputs; None if it takes no array."""
    arrays, args = [], []
    for a in case.args:
        if isinstance(a, np.ndarray):
            a = a.astype(dtype) if dtype and a.dtype.kind == "f" else a
            arrays.append(a)
            args.append(View(Value(a.shape, a.dtype)))
        else:
            args.append(a)
    taken = iter(arrays)
    result = primitive.forward(
        *[next(taken) if isinstance(a, View) else a for a in args], **case.params
    )
    several = isinstance(result, (tuple, list))
    results = [np.asarray(r) for r in (result if several else (result,))]
    outs = tuple([Value(r.shape, r.dtype) for r in results])
    op = Op(primitive, tuple(args), case.params, outs, several)
    inputs = [a.value for a in args if isinstance(a, View)]
    return Program([Section(inputs, [op], [View(v) for v in outs])]), arrays


CASES = [
    pytest.param(primitive, case, id=f"{name}-{k}")
    for name, primitive in PRIMITIVES.items()
    for k, case in enumerate(primitive.samples(Draw(0)))
    if any(isinstance(a, np.ndarray) for a in case.args)
]


@pytest.mark.parametrize(("primitive", "case"), CASES)
def test_every_primitive_runs(primitive, case):
    for dtype in (None, np.float32):
        runs_as_it_should(primitive, case, dtype)


def runs_as_it_should(primitive, case, dtype):
    program, arrays = one_operation(primitive, case, dtype)
    before = [a.copy() for a in arrays]
    (want,) = program.run(arrays)
    executable = Executable(program)
    workspace = executable.take()
    for _ in range(2):
        got = executable.run(0, arrays, workspace)
        for a, b in zip(got, want, strict=True):
            if primitive.name in BOUND:
                np.testing.assert_array_max_ulp(a, b, BOUND[primitive.name])
            else:
                np.testing.assert_array_equal(a, b, strict=True)
            a[...] = 0  # ours to write into: no other result, no input, no later call sees it
        for a, b in zip(arrays, before, strict=True):
            np.testing.assert_array_equal(a, b)
        executable.give_back(workspace)
        workspace = executable.take()


def test_primitives_were_found():
    assert len(CASES) > 300


def agree(got, want, dtype):
    for a, b in zip(got, want, strict=True):
        if isinstance(b, float):
            assert a == b
            continue
        assert isinstance(a, np.ndarray)
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        size = max(1.0, float(np.abs(b).max(initial=0)))
        np.testing.assert_allclose(a, b, rtol=0, atol=100 * np.finfo(dtype).eps * size)


@pytest.mark.parametrize("seed", range(100))
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_random_programs(seed):
    """Also twice in one workspace, the backward section twice, and with results written into."""
    dtype = np.float32 if seed % 2 else np.float64
    program, inputs = random_program(seed, dtype)
    want = program.run(*inputs)
    executable = Executable(program)
    workspace = executable.take()
    for k in [0, *[1] * (2 * len(inputs) - 2), *range(len(inputs))]:
        before = [x.copy() for x in inputs[k]]
        got = executable.run(k, inputs[k], workspace)
        agree(got, want[k], dtype)
        for a in got:
            if isinstance(a, np.ndarray):
                a[...] = 7
        for a, b in zip(inputs[k], before, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("seed", range(0, 40, 2))
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_two_workspaces_do_not_know_of_each_other(seed):
    """Forward in one, forward in another on other numbers, then backward in both."""
    program, inputs = random_program(seed)
    others = [[0.5 * x if x.dtype.kind == "f" else x for x in xs] for xs in inputs]
    executable = Executable(program)
    spaces = executable.take(), executable.take()
    given = inputs, others
    wants = [program.run(*xs) for xs in given]
    for k in range(len(program.sections)):
        for xs, space, want in zip(given, spaces, wants, strict=True):
            agree(executable.run(k, xs[k], space), want[k], float)


@pytest.mark.parametrize("seed", range(0, 20, 2))
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_strided_and_shared_inputs(seed):
    program, inputs = random_program(seed)
    strided = [[np.repeat(x, 2, -1)[..., ::2] if x.ndim else x for x in xs] for xs in inputs]
    want = program.run(*inputs)
    executable = Executable(program)
    workspace = executable.take()
    for k, xs in enumerate(strided):
        agree(executable.run(k, xs, workspace), want[k], float)


def test_one_array_as_two_inputs():
    x, y = Value((3,), np.dtype(float)), Value((3,), np.dtype(float))
    s, t = Value((3,), np.dtype(float)), Value((3,), np.dtype(float))
    ops = [
        Op(mg.add, (View(x), View(y)), {}, (s,)),
        Op(mg.multiply, (View(s), View(x)), {}, (t,)),
    ]
    executable = Executable(Program([Section([x, y], ops, [View(t), View(x), View(t), View(y)])]))
    a = np.arange(3.0)
    one, two, three, four = executable.run(0, [a, a], executable.take())
    for got, want in ((one, 2 * a * a), (two, a), (three, 2 * a * a), (four, a)):
        np.testing.assert_array_equal(got, want)
        got[...] = 5  # not the same array as any other
    np.testing.assert_array_equal(a, np.arange(3.0))


def test_a_residual_may_be_a_view_of_what_was_returned():
    """Whoever writes into the output does not change what the backward section reads."""
    x, y, z, g = [Value((3,), np.dtype(float)) for _ in range(4)]
    wide, dx = Value((1, 3), np.dtype(float)), Value((1, 3), np.dtype(float))
    ops = [
        Op(Function("own", lambda x: x + 1), (View(x),), {}, (y,)),
        Op(mg.expand_dims, (View(y),), {"axis": 0}, (wide,)),
        Op(mg.negative, (View(y),), {}, (z,)),
    ]
    backward = [Op(mg.multiply, (View(g), View(wide)), {}, (dx,))]
    program = Program([Section([x], ops, [View(y)]), Section([g], backward, [View(dx)])])
    executable = Executable(program)
    workspace = executable.take()
    (got,) = executable.run(0, [np.zeros(3)], workspace)
    got[...] = 7
    np.testing.assert_array_equal(executable.run(1, [np.ones(3)], workspace)[0], np.ones((1, 3)))


def test_a_view_of_what_is_carried_is_read_after_the_next_was_made():
    first, x = Value((2, 2), np.dtype(float)), Value((3, 2, 2), np.dtype(float))
    h, turned, new, read = [Value((2, 2), np.dtype(float)) for _ in range(4)]
    stack = Value((3, 2, 2), np.dtype(float))
    body = [
        Op(Function("turned", lambda h: h[::-1]), (View(h),), {}, (turned,)),
        Op(mg.add, (View(h), View(x, Row(1, 0))), {}, (new,)),
        Op(mg.multiply, (View(turned), 1.0), {}, (read,)),
    ]
    loop = Loop(3, body, [Carry(h, View(first), new)], [Collect(stack, read, Row(1, 0))])
    program = Program([Section([first, x], [loop], [View(stack)])])
    arrays = [np.arange(4.0).reshape(2, 2), np.ones((3, 2, 2))]
    executable = Executable(program)
    (got,) = executable.run(0, arrays, executable.take())
    np.testing.assert_array_equal(got, program.run(arrays)[0][0])


@pytest.mark.parametrize("view", [mg.swapaxes, mg.reshape])
def test_what_is_carried_may_be_a_view_of_what_is_carried(view):
    """And what is read after the last round is not what a round after it would begin with."""
    params = {"axis1": 0, "axis2": 1} if view is mg.swapaxes else {"shape": (2, 2)}
    kind = np.dtype(float)
    a, b, x = [Value((2, 2), kind) for _ in range(3)]
    one, two, new_one, new_two, seen, last = [Value((2, 2), kind) for _ in range(6)]
    body = [
        Op(view, (View(two),), params, (new_one,)),
        Op(mg.matmul, (View(one), View(x)), {}, (new_two,)),
        Op(view, (View(one),), params, (seen,)),
    ]
    for order in (1, -1):
        carries = [Carry(one, View(a), new_one), Carry(two, View(b), new_two)][::order]
        loop = Loop(3, body, carries, [], [(last, seen)])
        end = Value((2, 2), kind)
        loop.lasts.append((end, new_one))
        program = Program([Section([a, b, x], [loop], [View(last), View(end)])])
        program.check()
        arrays = list(np.random.default_rng(0).normal(size=(3, 2, 2)))
        executable = Executable(program)
        got = executable.run(0, arrays, executable.take())
        agree(got, program.run(arrays)[0], float)


def test_threads_take_workspaces_of_their_own():
    program, inputs = random_program(3)
    want = program.run(*inputs)
    executable = Executable(program)
    failures = []

    def work():
        try:
            for _ in range(50):
                workspace = executable.take()
                for k, xs in enumerate(inputs):
                    agree(executable.run(k, xs, workspace), want[k], float)
                executable.give_back(workspace)
        except Exception as e:
            failures.append(e)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures


def test_a_function_of_the_users_is_what_it_is_not_what_it_is_called():
    x, y = Value((3,), np.dtype(float)), Value((3,), np.dtype(float))
    for name in ("sigmoid", "copy", "sum", "matmul", "concatenate", "reshape", "contiguous"):
        op = Op(Function(name, lambda x: x + 41), (View(x),), {}, (y,))
        executable = Executable(Program([Section([x], [op], [View(y)])]))
        np.testing.assert_array_equal(
            executable.run(0, [np.ones(3)], executable.take()), [[42] * 3]
        )


def test_inputs_may_be_called_what_numpy_calls_its_functions():
    names = [
        "exp",
        "empty",
        "copyto",
        "range",
        "lambda",
        "forward",
        "3x",
        "a.b",
        "own",
        "zip",
        "del",
    ]
    inputs = [Value((2,), np.dtype(float), name) for name in names]
    outs = [Value((2,), np.dtype(float), name) for name in ("add", "divide", "negative", "rows")]
    total = Value((2,), np.dtype(float), "concatenate")
    ops = [Op(mg.sigmoid, (View(x),), {}, (y,)) for x, y in zip(inputs, outs, strict=False)]
    ops += [Op(mg.add, (View(outs[0]), View(inputs[4])), {}, (total,))]
    program = Program([Section(inputs, ops, [View(total), *map(View, outs)])])
    arrays = [np.array([k, -k]) / 2 for k in range(len(names))]
    executable = Executable(program)
    agree(executable.run(0, arrays, executable.take()), program.run(arrays)[0], float)


def test_effects_keep_their_order():
    seen = []
    note = [
        Function(f"note_{k}", lambda x, k=k: seen.append(k) or x + k, effect=True) for k in range(3)
    ]
    x = Value((), np.dtype(float))
    outs = [Value((), np.dtype(float)) for _ in note]
    ops = [Op(n, (View(x),), {}, (v,)) for n, v in zip(note, outs, strict=True)]
    executable = Executable(Program([Section([x], ops, [View(outs[2]), View(outs[0])])]))
    assert executable.run(0, [np.array(1.0)], executable.take()) == [3, 1]
    assert seen == [0, 1, 2]


def test_an_error_in_the_middle_leaves_the_next_call_right():
    def refuse(x):
        if x[0] > 1:
            raise ValueError("too large")
        return x + 1

    x, y, z = [Value((2,), np.dtype(float)) for _ in range(3)]
    note = Note("encoder", "/home/me/model.py", 12)
    ops = [
        Op(mg.tanh, (View(x),), {}, (y,), note=note),
        Op(Function("refuse", refuse), (View(x),), {}, (z,), note=note),
    ]
    executable = Executable(Program([Section([x], ops, [View(y), View(z)])]))
    workspace = executable.take()
    with pytest.raises(ValueError, match="too large") as caught:
        executable.run(0, [np.array([2.0, 0.0])], workspace)
    (said,) = caught.value.__notes__
    assert said.startswith("in a compiled program: v2 = ")
    assert said.endswith("# encoder, model.py:12")
    got = executable.run(0, [np.array([0.5, 0.0])], workspace)
    np.testing.assert_array_equal(got[1], [1.5, 1.0])


def test_sigmoid_is_right_where_it_is_small():
    """Its logarithm is as good as eager's; below the least normal number it is 0."""
    for dtype, low in ((np.float32, -87), (np.float64, -708)):
        x = np.linspace(low, -low, 1001).astype(dtype)
        program, arrays = one_operation(mg.sigmoid, Case.of(x))
        executable = Executable(program)
        (got,) = executable.run(0, arrays, executable.take())
        np.testing.assert_array_max_ulp(got, mg.sigmoid.forward(x), 4)
        ends = np.array([4, -np.inf, np.inf, np.nan, *[2] * 996, 0]) * low  # no warning
        (got,) = executable.run(0, [ends.astype(dtype)], executable.take())
        np.testing.assert_array_equal(got[:4], [0, 1, 0, np.nan])


def test_residuals_are_forgotten():
    """A workspace that was given back keeps no input of a call."""
    x, g = Value((3,), np.dtype(float)), Value((3,), np.dtype(float))
    y, dx = Value((3,), np.dtype(float)), Value((3,), np.dtype(float))
    forward = Section([x], [Op(mg.tanh, (View(x),), {}, (y,))], [View(y)])
    backward = Section([g], [Op(mg.multiply, (View(g), View(x)), {}, (dx,))], [View(dx)])
    executable = Executable(Program([forward, backward]))
    workspace = executable.take()
    executable.run(0, [np.ones(3)], workspace)
    executable.give_back(workspace)
    with pytest.raises(TypeError):
        executable.run(1, [np.ones(3)], workspace)


def test_the_source_and_the_report_are_readable():
    x, w = Value((4, 3), np.dtype(float), "x"), Value((2, 3), np.dtype(float), "weight")
    z, y = Value((4, 2), np.dtype(float), "z"), Value((4, 2), np.dtype(float), "y")
    ops = [
        Op(mg.matmul, (View(x), View(w, turned=True)), {}, (z,)),
        Op(mg.tanh, (View(z),), {}, (y,)),
    ]
    executable = Executable(Program([Section([x, w], ops, [View(y)])]))
    assert executable.source.splitlines() == [
        "def workspace():",
        "    z = aligned((4, 2), float64)",
        "",
        "    def program(x, weight):",
        "        matmul(x, weight.T, z)",
        "        y = empty((4, 2), float64)",
        "        tanh(z, y)",
        "        return [y]",
        "",
        "    return [program], None",
    ]
    assert "1 buffers, 64 bytes" in executable.report()
    assert "2 operations are NumPy's, and write into buffers" in executable.report()
    assert "0 are called as they are" in executable.report()


def test_a_program_keeps_no_arrays_that_only_its_source_was_written_with():
    def f(x):
        y = np.exp(x)
        return y.reshape(500, 200)[1:].T * 2.0

    fast, x = mg.compile(f, backend="numpy"), np.ones((1000, 100))
    for _ in range(2):
        fast(x)
    executable = next(p.executable for found in fast._programs.values() for p in found)
    assert executable.straight.once
    held = [a for a in vars(executable.straight).values() if isinstance(a, dict)]
    assert not any(isinstance(a, np.ndarray) and a.size > 100 for d in held for a in d.values())
