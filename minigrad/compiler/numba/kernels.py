"""Kernels: runs of operations and loops as one nopython function, compiled by numba.

A kernel is written in four steps. Its operations are put into the words of `fused`. They become
*steps*: groups of elementwise functions and reductions over one shape, which are one nest of loops,
products, and loops of steps. Every value that leaves its group gets a place in memory; what is
joined or collected is written where it will be. Then the steps are written as source: a function of
pointers for each group, and one that calls them in order.

All sizes are numbers that the kernel is given, so that its source depends on the structure alone:
another length or batch size is the same source, and needs no compilation.
"""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from ...core.dtypes import Array
from ..program import Function, Item, Loop, Op, Program, Section, Value, View
from . import disk
from .blas import found
from .fused import supported
from .source import Source
from .steps import Steps

__all__ = ["Kernel", "kernels_of", "with_kernels"]


class Kernel(Function):
    """A run of operations as one function of arrays: of the values that it `reads`, in order.

    `forward` returns a tuple of arrays, the values that it `writes`, made anew.
    """

    makes_new = True

    makes_new = True  # so that nobody looks whether a result is somebody else's

    def __init__(self, items: Sequence[Item], leaving: Iterable[Value]) -> None:
        super().__init__("kernel", self.run)
        steps = Steps(items, leaving)
        source = Source(steps)
        self.items, self.source = items, source.text
        self.reads, self.writes = tuple(steps.reads), tuple(steps.writes)
        self.numbers = np.array(source.numbers or [0], np.int64)
        self.bytes = source.bytes
        self.constants = aligned(len(source.constants))
        self.constants[...] = np.frombuffer(source.constants, np.uint8)
        self.kinds = [(v.shape, v.dtype) for v in self.writes]
        self._kinds = [(v.dtype, len(v.shape)) for v in (*self.reads, *self.writes)]
        self._spare: list[Array] = []
        self._compiled: Any = None
        self._lock = threading.Lock()

    @property
    def compiled(self) -> Any:
        """The compiled function: of numbers, a workspace, what is read and what is written."""
        if self._compiled is None:
            with self._lock:
                if self._compiled is None:
                    self._compiled = disk.compiled(self.source, self._kinds)
        return self._compiled

    def report(self) -> str:
        """Say what the kernel does, and with how much memory."""
        loops = sum([isinstance(item, Loop) for item in self.items])
        groups, products = [self.source.count(f"    {name}") for name in ("group", "gemm(")]
        return (
            f"a kernel of {len(self.items) - loops} operations and {loops} loops, as {groups} "
            f"groups and {products} products; {self.bytes:,} bytes of workspace"
        )

    def run(self, *arrays: Array) -> tuple[Array, ...]:
        given = [a if type(a) is np.ndarray and a.flags.carray else _straight(a) for a in arrays]
        made = tuple([np.empty(shape, dtype) for shape, dtype in self.kinds])
        function = self._compiled or self.compiled
        try:
            workspace = self._spare.pop()
        except IndexError:
            workspace = aligned(self.bytes)
        function(self.numbers, self.constants, workspace, *given, *made)
        self._spare.append(workspace)
        return made


def aligned(size: int) -> Array:
    """Return memory that begins at a multiple of 64 bytes, as vectors like it."""
    memory = np.empty(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size]


def _straight(a: Any) -> Array:
    """Return a copy that a kernel can read: writable, for numba, and in one piece."""
    return np.array(a, order="C")


def kernels_of(program: Program) -> list[Kernel]:
    """Return the kernels of a program, in order."""
    return [op.does for op in program.items if isinstance(op, Op) and isinstance(op.does, Kernel)]


_LONGEST = 2000
"""So many operations and loops are one kernel at most: twice as many compile twice as long."""


def with_kernels(program: Program) -> Program:
    """Return the program with a kernel for every run of operations that kernels know.

    There is none where numba has been told not to compile, by `NUMBA_DISABLE_JIT`. ImportError,
    which names the extra, where numba is not installed.
    """
    if importlib.util.find_spec("numba") is None:
        raise ImportError(
            "backend='numba' compiles with numba, which is not installed: pip install "
            "'minigrad[jit]'; backend='numpy' needs nothing"
        )
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        return program
    products = found() is not None
    needed: set[Value] = set()  # later on, or outside
    sections: list[Section] = []
    for section in reversed(program.sections):
        items: list[Item] = []
        needed.update([o.value for o in section.outputs if isinstance(o, View)])
        known = [supported(item, products) for item in section.items]
        runs = groupby(reversed([*zip(known, section.items, strict=True)]), lambda pair: pair[0])
        for is_known, pairs in runs:
            run = [item for _, item in pairs]
            for k in range(0, len(run), _LONGEST):
                part = run[k : k + _LONGEST]
                items += _kernel_ops(part[::-1], needed) if is_known else part
                needed.update([v.value for item in part for v in item.views])
        sections.append(Section(section.inputs, items[::-1], section.outputs))
    return Program(sections[::-1])


def _kernel_ops(items: list[Item], needed: set[Value]) -> list[Item]:
    """Return the kernel that does the items, unless nobody needs it."""
    leaving = [v for item in items for v in item.outs if v in needed]
    if not leaving:
        return []
    kernel = Kernel(items, leaving)
    return [Op(kernel, tuple(map(View, kernel.reads)), {}, kernel.writes, several=True)]
