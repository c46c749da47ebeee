"""What a compiled function does: a list of operations and loops on arrays, as data.

    Value     an array: an input, a constant, or what an operation or a loop makes; it never changes
    View      a value as an operand: perhaps one row of it, some of its columns, transposed
    Op        a function, its operands and parameters, and the values that it makes
    Loop      operations that are repeated, what a round passes to the next, what is collected
    Section   operations and loops in order, with inputs and outputs
    Program   one section, or two: a forward pass, and a backward pass that reads its values

Every back end does what `Program.run` does here in the plainest way. `check` states what holds
after every pass.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..core.dtypes import Array

__all__ = [
    "COPY", "STACK", "Carry", "Collect", "Function", "Item", "Loop", "Op", "Operand", "Program",
    "Row", "Section", "Value", "View", "has_effect", "held", "is_elementwise", "mapped", "viewed",
]  # fmt: skip


@dataclass(eq=False, slots=True)
class Value:
    """An array of a program. A constant holds its `array`; others are known by who makes them."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    name: str = ""
    array: Array | None = None

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=int)) * self.dtype.itemsize


class Row(NamedTuple):
    """Which row is read or written in the round r: `step * r + start`; outside loops step is 0."""

    step: int
    start: int

    def at(self, r: int) -> int:
        return self.step * r + self.start


class View(NamedTuple):
    """A value as an operand: a row of its first axis, columns of its last, its two axes turned."""

    value: Value
    row: Row | None = None
    columns: tuple[int, int] | None = None
    turned: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        shape = self.value.shape if self.row is None else self.value.shape[1:]
        if self.columns is not None:
            shape = (*shape[:-1], self.columns[1] - self.columns[0])
        return shape[::-1] if self.turned else shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.value.dtype

    @property
    def is_whole(self) -> bool:
        return self.row is None and self.columns is None and not self.turned

    def of(self, array: Any, r: int = 0) -> Any:
        """Return what is seen of the value's array, in the round r."""
        if self.row is not None:
            array = array[self.row.at(r)]
        if self.columns is not None:
            array = array[..., slice(*self.columns)]
        return array.T if self.turned else array


Operand: TypeAlias = "View | int | float | bool"
"""What an operation takes: a view of a value, or a Python number, which decides no dtype."""


class Function:
    """A function without a derivative as what an operation does: a comparison, `np.sign`, a draw.

    One with an `effect`, such as drawing from a generator, is run once for each time it stands in
    a program, and in this order.
    """

    def __init__(self, name: str, forward: Callable[..., Any], effect: bool = False) -> None:
        self.name, self.forward, self.effect = name, forward, effect


_ELEMENTWISE = {
    operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne, operator.invert,
    operator.and_, operator.or_, operator.xor,
}  # fmt: skip


def is_elementwise(does: Any) -> bool:
    """Whether an element of the result depends on that element of the operands, broadcast."""
    return (
        getattr(does, "family", None) == "elementwise"
        or isinstance(does.forward, np.ufunc)
        or does.forward in _ELEMENTWISE
    )


def has_effect(does: Any) -> bool:
    """Whether a function does something besides what it returns, as a draw or a check does."""
    return bool(getattr(does, "effect", False))


@dataclass(eq=False, slots=True)
class Op:
    """`outs = does.forward(*args, **params)`; `does` is a primitive or a `Function`.

    Parameters may hold views, too, in tuples, lists and dicts: indices that are computed.
    `several`: the function returns a tuple, of which the values are the parts.
    `note` is where it was recorded: the scope, and the user's line if known.
    """

    does: Any
    args: tuple[Operand, ...]
    params: Mapping[str, Any]
    outs: tuple[Value, ...]
    several: bool = False
    note: Any = None

    @property
    def out(self) -> Value:
        """The only value it makes."""
        (out,) = self.outs
        return out

    @property
    def name(self) -> str:
        return str(self.does.name)

    @property
    def has_effect(self) -> bool:
        """Whether it stays where and as often as it is: a draw, a check."""
        return has_effect(self.does)

    @property
    def views(self) -> list[View]:
        """All views that it reads, those in the parameters after those among the operands."""
        views = [a for a in self.args if isinstance(a, View)]
        return (
            views + [v for v in held(self.params) if isinstance(v, View)] if self.params else views
        )

    def reading(self, change: Callable[[View], Operand]) -> Op:
        """Return this operation, of the same values, with every view that it reads changed."""
        args = tuple([change(a) if isinstance(a, View) else a for a in self.args])
        params = mapped(change, self.params) if self.params else self.params
        return Op(self.does, args, params, self.outs, self.several, self.note)


