"""The parameters of a differential equation from noisy data, and how sure they are.

    python examples/ode.py [--repeats 400] [--plot ode.png]

Hunted and hunters, in logarithms u and v (Lotka, 1925; Volterra, 1926):

    du/dt = a - b exp(v)          dv/dt = c exp(u) - d

The solver is NumPy, so the squared error S of what it gives has derivatives, and Newton's method
finds the parameters. The idea: where S is least, its second derivatives say how sure they are.
With noise of variance s^2 = S / (numbers - parameters), the covariance is (H / 2 s^2)^-1, with H
from `mg.hessian`. Is that true? The experiment is repeated with new noise and fitted again, all
repeats side by side: the fits must scatter as the Hessian said, and their intervals must hold the
truth 95 times in 100.

Expected, in about 4 s: all six parameters within 2 standard errors of the truth; the scatter of
400 repeats is 0.99 to 1.10 times their mean standard error; 95.2 % of the intervals hold the truth.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg

NAMES = ("a", "b", "c", "d", "u(0)", "v(0)")
TRUTH = np.array([1.0, 0.4, 0.3, 0.8, 0.5, 0.5])
NOISE = 0.1
STEP, STEPS, EVERY = 0.2, 60, 2  # the solver's steps, and at which of them there is data
QUANTILE = 2.005  # of Student's t, 97.5 %, for 60 numbers less 6 parameters


def rates(p: Any, y: Any) -> Any:
    """Return dy/dt of logarithms y (..., 2), for parameters p (..., 6)."""
    u, v = y[..., 0], y[..., 1]
    return mg.stack([p[..., 0] - p[..., 1] * np.exp(v), p[..., 2] * np.exp(u) - p[..., 3]], -1)


def solve(p: Any) -> Any:
    """Return y (STEPS + 1, ..., 2) by the classical method of Runge and Kutta, of order 4."""
    ys = [p[..., 4:]]
    for _ in range(STEPS):
        y = ys[-1]
        k1 = rates(p, y)
        k2 = rates(p, y + STEP / 2 * k1)
        k3 = rates(p, y + STEP / 2 * k2)
        k4 = rates(p, y + STEP * k3)
        ys.append(y + STEP / 6 * (k1 + 2 * k2 + 2 * k3 + k4))
    return mg.stack(ys)


def observed(p: Any) -> Any:
    """Return what would be measured without noise, (times, ..., 2)."""
    return solve(p)[EVERY::EVERY]


def squares(p: Any, data: np.ndarray) -> Any:
    """Return S, the sum of squared errors, of every experiment: data (times, ..., 2) -> (...)."""
    return ((observed(p) - data) ** 2).sum(axis=(0, -1))


def guess(data: np.ndarray) -> np.ndarray:
    """Return parameters to begin with: the differences of the data, fitted linearly."""
    slopes = np.gradient(data, EVERY * STEP, axis=0)
    p = []
    for y, slope in zip(data.swapaxes(0, 1), slopes.swapaxes(0, 1), strict=True):
        ones, (u, v) = np.ones(len(y)), np.exp(y.T)
        a, b = np.linalg.lstsq(np.c_[ones, -v], slope[:, 0], rcond=None)[0]
        c, d = np.linalg.lstsq(np.c_[u, -ones], slope[:, 1], rcond=None)[0]
        p.append([a, b, c, d, *(y[0] - EVERY * STEP * slope[0])])
    return np.array(p)


def hessians(data: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return the Hessian of each experiment's S, (R, 6, 6).

    A product with a Hessian gives one column of it. Experiments share no parameter, so one product
    serves them all; and with every experiment repeated six times, all columns.
    """
    R, K = p.shape
    repeated = np.repeat(data, K, axis=1)
    columns = np.tile(np.eye(K), (R, 1))
    H = mg.hvp(lambda p: squares(p, repeated).sum(), (np.repeat(p, K, axis=0),), (columns,))[0]
    return H.reshape(R, K, K)


