"""`mg.compile` against everything else: writes docs/benchmarks.md and its plot.

    python benchmarks/bench_compile.py [--only lstm cells ...] [--sizes 1 2] [--threads 1 2]
                                       [--seconds 15] [--write docs]

Every figure is the least of many short turns, in which everybody takes part, and ratios are of
these. Who brings threads of its own (PyTorch, JAX) runs in a process of its own, and takes turns
with the others all the same. All compute the same from the same arrays, which is checked first: who
gives other numbers is not timed, is named, and makes the command fail.

    lstm        a training step of an LSTM at five sizes, against hand-written NumPy and all peers
    cells       what no program recognises: other cells, own loops, layers, directions
    others      chains of small operations, MLP, transformer, convolutions
    inference   forward alone
    memory      the peak of a training step
    first       the first call, in fresh processes
    growth      programs of 20 to 2,000 steps
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import bench_lstm as peers
import numpy as np
import sides
import workloads
from bench_lstm import SIZES, Problem
from page import Table, held, number, plot
from timing import CORES, Step, agree, header, peer, unguarded
from turns import Builder, Candidates, Processes

import minigrad as mg

BACKENDS = {"compiled, NumPy": "numpy", "compiled, numba": "numba"}
NUMPY, NUMBA = BACKENDS
BPTT, BUFFERS, SLOPES = "minigrad.bptt", "by hand, in buffers", "by hand, slopes first"
STORED, COPIED = "products alone, as stored", "products alone, W', U' copied"
EAGER, SCAN = "minigrad, eager", "JAX jit + scan"
FUSED, COMPOSED = "torch.nn.LSTM", "torch composed"
COMPILED = "torch.compile of composed"
FLOOR = "products alone, better layout"
SIZE = range(1, 1 + len(SIZES))
UNROLLED = 20

# label, numerator, denominators (the faster counts), the most it may be at each size
RATIOS: list[tuple[str, str, tuple[str, ...], tuple[float, ...]]] = [
    (f"{NUMPY} / {BPTT}", NUMPY, (BPTT,), (0.85, 0.95, 0.95, 0.95, 0.95)),
    (f"{NUMPY} / {BUFFERS}", NUMPY, (BUFFERS,), (0.85, 0.95, 0.95, 0.95, 0.95)),
    (f"{NUMPY} / {SLOPES}", NUMPY, (SLOPES,), ()),
    (f"{NUMBA} / {FUSED}", NUMBA, (FUSED,), (0.06, 0.55, 1.1, 0.60, 0.80)),
    (f"{NUMBA} / {SCAN}", NUMBA, (SCAN,), (0.15, 0.45, 0.60, 0.60, 0.85)),
    (f"{NUMBA} / {FLOOR}", NUMBA, (STORED, COPIED), (0.5, 1.3, 1.25, 1.2, 1.05)),
    (f"{NUMBA} / {COMPOSED}", NUMBA, (COMPOSED,), ()),
    (f"{NUMBA} / {EAGER}", NUMBA, (EAGER,), ()),
    (f"{NUMPY} / {EAGER}", NUMPY, (EAGER,), ()),
]  # fmt: skip
LIKE_LSTM = 1.15  # of nn.LSTM's ratio to eager, the most that another cell's may be
OF_EAGER = dict(zip(workloads.OTHERS, (0.02, 0.4, 0.72, 0.6, 0.9), strict=True))
OF_TORCH = dict(zip(workloads.OTHERS, (None, None, 0.85, 1.0, None), strict=True))
INFERENCE = 0.1  # of torch.nn.LSTM's in inference mode


# --- Who takes part, by process -------------------------------------------------------------------


def in_numpy(part: str, key: Any) -> Candidates:
    """All that computes in this process, with NumPy's products."""
    if part == "lstm":
        return {
            BPTT: lambda: peers.by_hand(Problem.draw(*key)),
            BUFFERS: lambda: peers.by_hand_in_buffers(Problem.draw(*key)),
            SLOPES: lambda: peers.by_hand_in_buffers(Problem.draw(*key), slopes_first=True),
            EAGER: lambda: peers.minigrad_eager(Problem.draw(*key)),
            **{name: lambda b=b: _compiled_lstm(key, b) for name, b in BACKENDS.items()},
            STORED: lambda: peers.gemms(Problem.draw(*key)),
            COPIED: lambda: peers.gemms(Problem.draw(*key), copied=True),
            "HIPS autograd": lambda: peers.hips_autograd(Problem.draw(*key)),
            "MyGrad": lambda: unguarded(peers.mygrad_eager(Problem.draw(*key))),
        }
    if part == "inference":
        lstm = peers.minigrad_layer(Problem.draw(*key))
        return {
            EAGER: lambda: _inference(lstm, key),
            **{
                name: lambda b=b: _inference(workloads.compile(lstm, b), key)
                for name, b in BACKENDS.items()
            },
        }
    make = (workloads.RECURRENCES | workloads.OTHERS)[key]
    return {
        EAGER: lambda: workloads.eager(make()),
        **{name: lambda b=b: workloads.compiled(make(), b) for name, b in BACKENDS.items()},
    }


