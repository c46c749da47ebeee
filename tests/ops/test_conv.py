"""Convolutions, pooling, embedding, dropout: by definition, against PyTorch, as modules; errors."""

import itertools

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.testing import check_grads


def _close(a, b, rtol=1e-10):
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape
    np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-11)


def _normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


# ---- by definition ---------------------------------------------------------------------------


def _by_definition(x, w, stride, padding, dilation, groups):
    (sh, sw), (ph, pw), (dh, dw) = stride, padding, dilation
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    height = (x.shape[2] - (w.shape[2] - 1) * dh - 1) // sh + 1
    width = (x.shape[3] - (w.shape[3] - 1) * dw - 1) // sw + 1
    y = np.zeros((len(x), len(w), height, width))
    for n, o, p, q in np.ndindex(*y.shape):
        first = o // (len(w) // groups) * w.shape[1]
        for c, i, j in np.ndindex(*w.shape[1:]):
            y[n, o, p, q] += w[o, c, i, j] * x[n, first + c, p * sh + i * dh, q * sw + j * dw]
    return y


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"),
    [
        ((1, 1), (0, 0), (1, 1), 1),
        ((2, 1), (1, 0), (1, 2), 1),
        ((1, 3), (0, 2), (2, 1), 2),
        ((2, 2), (1, 1), (1, 1), 4),
    ],
)
def test_conv2d_is_its_definition(stride, padding, dilation, groups):
    x, w = _normal(2, 4, 5, 6), _normal(4, 4 // groups, 2, 3, seed=1)
    options = (stride, padding, dilation, groups)
    expected = _by_definition(x, w, *options)
    bias = np.arange(4.0)
    _close(mg.conv2d(x, w, None, *options).data, expected)
    _close(mg.conv2d(x, w, bias, *options).data, expected + bias[:, None, None])


@pytest.mark.parametrize("extra", [0, 1, 2])
@pytest.mark.parametrize("groups", [1, 2])
def test_conv_transpose_is_the_transpose(extra, groups):
    y, w = _normal(2, 4, 3), _normal(4, 2, 4, seed=1)
    options = {"stride": 3, "padding": 1, "dilation": 2, "groups": groups}
    painted = mg.conv_transpose1d(y, w, output_padding=extra, **options)
    x = _normal(*painted.shape, seed=2)
    _close(np.sum(mg.conv1d(x, w, **options).data * y), np.sum(x * painted.data))


def test_derivatives_of_third_order():
    x, w = _normal(1, 2, 3, 3), _normal(2, 2, 2, 2, seed=1)
    check_grads(lambda x, w: mg.conv2d(x, w, padding=1) ** 2, (x, w), order=3, modes=["rev"])
    check_grads(lambda x: mg.max_pool2d(x**3, 2, 1) ** 2, (x,), order=3, modes=["fwd"])


def test_pools_are_reductions_of_windows():
    x = _normal(2, 3, 6, 8)
    blocks = x.reshape(2, 3, 3, 2, 2, 4)
    _close(mg.max_pool2d(x, (2, 4)).data, blocks.max(axis=(3, 5)))
    _close(mg.avg_pool2d(x, (2, 4)).data, blocks.mean(axis=(3, 5)))
    _close(mg.max_pool2d(x, (6, 8)).data[..., 0, 0], x.max(axis=(2, 3)))


@pytest.mark.parametrize(
    ("x", "options", "expected"),
    [
        ([1, 3, 3, 2], (4,), [0, 0.5, 0.5, 0]),
        ([2, 2, 2, 2], (2,), [0.5, 0.5, 0.5, 0.5]),
        ([2, 2, 2, 2], (2, 1), [0.5, 1, 1, 0.5]),
        ([-5, -6, -7, -5], (2, 2, 1), [1, 1, 0, 1]),  # padding is -inf, not 0
    ],
)
def test_ties_of_max_pool_share_evenly(x, options, expected):
    x, dx = np.array([[x]], float), np.array([[[1.0, 10, 100, 1000]]])
    assert mg.grad(lambda x: mg.max_pool1d(x, *options).sum())(x).tolist() == [[expected]]
    _, dy = mg.jvp(lambda x: mg.max_pool1d(x, *options).sum(), (x,), (dx,))
    assert dy.item() == np.sum(dx * expected)


def test_pooling_of_integers():
    x = np.array([[[-3, -4, -5]]])
    assert mg.max_pool1d(x, 2, 1, 1).tolist() == [[[-3, -3, -4, -5]]]
    assert mg.avg_pool1d(x, 2, 1, 1).tolist() == [[[-1.5, -3.5, -4.5, -2.5]]]


def test_a_summed_convolution_gives_what_any_cotangent_gives():
    """The cotangent of a sum is one number, broadcast: a view in which all strides are 0."""
    x, w = (mg.tensor(_normal(*s), requires_grad=True) for s in ((2, 2, 4, 4), (3, 2, 2, 2)))
    mg.conv2d(x, w).sum().backward()
    ones = mg.vjp(mg.conv2d, x.data, w.data)[1](np.ones((2, 3, 3, 3)))
    _close(x.grad, ones[0])
    _close(w.grad, ones[1])


def test_the_gradient_of_the_weight_by_either_product():
    """Many positions take a product in every sample, few take one over all samples."""
    for size in (4, 20):
        x, w = _normal(3, 2, size, size), _normal(5, 2, 3, 3, seed=1)
        y, pull = mg.vjp(mg.conv2d, x, w)
        u = _normal(*y.shape, seed=2)
        by_hand = np.empty_like(w)
        for i, j in np.ndindex(3, 3):
            part = x[:, :, i : i + size - 2, j : j + size - 2]
            by_hand[:, :, i, j] = np.einsum("nohw,nchw->oc", u, part)
        _close(pull(u)[1], by_hand)


# ---- dtypes ----------------------------------------------------------------------------------

IMAGE, LINE = (2, 4, 6, 6), (2, 4, 9)
FUNCTIONS = {
    "conv1d": (lambda F, x, w, b: F.conv1d(x, w, b, padding=1), (LINE, (3, 4, 3), (3,))),
    "conv2d": (lambda F, x, w, b: F.conv2d(x, w, b, stride=2), (IMAGE, (3, 4, 3, 2), (3,))),
    "conv_transpose1d": (lambda F, *a: F.conv_transpose1d(*a), (LINE, (4, 2, 3), (2,))),
    "conv_transpose2d": (lambda F, *a: F.conv_transpose2d(*a, 2), (IMAGE, (4, 2, 3, 2), (2,))),
    "max_pool1d": (lambda F, x: F.max_pool1d(x, 3, 2, 1, 2), (LINE,)),
    "max_pool2d": (lambda F, x: F.max_pool2d(x, 2), (IMAGE,)),
    "avg_pool1d": (lambda F, x: F.avg_pool1d(x, 3, 2, 1), (LINE,)),
    "avg_pool2d": (lambda F, x: F.avg_pool2d(x, (2, 3), 1, (1, 0)), (IMAGE,)),
}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("name", [*FUNCTIONS, "embedding", "dropout"])
def test_the_dtype_stays(name, dtype):
    if name == "embedding":
        f, shapes = lambda F, w: F.embedding(w, [0, 1, 1]), ((3, 2),)
    elif name == "dropout":
        f, shapes = lambda F, x: F.dropout(x, 0.5, np.random.default_rng(0)), ((3, 2),)
    else:
        f, shapes = FUNCTIONS[name]
    xs = [_normal(*s, seed=k).astype(dtype) for k, s in enumerate(shapes)]
    y, pull = mg.vjp(lambda *xs: f(mg, *xs), *xs)
    assert y.dtype == dtype
    assert [g.dtype for g in pull(np.ones(y.shape, dtype))] == [dtype] * len(xs)
    _, dy = mg.jvp(lambda *xs: f(mg, *xs), xs, xs)
    assert dy.dtype == dtype


# ---- PyTorch ---------------------------------------------------------------------------------


def _torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed")


def _derivatives(f, arrays):
    """Values, first derivatives of <u, f>, and second ones of <v, first>, here and in PyTorch."""
    torch = _torch()
    y = f(mg, *map(mg.tensor, arrays))
    u = _normal(*y.shape, seed=8)
    vs = [_normal(*a.shape, seed=9) for a in arrays]

    def first(*xs):
        return mg.vjp(lambda *xs: f(mg, *xs), *xs)[1](u)

    def along(*xs):
        return sum(((g * v).sum() for g, v in zip(first(*xs), vs, strict=True)), mg.tensor(0.0))

    everyone = tuple(range(len(arrays)))
    ours = [y, *first(*arrays), *mg.grad(along, argnums=everyone)(*arrays)]

    xs = [torch.tensor(a, requires_grad=True) for a in arrays]
    y = f(torch.nn.functional, *xs)
    gs = torch.autograd.grad((y * torch.tensor(u)).sum(), xs, create_graph=True)
    dot = sum((g * torch.tensor(v)).sum() for g, v in zip(gs, vs, strict=True))
    seconds = torch.autograd.grad(dot, xs, allow_unused=True, materialize_grads=True)
    for a, b in zip(ours, [y, *gs, *seconds], strict=True):
        _close(a.data, b.detach().numpy())


OPTIONS = [
    dict(zip(("stride", "padding", "dilation", "groups"), values, strict=True))
    for values in itertools.product([1, 3, (2, 1)], [0, 2, (1, 0)], [1, (1, 2)], [1, 2])
]


def _for_one_axis(options):
    return {k: v[0] if isinstance(v, tuple) else v for k, v in options.items()}


@pytest.mark.oracle
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_conv2d_agrees_with_pytorch(options):
    shapes = ((2, 4, 6, 7), (6, 4 // options["groups"], 3, 2), (6,))
    arrays = [_normal(*s, seed=k) for k, s in enumerate(shapes)]
    _derivatives(lambda F, x, w, b: F.conv2d(x, w, b, **options), arrays)


@pytest.mark.oracle
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_conv_transpose2d_agrees_with_pytorch(options):
    steps = options["stride"]
    extra = tuple(s - 1 for s in (steps if isinstance(steps, tuple) else (steps, steps)))
    shapes = ((2, 4, 3, 4), (4, 2, 3, 2), (2 * options["groups"],))
    arrays = [_normal(*s, seed=k) for k, s in enumerate(shapes)]

    def f(F, x, w, b):
        return F.conv_transpose2d(x, w, b, output_padding=extra, **options)

    _derivatives(f, arrays)


@pytest.mark.oracle
@pytest.mark.parametrize("options", OPTIONS[::3], ids=str)
def test_convolutions_along_one_axis_agree_with_pytorch(options):
    options = _for_one_axis(options)
    shapes = ((2, 4, 7), (4, 4 // options["groups"], 3), (4,))
    arrays = [_normal(*s, seed=k) for k, s in enumerate(shapes)]
    _derivatives(lambda F, x, w, b: F.conv1d(x, w, b, **options), arrays)
    arrays[2] = _normal(shapes[1][1] * options["groups"])
    _derivatives(lambda F, x, w, b: F.conv_transpose1d(x, w, b, **options), arrays)


@pytest.mark.oracle
@pytest.mark.parametrize("kernel", [1, 2, (3, 2)])
@pytest.mark.parametrize("stride", [None, 1, (2, 3)])
@pytest.mark.parametrize("padding", [0, (1, 0), (0, 1)])
def test_pools_agree_with_pytorch(kernel, stride, padding):
    sides = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    padding = tuple(
        min(p, k // 2) for p, k in zip(np.broadcast_to(padding, 2).tolist(), sides, strict=True)
    )
    x = [_normal(2, 3, 7, 8)]
    _derivatives(lambda F, x: F.max_pool2d(x * x * x, kernel, stride, padding), x)
    _derivatives(lambda F, x: F.max_pool2d(x * x * x, kernel, stride, padding, (1, 2)), x)
    _derivatives(lambda F, x: F.avg_pool2d(x * x * x, kernel, stride, padding), x)
    one = (sides[0], None, padding[0])
    _derivatives(lambda F, x: F.max_pool1d(x[0] ** 3, *one), x)
    _derivatives(lambda F, x: F.avg_pool1d(x[0] ** 3, *one), x)


MODULES = {
    "Conv1d": ((4, 6, 3), {"stride": 2, "padding": 1, "groups": 2}, (2, 4, 9)),
    "Conv2d": ((4, 6, (3, 2), 1, (1, 0), (1, 2), 2), {}, (2, 4, 6, 6)),
    "ConvTranspose1d": ((4, 6, 3, 2, 1, 1, 2), {"dilation": 2}, (2, 4, 5)),
    "ConvTranspose2d": ((4, 6, 3, 2, 1, 1, 2, False), {}, (2, 4, 5, 5)),
    "MaxPool1d": ((3, 2, 1), {}, (2, 4, 9)),
    "MaxPool2d": ((2,), {"dilation": 2}, (2, 4, 6, 6)),
    "AvgPool1d": ((3,), {"stride": 2}, (2, 4, 9)),
    "AvgPool2d": ((2, 1, 1), {}, (2, 4, 6, 6)),
    "LayerNorm": (((4, 6),), {}, (2, 3, 4, 6)),
    "BatchNorm1d": ((4,), {"momentum": 0.3}, (5, 4)),
    "BatchNorm2d": ((4,), {"eps": 1e-2}, (2, 4, 3, 3)),
}


@pytest.mark.oracle
@pytest.mark.parametrize("name", MODULES)
def test_modules_agree_with_pytorch_and_their_states_move_both_ways(name):
    torch = _torch()
    args, kwargs, shape = MODULES[name]
    dtype = {} if "Pool" in name else {"dtype": np.float64}
    ours = getattr(nn, name)(*args, **kwargs, **dtype)
    theirs = getattr(torch.nn, name)(*args, **kwargs).double()
    fresh = {k: v.shape for k, v in ours.state_dict().items()}
    assert fresh == {k: tuple(v.shape) for k, v in theirs.state_dict().items()}
    for k, p in enumerate(theirs.parameters()):  # not all ones and zeros
        p.data += 0.1 * torch.tensor(_normal(*p.shape, seed=k))
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    x, y = mg.tensor(_normal(*shape), requires_grad=True), None
    for training in (True, True, False):
        ours.train(training)
        theirs.train(training)
        t = torch.tensor(x.data, requires_grad=True)
        y, z = ours(x), theirs(t)
        _close(y.data, z.detach().numpy())
        u = _normal(*y.shape, seed=1)
        x.grad = None
        ours.zero_grad()
        theirs.zero_grad()
        y.backward(u)
        z.backward(torch.tensor(u))
        _close(x.grad, t.grad.numpy(), 1e-8)
        for (k, p), (l, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
            assert k == l
            _close(p.grad, q.grad.numpy(), 1e-8)
    theirs.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})
    for k, v in theirs.state_dict().items():
        _close(ours.state_dict()[k], v.numpy())


@pytest.mark.oracle
def test_embedding_agrees_with_pytorch():
    torch = _torch()
    ours, theirs = nn.Embedding(7, 3, rng=0, dtype=np.float64), torch.nn.Embedding(7, 3).double()
    theirs.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})
    indices = np.random.default_rng(0).integers(0, 7, (4, 5))
    y, z = ours(indices), theirs(torch.tensor(indices))
    _close(y.data, z.detach().numpy())
    u = _normal(*y.shape)
    y.backward(u)
    z.backward(torch.tensor(u))
    _close(ours.weight.grad, theirs.weight.grad.numpy())


# ---- modules ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "bound"),
    [
        (nn.Conv2d(8, 16, 5, groups=2, rng=0), 0.1),
        (nn.Conv1d(5, 40, 5, rng=0), 0.2),
        (nn.ConvTranspose2d(32, 8, 5, groups=2, rng=0), 0.1),
    ],
)
def test_initial_values_fill_the_bounds_of_pytorch(module, bound):
    for p in module.parameters():
        assert p.dtype == np.float32
        assert 0.75 * bound < np.abs(p.data).max() <= bound * (1 + 1e-6)


def test_embeddings_begin_as_standard_normal():
    values = nn.Embedding(50, 100, rng=0).weight.data
    assert values.dtype == np.float32
    assert abs(values.mean()) < 0.05
    assert abs(values.std() - 1) < 0.05


def test_the_same_seed_gives_the_same_module():
    a, b = (nn.Sequential(nn.Conv2d(1, 2, 3, rng=5), nn.Embedding(3, 2, rng=5)) for _ in "ab")
    for k, v in a.state_dict().items():
        np.testing.assert_array_equal(v, b.state_dict()[k])


def test_a_small_network_learns_in_float32():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 1, 8, 8)).astype(np.float32)
    labels = (x[:, 0, :4].mean(axis=(1, 2)) > x[:, 0, 4:].mean(axis=(1, 2))).astype(int)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, rng=rng),
        nn.BatchNorm2d(4),
        mg.relu,
        nn.MaxPool2d(2),
        nn.Dropout(0.1, rng=rng),
        lambda h: h.reshape(len(h), -1),
        nn.Linear(64, 2, rng=rng),
    )
    optimizer = mg.optim.Adam(net.parameters(), lr=0.02)
    losses = []
    for _ in range(30):
        loss = nn.cross_entropy(net(x), labels)
        net.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    assert {p.dtype for p in net.parameters()} == {np.dtype(np.float32)}
    assert {p.grad.dtype for p in net.parameters()} == {np.dtype(np.float32)}
    assert net.eval()(x).dtype == np.float32


