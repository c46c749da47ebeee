"""Pictures: their text to the letter, what must not break it, and what happens without `dot`."""

import pickle
import re
import shutil
import time
import xml.etree.ElementTree as ET

import graphviz
import numpy as np
import pytest

import minigrad as mg
from minigrad import viz
from tests.helpers import lstm_loss

needs_dot = pytest.mark.skipif(
    shutil.which("dot") is None, reason="Graphviz's program dot is missing"
)

FONT = 'fontname="Helvetica,Arial,sans-serif"'
HEAD = f"""\
digraph minigrad {{
	graph [rankdir=TB nodesep=0.2 ranksep=0.28 {FONT} fontsize=10 labelloc=b labeljust=l]
	node [shape=box style="rounded,filled" fillcolor=white color="#64748b" margin="0.06,0.03" \
height=0.3 {FONT} fontsize=11]
	edge [color="#64748b" arrowsize=0.6 {FONT} fontsize=9 labeldistance=1.5 labelangle=-40]
"""
SMALL = '<font point-size="9" color="#64748b">'
TABLE = '<table border="0" cellspacing="0" cellpadding="{}">'
STRIP = '<table border="0" cellborder="0" cellspacing="0" cellpadding="0"><tr>'


def legend(*texts):
    """The legend of a picture without a scale."""
    lines = "".join(f'{SMALL}{text}</font><br align="left"/>' for text in texts)
    cell = f'<td colspan="4" align="left" balign="left">{lines}</td>'
    return f"\tgraph [label=<{TABLE.format(2)}<tr>{cell}</tr></table>>]\n"


def lines(drawing):
    """The text with what a reader sees of every label, and without colours; the legend last."""
    text = drawing.source.replace("&#8195;", " ").replace("&#160;", " ").replace("&#8194;", "")
    strips = re.compile(f"{STRIP}(.*?)</tr></table>".replace("(", "(").replace("<tr>(", "<tr>("))
    text = strips.sub(lambda m: "[" + "|".join(re.findall("<td.*?>(.*?)</td>", m[1])) + "]", text)
    text = re.sub("<br[^>]*/>|</td><td>|</tr><tr>", " | ", text)
    text = re.sub("</?(b|i|font|table|tr|td)( [^<>]*)?>", "", text)
    text = re.sub(' *(color|style|fillcolor|fontcolor)="?[^ "\\]>]+"?', "", text)
    return [line.strip() for line in text.splitlines()[4:-1]]


def boxes(drawing):
    """What is written in the boxes, by their key."""
    found = [re.match(r"(n\w*|c\d+) \[label=<(.*?)>( .*)?\]$", line) for line in lines(drawing)]
    return {m[1]: m[2] for m in found if m}


def arrows(drawing):
    return [line for line in lines(drawing) if "->" in line]


def scalars():
    a = mg.tensor(2.0, requires_grad=True, name="a")
    b = mg.tensor(-3.0, requires_grad=True, name="b")
    y = mg.tanh(a * b + 5.5)
    mg.label(y=y)
    return a, b, y


class Loop(mg.nn.Module):
    def __init__(self):
        self.weight = mg.tensor(np.ones((2, 2)), requires_grad=True)

    def forward(self, x, h):
        for t in range(3):
            with mg.scope("step", t):
                h = mg.tanh(h @ self.weight.T - x[t])
                mg.label(h=h)
        return h


# ---- the text -----------------------------------------------------------------------------------


