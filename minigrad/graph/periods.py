"""Where a sequence repeats itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["ROUNDS", "periods"]

ROUNDS = 3  # that a repetition must have


def periods(tokens: npt.NDArray[Any]) -> list[tuple[int, int, int]]:
    """Return where a sequence repeats itself: start, stop, period; what covers most comes first.

    Candidates are the most frequent distances between two equal words of 1, 2, 4 ... tokens.
    """
    n, width, words = len(tokens), 1, tokens
    distances: dict[int, int] = {}
    while width <= 64 and len(words) > 1:
        order = np.argsort(words, kind="stable")
        gaps = np.diff(order)[np.diff(words[order]) == 0]
        values, counts = np.unique(gaps[gaps <= n // ROUNDS], return_counts=True)
        for k in np.argsort(-counts, kind="stable")[:4]:
            distances[int(values[k])] = max(distances.get(int(values[k]), 0), int(counts[k]))
        pairs = words[:-width] * (1 + int(words.max())) + words[width:]
        words, width = np.unique(pairs, return_inverse=True)[1], 2 * width
    found = []
    for period in sorted(distances, key=lambda p: (-distances[p], p))[:8]:
        equal = np.zeros(n - period + 2, np.int8)
        equal[1:-1] = tokens[period:] == tokens[:-period]
        starts, stops = np.flatnonzero(np.diff(equal)).reshape(-1, 2).T
        long = stops - starts >= (ROUNDS - 1) * period
        found += [
            (int(a), int(b) + period, period)
            for a, b in zip(starts[long], stops[long], strict=True)
        ]
    return sorted(found, key=lambda row: (row[0] - row[1], row[2]))
