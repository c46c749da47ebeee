"""Primitives that users write, outside the package, and the laws that they are held to."""

import copy
import functools
import inspect
import multiprocessing
import pickle

import numpy as np
import pytest

import minigrad as mg
from minigrad.core.primitive import Case, Primitive, parameters_of
from minigrad.core.tensor import OPS, value_of
from minigrad.ops.families import define, elementwise, general, linear, multilinear
from minigrad.testing import operations
from tests.ops import mutants

X = np.array([0.7, -0.4, 1.3])


@define(elementwise=[lambda g, z, x: g * (z + _sigmoid(x) * (1 - z))])
def swish(x):
    """x sigmoid(x), of Ramachandran et al. (2017)."""
    return x * _sigmoid(x)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


@define(
    multilinear=[lambda g, z, a, b: _cross(b, g), lambda g, z, a, b: _cross(g, a)],
    samples=lambda r: [Case.of(r(3), r(3)), Case.of(r(2, 3), r(2, 3))],
)
def own_cross(a, b):
    return _cross(a, b)


def _cross(a, b):
    """The vector product, in operations that work on Tensors."""
    i, j = np.array([1, 2, 0]), np.array([2, 0, 1])
    return a[..., i] * b[..., j] - a[..., j] * b[..., i]


@define(
    linear=[lambda g, z, x, times=2: g * times],
    samples=lambda r: [Case.of(r(3)), Case.of(r(2, 2), times=-1.5)],
)
def scaled(x, *, times=2):
    return x * times


@define(
    pulls=[lambda g, z, x, y: g[0] * y + g[1], lambda g, z, x, y: g[0] * x + g[1]],
    pushes=[lambda d, z, x, y: (d * y, d), lambda d, z, x, y: (d * x, d)],
    samples=lambda r: [Case.of(r(3), r(3))],
)
def product_and_sum(x, y):
    return x * y, x + y


@define(
    linear=lambda k, g, z, *xs: g[k] * (k + 1),
    samples=lambda r: [Case.of([r(2), r(2), r(2)])],
)
def weighted(*xs):
    return np.stack([x * (k + 1) for k, x in enumerate(xs)])


@define(
    reduction=lambda z, a, axis, scale=1.0: np.exp((a - z) / scale),
    samples=lambda r: [
        Case.of(r(2, 3)),
        Case.of(r(3), keepdims=False),
        Case.of(r(2, 3), axis=0, scale=0.5),
        Case.of(r(2, 3, 2), axis=(0, -1), keepdims=False),
        Case.of(r(2, 2), axis=None),
    ],
)
def smooth_maximum(a, *, axis=-1, scale=1.0, keepdims=True):
    """A reduction whose defaults are not those of NumPy's."""
    return scale * np.log(np.exp(a / scale).sum(axis=axis, keepdims=keepdims))


MINE = [swish, own_cross, scaled, product_and_sum, weighted, smooth_maximum]


@pytest.mark.parametrize("p", MINE, ids=str)
def test_own_primitives_pass_the_laws(p):
    mg.check_primitive(p)


def test_own_primitives_compute():
    x = mg.tensor(X, requires_grad=True)
    y = swish(x)
    y.sum().backward()
    s = 1 / (1 + np.exp(-X))
    np.testing.assert_allclose(x.grad, s + X * s * (1 - s))
    assert repr(y).endswith("op='swish')")
    assert swish.__doc__.startswith("x sigmoid(x)")
    a, b = product_and_sum(X, x)
    assert (a.tolist(), b.tolist()) == ((X * X).tolist(), (2 * X).tolist())
    assert scaled(x, times=3).tolist() == (3 * X).tolist()
    assert weighted([X, x]).tolist() == [X.tolist(), (2 * X).tolist()]


def test_the_constructors_work_outside_the_package():
    cube = elementwise(lambda x: x**3, lambda g, z, x: g * 3 * x * x, name="cube")
    samples = lambda r: [Case.of(r(2), r(2))]
    first = multilinear(lambda a, b: a * b, *[lambda g, z, a, b: g * b, lambda g, z, a, b: g * a],
                        name="times", samples=samples)  # fmt: skip
    doubled = linear(lambda a, b: a + b, *[lambda g, z, a, b: g] * 2, name="plus", samples=samples)
    root = general(
        lambda x: np.sqrt(x),
        pulls=[rule := lambda g, z, x: g / (2 * z)],
        pushes=[rule],
        name="root",
        samples=lambda r: [Case.of(r(2, domain=(1, 2)))],
    )
    for p in (cube, first, doubled, root):
        mg.check_primitive(p)


