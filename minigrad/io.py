"""Saving and loading the state of a module: an .npz file, named arrays and nothing executable.

`numpy.load` reads such a file too. Whoever opens it sees the old file or the new one, whole, and
what is read is checked by its headers before memory is taken for it.
"""

from __future__ import annotations

import math
import os
import re
import secrets
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from io import BytesIO
from typing import IO, ParamSpec, TypeAlias

from numpy.lib import format as npy

from .core.dtypes import Array
from .guard.errors import shown
from .nn.module import Module
from .nn.state import Described, misfits

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["load", "save"]

P = ParamSpec("P")
Path: TypeAlias = str | os.PathLike[str]
"""Where a file is."""

_PARTIAL = re.compile(r"\.minigrad-[0-9a-f]{16}\.partial")
_HEADER = 10_000  # bytes; that of a state's array has about a hundred


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
    for name in state:
        _check_name(name)
    target = os.path.realpath(os.fsdecode(path))
    with _replacing(target) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in state.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                npy.write_array(member, array, allow_pickle=False)


@_of_a_module
def load(module: Module, path: Path) -> None:
    """Read the file that `save` wrote; ValueError, with nothing changed, unless all of it fits."""
    where = os.fsdecode(path)
    with open(where, "rb") as file:
        try:
            archive = zipfile.ZipFile(file)
            described = {name: _described(archive, name) for name in _names(archive)}
        except Exception as error:  # zipfile and NumPy raise a dozen kinds for a broken file
            raise _broken(where) from error
        if found := misfits(module.state_dict(), described):
            raise ValueError(
                f"{where} does not fit this {type(module).__name__}: {'; '.join(found)}"
            )
        try:
            state = {name: _read(archive, name) for name in described}
        except Exception as error:
            raise _broken(where) from error
    module.load_state_dict(state)


def _check_name(name: str) -> None:
    """ValueError for what a zip file would cut (at a null), turn (a backslash) or not take."""
    member = f"{name}.npy"
    with suppress(UnicodeEncodeError):
        if zipfile.ZipInfo(member).filename == member and len(member.encode()) < 1 << 16:
            return
    raise ValueError(f"io.save: a file cannot hold the name {shown(name)}; rename the attribute")


def _broken(where: str) -> ValueError:
    return ValueError(f"{where} is not a whole file that minigrad.io.save wrote")


# ---- reading: what the headers say comes first ---------------------------------------------------


def _names(archive: zipfile.ZipFile) -> list[str]:
    files = archive.infolist()
    names = [f.filename for f in files]
    kinds = {f.compress_type for f in files} - {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
    if kinds or len({*names}) < len(names) or not all(name.endswith(".npy") for name in names):
        raise ValueError("something else than arrays, one of a name, stored or deflated")
    return [name.removesuffix(".npy") for name in names]


def _described(archive: zipfile.ZipFile, name: str) -> Described:
    """Read the header of an array; ValueError unless just its data follow."""
    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as member:
        version = npy.read_magic(member)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        size = member.read(2 * version[0])
        length = int.from_bytes(size, "little")
        if length > _HEADER:
            raise ValueError(f"{name} has a header of {length} bytes")
        shape, _, dtype = read(BytesIO(size + member.read(length)))
    start = npy.MAGIC_LEN + len(size) + length
    if info.file_size != start + math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name} has not as many bytes as its shape {shape} says")
    return shape, dtype


def _read(archive: zipfile.ZipFile, name: str) -> Array:
    with archive.open(f"{name}.npy") as member:
        array: Array = npy.read_array(member, allow_pickle=False)
        member.read(1)  # at the end, the checksum is compared
    return array


# ---- writing: a file beside the target takes its place -------------------------------------------


@contextmanager
def _replacing(target: str) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of `target` when all is written, and vanishes otherwise."""
    folder = os.path.dirname(target)
    before = _regular(target)
    _clean(folder)
    file = _opened(folder)
    try:
        with file:
            if before:
                _own_like(before, file.fileno())
            yield file
            file.flush()
            os.fsync(file.fileno())
            if fcntl:  # elsewhere an open file cannot be moved
                os.replace(file.name, target)
        if not fcntl:
            os.replace(file.name, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.remove(file.name)
        raise
    _sync(folder)


def _regular(target: str) -> os.stat_result | None:
    """Look at the file that will be replaced; ValueError for a device, which must not be."""
    try:
        before = os.stat(target)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(before.st_mode):
        raise ValueError(f"io.save: {target} is no regular file, and is not replaced")
    return before


def _opened(folder: str) -> IO[bytes]:
    """Open a new file in this folder, locked for as long as its writer lives."""
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"io.save: there is no folder {folder}")
    while True:
        path = os.path.join(folder, f".minigrad-{secrets.token_hex(8)}.partial")
        file = open(path, "xb")  # noqa: SIM115
        if not (_locked(file.fileno()) and os.fstat(file.fileno()).st_nlink == 0):
            return file
        file.close()  # before it was locked, another writer took it for one left behind


def _own_like(before: os.stat_result, descriptor: int) -> None:
    """Give the new file the owner and the mode of the old one, before anything stands in it."""
    if fcntl:
        with suppress(PermissionError):
            os.fchown(descriptor, before.st_uid, before.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(before.st_mode))


def _clean(folder: str) -> None:
    """Remove what killed writers left behind: files of ours on which nobody holds a lock."""
    with suppress(OSError):
        for entry in os.scandir(folder) if fcntl else ():
            if _PARTIAL.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with suppress(OSError), open(entry.path, "rb") as file:
                    if _locked(file.fileno(), fcntl.LOCK_NB):
                        os.remove(entry.path)


def _locked(descriptor: int, more: int = 0) -> bool:
    """Lock a file until it is closed; False if another holds it, or no file can be locked here."""
    if not fcntl:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | more)
    except OSError:
        return False
    return True


def _sync(folder: str) -> None:
    """Have the new name itself on the disk; what cannot be done here is not needed here."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
