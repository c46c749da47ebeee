"""The kinds of mistakes: one table, in which a row is what a person writes in the place of a term.

A row has a name, the kind it is of, what is said of it, and what is written instead: a function of
the right term (`Term`: its gradient g, input x, output z, ...), perhaps with an option. The first
rows are the ordinary mistakes. **A new kind of mistake is one row**, and an example of it in
tests/explain/test_kinds.py; `make pages` prints the table as docs/mistakes.md.

In what is said, {here} is the operation and {what} its input ({before}: " of the step before"),
{passes} "the gradient that {here} passes to {what}", {it} the words of the option, {right} what
should be there.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from . import others
from .backward import times
from .forms import FORMS, QUOTIENTS
from .others import PRODUCTS
from .term import Term, fit
from .words import factor

__all__ = ["AT_SOME_STEPS", "KINDS", "WHOLE", "Row", "Span", "Whole", "sentence"]

Option = tuple[Any, str]
SWITCHES = ("maximum", "minimum", "relu", "leaky_relu", "abs", "clip")


def _always(t: Term) -> Iterator[Option]:
    yield None, ""


class Row(NamedTuple):
    """A row of the table. It does not apply to a term for which there are no `options`."""

    name: str
    kind: str
    says: str
    written: Callable[[Term, Any], Any]
    options: Callable[[Term], Iterable[Option]] = _always
    chains: bool = False
    """Whether several functions of one variable may be taken as one."""
    plain: bool = False
    """Whether it is made at some steps only, too."""


def when(condition: Callable[[Term], bool]) -> Callable[[Term], Iterator[Option]]:
    """Make options of a row that has none: that it applies."""
    return lambda t: iter([(None, "")] if condition(t) else [])


def sentence(says: str, t: Term, it: str = "", **more: str) -> str:
    """Return what is said of a mistake, in the user's own names, without a full stop."""
    here, what = t.here, t.what
    text = says.format(
        here=here, what=what, before=" of the step before" * t.carried, it=it, right=t.right,
        passes=f"the gradient that {here} passes to {what}", **more,
    )  # fmt: skip
    return text.removesuffix("; ")


# ---- where a row applies, and its options --------------------------------------------------------


def _own_sign(t: Term) -> bool:
    """Whether the derivative has a minus sign to be forgotten."""
    if t.op in ("negative", "cos", "reciprocal"):
        return True
    if t.op in ("multiply", "power"):
        return any(a < 0 for a in t.numbers)
    return t.op in ("subtract", "divide") and t.j == 1


def _has_derivative(t: Term) -> bool:
    """Whether there is a derivative to leave out, that is no factor."""
    if t.several or t.family == "linear":
        return False
    if t.op in ("add", "subtract", "negative", "positive"):
        return False
    if t.op in ("multiply", "divide") and t.numbers:
        return False
    if t.top != t.k:  # -x, 2 * x, and nothing else
        simple = ("negative", "multiply", "divide", "add", "subtract")
        first = t.walk.nodes[t.top].primitive.name
        return not (t.k in t.walk.edges[t.top].values() and first in simple)
    return t.family == "elementwise" or np.shape(t.z) == np.shape(t.x)


def _function(t: Term) -> bool:
    """Whether it is a function of one variable, with a derivative that may be taken for others."""
    if t.op in ("add", "subtract", "multiply", "divide") and t.numbers:
        return False
    same = np.shape(t.z) == np.shape(t.x) and t.unary
    return _has_derivative(t) and same and t.family == "elementwise"


def _forms(t: Term) -> Iterator[Option]:
    for text, form in FORMS if _function(t) else ():
        yield form, text.format(**t.names)


def _minus_forms(t: Term) -> Iterator[Option]:
    """Of x in f(-x), where the minus belongs to another function."""
    if t.top != t.k and _function(t):
        yield from [(lambda z, x, f=f: -f(z, x), f"-({it})") for f, it in _forms(t)]


