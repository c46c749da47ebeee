"""The user's backward pass as it is written, with what each statement gives beside it."""

from __future__ import annotations

import html
import linecache
import textwrap
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..graph.source import file_name
from .explanation import Explanation
from .traced import Annotation

__all__ = ["Listing"]

WIDE = 64
"""How many columns the code has in a text, before what is said of it."""
GAP = 4
"""How many lines between two statements that ran are still printed."""
NEAR = 3
"""How many lines around a wrong one are shown where not the whole is."""


class Line(NamedTuple):
    """A line of the source: its number, its text, what it gives, and what is wrong with it."""

    number: int
    text: str
    note: str
    status: str
    wrong: Explanation | None


class Listing:
    """The backward pass line by line: printed, or as a table in a notebook.

    Beside each statement stands what it gives: "dh: the gradient of `h` at step 3", and how often
    it ran if that is not once. `annotations` has the same as objects.
    """

    def __init__(
        self, annotations: Iterable[Annotation], explanations: Iterable[Explanation] = ()
    ) -> None:
        self.annotations = [*annotations]
        self.wrong = {(e.file, e.line): e for e in reversed([*explanations]) if e.line}

    def blocks(self, near: Explanation | None = None) -> Iterator[tuple[str, list[Line]]]:
        """Yield the parts of files that ran, or of one the lines near a wrong statement."""
        for file in dict.fromkeys(a.file for a in self.annotations):
            of = {a.line: a for a in self.annotations if a.file == file}
            lines = sorted({*of, *[line for f, line in self.wrong if f == file]})
            if near is not None:
                if near.file != file:
                    continue
                lines = [n for n in range(near.line - NEAR, near.line + NEAR + 1) if n > 0]
            for start, end in _runs(lines):
                yield file, [self._line(file, n, of.get(n)) for n in range(start, end + 1)]

    def _line(self, file: str, number: int, a: Annotation | None) -> Line:
        text = linecache.getline(file, number).rstrip()
        wrong = self.wrong.get((file, number))
        if a is None:
            return Line(number, text, "", "", wrong)
        times = f" ({a.times} times)" if a.times > 1 else ""
        return Line(number, text, a.gives + times, a.status, wrong)

    def __str__(self) -> str:
        lines = list[str]()
        for file, block in self.blocks():
            lines += [file_name(file), *_printed(block), ""]
        return "\n".join(lines).rstrip() or "no statement of the backward pass could be followed"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return "".join([_as_html(file, block) for file, block in self.blocks()])

    def around(self, e: Explanation) -> str:
        """Return HTML of the lines around a wrong statement."""
        return "".join([_as_html(file, block) for file, block in self.blocks(e)])


def _runs(lines: list[int]) -> Iterator[tuple[int, int]]:
    """Put together what is near to one another: the first and the last line of each part."""
    start = end = lines[0] if lines else 0
    for line in lines[1:]:
        if line - end > GAP:
            yield start, end
            start = line
        end = line
    if lines:
        yield start, end


def _dedented(block: list[Line]) -> list[str]:
    return textwrap.dedent("\n".join([line.text or " " for line in block])).split("\n")


def _printed(block: list[Line]) -> Iterator[str]:
    for line, text in zip(block, _dedented(block), strict=True):
        mark = ">" if line.wrong else " "
        code = f"{mark}{line.number:4}  {text.rstrip()}"
        yield f"{code:{WIDE}}  # {line.note}".rstrip() if line.note else code.rstrip()
        if line.wrong:
            yield from textwrap.wrap(
                line.wrong.sentence, 96, initial_indent=" " * 8, subsequent_indent=" " * 8
            )


LEFT = "text-align:left"
CODE, NOTE = f"{LEFT};white-space:pre;font-family:monospace", f"{LEFT};opacity:.75"


def _cell(text: str, style: str, columns: int = 1) -> str:
    span = f' colspan="{columns}"' if columns > 1 else ""
    return f'<td{span} style="{style}">{html.escape(text)}</td>'


def _as_html(file: str, block: list[Line]) -> str:
    """Return a table of lines; in the colours of the page, so that it reads in dark and light."""
    rows = []
    for line, text in zip(block, _dedented(block), strict=True):
        tint = ' style="background:rgba(220,60,60,.2)"' if line.wrong else ""
        cells = (str(line.number), ""), (text, CODE), (line.note, NOTE)
        rows.append(f"<tr{tint}>{''.join([_cell(*cell) for cell in cells])}</tr>")
        if line.wrong:
            rows.append(f"<tr{tint}><td></td>{_cell(line.wrong.sentence, LEFT, 2)}</tr>")
    name = html.escape(file_name(file))
    return f"<table><caption>{name}</caption><tbody>{''.join(rows)}</tbody></table>"
