"""The training loop."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad.core.context import current, put_back
from minigrad.train import fit


def _fit(loss, validations, **options):
    net = mg.nn.Linear(1, 1, rng=0)
    supply = iter(validations)
    out = io.StringIO()
    history = fit(
        net,
        mg.optim.SGD(net.parameters(), lr=0.1),
        lambda: [1.0, 2.0],
        lambda batch: loss(net, batch),
        lambda: next(supply),
        epochs=len(validations),
        out=out,
        **options,
    )
    return net, history, out.getvalue()


def _square(net, batch):
    return mg.nn.mse_loss(net(np.full((1, 1), batch, np.float32)), np.ones((1, 1), np.float32))


def test_fit_stops_early_and_keeps_the_best():
    net, history, text = _fit(_square, [3.0, 1.0, 2.0, 2.0, 0.5], patience=2)
    assert history["validation"] == [3.0, 1.0, 2.0, 2.0]
    assert history.best == 1
    best, *_ = _fit(_square, [3.0, 1.0])
    np.testing.assert_array_equal(net.weight.data, best.weight.data)
    assert text.count("\n") == 4
    assert "epoch 2/5" in text


def test_fit_raises_on_a_loss_that_is_not_finite_and_restores():
    before = mg.nn.Linear(1, 1, rng=0).weight.numpy()
    with pytest.raises(FloatingPointError, match="nan in epoch 1"):
        _fit(lambda net, batch: _square(net, batch) * np.float32(np.nan), [1.0])

    def interrupted(net, batch):
        interrupted.net = net
        if batch == 2.0:
            raise KeyboardInterrupt
        return _square(net, batch)

    _, history, text = _fit(interrupted, [1.0])
    assert "interrupted" in text
    assert history.epochs == []
    np.testing.assert_array_equal(interrupted.net.weight.data, before)


def test_fit_without_batches():
    net = mg.nn.Linear(1, 1)
    with pytest.raises(ValueError, match="no batches"):
        fit(net, mg.optim.SGD(net.parameters(), lr=1), list, _square, float, epochs=1, out=None)


def _net(**changes):
    """What `fit` is given, and the module."""
    rng = np.random.default_rng(0)
    net = mg.nn.Sequential(
        mg.nn.Linear(3, 2, rng=0), mg.nn.BatchNorm1d(2), mg.nn.Linear(2, 1, rng=1)
    )
    x, y = rng.normal(size=(8, 3)).astype(np.float32), rng.normal(size=(8, 1)).astype(np.float32)
    given = {
        "module": net,
        "optimizer": mg.optim.SGD(net.parameters(), lr=0.1),
        "batches": lambda: mg.data.batches(x, y, size=4),
        "loss": lambda batch: mg.nn.mse_loss(net(batch[0]), batch[1]),
        "validate": lambda: mg.nn.mse_loss(net(x), y).item(),
    }
    return net, given | {"epochs": 1, "out": None} | changes


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_validation_that_is_not_finite_is_said_and_what_was_trained_is_kept(bad):
    net, given = _net()
    before = net.state_dict()
    fit(**given)
    after_one = net.state_dict()
    net.load_state_dict(before)
    with pytest.raises(FloatingPointError, match=f"the validation became {bad} in epoch 1"):
        fit(**given | {"validate": lambda: bad})
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, after_one[name])
    net.load_state_dict(before)
    supply = iter([1.0, bad])
    with pytest.raises(FloatingPointError, match=f"{bad} in epoch 2"):
        fit(**given | {"validate": lambda: next(supply), "epochs": 3})
    np.testing.assert_array_equal(net.steps[0].weight.data, after_one["0.weight"])


def test_modes_are_as_before_and_parts_in_evaluation_stay_so():
    seen = []
    net, given = _net()
    loss, validate = given["loss"], given["validate"]
    watched = {
        "loss": lambda batch: (
            seen.append([m.training for _, m in net.named_modules()]),
            loss(batch),
        )[1],
        "validate": lambda: (seen.append(net.training), validate())[1],
    }
    for modes, while_training in (
        ([True] * 4, [True] * 4),
        ([False] * 4, [True] * 4),
        ([True, True, False, True], [True, True, False, True]),
    ):
        for (_, m), mode in zip(net.named_modules(), modes, strict=True):
            m.training = mode
        seen.clear()
        fit(**given | watched)
        assert seen == [while_training, while_training, False]
        assert [m.training for _, m in net.named_modules()] == modes
        with pytest.raises(ZeroDivisionError):
            fit(**given | {"validate": lambda: 1 / 0})
        assert [m.training for _, m in net.named_modules()] == modes


def test_an_optimiser_of_other_parameters_is_refused():
    """It would train one module, and validate and keep another."""
    net, given = _net()
    other = mg.nn.Linear(1, 1)
    for params in (other.parameters(), [*net.parameters(), other.weight]):
        with pytest.raises(
            ValueError, match="moves weight, which is no parameter of this Sequential"
        ):
            fit(**given | {"optimizer": mg.optim.SGD(params, lr=0.1)})
    fit(**given | {"optimizer": mg.optim.SGD(net.parameters()[:1], lr=0.1)})  # fine tuning


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"epochs": 0}, ValueError, "epochs must be an integer, at least 1"),
        ({"epochs": 1.0}, TypeError, "epochs must be an integer"),
        ({"patience": 0}, ValueError, "patience must be an integer, at least 1"),
        ({"clip": -1}, ValueError, "clip must be positive and finite"),
        ({"clip": np.nan}, ValueError, "clip must be positive and finite"),
        ({"batches": [1, 2]}, TypeError, r"batches must be a DataLoader.*or lambda: \.\.\."),
        ({"loss": None}, TypeError, "write lambda batch:"),
        ({"validate": 1.0}, TypeError, "validate must be a function"),
        ({"module": lambda x: x}, TypeError, "first argument must be a module"),
        ({"optimizer": 0.1}, TypeError, r"second argument must be an optimiser.*Adam\(net"),
        ({"loss": lambda batch: 1.0}, TypeError, "loss must return a tensor, not 1.0"),
        ({"watch": lambda: {"validation": 1.0}}, ValueError, "a number named 'validation'"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes, kind, message):
    with pytest.raises(kind, match=message):
        fit(**_net(**changes)[1])


def test_batches_that_are_used_up_after_an_epoch():
    _, given = _net()
    batches = given["batches"]()
    with pytest.raises(ValueError, match=r"no batches in epoch 2.*must begin anew"):
        fit(**given | {"batches": lambda: batches, "epochs": 2})


def _interrupted(run, home, at):
    """Raise KeyboardInterrupt at the moment number `at` that a trace of the package sees.

    Returns the number of moments, and the place of that one.
    """
    seen, place = 0, None

    def trace(frame, event, arg):
        nonlocal seen, place
        if not frame.f_code.co_filename.startswith(home):
            return None
        if event in ("line", "return"):
            seen += 1
            if seen == at:
                place = f"{frame.f_code.co_name}, line {frame.f_lineno}"
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return seen, place


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_wherever_an_interrupt_comes_all_is_as_before():
    """Ctrl-C comes between any two instructions. Recording and scopes are as before after all of
    them, modes but for the last instructions of the repair."""
    home, (net, given) = str(Path(mg.__file__).parent), _net()
    net.eval()
    state, stuck, moded = net.state_dict(), [], []
    moments, _ = _interrupted(lambda: fit(**given), home, -1)
    assert moments > 500
    for at in [*range(1, moments - 99, 29), *range(moments - 99, moments + 1)]:
        net.load_state_dict(state)
        net.eval()
        before = current()
        _, place = _interrupted(lambda: fit(**given), home, at)
        if current() is not before:
            stuck.append(place)
            put_back(before)
        if any(m.training for _, m in net.named_modules()):
            moded.append(place)
    assert stuck == []
    assert len(moded) <= 2, moded


@pytest.mark.parametrize("plateau", [False, True])
def test_fit_steps_a_schedule(plateau):
    net = mg.nn.Linear(1, 1, rng=0)
    optimizer = mg.optim.SGD(net.parameters(), lr=0.1)
    options = {"patience": 0, "factor": 0.5}
    schedule = (
        mg.optim.ReduceLROnPlateau(optimizer, **options)
        if plateau
        else mg.optim.StepLR(optimizer, 2)
    )
    rates, supply = [], iter([3.0, 2.0, 2.5, 1.0])

    def validate():
        rates.append(optimizer.lr)
        return next(supply)

    fit(net, optimizer, lambda: [1.0], lambda b: _square(net, b), validate, epochs=4,
        schedule=schedule, out=None)  # fmt: skip
    expected = [0.1, 0.1, 0.1, 0.05] if plateau else [0.1, 0.1, 0.01, 0.01]
    np.testing.assert_allclose(rates, expected)
    for wrong, kind, message in [
        (mg.optim.StepLR, TypeError, "schedule must be one of minigrad.optim"),
        (mg.optim.StepLR(mg.optim.SGD(net.parameters()), 2), ValueError, "another optimiser"),
    ]:
        with pytest.raises(kind, match=message):
            fit(net, optimizer, list, abs, float, epochs=1, schedule=wrong, out=None)