def _of_siblings(t: Term) -> Iterator[Option]:
    """The right derivative, but of another gate: r * (1 - r) in the place of z * (1 - z)."""
    if t.top == t.k or not _function(t):
        return
    walk, site = t.walk, t.walk.site_of[t.top]
    with np.errstate(all="ignore"):
        slope = walk.contributions[t.k, t.j] / walk.cots[t.top]
        known = [(s, f) for s, f in FORMS if "{x}" not in s and np.allclose(f(t.z, 0), slope)]
    for text, form in known[:1]:
        for other in walk.sites:
            m = other.members[-1]
            alike = other is not site and (other.op, len(other)) == (site.op, len(site))
            if alike and np.shape(walk.z[m]) == np.shape(t.z):
                by = dict(zip(site.members, other.members, strict=True))
                yield (form, by), text.format(z=factor(t.words.short(m)))


def _powers(t: Term) -> Iterator[Option]:
    for name, text in t.names.items() if _function(t) else ():
        yield (lambda t, name=name: 1 / getattr(t, name)), f"lacks the factor `{text}`"
        yield (lambda t, name=name: getattr(t, name)), f"has the factor `{text}` too many"


def _quotients(t: Term) -> Iterator[Option]:
    if t.op == "divide" and not t.numbers:
        yield from [(form, text) for text, form in QUOTIENTS[t.j]]


def _own_numbers(t: Term) -> Iterator[Option]:
    """Give what is left of a term if a number of its derivative is forgotten, or misplaced."""
    if t.several or not t.op:
        return
    op, numbers = t.op, t.numbers
    x, z, c, g = np.shape(t.x), np.shape(t.z), np.size(t.c), np.size(t.g)
    n = math.prod(x) // max(math.prod(z), 1)
    if op in ("mean", "average"):
        yield n, f"is not divided by n = {n}, the number of elements of the mean"
    elif t.family == "reduction" and math.prod(z) < math.prod(x):
        yield 1 / n, f"is divided by {n}, as if {op} were a mean"
    if 0 < c < g and t.family != "multilinear":
        yield c / g, f"is averaged over the {g // c} elements that share it, and not summed"
    if op in ("power", "float_power", "square", "sqrt") and t.j == 0:
        f = {"square": 2.0, "sqrt": 0.5}.get(op) or (numbers or [0.0])[0]
        if f:
            yield 1 / f, f"lacks the factor {f:g} of the derivative"
    if op in ("multiply", "divide") and numbers and numbers[0] not in (0.0, 1.0):
        name, a = f"{numbers[0]:g}", numbers[0] if op == "multiply" else 1 / numbers[0]
        right, wrong = ("multiplied", "divided") if op == "multiply" else ("divided", "multiplied")
        yield 1 / a, f"is not {right} by {name}"
        yield 1 / a**2, f"is {wrong} by {name} instead of {right}"
        yield a, f"is {right} by {name} twice"


def _sizes(t: Term) -> dict[int, str]:
    """Return the lengths that a factor may be taken from, with words for them."""
    walk, sizes = t.walk, dict[int, str]()
    shapes = [np.shape(t.x), np.shape(t.z), *[np.shape(walk.z[k]) for k in walk.leaves]]
    for shape in filter(None, shapes):  # several outputs have no shape
        for n in shape:
            sizes.setdefault(n, f"{n}, the length of an axis of {shape}")
    for site in walk.sites:
        sizes.setdefault(len(site), f"{len(site)}, the number of steps")
    return {n: text for n, text in sizes.items() if n > 1}


def _factors(t: Term) -> Iterator[Option]:
    """Give simple numbers, the lengths of axes, and the one that the wrong term itself has."""
    yield from [(2.0, "has a factor 2 too much"), (0.5, "has a factor 1/2 too much")]
    if t.op in ("square", "sqrt"):
        f = 2 if t.op == "square" else 0.5
        yield f, f"has the factor {f:g} twice"
    sizes, divisor = _sizes(t), 0.0
    if t.op == "mean":
        divisor = math.prod(np.shape(t.x)) // max(math.prod(np.shape(t.z)), 1)
        sizes |= {n: str(n) for n in (divisor - 1, divisor + 1, divisor + 2) if n > 1}
    elif t.op in ("multiply", "divide") and t.numbers:
        divisor = t.numbers[0] ** (1 if t.op == "divide" else -1)
    for n, text in sizes.items() if divisor else ():
        yield divisor / n, f"is divided by {text}, instead of {divisor:g}"
    for n, text in _sizes(t).items():
        yield 1 / n, f"is divided by {text}"
        yield n, f"is multiplied by {text}"
    if t.wrong is not None and not t.several:
        yield from [(f, f"has a factor {text} too much") for f, text in _ratio(t.c, t.wrong)]


