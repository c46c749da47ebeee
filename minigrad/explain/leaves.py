"""Mistakes made with gradients that are ready: returned under the wrong name, turned, reordered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import permutations, product
from typing import Any

import numpy as np

from .backward import Backward
from .pool import constantly
from .spot import Mistake
from .words import Words

__all__ = ["returned", "started"]

Found = tuple[str, float, Any, Callable[[], str], int | None]
"""Kind, cost, the gradient, words, and the node that it belongs to."""


def returned(
    walk: Backward, words: Words, manual: Mapping[int, Any], wrong: list[int], rtol: float
) -> Iterator[Mistake]:
    """Find what every wrong gradient is instead of the right one, each for itself."""
    if not 0 < len(wrong) <= 12:
        return
    initial, ways = _initial(walk), []
    for leaf in wrong:
        m, size = manual[leaf], max(float(np.max(abs(manual[leaf]), initial=0)), 1e-300)
        fitting = [
            found
            for found in _others(walk, words, leaf, initial)
            if np.shape(found[2]) == np.shape(m)
            and float(np.max(abs(found[2] - m), initial=0)) <= rtol * size
        ]
        if not fitting:
            return
        ways.append(fitting[:3])
    for chosen in list(product(*ways))[:9]:
        kind, cost = chosen[0][0], max([c[1] for c in chosen]) + 0.1 * (len(wrong) > 1)
        if kind == "permuted" and {c[4] for c in chosen} not in ({None}, set(wrong)):
            kind = "swapped operand"
        gives = dict(zip(wrong, [c[2] for c in chosen], strict=True))
        at = max([walk.uses[leaf][-1] for leaf in wrong if walk.uses[leaf]], default=wrong[0])
        yield Mistake(
            kind, cost, {}, lambda chosen=chosen: "; ".join([c[3]() for c in chosen]),  # type: ignore[misc]
            gives=gives, at=at,
        )  # fmt: skip


def _initial(walk: Backward) -> set[int]:
    """Collect the initial states."""
    return {s for s in walk.leaves if walk.initial(s)}


def started(walk: Backward, words: Words, given: Mapping[int, Any]) -> Iterator[Mistake]:
    """The states that the gradients are made from start with zeros, not with the initial state."""
    initial = [s for s in sorted(_initial(walk)) if np.any(walk.z[s])]
    for some in [[s] for s in initial] + [initial] * (len(initial) > 1):
        again = walk.replay({s: np.zeros(np.shape(walk.z[s])) for s in some})
        with np.errstate(all="ignore"):
            again.run()
        said = constantly(
            "the values that the gradients are made from were computed with zeros for the initial "
            + " and ".join([words.value(s) for s in some])
        )
        gives = {k: again.cots[k] for k in given if k in again.cots}
        yield Mistake("initial state", 1.2, {}, said, gives=gives, at=walk.uses[some[0]][0])


def _others(walk: Backward, words: Words, leaf: int, initial: set[int]) -> Iterator[Found]:
    right, name = walk.cots.get(leaf), words.value(leaf)
    if right is None:
        return
    start = leaf in initial
    for k in sorted(walk.cots, reverse=True):
        if k == leaf or np.shape(walk.cots[k]) != np.shape(right):
            continue
        other = k in walk.leaves
        kind = "permuted" if other else "swapped operand"
        yield (
            "initial state" if start and not other else kind, 1.0 if other or start else 1.5,
            walk.cots[k],
            constantly(f"the gradient of {words.value(k)} is returned as that of {name}"),
            k,
        )  # fmt: skip
    for k, j in walk.into(leaf) if len(walk.into(leaf)) == 1 else ():
        for m in sorted(walk.cots):
            if m != k and m != leaf and np.shape(walk.cots[m]) == np.shape(walk.cots[k]):
                kind = "overwritten" if m < k else "swapped operand"
                said = (
                    f"the gradient of {name} is made from that of {words.value(m)}, where that of "
                    f"{words.value(k)} belongs" + ": was it overwritten?" * (m < k)
                )
                yield kind, 1.45, walk.pulled(k, walk.cots[m], j)[j], constantly(said), None
    for axis in range(np.ndim(right)):
        said = f"the gradient of {name} is reversed along axis {axis}"
        yield "permuted", 1.3, np.flip(right, axis), constantly(said), None
        for by in (1, -1):
            said = f"the gradient of {name} is moved by {by} along axis {axis}"
            yield "wrong step", 1.3, np.roll(right, by, axis), constantly(said), None
        for n in (2, 3, 4):
            if right.shape[axis] % n == 0 and right.shape[axis] > n:
                blocks = np.split(right, n, axis)
                for order in list(permutations(range(n)))[1:]:
                    said = f"the {n} blocks of the gradient of {name} are in the order {[*order]}"
                    new = np.concatenate([blocks[i] for i in order], axis)
                    yield "permuted", 1.1, new, constantly(said), None
