"""Mistakes made in every call of a function: a layer, or a direction, that is written once."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise, product
from typing import Any

from .backward import Backward
from .spot import Mistake
from .words import Words

__all__ = ["in_every_call"]

Frame = tuple[str, int, tuple[Any, ...], str]
"""A function that was called on the way: name, number of its code, and the site and the text of the
call."""


def in_every_call(walk: Backward, words: Words, mistakes: Iterable[Mistake]) -> Iterator[Mistake]:
    """Put the mistakes that are alike, one in each call of a function, together.

    Of a function of one line the calls are a group of spots already.
    """
    frames = {k: dict(_frames(walk, words, k)) for k in range(len(walk.nodes))}
    if not any(frames.values()):
        return
    leaves = {walk.nodes[k].name for k in walk.leaves} - {None}
    alike: dict[Any, dict[Frame, list[Mistake]]] = defaultdict(lambda: defaultdict(list))
    for mistake in mistakes:
        ks = {k for k, _ in mistake.edits}
        if mistake.moves or mistake.gives or not ks:
            continue
        for frame in set.intersection(*[set(frames[k]) for k in ks]):
            places = frozenset([(frames[k][frame], j) for k, j in mistake.edits])
            key = frame[1], mistake.kind, mistake.cost, mistake.steps, places
            alike[key][frame].append(mistake)
    for (code, *_), found in alike.items():
        if len(found) < len(words.callers[code]):
            continue
        named = [_named(leaves, frame, some) for frame, some in found.items()]
        for text in named[0]:
            choices = [its.get(text, []) for its in named]
            if math.prod(map(len, choices)) <= 16:
                for together in product(*choices):
                    yield _joined(list(found), together)


def _frames(walk: Backward, words: Words, k: int) -> Iterator[tuple[Frame, Any]]:
    """List the calls that a node was made in, of functions with several, and its place in each."""
    place = walk.place(k)
    for inner, call in pairwise(place.chain) if place else ():
        if place and inner.lines > 1 and len(words.callers[inner.code]) > 1:
            yield (inner.function, inner.code, call.site, call.expression), place.within(call)


def _named(leaves: set[str], frame: Frame, mistakes: list[Mistake]) -> dict[str, list[Mistake]]:
    """Sort mistakes by what is said of them, but for the call and the leaves."""
    found = defaultdict(list)
    for mistake in mistakes:
        text = re.sub(rf"( in )?`(\w+ = )?{re.escape(frame[3])}`", "", mistake.says())
        text = re.sub(r"\w+", lambda word: "" if word[0] in leaves else word[0], text)
        found[text].append(mistake)
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
