"""A user's program, a little of all that minigrad is for: `mypy --strict` accepts it as it is.

`make lint` and `tests/test_types.py` run the checker; the latter also runs the program.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

import minigrad as mg
from minigrad import Tensor

Array = npt.NDArray[np.floating]


class Forecaster(mg.nn.Module):
    """The next value of a series, from an LSTM that reads it."""

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self.lstm = mg.nn.LSTM(1, size, rng=rng, dtype=np.float64)
        self.readout = mg.nn.Linear(size, 1, rng=rng, dtype=np.float64)
        self.scale = mg.tensor(np.array(1.0), requires_grad=True, name="scale")

    def forward(self, x: Array) -> Tensor:
        _, (h, _) = self.lstm(x)
        return self.readout(h[-1]) * self.scale


@mg.define(elementwise=[lambda g, z, x: g * 2 * x * z])
def bell(x: Array) -> Array:
    return np.exp(x**2)


def trained(path: Path) -> tuple[Forecaster, list[float]]:
    rng = np.random.default_rng(0)
    series = np.sin(np.arange(40.0))[:, None]
    inputs, targets = series[:-1, None], series[-1:]
    model = Forecaster(3, rng)
    optimizer = mg.optim.Adam(model.parameters(), lr=1e-2)
    losses: list[float] = []
    for _ in range(3):
        loss = mg.nn.mse_loss(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        norm: float = mg.optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item() + 0 * norm)
    mg.io.save(model, path)
    mg.io.load(model, path)
    mg.io.save_checkpoint(path, model=model, optimizer=optimizer, rng=rng, losses=losses, best=None)
    losses = mg.io.load_checkpoint(path, model=model, optimizer=optimizer, rng=rng)["losses"]
    print(mg.viz.summary(loss, grads=True, ascii=True))
    return model, losses


def fitted(net: mg.nn.LSTM, x: Array) -> mg.train.History:
    inputs, after = mg.data.windows(x, 5, horizon=1)
    (train, targets), (rest, _) = mg.data.split(inputs[..., None], after, shares=(0.7, 0.3))
    optimizer = mg.optim.SGD(net.parameters(), lr=0.1)

    def loss(batch: tuple[Array, Array]) -> Tensor:
        _, (h, _) = net(batch[0].swapaxes(0, 1))
        return mg.nn.mse_loss(h[-1], batch[1])

    def enough(history: mg.train.History) -> str | None:
        return "twice" if len(history) == 2 else None

    history = mg.train.fit(
        net,
        optimizer,
        mg.data.DataLoader(train, targets, batch_size=8, shuffle=True, rng=0),
        loss,
        lambda: mg.metrics.rmse(net(rest.swapaxes(0, 1))[0][-1], rest[:, -1]),
        epochs=9,
        callbacks=[mg.train.CellDistance(net, bound=100.0), enough],
        out=None,
    )
    losses: list[float] = history["train"]
    assert len(losses) == 2
    return history


def scheduled(net: mg.nn.Module, x: Array, classes: Array) -> list[float]:
    groups = [{"params": net.parameters(), "lr": 0.1}]
    optimizer = mg.optim.SGD(groups, momentum=0.9)
    schedule = mg.optim.lr_scheduler.StepLR(optimizer, step_size=3)
    loss_of = mg.nn.CrossEntropyLoss(label_smoothing=0.1)
    loss: Tensor = loss_of(net(x), classes)
    loss.backward()
    optimizer.step()
    schedule.step()
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.param_groups[0]["lr"] *= 0.5
    return schedule.get_last_lr()


def tensors() -> Tensor:
    x = mg.tensor([[1.0, 2.0]], requires_grad=True, name="x")
    with mg.no_grad():
        constant = x.detach() + 1
    y = (2 * x + constant) @ x.T - x.sum(axis=1, keepdims=True) / 3
    z = mg.where(y > 0, y, -y).reshape(-1).clip(0.0, 9.0) ** 2
    z = mg.concatenate([z, mg.relu(z[0:1])]).at[0].set(1.0)
    best: int = int(z.argmax())
    mg.label(y=y, z=z)
    z[best].backward()
    gradient: npt.NDArray[np.generic] | None = x.grad
    assert gradient is not None
    shape: tuple[int, ...] = gradient.shape
    assert shape == x.shape
    return z


def derivatives() -> tuple[float, Array]:
    def f(x: Tensor) -> Tensor:
        return (mg.sin(x) * bell(x)).sum()

    at = np.array([0.1, 0.2])
    value, gradient = mg.value_and_grad(f)(at)
    _, tangent = mg.jvp(f, (at,), (np.ones(2),))
    hessian = mg.hessian(f)(at)
    mg.check_grads(f, [at])
    mg.check_primitive(bell)
    _, states = mg.scan(lambda h, x: (mg.tanh(h + x), h), np.zeros(2), np.ones((3, 2)))
    assert states.shape == (3, 2)
    return float(value) + float(tangent), np.asarray(gradient @ hessian)


def by_hand() -> bool:
    def forward(p: dict[str, Array]) -> np.floating:
        loss: np.floating = np.mean(np.tanh(p["x"] @ p["w"]) ** 2)
        return loss

    def backward(p: dict[str, Array]) -> dict[str, Array]:
        h = np.tanh(p["x"] @ p["w"])
        ds = 2 * h / h.size * (1 - h**2)
        return {"x": ds @ p["w"].T, "w": p["x"].T @ ds}

    rng = np.random.default_rng(0)
    report = mg.compare_backward(
        forward, backward, {"x": rng.normal(size=(5, 3)), "w": rng.normal(size=(3, 2))}
    )
    print(report, report.explain())
    report.raise_if_different()
    return report.ok


def recurrent_by_hand() -> dict[str, Array]:
    rng = np.random.default_rng(0)
    x, w, u = (rng.normal(size=shape) for shape in [(5, 2, 3), (16, 3), (16, 4)])
    hs, _, cache = mg.bptt.lstm_forward(x, w, u, None, None)
    return mg.bptt.lstm_backward(np.ones_like(hs), cache)
