"""What a hand-written backward pass is called with, told from its parameters.

A forward pass gives a scalar loss or outputs, and perhaps a cache. A backward pass takes, in this
order, the gradients of the outputs (one parameter for each, or one for all of them), the inputs as
forward takes them, and the cache; or all of it with the cache first. Each is left out where it is
not needed, but for the gradients of outputs that are no loss. A parameter named as one of forward's
is that input, wherever it stands. What the number of parameters leaves open, their names tell
(`dout`, `grad`; `cache`); and what these leave open, which call gives gradients in the shapes of
the inputs. A new form is a head, a middle or a tail in `_ways`.
"""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core import tree
from ..core.tensor import Tensor, value_of
from ..core.tree import Tree
from .inputs import Inputs, is_numbers, parameters, shape_text

__all__ = ["Call", "calls", "drawn", "is_output", "loss_of", "parts"]

GRADIENT = re.compile(
    r"d(?!ata|ict)|g(rads?|radient)?(_|[A-Z]|$)|grad|delta|upstream|top_?diff|.*grad(ient)?s?$|"
    r"err(or)?s?(_|$)|(.*_?(bar|adjoint|cotangent))$"
)
CACHE = re.compile(
    r"(?i).*cache.*|ctx|context|saved.*|memory|mem|tape|states?|history|residuals?|intermediates?"
)


class Argument(NamedTuple):
    """One argument of backward: which "gradient", "input" or "value" of forward it is.

    `which` is -1 for the gradients of all outputs in one, or for all values that are no outputs.
    """

    kind: str
    which: int
    parameter: str = "?"
    by_name: bool = False


