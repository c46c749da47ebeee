"""What `fit` is told beside its first five arguments: modes, schedules, callbacks, histories."""

import numpy as np
import pytest

import minigrad as mg
from minigrad.data import DataLoader
from minigrad.train import Callback, CellDistance, History, fit

X = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
Y = np.random.default_rng(1).normal(size=(10, 1)).astype(np.float32)


def given(**changes):
    net = mg.nn.Linear(3, 1, rng=0)
    return {
        "module": net,
        "optimizer": mg.optim.SGD(net.parameters(), lr=0.1),
        "batches": DataLoader(X, Y, batch_size=4, shuffle=True, rng=0),
        "loss": lambda batch: mg.nn.mse_loss(net(batch[0]), batch[1]),
        "validate": lambda: mg.nn.mse_loss(net(X), Y).item(),
        "epochs": 3,
        "out": None,
    } | changes


def weights(run):
    return run["module"].state_dict()


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name, value in a.items():
        np.testing.assert_array_equal(value, b[name])


def by_hand(run, epochs=3, clip=None, each_step=None):
    """The loop that `fit` stands for."""
    net, optimizer, loader, rows = run["module"], run["optimizer"], run["batches"], []
    for _ in range(epochs):
        losses, norms = [], []
        for batch in loader:
            optimizer.zero_grad()
            loss = run["loss"](batch)
            loss.backward()
            losses.append(loss.item())
            grads = np.concatenate([p.grad.ravel() for p in net.parameters()])
            norms.append(np.linalg.norm(grads))
            if clip:
                mg.optim.clip_grad_norm_(net.parameters(), clip)
            optimizer.step()
            if each_step:
                each_step.step()
        rows.append((np.mean(losses), np.mean(norms)))
    return rows


@pytest.mark.parametrize("clip", [None, 0.5])
def test_fit_is_the_loop_by_hand_to_the_bit(clip):
    ours, theirs = given(validate=None), given(validate=None)
    history, rows = fit(**ours, clip=clip), by_hand(theirs, clip=clip)
    assert_same(weights(ours), weights(theirs))
    np.testing.assert_allclose(history["train"], [loss for loss, _ in rows], rtol=1e-12)
    np.testing.assert_allclose(history["gradient"], [norm for _, norm in rows], rtol=1e-6)
    assert history.best == -1
    assert history.names() == ["train", "gradient"]


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_the_norm_of_gradients_whose_squares_are_no_float32(scale):
    run = given(validate=None, epochs=1, batches=DataLoader(X, Y, batch_size=4))
    run["optimizer"] = mg.optim.SGD(run["module"].parameters(), lr=1e-30)
    loss = run["loss"]
    (row,) = fit(**run | {"loss": lambda batch: loss(batch) * np.float32(scale)}).epochs
    (plain,) = fit(**run).epochs
    np.testing.assert_allclose(row["gradient"] / scale, plain["gradient"], rtol=1e-4)


def test_without_validation_the_last_whole_epoch_is_kept():
    run, reference = given(validate=None), given(validate=None, epochs=1)
    fit(**reference)
    loss = run["loss"]

    def interrupted(batch):
        interrupted.calls += 1
        if interrupted.calls == 5:  # in the second epoch of three batches
            raise KeyboardInterrupt
        return loss(batch)

    interrupted.calls = 0
    history = fit(**run | {"loss": interrupted})
    assert len(history) == 1
    assert_same(weights(run), weights(reference))


def test_the_largest_is_the_best_in_mode_max():
    values = [0.2, 0.9, 0.5, 0.6, 0.95]
    supply = iter(values)
    run, two = given(validate=lambda: next(supply)), given(epochs=2, validate=None)
    history = fit(**run | {"epochs": 5}, mode="max", patience=2)
    fit(**two)
    assert history["validation"] == values[:4]
    assert (history.best, history.stopped) == (1, "no better for 2 epochs")
    assert_same(weights(run), weights(two))


def test_validate_may_give_more_numbers():
    history = fit(**given(validate=lambda: {"rmse": 2, "validation": mg.tensor(1.0)}))
    assert history.names() == ["train", "rmse", "validation", "gradient"]
    assert history["validation"] == [1, 1, 1]
    for wrong, message in [
        ({"rmse": 1.0}, "without 'validation'.*it has 'rmse'"),
        ({}, "it has nothing"),
        ({"validation": 1.0, "train": 1.0}, "validate has a number named 'train'"),
    ]:
        with pytest.raises(ValueError, match=message):
            fit(**given(validate=lambda wrong=wrong: wrong))


def test_a_schedule_of_steps():
    ours, theirs = given(validate=None), given(validate=None)
    options = {"max_lr": 0.2, "total_steps": 9, "cycle_momentum": False}
    fit(
        **ours,
        schedule=mg.optim.OneCycleLR(ours["optimizer"], **options),
        schedule_every="step",
    )
    by_hand(theirs, each_step=mg.optim.OneCycleLR(theirs["optimizer"], **options))
    assert_same(weights(ours), weights(theirs))


