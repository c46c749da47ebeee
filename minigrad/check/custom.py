"""A backward pass written by hand, used in training, and held against the automatic one.

>>> from minigrad.ops.elementwise import tanh
>>> def layer(x, w):
...     return tanh(x @ w)
>>> def backward(g, z, x, w):
...     ds = g * (1 - z * z)
...     return ds @ w.T, x.T @ ds
>>> by_hand = custom_vjp(layer, backward)
>>> by_hand.check(np.ones((2, 3)), np.full((3, 2), 0.1)).ok
True
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..core import tape, tree
from ..core.context import recording, unobserved
from ..core.primitive import Joint
from ..core.tape import Outputs
from ..core.tensor import Tensor, apply, constant_of, value_of
from ..transforms.arguments import Function
from ..transforms.autodiff import jvp, vjp
from .compare import Report, compare
from .inputs import Inputs
from .passes import Passes
from .rows import rank

__all__ = ["custom_vjp"]


class custom_vjp:
    """The function `f` with a backward pass written by hand, which `backward()` and `grad` use.

    `backward(g, z, *xs)` gets the cotangent of the output, the output, and the arguments, as
    arrays (g is a copy, and may be changed); it returns a cotangent for each argument (a tuple,
    unless there is one argument), None for those that are not differentiable. Arguments and output
    may be nested containers; what f depends on must be among its arguments. With
    `forward(*xs) -> (z, cache)`, written by hand as well, it is `backward(g, cache)`. Arguments,
    output and the arrays of the cache are read-only: another backward pass needs them again.

    `f` itself is composed from operations: `check` compares with its automatic gradient, and
    forward mode follows it. Where a result must be differentiable again, backward (and forward) run
    on Tensors: written in differentiable NumPy, without arrays that are filled element by element,
    they give any order, which `check_grads(g, args)` confirms. TypeError where they give arrays.
    """

    def __init__(self, f: Function, backward: Function, *, forward: Function | None = None) -> None:
        self.f, self.backward, self._forward = f, backward, forward
        functools.update_wrapper(self, f, updated=())

    def __call__(self, *args: Any) -> Any:
        """Compute `f`, recorded as one operation."""
        return _Call(self, args).result()

    def check(self, *args: Any, rtol: float | None = None, seed: int = 0) -> Report:
        """Compare the gradients of a random functional of the output, by hand and automatic.

        Every floating argument is an entry, by the name of the parameter; with `forward`, so is the
        output. `rtol` is as in `compare`. As in `compare_backward`, central differences of `f` are
        the witness, and the report explains mistakes.
        """
        leaves, structure = tree.flatten(args)
        names = [_named(self.f, name) for name in tree.names(structure)]
        arrays = {name: np.asarray(value_of(x)) for name, x in zip(names, leaves, strict=True)}
        real = {name: x for name, x in arrays.items() if x.dtype.kind == "f"}

        def outputs(function: Function, given: Mapping[str, Any]) -> dict[str, Any]:
            full = [given.get(name, x) for name, x in zip(names, leaves, strict=True)]
            parts, its = tree.flatten(function(*tree.unflatten(structure, full)))
            return {f"output{name}": y for name, y in zip(tree.names(its), parts, strict=True)}

        copies = {name: x.copy() for name, x in real.items()}
        ys = {name: np.asarray(value_of(y)) for name, y in outputs(self.f, copies).items()}
        rng = np.random.default_rng(seed)
        us = {name: rng.standard_normal(y.shape).astype(y.dtype) for name, y in ys.items()}

        def forward(given: dict[str, Any]) -> Any:
            return sum(np.sum(us[name] * y) for name, y in outputs(self.f, given).items())

        def backward(given: dict[str, Any]) -> dict[str, Any]:
            def of_reals(*xs: Any) -> dict[str, Any]:
                return outputs(self, dict(zip(real, xs, strict=True)))

            return dict(zip(real, vjp(of_reals, *given.values())[1](us), strict=True))

        who = f"{_title(self.f)}.check"
        report = Passes(who, forward, backward, Inputs(who, real, forward)).report(rtol)
        if self._forward is None:
            return report
        by_hand = {name: np.asarray(value_of(y)) for name, y in outputs(self, {}).items()}
        rows = [*report.rows, *compare(by_hand, ys, rtol=rtol).rows]
        return replace(report, rows=tuple(sorted(rows, key=rank)))

    def __repr__(self) -> str:
        return f"<custom_vjp {_title(self.f)}>"


class _Call:
    """One call: the arguments taken apart, and the rules that put them together again."""

    def __init__(self, owner: custom_vjp, args: tuple[Any, ...]) -> None:
        self.owner, self.title = owner, _title(owner.f)
        self.leaves, self.structure = tree.flatten(args)
        self.places = [k for k, x in enumerate(self.leaves) if isinstance(x, Tensor)]
        self.inputs = [self.leaves[k] for k in self.places]
        self.leaves = [value_of(x) for x in self.leaves]
        self.out_structure = tree.LEAF
        self.cache: Any = None

    def result(self) -> Any:
        made: Any = apply(Joint(self.title, self.forward, self.pull, self.push), self.inputs)
        return tree.unflatten(self.out_structure, made if isinstance(made, tuple) else [made])

    def arguments(self, xs: Sequence[Any]) -> Any:
        full = list(self.leaves)
        for k, x in zip(self.places, xs, strict=True):
            full[k] = x
        return tree.unflatten(self.structure, full)

    def forward(self, *xs: Any) -> Any:
        start = tape.next_index()
        with recording(), unobserved():
            if self.owner._forward:
                out, self.cache = self.owner._forward(*self.arguments(xs))
            else:
                out = self.owner.f(*self.arguments(xs))
        outputs, self.out_structure = tree.flatten(out)
        _, captured = tape.since(start, [y for y in outputs if isinstance(y, Tensor)])
        if captured:
            raise ValueError(
                f"it depends on {getattr(captured[0], 'name', None) or 'a live tensor'!r}, which "
                "is not among its arguments; pass it, so that backward can give its gradient"
            )
        values = [np.asarray(value_of(y)) for y in outputs]
        return tuple(values) if len(values) > 1 else values[0]

    def pull(self, g: Any, z: Any, *xs: Any) -> list[Any]:
        gs, zs = (v if isinstance(v, tuple) else (v,) for v in (g, z))
        on_tensors = any(isinstance(v, Tensor) for v in (*gs, *xs))
        if on_tensors and not any(isinstance(v, Tensor) and v.live for v in (*gs, *xs)):
            traced = constant_of(self._backward_of(len(gs), len(zs)), (*gs, *zs, *xs))
            if traced is not None:
                return list(traced)
        if not on_tensors:
            gs, zs = tuple([v.copy() for v in gs]), tuple(map(_read_only, zs))
            xs = tuple(map(_read_only, xs))
        g, z = (tree.unflatten(self.out_structure, v) for v in (gs, zs))
        args = self.arguments(xs)
        try:
            if self.owner._forward is None:
                given = self.owner.backward(g, z, *args)
            else:
                cache = self.owner._forward(*args)[1] if on_tensors else self.cache
                given = self.owner.backward(g, tree.map(_read_only, cache))
        except Exception as error:
            if on_tensors:
                error.add_note(
                    f"{self.title}: its backward ran on Tensors, for the result may be "
                    "differentiated again; inside mg.no_grad() it runs on arrays"
                )
            raise
        return self._cotangents(given if len(args) > 1 else (given,), args, on_tensors)

    def _backward_of(self, n: int, m: int) -> Any:
        """Return the backward pass as a function of n cotangents, m outputs, and the inputs."""

        def backward(*arrays: Any) -> tuple[Any, ...]:
            g, z, xs = arrays[:n], arrays[n : n + m], arrays[n + m :]
            again = _Call(self.owner, self.arguments(xs))
            again.places, again.inputs = self.places, list(xs)
            again.forward(*xs)
            one = n == 1 and m == 1
            return tuple(again.pull(g[0] if one else g, z[0] if one else z, *xs))

        backward.__name__ = f"{self.title}.backward"
        return backward

    def _cotangents(self, given: Any, args: Any, on_tensors: bool) -> list[Any]:
        """Match what backward gave with the arguments, and pick it for the inputs of the node."""
        if not isinstance(given, (tuple, list)) or len(given) != len(args):
            raise ValueError(
                f"{self.title}: backward must return {len(args)} cotangents, one for each argument"
            )
        found: list[Any] = []
        for k, (gx, x) in enumerate(zip(given, args, strict=True)):
            leaves, structure = tree.flatten(x)
            parts, its = tree.flatten(gx)
            if gx is None:
                parts = [np.zeros_like(value_of(leaf)) for leaf in leaves]
            elif its != structure:
                raise ValueError(
                    f"{self.title}: the cotangent of argument {k} must be nested like the argument"
                )
            found += parts
        chosen = [found[k] for k in self.places]
        for k, gx, t in zip(self.places, chosen, self.inputs, strict=True):
            if np.shape(gx) != t.shape:
                raise ValueError(
                    f"{self.title}: backward gave shape {np.shape(gx)} for input {k}, which has "
                    f"shape {t.shape}"
                )
            if on_tensors and gx.dtype.kind == "f" and not isinstance(gx, Tensor) and gx.any():
                raise TypeError(
                    f"{self.title}: backward got Tensors and gave an array, so this cannot be "
                    "differentiated again; write it in differentiable NumPy, or differentiate once "
                    "only, inside mg.no_grad()"
                )
        return chosen

    def push(self, dxs: Sequence[Any], z: Any, *xs: Any) -> Any:
        """Follow the automatic derivative of f."""
        moved = [k for k, dx in enumerate(dxs) if dx is not None]

        def of_moved(*some: Any) -> Any:
            full = list(xs)
            for k, x in zip(moved, some, strict=True):
                full[k] = x
            return self.owner.f(*self.arguments(full))

        dz = jvp(of_moved, [xs[k] for k in moved], [dxs[k] for k in moved])[1]
        parts = [
            d if isinstance(d, Tensor) and d.live else np.asarray(value_of(d))
            for d in tree.flatten(dz)[0]
        ]
        return Outputs(parts) if isinstance(z, tuple) else parts[0]


def _read_only(x: Any) -> Any:
    """Return an array in which nothing can be changed, for it is needed again; else x itself."""
    if not isinstance(x, np.ndarray):
        return x
    view = x.view()
    view.flags.writeable = False
    return view


def _title(f: Any) -> str:
    return getattr(f, "__name__", type(f).__name__)


def _named(f: Function, name: str) -> str:
    """Return the name of an argument by its parameter: `weights.w` for `[1].w`."""
    place, _, rest = name[1:].partition("]")
    try:
        parameters = [*inspect.signature(f).parameters.values()]
        return parameters[int(place)].name + rest
    except (ValueError, IndexError):
        return f"args{name}"
