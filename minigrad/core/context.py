"""What surrounds an operation: whether it is recorded, its scope path, and who observes it.

All live in one context variable, so that every thread and every asyncio task has its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ContextDecorator, nullcontext
from contextvars import ContextVar
from typing import Any

__all__ = [
    "Observer", "Scope", "current", "no_grad", "observe_everywhere", "observed", "put_back",
    "recording", "scope", "watching",
]  # fmt: skip


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


class Observer:
    """Who is shown what is computed; here each method does nothing, and any may be left so."""

    def result(
        self,
        t: Any,
        primitive: Any,
        inputs: Sequence[Any],
        xs: Sequence[Any],
        params: Mapping[str, Any],
    ) -> None:
        """See a result: `t`, which refers to what it was made from only if it was recorded."""

    def walk(self, path: Sequence[Any]) -> None:
        """See that a walk along `path` begins, in either direction."""

    def at(self, node: Any, g: Any) -> AbstractContextManager[None]:
        """See the cotangent of a node, complete; the node's rules run in the context returned."""
        return nullcontext()

    def contribution(self, node: Any, t: Any, g: Any, gx: Any) -> None:
        """See what the rule of `node` for its input `t` made of its cotangent `g`."""

    def tangent(self, node: Any, dx: Any) -> None:
        """See the tangent of a node."""

    def done(self, cotangents: Mapping[Any, Any]) -> None:
        """See what a walk in reverse mode returns."""


class Context:
    """The state that an operation reads, and the one around it."""

    __slots__ = ("observer", "outer", "recording", "scope", "transform")

    def __init__(
        self,
        recording: bool,
        scope: Scope | None,
        transform: bool = False,
        observer: Observer | None = None,
        outer: Context | None = None,
    ) -> None:
        self.recording, self.scope, self.observer, self.outer = recording, scope, observer, outer
        self.transform = transform  # whether a transform runs the function that we are in


_everywhere = Context(True, None)
_context: ContextVar[Any] = ContextVar("minigrad", default=_everywhere)
current = _context.get


def put_back(context: Context) -> None:
    """Make a context that was `current` so again, whatever was entered since and not left.

    An exception leaves what it was entered in, but Ctrl-C may come between any two instructions.
    """
    _context.set(context)


watching: list[None] = []
"""An entry for everyone who observes, in any thread: while it is empty, no operation looks for an
observer. Adding and removing are atomic, so there is no lock that a fork could leave closed."""


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
        return Context(False, now.scope, now.transform, now.observer, now)


class recording(_Within):
    """Record, also inside `no_grad`: what a transform does around its function.

    What is run again later stands `at` the scope where it was first.
    """

    def __init__(self, *at: Scope | None) -> None:
        self._at = at

    def _changed(self, now: Context) -> Context:
        return Context(True, self._at[0] if self._at else now.scope, True, now.observer, now)


class scope(_Within):
    """Name the operations recorded inside: `with mg.scope("step", t): ...`.

    Scopes nest. Pictures group by them, reports cite them ("lstm/step[7]"), and consecutive scopes
    of one label with the same operations inside are drawn once.
    """

    def __init__(self, label: str, index: int | None = None, owner: Any = None) -> None:
        self._label, self._index, self._owner = label, index, owner

    def _changed(self, now: Context) -> Context:
        inner = Scope(now.scope, self._label, self._index, self._owner)
        return Context(now.recording, inner, now.transform, now.observer, now)


class observed(_Within):
    """Show an observer, in the place of any other, what is computed inside; None: nobody."""

    def __init__(self, observer: Observer | None) -> None:
        self._observer = observer

    def _changed(self, now: Context) -> Context:
        return Context(now.recording, now.scope, now.transform, self._observer, now)

    def __enter__(self) -> None:
        super().__enter__()
        watching.append(None)

    def __exit__(self, *exc: object) -> None:
        watching.pop()
        super().__exit__(*exc)


def observe_everywhere(observer: Observer) -> None:
    """Show an observer what is computed in every thread, from now on, where no other is set."""
    _everywhere.observer = observer
    watching.append(None)
