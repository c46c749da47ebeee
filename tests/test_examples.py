"""The examples run, and what they claim holds."""

import importlib.util
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
    wrong, by_neighbour = re.search(r"before: (\d+), by the nearest neighbour (\d+)", said).groups()
    assert int(wrong) < 20
    assert int(by_neighbour) == 8
    assert said.count("   a ") == 5
    assert "10: Linear(in_features=128, out_features=10)  # 1,290" in said


# --- gallery.py -----------------------------------------------------------------------------------


def test_the_gallery_writes_every_graph(tmp_path, capsys):
    gallery = load("gallery")
    assert gallery.main(["--out", str(tmp_path)]) == 0
    kinds = [".dot", ".html", ".txt"] + [".svg"] * bool(shutil.which("dot"))
    assert {p.name for p in tmp_path.iterdir()} == {n + k for n in gallery.GRAPHS for k in kinds}
    assert f"{len(gallery.GRAPHS)} graphs in " in capsys.readouterr().out
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
        assert "<svg" in (gallery.PICTURES / f"{name}.svg").read_text(encoding="utf-8")


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
