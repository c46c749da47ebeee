"""Writing a file that appears whole: one beside the target takes its place when all is written.

Whoever opens the target sees the old file or the new one, whatever happens to the writer.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, TypeAlias

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["Path", "replacing"]

Path: TypeAlias = str | os.PathLike[str]
"""Where a file is."""

_PARTIAL = re.compile(r"\.minigrad-[0-9a-f]{16}\.partial")


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of `path` when all is written, and vanishes otherwise.

    Links are followed, and the mode of a file that was there stays. At the end the file and its
    name are on the disk.
    """
    target = os.path.realpath(os.fsdecode(path))
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
        raise ValueError(f"minigrad.io: {target} is no regular file, and is not replaced")
    return before


def _opened(folder: str) -> IO[bytes]:
    """Open a new file in this folder, locked for as long as its writer lives."""
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"minigrad.io: there is no folder {folder}")
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