def test_golden_scalars():
    _, _, y = scalars()
    leaf = 'style="filled,bold" fillcolor="#dcfce7"'
    not_computed = f"<br/>{SMALL}grad not computed</font>"
    before = f"""{HEAD}{
        legend(
            "green: takes a gradient; gradients not computed: run backward() first, or draw",
            "with grads=True",
        )
    }\
	n0 [label=<<b>a</b><br/>{SMALL}value 2</font>{not_computed}> {leaf}]
	n1 [label=<<b>b</b><br/>{SMALL}value −3</font>{not_computed}> {leaf}]
	n2 [label=<<b>multiply</b><br/>{SMALL}value −6</font>>]
	n3 [label=<<b>add</b>(·,&#160;5.5)<br/>{SMALL}value −0.5</font>>]
	n4 [label=<<b>y</b>&#160;=&#160;tanh<br/>{
        SMALL
    }value −0.4621</font>> peripheries=2 fillcolor="#fef3c7"]
	n0 -> n2
	n1 -> n2
	n2 -> n3
	n3 -> n4
}}
"""
    assert viz.draw(y).source == before
    y.backward()
    after = before.replace(not_computed, "", 2)
    for value, grad in [("2", "−2.359"), ("−3", "1.573"), ("−6", "0.7864"), ("−0.5", "0.7864")]:
        text = f"value {value}</font>"
        after = after.replace(text, f"{text}<br/>{SMALL}grad {grad}</font>")
    after = after.replace("0.4621</font>", f"0.4621</font><br/>{SMALL}grad 1</font>")
    start, end = after.index("; gradients not"), after.index("with grads=True</font>")
    after = after[:start] + after[end + len("with grads=True") :]
    assert viz.draw(y).source == after


def test_golden_loop():
    x = mg.tensor(np.ones((3, 4, 2)), requires_grad=True, name="x")
    loss = (2 / Loop()(x, np.zeros((4, 2)))).sum()
    frame = 'labelloc=t labeljust=l style="rounded,filled" color="#94a3b8" fillcolor'
    state = 'style="rounded,dashed" color="#c2410c" fontcolor="#c2410c"'
    shape = f"<br/>{SMALL}(4, 2)</font>"
    view = 'shape=none style="" margin="0.04,0.01" height=0.2'
    assert viz.draw(loss).source == (
        f"""{HEAD}{
            legend(
                "purple: parameter; green: takes a gradient; no box: another view of its input;",
                "dashed: state passed on from step to step; float64 unless marked; gradients",
                "not computed: run backward() first, or draw with grads=True",
            )
        }\
	n0 [label=<<b>x</b><br/>{SMALL}(3, 4, 2)</font>> style="filled,bold" fillcolor="#dcfce7"]
	subgraph cluster_1 {{
		graph [label=<loop: Loop> {frame}="#ffffff" penwidth=1]
	subgraph cluster_2 {{
		graph [label=<<b>step ×3</b>&#8195;{SMALL}t = 0 … 2</font>> {frame}="#f1f5f9" penwidth=2]
	n7_in2 [label=<h[t−1]<br/><font point-size="9" color="#c2410c">t=0: zeros</font>> {state}]
	n7_out2 [label=<h[t]> {state}]
	n4 [label=<<b>matmul</b>&#160;·&#160;<i><font color="#6d28d9">weightᵀ</font></i>{shape}>]
	n5 [label=<<font point-size="9"><b>[t]</b></font>{shape}> {view}]
	n6 [label=<<b>subtract</b>{shape}>]
	n7 [label=<<b>h</b>&#160;=&#160;tanh{shape}>]
	}}
	}}
	n18 [label=<<b>divide</b>(2,&#160;·){shape}>]
	n19 [label=<<b>sum</b><br/>{SMALL}()</font>> peripheries=2 fillcolor="#fef3c7"]
	n0 -> n5
	n4 -> n6 [headlabel=<{SMALL}1</font>>]
	n5 -> n6 [headlabel=<{SMALL}2</font>>]
	n6 -> n7
	n7 -> n7_out2 [color="#c2410c"]
	n7_in2 -> n4 [color="#c2410c"]
	n7_out2 -> n18 [label=<&#8194;{SMALL}t=2</font>>]
	n18 -> n19
}}
"""
    )


def test_golden_strip():
    """Gradients of 1e5, 1e3 and 10: the colours are to the letter, too."""
    h = mg.tensor(np.zeros(2), requires_grad=True, name="h0")
    for t in range(3):
        with mg.scope("step", t):
            h = h * 100.0 + 1.0
    drawing = viz.draw((h * 10.0).sum(), grads=True)
    colours = ("#f7e04f", "#179e9e", "#392d7d")
    cells = "".join(f'<td width="37" height="8" bgcolor="{c}"></td>' for c in colours)
    assert re.search(r"^\tn1 .*$", drawing.source, re.M)[0] == (
        f"\tn1 [label=<{TABLE.format(1)}<tr><td><b>multiply</b>(·,&#160;100)<br/>{SMALL}(2,) "
        f"|g| 10 … 1e5</font></td></tr><tr><td>{STRIP}{cells}</tr></table></td></tr></table>>]"
    )


