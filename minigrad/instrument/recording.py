"""Record what every expression of the user's functions gives, and from what it was computed.

Data flow is known by syntax (an expression is computed from its parts), by identity (a variable, an
attribute, an item, an argument is the object that was put there), and by memory: an array that was
written to is another value, and so are the views of it.
"""

from __future__ import annotations

import sys
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import CodeType, FrameType, MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ..guard.errors import users_file
from .expressions import Expressions, Site, Watcher, watching
from .rewrite import Instrumented, codes_run, original

__all__ = ["Edit", "Event", "Recorded", "Recording", "Sum", "Use", "numeric", "record"]

LIMIT = 60_000
"""How many values are recorded: each is copied."""

BYTES = 2_000_000_000

SHAPES = {"zeros_like", "ones_like", "empty_like", "full_like", "shape", "size", "ndim", "len"}
"""What reads no value of its argument."""

Edit = Callable[[int, Any], Any]
"""`edit(n, value)` gives another value of an expression, the n-th time it is evaluated."""


Sum = tuple[Site, int]


class Use(NamedTuple):
    """An expression that is a known object: a variable, an item, a call that returns it."""

    site: Site
    n: int
    at: int


class Event:
    """A value: of the n-th evaluation of an expression, or (`written`) what was left in an array.

    `deps` are the numbers of the events that it was computed from, `old` and `added` those of the
    two sides of `a += b`, `calls` the file and line of every call on the way, the innermost first.
    """

    __slots__ = (
        "added", "calls", "deps", "frame", "n", "number", "old", "site", "uses", "value", "written",
    )  # fmt: skip

    def __init__(
        self, number: int, site: Site, n: int, value: Any, deps: list[int], frame: int, calls: Any
    ) -> None:
        self.number, self.site, self.n, self.value, self.deps = number, site, n, value, deps
        self.frame, self.calls = frame, calls
        self.uses: list[Use] = []
        self.old: int | None = None
        self.added: int | None = None
        self.written = False

    def __repr__(self) -> str:
        return f"{self.number}: {self.site!r} ({self.n})"


class _Last(Watcher):
    """Watches the last function that `run` calls; those before it are forward passes.

    Expressions in `edits` give other values. Where the right side b of `a += b` is edited, `sums`
    has the site of its old value, and the sign, if the edit gives the new value of a.
    """

    def __init__(
        self,
        run: Callable[[], Any],
        edits: Mapping[Site, Edit] = MappingProxyType({}),
        sums: Mapping[Site, Sum] = MappingProxyType({}),
    ) -> None:
        self.run, self.edits, self.sums = run, edits, sums
        self.edited = {*edits, *[old for old, _ in sums.values()]}
        code = getattr(run, "__code__", None)
        self.outside = code and original(code)
        self.bottom = self.outer = sys._getframe()
        self.frames: dict[FrameType, list[tuple[str, int]] | None] = {}

    def watch(self, instrumented: Instrumented) -> Any:
        """Run, and return the result."""
        self.bottom = sys._getframe()
        token = watching.set(self)
        try:
            with instrumented:
                return self.run()
        finally:
            watching.reset(token)

    def entered(self, frame: FrameType) -> bool:
        """Whether a frame is of a function that `run` calls; restart if it is the next one."""
        if frame not in self.frames:
            self.frames[frame] = None
            if original(frame.f_code) is not self.outside:
                outer, calls, back = frame, list[tuple[str, int]](), frame.f_back
                while back is not None and back is not self.bottom:
                    code = back.f_code
                    if _users(code.co_filename) and original(code) is not self.outside:
                        calls.append((code.co_filename, back.f_lineno))
                        outer = back
                    back = back.f_back
                if outer is not self.outer:
                    self.outer = outer
                    self.restart()
                self.frames[frame] = calls
        return self.frames[frame] is not None

    def restart(self) -> None:
        """Forget what was seen."""
        self.turns: dict[Site, int] = defaultdict(int)
        self.olds: dict[Site, Any] = {}

    def value(self, site: Site, value: Any, frame: FrameType) -> Any:
        """Give another value of an expression that is edited."""
        if site not in self.edited or not self.entered(frame):
            return value
        if site not in self.edits:
            self.olds[site] = np.array(value)
            return value
        n = self.turns[site]
        self.turns[site] += 1
        if site not in self.sums:
            return self.edits[site](n, value)
        old, sign = self.sums[site]
        return sign * (self.edits[site](n, self.olds[old]) - self.olds[old])

    def wrote(self, site: Site, base: Any, target: Any, frame: FrameType) -> None:
        """Take note of an assignment."""


