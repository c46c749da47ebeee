"""A mistake planted into a hand-written backward pass: an edit of its source, and what is true."""

import ast
import difflib
import inspect
import linecache
import textwrap
from dataclasses import dataclass


@dataclass(frozen=True)
class Mistake:
    """`find`, once in the source of `backward`, is replaced: what a person would write instead.

    `kinds` are what a teacher would call it, `at` parts of the line of `forward` that a teacher
    would point at; any of them is right. `square`: it needs square matrices to go unnoticed.
    """

    find: str
    replace: str
    kinds: tuple[str, ...]
    at: tuple[str, ...]
    square: bool = False

    @property
    def edit(self):
        """The edit on one line, as the pages write it."""
        return f"{self.find} -> {self.replace}"

    def planted(self, backward):
        source = textwrap.dedent(inspect.getsource(backward))
        count = source.count(self.find)
        assert count == 1, f"{self.find!r} is there {count} times"
        source = source.replace(self.find, self.replace)
        name = f"<planted {backward.__module__} {self.find!r} -> {self.replace!r}>"
        return compiled(backward, source, name)

    def statements(self, backward):
        """The lines at which the statements begin that the mistake was planted in."""
        source = textwrap.dedent(inspect.getsource(backward))
        return statements(source, source.replace(self.find, self.replace))


def compiled(f, source, name):
    """Make the function anew from another source, which tools find under the file's `name`."""
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    scope = dict(f.__globals__)
    exec(compile(source, name, "exec"), scope)
    return scope[f.__name__]


def statements(before, after):
    """Give the lines of `after` at which the statements begin that are not as they were before.

    Where one was left out, these are its neighbours: the nearest that there is to point at.
    """
    one, two = before.splitlines(), after.splitlines()
    changed = set()
    for tag, a, b, first, last in difflib.SequenceMatcher(None, one, two, False).get_opcodes():
        if tag == "delete" or (tag == "replace" and last - first < b - a):
            changed |= {first, last + 1}
        if tag != "equal":
            changed |= {*range(first + 1, last + 1)}
    for line, text in enumerate(two, 1):
        if line in changed and text.strip() == "pass":
            changed |= {line - 1, line + 1}
    begins = dict[int, int]()
    for node in ast.walk(ast.parse(after)):
        if isinstance(node, ast.stmt) and not hasattr(node, "body"):
            begins |= dict.fromkeys(range(node.lineno, node.end_lineno + 1), node.lineno)
    return {begins.get(line, line) for line in changed}


def sizes(rng, kind, usual, square):
    """Give lengths of axes: all different, those of square matrices, or random ones."""
    chosen = {"usual": usual, "square": square}
    return (
        chosen[kind] if kind in chosen else tuple([int(n) for n in rng.integers(1, 8, len(usual))])
    )


def mistakes(text):
    """Read mistakes from lines `find -> replace | kinds | at`; `square` may follow."""
    found = []
    for line in text.strip().splitlines():
        edit, kinds, at, *more = [part.strip() for part in line.split(" | ")]
        find, replace = [side.strip() for side in edit.split(" -> ")]
        found.append(Mistake(
            find, replace, tuple(k.strip() for k in kinds.split(",")),
            tuple(a.strip() for a in at.split(" or ")), more == ["square"],
        ))  # fmt: skip
    return found
