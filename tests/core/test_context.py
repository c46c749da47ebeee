"""Blocks of no_grad, scope and debug: in generators, threads, tasks, other contexts, and forks."""

import asyncio
import contextlib
import contextvars
import gc
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import minigrad as mg
from minigrad.core.context import current, recording
from tests.helpers import in_threads, leaf

X = np.array([0.7, -0.4, 1.3])


def recorded():
    return (leaf(X) * 2).requires_grad


def where():
    return str(current().scope)


def suspended(block):
    """A generator that is suspended inside a block."""

    def numbers():
        with block:
            yield from range(5)

    running = numbers()
    next(running)
    return running


BLOCKS = {
    "no_grad": mg.no_grad,
    "scope": lambda: mg.scope("inner"),
    "recording": recording,
    "debug": mg.debug,
}


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("end", ["close", "finish"])
def test_a_generator_ended_elsewhere_changes_nothing_there(block, end):
    """In another thread, in another context, in an asyncio task, each inside blocks of its own."""

    def ended():
        before = current()
        if end == "close":
            running.close()
        else:
            list(running)
        return current() is before

    async def task():
        with mg.scope("task"), mg.no_grad():
            return ended()

    def inside():
        with mg.no_grad(), mg.scope("thread"):
            return ended()

    for name, elsewhere in {
        "thread": lambda: in_threads(ended) == [True],
        "blocks in a thread": lambda: in_threads(inside) == [True],
        "blocks in a context": lambda: contextvars.Context().run(inside),
        "task": lambda: contextvars.Context().run(asyncio.run, task()),
    }.items():
        running = contextvars.copy_context().run(suspended, BLOCKS[block]())
        assert elsewhere(), name


@pytest.mark.parametrize("end", ["close", "collect"])
def test_a_generator_closed_inside_others_blocks_leaves_these(end):
    running = suspended(mg.no_grad())
    with mg.scope("a"):
        assert not recorded()
        with mg.scope("b", 1):
            if end == "close":
                running.close()
            else:
                del running
                gc.collect()
            assert recorded()
            assert where() == "a/b[1]"
        assert where() == "a"
    assert (recorded(), where()) == (True, "None")

    running = suspended(mg.scope("mine"))
    with mg.no_grad():
        running.close()
        assert not recorded()
    with mg.debug(), np.errstate(divide="ignore"):
        running = suspended(mg.debug(False))
        with mg.scope("a"):
            np.log(0 * leaf(X))
            running.close()
            with pytest.raises(FloatingPointError):
                np.log(0 * leaf(X))


def test_an_async_generator_closed_inside_others_blocks_leaves_these():
    async def numbers():
        with mg.no_grad():
            yield 1

    async def main():
        running = numbers()
        await anext(running)
        with mg.scope("a"):
            assert not recorded()
            await running.aclose()
            assert (recorded(), where()) == (True, "a")
        return recorded(), where()

    assert asyncio.run(main()) == (True, "None")


def test_a_context_manager_made_of_a_generator():
    @contextlib.contextmanager
    def quiet():
        with mg.no_grad(), mg.scope("quiet"):
            yield

    with mg.scope("a"):
        with quiet():
            assert (recorded(), where()) == (False, "a/quiet")
        assert (recorded(), where()) == (True, "a")
    with pytest.raises(ZeroDivisionError), quiet():
        raise ZeroDivisionError
    assert (recorded(), where()) == (True, "None")


def test_a_generator_closed_inside_a_transform_leaves_it_recording():
    with mg.no_grad():
        running = suspended(mg.no_grad())

        def f(x):
            running.close()
            return (x * x).sum()

        assert mg.grad(f)(X).tolist() == (2 * X).tolist()
    assert recorded()


def test_no_grad_left_open_in_a_transform_is_refused():
    """The gradient would be zero."""
    kept = []

    def f(x):
        kept.append(suspended(mg.no_grad()))
        return (x * x).sum()

    for name, call in {
        "grad": lambda: mg.grad(f)(X),
        "jvp": lambda: mg.jvp(f, (X,), (X,)),
        "checkpoint": lambda: mg.checkpoint(f)(leaf(X)),
    }.items():
        with pytest.raises(RuntimeError, match=r"no_grad\(\) open.*@mg\.no_grad\(\)"):
            call()
        assert recorded(), name
    for running in kept:
        running.close()
    assert recorded()

    def scoped(x):
        kept.append(suspended(mg.scope("rows")))
        return (x * x).sum()

    assert mg.grad(scoped)(X).tolist() == (2 * X).tolist()
    assert where() == "None"


def test_what_was_interrupted_goes_with_the_block_around_it():
    """As when Ctrl-C comes between entering a block and running what is in it."""
    with mg.scope("outer"):
        mg.no_grad().__enter__()
        mg.scope("lost").__enter__()
        assert not recorded()
    assert (recorded(), where()) == (True, "None")


def test_an_exit_stack_closed_out_of_order():
    stack = contextlib.ExitStack()
    stack.enter_context(mg.no_grad())
    with mg.scope("a"):
        stack.close()
        assert recorded()
    assert (recorded(), where()) == (True, "None")


# ---- decorators ----------------------------------------------------------------------------------


