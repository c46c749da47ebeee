"""Draw computation graphs: recurrent nets, transformers, convolutional nets, loops, trees, numbers.

    python examples/gallery.py                  all of them, into the folder gallery
    python examples/gallery.py lstm mlp         some
    python examples/gallery.py --pictures       those of the README, into examples/pictures

Each graph is written three ways: a picture (SVG, where Graphviz is installed, and its DOT text), a
page to explore (HTML), and a tree of text.
"""

from __future__ import annotations

import argparse
import html
import itertools
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import graphviz
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


class Attention(mg.nn.Module):
    """A decoder's step that looks at the states of the encoder."""

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self.cell = mg.nn.GRUCell(2 * size, size, rng=rng)
        self.query = mg.nn.Linear(size, size, rng=rng)

    def forward(self, word: mg.Tensor, state: mg.Tensor, memory: mg.Tensor) -> mg.Tensor:
        scores = (memory * self.query(state)).sum(axis=-1)
        weights = mg.softmax(scores, axis=0)
        context = (memory * weights[:, :, None]).sum(axis=0)
        mg.label(weights=weights, context=context)
        return self.cell(np.concatenate([word, context], axis=-1), state)


class Translator(mg.nn.Module):
    """A sequence to a sequence, with attention."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.source, self.target = [mg.nn.Embedding(40, 16, rng=rng) for _ in range(2)]
        self.encoder, self.decoder = mg.nn.GRU(16, 16, rng=rng), Attention(16, rng)
        self.readout = mg.nn.Linear(16, 40, rng=rng)

    def forward(self, source: np.ndarray, target: np.ndarray) -> mg.Tensor:
        memory, state = self.encoder(self.source(source))
        state, states, words = state[-1], [], self.target(target)
        for t in range(len(target)):
            with mg.scope("step", t):
                state = self.decoder(words[t], state, memory)
                states.append(state)
        return self.readout(np.stack(states))


def translator(rng: np.random.Generator) -> mg.Tensor:
    """A sequence to a sequence with attention: 12 words to 10."""
    source, target = rng.integers(40, size=(12, 8)), rng.integers(40, size=(10, 8))
    scores = Translator(rng)(source, target)
    return mg.nn.cross_entropy(scores.reshape(-1, 40), target.ravel())


class Encoder(mg.nn.Module):
    """Six blocks of a transformer, on embedded words."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.embedding = mg.nn.Embedding(50, 32, rng=rng)
        self.blocks = [
            mg.nn.TransformerEncoderLayer(
                32, 4, 128, 0.0, "gelu", batch_first=True, norm_first=True, rng=rng
            )
            for _ in range(6)
        ]
        self.head = mg.nn.Linear(32, 50, rng=rng)

    def forward(self, words: np.ndarray) -> mg.Tensor:
        x = self.embedding(words)
        for block in self.blocks:
            x = block(x, is_causal=True)
        return self.head(x)


def blocks(rng: np.random.Generator) -> mg.Tensor:
    """A transformer of six blocks."""
    words = rng.integers(50, size=(4, 12))
    return mg.nn.cross_entropy(Encoder(rng)(words).reshape(-1, 50), words.ravel())


class Residual(mg.nn.Module):
    """Two convolutions beside a way around them."""

    def __init__(self, channels: int, rng: np.random.Generator) -> None:
        convolutions = [mg.nn.Conv2d(channels, channels, 3, padding=1, rng=rng) for _ in range(2)]
        self.first, self.second = convolutions

    def forward(self, x: mg.Tensor) -> mg.Tensor:
        return mg.relu(x + self.second(mg.relu(self.first(x))))


def resnet(rng: np.random.Generator) -> mg.Tensor:
    """A residual net: a convolution, four blocks, the mean of every channel."""
    stem, head = mg.nn.Conv2d(3, 8, 3, padding=1, rng=rng), mg.nn.Linear(8, 10, rng=rng)
    body = mg.nn.Sequential(*[Residual(8, rng) for _ in range(4)])
    images = mg.tensor(rng.normal(size=(8, 3, 16, 16)).astype(np.float32), name="images")
    features = body(mg.relu(stem(images))).mean(axis=(2, 3))
    return mg.nn.cross_entropy(head(features), rng.integers(10, size=8))


def branch(rng: np.random.Generator) -> mg.Tensor:
    """A loop of 20 steps without scopes, that takes another way at two of them."""
    W, U = [mg.tensor(rng.normal(size=(8, 8)) / 3, True, name=name) for name in "WU"]
    x, h = mg.tensor(rng.normal(size=(20, 4, 8)), True, name="x"), np.zeros((4, 8))
    for t in range(20):
        h = mg.tanh(h @ W + x[t]) if t not in (6, 13) else mg.tanh(h @ U + x[t]) * 0.5
    return (h**2).mean()


