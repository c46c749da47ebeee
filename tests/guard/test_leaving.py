"""Nothing leaves the graph silently: what makes arrays and numbers of a live tensor, and where."""

import array
import copy
import ctypes
import math
import operator
import pickle
import re
import statistics
import struct
import warnings

import numpy as np
import pytest

import minigrad as mg
from minigrad.guard.errors import GraphWarning
from tests.helpers import leaf

X = np.array([0.5, 2.0])


def told(error):
    """The texts of an error and of those that it came from."""
    return f"{error}\n" + (told(error.__cause__) if error.__cause__ else "")


def into(write):
    """A function that writes the element(s) of a tensor into an array, and sums the squares up."""

    def written(x):
        out = np.zeros(2)
        write(out, x)
        return (out**2).sum() + x.sum()

    return written


ARRAYS = {
    "array": lambda x: np.array(x),
    "a list": lambda x: np.array([x[0], 1.0]).sum(),
    "nested": lambda x: np.array([[x, x], [x, x]]).sum(),
    "of objects": lambda x: np.array([x[0], x[1]], dtype=object).sum(),
    "asarray": lambda x: np.asarray(x, dtype=np.float32).sum(),
    "a scalar type": lambda x: np.float64(x[0]),
    "mean": lambda x: np.mean([x[0] ** 2, x[1]]),
    "stack of a nested list": lambda x: np.stack([[x[0], x[1]]]).sum(),
    "exp of a list": lambda x: np.exp([x[0], x[1]]).sum(),
    "mg.exp of a nested list": lambda x: mg.exp([[x[0], x[1]]]).sum(),
    "mg.tensor of a list": lambda x: mg.tensor([x[0], x[1]]).sum(),
    "dot": lambda x: np.eye(2).dot(x).sum(),
    "full": lambda x: np.full(3, x[0]).sum(),
    "pad": lambda x: np.pad(np.ones(2), 1, constant_values=x[0]).sum(),
    "vectorize": lambda x: np.vectorize(lambda v: v * v)(x).sum(),
    "as_strided": lambda x: np.lib.stride_tricks.as_strided(x, (2, 2), (8, 0)).sum(),
    "random": lambda x: np.random.default_rng(0).normal(x[0], x[1]),
    "masked": lambda x: np.ma.masked_array(x, [True, False]).sum(),
    "arange": lambda x: np.arange(0, x[1]).sum(),
    "an index": lambda x: np.ones(3)[x[0]],
    "initial": lambda x: np.sum(np.ones(3), initial=x[0]),
    "interp": lambda x: np.interp([-1.0], [0.0, 1.0], [0.0, 1.0], left=x[0]).sum(),
}
WRITES = {
    "an element": """
def f(x):
    out = np.zeros(2)
    out[0] = x[0]
    return out.sum()""",
    "the same, added": """
def f(x):
    out = np.zeros(2)
    out[0] += x[0]
    return out.sum()""",
    "a slice": """
def f(x):
    out = np.zeros((2, 2))
    out[:, 1] = x
    return out.sum()""",
    "the diagonal": """
def f(x):
    out = np.zeros((2, 2))
    np.fill_diagonal(out, x)
    return out.sum()""",
    "an array of Python's": """
def f(x):
    out = array.array("d", [0.0])
    out[0] = x[0]
    return out[0]""",
}
NUMBERS = {
    "float": lambda x: float(x[0]) * x,
    "int": lambda x: int(x[1]) * x,
    "complex": lambda x: abs(complex(x[0])),
    "math": lambda x: math.exp(x[0]) * x[1],
    "floor": lambda x: math.floor(x[0]),
    "trunc": lambda x: math.trunc(x[0]),
    "several": lambda x: math.hypot(*x),
    "fsum": lambda x: math.fsum(x),
    "fmean": lambda x: statistics.fmean(x),
    "array.array": lambda x: array.array("d", x)[0],
    "ctypes": lambda x: ctypes.c_double(x[0]).value,
    "__setitem__": into(lambda out, x: out.__setitem__(0, x[0])),
    "fill": into(lambda out, x: out.fill(x[0])),
    "fromiter": lambda x: np.fromiter((v * v for v in x), float).sum(),
}
SAID = {
    "data": lambda x: x.data.sum(),
    "numpy": lambda x: x.numpy().sum(),
    "item": lambda x: x[0].item(),
    "tolist": lambda x: sum(x.tolist()),
    "detach": lambda x: float(x[0].detach()),
    "format": lambda x: len(f"{x[0]:.2f} {x} {x!r}"),
    "old format": lambda x: len("%.2f %d %s" % (x[0], x[1], x)),  # noqa: UP031
    "str.format": lambda x: len("{:.3g}".format(x[0])),  # noqa: UP032
    "truth": lambda x: 1.0 if x[0] else 2.0,
    "comparison": lambda x: (x > 1).sum() + (x[0] == x[1]) + (0.5 in x),
    "argmax": lambda x: np.argmax(x),
    "max": lambda x: max(x) > 1,
}


