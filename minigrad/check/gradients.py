"""Derivatives of a function held against central differences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from ..core import tree
from ..core.dtypes import Array, real
from ..core.tensor import value_of
from ..transforms.autodiff import jvp, vjp
from .differences import EPS, Slope, along, repeatable

__all__ = ["check_grads", "direction", "directional", "dot", "numerical_grad"]

HIDES = 1e4
"""How many times larger a share may be than another one that is checked together with it."""
ROUNDING = 64 * EPS
"""What the automatic derivative may be off by, of its terms."""
_Tried = tuple[list[Array], list[Slope]]


def directional(f: Callable[..., Any], xs: Sequence[Array], vs: Sequence[Array]) -> list[Array]:
    """Return the derivatives of all outputs of `f`, at the arrays `xs`, along the arrays `vs`.

    By central differences in float64, with steps that suit the sizes of `xs` and the rounding of
    `f` (`minigrad.check.differences` says how). ValueError where `f` is not finite.

    >>> (d,) = directional(lambda x: 1 / x, [np.array(1e-5)], [np.array(1.0)])
    >>> f"{d:.6e}"
    '-1.000000e+10'
    """
    return [slope.value for slope in along(f, xs, vs)]


def numerical_grad(f: Callable[[Any], Any], tree_of_arrays: Any) -> Any:
    """Return the gradient of `f`, a number-valued function of one container, by every element.

    By central differences, in float64, in the structure of the container. `f` is run seven times
    for each element, and more where the usual steps do not suit it: the slow witness, for checks.
    TypeError for what is not real; ValueError if `f` returns no single number or is not finite.

    >>> g = numerical_grad(lambda p: p["a"] ** 2 * p["b"], {"a": 3.0, "b": 0.5})
    >>> f"{g['a']:.6f}, {g['b']:.6f}"
    '3.000000, 9.000000'
    """
    xs, structure = _opened(tree_of_arrays, "numerical_grad")

    def of_leaves(*moved: Array) -> Any:
        outputs = tree.flatten(f(tree.unflatten(structure, moved)))[0]
        sizes = [np.size(value_of(y)) for y in outputs]
        if sizes != [1]:
            raise ValueError(
                f"numerical_grad: f must return one number, not {len(sizes)} outputs of sizes "
                f"{sizes}; reduce it, as in y.sum()"
            )
        return outputs[0]

    return tree.unflatten(
        structure, _entries(lambda vs: along(of_leaves, xs, vs)[0].value.reshape(()), xs)
    )


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

    `args` is a tuple of nested containers of real arrays and numbers; `f` gets copies in float64.
    Each order is checked in random directions, in reverse ("rev") and forward mode ("fwd"), to
    `rtol` and what the differences may be off by, which they know. Where one fails, every element
    is examined, and the AssertionError names the argument, the index, both numbers and the order.
    At a kink of `f`, such as relu at 0, what lies between the derivatives from the left and from
    the right is right.

    ValueError where differences say nothing: `f` is not finite at or around `args`, or gives other
    numbers when it is run again. TypeError for arguments or results that are not real.

    >>> check_grads(lambda x: np.sin(x) * x, (np.array([1.0, 2.0]),))
    """
    modes = (modes,) if isinstance(modes, str) else modes
    for mode in modes:
        if mode not in ("rev", "fwd"):
            raise ValueError(f"check_grads: a mode is 'rev' or 'fwd', not {mode!r}")
    if order < 1 or not modes or not 0 <= rtol < np.inf:
        raise ValueError(
            f"check_grads: order={order}, modes={modes}, rtol={rtol}: nothing would be checked; "
            "order is at least 1, modes is not empty, rtol is finite"
        )
    if not isinstance(args, (tuple, list)):
        raise TypeError(
            "check_grads: args is a tuple with an entry for each argument, as in "
            f"check_grads(f, (x,)), not {type(args).__name__}"
        )
    xs, structure = _opened(tuple(args), "check_grads")
    if not xs:
        raise ValueError("check_grads: args is empty, so there is nothing to check")

    def of_leaves(*moved: Any) -> Any:
        return tree.flatten(f(*tree.unflatten(structure, moved)))[0]

    names = [f"args{name}" for name in tree.names(structure)]
    try:
        repeatable(lambda: of_leaves(*_copies(xs)), "check_grads: f")
    except Exception as error:
        kinds = [np.asarray(value_of(x)).dtype.kind for x in tree.flatten(args)[0]]
        if whole := [name for name, kind in zip(names, kinds, strict=True) if kind in "iub"]:
            error.add_note(
                f"check_grads made floats of {', '.join(whole)}, to differentiate by; leave out of "
                "args what is an index, as in check_grads(lambda x: f(x, index), (x,))"
            )
        raise
    rng = np.random.default_rng(seed)
    _Check(of_leaves, xs, names, 1, order, modes, rtol, rng).run()


