"""mg.compile: the same numbers as the function itself, in every situation; and what it refuses."""

import gc
import pickle
import threading
import weakref
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.compiler import compiled
from minigrad.compiler.tracing import record
from tests.helpers import leaf

RNG = np.random.default_rng(7)


@pytest.fixture(autouse=True)
def _on_numpy(monkeypatch):
    """Programs on NumPy: kernels, which take seconds to compile, have tests of their own."""
    monkeypatch.setattr(compiled, "_backend", lambda backend: backend or "numpy")


def drawn(*shape, dtype=np.float64):
    return RNG.normal(size=shape).astype(dtype)


def same(a, b, tight=True):
    """Containers of the same kinds, holding the same numbers but for rounding."""
    assert type(a) is type(b), (type(a), type(b))
    if isinstance(a, dict):
        assert [*a] == [*b]
        a, b = [*a.values()], [*b.values()]
    if isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            same(x, y, tight)
    elif isinstance(a, (mg.Tensor, np.ndarray, np.generic)):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        if isinstance(a, mg.Tensor):
            assert a.requires_grad == b.requires_grad
            a, b = a.data, b.data
        rtol = 1e-10 if a.dtype == np.float64 else 1e-4
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol / 10)
    else:
        assert a == b


def agrees(f, *draws, **kwargs):
    """`f` compiled gives what `f` does, at each of several draws of arguments."""
    fast = mg.compile(f)
    for draw in draws:
        same(fast(*draw, **kwargs), f(*draw, **kwargs))
    return fast


def draws(*shapes, n=4):
    return [[drawn(*shape) for shape in shapes] for _ in range(n)]


# ---- what it returns -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.tanh(x) * 2,
        lambda x: mg.relu(x) - x,
        lambda x: (x > 0, x.sum(), {"a": [x, None], "b": (x[0], 3)}),
        lambda x: np.where(x > 0, x, 0).max(),
        lambda x: np.sort(x)[::-1] + x[np.argsort(x)],
        lambda x: x[x.argmax()],
        lambda x: x,
        lambda x: (np.ones(3), x),
        lambda x: mg.grad(lambda y: (y**3).sum())(x),
        lambda x: mg.hessian(lambda y: (y**3).sum())(x),
        lambda x: mg.jvp(lambda y: np.sin(y), (x,), (x,)),
        lambda x: mg.scan(lambda c, y: (c * 0.5 + y, c), x[0], x),
        lambda x: mg.checkpoint(lambda y: np.sin(y) * y)(x).sum(),
        lambda x: (x == x).all(),
    ],
)
def test_arrays(f):
    agrees(f, *draws((4,)))


class Pair(NamedTuple):
    a: np.ndarray
    b: list


def test_containers_in_and_out():
    def f(pair, *, scale, flag=True, which="a"):
        return {"out": Pair(pair.a * scale["s"], [pair.b[0], which]), "none": None, "flag": flag}

    fast = mg.compile(f)
    for k in range(4):
        pair, scale = Pair(drawn(2), [drawn()]), {"s": drawn(2)}
        same(fast(pair, scale=scale, which=str(k % 2)), f(pair, scale=scale, which=str(k % 2)))


def test_methods_partials_and_decorated_methods():
    class Model(nn.Module):
        def __init__(self):
            self.w = leaf(drawn(3))

        @mg.compile
        def forward(self, x):
            return self.w * x

        def other(self, x, power):
            return (self.w * x) ** power

    one, two = Model(), Model()
    for _ in range(3):
        x = drawn(3)
        for model in (one, two):
            same(model(x), model.w * x)
    agrees(one.other, *[(drawn(3), 2) for _ in range(3)])
    agrees(partial(one.other, power=3), *[(drawn(3),) for _ in range(3)])


