"""The public names of minigrad: one walk over all of them, for every test and page that lists them.

A name is written as a user writes it: `mg.tanh`, `mg.nn.Linear.forward`; members of a class that
only calls give stand under its own name: `Report.explain`. Modules may move: names are looked up
where a user finds them.
"""

import ast
import dataclasses
import functools
import inspect
import types
from operator import attrgetter
from pathlib import Path
from typing import Any, Generic, NamedTuple

import numpy as np

import minigrad as mg
from minigrad.guard.hints import Elsewhere

ROOMS = (
    "bptt", "data", "fft", "interop", "io", "linalg", "metrics", "nn", "nn.init", "optim",
    "parallel", "testing", "train", "viz",
)  # fmt: skip
"""The public modules. Others are attributes of the package only because something imports them."""


class Public(NamedTuple):
    """A public name, what it stands for, and the function that it calls, if it can be called."""

    name: str
    kind: str  # function, class, method, property, attribute; or the type of any other value
    value: Any = None  # None for an attribute that only objects have
    called: Any = None
    bound: bool = False  # whether the first parameter of `called` is `self` or `cls`

    @property
    def parameters(self):
        """The parameters that a user gives; none where nothing is called."""
        if self.called is None:
            return []
        return [*inspect.signature(self.called).parameters.values()][self.bound :]

    @property
    def returned(self):
        """The annotation of what a call or a property gives, as it is written."""
        got = getattr(self.value, "fget", None) or getattr(self.value, "func", None)
        called = got if self.kind == "property" else self.called
        if called is None or self.kind == "class":
            return ""
        return annotation(inspect.signature(called).return_annotation, self.name)


def annotation(given, name):
    """Return the source text of an annotation, "" without one.

    So it is the same under every version of Python, whatever it is that it evaluates to.
    """
    if given is inspect.Parameter.empty:
        return ""
    text = getattr(given, "__forward_arg__", given)  # the fields of named tuples
    assert isinstance(text, str), f"{name}: its file lacks `from __future__ import annotations`"
    return text


class Default:
    """A default whose text is the same everywhere: functions by name, other objects as `...`."""

    def __init__(self, value):
        self.value = value

    def __repr__(self):
        if callable(self.value):
            return self.value.__name__
        text = repr(self.value)
        return "..." if text.startswith("<") else text


def aliases():
    """Return the type aliases of the package by name: what each stands for, and its docstring.

    Of two of one name, the one with a docstring: those without are of one page.
    """
    found = {}
    for path in sorted(Path(mg.__file__).parent.rglob("*.py")):
        body = ast.parse(path.read_text()).body
        for node, after in zip(body, [*body[1:], None], strict=True):
            if isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "TypeAlias":
                text = ast.unparse(node.value)
                is_doc = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                doc = after.value.value if is_doc else ""
                if doc or node.target.id not in found:
                    found[node.target.id] = text.strip("'\""), doc
    return found


def names():
    """List every public name: of the package, of its rooms, of what calls give."""
    places = {"mg": [n for n in dir(mg) if not n.startswith("_")]}
    places |= {f"mg.{room}": _named(attrgetter(room)(mg)) for room in ROOMS}
    found = []
    for place, listed in places.items():
        owner = mg if place == "mg" else attrgetter(place.removeprefix("mg."))(mg)
        found += [(f"{place}.{name}", getattr(owner, name)) for name in sorted(listed)]
    held = {type(made): getattr(made, "__dict__", {}) for made in _examples()}
    more = {cls.__name__: cls for cls in held if cls not in [value for _, value in found]}
    found += [(name, more[name]) for name in sorted(more)]
    classes = {value for _, value in found if isinstance(value, type)}
    return [
        public
        for name, value in found
        if not isinstance(value, types.ModuleType)
        for public in _of(name, value, classes, held)
    ]


def _named(module):
    """Name what a module says is public: its `__all__`, or else what is of minigrad's making."""
    if hasattr(module, "__all__"):
        return module.__all__
    found = {name: getattr(module, name) for name in dir(module) if not name.startswith("_")}
    return [name for name, value in found.items() if callable(value) and ours(value)]


def _of(name, value, classes, held):
    """List a name, and the members of a class."""
    if not callable(value):
        return [Public(name, type(value).__name__, value)]
    if not isinstance(value, type):
        return [Public(name, "function", value, value)]
    making = (
        vars(owner)[k]
        for owner in value.__mro__
        if ours(owner)
        for k in ("__init__", "__new__")
        if k in vars(owner)
    )
    made = next(making, None)  # what Python's own classes take differs between its versions
    head = Public(name, "class", value, getattr(made, "__func__", made), True)
    return [head, *_members(name, value, classes, held.get(value, {}))]


def _members(name, cls, classes, held):
    """List methods, properties and fields: of a class, and of what it alone is built upon.

    What it has from a class that is listed itself stands there. So it makes no difference where
    methods are written: in the class, or in a base class that nobody sees.
    """
    found = {}
    if all(ours(owner) for owner in {*cls.__mro__} - {object, Generic}):
        found |= dict.fromkeys(held)
    if dataclasses.is_dataclass(cls):
        found |= dict.fromkeys([f.name for f in dataclasses.fields(cls)])
    for owner in reversed(cls.__mro__):
        if owner in classes - {cls}:
            for k in vars(owner):
                found.pop(k, None)
        elif ours(owner):
            found |= vars(owner)
    listed = [k for k in sorted(found) if not k.startswith("_")]
    return [_member(f"{name}.{k}", found[k]) for k in listed if not isinstance(found[k], Elsewhere)]


def _member(name, value):
    if isinstance(value, property | functools.cached_property):
        return Public(name, "property", value)
    if isinstance(value, staticmethod | classmethod):
        return Public(name, "method", value, value.__func__, isinstance(value, classmethod))
    if callable(value):
        return Public(name, "method", value, value, inspect.isfunction(value))
    return Public(name, "attribute", value)


def ours(value):
    """Whether minigrad made it, be it under a function of NumPy's; an alias of types is not."""
    made = value if isinstance(value, type | types.FunctionType) else type(value)
    return made.__module__.partition(".")[0] == "minigrad"


def _examples():
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
    yield from (explanations, best)

    def backward(p):
        dx = np.cos(p["x"])
        return {"x": dx}

    forward = lambda p: np.sum(np.sin(p["x"]))
    listing = mg.compare_backward(forward, backward, {"x": np.ones(2)}).annotated()
    yield from (listing, listing.annotations[0])
    yield from (mg.viz.draw(loss), mg.viz.show(loss), mg.viz.summary(loss))
    yield from (mg.train.History(), mg.optim.SGD([w], 0.1), mg.optim.Adam([w]))
    yield from (mg.nn.Sequential(np.tanh), mg.nn.Recurrent(np.add), mg.nn.Upsample(2))
    for name in set(mg.nn.__all__) - {"Sequential", "Recurrent", "Upsample"}:
        cls = getattr(mg.nn, name)
        if isinstance(cls, type):  # what must be given is sizes
            needed = [p for p in inspect.signature(cls).parameters.values() if p.default is p.empty]
            yield cls(*[2 for _ in needed])
