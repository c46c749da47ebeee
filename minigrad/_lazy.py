"""Rooms that are loaded when one of their names is first used, so that importing stays light."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import import_module
from threading import get_ident
from time import sleep
from typing import Any

from .guard.hints import of_name

__all__ = ["found"]

_loading: list[int] = []
"""The threads that load a room just now."""


def found(name: str, package: str, rooms: Mapping[str, str]) -> Any:
    """Return what a package calls `name`, from the room that states it; "" says it is a room.

    This is what the `__getattr__` of a package does. The package keeps what was found, so it is
    asked once for each name. AttributeError for a name that no room states, which says
    what to write instead of names that other libraries have.
    """
    if name not in rooms:
        raise AttributeError(
            f"module {package!r} has no attribute {name!r}{of_name(package, name)}"
        )
    _loading.append(get_ident())
    try:
        room = import_module(f".{rooms[name] or name}", package)
    finally:
        _loading.remove(get_ident())
    what = getattr(room, name) if rooms[name] else room
    vars(sys.modules[package])[name] = what
    return what


def _others_have_loaded() -> None:
    """Wait, but not for ever: in a forked process nobody opens the locks of other threads."""
    for _ in range(5000):
        if all(thread == get_ident() for thread in _loading[:]):
            return
        sleep(1e-3)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_others_have_loaded)
