"""The examples run, and what they claim holds."""

import importlib.util
from pathlib import Path

import numpy as np

EXAMPLES = Path(__file__).parent.parent / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- article.py ----------------------------------------------------------------------------------


def test_article_gradients_agree_and_planted_mistakes_show(capsys):
    assert load("article").main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "all agree"
    assert sum("wrong, by" in line for line in lines) == 4


def test_article_notices_a_wrong_gradient():
    article, rng = load("article"), np.random.default_rng(0)
    shapes = {"x": (3, 1), "W_aa": (2, 2), "W_ax": (2, 1), "b_a": (2,)}
    shapes |= {"W_za": (2, 2), "W_zx": (2, 1), "b_z": (2,)}
    p = {name: rng.standard_normal(shape) for name, shape in shapes.items()}

    def off(p):
        outputs, backward = article.gated_rnn_by_hand(p)
        return outputs, lambda r: {name: d * (1 + 1e-11) for name, d in backward(r).items()}

    assert article.check("right", article.gated_rnn, article.gated_rnn_by_hand, p)
    assert not article.check("off by 1e-11", article.gated_rnn, off, p)
