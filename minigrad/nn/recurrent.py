"""Recurrent layers: cells over a sequence, in layers and both directions.

A layer is unrolled on the tape, each step in a scope `step[t]`; in scopes `layer[k]` if there are
several, and `forward` and `reverse` if there are both directions.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Generic

import numpy as np

from ..core import tree
from ..core.context import scope
from ..core.dtypes import DType
from ..core.tensor import ArrayLike, Tensor, as_tensor, label
from ..core.tree import Tree
from ..guard.errors import shown, warn
from ..ops.embed import dropout as dropped
from ..ops.shape import broadcast_to, concatenate, stack, swapaxes
from . import init
from .arguments import Number, flag, whole
from .cells import Cell, GRUCell, LSTMCell, RNNCell, StateIn, StateOut, begun
from .inputs import called
from .module import Module
from .through_time import padded, rows_of, through_time, valid_steps

__all__ = ["GRU", "LSTM", "RNN", "Recurrent"]


class _Layers(Module, Generic[StateIn, StateOut]):
    """Cells over a sequence, in layers and directions, and the parameters of all of them."""

    _kind: type[Cell[StateIn, StateOut]]
    dropout = Number("[0, 1)")
    recurrent_dropout = Number("[0, 1)")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        layer_norm: bool = False,
        recurrent_dropout: float = 0.0,
        learn_state: bool = False,
        rng: init.Seed = None,
        dtype: DType = None,
    ) -> None:
        self._build(
            input_size, hidden_size, num_layers, batch_first, dropout, bidirectional,
            recurrent_dropout, learn_state, rng, dtype, bias=bias, layer_norm=layer_norm,
        )  # fmt: skip

    def _build(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        recurrent_dropout: float,
        learn_state: bool,
        rng: init.Seed,
        dtype: DType,
        **options: Any,
    ) -> None:
        self.num_layers = whole(self, "num_layers", num_layers)
        self.batch_first = flag(self, "batch_first", batch_first)
        self.bidirectional = flag(self, "bidirectional", bidirectional)
        self.dropout, self.recurrent_dropout = dropout, recurrent_dropout
        self.rng = None if rng is None else init.generator(rng)
        self.input_size = width = whole(self, "input_size", input_size)
        for k in range(self.num_layers):
            for end in self._ends(k):
                cell = object.__new__(self._kind)
                cell._build(self, width, hidden_size, self.rng, dtype, **options)
                self._names = [name for name, p in vars(cell).items() if isinstance(p, Tensor)]
                for name in self._names:
                    p = vars(cell)[name]
                    p.name = name + end
                    setattr(self, p.name, p)
            width = cell.sizes["h"] * len(self._ends(k))
        self._options = [k for k in vars(cell) if k not in [*self._names, "input_size"]]
        vars(self).update({name: vars(cell)[name] for name in self._options})
        self.sizes = cell.sizes
        self.learn_state = flag(self, "learn_state", learn_state)
        for letter, n in self.sizes.items() if learn_state else ():
            setattr(self, f"{letter}0", init.full(0, (self._count, 1, n), dtype))
        if dropout and num_layers == 1:
            warn(
                f"{type(self).__name__}: dropout={dropout} is between layers, and num_layers is 1; "
                "recurrent_dropout is inside a layer"
            )

    def _ends(self, k: int) -> list[str]:
        """Return how the names of the parameters of a layer end, for each direction."""
        return [f"_l{k}", f"_l{k}_reverse"][: 1 + self.bidirectional]

    @property
    def _count(self) -> int:
        return self.num_layers * (1 + self.bidirectional)

    def cell(self, layer: int = 0, reverse: bool = False) -> Cell[StateIn, StateOut]:
        """Return the cell of a layer and direction, which has the same parameters.

        It goes on step by step, as to draw a text letter by letter: `h = gru.cell()(x, h)`.
        """
        if layer not in range(self.num_layers) or reverse > self.bidirectional:
            raise IndexError(
                f"{type(self).__name__}: there is no cell of layer {layer}, reverse={reverse}, "
                f"with num_layers={self.num_layers}, bidirectional={self.bidirectional}"
            )
        end = self._ends(layer)[reverse]
        own = {name: getattr(self, name + end) for name in self._names}
        cell = object.__new__(self._kind)
        vars(cell).update({name: vars(self)[name] for name in self._options}, **own)
        cell.training, cell.input_size = self.training, own["weight_ih"].shape[1]
        return cell

    def forward(
        self,
        x: ArrayLike,
        state: StateIn | None = None,
        *,
        lengths: ArrayLike | None = None,
    ) -> tuple[Tensor, StateOut]:
        swap, shape = self.batch_first and np.ndim(x) != 2, np.shape(x)
        if len(shape) not in (2, 3):
            axes = "batch, time" if self.batch_first else "time, batch"
            raise ValueError(
                f"{called(self)}: the input must be ({axes}, features), or (time, features), got "
                f"shape {shape}"
            )
        time, *batch = shape[1::-1] if swap else shape[:-1]
        if time == 0:
            raise ValueError(f"{called(self)}: the sequence is empty: the input has shape {shape}")
        if state is None and self.learn_state:
            state = self._learned(batch)
        full = (self._count, *batch)
        y, first = begun(self, self.sizes, full, x, state, self.cell().weight_ih)
        y = swapaxes(y, 0, 1) if swap else y
        valid = valid_steps(self, lengths, time, batch)
        y = y if valid is None else rows_of(y, valid)
        finals: list[Any] = []
        for k in range(self.num_layers):
            with _part("layer", k, self.num_layers > 1):
                if k:
                    y = dropped(y, self.dropout, init.generator(self.rng), self.training)
                y, last = self._layer(k, y, first, valid)
            finals += last
        y = y if valid is None else padded(y, valid)
        final = tree.map(lambda *parts: stack(parts), *finals)
        return (swapaxes(y, 0, 1) if swap else y), final

    def _learned(self, batch: Sequence[int]) -> Any:
        """Return the learned state, the same for all of the batch."""
        parts = [getattr(self, f"{letter}0") for letter in self.sizes]
        all_of = [
            broadcast_to(p, (len(p), *batch, p.shape[-1])) if batch else p[:, 0] for p in parts
        ]
        return tuple(all_of) if len(all_of) > 1 else all_of[0]

    def _layer(self, k: int, x: Any, given: Any, valid: Any) -> tuple[Tensor, list[Any]]:
        """Return the outputs of a layer, and its last state in each direction."""
        ys, finals = [], []
        for reverse in (False, True)[: 1 + self.bidirectional]:
            n = k * (1 + self.bidirectional) + reverse
            with _part("reverse" if reverse else "forward", None, self.bidirectional):
                first = tree.map(operator.itemgetter(n), given)
                y, last = self._run(self.cell(k, reverse), x, first, valid, reverse)
            ys.append(y)
            finals.append(last)
        return concatenate(ys, axis=-1) if self.bidirectional else ys[0], finals

    def _run(
        self, cell: Cell[StateIn, StateOut], x: Any, first: Any, valid: Any, reverse: bool
    ) -> tuple[Tensor, Any]:
        a, step = cell._over(x)
        if not (self.recurrent_dropout and self.training):
            return through_time(step, a, first, valid, reverse)
        h = tree.flatten(first)[0][0]
        ones, rng = np.ones(h.shape, h.dtype), init.generator(self.rng)
        keep = dropped(ones, self.recurrent_dropout, rng)
        label(keep=keep)
        y, (last, _) = through_time(  # the mask goes along with the state, and is the same for ever
            lambda a, s: (step(a, *s), s[1]), a, (first, keep), valid, reverse
        )
        return y, last


def _part(label: str, index: int | None, named: bool) -> AbstractContextManager[None]:
    return scope(label, index) if named else nullcontext()


class RNN(_Layers[ArrayLike, Tensor]):
    """Layers of `RNNCell` over a sequence: x (T, B, I), h0 (L, B, H) -> hs (T, B, H), h (L, B, H).

    hs are the states of the last layer at all steps, h the last states of all layers. Without a
    batch x is (T, I), hs (T, H), h (L, H). The state begins at zero unless it is given; or, with
    `learn_state`, as a parameter h0 (L, 1, H). Parameters are named as in PyTorch, weight_ih_l0 and
    so on. A long series is learned in pieces, from where the one before ended (truncated
    backpropagation through time): `hs, h = rnn(piece, mg.stop_gradient(h))`.

    - `lengths`: the number of steps of each sequence, (B,) integers, in any order; x beyond them is
      not looked at, hs is zero there, and h is that of the last steps there are. `data.padded`
      lays sequences side by side.
    - `bidirectional`: also from the last step to the first, with parameters of its own; hs is
      (T, B, 2H), both directions side by side, and states are (2L, B, H): forward and reverse of
      the first layer, then of the second.
    - `batch_first`: x and hs are (B, T, ..); states are as before.
    - `dropout`: of what goes from layer to layer. `recurrent_dropout`: of h before its product with
      weight_hh, by one mask for all steps (Gal & Ghahramani, 2016). Both in training only.
    - `nonlinearity`, `bias`, `layer_norm`: as in `RNNCell`.

    ValueError for an input, a state or lengths of another shape, for an empty sequence, and for
    lengths that are less than 1 or more than T.
    """

    _kind = RNNCell

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        nonlinearity: str = "tanh",
        layer_norm: bool = False,
        recurrent_dropout: float = 0.0,
        learn_state: bool = False,
        rng: init.Seed = None,
        dtype: DType = None,
    ) -> None:
        self._build(
            input_size, hidden_size, num_layers, batch_first, dropout, bidirectional,
            recurrent_dropout, learn_state, rng, dtype,
            bias=bias, layer_norm=layer_norm, nonlinearity=nonlinearity,
        )  # fmt: skip


class GRU(_Layers[ArrayLike, Tensor]):
    """Layers of `GRUCell` over a sequence, as `RNN`."""

    _kind = GRUCell


class LSTM(_Layers[tuple[ArrayLike, ArrayLike], tuple[Tensor, Tensor]]):
    """Layers of `LSTMCell` over a sequence: x, (h0, c0) -> hs, (h, c), shaped as in `RNN`.

    With `proj_size` P, hs and h have P features in the place of H. For `forget_bias`, `proj_size`,
    `peephole` and `layer_norm` see `LSTMCell`, for the others `RNN`.

    >>> hs, (h, c) = LSTM(1, 8)(np.zeros((5, 2, 1), np.float32))
    >>> hs.shape, h.shape, c.shape
    ((5, 2, 8), (1, 2, 8), (1, 2, 8))
    >>> hs, (h, c) = LSTM(1, 8, bidirectional=True)(np.ones((5, 2, 1), np.float32), lengths=[3, 5])
    >>> hs.shape, h.shape, hs[3:, 0].sum().item()
    ((5, 2, 16), (2, 2, 8), 0.0)
    """

    _kind = LSTMCell

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        forget_bias: float | None = None,
        peephole: bool = False,
        layer_norm: bool = False,
        recurrent_dropout: float = 0.0,
        learn_state: bool = False,
        rng: init.Seed = None,
        dtype: DType = None,
    ) -> None:
        self._build(
            input_size, hidden_size, num_layers, batch_first, dropout, bidirectional,
            recurrent_dropout, learn_state, rng, dtype, bias=bias, layer_norm=layer_norm,
            forget_bias=forget_bias, proj_size=proj_size, peephole=peephole,
        )  # fmt: skip


class Recurrent(Module):
    """A cell of your own over a sequence: x (T, B, ..), state -> hs (T, B, ..), last state.

    The cell is a module or a function, (x, state) -> state, where the state is a tensor or a
    container of tensors, the first of which is the output. It runs in the loop of `LSTM`: with
    `lengths`, whose last state is that of the last valid step, and in `reverse` from the last step
    to the first. With lengths x and all parts of the state have the batch as their first axis, and
    step by step fewer of them come.

    A cell may have more: `initial(batch)`, the state to begin with where none is given; and
    `over(xs)`, which takes the xs of all steps, in rows, and returns what has a row for each, and
    the function to call with one and the state in the place of the cell. `LSTMCell` has both.

    >>> def leaky(x, h):
    ...     return 0.9 * h + 0.1 * x
    >>> hs, h = Recurrent(leaky)(np.ones((3, 2, 1)), np.zeros((2, 1)), lengths=[3, 1])
    >>> hs.data[:, :, 0].round(3).tolist(), h.data[:, 0].round(3).tolist()
    ([[0.1, 0.1], [0.19, 0.0], [0.271, 0.0]], [0.271, 0.1])
    """

    def __init__(
        self, cell: Callable[..., Any], *, reverse: bool = False, batch_first: bool = False
    ) -> None:
        if isinstance(cell, type) or not callable(cell):
            raise TypeError(
                f"Recurrent: the cell must be a module or a function of (x, state), not "
                f"{shown(cell)}"
            )
        self.cell = cell
        self.reverse = flag(self, "reverse", reverse)
        self.batch_first = flag(self, "batch_first", batch_first)

    def forward(
        self, x: ArrayLike, state: Tree = None, *, lengths: ArrayLike | None = None
    ) -> tuple[Tensor, Tree]:
        xs: Any = as_tensor(x)
        if xs.ndim < 2 or 0 in xs.shape[:2]:
            axes = "batch, time" if self.batch_first else "time, batch"
            raise ValueError(
                f"{called(self)}: the input must be ({axes}, ...), of at least one step, got shape "
                f"{xs.shape}"
            )
        xs = swapaxes(xs, 0, 1) if self.batch_first else xs
        time, batch = xs.shape[:2]
        if state is None:
            if not hasattr(self.cell, "initial"):
                raise ValueError(
                    f"{called(self)}: give the state to begin with, or the cell a method "
                    "initial(batch) that returns it"
                )
            state = self.cell.initial(batch)
        valid = valid_steps(self, lengths, time, [batch])
        xs = xs if valid is None else rows_of(xs, valid)
        over = getattr(self.cell, "over", lambda xs: (xs, self.cell))
        xs, step = over(xs)

        def checked(x: Any, state: Any) -> Any:
            new = step(x, state)
            if (now := _described(new)) != (was := _described(state)):
                raise ValueError(
                    f"{called(self)}: the cell must return a state like the one it got, {was}, not "
                    f"{now}"
                )
            return new

        y, last = through_time(checked, xs, state, valid, self.reverse)
        y = y if valid is None else padded(y, valid)
        return (swapaxes(y, 0, 1) if self.batch_first else y), last


def _described(state: Tree) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the parts of a state, by name."""
    leaves, structure = tree.flatten(state)
    return dict(zip(tree.names(structure), map(np.shape, leaves), strict=True))