def tree(rng: np.random.Generator) -> mg.Tensor:
    """A recursive net on a tree of eight leaves."""
    W = mg.tensor(rng.normal(size=(16, 8)) / 4, True, name="W")
    words = mg.tensor(rng.normal(size=(8, 1, 8)), True, name="words")

    def state(first: int, last: int) -> mg.Tensor:
        if last == first + 1:
            return words[first]
        middle = (first + last) // 2
        both = np.concatenate([state(first, middle), state(middle, last)], axis=-1)
        return mg.tanh(both @ W)

    return (state(0, 8) ** 2).mean()


def checkpoints(rng: np.random.Generator) -> mg.Tensor:
    """A scan whose steps are computed again in the backward pass, ten at a time."""
    W = mg.tensor(rng.normal(size=(8, 8)) / 3, True, name="W")
    x = mg.tensor(rng.normal(size=(10, 10, 4, 8)), True, name="x")

    def ten(h: mg.Tensor, x: mg.Tensor) -> mg.Tensor:
        for t in range(10):
            h = mg.tanh(h @ W + x[t])
        return h

    h = mg.tensor(np.zeros((4, 8)))
    for k in range(10):
        h = mg.checkpoint(ten)(h, x[k])
    return (h**2).mean()


def long(rng: np.random.Generator) -> mg.Tensor:
    """An LSTM of 5,800 steps: nearly 100,000 nodes."""
    model, readout = mg.nn.LSTM(4, 8, rng=rng), mg.nn.Linear(8, 1, rng=rng)
    _, (h, _) = model(rng.normal(size=(5_800, 4, 4)).astype(np.float32))
    return mg.nn.mse_loss(readout(h[-1]), np.ones((4, 1), np.float32))


def numbers(rng: np.random.Generator) -> mg.Tensor:
    """A neuron of two inputs, in numbers: the graph that micrograd begins with."""
    values = {"x1": 2.0, "x2": 0.0, "w1": -3.0, "w2": 1.0, "b": 6.8813735870195432}
    x1, x2, w1, w2, b = [mg.tensor(v, True, name=name) for name, v in values.items()]
    n = x1 * w1 + x2 * w2 + b
    mg.label(n=n)
    return mg.tanh(n)


def penalty(rng: np.random.Generator) -> mg.Tensor:
    """A penalty on the gradient by the input, as of a critic: a graph of second order."""
    model = mg.nn.LSTM(4, 8, rng=rng)
    x = mg.tensor(rng.normal(size=(30, 16, 4)).astype(np.float32), True, name="x")
    g = mg.grad(lambda x: model(x)[0][-1].sum())(x)
    return (g**2).mean()


GRAPHS: dict[str, tuple[Callable[[np.random.Generator], mg.Tensor], str]] = {
    "lstm": (lstm, "loss"),
    "cell": (cell, "loss"),
    "transformer": (transformer, "loss"),
    "convolution": (convolution, "loss"),
    "mlp": (mlp, "loss"),
    "translator": (translator, "loss"),
    "blocks": (blocks, "loss"),
    "resnet": (resnet, "loss"),
    "branch": (branch, "loss"),
    "tree": (tree, "loss"),
    "checkpoints": (checkpoints, "loss"),
    "penalty": (penalty, "loss"),
    "long": (long, "loss"),
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


def svg(source: str) -> str:
    """Return a picture as SVG in which every text has the width that there is room for.

    Its fonts are not on every reader's machine, and wider letters would run over the boxes.
    """
    drawn = graphviz.Source(source).pipe("svg", encoding="utf-8")
    content = json.loads(graphviz.Source(source).pipe("json", encoding="utf-8"))
    widths = {(op["text"], *op["pt"]): op["width"] for op in texts(content)}

    def fitted(found: re.Match[str]) -> str:
        head, x, y, text = found.groups()
        near = [w for (t, a, b), w in widths.items() if t == html.unescape(text)
                and abs(a - float(x)) < 0.1 and abs(b + float(y)) < 0.1]  # fmt: skip
        return f'{head} textLength="{near[0]}" lengthAdjust="spacingAndGlyphs">{text}</text>'

    pattern = r'(<text [^>]*x="([^"]*)" y="([^"]*)"[^>]*)>([^<]*)</text>'
    return re.sub(pattern, fitted, drawn)


def texts(part: Any) -> Iterator[dict[str, Any]]:
    """List all texts in a drawing of Graphviz's, as JSON."""
    if isinstance(part, dict) and part.get("op") == "T":
        yield part
    elif isinstance(part, (dict, list)):
        for inner in part.values() if isinstance(part, dict) else part:
            yield from texts(inner)


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
            (out / f"{name}.svg").write_text(svg(picture.source), encoding="utf-8")
    kinds = sorted({path.suffix for path in out.iterdir()})
    print(f"{len(names)} graphs in {out}: {', '.join(kinds)}")
    if ".svg" not in kinds:
        print("install Graphviz to draw the .dot files: apt-get install graphviz")
    return 0


if __name__ == "__main__":
    sys.exit(main())
