"""A module before it is run: what is in it, with the shapes of its parameters."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Protocol

import graphviz

from ..core.tensor import Tensor
from ..graph.nodes import numbered
from ..graph.periods import ROUNDS
from . import words
from .dot import PAGE, drawing, escaped, small
from .text import Text

__all__ = ["model"]

FRAME_STYLE = 'style="rounded,filled" color="#94a3b8" fillcolor="{}"'


class _Modules(Protocol):
    """What is drawn: it names the modules in it, itself with '', and all parameters."""

    def named_modules(self) -> Iterable[tuple[str, Any]]: ...

    def named_parameters(self) -> Iterable[tuple[str, Tensor]]: ...


def model(module: _Modules, *, fold: bool = True) -> graphviz.Digraph:
    """Return a picture of a module before any run: the modules in it, and their parameters.

    Equal modules in a row, as the blocks of a deep network, are drawn once, with their number, from
    3 on; `fold=False` draws each.

    Where the order is known, as in Sequential, arrows show it. A module that is held in two places
    is drawn where it is found first. TypeError for what is not a module.
    """
    if not hasattr(module, "named_modules"):
        raise TypeError(
            f"viz.model draws a module, not {type(module).__name__}; for what was computed, "
            "use viz.draw(loss)"
        )
    tree = _Tree(module, fold)
    body = [PAGE.replace("labelloc=b", "labelloc=t"), *tree.lines(), *tree.arrows()]
    return drawing(body, {"text/plain": Text(tree.text())})


class _Tree:
    """The modules by path, and what each holds itself."""

    def __init__(self, module: _Modules, fold: bool) -> None:
        self.modules = dict(module.named_modules())
        self.below: dict[str, list[str]] = defaultdict(list)
        self.own: dict[str, list[tuple[str, Tensor]]] = defaultdict(list)
        self.number = {path: k for k, path in enumerate(self.modules)}
        for path in list(self.modules)[1:]:
            self.below[self._home(path)].append(path)
        for name, t in module.named_parameters():
            home = self._home(name)
            self.own[home].append((name[len(home) + bool(home) :], t))
        self.equal: dict[str, list[str]] = {}  # what is drawn once: by the first, all of them
        for home in [*self.below] if fold else ():
            self.below[home] = self._drawn(self.below[home])

    def _drawn(self, below: list[str]) -> list[str]:
        """Return the modules in a module, of equal ones in a row only the first."""
        rows: list[list[str]] = []
        for path in below:
            if rows and self._follows(rows[-1][-1], path):
                rows[-1].append(path)
            else:
                rows.append([path])
        self.equal |= {row[0]: row for row in rows if len(row) >= ROUNDS}
        return [path for row in rows for path in (row if row[0] not in self.equal else row[:1])]

    def _follows(self, before: str, path: str) -> bool:
        (name, k), (same, following) = numbered(before), numbered(path)
        return (name, k + 1) == (same, following) and self._form(before) == self._form(path)

    def _form(self, path: str) -> list[Any]:
        """Return what equal modules have in common: what is in them, and how each is described."""
        start = len(path)
        paths = [p for p in self.modules if p.startswith(path) and p[start : start + 1] in ".["]
        form = [(p[start:], type(self.modules[p]), repr(self.modules[p])) for p in [path, *paths]]
        functions = [s for p in paths for s in self._steps(p) if not hasattr(s, "named_modules")]
        shapes = [(name, t.shape) for name, t in self.modules[path].named_parameters()]
        return [form, functions, shapes]

    def _home(self, name: str) -> str:
        """Return the module that holds what has this name: the longest path that it begins with."""
        cuts = [k for k, c in enumerate(name) if c in ".["]
        return next((name[:k] for k in reversed(cuts) if name[:k] in self.modules), "")

    def size(self, path: str) -> int:
        """Return the number of parameters of a module and of those in it."""
        return sum([t.size for _, t in self.modules[path].named_parameters()])

    def count(self, path: str) -> str:
        times = f"{len(self.equal[path])} × " if path in self.equal else ""
        return f"{times}{self.size(path):,} parameters"

    def title(self, path: str) -> str:
        module, home = self.modules[path], self._home(path)
        kind = f"{type(module).__name__}{words.module_sizes(module)}"
        name = path[len(home) :].lstrip(".")
        if path in self.equal:
            ends = [str(numbered(self.equal[path][k])[1]) for k in (0, -1)]
            before, _, after = name.rpartition(ends[0])
            name = f"{before}{' … '.join(ends)}{after}"
            kind += f" ×{len(self.equal[path])}"
        return words.clean(f"{name}: {kind}" if name else kind)

    def lines(self) -> list[str]:
        out, stack = list[str](), [""]
        while stack:
            path = stack.pop()
            if path == "end":
                out.append("\t}\n")
                continue
            k, count = self.number[path], self.count(path)
            if self.below[path] or not path:
                fill = FRAME_STYLE.format("#ffffff" if path else "#f8fafc")
                total = f"&#8195;{small(count)}"
                title = f"<b>{escaped(self.title(path))}</b>{total}"
                out.append(
                    f"\tsubgraph cluster_{k} {{\n\t\tgraph [label=<{title}> labeljust=l {fill}]\n"
                )
                out += (
                    [self._box(f"m{k}", "", path)] if self.own[path] or not self.below[path] else []
                )
                functions = [
                    (j, small(_step_name(step)))
                    for j, step in enumerate(self._steps(path))
                    if not hasattr(step, "named_modules")
                ]
                out += [
                    f'\tm{k}_{j} [label=<{text}> shape=none style="" height=0.2]\n'
                    for j, text in functions
                ]
                stack += ["end", *reversed(self.below[path])]
            else:
                out.append(self._box(f"m{k}", self.title(path), path))
        return out

    def _box(self, key: str, title: str, path: str) -> str:
        rows = [f"<b>{escaped(title)}</b>"] if title else []
        for name, t in self.own[path]:
            name = f'<i><font color="#6d28d9">{escaped(words.clean(name))}</font></i>'
            rows.append(f"{name} {small(f'{t.shape}  {t.size:,}')}")
        return f"\t{key} [label=<{'<br/>'.join(rows) or ' '}>]\n"

    def _steps(self, path: str) -> tuple[Any, ...]:
        """Return what a module applies one after the other, if it says so, as Sequential does."""
        steps = getattr(self.modules[path], "steps", ())
        return steps if isinstance(steps, tuple) and all(map(callable, steps)) else ()

    def arrows(self) -> list[str]:
        """Return arrows between steps, and invisible ones that put other modules in their order."""
        paths, out = {id(m): path for path, m in self.modules.items()}, list[str]()
        shown, stack = list[str](), [""]
        while stack:
            shown.append(stack.pop())
            stack += reversed(self.below[shown[-1]])
        for path, below in [(path, self.below[path]) for path in shown]:
            ends = [(*self._ends(p), False) for p in below]
            if steps := self._steps(path):
                ends = []
                for j, step in enumerate(steps):
                    p = paths.get(id(step))
                    if p is not None and p not in self.below[path]:
                        continue  # is like the one before
                    own = f"m{self.number[path]}_{j}"
                    ends.append(
                        (own, own, True) if p is None else (*self._ends(p), not self.below[p])
                    )
            for (_, a, a_box), (b, _, b_box) in itertools.pairwise(ends):
                out.append(f"\t{a} -> {b}{'' if a_box and b_box else ' [style=invis]'}\n")
        return out

    def _ends(self, path: str) -> tuple[str, str]:
        return self._end(path, 0), self._end(path, -1)

    def _end(self, path: str, k: int) -> str:
        """Return the key of the first or the last box in a module."""
        while self.below[path] and not (k == 0 and self.own[path]):
            path = self.below[path][k]
        return f"m{self.number[path]}"

    def text(self) -> str:
        lines, stack = list[str](), [("", 0)]
        while stack:
            path, level = stack.pop()
            indent = "  " * level
            lines.append(f"{indent}{self.title(path)}  {self.count(path)}")
            lines += [f"{indent}  {name} {t.shape}  {t.size:,}" for name, t in self.own[path]]
            stack += [(below, level + 1) for below in reversed(self.below[path])]
        return "\n".join(lines)


def _step_name(step: Any) -> str:
    name = getattr(step, "__name__", type(step).__name__)
    return "function" if name == "<lambda>" else str(name)
