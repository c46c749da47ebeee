"""Draw computation graphs: a recurrent net, a transformer, a convolutional net, an MLP, numbers.

    python examples/gallery.py                  all of them, into the folder gallery
    python examples/gallery.py lstm mlp         some
    python examples/gallery.py --pictures       those of the README, into examples/pictures

Each graph is written three ways: a picture (SVG, where Graphviz is installed, and its DOT text), a
page to explore (HTML), and a tree of text.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

import minigrad as mg

PICTURES = Path(__file__).parent / "pictures"


class Tagger(mg.nn.Module):
    """Two bidirectional layers of LSTMs, and a label for every time step."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.embedding = mg.nn.Embedding(50, 16, rng=rng)
        self.lstm = mg.nn.LSTM(16, 24, 2, bidirectional=True, rng=rng)
        self.readout = mg.nn.Linear(48, 5, rng=rng)

    def forward(self, words: np.ndarray) -> mg.Tensor:
        states, _ = self.lstm(self.embedding(words))
        return self.readout(states)


def lstm(rng: np.random.Generator) -> mg.Tensor:
    """A stacked bidirectional LSTM, 100 steps."""
    model = Tagger(rng)
    words, labels = rng.integers(50, size=(100, 8)), rng.integers(5, size=(100, 8))
    return mg.nn.cross_entropy(model(words).reshape(-1, 5), labels.ravel())


def cell(rng: np.random.Generator) -> mg.Tensor:
    """One LSTM of 77 steps, whose last state gives a number."""
    model, readout = mg.nn.LSTM(8, 16, rng=rng), mg.nn.Linear(16, 1, rng=rng)
    x = mg.tensor(rng.normal(size=(77, 32, 8)).astype(np.float32), name="x")
    y = mg.tensor(rng.normal(size=(32, 1)).astype(np.float32), name="y")
    _, (h, _) = model(x)
    return mg.nn.mse_loss(readout(h[-1]), y)


def transformer(rng: np.random.Generator) -> mg.Tensor:
    """A transformer's block on 4 sequences of 12 positions."""
    block = mg.nn.TransformerEncoderLayer(
        32, 4, 128, 0.0, "gelu", batch_first=True, norm_first=True, rng=rng
    )
    x = mg.tensor(rng.normal(size=(4, 12, 32)).astype(np.float32), True, name="x")
    return (block(x, is_causal=True) ** 2).mean()


def convolution(rng: np.random.Generator) -> mg.Tensor:
    """A convolutional net that sorts images of 28 by 28 pixels into 10 classes."""
    net = mg.nn.Sequential(
        mg.nn.Conv2d(1, 8, 5, rng=rng), mg.relu, mg.nn.MaxPool2d(2),
        mg.nn.Conv2d(8, 16, 5, rng=rng), mg.relu, mg.nn.MaxPool2d(2),
        mg.nn.Flatten(), mg.nn.Linear(256, 10, rng=rng),
    )  # fmt: skip
    images = mg.tensor(rng.normal(size=(16, 1, 28, 28)).astype(np.float32), name="images")
    return mg.nn.cross_entropy(net(images), rng.integers(10, size=16))


def mlp(rng: np.random.Generator) -> mg.Tensor:
    """A multilayer perceptron."""
    sizes = [8, 32, 32, 1]
    steps = []
    for a, b in itertools.pairwise(sizes):
        steps += [mg.nn.Linear(a, b, rng=rng), mg.tanh]
    x = mg.tensor(rng.normal(size=(64, 8)).astype(np.float32), name="x")
    y = mg.tensor(rng.normal(size=(64, 1)).astype(np.float32), name="y")
    return mg.nn.mse_loss(mg.nn.Sequential(*steps[:-1])(x), y)


def numbers(rng: np.random.Generator) -> mg.Tensor:
    """A neuron of two inputs, in numbers: the graph that micrograd begins with."""
    values = {"x1": 2.0, "x2": 0.0, "w1": -3.0, "w2": 1.0, "b": 6.8813735870195432}
    x1, x2, w1, w2, b = [mg.tensor(v, True, name=name) for name, v in values.items()]
    n = x1 * w1 + x2 * w2 + b
    mg.label(n=n)
    return mg.tanh(n)


GRAPHS: dict[str, tuple[Callable[[np.random.Generator], mg.Tensor], str]] = {
    "lstm": (lstm, "loss"),
    "cell": (cell, "loss"),
    "transformer": (transformer, "loss"),
    "convolution": (convolution, "loss"),
    "mlp": (mlp, "loss"),
    "numbers": (numbers, "out"),
}
KEPT = ["cell", "convolution", "numbers"]  # in the README


def computed(name: str) -> mg.Tensor:
    """Compute one of the graphs and its gradients, the same ones every time."""
    function, result = GRAPHS[name]
    out = function(np.random.default_rng(0))
    mg.label(**{result: out})
    out.backward()
    return out


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(GRAPHS)} (all)")
    parser.add_argument("--out", type=Path, default=Path("gallery"), help="folder (%(default)s)")
    parser.add_argument("--pictures", action="store_true", help="write the README's pictures")
    options = parser.parse_args(argv)
    names = KEPT if options.pictures else options.names or list(GRAPHS)
    if unknown := set(names) - set(GRAPHS):
        parser.error(f"no graph {', '.join(sorted(unknown))}; there are {', '.join(GRAPHS)}")
    out = PICTURES if options.pictures else options.out
    out.mkdir(parents=True, exist_ok=True)
    for name in names:
        result = computed(name)
        picture = mg.viz.draw(result)
        picture.save(out / f"{name}.dot")
        if not options.pictures:
            mg.viz.show(result, out / f"{name}.html")
            text = mg.viz.summary(result, width=100, color=False, ascii=False)
            (out / f"{name}.txt").write_text(text + "\n", encoding="utf-8")
        if shutil.which("dot"):
            picture.render(outfile=out / f"{name}.svg", cleanup=True)
    kinds = sorted({path.suffix for path in out.iterdir()})
    print(f"{len(names)} graphs in {out}: {', '.join(kinds)}")
    if ".svg" not in kinds:
        print("install Graphviz to draw the .dot files: apt-get install graphviz")
    return 0


if __name__ == "__main__":
    sys.exit(main())
