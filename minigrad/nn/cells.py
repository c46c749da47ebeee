"""Recurrent cells: one step in time, composed from primitives; no backward pass is written here.

Parameters have PyTorch's names, shapes and gate order, so weights move both ways. A cell takes the
product of the inputs with their weights for all steps at once, in `over`; what is left of a step
comes after the product of h with its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np

from ..core.dtypes import DType
from ..core.tensor import ArrayLike, Tensor, label, tensor
from ..guard.errors import shown
from ..ops.elementwise import relu, sigmoid, tanh
from ..ops.shape import concatenate, split
from . import init
from .arguments import flag, number, whole
from .inputs import called, check_features, taken
from .module import Module
from .norms import normalised

__all__ = ["Cell", "GRUCell", "LSTMCell", "RNNCell", "begun"]

Step: TypeAlias = Callable[..., Any]
"""From what the input adds at one step, and the state, to the next state."""

StateIn = TypeVar("StateIn")  # h, or (h, c), as it is given, and as it is returned
StateOut = TypeVar("StateOut")

EPS = 1e-5


class Cell(Module, Generic[StateIn, StateOut]):
    """What the cells share: the parameters, the two products, and the checks of what comes in."""

    _blocks: tuple[int, ...]
    """The gates, by number, in groups that are normalised together."""

    _recurrent_bias = False  # whether b_hh must be added step by step, and not with b_ih beforehand

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor | None
    bias_hh: Tensor | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        layer_norm: bool = False,
        rng: init.Seed = None,
        dtype: DType = None,
    ) -> None:
        self._build(self, input_size, hidden_size, rng, dtype, bias=bias, layer_norm=layer_norm)

    def _build(
        self,
        who: object,
        input_size: int,
        hidden_size: int,
        rng: init.Seed,
        dtype: DType,
        *,
        bias: bool,
        layer_norm: bool,
    ) -> None:
        """Check the options, which `who` was given, and make the parameters."""
        self.input_size = whole(who, "input_size", input_size)
        self.hidden_size = n = whole(who, "hidden_size", hidden_size)
        self.layer_norm, self.bias = flag(who, "layer_norm", layer_norm), flag(who, "bias", bias)
        rng, bound, rows = init.generator(rng), 1 / math.sqrt(n), sum(self._blocks) * n
        shapes = {"weight_ih": (rows, self.input_size), "weight_hh": (rows, self.sizes["h"])}
        biases = {"bias_ih": (rows,), "bias_hh": (rows,)}
        for name, shape in (shapes | (biases if bias else {})).items():
            setattr(self, name, init.uniform(rng, bound, shape, dtype))
        if not bias:
            self.bias_ih = self.bias_hh = None
        if layer_norm:
            self.gain_ih, self.gain_hh = [init.full(1, (rows,), dtype) for _ in range(2)]

    @property
    def sizes(self) -> dict[str, int]:
        """The length of each part of the state, by its letter."""
        return {"h": self.hidden_size}

    def forward(self, x: ArrayLike, state: StateIn | None = None) -> StateOut:
        x, first = begun(self, self.sizes, np.shape(x)[:-1], x, state, self.weight_ih)
        a, step = self._over(x)
        now: StateOut = step(a, first)
        return now

    def initial(self, batch: int) -> StateOut:
        """Return the state to begin with, zeros."""
        shapes = {f"{letter}0": (batch, n) for letter, n in self.sizes.items()}
        zeros: StateOut = _zeros(shapes, self.weight_ih.dtype)
        return zeros

    def over(self, xs: ArrayLike) -> tuple[Tensor, Step]:
        """Return what the inputs add to the gates at all steps, and the function of a step.

        That is (row, state) -> state. `Recurrent` asks for these two, of a cell that has them.
        """
        check_features(self, xs, self.weight_ih)
        return self._over(taken(self, xs, self.weight_ih))

    def _over(self, xs: Any) -> tuple[Tensor, Step]:
        """Return as `over` does; the step also takes a mask of recurrent dropout, to multiply h."""
        raise NotImplementedError

    def _products(self, x: Any) -> tuple[Tensor, Step]:
        """Return the product of x, for all steps at once, and the function to multiply h."""
        u, b_ih, b_hh = self.weight_hh.T, self.bias_ih, self.bias_hh
        a = x @ self.weight_ih.T
        if self.layer_norm:
            a = self._normalised(a) * self.gain_ih
        if b_ih is not None and b_hh is not None:
            a = a + b_ih if self._recurrent_bias else a + (b_ih + b_hh)

        def recur(h: Any, keep: Any) -> Any:
            product = (h if keep is None else h * keep) @ u
            if self.layer_norm:
                product = self._normalised(product) * self.gain_hh
            return product + b_hh if self._recurrent_bias and b_hh is not None else product

        return a, recur

    def _normalised(self, a: Any) -> Any:
        cuts = [k * self.hidden_size for k in np.cumsum(self._blocks[:-1])]
        parts = [normalised(part, -1, EPS) for part in (split(a, cuts, axis=-1) if cuts else [a])]
        return concatenate(parts, axis=-1) if cuts else parts[0]


class RNNCell(Cell[ArrayLike, Tensor]):
    """One step of the network of Elman (1990): (x, h) -> h.

        h = tanh(x W_ih^T + b_ih + h W_hh^T + b_hh)

    or relu, as `nonlinearity` says. x is (B, I) or (I,), h (B, H) or (H,); weight_ih (H, I),
    weight_hh (H, H), biases (H,). ValueError for an input or a state of another shape.

    With `layer_norm` (Ba et al., 2016) both products are normalised, times gain_ih and gain_hh.
    """

    _blocks = (1,)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        nonlinearity: str = "tanh",
        layer_norm: bool = False,
        rng: init.Seed = None,
        dtype: DType = None,
    ) -> None:
        self._build(
            self, input_size, hidden_size, rng, dtype,
            bias=bias, layer_norm=layer_norm, nonlinearity=nonlinearity,
        )  # fmt: skip

    def _build(self, who: object, *args: Any, nonlinearity: str = "tanh", **options: Any) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(
                f"{type(who).__name__}: nonlinearity must be 'tanh' or 'relu', not "
                f"{shown(nonlinearity)}"
            )
        self.nonlinearity = nonlinearity
        super()._build(who, *args, **options)

    def _over(self, xs: Any) -> tuple[Tensor, Step]:
        a, recur = self._products(xs)
        activation = tanh if self.nonlinearity == "tanh" else relu

        def step(a: Tensor, h: Any, keep: Any = None) -> Tensor:
            h = activation(a + recur(h, keep))
            label(h=h)
            return h  # type: ignore[no-any-return]

        return a, step


class GRUCell(Cell[ArrayLike, Tensor]):
    """One step of the gated recurrent unit of Cho et al. (2014): (x, h) -> h.

        r = sigmoid(x W_ir^T + b_ir + h W_hr^T + b_hr)
        z = sigmoid(x W_iz^T + b_iz + h W_hz^T + b_hz)
        n = tanh(x W_in^T + b_in + r * (h W_hn^T + b_hn))
        h = (1 - z) * n + z * h

    The rows of the weights are the gates r, z, n, as in PyTorch: weight_ih (3H, I).

    With `layer_norm` (Ba et al., 2016) both products are normalised, over r and z together and
    over n, times gain_ih and gain_hh.
    """

    _blocks, _recurrent_bias = (2, 1), True

    def _over(self, xs: Any) -> tuple[Tensor, Step]:
        a, recur = self._products(xs)

        def step(a: Tensor, h: Any, keep: Any = None) -> Tensor:
            x_r, x_z, x_n = split(a, 3, axis=-1)
            h_r, h_z, h_n = split(recur(h, keep), 3, axis=-1)
            r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
            n = tanh(x_n + r * h_n)
            h = (1 - z) * n + z * h
            label(r=r, z=z, n=n, h=h)
            return h  # type: ignore[no-any-return]

        return a, step


class LSTMCell(Cell[tuple[ArrayLike, ArrayLike], tuple[Tensor, Tensor]]):
    """One step of the LSTM of Hochreiter & Schmidhuber (1997), forget gate by Gers et al. (2000).

        i = sigmoid(x W_ii^T + b_ii + h W_hi^T + b_hi)
        f = sigmoid(x W_if^T + b_if + h W_hf^T + b_hf)
        g = tanh(x W_ig^T + b_ig + h W_hg^T + b_hg)
        o = sigmoid(x W_io^T + b_io + h W_ho^T + b_ho)
        c = f * c + i * g
        h = o * tanh(c)

    (x, (h, c)) -> (h, c). The rows of the weights are the gates i, f, g, o: weight_ih (4H, I).

    - `forget_bias`: what b_if + b_hf begin with. At 1 the cell begins by remembering (Jozefowicz
      et al., 2015); without, it begins with small random numbers, as in PyTorch.
    - `proj_size` P: h = (o * tanh(c)) W_hr^T is (B, P); weight_hr (P, H) (Sak et al., 2014).
    - `peephole`: the gates see the cell, i and f the old one, o the new one: w_ci * c, w_cf * c and
      w_co * c are added inside the sigmoids; weight_ch (3H,) is i, f, o (Gers et al., 2002).
    - `layer_norm`: both products are normalised, over all gates, times gain_ih and gain_hh, and
      h = o * tanh(normalised(c) * gain_c + bias_c) (Ba et al., 2016).
    """

    _blocks = (4,)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        forget_bias: float | None = None,
        proj_size: int = 0,
        peephole: bool = False,
        layer_norm: bool = False,
        rng: init.Seed = None,
        dtype: DType = None,
    ) -> None:
        self._build(
            self, input_size, hidden_size, rng, dtype, bias=bias, layer_norm=layer_norm,
            forget_bias=forget_bias, proj_size=proj_size, peephole=peephole,
        )  # fmt: skip

    def _build(
        self,
        who: object,
        input_size: int,
        hidden_size: int,
        rng: init.Seed,
        dtype: DType,
        *,
        bias: bool,
        layer_norm: bool,
        forget_bias: float | None = None,
        proj_size: int = 0,
        peephole: bool = False,
    ) -> None:
        n, rng = whole(who, "hidden_size", hidden_size), init.generator(rng)
        self.proj_size = whole(who, "proj_size", proj_size, 0)
        if self.proj_size >= n:
            raise ValueError(
                f"{type(who).__name__}: proj_size must be less than hidden_size, {n}, not "
                f"{proj_size}; 0 is no projection"
            )
        self.forget_bias, self.peephole = forget_bias, flag(who, "peephole", peephole)
        super()._build(who, input_size, n, rng, dtype, bias=bias, layer_norm=layer_norm)
        if forget_bias is not None:
            value = number(who, "forget_bias", forget_bias, "[-100, 100]")
            if self.bias_ih is None or self.bias_hh is None:
                raise ValueError(f"{type(who).__name__}: forget_bias needs bias=True")
            self.bias_ih.data[n : 2 * n], self.bias_hh.data[n : 2 * n] = value, 0
        if self.proj_size:
            self.weight_hr = init.uniform(rng, 1 / math.sqrt(n), (self.proj_size, n), dtype)
        if self.peephole:
            self.weight_ch = init.uniform(rng, 1 / math.sqrt(n), (3 * n,), dtype)
        if self.layer_norm:
            self.gain_c = init.full(1, (n,), dtype)
            self.bias_c = init.full(0, (n,), dtype) if bias else None

    @property
    def sizes(self) -> dict[str, int]:
        """The length of each part of the state, by its letter."""
        return {"h": self.proj_size or self.hidden_size, "c": self.hidden_size}

    def _over(self, xs: Any) -> tuple[Tensor, Step]:
        a, recur = self._products(xs)
        peeps = split(self.weight_ch, 3) if self.peephole else None
        project = self.weight_hr.T if self.proj_size else None

        def step(a: Tensor, state: Any, keep: Any = None) -> tuple[Tensor, Tensor]:
            h, c = state
            i, f, g, o = split(a + recur(h, keep), 4, axis=-1)
            if peeps:
                i, f = i + peeps[0] * c, f + peeps[1] * c
            i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), o if peeps else sigmoid(o)
            c = f * c + i * g
            o = sigmoid(o + peeps[2] * c) if peeps else o
            h = o * tanh(self._seen(c))
            h = h if project is None else h @ project
            label(i=i, f=f, g=g, o=o, c=c, h=h)
            return h, c

        return a, step

    def _seen(self, c: Any) -> Any:
        """Return the cell as h sees it: as it is, or normalised."""
        if not self.layer_norm:
            return c
        c = normalised(c, -1, EPS) * self.gain_c
        return c if self.bias_c is None else c + self.bias_c


def begun(
    module: Module,
    sizes: Mapping[str, int],
    batch: tuple[int, ...],
    x: Any,
    state: Any,
    weight: Tensor,
) -> tuple[Any, Any]:
    """Return x and the state to begin with, zeros if None, with their shapes and dtypes checked."""
    check_features(module, x, weight)
    shapes = {f"{letter}0": (*batch, n) for letter, n in sizes.items()}
    if state is None:
        x = taken(module, x, weight)
        return x, _zeros(shapes, np.result_type(x.dtype, weight.dtype))
    several = isinstance(state, tuple) or (isinstance(state, list) and len(shapes) > 1)
    parts = list(state) if several else [state]
    if several != (len(shapes) > 1) or len(parts) != len(shapes):
        wanted = f"({', '.join(sizes)})" if len(sizes) > 1 else f"{', '.join(sizes)} alone"
        got = f"{len(parts)} parts" if several else shown(state)
        raise ValueError(f"{called(module)}: the state is {wanted}, got {got}")
    for (name, shape), part in zip(shapes.items(), parts, strict=True):
        if np.shape(part) != shape:
            raise ValueError(
                f"{called(module)}: {name} must have shape {shape}, got {np.shape(part)}"
            )
    given = zip(["the input", *shapes], [x, *parts], strict=True)
    x, *parts = [taken(module, part, weight, name) for name, part in given]
    return x, _state(parts)


def _zeros(shapes: Mapping[str, tuple[int, ...]], dtype: DType) -> Any:
    return _state([tensor(np.zeros(shape, dtype)) for shape in shapes.values()])


def _state(parts: list[Any]) -> Any:
    return tuple(parts) if len(parts) > 1 else parts[0]
