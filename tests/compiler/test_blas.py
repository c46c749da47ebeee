"""NumPy's own matrix product, found and tried, and what is done where it is not found."""

import ctypes

import numpy as np
import pytest

import minigrad as mg
from minigrad.compiler.numba import blas
from minigrad.compiler.program import Loop, Op, Program, Section, Value, View

FLOAT = np.dtype(float)


class Library:
    """A library with none of the names, or with one function under all of them."""

    def __init__(self, function=None):
        self.function = function

    def __getattr__(self, name):
        if self.function is None:
            raise AttributeError(name)
        return self.function


@pytest.fixture
def library(monkeypatch):
    def put(replacement):
        monkeypatch.setattr(blas, "_library", lambda: replacement)
        blas.found.cache_clear()

    yield put
    monkeypatch.undo()
    blas.found.cache_clear()


def test_it_is_found_and_right():
    found = blas.found()
    if found is None:
        pytest.skip("this NumPy's BLAS has none of the names")
    assert found.bits in (32, 64)
    assert found.single != found.double


def test_where_no_name_is_there(library):
    library(Library())
    assert blas.found() is None


def test_another_function_of_that_name_is_not_taken(library):
    kinds = [ctypes.c_int] * 3 + [ctypes.c_int64] * 3 + [ctypes.c_float]
    nothing = ctypes.CFUNCTYPE(None, *kinds)(lambda *args: None)
    library(Library(nothing))
    assert blas.found() is None


def test_products_stay_in_python(library, monkeypatch):
    from tests.compiler.interpreted import interpreted

    pytest.importorskip("numba", reason="numba is not installed: there are no kernels")
    from minigrad.compiler.numba import disk, kernels

    monkeypatch.setattr(disk, "compiled", interpreted)
    library(Library())
    x, w, z, y, total = [Value(s, FLOAT) for s in ((4, 3), (3, 3), (4, 3), (4, 3), ())]
    items = [
        Op(mg.tanh, (View(x),), {}, (z,)),
        Op(mg.matmul, (View(z), View(w)), {}, (y,)),
        Op(mg.sum, (View(y),), {"axis": None}, (total,)),
    ]
    program = Program([Section([x, w], items, [View(total), View(y)])])
    replaced = kernels.with_kernels(program)
    assert [op.name for op in replaced.items if not isinstance(op, Loop)] == [
        "kernel", "matmul", "kernel",
    ]  # fmt: skip
    rng = np.random.default_rng(0)
    arrays = rng.normal(size=(4, 3)), rng.normal(size=(3, 3))
    for a, b in zip(replaced.run(arrays)[0], program.run(arrays)[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14)
