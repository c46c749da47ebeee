"""NumPy code as people write it, made differentiable: values, gradients, refusals, what is left."""

import enum
import gc
import math

import numpy as np
import pytest

import minigrad as mg
from minigrad.check.debug import located
from minigrad.core.tape import between
from minigrad.graph.source import place_of
from minigrad.instrument import NotFollowed
from minigrad.instrument.calls import running
from tests.helpers import in_threads
from tests.instrument import programs  # which adds to FORWARDS
from tests.instrument.forwards import FORWARDS


def arrays(shapes, positive, seed=1):
    rng = np.random.default_rng(seed)
    found = [rng.normal(size=shape) for shape in shapes]
    return [np.abs(x) + 0.1 for x in found] if positive else found


def differences(f, xs, k, h=1e-6):
    """Central differences of f by its k-th argument."""
    g = np.zeros_like(xs[k])
    for i in np.ndindex(*g.shape):
        ends = []
        for step in (h, -h):
            moved = [x.copy() for x in xs]
            moved[k][i] += step
            ends.append(seeded(f, *moved))
        g[i] = (ends[0] - ends[1]) / (2 * h)
    return g


@pytest.fixture(autouse=True)
def same_chance():
    """NumPy's generator is as before."""
    state = np.random.get_state()
    yield
    np.random.set_state(state)


def seeded(f, *xs):
    np.random.seed(11)
    return float(f(*xs))


@pytest.mark.filterwarnings("ignore:Setting the shape")  # NumPy 2.5
@pytest.mark.parametrize(
    ("f", "shapes", "positive"), FORWARDS, ids=[f.__name__ for f, *_ in FORWARDS]
)
def test_value_and_gradient(f, shapes, positive):
    assert programs
    if "scipy" in f.__name__:
        pytest.importorskip("scipy.special")
    xs = arrays(shapes, positive)
    code = f.__code__
    every = tuple(range(len(xs)))
    with np.errstate(all="ignore"):
        expected = seeded(f, *[x.copy() for x in xs])
        np.random.seed(11)
        value, gradients = mg.value_and_grad(mg.numpy_code(f), argnums=every)(*xs)
        wanted = [differences(f, xs, k) for k in every]
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    for g, w in zip(gradients, wanted, strict=True):
        np.testing.assert_allclose(g, w, rtol=2e-6, atol=2e-7)
    assert f.__code__ is code


# ---- what cannot be followed, and what to write instead ------------------------------------------

ELSEWHERE = np.zeros(3)
KEPT = []


def into_a_global(x):
    ELSEWHERE[0] = x[0]
    return np.sum(ELSEWHERE)


def into_an_argument(x, out):
    out[:] = x * 2
    return np.sum(out)


def into_an_argument_in_place(x, out):
    out += x
    return np.sum(out)


def into_an_alias(x):
    a = np.ones(3) @ np.ones((3, 3)) if False else ELSEWHERE + 1
    b = a
    a += x
    return np.sum(b)


def into_a_product(x):
    out = ELSEWHERE * 0
    out[1] = x[1]
    return np.sum(out)


def by_a_method(x):
    ELSEWHERE.fill(x[0])
    return np.sum(ELSEWHERE)


def by_out(x):
    np.multiply(x, 2, out=ELSEWHERE)
    return np.sum(ELSEWHERE)


def unknown_function(x):
    return np.sum(np.unique(x))


def of_a_library(x):
    from statistics import NormalDist

    return NormalDist().cdf(x[0])


def of_math(x):
    return math.gamma(x[0])


def drawn_anew(x):
    return np.sum(x * rng_of_a_module().normal(size=3))


def rng_of_a_module(kept=[np.random.default_rng(3)]):  # noqa: B006, B008
    return kept[0]


def state_kept(x):
    KEPT.append(1)
    return np.sum(x) * len(KEPT)


def of_chance(x):
    return np.sum(np.random.default_rng(0).normal(x, 1.0))


def sum_of_some(x):
    return np.sum(x, where=x > 0)


def from_a_number_on(x):
    return x.max(initial=0.5)


def sums_by_number(x):
    return np.sum(np.bincount([0, 1, 1], weights=x) ** 2)


