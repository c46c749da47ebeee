"""Derivatives as people write them by mistake, each with its cost: how far-fetched it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["BASIS", "FORMS", "QUOTIENTS"]


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


Form = Callable[[Any, Any], Any]

FORMS: list[tuple[str, Form, float]] = [
    ("1 - {z}", lambda z, x: 1 - z, 1.2),
    ("1 - {z}**2", lambda z, x: 1 - z**2, 1.2),
    ("{z} * (1 - {z})", lambda z, x: z * (1 - z), 1.2),
    ("1 - {x}**2", lambda z, x: 1 - x**2, 1.2),
    ("{x} * (1 - {x})", lambda z, x: x * (1 - x), 1.2),
    ("1 - tanh({z})**2", lambda z, x: 1 - np.tanh(z) ** 2, 1.2),
    ("s({z}) * (1 - s({z}))", lambda z, x: _sigmoid(z) * (1 - _sigmoid(z)), 1.2),
    ("{z}", lambda z, x: z, 1.3),
    ("1 + {z}**2", lambda z, x: 1 + z**2, 1.3),
    ("{z} * (1 + {z})", lambda z, x: z * (1 + z), 1.3),
    ("({z} > 0)", lambda z, x: (z > 0) * 1.0, 1.3),
    ("(1 - {z})**2", lambda z, x: (1 - z) ** 2, 1.4),
    ("{z} * (1 - {z}**2)", lambda z, x: z * (1 - z**2), 1.4),
    ("1 - {x}", lambda z, x: 1 - x, 1.4),
    ("{x}", lambda z, x: x, 1.4),
    ("2 * {x}", lambda z, x: 2 * x, 1.4),
    ("{x}**2", lambda z, x: x**2, 1.4),
    ("1 - tanh({x})", lambda z, x: 1 - np.tanh(x), 1.4),
    ("1 - tanh({x})**2", lambda z, x: 1 - np.tanh(x) ** 2, 1.4),
    ("s({x}) * (1 - s({x}))", lambda z, x: _sigmoid(x) * (1 - _sigmoid(x)), 1.4),
    ("s({x})", lambda z, x: _sigmoid(x), 1.4),
    ("s({z})", lambda z, x: _sigmoid(z), 1.4),
    ("1 / cosh({x})", lambda z, x: 1 / np.cosh(x), 1.4),
    ("1 / {x}", lambda z, x: 1 / x, 1.4),
    ("-1 / {x}", lambda z, x: -1 / x, 1.4),
    ("1 / {x}**2", lambda z, x: 1 / x**2, 1.4),
    ("-1 / {x}**2", lambda z, x: -1 / x**2, 1.4),
    ("1 / {z}", lambda z, x: 1 / z, 1.4),
    ("1 / (2 * {x})", lambda z, x: 0.5 / x, 1.4),
    ("{z} / 2", lambda z, x: 0.5 * z, 1.2),
    ("1 / (2 * sqrt({z}))", lambda z, x: 0.5 / np.sqrt(abs(z)), 1.4),
    ("({x} > 0)", lambda z, x: (x > 0) * 1.0, 1.4),
    ("({x} < 0)", lambda z, x: (x < 0) * 1.0, 1.4),
    ("1 + {z}", lambda z, x: 1 + z, 1.5),
    ("{z}**2", lambda z, x: z**2, 1.5),
    ("3 * {x}**2", lambda z, x: 3 * x**2, 1.5),
    ("exp({z})", lambda z, x: np.exp(np.minimum(z, 50)), 1.5),
    ("exp({x})", lambda z, x: np.exp(np.minimum(x, 50)), 1.5),
    ("exp(-{x})", lambda z, x: np.exp(np.minimum(-x, 50)), 1.5),
    ("sign({x})", lambda z, x: np.sign(x), 1.5),
    ("cos({z})", lambda z, x: np.cos(z), 1.5),
    ("sin({x})", lambda z, x: np.sin(x), 1.5),
    ("cos({x})", lambda z, x: np.cos(x), 1.5),
]
"""What the derivative of a function of one variable is taken for: output z, input x."""

BASIS: list[tuple[str, Form]] = [
    ("", lambda z, x: np.ones(np.shape(x))),
    ("{z}", lambda z, x: z + 0 * x),
    ("{x}", lambda z, x: x),
    ("{z}**2", lambda z, x: z**2 + 0 * x),
    ("{x}**2", lambda z, x: x**2),
    ("{x} * {z}", lambda z, x: x * z),
    ("/ {x}", lambda z, x: 1 / x),
    ("/ {z}", lambda z, x: 1 / z),
    ("/ {x}**2", lambda z, x: 1 / x**2),
    ("{x}**3", lambda z, x: x**3),
    ("{z}**3", lambda z, x: z**3 + 0 * x),
    ("({x} > 0)", lambda z, x: (x > 0) * 1.0),
]
"""What other wrong derivatives are made of: one of these or a sum of two, times simple numbers."""

QUOTIENTS: dict[int, list[tuple[str, Callable[[Any, Any], Any]]]] = {
    0: [
        ("y", lambda x, y: y),
        ("1 / y**2", lambda x, y: 1 / y**2),
        ("x / y", lambda x, y: x / y),
        ("-1 / y", lambda x, y: -1 / y),
    ],
    1: [
        ("-x / y", lambda x, y: -x / y),
        ("-x", lambda x, y: -x),
        ("-1 / y**2", lambda x, y: -1 / y**2),
        ("-1 / y", lambda x, y: -1 / y),
        ("1 / y", lambda x, y: 1 / y),
        ("1 / y**2", lambda x, y: 1 / y**2),
        ("x / y", lambda x, y: x / y),
        ("-x / y**3", lambda x, y: -x / y**3),
        ("-x * y", lambda x, y: -x * y),
    ],
}
"""What the derivative of x / y by x (0) and by y (1) is taken for."""
