"""Forecast sunspots for 11 years at once, which is a whole cycle of the sun.

    python examples/sunspots.py [--plot sunspots.png]

An LSTM reads the last 22 yearly numbers, as square roots, which even out the noise of counts; its
last state gives the next 11 together, one output for each year ahead. The years are split by time:
training until 1909, validation until 1954, test from 1955 on.

The idea: the sun was never as active before as in the test years, so numbers that are large there
are larger than all that the net has learned from. So every window is scaled by its own mean and
standard deviation, and the forecast is scaled back (Kim et al., 2022). What is learned then is the
shape of a cycle, not its height. Both ways stand in the table, for the net and for the
autoregression, which is linear in the same 22 numbers.

Expected, in about 8 s: the root mean square error, in sunspots, of all forecasts from 1955 on.

                                one scale    own scales
    the cycle before again           37.2          37.2
    autoregression                   35.7          26.6
    LSTM, the mean of 3 nets         40.4          26.3
"""

from __future__ import annotations

import argparse
import csv
import itertools
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

import minigrad as mg
from minigrad import metrics, nn
from minigrad.data import DataLoader, windows

DATA = Path(__file__).parent / "data" / "sunspots.csv"
WINDOW, AHEAD = 22, 11
VALIDATION_FROM, TEST_FROM = 1910, 1955


class Split(NamedTuple):
    """The first years of forecasts (N,), what was before (N, WINDOW), and what came (N, AHEAD)."""

    years: np.ndarray
    x: np.ndarray
    y: np.ndarray


class Forecaster(nn.Module):
    """Windows (N, WINDOW) -> what follows, (N, AHEAD)."""

    def __init__(self, hidden: int) -> None:
        self.lstm = nn.LSTM(1, hidden)
        self.readout = nn.Linear(hidden, AHEAD)

    def forward(self, x: np.ndarray) -> mg.Tensor:
        _, (h, _) = self.lstm(x.T[:, :, None])
        return self.readout(h[-1])


def load() -> tuple[np.ndarray, np.ndarray]:
    """Read years and sunspot numbers."""
    with DATA.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    years, numbers = np.array(rows, dtype=np.float64).T
    return years, numbers


def splits(years: np.ndarray, numbers: np.ndarray) -> list[Split]:
    """Return training, validation and test: no year of one is forecast in another."""
    x, y = windows(np.sqrt(numbers), WINDOW, horizon=AHEAD)
    first = years[WINDOW:][: len(x)]
    bounds = (-np.inf, VALIDATION_FROM, TEST_FROM, np.inf)
    parts = [(first >= low) & (first + AHEAD <= high) for low, high in itertools.pairwise(bounds)]
    return [Split(first[part], x[part], y[part]) for part in parts]


class Scale(NamedTuple):
    """A mean and a standard deviation, (N, 1) or (1, 1), and what they make of roots."""

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, axis: int | None) -> Scale:
        return cls(x.mean(axis=axis, keepdims=True), x.std(axis=axis, keepdims=True))

    def small(self, roots: np.ndarray) -> np.ndarray:
        return ((roots - self.mean) / self.deviation).astype(np.float32)

    def spots(self, small: np.ndarray) -> np.ndarray:
        return np.maximum(small * self.deviation + self.mean, 0) ** 2


def lstm(x: list[np.ndarray], y: list[np.ndarray], options: argparse.Namespace) -> np.ndarray:
    """Return the forecasts of the last of three parts: the mean of nets from several seeds."""
    forecasts = []
    for seed in range(options.seed, options.seed + options.nets):
        mg.manual_seed(seed)
        model = Forecaster(options.hidden)
        mg.train.fit(
            model,
            mg.optim.AdamW(model.parameters(), lr=0.01),
            DataLoader(x[0], y[0], batch_size=32, shuffle=True),
            lambda batch, model=model: nn.mse_loss(model(batch[0]), batch[1]),
            lambda model=model: nn.mse_loss(model(x[1]), y[1]).item(),
            epochs=options.epochs,
            patience=30,
            clip=1.0,
            out=None,
        )
        with mg.no_grad():
            forecasts.append(model(x[2]).data)
    return np.mean(forecasts, axis=0)


