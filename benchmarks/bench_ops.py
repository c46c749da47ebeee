"""Small operations: what recording and differentiating them costs, here and elsewhere.

    python benchmarks/bench_ops.py [--rounds 7] [--full]

1. a chain of tanh(y * a + b), forward and backward of y, a and b;
2. what recording adds to reductions and indexing, forward, over the same call of NumPy;
3. x[t] for every t: whether the gradient of x costs T or T^2;
4. rows added into a table, some of them many times: the ways that NumPy has;
5. a chain of 100,000 operations: forward, backward, freed, and the memory that comes back;
6. `import minigrad` against `import numpy`.

Ratios are minigrad's time divided by the other's, so less is better for minigrad.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
from timing import Step, agree, header, measure, peer, table, unguarded, verdict

import minigrad as mg
from minigrad.ops.index import add_at

LINKS = 50
SIZES = [(4,), (16, 64), (64, 256)]
TARGETS = {"torch eager": 0.45, "HIPS autograd": 0.3}  # at the smallest size
ADDED_TARGET = 2.0  # us
ROWS_TARGET = 0.05  # of PyTorch's time at T = 4000
IMPORT_TARGET = 0.4  # of what NumPy costs, on top of it
SCATTERS = [
    (4, (64, 8)), (32, (64, 16)), (128, (1000, 64)), (64, (50_000, 256)), (1000, (1000, 8)),
    (10_000, (2048, 1)), (10_000, (2048, 128)), (20_000, (10_000, 64)),
]  # fmt: skip

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def chain_by_hand(y: np.ndarray, a: np.ndarray, b: np.ndarray) -> Step:
    def step() -> Arrays:
        ys = [y]
        for _ in range(LINKS):
            ys.append(np.tanh(ys[-1] * a + b))
        dy, da, db = np.ones_like(y), np.zeros_like(a), np.zeros_like(b)
        for k in range(LINKS, 0, -1):
            ds = dy * (1 - ys[k] * ys[k])
            da += ds * ys[k - 1]
            db += ds
            dy = ds * a
        return dy, da, db

    return step


def chain_minigrad(y: np.ndarray, a: np.ndarray, b: np.ndarray) -> Step:
    leaves = [mg.tensor(v, requires_grad=True) for v in (y, a, b)]

    def step() -> list[Any]:
        z, a, b = leaves
        for leaf in leaves:
            leaf.grad = None
        for _ in range(LINKS):
            z = mg.tanh(z * a + b)
        z.sum().backward()
        return [leaf.grad for leaf in leaves]

    return step


def chain_torch(y: np.ndarray, a: np.ndarray, b: np.ndarray) -> Step | None:
    if (torch := peer("torch")) is None:
        return None
    leaves = [torch.tensor(v, requires_grad=True) for v in (y, a, b)]

    def step() -> list[Any]:
        z, a, b = leaves
        for leaf in leaves:
            leaf.grad = None
        for _ in range(LINKS):
            z = torch.tanh(z * a + b)
        z.sum().backward()
        return [leaf.grad for leaf in leaves]

    return step


def chain_autograd(y: np.ndarray, a: np.ndarray, b: np.ndarray) -> Step | None:
    if (anp := peer("autograd.numpy")) is None:
        return None

    def loss(z: Any, a: Any, b: Any) -> Any:
        for _ in range(LINKS):
            z = anp.tanh(z * a + b)
        return anp.sum(z)

    gradient = peer("autograd").grad(loss, (0, 1, 2))
    return lambda: gradient(y, a, b)


def chain_mygrad(y: np.ndarray, a: np.ndarray, b: np.ndarray) -> Step | None:
    if (mygrad := peer("mygrad")) is None:
        return None
    leaves = [mygrad.tensor(v) for v in (y, a, b)]

    def step() -> list[Any]:
        z, a, b = leaves
        for _ in range(LINKS):
            z = mygrad.tanh(z * a + b)
        z.sum().backward()  # clears the graph; the gradients go when the leaves are used again
        return [leaf.grad for leaf in leaves]

    return step


def bench_chain(rounds: int) -> None:
    """(1) 50 links of three operations each."""
    for size in SIZES:
        rng = np.random.default_rng(0)
        y, a, b = (rng.standard_normal(size).astype(np.float32) for _ in range(3))
        candidates = {
            "NumPy by hand": chain_by_hand(y, a, b),
            "minigrad": chain_minigrad(y, a, b),
            "torch eager": chain_torch(y, a, b),
            "HIPS autograd": chain_autograd(y, a, b),
            "mygrad": chain_mygrad(y, a, b),
            "mygrad, guard off": unguarded(chain_mygrad(y, a, b)),
        }
        gradients = {
            name: dict(zip("yab", map(np.asarray, step()), strict=True))
            for name, step in candidates.items()
            if step is not None
        }
        agree(gradients, "NumPy by hand")
        table(
            f"chain of {LINKS} tanh(y * a + b), size {' x '.join(map(str, size))}, "
            "float32: forward, and backward of y, a, b",
            measure(candidates, "minigrad", rounds),
            "minigrad",
            "us per operation",
            1e6 / (3 * LINKS),
            TARGETS if size == SIZES[0] else None,
        )


INDICES, MASK = np.array([0, 3, 3]), np.arange(16) % 3 == 0
FORWARD: dict[str, Callable[[Any], Any]] = {
    "x.sum()": lambda x: x.sum(),
    "x.sum(axis=0)": lambda x: x.sum(axis=0),
    "x.sum(-1, keepdims=True)": lambda x: x.sum(axis=-1, keepdims=True),
    "np.sum(x, axis=0)": lambda x: np.sum(x, axis=0),
    "x.mean(axis=0)": lambda x: x.mean(axis=0),
    "x.max(axis=1)": lambda x: x.max(axis=1),
    "x.prod()": lambda x: x.prod(),
    "x.var(axis=0)": lambda x: x.var(axis=0),
    "x.cumsum(axis=0)": lambda x: x.cumsum(axis=0),
    "x[3]": lambda x: x[3],
    "x[2:5]": lambda x: x[2:5],
    "x[:, 1]": lambda x: x[:, 1],
    "x[..., None]": lambda x: x[..., None],
    "x[indices]": lambda x: x[INDICES],
    "x[mask]": lambda x: x[MASK],
}


def bench_forward(rounds: int) -> None:
    """(2) In pairs: a turn of NumPy, a turn of minigrad; the median of the differences."""
    print(f"\nreductions and indexing of x, 16 x 64, float32, forward; target <= {ADDED_TARGET} us")
    print(f"  {'':26} {'NumPy':>10} {'minigrad adds':>16}   {'quartiles':12}")
    array = np.ones((16, 64), np.float32)
    leaf = mg.tensor(array, requires_grad=True)
    for name, f in FORWARD.items():
        pairs = [(fastest(f, array), fastest(f, leaf)) for _ in range(4 * rounds)]
        low, added, high = np.quantile([ours - numpy for numpy, ours in pairs], [0.25, 0.5, 0.75])
        numpy = median(numpy for numpy, _ in pairs)
        outcome = "met" if added <= ADDED_TARGET else "MISSED"
        print(f"  {name:26} {numpy:7.2f} us {added:13.2f} us   {low:.2f}-{high:.2f}   {outcome}")


def fastest(f: Callable[[Any], Any], x: Any, calls: int = 500, turns: int = 3) -> float:
    """Time one call, in us: the fastest of a few turns."""
    times = []
    for _ in range(turns):
        start = time.perf_counter()
        for _ in range(calls):
            f(x)
        times.append(time.perf_counter() - start)
    return min(times) / calls * 1e6


def rows_minigrad(T: int) -> Step:
    x = mg.tensor(np.ones((T, 256), np.float32), requires_grad=True)

    def step() -> Any:
        x.grad = None
        total = x[0]
        for t in range(1, T):
            total = total + x[t]
        total.sum().backward()
        return x.grad

    return step


def rows_torch(T: int, unbind: bool) -> Step | None:
    if (torch := peer("torch")) is None:
        return None
    x = torch.ones(T, 256, requires_grad=True)

    def step() -> Any:
        x.grad = None
        rows = x.unbind(0) if unbind else x
        total = rows[0]
        for t in range(1, T):
            total = total + rows[t]
        total.sum().backward()
        return x.grad

    return step


def bench_rows(rounds: int, full: bool) -> None:
    """(3) The gradient of x from every x[t]: linear if the time per row stays the same."""
    print("\nsum of x[t] for t in range(T), rows of 256, float32: forward, and backward of x")
    print(
        f"  {'us per row':26} {'minigrad x[t]':>16} {'torch x[t]':>16} {'torch unbind':>16}", end=""
    )
    print("   minigrad / torch x[t]")
    for T in (500, 1000, 2000, 4000):
        slow = T > 2000 and not full
        candidates = {
            "minigrad": rows_minigrad(T),
            "x[t]": None if slow else rows_torch(T, unbind=False),
            "unbind": rows_torch(T, unbind=True),
        }
        timings = measure(candidates, "minigrad", rounds)
        absent = "not installed" if peer("torch") is None else "see --full"
        cells = [f"{t.seconds * 1e6 / T:.2f}" if t else absent for t in timings.values()]
        ratio = f"{timings['x[t]'].ratio:.3f}" if timings["x[t]"] else ""
        if T == 4000 and ratio:
            ratio += f"   target <= {ROWS_TARGET} {verdict(timings['x[t]'], ROWS_TARGET)}"
        line = f"  T = {T:<22} {' '.join(f'{c:>16}' for c in cells)}   {ratio}"
        print(line.rstrip())


def by_rows(out: np.ndarray, k: np.ndarray, g: np.ndarray) -> None:
    np.add.at(out, k, g)


def by_elements(out: np.ndarray, k: np.ndarray, g: np.ndarray) -> None:
    width = out.shape[1]
    np.add.at(out.reshape(-1), np.add.outer(k * width, np.arange(width)).reshape(-1), g.reshape(-1))


def by_counting(out: np.ndarray, k: np.ndarray, g: np.ndarray) -> None:
    width = out.shape[1]
    flat = np.add.outer(k * width, np.arange(width)).reshape(-1)
    out += np.bincount(flat, g.reshape(-1), out.size).astype(g.dtype).reshape(out.shape)


def by_sorting(out: np.ndarray, k: np.ndarray, g: np.ndarray) -> None:
    order = np.argsort(k, kind="stable")
    starts = np.flatnonzero(np.diff(k[order], prepend=-1))
    out[k[order][starts]] += np.add.reduceat(g[order], starts, axis=0)


ROUTES = {"rows": by_rows, "elements": by_elements, "counting": by_counting, "sorting": by_sorting}


def bench_scatter(rounds: int) -> None:
    """(4) What the gradient of a table does with the rows that were read."""
    print("\nrows added into a table, us; minigrad takes rows for the few, and elements otherwise")
    names = ["minigrad", *(f"by {name}" for name in ROUTES)]
    print(f"  {'rows, table':26} {' '.join(f'{name:>12}' for name in names)}   fastest / minigrad")
    rng = np.random.default_rng(0)
    for n, shape in SCATTERS:
        k = rng.integers(0, shape[0], n)
        g, out = np.ones((n, shape[1]), np.float32), np.zeros(shape, np.float32)
        steps: dict[str, Step | None] = {"minigrad": lambda k=k, g=g, out=out: add_at(out, k, g)}
        for name, route in ROUTES.items():
            steps[f"by {name}"] = lambda f=route, k=k, g=g, out=out: f(out, k, g)
        timings = [t for t in measure(steps, "minigrad", rounds).values() if t]
        cells = [f"{t.seconds * 1e6:12.1f}" for t in timings]
        ratio = min(1 / t.ratio for t in timings)
        print(f"  {f'{n}, {shape[0]} x {shape[1]}':26} {' '.join(cells)}   {ratio:.2f}")


def long_chain(links: int) -> tuple[Any, Any]:
    x = mg.tensor(np.ones(4, np.float32), requires_grad=True)
    y = x
    for _ in range(links // 2):
        y = y * 0.5 + x
    return x, y.sum()


def bench_long(rounds: int, links: int = 100_000) -> None:
    """(5) No recursion anywhere, and memory that returns when the loss is dropped."""
    seconds: dict[str, list[float]] = {"forward": [], "backward": [], "free": []}
    for _ in range(rounds):
        marks = [time.perf_counter()]
        x, loss = long_chain(links)
        marks.append(time.perf_counter())
        loss.backward()
        marks.append(time.perf_counter())
        del x, loss
        marks.append(time.perf_counter())
        for times, start, end in zip(seconds.values(), marks, marks[1:], strict=False):
            times.append(end - start)
    print(f"\nchain of {links:,} operations y * 0.5 + x, size 4, float32: minigrad alone")
    for name, times in seconds.items():
        print(f"  {name:26} {median(times):14.3f} s   {median(times) / links * 1e6:8.2f} us each")
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    x, loss = long_chain(links)
    held, _ = tracemalloc.get_traced_memory()
    loss.backward()
    _, peak = tracemalloc.get_traced_memory()
    del x, loss
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    for name, value in (("graph", held), ("peak of backward", peak), ("after del loss", after)):
        print(f"  memory, {name:18} {(value - before) / 1e6:14.3f} MB")


IMPORTS = """
from time import process_time as now
start = now()
import numpy
between = now()
import minigrad
print(between - start, now() - between)
"""


def bench_import(rounds: int) -> None:
    """(6) Processor time in fresh interpreters, with byte code as a second import has it."""
    with tempfile.TemporaryDirectory() as cache:
        env = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
        env.pop("PYTHONDONTWRITEBYTECODE", None)

        def seconds() -> tuple[float, ...]:
            program = [sys.executable, "-c", IMPORTS]
            done = subprocess.run(program, check=True, env=env, capture_output=True, text=True)
            return tuple(map(float, done.stdout.split()))

        seconds()  # writes the byte code
        theirs, ours = map(min, zip(*[seconds() for _ in range(rounds)], strict=True))
    outcome = "met" if ours / theirs <= IMPORT_TARGET else "MISSED"
    print("\nimport, a fresh interpreter each")
    print(f"  {'numpy':26} {1e3 * theirs:14.1f} ms")
    print(f"  {'minigrad on top of it':26} {1e3 * ours:14.1f} ms")
    print(f"  {'that / numpy':26} {ours / theirs:14.2f}      target <= {IMPORT_TARGET} {outcome}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9, help="turns of each (%(default)s)")
    parser.add_argument("--full", action="store_true", help="also PyTorch's x[t] at T = 4000")
    options = parser.parse_args()
    print(header())
    bench_chain(options.rounds)
    bench_forward(options.rounds)
    bench_rows(max(1, options.rounds // 3), options.full)
    bench_scatter(max(1, options.rounds // 3))
    bench_long(max(1, options.rounds // 3))
    bench_import(3 * options.rounds)


if __name__ == "__main__":
    main()
