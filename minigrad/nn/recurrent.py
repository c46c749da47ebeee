"""Recurrent cells and layers, composed from primitives; no backward pass is written here.

Parameters have PyTorch's names, shapes and gate order, so weights move both ways. A layer takes x
of shape (T, B, I), time first, and is unrolled on the tape, each step in a scope `step[t]`. The
product of the inputs with their weights is taken for all time steps at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Generic, TypeAlias, TypeVar, cast

import numpy as np

from ..core.context import scope
from ..core.dtypes import DType
from ..core.tensor import ArrayLike, Tensor, label, tensor
from ..ops.elementwise import sigmoid, tanh
from ..ops.shape import split, stack, swapaxes
from . import init
from .arguments import flag, whole
from .inputs import called, check_features, taken
from .module import Module

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell"]

State: TypeAlias = tuple[Any, ...]
"""The states of a step: (h,), or (h, c)."""

Recur: TypeAlias = Callable[[Any], Tensor]
"""From h to its product with the weights."""

StateIn = TypeVar("StateIn")  # h, or (h, c), as it is given, and as it is returned
StateOut = TypeVar("StateOut")


def rnn_step(x: Tensor, state: State, recur: Recur) -> State:
    """h = tanh(x + recur(h)); x and recur(h) hold the products with the weights, and the biases."""
    (h,) = state
    h = tanh(x + recur(h))
    label(h=h)
    return (h,)


def gru_step(x: Tensor, state: State, recur: Recur) -> State:
    """r, z = sigmoid, sigmoid; n = tanh(x_n + r * h_n); h = (1 - z) * n + z * h."""
    (h,) = state
    x_r, x_z, x_n = split(x, 3, axis=-1)
    h_r, h_z, h_n = split(recur(h), 3, axis=-1)
    r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
    n = tanh(x_n + r * h_n)
    h = (1 - z) * n + z * h
    label(r=r, z=z, n=n, h=h)
    return (h,)


def lstm_step(x: Tensor, state: State, recur: Recur) -> State:
    """i, f, g, o = sigmoid, sigmoid, tanh, sigmoid; c = f * c + i * g; h = o * tanh(c)."""
    h, c = state
    i, f, g, o = split(x + recur(h), 4, axis=-1)
    i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
    c = f * c + i * g
    h = o * tanh(c)
    label(i=i, f=f, g=g, o=o, c=c, h=h)
    return h, c


class _Recurrent(Module, Generic[StateIn, StateOut]):
    """What cells and layers share: parameters for each layer, and the checks of their inputs."""

    gates: int
    states: tuple[str, ...] = ("h",)
    step: Any
    recurrent_bias = False  # whether b_hh must be added step by step, and not with b_ih beforehand

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        suffixes: list[str],
        rng: init.Seed,
        dtype: DType,
    ) -> None:
        self.input_size = input_size = whole(self, "input_size", input_size)
        self.hidden_size = hidden_size = whole(self, "hidden_size", hidden_size)
        self.suffixes = suffixes
        rng, bound, rows = init.generator(rng), 1 / math.sqrt(hidden_size), self.gates * hidden_size
        for k, suffix in enumerate(suffixes):
            width = hidden_size if k else input_size
            for name, shape in (
                ("weight_ih", (rows, width)),
                ("weight_hh", (rows, hidden_size)),
                ("bias_ih", (rows,)),
                ("bias_hh", (rows,)),
            ):
                setattr(self, name + suffix, init.uniform(rng, bound, shape, dtype))

    def _begun(self, x: Any, state: Any, shape: tuple[int, ...], suffix: str) -> tuple[Any, State]:
        """Return x and the initial state, zeros if None, with their shapes and dtypes checked."""
        weight, names = getattr(self, "weight_ih" + suffix), [f"{s}0" for s in self.states]
        check_features(self, x, weight)
        if state is None:
            x = taken(self, x, weight)
            zeros = np.zeros(shape, np.result_type(x.dtype, weight.dtype))
            return x, tuple([tensor(zeros, name=name) for name in names])
        given: State = tuple(state) if len(names) > 1 else (state,)
        if len(given) != len(names):
            raise ValueError(
                f"{called(self)}: the state is ({', '.join(self.states)}), got {len(given)} parts"
            )
        for name, s in zip(names, given, strict=True):
            if np.shape(s) != shape:
                raise ValueError(
                    f"{called(self)}: {name} must have shape {shape}, got {np.shape(s)}"
                )
        parts = zip(["the input", *names], [x, *given], strict=True)
        x, *first = [taken(self, part, weight, name) for name, part in parts]
        return x, tuple(first)

    def _products(self, x: Any, suffix: str) -> tuple[Tensor, Recur]:
        """Return the product of x, for all time steps at once, and the function to multiply h."""
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        w, u, b_ih, b_hh = [getattr(self, name + suffix) for name in names]
        u = u.T
        if self.recurrent_bias:
            return x @ w.T + b_ih, lambda h: h @ u + b_hh
        return x @ w.T + (b_ih + b_hh), lambda h: h @ u

    def _final(self, state: State) -> StateOut:
        return cast(StateOut, state if len(self.states) > 1 else state[0])


class _Cell(_Recurrent[StateIn, StateOut]):
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        rng: init.Seed = None,
        dtype: DType = None,
    ) -> None:
        super().__init__(input_size, hidden_size, [""], rng, dtype)

    def forward(self, x: ArrayLike, state: StateIn | None = None) -> StateOut:
        x, initial = self._begun(x, state, (*np.shape(x)[:-1], self.hidden_size), "")
        xw, recur = self._products(x, "")
        return self._final(type(self).step(xw, initial, recur))


class _Layers(_Recurrent[StateIn, StateOut]):
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        batch_first: bool = False,
        rng: init.Seed = None,
        dtype: DType = None,
    ) -> None:
        self.num_layers = num_layers = whole(self, "num_layers", num_layers)
        self.batch_first = flag(self, "batch_first", batch_first)
        suffixes = [f"_l{k}" for k in range(num_layers)]
        super().__init__(input_size, hidden_size, suffixes, rng, dtype)

    def forward(self, x: ArrayLike, state: StateIn | None = None) -> tuple[Tensor, StateOut]:
        shape = np.shape(x)
        if len(shape) != 3:
            axes = "batch, time" if self.batch_first else "time, batch"
            raise ValueError(
                f"{called(self)}: the input must be ({axes}, features), got shape {shape}"
            )
        time, batch = shape[1::-1] if self.batch_first else shape[:2]
        if time == 0:
            raise ValueError(f"{called(self)}: the sequence is empty: the input has shape {shape}")
        full = (self.num_layers, batch, self.hidden_size)
        x, initial = self._begun(x, state, full, "_l0")
        y: Any = swapaxes(x, 0, 1) if self.batch_first else x
        finals = []
        for k in range(self.num_layers):
            first = tuple([s[k] for s in initial])
            if self.num_layers == 1:
                y, last = self._layer(y, first, "_l0")
            else:
                with scope("layer", k):
                    y, last = self._layer(y, first, f"_l{k}")
            finals.append(last)
        y = swapaxes(y, 0, 1) if self.batch_first else y
        return y, self._final(tuple([stack(s) for s in zip(*finals, strict=True)]))

    def _layer(self, x: Any, state: State, suffix: str) -> tuple[Tensor, State]:
        (xw, recur), step, hs = self._products(x, suffix), type(self).step, []
        for t in range(len(xw)):
            with scope("step", t):
                state = step(xw[t], state, recur)
            hs.append(state[0])
        return stack(hs), state


class RNNCell(_Cell[ArrayLike, Tensor]):
    """One step of the tanh network of Elman (1990): (x, h) -> h.

        h = tanh(x W_ih^T + b_ih + h W_hh^T + b_hh)

    x is (B, I) or (I,), h (B, H) or (H,); weight_ih (H, I), weight_hh (H, H), biases (H,).
    """

    gates, step = 1, rnn_step


class GRUCell(_Cell[ArrayLike, Tensor]):
    """One step of the gated recurrent unit of Cho et al. (2014): (x, h) -> h.

        r = sigmoid(x W_ir^T + b_ir + h W_hr^T + b_hr)
        z = sigmoid(x W_iz^T + b_iz + h W_hz^T + b_hz)
        n = tanh(x W_in^T + b_in + r * (h W_hn^T + b_hn))
        h = (1 - z) * n + z * h

    The rows of the weights are the gates r, z, n, as in PyTorch: weight_ih (3H, I).
    """

    gates, step, recurrent_bias = 3, gru_step, True


class LSTMCell(_Cell[tuple[ArrayLike, ArrayLike], tuple[Tensor, Tensor]]):
    """One step of the LSTM of Hochreiter & Schmidhuber (1997), forget gate by Gers et al. (2000).

        i = sigmoid(x W_ii^T + b_ii + h W_hi^T + b_hi)
        f = sigmoid(x W_if^T + b_if + h W_hf^T + b_hf)
        g = tanh(x W_ig^T + b_ig + h W_hg^T + b_hg)
        o = sigmoid(x W_io^T + b_io + h W_ho^T + b_ho)
        c = f * c + i * g
        h = o * tanh(c)

    (x, (h, c)) -> (h, c). The rows of the weights are the gates i, f, g, o: weight_ih (4H, I).
    """

    gates, states, step = 4, ("h", "c"), lstm_step


class RNN(_Layers[ArrayLike, Tensor]):
    """Layers of `RNNCell` over a sequence: x (T, B, I), h0 (L, B, H) -> hs (T, B, H), h (L, B, H).

    Parameters are named weight_ih_l0 and so on, l0 the first layer; the initial state is zero
    unless given. With `batch_first`, x and hs are (B, T, ..), the states as before. ValueError for
    an input or a state of another shape, or an empty sequence.
    """

    gates, step = 1, rnn_step


class GRU(_Layers[ArrayLike, Tensor]):
    """Layers of `GRUCell` over a sequence, as `RNN`."""

    gates, step, recurrent_bias = 3, gru_step, True


class LSTM(_Layers[tuple[ArrayLike, ArrayLike], tuple[Tensor, Tensor]]):
    """Layers of `LSTMCell` over a sequence: x, (h0, c0) -> hs, (h, c), shaped as in `RNN`.

    >>> hs, (h, c) = LSTM(1, 8)(np.zeros((5, 2, 1), np.float32))
    >>> hs.shape, h.shape, c.shape
    ((5, 2, 8), (1, 2, 8), (1, 2, 8))
    """

    gates, states, step = 4, ("h", "c"), lstm_step
