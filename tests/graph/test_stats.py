"""Statistics: what they say of any array, and that the gradients are the right ones."""

import numpy as np
import pytest

import minigrad as mg
from minigrad.core.tape import Outputs
from minigrad.graph.graph import Graph
from minigrad.graph.stats import Measured, Stats, histogram, measure, measure_all
from tests.helpers import ramp

# ---- arrays --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
@pytest.mark.parametrize("shape", [(7,), (3, 5), (), (1,), (2, 3, 4)])
def test_statistics_are_those_of_numpy(dtype, shape):
    x = np.asarray(np.random.default_rng(0).normal(size=shape)).astype(dtype)
    s, wide = measure(x), x.astype(np.float64)
    assert s.size == x.size
    assert s.rms == pytest.approx(np.sqrt((wide**2).mean()), rel=1e-6)
    assert (s.min, s.max) == (wide.min(), wide.max())
    assert (s.zeros, s.bad, s.is_zero) == (0, 0, False)


def test_views_integers_numbers_and_several_outputs():
    x = np.arange(12.0).reshape(3, 4)
    assert measure(x.T[::2]) == measure(np.ascontiguousarray(x.T[::2]))
    assert measure(np.array([3, 4, 0])) == Stats(3, pytest.approx(np.sqrt(25 / 3)), 0, 4, 1, 0)
    assert measure(np.array([True, False])).max == 1
    assert measure(2.5) == Stats(1, 2.5, 2.5, 2.5, 0, 0)
    assert measure(Outputs([x[:1], x[1:]])) == measure(x)


@pytest.mark.parametrize("size", [1e-30, 1e-200, 1e-310, 1e200, 1e308])
def test_squares_that_overflow_or_vanish(size):
    x = np.array([0.6, -0.8, 0.0, 0.0]) * size
    assert measure(x).rms == pytest.approx(size / 2)
    if 1e-37 < size < 1e38:
        small = (np.array([3.0, -4.0]) * size).astype(np.float32)
        assert measure(small).rms == pytest.approx(np.sqrt(12.5) * size, rel=1e-6)


def test_what_is_not_finite_is_counted_and_left_out():
    x = np.array([np.nan, 3.0, -4.0, np.inf, -np.inf, 0.0])
    assert measure(x) == Stats(6, pytest.approx(5 / np.sqrt(3)), -4, 3, 1, 3)
    for bad in (np.nan, [np.inf], [np.nan, np.nan]):
        s = measure(np.array(bad))
        assert s.bad == s.size
        assert np.isnan([s.rms, s.min, s.max]).all()
    assert measure(np.zeros((3, 0)))[::5] == (0, 0)


def test_zero_is_zero():
    assert measure(np.zeros(4)) == Stats(4, 0.0, 0.0, 0.0, 4, 0)
    assert measure(np.zeros(4)).is_zero
    assert not measure(np.zeros(0)).is_zero
    assert measure(-0.0).zeros == 1


def test_histograms():
    h = histogram(np.arange(20.0))
    assert (h.low, h.high, h.counts) == (0, 19, [1] * 20)
    x = np.random.default_rng(0).normal(size=100_000)
    h = histogram(x)
    assert 2000 < sum(h.counts) <= 4096  # an even sample
    assert h.counts.index(max(h.counts)) in range(7, 13)
    h = histogram(np.array([np.nan, 1.0, 1.0, np.inf]))
    assert (h.low, h.high, sum(h.counts), h.counts[0]) == (1, 1, 2, 2)
    h = histogram(np.array([-1e308, 1e308]))
    assert (h.counts[0], h.counts[-1]) == (1, 1)
    assert histogram(np.array([np.nan])) is None
    assert histogram(np.zeros(0)) is None


# ---- gradients -----------------------------------------------------------------------------------


def by_name(graph, measured):
    return {n.name: measured.grads[n.number] for n in graph.nodes if n.name}


def test_gradients_of_intermediates_and_leaves():
    x = ramp(3, name="x")
    y = mg.tanh(x)
    z = y * y + np.ones(3)
    loss = z.sum()
    mg.label(y=y, z=z, loss=loss)
    graph = Graph(loss)
    measured = Measured(graph, grads=True)
    found = by_name(graph, measured)
    assert found["loss"] == measure(1.0)
    assert found["z"] == measure(np.ones(3))
    assert found["y"] == measure(2 * y.data)  # summed over both uses
    assert found["x"] == measure(2 * y.data * (1 - y.data**2))
    assert x.grad is None
    (constant,) = [n.number for n in graph.nodes if n.kind == "constant"]
    assert measured.grads[constant] is None
    assert measured.values[constant] == measure(np.ones(3))


