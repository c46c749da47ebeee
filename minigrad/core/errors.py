"""How errors are worded: NumPy's own, with the operation and what it was given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["explained", "reworded"]


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
