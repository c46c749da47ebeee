"""What is said of a mistake: place, statement, kind, a sentence, and what would be right."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..graph.source import spot

__all__ = ["Explanation", "Explanations"]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A mistake, where it was made. Printed, it begins with the place: "lstm.py:54".

    `file`, `line` and `statement` are those of the backward pass where there is code to run, else
    of the line of the forward pass whose derivative is wrong ("" and 0 where lines are unknown).
    `kind` is one of those in docs/mistakes.md, or "wrong value" where none fits; "nearest" is one
    that does not give the manual numbers. `expected` says what would be right, in the
    user's own names. `repaired` are the gradients that become right with it, if that was tried.
    """

    file: str
    line: int
    statement: str
    kind: str
    sentence: str
    expected: str = ""
    repaired: tuple[str, ...] = ()
    edits: Mapping[Any, Any] | None = field(default=None, repr=False, compare=False)
    """The terms of the backward pass on the tape that are others, where a search has found them."""
    node: int | None = field(default=None, repr=False, compare=False)
    """The node of the tape whose gradient should stand there."""

    @property
    def place(self) -> str:
        """The file or the cell, and the line, as editors write it; "" if they are not known."""
        return spot(self.file, self.line) if self.line else ""

    def __str__(self) -> str:
        return " ".join([part for part in (self.place, self._statement(), self.sentence) if part])

    def _statement(self) -> str:
        """Return the statement on one line, up to 72 characters of it."""
        text = " ".join(self.statement.split())
        return f"{text[:71]}…:" if len(text) > 72 else f"{text}:" if text else ""


class Source(Protocol):
    """The code that explanations are about."""

    def around(self, e: Explanation) -> str:
        """Return HTML of the lines around a wrong statement."""
        ...


class Explanations(list[Explanation]):
    """Explanations, the best first. Printed, one to a line.

    In a notebook, each with the lines around it. `listing` is the whole backward pass with what
    every statement gives, where there was code to run. If the first `proven` of them, put right,
    were seen to make all gradients right, the others are only named: they may be meant instead.
    """

    SHOWN = 5

    def __init__(
        self,
        found: Iterable[Explanation] = (),
        listing: Source | None = None,
        proven: int = 0,
    ) -> None:
        super().__init__(found)
        self.listing, self.proven = listing, proven

    def __str__(self) -> str:
        if not self:
            return "nothing to explain: all gradients agree"
        lines = [str(e) for e in self[: self.proven or self.SHOWN]]
        rest = self[len(lines) :]
        if rest and self.proven:
            lines.append(f"(If that is as it should be: {', '.join([e.place for e in rest])}.)")
        elif rest:
            lines.append(f"and {len(rest)} more")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        if not self:
            return f"<p>{self}</p>"
        parts = []
        for e in self[: self.proven or self.SHOWN]:
            parts.append(f"<p><b>{html.escape(e.place)}</b> {html.escape(e.sentence)}</p>")
            parts += [self.listing.around(e)] if self.listing else []
        return "".join(parts)
