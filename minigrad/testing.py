"""Checks of derivatives: against central differences, and the laws that every primitive obeys.

    truth        the push rule gives the derivative that central differences give
    adjointness  <u, J v> = <J' u, v>: the pull rule is the transpose of the push rule
    closure      a rule on tensors gives bit for bit what it gives on arrays
    second order the derivatives' own derivatives pass the same checks

Adjointness alone cannot see a wrong elementwise rule, since both directions share it; truth can.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import tree
from .autodiff import jvp, vjp
from .compare import compare, compare_backward
from .primitive import Case, Primitive
from .tape import Outputs, Pending, pulled, recorded_inputs
from .tensor import OPS, Tensor, tensor, value_of

__all__ = [
    "LAWS", "assert_same_gradients", "check_grads", "check_primitive", "directional",
    "numerical_grad", "operations",
]  # fmt: skip

Array = np.ndarray[Any, np.dtype[Any]]
STEP = 1e-3
"""Step of the fourth-order differences: truncation and rounding meet near 1e-12."""


def directional(f: Callable[..., Any], xs: Sequence[Array], vs: Sequence[Array]) -> list[Array]:
    """Differentiate `f` at `xs` along `vs`, by the fourth-order central difference in float64."""

    def at(h: float) -> list[Array]:
        moved = [np.asarray(x + h * v) for x, v in zip(xs, vs, strict=True)]
        return [np.array(value_of(y), np.float64) for y in tree.flatten(f(*moved))[0]]

    near = [a - b for a, b in zip(at(STEP), at(-STEP), strict=True)]
    far = [a - b for a, b in zip(at(2 * STEP), at(-2 * STEP), strict=True)]
    return [(8 * a - b) / (12 * STEP) for a, b in zip(near, far, strict=True)]


def numerical_grad(f: Callable[..., Any], tree_of_arrays: Any) -> Any:
    """Differentiate a number-valued `f` of one container by every element, in float64.

    It runs `f` four times for each element: the slow witness, for checks.
    """
    leaves, structure = tree.flatten(tree_of_arrays)
    xs = [np.array(value_of(x), np.float64) for x in leaves]

    def of_leaves(*moved: Array) -> Any:
        return f(tree.unflatten(structure, moved))

    return tree.unflatten(structure, _entries(of_leaves, xs, [np.ones(())]))


def check_grads(
    f: Callable[..., Any],
    args: Sequence[Any],
    order: int = 2,
    modes: Sequence[str] = ("rev", "fwd"),
    *,
    rtol: float = 1e-6,
    seed: int = 0,
) -> None:
    """Check the derivatives of `f` at `args` against central differences, to the given order.

    `args` are nested containers of real arrays; copies in float64 are used. Each order is checked
    in a random direction, in reverse ("rev") and forward mode ("fwd"). Where one fails, every
    element is examined, and the AssertionError names the argument, the index, both numbers and the
    order. At a kink of `f` (relu at 0) there is no derivative to agree with.

    >>> check_grads(lambda x: np.sin(x) * x, (np.array([1.0, 2.0]),))
    """
    for mode in modes:
        if mode not in ("rev", "fwd"):
            raise ValueError(f"check_grads: a mode is 'rev' or 'fwd', not {mode!r}")
    leaves, structure = tree.flatten(tuple(args))
    xs = [np.array(value_of(x), np.float64) for x in leaves]

    def of_leaves(*moved: Any) -> Any:
        return tree.flatten(f(*tree.unflatten(structure, moved)))[0]

    names = [f"args{name}" for name in tree.names(structure)]
    _check(of_leaves, xs, names, 1, order, modes, rtol, np.random.default_rng(seed))


def _check(
    f: Callable[..., list[Any]],
    xs: list[Array],
    names: list[str],
    order: int,
    last: int,
    modes: Sequence[str],
    rtol: float,
    rng: np.random.Generator,
) -> None:
    vs = [_direction(rng, x) for x in xs]
    expected = directional(f, xs, vs)
    one = sum(y.size for y in expected) == 1  # then the numbers in a message are the derivative's
    us = [np.ones_like(y) if one else _direction(rng, y) for y in expected]

    def pulled(*xs: Any) -> list[Any]:
        return list(vjp(f, *xs)[1](us))

    def pushed(*xs: Any) -> list[Any]:
        return list(jvp(f, xs, vs)[1])

    for mode, derivative in (("rev", pulled), ("fwd", pushed)):
        if mode not in modes:
            continue
        got = [np.asarray(value_of(d)) for d in derivative(*xs)]
        ours = _dot(got, vs if mode == "rev" else us)
        theirs = _dot(us, expected)
        size = _dot(map(np.abs, us), map(np.abs, expected)) + 1e-3
        if not abs(ours - theirs) <= rtol * size:
            raise AssertionError(_located(f, xs, us, names, mode, order, (ours, theirs)))
        if order < last:
            _check(derivative, xs, names, order + 1, last, modes, rtol, rng)


def _located(
    f: Callable[..., list[Any]],
    xs: list[Array],
    us: list[Array],
    names: list[str],
    mode: str,
    order: int,
    totals: tuple[float, float],
) -> str:
    """Examine every element, and say where the derivative is worst."""
    exact = _entries(f, xs, us)
    if mode == "rev":
        ours = [np.asarray(value_of(g)) for g in vjp(f, *xs)[1](us)]
    else:
        ours = _entries(f, xs, us, lambda f, xs, vs: [value_of(d) for d in jvp(f, xs, vs)[1]])
    worst, text = -1.0, ""
    for name, a, b in zip(names, ours, exact, strict=True):
        for index in np.ndindex(b.shape):
            got, wanted = float(a[index]), float(b[index])
            gap = abs(got - wanted) / (abs(got) + abs(wanted) + 1e-12)
            if not gap <= worst:  # NaN is worst of all
                worst = np.inf if np.isnan(gap) else gap
                place = f"{name}[{', '.join(map(str, index))}]" if index else name
                text = f"worst at {place}: automatic {got:.10g}, central difference {wanted:.10g}"
    return (
        f"order {order}, mode {mode}: along a random direction the derivative is {totals[0]:.10g}, "
        f"by central differences {totals[1]:.10g}; {text}"
    )


def _entries(
    f: Callable[..., Any],
    xs: Sequence[Array],
    us: Sequence[Array],
    along: Callable[..., Any] = directional,
) -> list[Array]:
    """Differentiate <us, f> by every element of every x, one direction at a time."""
    table = [np.zeros_like(x) for x in xs]
    vs = [np.zeros_like(x) for x in xs]
    for v, row in zip(vs, table, strict=True):
        for index in np.ndindex(v.shape):
            v[index] = 1
            row[index] = _dot(us, along(f, xs, vs))
            v[index] = 0
    return table


def _direction(rng: np.random.Generator, like: Array) -> Array:
    return np.asarray(rng.uniform(0.5, 1.5, like.shape) * rng.choice([-1.0, 1.0], like.shape))


def _dot(us: Any, vs: Any) -> float:
    with np.errstate(invalid="ignore"):  # what is not finite is found by what comes out
        return float(
            sum(np.sum(np.asarray(u) * np.asarray(v)) for u, v in zip(us, vs, strict=True))
        )


def assert_same_gradients(manual: Any, automatic: Any, inputs: Any = None) -> None:
    """Assert that gradients derived by hand are right: one line in somebody's tests.

    Give what `compare` takes (gradients and a loss, or two containers); or `forward`, `backward`
    and `inputs`, as `compare_backward` takes them. GradientMismatch, an AssertionError, has the
    table and the best explanation in its message.

    >>> def forward(p):
    ...     return np.sum(np.sin(p["x"]))
    >>> assert_same_gradients(forward, lambda p: {"x": np.cos(p["x"])}, {"x": np.arange(3.0)})
    """
    if inputs is None:
        compare(manual, automatic).raise_if_different()
    else:
        compare_backward(manual, automatic, inputs).raise_if_different()


# ---- the laws ------------------------------------------------------------------------------------


def operations() -> dict[str, Any]:
    """Every operation of the registry that states samples, by name."""
    return {op.__name__: op for op in dict.fromkeys(OPS.values()) if getattr(op, "samples", None)}


class Draw:
    """What `samples` draw from: `r(2, 3)` is a float64 array of that shape, uniform in a domain."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def __call__(self, *shape: int, domain: tuple[float, float] = (-2.0, 2.0)) -> Array:
        return np.asarray(self.rng.uniform(*domain, shape))

    def regular(self, *shape: int) -> Array:
        """Draw matrices with singular values well apart and off zero."""
        rows, columns = shape[-2:]
        return 0.3 * self(*shape) + np.eye(rows, columns) * np.arange(2, 2 + columns)


