"""Derivatives as people write them by mistake, the ordinary first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["FORMS", "QUOTIENTS"]


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


Form = Callable[[Any, Any], Any]

FORMS: list[tuple[str, Form]] = [
    ("1 - {z}", lambda z, x: 1 - z),
    ("1 - {z}**2", lambda z, x: 1 - z**2),
    ("{z} * (1 - {z})", lambda z, x: z * (1 - z)),
    ("1 - {x}**2", lambda z, x: 1 - x**2),
    ("{x} * (1 - {x})", lambda z, x: x * (1 - x)),
    ("1 - tanh({z})**2", lambda z, x: 1 - np.tanh(z) ** 2),
    ("s({z}) * (1 - s({z}))", lambda z, x: _sigmoid(z) * (1 - _sigmoid(z))),
    ("{z} / 2", lambda z, x: 0.5 * z),
    ("{z}", lambda z, x: z),
    ("1 + {z}**2", lambda z, x: 1 + z**2),
    ("{z} * (1 + {z})", lambda z, x: z * (1 + z)),
    ("({z} > 0)", lambda z, x: (z > 0) * 1.0),
    ("(1 - {z})**2", lambda z, x: (1 - z) ** 2),
    ("{z} * (1 - {z}**2)", lambda z, x: z * (1 - z**2)),
    ("1 - {x}", lambda z, x: 1 - x),
    ("{x}", lambda z, x: x),
    ("2 * {x}", lambda z, x: 2 * x),
    ("{x}**2", lambda z, x: x**2),
    ("1 - tanh({x})", lambda z, x: 1 - np.tanh(x)),
    ("1 - tanh({x})**2", lambda z, x: 1 - np.tanh(x) ** 2),
    ("s({x}) * (1 - s({x}))", lambda z, x: _sigmoid(x) * (1 - _sigmoid(x))),
    ("s({x})", lambda z, x: _sigmoid(x)),
    ("s({z})", lambda z, x: _sigmoid(z)),
    ("1 / cosh({x})", lambda z, x: 1 / np.cosh(x)),
    ("1 / {x}", lambda z, x: 1 / x),
    ("-1 / {x}", lambda z, x: -1 / x),
    ("1 / {x}**2", lambda z, x: 1 / x**2),
    ("-1 / {x}**2", lambda z, x: -1 / x**2),
    ("1 / {z}", lambda z, x: 1 / z),
    ("1 / (2 * {x})", lambda z, x: 0.5 / x),
    ("1 / (2 * sqrt({z}))", lambda z, x: 0.5 / np.sqrt(abs(z))),
    ("({x} > 0)", lambda z, x: (x > 0) * 1.0),
    ("({x} < 0)", lambda z, x: (x < 0) * 1.0),
    ("1 + {z}", lambda z, x: 1 + z),
    ("{z}**2", lambda z, x: z**2),
    ("3 * {x}**2", lambda z, x: 3 * x**2),
    ("exp({z})", lambda z, x: np.exp(np.minimum(z, 50))),
    ("exp({x})", lambda z, x: np.exp(np.minimum(x, 50))),
    ("exp(-{x})", lambda z, x: np.exp(np.minimum(-x, 50))),
    ("sign({x})", lambda z, x: np.sign(x)),
    ("cos({z})", lambda z, x: np.cos(z)),
    ("sin({x})", lambda z, x: np.sin(x)),
    ("cos({x})", lambda z, x: np.cos(x)),
]
"""What the derivative of a function of one variable is taken for: output z, input x."""

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
