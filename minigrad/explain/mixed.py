"""Names that are mixed up: another variable of the function in the place of one that is read.

This finds data, labels, lists and tuples, too, that the tape knows nothing of.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..instrument.expressions import Site, Statement
from ..instrument.recording import Edit
from .blame import Labels
from .sizes import MIXED_UP, Number, Numbers

__all__ = ["mixed_up"]

Seen = list[tuple[int, Any]]
"""When a name was read, and what it was."""


def mixed_up(numbers: Numbers) -> Iterator[Number]:
    """List variables in the places of others that are alike."""
    labels, statements = numbers.labels, numbers.statements()
    functions = {(s.file, s.function) for s in statements}
    sites = [
        s for s in labels.recorded.recording.counts
        if s.kind == "Name" and (s.statement.file, s.statement.function) in functions
    ]  # fmt: skip
    seen = _seen(labels, sites)
    variables: dict[tuple[str, str], dict[str, Seen]] = defaultdict(lambda: defaultdict(list))
    for site in sites:
        variables[site.statement.file, site.statement.function][site.text] += seen[site]
    read: dict[tuple[Statement, str], list[Site]] = defaultdict(list)
    for site in sites:
        if site.statement in statements and seen[site]:
            read[site.statement, site.text].append(site)
    for (statement, name), alike in read.items():
        for other, values in variables[statement.file, statement.function].items():
            values.sort(key=lambda pair: pair[0])
            theirs = {site: [_latest(values, at) for at, _ in seen[site]] for site in alike}
            if other != name and all(
                _alike(a, b) for site in alike
                for (_, a), b in zip(seen[site], theirs[site], strict=True)
            ):  # fmt: skip
                place = numbers.place((*alike,))
                yield Number(place, _given(theirs[alike[0]]), MIXED_UP, f"`{other}`")


def _seen(labels: Labels, sites: list[Site]) -> dict[Site, Seen]:
    """Return what names are, each time that they are read."""
    seen: dict[Site, Seen] = {site: [] for site in sites}
    clock = [0]

    def noted(site: Site) -> Edit:
        def edit(_: int, x: Any) -> Any:
            clock[0] += 1
            seen[site].append((clock[0], x.copy() if isinstance(x, np.ndarray) else x))
            return x

        return edit

    labels.recorded.again({site: noted(site) for site in sites})
    return seen


def _latest(values: Seen, at: int) -> Any:
    n = bisect.bisect_right([when for when, _ in values], at)
    return values[max(n - 1, 0)][1] if values else None


def _given(values: list[Any]) -> Edit:
    def edit(n: int, x: Any) -> Any:
        y = values[n] if n < len(values) else x
        return y if isinstance(y, np.ndarray) else type(x)(y)

    return edit


def _alike(a: Any, b: Any) -> bool:
    """Whether two are arrays of one shape, or lists or tuples of as many arrays."""
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.shape == b.shape and a.dtype == b.dtype
    if type(a) not in (list, tuple) or type(b) not in (list, tuple):
        return False
    return len(a) == len(b) and all(isinstance(x, np.ndarray) for x in (*a, *b))
