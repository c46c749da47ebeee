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

UNKNOWN = "wrong value"
"""The kind of a mistake that no row of the table gives."""


def explained(
    walk: Backward, words: Words, finding: Finding, search: Callable[[], tuple[str, str] | None]
) -> Explanation:
    """Return what is said of a finding; `search` is asked where its own values do not tell."""
    kind, how = differs(walk, words, finding) or search() or (UNKNOWN, "")
    subject = f"`{finding.name or finding.expression}`"
    now = finding.is_now
    text = f"{subject} matches nothing" if now == "matches nothing" else f"{subject} is {now}"
    if finding.words:
        text += f"; it should be {finding.words}"
    if how:
        text += f": {how}"
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


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
