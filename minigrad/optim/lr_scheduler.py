"""Schedules of learning rates: their names, options, defaults and numbers are PyTorch's.

A schedule is made after its optimiser, sets what the first step shall have, and `step()` sets what
comes next: call it after the optimiser's steps, once for each epoch or batch. Each is given by what
it makes of the rate that is there, so that several can follow one another, and a rate that the loop
changes by hand stays changed. t counts the calls of `step()`, lr_0 is the rate of the beginning.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from ..core.tensor import ArrayLike, value_of
from ..guard.errors import shown
from ..nn.arguments import Number, flag, number, whole
from .optimizer import Optimizer
from .schedule import ChainedScheduler, LRScheduler, SequentialLR

__all__ = [
    "ChainedScheduler", "CosineAnnealingLR", "ExponentialLR", "LRScheduler", "LambdaLR", "LinearLR",
    "LinearWarmup", "MultiStepLR", "OneCycleLR", "ReduceLROnPlateau", "SequentialLR", "StepLR",
]  # fmt: skip


class LambdaLR(LRScheduler):
    """lr = lr_0 f(t), with one function for all groups or a list of one for each."""

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
    ) -> None:
        groups = getattr(optimizer, "param_groups", [])
        functions = [lr_lambda] * len(groups) if callable(lr_lambda) else list(lr_lambda)
        if not all(map(callable, functions)) or len(functions) != len(groups):
            raise TypeError(
                f"LambdaLR: takes a function, or a list of one for each of the {len(groups)} "
                f"groups, not {shown(lr_lambda)}"
            )
        self.lr_lambdas = functions
        super().__init__(optimizer)

    def _next(self, k: int, lr: float, base: float) -> float:
        return base * self.lr_lambdas[k](self.last_epoch)


class StepLR(LRScheduler):
    """lr <- gamma lr, every `step_size` steps."""

    gamma = Number("(0, inf)")

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self.step_size, self.gamma = whole(self, "step_size", step_size), gamma
        super().__init__(optimizer)

    def _next(self, k: int, lr: float, base: float) -> float:
        t = self.last_epoch
        return lr * self.gamma if t and t % self.step_size == 0 else lr


class MultiStepLR(LRScheduler):
    """lr <- gamma lr, at each of the `milestones`."""

    gamma = Number("(0, inf)")

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1) -> None:
        self.milestones = sorted([whole(self, "milestones", t, 0) for t in milestones])
        self.gamma = gamma
        super().__init__(optimizer)

    def _next(self, k: int, lr: float, base: float) -> float:
        return float(lr * self.gamma ** self.milestones.count(self.last_epoch))


class ExponentialLR(LRScheduler):
    """lr <- gamma lr, in every step."""

    gamma = Number("(0, inf)")

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        self.gamma = gamma
        super().__init__(optimizer)

    def _next(self, k: int, lr: float, base: float) -> float:
        return float(lr * self.gamma) if self.last_epoch else lr


class LinearLR(LRScheduler):
    """lr = lr_0 times a factor that goes from `start_factor` to `end_factor` in `total_iters`."""

    start_factor = Number("(0, 1]")
    end_factor = Number("[0, 1]")

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
    ) -> None:
        self.start_factor, self.end_factor = start_factor, end_factor
        self.total_iters = whole(self, "total_iters", total_iters)
        super().__init__(optimizer)

    def _next(self, k: int, lr: float, base: float) -> float:
        t, n, start, end = self.last_epoch, self.total_iters, self.start_factor, self.end_factor
        if t == 0 or t > n:
            return float(lr * start) if t == 0 else lr
        return float(lr * (1 + (end - start) / (n * start + (t - 1) * (end - start))))


class LinearWarmup(LinearLR):
    """lr = lr_0 (t + 1) / total_iters, and lr_0 from then on: the first steps are small ones."""

    def __init__(self, optimizer: Optimizer, total_iters: int) -> None:
        n = whole(self, "total_iters", total_iters, 2)
        super().__init__(optimizer, 1 / n, 1.0, n - 1)


class CosineAnnealingLR(LRScheduler):
    """lr = eta_min + (lr_0 - eta_min) (1 + cos(pi t / T_max)) / 2; it rises again after T_max.

    Source: Loshchilov & Hutter, 2017, equation 5, without restarts.
    """

    eta_min = Number("[0, inf)")

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        self.T_max, self.eta_min = whole(self, "T_max", T_max), eta_min
        super().__init__(optimizer)

    def _next(self, k: int, lr: float, base: float) -> float:
        t, low = self.last_epoch, self.eta_min
        if t == 0:
            return lr
        before, now = (1 + math.cos(math.pi * k / self.T_max) for k in (t - 1, t))
        if (t - 1 - self.T_max) % (2 * self.T_max) == 0:  # before was 0: at the lowest point
            return float(lr + (base - low) * now / 2)
        return float((lr - low) * now / before + low)


class OneCycleLR(LRScheduler):
    """lr rises from max_lr / div_factor to max_lr, in a share `pct_start` of the steps, and falls.

    It falls to the first rate / final_div_factor; with `three_phase`, to the first rate in as many
    steps as it rose, and then on. The momentum (beta 1 of Adam) goes the other way between
    `max_momentum` and `base_momentum`. Give `total_steps`, or `epochs` and `steps_per_epoch`; more
    steps than these are refused. Source: Smith & Topin, 2018.
    """

    pct_start = Number("[0, 1]")
    base_momentum = Number("[0, 1)")
    max_momentum = Number("[0, 1)")

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
    ) -> None:
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR: give total_steps, or epochs and steps_per_epoch")
            total_steps = whole(self, "epochs", epochs) * whole(
                self, "steps_per_epoch", steps_per_epoch
            )
        self.total_steps = whole(self, "total_steps", total_steps)
        if anneal_strategy not in ("cos", "linear"):
            given = shown(anneal_strategy)
            raise ValueError(f"OneCycleLR: anneal_strategy must be 'cos' or 'linear', not {given}")
        self.pct_start, self.anneal_strategy = pct_start, anneal_strategy
        self.base_momentum, self.max_momentum = base_momentum, max_momentum
        self.three_phase = flag(self, "three_phase", three_phase)
        if three_phase and pct_start > 0.5:
            raise ValueError(
                f"OneCycleLR: with three_phase, pct_start must be at most 0.5, not {pct_start}"
            )
        first = number(self, "div_factor", div_factor, "(0, inf)")
        last = number(self, "final_div_factor", final_div_factor, "(0, inf)")
        groups = getattr(optimizer, "param_groups", [])
        rates = list(max_lr) if isinstance(max_lr, (list, tuple)) else [max_lr] * len(groups)
        if len(rates) != len(groups):
            raise ValueError(f"OneCycleLR: {len(rates)} max_lr for {len(groups)} groups")
        self.max_lrs = [number(self, "max_lr", lr, "(0, inf)") for lr in rates]
        self.min_lrs = [lr / first / last for lr in self.max_lrs]
        options = {"momentum", "betas"} & getattr(optimizer, "defaults", {}).keys()
        self.cycle_momentum = flag(self, "cycle_momentum", cycle_momentum)
        if cycle_momentum and groups and not options:
            raise ValueError(
                f"OneCycleLR: {type(optimizer).__name__} has no momentum; write "
                "cycle_momentum=False"
            )
        for group, lr in zip(groups, self.max_lrs, strict=True):
            group["initial_lr"] = lr / first
        super().__init__(optimizer)

    def step(self) -> None:
        """Set the next learning rate, and momentum; ValueError after the last one."""
        if self.last_epoch >= self.total_steps:
            raise ValueError(
                f"OneCycleLR: there are {self.total_steps} steps, and this is one more"
            )
        super().step()
        self._set_momentum()

    def _next(self, k: int, lr: float, base: float) -> float:
        return self._now(base, self.max_lrs[k], base, self.min_lrs[k])

    def _restore(self, state: Mapping[str, Any]) -> None:
        super()._restore(state)
        self._set_momentum()

    def _set_momentum(self) -> None:
        high, low = self.max_momentum, self.base_momentum
        momentum = self._now(high, low, high, high)
        for group in self.optimizer.param_groups if self.cycle_momentum else ():
            if "betas" in group:
                group["betas"] = (momentum, group["betas"][1])
            else:
                group["momentum"] = momentum

    def _now(self, first: float, top: float, again: float, last: float) -> float:
        """Return where what goes from one to the next of these is; only three phases go `again`."""
        n, t, share = self.total_steps, self.last_epoch, self.pct_start
        values, ends = [first, top, last], [0.0, share * n - 1, n - 1.0]
        if self.three_phase:
            values, ends = [first, top, again, last], [*ends[:2], 2 * share * n - 2, n - 1.0]
        k = bisect_left(ends, t, 1, len(ends) - 1)  # the phase that ends at t, or after it
        length, start, end = ends[k] - ends[k - 1], values[k - 1], values[k]
        done = min((t - ends[k - 1]) / length, 1.0) if length > 0 else 1.0
        if self.anneal_strategy == "linear":
            return start + (end - start) * done
        return end + (start - end) / 2 * (1 + math.cos(math.pi * done))


class ReduceLROnPlateau(LRScheduler):
    """lr <- factor lr, when `step(loss)` has seen no better loss for more than `patience` steps.

    Better is less than best (1 - threshold), in `threshold_mode` "abs" less than best - threshold;
    in `mode` "max", more. After a reduction `cooldown` steps do not count. No rate falls below
    `min_lr`, nor by less than `eps`.
    """

    steps_by_itself = False
    factor = Number("(0, 1)")
    min_lr = Number("[0, inf)")
    eps = Number("[0, inf)")

    def __init__(
        self,
        optimizer: Optimizer,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
    ) -> None:
        for name, value, choices in (
            ("mode", mode, ("min", "max")),
            ("threshold_mode", threshold_mode, ("rel", "abs")),
        ):
            if value not in choices:
                raise ValueError(
                    f"ReduceLROnPlateau: {name} must be {choices[0]!r} or {choices[1]!r}, not "
                    f"{shown(value)}"
                )
        self.mode, self.threshold_mode = mode, threshold_mode
        within = "[0, 1)" if threshold_mode == "rel" else "[0, inf)"
        self.threshold = number(self, "threshold", threshold, within)
        self.factor, self.min_lr, self.eps = factor, min_lr, eps
        self.patience = whole(self, "patience", patience, 0)
        self.cooldown = whole(self, "cooldown", cooldown, 0)
        self.best: float = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = 0
        super().__init__(optimizer)

    def _begin(self) -> None:
        self.last_epoch = 0

    def step(self, metrics: ArrayLike) -> None:  # type: ignore[override]
        """Take a number that should fall (in mode "max", rise), and reduce the rates if it did not.

        TypeError for what is no number, ValueError for nan.
        """
        value: Any = value_of(metrics)
        if not hasattr(value, "__float__") or np.ndim(value):
            raise TypeError(
                f"ReduceLROnPlateau: step takes a number, the loss of a validation, not "
                f"{shown(metrics)}"
            )
        if math.isnan(now := float(value)):
            raise ValueError("ReduceLROnPlateau: the number is nan, neither better nor worse")
        self.last_epoch += 1
        self.num_bad_epochs = 0 if self._is_better(now) else self.num_bad_epochs + 1
        self.best = now if self.num_bad_epochs == 0 else self.best
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group in self.optimizer.param_groups:
                lr = max(group["lr"] * self.factor, self.min_lr)
                group["lr"] = lr if group["lr"] - lr > self.eps else group["lr"]
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0

    def _is_better(self, now: float) -> bool:
        by = self.threshold if self.mode == "min" else -self.threshold
        bound = self.best * (1 - by) if self.threshold_mode == "rel" else self.best - by
        return now < bound if self.mode == "min" else now > bound
