"""A program as straight-line Python that calls NumPy, written once and then run again and again.

Ufuncs, products and sums write into the buffers that the plan gives them; everything else is the
function's own `forward`. Views of buffers and rows of stacks are made once, with a workspace. The
numbers are those of the same functions called one by one, bit for bit, but for what `written` says.
"""

from __future__ import annotations

import builtins
import keyword
import math
import os
import re
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...core.dtypes import Array
from ...core.tensor import OPS
from ...ops import index, shape
from ..listing import Listing
from ..program import Item, Loop, Op, Operand, Program, Row, Section, Value, View, viewed
from .plan import Plan
from .written import Written, written

__all__ = ["FILE", "Straight"]

LARGE = 1 << 16
"""Bytes from which on an array that is not read any more is let go before the section ends."""
FILE = "<compiled by minigrad>"
_EXACT = 2**11  # numbers up to it are what Python and every floating dtype agree on, or round alike
VIEWS = (
    shape.reshape, shape.ravel, shape.expand_dims, shape.squeeze, shape.transpose, shape.swapaxes,
    shape.moveaxis, shape.broadcast_to, index.getitem,
)  # fmt: skip
LIBRARY = {name for name, f in vars(np).items() if isinstance(f, np.ufunc)} | {
    "asarray", "concatenate", "copyto", "empty", "moveaxis",
}  # fmt: skip
OURS = ("forward", "backward", "program", "workspace", "forget", "aligned", "rows", "own")
RESERVED = {*keyword.kwlist, *dir(builtins), *OURS, *LIBRARY}


