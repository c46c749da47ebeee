"""Losses against PyTorch's: values and all gradients; extreme logits; what cannot be meant."""

import copy
import inspect
import pickle

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from tests.helpers import close, leaf

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape)


def shares(*shape, axis=1):
    return np.exp(x := normal(*shape)) / np.exp(x).sum(axis, keepdims=True)


X, P, UNIT = normal(6, 4), shares(6, 4), RNG.uniform(0.05, 0.95, (6, 4))
LABELS, SOME = RNG.integers(4, size=6), np.array([0, 3, -100, 1, -100, 2])
MAPS, PLACES = normal(3, 4, 2, 5), RNG.integers(4, size=(3, 2, 5))
LOGS, WEIGHTS = np.log(P), np.array([0.5, 2.0, 0.0, 1.5])
SIDES = np.array([1.0, -1.0, -1.0, 1.0, 1.0, -1.0])

CASES = {  # the function, its inputs, its options; what is floating gets a gradient
    "mse": ("mse_loss", (X, normal(6, 4)), {}),
    "l1": ("l1_loss", (X, normal(6, 4)), {}),
    "huber": ("huber_loss", (2 * X, normal(6, 4)), {}),
    "huber, delta": ("huber_loss", (2 * X, normal(6, 4)), {"delta": 0.3}),
    "smooth l1": ("smooth_l1_loss", (2 * X, normal(6, 4)), {}),
    "smooth l1, beta": ("smooth_l1_loss", (2 * X, normal(6, 4)), {"beta": 0.3}),
    "smooth l1, none": ("smooth_l1_loss", (2 * X, normal(6, 4)), {"beta": 0.0}),
    "indices": ("cross_entropy", (X, LABELS), {}),
    "weights": ("cross_entropy", (X, LABELS), {"weight": WEIGHTS}),
    "ignored": ("cross_entropy", (X, SOME), {}),
    "ignored 3": ("cross_entropy", (X, LABELS), {"ignore_index": 3, "weight": WEIGHTS}),
    "smoothed": ("cross_entropy", (X, LABELS), {"label_smoothing": 0.1}),
    "all": ("cross_entropy", (X, SOME), {"label_smoothing": 0.2, "weight": WEIGHTS}),
    "one": ("cross_entropy", (X[0], LABELS[0]), {}),
    "one, all": ("cross_entropy", (X[0], LABELS[0]), {"label_smoothing": 0.2, "weight": WEIGHTS}),
    "maps": ("cross_entropy", (MAPS, PLACES), {}),
    "maps, all": (
        "cross_entropy",
        (MAPS, PLACES),
        {"label_smoothing": 0.2, "weight": WEIGHTS, "ignore_index": 0},
    ),
    "sequences": ("cross_entropy", (MAPS[:, :, 0], PLACES[:, 0]), {}),
    "probabilities": ("cross_entropy", (X, P), {}),
    "probabilities, all": ("cross_entropy", (X, P), {"label_smoothing": 0.2, "weight": WEIGHTS}),
    "probabilities of one": ("cross_entropy", (X[0], P[0]), {"weight": WEIGHTS}),
    "probabilities of maps": ("cross_entropy", (MAPS, shares(3, 4, 2, 5)), {"weight": WEIGHTS}),
    "nll": ("nll_loss", (LOGS, LABELS), {}),
    "nll, all": ("nll_loss", (LOGS, SOME), {"weight": WEIGHTS}),
    "nll of maps": ("nll_loss", (np.log(shares(3, 4, 2, 5)), PLACES), {"ignore_index": 2}),
    "logits": ("binary_cross_entropy_with_logits", (X, UNIT), {}),
    "logits, all": (
        "binary_cross_entropy_with_logits",
        (X, UNIT),
        {"weight": normal(6, 1) ** 2, "pos_weight": WEIGHTS},
    ),
    "bce": ("binary_cross_entropy", (UNIT, P), {}),
    "bce, weight": ("binary_cross_entropy", (UNIT, P), {"weight": WEIGHTS}),
    "kl": ("kl_div", (LOGS, UNIT), {}),
    "kl, logs": ("kl_div", (LOGS, np.log(UNIT)), {"log_target": True}),
    "directions": ("cosine_embedding_loss", (X, normal(6, 4), SIDES), {"margin": -0.2}),
    "one direction": ("cosine_embedding_loss", (X[0], X[1], np.array(-1.0)), {}),
}