@dataclass(eq=False, slots=True)
class Carry:
    """What a round passes to the next: `value` is read in the body, and is `next` of the round
    before; in the first round it is `first`, a view from outside."""

    value: Value
    first: View
    next: Value


@dataclass(eq=False, slots=True)
class Collect:
    """Rows of `stack`, a value outside: `source`, made in the body, is row `row.at(r)`.

    With `first` the stack also holds what the first round of a carry reads, in the row before.
    """

    stack: Value
    source: Value
    row: Row
    first: View | None = None


@dataclass(eq=False, slots=True)
class Loop:
    """A body of operations, done `rounds` times; views of values outside may have a moving row."""

    rounds: int
    body: list[Op]
    carries: list[Carry] = field(default_factory=list)
    collects: list[Collect] = field(default_factory=list)
    lasts: list[tuple[Value, Value]] = field(default_factory=list)
    """Values outside, with the values of the body that they are after the last round."""

    @property
    def outs(self) -> list[Value]:
        return [c.stack for c in self.collects] + [outer for outer, _ in self.lasts]

    @property
    def views(self) -> list[View]:
        """All views of values from outside."""
        inner = {v for op in self.body for v in op.outs} | {c.value for c in self.carries}
        read = [v for op in self.body for v in op.views if v.value not in inner]
        firsts = [c.first for c in self.carries] + [c.first for c in self.collects if c.first]
        return read + firsts


Item: TypeAlias = Op | Loop


@dataclass(eq=False, slots=True)
class Section:
    """Items in order; an output may be a number, or a view of anything made so far."""

    inputs: list[Value]
    items: list[Item]
    outputs: list[Operand]


@dataclass(eq=False, slots=True)
class Program:
    """Sections that run one after the other; a later one reads the values of the earlier ones."""

    sections: list[Section]

    @property
    def items(self) -> list[Item]:
        return [item for section in self.sections for item in section.items]

    def run(self, *inputs: Sequence[Array]) -> list[list[Any]]:
        """Return the outputs of every section, given the inputs of every section."""
        known: dict[Value, Any] = {}
        results = []
        for section, arrays in zip(self.sections, inputs, strict=True):
            known.update(zip(section.inputs, arrays, strict=True))
            for item in section.items:
                _do(item, known)
            results.append([_seen(o, known) for o in section.outputs])
        return results

    def check(self) -> None:
        """AssertionError unless every value is made once, before it is read, and in its shape."""
        known: set[Value] = set()
        for section in self.sections:
            known.update(section.inputs)
            for item in section.items:
                _check(item, known)
            for o in section.outputs:
                _check_view(o, known, 1)


def held(container: Any) -> Iterator[Any]:
    """Iterate over what is in nested dicts, lists, tuples and slices, as parameters are."""
    if isinstance(container, View):
        yield container
    elif isinstance(container, (tuple, list)):
        for part in container:
            yield from held(part)
    elif isinstance(container, Mapping):
        for part in container.values():
            yield from held(part)
    elif isinstance(container, slice):
        yield from held((container.start, container.stop, container.step))
    else:
        yield container


def mapped(change: Callable[[View], Any], container: Any) -> Any:
    """Return nested parameters with every view changed; what holds none is returned as it is."""
    if isinstance(container, View):
        return change(container)
    if isinstance(container, (tuple, list)):
        parts = [mapped(change, part) for part in container]
        return parts if isinstance(container, list) else tuple(parts)
    if isinstance(container, Mapping):
        return {k: mapped(change, part) for k, part in container.items()}
    if isinstance(container, slice):
        return slice(*mapped(change, (container.start, container.stop, container.step)))
    return container


def viewed(inner: View, outer: View) -> View | None:
    """Return the view `inner` of what `outer` shows, as one view; None if that is none.

    `inner.value` stands for the value that `outer` shows: only its row, columns, turn count.
    """
    row, columns, turned = outer.row, outer.columns, outer.turned
    if inner.row is None and inner.columns is None and not inner.turned:
        return outer
    if inner.row is not None:
        if row is not None or turned or (columns is not None and len(outer.shape) < 2):
            return None
        row = inner.row
    if inner.columns is not None:
        if turned:
            return None
        start = columns[0] if columns else 0
        columns = (start + inner.columns[0], start + inner.columns[1])
    return View(outer.value, row, columns, turned != inner.turned)


