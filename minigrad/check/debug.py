"""Debug mode: stop at the first NaN, infinity or overwritten array, and say where it came from.

    with mg.debug():                  or, for a whole program,
        loss = f(x)                       MINIGRAD_DEBUG=1 python program.py
        loss.backward()

Every result, cotangent and tangent is looked at, and the inputs of everything recorded are summed
up, to see at the backward pass whether they are still the same. Debug mode is an observer in the
context; while no thread has one, operations look for none.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from ..core.context import Context, Observer, Scope, current, observe_everywhere, observed
from ..core.tape import Node, Outputs, dense
from ..core.tensor import Tensor
from ..graph.source import Origin, caller, place_of

__all__ = ["debug", "located"]


class Checks(Observer):
    """The observer that debug mode is. In the rules of a node, recorded again, `node` is that."""

    def __init__(self, node: Node | None = None) -> None:
        self.node = node

    def result(
        self,
        t: Node,
        primitive: Any,
        inputs: Sequence[Any],
        xs: Sequence[Any],
        params: Mapping[str, Any],
    ) -> None:
        t.origin = Origin(caller(), _sums(xs) if t.primitive else [])
        several = isinstance(t.value, Outputs)
        outputs = t.value if several else (t.value,)
        for k, y in enumerate(outputs):
            if found := _broken(y):
                which = f" (output {k})" if several else ""
                call = _described(primitive, inputs, xs, params, outputs)
                lines = [
                    call,
                    *_within(current().scope),
                    str(t.origin.place),
                    *_arrived(inputs, xs),
                ]
                if self.node is not None and self.node.primitive:
                    lines.append(f"in the backward pass of {self.node.primitive.name}")
                    lines += _recorded(self.node)
                raise _error(f"the result of {primitive.name}{which} holds {found}", lines)

    def walk(self, path: Sequence[Node]) -> None:
        """Raise RuntimeError if an array is not what it was when an operation had used it."""
        for node in path:
            sums, xs = node.origin.sums if hasattr(node, "origin") else [], node.xs
            if sums and node.primitive and (now := _sums(xs)) != sums:
                k = [a == b for a, b in zip(sums, now, strict=True)].index(False)
                raise RuntimeError(
                    f"{_name(node.inputs[k], xs[k], k)} was changed in place after "
                    f"{node.primitive.name} had used it, so the derivative would be wrong; write "
                    "x.data = new instead of x.data[...] = new, and give operations a copy of an "
                    "array that will be changed\n"
                    + "\n".join(f"    {line}" for line in _recorded(node))
                )

    def at(self, node: Node, g: Any) -> AbstractContextManager[None]:
        return observed(Checks(node))

    def contribution(self, node: Node, t: Any, g: Any, gx: Any) -> None:
        if found := _broken(gx):
            before = _broken(g)
            came = f"the cotangent that arrived already holds {before}" if before else ""
            name = node.primitive.name if node.primitive else ""
            k = [s is t for s in node.inputs].index(True)
            headline = f"the cotangent of {_name(t, node.xs[k], k)}, from {name}, holds {found}"
            raise _error(headline, [*_recorded(node), came])

    def tangent(self, node: Node, dx: Any) -> None:
        if found := _broken(dx):
            what = node.primitive.name if node.primitive else _name(node, node.value)
            raise _error(f"the tangent of {what} holds {found}", _recorded(node))

    def done(self, cotangents: Mapping[Node, Any]) -> None:
        for t, g in cotangents.items():
            if found := _broken(g):
                raise _error(f"the cotangent of {_name(t, t.value)}, summed up, holds {found}", [])


class Places(Observer):
    """Notes for every operation the expression that made it, and checks nothing."""

    def result(self, t: Node, *_: Any) -> None:
        t.origin = Origin(caller(), [])


class debug(observed):
    """Check everything computed inside: `with mg.debug(): ...`, or as a decorator.

    FloatingPointError at the first NaN or infinity in a result, a cotangent or a tangent: it names
    the operation, its scope path, the time step, the shapes, and the user's line that called it.
    RuntimeError, before anything is pulled or pushed, where an array was changed in place after an
    operation had used it. Other threads are not checked, unless MINIGRAD_DEBUG=1 is set in the
    environment; then `debug(False)` makes an exception.

    >>> with debug(), np.errstate(divide="ignore"):  # doctest: +ELLIPSIS
    ...     np.log(Tensor(np.array([1.0, 0.0])))
    Traceback (most recent call last):
    FloatingPointError: the result of log holds -inf at [1]
        log(float64 (2,)) -> float64 (2,)
        <doctest ...>, line 2, in <module>: np.log(Tensor(np.array([1.0, 0.0])))
    """

    def __init__(self, on: bool = True) -> None:
        super().__init__(Checks() if on else None)


class located(observed):
    """Note for every operation inside the expression that made it, as debug mode also does."""

    def __init__(self) -> None:
        super().__init__(Places())

    def _changed(self, now: Context) -> Context:
        inner = super()._changed(now)
        inner.observer = now.observer or inner.observer
        return inner


if os.environ.get("MINIGRAD_DEBUG", "") not in ("", "0"):
    observe_everywhere(Checks())


# ---- words ---------------------------------------------------------------------------------------


def _broken(value: Any) -> str:
    """Say what is not finite in an array, a Tensor or several, and where; empty if all is well."""
    value = dense(value)
    for part in value if isinstance(value, tuple) else (value,):
        array = part.value if isinstance(part, Tensor) else np.asarray(part)
        if array.dtype.kind == "f" and not (finite := np.isfinite(array)).all():
            at = [int(k) for k in np.argwhere(~finite)[0]]
            more = array.size - int(finite.sum()) - 1
            return (
                f"{array[tuple(at)]}"
                + (f" at {at}" if at else "")
                + (f" and {more} more of {array.size}" if more else "")
            )
    return ""


def _sums(xs: Sequence[Any]) -> list[int]:
    return [_sum(x) if isinstance(x, np.ndarray) else 0 for x in xs]


def _sum(x: np.ndarray[Any, Any]) -> int:
    return zlib.crc32(np.ascontiguousarray(x).data)


def _recorded(node: Node) -> list[str]:
    """Describe a recorded operation: shapes, place, line."""
    if node.primitive is None:
        return []
    call = _described(node.primitive, node.inputs, node.xs, node.params, node.value)
    line = str(place_of(node) or "recorded before debug mode was on")
    return [call, *_within(node.scope), line]


def _described(primitive: Any, inputs: Any, xs: Any, params: Any, value: Any) -> str:
    options = [f"{k}={v!r}" for k, v in params.items() if not isinstance(v, np.ndarray)]
    given = [_shape(t, x) for t, x in zip(inputs, xs, strict=True)]
    outputs = value if isinstance(value, tuple) else (value,)
    result = ", ".join(_shape(None, y) for y in outputs)
    return f"{primitive.name}({', '.join(given + options)}) -> {result}"


def _shape(t: Any, x: Any) -> str:
    text = f"{x.dtype} {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__
    return f"{t.name}: {text}" if isinstance(t, Tensor) and t.name else text


def _arrived(inputs: Sequence[Any], xs: Sequence[Any]) -> Iterator[str]:
    for k, (t, x) in enumerate(zip(inputs, xs, strict=True)):
        if isinstance(x, (np.ndarray, np.generic, float)) and (found := _broken(x)):
            yield f"{_name(t, x, k)} already holds {found}"


def _name(t: Any, x: Any, k: int | None = None) -> str:
    """Name an input of an operation: by its name, or by what it is and its place."""
    if isinstance(t, Tensor) and t.name:
        return repr(t.name)
    made = t.primitive.name if isinstance(t, Tensor) and t.primitive else None
    kind = (
        f"the result of {made}" if made else "a leaf" if t is not None and t.live else "a constant"
    )
    return f"{kind} of shape {np.shape(x)}" + ("" if k is None else f" (argument {k})")


def _within(scope: Scope | None) -> list[str]:
    """Return the scope path, and the innermost time step on it."""
    if scope is None:
        return []
    steps = [f.index for f in scope.frames if f.label == "step" and f.index is not None]
    return [f"in {scope}" + (f", time step {steps[-1]}" if steps else "")]


def _error(headline: str, lines: Sequence[str]) -> FloatingPointError:
    return FloatingPointError("\n    ".join([headline, *filter(None, lines)]))
