"""The laws that every primitive obeys.

    truth        the push rule gives the derivative that central differences give
    adjointness  <u, J v> = <J' u, v>: the pull rule is the transpose of the push rule
    closure      a rule on tensors gives bit for bit what it gives on arrays
    second order the derivatives' own derivatives pass the same checks

Adjointness alone cannot see a wrong elementwise rule, since both directions share it; truth can.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core import tree
from ..core.dtypes import Array
from ..core.primitive import Case
from ..core.tape import Deferred, Outputs, pulled, recorded_inputs
from ..core.tensor import OPS, Tensor, tensor, value_of
from ..transforms.autodiff import jvp, vjp
from .differences import along
from .gradients import ROUNDING, check_grads, direction, inner
from .rows import size

__all__ = ["LAWS", "Draw", "check_primitive", "operations"]


def operations() -> dict[str, Callable[..., Any]]:
    """Every operation of the registry that states samples, by name."""
    return {op.__name__: op for op in dict.fromkeys(OPS.values()) if getattr(op, "samples", None)}


class Draw:
    """What `samples` draw from: `r(2, 3)` is a float64 array of that shape, uniform in a domain."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def __call__(self, *shape: int, domain: tuple[float, float] = (-2.0, 2.0)) -> Array:
        return np.asarray(self.rng.uniform(*domain, shape))

    def regular(self, *shape: int) -> Array:
        """Return matrices with singular values well apart and off zero."""
        rows, columns = shape[-2:]
        return 0.3 * self(*shape) + np.eye(rows, columns) * np.arange(2, 2 + columns)


def _opened(op: Any, case: Case) -> tuple[Callable[..., list[Tensor]], list[Array]]:
    """Return an operation on a case as a function of its real arrays alone, and these arrays."""
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
    vs = [direction(np.random.default_rng(1), x) for x in xs]
    for d, exact in zip(jvp(f, xs, vs)[1], along(f, xs, vs), strict=True):
        ours, low, high = value_of(d), exact.value - exact.slack, exact.value + exact.slack
        atol = ROUNDING * size(exact.value)
        np.testing.assert_allclose(ours, np.clip(ours, low, high), rtol=1e-7, atol=atol)
        assert np.isfinite(ours).all()


def law_adjointness(op: Any, case: Case) -> None:
    """<u, J v> = <J' u, v>, for each input alone and for all together."""
    f, xs = _opened(op, case)
    rng = np.random.default_rng(2)
    us = [direction(rng, y.value) for y in f(*xs)]
    vs = [direction(rng, x) for x in xs]
    pulled = vjp(f, *xs)[1](us)
    for g, x in zip(pulled, xs, strict=True):
        assert (g.shape, g.dtype) == (x.shape, x.dtype)
    for chosen in {*range(len(xs)), None}:
        some = [v if chosen in (None, k) else 0 * v for k, v in enumerate(vs)]
        pushed = jvp(f, xs, some)[1]
        np.testing.assert_allclose(inner(us, pushed), inner(pulled, some), rtol=1e-10, atol=1e-12)


def law_closure(op: Any, case: Case) -> None:
    """Rules, of an operation those of its last primitive, compute alike on arrays and tensors."""
    f, xs = _opened(op, case)
    z = f(*[tensor(x, requires_grad=True) for x in xs])[0]
    if not z.primitive:  # a constant, or an argument as it is
        return
    if z.primitive.name == "pick":  # one of several outputs
        z = z.inputs[0]
    rules: Any = z.primitive
    g = tree.map(lambda v: direction(np.random.default_rng(3), v), _plain(z.value))
    inputs = recorded_inputs(z)
    seeds = [None if t is None or not t.live else _direction_like(t) for t in z.inputs]
    live, gs = [dx is not None for dx in seeds], tree.map(tensor, g)
    ours, again = pulled(z, live, g, z.value, z.xs), pulled(z, live, gs, z.opened(), inputs)
    for a, b in zip(ours, again, strict=True):
        if a is not None:
            _same_bits(a, b)
    on_tensors = [None if dx is None else tensor(dx) for dx in seeds]
    if callable(rules.pushes):
        a = rules.pushes(seeds, z.value, *z.xs, **z.params)
        _same_bits(a, rules.pushes(on_tensors, z.opened(), *inputs, **z.params))
        return
    for rule, dx, dt in zip(rules.pushes, seeds, on_tensors, strict=True):
        if rule and dx is not None:
            a = rule(dx, z.value, *z.xs, **z.params)
            _same_bits(a, rule(dt, z.opened(), *inputs, **z.params))


def law_second_order(op: Any, case: Case) -> None:
    """Second derivatives, in all four compositions of the modes, equal central differences."""
    f, xs = _opened(op, case)
    check_grads(f, xs, order=2)


def _same_bits(a: Any, b: Any) -> None:
    a, b = (_plain(d.total() if isinstance(d, Deferred) else d) for d in (a, b))
    for x, y in zip(tree.flatten(a)[0], tree.flatten(b)[0], strict=True):
        np.testing.assert_array_equal(np.asarray(x), value_of(y), strict=True)


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, Outputs) else value


def _direction_like(t: Any) -> Array:
    return direction(np.random.default_rng(4), t.value)


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

    >>> from minigrad import define
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
    """Return a sample as a case, its floating arrays in float64."""
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
    """Return a sample in words: its arrays' dtypes and shapes, and its metadata."""
    leaves = [value_of(x) for x in tree.flatten(case.args)[0]]
    text = [f"{x.dtype} {x.shape}" if isinstance(x, np.ndarray) else repr(x) for x in leaves]
    return ", ".join(text + [f"{k}={v!r}" for k, v in case.params.items()])
