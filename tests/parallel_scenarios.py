"""What processes do together, for the tests: with threads in their place, or in MPI:

    mpiexec -n 2 python -m mpi4py tests/parallel_scenarios.py FOLDER [raise | kill]

A scenario is a function of a communicator; what it returns in process k is written, all of them
together, to FOLDER/k.pickle. With `raise` or `kill`, process 1 ends in the middle of training.
"""

import os
import pickle
import signal
import sys
from pathlib import Path

import numpy as np

import minigrad as mg
from minigrad.data import DataLoader
from minigrad.parallel import mean_gradients
from minigrad.train import Callback, CellDistance, fit


class Model(mg.nn.Module):
    """An LSTM in float64 with a readout."""

    def __init__(self, seed, dropout=0.0):
        self.lstm = mg.nn.LSTM(2, 4, rng=seed, dtype=np.float64)
        self.drop = mg.nn.Dropout(dropout)
        self.readout = mg.nn.Linear(4, 1, rng=seed + 1, dtype=np.float64)
        self.unused = mg.nn.Linear(2, 2, rng=seed + 2, dtype=np.float64)  # never has a gradient

    def forward(self, x):  # (N, T, 2)
        _, (h, _) = self.lstm(x.swapaxes(0, 1))
        return self.readout(self.drop(h[-1]))


RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(13, 5, 2)), RNG.normal(size=(13, 1))


def mse(model, x, y):
    return mg.nn.mse_loss(model(x), y)


def trained(comm, model, batch_size=6, loss=mse, x=X, **options):
    """Train with all that `fit` has: the last of three batches has one row."""
    optimizer = mg.optim.Adam(model.parameters(), lr=0.05)
    rank = comm.Get_rank() if comm else 0
    loader = DataLoader(x, Y, batch_size=batch_size, shuffle=True, rng=rank)
    history = fit(
        model, optimizer, loader,
        lambda batch: loss(model, *batch),
        lambda: mse(model, X, Y).item() + rank,  # that of process 0 counts
        **{"epochs": 3, "clip": 0.1, "out": None, "comm": comm,
           "schedule": mg.optim.StepLR(optimizer, 2), "schedule_every": "step",
           "callbacks": [CellDistance(model.lstm, comm=comm)]} | options,
    )  # fmt: skip
    return {
        "weights": model.state_dict(),
        "history": history.state_dict(),
        "optimizer": optimizer.state_dict(),
        "data": loader.state_dict(),
    }


def one(comm, folder):
    """What one process gives, for comparison: the same in all."""
    grads = {}
    for rows in (1, 7, 8, 12):
        model = Model(0)
        loss = mse(model, X[:rows], Y[:rows])
        loss.backward()
        grads[rows] = loss.item(), [p.grad for p in model.parameters()]
    return {"fit": trained(None, Model(0)), "grads": grads}


def gradients(comm, folder):
    """Mean gradients of even, uneven and empty shares."""
    rank, ranks, grads = comm.Get_rank(), comm.Get_size(), {}
    for rows in (1, 7, 8, 12):
        own = np.array_split(np.arange(rows), ranks)[rank]
        model, loss = Model(0), None
        if len(own):
            loss = mse(model, X[own], Y[own])
            loss.backward()
        mean = mean_gradients(model.parameters(), comm, len(own), loss)
        grads[rows] = mean, [p.grad for p in model.parameters()]
    return grads


def whole_fit(comm, folder):
    """`fit`, begun with other weights and another order in every process."""
    return trained(comm, Model(10 * comm.Get_rank()))


def own_batches(comm, folder):
    """Batches that every process makes itself, of several sizes."""
    rank, ranks = comm.Get_rank(), comm.Get_size()
    model = Model(0)
    parts = [np.array_split(np.arange(k, 13, 3), ranks)[rank] for k in range(3)]
    fit(
        model, mg.optim.SGD(model.parameters(), lr=0.1),
        lambda: [(X[k], Y[k]) for k in parts],
        lambda batch: mse(model, *batch),  # never of a batch without rows
        epochs=2, comm=comm, weight=lambda batch: len(batch[0]), out=None,
    )  # fmt: skip
    return model.state_dict()


def attempt(call):
    """Return the type and the text of what a call raises."""
    try:
        call()
    except Exception as error:
        return type(error).__name__, str(error)
    return None


