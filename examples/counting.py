"""An LSTM learns to count: is a word, so far, n letters a and then just as many b?

    python examples/counting.py [--steps 400] [--seed 0]

Words of many lengths are read side by side, in any order, and after each letter the question is
asked anew. The gates see the cell (peepholes), with which such languages are learned best: Gers and
Schmidhuber, "LSTM recurrent networks learn simple context-free and context-sensitive languages",
2001. What was learned with up to 10 letters a is tried on more; and the cell, fed letter by letter,
shows how it counts: up, and down again.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import minigrad as mg

LETTERS = "ab"


class Reader(mg.nn.Module):
    """The logit, after each letter, of a word so far in the language: (T, B, 2) -> (T, B)."""

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self.lstm = mg.nn.LSTM(len(LETTERS), size, peephole=True, forget_bias=3.0, rng=rng)
        self.readout = mg.nn.Linear(size, 1, rng=rng)

    def forward(self, x: Any, lengths: Any) -> mg.Tensor:
        hs, _ = self.lstm(x, lengths=lengths)
        return self.readout(hs)[..., 0]


def drawn(rng: np.random.Generator, shortest: int, longest: int, count: int) -> Any:
    """Return words as one-hot letters (T, B, 2), their lengths, and what is right, (T, B).

    A word is n letters a, and up to three b more than that.
    """
    ns = rng.integers(shortest, longest + 1, count)
    texts = ["a" * n + "b" * (n + rng.integers(4)) for n in ns]
    x, lengths = mg.data.padded([encoded(text) for text in texts])
    t = np.arange(1, len(x) + 1)[:, None]
    return x, lengths, t == 2 * ns, t <= lengths


def encoded(text: str) -> Any:
    return mg.one_hot([LETTERS.index(letter) for letter in text], len(LETTERS))


def accuracy(model: Reader, words: Any) -> float:
    """Return the part of the words about which the model is right after every letter."""
    x, lengths, right, valid = words
    with mg.no_grad():
        told = model(x, lengths).data > 0
    return float(np.mean(((told == right) | ~valid).all(axis=0)))


def counted(model: Reader, text: str) -> list[float]:
    """Return one number of the cell after every letter of a word: that which bends most halfway."""
    cell, state, seen = model.lstm.cell(), None, []
    with mg.no_grad():
        for letter in encoded(text):
            state = cell(letter, state)
            seen.append(state[1].data)
    cells = np.array(seen)
    bend = abs(cells[0] - 2 * cells[len(text) // 2 - 1] + cells[-1])
    return list(cells[:, bend.argmax()])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=400, help="of training (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (%(default)s)")
    options = parser.parse_args(arguments)
    rng = np.random.default_rng(options.seed)
    model = Reader(4, rng)
    optimizer = mg.optim.Adam(model.parameters(), lr=0.03)
    print(model)
    for step in range(options.steps):
        x, lengths, right, valid = drawn(rng, 1, 10, 32)
        logits = model(x, lengths)[valid]
        loss = mg.nn.binary_cross_entropy_with_logits(logits, right[valid].astype(np.float32))
        optimizer.zero_grad()
        loss.backward()
        mg.optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0 or step == options.steps - 1:
            print(f"step {step:4}: loss {loss.item():.4f}")
    for shortest, longest in ((1, 10), (11, 15), (16, 20), (21, 30)):
        share = accuracy(model, drawn(rng, shortest, longest, 500))
        print(f"of words with n = {shortest} .. {longest}, {share:.1%} are read without a mistake")
    text = "aaaaaaaabbbbbbbb"
    values = counted(model, text)
    low, high = min(values), max(values)
    for letter, value in zip(text, values, strict=True):
        print(f"{letter} {value:7.2f} " + "#" * round(40 * (value - low) / (high - low)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
