"""mg.compile: functions that are recorded once for every signature, and run as programs.

The first call with a signature records the function, and runs it as it is. The second records it
once more, on its own numbers: only if it did the same, with the same constants, is a program made.
From then on calls run that.

A result through which gradients flow is one operation on the tape. Its backward pass is the second
section of the program; where it must be differentiated again, and in forward mode, the function
runs as it is.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from operator import is_
from types import MethodType
from typing import Any, NoReturn

import numpy as np

from ..core import tree
from ..core.context import current
from ..core.dtypes import get_default_dtype
from ..core.tensor import Tensor
from ..guard.errors import shown, warn
from .entry import Entry, difference, kind_of, near, own
from .program import Program, Value, View
from .tensors import as_tensors
from .tracing.guards import Guard, array_of, inputs_among, is_array, kinds
from .tracing.outside import Outside
from .tracing.record import recorded
from .tracing.recording import Recording
from .tracing.state import outside_put_back, unchanged
from .words import argument, change, explained, names_of_tensors, typed

__all__ = ["Compiled", "compile"]

LIMIT = 32
MANY = 8


def compile(f: Callable[..., Any], backend: str | None = None) -> Compiled:
    """Return `f`, a function or a module, as optimised programs: what it computes, only faster.

    One program is made for each signature: the nesting of the arguments, their shapes and dtypes,
    which are tensors and require gradients, Python values, the modules that are called and whether
    they are in training. Parameters are inputs of the program: steps of an optimiser recompile
    nothing. Results are those of `f` but for rounding; gradients flow through them, and to captured
    parameters, as they do through `f`. Random numbers are drawn anew at every call, from the same
    generators; running statistics of modules go on. Inside another transform's function and
    `mg.debug()`, and where modules have hooks, `f` itself runs. `backend` is "numpy" or "numba", by
    default numba where it is installed.

    A program takes no notice of numbers that Python looks at: control flow on values, `bool(t)`,
    `t.item()`, `t.data` inside of `f` are refused, with the line; so is a function that does
    something else at its second call, as one that counts, or draws random numbers itself.

    TypeError for what is no function of arrays: a class, a generator function, a coroutine.

    >>> fast = compile(lambda x: np.tanh(x) * 2)
    >>> [fast(np.array([0.0, float(k)]))[1].round(3) for k in range(3)]
    [np.float64(0.0), np.float64(1.523), np.float64(1.928)]
    """
    return Compiled(f, backend)


class Compiled:
    """What `compile` returns: a function that runs as programs, one for each signature."""

    def __init__(self, f: Any, backend: str | None = None) -> None:
        self.f = _function(f)
        self.backend = _backend(backend)
        self._programs: OrderedDict[Any, list[Entry]] = OrderedDict()
        self._last: Entry | None = None
        self._given_up, self._warned = 0, False
        self._with_floats = True
        self._lock = threading.RLock()
        functools.update_wrapper(self, f, updated=())

    # ---- calls ---------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the function does."""
        context = current()
        if context.observer is not None or context.replay is not None:
            return self.f(*args, **kwargs)
        last = self._last
        if (
            last is not None
            and len(args) == len(last.takes)
            and not kwargs
            and (context.recording, get_default_dtype()) == last.setting
            and (found := last.inputs(args)) is not None
        ):
            return self._run(last, found, args, None, context)
        leaves: list[Any] = list(args)
        structure: Any = None
        if kwargs or any(x is None or isinstance(x, (dict, list, tuple)) for x in args):
            leaves, structure = tree.flatten((args, kwargs))
        key = (structure, kinds(leaves, self._with_floats), context.recording, get_default_dtype())
        for program in self._programs.get(key, ()):
            inputs = [array_of(leaves[k]) for k in program.places]
            if program.executable is not None and program.guard.holds(inputs):
                if program.guard.is_hooked():
                    break
                draws = bool(program.recording.drawn)
                if draws and context.transform:  # which may run it again: other numbers then
                    return self.f(*args, **kwargs)
                if structure is None and program.is_plain and not draws:
                    self._last = program
                inputs += program.arrays
                return self._run(program, inputs, leaves, structure, context)
        return self._prepared(key, leaves, structure, args, kwargs)

    def _run(
        self, program: Entry, inputs: Sequence[Any], leaves: Any, structure: Any, context: Any
    ) -> Any:
        """Return what a program gives for inputs of its signature."""
        executable: Any = program.executable
        if program.node is not None:
            found = program.node.run(leaves, structure, inputs, context.scope)
        else:
            workspace = executable.take()
            try:
                found = executable.run(0, inputs, workspace)
            finally:
                executable.give_back(workspace)
        if program.state:
            for t, array in zip(program.state, found[program.count :], strict=True):
                t.value = array
        return program.returned(found)

    # ---- recording -----------------------------------------------------------------------------

    def _prepared(self, key: Any, leaves: Any, structure: Any, args: Any, kwargs: Any) -> Any:
        """Return what a call gives that no program is ready for."""

        def is_right(program: Entry, ready: bool) -> bool:
            return (program.executable is not None) is ready and program.guard.holds([], ready)

        with self._lock:
            outside = self._outside(leaves)
            if Guard(outside.modules).is_hooked():
                return self.f(*args, **kwargs)
            known = self._programs.setdefault(key, [])
            self._programs.move_to_end(key)
            if any(is_right(p, True) for p in known):  # another thread made it
                return self(*args, **kwargs)
        try:
            program = self._recorded(leaves, structure, outside)
        except Exception as error:
            if self._with_floats and any(type(x) is float for x in leaves):
                self._with_floats = False  # the value of one is needed
                return self(*args, **kwargs)
            if str(error.__cause__).startswith("mg.compile:"):  # which NumPy has reworded
                raise error.__cause__ from None  # type: ignore[misc]
            error.add_note(
                f"while mg.compile recorded {self._name}, with tensors in the place of arrays"
            )
            raise
        with self._lock:
            waiting = next((p for p in known if is_right(p, False)), None)
            if waiting is not None:
                known.remove(waiting)
            if any(self._goes_on(p, program) for p in known):
                return self(*args, **kwargs)
            for p in known:
                program.guard.outside.forget(p.guard.outside.operands)
        if waiting is None or not self._did_the_same(waiting, program):
            out = self._as_it_is(program, leaves, structure, args, kwargs)
            with self._lock:
                known.append(program)
                self._bounded(key, waiting)
            return out
        waiting.recording.captures(program.recording)
        waiting.made(self, leaves)
        with self._lock:
            known.append(waiting)
        return self(*args, **kwargs)

    def _goes_on(self, program: Entry, again: Entry) -> bool:
        """Whether a program is right although arrays were written into: it reads them itself."""
        if program.executable is None or not program.guard.holds([], False):
            return False
        if difference(program, again):
            return False
        program.guard.outside.forget(program.guard.outside.written_into())
        return True

    def _did_the_same(self, first: Entry, again: Entry) -> bool:
        """Whether the function did the same twice; TypeError if nothing outside says why not."""
        written = first.guard.outside.written_into()
        if not written:
            self._require_same(first, again)
        elif difference(first, again):
            return False
        first.guard.outside = again.guard.outside  # with what the function itself has made since
        first.guard.outside.forget(written)
        return True

    def _require_same(self, first: Entry, again: Entry) -> None:
        """Raise TypeError unless the function did the same twice."""
        if change := difference(first, again):
            raise TypeError(
                f"mg.compile: {self._name} did something else when it ran again: {change}. A "
                "program does the same at every call: compute with tensors instead of Python "
                "values, pass what changes as an argument, and draw random numbers outside, or by "
                "mg.dropout"
            )

    def applied(self, leaves: Sequence[Any], structure: Any) -> Any:
        """Return what the function itself gives for the leaves of its arguments."""
        args, kwargs = (leaves, {}) if structure is None else tree.unflatten(structure, leaves)
        return self.f(*args, **kwargs)

    def _outside(self, leaves: Any) -> Outside:
        return Outside(self.f, *[x for x in leaves if not is_array(x)])

    def _recorded(self, leaves: Any, structure: Any, outside: Outside) -> Entry:
        places = inputs_among(leaves, self._with_floats)
        given = [leaves[k] for k in places]
        told_structure: list[tree.Structure] = []

        def flat(*tensors: Tensor) -> list[Any]:
            full = list(leaves)
            for k, t in zip(places, tensors, strict=True):
                full[k] = t
            args, kwargs = (full, {}) if structure is None else tree.unflatten(structure, full)
            out, its = tree.flatten(self.f(*args, **kwargs))
            now, nested = tree.flatten((args, kwargs))
            if structure is not None and (nested != structure or not all(map(is_, now, full))):
                raise TypeError(
                    f"mg.compile: {self._name} changes a dict or a list among its arguments in "
                    "place, which a program does not; return what is new"
                )
            told_structure.append(its)
            return out

        modules = outside.modules
        with outside_put_back(outside, self._name), unchanged(modules, self._name):
            recording = recorded(
                flat,
                [array_of(x) for x in given],
                [isinstance(x, Tensor) and x.live for x in given],
                self._names(structure, leaves, places),
                backward=current().recording,
                named=names_of_tensors(modules),
            )
        self._accept(recording)
        outside.computes_with([v.array for v in recording.constants])
        owners = dict.fromkeys(modules) | dict.fromkeys(recording.modules())
        guard = Guard(owners, recording.captured, outside)
        return Entry(recording, told_structure[0], guard, places, leaves)

    def _accept(self, recording: Recording) -> None:
        """Raise TypeError for a function that returns nothing a program could."""
        if all(out.operand is None for out in recording.outputs):
            raise TypeError(
                f"mg.compile: {self._name} returns no arrays, so there is nothing to compute; "
                "write return before what it computes"
            )
        for out in recording.outputs:
            if out.operand is None and not isinstance(out.other, (bool, int, float, str)):
                raise TypeError(
                    f"mg.compile: {self._name} returns {shown(out.other)}, which a program cannot; "
                    "return arrays and tensors, in dicts, lists and tuples"
                )

    def _as_it_is(
        self,
        program: Entry,
        leaves: Any,
        structure_in: Any,
        args: Any,
        kwargs: Any,
    ) -> Any:
        """Run the function itself, and note what its results are."""
        arrays = [array_of(x) for x in leaves if is_array(x)]
        copies = [x.copy() for x in arrays]
        out = self.f(*args, **kwargs)
        for k, (x, copy) in enumerate(zip(arrays, copies, strict=True)):
            if not np.array_equal(x, copy, equal_nan=True):
                if x.flags.writeable:
                    x[...] = copy
                raise TypeError(
                    f"mg.compile: {self._name} changes an argument in place, array {k} of shape "
                    f"{x.shape}, which a program does not; write x = x + 1 for x += 1, and "
                    "x.at[i].set(v), of a tensor, for x[i] = v"
                )
        results, structure = tree.flatten(out)
        operands = [out.operand for out in program.recording.outputs]
        if tree.names(structure) != tree.names(program.structure) or any(
            is_array(y) and (not isinstance(o, View) or (y.shape, y.dtype) != (o.shape, o.dtype))
            for y, o in zip(results, operands, strict=True)
        ):
            raise TypeError(
                f"mg.compile: {self._name} returned {[shown(y) for y in results]} when it ran, and "
                f"{[typed(o) for o in operands]} when it was recorded, with tensors in the place "
                "of arrays; write it so that it treats both alike"
            )
        if not all(map(near, results, program.recording.values)):
            self._require_same(program, self._recorded(leaves, structure_in, self._outside(leaves)))
            raise TypeError(
                f"mg.compile: {self._name} gave other numbers when it was recorded, with tensors "
                "in the place of arrays, than when it ran; write it so that it treats both alike, "
                "and has no state of its own"
            )
        program.recording.values.clear()
        program.kinds = [kind_of(y) for y in results]
        arrays += [v.array for v in program.recording.constants if v.array is not None]
        return tree.unflatten(structure, [own(y, arrays) for y in results])

    def _bounded(self, key: Any, given_up: Entry | None) -> None:
        """Forget the oldest programs, and warn of many, also of those that never ran."""
        if len(self._programs) > LIMIT:
            self._programs.popitem(last=False)
        del self._programs[key][:-LIMIT]
        self._given_up += given_up is not None
        count = sum(map(len, self._programs.values())) + self._given_up
        if count >= MANY and not self._warned:
            self._warned = True
            entries, others = self._programs[key], [k for k in self._programs if k != key]
            before = given_up or (entries[-2] if entries[1:] else None)
            differ = before.guard.change() if before else change(others[-1], key)
            warn(
                f"mg.compile: {self._name} has been recorded {count} times; the last two differ "
                f"in {differ}. A program is made for each: pass what changes as an argument, "
                "numbers as floats or arrays, and pad what changes its shape"
            )

    # ---- what there is to see ------------------------------------------------------------------

    @property
    def _name(self) -> str:
        return str(getattr(self.f, "__name__", type(self.f).__name__))

    def _names(self, structure: Any, leaves: Any, places: Sequence[int]) -> list[str]:
        """Return the names of the arguments, by the parameters of the function."""
        f = getattr(self.f, "forward", self.f) if tree.is_module(self.f) else self.f
        try:
            parameters = [*inspect.signature(f).parameters]
        except (TypeError, ValueError):
            parameters = []
        paths = tree.names(structure) if structure else [f"[0][{k}]" for k in range(len(leaves))]
        return [argument(paths[k], parameters) for k in places]

    def explain(self) -> str:
        """Return what is known of every signature: programs, constants, what is drawn and kept."""
        parts = [f"{self._name}: {len(self._programs)} signature(s), backend {self.backend!r}"]
        if importlib.util.find_spec("numba") is None:
            parts[0] += "; numba, which makes it faster, is not installed: 'minigrad[jit]'"
        for key, programs in list(self._programs.items()):
            parts += [explained(key, program) for program in programs]
        return "\n\n".join(parts)

    def source(self) -> str:
        """Return the programs as they run."""
        made = [p.executable for programs in self._programs.values() for p in programs]
        texts = [str(e.source) for e in made if e is not None]
        return "\n\n".join(texts) or "# no program yet: it is made at the second call"

    def tensors(self, *args: Any, **kwargs: Any) -> list[Tensor]:
        """Return the outputs of a program as tensors, whose graph is what it does.

        That is what pictures show: `mg.viz.draw(fast.tensors(x))`, with the numbers for these
        arguments; `mg.viz.draw(fast)` is the newest program, for arguments drawn at random. Each
        loop is one cell. RuntimeError if there is no program for such arguments yet.
        """
        ready = [p for programs in self._programs.values() for p in programs if p.executable]
        if args or kwargs:
            leaves, _ = tree.flatten((args, kwargs))
            places = inputs_among(leaves, self._with_floats)
            given = [np.asarray(array_of(leaves[k])) for k in places]
            kinds_of = [(x.shape, x.dtype) for x in given]
            ready = [p for p in ready if [(v.shape, v.dtype) for v in p.arguments] == kinds_of]
        if not ready:
            raise RuntimeError(
                f"mg.compile: there is no program of {self._name} for such arguments yet; it is "
                "made at the second call"
            )
        program = ready[-1]
        if not args and not kwargs:
            given = [_drawn(v) for v in program.arguments]
        sections = program.program.sections
        seeds = [np.ones(v.shape, v.dtype) for v in sections[-1].inputs]
        inputs = [[*given, *[t.value for t in program.captured], *program.arrays], seeds]
        return as_tensors(Program(sections), *inputs[: len(sections)])

    def clear(self) -> None:
        """Forget all programs."""
        with self._lock:
            self._programs.clear()
            self._last = None
            self._warned = False

    def __getattr__(self, name: str) -> Any:
        """Return what the function or module itself has by that name: `fast.parameters()`."""
        if name == "f" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.f, name)

    def __repr__(self) -> str:
        return f"<mg.compile {self._name}, backend={self.backend!r}>"

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"mg.compile: a compiled function cannot be pickled or copied; pickle {self._name}, "
            "and compile it where it is loaded"
        )

    def _twin(self, exchanged: Callable[[Any], Any]) -> Any:
        """Return the function itself with other modules in it, for a transform."""
        f = exchanged(self.f)
        return self if f is self.f else f


