"""Where in the user's program an operation was called: the expression, to the character.

Python keeps for every instruction the columns of the source it came from, so that a report can say
`np.tanh(a + b)` and not only a line. What is inside minigrad or NumPy is passed over.
"""

from __future__ import annotations

import ast
import dis
import functools
import itertools
import linecache
import os
import sys
from typing import Any, NamedTuple

from ..guard.errors import NUMPY, instruction_at

__all__ = ["Origin", "Place", "caller", "file_name", "place_of", "spot"]

_instructions: dict[tuple[int, int], tuple[int, Any]] = {}
"""By the id of a function's code and a place in it, the instruction there, and the code, so that no
other gets its id. `lru_cache` would hash all of the code, for every frame of every operation."""

HERE = os.path.dirname(os.path.dirname(__file__)) + os.sep


class Place(NamedTuple):
    """An expression of the user's, in the statement that it is part of.

    `site` tells it from every other place: the instruction in each function that was entered on the
    way. `code` is the function's, `lines` are how many it has, and `outer` is the call of it, if
    minigrad called the outermost one (as it does with a forward pass to be compared).
    """

    site: tuple[Any, ...]
    code: int
    file: str
    line: int
    function: str
    expression: str
    statement: str
    lines: int
    outer: Place | None = None

    @property
    def chain(self) -> list[Place]:
        """The expression, the call that it was made in, the call that that was made in."""
        return [self, *(self.outer.chain if self.outer else ())]

    def within(self, call: Place | None) -> tuple[Any, ...]:
        """What is the same for every call of the function that `call`, one of the chain, calls."""
        return self.site[: len(self.site) - len(call.site if call else ())]

    @property
    def line_of_code(self) -> tuple[Any, ...]:
        """What is the same for every call of the function that the expression is in."""
        return self.within(self.outer)

    def __str__(self) -> str:
        text = f"{_cell(self.file) or self.file}, line {self.line}, "
        text += f"in {self.function}: {self.statement}"
        return text.rstrip(": ")

    @property
    def target(self) -> str | None:
        """The variable that the expression is assigned to, if it is the whole right side."""
        target, right = _assigned(self.statement)
        return target if right and right == _normal(self.expression) else None


class Origin(NamedTuple):
    """What an observer notes of an operation: the place that called it, the sums of its arrays."""

    place: Place
    sums: list[int]


def place_of(node: Any) -> Place | None:
    """Return the place that an operation was called from, if an observer noted it."""
    return node.origin.place if hasattr(node, "origin") else None


def _cell(file: str) -> str:
    """Return the cell of a notebook that this file stands for, or nothing."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    known = getattr(getattr(shell, "compile", None), "format_code_name", lambda _: None)(file)
    return f"cell {known[1].removeprefix('In[').rstrip(']')}" if known else ""


def file_name(file: str) -> str:
    """Return a file as its reader knows it: `net.py`, or `cell 3` of a notebook."""
    return _cell(file) or os.path.basename(file)


def spot(file: str, line: int) -> str:
    """Return a line as editors write it, `net.py:54`; in a notebook `cell 3, line 54`."""
    return f"{cell}, line {line}" if (cell := _cell(file)) else f"{os.path.basename(file)}:{line}"


def caller() -> Place:
    """Find the user's expression that is being evaluated."""
    frame, inside = sys._getframe(1), list[Any]()
    while frame.f_code.co_filename.startswith((HERE, NUMPY)):
        inside += [id(frame.f_code), _instruction(frame.f_code, frame.f_lasti)]
        if frame.f_back is None:
            break
        frame = frame.f_back
    frames: list[Any] = [frame]
    while frames[-1].f_back and not frames[-1].f_back.f_code.co_filename.startswith(HERE):
        frames.append(frames[-1].f_back)
    outer: Place | None = None
    if frames[-1].f_back is not None:
        for frame in frames[:0:-1]:
            outer = _placed(frame, (), outer)
    else:
        codes = [(frame.f_code, frame.f_lasti) for frame in frames[1:]]
        inside += [(id(code), _instruction(code, at)) for code, at in codes]
    return _placed(frames[0], tuple(inside), outer)


def _placed(frame: Any, inside: tuple[Any, ...], outer: Place | None) -> Place:
    code, at = frame.f_code, _instruction(frame.f_code, frame.f_lasti)
    statement, expression = _source(code, at, code.co_filename, frame.f_lineno)
    site = (*inside, id(code), at, *(outer.site if outer else ()))
    return Place(
        site, id(code), code.co_filename, frame.f_lineno, code.co_name, expression, statement,
        _lines(code), outer,
    )  # fmt: skip


@functools.lru_cache(maxsize=4096)
def _lines(code: Any) -> int:
    return len({line for _, _, line in code.co_lines() if line != code.co_firstlineno})


def _instruction(code: Any, at: int) -> int:
    """Return the place of the instruction that a frame is at, looked up once for each place."""
    known = _instructions.get((id(code), at))
    if known is None:
        known = _instructions[id(code), at] = instruction_at(code, at), code
    return known[0]


@functools.lru_cache(maxsize=4096)
def _source(code: Any, at: int, file: str, line: int) -> tuple[str, str]:
    """Return the text of the line, and of the expression that one of its instructions evaluates."""
    statement = linecache.getline(file, line).strip()
    if statement.startswith(("for ", "async for ")) and code.co_code[at] == dis.opmap["FOR_ITER"]:
        return statement, statement.rstrip(": ")  # from 3.13 on, it stands at the iterable alone
    first, last, start, end = next(itertools.islice(code.co_positions(), at // 2, None))
    if first is None or start is None or end is None or last is None:
        return statement, statement
    lines = [linecache.getline(file, k).encode() for k in range(first, last + 1)]
    if len(lines) == 1:
        return statement, lines[0][start:end].decode().strip()
    text = b" ".join([lines[0][start:], *lines[1:-1], lines[-1][:end]]).decode()
    return statement, " ".join(text.split())


@functools.lru_cache(maxsize=4096)
def _assigned(statement: str) -> tuple[str | None, str]:
    try:
        found = ast.parse(statement).body[0]
    except (SyntaxError, IndexError):
        return None, ""
    if isinstance(found, ast.Assign) and isinstance(found.targets[0], ast.Name):
        return found.targets[0].id, ast.unparse(found.value)
    return None, ""


@functools.lru_cache(maxsize=4096)
def _normal(expression: str) -> str:
    try:
        return ast.unparse(ast.parse(expression).body[0])
    except (SyntaxError, IndexError):
        return expression
