"""A program as a graph: what pictures show of a compiled function."""

import numpy as np
import pytest

import minigrad as mg
from minigrad.compiler.passes.passes import optimised
from minigrad.compiler.tensors import as_tensors
from minigrad.compiler.tracing.record import recorded
from minigrad.graph.graph import Graph
from minigrad.graph.nodes import clusters
from tests.compiler.nets import NETS
from tests.compiler.random_ir import random_program


def compiled(name, steps):
    f, arrays = NETS[name](steps, np.random.default_rng(0))
    live = [True] * len(arrays)
    recording = recorded(lambda *xs: [f(*xs)], arrays, live, backward=True)
    return optimised(recording.program), arrays


@pytest.mark.parametrize("name", ["lstm", "peephole", "two layers"])
def test_the_loops_of_a_program_are_one_cell_each(name):
    program, arrays = compiled(name, 7)
    tensors = as_tensors(program, arrays, [np.ones(())])
    folds = [c.moments for c in clusters(Graph(tensors).root) if c.moments]
    assert folds == [[*range(7)]] * (4 if name == "two layers" else 2)
    text = str(mg.viz.summary(tensors, ascii=True))
    assert text.count("step x7") == len(folds)


@pytest.mark.parametrize("seed", range(12))
def test_the_tensors_hold_what_the_program_computes(seed):
    with np.errstate(all="ignore"):
        program, inputs = random_program(seed)
        want = [o for outputs in program.run(*inputs) for o in outputs if not isinstance(o, float)]
        got = as_tensors(program, *inputs)
    for t, array in zip(got, want, strict=False):
        np.testing.assert_array_equal(t.value, array)


def test_pictures_show_a_compiled_function():
    net = mg.nn.LSTM(2, 3)
    fast = mg.compile(net)
    x = np.ones((5, 1, 2), np.float32)
    with pytest.raises(RuntimeError, match="second call"):
        mg.viz.summary(fast)
    for _ in range(2):
        fast(x)
    assert "step ×5" in str(mg.viz.summary(fast, ascii=False))
    page = mg.viz.show(fast.tensors(x))
    assert "weight_hh_l0" in page.text
    hs = fast.tensors(x)[0]
    np.testing.assert_allclose(hs.data, net(x)[0].data, rtol=1e-5)
    with pytest.raises(RuntimeError, match="no program"):
        fast.tensors(np.ones((6, 1, 2), np.float32))
