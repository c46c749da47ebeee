"""Tensors: what they hold, how backward fills `.grad`, NumPy's protocols, and the errors."""

import copy
import gc
import inspect
import operator
import pickle
import weakref

import numpy as np
import pytest

import minigrad as mg
from tests.helpers import leaf

# ---- making ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (2.0, np.float32),
        ([1.0, 2.0], np.float32),
        ([1, 2], np.int64),
        (True, np.bool_),
        (np.float64(2), np.float64),
        ([np.float64(2), 1.0], np.float64),
        (np.zeros(2, np.float16), np.float16),
    ],
)
def test_dtypes(data, dtype):
    assert mg.tensor(data).dtype == dtype


def test_default_dtype():
    mg.set_default_dtype(np.float64)
    try:
        assert mg.tensor(2.0).dtype == np.float64
        assert mg.nn.Linear(1, 1).weight.dtype == np.float64
    finally:
        mg.set_default_dtype(np.float32)
    with pytest.raises(TypeError, match="floating"):
        mg.set_default_dtype(int)


def test_tensor_copies():
    a = np.ones(2)
    t = mg.tensor(a)
    a[0] = 5
    assert t.data[0] == 1


@pytest.mark.parametrize("data", [1, [1, 2], np.array([True]), np.arange(3)])
def test_integers_cannot_require_gradients(data):
    with pytest.raises(TypeError, match="pass floats"):
        mg.tensor(data, requires_grad=True)


def test_complex_and_objects_are_refused():
    with pytest.raises(TypeError, match="real and imaginary"):
        mg.tensor(1j)
    with pytest.raises(TypeError, match="real numbers"):
        mg.tensor(["a"])


@pytest.mark.parametrize(
    "call",
    [
        lambda t: t * 1j,
        lambda t: np.array([1j]) + t,
        lambda t: np.where(True, t, 1j),
        lambda t: np.concatenate([t, [1j]]),
        lambda t: np.einsum("i,i", t, np.array([1j])),
        lambda t: np.full_like(t, 1j),
        lambda t: t.at[0].set(1j),
        lambda t: t.astype(complex),
        lambda t: setattr(t, "data", [1j]),
        lambda t: mg.grad(lambda z: np.abs(z) ** 2)(1 + 2j),
        lambda t: mg.grad(lambda x: np.real(x * 1j * x * 1j))(2.0),
    ],
)
def test_complex_numbers_are_refused_where_they_come_in(call):
    with pytest.raises(TypeError, match=r"real numbers, not complex\d+; .*real and imaginary"):
        call(leaf([1.0]))


# ---- backward ----------------------------------------------------------------------------------


def test_backward_accumulates_on_leaves():
    x = leaf(3.0)
    y = x * x
    y.backward()
    y.backward()
    assert x.grad == 12.0
    (2 * x).backward()
    assert x.grad == 14.0
    assert y.grad is None


def test_a_result_keeps_its_gradient_on_request():
    x, w = leaf(2.0), leaf(3.0)
    y = x * w
    z = y * y + x
    loss = z * y
    plain = mg.grad(lambda x, w: (x * w * x * w + x) * x * w, (0, 1))(2.0, 3.0)
    y.retain_grad()
    z.retain_grad()
    loss.retain_grad()
    unused = y * 2
    unused.retain_grad()
    loss.backward()
    assert (z.grad, y.grad, loss.grad, unused.grad) == (6, 3 * 36 + 2, 1, None)
    assert [x.grad, w.grad] == [g.item() for g in plain]
    loss.backward()
    assert (z.grad, x.grad) == (12, 2 * plain[0].item())
    with pytest.raises(RuntimeError, match="no gradient flows"):
        x.detach().retain_grad()


def test_an_unused_leaf_has_no_gradient():
    x, unused = leaf(1.0), leaf(1.0)
    (x * 2).backward()
    assert unused.grad is None


def test_gradients_are_never_shared():
    x, y = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    seed = np.ones(2)
    (x + y).backward(seed)
    x.grad *= 10
    np.testing.assert_array_equal(y.grad, 1)
    np.testing.assert_array_equal(seed, 1)
    z = leaf(np.ones(3))
    z.sum().backward()
    z.grad += 1  # a broadcast cotangent would be read-only


def test_a_buffer_shared_by_two_cotangents_is_not_added_to():
    x, y = leaf(2.0), leaf(3.0)
    z = x + y
    (x / z).backward()
    np.testing.assert_allclose([x.grad, y.grad], [3 / 25, -2 / 25])


