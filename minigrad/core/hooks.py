"""Hooks: functions of the user's, called where something happens until they are removed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..guard.errors import shown

__all__ = ["Handle"]


class Handle:
    """A hook among others, which `remove()` takes away; so does leaving a `with` block of it."""

    def __init__(self, who: str, hooks: list[Callable[..., Any]], hook: Any) -> None:
        if not callable(hook):
            raise TypeError(f"{who}: a hook must be a function, not {shown(hook)}")
        self._hooks, self._hook = hooks, hook
        hooks.append(hook)

    def remove(self) -> None:
        """Take the hook away; once is enough."""
        for k, hook in enumerate(self._hooks):
            if hook is self._hook:
                del self._hooks[k]
                return

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()