@pytest.mark.parametrize("name", ARRAYS)
def test_no_array(name):
    """Neither in a transform nor elsewhere."""
    f = ARRAYS[name]
    for run in (mg.grad(f), lambda x: f(leaf(x))):
        with pytest.raises((TypeError, ValueError)) as error:
            run(X)
        assert re.search("would become an array|no list of tensors", told(error.value))


@pytest.mark.parametrize("name", WRITES)
def test_no_element_of_an_array(name):
    names = {"np": np, "array": array}
    exec(compile(WRITES[name], "their.py", "exec"), names)
    for run in (mg.grad(names["f"]), lambda x: names["f"](leaf(x))):
        with pytest.raises((TypeError, ValueError)) as error:
            run(X)
        assert "their.py, line " in told(error.value)
        assert "t.data" in told(error.value)


TRANSFORMS = {
    "grad": lambda f: mg.grad(f)(X),
    "vjp": lambda f: mg.vjp(f, X),
    "jvp": lambda f: mg.jvp(f, (X,), (X,)),
    "jacobian": lambda f: mg.jacobian(f)(X),
    "hessian": lambda f: mg.hessian(f)(X),
    "without recording": lambda f: mg.no_grad()(mg.grad(f))(X),
    "captured": lambda f: mg.grad(lambda y: f(leaf(X)) * y)(2.0),
    "checkpoint": lambda f: mg.checkpoint(f)(leaf(X)),
    "scan": lambda f: mg.scan(lambda h, x: (h + f(x), None), 0.0, leaf([X, X]), checkpoint=1),
}


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_no_number_inside_a_transform(name, transform):
    with pytest.raises((TypeError, ValueError)) as error:
        transform(NUMBERS[name])
    assert "becomes a number" in told(error.value)
    assert "t.item()" in told(error.value)
    assert f"{__file__}, line " in told(error.value)


CONSTANT = ("floor", "trunc")
FOLLOWED = {name for name in NUMBERS if name not in ("complex", "fmean", "array.array", "ctypes")}


@pytest.mark.parametrize("name", [name for name in NUMBERS if name not in CONSTANT])
def test_a_comparison_follows_the_number_or_says_why_it_does_not(name):
    """What is not followed is held against central differences: it is wrong either way."""
    f = NUMBERS[name]
    forward = lambda p: np.sum(f(p["x"]))
    report = mg.compare_backward(forward, lambda p: {"x": 7 * p["x"]}, {"x": X})
    said = "\n".join(report.remarks)
    assert not report.ok
    assert "manual is wrong" in report.worst.note
    if name in FOLLOWED:
        assert not said
    else:
        assert "becomes a Python number" in said
        assert f"{__file__}, line " in said