def _opened(op: Any, case: Case) -> tuple[Callable[..., list[Tensor]], list[Array]]:
    """Make of an operation and a case a function of its real arrays alone, to a list of outputs."""
    leaves, structure = tree.flatten(case.args)
    real = [k for k, x in enumerate(leaves) if isinstance(x, np.ndarray) and x.dtype.kind == "f"]

    def f(*xs: Any) -> list[Tensor]:
        full = list(leaves)
        for k, x in zip(real, xs, strict=True):
            full[k] = x
        return tree.flatten(op(*tree.unflatten(structure, full), **case.params))[0]

    return f, [leaves[k] for k in real]


def law_truth(op: Any, case: Case) -> None:
    """J v equals the central difference, entry by entry."""
    f, xs = _opened(op, case)
    vs = [_direction(np.random.default_rng(1), x) for x in xs]
    exact = directional(f, xs, vs)
    ours = jvp(f, xs, vs)[1]
    for a, b in zip(ours, exact, strict=True):
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-7, atol=1e-8)


def law_adjointness(op: Any, case: Case) -> None:
    """<u, J v> = <J' u, v>, for each input alone and for all together."""
    f, xs = _opened(op, case)
    rng = np.random.default_rng(2)
    us = [_direction(rng, y.value) for y in f(*xs)]
    vs = [_direction(rng, x) for x in xs]
    pulled = [g.numpy() for g in vjp(f, *xs)[1](us)]
    for g, x in zip(pulled, xs, strict=True):
        assert (g.shape, g.dtype) == (x.shape, x.dtype)
    for chosen in {*range(len(xs)), None}:
        some = [v if chosen in (None, k) else 0 * v for k, v in enumerate(vs)]
        pushed = [d.numpy() for d in jvp(f, xs, some)[1]]
        np.testing.assert_allclose(_dot(us, pushed), _dot(pulled, some), rtol=1e-10, atol=1e-12)


