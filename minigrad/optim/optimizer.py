"""Optimisers: each takes the parameters once, and `step()` moves them along their `.grad`.

A step rebinds `p.data` to a new array, so a graph recorded before still gives the right gradient.
That array is all a step allocates: parameters are moved in pieces, whose temporaries stay small.
What an optimiser remembers is its own: it neither keeps nor changes a gradient.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np

from ..core.dtypes import Array
from ..core.tensor import Tensor
from ..guard import hints
from ..guard.errors import shown
from ..nn.arguments import flag, number
from .options import Group, Option
from .parameters import Params, given_groups, given_parameters, gradients, require_list
from .state import fitted_state

__all__ = ["Optimizer"]

_PIECE = 1 << 16
"""Elements that are moved at a time: few enough for the caches, enough for NumPy's overhead."""


@hints.elsewhere
class Optimizer:
    """Base: holds groups of parameters, and moves those that have a gradient by `_descent`.

    Parameters come as a list, or as a list of groups, `{"params": [...], "lr": 0.01}`, which may
    have options of their own; `param_groups` holds them, and every option is an attribute too, for
    all groups at once. TypeError for what is no parameter, ValueError for a parameter given twice
    and for numbers that cannot be meant, also where they are set later, as by a schedule.
    """

    lr = Option("[0, inf)")
    maximize = Option()

    elementwise = False
    """Whether `_descent` of an array is that of its elements, so that it may be given pieces."""

    def __new__(cls, params: Any = (), *args: Any, **kwargs: Any) -> Self:
        require_list(cls.__name__, params)  # SGD(net): first that, then what else is missing
        return super().__new__(cls)

    def __init__(
        self,
        params: Params,
        lr: float,
        *,
        maximize: bool = False,
        **options: float | tuple[float, float],
    ) -> None:
        given: dict[str, Any] = {"lr": lr, "maximize": maximize, **options}
        self.param_groups: list[Group] = []
        self.memory: list[dict[str, Any]] = []
        number(self, "lr", lr, "(0, inf)")  # a schedule may bring it down to 0
        self.defaults = dict(Group(type(self), given))
        for group in given_groups(type(self).__name__, params):
            self._add(type(self).__name__, group)

    @property
    def params(self) -> list[Tensor]:
        """All parameters, group after group."""
        return [p for group in self.param_groups for p in group["params"]]

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Add a group, `{"params": [...]}`, whose other options are those given at the start."""
        self._add(f"{type(self).__name__}.add_param_group", param_group)

    def _add(self, who: str, given: Mapping[str, Any]) -> None:
        if not isinstance(given, Mapping) or "params" not in given:
            raise TypeError(f'{who}: a group is {{"params": [...]}}, not {shown(given)}')
        if "lr" in given:
            number(self, "lr", given["lr"], "(0, inf)")
        params = given_parameters(who, given["params"], self.params)
        group = Group(type(self), {**self.defaults, **given, "params": tuple(params)})
        self._check(group)
        self.param_groups.append(group)
        self.memory += [{} for _ in params]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or make them zeros; call it before each backward pass."""
        forget = flag(self, "set_to_none", set_to_none)
        for p in self.params:
            p.grad = None if forget or p.grad is None else np.zeros_like(p.data)

    def step(self, *surplus: object) -> None:
        """Move every parameter that has a gradient and requires one.

        Float16 parameters are moved in float32, where eps is not 0. ValueError, with nothing
        changed, for a gradient that is not finite or of another shape.
        """
        who = f"{type(self).__name__}.step"
        if surplus:
            raise TypeError(f"{who}() takes no arguments; write loss.backward() before it")
        group_of = [group for group in self.param_groups for _ in group["params"]]
        for k, p, g in gradients(who, self.params):
            p.data = self._moved(p.data, g, self.memory[k], group_of[k])

    def _moved(self, old: Array, g: Array, memory: dict[str, Any], group: Group) -> Array:
        """Return the new value of a parameter: p - `_descent`, piece after piece."""
        wide, h = np.promote_types(old.dtype, np.float32), group.data
        self._count(memory, h)
        for name, first in self._kept(h).items():
            if name not in memory:
                memory[name] = np.full_like(old, first, dtype=wide)
        new, copied = np.empty_like(old), np.empty(0, wide)
        for at in _pieces(old.shape) if self.elementwise else [(...,)]:
            p, slope, out = old[at].astype(wide, copy=False), g[at], new[at]
            if slope.dtype != wide or not slope.flags.c_contiguous:
                copied = copied if copied.shape == slope.shape else np.empty(slope.shape, wide)
                np.copyto(copied, slope)
                slope = copied
            held = {k: m[at] if isinstance(m, np.ndarray) else m for k, m in memory.items()}
            scratch = out if new.dtype == wide else np.empty_like(p)
            down = self._descent(p, -slope if h["maximize"] else slope, held, h, scratch)
            np.subtract(p, down, out=out, casting="same_kind")
        return new

    def _descent(
        self, p: Any, g: Any, memory: dict[str, Any], h: Mapping[str, Any], out: Any
    ) -> Any:
        """Return what is subtracted from p, given its gradient, its memory and its options.

        The arrays in `memory` are brought up to date in place; `memory["step"]` is the number of
        this step. `out` is an array to compute in, and to return: temporaries cost more than the
        arithmetic where the system gives them anew each time.
        """
        raise NotImplementedError(f"{type(self).__name__} has no _descent method")

    def _kept(self, h: Mapping[str, Any]) -> dict[str, float]:
        """Return the names of the arrays in memory, each with what it is filled with at first."""
        return {}

    def _count(self, memory: dict[str, Any], h: Mapping[str, Any]) -> None:
        """Bring the numbers in memory up to date, once in each step of a parameter."""
        memory["step"] = memory.get("step", 0) + 1

    def _check(self, group: Group) -> None:
        """Raise ValueError for options that do not go together."""

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of what is remembered and of all options, in PyTorch's form.

        `{"state": {k: {...}}, "param_groups": [{..., "params": [k, ...]}]}`, k counting parameters.
        """
        counted = iter(range(len(self.memory)))
        groups = [
            group.data | {"params": [next(counted) for _ in group["params"]]}
            for group in self.param_groups
        ]
        kept = [self._kept(group.data) for group in self.param_groups for _ in group["params"]]
        state = {
            k: {
                name: m.copy() if isinstance(m, np.ndarray) else m
                for name, m in memory.items()
                if name in kept[k] or not isinstance(m, np.ndarray)
            }
            for k, memory in enumerate(self.memory)
            if memory
        }
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned: training continues as if never interrupted.

        ValueError that lists all that does not fit, with nothing changed.
        """
        self.param_groups, self.memory = fitted_state(self, state_dict)

    def __repr__(self) -> str:
        lines = [
            f"  {len(ps := group['params'])} parameter{'s' * (len(ps) != 1)}: "
            + ", ".join(f"{k}={v!r}" for k, v in group.items() if k != "params")
            for group in self.param_groups
        ]
        return "\n".join([f"{type(self).__name__}(", *lines, ")"])


def _pieces(shape: tuple[int, ...]) -> Iterator[tuple[Any, ...]]:
    """List indices of views that make up an array of this shape, of at most _PIECE elements."""
    size = math.prod(shape)
    if size <= _PIECE:
        yield (...,)
    elif (row := size // shape[0]) > _PIECE:
        for k in range(shape[0]):
            for rest in _pieces(shape[1:]):
                yield (k, *rest)
    else:
        count = -(-size // _PIECE)
        step = min(-(-shape[0] // count), _PIECE // row)
        for k in range(0, shape[0], step):
            yield (slice(k, k + step), ...)