def fit(data: np.ndarray, p: np.ndarray, most: int = 30) -> np.ndarray:
    """Return the parameters (R, 6) of R experiments, each by Newton's method with damping.

    Marquardt's damping: a step that makes S larger is not made, and the next one is shorter.
    """
    slope = mg.grad(lambda p: squares(p, data).sum())
    damping, least = np.full(len(p), 1e-2), squares(p, data)
    for _ in range(most):
        H, g = hessians(data, p), slope(p)
        scale = damping[:, None] * abs(H).max(axis=2)
        step = np.linalg.solve(H + scale[:, :, None] * np.eye(len(NAMES)), g[..., None])[..., 0]
        with np.errstate(over="ignore", invalid="ignore"):  # such a step is not made
            S = squares(p - step, data)
        better = S < least  # noqa: SIM300
        p, least = np.where(better[:, None], p - step, p), np.where(better, S, least)
        damping = np.where(better, damping / 10, damping * 10)
        if (abs(step) < 1e-6).all():
            break
    return p


def standard_errors(H: np.ndarray, S: np.ndarray, count: int) -> np.ndarray:
    """Return the standard error of each parameter, from H (..., 6, 6) and S (...)."""
    variance = S / (count - len(NAMES))
    covariance = np.linalg.inv(H / (2 * variance[..., None, None]))
    return np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))


def plot(path: Path, data: np.ndarray, p: np.ndarray, many: np.ndarray) -> None:
    """Draw the data, the fit, and 50 of the repeats' fits."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        print("no plot: Matplotlib is not installed (pip install 'minigrad[plot]')")
        return
    t = STEP * np.arange(STEPS + 1)
    figure, axis = plt.subplots(figsize=(8, 4), layout="constrained")
    for k, (name, colour) in enumerate([("hunted", "tab:blue"), ("hunters", "tab:orange")]):
        axis.plot(t, np.exp(solve(many[:50])[:, :, k]), color=colour, alpha=0.08)
        axis.plot(t, np.exp(solve(p)[:, k]), color=colour, label=f"{name}, fitted")
        axis.plot(t[EVERY::EVERY], np.exp(data[:, k]), "o", color=colour, ms=4)
    axis.set(xlabel="time", ylabel="how many", title="Data, the fit, and fits of 50 repeats")
    axis.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)
    print(f"drawn: {path}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=400, help="of the experiment (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path, help="file for a picture of the fit")
    options = parser.parse_args(argv)
    rng = np.random.default_rng(options.seed)

    clean = observed(TRUTH)
    data = clean + NOISE * rng.standard_normal(clean.shape)
    p = fit(data[:, None], guess(data[:, None]))[0]
    H = mg.hessian(lambda p: squares(p, data))(p)
    errors = standard_errors(H, squares(p, data), data.size)

    shape = (len(clean), options.repeats, 2)
    repeats = clean[:, None] + NOISE * rng.standard_normal(shape)
    many = fit(repeats, np.tile(p, (options.repeats, 1)))
    own = standard_errors(hessians(repeats, many), squares(many, repeats), data.size)
    held = abs(many - TRUTH) < QUANTILE * own
    scatter, said = many.std(axis=0, ddof=1), own.mean(axis=0)

    print(
        f"{data.size} numbers with noise of {NOISE}, one experiment, and {options.repeats} repeats"
    )
    print("                  one experiment             the repeats")
    print("        truth   fitted +- error   off by   scatter / mean error   intervals that hold")
    for k, name in enumerate(NAMES):
        off = (p[k] - TRUTH[k]) / errors[k]
        print(
            f"  {name:5}{TRUTH[k]:6.2f}   {p[k]:6.3f} +- {errors[k]:.3f} {off:8.1f}   "
            f"{scatter[k]:5.3f} / {said[k]:.3f} = {scatter[k] / said[k]:.2f} "
            f"{held[:, k].mean():11.1%}"
        )
    print(f"95 % intervals that hold the truth, of all parameters: {held.mean():.1%}")
    if options.plot:
        plot(options.plot, data, p, many)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
