"""What a compiled function says of itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.tensor import Tensor
from .entry import Entry
from .listing import listed
from .tracing.guards import told

__all__ = ["argument", "change", "explained", "names_of_tensors", "typed"]


def typed(o: Any) -> str:
    return "no array" if o is None else f"{o.dtype} of shape {o.shape}"


def argument(path: str, parameters: Sequence[str]) -> str:
    """Return the name of an argument by its path among all: `[0][1].w` is w of the second."""
    if path.startswith("[1]."):
        return path[4:]
    place, _, rest = path[4:].partition("]")
    k = int(place) if place.isdigit() else len(parameters)
    return (parameters[k] if k < len(parameters) else f"x{place}") + rest


def names_of_tensors(modules: Sequence[Any]) -> dict[Tensor, str]:
    """Return the names of parameters and buffers, by the module furthest out."""
    names: dict[Tensor, str] = {}
    for module in modules:
        for name, t in (*module.named_parameters(), *module.named_buffers()):
            names.setdefault(t, name)
    return names


def change(before: Any, now: Any) -> str:
    """Say in what two signatures differ."""
    for what, a, b in zip(("nesting", "", "recording", "default dtype"), before, now, strict=True):
        if a != b and what:
            return what
    for k, (a, b) in enumerate(zip(before[1], now[1], strict=False)):
        if a != b:
            return f"argument {k}: {told(a)} and {told(b)}"
    return "the state of modules"


def explained(key: Any, program: Entry) -> str:
    r = program.recording
    lines = [f"signature ({', '.join(map(told, key[1]))})" + ("" if key[2] else ", no gradients")]
    named = [t.name or f"a tensor of shape {t.shape}" for t in r.captured]
    lines.append(f"read at every call: {', '.join(named) or 'the arguments alone'}")
    baked = [f"{v.dtype}{list(v.shape)}" for v in r.constants]
    lines.append(f"constants, baked in: {', '.join(baked) or 'none'}")
    if r.arrays:
        lines.append(f"arrays from outside, read at every call: {len(r.arrays)}")
    if r.drawn:
        lines.append(f"drawn anew at every call, from {len(r.drawn)} generator(s)")
    if written := program.guard.outside.written:
        lines.append(f"changed by the function itself, and not by a program: {', '.join(written)}")
    if r.state:
        lines.append(f"written back after a call: {', '.join(t.name or '?' for t in r.state)}")
    lines += ["", "as recorded:", listed(r.program)]
    if program.executable is None:
        lines += ["", "no program yet: it is recorded again at the second call"]
    else:
        lines += ["", "after the passes:", listed(program.program), ""]
        lines.append(program.executable.report())
    return "\n".join(lines)
