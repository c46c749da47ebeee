"""What a recording is, and whether two of one function did the same."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ...core import tree
from ...core.dtypes import Array
from ...core.tensor import Tensor
from ..program import Function, Op, Operand, Program, Value, View, held

__all__ = ["Note", "Output", "Recording", "different"]


class Note(NamedTuple):
    """Where an operation was recorded: the scope, and the user's line, as file and number."""

    scope: Any
    file: str = ""
    line: int = 0


class Output(NamedTuple):
    """What a recorded function returned in one place: an operand of the program, and how it is.

    `live`: gradients flow there. What is no tensor and no array is an `other`.
    """

    operand: Operand | None
    live: bool = False
    other: Any = None


class Recording(NamedTuple):
    """A program, and what its inputs and outputs are.

    The forward section takes the arguments, then the values of the `captured` tensors, and then the
    `arrays` that were found to be captured; it gives the outputs that are operands, and then what
    the tensors of `state` hold afterwards. The backward section, if there is one, takes the
    cotangents of the live outputs, and gives those of `sources`: numbers of arguments, and captured
    tensors.
    """

    program: Program
    outputs: list[Output]
    values: list[Any]
    captured: list[Tensor]
    state: list[Tensor]
    sources: list[int | Tensor]
    constants: list[Value]
    drawn: list[Any]
    arrays: list[Array]

    def captures(self, again: Recording) -> None:
        """Make inputs of the constants that the same function, recorded again, found as they are.

        Such arrays were there before, and may be written into; others it makes anew.
        """
        found = {id(v.array) for v in again.constants}
        for v in [*self.constants]:
            if v.array is None or id(v.array) not in found:
                continue
            self.arrays.append(v.array)
            self.constants.remove(v)
            self.program.sections[0].inputs.append(v)
            v.array = None

    def operations(self) -> list[Op]:
        """Return the operations of both sections, in order."""
        return [item for item in self.program.items if isinstance(item, Op)]

    def modules(self) -> list[Any]:
        """Return the modules that were called."""
        scopes = {op.note.scope for op in self.operations() if op.note and op.note.scope}
        owners = [frame.owner for scope in scopes for frame in scope.frames]
        return [*{id(m): m for m in owners if tree.is_module(m)}.values()]


# ---- two recordings compared ---------------------------------------------------------------------


def different(a: Recording, b: Recording) -> str:
    """Say where two recordings of one function do something else; empty if they do the same."""
    numbers: dict[Value, Value] = {}
    if (n := len(a.operations())) != (m := len(b.operations())):
        for x, y in zip(a.operations(), b.operations(), strict=False):
            if x.name != y.name:
                return f"{_place(x, n)}, where there was {_place(y, m)} the next time"
        return f"there were {n} operations, and {m} the next time"
    for one, two in zip(a.outputs, b.outputs, strict=False):
        if not _equal(one.other, two.other) or (one.operand is None) != (two.operand is None):
            return f"it returned {_short(one.other)}, and {_short(two.other)} the next time"
    if len(a.outputs) != len(b.outputs):
        return f"it returned {len(a.outputs)} leaves, and {len(b.outputs)} the next time"
    if len(a.captured) != len(b.captured) or {*a.captured} != {*b.captured}:
        return "it used other tensors from outside the next time"
    inputs = a.program.sections[0].inputs
    if a.arrays and not b.arrays:  # of which the other does not know yet that they are captured
        known, inputs = {id(v.array): v for v in b.constants}, inputs[: -len(a.arrays)]
        captured = a.program.sections[0].inputs[len(inputs) :]
        numbers.update({v: known.get(id(x), v) for v, x in zip(captured, a.arrays, strict=True)})
    numbers.update(zip(inputs, b.program.sections[0].inputs, strict=True))
    for s, t in zip(a.program.sections[1:], b.program.sections[1:], strict=True):
        numbers.update(zip(s.inputs, t.inputs, strict=True))
    for x, y in zip(a.operations(), b.operations(), strict=True):
        alike = _same_function(x.does, y.does) and len(x.args) == len(y.args)
        if not alike or [*x.params] != [*y.params] or len(x.outs) != len(y.outs):
            return f"{_place(x, n)}, where there was {_place(y, n)} the next time"
        for p, q in [*zip(x.args, y.args, strict=True),
                     *zip(held(x.params), held(y.params), strict=False)]:  # fmt: skip
            if told := _differ(p, q, numbers):
                return f"{_place(x, n)}: {told}"
        if [v.shape for v in x.outs] != [v.shape for v in y.outs]:
            return f"{_place(x, n)}: its result had another shape the next time"
        numbers.update(zip(x.outs, y.outs, strict=True))
    for s, t in zip(a.program.sections, b.program.sections, strict=True):
        for p, q in zip(s.outputs, t.outputs, strict=False):
            if told := _differ(p, q, numbers):
                return f"what it returned: {told}"
    return ""


def _place(op: Op, n: int) -> str:
    note = op.note
    where = f" in {note.scope}" if note and note.scope else ""
    line = f" ({note.file}, line {note.line})" if note and note.file else ""
    return f"{op.name}{where}{line}"


def _same_function(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if isinstance(a, Function) and isinstance(b, Function):
        if a.effect and isinstance(a.forward, partial) and isinstance(b.forward, partial):
            owners = [getattr(f.func, "__self__", None) for f in (a.forward, b.forward)]
            return a.name == b.name and owners[0] is owners[1]
        return (a.name, a.effect) == (b.name, b.effect)
    return type(a) is type(b) and a.name == b.name and not hasattr(a, "samples")


def _differ(p: Any, q: Any, numbers: Mapping[Value, Value]) -> str:
    """Say how two operands or options differ."""
    if isinstance(p, View) != isinstance(q, View):
        return "a constant became computed, or the other way round"
    if not isinstance(p, View):
        return "" if _equal(p, q) else f"{_short(p)} became {_short(q)}"
    a, b = p.value, q.value
    if a.array is not None and b.array is not None:
        if a.array is b.array or _equal(a.array, b.array):
            return ""
        return f"an array of shape {a.shape} held other numbers the next time"
    return "" if numbers.get(a) is b else "it had another operand the next time"


def _equal(p: Any, q: Any) -> bool:
    if isinstance(p, np.ndarray) and isinstance(q, np.ndarray):
        same = (p.shape, p.dtype) == (q.shape, q.dtype)
        return same and (p.dtype.kind == "O" or p.tobytes() == q.tobytes())
    try:
        return bool(type(p) is type(q) and (p == q or p != p)) or repr(p) == repr(q)
    except Exception:
        return p is q


def _short(x: Any) -> str:
    text = " ".join(repr(x).split())
    return text if len(text) <= 40 else f"{text[:37]}..."
