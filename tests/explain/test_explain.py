"""Explanations of wrong gradients: planted mistakes, first divergence, no false alarms."""

import importlib
import os
import re
from datetime import date

import numpy as np
import pytest

import minigrad as mg
from minigrad import compare, compare_backward
from minigrad.explain.backward import Backward
from minigrad.explain.changes import Changes
from minigrad.testing import GradientMismatch, assert_same_gradients
from tests.mistakes.__main__ import PAGES, expected, tried
from tests.mistakes.catalogue import Mistake

QUICK = ("mlp", "softmax", "layer_norm", "batch_norm", "attention", "conv1d")
SEED = int(os.environ.get("MINIGRAD_SEED") or date.today().toordinal())
RENEW = "If this is meant, `make mistakes` renews tests/mistakes/expected.txt."


def page(name):
    return importlib.import_module(f"tests.mistakes.{name}")


# ---- the catalogue -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_planted_mistakes_are_detected_and_explained(name):
    """All pages without a loop, and a sixth of the others: in six days, or seeds, all of them."""
    mistakes = page(name).MISTAKES if name in QUICK else page(name).MISTAKES[SEED % 6 :: 6]
    ranks = {line.edit: (line.named, line.said) for line in expected() if line.page == name}
    wrong = []
    for mistake in mistakes:
        seen, _, *found, _ = tried(page(name), mistake)
        if not seen or tuple(found) != ranks.get(mistake.edit):
            what = f"found ranks {found}" if seen else "not detected"
            wrong.append(
                f"{name}: {mistake.edit}: expected ranks {ranks.get(mistake.edit)}, {what}"
            )
    assert not wrong, "\n".join([*wrong, f"(MINIGRAD_SEED={SEED} tries these again)", RENEW])


def test_the_expected_ranks_are_those_of_all_mistakes_and_nearly_all_are_1():
    lines = expected()
    planted = [(name, mistake.edit) for name in PAGES for mistake in page(name).MISTAKES]
    assert len({*planted}) == len(planted)
    assert [(line.page, line.edit) for line in lines] == planted, RENEW
    assert sum(line.named == "1" for line in lines) >= 0.9 * len(lines)


def test_the_catalogue_is_large_and_has_every_kind():
    mistakes = [mistake for name in PAGES for mistake in page(name).MISTAKES]
    assert len(mistakes) >= 300
    kinds = {kind for mistake in mistakes for kind in mistake.kinds}
    assert kinds == {
        "missing term", "derivative left out", "wrong derivative", "wrong step", "sign", "factor",
        "swapped operand", "transpose", "permuted", "broadcast", "truncated", "not accumulated",
        "counted twice", "initial state", "overwritten",
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*encountered in matmul")  # of what BLAS reads beside arrays
@pytest.mark.parametrize("name", PAGES)
def test_no_false_alarm_on_correct_passes_of_random_sizes(name):
    for seed in range(30):
        dtype = (np.float64, np.float32)[seed % 2]
        inputs = page(name).draw(np.random.default_rng(seed), dtype, "random")
        report = compare_backward(page(name).forward, page(name).backward, inputs)
        assert report.ok, report
        assert report.explain() == []


def lstm_of(steps, dtype):
    sizes = {"x": (steps, 4, 3), "y": (steps, 4, 5), "h0": (4, 5), "c0": (4, 5)}
    sizes |= {"Wx": (3, 20), "Wh": (5, 20), "b": (20,)}
    rng = np.random.default_rng(0)
    return {name: (0.5 * rng.normal(size=s)).astype(dtype) for name, s in sizes.items()}


def test_a_correct_float32_gradient_over_200_steps_is_not_flagged():
    lstm = page("lstm")
    assert compare_backward(lstm.forward, lstm.backward, lstm_of(200, np.float32)).ok


def test_a_relative_error_of_1e_6_in_float64_is_flagged():
    lstm = page("lstm")

    def nearly(p):
        return {k: d * (1 + 1e-6 * (k == "Wh")) for k, d in lstm.backward(p).items()}

    report = compare_backward(lstm.forward, nearly, lstm_of(200, np.float64))
    assert [row.name for row in report.rows if not row.ok] == ["Wh"]


def test_float32_mistakes_are_explained_in_float64():
    lstm = page("lstm")
    mistake = next(m for m in lstm.MISTAKES if m.find == "dc_next = dc * f")
    inputs = lstm.draw(np.random.default_rng(1), np.float32)
    found = compare_backward(lstm.forward, mistake.planted(lstm.backward), inputs).explain()
    assert found[0].line in mistake.statements(lstm.backward)
    assert found[0].kind in mistake.kinds


# ---- what a report with a graph says -------------------------------------------------------------


def tiny(p):
    s = p["x"] @ p["w"]
    y = np.tanh(s)
    return np.sum(y * p["r"])


def tiny_backward(p, slope=lambda y: 1 - y**2):
    y = np.tanh(p["x"] @ p["w"])
    ds = p["r"] * slope(y)
    return {"x": ds @ p["w"].T, "w": p["x"].T @ ds, "r": y}


def tiny_inputs():
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=s) for name, s in (("x", (4, 3)), ("w", (3, 2)), ("r", (4, 2)))}


