"""Averages of a module's weights over its training, which often do better than the last ones."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

import numpy as np

from ..core.context import no_grad
from ..core.tensor import Tensor, tensor
from ..guard.errors import shown
from ..nn.arguments import number
from ..nn.module import Module

__all__ = ["AveragedModel", "update_bn"]


class AveragedModel(Module):
    """A copy of a module whose parameters are averages: call `update_parameters` after steps.

    Without `decay` all updates count alike (stochastic weight averaging, Izmailov et al., 2018);
    with it, a <- decay a + (1 - decay) p, an exponential moving average. Buffers are those of the
    module at the last update: the running statistics of BatchNorm are those of its own weights, not
    of the average, which `update_bn` computes.

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


def update_bn(batches: Iterable[Any], module: Module) -> None:
    """Set the running statistics of all BatchNorm in a module anew: their means over the batches.

    A batch is an input, or a tuple or list that begins with it. Modes and momenta are then as they
    were. ValueError if there are no batches.
    """
    norms: list[Any] = [m for m in module.modules() if hasattr(m, "num_batches_tracked")]
    if not norms:
        return
    before = [(m, m.training) for m in module.modules()]
    momenta = [m.momentum for m in norms]
    count = 0
    try:
        for m in norms:
            m.momentum = None  # the mean over all
        module.train()
        with no_grad():
            for batch in batches:
                for m in norms if count == 0 else ():
                    m.num_batches_tracked.data = np.array(0)
                module(batch[0] if isinstance(batch, (tuple, list)) else batch)
                count += 1
    finally:
        for m, momentum in zip(norms, momenta, strict=True):
            m.momentum = momentum
        for m, mode in before:
            m.training = mode
    if not count:
        raise ValueError("update_bn: there are no batches; is it a generator that was used up?")


def _towards(a: Tensor, p: Tensor, share: float) -> Any:
    wide = np.promote_types(a.dtype, np.float32)
    return p.numpy() if share == 1 else a.data + share * (p.data.astype(wide) - a.data)