def test_batch_norm_learns_in_training_and_only_then():
    norm = nn.BatchNorm1d(2, dtype=np.float64)
    x = _normal(50, 2) * 3 + 7
    before = norm.state_dict()
    norm.eval()(x)
    assert [k for k, v in norm.state_dict().items() if (before[k] != v).any()] == []
    norm.train()
    y = norm(x).data
    _close(y.mean(axis=0), np.zeros(2))
    assert norm.num_batches_tracked.item() == 1
    _close(norm.running_mean.data, 0.1 * x.mean(axis=0))
    _close(norm.running_var.data, 0.9 + 0.1 * x.var(axis=0, ddof=1))
    assert [name for name, _ in norm.named_parameters()] == ["weight", "bias"]


@pytest.mark.parametrize("module", [nn.LayerNorm(3), nn.BatchNorm1d(3)])
def test_second_derivatives_of_normalisation(module):
    weight, bias = _normal(3, seed=1), _normal(3, seed=2)

    def f(x, weight, bias):
        vars(module).update(weight=weight, bias=bias)  # not as parameters
        return module(x)

    check_grads(f, (_normal(4, 3), weight, bias))


# ---- embedding, one_hot, dropout -------------------------------------------------------------


@pytest.mark.parametrize("rows", [3, 1000])
def test_a_row_gathers_the_gradients_of_all_its_places(rows):
    rng = np.random.default_rng(0)
    weight, indices = rng.normal(size=(rows, 4)), rng.integers(0, rows, (6, 50))
    y, pull = mg.vjp(lambda w: mg.embedding(w, indices), weight)
    u = rng.normal(size=y.shape)
    expected = np.zeros_like(weight)
    for k, g in zip(indices.ravel(), u.reshape(-1, 4), strict=True):
        expected[k] += g
    np.testing.assert_array_equal(y, weight[indices])
    _close(pull(u)[0], expected)
    _close(
        mg.embedding(weight, indices).data,
        (mg.one_hot(indices, rows, np.float64) @ weight),
    )


