"""What a checkpointed function needs to repeat itself: random numbers drawn, leaves that it met."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

from ..core.context import current, replays

__all__ = ["Replay", "repeating", "source"]


class Replay:
    """One run of a checkpointed function, with what it takes to repeat it.

    The `first` run notes how the generators stood that it drew from; a repetition draws from copies
    that stand there, and the leaves that were `captured` are variables again, whose run is over.
    """

    def __init__(self, first: Replay | None = None, captured: Collection[Any] = ()) -> None:
        self.outer, self.repeats, self.captured = current().replay, first is not None, captured
        stood = first.stood if first else {}
        self.stood: dict[Any, Any] = {rng: copy.deepcopy(then) for rng, then in stood.items()}

    def source(self, rng: Any) -> Any:
        """Return what to draw from in the place of `rng`."""
        if self.repeats:
            return self.stood.get(rng, rng)
        drawn = self.outer.source(rng) if self.outer else rng
        if rng not in self.stood:
            self.stood[rng] = copy.deepcopy(drawn)
        return drawn


def source(rng: Any) -> Any:
    """Return what to draw from in the place of `rng`, so that a checkpoint repeats itself."""
    replay = current().replay
    return replay.source(rng) if replay else rng


def repeating() -> bool:
    """Whether this is run once more for its derivative: then it must not be counted again."""
    return any(replay.repeats for replay in replays())
