"""The benchmarks' own machinery: who takes turns, what is checked, what is printed."""

import os
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))  # as when they are run

import bench_lstm
import page
import turns
import workloads

# --- Turns: builders stand here, so that other processes find them --------------------------------


def four_ways(n):
    calls = iter(range(9))

    def unsteady():
        return np.full(2, next(calls))

    return {
        "right": lambda: lambda: {"a": np.arange(n), "b": (np.ones(2), None)},
        "absent": lambda: None,
        "broken": lambda: 1 / 0,
        "unsteady": lambda: unsteady,
    }


def dies(n):
    os._exit(1)


def waits(n):
    import time

    time.sleep(60)


def test_candidates_take_turns_and_who_cannot_is_named():
    builders = {"one": four_ways, "dies": dies, "late": waits}
    with turns.Processes(builders, 1, {"late": 1.0}) as processes:
        opened = processes.open(3)
        missing = {name: got.missing for name, got in opened.items()}
        assert missing == {
            "right": "",
            "absent": "not installed",
            "broken": "ZeroDivisionError: division by zero",
            "unsteady": "gives other numbers at the second call",
            "dies": "its process died",
            "late": "not within 1 s",
        }
        first, second = opened["right"].arrays
        assert first.tolist() == [0, 1, 2]
        assert second.tolist() == [1, 1]
        least, rounds = processes.least(0.0, ["right"], rounds=2)
        assert rounds == 2
        assert list(least) == ["right"]
        assert 0 < least["right"] < 0.01
        again = processes.open(4)
        assert again["right"].arrays[0].size == 4
        assert again["late"].missing == "not within 1 s"


def surroundings():
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    return os.environ["OMP_NUM_THREADS"], os.environ.get("PLACE"), cores


def raises():
    raise ValueError("as it must")


def test_a_fresh_process_has_its_threads_and_its_environment_and_we_keep_ours():
    before = dict(os.environ)
    assert turns.fresh(surroundings, threads=1, PLACE="here") == ("1", "here", 1)
    assert dict(os.environ) == before
    with pytest.raises(ValueError, match="as it must"):
        turns.fresh(raises)


# --- What is timed --------------------------------------------------------------------------------


@pytest.mark.parametrize("slopes_first", [False, True])
def test_what_is_written_by_hand_for_speed_is_right(slopes_first):
    p = bench_lstm.Problem(*(v.astype(np.float64) for v in bench_lstm.Problem.draw(5, 2, 3, 4)))
    step = bench_lstm.by_hand_in_buffers(p, slopes_first)
    for _ in range(2):  # nothing is left in the buffers
        for got, expected in zip(step(), bench_lstm.by_hand(p)(), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", workloads.OTHERS)
def test_torch_computes_the_same_program(name):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    program = workloads.OTHERS[name]()
    ours, theirs = (turns.arrays(f()) for f in (workloads.eager(program), program.torch()))
    for got, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("make", [partial(workloads.chain, n) for n in (4, 1024)])
def test_a_chains_gradients_are_no_denormals(make):
    for a in turns.arrays(workloads.eager(make())()):
        assert np.abs(a).min() > 1e-20


# --- What is printed ------------------------------------------------------------------------------


def test_ratios_stand_beside_their_targets():
    assert [page.held(x, 0.85) for x in (0.5, 0.85, 0.8501, 12.34)] == [
        "0.50 ≤ 0.85", "0.85 ≤ 0.85", "**0.8501 > 0.85**", "**12.3 > 0.85**",
    ]  # fmt: skip
    assert page.held(None, 1.1) == "- (≤ 1.1)"
    assert page.held(None) == "-"
    assert page.held(123.4) == "123"
    assert page.held(0.0123) == "0.012"


def test_a_table_is_markdown():
    table = page.Table("times", ["", "1"], [["eager", "12.0"], ["by hand", "3"]], ["Missing: x."])
    assert table.markdown().splitlines() == [
        "### times",
        "",
        "|         |    1 |",
        "|---------|-----:|",
        "| eager   | 12.0 |",
        "| by hand |    3 |",
        "",
        "Missing: x.",
    ]


def test_the_plot_names_everybody(tmp_path):
    pytest.importorskip("matplotlib", reason="Matplotlib is not installed")
    panels = [{"compiled, NumPy": 1.0, "by hand": 2.0}, {"by hand": 300.0}]
    page.plot(tmp_path / "a.svg", ["small", "large"], panels, "us")
    svg = (tmp_path / "a.svg").read_text()
    assert all(word in svg for word in ("compiled, NumPy", "by hand", "small", "large", "300"))
    page.plot(tmp_path / "b.svg", ["small", "large"], panels, "us")
    assert (tmp_path / "b.svg").read_text() == svg
