"""The training step of the character model in examples/text.py, against the same in PyTorch.

    python benchmarks/bench_text.py [--rounds 30]

A chunk of the text, (T, B) = (50, 32): 32 numbers for each of its characters, an LSTM of 128 cells
that begins with the state of the chunk before, a readout of 103 logits, cross-entropy, gradients,
their norm clipped, and Adam; all in float32. The peer is `torch.nn.LSTM`, eager, with the same
parameters; loss and gradients are compared before anything is timed. Compiled is the model with
its loss, by `mg.compile`, with each of its back ends. Beside the whole step stands what of it is
forward and backward: the rest is clipping and Adam. Times are the least of many rounds, in which
everybody takes turns; ratios are of these, minigrad's time over torch.nn.LSTM's: less is better.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from timing import Step, agree, header, minima, peer

import minigrad as mg

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
from text import LENGTH, STREAMS, Writer, error, load

HIDDEN = 128
PEER = "torch.nn.LSTM"
TARGETS = {"eager": 1.6, "compiled, NumPy": 1.0, "compiled, numba": 1.0}
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


class Loss(mg.nn.Module):
    """The model with its loss: what is compiled."""

    def __init__(self, model: Writer) -> None:
        self.model = model

    def forward(self, x: Any, y: Any, state: Any) -> mg.Tensor:
        return error(self.model(x, state)[0], y)


def in_minigrad(p: Problem, update: bool, backend: str | None = None) -> Step:
    model = p.model()
    model.load_state_dict(p.parameters)
    loss_of: Any = Loss(model)
    if backend:
        loss_of = mg.compile(loss_of, backend=backend)
    optimizer, state = mg.optim.Adam(model.parameters(), lr=LR), tuple(p.state)

    def step() -> dict[str, Any]:
        optimizer.zero_grad()
        loss = loss_of(p.x, p.y, state)
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
    parser.add_argument("--rounds", type=int, default=30, help="turns of each (%(default)s)")
    options = parser.parse_args()
    print(header())
    problem = Problem()
    print(f"\n(T, B, H) = ({LENGTH}, {STREAMS}, {HIDDEN}), float32; over {PEER}")
    for title, update in (("forward and backward", False), ("the whole step", True)):
        steps = {"eager": in_minigrad(problem, update), PEER: in_torch(problem, update)}
        steps["compiled, NumPy"] = in_minigrad(problem, update, "numpy")
        if peer("numba"):
            steps["compiled, numba"] = in_minigrad(problem, update, "numba")
        if not update:
            agree({name: step() for name, step in steps.items() if step}, "eager")
        least = minima(steps, options.rounds)
        print(f"  {title}")
        for name, seconds in least.items():
            ratio, target = "", TARGETS.get(name)
            if PEER in least and name != PEER:
                ratio = f"{seconds / least[PEER]:6.2f}"
                if update and target:
                    met = seconds <= target * least[PEER]
                    ratio += f"  <= {target} {'met' if met else 'MISSED'}"
            print(f"    {name:18}{1e3 * seconds:9.2f} ms {ratio}".rstrip())


if __name__ == "__main__":
    main()
