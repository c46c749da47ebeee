"""Saving and loading the state of a module, in the form that the name of the file says."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

from ..guard.errors import shown
from ..nn.module import Module
from ..nn.state import misfits
from . import npz, safetensors
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

    A path that ends in .safetensors makes a file for PyTorch and others, with the same names and
    shapes (the extra `interop`); any other one of NumPy's .npz. Links are followed, and the mode of
    a file that was there stays. ValueError for a name that the file cannot hold.
    """
    form, state = _form(path), module.state_dict()
    form.check_names(state)
    with replacing(path) as file:
        form.write(file, state)


@_of_a_module
def load(module: Module, path: Path) -> None:
    """Read a file of weights; ValueError, with nothing changed, unless all of it fits.

    It may be one of `save`, or of PyTorch: `safetensors.torch.save_file(net.state_dict(), path)`.
    """
    form, where = _form(path), os.fsdecode(path)
    with open(where, "rb") as file:
        try:
            archive = form.opened(file)
            found = form.described(archive)
        except ImportError:
            raise
        except Exception as error:
            raise _broken(where, error) from error
        own = module._own_names()  # a tensor that is held twice has two
        called = {written: name for name, written in form.written_names(own).items()}
        names = {written: called.get(written, written) for written in found}
        wrong = [f"{name} is in it twice" for name, n in Counter(names.values()).items() if n > 1]
        described = {own.get(name, name): found[written] for written, name in names.items()}
        if wrong := wrong + misfits(module.state_dict(), described):
            raise ValueError(
                f"{where} does not fit this {type(module).__name__}: {'; '.join(wrong)}"
            )
        try:
            state = {name: form.read(archive, written) for written, name in names.items()}
        except Exception as error:
            raise _broken(where, error) from error
    try:
        module.load_state_dict(state)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _form(path: Path) -> Any:
    """Return the page that reads and writes such files."""
    return safetensors if os.fsdecode(path).endswith(".safetensors") else npz


def _broken(where: str, error: Exception) -> ValueError:
    kind = "safetensors file" if _form(where) is safetensors else "file that minigrad.io.save wrote"
    return ValueError(f"{where} is not a whole {kind}: {npz.reason(error)}")
