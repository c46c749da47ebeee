"""A program for one signature: recorded, made ready, given its inputs; and its results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core import tree
from ..core.context import current
from ..core.dtypes import get_default_dtype
from ..core.tensor import Tensor
from .execute import Executable
from .guards import Guard, is_array
from .node import Node
from .passes import optimised
from .program import Value
from .recording import Recording

__all__ = ["Entry", "kind_of", "near", "own", "result"]


class _Output(NamedTuple):
    """What a call returns in one place: its number among the program's, and what it is there."""

    number: int | None
    kind: str
    other: Any = None


class Entry:
    """A program for one signature: recorded once, or recorded twice alike, and made to run."""

    def __init__(
        self,
        recording: Recording,
        structure: tree.Structure,
        guard: Guard,
        places: list[int],
        leaves: Sequence[Any],
    ) -> None:
        self.recording, self.structure, self.guard = recording, structure, guard
        self.places = places  # of the arguments that are inputs
        self.others = [x for x in leaves if not is_array(x)]  # known by their identity
        self.kinds: list[str] = []
        self.executable: Executable | None = None
        self.outputs: list[_Output] = []
        self.node: Node | None = None
        self.lone: str | None = None
        self.takes: list[Any] = []
        self.setting = current().recording, get_default_dtype()

    @property
    def arguments(self) -> list[Value]:
        """What of the inputs of the program are arguments."""
        return self.recording.program.sections[0].inputs[: len(self.places)]

    def made(self, owner: Any, leaves: Sequence[Any]) -> None:
        """Make it ready to run."""
        if all(type(x) in (Tensor, np.ndarray) for x in leaves):
            arrays = [x.value if isinstance(x, Tensor) else x for x in leaves]
            self.takes = [
                (type(x), isinstance(x, Tensor) and x.live, a.dtype, a.shape)
                for x, a in zip(leaves, arrays, strict=True)
            ]
        r, number = self.recording, 0
        for out, kind in zip(r.outputs, self.kinds, strict=True):
            shown_one = out.operand is not None
            self.outputs.append(_Output(number if shown_one else None, kind, out.other))
            number += shown_one
        self.count = number
        self.captured, self.state = r.captured, r.state
        self.arrays = r.arrays
        self.program = optimised(r.program)
        executable = Executable(self.program, owner.backend)
        if any(out.live for out in r.outputs):
            live = [k for k, out in enumerate(r.outputs) if out.live]
            self.node = Node(owner, r, live, executable, self.places)
        if self.structure == tree.LEAF and not self.state:
            self.lone = self.outputs[0].kind
        self.executable = executable

    def inputs(self, args: Sequence[Any]) -> list[Any] | None:
        """Return the inputs for arguments that are arrays or tensors; None if others are needed.

        This is what small programs spend their time with: one look at every argument.
        """
        inputs = []
        for x, (kind, live, dtype, shape) in zip(args, self.takes, strict=True):
            if type(x) is not kind:
                return None
            if kind is Tensor:
                if x.live is not live:
                    return None
                x = x.value
            if x.dtype is not dtype or x.shape != shape:
                return None
            inputs.append(x)
        if not self.guard.holds(inputs) or self.guard.is_hooked():
            return None
        return inputs + self.arrays if self.arrays else inputs


def kind_of(y: Any) -> str:
    if isinstance(y, Tensor):
        return "tensor"
    if isinstance(y, np.generic):
        return "scalar"
    return "number" if isinstance(y, (bool, int, float)) else "array"


def near(y: Any, recorded_as: Any) -> bool:
    """Whether a result is what it was at the recording, which may have rounded otherwise."""
    if not is_array(y):
        return True
    a, b = (np.asarray(x.value if isinstance(x, Tensor) else x) for x in (y, recorded_as))
    if a.dtype.kind != "f":
        return np.array_equal(a, b)
    finite = np.isfinite(a)
    room = np.finfo(a.dtype).eps ** 0.5 * (1 + np.abs(a[finite]).max(initial=0))
    return bool(
        np.array_equal(a[~finite], b[~finite], equal_nan=True)
        and (np.abs(a[finite] - b[finite]) <= room).all()
    )


def own(y: Any, arrays: Sequence[Any]) -> Any:
    """Return a result in memory of its own."""
    if type(y) is np.ndarray and any(np.may_share_memory(y, x) for x in arrays):
        return y.copy()
    return y


def result(y: Any, kind: str) -> Any:
    """Return a result as the function itself gives it."""
    if type(y) is Tensor:
        return y
    if kind == "tensor":
        return Tensor(y)
    if kind == "number":
        return y if isinstance(y, float) else y.item()
    return y[()] if kind == "scalar" else y
