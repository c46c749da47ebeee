"""The source of a kernel: a function of pointers for each group, and one that calls them in order.

All sizes are numbers that the kernel is given, so that its source depends on the structure alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..program import Value, View
from .fused import Each, Known, Product, Reduce, kind_name
from .memory import arranged, stored_by
from .places import Place, Slot, merged
from .steps import Group, Level, Steps, is_direct

__all__ = ["Source"]

_HEAD = """from minigrad.compiler.numba.support import *
"""
_IDENTITY = {"sum": "@(0)", "max": "@(-np.inf)", "min": "@(np.inf)"}
_COMBINED = {"sum": "plus", "max": "largest", "min": "smallest"}
_CHUNK = 1024  # elements that are summed in one go, so that the error of a long sum stays small


class Source:
    """The source of a kernel, and the numbers that it is given."""

    def __init__(self, steps: Steps) -> None:
        self.steps, self.stored = steps, stored_by(steps)
        self.workspace = arranged(steps, self.stored)
        self.numbers: list[int] = []
        self.functions: dict[str, str] = {}  # their texts, with their names
        self.names: dict[Slot, str] = {}
        self.bytes = 0
        head = []
        for slot in self.workspace:
            self.names[slot] = f"w{len(self.names)}"
            kind = kind_name(slot.dtype)
            head.append(
                f"{self.names[slot]} = pointer(workspace, {self.number(self.bytes)}, {kind})"
            )
            self.bytes += -(-slot.size * slot.dtype.itemsize // 64) * 64
        body = self.level(steps.top, "0")
        self.constants = self._constants(head)
        given = [*steps.reads.items(), *steps.writes.items()]
        names = [f"a{k}" for k in range(len(given))]
        for name, (_, slot) in zip(names, given, strict=True):
            head.insert(0, f"{self.name(slot)} = pointer({name}, 0, {kind_name(slot.dtype)})")
        head.insert(0, "n = pointer(numbers, 0, i8)")
        taken = ", ".join(["numbers", "constants", "workspace", *names])
        main = [f"def kernel({taken}):", *[f"    {line}" for line in [*head, *body]]]
        parts = [f"def {name}{text}" for text, name in self.functions.items()]
        self.text = "\n".join([_HEAD, *[f"@nopython\n{p}\n" for p in parts], *main]) + "\n"

    def _constants(self, head: list[str]) -> bytes:
        """Return the arrays that are part of the program, one after the other, from 64 to 64."""
        memory = bytearray()
        for value, slot in self.steps.constants.items():
            start = self.number(len(memory))
            head.append(f"{self.name(slot)} = pointer(constants, {start}, {kind_name(slot.dtype)})")
            data = np.ascontiguousarray(value.array).tobytes()
            memory += data + bytes(-len(data) % 64)
        return bytes(memory)

    def name(self, slot: Slot) -> str:
        return self.names.setdefault(slot.root, f"g{len(self.names)}")

    def number(self, x: int) -> str:
        """Return how a number that is no part of the structure is written: as one that is given."""
        if x == 0:
            return "0"
        self.numbers.append(int(x))
        return f"at(n, {len(self.numbers) - 1})"

    def scalar(self, x: float, kind: np.dtype[Any]) -> str:
        """Return how a number of the user's is written, of a dtype."""
        name = kind_name(kind)
        if kind.kind in "bi" or x in (0, 1, -1, 2, 0.5):
            if kind.kind == "i" and x not in (0, 1, -1, 2):
                return self.number(int(x))
            return f"{name}({kind.type(x)})" if kind.kind != "b" else str(bool(x))
        self.numbers.append(int(np.float64(x).view(np.int64)))
        return f"{name}(real(n, {len(self.numbers) - 1}))"

    def start(self, place: Place, r: str) -> str:
        """Return where a place begins behind its slot."""
        offset = self.number(place.offset)
        return f"{offset} + {r} * {self.number(place.step)}" if place.step else offset

    def pointer(self, place: Place, r: str) -> str:
        start = self.start(place, r)
        name = self.name(place.slot)
        return name if start == "0" else f"moved({name}, {start})"

    # ---- steps ---------------------------------------------------------------------------------

    def level(self, level: Level, r: str) -> list[str]:
        lines = []
        for step in level.steps:
            if isinstance(step, Group):
                lines += self.group(step, r)
            elif isinstance(step, Product):
                lines += self.product(step, r)
            else:
                lines.append(f"for r in range({self.number(step.rounds)}):")
                lines += [f"    {line}" for line in self.level(step.level, "r")]
        return lines

    def function(self, text: str) -> str:
        """Return the name of a function with this text, from its parameters on."""
        return self.functions.setdefault(text, f"group{len(self.functions)}")

    def group(self, group: Group, r: str) -> list[str]:
        nest = _Nest(self, group)
        if not nest.outs:
            return []  # nobody reads it
        lines = []
        for out, name in nest.sums:  # what is added to, round after round
            kept = _Nest(self, Group(out.shape, [Each(out, _IDENTITY[name], (), (), out.dtype)]))
            lines.append(kept.call(r))
        return [*lines, nest.call(r)]

    def product(self, product: Product, r: str) -> list[str]:
        (a, b), c = map(self.steps.seen, product.args), self.steps.place(product.out)
        first, last = len(a.shape) == 1, len(b.shape) == 1  # vectors: rows, and columns
        if last:
            c = _with_axis(c, len(c.shape))
            b = _with_axis(b, 1)
        if first:
            c = _with_axis(c, len(c.shape) - 1)
            a = _with_axis(a, 0)
        return self.products(a, b, c, r)

    def products(self, a: Place, b: Place, c: Place, r: str) -> list[str]:
        """Products of stacks of matrices: one, if only the first is a stack, in one piece."""
        stack = c.shape[:-2]
        a = a.spread((*stack, *a.shape[-2:]))
        b = b.spread((*stack, *b.shape[-2:]))
        strides = [x.strides[: len(stack)] for x in (a, b, c)]
        axes = merged(stack, tuple(strides))
        m, n, k = c.shape[-2], c.shape[-1], a.shape[-1]
        if len(axes) == 1 and axes[0][1][1] == 0:  # rows below rows
            count, (sa, _, sc) = axes[0]
            if (m == 1 or sa == m * a.strides[-2]) and (m == 1 or sc == m * c.strides[-2]):
                if m == 1:
                    a = a._replace(strides=(*a.strides[:-2], sa, a.strides[-1]))
                    c = c._replace(strides=(*c.strides[:-2], sc, c.strides[-1]))
                m, axes = m * count, []
        lines, starts = [], [self.start(x, r) for x in (a, b, c)]
        indent = ""
        for level, (count, by) in enumerate(axes):
            i = f"i{level}"
            lines.append(f"{indent}for {i} in range({self.number(count)}):")
            indent += "    "
            starts = [
                f"{start} + {i} * {self.number(s)}" if s else start
                for start, s in zip(starts, by, strict=True)
            ]
        sizes = []
        for x, (rows, columns), start in zip(
            (a, b, c), ((m, k), (k, n), (m, n)), starts, strict=True
        ):
            turn, lead = _layout(x.strides[-2:], rows, columns)
            sizes.append((turn, f"{self.name(x.slot)}, {start}, {self.number(lead)}"))
        (turn_a, text_a), (turn_b, text_b), (_, text_c) = sizes
        shape = ", ".join([self.number(x) for x in (m, n, k)])
        lines.append(f"{indent}gemm({turn_a}, {turn_b}, {shape}, {text_a}, {text_b}, {text_c})")
        return lines


