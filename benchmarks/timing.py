"""Timing of several programs against one another, on a machine that is never quite idle.

A neighbour or a change of clock slows down whatever runs at that moment, so times taken one after
the other do not compare. Here the candidates take turns in one process, A B C A B C ...; each round
gives the ratio of the baseline's time to every other's, and the median of the ratios is the result,
beside its quartiles. Where those lie on both sides of a target the verdict carries a question mark.

Everyone gets all cores. On a busy machine threads wait for a core that somebody else holds, for
hundreds of times what the work takes; then pin everything to one: `taskset -c 0 python ...`.
"""

from __future__ import annotations

import gc
import importlib
import os
import platform
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from statistics import median
from typing import Any, NamedTuple

import numpy as np

Step = Callable[[], Any]
PEERS = ("torch", "jax", "autograd", "mygrad")
BLOCKS = 3
SETTLE = 0.05  # seconds; idle BLAS and OpenMP threads spin for up to 25 ms
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Timing(NamedTuple):
    """Median seconds per call; baseline / this as the median and quartiles of the rounds."""

    seconds: float
    ratio: float
    low: float
    high: float


def peer(name: str) -> Any:
    """Import a module by its dotted name, or return None where its package is not installed."""
    try:
        module = importlib.import_module(name)
    except ImportError:
        return None
    if name == "torch":
        module.set_num_threads(CORES)
    return module


def unguarded(step: Step | None) -> Step | None:
    """Run a step of MyGrad without its memory guard, as its manual advises where speed matters."""
    if step is None:
        return None
    without_guard: Step = peer("mygrad").mem_guard_off(step)
    return without_guard


def header() -> str:
    """Say what ran where: versions, cores, and how busy the machine was to begin with."""
    packages = ["minigrad", "numpy", "numba", *PEERS]
    found = [f"{name} {_version(name)}" for name in packages]
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{', '.join(found)}; Python {platform.python_version()}, "
        f"{platform.machine()}, cores: {CORES}{load}"
    )


def measure(
    candidates: Mapping[str, Step | None], baseline: str, rounds: int, sample: float = 0.02
) -> dict[str, Timing | None]:
    """Time the candidates in turns; None (not installed) stays None.

    A turn waits until the threads of the one before have stopped spinning, makes one call that does
    not count, then BLOCKS times as many as fill `sample` seconds, and takes the fastest of these.
    Garbage collection stays on, as in use, but does not walk what was there before: an imported
    peer would otherwise slow its competitors.
    """
    steps = {name: step for name, step in candidates.items() if step is not None}
    calls = {}
    for name, step in steps.items():
        step()
        calls[name] = max(1, round(sample / _seconds(step, 1)))
    times: dict[str, list[float]] = {name: [] for name in steps}
    gc.collect()
    gc.freeze()
    for _ in range(rounds):
        for name, step in steps.items():
            gc.collect()
            time.sleep(SETTLE)
            step()
            times[name].append(min(_seconds(step, calls[name]) for _ in range(BLOCKS)))
    gc.unfreeze()
    result: dict[str, Timing | None] = dict.fromkeys(candidates)
    for name, own in times.items():
        ratios = [b / t for b, t in zip(times[baseline], own, strict=True)]
        low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
        result[name] = Timing(median(own), float(middle), float(low), float(high))
    return result


def minima(candidates: Mapping[str, Step | None], rounds: int) -> dict[str, float]:
    """Return the least seconds of a call of each, in turns; without those not installed."""
    steps = {name: step for name, step in candidates.items() if step is not None}
    for step in steps.values():
        step()
    least = dict.fromkeys(steps, float("inf"))
    gc.collect()
    gc.freeze()
    for _ in range(rounds):
        for name, step in steps.items():
            time.sleep(SETTLE)
            step()
            least[name] = min(least[name], *[_seconds(step, 1) for _ in range(BLOCKS)])
    gc.unfreeze()
    return least


def table(
    title: str,
    timings: Mapping[str, Timing | None],
    baseline: str,
    unit: str,
    per_second: float,
    targets: Mapping[str, float] | None = None,
) -> None:
    """Print times in `unit`, of which a second has `per_second`, and the ratios to the baseline."""
    print(f"\n{title}")
    print(f"  {'':26} {unit:>16}   {baseline + ' / it':>13}   {'quartiles':14} target")
    for name, timing in timings.items():
        if timing is None:
            print(f"  {name:26} {'not installed':>16}")
            continue
        spread = f"{timing.low:.3f}-{timing.high:.3f}" if name != baseline else ""
        target, ratio = "", f"{timing.ratio:.3f}" if name != baseline else "1"
        if targets and name in targets:
            target = f"<= {targets[name]:<5} {verdict(timing, targets[name])}"
        row = (
            f"  {name:26} {timing.seconds * per_second:16.2f}   {ratio:>13}   {spread:14} {target}"
        )
        print(row.rstrip())


def verdict(timing: Timing, target: float) -> str:
    """Hold the median ratio against the most it may be; "?" where the rounds do not agree."""
    unsure = "?" * (timing.low <= target < timing.high)
    return ("met" if timing.ratio <= target else "MISSED") + unsure


def agree(results: Mapping[str, Mapping[str, Any]], reference: str, rtol: float = 1e-3) -> None:
    """Raise AssertionError unless all give the reference's arrays, to `rtol` of their largest."""
    for name, arrays in results.items():
        for key, expected in results[reference].items():
            got, size = np.asarray(arrays[key]), float(np.abs(expected).max())
            if got.shape != expected.shape or not np.abs(got - expected).max() <= rtol * size:
                raise AssertionError(f"{name} and {reference} give different gradients of {key}")


def _seconds(step: Step, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        step()
    return (time.perf_counter() - start) / calls


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        module = peer(name) if name == "minigrad" else None
        return getattr(module, "__version__", "not installed")
