"""What is taken out of a named constant is named by it, wherever it is shown."""

import gc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import viz
from minigrad.core import tensor
from minigrad.graph.graph import Graph
from minigrad.graph.parts import named_part, row

INDICES = st.one_of(
    st.integers(-3, 2),
    st.builds(
        slice,
        st.none() | st.integers(-4, 4),
        st.none() | st.integers(-4, 4),
        st.sampled_from([None, 1, 2, -1, -2]),
    ),
    st.none(),
)


@given(st.lists(INDICES, max_size=4).map(tuple))
def test_the_index_that_is_said_gives_that_part(index):
    """Whatever the index was: what is said is another way to write it, or `[…]`."""
    if sum(k is not None for k in index) > 3:
        return
    x = mg.tensor(np.arange(60.0).reshape(3, 4, 5), name="x")
    y = x.data[index]
    if not isinstance(y, np.ndarray) or not y.ndim:
        return
    text = named_part(y) if y.base is x.data else "x"
    assert text[0] == "x"
    if "…" not in text:
        z = eval(text, {"x": x.data})
        assert z.shape == y.shape
        np.testing.assert_array_equal(z, y)


@pytest.mark.parametrize(
    "name", ["x[1]", "x[::-1]", "x[1, 2:]", "x[:, ::2]", "x[:, None]", "x[:2, :, 3]", "x[None, 1:]"]
)
def test_simple_parts_are_said_as_they_are_written(name):
    x = mg.tensor(np.arange(60.0).reshape(3, 4, 5), name="x")
    assert named_part(eval(name, {"x": x}).data) == name


def test_what_is_not_said():
    x = mg.tensor(np.ones((3, 4)), name="x")
    assert named_part(x.data.T) == "x[…]"
    assert named_part((x + 1).data[0]) is None
    assert named_part(mg.tensor(np.ones((3, 4))).data[0]) is None
    assert named_part(mg.tensor(np.ones((3, 4)), requires_grad=True, name="w").data[0]) is None
    assert named_part(3.0) is None


def test_a_name_is_known_as_long_as_the_array_is_there():
    x = mg.tensor(np.ones((3, 4)), name="x")
    kept, key = x.data, id(x.data)
    x.data = np.zeros((3, 4))
    assert named_part(kept[0]) == "x[0]", "what was computed with it was"
    del x
    gc.collect()
    assert named_part(kept[0]) == "x[0]"
    del kept
    gc.collect()
    assert key not in tensor._NAMED


def test_a_label_names_as_well():
    x = mg.tensor(np.ones((3, 4)))
    mg.label(x=x)
    assert named_part(x[1].data) == "x[1]"


def test_rows():
    x = np.zeros((4, 3))
    assert [row(x[t]) for t in (0, 3)] == [0, 3]
    assert row(x[::-1][0]) == 3
    assert row(x[:, 1]) is None
    assert row(x) is None


@pytest.mark.parametrize(
    ("given", "said"),
    [(lambda x: x, "x[t]"), (lambda x: x.data, "x[t]"), (lambda x: x[::-1], "x[5−t]"),
     (lambda x: x[1:], "x[t+1]"), (lambda x: x[::2], "x[2t]"), (lambda x: x + 1, "array[t]"),
     (lambda x: x[[0, 0, 0, 1, 1]], "array[t]")],
)  # fmt: skip
def test_the_rows_of_a_scan_have_the_name(given, said):
    x = mg.tensor(np.random.default_rng(0).normal(size=(6, 3)), name="x")
    w = mg.tensor(np.eye(3), requires_grad=True)

    def step(h, x):
        h = np.tanh(x @ w + h)
        return h, None

    h, _ = mg.scan(step, np.zeros(3), given(x))
    assert f"{said} " in viz.summary(h.sum(), ascii=False)
    assert said in viz.draw(h.sum()).source
    unrolled = Graph(h.sum(), fold=False)
    names = [n.name for n in unrolled.nodes if n.kind == "constant" and n.value.shape == (3,)]
    expected = {"x[t]": "x[0]", "x[5−t]": "x[5]", "x[t+1]": "x[1]", "x[2t]": "x[0]"}.get(said)
    assert expected in names


def test_rows_in_no_order_are_not_said_to_be_in_one():
    x = mg.tensor(np.random.default_rng(0).normal(size=(6, 3)), name="x")
    h = w = mg.tensor(np.ones(3), requires_grad=True, name="w")
    for t, k in enumerate([3, 0, 5, 1, 4]):
        with mg.scope("step", t):
            h = np.tanh(h * w + x[k])
    assert "x[…] " in viz.summary(h.sum(), ascii=False)


@pytest.mark.parametrize(
    ("read", "said"),
    [(lambda x, t: x[4], "x[4]"), (lambda x, t: x[t] if t < 1 else np.sin(x[t]), "array[t]")],
)
def test_a_name_is_that_of_every_round_or_of_none(read, said):
    x = mg.tensor(np.random.default_rng(0).normal(size=(6, 3)), name="x")
    h = w = mg.tensor(np.ones(3), requires_grad=True, name="w")
    for t in range(5):
        with mg.scope("step", t):
            h = np.tanh(h * w + read(x, t))
    assert f" {said} " in viz.summary(h.sum(), ascii=False)


def test_numbers_that_belong_to_names_do_not_move():
    xs = [mg.tensor(np.random.default_rng(k).normal(size=3), name=f"x{k}") for k in range(5)]
    h = w = mg.tensor(np.ones(3), requires_grad=True, name="w")
    for t, x in enumerate(xs):
        with mg.scope("step", t):
            h = np.tanh(h * w + x)
    assert " x0 … x4 " in viz.summary(h.sum(), ascii=False)
