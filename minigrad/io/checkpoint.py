"""A checkpoint of a training: one file from which it goes on, bit for bit, as if never stopped.

It is an .npz file, of which `text` holds all but the arrays (see `plain`): the format, the classes
of the parts, the states of generators, and the states and values of the parts.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Mapping
from typing import IO, Any, Protocol, TypeAlias

import numpy as np

from ..core.random import generator
from ..guard.errors import shown
from ..nn.module import Module
from . import npz
from .plain import Plain, difference, packed, require_array, unpacked
from .replacing import Path, replacing

__all__ = ["load_checkpoint", "read_checkpoint", "save_checkpoint"]


class HasState(Protocol):
    """What gives its state, and goes on from one."""

    def state_dict(self) -> Any: ...
    def load_state_dict(self, state: Any, /) -> Any: ...


Part: TypeAlias = HasState | np.random.Generator | Plain
"""A part of a training."""

_FORMAT = "minigrad.checkpoint 1"
_TEXT = "text"  # the array that holds the text; the others are numbered


def save_checkpoint(path: Path, /, **parts: Part) -> None:
    """Write the state of all parts of a training to one file, in the place of the one before.

    A part is what has `state_dict` and `load_state_dict` (a module, an optimiser, a schedule), a
    `numpy.random.Generator`, or a plain value: numbers, strings, None, NumPy arrays, and lists,
    tuples and dicts of these. The generator of `minigrad.manual_seed` is always in the file, and
    so are those that modules hold, as `Dropout(rng=0)` does. What else changes while you train,
    such as an attribute of a module that is no tensor, must be a part too.

    Whenever it is killed, the file is the one before or the new one, whole and on the disk.
    TypeError, with nothing written, for what is none of these.

    >>> import os, tempfile, minigrad as mg
    >>> net = mg.nn.Linear(2, 1)
    >>> optimizer = mg.optim.Adam(net.parameters())
    >>> path = os.path.join(tempfile.mkdtemp(), "run.checkpoint")
    >>> save_checkpoint(path, net=net, optimizer=optimizer, epoch=3)
    >>> load_checkpoint(path, net=net, optimizer=optimizer)
    {'epoch': 3}
    """
    objects = _objects("save_checkpoint", parts)
    classes = {name: type(part).__name__ for name, part in objects.items()}
    random = {name: _state(rng) for name, rng in _generators(objects).items()}
    saved: dict[str, Any] = {**parts} | {name: _state(part) for name, part in objects.items()}
    text, arrays = packed("save_checkpoint", _FORMAT, classes, random, saved)
    named = {_TEXT: np.frombuffer(text.encode(), np.uint8)}
    with replacing(path) as file:
        npz.write(file, named | {str(k): array for k, array in enumerate(arrays)})


def load_checkpoint(path: Path, /, **parts: Part) -> dict[str, Any]:
    """Bring the parts to the state that was saved, and return the plain values by name.

    Give every object that was saved, under its name, and made in the same way. A plain value may
    be given, to say that it must be in the file. Either all is loaded or, with a ValueError that
    lists what is missing, unexpected, of another class, shape or dtype, nothing is changed. So it
    is with a file that is cut off, damaged, or something else.
    """
    where = os.fsdecode(path)
    objects = _objects("load_checkpoint", parts)
    classes, random, saved = _read(where)
    generators = _generators(objects)
    given = {k: type(part).__name__ if k in objects else None for k, part in parts.items()}
    found = [*_misfits(given, {name: classes.get(name) for name in saved})]
    found += [f"missing the generator {name}" for name in generators if name not in random]
    found += [f"unexpected generator {name}" for name in random if name not in generators]
    if not found:
        found = _put_all(generators | objects, random | {name: saved[name] for name in objects})
    if found:
        raise ValueError(f"{where} does not fit, and nothing was changed: {'; '.join(found)}")
    return {name: value for name, value in saved.items() if name not in classes}


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the states and plain values that a checkpoint holds, by name.

    For the weights alone, write `net.load_state_dict(read_checkpoint(path)["net"])`. ValueError
    for a file that is cut off, damaged, or something else.
    """
    saved: dict[str, Any] = _read(os.fsdecode(path))[2]
    return saved


# ---- parts ---------------------------------------------------------------------------------------


