"""One training as it goes: epochs, steps, what is kept of them, and what a checkpoint holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from ..core.context import no_grad
from ..core.random import generator
from ..core.tensor import Tensor, value_of
from ..data.loader import Batches, Share
from ..guard.errors import shown
from ..io import load_checkpoint, save_checkpoint
from ..nn.module import Module
from ..optim.clipping import clip_grad_norm_
from ..optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from ..optim.optimizer import Optimizer
from ..parallel import Communicator, mean_gradients, require_same, share_arrays, share_states
from .callbacks import Callback
from .history import History
from .progress import Progress

__all__ = ["Run"]

_NO_BETTER = "no better for"
OWN = ("train", "validation", "gradient")
"""What `fit` calls the numbers of an epoch."""


@dataclass(eq=False)
class Run:
    """What `fit` was given, and how far it is. `kept` is the state that the module is left with."""

    module: Module
    optimizer: Optimizer
    batches: Batches | Callable[[], Iterable[Any]]
    loss: Callable[[Any], Tensor]
    validate: Callable[[], float | Mapping[str, float]] | None
    epochs: int
    patience: int | None
    clip: float | None
    schedule: LRScheduler | None
    each_step: bool
    watch: Callable[[], Mapping[str, float]] | None
    sign: int  # 1 where the validation should fall, -1 where it should rise
    callbacks: Sequence[Callback]
    history: History
    checkpoint: Path | None
    every: int | None
    parts: Mapping[str, Any]
    comm: Communicator | None
    weight: Callable[[Any], float] | None
    progress: Progress
    kept: dict[str, Any] = field(default_factory=dict)
    losses: float = 0.0  # sums over the steps of this epoch
    norms: float = 0.0
    steps: int = 0

    def __post_init__(self) -> None:
        self.rank = self.comm.Get_rank() if self.comm else 0
        self.ranks = self.comm.Get_size() if self.comm else 1
        self.kept = self.module.state_dict()

    # ---- where it is ----------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return what was seen of this epoch, and the state of the best one."""
        now = {"losses": self.losses, "norms": self.norms, "steps": self.steps}
        return {**now, "kept": self.kept, "given": self._given()}

    def _given(self) -> dict[str, Any]:
        """Return what decides how a step goes, and is not to change in the middle of training."""
        return {
            "clip": self.clip,
            "mode": "min" if self.sign > 0 else "max",
            "schedule_every": "step" if self.each_step else "epoch",
            **{f"{name} of the optimiser": v for name, v in self.optimizer.defaults.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there; ValueError for what was begun with other options."""
        given = self._given()
        found = [
            f"it was begun with {name} {shown(value)}, and given is {shown(given.get(name))}"
            for name, value in state["given"].items()
            if value != given.get(name)
        ]
        if found:
            raise ValueError(f"{'; '.join(found)}; give the same, or another path")
        self.losses, self.norms = state["losses"], state["norms"]
        self.steps, self.kept = state["steps"], dict(state["kept"])

    def _common(self) -> dict[str, Any]:
        """Return what has a state that is the same in all processes, by its name in a file."""
        named: dict[str, Any] = {"module": self.module, "optimizer": self.optimizer}
        named |= {"history": self.history, "run": self}
        named |= {} if self.schedule is None else {"schedule": self.schedule}
        return named | ({"data": self.batches} if hasattr(self.batches, "state_dict") else {})

    def _own(self) -> dict[str, Any]:
        """Return what has a state of its own in each process."""
        called = {f"callback{k}": c for k, c in enumerate(self.callbacks)}
        return {k: c for k, c in called.items() if hasattr(c, "state_dict")} | dict(self.parts)

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one; and in all processes alike."""
        if isinstance(self.batches, Batches):
            self.batches.leave()  # somebody has looked at a batch before
        processes, common, own = _Processes(self.ranks), self._common(), self._own()
        path = self.checkpoint
        found = self.rank == 0 and path is not None and path.exists()
        if found and path is not None:
            load_checkpoint(path, **common, **own, processes=processes)
        if self.comm is not None:
            share_states(self.comm, {**common, "processes": processes})
            found = bool(processes.states)
            random, states = processes.states[self.rank] if found else ([], {})
            for rng, state in zip(self._generators(), random, strict=found):
                rng.bit_generator.state = state
            for name, state in states.items():
                own[name].load_state_dict(state)
        if self.history.stopped.startswith(_NO_BETTER):
            self.history.stopped = self._impatience()  # patience may be another now
        if not found:
            self.save()  # what cannot be written is said now, and not after an epoch

    def save(self) -> None:
        """Write a checkpoint, in process 0, with what others have of their own."""
        if self.checkpoint is None:
            return
        processes, own = _Processes(self.ranks), self._own()
        if self.comm is not None:
            random = [rng.bit_generator.state for rng in self._generators()]
            states = {k: p.state_dict() for k, p in own.items() if hasattr(p, "state_dict")}
            processes.states = self.comm.allgather((random, states))
        if self.rank == 0:
            save_checkpoint(self.checkpoint, **self._common(), **own, processes=processes)

    def _generators(self) -> list[np.random.Generator]:
        """List the generators that this process draws from."""
        held = [v for m in self.module.modules() for v in vars(m).values()]
        held += self.parts.values()
        return [generator(), *[v for v in held if isinstance(v, np.random.Generator)]]

    # ---- epochs ---------------------------------------------------------------------------------

    def goes_on(self) -> bool:
        """Whether there is another epoch."""
        return len(self.history) < self.epochs and not self.history.stopped

    def epoch(self) -> None:
        """Train for one epoch, or the rest of it, then look how good it is."""
        now = len(self.history)
        steps, shares = self._shares()
        unit = "examples" if isinstance(self.batches, Batches) else "batches"
        self.progress.begin(now, steps, self.steps, unit)
        for share in shares:
            self._step(share)
            if self.every is not None and self.steps % self.every == 0:
                self.save()
        if not self.steps:
            raise ValueError(
                f"fit: there were no batches in epoch {now + 1}; batches() must begin anew "
                "whenever it is called"
            )
        self.module.eval()
        if self.comm is not None:
            share_arrays(self.comm, self.module.buffers())
            self._require_same_bits()
        if not now or self.validate is None:
            self.kept = self.module.state_dict()
        row = self._look()
        self.history.epochs.append(row)
        best = self.history.best
        if "validation" in row and (
            best < 0
            or self.sign * (row["validation"] - self.history.epochs[best]["validation"]) < 0
        ):
            self.history.best, self.kept = now, self.module.state_dict()
        self.losses, self.norms, self.steps = 0.0, 0.0, 0
        self.history.stopped = self._reason()
        self.progress.end(row, self.history.best, self.history.stopped)
        if self.schedule is not None and not self.each_step:
            if isinstance(self.schedule, ReduceLROnPlateau):
                self.schedule.step(row["validation"])
            else:
                self.schedule.step()
        self.save()

    def _impatience(self) -> str:
        """Return whether patience is at an end, in words, "" if it is not."""
        since = len(self.history) - 1 - self.history.best
        is_over = self.patience is not None and since >= self.patience
        return f"{_NO_BETTER} {since} epoch{'s' * (since != 1)}" * is_over

    def _reason(self) -> str:
        """Return why training shall end, "" if it shall not: process 0 decides."""
        reasons = [callback.after_epoch(self.history) for callback in self.callbacks]
        reasons.insert(0, self._impatience())
        for reason in reasons:
            if reason is not None and not isinstance(reason, str):
                raise TypeError(
                    "fit: a callback must return None, or in words why training shall stop, not "
                    f"{shown(reason)}"
                )
        said = next((reason for reason in reasons if reason), "")
        return said if self.comm is None else str(self.comm.bcast(said, root=0))

    def _look(self) -> dict[str, float]:
        """Return the numbers of this epoch; FloatingPointError for a validation not finite."""
        row = {"train": self.losses / self.steps}
        with no_grad():
            seen = {} if self.validate is None else self.validate()
            if not isinstance(seen, Mapping):
                seen = {"validation": seen}
            elif self.validate is not None and "validation" not in seen:
                raise ValueError(
                    "fit: validate returned a dict without 'validation', the number that counts; "
                    f"it has {', '.join(map(repr, seen)) or 'nothing'}"
                )
            more = self.watch() if self.watch else {}
        if taken := [name for name in more if name in OWN or name in seen]:
            raise ValueError(f"fit: watch has a number named {taken[0]!r}, as fit itself")
        if taken := [name for name in OWN[::2] if name in seen]:
            raise ValueError(f"fit: validate has a number named {taken[0]!r}, as fit itself")
        for name, value in {**seen, "gradient": self.norms / self.steps, **more}.items():
            try:
                row[name] = float(value_of(value))
            except (TypeError, ValueError):
                raise TypeError(f"fit: {name} must be a number, not {shown(value)}") from None
        if self.comm is not None:
            row = self.comm.bcast(row, root=0)
        if "validation" in row:
            self._finite("validation", row["validation"])
        return row

    # ---- steps ----------------------------------------------------------------------------------

    def _shares(self) -> tuple[int | None, Iterator[Share]]:
        """Return the number of batches if that is known, and for each what this process gets."""
        if isinstance(self.batches, Batches):
            if self.comm is not None and not self.batches.position:
                share_states(self.comm, {"data": self.batches})  # its generator may be dropout's
            return len(self.batches), self.batches.shares(self.rank, self.ranks)
        given = self.batches()
        if self.comm is not None and not isinstance(given, Sized):
            given = list(given)  # a generator does not know how many it has
        steps = len(given) if isinstance(given, Sized) else None
        if self.comm is not None:
            require_same("fit", self.comm, **{"number of batches": steps})
        return steps, (Share(batch, 1, 1) for batch in given)

    def _step(self, share: Share) -> None:
        self.optimizer.zero_grad()
        if self.comm is None:
            number = self._finite("loss", self._backward(share.batch).item())
        else:
            weight = self._weight(share)
            value = self._backward(share.batch) if weight else None
            number = mean_gradients(self.optimizer.params, self.comm, weight, value)
        norm = self._norm()
        self.optimizer.step()
        self.losses += number
        self.norms += norm
        self.steps += 1
        if self.schedule is not None and self.each_step:
            self.schedule.step()
        for callback in self.callbacks:
            callback.after_step()
        self.progress.step(number, norm, share.of)

    def _weight(self, share: Share) -> float:
        """Return what the share of this process counts."""
        if not share.rows or self.weight is None:
            return float(share.rows)
        return self.weight(share.batch)

    def _backward(self, batch: Any) -> Tensor:
        """Return the loss of a batch, with its gradients in the parameters."""
        value = self.loss(batch)
        if not isinstance(value, Tensor):
            raise TypeError(f"fit: loss must return a tensor, not {shown(value)}")
        value.backward()
        return value

    def _norm(self) -> float:
        """Return the norm of all gradients as they came, and clip them."""
        params = self.optimizer.params
        if self.clip is not None:
            return clip_grad_norm_(params, self.clip)
        held: list[Any] = [p.grad for p in params if p.live and p.grad is not None]
        with np.errstate(all="ignore"):
            square = math.fsum([float(np.vdot(g, g)) for g in held])
        if 1e-30 < square < 1e30 or not held:
            return math.sqrt(square)
        return clip_grad_norm_(params, math.inf)  # which squares nothing that is too large or small

    def _finite(self, what: str, value: float) -> float:
        if not math.isfinite(value):
            raise FloatingPointError(
                f"fit: the {what} became {value} in epoch {len(self.history) + 1}"
            )
        return value

    def _require_same_bits(self) -> None:
        """ValueError in all processes unless the module is the same in all, to the last bit."""
        if self.comm is not None:
            state = self.module.state_dict().values()
            sums = [crc32(np.ascontiguousarray(a).tobytes()) for a in state]
            require_same("fit", self.comm, **{"parameters, by their checksums,": sums})


class _Processes:
    """How many processes there are, and what each has of its own: generators and states."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.states: list[Any] = []

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count, "states": self.states}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state["count"] != self.count:
            raise ValueError(f"{state['count']} wrote the file, and here are {self.count}")
        self.states = state["states"]
