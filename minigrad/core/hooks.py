"""Hooks: functions of the user's, called where something happens until they are removed.

Those of tensors are called in reverse mode, each with the cotangent of its tensor, once it is
complete. A walk asks `among` for the tensors that have any, so that one without pays nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from ..guard.errors import shown

__all__ = ["Handle", "among", "changed", "of_tensor"]

_tensors: WeakValueDictionary[int, Any] = WeakValueDictionary()
"""The tensors that have hooks, by `id`: `==` of tensors is elementwise."""


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


def of_tensor(t: Any, hook: Any) -> Handle:
    """Add a hook to a tensor, which holds it."""
    if not hasattr(t, "_hooks"):
        t._hooks = []
    handle = Handle("register_hook", t._hooks, hook)
    _tensors[id(t)] = t
    return handle


def among(path: Sequence[Any], silent: Collection[Any]) -> set[Any]:
    """Return what has hooks on a path, and is not silent."""
    if not _tensors:
        return set()
    return {t for t in path if id(t) in _tensors and t not in silent}


def changed(t: Any, g: Any) -> Any:
    """Return the cotangent of a tensor, as its hooks change it: each sees what the last one gave.

    Arrays are shown read-only, for they may be those of other tensors, too.
    """
    on_tensors = hasattr(g, "primitive")
    for hook in list(getattr(t, "_hooks", ())):
        seen = g
        if not on_tensors:
            seen = np.asarray(g).view()
            seen.flags.writeable = False
        given = hook(seen)
        if given is not None:
            g = t.hooked(given)
            g = g.value if hasattr(g, "primitive") and not on_tensors else g
    return g
