"""SciPy's minimisers over the parameters of a module: small models, to many digits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..core.tensor import Tensor
from ..guard.errors import shown
from .parameters import given_parameters, gradients

__all__ = ["minimize"]

_WITHOUT_GRADIENTS = ("nelder-mead", "powell", "cobyla", "cobyqa")


def minimize(
    loss: Callable[[], Tensor],
    params: Iterable[Tensor],
    method: str = "L-BFGS-B",
    **options: object,
) -> Any:
    """Return SciPy's result, with the parameters brought to where `loss()` is least.

    `loss` computes it from the parameters as they are, on all data: SciPy's methods cannot do with
    batches. `options` are those of `scipy.optimize.minimize` (`tol`, `bounds`, `callback`,
    `options={"maxiter": 100}`), and its result says whether it found a minimum (`success`,
    `message`). The vector is float64; with float32 parameters a search ends after some 6 digits.
    If it is interrupted, the parameters are the best that were tried, and also where the loss is no
    number in the end, which is a FloatingPointError. ImportError without SciPy.
    """
    try:
        from scipy import optimize
    except ImportError:
        raise ImportError(
            "minimize calls SciPy, which is not installed: pip install 'minigrad[scipy]'; the "
            "optimisers of mg.optim need nothing"
        ) from None
    if not callable(loss):
        raise TypeError(
            f"minimize: takes a function that computes the loss, not {shown(loss)}; write "
            "minimize(lambda: ..., net.parameters())"
        )
    moved = [p for p in given_parameters("minimize", params) if p.live]
    if not moved:
        raise ValueError("minimize: no parameter requires a gradient, so there is nothing to move")
    gradient = not (isinstance(method, str) and method.lower() in _WITHOUT_GRADIENTS)
    start = np.concatenate([p.data.ravel() for p in moved], dtype=float)
    best = (np.inf, start)

    def put(x: Any) -> None:
        ends = np.cumsum([p.size for p in moved])[:-1]
        for p, part in zip(moved, np.split(x, ends), strict=True):
            p.data, p.grad = part.reshape(p.shape), None

    def run(x: Any) -> Any:
        nonlocal best
        put(x)
        z = loss()
        if not isinstance(z, Tensor) or z.size != 1:
            raise TypeError(f"minimize: the loss must be a tensor of one number, not {shown(z)}")
        if (value := z.item()) < best[0]:
            best = (value, x.copy())
        elif not np.isfinite(best[0]):
            raise FloatingPointError(f"minimize: the loss of the parameters as given is {value}")
        if not gradient:
            return value
        z.backward()
        if np.isfinite(value):
            gradients("minimize", moved)
        slopes = [np.zeros(p.size) if p.grad is None else p.grad.ravel() for p in moved]
        return value, np.concatenate(slopes, dtype=float)

    try:
        result = optimize.minimize(run, start, method=method, jac=gradient or None, **options)
    except BaseException:
        put(best[1])
        raise
    if not np.isfinite(result.fun):
        put(best[1])
        raise FloatingPointError(
            f"minimize: {method} ended where the loss is {result.fun}; the parameters are the best "
            "that were tried"
        )
    put(result.x)
    return result