def _opened(container: Any, caller: str) -> tuple[list[Array], tree.Structure]:
    """Take a container apart into copies in float64; TypeError for what is not real."""
    leaves, structure = tree.flatten(container)
    reals = [real(np.asarray(value_of(x)), caller, "takes") for x in leaves]
    return [np.array(x, np.float64) for x in reals], structure


def _copies(xs: Iterable[Array]) -> list[Array]:
    return [x.copy() for x in xs]


@dataclass(frozen=True)
class _Check:
    """The check of one order: of `f`, arrays to a list of outputs, along the random `vs`."""

    f: Callable[..., list[Any]]
    xs: list[Array]
    names: list[str]
    order: int
    last: int
    modes: Sequence[str]
    rtol: float
    rng: np.random.Generator

    def run(self) -> None:
        """Check this order in all modes, and in each the orders above it."""
        vs = [direction(self.rng, x) for x in self.xs]
        slopes = along(self.f, self.xs, vs)
        one = sum(s.value.size for s in slopes) == 1  # then a message's numbers are derivatives
        us = [np.ones_like(s.value) if one else direction(self.rng, s.value) for s in slopes]

        def pulled(*xs: Any) -> list[Any]:
            return list(vjp(self.f, *xs)[1](us))

        def pushed(*xs: Any) -> list[Any]:
            return list(jvp(self.f, xs, vs)[1])

        tried = [(vs, slopes)]
        for mode, derivative in (("rev", pulled), ("fwd", pushed)):
            if mode not in self.modes:
                continue
            if mode == "rev":
                tried += self._pull(us, vs, slopes)
            else:
                for some, exact in tried:
                    self._push(some, exact, [np.max(abs(s.value), initial=0) for s in slopes])
            if self.order < self.last:
                replace(self, f=derivative, order=self.order + 1).run()

    def _pull(self, us: list[Array], vs: list[Array], slopes: list[Slope]) -> list[_Tried]:
        """Check <u, J v>, for every output by itself; return what was tried besides `vs`."""
        pullback, tried = vjp(self.f, *self.xs)[1], list[_Tried]()
        for k, u in enumerate(us):
            only = [u if i == k else np.zeros_like(other) for i, other in enumerate(us)]
            got = [np.asarray(value_of(g)) for g in pullback(only)]
            rounding = ROUNDING * dot(map(abs, got), map(abs, vs))
            for some in _apart(got, vs):
                exact = slopes if some is vs else along(self.f, self.xs, some)
                if some is not vs:
                    tried.append((some, exact))
                ours, theirs = dot(got, some), dot([u], [exact[k].value])
                off = dot([abs(u)], [self._limit(exact[k])]) + rounding
                if not abs(ours - theirs) <= off:
                    raise AssertionError(self._said("rev", ours, theirs, only, got))
        return tried

    def _push(self, vs: list[Array], slopes: list[Slope], sizes: list[float]) -> None:
        """Check every element of J v; `sizes` are those of the outputs' derivatives."""
        for k, d in enumerate(jvp(self.f, self.xs, vs)[1]):
            got, exact = np.asarray(value_of(d)), slopes[k]
            off = self._limit(exact) + ROUNDING * sizes[k]
            with np.errstate(invalid="ignore"):
                wrong = ~(abs(got - exact.value) <= off)
            if wrong.any():
                at = np.unravel_index(int(wrong.argmax()), wrong.shape)
                us = [np.zeros_like(s.value) for s in slopes]
                us[k][at] = 1
                entries = _entries(partial(self._pushed, k, at), self.xs)
                ours, theirs = float(got[at]), float(exact.value[at])
                raise AssertionError(self._said("fwd", ours, theirs, us, entries))

    def _pushed(self, k: int, at: tuple[Any, ...], vs: list[Array]) -> float:
        return float(value_of(jvp(self.f, self.xs, vs)[1][k])[at])

    def _limit(self, exact: Slope) -> Array:
        return self.rtol * abs(exact.value) + exact.slack

    def _said(
        self, mode: str, ours: float, theirs: float, us: list[Array], got: list[Array]
    ) -> str:
        """Examine every element, and say where the derivative of <u, f> is worst."""
        worst, text = -np.inf, ""
        exact = _entries(lambda vs: _along(self.f, self.xs, vs, us), self.xs)
        for name, a, b in zip(self.names, got, exact, strict=True):
            for index in np.ndindex(a.shape):
                mine, (wanted, slack) = float(a[index]), b[index]
                gap = np.inf  # what is not finite is worst of all
                if np.isfinite(mine):
                    gap = (abs(mine - wanted) - slack) / (abs(mine) + abs(wanted) + 1e-300)
                if gap > worst:
                    worst = gap
                    place = f"{name}[{', '.join(map(str, index))}]" if index else name
                    text = f"worst at {place}: automatic {mine:.10g}, "
                    text += f"central difference {wanted:.10g}"
        return (
            f"order {self.order}, mode {mode}: along a random direction the derivative is "
            f"{ours:.10g}, by central differences {theirs:.10g}; {text}"
        )


