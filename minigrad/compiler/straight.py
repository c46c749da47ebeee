"""A program as straight-line Python that calls NumPy, written once and then run again and again.

Ufuncs, products and sums write into the buffers that the plan gives them; everything else is the
function's own `forward`. Views of buffers and rows of stacks are made once, with a workspace. The
numbers are those of the same functions called one by one, bit for bit, but for `sigmoid`: it is
1 / (1 + exp(-x)), in place, which is right to 3 units in the last place, and 0 where it is below
the least normal number.
"""

from __future__ import annotations

import keyword
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..core.dtypes import Array
from .listing import Listing
from .plan import Plan
from .program import Loop, Op, Operand, Program, Row, Section, Value, View, held, viewed

__all__ = ["Straight", "writes"]

_EXACT = 2**11  # numbers up to it are what Python and every floating dtype agree on, or round alike
RESERVED = ("forward", "backward", "program", "workspace", "forget", "range", "zip", "None")


def writes(op: Op) -> bool:
    """Whether an operation is written so that its result goes where it is told."""
    return _Written.of(op) is not None


class _Written:
    """How an operation is called with `out`, and the dtypes in which it takes its operands."""

    def __init__(self, lines: list[str], dtypes: list[Any], extra: Mapping[str, Any]) -> None:
        self.lines, self.dtypes, self.extra = lines, dtypes, extra

    @classmethod
    def of(cls, op: Op) -> _Written | None:
        if op.several or any(isinstance(v, View) for v in held(op.params)):
            return None
        views = [a for a in op.args if isinstance(a, View)]
        if not views or any(v.dtype.kind not in "fiub" for v in views):
            return None
        forward = _OPERATORS.get(op.does.forward, op.does.forward)
        if isinstance(forward, np.ufunc):
            return None if op.params else cls._ufunc(op, forward)
        one = isinstance(op.args[0], View) and op.args[0].dtype == op.out.dtype
        own = _ON_FLOATS.get(op.name)
        if own is not None and one and op.out.dtype in (np.float32, np.float64):
            numbers = {k: np.array(k == "one", op.out.dtype) for k in ("one", "zero")}
            return cls(list(own), [], numbers)
        if op.name in ("copy", "contiguous") and one:
            return cls(["copyto({out}, {0})"], [], {})
        if op.name == "power" and one and op.args[1:] == (2,) and op.out.dtype.kind == "f":
            return cls(["square({0}, {out})"], [], {})
        if op.name == "matmul":
            return cls._ufunc(op, np.matmul)
        if op.name == "sum" and one and op.out.dtype.kind == "f":
            axis, keep = op.params.get("axis"), op.params.get("keepdims", False)
            return cls([f"add.reduce({{0}}, {axis!r}, None, {{out}}, {bool(keep)})"], [], {})
        if op.name == "concatenate" and op.params.get("axis", 0) is not None:
            kinds = {v.dtype for v in views}
            if len(views) == len(op.args) and kinds == {op.out.dtype}:
                return cls(["concatenate(({all},), {axis}, {out})"], [], {})
        return None

    @classmethod
    def _ufunc(cls, op: Op, ufunc: np.ufunc) -> _Written | None:
        if ufunc.nout != 1 or ufunc.nin != len(op.args):
            return None
        given = [a.dtype if isinstance(a, View) else _kind_of(a) for a in op.args]
        try:
            dtypes = ufunc.resolve_dtypes((*given, None))
        except TypeError:
            return None
        if dtypes[-1] != op.out.dtype:
            return None
        name, args = ufunc.__name__, ", ".join([f"{{{k}}}" for k in range(ufunc.nin)])
        keyword_only = "out=" if name in ("maximum", "minimum") else ""
        return cls([f"{name}({args}, {keyword_only}{{out}})"], list(dtypes), {})


