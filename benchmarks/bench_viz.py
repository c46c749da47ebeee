"""Seeing graphs: what pictures, pages and texts of large graphs cost.

    python benchmarks/bench_viz.py [--rounds 5] [--nodes 2000 10000 100000]

Seconds on the Python side for LSTMs of so many nodes, folded, and for random chains of operations,
in which nothing repeats: reading and folding the graph, `draw` to DOT text, `show` to HTML without
and with gradients, `summary`. Then `dot` on the folded LSTM of 77 steps, and what a browser takes
to open the pages, where these programs are installed. The times that are aimed at stand beside.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import minigrad as mg

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "viz"))
import chromium  # the browser that the tests drive

AIMS = {2_000: 0.15, 100_000: 2.5}  # seconds, without histograms
STEP = 17  # nodes of one step


def lstm(nodes: int, size: int = 8) -> mg.Tensor:
    """The loss of an LSTM of as many steps as make so many nodes."""
    steps = max(1, nodes // STEP)
    x = np.random.default_rng(0).normal(size=(steps, 4, 4)).astype(np.float32)
    _, (h, _) = mg.nn.LSTM(4, size, rng=0)(x)
    return mg.nn.mse_loss(mg.nn.Linear(size, 1, rng=0)(h[-1]), np.zeros((4, 1), np.float32))


def chain(nodes: int) -> mg.Tensor:
    """As many operations, in a row, in an order that does not repeat itself."""
    x = y = mg.tensor(1.0, requires_grad=True)
    for k in np.random.default_rng(0).integers(4, size=nodes):
        y = (y * 0.5, y + x, mg.sin(y), mg.tanh(y))[k]
    return y


def seconds(run: Callable[[], Any], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return median(times)


def refused(y: mg.Tensor) -> str:
    try:
        return mg.viz.draw(y).source
    except mg.viz.GraphTooLarge:
        return ""


def python_side(name: str, y: mg.Tensor, rounds: int) -> None:
    runs: dict[str, Callable[[], Any]] = {
        "read": lambda: mg.Graph(y),
        "draw": lambda: refused(y),
        "show": lambda: mg.viz.show(y, histograms=False),
        "with gradients": lambda: mg.viz.show(y, grads=True, histograms=False),
        "summary": lambda: mg.viz.summary(y),
    }
    nodes = len(mg.Graph(y).nodes)
    row = [f"{seconds(run, rounds):8.3f}" for run in runs.values()]
    aim = next((f"   aim {t} s" for n, t in AIMS.items() if abs(nodes - n) < n // 4), "")
    print(f"{name:6} {nodes:9,} {' '.join(row)}{aim}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--nodes", type=int, nargs="+", default=[2_000, 10_000, 100_000])
    options = parser.parse_args()

    print("seconds      nodes     read     draw     show  + grads  summary")
    for nodes in options.nodes:
        rounds = options.rounds if nodes < 50_000 else 1
        python_side("LSTM", lstm(nodes), rounds)
        python_side("chain", chain(nodes), rounds)

    print()
    if shutil.which("dot"):
        x = np.random.default_rng(0).normal(size=(77, 32, 64)).astype(np.float32)
        _, (h, _) = mg.nn.LSTM(64, 128, rng=0)(x)
        picture = mg.viz.draw((h**2).sum(), grads=True)
        took = seconds(lambda: picture.pipe("svg"), options.rounds)
        print(f"dot on the folded LSTM of 77 steps: {took:.3f} s   aim 0.3 s")
    else:
        print("dot is not installed")
    if chromium.PATH is None:
        print("no browser is installed")
        return
    browser = chromium.Chromium()
    with tempfile.TemporaryDirectory() as folder:
        for nodes in options.nodes:
            for name, y in (("LSTM", lstm(nodes)), ("chain", chain(nodes))):
                page = mg.viz.show(y, Path(folder) / "graph.html", grads=True)
                assert page.path is not None
                browser.open(page.path)
                took, boxes = browser.js("[performance.now() / 1000, places.size]")
                size = len(page.text) / 1e6
                print(
                    f"{name:6} {nodes:9,} nodes: {size:5.1f} MB, {boxes} boxes at first, open in "
                    f"{took:.2f} s{'   aim 1 s' if nodes == 10_000 else ''}"
                )
    browser.close()


if __name__ == "__main__":
    main()