def _square(x: Any) -> bool:
    return np.ndim(x) >= 2 and np.shape(x)[-1] == np.shape(x)[-2]


def _turned(x: Any) -> Any:
    return np.swapaxes(x, -1, -2)


def _product_with(t: Term, condition: Callable[[Any], bool]) -> Iterator[Option]:
    """Give the other operand of a product, if it fulfils a condition."""
    if t.op in PRODUCTS and len(t.xs) == 2 and not t.several and condition(t.xs[1 - t.j]):
        yield 1 - t.j, t.words.marked(t.k, 1 - t.j)


def _flips(t: Term) -> Iterator[Option]:
    for i, name in _product_with(t, lambda y: np.ndim(y) > 1):
        for axis in range(np.ndim(t.xs[i])):
            yield (i, axis), f"{name} is reversed along axis {axis}"


def _shared(t: Term) -> bool:
    """Whether the input was broadcast, so that its gradient is a sum."""
    widened = t.family == "elementwise" or t.op == "broadcast_to"
    return not t.several and np.size(t.c) < np.size(t.g) and widened


def _summed_axes(t: Term) -> list[int]:
    """List the axes of g that are summed over for the gradient of the input."""
    if t.several or not np.ndim(t.g) or not t.op:
        return []
    nd = np.ndim(t.g)
    if _shared(t):
        kept = (1,) * (nd - np.ndim(t.c)) + np.shape(t.c)
        return [a for a in range(nd) if kept[a] < np.shape(t.g)[a]]
    if t.op in PRODUCTS and nd > 1 and not t.carried and (t.j == 1 or np.ndim(t.c) < nd):
        return [a for a in range(nd) if a - nd != (-1 if t.j else -2)]
    return []


def _ends(t: Term, at: int) -> Iterator[Option]:
    for axis in _summed_axes(t):
        yield (slice(None),) * axis + (at,), f"axis {axis}"


def _only(g: Any, index: Any) -> Any:
    """Keep the elements at an index, and put zeros elsewhere."""
    kept = np.zeros(np.shape(g))
    kept[index] = g[index]
    return kept


def _other_axes(t: Term) -> Iterator[Option]:
    """What is broadcast is taken along another axis of the same length: `y` for `y[:, None]`."""
    if t.op not in ("multiply", "divide") or len(t.xs) != 2 or t.several:
        return
    whole, y, name = np.shape(t.z), t.xs[1 - t.j], t.words.marked(t.k, 1 - t.j)
    full = (1,) * (len(whole) - np.ndim(y)) + np.shape(y)
    for a, b in itertools.combinations(range(len(whole)), 2):
        shape = list(full)
        shape[a], shape[b] = shape[b], shape[a]
        if shape != [*full] and all(n in (1, m) for n, m in zip(shape, whole, strict=True)):
            new, old = (b, a) if shape[b] > 1 else (a, b)
            yield (full, a, b), f"{name} is taken along axis {new}, and not along axis {old}"


def _sums(t: Term) -> Iterator[Option]:
    """Give other axes to sum over, for the gradient of a sum or mean that is broadcast again.

    There may be functions of one variable between, as the square root of a variance has. Who
    derives a softmax as one may divide by the sum first, before summing, or afterwards.
    """
    walk = t.walk
    if t.op not in ("sum", "mean") or t.several:
        return
    s, between = t.k, list[int]()
    while len(walk.uses[s]) == 1 and (m := walk.uses[s][0]) in walk.chain(m):
        between.append(m)
        s = m
    for user in {*walk.uses[s]}:
        inputs = [j for j, n in walk.edges[user].items() if n == s]
        shape, kept = np.shape(walk.z[user]), np.shape(walk.z[s])
        if len(inputs) != 1 or shape != np.shape(t.x) or walk.family(user) != "elementwise":
            continue
        kept = (1,) * (len(shape) - len(kept)) + kept
        right = tuple([a for a, n in enumerate(kept) if n < shape[a]])
        whole = math.prod([shape[a] for a in right])
        axes = [(a,) for a, n in enumerate(shape) if n > 1] + [tuple(range(len(shape))), ()]
        for over, first, mean in itertools.product(axes, (False, True), (False, True)):
            n = math.prod([shape[a] for a in over])
            if over != right and not (mean and (t.op != "mean" or n in (1, whole))):
                said = f"summed over {_axes(over)}, and not over {_axes(right)}" if over else (
                    "not summed: what the other elements pass to it is missing"
                )  # fmt: skip
                scale = whole / n if mean else 1.0  # a mean over the wrong axis, and not a sum
                what = t.words.marked(user, inputs[0])
                yield (
                    (user, inputs[0], between[::-1], over, first, scale),
                    (f"{what} is broadcast in {t.words.value(user)}, and its gradient is {said}"),
                )