def test_results_are_the_callers_own():
    x, c = drawn(3), drawn(3)
    fast = mg.compile(lambda x: (x, x.reshape(3, 1), c, x * 2))
    for _ in range(3):
        before = x.copy()
        for y in fast(x):
            y[...] = 7
        np.testing.assert_array_equal(x, before)
    a, b = fast(x), fast(x)
    a[3][...] = 0
    np.testing.assert_array_equal(b[3], x * 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_memory(dtype):
    def f(x, y):
        return np.exp(x) @ y, x.sum(0), y * 2

    a = drawn(6, 8, dtype=dtype)
    agrees(f, *[(a[::2, ::2], a.T[:4, :3]), (a[:3, :4].copy(), a[:4, :3]), (a[:3, 4:], a[2:, :3])])
    agrees(f, *[(np.zeros((0, 3), dtype), np.zeros((3, 2), dtype))] * 3)
    agrees(lambda x: x * x, *[(drawn(dtype=dtype),) for _ in range(3)])
    agrees(lambda x: x * 2, *[(np.float32(k),) for k in range(3)])


@pytest.mark.parametrize(
    "x",
    [
        np.arange(4.0).astype(">f8"), np.broadcast_to(np.float64(2), (3,)), np.array([True, False]),
        np.float32(3), np.int8(3), np.arange(4, dtype=np.float16), np.bool_(True),
    ],
)  # fmt: skip
def test_any_dtype(x):
    agrees(lambda x: x * 2 + 1, *[(x,)] * 3)


@pytest.mark.parametrize(
    "x", [np.ma.array([1.0], mask=[1]), np.array([1j]), np.array(["a"]), np.array([object()])]
)
def test_what_is_no_plain_array_of_real_numbers(x):
    with pytest.raises(TypeError, match=r"mg\.compile takes"):
        mg.compile(lambda x: x * 2)(x)


# ---- gradients -----------------------------------------------------------------------------------


def gradients(f, module, x):
    leaves = [x, *module.parameters()]
    for t in leaves:
        t.grad = None
    f(x).backward()
    return [t.grad for t in leaves]


def test_the_gradients_of_a_module_in_training():
    net = nn.Sequential(nn.Linear(3, 4, rng=0), nn.BatchNorm1d(4), mg.relu, nn.Linear(4, 2, rng=1))
    fast, opt = mg.compile(net), mg.optim.SGD(net.parameters(), 0.1)
    for _ in range(4):
        x = mg.tensor(drawn(5, 3, dtype=np.float32), requires_grad=True)
        state = net.state_dict()
        by_hand = gradients(lambda x: (net(x) ** 2).sum(), net, x)
        after = net.state_dict()
        net.load_state_dict(state)
        ours = gradients(lambda x: (fast(x) ** 2).sum(), net, x)
        same(ours, by_hand)
        same(net.state_dict(), after)
        opt.step()
    net.eval()
    for _ in range(3):
        x = drawn(5, 3, dtype=np.float32)
        same(fast(x), net(x))
    with mg.no_grad():
        for _ in range(3):
            same(fast(x), net(x))


def test_two_forwards_before_one_backward_and_backward_twice():
    w = leaf(drawn(3))
    fast = mg.compile(lambda x: np.tanh(w * x))
    a, b = drawn(3), drawn(3)
    for x in (a, b, a):
        fast(x)
    y, z = fast(a), fast(b)
    for out, x in ((y, a), (z, b), (y, a)):
        w.grad = None
        out.backward(np.ones(3))
        np.testing.assert_allclose(w.grad, x * (1 - np.tanh(w.data * x) ** 2))
    del y, z, out
    gc.collect()


def test_parameters_that_move_between_forward_and_backward():
    w = leaf(drawn(3))
    fast = mg.compile(lambda x: (np.tanh(w * x) * w).sum())
    for _ in range(4):
        x, old = drawn(3), w.data
        w.grad, y = None, fast(x)
        w.data = 2 * w.data
        y.backward()
        v = leaf(old)
        (np.tanh(v * x) * v).sum().backward()
        np.testing.assert_allclose(w.grad, v.grad)


def test_nothing_is_kept():
    fast = mg.compile(lambda x: x * 2)
    x = drawn(1000)
    for _ in range(3):
        fast(x)
    seen = weakref.ref(x), weakref.ref(fast)
    del x
    assert seen[0]() is None
    del fast
    gc.collect()
    assert seen[1]() is None


def test_higher_order_and_forward_mode():
    w = leaf(drawn(3))

    def f(x):
        return (np.sin(w * x) * x).sum()

    fast = mg.compile(f)
    for _ in range(3):
        x = drawn(3)
        fast(mg.tensor(x, requires_grad=True))
        same(mg.grad(fast)(x), mg.grad(f)(x))
        same(mg.hessian(fast)(x), mg.hessian(f)(x))
        same(mg.jvp(fast, (x,), (x,)), mg.jvp(f, (x,), (x,)))
        same(mg.hvp(fast, (x,), (x,)), mg.hvp(f, (x,), (x,)))


def test_a_whole_step():
    net = nn.LSTM(3, 4, rng=0)

    def loss(net, x, y):
        hs, _ = net(x)
        return nn.mse_loss(hs, y)

    agrees(
        mg.value_and_grad(loss),
        *[(net, drawn(5, 2, 3, dtype=np.float32), drawn(5, 2, 4, dtype=np.float32)) for _ in "abc"],
    )


def test_labels_are_inputs():
    net = nn.Linear(4, 5, rng=0)

    def loss(x, y):
        return nn.cross_entropy(net(x), y)

    fast = mg.compile(loss)
    for labels in ([0, 1, 2], [4, 4, 0], [-100, 2, 3], [1, -100, -100]):
        x, y = drawn(3, 4, dtype=np.float32), np.array(labels)
        same(fast(x, y), loss(x, y))
        t = mg.tensor(x, requires_grad=True)
        same(gradients(partial(fast, y=y), net, t), gradients(partial(loss, y=y), net, t))
    for wrong in (5, -1):
        with pytest.raises(ValueError, match="labels must lie in"):
            fast(x, np.array([0, wrong, 1]))


def test_a_hand_written_backward_pass():
    def backward(g, z, x, w):
        dw = np.zeros_like(w)
        for row, d in zip(x, g, strict=True):
            dw += np.outer(row, d)  # as loops on arrays, which no tensor allows
        return g @ w.T, dw

    layer = mg.custom_vjp(lambda x, w: x @ w, backward)
    w = leaf(drawn(3, 2))
    fast = mg.compile(lambda x: np.tanh(layer(x, w)).sum())
    for _ in range(4):
        x = drawn(4, 3)
        w.grad = None
        fast(x).backward()
        got, w.grad = w.grad, None
        np.tanh(x @ w).sum().backward()
        np.testing.assert_allclose(got, w.grad)


# ---- what changes between calls ------------------------------------------------------------------


def test_random_numbers_are_drawn_anew_from_the_same_generators():
    ours, theirs = nn.Dropout(0.5, rng=3), nn.Dropout(0.5, rng=3)
    fast = mg.compile(ours)
    for _ in range(4):
        x = drawn(20)
        same(fast(x), theirs(x))
    mg.manual_seed(0)
    plain = nn.Dropout(0.5)
    fast = mg.compile(plain)
    found = [fast(np.ones(20)) for _ in range(4)]
    mg.manual_seed(0)
    for y in found:
        same(y, plain(np.ones(20)))


def test_a_module_that_changes_has_another_program():
    net = nn.Sequential(nn.Linear(3, 3, rng=0), nn.Dropout(0.5, rng=0))
    fast = mg.compile(net)
    x = drawn(2, 3, dtype=np.float32)
    for _ in range(3):
        fast(x)
    net.eval()
    for _ in range(3):
        same(fast(x), net(x))
    net[0].weight = mg.tensor(np.eye(3, dtype=np.float32), requires_grad=True)
    for _ in range(3):
        same(fast(x), net(x))
    net.requires_grad_(False)
    for _ in range(3):
        same(fast(x), net(x))
    net.astype(np.float64)
    x = drawn(2, 3)
    for _ in range(3):
        same(fast(x), net(x))


def test_hooks_are_called():
    net, seen = nn.Linear(2, 2, rng=0), []
    fast = mg.compile(net)
    x = drawn(1, 2, dtype=np.float32)
    for _ in range(3):
        fast(x)
    with net.register_forward_hook(lambda *args: seen.append(args)):
        for _ in range(3):
            fast(x)
    assert len(seen) == 3
    with net.weight.register_hook(lambda g: 10 * g):
        fast(x).sum().backward()
    ten, net.weight.grad = net.weight.grad, None
    fast(x).sum().backward()
    np.testing.assert_allclose(ten, 10 * net.weight.grad)


def test_the_default_dtype_and_debug_mode():
    fast = mg.compile(lambda x: x * mg.tensor(0.1))
    x = drawn(2, dtype=np.float32)
    for _ in range(3):
        assert fast(x).dtype == np.float32
    mg.set_default_dtype(np.float64)
    try:
        for _ in range(3):
            assert fast(x).dtype == np.float64
    finally:
        mg.set_default_dtype(np.float32)
    log = mg.compile(mg.log)
    with pytest.raises(FloatingPointError), mg.debug(), np.errstate(divide="ignore"):
        log(np.array([0.0]))


def test_threads_share_a_compiled_function():
    w = leaf(drawn(30))
    fast = mg.compile(lambda x: (np.tanh(w * x) ** 2).sum())
    wrong = []

    def work(seed):
        rng = np.random.default_rng(seed)
        for _ in range(50):
            x = mg.tensor(rng.normal(size=30), requires_grad=True)
            g = mg.grad(fast)(x)
            s = np.tanh(w.data * x.data)
            if not np.allclose(g.data, 2 * s * (1 - s * s) * w.data):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


# ---- what is refused -----------------------------------------------------------------------------


def counted():
    calls = [0]

    def f(x):
        calls[0] += 1
        return x * calls[0]

    return f


def generated(x):
    yield x


def filling(x):
    out = np.zeros(3)
    for k in range(3):
        out[k] = x[k] * 2
    return out


def saying(x):
    LOG.append(f"{x[0]:.3f}")
    return x


LOG = []


def caching(x):
    cache = {"x": x}

    def update(parameters):
        parameters["y"] = 2 * parameters["x"]
        return parameters["y"]

    return mg.compile(update)(cache)


def changing(x):
    x += 1
    return x * 2


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda x: x if x.sum() > 0 else -x, r"bool\(\) of .*test_compiled.py.*np\.where"),
        (lambda x: x * float(x.sum()), r"float\(\) of"),
        (lambda x: x * x.sum().item(), r"\.item\(\) of"),
        (lambda x: mg.tensor(x.tolist()), r"\.tolist\(\) of"),
        (lambda x: x * int(x.sum()), r"int\(\) of"),
        (lambda x: x[x > 0], r"mask, computed from data, decides the shape"),
        (lambda x: np.nonzero(x), r"np\.nonzero decides the shape"),
        (lambda x: mg.tensor(x, requires_grad=True).sum().backward(), r"backward\(\) inside"),
        (lambda x: None, "returns no arrays"),
        (lambda x: (x, object()), "returns <object"),
        (saying, "puts results into a list, outside"),
        (filling, r"float\(\) of .*out\[k\] = x\[k\] \* 2\nwrite .*np\.stack"),
        (lambda x: x if isinstance(x, np.ndarray) else 2 * x, "treats both alike"),
        (changing, "changes an argument in place"),
    ],
)
def test_what_recording_refuses(f, message):
    import re

    with pytest.raises(TypeError) as caught:
        mg.compile(f)(drawn(3))
    assert re.search(message, str(caught.value), re.S), caught.value