def in_torch(part: str, key: Any) -> Candidates:
    if part == "lstm":
        return {
            FUSED: lambda: peers.torch_fused(Problem.draw(*key)),
            COMPOSED: lambda: peers.torch_composed(Problem.draw(*key)),
        }
    if part == "inference":
        return {FUSED: lambda: _torch_inference(Problem.draw(*key))}
    return {"torch eager": workloads.OTHERS[key]().torch} if key in workloads.OTHERS else {}


def in_jax(part: str, key: Any) -> Candidates:
    return {SCAN: lambda: peers.jax_scan(Problem.draw(*key))} if part == "lstm" else {}


def in_compiled_torch(part: str, key: Any) -> Candidates:
    """It unrolls the loop: a minute to compile 20 steps, and many for more."""

    def make() -> Step | None:
        if key[0] > UNROLLED and peer("torch"):
            raise ValueError(f"not tried, it would unroll {key[0]} steps")
        return peers.torch_composed(Problem.draw(*key), compiled=True)

    return {COMPILED: make} if part == "lstm" else {}


PROCESSES: dict[str, Builder] = {"NumPy": in_numpy, "torch": in_torch, "JAX": in_jax}


def _compiled_lstm(size: tuple[int, ...], backend: str) -> Step:
    step = workloads.compiled(workloads.lstm(size), backend)

    def in_the_order_of_the_others() -> tuple[Any, ...]:
        _, (g, x) = step()
        return x, g["weight_ih_l0"], g["weight_hh_l0"], g["bias_ih_l0"]

    return in_the_order_of_the_others


def _inference(layer: Callable[..., Any], size: tuple[int, ...]) -> Step:
    x = Problem.draw(*size).x

    def step() -> Any:
        with mg.no_grad():
            return layer(x)

    return step


def _torch_inference(p: Problem) -> Step | None:
    if (torch := peer("torch")) is None:
        return None
    lstm, x = peers.torch_layer(p), torch.tensor(p.x)

    def step() -> Any:
        with torch.inference_mode():
            return lstm(x)

    return step


# --- Running --------------------------------------------------------------------------------------


class Timed(NamedTuple):
    """Least seconds of a call of each candidate; why others have none."""

    names: list[str]
    least: dict[str, float]
    missing: dict[str, str]
    rounds: int

    def ratio(self, name: str, others: Sequence[str]) -> float | None:
        known = [self.least[other] for other in others if other in self.least]
        return self.least[name] / min(known) if known and name in self.least else None


