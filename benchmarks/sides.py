"""What an LSTM step costs beside its time: memory, the first call, what longer sequences add."""

from __future__ import annotations

import gc
import importlib
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bench_lstm import SIZES, Problem, by_hand, by_hand_in_buffers, minigrad_eager
from page import Table, held, number
from timing import Step
from turns import fresh
from workloads import compile, compiled, eager, lstm

import minigrad as mg

LONG = (200, 32, 64, 128)
MEMORY, FIRST_NUMPY, FIRST_NUMBA, FIRST_CACHED = 1.2, 0.15, 3.0, 0.7
LENGTHS = (20, 100, 400, 2000)
HAND, BPTT = "by hand, in buffers", "minigrad.bptt"
BACKENDS = {"compiled, NumPy": "numpy", "compiled, numba": "numba"}


def memory() -> Table:
    """The peak of a step, in a process for each."""
    names = [HAND, BPTT, *BACKENDS, "minigrad, eager"]
    peaks = {name: tried(peak, name) for name in names}
    rows, notes = [], []
    for name, megabytes in peaks.items():
        if isinstance(megabytes, str):
            notes.append(f"Missing: {name}: {megabytes}.")
            rows.append([name, "-", "-"])
            continue
        target = MEMORY if name in BACKENDS else None
        rows.append([name, number(megabytes), held(megabytes / peaks[HAND], target)])
    what = (
        "What a step holds at most beyond its inputs, what it has kept from the calls before "
        "included: by tracemalloc, and what the process grows by beyond that."
    )
    title = f"Peak memory of an LSTM step, (T, B, I, H) = {LONG}, float64"
    return Table(title, ["", "MB", "over by hand"], rows, [what, *notes])


def peak(name: str) -> float:
    """Return the peak of the third call, in MB."""
    problem = Problem(*(v.astype(np.float64) for v in Problem.draw(*LONG)))
    if name in BACKENDS:  # what is imported and loaded once is no matter of the step
        small = compiled(lstm((4, 2, 3, 5), np.float64), BACKENDS[name])
        small()
        small()
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    step: Step
    if name == HAND:
        step = by_hand_in_buffers(problem)
    elif name == BPTT:
        step = by_hand(problem)
    elif name in BACKENDS:
        step = compiled(lstm(LONG, np.float64), BACKENDS[name])
    else:
        step = minigrad_eager(problem)
    step()
    step()
    gc.collect()
    tracemalloc.reset_peak()
    held_before, _ = tracemalloc.get_traced_memory()
    resident = _resident("VmRSS", reset=True)
    result = step()
    _, most = tracemalloc.get_traced_memory()
    unseen = max(0, _resident("VmHWM") - resident - (most - held_before))
    del result
    return (most - before + unseen) / 1e6


def _resident(name: str, reset: bool = False) -> int:
    """Bytes of this process in memory now (VmRSS) or at most (VmHWM); 0 where Linux is not."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    found = [line.split()[1] for line in status.read_text().splitlines() if line.startswith(name)]
    return 1024 * int(found[0])


def first_calls(times: int = 3) -> Table:
    """The first calls in fresh processes, the fastest of a few; minigrad is imported before."""
    size = SIZES[1]
    rows, notes = [], []
    with tempfile.TemporaryDirectory() as folder:
        cases: list[tuple[str, str, float, Callable[[int], str]]] = [
            ("NumPy back end", "numpy", FIRST_NUMPY, "{}".format),
            ("numba, an empty cache", "numba", FIRST_NUMBA, "{}".format),
            ("numba, from the disk cache", "numba", FIRST_CACHED, lambda k: "0"),
        ]
        for title, backend, target, cache in cases:
            found = []
            for k in range(times):
                where = {"MINIGRAD_CACHE": str(Path(folder) / cache(k))}
                found.append(tried(first_call, backend, size, **where))
            if failed := [what for what in found if isinstance(what, str)]:
                notes.append(f"Missing: {title}: {failed[0]}.")
                rows.append([title, "-", "-", held(None, target)])
                continue
            seconds = min(found, key=sum)
            rows.append([title, *map(number, seconds), held(sum(seconds), target)])
    imported = tried(import_numba)
    said = imported if isinstance(imported, str) else number(imported)
    notes.append(f"`import numba`, which is part of the second call: {said} s.")
    columns = ["", "first call: recorded", "second: the program is made and run", "both"]
    return Table(f"First calls of an LSTM step, {size}, seconds", columns, rows, notes)


def first_call(backend: str, size: tuple[int, ...]) -> tuple[float, float]:
    """Return the seconds of the first two calls: after them there is a program."""
    program = lstm(size)
    marks = [time.perf_counter()]
    step = compiled(program, backend)
    for _ in range(2):
        step()
        marks.append(time.perf_counter())
    return marks[1] - marks[0], marks[2] - marks[1]


def import_numba() -> float:
    start = time.perf_counter()
    importlib.import_module("numba")
    return time.perf_counter() - start


def growth() -> Table:
    """Longer sequences: lines of the program, the calls that make it, an eager step."""
    columns = ["", *(f"T = {T:,}" for T in LENGTHS)]
    rows, notes = [], []
    for name, backend in BACKENDS.items():
        found = tried(lengths, backend)
        if isinstance(found, str):
            notes.append(f"Missing: {name}: {found}.")
            continue
        lines, first, second = zip(*found, strict=True)
        rows += [
            [f"{name}: lines of the program", *map(str, lines)],
            [f"{name}: first call, s", *map(number, first)],
            [f"{name}: second call, s", *map(number, second)],
        ]
    rows.append(["minigrad, eager: a step, s", *map(number, fresh(eager_steps))])
    notes.append(
        "The first call records, the second records again and makes the program; what numba "
        "compiles for the shortest sequence serves all."
    )
    title = "What longer sequences cost, an LSTM step with (B, I, H) = (1, 16, 16)"
    return Table(title, columns, rows, notes)


def lengths(backend: str) -> list[tuple[int, float, float]]:
    """Of each T, in one process: lines of source, and seconds of the first and the second call."""
    found = []
    compiled(lstm((4, 1, 16, 16)), backend)()  # imports
    for T in LENGTHS:
        program = lstm((T, 1, 16, 16))
        step = compile(mg.value_and_grad(program.loss, argnums=program.argnums), backend)
        marks = [time.perf_counter()]
        for _ in range(2):
            step(*program.args)
            marks.append(time.perf_counter())
        lines = len(step.source().splitlines())
        found.append((lines, marks[1] - marks[0], marks[2] - marks[1]))
    return found


def eager_steps() -> list[float]:
    found = []
    for T in LENGTHS:
        step = eager(lstm((T, 1, 16, 16)))
        step()
        start = time.perf_counter()
        step()
        found.append(time.perf_counter() - start)
    return found


def tried(f: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Return what f gives in a fresh process, or say what it raised."""
    try:
        return fresh(f, *args, **options)
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"