def _objects(who: str, parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts that have a state, and are no values; TypeError for half of it."""
    found = {}
    for name, part in parts.items():
        if not name.isidentifier():
            raise TypeError(
                f"{who}: the name of a part is a word, as in optimizer=..., not {name!r}"
            )
        has = [hasattr(part, method) for method in ("state_dict", "load_state_dict")]
        if isinstance(part, type) or (any(has) and not all(has)):
            raise TypeError(
                f"{who}: {name} is {shown(part)}; a part must have both state_dict() and "
                "load_state_dict(state), or be a plain value"
            )
        if all(has) or isinstance(part, np.random.Generator):
            found[name] = part
    return found


def _generators(parts: Mapping[str, Any]) -> dict[str, np.random.Generator]:
    """Return the generator of `manual_seed`, and those that modules hold."""
    found = {"minigrad.manual_seed": generator()}
    for name, part in parts.items():
        for path, module in part.named_modules() if isinstance(part, Module) else ():
            found |= _held(vars(module), f"{name}.{path}" if path else name)
    return found


def _held(value: Any, name: str) -> dict[str, np.random.Generator]:
    """Return the generators in lists, tuples and dicts."""
    if isinstance(value, np.random.Generator):
        return {name: value}
    found: dict[str, np.random.Generator] = {}
    for key, part in value.items() if isinstance(value, dict) else ():
        found |= _held(part, f"{name}.{key}")
    for k, part in enumerate(value) if isinstance(value, list | tuple) else ():
        found |= _held(part, f"{name}[{k}]")
    return found


def _state(part: Any) -> Any:
    return part.bit_generator.state if isinstance(part, np.random.Generator) else part.state_dict()


def _misfits(given: Mapping[str, str | None], saved: Mapping[str, str | None]) -> Iterator[str]:
    """List the names that are missing or unexpected, and what is of another class."""
    for name, kind in given.items():
        if name not in saved:
            yield f"missing {name}"
        elif kind != saved[name]:
            yield f"{name} is {saved[name] or 'a value'}, and {kind or 'a value'} was given"
    for name, kind in saved.items():
        if kind and name not in given:
            yield (
                f"it also has {name}, the state of {kind}, which was not given; to leave it out, "
                "take what you need from minigrad.io.read_checkpoint(path)"
            )


def _put_all(parts: Mapping[str, Any], states: Mapping[str, Any]) -> list[str]:
    """Bring all parts to their states; where that fails, put all back, and list what does not fit.

    What a part says of itself afterwards must be what was saved: a dtype that is another one, or
    an option that was left alone, would make another training of it.
    """
    before = {name: _state(part) for name, part in parts.items()}
    found, changed = [], []
    try:
        for name, part in parts.items():
            changed.append(name)
            try:
                _put(part, states[name])
            except Exception as error:
                found.append(f"{name}: {npz.reason(error)}")
        for name, part in parts.items() if not found else ():
            if what := difference(_state(part), states[name], name):
                found.append(f"once loaded, {what} as in the file")
    except BaseException:
        found.append("interrupted")
        raise
    finally:
        lost = []
        for name in changed if found else ():
            try:
                _put(parts[name], before[name])
            except Exception as error:
                lost.append(f"{name}: {npz.reason(error)}")
        if lost:
            raise RuntimeError(
                f"load_checkpoint: {'; '.join(found)}; and what was there before could not be put "
                f"back: {'; '.join(lost)}"
            )
    return found


def _put(part: Any, state: Any) -> None:
    if not isinstance(part, np.random.Generator):
        part.load_state_dict(state)
        return
    own = part.bit_generator.state["bit_generator"]
    if not isinstance(state, dict) or state.get("bit_generator") != own:
        raise ValueError(f"the state is not one of {own}")
    part.bit_generator.state = state


# ---- the file ------------------------------------------------------------------------------------


def _read(where: str) -> Any:
    """Return the classes of parts, the states of generators, and the states and values of parts."""
    with open(where, "rb") as file:
        try:
            form, classes, random, saved = _contents(file)
            if form != _FORMAT:
                raise ValueError(f"its format is {shown(form)}, not {_FORMAT!r}")
            if not all(isinstance(part, dict) for part in (classes, random, saved)):
                raise ValueError("its parts have no names")
            if not saved.keys() >= classes.keys():
                raise ValueError("it lacks states")
            _require_places([random, saved])
        except Exception as error:
            raise ValueError(
                f"{where} is not a whole file that minigrad.io.save_checkpoint wrote: "
                f"{npz.reason(error)}"
            ) from error
    return classes, random, saved


def _require_places(value: Any) -> None:
    """ValueError for generators that would read beyond their numbers: NumPy trusts the place."""
    if isinstance(value, dict) and "bit_generator" in value:
        inner = value.get("state")
        for name, most in ("pos", 624), ("buffer_pos", 4):
            for held in (value, inner if isinstance(inner, dict) else {}):
                place = held.get(name, 0)
                if type(place) is not int or not 0 <= place <= most:
                    raise ValueError(f"{name} of a generator is {shown(place)}")
    parts = value.values() if isinstance(value, dict) else value
    for part in parts if isinstance(value, dict | list | tuple) else ():
        _require_places(part)


def _contents(file: IO[bytes]) -> Any:
    archive = npz.opened(file)
    members = archive.infolist()
    if _TEXT + ".npy" not in archive.namelist():
        raise ValueError(
            f"it holds the arrays {shown(archive.namelist())}; minigrad.io.load reads weights"
        )
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise ValueError("it is compressed, and save_checkpoint compresses nothing")
    if sum(member.file_size for member in members) > os.fstat(file.fileno()).st_size:
        raise ValueError("its arrays are larger than the file")
    described = npz.described(archive)
    for name, (_, dtype) in described.items():
        require_array(dtype, name)
    arrays = {name: npz.read(archive, name) for name in described}
    text = arrays.pop(_TEXT).tobytes().decode()
    return unpacked(text, [arrays[str(k)] for k in range(len(arrays))])
