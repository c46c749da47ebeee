"""Train a convolutional net to read handwritten digits, and look at what it gets wrong.

    python examples/digits.py

1797 images of 8 by 8 pixels: some for training, some to choose the epoch, some never seen before.
The test error stands beside that of the nearest neighbour. The digits that are read wrong are
drawn, and so are those of the training set with the largest gradients: what is hard to learn.
"""

from __future__ import annotations

import argparse
import gzip
import sys
from pathlib import Path

import numpy as np

import minigrad as mg
from minigrad import nn
from minigrad.data import batches

DATA = Path(__file__).parent / "data" / "digits.csv.gz"


def load(path: Path = DATA) -> tuple[np.ndarray, np.ndarray]:
    """Read images (N, 1, 8, 8) of pixels from 0 to 1, and labels (N,)."""
    with gzip.open(path, "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.float32)
    return table[:, :-1].reshape(-1, 1, 8, 8) / 16, table[:, -1].astype(int)


def net() -> nn.Sequential:
    """Two convolutions, each followed by a batch norm and a maximum over 2 by 2 pixels."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding="same", bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding="same", bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(128, 10),
    )  # fmt: skip


def read(model: nn.Module, images: np.ndarray) -> np.ndarray:
    """Return the most probable label of each image."""
    with mg.no_grad():
        return model(images).argmax(axis=1)


def gradient_norms(model: nn.Sequential, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return for each image the norm of its own gradient by the last layer: see docs/recipes.md."""
    head = model[-1]

    def losses(head: nn.Linear, features: np.ndarray) -> mg.Tensor:
        return nn.cross_entropy(head(features), labels, reduction="none")

    with mg.no_grad():
        features = model[:-1](images).data
    each = mg.jacobian(losses)(head, features)
    return np.sqrt(sum((g.data.reshape(len(labels), -1) ** 2).sum(axis=1) for g in each.values()))


def drawn(images: np.ndarray, titles: list[str]) -> str:
    """Return images beside one another, in characters."""
    shades = np.array(list(" .:-=+*#%@"))
    pictures = shades[(images[:, 0] * 9).round().astype(int)]
    rows = ["   ".join("".join(row) for row in picture) for picture in pictures.swapaxes(0, 1)]
    return "\n".join(["   ".join(f"{title:8}" for title in titles), *rows])


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=25, help="at most so many (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    rng = mg.manual_seed(options.seed)

    images, labels = load()
    order = rng.permutation(len(labels))
    images, labels = images[order], labels[order]
    parts = (slice(1100), slice(1100, 1400), slice(1400, None))
    (x, y), (x_val, y_val), (x_test, y_test) = [(images[part], labels[part]) for part in parts]

    model = net()
    print(model)
    optimizer = mg.optim.AdamW(model.parameters(), lr=0.01)
    history = mg.train.fit(
        model,
        optimizer,
        lambda: batches(x, y, size=64, rng=rng),
        lambda batch: nn.cross_entropy(model(batch[0]), batch[1], label_smoothing=0.05),
        lambda: nn.cross_entropy(model(x_val), y_val).item(),
        epochs=options.epochs,
        schedule=mg.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs),
        out=sys.stdout if sys.stdout.isatty() else None,
    )
    model.eval()

    guess = read(model, x_test)
    wrong = guess != y_test
    distance = ((x_test[:, None] - x[None]) ** 2).sum(axis=(2, 3, 4))
    by_neighbour = y[distance.argmin(axis=1)] != y_test
    print(
        f"\n{len(history.epochs)} epochs, the best was {history.best + 1}; wrong of {len(y_test)} "
        f"digits never seen before: {wrong.sum()}, by the nearest neighbour {by_neighbour.sum()}"
    )
    shown = np.flatnonzero(wrong)[:6]
    if len(shown):
        titles = [f"{y_test[k]} as {guess[k]}" for k in shown]
        print(f"\n{drawn(x_test[shown], titles)}")
    hardest = np.argsort(gradient_norms(model, x, y))[::-1][:6]
    print("\nhardest to learn, by the norm of their gradients:")
    print(drawn(x[hardest], [f"a {y[k]}" for k in hardest]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
