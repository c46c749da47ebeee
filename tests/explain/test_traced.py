"""The wrong statement of the user's backward code."""

import linecache

import numpy as np
import pytest

import minigrad as mg
from minigrad.explain.traced import Traced
from tests.mistakes import attention, batch_norm, gru, lstm, mlp, rnn


def traced(forward, backward, p):
    report = mg.compare_backward(forward, backward, p)
    wrong = [row.name for row in report.rows if not row.ok]
    return Traced(report.case, report.case.rerun, wrong)


def planted(page, edit):
    mistake = next(m for m in page.MISTAKES if m.edit == edit)
    p = page.draw(np.random.default_rng(0), kind="square" if mistake.square else "usual")
    return traced(page.forward, mistake.planted(page.backward), p)


@pytest.mark.parametrize(
    ("page", "edit", "statement", "words"),
    [
        # a formula, an operand of another step, a name for what is something else
        (lstm, "do = dh * u -> do = dh * cs[t + 1]", "do = dh * cs[t + 1]", "the gradient of `o`"),
        (lstm, "dWh += hs[t].T @ da -> dWh += hs[t + 1].T @ da", "dWh += hs[t + 1].T @ da", "`h`"),
        (lstm, "dc_next = dc * f -> dc_next = dc", "dc_next = dc", "what `f * c` sends to `c`"),
        (lstm, "do = dh * u -> do = dh", "do = dh", "the gradient of `o`"),
        # what is written over
        (lstm, "do = dh * u -> do = dh; do *= u", "do *= u", "in one of its own"),
        (batch_norm, "hat = centred * inv -> hat = centred; hat *= inv", "hat *= inv", "in one of"),
        # a factor that everything after it has, a sum in which errors cancel
        (mlp, "2 * e / e.size -> 2 * e", "dout = 2 * e", ""),
        (
            batch_norm, "dmean = -dcentred.sum(axis=0) -> dmean = -dcentred.sum()",
            "dmean = -dcentred.sum()", "the gradient of `mean`",
        ),
        # several in a tuple, several under each other's names
        (
            gru, '("n", dan, dq) -> ("n", dan, dan)',
            'for k, da, du in (("r", dar, dar), ("z", daz, daz), ("n", dan, dan))',
            "the gradient of `q`",
        ),
        (attention, '{"Q": dQ, "K": dK -> {"Q": dK, "K": dQ', 'return {"Q": dK, "K": dQ', ""),
    ],
)  # fmt: skip
def test_the_wrong_statement_and_what_it_should_give(page, edit, statement, words):
    found = planted(page, edit)
    best = found.findings[0]
    assert best.statement.startswith(statement)
    assert best.words.startswith(words)
    assert statement in linecache.getline(best.file, best.line)
    if words:
        assert best.repaired == best.results
        assert best.wanted.size


def test_a_loop_that_stops_early():
    best = planted(lstm, "reversed(range(T)) -> reversed(range(1, T))").findings[0]
    assert (best.statement, best.times) == ("for t in reversed(range(1, T))", (4, 5))


def test_two_mistakes_come_out_as_two():
    source = "dWx += x[t].T @ da", "dx[t] = da @ Wx.T"
    mistakes = [m for m in lstm.MISTAKES if m.find in source and not m.square]
    both = type(mistakes[0])(
        source[0], "dWx += 2 * x[t].T @ da", ("factor",), ("",)
    ).planted(lstm.backward)  # fmt: skip
    wrong = lambda p: both(p) | {"c0": 3 * both(p)["c0"]}
    found = traced(lstm.forward, wrong, lstm.draw(np.random.default_rng(0)))
    statements = [f.statement for f in found.findings[:2]]
    assert any("dWx" in s for s in statements)
    assert any('"c0"' in s for s in statements)


