"""Recording: a function run once on tensors, and written down as a program.

The recorder is an observer that is shown every operation, recorded on the tape or not. It knows an
array by its identity: an operand is a value of the program if its array *is* that of an input or
of a result, however it came there. A tensor that was there before is an input as well: its numbers
are read at every call. What is computed from constants alone is a constant, and is not recorded.
Recording has no side effects: leaves that are rebound and modules get back what they had, and
random numbers are drawn from copies of their generators.

Rules run on constant tensors in the place of arrays, so that comparisons and other functions
without a derivative, which give arrays otherwise, are operations of the backward pass as well.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from types import CodeType
from typing import Any

import numpy as np

from ...core import tape
from ...core.context import Tracer, current, observed, unobserved
from ...core.dtypes import Array
from ...core.tape import Outputs
from ...core.tensor import Tensor
from ...guard.errors import users_call, users_file
from ...guard.leaving import described
from ..program import Function, Op, Operand, Program, Section, Value, View, has_effect
from .functions import (
    OF_ANY_SHAPE,
    OF_SHAPES,
    OUT_OF_PROGRAMS,
    called,
    may_be_computed,
    named,
    plain,
    shape_depends,
    silent,
    with_errors,
)  # fmt: skip
from .numbers import Number, ValueNeededError
from .recording import Note, Output, Recording

__all__ = ["Recorder", "recorded"]

MOST = 200_000
_PLAIN = {int, bool, str, type(None), type(Ellipsis)}
_ELSEWHERE = {
    ".backward()": "compile mg.value_and_grad(f), or call backward() on what the compiled function "
    "returns",
    ".register_hook()": "add hooks to what goes in and comes out",
    ".retain_grad()": "return the tensor, and call retain_grad() on that",
}


class Recorder(Tracer):
    """Writes down what it is shown; `items` is where."""

    def __init__(self, named: Mapping[Tensor, str] | None = None) -> None:
        self.start, self.named = tape.next_index(), named or {}
        self.items: list[Any] = []
        self.known: dict[int, Value] = {}  # by the identity of arrays, which `kept` keeps alive
        self.kept: list[Any] = []
        self.constants: dict[tuple[Any, ...], Value] = {}
        self.captured: dict[Tensor, Value] = {}
        self.before: dict[Tensor, Array] = {}  # what leaves held that have been rebound
        self.generators: dict[int, tuple[Any, Any]] = {}  # with the copies that are drawn from
        self.notes: dict[int, Note] = {}
        self.within: list[Note | None] = []
        self.errors = np.geterr()

    # ---- what is known -------------------------------------------------------------------------

    def entered(self, array: Array, name: str = "") -> Value:
        """Return a new value of the program, for an array that is like no other."""
        return self._knows(array, Value(array.shape, array.dtype, name))

    def _knows(self, array: Array, value: Value) -> Value:
        self.kept.append(array)
        self.known[id(array)] = value
        return value

    def _constant(self, array: Array) -> Value:
        """Return the value of an array that stays what it is: one for all that are equal.

        So the rounds of a loop that have each an array of ones, as rows of a seed, are alike.
        """
        if (value := self.known.get(id(array))) is None:
            content = (array.shape, array.dtype, array.tobytes())
            value = self.constants.get(content) or Value(array.shape, array.dtype, "", array)
            self.constants[content] = self._knows(array, value)
        return value

    def _captures(self, t: Tensor) -> Value | None:
        """Return the value of a tensor; None if it was made here, of constants."""
        value = self.known.get(id(t.value))
        if value is None and isinstance(t.value, np.ndarray):
            if t.primitive is not None and t.index > self.start and self._is_traced(t.xs):
                raise TypeError(
                    f"mg.compile: {described(t)} was computed where recording does not see it, in "
                    "another thread; compute it in this one, or pass it as an argument"
                )
            if t.index < self.start:
                value = self.entered(t.value, self.named.get(t) or t.name or "")
                self.captured[t] = value
        return value

    def operand(self, x: Any) -> Operand:
        """Return what stands for an array or a number among the operands."""
        value = self.known.get(id(x))
        if value is not None:
            return View(value)
        if isinstance(x, Tensor):
            self._captures(x)
            return self.operand(x.value)
        if type(x) in (int, float, bool):
            return x  # type: ignore[no-any-return]
        return View(self._constant(x if isinstance(x, np.ndarray) else np.asarray(x)))

    def _is_traced(self, x: Any) -> bool:
        """Whether something, or what it holds, changes from call to call."""
        kind = type(x)
        if kind in _PLAIN:  # nearly all options
            return False
        if kind is tuple or kind is list:
            return any(self._is_traced(part) for part in x if type(part) not in _PLAIN)
        if kind is dict:
            return any(self._is_traced(v) for v in x.values() if type(v) not in _PLAIN)
        if kind is slice:
            return self._is_traced((x.start, x.stop, x.step))
        if isinstance(x, Tensor):
            value = self._captures(x)
        elif isinstance(x, (list, tuple)):
            return self._is_traced([*x])
        else:
            value = self.known.get(id(x))
        return value is not None and value.array is None

    def _option(self, x: Any) -> Any:
        """Return a parameter with views in the place of what is traced."""
        if isinstance(x, (list, tuple)) and self._is_traced(x):
            parts = [self._option(part) for part in x]
            return parts if isinstance(x, list) else tuple(parts)
        if isinstance(x, Mapping) and self._is_traced(x):
            return {k: self._option(part) for k, part in x.items()}
        return self.operand(x) if self._is_traced(x) else x

    # ---- what is shown -------------------------------------------------------------------------

    def result(
        self,
        t: Any,
        primitive: Any,
        inputs: Sequence[Any],
        xs: Sequence[Any],
        params: Mapping[str, Any],
    ) -> None:
        known, by_args = self.known, False
        for given, x in zip(inputs, xs, strict=True):
            value = known.get(id(x))
            if value is None and isinstance(given, Tensor):
                value = self._captures(given)
            by_args = by_args or (value is not None and value.array is None)
        by_params = bool(params) and self._is_traced(params)
        if not (by_params or by_args):
            return
        if by_params:
            may_be_computed(primitive, params, self._is_traced)
            params = self._option(params)
        several = isinstance(t.value, Outputs)
        arrays = [x.view() if id(x) in self.known else x for x in _parts(t.value)]
        t.value = Outputs(arrays) if several else arrays[0]
        self._adds(primitive, map(self.operand, xs), params, arrays, several, t.name)

    def _adds(
        self,
        does: Any,
        args: Any,
        params: Any,
        arrays: Sequence[Array],
        several: bool,
        name: str | None = "",
    ) -> None:
        note = self.within[-1] if self.within else None
        if note is None:
            note = _here()
            if (errors := np.geterr()) != self.errors:
                does = Function(does.name, with_errors(does.forward, errors), has_effect(does))
        args = tuple(args)  # which may enter constants, before the results are known
        outs = tuple([self.entered(x, name or "") for x in arrays])
        if len(self.items) >= MOST:
            raise RuntimeError(
                f"mg.compile: more than {MOST:,} operations; write a loop of that many steps with "
                "mg.scan, of pieces, and compile the function of one piece"
            )
        self.notes.update(dict.fromkeys(map(id, arrays), note))
        self.items.append(Op(does, args, params, outs, several, note))

    def given(self, x: Any) -> Any:
        """Return constant tensors in the place of arrays, so that what is done to them is seen."""
        if type(x) is np.ndarray:
            return Tensor(x)
        if type(x) is float and id(x) in self.known:
            return Number(x)
        if isinstance(x, Outputs):  # an array that is none of ours is zeros, for what was not used
            return Outputs([Tensor(p) if id(p) in self.known else p for p in x])
        return x

    def replaced(self, by: Any) -> None:
        raise TypeError(
            "mg.compile: a block that observes what is computed, such as mg.debug(), cannot be "
            f"entered in a compiled function; compute without mg.compile in it\n    {users_call()}"
        )

    def walk(self, path: Sequence[Any]) -> None:
        self.within.append(None)

    def at(self, node: Any, g: Any) -> AbstractContextManager[None]:
        parts = _parts(node.value)
        self.within[-1] = self.notes.get(id(parts[0])) if parts else None
        return nullcontext()

    def done(self, cotangents: Mapping[Any, Any]) -> None:
        self.within.pop()

    # ---- what the engine asks ------------------------------------------------------------------

    def constant(self, function: Any, args: Sequence[Any], params: Mapping[str, Any]) -> Any:
        if function in OF_SHAPES or not (self._is_traced(args) or self._is_traced(params)):
            return NotImplemented
        name = getattr(function, "__name__", "function").removeprefix("_")
        if function in OF_ANY_SHAPE:
            raise shape_depends(f"np.{name}")
        if function in OUT_OF_PROGRAMS or params.get("out") is not None:
            raise TypeError(
                f"mg.compile: np.{name} of a tensor, and writing into out=, are not part of a "
                f"program; do it outside of the compiled function\n    {users_call()}"
            )
        with unobserved():
            made = function(*map(plain, args), **{k: plain(v) for k, v in params.items()})
        several = isinstance(made, tuple)
        arrays = [np.asarray(x).view() for x in (made if several else (made,))]
        does, given, options = called(function, name, args, params)
        self._adds(does, map(self.operand, given), self._option(options), arrays, several)
        tensors = [Tensor(x) for x in arrays]
        return tuple(tensors) if several else tensors[0]

    def number(self, x: float, name: str = "") -> Number:
        """Return a float as an input or a result, known by its identity."""
        x = x * 1.0  # a new object
        self.kept.append(x)
        self.known[id(x)] = Value((), np.dtype(float), name)
        return Number(x, name)

    def weak(self, function: Any, args: Sequence[Any]) -> Any:
        """Return what Python computes of floats, one of them traced."""
        operands = tuple([self.operand(x) for x in args])
        made = function(*[x.value if isinstance(x, Number) else x for x in args])
        if type(made) is not float:
            raise ValueNeededError
        out = self.number(made)
        does = named(function.__name__, function, keep=True)
        value = self.known[id(out.value)]
        self.items.append(Op(does, operands, {}, (value,), False, _here()))
        return out

    def taken(self, t: Any, how: str) -> None:
        value = self._captures(t) if isinstance(t, Tensor) else None
        if how and value is not None and value.array is None and not _printing():
            call = users_call()
            if how in _ELSEWHERE:
                raise TypeError(
                    f"mg.compile: {how} inside a compiled function would be done at the recording "
                    f"only; {_ELSEWHERE[how]}\n    {call}"
                )
            raise TypeError(
                f"mg.compile: {how} of {described(t)} would bake its numbers into the program, "
                f"which other calls have others of\n    {call}\nwrite np.where(condition, a, b) "
                "for control flow on values, np.stack(list) for an array that is filled, "
                "t.detach() for a constant, and return what is wanted as a number"
            )

    def rebound(self, t: Any, value: Any) -> None:
        self._captures(t)
        self.before.setdefault(t, t.value)
        t.value = value.value

    def restore(self) -> None:
        """Give rebound leaves back what they held."""
        for t, array in self.before.items():
            t.value = array

    def drawn(self, rng: Any, method: str, args: Sequence[Any], params: Mapping[str, Any]) -> Any:
        if id(rng) not in self.generators:
            self.generators[id(rng)] = rng, copy.deepcopy(rng)
        array = np.asarray(getattr(self.generators[id(rng)][1], method)(*args, **params))
        draw = partial(getattr(rng, method), *args, **params)
        self._adds(Function(method, draw, effect=True), (), {}, [array], False)
        return Tensor(array)

    def checked(self, check: Any, args: Sequence[Any]) -> None:
        with unobserved():
            check(*map(plain, args))
        if self._is_traced(args):
            name = getattr(check, "__name__", "") or check.func.__name__
            does, given, _ = called(silent(check), name.removeprefix("_"), args, {})
            does = Function(does.name, does.forward, effect=True)
            self._adds(does, map(self.operand, given), {}, [np.ones((), bool)], False)


# ---- recording a function ------------------------------------------------------------------------


def recorded(
    f: Callable[..., Sequence[Any]],
    arrays: Sequence[Array | float],
    live: Sequence[bool] | None = None,
    names: Sequence[str] | None = None,
    backward: bool = False,
    named: Mapping[Tensor, str] | None = None,
) -> Recording:
    """Return what `f` does to tensors of these arrays: a flat program, with a backward section.

    `f` returns a list of leaves. `live` says which of the arguments gradients flow to, `names` how
    they are called, and `named` how captured tensors are.
    """
    live = live or [False] * len(arrays)
    names = names or [f"x{k}" for k in range(len(arrays))]
    recorder = Recorder(named)
    with observed(recorder):
        given: list[Tensor] = []
        for x, yes, name in zip(arrays, live, names, strict=True):
            if isinstance(x, np.ndarray):
                t = Tensor(x.view(), yes, name)
                recorder.entered(t.value, name)
            else:
                t = recorder.number(x, name)
            given.append(t)
        inputs = [recorder.known[id(t.value)] for t in given]
        try:
            leaves = list(f(*given))
            outputs = [_output(recorder, y) for y in leaves]
            state = [t for t, array in recorder.before.items() if t.value is not array]
            states = [recorder.operand(t.value) for t in state]
        finally:
            recorder.restore()
        forward, recorder.items = recorder.items, []
        sources: list[int | Tensor] = []
        seeds: list[Value] = []
        gradients: list[Operand] = []
        if backward:
            chosen = [y for y, out in zip(leaves, outputs, strict=True) if out.live]
            seeds, sources, gradients = _pulled(recorder, given, chosen)
    inputs += recorder.captured.values()
    values = [y.value if isinstance(y, Tensor) else y for y in leaves]
    shown = [out.operand for out in outputs if out.operand is not None]
    sections = [Section(inputs, forward, shown + states)]
    if backward:
        sections.append(Section(seeds, recorder.items, gradients))
    constants = [*recorder.constants.values()]
    generators = [rng for rng, _ in recorder.generators.values()]
    return Recording(
        Program(sections), outputs, values, [*recorder.captured], state, sources, constants,
        generators, [],
    )  # fmt: skip


def _output(recorder: Recorder, y: Any) -> Output:
    if isinstance(y, Number):
        return Output(recorder.operand(+y))  # an argument as it is would be no result
    if isinstance(y, (Tensor, np.ndarray, np.generic)):
        live = isinstance(y, Tensor) and y.live and y.dtype.kind == "f"
        return Output(recorder.operand(y), live)
    return Output(None, False, y)


def _pulled(
    recorder: Recorder, given: Sequence[Tensor], outputs: Sequence[Tensor]
) -> tuple[list[Value], list[int | Tensor], list[Operand]]:
    """Walk back from the outputs; return the seeds, what gradients are of, and the gradients."""
    seeds = [Tensor(np.ones(y.shape, y.dtype)) for y in outputs]
    values = [recorder.entered(t.value, f"d{y.name or ''}")
              for t, y in zip(seeds, outputs, strict=True)]  # fmt: skip
    path, older = tape.since(recorder.start, outputs)
    ends = [*[t for t in given if t.live], *[t for t in older if t.live]]
    known = set(ends)
    inner = [t for t in path if t not in known]
    found = tape.pull([*ends, *inner], outputs, [t.value for t in seeds], ends, silent={*older})
    sources: list[int | Tensor] = [k for k, t in enumerate(given) if t in found]
    sources += [t for t in older if isinstance(t, Tensor) and t in found]
    gradients = [recorder.operand(found[t if isinstance(t, Tensor) else given[t]]) for t in sources]
    return values, sources, gradients


def _parts(value: Any) -> Sequence[Any]:
    return value if isinstance(value, tuple) else (value,)


# ---- places --------------------------------------------------------------------------------------

_users: dict[CodeType, bool] = {}


def _here() -> Note:
    """Return the scope, and the line of the user's that is running."""
    frame: Any = sys._getframe(3)
    while frame is not None:
        code = frame.f_code
        if (users := _users.get(code)) is None:
            users = _users[code] = users_file(code.co_filename)
        if users:
            return Note(current().scope, code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return Note(current().scope)


def _printing() -> bool:
    """Whether a tensor is printed, which is no use of its numbers."""
    names = {"__format__", "__repr__", "__str__"}
    return sys._getframe(3).f_code.co_name in names
