"""The kinds of mistakes: one table, in which a row is what a person writes in the place of a term.

A row has a name, the kind it is of, what is said of it, and what is written instead: a function of
the right term (`Term`: its gradient g, input x, output z, ...), perhaps with an option. The first
rows are the ordinary mistakes. **A new kind of mistake is one row**, and an example of it in
tests/explain/test_kinds.py; `make pages` prints the table as docs/mistakes.md.

In what is said, {here} is the operation and {what} its input, {passes} "what {here} sends to
{what}", {it} the words of the option, {right} what the term is.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from . import others
from .backward import times
from .forms import FORMS, QUOTIENTS, named
from .others import PRODUCTS
from .term import Term, fit

__all__ = ["KINDS", "Row", "sentence"]

Option = tuple[Any, str]


def _always(t: Term) -> Iterator[Option]:
    yield None, ""


class Row(NamedTuple):
    """A row of the table. It does not apply to a term for which there are no `options`."""

    name: str
    kind: str
    says: str
    written: Callable[[Any, Any], Any]
    options: Callable[[Any], Iterable[Option]] = _always
    chains: bool = False
    """Whether several functions of one variable may be taken as one."""
    plain: bool = False
    """Whether it is made at some steps only, too."""
    whole: bool = False
    """Whether it needs the right array `c` and the `wrong` one only: it holds of any quantity."""


def when(condition: Callable[[Term], bool]) -> Callable[[Term], Iterator[Option]]:
    """Make options of a row that has none: that it applies."""
    return lambda t: iter([(None, "")] if condition(t) else [])


def sentence(says: str, t: Any, it: str = "") -> str:
    """Return what is said of a mistake, in the user's own names, without a full stop."""
    text = says.format(here=t.here, what=t.what, it=it, right=t.right, passes=t.passes)
    return text.removesuffix("; ")


# ---- where a row applies, and its options --------------------------------------------------------


def _own_sign(t: Term) -> bool:
    """Whether the derivative has a minus sign to be forgotten."""
    if t.op in ("multiply", "power"):
        return any(a < 0 for a in t.numbers)
    own = t.op in ("subtract", "divide") and t.j == 1
    return own or t.op in ("negative", "cos", "reciprocal")


def _has_derivative(t: Term) -> bool:
    """Whether there is a derivative to leave out, that is no factor."""
    simple, scaled = ("add", "subtract", "negative", "positive"), ("multiply", "divide")
    if t.several or t.family == "linear" or t.op in simple or (t.op in scaled and t.numbers):
        return False
    if t.top != t.k:  # -x, 2 * x, and nothing else
        first = t.walk.nodes[t.top].primitive.name
        return not (t.k in t.walk.edges[t.top].values() and first in (*simple, *scaled))
    same = np.shape(t.z) == np.shape(t.x)
    return t.family == "elementwise" or same or t.op in ("max", "min", "prod")


def _function(t: Term) -> bool:
    """Whether it is a function of one variable, with a derivative that may be taken for others."""
    scaled = t.op in ("multiply", "divide") and t.numbers
    alike = np.shape(t.z) == np.shape(t.x) and t.unary and t.family == "elementwise"
    return _has_derivative(t) and alike and not scaled


def _forms(t: Term) -> Iterator[Option]:
    yield from [(f, named(text, t.names)) for text, f in FORMS if _function(t)]


def _powers(t: Term) -> Iterator[Option]:
    for name, text in t.names.items() if _function(t) else ():
        yield (lambda t, name=name: 1 / getattr(t, name)), f"lacks the factor `{text}`"
        yield (lambda t, name=name: getattr(t, name)), f"has the factor `{text}` too many"


def _quotients(t: Term) -> Iterator[Option]:
    if t.op == "divide" and not t.numbers:
        yield from [(form, text) for text, form in QUOTIENTS]


