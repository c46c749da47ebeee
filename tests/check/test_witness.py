"""Verdicts on backward passes rest on the user's own forward pass, not on the tape alone."""

import math
import statistics

import numpy as np
import pytest

import minigrad as mg
from minigrad import compare, compare_backward
from minigrad.explain.backward import Backward
from minigrad.explain.case import Case

W = np.array([[0.3, -1.2], [0.7, 0.4], [-0.5, 1.1]])
X = np.array([[1.0, 0.5, -0.3], [0.2, -0.7, 0.9], [-1.1, 0.4, 0.6], [0.8, 0.1, -0.2]])
V = np.array([0.4, -1.5, 2.0])


def verdicts(report):
    return {row.name: row.verdict for row in report.rows}


def told(report):
    return "\n".join(report.remarks)


# ---- forward passes that cannot be recorded, or not wholly ---------------------------------------


def in_a_buffer(p):
    rows = np.empty(4)
    for k in range(4):
        rows[k] = np.sum(np.tanh(p["x"][k] @ p["w"]))
    return rows.mean() + 0.1 * np.sum(p["w"] ** 2)


def in_a_buffer_backward(p):
    d = (1 - np.tanh(p["x"] @ p["w"]) ** 2) / 4
    return {"x": d @ p["w"].T, "w": p["x"].T @ d + 0.2 * p["w"]}


def with_array_dot(p):
    return sum(np.sum(row.dot(p["w"]) ** 2) for row in X) + np.sum(p["w"])


def of_a_list(p):
    return np.mean([np.sum(p["v"] ** 2), np.sum(p["v"])]) + np.sum(p["v"] ** 3)


def through_math(p):
    return np.sum(p["v"]) * math.exp(p["v"][0])


def kept(t):
    """The numbers of an array, or of a tensor: a path that no tape sees."""
    with mg.no_grad():
        return t * 1.0


def through_data(p):
    return np.sum(kept(p["v"]) * p["v"] ** 2)


def through_bytes(p):
    return np.sum(np.frombuffer(p["v"].tobytes(), p["v"].dtype) * p["v"])


def through_a_library(p):
    return np.sum(p["v"] ** 2) * statistics.fmean(p["v"])


def through_item(p):
    first = p["v"][0]
    first = first.item() if isinstance(first, mg.Tensor) else first
    return np.sum(p["v"]) * first


def without_recording(p):
    with mg.no_grad():
        scale = np.sum(p["v"] ** 2)
    return np.sum(p["v"]) * scale


def with_a_constant(p):
    """Written for Tensors: arrays have no detach."""
    return mg.tensor(0.0) + np.sum(mg.tanh(p["v"]).detach() * p["v"])


def first(v):
    return np.arange(3) == 0


FOLLOWED = {
    "buffer": (in_a_buffer, in_a_buffer_backward, {"x": X, "w": W}),
    "array.dot": (with_array_dot, lambda p: {"w": 2 * X.T @ (X @ p["w"]) + 1}, {"w": W}),
    "list": (of_a_list, lambda p: {"v": p["v"] + 0.5 + 3 * p["v"] ** 2}, {"v": V}),
    "math": (
        through_math,
        lambda p: {"v": np.exp(p["v"][0]) * (1 + np.sum(p["v"]) * first(p["v"]))}, {"v": V},
    ),
    ".item()": (
        through_item, lambda p: {"v": p["v"][0] + np.sum(p["v"]) * first(p["v"])}, {"v": V}
    ),
}  # fmt: skip
"""What plain Tensors cannot do, or lose, and code with hooks in it follows."""


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", FOLLOWED)
def test_numpy_code_is_recorded_as_it_stands(name, dtype):
    forward, backward, inputs = FOLLOWED[name]
    inputs = {k: x.astype(dtype) for k, x in inputs.items()}
    report = compare_backward(forward, backward, inputs)
    assert (report.ok, report.remarks) == (True, ())
    assert report.case is not None
    report = compare_backward(forward, lambda p: {k: 2 * g for k, g in backward(p).items()}, inputs)
    assert not any(row.ok for row in report.rows)
    assert report.case is not None
    assert report.explain()


