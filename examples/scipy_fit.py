"""Fit a curve to 309 years of sunspots with SciPy's optimisers and minigrad's derivatives.

    python examples/scipy_fit.py

The square roots of the yearly sunspot numbers, which even out the noise of counts, are fitted by a
level and a few waves,

    y(t) = level + sum_k  a_k cos(2 pi t / T_k) + b_k sin(2 pi t / T_k),

by least squares in level, a, b and the periods T, which start at the peaks of the periodogram. The
parameters are a dict; `mg.flatten` makes it the vector that SciPy wants, and back. Three ways:

    L-BFGS-B, finite differences    SciPy alone: the loss once more for each parameter
    L-BFGS-B, jac=True              loss and gradient from one run: mg.value_and_grad
    Newton-CG, hessp                the Hessian times a vector, never the Hessian: mg.hvp

All must end at the same fit.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import minigrad as mg

try:
    from scipy.optimize import minimize
except ImportError:
    sys.exit("this example needs SciPy: pip install scipy")

DATA = Path(__file__).parent / "data" / "sunspots.csv"
WAVES = 5


class Fit(NamedTuple):
    """What an optimiser found, and what it took: calls of the loss, gradients, Hessian products."""

    name: str
    loss: float
    slope: float
    calls: tuple[int, int, int]
    params: dict[str, np.ndarray]


def load() -> tuple[np.ndarray, np.ndarray]:
    """Read years and sunspot numbers."""
    with DATA.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    years, numbers = np.array(rows, dtype=np.float64).T
    return years, numbers


def start(years: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Begin with the mean and the highest peaks of the periodogram, a and b by least squares."""
    n = 8 * len(y)
    power = abs(np.fft.rfft(y - y.mean(), n))
    peaks = [k for k in range(2, len(power) - 1) if power[k] > max(power[k - 1], power[k + 1])]
    highest = sorted(peaks, key=lambda k: -power[k])[:WAVES]
    periods = n / np.array(highest, dtype=np.float64)
    phase = 2 * np.pi * (years - years[0])[:, None] / periods
    columns = np.c_[np.ones(len(y)), np.cos(phase), np.sin(phase)]
    level, *waves = np.linalg.lstsq(columns, y, rcond=None)[0]
    a, b = np.reshape(waves, (2, WAVES))
    return {"level": np.array(level), "a": a, "b": b, "period": periods}


def curve(p: dict[str, Any], t: np.ndarray) -> Any:
    """The model at times t (n,), in years since the first."""
    phase = 2 * np.pi * t[:, None] / p["period"]
    return p["level"] + np.cos(phase) @ p["a"] + np.sin(phase) @ p["b"]


def fits(years: np.ndarray, y: np.ndarray, first: dict[str, np.ndarray]) -> list[Fit]:
    t = years - years[0]
    vector, unflatten = mg.flatten(first)

    def loss(v: Any) -> Any:
        return np.mean((curve(unflatten(v), t) - y) ** 2)

    both, slope = mg.value_and_grad(loss), mg.grad(loss)  # arrays in, arrays out

    def hessian_times(v: np.ndarray, direction: np.ndarray) -> np.ndarray:
        return mg.hvp(loss, (v,), (direction,))[0]

    tight = {"ftol": 1e-14, "gtol": 1e-8, "maxiter": 2000, "maxfun": 100_000}
    ways = {
        "L-BFGS-B, finite differences": minimize(
            loss, vector, method="L-BFGS-B", options=tight
        ),
        "L-BFGS-B, jac=True": minimize(
            both, vector, jac=True, method="L-BFGS-B", options=tight
        ),
        "Newton-CG, hessp": minimize(
            both, vector, jac=True, hessp=hessian_times, method="Newton-CG",
            options={"xtol": 1e-10},
        ),
    }  # fmt: skip
    return [
        Fit(
            name,
            float(found.fun),
            float(np.abs(slope(found.x)).max()),
            (found.nfev, found.get("njev", 0), found.get("nhev", 0)),
            {k: np.asarray(part) for k, part in unflatten(found.x).items()},
        )
        for name, found in ways.items()
    ]


def main() -> int:
    years, numbers = load()
    y = np.sqrt(numbers)
    first = start(years, y)
    found = fits(years, y, first)
    best = min(found, key=lambda fit: fit.loss)

    n = mg.flatten(first)[0].size
    print(f"{len(y)} years, {WAVES} waves, {n} parameters; loss: mean squared error of the roots")
    print(f"  {'':30} {'loss':>12} {'max |slope|':>12} {'losses':>8} {'gradients':>10} {'H v':>6}")
    mean = float(np.mean((y - y.mean()) ** 2))
    begun = float(np.mean((curve(first, years - years[0]) - y) ** 2))
    print(
        f"  {'the mean alone':30} {mean:12.6f}\n  {'periodogram, before the fit':30} {begun:12.6f}"
    )
    for fit in found:
        losses, gradients, products = fit.calls
        if fit.name.endswith("differences"):
            gradients = 0  # SciPy counts those that it makes of losses
        print(
            f"  {fit.name:30} {fit.loss:12.6f} {fit.slope:12.1e} {losses:8} {gradients:10} "
            f"{products:6}"
        )

    amplitude = np.hypot(best.params["a"], best.params["b"])
    print("\nthe waves, the strongest first:")
    for k in np.argsort(-amplitude):
        print(f"  period {best.params['period'][k]:7.3f} years, amplitude {amplitude[k]:.3f}")

    agree = all(abs(fit.loss - best.loss) <= 1e-6 * best.loss for fit in found)
    print(f"\nall three ways end at the same loss: {'yes' if agree else 'NO'}")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
