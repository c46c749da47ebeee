"""Metrics: against counting by hand, and what they refuse."""

import math

import numpy as np
import pytest

import minigrad as mg
from minigrad.metrics import (
    accuracy,
    balanced_accuracy,
    bits_per_character,
    confusion_matrix,
    rmse,
)


def by_hand(predicted, labels, n):
    counts = np.zeros((n, n), int)
    for p, y in zip(np.ravel(predicted), np.ravel(labels), strict=True):
        counts[y, p] += 1
    return counts


@pytest.mark.parametrize("shape", [(40,), (8, 5)])
def test_metrics_of_classes(shape):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, shape)
    logits = rng.normal(size=(shape[0], 4, *shape[1:]))
    p = logits.argmax(axis=1)
    counts = by_hand(p, y, 4)
    for given in (logits, mg.tensor(logits, requires_grad=True)):
        np.testing.assert_array_equal(confusion_matrix(given, y), counts)
        assert accuracy(given, y) == np.trace(counts) / y.size
        recalls = [counts[k, k] / counts[k].sum() for k in range(3)]  # class 3 has no labels
        np.testing.assert_allclose(balanced_accuracy(given, y), np.mean(recalls), rtol=1e-15)
    np.testing.assert_array_equal(confusion_matrix(p, y, classes=4), counts)
    assert accuracy(p, y) == accuracy(logits, y)


def test_yes_and_no_are_labels():
    assert accuracy([True, False], [1, 1]) == 0.5
    assert confusion_matrix([True, False], [True, True]).tolist() == [[0, 0], [1, 1]]


def test_bits_per_character():
    rng = np.random.default_rng(0)
    logits, y = rng.normal(size=(6, 5, 7)), rng.integers(0, 5, (6, 7))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    chosen = np.take_along_axis(shares, y[:, None], axis=1)
    np.testing.assert_allclose(bits_per_character(logits, y), -np.log2(chosen).mean(), rtol=1e-13)
    nats = mg.nn.cross_entropy(logits, y).item()
    np.testing.assert_allclose(bits_per_character(logits, y) * math.log(2), nats, rtol=1e-13)


def test_rmse():
    x = mg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    assert rmse(x, [1, 2, 6]) == math.sqrt(3)
    assert rmse(np.full(2, 255, np.uint8), np.zeros(2, np.uint8)) == 255


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: accuracy([0.2, 0.9], [0, 1]), TypeError, "predictions must be integers, not"),
        (lambda: accuracy([0, 1], [0.0, 1.0]), TypeError, "labels must be integers, not float64"),
        (lambda: accuracy([0, 1], [0]), ValueError, r"not shapes \(2,\) and \(1,\)"),
        (lambda: accuracy([], []), TypeError, "must be integers"),
        (lambda: accuracy([-1], [0]), ValueError, "there is -1"),
        (lambda: accuracy([[np.nan, 1.0]], [0]), ValueError, "scores that are not finite"),
        (lambda: accuracy(["a"], ["a"]), TypeError, "accuracy takes real numbers"),
        (lambda: confusion_matrix([0, 3], [0, 1], 3), ValueError, r"must lie in 0 \.\. 2, not 3"),
        (lambda: rmse(np.ones((2, 1)), np.ones(2)), ValueError, r"\(2, 1\) and \(2,\)"),
        (lambda: rmse([], []), ValueError, "must be the same, of numbers"),
    ],
)
def test_what_cannot_be_meant_is_refused(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
