"""Averages of a module's weights over its training, which often do better than the last ones."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np

from ..core.tensor import Tensor, tensor
from ..guard.errors import shown
from ..nn.arguments import number
from ..nn.module import Module

__all__ = ["AveragedModel"]


class AveragedModel(Module):
    """A copy of a module whose parameters are averages: call `update_parameters` after steps.

    Without `decay` all updates count alike (stochastic weight averaging, Izmailov et al., 2018);
    with it, a <- decay a + (1 - decay) p, an exponential moving average. Buffers are those of the
    module at the last update: running statistics of a BatchNorm belong to its own weights, not to
    the average, so let the average see data in training mode before it is used.

    >>> import minigrad as mg
    >>> net = mg.nn.Linear(1, 1)
    >>> average = AveragedModel(net, decay=0.9)
    >>> average.update_parameters(net)
    >>> average.n_averaged.item()
    1
    """

    def __init__(self, module: Module, *, decay: float | None = None) -> None:
        if not isinstance(module, Module):
            raise TypeError(f"AveragedModel: takes a module, not {shown(module)}")
        self.decay = None if decay is None else number(self, "decay", decay, "[0, 1)")
        self.module = deepcopy(module)
        self.module.zero_grad()
        self.n_averaged = tensor(0)

    def update_parameters(self, module: Module) -> None:
        """Take the parameters of now into the average; ValueError for those of another module."""
        own, given = (dict(m.named_parameters()) for m in (self.module, module))
        shapes, wanted = ({k: t.shape for k, t in d.items()} for d in (given, own))
        if shapes != wanted:
            names = [k for k in {**own, **given} if shapes.get(k) != wanted.get(k)]
            raise ValueError(
                f"AveragedModel: the module has other parameters than the one averaged: "
                f"{', '.join(names)}"
            )
        n = self.n_averaged.item()
        share = 1 / (n + 1) if self.decay is None or n == 0 else 1 - self.decay
        for name, a in own.items():
            a.data = _towards(a, given[name], share)
        buffers = dict(self.module.named_buffers())
        for name, t in module.named_buffers():
            buffers[name].data = t.numpy()
        self.n_averaged.data = np.asarray(n + 1)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the module with the averaged parameters does."""
        return self.module(*args, **kwargs)


def _towards(a: Tensor, p: Tensor, share: float) -> Any:
    wide = np.promote_types(a.dtype, np.float32)
    return p.numpy() if share == 1 else a.data + share * (p.data.astype(wide) - a.data)