def of_torch(torch, name, inputs, options, dtype=None):
    """Value and gradients of PyTorch's function."""
    as_torch = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    xs = [torch.tensor(x) for x in inputs]
    for x in xs[:2]:
        x.requires_grad = x.is_floating_point()
    z = getattr(torch.nn.functional, name)(*xs, **as_torch)
    z.sum().backward()
    return z.detach().numpy(), [x.grad.numpy() for x in xs if x.requires_grad]


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
@pytest.mark.parametrize("reduction", ["mean", "sum", "none", "batchmean"])
@pytest.mark.parametrize("case", CASES)
def test_losses_are_pytorchs(case, reduction):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    name, inputs, options = CASES[case]
    if reduction == "batchmean" and name != "kl_div":
        return
    options = options | {"reduction": reduction}
    value, gradients = of_torch(torch, name, inputs, options)
    xs = [leaf(x) if k < 2 and x.dtype.kind == "f" else x for k, x in enumerate(inputs)]
    z = getattr(nn, name)(*xs, **options)
    z.sum().backward()
    assert z.shape == value.shape
    close(z, value, 1e-10)
    live = [x for x in xs if isinstance(x, mg.Tensor)]
    for x, g in zip(live, gradients, strict=True):
        close(x.grad, g, 1e-10)


