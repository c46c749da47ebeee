"""The frozen graph: what is in it, what is folded, and above all what is not."""

import contextlib
import re
import time

import numpy as np
import pytest

import minigrad as mg
from minigrad.graph import nodes
from minigrad.graph.graph import Cluster, Graph
from tests.helpers import lstm_loss, ramp


def clusters(graph):
    """Every cluster: (path of labels, how many scopes it stands for)."""
    found, stack = [], [(graph.root, "")]
    while stack:
        cluster, path = stack.pop()
        for item in reversed(cluster.items):
            if isinstance(item, Cluster):
                frame = item.frame
                label = frame.label if frame.index is None else f"{frame.label}[{frame.index}]"
                stack.append((item, f"{path}/{label}"))
        if path:
            found.append((path[1:], len(cluster.moments) or 1))
    return found


def folds(graph):
    return [count for _, count in clusters(graph) if count > 1]


def edges(graph):
    """The wires as text: `h.out -> stack all t`."""
    nodes = graph.nodes

    def text(end):
        node = nodes[end.node]
        name = node.name or node.op or node.kind
        return f"{name}.{end.port}" if end.port else name

    return [f"{text(w.source)} -> {text(w.target)} {w.label}".rstrip() for w in graph.wires()]


# ---- reading -------------------------------------------------------------------------------------


def test_nodes_are_in_order_with_their_arguments_by_position():
    x, w = ramp(3, name="x"), np.ones(3)
    y = w - mg.power(x, 2)
    mg.label(y=y)
    graph = Graph(y.sum())
    rows = [(n.number, n.kind, n.op, n.name, n.args) for n in graph.nodes]
    assert rows == [
        (0, "leaf", "", "x", ()),
        (1, "operation", "power", None, (0, "2")),
        (2, "constant", "", None, ()),
        (3, "operation", "subtract", "y", (2, 1)),
        (4, "operation", "sum", None, (3,)),
    ]
    assert graph.outputs == [4]
    assert graph.nodes[2].value is w


def test_scalar_constants_are_text_and_named_ones_are_nodes():
    x = ramp(3)
    graph = Graph(x * mg.tensor(2.0) * np.float32(0.5) * np.array(4.0) * mg.tensor(3.0, name="c"))
    assert [n.args for n in graph.nodes if n.op] == [(0, "2.0"), (1, "0.5"), (2, "4.0"), (3, 4)]


def test_a_leaf_has_the_value_it_was_used_with():
    x = ramp(2)
    was, y = x.data, x * 2.0
    x.data = np.zeros(2)
    assert Graph(y).nodes[0].value is was


def test_one_array_is_one_constant():
    x, w = ramp(3), np.ones(3)
    graph = Graph((x * w + w).sum())
    assert [n.kind for n in graph.nodes].count("constant") == 1


def test_parameters_are_named_by_the_outermost_module():
    net = mg.nn.Sequential(mg.nn.Linear(2, 3, rng=0), mg.tanh, mg.nn.Linear(3, 1, rng=0))
    net.steps[0](np.ones((1, 2), np.float32))  # a call outside of the net must not matter
    graph = Graph(net(np.ones((4, 2), np.float32)))
    names = {n.name for n in graph.nodes if n.kind == "parameter"}
    assert names == {name for name, _ in net.named_parameters()}
    assert clusters(graph) == [
        ("sequential", 1),
        ("sequential/0", 1),
        ("sequential/2", 1),
    ]


def test_a_leaf_of_no_module_is_a_ramp():
    graph = Graph(ramp(2, name="w") * 2.0)
    assert (graph.nodes[0].kind, graph.nodes[0].name) == ("leaf", "w")


def test_several_outputs_in_a_container():
    x = ramp(3)
    a = x * 2.0
    graph = Graph({"a": a, "rest": [a.sum(), a]})
    assert [graph.nodes[k].op for k in graph.outputs] == ["multiply", "sum", "multiply"]
    assert len(graph.nodes) == 3


def test_metadata_as_text():
    x = ramp(4, 5)
    for y, text in [
        (x[1], "[1]"),
        (x[:, 1:3], "[:, 1:3]"),
        (x[..., None], "[..., None]"),
        (x[::-1], "[::-1]"),
        (x[np.array([0, 2])], "[int64(2,)]"),
        (x.sum(axis=0, keepdims=True), "(axis=0, keepdims=True)"),
        (x.sum(axis=(0, 1)), "(axis=(0, 1))"),
        (x.reshape(5, 4), "(shape=(5, 4))"),
        (x.sum(), ""),
        (x.astype(np.float32), "(dtype=float32)"),
    ]:
        graph = Graph(y)
        assert graph.options(graph.outputs[0]) == text


def test_graphs_of_derivatives():
    x = ramp(3)
    with mg.scope("gradient"):
        g = mg.grad(lambda x: (x**3).sum())(x)
    assert [n for n in Graph(g).nodes if n.op == "power"]