def test_batches_that_nobody_looks_at():
    run = given(batches=lambda: [None] * 2)
    assert len(fit(**run | {"loss": lambda batch: mg.nn.mse_loss(run["module"](X), Y)})) == 3


class Recorder(Callback):
    def __init__(self, stop_after=99):
        self.seen, self.stop_after = [], stop_after

    def begin(self):
        self.seen.append("begin")

    def after_step(self):
        self.seen.append("step")

    def after_epoch(self, history):
        history.epochs[-1]["more"] = float(len(history))
        self.seen.append(f"epoch {len(history)}")
        return "seen enough" if len(history) == self.stop_after else None

    def end(self):
        self.seen.append("end")


def test_callbacks_are_called_and_end_training():
    recorder, seen = Recorder(stop_after=2), []
    history = fit(**given(callbacks=[recorder, lambda history: seen.append(len(history))]))
    epoch = ["step"] * 3
    assert recorder.seen == ["begin", *epoch, "epoch 1", *epoch, "epoch 2", "end"]
    assert seen == [1, 2]
    assert (len(history), history.stopped, history["more"]) == (2, "seen enough", [1, 2])


def test_a_callback_ends_however_training_does():
    recorder = Recorder()
    with pytest.raises(ZeroDivisionError):
        fit(**given(callbacks=[recorder], validate=lambda: 1 / 0))
    assert recorder.seen[-1] == "end"


def test_a_history_is_gone_on_with():
    """Validations of before count: what is no better than these is not kept."""
    supply = iter([3.0, 1.0, 2.0, 0.5])
    run = given(validate=lambda: next(supply), epochs=2)
    history = fit(**run)
    best = weights(run)
    assert fit(**run | {"epochs": 3}, history=history) is history
    assert (len(history), history.best) == (3, 1)
    assert_same(weights(run), best)
    with pytest.raises(ValueError, match=r"has 3 epochs, which count, too.*write epochs=6 for 3"):
        fit(**run | {"epochs": 3}, history=history)
    history.stopped = "enough"
    fit(**run | {"epochs": 4}, history=history)
    assert (history.best, history.stopped) == (3, "")


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"mode": "most"}, ValueError, "mode must be 'min' or 'max', not 'most'"),
        ({"validate": None, "patience": 2}, ValueError, "patience waits for a better validation"),
        ({"history": {}}, TypeError, r"history must be one that fit returned, not \{\}"),
        ({"watch": lambda: {"a": "b"}}, TypeError, "a must be a number, not 'b'"),
        ({"validate": lambda: None}, TypeError, "validation must be a number, not None"),
        ({"callbacks": [3]}, TypeError, "a callback is a function of the history"),
        ({"callbacks": [Recorder]}, TypeError, "not the class Recorder"),
        ({"callbacks": [lambda history: True]}, TypeError, "in words why.*not True"),
        ({"batches": np.ones(3)}, TypeError, r"write DataLoader\(x, y, batch_size=32\)"),
        ({"checkpoint": 3}, TypeError, "checkpoint must be the path"),
        ({"checkpoint_every": 0}, ValueError, "checkpoint_every must be"),
        ({"checkpoint": "c", "batches": lambda: [1]}, TypeError, "whose place in the data"),
        ({"parts": [1]}, TypeError, "parts must be a dict"),
        ({"parts": {"a": 1}}, TypeError, "a in parts must have state_dict"),
        (
            {"parts": {"run": np.random.default_rng(0)}},
            ValueError,
            "a part is named 'run'",
        ),
        ({"weight": len}, ValueError, "give comm, too"),
        ({"comm": 3}, TypeError, "3 has no Get_rank, Get_size, Allreduce, bcast, allgather"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes, kind, message):
    with pytest.raises(kind, match=message):
        fit(**given(**changes))


def test_schedules_that_cannot_be_meant_are_refused():
    run = given()
    plateau = mg.optim.ReduceLROnPlateau(run["optimizer"])
    for changes, message in [
        ({"schedule_every": "batch"}, "'epoch' or 'step', not 'batch'"),
        ({"schedule_every": "step"}, "ReduceLROnPlateau looks at the validation of each epoch"),
        ({"validate": None}, "ReduceLROnPlateau looks at the validation of each epoch"),
        ({"mode": "max"}, "mode is 'max', and the schedule's is 'min'"),
    ]:
        with pytest.raises(ValueError, match=message):
            fit(**run | changes, schedule=plateau)


# ---- the memory of an LSTM -----------------------------------------------------------------------


class Reader(mg.nn.Module):
    def __init__(self, **options):
        self.lstm = mg.nn.LSTM(1, 4, rng=0, **options)
        self.readout = mg.nn.Linear(4, 1, rng=1)
        self.states = []

    def forward(self, x, state=None):
        _, (h, c) = self.lstm(x) if state is None else self.lstm(x, state=state)
        first = 0 if state is None else state[1]
        if state is None and self.lstm.learn_state:
            first = self.lstm.c0.numpy()
        if self.training:
            self.states.append((np.asarray(first), c.numpy()))
        return self.readout(h[-1])