MODULES = {
    "MSELoss": "mse_loss", "L1Loss": "l1_loss", "HuberLoss": "huber_loss",
    "SmoothL1Loss": "smooth_l1_loss", "CrossEntropyLoss": "cross_entropy", "NLLLoss": "nll_loss",
    "BCEWithLogitsLoss": "binary_cross_entropy_with_logits", "BCELoss": "binary_cross_entropy",
    "KLDivLoss": "kl_div", "CosineEmbeddingLoss": "cosine_embedding_loss",
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_module_is_its_function_with_options_kept(case):
    name, inputs, options = CASES[case]
    (kind,) = [k for k, function in MODULES.items() if function == name]
    made = getattr(nn, kind)(**options)
    expected = getattr(nn, name)(*inputs, **options).numpy()
    for module in (made, copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        np.testing.assert_array_equal(module(*inputs).numpy(), expected)
    assert [*made.state_dict()] == [k for k in options if k in ("weight", "pos_weight")]
    assert made.parameters() == []


def test_modules_have_the_signature_of_what_they_keep():
    assert str(inspect.signature(nn.HuberLoss)) == (
        "(*, reduction: 'Reduction' = 'mean', delta: 'float' = 1.0) -> 'None'"
    )
    assert nn.CrossEntropyLoss([0.1, 0.2]).weight.tolist() == [0.1, 0.2]  # float64, as given
    x = np.array([[3.0, 4.0], [0.0, 1.0]])
    close(nn.CosineSimilarity()(x, np.array([[1.0, 0.0]])), [0.6, 0.0])
    for wrong, kind, message in [
        ({"reduction": "avg"}, ValueError, "CrossEntropyLoss: reduction must be 'mean', 'sum'"),
        ({"label_smoothing": 2}, ValueError, r"CrossEntropyLoss: label_smoothing must be in \[0"),
        ({"size_average": True}, TypeError, "size_average"),
        ({"ignore_index": 0.5}, TypeError, "ignore_index must be an integer"),
    ]:
        with pytest.raises(kind, match=message):
            nn.CrossEntropyLoss(**wrong)
    assert nn.KLDivLoss(reduction="batchmean").reduction == "batchmean"
    with pytest.raises(ValueError, match="KLDivLoss: reduction must"):
        nn.KLDivLoss(reduction="batch")


class Focal(nn.CrossEntropyLoss):
    """A user's own, built on one of ours."""

    def forward(self, x, y):
        return super().forward(x, y) * 2.0


def test_a_loss_module_can_be_built_upon():
    assert Focal()(X, LABELS).item() == 2 * nn.cross_entropy(X, LABELS).item()


# ---- numbers at their ends -----------------------------------------------------------------------


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_extreme_logits_in_float32(size):
    x = leaf([[size, -size], [size, -size]], np.float32)
    losses = nn.cross_entropy(x, [0, 1], reduction="none")
    losses.sum().backward()
    np.testing.assert_array_equal(losses.numpy(), np.float32([0, 2 * size]))
    assert x.grad.tolist() == [[0, 0], [1, -1]]
    y = leaf([size, -size, size, -size], np.float32)
    losses = nn.binary_cross_entropy_with_logits(y, [1, 0, 0, 1], reduction="none")
    losses.sum().backward()
    np.testing.assert_array_equal(losses.numpy(), np.float32([0, 0, size, size]))
    assert y.grad.tolist() == [0, 0, 1, -1]
    assert losses.dtype == np.float32
    d = leaf([size, -size], np.float32)
    nn.huber_loss(d, np.zeros(2, np.float32), reduction="sum").backward()
    assert d.grad.tolist() == [1, -1]


def test_small_losses_keep_their_digits():
    """x + log(1 + exp(-x)) at -30 would be 0 in float32, and is exp(-30)."""
    loss = nn.binary_cross_entropy_with_logits(np.float32([-30.0]), np.float32([0.0]))
    assert loss.item() == pytest.approx(np.exp(-30), rel=1e-6)


def test_excluded_classes():
    """A logit of -inf takes a class away: it costs nothing where the target gives it nothing."""
    x = leaf([[0.0, 1.0, -np.inf]])
    expected = np.log(1 + np.exp(1.0))
    for target in ([0], [[1.0, 0.0, 0.0]]):
        x.grad = None
        loss = nn.cross_entropy(x, np.array(target))
        loss.backward()
        assert loss.item() == pytest.approx(expected)
        assert np.isfinite(x.grad).all()
    assert nn.kl_div([[0.0, -np.inf]], [[1.0, 0.0]], reduction="sum").item() == 0


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_probabilities_of_0_and_1(dtype):
    """No infinite loss and no gradient of zero: as PyTorch has it, -100 and a slope of 1e12."""
    p = leaf([0.0, 1.0, 0.0, 1.0], dtype)
    losses = nn.binary_cross_entropy(p, [0, 1, 1, 0], reduction="none")
    losses.sum().backward()
    assert losses.tolist() == [0, 0, 100, 100]
    steep = min(1e12, float(np.finfo(dtype).max))
    np.testing.assert_allclose(p.grad.astype(float), [1, -1, -steep, steep], rtol=1e-3)


def test_directions_of_zero_and_of_any_length():
    for scale in (1e-200, 1.0, 1e200):
        x = leaf([[3 * scale, 4 * scale], [0.0, 0.0]])
        cos = nn.cosine_similarity(x, [[1.0, 0.0], [1.0, 0.0]], eps=1e-300)
        cos.sum().backward()
        close(cos, [0.6, 0.0])
        assert np.isfinite(x.grad).all()


def test_second_derivatives():
    for loss in (nn.huber_loss, nn.mse_loss):
        hessian = mg.hessian(lambda x, loss=loss: loss(x, np.zeros(3), reduction="sum"))
        expected = [1.0, 1.0, 0.0] if loss is nn.huber_loss else [2.0] * 3
        close(hessian(np.array([0.0, 0.5, 3.0])), np.diag(expected))
    mg.check_grads(lambda x: nn.cross_entropy(x, SOME, WEIGHTS, label_smoothing=0.1), (X,), order=2)
    mg.check_grads(lambda x: nn.binary_cross_entropy(x, P), (UNIT,), order=2)


def test_float32_stays_float32():
    x = leaf(X, np.float32)
    for loss in (
        nn.cross_entropy(x, LABELS, WEIGHTS, label_smoothing=0.1),
        nn.binary_cross_entropy_with_logits(x, X > 0, pos_weight=WEIGHTS),
        nn.mse_loss(x, X > 0),
        nn.huber_loss(x, np.zeros_like(X, int)),
    ):
        assert loss.dtype == np.float32


def test_losses_take_lists_and_arrays():
    assert nn.mse_loss([1.0, 2.0], np.array([1.0, 4.0])).item() == 2
    assert nn.cross_entropy([[0.0, 0.0]], [1]).item() == pytest.approx(np.log(2))
    assert nn.cross_entropy(np.zeros(2), 1).item() == pytest.approx(np.log(2))
    assert nn.cross_entropy([0, 1], [0.5, 0.5]).dtype == np.float64


# ---- what cannot be meant ------------------------------------------------------------------------

ONES = np.ones((2, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.mse_loss([1.0, 2.0], np.ones((2, 1))), r"\(2,\).*\(2, 1\).*reshape\(\(2,\)\)"),
        (lambda: nn.l1_loss(ONES, np.ones(3)), r"l1_loss: .*\(2, 3\), the target \(3,\), and noth"),
        (lambda: nn.huber_loss(ONES, 1.0), "nothing broadcasts$"),
        (lambda: nn.mse_loss(np.zeros((0, 1)), np.zeros((0, 1))), r"nothing to take the mean of"),
        (lambda: nn.mse_loss(ONES, ONES, reduction="avg"), "'mean', 'sum', 'none', not 'avg'"),
        (lambda: nn.huber_loss(ONES, ONES, delta=0), "delta must be positive and finite, not 0"),
        (lambda: nn.smooth_l1_loss(ONES, ONES, beta=-1), "beta must be at least 0"),
        (lambda: nn.cross_entropy(np.ones((0, 3)), []), "integer labels"),
        (lambda: nn.cross_entropy(np.ones((0, 3)), np.ones(0, int)), r"nothing .* shape \(0,\)"),
        (lambda: nn.cross_entropy(np.ones((2, 0)), [0, 0]), r"nothing .* shape \(2, 0\)"),
        (lambda: nn.cross_entropy(1.0, 0), "must have an axis of classes"),
        (lambda: nn.cross_entropy([0, 1], [[1.0, 2.0]] * 2), "integer labels of shape"),
        (lambda: nn.cross_entropy(ONES, [True, False]), "integer labels"),
        (lambda: nn.cross_entropy(ONES, [0.0, 1.0]), r"integer labels.*target\.astype\(int\)"),
        (lambda: nn.cross_entropy(ONES, np.eye(2, 3, dtype=int)), r"target\.astype\(float\)"),
        (lambda: nn.cross_entropy(np.ones((2, 5, 3)), np.zeros((2, 5), int)), "swapaxes"),
        (lambda: nn.cross_entropy(ONES, [0, -1]), r"lie in 0 \.\. 2.*3 classes.*-1 at \(1,\)"),
        (lambda: nn.cross_entropy(ONES, [0, 3]), r"lie in 0 \.\. 2.*target is 3 at \(1,\)"),
        (lambda: nn.cross_entropy(ONES, ONES), "on axis 1 .*must sum to 1 and sum to 3"),
        (lambda: nn.cross_entropy(ONES, ONES * [1.5, -0.5, 0]), r"lie in 0 \.\. 1, .* has 1\.5"),
        (lambda: nn.cross_entropy(ONES, [-100, -100]), "mean is of nothing, for all is -100"),
        (lambda: nn.cross_entropy(ONES, [1, 1], [1, 0, 1]), "classes of the target weigh 0"),
        (lambda: nn.cross_entropy(ONES, [1, 1], [1, 1]), r"each class: shape \(3,\), not \(2,\)"),
        (lambda: nn.cross_entropy(ONES, [1, 1], [1, -1, 1]), "at least 0, not -1"),
        (lambda: nn.cross_entropy(ONES, [1, 1], leaf(np.ones(3))), r"write weight\.detach\(\)"),
        (lambda: nn.cross_entropy(ONES, [1, 1], label_smoothing=-0.1), r"in \[0, 1\], not -0\.1"),
        (lambda: nn.cross_entropy(X, P, ignore_index=0), "ignore_index=0 is for indices"),
        (lambda: nn.nll_loss(ONES, [1, 1]), r"logarithms of probab.*log_softmax\(logits, 1\)"),
        (lambda: nn.nll_loss(-ONES, -ONES), "integer labels"),
        (lambda: nn.binary_cross_entropy_with_logits(ONES, -ONES), r"0 \.\. 1, and has -1"),
        (lambda: nn.binary_cross_entropy_with_logits([1.0], [[1]]), "nothing broadcasts"),
        (lambda: nn.binary_cross_entropy(2 * ONES, ONES), "input must lie.*_with_logits"),
        (lambda: nn.binary_cross_entropy(ONES, 2 * ONES), r"the target must lie in 0 \.\. 1"),
        (lambda: nn.binary_cross_entropy(ONES, ONES, np.ones((2, 2))), r"broadcasts to \(2, 3\)"),
        (lambda: nn.kl_div(ONES, ONES), "input must hold logarithms of probabilities"),
        (lambda: nn.kl_div(-ONES, -ONES), r"the target must lie in 0 \.\. 1"),
        (lambda: nn.kl_div(-ONES, ONES, log_target=True), "the target must hold logarithms"),
        (lambda: nn.cosine_similarity(ONES, np.ones((2, 2))), "on axis 1 .*no vectors of one len"),
        (lambda: nn.cosine_similarity(ONES[0], ONES[0]), r"on axis 1 of shapes \(3,\) and \(3,\)"),
        (lambda: nn.cosine_embedding_loss(ONES, ONES, [0, 1]), "must be 1 or -1, not 0"),
        (lambda: nn.cosine_embedding_loss(ONES, ONES, [[1, 1]]), r"target \(N,\)"),
        (lambda: nn.cosine_embedding_loss(ONES, ONES[:1], [1, 1]), "the first input has shape"),
    ],
)
def test_what_a_loss_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_rounded_probabilities_pass():
    nn.cross_entropy(np.ones((1, 3)), np.array([[0.333, 0.333, 0.333]]))
    nn.cross_entropy(np.ones((1, 1000), np.float16), np.full((1, 1000), 1e-3, np.float16))
