"""Checkpointing an LSTM over 1,000 steps: how much memory goes, and what it costs in time.

    python benchmarks/bench_checkpoint.py [--rounds 7] [--segment 32]

One training step, forward and backward of sum(h^2), written in two ways, each whole and in
checkpointed segments:

    mg.scan(f, state, x) with an nn.LSTMCell in f    against    mg.scan(..., checkpoint=32)
    nn.LSTM on all of x                              against    mg.checkpoint(lstm) on 32 steps each

All four give the same gradients, checked first. Memory is the peak that one step adds, as
tracemalloc counts it (NumPy reports its arrays there). Time is the checkpointed time over the
other's.
"""

from __future__ import annotations

import argparse
import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
from timing import agree, header, measure, table

import minigrad as mg

T, B, FEATURES, HIDDEN = 1000, 16, 32, 64
LESS_MEMORY, MORE_TIME = 4, 1.5
WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")

Step = Callable[[], dict[str, Any]]


def steps(segment: int) -> dict[str, Step]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((T, B, FEATURES)).astype(np.float32)
    zeros = np.zeros((B, HIDDEN), np.float32)
    cell, lstm = mg.nn.LSTMCell(FEATURES, HIDDEN, rng=rng), mg.nn.LSTM(FEATURES, HIDDEN)
    lstm.load_state_dict({f"{name}_l0": p for name, p in cell.state_dict().items()})
    forgetful = mg.checkpoint(lstm)

    def step(state: Any, x: Any) -> Any:
        h, c = cell(x, state)
        return (h, c), h

    def with_scan(checkpoint: int | bool) -> Step:
        return lambda: trained(cell, "", mg.scan(step, (zeros, zeros), x, checkpoint=checkpoint)[1])

    def in_segments() -> dict[str, Any]:
        parts, state = [], (zeros[None], zeros[None])
        for t in range(0, T, segment):
            hs, state = forgetful(x[t : t + segment], state)
            parts.append(hs)
        return trained(lstm, "_l0", mg.concatenate(parts))

    return {
        "scan": with_scan(False),
        "scan, checkpointed": with_scan(segment),
        "nn.LSTM": lambda: trained(lstm, "_l0", lstm(x)[0]),
        "nn.LSTM, checkpointed": in_segments,
    }


def trained(module: mg.nn.Module, suffix: str, hs: mg.Tensor) -> dict[str, Any]:
    module.zero_grad()
    (hs * hs).sum().backward()
    return {name: getattr(module, name + suffix).grad for name in WEIGHTS}


def peak(step: Step) -> float:
    """Peak memory that a step adds, in MB."""
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    step()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (most - before) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="turns of each (%(default)s)")
    parser.add_argument("--segment", type=int, default=32, help="steps in each (%(default)s)")
    options = parser.parse_args()
    print(header())
    candidates = steps(options.segment)
    agree({name: step() for name, step in candidates.items()}, "nn.LSTM")
    print(
        f"\nLSTM, (T, B, I, H) = {(T, B, FEATURES, HIDDEN)}, float32, segments of "
        f"{options.segment} steps; all gradients agree"
    )
    for name in ("scan", "nn.LSTM"):
        pair = {k: candidates[k] for k in (name, f"{name}, checkpointed")}
        plain, less = (peak(step) for step in pair.values())
        outcome = "met" if plain / less >= LESS_MEMORY else "MISSED"
        print(
            f"\n  peak memory: {name} {plain:.1f} MB, checkpointed {less:.1f} MB: "
            f"{plain / less:.1f} times less   target >= {LESS_MEMORY} {outcome}"
        )
        baseline = f"{name}, checkpointed"
        timings = measure(pair, baseline, options.rounds)
        table("time", timings, baseline, "ms per training step", 1e3, {name: MORE_TIME})


if __name__ == "__main__":
    main()
