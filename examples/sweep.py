"""Train the same model from many seeds, on all cores, and get to the bit what one core gets.

    python examples/sweep.py --seeds 8 --jobs 2

One number says little about a model: it depends on the seed. Here an LSTM forecasts the yearly
sunspot number from the 11 years before, from several seeds, and what is told is the mean and the
spread of the test error. A run is a function of its seed and of nothing else: it makes its own
generators, and leaves the one of `mg.manual_seed` alone. So runs may be dealt out to processes by
joblib, in any order; all of them are then made once more, one after the other, and compared.

Expected, in under half a minute: 0.079 +- 0.003, in units of the largest root; the same number
again for the next year (persistence) has 0.138.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # cores are for runs; and sums keep their order

import numpy as np

import minigrad as mg
from minigrad.data import DataLoader, split, windows
from minigrad.metrics import rmse

try:
    from joblib import Parallel, delayed
except ImportError:
    sys.exit("this example needs joblib: pip install joblib")

DATA = Path(__file__).parent / "data" / "sunspots.csv"
WINDOW = 11  # years: one solar cycle


class Run(NamedTuple):
    """What is left of a run: the error on years it has not seen, and its weights."""

    error: float
    epochs: int
    weights: dict[str, np.ndarray]


class Forecaster(mg.nn.Module):
    """The last WINDOW values -> the next: the last one, plus what the LSTM makes of them all."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.lstm = mg.nn.LSTM(1, 8, batch_first=True, rng=rng)
        self.readout = mg.nn.Linear(8, 1, rng=rng)

    def forward(self, x: np.ndarray) -> mg.Tensor:
        _, (h, _) = self.lstm(x[:, :, None])
        return self.readout(h[-1])[:, 0] + x[:, -1]


def parts() -> list[tuple[np.ndarray, np.ndarray]]:
    """Read the series, as square roots over their largest, and split its windows by time."""
    with DATA.open(newline="") as file:
        numbers = [float(row["SUNACTIVITY"]) for row in csv.DictReader(file)]
    roots = np.sqrt(numbers, dtype=np.float32)
    return split(*windows(roots / roots.max(), WINDOW), shares=(0.7, 0.15, 0.15))


def run(seed: int, epochs: int) -> Run:
    """Train from one seed."""
    rng = np.random.default_rng(seed)
    train, validation, test = parts()
    model = Forecaster(rng)
    optimizer = mg.optim.Adam(model.parameters(), lr=0.01)
    history = mg.train.fit(
        model,
        optimizer,
        DataLoader(*train, batch_size=32, shuffle=True, rng=rng),
        lambda batch: mg.nn.mse_loss(model(batch[0]), batch[1]),
        lambda: rmse(model(validation[0]), validation[1]),
        epochs=epochs,
        patience=10,
        clip=1.0,
        out=None,
    )
    with mg.no_grad():
        error = rmse(model(test[0]), test[1])
    return Run(error, len(history), model.state_dict())


def same(a: Run, b: Run) -> bool:
    """Whether two runs are the same to the bit."""
    names = a.weights.keys() == b.weights.keys()
    return names and a[:2] == b[:2] and all(
        np.array_equal(a.weights[k], b.weights[k]) for k in a.weights
    )  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=8, help="how many (%(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (%(default)s)")
    parser.add_argument("--epochs", type=int, default=60, help="at most so many (%(default)s)")
    options = parser.parse_args(argv)
    seeds = range(options.seeds)

    start = time.perf_counter()
    together = Parallel(n_jobs=options.jobs)(delayed(run)(seed, options.epochs) for seed in seeds)
    middle = time.perf_counter()
    alone = [run(seed, options.epochs) for seed in seeds]
    end = time.perf_counter()

    for seed, found in zip(seeds, together, strict=True):
        print(f"seed {seed}: test error {found.error:.4f} after {found.epochs} epochs")
    errors = np.array([found.error for found in together])
    spread = errors.std(ddof=1) if len(errors) > 1 else 0.0
    _, _, (x, y) = parts()
    print(f"mean {errors.mean():.4f} +- {spread:.4f}; persistence {rmse(x[:, -1], y):.4f}")
    print(f"{options.jobs} processes {middle - start:.1f} s, one {end - middle:.1f} s")
    equal = all(same(a, b) for a, b in zip(together, alone, strict=True))
    print(f"the same to the bit: {'yes' if equal else 'NO'}")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