# ---- running ------------------------------------------------------------------------------------


def _seen(o: Operand, known: Mapping[Value, Any], r: int = 0) -> Any:
    if not isinstance(o, View):
        return o
    array = o.value.array if o.value.array is not None else known[o.value]
    return o.of(array, r)


def _do(item: Item, known: dict[Value, Any], r: int = 0) -> None:
    if isinstance(item, Loop):
        _repeat(item, known)
        return
    args = [_seen(a, known, r) for a in item.args]
    made = item.does.forward(*args, **mapped(lambda v: _seen(v, known, r), item.params))
    for value, array in zip(item.outs, made if item.several else (made,), strict=True):
        known[value] = np.asarray(array)


def _repeat(loop: Loop, known: dict[Value, Any]) -> None:
    for c in loop.collects:
        known[c.stack] = np.empty(c.stack.shape, c.stack.dtype)
        if c.first is not None:
            known[c.stack][c.row.at(-1)] = _seen(c.first, known)
    for carry in loop.carries:
        known[carry.value] = _seen(carry.first, known)
    for r in range(loop.rounds):
        for op in loop.body:
            _do(op, known, r)
        for c in loop.collects:
            known[c.stack][c.row.at(r)] = known[c.source]
        passed = [known[carry.next] for carry in loop.carries]
        known.update(zip([carry.value for carry in loop.carries], passed, strict=True))
    for outer, inner in loop.lasts:
        known[outer] = known[inner]


# ---- what holds after every pass ----------------------------------------------------------------


def _check(item: Item, known: set[Value]) -> None:
    if isinstance(item, Op):
        for v in item.views:
            _check_view(v, known, 1)
        _make(item.outs, known)
        return
    assert item.rounds >= 1
    for c in item.carries:
        _check_view(c.first, known, 1)
        assert c.first.shape == c.value.shape == c.next.shape, (c, "a carry keeps its shape")
        assert c.first.dtype == c.value.dtype == c.next.dtype, (c, "a carry keeps its dtype")
    inside = set(known)
    _make([c.value for c in item.carries], inside)
    for op in item.body:
        for v in op.views:
            _check_view(v, inside, item.rounds)
            stays = v.row is None or v.row.step == 0 or v.value.array is not None
            assert stays or v.value in known, "a row moves outside only"
        _make(op.outs, inside)
    made = inside - known
    for carry in item.carries:
        assert carry.next in made
    for kept in item.collects:
        rows = [kept.row.at(r) for r in range(-1 if kept.first else 0, item.rounds)]
        assert sorted(rows) == [*range(kept.stack.shape[0])], (kept, "every row is written once")
        assert kept.source in made
        assert kept.stack.shape[1:] == kept.source.shape
        assert kept.stack.dtype == kept.source.dtype
        if kept.first is not None:
            _check_view(kept.first, known, 1)
            assert kept.first.shape == kept.source.shape
    for outer, inner in item.lasts:
        assert inner in made
        assert (outer.shape, outer.dtype) == (inner.shape, inner.dtype)
    _make(item.outs, known)


def _make(values: Sequence[Value], known: set[Value]) -> None:
    for value in values:
        assert value not in known, f"{value} is made twice"
        known.add(value)


def _check_view(v: Operand, known: set[Value], rounds: int) -> None:
    if not isinstance(v, View):
        return
    assert v.value in known or v.value.array is not None, f"{v} is read before it is made"
    if v.row is not None:
        ends = v.row.at(0), v.row.at(rounds - 1)
        assert all(0 <= k < v.value.shape[0] for k in ends), f"{v}: its row"
    if v.columns is not None:
        shape = v.value.shape if v.row is None else v.value.shape[1:]
        assert 0 <= v.columns[0] <= v.columns[1] <= shape[-1], f"{v}: its columns"
    assert not v.turned or len(v.shape) == 2, f"{v}: only matrices are turned"


COPY = Function("copy", np.copy)
STACK = Function("stack", lambda *arrays: np.stack(arrays))
"""Joins arrays of one shape along a new first axis."""
