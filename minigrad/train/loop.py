"""The training loop: epochs with progress, validation, early stopping at the best parameters."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TextIO

from ..core.context import current, no_grad, put_back
from ..core.tensor import Tensor
from ..guard.errors import shown
from ..nn.arguments import number, whole
from ..nn.module import Module
from ..optim.clipping import clip_grad_norm_
from ..optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from ..optim.optimizer import Optimizer
from .history import History

__all__ = ["fit"]


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
    schedule: LRScheduler | None = None,
    watch: Callable[[], Mapping[str, float]] | None = None,
    out: TextIO | None = sys.stderr,
) -> History:
    """Return the history of training, until `validate` has not improved for `patience` epochs.

    There are `epochs` at most. Each calls `loss(batch)` for every batch of `batches()`, in training
    mode, then `validate()` in evaluation mode and without recording. `schedule` steps after each
    epoch; one that waits for a plateau is given the validation. `watch` gives further numbers to
    track. The parameters of the best epoch are restored at the end, also when training is
    interrupted (Ctrl-C ends it early, and keeps the best). The modes of the module and its parts
    are then as they were; a part in evaluation, of a module in training, stays so.

    A loss or a validation that is not finite raises FloatingPointError, with the best parameters
    restored; those of the first epoch are kept if its validation is not finite. ValueError if the
    optimiser moves what is no parameter of the module. Progress goes to `out`, one line rewritten
    on a terminal, one line an epoch elsewhere, None for silence.
    """
    _check(module, optimizer, batches=batches, loss=loss, validate=validate)
    if schedule is not None:
        _check_schedule(schedule, optimizer)
    epochs = whole("fit", "epochs", epochs)
    patience = None if patience is None else whole("fit", "patience", patience)
    clip = None if clip is None else number("fit", "clip", clip, "(0, inf)")
    history, best, kept = History(), math.inf, module.state_dict()
    modes, outside = [(m, m.training) for _, m in module.named_modules()], current()
    try:
        for epoch in range(epochs):
            module.train()
            if modes[0][1]:
                _switch(modes)
            losses = []
            for batch in batches():
                optimizer.zero_grad()
                value = loss(batch)
                if not isinstance(value, Tensor):
                    raise TypeError(f"fit: loss must return a tensor, not {shown(value)}")
                value.backward()
                losses.append(_finite("loss", value.item(), epoch))
                if clip is not None:
                    clip_grad_norm_(optimizer.params, clip)
                optimizer.step()
            if not losses:
                raise ValueError(
                    f"fit: there were no batches in epoch {epoch + 1}; batches() must begin anew "
                    "whenever it is called"
                )
            module.eval()
            if not epoch:
                kept = module.state_dict()
            with no_grad():
                validation = _finite("validation", float(validate()), epoch)
                row = {"train": sum(losses) / len(losses), "validation": validation}
                more = watch() if watch else {}
            if taken := row.keys() & more:
                raise ValueError(f"fit: watch has a number named {taken.pop()!r}, as fit itself")
            row |= more
            history.epochs.append(row)
            if validation < best:
                best, history.best, kept = validation, epoch, module.state_dict()
            _report(out, epoch, epochs, row, history.best)
            if patience is not None and epoch - history.best >= patience:
                break
            if isinstance(schedule, ReduceLROnPlateau):
                schedule.step(validation)
            elif schedule is not None:
                schedule.step()
    except KeyboardInterrupt:
        if out:
            print("\ninterrupted: keeping the best epoch so far", file=out)
    finally:
        _restore(module, kept, modes, outside)
    if out and out.isatty():
        print(file=out)
    return history


def _check(module: Any, optimizer: Any, **functions: Any) -> None:
    """TypeError for what `fit` cannot use; ValueError for an optimiser of something else."""
    if not isinstance(module, Module):
        raise TypeError(f"fit: the first argument must be a module, not {shown(module)}")
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"fit: the second argument must be an optimiser, not {shown(optimizer)}; write "
            "minigrad.optim.Adam(net.parameters())"
        )
    for name, function in functions.items():
        if not callable(function):
            raise TypeError(
                f"fit: {name} must be a function that is called anew, not {shown(function)}; "
                f"write lambda{' batch' * (name == 'loss')}: ..."
            )
    own = set(map(id, module.parameters()))
    for k, p in enumerate(optimizer.params):
        if p.live and id(p) not in own:
            raise ValueError(
                f"fit: the optimiser moves {p.name or f'its parameter {k}'}, which is no parameter "
                f"of this {type(module).__name__}; give the optimiser net.parameters(), and put "
                "further parameters into the module"
            )


def _check_schedule(schedule: Any, optimizer: Optimizer) -> None:
    if not isinstance(schedule, LRScheduler):
        raise TypeError(
            f"fit: schedule must be one of minigrad.optim, not {shown(schedule)}; write "
            "StepLR(optimizer, 10)"
        )
    if schedule.optimizer is not optimizer:
        raise ValueError("fit: the schedule is of another optimiser than the one given")


def _finite(what: str, value: float, epoch: int) -> float:
    if not math.isfinite(value):
        raise FloatingPointError(f"fit: the {what} became {value} in epoch {epoch + 1}")
    return value


def _switch(modes: list[tuple[Module, bool]]) -> None:
    for module, training in modes:
        module.training = training


def _restore(module: Module, kept: Any, modes: list[tuple[Module, bool]], outside: Any) -> None:
    """Put back the context, the modes and the best parameters, also when that is interrupted."""
    interrupt = None
    while True:
        try:
            put_back(outside)
            _switch(modes)
            module.load_state_dict(kept)
            break
        except KeyboardInterrupt as again:
            interrupt = again
    if interrupt:
        raise interrupt


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
