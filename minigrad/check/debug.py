"""Debug mode: stop at the first NaN, infinity or overwritten array, and say where it came from.

    with mg.debug():                  or, for a whole program,
        loss = f(x)                       MINIGRAD_DEBUG=1 python program.py
        loss.backward()

Every result, cotangent and tangent is looked at, and the inputs of everything recorded are summed
up, to see at the backward pass whether they are still the same. Off, it costs nothing: `debug` puts
its own functions in the place of those that run a primitive and walk the tape, and takes them out
again.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ContextDecorator
from contextvars import ContextVar, Token
from typing import Any

import numpy as np

from ..core import tape
from ..core.context import Scope, current
from ..core.tape import Deferred, Node, Outputs
from ..core.tensor import Tensor, apply
from ..graph.source import Place, caller

__all__ = ["debug", "located"]

ALWAYS = os.environ.get("MINIGRAD_DEBUG", "") not in ("", "0")

_on: ContextVar[bool] = ContextVar("minigrad.debug", default=ALWAYS)
_locating: ContextVar[bool] = ContextVar("minigrad.located", default=False)
_lock = threading.Lock()
_users = 0


class debug(ContextDecorator):
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
        self._wanted = on
        self._tokens: list[Token[bool]] = []

    def _recreate_cm(self) -> debug:
        return debug(self._wanted)  # of a decorator, for several threads may be inside at once

    def __enter__(self) -> None:
        self._tokens.append(_on.set(self._wanted))
        _install(1)

    def __exit__(self, *exc: object) -> None:
        _install(-1)
        _on.reset(self._tokens.pop())


class located(ContextDecorator):
    """Record for every operation the expression that made it, and check nothing."""

    def __enter__(self) -> None:
        self._token = _locating.set(True)
        _install(1)

    def __exit__(self, *exc: object) -> None:
        _install(-1)
        _locating.reset(self._token)


class Seen(tuple[Any, ...]):
    """The inputs of an operation, the place that called it, what the arrays summed up to."""

    place: Place
    sums: list[int]

    @property
    def line(self) -> str:
        return str(self.place)


# ---- what takes the place of the functions of the same names -------------------------------------

_PLACES: dict[str, dict[str, Any]] = {  # `minigrad.tensor` is a function, hence __globals__
    "_run": apply.__globals__,
    "pull": vars(tape),
    "push": vars(tape),
}
_plain = {name: page[name] for name, page in _PLACES.items()}


def _install(more: int) -> None:
    """Count those who want debug mode, and put our functions in place while there are any."""
    global _users
    with _lock:
        _users += more
        for name, page in _PLACES.items():
            page[name] = globals()[name] if _users else _plain[name]


def _run(primitive: Any, inputs: Sequence[Any], xs: Any, params: Any, live: bool) -> Any:
    if not (_on.get() or _locating.get()):
        return _plain["_run"](primitive, inputs, xs, params, live)
    xs = Seen(xs)
    xs.place, node = caller(_plain["pull"].__code__)
    xs.sums = _sums(xs) if live and _on.get() else []
    result = _plain["_run"](primitive, inputs, xs, params, live)
    if not _on.get():
        return result
    outputs = result if isinstance(result, (tuple, list)) else (result,)
    for k, y in enumerate(outputs):
        if found := _broken(y.value):
            which = f" (output {k})" if len(outputs) > 1 else ""
            call = _described(primitive, inputs, xs, params, [y.value for y in outputs])
            lines = [call, *_place(current().scope), xs.line, *_arrived(inputs, xs)]
            if node is not None:
                lines += [f"in the backward pass of {node.primitive.name}", *_recorded(node)]
            raise _error(f"the result of {primitive.name}{which} holds {found}", lines)
    return result


def pull(
    path: Sequence[Node],
    outputs: Sequence[Node],
    cotangents: Sequence[Any],
    wrt: Sequence[Node] = (),
    on_tensors: bool = False,
    watch: Any = None,
) -> dict[Node, Any]:
    checks = _on.get() and watch is None  # who watches wants to see what is broken, too
    if checks:
        _unchanged(path)
        watch = _watch
    found: dict[Node, Any] = _plain["pull"](path, outputs, cotangents, wrt, on_tensors, watch)
    for t, g in found.items() if checks else ():
        if bad := _broken(g):
            raise _error(f"the cotangent of {_name(t, t.value)}, summed up, holds {bad}", [])
    return found


def push(
    path: Sequence[Node],
    inputs: Sequence[Node],
    tangents: Sequence[Any],
    on_tensors: bool = False,
) -> dict[Node, Any]:
    if _on.get():
        _unchanged(path)
    dots: dict[Node, Any] = _plain["push"](path, inputs, tangents, on_tensors)
    if _on.get():
        for node in path:
            if node in dots and (found := _broken(dots[node])):
                what = node.primitive.name if node.primitive else _name(node, node.value)
                raise _error(f"the tangent of {what} holds {found}", _recorded(node))
    return dots


def _watch(node: Node, t: Any, g: Any, gx: Any) -> None:
    """Look at what a rule made of the cotangent g for the input t."""
    if found := _broken(gx):
        before = _broken(g)
        came = f"the cotangent that arrived already holds {before}" if before else ""
        name = node.primitive.name if node.primitive else ""
        k = [s is t for s in node.inputs].index(True)
        headline = f"the cotangent of {_name(t, node.xs[k], k)}, from {name}, holds {found}"
        raise _error(headline, [*_recorded(node), came])


def _unchanged(path: Sequence[Node]) -> None:
    """Raise RuntimeError if an array is not what it was when an operation on the path used it."""
    for node in path:
        xs, primitive = node.xs, node.primitive
        if isinstance(xs, Seen) and xs.sums and primitive and (sums := _sums(xs)) != xs.sums:
            k = [a == b for a, b in zip(sums, xs.sums, strict=True)].index(False)
            raise RuntimeError(
                f"{_name(node.inputs[k], xs[k], k)} was changed in place after {primitive.name} "
                "had used it, so the derivative would be wrong; write x.data = new instead of "
                "x.data[...] = new, and give operations a copy of an array that will be changed\n"
                + "\n".join(f"    {line}" for line in _recorded(node))
            )


# ---- words ---------------------------------------------------------------------------------------


def _broken(value: Any) -> str:
    """Say what is not finite in an array, a Tensor or several, and where; empty if all is well."""
    if isinstance(value, Deferred):
        value = value.total()
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
    line = getattr(node.xs, "line", "recorded before debug mode was on")
    return [call, *_place(node.scope), line]


def _described(primitive: Any, inputs: Any, xs: Any, params: Any, value: Any) -> str:
    options = [f"{k}={v!r}" for k, v in params.items() if not isinstance(v, np.ndarray)]
    given = [_shape(t, x) for t, x in zip(inputs, xs, strict=True)]
    outputs = value if isinstance(value, (list, Outputs)) else [value]
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


def _place(scope: Scope | None) -> list[str]:
    """Give the scope path, and the innermost time step on it."""
    if scope is None:
        return []
    steps = [f.index for f in scope.frames if f.label == "step" and f.index is not None]
    return [f"in {scope}" + (f", time step {steps[-1]}" if steps else "")]


def _error(headline: str, lines: Sequence[str]) -> FloatingPointError:
    return FloatingPointError("\n    ".join([headline, *filter(None, lines)]))


if ALWAYS:
    _install(1)