def _axes(axes: tuple[int, ...]) -> str:
    return f"ax{'i' if len(axes) == 1 else 'e'}s " + " and ".join(map(str, axes))


def _summed(t: Term, option: Any) -> Any:
    """Return the term of a reduction, summed over other axes behind it."""
    user, j, between, over, first, scale = option
    walk, r, n = t.walk, t.walk.rank[t.k], len(t.walk.site_of[t.k])

    def at(m: int) -> int:
        return walk.site_of[m].members[r] if len(walk.site_of[m]) == n else m

    k: int = at(user)
    v = walk.xs[k][j] if first else 1.0
    total = scale * (walk.raw(k, j, t.now(k)) * v).sum(axis=over, keepdims=True) / v
    for m in [*map(at, between), t.k]:
        (slope,) = walk.pulled(m, np.ones(np.shape(walk.z[m]))).values()
        total = total * slope
    return t.c - t.pulled(t.g) + total


def _back(t: Term, g: Any) -> Any:
    """Broadcast the gradient of a reduction back along the axes that it was made over."""
    params = t.walk.nodes[t.k].params
    axis = params.get("axis")
    if axis is not None and not params.get("keepdims"):
        g = np.expand_dims(g, axis)
    return np.broadcast_to(g, np.shape(t.c))


def _taken(t: Term) -> bool:
    """Whether an index takes elements several times."""
    if t.op != "getitem" or t.several or t.j:
        return False
    return not np.allclose(_put(t), t.c)


def _put(t: Term) -> Any:
    put = np.zeros(np.shape(t.c))
    put[t.walk.index(t.k)] = t.g
    return put


def _orders(t: Term) -> Iterator[Option]:
    """Give other orders of the elements: a reshape where a transpose belongs, or the reverse."""
    shape = np.shape(t.c)
    if t.several or not 2 <= len(shape) <= 4 or not (t.leaf or t.family == "linear"):
        return
    for order in list(itertools.permutations(range(len(shape))))[1:]:
        turned = tuple([shape[a] for a in np.argsort(order)])
        yield (lambda c, o=order: c.transpose(o).reshape(np.shape(c))), f"{[*order]}"
        yield (lambda c, o=order, s=turned: c.reshape(s).transpose(o)), f"{[*order]}"


def _signs(t: Term) -> Iterator[Option]:
    """Give what may decide, instead of the right quantity, where a gradient is let through."""
    site = t.walk.site_of[t.k]
    for other in t.walk.sites if t.op in SWITCHES else ():
        m = other.members[-1]
        if len(other) == len(site) and np.shape(t.walk.z[m]) == np.shape(t.c):
            by = dict(zip(site.members, other.members, strict=True))
            yield by, t.words.value(m)


def _limits(t: Term) -> Iterable[Option]:
    """Give the size that a term was clipped to, which only the wrong one tells."""
    return [] if t.wrong is None or t.several else _limit(t.c, t.wrong)


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

MISSING = "the gradient does not flow from {here} back to {what}{before}: this term is missing"
NOT_ADDED = "of {passes} only the last of {it} counts: sum over it (+= where = stands)"

