"""The awkward points, where libraries differ: each a decision, and a test of it.

One test for each trap, in the order of a table of what PyTorch, JAX, HIPS autograd, MyGrad and
others do there. `g(f, *xs)` gives the gradients of the sum of f.
"""

import copy
import operator
import pickle
import threading
from functools import partial

import numpy as np
import pytest

import minigrad as mg
from tests.helpers import in_threads, leaf

INF, NAN = np.inf, np.nan


def g(f, *xs):
    """The gradients of sum(f(*xs)), as lists."""
    arrays = [np.array(x, dtype=np.float64) for x in xs]
    found = mg.grad(lambda *xs: f(*xs).sum(), argnums=tuple(range(len(xs))))(*arrays)
    return [t.tolist() for t in found]


# ---- values of the derivative at corners, zeros and infinities -----------------------------------


def test_ties_of_max_and_min_share_evenly():
    assert g(mg.max, [1, 3, 3, 2]) == [[0, 0.5, 0.5, 0]]
    assert g(mg.min, [1, 1, 1, 2]) == [[1 / 3, 1 / 3, 1 / 3, 0]]
    assert g(lambda x: x.max(axis=1), [[1, 3, 3, 2], [5, 5, 5, 5]]) == [
        [[0, 0.5, 0.5, 0], [0.25, 0.25, 0.25, 0.25]]
    ]


def test_maximum_of_equals_gives_half_to_each():
    assert g(mg.maximum, 2, 2) == [0.5, 0.5]
    assert g(mg.minimum, [2, 1], [2, 3]) == [[0.5, 1], [0.5, 0]]


def test_relu_at_zero_is_zero_and_maximum_half():
    assert g(mg.relu, [-1, 0, 1]) == [[0, 0, 1]]
    assert g(lambda x: mg.maximum(x, 0.0), 0) == [0.5]


def test_abs_at_zero():
    assert g(mg.abs, [-2, 0, 2]) == [[-1, 0, 1]]


def test_clip_passes_the_gradient_at_its_bounds():
    assert g(lambda x: mg.clip(x, 0.0, 1.0), [-1, 0, 0.5, 1, 2]) == [[0, 1, 1, 1, 0]]


def test_sqrt_at_zero_is_honest():
    with np.errstate(divide="ignore", invalid="ignore"):
        assert g(mg.sqrt, 0.0) == [INF]
        assert np.isnan(g(lambda x: mg.sqrt(x) * 0, 0.0)[0])


@pytest.mark.parametrize("ord", [None, 1, 2, 3, 0.5, INF, "fro", "nuc"])
def test_norm_of_zeros(ord):
    zeros = np.zeros((2, 2) if isinstance(ord, str) else 3)
    assert g(lambda x: np.linalg.norm(x, ord), zeros) == [(0 * zeros).tolist()]


def test_std_of_equals():
    assert g(mg.std, [2, 2]) == [[0, 0]]
    assert g(lambda x: x.std(axis=0), [[2, 1], [2, 3]]) == [[[0, -0.5], [0, 0.5]]]


def test_prod_of_zeros():
    assert g(mg.prod, [2, 0, 3]) == [[0, 6, 0]]
    assert g(mg.prod, [0, 0, 3]) == [[0, 0, 0]]
    assert mg.hessian(mg.prod)(np.array([2.0, 0, 3])).tolist() == [[0, 3, 0], [3, 0, 2], [0, 2, 0]]


def test_cumprod_of_zeros():
    assert g(mg.cumprod, [0, 3, 2]) == [[10, 0, 0]]
    assert g(lambda x: mg.cumprod(x)[1:], [0, 3, 2]) == [[9, 0, 0]]


def test_where_does_not_hide_nan_of_the_branch_not_taken():
    """The rule of log gives 0 * inf. Choosing the argument as well, as `where` says, helps."""
    with np.errstate(divide="ignore", invalid="ignore"):
        [leaky] = g(lambda x: mg.where(x > 0, mg.log(x), 0.0), [0.0, 1.0])
    assert np.isnan(leaky[0])
    [safe] = g(lambda x: mg.where(x > 0, mg.log(mg.where(x > 0, x, 1.0)), 0.0), [0.0, 1.0])
    assert safe == [0, 1]


