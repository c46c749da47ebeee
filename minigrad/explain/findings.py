"""What is said of a place in the user's backward pass: how what it gives is not what it should be.

`traced` names the place, and what should be there; the table of kinds says how the two differ.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from .backward import Backward
from .explanation import Explanation
from .names import about, letters
from .recognised import said
from .sizes import MIXED_UP
from .traced import Finding
from .words import Words

__all__ = ["explained"]

NOTHING = ("matches nothing", "given")
UNKNOWN = "wrong value"
"""The kind of a mistake that no row of the table gives."""


def explained(
    walk: Backward, words: Words, finding: Finding, searched: Callable[[], tuple[str, str] | None]
) -> Explanation:
    """Return what is said of a finding; `searched` is asked where its own values do not tell."""
    kind, how = differs(walk, words, finding) or searched() or (UNKNOWN, "")
    if finding.loses and kind == UNKNOWN:
        kind, how = "not accumulated", "it is written over what was there (= where += belongs)"
    name = _bound(finding)
    subject, right = f"`{name or finding.expression}`", _expected(walk, words, finding, name)
    q = finding.expected
    if finding.is_now not in NOTHING:
        if q is not None and q.kind == "value":  # it has been said
            how = "it is of the wrong step" if kind == "wrong step" else ""
        text = f"{subject} is {finding.is_now}"
        if right and right != finding.is_now.removesuffix(", transposed"):
            text += f"; it should be {right}{_compared(finding.is_now, right)}"
        elif not (right or how):
            right_here = finding.status == "right"
            text += ", but what becomes of it is wrong" if right_here else ", which is not right"
    elif right and how:
        text = f"{subject} should be {right}"
    else:
        inputs = [_input(x) for x in finding.inputs if _is_known(x, finding)]
        known = f"{_list(inputs)} {_are(inputs)} right here, {subject} is not" if inputs else (
            f"{subject} is not right"
        )  # fmt: skip
        text = f"{known}: it is no gradient, derivative or value of this model"
        text += f"; it should be {right}" * bool(right)
    if kind == UNKNOWN and finding.statement.startswith(("for ", "while ")):
        kind, how = "truncated", "the loop is truncated, or goes too far"
    text += f": {how}" * bool(how)
    if finding.repaired:
        names = [f"`{name}`" for name in finding.repaired]
        text += f". With that in its place {_list(names)} {_are(names)} right"
    wrong = walk.edges[q.edges[0][0]][q.edges[0][1]] if q and q.kind == "derivative" else None
    return Explanation(
        finding.file, finding.line, finding.statement, kind, text + ".", right,
        finding.repaired, node=q.k if q and wrong is None else wrong,
    )  # fmt: skip


def differs(walk: Backward, words: Words, finding: Finding) -> tuple[str, str] | None:
    """Return the kind of a mistake, and how what is there differs from what should be."""
    if finding.expected is not None:
        return said(walk, words, finding.expected, finding.actual)
    if finding.factor == -1:
        return "sign", "its sign is wrong"
    if finding.words and finding.wanted is None and not finding.times:  # another number, or name
        return ("swapped operand" if finding.is_now == MIXED_UP else UNKNOWN), ""
    if finding.factor != 1:
        return "factor", f"it has a factor {number(finding.factor)} too much"
    return None


def _bound(finding: Finding) -> str:
    """Return the name that the expression is bound to: of several targets the one; "" if none."""
    if finding.expected is None and finding.factor == 1 and "," not in finding.name:
        return finding.name
    try:
        statement = ast.parse(finding.statement).body[0]
        expression = ast.unparse(ast.parse(finding.expression, mode="eval"))
    except (SyntaxError, IndexError):
        return ""
    if isinstance(statement, ast.Assign):
        pairs = [(target, statement.value) for target in statement.targets]
    elif isinstance(statement, ast.AugAssign):
        pairs = [(statement.target, statement.value)]
    else:
        return ""
    for target, value in pairs:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            pairs += zip(target.elts, value.elts, strict=False)
        elif ast.unparse(value) == expression and not isinstance(target, ast.Tuple):
            return ast.unparse(target)
    return ""


def _expected(walk: Backward, words: Words, finding: Finding, name: str) -> str:
    """Return what should be there, by the variable that the name speaks of if that is the same."""
    q, text = finding.expected, finding.words
    if q is None or q.kind != "gradient" or letters(words.short(q.k)) in (meant := about(name)):
        return text
    right = walk.cots.get(q.k, 0.0)
    for m, g in walk.cots.items():
        same_step = q.step is None or (m in walk.site_of and walk.step(m) == q.step)
        meant_here = same_step and letters(words.short(m)) in meant
        if meant_here and np.shape(g) == np.shape(right) and np.allclose(g, right, 1e-9, 0):
            return text.replace(f"`{words.short(q.k)}`", f"`{words.short(m)}`")
    return text


def number(x: float) -> str:
    """Write a number as people do: 1/9 for 0.1111."""
    near = Fraction(x).limit_denominator(1000)
    return str(near) if abs(x - near) <= 1e-9 * abs(x) else f"{x:.4g}"


def _compared(now: str, right: str) -> str:
    """Say of two numbers what the right one is of the other, if that is simple."""
    try:
        ratio = float(right) / float(now)
    except (ValueError, ZeroDivisionError):
        return ""
    words = {2.0: ", twice that", 0.5: ", half of that", -1.0: ", with the other sign"}
    return words.get(round(ratio, 9), "")


def _is_known(text: str, finding: Finding) -> bool:
    """Whether what is said of an input says what it is, and the input is not the whole."""
    name, _, what = text.partition("` is ")
    wholes = finding.expression, finding.statement, finding.name
    return what not in NOTHING and name.strip("`") not in wholes


def _input(text: str) -> str:
    """Name an input and what it is: "`dV` (the gradient of `V`)"."""
    name, _, what = text.partition("` is ")
    return f"{name}`" if what == f"{name}`" else f"{name}` ({what})"


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _are(names: list[str]) -> str:
    return "are" if len(names) > 1 else "is"
