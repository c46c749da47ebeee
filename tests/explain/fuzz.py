"""Random edits of the pages' backward passes: explain() has an answer to each, and raises nothing.

    python -m tests.explain.fuzz [2000] [--seed 0]

An edit replaces one expression of the source (an operator, a name, a factor, a slice, a transpose)
or leaves a statement out. What still runs, and gives other gradients than the right ones, is asked
about. The table says how often the statement that was edited is the first that is named.
"""

import argparse
import ast
import importlib
import inspect
import textwrap
import time
import warnings
from collections import Counter

import numpy as np

import minigrad as mg
from tests.mistakes.__main__ import PAGES
from tests.mistakes.catalogue import compiled, statements


def edits(source):
    """List the edits of a function's source: (first, last) characters, and what stands there."""
    tree = ast.parse(source)
    starts = [0]
    for line in source.splitlines(True):
        starts.append(starts[-1] + len(line))

    def span(node):
        return (
            starts[node.lineno - 1] + node.col_offset,
            starts[node.end_lineno - 1] + node.end_col_offset,
        )

    def text(node):
        first, last = span(node)
        return source[first:last]

    names = sorted({
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and len(node.id) < 9
    } - {"np", "p", "len", "range", "sum", "zip"})  # fmt: skip
    operators = {"+": "-", "-": "+", "*": "/", "/": "*"}
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp):
            a, b = span(node.left)[1], span(node.right)[0]
            between = source[a:b]
            for op, other in operators.items():
                if between.strip() == op:
                    yield (a, b), between.replace(op, other)
            yield span(node), text(node.left)
            yield span(node), text(node.right)
            if isinstance(node.op, ast.Pow):
                yield span(node), f"{text(node.left)} ** 3"
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names:
            for other in names:
                if other != node.id:
                    yield span(node), other
        elif isinstance(node, ast.UnaryOp):
            yield span(node), text(node.operand)
        elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            yield span(node), str(node.value + 1)
            yield span(node), str(node.value - 1)
        elif isinstance(node, ast.Attribute) and node.attr == "T":
            yield span(node), text(node.value)
        elif isinstance(node, ast.AugAssign):
            a, b = span(node.target)[1], span(node.value)[0]
            yield (a, b), " = "
            yield (a, b), " -= "
        elif isinstance(node, ast.Compare):
            yield span(node), f"~({text(node)})"
        if isinstance(node, ast.Assign | ast.AugAssign) and node.lineno == node.end_lineno:
            yield span(node), "pass"


def edited(page, rng):
    """Make one random edit of a page's backward pass: the function, and the lines to be named."""
    source = textwrap.dedent(inspect.getsource(page.backward))
    every = [*edits(source)]
    (first, last), new = every[rng.integers(len(every))]
    changed = source[:first] + new + source[last:]
    what = f"{source[first:last]!r} -> {new!r}"
    line = source[:first].count("\n") + 1
    name = f"<edited {page.__name__} {line} {what}>"
    return compiled(page.backward, changed, name), statements(source, changed), f"{line}: {what}"


def asked(page, rng):
    """Ask about one edit: None if it does not run or changes nothing, else what is named."""
    inputs = page.draw(rng, kind=("usual", "square", "random")[rng.integers(3)])
    try:
        backward, lines, what = edited(page, rng)
        report = mg.compare_backward(page.forward, backward, inputs)
    except Exception:  # the edit itself is nonsense: as likely as not it does not run
        return None
    if report.ok:
        return None
    start = time.perf_counter()
    found = report.explain()
    seconds = time.perf_counter() - start
    assert len(found) > 0, what
    assert str(found), what
    rank = next((k for k, e in enumerate(found, 1) if e.line in lines), 0)
    return what, rank, seconds, found[0]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("number", nargs="?", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    pages = [importlib.import_module(f"tests.mistakes.{name}") for name in PAGES]
    rng = np.random.default_rng(options.seed)
    done, crashes, times, ranks = 0, 0, [], Counter()
    while done < options.number:
        page = pages[done % len(pages)]
        try:
            answer = asked(page, rng)
        except Exception as error:
            print(f"CRASH {page.__name__}: {type(error).__name__}: {error}", flush=True)
            crashes += 1
            done += 1
            continue
        if answer is None:
            continue
        done += 1
        what, rank, seconds, first = answer
        times.append(seconds)
        ranks[rank] += 1
        if rank != 1:
            print(f"{rank or '-'} {page.__name__} {what}: named {first.line} `{first.statement}`")
    three = sum(ranks[k] for k in (1, 2, 3))
    print(
        f"{done} edits, {crashes} crashes; first {ranks[1] / done:.1%}, among three "
        f"{three / done:.1%}; median {np.median(times):.2f} s, slowest {max(times):.2f} s"
    )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    main()
