"""What surrounds an operation: whether it is recorded, its scope path, and who observes it.

All live in one context variable, so that every thread and every asyncio task has its own.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Any, TypeVar

__all__ = [
    "Observer", "Scope", "Tracer", "changed", "changes", "current", "enable_grad", "mirrored",
    "no_grad", "observe_everywhere", "observed", "placed", "put_back", "recording", "replays",
    "scope", "tracing", "unobserved", "watching",
]  # fmt: skip

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


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

    def given(self, x: Any) -> Any:
        """Return what a rule gets in the place of an array."""
        return x

    def replaced(self, by: Observer | None) -> None:
        """See that another observer takes this one's place for a while."""


class Tracer(Observer):
    """Who writes down, as a program, what is computed from tensors, be they recorded or not.

    The engine asks it, while there is one (`tracing`), where numbers would leave what it sees.
    """

    def constant(self, function: Any, args: Sequence[Any], params: Mapping[str, Any]) -> Any:
        """Return the constant tensors that a function without a derivative gives.

        NotImplemented if nothing that is traced is among the arguments.
        """
        raise NotImplementedError

    def taken(self, t: Any, how: str) -> None:
        """See that the array of a tensor is used by us; or, with `how`, by whoever called us.

        TypeError in the latter case, unless the tensor is a constant.
        """
        raise NotImplementedError

    def rebound(self, t: Any, value: Any) -> None:
        """Give a leaf another array, that of the tensor `value`."""
        raise NotImplementedError

    def drawn(self, rng: Any, method: str, args: Sequence[Any], params: Mapping[str, Any]) -> Any:
        """Return a constant tensor of random numbers, drawn anew whenever the program runs."""
        raise NotImplementedError

    def checked(self, check: Callable[..., Any], args: Sequence[Any]) -> None:
        """Call a function that raises an error for wrong numbers, whenever the program runs."""
        raise NotImplementedError


class Context:
    """The state that an operation reads, the block that set it, and the state around that."""

    __slots__ = ("by", "observer", "outer", "recording", "replay", "scope")

    def __init__(
        self,
        by: _Within | None,
        outer: Any,
        recording: bool = True,
        scope: Scope | None = None,
        observer: Observer | None = None,
        replay: Any = None,
    ) -> None:
        self.by, self.outer, self.recording, self.scope = by, outer, recording, scope
        self.observer, self.replay = observer, replay

    @property
    def transform(self) -> bool:
        """Whether a transform runs the function that we are in."""
        context: Any = self
        while context.by and not isinstance(context.by, recording):
            context = context.outer
        return context.by is not None


_everywhere = Context(None, None)
_context: ContextVar[Context] = ContextVar("minigrad", default=_everywhere)
current = _context.get


def placed(who: str | Callable[..., Any]) -> str:
    """Return the name of a function or a class with the scope it runs in: "Linear in net/out"."""
    name, scope = who if isinstance(who, str) else who.__name__, current().scope
    return name if scope is None or str(scope) == name.lower() else f"{name} in {scope}"


def put_back(context: Context) -> None:
    """Make a context that was `current` so again, whatever was entered since and not left.

    An exception leaves what it was entered in, but Ctrl-C may come between any two instructions.
    """
    _context.set(context)


watching: list[None] = []
"""An entry for everyone who observes, in any thread: while it is empty, no operation looks for an
observer. Adding and removing are atomic, so there is no lock that a fork could leave closed."""


_SUSPENDS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


