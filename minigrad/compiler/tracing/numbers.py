"""A Python float that is an argument: an input of the program, though it decides no dtype."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from ...core.context import tracing
from ...core.tensor import OPS, Tensor, apply

__all__ = ["Number", "ValueNeededError"]


class ValueNeededError(Exception):
    """A float was asked for its value: then it is no input, but a part of the signature."""


def _binary(name: str, key: Any, swapped: bool = False) -> Callable[[Any, Any], Any]:
    function = getattr(operator, name)

    def compute(self: Number, other: Any) -> Any:
        if isinstance(other, Number) or type(other) in (int, float, bool):
            return _weak(function, (other, self) if swapped else (self, other))
        return apply(OPS[key], (other, self) if swapped else (self, other))

    return compute


def _unary(name: str) -> Callable[[Any], Any]:
    return lambda self: _weak(getattr(operator, name), (self,))


def _weak(function: Any, args: tuple[Any, ...]) -> Any:
    """Return what Python computes of floats, which is a float, and as such an operation."""
    tracer: Any = tracing()
    return tracer.weak(function, args)


class Number(Tensor):
    """A float with a tensor's face: its `value` is a float, so that it stays what it is to NumPy.

    Arithmetic with numbers of Python gives another one. ValueNeededError where it is looked at.
    """

    __slots__ = ()
    __hash__ = object.__hash__
    shape, ndim, size = (), 0, 1
    dtype = np.dtype(float)

    def __init__(self, value: Any, name: str | None = None) -> None:
        given: Any = np.zeros(())
        super().__init__(given, False, name)
        self.value = value

    def detach(self) -> Tensor:
        return self

    def _is_looked_at(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise ValueNeededError

    # fmt: off
    __add__, __radd__ = _binary("add", np.add), _binary("add", np.add, True)
    __sub__, __rsub__ = _binary("sub", np.subtract), _binary("sub", np.subtract, True)
    __mul__, __rmul__ = _binary("mul", np.multiply), _binary("mul", np.multiply, True)
    __truediv__ = _binary("truediv", np.divide)
    __rtruediv__ = _binary("truediv", np.divide, True)
    __pow__, __rpow__ = _binary("pow", np.power), _binary("pow", np.power, True)
    __iadd__, __isub__, __imul__, __itruediv__, __ipow__ = (
        __add__, __sub__, __mul__, __truediv__, __pow__)
    __neg__, __pos__, __abs__ = _unary("neg"), _unary("pos"), _unary("abs")
    __lt__ = __le__ = __gt__ = __ge__ = __eq__ = __ne__ = _is_looked_at
    __bool__ = __float__ = __int__ = __index__ = __trunc__ = __round__ = _is_looked_at
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __divmod__ = __rdivmod__ = _is_looked_at
    __format__ = __repr__ = __str__ = __array__ = __iter__ = __len__ = _is_looked_at
    __reduce__ = __copy__ = __deepcopy__ = item = tolist = numpy = as_integer_ratio = _is_looked_at
    # fmt: on