def _own_numbers(t: Term) -> Iterator[Option]:
    """Give what is left of a term if a number of its derivative is forgotten, or misplaced."""
    if t.several or not t.op:
        return
    op, numbers, c, g = t.op, t.numbers, np.size(t.c), np.size(t.g)
    n = np.size(t.x) // max(np.size(t.z), 1)
    if op in ("mean", "average"):
        yield n, f"is not divided by n = {n}, the number of elements of the mean"
    elif t.family == "reduction" and n > 1:
        yield 1 / n, f"is divided by {n}, as if {op} were a mean"
    if 0 < c < g and t.family != "multilinear":
        yield c / g, f"is averaged over the {g // c} elements that share it, and not summed"
    power = {"square": 2.0, "sqrt": 0.5}.get(op) or (numbers or [0.0])[0]
    if op in ("power", "float_power", "square", "sqrt") and t.j == 0 and power:
        yield 1 / power, f"lacks the factor {power:g} of the derivative"
    if op in ("multiply", "divide") and numbers and numbers[0] not in (0.0, 1.0):
        name, a = f"{numbers[0]:g}", numbers[0] if op == "multiply" else 1 / numbers[0]
        right, wrong = ("multiplied", "divided") if op == "multiply" else ("divided", "multiplied")
        yield 1 / a, f"is not {right} by {name}"
        yield 1 / a**2, f"is {wrong} by {name} instead of {right}"
        yield a, f"is {right} by {name} twice"


def _factors(t: Any) -> Iterator[Option]:
    """Give the factor that the wrong array has; of a term lengths of axes and loops, and 2."""
    if t.several:
        return
    factors = [2.0, 0.5]
    if isinstance(t, Term):
        shapes = [np.shape(x) for x in (t.x, t.z, *[t.walk.z[k] for k in t.walk.leaves])]
        lengths: set[float] = {n for shape in shapes for n in shape} | {
            len(site) for site in t.walk.sites
        }
        factors += [f for n in sorted(lengths) if n > 1 for f in (1 / n, n)]
        divisor = 0.0
        if t.op == "mean":
            divisor = math.prod(np.shape(t.x)) / max(math.prod(np.shape(t.z)), 1)
            lengths |= {divisor - 1, divisor + 1, divisor + 2}
        elif t.numbers and t.op in ("multiply", "divide"):
            divisor = t.numbers[0] ** (1 if t.op == "divide" else -1)
        factors += [divisor / n for n in sorted(lengths) if n > 1]
    if t.wrong is not None:
        factors.append(float(np.vdot(t.wrong, t.c) / (np.vdot(t.c, t.c) or 1.0)))
    for f in dict.fromkeys(factors):
        if 0 < abs(f) < 1e9 and f != 1:
            q = next((q for q in range(1, 500) if abs(f * q - round(f * q)) < 1e-7), 0)
            yield f, f"{round(f * q)}/{q}" if q > 1 else f"{f:.6g}"


def _square(x: Any) -> bool:
    return np.ndim(x) >= 2 and np.shape(x)[-1] == np.shape(x)[-2]


def _turned(x: Any) -> Any:
    return np.swapaxes(x, -1, -2)


def _turned_operand(t: Term) -> Iterator[Option]:
    """Give the other operand of a product, if it is square."""
    if t.op in PRODUCTS and len(t.xs) == 2 and not t.several and _square(t.xs[1 - t.j]):
        yield 1 - t.j, t.words.marked(t.k, 1 - t.j)


def _shared(t: Term) -> bool:
    """Whether the input was broadcast, so that its gradient is a sum."""
    widened = t.family == "elementwise" or t.op == "broadcast_to"
    return not t.several and np.size(t.c) < np.size(t.g) and widened


def _ends(t: Term, at: int) -> Iterator[Option]:
    """Give the axes of g that are summed over for the gradient of the input, at one end."""
    axes, nd = list[int](), np.ndim(t.g)
    if not t.several and _shared(t):
        kept = (1,) * (nd - np.ndim(t.c)) + np.shape(t.c)
        axes = [a for a in range(nd) if kept[a] < np.shape(t.g)[a]]
    elif t.op in PRODUCTS and nd > 1 and not t.carried and (t.j == 1 or np.ndim(t.c) < nd):
        axes = [a for a in range(nd) if a - nd != (-1 if t.j else -2)]
    for axis in axes:
        yield (slice(None),) * axis + (at,), f"axis {axis}"


def _put(into: Any, index: Any, values: Any) -> Any:
    """Return zeros of the shape of an array with values at an index."""
    put = np.zeros(np.shape(into))
    put[index] = values
    return put


def _taken(t: Term) -> Iterator[Option]:
    """Give an index that takes elements several times."""
    if t.op == "getitem" and not t.several and not t.j:
        index = t.walk.index(t.k)
        if not np.allclose(_put(t.c, index, t.g), t.c):
            yield index, ""


