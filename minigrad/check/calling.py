"""What a hand-written backward pass is called with, told from its parameters.

A forward pass gives a scalar loss and perhaps a cache, or outputs and perhaps a cache. A backward
pass takes, in this order, the gradients of the outputs (one parameter for each, or one for a tuple
of them), the inputs as forward takes them, and the cache; each is left out where it is not needed,
but for the gradients of outputs that are no loss. A parameter named as one of forward's is that
input, wherever it stands. What numbers of parameters leave open, their names tell (`dout`, `grad`;
`cache`); and what these leave open, which call gives gradients in the shapes of the inputs.
"""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..core.dtypes import Array
from ..core.tensor import Tensor, value_of
from .inputs import Inputs, is_numbers, parameters

__all__ = ["Call", "calls", "drawn", "loss_of", "parts", "shape_text"]

GRADIENT = re.compile(
    r"(d(?!ata|ict)|g(rads?|radient)?(_|[A-Z]|$)|grad|delta|upstream|top_?diff|.*grad(ient)?s?$)"
)
CACHE = re.compile(
    r"(?i).*cache.*|ctx|context|saved.*|memory|mem|tape|states?|history|residuals?|intermediates?"
)


class Argument(NamedTuple):
    """One argument of backward: of a kind, and which of that kind; -1 for all of them in one."""

    kind: str
    which: int


@dataclass(frozen=True)
class Call:
    """One way to call backward: its arguments by parameter, and which of forward's values are what.

    `outputs` are the places of the values that the loss is made of: of the loss itself, or of
    outputs whose gradients backward takes.
    """

    parameters: tuple[str, ...]
    arguments: tuple[Argument, ...]
    outputs: tuple[int, ...]
    cache: tuple[int, ...]
    keywords: tuple[bool, ...] = ()

    @property
    def is_layer(self) -> bool:
        """Whether backward takes gradients of outputs."""
        return any(argument.kind == "gradient" for argument in self.arguments)

    @property
    def gradients(self) -> list[str]:
        """The parameters that are gradients of outputs."""
        pairs = zip(self.parameters, self.arguments, strict=False)
        return [name for name, argument in pairs if argument.kind == "gradient"]

    def given(self, values: Sequence[Any], inputs: Sequence[Any], gradients: Sequence[Any]) -> Any:
        """Return the arguments in order, and those by name."""
        ordered, by_name = list[Any](), dict[str, Any]()
        for k, (kind, which) in enumerate(self.arguments):
            if kind == "gradient":
                x: Any = tuple(gradients) if which < 0 else gradients[which]
            elif kind == "input":
                x = inputs[which]
            else:
                x = tuple([values[j] for j in self.cache]) if which < 0 else values[which]
            if self.keywords and self.keywords[k]:
                by_name[self.parameters[k]] = x
            else:
                ordered.append(x)
        return ordered, by_name

    def __str__(self) -> str:
        roles = [
            {
                "gradient": "the gradients of the outputs in a tuple"
                if which < 0
                else f"the gradient of output {which}",
                "input": f"input {which}",
                "cache": "the cache" if which < 0 or len(self.cache) == 1 else f"value {which}",
            }[kind]
            for kind, which in self.arguments
        ]
        pairs = zip(self.parameters, roles, strict=False)
        return ", ".join([f"{name} = {role}" for name, role in pairs]) or "no argument"


def parts(result: Any) -> list[Any]:
    """Return the values that a function returns: those of a tuple or list, or one."""
    several = isinstance(result, (tuple, list)) and not hasattr(result, "_fields")
    return list(result) if several else [result]


def scalar_of(values: Sequence[Any]) -> int | None:
    """Return the place of the loss: of the first value, or of the only number there is."""
    fits = is_floating if len(values) > 1 else is_numbers  # a count is a loss, if a strange one
    numbers = [k for k, x in enumerate(values) if fits(x) and np.size(value_of(x)) == 1]
    return numbers[0] if numbers and (numbers[0] == 0 or len(numbers) == 1) else None


def is_floating(x: Any) -> bool:
    """Whether this is a floating array, Tensor or number."""
    if isinstance(x, (np.ndarray, np.generic, Tensor)):
        return bool(value_of(x).dtype.kind == "f")
    return isinstance(x, float)


def shape_text(values: Sequence[Any]) -> str:
    """Return what values are, as text: their shapes, or their types."""
    texts = [
        str(np.shape(value_of(x)))
        if isinstance(x, (np.ndarray, np.generic, Tensor, float, int))
        else type(x).__name__
        for x in values
    ]
    return ", ".join(texts) or "nothing"


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
    known, of_forward = parameters(backward), parameters(forward)
    names = [p.name for p in of_forward or ()][: len(inputs.items)]
    if known is None:
        any_number = _blocks(values, len(inputs.items), ["dout"], None)
        found_all = [_call(one, ["?"] * len(one.arguments), (), []) for one in any_number]
        return [call for call in found_all if call.arguments]
    found: dict[tuple[Any, ...], tuple[tuple[int, bool], Call]] = {}
    taken = [p for p in known if p.default is p.empty]
    optional = [p for p in known if p.default is not p.empty and _is_meant(p.name, names, values)]
    for more in (optional, []) if optional else ([],):
        chosen = [p for p in known if p in taken or p in more]
        gap = next((k for k, p in enumerate(known) if p not in chosen), len(known))
        keywords = tuple([known.index(p) > gap for p in chosen])
        free = [p.name for p in chosen if p.name not in names]
        has_names = len(free) < len(chosen)
        for blocks in _blocks(values, 0 if has_names else len(inputs.items), free, len(free)):
            call = _call(blocks, [p.name for p in chosen], keywords, names)
            key = call.arguments, call.outputs, call.cache
            found.setdefault(key, ((_score(call, names), not blocks.swapped), call))
        if found:
            break
    if not found:
        raise ValueError(f"{who}: {_refused(backward, known, values)}")
    best = max(rank for rank, _ in found.values())
    return [call for rank, call in found.values() if rank == best]


