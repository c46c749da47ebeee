"""Whose gradients a hand-written backward pass has returned.

In a dict or an object they have the names of the inputs, or names made from these: `dW`, `grad_W`,
`W_grad` for `W` (a new one is a row of `MADE_FROM`). In a tuple or list they are in the order of
the inputs; if it is shorter, in that of those with gradients, or under the names of the variables
that are returned (a new form is an option in `_in_order`).
"""

from __future__ import annotations

import ast
import inspect
import itertools
import math
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..core.tensor import value_of
from .inputs import Inputs, Place, fields, is_numbers, is_object, named, shape_text

__all__ = ["Returned", "fits", "returned", "twins"]

Pair: TypeAlias = tuple[Place, Any, str | None]
"""Where a gradient is in the result, the gradient, and the input that it is of, if it is of one."""

MADE_FROM = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"d_?(?P<of>.+)",
        r"(?:grad|gradient|delta|nabla|partial|g)s?_?(?:of_|wrt_)?(?P<of>.+)",
        r"d_?(?:[a-z]|loss|cost|err|error)_?d_?(?P<of>.+)",
        r"(?P<of>.+?)_?(?:grad|gradient|delta|bar|_d|_g)s?",
    )
]
"""How the name of a gradient is made from the name of that which it is the gradient of."""


class Returned(NamedTuple):
    """Gradients by the names of inputs, the very objects; and others by the names they came with.

    Without those that are None.
    """

    gradients: dict[str, Any]
    others: dict[str, Any]


def returned(who: str, given: Any, inputs: Inputs, backward: Callable[..., Any]) -> Returned:
    """Match what backward has returned with the inputs.

    TypeError if it is nothing that gradients are returned in; ValueError if two are of one input,
    if one is of a constant, or if it cannot be told whose they are.
    """
    if given is None:
        raise TypeError(
            f"{who}: backward must return gradients, a dict by the names of the inputs or a tuple "
            "in their order; it returned None"
        )
    if _has_names(given):
        pairs = [*_pairs(given, (), inputs)]
    else:
        pairs = _in_order(who, given, inputs, backward)
    gradients, others = dict[str, Any](), dict[str, Any]()
    for path, x, name in pairs:
        if x is None:
            continue
        if name is None:
            others[named(path) or "gradient"] = x
        elif name in gradients:
            raise ValueError(
                f"{who}: backward returns two gradients of {name!r}, one of them as "
                f"{named(path)!r}; name them as the inputs"
            )
        elif name not in inputs.real:
            raise ValueError(
                f"{who}: {name!r} is an array of integers, which are constants; leave its "
                "gradient out, or give the input as floats"
            )
        else:
            gradients[name] = x
    return Returned(gradients, others)


def fits(found: Returned, inputs: Inputs) -> bool:
    """Whether there are gradients, and all have the shapes of their inputs."""
    pairs = found.gradients.items()
    return bool(pairs) and all(_has_shape(g, name, inputs) for name, g in pairs)


def twins(inputs: Inputs) -> list[str]:
    """Return the inputs that are named as the gradient of one in the same place, of its shape."""
    return [
        name
        for name in inputs.real
        for other in inputs.real
        if name != other
        and len(path := inputs.paths[name]) > 1 - (not inputs.positional)
        and path[:-1] == (its := inputs.paths[other])[:-1]
        and isinstance(path[-1], str)
        and its[-1] in _forms(path[-1])
        and inputs.arrays[name].shape == inputs.arrays[other].shape
    ]


# ---- by name -------------------------------------------------------------------------------------


def _input_of(path: Place, inputs: Inputs) -> str | None:
    """Return the input that a path in the result means: the most alike, None if there is not one.

    What is ambiguous is nothing's.
    """
    if named(path) in inputs.paths:
        return named(path)
    unlike = {name: _unlikeness(path, its) for name, its in inputs.paths.items()}
    found = [name for name, u in unlike.items() if u is not None]
    best = min([unlike[name] for name in found], default=None)  # type: ignore[type-var]
    alike = [name for name in found if unlike[name] == best]
    return alike[0] if len(alike) == 1 else None


def _unlikeness(path: Place, its: Place) -> tuple[bool, bool, bool] | None:
    """Return how a path in the result differs from that of an input; None if it is of another one.

    In small and large letters, at worst; in that it is a part of it, its end; in that names are
    made from the input's.
    """
    n = min(len(path), len(its))
    pairs = [*zip(path[len(path) - n :], its[len(its) - n :], strict=True)]
    is_end = len(path) != len(its)
    if is_end and all(isinstance(key, int) for _, key in pairs):
        return None
    in_case = is_made = False
    for a, b in pairs:
        if a == b:
            continue
        if isinstance(a, int) or isinstance(b, int):
            return None
        forms = _forms(a)
        small = b.lower()
        if b not in forms and small not in map(str.lower, forms):
            return None
        in_case |= b not in forms
        is_made |= small != a.lower()
    return in_case, is_end, is_made