LOSING = {
    "bytes": (
        through_bytes, lambda p: {"v": 2 * p["v"]}, {"v": V}, "np.frombuffer(p"
    ),
    "library": (
        through_a_library,
        lambda p: {"v": 2 * p["v"] * statistics.fmean(p["v"]) + np.sum(p["v"] ** 2) / 3},
        {"v": V}, "statistics.fmean(p",
    ),
    "no_grad": (
        without_recording, lambda p: {"v": np.sum(p["v"] ** 2) + 2 * p["v"] * np.sum(p["v"])},
        {"v": V}, "mg.no_grad() in ",
    ),
    ".detach()": (
        with_a_constant, lambda p: {"v": np.tanh(p["v"]) + p["v"] / np.cosh(p["v"]) ** 2},
        {"v": V}, ".detach() in ",
    ),
    "helper": (through_data, lambda p: {"v": 3 * p["v"] ** 2}, {"v": V}, "mg.no_grad() in "),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", LOSING)
def test_a_right_backward_is_right_whatever_the_tape_lost(name, dtype):
    forward, backward, inputs, line = LOSING[name]
    report = compare_backward(forward, backward, {k: x.astype(dtype) for k, x in inputs.items()})
    assert report.ok, report
    assert line in told(report)
    assert "test_witness.py" in told(report)
    assert "central differences" in str(report)
    assert report.remarks[0].splitlines()[0] in report._repr_html_().replace("&#x27;", "'")


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", LOSING)
def test_a_wrong_backward_is_wrong_whatever_the_tape_lost(name, dtype):
    forward, backward, inputs, _ = LOSING[name]
    inputs = {k: x.astype(dtype) for k, x in inputs.items()}
    right = {k: g.astype(dtype) for k, g in backward(inputs).items()}
    for which, g in right.items():
        last = np.arange(g.size).reshape(g.shape) == g.size - 1
        for spoilt in (g * 1.01, -g, 0 * g, np.where(last, 2 * g, g)):
            report = compare_backward(forward, lambda p: right | {which: spoilt}, inputs)  # noqa: B023
            assert not report.ok
            row = next(row for row in report.rows if row.name == which)
            assert "manual is wrong" in row.note
            assert row.automatic == pytest.approx(g[row.worst_at], rel=1e-5)
            assert row.manual == pytest.approx(spoilt[row.worst_at], rel=1e-5)
        assert row.worst_at == tuple([n - 1 for n in g.shape])  # the last change was of one element


def test_who_agrees_with_an_incomplete_tape_is_wrong():
    inputs = {"v": V}
    tape = mg.grad(lambda v: through_item({"v": v}))(V)
    report = compare_backward(through_item, lambda p: {"v": tape}, inputs)
    assert verdicts(report) == {"v": "differs"}
    assert report.worst.worst_at == (0,)


def test_only_the_inputs_that_lost_a_path_are_held_against_differences():
    def forward(p):
        return np.sum(p["u"] * 3) + through_data(p)

    def backward(p):
        return {"u": 3 * np.ones(2), "v": 3 * p["v"] ** 2}

    report = compare_backward(forward, backward, {"u": np.ones(2), "v": V})
    assert report.ok
    assert {row.name: row.note for row in report.rows} == {
        "u": "", "v": "against central differences",
    }  # fmt: skip
    assert "'v'" in told(report)
    assert "'u'" not in told(report)


def test_mistakes_are_not_explained_from_an_incomplete_recording():
    report = compare_backward(through_a_library, lambda p: {"v": 0 * p["v"]}, {"v": V})
    with pytest.raises(ValueError, match=r"explain: this report knows no graph: (.|\n)*fmean"):
        report.explain()
    with pytest.raises(mg.testing.GradientMismatch, match="cannot be recorded"):
        report.raise_if_different()
    with pytest.raises(ValueError, match=r"'rows' is none of the inputs, which are 'v'"):
        compare_backward(through_a_library, lambda p: {"rows": np.ones(4)}, {"v": V})


def test_gradients_inside_of_an_incomplete_recording_are_not_judged():
    def forward(p):
        square = p["v"] ** 2
        return np.sum(square * kept(p["v"]))

    with pytest.raises(ValueError, match=r"'square' is none of .*nobody can tell"):
        compare_backward(forward, lambda p: {"square": p["v"]}, {"v": V})


# ---- recordings that cannot be walked ------------------------------------------------------------


def broken(*args, **kwargs):
    raise RuntimeError("out of order")


@pytest.mark.parametrize("part", ["__init__", "automatic", "noise", "name_nodes"])
def test_where_a_recording_cannot_be_walked_differences_are_the_judge(part, monkeypatch):
    monkeypatch.setattr(Case, part, broken)
    inputs = {"x": X, "w": W}
    assert compare_backward(in_a_buffer, in_a_buffer_backward, inputs).ok
    wrong = lambda p: {"x": in_a_buffer_backward(p)["x"], "w": 0.9 * in_a_buffer_backward(p)["w"]}
    report = compare_backward(in_a_buffer, wrong, inputs)
    assert verdicts(report) == {"x": "ok", "w": "differs"}
    assert "cannot be compared with: RuntimeError: out of order" in told(report)
    assert "held against central differences, and no mistake is explained" in told(report)
    assert "manual is wrong" in report.worst.note
    with pytest.raises(
        ValueError, match=r"explain: this report knows no graph: (.|\n)*RuntimeError"
    ):
        report.explain()


def test_where_differences_of_a_recording_cannot_be_had_a_lost_path_is_still_seen(monkeypatch):
    monkeypatch.setattr(Backward, "replay", broken)
    report = compare_backward(through_data, lambda p: {"v": 3 * p["v"] ** 2}, {"v": V})
    assert report.ok, report
    assert "mg.no_grad() in " in told(report)


def test_a_backward_pass_that_does_not_run_in_float64_is_explained_in_float32():
    def backward(p):
        if p["v"].dtype != np.float32:
            raise TypeError("only float32")
        return {"v": np.float32(3) * p["v"] ** 3}

    report = compare_backward(lambda p: np.sum(p["v"] ** 3), backward, {"v": V.astype(np.float32)})
    assert verdicts(report) == {"v": "differs"}
    assert "in float32" in told(report)
    assert "TypeError: only float32" in told(report)
    assert report.explain()


def test_a_forward_pass_that_checks_what_it_is_given():
    def forward(p):
        assert np.all(abs(p["chances"].sum(axis=1) - 1) < 1e-15), "no chances"
        return -np.sum(np.log(p["chances"]) * p["y"])

    p = {"chances": np.array([[0.2, 0.8], [0.5, 0.5]]), "y": np.eye(2)}
    right = {"chances": -p["y"] / p["chances"], "y": -np.log(p["chances"])}
    report = compare_backward(forward, lambda p: right, p)
    assert report.ok, report
    assert "by 'chances': the function raises or is not finite around it" in told(report)
    report = compare_backward(forward, lambda p: right | {"chances": p["chances"]}, p)
    assert verdicts(report) == {"chances": "differs", "y": "ok"}


# ---- whole recordings ----------------------------------------------------------------------------


def test_a_whole_recording_needs_no_remark_and_keeps_its_graph():
    def forward(p):
        scale = p["v"].max()
        if scale > 0:  # comparing takes nothing out of the graph
            scale = scale * np.sign(scale)
        return np.sum(np.where(p["v"] > 0, p["v"], 0.1 * p["v"])) * scale

    v = np.array([0.5, -1.0, 2.0])
    g = mg.grad(lambda v: forward({"v": v}))(v)
    report = compare_backward(forward, lambda p: {"v": g}, {"v": v})
    assert (report.ok, report.remarks) == (True, ())
    assert report.case is not None


def test_a_wrong_rule_of_ours_is_told_from_a_lost_path(monkeypatch):
    monkeypatch.setattr(mg.tanh, "pulls", [lambda g, z, x: g * (1 - z)])
    report = compare_backward(
        lambda p: np.sum(np.tanh(p["v"])), lambda p: {"v": 1 - np.tanh(p["v"]) ** 2}, {"v": V}
    )
    assert report.ok
    assert "MINIGRAD is wrong, please report it" in told(report)
    v = mg.tensor(V, requires_grad=True, name="v")
    report = compare({"v": 1 - np.tanh(V) ** 2}, np.tanh(v).sum())
    assert "MINIGRAD is wrong, please report it" in report.worst.note


def test_of_a_loss_alone_only_the_recording_is_known():
    v = mg.tensor(V, requires_grad=True, name="v")
    note = compare({"v": V}, (v * v).sum()).worst.note
    assert "central differences of the recording give" in note
    assert "manual is wrong" not in note


def test_both_sides_agree_where_differences_are_too_rough():
    def forward(p):
        return np.sum(np.sin(1e13 * p["v"]))

    assert compare_backward(forward, lambda p: {"v": 1e13 * np.cos(1e13 * p["v"])}, {"v": V}).ok


def test_numbers_of_python_are_rounded_as_in_float32():
    x = np.array([0.05, 0.1, 0.5], np.float32)

    def forward(p):
        return np.sum(np.maximum(p["x"], 0.1) ** 2)

    def backward(p):
        z = np.maximum(p["x"], 0.1)
        return {"x": 2 * z * np.array([0.0, 0.5, 1.0], np.float32)}

    report = compare_backward(forward, backward, {"x": x})
    assert (report.ok, report.remarks) == (True, ())


def test_an_input_that_the_loss_does_not_depend_on():
    def forward(p):
        return np.sum(p["v"] ** 2)

    inputs = {"v": V, "unused": W}
    assert compare_backward(forward, lambda p: {"v": 2 * p["v"], "unused": 0 * W}, inputs).ok
    report = compare_backward(forward, lambda p: {"v": 2 * p["v"], "unused": W}, inputs)
    assert verdicts(report) == {"v": "ok", "unused": "differs"}
    assert "manual is wrong" in report.worst.note
    assert "'unused' differs" in str(report.explain())


def test_an_input_is_meant_before_a_variable_of_the_same_name():
    def forward(p):
        v = p["v"] * 2
        v = np.tanh(v)
        return np.sum(v)

    assert compare_backward(forward, lambda p: {"v": 2 / np.cosh(2 * p["v"]) ** 2}, {"v": V}).ok


# ---- kinks and edges -----------------------------------------------------------------------------


def hinge(p):
    return np.sum(np.maximum(p["x"], 0) * p["r"])


@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0])
def test_at_a_kink_any_slope_between_left_and_right_is_right(slope):
    x, r = np.array([0.0, 1.0, -2.0, 0.0]), np.array([1.0, 2.0, 3.0, -4.0])

    def backward(p, factor=1.0):
        on = (p["x"] > 0) + slope * (p["x"] == 0)
        return {"x": factor * on * p["r"], "r": np.maximum(p["x"], 0)}

    report = compare_backward(hinge, backward, {"x": x, "r": r})
    assert report.ok, report
    report = compare_backward(hinge, lambda p: backward(p, 1.5), {"x": x, "r": r})
    assert verdicts(report) == {"x": "differs", "r": "ok"}
    assert "manual is wrong" in report.worst.note