def test_containers_among_the_arguments_are_not_changed():
    with pytest.raises(TypeError, match="changes a dict or a list among its arguments"):
        caching(drawn(3))


def test_what_does_something_else_when_it_runs_again():
    rng = np.random.default_rng(0)
    for f, message in [
        (counted(), "multiply.*1 became 2"),
        (lambda x: x * rng.normal(size=3), "other numbers the next time"),
    ]:
        fast = mg.compile(f)
        with pytest.raises(TypeError, match=message):  # noqa: PT012 (the first or the second call)
            fast(drawn(3))
            fast(drawn(3))


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (None, "not nothing"), (3, "takes a function"), (nn.Linear, "the class Linear"),
        (generated, "generator function"),
    ],
)  # fmt: skip
def test_what_is_no_function(f, message):
    with pytest.raises(TypeError, match=message):
        mg.compile(f)


def test_python_state_of_a_module_is_refused_and_put_back():
    class Counts(nn.Module):
        def __init__(self):
            self.calls, self.seen = 0, []

        def forward(self, x):
            self.calls += 1
            self.seen.append(x)
            return x * 2

    net = Counts()
    with pytest.raises(TypeError, match=r"changes Counts\.calls, Counts\.seen"):
        mg.compile(net)(drawn(2))
    assert net.calls == 0
    assert net.seen == []


