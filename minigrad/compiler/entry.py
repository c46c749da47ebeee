"""A program for one signature: recorded, made ready, given its inputs; and its results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..core import tree
from ..core.context import current
from ..core.dtypes import get_default_dtype
from ..core.tensor import Tensor, made_by
from .node import Node
from .numpy.execute import Executable
from .passes.passes import optimised
from .program import Value
from .tracing.guards import Guard, is_array
from .tracing.recording import Output, Recording, different

__all__ = ["Entry", "difference", "kind_of", "near", "own"]


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
        self.node: Node | None = None
        self.takes: list[Any] = []
        self.setting = current().recording, get_default_dtype()

    @property
    def arguments(self) -> list[Value]:
        """What of the inputs of the program are arguments."""
        return self.recording.program.sections[0].inputs[: len(self.places)]

    def made(self, owner: Any, leaves: Sequence[Any]) -> None:
        """Make it ready to run."""
        self.takes = [_look(x, k in self.places) for k, x in enumerate(leaves)]
        self.is_plain = all(type(leaves[k]) in (Tensor, np.ndarray, float) for k in self.places)
        r = self.recording
        self.count = sum(out.operand is not None for out in r.outputs)
        self.returned = _returning(self.structure, r.outputs, self.kinds)
        self.captured, self.state = r.captured, r.state
        self.arrays = r.arrays
        self.program = optimised(r.program)
        executable = Executable(self.program, owner.backend)
        if any(out.live for out in r.outputs):
            live = [k for k, out in enumerate(r.outputs) if out.live]
            self.node = Node(owner, r, live, executable, self.places)
        self.executable = executable

    def inputs(self, args: Sequence[Any]) -> list[Any] | None:
        """Return the inputs for arguments that are arrays or tensors; None if others are needed.

        This is what small programs spend their time with: one look at every argument.
        """
        inputs = []
        for x, (kind, live, dtype, shape) in zip(args, self.takes, strict=True):
            if kind is None:
                if x is not live:
                    return None
                continue
            if type(x) is not kind:
                return None
            if kind is float:
                inputs.append(x)
                continue
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


def difference(first: Entry, again: Entry) -> str:
    """Say what a function did otherwise when it was recorded again; empty if it did the same."""
    change = different(first.recording, again.recording)
    if not change and tree.names(first.structure) != tree.names(again.structure):
        return "it returned what is nested otherwise"
    return change


def _look(x: Any, is_input: bool) -> tuple[Any, Any, Any, Any]:
    """Return what an argument of the next call must have in common with this; or be, without."""
    if is_input and type(x) in (Tensor, np.ndarray):
        array = x.value if isinstance(x, Tensor) else x
        return type(x), isinstance(x, Tensor) and x.live, array.dtype, array.shape
    return (float, None, None, None) if is_input and type(x) is float else (None, x, None, None)


def _returning(
    structure: tree.Structure, outputs: Sequence[Output], kinds: Sequence[str]
) -> Callable[[Sequence[Any]], Any]:
    """Return the function that makes of a program's outputs what the recorded function gives."""
    space: dict[str, Any] = {"constant": made_by, "number": _number}
    texts, k = [], 0
    for out, kind in zip(outputs, kinds, strict=True):
        if out.operand is None:
            texts.append(_held(out.other, space))
            continue
        one = f"found[{k}]"
        k += 1
        if kind == "tensor" and not out.live:
            one = f"constant({one})"
        elif kind in ("scalar", "number"):
            one = f"{one}[()]" if kind == "scalar" else f"number({one})"
        texts.append(one)
    returned: Callable[[Sequence[Any]], Any] = eval(
        f"lambda found: {_written(structure, iter(texts), space)}", space
    )
    return returned


def _written(node: tree.Structure, supply: Iterator[str], space: dict[str, Any]) -> str:
    """Write a container as an expression."""
    if node.kind is None:
        return next(supply)
    if node.kind is type(None):
        return "None"
    parts = [_written(part, supply, space) for part in node.parts]
    if issubclass(node.kind, dict):
        pairs = [f"{_held(k, space)}: {v}" for k, v in zip(node.keys, parts, strict=True)]
        return f"{{{', '.join(pairs)}}}"
    inside = "".join([f"{part}, " for part in parts])
    if node.kind in (tuple, list):
        return f"({inside})" if node.kind is tuple else f"[{inside}]"
    made = _held(node.kind, space)
    return f"{made}({inside})" if hasattr(node.kind, "_fields") else f"{made}(({inside}))"


def _held(x: Any, space: dict[str, Any]) -> str:
    name = f"held{len(space)}"
    space[name] = x
    return name


def _number(y: Any) -> Any:
    return y if isinstance(y, float) else y.item()


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