def _with_axis(place: Place, axis: int) -> Place:
    """Return the place with an axis of length 1."""
    shape, strides = [*place.shape], [*place.strides]
    shape.insert(axis, 1)
    strides.insert(axis, 0)
    return place._replace(shape=tuple(shape), strides=tuple(strides))


def _layout(strides: tuple[int, ...], rows: int, columns: int) -> tuple[int, int]:
    """Return whether BLAS sees a matrix with its axes turned, and its leading dimension."""
    down, right = strides
    if columns == 1 or right == 1:
        return 0, max(down if rows > 1 else 0, columns, 1)
    return 1, max(right, rows, 1)


class _Nest:
    """The nest of loops of one group, as a function of pointers, lengths, strides and numbers."""

    def __init__(self, source: Source, group: Group) -> None:
        self.source, self.group, steps = source, group, source.steps
        self.parameters: list[str] = []
        self.arguments: list[str] = []
        self.sums: list[tuple[Value, str]] = []  # results that several rows are added to
        reads: dict[View, Place] = {}
        outs: dict[Value, Place] = {}
        for op in group.ops:
            for a in op.args:
                if isinstance(a, View) and not is_direct(a, group):
                    reads[a] = steps.seen(a).spread(group.shape)
            if isinstance(op, Reduce):
                outs[op.out] = _kept_place(steps.place(op.out), op.axes, group.shape)
            elif op.out in source.stored:
                outs[op.out] = steps.place(op.out)
        places = [*dict.fromkeys([_key(p) for p in [*reads.values(), *outs.values()]])]
        pointers = {key: k for k, key in enumerate(places)}
        self.pointers = [Place(slot, start, step, (), ()) for slot, start, step, _ in places]
        self.reads = {v: pointers[_key(p)] for v, p in reads.items()}  # by their numbers
        self.outs = {v: pointers[_key(p)] for v, p in outs.items()}
        self.axes = merged(group.shape, tuple([strides for *_, strides in places]))
        self.strides = [tuple([by[k] for _, by in self.axes]) for k in range(len(places))]
        self.inner = [bool(strides) and strides[-1] != 0 for strides in self.strides]
        self.counts = [self.parameter("n", source.number(n)) for n, _ in self.axes]
        self.factors: dict[tuple[int, int], str] = {}  # strides, by the axis and their length
        self.offsets: dict[tuple[int, ...], str] = {(): "0"}  # by the strides of the outer axes
        self.loaded: dict[int, str] = {}
        self.made: dict[Value, str] = {}
        self.partial: dict[str, str] = {}  # sums of a part of a row, with their dtypes
        # What is done once for each row, for each element, then stored, and after each row.
        self.before: list[str] = []
        self.each: list[str] = []
        self.stores: list[str] = []
        self.after: list[str] = []
        outer = self.outer()
        for k, op in enumerate(group.ops):
            if isinstance(op, Each):
                self.function(k, op)
            else:
                self.reduction(k, op)
        self.lines = [*outer, *_indented(self.row(), max(len(self.axes) - 1, 0))]

    def parameter(self, stem: str, argument: str) -> str:
        name = f"{stem}{len(self.parameters)}"
        self.parameters.append(name)
        self.arguments.append(argument)
        return name

    # ---- loops and offsets ---------------------------------------------------------------------

    def outer(self) -> list[str]:
        """Return the loops over all axes but the last, and where the rows begin."""
        lines = []
        for axis in range(len(self.axes) - 1):
            lines += _indented([f"for i{axis} in range({self.counts[axis]}):"], axis)
            for k, strides in enumerate(self.strides):
                here = strides[: axis + 1]
                if here in self.offsets:
                    continue
                start = self.offsets[here[:-1]]
                self.offsets[here] = f"o{len(self.offsets)}" if strides[axis] else start
                if strides[axis]:
                    more = f"{start} + " if start != "0" else ""
                    line = f"{self.offsets[here]} = {more}i{axis}{self.by(k, axis)}"
                    lines += _indented([line], axis + 1)
        return lines

    def by(self, k: int, axis: int) -> str:
        """Return how many elements a step along an axis is, as a factor."""
        stride = self.strides[k][axis]
        if stride == 1:
            return ""
        key = axis % len(self.axes), stride
        if key not in self.factors:
            self.factors[key] = self.parameter("s", self.source.number(stride))
        return f" * {self.factors[key]}"

    def where(self, k: int) -> str:
        """Return a pointer, and where behind it the element is."""
        start = self.offsets[self.strides[k][:-1]]
        if not self.inner[k]:
            return f"p{k}, {start}"
        return f"p{k}, {f'{start} + ' if start != '0' else ''}j{self.by(k, -1)}"

    def row(self) -> list[str]:
        """Return the loop over the last axis, with what is done before and after it."""
        each = [*self.each, *self.stores]
        if not self.axes:
            return [*self.before, *each, *self.after]
        n = self.counts[-1]
        loop = [f"for j in range({n}):", *_indented(each, 1)]
        if self.partial:
            loop = [
                f"for j0 in range(0, {n}, {_CHUNK}):",
                *[f"    part{k} = {kind}(0)" for k, kind in self.partial.items()],
                f"    for j in range(j0, min(j0 + {_CHUNK}, {n})):",
                *_indented(each, 2),
                *[f"    t{k} += part{k}" for k in self.partial],
            ]
        return [*self.before, *loop, *self.after]

    # ---- functions and reductions --------------------------------------------------------------

    def operand(self, a: Any, kind: np.dtype[Any]) -> str:
        if not isinstance(a, View):
            text = self.source.scalar(a.number if isinstance(a, Known) else a, kind)
            return self.parameter("c", text) if "(n, " in text else text
        if is_direct(a, self.group):
            name = self.made[a.value]
        else:
            k = self.reads[a]
            if k not in self.loaded:
                self.loaded[k] = f"x{len(self.loaded)}"
                once = self.each if self.inner[k] else self.before
                once.append(f"{self.loaded[k]} = at({self.where(k)})")
            name = self.loaded[k]
        return name if a.dtype == kind else f"{kind_name(kind)}({name})"

    def function(self, k: int, op: Each) -> None:
        args = [self.operand(a, kind) for a, kind in zip(op.args, op.kinds, strict=True)]
        text = op.text.format(*args).replace("@", kind_name(op.kind))
        self.made[op.out] = f"y{k}"
        self.each.append(f"y{k} = {text}")
        if op.out in self.outs:
            self.stores.append(f"put({self.where(self.outs[op.out])}, y{k})")

    def reduction(self, k: int, op: Reduce) -> None:
        """A result for each row is made in a register; others are added to in memory."""
        kind, out = kind_name(op.out.dtype), self.outs[op.out]
        name, combine = self.operand(op.args[0], op.out.dtype), _COMBINED[op.name]
        if all(op.shape[axis] == 1 for axis in op.axes):
            self.stores.append(f"put({self.where(out)}, {name})")
            return
        where = self.where(out)
        lines, result = self.stores, name
        if not self.inner[out]:
            lines, result = self.after, f"t{k}"
            if op.name == "sum" and op.out.dtype.kind == "f":  # in float64, of parts of a row
                self.partial[str(k)] = kind
                self.before.append(f"t{k} = f8(0)")
                self.each.append(f"part{k} = plus(part{k}, {name})")
                result = f"{kind}(t{k})"
            else:
                self.before.append(f"t{k} = {_IDENTITY[op.name].replace('@', kind)}")
                self.each.append(f"t{k} = {combine}(t{k}, {name})")
        if self.inner[out] or not all(self.strides[out][:-1]):
            result = f"{combine}(at({where}), {result})"
            self.sums.append((op.out, op.name))
        lines.append(f"put({where}, {result})")

    def call(self, r: str) -> str:
        """Return the call of the function, which is written if it is new."""
        pointers = [f"p{k}" for k in range(len(self.pointers))]
        head = f"({', '.join([*pointers, *self.parameters])}):"
        lines = [head, *_indented(["unaliased()", *self.lines], 1)]
        places = [self.source.pointer(place, r) for place in self.pointers]
        name = self.source.function("\n".join(lines))
        return f"{name}({', '.join([*places, *self.arguments])})"


def _indented(lines: list[str], depth: int) -> list[str]:
    return [f"{'    ' * depth}{line}" for line in lines]


def _key(place: Place) -> tuple[Slot, int, int, tuple[int, ...]]:
    return place.slot.root, place.offset, place.step, place.strides


def _kept_place(place: Place, axes: tuple[int, ...], shape: tuple[int, ...]) -> Place:
    """Return the place of a reduction's result, of the shape that is reduced: strides of 0."""
    kept = len(place.shape) == len(shape)
    strides = iter(place.strides)
    new = []
    for k in range(len(shape)):
        if k in axes:
            if kept:
                next(strides)
            new.append(0)
        else:
            new.append(next(strides))
    return place._replace(shape=shape, strides=tuple(new))