def test_gradients_have_the_dtype_of_what_they_belong_to():
    x, y = mg.tensor(np.ones(2, np.float32), requires_grad=True), leaf([1.0, 2.0])
    z = x * y
    assert z.dtype == np.float64
    z.sum().backward()
    assert (x.grad.dtype, y.grad.dtype) == (np.float32, np.float64)


def test_backward_needs_a_graph_and_a_number():
    with pytest.raises(RuntimeError, match="requires_grad=True"):
        mg.tensor([1.0]).backward()
    with mg.no_grad():
        y = leaf([1.0]) * 2
    with pytest.raises(RuntimeError, match="no graph"):
        y.backward()
    with pytest.raises(ValueError, match=r"shape \(2,\).*cotangent"):
        (leaf([1.0, 2.0]) * 2).backward()
    with pytest.raises(ValueError, match=r"shape \(3,\) for a tensor of shape \(2,\)"):
        (leaf([1.0, 2.0]) * 2).backward(np.ones(3))


def test_a_rebound_leaf_does_not_change_a_recorded_graph():
    x = leaf([1.0, 2.0])
    y = (x * x).sum()
    x.data = np.array([100.0, 200.0])
    y.backward()
    np.testing.assert_array_equal(x.grad, [2, 4])


def test_hand_written_descent():
    x = leaf([1.0, 2.0])
    (x * x).sum().backward()
    x.data -= 0.5 * x.grad
    np.testing.assert_array_equal(x.data, [0, 0])


def test_the_data_of_a_result_is_read_only():
    y = leaf([1.0]) * 2
    with pytest.raises(ValueError, match="read-only"):
        y.data[0] = 5
    with pytest.raises(TypeError, match="result of multiply"):
        y.data = np.ones(1)
    with pytest.raises(ValueError, match=r"shape is \(1,\)"):
        leaf([1.0]).data = np.ones(2)


def test_what_is_detached_from_a_graph_cannot_change_it():
    x = leaf([1.0, 2.0])
    y = x * 3
    z = (y * y).sum()
    with pytest.raises(ValueError, match="read-only"):
        y.detach().data[0] = 9
    assert (y.detach() + 1).tolist() == [4, 7]
    z.backward()
    assert x.grad.tolist() == [18, 36]
    x.detach().data[0] = 5  # the memory of a leaf is shared, as its own `data` is
    assert x.tolist() == [5, 2]


def test_indexing_is_linear_in_its_cost_and_right():
    x = leaf(np.arange(12.0).reshape(4, 3))
    total = sum((x[t] * (t + 1)).sum() for t in range(4)) + (x * x).sum() + x[[0, 0]].sum()
    total.backward()
    expected = np.arange(1.0, 5)[:, None] + 2 * x.data
    expected[0] += 2
    np.testing.assert_array_equal(x.grad, expected)


def test_a_chain_of_100_000_operations():
    x = leaf(1.0)
    y = x
    for _ in range(100_000):
        y = y + 1e-6
    y.backward()
    assert x.grad == 1.0
    assert mg.jvp(lambda x: _chain(x, 20_000), (1.0,), (1.0,))[1].item() == 1.0
    gone = weakref.ref(y)
    del y
    assert gone() is None  # freed by counting references alone, without recursion


def _chain(x, n):
    for _ in range(n):
        x = x + 0.0
    return x


def test_graphs_are_freed_without_the_collector():
    gc.disable()
    try:
        x = leaf(np.ones(3))
        loss = (np.tanh(x) * x).sum()
        loss.backward()
        inner = weakref.ref(loss.inputs[0])
        del loss
        assert inner() is None
    finally:
        gc.enable()


def test_the_same_program_gives_the_same_bits():
    def run():
        x = leaf(np.linspace(0, 1, 7))
        y = np.sin(x) * x + np.exp(x) / (x + 1) + x @ x + x[2] * x[[1, 1]].sum()
        y.sum().backward()
        return x.grad.tobytes()

    assert len({run() for _ in range(5)}) == 1


# ---- Python's protocols ------------------------------------------------------------------------


def test_truth_comparison_and_hash():
    t = leaf([1.0, 2.0])
    assert bool(leaf([3.0]))
    assert not mg.tensor(0.0)
    with pytest.raises(ValueError, match="ambiguous"):
        bool(t)
    assert isinstance(t == t, np.ndarray)
    assert (t == np.array([1.0, 5.0])).tolist() == [True, False]
    assert (t < 2).tolist() == [True, False]
    assert len({t, t, leaf([1.0, 2.0])}) == 2
    assert 2.0 in t
    assert 7.0 not in t


