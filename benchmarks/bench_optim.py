"""Steps of optimisers against PyTorch's: one large parameter, and the parameters of a small model.

    OMP_NUM_THREADS=1 python benchmarks/bench_optim.py [--rounds N]

One thread each, float32. The baseline is what `torch.optim.X(params)` does by default on a CPU: its
loop over the parameters (`foreach` and `fused` are for GPUs unless asked for; `fused` is timed
beside it). Candidates take turns in one process; a row gives the fastest round of each, and their
ratio. Gradients stay as they are, so only the step is timed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from timing import header, peer

import minigrad as mg

TARGET = 1.2
METHODS: dict[str, dict[str, Any]] = {
    "Adam": {}, "AdamW": {}, "SGD": {"lr": 0.1, "momentum": 0.9}, "RMSprop": {}, "Adagrad": {},
    "Adadelta": {}, "NAdam": {},
}  # fmt: skip
LARGE = [(10**6,)]
SMALL = [(128, 64), (128,), (128, 128), (128,), (10, 128), (10,)]  # an MLP's, 26,250 numbers


def fastest(steps: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return the seconds of the fastest round of each, taken in turns."""
    best = dict.fromkeys(steps, float("inf"))
    for name in [*steps] * (rounds + 2):
        start = time.perf_counter()
        steps[name]()
        best[name] = min(best[name], time.perf_counter() - start)
    return best


def candidates(
    torch: Any, name: str, shapes: list[tuple[int, ...]], order: str
) -> dict[str, Callable[[], Any]]:
    """List the steps to time: minigrad's, PyTorch's default, and its fused one where it has it.

    The gradients of minigrad are in the order of memory "C" or "F", as those of a Linear's weight.
    """
    rng = np.random.default_rng(0)
    params = [
        mg.tensor(rng.normal(size=shape).astype(np.float32), requires_grad=True) for shape in shapes
    ]
    for p in params:
        p.grad = np.array(rng.normal(size=p.shape).astype(np.float32), order=order)  # type: ignore[call-overload]
    steps = {"minigrad": getattr(mg.optim, name)(params, **METHODS[name]).step}
    for label, more in {"torch": {}, "fused": {"fused": True}}.items() if torch else ():
        theirs = [torch.tensor(p.numpy(), requires_grad=True) for p in params]
        for p, q in zip(params, theirs, strict=True):
            q.grad = torch.tensor(np.ascontiguousarray(p.grad))
        try:
            steps[label] = getattr(torch.optim, name)(theirs, **METHODS[name], **more).step
        except (TypeError, RuntimeError):  # a method without a fused form
            continue
    return steps


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    rounds = parser.parse_args().rounds
    torch = peer("torch")
    if torch:
        torch.set_num_threads(1)
    print(header())
    for title, shapes, order, count in (
        ("one parameter of 1,000,000 numbers", LARGE, "C", rounds),
        (
            "the same as a matrix 1000 x 1000, whose gradient is transposed",
            [(1000, 1000)],
            "F",
            rounds,
        ),
        ("an MLP of 6 parameters, 26,250 numbers", SMALL, "F", 10 * rounds),
    ):
        print(
            f"\n{title}\n  {'':10} {'minigrad':>12} {'torch':>12} {'fused':>12}   minigrad / torch"
        )
        for name in METHODS:
            best = fastest(candidates(torch, name, shapes, order), count)
            times = [
                f"{best[k] * 1e6:9.0f} us" if k in best else f"{'-':>12}"
                for k in ("minigrad", "torch", "fused")
            ]
            ratio = best["minigrad"] / best["torch"] if torch else float("nan")
            is_target = name == "Adam" and shapes is LARGE and torch
            said = f"   <= {TARGET}: {'met' if ratio <= TARGET else 'MISSED'}" if is_target else ""
            print(f"  {name:10} {' '.join(times)}   {ratio:.2f}{said}")


if __name__ == "__main__":
    main()
