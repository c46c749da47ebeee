"""Arguments that must be numbers in a range, whole numbers or flags: checked where they are given.

A learning rate of nan, a size of 2.5 or `bias=10` would do harm much later, and far from here.
`who` is told about in the error: the name of a function, or the object that is being made.
"""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any, overload

import numpy as np

from ..core import tree
from ..core.tensor import Tensor
from ..guard.errors import shown

__all__ = ["Number", "flag", "number", "whole"]


class Number:
    """An attribute that is a number in a range, whenever it is set: `lr = Number("(0, inf)")`.

    The range is written as in mathematics: `[0, 1)` has 0 in it, and 1 not. Nan is in none. With
    `length`, that many numbers; with `optional`, also None.
    """

    def __init__(self, within: str, *, length: int | None = None, optional: bool = False) -> None:
        self.within, self.length, self.optional = within, length, optional

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Number: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Any: ...
    def __get__(self, instance: object | None, owner: type) -> Any:
        return self if instance is None else vars(instance)[self.name]

    def __set__(self, instance: object, value: Any) -> None:
        vars(instance)[self.name] = self.checked(instance, value)

    def checked(self, who: object, value: Any) -> Any:
        """Return the value as Python's numbers; TypeError or ValueError for one that is refused."""
        if self.length is not None:
            if not isinstance(value, (tuple, list)) or len(value) != self.length:
                raise _refused(TypeError, who, self.name, f"{self.length} numbers", value)
            parts = [(f"{self.name}[{k}]", v) for k, v in enumerate(value)]
            return tuple([number(who, name, v, self.within) for name, v in parts])
        if value is None and self.optional:
            return None
        return number(who, self.name, value, self.within)


def number(who: object, name: str, value: Any, within: str) -> float:
    """Return `value` as a Python number; TypeError for anything else, ValueError out of range."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise _refused(TypeError, who, name, "a number", value)
    low, high = map(float, within[1:-1].split(","))
    plain = int(value) if isinstance(value, Integral) else float(value)
    above = plain >= low if within[0] == "[" else plain > low
    below = plain <= high if within[-1] == "]" else plain < high
    if not (above and below):
        raise _refused(ValueError, who, name, _worded(within), value)
    return plain


def whole(who: object, name: str, value: Any, least: int | None = 1) -> int:
    """Return `value`, Python's integer or NumPy's, as an int; TypeError, or ValueError if less.

    With `least` None any integer will do, as for an axis, which may be counted from the end.
    """
    wanted = "an integer" if least is None else f"an integer, at least {least}"
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise _refused(TypeError, who, name, wanted, value)
    if (n := int(value)) < (n if least is None else least):
        raise _refused(ValueError, who, name, wanted, value)
    return n


def flag(who: object, name: str, value: Any) -> bool:
    """Return `value` as a bool; TypeError unless it is one, for every number is true or false."""
    if not isinstance(value, (bool, np.bool_)):
        raise _refused(TypeError, who, name, "True or False", value)
    return bool(value)


def _worded(within: str) -> str:
    low, high = within[1:-1].split(", ")
    if math.isfinite(float(high)):
        return f"in {within}"
    if low == "-inf":
        return "finite"
    least = "positive" if within[0] == "(" and low == "0" else f"at least {low}"
    return least if within[-1] == "]" else f"{least} and finite"


def _refused(kind: type[Exception], who: object, name: str, wanted: str, value: Any) -> Exception:
    """Make the error; an array given to a module's class is most likely meant as its input."""
    called = who if isinstance(who, str) else type(who).__name__
    is_input = tree.is_module(who) and isinstance(value, (np.ndarray, Tensor)) and value.ndim
    made = f"; make the module first, and call it then: {called}(...)(x)" if is_input else ""
    return kind(f"{called}: {name} must be {wanted}, not {shown(value)}{made}")
