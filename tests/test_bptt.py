"""The hand-derived gradients of `bptt`, held against difference quotients and against PyTorch."""

import ast
import inspect
import itertools

import numpy as np
import pytest

from minigrad import bptt

GATES = {"rnn": 1, "gru": 3, "lstm": 4}
CELLS = list(GATES)
SIZES = [(1, 1, 1, 1), (1, 2, 3, 2), (5, 1, 2, 3), (4, 3, 2, 2), (3, 2, 4, 3)]  # T, B, I, H
ADJOINTS = {"rnn": "ha", "gru": "hrzn", "lstm": "hcifgo"}


def draw(cell, size=(4, 3, 2, 2), *, biases=(True, True), states=True, dtype=np.float64):
    """Random inputs of a layer, by name and in the order of the forward pass."""
    T, B, features, H = size
    rows = GATES[cell] * H
    shapes = {"x": (T, B, features), "weight_ih": (rows, features), "weight_hh": (rows, H)}
    shapes |= {"bias_ih": (rows,), "bias_hh": (rows,), "h0": (B, H)}
    shapes |= {"c0": (B, H)} if cell == "lstm" else {}
    absent = {n for n, there in zip(("bias_ih", "bias_hh"), biases, strict=True) if not there}
    absent |= set() if states else {"h0", "c0"}
    rng = np.random.default_rng([*size, rows])
    return {
        name: None if name in absent else rng.standard_normal(shape).astype(dtype)
        for name, shape in shapes.items()
    }


def draw_cotangents(cell, size=(4, 3, 2, 2)):
    """Random cotangents by the name of the backward argument."""
    T, B, _, H = size
    rng = np.random.default_rng(size)
    names = {"dhs": (T, B, H), "dh_n": (B, H)} | ({"dc_n": (B, H)} if cell == "lstm" else {})
    return {name: rng.standard_normal(shape) for name, shape in names.items()}


def forward(cell, inputs):
    """hs, c_n (None but for the LSTM) and the cache."""
    hs, *c_n, cache = getattr(bptt, f"{cell}_forward")(**inputs)
    return hs, (c_n[0] if c_n else None), cache


def backward(cell, inputs, cotangents, **options):
    return getattr(bptt, f"{cell}_backward")(
        cache=forward(cell, inputs)[2], **cotangents, **options
    )


def functional(hs, c_n, cotangents):
    """The linear functional of the outputs whose gradient the backward pass computes."""
    loss = (hs * cotangents["dhs"]).sum() + (hs[-1] * cotangents["dh_n"]).sum()
    return loss if c_n is None else loss + (c_n * cotangents["dc_n"]).sum()


def central_difference(f, array, *args, eps=1e-5):
    """The derivative of f(array, *args) by the array, which is nudged in place entry by entry."""
    slope = np.empty_like(array)
    for at in np.ndindex(array.shape):
        value = array[at]
        array[at] = value + eps
        up = f(array, *args)
        array[at] = value - eps
        slope[at] = (up - f(array, *args)) / (2 * eps)
        array[at] = value
    return slope


def slow_forward(cell, inputs, at=None, nudge=0.0):
    """hs and c_n, one line per equation and one gate at a time.

    `at` is (name, t): the nudge is added to that intermediate of that step, for all that follows.
    """

    def sigmoid(a):
        return 1 / (1 + np.exp(-a))

    def put(name, value):
        return value + nudge if at == (name, t) else value

    x, weight_ih, weight_hh = inputs["x"], inputs["weight_ih"], inputs["weight_hh"]
    k, H = GATES[cell], weight_hh.shape[1]
    zeros = np.zeros((x.shape[1], H))
    b_ih, b_hh = (
        np.zeros(k * H) if inputs[n] is None else inputs[n] for n in ("bias_ih", "bias_hh")
    )
    h, c = (zeros if inputs.get(name) is None else inputs[name] for name in ("h0", "c0"))
    hs = []
    for t in range(len(x)):
        u = np.split(x[t] @ weight_ih.T + b_ih, k, axis=1)
        v = np.split(h @ weight_hh.T + b_hh, k, axis=1)
        if cell == "rnn":
            h = np.tanh(put("a", u[0] + v[0]))
        elif cell == "gru":
            r = put("r", sigmoid(u[0] + v[0]))
            z = put("z", sigmoid(u[1] + v[1]))
            n = put("n", np.tanh(u[2] + r * v[2]))
            h = (1 - z) * n + z * h
        else:
            i = put("i", sigmoid(u[0] + v[0]))
            f = put("f", sigmoid(u[1] + v[1]))
            g = put("g", np.tanh(u[2] + v[2]))
            o = put("o", sigmoid(u[3] + v[3]))
            c = put("c", f * c + i * g)
            h = o * np.tanh(c)
        h = put("h", h)
        hs.append(h)
    return np.stack(hs), c if cell == "lstm" else None


