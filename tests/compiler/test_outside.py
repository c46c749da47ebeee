"""What a compiled function reads from outside may change: every kind of place where it can be."""

from __future__ import annotations

import collections
import dataclasses
import functools
import importlib
import sys
import types

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn

CASES = {}
K = 2.0


def case(make):
    """Note a function that returns a function and what changes what it reads: from 2 to 5."""
    CASES[make.__name__] = make
    return make


def put(owner, **values):
    for name, value in values.items():
        setattr(owner, name, value)


# ---- variables and functions ---------------------------------------------------------------------


@case
def a_global():
    return lambda x: x * K, lambda: globals().update(K=5.0)


@case
def a_global_by_its_text():
    return lambda x: x * globals()["K"], lambda: globals().update(K=5.0)


@case
def a_variable_of_the_function_around():
    k = 2.0

    def change():
        nonlocal k
        k = 5.0

    return lambda x: x * k, change


@case
def a_default():
    def f(x, c=[2.0], *, d={"k": 1.0}):  # noqa: B006
        return x * c[0] * d["k"]

    return f, lambda: f.__kwdefaults__["d"].update(k=2.5)


@case
def an_attribute_of_a_function():
    def f(x):
        return x * f.k

    f.k = 2.0
    return f, lambda: put(f, k=5.0)


@case
def what_a_decorated_function_reads():
    config = types.SimpleNamespace(k=2.0)

    def twice(f):
        return functools.wraps(f)(lambda x: f(f(x)))

    return twice(lambda x: x * config.k), lambda: put(config, k=5.0)


@case
def what_a_partial_holds():
    f = functools.partial(lambda settings, x: x * settings["k"], {"k": 2.0})
    return f, lambda: f.args[0].update(k=5.0)


@case
def what_a_cached_function_reads():
    @functools.lru_cache
    def k():
        return K

    return lambda x: x * k(), lambda: (globals().update(K=5.0), k.cache_clear())


@case
def what_another_compiled_function_reads():
    inner = mg.compile(lambda x: x * K)
    return lambda x: inner(x) + 1, lambda: globals().update(K=5.0)


@case
def what_a_differentiated_function_reads():
    slope = mg.elementwise_grad(lambda x: x**2 * K)
    return slope, lambda: globals().update(K=5.0)


# ---- attributes ----------------------------------------------------------------------------------


@case
def a_class():
    class Config:
        k = 2.0

    return lambda x: x * Config.k, lambda: put(Config, k=5.0)


@case
def another_class_by_the_same_name():
    class Config:
        k = 2.0

    def change():
        nonlocal Config

        class Config:
            k = 5.0

    return lambda x: x * Config.k, change


@case
def a_base_class():
    class Base:
        k = 2.0

    class Config(Base):
        pass

    return lambda x: x * Config.k, lambda: put(Base, k=5.0)


@case
def what_comes_before_a_base_class():
    class Base:
        k = 2.0

    class Middle(Base):
        pass

    class Config(Middle):
        pass

    config = Config()
    return lambda x: x * config.k, lambda: put(Middle, k=5.0)


@case
def what_comes_before_the_class():
    class Config:
        k = 2.0

    config = Config()
    return lambda x: x * config.k, lambda: put(config, k=5.0)


@case
def what_comes_after_the_object():
    class Config:
        k = 5.0

    config = Config()
    config.k = 2.0
    return lambda x: x * config.k, lambda: delattr(config, "k")


@case
def a_metaclass():
    class Meta(type):
        k = 2.0

    class Config(metaclass=Meta):
        pass

    return lambda x: x * Config.k, lambda: put(Meta, k=5.0)


@case
def a_class_method():
    class Config:
        k = 2.0

        @classmethod
        def get(cls):
            return cls.k

    return lambda x: x * Config.get(), lambda: put(Config, k=5.0)


@case
def a_static_method():
    class Config:
        k = 2.0

        @staticmethod
        def get():
            return Config.k

    return lambda x: x * Config.get(), lambda: put(Config, k=5.0)


