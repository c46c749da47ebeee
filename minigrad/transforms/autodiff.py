"""Transforms: functions of functions, each a few lines on `pull` and `push`.

They act on functions of nested containers (dicts, lists, tuples) of arrays, give Tensors back, and
nest freely, with each other and with `.backward()`. There is no stack of transforms: a function is
run once on fresh leaves, and the tape between these leaves and the result is walked. If the walk
meets a live tensor that is not one of the leaves (an outer transform's argument, a captured
module's parameter), the derivative depends on it, and is computed on tensors so that it can be
differentiated again.

A module as an argument stands for its parameters: the function gets a twin that holds the leaves,
and the gradient is a dict by parameter name. What the function assigns to attributes of the twin is
lost with it. The module's own parameters are constants to the result: to differentiate that by them
again, pass the module to the outer transform as well.

>>> grad(lambda x: x**3)(2.0)
tensor(12.)
>>> grad(grad(lambda x: x**3))(2.0)
tensor(12.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from ..core import tape, tree
from ..core.context import current, recording
from ..core.dtypes import plain
from ..core.tensor import OPS, Tensor, apply, cotangent_for, op, tensor, value_of

__all__ = [
    "elementwise_grad",
    "flatten",
    "grad",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "linearize",
    "value_and_grad",
    "vjp",
]

Function = Callable[..., Any]
Argnums = int | tuple[int, ...]


class _Run:
    """One run of a function on fresh leaves: what came in, what came out, the tape between."""

    def __init__(self, f: Function, primals: Sequence[Any], caller: str, aux: bool = False) -> None:
        leaves, self.structure, build = _opened(tuple(primals))
        with recording():
            self.inputs = [fresh(x, caller) for x in leaves]
            out = f(*build(self.inputs))
        self.aux: Any = None
        if aux:
            try:
                out, self.aux = out
            except (TypeError, ValueError):
                raise TypeError(
                    f"{caller}: with has_aux, f must return a pair (value, aux)"
                ) from None
        outputs, self.out_structure = tree.flatten(out)
        self.outputs = [y if isinstance(y, Tensor) else tensor(y) for y in outputs]
        self.path, self.outside = tape.between(self.inputs, self.outputs)
        for x in self.inputs:  # the run is over: to any other walk these leaves are constants
            x.live = x.primitive is not None

    def _on_tensors(self, seeds: Sequence[Any]) -> bool:
        live = self.outside or any(isinstance(s, Tensor) and s.live for s in seeds)
        return live and current().recording

    def pull(self, cotangents: Sequence[Any]) -> list[Tensor]:
        """Map cotangents of the outputs to those of the inputs; zero where nothing arrives."""
        again = self._on_tensors(cotangents)
        seeds = [_seed(g, again) for g in cotangents]
        found = tape.pull(self.path, self.outputs, seeds, self.inputs, again)
        return [_result(found.get(x), x) for x in self.inputs]

    def push(self, tangents: Sequence[Any]) -> list[Tensor]:
        """Map tangents of the inputs to those of the outputs; zero where nothing arrives."""
        again = self._on_tensors(tangents)
        seeds = [_seed(v, again) for v in tangents]
        found = tape.push(self.path, self.inputs, seeds, again)
        return [_result(found.get(y), y) for y in self.outputs]

    def result(self) -> Any:
        """The output in its container, still recorded if an outer derivative may want it."""
        return tree.unflatten(self.out_structure, map(self.closed, self.outputs))

    def closed(self, y: Any) -> Any:
        return y.detach() if isinstance(y, Tensor) and not self.outside else y

    def scalar(self, caller: str) -> Tensor:
        """The one output, which must be one number."""
        if len(self.outputs) != 1 or self.outputs[0].size != 1:
            shapes = [y.shape for y in self.outputs]
            raise ValueError(
                f"{caller}: f must return one number, not output of shape {shapes}; "
                "reduce it, as in y.sum(), or use vjp or jacobian"
            )
        return self.outputs[0]


def vjp(f: Function, *primals: Any) -> tuple[Any, Function]:
    """Run `f`, and return its output and the pullback: cotangent of the output -> of `primals`.

    The cotangent has the structure and the shapes of the output. The pullback returns a tuple, and
    can be called again.

    >>> y, pullback = vjp(lambda a, b: a * b, 2.0, 3.0)
    >>> y, pullback(1.0)
    (tensor(6.), (tensor(3.), tensor(2.)))
    """
    run = _Run(f, primals, "vjp")

    def pullback(cotangent: Any) -> Any:
        seeds = _matching(cotangent, run.out_structure, run.outputs, "vjp: the cotangent")
        return tree.unflatten(run.structure, run.pull(seeds))

    return run.result(), pullback


def linearize(f: Function, *primals: Any) -> tuple[Any, Function]:
    """Run `f`, and return its output and the pushforward: tangents of `primals` -> of the output.

    `f` is run once, however often the pushforward is called.

    >>> y, pushforward = linearize(lambda a, b: a * b, 2.0, 3.0)
    >>> y, pushforward(1.0, 0.0), pushforward(0.0, 1.0)
    (tensor(6.), tensor(3.), tensor(2.))
    """
    run = _Run(f, primals, "linearize")

    def pushforward(*tangents: Any) -> Any:
        seeds = _matching(tangents, run.structure, run.inputs, "the tangents")
        return tree.unflatten(run.out_structure, run.push(seeds))

    return run.result(), pushforward


def jvp(f: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """Run `f`, and return its output and the directional derivative along `tangents`.

    >>> jvp(lambda x: x * x, (3.0,), (1.0,))
    (tensor(9.), tensor(6.))
    """
    for given in (primals, tangents):
        if not isinstance(given, (tuple, list)):
            raise TypeError(
                "primals and tangents are tuples with an entry for each argument, as in "
                f"jvp(f, (x,), (v,)), not {type(given).__name__}"
            )
    out, pushforward = linearize(f, *primals)
    return out, pushforward(*tangents)


def value_and_grad(f: Function, argnums: Argnums = 0, has_aux: bool = False) -> Function:
    """Return a function that gives the value of `f` and its gradient by the arguments `argnums`.

    `f` returns one number. With `has_aux` it returns a pair of that and anything else, and the
    result is `((value, anything else), gradient)`. An argument that is not used has gradient zero.
    """

    def value_and_gradient(*args: Any, **kwargs: Any) -> Any:
        run = _Run(*_of(f, argnums, args, kwargs), "grad", has_aux)
        y = run.scalar("grad")
        gradient = _picked(
            tree.unflatten(run.structure, run.pull([np.ones_like(y.value)])), argnums
        )
        value = run.closed(y)
        return ((value, tree.map(run.closed, run.aux)) if has_aux else value), gradient

    return value_and_gradient


def grad(f: Function, argnums: Argnums = 0, has_aux: bool = False) -> Function:
    """Return a function that gives the gradient of `f`: see `value_and_grad`.

    >>> grad(lambda p: p["a"] * p["b"])({"a": 2.0, "b": 5.0})
    {'a': tensor(5.), 'b': tensor(2.)}
    """
    both = value_and_grad(f, argnums, has_aux)

    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, g = both(*args, **kwargs)
        return (g, value[1]) if has_aux else g

    return gradient


def elementwise_grad(f: Function, argnum: int = 0) -> Function:
    """Return a function that gives the derivative of each element of `f` by its own argument.

    The elements of the output may each depend on one element of the argument only, as in
    `np.sin(x) * x`: then the derivative has the argument's shape. ValueError if the output has not.

    >>> elementwise_grad(elementwise_grad(np.sin))(np.array([0.0, np.pi / 2])).tolist()
    [-0.0, -1.0]
    """

    def derivative(*args: Any, **kwargs: Any) -> Any:
        run = _Run(*_of(f, argnum, args, kwargs), "elementwise_grad")
        ins, outs = [x.shape for x in run.inputs], [y.shape for y in run.outputs]
        if ins != outs:
            raise ValueError(
                f"elementwise_grad: f turns shapes {ins} into {outs}, so it is not elementwise; "
                "use grad or jacobian"
            )
        ones = run.pull([np.ones_like(y.value) for y in run.outputs])
        return tree.unflatten(run.structure, ones)[0]

    return derivative


def jacobian(f: Function, argnums: Argnums = 0) -> Function:
    """Return a function that gives the Jacobian: for each output and input, d out / d in.

    Its shape is `out.shape + in.shape`; containers nest, the output's outside. One tape serves both
    directions: it is walked once for each element of the smaller side.
    """

    def jacobian_of(*args: Any, **kwargs: Any) -> Any:
        run = _Run(*_of(f, argnums, args, kwargs), "jacobian")
        ins, outs = run.inputs, run.outputs
        forward = sum(x.size for x in ins) <= sum(y.size for y in outs)
        walk, seeded, found = (run.push, ins, outs) if forward else (run.pull, outs, ins)
        table: list[list[list[Tensor]]] = []  # for each seeded tensor and each of its elements
        for k, t in enumerate(seeded):
            seeds = [np.zeros_like(s.value) for s in seeded]
            rows = []
            for place in np.ndindex(t.shape):
                seeds[k] = np.zeros_like(t.value)
                seeds[k][place] = 1
                rows.append(walk(seeds))
            table.append(rows)

        def block(i: int, j: int) -> Tensor:
            """Stack the derivatives between seeded[i] and found[j], the output's axes first."""
            rows, s, t = [row[j] for row in table[i]], seeded[i], found[j]
            if not rows:
                out, x = (t, s) if forward else (s, t)
                return tensor(np.zeros(out.shape + x.shape, t.dtype))
            stacked = op(np.stack)(rows, axis=-1 if forward else 0)
            return stacked.reshape(t.shape + s.shape if forward else s.shape + t.shape)

        blocks = [
            _picked(
                tree.unflatten(
                    run.structure,
                    [block(i, o) if forward else block(o, i) for i in range(len(ins))],
                ),
                argnums,
            )
            for o in range(len(outs))
        ]
        return tree.unflatten(run.out_structure, blocks)

    return jacobian_of


