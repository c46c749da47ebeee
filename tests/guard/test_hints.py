"""What other libraries call otherwise: every line that an error says to write is run here."""

import pickle

import numpy as np
import pytest

import minigrad as mg
from minigrad.guard.hints import TABLES

PLACES = {"minigrad": mg, "minigrad.nn": mg.nn, "Tensor": mg.Tensor}
LINES = [(place, name) for place, table in TABLES.items() for name in table]


@pytest.mark.parametrize(("place", "name"), LINES)
def test_what_a_hint_says_can_be_written(place, name, tmp_path):
    assert not hasattr(PLACES[place], name), "it is there: take it out of the table"
    line = TABLES[place][name].replace("(...)", "(3)" if name != "full" else "(3, 1.0)")
    net = mg.nn.Linear(1, 1)
    mg.io.save(net, tmp_path / "net")
    t = mg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    array = np.ones((2, 2), np.float32)
    given = {
        "mg": mg, "np": np, "t": t, "a": t, "b": t, "other": array, "array": array, "x": array,
        "net": net, "path": tmp_path / "net", "shape": (4, 1), "axis": 1, "parts": 2,
        "mask": array > 0, "indices": array.astype(int), "dtype": np.float64,
        "logits": t, "labels": np.array([0, 1]),
    }  # fmt: skip
    if name == "expand":
        given["shape"] = (2, 2, 2)
    exec(line, given)


@pytest.mark.parametrize(
    ("look", "message"),
    [
        (lambda t: t.view, r"Tensor has no attribute 'view'; write t\.reshape\(shape\)"),
        (lambda t: mg.Tensor.cuda, "no attribute 'cuda'; write t .*no devices"),
        (lambda t: mg.zeros, r"'minigrad' has no attribute 'zeros'; write mg\.tensor\(np\.zeros"),
        (lambda t: mg.float32, r"NumPy has it, write np\.float32"),
        (lambda t: mg.nn.ReLU, r"'minigrad\.nn' has no attribute 'ReLU'; write mg\.relu"),
        (lambda t: t.viewed, r"no attribute 'viewed'$"),
        (lambda t: mg.zeroes, r"no attribute 'zeroes'$"),
    ],
)
def test_the_error_says_it(look, message):
    with pytest.raises(AttributeError, match=message):
        look(mg.tensor([1.0]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: t.sum(dim=0), r"sum: .*no argument 'dim'.*write axis= instead of dim="),
        (lambda t: mg.softmax(t, dim=0), "softmax: .*write axis= instead of dim="),
        (lambda t: t.mean(axis=0, keepdim=True), "write keepdims= instead of keepdim="),
        (lambda t: mg.ptp(t, dim=0), "write axis= instead of dim="),
        (lambda t: np.max(t, t), r"max: .*second argument is the axis.*write np\.maximum\(a, b\)"),
        (lambda t: t.min(t), r"write np\.minimum\(a, b\)"),
        (lambda t: mg.sum(t, np.ones(3)), r"second argument is the axis.*write a \+ b"),
        (lambda t: mg.softmax(t, np.ones(3)), "its second argument is the axis$"),
        (lambda t: mg.Tensor([1.0]), r"not \[1\.0\]; write mg\.tensor"),
        (lambda t: mg.Tensor(1.0), r"not 1\.0; write mg\.tensor"),
        (lambda t: mg.tensor(1.0, 2.0), r"requires_grad must be True or False, not 2\.0"),
        (lambda t: mg.tensor([1.0], np.float64), r"dtype=np\.float32 for a dtype"),
        (lambda t: setattr(t, "requires_grad", "no"), "must be True or False, not 'no'"),
    ],
)
def test_arguments_in_another_place_or_by_another_name(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call(mg.tensor(np.ones(3), requires_grad=True))


def test_a_hint_is_no_attribute():
    t = mg.tensor([1.0])
    assert not hasattr(t, "view")
    assert getattr(t, "cuda", None) is None
    assert pickle.loads(pickle.dumps(t)).tolist() == [1.0]
    assert "to" not in dir(t)