class Bench:
    """The options, what came of every case, and what is wrong."""

    def __init__(self, seconds: float, sizes: Sequence[int], threads: Sequence[int], limit: float):
        self.seconds, self.sizes, self.threads = seconds, sizes, threads
        self.limit = limit
        self.wrong: list[str] = []
        self.panels: list[tuple[str, dict[str, float]]] = []

    def run(self, processes: Processes, part: str, key: Any, reference: str) -> Timed:
        """Check a case's candidates against the reference, then time those that agree."""
        opened = processes.open(part, key)
        missing = {name: got.missing for name, got in opened.items() if got.missing}
        if reference in missing:
            raise RuntimeError(f"{part}, {key}: {reference}: {missing[reference]}")
        expected = opened[reference].arrays
        for name, got in opened.items():
            if name not in missing and got.arrays:
                try:
                    _agree(got.arrays, expected)
                except AssertionError:
                    missing[name] = "gives other numbers"
                    self.wrong.append(f"{part}, {key}: {name} gives other numbers")
        least, rounds = processes.least(
            self.seconds, [name for name in opened if name not in missing]
        )
        return Timed([*opened], least, missing, rounds)

    # --- the parts --------------------------------------------------------------------------------

    def lstm(self) -> list[Table]:
        tables = []
        for threads in self.threads:
            timed = {}
            builders = PROCESSES | ({COMPILED: in_compiled_torch} if self.limit else {})
            with Processes(builders, threads, {COMPILED: self.limit}) as processes:
                for size in self.sizes:
                    timed[size] = t = self.run(processes, "lstm", SIZES[size - 1], BPTT)
                    say(f"lstm, size {size}, {_threads(threads)}: {t.rounds} rounds")
            tables += self._lstm_tables(timed, threads)
        return tables

    def _lstm_tables(self, timed: dict[int, Timed], threads: int) -> list[Table]:
        columns = ["", *(f"{size}" for size in timed)]
        rows = []
        for label, name, others, targets in RATIOS:
            if others == (FUSED,) and threads != 2:
                targets = ()  # stated for two threads
            rows.append(
                [label]
                + [
                    held(t.ratio(name, others), targets[size - 1] if targets else None)
                    for size, t in timed.items()
                ]
            )
        shapes = "; ".join(f"{size}: {SIZES[size - 1]}" for size in timed)
        title = f"LSTM training step, float32, {_threads(threads)}"
        names = list(dict.fromkeys(name for t in timed.values() for name in t.names))
        times = [
            [name]
            + [
                number(t.least[name] * 1e6 / SIZES[size - 1][0]) if name in t.least else "-"
                for size, t in timed.items()
            ]
            for name in names
        ]
        notes = [f"(T, B, I, H) {shapes}."]
        if threads == max(self.threads):
            self.panels = [
                (
                    f"{SIZES[size - 1]}",
                    {n: t.least[n] * 1e6 / SIZES[size - 1][0] for n in names if n in t.least},
                )
                for size, t in timed.items()
            ]
        return [
            Table(f"{title}: ratios", columns, rows, notes),
            Table(f"{title}: microseconds per time step", columns, times, _missing(timed)),
        ]

    def cells(self) -> list[Table]:
        timed = self._timed("cells", workloads.RECURRENCES, 1)
        first = next(iter(timed.values()))
        rows = []
        for name, t in timed.items():
            row = [name, number(t.least[EAGER] * 1e6 / workloads.CELL[0])]
            for backend in BACKENDS:
                own, base = t.ratio(backend, (EAGER,)), first.ratio(backend, (EAGER,))
                like = own / base if own and base and t is not first else None
                row += [held(own), held(like, None if t is first else LIKE_LSTM)]
            rows.append(row)
        columns = ["", "eager, us per time step"]
        for backend in BACKENDS:
            columns += [f"{backend} / eager", "over nn.LSTM's"]
        title = f"Other recurrences, (T, B, I, H) = {workloads.CELL}, float32, 1 thread"
        return [Table(title, columns, rows, _missing(timed))]

    def others(self) -> list[Table]:
        return [self._others(threads) for threads in self.threads]

    def _others(self, threads: int) -> Table:
        timed = self._timed("others", workloads.OTHERS, threads)
        rows = [
            [
                name,
                number(t.least[EAGER] * 1e6),
                held(t.ratio(NUMPY, (EAGER,))),
                held(t.ratio(NUMBA, (EAGER,)), OF_EAGER[name]),
                held(t.ratio(NUMBA, ("torch eager",)), OF_TORCH[name]),
            ]
            for name, t in timed.items()
        ]
        columns = ["", "eager, us", *(f"{backend} / eager" for backend in BACKENDS)]
        columns.append(f"{NUMBA} / torch eager")
        title = f"Other programs, a training step, float32, {_threads(threads)}"
        return Table(title, columns, rows, _missing(timed))

    def inference(self) -> list[Table]:
        timed = self._timed("inference", [SIZES[0]], 1)
        rows = [
            [
                "LSTM, size 1",
                number(t.least[EAGER] * 1e6),
                held(t.ratio(NUMPY, (FUSED,))),
                held(t.ratio(NUMBA, (FUSED,)), INFERENCE),
            ]
            for t in timed.values()
        ]
        columns = ["", "eager, us", *(f"{backend} / {FUSED}" for backend in BACKENDS)]
        title = "Inference without gradient, torch in inference mode, 1 thread"
        return [Table(title, columns, rows, _missing(timed))]

    def _timed(self, part: str, keys: Any, threads: int) -> dict[Any, Timed]:
        timed = {}
        with Processes(PROCESSES, threads, {}) as processes:
            for key in keys:
                timed[key] = self.run(processes, part, key, EAGER)
                say(f"{part}, {key}: {timed[key].rounds} rounds")
        return timed

    def memory(self) -> list[Table]:
        return [sides.memory()]

    def first(self) -> list[Table]:
        return [sides.first_calls()]

    def growth(self) -> list[Table]:
        return [sides.growth()]