def test_every_gradient_of_an_lstm():
    lstm = mg.nn.LSTM(2, 3, rng=0, dtype=np.float64)
    loss = (lstm(np.random.default_rng(0).normal(size=(6, 2, 2)))[0] ** 2).sum()
    graph = Graph(loss)
    measured = Measured(graph, True)
    loss.backward()
    for name, p in lstm.named_parameters():
        assert by_name(graph, measured)[name] == pytest.approx(measure(p.grad), rel=1e-14)
    assert [n for n in graph.nodes if n.op and measured.grads[n.number] is None] == []


def test_without_backward_they_are_not_computed_and_afterwards_they_are():
    x = ramp(3)
    loss = (x * 2.0).sum()
    assert Measured(Graph(loss)).grads is None
    loss.backward()
    assert Measured(Graph(loss)).grads is not None
    assert Measured(Graph(loss), grads=False).grads is None
    assert Measured(Graph([loss, x * 3.0])).grads is None  # which cotangent?
    assert Measured(Graph([loss, loss * 2.0])).grads is not None


def test_cotangents():
    x = ramp(3, name="x")
    a, b = x * 2.0, (x * 3.0).sum()
    graph = Graph({"a": a, "b": b})
    assert by_name(graph, Measured(graph, {"a": np.array([1.0, 0, 0]), "b": 10.0}))["x"] == measure(
        np.array([32.0, 30, 30])
    )
    with pytest.raises(ValueError, match=r"output of shape \(3,\) needs a cotangent.*t\.sum"):
        Measured(graph, True)
    with pytest.raises(ValueError, match=r"1 cotangents for 2 outputs"):
        Measured(graph, [1.0])
    with pytest.raises(ValueError, match=r"cotangent of shape \(2,\)"):
        Measured(graph, [np.ones(2), 1.0])


def test_after_the_parameters_have_moved_the_gradient_is_that_of_the_graph():
    x = ramp(3, name="x")
    loss = (x**2).sum()
    before = x.data.copy()
    x.data = x.data + 100.0
    graph = Graph(loss)
    assert by_name(graph, Measured(graph, True))["x"] == measure(2 * before)


def test_a_graph_that_is_not_finite_is_measured_all_the_same():
    x = mg.tensor([0.0, 1.0], requires_grad=True, name="x")
    with np.errstate(all="ignore"):
        y = mg.log(x)
        loss = (y * 0.0).sum()
    graph = Graph(loss)
    for measured in (Measured(graph, True), _in_debug_mode(graph)):
        assert measured.values[graph.numbers[y]].bad == 1
        assert by_name(graph, measured)["x"].bad == 1


def _in_debug_mode(graph):
    with mg.debug():
        return Measured(graph, True)


def test_graphs_of_derivatives_and_of_checkpoints():
    x = ramp(3, name="x")
    g = mg.grad(lambda x: (x**3).sum())(x)
    graph = Graph(g.sum())
    assert by_name(graph, Measured(graph, True))["x"] == measure(6 * x.data)
    y = mg.checkpoint(lambda x: mg.tanh(x) ** 2)(x).sum()
    graph = Graph(y)
    t = np.tanh(x.data)
    assert by_name(graph, Measured(graph, True))["x"].rms == pytest.approx(
        measure(2 * t * (1 - t**2)).rms
    )


def test_no_arrays_are_kept():
    x = ramp(1000)
    loss = mg.tanh(x).sum()
    measured = Measured(Graph(loss), True, histograms=True)
    kept = [measured.values, measured.grads, measured.histograms, measured.grad_histograms]
    entries = [entry for column in kept for entry in column]
    assert [entry for entry in entries if not isinstance(entry, tuple | None)] == []
    assert [f for entry in entries for f in entry or () if isinstance(f, np.ndarray)] == []


def test_many_arrays_together_have_the_statistics_of_each():
    rng = np.random.default_rng(0)
    values = [rng.normal(size=(3, 4)).astype(dtype) for dtype in ("f4", "f8") for _ in range(9)]
    values += [np.zeros((3, 4)), np.full((3, 4), 1e200), np.full((3, 4), 1e-300), np.float64(-2.0)]
    values += [np.array([1.0, np.nan, np.inf]), np.array([-np.inf, 0.0, 2.0]), np.array([])]
    values += [np.array(-3.0), np.array(5), np.ones((2, 6)).T, rng.normal(size=(100, 100)), 2.5]
    values += [np.array([True, False]), np.ones(4, np.float16), Outputs([np.ones(2), np.ones(3)])]
    with np.errstate(all="ignore"):
        for one, each in zip(measure_all(values), map(measure, values), strict=True):
            assert one._replace(rms=0) == each._replace(rms=0)
            assert np.isclose(one.rms, each.rms, rtol=1e-6, atol=0, equal_nan=True)
    assert measure_all([]) == []