@case
def a_method_that_is_replaced():
    class Base:
        def scaled(self, x):
            return x * 2.0

    class Model(Base):
        pass

    model = Model()
    return lambda x: model.scaled(x), lambda: put(Base, scaled=lambda self, x: x * 5.0)


@case
def a_method_of_the_object_alone():
    class Model:
        def scaled(self, x):
            return x * 2.0

    model = Model()
    return lambda x: model.scaled(x), lambda: put(model, scaled=lambda x: x * 5.0)


@case
def a_property():
    class Config:
        def __init__(self):
            self._kept = {"k": 2.0}

        @property
        def k(self):
            return self._kept["k"]

    config = Config()
    return lambda x: x * config.k, lambda: config._kept.update(k=5.0)


@case
def slots():
    @dataclasses.dataclass(slots=True)
    class Config:
        k: float = 2.0

    config = Config()
    return lambda x: x * config.k, lambda: put(config, k=5.0)


@case
def a_text():
    class Config:
        pass

    config = Config()
    return lambda x: x * getattr(config, "k", 2.0), lambda: put(config, k=5.0)


@case
def attributes_as_items():
    class Config:
        def __init__(self):
            self.k = 2.0

        def __getitem__(self, name):
            return getattr(self, name)

    config = Config()
    return lambda x: x * config["k"], lambda: put(config, k=5.0)


@case
def items_as_attributes():
    class Config:
        def __init__(self):
            object.__setattr__(self, "_fields", {"k": 2.0})

        def __getattr__(self, name):
            return self._fields[name]

    config = Config()
    return lambda x: x * config.k, lambda: config._fields.update(k=5.0)


@case
def a_dict_with_attributes():
    class Config(dict):
        __getattr__ = dict.__getitem__

    config = Config(k=2.0)
    return lambda x: x * config.k, lambda: config.update(k=5.0)


@case
def an_operator():
    class Scale:
        def __init__(self):
            self.k = 2.0

        def __matmul__(self, x):
            return x * self.k

    scale = Scale()
    return lambda x: scale @ x, lambda: put(scale, k=5.0)


@case
def far_inside():
    config = types.SimpleNamespace(k=2.0)
    top = config
    for _ in range(50):
        top = types.SimpleNamespace(inner=top)

    def f(x):
        at = top
        while hasattr(at, "inner"):
            at = at.inner
        return x * at.k

    return f, lambda: put(config, k=5.0)


@case
def a_list_of_many_objects():
    class Link:
        def __init__(self, k, following):
            self.k, self.following = k, following

    last = Link(2.0, None)
    first = functools.reduce(lambda link, _: Link(1.0, link), range(2000), last)

    def f(x):
        link, product = first, 1.0
        while link is not None:
            link, product = link.following, product * link.k
        return x * product

    return f, lambda: put(last, k=5.0)


# ---- containers ----------------------------------------------------------------------------------


@case
def a_dict():
    d = collections.OrderedDict(a=1.0, b=2.0)

    def f(x):
        for k in d.values():
            x = np.sin(x * k)
        return x

    return f, lambda: d.move_to_end("a")


@case
def a_default_dict():
    d = collections.defaultdict(float, k=2.0)
    return lambda x: x * d["k"], lambda: d.update(k=5.0)


@case
def a_user_dict():
    d = collections.UserDict(k=2.0)
    return lambda x: x * d["k"], lambda: d.update(k=5.0)


@case
def a_dict_that_may_not_be_written():
    d = {"k": 2.0}
    seen = types.MappingProxyType(d)
    return lambda x: x * seen["k"], lambda: d.update(k=5.0)


@case
def a_key_that_is_new():
    d = {"other": 1}
    return lambda x: x * d.get("k", 2.0), lambda: (d.pop("other"), d.update(k=5.0))


