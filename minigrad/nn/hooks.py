"""Hooks of modules: functions that see, and may change, what goes in and what comes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["Hooks", "WithKeywords"]


class WithKeywords(NamedTuple):
    """A hook that is also given the arguments by keyword."""

    hook: Callable[..., Any]

    def __call__(self, *given: Any) -> Any:
        return self.hook(*given)


class Hooks:
    """The hooks of one module, each list in the order in which they were registered."""

    def __init__(self) -> None:
        self.before: list[Callable[..., Any]] = []
        self.after: list[Callable[..., Any]] = []

    def call(
        self, module: Any, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: Any
    ) -> Any:
        """Return what `forward` gives of the arguments, as the hooks change both."""
        for hook in list(self.before):
            if (changed := hook(module, args)) is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        out = forward(*args, **kwargs)
        for hook in list(self.after):
            more = (kwargs,) if isinstance(hook, WithKeywords) else ()
            if (changed := hook(module, args, *more, out)) is not None:
                out = changed
        return out
