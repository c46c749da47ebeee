"""What operations cost: counted by hand here, from shapes there."""

import json

import numpy as np
import pytest

import minigrad as mg
from minigrad import viz
from minigrad.graph.cost import Cost, cost_of
from minigrad.graph.graph import Graph


def x(*shape):
    return mg.tensor(np.ones(shape), requires_grad=True)


def last(y):
    return cost_of(Graph(y).nodes[-1])


COUNTED = {
    "matmul": (lambda: x(4, 3) @ x(3, 2), 2 * 4 * 3 * 2),
    "a batch": (lambda: x(5, 4, 3) @ x(3, 2), 5 * 2 * 4 * 3 * 2),
    "vectors": (lambda: x(3) @ x(3), 6),
    "conv": (lambda: mg.conv2d(x(2, 4, 6, 6), x(8, 2, 3, 3), groups=2), 2 * 2 * 8 * 16 * 18),
    "transposed": (lambda: mg.conv_transpose1d(x(2, 4, 5), x(4, 3, 2)), 2 * 2 * 4 * 5 * 3 * 2),
    "pool": (lambda: mg.max_pool1d(x(2, 3, 8), 2), 2 * 3 * 4 * 2),
    "elementwise": (lambda: x(4, 1) * x(3), 12),
    "a function": (lambda: mg.tanh(x(4, 3)), 12),
    "sum": (lambda: x(4, 3).sum(axis=0), 12),
    "softmax": (lambda: mg.softmax(x(4, 3)), 60),
    "einsum": (lambda: mg.einsum("bij,jk->bik", x(5, 4, 3), x(3, 2)), 5 * 2 * 4 * 3 * 2),
    "with an ellipsis": (lambda: mg.einsum("...ij,jk", x(5, 4, 3), x(3, 2)), 5 * 2 * 4 * 3 * 2),
    "a sum by letters": (lambda: mg.einsum("ij->j", x(4, 3)), 12),
    "copies": (lambda: mg.concatenate([x(4, 3), x(4, 3)]), 0),
    "several": (lambda: mg.einsum("ij,jk,k->i", x(4, 3), x(3, 2), x(2)), None),
    "unknown": (lambda: mg.linalg.eigh(x(3, 3))[0], None),
}


@pytest.mark.parametrize("name", COUNTED)
def test_flops(name):
    run, flops = COUNTED[name]
    (operation,) = [n for n in Graph(run()).nodes if n.op and n.op not in ("pick", "add")][-1:]
    assert cost_of(operation).flops == flops


def test_bytes_are_what_is_read_and_written_and_views_are_free():
    assert last(mg.tanh(x(4, 3))) == Cost(12, 2 * 96, 96)
    y = x(4, 3)
    assert last(y * y) == Cost(12, 2 * 96, 96)  # one array, read once
    assert last(y.T) == last(y[0]) == last(y.reshape(3, 4)) == Cost(0, 0, 0)
    assert last(y.T.reshape(12)) == Cost(0, 2 * 96, 96)  # which is a copy


def test_what_the_tape_keeps_is_what_it_is_said_to_keep():
    with np.errstate(all="ignore"):
        h, data = x(8, 16), np.ones((16, 16))
        y = (mg.tanh(h @ data).reshape(16, 8).T * 2.0).sum()
    graph = Graph(y)
    held = {}
    for node in graph.nodes:
        if node.op:
            owner = node.value if node.value.base is None else node.value.base
            held[id(owner)] = owner.nbytes
    assert sum(cost_of(n).kept for n in graph.nodes) == sum(held.values())


def test_columns_of_a_summary_hold_all_repetitions():
    net, data = mg.nn.RNN(4, 8, rng=0), np.ones((20, 5, 4), np.float32)
    loss = (net(data)[0] ** 2).sum()
    text = viz.summary(loss, cost=True, width=140, color=False, ascii=False)
    (line,) = [line for line in text.splitlines() if "matmul · weight_hh" in line]
    assert f"{2 * 20 * 5 * 8 * 8 / 1000:.3g}k" in line
    flat = viz.summary(loss, cost=True, fold=False).splitlines()
    said = [line for line in text.splitlines() if line.startswith("forward: ")]
    assert said == [line for line in flat if line.startswith("forward: ")]
    assert "FLOPs" not in viz.summary(loss)
    y = mg.linalg.eigh(x(3, 3))[0].sum() + mg.tanh(x(4)).sum()
    text = viz.summary(y, cost=True)
    assert "forward: 12 FLOPs; " in text
    assert text.splitlines()[-2].endswith("FLOPs not known of eigh")


def test_the_data_of_a_page_holds_costs_and_shapes_of_inputs():
    forms = json.loads(viz.to_json(x(4, 3) @ np.ones((3, 2))))["forms"]
    form = next(f for f in forms if f["op"] == "matmul")
    assert [form[k] for k in ("inputs", "flops", "bytes", "kept")] == [
        [[4, 3], [3, 2]],
        48,
        208,
        64,
    ]


def test_the_smallest_gradient_is_that_of_a_box_that_is_drawn():
    loss = (mg.nn.LSTM(2, 3, rng=0)(np.ones((30, 4, 2), np.float32))[0][-1] ** 2).sum()
    text = viz.summary(loss, grads=True, color=False, ascii=False)
    (named,) = [line for line in text.splitlines() if line.startswith("smallest gradient")]
    assert (
        named.partition(": ")[2].rpartition(": ")[2].partition(", t=")[0]
        in text.partition("\n\n")[0]
    )
    assert "[3], t" not in named