PARTS: dict[str, Callable[[Bench], list[Table]]] = {
    "lstm": Bench.lstm,
    "cells": Bench.cells,
    "others": Bench.others,
    "inference": Bench.inference,
    "memory": Bench.memory,
    "first": Bench.first,
    "growth": Bench.growth,
}


def say(what: str) -> None:
    """Say what has been done, beside the tables."""
    print(what, file=sys.stderr, flush=True)


def _agree(got: list[np.ndarray], expected: list[np.ndarray]) -> None:
    if len(got) != len(expected):
        raise AssertionError(f"{len(got)} results instead of {len(expected)}")
    own, theirs = ({str(k): a for k, a in enumerate(v)} for v in (got, expected))
    agree({"it": own, "the reference": theirs}, "the reference")


def _threads(n: int) -> str:
    return "1 thread" if n == 1 else f"{n} threads"


def _missing(timed: dict[Any, Timed]) -> list[str]:
    """Say who has no times, and why: once, where it is the same for all cases."""
    reasons: dict[tuple[str, str], list[Any]] = {}
    for key, t in timed.items():
        for name, why in t.missing.items():
            reasons.setdefault((name, why), []).append(key)
    said = [
        f"{name}: {why}" + ("" if len(keys) == len(timed) else f" ({', '.join(map(str, keys))})")
        for (name, why), keys in reasons.items()
    ]
    return [f"Missing: {'; '.join(said)}."] if said else []


def machine() -> str:
    """Name the processor and the BLAS behind NumPy's products."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
        cpu += ", AVX-512" if " avx512f" in info.read_text() else ""
    blas: dict[str, Any] = np.show_config(mode="dicts")["Build Dependencies"]["blas"]  # type: ignore[assignment, index]
    return f"{cpu}; NumPy's products by {blas['name']} {blas['version']}"


def page(tables: Sequence[Table], command: str) -> str:
    """Write all tables under what they mean and where they come from."""
    parts = [
        "# Benchmarks of `mg.compile`",
        f"Written by `{command}`. Every figure is the least of many short turns, which all take "
        "one after the other, and a ratio is of two such figures: less is better for minigrad. All "
        "compute the same from the same arrays, checked before. PyTorch and JAX run in processes "
        "of their own. 0.82 ≤ 0.85 meets its target, **0.93 > 0.85** does not.",
        f"{header()}.\n{machine()}.",
        "![Microseconds per time step of an LSTM training step](benchmarks.svg)",
        *[table.markdown() for table in tables],
    ]
    return "\n\n".join(parts) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--sizes", nargs="+", type=int, choices=SIZE, default=[*SIZE], metavar="K")
    parser.add_argument("--threads", nargs="+", type=int, default=sorted({1, min(2, CORES)}))
    parser.add_argument("--seconds", type=float, default=15, help="of turns, a case (%(default)s)")
    parser.add_argument(
        "--torch-compile",
        type=float,
        default=90,
        metavar="SECONDS",
        help="how long it may compile a case; 0: leave it out (%(default)s)",
    )
    parser.add_argument("--write", type=Path, metavar="DIR", help="benchmarks.md and .svg in there")
    options = parser.parse_args()
    print(f"{header()}\n{machine()}", flush=True)
    bench = Bench(options.seconds, options.sizes, options.threads, options.torch_compile)
    tables: list[Table] = []
    for part in options.only:
        for table in PARTS[part](bench):
            tables.append(table)
            print(f"\n{table.markdown()}", flush=True)
    if options.write:
        (options.write / "benchmarks.md").write_text(page(tables, "make bench"))
        if bench.panels:
            titles, panels = zip(*bench.panels, strict=True)
            plot(options.write / "benchmarks.svg", titles, panels, "microseconds per time step")
    for what in bench.wrong:
        say(f"WRONG: {what}")
    return len(bench.wrong) > 0


if __name__ == "__main__":
    sys.exit(main())