def test_numbers_sequences_and_text():
    t = leaf([[1.0, 2.0], [3.0, 4.0]])
    assert len(t) == 2
    assert [row.data.tolist() for row in t] == [[1, 2], [3, 4]]
    assert float(t[0, 1].detach()) == 2.0
    assert int(t[1, 1].detach()) == 4
    assert f"{t[0, 0]:.2f}" == "1.00"
    assert [10, 20, 30][mg.tensor(1)] == 20
    assert repr(mg.tensor(1.5, name="w")) == "tensor(1.5, name='w')"
    assert repr(leaf(1.0) * 2) == "tensor(2., dtype=float64, op='multiply')"
    with pytest.raises(TypeError, match="0-d"):
        iter(leaf(1.0))


def test_the_operators_of_whole_numbers_and_of_truth():
    """As those of arrays: constant to the graph, but for the remainder."""
    x, k, b = leaf([2.5, -3.5]), np.array([6, 3]), np.array([True, False])
    for name in ("and_", "or_", "xor", "lshift", "rshift"):
        f = getattr(operator, name)
        for a, c in ((k, np.array([2, 1])), (b, ~b)):
            if a.dtype != bool or "shift" not in name:
                for z in (f(mg.tensor(a), c), f(a, mg.tensor(c)), f(mg.tensor(a), mg.tensor(c))):
                    assert z.tolist() == f(a, c).tolist()
    assert (6 & mg.tensor(k)).tolist() == [6, 2]
    assert (~mg.tensor(b)).tolist() == [False, True]
    assert (~mg.tensor(k)).tolist() == [-7, -4]
    for call in (lambda: ~x, lambda: x & 1):
        with pytest.raises(TypeError, match=r"(invert|bitwise_and) on shapes \(2,\)"):
            call()
    assert round(x).tolist() == [2, -4]
    assert round(leaf(2.446), 2).tolist() == 2.45
    for quotient, rest in (divmod(x, 2), np.divmod(x, 2)):
        assert quotient.tolist() == [1, -2]
        assert rest.tolist() == [0.5, 0.5]
    (divmod(7.0, x)[1] * [1.0, 10.0]).sum().backward()
    assert x.grad.tolist() == [-2, 20]


def test_item_assignment_names_the_way_out():
    with pytest.raises(TypeError, match=r"x\.at\[i\]\.set\(v\)"):
        leaf([1.0])[0] = 2.0
    x, v = leaf([1.0, 2.0, 3.0]), leaf(9.0)
    y = x.at[1].set(v)
    assert y.tolist() == [1, 9, 3]
    (y * y).sum().backward()
    assert x.grad.tolist() == [2, 0, 6]
    assert v.grad == 18
    assert x.at[[0, 0]].add(1.0).tolist() == [3, 2, 3]


def test_rebinding():
    x = leaf([1.0])
    y = x
    y += 1
    assert x.data == 1
    assert (y is x) is False


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))]
)
def test_copies_keep_the_data_and_drop_the_graph(again):
    x = leaf([1.0, 2.0], name="x")
    y = x * 2
    y.sum().backward()
    x2, y2 = again(x), again(y)
    assert x2.name == "x"
    assert x2.requires_grad
    assert x2.grad.tolist() == [2, 2]
    assert y2.tolist() == [2, 4]
    assert not y2.requires_grad
    x2.data[0] = 7
    assert x.data[0] == 1


# ---- NumPy's protocols -------------------------------------------------------------------------


ARITHMETIC = (operator.add, operator.sub, operator.mul, operator.truediv, operator.pow)
OTHERS = (np.array([1.0, 2.0]), np.float64(2), 2.0, 2, [1.0, 2.0])


@pytest.mark.parametrize(
    ("op", "other"),
    [(op, other) for op in ARITHMETIC for other in OTHERS]
    + [(operator.matmul, OTHERS[0]), (operator.matmul, OTHERS[-1])],
)
def test_operators_in_both_orders(op, other):
    t = leaf([3.0, 4.0])
    for z, exact in ((op(t, other), op(t.numpy(), other)), (op(other, t), op(other, t.numpy()))):
        assert isinstance(z, mg.Tensor)
        np.testing.assert_array_equal(z.data, exact)
        z.sum().backward()


