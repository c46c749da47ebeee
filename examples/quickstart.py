"""Train an LSTM on 309 years of sunspots, check its gradients, draw its graph.

    python examples/quickstart.py

Everything the library is for, on real data, in under a minute:

1. the yearly sunspot numbers 1700-2008, split by time into training, validation and test;
2. an LSTM composed from primitives, trained with Adam to forecast the next year from the last 11
   (one solar cycle), on square roots, which even out the noise of counts; the L2 distance between
   the initial and the final state of its memory cells is tracked beside the validation loss: where
   it grows while validation gets worse, the memory learns the training years by heart;
3. the test error beside two baselines, persistence and a linear autoregression;
4. the automatic gradient of every parameter against the analytic BPTT and central differences;
5. the computation graph, time steps folded to one cell, as a picture and as a page to explore.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

import minigrad as mg
from minigrad.data import DataLoader, windows
from minigrad.testing import numerical_grad

DATA = Path(__file__).parent / "data" / "sunspots.csv"
WINDOW = 11  # years: one solar cycle
VALIDATION_FROM, TEST_FROM = 1910, 1955


class Split(NamedTuple):
    """Windows (N, WINDOW) and the value that follows each (N,): square roots over `scale`."""

    x: np.ndarray
    y: np.ndarray


class Forecaster(mg.nn.Module):
    """The last WINDOW values -> the next: the last one plus what the LSTM makes of them all."""

    def __init__(self, hidden: int, rng: np.random.Generator, dtype: type) -> None:
        self.lstm = mg.nn.LSTM(1, hidden, rng=rng, dtype=dtype)
        self.readout = mg.nn.Linear(hidden, 1, rng=rng, dtype=dtype)

    def forward(self, x: np.ndarray) -> mg.Tensor:
        _, (h, _) = self.lstm(x.T[:, :, None])
        return self.readout(h[-1])[:, 0] + x[:, -1]


def load(path: Path = DATA) -> tuple[np.ndarray, np.ndarray]:
    """Read years and sunspot numbers; ValueError names the line that is not two numbers."""
    years, numbers = [], []
    with path.open(newline="") as file:
        rows = csv.reader(file)
        next(rows)
        for k, row in enumerate(rows, start=2):
            try:
                year, number = row
                years.append(int(year))
                numbers.append(float(number))
            except ValueError as error:
                raise ValueError(f"{path.name}, line {k}: {','.join(row)!r}: {error}") from None
    return np.array(years), np.array(numbers)


def splits(years: np.ndarray, numbers: np.ndarray) -> tuple[Split, Split, Split, float]:
    """Split by the year to be forecast, and scale by the largest root of the training years."""
    roots = np.sqrt(numbers)
    x, y = windows(roots, WINDOW)
    scale = float(roots[years < VALIDATION_FROM].max())
    forecast = years[WINDOW:]
    parts = (
        forecast < VALIDATION_FROM,
        (forecast >= VALIDATION_FROM) & (forecast < TEST_FROM),
        forecast >= TEST_FROM,
    )
    train, validation, test = [
        Split((x[part] / scale).astype(np.float32), (y[part] / scale).astype(np.float32))
        for part in parts
    ]
    return train, validation, test, scale


def train(
    model: Forecaster, data: Split, validation: Split, epochs: int, rng: np.random.Generator
) -> mg.train.History:
    return mg.train.fit(
        model,
        mg.optim.Adam(model.parameters(), lr=0.01),
        DataLoader(*data, batch_size=32, shuffle=True, rng=rng),
        lambda batch: mg.nn.mse_loss(model(batch[0]), batch[1]),
        lambda: mg.nn.mse_loss(model(validation.x), validation.y).item(),
        epochs=epochs,
        patience=40,
        clip=1.0,
        callbacks=[mg.train.CellDistance(model.lstm)],
        out="auto" if sys.stdout.isatty() else None,
    )


def rmse(prediction: np.ndarray, data: Split, scale: float) -> float:
    """Root mean square error in sunspots."""
    forecast, actual = np.maximum(scale * prediction, 0) ** 2, (scale * data.y) ** 2
    return mg.metrics.rmse(forecast, actual)


def autoregression(data: Split) -> np.ndarray:
    """Fit the next value as a linear function of the window, by least squares; bias last."""
    return np.linalg.lstsq(np.c_[data.x, np.ones(len(data.x))], data.y, rcond=None)[0]


def bptt_gradients(model: Forecaster, data: Split) -> dict[str, np.ndarray]:
    """Differentiate the mean squared error by hand: readout, then `minigrad.bptt`, NumPy only."""
    p = {name: value.astype(np.float64) for name, value in model.state_dict().items()}
    x = data.x.T[:, :, None]
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    hs, _, cache = mg.bptt.lstm_forward(x, *[p[f"lstm.{name}_l0"] for name in names])
    h = hs[-1]
    prediction = (h @ p["readout.weight"].T + p["readout.bias"])[:, 0] + data.x[:, -1]
    d_prediction = 2 * (prediction - data.y)[:, None] / len(data.y)
    g = mg.bptt.lstm_backward(None, cache, dh_n=d_prediction @ p["readout.weight"])
    return {f"lstm.{name}_l0": g[name] for name in names} | {
        "readout.weight": d_prediction.T @ h,
        "readout.bias": d_prediction.sum(axis=0),
    }


def check(model: Forecaster, data: Split) -> bool:
    """Compare the three gradients of every parameter in float64, and print them."""
    exact = Forecaster(model.lstm.hidden_size, np.random.default_rng(0), np.float64)
    exact.load_state_dict(model.state_dict())
    few = Split(data.x[:8].astype(np.float64), data.y[:8].astype(np.float64))

    loss = mg.nn.mse_loss(exact(few.x), few.y)
    loss.backward()
    automatic = {name: p.grad for name, p in exact.named_parameters()}

    def loss_of(state: dict[str, np.ndarray]) -> float:
        exact.load_state_dict(state)
        with mg.no_grad():
            return mg.nn.mse_loss(exact(few.x), few.y).item()

    differences = numerical_grad(loss_of, model.state_dict())
    by_hand = mg.compare(bptt_gradients(model, few), automatic, rtol=1e-12)
    numeric = mg.compare(differences, automatic, rtol=1e-6)
    print("\nautomatic gradient against analytic BPTT, to 1e-12:")
    print(by_hand)
    print("\nautomatic gradient against central differences, to 1e-6:")
    print(numeric)
    return by_hand.ok and numeric.ok


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=300, help="at most so many (%(default)s)")
    parser.add_argument("--hidden", type=int, default=16, help="memory cells (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(), help="folder for what is written")
    options = parser.parse_args(argv)
    rng, start = np.random.default_rng(options.seed), time.perf_counter()

    years, numbers = load()
    data, validation, test, scale = splits(years, numbers)
    print(
        f"sunspots {years[0]}-{years[-1]}: forecast {len(data.y)} years for training, "
        f"{len(validation.y)} for validation (from {VALIDATION_FROM}), "
        f"{len(test.y)} for test (from {TEST_FROM})"
    )

    model = Forecaster(options.hidden, rng, np.float32)
    history = train(model, data, validation, options.epochs, rng)
    print(f"\n{history}")

    options.out.mkdir(parents=True, exist_ok=True)
    saved = options.out / "lstm.npz"
    mg.io.save(model, saved)
    restored = Forecaster(options.hidden, np.random.default_rng(1), np.float32)
    mg.io.load(restored, saved)
    with mg.no_grad():
        prediction = restored(test.x).data
    weights = autoregression(data)
    errors = {
        "persistence (next year = this year)": rmse(test.x[:, -1], test, scale),
        f"autoregression on {WINDOW} years": rmse(test.x @ weights[:-1] + weights[-1], test, scale),
        f"LSTM, {options.hidden} memory cells": rmse(prediction, test, scale),
    }
    print(
        f"\nparameters saved to {saved} and loaded back; error on the test years (RMSE, sunspots):"
    )
    for name, error in errors.items():
        print(f"  {name:40} {error:6.2f}")
    persistence, linear, lstm = errors.values()
    print(
        f"the LSTM {'beats' if lstm < persistence else 'does not beat'} persistence by a factor of "
        f"{persistence / lstm:.2f}, and {'beats' if lstm < linear else 'does not beat'} "
        f"the autoregression ({lstm / linear:.2f} of its error)"
    )

    agree = check(model, data)

    loss = mg.nn.mse_loss(model(data.x[:8]), data.y[:8])
    loss.backward()
    picture = mg.viz.draw(loss)
    dot = picture.save(options.out / "lstm.dot")
    page = mg.viz.show(loss, options.out / "lstm.html").path
    print(f"\nthe computation graph, {WINDOW} steps folded to one cell: {dot}, {page}")
    if shutil.which("dot"):
        print(f"drawn: {picture.render(outfile=options.out / 'lstm.svg', cleanup=True)}")
    else:
        print("install Graphviz to draw it: apt-get install graphviz, then dot -Tsvg lstm.dot")
    print(f"\n{time.perf_counter() - start:.1f} s; all gradients agree: {'yes' if agree else 'NO'}")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
