"""Primitives: a differentiable function stated once, in one of five families.

    sin      = elementwise(np.sin, lambda g, z, x: g * np.cos(x))
    multiply = elementwise(np.multiply, lambda g, z, x, y: g * y, lambda g, z, x, y: g * x)
    reshape  = linear(forward, lambda g, z, a, shape: g.reshape(a.shape), samples=...)
    matmul   = multilinear(np.matmul, transpose_a, transpose_b, samples=...)
    max      = reduction(forward, lambda z, a, axis: ..., samples=...)
    softmax  = general(forward, pulls=[...], pushes=[...], samples=...)

There is one rule for each input (None where it is not differentiable). A rule is written with
operators and NumPy functions on `(g, z, *xs, **params)`: cotangent, output, inputs, and metadata by
keyword. It need not undo broadcasting or restore dtypes; the tape does that once, for all of them.

elementwise  `g * dz/dx` serves both directions.
linear       give the transposes; the tangent is the function itself, of the tangents.
multilinear  give the transposes; the tangent is a sum over the inputs, of the function itself with
             the tangent in that input's place.
reduction    give the slope, dz/da for each element of the one input: both rules follow from it.
general      give both.

The forward function names the inputs first and the metadata after `*`, under NumPy's names. A
primitive has the name of the NumPy function that it differentiates (its key), or else the forward
function's, without the underscore of a private one.
`samples` gives the inputs that the laws (see `minigrad.testing`) are tried on, so that a primitive
is tested by existing.

A user's own function becomes a primitive by the decorator `define`, which names the family, and
`mg.check_primitive` tries the laws on it:

>>> @define(elementwise=[lambda g, z, x: g * (1 + z) * (1 - z)])
... def hyperbolic(x):
...     return np.tanh(x)
>>> hyperbolic(np.zeros(2))
tensor([0., 0.], dtype=float64)
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np

from ..core.context import placed, watching
from ..core.primitive import Case, Primitive, Rule, Rules, Samples, full_name, parameters_of
from ..core.tensor import OPS, ArrayLike, Tensor, constant_of
from ..guard.errors import explained, reworded
from ..guard.hints import of_argument

__all__ = [
    "Axis", "constant", "define", "each", "elementwise", "general", "kept_shape", "linear",
    "multilinear", "operation", "reduction", "untracked",
]  # fmt: skip

Operation = TypeVar("Operation", bound=Callable[..., Any])
Axis: TypeAlias = int | tuple[int, ...] | None
"""The axes of a reduction: one, several, or all (None)."""


def each(rule: Callable[..., Any]) -> Callable[..., list[Any]]:
    """Return one pull for any number of inputs from `rule(k, g, z, *xs)`, that of the k-th."""

    def pull(wanted: Sequence[bool], *args: Any, **params: Any) -> list[Any]:
        return [rule(k, *args, **params) if yes else None for k, yes in enumerate(wanted)]

    return pull


def elementwise(
    function: Callable[..., Any],
    *rules: Rule,
    name: str | None = None,
    domain: tuple[float, float] = (-2.0, 2.0),
    samples: Samples | None = None,
    forward: Callable[..., Any] | None = None,
) -> Primitive:
    """State a function applied to each element, broadcasting: `g * dz/dx` for each input.

    `domain` is where the default samples are drawn; `forward` computes it where NumPy's operator
    has short cuts that the function has not.
    """
    return Primitive(
        forward or function,
        rules,
        rules,
        name=name,
        samples=samples or _elementwise_samples(len(rules), domain),
        family="elementwise",
        key=function,
    )


def linear(
    forward: Callable[..., Any],
    *transposes: Rule,
    samples: Samples,
    key: Callable[..., Any] | None = None,
    together: Callable[..., Any] | None = None,
    name: str | None = None,
) -> Primitive:
    """State a function linear in all its inputs together (reshape, stack), by its transposes.

    For any number of inputs, `together(wanted, g, z, *xs)` lists what the transposes give.
    """

    def push(dxs: Sequence[Any], z: Any, *xs: Any, **params: Any) -> Any:
        full = [np.zeros_like(x) if dx is None else dx for dx, x in zip(dxs, xs, strict=True)]
        return primitive.like_numpy(*full, **params)

    primitive = Primitive(
        forward,
        together or transposes,
        push,
        key=key,
        name=name,
        samples=samples,
        family="linear",
    )
    return primitive


def multilinear(
    forward: Callable[..., Any],
    *transposes: Rule,
    samples: Samples,
    key: Callable[..., Any] | None = None,
    name: str | None = None,
) -> Primitive:
    """State a product (matmul, einsum): a function linear in each input, by its transposes."""

    def tangent(k: int) -> Callable[..., Any]:
        return lambda dx, z, *xs, **params: primitive.like_numpy(
            *xs[:k], dx, *xs[k + 1 :], **params
        )

    pushes = [tangent(k) for k in range(len(transposes))]
    primitive = Primitive(
        forward, transposes, pushes, key=key, name=name, samples=samples, family="multilinear"
    )
    return primitive


def reduction(
    forward: Callable[..., Any],
    slope: Callable[..., Any],
    *,
    samples: Samples,
    key: Callable[..., Any] | None = None,
    name: str | None = None,
) -> Primitive:
    """State a function of one input over `axis` by its slope, the derivative by each element.

    `slope(z, a, axis, **options)` is given z with the reduced axes kept, so that it broadcasts
    against a. ValueError if `forward` takes no `axis` and `keepdims`, or more than one input.
    """
    inputs, options, variadic = parameters_of(forward)
    if (
        variadic
        or len(inputs) != 1
        or not {"axis", "keepdims"} <= {*options}
        or not callable(slope)
    ):
        raise ValueError(
            f"{name or forward.__name__}: a reduction is given one slope function, and takes one "
            f"input and, after *, axis and keepdims; this takes {', '.join([*inputs, *options])}"
        )
    defaults = inspect.signature(forward).parameters
    axis_, keepdims_ = defaults["axis"].default, defaults["keepdims"].default

    def pull(
        g: Any, z: Any, a: Any, axis: Axis = axis_, keepdims: bool = keepdims_, **rest: Any
    ) -> Any:
        shape = kept_shape(a.shape, axis)
        return g.reshape(shape) * slope(z.reshape(shape), a, axis, **rest)

    def push(
        da: Any, z: Any, a: Any, axis: Axis = axis_, keepdims: bool = keepdims_, **rest: Any
    ) -> Any:
        by_element = slope(z.reshape(kept_shape(a.shape, axis)), a, axis, **rest)
        return (da * by_element).sum(axis=axis, keepdims=keepdims)

    return Primitive(
        forward, [pull], [push], key=key, name=name, samples=samples, family="reduction"
    )


def kept_shape(shape: tuple[int, ...], axis: Axis) -> tuple[int, ...]:
    """Return the shape of a reduction of `shape` over `axis` with keepdims: 1 for reduced axes."""
    if axis is None or not shape:  # NumPy takes axis=0 of a number
        return (1,) * len(shape)
    axes = {k % len(shape) for k in (axis if isinstance(axis, tuple) else (axis,))}
    return tuple([1 if k in axes else n for k, n in enumerate(shape)])


def general(
    forward: Callable[..., Any],
    *,
    pulls: Sequence[Rule],
    pushes: Sequence[Rule],
    samples: Samples,
    key: Callable[..., Any] | None = None,
    name: str | None = None,
) -> Primitive:
    """State any other function, by a reverse and a forward rule for each input."""
    return Primitive(forward, pulls, pushes, key=key, name=name, samples=samples)


def define(
    *,
    elementwise: Sequence[Rule] | None = None,
    linear: Rules | None = None,
    multilinear: Sequence[Rule] | None = None,
    reduction: Callable[..., Any] | None = None,
    pulls: Rules | None = None,
    pushes: Rules | None = None,
    samples: Samples | None = None,
    name: str | None = None,
    domain: tuple[float, float] = (-2.0, 2.0),
) -> Callable[[Callable[..., Any]], Primitive]:
    """Return a decorator that makes a function a primitive, by rules under its family's name.

    Give `elementwise`, `linear` or `multilinear`, or both `pulls` and `pushes`: a list with a rule
    for each input, None where it is not differentiable. For any number of inputs, `linear` and
    `pulls` are one function `(k, g, z, *xs)`, and `pushes` one of all tangents `(dxs, z, *xs)`.
    `reduction` is the slope `(z, a, axis, **options)` of a function of one input, `axis` and
    `keepdims`: the derivative by each element, where z keeps the reduced axes with length 1.
    `samples(r)` lists the `Case`s for the laws, `r(2, 3)` being a random array; elementwise
    functions have them by default, drawn from `domain`.

    A NumPy function that minigrad does not know can be defined too: `define(...)(np.i0)` makes
    `np.i0(t)` work. ValueError for one it knows, and for a wrong number of rules.
    """
    stated = {
        "elementwise": elementwise, "linear": linear, "multilinear": multilinear,
        "reduction": reduction, "pulls": pulls, "pushes": pushes,
    }  # fmt: skip
    given: dict[str, Any] = {family: r for family, r in stated.items() if r is not None}
    if [*given] != ["pulls", "pushes"] and (len(given) != 1 or given.keys() & {"pulls", "pushes"}):
        raise ValueError(
            "define: give elementwise=, linear=, multilinear= or reduction=, or both pulls= and "
            f"pushes=; got {', '.join(given) or 'none'}"
        )

    def decorate(function: Callable[..., Any]) -> Primitive:
        called = name or function.__name__
        if function in OPS:
            raise ValueError(f"define: {called} is defined already")
        inputs, _, variadic = parameters_of(function)
        for family, rules in given.items():
            if not callable(rules) and (variadic or len(rules) != len(inputs)):
                raise ValueError(
                    f"define: {called} takes {', '.join(inputs)}, and {family} has {len(rules)} "
                    f"rule(s); give {'one function' if variadic else 'one for each input'}"
                )
        if elementwise is not None:
            return _elementwise(function, *elementwise, name=called, samples=samples, domain=domain)
        cases = samples or (lambda r: [])
        if callable(linear):
            return _linear(function, together=each(linear), name=called, samples=cases)
        if linear is not None:
            return _linear(function, *linear, name=called, samples=cases)
        if multilinear is not None:
            return _multilinear(function, *multilinear, name=called, samples=cases)
        if reduction is not None:
            return _reduction(function, reduction, name=called, samples=cases)
        every = each(pulls) if callable(pulls) else pulls
        return Primitive(function, every or (), pushes or (), name=called, samples=cases)

    return decorate


_elementwise, _linear = elementwise, linear  # under names that are no arguments of `define`
_multilinear, _reduction = multilinear, reduction


def operation(
    key: Any, samples: Samples, doc: str | None = None
) -> Callable[[Operation], Operation]:
    """Register a function composed from primitives under the NumPy function it stands for.

    One of several made by the same code gets its key's name and `doc`. An error from inside says
    the name of the function that was called, too.
    """

    def register(function: Operation) -> Operation:
        if doc is not None:
            function.__name__ = function.__qualname__ = key.__name__
            function.__doc__ = doc
        called = function.__name__

        @functools.wraps(function)
        def named(*args: Any, **params: Any) -> Any:
            try:
                return function(*args, **params)
            except (ValueError, TypeError, IndexError, AttributeError) as error:
                if str(error).startswith((f"{called}:", f"{called} ")):
                    raise
                text = f"{called}: {error}{_of_unknown(function, params, error)}"
                raise reworded(error, text).with_traceback(error.__traceback__) from error.__cause__

        named.samples = samples  # type: ignore[attr-defined]
        OPS[key] = named
        return named  # type: ignore[return-value]

    return register


def constant(function: Callable[..., Any]) -> Callable[..., Any]:
    """Register a function with no useful derivative: it gives an array, outside the graph."""

    unwrapped = untracked(function)
    vars(unwrapped)["is_constant"] = True
    unwrapped.__doc__ = f"{full_name(function)} of the data: an array, constant to the graph."
    OPS[function] = unwrapped
    return unwrapped


def untracked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of the arrays that tensors hold: outside the graph, it gives arrays."""

    def unwrapped(*args: ArrayLike | None, **kwargs: Any) -> Any:
        if watching and (found := constant_of(function, args, kwargs)) is not None:
            return found
        if not kwargs and type(args[0]) is np.ndarray and not _any_tensor(args):
            return function(*args)
        xs, params = [*map(_arrays, args)], {k: _arrays(v) for k, v in kwargs.items()}
        try:
            return function(*xs, **params)
        except (ValueError, TypeError, IndexError) as error:
            hint = _of_unknown(function, params, error)
            told = explained(placed(function.__name__), xs, params, error)
            raise (reworded(told, f"{told}{hint}") if hint else told) from error

    unwrapped.__name__ = function.__name__
    return unwrapped