def law_closure(op: Any, case: Case) -> None:
    """Rules compute the same bits on arrays and on tensors."""
    if not isinstance(op, Primitive):
        return
    f, xs = _opened(op, case)
    z = f(*[tensor(x, requires_grad=True) for x in xs])[0]
    if z.primitive and z.primitive.name == "pick":  # one of several outputs
        z = z.inputs[0]
    g = tree.map(lambda v: _direction(np.random.default_rng(3), v), _plain(z.value))
    inputs = recorded_inputs(z)
    seeds = [None if t is None or not t.live else _direction_like(t) for t in z.inputs]
    live, gs = [dx is not None for dx in seeds], tree.map(tensor, g)
    ours, again = pulled(z, live, g, z.value, z.xs), pulled(z, live, gs, z.opened(), inputs)
    for a, b in zip(ours, again, strict=True):
        if a is not None:
            _same_bits(a, b)
    on_tensors = [None if dx is None else tensor(dx) for dx in seeds]
    if callable(op.pushes):
        a = op.pushes(seeds, z.value, *z.xs, **z.params)
        _same_bits(a, op.pushes(on_tensors, z.opened(), *inputs, **z.params))
        return
    for rule, dx, dt in zip(op.pushes, seeds, on_tensors, strict=True):
        if rule and dx is not None:
            a = rule(dx, z.value, *z.xs, **z.params)
            _same_bits(a, rule(dt, z.opened(), *inputs, **z.params))


