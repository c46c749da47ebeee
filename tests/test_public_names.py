"""The public names with their signatures are those of `public_names.txt`.

A line is a name and how it is called, without annotations, which may become better; a name or a
parameter that is gone, renamed or new is a line in the diff. Modules may move: names are looked up
where a user finds them. If a change is meant, this renews the list (`make public-names`):

    python -m tests.test_public_names
"""

import dataclasses
import difflib
import functools
import inspect
import types
from pathlib import Path

import numpy as np

import minigrad as mg

FILE = Path(__file__).with_name("public_names.txt")
HEAD = "# Every public name of minigrad and how it is called. Written by `make public-names`.\n"

ROOMS = ("bptt", "data", "fft", "io", "linalg", "nn", "optim", "testing", "train", "viz")
"""The public modules. Others are attributes of the package only because something imports them."""


def examples():
    """Make an object of every class whose attributes a user reads, or that only calls give."""
    w = mg.tensor(np.array([0.5, 0.25]), requires_grad=True, name="w")
    y = mg.tanh(w)
    mg.label(y=y)
    loss = mg.sum(y * y)
    report = mg.compare({"y": 3 * y.data, "w": 3 * y.data * (1 - y.data**2)}, loss)
    try:
        report.raise_if_different()
    except AssertionError as error:
        mismatch = error
    explanations = report.explain()
    best = explanations[0]
    yield from (mg.tanh, w.at, mg.chain_rule(loss, w), mg.Graph(loss))
    yield from (report, report.worst, report.first_divergence, mismatch)
    yield from (explanations, best, best.where)
    yield from (mg.viz.draw(loss), mg.viz.show(loss), mg.viz.summary(loss))
    yield from (mg.train.History(), mg.optim.SGD([w], 0.1), mg.optim.Adam([w]))
    yield mg.nn.Sequential(np.tanh)
    for name in set(mg.nn.__all__) - {"Sequential"}:
        cls = getattr(mg.nn, name)
        if isinstance(cls, type):  # what must be given is sizes
            needed = [p for p in inspect.signature(cls).parameters.values() if p.default is p.empty]
            yield cls(*[2 for _ in needed])


def public(module):
    """Name what a module says is public: its `__all__`, or else what is of minigrad's making."""
    if hasattr(module, "__all__"):
        return sorted(module.__all__)
    found = {name: getattr(module, name) for name in dir(module) if not name.startswith("_")}
    return sorted([name for name, value in found.items() if callable(value) and _ours(value)])


def lines():
    """Write a line for every public name: of the package, of its rooms, of what calls give."""
    places = {"mg": [n for n in dir(mg) if not n.startswith("_")]}
    places |= {f"mg.{room}": public(getattr(mg, room)) for room in ROOMS}
    found = []
    for place, names in places.items():
        owner = mg if place == "mg" else getattr(mg, place.removeprefix("mg."))
        found += [(f"{place}.{name}", getattr(owner, name)) for name in sorted(names)]
    held = {type(made): getattr(made, "__dict__", {}) for made in examples()}
    more = {cls.__name__: cls for cls in held if cls not in [value for _, value in found]}
    found += [(name, more[name]) for name in sorted(more)]
    listed = {value for _, value in found if isinstance(value, type)}
    return [
        line
        for name, value in found
        if not isinstance(value, types.ModuleType)
        for line in _lines(name, value, listed, held)
    ]


def _lines(name, value, listed, held):
    if not callable(value):
        return [f"{name}: {type(value).__name__}"]
    if not isinstance(value, type):
        return [name + _signature(value)]
    making = (
        vars(owner)[k]
        for owner in value.__mro__
        if _ours(owner)
        for k in ("__init__", "__new__")
        if k in vars(owner)
    )
    made = next(making, None)  # what Python's own classes take differs between its versions
    head = name + (_signature(getattr(made, "__func__", made), True) if made else ": class")
    return [head, *_members(name, value, listed, held.get(value, {}))]


def _members(name, cls, listed, held):
    """Write methods, properties and fields: of a class, and of what it alone is built upon.

    What it has from a class that is listed itself stands there. So it makes no difference where
    methods are written: in the class, or in a base class that nobody sees.
    """
    found = {}
    if all(_ours(owner) for owner in cls.__mro__[:-1]):
        found |= dict.fromkeys(held)
    if dataclasses.is_dataclass(cls):
        found |= dict.fromkeys([f.name for f in dataclasses.fields(cls)])
    for owner in reversed(cls.__mro__):
        if owner in listed - {cls}:
            for k in vars(owner):
                found.pop(k, None)
        elif _ours(owner):
            found |= vars(owner)
    for k in sorted(found):
        if not k.startswith("_"):
            yield f"{name}.{k}{_member(found[k])}"


def _member(value):
    if isinstance(value, property):
        return ": property, can be set" if value.fset else ": property"
    if isinstance(value, functools.cached_property):
        return ": property"
    if isinstance(value, staticmethod | classmethod):
        return _signature(value.__func__, isinstance(value, classmethod))
    if inspect.isfunction(value):
        return _signature(value, True)
    return _signature(value) if callable(value) else ": attribute"


def _signature(function, bound=False):
    """Write the parameters: names, kinds, defaults; `self` and `cls` are left out."""
    signature = inspect.signature(function)
    parameters = [
        p.replace(
            annotation=p.empty,
            default=p.default if p.default is p.empty else _Default(p.default),
        )
        for p in list(signature.parameters.values())[bound:]
    ]
    return str(inspect.Signature(parameters))


class _Default:
    """A default whose text is the same everywhere: functions by name, other objects as `...`."""

    def __init__(self, value):
        self.value = value

    def __repr__(self):
        if callable(self.value):
            return self.value.__name__
        text = repr(self.value)
        return "..." if text.startswith("<") else text


def _ours(value):
    """Whether minigrad made it, be it under a function of NumPy's; an alias of types is not."""
    made = value if isinstance(value, type | types.FunctionType) else type(value)
    return made.__module__.partition(".")[0] == "minigrad"


def page():
    return HEAD + "".join(f"{line}\n" for line in lines())


def test_the_public_names_and_signatures_are_those_of_the_list():
    listed, found = FILE.read_text().splitlines(), page().splitlines()
    diff = difflib.unified_diff(listed, found, FILE.name, "minigrad", n=0, lineterm="")
    renew = "If this is meant, `make public-names` renews tests/public_names.txt."
    assert listed == found, "\n".join([*diff, renew])


if __name__ == "__main__":
    FILE.write_text(page())
