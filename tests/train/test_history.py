"""What training saw: printed, plotted, written as a table, and gone on with."""

import csv
import json
import sys

import pytest

from minigrad.train import History


def made(n=3, best=1):
    history = History()
    history.epochs = [{"train": 1 / (k + 1), "validation": abs(k - best) / 3} for k in range(n)]
    history.best = best
    return history


def test_numbers_by_name():
    history = made()
    assert history["train"] == [1, 1 / 2, 1 / 3]
    assert len(history) == 3
    with pytest.raises(KeyError, match="no 'loss'; there is 'train', 'validation'"):
        history["loss"]
    with pytest.raises(KeyError, match="no epoch yet"):
        History()["train"]


def test_a_history_prints_as_a_table():
    lines = repr(made()).splitlines()
    assert lines == [
        "epoch    train  validation",
        "    1        1     0.33333",
        "   2*      0.5           0",
        "    3  0.33333     0.33333",
        "3 epochs, the best was 2",
    ]
    assert repr(History()) == "History: 0 epochs"
    long = made(300, best=123)
    long.stopped = "no better for 40 epochs"
    lines = repr(long).splitlines()
    assert len(lines) <= 15
    assert [line.split()[0] for line in lines if "*" in line] == ["124*"]
    assert [lines[1].split()[0], lines[-2].split()[0]] == ["1", "300"]
    assert lines[-1] == "300 epochs, the best was 124; stopped: no better for 40 epochs"


def test_a_notebook_shows_a_table_in_which_names_are_no_code():
    history = made()
    history.epochs[0]["<b>"] = 1.0
    page = history._repr_html_()
    assert page.count("<tr>") == 4
    assert "<th>&lt;b&gt;</th>" in page
    assert "<td>2*</td>" in page


def test_a_history_is_written_with_all_digits(tmp_path):
    history = made()
    history.epochs[2]["accuracy"] = 0.1
    text = history.to_csv(tmp_path / "history.csv")
    assert (tmp_path / "history.csv").read_text() == text
    rows = list(csv.DictReader(text.splitlines()))
    assert [float(row["train"]) for row in rows] == history["train"]
    assert [row["accuracy"] for row in rows] == ["", "", "0.1"]
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]


def test_a_history_is_plotted(monkeypatch):
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    history = made()
    ax = history.plot()
    assert [line.get_label() for line in ax.lines] == ["train", "validation", "best"]
    assert ax.lines[0].get_ydata().tolist() == history["train"]
    assert ax.lines[0].get_xdata().tolist() == [1, 2, 3]
    assert ax.lines[2].get_xdata() == [2, 2]
    assert history.plot("train", ax=ax) is ax
    plt.close(ax.figure)
    with pytest.raises(KeyError, match="no 'loss'"):
        history.plot(["loss"])
    with pytest.raises(ValueError, match="no epoch yet"):
        History().plot()
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install 'minigrad\[plot\]'"):
        history.plot()


def test_a_state_goes_through_text_and_changes_nothing_where_it_does_not_fit():
    history, other = made(), History()
    history.stopped = "why"
    other.load_state_dict(json.loads(json.dumps(history.state_dict())))
    assert vars(other) == vars(history)
    other.epochs[0]["train"] = 7.0
    assert history.epochs[0]["train"] == 1
    before, state = other.state_dict(), history.state_dict()
    for wrong in (3, {}, {**state, "more": 1}, {**state, "epochs": [3]}, {**state, "best": 3}):
        with pytest.raises(ValueError, match="History"):
            other.load_state_dict(wrong)
    assert other.state_dict() == before
