"""Modules of every kind, compiled: results, gradients, buffers and masks are the module's own."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.core.tree import flatten

RNG = np.random.default_rng(0)


def R(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def I(n, *shape):  # noqa: E743
    return RNG.integers(0, n, shape)


MODULES = [
    ("Linear", lambda: nn.Linear(3, 4, rng=0), lambda: (R(5, 3),)),
    ("Bilinear", lambda: nn.Bilinear(3, 2, 4, rng=0), lambda: (R(5, 3), R(5, 2))),
    ("Embedding", lambda: nn.Embedding(6, 3, rng=0), lambda: (I(6, 4),)),
    ("EmbeddingPad", lambda: nn.Embedding(6, 3, padding_idx=2, rng=0), lambda: (I(6, 7),)),
    ("Dropout", lambda: nn.Dropout(0.4, rng=0), lambda: (R(5, 3),)),
    ("Dropout2d", lambda: nn.Dropout2d(0.4, rng=0), lambda: (R(5, 3, 2, 2),)),
    ("LayerNorm", lambda: nn.LayerNorm(3), lambda: (R(5, 3),)),
    ("RMSNorm", lambda: nn.RMSNorm(3), lambda: (R(5, 3),)),
    ("GroupNorm", lambda: nn.GroupNorm(2, 4), lambda: (R(5, 4, 3),)),
    ("BatchNorm1d", lambda: nn.BatchNorm1d(3), lambda: (R(5, 3),)),
    ("BatchNormCum", lambda: nn.BatchNorm1d(3, momentum=None), lambda: (R(5, 3),)),
    ("BatchNorm2d", lambda: nn.BatchNorm2d(3), lambda: (R(5, 3, 2, 2),)),
    ("InstanceNorm1d", lambda: nn.InstanceNorm1d(3), lambda: (R(5, 3, 4),)),
    ("Conv1d", lambda: nn.Conv1d(3, 4, 2, rng=0), lambda: (R(2, 3, 6),)),
    ("Conv2d", lambda: nn.Conv2d(3, 4, 3, padding=1, rng=0), lambda: (R(2, 3, 6, 6),)),
    (
        "Conv2dsame",
        lambda: nn.Conv2d(3, 4, 2, padding="same", padding_mode="reflect", rng=0),
        lambda: (R(2, 3, 6, 6),),
    ),
    ("ConvT", lambda: nn.ConvTranspose2d(3, 4, 2, rng=0), lambda: (R(2, 3, 4, 4),)),
    ("MaxPool2d", lambda: nn.MaxPool2d(2), lambda: (R(2, 3, 6, 6),)),
    (
        "AvgPool2d",
        lambda: nn.AvgPool2d(3, padding=1, count_include_pad=False),
        lambda: (R(2, 3, 6, 6),),
    ),
    ("Upsample", lambda: nn.Upsample(scale_factor=2, mode="bilinear"), lambda: (R(2, 3, 4, 4),)),
    ("RNN", lambda: nn.RNN(3, 4, rng=0), lambda: (R(5, 2, 3),)),
    ("GRU", lambda: nn.GRU(3, 4, 2, rng=0, dropout=0.3), lambda: (R(5, 2, 3),)),
    ("LSTM", lambda: nn.LSTM(3, 4, 2, rng=0, bidirectional=True), lambda: (R(5, 2, 3),)),
    (
        "LSTMpeep",
        lambda: nn.LSTM(3, 4, rng=0, peephole=True, recurrent_dropout=0.3),
        lambda: (R(5, 2, 3),),
    ),
    (
        "LSTMln",
        lambda: nn.LSTM(3, 4, rng=0, layer_norm=True, proj_size=2, learn_state=True),
        lambda: (R(5, 2, 3),),
    ),
    ("LSTMCell", lambda: nn.LSTMCell(3, 4, rng=0), lambda: (R(2, 3), (R(2, 4), R(2, 4)))),
    (
        "MHA",
        lambda: nn.MultiheadAttention(4, 2, rng=0, dropout=0.2),
        lambda: (lambda x: (x, x, x))(R(5, 2, 4)),
    ),
    (
        "TransformerEncoderLayer",
        lambda: nn.TransformerEncoderLayer(4, 2, 8, dropout=0.1, rng=0),
        lambda: (R(5, 2, 4),),
    ),
    ("PReLU", lambda: nn.PReLU(), lambda: (R(5, 3),)),
    ("Hardtanh", lambda: nn.Hardtanh(), lambda: (R(5, 3) * 2,)),
    ("ReLU6", lambda: nn.ReLU6(), lambda: (R(5, 3) * 8,)),
    ("Threshold", lambda: nn.Threshold(0.1, 2.0), lambda: (R(5, 3),)),
    ("Softmax", lambda: nn.Softmax(), lambda: (R(5, 3),)),
    ("GELU", lambda: nn.GELU(), lambda: (R(5, 3),)),
    ("GLU", lambda: nn.GLU(), lambda: (R(5, 4),)),
    ("Hardsigmoid", lambda: nn.Hardsigmoid(), lambda: (R(5, 3) * 4,)),
    ("Hardswish", lambda: nn.Hardswish(), lambda: (R(5, 3) * 4,)),
    (
        "Seq",
        lambda: nn.Sequential(
            nn.Linear(3, 4, rng=0),
            nn.BatchNorm1d(4),
            nn.ReLU(),
            nn.Dropout(0.5, rng=1),
            nn.Linear(4, 2, rng=2),
        ),
        lambda: (R(6, 3),),
    ),
    ("ce", lambda: nn.CrossEntropyLoss(), lambda: (R(5, 4), I(4, 5))),
    (
        "cew",
        lambda: nn.CrossEntropyLoss(
            weight=np.array([1, 2, 0.5, 1], np.float32), label_smoothing=0.1
        ),
        lambda: (R(5, 4), I(4, 5)),
    ),
    ("cei", lambda: nn.CrossEntropyLoss(ignore_index=1), lambda: (R(5, 4), I(4, 5))),
    ("cep", lambda: nn.CrossEntropyLoss(), lambda: (R(5, 4), mg.softmax(R(5, 4)).data)),
    ("nll", lambda: nn.NLLLoss(), lambda: (mg.log_softmax(R(5, 4)).data, I(4, 5))),
    (
        "bce",
        lambda: nn.BCELoss(),
        lambda: (mg.sigmoid(R(5, 4)).data, (R(5, 4) > 0).astype(np.float32)),
    ),
    (
        "bcel",
        lambda: nn.BCEWithLogitsLoss(pos_weight=np.ones(4, np.float32) * 2),
        lambda: (R(5, 4), (R(5, 4) > 0).astype(np.float32)),
    ),
    (
        "kl",
        lambda: nn.KLDivLoss(reduction="batchmean"),
        lambda: (mg.log_softmax(R(5, 4)).data, mg.softmax(R(5, 4)).data),
    ),
    ("mse", lambda: nn.MSELoss(), lambda: (R(5, 4), R(5, 4))),
    ("l1", lambda: nn.L1Loss(), lambda: (R(5, 4), R(5, 4))),
    ("huber", lambda: nn.HuberLoss(), lambda: (R(5, 4), R(5, 4))),
    ("cos", lambda: nn.CosineEmbeddingLoss(), lambda: (R(5, 4), R(5, 4), np.sign(R(5)))),
]
CONSTANT = {"cos", "cep", "kl"}  # losses whose second argument no gradient is asked of here


@pytest.mark.parametrize(("name", "make", "draw"), MODULES, ids=[m[0] for m in MODULES])
def test_module(name, make, draw):
    ours, theirs = make(), make()
    fast = mg.compile(ours, "numpy")
    for training in (True, True, True, False, False, False):
        ours.train(training), theirs.train(training)
        args = draw()
        found, grads = run(fast, ours, args, name)
        expected, grads_of_theirs = run(theirs, theirs, args, name)
        same(found, expected)
        same(grads, grads_of_theirs)
        buffers = [[t.data for t in net.buffers()] for net in (ours, theirs)]
        same(*buffers)
    assert "after the passes" in fast.explain(), "there is a program"


def run(f, module, args, name):
    """What a module gives, and the gradients of a weighted sum by its parameters and arguments."""
    known = {}
    given = [
        known.setdefault(id(x), mg.tensor(x, requires_grad=True))
        if isinstance(x, np.ndarray) and x.dtype.kind == "f" and not (name in CONSTANT and k)
        else x
        for k, x in enumerate(args)
    ]
    leaves = [*module.parameters(), *[t for t in given if isinstance(t, mg.Tensor)]]
    for t in leaves:
        t.grad = None
    out = flatten(f(*given))[0]
    weighted = [
        (y * np.cos(np.arange(y.size)).reshape(y.shape).astype(y.dtype)).sum()
        for y in out
        if y.requires_grad
    ]
    if weighted:
        sum(weighted).backward()
    return [y.data for y in out], [t.grad for t in leaves]


def same(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