@pytest.mark.parametrize("zero", [0, 0.0, np.array(0.0), mg.tensor(0.0)])
def test_the_power_zero_has_slope_zero(zero):
    assert g(lambda x: x**zero, [0, 2]) == [[0, 0]]


def test_zero_to_a_power_has_slope_zero_by_the_power():
    assert g(lambda y: 0**y, [2, 0]) == [[0, 0]]
    assert g(mg.power, [0, 0], [2, 0]) == [[0, 0], [0, 0]]


def test_powers_of_a_negative_base():
    """By the exponent there is no derivative; a constant exponent asks for no logarithm."""
    with np.errstate(invalid="ignore"):
        base, exponent = g(mg.power, -2.0, 3.0)
    assert base == 12
    assert np.isnan(exponent)
    for three in (3, 3.0, np.array(3.0)):
        assert g(lambda x, p=three: x**p, -2) == [12]


def test_sinc_and_arctan2_at_the_origin():
    assert g(np.sinc, 0) == [0]
    assert g(np.arctan2, 0, 0) == [0, 0]
    assert g(np.hypot, 0, 0) == [0, 0]


def test_logsumexp_of_minus_infinities():
    assert mg.logsumexp(np.array([-INF, -INF])).item() == -INF
    assert g(mg.logsumexp, [-INF, -INF]) == [[0, 0]]
    assert g(mg.logsumexp, [-INF, 0]) == [[0, 1]]
    assert mg.logaddexp(leaf(-INF), -INF).item() == -INF
    assert g(mg.logaddexp, -INF, -INF) == [0, 0]


def test_sigmoid_and_its_kin_far_out():
    assert mg.sigmoid(np.array([-1000.0, 0, 1000])).tolist() == [0, 0.5, 1]
    assert g(mg.sigmoid, [-1000, 1000]) == [[0, 0]]
    assert g(mg.tanh, [-1000, 1000]) == [[0, 0]]
    assert g(mg.softplus, [-1000, 1000]) == [[0, 1]]


def test_cross_entropy_of_large_logits():
    x = leaf([[1000, 0]])
    loss = mg.nn.cross_entropy(x, [1])
    loss.backward()
    assert loss.item() == 1000
    assert x.grad.tolist() == [[1, -1]]


# ---- dtypes --------------------------------------------------------------------------------------


def test_whole_numbers_cannot_require_gradients():
    for call in (
        lambda: mg.tensor([1, 2], requires_grad=True),
        lambda: setattr(mg.tensor([1, 2]), "requires_grad", True),
        lambda: mg.grad(lambda x: x * 1.0)(3),
        lambda: mg.vjp(np.sum, np.arange(3)),
    ):
        with pytest.raises(TypeError, match=r"not int64; pass floats \(2\.0 instead of 2\)"):
            call()


def test_whole_numbers_to_negative_powers_raise_as_in_numpy():
    with pytest.raises(ValueError, match=r"power on shapes \(2,\), int"):
        mg.tensor([1, 2]) ** -1


def test_python_numbers_are_weak():
    t = mg.tensor([1.0, 2.0])
    assert {(t * 2.0).dtype, (2 + t).dtype, (t**0.5).dtype, (True * t).dtype} == {t.dtype}
    assert t.dtype == np.float32


def test_numpy_scalars_are_not_weak():
    t = mg.tensor([1.0, 2.0], requires_grad=True)
    z = t * np.float64(2)
    assert z.dtype == (np.float64(2) * t).dtype == np.float64
    z.sum().backward()
    assert t.grad.dtype == np.float32


def test_gradients_have_the_dtype_of_what_they_belong_to():
    x, y = leaf([1, 2], np.float32), leaf([1, 2])
    (x * y).sum().backward()
    assert (x.grad.dtype, y.grad.dtype) == (np.float32, np.float64)


# ---- NumPy on the left, Python's protocols -------------------------------------------------------


@pytest.mark.parametrize("name", ["add", "sub", "mul", "truediv", "pow", "mod"])
@pytest.mark.parametrize("other", [np.float64(2), np.array([3.0, 4.0])])
def test_operators_give_tensors_in_both_orders(name, other):
    op, t = getattr(operator, name), leaf([3, 4])
    for z, exact in ((op(other, t), op(other, t.data)), (op(t, other), op(t.data, other))):
        assert isinstance(z, mg.Tensor)
        assert z.tolist() == exact.tolist()


