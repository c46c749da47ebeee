"""What a program was recorded for: the signature of a call, and the modules that it ran through."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ...core.context import changes
from ...core.dtypes import plain
from ...core.tensor import Tensor
from .outside import Outside

__all__ = ["Guard", "array_of", "inputs_among", "is_array", "kinds", "told"]

_FIXED = (bool, int, str, bytes, type(None), type(Ellipsis), float, np.dtype, slice, type)


def is_array(x: Any) -> bool:
    """Whether an argument is given to programs, as an input, and not a part of the signature."""
    return isinstance(x, (Tensor, np.ndarray, np.generic))


def inputs_among(leaves: Sequence[Any], with_floats: bool) -> list[int]:
    """Return which arguments are inputs of programs."""
    return [k for k, x in enumerate(leaves) if is_array(x) or (with_floats and type(x) is float)]


def array_of(x: Any) -> Any:
    """Return the array of an argument; TypeError for what is none of real numbers."""
    if type(x) is float:
        return x
    x = x.value if isinstance(x, Tensor) else x
    if type(x) is np.ndarray and x.dtype.isnative and x.dtype.kind in "fiub":
        return x
    return plain(x, "mg.compile", "takes")


def kinds(leaves: Iterable[Any], with_floats: bool) -> tuple[Any, ...]:
    """Return what programs depend on of each argument: what is hashed of a signature.

    `with_floats`: these are inputs, so their values do not matter.
    """
    return tuple([_kind(x, with_floats) for x in leaves])


def _kind(x: Any, with_floats: bool) -> Any:
    if with_floats and type(x) is float:
        return float, "any number"
    if isinstance(x, Tensor):
        return Tensor, x.value.shape, x.value.dtype.char, x.live
    if isinstance(x, (np.ndarray, np.generic)):
        return np.ndarray, x.shape, array_of(x).dtype.char
    if isinstance(x, _FIXED):
        return type(x), repr(x) if isinstance(x, (float, slice)) else x
    return type(x), id(x)  # which the program keeps alive


def told(kind: Any) -> str:
    """Say what an argument is, as its kind has it."""
    if kind[0] in (Tensor, np.ndarray):
        live = ", requires_grad" if kind[3:] == (True,) else ""
        name = "tensor" if kind[0] is Tensor else "array"
        return f"{name} {np.dtype(kind[2])}{list(kind[1])}{live}"
    return str(kind[1]) if kind[0] in _FIXED else kind[0].__name__


class Guard:
    """Whether modules, and what tensors are captured, still are what a program was recorded for."""

    def __init__(
        self,
        modules: Iterable[Any],
        captured: Iterable[Tensor] = (),
        outside: Outside | None = None,
    ) -> None:
        self.modules, self.outside = [*modules], outside or Outside()
        self.captured = [(t, t.value.dtype, t.live, t.value.shape) for t in captured]
        self.at, self.stood = changes(), self._standing()
        self.hooks = [h for m in self.modules if (h := vars(m).get("_hooks")) is not None]

    def holds(self, inputs: list[Any], with_arrays: bool = True) -> bool:
        """Whether the program is still right; append the arrays of the captured tensors if so.

        It costs little, as long as no module is changed.
        """
        for t, dtype, live, shape in self.captured:
            value = t.value
            if value.dtype is not dtype or t.live is not live or value.shape != shape:
                return False
            inputs.append(value)
        if self.outside.change(with_arrays):
            return False
        if self.at != (now := changes()):
            if self._standing() != self.stood:
                return False
            self.at = now
        return True

    def change(self) -> str:
        """Return in words what does not hold any more."""
        for t, dtype, live, shape in self.captured:
            if (t.value.dtype, t.live, t.value.shape) != (dtype, live, shape):
                return f"{t.name or 'a tensor'}, which has another dtype, or is trained or not"
        if name := self.outside.change():
            return f"{name}, which it reads from outside"
        for module, then, now in zip(self.modules, self.stood, self._standing(), strict=True):
            for (name, a), (_, b) in zip(then, now, strict=False):
                if a != b:
                    return f"{type(module).__name__}.{name}"
        return "the attributes of a module"

    def is_hooked(self) -> bool:
        """Whether functions of the user's are to see what goes through a module."""
        return bool(self.hooks) and any(h.before or h.after for h in self.hooks)

    def _standing(self) -> tuple[Any, ...]:
        """Return what the forward methods of the modules depend on: their plain attributes."""
        return tuple([_attributes(m) for m in self.modules])


def _attributes(module: Any) -> tuple[Any, ...]:
    return tuple([(k, _standing(v)) for k, v in vars(module).items() if k != "_label"])


def _standing(v: Any) -> Any:
    if isinstance(v, (bool, int, float, str, bytes, type(None))):
        return repr(v)
    if isinstance(v, (list, tuple)):
        return tuple([_standing(part) for part in v])
    if isinstance(v, dict):
        return tuple([(repr(k), _standing(part)) for k, part in v.items()])
    return id(v)
