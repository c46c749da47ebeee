"""Compiled kernels, kept in memory and on disk, by their source.

The source of a kernel is written to a module in a folder, `MINIGRAD_CACHE` or the user's cache;
numba keeps the machine code beside it. The file's name says what it was made from: the source, the
types, the versions, and the processor. Files are written under another name and then renamed, so
that several processes can share a folder; a folder that cannot be written, or files that cannot be
read, cost a compilation and nothing else.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import pathlib
import sys
import tempfile
import threading
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from .blas import found

__all__ = ["compiled", "folder"]

Kinds = Sequence[tuple[np.dtype[Any], int]]

_kept: dict[str, Any] = {}
_lock = threading.RLock()


def folder() -> pathlib.Path:
    """Return where compiled kernels are kept: `MINIGRAD_CACHE`, or a folder of the user's cache."""
    stated = os.environ.get("MINIGRAD_CACHE")
    if stated:
        return pathlib.Path(stated)
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "minigrad"


def compiled(source: str, kinds: Kinds) -> Any:
    """Return the function `kernel` of a source, compiled for arrays of these kinds."""
    name = f"kernel_{_digest(source, kinds)}"
    with _lock:
        if name not in _kept:
            _kept[name] = _from_disk(name, source, kinds) or _compiled(_module(name, source), kinds)
        return _kept[name]


def _digest(source: str, kinds: Kinds) -> str:
    text = f"{source}\n{[(str(d), n) for d, n in kinds]}\n{_surroundings()}"
    return hashlib.sha256(text.encode()).hexdigest()[:24]


@functools.cache
def _surroundings() -> str:
    """Return what else machine code depends on: versions, the processor, and what kernels call."""
    import llvmlite.binding
    import numba

    here = pathlib.Path(__file__).parent
    called = [here / f"{name}.py" for name in ("approximations", "blas", "native", "support")]
    code = hashlib.sha256(b"".join([path.read_bytes() for path in called])).hexdigest()
    versions = sys.version, np.__version__, numba.__version__, llvmlite.__version__
    llvm = llvmlite.binding
    processor = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    products = found()
    return repr((versions, processor, products and products.bits, code))


def _signature(kinds: Kinds) -> Any:
    from numba import types
    from numba.np import numpy_support

    arrays = [types.Array(numpy_support.from_dtype(dtype), n, "C") for dtype, n in kinds]
    return types.void(types.int64[::1], types.uint8[::1], types.uint8[::1], *arrays)


def _compiled(module: Any, kinds: Kinds, cache: bool = False) -> Any:
    import numba

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numba's, of files it cannot write and of what is unused
        jit = numba.njit(_signature(kinds), error_model="numpy", cache=cache)
        return jit(module.kernel)


def _module(name: str, source: str, path: pathlib.Path | None = None) -> Any:
    """Return the module of a source: from its file, if it has one, so that numba can keep it."""
    if path is None:
        module = type(sys)(name)
        exec(compile(source, f"<{name}>", "exec"), vars(module))
        return module
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # numba imports it by name when it loads machine code
    spec.loader.exec_module(module)
    return module


def _from_disk(name: str, source: str, kinds: Kinds) -> Any:
    """Return the function that is kept on disk, or made now and kept; None if that fails."""
    try:
        path = folder() / f"{name}.py"
    except RuntimeError:  # a user without a home
        return None
    for _ in range(2):  # again without what numba left there, which may be damaged
        try:
            if not path.exists() or path.read_bytes() != source.encode():
                _write(path, source)
            return _compiled(_module(name, source, path), kinds, cache=True)
        except Exception:  # whatever it is, memory serves
            sys.modules.pop(name, None)
            with contextlib.suppress(OSError):
                for file in (path.parent / "__pycache__").glob(f"{name}.*"):
                    file.unlink()
    return None


def _write(path: pathlib.Path, source: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    with os.fdopen(handle, "w") as file:
        file.write(source)
    os.replace(name, path)