def test_embedding_and_one_hot_take_tensors_lists_and_nothing():
    weight = np.arange(6.0).reshape(3, 2)
    assert mg.embedding(weight, mg.tensor([2, 0])).tolist() == [[4, 5], [0, 1]]
    assert mg.embedding(weight, 1).tolist() == [2, 3]
    assert mg.embedding(weight, []).shape == (0, 2)
    assert mg.one_hot(1, 3).tolist() == [0, 1, 0]
    assert mg.one_hot([], 3).shape == (0, 3)
    assert mg.one_hot([0], 1, np.float64).dtype == np.float64


def test_second_derivatives_of_embedding():
    check_grads(lambda w: mg.embedding(w, [[0, 2], [2, 2]]) ** 3, (_normal(3, 2),))


def test_dropout_is_decided_by_its_generator():
    x = mg.tensor(_normal(1000) ** 2 + 1, requires_grad=True)
    y = mg.dropout(x, 0.25, np.random.default_rng(3))
    np.testing.assert_array_equal(y.data, mg.dropout(x, 0.25, np.random.default_rng(3)).data)
    single = mg.dropout(x.data.astype(np.float32), 0.25, np.random.default_rng(3))
    np.testing.assert_array_equal(single.data != 0, y.data != 0)  # whatever the dtype
    rng = np.random.default_rng(3)
    np.testing.assert_array_equal(y.data, mg.dropout(x, 0.25, rng).data)
    assert (y.data != mg.dropout(x, 0.25, rng).data).any()  # a generator moves on
    kept = y.data != 0
    assert 0.7 < kept.mean() < 0.8
    _close(y.data[kept], x.data[kept] / 0.75)
    y.sum().backward()
    _close(x.grad, kept / 0.75)


