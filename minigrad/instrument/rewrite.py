"""Run functions of the user's with hooks in them, and leave them as they were.

A `Rewriter` puts calls of hooks into the source of a file. `Instrumented` gives functions the code
that results, for as long as a `with` block lasts. All lines and names stay, and no frame is added:
tracebacks, warnings, `super()` and `locals()` are as they were.

Other threads run the same functions meanwhile, so a hook must do nothing unless it is wanted in its
own context: a ContextVar says so.
"""

from __future__ import annotations
import __future__

import ast
import gc
import linecache
import sys
import threading
import warnings
from collections.abc import Callable, Iterable
from types import CodeType, FrameType, FunctionType
from typing import Any, TypeVar

from ..guard.errors import users_file

__all__ = ["Instrumented", "Rewriter", "codes_run", "original"]

T = TypeVar("T")
FUTURE: int = 0
for _name in __future__.all_feature_names:
    FUTURE |= getattr(__future__, _name).compiler_flag


class Rewriter(ast.NodeTransformer):
    """Puts hooks into the syntax tree of one file: subclasses say where.

    `constant(x)` is the syntax of any object, a hook or what it is told, so that nothing is looked
    up by a name which the user's code could have too.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.constants: dict[tuple[str, int], Any] = {}

    def constant(self, x: Any) -> ast.Constant:
        """Give the syntax of an object; it must be hashable."""
        mark = "minigrad's constant", len(self.constants)
        self.constants[mark] = x
        return ast.Constant(mark)  # type: ignore[arg-type]

    def call(self, hook: Callable[..., Any], at: ast.AST, *arguments: ast.expr) -> ast.Call:
        """Give the syntax of a call of a hook, at the place of another syntax."""
        made = ast.Call(self.constant(hook), list(arguments), [])
        for node in ast.walk(made):
            if not hasattr(node, "lineno"):
                ast.copy_location(node, at)
        return made


_rewritten: dict[Any, list[tuple[CodeType, CodeType]]] = {}
"""By rewriter, file, flags and source: every code of the file as it stands, and rewritten."""

_originals: dict[int, tuple[CodeType, CodeType]] = {}
"""By its id, a rewritten code and the one that it stands for."""


def original(code: CodeType) -> CodeType:
    """Return the user's own code, where that is what some rewriter has made of it."""
    made, of = _originals.get(id(code), (None, code))
    return of if made is code else code


def codes_run(run: Callable[[], T]) -> tuple[T, list[CodeType]]:
    """Call `run`; return what it gives, and the codes of the user's functions that it has run."""
    found: dict[int, CodeType] = {}
    before = sys.gettrace()

    def note(frame: FrameType, event: Any, value: Any) -> Any:
        code = frame.f_code
        if id(code) not in found and users_file(code.co_filename):
            found[id(code)] = code
        return before and before(frame, event, value)

    sys.settrace(note)
    try:
        result = run()
    finally:
        sys.settrace(before)
    return result, [original(code) for code in found.values()]


def rewritten(kind: type[Rewriter], code: CodeType) -> CodeType | None:
    """Return the code with hooks, or None if the source of the code that runs is not known.

    The source is believed only if it gives the very code that runs: a file that was edited since it
    was imported has other lines. (What pytest makes of assertions cannot be had again: there, names
    and places have to do.)
    """
    source = "".join(linecache.getlines(code.co_filename))
    flags = code.co_flags & FUTURE
    key = kind, code.co_filename, flags, source
    if key not in _rewritten:
        _rewritten[key] = _pairs(kind, code.co_filename, flags, source)
    pairs = _rewritten[key]
    found = next((made for of, made in pairs if of == code), None)
    if found is None and any(name.startswith("@py") for name in code.co_names):
        found = next((made for of, made in pairs if _place(of) == _place(code)), None)
    if found is not None:
        _originals[id(found)] = found, code
    return found


