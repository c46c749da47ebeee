"""A training that saves a checkpoint at every step, killed at random moments and resumed.

    python -m tests.io.kills 200        # a loop of one's own
    python -m tests.io.kills 200 fit    # fit(checkpoint=path)

After every kill (SIGKILL) the file must hold a whole checkpoint, at a step that is not earlier
than the one before, and all that it holds must be what an uninterrupted training has at that step,
to the bit; so must the training that is resumed in the end. What happened is printed.
"""

import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

import minigrad as mg
from minigrad import nn, optim, train
from minigrad.io import load_checkpoint, save_checkpoint
from minigrad.io.checkpoint import _read
from minigrad.io.plain import packed

LONGEST = 0.25  # seconds until a kill; a step and its checkpoint take about a tenth of that


class Tagger(nn.Module):
    """Something of everything that has a state: recurrence, dropout, running means."""

    def __init__(self):
        self.lstm = nn.LSTM(3, 32, 2, dropout=0.2, rng=0)
        self.norm = nn.BatchNorm1d(32)
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(32, 3, rng=1)

    def forward(self, x):
        return self.head(self.drop(self.norm(self.lstm(x)[0][-1])))


def parts():
    """Make a training, as a program does before it looks for a checkpoint."""
    mg.manual_seed(3)
    x = np.random.default_rng(4).normal(size=(40, 5, 3)).astype(np.float32)
    net = Tagger()
    optimizer = optim.AdamW(net.parameters(), lr=1e-3)
    schedule = optim.CosineAnnealingLR(optimizer, 50)
    loader = mg.data.DataLoader(x, batch_size=7, shuffle=True, rng=5)
    return {"net": net, "optimizer": optimizer, "schedule": schedule, "loader": loader}


def loss_of(net, x):
    return nn.mse_loss(net(np.swapaxes(x, 0, 1)), x[:, 0])


def looped(path, last):
    """Train until step `last`, from the checkpoint if there is one; each step is saved."""
    made, step, losses = parts(), 0, []
    net, optimizer, schedule, loader = made.values()
    if os.path.exists(path):
        values = load_checkpoint(path, **made)
        step, losses = values["step"], values["losses"]
    while step < last:
        for (x,) in loader:
            loss = loss_of(net, x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            step, losses = step + 1, [*losses[-9:], loss.item()]
            save_checkpoint(path, **made, step=step, losses=losses)
            if step == last:
                break


def fitted(path, last):
    """Do so with `fit`, to the end of the epoch that step `last` is in."""
    net, optimizer, schedule, loader = parts().values()
    x = np.ones((4, 5, 3), np.float32)
    train.fit(
        net, optimizer, loader, lambda batch: loss_of(net, batch[0]),
        lambda: loss_of(net, x).item(), epochs=-(-last // len(loader)), clip=1.0, out=None,
        schedule=schedule, schedule_every="step", checkpoint=path, checkpoint_every=1,
    )  # fmt: skip


TRAININGS = {"loop": looped, "fit": fitted}


def digest(path):
    """Return the step of a checkpoint, and a digest of all that it holds."""
    contents = _read(path)
    text, arrays = packed("digest", *contents)
    sha = hashlib.sha256(text.encode())
    for a in arrays:
        sha.update(repr((a.dtype, a.shape)).encode() + a.tobytes())
    saved = contents[2]
    if "step" in saved:
        return saved["step"], sha.hexdigest()
    # two are written after the last step of an epoch: before the validation, and after it
    return len(saved["history"]["epochs"]) * 1000 + saved["run"]["steps"], sha.hexdigest()


def killed(training, path, after):
    """Have a child train, and kill it after so many seconds; say whether it was writing."""
    before = {*os.listdir(os.path.dirname(path))}
    child = os.fork()
    if child == 0:
        try:
            training(path, 10**9)
        except BaseException as error:
            print(f"the training failed: {error!r}", file=sys.stderr, flush=True)
        os._exit(1)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the training ended before it was killed"
    new = {*os.listdir(os.path.dirname(path))} - before
    return any(name.endswith(".partial") for name in new)


def main(kills, folder, kind="loop", seed=0):
    """Kill a training so often, and compare; return what is printed of it."""
    rng, path, started = random.Random(seed), os.path.join(folder, "run.checkpoint"), time.time()
    step, writing, none, found = 0, 0, 0, {}
    for _ in range(kills):
        writing += killed(TRAININGS[kind], path, rng.uniform(0, LONGEST))
        if not os.path.exists(path):
            none += 1
            assert step == 0, "the checkpoint is gone"
            continue
        now, what = digest(path)
        assert now >= step, f"the training went back from step {step} to {now}"
        assert found.setdefault(now, what) == what, f"two different states at step {now}"
        step = now
    last = step + 5 if kind == "loop" else (step // 1000 + 1) * len(parts()["loader"])
    whole = os.path.join(folder, "uninterrupted.checkpoint")
    for target in (path, whole):  # new processes, which share nothing with this one
        command = [sys.executable, "-m", "tests.io.kills", kind, target, str(last)]
        subprocess.run(command, check=True)
    assert digest(path) == digest(whole), "the resumed training is another one"
    assert sorted(os.listdir(folder)) == ["run.checkpoint", "uninterrupted.checkpoint"]
    os.remove(whole)
    checked = uninterrupted(TRAININGS[kind], whole, last, found)
    assert checked == found.keys(), "steps that an uninterrupted training has not"
    return (
        f"{kills} kills of the {kind} in {time.time() - started:.0f} s, {writing} of them while a "
        f"checkpoint was written, {none} before the first; {len(found)} states and the end, at "
        f"step {last}, are those of an uninterrupted training; {os.path.getsize(path)} bytes"
    )


def uninterrupted(training, path, last, found):
    """Train, and compare every checkpoint with those that were found; return their steps."""
    checked = set()

    def comparing(target, /, **saved):
        save(target, **saved)
        step, what = digest(target)
        if step in found:
            assert what == found[step], f"the state at step {step} is another one"
            checked.add(step)

    save = save_checkpoint
    for page in (sys.modules[__name__], train.run):
        page.save_checkpoint = comparing
    training(path, last)
    return checked


if __name__ == "__main__":
    if len(sys.argv) == 4:
        TRAININGS[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            print(main(int(sys.argv[1]), folder, *sys.argv[2:]))
