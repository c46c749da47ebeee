"""The graph as text: the tree for the terminal, JSON, Mermaid; a module before a run; the plot."""

import builtins
import io
import json
import math
import os
import re
import shutil
import sys

import numpy as np
import pytest

import minigrad as mg
from minigrad import viz
from tests.helpers import lstm_loss, stepped


class Block(mg.nn.Module):
    def __init__(self):
        self.first, self.rest = mg.nn.Linear(2, 3, rng=0), mg.nn.Linear(3, 3, rng=0)

    def forward(self, x):
        return self.rest(mg.tanh(self.first(x)))


# ---- the summary ---------------------------------------------------------------------------------


def row(text, start):
    (line,) = [line for line in text.splitlines() if line.lstrip("│ ").startswith(start)]
    return line


def test_golden_summary():
    x = mg.tensor(np.full((4, 2), 0.5), requires_grad=True, name="x")
    h = mg.tensor(np.zeros((4, 2)), requires_grad=True, name="h0")
    with mg.scope("loop"):
        for t in range(4):
            with mg.scope("step", t):
                h = h * 0.1 + x
                mg.label(h=h)
    text = viz.summary(h.sum(), grads=True, width=90, color=False, ascii=False)
    assert (
        text
        == """\
                      shape   value       gradient
x                     (4, 2)  0.5         1.1
h0                    (4, 2)  0           1e−4
loop
│ step ×4  t = 0 … 3
│ │ multiply(·, 0.1)  (4, 2)  0 … 0.056   1e−3 … 1  ▁▃▆█
│ │ h = add           (4, 2)  0.5 … 0.56  1e−3 … 1  ▁▃▆█
sum ← output          ()      4.4         1

11 nodes; float64 unless marked
bars: rms gradient, ≤ 1e−3 to ≥ 1; 0 zero, ! not finite
smallest gradient 1e−4: h0
largest gradient 1.11: x"""
    )


def test_an_lstm_is_a_tree_with_bars_over_time():
    loss = lstm_loss()
    text = viz.summary(loss, grads=True, width=120, color=False, ascii=False)
    assert "lstm: LSTM(2→3)" in row(text, "lstm")
    assert "84" in row(text, "lstm")
    assert "step ×77  t = 0 … 76" in text
    assert re.search(r"36 +0 … [\d.]+ +[\de.−]+ … [\de.−]+  ▁", row(text, "matmul · weight_hh_l0ᵀ"))
    bars = row(text, "g = tanh").rpartition("  ")[2]
    assert len(bars) == 12
    assert list(bars) == sorted(bars)
    assert row(text, "f = sigmoid").rpartition("  ")[2][0] == "0"
    assert "loss = sum ← output" in text
    assert len(text.splitlines()) == len(viz.summary(lstm_loss(5), grads=True).splitlines())


def test_before_backward_nothing_is_zero():
    text = viz.summary(lstm_loss(3), width=100, ascii=False)
    assert "gradients not computed: run backward() first" in text
    assert "gradient" not in text.splitlines()[0] or "▁" not in text


def test_numbers_are_written_with_their_sign():
    a = mg.tensor(2.0, requires_grad=True, name="a")
    y = mg.tanh(a * -3.0)
    y.backward()
    text = viz.summary(y, width=80, ascii=False, color=False)
    assert re.search(r"^a +\(\) +2 +−7\.367e−5$", text, re.M)
    assert re.search(r"^multiply\(·, −3\) +\(\) +−6 +2\.456e−5$", text, re.M)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160])
def test_lines_are_no_wider_than_the_terminal(width):
    text = viz.summary(lstm_loss(9, 2), grads=True, width=width, color=False, ascii=False)
    table = text.partition("\n\n")[0].splitlines()
    assert max(map(len, table)) <= width
    assert ("gradient" in table[0]) == (width >= 60)
    assert ("parameters" in table[0]) == (width >= 100)