def chosen(x):
    return np.sum(np.choose([0, 1, 0], [x, x**2]))


def updated_at(x):
    a = np.zeros(3)
    np.maximum.at(a, [0, 0, 1], x)
    return np.sum(a)


def shape_is_set_after_a_write(x):
    y = x * 2
    y[0] = 1.0
    y.shape = (3, 1)
    return np.sum(y @ y.T)


def from_a_python_function(x):
    return np.sum(np.frompyfunc(lambda a: a * a, 1, 1)(x))


def yields(x):
    yield np.sum(x)


REFUSED = [
    (into_a_global, (), "was not made in this function.*ELSEWHERE.0. = x.0..*np.zeros"),
    (into_an_argument, (np.zeros(3),), "out.:. = x.*make the array there"),
    (into_an_argument_in_place, (np.zeros(3),), "in place, by np.add.*out .= x.*make the array"),
    (into_an_alias, (), "in place, by np.add.*a .= x.*make the array there"),
    (into_a_product, (), "was not made in this function.*out.1. = x.1..*np.zeros_like"),
    (by_a_method, (), r"by .fill.*make the array there"),
    (by_out, (), r"out= of multiply.*make the array there"),
    (unknown_function, (), "numpy.unique has no derivative.*np.sum.np.unique.x.*return_index"),
    (of_a_library, (), "Python number.*NormalDist.*leave it an array"),
    (of_math, (), "math.gamma has no derivative.*return math.gamma.*NumPy"),
    (drawn_anew, (), "drawn_anew .*line.* gives .* when it is recorded.*random numbers"),
    (state_kept, (), "gives .* on arrays and .* when it is recorded.*state"),
    (of_chance, (), "random numbers.*return np.sum.*rng.normal"),
    (sum_of_some, (), "sum with where=.*np.sum.x, where=x > 0.*np.where"),
    (from_a_number_on, (), "max with initial=.*x.max.initial=0.5.*np.maximum"),
    (sums_by_number, (), "bincount has no derivative.*weights=x.*add"),
    (chosen, (), "choose has no derivative.*np.choose.*np.where"),
    (updated_at, (), "maximum.at has no derivative.*np.maximum.at.a, .*loop"),
    (shape_is_set_after_a_write, (), "the shape .*y.shape = .3, 1.*reshape"),
    (from_a_python_function, (), "no derivative.*np.sum.np.frompyfunc"),
    (yields, (), "generator; return a list"),
]


@pytest.mark.filterwarnings("ignore:Setting the shape")  # NumPy 2.5
@pytest.mark.parametrize(("f", "others", "text"), REFUSED, ids=[f.__name__ for f, *_ in REFUSED])
def test_refused_with_line_and_remedy(f, others, text):
    code = f.__code__
    differentiable = mg.numpy_code(f)
    for _ in range(2):  # the second time, too
        with pytest.raises(NotFollowed, match="(?s)" + text):
            mg.grad(differentiable)(np.array([0.3, -0.5, 0.7]), *others)
        ELSEWHERE[:] = 0
        KEPT.clear()
    assert isinstance(NotFollowed("x"), TypeError)
    assert f.__code__ is code


# ---- as part of other things ---------------------------------------------------------------------


def energy(x, w):
    h = np.zeros((4, 2))
    for t in range(1, 4):
        h[t] = np.tanh(w @ h[t - 1] + x[t])
        h[t][h[t] < 0] *= 0.5
    return np.sum(h**2)


def energy_without_buffers(x, w):
    h, total = np.zeros(2), 0.0
    for t in range(1, 4):
        z = np.tanh(w @ h + x[t])
        h = np.where(z.data < 0, 0.5 * z, z)
        total = total + np.sum(h**2)
    return total


