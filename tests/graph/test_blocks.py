"""Modules in a row that repeat one another with parameters of their own: blocks ×6."""

import json
import re

import numpy as np
import pytest

import minigrad as mg
from minigrad import viz
from minigrad.graph.graph import Graph
from minigrad.graph.nodes import clusters
from minigrad.graph.stats import Measured
from minigrad.viz.findings import address
from minigrad.viz.scene import Scene


class Layer(mg.nn.Module):
    def __init__(self, rng, size=4):
        self.first, self.second = mg.nn.Linear(size, size, rng=rng), mg.nn.Linear(4, 4, rng=rng)

    def forward(self, x):
        return x + self.second(mg.tanh(self.first(x)))


class Deep(mg.nn.Module):
    def __init__(self, layers):
        self.blocks, self.head = layers, mg.nn.Linear(4, 2, rng=0)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def deep(n=6):
    return Deep([Layer(np.random.default_rng(k)) for k in range(n)])


def run(net):
    return (net(mg.tensor(np.ones((3, 4), np.float32), requires_grad=True)) ** 2).sum()


def folds(y, **options):
    found = [c for c in clusters(Graph(y, **options).root) if c.moments]
    return [(c.frame.label, c.letter, c.moments) for c in found]


def test_six_blocks_are_one_with_its_number():
    assert folds(run(deep())) == [("blocks", "blocks", [0, 1, 2, 3, 4, 5])]
    assert folds(run(deep(3))) == [("blocks", "blocks", [0, 1, 2])]
    layers = [Layer(np.random.default_rng(k)) for k in range(4)]
    assert folds(run(mg.nn.Sequential(*layers))) == [("layer", "layer", [0, 1, 2, 3])]


def test_every_parameter_is_shown_by_that_of_the_first_block():
    net = deep()
    graph = Graph(run(net))
    names = {n.name: n.number for n in graph.nodes if n.kind == "parameter"}
    assert len(names) == 6 * 4 + 2
    for name, k in names.items():
        assert graph.nodes[graph.shown[k]].name == re.sub(r"\[\d\]", "[0]", name)
    assert graph.shown[names["head.weight"]] == names["head.weight"]


def test_what_is_not_a_row_of_equal_blocks_stays_apart():
    assert folds(run(deep(2))) == []
    assert folds(run(deep()), modules=False) == folds(run(deep()), fold=False) == []
    net = deep(5)
    net.blocks[2].first = net.blocks[0].first  # shared by two of them
    assert all(len(moments) < 4 for _, _, moments in folds(run(net)))
    layer = Layer(np.random.default_rng(0))
    tied = [Layer(np.random.default_rng(0)) for _ in range(4)]
    for other in tied:
        other.first, other.second = layer.first, layer.second
    assert folds(run(Deep(tied))) == []  # no parameters of their own
    towers, x = deep(4).blocks, mg.tensor(np.ones((3, 4), np.float32), requires_grad=True)
    assert folds(sum(block(x) for block in towers).sum()) == []  # side by side
    net = deep(4)
    penalty = (net.blocks[1].first.weight ** 2).sum()
    assert folds(run(net) + penalty) == []  # is used in another place


def test_another_class_shape_or_way_through_cuts_the_row():
    class Other(Layer):
        pass

    layers = [Layer(np.random.default_rng(k)) for k in range(7)]
    layers[3] = Other(np.random.default_rng(0))
    assert [m for _, _, m in folds(run(Deep(layers)))] == [[0, 1, 2], [4, 5, 6]]
    layers[3] = mg.nn.Linear(4, 4, rng=0)
    assert [m for _, _, m in folds(run(Deep(layers)))] == [[0, 1, 2], [4, 5, 6]]


def test_recurrent_layers_in_a_row_keep_their_steps():
    class Net(mg.nn.Module):
        def __init__(self):
            self.layers = [mg.nn.RNN(4, 4, rng=k) for k in range(4)]

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)[0]
            return x

    x = mg.tensor(np.ones((7, 2, 4), np.float32), requires_grad=True)
    assert [len(m) for _, _, m in folds(Net()(x).sum())] == [4, 7]


