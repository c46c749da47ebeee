"""The training loop: epochs with progress, validation, early stopping at the best parameters."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..compiler.compiled import compile as compiled
from ..core.context import current, put_back
from ..core.tensor import Tensor
from ..data.loader import Batches, DataLoader
from ..data.series import Streams
from ..guard.errors import shown
from ..nn.arguments import number, whole
from ..nn.module import Module
from ..optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from ..optim.optimizer import Optimizer
from ..parallel import Communicator, require_communicator, require_same
from .callbacks import Callback
from .history import History
from .progress import Out, Progress
from .run import Run

__all__ = ["fit"]


def fit(
    module: Module,
    optimizer: Optimizer,
    batches: DataLoader | Streams | Callable[[], Iterable[Any]],
    loss: Callable[[Any], Tensor],
    validate: Callable[[], float | Mapping[str, float]] | None = None,
    *,
    epochs: int,
    patience: int | None = None,
    clip: float | None = None,
    schedule: LRScheduler | None = None,
    schedule_every: Literal["epoch", "step"] = "epoch",
    watch: Callable[[], Mapping[str, float]] | None = None,
    mode: Literal["min", "max"] = "min",
    callbacks: Sequence[Callback | Callable[[History], str | None]] = (),
    history: History | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    parts: Mapping[str, Any] | None = None,
    comm: Communicator | None = None,
    weight: Callable[[Any], float] | None = None,
    compile: bool | Literal["numpy", "numba"] = False,
    out: Out = "auto",
) -> History:
    """Return the history of training, until `validate` has not improved for `patience` epochs.

    There are `epochs` at most. Each calls `loss(batch)` for every batch of a `DataLoader`, or of
    what `batches()` returns, in training mode, then `validate()` in evaluation mode and without
    recording. That returns a number, which should fall or, with `mode="max"`, rise; or a dict with
    that as "validation" and others beside it. `watch` gives further numbers to track. `clip` limits
    the norm of the gradients. `schedule` steps after each epoch or each step; one that waits for a
    plateau is given the validation. `callbacks` are called after each epoch with the history, and
    end training by returning why; a `Callback` has more moments. The history has of each epoch
    "train", the mean loss of its batches, "validation", and "gradient", the mean norm before it is
    clipped.

    The parameters of the best epoch are restored at the end, also when training is interrupted
    (Ctrl-C ends it early, and keeps the best); without `validate`, those of the last epoch that was
    finished. The modes of the module and its parts are then as they were; a part in evaluation, of
    a module in training, stays so. With the `history` of an earlier call its epochs count, too.

    With `checkpoint`, a path, the state of all of it is written there before the first epoch, after
    each, and after every `checkpoint_every` steps in it; where the file exists, training goes on
    from it, bit for bit as if never stopped. More epochs and another patience may be given, other
    options are refused. What else `loss` has a state in must be given as `parts`, by name:
    generators, or objects with `state_dict` and `load_state_dict`.

    In several processes give all of them `comm`, as `MPI.COMM_WORLD`: they begin as process 0, get
    their shares of each batch of a loader, and make the steps that one process would make with the
    whole batch, as far as the loss is a mean over rows; else `weight(batch)` says what a share
    counts. Where `batches` is a function, it returns the share. Process 0 validates, and decides.

    With `compile`, True or a back end, `loss` is compiled: see `mg.compile`, and what that refuses.
    The first step with batches of a shape runs as it is, so training that goes on from a checkpoint
    is then the same but for rounding.

    A loss or a validation that is not finite raises FloatingPointError, with the best parameters
    restored; those of the first epoch are kept if its validation is not finite. ValueError if the
    optimiser moves what is no parameter of the module. Progress goes to `out`: "auto" is stderr, in
    a notebook stdout; one line rewritten on a terminal, with a bar if tqdm is installed, one line
    an epoch elsewhere, None for silence.
    """
    functions = {"loss": loss} if validate is None else {"loss": loss, "validate": validate}
    _check(module, optimizer, batches, **functions)
    if mode not in ("min", "max"):
        raise ValueError(f"fit: mode must be 'min' or 'max', not {shown(mode)}")
    if schedule is not None:
        _check_schedule(schedule, optimizer, schedule_every, mode, validate)
    epochs = whole("fit", "epochs", epochs)
    patience = None if patience is None else whole("fit", "patience", patience)
    if patience is not None and validate is None:
        raise ValueError("fit: patience waits for a better validation; give validate")
    clip = None if clip is None else number("fit", "clip", clip, "(0, inf)")
    if history is not None:
        _check_history(history, epochs)
    _check_checkpoint(batches, checkpoint, checkpoint_every, parts)
    if comm is not None or weight is not None:
        _check_parallel(batches, comm, weight)
    if compile:
        loss = compiled(loss, compile if isinstance(compile, str) else None)
    rank = comm.Get_rank() if comm is not None else 0
    run = Run(
        module, optimizer, batches, loss, validate, epochs, patience, clip, schedule,
        schedule_every == "step", watch, -1 if mode == "max" else 1,
        [_callback(given) for given in callbacks], History() if history is None else history,
        None if checkpoint is None else Path(checkpoint), checkpoint_every, parts or {}, comm,
        weight, Progress(None if rank else out, epochs),
    )  # fmt: skip
    modes, outside = [(m, m.training) for _, m in module.named_modules()], current()
    begun: list[Callback] = []
    try:
        if comm is not None:
            _require_alike(run, comm)
        run.resume()
        run.progress.resumed(run.checkpoint, len(run.history), run.steps, run.goes_on())
        for callback in run.callbacks:
            begun.append(callback)
            callback.begin()
        while run.goes_on():
            module.train()
            if modes[0][1]:
                _switch(modes)
            run.epoch()
    except KeyboardInterrupt:
        run.progress.interrupted()
        if comm is not None:
            raise
    finally:
        try:
            for callback in begun:
                callback.end()
            run.progress.close()
        finally:
            _restore(module, run, modes, outside)
    return run.history


def _check(module: Any, optimizer: Any, batches: Any, **functions: Any) -> None:
    """TypeError for what `fit` cannot use; ValueError for an optimiser of something else."""
    if not isinstance(module, Module):
        raise TypeError(f"fit: the first argument must be a module, not {shown(module)}")
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"fit: the second argument must be an optimiser, not {shown(optimizer)}; write "
            "minigrad.optim.Adam(net.parameters())"
        )
    if not isinstance(batches, Batches) and not callable(batches):
        raise TypeError(
            f"fit: batches must be a DataLoader, or a function that is called anew, not "
            f"{shown(batches)}; write DataLoader(x, y, batch_size=32), or lambda: ..."
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


def _check_schedule(
    schedule: Any, optimizer: Optimizer, every: str, mode: str, validate: Any
) -> None:
    if not isinstance(schedule, LRScheduler):
        raise TypeError(
            f"fit: schedule must be one of minigrad.optim, not {shown(schedule)}; write "
            "StepLR(optimizer, 10)"
        )
    if schedule.optimizer is not optimizer:
        raise ValueError("fit: the schedule is of another optimiser than the one given")
    if every not in ("epoch", "step"):
        raise ValueError(f"fit: schedule_every must be 'epoch' or 'step', not {shown(every)}")
    if isinstance(schedule, ReduceLROnPlateau):
        if every == "step" or validate is None:
            raise ValueError(
                "fit: ReduceLROnPlateau looks at the validation of each epoch; give validate, and "
                "schedule_every='epoch'"
            )
        if schedule.mode != mode:
            raise ValueError(
                f"fit: mode is {mode!r}, and the schedule's is {schedule.mode!r}; write the same "
                "for both"
            )


def _check_history(history: Any, epochs: int) -> None:
    """Have a history gone on with, whatever it was that ended it."""
    if not isinstance(history, History):
        raise TypeError(f"fit: history must be one that fit returned, not {shown(history)}")
    if len(history) >= epochs:
        raise ValueError(
            f"fit: the history has {len(history)} epochs, which count, too: epochs={epochs} leaves "
            f"nothing to do; write epochs={len(history) + epochs} for {epochs} more"
        )
    history.stopped = ""


def _check_checkpoint(batches: Any, checkpoint: Any, every: Any, parts: Any) -> None:
    if checkpoint is not None and not isinstance(checkpoint, (str, os.PathLike)):
        raise TypeError(f"fit: checkpoint must be the path of a file, not {shown(checkpoint)}")
    if every is not None:
        whole("fit", "checkpoint_every", every)
    if checkpoint is not None and not hasattr(batches, "state_dict"):
        raise TypeError(
            "fit: with a checkpoint, batches must be a DataLoader, whose place in the data is "
            f"saved, not {shown(batches)}"
        )
    if parts is not None and not isinstance(parts, Mapping):
        raise TypeError(f"fit: parts must be a dict of objects by name, not {shown(parts)}")
    for name, part in (parts or {}).items():
        both = hasattr(part, "state_dict") and hasattr(part, "load_state_dict")
        if isinstance(part, type) or not (both or isinstance(part, np.random.Generator)):
            raise TypeError(
                f"fit: {name} in parts must have state_dict and load_state_dict, or be a "
                f"generator, not {shown(part)}"
            )
    own = ("module", "optimizer", "history", "run", "schedule", "data", "processes")
    if taken := [name for name in parts or () if name in own or name.startswith("callback")]:
        raise ValueError(f"fit: a part is named {taken[0]!r}, as one of fit's own; rename it")


def _check_parallel(batches: Any, comm: Any, weight: Any) -> None:
    if comm is None:
        raise ValueError("fit: weight says what a process counts; give comm, too")
    require_communicator("fit", comm)
    if weight is None and not isinstance(batches, Batches):
        raise TypeError(
            "fit: with comm and a function for batches, say how many rows a batch has: "
            "weight=lambda batch: len(batch[0])"
        )
    if weight is not None and not callable(weight):
        raise TypeError(f"fit: weight must be a function of a batch, not {shown(weight)}")


def _require_alike(run: Run, comm: Communicator) -> None:
    """ValueError in all processes unless all train the same, for as many epochs and batches."""
    named = run.module.named_parameters()
    what: dict[str, Any] = {
        "number of epochs": run.epochs,
        "parameters": [f"{name} {p.shape} {p.dtype}" for name, p in named],
        "steps between checkpoints": run.every,
        "number of numbers that are moved": sum([p.size for p in run.optimizer.params if p.live]),
    }
    if isinstance(run.batches, Batches):
        what |= {"number of batches": len(run.batches), "loader": run.batches._described()}
        what["data, of which a loader gives each process its share,"] = run.batches._sample()
    require_same("fit", comm, **what)


def _callback(given: Any) -> Callback:
    """Return what is called, with a function as what is called after an epoch."""
    if isinstance(given, Callback):
        return given
    if isinstance(given, type) or not callable(given):
        raise TypeError(
            f"fit: a callback is a function of the history, or a Callback, not {shown(given)}"
        )
    made = Callback()
    made.after_epoch = given  # type: ignore[method-assign]
    return made


def _switch(modes: list[tuple[Module, bool]]) -> None:
    for module, training in modes:
        module.training = training


def _restore(module: Module, run: Run, modes: list[tuple[Module, bool]], outside: Any) -> None:
    """Put back the context, the modes and the best parameters, also when that is interrupted."""
    interrupt = None
    while True:
        try:
            put_back(outside)
            _switch(modes)
            module.load_state_dict(run.kept)
            break
        except KeyboardInterrupt as again:
            interrupt = again
    if interrupt:
        raise interrupt