def wrong_report():
    return compare_backward(tiny, lambda p: tiny_backward(p, lambda y: 1 - y), tiny_inputs())


def test_a_report_explains_and_says_who_is_wrong():
    report = wrong_report()
    best = report.explain()[0]
    assert best.kind == "wrong derivative"
    assert best.file == __file__
    assert best.line == wrong_report.__code__.co_firstlineno + 1
    assert "lambda y: 1 - y" in best.statement
    assert "is taken as `1 - y`; right is `g * (1 - y**2)`" in best.sentence
    assert best.expected == "the derivative of `y`"
    assert best.sentence.endswith("With that in its place `w` and `x` are right.")
    assert best.repaired == ("w", "x")
    notes = {row.name: row.note for row in report.rows}
    assert "manual is wrong" in notes["w"]
    assert notes["r"] == ""


def test_the_exception_begins_with_the_wrong_line_and_holds_the_table():
    with pytest.raises(GradientMismatch) as caught:
        wrong_report().raise_if_different()
    first, *rest = str(caught.value).splitlines()
    line = wrong_report.__code__.co_firstlineno + 1
    assert first.startswith(f"test_explain.py:{line} return compare_backward(")
    assert "is taken as `1 - y`" in first
    assert rest[0].startswith("1 of 3 entries agree")
    with pytest.raises(GradientMismatch, match=r"\Atest_explain.py:\d+ .*is taken as"):
        assert_same_gradients(tiny, lambda p: tiny_backward(p, lambda y: 1 - y), tiny_inputs())
    assert_same_gradients(tiny, tiny_backward, tiny_inputs())