def _forms(name: str) -> set[str]:
    """Return a name, and all that it may be the name of the gradient of."""
    matches = [pattern.fullmatch(name) for pattern in MADE_FROM]
    return {name, *[match["of"] for match in matches if match]}


def _has_names(x: Any) -> bool:
    """Whether this is a container of named parts."""
    return hasattr(x, "_fields") or (fields(x) is not None and not isinstance(x, (list, tuple)))


def _pairs(x: Any, path: Place, inputs: Inputs, at: Place = ()) -> Iterator[Pair]:
    """Yield the gradients in a part of the result, which is for the inputs at a path.

    An object may hold W, what is cached, and dW: then dW is one.
    """
    parts = fields(x)
    if parts is None:
        yield path, x, _input_of(at, inputs)
        return
    found = [pair for key, part in parts for pair in _pairs(part, (*path, key), inputs, (*at, key))]
    if is_object(x):
        found = [pair for pair in found if pair[2] is not None]
        found = [pair for pair in found if not _is_own(pair, inputs)] or found
    yield from found


def _is_own(pair: Pair, inputs: Inputs) -> bool:
    """Whether a gradient has the very name of its input."""
    path, its = pair[0], inputs.paths[str(pair[2])]
    last = max([k for k, key in enumerate(its) if isinstance(key, str)])
    return path[last - len(its) :] == its[last:]


# ---- in order ------------------------------------------------------------------------------------


def _in_order(who: str, given: Any, inputs: Inputs, backward: Callable[..., Any]) -> list[Pair]:
    """Return the gradients in a tuple or list, or a lone one: as the first form says that fits.

    That is one of `_orders`; or numbers in a list that are one array; or a dict with the names of
    the variables returned; one dict or object among others; or the only way by shapes; or all that
    comes after the loss.
    """
    several = isinstance(given, (list, tuple))
    parts = [*given] if several else [given]
    paths = [(key,) if several else () for key in range(len(parts))]
    options: list[list[Pair]] = [
        [
            pair
            for part, path, top in zip(parts, paths, tops, strict=True)
            for pair in _pairs(part, path, inputs, top)
        ]
        for tops in _orders(inputs)
        if len(tops) == len(parts)
        and all(x is None or inputs.under(top) for x, top in zip(parts, tops, strict=True))
    ]
    if several and is_numbers(given) and len(inputs.real) == 1:
        options.append([((), given, inputs.real[0])])
    variables = _variables(backward)
    if len({*variables}) == len(parts):
        pairs = [*_pairs(dict(zip(variables, parts, strict=True)), (), inputs)]
        if len({name for *_, name in pairs} - {None}) == len(pairs):
            options.append(pairs)
    for option in options:
        if all(_has_shape(x, name, inputs) for _, x, name in option if x is not None):
            return option
    if options:
        return options[0]
    with_names = [part for part in parts if _has_names(part)]
    if len(with_names) == 1:
        pairs = [*_pairs(with_names[0], (), inputs)]
        if any(name for *_, name in pairs):
            return pairs
    if math.comb(len(inputs.real), len(parts)) < 10_000:
        ways = [
            [*zip(paths, parts, names, strict=True)]
            for names in itertools.combinations(inputs.real, len(parts))
            if all(map(_has_shape, parts, names, itertools.repeat(inputs)))
        ]
        if len(ways) == 1:
            return [*ways[0]]
    if len(parts) > 1 and is_numbers(parts[0]) and np.size(value_of(parts[0])) == 1:
        return _in_order(who, parts[1:], inputs, backward)
    raise ValueError(
        f"{who}: it cannot be told whose gradients backward returns: {len(parts)} of shapes "
        f"{shape_text(parts)} for the inputs {', '.join(map(repr, inputs.real))}; return a dict "
        f"by their names, or a tuple in their order with None for those that are left out"
    )


def _orders(inputs: Inputs) -> list[list[Place]]:
    """Return what a tuple may be in the order of: inputs, and those that have gradients."""
    real = [top for top in inputs.top if inputs.under(top)]
    arrays = [top for top in real if inputs.paths.get(named(top)) == top]
    return [inputs.top, real, arrays, [inputs.paths[name] for name in inputs.real]]


def _variables(f: Callable[..., Any]) -> list[str]:
    """Return the names of what a function returns at its end, as `return dx, self.dw`."""
    try:
        (function, *_) = ast.parse(textwrap.dedent(inspect.getsource(f))).body
    except (OSError, TypeError, SyntaxError):
        return []
    last = function.body[-1] if isinstance(function, ast.FunctionDef) else None
    value = last.value if isinstance(last, ast.Return) else None
    items = value.elts if isinstance(value, (ast.Tuple, ast.List)) else [value]
    names = [getattr(item, "id", getattr(item, "attr", None)) for item in items]
    return [name for name in names if name] if all(names) else []


def _has_shape(x: Any, name: str | None, inputs: Inputs) -> bool:
    shape = inputs.arrays[name].shape if name in inputs.arrays else None
    return is_numbers(x) and np.shape(value_of(x)) == shape