def test_slopes_that_are_right_one_by_one_and_not_together():
    """Of three equal numbers, each may be the largest, but not all of them."""
    x = np.ones(3)

    def backward(share):
        return lambda p: {"x": 2 * np.array(share, float)}

    for share in ([1, 0, 0], [0, 0, 1], [0.5, 0.25, 0.25], [1 / 3] * 3):
        assert compare_backward(lambda p: np.max(p["x"]) ** 2, backward(share), {"x": x}).ok
    for share in ([1, 1, 1], [0, 0, 0], [1, 1, 0]):
        report = compare_backward(lambda p: np.max(p["x"]) ** 2, backward(share), {"x": x})
        assert "manual is wrong" in report.worst.note


def test_a_path_that_is_lost_beside_a_kink_is_seen():
    def forward(p):
        return np.sum(np.maximum(p["x"], 0) * 5) + np.sum(kept(p["x"]) * np.ones(4) * p["r"])

    x, r = np.array([0.0, 1.0, -2.0, 0.0]), np.array([1.0, 2.0, 3.0, -4.0])
    tape = {"x": 5 * (x > 0) + 2.5 * (x == 0), "r": x}
    report = compare_backward(forward, lambda p: tape, {"x": x, "r": r})
    assert verdicts(report)["x"] == "differs"
    right = {"x": tape["x"] + r, "r": x}
    assert compare_backward(forward, lambda p: right, {"x": x, "r": r}).ok