class Recording(_Last):
    """The values of a function and of all that it calls.

    `failure` says why they are not known, if so.
    """

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.failure = ""
        self.restart()

    def restart(self) -> None:
        """Forget what was recorded."""
        super().restart()
        self.events: list[Event] = []
        self.counts: dict[Site, int] = defaultdict(int)
        self.latest: dict[tuple[FrameType, Site], Any] = {}
        self.codes: dict[int, CodeType] = {}
        self.made: dict[int, int] = {}  # by its id, the event that gave an object
        self.current: dict[int, int] = {}  # by the id of its owner, the last event of a memory
        self.checks: dict[int, int] = {}
        self.kept: list[Any] = []  # so that no other object gets its id
        self.bytes = 0

    # ---- what the hooks say ----------------------------------------------------------------------

    def value(self, site: Site, value: Any, frame: FrameType) -> Any:
        """Record a value, and return it."""
        if not self.failure:
            try:
                value = super().value(site, value, frame)
                if self.entered(frame):
                    self._value(site, value, frame)
            except Exception as error:
                self.failure = str(error) or type(error).__name__
        return value

    def wrote(self, site: Site, base: Any, target: Any, frame: FrameType) -> None:
        """Record what an assignment has left."""
        if not self.failure:
            try:
                if self.entered(frame):
                    self._wrote(site, base, target, frame)
            except Exception as error:
                self.failure = str(error) or type(error).__name__

    def _value(self, site: Site, value: Any, frame: FrameType) -> None:
        n = self.counts[site]
        self.counts[site] += 1
        self.latest[frame, site] = value
        self.codes[id(frame.f_code)] = frame.f_code
        self.kept.append(value)
        if site.kind == "Call":
            self._changed(site, frame)
        if not numeric(value):
            return
        aliased = site.kind in ("Name", "old", "IfExp") and isinstance(value, np.ndarray)
        if id(value) in self.made or (aliased and id(_owner(value)) in self.current):
            event = self.lookup(value, site, frame)
            assert event is not None
            self.events[event].uses.append(Use(site, n, len(self.events)))
            return
        parts = [] if site.op in SHAPES else site.kids
        deps = [d for kid in parts for d in self._deps(self.latest.get((frame, kid)), site, frame)]
        self.events[self._event(site, n, value, deps, frame)].uses.append(
            Use(site, n, len(self.events))
        )

    def _event(self, site: Site, n: int, value: Any, deps: list[int], frame: FrameType) -> int:
        number = len(self.events)
        if number >= LIMIT:
            raise OverflowError(f"it computes more than {LIMIT:,} values")
        copied = np.array(value)
        self.bytes += copied.nbytes
        if self.bytes > BYTES:
            raise OverflowError(f"the values that it computes take more than {BYTES:,} bytes")
        calls = self.frames[frame] or []
        event = Event(number, site, n, copied, [*dict.fromkeys(deps)], id(frame), calls)
        self.events.append(event)
        self.kept.append(value)
        self.made[id(value)] = number
        if isinstance(value, np.ndarray) and _owner(value) is value:
            self.current[id(value)], self.checks[id(value)] = number, _sum(value)
        return number

    def lookup(self, value: Any, site: Site | None = None, frame: Any = None) -> int | None:
        """Return the number of the event whose result an object is, as it stands."""
        made = self.made.get(id(value)) if numeric(value) else None
        if not isinstance(value, np.ndarray):
            return made
        owner = _owner(value)
        current = self.current.get(id(owner))
        if current is None or (made is not None and current <= made):
            return made
        if owner is value or site is None:
            return current
        return self._event(site, self.counts[site] - 1, value, [current], frame)  # a view, changed

    def _deps(self, value: Any, site: Site, frame: FrameType, depth: int = 0) -> list[int]:
        if numeric(value):
            event = self.lookup(value, site, frame)
            return [] if event is None else [event]
        if depth < 3 and isinstance(value, dict):
            value = [*value.values()]
        if depth < 3 and isinstance(value, list | tuple) and len(value) < 300:
            return [d for x in value for d in self._deps(x, site, frame, depth + 1)]
        return []

    def _changed(self, site: Site, frame: FrameType) -> None:
        """Find the arguments that a call has changed in place."""
        given = [self.latest.get((frame, kid)) for kid in site.kids]
        for x in given:
            owner = _owner(x) if isinstance(x, np.ndarray) else None
            known = self.checks.get(id(owner))
            if owner is not None and known is not None and known != _sum(owner):
                others = [d for y in given if y is not x for d in self._deps(y, site, frame)]
                self._left(
                    site, self.counts[site] - 1, owner, self.current[id(owner)], others, frame
                )

    def _wrote(self, site: Site, base: Any, target: Any, frame: FrameType) -> None:
        n = self.counts[site]
        self.counts[site] += 1
        added = [*site.kids]
        before = added.pop(0) if added and added[0].kind == "old" else None
        others = [
            d for kid in added for d in self._deps(self.latest.get((frame, kid)), site, frame)
        ]
        owner = None
        if isinstance(base, np.ndarray):
            owner = _owner(base)
        elif before and isinstance(target, np.ndarray):
            owner = _owner(target)
        elsewhere = owner is None or id(owner) not in self.current
        if before and elsewhere and numeric(target) and id(target) not in self.made:
            olds = self._deps(self.latest.get((frame, before)), site, frame)
            event = self.events[self._event(site, n, target, [*olds, *others], frame)]
            event.old, event.added = next(iter(olds), None), next(iter(others), None)
            event.written = True
            return
        if owner is not None:
            old = self.current.get(id(owner))
            if old is None:
                old = self._event(site, n, owner, [], frame)
            self._left(site, n, owner, old, others, frame)

    def _left(
        self, site: Site, n: int, owner: Any, old: int, others: list[int], frame: FrameType
    ) -> None:
        event = self.events[self._event(site, n, owner, [old, *others], frame)]
        event.old, event.added, event.written = old, next(iter(others), None), True


