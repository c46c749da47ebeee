"""How errors and warnings are worded: what happened, in which line of the user's, what to write."""

from __future__ import annotations

import dis
import linecache
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from numbers import Real
from types import CodeType
from typing import Any, NamedTuple

import numpy as np

from .hints import of_axis

__all__ = [
    "NUMPY",
    "Call",
    "GraphWarning",
    "users_call",
    "users_file",
    "explained",
    "instruction_at",
    "reworded",
    "shown",
    "warn",
]

NUMPY = os.path.dirname(np.__file__) + os.sep
_OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep
_LIBRARIES = (os.path.dirname(NUMPY[:-1]) + os.sep, os.path.dirname(os.__file__) + os.sep)


class GraphWarning(UserWarning):
    """What is allowed, but seldom meant: a gradient is lost, or computed again and again."""


class Call(NamedTuple):
    """Where the user's program called minigrad, be it through NumPy or another library.

    `function` is the function of NumPy's, written in Python, that is on the way, if there is one,
    and `level` the number of frames from the one that asked, counted as `warnings.warn` does.
    """

    file: str
    line: int
    function: str
    level: int

    def __str__(self) -> str:
        text = linecache.getline(self.file, self.line).strip()
        return f"{self.file}, line {self.line}" + (f": {text}" if text else "")


def users_call() -> Call:
    """Find the line of the user's that is running: in no library, if there is such a line."""
    function, found = "", None
    frame: Any = sys._getframe()
    level = 0
    while frame.f_back is not None:
        frame, level = frame.f_back, level + 1
        file = frame.f_code.co_filename
        if file.startswith(NUMPY):
            function = frame.f_code.co_qualname.partition(".")[0]
        elif not our_file(file):
            call = Call(file, frame.f_lineno, function, level)
            found = found or call
            if users_file(file):
                return call
    return found or Call(frame.f_code.co_filename, frame.f_lineno, function, level)


def our_file(name: str) -> bool:
    """Say whether code of that file is minigrad's."""
    return name.startswith(_OURS)


def users_file(name: str) -> bool:
    """Say whether code of that file is the user's: not ours, and in no library."""
    return not name.startswith((_OURS, *_LIBRARIES, "<frozen "))


def instruction_at(code: CodeType, at: int) -> int:
    """Return the place of the instruction that a frame is at.

    Python replaces a call by a faster form once it has run a few times. The frame is then at one of
    the cache entries behind the call; they are counted back.
    """
    while at > 0 and code.co_code[at] == dis.opmap["CACHE"]:
        at -= 2
    return at


def warn(text: str, kind: type[Warning] = UserWarning) -> None:
    """Warn at the user's line, which Python's own filter then does once."""
    warnings.warn(text, kind, stacklevel=users_call().level)


def explained(
    where: str, xs: Sequence[Any], params: Mapping[str, Any], error: Exception
) -> Exception:
    """Return the same error with the operation and its scope, the shapes and the options in it."""
    shapes = ", ".join(str(x.shape) if isinstance(x, np.ndarray) else type(x).__name__ for x in xs)
    options = "".join(f", {k}={v!r}" for k, v in params.items() if v is not None)
    hint = of_axis(where.partition(" ")[0], params.get("axis"))
    return reworded(error, f"{where} on shapes {shapes}{options}: {error}{hint}")


def reworded(error: Exception, text: str) -> Exception:
    """Return an error of the same kind with another text."""
    for kind in (np.exceptions.AxisError, np.linalg.LinAlgError, IndexError, ValueError):
        if isinstance(error, kind):
            return kind(text)
    return TypeError(text)


def shown(value: Any) -> str:
    """Describe a value in an error, in a few words."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if hasattr(value, "shape") and not isinstance(value, np.generic):
        kind = "an array" if isinstance(value, np.ndarray) else "a tensor"
        return f"{kind} of shape {value.shape}"
    if hasattr(type(value), "named_parameters"):
        return f"a module, {type(value).__name__}"
    text = str(value) if isinstance(value, Real) else " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{type(value).__name__} {text[:50]}..."
