"""Types: how much they leave open; a program that a checker accepts, and lines that it refuses."""

import importlib.util
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from tests import typed_program
from tests.public import aliases, annotation, names

ROOT = Path(__file__).parents[1]
MOST = 60
"""How many public parameters may be anything at all, which is sometimes the truth."""

needs_mypy = pytest.mark.skipif(
    importlib.util.find_spec("mypy") is None, reason="mypy is not installed; `make lint` runs it"
)

WRONG = {
    "mg.tensor(1.0, requires_grad='yes')": "arg-type",
    "mg.nn.Linear(3)": "call-arg",
    "mg.nn.Linear(3, 4)(x).shapes": "attr-defined",
    "mg.nn.Linear(3, 4)(x, x)": "call-arg",
    "mg.nn.LSTM(1, 2)(x)[1].shape": "attr-defined",
    "mg.grad(mg.sin, argnums='x')": "arg-type",
    "mg.io.save('file', mg.nn.Linear(1, 1))": "arg-type",
    "mg.io.save_checkpoint('file', seen={1, 2})": "arg-type",
    "mg.viz.summary(x, folded=True)": "call-arg",
    "mg.optim.SGD([x], 0.1, rho=0.9)": "call-arg",
    "mg.compare_backward(np.sum, {}, {}).summary()": "arg-type",
    "mg.data.DataLoader(np.ones(3), 2)": "call-arg",
    "mg.train.fit(mg.nn.Linear(1, 1), x, list, mg.sum, epochs=1)": "arg-type",
    "x.at[0].put(1.0)": "attr-defined",
    "x.backward(retain=True)": "call-arg",
}
"""What a checker must see, and which of its errors it is."""


def mypy(*files):
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", *map(str, files)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.stdout + done.stderr


def test_few_parameters_are_anything():
    anything = {"Any", "", *[name for name, (what, _) in aliases().items() if what == "Any"]}
    found = [
        (getattr(public.called, "__module__", ""), f"{public.name}({p.name})")
        for public in names()
        for p in public.parameters
        if {*annotation(p.annotation, public.name).split(" | ")} & anything
    ]
    rooms = Counter(module for module, _ in found)
    assert len(found) <= MOST, (
        f"{len(found)} public parameters are typed `Any` or not at all; at most {MOST} may be. "
        f"By file: {dict(rooms.most_common())}. They are: {', '.join(name for _, name in found)}"
    )


@needs_mypy
def test_a_checker_accepts_a_users_program():
    assert mypy("tests/typed_program.py") == ""


@needs_mypy
def test_a_checker_refuses_what_is_wrong(tmp_path):
    program = tmp_path / "wrong.py"
    head = "import numpy as np\nimport minigrad as mg\nx = mg.tensor(1.0)\n"
    program.write_text(head + "\n".join(WRONG))
    errors = re.findall(r"wrong\.py:(\d+): error:.*\[(.*)\]", mypy(program))
    told = {int(number): kind for number, kind in errors}
    assert {line: told.get(number) for number, line in enumerate(WRONG, 4)} == WRONG


def test_the_users_program_runs(tmp_path, capsys):
    _, losses = typed_program.trained(tmp_path / "model.npz")
    assert losses[-1] < losses[0]
    assert typed_program.tensors().shape == (2,)
    series = np.sin(np.arange(40, dtype=np.float32))
    assert typed_program.fitted(mg.nn.LSTM(1, 1), series).stopped == "twice"
    rates = typed_program.scheduled(mg.nn.Linear(2, 3), np.ones((2, 2), np.float32), [0, 1])
    assert rates == [0.05]
    typed_program.derivatives()
    assert typed_program.by_hand()
    assert {"x", "weight_ih", "weight_hh"} <= typed_program.recurrent_by_hand().keys()
