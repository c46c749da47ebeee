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
from programs import compile, compiled, eager, lstm, sum_of_states
from timing import Step
from turns import fresh

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


def first_calls(threads: int, times: int = 3) -> Table:
    """The first call in fresh processes, the fastest of a few; imports of minigrad are done."""
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
                found.append(tried(first_call, backend, size, threads=threads, **where))
            if failed := [what for what in found if isinstance(what, str)]:
                notes.append(f"Missing: {title}: {failed[0]}.")
                rows.append([title, "-"])
            else:
                rows.append([title, held(min(found), target)])
        imported = tried(import_numba, threads=threads)
        said = imported if isinstance(imported, str) else number(imported)
        rows.append(["of which `import numba`", said])
    return Table(f"First call of an LSTM step, {size}, seconds", ["", "s"], rows, notes)


def first_call(backend: str, size: tuple[int, ...]) -> float:
    program = lstm(size)
    start = time.perf_counter()
    compiled(program, backend)()
    return time.perf_counter() - start


def import_numba() -> float:
    start = time.perf_counter()
    importlib.import_module("numba")
    return time.perf_counter() - start


def growth(threads: int) -> Table:
    """Longer sequences: lines of the program, the first call at each length, an eager step."""
    columns = ["", *(f"T = {T:,}" for T in LENGTHS)]
    rows, notes = [], []
    for name, backend in BACKENDS.items():
        alone = [tried(lengths, backend, (T,), threads=threads) for T in LENGTHS]
        if failed := [what for what in alone if isinstance(what, str)]:
            notes.append(f"Missing: {name}: {failed[0]}.")
            continue
        together = fresh(lengths, backend, LENGTHS, threads=threads)
        rows += [
            [f"{name}: lines of the program"] + [f"{found[0][0]}" for found in alone],
            [f"{name}: first call, s"] + [number(found[0][1]) for found in alone],
            [f"{name}: after those on the left, s"] + [number(found[1]) for found in together],
        ]
    steps = fresh(eager_steps, threads=threads)
    rows.append(["minigrad, eager: a step, s", *map(number, steps)])
    title = "What longer sequences cost, an LSTM step with (B, I, H) = (1, 16, 16)"
    return Table(title, columns, rows, notes)


def lengths(backend: str, Ts: tuple[int, ...]) -> list[tuple[int, float]]:
    """Of each T: lines of source, and seconds of the first call; one compiled function for all."""
    layer = mg.nn.LSTM(16, 16, rng=0)
    step = compile(mg.value_and_grad(sum_of_states, argnums=(0, 1)), backend)
    found = []
    for T in Ts:
        x = Problem.draw(T, 1, 16, 16).x
        start = time.perf_counter()
        step(layer, x)
        seconds = time.perf_counter() - start
        found.append((len(step.source().splitlines()), seconds))
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