@pytest.mark.parametrize("page", [mlp, rnn, lstm])
def test_right_passes_are_annotated_and_not_accused(page):
    found = traced(page.forward, page.backward, page.draw(np.random.default_rng(0)))
    assert (found.findings, found.reason) == ([], "")
    assert found.annotations
    assert not any(a.status == "part" and "return" in a.statement for a in found.annotations)


def test_annotations_say_what_a_statement_gives_and_how_often():
    found = traced(lstm.forward, lstm.backward, lstm.draw(np.random.default_rng(0)))
    lines = {a.statement: a for a in found.annotations}
    assert lines["dh = de + dh_next"].gives == "dh: the gradient of `h` at step 0"
    assert lines["dh = de + dh_next"].times == 5
    assert lines["dh = de + dh_next"].status == "right"


def forward(p):
    return np.sum(np.tanh(p["x"] @ p["w"]))


def good(p):
    y = np.tanh(p["x"] @ p["w"])
    dz = 1 - y**2
    return {"x": dz @ p["w"].T, "w": p["x"].T @ dz}


rng = np.random.default_rng(0)
inputs = {"x": rng.normal(size=(4, 3)), "w": rng.normal(size=(3, 2))}


def test_code_without_source_is_said():
    scope = {"np": np}
    exec(
        "def backward(p):\n"
        "    y = np.tanh(p['x'] @ p['w'])\n"
        "    return {'x': (1 - y) @ p['w'].T, 'w': p['x'].T @ (1 - y)}\n",
        scope,
    )
    found = traced(forward, scope["backward"], inputs)
    assert found.findings == []
    assert "the source of `backward`" in found.reason


def test_a_backward_pass_that_is_not_deterministic_is_said():
    noise = np.random.default_rng(1)

    def backward(p):
        return {name: g + noise.normal() for name, g in good(p).items()}

    found = traced(forward, backward, inputs)
    assert found.findings == []
    assert "other numbers when it runs again" in found.reason


def test_what_the_users_code_raises_comes_not_out():
    calls = []

    def backward(p):
        calls.append(0)
        if len(calls) > 1:
            raise KeyError("state")
        return {name: 2 * g for name, g in good(p).items()}

    found = traced(forward, backward, inputs)
    assert (found.findings, found.reason) == ([], "KeyError: 'state'")


# ---- the statement to change, where others would do ----------------------------------------------


def first(forward, backward, p):
    return traced(forward, backward, p).findings[0].statement


def test_a_result_that_is_replaced_proves_nothing():
    p = {"x": rng.uniform(1, 2, size=(4, 3)), "w": rng.normal(size=(4, 3))}

    def share(p):
        return np.sum(p["w"] * p["x"] / p["x"].sum(axis=1, keepdims=True))

    def backward(p):
        s = p["x"].sum(axis=1, keepdims=True)
        mean = np.sum(p["w"] * p["x"]) / s**2
        dx = p["w"] / s - mean
        return {"x": dx.copy(), "w": p["x"] / s}

    assert first(share, backward, p).startswith("mean = ")


def sigmoid(x, slope=False):
    if slope:
        return x * (1 - x)
    return 1 / (1 + np.exp(-x))


def test_a_function_that_the_forward_pass_runs_is_right():
    def forward(p):
        return np.sum(sigmoid(p["x"] @ p["w"]) ** 2)

    def backward(p):
        s = sigmoid(p["x"] @ p["w"])
        ds = 2 * s
        dz = ds * sigmoid(s)
        return {"x": dz @ p["w"].T, "w": p["x"].T @ dz}

    assert first(forward, backward, inputs).startswith("dz = ")


def slope_of_huber(e):
    side = (e > 1).astype(float)
    return (abs(e) <= 1) * e + side * np.sign(e)


def test_a_function_of_the_backward_pass_is_wrong_itself():
    def forward(p):
        e = p["x"] @ p["w"]
        far = abs(e) > 1
        return np.mean((1 - far) * e**2 / 2 + far * (abs(e) - 0.5))

    def backward(p):
        e = p["x"] @ p["w"]
        de = slope_of_huber(e) / e.size
        return {"x": de @ p["w"].T, "w": p["x"].T @ de}

    assert first(forward, backward, inputs).startswith("side = ")