@case
def the_last_of_many():
    many = [2.0] * 5000
    return lambda x: x * many[4999], lambda: many.__setitem__(4999, 5.0)


@case
def a_list_in_a_tuple():
    pair = ([2.0], None)
    return lambda x: x * pair[0][0], lambda: pair[0].__setitem__(0, 5.0)


@case
def an_object_in_a_named_tuple():
    Pair = collections.namedtuple("Pair", "config")
    pair = Pair(types.SimpleNamespace(k=2.0))
    return lambda x: x * pair.config.k, lambda: put(pair.config, k=5.0)


@case
def a_subclass_of_list():
    class Numbers(list):
        pass

    numbers = Numbers([2.0])
    return lambda x: x * numbers[0], lambda: numbers.__setitem__(0, 5.0)


@case
def a_deque():
    recent = collections.deque([2.0], maxlen=1)
    return lambda x: x * recent[0], lambda: recent.append(5.0)


@case
def a_set():
    chosen = {"double"}
    return lambda x: x * (2.0 if "double" in chosen else 5.0), lambda: chosen.clear()


@case
def bytes_that_change():
    numbers = bytearray([2])
    return lambda x: x * numbers[0], lambda: numbers.__setitem__(0, 5)


@case
def the_type_of_a_number():
    config = {"k": 2}
    return lambda x: x.astype(int) * config["k"], lambda: config.update(k=2.0)


@case
def functions_in_a_list():
    class Chain:
        def __init__(self):
            self.parts = [lambda x: x * 2.0]

        def __call__(self, x):
            for part in self.parts:
                x = part(x)
            return x

    chain = Chain()
    return lambda x: chain(x), lambda: chain.parts.__setitem__(0, lambda x: x * 5.0)


# ---- modules of minigrad -------------------------------------------------------------------------


class Reading(nn.Module):
    """A module that reads what a test says, in a method of its own."""

    def __init__(self, read):
        super().__init__()
        self.read, self.config = read, types.SimpleNamespace(k=2.0, ks=[2.0])
        self.ks, self.nested = [2.0], {"a": {"k": 2.0}}

    def forward(self, x):
        return self.scaled(x)

    def scaled(self, x):
        return x * self.read(self)


@case
def the_configuration_of_a_module():
    module = Reading(lambda self: self.config.k)
    return module, lambda: put(module.config, k=5.0)


@case
def a_list_in_the_configuration_of_a_module():
    net = nn.Sequential(Reading(lambda self: self.config.ks[0]))
    return lambda x: net(x), lambda: net[0].config.ks.__setitem__(0, 5.0)


@case
def a_list_of_a_module():
    module = Reading(lambda self: self.ks[0])
    return lambda x: module(x), lambda: module.ks.__setitem__(0, 5.0)


@case
def a_dict_in_a_dict_of_a_module():
    module = Reading(lambda self: self.nested["a"]["k"])
    return module, lambda: module.nested["a"].update(k=5.0)


@case
def a_global_that_a_method_of_a_module_reads():
    return Reading(lambda self: K), lambda: globals().update(K=5.0)


@case
def the_class_of_a_module():
    class Twice(Reading):
        k = 2.0

    return Twice(lambda self: self.k), lambda: put(Twice, k=5.0)


@case
def a_list_of_the_class_of_a_module():
    class Twice(Reading):
        pass

    Twice.factors = [2.0]
    module = Twice(lambda self: self.factors[0])
    return module, lambda: Twice.factors.__setitem__(0, 5.0)


@case
def the_forward_of_a_module():
    class Twice(Reading):
        def forward(self, x):
            return x * 2.0

    module = Twice(None)
    return lambda x: module(x), lambda: put(Twice, forward=lambda self, x: x * 5.0)


# ---- modules of Python ---------------------------------------------------------------------------