def _any_tensor(args: Sequence[Any]) -> bool:
    return any(isinstance(x, (Tensor, list)) for x in args)


def _of_unknown(function: Callable[..., Any], params: Any, error: Exception) -> str:
    """Return what the arguments that a function does not have are called here, as of an error."""
    unknown = [k for k in params if repr(k) in str(error) and "keyword argument" in str(error)]
    if not unknown:
        return ""
    try:
        taken = {*inspect.signature(function).parameters}
    except ValueError:  # a built-in function of NumPy before 2.4
        taken = set() if isinstance(function, np.ufunc) else {"axis", "keepdims"}
    return "".join([of_argument(k, taken) for k in unknown])


def _arrays(x: Any) -> Any:
    """Take the arrays out of Tensors and of lists of them; nothing may be written into these."""
    if isinstance(x, Tensor):
        x = x.value.view()
        x.flags.writeable = False
    return type(x)(map(_arrays, x)) if type(x) in (list, tuple) else x


def _elementwise_samples(n: int, domain: tuple[float, float]) -> Samples:
    def unary(r: Any) -> list[Case]:
        return [Case.of(r(*shape, domain=domain)) for shape in ((), (3,), (2, 3), (2, 0))]

    def binary(r: Any) -> list[Case]:
        shapes = [((), ()), ((3,), (3,)), ((3, 1), (1, 4)), ((2, 3), (3,)), ((), (2, 2))]
        return [Case.of(r(*a, domain=domain), r(*b, domain=domain)) for a, b in shapes]

    return unary if n == 1 else binary