KINDS: list[list[Row]] = [
    [  # what everybody does
        Row("a term is missing", "missing term", MISSING, lambda t, o: times(t.c, 0),
            plain=True),
        Row("the minus of the derivative is forgotten", "sign",
            "the sign is wrong where {here} passes its gradient to {what}; {right}",
            lambda t, o: times(t.c, -1), when(_own_sign), plain=True),
        Row("a number of the derivative is forgotten", "factor", "{passes} {it}",
            lambda t, f: times(t.c, f), _own_numbers),
        Row("the derivative is left out", "derivative left out",
            "the derivative of {here} is left out: its gradient is passed to {what} as it is; "
            "{right}", lambda t, o: fit(t.g, t.c), when(_has_derivative), True, plain=True),
        Row("the gradient of a maximum goes to all", "derivative left out",
            "the derivative of {here} is left out: its gradient is passed to all elements of "
            "{what} as it is; {right}", lambda t, o: _back(t, t.g),
            when(lambda t: t.op in ("max", "min", "prod"))),
        Row("an index that repeats is assigned", "not accumulated",
            "elements of {what} are taken several times in {here}, and only the last one passes "
            "its gradient: `d[index] += g` assigns, `np.add.at(d, index, g)` adds",
            lambda t, o: _put(t), when(_taken)),
        Row("summed over the wrong axis", "broadcast",
            "{what} is broadcast in {here}, and its gradient is summed over the wrong axis",
            lambda t, o: t.pulled(_turned(t.g)), when(lambda t: _shared(t) and _square(t.g))),
        Row("a sum inside, over other axes", "broadcast", "{it}", _summed,
            lambda t: (o for o in _sums(t) if o[0][3])),
        Row("a sum inside is left out", "missing term", "{it}", _summed,
            lambda t: (o for o in _sums(t) if not o[0][3])),
    ],
    [  # what is common
        Row("an operand is not transposed", "transpose",
            "{it} is not transposed (or is, where it should not be) in {passes}; {right}",
            lambda t, i: t.pulled(None, i, _turned(t.xs[i])), lambda t: _product_with(t, _square)),
        Row("a product is transposed", "transpose", "{passes} is transposed; {right}",
            lambda t, o: _turned(t.c), when(lambda t: not t.several and _square(t.c))),
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
        Row("the gradient of a maximum is shared", "wrong derivative",
            "the gradient of {here} is shared by all elements of {what}, as if it were a mean; "
            "{right}", lambda t, o: _back(t, t.g) * (np.size(t.z) / np.size(t.x)),
            when(lambda t: t.op in ("max", "min"))),
        Row("an operand of another step", "wrong step",
            "{passes} uses {it} belongs; {right}", lambda t, of: of(t), others.at_other_steps),
        Row("a term is counted twice", "counted twice",
            "what {here} passes to {what} is counted twice", lambda t, o: times(t.c, 2),
            when(lambda t: t.leaf or t.carried or len(t.walk.uses[t.source]) > 1), plain=True),
        Row("the carry is added to the one before", "counted twice",
            "what {here} passes to {what}{before} is added to what the steps after have "
            "passed, so that these are counted twice (+= where = belongs)", _carried_on, _carry),
        Row("the sign is wrong", "sign",
            "the sign is wrong where {here} passes its gradient to {what}; {right}",
            lambda t, o: times(t.c, -1), when(lambda t: not _own_sign(t)), True, plain=True),
        Row("only the first of a sum", "broadcast",
            "{passes} takes only the first of {it}: sum over it",
            lambda t, i: t.pulled(_only(t.g, i)), lambda t: _ends(t, 0)),
        Row("only the last of a sum", "not accumulated", NOT_ADDED,
            lambda t, i: t.pulled(_only(t.g, i)), lambda t: _ends(t, -1)),
        Row("summed too much", "broadcast",
            "{passes} is summed over all axes, to one number for the shape of {what}",
            lambda t, o: np.full_like(t.c, np.sum(t.c)),
            when(lambda t: (t.leaf or _shared(t)) and not t.several and np.size(t.c) > 1)),
        Row("averaged too much", "broadcast",
            "{passes} is averaged over all axes, to one number for the shape of {what}",
            lambda t, o: np.full_like(t.c, np.mean(t.c)),
            when(lambda t: _shared(t) and np.size(t.c) > 1)),
        Row("broadcast along another axis", "broadcast", "{it} in {passes}",
            lambda t, o: t.pulled(None, 1 - t.j, np.swapaxes(t.xs[1 - t.j].reshape(o[0]), *o[1:])),
            _other_axes),
        Row("a factor", "factor", "{passes} {it}", lambda t, f: times(t.c, f), _factors, True),
    ],
    [  # what is rarer
        Row("another operand", "swapped operand", "{passes} uses {it} belongs; {right}",
            lambda t, of: of(t), others.other_values),
        Row("the derivative of another", "swapped operand",
            "the derivative of {here} is taken as `{it}`, that of another; {right}",
            lambda t, o: fit(t.g * o[0](t.walk.z[o[1][t.top]], t.x), t.c), _of_siblings, True),
        Row("a derivative on the way is left out", "derivative left out", "{it}; {right}",
            lambda t, of: of(t), others.of_other_nodes),
        Row("another gradient", "swapped operand",
            "{passes} is made from {it} where that of {here} belongs",
            lambda t, of: of(t), others.other_gradients),
        Row("a term of the gradient is missing", "missing term",
            "what {it} passes on is missing in the gradient of {here}, where that goes to {what}",
            lambda t, of: t.c - of(t), others.terms_of_it),
        Row("a term of the gradient is twice there", "counted twice",
            "what {it} passes on is counted twice in the gradient of {here}, where that goes to "
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
        Row("a reshape for a transpose", "permuted",
            "the elements of {passes} are in another order, as of axes {it}: a reshape stands "
            "where a transpose belongs, or the reverse", lambda t, order: order(t.c), _orders),
        Row("an operand is reversed", "permuted", "{it} in {passes}",
            lambda t, o: t.pulled(None, o[0], np.flip(t.xs[o[0]], o[1])), _flips),
        Row("reversed", "permuted", "{passes} is reversed along axis {it}",
            lambda t, axis: np.flip(t.c, axis),
            lambda t: [] if t.several else [(a, f"{a}") for a in range(np.ndim(t.c))]),
        Row("let through elsewhere", "swapped operand",
            "the gradient of {here} is let through to {what} where {it} is positive; {right}",
            lambda t, by: fit(t.g * (t.walk.z[by[t.k]] > 0), t.c), _signs),
        Row("the derivative has another power", "wrong derivative",
            "the derivative of {here} {it}; {right}", lambda t, power: t.c * power(t), _powers,
            True),
        Row("a factor is left out", "derivative left out", "{passes} lacks the factor {it}",
            lambda t, of: t.c / of(t), others.near_factors),
        Row("a derivative near by is left out", "derivative left out",
            "{passes} lacks the factor {it}", lambda t, of: t.c / of(t), others.slopes),
        Row("a factor too many", "wrong derivative",
            "{passes} is multiplied by {it}, which does not belong there",
            lambda t, of: t.c * of(t), others.near_factors),
        Row("a derivative too many", "wrong derivative",
            "{passes} is multiplied by {it}, which does not belong there",
            lambda t, of: t.c * of(t), others.slopes),
        Row("let through as by a relu", "wrong derivative",
            "{passes} is let through only where {it} is positive, as behind a relu",
            lambda t, of: t.c * (of(t) > 0), others.near_factors),
        Row("the gradient is added as it is", "counted twice",
            "the gradient of {here} is passed to {what} as it is, in addition to what belongs "
            "there; {right}", lambda t, o: fit(t.g, t.c) + t.c, when(_has_derivative)),
        Row("minus another derivative", "wrong derivative",
            "the derivative of {here} is taken as `{it}`; {right}",
            lambda t, form: fit(t.g * form(t.z, t.x), t.c), _minus_forms, True),
        Row("clipped", "clipped", "{passes} is clipped to {it}",
            lambda t, limit: np.clip(t.c, -limit, limit), _limits),
    ],
]  # fmt: skip
"""The rows, the ordinary first: a search ends with the part in which something fits."""


def _ratio(right: Any, wrong: Any) -> Iterator[Option]:
    f = float(np.vdot(wrong, right) / (np.vdot(right, right) or 1.0))
    if 0 < abs(f) < 1e9 and f != 1:
        q = next((q for q in range(1, 500) if abs(f * q - round(f * q)) < 1e-7), 0)
        yield f, f"{round(f * q)}/{q}" if q > 1 else f"{f:.6g}"


def _limit(right: Any, wrong: Any) -> Iterator[Option]:
    limit = float(np.max(abs(wrong), initial=0.0))
    if 0 < limit < np.max(abs(right)) and np.sum(abs(wrong) >= limit * (1 - 1e-12)) > 1:
        yield limit, f"{limit:.6g}"


def _blocks(right: Any, wrong: Any) -> Iterator[Option]:
    for axis, n in itertools.product(range(np.ndim(right)), (2, 3, 4)):
        if right.shape[axis] % n == 0 and right.shape[axis] > n:
            for order in list(itertools.permutations(range(n)))[1:]:
                said = f"the {n} blocks along axis {axis} in the order {[*order]}"
                yield (axis, n, order), said


def _swapped_blocks(right: Any, option: Any) -> Any:
    axis, n, order = option
    blocks = np.split(right, n, axis)
    return np.concatenate([blocks[i] for i in order], axis)


class Whole(NamedTuple):
    """A row of the table over a gradient as a whole, whichever terms it has."""

    name: str
    kind: str
    says: str
    written: Callable[[Any, Any], Any]
    options: Callable[[Any, Any], Iterable[Option]] = lambda right, wrong: [(None, "")]


WHOLE: list[Whole] = [
    Whole("it is zero", "missing term", "nothing flows to {what}: its gradient is zero",
          lambda right, o: 0 * right),
    Whole("it has the wrong sign", "sign", "the gradient of {what} has the wrong sign",
          lambda right, o: -right),
    Whole("it has a factor", "factor", "the gradient of {what} has a factor {it} too much",
          lambda right, f: f * right, _ratio),
    Whole("it is transposed", "transpose", "the gradient of {what} is transposed",
          lambda right, o: _turned(right), lambda right, wrong: [(None, "")] * _square(right)),
    Whole("its blocks are exchanged", "permuted", "the gradient of {what} has {it}",
          _swapped_blocks, _blocks),
    Whole("it is reversed", "permuted", "the gradient of {what} is reversed along axis {it}",
          np.flip, lambda right, wrong: [(a, f"{a}") for a in range(np.ndim(right))]),
    Whole("it is moved by one", "wrong step", "the gradient of {what} is moved by one along {it}",
          lambda right, o: np.roll(right, *o), lambda right, wrong: [
              ((by, a), f"axis {a}") for a in range(np.ndim(right)) for by in (1, -1)]),
    Whole("it is clipped", "clipped", "the gradient of {what} is clipped to {it}",
          lambda right, limit: np.clip(right, -limit, limit), _limit),
]  # fmt: skip


class Span(NamedTuple):
    """Some time steps that a mistake is made at: `counts` is the one that is right, if one is.

    `first` is the first step, from an initial state; `same` that all steps have terms of one
    gradient; `carried` that they are of a state.
    """

    kind: str
    when: str
    counts: str
    first: bool
    same: bool
    carried: bool

    @property
    def missing(self) -> bool:
        return self.kind == "missing term"


class AtSomeSteps(NamedTuple):
    """A row of the table over some time steps: a plain mistake there may be of another kind."""

    name: str
    kind: str
    says: str
    holds: Callable[[Span], bool]


AT_SOME_STEPS: list[AtSomeSteps] = [
    AtSomeSteps("only one step counts", "not accumulated",
                "the gradient of {state} from {here} is not accumulated: only the {counts} step "
                "counts (= where += belongs)",
                lambda s: s.missing and s.same and s.counts != ""),
    AtSomeSteps("nothing flows to the step before", "missing term", MISSING,
                lambda s: s.missing and s.carried and s.counts == "first"),
    AtSomeSteps("the initial state gets nothing", "initial state",
                "the gradient of the initial state {state} lacks what {here} passes to it at the "
                "first step", lambda s: s.missing and s.carried and s.first),
    AtSomeSteps("cut in time", "truncated",
                "the gradient is cut {when}: {here} does not pass it on to the step before",
                lambda s: s.missing and s.carried and s.counts == ""),
    AtSomeSteps("only in the initial state", "initial state", "{when}, {it}",
                lambda s: s.carried and s.first and s.kind != "sign"),
    AtSomeSteps("at some steps only", "", "{when}, {it}", lambda s: True),
]  # fmt: skip