def test_an_array_times_a_tensor_is_a_tensor():
    a, t = np.array([[1.0, 2.0], [3.0, 4.0]]), leaf([[0, 1], [1, 0]])
    for z, exact in ((a @ t, a @ t.data), (t @ a, t.data @ a), (a * t, a * t.data)):
        assert isinstance(z, mg.Tensor)
        assert z.tolist() == exact.tolist()


def test_an_array_of_a_constant_is_a_copy_of_its_data():
    t = mg.tensor([1.0, 2.0])
    for a in (np.array(t * 1), np.array(t), np.asarray(t)):
        assert type(a) is np.ndarray
        a[0] = 9
    assert t.tolist() == [1, 2]


def test_no_array_of_a_live_tensor():
    t = leaf([1, 2])
    for call in (np.array, np.asarray, lambda t: np.array([t, t]), lambda t: np.mean([t[0], t[1]])):
        for live in (t, t * 1):
            with pytest.raises(TypeError, match="would become an array"):
                call(live)
    with mg.no_grad(), pytest.raises(TypeError, match="would become an array"):
        np.asarray(t)


def test_truth_is_of_one_element():
    assert bool(leaf([[3]]))
    assert not leaf(0)
    for several in ([1, 2], []):
        with pytest.raises(ValueError, match="ambiguous; use"):
            bool(leaf(several))


def test_comparisons_are_elementwise_and_hashes_by_identity():
    t = leaf([1, 2])
    assert (t == np.array([1, 5])).tolist() == [True, False]
    assert type(t == t) is type(t < 2) is np.ndarray
    assert len({t, t, leaf([1, 2])}) == 2


# ---- shapes --------------------------------------------------------------------------------------


def test_broadcasting_of_every_kind():
    a, b, c = np.ones((3, 1)), np.ones((1, 4)), np.ones(())
    da, db, dc = mg.grad(lambda a, b, c: (a * b + c).sum(), argnums=(0, 1, 2))(a, b, c)
    assert da.tolist() == [[4], [4], [4]]
    assert db.tolist() == [[3, 3, 3, 3]]
    assert dc.tolist() == 12


def test_broadcast_to():
    assert g(lambda x: mg.broadcast_to(x, (2, 3)), [1, 2, 3]) == [[2, 2, 2]]
    assert g(lambda x: mg.broadcast_to(x, (2, 3)), [[1], [2]]) == [[[3], [3]]]


def test_sum_over_no_axes():
    assert mg.sum(np.array([1.0, 2.0]), axis=()).tolist() == [1, 2]
    assert g(lambda x: mg.sum(x, axis=()), [1, 2]) == [[1, 1]]


def test_empty_arrays():
    assert g(mg.sum, np.zeros((0, 3))) == [[]]
    assert g(lambda a, b: a @ b, np.ones((2, 0)), np.ones((0, 3))) == [[[], []], []]
    assert g(lambda x: x[[]], [5, 6]) == [[0, 0]]
    with pytest.raises(ValueError, match=r"max on shapes \(0,\)"):
        mg.max(np.zeros(0))


def test_an_element_read_twice_has_twice_the_gradient():
    assert g(lambda x: x[[0, 0, 1]], [5, 6, 7]) == [[2, 1, 0]]
    assert g(lambda x: x[:, [1, 1]], [[5, 6], [7, 8]]) == [[[0, 2], [0, 2]]]


def test_an_index_out_of_bounds_raises():
    for call in (lambda x: x[5], lambda x: x[[5]], lambda x: x.at[5].set(1.0), lambda x: x[-3]):
        with pytest.raises(IndexError, match="out of bounds for axis 0 with size 2"):
            call(leaf([1, 2]))


def test_tensors_as_indices_and_masks():
    x = leaf([1, 2, 3])
    assert x[mg.tensor([2, 0])].tolist() == [3, 1]
    assert x[mg.tensor(1)].item() == 2
    assert x[mg.tensor([True, False, True])].tolist() == x[x != 2].tolist() == [1, 3]


