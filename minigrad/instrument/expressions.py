"""Hooks at every expression of a file: its value, and what a statement has written in place."""

from __future__ import annotations

import ast
import copy
import linecache
import sys
from contextvars import ContextVar
from types import FrameType
from typing import Any, Protocol

from .rewrite import Rewriter

__all__ = ["Expressions", "Site", "Statement", "Watcher", "watching"]

PURE = {"len", "range", "slice", "int", "abs", "min", "max", "str", "tuple"}
EAGER = {"sum", "tuple", "list", "max", "min", "sorted", "dict"}
"""Builtins that take all that a generator gives."""


class Watcher(Protocol):
    """Sees the values of expressions, and may give others in their place."""

    def value(self, site: Site, value: Any, frame: FrameType) -> Any:
        """Take what an expression gave, and return what it gives."""

    def wrote(self, site: Site, base: Any, target: Any, frame: FrameType) -> None:
        """Take note of an assignment to `target`, which is an element of `base` unless None."""


watching: ContextVar[Watcher | None] = ContextVar("watching", default=None)


class Source:
    """The text of a file, as it was when its functions got hooks."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines = [line.encode() for line in linecache.getlines(file)]

    def text(self, line: int, column: int, last: int, end: int) -> str:
        """Return what stands at a place, on one line."""
        some = self.lines[line - 1 : last]
        if len(some) < last - line + 1:
            return ""
        some[-1] = some[-1][:end]
        some[0] = some[0][column:]
        return " ".join(b" ".join(some).decode(errors="replace").split())

    def of(self, node: Any) -> str:
        """Return the text of a syntax."""
        return self.text(node.lineno, node.col_offset, node.end_lineno, node.end_col_offset)


class Statement:
    """A statement of the user's: its lines, of one with a body the head, and what it binds.

    `within` is the loop, the condition or the like that it stands in.
    """

    def __init__(
        self, source: Source, node: Any, targets: list[ast.expr], function: str,
        within: Statement | None,
    ) -> None:  # fmt: skip
        self.file, self.function, self.within = source.file, function, within
        self.loop = isinstance(node, ast.For | ast.AsyncFor | ast.While)
        self.line: int = node.lineno
        self.last: int = node.end_lineno
        end, inside = (self.last, node.end_col_offset), getattr(node, "body", None)
        if isinstance(inside, list):
            end = inside[0].lineno, inside[0].col_offset
            self.last = max(self.line, end[0] - 1)
        self.text = source.text(self.line, node.col_offset, *end).rstrip(": ")
        self.targets = [source.of(t) for t in targets]

    def __repr__(self) -> str:
        return f"{self.file}:{self.line} {self.text}"


class Site:
    """An expression in the source, or an assignment to an element or with an operator.

    `kind` is that of the syntax ("BinOp"), "old" for what `a += b` reads and "write" for what it
    writes; `op` the operator or the last name of the function that is called. `kids` are the sites
    it is made of, `around` is the one that it is a part of, and `whole` says that there is none in
    its statement. `name` is what it is bound to: a variable, the key of a dict.
    """

    __slots__ = (
        "around", "kids", "kind", "name", "op", "source", "span", "statement", "whole",
    )  # fmt: skip

    def __init__(
        self, source: Source, statement: Statement, kind: str, op: str, node: Any, kids: list[Site]
    ) -> None:
        self.source, self.statement, self.kind, self.op = source, statement, kind, op
        self.span = node.lineno, node.col_offset, node.end_lineno, node.end_col_offset
        self.kids, self.whole, self.name = kids, False, ""
        self.around: Site | None = None
        for kid in kids:
            kid.around = self

    @property
    def text(self) -> str:
        """The expression as the user wrote it, on one line."""
        return self.source.text(*self.span)

    def __repr__(self) -> str:
        return f"{self.statement.line}: {self.text}"


def seen(site: Site, value: Any) -> Any:
    """Give a value on to who watches."""
    watcher = watching.get()
    return value if watcher is None else watcher.value(site, value, sys._getframe(1))


def taken(site: Site, values: Any) -> Any:
    """Give all that a generator yields as a list, for who watches."""
    watcher = watching.get()
    return values if watcher is None else watcher.value(site, list(values), sys._getframe(1))


def wrote(site: Site, base: Any, target: Any = None) -> None:
    """Tell who watches of an assignment."""
    watcher = watching.get()
    if watcher is not None:
        watcher.wrote(site, base, target, sys._getframe(1))


class Expressions(Rewriter):
    """Hooks every expression in functions and lambdas."""

    def __init__(self, file: str) -> None:
        super().__init__(file)
        self.source = Source(file)
        self.function: str | None = None
        self.statement: Statement | None = None
        self.within: Statement | None = None

    # ---- statements ------------------------------------------------------------------------------

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        before = self.function, self.statement, self.within
        self.function, self.within = node.name, None
        node.body = self.block(node.body)
        self.function, self.statement, self.within = before
        return node

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        before, self.function = self.function, None
        node.body = self.block(node.body)
        self.function = before
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        before = self.function, self.statement
        if self.function is None:
            self.function = "<lambda>"
            self.statement = self.stated(node, [])
        node.body = self.whole(node.body)
        self.function, self.statement = before
        return node

    def block(self, body: list[ast.stmt]) -> list[ast.stmt]:
        """Hook the statements of a block."""
        return [made for statement in body for made in self.stmt(statement)]

    def inside(self, body: list[ast.stmt]) -> list[ast.stmt]:
        """Hook the statements in the body of one."""
        before = self.statement, self.within
        self.within = self.statement
        made = self.block(body)
        self.statement, self.within = before
        return made

    def stated(self, node: ast.stmt | ast.Lambda, targets: list[Any]) -> Statement:
        return Statement(self.source, node, targets, self.function or "", self.within)

    def stmt(self, node: ast.stmt) -> list[ast.stmt]:
        """Hook a statement; others may follow it."""
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            return [self.visit(node)]
        if self.function is None:
            return [self.generic_visit(node)]  # type: ignore[list-item]
        targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
        self.statement = self.stated(node, [t for t in targets if isinstance(t, ast.expr)])
        if isinstance(node, ast.AugAssign):
            return self.augmented(node)
        if isinstance(node, ast.Assign):
            node.value = self.whole(node.value)
            for target in node.targets:
                self.bound(node.value, target)
            return [node, *[s for t in node.targets for s in self.assigned(node, t, node.value)]]
        if isinstance(node, ast.Return | ast.Expr | ast.AnnAssign):
            if node.value is not None:
                node.value = self.whole(node.value)
            return [node]
        if isinstance(node, ast.Delete | ast.Global | ast.Nonlocal | ast.Import | ast.ImportFrom):
            return [node]
        for name, part in ast.iter_fields(node):
            if isinstance(part, list) and part and isinstance(part[0], ast.stmt):
                setattr(node, name, self.inside(part))
            elif isinstance(part, list):
                for item in part:
                    self.part(item)
            elif isinstance(part, ast.expr) and name != "target":
                setattr(node, name, self.expression(part))
        return [node]

    def part(self, item: Any) -> None:
        """Hook the items of a `with`, the handlers of a `try`, the cases of a `match`."""
        if isinstance(item, ast.withitem):
            item.context_expr = self.expression(item.context_expr)
        elif hasattr(item, "body"):
            item.body = self.inside(item.body)

    def augmented(self, node: ast.AugAssign) -> list[ast.stmt]:
        """Hook `a += b`: what is read, what is added, what has come of it."""
        target, op = node.target, type(node.op).__name__
        if not _pure(target):
            node.value = self.whole(node.value)
            return [node]
        old = self.site("old", "", target, [])
        before = ast.Expr(self.call(seen, node, self.constant(old), _loaded(target)))
        node.value = self.whole(node.value)
        added = [site] if (site := self.site_of(node.value)) else []
        site = self.site("write", op, node, [old, *added])
        return [ast.copy_location(before, node), node, self.written(node, site, target)]

    def bound(self, value: ast.expr, target: ast.expr) -> None:
        """Note what an expression is bound to."""
        if site := self.site_of(value):
            site.name = self.source.of(target)
            inside = _inside(value)
            if not isinstance(target, ast.Tuple | ast.List):
                return
            if isinstance(inside, ast.Tuple | ast.List) and len(inside.elts) == len(target.elts):
                for v, t in zip(inside.elts, target.elts, strict=True):
                    self.bound(v, t)

    def assigned(self, node: ast.Assign, target: ast.expr, value: ast.expr) -> list[ast.stmt]:
        """Hook assignments to elements, each after the statement."""
        if isinstance(target, ast.Tuple | ast.List):
            inside = _inside(value)
            parts = [value] * len(target.elts)
            if isinstance(inside, ast.Tuple | ast.List) and len(inside.elts) == len(parts):
                parts = inside.elts
            pairs = zip(target.elts, parts, strict=True)
            return [s for t, v in pairs for s in self.assigned(node, t, v)]
        if not isinstance(target, ast.Subscript) or not _pure(target):
            return []
        made = [site] if (site := self.site_of(value)) else []
        return [self.written(node, self.site("write", "", node, made), target)]

    def written(self, node: ast.stmt, site: Site, target: ast.expr) -> ast.stmt:
        site.whole = True
        base = _loaded(target.value) if isinstance(target, ast.Subscript) else ast.Constant(None)
        call = self.call(wrote, node, self.constant(site), base, _loaded(target))
        return ast.copy_location(ast.Expr(call), node)

    # ---- expressions -----------------------------------------------------------------------------

    def visit(self, node: ast.AST) -> Any:
        inside = self.function is not None and isinstance(node, ast.expr)
        return self.expression(node) if inside else super().visit(node)  # type: ignore[arg-type]

    def site(self, kind: str, op: str, node: ast.AST, kids: list[Site]) -> Site:
        assert self.statement is not None
        return Site(self.source, self.statement, kind, op, node, kids)

    def site_of(self, node: ast.AST) -> Site | None:
        """Return the site of an expression that is hooked."""
        hooked = isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)
        known = self.constants.get(node.args[0].value) if hooked else None  # type: ignore
        return known if isinstance(known, Site) else None

    def whole(self, node: ast.expr) -> ast.expr:
        """Hook the expression that a statement is about."""
        made = self.expression(node)
        if site := self.site_of(made):
            site.whole = True
        return made

    def expression(self, node: ast.expr) -> ast.expr:
        """Hook an expression and all within it."""
        if isinstance(node, ast.Lambda):
            return self.visit_Lambda(node)  # type: ignore[return-value]
        if isinstance(node, ast.Constant | ast.JoinedStr):
            return node
        if not isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
            return node
        kids, op = list[Site](), ""
        if isinstance(node, ast.Call):
            op = self._call(node, kids)
        elif isinstance(node, ast.Subscript):
            node.value = self.kid(kids, node.value)
        elif isinstance(node, ast.IfExp):
            node.test = self.expression(node.test)
            node.body, node.orelse = self.kid(kids, node.body), self.kid(kids, node.orelse)
        elif isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp):
            for loop in node.generators:
                loop.iter = self.expression(loop.iter)
                loop.ifs = [self.expression(x) for x in loop.ifs]
            if isinstance(node, ast.DictComp):
                node.value = self.expression(node.value)
            else:
                node.elt = self.expression(node.elt)
        elif not isinstance(node, ast.Name):
            op = getattr(node, "attr", "") or type(getattr(node, "op", None)).__name__
            for name, part in ast.iter_fields(node):
                if isinstance(part, ast.expr) and name != "target":
                    setattr(node, name, self.kid(kids, part))
                elif isinstance(part, list) and name != "keys":
                    setattr(node, name, [self.kid(kids, x) for x in part])
        unseen = ast.Starred | ast.GeneratorExp | ast.Yield | ast.YieldFrom | ast.Await
        return node if isinstance(node, unseen) else self.hooked(seen, node, op, kids)

    def hooked(self, hook: Any, node: ast.expr, op: str, kids: list[Site]) -> ast.expr:
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if key is not None and (part := self.site_of(value)):
                    constant = isinstance(key, ast.Constant)
                    part.name = str(key.value) if constant else self.source.of(key)  # type: ignore
        site = self.site(type(node).__name__, op, node, kids)
        return self.call(hook, node, self.constant(site), node)

    def kid(self, kids: list[Site], node: Any) -> Any:
        """Hook a part of an expression, and note it among the parts."""
        if not isinstance(node, ast.expr):
            return node
        made = self.expression(node)
        if isinstance(made, ast.Starred):
            inside: ast.expr = made.value
        else:
            inside = made
        if site := self.site_of(inside):
            kids.append(site)
        return made

    def _call(self, node: ast.Call, kids: list[Site]) -> str:
        f, op = node.func, ""
        if isinstance(f, ast.Attribute):
            op, f.value = f.attr, self.kid(kids, f.value)
        elif isinstance(f, ast.Name):
            op = f.id
        else:
            node.func = self.expression(f)
        node.args = [self.kid(kids, x) for x in node.args]
        if len(node.args) == 1 and isinstance(f, ast.Name) and op in EAGER:
            (x,) = node.args
            if isinstance(x, ast.GeneratorExp):
                node.args = [self.hooked(taken, x, "", [])]
                kids.append(self.site_of(node.args[0]))  # type: ignore[arg-type]
        for keyword in node.keywords:
            keyword.value = self.kid(kids, keyword.value)
        return op


def _inside(value: ast.expr) -> Any:
    """Return the expression in a call of a hook."""
    return value.args[-1] if isinstance(value, ast.Call) and value.args else value


def _pure(target: ast.expr) -> bool:
    """Whether nothing happens if the names and indices of a target are read once more."""
    for node in ast.walk(target):
        if isinstance(node, ast.Call):
            if not (isinstance(node.func, ast.Name) and node.func.id in PURE):
                return False
        elif isinstance(node, ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom | ast.Lambda):
            return False
    return True


def _loaded(target: ast.expr) -> ast.expr:
    """Return a target as an expression that is read."""
    made = copy.deepcopy(target)
    made.ctx = ast.Load()  # type: ignore[attr-defined]
    return made
