"""What schedules of learning rates have in common, and several of them in the place of one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from ..guard.errors import shown
from ..nn.arguments import whole
from .optimizer import Optimizer

__all__ = ["ChainedScheduler", "LRScheduler", "SequentialLR"]


class LRScheduler:
    """Base: `_next(k, lr, base)` is the next rate of group k, from its rate now and its first."""

    steps_by_itself = True
    """Whether `step()` takes nothing."""

    def __init__(self, optimizer: Optimizer) -> None:
        who = type(self).__name__
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{who}: takes an optimiser first, not {shown(optimizer)}")
        self.optimizer = optimizer
        self.base_lrs = [g.setdefault("initial_lr", g["lr"]) for g in optimizer.param_groups]
        self.last_epoch = -1
        self._begin()

    def _begin(self) -> None:
        """Set the first learning rate."""
        self.step()

    def step(self) -> None:
        """Set the next learning rate."""
        groups = self.optimizer.param_groups
        if len(groups) != len(self.base_lrs):
            raise ValueError(
                f"{type(self).__name__}: the optimiser has {len(groups)} groups, and had "
                f"{len(self.base_lrs)}; make the schedule after the last add_param_group"
            )
        self.last_epoch += 1
        for k, group in enumerate(groups):
            group["lr"] = self._next(k, group["lr"], self.base_lrs[k])

    def _next(self, k: int, lr: float, base: float) -> float:
        raise NotImplementedError(f"{type(self).__name__} has no _next method")

    def get_last_lr(self) -> list[float]:
        """Return the learning rate of each group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return where the schedule is, its options, and the rates; functions are not in it."""
        state = {k: v for k, v in vars(self).items() if k != "optimizer" and not _is_code(v)}
        return {"class": type(self).__name__, "last_lr": self.get_last_lr(), **state}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned, with its rates; ValueError that lists misfits."""
        who, own = type(self).__name__, self.state_dict()
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"{who}.load_state_dict: takes a dict, not {shown(state_dict)}")
        found = [f"missing {k}" for k in own if k not in state_dict]
        found += [f"unexpected {k}" for k in state_dict if k not in own]
        if (kind := state_dict.get("class", who)) != who:
            found.insert(0, f"it is of {kind}")
        lrs = state_dict.get("last_lr", own["last_lr"])
        if len(lrs) != len(own["last_lr"]):
            found.append(f"it has {len(lrs)} groups, expected {len(own['last_lr'])}")
        if found:
            raise ValueError(f"the state does not fit this {who}: {'; '.join(found)}")
        self._restore({k: v for k, v in state_dict.items() if k not in ("class", "last_lr")})
        for group, lr in zip(self.optimizer.param_groups, lrs, strict=True):
            group["lr"] = lr

    def _restore(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, list(value) if isinstance(value, list) else value)


def _is_code(value: Any) -> bool:
    return callable(value) or (isinstance(value, list) and any(map(callable, value)))


class _Several(LRScheduler):
    """Schedules of one optimiser."""

    schedulers: list[LRScheduler]

    def _take(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None) -> Optimizer:
        """Keep the schedules, and return their optimiser."""
        who = type(self).__name__
        if not isinstance(schedulers, (list, tuple)) or not schedulers:
            raise TypeError(f"{who}: takes a list of schedules, not {shown(schedulers)}")
        for s in schedulers:
            if not isinstance(s, LRScheduler) or not s.steps_by_itself:
                raise TypeError(f"{who}: takes schedules that step by themselves, not {shown(s)}")
            if s.optimizer is not (optimizer or schedulers[0].optimizer):
                raise ValueError(f"{who}: the schedules must be of one optimiser")
        self.schedulers = list(schedulers)
        return self.schedulers[0].optimizer

    def state_dict(self) -> dict[str, Any]:
        """Return where the schedules are, and the rates."""
        own = super().state_dict()
        return own | {"schedulers": [s.state_dict() for s in self.schedulers]}

    def _restore(self, state: Mapping[str, Any]) -> None:
        parts = state["schedulers"]
        if len(parts) != len(self.schedulers):
            raise ValueError(
                f"the state does not fit this {type(self).__name__}: it has {len(parts)} "
                f"schedules, expected {len(self.schedulers)}"
            )
        for scheduler, part in zip(self.schedulers, parts, strict=True):
            scheduler.load_state_dict(part)
        super()._restore({k: v for k, v in state.items() if k != "schedulers"})


class ChainedScheduler(_Several):
    """Several schedules at once: each makes its change of the rate that the one before has left."""

    def __init__(self, schedulers: Sequence[LRScheduler]) -> None:
        self.optimizer = self._take(schedulers, None)
        self.base_lrs = [group["initial_lr"] for group in self.optimizer.param_groups]
        self.last_epoch = 0

    def step(self) -> None:
        """Have every schedule set its next rate."""
        self.last_epoch += 1
        for scheduler in self.schedulers:
            scheduler.step()


class SequentialLR(_Several):
    """Several schedules one after the other: at each of the `milestones` the next one begins."""

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
    ) -> None:
        self.optimizer = self._take(schedulers, optimizer)
        self.milestones = [whole(self, "milestones", t) for t in milestones]
        if len(self.milestones) != len(schedulers) - 1 or any(
            a >= b for a, b in pairwise(self.milestones)
        ):
            raise ValueError(
                f"SequentialLR: {len(schedulers)} schedules need {len(schedulers) - 1} rising "
                f"milestones, not {self.milestones}"
            )
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = 0
        self._start(self.schedulers[0])

    def step(self) -> None:
        """Have the schedule of now set its next rate, or the next one its first."""
        self.last_epoch += 1
        scheduler = self.schedulers[bisect_right(self.milestones, self.last_epoch)]
        if self.last_epoch in self.milestones:
            self._start(scheduler)
        else:
            scheduler.step()

    def _start(self, scheduler: LRScheduler) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        scheduler.last_epoch = -1
        scheduler.step()