class Call(NamedTuple):
    """One way to call backward.

    `outputs` are the places of the values that the loss is made of: of the loss itself, or of
    outputs whose gradients backward takes.
    """

    arguments: tuple[Argument, ...]
    outputs: tuple[int, ...]

    @property
    def gradients(self) -> list[str]:
        """The parameters that are gradients of outputs: none if forward gives a loss."""
        return [a.parameter for a in self.arguments if a.kind == "gradient"]

    def given(
        self, values: Sequence[Any], inputs: Sequence[Any], gradients: Sequence[Tree]
    ) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments in order, and those by name."""
        rest = tuple([x for k, x in enumerate(values) if k not in self.outputs])
        douts = [*gradients] if isinstance(values, list) else (*gradients,)
        together: dict[str, Any] = {"gradient": douts, "value": rest}
        each = {"gradient": gradients, "input": inputs, "value": values}
        found = [together[a.kind] if a.which < 0 else each[a.kind][a.which] for a in self.arguments]
        pairs = [*zip(self.arguments, found, strict=True)]
        by_name = {a.parameter: x for a, x in pairs if a.by_name}
        return [x for a, x in pairs if not a.by_name], by_name

    def __str__(self) -> str:
        texts = {
            "gradient": ("the gradients of the outputs in a tuple", "the gradient of output {}"),
            "input": ("", "input {}"),
            "value": ("the cache", "the cache, value {} of forward"),
        }
        roles = [
            f"{a.parameter} = {texts[a.kind][a.which >= 0].format(a.which)}" for a in self.arguments
        ]
        return ", ".join(roles) or "no argument"


def parts(result: Any) -> Sequence[Any]:
    """Return the values that a function returns: those of a tuple or list, or one."""
    if isinstance(result, (tuple, list)) and not hasattr(result, "_fields"):
        return list(result) if isinstance(result, list) else tuple(result)
    return (result,)


def is_floating(x: Any) -> bool:
    """Whether this is a floating array, Tensor or number."""
    if isinstance(x, (np.ndarray, np.generic, Tensor)):
        return bool(value_of(x).dtype.kind == "f")
    return isinstance(x, float)


def is_output(values: Sequence[Any], k: int) -> bool:
    """Whether a value may have a gradient: a floating array, or, as the first, containers of them.

    Behind the first one, containers are caches.
    """
    leaves = tree.flatten(values[k])[0] if k == 0 else [values[k]]
    return bool(leaves) and all(map(is_floating, leaves))


def scalar_of(values: Sequence[Any]) -> int | None:
    """Return the place of the loss: of the first value, or of the only number there is."""
    fits = is_floating if len(values) > 1 else is_numbers  # a count is a loss, if a strange one
    numbers = [k for k, x in enumerate(values) if fits(x) and np.size(value_of(x)) == 1]
    return numbers[0] if numbers and (numbers[0] == 0 or len(numbers) == 1) else None


def calls(
    who: str,
    inputs: Inputs,
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    values: Sequence[Any],
) -> list[Call]:
    """Return the ways to call backward that its parameters allow, the most likely; else ValueError.

    Several if their names do not tell which is meant.
    """
    known = parameters(backward) or []
    if parameters(backward) is None:  # *args: as many as there may be
        ways = [call for call in _ways(values, len(inputs.items), ["dout"]) if call.arguments]
        if ways:
            return ways
    names = [p.name for p in parameters(forward) or ()][: len(inputs.items)]
    needed = [p for p in known if p.default is p.empty]
    meant = [p for p in known if p in needed or _is_meant(p.name, names, values)]
    for chosen in (meant, needed):  # what has a default may be left out
        gap = next((k for k, p in enumerate(known) if p not in chosen), len(known))
        free = [p.name for p in chosen if p.name not in names]
        count = 0 if len(free) < len(chosen) else len(inputs.items)
        found = dict[Call, tuple[int, bool]]()
        for way in _ways(values, count, free):
            if len(way.arguments) == len(free):
                supply = iter(way.arguments)
                arguments = tuple([
                    (Argument("input", names.index(p.name)) if p.name in names else next(supply))
                    ._replace(parameter=p.name, by_name=known.index(p) > gap)
                    for p in chosen
                ])  # fmt: skip
                kinds = [a.kind for a in way.arguments]
                is_usual = not (kinds and (kinds[0], kinds[-1]) == ("value", "gradient"))
                found.setdefault(Call(arguments, way.outputs), (_score(arguments, names), is_usual))
        if found:
            best = max(found.values())
            return [call for call, rank in found.items() if rank == best]
    raise ValueError(f"{who}: {_refused(backward, known, values)}")


def _ways(values: Sequence[Any], count: int, free: Sequence[str]) -> Iterator[Call]:
    """Yield all calls that may be meant, the most likely first, of `count` inputs or none.

    `free` are the names of parameters that are not those of inputs.
    """
    loss = scalar_of(values)
    heads: list[tuple[list[Argument], range]] = []
    if loss is not None:
        heads.append(([], range(loss, loss + 1)))
    leading = len([*itertools.takewhile(lambda k: is_output(values, k), range(len(values)))])
    is_list = isinstance(values, list) and leading == len(values)  # which has one gradient, a list
    is_layer = loss is None or (loss > 0 and is_floating(values[0]))
    if is_layer or "gradient" in map(_look, free):
        for k in range(leading if is_list else 1, leading + 1):
            heads.append(([Argument("gradient", j) for j in range(k)], range(k)))
            if k > 1 or is_list:
                heads.append(([Argument("gradient", -1)], range(k)))
    for head, outputs in heads:
        rest = [k for k in range(len(values)) if k not in outputs]
        tails: list[list[Argument]] = [[]]
        if len(rest) == 1 or (rest and not is_floating(values[rest[-1]])):
            tails.insert(0, [Argument("value", rest[-1])])
        if len(rest) > 1:
            tails.insert(1, [Argument("value", -1)])
            tails.append([Argument("value", k) for k in rest])
        middles = [[Argument("input", k) for k in range(n)] for n in dict.fromkeys([count, 0])]
        for tail, middle in itertools.product(tails, middles):
            if head and middle and rest and not tail:
                continue  # what stands where a cache may is the cache, unless it has a name
            if head == [Argument("gradient", -1)] and len(outputs) < leading and not tail:
                continue  # the gradients of all of them
            yield Call((*head, *middle, *tail), (*outputs,))
            if head and tail:
                yield Call((*tail, *middle, *head), (*outputs,))


def _look(name: str) -> str:
    """Return the kind of argument that a name looks like: "value" for a cache; "" for no kind."""
    return "value" if CACHE.fullmatch(name) else "gradient" if GRADIENT.match(name) else ""


def _score(arguments: Sequence[Argument], names: Sequence[str]) -> int:
    """Return how many names look like what they would be given, less those that do not.

    Beside names that look like gradients, another one is no gradient.
    """
    looks = [(a.kind, _look(a.parameter)) for a in arguments if a.parameter not in names]
    has_gradients = "gradient" in [look for _, look in looks]
    return sum(
        (look == kind) or -bool(look or (has_gradients and kind == "gradient"))
        for kind, look in looks
    )


def _is_meant(name: str, names: Sequence[str], values: Sequence[Any]) -> bool:
    """Whether a parameter with a default is to be given: an input, a cache, a gradient."""
    if _look(name) == "gradient" and scalar_of(values) != 0:
        return True
    return name in names or (_look(name) == "value" and len(values) > 1)


def _refused(
    backward: Callable[..., Any], known: list[inspect.Parameter], values: Sequence[Any]
) -> str:
    """Return why backward cannot be called, and what it may take."""
    title = getattr(backward, "__name__", type(backward).__name__)
    has = ", ".join([p.name for p in known])
    gives = f"forward gives {shape_text(values)}, and backward is {title}({has}). "
    if any(getattr(value_of(x), "dtype", np.dtype(float)).kind == "c" for x in values):
        return f"{gives}Gradients are of real numbers, not complex ones"
    if scalar_of(values) is not None:
        return (
            f"{gives}Of a loss, it takes (), (inputs), (inputs, cache) or (cache), where inputs "
            "are as forward takes them, and forward returns (loss, cache)"
        )
    return (
        f"forward must give a scalar, or backward take the gradients of what it gives: {gives}It "
        "takes (dout, cache), (dout, inputs) or (dout) for one output, (dout1, dout2, cache) or "
        "((dout1, dout2), cache) for two, where the outputs are the first floating arrays that "
        "forward returns, or the first value, a container of them"
    )


def drawn(values: Sequence[Any], call: Call) -> list[Tree]:
    """Return a random gradient for each output, built as it is, the same ones every time."""
    rng = np.random.default_rng(0)

    def like(y: Any) -> Any:
        y = value_of(y)
        dtype = getattr(y, "dtype", np.dtype(np.float64))
        return np.asarray(rng.standard_normal(np.shape(y)), dtype)

    return [tree.map(like, values[k]) for k in call.outputs]


def loss_of(values: Sequence[Any], call: Call, gradients: Sequence[Tree]) -> Any:
    """Return the loss: the value that is one, or sum(dout * out) over all outputs."""
    outputs = [values[k] for k in call.outputs]
    if not call.gradients:
        return outputs[0]
    terms = tree.flatten(tree.map(lambda u, y: np.sum(u * y), [*gradients], outputs))[0]
    return sum(terms[1:], terms[0])