def _along(
    f: Callable[..., Any], xs: Sequence[Array], vs: Sequence[Array], us: Sequence[Array]
) -> tuple[float, float]:
    """Differentiate <us, f> along `vs`: the value, and how far off a right one may be."""
    slopes = along(f, xs, vs)
    return dot(us, [s.value for s in slopes]), dot(map(abs, us), [s.slack for s in slopes])


def _entries(of: Callable[[list[Array]], Any], xs: Sequence[Array]) -> list[Array]:
    """Tabulate `of`, a function of directions, for the direction of every element of every x."""
    vs = [np.zeros_like(x) for x in xs]
    table: list[Array] = []
    for v in vs:
        rows = []
        for index in np.ndindex(v.shape):
            v[index] = 1
            rows.append(of(vs))
            v[index] = 0
        table.append(np.array(rows).reshape(v.shape + np.shape(rows)[1:]))
    return table


def _apart(got: Sequence[Array], vs: list[Array]) -> Iterator[list[Array]]:
    """Split a direction into elements with shares g v of one size, where others would hide them."""
    shares = [abs(g * v) for g, v in zip(got, vs, strict=True)]
    largest = max([float(np.max(s, initial=0)) for s in shares])
    if not 0 < largest < np.inf:
        yield vs
        return
    least = ROUNDING * largest  # what is smaller is rounding, or 0, and hides nowhere
    bands = [np.log(largest / np.where(s > least, s, largest)) // np.log(HIDES) for s in shares]
    present = {0.0}.union(*[b.ravel().tolist() for b in bands])
    for band in sorted(present):
        some = [np.where(b == band, v, 0.0) for b, v in zip(bands, vs, strict=True)]
        yield some if len(present) > 1 else vs


def direction(rng: np.random.Generator, like: Array) -> Array:
    """Return an array of random signs times numbers from 0.5 to 1.5."""
    return np.asarray(rng.uniform(0.5, 1.5, like.shape) * rng.choice([-1.0, 1.0], like.shape))


def dot(us: Iterable[Any], vs: Iterable[Any]) -> float:
    """Return the scalar product of two lists of arrays."""
    with np.errstate(invalid="ignore"):  # what is not finite is found by what comes out
        return float(sum(np.sum(value_of(u) * value_of(v)) for u, v in zip(us, vs, strict=True)))
