"""Checkpoints: what is saved is loaded to the bit, all of it or nothing, and nothing else is."""

import math
import os
import struct
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim
from minigrad.core.random import generator as default_generator
from minigrad.io import load_checkpoint, read_checkpoint, save_checkpoint
from minigrad.io.plain import difference

ROOT = Path(__file__).parents[2]
NAN = struct.unpack(">d", bytes.fromhex("fff8000000000123"))[0]

VALUES = {
    "none": None,
    "booleans": [True, False],
    "whole numbers": [0, -1, 2**63, -(2**64), 2**128 + 1, -(10**5000)],
    "numbers": [0.1, -0.0, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, NAN],
    "texts": ["", "重み", "\ud800", "a\0b", '"\\\n'],
    "nested": [(), [], {}, ([(1,)], {"a": [{"b": (None,)}]})],
    "keys": {0: "a", "0": "b", None: 1, (1, 2.5): 2, True: 3, 2.0: 4},
    "order": {"b": 1, "a": 2},
    "scalars": [np.float64(0.1), np.float32("nan"), np.int8(-3), np.bool_(True)],
    "no dimension": np.array(7, np.uint16),
    "nothing": np.zeros((0, 3), np.float32),
    "big-endian": np.arange(6, dtype=">i4").reshape(2, 3),
    "by columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "strided": np.arange(24.0).reshape(2, 3, 4)[::-1, :, ::2],
    "half": np.array([1, np.nan, np.inf], np.float16),
    "bits": np.array([NAN, -0.0]),
    "complex": np.array([1 + 2j]),
    "dates": np.array(["2026-11-27", "NaT"], "M8[D]"),
    "places": {"pos": 10**6, "buffer_pos": -1, "state": {"pos": 10**6}},
    "labels": np.array(["größe", ""]),
    "bytes": np.array([b"a\0", b"b"]),
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_values_are_read_as_they_were(value, tmp_path):
    save_checkpoint(tmp_path / "c", value=value, other=[value, value])
    read = load_checkpoint(tmp_path / "c", value=0)
    assert difference(read, {"value": value, "other": [value, value]}, "read") == ""
    assert difference(read, read_checkpoint(tmp_path / "c"), "read") == ""
    if isinstance(value, np.ndarray):
        assert read["value"].dtype.str == value.dtype.str
        assert read["value"].flags.f_contiguous == value.flags.f_contiguous
        read["value"][...] = read["value"]  # may be written to


def test_a_difference_is_seen():
    for a, b in [
        (0.0, -0.0), (1, 1.0), (1, True), ((), []), (NAN, math.nan), ([1], [1, 2]), ("a", "b"),
        ({"a": 1}, {"b": 1}), ({"a": [1]}, {"a": [2]}), (np.float32(1), np.float64(1)),
        (np.zeros(2), np.zeros((2, 1))), (np.zeros(1), -np.zeros(1)), (None, 0),
        (np.zeros(1, "f4"), np.zeros(1, "i4")),
    ]:  # fmt: skip
        assert difference(a, b, "it").startswith("it"), (a, b)
        assert difference(a, a, "it") == ""


class Odd:
    """What is neither a value nor a part."""

    def state_dict(self):
        return {}


def _endless():
    value = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({1, 2}, r"x\['a'\]\[1\] is \{1, 2\}, of set; give numbers"),
        (OrderedDict(a=1), r"of OrderedDict; give numbers"),
        (np.array([object()]), "an array of object"),
        (np.ma.array([1.0]), "of MaskedArray"),
        (np.zeros(1, [("a", "f4")]), "an array of"),
        (np.longdouble(1), "an array of float128|of longdouble"),
        (b"bytes", "of bytes"),
        (np.str_("a\0"), "of str_"),
        (lambda: 1, "of function"),
        ({(1, frozenset()): 1}, r"a key of x\['a'\]\[1\]\[1\] is frozenset"),
        (mg.tensor([1.0]), r"a tensor of shape \(1,\), of Tensor; .*\(t\.numpy\(\) of a tensor"),
        (nn.Linear(1, 1), "a module, Linear"),
        (_endless(), "nested too deeply, or contains itself"),
    ],
)
def test_what_cannot_be_written_is_named(value, message, tmp_path):
    with pytest.raises((TypeError, ValueError), match=message):
        save_checkpoint(tmp_path / "c", x={"a": [0, value]})
    assert not [*tmp_path.iterdir()]


