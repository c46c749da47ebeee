"""The training loop: epochs with progress, validation, early stopping at the best parameters."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TextIO

from .core.context import no_grad
from .core.tensor import Tensor
from .nn.module import Module
from .optim import Optimizer, clip_grad_norm_

__all__ = ["History", "fit"]


class History:
    """What `fit` saw: the numbers of each epoch, and the epoch whose parameters were kept."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []
        self.best = -1

    def __getitem__(self, name: str) -> list[float]:
        return [epoch[name] for epoch in self.epochs]


def fit(
    module: Module,
    optimizer: Optimizer,
    batches: Callable[[], Iterable[Any]],
    loss: Callable[[Any], Tensor],
    validate: Callable[[], float],
    *,
    epochs: int,
    patience: int | None = None,
    clip: float | None = None,
    watch: Callable[[], Mapping[str, float]] | None = None,
    out: TextIO | None = sys.stderr,
) -> History:
    """Train until `epochs`, or until `validate` has not improved for `patience` epochs.

    Each epoch calls `loss(batch)` for every batch of `batches()`, then `validate()` without
    recording. `watch` gives further numbers to track. The parameters of the best epoch are restored
    at the end, also when training is interrupted (Ctrl-C ends it early, and keeps the best).
    A loss that is not finite raises FloatingPointError, with the best parameters restored. Progress
    goes to `out`, one line rewritten on a terminal, one line an epoch elsewhere, None for silence.
    """
    history, best, kept = History(), math.inf, module.state_dict()
    try:
        for epoch in range(epochs):
            module.train()
            losses = []
            for batch in batches():
                optimizer.zero_grad()
                value = loss(batch)
                value.backward()
                losses.append(value.item())
                if not math.isfinite(losses[-1]):
                    raise FloatingPointError(f"the loss became {losses[-1]} in epoch {epoch + 1}")
                if clip is not None:
                    clip_grad_norm_(optimizer.params, clip)
                optimizer.step()
            if not losses:
                raise ValueError("fit: there were no batches")
            module.eval()
            with no_grad():
                row = {"train": sum(losses) / len(losses), "validation": float(validate())}
                row |= watch() if watch else {}
            history.epochs.append(row)
            if row["validation"] < best:
                best, history.best, kept = row["validation"], epoch, module.state_dict()
            _report(out, epoch, epochs, row, history.best)
            if patience is not None and epoch - history.best >= patience:
                break
    except KeyboardInterrupt:
        if out:
            print("\ninterrupted: keeping the best epoch so far", file=out)
    finally:
        module.load_state_dict(kept)
        module.eval()
    if out and out.isatty():
        print(file=out)
    return history


def _report(
    out: TextIO | None, epoch: int, epochs: int, row: Mapping[str, float], best: int
) -> None:
    if out is None:
        return
    numbers = "  ".join(f"{name} {value:.5f}" for name, value in row.items())
    line = f"epoch {epoch + 1:>{len(str(epochs))}}/{epochs}  {numbers}  (best: {best + 1})"
    if out.isatty():
        print(f"\r{line}\x1b[K", end="", file=out, flush=True)
    else:
        print(line, file=out, flush=True)