@pytest.mark.parametrize("name", CONSTANT)
def test_a_comparison_of_what_is_constant_is_refused(name):
    forward = lambda p: np.sum(NUMBERS[name](p["x"]))
    with pytest.raises(ValueError, match="the loss has no graph"):
        mg.compare_backward(forward, lambda p: {"x": 7 * p["x"]}, {"x": X})


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_elsewhere_is_worth_a_warning(name):
    """At the user's line, also where a library makes the number."""
    f, t = NUMBERS[name], leaf(X)
    with pytest.warns(GraphWarning, match="becomes a number") as caught:
        f(t)
    assert {w.filename for w in caught} == {__file__}
    with mg.no_grad():  # deliberate
        f(t)
    f(t.detach())


def test_the_warning_comes_once_a_line():
    t = leaf(X)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            float(t[0])
            float(t[1])
    assert len(caught) == 2


def test_no_number_inside_a_transform_without_recording_is_deliberate():
    def f(x):
        with mg.no_grad():
            seen.append(float(x[0]))
        return x.sum()

    seen = []
    assert mg.grad(f)(X).tolist() == [1, 1]
    assert seen == [0.5]


@pytest.mark.parametrize("f", SAID.values(), ids=SAID)
def test_what_says_so_is_silent(f):
    """In a transform and elsewhere; with the gradient 0 that was asked for."""
    f(leaf(X))
    assert mg.grad(lambda x: f(x) + 0 * x.sum())(X).tolist() == [0, 0]


def test_a_constant_becomes_what_is_wanted():
    t = mg.tensor(X)
    assert np.array([t, t]).tolist() == [[0.5, 2], [0.5, 2]]
    assert np.mean([t[0], t[1]]) == 1.25
    assert float(t[0]) == math.sqrt(t[0] ** 2) == struct.unpack("d", struct.pack("d", t[0]))[0]
    out = np.zeros(2)
    out[0], out[1:] = t[0], t[1]
    assert out.tolist() == [0.5, 2]


def test_what_python_makes_of_numbers_is_differentiated():
    for name, f, slope in (
        ("sum", lambda x: sum([v * v for v in x]), [1, 4]),
        ("prod", lambda x: math.prod([x[0], x[1], x[1]]), [4, 2]),
        ("max, min", lambda x: max(x) + min(x), [1, 1]),
        ("sorted", lambda x: sorted([x[1], x[0]])[0] * 3, [3, 0]),
        ("median", lambda x: statistics.median([x[0], x[1]]), [0.5, 0.5]),
        ("fromiter", lambda x: np.fromiter([x[0], x[1]], object).sum(), [1, 1]),
    ):
        assert mg.grad(f)(X).tolist() == slope, name


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: range(x[0]), r"no whole number; write int\(t\.item\(\)\)"),
        (lambda x: [1, 2][x[0]], r"no whole number; write int\(t\.item\(\)\)"),
        (lambda x: np.sum(np.ones(2), axis=x[0]), r"no whole number; write int\(t\.item\(\)\)"),
        (lambda x: statistics.mean(x), r"no fraction; write np\.mean\(np\.stack\(list\)\)"),
        (lambda x: statistics.stdev([*x]), "no fraction; write"),
        (lambda x: np.from_dlpack(x), "would become an array"),
    ],
)
def test_what_asks_for_something_else(call, message):
    for run in (call, mg.grad(call)):
        with pytest.raises(TypeError, match=message):
            run(leaf(X))


def test_a_constant_is_handed_on():
    t = mg.tensor(X)
    assert np.from_dlpack(t).tolist() == X.tolist()
    assert [*range(mg.tensor(2))] == [0, 1]


def test_the_error_says_what_to_write_instead_of_numpys_function():
    t = leaf(X)
    for call, instead in (
        (lambda: np.full(2, t[0]), r"instead of np\.full: np\.broadcast_to\(t, shape\)"),
        (lambda: np.fill_diagonal(np.eye(2), t), r"instead of np\.fill_diagonal: x\.at"),
        (lambda: np.vectorize(abs)(t), r"instead of np\.vectorize: the function on"),
        (
            lambda: np.histogram(t),
            r"^numpy\.histogram has no derivative.*; instead: x\.at\[i\]\.add",
        ),
        (lambda: np.frompyfunc(abs, 1, 1)(t), r"^abs \(vectorized\) has no derivative.*mg\.define"),
        (lambda: np.array(leaf(X, name="w")), r"^tensor 'w', through which"),
    ):
        with pytest.raises(TypeError, match=instead) as error:
            call()
        assert len(str(error.value)) < 600


