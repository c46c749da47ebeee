"""What is said of a place in the user's backward pass: how what it gives is not what it should be.

`traced` names the place, and what should be there; the table of kinds says how the two differ.
"""

from __future__ import annotations

from collections.abc import Callable

from .backward import Backward
from .explanation import Explanation
from .recognised import said
from .traced import Finding
from .words import Words

__all__ = ["explained"]

NOTHING = "matches nothing"
UNKNOWN = "wrong value"
"""The kind of a mistake that no row of the table gives."""


def explained(
    walk: Backward, words: Words, finding: Finding, searched: Callable[[], tuple[str, str] | None]
) -> Explanation:
    """Return what is said of a finding; `searched` is asked where its own values do not tell."""
    kind, how = differs(walk, words, finding) or searched() or (UNKNOWN, "")
    subject = f"`{finding.name if _is_whole(finding) else finding.expression}`"
    known, right = finding.is_now != NOTHING, finding.words
    parts = [f"{subject} is {finding.is_now}"] if known else []
    if right:
        parts.append(f"it should be {right}" if known else f"{subject} should be {right}")
    elif not known:
        parts.append(f"{subject} is nothing that is right: no gradient, derivative or value")
    text = "; ".join(parts) + (f": {how}" if how else "")
    if finding.repaired:
        names = _list([f"`{name}`" for name in finding.repaired])
        are = "are" if len(finding.repaired) > 1 else "is"
        text += f". With that in its place {names} {are} right"
    return Explanation(
        finding.file, finding.line, finding.statement, kind, text + ".", finding.words,
        finding.repaired, node=finding.expected.k if finding.expected else None,
    )  # fmt: skip


def differs(walk: Backward, words: Words, finding: Finding) -> tuple[str, str] | None:
    """Return the kind of a mistake, and how what is there differs from what should be."""
    if finding.expected is not None:
        return said(walk, words, finding.expected, finding.actual)
    if finding.factor != 1:
        return "factor", f"it has a factor {finding.factor:.4g} too much"
    return None


def _is_whole(finding: Finding) -> bool:
    """Whether the expression is all that is bound to the one name of its statement."""
    if not finding.name or "," in finding.name:
        return False
    if finding.expected is None and finding.factor == 1:
        return True
    return "".join(finding.statement.split()).endswith("=" + "".join(finding.expression.split()))


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