def test_a_reduction_takes_axis_and_keepdims_and_one_slope():
    def no_axis(a, *, keepdims=False):
        return a

    def total(a, *, axis=None, keepdims=False):
        return a.sum(axis=axis, keepdims=keepdims)

    def together(*arrays, axis=None, keepdims=False):
        return arrays[0]

    for f, slope in ((no_axis, abs), (total, [abs]), (together, abs)):
        with pytest.raises(ValueError, match=f"{f.__name__}: a reduction is given one slope"):
            define(reduction=slope)(f)
        assert f not in OPS


def test_a_primitive_is_named_after_its_key():
    def _hidden(x):
        return x

    samples = lambda r: [Case.of(r(2))]
    for key, name, called in ((None, None, "hidden"), (np.i0, None, "i0"), (np.i0, "mine", "mine")):
        p = linear(_hidden, lambda g, z, x: g, key=key, name=name, samples=samples)
        del OPS[p.key]
        assert (p.name, p.__name__, repr(p)) == (called, called, f"<primitive {called}>")
    p = define(linear=[lambda g, z, x: g])(_hidden)
    del OPS[_hidden]
    assert p.name == "_hidden"  # a user's function keeps the name that it is pickled under


def test_signatures_take_and_return_tensors():
    def parts(f):
        signature = inspect.signature(f)
        kinds = {k: p.annotation for k, p in signature.parameters.items()}
        return kinds | {"return": signature.return_annotation}

    assert parts(mg.var) == {
        "a": "ArrayLike", "axis": "Axis", "ddof": "float", "keepdims": "bool", "return": "Tensor"
    }  # fmt: skip
    assert parts(mg.sin) == {"x": "ArrayLike", "return": "Tensor"}
    assert parts(mg.maximum)["x2"] == parts(mg.linalg.inv)["a"] == "ArrayLike"
    assert parts(weighted)["xs"] == "Sequence[ArrayLike]"
    assert parts(mg.linalg.eigh)["return"] == "tuple[Tensor, Tensor]"


def test_names_do_not_clash():
    def tanh(x):
        return 0 * x

    mine = define(elementwise=[lambda g, z, x: 0 * g])(tanh)
    try:
        assert mine(X).tolist() == [0, 0, 0]
        np.testing.assert_array_equal(mg.tanh(X).data, np.tanh(X))
        np.testing.assert_array_equal(np.tanh(mg.tensor(X)).data, np.tanh(X))
    finally:
        del OPS[tanh]
    assert operations()["tanh"] is mg.tanh
    with pytest.raises(ValueError, match="tanh is defined already"):
        define(elementwise=[lambda g, z, x: g])(np.tanh)


def test_a_numpy_function_that_minigrad_lacks_can_be_defined():
    with pytest.raises(TypeError):
        np.unwrap(mg.tensor(X))
    unwrap = define(linear=[lambda g, z, p: g], samples=lambda r: [Case.of(r(3))], name="unwrap")
    assert np.unwrap not in OPS

    def unwrapped(p):
        return np.unwrap(p)

    p = unwrap(unwrapped)
    try:
        assert p(mg.tensor(X)).tolist() == X.tolist()
    finally:
        del OPS[unwrapped]


def test_parameters_are_those_that_inspect_reads():
    """The quick way, of functions alone, and the slow one, of the same functions decorated."""
    functions = [
        lambda: 0, lambda a: a, lambda a, b=1: a, lambda *arrays, axis=0: 0,
        lambda a, /, b, *, c: 0, lambda a, *rest, b, **more: 0, lambda *, b, c=2, **more: 0,
        lambda a, **more: a,
    ]  # fmt: skip
    for f in functions:
        decorated = functools.wraps(f)(lambda *args, **kwargs: None)
        assert parameters_of(f) == parameters_of(decorated)
    for p in operations().values():
        if isinstance(p, Primitive):
            assert (*inspect.signature(p).parameters,) == (*p.inputs, *p.options), p


def test_a_ufunc_of_three_inputs_can_be_defined():
    fused = np.frompyfunc(lambda x, y, z: x * y + z, 3, 1)
    rules = [lambda g, z, x, y, c: g * y, lambda g, z, x, y, c: g * x, lambda g, z, x, y, c: g]
    mine = define(elementwise=rules, name="fused")(fused)
    try:
        assert mine.inputs == ("x1", "x2", "x3")
        with pytest.raises(TypeError, match="missing the argument 'x3'"):
            mine(X, X)
    finally:
        del OPS[fused]


