"""Convolutions: forward and backward against PyTorch, on the same threads.

    python benchmarks/bench_conv.py [--rounds 7]

The first line is the promise: 16 images of 8 x 28 x 28, 16 kernels of 3 x 3, padding 1, float32, at
most 3 times PyTorch's time. Ratios are minigrad's time divided by the other's.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from timing import Step, agree, header, measure, peer, table

import minigrad as mg

TARGET = 3.0
CASES: dict[str, tuple[Any, ...]] = {  # shapes of x and of the weight, stride, padding, groups
    "3 x 3": ((16, 8, 28, 28), (16, 8, 3, 3), 1, 1, 1),
    "3 x 3, stride 2": ((16, 16, 28, 28), (32, 16, 3, 3), 2, 1, 1),
    "many channels": ((16, 128, 8, 8), (128, 128, 3, 3), 1, 1, 1),
    "each channel alone": ((16, 32, 28, 28), (32, 1, 3, 3), 1, 1, 32),
}
POOLS = {
    "max_pool2d 2 x 2": ("max_pool2d", 2, 2),
    "avg_pool2d 3 x 3, stride 2": ("avg_pool2d", 3, 2),
}


def with_minigrad(f: Any, arrays: dict[str, np.ndarray]) -> Step:
    leaves = {name: mg.tensor(a, requires_grad=True) for name, a in arrays.items()}

    def step() -> dict[str, Any]:
        for leaf in leaves.values():
            leaf.grad = None
        f(mg, *leaves.values()).sum().backward()
        return {name: leaf.grad for name, leaf in leaves.items()}

    return step


def with_torch(f: Any, arrays: dict[str, np.ndarray]) -> Step | None:
    if (torch := peer("torch")) is None:
        return None
    leaves = {name: torch.tensor(a, requires_grad=True) for name, a in arrays.items()}

    def step() -> dict[str, Any]:
        for leaf in leaves.values():
            leaf.grad = None
        f(torch.nn.functional, *leaves.values()).sum().backward()
        return {name: leaf.grad for name, leaf in leaves.items()}

    return step


def compare(title: str, f: Any, arrays: dict[str, np.ndarray], rounds: int, promised: bool) -> None:
    candidates = {"minigrad": with_minigrad(f, arrays), "torch": with_torch(f, arrays)}
    agree({name: step() for name, step in candidates.items() if step}, "minigrad")
    timings = measure(candidates, "minigrad", rounds)
    table(title, timings, "minigrad", "us", 1e6, {"torch": TARGET} if promised else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    print(header())
    rng = np.random.default_rng(0)
    for title, (x_shape, w_shape, stride, padding, groups) in CASES.items():
        shapes = {"x": x_shape, "weight": w_shape, "bias": w_shape[:1]}
        arrays = {name: rng.normal(size=s).astype(np.float32) for name, s in shapes.items()}
        options = {"stride": stride, "padding": padding, "groups": groups}
        compare(
            f"conv2d, {title}: x {x_shape}, weight {w_shape}",
            lambda F, x, w, b, options=options: F.conv2d(x, w, b, **options),
            arrays,
            rounds,
            promised=title == "3 x 3",
        )
    for title, (name, kernel, stride) in POOLS.items():
        x = rng.normal(size=(16, 16, 28, 28)).astype(np.float32)
        compare(
            f"{title}: x {x.shape}",
            lambda F, x, name=name, kernel=kernel, stride=stride: getattr(F, name)(
                x, kernel, stride
            ),
            {"x": x},
            rounds,
            promised=False,
        )


if __name__ == "__main__":
    main()
