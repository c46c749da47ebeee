"""Debug mode: what it stops at, what it says, and that nothing of it is left when it is off."""

import inspect
import os
import subprocess
import sys
import threading
from functools import partial

import numpy as np
import pytest

import minigrad as mg
from minigrad.core.context import current, watching
from tests.helpers import in_threads, leaf

HERE = os.path.basename(__file__)


@pytest.fixture(autouse=True)
def quiet():
    with np.errstate(all="ignore"):
        yield


@pytest.fixture(autouse=True)
def off_again():
    yield
    assert not watching, "debug mode was left on"
    assert current().observer is None, "debug mode was left on"


def line():
    return inspect.currentframe().f_back.f_lineno


def test_the_first_bad_result_is_named():
    x = leaf([1.0, 0.0, 0.0], name="x")
    y, here = x * 2, line() + 2
    with mg.debug(), pytest.raises(FloatingPointError) as caught:
        np.log(y).sum()
    text = str(caught.value)
    assert text.startswith("the result of log holds -inf at [1] and 1 more of 3\n")
    assert "log(float64 (3,)) -> float64 (3,)" in text
    assert f"{HERE}, line {here}, in {test_the_first_bad_result_is_named.__name__}" in text
    assert text.endswith("np.log(y).sum()")


def test_module_path_and_time_step_are_named():
    class Net(mg.nn.Module):
        def forward(self, x):
            def step(h, x):
                h = np.tanh(h) + np.log(x)
                return h, h

            return mg.scan(step, leaf(0.0), x)[1]

    x = np.ones(9)
    x[7] = -1
    with mg.debug(), pytest.raises(FloatingPointError) as caught:
        Net()(leaf(x))
    text = str(caught.value)
    assert "in net/step[7], time step 7" in text
    assert "h = np.tanh(h) + np.log(x)" in text


def test_inside_the_library_the_line_is_the_users():
    lstm = mg.nn.LSTM(2, 3)
    lstm.weight_hh_l0.data[0, 0] = np.inf
    here = line() + 2
    with mg.debug(), pytest.raises(FloatingPointError) as caught:
        lstm(np.ones((4, 1, 2), np.float32))
    text = str(caught.value)
    assert "in lstm/" in text or "in lstm\n" in text
    assert f"{HERE}, line {here}" in text
    assert "already holds inf" in text


def test_the_first_bad_cotangent_is_named():
    x = leaf([1.0, 0.0], name="x")
    with mg.debug():
        with mg.scope("step", 4):
            here = line() + 1
            y = np.sqrt(x)
        loss = (y * 3).sum()
        with pytest.raises(FloatingPointError) as caught:
            loss.backward()
    text = str(caught.value)
    assert text.startswith("the cotangent of 'x', from sqrt, holds inf at [1]\n")
    assert "sqrt(x: float64 (2,)) -> float64 (2,)" in text
    assert "in step[4], time step 4" in text
    assert f"{HERE}, line {here}" in text
    assert x.grad is None


def test_a_bad_seed_is_told_from_a_bad_rule():
    with mg.debug(), pytest.raises(FloatingPointError, match="arrived already holds nan at"):
        (leaf([1.0, 2.0]) * 2).backward(np.array([1.0, np.nan]))


def test_cotangents_of_indexing_and_of_several_outputs():
    x = leaf([4.0, 0.0])
    with mg.debug(), pytest.raises(FloatingPointError, match="from sqrt"):
        np.sqrt(x[1]).backward()
    with mg.debug(), pytest.raises(FloatingPointError, match="from getitem"):
        x[np.array([1, 1])].backward(np.array([1.0, np.inf]))
    pair = mg.checkpoint(lambda x: (x * 1, np.sqrt(x)))
    a, b = pair(x)
    with mg.debug(), pytest.raises(FloatingPointError, match="from sqrt"):
        (a + b).sum().backward()
    with mg.debug(), pytest.raises(FloatingPointError, match="the result of log"):
        mg.checkpoint(lambda x: (x * 1, np.log(x)))(x)


def test_a_sum_of_cotangents_that_overflows():
    x = leaf([0.0])
    with (
        mg.debug(),
        pytest.raises(FloatingPointError, match=r"a leaf of .*, summed up, holds inf"),
    ):
        (x * 1e308 + x * 1e308).sum().backward(np.array(1.0))


def test_second_order_names_the_rule_it_happens_in():
    slope = mg.grad(lambda x: (mg.grad(lambda x: np.sqrt(x).sum())(x) ** 2).sum())
    with mg.debug(), pytest.raises(FloatingPointError) as caught:
        slope(np.array([1.0, 0.0]))
    assert "in the backward pass of sqrt" in str(caught.value)


def test_tangents():
    with mg.debug(), pytest.raises(FloatingPointError, match="the tangent of sqrt holds inf at"):
        mg.jvp(np.sqrt, (np.array([1.0, 0.0]),), (np.ones(2),))
    with (
        mg.debug(),
        pytest.raises(FloatingPointError, match=r"the tangent of .* of shape \(2,\) holds"),
    ):
        mg.jvp(np.sin, (np.ones(2),), (np.array([1.0, np.inf]),))