# ---- copies --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda t: copy.deepcopy({"t": [t]})["t"][0]]
)
def test_a_copy_made_in_a_transform_belongs_to_it(again):
    """Elsewhere copies drop the graph; here the derivative by what was copied would be lost."""
    f = lambda x: (again(x) * again(x * 2)).sum()
    assert mg.grad(f)(X).tolist() == [2, 8]
    assert mg.hessian(f)(X).tolist() == [[4, 0], [0, 4]]


def held():
    m = mg.nn.Module()
    m.w = leaf(X)
    return m


@pytest.mark.parametrize(
    "leave",
    [
        lambda x: pickle.loads(pickle.dumps(x)),
        lambda x: mg.tensor(x),
        lambda x: mg.tensor(x, requires_grad=True),
        lambda x: setattr(t := mg.tensor(X), "data", x) or t,
        lambda x: (m := held()).load_state_dict({"w": x}) and m.w,
    ],
)
def test_what_is_made_anew_from_a_tensor_in_a_transform(leave):
    with pytest.raises((TypeError, ValueError), match=r"would become an array(.|\n)*t\.data"):
        mg.grad(lambda x: (leave(x) * x).sum())(X)
    assert mg.grad(lambda x: (leave(x.detach()) * x).sum())(X).tolist() == X.tolist()


def test_new_data_may_be_computed_elsewhere():
    p = leaf(X)
    p.data = p - 0.5
    assert p.tolist() == mg.tensor(p).tolist() == [0, 1.5]
    with pytest.warns(GraphWarning, match=r"copied into a leaf.*np\.copy.*detach"):
        mg.tensor(p * 2, requires_grad=True)


# ---- x -= y --------------------------------------------------------------------------------------

UPDATES = {
    "+=": operator.iadd, "-=": operator.isub, "*=": operator.imul, "/=": operator.itruediv,
    "**=": operator.ipow, "%=": operator.imod, "@=": operator.imatmul,
}  # fmt: skip


@pytest.mark.parametrize("sign", UPDATES)
def test_a_leaf_is_not_moved_by_rebinding_its_name(sign):
    words = rf"'p' requires.*write p\.data {re.escape(sign)} y.*\n.*{__file__}, "
    p = leaf(X, name="p")
    with mg.no_grad(), pytest.raises(TypeError, match=words):
        UPDATES[sign](p, X)
    p.grad = X
    with pytest.raises(TypeError, match=words):
        UPDATES[sign](p, X)


def test_the_update_loop_of_tutorials():
    p = leaf(X)
    (p**2).sum().backward()
    with mg.no_grad(), pytest.raises(TypeError, match=r"t\.data -= y"):
        p -= 0.1 * p.grad
    with pytest.raises(TypeError, match=r"t\.data \*= y"):
        p *= 0.5
    p.data -= 0.1 * p.grad
    np.testing.assert_allclose(p.data, 0.8 * X)


@pytest.mark.parametrize("sign", UPDATES)
def test_rebinding_elsewhere(sign):
    """Of constants, results and leaves that are recorded; and of leaves of a transform."""
    update, op = UPDATES[sign], getattr(operator, UPDATES[sign].__name__[1:])
    for t in (mg.tensor(X), leaf(X) * 1, leaf(X)):
        z = update(t, X)
        assert z is not t
        assert z.tolist() == op(X, X).tolist()
        assert z.requires_grad == t.requires_grad
    with mg.no_grad():
        assert update(mg.tensor(X), X).tolist() == op(X, X).tolist()
    slopes = [mg.grad(lambda x, f=f: f(x, X + x).sum())(X).tolist() for f in (update, op)]
    assert slopes[0] == slopes[1]
    with mg.no_grad():
        assert mg.grad(lambda x: update(x, X).sum())(X).tolist() == (
            mg.grad(lambda x: op(x, X).sum())(X).tolist()
        )