def test_what_would_be_done_at_the_recording_only(monkeypatch):
    x = mg.tensor(drawn(3), requires_grad=True)

    def hooked(x):
        y = x * 2
        y.register_hook(lambda g: g)
        return y

    def debugged(x):
        with mg.debug():
            return x * 2

    def seeded(x):
        mg.manual_seed(0)
        return x * 2

    for f, message in ((hooked, "register_hook"), (debugged, r"mg\.debug"), (seeded, "at its rec")):
        with pytest.raises(TypeError, match=message):
            mg.compile(f)(x)
    monkeypatch.setattr(record, "MOST", 5)
    with pytest.raises(RuntimeError, match=r"more than 5 operations.*mg\.scan"):
        mg.compile(lambda x: sum(x * k for k in range(1, 9)))(x)


def test_a_transform_of_a_module_that_holds_a_compiled_function():
    class Net(nn.Module):
        def __init__(self):
            self.inner = nn.Linear(2, 2, rng=0)
            self.fast = mg.compile(self.inner)

        def forward(self, x):
            return self.fast(x).sum()

    net, plain = Net(), nn.Linear(2, 2, rng=0)
    for _ in range(3):
        x = drawn(3, 2, dtype=np.float32)
        g = mg.grad(lambda net: net(x))(net)  # noqa: B023
        h = mg.grad(lambda net: net(x).sum())(plain)  # noqa: B023
        same(g["inner.weight"], h["weight"])


