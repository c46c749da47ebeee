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
# Which explanation of each planted mistake is the right one: 1 is the first, - none of them.
# Written by `make mistakes`; tests/explain/test_explain.py holds the search to it.
"""


class Line(NamedTuple):
    """A line of `expected.txt`: a page, the rank of the right explanation, the planted edit."""

    page: str
    rank: str
    edit: str

    def __str__(self):
        return f"{self.page:10} {self.rank:>3}  {self.edit}"


def expected():
    """Read the lines of `expected.txt`."""
    lines = EXPECTED.read_text().splitlines() if EXPECTED.exists() else []
    return [Line(*line.split(None, 2)) for line in lines if line and not line.startswith("#")]


def renew(lines):
    """Write `lines` in the place of those of the same pages; the pages keep their order."""
    new = {line.page for line in lines}
    every = [*lines, *[line for line in expected() if line.page not in new]]
    groups = [[str(line) for line in every if line.page == name] for name in PAGES]
    EXPECTED.write_text("\n".join([HEAD, *["\n".join([*group, ""]) for group in groups if group]]))


def right(mistake, explanation):
    """Whether an explanation names the mistake: its kind, and the line of the forward pass."""
    return explanation.kind in mistake.kinds and any(
        at in explanation.where.line for at in mistake.at
    )


def tried(page, mistake, seed=0):
    """Plant a mistake: whether it is detected, the explanations, the rank of the right one."""
    inputs = page.draw(np.random.default_rng(seed), kind="square" if mistake.square else "usual")
    start = time.process_time()
    report = mg.compare_backward(page.forward, mistake.planted(page.backward), inputs)
    found = report.explain(seconds=math.inf)
    rank = next((str(k) for k, e in enumerate(found, 1) if right(mistake, e)), "-")
    return not report.ok, found, rank, time.process_time() - start


def main(names, package="tests.mistakes"):
    """Print the table; `expected.txt` is about the pages of this package only."""
    lines, detected, three, slowest = [], 0, 0, 0.0
    for name in names or PAGES:
        page = importlib.import_module(f"{package}.{name}")
        for mistake in page.MISTAKES:
            seen, found, rank, seconds = tried(page, mistake)
            lines.append(Line(name, rank, mistake.edit))
            slowest = max(slowest, seconds)
            detected += seen
            three += rank in ("1", "2", "3")
            print(f"{name:10} {rank:>3} {seconds:5.2f} s  {mistake.edit}")
            if rank != "1":
                for e in found[:4]:
                    print(f"{'':20}{e.kind}: {e.sentence}")
                if not seen:
                    print(f"{'':20}not detected")
    total, first = len(lines), sum(line.rank == "1" for line in lines)
    print(
        f"planted {total}, detected {detected}, first explanation right {first} "
        f"({first / total:.0%}), among the first three {three} ({three / total:.0%}), "
        f"slowest {slowest:.1f} s"
    )
    if package == "tests.mistakes":
        renew(lines)


if __name__ == "__main__":
    warnings.simplefilter("error")
    main(sys.argv[1:])