def test_derivatives_of_second_order_and_forward_mode():
    x, w = arrays([(4, 2), (2, 2)], False)
    f, same = mg.numpy_code(energy), energy_without_buffers
    of_w = lambda f: lambda w: f(x, w)
    np.testing.assert_allclose(mg.grad(f, argnums=1)(x, w), mg.grad(same, argnums=1)(x, w))
    np.testing.assert_allclose(mg.hessian(of_w(f))(w), mg.hessian(of_w(same))(w), atol=1e-12)
    v = np.ones((2, 2))
    for a, b in zip(mg.jvp(of_w(f), (w,), (v,)), mg.jvp(of_w(same), (w,), (v,)), strict=True):
        np.testing.assert_allclose(a, b)
    y, pull = mg.vjp(of_w(f), w)
    np.testing.assert_allclose(pull(np.ones_like(y))[0], mg.grad(of_w(same))(w))


def test_backward_of_leaves():
    x, w = arrays([(4, 2), (2, 2)], False)
    leaf = mg.tensor(w, requires_grad=True)
    loss = mg.numpy_code(energy)(x, leaf)
    assert type(loss) is mg.Tensor
    loss.backward()
    np.testing.assert_allclose(leaf.grad, mg.grad(energy_without_buffers, argnums=1)(x, w))


def test_arrays_alone_are_left_to_the_function():
    x, w = arrays([(4, 2), (2, 2)], False)
    assert type(mg.numpy_code(energy)(x, w)) is np.float64
    assert mg.numpy_code(energy).__name__ == "energy"


def test_results_keep_their_structure():
    def forward(x, p):
        z = np.zeros_like(x)
        z[:] = x * p["w"][0]
        cache = {"z": z, "steps": [x, {"n": 3}], "count": np.arange(2)}
        return z.sum(), cache, (z[0], "text")

    x = mg.tensor(np.arange(3.0), requires_grad=True)
    w = mg.tensor(np.array(2.0), requires_grad=True)
    loss, cache, pair = mg.numpy_code(forward)(x, {"w": [w]})
    assert cache["steps"][0] is x
    assert type(cache["z"]) is mg.Tensor
    assert cache["count"].dtype == int
    assert pair[1] == "text"
    (loss + cache["z"].sum() + pair[0]).backward()
    np.testing.assert_allclose(w.grad, 2 * np.sum(np.arange(3.0)))


@mg.numpy_code
def power(x, n):
    if n == 0:
        return np.ones_like(x)
    out = np.empty_like(x)
    out[:] = x * power(x, n - 1)
    return out


def test_one_within_another_and_recursion():
    inner = mg.numpy_code(lambda v: np.array([v[0] * v[1], v[1]]))

    @mg.numpy_code
    def outer(x):
        y = np.zeros(2)
        y += inner(x)
        return np.sum(y**2) + np.sum(power(x, 3))

    x = np.array([1.5, -0.5])
    wanted = [2 * x[0] * x[1] ** 2 + 3 * x[0] ** 2, 2 * x[0] ** 2 * x[1] + 2 * x[1] + 3 * x[1] ** 2]
    np.testing.assert_allclose(mg.grad(outer)(x), wanted)


def test_a_gradient_inside():
    @mg.numpy_code
    def f(x):
        y = np.zeros(2)
        y[0] = x[0] ** 3
        g = mg.grad(lambda v: np.sum(v**3))(x)
        y[1] = g[1]
        return y.sum()

    np.testing.assert_allclose(mg.grad(f)(np.array([2.0, 3.0])), [12.0, 18.0])


class Net:
    def __init__(self, w):
        self.w, self.losses, self.cache = w, [], {}

    @mg.numpy_code
    def loss(self, x):
        h = np.zeros(2)
        h[:] = np.tanh(self.w @ x)
        self.h = h
        self.cache["h"] = h
        value = np.sum(h**2)
        self.losses.append(value)
        return value

    def __call__(self, x):
        out = np.empty(1)
        out[0] = self.plain_loss(x)
        return out[0]

    def plain_loss(self, x):
        return np.sum(np.tanh(self.w @ x) ** 2)