def test_it_cannot_be_pickled():
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(mg.compile(mg.sin))


def test_many_signatures_are_worth_a_warning():
    fast = mg.compile(lambda x, k: x * k)
    for k in range(7):
        fast(drawn(2), k)
    with pytest.warns(UserWarning, match=r"argument 1: 6 and 7"):
        fast(drawn(2), 7)
    fast(drawn(2), 8)


def test_floats_are_inputs_that_decide_no_dtype():
    def f(x, rate, flag=0.5):
        return rate, x - rate * x.sum() * (1 - rate) ** 2, -rate, rate * 2, x * np.sin(rate)

    fast = mg.compile(f)
    for k in range(5):
        x = abs(drawn(3, dtype=np.float32))
        same(fast(x, 0.1 * k), f(x, 0.1 * k))
        t = mg.tensor(x, requires_grad=True)
        g = mg.grad(lambda t: fast(t, 0.1 * k)[4].sum())(t)  # noqa: B023
        same(g, mg.grad(lambda t: f(t, 0.1 * k)[4].sum())(t))  # noqa: B023
    assert "2 signature(s)" in fast.explain()


def test_a_float_whose_value_is_needed_is_part_of_the_signature():
    def f(x, slope):
        return mg.leaky_relu(x, slope=slope) if slope > 0.2 else x

    fast = mg.compile(f)
    for slope in (0.1, 0.3, 0.1, 0.3, 0.3, 0.1):
        x = drawn(3)
        same(fast(x, slope), f(x, slope))


def test_what_it_reads_from_outside_may_change():
    """Variables, containers, attributes of objects, and arrays that are written into."""

    class Settings:
        power = 2

    settings, params, table = Settings(), {"w": mg.tensor(drawn(3))}, drawn(3)
    settings.power = 3
    factor = 2.0

    def f(x):
        return (params["w"] * x) ** settings.power * factor + table

    fast = mg.compile(f)
    for k in range(12):
        if k % 4 == 3:
            params["w"] = mg.tensor(drawn(3))
        if k == 6:
            settings.power = 2
        if k == 9:
            factor = 0.5
        if k % 3 == 2:
            table[...] = drawn(3)
        x = drawn(3)
        same(fast(x), f(x))