def _limits(t: Any) -> Iterator[Option]:
    """Give the size that an array was clipped to, which only the wrong one tells."""
    if t.wrong is not None and not t.several:
        limit = float(np.max(abs(t.wrong), initial=0.0))
        if 0 < limit < np.max(abs(t.c)) and np.sum(abs(t.wrong) >= limit * (1 - 1e-12)) > 1:
            yield limit, f"{limit:.6g}"


def _axes(t: Any) -> list[Option]:
    return [] if t.several else [(a, f"axis {a}") for a in range(np.ndim(t.c))]


def _blocks(t: Any) -> Iterator[Option]:
    for (axis, _), n in itertools.product(_axes(t), (2, 3, 4)) if not isinstance(t, Term) else ():
        if t.c.shape[axis] % n == 0 and t.c.shape[axis] > n:
            for order in list(itertools.permutations(range(n)))[1:]:
                yield (axis, n, order), f"{n} blocks along axis {axis} in the order {[*order]}"


def _exchanged(c: Any, axis: int, n: int, order: tuple[int, ...]) -> Any:
    blocks = np.split(c, n, axis)
    return np.concatenate([blocks[i] for i in order], axis)


def _masks(t: Term) -> Iterator[Option]:
    for name, text in (("x", t.what), ("z", t.here)) if not t.several and np.ndim(t.c) else ():
        if np.shape(getattr(t, name)) == np.shape(t.c):
            yield name, text


def _carry(t: Term) -> Iterator[Option]:
    if t.carried and not t.several:
        yield {}, ""


def _carried_on(t: Term, kept: dict[int, Any]) -> Any:
    """Add to a carry what stands there still: all that the steps after have passed on."""
    site = t.walk.site_of[t.k]
    after = site.members[t.walk.rank[t.k] + 1 :][:1]
    right = t.walk.contributions
    kept[t.k] = t.c + sum([kept.get(k, right.get((k, t.j), 0.0)) for k in after])
    return kept[t.k]


# ---- the table -----------------------------------------------------------------------------------

