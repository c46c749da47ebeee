"""What `fit` costs beside a loop by hand, and what several processes cost beside one.

    OMP_NUM_THREADS=1 python benchmarks/bench_fit.py [--rounds N]
    OMP_NUM_THREADS=1 mpiexec -n 2 python -m mpi4py benchmarks/bench_fit.py [--rounds N]

The first is an LSTM's training step at (T, B, I, H) = (50, 16, 32, 64), float32, with Adam: epochs
of `fit` over a DataLoader, with its norms, its history and its progress on a terminal, against the
same loop written out. They take turns in one process; the figure is the ratio of the CPU
time of their fastest steps, which others on the machine disturb less than the time by the clock.

The second is the step of one process at (50, 32, 64, 128), with `mean_gradients` and without: the
share of the step that is communication, packing and unpacking included. Processes wait for one
another before the clock starts.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from timing import header, peer

import minigrad as mg
from minigrad.data import DataLoader
from minigrad.parallel import mean_gradients
from minigrad.train import fit

TARGET = 1.05
STEPS = 10  # of an epoch


class Screen(io.StringIO):
    """A terminal, so that the progress is shown, too."""

    def isatty(self) -> bool:
        return True


class Reader(mg.nn.Module):
    """An LSTM, and a number read from its last state."""

    def __init__(self, size: int, hidden: int) -> None:
        self.lstm = mg.nn.LSTM(size, hidden, batch_first=True, rng=0)
        self.readout = mg.nn.Linear(hidden, 1, rng=0)

    def forward(self, x: Any) -> Any:
        _, (h, _) = self.lstm(x)
        return self.readout(h[-1])


def data(steps: int, batch: int, size: int) -> tuple[Any, Any]:
    """Return as much as STEPS batches take."""
    rng = np.random.default_rng(0)
    n = STEPS * batch
    x = rng.normal(size=(n, steps, size)).astype(np.float32)
    return x, rng.normal(size=(n, 1)).astype(np.float32)


def loops() -> dict[str, tuple[Callable[[], float], list[float]]]:
    """Return an epoch of `fit` and one by hand, and when each calls the loss."""
    x, y = data(50, 16, 32)
    made: dict[str, Any] = {}
    for name in ("by hand", "fit"):
        net = Reader(32, 64)
        optimizer = mg.optim.Adam(net.parameters(), lr=1e-4)
        loader = DataLoader(x, y, batch_size=16, shuffle=True, rng=0)
        moments: list[float] = []

        def loss(batch: Any, net: Any = net, moments: list[float] = moments) -> Any:
            moments.append(time.process_time())
            return mg.nn.mse_loss(net(batch[0]), batch[1])

        def by_hand(optimizer: Any = optimizer, loader: Any = loader, loss: Any = loss) -> float:
            losses = []
            for batch in loader:
                optimizer.zero_grad()
                value = loss(batch)
                value.backward()
                losses.append(value.item())
                optimizer.step()
            return sum(losses) / len(losses)

        def by_fit(
            net: Any = net, optimizer: Any = optimizer, loader: Any = loader, loss: Any = loss
        ) -> float:
            return fit(net, optimizer, loader, loss, epochs=1, out=Screen())["train"][0]

        made[name] = (by_fit if name == "fit" else by_hand), moments
    return made


def overhead(rounds: int) -> None:
    """Print what a step of `fit` costs: from one call of the loss to the next in an epoch."""
    made = loops()
    found = {name: epoch() for name, (epoch, _) in made.items()}
    assert found["fit"] == found["by hand"], f"they train differently: {found}"
    best = dict.fromkeys(made, float("inf"))
    for k in range(rounds):
        for name in list(made)[:: 1 if k % 2 else -1]:
            epoch, moments = made[name]
            moments.clear()
            epoch()
            best[name] = min(best[name], *np.diff(moments).tolist())
    ratio = best["fit"] / best["by hand"]
    print("\na training step at (T, B, I, H) = (50, 16, 32, 64)")
    for name, seconds in best.items():
        print(f"  {name:10} {seconds * 1e3:8.3f} ms")
    print(f"  fit / by hand  {ratio:.3f}   <= {TARGET}: {'met' if ratio <= TARGET else 'MISSED'}")


def communication(comm: Any, rounds: int) -> None:
    """Print which share of a step is communication: of the slowest process, in the best rounds."""
    x, y = data(50, 32, 64)
    net = Reader(64, 128)
    optimizer = mg.optim.Adam(net.parameters(), lr=1e-4)
    times = []
    for k in range(rounds):
        rows = slice(32 * (k % STEPS), 32 * (k % STEPS + 1))
        comm.Barrier()
        start = time.perf_counter()
        optimizer.zero_grad()
        loss = mg.nn.mse_loss(net(x[rows]), y[rows])
        loss.backward()
        comm.Barrier()  # waiting for a slower process is no communication
        before = time.perf_counter()
        mean_gradients(net.parameters(), comm, 32, loss)
        after = time.perf_counter()
        optimizer.step()
        comm.Barrier()
        times.append((time.perf_counter() - start, after - before))
    everywhere = np.array(comm.allgather(times)).max(axis=0)  # (rounds, 2)
    if comm.Get_rank():
        return
    step, sent = everywhere[np.argmin(everywhere[:, 0])]
    numbers = sum(p.size for p in net.parameters())
    print(header())
    print(
        f"\na training step at (T, B, I, H) = (50, 32, 64, 128), {comm.Get_size()} processes, "
        f"{numbers:,} parameters\n"
        f"  fastest step {step * 1e3:.2f} ms, in it mean_gradients {sent * 1e3:.2f} ms: "
        f"{sent / step:.1%}\n"
        f"  least of each {everywhere[:, 0].min() * 1e3:.2f} ms and "
        f"{everywhere[:, 1].min() * 1e3:.2f} ms: "
        f"{everywhere[:, 1].min() / everywhere[:, 0].min():.1%}"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    rounds = parser.parse_args().rounds
    mpi = peer("mpi4py.MPI")
    if mpi is not None and mpi.COMM_WORLD.Get_size() > 1:
        communication(mpi.COMM_WORLD, rounds)
        return
    print(header())
    overhead(rounds)


if __name__ == "__main__":
    main()
