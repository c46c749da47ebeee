"""A program made ready to run: its source, workspaces, and the pool that they are taken from."""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...core.dtypes import Array
from ..numba.kernels import kernels_of, with_kernels
from ..passes.blocks import in_blocks
from ..passes.slopes import slopes_first
from ..passes.wide import widened
from ..program import Program
from .straight import FILE, Straight
from .written import OVERFLOWING

__all__ = ["Executable", "Workspace"]

POOL = 8
"""So many workspaces are kept for later calls; more were only needed at one time."""


class Workspace(NamedTuple):
    """Buffers that one call at a time uses: the sections as functions, with the buffers in them.

    After a section it holds what later sections read, until it is given back.
    """

    sections: Sequence[Callable[..., list[Any]]]
    forget: Callable[[], None] | None


class Executable:
    """A program as functions of arrays, to arrays that belong to the caller.

    Take a workspace, run the sections in it one after the other, and give it back: a thread that
    finds none in the pool makes one.
    """

    def __init__(self, program: Program, backend: str = "numpy") -> None:
        made = program
        if backend == "numba":
            made = with_kernels(program)
        elif backend != "numpy":
            raise ValueError(f"backend: 'numpy' or 'numba', not {backend!r}")
        made = in_blocks(widened(slopes_first(made)))
        self.backend, self.kernels = backend, kernels_of(made)
        self.program = program if self.kernels else made  # of kernels, what they do is shown
        self.straight = Straight(made)
        self._make = self.straight.compiled()
        self._may_overflow = any(op.does in OVERFLOWING for op in self.straight.written)
        self._free: deque[Workspace] = deque(maxlen=POOL)  # whose append and pop are atomic

    def workspace(self) -> Workspace:
        """Make a workspace."""
        return Workspace(*self._make())

    def take(self) -> Workspace:
        """Return a workspace that nobody uses."""
        try:
            return self._free.pop()
        except IndexError:
            return self.workspace()

    def give_back(self, workspace: Workspace) -> None:
        """Let others use a workspace; what it holds is lost."""
        if workspace.forget is not None:
            workspace.forget()
        self._free.append(workspace)

    def run(self, k: int, inputs: Sequence[Array], workspace: Workspace) -> list[Any]:
        """Return the outputs of section k, fresh arrays, and numbers that are outputs as such."""
        try:
            if self._may_overflow:  # exp(-x), to inf, of which sigmoid rightly makes 0
                with np.errstate(over="ignore"):
                    return workspace.sections[k](*inputs)
            return workspace.sections[k](*inputs)
        except Exception as e:
            for frame, number in traceback.walk_tb(e.__traceback__):
                if frame.f_code.co_filename == FILE:
                    e.add_note(f"in a compiled program: {self.straight.line_of(number)}")
            raise

    @property
    def source(self) -> str:
        """The program as Python, and the sources of its kernels."""
        kernels = dict.fromkeys([kernel.source for kernel in self.kernels])
        return "\n\n".join([self.straight.source, *kernels])

    def report(self) -> str:
        """Say which buffers a workspace has, and what is done without them."""
        plan = self.straight.plan
        buffers = plan.buffers()
        names = self.straight.titles
        lines = [f"{len(buffers)} buffers, {sum(b.nbytes for b in buffers):,} bytes"]
        for b in sorted(buffers, key=lambda b: -b.nbytes):
            shape = ", ".join(map(str, b.shape))
            lines.append(f"    {names.get(b, '?')}: {b.dtype}[{shape}], {b.nbytes:,} bytes")
        lines += [kernel.report() for kernel in self.kernels]
        lines += self._said()
        return "\n".join(lines)

    def _said(self) -> list[str]:
        """Say how many operations are done where, and why."""
        straight = self.straight
        kernels = self.kernels
        views = [op for op in straight.written if op.outs and op.outs[0] in straight.once]
        views += [op for op in straight.written if op.outs and op.outs[0] in straight.plan.aliases]
        written = [op for op, how in straight.written.items() if how is not None]
        rest = set(straight.written) - {*written, *views}
        others = [op.name for op in straight.written if op in rest and op.does not in kernels]
        counted = [f"{n} ({others.count(n)})" for n in dict.fromkeys(others)]
        return [
            f"{len(written)} operations are NumPy's, and write into buffers",
            f"{len(views)} are views, made once",
            f"{len(others)} are called as they are, having no form that writes into a buffer: "
            f"{', '.join(counted) or 'none'}",
        ]
