"""What `import minigrad` loads, and that the rest is there when it is asked for."""

import ast
import importlib
import os
import pickle
import pydoc
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg

LAZY = {"minigrad": mg._ROOMS, "minigrad.viz": mg.viz._PAGES}


def fresh(code):
    """What a program prints in a fresh interpreter."""
    env = {k: v for k, v in os.environ.items() if k != "MINIGRAD_DEBUG"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
    )
    return done.stdout


def loaded(statement):
    """The modules that a statement loads, after `import numpy`."""
    code = f"import numpy, sys; before = set(sys.modules); {statement}\n"
    return set(fresh(code + "print(*set(sys.modules) - before)").split())


def test_import_loads_the_engine_and_the_operations_alone():
    modules = loaded("import minigrad")
    ours = {m for m in modules if m.partition(".")[0] == "minigrad"}
    debug = {f"minigrad.{m}" for m in ("check", "check.debug", "graph", "graph.source")}
    rooms = {m.split(".")[1] for m in ours - debug - {"minigrad"}}
    assert rooms == {"_lazy", "core", "guard", "ops", "transforms"}
    parts = {m for m in modules if m.split(".")[:2] in (["numpy", "fft"], ["numpy", "typing"])}
    others = {m for m in modules - ours - parts if not m.startswith("numpy._typing")}
    assert {m.partition(".")[0] for m in others} <= set(sys.stdlib_module_names)
    assert not {"dataclasses", "difflib", "html", "json", "numpy", "random"} & others


def test_a_room_loads_what_it_needs_and_no_more():
    nn = loaded("import minigrad as mg; mg.nn.LSTM(2, 3)")
    assert "minigrad.nn.recurrent" in nn
    assert not {"minigrad.viz", "minigrad.explain", "minigrad.check.compare", "html"} & nn
    # not when a layer first draws: a child forked just then would wait for that import for ever
    assert "numpy.random" in loaded("import minigrad.nn")
    viz = loaded("import minigrad as mg; mg.viz.summary(mg.tensor(1.0, requires_grad=True) * 2.0)")
    assert not {"graphviz", "matplotlib", "minigrad.viz.dot", "minigrad.explain"} & viz


@pytest.mark.parametrize("package", LAZY)
def test_type_checkers_read_what_the_table_says(package):
    """The table is for Python, the imports under TYPE_CHECKING for editors and mypy."""
    tree = ast.parse(Path(sys.modules[package].__file__).read_text(encoding="utf-8"))
    (block,) = [
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    read = {}
    for node in block.body:
        (alias,) = node.names
        assert alias.asname == alias.name, "or it is not exported"
        read[alias.name] = node.module or ""
    assert read == LAZY[package]


@pytest.mark.parametrize("package", LAZY)
def test_every_name_is_there_when_it_is_asked_for_first(package):
    """In a package that has loaded nothing: as an attribute, by name, as a module, all at once."""
    fresh(f"""
import sys
from importlib import import_module

def new():
    sys.modules.pop({package!r}, None)
    return import_module({package!r})

names = {LAZY[package]!r}
for name, room in names.items():
    module = new()
    assert name in dir(module) and name not in vars(module), name
    one = getattr(module, name)
    assert one is vars(module)[name], name
    new()
    exec(f"from {package} import {{name}} as two")
    assert one is two, name
    if not room:
        new()
        exec(f"import {package}.{{name}}")
        assert one is getattr(sys.modules[{package!r}], name), name
module, everything = new(), dict()
exec("from {package} import *", everything)
assert set(names) <= set(module.__all__) == set(everything) - {{"__builtins__"}}
""")


def test_public_names():
    assert len(mg.__all__) == len(set(mg.__all__))
    internal = {"core", "ops", "transforms", "check", "explain", "graph", "os", "TYPE_CHECKING"}
    assert not internal & set(mg.__all__)
    assert {"Tensor", "tensor", "tanh", "grad", "nn", "compare", "testing"} <= set(mg.__all__)
    assert dir(mg) == sorted(mg.__all__)
    for name in mg.__all__:
        assert hasattr(mg, name), name


def test_names_that_do_not_exist():
    with pytest.raises(AttributeError, match="module 'minigrad' has no attribute 'nothing'"):
        mg.nothing  # noqa: B018
    with pytest.raises(ImportError, match="nothing"):
        from minigrad import nothing  # noqa: F401


def test_help_shows_the_rooms_that_are_not_loaded():
    text = pydoc.plain(pydoc.render_doc(mg))
    for name in ("compare_backward(", "class Tensor", "custom_vjp(", "class Graph"):
        assert name in text


def test_what_was_pickled_is_loaded_where_nothing_else_is(tmp_path):
    lstm = mg.nn.LSTM(2, 3, rng=0)
    path = tmp_path / "lstm.pickle"
    path.write_bytes(pickle.dumps((lstm, mg.compare, mg.optim.SGD, mg.viz.draw, mg.tanh)))
    out = fresh(
        f"import pickle; lstm, *rest = pickle.load(open({str(path)!r}, 'rb'))\n"
        "import minigrad as mg\n"
        "assert rest == [mg.compare, mg.optim.SGD, mg.viz.draw, mg.tanh]\n"
        "print(float(lstm.weight_ih_l0.data.sum()))"
    )
    np.testing.assert_allclose(float(out), lstm.weight_ih_l0.data.sum())


@pytest.mark.parametrize(("setting", "is_on"), [("1", True), ("", False)])
def test_debug_mode_of_the_environment_is_on_from_the_start(setting, is_on):
    code = (
        f"import os; os.environ['MINIGRAD_DEBUG'] = {setting!r}\n"
        "import minigrad.core.context; print(minigrad.core.context.current().observer is not None)"
    )
    assert fresh(code).split() == [str(is_on)]


@pytest.mark.parametrize("room", LAZY)
def test_no_file_has_the_name_of_what_is_loaded_late(room):
    """Once such a file is imported, it would stand in the place of the function."""
    folder = Path(importlib.import_module(room).__file__).parent
    files = {path.stem for path in folder.iterdir()}
    package = importlib.import_module(room)
    named = sorted({*LAZY[room]} & files)
    assert [n for n in named if not isinstance(getattr(package, n), types.ModuleType)] == []
