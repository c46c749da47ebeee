"""Saving and loading the state of a module, in the form that the name of the file says."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from ..guard.errors import shown
from ..nn.module import Module
from ..nn.state import misfits
from . import npz
from .replacing import Path, replacing

__all__ = ["load", "save"]

P = ParamSpec("P")


def _of_a_module(function: Callable[P, None]) -> Callable[P, None]:
    """Have the module checked first, before Python counts the arguments: `load(path)` lacks it."""

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> None:
        for module in args[:1] or [kwargs[k] for k in ("module",) if k in kwargs]:
            if not isinstance(module, Module):
                who = function.__name__
                raise TypeError(
                    f"io.{who}: the first argument must be a module, not {shown(module)}; "
                    f"write minigrad.io.{who}(net, path)"
                )
        function(*args, **kwargs)

    return checked


@_of_a_module
def save(module: Module, path: Path) -> None:
    """Write every parameter and buffer to `path`, which appears whole or not at all.

    Links are followed, and the mode of a file that was there stays. ValueError for a name that the
    file cannot hold.
    """
    state = module.state_dict()
    npz.check_names(state)
    with replacing(path) as file:
        npz.write(file, state)


@_of_a_module
def load(module: Module, path: Path) -> None:
    """Read the file that `save` wrote; ValueError, with nothing changed, unless all of it fits."""
    where = os.fsdecode(path)
    with open(where, "rb") as file:
        try:
            archive = npz.opened(file)
            described = npz.described(archive)
        except Exception as error:
            raise _broken(where, error) from error
        if found := misfits(module.state_dict(), described):
            raise ValueError(
                f"{where} does not fit this {type(module).__name__}: {'; '.join(found)}"
            )
        try:
            state = {name: npz.read(archive, name) for name in described}
        except Exception as error:
            raise _broken(where, error) from error
    module.load_state_dict(state)


def _broken(where: str, error: Exception) -> ValueError:
    return ValueError(
        f"{where} is not a whole file that minigrad.io.save wrote: {npz.reason(error)}"
    )