class Recorded(NamedTuple):
    """What `run` returned and did on the way; `missing` are the codes without a source."""

    result: Any
    recording: Recording
    instrumented: Instrumented
    missing: list[CodeType]

    def again(self, edits: Mapping[Site, Edit], sums: Mapping[Site, Sum] | None = None) -> Any:
        """Run once more with other values of some expressions, and return the result."""
        watcher = _Last(self.recording.run, edits, sums or {})
        watcher.restart()
        return watcher.watch(self.instrumented)


def record(
    run: Callable[[], Any],
    edits: Mapping[Site, Edit] | None = None,
    sums: Mapping[Site, Sum] | None = None,
) -> Recorded:
    """Run with every expression recorded. Nothing that the user's code raises is caught."""
    _, codes = codes_run(run)
    recording = Recording(run, edits or {}, sums or {})
    every = Instrumented(Expressions, codes)
    result = recording.watch(every)
    inner = {id(original(code)) for code in recording.codes.values()}
    some = Instrumented(Expressions, [code for code in codes if id(code) in inner])
    return Recorded(result, recording, some, every.missing)


@lru_cache(maxsize=1000)
def _users(file: str) -> bool:
    return users_file(file)


def numeric(x: Any) -> bool:
    """Whether an object is a value that is recorded."""
    return isinstance(x, np.ndarray | np.floating) or type(x) is float


def _owner(a: Any) -> Any:
    while isinstance(a.base, np.ndarray):
        a = a.base
    return a


def _sum(a: Any) -> int:
    return 0 if a.dtype.hasobject else zlib.crc32(np.ascontiguousarray(a).view(np.uint8).data)