def test_two_runs_give_the_same_text():
    first, second = lstm_loss(7, 2), lstm_loss(7, 2)
    assert viz.draw(first, grads=True).source == viz.draw(second, grads=True).source


def test_an_lstm_is_one_cell():
    drawing = viz.draw(lstm_loss(77))
    text, written = lines(drawing), [*boxes(drawing).values()]
    assert "label=<lstm: LSTM(2→3)>" in "\n".join(text)
    assert "label=<step ×77 t = 0 … 76>" in "\n".join(text)
    for words in ("f = sigmoid | (4, 3)", "h[t−1] | t=0: zeros", "h[t]", "g = tanh | (4, 3)"):
        assert words in written
    assert [words for words in written if words.startswith("matmul · weight_hh_l0ᵀ")]
    assert [line for line in text if "loss = sum" in line and "peripheries=2" in line]
    assert sum("tanh" in line for line in text) == 2
    assert len(text) == len(lines(viz.draw(lstm_loss(5))))


def test_parts_that_are_picked_need_no_boxes():
    text = lines(viz.draw(lstm_loss(5)))
    assert "pick" not in "\n".join(text)
    assert sorted(re.findall(r"n\d+ -> n\d+ \[label=<(\[\d\])", "\n".join(text))) == [
        "[0]", "[1]", "[2]", "[3]"
    ]  # fmt: skip
    x = mg.tensor(np.ones((3, 2)), requires_grad=True, name="x")
    q, k, v = mg.split(x, 3)
    mg.label(q=q)
    written = [*boxes(viz.draw([q * k, v])).values()]  # has a name; has none; is an output
    assert "q = [0] | (1, 2)" in written
    assert "[2] | (1, 2)" in written
    assert "[1]" not in "\n".join(written)


def test_shared_parts_are_drawn_once():
    y = mg.tensor([1.0], requires_grad=True, name="y")
    for _ in range(60):
        y = y + y
    drawing = viz.draw(y, fold=False)
    assert sum(words.startswith("add") for words in boxes(drawing).values()) == 60
    assert len(arrows(drawing)) == 120
    assert "loop ×60 t = 0 … 59, detected" in "\n".join(lines(viz.draw(y)))


def test_parameters_are_written_where_they_are_used_by_their_names_there():
    class Net(mg.nn.Module):
        def __init__(self):
            self.layers = [mg.nn.Linear(3, 3, rng=0), mg.nn.Linear(3, 3, rng=1)]

        def forward(self, x):
            for layer in self.layers:
                x = mg.tanh(layer(x))
            return x + self.layers[0].bias  # here it is not the module's own

    x = mg.tensor(np.ones((2, 3), np.float32), name="x")
    written = [*boxes(viz.draw(Net()(x))).values()]
    assert written.count("matmul · weightᵀ | (2, 3)") == 2
    assert written.count("add · bias | (2, 3)") == 2
    assert "add · layers[0].bias | (2, 3)" in written
    assert [words for words in written if "transpose" in words or words.startswith("weight")] == []
    w = mg.nn.Linear(3, 3, rng=0)
    written = [*boxes(viz.draw((w.weight - mg.exp(w(x))[0]).reshape(9))).values()]
    assert "subtract(weight, ·) | (3, 3)" in written


def test_views_of_parameters_and_rows_of_them():
    net = mg.nn.Conv2d(1, 2, 3, stride=2, rng=0)
    written = [*boxes(viz.draw(net(np.ones((1, 1, 8, 8), np.float32)))).values()]
    assert "conv(stride=(2, 2)) · weight | (1, 2, 3, 3)" in written
    assert "add · reshape(bias) | (1, 2, 3, 3)" in written
    embedding = mg.nn.Embedding(5, 3, rng=0)
    written = [*boxes(viz.draw(embedding(np.array([1, 1, 4])))).values()]
    assert written == ["weight[int64(3,)] | (3, 3)"]