def _drawn(v: Value) -> Any:
    """Return numbers for an argument that nobody has given."""
    if v.dtype.kind != "f":
        return np.ones(v.shape, v.dtype)
    return np.random.default_rng(0).normal(size=v.shape).astype(v.dtype)


def _function(f: Any) -> Any:
    """Return a function to compile; TypeError for what is none."""
    if isinstance(f, Compiled):
        return f.f
    if f is None or inspect.isclass(f) or not callable(f):
        what = "nothing" if f is None else shown(f)
        raise TypeError(
            f"mg.compile: takes a function or a module, not {what}; write mg.compile(f), not "
            "mg.compile(f(x)), and an instance, not its class"
        )
    inner = f.func if isinstance(f, functools.partial) else f
    for kind in ("generatorfunction", "coroutinefunction", "asyncgenfunction"):
        if getattr(inspect, f"is{kind}")(inner):
            raise TypeError(
                f"mg.compile: {getattr(f, '__name__', f)} is a {kind.removesuffix('function')}"
                " function, which stops in the middle; compile the function of one step"
            )
    return f


def _backend(backend: str | None) -> str:
    if backend not in (None, "numpy", "numba"):
        raise ValueError(f"mg.compile: backend must be 'numpy' or 'numba', not {backend!r}")
    has_numba = importlib.util.find_spec("numba") is not None
    if backend == "numba" and not has_numba:
        raise ImportError(
            "mg.compile: backend='numba' needs numba; write pip install 'minigrad[jit]', or "
            "backend='numpy'"
        )
    return backend or ("numba" if has_numba else "numpy")