def test_methods_and_what_they_keep():
    w, x = arrays([(2, 2), (2,)], False)
    net = Net(w)
    np.testing.assert_allclose(mg.grad(net.loss)(x), mg.grad(net.plain_loss)(x))
    assert type(net.h) is type(net.cache["h"]) is np.ndarray  # for a backward pass of one's own
    assert len(net.losses) == 1  # not that of the first, plain run
    of_object = mg.grad(mg.numpy_code(Net(w)))(x)
    np.testing.assert_allclose(of_object, mg.grad(net.plain_loss)(x))
    net = Net(mg.tensor(w, requires_grad=True))
    leaf = net.w
    net.loss(x).backward()
    assert net.w is leaf
    np.testing.assert_allclose(leaf.grad, mg.grad(lambda w: Net(w).plain_loss(x))(w))
    np.testing.assert_allclose(
        mg.grad(mg.numpy_code(Net(w).plain_loss))(x), mg.grad(Net(w).loss)(x)
    )


LOG = []


def test_nothing_is_left_in_module_level_objects():
    @mg.numpy_code
    def f(x):
        y = x.copy()
        y[0] = 1.0
        LOG.append({"loss": float(np.sum(y)), "y": y})
        return np.sum(y**2)

    mg.grad(f)(np.ones(3))
    seen = [(type(part["loss"]), type(part["y"])) for part in LOG]
    LOG.clear()
    assert seen == [(float, np.ndarray), (np.float64, np.ndarray)]  # of the plain run, the other


def test_other_branches_than_the_first():
    def helper(v):
        out = np.zeros(2)
        out[0] = v[0] * 3
        return out.sum()

    class Late:
        def __init__(self, v):
            self.v = np.zeros(1)
            self.v[0] = v[0]

        @property
        def doubled(self):
            a = np.zeros(1)
            a += self.v * 2
            return a[0]

    @mg.numpy_code
    def f(x, deep):
        if deep:
            return helper(x) + Late(x).doubled + sum(map(math.exp, x))
        return np.sum(x)

    x = np.array([0.5, 1.0])
    np.testing.assert_allclose(mg.grad(f)(x, False), [1, 1])
    np.testing.assert_allclose(mg.grad(f)(x, True), np.exp(x) + np.array([5, 0]))


def test_objects_of_which_there_is_one():
    class Mode(enum.Enum):
        TWICE = 2

    class Single:
        factor = 3.0

        def __copy__(self):
            raise TypeError("there is one of it")

    @mg.numpy_code
    def f(x, mode, single):
        assert mode is Mode.TWICE
        y = np.zeros(2)
        y[:] = x * mode.value * single.factor
        return y.sum()

    np.testing.assert_allclose(mg.grad(f)(np.ones(2), Mode.TWICE, Single()), [6, 6])


TOTAL = None


def test_nothing_is_left_in_names():
    kept = None

    @mg.numpy_code
    def f(x):
        nonlocal kept
        global TOTAL
        kept, TOTAL = x * 2, np.zeros(2)
        TOTAL[0] = x[0]
        return np.sum(kept) * TOTAL[0]

    x = np.array([1.0, 2.0])
    np.testing.assert_allclose(mg.grad(f)(x), [8.0, 2.0])
    assert type(kept) is type(TOTAL) is np.ndarray
    np.testing.assert_array_equal(TOTAL, [1.0, 0.0])


def test_where_a_function_is_not_computed_its_derivative_does_not_matter():
    @mg.numpy_code
    def f(x):
        return np.sum(
            np.divide(1.0, x, out=np.zeros_like(x), where=x != 0)
            + np.sqrt(x, where=x > 0, out=x * 3)
        )

    with np.errstate(all="raise"):
        g = mg.grad(f)(np.array([0.0, 4.0]))
    np.testing.assert_allclose(g, [3.0, -1 / 16 + 1 / 4])


def test_long_chains_of_objects():
    class Link:
        def __init__(self, x, before):
            self.x, self.before = x, before

    @mg.numpy_code
    def f(x):
        link = None
        for _ in range(3000):
            link = Link(x, link)
        return np.sum(link.x), link

    x = mg.tensor(np.ones(2), requires_grad=True)
    _, link = f(x)
    assert link.before.before.x is x


def test_functions_that_the_garbage_collector_does_not_list():
    def helper(x):
        y = np.zeros(2)
        y[0] = x[0]
        return y

    gc.freeze()
    try:
        g = mg.grad(mg.numpy_code(lambda x: np.sum(helper(x) * x)))(np.array([1.0, 2.0]))
    finally:
        gc.unfreeze()
    np.testing.assert_allclose(g, [2.0, 0.0])


