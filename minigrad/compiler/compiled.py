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
import inspect
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from types import MethodType
from typing import Any, NamedTuple, NoReturn

import numpy as np

from ..core import tree
from ..core.context import current
from ..core.dtypes import get_default_dtype
from ..core.tensor import Tensor
from ..guard.errors import shown, warn
from .execute import Executable
from .guards import Guard, array_of, found_in, inputs_among, is_array, kinds, told
from .listing import listed
from .node import Node
from .passes import optimised
from .program import Program, Value, View
from .record import Recording, different, recorded
from .state import unchanged
from .tensors import as_tensors

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
    `mg.debug()`, and where modules have hooks, `f` itself runs.

    A program takes no notice of numbers that Python looks at: control flow on values, `bool(t)`,
    `t.item()`, `t.data` inside of `f` are refused, with the line; so is a function that does
    something else at its second call, as one that counts, or draws random numbers itself.

    TypeError for what is no function of arrays: a class, a generator function, a coroutine.

    >>> fast = compile(lambda x: np.tanh(x) * 2)
    >>> [fast(np.array([0.0, float(k)]))[1].round(3) for k in range(3)]
    [np.float64(0.0), np.float64(1.523), np.float64(1.928)]
    """
    return Compiled(f, backend)


class _Output(NamedTuple):
    """What a call returns in one place: its number among the program's, and what it is there."""

    number: int | None
    kind: str
    other: Any = None


class _Program:
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

    def made(self, owner: Compiled, leaves: Sequence[Any]) -> None:
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
        executable = Executable(optimised(r.program), owner.backend)
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