def test_numbers_in_operations():
    x = mg.tensor(np.ones(3), requires_grad=True, name="x")
    for y, words in [
        (x * 12345678, "multiply(·, 12345678)"),
        (x * 0.1234567, "multiply(·, 0.1235)"),
        (x * 1e-12, "multiply(·, 1e-12)"),
        (1 - x, "subtract(1, ·)"),
        (x * np.float64("nan"), "multiply(·, nan)"),
        (x**-2.0, "power(·, −2)"),
    ]:
        assert boxes(viz.draw(y))["n1"].startswith(words)


def test_a_parameter_that_is_used_twice_is_named_once():
    class Square(mg.nn.Module):
        def __init__(self):
            self.w = mg.tensor(np.ones((2, 2)), requires_grad=True)

        def forward(self, x):
            return (self.w * self.w) @ x

    written = boxes(viz.draw(Square()(np.ones(2)), grads=np.ones(2)))
    assert written["n1"] == "multiply · w, w | (2, 2) |g| 1 | ■ w |g| 2 | []"


def test_a_learned_initial_state_is_named():
    class Net(mg.nn.Module):
        def __init__(self):
            self.h0 = mg.tensor(np.ones(3), requires_grad=True)

        def forward(self, x):
            h = self.h0
            for t in range(3):
                with mg.scope("step", t):
                    h = mg.tanh(h + x)
            return h

    assert "tanh[t−1] | t=0: h0" in "\n".join(lines(viz.draw(Net()(np.ones(3)))))


def test_two_nameless_states_are_told_apart():
    a = b = mg.tensor(np.ones(3), requires_grad=True, name="a")
    for t in range(3):
        with mg.scope("step", t):
            a, b = mg.tanh(a + b), mg.tanh(a - b)
    states = [words for words in boxes(viz.draw(a + b)).values() if "[t−1]" in words]
    assert len(states) == len(set(states)) == 2


def test_dtypes_are_said_where_they_are_unusual():
    x = mg.tensor(np.ones(3), requires_grad=True, name="x")
    y = mg.tanh(mg.exp(x)) * x
    drawing = viz.draw(y.astype(np.float32))
    assert boxes(drawing)["n1"] == "exp | (3,)"
    assert "(3,) float32" in boxes(drawing)["n4"]
    assert "float64 unless marked" in "\n".join(lines(drawing))


# ---- gradients ----------------------------------------------------------------------------------


def test_gradients_are_those_of_the_outputs_and_never_zero_for_not_computed():
    x = mg.tensor(np.ones(3), requires_grad=True, name="x")
    loss = (x * 2.0).sum()
    before = viz.draw(loss)
    assert "|g|" not in before.source
    assert "not computed" in before.source
    loss.backward()
    assert boxes(viz.draw(loss))["n0"].startswith("x | (3,) |g| 2")
    assert "|g|" not in viz.draw(loss, grads=False).source
    assert "|g|" not in viz.draw(x * 2.0).source  # of which cotangent?
    assert boxes(viz.draw(x * 2.0, grads=np.full(3, 5.0)))["n0"].startswith("x | (3,) |g| 10")
    with pytest.raises(ValueError, match=r"needs a cotangent"):
        viz.draw(x * 2.0, grads=True)


def test_zero_and_not_finite_have_signs():
    x = mg.tensor(np.array([0.0, 1.0]), requires_grad=True, name="x")
    h = mg.tensor(np.zeros(2), requires_grad=True, name="h0")
    with np.errstate(all="ignore"):
        for t in range(4):
            with mg.scope("step", t):
                h = h + mg.log(x)
        out = h.sum()
    drawing = viz.draw(out, grads=True)
    assert "0 zero, ! not finite" in "\n".join(lines(drawing))
    assert "! 1 of 2 not finite" in boxes(drawing)["n0"]
    assert sum("! value: 4 of 8 not finite" in w for w in boxes(drawing).values()) == 2
    lstm = viz.draw(lstm_loss(5), grads=True)
    (forget,) = [words for words in boxes(lstm).values() if words.startswith("f = sigmoid")]
    assert forget.endswith("[0||||]")  # c is zero at t=0
    assert "|g| 0 … " in forget