def test_ascii_where_the_terminal_knows_no_more(monkeypatch):
    plain = viz.summary(lstm_loss(9), grads=True, ascii=True)
    assert plain.isascii()
    assert re.search(r"\| matmul \* weight_ih_l0\.T ", plain)
    assert "step x9" in plain
    assert set(row_bars(plain)) <= set("_.:-=+*#0")
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="latin-1"))
    assert viz.summary(lstm_loss(3)).isascii()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    assert not viz.summary(lstm_loss(3)).isascii()
    for other in (io.StringIO(), None):
        monkeypatch.setattr(sys, "stdout", other)
        assert not viz.summary(lstm_loss(3)).isascii()
    with pytest.raises(ValueError, match="at least 1, not -1"):
        viz.summary(lstm_loss(3), depth=-1)


def row_bars(text):
    (line,) = [line for line in text.splitlines() if "g = tanh" in line]
    return line.rpartition("  ")[2]


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def test_colours_on_a_terminal_unless_they_are_not_wanted(monkeypatch):
    loss = lstm_loss(5)
    assert "\x1b" not in viz.summary(loss)
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((70, 24)))
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    text = viz.summary(loss, grads=True)
    assert "\x1b[35m" in text  # parameters
    assert "\x1b[38;2;" in text  # bars
    bare = re.sub(r"\x1b\[[\d;]*m", "", text)
    assert bare == viz.summary(loss, grads=True, color=False)
    assert max(map(len, bare.partition("\n\n")[0].splitlines())) <= 70
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in viz.summary(loss)
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in viz.summary(loss)
    assert "\x1b" in viz.summary(loss, color=True)


def test_it_shows_itself_as_it_is():
    text = viz.summary(lstm_loss(3))
    assert repr(text) == str(text)
    assert isinstance(text, str)


def test_what_is_not_finite_again_and_again_is_one_line():
    x, h = mg.tensor([0.5], requires_grad=True, name="x"), np.ones(1)
    with np.errstate(all="ignore"):
        for t in range(9):
            with mg.scope("step", t):
                h = mg.log(h * x)
        text = viz.summary(h.sum(), ascii=False)
    bad = [line for line in text.splitlines() if line.startswith("not finite")]
    assert bad == [
        "not finite: value of step: log, t = 1 … 8",
        "not finite: value of step: multiply, t = 2 … 8",
        "not finite: value of sum",
    ]


def test_what_is_not_finite_and_what_agrees_least_are_listed():
    x = mg.tensor([0.0, 1.0], requires_grad=True, name="x")
    with np.errstate(all="ignore"):
        y = mg.log(x)
    text = viz.summary(y.sum(), grads=True, ascii=False)
    assert "not finite: value of log" in text
    assert "not finite: gradient of x" in text
    assert "! 1 of 2 not finite" in text
    text = viz.summary(y.sum(), agreement={y: (0.25, "wrong sign"), x: 1e-9}, ascii=False)
    assert "worst first:\n  0.25  log  wrong sign\n  1e−9  x" in text
    assert "error" in text.splitlines()[0]


def test_long_lists_are_cut_and_scopes_are_shut():
    y = mg.tensor([1.0], requires_grad=True)
    for k in range(300):
        y = (mg.tanh if k % 7 and k % 5 else mg.sin)(y)
    text = viz.summary(y, fold=False, ascii=False)
    assert "… 241 more" in text
    assert len(text.splitlines()) < 80
    text = viz.summary(lstm_loss(300), fold=False, ascii=False)
    assert "lstm: LSTM(2→3)  3,904 operations" in text
    text = viz.summary(lstm_loss(9), depth=1, ascii=False)
    assert "step" not in text


def test_hostile_names_stay_on_their_line():
    x = mg.tensor([1.0], requires_grad=True, name="two\nlines\x1b[31m\ttab " + "x" * 200)
    with mg.scope("a\nb"):
        y = mg.tanh(x)
    text = viz.summary(y, width=80, color=False)
    assert "\x1b" not in text
    assert len(text.partition("\n\n")[0].splitlines()) == 4
    assert max(map(len, text.partition("\n\n")[0].splitlines())) <= 80


# ---- JSON ----------------------------------------------------------------------------------------


