"""Nested plain values, such as the state of an optimiser, as text and arrays, and back, exactly.

JSON holds None, booleans, strings, and the whole and finite numbers; everything else is a list that
begins with what it is: `["tuple", ...]`, `["dict", [key, value], ...]`, `["array", 3]`. What reads
them makes these kinds of values and no others.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..core.dtypes import Array
from ..guard.errors import shown

__all__ = ["Plain", "difference", "packed", "require_array", "unpacked"]

Plain: TypeAlias = (
    bool | int | float | str | np.generic | Array | Sequence["Plain"] | Mapping[Any, "Plain"] | None
)
"""Numbers, strings, None, arrays, and lists, tuples and dicts of these."""

_ARRAYS = "biufcSUmM"
_DEEPEST = 100  # Python must be able to read it, wherever that is done
_SCALARS = "biufcmM"  # NumPy takes the zeros at the end of a text for its end


def packed(who: str, *values: Any) -> tuple[str, list[Array]]:
    """Return the text and the arrays that `unpacked` makes the same values of.

    TypeError for what is none of the values that can be written, with its place.
    """
    arrays: list[Array] = []
    return json.dumps([_packed(who, value, "", arrays, 0) for value in values]), arrays


def _packed(who: str, value: Any, where: str, arrays: list[Array], depth: int) -> Any:
    if depth > _DEEPEST:
        raise ValueError(f"{who}: {where[:80]}... is nested too deeply, or contains itself")
    kind = type(value)
    if value is None or kind in (bool, str):
        return value
    if kind is int:
        return value if value.bit_length() <= 64 else ["int", hex(value)]
    if kind is float:
        return value if math.isfinite(value) else ["float", struct.pack(">d", value).hex()]
    if kind in (list, tuple):
        parts = [_packed(who, v, f"{where}[{k}]", arrays, depth + 1) for k, v in enumerate(value)]
        return [kind.__name__, *parts]
    if kind is dict:
        pairs = [
            [
                _packed(who, k, f"a key of {where}", arrays, depth + 1),
                _packed(who, v, _at(where, k), arrays, depth + 1),
            ]
            for k, v in value.items()
        ]
        return ["dict", *pairs]
    if kind is np.ndarray:
        require_array(value.dtype, f"{who}: {where}")
        arrays.append(value)
        return ["array", len(arrays) - 1]
    if isinstance(value, np.generic) and value.dtype.kind in _SCALARS:
        require_array(value.dtype, f"{who}: {where}")
        arrays.append(np.asarray(value))
        return ["scalar", len(arrays) - 1]
    raise TypeError(
        f"{who}: {where} is {shown(value)}, of {kind.__name__}; give numbers, strings, None, "
        "arrays (t.numpy() of a tensor), and lists, tuples and dicts of these"
    )


def _at(where: str, key: Any) -> str:
    return f"{where}[{key!r}]" if where else str(key)


def require_array(dtype: np.dtype[Any], where: str) -> None:
    """TypeError unless arrays of this dtype are read as they were, on every machine."""
    if dtype.kind not in _ARRAYS or dtype.char in "gG" or dtype.itemsize == 0:
        raise TypeError(
            f"{where} is an array of {dtype}; arrays of numbers and strings can be held"
        )


def unpacked(text: str, arrays: list[Array]) -> list[Any]:
    """Return the values; ValueError for what `packed` does not write."""
    used: list[int] = []
    forms = json.loads(text, parse_constant=_no_number)
    values = [_unpacked(form, arrays, used, 0) for form in forms]
    if sorted(used) != list(range(len(arrays))):
        raise ValueError("its arrays are not those that its text names")
    return values


def _no_number(name: str) -> Any:
    raise ValueError(f"its text holds {name}")


def _unpacked(form: Any, arrays: list[Array], used: list[int], depth: int) -> Any:
    if not isinstance(form, list | dict):
        return form
    if depth > _DEEPEST:
        raise ValueError("its text is nested too deeply")

    def inner(part: Any) -> Any:
        return _unpacked(part, arrays, used, depth + 1)

    match form:
        case ["list", *parts]:
            return [inner(part) for part in parts]
        case ["tuple", *parts]:
            return tuple([inner(part) for part in parts])
        case ["dict", *parts]:
            made = {inner(key): inner(part) for key, part in parts}
            if len(made) == len(parts):
                return made
        case ["int", str(digits)]:
            return int(digits, 16)
        case ["float", str(digits)]:
            return struct.unpack(">d", bytes.fromhex(digits))[0]
        case ["array" | "scalar" as kind, int(k)] if 0 <= k < len(arrays):
            used.append(k)
            if kind == "array":
                return arrays[k]
            if arrays[k].shape == () and arrays[k].dtype.kind in _SCALARS:
                return arrays[k][()]
    raise ValueError(f"its text holds {shown(form)}")


def difference(a: Any, b: Any, where: str) -> str:
    """Say where two plain values are not the same, in kind or in a bit; "" if they are."""
    if type(a) is not type(b):
        return f"{where} is {shown(a)}, not {shown(b)}"
    if isinstance(a, dict):
        if a.keys() != b.keys():
            return f"{where} has {shown(list(a))}, not {shown(list(b))}"
        pairs = ((a[key], b[key], _at(where, key)) for key in a)
    elif isinstance(a, list | tuple):
        if len(a) != len(b):
            return f"{where} has {len(a)} parts, not {len(b)}"
        pairs = ((x, y, f"{where}[{k}]") for k, (x, y) in enumerate(zip(a, b, strict=True)))
    elif isinstance(a, np.ndarray | np.generic):
        if a.dtype != b.dtype or a.shape != b.shape:
            return f"{where} is {a.dtype} of shape {a.shape}, not {b.dtype} of shape {b.shape}"
        return "" if a.tobytes() == b.tobytes() else f"{where} has other numbers"
    else:
        same = struct.pack(">d", a) == struct.pack(">d", b) if isinstance(a, float) else a == b
        return "" if same else f"{where} is {shown(a)}, not {shown(b)}"
    return next(filter(None, (difference(*pair) for pair in pairs)), "")