def test_a_hundred_thousand_operations():
    x = y = ramp()
    for _ in range(100_000):
        y = y + x
    graph = Graph(y, fold=False)
    assert len(graph.nodes) == 100_001
    assert len(graph.wires()) == 200_000
    graph = Graph(y)
    assert folds(graph) == [100_000]
    assert len(graph.wires()) == 5


def test_shared_parts_are_read_once():
    y = ramp(2)
    for _ in range(60):
        y = y + y
    graph = Graph(y, fold=False)
    assert sum(bool(n.op) for n in graph.nodes) == 60
    assert len(graph.wires()) == 120  # both arguments have a wire


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (lambda: mg.tensor([1.0], name="x"), RuntimeError, ["'x'", "requires_grad=True"]),
        (lambda: mg.no_grad()(lambda: ramp(2) * 2.0)(), RuntimeError, ["(2,)", "mg.no_grad()"]),
        (lambda: {"loss": ramp(1), "acc": mg.tensor(1.0)}, RuntimeError, ["'acc'"]),
        (lambda: [ramp(1), 3.0], TypeError, ["[1]", "float"]),
    ],
    ids=["constant", "no_grad", "one of several", "no tensor"],
)
def test_without_a_graph_the_error_says_which_and_what_to_do(make, kind, words):
    with pytest.raises(kind) as caught:
        Graph(make())
    for word in words:
        assert word in str(caught.value)


# ---- folding -------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 77])
def test_the_steps_of_an_lstm_are_one(steps):
    graph = Graph(lstm_loss(steps))
    inside = [(path, n) for path, n in clusters(graph) if "step" in path]
    assert inside == [("lstm/step[0]", steps)]
    one, shown = Graph(lstm_loss(1)), {graph.shown[k] for k in range(len(graph.nodes))}
    assert [n.op for n in graph.nodes if n.number in shown and n.op] == [
        n.op for n in one.nodes if n.op
    ]


def test_the_state_goes_through_ports():
    found = [e for e in edges(Graph(lstm_loss(77))) if ".in" in e or ".out" in e]
    assert sorted(found) == [
        "c -> c.out",
        "c.in -> multiply",
        "constant -> c.in t=0",
        "constant -> h.in t=0",
        "h -> h.out",
        "h.in -> matmul",
        "h.out -> stack t=76",
    ]


def test_fold_off_keeps_every_step():
    graph = Graph(lstm_loss(5), fold=False)
    assert [path for path, _ in clusters(graph) if "step" in path] == [
        f"lstm/step[{t}]" for t in range(5)
    ]
    assert graph.shown == list(range(len(graph.nodes)))
    assert [w for w in graph.wires() if w.label or w.source.port or w.target.port] == []


def test_layers_stay_apart_and_fold_each():
    graph = Graph(lstm_loss(7, layers=2))
    assert [row for row in clusters(graph) if "layer" in row[0]] == [
        ("lstm/layer[0]", 1),
        ("lstm/layer[0]/step[0]", 7),
        ("lstm/layer[1]", 1),
        ("lstm/layer[1]/step[0]", 7),
    ]
    assert "h.out -> stack all t" in edges(graph)


def test_both_directions_of_a_bidirectional_net_fold():
    ahead, back = mg.nn.LSTM(2, 3, rng=0), mg.nn.LSTM(2, 3, rng=1)
    x = ramp(5, 1, 2).astype(np.float32)
    graph = Graph(mg.concatenate([ahead(x)[0], back(x[::-1])[0][::-1]], axis=-1))
    assert clusters(graph) == [
        ("lstm", 1),
        ("lstm/step[0]", 5),
        ("lstm", 1),
        ("lstm/step[0]", 5),
    ]


def test_two_cells_that_share_their_weights_stay_two():
    first, second, state = mg.nn.GRUCell(2, 3, rng=0), mg.nn.GRUCell(2, 3, rng=1), None
    for name, p in first.named_parameters():
        setattr(second, name, p)
    for t in range(6):
        state = (second if t % 2 else first)(np.ones((4, 2), np.float32), state)
    graph = Graph(state)
    cells = [("repeats[0]/grucell", 1)] * 2  # whether a round is one step or two, nobody says
    assert clusters(graph) == [("repeats[0]", 3), *cells]


def loop(steps, body, state=None):
    """Unroll `state = body(t, state)` in scopes."""
    for t in steps:
        with mg.scope("step", t):
            state = body(t, state)
    return state


def test_an_unequal_last_step_stays_apart():
    w = ramp(3, name="w")
    graph = Graph(
        loop(range(6), lambda t, h: mg.tanh(h * w) if t < 5 else mg.exp(h * w), np.ones(3))
    )
    assert clusters(graph) == [("step[0]", 5), ("step[5]", 1)]
    assert "tanh.out -> multiply t=4" in edges(graph)


def test_an_unequal_first_step_stays_apart():
    w = ramp(3, name="w")
    graph = Graph(loop(range(6), lambda t, h: mg.tanh(h * w) if t else mg.tanh(w)))
    assert clusters(graph) == [("step[0]", 1), ("step[1]", 5)]
    assert "tanh -> tanh.in t=1" in edges(graph)