def test_the_json_is_what_it_says_it_is():
    loss = lstm_loss(5)
    loss.backward()
    graph, found = mg.Graph(loss), json.loads(viz.to_json(loss))
    assert found["format"] == "minigrad-graph 1"
    assert found["title"] == "loss = sum"
    assert found["outputs"] == graph.outputs
    assert found["dtype"] == "float32"
    n = len(graph.nodes)
    assert [len(found["nodes"][column]) for column in ("form", "args", "shown")] == [n, n, n]
    for node in graph.nodes:
        form = found["forms"][found["nodes"]["form"][node.number]]
        assert (form["kind"], form["op"]) == (node.kind, node.op)
        assert found["nodes"]["args"][node.number] == list(node.args)
        shape = None if form["shape"] is None else tuple(form["shape"])
        assert shape == node.value.shape
    for stats in (found["values"], found["grads"]):
        assert {len(column) for column in stats.values()} == {n}
    assert found["grads"]["rms"][graph.outputs[0]] == 1
    boxes = found["boxes"]
    assert {k for b in boxes.values() if b["kind"] != "port" for k in b["members"]} == {
        k for k in range(n) if f"n{graph.shown[k]}" in boxes
    }
    keys = set(boxes) | {s["key"] for s in found["scopes"]}
    for source, target, _label, _position, is_state, folds, times, rounds in found["wires"]:
        assert {source, target, *folds} <= keys
        assert is_state in (True, False)
        assert times is None or all(len(t) == len(folds) for t in times)
        assert rounds is None
    for scope in found["scopes"]:
        assert set(scope["items"]) <= keys
        inside = [k for k in scope["items"] if k in boxes]
        assert {boxes[k]["home"] for k in inside} <= {scope["key"]}
    (step,) = [s for s in found["scopes"] if s.get("moments")]
    assert (step["letter"], step["moments"], step["detected"]) == ("t", [0, 1, 2, 3, 4], False)
    assert set(map(int, found["inside"])) == {k for k in set(graph.shown) if f"n{k}" not in boxes}
    assert set(found["inside"].values()) <= set(boxes)


def test_json_says_when_a_wire_leaves_a_loop():
    hs = stepped()
    for some, times in (([1, 3], [[1], [3]]), ([0, 1, 2, 3], None)):
        found = json.loads(viz.to_json(mg.stack([hs[k] for k in some]).sum()))
        (wire,) = [x for x in found["wires"] if found["boxes"][x[1]]["title"][0][0] == "stack"]
        assert wire[5:] == [["c1"], times, None]


def test_json_without_gradients_with_histograms_and_agreement():
    loss = lstm_loss(3)
    found = json.loads(viz.to_json(loss))
    assert found["grads"] is found["histograms"] is found["agreement"] is None
    found = json.loads(viz.to_json(loss, grads=True, histograms=True, agreement={loss: math.nan}))
    assert len(found["histograms"]["grads"]) == len(found["nodes"]["form"])
    low, high, counts = found["histograms"]["values"][0]
    assert low < high
    assert sum(counts) == found["values"]["size"][0]
    assert found["agreement"] == {"errors": {str(found["outputs"][0]): None}, "texts": {}}


def test_the_lines_that_made_the_nodes_are_known_after_debug_mode():
    x = mg.tensor([1.0], requires_grad=True)
    with mg.debug():
        y = mg.tanh(x) / 2  # a path ends with a slash, too
    lines = [form["line"] for form in json.loads(viz.to_json(y))["forms"]]
    assert lines[0] is None
    assert re.fullmatch(
        r"test_viz_text\.py, line \d+, in test_the_lines.*: y = .* / 2 .*", lines[1]
    )


def test_very_many_operations_are_in_parts():
    y, rng = mg.tensor([1.0], requires_grad=True), np.random.default_rng(0)
    for k in rng.integers(2, size=11_000):
        y = (mg.tanh, mg.sin)[k](y)
    found = json.loads(viz.to_json(y, fold=False))
    scopes = {s["key"]: s for s in found["scopes"]}
    assert max(len(s["items"]) for s in scopes.values()) <= 250
    parts = [scopes[k] for k in scopes["c0"]["items"]]
    assert [p["part"] for p in parts] == [True] * 40
    assert parts[1]["title"] == "277 … 552"
    inner = [scopes[k] for k in parts[1]["items"]]
    assert inner[0]["title"] == "277 … 316"
    seen, stack = [], ["c0"]
    while stack:
        key = stack.pop()
        stack += reversed(scopes[key]["items"]) if key in scopes else []
        seen += [] if key in scopes else [key]
    assert seen == [f"n{k}" for k in range(11_001)]