def law_second_order(op: Any, case: Case) -> None:
    """Second derivatives, in all four compositions of the modes, equal central differences."""
    f, xs = _opened(op, case)
    check_grads(f, xs, order=2)


def _same_bits(a: Any, b: Any) -> None:
    a, b = (_plain(d.total() if isinstance(d, Pending) else d) for d in (a, b))
    for x, y in zip(tree.flatten(a)[0], tree.flatten(b)[0], strict=True):
        np.testing.assert_array_equal(np.asarray(x), value_of(y), strict=True)


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, Outputs) else value


def _direction_like(t: Any) -> Array:
    return _direction(np.random.default_rng(4), t.value)


LAWS: dict[str, Callable[[Any, Case], None]] = {
    "truth": law_truth,
    "adjointness": law_adjointness,
    "closure": law_closure,
    "second_order": law_second_order,
}


def check_primitive(primitive: Any, *samples: Any, seed: int = 0) -> None:
    """Try every law on a primitive, at the samples given and at those that it states.

    A sample is a `Case`, a tuple of arguments, or one argument; floating arrays among them are what
    it is differentiated by. AssertionError at the first law that fails: it names the law and the
    sample. ValueError if there is no sample.

    >>> from minigrad.primitive import define
    >>> @define(elementwise=[lambda g, z, x: g * x])  # 2 x, it should be
    ... def squared(x):
    ...     return x * x
    >>> check_primitive(squared)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    AssertionError: squared: the law of truth fails on sample 0, float64 (): ...
    """
    cases = [_case(s) for s in samples] + list(primitive.samples(Draw(seed)))
    if not cases:
        raise ValueError(
            f"check_primitive: {primitive.__name__} states no samples; pass some, as in "
            "check_primitive(p, (x, y), Case.of(x, axis=0))"
        )
    for k, case in enumerate(cases):
        for name, law in LAWS.items():
            try:
                law(primitive, case)
            except Exception as error:
                raise AssertionError(
                    f"{primitive.__name__}: the law of {name.replace('_', ' ')} fails on sample "
                    f"{k}, {_written(case)}: {type(error).__name__ + ': ' + str(error).strip()}"
                ) from error


def _case(sample: Any) -> Case:
    """Make a case of a sample, its floating arrays in float64."""
    if not isinstance(sample, Case):
        sample = Case(sample, {}) if isinstance(sample, tuple) else Case.of(sample)
    case = Case(tree.map(_in_float64, sample.args), sample.params)
    if not any(
        isinstance(x, np.ndarray) and x.dtype.kind == "f" for x in tree.flatten(case.args)[0]
    ):
        raise ValueError(
            f"check_primitive: no floating array in the sample ({_written(case)}), so nothing to "
            "differentiate by; pass arrays instead of numbers"
        )
    return case


def _in_float64(x: Any) -> Any:
    x = value_of(x)
    return x.astype(np.float64) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x


def _written(case: Case) -> str:
    """Write a sample as its arrays' dtypes and shapes, and its metadata."""
    leaves = [value_of(x) for x in tree.flatten(case.args)[0]]
    text = [f"{x.dtype} {x.shape}" if isinstance(x, np.ndarray) else repr(x) for x in leaves]
    return ", ".join(text + [f"{k}={v!r}" for k, v in case.params.items()])
