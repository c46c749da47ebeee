"""The user's functions with hooks in them: what they give, and that they are as before after it."""

import __future__

import contextvars
import linecache
import sys
import threading
import traceback

import pytest

from minigrad.instrument import Instrumented, Rewriter, codes_run

seen = contextvars.ContextVar("seen", default=None)


def hook(line, value):
    if (values := seen.get()) is not None:
        values.append((line, value))
    return value


class Sums(Rewriter):
    """Hooks the value of every sum."""

    def visit_BinOp(self, node):
        self.generic_visit(node)
        return self.call(hook, node, self.constant(node.lineno), node)


class Doubled(Rewriter):
    """Doubles every sum."""

    def visit_BinOp(self, node):
        self.generic_visit(node)
        return self.call(lambda x: 2 * x, node, node)


def watched(run, kind=Sums):
    _, codes = codes_run(run)
    values = []
    token = seen.set(values)
    try:
        with Instrumented(kind, codes) as instrumented:
            result = run()
    finally:
        seen.reset(token)
    return result, [value for _, value in values], instrumented


def helper(x):
    return x + 1


class Base:
    def go(self, x):
        return x + 10


class Derived(Base):
    @property
    def __secret(self):
        return self.start + 1

    def __init__(self, start):
        self.start = start

    def go(self, x):
        return super().go(x) + self.__secret


def test_every_kind_of_function_is_seen():
    bound = 5

    def closure(x):
        return x + bound

    def generator(n):
        for k in range(n):
            yield k + bound

    def run():
        return [
            helper(1), closure(2), (lambda x: x + 3)(4), Derived(0).go(1), *generator(2),
            *map(helper, [7]), *[y + 2 for y in [30]],
        ]  # fmt: skip

    plain = run()
    result, values, instrumented = watched(run)
    assert result == plain == [2, 7, 7, 12, 5, 6, 8, 32]
    assert {*result} <= {*values}
    assert not instrumented.missing


def test_two_lambdas_of_a_line_are_told_apart():
    first, second = (lambda x: x + 1), (lambda x: x + 2)
    assert watched(lambda: (first(0), second(0)))[:2] == ((1, 2), [1, 2])


def test_afterwards_functions_are_as_before_also_after_an_error():
    def bad(x):
        y = helper(x)
        raise KeyError(y + 1)

    def run():
        try:
            bad(1)
        except KeyError as error:
            return traceback.format_tb(error.__traceback__)[-1]

    codes = helper.__code__, bad.__code__
    text, values, _ = watched(run)
    assert values == [2, 3]
    assert "raise KeyError(y + 1)" in text
    assert (helper.__code__, bad.__code__) == codes
    assert helper.__code__ is codes[0]


def test_one_within_the_other_and_left_out_of_order():
    code = helper.__code__
    one, two = Instrumented(Doubled, [code]), Instrumented(Sums, [code])
    with one:
        assert helper(1) == 4
        two.__enter__()
        assert helper(1) == 2
    assert helper(1) == 2
    assert helper.__code__ is not code
    with two:  # entered twice
        assert helper.__code__ is not code
    two.__exit__()
    assert helper.__code__ is code


def test_code_that_runs_with_hooks_is_known_by_what_it_was():
    with Instrumented(Doubled, [helper.__code__]):
        _, codes = codes_run(lambda: helper(1))
        assert watched(lambda: helper(1))[:2] == (2, [2])
        assert helper(1) == 4
    assert helper.__code__ in codes


def test_more_functions_while_it_runs():
    code = helper.__code__
    with Instrumented(Doubled, []) as running:
        assert helper(1) == 2
        running.add([code])
        assert helper(1) == 4
    assert helper.__code__ is code


def test_another_thread_runs_the_users_code():
    _, codes = codes_run(lambda: helper(1))
    values, others = [], []
    token = seen.set(values)
    with Instrumented(Sums, codes):
        thread = threading.Thread(target=lambda: others.append(helper(5)))
        thread.start()
        thread.join()
    seen.reset(token)
    assert values == []
    assert others == [6]


def test_threads_that_instrument_the_same_function():
    code, failures = helper.__code__, []

    def work(x):
        for _ in range(40):
            result, values, instrumented = watched(lambda: helper(x))
            if (result, values, instrumented.missing) != (x + 1, [x + 1], []):
                failures.append((result, values, instrumented.missing))

    threads = [threading.Thread(target=work, args=(x,)) for x in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert helper.__code__ is code


def test_source_that_is_not_the_code_that_runs_is_not_believed(tmp_path):
    name = str(tmp_path / "edited.py")
    scope = {}
    exec(compile("def f(x):\n    return x + 1\n", name, "exec"), scope)
    linecache.cache[name] = (1, None, ["def f(x):\n", "    return x + 2\n"], name)
    result, values, instrumented = watched(lambda: scope["f"](1))
    assert (result, values) == (2, [])
    assert [code.co_name for code in instrumented.missing] == ["f"]


def test_functions_that_were_made_twice():
    source = "def f(x):\n    return x + 1\n"
    linecache.cache["<made twice>"] = (len(source), None, source.splitlines(True), "<made twice>")
    scopes = {}, {}
    for scope in scopes:
        exec(compile(source, "<made twice>", "exec"), scope)
    one, two = [scope["f"] for scope in scopes]
    assert watched(lambda: (one(1), two(2)))[:2] == ((2, 3), [2, 3])


def test_code_without_source():
    scope = {}
    exec("def f(x):\n    return x + 1\n", scope)
    result, values, instrumented = watched(lambda: scope["f"](1))
    assert (result, values, len(instrumented.missing)) == (2, [], 1)


def test_a_notebooks_cell_and_future_flags():
    source = "from __future__ import annotations\ndef f(x: nowhere):\n    return x + 1\n"
    linecache.cache["<cell 7>"] = (len(source), None, source.splitlines(True), "<cell 7>")
    scope = {}
    exec(compile(source, "<cell 7>", "exec"), scope)
    assert watched(lambda: scope["f"](1))[1] == [2]
    source = source.split("\n", 1)[1]
    linecache.cache["<cell 8>"] = (len(source), None, source.splitlines(True), "<cell 8>")
    exec(compile(source, "<cell 8>", "exec", __future__.annotations.compiler_flag), scope)
    assert watched(lambda: scope["f"](1))[1] == [2]


def test_pytests_assertions_are_no_obstacle():
    def checked(x):
        assert x > 0
        return x + 1

    assert watched(lambda: checked(1))[:2] == (2, [2])


def test_a_trace_function_of_the_users_sees_its_lines():
    lines = []

    def trace(frame, event, value):
        if frame.f_code.co_name == "helper":
            lines.append(event)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        codes_run(lambda: helper(1))
        assert sys.gettrace() is trace
    finally:
        sys.settrace(before)
    assert lines[:3] == ["call", "line", "return"]


@pytest.mark.parametrize("text", ["f'{1 + 1}'", "(1 + 1) @ 1"])
def test_what_fails_fails_as_before(text):
    source = f"def f():\n    return {text}\n"
    name = f"<text {text}>"
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    scope = {}
    exec(compile(source, name, "exec"), scope)
    if "@" in text:
        with pytest.raises(TypeError, match="unsupported operand"):
            watched_without_tracing(scope["f"])
    else:
        assert watched(scope["f"])[0] == "2"


def watched_without_tracing(f):
    with Instrumented(Sums, [f.__code__]):
        return f()