def test_a_strip_has_a_cell_for_each_step_and_at_most_sixteen():
    for steps, cells in [(1, 1), (2, 2), (5, 5), (16, 16), (77, 16)]:
        written = boxes(viz.draw(lstm_loss(steps), grads=True)).values()
        (candidate,) = [words for words in written if words.startswith("g = tanh")]
        assert candidate.partition("[")[2] == "|" * (cells - 1) + "]"


def test_a_graph_of_numbers_that_is_folded_shows_no_values_of_one_step():
    w, h = mg.tensor(0.5, requires_grad=True, name="w"), 0.0
    for t in range(4):
        with mg.scope("step", t):
            h = mg.tanh(h * w + 0.1)
    written = boxes(viz.draw(h))
    assert "tanh[t−1] | t=0: 0.0" in written.values()
    assert written["n3"] == "tanh | () | output at t=3"
    assert written["n1"] == "multiply | ()"
    assert [words for words in written.values() if "value" in words] == [
        "w | value 0.5 | grad not computed"
    ]
    assert boxes(viz.draw(h, grads=True))["n1"] == "multiply | () | |g| 0.11 … 0.97 | [|||]"


def test_scopes_that_are_shut():
    loss = lstm_loss(5, 2)
    loss.backward()
    one, two, three, four, whole = [viz.draw(loss, depth=d) for d in (1, 2, 3, 4, None)]
    sizes = [len(boxes(d)) for d in (one, two, three, four)]
    assert sizes == sorted(set(sizes))
    assert four.source == whole.source
    (lstm,) = [words for words in boxes(one).values() if words.startswith("lstm")]
    assert re.match(r"lstm: LSTM\(2→3\) \| \d+ operations, 180 parameters \| \|g\| [\de.−]+", lstm)
    assert [words for words in boxes(two).values() if "layer[0]" in words and "step" not in words]
    assert [line for line in arrows(two) if line.split()[0] not in boxes(two)] == []
    with pytest.raises(ValueError, match="at least 1, not 0"):
        viz.draw(loss, depth=0)


def test_an_input_alone_and_nothing_at_all():
    x = mg.tensor([1.0, 2.0], requires_grad=True, name="x")
    assert boxes(viz.draw(x)) == {"n0": "x | (2,)"}
    with pytest.raises(ValueError, match="empty"):
        viz.draw([])
    with pytest.raises(RuntimeError, match=r"mg\.no_grad\(\)"), mg.no_grad():
        viz.draw(x * 2.0)


def test_graphs_of_derivatives_and_of_several_outputs():
    x = mg.tensor(np.linspace(0, 1, 3), requires_grad=True, name="x")
    g = mg.grad(lambda x: (x**3).sum())(x)
    assert [words for words in boxes(viz.draw(g)).values() if words.startswith("power")]
    drawing = viz.draw({"a": x * 2.0, "b": mg.exp(x)})
    assert drawing.source.count("peripheries=2") == 2


# ---- agreement ----------------------------------------------------------------------------------


