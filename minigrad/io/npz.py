"""Named arrays in an .npz file: a zip file of NumPy's, with checksums and nothing executable.

`numpy.load` reads it too. What is read is checked by its headers before memory is taken for it.
"""

from __future__ import annotations

import math
import threading
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from io import BytesIO
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

from ..core.dtypes import Array
from ..guard.errors import shown
from ..nn.state import Described

__all__ = ["check_names", "described", "opened", "read", "reason", "write", "written_names"]

_HEADER = 10_000  # bytes; that of a state's array has about a hundred
_AT_ONCE = 2**24  # bytes


def written_names(names: Iterable[str]) -> dict[str, str]:
    """Return what each is called in a file."""
    return {name: name for name in names}


def check_names(names: Mapping[str, Array]) -> None:
    """ValueError for what a zip file would cut (at a null), turn (a backslash) or not take."""
    for name in names:
        member = f"{name}.npy"
        with suppress(UnicodeEncodeError):
            if zipfile.ZipInfo(member).filename == member and len(member.encode()) < 1 << 16:
                continue
        raise ValueError(
            f"io.save: a file cannot hold the name {shown(name)}; rename the attribute"
        )


def write(file: IO[bytes], arrays: Mapping[str, Array]) -> None:
    """Write arrays under their names."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                npy.write_array(member, array, allow_pickle=False)


def opened(file: IO[bytes]) -> zipfile.ZipFile:
    """Open a file for reading; ValueError that says what else it is."""
    if not zipfile.is_zipfile(file):
        file.seek(0)
        raise ValueError(_looks_like(file.read(4)))
    archive = zipfile.ZipFile(file)
    files = archive.infolist()
    names = [f.filename for f in files]
    if any(name.endswith("data.pkl") for name in names):
        raise ValueError(f"it holds {_PICKLE}")
    for name in names:
        if not name.endswith(".npy"):
            raise ValueError(f"it holds {shown(name)}, which is no array")
    if len({*names}) < len(names):
        raise ValueError("it holds two arrays of one name")
    for f in files:
        if f.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{shown(f.filename)} is compressed in another way than NumPy does")
    return archive


_PICKLE = (
    "a pickle, which can execute anything when it is read; in PyTorch, write "
    'safetensors.torch.save_file(net.state_dict(), "net.safetensors")'
)


def _looks_like(first: bytes) -> str:
    if not first:
        return "it is empty"
    if first[:1] == b"\x80":
        return f"it is {_PICKLE}"
    return "its end is missing" if first == b"PK\x03\x04" else "it is no zip file"


def described(archive: zipfile.ZipFile) -> dict[str, Described]:
    """Return the shape and the dtype of every array, from the headers alone."""
    names = [name.removesuffix(".npy") for name in archive.namelist()]
    return {name: _described(archive, name) for name in names}


_PARSING = threading.Lock()  # CPython's parser, which NumPy asks, is not safe in threads


class Header(NamedTuple):
    """What stands before the data of an array, in so many bytes."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    size: int


def _header(member: IO[bytes], name: str) -> Header:
    """Read the header of an array; ValueError for one that we do not read."""
    version = npy.read_magic(member)
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"{shown(name)} is of version {version} of NumPy's format")
    size = member.read(2 * version[0])
    length = int.from_bytes(size, "little")
    if length > _HEADER:
        raise ValueError(f"{shown(name)} has a header of {length} bytes")
    text = BytesIO(size + member.read(length))
    with _PARSING:
        shape, fortran, dtype = readers[version](text)
    if dtype.hasobject:
        raise ValueError(f"{shown(name)} holds Python objects, which are pickled, and not read")
    return Header(shape, fortran, dtype, npy.MAGIC_LEN + len(size) + length)


def _described(archive: zipfile.ZipFile, name: str) -> Described:
    """Return shape and dtype of an array; ValueError unless just its data follow."""
    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as member:
        header = _header(member, name)
    shape, dtype = header.shape, header.dtype
    if info.file_size != header.size + math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{shown(name)} has not as many bytes as its shape {shape} says")
    return shape, dtype


def read(archive: zipfile.ZipFile, name: str) -> Array:
    """Return an array, whose checksum is compared."""
    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as member:
        header = _header(member, name)
        data = memoryview(bytearray(info.file_size - header.size))
        for start in range(0, len(data), _AT_ONCE):
            part = data[start : start + _AT_ONCE]
            part[:] = member.read(len(part))
        member.read(1)  # at the end, the checksum is compared
    array = np.frombuffer(data, header.dtype)
    return array.reshape(header.shape, order="F" if header.fortran else "C")


def reason(error: BaseException) -> str:
    """Say in a line what was wrong with a file: zipfile and NumPy raise a dozen kinds."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]}..."