KINDS: list[list[Row]] = [
    [  # what everybody does
        Row("a term is missing", "missing term", "{passes} is missing", lambda t, o: times(t.c, 0),
            plain=True, whole=True),
        Row("the minus of the derivative is forgotten", "sign",
            "the sign of {passes} is wrong; {right}", lambda t, o: times(t.c, -1),
            when(_own_sign), plain=True),
        Row("a number of the derivative is forgotten", "factor", "{passes} {it}",
            lambda t, f: times(t.c, f), _own_numbers),
        Row("the derivative is left out", "derivative left out",
            "the derivative of {here} is left out: its gradient is passed to {what} as it is; "
            "{right}", lambda t, o: t.passed, when(_has_derivative), True, plain=True),
        Row("an index that repeats is assigned", "not accumulated",
            "elements of {what} are taken several times in {here}, and only the last one passes "
            "its gradient: `d[index] += g` assigns, `np.add.at(d, index, g)` adds",
            lambda t, index: _put(t.c, index, t.g), _taken),
        Row("summed over the wrong axis", "broadcast",
            "{what} is broadcast in {here}, and its gradient is summed over the wrong axis",
            lambda t, o: t.pulled(_turned(t.g)), when(lambda t: _shared(t) and _square(t.g))),
    ],
    [  # what is common
        Row("an operand is not transposed", "transpose",
            "{it} is not transposed (or is, where that is wrong) in {passes}; {right}",
            lambda t, i: t.pulled(None, i, _turned(t.xs[i])), _turned_operand),
        Row("it is transposed", "transpose", "{passes} is transposed; {right}",
            lambda t, o: _turned(t.c), when(lambda t: not t.several and _square(t.c)), whole=True),
        Row("the gradient is transposed", "transpose",
            "the gradient of {here} is transposed before it gives that of {what}; {right}",
            lambda t, o: t.pulled(_turned(t.g)),
            when(lambda t: t.op in PRODUCTS and not t.several and _square(t.g))),
        Row("another derivative", "wrong derivative",
            "the derivative of {here} is taken as `{it}`; {right}",
            lambda t, form: fit(t.g * form(t.z, t.x), t.c), _forms, True),
        Row("another derivative of a quotient", "wrong derivative",
            "the derivative of {here}, x / y, by {what} is taken as `{it}`; {right}",
            lambda t, form: fit(t.g * form(*t.xs), t.c), _quotients),
        Row("an operand of another step", "wrong step",
            "{passes} uses {it} belongs; {right}", lambda t, of: of(t), others.at_other_steps),
        Row("a term is counted twice", "counted twice", "{passes} is counted twice",
            lambda t, o: times(t.c, 2),
            when(lambda t: t.leaf or t.carried or len(t.walk.uses[t.source]) > 1), plain=True),
        Row("the carry is added to the one before", "counted twice",
            "{passes} is added to what the steps after have passed, so that these are counted "
            "twice (+= where = belongs)", _carried_on, _carry),
        Row("the sign is wrong", "sign", "the sign of {passes} is wrong; {right}",
            lambda t, o: times(t.c, -1), chains=True, plain=True, whole=True),
        Row("only the first of a sum", "broadcast", "{passes} takes only the first of {it}: sum "
            "over it", lambda t, i: t.pulled(_put(t.g, i, t.g[i])), lambda t: _ends(t, 0)),
        Row("only the last of a sum", "not accumulated",
            "of {passes} only the last of {it} counts: sum over it (+= where = stands)",
            lambda t, i: t.pulled(_put(t.g, i, t.g[i])), lambda t: _ends(t, -1)),
        Row("summed too much", "broadcast",
            "{passes} is {it} over all axes, to one number for the shape of {what}",
            lambda t, f: np.full_like(t.c, f(t.c)),
            lambda t: [(np.sum, "summed"), (np.mean, "averaged")]
            * ((t.leaf or _shared(t)) and not t.several and np.size(t.c) > 1)),
        Row("a factor", "factor", "{passes} has a factor {it} too much",
            lambda t, f: times(t.c, f), _factors, True, whole=True),
    ],
    [  # what is rarer
        Row("another operand", "swapped operand", "{passes} uses {it} belongs; {right}",
            lambda t, of: of(t), others.other_values),
        Row("a derivative on the way is left out", "derivative left out", "{it}; {right}",
            lambda t, of: of(t), others.of_other_nodes),
        Row("another gradient", "swapped operand",
            "{passes} is made from {it} where that of {here} belongs",
            lambda t, of: of(t), others.other_gradients),
        Row("a term of the gradient is missing", "missing term",
            "what {it} sends on is missing in the gradient of {here}, where that goes to {what}",
            lambda t, of: t.c - of(t), others.terms_of_it),
        Row("a term of the gradient is twice there", "counted twice",
            "what {it} sends on is counted twice in the gradient of {here}, where that goes to "
            "{what}", lambda t, of: t.c + of(t), others.terms_of_it),
        Row("the incoming gradient is forgotten", "gradient left out",
            "the derivative of {here} by {what} is not multiplied by the gradient of {here}",
            lambda t, o: t.pulled(np.ones(np.shape(t.g))),
            when(lambda t: not t.several and t.top == t.k)),
        Row("elements in another order", "permuted",
            "the elements of the gradient of {here} are not put back into the order that they have "
            "in {what}", lambda t, o: fit(t.g, t.c),
            when(lambda t: not t.several and t.family == "linear"
                 and np.shape(t.g) == np.shape(t.c) and not np.array_equal(t.g, t.c))),
        Row("its blocks are exchanged", "permuted", "{passes} has its {it}",
            lambda t, o: _exchanged(t.c, *o), _blocks, whole=True),
        Row("it is reversed", "permuted", "{passes} is reversed along {it}",
            lambda t, axis: np.flip(t.c, axis), _axes, whole=True),
        Row("it is moved by one", "wrong step", "{passes} is moved by one along {it}",
            lambda t, o: np.roll(t.c, *o),
            lambda t: [((by, a), it) for a, it in _axes(t) for by in (1, -1)
                       if not isinstance(t, Term)], whole=True),
        Row("the derivative has another power", "wrong derivative",
            "the derivative of {here} {it}; {right}", lambda t, power: t.c * power(t), _powers,
            True),
        Row("the gradient is added as it is", "counted twice",
            "the gradient of {here} is passed to {what} as it is, in addition to what belongs "
            "there; {right}", lambda t, o: t.passed + t.c, when(_has_derivative)),
        Row("let through as by a relu", "wrong derivative",
            "{passes} is let through only where {it} is positive, as behind a relu",
            lambda t, name: t.c * (getattr(t, name) > 0), _masks),
        Row("clipped", "clipped", "{passes} is clipped to {it}",
            lambda t, limit: np.clip(t.c, -limit, limit), _limits, whole=True),
    ],
]  # fmt: skip
"""The rows, the ordinary first: a search ends with the part in which something fits."""