def test_a_gradient_under_another_name_is_named_where_it_gets_it():
    def forward(p):
        return sum([np.sum(np.tanh(p["a"] * x + p["b"]) ** 2) for x in p["x"]])

    def backward(p):
        grads = {name: np.zeros_like(v) for name, v in p.items()}
        for t, x in enumerate(p["x"]):
            y = np.tanh(p["a"] * x + p["b"])
            dz = 2 * y * (1 - y**2)
            grads["x"][t] = dz * p["a"]
            grads["a"] += dz * x
            grads["b"] += dz * x
        return grads

    p = {"x": rng.normal(size=(4, 3)), "a": rng.normal(size=3), "b": rng.normal(size=3)}
    assert first(forward, backward, p) == 'grads["b"] += dz * x'


def test_a_factor_that_is_divided_by_later_is_no_mistake():
    def forward(p):
        h = np.maximum(0, p["x"] @ p["w"])
        return np.sum((h @ p["v"]) ** 2) / 2 / len(h)

    def backward(p):
        h = np.maximum(0, p["x"] @ p["w"])
        dh = (h @ p["v"]) @ p["v"].T
        dh = np.maximum(0, dh)
        dv = h.T @ (h @ p["v"]) / len(h)
        return {"w": p["x"].T @ dh / len(h), "v": dv, "x": dh @ p["w"].T / len(h)}

    draw = np.random.default_rng(3).normal
    p = {"x": draw(size=(9, 3)), "w": draw(size=(3, 4)), "v": draw(size=(4, 5))}
    assert first(forward, backward, p) == "dh = np.maximum(0, dh)"


def test_weights_that_have_been_stepped_too_early():
    def forward(p):
        return np.mean((np.tanh(p["x"] @ p["w"]) @ p["v"]) ** 2)

    def backward(p):
        w, v = p["w"].copy(), p["v"].copy()
        h = np.tanh(p["x"] @ w)
        g = 2 * (h @ v) / len(h) / v.shape[1]
        dv = h.T @ g
        v -= 0.1 * dv
        g = g @ v.T * (1 - h**2)
        return {"w": p["x"].T @ g, "v": dv, "x": g @ w.T}

    p = {**inputs, "v": rng.normal(size=(2, 5))}
    assert first(forward, backward, p) == "v -= 0.1 * dv"


def test_a_step_too_many_is_named_where_its_values_are_right_at_other_steps():
    def forward(p):
        some = [np.sum(np.tanh(p["w"] * a) ** 2) for a in p["s"][1:]]
        return sum(some) + np.sum(np.sin(p["s"][0]))

    def backward(p):
        w, s = p["w"], p["s"]
        ds, dw = np.zeros_like(s), np.zeros_like(w)
        ds[0] = np.cos(s[0])
        for t in range(len(s)):
            twice = 2 * w * s[t]
            th = 2 / (1 + np.exp(-twice)) - 1
            dw += 2 * th * (1 - th**2) * s[t]
            if t > 0:
                ds[t] = np.sum(2 * th * (1 - th**2) * w)
        return {"w": dw, "s": ds}

    p = {"w": rng.normal(size=3), "s": rng.normal(size=4)}
    assert first(forward, backward, p).startswith("th = ")