def test_code_without_source_says_so():
    scope = {"np": np}
    exec("def f(x):\n    y = np.zeros(2)\n    y[0] = x[0]\n    return y.sum()\n", scope)
    with pytest.raises(NotFollowed, match=r"(?s)by a\[i\] = x.*The source of f is not known"):
        mg.grad(mg.numpy_code(scope["f"]))(np.ones(2))
    exec("def g(x):\n    return np.sum(x**2)\n", scope)
    np.testing.assert_allclose(mg.grad(mg.numpy_code(scope["g"]))(np.ones(2)), [2, 2])


def test_errors_leave_everything_as_before():
    @mg.numpy_code
    def f(x):
        y = np.zeros(3)
        y[:] = x
        if len(x) == 3:
            raise KeyError("three")
        return y[7]

    code = f.__wrapped__.__code__
    for _ in range(2):
        with pytest.raises(KeyError, match="three"):
            mg.grad(f)(np.ones(3))
        assert f.__wrapped__.__code__ is code
    assert running.get() is None


def test_threads():
    @mg.numpy_code
    def f(x):
        y = np.zeros(2)
        for k in range(2):
            y[k] = x[k] ** (k + 2)
        return np.sum(y)

    def work():
        for _ in range(30):
            x = np.array([1.0, 2.0])
            plain = f(x)
            assert type(plain) is np.float64
            np.testing.assert_allclose(mg.grad(f)(x), [2.0, 12.0])

    in_threads(*[work] * 4)


def test_places_are_the_users_expressions():
    places = {}
    for name, decorate in (("plain", lambda f: f), ("hooked", mg.numpy_code)):

        def f(x):
            y = np.tanh(x[1:] * 2)
            z = np.exp(y).sum()
            return z * x[0]

        with located():
            out = decorate(f)(mg.tensor(np.ones(3), requires_grad=True))
        nodes = between(None, [out])[0]
        places[name] = [
            (p.file, p.line, p.function, p.expression, p.statement)
            for p in map(place_of, nodes)
            if p is not None
        ]
    assert places["plain"] == places["hooked"]
    assert [p[3] for p in places["plain"]] == [
        "x[1:]", "x[1:] * 2", "np.tanh(x[1:] * 2)", "np.exp(y)", "np.exp(y).sum()", "x[0]",
        "z * x[0]",
    ]  # fmt: skip
    assert places["plain"][0][0] == __file__


def test_dtypes_of_buffers_are_obeyed():
    @mg.numpy_code
    def f(x):
        y = np.zeros(3, dtype=np.float32)
        y[:] = x
        n = np.zeros(3, int)
        n[:] = [1, 2, 3]
        return np.sum(y * n.astype(np.float32)), y, n

    x = mg.tensor(np.array([0.1, 0.2, 0.3]), requires_grad=True)
    loss, y, n = f(x)
    assert (y.dtype, loss.dtype, type(n)) == (np.float32, np.float32, np.ndarray)
    assert y.value[0] == np.float32(0.1)
    loss.backward()
    np.testing.assert_allclose(x.grad, [1, 2, 3])


def test_arguments_are_not_changed():
    def f(x, p):
        x[0] = 5.0
        p["w"] *= 2
        p["new"] = x
        return np.sum(x * p["w"])

    x, p = np.ones(2), {"w": mg.tensor(np.ones(2), requires_grad=True)}
    leaf = p["w"]
    mg.numpy_code(f)(mg.tensor(x), p)
    assert (x == 1).all()
    assert (leaf.data == 1).all()
    assert p["w"] is leaf
    assert type(p["new"]) is np.ndarray


def test_what_is_returned_and_kept_are_tensors():
    class Layer:
        def forward(self, x, cache):
            self.out = x * 2
            cache["x"] = x
            return self.out.sum(), cache

    x, layer, cache = mg.tensor(np.ones(2), requires_grad=True), Layer(), {}
    _, returned = mg.numpy_code(layer.forward)(x, cache)
    assert returned is cache
    assert cache["x"] is x
    assert type(layer.out) is np.ndarray
