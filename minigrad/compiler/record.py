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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from types import CodeType
from typing import Any, NamedTuple

import numpy as np

from ..core import tape, tree
from ..core.context import Tracer, current, observed, unobserved
from ..core.dtypes import Array
from ..core.tape import Outputs
from ..core.tensor import Tensor
from ..guard.errors import users_call, users_file
from ..guard.leaving import described
from .numbers import Number, ValueNeededError
from .program import Function, Op, Operand, Program, Section, Value, View, held

__all__ = ["Note", "Output", "Recorder", "Recording", "different", "recorded"]


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
            if t.primitive is not None and t.index > self.start:
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
        if isinstance(x, Tensor):
            self._captures(x)
            x = x.value
        if type(x) in (int, float, bool):
            known = self.known.get(id(x)) if type(x) is float else None
            return x if known is None else View(known)
        return View(self._constant(x if isinstance(x, np.ndarray) else np.asarray(x)))

    def _is_traced(self, x: Any) -> bool:
        """Whether something, or what it holds, changes from call to call."""
        if isinstance(x, Tensor):
            value = self._captures(x)
            return value is not None and value.array is None
        if isinstance(x, (list, tuple)):
            return any(map(self._is_traced, x))
        if isinstance(x, Mapping):
            return any(map(self._is_traced, x.values()))
        if isinstance(x, slice):
            return any(map(self._is_traced, (x.start, x.stop, x.step)))
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
        for given in inputs:
            if isinstance(given, Tensor):
                self._captures(given)
        by_params = bool(params) and self._is_traced(params)
        if not (by_params or self._is_traced(xs)):
            return
        if by_params:
            _may_be_computed(primitive, params, self._is_traced)
        several = isinstance(t.value, Outputs)
        arrays = [x.view() if id(x) in self.known else x for x in _parts(t.value)]
        t.value = Outputs(arrays) if several else arrays[0]
        self._adds(primitive, map(self.operand, xs), self._option(params), arrays, several, t.name)

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
        args = tuple(args)  # which may enter constants, before the results are known
        outs = tuple([self.entered(x, name or "") for x in arrays])
        if (errors := np.geterr()) != self.errors:
            does = Function(does.name, _with_errors(does.forward, errors), _has_effect(does))
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
        if function in _OF_SHAPES or not (self._is_traced(args) or self._is_traced(params)):
            return NotImplemented
        name = getattr(function, "__name__", "function").removeprefix("_")
        if function in _OF_ANY_SHAPE:
            raise _shape_depends(f"np.{name}")
        if function in _OUT_OF_PROGRAMS or params.get("out") is not None:
            raise TypeError(
                f"mg.compile: np.{name} of a tensor, and writing into out=, are not part of a "
                f"program; do it outside of the compiled function\n    {users_call()}"
            )
        with unobserved():
            made = function(*map(_plain, args), **{k: _plain(v) for k, v in params.items()})
        several = isinstance(made, tuple)
        arrays = [np.asarray(x).view() for x in (made if several else (made,))]
        does, given, options = _called(function, name, args, params)
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
        does = _named(function.__name__, function, keep=True)
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
                "for control flow on values, t.detach() for a constant, and return what is wanted "
                "as a number"
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
            check(*map(_plain, args))
        if self._is_traced(args):
            name = getattr(check, "__name__", "") or check.func.__name__
            does, given, _ = _called(_silent(check), name.removeprefix("_"), args, {})
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
        return Output(recorder.operand(y))
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
    inner = [t for t in path if t not in set(ends)]
    found = tape.pull([*ends, *inner], outputs, [t.value for t in seeds], ends, silent={*older})
    sources: list[int | Tensor] = [k for k, t in enumerate(given) if t in found]
    sources += [t for t in older if isinstance(t, Tensor) and t in found]
    gradients = [recorder.operand(found[t if isinstance(t, Tensor) else given[t]]) for t in sources]
    return values, sources, gradients


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
    if [t for t in a.captured if t not in set(b.captured)] or len(a.captured) != len(b.captured):
        return "it used other tensors from outside the next time"
    for s, t in zip(a.program.sections, b.program.sections, strict=True):
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


# ---- functions without derivatives ---------------------------------------------------------------

