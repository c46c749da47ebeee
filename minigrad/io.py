"""Saving and loading the state of a module: an .npz file, named arrays and nothing executable."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np

from .nn.module import Module

__all__ = ["load", "save"]


def save(module: Module, path: str | os.PathLike[str]) -> None:
    """Write every parameter and buffer to `path`, which appears whole or not at all."""
    target = Path(path)
    partial = target.with_name(target.name + ".part")
    try:
        with open(partial, "wb") as file:
            np.savez(file, allow_pickle=False, **module.state_dict())
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def load(module: Module, path: str | os.PathLike[str]) -> None:
    """Read the file that `save` wrote; ValueError, with nothing changed, unless all of it fits."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            state = {name: archive[name] for name in archive.files}
    except (zipfile.BadZipFile, EOFError, AttributeError, ValueError) as error:
        raise ValueError(f"{os.fspath(path)} is not a file that minigrad.io.save wrote") from error
    module.load_state_dict(state)