class _Within:
    """A block that changes the context and puts it back; as a decorator, of what is called.

    It keeps nothing itself, so one of them, such as a decorator, serves several threads.
    """

    def _changed(self, now: Context) -> Context:
        raise NotImplementedError

    def __enter__(self) -> None:
        _context.set(self._changed(_context.get()))

    def __exit__(self, *exc: object) -> None:
        now = _context.get()
        if now.by is self:
            _context.set(now.outer)
        else:
            self._left_late(now)

    def _left_late(self, now: Context) -> None:
        """Leave a block that is not the innermost one of this thread and context.

        What stands in it was interrupted and goes with it, except where a generator is closed:
        then these are blocks of others, who are still inside.
        """
        within = []
        while now.by is not self:
            if now.by is None:
                return  # entered in another thread or context, which this must not change
            within.append(now.by)
            now = now.outer
        now = now.outer
        frame = sys._getframe()
        while frame.f_globals is globals() and frame.f_back:
            frame = frame.f_back
        if frame.f_code.co_flags & _SUSPENDS:
            for block in reversed(within):
                now = block._changed(now)
        _context.set(now)

    def __call__(self, f: Decorated) -> Decorated:
        """Decorate a function, a coroutine or a generator, which is inside whenever it runs."""
        if inspect.isclass(f) or inspect.isasyncgenfunction(f) or not callable(f):
            raise TypeError(
                f"{type(self).__name__} decorates functions, generators and coroutines, not {f!r}; "
                "decorate its methods, or write a with block around what it computes"
            )
        inside: Any
        if inspect.iscoroutinefunction(f):

            async def inside(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return await f(*args, **kwargs)
        elif inspect.isgeneratorfunction(f):

            def inside(*args: Any, **kwargs: Any) -> Any:
                return (yield from _resumed(self, f(*args, **kwargs)))
        else:

            def inside(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return f(*args, **kwargs)

        return functools.wraps(f)(inside)  # type: ignore[return-value]


def _resumed(block: _Within, running: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Run a generator, inside the block whenever it is resumed, and outside in between."""
    resume: Callable[[Any], Any] = running.send
    given: Any = None
    while True:
        try:
            with block:
                out = resume(given)
        except StopIteration as stop:
            return stop.value
        try:
            resume, given = running.send, (yield out)
        except GeneratorExit:
            with block:
                running.close()
            raise
        except BaseException as error:
            resume, given = running.throw, error


class no_grad(_Within):
    """A block, or a decorator, that records nothing: `with mg.no_grad(): ...`.

    What leaves the graph as a number inside, as by `float(loss)`, is meant to: no warning is given.

    A block in a generator holds for whoever runs that, too, until the block is left; to decorate
    the generator function confines it.
    """

    def _changed(self, now: Context) -> Context:
        return Context(self, now, False, now.scope, now.observer, now.replay)


class enable_grad(_Within):
    """A block, or a decorator, that records again inside `no_grad`: `with mg.enable_grad(): ...`.

    Where everything is recorded anyhow it changes nothing: tensors made without a gradient are
    constants still.
    """

    def _changed(self, now: Context) -> Context:
        return Context(self, now, True, now.scope, now.observer, now.replay)


class recording(_Within):
    """A block that records, also inside `no_grad`: what a transform does around its function.

    What a checkpoint runs stands `at` the scope that it was called in, with its `Replay`.
    """

    def __init__(self, *at: Any) -> None:
        self._at = at

    def _changed(self, now: Context) -> Context:
        scope, replay = self._at or (now.scope, now.replay)
        return Context(self, now, True, scope, now.observer, replay)

    def __exit__(self, kind: object = None, *exc: object) -> None:
        now = _context.get()
        super().__exit__()
        if kind is None and not now.recording and now is not _context.get():
            raise RuntimeError(
                "a function to differentiate left a block of mg.no_grad() open, as a generator "
                "does that is suspended inside; decorate the generator function with @mg.no_grad()"
            )


class scope(_Within):
    """A block that names the operations recorded inside: `with mg.scope("step", t): ...`.

    Scopes nest. Pictures group by them, reports cite them ("lstm/step[7]"), and consecutive scopes
    of one label with the same operations inside are drawn once.
    """

    def __init__(self, label: str, index: int | None = None, owner: object = None) -> None:
        self._label, self._index, self._owner = label, index, owner

    def _changed(self, now: Context) -> Context:
        inner = Scope(now.scope, self._label, self._index, self._owner)
        return Context(self, now, now.recording, inner, now.observer, now.replay)


class mirrored(_Within):
    """The block of one pass that is recorded: `at` each node, it is in that one's scopes.

    They stand once more below a scope, "backward" or "jvp", so what belongs to a step, or to a
    module, can be told in every pass.
    """

    def __init__(self, label: str) -> None:
        self._label = label

    def __enter__(self) -> mirrored:  # type: ignore[override]
        super().__enter__()
        return self

    def _changed(self, now: Context) -> Context:
        self._now = now
        self._last = root = Scope(now.scope, self._label, None, None)
        self._scopes: dict[Scope | None, Scope] = dict.fromkeys([None], root)
        if now.scope is not None:
            self._scopes.update(dict.fromkeys(now.scope.frames, root))
        return self._within(root)

    def at(self, scope: Scope | None) -> None:
        """Go on in a scope."""
        if (mirrored := self._mirrored(scope)) is not self._last:
            self._last = mirrored
            _context.set(self._within(mirrored))

    def _within(self, scope: Scope) -> Context:
        now = self._now
        return Context(self, now, now.recording, scope, now.observer, now.replay)

    def _mirrored(self, scope: Scope | None) -> Scope:
        if (found := self._scopes.get(scope)) is None and scope is not None:
            above = self._mirrored(scope.parent)
            found = self._scopes[scope] = Scope(above, scope.label, scope.index, scope.owner)
        return found  # type: ignore[return-value]


class observed(_Within):
    """A block that shows an observer, and no other, what is computed inside; None: nobody."""

    def __init__(self, observer: Observer | None) -> None:
        self._observer = observer

    def _changed(self, now: Context) -> Context:
        if now.observer is not None:
            now.observer.replaced(self._observer)
        return Context(self, now, now.recording, now.scope, self._observer, now.replay)

    def __enter__(self) -> None:
        super().__enter__()
        watching.append(None)

    def __exit__(self, *exc: object) -> None:
        watching.pop()
        super().__exit__(*exc)


class unobserved(_Within):
    """A block whose computations no observer is shown: those inside a single operation."""

    def _changed(self, now: Context) -> Context:
        return Context(self, now, now.recording, now.scope, None, now.replay)


def tracing() -> Tracer | None:
    """Return who writes down what is computed here as a program, if anyone does.

    Where it matters for speed, ask first whether anybody is `watching`.
    """
    observer = current().observer if watching else None
    return observer if isinstance(observer, Tracer) else None


_changed: list[int] = [0]


def changed() -> None:
    """Note that an attribute of some module was set: what was found out of modules may be old."""
    _changed[0] += 1


def changes() -> int:
    """Return a number that is another one after `changed`."""
    return _changed[0]


def observe_everywhere(observer: Observer) -> None:
    """Show an observer what is computed in every thread, from now on, where no other is set."""
    _everywhere.observer = observer
    watching.append(None)


def replays() -> Iterator[Any]:
    """Walk through the runs of checkpointed functions that we are in, innermost first."""
    replay = current().replay
    while replay:
        yield replay
        replay = replay.outer
