"""Transforms: functions of functions, each a few lines on `pull` and `push`.

They act on functions of nested containers (dicts, lists, tuples) of arrays, and nest freely, with
each other and with `.backward()`. There is no stack of transforms: a function is run once on fresh
leaves, and the tape between these leaves and the result is walked. If the walk meets a live tensor
that is not one of the leaves (an outer transform's argument, a captured module's parameter), the
derivative depends on it, and is computed on tensors so that it can be differentiated again.

Arrays in, arrays out: results are arrays (NumPy scalars, where they have no axes), unless a Tensor
or a module is among the arguments, cotangents or tangents, or the walk met a live tensor: then they
are Tensors. `no_grad` makes live tensors constants, here as elsewhere. So nothing need be kept to
know whether another transform is at work. A Python float is the float64 that NumPy makes of it.

A module as an argument stands for its parameters, but those that are frozen: the function gets a
twin that holds the leaves, and the gradient is a dict by parameter name. What the function assigns
to attributes of the twin is lost with it. The module's own parameters are constants to the result:
to differentiate that by them again, pass the module to the outer transform as well.

>>> grad(lambda x: x**3)(2.0)
np.float64(12.0)
>>> grad(grad(lambda x: x**3))(np.array([2.0, 3.0])[1])
np.float64(18.0)
>>> grad(lambda x: x**3)(tensor(2.0))
tensor(12.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core import tape, tree
from ..core.context import current, recording, tracing
from ..core.dtypes import plain
from ..core.tensor import OPS, Tensor, apply, tensor, value_of
from ..core.tree import Tree
from .arguments import (
    Argnums,
    Function,
    callable_for,
    chosen,
    kind,
    matching,
    picked,
    wanted_arguments,
)  # fmt: skip
from .modules import opened

__all__ = [
    "elementwise_grad", "grad", "hessian", "hvp", "jacobian", "jvp", "linearize",
    "value_and_grad", "vjp",
]  # fmt: skip


class _Run:
    """One run of a function on fresh leaves: what came in, what came out, the tape between.

    `others` are the arguments that are not differentiated.
    """

    def __init__(
        self,
        caller: str,
        f: Function,
        primals: Sequence[Any],
        others: Tree = None,
        has_aux: bool = False,
    ) -> None:
        self.caller = caller
        leaves, self.structure, build = opened(tuple(primals))
        held = leaves if others is None else leaves + tree.flatten(others)[0]
        self.on_tensors = tracing() is not None or any(
            isinstance(x, Tensor) or tree.is_module(x) for x in held
        )
        with recording():
            self.inputs = [self._leaf(k, x) for k, x in enumerate(leaves)]
            out, aux = f(*build(self.inputs)), None
        if has_aux:
            if not isinstance(out, (tuple, list)) or len(out) != 2:
                raise TypeError(
                    f"{caller}: with has_aux, f must return a pair (value, aux), not {kind(out)}"
                )
            out, aux = out
        if out is None:
            raise TypeError(f"{caller}: f returned None; write return before what it computes")
        outputs, self.out_structure = tree.flatten(out)
        self.outputs = [_output(y, caller) for y in outputs]
        more = [] if aux is None else tree.flatten(aux)[0]
        self.path, self.outside = tape.between(
            self.inputs, self.outputs + [y for y in more if isinstance(y, Tensor)]
        )
        tape.close(self.inputs)
        self.aux = aux if aux is None else tree.map(self.closed, aux)

    def _leaf(self, k: int, x: Any) -> Tensor:
        try:
            return fresh(x, self.caller)
        except TypeError as error:
            names = tree.names(self.structure)
            where = f" (at {names[k]} of the arguments)" * (len(names) > 1)
            raise TypeError(f"{error}{where}") from None

    def pull(self, cotangents: Sequence[Any]) -> list[Any]:
        """Return the cotangents of the inputs for those of the outputs; zero where none arrives."""
        seeds, again, tensors = self._begun(cotangents)
        found = tape.pull(self.path, self.outputs, seeds, self.inputs, again)
        return [_result(found.get(x), x.value, tensors) for x in self.inputs]

    def push(self, tangents: Sequence[Any]) -> list[Any]:
        """Return the tangents of the outputs for those of the inputs; zero where none arrives."""
        seeds, again, tensors = self._begun(tangents)
        found = tape.push(self.path, self.inputs, seeds, again)
        return [_result(found.get(y), y.value, tensors) for y in self.outputs]

    def _begun(self, given: Sequence[Any]) -> tuple[list[Any], bool, bool]:
        """Return what a walk begins with, whether it runs on tensors, and whether it gives them."""
        tensors = [g for g in given if isinstance(g, Tensor)]
        again = current().recording and (self.outside or any(g.live for g in tensors))
        seeds = [_result(g, None, again) if again else value_of(g) for g in given]
        return seeds, again, again or self.on_tensors or bool(tensors)

    def result(self) -> Any:
        """The output in its container, still recorded if an outer derivative may want it."""
        return tree.unflatten(self.out_structure, map(self.closed, self.outputs))

    def closed(self, y: Any) -> Any:
        """Return what the caller gets of `y`: it keeps its graph only if that leads outside."""
        if not isinstance(y, Tensor) or (self.outside and current().recording):
            return y
        return y.detach() if self.on_tensors else _array(y.value)

    def scalar(self) -> Tensor:
        """The one output, which must be one number."""
        y = self.outputs[0] if self.out_structure == tree.LEAF else None
        if y is None or y.size != 1 or y.dtype.kind != "f":
            what = self.out_structure.kind.__name__ if y is None else kind(y)
            raise ValueError(
                f"{self.caller}: f must return one number, a float, not {what}; reduce it, as in "
                "y.sum(), return what belongs to it with has_aux=True, or use vjp or jacobian"
            )
        return y


def vjp(f: Function, *primals: Tree) -> tuple[Tree, Function]:
    """Return the output of `f` and the pullback: cotangent of the output -> of `primals`.

    `f` is run once. The cotangent has the structure and the shapes of the output. The pullback
    returns a tuple, and can be called again.

    >>> y, pullback = vjp(lambda a, b: a * b, 2.0, 3.0)
    >>> y, pullback(1.0)
    (np.float64(6.0), (np.float64(3.0), np.float64(2.0)))
    """
    run = _Run("vjp", callable_for("vjp", f), tree.map(_kept, primals))

    def pullback(cotangent: Any) -> Any:
        seeds = matching(cotangent, run.out_structure, run.outputs, "vjp: the cotangent")
        return tree.unflatten(run.structure, run.pull(seeds))

    return run.result(), pullback


def linearize(f: Function, *primals: Tree) -> tuple[Tree, Function]:
    """Return the output of `f` and the pushforward: tangents of `primals` -> of the output.

    `f` is run once, however often the pushforward is called.

    >>> y, pushforward = linearize(lambda a, b: a * b, 2.0, 3.0)
    >>> y, pushforward(1.0, 0.0), pushforward(0.0, 1.0)
    (np.float64(6.0), np.float64(3.0), np.float64(2.0))
    """
    return _linearized("linearize", f, primals)


def _linearized(caller: str, f: Function, primals: Sequence[Tree]) -> tuple[Tree, Function]:
    run = _Run(caller, callable_for(caller, f), tree.map(_kept, tuple(primals)))

    def pushforward(*tangents: Any) -> Any:
        seeds = matching(tangents, run.structure, run.inputs, f"{caller}: the tangent")
        return tree.unflatten(run.out_structure, run.push(seeds))

    return run.result(), pushforward


def jvp(f: Function, primals: Sequence[Tree], tangents: Sequence[Tree]) -> tuple[Tree, Tree]:
    """Return the output of `f` and its directional derivative along `tangents`.

    >>> jvp(lambda x: x * x, (3.0,), (1.0,))
    (np.float64(9.0), np.float64(6.0))
    """
    return _along("jvp", f, primals, tangents)


def _along(caller: str, f: Function, primals: Any, tangents: Any) -> tuple[Tree, Tree]:
    for given in (primals, tangents):
        if not isinstance(given, (tuple, list)):
            raise TypeError(
                f"{caller}: primals and tangents are tuples with an entry for each argument, as in "
                f"{caller}(f, (x,), (v,)), not {type(given).__name__}"
            )
    out, pushforward = _linearized(caller, f, primals)
    return out, pushforward(*tangents)


def value_and_grad(f: Function, argnums: Argnums = 0, has_aux: bool = False) -> Function:
    """Return a function that gives the value of `f` and its gradient by the arguments `argnums`.

    `f` returns one number. With `has_aux` it returns a pair of that and anything else, and the
    result is `((value, anything else), gradient)`. An argument that is not used has gradient zero.
    """
    return _with_value("value_and_grad", f, argnums, has_aux)


def grad(f: Function, argnums: Argnums = 0, has_aux: bool = False) -> Function:
    """Return a function that gives the gradient of `f`: see `value_and_grad`.

    >>> grad(lambda p: p["a"] * p["b"])({"a": np.array([2.0]), "b": 5.0})
    {'a': array([5.]), 'b': np.float64(2.0)}
    """
    both = _with_value("grad", f, argnums, has_aux)

    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, g = both(*args, **kwargs)
        return (g, value[1]) if has_aux else g

    return gradient


def _with_value(caller: str, f: Function, argnums: Argnums, has_aux: bool) -> Function:
    wanted = wanted_arguments(caller, f, argnums)

    def value_and_gradient(*args: Any, **kwargs: Any) -> Any:
        run = _Run(*chosen(caller, f, wanted, args, kwargs), has_aux)
        y = run.scalar()
        gradient = tree.unflatten(run.structure, run.pull([np.ones_like(y.value)]))
        value = run.closed(y)
        return ((value, run.aux) if has_aux else value), picked(gradient, argnums)

    return value_and_gradient


def elementwise_grad(f: Function, argnum: int = 0) -> Function:
    """Return a function that gives the derivative of each element of `f` by its own argument.

    The elements of the output may each depend on one element of the argument only, as in
    `np.sin(x) * x`: then the derivative has the argument's shape. ValueError if the output has
    not, or if the derivative in a direction shows that the elements are mixed.

    >>> elementwise_grad(elementwise_grad(np.sin))(np.array([0.0, np.pi / 2]))
    array([-0., -1.])
    """
    wanted = wanted_arguments("elementwise_grad", f, (argnum,))

    def derivative(*args: Any, **kwargs: Any) -> Any:
        run = _Run(*chosen("elementwise_grad", f, wanted, args, kwargs))
        ins, outs = [x.shape for x in run.inputs], [y.shape for y in run.outputs]
        if ins != outs:
            raise ValueError(
                f"elementwise_grad: f turns shapes {ins} into {outs}, so it is not elementwise; "
                "use grad or jacobian"
            )
        slopes = run.pull([np.ones_like(y.value) for y in run.outputs])
        vs = [
            (1.5 + np.cos(np.arange(x.size))).astype(x.dtype).reshape(x.shape) for x in run.inputs
        ]
        if tracing():
            return tree.unflatten(run.structure, slopes)[0]
        pushed = tape.push(run.path, run.inputs, vs)
        for y, v, slope in zip(run.outputs, vs, map(value_of, slopes), strict=True):
            if not _agree(pushed.get(y, 0.0), v * slope, y.value):
                raise ValueError(
                    "elementwise_grad: elements of the output depend on other elements of the "
                    "argument than their own; use jacobian"
                )
        return tree.unflatten(run.structure, slopes)[0]

    return derivative


def jacobian(f: Function, argnums: Argnums = 0) -> Function:
    """Return a function that gives the Jacobian: for each output and input, d out / d in.

    Its shape is `out.shape + in.shape`; containers nest, the output's outside. One tape serves both
    directions: it is walked once for each element of the smaller side.
    """
    wanted = wanted_arguments("jacobian", f, argnums)

    def jacobian_of(*args: Any, **kwargs: Any) -> Any:
        run = _Run(*chosen("jacobian", f, wanted, args, kwargs))
        ins, outs = run.inputs, run.outputs
        forward = sum(x.size for x in ins) <= sum(y.size for y in outs)
        walk, seeded, found = (run.push, ins, outs) if forward else (run.pull, outs, ins)
        table: list[list[Any]] = []  # for each seeded tensor, what each of its elements gives
        for k, t in enumerate(seeded):
            seeds = [np.zeros_like(s.value) for s in seeded]
            rows = []
            for place in np.ndindex(t.shape):
                seeds[k] = np.zeros_like(t.value)
                seeds[k][place] = 1
                rows.append(walk(seeds))
            table.append(rows)

        def block(o: int, i: int) -> Any:
            """The derivative of the output o by the input i."""
            k, j = (i, o) if forward else (o, i)
            shape = outs[o].shape + ins[i].shape
            rows = [row[j] for row in table[k]]
            if not rows:
                return _result(np.zeros(shape, found[j].dtype), None, run.on_tensors)
            stacked = np.stack(rows, axis=-1 if forward else 0).reshape(shape)
            return stacked if isinstance(stacked, Tensor) else _array(stacked)

        blocks = [
            tree.unflatten(run.structure, [block(o, i) for i in range(len(ins))])
            for o in range(len(outs))
        ]
        return tree.unflatten(run.out_structure, [picked(b, argnums) for b in blocks])

    return jacobian_of


def hessian(f: Function, argnums: Argnums = 0) -> Function:
    """Return a function that gives the second derivatives of `f`, nested as the Jacobian is.

    >>> hessian(lambda x: (x**3).sum())(np.array([1.0, 2.0]))
    array([[ 6.,  0.],
           [ 0., 12.]])
    """
    wanted_arguments("hessian", f, argnums)
    return jacobian(grad(f, argnums), argnums)


def hvp(f: Function, primals: Sequence[Tree], tangents: Sequence[Tree]) -> tuple[Tree, ...]:
    """Return the Hessian of `f` at `primals` times `tangents`, forward over reverse; a tuple.

    >>> hvp(lambda x: (x**3).sum(), (np.array([1.0, 2.0]),), (np.array([1.0, 1.0]),))
    (array([ 6., 12.]),)
    """
    every = range(len(primals) if isinstance(primals, (tuple, list)) else 1)
    return _along("hvp", grad(f, every), primals, tangents)[1]  # type: ignore[no-any-return]


def fresh(x: Any, caller: str) -> Tensor:
    """Return a leaf for one run; for a live tensor, a node that still hangs on it."""
    if isinstance(x, Tensor) and x.live:
        return apply(OPS[np.positive], (x,))
    leaf = Tensor(plain(value_of(x), caller, "takes"))
    try:
        leaf.requires_grad = True
    except TypeError as error:
        raise TypeError(f"{caller}: {error}") from None
    return leaf


def _output(y: Any, caller: str) -> Tensor:
    if isinstance(y, Tensor):
        return y
    y = float(y) if type(y) is int else y  # such as an empty sum
    return Tensor(plain(y, f"{caller}: f returned {type(y).__name__}; it", "must return"))


def _agree(a: Any, b: Any, y: Any) -> bool:
    """Whether two derivatives of `y` are the same but for rounding, where they are finite."""
    eps = np.finfo(y.dtype).eps if y.dtype.kind == "f" else 0.0
    finite = np.isfinite(a) & np.isfinite(b)
    far = abs(np.subtract(a, b, where=finite, out=np.zeros(y.shape)))
    near = far <= eps**0.5 * abs(b) + 100 * eps * abs(y).max(initial=0)
    return bool((near | ~finite).all())


def _result(g: Any, like: Any, tensors: bool) -> Any:
    """A derivative, or zeros for None, in memory of its own."""
    g = np.zeros_like(like) if g is None else g
    if tensors:
        return g if isinstance(g, Tensor) else tensor(g)
    return _array(g)


def _array(x: Any) -> Any:
    return np.array(x)[()]  # of no axes: a scalar


def _kept(x: Any) -> Any:
    """What may be changed before a pullback is called is copied."""
    return x.copy("K") if isinstance(x, np.ndarray) else x
