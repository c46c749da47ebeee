"""What training says while it goes on: a bar or a line that is rewritten, or a line an epoch."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TextIO, TypeAlias

__all__ = ["Out", "Progress"]

Out: TypeAlias = "TextIO | Literal['auto'] | None"
"""A file; "auto" for stdout in a notebook and stderr elsewhere; None for silence."""

_OFTEN = 0.1  # seconds between two lines in an epoch


class Progress:
    """Says how far training is. Where nobody watches, nothing is said within an epoch."""

    def __init__(self, out: Out, epochs: int) -> None:
        watched = _in_notebook()
        self.out = (sys.stdout if watched else sys.stderr) if out == "auto" else out
        on_screen = self.out is not None and (
            self.out.isatty() or (watched and self.out is sys.stdout)
        )
        self.rewrites, self.epochs = on_screen, epochs
        self._bar: Any = None
        self._width = 0
        self._seconds, self._done = 0.0, 0

    def resumed(self, checkpoint: Path | None, epochs: int, steps: int, goes_on: bool) -> None:
        """A checkpoint was found, if any of this is done."""
        if self.out is not None and (epochs or steps) and checkpoint is not None:
            more = f" after {steps} batches" * bool(steps)
            said = f"going on in epoch {epochs + 1}{more}" if goes_on else "nothing is left to do"
            print(f"{checkpoint}: {said}", file=self.out)

    def begin(self, epoch: int, steps: int | None, done: int, unit: str) -> None:
        """An epoch begins, of so many steps if that is known, of which some are done already."""
        self.epoch, self.steps, self.done, self.unit = epoch, steps, done, unit
        self._examples, self._start = 0, time.perf_counter()
        self._said = self._start
        if self.rewrites and find_spec("tqdm") is not None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=steps, initial=done, file=self.out, leave=False, desc=self._head(),
                unit="batch", mininterval=_OFTEN, dynamic_ncols=True,
            )  # fmt: skip

    def step(self, loss: float, norm: float, examples: int) -> None:
        """A step is done."""
        self._examples += examples
        self.done += 1
        if not self.rewrites:
            return
        now = time.perf_counter()
        if now - self._said < _OFTEN:
            return
        self._said = now
        spent = now - self._start
        numbers = (
            f"loss {loss:.5f}  gradient {norm:.3g}  {self._examples / spent:,.0f} {self.unit}/s"
        )
        if self._bar is not None:
            self._bar.set_postfix_str(numbers, refresh=False)
            self._bar.update(self.done - self._bar.n)
            return
        left = ""
        if self.steps:
            part = (self.steps - self.done) / max(self.done, 1) * spent
            left = f"  {_time(part)} left"
        of = f"/{self.steps}" if self.steps else ""
        self._rewrite(f"{self._head()}  batch {self.done}{of}  {numbers}{left}")

    def end(self, row: Mapping[str, float], best: int, stopped: str) -> None:
        """An epoch is over."""
        spent = time.perf_counter() - self._start
        self._seconds += spent
        self._done += 1
        self._close_bar()
        if self.out is None:
            return
        said = [f"{name} {value:.5f}" for name, value in row.items()]
        said += [f"(best: {best + 1})"] * (best >= 0)
        said.append(f"{self._examples / spent:,.0f} {self.unit}/s")
        left = self.epochs - self.epoch - 1
        if stopped:
            said.append(f"stopped: {stopped}")
        elif left:
            said.append(f"{_time(self._seconds / self._done * left)} left")
        line = "  ".join([self._head(), *said])
        if not self.rewrites:
            print(line, file=self.out, flush=True)
            return
        self._rewrite(line)
        if stopped and self._width < len(line):
            print(f"\nstopped: {stopped}", end="", file=self.out)

    def interrupted(self) -> None:
        """Somebody has ended it early."""
        self._close_bar()
        if self.out is not None:
            print(
                f"{chr(10) * bool(self._width)}interrupted: keeping the best epoch so far",
                file=self.out,
            )

    def close(self) -> None:
        """Leave what was said last on a line of its own."""
        self._close_bar()
        if self._width:
            print(file=self.out)
            self._width = 0

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _head(self) -> str:
        return f"epoch {self.epoch + 1:>{len(str(self.epochs))}}/{self.epochs}"

    def _rewrite(self, line: str) -> None:
        """Write a line over the one before: of the length of both, and of the screen at most."""
        assert self.out is not None
        if self.out.isatty():
            line = line[: shutil.get_terminal_size().columns - 1]
        print(f"\r{line:<{self._width}}", end="", file=self.out, flush=True)
        self._width = len(line)


def _time(seconds: float) -> str:
    minutes, s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{s:02}" if hours else f"{minutes}:{s:02}"


def _in_notebook() -> bool:
    """Whether a notebook runs this, which has already loaded IPython then."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")