@pytest.fixture
def imported(tmp_path, monkeypatch):
    """Two modules: one holds what the other reads."""
    holding = "k = 2.0\nclass Config:\n    k = 2.0\n"
    reading = "import holding\ndef scaled(x):\n    return x * holding.k\n"
    (tmp_path / "holding.py").write_text(holding)
    (tmp_path / "reading.py").write_text(reading)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("holding"), importlib.import_module("reading")
    del sys.modules["holding"], sys.modules["reading"]


MODULES = {
    "a variable": (lambda x, holding, reading: x * holding.k, lambda m, _: put(m, k=5.0)),
    "what its function reads": (
        lambda x, holding, reading: reading.scaled(x),
        lambda m, _: put(m, k=5.0),
    ),
    "a class": (
        lambda x, holding, reading: x * holding.Config.k,
        lambda m, _: put(m.Config, k=5.0),
    ),
    "another function": (
        lambda x, holding, reading: reading.scaled(x),
        lambda _, m: put(m, scaled=lambda x: x * 5.0),
    ),
}


@pytest.mark.parametrize("name", MODULES)
def test_what_an_imported_module_holds_may_change(name, imported):
    f, change = MODULES[name]
    holding, reading = imported
    follows(lambda x: f(x, holding, reading), lambda: change(holding, reading))


@pytest.mark.parametrize("name", CASES)
def test_what_it_reads_may_change(name, monkeypatch):
    monkeypatch.setitem(globals(), "K", 2.0)
    follows(*CASES[name]())


def follows(f, change):
    """Check that the compiled function does what the function does, also after a change."""
    fast, x = mg.compile(f), np.arange(1.0, 4.0)
    for _ in range(3):
        alike(fast(x), f(x))
    before = f(x)
    change()
    after = f(x)
    assert before.dtype != after.dtype or not np.array_equal(before, after), "nothing changed"
    for _ in range(3):
        alike(fast(x), f(x))


def alike(y, expected):
    y, expected = np.asarray(y), np.asarray(expected)
    assert y.dtype == expected.dtype
    np.testing.assert_array_equal(y, expected)


def test_what_it_does_not_mention_may_change_without_another_recording():
    class Trainer:
        scale, count = 2.0, 0

        def scaled(self, x):
            return x * self.scale

    trainer = Trainer()
    fast, x = mg.compile(trainer.scaled), np.ones(2)
    for _ in range(10):
        Trainer.count += 1
        trainer.steps = Trainer.count
        alike(fast(x), trainer.scaled(x))
    assert len(fast._programs[next(iter(fast._programs))]) == 1


def test_what_it_counts_on_a_class_is_put_back_and_named():
    class Model:
        count = 0

        def __call__(self, x):
            Model.count += 1
            self.calls = Model.count
            return x * 2

    model = Model()
    fast = mg.compile(model)
    for _ in range(5):
        fast(np.ones(2))
    assert Model.count == model.calls == 1, "it ran once as it is"
    assert "and not by a program: calls, count" in fast.explain()


def test_what_it_adds_to_an_object_is_put_back_and_named():
    class Model:
        count = 0

        def __call__(self, x):
            self.count += 1
            return x * 2

    model = Model()
    fast = mg.compile(model)
    for _ in range(5):
        fast(np.ones(2))
    assert model.count == 1, "it ran once as it is"
    assert Model.count == 0
    assert "changed by the function itself, and not by a program: count" in fast.explain()


def test_the_name_of_what_has_changed_is_said():
    class Config:
        pass

    Config.ks, Config.named = [1.0, 2.0], {"k": 1.0}
    fast, x = mg.compile(lambda x: x * Config.ks[1] * Config.named["k"]), np.ones(2)
    for k in range(7):
        Config.ks[1] = k
        fast(x)
    Config.ks[1] = 9.0
    with pytest.warns(UserWarning, match=r"\[1\] of a list, which it reads from outside"):
        fast(x)
    Config.ks[1], Config.named["k"] = 6, 2.0
    (programs,) = fast._programs.values()
    assert programs[-2].guard.change() == "['k'] of a dict, which it reads from outside"