def test_a_module_is_compared_by_parameter_names():
    lstm = mg.nn.LSTM(2, 3, rng=np.random.default_rng(0), dtype=np.float64)
    x = np.random.default_rng(1).normal(size=(4, 2, 2))
    loss = lstm(x)[0].sum()
    hs, _, cache = mg.bptt.lstm_forward(x, *[p.data for p in lstm.parameters()])
    manual = mg.bptt.lstm_backward(np.ones_like(hs), cache)
    manual = {f"{k}_l0": manual[k] for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    assert compare(manual, loss).ok
    manual["weight_hh_l0"] = manual["weight_hh_l0"][[*range(3, 6), *range(3), *range(6, 12)]]
    report = compare(manual, loss)
    assert [row.name for row in report.rows if not row.ok] == ["weight_hh_l0"]
    assert report.explain()[0].kind == "permuted"
    assert "only at 0:6 of axis 0" in report.worst.note


def test_the_first_divergence_is_the_wrong_line():
    def cell(x, w):
        h = c = np.zeros(3)
        for t in range(4):
            with mg.scope("step", t):
                z = x[t] @ w + h
                f = mg.sigmoid(z)
                c = f * c + np.tanh(z)
                h = np.tanh(c)
                mg.label(z=z, f=f, c=c, h=h)
        return h

    w = mg.tensor(np.random.default_rng(0).normal(size=(2, 3)), requires_grad=True, name="w")
    x = np.random.default_rng(1).normal(size=(4, 2))
    loss = cell(x, w).sum()
    walk = Backward(loss)
    cots = {}
    for t, k in walk.number.items():
        if t.name and k in walk.cots:
            cots[f"{t.scope}.{t.name}" if t.scope else t.name] = np.array(walk.cots[k])
    assert compare(cots, loss).ok
    wrong = dict(cots)
    for name in ("step[2].z", "step[2].c", "step[1].h", "step[1].z", "step[1].c", "w"):
        wrong[name] = cots[name] + 0.1
    wrong["step[2].c"] = cots["step[2].c"]
    report = compare(wrong, loss)
    first = report.first_divergence
    assert (first.name, first.step) == ("step[2].z", 2)
    assert "step 2" in str(first).lower()
    assert "`f`" in str(first)
    wrong["step[2].z"] = -cots["step[2].z"]
    report = compare(wrong, loss)
    assert "How it is wrong: the sign of the gradient of add `z` is wrong" in str(
        report.first_divergence
    )
    assert [e.kind for e in report.explain()] == ["sign"]
    assert compare({"w": cots["w"] + 1}, loss).first_divergence is None


def test_what_the_wrong_elements_have_in_common_is_noted():
    w = np.arange(1.0, 25).reshape(4, 6)

    def note(manual):
        return compare({"w": manual}, {"w": w}).worst.note

    assert note(-w) == "-1 times the automatic"
    assert note(0 * w) == "all zero"
    block, row = w.copy(), w.copy()
    block[:, 2:4] += 1
    row[3] *= 2
    assert note(block) == "only at 2:4 of axis 1, block 1 of 3"
    assert note(row) == "only at 3 of axis 0"


def test_two_mistakes_come_out_as_two_in_the_order_of_execution():
    def two(p):
        y = np.tanh(p["x"] @ p["w"])
        ds = p["r"] * (1 - y**2)
        dx = -ds @ p["w"].T
        dw = 2 * p["x"].T @ ds
        return {"x": dx, "w": dw, "r": y}

    found = compare_backward(tiny, two, tiny_inputs()).explain()
    assert [(e.kind, e.statement, e.repaired) for e in found[:2]] == [
        ("sign", 'dx = -ds @ p["w"].T', ("x",)),
        ("factor", 'dw = 2 * p["x"].T @ ds', ("w",)),
    ]
    assert "is -1 times the gradient of `s`: its sign is wrong" in found[0].sentence
    assert found.proven == 2  # others are only named


def test_nonsense_is_called_so():
    rng = np.random.default_rng(5)
    nonsense = {name: rng.normal(size=v.shape) for name, v in tiny_inputs().items()}

    def random(p):
        dx = nonsense["x"] * p["x"]
        return {name: nonsense[name] for name in p} | {"x": dx}

    found = compare_backward(tiny, random, tiny_inputs()).explain()
    assert {e.kind for e in found} == {"wrong value"}
    (best,) = [e for e in found if e.statement.startswith("dx =")]
    assert "it is no gradient, derivative or value of this model" in best.sentence
    assert "it should be the gradient of `x`" in best.sentence
    assert best.repaired == ("x",)  # whatever is there: that is its gradient


def test_a_factor_that_several_gradients_have():
    def halved(p):
        right = tiny_backward(p)
        return {name: d / 2 for name, d in right.items() if name != "r"} | {"r": right["r"]}

    (best,) = compare_backward(tiny, halved, tiny_inputs()).explain()
    assert best.kind == "factor"
    assert "`d / 2` is 0.5 times the gradient of `x`" in best.sentence
    assert best.repaired == ("w", "x")


# ---- how it is met -------------------------------------------------------------------------------


def plain_backward(p):
    s = p["x"] @ p["w"]
    y = np.tanh(s)
    ds = p["r"] * (1 - y)
    return {"x": ds @ p["w"].T, "w": p["x"].T @ ds, "r": y}


def plain_backward_right(p):
    s = p["x"] @ p["w"]
    y = np.tanh(s)
    ds = p["r"] * (1 - y**2)
    return {"x": ds @ p["w"].T, "w": p["x"].T @ ds, "r": y}


def test_a_wrong_pass_is_annotated_line_by_line():
    listing = compare_backward(tiny, plain_backward, tiny_inputs()).annotated()
    start = plain_backward.__code__.co_firstlineno
    file, *lines = str(listing).splitlines()
    assert file == "test_explain.py"
    at = {line[1:5].strip(): line for line in lines if line[1:5].strip().isdigit()}
    assert at[str(start + 1)].startswith(" ")
    assert at[str(start + 1)].endswith("# s: `s`")
    assert at[str(start + 2)].endswith("# y: the gradient of `r`")  # which is y
    assert at[str(start + 3)].startswith(f">{start + 3:4}  ds = ")
    assert at[str(start + 3)].endswith("# ds: matches nothing")
    below = " ".join(" ".join(lines[lines.index(at[str(start + 3)]) + 1 :]).split())
    assert "is taken as `1 - y`" in below
    page = listing._repr_html_()
    assert page.startswith("<table><caption>test_explain.py</caption>")
    assert page.count("background:rgba") == 2  # the wrong line, and what is said of it
    assert "ds = p[&quot;r&quot;] * (1 - y)" in page
    assert "<td" in page


def test_a_right_pass_is_annotated_too():
    report = compare_backward(tiny, plain_backward_right, tiny_inputs())
    assert report.ok
    listing = report.annotated()
    gives = {a.line - plain_backward_right.__code__.co_firstlineno: a for a in listing.annotations}
    assert gives[3].gives == "ds: the gradient of `s`"
    assert gives[3].status == "right"
    assert ">" not in [line[:1] for line in str(listing).splitlines()]
    assert "background" not in listing._repr_html_()
    assert "ds: the gradient of `s`" in listing._repr_html_()
    with pytest.raises(ValueError, match="no backward pass to run"):
        compare({"w": np.ones((3, 2))}, tiny(tensors(tiny_inputs()))).annotated()


def tensors(inputs):
    return {k: mg.tensor(v, requires_grad=True, name=k) for k, v in inputs.items()}


def test_explanations_in_a_notebook_show_the_lines_around():
    found = compare_backward(tiny, plain_backward, tiny_inputs()).explain()
    page = found._repr_html_()
    line = plain_backward.__code__.co_firstlineno + 3
    assert page.startswith(f"<p><b>test_explain.py:{line}</b> ")
    assert "<table>" in page
    assert "return {&quot;x&quot;: ds" in page  # the next line
    assert "background:rgba" in page
    nothing = compare_backward(tiny, plain_backward_right, tiny_inputs()).explain()
    assert nothing._repr_html_() == "<p>nothing to explain: all gradients agree</p>"


def test_a_report_is_drawn_and_shown(tmp_path):
    report = wrong_report()
    source = report.draw().source
    assert "error" in source
    assert re.search(r"<b>y</b>[^\n]*tanh", source)  # the variable of the program
    page = report.show(tmp_path / "wrong.html")
    assert "is taken as `1 - y`" in (tmp_path / "wrong.html").read_text()
    assert "wrong.html" in str(page)
    right = compare_backward(tiny, tiny_backward, tiny_inputs())
    assert "error" in right.draw().source
    with pytest.raises(ValueError, match="knows no graph"):
        compare({"w": np.ones(2)}, {"w": np.ones(2)}).draw()


# ---- shapes and bad input ------------------------------------------------------------------------


def test_wrong_shapes_are_explained():
    inputs, right = tiny_inputs(), tiny_backward(tiny_inputs())

    def explained(**wrong):
        return compare_backward(tiny, lambda p: right | wrong, inputs).explain()[0]

    turned = explained(w=right["w"].T)
    assert turned.kind == "transpose"
    assert "gradient of `w` has shape (2, 3), not (3, 2): it is transposed" in turned.sentence
    assert "has shape (6,), not (3, 2)" in explained(w=right["w"].reshape(6)).sentence
    assert "reshape it" in explained(w=right["w"].reshape(6)).sentence
    assert "shape (2, 3), not (3, 2)" in explained(w=np.ones((2, 3))).sentence

    def biased(p):
        return np.sum(np.tanh(p["x"] + p["b"]))

    def unreduced(p):
        d = 1 - np.tanh(p["x"] + p["b"]) ** 2
        return {"x": d, "b": d}

    for x in (np.random.default_rng(0).normal(size=(4, 3)), np.ones((4, 3))):
        best = compare_backward(biased, unreduced, {"x": x, "b": np.zeros(3)}).explain()[0]
        assert best.kind == "broadcast"
        assert "has shape (4, 3), not (3,): sum it over axis 0" in best.sentence


def test_bad_input_is_a_clear_error():
    inputs, right = tiny_inputs(), tiny_backward(tiny_inputs())
    loss = tiny({k: mg.tensor(v, requires_grad=True, name=k) for k, v in inputs.items()})
    with pytest.raises(ValueError, match=r"nothing behind the loss is named 'ww'.*'w'"):
        compare({"ww": right["w"]}, loss)
    with pytest.raises(ValueError, match="manual is empty"):
        compare({}, loss)
    with pytest.raises(ValueError, match="the loss has no graph"):
        compare({"w": right["w"]}, mg.tensor(1.0))
    with pytest.raises(ValueError, match="the loss must have one element"):
        compare({"w": right["w"]}, loss * np.ones(2))
    with pytest.raises(TypeError, match="int"):
        compare({"w": np.ones((3, 2), int)}, loss)
    with pytest.raises(ValueError, match="holds nan"):
        compare_backward(tiny, tiny_backward, inputs | {"w": np.full((3, 2), np.nan)})
    with pytest.raises(ValueError, match="inputs is empty"):
        compare_backward(tiny, tiny_backward, {})
    with pytest.raises(ValueError, match="forward must give a scalar"):
        compare_backward(lambda p: np.tanh(p["x"]), tiny_backward, inputs)
    with pytest.raises(ValueError, match="the loss has no graph"):
        compare_backward(lambda p: 1.0, tiny_backward, inputs)
    with pytest.raises(TypeError, match="it returned None"):
        compare_backward(tiny, lambda p: None, inputs)
    with pytest.raises(ValueError, match="knows no graph"):
        compare({"w": right["w"] + 1}, {"w": right["w"]}).explain()
    report = compare({"w": right["w"] * np.nan}, loss)
    assert {row.name: row.verdict for row in report.rows}["w"] == "non-finite"


def test_gradients_that_are_not_returned_are_not_compared():
    right = tiny_backward(tiny_inputs())
    report = compare_backward(tiny, lambda p: {"w": right["w"]}, tiny_inputs())
    assert {row.name: row.verdict for row in report.rows} == {"w": "ok"}
    assert str(report).splitlines()[0].endswith("; not compared: 'x', 'r'")


# ---- code as others write it ---------------------------------------------------------------------


def swish(s):
    return s / (1 + np.exp(-s))


def swish_slope(s):
    e = 1 / (1 + np.exp(-s))
    return e + s * e * (1 - e)


def net(p):
    """Have a helper called twice, rows taken several times, and the largest of a row."""
    u = swish(p["words"][p["which"]])
    v = swish(u @ p["w"])
    return np.sum(p["r"] * np.max(v, axis=1))


def net_backward(p, slope=swish_slope, adds=True, spread=False):
    e = p["words"][p["which"]]
    u = swish(e)
    s = u @ p["w"]
    v = swish(s)
    top = np.max(v, axis=1)
    dv = p["r"][:, None] * (np.ones_like(v) if spread else v == top[:, None])
    ds = dv * slope(s)
    de = (ds @ p["w"].T) * slope(e)
    dwords = np.zeros_like(p["words"])
    if adds:
        np.add.at(dwords, p["which"], de)
    else:
        dwords[p["which"]] += de
    return {"words": dwords, "w": u.T @ ds, "r": top}


@pytest.mark.parametrize(
    ("wrong", "kind", "statement", "said"),
    [
        ({"slope": lambda s: 1 / (1 + np.exp(-s))}, "missing term", "ds = dv * slope(s)",
         "what `v = swish(u @ p[\"w\"])` sends to `1 + np.exp(-s)` is missing"),
        ({"adds": False}, "not accumulated", 'dwords[p["which"]] += de',
         "`np.add.at(d, index, g)` adds"),
        ({"spread": True}, "derivative left out", 'dv = p["r"][:, None] *',
         "its gradient is passed to `v` as it is"),
    ],
)  # fmt: skip
def test_a_helper_called_twice_repeated_rows_and_a_maximum(wrong, kind, statement, said):
    rng = np.random.default_rng(0)
    inputs = {"words": rng.normal(size=(4, 3)), "w": rng.normal(size=(3, 5))}
    inputs |= {"r": rng.normal(size=6), "which": np.array([2, 0, 1, 2, 2, 0])}
    assert compare_backward(net, net_backward, inputs).ok
    best = compare_backward(net, lambda p: net_backward(p, **wrong), inputs).explain()[0]
    assert best.kind == kind
    assert best.statement.startswith(statement)
    assert said in best.sentence


def gated(p):
    """Make the gates of every step in a loop of its own, and keep h in a loop over an array."""
    h = p["h"]
    for x in p["x"]:
        keep, new = [np.tanh(x @ p["w"][k] + h @ p["v"][k]) for k in range(2)]
        h = keep * h + new
    return np.sum(h * p["r"])


def gated_backward(p, carry=0.0, slopes=(1, 1)):
    hs, gates = [p["h"]], []
    for x in p["x"]:
        gates.append([np.tanh(x @ p["w"][k] + hs[-1] @ p["v"][k]) for k in range(2)])
        hs.append(gates[-1][0] * hs[-1] + gates[-1][1])
    d = {name: np.zeros_like(p[name]) for name in ("x", "w", "v")} | {"r": hs[-1]}
    dh = p["r"]
    for t in reversed(range(len(p["x"]))):
        da = [dh * hs[t], dh]
        before = dh * gates[t][0]
        for k in range(2):
            da[k] = da[k] * (1 - gates[t][k] ** 2 * slopes[k])
            d["w"][k] += np.outer(p["x"][t], da[k])
            d["v"][k] += np.outer(hs[t], da[k])
            d["x"][t] += da[k] @ p["w"][k].T
            before = before + da[k] @ p["v"][k].T
        dh = before + carry * dh
    return d | {"h": dh}


def gated_inputs(steps):
    rng = np.random.default_rng(0)
    sizes = {"x": (steps, 2), "w": (2, 2, 3), "v": (2, 3, 3), "h": (3,), "r": (3,)}
    return {name: 0.5 * rng.normal(size=size) for name, size in sizes.items()}


def test_a_term_that_is_counted_twice_on_one_of_its_ways():
    lstm = page("lstm")
    edit = "dh * o * (1 - u**2)", "(dh + dh_next) * o * (1 - u**2)"
    backward = Mistake(*edit, ("counted twice",), ("h = o * u",)).planted(lstm.backward)
    best = compare_backward(lstm.forward, backward, lstm.draw(np.random.default_rng(0))).explain()[
        0
    ]
    assert best.kind == "counted twice"
    assert best.statement == "dc = dc_next + (dh + dh_next) * o * (1 - u**2)"
    assert 'what `h @ p["Wh"]` sends to `h` of the step before is counted twice' in best.sentence
    assert best.repaired == ("Wh", "Wx", "b", "c0", "h0", "x")


def test_what_a_loop_within_each_step_makes_is_told_apart():
    inputs = gated_inputs(5)
    assert compare_backward(gated, gated_backward, inputs).ok
    report = compare_backward(gated, lambda p: gated_backward(p, slopes=(1, 0)), inputs)
    best = report.explain()[0]
    assert best.statement == "da[k] = da[k] * (1 - gates[t][k] ** 2 * slopes[k])"
    assert "`slopes[k]` is 1, 0; it should be 1" in best.sentence
    assert best.repaired == ("h", "v", "w", "x")


def test_the_gradient_of_a_state_that_is_added_to_that_of_the_step_after():
    report = compare_backward(gated, lambda p: gated_backward(p, carry=1.0), gated_inputs(5))
    best = report.explain()[0]
    assert best.statement == "dh = before + carry * dh"
    assert "it should be the gradient of `h` at step 3" in best.sentence
    assert best.repaired == ("h", "v", "w", "x")


def test_an_expression_is_one_place_however_often_it_runs():
    """After a few calls Python runs `x[t]`, and a loop over an array, by faster instructions."""
    report = compare_backward(gated, gated_backward, gated_inputs(40))
    sites = [site for site in report.case.walk.sites if len(site) > 1]
    assert {len(site) for site in sites} == {40}
    loop = next(site.place for site in sites if site.place.statement.startswith("for"))
    assert loop.expression == 'for x in p["x"]'


def cell(x, h, w, b):
    both = np.concatenate([h, x], axis=1)
    z = np.tanh(both @ w + b)
    s = np.sqrt(np.mean(z**2, axis=1, keepdims=True) + 0.1)
    return z / s


def stacked(p):
    """Stack two layers of a normalised RNN on words, with a readout at every step."""
    h1, h2, loss = p["h1"], p["h2"], 0
    for t in range(len(p["which"])):
        h1 = cell(p["words"][p["which"][t]], h1, p["w1"], p["b1"])
        h2 = cell(h1, h2, p["w2"], p["b2"])
        scores = h2 @ p["v"]
        scores = scores - np.max(scores, axis=1, keepdims=True)
        total = np.sum(np.exp(scores), axis=1, keepdims=True)
        loss = loss - np.sum(p["hot"][t] * (scores - np.log(total)))
    return loss


def slope(z):
    return 1 - z**2


def flat(z):
    return 1 - z


def stacked_backward(
    p, start=1, axis=1, cut=slice(0, 3), cut1=slice(0, 3), slopes=(slope, slope), sign=-1
):
    steps, h1, h2 = [], start * p["h1"], start * p["h2"]
    for t in range(len(p["which"])):
        h1, one = cell_forward(p["words"][p["which"][t]], h1, p["w1"], p["b1"])
        h2, two = cell_forward(h1, h2, p["w2"], p["b2"])
        steps.append((one, two, h2))
    d = {name: np.zeros_like(p[name]) for name in p if name not in ("which", "hot")}
    dh1, dh2 = np.zeros_like(h1), np.zeros_like(h2)
    for t in reversed(range(len(steps))):
        one, two, h2 = steps[t]
        raw = h2 @ p["v"]
        e = np.exp(raw - raw.max(axis=1, keepdims=True))
        dlog = -p["hot"][t]
        dscores = dlog + e / e.sum(axis=1, keepdims=True) * sign * dlog.sum(axis=1, keepdims=True)
        draw = dscores.copy()  # and through the maximum, line by line
        draw[np.arange(len(raw)), raw.argmax(axis=1)] -= dscores.sum(axis=1)
        d["v"] += h2.T @ draw
        both, da = cell_backward(dh2 + draw @ p["v"].T, two, axis, slopes[1])
        d["w2"] += both.T @ da
        d["b2"] += da.sum(axis=0)
        dboth = da @ p["w2"].T
        carry, dh2 = dh1, dboth[:, cut]
        both, da = cell_backward(dboth[:, 3:] + carry, one, 1, slopes[0])
        d["w1"] += both.T @ da
        d["b1"] += da.sum(axis=0)
        dboth = da @ p["w1"].T
        dh1 = dboth[:, cut1]
        np.add.at(d["words"], p["which"][t], dboth[:, 3:])
    return d | {"h1": dh1, "h2": dh2}


def cell_forward(x, h, w, b):
    both = np.concatenate([h, x], axis=1)
    z = np.tanh(both @ w + b)
    s = np.sqrt(np.mean(z**2, axis=1, keepdims=True) + 0.1)
    return z / s, (both, z, s)


def cell_backward(d, kept, axis, slope):
    both, z, s = kept
    dz = (d - z / s * np.mean(d * z / s, axis=axis, keepdims=True)) / s
    return both, dz * slope(z)


@pytest.mark.parametrize(
    ("wrong", "kind", "statement", "said"),
    [
        ({"start": 0}, "wrong value", "both =", "`both` is not"),
        ({"axis": 0}, "", "both, da = cell_backward(dh2", "`axis` is 0; it should be 1"),
        ({"cut": slice(-3, None)}, "wrong value", "carry, dh2 = dh1, dboth[:, cut]",
         "it should be what `both` sends to"),
        ({"slopes": (flat, slope)}, "wrong derivative", "return 1 - z", 'in `cell(p["words"]'),
        ({"slopes": (flat, flat)}, "", "return 1 - z", "`1 - z`"),
        ({"cut": slice(-3, None), "cut1": slice(-3, None)}, "wrong value",
         "dh1 = dboth[:, cut1]", "`dh1` is not"),
        ({"sign": 1}, "sign", "dscores = dlog + e", "is -1 times what"),
    ],
)  # fmt: skip
def test_layers_from_one_function_and_a_softmax_line_by_line(wrong, kind, statement, said):
    rng = np.random.default_rng(2)
    sizes = {"words": (5, 2), "w1": (5, 3), "w2": (6, 3), "b1": (3,), "b2": (3,), "v": (3, 4)}
    inputs = {
        name: rng.normal(size=size) for name, size in (sizes | {"h1": (2, 3), "h2": (2, 3)}).items()
    }
    inputs |= {
        "which": rng.integers(0, 5, (4, 2)),
        "hot": np.eye(4, dtype=int)[rng.integers(0, 4, (4, 2))],
    }
    assert compare_backward(stacked, stacked_backward, inputs).ok
    found = compare_backward(stacked, lambda p: stacked_backward(p, **wrong), inputs).explain()
    named = [e for e in found if e.statement.startswith(statement)]
    assert named, found
    assert named[0] is found[0] or len(wrong) > 1  # two mistakes in calls of one function
    assert named[0].kind == kind or not kind  # a search finds it, if there is time
    assert said in named[0].sentence


def right_to_left(p):
    """Run from right to left, from one state for all rows, with a softmax over the steps."""
    h, states = p["h"] + np.zeros((2, 1)), []
    for x in [p["x"][t] for t in range(5)][::-1]:
        h = np.tanh(x + h @ p["w"])
        states.append(h)
    e = np.exp(np.stack(states))
    share = e / np.sum(e, axis=0)
    return np.sum(share * p["r"][::-1])


def right_to_left_backward(p, back=True, roll=0, put=True, full=True, first=0):
    hs = [p["h"] + np.zeros((2, 1))]
    for t in range(5):
        hs.append(np.tanh(p["x"][4 - t] + hs[-1] @ p["w"]))
    e = np.exp(hs[1:])
    share = e / e.sum(axis=0)
    dshare = p["r"][::-1]
    ds = share * (dshare - (share * dshare).sum(axis=0)) if full else share * (1 - share) * dshare
    dw, dx, carry = 0, [], 0
    for t in reversed(range(first, 5)):
        da = (ds[t] + carry) * (1 - hs[t + 1] ** 2)
        dw = dw + hs[t].T @ da
        dx.append(da)
        carry = da @ p["w"].T
    dx = np.roll(dx + [np.zeros_like(da)] * first, roll, 0)
    d = {"w": dw, "x": dx if back else dx[::-1], "r": share[::-1] if put else share}
    return d | {"h": carry.sum(axis=0)}


@pytest.mark.parametrize(
    ("wrong", "kind", "statement", "said"),
    [
        ({"back": False}, "swapped operand", "d = {", "With that in its place `x` is right"),
        ({"roll": 1}, "wrong value", "dx = np.roll", "`roll` is 1; it should be 0."),
        ({"put": False}, "permuted", "d = {", "is reversed along axis 0"),
        ({"full": False}, "wrong value", "ds = share", "it should be the gradient of"),
        ({"first": 1}, "missing term", "for t in", "gone through 4 times; it should be"),
    ],
)
def test_a_pass_from_right_to_left(wrong, kind, statement, said):
    rng = np.random.default_rng(0)
    sizes = {"h": (3,), "w": (3, 3), "x": (5, 2, 3), "r": (5, 2, 3)}
    inputs = {name: 0.5 * rng.normal(size=size) for name, size in sizes.items()}
    assert compare_backward(right_to_left, right_to_left_backward, inputs).ok
    report = compare_backward(right_to_left, lambda p: right_to_left_backward(p, **wrong), inputs)
    best = report.explain()[0]
    assert best.kind == kind
    assert best.statement.startswith(statement)
    assert said in best.sentence


# ---- the altered walk ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lstm", "layer_norm", "conv1d"])
def test_the_walk_of_changes_equals_a_whole_backward_pass(name):
    """Walking only what changes, several at once, gives what the edited pass gives."""
    inputs = page(name).draw(np.random.default_rng(0))
    leaves = {k: mg.tensor(v, requires_grad=True, name=k) for k, v in inputs.items()}
    loss = page(name).forward(leaves)
    walk = Backward(loss)
    changes = Changes(walk, [walk.number[t] for t in leaves.values()])
    rng = np.random.default_rng(1)
    edges = sorted(walk.contributions)
    chosen = [
        {edges[i]: rng.uniform(-2, 2) for i in rng.integers(0, len(edges), 3)} for _ in range(40)
    ]
    edits = [{e: lambda e, c, now, f=f: c * f for e, f in some.items()} for some in chosen]
    delta, failed = changes(edits)
    assert not failed
    for i, factors in enumerate(chosen):
        whole = {walk.end: walk.cots[walk.end]}
        for k in range(walk.end, -1, -1):
            for j, c in (walk.pulled(k, whole[k]) if k in whole else {}).items():
                s = walk.edges[k][j]
                whole[s] = whole.get(s, 0) + c * factors.get((k, j), 1)
        for t in leaves.values():
            k = walk.number[t]
            change = (delta[k][i] if k in delta else 0.0) + walk.cots[k]
            np.testing.assert_allclose(change, whole[k], rtol=1e-9, atol=1e-12)


# ---- the chain rule, written out -----------------------------------------------------------------


def scalar(value, name):
    return mg.tensor(np.array(value), requires_grad=True, name=name)


def test_the_paths_add_up_to_the_gradient():
    w, x = scalar(0.5, "w"), scalar(2.0, "x")
    loss = mg.sin(w * x) * w + w / x
    derived = mg.chain_rule(loss, w)
    loss.backward()
    assert sum(product for _, product in derived.paths) == pytest.approx(w.grad, rel=1e-14)
    assert len(derived.paths) == 3
    assert str(derived).splitlines()[-1].startswith("dloss/dw = ")
    assert derived.latex.count(r"\frac{\partial \mathrm{loss}}{\partial w}") == 1
    assert derived.latex.startswith(r"\begin{align*}")


def test_a_derivation_that_nobody_would_read_is_refused():
    w = scalar(0.5, "w")
    y = w
    for _ in range(6):
        y = y * y
    with pytest.raises(ValueError, match="more than 32 paths"):
        mg.chain_rule(y, w)
    big = mg.tensor(np.ones(50), requires_grad=True)
    with pytest.raises(ValueError, match="50 elements"):
        mg.chain_rule((big * big).sum(), big)
    with pytest.raises(ValueError, match="does not depend"):
        mg.chain_rule(w * w, scalar(1.0, "v"))
    with pytest.raises(ValueError, match="no graph"):
        mg.chain_rule(mg.tensor(1.0), w)