class _Blocks(NamedTuple):
    arguments: tuple[Argument, ...]
    outputs: tuple[int, ...]
    cache: tuple[int, ...]
    swapped: bool = False


def _blocks(
    values: Sequence[Any], count: int, free: Sequence[str], wanted: int | None
) -> Iterator[_Blocks]:
    """Yield all arguments that may be meant, `wanted` of them; `count` is that of the inputs."""
    heads = list[tuple[list[Argument], tuple[int, ...]]]()
    loss = scalar_of(values)
    if loss is not None:
        heads.append(([], (loss,)))
    leading = len(list(itertools.takewhile(is_floating, values)))
    if loss != 0 or any(map(GRADIENT.match, free)):
        for k in range(1, leading + 1):
            heads.append(([Argument("gradient", j) for j in range(k)], tuple(range(k))))
            if k > 1:
                heads.append(([Argument("gradient", -1)], tuple(range(k))))
    for head, outputs in heads:
        rest = tuple([k for k in range(len(values)) if k not in outputs])
        tails: list[tuple[list[Argument], tuple[int, ...]]] = [([], rest)]
        if len(rest) == 1 or (rest and not is_floating(values[rest[-1]])):
            tails.insert(0, ([Argument("cache", rest[-1])], rest[-1:]))
        if len(rest) > 1:
            tails.insert(1, ([Argument("cache", -1)], rest))
            tails.append(([Argument("cache", k) for k in rest], rest))
        middles = [[Argument("input", k) for k in range(n)] for n in dict.fromkeys([count, 0])]
        for (tail, cache), middle in itertools.product(tails, middles):
            if head and middle and rest and not tail:
                continue  # what stands where a cache may is the cache, unless it has a name
            if wanted is None or len(head) + len(middle) + len(tail) == wanted:
                yield _Blocks((*head, *middle, *tail), outputs, cache)
                if head and tail:
                    yield _Blocks((*tail, *middle, *head), outputs, cache, True)


def _call(
    blocks: _Blocks, chosen: Sequence[str], keywords: tuple[bool, ...], names: Sequence[str]
) -> Call:
    supply = iter(blocks.arguments)
    arguments = [
        Argument("input", names.index(name)) if name in names else next(supply) for name in chosen
    ]
    return Call(tuple(chosen), tuple(arguments), blocks.outputs, blocks.cache, keywords)


def _score(call: Call, names: Sequence[str]) -> int:
    """Return how many names look like what they would be given, less those that do not."""
    score = 0
    for name, (kind, _) in zip(call.parameters, call.arguments, strict=True):
        if name not in names:
            is_cache = bool(CACHE.fullmatch(name))
            is_gradient = not is_cache and bool(GRADIENT.match(name))
            score += {"gradient": 2 * is_gradient - 1, "cache": is_cache - is_gradient}.get(
                kind, -is_cache - is_gradient
            )
    return score


def _is_meant(name: str, names: Sequence[str], values: Sequence[Any]) -> bool:
    """Whether a parameter with a default is to be given: an input, a cache, a gradient."""
    is_cache = bool(CACHE.fullmatch(name)) and len(values) > 1
    return name in names or is_cache or (scalar_of(values) != 0 and bool(GRADIENT.match(name)))


def _refused(
    backward: Callable[..., Any], known: list[inspect.Parameter] | None, values: Sequence[Any]
) -> str:
    """Return why backward cannot be called, and what it may take."""
    title = getattr(backward, "__name__", type(backward).__name__)
    has = "(...)" if known is None else f"({', '.join([p.name for p in known])})"
    gives = f"forward gives {shape_text(values)}, and backward is {title}{has}. "
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
        "forward returns"
    )


def drawn(values: Sequence[Any], call: Call) -> list[Array]:
    """Return a random gradient for each output, the same ones every time."""
    rng = np.random.default_rng(0)
    found = list[Array]()
    for k in call.outputs:
        y = value_of(values[k])
        dtype = getattr(y, "dtype", np.dtype(np.float64))
        found.append(np.asarray(rng.standard_normal(np.shape(y)), dtype))
    return found


def loss_of(values: Sequence[Any], call: Call, gradients: Sequence[Array]) -> Any:
    """Return the loss: the value that is one, or sum(dout * out) over all outputs."""
    if not call.is_layer:
        return values[call.outputs[0]]
    terms = [np.sum(u * values[k]) for u, k in zip(gradients, call.outputs, strict=True)]
    return sum(terms[1:], terms[0])