def test_pages_say_how_many_and_count_all_parameters():
    net = deep()
    loss = run(net)
    loss.backward()
    total = sum(p.size for p in net.parameters())
    text = viz.summary(loss, width=120, color=False, ascii=False)
    assert "blocks: Layer ×6  blocks = 0 … 5" in text
    (line,) = [line for line in text.splitlines() if line.startswith("deep: Deep")]
    assert line.split() == ["deep:", "Deep", f"{total:,}"]
    (line,) = [line for line in text.splitlines() if "tanh" in line]
    assert len(line.rpartition("  ")[2]) == 6  # the gradient through the blocks
    source = viz.draw(loss).source
    assert "blocks: Layer ×6" in source
    sizes = sorted(
        float(np.sqrt(np.mean(np.square(block.first.weight.grad)))) for block in net.blocks
    )
    assert re.search(f"■.*{sizes[0]:.2g}".replace("0.", r"[\d.e−]*"), source)
    assert f"|g| {viz.draw.__globals__['words'].numeral(sizes[0])} … " in source
    data = json.loads(viz.to_json(loss))
    written = {k for box in data["boxes"].values() for k in box.get("written", [])}
    kinds = [data["forms"][k]["kind"] for k in data["nodes"]["form"]]
    assert written == {k for k, kind in enumerate(kinds) if kind == "parameter"}


def test_a_parameter_is_named_by_its_own_block():
    graph = Graph(run(deep()))
    scene = Scene(graph, Measured(graph, True))
    for node in graph.nodes:
        if node.kind == "parameter" and node.name.startswith("blocks[4]"):
            assert address(scene, node.number) == f"{node.name}, blocks=4"


def test_a_picture_of_six_blocks_is_not_taller_than_one_of_two():
    def scopes(n):
        return viz.draw(run(deep(n))).source.count("subgraph")

    assert scopes(6) == scopes(12) < scopes(2)


def test_a_model_draws_equal_modules_in_a_row_once():
    net = deep()
    text = viz.model(net).instead["text/plain"]
    assert "blocks[0 … 5]: Layer ×6  6 × 40 parameters" in text
    assert "blocks[3]" in viz.model(net, fold=False).instead["text/plain"]
    assert "×" not in viz.model(deep(2)).instead["text/plain"]
    steps = [mg.nn.Linear(4, 4, rng=k) for k in range(4)]
    net = mg.nn.Sequential(*steps, mg.tanh, mg.nn.Linear(4, 2, rng=0))
    source = viz.model(net).source
    assert "0 … 3: Linear(4→4) ×4" in source
    assert source.count(" -> ") == 2
    for k, p in enumerate((0.1, 0.1, 0.5)):
        steps[k] = mg.nn.Dropout(p)
    assert "×" not in viz.model(mg.nn.Sequential(*steps)).source
    for net in (deep(), mg.nn.Sequential(*[mg.nn.Sequential(*steps[2:]) for _ in range(3)])):
        source = viz.model(net).source  # an arrow to what has no box would make one
        boxes = set(re.findall(r"(m[\d_]+) \[label", source))
        assert {k for pair in re.findall(r"(m[\d_]+) -> (m[\d_]+)", source) for k in pair} <= boxes


@pytest.mark.parametrize("second", [False, True])
def test_gradients_of_a_folded_net_are_measured_for_every_block(second):
    net = deep()
    loss = run(net)
    loss.backward()
    if second:
        loss = run(net)
    rms = {}
    graph = Graph(loss)
    measured = Measured(graph, True)
    for node in graph.nodes:
        if node.kind == "parameter":
            rms[node.name] = measured.grads[node.number].rms
    for name, p in net.named_parameters():
        assert np.isclose(rms[name], np.sqrt(np.mean(np.square(p.grad))), rtol=1e-5)
