"""Mistakes made in every call of a function: a layer, or a direction, that is written once."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from .backward import Backward
from .spot import Mistake

__all__ = ["everywhere"]

Frame = tuple[str, int, tuple[Any, ...], str]
"""A function that was called on the way: name, number of its code, and the site and the text of the
call."""


def everywhere(walk: Backward, mistakes: Iterable[Mistake]) -> Iterator[Mistake]:
    """Put the mistakes that are alike, one in each call of a function, together.

    Of a function of one line the calls are a group of spots already.
    """
    frames = {k: dict(_frames(walk, k)) for k in range(len(walk.nodes))}
    calls: dict[int, set[Any]] = defaultdict(set)
    for some in frames.values():
        for _, code, site, _ in some:
            calls[code].add(site)
    alike: dict[Any, dict[Frame, list[Mistake]]] = defaultdict(lambda: defaultdict(list))
    for mistake in mistakes:
        ks = {k for k, _ in mistake.edits}
        if mistake.moves or mistake.gives or not ks:
            continue
        for frame in set.intersection(*[set(frames[k]) for k in ks]):
            if len(calls[frame[1]]) > 1:
                places = frozenset([(frames[k][frame], j) for k, j in mistake.edits])
                key = frame[1], mistake.kind, mistake.cost, mistake.steps, places
                alike[key][frame].append(mistake)
    for (code, *_), found in alike.items():
        if len(found) < len(calls[code]):
            continue
        named = [_named(walk, frame, some) for frame, some in found.items()]
        for text in named[0]:
            choices = [its.get(text, []) for its in named]
            if math.prod(map(len, choices)) <= 16:
                for together in product(*choices):
                    yield _joined(list(found), together)


def _frames(walk: Backward, k: int) -> Iterator[tuple[Frame, Any]]:
    """List the calls that a node was made in, each with its place in there."""
    inner = place = walk.place(k)
    while place is not None and place.outer is not None:
        call = place.outer
        if place.lines > 1 and inner is not None:
            within = inner.site[: len(inner.site) - len(call.site)]
            yield (place.function, place.code, call.site, call.expression), within
        place = call


def _named(walk: Backward, frame: Frame, mistakes: list[Mistake]) -> dict[str, list[Mistake]]:
    """Sort mistakes by what is said of them, but for the call and the leaves."""
    leaves = {walk.nodes[k].name for k in walk.leaves} - {None}
    found = defaultdict(list)
    for mistake in mistakes:
        text = re.sub(rf"( in )?`(\w+ = )?{re.escape(frame[3])}`", "", mistake.says())
        found[re.sub(r"\w+", lambda word: "" if word[0] in leaves else word[0], text)].append(
            mistake
        )
    return found


def _joined(frames: list[Frame], mistakes: Sequence[Mistake]) -> Mistake:
    last = max(mistakes, key=lambda m: max(k for k, _ in m.edits))
    edits = {edge: edit for mistake in mistakes for edge, edit in mistake.edits.items()}

    def says() -> str:
        text = last.says()
        for _, _, _, call in frames:
            text = text.replace(f" in `{call}`", "")
        return f"in every call of `{frames[0][0]}`, {text}"

    return replace(last, edits=edits, says=says)
