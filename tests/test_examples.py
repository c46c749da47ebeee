"""The examples run, and what they claim holds."""

import ast
import importlib.util
import json
import linecache
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def picture(tmp_path):
    """A file for a picture, which must then be there."""
    pytest.importorskip("matplotlib", reason="Matplotlib is not installed")
    path = tmp_path / "picture.png"
    yield path
    assert path.stat().st_size > 10_000


# --- article.py ----------------------------------------------------------------------------------


def test_article_gradients_agree_and_planted_mistakes_show(capsys):
    assert load("article").main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "all agree"
    assert sum("wrong, by" in line for line in lines) == 4
    said = [line for line in lines if line.strip().startswith("article.py:")]
    assert "let through only where `mg.stack(hs)` is positive, as behind a relu" in said[0]
    assert "The gradient of `h = o * mg.tanh(c)` is used" in said[1]
    assert "What `f * a` sends to `c` of the step before is missing" in said[2]
    assert 'What `p["W_ca"] @ a` sends to `c` of the step before is missing' in said[3]


def test_article_notices_a_wrong_gradient():
    article, rng = load("article"), np.random.default_rng(0)
    shapes = {"x": (3, 1), "W_aa": (2, 2), "W_ax": (2, 1), "b_a": (2,)}
    shapes |= {"W_za": (2, 2), "W_zx": (2, 1), "b_z": (2,)}
    p = {name: rng.standard_normal(shape) for name, shape in shapes.items()}

    def off(p):
        outputs, backward = article.gated_rnn_by_hand(p)
        return outputs, lambda r: {name: d * (1 + 1e-11) for name, d in backward(r).items()}

    assert article.check("right", article.gated_rnn, article.gated_rnn_by_hand, p)
    assert not article.check("off by 1e-11", article.gated_rnn, off, p)


# --- counting.py ---------------------------------------------------------------------------------


def test_an_lstm_learns_to_count(capsys):
    assert load("counting").main(["--steps", "200"]) == 0
    said = capsys.readouterr().out
    known = re.search(r"n = 1 \.\. 10, ([\d.]+)% are read without a mistake", said)
    assert float(known[1]) > 90
    assert len(re.findall(r"^[ab] +-?[\d.]+ #*$", said, re.MULTILINE)) == 16


# --- quickstart.py --------------------------------------------------------------------------------