def test_constants_are_checked_too():
    with mg.debug(), pytest.raises(FloatingPointError, match="the result of divide holds inf"):
        mg.divide(np.ones(2), np.zeros(2))
    with mg.debug():
        assert mg.add(np.arange(3), 1).tolist() == [1, 2, 3]
        assert mg.sum(np.zeros((0, 2))).item() == 0


def test_a_leaf_changed_in_place_is_named():
    w = leaf([1.0, 2.0], name="w")
    with mg.debug():
        here = line() + 1
        loss = (w * w).sum()
        w.data[0] = 5.0
        with pytest.raises(RuntimeError, match="'w' was changed in place after multiply") as caught:
            loss.backward()
    assert f"{HERE}, line {here}" in str(caught.value)
    assert w.grad is None


def test_a_constant_changed_in_place_is_named():
    x, mask = leaf([1.0, 2.0]), np.ones(2)
    with mg.debug():
        _, pullback = mg.vjp(lambda x: x * mask, x.data)
        pullback(np.ones(2))
        mask[1] = 0
        with pytest.raises(RuntimeError, match=r"a constant of shape \(2,\) \(argument 1\)"):
            pullback(np.ones(2))
        _, push = mg.linearize(lambda x: x * mask, x.data)
        mask[1] = 7
        with pytest.raises(RuntimeError, match="changed in place"):
            push(np.ones(2))


def test_changes_that_do_no_harm_are_let_through():
    w = leaf([1.0, 2.0])
    with mg.debug():
        loss = (w * w).sum()
        w.data = np.zeros(2)  # a new array: the recorded one stays
        loss.backward()
        assert w.grad.tolist() == [2, 4]
        w.data -= 1.0
        (w * 2).sum().backward()
    with mg.debug():
        optimizer = mg.optim.SGD([w], lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            (w * w).sum().backward()
            optimizer.step()


def test_results_are_the_same_bits_as_without():
    def program():
        rng = np.random.default_rng(0)
        lstm = mg.nn.LSTM(2, 3, rng=rng)
        hs, _ = mg.checkpoint(lstm)(rng.normal(size=(5, 2, 2)).astype(np.float32))
        (hs * hs).sum().backward()
        return [p.grad.tobytes() for p in lstm.parameters()] + [mg.hessian(np.prod)(hs[-1, 0].data)]

    plain = program()
    with mg.debug():
        watched = program()
    assert plain[:-1] == watched[:-1]
    assert plain[-1].tolist() == watched[-1].tolist()


def test_what_was_recorded_before_is_checked_as_far_as_known():
    x = leaf([0.0])
    y = np.sqrt(x)
    with mg.debug(), pytest.raises(FloatingPointError, match="recorded before debug mode was on"):
        y.backward()
    y.backward()
    assert x.grad == np.inf


def test_blocks_nest_and_decorate():
    @mg.debug()
    def bad():
        return mg.log(0.0)

    with pytest.raises(FloatingPointError):
        bad()
    assert bad.__wrapped__().item() == -np.inf
    with mg.debug():
        with mg.debug():
            pass
        with mg.debug(False):
            mg.log(0.0)
        with pytest.raises(FloatingPointError):
            mg.log(0.0)


def test_only_the_thread_that_asked_is_checked():
    seen = []

    def work():
        with np.errstate(all="ignore"):
            seen.append(mg.log(0.0).item())

    with mg.debug():
        in_threads(work)
    assert seen == [-np.inf]


def test_a_decorator_serves_several_threads():
    inside, leaving, seen = threading.Barrier(2), threading.Event(), []

    @mg.debug()
    def compute(first):
        inside.wait()
        if not first:
            leaving.wait()
        with pytest.raises(FloatingPointError):
            mg.log(0.0)

    def work(first):
        try:
            with np.errstate(all="ignore"):
                compute(first)
                seen.append(mg.log(0.0).item())
        except Exception as error:
            seen.append(error)
        finally:
            leaving.set()

    in_threads(*[partial(work, first) for first in (True, False)])
    assert seen == [-np.inf, -np.inf]


@pytest.mark.parametrize(("setting", "stops"), [("1", True), ("0", False), ("", False)])
def test_environment_variable(setting, stops):
    code = (
        "import threading, numpy as np, minigrad as mg\n"
        "np.seterr(all='ignore')\n"
        "def work():\n"
        "    try: print(mg.log(0.0).item())\n"
        "    except FloatingPointError as e: print('stopped', e)\n"
        "t = threading.Thread(target=work); t.start(); t.join(); work()\n"
        "with mg.debug(False): print(mg.log(0.0).item())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=True, env=os.environ | {"MINIGRAD_DEBUG": setting},
    )  # fmt: skip
    lines = [text for text in done.stdout.splitlines() if not text.startswith(" ")]
    assert [text.startswith("stopped the result of log") for text in lines] == [stops, stops, False]
