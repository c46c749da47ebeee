"""Batches of arrays once through, and sequences side by side."""

import numpy as np
import pytest

import minigrad as mg
from minigrad.data import batches, padded


def test_batches():
    x, y = np.arange(5), np.arange(5) * 10
    assert [a.tolist() for a, _ in batches(x, y, size=2)] == [[0, 1], [2, 3], [4]]
    shuffled = list(batches(x, y, size=2, rng=np.random.default_rng(0)))
    assert sorted(np.concatenate([a for a, _ in shuffled])) == x.tolist()
    assert [(a, b) for a, b in shuffled if (b != 10 * a).any()] == []
    rng = np.random.default_rng(0)
    first, second = (next(batches(x, size=5, rng=rng))[0].tolist() for _ in range(2))
    assert first != second  # every epoch has an order of its own


def test_batches_of_what_is_no_array():
    """Lists, tables and tensors are batched by rows."""
    assert [x.tolist() for (x,) in batches([[1, 2], [3, 4], [5, 6]], size=2)] == [
        [[1, 2], [3, 4]],
        [[5, 6]],
    ]
    (x,) = next(batches(mg.tensor([1.0, 2.0]), size=2))
    assert x.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: batches(np.ones(3), size=0), ValueError, "size must be an integer, at least 1"),
        (lambda: batches(np.ones(3), size=2.0), TypeError, "size must be an integer"),
        (lambda: batches(np.ones(3), size=True), TypeError, "size must be an integer"),
        (lambda: batches(np.ones(3), np.ones(2), size=1), ValueError, r"lengths \[3, 2\]"),
        (lambda: batches(size=1), TypeError, "give arrays"),
        (lambda: batches(3, size=1), TypeError, "arrays with rows, not 3"),
        (lambda: batches((k for k in "ab"), size=1), TypeError, "arrays with rows"),
        (lambda: batches(np.ones(3), size=1, rng=0), TypeError, "same order.*default_rng"),
        (lambda: batches(np.ones(3), size=1, rng=np.random), TypeError, "default_rng"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(call, kind, message):
    """By the call itself, not by the first step of a loop."""
    with pytest.raises(kind, match=message):
        call()


def test_padded():
    rng = np.random.default_rng(0)
    given = [rng.normal(size=(n, 2)).astype(np.float32) for n in (3, 5, 1)]
    x, lengths = padded(given)
    assert (x.shape, x.dtype) == ((5, 3, 2), np.float32)
    assert lengths.tolist() == [3, 5, 1]
    for k, a in enumerate(given):
        np.testing.assert_array_equal(x[: len(a), k], a)
        assert not x[len(a) :, k].any()
    np.testing.assert_array_equal(padded(given, batch_first=True)[0], x.swapaxes(0, 1))
    tokens, _ = padded([[1, 2], [3]])
    assert tokens.dtype.kind == "i"
    hs, _ = mg.nn.LSTM(2, 3)(x, lengths=lengths)
    assert not hs.data[3:, 0].any()


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        ([], "at least one sequence"),
        ([[1.0], []], r"sequence 1 has shape \(0,\)"),
        ([1.0, 2.0], r"sequence 0 has shape \(\)"),
        ([np.ones((2, 3)), np.ones((4, 2))], r"sequence 0 have \(3,\), those of sequence 1 \(2,\)"),
    ],
)
def test_what_cannot_be_padded(sequences, message):
    with pytest.raises(ValueError, match=message):
        padded(sequences)
    with pytest.raises(TypeError, match="padded"):
        padded([["a"], ["b", "c"]])