_functions: dict[Any, Function] = {}
_OF_SHAPES = {
    np.can_cast, np.common_type, np.empty_like, np.iscomplexobj, np.isrealobj, np.may_share_memory,
    np.ndim, np.ones_like, np.result_type, np.shape, np.shares_memory, np.size, np.zeros_like,
    np.tril_indices_from, np.triu_indices_from, np.diag_indices_from, np.iscomplex,
}  # fmt: skip
_OF_ANY_SHAPE = {np.argwhere, np.flatnonzero, np.nonzero}
_OUT_OF_PROGRAMS = {
    np.array2string, np.array_repr, np.array_str, np.min_scalar_type, np.save, np.savetxt,
    np.savez, np.savez_compressed,
}  # fmt: skip
MOST = 200_000
_ELSEWHERE = {
    ".backward()": "compile mg.value_and_grad(f), or call backward() on what the compiled function "
    "returns",
    ".register_hook()": "add hooks to what goes in and comes out",
    ".retain_grad()": "return the tensor, and call retain_grad() on that",
}
_INDICES = {"constant_values", "index", "indices", "shift"}
"""Options that may be computed: they decide no shape."""


def _called(
    function: Any, name: str, args: Sequence[Any], params: Mapping[str, Any]
) -> tuple[Function, list[Any], Mapping[str, Any]]:
    """Return a function, its operands, and its options; what is no operand is part of it."""
    operands = [k for k, x in enumerate(args) if isinstance(x, (Tensor, np.ndarray, np.generic))]
    numbers = [k for k, x in enumerate(args) if type(x) in (int, float, bool)]
    if len(operands) + len(numbers) == len(args):
        return _named(name, function, keep=not isinstance(function, partial)), [*args], params
    leaves: list[Any] = []
    shape = [_holes(x, leaves) for x in args]

    def forward(*xs: Any, **options: Any) -> Any:
        supply = iter(xs)
        return function(*[_filled(x, supply) for x in shape], **options)

    return Function(name, forward), leaves, params


def _holes(x: Any, leaves: list[Any]) -> Any:
    if isinstance(x, (list, tuple)):
        return type(x)([_holes(part, leaves) for part in x])
    if isinstance(x, (Tensor, np.ndarray)):
        leaves.append(x)
        return _Hole
    return x


class _Hole:
    """Where an operand stands among the arguments of a function."""


def _filled(x: Any, supply: Iterator[Any]) -> Any:
    if isinstance(x, (list, tuple)):
        return type(x)([_filled(part, supply) for part in x])
    return next(supply) if x is _Hole else x


def _named(name: str, function: Any, keep: bool = False) -> Function:
    if isinstance(function, Function):
        return function
    if not keep:
        return Function(name, function)
    if function not in _functions:
        _functions[function] = Function(name, function)
    return _functions[function]


def _silent(check: Any) -> Callable[..., bool]:
    """Return a check as a function that gives True, if at all."""

    def forward(*xs: Any) -> bool:
        check(*xs)
        return True

    return forward


def _may_be_computed(primitive: Any, params: Mapping[str, Any], is_traced: Any) -> None:
    """Raise TypeError for an option from which the shape of the result would follow."""
    for name, option in params.items():
        if type(option) is float and is_traced(option):
            raise ValueNeededError
        if is_traced(option) and name not in _INDICES:
            raise _shape_depends(f"{name} of {primitive.name}, computed from data,")
        if name == "index" and primitive.name == "getitem" and _is_mask(option, is_traced):
            raise _shape_depends("an index that is a mask, computed from data,")


def _is_mask(index: Any, is_traced: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(k, np.ndarray) and k.dtype == bool and is_traced(k) for k in parts)


def _shape_depends(what: str) -> TypeError:
    return TypeError(
        f"mg.compile: {what} decides the shape of what follows, and shapes may not depend on the "
        "numbers that a program is given; write np.where(mask, x, 0) for x[mask], and do the rest "
        f"outside of the compiled function\n    {users_call()}"
    )


def _plain(x: Any) -> Any:
    if isinstance(x, Tensor):
        x = x.value.view()
        x.flags.writeable = False
    return type(x)(map(_plain, x)) if type(x) in (list, tuple) else x


def _with_errors(function: Any, errors: Any) -> Callable[..., Any]:
    """Return a function that takes errors of arithmetic as the block it was recorded in does."""

    def forward(*xs: Any, **options: Any) -> Any:
        with np.errstate(**errors):
            return function(*xs, **options)

    return forward


def _has_effect(does: Any) -> bool:
    return bool(getattr(does, "effect", False))


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