def test_where_there_are_no_differences_that_is_said():
    def forward(p):
        with np.errstate(invalid="ignore"):
            return np.sum(np.sqrt(p["x"]) * p["x"])

    def backward(p):
        return {"x": 1.5 * np.sqrt(p["x"])}

    x = np.array([0.0, 1.0, 4.0])
    with np.errstate(all="ignore"):
        report = compare_backward(forward, backward, {"x": x})
    assert not report.ok or "there are no central differences by 'x'" in told(report)
    report = compare_backward(forward, backward, {"x": x + 1})
    assert report.ok


# ---- what forward may do, and what not -----------------------------------------------------------


def test_a_forward_pass_of_chance_is_refused():
    rng = np.random.default_rng(0)

    def dropped(p, rng=rng):
        return np.sum(p["v"] * (rng.uniform(size=3) > 0.3))

    with pytest.raises(ValueError, match=r"compare_backward: forward gives .* run again.*seed"):
        compare_backward(dropped, lambda p: {"v": p["v"]}, {"v": V})
    seeded = compare_backward(
        lambda p: dropped(p, np.random.default_rng(0)),
        lambda p: {"v": 1.0 * (np.random.default_rng(0).uniform(size=3) > 0.3)},
        {"v": V},
    )
    assert seeded.ok


