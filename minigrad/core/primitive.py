"""A primitive: a function with a rule for each input, in each direction.

How primitives are stated, in families that derive rules from one another, is written in
`minigrad.ops.families`; here is what the engine knows of them.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..guard.hints import of_argument, of_axis
from .context import tracing, watching
from .tensor import OPS, ArrayLike, Tensor, apply, value_of

__all__ = ["Case", "Joint", "Primitive", "Rule", "Rules", "Samples", "parameters_of", "full_name"]

Rule: TypeAlias = Callable[..., Any] | None
"""From `(g, z, *xs, **params)` to a cotangent or a tangent; None: not differentiable."""

Rules: TypeAlias = Sequence[Rule] | Callable[..., Any]
"""A rule for each input, or one for any number of them: see `PrimitiveLike`."""

Samples: TypeAlias = "Callable[[Any], list[Case]]"
"""From `r`, of which `r(2, 3)` is a random array, to the cases for the laws."""


class Case(NamedTuple):
    """Inputs that a law is tried on: arrays by position, metadata by keyword."""

    args: tuple[Any, ...]
    params: dict[str, Any]

    @classmethod
    def of(cls, *args: Any, **params: Any) -> Case:
        """Return the case of these arguments, written as in a call."""
        return cls(args, params)

    @classmethod
    def each(cls, *options: dict[str, Any], shape: tuple[int, ...] = (2, 3)) -> Samples:
        """Return the samples of one random array, with each of these options."""
        return lambda r: [cls.of(r(*shape), **option) for option in options]


class _Signature:
    """What `inspect.signature` reads: made when it does, for inspecting is slow at every import."""

    def __get__(self, primitive: Primitive | None, owner: type) -> inspect.Signature:
        if primitive is None:
            raise AttributeError("__signature__")  # the class has that of its constructor
        return _signature(primitive)


class Primitive:
    """A differentiable function: the forward, pull and push rules for each input, and samples."""

    __signature__ = _Signature()

    def __init__(
        self,
        forward: Callable[..., Any],
        pulls: Rules,
        pushes: Rules,
        *,
        key: Callable[..., Any] | None = None,
        name: str | None = None,
        samples: Samples,
        family: str = "general",
    ) -> None:
        self.forward, self.pulls, self.pushes, self.samples = forward, pulls, pushes, samples
        self.key = forward if key is None else key
        self.name = self.__name__ = name or self.key.__name__.removeprefix("_")
        self.family = family
        is_ufunc = family == "elementwise" and isinstance(self.key, np.ufunc)
        self._named = self.key if is_ufunc else forward  # which may be Python's operator
        self.inputs, self.options, self.variadic = parameters_of(self._named)
        self.arity = None if self.variadic else len(self.inputs)
        own = isinstance(forward, FunctionType) and forward.__doc__
        self.__doc__ = inspect.getdoc(forward) if own else f"Differentiable {full_name(self.key)}."
        self.__module__ = getattr(forward, "__module__", None) or __name__
        OPS[self.key] = self

    def __call__(self, *args: Any, **params: Any) -> Tensor:
        """Return the function of Tensors, arrays and numbers: a Tensor, or several."""
        if len(args) != self.arity:
            args, params = self._told_apart(args, params)
        if not params:
            return apply(self, args)
        for k, v in params.items():
            if k not in self.options:
                if k in self.inputs:
                    raise TypeError(f"{self.name}: got the argument {k!r} twice")
                taken = [*self.inputs, *self.options]
                raise TypeError(
                    f"{self.name}: minigrad has no argument {k!r} here; it takes "
                    f"{', '.join(taken)}{of_argument(k, taken)}"
                )
            if isinstance(v, Tensor):
                if v.live:
                    ways_out = (k == "axis" and of_axis(self.name, v)) or "; detach() it"
                    raise TypeError(f"{self.name}: gradients do not flow through {k!r}{ways_out}")
                params[k] = value_of(v)
            elif watching and isinstance(v, tuple):  # an index: who traces knows arrays
                params[k] = tuple(map(value_of, v))
        return apply(self, args, params)

    def _told_apart(self, args: Any, params: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Separate inputs from metadata, which NumPy lets one pass by position or by name."""
        if self.variadic:
            sequence, *rest = args or [params.pop(self.inputs[0], ())]
            args = tuple(sequence)
        else:
            n = len(self.inputs)
            args, rest = args[:n], args[n:]
            if len(args) < n:
                args += tuple([params.pop(k) for k in self.inputs[len(args) :] if k in params])
                if len(args) < n:
                    raise TypeError(f"{self.name}: missing the argument {self.inputs[len(args)]!r}")
        if len(rest) > len(self.options):
            raise TypeError(f"{self.name}: too many arguments")
        for k in self.options[: len(rest)]:
            if k in params:
                raise TypeError(f"{self.name}: got the argument {k!r} twice")
        return args, dict(zip(self.options, rest, strict=False)) | params if rest else params

    def like_numpy(self, *args: ArrayLike, **params: Any) -> Any:
        """Return what NumPy would, an array of arrays; a rule calls other primitives this way."""
        for a in args:
            if isinstance(a, Tensor):
                return apply(self, args, params)
        if watching and tracing():
            return apply(self, args, params)  # an array may be that of a tensor, also an option
        return self.forward(*args, **params)

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        if getattr(sys.modules.get(self.__module__), self.__name__, None) is self:
            return str(self.__name__)
        return _stated, (self.key,)