def test_a_decorated_generator_is_inside_whenever_it_runs():
    seen = []

    @mg.no_grad()
    @mg.scope("rows")
    def rows(n):
        for k in range(n):
            try:
                seen.append((k, (yield recorded(), where())))
            except KeyError as error:
                seen.append(error.args)
        return "done"

    def through(n):
        seen.append((yield from rows(n)))

    running = through(3)
    assert next(running) == (False, "rows")
    assert (recorded(), where()) == (True, "None")
    assert running.send("a") == (False, "rows")
    assert running.throw(KeyError("b")) == (False, "rows")
    assert list(running) == []
    assert seen == [(0, "a"), ("b",), (2, None), "done"]
    assert recorded()

    running = rows(2)
    next(running)
    running.close()
    with pytest.raises(StopIteration):
        next(running)
    running = rows(2)
    next(running)
    with pytest.raises(ZeroDivisionError):
        running.throw(ZeroDivisionError)
    assert (recorded(), where()) == (True, "None")


def test_a_decorated_generator_cleans_up_inside():
    seen = []

    @mg.no_grad()
    def numbers():
        try:
            yield 1
        finally:
            seen.append(recorded())

    for _ in numbers():
        assert recorded()
        break
    gc.collect()
    assert seen == [False]


def test_a_decorated_coroutine():
    @mg.no_grad()
    @mg.scope("job")
    async def job(n):
        for _ in range(n):
            await asyncio.sleep(0)
            assert (recorded(), where()) == (False, "job")
        return recorded()

    async def other():
        for _ in range(5):
            await asyncio.sleep(0)
            assert recorded()
        return recorded()

    async def main():
        got = await asyncio.gather(job(1), other(), job(3), other())
        return got, recorded()

    assert asyncio.run(main()) == ([False, True, False, True], True)


def test_a_decorated_function_calls_itself_and_may_fail():
    @mg.no_grad()
    def down(n):
        if n == 0:
            raise ZeroDivisionError
        with contextlib.suppress(KeyError):
            down(n - 1)

    with pytest.raises(ZeroDivisionError):
        down(3)
    assert recorded()
    assert down.__name__ == "down"


def test_debug_decorates_generators_too():
    @mg.debug()
    def logs():
        yield np.log(leaf(X) ** 2)
        yield np.log(0 * leaf(X))

    with np.errstate(divide="ignore"):
        running = logs()
        next(running)
        np.log(0 * leaf(X))
        with pytest.raises(FloatingPointError):
            next(running)


async def numbers():
    yield 1


class Plain:
    pass


@pytest.mark.parametrize("what", [Plain, numbers, 3], ids=["class", "async generator", "number"])
@pytest.mark.parametrize("block", BLOCKS)
def test_what_cannot_be_decorated_is_refused(what, block):
    with pytest.raises(TypeError, match=r"decorates functions.*with block"):
        BLOCKS[block]()(what)


# ---- processes -----------------------------------------------------------------------------------

FORK = """
    import os, sys, threading, time
    import numpy as np, minigrad as mg
    sys.setswitchinterval(1e-5)

    def child(work):
        if (pid := os.fork()) == 0:
            try:
                work()
                os._exit(0)
            finally:
                os._exit(1)
        for _ in range(2000):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return status == 0
            time.sleep(5e-3)
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        return False
"""

IN_THREADS = {
    "a checkpoint that runs again": """
    runs, inside, leave = [], threading.Event(), threading.Event()
    def slow(x):
        runs.append(1)
        if len(runs) == 2:
            inside.set(); leave.wait(20)
        return np.sin(x)
    def again(f):
        g = mg.grad(lambda w: mg.checkpoint(lambda x: f(w * x))(np.ones(3)).sum())(2.0)
        assert np.isclose(g, 3 * np.cos(2))
    thread = threading.Thread(target=again, args=(slow,))
    thread.start(); inside.wait(20)
    good = [child(lambda: again(np.sin)) for _ in range(3)]
    leave.set(); thread.join()
    """,
    "debug mode": """
    mg.debug, stop = mg.debug, []
    def hammer():
        while not stop:
            with mg.debug(): pass
    def work():
        with mg.debug(): mg.grad(np.sin)(1.0)
    threads = [threading.Thread(target=hammer) for _ in range(3)]
    for t in threads: t.start()
    good = [child(work) for _ in range(20)]
    stop.append(1)
    for t in threads: t.join()
    """,
    "a room being loaded": """
    thread = threading.Thread(target=lambda: mg.nn)
    thread.start()
    good = [child(lambda: mg.nn.Linear(1, 1)) for _ in range(3)]
    thread.join()
    """,
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("name", IN_THREADS)
def test_a_fork_while_other_threads_are_inside(name):
    code = textwrap.dedent(FORK) + textwrap.dedent(IN_THREADS[name]) + "\nassert all(good)\n"
    run = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def test_recorded_again_inside_no_grad():
    x = mg.tensor([1.0], requires_grad=True)
    with mg.no_grad():
        assert not (x * 2).live
        with mg.enable_grad():
            assert (x * 2).live
        assert not (x * 2).live
        assert mg.enable_grad()(lambda: x * 2)().live
        assert mg.grad(lambda x: x * x)(3.0) == 6
    with mg.enable_grad():
        assert not (mg.tensor([1.0]) * 2).live

    def f(x):
        with mg.no_grad():
            with mg.enable_grad():
                y = x * x
            constant = x * 5
        return y * constant

    assert mg.grad(f)(3.0) == 15 * 6
