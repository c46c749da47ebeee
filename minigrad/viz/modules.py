"""A module before it is run: what is in it, with the shapes of its parameters."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Protocol

import graphviz

from ..core.tensor import Tensor
from . import words
from .dot import PAGE, drawing, escaped, small
from .text import Text

__all__ = ["model"]

FRAME_STYLE = 'style="rounded,filled" color="#94a3b8" fillcolor="{}"'


class _Modules(Protocol):
    """What is drawn: it names the modules in it, itself with '', and all parameters."""

    def named_modules(self) -> Iterable[tuple[str, Any]]: ...

    def named_parameters(self) -> Iterable[tuple[str, Tensor]]: ...


def model(module: _Modules) -> graphviz.Digraph:
    """Return a picture of a module before any run: the modules in it, and their parameters.

    Where the order is known, as in Sequential, arrows show it. A module that is held in two places
    is drawn where it is found first. TypeError for what is not a module.
    """
    if not hasattr(module, "named_modules"):
        raise TypeError(
            f"viz.model draws a module, not {type(module).__name__}; for what was computed, "
            "use viz.draw(loss)"
        )
    tree = _Tree(module)
    body = [PAGE.replace("labelloc=b", "labelloc=t"), *tree.lines(), *tree.arrows()]
    return drawing(body, {"text/plain": Text(tree.text())})


class _Tree:
    """The modules by path, and what each holds itself."""

    def __init__(self, module: _Modules) -> None:
        self.modules = dict(module.named_modules())
        self.below: dict[str, list[str]] = defaultdict(list)
        self.own: dict[str, list[tuple[str, Tensor]]] = defaultdict(list)
        self.number = {path: k for k, path in enumerate(self.modules)}
        for path in list(self.modules)[1:]:
            self.below[self._home(path)].append(path)
        for name, t in module.named_parameters():
            home = self._home(name)
            self.own[home].append((name[len(home) + bool(home) :], t))

    def _home(self, name: str) -> str:
        """Return the module that holds what has this name: the longest path that it begins with."""
        cuts = [k for k, c in enumerate(name) if c in ".["]
        return next((name[:k] for k in reversed(cuts) if name[:k] in self.modules), "")

    def size(self, path: str) -> int:
        """Return the number of parameters of a module and of those in it."""
        return sum([t.size for _, t in self.modules[path].named_parameters()])

    def title(self, path: str) -> str:
        module, home = self.modules[path], self._home(path)
        kind = f"{type(module).__name__}{words.module_sizes(module)}"
        name = path[len(home) :].lstrip(".")
        return words.clean(f"{name}: {kind}" if name else kind)

    def lines(self) -> list[str]:
        out, stack = list[str](), [""]
        while stack:
            path = stack.pop()
            if path == "end":
                out.append("\t}\n")
                continue
            k, count = self.number[path], f"{self.size(path):,}"
            if self.below[path] or not path:
                fill = FRAME_STYLE.format("#ffffff" if path else "#f8fafc")
                total = f"&#8195;{small(count + ' parameters')}"
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
        for path, below in [(path, self.below[path]) for path in self.modules]:
            ends = [(*self._ends(p), False) for p in below]
            if steps := self._steps(path):
                ends = []
                for j, step in enumerate(steps):
                    p = paths.get(id(step))
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
            lines.append(f"{indent}{self.title(path)}  {self.size(path):,} parameters")
            lines += [f"{indent}  {name} {t.shape}  {t.size:,}" for name, t in self.own[path]]
            stack += [(below, level + 1) for below in reversed(self.below[path])]
        return "\n".join(lines)


def _step_name(step: Any) -> str:
    name = getattr(step, "__name__", type(step).__name__)
    return "function" if name == "<lambda>" else str(name)