def hessian(f: Function, argnums: Argnums = 0) -> Function:
    """Return a function that gives the second derivatives of `f`, nested as the Jacobian is.

    >>> hessian(lambda x: (x**3).sum())(np.array([1.0, 2.0])).tolist()
    [[6.0, 0.0], [0.0, 12.0]]
    """
    return jacobian(grad(f, argnums), argnums)


def hvp(f: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """Multiply the Hessian of `f` at `primals` by `tangents`, forward over reverse; a tuple.

    >>> hvp(lambda x: (x**3).sum(), (np.array([1.0, 2.0]),), (np.array([1.0, 1.0]),))[0].tolist()
    [6.0, 12.0]
    """
    every = tuple(range(len(primals) if isinstance(primals, (tuple, list)) else 1))
    return jvp(grad(f, every), primals, tangents)[1]


def flatten(container: Any) -> tuple[Any, Function]:
    """Join everything in a container into one vector, and return that and the way back.

    For optimisers of vectors, as in SciPy. The way back takes arrays and Tensors, and gradients
    flow through it; it restores shapes and dtypes, and of a module makes a twin. The vector is an
    array, or a Tensor if live tensors are in the container.

    >>> vector, unflatten = flatten({"w": np.ones((2, 2)), "b": 0.5})
    >>> vector, grad(lambda v: (unflatten(v)["w"] ** 2).sum())(vector).tolist()
    (array([1. , 1. , 1. , 1. , 0.5]), [2.0, 2.0, 2.0, 2.0, 0.0])
    """
    leaves, _, build = _opened(container)
    parts = [
        x if isinstance(x, Tensor) and x.live else plain(value_of(x), "flatten", "takes")
        for x in leaves
    ]
    shapes, dtypes = [p.shape for p in parts], [p.dtype for p in parts]
    ends = list(accumulate([math.prod(shape) for shape in shapes], initial=0))
    vector = np.concatenate([p.reshape(-1) for p in parts] or [np.zeros(0)])

    def unflatten(v: Any) -> Any:
        if np.shape(v) != (ends[-1],):
            raise ValueError(f"unflatten: expected shape {(ends[-1],)}, got {np.shape(v)}")
        v = v if isinstance(v, Tensor) else np.asarray(v)
        cut = [v[a:b].reshape(shape) for (a, b), shape in zip(pairwise(ends), shapes, strict=True)]
        return build([p if p.dtype == d else p.astype(d) for p, d in zip(cut, dtypes, strict=True)])

    return vector, unflatten


def _opened(container: Any) -> tuple[list[Any], tree.Structure, Function]:
    """Flatten with the modules opened, and give the function that rebuilds it from its leaves."""
    parts, outer = tree.flatten(container)
    if not any(map(tree.is_module, parts)):
        return parts, outer, lambda leaves: tree.unflatten(outer, leaves)
    opened = [tree.parameters(x) if tree.is_module(x) else x for x in parts]
    leaves, structure = tree.flatten(tree.unflatten(outer, opened))

    def build(new: Sequence[Any]) -> Any:
        supply = iter([x if isinstance(x, Tensor) else Tensor(x) for x in new])
        return tree.unflatten(
            outer,
            [
                tree.with_parameters(x, dict(zip(inside, supply, strict=False)))
                if tree.is_module(x)
                else next(supply)
                for x, inside in zip(parts, opened, strict=True)
            ],
        )

    return leaves, structure, build


def fresh(x: Any, caller: str) -> Tensor:
    """Give a leaf for one run; for a live tensor, a node that still hangs on it."""
    if isinstance(x, Tensor) and x.live:
        return apply(OPS[np.positive], (x,))
    given = value_of(x)
    array = isinstance(given, np.ndarray)
    shared = Tensor(plain(given, caller, "takes")) if array else tensor(given)
    try:
        shared.requires_grad = True
    except TypeError as error:
        raise TypeError(f"{caller}: {error}") from None
    return shared


def _seed(g: Any, on_tensors: bool) -> Any:
    if on_tensors:
        return g if isinstance(g, Tensor) else tensor(g)
    return g.value if isinstance(g, Tensor) else g


def _result(g: Any, like: Tensor) -> Tensor:
    if g is None:
        return tensor(np.zeros_like(like.value))
    return g if isinstance(g, Tensor) else tensor(g)


def _matching(
    given: Any, structure: tree.Structure, like: Sequence[Tensor], what: str
) -> list[Any]:
    leaves, its = tree.flatten(given)
    names = tree.names(structure)
    if tree.names(its) != names:
        raise ValueError(f"{what} must be nested like {names}, not like {tree.names(its)}")
    return [cotangent_for(t, g, what) for g, t in zip(leaves, like, strict=True)]


def _of(
    f: Function, argnums: Argnums, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Function, list[Any]]:
    """Make `f` a function of the arguments `argnums` alone."""
    wanted = (argnums,) if isinstance(argnums, int) else argnums
    for k in wanted:
        if not -len(args) <= k < len(args):
            raise ValueError(f"argnums {argnums} with {len(args)} positional argument(s)")
    if len({k % len(args) for k in wanted}) < len(wanted):
        raise ValueError(f"argnums {argnums} names an argument twice")

    def partial(*chosen: Any) -> Any:
        full = list(args)
        for k, x in zip(wanted, chosen, strict=True):
            full[k] = x
        return f(*full, **kwargs)

    return partial, [args[k] for k in wanted]


def _picked(chosen: tuple[Any, ...], argnums: Argnums) -> Any:
    return chosen[0] if isinstance(argnums, int) else chosen
