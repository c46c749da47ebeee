"""Derivatives as people write them: the right ones in words, and what is written by mistake.

In the texts, z is the output of an operation, x (and y) its inputs, g the gradient of z.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["FORMS", "RIGHT"]


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


FORMS: list[tuple[str, Callable[[Any, Any], Any], float]] = [
    ("1 - {z}", lambda z, x: 1 - z, 1.2),
    ("1 + {z}", lambda z, x: 1 + z, 1.5),
    ("{z}", lambda z, x: z, 1.3),
    ("{z}**2", lambda z, x: z**2, 1.5),
    ("1 - {z}**2", lambda z, x: 1 - z**2, 1.2),
    ("1 + {z}**2", lambda z, x: 1 + z**2, 1.3),
    ("{z} * (1 - {z})", lambda z, x: z * (1 - z), 1.2),
    ("{z} * (1 + {z})", lambda z, x: z * (1 + z), 1.3),
    ("1 - {x}", lambda z, x: 1 - x, 1.4),
    ("{x}", lambda z, x: x, 1.4),
    ("2 * {x}", lambda z, x: 2 * x, 1.4),
    ("{x}**2", lambda z, x: x**2, 1.4),
    ("3 * {x}**2", lambda z, x: 3 * x**2, 1.5),
    ("1 - {x}**2", lambda z, x: 1 - x**2, 1.2),
    ("{x} * (1 - {x})", lambda z, x: x * (1 - x), 1.2),
    ("1 - tanh({z})**2", lambda z, x: 1 - np.tanh(z) ** 2, 1.2),
    ("1 - tanh({x})", lambda z, x: 1 - np.tanh(x), 1.4),
    ("1 - tanh({x})**2", lambda z, x: 1 - np.tanh(x) ** 2, 1.4),
    ("s({z}) * (1 - s({z}))", lambda z, x: _sigmoid(z) * (1 - _sigmoid(z)), 1.2),
    ("s({x}) * (1 - s({x}))", lambda z, x: _sigmoid(x) * (1 - _sigmoid(x)), 1.4),
    ("1 / {x}", lambda z, x: 1 / x, 1.4),
    ("-1 / {x}", lambda z, x: -1 / x, 1.4),
    ("1 / {x}**2", lambda z, x: 1 / x**2, 1.4),
    ("-1 / {x}**2", lambda z, x: -1 / x**2, 1.4),
    ("1 / {z}", lambda z, x: 1 / z, 1.4),
    ("1 / (2 * {x})", lambda z, x: 0.5 / x, 1.4),
    ("{z} / 2", lambda z, x: 0.5 * z, 1.4),
    ("1 / (2 * sqrt({z}))", lambda z, x: 0.5 / np.sqrt(abs(z)), 1.4),
    ("exp({z})", lambda z, x: np.exp(np.minimum(z, 50)), 1.5),
    ("exp(-{x})", lambda z, x: np.exp(np.minimum(-x, 50)), 1.5),
    ("({z} > 0)", lambda z, x: (z > 0) * 1.0, 1.3),
    ("({x} > 0)", lambda z, x: (x > 0) * 1.0, 1.4),
    ("({x} < 0)", lambda z, x: (x < 0) * 1.0, 1.4),
    ("sign({x})", lambda z, x: np.sign(x), 1.5),
    ("cos({z})", lambda z, x: np.cos(z), 1.5),
    ("sin({x})", lambda z, x: np.sin(x), 1.5),
    ("cos({x})", lambda z, x: np.cos(x), 1.5),
]
"""Wrong derivatives worth trying, from the output z and the input x, each with its cost."""

RIGHT: dict[tuple[str, int | None], str] = {
    ("tanh", 0): "`g * (1 - {z}**2)`",
    ("sigmoid", 0): "`g * {z} * (1 - {z})`",
    ("exp", 0): "`g * {z}`",
    ("log", 0): "`g / {x}`",
    ("sqrt", 0): "`g / (2 * {z})`",
    ("square", 0): "`2 * g * {x}`",
    ("negative", 0): "`-g`",
    ("add", None): "`g`",
    ("subtract", 0): "`g`",
    ("subtract", 1): "`-g`",
    ("multiply", 0): "`g * {y}`",
    ("multiply", 1): "`g * {x}`",
    ("divide", 0): "`g / {y}`",
    ("divide", 1): "`-g * {x} / {y}**2`",
    ("power", 0): "`g * {y} * {x}**({y} - 1)`",
    ("matmul", 0): "`g @ {y}.T`",
    ("matmul", 1): "`{x}.T @ g`",
    ("relu", 0): "`g * ({x} > 0)`",
    ("maximum", 0): "`g * ({x} > {y})`",
    ("sum", None): "`g`, broadcast to the shape of {x}",
    ("mean", None): "`g / n`, broadcast to the shape of {x}",
}
"""The right contribution to the gradient of each input, by operation and position."""