def test_what_can_be_written_can_be_read(tmp_path):
    """As deep as it may be."""
    value = 1
    for k in range(99):
        value = ([value], {k: value}, (value,))[k % 3]
    save_checkpoint(tmp_path / "c", value=value)
    assert read_checkpoint(tmp_path / "c") == {"value": value}


@pytest.mark.parametrize("part", [Odd(), nn.Linear, optim.Adam])
def test_what_is_half_a_part_is_refused(part, tmp_path):
    for call in (save_checkpoint, load_checkpoint):
        with pytest.raises(TypeError, match=r"x is .*must have both state_dict"):
            call(tmp_path / "c", x=part)
    assert not [*tmp_path.iterdir()]


# ---- training goes on ----------------------------------------------------------------------------

OPTIMISERS = {
    "SGD": lambda ps: optim.SGD(ps, lr=0.1, momentum=0.9),
    "Adam": lambda ps: optim.Adam(ps, lr=0.01),
    "AdamW": lambda ps: optim.AdamW([{"params": ps[:2], "lr": 0.1}, {"params": ps[2:]}], lr=0.01),
    "RMSprop": lambda ps: optim.RMSprop(ps, lr=0.01, momentum=0.5, centered=True),
    "NAdam": lambda ps: optim.NAdam(ps),
    "Adadelta": lambda ps: optim.Adadelta(ps),
    "Adagrad": lambda ps: optim.Adagrad(ps),
    "Lion": lambda ps: optim.Lion(ps),
}
SCHEDULES = {
    "StepLR": lambda o: optim.StepLR(o, 2),
    "OneCycleLR": lambda o: optim.OneCycleLR(o, 0.1, 20),
    "SequentialLR": lambda o: optim.SequentialLR(
        o, [optim.LinearWarmup(o, 3), optim.CosineAnnealingLR(o, 5)], [3]
    ),
    "ReduceLROnPlateau": lambda o: optim.ReduceLROnPlateau(o, patience=1),
    "LambdaLR": lambda o: optim.LambdaLR(o, lambda t: 1 / (1 + t)),
}


class Training:
    """A net with all that has a state: dropout of its own and of the default generator, buffers."""

    def __init__(self, optimiser="Adam", schedule="StepLR"):
        self.net = nn.Sequential(
            nn.Linear(3, 4, rng=0), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Dropout(0.5, rng=1),
            nn.Linear(4, 2, rng=2),
        )  # fmt: skip
        self.net[0].weight.data = np.asfortranarray(self.net[0].weight.data)
        self.optimizer = OPTIMISERS[optimiser](self.net.parameters())
        fits = schedule != "OneCycleLR" or {"momentum", "betas"} & self.optimizer.defaults.keys()
        self.schedule = SCHEDULES[schedule if fits else "StepLR"](self.optimizer)
        self.rng = np.random.Generator(np.random.MT19937(5))
        self.losses = []

    def run(self, steps):
        for _ in range(steps):
            x = self.rng.normal(size=(8, 3)).astype(np.float32)
            loss = nn.mse_loss(self.net(x), x[:, :2])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            step = self.schedule.step
            step() if self.schedule.steps_by_itself else step(loss)
            self.losses.append(loss.item())
        return self

    def parts(self):
        names = ("net", "optimizer", "schedule", "rng")
        return {name: getattr(self, name) for name in names}

    def state(self):
        return [
            self.net.state_dict(), self.optimizer.state_dict(), self.schedule.state_dict(),
            self.losses, self.rng.bit_generator.state, default_generator().bit_generator.state,
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("optimiser", "schedule"),
    [*((o, "OneCycleLR") for o in OPTIMISERS), *(("Adam", s) for s in SCHEDULES)],
)
def test_training_goes_on_to_the_bit(optimiser, schedule, tmp_path):
    mg.manual_seed(0)
    whole = Training(optimiser, schedule).run(7).state()
    mg.manual_seed(0)
    first = Training(optimiser, schedule).run(4)
    save_checkpoint(tmp_path / "c", **first.parts(), losses=first.losses)
    mg.manual_seed(99)
    second = Training(optimiser, schedule).run(2)  # and is thrown away
    second = Training(optimiser, schedule)
    second.losses = load_checkpoint(tmp_path / "c", **second.parts())["losses"]
    assert difference(second.run(3).state(), whole, "training") == ""