def test_scalars_are_weak():
    t = mg.tensor([1.0, 2.0])
    for z in (t * 2.0, 2.0 * t, t + 1, t**2, t**0.5, 2.0**t, t / 3, np.maximum(t, 0.5), t.mean()):
        assert z.dtype == np.float32
    assert (t * np.float64(2)).dtype == np.float64  # a NumPy scalar is not weak, as in NumPy 2


def test_remainder_and_floor_division():
    t, x = leaf([5.0, -5.0]), np.array([5.0, -5.0])
    for z, exact in (
        (t % 3, x % 3),
        (7.0 % t, 7.0 % x),
        (x % t, x % x),
        (np.float64(7) % t, 7 % x),
    ):
        assert z.requires_grad
        np.testing.assert_array_equal(z.data, exact)
    for z, exact in ((t // 3, x // 3), (7.0 // t, 7.0 // x), (x // t, x // x)):
        assert isinstance(z, np.ndarray)
        np.testing.assert_array_equal(z, exact)
    (t % leaf([3.0, 3.0])).sum().backward()
    assert t.grad.tolist() == [1, 1]


def test_arrays_from_tensors():
    t = mg.tensor(np.array([1.0, 2.0]))
    assert np.shares_memory(np.array(t, copy=False), t.data)
    with pytest.raises(ValueError, match="needs a copy"):
        np.array(t, dtype=int, copy=False)
    a = np.array(t)
    a[0] = 9
    assert t.data[0] == 1
    assert np.asarray(t, dtype=np.float32).dtype == np.float32
    assert np.isfinite(t).all()
    assert np.argmax(t) == 1
    assert np.shape(t) == (2,)


def test_numpy_functions_give_tensors_equal_to_ours():
    t = leaf([[1.0, 2.0], [3.0, 4.0]])
    for theirs, ours in (
        (np.sum(t, axis=0), mg.sum(t, axis=0)),
        (np.sum(a=t, axis=1, keepdims=True), mg.sum(t, 1, True)),
        (np.expand_dims(t, 1), mg.expand_dims(t, axis=1)),
        (np.concatenate([t, t], 1), mg.concatenate([t, t], axis=1)),
        (np.transpose(t), t.T),
        (np.swapaxes(t, 0, 1), t.mT),
        (np.reshape(t, (4,)), t.reshape(-1)),
        (np.clip(t, 1.5, 3.5), t.clip(1.5, 3.5)),
        (np.where(t > 2, t, 0.0), mg.where(t > 2, t, 0.0)),
        (np.take(t, [1, 0], axis=1), t[:, [1, 0]]),
        (np.dot(t, t), t @ t),
    ):
        assert isinstance(theirs, mg.Tensor)
        np.testing.assert_array_equal(theirs.data, ours.data)
    assert [part.shape for part in np.split(t, 2, axis=1)] == [(2, 1), (2, 1)]


def test_indexing_with_tensors():
    x = leaf([1.0, 2.0, 3.0])
    assert x[mg.tensor([2, 0])].tolist() == [3, 1]
    assert x[x > 1.5].tolist() == [2, 3]
    with pytest.raises(IndexError, match="getitem"):
        x[5]


# ---- errors ------------------------------------------------------------------------------------


def test_shape_errors_name_the_operation_and_the_shapes():
    a, b = leaf(np.ones((2, 3))), leaf(np.ones((4, 5)))
    with pytest.raises(ValueError, match=r"add.*\(2, 3\), \(4, 5\)"):
        a + b
    with pytest.raises(ValueError, match=r"matmul.*\(2, 3\), \(4, 5\)"):
        a @ b
    with pytest.raises(ValueError, match=r"reshape.*\(2, 3\).*shape=\(4, 4\)"):
        a.reshape(4, 4)
    with pytest.raises(np.exceptions.AxisError, match=r"sum.*axis=7"):
        a.sum(axis=7)
    with pytest.raises(ValueError, match=r"concatenate.*\(2, 3\), \(4, 5\)"):
        mg.concatenate([a, b])
    with pytest.raises(ValueError, match=r"less on shapes \(2, 3\), \(4, 5\)"):
        operator.lt(a, b)
    with pytest.raises(ValueError, match=r"equal on shapes \(2, 3\), \(4, 5\)"):
        operator.eq(a, b.data)
    with pytest.raises(ValueError, match=r"argmax on shapes \(0,\)"):
        np.argmax(leaf([]))


def test_errors_name_what_was_called_and_what_failed_inside():
    a, b = leaf(np.ones((2, 3))), leaf(np.ones((4, 5)))
    for call, words in (
        (lambda: np.dot(a, b), r"^dot: matmul on shapes \(2, 3\), \(4, 5\)"),
        (lambda: np.hstack([a, b]), r"^hstack: concatenate on shapes \(2, 3\), \(4, 5\), axis=1"),
        (lambda: np.ptp(a, axis=5), r"^ptp: max on shapes \(2, 3\), axis=5"),
        (lambda: np.outer(a, "a"), "^outer: reshape takes real numbers"),
    ):
        with pytest.raises((ValueError, TypeError), match=words) as caught:
            call()
        inside = {frame.name for frame in caught.traceback}
        assert inside & {"dot", "join", "ptp", "outer"}  # the way there is not lost


def test_what_is_not_supported_says_so():
    t = leaf([[2.0, 1.0], [1.0, 2.0]])
    with pytest.raises(TypeError, match=r"numpy\.i0.*primitive.*\.data"):
        np.i0(t)
    with pytest.raises(TypeError, match=r"numpy\.subtract\.reduce has no derivative"):
        np.subtract.reduce(t)
    with pytest.raises(TypeError, match="'out' would be written into"):
        np.add(t, t, out=np.ones((2, 2)))
    with pytest.raises(TypeError, match="no argument 'dtype'"):
        np.sum(t, dtype=np.float32)
    for call in (lambda: mg.sum(t, 0, axis=1), lambda: mg.exp(t, x=t)):
        with pytest.raises(TypeError, match=r"got the argument '\w+' twice"):
            call()
    with pytest.raises(TypeError, match=r"mg\.stack"):
        t + [t, t]  # noqa: RUF005
    for other in ("a", None, np.timedelta64(3, "s"), object(), np.array([None])):
        with pytest.raises(TypeError, match="add takes real numbers, not"):
            t + other
    with pytest.raises(TypeError, match=r"matmul on shapes \(2, 2\), int"):
        t @ 2
    with pytest.raises(TypeError, match="do not flow through 'q'"):
        np.quantile(t, t)


def test_requires_grad_can_be_switched_on_leaves_only():
    x = leaf([1.0])
    x.requires_grad = False
    assert not (x * 2).requires_grad
    x.requires_grad = True
    assert (x * 2).requires_grad
    with pytest.raises(TypeError, match="detach"):
        (x * 2).requires_grad = False
    with pytest.raises(TypeError, match="pass floats"):
        mg.tensor([1, 2]).requires_grad = True


def test_scopes_nest_and_are_recorded():
    x = leaf([1.0])
    with mg.scope("net"), mg.scope("step", 3):
        y = x * 2
    assert str(y.scope) == "net/step[3]"
    assert (x * 2).scope is None


def test_a_matrix_used_many_times_has_a_gradient_of_its_dtype():
    w = mg.tensor(np.eye(2, dtype=np.float32), requires_grad=True)
    xs = [np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, 6.0]])]
    (sum((x @ w).sum() for x in xs) + (w * 2.0).sum()).backward()
    assert w.grad.dtype == np.float32
    np.testing.assert_array_equal(w.grad, [[11, 11], [14, 14]])


@pytest.mark.parametrize("name", ["sum", "var", "swapaxes", "sort", "astype", "take", "dot"])
def test_a_method_has_the_signature_of_its_operation(name):
    operation = getattr(mg, name)
    _, *wanted = inspect.signature(operation).parameters.values()
    me, *taken = inspect.signature(getattr(mg.Tensor, name)).parameters.values()
    assert (me.name, taken) == ("self", wanted)


def test_an_object_that_wants_to_compute_itself_does_as_with_an_array():
    """NumPy's protocol: `__array_ufunc__ = None` leaves the operator to the other operand."""

    class Scale:
        __array_ufunc__ = None

        def __rmul__(self, x):
            return x * 2.0

        def __rsub__(self, x):
            return x - 1.0

    x = mg.tensor([1.0, 2.0], requires_grad=True)
    np.testing.assert_array_equal((x * Scale()).data, x.data * Scale())
    np.testing.assert_array_equal((x - Scale()).data, x.data - Scale())
    with pytest.raises(TypeError, match="takes real numbers"):
        x * object()
    with pytest.raises(TypeError, match="unsupported operand"):
        x / Scale()
