"""What training says: lines, a line that is rewritten, a bar, and nothing."""

import io
import re
import sys
import types
from itertools import pairwise

import numpy as np
import pytest

import minigrad as mg
from minigrad.train import fit, progress


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self):
        return True


@pytest.fixture
def always(monkeypatch):
    """Say everything at once."""
    monkeypatch.setattr(progress, "_OFTEN", 0.0)


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def trained(out, epochs=2, stop=None, loader=True):
    net, x = mg.nn.Linear(1, 1, rng=0), np.linspace(0, 1, 10, dtype=np.float32)[:, None]
    loader = mg.data.DataLoader(x, batch_size=4) if loader else lambda: mg.data.batches(x, size=4)
    return fit(
        net,
        mg.optim.SGD(net.parameters(), lr=0.1),
        loader,
        lambda batch: mg.nn.mse_loss(net(batch[0]), 2 * batch[0]),
        lambda: mg.nn.mse_loss(net(x), 2 * x).item(),
        epochs=epochs,
        callbacks=[lambda history: stop],
        out=out,
    )


def test_a_file_gets_a_line_an_epoch():
    out = io.StringIO()
    history = trained(out)
    first, second = out.getvalue().splitlines()
    row = history.epochs[0]
    for text in (
        "epoch 1/2  train ", f"validation {row['validation']:.5f}",
        f"gradient {row['gradient']:.5f}", "(best: 1)",
    ):  # fmt: skip
        assert text in first
    assert re.search(r"  [\d,]+ examples/s  \d:\d\d left$", first)
    assert "left" not in second
    out = io.StringIO()
    trained(out, stop="enough", loader=False)
    assert re.search(r"  \(best: 1\)  [\d,]+ batches/s  stopped: enough\n$", out.getvalue())


def test_a_terminal_without_tqdm_gets_one_line_that_is_rewritten(monkeypatch, always):
    monkeypatch.setattr(progress, "find_spec", lambda name: None)
    out = Screen()
    trained(out)
    said = out.getvalue()
    assert said.count("\n") == 1
    assert said.endswith("\n")
    lines = said.split("\r")[1:]
    assert len(lines) == 2 * (3 + 1)
    assert re.match(r"epoch 1/2  batch 2/3  loss [\d.]+  gradient [\d.]+  [\d,]+ ex", lines[1])
    assert re.search(r"\d:\d\d left", lines[1])
    for before, after in pairwise(lines):
        assert len(after) >= len(before.rstrip())  # what stood there is covered


def test_a_line_is_no_longer_than_the_terminal(monkeypatch, always):
    monkeypatch.setattr(progress, "find_spec", lambda name: None)
    monkeypatch.setenv("COLUMNS", "40")
    out = Screen()
    trained(out, stop="enough")
    *lines, last, nothing = re.split("[\r\n]", out.getvalue())[1:]
    assert {len(line) for line in lines} <= {*range(20, 40)}
    assert (last, nothing) == ("stopped: enough", "")


def test_a_terminal_with_tqdm_gets_a_bar(always):
    pytest.importorskip("tqdm", reason="tqdm is not installed: pip install 'minigrad[train]'")
    out = Screen()
    trained(out)
    said = out.getvalue()
    assert re.search(r"epoch 1/2: .*3/3 .*loss [\d.]+  gradient [\d.]+  [\d,]+ examples/s", said)
    assert "epoch 2/2  train" in said


def test_silence(capsys):
    trained(None)
    assert capsys.readouterr() == ("", "")


def test_stderr_unless_it_is_a_notebook(capsys, monkeypatch):
    trained("auto")
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("epoch") == 2
    shell = types.SimpleNamespace(kernel=object())
    module = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.setattr(progress, "find_spec", lambda name: None)
    trained("auto")
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.count("\n") == 1
    assert "\repoch 2/2" in said.out


def test_times():
    assert [progress._time(s) for s in (0.4, 61, 3700)] == ["0:00", "1:01", "1:01:40"]