@pytest.mark.parametrize("kind", ["MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"])
def test_generators_go_on(kind, tmp_path):
    def made(seed):
        return np.random.Generator(getattr(np.random, kind)(seed))

    rng, other = made(0), made(1)
    rng.random(5, np.float32)  # leaves half a number behind
    save_checkpoint(tmp_path / "c", rng=rng)
    load_checkpoint(tmp_path / "c", rng=other)
    assert difference(other.bit_generator.state, rng.bit_generator.state, "state") == ""
    np.testing.assert_array_equal(rng.random(9, np.float32), other.random(9, np.float32))


def test_generators_in_containers(tmp_path):
    def made(seed):
        net = nn.Sequential(nn.Linear(1, 1))
        net[0].draws = {"a": [np.random.default_rng(seed), (np.random.default_rng(seed + 1),)]}
        return net, [net[0].draws["a"][0], net[0].draws["a"][1][0]]

    net, rngs = made(0)
    rngs[0].random()
    other, others = made(7)
    save_checkpoint(tmp_path / "c", net=net)
    load_checkpoint(tmp_path / "c", net=other)
    assert [rng.random() for rng in rngs] == [rng.random() for rng in others]
    other[0].draws["a"] = other[0].draws["a"][:1]
    with pytest.raises(ValueError, match=r"unexpected generator net\.0\.draws\.a\[1\]\[0\]"):
        load_checkpoint(tmp_path / "c", net=other)


# ---- all or nothing ------------------------------------------------------------------------------


def refused(path, training, message, **changed):
    before = training.state()
    with pytest.raises(ValueError, match=message) as error:
        load_checkpoint(path, **training.parts() | changed)
    assert str(path) in str(error.value)
    assert difference(training.state(), before, "training") == ""
    return str(error.value)


def test_what_does_not_fit_is_listed_and_nothing_is_changed(tmp_path):
    path = tmp_path / "run"
    first, second = Training().run(3), Training().run(2)
    save_checkpoint(path, **first.parts(), epoch=3)
    text = refused(path, second, "nothing was changed: missing loader", loader=second.schedule)
    assert "missing loader" in text
    text = refused(path, second, "rng is Generator, and a value was given", rng=3, epochs=1)
    assert "missing epochs" in text
    refused(path, second, "epoch is a value, and Adam was given", epoch=second.optimizer)
    sgd = optim.SGD(second.net.parameters(), lr=0.1)
    refused(path, second, "optimizer is Adam, and SGD was given", optimizer=sgd)
    parts = second.parts()
    del parts["optimizer"]
    with pytest.raises(ValueError, match=r"also has optimizer, the state of Adam.*read_checkpoint"):
        load_checkpoint(path, **parts)
    # the last part does not fit, when the others are loaded already
    other = np.random.Generator(np.random.SFC64(0))
    refused(path, second, "rng: the state is not one of SFC64", rng=other)
    smaller = nn.Sequential(*[nn.Linear(2, 2) for _ in range(5)])
    text = refused(path, second, "unexpected generator net.3.rng", net=smaller)
    smaller[3] = nn.Dropout(0.5, rng=0)
    text = refused(path, second, "net: the state does not fit", net=smaller)
    assert "0.weight has shape (4, 3), expected (2, 2)" in text
    wide = Training().net.astype(np.float64)
    refused(path, second, r"once loaded, net\['0\.weight'\] is float64 .* float32", net=wide)
    three = optim.Adam(second.net.parameters()[:3])
    refused(path, second, "optimizer: the state does not fit", optimizer=three)


@pytest.mark.parametrize("state", [3, {}, {"bit_generator": "PCG64"}])
def test_what_is_no_state_of_a_generator(state, tmp_path):
    class Generator(Odd):
        load_state_dict = None

        def state_dict(self):
            return state

    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    save_checkpoint(tmp_path / "c", rng=Generator())
    with pytest.raises(ValueError, match=r"rng: the state is not one of PCG64|rng: 'state'"):
        load_checkpoint(tmp_path / "c", rng=rng)
    assert difference(rng.bit_generator.state, before, "state") == ""