def autoregression(x: list[np.ndarray], y: list[np.ndarray]) -> np.ndarray:
    """Return the forecasts of the last part: linear in the window, by least squares."""
    with_one = [np.c_[part, np.ones(len(part))] for part in x]
    return with_one[2] @ np.linalg.lstsq(with_one[0], y[0], rcond=None)[0]


def plot(path: Path, years: np.ndarray, numbers: np.ndarray, test: Split, spots: dict) -> None:
    """Draw the truth and forecasts that begin a cycle apart; and the error by years ahead."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        print("no plot: Matplotlib is not installed (pip install 'minigrad[plot]')")
        return
    figure, (above, below) = plt.subplots(2, 1, figsize=(9, 7), layout="constrained")
    shown = years >= TEST_FROM - WINDOW
    above.plot(years[shown], numbers[shown], color="black", label="truth")
    colours = dict(zip(spots, plt.rcParams["axes.prop_cycle"].by_key()["color"], strict=False))
    for name in ("LSTM, one scale", "LSTM, own scales"):
        for k in range(0, len(test.years), AHEAD):
            ahead = test.years[k] + np.arange(AHEAD)
            label = name if not k else None
            above.plot(ahead, spots[name][k], ".-", color=colours[name], label=label)
    for k in range(0, len(test.years), AHEAD):
        above.axvline(test.years[k] - 0.5, color="0.85", zorder=0)
    above.set(
        ylabel="sunspots", title="Every forecast begins at a grey line and knows what is left of it"
    )
    above.legend(loc="upper left")
    for name, forecast in spots.items():
        errors = [metrics.rmse(forecast[:, k], test.y[:, k] ** 2) for k in range(AHEAD)]
        below.plot(range(1, AHEAD + 1), errors, "o-", color=colours[name], label=name)
    below.set(xlabel="years ahead", ylabel="root mean square error", ylim=(0, None))
    below.legend(ncols=2)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    print(f"drawn: {path}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=150, help="at most so many (%(default)s)")
    parser.add_argument("--hidden", type=int, default=16, help="memory cells (%(default)s)")
    parser.add_argument("--nets", type=int, default=3, help="whose mean is taken (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path, help="file for a picture of the forecasts")
    options = parser.parse_args(argv)
    start = time.perf_counter()

    years, numbers = load()
    parts = splits(years, numbers)
    test = parts[2]
    spots = {"the cycle before again": test.x[:, -AHEAD:] ** 2}
    for title, axis in (("one scale", None), ("own scales", 1)):
        scale = [Scale.of((parts[0] if axis is None else part).x, axis) for part in parts]
        x = [s.small(part.x) for s, part in zip(scale, parts, strict=True)]
        y = [s.small(part.y) for s, part in zip(scale, parts, strict=True)]
        spots[f"autoregression, {title}"] = scale[2].spots(autoregression(x, y))
        spots[f"LSTM, {title}"] = scale[2].spots(lstm(x, y, options))

    count = " + ".join(str(len(part.x)) for part in parts)
    print(f"{count} windows of {WINDOW} years; the error of forecasts from {TEST_FROM} on:")
    columns = (1, 2, 4, 6, 8, 11)
    print(f"  {'years ahead':26}" + "".join(f"{k:7}" for k in columns) + "     all")
    for name, forecast in spots.items():
        errors = [metrics.rmse(forecast[:, k - 1], test.y[:, k - 1] ** 2) for k in columns]
        print(
            f"  {name:26}"
            + "".join(f"{e:7.1f}" for e in errors)
            + f"{metrics.rmse(forecast, test.y**2):8.1f}"
        )
    if options.plot:
        plot(options.plot, years, numbers, test, spots)
    print(f"{time.perf_counter() - start:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
