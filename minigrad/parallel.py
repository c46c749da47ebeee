"""Training in several processes: gradients that are the mean over all of them.

The processes are those of an existing engine, MPI; nothing here starts one. A communicator is
`MPI.COMM_WORLD` of mpi4py (`pip install 'minigrad[mpi]'`), or what has its methods `Get_rank`,
`Get_size`, `Allreduce`, `bcast` and `allgather`. Start with

    mpiexec -n 4 python -m mpi4py script.py

where `-m mpi4py` ends all processes when one raises; without it the others wait for ever. Each
needs a core for itself: OMP_NUM_THREADS=1. Batch norm takes the statistics of the rows of its
process, and keeps those of process 0; all else is as in one process, up to rounding.

`fit(..., comm=MPI.COMM_WORLD)` does all of it. In a loop of one's own, begun with the same weights
everywhere, a step is

    optimizer.zero_grad()
    loss = mse_loss(net(x), y)  # of the rows of this process
    loss.backward()
    mean = mean_gradients(net.parameters(), comm, len(x), loss)
    optimizer.step()
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ._lazy import found as _found
from .core.dtypes import Array
from .core.tensor import Tensor, value_of
from .guard.errors import shown
from .nn.arguments import number

__all__ = ["mean_gradients"]


class Communicator(Protocol):
    """What is asked of a communicator, as mpi4py has it; arrays are summed by `Allreduce`."""

    def Get_rank(self) -> int:
        """Return the number of this process, from 0."""

    def Get_size(self) -> int:
        """Return the number of processes."""

    def Allreduce(self, sendbuf: Any, recvbuf: Any) -> None:
        """Put into `recvbuf` the sum of what all processes send."""

    def bcast(self, obj: Any, root: int = 0) -> Any:
        """Return the object of process `root`."""

    def allgather(self, sendobj: Any) -> list[Any]:
        """Return the objects of all processes, in their order."""


def mean_gradients(
    params: Iterable[Tensor],
    comm: Communicator,
    weight: float = 1.0,
    loss: Tensor | float | None = None,
) -> float:
    """Set each gradient to its mean over all processes, and return the mean loss.

    `weight` is how much this process counts: the number of its rows, where the loss is their mean,
    so that the mean is that of the whole batch. A process without rows has weight 0, and no loss.
    A parameter has no gradient only where no process has one for it. Call it after `backward()`,
    before gradients are clipped, in every process and with the same parameters.

    All travels in one message, in float64, and every process gets the same bits. FloatingPointError
    in every process, with the gradients as they were, if a loss or a gradient is not finite in one;
    ValueError if all weights are 0.
    """
    held = [p for p in params if p.live]
    weight = number("mean_gradients", "weight", weight, "[0, inf)")
    rank, ranks = comm.Get_rank(), comm.Get_size()
    head = 2 + ranks + len(held)  # weight, loss, which ranks are not finite, what has a gradient
    sent = np.zeros(head + sum([p.size for p in held]))
    at = head
    if weight:
        value = 0.0 if loss is None else float(value_of(loss))
        sent[0], sent[1] = weight, weight * value
        with np.errstate(all="ignore"):
            for k, p in enumerate(held):
                if p.grad is not None:
                    sent[2 + ranks + k] = 1
                    np.multiply(
                        value_of(p.grad), weight, out=sent[at : at + p.size].reshape(p.shape)
                    )
                at += p.size
            finite = math.isfinite(float(sent.sum())) or bool(np.isfinite(sent).all())
        if not finite:
            sent[:] = 0
            sent[2 + rank] = 1
    got = np.empty_like(sent)
    comm.Allreduce(sent, got)
    if bad := [str(k) for k in np.flatnonzero(got[2 : 2 + ranks])]:
        raise FloatingPointError(
            f"mean_gradients: the loss or a gradient is not finite in process {', '.join(bad)} of "
            f"{ranks}; this is process {rank}"
        )
    total = float(got[0])
    if not total:
        raise ValueError("mean_gradients: the weights of all processes are 0; no rows are left")
    at = head
    for p, has in zip(held, got[2 + ranks : head].tolist(), strict=True):
        mean = got[at : at + p.size].reshape(p.shape)
        p.grad = (mean / total).astype(p.dtype, copy=False) if has else None
        at += p.size
    return float(got[1]) / total


def require_communicator(who: str, comm: Any) -> None:
    """Raise TypeError for what is no communicator."""
    needed = ("Get_rank", "Get_size", "Allreduce", "bcast", "allgather")
    if missing := [name for name in needed if not callable(getattr(comm, name, None))]:
        raise TypeError(
            f"{who}: comm must be a communicator, as MPI.COMM_WORLD of mpi4py; {shown(comm)} has "
            f"no {', '.join(missing)}"
        )


def require_same(who: str, comm: Communicator, **what: Any) -> None:
    """Raise ValueError in every process unless these are the same in all of them."""
    everywhere = comm.allgather(what)
    for name, value in everywhere[0].items():
        values = [of_rank[name] for of_rank in everywhere]
        if any(v != value for v in values):
            raise ValueError(
                f"{who}: the {name} must be the same in all processes, and "
                f"{'; '.join(f'process {k} has {shown(v)}' for k, v in enumerate(values))}"
            )


def share_states(comm: Communicator, parts: Mapping[str, Any]) -> None:
    """Bring all parts, by name, to the state that they have in process 0."""
    own = {name: part.state_dict() for name, part in parts.items()} if not comm.Get_rank() else None
    states = comm.bcast(own, root=0)
    if comm.Get_rank():
        for name, part in parts.items():
            part.load_state_dict(states[name])


def share_arrays(comm: Communicator, tensors: Iterable[Tensor]) -> None:
    """Give all processes the numbers that these tensors have in process 0."""
    held = list(tensors)
    arrays: list[Array] = comm.bcast(
        [t.data for t in held] if not comm.Get_rank() else None, root=0
    )
    for t, a in zip(held, arrays, strict=True) if comm.Get_rank() else ():
        t.data = a


if not TYPE_CHECKING:

    def __getattr__(name):
        return _found(name, __name__, {})  # an error, which says what to write
