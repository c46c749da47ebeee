"""The table of planted mistakes: `python -m tests.mistakes [page ...]`."""

import importlib
import sys
import time
import warnings

import numpy as np

from minigrad.check.compare import compare_backward

PAGES = [
    "mlp", "softmax", "layer_norm", "batch_norm", "attention", "conv1d", "rnn", "gru", "lstm",
    "article",
]  # fmt: skip


def right(mistake, explanation):
    """Whether an explanation names the mistake: its kind, and the line of the forward pass."""
    return explanation.kind in mistake.kinds and any(
        at in explanation.where.line for at in mistake.at
    )


def tried(page, mistake, seed=0):
    """Plant a mistake: whether it is detected, the explanations, the place of the right one."""
    inputs = page.draw(np.random.default_rng(seed), kind="square" if mistake.square else "usual")
    start = time.process_time()
    report = compare_backward(page.forward, mistake.planted(page.backward), inputs)
    found = report.explain()
    rank = next((k for k, e in enumerate(found) if right(mistake, e)), None)
    return not report.ok, found, rank, time.process_time() - start


def main(names, package="tests.mistakes"):
    total, detected, first, three, slowest = 0, 0, 0, 0, 0.0
    for name in names or PAGES:
        page = importlib.import_module(f"{package}.{name}")
        for mistake in page.MISTAKES:
            seen, found, rank, seconds = tried(page, mistake)
            total, slowest = total + 1, max(slowest, seconds)
            detected += seen
            first += rank == 0
            three += rank is not None and rank < 3
            place = "-" if rank is None else rank + 1
            print(f"{name:10} {place!s:>3} {seconds:5.2f} s  {mistake.find} -> {mistake.replace}")
            if rank != 0:
                for e in found[:4]:
                    print(f"{'':20}{e.kind}: {e.sentence}")
                if not seen:
                    print(f"{'':20}not detected")
    print(
        f"planted {total}, detected {detected}, first explanation right {first} "
        f"({first / total:.0%}), among the first three {three} ({three / total:.0%}), "
        f"slowest {slowest:.1f} s"
    )


if __name__ == "__main__":
    warnings.simplefilter("error")
    main(sys.argv[1:])
