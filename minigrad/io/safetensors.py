"""Named arrays in a safetensors file, which PyTorch and others read and write by the same names.

The `safetensors` package writes it, and checks headers: sizes, gaps and overlaps. The format has no
checksums; minigrad's files carry some in their metadata, which others overlook. What is in a list
has the name that it has in a ModuleList, as PyTorch has no other: layers.0.weight.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import IO, Any, NamedTuple

import numpy as np

from ..core.dtypes import Array
from ..guard.errors import shown
from ..nn.state import Described

__all__ = ["check_names", "described", "opened", "read", "written_names", "write"]

_HEADER = 10_000_000  # bytes; a model of a hundred thousand tensors has as many
_SUMS, _END = "minigrad.crc32", " of minigrad"  # where one is damaged, the other is not
_TYPES = {
    "F64": "f8", "F32": "f4", "F16": "f2", "BOOL": "?",
    "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1",
    "U64": "u8", "U32": "u4", "U16": "u2", "U8": "u1",
}  # fmt: skip
_NAMES = {np.dtype(code): name for name, code in _TYPES.items()}


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise ImportError(
            "files of safetensors need the safetensors package, which is not installed: "
            "pip install 'minigrad[interop]'; another suffix, as .npz, needs nothing"
        ) from None


def written_names(names: Iterable[str]) -> dict[str, str]:
    """Return what each is called in a file; ValueError if two would be called the same."""
    written = {name: re.sub(r"\[(\d+)\]", r".\1", name) for name in names}
    if len({*written.values()}) < len(written):
        raise ValueError(f"two of these are called the same in a file: {', '.join(written)}")
    return written


def check_names(arrays: Mapping[str, Array]) -> None:
    """ValueError for names and dtypes that the format has not."""
    _package("safetensors")
    written_names(arrays)
    for name, a in arrays.items():
        try:
            name.encode()
        except UnicodeEncodeError:
            name = "__metadata__"
        if name == "__metadata__":
            raise ValueError(
                f"io.save: a file cannot hold the name {shown(name)}; rename the attribute"
            )
        if a.dtype not in _NAMES:
            raise ValueError(f"io.save: {name} is of {a.dtype}, which safetensors has not")


def write(file: IO[bytes], arrays: Mapping[str, Array]) -> None:
    """Write arrays under their names."""
    names = written_names(arrays)
    flat = {names[name]: np.asarray(a, order="C") for name, a in arrays.items()}
    sums = {name: _sum(name, _NAMES[a.dtype], a.shape, a.data) for name, a in flat.items()}
    metadata = {"format": "pt", _SUMS: json.dumps(sums) + _END}  # the names are PyTorch's
    data = _package("safetensors.numpy").save(flat, metadata)
    if (length := int.from_bytes(data[:8], "little")) > _HEADER:
        raise ValueError(
            f"io.save: the names take {length} bytes, and at most {_HEADER} are read; write .npz"
        )
    file.write(data)


def _sum(name: str, kind: str, shape: Any, data: Any) -> int:
    return zlib.crc32(data, zlib.crc32(f"{name} {kind} {[*shape]}".encode()))


class _Opened(NamedTuple):
    file: IO[bytes]
    start: int
    tensors: dict[str, Any]
    sums: dict[str, int] | None


def opened(file: IO[bytes]) -> _Opened:
    """Read the header, once the package has checked it."""
    length = int.from_bytes(file.read(8), "little")
    if length > _HEADER:
        raise ValueError(f"it has a header of {length} bytes, or it is no safetensors file")
    with _package("safetensors").safe_open(file.name, framework="np"):
        pass
    tensors = json.loads(file.read(length), object_pairs_hook=_once)
    metadata = tensors.pop("__metadata__", {})
    return _Opened(file, 8 + length, tensors, _sums(metadata, tensors))


def _sums(metadata: dict[str, str], tensors: dict[str, Any]) -> dict[str, int] | None:
    """Return the checksums, or None of a file that has none."""
    for name, text in metadata.items():
        if name == _SUMS or text.endswith(_END):
            sums: dict[str, int] = json.loads(text.removesuffix(_END), object_pairs_hook=_once)
            if sums.keys() != tensors.keys():
                raise ValueError("its checksums are of other names")
            return sums
    return None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("its header has a name twice")
    return made


def described(archive: _Opened) -> dict[str, Described]:
    """Return the shape and the dtype of every array; bfloat16 is read as float32."""
    found = {}
    for name, tensor in archive.tensors.items():
        kind = tensor["dtype"]
        if kind not in _TYPES and kind != "BF16":
            raise ValueError(
                f"{shown(name)} is of {shown(kind)}, which NumPy has not; save it as float32"
            )
        found[name] = tuple(tensor["shape"]), np.dtype(_TYPES.get(kind, "f4"))
    return found


def read(archive: _Opened, name: str) -> Array:
    """Return an array, whose checksum is compared if the file has some."""
    tensor = archive.tensors[name]
    (first, last), kind, shape = tensor["data_offsets"], tensor["dtype"], tensor["shape"]
    archive.file.seek(archive.start + first)
    data = bytearray(archive.file.read(last - first))
    if archive.sums is not None and archive.sums[name] != _sum(name, kind, shape, data):
        raise ValueError(f"the checksum of {shown(name)} is another one")
    if kind == "BF16":  # the upper half of a float32
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("f4").reshape(shape)
    return np.frombuffer(data, np.dtype(_TYPES[kind]).newbyteorder("<")).reshape(shape)