def _pairs(
    kind: type[Rewriter], file: str, flags: int, source: str
) -> list[tuple[CodeType, CodeType]]:
    if not source:
        return []
    rewriter = kind(file)
    with warnings.catch_warnings():  # the user has seen them; and a constant is called
        warnings.simplefilter("ignore")
        try:
            plain = compile(source, file, "exec", flags, True)
            tree = ast.fix_missing_locations(rewriter.visit(ast.parse(source, file)))
            hooked = compile(tree, file, "exec", flags, True)
        except (SyntaxError, ValueError, RecursionError):
            return []
    return list(zip(_all(plain), _all(_filled(hooked, rewriter.constants)), strict=True))


def _filled(code: CodeType, constants: dict[tuple[str, int], Any]) -> CodeType:
    """Put objects in the place of the constants that stand for them."""

    def one(x: Any) -> Any:
        if isinstance(x, CodeType):
            return _filled(x, constants)
        return constants.get(x, x) if type(x) is tuple and len(x) == 2 else x

    return code.replace(co_consts=tuple(map(one, code.co_consts)))


def _all(code: CodeType) -> list[CodeType]:
    """List a code and those within it. Two lambdas of a line differ in nothing but the order."""
    inside = [x for x in code.co_consts if isinstance(x, CodeType)]
    return [code, *[found for x in inside for found in _all(x)]]


def _place(code: CodeType) -> tuple[Any, ...]:
    names = [name for name in code.co_varnames if not name.startswith("@py")]
    return code.co_qualname, code.co_firstlineno, code.co_freevars, names


_lock = threading.RLock()
_codes: dict[FunctionType, list[tuple[object, CodeType]]] = {}
"""By function, the user's code, and above it what is put in its place, each with who did that."""


class Instrumented:
    """Functions whose code has hooks in it while a `with` block runs.

    `missing` are the codes whose source is not known: their functions stay as they are.
    """

    def __init__(self, kind: type[Rewriter], codes: Iterable[CodeType]) -> None:
        self.kind = kind
        self.missing: list[CodeType] = []
        self.swaps: list[tuple[FunctionType, CodeType]] = []
        self.known: dict[int, CodeType] = {}
        self.depth = 0
        self.add(codes)

    def add(self, codes: Iterable[CodeType]) -> None:
        """Let more functions have hooks, now too if the block is running."""
        with _lock:
            new = [code for code in map(original, codes) if id(code) not in self.known]
            self.known |= {id(code): code for code in new}
            for f, code in _functions(new):
                made = rewritten(self.kind, code)
                if made is not None:
                    self.swaps.append((f, made))
                    if self.depth:
                        self._enter(f, made)
            self.missing += [code for code in new if rewritten(self.kind, code) is None]

    def _enter(self, f: FunctionType, code: CodeType) -> None:
        _codes.setdefault(f, [(None, f.__code__)]).append((self, code))
        f.__code__ = code

    def __enter__(self) -> Instrumented:
        with _lock:
            self.depth += 1
            if self.depth == 1:
                for f, code in self.swaps:
                    self._enter(f, code)
        return self

    def __exit__(self, *_: object) -> None:
        with _lock:
            self.depth -= 1
            if not self.depth:
                for f, _code in self.swaps:
                    if stack := [put for put in _codes.pop(f, []) if put[0] is not self]:
                        f.__code__ = stack[-1][1]
                        if len(stack) > 1:
                            _codes[f] = stack


def _functions(codes: list[CodeType]) -> list[tuple[FunctionType, CodeType]]:
    """Find the functions that run some codes, also those whose code is replaced at the moment."""
    found = {f: stack[0][1] for f, stack in _codes.items() if stack[0][1] in codes}
    for f in gc.get_referrers(*codes) if codes else ():
        if isinstance(f, FunctionType) and f not in _codes and f.__code__ in codes:
            found[f] = f.__code__
    return [*found.items()]