def reading(model, state=None, epochs=3, lr=0.5, **options):
    x = np.random.default_rng(0).normal(size=(5, 6, 1)).astype(np.float32)  # (T, N, 1)
    loader = DataLoader(x.swapaxes(0, 1), batch_size=4)
    cut = lambda batch: None if state is None else tuple(s[:, : len(batch)] for s in state)
    return fit(
        model,
        mg.optim.SGD(model.parameters(), lr=lr),
        loader,
        lambda b: mg.nn.mse_loss(
            model(b[0].swapaxes(0, 1), cut(b[0])), np.ones((len(b[0]), 1), np.float32)
        ),
        lambda: mg.nn.mse_loss(model(x, state), np.ones((6, 1), np.float32)).item(),
        epochs=epochs,
        out=None,
        **options,
    )


@pytest.mark.parametrize("kind", ["zero", "given", "learned", "layers"])
def test_the_cell_distance_is_the_mean_over_the_training_set(kind):
    options = {"learn_state": kind == "learned"} | ({"num_layers": 2} if kind == "layers" else {})
    model, state = Reader(**options), None
    if kind == "given":
        rng = np.random.default_rng(3)
        state = tuple(rng.normal(size=(1, 6, 4)).astype(np.float32) for _ in range(2))
    history = reading(model, state, callbacks=[CellDistance(model.lstm)])
    assert len(model.states) == 6
    for k, row in enumerate(history.epochs):
        far = [
            np.linalg.norm(np.atleast_3d(c) - first, axis=-1).ravel()
            for first, c in model.states[2 * k : 2 * k + 2]
        ]
        np.testing.assert_allclose(row["cell distance"], np.concatenate(far).mean(), rtol=1e-6)
    assert "_hooks" not in vars(model.lstm) or not vars(model.lstm)["_hooks"].after


def test_training_stops_at_the_bound():
    model = Reader()
    watched = reading(model, epochs=6, callbacks=[CellDistance(model.lstm)])["cell distance"]
    bound = (watched[2] + watched[3]) / 2
    assert max(watched[:3]) < bound < watched[3]
    model = Reader()
    history = reading(model, epochs=6, callbacks=[CellDistance(model.lstm, bound=bound)])
    assert history["cell distance"] == watched[:4]
    assert history.stopped == f"the cell distance {watched[3]:.4g} exceeds {bound:g}"


def fed(stop, distances, validations):
    """Tell a stopping rule these distances, epoch by epoch; return when and why it stops."""
    history = History()
    for d, v in zip(distances, validations, strict=True):
        history.epochs.append({"validation": v})
        if history.best < 0 or v < history["validation"][history.best]:
            history.best = len(history) - 1
        state = np.zeros((1, 1, 1)), np.full((1, 1, 1), float(d))
        stop._seen(stop.lstm, (None,), {}, (None, tuple(map(mg.tensor, state))))
        if reason := stop.after_epoch(history):
            return len(history), reason
    return None


def test_training_stops_where_the_distance_rises_and_the_validation_does_not_improve():
    lstm = mg.nn.LSTM(1, 1)
    rises = [1, 2, 3, 4, 5]
    no_better = fed(CellDistance(lstm, patience=3), rises, [1, 2, 2, 2, 2])
    assert no_better == (4, "the cell distance has risen for 3 epochs, to 4")
    assert fed(CellDistance(lstm, patience=3), rises, [5, 4, 3, 2, 1]) is None
    assert fed(CellDistance(lstm, patience=3), [1, 2, 3, 2, 3], [1, 2, 2, 2, 2]) is None
    assert fed(CellDistance(lstm, patience=3), rises, [1, 2, 2, 0.5, 2]) is None
    assert fed(CellDistance(lstm), rises, [1, 2, 2, 2, 2]) is None


def test_a_stopping_rule_that_cannot_work_says_so():
    model = Reader()
    with pytest.raises(ValueError, match="was not called in training mode"):
        reading(model, callbacks=[CellDistance(mg.nn.LSTM(1, 4))])
    with pytest.raises(TypeError, match="takes an LSTM, not a module, Reader"):
        CellDistance(model)
    with pytest.raises(ValueError, match="bound must be positive"):
        CellDistance(model.lstm, bound=0)
    with pytest.raises(ValueError, match="give fit validate"):
        fit(**given(validate=None, module=model, batches=DataLoader(X, batch_size=5),
                    optimizer=mg.optim.SGD(model.parameters(), lr=0.1),
                    loss=lambda b: model(b[0].T[:, :, None]).sum() * 1e-3,
                    callbacks=[CellDistance(model.lstm, patience=1)]))  # fmt: skip
    with pytest.raises(ValueError, match="does not fit CellDistance"):
        CellDistance(model.lstm).load_state_dict({})
