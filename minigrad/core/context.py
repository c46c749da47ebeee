"""What surrounds an operation: whether it is recorded, and the scope path it stands in.

Both live in one context variable, so that every thread and every asyncio task has its own.
"""

from __future__ import annotations

from contextlib import ContextDecorator
from contextvars import ContextVar
from typing import Any

__all__ = ["Scope", "current", "no_grad", "recording", "scope"]


class Scope:
    """One frame of a scope path: a module call or a `with scope("step", t)` block.

    Two calls are two frames, so a frame is also the identity of the call. `owner` is the module
    that was called, or None.
    """

    __slots__ = ("index", "label", "owner", "parent")

    def __init__(self, parent: Scope | None, label: str, index: int | None, owner: Any) -> None:
        self.parent, self.label, self.index, self.owner = parent, label, index, owner

    @property
    def frames(self) -> tuple[Scope, ...]:
        """The path from the outermost frame to this one."""
        path: list[Scope] = []
        frame: Scope | None = self
        while frame is not None:
            path.append(frame)
            frame = frame.parent
        return tuple(reversed(path))

    def __str__(self) -> str:
        return "/".join(
            f.label if f.index is None else f"{f.label}[{f.index}]" for f in self.frames
        )


class Context:
    """The state that an operation reads, and the one around it."""

    __slots__ = ("outer", "recording", "scope")

    def __init__(self, recording: bool, scope: Scope | None, outer: Context | None) -> None:
        self.recording, self.scope, self.outer = recording, scope, outer


_context: ContextVar[Any] = ContextVar("minigrad", default=Context(True, None, None))  # noqa: B039
current = _context.get


class _Within(ContextDecorator):
    """A context manager (and decorator) that changes the context and puts it back.

    It keeps nothing itself, so one of them, such as a decorator, serves several threads.
    """

    def _changed(self, now: Context) -> Context:
        raise NotImplementedError

    def __enter__(self) -> None:
        _context.set(self._changed(_context.get()))

    def __exit__(self, *exc: object) -> None:
        _context.set(_context.get().outer)


class no_grad(_Within):
    """Compute without recording: `with mg.no_grad(): ...`, or as a decorator."""

    def _changed(self, now: Context) -> Context:
        return Context(False, now.scope, now)


class recording(_Within):
    """Record, also inside `no_grad`: what a transform does around its function.

    What is run again later stands `at` the scope where it was first.
    """

    def __init__(self, *at: Scope | None) -> None:
        self._at = at

    def _changed(self, now: Context) -> Context:
        return Context(True, self._at[0] if self._at else now.scope, now)


class scope(_Within):
    """Name the operations recorded inside: `with mg.scope("step", t): ...`.

    Scopes nest. Pictures group by them, reports cite them ("lstm/step[7]"), and consecutive scopes
    of one label with the same operations inside are drawn once.
    """

    def __init__(self, label: str, index: int | None = None, owner: Any = None) -> None:
        self._label, self._index, self._owner = label, index, owner

    def _changed(self, now: Context) -> Context:
        return Context(now.recording, Scope(now.scope, self._label, self._index, self._owner), now)
