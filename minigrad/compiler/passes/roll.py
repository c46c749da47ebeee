"""Repetitions become loops: a flat program is searched for rounds, and every round looked at.

    flat     the program as numbers
    rounds   whether a run of operations is a loop: what all its rounds have in common
    ends     first and last rounds, made whole
    loops    what is found, written down

What does not fit stays as it is, so nothing is assumed: an LSTM is a loop because its operations
repeat, as are a user's own Python loop and what reverse mode does with both.
"""

from __future__ import annotations

import numpy as np

from ...graph.periods import periods
from ..program import Program
from .ends import begun, ended, with_whole_rounds
from .flat import ADD, ROUNDS, Flat
from .loops import Building
from .rounds import Found, classified

__all__ = ["rolled"]

OPERATIONS = 12
"""A loop stands for at least as many operations of the flat program."""


def rolled(program: Program) -> Program:
    """Return a flat program in normal form with its repetitions as loops."""
    flat = Flat(program)
    found = _loops(flat)
    if not found:
        return program
    whole = Flat(with_whole_rounds(flat, found))
    if _size(whole, again := _loops(whole)) < _size(flat, found):
        flat, found = whole, again
    return Building(flat, found).program()


def _loops(flat: Flat) -> list[Found]:
    found: list[Found] = []
    for start, stop in flat.spans:
        found += _search(flat, start, stop, found)
    return found


def _size(flat: Flat, found: list[Found]) -> int:
    """Return how many operations are written down if these are loops."""
    return len(flat.ops) - sum([f.period * (f.rounds - 1) for f in found])


def _search(flat: Flat, start: int, stop: int, before: list[Found]) -> list[Found]:
    """Find the loops among the operations from `start` to `stop`, the longest first.

    What reads the rounds of a loop may be one only once that is found, as a loop backward is, where
    the loop forward stands in the same section.
    """
    found: list[Found] = []
    if stop - start < OPERATIONS:
        return found
    taken = np.zeros(stop - start, bool)
    runs = [(a, b, period) for a, b, period in periods(flat.tokens[start:stop])
            if b - a >= OPERATIONS]  # fmt: skip
    k = 0
    while k < len(runs):
        a, b, period = runs[k]
        k += 1
        if taken[a:b].any():
            continue
        first, last = start + a, start + b
        while last - first >= max(ROUNDS * period, OPERATIONS):
            tried = [
                classified(flat, first + phase, period, last, before + found)
                for phase in _phases(flat, first, period)
            ]
            fitting = [f for f in tried if f and f.rounds >= ROUNDS]
            if not fitting:
                break
            best = min(fitting, key=lambda f: _preference(flat, f))
            found.append(best)
            taken[best.start - start : best.stop - start] = True
            first, k = best.stop, 0
    return sorted(found, key=lambda f: f.start)


def _phases(flat: Flat, start: int, period: int) -> list[int]:
    """Return where a round may begin: where few values are passed on, or with an addition.

    Additions are what may be missing in the round before the first.
    """
    stop = min(start + 3 * period, len(flat.ops))
    base, last = flat.first[start], dict[int, int]()
    for i, slots in enumerate(flat.reads[start:stop, :, 0].tolist(), start):
        last.update([(slot, i) for slot in slots if slot >= base])
    live = np.zeros(stop - start + 2, int)
    maker = np.repeat(np.arange(start, stop), np.diff(flat.first[start : stop + 1]))
    for slot, i in last.items():
        live[maker[slot - base] - start + 1] += 1
        live[i - start + 1] -= 1
    passed = np.cumsum(live)[period : 2 * period]
    by_carries = sorted(range(len(passed)), key=lambda phase: (passed[phase], phase))
    adding = [phase for phase in by_carries[4:] if flat.ops[start + phase].does is ADD]
    return by_carries[:4] + adding[:4]


def _preference(flat: Flat, f: Found) -> tuple[int, ...]:
    """Return what is smallest for the best place where a round may begin."""
    covered = [edit.covers for edit in (begun(flat, f), ended(flat, f)) if edit]
    return 3 * len(f.firsts) - f.rounds * f.period - sum(covered), f.start