def test_the_index_of_the_step_becomes_t():
    x = ramp(9, 3)
    body = lambda t, h: mg.tanh(x[t] + h) * x[t + 1, 0:1] + x[2].sum(axis=0)
    graph = Graph(loop(range(6), body, np.zeros(3)))
    assert folds(graph) == [6]
    shown = [n.number for n in graph.nodes if n.op and graph.shown[n.number] == n.number]
    texts = [graph.options(k) for k in shown]
    assert texts == ["[t]", "", "", "[t+1, 0:1]", "", "[2]", "(axis=0)", ""]


def test_an_index_going_down_and_steps_of_two():
    x = ramp(9, 3)
    graph = Graph(loop(range(8, -1, -1), lambda t, h: mg.tanh(h + x[t]), np.zeros(3)))
    assert folds(graph) == [9]
    assert graph.options(1) == "[t]"
    graph = Graph(loop(range(0, 9, 2), lambda t, h: mg.tanh(h + x[t]), np.zeros(3)))
    assert folds(graph) == [5]


@pytest.mark.parametrize(
    "body",
    [
        lambda t, h: mg.tanh(h) * [1.0, 2.0, 3.0, 4.0][t],
        lambda t, h: mg.tanh(h) + A[(0, 2, 0, 2)[t]],
        lambda t, h: mg.tanh(h) + P[t],
        lambda t, h: (mg.tanh if t % 2 else mg.exp)(h),
        lambda t, h: mg.tanh(h) if t % 2 else mg.tanh(mg.tanh(h)),
    ],
    ids=["scalar", "index", "leaf", "operation", "number"],
)
def test_what_differs_from_step_to_step_is_not_folded(body):
    assert folds(Graph(loop(range(4), body, ramp(3)))) == []


A, P = ramp(3, 3), [ramp(3) for _ in range(4)]