def test_a_forward_pass_may_change_its_inputs():
    def forward(p):
        p["v"] *= 2
        p["v"] -= p["v"].mean()
        return np.sum(p["v"] ** 2)

    v = V.copy()
    report = compare_backward(forward, lambda p: {"v": 8 * (p["v"] - p["v"].mean())}, {"v": v})
    assert report.ok
    np.testing.assert_array_equal(v, V)


def test_errors_of_forward_are_its_own():
    with pytest.raises(KeyError, match="absent"):
        compare_backward(lambda p: p["absent"], lambda p: {"v": V}, {"v": V})
    with pytest.raises(ZeroDivisionError):
        compare_backward(lambda p: 1 / 0, lambda p: {"v": V}, {"v": V})
    with pytest.raises(TypeError, match="real numbers, not complex128"):
        compare_backward(lambda p: np.sum(p["v"]) + 1j, lambda p: {"v": V}, {"v": V})
    with pytest.raises(ValueError, match=r"must give a scalar.*gives \(3,\), \(\), \(\)"):
        compare_backward(lambda p: (p["v"], 1.0, 2.0), lambda p: {"v": V}, {"v": V})


def test_no_profiler_of_the_users_is_disturbed():
    import sys

    seen = []

    def mine(frame, event, arg):
        seen.append(event)

    sys.setprofile(mine)
    try:
        report = compare_backward(without_recording, LOSING["no_grad"][1], {"v": V})
        assert sys.getprofile() is mine
    finally:
        sys.setprofile(None)
    assert report.ok
    assert "no line was seen" in told(report)
    assert seen
    compare_backward(without_recording, LOSING["no_grad"][1], {"v": V})
    assert sys.getprofile() is None


# ---- inputs --------------------------------------------------------------------------------------


def layers(p):
    y = p["x"]
    for w, b in zip(p["Ws"], p["b"]["s"], strict=True):
        y = np.tanh(y @ w + b)
    return np.sum(y)


def layers_backward(p):
    ys = [p["x"]]
    for w, b in zip(p["Ws"], p["b"]["s"], strict=True):
        ys.append(np.tanh(ys[-1] @ w + b))
    d, dw, db = np.ones_like(ys[-1]), [], []
    for w, x, y in zip(p["Ws"][::-1], ys[-2::-1], ys[::-1], strict=False):
        d = d * (1 - y * y)
        dw.insert(0, x.T @ d)
        db.insert(0, d.sum(axis=0))
        d = d @ w.T
    return {"x": d, "Ws": dw, "b": {"s": tuple(db)}}


def test_nested_inputs():
    inputs = {"x": X, "Ws": [W, W.T @ X.T], "b": {"s": (np.ones(2), [0.5, -0.5, 0.0, 1.0])}}
    report = compare_backward(layers, layers_backward, inputs)
    assert report.ok, report
    assert {row.name for row in report.rows} == {"x", "Ws[0]", "Ws[1]", "b.s[0]", "b.s[1]"}

    def wrong(p):
        d = layers_backward(p)
        return d | {"Ws": [d["Ws"][0], -d["Ws"][1]]}

    report = compare_backward(layers, wrong, inputs)
    assert [row.name for row in report.rows if not row.ok] == ["Ws[1]"]
    assert "`Ws[1]`" in str(report.explain())
    report = compare_backward(layers, lambda p: {"Ws": [W, None]}, inputs)
    assert report.not_compared == ("x", "Ws[1]", "b.s[0]", "b.s[1]")


class Remembering:
    """A forward pass that leaves on `self` what its backward pass needs."""

    def forward(self, p):
        self.y = np.tanh(p["x"] @ p["w"])
        return np.sum(self.y)

    def backward(self, p):
        self.gave = {"x": (1 - self.y) @ p["w"].T, "w": p["x"].T @ (1 - self.y**2)}
        return self.gave


def test_the_backward_pass_can_be_run_again():
    net = Remembering()
    inputs = {"x": X.astype(np.float32), "w": W.astype(np.float32)}
    case = compare_backward(net.forward, net.backward, inputs).case
    net.y = None
    again = case.rerun()
    assert all(again[name] is net.gave[name] for name in inputs)
    assert all(g.dtype == np.float64 for g in again.values())
    np.testing.assert_allclose(again["w"], X.T @ (1 - np.tanh(X @ W) ** 2), rtol=1e-6)
    np.testing.assert_array_equal(inputs["x"], X.astype(np.float32))
    v = mg.tensor(V, requires_grad=True, name="v")
    assert compare({"v": V}, (v * v).sum()).case.rerun is None


