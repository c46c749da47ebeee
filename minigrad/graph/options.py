"""Metadata as text, with integers that move from round to round: `[:, 0:4]`, `[t−1]`, `[4k+r]`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .nodes import Cluster

__all__ = ["HOLE", "moving_sum", "moving_texts", "sum_text", "text_with_holes"]

HOLE = "\0"  # stands for an integer in the text of some metadata


def text_with_holes(params: dict[str, Any] | None) -> tuple[str, list[Any]]:
    """Return metadata as text with a hole for every integer, and what is in the holes."""
    if params and len(params) == 1:
        ((name, only),) = params.items()
        if type(only) is int:  # as most are, in a graph that is large
            return f"[{HOLE}]" if name == "index" else f"({name}={HOLE})", [only]
    holes: list[Any] = []

    def write(value: Any) -> str:
        if isinstance(value, (tuple, list)):
            return f"({', '.join([write(v) for v in value])}{',' * (len(value) == 1)})"
        if isinstance(value, slice):
            ends = [value.start, value.stop, *([value.step] if value.step is not None else [])]
            return ":".join(["" if end is None else write(end) for end in ends])
        if isinstance(value, np.ndarray):
            return f"{value.dtype}{value.shape}"
        if isinstance(value, np.dtype):
            return str(value)
        if callable(value) or (isinstance(value, (int, np.integer)) and value is not bool(value)):
            holes.append(value if callable(value) else int(value))
            return HOLE
        return "..." if value is Ellipsis else repr(value)

    given = {k: write(v) for k, v in params.items() if v is not None} if params else {}
    if list(given) == ["index"]:
        text = given["index"]
        return f"[{text[1:-1].rstrip(',') if text[0] == '(' else text}]", holes
    return f"({', '.join([f'{k}={v}' for k, v in given.items()])})" if given else "", holes


def moving_texts(moves: Sequence[tuple[Cluster, int, int]]) -> str:
    """Return the text of an integer that moves with several folds, outermost first: `4k+r−1`."""
    (_, _, offset), *inner = moves
    offset -= sum([factor * fold.moments[0] for fold, factor, _ in inner])
    return sum_text([(fold.letter, factor) for fold, factor, _ in moves], offset)


def moving_sum(numbers: Sequence[int], folds: Sequence[tuple[str, Sequence[int]]]) -> str:
    """Return numbers as a sum of factors of the moments, `3k+r+1`; empty if they are none."""
    left, terms = list(numbers), list[tuple[str, int]]()
    for letter, moments in reversed(folds):  # the innermost differs first
        k = next((k for k, m in enumerate(moments) if m != moments[0]), 0)
        factor = (left[k] - left[0]) // (moments[k] - moments[0]) if k else 0
        left = [x - factor * m for x, m in zip(left, moments, strict=True)]
        terms = [(letter, factor)] * bool(factor) + terms
    return sum_text(terms, left[0]) if terms and len({*left}) == 1 else ""


def sum_text(terms: Sequence[tuple[str, int]], offset: int) -> str:
    """Return the text of a sum, `4k+r−1`, of factors of letters and an offset."""
    if terms[0][1] < 0:  # 11−4k−r
        (letter, factor), *others = terms
        texts = [moving_text(letter, factor, offset), *[moving_text(*term, 0) for term in others]]
    else:
        *others, (letter, factor) = terms
        texts = [*[moving_text(*term, 0) for term in others], moving_text(letter, factor, offset)]
    return "+".join(texts).replace("+−", "−")


def moving_text(letter: str, factor: int, offset: int) -> str:
    """Return the text of `factor * t + offset`: `t`, `t−1`, `2t+1`, `9−t`."""
    if factor < 0:
        return f"{offset or ''}−{'' if factor == -1 else -factor}{letter}"
    text = f"{'' if factor == 1 else factor}{letter}"
    return text + (f"{offset:+d}".replace("-", "−") if offset else "")
