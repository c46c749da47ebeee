"""The training step of the character model in examples/text.py, against the same in PyTorch.

    python benchmarks/bench_text.py [--rounds 15]

A chunk of the text, (T, B) = (50, 32): 32 numbers for each of its characters, an LSTM of 128 cells
that begins with the state of the chunk before, a readout of 103 logits, cross-entropy, gradients,
their norm clipped, and Adam; all in float32. The peer is `torch.nn.LSTM`, eager, with the same
parameters; loss and gradients are compared before anything is timed. Beside the whole step stands
what of it is forward and backward: the rest is clipping and Adam. Ratios are minigrad's time over
the other's, so less is better for minigrad.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from timing import Step, agree, header, measure, peer, table

import minigrad as mg

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
from text import LENGTH, STREAMS, Writer, error, load

HIDDEN = 128
EAGER, COMPILED = 1.6, 1.0  # at most so many times torch.nn.LSTM
LR, CLIP = 1e-4, 1.0


class Problem:
    """A chunk, the state before it, and the parameters that both sides begin with."""

    def __init__(self) -> None:
        text, letters = load()
        mg.manual_seed(0)
        chunk = text[: STREAMS * (LENGTH + 1)].reshape(STREAMS, -1).T
        self.x, self.y = chunk[:-1], chunk[1:]
        rng = np.random.default_rng(0)
        self.state = np.tanh(rng.normal(size=(2, 1, STREAMS, HIDDEN))).astype(np.float32)
        self.letters = len(letters)
        self.parameters = self.model().state_dict()

    def model(self) -> Writer:
        return Writer(self.letters, HIDDEN)


def in_minigrad(p: Problem, update: bool, compiled: bool = False) -> Step | None:
    """Return a step that gives loss and gradients; None for a compiled one without a compiler."""
    if compiled and not hasattr(mg, "compile"):
        return None
    model = p.model()
    model.load_state_dict(p.parameters)
    forward: Any = mg.compile(model) if compiled else model
    optimizer = mg.optim.Adam(model.parameters(), lr=LR)

    def step() -> dict[str, Any]:
        optimizer.zero_grad()
        logits, _ = forward(p.x, tuple(p.state))
        loss = error(logits, p.y)
        loss.backward()
        if update:
            mg.optim.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
        return {"loss": loss.data} | {name: q.grad for name, q in model.named_parameters()}

    return step


def in_torch(p: Problem, update: bool) -> Step | None:
    if (torch := peer("torch")) is None:
        return None
    nn = torch.nn
    model = nn.ModuleDict(
        {
            "embedding": nn.Embedding(p.letters, 32),
            "lstm": nn.LSTM(32, HIDDEN),
            "readout": nn.Linear(HIDDEN, p.letters),
        }
    )
    model.load_state_dict({name: torch.tensor(a) for name, a in p.parameters.items()})
    x, y = torch.tensor(p.x), torch.tensor(p.y).reshape(-1)
    state = tuple(torch.tensor(p.state))
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)

    def step() -> dict[str, Any]:
        optimizer.zero_grad(set_to_none=True)
        hs, _ = model["lstm"](model["embedding"](x), state)
        logits = model["readout"](hs).reshape(-1, p.letters)
        loss = nn.functional.cross_entropy(logits, y) / np.log(2)
        loss.backward()
        if update:
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
        return {"loss": loss.detach()} | {name: q.grad for name, q in model.named_parameters()}

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="turns of each (%(default)s)")
    options = parser.parse_args()
    print(header())
    problem = Problem()
    for title, update in (("forward and backward", False), ("the whole step", True)):
        steps = {
            "minigrad": in_minigrad(problem, update),
            "minigrad, compiled": in_minigrad(problem, update, compiled=True),
            "torch.nn.LSTM": in_torch(problem, update),
        }
        if not update:
            agree({name: step() for name, step in steps.items() if step}, "minigrad")
        timings = measure(steps, "minigrad", options.rounds)
        wanted = {"torch.nn.LSTM": EAGER} if update else None
        shown = {name: t for name, t in timings.items() if name != "minigrad, compiled"}
        where = f"(T, B, H) = ({LENGTH}, {STREAMS}, {HIDDEN}): {title}"
        table(where, shown, "minigrad", "ms", 1e3, wanted)
        if steps["minigrad, compiled"]:
            del steps["minigrad"]
            wanted = {"torch.nn.LSTM": COMPILED} if update else None
            timings = measure(steps, "minigrad, compiled", options.rounds)
            table(f"{title}, compiled", timings, "minigrad, compiled", "ms", 1e3, wanted)


if __name__ == "__main__":
    main()