def test_nodes_are_coloured_by_agreement_and_the_worst_are_listed():
    loss = lstm_loss(4)
    graph = mg.Graph(loss)
    errors = {n.tensor: 1e-14 for n in graph.nodes if n.op}
    gates = [n for n in graph.nodes if n.name == "f"]
    errors[gates[2].tensor] = 0.5, "the sign is <wrong>"
    errors[gates[1].tensor] = float("nan")
    errors[gates[0].tensor] = 0.0
    (weight,) = [n for n in graph.nodes if n.name == "weight_hh_l0"]
    errors[weight.tensor] = 0.25
    drawing = viz.draw(loss, agreement=errors)
    (forget,) = [words for words in boxes(drawing).values() if words.startswith("f = sigmoid")]
    assert forget == "f = sigmoid | (4, 3) not compared | [=|?||]"
    assert "weight_hh_l0 error 0.25" in "\n".join(boxes(drawing).values())
    assert "|g|" not in drawing.source
    last = next(line for line in lines(drawing) if "worst first" in line)
    order = [last.index(text) for text in (
        "lstm/step: f = sigmoid, t=1 not compared",
        "lstm/step: f = sigmoid, t=2 0.5 the sign is &lt;wrong&gt;",
        "weight_hh_l0 0.25",
        "1e−14",
    )]  # fmt: skip
    assert order == sorted(order)
    shut = viz.draw(loss, agreement=errors, depth=1)
    (lstm,) = [words for words in boxes(shut).values() if words.startswith("lstm")]
    assert lstm.endswith("not compared | [?]")


def test_a_wrong_agreement_is_refused():
    loss, other = lstm_loss(3), mg.tensor([1.0], requires_grad=True, name="other")
    with pytest.raises(ValueError, match="'other' is not a node of the graph"):
        viz.draw(loss, agreement={other: 0.1})
    with pytest.raises(TypeError, match="from Tensors, not from str"):
        viz.draw(loss, agreement={"loss": 0.1})
    with pytest.raises(ValueError, match="at least 0"):
        viz.draw(loss, agreement={loss: -1.0})
    assert "relative error" in viz.draw(loss, agreement={}).source


