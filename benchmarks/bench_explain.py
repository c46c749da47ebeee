"""How long it takes to find the wrong line of a hand-written backward pass.

    python benchmarks/bench_explain.py [--steps 20] [--batch 8] [--features 16] [--hidden 32]

The mistakes that are planted into the LSTM of `tests/mistakes`, at this size: seconds that
`compare_backward` takes and that `explain` takes then, median and slowest, beside the times that
are aimed at; and how often the statement that was edited is the first that is named.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

import minigrad as mg

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.mistakes import lstm


def main() -> None:
    parser = argparse.ArgumentParser(description="how long an explanation takes")
    for name, size in (("steps", 20), ("batch", 8), ("features", 16), ("hidden", 32)):
        parser.add_argument(f"--{name}", type=int, default=size)
    o = parser.parse_args()
    B, H = o.batch, o.hidden
    shapes = {"x": (o.steps, B, o.features), "y": (o.steps, B, H), "h0": (B, H), "c0": (B, H)}
    shapes |= {"Wx": (o.features, 4 * H), "Wh": (H, 4 * H), "b": (4 * H,)}
    rng = np.random.default_rng(0)
    inputs = {name: 0.3 * rng.normal(size=shape) for name, shape in shapes.items()}
    compared, explained, first = [], [], 0
    for mistake in lstm.MISTAKES:
        if mistake.square:
            continue
        start = time.perf_counter()
        report = mg.compare_backward(lstm.forward, mistake.planted(lstm.backward), inputs)
        middle = time.perf_counter()
        found = report.explain()
        compared.append(middle - start)
        explained.append(time.perf_counter() - middle)
        first += found[0].line in mistake.statements(lstm.backward)
    print(f"LSTM, T = {o.steps}, B = {B}, I = {o.features}, H = {H}: {len(explained)} mistakes")
    for name, times, aim in (
        ("compare_backward", compared, ""),
        ("explain", explained, " (aim: median 1 s, never over 5 s)"),
    ):
        print(f"{name:17} median {np.median(times):.2f} s, slowest {max(times):.2f} s{aim}")
    print(f"the edited statement is named first in {first} of {len(explained)}")


if __name__ == "__main__":
    main()
