"""Candidates that take turns in processes of their own, and the least time of each.

Idle threads of a pool spin for a while after their work, and the pools of several libraries spin
against one another; so a library that brings its own (PyTorch, JAX) runs in a process of its own.
The parent lets one candidate at a time have a turn, A B C A B C ..., so that all of them see the
same machine, and keeps the least time of every candidate. A neighbour on the machine can only add.

With n threads a process is held to n cores, where the system can do that, which every library
obeys; the environment says so as well.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np
from timing import SETTLE, Step

Candidates = Mapping[str, Callable[[], "Step | None"]]
Builder = Callable[..., Candidates]
"""Gives for a case what is timed: by name, how to make the step, or None if not installed."""

TURN, BLOCK = 0.05, 0.004  # seconds
LIMIT = 600.0
POOLS = ("OMP", "OPENBLAS", "MKL", "NUMBA", "VECLIB_MAXIMUM")


class Opened(NamedTuple):
    """What the first call of a candidate gave, or why there is none."""

    arrays: list[np.ndarray]
    missing: str = ""


class Processes:
    """A process for each builder, by name; use with `with`, or close.

    One that dies, or takes longer than its limit, in seconds, to build a case, is ended: then, and
    for all cases after it, a candidate of its name is missing.
    """

    def __init__(
        self, builders: Mapping[str, Builder], threads: int, limits: Mapping[str, float]
    ) -> None:
        self.threads, self.limits = threads, limits
        self._children = {k: _Child(serve, (build,), threads) for k, build in builders.items()}
        self._ended: dict[str, str] = {}
        self._where: dict[str, _Child] = {}

    def open(self, *case: Any) -> dict[str, Opened]:
        """Build the candidates of a case, and call each twice."""
        found = {name: Opened([], why) for name, why in self._ended.items()}
        self._where = {}
        for child in self._children.values():
            child.send(("open", case))
        for group, child in list(self._children.items()):
            limit = self.limits.get(group, LIMIT)
            try:
                answers = child.receive(limit)
            except (TimeoutError, EOFError, ConnectionError) as error:
                late = isinstance(error, TimeoutError)
                self._ended[group] = f"not within {limit:.0f} s" if late else "its process died"
                self._children.pop(group).end()
                answers = {group: Opened([], self._ended[group])}
            found |= answers
            self._where |= dict.fromkeys(answers, child)
        return found

    def least(
        self, seconds: float, names: Iterable[str], rounds: int = 5
    ) -> tuple[dict[str, float], int]:
        """Return the least seconds of a call of each of `names`, and the number of rounds.

        There are as many rounds as fit into `seconds`, and at least `rounds`.
        """
        least = dict.fromkeys(names, float("inf"))
        end, done = time.perf_counter() + seconds, 0
        while done < rounds or time.perf_counter() < end:
            for name in least:
                child = self._where[name]
                if self.threads > 1:
                    time.sleep(SETTLE)
                child.send(("turn", name))
                least[name] = min(least[name], child.receive(LIMIT))
            done += 1
        return least, done

    def close(self) -> None:
        for child in self._children.values():
            child.end()

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def fresh(f: Callable[..., Any], *args: Any, threads: int = 1, **environment: str) -> Any:
    """Return what `f(*args)` gives in a new process; f is found by its name there."""
    child = _Child(_once, (f, args), threads, environment)
    try:
        return child.receive(LIMIT)
    finally:
        child.end()


def serve(pipe: Connection, build: Builder) -> None:
    """Build candidates and give them turns, as the parent says."""
    steps: dict[str, Step] = {}
    while True:
        try:
            what, argument = pipe.recv()
        except EOFError:
            return
        try:
            if what == "turn":
                pipe.send(turn(steps[argument]))
                continue
            steps.clear()
            answers: dict[str, Opened] = {}
            for name, make in build(*argument).items():
                answers[name] = _opened(name, make, steps)
            gc.collect()
            gc.freeze()  # what was there before is not walked, as in timing.measure
            pipe.send(answers)
        except Exception as error:
            pipe.send(error)


def _opened(name: str, make: Callable[[], Step | None], steps: dict[str, Step]) -> Opened:
    try:
        if (step := make()) is None:
            return Opened([], "not installed")
        first = arrays(step())
        second = arrays(step())
    except Exception as error:
        return Opened([], f"{type(error).__name__}: {str(error).splitlines()[0][:120]}")
    for a, b in zip(first, second, strict=True):
        if not np.allclose(a, b, rtol=1e-4, atol=1e-4 * float(np.abs(a).max(initial=0.0))):
            return Opened([], "gives other numbers at the second call")
    steps[name] = step
    return Opened(second)  # a compiled function has its program then


def turn(step: Step) -> float:
    """Return the least seconds of a call: of blocks of calls, after one that does not count."""
    start = time.perf_counter()
    step()
    end, calls = start + TURN, max(1, int(BLOCK / max(time.perf_counter() - start, 1e-7)))
    least = float("inf")
    while True:
        start = time.perf_counter()
        for _ in range(calls):
            step()
        now = time.perf_counter()
        least = min(least, (now - start) / calls)
        if now > end:
            return least


def arrays(result: Any) -> list[np.ndarray]:
    """List the arrays in nested results, in order, whatever library they are of."""
    if result is None:
        return []
    if isinstance(result, Mapping):
        result = list(result.values())
    if isinstance(result, (list, tuple)):
        return [a for part in result for a in arrays(part)]
    for method in ("detach", "numpy"):
        result = getattr(result, method)() if hasattr(result, method) else result
    return [np.array(result)]


class _Child:
    """A spawned process and the pipe to it."""

    def __init__(
        self,
        target: Callable[..., None],
        args: Iterable[Any],
        threads: int,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, far = context.Pipe()
        self._process = context.Process(target=target, args=(far, *args), daemon=True)
        with _limited(threads, environment or {}):
            self._process.start()
        far.close()

    def send(self, message: Any) -> None:
        self._pipe.send(message)

    def receive(self, limit: float) -> Any:
        if not self._pipe.poll(limit):
            raise TimeoutError
        answer = self._pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def end(self) -> None:
        self._pipe.close()
        self._process.join(0.5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _once(pipe: Connection, f: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        pipe.send(f(*args))
    except Exception as error:
        pipe.send(error)


@contextmanager
def _limited(threads: int, more: Mapping[str, str]) -> Iterator[None]:
    """What is started in here has this many threads: environment and cores are inherited."""
    change = {f"{pool}_NUM_THREADS": str(threads) for pool in POOLS} | dict(more)
    if threads == 1:
        change["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    before = {name: os.environ.get(name) for name in change}
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    os.environ.update(change)
    if cores:
        os.sched_setaffinity(0, sorted(cores)[-threads:])
    try:
        yield
    finally:
        if cores:
            os.sched_setaffinity(0, cores)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
