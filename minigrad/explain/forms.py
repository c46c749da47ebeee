"""Derivatives as people write them by mistake, the ordinary first."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

__all__ = ["FORMS", "QUOTIENTS", "named"]

FUNCTIONS = {name: getattr(np, name) for name in ("tanh", "sqrt", "exp", "sign", "cos", "sin")}
FUNCTIONS |= {"cosh": np.cosh, "s": lambda x: 1 / (1 + np.exp(-x))}


def _written(text: str, names: str) -> list[tuple[str, Callable[[Any, Any], Any]]]:
    """List formulas in two names, each with the function that it is."""
    every = [part.strip() for part in text.split("|")]
    return [(part, eval(f"lambda {names}: {part}", FUNCTIONS)) for part in every]


def named(text: str, names: Mapping[str, str]) -> str:
    """Write a formula with other names."""
    return re.sub(r"\b[xyz]\b", lambda found: names.get(found[0], found[0]), text)


FORMS = _written(
    """1 - z | 1 - z**2 | z * (1 - z) | 1 - x**2 | x * (1 - x) | 1 - tanh(z)**2
    | s(z) * (1 - s(z)) | z / 2 | z | 1 + z**2 | z * (1 + z) | (z > 0) | (1 - z)**2
    | z * (1 - z**2) | 1 - x | x | 2 * x | x**2 | 1 - tanh(x) | 1 - tanh(x)**2
    | s(x) * (1 - s(x)) | s(x) | s(z) | 1 / cosh(x) | 1 / x | -1 / x | 1 / x**2 | -1 / x**2
    | 1 / z | 1 / (2 * x) | 1 / (2 * sqrt(z)) | (x > 0) | (x < 0) | 1 + z | z**2 | 3 * x**2
    | exp(z) | exp(x) | exp(-x) | sign(x) | cos(z) | sin(x) | cos(x)""",
    "z, x",
)
"""What the derivative of a function of one variable is taken for: output z, input x."""

QUOTIENTS = _written(
    "y | 1 / y | -1 / y | 1 / y**2 | -1 / y**2 | x / y | -x / y | -x | -x / y**3 | -x * y", "x, y"
)
"""What the derivative of x / y, by x or by y, is taken for."""