_OPERATORS: dict[Any, Any] = {
    operator.lt: np.less,
    operator.le: np.less_equal,
    operator.gt: np.greater,
    operator.ge: np.greater_equal,
    operator.eq: np.equal,
    operator.ne: np.not_equal,
}
_ON_FLOATS = {
    "sigmoid": (
        "negative({0}, {out})",
        "exp({out}, {out})",
        "add({out}, {one}, {out})",
        "divide({one}, {out}, {out})",
    ),
    "relu": ("maximum({0}, {zero}, out={out})",),
    "softplus": ("logaddexp({0}, {zero}, {out})",),
}


def _kind_of(number: Any) -> Any:
    return np.dtype(bool) if isinstance(number, bool) else type(number)


class Straight:
    """The source of a program, and what it needs to run: `source` and `space`."""

    def __init__(self, program: Program) -> None:
        self.program, self.plan = program, Plan(program, writes)
        self.space: dict[str, Any] = {}
        self.taken = {*RESERVED, *keyword.kwlist}
        self._objects: dict[Any, str] = {}
        self._name_values()
        self.made: list[str] = []  # lines that a workspace is made with
        self.lines: list[str] = []  # lines of the section
        self.before = self.lines  # where a section defines what it needs
        self.depth = 2
        self.views: dict[Any, str] = {}  # names of views, of a workspace
        self.anew: dict[Any, str] = {}  # of the buffers that the section makes
        self.here: dict[Any, str] = {}  # of views, in a loop
        self.moving: dict[str, str] | None = None  # what a loop iterates over, by its variable
        self.inner: set[Value] = set()  # values of a loop's body
        self.rounds = 0
        for name, x in {"empty": empty, "rows": rows, "own": own, "asarray": np.asarray}.items():
            self.object(name, x)
        self.source = self._written()

    # ---- names ---------------------------------------------------------------------------------

    def _name_values(self) -> None:
        listing = Listing()
        for _ in listing.sections(self.program):
            pass
        self.names = {v: self.unique(re.sub(r"\W", "_", n)) for v, n in listing.names.items()}
        self.titles: dict[Value, str] = {}
        for value, place in self.plan.places.items():
            if place.is_whole and value in self.names:
                self.titles.setdefault(place.value, self.names[value])

    def unique(self, name: str) -> str:
        name = name if name.isidentifier() else f"_{name}"
        stem, k = name, 1
        while name in self.taken:
            k += 1
            name = f"{stem}_{k}"
        self.taken.add(name)
        return name

    def object(self, name: str, x: Any) -> str:
        """Return the name under which the source finds an object."""
        if id(x) not in self._objects:
            found = self.unique(re.sub(r"\W", "_", name))
            self._objects[id(x)] = found
            self.space[found] = x
        return self._objects[id(x)]

    def number(self, x: Any, dtype: Any = None) -> str:
        """Return a number as an operand: an array without axes is faster, and decides no dtype."""
        if dtype is None or dtype.kind != "f" or isinstance(x, bool) or abs(x) > _EXACT:
            return repr(x) if isinstance(x, int) or math.isfinite(x) else f"float('{x}')"
        key = ("number", x, math.copysign(1, x), dtype)
        if key not in self._objects:
            text = re.sub(r"\W", "_", repr(x).replace("-", "minus_"))
            self._objects[key] = self.unique(f"f{dtype.itemsize * 8}_{text}")
            self.space[self._objects[key]] = np.array(x, dtype)
        return self._objects[key]

    # ---- operands ------------------------------------------------------------------------------

    def operand(self, o: Operand, dtype: Any = None) -> str:
        if not isinstance(o, View):
            return self.number(o, dtype)
        place = self.plan.places.get(o.value)
        if place is None:
            name = self.names.get(o.value, "constant")
            if o.value.array is not None:
                name = self.object(name, o.value.array)
            return self._view(name, o, None)
        whole = viewed(o, place)
        if whole is None:  # a view of a view
            return self._view(self.operand(View(o.value)), o, None)
        return self._view(self.buffer(whole.value), whole, self.plan.root(whole.value))

    def buffer(self, b: Value) -> str:
        """Return the name of a buffer, which is defined if it was not."""
        plan, root = self.plan, self.plan.root(b)
        is_fresh = root in plan.fresh
        known, lines = (self.anew, self.before) if is_fresh else (self.views, self.made)
        if b not in known:
            name = self.titles.get(b) or self.unique("buffer")
            self.titles[b] = name
            known[b] = name
            if b is root and b not in plan.shared:
                text = f"empty({b.shape}, {b.dtype.name!r})"
            else:
                start, stop = 0, -1
                if b is root:
                    base = plan.shared[b]
                else:
                    base, start, stop = plan.parts[b]
                text, shape = self.buffer(base), base.shape
                if stop >= 0 and (start, stop) != (0, base.shape[0]):
                    text, shape = f"{text}[{start}:{stop}]", (stop - start, *shape[1:])
                text += f".reshape({b.shape})" * (shape != b.shape)
            if name != text:
                self.define(lines, f"{name} = {text}")
        return known[b]

    def define(self, lines: list[str], text: str) -> None:
        lines.append("    " * (1 if lines is self.made else 2) + text)

    def _view(self, name: str, v: View, root: Value | None) -> str:
        """Return an array's view: a name where it is made once, else an expression."""
        if v.is_whole:
            return name
        if v.row is not None and v.row.step and self.moving is not None:
            return self._row(name, v, v.row, root)
        text, inner = name, len(v.value.shape)
        if v.row is not None:
            inner -= 1
            text += f"[{v.row.start}]" if inner else f"[{v.row.start}, ...]"
        if v.columns is not None:
            text += f"[..., {v.columns[0]}:{v.columns[1]}]"
        text += ".T" * v.turned
        if root is None or root in self.plan.fresh:
            hoisted = self.moving is not None and v.value not in self.inner
            return self._once(self.here, self.before, name, v, text) if hoisted else text
        return self._once(self.views, self.made, name, v, text)

    def _once(self, known: dict[Any, str], lines: list[str], name: str, v: Any, text: str) -> str:
        if v not in known:
            known[v] = self.unique(f"{name}_{_suffix(v)}")
            self.define(lines, f"{known[v]} = {text}")
        return known[v]

    def _row(self, name: str, v: View, row: Row, root: Value | None) -> str:
        """Return the variable of a loop for a row that moves."""
        assert self.moving is not None
        key = (name, v)
        if key not in self.here:
            text = name
            if v.columns is not None:
                text += f"[..., {v.columns[0]}:{v.columns[1]}]"
            text += ".mT" * v.turned
            text = f"rows({text}, {row.step}, {row.start}, {self.rounds})"
            variable = self.here[key] = self.unique(f"{name}_r")
            if root is None or root in self.plan.fresh:
                self.moving[variable] = text
            else:
                shared = self._once(self.views, self.made, name, (v, self.rounds), text)
                self.moving[variable] = shared
        return self.here[key]

    def out(self, value: Value) -> str:
        return self.operand(View(value))

    # ---- lines ---------------------------------------------------------------------------------

    def line(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    def copy(self, place: View, source: View) -> None:
        to = self._view(self.buffer(place.value), place, self.plan.root(place.value))
        self.line(f"copyto({to}, {self.operand(source)})")
        self.object("copyto", np.copyto)

    def op(self, op: Op, returned: bool = False) -> None:
        written = _Written.of(op)
        if written is not None:
            if op.name != "concatenate" or not self._join(op):
                self._call(op, written)
        elif op.several or op.out not in self.plan.aliases:
            self._forward(op, returned)
        for place, source in self.plan.after[op]:
            self.copy(place, source)

    def _call(self, op: Op, written: _Written) -> None:
        """The lines of an operation that writes into its place."""
        out, dtypes = self.out(op.out), written.dtypes or [None] * len(op.args)
        args = [self.operand(a, d) for a, d in zip(op.args, dtypes, strict=False)]
        if op.name == "matmul":
            a, b = op.args
            if isinstance(a, View) and isinstance(b, View) and len(b.shape) == 2 < len(a.shape):
                m = math.prod(a.shape[:-1])
                args[0] += f".reshape({m}, {a.shape[-1]})"
                out += f".reshape({m}, {b.shape[-1]})"
        fields = dict(zip(map(str, range(len(args))), args, strict=True))
        fields |= {k: self.number(float(x), x.dtype) for k, x in written.extra.items()}
        for line in written.lines:
            name = line[: line.index("(")].partition(".")[0]
            self.object(name, getattr(np, name))
            text = line.replace("{all}", ", ".join(args)).replace(
                "{axis}", repr(op.params.get("axis", 0))
            )
            for k, x in (fields | {"out": out}).items():
                text = text.replace(f"{{{k}}}", x)
            self.line(text)

    def _join(self, op: Op) -> bool:
        """Copy into a concatenation what is not there already; whether something was."""
        places = []
        stop = 0
        for a in op.args:
            assert isinstance(a, View)
            start, stop = stop, stop + a.shape[-1]
            part = viewed(View(op.out, None, (start, stop)), self.plan.places[op.out])
            places.append((part, a, part is not None and self.plan.placed(a) == part))
        if not any(there for _, _, there in places):
            return False
        for part, a, there in places:
            if not there and part is not None:
                self.copy(part, a)
        return True

    def _forward(self, op: Op, returned: bool) -> None:
        """The call of a function's own forward, and where its results go."""
        args = [self.operand(a) for a in op.args]
        params = [f"{k}={self.param(v)}" for k, v in op.params.items()]
        call = f"{self.object(op.name, op.does.forward)}({', '.join(args + params)})"
        if op.several:
            names = [
                self.unique("part") if v in self.plan.places else self.names[v] for v in op.outs
            ]
            self.line(f"{', '.join(names)}, = {call}")
            for v, name in zip(op.outs, names, strict=True):
                if v in self.plan.places:
                    self.line(f"{self.out(v)}[...] = {name}")
                else:
                    self._settle(v, name, args, returned)
        elif op.out in self.plan.places:
            self.line(f"{self.out(op.out)}[...] = {call}")
        else:
            self._settle(op.out, call, args, returned)

    def _settle(self, value: Value, call: str, args: list[str], returned: bool) -> None:
        name = self.names[value]
        text = f"asarray({call})" if value.shape == () else call
        if returned:
            text = f"own({', '.join([text, *args])})"
        if name != text:
            self.line(f"{name} = {text}")

    def param(self, v: Any) -> str:
        if isinstance(v, View):
            return self.operand(v)
        if isinstance(v, (tuple, list)):
            parts = ", ".join(map(self.param, v))
            return f"[{parts}]" if isinstance(v, list) else f"({parts}{',' * (len(v) == 1)})"
        if isinstance(v, Mapping):
            return f"{{{', '.join(f'{k!r}: {self.param(x)}' for k, x in v.items())}}}"
        if isinstance(v, slice):
            return f"slice({', '.join(map(self.param, (v.start, v.stop, v.step)))})"
        if v is None or v is Ellipsis or type(v) in (bool, int, str):
            return repr(v)
        if type(v) is float:
            return self.number(v)
        return self.object("given", v)

    def loop(self, loop: Loop) -> None:
        plan, outer, known = self.plan, self.lines, self.here
        for place, source in plan.after[loop]:
            self.copy(place, source)
        self.lines, self.before, self.moving = [], outer, {}
        self.here, self.rounds, self.depth = dict(known), loop.rounds, self.depth + 1
        self.inner = {v for op in loop.body for v in op.outs} | {c.value for c in loop.carries}
        for place, source in plan.begin[loop]:
            self.copy(place, source)
        for op in loop.body:
            self.op(op)
        for place, source in plan.end[loop]:
            self.copy(place, source)
        body, moving = self.lines or ["    " * self.depth + "pass"], self.moving
        self.lines, self.before, self.moving, self.inner = outer, outer, None, set()
        self.here, self.depth = known, self.depth - 1
        if len(moving) == 1:
            ((variable, text),) = moving.items()
            self.line(f"for {variable} in {text}:")
        elif moving:
            indent = ",\n" + "    " * (self.depth + 1)
            texts = indent.join(moving.values())
            self.line(f"for {', '.join(moving)} in zip({indent[1:]}{texts},")
            self.line("):")
        else:
            self.line(f"for _ in range({loop.rounds}):")
        self.lines += body
        for outer_value, inner in loop.lasts:
            if outer_value not in plan.places:
                self.line(f"{self.names[outer_value]} = {self.names[inner]}")

    # ---- the whole -----------------------------------------------------------------------------

    def section(self, name: str, section: Section) -> list[str]:
        plan = self.plan
        self.lines = self.before = []
        self.here, self.anew = {}, {}
        inputs = [self.names[v] + "__given" * (v in plan.lasting) for v in section.inputs]
        kept = [v for v in section.inputs if v in plan.lasting]
        made = [v for item in section.items for v in item.outs if v in plan.lasting]
        head = [f"    def {name}({', '.join(inputs)}):"]
        if kept or made:
            head.append(f"        nonlocal {', '.join(self.names[v] for v in (*kept, *made))}")
        head += [f"        {self.names[v]} = {self.names[v]}__given" for v in kept]
        returned = self._returned(section)
        for item in section.items:
            if isinstance(item, Loop):
                self.loop(item)
            else:
                self.op(item, any(v in returned for v in item.outs))
        outputs = [self._output(o, returned) for o in section.outputs]
        self.line(f"return [{', '.join(outputs)}]")
        return head + self.lines

    def _returned(self, section: Section) -> set[Value]:
        """Values without a place that are given away, if they are arrays of their own."""
        plan = self.plan
        made = {v for item in section.items if isinstance(item, Op) for v in item.outs}
        seen = [o for o in section.outputs if isinstance(o, View)]
        once = [o.value for o in seen if [p.value for p in seen].count(o.value) == 1 and o.is_whole]
        return {v for v in once if v in made and v not in plan.places and v not in plan.lasting}

    def _output(self, o: Operand, returned: set[Value]) -> str:
        text = self.operand(o)
        if not isinstance(o, View) or (o.is_whole and o.value in returned):
            return text
        place = self.plan.placed(o)
        if place is not None and place.is_whole and self.plan.root(place.value) in self.plan.fresh:
            return text
        return f"{text}.copy()"

    def _written(self) -> str:
        names = ["forward", "backward"] if len(self.program.sections) == 2 else ["program"]
        bodies = [
            self.section(name, section)
            for name, section in zip(names, self.program.sections, strict=True)
        ]
        lasting = [self.names[v] for v in self.plan.lasting]
        head = ["def workspace():", *self.made]
        if lasting:
            none = f"{' = '.join(sorted(lasting))} = None"
            head += [f"    {none}"]
            names_ = f"        nonlocal {', '.join(sorted(lasting))}"
            bodies.append(["    def forget():", names_, f"        {none}"])
        text = "\n\n".join(["\n".join(lines) for lines in [head, *bodies]])
        forget = "forget" if lasting else "None"
        return f"{text}\n\n    return [{', '.join(names)}], {forget}\n"

    def compiled(self) -> Callable[[], Any]:
        """Return the function that makes a workspace: the sections, and what forgets residuals."""
        exec(compile(self.source, "<compiled by minigrad>", "exec"), self.space)
        made: Callable[[], Any] = self.space["workspace"]
        return made


def _suffix(v: Any) -> str:
    if not isinstance(v, View):
        return "rows"
    parts = [f"{v.row.start}"] if v.row is not None else []
    parts += [f"{v.columns[0]}_{v.columns[1]}"] if v.columns is not None else []
    return "_".join([*parts, *["T"] * v.turned])


# ---- what the source calls ----------------------------------------------------------------------


def empty(shape: tuple[int, ...], dtype: str) -> Array:
    """Return an array that begins at a multiple of 64 bytes, which products are faster with."""
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    memory = np.empty(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(kind).reshape(shape)


def rows(array: Array, step: int, start: int, rounds: int) -> list[Array]:
    """Return rows of an array, one for each round."""
    return [array[step * r + start, ...] for r in range(rounds)]


def own(result: Any, *args: Any) -> Any:
    """Return an array that a caller may write into: a copy if it may be somebody else's."""
    if result.base is None and not any(result is a for a in args):
        return result
    return result.copy()