# ---- changes in place, lifetimes of gradients ----------------------------------------------------


def test_assignment_to_an_item_names_the_way_out():
    x = leaf([1, 2])
    with pytest.raises(TypeError, match=r"x = x\.at\[i\]\.set\(v\)"):
        x[1] = 5 * x[0]
    y = (x * 1).at[1].set(5 * x[0])
    y.sum().backward()
    assert x.grad.tolist() == [6, 0]


def test_an_array_changed_after_its_use_is_found_in_debug_mode():
    a = np.array([1.0, 2.0])
    x, w, taken = leaf([3, 4], name="x"), leaf([5, 6]), mg.tensor(a)
    with mg.debug():
        y, z = (w * a).sum(), (x * x).sum()
        a[0] = x.data[0] = 9
        with pytest.raises(RuntimeError, match=r"a constant of shape \(2,\).*changed in place"):
            y.backward()
        with pytest.raises(RuntimeError, match="'x' was changed in place"):
            z.backward()
    assert taken.tolist() == [1, 2]  # mg.tensor copies


def test_augmented_assignment_rebinds():
    y = leaf(1) * 1
    z = y
    y += 1
    assert (z.item(), y.item()) == (1, 2)


def test_a_step_by_hand():
    """`p -= ...` makes a new tensor of the name p; what moves the parameter is its data."""
    p = leaf([1, 2])
    kept = p
    p -= 0.5 * np.ones(2)
    assert p is not kept
    assert kept.tolist() == [1, 2]
    (kept * kept).sum().backward()
    kept.data -= 0.5 * kept.grad
    assert kept.tolist() == [0, 0]
    assert kept.requires_grad
    with pytest.raises(ValueError, match="read-only"):
        (kept * 2).data[0] = 1


def test_backward_twice_accumulates():
    x = leaf(3)
    y = x * x
    y.backward()
    assert x.grad == 6
    y.backward()
    assert x.grad == 12


def test_two_losses_accumulate():
    x = leaf(1)
    (3 * x).backward()
    (5 * x).backward()
    assert x.grad == 8


def test_results_have_a_gradient_on_request_only():
    x = leaf(3)
    y, z = x * x, x * 2
    z.retain_grad()
    (y * z).backward()
    assert y.grad is None
    assert z.grad == 9


def test_gradients_share_no_memory():
    a, b, seed = leaf([1, 2]), leaf([1, 2]), np.ones(2)
    (a + b).backward(seed)
    a.grad *= 0.5
    assert (b.grad.tolist(), seed.tolist()) == ([1, 1], [1, 1])
    a.sum().backward()  # its cotangent is one number, spread
    a.grad += 1


def test_a_cotangent_that_two_inputs_share():
    assert g(lambda x, y: x / (x + y), 2, 3) == pytest.approx([3 / 25, -2 / 25])


def test_an_unused_input():
    x, unused = leaf(1), leaf(1)
    (x * 2).backward()
    assert unused.grad is None
    assert g(lambda a, b: a * 2, 1, 1) == [2, 0]


def test_backward_without_a_graph():
    with pytest.raises(RuntimeError, match=r"no graph: .*requires_grad=True"):
        mg.tensor(1.0).backward()


def test_an_output_that_is_not_used():
    x = leaf([[2, 1], [1, 3]])
    np.linalg.eigh(x).eigenvalues.sum().backward()
    np.testing.assert_allclose(x.grad, np.eye(2), atol=1e-15)
    first, _ = np.split(x, 2)
    del _
    first.sum().backward()
    np.testing.assert_allclose(x.grad, [[2, 1], [0, 1]], atol=1e-15)


def test_complex_numbers_are_refused():
    for call in (
        lambda: mg.tensor(1 + 2j),
        lambda: mg.grad(lambda z: np.abs(z) ** 2)(1 + 2j),
        lambda: leaf([1]) * 1j,
    ):
        with pytest.raises(TypeError, match=r"not complex\d+; write the real and imaginary parts"):
            call()


# ---- order, depth, copies, threads ---------------------------------------------------------------


