"""Programs to compile: a loss, what it is called with, and the same in PyTorch where that is asked.

They are written as users write them, with nothing that a compiler could know them by.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from bench_lstm import Problem, minigrad_layer
from timing import Step, peer

import minigrad as mg

CELL = (50, 16, 32, 64)  # T, B, I, H
LINKS = 50


class Program(NamedTuple):
    """A loss of `args`, differentiated by all of them that `argnums` names."""

    loss: Callable[..., Any]
    args: tuple[Any, ...]
    argnums: int | tuple[int, ...] = 0
    torch: Callable[[], Step | None] = lambda: None


def eager(program: Program) -> Step:
    gradient = mg.value_and_grad(program.loss, argnums=program.argnums)
    return lambda: gradient(*program.args)


def compile(f: Callable[..., Any], backend: str) -> Any:
    if not hasattr(mg, "compile"):
        raise NotImplementedError("minigrad.compile is not there yet")
    return mg.compile(f, backend=backend)


def compiled(program: Program, backend: str) -> Step:
    gradient = compile(mg.value_and_grad(program.loss, argnums=program.argnums), backend)
    return lambda: gradient(*program.args)


def _draw(*shape: int, scale: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(shape)
    return (scale * rng.standard_normal(shape)).astype(np.float32)


# --- Recurrences ----------------------------------------------------------------------------------


def sum_of_states(layer: Any, x: Any) -> Any:
    return layer(x)[0].sum()


def lstm(size: tuple[int, ...], dtype: Any = np.float32) -> Program:
    p = Problem(*(v.astype(dtype) for v in Problem.draw(*size)))
    return Program(sum_of_states, (minigrad_layer(p), p.x), (0, 1))


def _layer(kind: Any, **options: Any) -> Program:
    T, B, features, H = CELL
    layer = kind(features, H, rng=0, **options)
    return Program(sum_of_states, (layer, _draw(T, B, features)), (0, 1))


def _weights(**more: tuple[int, ...]) -> dict[str, np.ndarray]:
    _, _, features, H = CELL
    shapes = {"W": (features, 4 * H), "U": (H, 4 * H), "b": (4 * H,), **more}
    return {name: _draw(*shape, scale=0.1) for name, shape in shapes.items()}


def _began(x: Any) -> Any:
    return np.zeros((x.shape[1], CELL[3]), np.float32)


def own_loop(p: Any, x: Any) -> Any:
    """A user's LSTM: nothing is hoisted, the gates are slices."""
    H = CELL[3]
    h = c = _began(x)
    hs = []
    for t in range(len(x)):
        z = x[t] @ p["W"] + h @ p["U"] + p["b"]
        i, f, o = mg.sigmoid(z[:, :H]), mg.sigmoid(z[:, H : 2 * H]), mg.sigmoid(z[:, 2 * H : 3 * H])
        c = f * c + i * mg.tanh(z[:, 3 * H :])
        h = o * mg.tanh(c)
        hs.append(h)
    return mg.stack(hs).sum()


def peephole(p: Any, x: Any) -> Any:
    """F. A. Gers and J. Schmidhuber, "Recurrent nets that time and count", 2000."""
    H = CELL[3]
    h = c = _began(x)
    hs = []
    for t in range(len(x)):
        z = x[t] @ p["W"] + h @ p["U"] + p["b"]
        i = mg.sigmoid(z[:, :H] + p["p_i"] * c)
        f = mg.sigmoid(z[:, H : 2 * H] + p["p_f"] * c)
        c = f * c + i * mg.tanh(z[:, 2 * H : 3 * H])
        o = mg.sigmoid(z[:, 3 * H :] + p["p_o"] * c)
        h = o * mg.tanh(c)
        hs.append(h)
    return mg.stack(hs).sum()


def reads_the_cell(p: Any, x: Any) -> Any:
    """All gates read the previous cell through a matrix of its own."""
    H = CELL[3]
    h = c = _began(x)
    hs = []
    for t in range(len(x)):
        z = x[t] @ p["W"] + h @ p["U"] + c @ p["V"] + p["b"]
        i, f, o = mg.sigmoid(z[:, :H]), mg.sigmoid(z[:, H : 2 * H]), mg.sigmoid(z[:, 2 * H : 3 * H])
        c = f * c + i * mg.tanh(z[:, 3 * H :])
        h = o * mg.tanh(c)
        hs.append(h)
    return mg.stack(hs).sum()


