"""Mistakes that are made at some time steps only: at the last, at all but the first, up to one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from .spot import Mistake, Spot

__all__ = ["spans"]


def spans(spot: Spot, mistake: Mistake) -> Iterator[Mistake]:
    """Make a mistake of all steps at some of them only."""
    n = len(spot.members)
    if n < 2:
        return
    yield _at(spot, mistake, "last", [n - 1])
    yield _at(spot, mistake, "first", [0])
    if n > 2:
        yield _at(spot, mistake, "but last", [*range(n - 1)])
        yield _at(spot, mistake, "but first", [*range(1, n)])
    if mistake.kind == "missing term" and n > 3:
        for t in range(1, n - 1):
            yield _at(spot, mistake, "one", [t])
            yield _at(spot, mistake, "up to", [*range(t + 1)])


def _at(spot: Spot, mistake: Mistake, mode: str, members: list[int]) -> Mistake:
    walk, words, j = spot.walk, spot.words, spot.j
    ks = [spot.members[r] for r in members]
    steps = tuple([walk.step(k) for k in ks])
    edits = {(k, j): mistake.edits[k, j] for k in ks}
    first, last = spot.members[0], spot.members[-1]
    start, end = walk.edges[first][j], walk.edges[last][j]
    when = {
        "last": "at the last step only, ",
        "first": "at the first step only, ",
        "but last": "at every step but the last, ",
        "but first": "at every step but the first, ",
        "one": f"at step {steps[0]} only, ",
        "up to": f"at the steps up to {steps[-1]}, ",
    }[mode]
    some = replace(
        mistake, edits=edits, steps=steps, cost=mistake.cost + 0.5, says=lambda: when + mistake.says()
    )
    state = spot.carried
    if mistake.kind != "missing term":
        if mode == "first" and start in walk.leaves and state and mistake.kind != "sign":
            return replace(some, kind="initial state")
        return some
    if spot.leaf and start == end and len(ks) == len(spot.members) - 1 and mode != "one":
        which = "last" if mode == "but last" else "first"
        return replace(
            some, kind="not accumulated", cost=0.9,
            says=lambda: f"the gradient of {words.value(end)} from {words.value(first)} is not "
            f"accumulated: only the {which} step counts (= where += belongs)",
        )  # fmt: skip
    if not state:
        return some
    if mode == "but first":
        return replace(
            some, cost=0.9,
            says=lambda: f"the gradient does not flow through {words.value(last)} to "
            f"{spot.what} of the step before: this term is missing",
        )  # fmt: skip
    if mode == "first" and start in walk.leaves:
        return replace(
            some, kind="initial state", cost=0.8,
            says=lambda: f"the gradient of the initial state {words.value(start)} lacks what "
            f"{words.value(first)} passes to it at the first step",
        )  # fmt: skip
    if mode == "but last":
        return some
    return replace(
        some, kind="truncated", cost=1.4,
        says=lambda: f"the gradient is cut at step {steps[-1]}: {words.value(first)} does not pass "
        "it on to the step before",
    )  # fmt: skip