def test_higher_orders():
    assert mg.grad(mg.grad(lambda x: x**3))(2.0).item() == 12
    assert mg.grad(mg.grad(mg.grad(np.tanh)))(0.0).item() == -2
    assert mg.grad(mg.grad(mg.grad(lambda x: mg.exp(-(x**2)))))(0.0).item() == 0
    assert mg.grad(mg.grad(lambda x: x**2))(0.0).item() == 2


def test_a_chain_of_100_000_operations():
    x = leaf(1)
    y = x
    for _ in range(100_000):
        y = y * 1.0
    y.backward()
    assert x.grad == 1
    del y  # freed without recursion too


@pytest.mark.parametrize("again", [copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))])
def test_copies_drop_the_graph(again):
    y = leaf([1, 2]) * 2
    assert again(y).tolist() == [2, 4]
    assert not again(y).requires_grad
    linear = mg.nn.Linear(2, 2, dtype=np.float64)
    linear.last = linear(np.ones((1, 2)))  # an activation kept on the module
    twin = again(linear)
    assert twin.last.tolist() == linear.last.tolist()
    assert twin.weight.requires_grad


def test_no_grad_is_of_its_own_thread():
    recorded = []

    def work():
        recorded.append((leaf(1) * 2).requires_grad)

    with mg.no_grad():
        in_threads(work)
        work()
    assert recorded == [True, False]


def test_nested_gradients_in_threads():
    """d/dx [x d/dy (x y^3)] = 6 x y^2, 180 times in 6 threads at once."""
    start, wrong = threading.Barrier(6), []

    def work(seed):
        start.wait()
        for x, y in np.random.default_rng(seed).uniform(0.5, 2, (30, 2)):
            d = mg.grad(lambda x, y=y: x * mg.grad(lambda y: x * y**3)(y))(x)
            if not np.isclose(d.item(), 6 * x * y**2, rtol=1e-12):
                wrong.append((x, y))

    in_threads(*[partial(work, k) for k in range(6)])
    assert wrong == []


@pytest.mark.parametrize("bad", [NAN, INF])
def test_clipping_a_norm_that_is_not_finite(bad):
    p, q = leaf([1, 2], name="w"), leaf(1)
    p.grad, q.grad = np.array([bad, 1.0]), np.array(5.0)
    with pytest.raises(ValueError, match="gradient of w is not finite"):
        mg.optim.clip_grad_norm_([q, p], 1.0)
    assert q.grad == 5


# ---- products, sums, checks, errors --------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 3), (3, 2)), ((4, 2, 3), (3, 2)),
        ((2, 3), (4, 3, 2)), ((4, 1, 2, 3), (5, 3, 2)), ((3,), (4, 3, 2)), ((4, 2, 3), (3,)),
    ],
)  # fmt: skip
def test_matmul_of_all_shapes(a, b):
    rng = np.random.default_rng(0)
    mg.check_grads(np.matmul, (rng.normal(size=a), rng.normal(size=b)))


def test_diagonals_by_einsum():
    x, eye = np.arange(4.0).reshape(2, 2), np.eye(2).tolist()
    for subscripts, exact in (("ii->i", [0, 3]), ("ii->", 3), ("ii", 3)):
        assert np.einsum(subscripts, leaf(x)).tolist() == exact
        assert g(lambda x, s=subscripts: np.einsum(s, x), x) == [eye]


def test_a_tensor_and_its_transpose():
    assert g(lambda x: x.T + x, [[1, 2], [3, 4]]) == [[[2, 2], [2, 2]]]


def test_float16_sums_as_numpy_does():
    ones = mg.tensor(np.ones(70_000, np.float16))
    with np.errstate(over="ignore"):
        assert ones.sum().item() == INF
    assert ones.mean().item() == 1


def test_checks_of_float32_are_in_float64():
    x = np.float32([1.0, 0.3])
    mg.check_grads(lambda x: np.sin(x) * np.float32(2), (x,), rtol=1e-9)


def test_errors_of_shapes_name_the_operation_and_both():
    a, b = leaf(np.ones((2, 3))), leaf(np.ones((4, 5)))
    for name, call in (("add", operator.add), ("matmul", operator.matmul), ("less", operator.lt)):
        with pytest.raises(ValueError, match=rf"{name} on shapes \(2, 3\), \(4, 5\)"):
            call(a, b)