def _loop(loss: Callable[..., Any], **more: tuple[int, ...]) -> Program:
    T, B, features, _ = CELL
    return Program(loss, (_weights(**more), _draw(T, B, features)), (0, 1))


RECURRENCES: dict[str, Callable[[], Program]] = {
    "nn.LSTM": lambda: _layer(mg.nn.LSTM),
    "nn.GRU": lambda: _layer(mg.nn.GRU),
    "peephole cell": lambda: _loop(peephole, **{f"p_{k}": CELL[3:] for k in "ifo"}),
    "gates read the previous cell": lambda: _loop(reads_the_cell, V=(CELL[3], 4 * CELL[3])),
    "own loop, x[t] @ W": lambda: _loop(own_loop),
    "two layers": lambda: _layer(mg.nn.LSTM, num_layers=2),
    "two directions": lambda: _layer(mg.nn.LSTM, bidirectional=True),
}


# --- Others ---------------------------------------------------------------------------------------


def _chain_loss(y: Any, a: Any, b: Any) -> Any:
    for _ in range(LINKS):
        y = mg.tanh(y * a + b)
    return y.sum()


def chain(n: int) -> Program:
    """a near 1 and b near 0: the gradient does not sink to denormals, which cost ten times more."""
    rng = np.random.default_rng(n)
    y, a, b = (
        (low + rng.random(n) * width).astype(np.float32)
        for low, width in ((-0.5, 1.0), (0.95, 0.1), (-0.05, 0.1))
    )

    def torch_step() -> Step | None:
        if (torch := peer("torch")) is None:
            return None
        leaves = [torch.tensor(v, requires_grad=True) for v in (y, a, b)]

        def step() -> list[Any]:
            for leaf in leaves:
                leaf.grad = None
            z, p, q = leaves
            for _ in range(LINKS):
                z = torch.tanh(z * p + q)
            loss = z.sum()
            loss.backward()
            return [loss, *(leaf.grad for leaf in leaves)]

        return step

    return Program(_chain_loss, (y, a, b), (0, 1, 2), torch_step)


def _trained(build: Callable[[Any], Any], loss: Callable[..., Any], *data: Any) -> Program:
    """A module that is built alike from minigrad.nn and torch.nn; gradients of its parameters."""
    mg.manual_seed(0)  # the same in every process
    module = build(mg.nn)
    state = {name: p.numpy() for name, p in module.named_parameters()}

    def torch_step() -> Step | None:
        if (torch := peer("torch")) is None:
            return None
        theirs = build(torch.nn)
        theirs.load_state_dict({k: torch.tensor(v) for k, v in state.items()})
        own = [torch.tensor(d) for d in data]

        def step() -> list[Any]:
            theirs.zero_grad(set_to_none=True)
            value = loss(torch.nn.functional, theirs, *own)
            value.backward()
            return [value, *(p.grad for p in theirs.parameters())]

        return step

    return Program(lambda net, *data: loss(mg.nn, net, *data), (module, *data), 0, torch_step)


def _cross_entropy(functions: Any, net: Any, x: Any, labels: Any) -> Any:
    return functions.cross_entropy(net(x), labels)


def _mlp(nn: Any) -> Any:
    return nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))


def _conv(nn: Any) -> Any:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(16 * 7 * 7, 10),
    )  # fmt: skip


def _transformer(nn: Any) -> Any:
    return nn.TransformerEncoderLayer(
        64, 4, dim_feedforward=256, dropout=0.0, activation="gelu", batch_first=True
    )


def mlp() -> Program:
    labels = np.random.default_rng(0).integers(0, 10, 64)
    return _trained(_mlp, _cross_entropy, _draw(64, 784), labels)


def conv_net() -> Program:
    labels = np.random.default_rng(0).integers(0, 10, 16)
    return _trained(_conv, _cross_entropy, _draw(16, 1, 28, 28), labels)


def transformer() -> Program:
    x, wanted = _draw(2, 1, 64, 64)
    return _trained(_transformer, lambda _, net, x, y: ((net(x) - y) ** 2).mean(), x, wanted)


OTHERS: dict[str, Callable[[], Program]] = {
    "chain of tanh(y * a + b), size 4": lambda: chain(4),
    "chain of tanh(y * a + b), size 1,024": lambda: chain(1024),
    "MLP 784-256-10, batch 64": mlp,
    "transformer block, d = 64, T = 64": transformer,
    "small conv net, batch 16": conv_net,
}
