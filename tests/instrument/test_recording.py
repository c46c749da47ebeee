"""What every expression of the user's gave, and what it was computed from."""

from functools import partial

import numpy as np
import pytest

from minigrad.instrument import record
from minigrad.instrument import recording as module


def recorded_of(f):
    return record(partial(f))


def origins(recorded, number):
    """The texts of all that an event is computed from."""
    events, found, stack = recorded.recording.events, set(), [number]
    while stack:
        e = events[stack.pop()]
        found.add(e.site.text)
        stack += e.deps
    return found


def of_result(recorded, key=None):
    value = recorded.result if key is None else recorded.result[key]
    return origins(recorded, recorded.recording.lookup(value))


def double(x):
    return 2 * x


class Layer:
    def __init__(self, w):
        self.w = w

    def back(self, g):
        return g @ self.w.T


a, b, c = np.arange(4.0) + 1, np.arange(4.0) + 2, np.arange(4.0) + 3


def test_helpers_methods_lambdas_and_comprehensions():
    layer = Layer(np.eye(4) + 1)

    def run():
        x = double(a + b)
        y = (lambda v: v - 1)(x)
        parts = [y * k for k in range(3)]
        z = sum(p for p in parts)
        u, (v, w) = z + 1, (z + 2, z + 3)
        return layer.back(u + v + w)

    recorded = recorded_of(run)
    assert np.array_equal(recorded.result, run())
    known = of_result(recorded)
    for text in ("a + b", "2 * x", "v - 1", "y * k", "z + 1", "z + 3", "self.w.T", "g @ self.w.T"):
        assert text in known
    assert not recorded.recording.failure


def test_what_is_written_in_place_is_another_value():
    def run():
        total, rows = np.zeros(4), np.zeros((2, 4))
        view = rows[1]
        total += a * b
        rows[0] = total - 1
        rows[1] = c / 2
        scaled = np.multiply(view, 3, out=np.empty(4))
        np.add.at(total, [0, 1], scaled[:2])
        kept = {"total": total}
        kept["total"] *= 2
        return {"rows": rows, "scaled": scaled, "total": kept["total"]}

    recorded = recorded_of(run)
    assert {"a * b", "total - 1", "c / 2"} <= of_result(recorded, "rows")
    assert "c / 2" in of_result(recorded, "scaled")
    assert {"a * b", "scaled[:2]", 'kept["total"] *= 2'} <= of_result(recorded, "total")
    written = [e.site.text for e in recorded.recording.events if e.written]
    assert "np.add.at(total, [0, 1], scaled[:2])" in written
    first = next(e for e in recorded.recording.events if e.site.text == "total += a * b")
    assert np.array_equal(first.value, a * b)


def test_shapes_are_no_values():
    assert of_result(recorded_of(lambda: np.zeros_like(a * b))) == {"np.zeros_like(a * b)"}


def test_an_index_that_does_something_is_evaluated_once():
    def run():
        order, total = iter([1, 2]), np.zeros(4)
        total[next(order)] += 1.0
        total[next(order)] = 5.0
        return total

    assert recorded_of(run).result.tolist() == [0, 1, 5, 0]


def forward(x):
    return double(x)


def test_only_the_last_function_that_is_called_counts():
    def backward(x):
        return double(double(x))

    def run():
        forward(a)
        return backward(a)

    recorded = record(run)
    twice = next(site for site in recorded.recording.counts if site.text == "2 * x")
    assert recorded.recording.counts[twice] == 2
    edited = recorded.again({twice: lambda n, x: x if n else 0 * x + 1})
    assert edited.tolist() == [2, 2, 2, 2]
    assert np.array_equal(recorded.again({}), 4 * a)


def test_the_right_side_of_a_sum_can_be_edited_by_the_sum():
    def run():
        total = np.ones(4)
        for x in (a, b):
            total -= x * 2
        return total

    recorded = recorded_of(run)
    added = next(site for site in recorded.recording.counts if site.text == "x * 2")
    old = next(site for site in recorded.recording.counts if site.kind == "old")
    assert np.array_equal(recorded.again({added: lambda n, x: c + n}, {added: (old, -1)}), c + 1)


def test_afterwards_functions_are_as_before():
    def bad(x):
        y = double(x)
        raise KeyError(y)

    codes = double.__code__, bad.__code__
    with pytest.raises(KeyError):
        record(lambda: bad(a))
    assert (double.__code__, bad.__code__) == codes


def test_statements_of_every_kind():
    def run():
        x: np.ndarray = a + 1
        with np.errstate(all="ignore"):
            y = x / 2 if len(x) else x
        try:
            z = y * 3
        except ValueError as error:
            raise error
        finally:
            z = z + 0.5
        n = 2
        while n:
            n -= 1
            z = z * 1.5
        match n:
            case 0:
                z = z - c
        if np.any((w := z + b) < 0):
            return None
        for k, (p, q) in enumerate([(w, 1), (w, 2)]):
            w = p * q + k if p is not q else p
        return w

    recorded = recorded_of(run)
    assert np.array_equal(recorded.result, run())
    texts = ("a + 1", "x / 2", "y * 3", "z + 0.5", "z * 1.5", "z - c", "z + b", "p * q + k")
    assert {*texts} <= of_result(recorded)


def test_too_many_values_are_said_and_stop_nothing(monkeypatch):
    monkeypatch.setattr(module, "LIMIT", 3)
    recorded = recorded_of(lambda: (a + 1) * (b + 2) * (c + 3))
    assert recorded.recording.failure == "it computes more than 3 values"
    assert np.array_equal(recorded.result, (a + 1) * (b + 2) * (c + 3))
