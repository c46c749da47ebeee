"""Rooms that are loaded when one of their names is first used, so that importing stays light."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

__all__ = ["found"]


def found(name: str, package: str, rooms: Mapping[str, str]) -> Any:
    """Return what a package calls `name`, from the room that states it; "" says it is a room.

    This is what the `__getattr__` of a package does. The package keeps what was found, so it is
    asked once for each name. AttributeError for a name that no room states.
    """
    if name not in rooms:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    room = import_module(f".{rooms[name] or name}", package)
    what = getattr(room, name) if rooms[name] else room
    vars(sys.modules[package])[name] = what
    return what