def test_a_loop_that_ends_before_the_first_layer():
    def forward(p):
        h = xs
        for w in (p["w1"], p["w2"], p["w3"]):
            h = np.tanh(h @ w)
        return np.sum(h**2)

    def backward(p):
        hs = [xs]
        for k in (1, 2, 3):
            hs.append(np.tanh(hs[-1] @ p[f"w{k}"]))
        grads = {name: np.zeros_like(w) for name, w in p.items()}
        dh = 2 * hs[-1]
        for k in range(3, 1, -1):
            dz = dh * (1 - hs[k] ** 2)
            grads[f"w{k}"] = hs[k - 1].T @ dz
            dh = dz @ p[f"w{k}"].T
        return grads

    xs = rng.normal(size=(4, 3))
    p = {f"w{k}": rng.normal(size=(3 + k, 4 + k)) for k in range(1, 4)}
    best = traced(forward, backward, p | {"w1": rng.normal(size=(3, 5))}).findings[0]
    assert (best.statement, best.times) == ("for k in range(3, 1, -1)", (2, 3))


def test_a_loop_that_does_not_come_to_the_last_row():
    def forward(p):
        return np.sum(np.tanh(p["x"]) ** 2)

    def backward(p):
        dx = np.zeros_like(p["x"])
        for t in range(len(dx) - 1):
            y = np.tanh(p["x"][t])
            dx[t] = 2 * y * (1 - y**2)
        return {"x": dx}

    best = traced(forward, backward, {"x": rng.normal(size=(4, 3))}).findings[0]
    assert (best.statement, best.times) == ("for t in range(len(dx) - 1)", (3, 4))


def test_a_result_that_is_turned_is_named_where_it_is_computed():
    def backward(p):
        y = np.tanh(p["x"] @ p["w"])
        dz, dw = 1 - y**2, np.zeros(p["w"].shape[::-1])
        dw += dz.T @ p["x"]
        return {"x": dz @ p["w"].T, "w": dw}

    assert first(forward, backward, inputs) == 'dw += dz.T @ p["x"]'


def test_an_alias_of_what_is_wrong_is_not_blamed():
    def backward(p):
        y = np.tanh(p["x"] @ p["w"])
        dz, dx = 1 - y**2, np.zeros_like(p["x"])
        for n in range(len(dx)):
            dx[n] = p["w"] @ dz[n] - 0.1 * p["w"] @ y[n]
        found = dx
        return {"x": found, "w": p["x"].T @ dz}

    assert first(forward, backward, inputs).startswith("dx[n] = ")


def test_two_steps_to_a_derivative_of_which_the_first_is_wrong():
    def backward(p):
        y = np.tanh(p["x"] @ p["w"])
        flat = 1 - abs(y)
        dz = flat * (1 + y)
        return {"x": dz @ p["w"].T, "w": p["x"].T @ dz}

    assert first(forward, backward, inputs) == "flat = 1 - abs(y)"


def test_a_derivative_where_a_gradient_belongs():
    def forward(p):
        return np.mean((np.tanh(p["x"] @ p["w"]) - want) ** 2)

    def backward(p):
        h = np.tanh(p["x"] @ p["w"])
        dh = 2 * (h - want)
        dz = dh * (1 - h**2)
        return {"x": dz @ p["w"].T, "w": p["x"].T @ dz}

    want = rng.normal(size=(4, 2))
    assert first(forward, backward, inputs) == "dh = 2 * (h - want)"


def overlapping(p):
    total = 0.0
    for i in range(4):
        total = total + np.sum(np.tanh(p["x"][i : i + 3] * p["w"]))
    return total


def written_over(p):
    dx, dw = np.zeros_like(p["x"]), np.zeros_like(p["w"])
    for i in range(4):
        d = 1 - np.tanh(p["x"][i : i + 3] * p["w"]) ** 2
        dw += d * p["x"][i : i + 3]
        dx[i : i + 3] = d * p["w"]
    return {"x": dx, "w": dw}


def test_what_is_written_over_what_should_be_added_to():
    rng = np.random.default_rng(0)
    inputs = {"x": rng.normal(size=6), "w": rng.normal(size=3)}
    best = mg.compare_backward(overlapping, written_over, inputs).explain()[0]
    assert best.statement == 'dx[i : i + 3] = d * p["w"]'
    assert best.kind == "not accumulated"
    assert "= where += belongs" in best.sentence