class Straight:
    """The source of a program, and what it needs to run: `source` and `space`."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.written = {op: written(op) for op in _operations(program)}
        self.plan = Plan(program, self.written)
        self.space: dict[str, Any] = {}
        self.taken = set(RESERVED)
        self._objects: dict[Any, str] = {}
        self._name_values()
        self.made: list[str] = []  # lines that a workspace is made with
        self.lines: list[str] = []  # lines of the section
        self.before = self.lines  # where a section defines what it needs
        self.depth = 2
        self.place = self.said = ""  # where the operations are from
        self.views: dict[Any, str] = {}  # names of views, of a workspace
        self.anew: dict[Any, str] = {}  # of the buffers that the section makes
        self.here: dict[Any, str] = {}  # of views, in a loop
        self.moving: dict[str, str] | None = None  # what a loop iterates over, by its variable
        self.once: set[Value] = set()  # views that a workspace is made with
        self._samples: dict[Value, Array] = {}  # of these, while the source is written
        self.inner: set[Value] = set()  # values of a loop's body
        self.rounds = 0
        self.space.update({f.__name__: f for f in (aligned, rows, own)})
        self.space.update({name: getattr(np, name) for name in LIBRARY})
        self.source = self._written()
        self._samples.clear()

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
        key = ("number", float(x), math.copysign(1, x), dtype)
        if key not in self._objects:
            text = re.sub(r"\W", "_", f"{x:g}".replace("-", "minus_"))
            self._objects[key] = self.unique(f"{dtype}_{text}")
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
        title = self.names.get(o.value, "") if o.is_whole and not place.is_whole else ""
        return self._view(self.buffer(whole.value), whole, self.plan.root(whole.value), title)

    def buffer(self, b: Value) -> str:
        """Return the name of a buffer, which is defined if it was not."""
        plan, root = self.plan, self.plan.root(b)
        is_fresh = root in plan.fresh
        known, lines = (self.anew, self.before) if is_fresh else (self.views, self.made)
        if b not in known:
            name = self.titles.get(b) or self.unique(re.sub(r"\W", "_", b.name or "buffer"))
            self.titles[b] = name
            known[b] = name
            if b is root and b not in plan.shared:
                kind = self.object(b.dtype.name, b.dtype)
                text = f"{'empty' if is_fresh else 'aligned'}({b.shape}, {kind})"
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

    def _view(self, name: str, v: View, root: Value | None, title: str = "") -> str:
        """Return an array's view: a name where it is made once, else an expression."""
        if v.is_whole:
            return name
        if v.row is not None and v.row.step and self.moving is not None:
            return self._row(name, v, v.row, root, title)
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
        return self._once(self.views, self.made, name, v, text, title)

    def _once(
        self,
        known: dict[Any, str],
        lines: list[str],
        name: str,
        v: Any,
        text: str,
        title: str = "",
    ) -> str:
        """Return the name of what is defined once, as `text`."""
        if v not in known:
            known[v] = title or self.unique(f"{name}_{_suffix(v)}")
            self.define(lines, f"{known[v]} = {text}")
        return known[v]

    def _row(self, name: str, v: View, row: Row, root: Value | None, title: str) -> str:
        """Return the variable of a loop for a row that moves."""
        assert self.moving is not None
        key = (name, v)
        if key not in self.here:
            text = name
            if v.columns is not None:
                text += f"[..., {v.columns[0]}:{v.columns[1]}]"
            text += ".mT" * v.turned
            text = f"rows({text}, {row.step}, {row.start}, {self.rounds})"
            variable = self.here[key] = title or self.unique(f"{name}_r")
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
        if self.place != self.said:
            self.lines.append("    " * self.depth + f"# {self.place}")
            self.said = self.place
        self.lines.append("    " * self.depth + text)

    def comment(self, op: Op) -> None:
        """Have the next line say where it comes from, if it is another place than before."""
        note = op.note
        if note is None or not (note.scope or note.file):
            return
        scope = str(note.scope or "")
        scope = re.sub(r"\[\d+\]", "[t]", scope) if self.moving is not None else scope
        line = f"{os.path.basename(note.file)}:{note.line}" if note.file else ""
        self.place = ", ".join(filter(None, (scope, line)))

    def copy(self, place: View, source: View) -> None:
        to = self._view(self.buffer(place.value), place, self.plan.root(place.value))
        self.line(f"copyto({to}, {self.operand(source)})")

    def op(self, op: Op, returned: bool = False) -> None:
        how = self.written[op]
        self.comment(op)
        if how is not None:
            if op.does is not shape.concatenated or not self._join(op):
                self._call(op, how)
        elif not op.several and (op.out in self.plan.aliases or self._is_made_once(op)):
            pass
        else:
            self._forward(op, returned)
        for place, source in self.plan.after[op]:
            self.copy(place, source)

    def _call(self, op: Op, how: Written) -> None:
        """The lines of an operation that writes into its place."""
        out, dtypes = self.out(op.out), how.dtypes or [None] * len(op.args)
        args = [self.operand(a, d) for a, d in zip(op.args, dtypes, strict=True)]
        if op.does is OPS[np.matmul]:
            a, b = op.args
            if isinstance(a, View) and isinstance(b, View) and len(b.shape) == 2 < len(a.shape):
                m = math.prod(a.shape[:-1])
                args[0] += f".reshape({m}, {a.shape[-1]})"
                out += f".reshape({m}, {b.shape[-1]})"
        fields = {str(k): x for k, x in enumerate(args)} | {"out": out, "all": ", ".join(args)}
        for line in how.lines:
            self.line(re.sub(r"\{(\w+)\}", lambda m: fields.get(m[1]) or self.named(m[1]), line))

    def named(self, number: str) -> str:
        """Return the array of a number that a line names, as `float32_1`."""
        kind, _, x = number.partition("_")
        return self.number(float(x), np.dtype(kind))

    def _join(self, op: Op) -> bool:
        """Copy into a concatenation what is not there already; whether something was."""
        if op in self.plan.blocks:
            blocks, place = self.plan.blocks[op]
            text = f"moveaxis({self.buffer(blocks)}, 0, -2)"
            turned = self._once(
                self.views, self.made, self.buffer(blocks), (blocks, "turned"), text
            )
            to = self._view(self.buffer(place.value), place, self.plan.root(place.value))
            self.line(f"copyto({to}, {turned})")
            return True
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

    def _is_made_once(self, op: Op) -> bool:
        """Make a view of a workspace's buffer with the workspace; whether this was one."""
        a = op.args[0] if len(op.args) == 1 else None
        if op.does not in VIEWS or not isinstance(a, View) or len(op.views) > 1:
            return False
        if op.out in self.plan.places:
            return False
        place = self.plan.placed(a)
        if place is not None:
            moves = place.row is not None and place.row.step != 0
            if moves or self.plan.root(place.value) in self.plan.fresh:
                return False
        elif a.value not in self.once or a.row is not None or self.plan.places.get(a.value):
            return False
        sample = a.of(self._samples.get(a.value, np.empty(a.value.shape, a.dtype)))
        if place is not None:
            sample = place.of(np.empty(place.value.shape, place.dtype))
        view = op.does.forward(sample, **op.params)
        if not np.may_share_memory(view, sample) or not view.shape:
            return False
        self._samples[op.out] = view
        self.once.add(op.out)
        params = [f"{k}={self.param(v)}" for k, v in op.params.items()]
        call = f"{self.object(op.name, op.does.forward)}({', '.join([self.operand(a), *params])})"
        self.define(self.made, f"{self.names[op.out]} = {call}")
        return True

    def _forward(self, op: Op, returned: bool) -> None:
        """The call of a function's own forward, and where its results go."""
        returned = returned and not getattr(op.does, "makes_new", False)
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
        self.head(moving)
        self.lines += body

    def head(self, moving: Mapping[str, str]) -> None:
        """The line of a loop, broken where it is long."""
        if not moving:
            self.line(f"for _ in range({self.rounds}):")
        elif len(moving) == 1:
            ((variable, text),) = moving.items()
            self.line(f"for {variable} in {text}:")
        else:
            parts = "for (", ", ".join(moving), ") in zip(", ", ".join(moving.values()), "):"
            if self.depth * 4 + sum(map(len, parts)) <= 102:
                self.line("".join([parts[0][:-1], parts[1], parts[2][1:], *parts[3:]]))
                return
            for k, part in enumerate(parts):
                for line in textwrap.wrap(part, 88 - self.depth * 4) if k % 2 else [part]:
                    self.line("    " * (k % 2) + line)

    # ---- the whole -----------------------------------------------------------------------------

    def section(self, name: str, section: Section) -> list[str]:
        plan = self.plan
        self.lines = self.before = []
        self.here, self.anew = {}, {}
        kept = {v: self.unique(f"{self.names[v]}_") for v in section.inputs if v in plan.lasting}
        inputs = [kept.get(v, self.names[v]) for v in section.inputs]
        returned, dead = self._returned(section), self._dead(section)
        for item in section.items:
            if isinstance(item, Loop):
                self.loop(item)
            else:
                self.op(item, any(v in returned for v in item.outs))
            if names := [self.names[v] for v in dead[item] if v not in self.once]:
                self.line(f"del {', '.join(names)}")
        outputs = [self._output(o, returned) for o in section.outputs]
        self.line(f"return [{', '.join(outputs)}]")
        lasting = set(self.lasting())
        made = [v for item in section.items for v in item.outs if v in lasting]
        head = [f"    def {name}({', '.join(inputs)}):"]
        if kept or made:
            head.append(f"        nonlocal {', '.join(self.names[v] for v in (*kept, *made))}")
        head += [f"        {self.names[v]} = {given}" for v, given in kept.items()]
        return head + self.lines

    def lasting(self) -> list[Value]:
        """Return the variables that later sections read."""
        return [v for v in self.plan.lasting if v not in self.once]

    def _dead(self, section: Section) -> dict[Item, list[Value]]:
        """Return, for each item, the large values that a section makes and nobody reads later."""
        plan = self.plan
        last: dict[Value, Item] = {}
        for item in section.items:
            last.update([(v, item) for v in item.outs if v.nbytes >= LARGE])
            last.update([(v.value, item) for v in item.views if v.value in last])
        kept = {o.value for o in section.outputs if isinstance(o, View)} | plan.lasting
        kept |= plan.places.keys()
        dead: dict[Item, list[Value]] = {item: [] for item in section.items}
        for value, item in last.items():
            if value not in kept:
                dead[item].append(value)
        return dead

    def _returned(self, section: Section) -> set[Value]:
        """Values without a place that are given away, if they are arrays of their own."""
        plan = self.plan
        made = {v for item in section.items if isinstance(item, Op) for v in item.outs}
        seen = [o for o in section.outputs if isinstance(o, View)]
        once = [o.value for o in seen if [p.value for p in seen].count(o.value) == 1 and o.is_whole]
        return {v for v in once if v in made and v not in plan.places and v not in plan.kept}

    def _output(self, o: Operand, returned: set[Value]) -> str:
        text = self.operand(o)
        if not isinstance(o, View) or (o.is_whole and o.value in returned - self.once):
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
        lasting = [self.names[v] for v in self.lasting()]
        head = ["def workspace():", *self.made]
        if lasting:
            none = f"{' = '.join(sorted(lasting))} = None"
            head += [f"    {none}"]
            names_ = f"        nonlocal {', '.join(sorted(lasting))}"
            bodies.append(["    def forget():", names_, f"        {none}"])
        text = "\n\n".join(["\n".join(lines) for lines in [head, *bodies]])
        forget = "forget" if lasting else "None"
        return f"{text}\n\n    return [{', '.join(names)}], {forget}\n"

    def line_of(self, number: int) -> str:
        """Return a line of the source, with where it comes from."""
        lines = self.source.splitlines()[:number]
        place = next((line.strip() for line in reversed(lines) if line.strip()[:1] == "#"), "")
        return f"{lines[-1].strip()}  {place}".strip()

    def compiled(self) -> Callable[[], Any]:
        """Return the function that makes a workspace: the sections, and what forgets residuals."""
        exec(compile(self.source, FILE, "exec"), self.space)
        made: Callable[[], Any] = self.space["workspace"]
        return made


def _operations(program: Program) -> list[Op]:
    """Return the operations of all sections and loops."""
    parts = [item.body if isinstance(item, Loop) else [item] for item in program.items]
    return [op for part in parts for op in part]


def _suffix(v: Any) -> str:
    if not isinstance(v, View):
        return "rows" if isinstance(v[0], View) else str(v[1])
    parts = [f"{v.row.start}"] if v.row is not None else []
    parts += [f"{v.columns[0]}_{v.columns[1]}"] if v.columns is not None else []
    return "_".join([*parts, *["T"] * v.turned])


# ---- what the source calls ----------------------------------------------------------------------


def aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return an array that begins at a multiple of 64 bytes, which products are faster with."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype).reshape(shape)


def rows(array: Array, step: int, start: int, rounds: int) -> list[Array]:
    """Return rows of an array, one for each round."""
    return [array[step * r + start, ...] for r in range(rounds)]


def own(result: Any, *args: Any) -> Any:
    """Return an array that a caller may write into: a copy if it may be somebody else's."""
    if result.base is None and not any(result is a for a in args):
        return result
    return result.copy()