class Part:
    """A part that takes what it is given, unless there is an error to raise."""

    def __init__(self, state, errors=()):
        self.state, self.errors = state, [*errors]

    def state_dict(self):
        return {"state": self.state}

    def load_state_dict(self, state):
        self.state = state["state"]
        if self.errors:
            raise self.errors.pop(0)


@pytest.mark.parametrize(
    ("errors", "kind", "message"),
    [
        ([ValueError("no")], ValueError, "nothing was changed: second: no"),
        ([KeyError("no")], ValueError, "nothing was changed: second: 'no'"),
        ([RecursionError()], ValueError, "nothing was changed: second: RecursionError"),
        ([KeyboardInterrupt()], KeyboardInterrupt, None),
    ],
)
def test_a_part_that_fails_half_way(errors, kind, message, tmp_path):
    save_checkpoint(tmp_path / "c", first=Part(1), second=Part(2), third=Part(3))
    parts = {"first": Part(10), "second": Part(20, errors), "third": Part(30)}
    with pytest.raises(kind, match=message):
        load_checkpoint(tmp_path / "c", **parts)
    assert [part.state for part in parts.values()] == [10, 20, 30]


def test_a_part_that_cannot_be_put_back_is_named(tmp_path):
    save_checkpoint(tmp_path / "c", first=Part(1), second=Part(2))
    parts = {"first": Part(10), "second": Part(20, [ValueError("no"), ValueError("never")])}
    with pytest.raises(RuntimeError, match=r"second: no; .*could not be put back: second: never"):
        load_checkpoint(tmp_path / "c", **parts)
    assert parts["first"].state == 10


class Forgetful(Part):
    def load_state_dict(self, state):
        self.state = [*state["state"][:1]]


def test_a_part_that_is_another_one_after_loading(tmp_path):
    save_checkpoint(tmp_path / "c", part=Forgetful([1, 2]))
    part = Forgetful([0])
    with pytest.raises(ValueError, match=r"once loaded, part\['state'\] has 1 parts, not 2"):
        load_checkpoint(tmp_path / "c", part=part)
    assert part.state == [0]


def test_a_name_that_is_no_word(tmp_path):
    with pytest.raises(TypeError, match=r"a word, as in optimizer=\.\.\., not 'a\.b'"):
        save_checkpoint(tmp_path / "c", **{"a.b": 1})


def test_the_parts_of_a_training_of_minigrads(tmp_path):
    """A loader inside an epoch, and a history."""

    def made():
        loader = mg.data.DataLoader(np.arange(20), batch_size=3, shuffle=True, rng=1)
        return loader, mg.train.History()

    loader, history = made()
    batches = iter(loader)
    taken = [next(batches) for _ in range(3)]
    history.epochs.append({"train": 0.5, "validation": np.inf})
    save_checkpoint(tmp_path / "c", loader=loader, history=history)
    rest = [*batches]
    other, read = made()
    load_checkpoint(tmp_path / "c", loader=other, history=read)
    assert difference([*other], rest, "batches") == ""
    assert len(taken) + len(rest) == 7
    assert read["validation"] == [np.inf]


@pytest.mark.parametrize(("kind", "name"), [("MT19937", "pos"), ("Philox", "buffer_pos")])
@pytest.mark.parametrize("place", [-1, 10**6, 1.5, "1", np.array([1, 2])])
def test_a_generator_that_would_read_elsewhere(kind, name, place, tmp_path):
    rng = np.random.Generator(getattr(np.random, kind)(0))
    state = rng.bit_generator.state
    (state["state"] if name == "pos" else state)[name] = place

    class Generator(Odd):
        load_state_dict = None

        def state_dict(self):
            return state

    save_checkpoint(tmp_path / "c", rng=Generator())
    before = rng.bit_generator.state
    with pytest.raises(ValueError, match=rf"{name} of a generator is"):
        load_checkpoint(tmp_path / "c", rng=rng)
    assert difference(rng.bit_generator.state, before, "state") == ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
@pytest.mark.parametrize("kind", ["loop", "fit"])
def test_a_training_that_is_killed_loses_nothing(kind):
    command = [sys.executable, "-m", "tests.io.kills", "5", kind]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"5 kills of the {kind} in ")
