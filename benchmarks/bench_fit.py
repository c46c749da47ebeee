"""What `fit` costs beside a loop by hand, and what several processes cost beside one.

    OMP_NUM_THREADS=1 python benchmarks/bench_fit.py [--rounds N]
    OMP_NUM_THREADS=1 mpiexec -n 2 python -m mpi4py benchmarks/bench_fit.py [--rounds N]

The first is an LSTM's training step at (T, B, I, H) = (50, 16, 32, 64), float32, with Adam: epochs
of `fit` over a DataLoader, with its norms, its history and its progress on a terminal, against the
same loop written out. They take turns in one process; the figure is the ratio of the CPU
time of their fastest steps, which others on the machine disturb less than the time by the clock.

Then the same parameters with a loss that costs next to nothing, where what `fit` adds shows better.

The second is the step of one process at (50, 32, 64, 128): the share of it that is communication,
packing and unpacking included, by the clock and in CPU time, where waiting counts, too. Processes
wait for one another before the clock starts.
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


def loops(cheap: bool) -> dict[str, tuple[Callable[[], float], list[float]]]:
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
            if cheap:
                return sum([p.sum() for p in net.parameters()], start=mg.tensor(0.0))
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


def fastest(cheap: bool, rounds: int) -> dict[str, float]:
    """Return the seconds from one call of the loss to the next in an epoch: the least of each."""
    made = loops(cheap)
    found = {name: epoch() for name, (epoch, _) in made.items()}
    assert found["fit"] == found["by hand"], f"they train differently: {found}"
    best = dict.fromkeys(made, float("inf"))
    for k in range(rounds):
        for name in list(made)[:: 1 if k % 2 else -1]:
            epoch, moments = made[name]
            moments.clear()
            epoch()
            best[name] = min(best[name], *np.diff(moments).tolist())
    return best


def overhead(rounds: int) -> None:
    """Print what a step of `fit` costs."""
    best, cheap = fastest(False, rounds), fastest(True, rounds)
    ratio, added = best["fit"] / best["by hand"], cheap["fit"] - cheap["by hand"]
    print("\na training step at (T, B, I, H) = (50, 16, 32, 64)")
    for name, seconds in best.items():
        print(f"  {name:10} {seconds * 1e3:8.3f} ms")
    print(f"  fit / by hand  {ratio:.3f}   <= {TARGET}: {'met' if ratio <= TARGET else 'MISSED'}")
    print(
        f"  with a loss of next to nothing, fit adds {added * 1e6:.0f} us to a step: "
        f"{added / best['by hand']:.1%} of the above"
    )


def communication(comm: Any, rounds: int) -> None:
    """Print which share of a step is communication: of the slowest process, in the best rounds."""
    x, y = data(50, 32, 64)
    net = Reader(64, 128)
    optimizer = mg.optim.Adam(net.parameters(), lr=1e-4)
    times = []
    for k in range(rounds):
        rows = slice(32 * (k % STEPS), 32 * (k % STEPS + 1))
        comm.Barrier()
        start = now()
        optimizer.zero_grad()
        loss = mg.nn.mse_loss(net(x[rows]), y[rows])
        loss.backward()
        computed = now() - start
        comm.Barrier()  # waiting for a slower process is no communication
        before = now()
        mean_gradients(net.parameters(), comm, 32, loss)
        sent = now() - before
        before = now()
        optimizer.step()
        times.append((computed + now() - before, sent))
    everywhere = np.array(comm.allgather(times)).max(axis=0)  # (rounds, 2 parts, 2 clocks)
    if comm.Get_rank():
        return
    numbers = sum(p.size for p in net.parameters())
    print(header())
    print(
        f"\na training step at (T, B, I, H) = (50, 32, 64, 128), {comm.Get_size()} processes, "
        f"{numbers:,} parameters"
    )
    for name, (rest, sent) in zip(("by the clock", "CPU"), everywhere.min(axis=0).T, strict=True):
        print(
            f"  {name:12}  step {1e3 * (rest + sent):.2f} ms, in it mean_gradients "
            f"{1e3 * sent:.2f} ms: {sent / (rest + sent):.1%}"
        )


def now() -> Any:
    """Return the time by the clock, and that of this process."""
    return np.array([time.perf_counter(), time.process_time()])


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