def test_what_is_no_dict_of_arrays_is_refused():
    with pytest.raises(TypeError, match=r"inputs is a dict of arrays by name.*not ndarray"):
        compare_backward(layers, layers_backward, X)
    with pytest.raises(ValueError, match=r"two inputs are named 'a\.b'"):
        compare_backward(layers, layers_backward, {"a.b": X, "a": {"b": X}})
    with pytest.raises(ValueError, match="'k' is an array of integers, which are constants"):
        compare_backward(
            lambda p: np.sum(p["v"][p["k"]]), lambda p: {"k": V}, {"v": V, "k": [0, 1]}
        )


# ---- custom_vjp ----------------------------------------------------------------------------------


def filled(x, w):
    out = np.zeros(2)
    for k in range(2):
        out[k] = np.sum(np.sin(x) * w[k])
    return out


def filled_backward(g, z, x, w):
    return np.cos(x) * (g @ w), np.outer(g, np.sin(x))


def test_custom_vjp_is_held_against_its_own_function():
    by_hand = mg.custom_vjp(filled, filled_backward)
    report = by_hand.check(V, W.T)
    assert report.ok, report
    assert report.case is not None
    spoilt = mg.custom_vjp(filled, lambda g, z, x, w: (np.cos(x) * (g @ w), 1.1 * np.outer(g, x)))
    report = spoilt.check(V, W.T)
    assert verdicts(report) == {"x": "ok", "w": "differs"}
    assert "manual is wrong" in report.worst.note

    def scaled(x):
        return np.tanh(x) * (x.sum().item() if isinstance(x, mg.Tensor) else x.sum())

    def scaled_backward(g, z, x):
        y = np.tanh(x)
        return g * (1 - y * y) * x.sum() + np.sum(g * y)

    report = mg.custom_vjp(scaled, scaled_backward).check(V)
    assert report.ok, report
    assert report.case is not None
    rng = np.random.default_rng(0)

    def noisy(x):
        return x * rng.normal()

    with pytest.raises(ValueError, match=r"noisy\.check: forward gives .* run again"):
        mg.custom_vjp(noisy, lambda g, z, x: g).check(V)


def test_custom_vjp_explains_mistakes():
    def layer(x, w):
        return np.tanh(x @ w)

    def backward(g, z, x, w):
        d = g * (1 - z)
        return d @ w.T, x.T @ d

    report = mg.custom_vjp(layer, backward).check(X, W)
    assert "is taken as `1 - " in str(report.explain())


# ---- one step is enough where it gives what is expected ------------------------------------------


@pytest.mark.parametrize("at", [0.0, 1e-8, 1e-6])
def test_one_step_does_not_hide_a_kink(at):
    """At or beside a kink, a gradient half way between both slopes is what one step gives."""
    x = np.array([at, 1.0])
    right = 0.5 if at == 0 else 1.0
    forward = lambda p: np.sum(np.maximum(p["x"], 0) * np.array([2.0, 3.0]))
    report = compare_backward(forward, lambda p: {"x": np.array([2 * right, 3.0])}, {"x": x})
    assert report.ok, report
    report = compare_backward(forward, lambda p: {"x": np.array([2.2, 3.0])}, {"x": x})
    assert not report.ok


def test_one_step_does_not_hide_float32_within():
    forward = lambda p: float(np.sum(np.sin(p["x"].astype(np.float32))))
    x = np.array([0.3, 1.1, -0.4])
    assert compare_backward(forward, lambda p: {"x": np.cos(p["x"])}, {"x": x}, rtol=1e-5).ok
    assert not compare_backward(forward, lambda p: {"x": 1.01 * np.cos(p["x"])}, {"x": x}).ok


def test_one_step_and_inputs_of_very_different_sizes():
    x = np.array([1e12, 1.0, 1e-9])
    forward = lambda p: np.sum(np.tanh(p["x"] * np.array([1e-12, 1.0, 1e9])))
    slopes = (1 - np.tanh(1.0) ** 2) * np.array([1e-12, 1.0, 1e9])
    assert compare_backward(forward, lambda p: {"x": slopes}, {"x": x}).ok
    assert not compare_backward(forward, lambda p: {"x": slopes * [1, 1, 1.01]}, {"x": x}).ok