class Compiled:
    """What `compile` returns: a function that runs as programs, one for each signature."""

    def __init__(self, f: Any, backend: str | None = None) -> None:
        self.f = _function(f)
        self.backend = _backend(backend)
        self._programs: OrderedDict[Any, list[_Program]] = OrderedDict()
        self._last: _Program | None = None
        self._warned = False
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
        for x in args:
            if type(x) is not Tensor and type(x) is not np.ndarray:
                structure = ()
        if structure is not None or kwargs:
            leaves, structure = tree.flatten((args, kwargs))
        key = (structure, kinds(leaves, self._with_floats), context.recording, get_default_dtype())
        for program in self._programs.get(key, ()):
            inputs = [array_of(leaves[k]) for k in program.places]
            if program.executable is not None and program.guard.holds(inputs):
                if program.guard.is_hooked():
                    break
                self._last = program if program.takes else None
                inputs += program.arrays
                return self._run(program, inputs, leaves, structure, context)
        return self._prepared(key, leaves, structure, args, kwargs)

    def _run(
        self, program: _Program, inputs: Sequence[Any], leaves: Any, structure: Any, context: Any
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
        if program.lone is not None:
            return _as(found[0], program.lone)
        for t, array in zip(program.state, found[program.count :], strict=True):
            t.value = array
        results = [
            out.other if out.number is None else _as(found[out.number], out.kind)
            for out in program.outputs
        ]
        return tree.unflatten(program.structure, results)

    # ---- recording -----------------------------------------------------------------------------

    def _prepared(self, key: Any, leaves: Any, structure: Any, args: Any, kwargs: Any) -> Any:
        """Return what a call gives that no program is ready for."""

        def is_right(program: _Program, ready: bool) -> bool:
            return (program.executable is not None) is ready and program.guard.holds([])

        with self._lock:
            modules = [*found_in(self.f), *found_in(leaves)]
            if Guard(modules, ()).is_hooked():
                return self.f(*args, **kwargs)
            known = self._programs.setdefault(key, [])
            self._programs.move_to_end(key)
            if any(is_right(p, True) for p in known):  # another thread made it
                return self(*args, **kwargs)
        try:
            program = self._recorded(leaves, structure, modules)
        except Exception as error:
            if self._with_floats and any(type(x) is float for x in leaves):
                self._with_floats = False  # the value of one is needed
                return self(*args, **kwargs)
            error.add_note(
                f"while mg.compile recorded {self._name}, with tensors in the place of arrays"
            )
            raise
        with self._lock:
            waiting = next((p for p in known if is_right(p, False)), None)
            if waiting is not None:
                known.remove(waiting)
        if waiting is None:
            out = self._as_it_is(program, leaves, structure, modules, args, kwargs)
            with self._lock:
                known.append(program)
                self._bounded(key)
            return out
        self._require_same(waiting, program)
        waiting.recording.captures(program.recording)
        waiting.made(self, leaves)
        with self._lock:
            known.append(waiting)
        return self(*args, **kwargs)

    def _require_same(self, first: _Program, again: _Program) -> None:
        """Raise TypeError unless the function did the same twice."""
        change = different(first.recording, again.recording)
        if not change and tree.names(first.structure) != tree.names(again.structure):
            change = "it returned what is nested otherwise"
        if change:
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

    def _recorded(self, leaves: Any, structure: Any, modules: Any) -> _Program:
        places = inputs_among(leaves, self._with_floats)
        given = [leaves[k] for k in places]
        told_structure: list[tree.Structure] = []

        def flat(*tensors: Tensor) -> list[Any]:
            full = list(leaves)
            for k, t in zip(places, tensors, strict=True):
                full[k] = t
            out, its = tree.flatten(self.applied(full, structure))
            told_structure.append(its)
            return out

        with unchanged(modules, self._name):
            recording = recorded(
                flat,
                [array_of(x) for x in given],
                [isinstance(x, Tensor) and x.live for x in given],
                self._names(structure, leaves, places),
                backward=current().recording,
                named=_names_of_tensors(modules),
            )
        self._accept(recording)
        owners = dict.fromkeys(modules) | dict.fromkeys(recording.modules())
        guard = Guard(owners, recording.captured, self.f)
        return _Program(recording, told_structure[0], guard, places, leaves)

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
        program: _Program,
        leaves: Any,
        structure_in: Any,
        modules: Any,
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
                f"{[_typed(o) for o in operands]} when it was recorded, with tensors in the place "
                "of arrays; write it so that it treats both alike"
            )
        if not all(map(_near, results, program.recording.values)):
            self._require_same(program, self._recorded(leaves, structure_in, modules))
            raise TypeError(
                f"mg.compile: {self._name} gave other numbers when it was recorded, with tensors in "
                "the place of arrays, than when it ran; write it so that it treats both alike, and "
                "has no state of its own"
            )
        program.recording.values.clear()
        program.kinds = [_kind(y) for y in results]
        arrays += [v.array for v in program.recording.constants if v.array is not None]
        return tree.unflatten(structure, [_own(y, arrays) for y in results])

    def _bounded(self, key: Any) -> None:
        """Forget the oldest programs, and warn of many."""
        if len(self._programs) > LIMIT:
            self._programs.popitem(last=False)
        del self._programs[key][:-LIMIT]
        count = sum(map(len, self._programs.values()))
        if count >= MANY and not self._warned:
            self._warned = True
            before, now = [*[k for k in self._programs if k != key], key, key][-3:-1]
            change = _change(before, now) if before != now else "what it reads from outside"
            warn(
                f"mg.compile: {self._name} has been recorded {count} times; the last two differ in "
                f"{change}. A program is made for each: pass what changes as an argument, numbers as "
                "floats or arrays, and pad what changes its shape"
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
        return [_argument(paths[k], parameters) for k in places]

    def explain(self) -> str:
        """Return what is known of every signature: programs, constants, what is drawn and kept."""
        parts = [f"{self._name}: {len(self._programs)} signature(s), backend {self.backend!r}"]
        for key, programs in list(self._programs.items()):
            parts += [_explained(key, program) for program in programs]
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
        sections = program.executable.program.sections  # type: ignore[union-attr]
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
    return backend or "numpy"


def _kind(y: Any) -> str:
    if isinstance(y, Tensor):
        return "tensor"
    if isinstance(y, np.generic):
        return "scalar"
    return "number" if isinstance(y, (bool, int, float)) else "array"


def _near(y: Any, recorded_as: Any) -> bool:
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


def _own(y: Any, arrays: Sequence[Any]) -> Any:
    """Return a result in memory of its own."""
    if type(y) is np.ndarray and any(np.may_share_memory(y, x) for x in arrays):
        return y.copy()
    return y


def _as(y: Any, kind: str) -> Any:
    """Return a result as the function itself gives it."""
    if type(y) is Tensor:
        return y
    if kind == "tensor":
        return Tensor(y)
    if kind == "number":
        return y if isinstance(y, float) else y.item()
    return y[()] if kind == "scalar" else y


def _typed(o: Any) -> str:
    return "no array" if o is None else f"{o.dtype} of shape {o.shape}"


def _argument(path: str, parameters: Sequence[str]) -> str:
    """Return the name of an argument by its path among all: `[0][1].w` is w of the second."""
    if path.startswith("[1]."):
        return path[4:]
    place, _, rest = path[4:].partition("]")
    k = int(place) if place.isdigit() else len(parameters)
    return (parameters[k] if k < len(parameters) else f"x{place}") + rest


def _names_of_tensors(modules: Sequence[Any]) -> dict[Tensor, str]:
    """Return the names of parameters and buffers, by the module furthest out."""
    names: dict[Tensor, str] = {}
    for module in modules:
        for name, t in (*module.named_parameters(), *module.named_buffers()):
            names.setdefault(t, name)
    return names


def _change(before: Any, now: Any) -> str:
    """Say in what two signatures differ."""
    for what, a, b in zip(("nesting", "", "recording", "default dtype"), before, now, strict=True):
        if a != b and what:
            return what
    for k, (a, b) in enumerate(zip(before[1], now[1], strict=False)):
        if a != b:
            return f"argument {k}: {told(a)} and {told(b)}"
    return "the state of modules"


def _explained(key: Any, program: _Program) -> str:
    r = program.recording
    lines = [f"signature ({', '.join(map(told, key[1]))})" + ("" if key[2] else ", no gradients")]
    named = [t.name or f"a tensor of shape {t.shape}" for t in r.captured]
    lines.append(f"read at every call: {', '.join(named) or 'the arguments alone'}")
    baked = [f"{v.dtype}{list(v.shape)}" for v in r.constants]
    lines.append(f"constants, baked in: {', '.join(baked) or 'none'}")
    if r.arrays:
        lines.append(f"arrays from outside, read at every call: {len(r.arrays)}")
    if r.drawn:
        lines.append(f"drawn anew at every call, from {len(r.drawn)} generator(s)")
    if r.state:
        lines.append(f"written back after a call: {', '.join(t.name or '?' for t in r.state)}")
    lines += ["", "as recorded:", listed(r.program)]
    if program.executable is None:
        lines += ["", "no program yet: it is recorded again at the second call"]
    else:
        lines += ["", "as it runs:", listed(program.executable.program), ""]
        lines.append(program.executable.report())
    return "\n".join(lines)
