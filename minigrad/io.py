"""Saving and loading the state of a module: an .npz file, named arrays and nothing executable."""

from __future__ import annotations

import os
from typing import Any, cast

import numpy as np

from .nn.module import Module

__all__ = ["load", "save"]


def save(module: Module, path: str | os.PathLike[str]) -> None:
    """Write every parameter and buffer to `path`, which appears whole or not at all."""
    partial, state = f"{os.fspath(path)}.part", cast(dict[str, Any], module.state_dict())
    try:
        with open(partial, "wb") as file:
            np.savez(file, **state)
        os.replace(partial, path)
    finally:
        if os.path.exists(partial):
            os.remove(partial)


def load(module: Module, path: str | os.PathLike[str]) -> None:
    """Read the file that `save` wrote; ValueError, with nothing changed, unless all of it fits."""
    with open(path, "rb") as file:
        try:
            archive = np.load(file, allow_pickle=False)
            state = {name: archive[name] for name in archive.files}
        except Exception as error:  # NumPy and zipfile raise a dozen kinds for a broken file
            name = os.fspath(path)
            raise ValueError(f"{name} is not a whole file that minigrad.io.save wrote") from error
    module.load_state_dict(state)
