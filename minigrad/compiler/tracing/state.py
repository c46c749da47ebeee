"""What recording a function leaves as it was: the attributes of modules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ...core import tree
from ...core.tensor import Tensor
from .outside import Outside

__all__ = ["outside_put_back", "unchanged"]


@contextmanager
def unchanged(modules: Iterable[Any], who: str) -> Iterator[None]:
    """A block after which modules have the attributes that they had.

    TypeError if the block changed any: a program would not.
    """
    modules = list(modules)
    before = [{k: _copied(v) for k, v in vars(m).items()} for m in modules]
    stood = [dict(vars(m)) for m in modules]
    try:
        yield
    finally:
        changes = [*_restored(modules, stood, before)]
    if changes:
        raise TypeError(
            f"mg.compile: {who} changes {', '.join(changes)} when it runs, which a program does "
            "not; return what is to be kept, or hold it in a buffer, self.count = mg.tensor(0), "
            "and write self.count.data = self.count.detach() + 1"
        )


_RESULTS = (Tensor, np.ndarray, np.generic, float, str)


@contextmanager
def outside_put_back(outside: Outside, who: str) -> Iterator[None]:
    """A block after which variables outside of a function are what they were.

    TypeError if the block put results there, which a program would not. Other changes are noted.
    """
    try:
        yield
    finally:
        changes = dict(outside.put_back())
    outside.written = [*changes]
    for name, value in changes.items():
        if any(isinstance(x, _RESULTS) for x in tree.flatten(value)[0]):
            raise TypeError(
                f"mg.compile: {who} puts results into {name}, outside of itself, which a program "
                "does not; return them, and do the rest outside of the compiled function"
            )


def _restored(modules: list[Any], stood: list[Any], before: list[Any]) -> Iterator[str]:
    for module, old, copies in zip(modules, stood, before, strict=True):
        now = vars(module)
        for name in [*old, *[k for k in now if k not in old]]:
            same = name in now and name in old and now[name] is old[name]
            if same and _alike(now[name], copies[name]):
                continue
            yield f"{type(module).__name__}.{name}"
            if name not in old:
                del now[name]
                continue
            now[name] = old[name]
            if isinstance(old[name], list):
                old[name][:] = copies[name]
            elif isinstance(old[name], dict):
                old[name].clear()
                old[name].update(copies[name])


def _copied(v: Any) -> Any:
    return type(v)(v) if type(v) in (list, dict) else v


def _alike(now: Any, then: Any) -> bool:
    if type(now) is list:
        return len(now) == len(then) and all(a is b for a, b in zip(now, then, strict=True))
    if type(now) is dict:
        return [*now] == [*then] and all(now[k] is then[k] for k in now)
    return True