HOSTILE = [
    'a "quoted" name',
    "back\\slash\\",
    "\\N \\G \\l",
    "<lambda> <map>",
    "</font></script><img onerror=alert(1)>",
    "a:b:c",
    "two\nlines\ttab",
    "&amp; &#0; ]]>",
    "Größe 变量 🎈",
    "nul\0 bell\a surrogate\ud800",
    "} ] ; -> n0",
    "x" * 10_000,
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_any_name_is_safe(name):
    x = mg.tensor(np.ones(3), requires_grad=True, name=name)
    with mg.scope(name), mg.scope(name, 1):
        y = x * 2.0
    with mg.scope(name, 2):
        y = y * x
    for k in range(3):
        with mg.scope(name + "'", k):
            y = mg.tanh(y)
    y.name = name
    source = viz.draw(y).source
    assert "\\" not in source
    assert len(source) < 4000
    if shutil.which("dot"):
        svg = ET.fromstring(viz.draw(y).pipe("svg", encoding="utf-8"))
        titles = "".join(svg.itertext()).replace("\xa0", " ")
        shown = " ".join(re.sub("[\0\a\ud800]", "\ufffd", name).split())[:59]
        assert titles.count(shown) >= 5  # four frames and two boxes


# ---- the size -----------------------------------------------------------------------------------


def test_a_long_chain_is_refused_at_once():
    y = mg.tensor([1.0], requires_grad=True)
    for _ in range(100_000):
        y = y + 2.0
    start = time.perf_counter()
    with pytest.raises(viz.GraphTooLarge) as caught:
        viz.draw(y, fold=False)
    assert time.perf_counter() - start < 5
    for word in ("100,000", "max_cost=2,500", "mg.scope", "fold=True", "draw(h)", "viz.show"):
        assert word in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_what_costs_is_the_ranks_that_arrows_cross():
    """400 operations that all read one leaf: `dot` takes minutes, so it is not asked."""
    x = mg.tensor([1.0], requires_grad=True, name="x")
    y = x
    for _ in range(400):
        y = y * x
    with pytest.raises(viz.GraphTooLarge):
        viz.draw(y, fold=False)
    assert viz.draw(y, fold=False, max_cost=10**6).source.count("->") == 800
    assert len(viz.draw(lstm_loss(77), max_cost=200).source) < 20_000


def test_where_there_is_no_room_scopes_are_shut():
    steps = boxes(viz.draw(lstm_loss(40), fold=False)).values()
    assert sum(words.startswith("step[") for words in steps) == 40
    written = boxes(viz.draw(lstm_loss(200), fold=False)).values()
    assert "lstm: LSTM(2→3) | 2,604 operations, 84 parameters" in written


def test_two_thousand_operations_take_no_time():
    loss = lstm_loss(90)
    best = min(_seconds(lambda: viz.draw(loss)) for _ in range(5))
    assert best < 0.5  # 0.03 s; wide, for busy machines


def _seconds(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


# ---- without the program -------------------------------------------------------------------------


def test_without_dot(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.chdir(tmp_path)
    drawing = viz.draw(scalars()[2])
    assert isinstance(drawing, graphviz.Digraph)
    assert issubclass(viz.DotNotFound, graphviz.ExecutableNotFound)
    for run in (
        lambda: drawing.render("graph", format="svg"),
        lambda: drawing.render(outfile="graph.svg"),
        lambda: drawing.pipe("svg"),
        lambda: drawing.view(),
        lambda: drawing.copy().pipe("png"),
    ):
        with pytest.raises(viz.DotNotFound, match=r"apt-get install graphviz[^$]*brew install"):
            run()
    assert list(tmp_path.iterdir()) == []
    shown = drawing._repr_mimebundle_()
    assert sorted(shown) == ["text/html", "text/plain"]  # the page, and the tree of text
    assert shown["text/html"].startswith('<iframe srcdoc="&lt;!doctype html&gt;')
    assert 'sandbox="allow-scripts allow-downloads"' in shown["text/html"]
    assert "y = tanh" in shown["text/plain"]

    shown = viz.model(mg.nn.Linear(2, 3))._repr_mimebundle_()
    assert list(shown) == ["text/plain"]
    assert "Linear(2→3)  9 parameters" in shown["text/plain"]
    shown = drawing.copy()._repr_mimebundle_()
    assert "apt-get install graphviz" in shown["text/plain"]
    assert "does not include it" in shown["text/plain"]

    drawing.save("graph.dot")
    assert (tmp_path / "graph.dot").read_text(encoding="utf-8") == drawing.source


def test_there_is_nothing_else_in_viz():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        viz.nothing  # noqa: B018


# ---- with the program ----------------------------------------------------------------------------


@needs_dot
@pytest.mark.parametrize("layers", [1, 2])
def test_the_picture_shows_every_operation(layers):
    drawing = viz.draw(lstm_loss(77, layers))
    svg = ET.fromstring(drawing.pipe("svg", encoding="utf-8"))
    titles = {element.text for element in svg.iter("{http://www.w3.org/2000/svg}title")}
    assert set(boxes(drawing)) <= titles
    text = "".join(svg.itertext()).replace("\xa0", " ")
    for word in ("sigmoid", "tanh", "matmul", "step ×77", "h[t−1]", "c[t]", "loss", "t=76"):
        assert word in text


@needs_dot
def test_a_notebook_shows_it():
    assert list(viz.draw(scalars()[2])._repr_mimebundle_()) == ["image/svg+xml"]


@needs_dot
def test_it_is_written_to_a_file(tmp_path):
    path = viz.draw(scalars()[2]).render(outfile=tmp_path / "graph.svg")
    assert ET.parse(path).getroot().tag.endswith("svg")


def test_a_picture_says_what_it_is_and_lies_down_if_asked():
    y = mg.tanh(mg.tensor([0.5, 1.0], requires_grad=True, name="x") * 2.0)
    picture = viz.draw(y)
    assert repr(picture).startswith("<picture of 3 boxes and 2 arrows: ")
    assert picture.source.count("rankdir=TB") == 1
    wide = viz.draw(y, left_to_right=True)
    assert wide.source == picture.source.replace("rankdir=TB", "rankdir=LR")


def test_the_time_and_the_position_of_an_arrow_do_not_lie_on_one_another():
    w, h = mg.tensor(np.ones((2, 2)), True, name="w"), mg.tensor(np.zeros((2, 2)), True, name="h")
    for t in range(4):
        with mg.scope("step", t):
            h = mg.tanh(h @ w)
    (arrow,) = [line for line in arrows(viz.draw(h @ (h * w))) if "(1)" in line]
    assert "t=3 (1)" in arrow
    assert "headlabel" not in arrow