def test_pickle_and_copy():
    for p in [*MINE, mg.tanh, mg.sigmoid, mg.matmul, mg.stack]:
        assert pickle.loads(pickle.dumps(p)) is p
        assert copy.deepcopy(p) is p
    assert pickle.loads(pickle.dumps(swish(mg.tensor(X)))).tolist() == swish(X).tolist()


def test_a_primitive_travels_to_another_process():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(mg.sigmoid, (0.0,)).item() == 0.5


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({}, "give elementwise=.*got none"),
        ({"elementwise": [], "linear": []}, "got elementwise, linear"),
        ({"pulls": [None]}, "got pulls"),
        ({"elementwise": [None]}, "f takes x, y, and elementwise has 1 rule"),
        ({"pulls": [None, None], "pushes": [None]}, "pushes has 1 rule"),
        ({"reduction": abs}, "f: a reduction .* takes one input .* this takes x, y"),
        ({"reduction": abs, "pulls": [None, None]}, "got reduction, pulls"),
    ],
)
def test_define_refuses(rules, words):
    def f(x, y):
        return x

    with pytest.raises(ValueError, match=words):
        define(**rules)(f)
    assert f not in OPS


# ---- check_primitive ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "rules", "law"),
    [
        ("elementwise", [lambda g, z, x: g * x], "truth"),
        ("linear", [lambda g, z, x: 2 * g], "truth"),
        ("multilinear", [lambda g, z, x: g], "truth"),
        ("elementwise", [lambda g, z, x: g * np.asarray(2.0 * x)], "closure"),
        ("elementwise", [lambda g, z, x: g * 2.0 * value_of(x)], "second order"),
        ("elementwise", [lambda g, z, x: g * 2 * x.mistake], "truth"),
        ("elementwise", [lambda g, z: g], "truth"),
    ],
)
def test_check_primitive_names_the_law(family, rules, law):
    def squared(x):
        return x * x

    p = define(**{family: rules})(squared)
    try:
        with pytest.raises(AssertionError) as caught:
            mg.check_primitive(p, X)
    finally:
        del OPS[squared]
    assert f"squared: the law of {law} fails on sample 0, float64 (3,): " in str(caught.value)


def test_check_primitive_sees_a_pull_that_is_no_transpose():
    def squared(x, *, times=1.0):
        return times * x * x

    p = define(
        pulls=[lambda g, z, x, times=1.0: g * 2 * x],
        pushes=[lambda d, z, x, times=1.0: d * 2 * x * times],
    )(squared)
    try:
        mg.check_primitive(p, X, (X[:2],))
        with pytest.raises(
            AssertionError, match=r"law of adjointness fails on sample 1, float64 \(3,\), times=3.0"
        ):
            mg.check_primitive(p, X, Case.of(X, times=3.0))
    finally:
        del OPS[squared]


def test_check_primitive_wants_arrays():
    with pytest.raises(ValueError, match="no floating array in the sample"):
        mg.check_primitive(swish, 2.0)
    p = define(linear=[lambda g, z, x: g])(lambda x: x)
    try:
        with pytest.raises(ValueError, match="states no samples"):
            mg.check_primitive(p)
        mg.check_primitive(p, X.astype(np.float32), mg.tensor(X))
    finally:
        del OPS[p.key]


def test_the_mutation_sweep_reports_what_no_sample_sees(capsys):
    def blind(x, y):
        return x * y

    samples = [Case.of(X, 2.0), Case.of(np.zeros(0), np.zeros(0))]
    rules = [lambda g, z, x, y: g * y, lambda g, z, x, y: g * x]
    define(elementwise=rules, samples=lambda r: samples)(blind)
    try:
        assert mutants.main(["blind"]) == 1
        survived = [line for line in capsys.readouterr().out.splitlines() if "survived" in line]
        assert [line.partition("blind, ")[2] for line in survived] == [
            f"rule 1 {change}" for change in ("negated", "times 1.01", "dropped")
        ]
        samples[1:] = [Case.of(X, X[1:2])]
        assert mutants.main(["blind"]) == 0
        assert "8 of 8 mutants killed" in capsys.readouterr().out
    finally:
        del OPS[blind]

    assert mutants.main(["no such"]) == 1


def test_the_mutation_sweep_lists_a_rule_that_is_0_and_should_be(capsys):
    def stairs(x):
        return np.floor(x)

    define(elementwise=[lambda g, z, x: 0 * g * x], samples=lambda r: [Case.of(X)])(stairs)
    try:
        assert mutants.main(["stairs"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "0 on all samples, as it should be: stairs, rule 0"
        assert not [line for line in lines if "survived" in line]
    finally:
        del OPS[stairs]
