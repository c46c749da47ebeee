"""Several processes train as one: in threads everywhere, and in MPI where it is installed."""

import importlib.util
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests import parallel_scenarios as scenarios

ROOT = Path(__file__).parents[1]
LIMIT = 120  # seconds; a job that hangs is a failure


class Threads:
    """A communicator of threads, whose messages are copies, as between processes."""

    def __init__(self, n):
        self.n, self.barrier, self.slots = n, threading.Barrier(n, timeout=LIMIT), [None] * n

    def of(self, rank):
        return _Thread(self, rank)

    def run(self, call):
        """List what `call(comm)` returns in each thread, or raise what the first one raises."""
        results, errors = [None] * self.n, []

        def one(rank):
            try:
                results[rank] = call(self.of(rank))
            except BaseException as error:
                errors.append(error)
                self.barrier.abort()

        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(self.n)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return results


class _Thread:
    def __init__(self, threads, rank):
        self.threads, self.rank, self.messages = threads, rank, 0

    def Get_rank(self):
        return self.rank

    def Get_size(self):
        return self.threads.n

    def allgather(self, sendobj):
        self.threads.slots[self.rank] = pickle.dumps(sendobj)
        self.threads.barrier.wait()
        found = [pickle.loads(sent) for sent in self.threads.slots]
        self.threads.barrier.wait()
        return found

    def bcast(self, obj, root=0):
        return self.allgather(obj)[root]

    def Allreduce(self, sendbuf, recvbuf):
        self.messages += 1
        recvbuf[...] = sum(self.allgather(sendbuf))


# ---- MPI, where it is ----------------------------------------------------------------------------


def mpiexec(n, program, *arguments):
    beside = Path(sys.executable).parent / "mpiexec"
    command = [str(beside) if beside.exists() else shutil.which("mpiexec"), "-n", str(n)]
    version = subprocess.run([command[0], "--version"], capture_output=True, text=True)
    if "Open MPI" in version.stdout:  # which else refuses root, and more processes than cores
        command[1:1] = ["--allow-run-as-root", "--oversubscribe"]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, sys.executable, "-m", "mpi4py", *map(str, (program, *arguments))],
        capture_output=True, text=True, timeout=LIMIT, env=env, cwd=ROOT,
    )  # fmt: skip


@cache
def no_mpi():
    """Why tests with MPI are skipped, "" if they are not; nothing of ours is asked."""
    if importlib.util.find_spec("mpi4py") is None:
        return "mpi4py is not installed: pip install 'minigrad[mpi]'"
    beside = Path(sys.executable).parent / "mpiexec"
    if not beside.exists() and shutil.which("mpiexec") is None:
        return "there is no mpiexec: pip install 'minigrad[mpi]'"
    try:
        done = mpiexec(2, "-c", "from mpi4py import MPI; assert MPI.COMM_WORLD.Get_size() == 2")
    except subprocess.TimeoutExpired:
        return f"mpiexec does not end within {LIMIT} s on this machine"
    return "" if done.returncode == 0 else f"mpiexec does not run here: {done.stderr[-300:]}"


@pytest.fixture(scope="module", params=["threads-2", "threads-3", "mpi-2", "mpi-4"])
def found(request, tmp_path_factory):
    """What all scenarios gave, in each process."""
    kind, n = request.param.split("-")
    folder = tmp_path_factory.mktemp(request.param)
    if kind == "threads":
        return Threads(int(n)).run(lambda comm: scenarios.all_of_them(comm, folder))
    if reason := no_mpi():
        pytest.skip(reason)
    done = mpiexec(n, scenarios.__file__, folder)
    assert done.returncode == 0, done.stderr
    return [pickle.loads((folder / f"{k}.pickle").read_bytes()) for k in range(int(n))]