# ---- Mermaid -------------------------------------------------------------------------------------


def test_golden_mermaid():
    w = mg.tensor(np.ones(2), requires_grad=True, name="w")
    h = mg.tensor(np.zeros(2), name="h0")
    with mg.scope("net"):
        for t in range(3):
            with mg.scope("step", t):
                h = mg.tanh(w - h)
    text = viz.to_mermaid(h.sum())
    assert text.startswith("flowchart TD\n    classDef ")
    assert (
        text[text.index('    n0["') :]
        == """\
    n0["w<br/>(2,)"]:::leaf
    n1["h0<br/>(2,)"]:::constant
    subgraph c1["net"]
        subgraph c2["step ×3 · t = 0 … 2"]
            n3_in2("tanh[t−1]"):::port
            n2("subtract<br/>(2,)"):::operation
            n3("tanh<br/>(2,)"):::operation
            n3_out2("tanh[t]"):::port
        end
    end
    n8("sum<br/>()"):::output
    n0 -->|"(1)"| n2
    n1 -.->|"t=0"| n3_in2
    n2 --> n3
    n3 -.-> n3_out2
    n3_in2 -.->|"(2)"| n2
    n3_out2 -->|"t=2"| n8
"""
    )


def test_mermaid_escapes_and_stays_small():
    name = 'a "b" <i>`c`</i> &amp; #35; \\n; end'
    x = mg.tensor([1.0], requires_grad=True, name=name)
    with mg.scope(name):
        y = mg.tanh(x)
    text = viz.to_mermaid(y)
    lines = [line for line in text.splitlines() if "classDef" not in line]
    assert sum("a #34;b#34; #60;i#62;#96;c#96;" in line for line in lines) == 2
    inside = "".join(re.findall(r'"(.*?)"', "".join(lines))).replace("<br/>", "")
    assert not re.search("[<>`;](?!#|$)", re.sub(r"#\d+;", "", inside))
    assert "3,904 operations" in viz.to_mermaid(lstm_loss(300), fold=False)
    assert viz.to_mermaid(lstm_loss(5), depth=1).count("subgraph") == 0
    z = mg.tensor([1.0], requires_grad=True)
    for k in range(500):
        z = (mg.tanh if k % 3 else mg.sin)(z)
    with pytest.raises(viz.GraphTooLarge):
        viz.to_mermaid(z, fold=False)


# ---- a module before a run -----------------------------------------------------------------------


def test_a_module_is_drawn_before_it_is_run():
    net = mg.nn.Sequential(
        mg.nn.Linear(2, 3, rng=0), mg.tanh, Block(), lambda x: x, mg.nn.LSTM(3, 4, rng=0)
    )
    source = viz.model(net).source
    assert "<b>Sequential</b>" in source
    assert "174 parameters" in source
    assert "<b>0: Linear(2→3)</b>" in source
    assert "<b>4: LSTM(3→4)</b>" in source
    assert re.search(r"weight_hh_l0</font></i> <font[^>]*>\(16, 4\) 64</font>", source)
    assert ">tanh</font>" in source
    assert ">function</font>" in source
    shown = [line for line in source.splitlines() if "->" in line and "invis" not in line]
    assert shown == ["\tm1 -> m0_1", "\tm0_3 -> m5"]
    assert viz.model(net).source == source
    assert "  2: Block  21 parameters" in viz.model(net).instead["text/plain"]


def test_parameters_and_modules_that_are_held_twice_are_shown_once():
    class Tied(mg.nn.Module):
        def __init__(self):
            self.a = mg.nn.Linear(2, 2, rng=0)
            self.b = self.a
            self.scale = self.a.bias

    source = viz.model(Tied()).source
    assert source.count("Linear(2→2)") == 1
    assert source.count("weight</font>") == 1
    assert ">6 parameters<" in source


