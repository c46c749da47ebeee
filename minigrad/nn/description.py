"""A module in text: a line for each module, with what it was made with and what it holds."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from ..core.tensor import Tensor
from .held import Holder, is_parameter

__all__ = ["described", "of_all"]


def described(module: Any, total: str = "", above: tuple[Any, ...] = ()) -> str:
    """Return the lines of a module; the first one ends with `total`, and what it holds itself.

    Of those that are `above`, where it stands in one that it holds, only the names are said.
    """
    held = [t for _, t in module.named_parameters()]
    parts = list(module._shown())
    own = [(name, t) for name, t in parts if isinstance(t, Tensor)]
    trained = [f"{k} {t.shape}{_frozen(t)}" for k, t in own if is_parameter(t)]
    buffers = [f"{k} {t.shape}" for k, t in own if not is_parameter(t)]
    count = f"{sum(t.size for t in held):,}{total}" if held else ""
    notes = [": ".join([part for part in (count, ", ".join(trained)) if part])]
    notes += [f"buffers: {', '.join(buffers)}"] if buffers else []
    note = "; ".join([part for part in notes if part])
    lines = [f"{type(module).__name__}({_arguments(module)}){note and '  # '}{note}"]
    for name, part in parts:
        if not isinstance(part, Tensor):
            if any(part is one for one in (*above, module)):
                text = f"{type(part).__name__}(...)"
            elif isinstance(part, Holder):
                text = described(part, above=(*above, module))
            else:
                text = getattr(part, "__name__", repr(part))
            lines.append(f"  {name}: " + text.replace("\n", "\n  "))
    return "\n".join(lines)


def of_all(module: Any) -> str:
    """Return what is said once, of all parameters: how many are frozen, and their dtypes."""
    held = [t for _, t in module.named_parameters()]
    frozen = sum(t.size for t in held if not t.requires_grad)
    said = [" parameters", f"{frozen:,} of them frozen" if frozen else ""]
    return ", ".join([*filter(None, said), *sorted({str(t.dtype) for t in held})])


def _frozen(t: Tensor) -> str:
    return "" if t.requires_grad else " frozen"


def _arguments(module: Any) -> str:
    """Return what the module was made with, as far as its attributes say it."""
    said = []
    for p in list(inspect.signature(type(module).__init__).parameters.values())[1:]:
        value = vars(module).get(p.name, p.empty)
        if p.name == "bias" and value is None:
            value = False  # which was asked for
        if _is_plain(value) and value != p.default and value != (p.default,) * np.size(value):
            said.append(f"{p.name}={value!r}")
    return ", ".join(said)


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str, np.generic))
