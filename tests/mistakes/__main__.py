"""The table of planted mistakes: `python -m tests.mistakes [page ...]`.

It renews `expected.txt`, which says for every mistake which explanation is the right one; with page
names, the lines of these pages only. The search has no limit of time here, nor where the tests hold
it to that file: the speed of a machine decides nothing.
"""

import importlib
import math
import sys
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

import minigrad as mg

PAGES = [
    "mlp", "softmax", "layer_norm", "batch_norm", "attention", "conv1d", "rnn", "gru", "lstm",
    "article",
]  # fmt: skip
EXPECTED = Path(__file__).with_name("expected.txt")
HEAD = """\
# Which explanation of each planted mistake names the statement that was edited, and which says
# besides what is wrong with it: 1 is the first, - none of them. Written by `make mistakes`;
# tests/explain/test_explain.py holds explanations to it.
"""


class Line(NamedTuple):
    """A line of `expected.txt`: a page, the ranks of statement and sentence, the planted edit."""

    page: str
    named: str
    said: str
    edit: str

    def __str__(self):
        return f"{self.page:10} {self.named:>3} {self.said:>3}  {self.edit}"


def expected():
    """Read the lines of `expected.txt`."""
    lines = EXPECTED.read_text().splitlines() if EXPECTED.exists() else []
    return [Line(*line.split(None, 3)) for line in lines if line and not line.startswith("#")]


def renew(lines):
    """Write `lines` in the place of those of the same pages; the pages keep their order."""
    new = {line.page for line in lines}
    every = [*lines, *[line for line in expected() if line.page not in new]]
    groups = [[str(line) for line in every if line.page == name] for name in PAGES]
    EXPECTED.write_text("\n".join([HEAD, *["\n".join([*group, ""]) for group in groups if group]]))


def rank(found, holds):
    """The number of the first explanation for which something holds, or a dash."""
    return next((str(k) for k, e in enumerate(found, 1) if holds(e)), "-")


def tried(page, mistake, seed=0):
    """Plant a mistake: whether it is detected, the explanations, their ranks, the seconds."""
    inputs = page.draw(np.random.default_rng(seed), kind="square" if mistake.square else "usual")
    start = time.process_time()
    report = mg.compare_backward(page.forward, mistake.planted(page.backward), inputs)
    found = report.explain(math.inf)  # the speed of a machine decides nothing
    seconds = time.process_time() - start
    lines = mistake.statements(page.backward)
    named = rank(found, lambda e: e.line in lines)
    said = rank(found, lambda e: e.line in lines and e.kind in mistake.kinds)
    return not report.ok, found, named, said, seconds


def main(names, package="tests.mistakes"):
    """Print the table; `expected.txt` is about the pages of this package only."""
    lines, detected, slowest = [], 0, 0.0
    for name in names or PAGES:
        page = importlib.import_module(f"{package}.{name}")
        for mistake in page.MISTAKES:
            seen, found, named, said, seconds = tried(page, mistake)
            lines.append(Line(name, named, said, mistake.edit))
            slowest = max(slowest, seconds)
            detected += seen
            print(f"{name:10} {named:>3} {said:>3} {seconds:5.2f} s  {mistake.edit}")
            if (named, said) != ("1", "1"):
                lines_of = sorted(mistake.statements(page.backward))
                print(f"{'':20}{', '.join(mistake.kinds)} in {lines_of}")
                for e in found[:4]:
                    print(f"{'':20}{e.line} `{e.statement}` {e.kind}: {e.sentence}")
                if not seen:
                    print(f"{'':20}not detected")
    total = len(lines)
    for name in dict.fromkeys(line.page for line in lines):
        of = [line for line in lines if line.page == name]
        first, said = (sum(line[k] == "1" for line in of) for k in (1, 2))
        print(f"{name:10} {len(of):3} planted, statement first {first}, sentence right {said}")
    first, said = (sum(line[k] == "1" for line in lines) for k in (1, 2))
    three = sum(line.named in ("1", "2", "3") for line in lines)
    print(
        f"planted {total}, detected {detected}, statement first {first} ({first / total:.0%}), "
        f"among three {three} ({three / total:.0%}), first sentence right {said} "
        f"({said / total:.0%}), slowest {slowest:.1f} s"
    )
    if package == "tests.mistakes":
        renew(lines)


if __name__ == "__main__":
    warnings.simplefilter("error")
    main(sys.argv[1:])