def test_dropout_without_effect_is_the_input():
    rng = np.random.default_rng(0)
    state = rng.bit_generator.state
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    assert mg.dropout(x, 0.0, rng) is x
    assert mg.dropout(x, 0.9, rng, training=False) is x
    assert nn.Dropout(0.9, rng=rng).eval()(x) is x
    assert rng.bit_generator.state == state
    assert (nn.Dropout(0.9, rng=rng)(np.ones(50)).data == 0).any()


# ---- errors ----------------------------------------------------------------------------------

A, W = np.ones((2, 4, 5, 6)), np.ones((6, 4, 3, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mg.conv2d(A[0], W), r"conv2d: x must be \(N, C, H, W\).*\(4, 5, 6\).*x\[None\]"),
        (lambda: mg.conv1d(A, W), r"conv1d: x must be \(N, C, L\), not of shape \(2, 4, 5, 6\)$"),
        (lambda: mg.conv2d(A, W[:, :3]), r"has 4 channels; with groups=1.*\(O, 4, .*6, 3, 3, 3"),
        (lambda: mg.conv2d(A, W[0]), r"must have shape \(O, 4, \*kernel\).*not \(4, 3, 3\)"),
        (lambda: mg.conv2d(A, W[:, :1], groups=4), r"groups divides O, not \(6, 1, 3, 3\)"),
        (lambda: mg.conv2d(A, W, groups=0), r"groups must be an integer, at least 1, not 0"),
        (lambda: mg.conv2d(A, W, np.ones(4)), r"bias must have shape \(6,\).*not \(4,\)"),
        (lambda: mg.conv2d(A, W, stride=0), r"stride must be an integer or a pair, at least 1"),
        (lambda: mg.conv2d(A, W, padding=-1), r"padding must be an integer.*at least 0, not -1"),
        (lambda: mg.conv2d(A, W, padding=1.5), r"padding must be an integer.*not 1.5"),
        (lambda: mg.conv2d(A, W, dilation=(1, 2, 3)), r"or a pair.*not \(1, 2, 3\)"),
        (
            lambda: mg.conv2d(A, W, dilation=3, padding=(0, 1)),
            r"kernel \(3, 3\).*spans \(7, 7\), does not fit into \(5, 8\), which is \(5, 6\)",
        ),
        (lambda: mg.conv_transpose2d(A, W), r"conv_transpose2d: .*\(4, O / groups, \*kernel\)"),
        (
            lambda: mg.conv_transpose2d(A, W[:4], groups=3),
            r"where groups=3 divides 4, not \(4, 4, 3, 3\)",
        ),
        (
            lambda: mg.conv_transpose2d(A, W[:4], stride=2, output_padding=2),
            r"output_padding \(2, 2\) less than the stride \(2, 2\)",
        ),
        (lambda: mg.conv_transpose2d(A, W[:4], padding=4), r"size \(-1, 0\); it must be positive"),
        (lambda: mg.max_pool2d(A, 6), r"max_pool2d: the kernel \(6, 6\).*does not fit into \(5,"),
        (lambda: mg.max_pool2d(A, 2, padding=2), r"more than half of the window \(2, 2\)"),
        (lambda: mg.avg_pool2d(A, 0), r"avg_pool2d: kernel_size must be .* at least 1, not 0"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), r"Conv2d: groups=2 must divide in_channels=3"),
        (lambda: nn.Conv2d(3, 4, (3, 3, 3)), r"Conv2d: kernel_size must be an integer or a pair"),
        (lambda: nn.Conv2d(3, 4, 3, dtype=float)(A), r"4 channels.*\(O, 4, .*not \(4, 3, 3, 3\)"),
        (lambda: nn.LayerNorm(5)(A), r"LayerNorm: .*\(2, 4, 5, 6\), and must end in \(5,\)"),
        (lambda: nn.BatchNorm2d(3)(A), r"BatchNorm2d: .*\(2, 4, 5, 6\), and must have 3 channels"),
        (lambda: nn.BatchNorm1d(4)(A), r"second of 2 or 3 axes"),
        (lambda: nn.BatchNorm1d(4)(np.ones((1, 4))), r"more than one value for each channel"),
        (lambda: mg.embedding(3.0, 0), r"embedding: weight must have rows"),
        (lambda: mg.dropout(A, 1.0, np.random.default_rng(0)), r"p must be in \[0, 1\).*not 1.0"),
    ],
)
def test_value_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("kind", "call", "message"),
    [
        (IndexError, lambda: mg.embedding(A, [0, 2]), r"indices must lie in 0 .. 1.*got 0 .. 2"),
        (IndexError, lambda: mg.embedding(A, [-1]), r"embedding: indices must lie.*got -1 .. -1"),
        (IndexError, lambda: mg.one_hot([3], 3), r"one_hot: labels must lie in 0 .. 2, for class"),
        (TypeError, lambda: mg.embedding(A, [0.0]), r"indices must be integers, not float64"),
        (TypeError, lambda: mg.one_hot([True], 2), r"one_hot: labels must be integers, not bool"),
        (TypeError, lambda: mg.dropout(A, 0.5, 0), r"np.random.default_rng\(seed\), not 0"),
        (TypeError, lambda: nn.MaxPool2d(2, ceil_mode=True), "ceil_mode"),
    ],
)
def test_other_errors(kind, call, message):
    with pytest.raises(kind, match=message):
        call()
