"""How errors are worded: NumPy's own, with the operation and what it was given."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["explained", "reworded", "warn"]

_OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep


def warn(text: str) -> None:
    """Warn at the user's line, which Python's own filter then does once."""
    frame, level = sys._getframe(1), 2
    while frame.f_code.co_filename.startswith(_OURS) and frame.f_back is not None:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, UserWarning, stacklevel=level)


def explained(
    name: str, xs: Sequence[Any], params: Mapping[str, Any], error: Exception
) -> Exception:
    """Say the same error with the operation, the shapes and the options in it."""
    shapes = ", ".join(str(x.shape) if isinstance(x, np.ndarray) else type(x).__name__ for x in xs)
    options = "".join(f", {k}={v!r}" for k, v in params.items() if v is not None)
    return reworded(error, f"{name} on shapes {shapes}{options}: {error}")


def reworded(error: Exception, text: str) -> Exception:
    """Give an error of the same kind with another text."""
    for kind in (np.exceptions.AxisError, np.linalg.LinAlgError, IndexError, ValueError):
        if isinstance(error, kind):
            return kind(text)
    return TypeError(text)
