"""Training that is ended anywhere goes on from its checkpoint, bit for bit."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad.data import DataLoader, Streams
from minigrad.train import CellDistance, fit

STEPS = 4  # batches of an epoch
EPOCHS = 3


class Killed(BaseException):
    """In the place of a signal: nothing catches it."""


class Model(mg.nn.Module):
    """With all that has a state: dropout of two generators, the statistics of a batch norm."""

    def __init__(self):
        self.lstm = mg.nn.LSTM(1, 4, rng=0)
        self.norm = mg.nn.BatchNorm1d(4)
        self.own, self.shared = mg.nn.Dropout(0.3, rng=7), mg.nn.Dropout(0.2)
        self.readout = mg.nn.Linear(4, 1, rng=1)

    def forward(self, x):
        _, (h, _) = self.lstm(x)
        return self.readout(self.shared(self.own(self.norm(h[-1]))))


def run(path=None, kill_at=None, every=None, epochs=EPOCHS, seed=1, patience=None, out=None):
    """Train, and return all that came of it; or be killed in the step of this number."""
    mg.manual_seed(seed)
    noise = np.random.default_rng(5)
    model, rng = Model(), np.random.default_rng(0)
    x, y = rng.normal(size=(5, 14, 1)).astype(np.float32), rng.normal(size=(14, 1))
    loader = DataLoader(x.swapaxes(0, 1), y.astype(np.float32), batch_size=4, shuffle=True)
    optimizer = mg.optim.Adam(model.parameters(), lr=0.02)
    steps = 0

    def loss(batch):
        nonlocal steps
        steps += 1
        if steps == kill_at:
            raise Killed
        xs = batch[0].swapaxes(0, 1) + noise.normal(size=(5, len(batch[0]), 1)) / 10
        return mg.nn.mse_loss(model(xs.astype(np.float32)), batch[1])

    history = fit(
        model,
        optimizer,
        loader,
        loss,
        lambda: mg.nn.mse_loss(model(x), y.astype(np.float32)).item(),
        epochs=epochs,
        patience=patience,
        clip=1.0,
        schedule=mg.optim.OneCycleLR(optimizer, 0.02, 10_000),
        schedule_every="step",
        callbacks=[CellDistance(model.lstm)],
        out=out,
        checkpoint=path,
        checkpoint_every=every,
        parts={"noise": noise},
    )
    return {
        "weights": model.state_dict(),
        "history": history.state_dict(),
        "optimizer": optimizer.state_dict(),
        "data": loader.state_dict(),
        "noise": noise.bit_generator.state,
    }, steps


def assert_same(a, b):
    """Assert that two containers hold the same, to the bit."""
    np.testing.assert_equal(a, b)


@pytest.mark.parametrize(
    ("every", "kill_at"),
    [*[(1, k) for k in range(1, STEPS * EPOCHS + 1)], *[(3, k) for k in (2, 4, 8, 11)],
     *[(None, k) for k in (1, 4, 5, 10)]],
)  # fmt: skip
def test_a_run_that_is_killed_in_any_step_goes_on_as_if_it_was_not(tmp_path, kill_at, every):
    path = tmp_path / "run.ckpt"
    expected, _ = run()
    with pytest.raises(Killed):
        run(path, kill_at, every)
    got, steps = run(path, every=every, seed=99)  # the seed of before is in the file
    saved = (kill_at - 1) // STEPS * STEPS
    if every is not None:
        within = (kill_at - 1) % STEPS  # steps are counted within an epoch
        saved += within // every * every
    assert steps == STEPS * EPOCHS - saved
    assert_same(got, expected)


@pytest.mark.parametrize("kill_at", [1, 3, 6])
def test_to_look_at_a_batch_before_changes_nothing(tmp_path, kill_at):
    def trained(path=None, kill_at=None):
        net, seen = mg.nn.Linear(1, 1, rng=0), []
        x = np.arange(8, dtype=np.float32)[:, None] / 8
        loader = DataLoader(x, batch_size=2, shuffle=True, rng=0)
        next(iter(loader))

        def loss(batch):
            seen.append(1)
            if len(seen) == kill_at:
                raise Killed
            return mg.nn.mse_loss(net(batch[0]), 2 * batch[0])

        fit(net, mg.optim.SGD(net.parameters(), lr=0.1), loader, loss, epochs=2, out=None,
            checkpoint=path, checkpoint_every=1)  # fmt: skip
        return net.state_dict()

    with pytest.raises(Killed):
        trained(tmp_path / "run.ckpt", kill_at)
    assert_same(trained(tmp_path / "run.ckpt"), trained())


def test_a_run_that_is_killed_again_and_again(tmp_path):
    path = tmp_path / "run.ckpt"
    expected, _ = run()
    kills = 0
    while True:
        try:
            got, _ = run(path, kill_at=2, every=1)
            break
        except Killed:
            kills += 1
    assert kills == STEPS * EPOCHS - 1  # the first of two steps always goes on
    assert_same(got, expected)


def test_a_run_that_is_over_is_not_trained_again_but_may_be_longer(tmp_path):
    path = tmp_path / "run.ckpt"
    first, _ = run(path, epochs=2)
    again, steps = run(path, epochs=2, seed=4)
    assert steps == 0
    assert_same(again, first)
    longer, _ = run(path, epochs=EPOCHS, seed=4)
    assert_same(longer, run()[0])


def test_options_that_differ_are_refused_and_nothing_is_changed(tmp_path):
    """What a file has of the optimiser would else be taken, without a word, for what is given."""
    path, net = tmp_path / "run.ckpt", mg.nn.Linear(1, 1)
    x = np.ones((4, 1), np.float32)

    def trained(lr=0.1, **options):
        fit(net, mg.optim.SGD(net.parameters(), lr=lr), DataLoader(x, batch_size=2),
            lambda batch: mg.nn.mse_loss(net(batch[0]), batch[0]), out=None,
            checkpoint=path, **{"epochs": 1} | options)  # fmt: skip

    trained()
    before, file = net.state_dict(), path.read_bytes()
    for options, message in [
        ({"lr": 0.2}, "lr of the optimiser 0.1, and given is 0.2"),
        ({"clip": 1.0}, "clip None, and given is 1.0"),
        ({"mode": "max"}, "mode 'min', and given is 'max'"),
    ]:
        with pytest.raises(ValueError, match=f"{message}; give the same, or another path"):
            trained(epochs=2, **options)
    assert_same(net.state_dict(), before)
    assert path.read_bytes() == file
    trained(epochs=2)


def test_what_cannot_be_written_is_said_before_the_first_step(tmp_path):
    class Odd:
        def state_dict(self):
            return {"function": max}

        def load_state_dict(self, state):
            pass

    net, x = mg.nn.Linear(1, 1), np.ones((4, 1), np.float32)
    for more, kind in [
        ({"checkpoint": tmp_path / "none" / "run.ckpt"}, FileNotFoundError),
        ({"checkpoint": tmp_path / "run.ckpt", "parts": {"odd": Odd()}}, TypeError),
    ]:
        steps = []
        with pytest.raises(kind):
            fit(net, mg.optim.SGD(net.parameters(), lr=0.1), DataLoader(x, batch_size=2),
                steps.append, epochs=1, out=None, **more)  # fmt: skip
        assert steps == []


def test_it_is_said_that_a_run_goes_on(tmp_path):
    path, out = tmp_path / "run.ckpt", io.StringIO()
    with pytest.raises(Killed):
        run(path, kill_at=STEPS + 3, every=1, out=out)
    assert "going on" not in out.getvalue()
    run(path, every=1, out=out)
    assert f"{path}: going on in epoch 2 after 2 batches\n" in out.getvalue()
    run(path, every=1, out=out)
    assert out.getvalue().endswith(f"{path}: nothing is left to do\n")


def test_a_run_that_has_stopped_stays_so(tmp_path):
    path = tmp_path / "run.ckpt"
    first, _ = run(path, epochs=200, patience=1)
    assert first["history"]["stopped"] == "no better for 1 epoch"
    again, steps = run(path, epochs=200, patience=1)
    assert steps == 0
    assert_same(again, first)
    more, _ = run(path, epochs=200, patience=3)
    assert_same(more, run(epochs=200, patience=3)[0])
    assert len(more["history"]["epochs"]) > len(first["history"]["epochs"])


def test_a_checkpoint_of_something_else_is_refused_and_stays(tmp_path):
    path = tmp_path / "run.ckpt"
    net = mg.nn.Linear(1, 1)
    mg.io.save_checkpoint(path, module=net)
    before = path.read_bytes()
    with pytest.raises(
        ValueError, match=r"does not fit, and nothing was changed: .*missing optimizer"
    ):
        run(path)
    path.write_bytes(before[:-9])
    with pytest.raises(ValueError, match="is not a whole file"):
        run(path)
    assert path.read_bytes() == before[:-9]


def test_streams_go_on_with_the_state_that_is_carried(tmp_path):
    """A carried state is a part of the run: what has `state_dict` is saved."""

    class Carried:
        def __init__(self):
            self.state = None

        def state_dict(self):
            return {"state": None if self.state is None else [s.data for s in self.state]}

        def load_state_dict(self, state):
            given = state["state"]
            self.state = None if given is None else [mg.tensor(s) for s in given]

    def trained(path=None, kill_at=None):
        text = np.sin(np.arange(60.0)).astype(np.float32)[:, None]
        lstm, carried, steps = mg.nn.LSTM(1, 1, rng=0), Carried(), 0
        chunks = Streams(text[:-1], text[1:], batch_size=2, length=6)  # 5 chunks

        def loss(batch):
            nonlocal steps
            steps += 1
            if steps == kill_at:
                raise Killed
            hs, state = lstm(batch[0], None if chunks.at_start else carried.state)
            carried.state = mg.stop_gradient(state)
            return mg.nn.mse_loss(hs, batch[1])

        fit(lstm, mg.optim.SGD(lstm.parameters(), lr=0.5), chunks, loss, epochs=2, out=None,
            checkpoint=path, checkpoint_every=1, parts={"carried": carried})  # fmt: skip
        return lstm.state_dict()

    expected = trained()
    for kill_at in range(2, 11):
        path = tmp_path / f"{kill_at}.ckpt"
        with pytest.raises(Killed):
            trained(path, kill_at)
        assert_same(trained(path), expected)


def test_a_process_that_is_killed_by_the_system_goes_on(tmp_path):
    """SIGKILL while it trains; a fresh process goes on, and ends with the same file."""
    path, program = tmp_path / "run.ckpt", tmp_path / "program.py"
    program.write_text(
        "import os, signal, sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import test_resuming as t\n"
        "try:\n"
        "    t.run(t.Path(sys.argv[2]), int(sys.argv[3]), every=1)\n"
        "except t.Killed:\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )

    def process(kill_at):
        command = [sys.executable, program, Path(__file__).parent, path, str(kill_at)]
        root = Path(__file__).parents[2]
        env = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), *sys.path])}
        return subprocess.run(command, env=env, check=False).returncode

    assert process(6) == -signal.SIGKILL
    assert process(10**6) == 0
    again, steps = run(path, every=1)
    assert steps == 0
    assert_same(again, run()[0])