def assert_close(a, b):
    """Assert that two containers hold the same structure and numbers, to 1e-12."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_close(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_close(x, y)
    elif isinstance(a, float | np.ndarray):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)
    else:
        assert a == b


def assert_alike(found, name):
    """Assert that a scenario gave the same bits in every process, and return what."""
    first, *others = [of_rank[name] for of_rank in found]
    for other in others:
        np.testing.assert_equal(other, first)
    return first


def test_mean_gradients_are_those_of_the_whole_batch(found):
    """Of even, uneven and empty shares; what has no gradient anywhere gets none."""
    got, expected = assert_alike(found, "gradients"), found[0]["one"]["grads"]
    assert_close(got, expected)
    assert got[7][1][-1] is None


def test_fit_makes_the_steps_of_one_process(found):
    """With weights, order, validation and schedule of process 0, and the same bits in all."""
    got, expected = assert_alike(found, "whole_fit"), found[0]["one"]["fit"]
    assert_close(got, expected)
    assert len(got["history"]["epochs"]) == 3
    assert "cell distance" in got["history"]["epochs"][0]


def test_batches_that_every_process_makes_itself(found):
    got = assert_alike(found, "own_batches")
    model = scenarios.Model(0)
    optimizer = scenarios.mg.optim.SGD(model.parameters(), lr=0.1)
    for k in [0, 1, 2] * 2:
        optimizer.zero_grad()
        scenarios.mse(model, scenarios.X[k::3], scenarios.Y[k::3]).backward()
        optimizer.step()
    assert_close(got, model.state_dict())


def test_what_is_not_finite_in_one_process_raises_in_all(found):
    for rank, of_rank in enumerate(found):
        errors, grad, finite = of_rank["not_finite"]
        for kind, text in errors:
            assert kind == "FloatingPointError"
            assert "is not finite in process 1 of" in text
        assert all(finite)
        assert grad.tolist() == [np.inf if rank == 1 else 0.5, 1.0]


def test_what_differs_is_refused_in_all_before_the_first_step(found):
    for of_rank in found:
        batches, size, model, epochs, rows, weight, steps = of_rank["refused"]
        assert (
            batches[0] == size[0] == model[0] == epochs[0] == rows[0] == weight[0] == "ValueError"
        )
        assert "the number of batches must be the same in all processes" in batches[1]
        assert "process 0 has 3; process 1 has 2" in batches[1]
        assert "must be the same in all processes" in size[1]
        assert "the parameters must be the same in all processes" in model[1]
        assert "the number of epochs must be the same" in epochs[1]
        assert (
            "the data, of which a loader gives each process its share, must be the same" in rows[1]
        )
        assert "the weights of all processes are 0" in weight[1]
        assert steps == 0


def test_process_0_decides(found):
    history = assert_alike(found, "decisions")
    assert [row["rank"] for row in history["epochs"]] == [0, 0]
    assert history["stopped"] == "says 0"


def test_a_job_goes_on_from_its_checkpoint_to_the_bit(found):
    assert_alike(found, "resumed")
    expected, got, kills = found[0]["resumed"]
    np.testing.assert_equal(got, expected)
    assert kills == 5  # of six steps; the first of two always goes on


@pytest.mark.parametrize("how", ["raise", "kill"])
def test_a_job_ends_within_seconds_if_one_process_does(how, tmp_path):
    if reason := no_mpi():
        pytest.skip(reason)
    start = time.perf_counter()
    done = mpiexec(2, scenarios.__file__, tmp_path, how)  # would train for days
    assert done.returncode != 0
    assert ("process 1 has had enough" in done.stderr) == (how == "raise")
    assert time.perf_counter() - start < 30


def test_all_processes_have_one_order_whatever_else_draws_from_its_generator():
    """Shares are of one batch, though processes draw masks of several sizes from its generator."""

    def run(comm):
        rng, seen = np.random.default_rng(0), []
        model = scenarios.Model(0, dropout=0.5)
        model.drop.rng = rng

        def loss(batch):
            seen.extend(batch[0][:, 0, 0].tolist())
            return scenarios.mse(model, *batch)

        loader = scenarios.DataLoader(scenarios.X, scenarios.Y, batch_size=5, shuffle=True, rng=rng)
        optimizer = scenarios.mg.optim.SGD(model.parameters(), lr=0.1)
        scenarios.fit(model, optimizer, loader, loss, epochs=3, comm=comm, out=None)
        return seen

    first, second = Threads(2).run(run)
    assert sorted(first + second) == sorted(scenarios.X[:, 0, 0].tolist() * 3)


def test_one_message_for_each_step():
    def step(comm):
        scenarios.gradients(comm, None)
        return comm.messages

    assert Threads(2).run(step) == [4, 4]  # of four batches


def test_a_frozen_parameter_is_left_alone_and_float32_stays_so():
    def step(comm):
        w = scenarios.mg.tensor(np.ones(2, np.float32), requires_grad=True)
        frozen = scenarios.mg.tensor(np.ones(2))
        w.grad = np.full(2, comm.Get_rank(), np.float32)
        loss = scenarios.mean_gradients([w, frozen], comm, 1 + comm.Get_rank(), 3.0)
        return w.grad.dtype, w.grad.tolist(), frozen.grad, loss

    third = np.float32(2 / 3)
    assert Threads(2).run(step) == [(np.float32, [third, third], None, 3.0)] * 2


def test_a_weight_that_cannot_be_meant_is_refused():
    with pytest.raises(ValueError, match="weight must be at least 0 and finite"):
        scenarios.mean_gradients([], Threads(1).of(0), -1.0, 0.0)


def test_a_checkpoint_is_of_so_many_processes(tmp_path):
    path = tmp_path / "run.ckpt"

    def run(comm):
        scenarios.trained(comm, scenarios.Model(0), epochs=1, checkpoint=path)

    Threads(2).run(run)
    Threads(2).run(run)
    for call in (lambda: Threads(1).run(run), lambda: run(None)):
        with pytest.raises(ValueError, match="2 wrote the file, and here are 1"):
            call()
