"""Recurrent layers: against PyTorch's cell composed, and what directions and lengths cost.

    python benchmarks/bench_recurrent.py [--rounds 15] [--sizes 0 1 2]

A training step: forward, and the gradients of x and of all parameters of sum(hs), in float32. Times
are the least of many rounds, in which everybody takes turns, and ratios are of these.

- LSTM over "torch composed": one cell in PyTorch's operations, x W' for all steps in one product,
  the bias and h U' by `addmm`, as in `bench_lstm.py`.
- Both directions over twice one: the cost of a step.
- Lengths drawn from 1 .. T or T/2 .. T, in any order: the cost of a valid step (of one sequence, at
  one time) over that of the layer without lengths. A step of few sequences costs more for each of
  them than one of many, whoever computes it; so the next row has the layer without lengths on as
  many sequences as run on average, and the last one PyTorch's fused layer on packed sequences.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
from bench_lstm import Problem, minigrad_eager, torch_composed
from timing import header, minima, peer

import minigrad as mg

SIZES = [(50, 32, 64, 128), (100, 64, 128, 256), (35, 20, 650, 650)]


def layer(
    kind: Any, size: tuple[int, ...], lengths: Any = None, **options: Any
) -> Callable[[], Any]:
    _, _, features, H = size
    module = kind(features, H, rng=0, **options)
    x = mg.tensor(_series(size), requires_grad=True)

    def step() -> None:
        x.grad = None
        module.zero_grad()
        hs, _ = module(x, lengths=lengths)
        hs.sum().backward()

    return step


def torch_layer(size: tuple[int, ...], lengths: Any = None) -> Callable[[], Any] | None:
    if (torch := peer("torch")) is None:
        return None
    rnn, (_, _, features, H) = torch.nn.utils.rnn, size
    module = torch.nn.LSTM(features, H)
    x = torch.tensor(_series(size), requires_grad=True)

    def step() -> None:
        x.grad = None
        module.zero_grad(set_to_none=True)
        if lengths is None:
            hs, _ = module(x)
        else:
            packed = rnn.pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
            hs, _ = rnn.pad_packed_sequence(module(packed)[0])
        hs.sum().backward()

    return step


def _series(size: tuple[int, ...]) -> Any:
    return np.random.default_rng(0).normal(size=size[:3]).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="turns of each (%(default)s)")
    parser.add_argument("--sizes", type=int, nargs="*", default=[0, 1, 2], help="which of three")
    options = parser.parse_args()
    print(header())
    for size in [SIZES[k] for k in options.sizes]:
        T, B, _, _ = size
        problem = Problem.draw(*size)
        rng = np.random.default_rng(0)
        drawn = {
            "1 .. T": rng.integers(1, T + 1, B),
            "T/2 .. T": rng.integers(T // 2, T + 1, B),
        }
        means = {name: max(1, round(n.mean() / T * B)) for name, n in drawn.items()}
        steps = {
            "LSTM": minigrad_eager(problem),
            "torch composed": torch_composed(problem),
            "LSTM, bidirectional": layer(mg.nn.LSTM, size, bidirectional=True),
            "torch.nn.LSTM": torch_layer(size),
        }
        for name, n in drawn.items():
            steps[f"LSTM, lengths {name}"] = layer(mg.nn.LSTM, size, n)
            steps[f"LSTM, B = {means[name]}"] = layer(mg.nn.LSTM, (T, means[name], *size[2:]))
            steps[f"torch.nn.LSTM, lengths {name}"] = torch_layer(size, n)
        least = minima(steps, options.rounds)
        print(f"\n(T, B, I, H) = {size}, float32")
        for name, seconds in least.items():
            print(f"  {name:34} {1e3 * seconds:9.2f} ms")
        plain, fused = least["LSTM"], least.get("torch.nn.LSTM")
        rows: list[tuple[str, float, float | None]] = []
        if "torch composed" in least:
            rows.append(("LSTM / torch composed", plain / least["torch composed"], 1.2))
        rows.append(("bidirectional / twice one", least["LSTM, bidirectional"] / (2 * plain), 1.1))
        for name, n in drawn.items():
            part, few = n.mean() / T, means[name]
            own = least[f"LSTM, lengths {name}"] / (part * plain)
            alike = least[f"LSTM, lengths {name}"] / (part / (few / B) * least[f"LSTM, B = {few}"])
            rows.append((f"a valid step, lengths {name}", own, 1.1))
            rows.append((f"  over one of {few} sequences", alike, 1.1))
            if fused:
                theirs = least[f"torch.nn.LSTM, lengths {name}"] / (part * fused)
                rows.append(("  of torch.nn.LSTM, over its own", theirs, None))
        for name, ratio, target in rows:
            verdict = f"<= {target} {'met' if ratio <= target else 'MISSED'}" if target else ""
            print(f"  {name:34} {ratio:9.3f}    {verdict}".rstrip())


if __name__ == "__main__":
    main()