class Joint:
    """A primitive made for one call, outside the registry, with one rule for all inputs together.

    `pull(g, z, *xs)` lists the cotangents of all inputs; `push(dxs, z, *xs)` gives the tangent.
    `inside(z, xs)`, if there is one, records what it consists of: inputs of its own, and outputs.
    """

    def __init__(
        self,
        name: str,
        forward: Callable[..., Any],
        pull: Callable[..., Sequence[Any]],
        push: Callable[..., Any],
        inside: Callable[..., tuple[list[Tensor], list[Tensor]]] | None = None,
    ) -> None:
        self.name, self.forward, self.pushes, self.inside = name, forward, push, inside
        self.pulls = lambda wanted, *args: pull(*args)


def _stated(key: Any) -> Any:
    return OPS[key]  # not OPS.__getitem__, which pickle would send with all of OPS


def parameters_of(forward: Any) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    """Return the names of the inputs and of the metadata, and whether it takes any number.

    A function is asked itself, for `inspect` would take ten times as long, at every import.
    """
    if isinstance(forward, np.ufunc):
        names = ("x",) if forward.nin == 1 else tuple([f"x{k + 1}" for k in range(forward.nin)])
        return names, (), False
    if isinstance(forward, FunctionType) and not vars(forward):  # no decorator hides it
        code, names = forward.__code__, forward.__code__.co_varnames
        given, last = code.co_argcount, code.co_argcount + code.co_kwonlyargcount
        variadic = bool(code.co_flags & inspect.CO_VARARGS)
        stars = variadic + bool(code.co_flags & inspect.CO_VARKEYWORDS)
        return names[:given] + names[last : last + stars], names[given:last], variadic
    parameters = inspect.signature(forward).parameters.values()
    variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return (
        tuple([p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]),
        tuple([p.name for p in parameters if p.kind is p.KEYWORD_ONLY]),
        variadic,
    )


def _signature(primitive: Primitive) -> inspect.Signature:
    """Return how a primitive is called: as its forward function, with Tensors for arrays."""
    forward, variadic = primitive._named, primitive.variadic
    own = inspect.Signature() if isinstance(forward, np.ufunc) else inspect.signature(forward)
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    taken = "Sequence[ArrayLike]" if variadic else "ArrayLike"
    plain = variadic or not own.parameters
    returned = own.return_annotation if isinstance(forward, FunctionType) else "Array"
    if isinstance(returned, str):
        returned = "Tensor" if returned == "Any" else re.sub(r"\bArray\b", "Tensor", returned)
    firsts = [inspect.Parameter(k, kind) if plain else own.parameters[k] for k in primitive.inputs]
    options = [own.parameters[k].replace(kind=kind) for k in primitive.options]
    return inspect.Signature(
        [p.replace(annotation=taken) for p in firsts] + options, return_annotation=returned
    )


def full_name(key: Any) -> str:
    return f"{getattr(key, '__module__', None) or 'numpy'}.{key.__name__}"