def test_an_object_among_the_arguments_may_be_given_other_arrays():
    class Batch:
        pass

    fast, batch = mg.compile(lambda batch: batch.x * 2), Batch()
    for k in range(6):
        if k % 2 == 0:
            batch.x = drawn(3)
        np.testing.assert_array_equal(fast(batch), batch.x * 2)


def test_functions_in_lists_that_it_closes_over():
    body = [np.tanh, np.sin]

    def f(x):
        for g in body:
            x = g(x)
        return x

    fast = mg.compile(f)
    for k in range(6):
        if k == 3:
            body[1] = np.cos
        x = drawn(3)
        same(fast(x), f(x))


def test_a_derivative_at_an_array_made_inside():
    def f(w):
        return mg.elementwise_grad(lambda s: np.tanh(s[:, None] @ w)[:, 0])(np.zeros(1))[0]

    agrees(f, *draws((1, 1)))


def test_attributes_that_no_code_mentions_may_change():
    class Trainer:
        def __init__(self):
            self.net, self.step, self.scale = nn.Linear(2, 1, rng=0), 0, 2.0

        def loss(self, x):
            return self.scaled(self.net(x)).sum()

        def scaled(self, y):
            return y * self.scale

    trainer = Trainer()
    fast = mg.compile(trainer.loss)
    for _ in range(12):
        trainer.step += 1
        x = drawn(3, 2, dtype=np.float32)
        same(fast(x), trainer.loss(x))
    assert "1 signature(s)" in fast.explain()
    assert len(fast._programs[next(iter(fast._programs))]) == 1
    for _ in range(5):
        trainer.scale += 1
        same(fast(x), trainer.loss(x))
    trainer.scale += 1
    same(fast(x), trainer.loss(x))
    trainer.scale += 1
    with pytest.warns(UserWarning, match="scale, which it reads from outside"):
        fast(x)


def test_what_it_changes_outside_is_put_back_and_named():
    log, count = [], 0

    def f(x):
        nonlocal count
        count += 1
        log.append(None)
        return x * 2

    fast = mg.compile(f)
    for _ in range(5):
        fast(drawn(2))
    assert len(log) == count == 1, "it ran once as it is"
    assert "changed by the function itself, and not by a program: count, a list" in fast.explain()

    def leaks(x):
        log.append(x * 2)
        return x

    with pytest.raises(TypeError, match="puts results into a list"):
        mg.compile(leaks)(drawn(2))
    assert log == [None]


def test_a_global_of_a_module_may_change():
    class Scaled(nn.Module):
        def forward(self, x):
            return x * FACTOR

    global FACTOR
    FACTOR = 2.0
    fast = mg.compile(Scaled())
    for k in range(6):
        FACTOR = 2.0 + k // 3
        np.testing.assert_array_equal(fast(np.ones(2)).data, FACTOR)


def test_errors_of_arithmetic_are_taken_as_in_the_block_around():
    def f(x):
        with np.errstate(divide="ignore"):
            y = 1 / x
        return np.where(x == 0, 0, y)

    agrees(f, *[(np.array([0.0, k]),) for k in (1.0, 2.0, 3.0)])


def test_it_has_what_the_module_has():
    net = nn.Dropout(0.5)
    fast = mg.compile(net)
    fast.eval()
    assert not net.training
    assert fast.parameters() == []


def test_an_exception_in_the_middle_loses_nothing():
    fast = mg.compile(lambda w, k: mg.embedding(w, k).sum())
    w = leaf(drawn(3, 2))
    for _ in range(3):
        fast(w, np.array([0, 2]))
    for _ in range(3):
        with pytest.raises(IndexError):
            fast(w, np.array([0, 3]))
        w.grad = None
        fast(w, np.array([1, 1])).backward()
        np.testing.assert_array_equal(w.grad, [[0, 0], [2, 2], [0, 0]])


