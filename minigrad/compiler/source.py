"""The source of a kernel: a function of pointers for each group, and one that calls them in order.

All sizes are numbers that the kernel is given, so that its source depends on the structure alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .fused import Each, Known, Product, Reduce, kind_name
from .places import Place, Slot, merged
from .program import Value, View
from .steps import Group, Level, Steps, arranged, is_direct, stored_by

__all__ = ["Source"]

_HEAD = """from minigrad.compiler.support import *
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

    def function(self, text: str, stem: str) -> str:
        """Return the name of a function with this text, from its parameters on."""
        return self.functions.setdefault(text, f"{stem}{len(self.functions)}")

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
        self.arguments: list[Any] = []  # as text, or a place
        self.sums: list[tuple[Value, str]] = []
        reads: dict[View, Place] = {}
        for op in group.ops:
            for a in op.args:
                if isinstance(a, View) and not is_direct(a, group):
                    reads[a] = steps.seen(a).spread(group.shape)
        self.outs = outs = dict[Value, Place]()
        for op in group.ops:
            if isinstance(op, Reduce):
                outs[op.out] = _kept_place(steps.place(op.out), op.axes, group.shape)
            elif op.out in source.stored:
                outs[op.out] = steps.place(op.out)
        places = [*dict.fromkeys([_key(p) for p in [*reads.values(), *outs.values()]])]
        self.axes = merged(group.shape, tuple([strides for _, _, _, strides in places]))
        self.pointers = {key: f"p{k}" for k, key in enumerate(places)}
        self.strides = [[by[k] for _, by in self.axes] for k in range(len(places))]
        self.lines: list[str] = []
        self.write({v: self.pointers[_key(p)] for v, p in reads.items()},
                   {v: self.pointers[_key(p)] for v, p in outs.items()})  # fmt: skip

    def parameter(self, stem: str, argument: Any) -> str:
        name = f"{stem}{len(self.parameters)}"
        self.parameters.append(name)
        self.arguments.append(argument)
        return name

    def write(self, reads: Mapping[View, str], outs: Mapping[Value, str]) -> None:
        depth, source = len(self.axes), self.source
        index = {f"p{k}": k for k in range(len(self.strides))}
        lines, indent = self.lines, "    "
        counts = [self.parameter("n", source.number(n)) for n, _ in self.axes]
        names: dict[tuple[int, int], str] = {}

        def by(k: int, axis: int) -> str:
            """Return how many elements a step along an axis is, as a factor."""
            s = self.strides[k][axis]
            if s == 1:
                return ""
            if (axis % depth, s) not in names:
                names[axis % depth, s] = self.parameter("s", source.number(s))
            return f" * {names[axis % depth, s]}"

        offsets: dict[tuple[int, ...], str] = {(): "0"}  # by the strides of the outer axes
        for axis in range(depth - 1):
            lines.append(f"{indent}for i{axis} in range({counts[axis]}):")
            indent += "    "
            for k, strides in enumerate(self.strides):
                here = tuple(strides[: axis + 1])
                if here in offsets:
                    continue
                offsets[here] = start = offsets[here[:-1]]
                if strides[axis]:
                    offsets[here] = f"o{len(offsets)}"
                    more = "" if start == "0" else f"{start} + "
                    lines.append(f"{indent}{offsets[here]} = {more}i{axis}{by(k, axis)}")
        inner = [depth > 0 and strides[-1] != 0 for strides in self.strides]

        def where(pointer: str) -> str:
            k = index[pointer]
            start = offsets[tuple(self.strides[k][:-1])]
            if not inner[k]:
                return f"{pointer}, {start}"
            return f"{pointer}, {'' if start == '0' else f'{start} + '}j{by(k, -1)}"

        before: list[str] = []  # what is done once for a row, and for each element, and after it
        each: list[str] = []
        stores: list[str] = []
        after: list[str] = []
        loaded: dict[str, str] = {}
        made: dict[Value, str] = {}
        chunked = False

        def operand(a: Any, kind: np.dtype[Any]) -> str:
            if isinstance(a, View):
                if is_direct(a, self.group):
                    name, dtype = made[a.value], a.dtype
                else:
                    pointer, dtype = reads[a], a.dtype
                    if pointer not in loaded:
                        loaded[pointer] = f"x{len(loaded)}"
                        line = f"{loaded[pointer]} = at({where(pointer)})"
                        (each if inner[index[pointer]] else before).append(line)
                    name = loaded[pointer]
                return name if dtype == kind else f"{kind_name(kind)}({name})"
            number = a.number if isinstance(a, Known) else a
            text = source.scalar(number, kind)
            return self.parameter("c", text) if "(n, " in text else text

        for k, op in enumerate(self.group.ops):
            if isinstance(op, Each):
                args = [operand(a, kind) for a, kind in zip(op.args, op.kinds, strict=True)]
                text = op.text.format(*args).replace("@", kind_name(op.kind))
                made[op.out] = f"y{k}"
                each.append(f"y{k} = {text}")
                if op.out in outs:
                    stores.append(f"put({where(outs[op.out])}, y{k})")
                continue
            kind, combine, pointer = op.out.dtype, _COMBINED[op.name], outs[op.out]
            name, identity = operand(op.args[0], kind), _IDENTITY[op.name]
            identity = identity.replace("@", kind_name(kind))
            if not op.axes or inner[index[pointer]]:
                old = f"at({where(pointer)})"
                if all(op.shape[a] == 1 for a in op.axes):
                    stores.append(f"put({where(pointer)}, {name})")
                else:
                    stores.append(f"put({where(pointer)}, {combine}({old}, {name}))")
                    self.sums.append((op.out, op.name))
                continue
            if depth == 0:
                stores.append(f"put({where(pointer)}, {name})")
                continue
            total = f"t{k}"
            wide = op.name == "sum" and kind.kind == "f"
            before.append(f"{total} = {'f8(0)' if wide else identity}")
            if wide:
                chunked = True
                each.append(f"part{k} = plus(part{k}, {name})")
            else:
                each.append(f"{total} = {combine}({total}, {name})")
            result = f"{kind_name(kind)}({total})" if wide else total
            rows = [n for a, n in enumerate(op.shape) if a in op.axes and n != 1]
            single = all(s[index[pointer]] for _, s in self.axes[:-1])
            if single and rows:
                after.append(f"put({where(pointer)}, {result})")
            else:
                after.append(f"put({where(pointer)}, {combine}(at({where(pointer)}), {result}))")
                self.sums.append((op.out, op.name))
        parts = [line.split(" = ")[0] for line in each if line.startswith("part")]
        lines += [f"{indent}{line}" for line in before]
        if depth:
            n = counts[-1]
            if chunked:
                lines.append(f"{indent}for j0 in range(0, {n}, {_CHUNK}):")
                indent += "    "
                kinds = {f"part{k}": kind_name(op.out.dtype) for k, op in enumerate(self.group.ops)}
                lines += [f"{indent}{part} = {kinds[part]}(0)" for part in parts]
                lines.append(f"{indent}for j in range(j0, min(j0 + {_CHUNK}, {n})):")
            else:
                lines.append(f"{indent}for j in range({n}):")
            lines += [f"{indent}    {line}" for line in [*each, *stores]]
            if chunked:
                lines += [f"{indent}t{p[4:]} += {p}" for p in parts]
                indent = indent[:-4]
        else:
            lines += [f"{indent}{line}" for line in [*each, *stores]]
        lines += [f"{indent}{line}" for line in after]

    def call(self, r: str) -> str:
        """Return the call of the function, which is written if it is new."""
        pointers = [*self.pointers.values()]
        head = f"({', '.join([*pointers, *self.parameters])}):"
        name = self.source.function("\n".join([head, "    unaliased()", *self.lines]), "group")
        places = [self.source.pointer(Place(s, o, st, (), ()), r) for s, o, st, _ in self.pointers]
        return f"{name}({', '.join([*places, *self.arguments])})"


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