def test_a_model_without_parameters_and_what_is_no_model():
    assert "0 parameters" in viz.model(mg.nn.MaxPool2d(2)).source
    with pytest.raises(TypeError, match=r"a module, not Tensor.*viz\.draw\(loss\)"):
        viz.model(mg.tensor(1.0))


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz's program dot is missing")
def test_the_picture_of_a_model_can_be_drawn():
    svg = viz.model(Block()).pipe("svg", encoding="utf-8")
    assert "first: Linear(2→3)" in svg.replace("&#45;", "-")


# ---- the plot ------------------------------------------------------------------------------------


@pytest.fixture
def plt():
    matplotlib = pytest.importorskip("matplotlib", reason="Matplotlib is not installed")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")


def test_the_plot_has_the_gradients_of_states_and_parameters(plt):
    loss = lstm_loss(12, layers=2)
    figure = viz.gradient_flow(loss)
    through_time, by_parameter = figure.axes
    lines = {line.get_label(): line for line in through_time.lines}
    assert set(lines) == {f"lstm/layer[{k}]: {s}" for k in (0, 1) for s in "hc"}
    y = lines["lstm/layer[1]: h"].get_ydata()
    assert len(y) == 12
    assert (np.diff(np.log(y)) > 0).all()
    names = [label.get_text() for label in by_parameter.get_yticklabels()]
    assert sorted(names) == sorted(n.name for n in mg.Graph(loss).nodes if n.kind == "parameter")
    loss.backward()
    grads = {n.name: n.tensor.grad for n in mg.Graph(loss).nodes if n.kind == "parameter"}
    (points,) = by_parameter.lines
    for k, x in zip(points.get_ydata(), points.get_xdata(), strict=True):
        assert x == pytest.approx(np.sqrt((grads[names[int(k)]] ** 2).mean()), rel=1e-5)
    assert len(points.get_xdata()) == len(names)
    assert through_time.get_yscale() == "log"
    figure.canvas.draw()


def test_the_plot_marks_zeros_and_what_is_not_finite(plt):
    x = mg.tensor([0.0, 1.0], requires_grad=True, name="x")
    h = np.zeros(2)
    with np.errstate(all="ignore"):
        for t in range(4):
            with mg.scope("step", t):
                h = h * mg.log(x)
        figure = viz.gradient_flow((h * 0.0).sum())
    through_time, by_parameter = figure.axes
    assert [text.get_text().strip() for text in by_parameter.texts] == ["not finite"]
    (line,) = through_time.lines
    assert line.get_label() == "loop: multiply (0 at t = 3; not finite at t = 0 … 2)"
    figure.canvas.draw()


def test_the_plot_has_every_parameter(plt):
    net = mg.nn.Sequential(*[mg.nn.Linear(2, 2) for _ in range(40)])
    (axis,) = viz.gradient_flow(net(np.ones((1, 2), np.float32)).sum()).axes
    assert len(axis.get_yticklabels()) == 80
    net = mg.nn.Sequential(*[mg.nn.Linear(2, 2) for _ in range(110)])
    (axis,) = viz.gradient_flow(net(np.ones((1, 2), np.float32)).sum()).axes
    names = [label.get_text() for label in axis.get_yticklabels()]
    assert len(names) == 201
    assert names[100] == "… 20 more …"


def test_a_notebook_shows_the_plot_once(plt, monkeypatch):
    monkeypatch.setattr(plt, "get_backend", lambda: "module://matplotlib_inline.backend_inline")
    figure = viz.gradient_flow(lstm_loss(3))
    assert figure.number not in plt.get_fignums()


def test_a_plot_without_time_or_without_parameters(plt):
    (axis,) = viz.gradient_flow(Block()(np.ones((1, 2), np.float32)).sum()).axes
    assert axis.get_title() == "by parameter"
    x = mg.tensor([1.0], requires_grad=True, name="x")
    (axis,) = viz.gradient_flow((x * 2.0).sum()).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["x"]
    with pytest.raises(ValueError, match="grads=False"):
        viz.gradient_flow(x * 2.0, grads=False)


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"pip install 'minigrad\[plot\]'"):
        viz.gradient_flow(lstm_loss(2))