def test_the_back_end_is_numba_where_it_is_installed(monkeypatch):
    monkeypatch.undo()
    has = compiled.importlib.util.find_spec("numba") is not None
    assert mg.compile(mg.sin).backend == ("numba" if has else "numpy")
    monkeypatch.setattr(compiled.importlib.util, "find_spec", lambda name: None)
    assert mg.compile(mg.sin).backend == "numpy"
    assert "numba, which makes it faster, is not installed" in mg.compile(mg.sin).explain()
    with pytest.raises(ImportError, match=r"minigrad\[jit\]"):
        mg.compile(mg.sin, "numba")
    with pytest.raises(ValueError, match="backend must be"):
        mg.compile(mg.sin, "cuda")


def test_what_it_says_of_itself():
    net = nn.Linear(3, 2, rng=0)
    fast = mg.compile(net)
    x = drawn(1, 3, dtype=np.float32)
    fast(x)
    assert "no program yet" in fast.explain()
    fast(x)
    text = fast.explain()
    assert "weight" in text
    assert "matmul" in text
    assert "def " in fast.source()
    fast.clear()
    assert "0 signature(s)" in fast.explain()


def test_a_module_that_holds_lists_is_seen_through_a_closure():
    """What is watched for changes includes items of lists, which are no keys of theirs."""
    net = mg.nn.LSTM(2, 3)
    names = [name for name, _ in net.named_parameters()]

    def f(x, *weights):
        hs, _ = mg.nn.functional_call(net, dict(zip(names, weights, strict=True)), x)
        return hs.sum()

    step = mg.value_and_grad(f, argnums=(0, 1))
    fast = mg.compile(step, backend="numpy")
    given = [np.ones((4, 1, 2), np.float32), *[p.value for p in net.parameters()]]
    for _ in range(3):
        value, (dx, _) = fast(*given)
    want, (expected, _) = step(*given)
    np.testing.assert_allclose(value, want, rtol=1e-5)
    np.testing.assert_allclose(dx, expected, rtol=1e-5)


def test_what_draws_runs_as_it_is_in_a_transform():
    drop = mg.nn.Dropout(0.5, rng=np.random.default_rng(0))
    fast = mg.compile(lambda w, x: (drop(x * w) ** 2).sum(), backend="numpy")
    for _ in range(3):
        fast(mg.tensor(2.0, requires_grad=True), np.ones(8)).backward()
    g = mg.grad(lambda w: fast(w, np.ones(8)))(mg.tensor(2.0))
    assert float(g) in {4.0 * 4 * k for k in range(9)}


def test_indices_of_several_parts_are_operands():
    fast = mg.compile(lambda x, n: mg.getitem(x, (np.arange(3), n - 1)), backend="numpy")
    x = np.arange(12.0).reshape(3, 4)
    for n in ([1, 2, 3], [4, 4, 1], [2, 1, 3]):
        np.testing.assert_array_equal(fast(x, np.array(n)), x[np.arange(3), np.array(n) - 1])


def test_a_function_that_is_not_known_is_refused_with_the_line():
    with pytest.raises(TypeError, match=r"mg\.compile: numpy\.unique.*\n.*line \d+"):
        mg.compile(lambda x: np.unique(x), backend="numpy")(np.ones(3))


class Counting:
    def __init__(self):
        self.steps, self.mean = 0, np.zeros(2)

    def __call__(self, x):
        self.steps += 1
        self.mean = 0.9 * self.mean + 0.1 * x
        return self.mean / self.steps


def test_an_object_with_a_state_of_its_own_is_refused_and_left_as_it_was():
    counting = Counting()
    fast = mg.compile(counting, backend="numpy")
    with pytest.raises(TypeError, match=r"mg\.compile: Counting puts results into mean"):
        fast(np.ones(2))
    assert counting.steps == 0
    assert type(counting.mean) is np.ndarray


def test_products_of_two_dtypes():
    x, w = np.ones((2, 3, 4), np.float32), np.ones((4, 2))
    fast = mg.compile(lambda x, w: np.matmul(x, w), backend="numpy")
    for _ in range(3):
        y = fast(x, w)
    np.testing.assert_array_equal(y, x @ w)
    assert y.dtype == np.float64