def test_shapes_and_dtypes_must_be_equal():
    x = ramp(4, 3)
    graph = Graph(loop(range(4), lambda t, h: mg.tanh(h)[: 3 - t // 2], x))
    assert max(folds(graph), default=1) <= 2
    graph = Graph(loop(range(4), lambda t, h: mg.tanh(h.astype(DTYPES[t])), x))
    assert folds(graph) == []


DTYPES = [np.float32, np.float64, np.float32, np.float64]


def test_a_step_may_have_its_own_constant():
    w, xs = ramp(3, name="w"), [np.full(3, float(t)) for t in range(5)]
    graph = Graph(loop(range(5), lambda t, h: mg.tanh(h * w + xs[t]), np.zeros(3)))
    assert folds(graph) == [5]
    own = [n.number for n in graph.nodes if n.kind == "constant" and graph.paths[n.number]]
    assert len(own) == 5
    assert len({graph.shown[k] for k in own}) == 1
    assert edges(graph).count("constant -> add") == 1


def test_a_constant_of_all_steps_is_outside():
    w, x = ramp(3, name="w"), np.ones(3)
    graph = Graph(loop(range(5), lambda t, h: mg.tanh(h * w + x), np.zeros(3)))
    assert folds(graph) == [5]
    assert [n for n in graph.nodes if not n.op and graph.paths[n.number]] == []


def test_constants_of_two_steps_at_once_are_not_folded():
    w, xs = ramp(3, name="w"), [np.full(3, float(t)) for t in range(6)]
    graph = Graph(loop(range(5), lambda t, h: mg.tanh(h * w + xs[t]) + xs[t + 1], np.zeros(3)))
    assert folds(graph) == []


def test_two_states_that_start_apart_are_two():
    a, b = ramp(3), ramp(3)
    w = ramp(3)

    def body(t, state):
        x, y = state
        h = x * w + y
        return h, h

    assert folds(Graph(loop(range(4), body, (a, b))[0])) == [3]  # the first step reads two
    assert folds(Graph(loop(range(4), body, (a, a))[0])) == [4]


def test_a_state_may_start_from_a_number_a_parameter_or_another_fold():
    w = ramp(name="w")
    graph = Graph(loop(range(4), lambda t, h: mg.tanh(h * w), 0.0))
    assert folds(graph) == [4]
    w, h0 = ramp(3, name="w"), ramp(3, name="h0")
    h = loop(range(4), lambda t, h: mg.tanh(h * w), h0)
    graph = Graph(loop(range(3), lambda t, h: mg.exp(h * w), h))
    assert folds(graph) == [4, 3]
    assert "h0 -> tanh.in t=0" in edges(graph)
    assert "tanh.out -> exp.in t=3 → t=0" in edges(graph)


def test_what_looks_alike_but_is_not():
    w, x, q = ramp(3, name="w"), ramp(8, 3), ramp(3)

    def side(t, h):  # two constants, but in the last step one, twice
        last = np.ones(3)
        return h * last + (last if t == 3 else np.ones(3))

    def inner(t, h):  # in the last step the exponential stands in the inner scope as well
        with mg.scope("inner"):
            h = mg.tanh(h)
            h = mg.exp(-h) if t == 3 else -h
        return h if t == 3 else mg.exp(h)

    def nested(t, h):
        with mg.scope("a"):
            h = mg.tanh(h)
            if t == 3:
                with mg.scope("b"):
                    return mg.tanh(h)
        with mg.scope("b"):
            return mg.tanh(h)

    blocks = [Block(w), Block(w)]
    for name, body, start, expected in [
        ("the state starts with another shape", lambda t, h: h * w, ramp(1), [3]),
        ("0, 1, 1, 1: no one rule", lambda t, h: h * x[min(t, 1)], q, [2, 2]),
        ("shrinks", lambda t, h: mg.tanh(h)[1:], x, []),
        ("grows", lambda t, h: h * x[: t + 1].sum(axis=0), q, []),
        ("slope", lambda t, h: mg.leaky_relu(h, slope=[0.1, 0.1, 0.1, 0.2][t]), q, [3]),
        ("a constant's shape", lambda t, h: h * np.ones(3 if t < 3 else 1), q, [3]),
        ("side", side, q, [3]),
        ("the first is made", lambda t, h: mg.tanh(w) + (h if t else mg.exp(w)), None, [3]),
        ("the module", lambda t, h: blocks[t == 3](h), q, [3]),
        ("inner", inner, q, [3]),
        ("nested", nested, q, [3]),
    ]:
        assert folds(Graph(loop(range(4), body, start))) == expected, name


def test_a_state_starts_in_the_first_step_or_not_at_all():
    w, q = ramp(3, name="w"), ramp(3, name="q")

    def body(t, state):
        h, total = state
        h = (h if t > 1 else q) * w
        return h, total + h

    assert folds(Graph(loop(range(6), body, (None, ramp(3)))[1])) == [2, 4]


def test_a_state_that_starts_inside_is_not_one():
    w = ramp(3)

    def body(t, h):
        a = mg.tanh(w)
        return a + (h if t else a)

    assert folds(Graph(loop(range(4), body))) == [3]


def test_labels_and_indices_tell_scopes_apart():
    h = w = ramp(3)
    for label, index in [("a", None), ("b", None), ("b", 1), ("c", 2)]:
        with mg.scope(label, index):
            h = mg.tanh(h * w)
    assert folds(Graph(h)) == []


class Block(mg.nn.Module):
    def __init__(self, weight=None):
        self.weight = ramp(3) if weight is None else weight

    def forward(self, x):
        return mg.tanh(self.weight * x)


def test_a_module_called_in_a_chain_is_folded():
    block = Block()
    graph = Graph(block(block(np.ones(3))))
    assert clusters(graph) == [("block", 2)]
    assert "tanh.in -> multiply" in edges(graph)


def test_a_module_called_twice_side_by_side_is_not():
    block, x, y = Block(), ramp(3), ramp(3)
    assert folds(Graph(block(x) * block(y))) == []
    assert folds(Graph(block(np.ones(3)) - block(np.zeros(3)))) == []


def test_a_module_called_in_two_places_is_not():
    block = Block()
    assert folds(Graph(block(mg.exp(block(np.ones(3)))))) == []


def test_two_modules_that_share_a_parameter_are_not():
    block = Block()
    assert folds(Graph(Block(block.weight)(block(np.ones(3))))) == []


def test_unrelated_operations_are_not():
    x = ramp(3)
    graph = Graph(mg.relu(mg.relu(mg.relu(x) * 2.0) + 1.0))
    assert graph.shown == list(range(len(graph.nodes)))


def test_folds_within_folds():
    w, x = ramp(3, name="w"), ramp(4, 3, name="x")

    def epoch(e, h):
        for t in range(4):
            with mg.scope("step", t):
                h = mg.tanh(h * w + x[t])
        return mg.exp(h)

    h = ramp(3, name="h0")
    for e in range(5):
        with mg.scope("epoch", e):
            h = epoch(e, h)
    graph = Graph(h)
    assert clusters(graph) == [("epoch[0]", 5), ("epoch[0]/step[0]", 4)]
    operations = {graph.shown[n.number] for n in graph.nodes if n.op}
    assert len(operations) == 5
    assert {len(graph.paths[n.number]) for n in graph.nodes if n.op == "tanh"} == {2}
    assert sorted(edges(graph)) == sorted(
        [
            "h0 -> exp.in epoch=0",
            "exp.in -> tanh.in t=0",
            "tanh.in -> multiply",
            "w -> multiply",
            "x -> getitem",
            "multiply -> add",
            "getitem -> add",
            "add -> tanh",
            "tanh -> tanh.out",
            "tanh.out -> exp t=3",
            "exp -> exp.out",
        ]
    )


def test_cells_in_a_loop_over_arrays():
    cell, state = mg.nn.LSTMCell(2, 3, rng=0), None
    for x in np.ones((6, 4, 2), np.float32):
        state = cell(x, state)
    graph = Graph(state[0])
    assert clusters(graph) == [("lstmcell", 6)]


def test_scopes_without_state_fold_by_their_index():
    x = ramp(4, 3)
    heads = []
    for k in range(4):
        with mg.scope("head", k):
            heads.append(mg.softmax(x[k]))
    graph = Graph(mg.stack(heads))
    assert clusters(graph)[0] == ("head[0]", 4)
    assert [e for e in edges(graph) if e.endswith("stack all head")]


def test_primitives_with_several_outputs():
    from minigrad.core.tensor import OPS
    from minigrad.ops.families import general

    def halves(x):
        return x[:2], x[2:]

    primitive = general(halves, pulls=[None], pushes=[None], samples=lambda r: [])
    try:
        low, high = primitive(ramp(4))
        graph = Graph((low * high).sum())
    finally:
        del OPS[halves]
    assert graph.nodes[1].op == "halves"
    assert [graph.options(n.number) for n in graph.nodes if n.op == "pick"] == ["(k=0)", "(k=1)"]


# ---- loops without scopes ------------------------------------------------------------------------


def rnn(steps, x, w, b, h):
    for t in range(steps):
        h = mg.tanh(x[t] + h * w + b)
    return h


def shown(graph):
    """The operations that are shown, with their metadata."""
    return [
        n.op + graph.options(n.number)
        for n in graph.nodes
        if n.op and graph.shown[n.number] == n.number
    ]


@pytest.mark.parametrize("steps", [3, 4, 77])
def test_a_loop_without_scopes_is_found(steps):
    graph = Graph(rnn(steps, ramp(77, 3), ramp(3), ramp(3), np.zeros(3)).sum())
    assert clusters(graph) == [("loop[0]", steps)]
    assert shown(graph) == ["getitem[t]", "multiply", "add", "add", "tanh", "sum"]
    assert "constant -> tanh.in t=0" in edges(graph)
    assert f"tanh.out -> sum t={steps - 1}" in edges(graph)
    (loop,) = [item for item in graph.root.items if isinstance(item, Cluster)]
    assert (loop.detected, loop.letter, loop.moments) == (True, "t", list(range(steps)))


def test_two_rounds_are_no_loop_and_few_operations_neither():
    assert folds(Graph(rnn(2, ramp(2, 3), ramp(3), ramp(3), np.zeros(3)))) == []
    x = y = ramp(3)
    for _ in range(11):
        y = y * x
    assert folds(Graph(y)) == []
    assert folds(Graph(y * x)) == [12]


def test_fold_false_switches_detection_off():
    graph = Graph(rnn(9, ramp(9, 3), ramp(3), ramp(3), np.zeros(3)), fold=False)
    assert clusters(graph) == []
    assert len(shown(graph)) == 45


def test_scopes_are_not_marked_as_detected():
    graph = Graph(lstm_loss(7))
    assert [c for c in nodes.clusters(graph.root) if c.detected] == []


def test_a_loop_begins_where_the_fewest_values_are_passed_on():
    x, w, b = ramp(9, 3), ramp(3), ramp(3)
    h = mg.tanh(ramp(3))  # looks like the end of a round
    graph = Graph(mg.tanh(rnn(9, x, w, b, h) * w))  # and this like the middle of one
    assert folds(graph) == [9]
    assert shown(graph)[1:6] == ["getitem[t]", "multiply", "add", "add", "tanh"]


def test_loops_within_a_loop():
    w, x, h = ramp(3, name="w"), ramp(4, 3, name="x"), ramp(3)
    for _ in range(5):
        for t in range(4):
            h = mg.tanh(h * w + x[t])
        h = mg.exp(h)
    graph = Graph(h)
    assert clusters(graph) == [("loop[0]", 5), ("loop[0]/loop[0]", 4)]
    assert shown(graph) == ["multiply", "getitem[t]", "add", "tanh", "exp"]


def test_where_rounds_of_the_outer_loop_differ_the_inner_ones_are_found():
    w, x, h = ramp(3, name="w"), ramp(9, 3, name="x"), ramp(3)
    for scale in (0.5, 0.4, 0.2):
        for t in range(9):
            h = mg.tanh(h * w + x[t])
        h = mg.exp(h) * scale
    assert folds(Graph(h)) == [9, 9, 9]


def test_modules_called_in_a_loop_without_scopes():
    cell, state = mg.nn.LSTMCell(2, 3, rng=0), None
    x = ramp(6, 4, 2)
    for t in range(6):
        state = cell(x[t], state)
    graph = Graph(state[0])
    assert clusters(graph) == [("loop[0]", 6), ("loop[0]/lstmcell", 1)]
    assert shown(graph)[0] == "getitem[t]"


def test_calls_in_a_row_need_no_loop_around_them():
    block, h = Block(), np.ones(3)
    for _ in range(30):
        h = block(h)
    assert clusters(Graph(h)) == [("block", 30)]


def test_integers_may_go_up_and_down_by_any_step():
    x, h = ramp(40, 3), ramp(3)
    for t in range(9):
        h = mg.tanh(h * x[2 * t + 1] + x[39 - t]) - x[t : t + 2].sum(axis=0) + x[-1 - t]
    graph = Graph(h)
    assert folds(graph) == [9]
    texts = [text for text in shown(graph) if text.startswith("getitem")]
    assert texts == ["getitem[2t+1]", "getitem[39−t]", "getitem[t:t+2]", "getitem[-1−t]"]


def test_a_loop_with_one_odd_round_folds_on_both_sides_of_it():
    x, w, b, h = ramp(20, 3), ramp(3), ramp(3), ramp(3)
    for t in range(20):
        h = mg.tanh(x[t] + h * w + (b if t != 7 else w))
    graph = Graph(h)
    assert folds(graph) == [7, 12]
    assert shown(graph)[5:10] == ["getitem[7]", "multiply", "add", "add", "tanh"]


def test_rounds_that_only_look_alike_are_not_folded():
    x, h = ramp(40, 3), ramp(3)
    weights = [ramp(3) for _ in range(9)]
    for w in weights:  # a network of nine layers, each with its own weight
        h = mg.tanh(h * w) + 1.0
    assert folds(Graph(h)) == []
    h = ramp(3)
    for t in np.random.default_rng(0).permutation(20):
        h = mg.tanh(h * x[int(t)])
    assert folds(Graph(h)) == []
    a = b = ramp(3)
    rounds = []
    for _ in range(12):  # reaches two rounds back, and one if a round is cut before the sum
        a, b = mg.tanh(a + b), a
        rounds.append(a)
    assert folds(Graph(rounds[-1])) == [11]
    c = rounds[0]
    for k in range(12):  # reaches back by 0, 1, 4, 9 ... rounds
        c = mg.tanh(c * rounds[(k * k) % 12])
    assert folds(Graph([c, rounds[-1]])) == [11]


def branches(read, steps=20):
    """A loop with a branch, which takes the other way at 6 and at 13; `read(t)` is its input."""
    w, u, h = ramp(3, name="w"), ramp(3, name="u"), np.zeros(3)
    for t in range(steps):
        h = mg.tanh(h * u + read(t)) * 2 if t in (6, 13) else mg.tanh(h * w + read(t))
    return Graph(h)


def found_loops(graph):
    loops = [c for c in nodes.clusters(graph.root) if c.moments]
    return [(c.frame.label, c.letter, c.moments[0], c.moments[-1]) for c in loops]


def test_the_runs_of_a_loop_with_a_branch_have_the_time_of_the_loop():
    x, data = ramp(20, 3, name="x"), np.random.default_rng(0).normal(size=(20, 3))
    for read in (lambda t: x[t], lambda t: data[t]):
        graph = branches(read)
        runs = [(7, 12), (14, 19)]
        assert found_loops(graph)[-2:] == [("loop", "t", a, b) for a, b in runs]
        assert not [text for text in shown(graph) if "t+" in text or "t−" in text]


def test_a_loop_whose_first_round_is_another_begins_where_it_reads():
    w, x, h = ramp(3, name="w"), ramp(10, 3, name="x"), mg.tensor(np.zeros(3))
    for t in range(10):  # in the first round, h has no gradient
        h = mg.checkpoint(lambda h, x: mg.tanh(h * w + x))(h, x[t])
        h = mg.sin(h)
    graph = Graph(h)
    assert found_loops(graph) == [("loop", "t", 1, 9)]
    assert [text for text in shown(graph) if "getitem" in text] == ["getitem[0]", "getitem[t]"]


def test_where_nothing_says_which_round_it_is_no_time_is_said():
    b = ramp(3)
    assert {(*loop[:2], loop[2]) for loop in found_loops(branches(lambda t: b))} == {
        ("repeats", "k", 0)
    }
    x, w, u, h = ramp(20, 3), ramp(3), ramp(3), ramp(3)
    for t in range(18):  # every third round is another
        h = mg.tanh(h * w + x[t]) if t % 3 else mg.tanh(h * u * x[t])
    graph = Graph(h)
    assert found_loops(graph) == [("repeats", "k", 0, 5)]
    assert [text for text in shown(graph) if "getitem" in text] == [
        "getitem[3k]", "getitem[3k+1]", "getitem[3k+2]"
    ]  # fmt: skip


def test_a_way_down_a_tree_is_no_loop_in_time():
    w = ramp(3, name="w")

    def tree(depth):  # a subtree on the left is one deeper than on the right
        if depth <= 0:
            return ramp(3)
        return mg.tanh((tree(depth - 1) + tree(depth - 2)) * w + w)

    assert all(label == "repeats" for label, *_ in found_loops(Graph(tree(7))))


def test_a_loop_inside_a_module():
    class Net(mg.nn.Module):
        def __init__(self):
            self.w, self.b = ramp(3), ramp(3)

        def forward(self, x):
            return rnn(len(x), x, self.w, self.b, np.zeros(3))

    graph = Graph(Net()(ramp(8, 3)))
    assert clusters(graph) == [("net", 1), ("net/loop[0]", 8)]


def test_random_operations_take_linear_time():
    rng, x = np.random.default_rng(0), ramp(name="x")
    y = x
    for k in rng.integers(4, size=20_000):
        y = (y * x, y + x, mg.tanh(y), -y)[k]
    start = time.perf_counter()
    graph = Graph(y)
    assert time.perf_counter() - start < 10  # 0.2 s
    assert sum(folds(graph)) < 1000


# ---- the law of folding --------------------------------------------------------------------------

OPERATIONS = [
    lambda h, t, e: mg.tanh(h),
    lambda h, t, e: h * e["w"],
    lambda h, t, e: h + e["x"][t],
    lambda h, t, e: h + e["x"][t + 1],
    lambda h, t, e: h + e["x"][2],
    lambda h, t, e: h - e["own"][t],
    lambda h, t, e: h - e["shared"],
    lambda h, t, e: h * 0.5,
    lambda h, t, e: h * e["before"],
    lambda h, t, e: e["block"](h),
    lambda h, t, e: h + h,
]


@pytest.mark.parametrize("scoped", [True, False], ids=["scopes", "detected"])
@pytest.mark.parametrize("seed", range(60))
def test_what_stands_for_another_is_exactly_like_it(seed, scoped):
    rng = np.random.default_rng(seed)
    body = rng.integers(len(OPERATIONS), size=4)
    steps = int(rng.integers(2, 9))
    x = ramp(12, 3, name="x")
    own = list(np.ones((12, 3)))
    around = {"w": ramp(3), "x": x, "own": own, "shared": np.ones(3), "block": Block()}
    h = around["before"] = ramp(3)
    for t in range(steps):
        if rng.random() < 0.1:
            body[rng.integers(4)] = rng.integers(len(OPERATIONS))
        if rng.random() < 0.1:
            own[t] = own[0]
        with mg.scope("step", t) if scoped else contextlib.nullcontext():
            before = h
            for k in body:
                h = OPERATIONS[k](h, t, around)
            if rng.random() < 0.95:
                around["before"] = before
    graph, plain = Graph(h), Graph(h, fold=False)
    for v, node in enumerate(graph.nodes):
        u = graph.shown[v]
        first = graph.nodes[u]
        assert (node.kind, node.op, len(node.args)) == (first.kind, first.op, len(first.args))
        assert (node.value.shape, node.value.dtype) == (first.value.shape, first.value.dtype)
        if u == v:
            continue
        if len(graph.paths[v]) > 1:  # a block that is called twice in every step
            continue
        ((fold, r),) = graph.paths[v]
        assert graph.paths[u] == ((fold, 0),)
        text = re.sub(
            r"t([+−]\d+)?",
            lambda m: str(fold.moments[r] + int((m[1] or "0").replace("−", "-"))),  # noqa: B023
            graph.options(u),
        )
        assert plain.options(v) == text
        for a, b in zip(first.args, node.args, strict=True):
            if isinstance(a, str) or isinstance(b, str):
                assert a == b
            elif graph.shown[a] != graph.shown[b]:  # a state, which starts outside
                assert graph.paths[b] == ((fold, r - 1),)
                assert fold not in [around for around, _ in graph.paths[a]]
            elif a != b and graph.paths[b] not in (((fold, r),), ((fold, r - 1),)):
                ((beside, q),), ((same, first_q),) = graph.paths[b], graph.paths[a]
                assert beside is same is not fold
                assert (q - first_q) % r == 0, "round by round, as from a loop before"


def test_a_loop_over_what_another_loop_gave_is_folded():
    w, h, hs = ramp(3), np.zeros(3), []
    for t in range(6):
        with mg.scope("step", t):
            h = np.tanh(h * w + 1)
        hs.append(h)
    loss = 0.0
    for t in range(6):
        with mg.scope("reads", t):
            loss = loss + np.exp(hs[t]).sum()
    graph = Graph(loss)
    assert len([c for c in graph.root.items if not isinstance(c, int)]) == 2
    reading = [n for n in graph.nodes if n.op == "exp"]
    assert len({graph.shown[n.number] for n in reading}) == 1
    (wire,) = [w for w in graph.wires() if w.target.node == graph.shown[reading[0].number]]
    assert wire.label == "t = reads"
    backward = 0.0
    for t in range(6):
        with mg.scope("reads", t):
            backward = backward + np.exp(hs[5 - t]).sum()
    found = Graph(backward)
    reading = [n for n in found.nodes if n.op == "exp"]
    assert len({found.shown[n.number] for n in reading}) == 1


def test_of_no_order_there_is_no_fold():
    w, h, hs = ramp(3), np.zeros(3), []
    for t in range(6):
        with mg.scope("step", t):
            h = np.tanh(h * w + 1)
        hs.append(h)
    loss = 0.0
    for t, k in enumerate([0, 3, 1, 5, 2, 4]):
        with mg.scope("reads", t):
            loss = loss + np.exp(hs[k]).sum()
    graph = Graph(loss)
    reading = [n for n in graph.nodes if n.op == "exp"]
    assert len({graph.shown[n.number] for n in reading}) > 2


# ---- forward and backward ------------------------------------------------------------------------


def second_order(steps=15):
    lstm = mg.nn.LSTM(2, 3, rng=0, dtype=np.float64)
    x = mg.tensor(np.random.default_rng(0).normal(size=(steps, 4, 2)), requires_grad=True, name="x")
    g = mg.grad(lambda x: (lstm(x)[0][-1] ** 2).sum())(x)
    return (g**2).sum()


def test_what_a_backward_pass_records_stands_in_the_scopes_of_the_forward_pass():
    graph = Graph(second_order(3))
    paths = {str(n.scope) for n in graph.nodes if n.scope}
    assert {"lstm", "lstm/step[2]", "backward", "backward/lstm", "backward/lstm/step[0]"} <= paths
    (lstm,) = {n.scope.frames[0].owner for n in graph.nodes if str(n.scope) == "lstm"}
    (mirror,) = {n.scope for n in graph.nodes if str(n.scope) == "backward/lstm"}
    assert mirror.owner is lstm


def test_the_steps_of_a_backward_pass_are_folded():
    text = mg.viz.summary(second_order(), ascii=False)
    assert "step ×15  t = 0 … 14" in text
    assert "step ×13  t = 13 … 1" in text
    assert len(text.splitlines()) < 120


def test_inside_of_a_scope_the_mirror_is_there_too():
    w = ramp(3)
    with mg.scope("outer"):
        g = mg.grad(lambda w: np.exp(w * w).sum())(w)
        with mg.scope("inner"):
            gg = mg.grad(lambda w: (mg.grad(lambda w: np.sin(w).sum())(w) ** 2).sum())(w)
    paths = {str(n.scope) for n in Graph([g.sum(), gg.sum()]).nodes if n.scope}
    assert "outer/backward" in paths
    assert "outer/inner/backward/backward" in paths
    assert not any("outer/backward/outer" in path for path in paths)


def test_after_an_exception_in_a_rule_no_scope_is_left():
    def backward(g, z, x):
        raise ZeroDivisionError

    f = mg.custom_vjp(lambda x: x * 2, backward)
    w = ramp(3)
    with pytest.raises(ZeroDivisionError), mg.scope("around"):
        mg.grad(lambda w: f(w).sum())(w)
    (n,) = [n for n in Graph((w * 2).sum()).nodes if n.op == "multiply"]
    assert n.scope is None


def test_loops_within_one_another_have_letters_of_their_own():
    w, h = ramp(3, name="w"), ramp(3)
    for k in range(4):
        with mg.scope("step", k):
            for t in range(3):
                with mg.scope("step", t):
                    h = mg.tanh(h * w)
    found = Graph(h)
    assert [c.letter for c in nodes.clusters(found.root) if c.moments] == ["t", "r"]
    x, h = ramp(4, 3, name="x"), ramp(3)
    for _ in range(5):
        for t in range(4):
            h = mg.tanh(h * w + x[t])
        h = mg.exp(h)
    found = Graph(h)
    assert [c.letter for c in nodes.clusters(found.root) if c.moments] == ["k", "t"]


def test_two_rounds_of_another_loop_are_two_wires_that_say_which():
    w, h, hs = ramp(3), np.zeros(3), []
    for t in range(6):
        with mg.scope("enc", t):
            h = np.tanh(h * w + 1)
        hs.append(h)

    def labels(steps, read):
        out = 0.0
        for t in range(steps):
            with mg.scope("dec", t):
                out = out + read(t)
        graph = Graph(out)
        kept = {w.target.node: graph.nodes[w.target.node].op for w in graph.wires()}
        wires = [w for w in graph.wires() if w.rounds]
        return [(kept[w.target.node], w.position, w.label) for w in wires]

    assert labels(4, lambda t: (hs[t] / hs[t + 1]).sum()) == [
        ("divide", 0, "enc = dec"), ("divide", 1, "enc = dec+1")
    ]  # fmt: skip
    assert labels(6, lambda t: np.exp(hs[5 - t]).sum()) == [("exp", 0, "enc = 5−dec")]
    assert labels(3, lambda t: np.exp(hs[2 * t + 1]).sum()) == [("exp", 0, "enc = 2dec+1")]


def test_a_constant_that_all_share_is_no_round_of_an_inner_loop():
    x, c = mg.tensor(ramp(6, 3).data, name="x"), mg.tensor(np.zeros(3), name="c")
    w = h = ramp(3, name="w")
    for t in range(3):
        with mg.scope("outer", t):
            for s in range(4):
                with mg.scope("inner", s):
                    h = np.tanh(h * w + (c if s == 0 else x[s]))
    text = mg.viz.summary(h.sum(), ascii=False)
    assert "inner ×3  inner = 1 … 3" in text
    assert "x[inner]" in text


def test_what_forward_mode_records_is_told_apart_too():
    lstm = mg.nn.LSTM(2, 3, rng=0, dtype=np.float64)
    x = mg.tensor(np.random.default_rng(0).normal(size=(15, 4, 2)), requires_grad=True)
    _, dy = mg.jvp(lambda x: lstm(x)[0][-1], (x,), (np.ones((15, 4, 2)),))
    graph = Graph(dy.sum())
    paths = {str(n.scope) for n in graph.nodes if n.scope}
    assert {"jvp", "jvp/lstm", "jvp/lstm/step[3]"} <= paths