def test_the_quickstart_trains_compares_and_draws(tmp_path, capsys):
    quickstart = load("quickstart")
    assert quickstart.main(["--epochs", "3", "--hidden", "4", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "all gradients agree: yes" in said
    assert "6 of 6 entries agree" in said
    assert "persistence by a factor" in said
    assert "cell distance" in said
    assert (tmp_path / "lstm.npz").exists()
    assert "step ×11" in (tmp_path / "lstm.dot").read_text(encoding="utf-8")
    assert "step \\u00d711" in (tmp_path / "lstm.html").read_text(encoding="utf-8")


def test_the_quickstart_names_a_line_that_is_not_data(tmp_path):
    quickstart, bad = load("quickstart"), tmp_path / "bad.csv"
    bad.write_text("YEAR,SUNACTIVITY\n1700,5\n1701,many\n")
    with pytest.raises(ValueError, match=r"bad\.csv, line 3.*many"):
        quickstart.load(bad)
    rows = [f"{1700 + k},{'nan' if k == 7 else k}\n" for k in range(30)]
    bad.write_text("YEAR,SUNACTIVITY\n" + "".join(rows))
    with pytest.raises(ValueError, match=r"not finite, the first at position 7"):
        quickstart.splits(*quickstart.load(bad))


# --- digits.py ------------------------------------------------------------------------------------


def test_digits_are_read_and_the_hard_ones_are_drawn(capsys):
    digits = load("digits")
    images, labels = digits.load()
    assert (images.shape, labels.shape, images.max()) == ((1797, 1, 8, 8), (1797,), 1)
    assert digits.main(["--epochs", "5"]) == 0
    said = capsys.readouterr().out
    wrong = {
        name: int(n) for name, n in re.findall(r"^  (.+?) +[\d.]+%, all but (\d+)$", said, re.M)
    }
    assert list(wrong) == ["nearest neighbour", "MLP", "LSTM", "convolutional net"]
    assert wrong["nearest neighbour"] == 8
    assert wrong["MLP"] < 40
    assert wrong["LSTM"] < 80
    assert wrong["convolutional net"] < 20
    assert said.count("   a ") == 5
    assert "10: Linear(in_features=128, out_features=10)  # 1,290" in said


# --- sunspots.py ----------------------------------------------------------------------------------


def test_sunspots_are_forecast_for_a_whole_cycle(capsys, picture):
    sunspots = load("sunspots")
    train, validation, test = sunspots.splits(*sunspots.load())
    for part, end in ((train, 1910), (validation, 1955)):
        assert part.years.max() + sunspots.AHEAD <= end
    assert validation.years.min() >= 1910
    assert test.years.min() == 1955
    short = ["--epochs", "3", "--nets", "1", "--hidden", "8", "--plot", str(picture)]
    assert sunspots.main(short) == 0
    said = capsys.readouterr().out
    errors = dict(re.findall(r"^  (.+?) {2,}.* ([\d.]+)$", said, re.M))
    assert len(errors) == 5
    assert errors["the cycle before again"] == "37.2"
    assert errors["autoregression, one scale"] == "35.7"
    assert errors["autoregression, own scales"] == "26.6"
    assert float(errors["LSTM, own scales"]) < 50


def test_a_window_scaled_by_itself_forgets_its_height():
    sunspots = load("sunspots")
    x = np.random.default_rng(0).random((3, 22)) * 5
    a, b = sunspots.Scale.of(x, 1), sunspots.Scale.of(7 * x + 3, 1)
    np.testing.assert_allclose(a.small(x), b.small(7 * x + 3), atol=1e-5)
    np.testing.assert_allclose(a.spots(a.small(x)), x**2, rtol=1e-4, atol=1e-5)


# --- text.py --------------------------------------------------------------------------------------


def test_counting_characters_is_witten_and_bells():
    text, test = np.array([0, 1, 0, 0, 1, 2, 0, 1, 0]), np.array([0, 2, 1])

    def p(letter, before):
        """p = (count + k p') / (n + k), straight from the definition."""
        shorter = p(letter, before[1:]) if len(before) else None
        n = len(before)
        after = [text[k] for k in range(n, len(text)) if (text[k - n : k] == before).all()]
        less = 1 / 3 if shorter is None else shorter
        if not after:
            return less
        kinds = len({*after})
        return (after.count(letter) + kinds * less) / (len(after) + kinds)

    both = np.concatenate([text, test])
    for context in (0, 1, 2, 3):
        chances = [p(both[k], both[max(0, k - context) : k]) for k in range(len(text), len(both))]
        bits = load("text").witten_bell(text, test, 3, context)
        assert bits == pytest.approx(-np.log2(chances).mean(), rel=1e-12)


def test_a_text_model_that_was_stopped_goes_on_bit_for_bit(capsys, tmp_path, monkeypatch, picture):
    short = ["--epochs", "2", "--hidden", "8", "--letters", "60000"]  # 31 chunks an epoch
    kept = ["--checkpoint", str(tmp_path / "kept")]

    def told():
        return re.sub(r"\d+ s$", "", capsys.readouterr().out, flags=re.M)

    text = load("text")
    monkeypatch.setattr(text, "KEPT_EVERY", 10)
    assert text.main(short) == 0
    unbroken = told()
    assert "LSTM" in unbroken
    calls, whole = [], text.Error.__call__

    def dies(self, chunk):
        calls.append(1)
        if len(calls) == 47:  # in the second epoch, 6 steps after a checkpoint
            raise RuntimeError("the power failed")
        return whole(self, chunk)

    with monkeypatch.context() as patched:
        patched.setattr(text.Error, "__call__", dies)
        with pytest.raises(RuntimeError, match="the power failed"):
            text.main(short + kept)
    assert text.main([*short, *kept, "--plot", str(picture)]) == 0
    assert told().replace(f"drawn: {picture}\n", "") == unbroken


# --- long_memory.py -------------------------------------------------------------------------------


def test_gradients_vanish_in_an_rnn_and_not_in_an_lstm(capsys, picture):
    memory = load("long_memory")
    x, y = memory.drawn(np.random.default_rng(0), 20, 50)
    assert (x[:10, :, 1].sum(axis=0) == 1).all()
    assert (x[10:, :, 1].sum(axis=0) == 1).all()
    np.testing.assert_allclose((x[..., 0] * x[..., 1]).sum(axis=0), y, rtol=1e-6)
    short = ["--length", "60", "--steps", "3", "--hidden", "16", "--plot", str(picture)]
    page = picture.with_suffix(".html")
    assert memory.main([*short, "--page", str(page)]) == 0
    said = capsys.readouterr().out
    assert f"written: {page}" in said
    assert '"training":{"name":"moment","steps":[0,1,2]' in page.read_text("utf-8")
    before = {kind: float(x) for kind, x in re.findall(r"^  (\w+) +[\d.]+ +(\S+) ", said, re.M)}
    assert list(before) == ["RNN", "GRU", "LSTM"]
    assert before["RNN"] < 1e-10
    assert before["LSTM"] > 1e-4


def test_an_lstm_adds_what_is_marked():
    memory = load("long_memory")
    rng = memory.mg.manual_seed(0)
    model = memory.Adder("LSTM", 16)
    model.remember(rng, 8)
    losses = memory.trained(model, rng, 8, 400)
    assert np.mean(losses[:20]) > 0.3
    assert np.mean(losses[-20:]) < 0.05


# --- names.py -------------------------------------------------------------------------------------


def test_names_are_read_and_class_weights_move_the_mistakes(capsys, picture):
    names = load("names")
    words, y = names.load()
    assert (len(words), len(y), int(y.sum())) == (5160, 5160, 1146)
    assert {len(word) for word in words} == {*range(2, 12)}
    short = ["--names", "1500", "--epochs", "3", "--hidden", "12", "--plot", str(picture)]
    assert names.main(short) == 0
    said = capsys.readouterr().out
    rows = {
        name: [float(x) for x in numbers.replace("%", "").split()]
        for name, numbers in re.findall(r"^  (\D+?) {2,}([\d.% ]+)$", said, re.M)
    }
    always, alike, weighted = rows.values()
    assert always[1:] == [50, 100, 0]
    assert weighted[1] > 60
    assert weighted[3] > alike[3]


def test_what_stands_beside_a_name_changes_nothing():
    names = load("names")
    model = names.Reader(6).eval()
    words = names.load()[0][:40]
    with names.mg.no_grad():
        together = model(*names.padded(words)).data
        alone = np.concatenate([model(*names.padded([word])).data for word in words])
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)


# --- ode.py ---------------------------------------------------------------------------------------


def test_the_parameters_of_an_equation_scatter_as_the_hessian_says(capsys, monkeypatch, picture):
    ode = load("ode")
    monkeypatch.setattr(ode, "STEPS", 24)
    assert ode.main(["--repeats", "40", "--plot", str(picture)]) == 0
    said = capsys.readouterr().out
    rows = re.findall(r"^  \S+ +[\d.]+ +[\d.]+ \+- [\d.]+ +(-?[\d.]+) .*= ([\d.]+) ", said, re.M)
    assert len(rows) == 6
    assert all(abs(float(off)) < 3.5 for off, _ in rows)
    assert all(0.6 < float(ratio) < 1.5 for _, ratio in rows)


def test_experiments_side_by_side_have_each_its_own_hessian(monkeypatch):
    ode = load("ode")
    monkeypatch.setattr(ode, "STEPS", 6)
    p = ode.TRUTH + 0.1 * np.random.default_rng(0).normal(size=(2, 6))
    data = ode.observed(ode.TRUTH)[:, None] + np.zeros((1, 2, 1))
    for k, H in enumerate(ode.hessians(data, p)):
        alone = ode.mg.hessian(lambda q, k=k: ode.squares(q, data[:, k]))(p[k])
        np.testing.assert_allclose(H, alone, rtol=1e-9, atol=1e-9)


# --- pictures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sunspots", "text", "long_memory", "names", "ode"])
def test_without_matplotlib_there_is_no_picture_and_this_is_said(name, capsys, monkeypatch):
    for module in ("matplotlib", "matplotlib.pyplot"):
        monkeypatch.setitem(sys.modules, module, None)
    plot = load(name).plot
    plot(*[None] * plot.__code__.co_argcount)
    assert "pip install 'minigrad[plot]'" in capsys.readouterr().out


# --- gallery.py -----------------------------------------------------------------------------------


def test_the_gallery_writes_every_graph(tmp_path, capsys):
    gallery = load("gallery")
    names = set(gallery.GRAPHS) - {"long"}  # which takes 8 s
    assert gallery.main([*names, "--out", str(tmp_path)]) == 0
    kinds = [".dot", ".html", ".txt"] + [".svg"] * bool(shutil.which("dot"))
    assert {p.name for p in tmp_path.iterdir()} == {n + k for n in names for k in kinds}
    assert f"{len(names)} graphs in " in capsys.readouterr().out
    lstm = (tmp_path / "lstm.dot").read_text(encoding="utf-8")
    assert lstm.count("step ×100") == 4
    assert lstm.count("label=<reverse>") == 2
    with pytest.raises(SystemExit):
        gallery.main(["nothing"])


def test_the_pictures_in_the_readme_are_current():
    """`make gallery` writes them anew. Colours and gradients may differ in their last digits."""
    gallery = load("gallery")

    def without_numbers(text):
        numbers = r'#[0-9a-f]{6}"|(\|g\||value|grad|gradient) [^<]*|>[≤≥ ]*[\d.e−]+<'
        return re.sub(numbers, "", text)

    readme = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
    for name in gallery.KEPT:
        kept = (gallery.PICTURES / f"{name}.dot").read_text(encoding="utf-8")
        drawn = gallery.mg.viz.draw(gallery.computed(name)).source
        assert without_numbers(kept) == without_numbers(drawn)
        assert f"examples/pictures/{name}.svg" in readme
        picture = (gallery.PICTURES / f"{name}.svg").read_text(encoding="utf-8")
        assert "<svg" in picture
        texts = re.findall(r"<text ([^>]*)>", picture)
        assert texts
        assert all('lengthAdjust="spacingAndGlyphs"' in text for text in texts), "of any font"


# --- sweep.py -------------------------------------------------------------------------------------


def test_a_sweep_over_seeds_is_the_same_in_processes(tmp_path):
    pytest.importorskip("joblib", reason="joblib is not installed: pip install joblib")
    command = [sys.executable, EXAMPLES / "sweep.py", "--seeds", "3", "--epochs", "4"]
    env = os.environ | {"PYTHONPATH": str(EXAMPLES.parent), "JOBLIB_TEMP_FOLDER": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    errors = re.findall(r"seed \d: test error ([\d.]+) after 4 epochs", done.stdout)
    assert len({*errors}) == 3
    assert "the same to the bit: yes" in done.stdout


# --- wrong_backward.py ----------------------------------------------------------------------------


def test_the_wrong_backward_is_explained_and_drawn(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert load("wrong_backward").main() == 0
    text = capsys.readouterr().out
    line = next(line for line in text.splitlines() if line.startswith("wrong_backward.py:"))
    statement = "di, df, dg = dc * g, dc * cs[t + 1], dc * i"
    said = "`cs[t + 1]` is `c` at step 11; it should be `c` at step 10"
    assert line.partition(" ")[2].startswith(f"{statement}: {said}")
    assert "With that in its place `W_hh`, `W_ih`, `b`, `c0`, `h0` and `x` are right." in line
    assert {"wrong_backward.html", "wrong_backward.dot"} <= {p.name for p in tmp_path.iterdir()}


# --- gradients.ipynb ------------------------------------------------------------------------------


def test_the_notebook_runs_and_what_it_shows_is_right(capsys, monkeypatch):
    pytest.importorskip("matplotlib", reason="Matplotlib is not installed")
    path = EXAMPLES / "gradients.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
    given, shown = {}, []
    for k, cell in enumerate(cells):
        if cell["cell_type"] != "code":
            continue
        # as notebooks do: each cell is a file of its own to inspect, and its last value is shown
        text, name = "".join(cell["source"]), f"<cell {k} of {path.name}>"
        monkeypatch.setitem(
            linecache.cache, name, (len(text), None, text.splitlines(keepends=True), name)
        )
        tree = ast.parse(text, name)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, name, "exec"), given)
        if last:
            value = eval(compile(ast.Expression(last.value), name, "eval"), given)
            shown.append((type(value).__name__, repr(value)))
    given["plt"].close("all")
    said = capsys.readouterr().out
    gradient, difference = re.findall(r"^(?:walked back|central difference): +(\S+)", said, re.M)
    assert float(gradient) == pytest.approx(float(difference), rel=1e-6)
    assert re.search(r"step 100: .*(9\d|100)% of the points are right", said)
    ratios = dict(re.findall(r"^(\S.*?) +first step / last step: (\S+)", said, re.M))
    rnn, lstm, open_gates = map(float, ratios.values())
    assert rnn < 1e-6
    assert open_gates > 100 * lstm
    assert "step ×30" in given["mg"].viz.draw(given["loss"]).source
    wrong = "`hs[t + 1]` is `h` at step"
    assert any(wrong in text and "dU += np.outer(da, hs[t + 1])" in text for _, text in shown)
