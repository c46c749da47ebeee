"""Mistakes that are made at some time steps only, or that break the loop over time itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .backward import Backward, Edge, Edit, times
from .pool import constantly
from .spot import Mistake, Spot
from .words import Words

__all__ = ["accumulated", "carried_on", "exchanged_steps", "kept", "shortened", "spans"]


def spans(spot: Spot, mistake: Mistake) -> Iterator[Mistake]:
    """Make a mistake of all steps at some of them only."""
    steps = sorted({spot.step(e) for e in spot.edges})
    n = len(steps)
    if n < 2:
        return
    yield _at(spot, mistake, "last", steps[-1:])
    yield _at(spot, mistake, "first", steps[:1])
    if n > 2:
        yield _at(spot, mistake, "but last", steps[:-1])
        yield _at(spot, mistake, "but first", steps[1:])
    if mistake.kind == "missing term" and spot.carried and n > 3:
        for t in steps[1:-1]:
            yield _at(spot, mistake, "one", [t])
            yield _at(spot, mistake, "up to", [s for s in steps if s <= t])
            yield _at(spot, mistake, "from", [s for s in steps if s >= t])
        for every in range(2, n // 2 + 2):
            for first in range(every):
                yield _at(spot, mistake, "every", steps[first::every])


def _at(spot: Spot, mistake: Mistake, mode: str, steps: list[int]) -> Mistake:
    words, walk = spot.words, spot.walk
    edges = [e for e in spot.edges if spot.step(e) in steps]
    k, j = min(spot.edges, key=spot.step)
    start, end = walk.edges[k][j], spot.source
    when = {
        "last": "at the last step only, ",
        "first": "at the first step only, ",
        "but last": "at every step but the last, ",
        "but first": "at every step but the first, ",
        "one": f"at step {steps[0]} only, ",
        "up to": f"at the steps up to {steps[-1]}, ",
        "from": f"at the steps from {steps[0]} on, ",
        "every": f"at the steps {', '.join(map(str, steps))}, ",
    }[mode]
    some = replace(
        mistake, edits={e: mistake.edits[e] for e in edges}, steps=tuple(steps),
        cost=mistake.cost + 0.4, says=lambda: when + mistake.says(),
    )  # fmt: skip
    state, initial = spot.carried, walk.initial(start)
    if mistake.kind != "missing term":
        if mode == "first" and initial and state and mistake.kind != "sign":
            return replace(some, kind="initial state")
        return some
    fixed = start == end or spot.kind in ("siblings", "calls")
    if spot.leaf and fixed and not state and mode in ("but last", "but first"):
        which = "last" if mode == "but last" else "first"
        return replace(
            some, kind="not accumulated", cost=0.85,
            says=lambda: f"the gradient of {words.value(end)} from {spot.here} is not accumulated: "
            f"only the {which} step counts (= where += belongs)",
        )  # fmt: skip
    if not state:
        return some
    if mode == "but first":
        return replace(
            some, cost=0.85, steps=None,
            says=lambda: f"the gradient does not flow from {spot.here} back to {spot.what} of the "
            "step before: this term is missing",
        )  # fmt: skip
    if mode == "first" and initial:
        return replace(
            some, kind="initial state", cost=0.75,
            says=lambda: f"the gradient of the initial state {words.value(start)} lacks what "
            f"{spot.here} passes to it at the first step",
        )  # fmt: skip
    if mode == "but last":
        return some
    return replace(
        some, kind="truncated", cost=1.2 if mode in ("one", "every") else 1.3,
        says=lambda: f"the gradient is cut at step {', '.join(map(str, steps))}: {spot.here} does "
        "not pass it on to the step before",
    )  # fmt: skip


def carried_on(spot: Spot, mistakes: Iterator[Mistake]) -> Iterator[Mistake]:
    """Make mistakes in what the loop passes on, but not in the gradient of the initial state."""
    if spot.carried:
        steps = sorted({spot.step(e) for e in spot.edges})[1:]
        for mistake in mistakes if steps else ():
            edits = {e: edit for e, edit in mistake.edits.items() if spot.step(e) in steps}
            yield replace(mistake, edits=edits, cost=mistake.cost + 0.1)


def accumulated(spot: Spot) -> Iterator[Mistake]:
    """The carry is added to what it was a step later, where it should take its place.

    So it is either with the carry alone, `dh_next += ...`, or with all that flows into the state.
    """
    if not spot.carried or spot.several:
        return
    walk, sums = spot.walk, dict[int, Any]()
    last = max(map(spot.step, spot.edges))
    newest = max(e for e in spot.edges if spot.step(e) == last)
    states = walk.site_of[spot.source].members if spot.source in walk.site_of else []
    first = {spot.step(e): e for e in sorted(spot.edges, reverse=True)}

    def carry(e: Edge, g: Any, c: Any, now: Any) -> Any:
        t = spot.step(e)
        if e == newest:
            sums.clear()
        if t not in sums:
            c = c + sums.get(t + 1, 0)
        sums[t] = sums.get(t, 0) + c
        return c

    def whole(e: Edge, g: Any, c: Any, now: Any) -> Any:
        after = next((m for m in states if m >= e[0]), None)
        return c if after is None or e != first[spot.step(e)] else c + now(after)

    into = {e for k, j in spot.edges for e in walk.into(walk.edges[k][j]) if walk.carries(*e)}
    for edit in (carry, whole) if spot.kind != "total" and into <= {*spot.edges} else (carry,):
        yield spot.mistake(
            "counted twice", 1.1, edit,
            "what {here} passes to {what}{before} is added to what the steps after have passed, so "
            "that these are counted twice (+= where = belongs)",
            before=constantly(" of the step before" * (spot.kind != "carry")),
        )  # fmt: skip


def exchanged_steps(spot: Spot) -> Iterator[Mistake]:
    """What is passed on at one step is put where that of another belongs: `d[t - 1]` for `d[t]`."""
    sources = [spot.walk.edges[k][j] for k, j in spot.edges]
    distinct = len(set(sources)) == len(sources) > 1
    if not distinct or max(sources) >= min(spot.edges)[0] or spot.several:
        return
    for kind, order, said in (
        ("permuted", sources[::-1], "in reverse order of the steps"),
        ("wrong step", sources[1:] + sources[:1], "where that of the next step belongs"),
        ("wrong step", sources[-1:] + sources[:-1], "where that of the step before belongs"),
    ):
        mistake = spot.mistake(
            kind, 1.2, lambda e, g, c, now: c, "what {here} passes to {what} is put {said}",
            said=constantly(said),
        )  # fmt: skip
        yield replace(mistake, moves=dict(zip(spot.edges, order, strict=True)))


def kept(spot: Spot, parts: Sequence[Spot]) -> Iterator[Mistake]:
    """Of all that flows into one quantity one term is kept: it is assigned and not added."""
    walk = spot.walk
    says = (
        "of the gradients of {what} only what {here} passes {when}is kept: it is assigned where "
        "it should be added (= where += belongs)"
    )
    for part in parts:
        first = min(part.edges)
        for kept, when in (part.edges, ""), ([first], "at the first step "):
            text = says.format(what=spot.what, here=part.here, when=when)
            edits = {e: _dropped for e in spot.edges if e not in kept}
            if kept == part.edges or (spot.leaf and len(part.edges) > 1):
                yield Mistake("not accumulated", 1.05, edits, constantly(text))
        whole = {walk.edges[k][j]: walk.contributions[k, j] for k, j in part.edges}
        if not spot.several and all(np.any(c == 0) for c in whole.values()):
            covered = {s: c != 0 for s, c in whole.items()}
            yield Mistake(
                "not accumulated", 1.1, _only_beside(spot, part, covered),
                constantly(says.format(what=spot.what, here=part.here, when="")
                .replace(" is kept", " is kept, wherever that is not 0")),
            )  # fmt: skip


def _only_beside(spot: Spot, part: Spot, covered: Mapping[int, Any]) -> dict[Edge, Edit]:
    """Keep what the other terms pass, but not where one of them is not 0."""

    def edit(e: Edge, g: Any, c: Any, now: Any) -> Any:
        return c * ~covered.get(spot.walk.edges[e[0]][e[1]], np.zeros(np.shape(c), bool))

    return {e: edit for e in spot.edges if e not in part.edges}


def _dropped(e: Edge, g: Any, c: Any, now: Any) -> Any:
    return times(c, 0)


def shortened(walk: Backward, words: Words, wrong: set[int]) -> Iterator[Mistake]:
    """The loop backwards leaves out its last steps or its first; the state ends there."""
    if walk.length < 2:
        return
    loop = _loop(walk)
    starts: dict[Any, int] = {}
    for k, j in walk.contributions:
        s = walk.edges[k][j]
        if walk.carries(k, j) and not walk.rank[k]:
            later = walk.site_of[k].members[walk.rank[k] + 1]
            starts[walk.site_of[walk.edges[later][j]]] = s
    steps = sorted(set(loop.values()))
    rows = _rows(walk, loop, len(steps), wrong)
    for cut in steps[1:]:
        for dropped in ({s for s in steps if s < cut}, {s for s in steps if s >= cut}):
            keep = np.array([s not in dropped for s in steps])
            yield _without(walk, loop, starts, dropped, {})
            if rows:
                yield _without(walk, loop, starts, dropped, dict.fromkeys(rows, keep))


def _loop(walk: Backward) -> dict[int, int]:
    """Give the step of every node in the loop: of the sites in time with one that has a state."""
    whole = [site for site in walk.sites if len(site) == walk.length]
    last = [(site.members, site.members[-1]) for site in whole]
    clock = next((ks for ks, k in last if any(walk.carries(k, j) for j in walk.edges[k])), None)
    if clock is None:
        return {}
    before, after = [-1, *clock[:-1]], [*clock[1:], walk.end + 1]
    return {
        k: walk.step(k)
        for site in whole
        if all(b < k < a for b, k, a in zip(before, site.members, after, strict=True))
        for k in site.members
    }


def _rows(walk: Backward, loop: dict[int, int], n: int, wrong: set[int]) -> set[Edge]:
    """Collect what flows to wrong leaves from all steps at once, time being the first axis."""
    region, found = set[int](), set[Edge]()
    for k, t in enumerate(walk.nodes):
        joins = t.primitive is not None and t.primitive.name == "stack"
        through = any(s in region for s in walk.edges[k].values())
        if (through or joins) and np.shape(walk.z[k])[:1] == (n,) and k not in loop:
            region.add(k)
            found |= {(k, j) for j, s in walk.edges[k].items() if s in wrong and s in walk.leaves}
    return {e for e in found if e in walk.contributions}


def _without(
    walk: Backward, loop: dict[int, int], starts: dict[Any, int], dropped: set[int],
    rows: dict[Edge, Any],
) -> Mistake:  # fmt: skip
    edits: dict[Edge, Edit] = {}
    moves: dict[Edge, int] = {}
    for s, step in loop.items():
        for k, j in walk.into(s) if step in dropped else ():
            if loop.get(k) in dropped:
                continue
            initial = starts.get(walk.site_of[s])
            if initial is not None and loop.get(k, step) != step:
                moves[k, j] = initial
                edits[k, j] = lambda e, g, c, now: c
            else:
                edits[k, j] = _dropped
    for edge, keep in rows.items():

        def edit(e: Edge, g: Any, c: Any, now: Any, keep: Any = keep) -> Any:
            shape = (len(keep),) + (1,) * (np.ndim(g) - 1)
            return walk.pulled(e[0], g * keep.reshape(shape), e[1])[e[1]]

        edits[edge] = edit
    first = min(loop.values()) in dropped
    at = max([k for k, _ in moves], default=max(loop))
    return Mistake(
        "truncated", 1.0 if len(dropped) == 1 else 1.1, edits,
        lambda: f"the loop backwards leaves out the {'first' if first else 'last'} "
        f"{len(dropped)} of {walk.length} steps: nothing flows at the steps "
        f"{', '.join(map(str, sorted(dropped)))}",
        tuple(sorted(dropped)), moves, at=at,
    )  # fmt: skip