VARIANTS = [  # biases, initial states
    pytest.param((True, True), True, id="all"),
    pytest.param((False, False), False, id="bare"),
    pytest.param((True, False), True, id="b_ih"),
    pytest.param((False, True), False, id="b_hh"),
]


@pytest.mark.parametrize(("biases", "states"), VARIANTS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cell", CELLS)
def test_forward_equals_the_slow_forward(cell, size, biases, states):
    inputs = draw(cell, size, biases=biases, states=states)
    hs, c_n, _ = forward(cell, inputs)
    slow_hs, slow_c_n = slow_forward(cell, inputs)
    np.testing.assert_allclose(hs, slow_hs, rtol=1e-12, atol=1e-14)
    if cell == "lstm":
        np.testing.assert_allclose(c_n, slow_c_n, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("biases", "states"), VARIANTS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_equal_central_differences(cell, size, biases, states):
    inputs = draw(cell, size, biases=biases, states=states)
    cotangents = draw_cotangents(cell, size)
    grads = backward(cell, inputs, cotangents)
    given = {name for name, value in inputs.items() if value is not None}
    assert set(grads) == given | ({"h0", "c0"} & set(inputs))
    zeros = np.zeros((size[1], size[3]))
    inputs = {n: zeros.copy() if n in ("h0", "c0") and v is None else v for n, v in inputs.items()}

    def loss(_):
        return functional(*forward(cell, inputs)[:2], cotangents)

    for name, grad in grads.items():
        expected = central_difference(loss, inputs[name])
        np.testing.assert_allclose(grad, expected, rtol=1e-6, atol=1e-8, err_msg=name)


@pytest.mark.parametrize("size", [(1, 1, 2, 2), (4, 2, 2, 3)])
@pytest.mark.parametrize("cell", CELLS)
def test_intermediates_equal_central_differences(cell, size):
    inputs, cotangents = draw(cell, size), draw_cotangents(cell, size)
    plain = backward(cell, inputs, cotangents)
    grads = backward(cell, inputs, cotangents, intermediates=True)
    assert set(grads) - set(plain) == {f"d{name}" for name in ADJOINTS[cell]}
    for name in plain:
        np.testing.assert_array_equal(grads[name], plain[name])

    def loss(nudge, name, t):
        return functional(*slow_forward(cell, inputs, (name, t), nudge), cotangents)

    T, B, _, H = size
    for name, t in itertools.product(ADJOINTS[cell], range(T)):
        assert grads[f"d{name}"].shape == (T, B, H)
        expected = central_difference(loss, np.zeros((B, H)), name, t)
        np.testing.assert_allclose(
            grads[f"d{name}"][t], expected, rtol=1e-6, atol=1e-8, err_msg=f"d{name} at step {t}"
        )


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cell", CELLS)
def test_values_and_gradients_equal_torch(cell, size, biased):
    torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs PyTorch")
    inputs, cotangents = draw(cell, size, biases=(biased, biased)), draw_cotangents(cell, size)
    layer = getattr(torch.nn, cell.upper())(size[2], size[3], bias=biased, dtype=torch.float64)
    leaves = {n: torch.tensor(v, requires_grad=True) for n, v in inputs.items() if v is not None}
    states = tuple(leaves[name][None] for name in ("h0", "c0") if name in leaves)
    weights = {f"{name}_l0": leaf for name, leaf in leaves.items() if "_" in name}
    states = states if cell == "lstm" else states[0]
    outputs, last = torch.func.functional_call(layer, weights, (leaves["x"], states))
    c_n = last[1][0] if cell == "lstm" else None
    functional(outputs, c_n, {n: torch.tensor(v) for n, v in cotangents.items()}).backward()

    hs, own_c_n, _ = forward(cell, inputs)
    np.testing.assert_allclose(hs, outputs.detach().numpy(), rtol=1e-11, atol=1e-13)
    if cell == "lstm":
        np.testing.assert_allclose(own_c_n, c_n.detach().numpy(), rtol=1e-11, atol=1e-13)
    for name, grad in backward(cell, inputs, cotangents).items():
        expected = leaves[name].grad.numpy()
        np.testing.assert_allclose(grad, expected, rtol=1e-10, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("states", [True, False])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("cell", CELLS)
def test_dtype_is_kept(cell, dtype, states):
    inputs = draw(cell, states=states, dtype=dtype)
    hs, c_n, cache = forward(cell, inputs)
    grads = backward(cell, inputs, draw_cotangents(cell), intermediates=True)  # float64 cotangents
    arrays = {"hs": hs, **grads, **dict(zip(cache._fields[1:], cache[1:], strict=True))}
    arrays |= {} if c_n is None else {"c_n": c_n}
    assert {name: a.dtype for name, a in arrays.items()} == dict.fromkeys(arrays, np.dtype(dtype))


@pytest.mark.parametrize("cell", CELLS)
def test_float32_is_near_float64(cell):
    cotangents = draw_cotangents(cell)
    single = backward(cell, draw(cell, dtype=np.float32), cotangents)
    for name, grad in backward(cell, draw(cell), cotangents).items():
        np.testing.assert_allclose(single[name], grad, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("cell", CELLS)
def test_a_cotangent_left_out_is_zero(cell):
    inputs, cotangents = draw(cell), draw_cotangents(cell)
    for name in cotangents:
        left_out = cotangents | {name: None}
        zero = cotangents | {name: np.zeros_like(cotangents[name])}
        grads, expected = (backward(cell, inputs, c) for c in (left_out, zero))
        for key in expected:
            np.testing.assert_array_equal(grads[key], expected[key])
    nothing = backward(cell, inputs, dict.fromkeys(cotangents))
    assert [name for name, grad in nothing.items() if grad.any()] == []


@pytest.mark.parametrize("cell", CELLS)
def test_backward_leaves_everything_as_it_was(cell):
    inputs, cotangents = draw(cell), draw_cotangents(cell)
    hs, c_n, cache = forward(cell, inputs)
    for output in (hs,) if c_n is None else (hs, c_n):
        assert [kept for kept in cache[1:] if np.shares_memory(output, kept)] == []
    pull = getattr(bptt, f"{cell}_backward")
    first = pull(cache=cache, **cotangents)
    for name, grad in pull(cache=cache, **cotangents).items():
        np.testing.assert_array_equal(grad, first[name])
    for name, value in draw(cell).items():
        np.testing.assert_array_equal(inputs[name], value)
    for name, value in draw_cotangents(cell).items():
        np.testing.assert_array_equal(cotangents[name], value)


@pytest.mark.parametrize("cell", CELLS)
def test_no_two_gradients_share_memory(cell):
    grads = backward(cell, draw(cell), draw_cotangents(cell), intermediates=True)
    for one, other in itertools.combinations(grads, 2):
        assert not np.shares_memory(grads[one], grads[other]), (one, other)
    pinned = [n for n in ("h0", "c0") if n in grads and grads[n].base is not None]
    assert pinned == []  # which would keep all of (T+1, B, H)


@pytest.mark.parametrize("cell", CELLS)
def test_any_memory_order_will_do(cell):
    inputs, cotangents = draw(cell), draw_cotangents(cell)
    expected = backward(cell, inputs, cotangents)
    fortran = [
        {n: np.asfortranarray(v) for n, v in arrays.items()} for arrays in (inputs, cotangents)
    ]
    for name, grad in backward(cell, *fortran).items():
        np.testing.assert_allclose(grad, expected[name], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cell", CELLS)
def test_saturated_gates_stay_finite(cell, dtype):
    inputs = draw(cell, (6, 2, 3, 2), dtype=dtype)
    inputs["x"] *= 1e6
    with np.errstate(all="raise", under="ignore"):
        hs, _, _ = forward(cell, inputs)
        grads = backward(cell, inputs, draw_cotangents(cell, (6, 2, 3, 2)))
    assert np.isfinite(hs).all()
    assert [name for name, grad in grads.items() if not np.isfinite(grad).all()] == []


@pytest.mark.parametrize("cell", CELLS)
def test_an_empty_batch_gives_zero_gradients(cell):
    inputs, cotangents = draw(cell, (4, 0, 3, 2)), draw_cotangents(cell, (4, 0, 3, 2))
    for name, grad in backward(cell, inputs, cotangents).items():
        assert grad.shape == inputs[name].shape
        assert (grad == 0).all()


BAD_INPUTS = [  # T, B, I, H = 4, 3, 2, 2
    ("x", (3, 2), r"x: expected shape \(T, B, 2\), got \(3, 2\)"),
    ("x", (4, 3, 5), r"x: expected shape \(T, B, 2\), got \(4, 3, 5\)"),
    ("x", (0, 3, 2), r"x: expected at least one step .*, got shape \(0, 3, 2\)"),
    ("weight_ih", (2,), r"weight_ih: expected shape \(\d\*H, I\), got \(2,\)"),
    ("weight_hh", (5, 2), r"weight_hh: expected shape \(\d, 2\), got \(5, 2\)"),
    ("weight_hh", (2,), r"weight_hh: expected shape \(\d, 2\), got \(2,\)"),
    ("bias_ih", (1,), r"bias_ih: expected shape \(\d,\), got \(1,\)"),
    ("bias_hh", (2, 2), r"bias_hh: expected shape \(\d,\), got \(2, 2\)"),
    ("h0", (2, 3), r"h0: expected shape \(3, 2\), got \(2, 3\)"),
    ("h0", (1, 3, 2), r"h0: expected shape \(3, 2\), got \(1, 3, 2\)"),
]


@pytest.mark.parametrize(("name", "shape", "message"), BAD_INPUTS)
@pytest.mark.parametrize("cell", CELLS)
def test_a_wrong_shape_is_named(cell, name, shape, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        forward(cell, draw(cell) | {name: np.ones(shape)})


def test_a_wrong_c0_is_named():
    with pytest.raises(ValueError, match=r"^c0: expected shape \(3, 2\), got \(3,\)$"):
        forward("lstm", draw("lstm") | {"c0": np.ones(3)})


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_rows_that_do_not_divide_into_gates_are_named(cell):
    with pytest.raises(ValueError, match=rf"^weight_ih: expected {GATES[cell]}\*H rows, got 7 "):
        forward(cell, draw(cell) | {"weight_ih": np.ones((7, 2))})


@pytest.mark.parametrize(
    ("cell", "name"), [(cell, n) for cell in CELLS for n in draw(cell) if n != "x"]
)
def test_mixed_dtypes_are_named(cell, name):
    inputs = draw(cell, dtype=np.float32)
    inputs[name] = inputs[name].astype(np.float64)
    with pytest.raises(ValueError, match=f"^{name}: expected float32 like x, got float64"):
        forward(cell, inputs)


@pytest.mark.parametrize("cell", CELLS)
def test_integers_are_named(cell):
    with pytest.raises(ValueError, match=r"^x: expected a floating dtype, got int64"):
        forward(cell, draw(cell) | {"x": np.ones((4, 3, 2), np.int64)})


@pytest.mark.parametrize(("cell", "name"), [(c, n) for c in CELLS for n in draw_cotangents(c)])
def test_a_wrong_cotangent_is_named(cell, name):
    shape = "4, 3, 2" if name == "dhs" else "3, 2"
    message = rf"^{name}: expected shape \({shape}\), got \(2, 2\)$"
    with pytest.raises(ValueError, match=message):
        backward(cell, draw(cell), draw_cotangents(cell) | {name: np.ones((2, 2))})


def test_nothing_of_minigrad_is_imported():
    imported = set()
    for node in ast.walk(ast.parse(inspect.getsource(bptt))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add("." * node.level + (node.module or "").split(".")[0])
    assert imported - {"__future__"} == {"numpy", "typing"}