@np.errstate(all="ignore")
def not_finite(comm, folder):
    """A loss or a gradient of process 1 that is not finite, in several ways."""
    rank, found = comm.Get_rank(), []
    for value in (np.nan, np.inf):
        steps = []

        def loss(model, x, y, value=value, steps=steps):
            steps.append(1)
            return mse(model, x, y) * (value if rank == 1 and len(steps) == 2 else 1.0)

        model = Model(0)
        found.append(attempt(lambda model=model, loss=loss: trained(comm, model, loss=loss)))
    p = mg.tensor([1.0, 2.0], requires_grad=True)
    p.grad = np.array([np.inf if rank == 1 else 0.5, 1.0])
    found.append(attempt(lambda: mean_gradients([p], comm, 1, 0.0)))
    return found, p.grad, [np.isfinite(a).all() for a in model.state_dict().values()]


def refused(comm, folder):
    """What cannot be meant is refused in all processes, before the first step."""
    rank, steps = comm.Get_rank(), []

    def loss(model, x, y):
        steps.append(1)
        return mse(model, x, y)

    def of_batches(n):
        model = Model(0)
        fit(
            model, mg.optim.SGD(model.parameters(), lr=0.1),
            lambda: ((X, Y) for _ in range(n)), lambda batch: loss(model, *batch),
            epochs=1, comm=comm, weight=lambda batch: 1.0, out=None,
        )  # fmt: skip

    other = Model(0)
    if rank == 1:
        other.unused = mg.nn.Linear(2, 3, dtype=np.float64)
    p = mg.tensor([1.0], requires_grad=True)
    return [
        attempt(lambda: of_batches(3 - rank % 2)),
        attempt(lambda: trained(comm, Model(0), batch_size=6 + rank, loss=loss)),
        attempt(lambda: trained(comm, other, loss=loss)),
        attempt(lambda: trained(comm, Model(0), loss=loss, epochs=2 + rank)),
        attempt(lambda: trained(comm, Model(0), loss=loss, x=X + rank)),
        attempt(lambda: mean_gradients([p], comm, 0)),
        len(steps),
    ]


def decisions(comm, folder):
    """Process 0 decides when to stop, and its numbers are those of the history."""
    rank, model = comm.Get_rank(), Model(0)
    stop = lambda history: f"says {rank}" if len(history) == 2 + rank else None
    seen = trained(comm, model, epochs=5, callbacks=[stop], watch=lambda: {"rank": rank})
    return seen["history"]


class Killed(BaseException):
    """In the place of a signal."""


class Killer(Callback):
    """Kills all processes in a step: a process without rows makes steps, too."""

    def __init__(self, at):
        self.at = at

    def after_step(self):
        self.at -= 1
        if not self.at:
            raise Killed


def resumed(comm, folder):
    """Interrupted in every step, with noise and dropout that differ from process to process."""

    def run(path, kill_at):
        mg.manual_seed(comm.Get_rank())
        noise = np.random.default_rng(comm.Get_rank())
        model = Model(0, dropout=0.5)
        model.drop.rng = np.random.default_rng(3 + comm.Get_rank())
        return trained(
            comm, model, batch_size=5, epochs=2, checkpoint=path, checkpoint_every=1,
            loss=lambda model, x, y: mse(model, x + noise.normal(size=x.shape) / 10, y),
            callbacks=[CellDistance(model.lstm, comm=comm), Killer(kill_at)],
            parts={"noise": noise},
        )  # fmt: skip

    expected, kills = run(folder / "never.ckpt", -1), 0
    while True:
        try:
            return expected, run(folder / "again.ckpt", 2), kills
        except Killed:
            kills += 1


SCENARIOS = (
    one, gradients, whole_fit, own_batches, not_finite, refused, decisions, resumed,
)  # fmt: skip


def all_of_them(comm, folder):
    return {scenario.__name__: scenario(comm, folder) for scenario in SCENARIOS}


def ending(comm, how):
    """Train, until process 1 raises or is killed in the fourth step."""
    steps = []

    def loss(model, x, y):
        steps.append(1)
        if comm.Get_rank() == 1 and len(steps) == 4:
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ValueError("process 1 has had enough")
        return mse(model, x, y)

    trained(comm, Model(0), loss=loss, epochs=10**6)


if __name__ == "__main__":
    from mpi4py import MPI

    place = Path(sys.argv[1])
    if len(sys.argv) > 2:
        ending(MPI.COMM_WORLD, sys.argv[2])
    found = all_of_them(MPI.COMM_WORLD, place)
    (place / f"{MPI.COMM_WORLD.Get_rank()}.pickle").write_bytes(pickle.dumps(found))
