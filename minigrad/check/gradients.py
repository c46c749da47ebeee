"""Derivatives of a function held against central differences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ..core import tree
from ..core.dtypes import Array, plain
from ..core.tensor import ArrayLike, value_of
from ..core.tree import Tree
from ..transforms.autodiff import jvp, vjp
from .differences import EPS, SURE, Slope, along, repeatable
from .rows import size

__all__ = ["check_grads", "direction", "directional", "inner", "numerical_grad"]

HIDES = 1e4
"""How many times larger a share may be than another one that is checked together with it."""
ROUNDING = 256 * EPS
"""What the automatic derivative may be off by, of its terms."""


def directional(f: Callable[..., Tree], xs: Sequence[Array], vs: Sequence[Array]) -> list[Array]:
    """Return the derivatives of all outputs of `f`, at the arrays `xs`, along the arrays `vs`.

    By central differences in float64, with steps that suit the sizes of `xs` and the rounding of
    `f` (`minigrad.check.differences` says how). ValueError where `f` is not finite, or gives other
    numbers when it is run again.

    >>> (d,) = directional(lambda x: 1 / x, [np.array(1e-5)], [np.array(1.0)])
    >>> f"{d:.6e}"
    '-1.000000e+10'
    """
    repeatable(lambda: tree.flatten(f(*_copies(xs)))[0], "directional: f")
    return [slope.value for slope in along(f, xs, vs)]


def numerical_grad(f: Callable[[Tree], ArrayLike], tree_of_arrays: Tree) -> Tree:
    """Return the gradient of `f`, a number-valued function of one container, by every element.

    By central differences, in float64, in the structure of the container. `f` is run four times for
    each element, and more where two steps do not show eight digits of the largest element of its
    array: the slow witness, for checks.
    TypeError for what is not real; ValueError if `f` does not return one number, is not finite, or
    gives another number when it is run again.

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

    zero = repeatable(lambda: [of_leaves(*_copies(xs))], "numerical_grad: f")
    found = []
    for k, x in enumerate(xs):

        def by_element(i: int, enough: float, k: int = k, x: Array = x) -> Slope:
            vs = [np.zeros_like(y) for y in xs]
            vs[k] = np.eye(1, x.size, i)[0].reshape(x.shape)
            return along(of_leaves, xs, vs, zero=zero, enough=enough)[0]

        slopes = [by_element(i, np.inf) for i in range(x.size)]
        sure = SURE * max([size(slope.value) for slope in slopes], default=0.0)
        for i, slope in enumerate(slopes):
            if not slope.error <= sure:
                slopes[i] = by_element(i, 0.0)
        found.append(np.array([slope.value.item() for slope in slopes]).reshape(x.shape))
    return tree.unflatten(structure, found)


def check_grads(
    f: Callable[..., Tree],
    args: Sequence[Tree],
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
        outputs = repeatable(lambda: of_leaves(*_copies(xs)), "check_grads: f")
    except Exception as error:
        kinds = [np.asarray(value_of(x)).dtype.kind for x in tree.flatten(args)[0]]
        if whole := [name for name, kind in zip(names, kinds, strict=True) if kind in "iub"]:
            error.add_note(
                f"check_grads made floats of {', '.join(whole)}, to differentiate by; leave out of "
                "args what is an index, as in check_grads(lambda x: f(x, index), (x,))"
            )
        raise
    if not outputs:
        raise ValueError("check_grads: f returns nothing, so there is nothing to check")
    rng = np.random.default_rng(seed)
    _Check(of_leaves, xs, names, 1, order, modes, rtol, rng).run()


def _opened(container: Any, caller: str) -> tuple[list[Array], tree.Structure]:
    """Return copies of a container's leaves in float64, and its structure; they must be real."""
    leaves, structure = tree.flatten(container)
    reals = [plain(value_of(x), caller, "takes") for x in leaves]
    return [np.array(x, np.float64) for x in reals], structure


def _copies(xs: Iterable[Array]) -> list[Array]:
    return [x.copy() for x in xs]


class _Tried(NamedTuple):
    """A direction, all arguments in one vector, and the derivatives of all outputs along it."""

    v: Array
    slopes: list[Slope]


@dataclass(frozen=True)
class _Check:
    """The check of one order: of `f`, which maps arrays to a list of outputs."""

    f: Callable[..., list[Any]]
    xs: list[Array]
    names: list[str]
    order: int
    last: int
    modes: Sequence[str]
    rtol: float
    rng: np.random.Generator
    floor: float = 0.0  # what rounding makes of the outputs, at least

    def run(self) -> None:
        """Check this order in all modes, and in each the orders above it."""
        vs = [direction(self.rng, x) for x in self.xs]
        tried = self._try(_flat(vs))
        outputs = [s.value for s in tried[0].slopes]
        one = sum(y.size for y in outputs) == 1  # then the numbers in a message are derivatives
        us = [np.ones_like(y) if one else direction(self.rng, y) for y in outputs]

        def pulled(*xs: Any) -> list[Any]:
            return list(vjp(self.f, *xs)[1](us))

        def pushed(*xs: Any) -> list[Any]:
            return list(jvp(self.f, xs, vs)[1])

        for mode, derivative in (("rev", pulled), ("fwd", pushed)):
            if mode not in self.modes:
                continue
            if mode == "rev":
                tried += self._pull(us, _flat(vs), tried)
            else:
                self._push(tried)
            if self.order < self.last:
                sizes = [size(value_of(y)) for y in (*self.f(*_copies(self.xs)), *outputs)]
                floor = max(self.floor, ROUNDING * max(sizes))
                replace(self, f=derivative, order=self.order + 1, floor=floor).run()

    def _try(self, v: Array) -> list[_Tried]:
        """Return the derivatives along `v`; if there are kinks, along its halves, and theirs.

        Between the derivatives from the left and from the right at one kink, a mistake elsewhere
        would be right.
        """
        slopes = self._along(v)
        moved = np.flatnonzero(v)
        if len(moved) < 2 or not any(self._kinks(s).any() for s in slopes):
            return [_Tried(v, slopes)]
        middle = moved[len(moved) // 2]
        return self._try(np.where(np.arange(v.size) < middle, v, 0)) + self._try(
            np.where(np.arange(v.size) < middle, 0, v)
        )

    def _pull(self, us: list[Array], v: Array, tried: list[_Tried]) -> list[_Tried]:
        """Check <u, J v>, for every output by itself; return what was tried for that."""
        pullback, more = vjp(self.f, *self.xs)[1], list[_Tried]()
        for k, u in enumerate(us):
            only = [u if i == k else np.zeros_like(other) for i, other in enumerate(us)]
            got = _flat(pullback(only))
            bands = _apart(got, v)
            some = [t for band in bands for t in self._try(band)] if len(bands) > 1 else []
            for part, slopes in some or tried:
                ours, theirs = inner([got], [part]), inner([u], [slopes[k].value])
                off = inner([abs(u)], [self._limit(slopes[k])])
                if not abs(ours - theirs) <= off + ROUNDING * inner([abs(got)], [abs(part)]):
                    self._examine("rev", only, part, ours, theirs)
            more += some
        return more

    def _push(self, tried: list[_Tried]) -> None:
        """Check every element of J v."""
        for v, slopes in tried:
            for k, d in enumerate(jvp(self.f, self.xs, self._split(v))[1]):
                got, exact = np.asarray(value_of(d)), slopes[k]
                most = max([size(t.slopes[k].value) for t in tried])
                off = self._limit(exact) + ROUNDING * most
                with np.errstate(invalid="ignore"):
                    wrong = ~(abs(got - exact.value) <= off)
                if wrong.any():
                    at = np.unravel_index(int(wrong.argmax()), wrong.shape)
                    us = [np.zeros_like(s.value) for s in slopes]
                    us[k][at] = 1
                    self._examine("fwd", us, v, float(got[at]), float(exact.value[at]))

    def _examine(self, mode: str, us: list[Array], v: Array, ours: float, theirs: float) -> None:
        """Raise AssertionError, and say where <u, f> is worst, unless the elements say otherwise.

        They do where what was compared is rounding, which changes with the last bits of the
        arguments; and where all of them are right, exactly enough or at kinks.
        """

        def automatic(xs: list[Array]) -> Array:
            if mode == "rev":
                return _flat(vjp(self.f, *xs)[1](us))
            return np.array([inner(us, jvp(self.f, xs, self._split(e))[1]) for e in _units(v.size)])

        found = [self._along(e) for e in _units(v.size)]
        wanted = np.array([inner(us, [s.value for s in slopes]) for slopes in found])
        limit = np.array([inner(map(abs, us), map(self._limit, slopes)) for slopes in found])
        kinks = any(
            np.any(self._kinks(s) & (u != 0))
            for slopes in found for s, u in zip(slopes, us, strict=True)
        )  # fmt: skip
        got, *shaken = automatic(self.xs), automatic(self._shaken()), automatic(self._shaken())
        with np.errstate(invalid="ignore"):
            noise = 10 * np.max([abs(other - got) for other in shaken], axis=0)
            gap = abs(got - wanted)
            within = gap <= limit + noise + ROUNDING * size(wanted[v != 0])
        enough = kinks or inner([limit], [abs(v)]) < abs(ours - theirs)
        if np.isfinite(got).all() and (
            abs(ours - theirs) <= inner([noise], [abs(v)]) or (within[v != 0].all() and enough)
        ):
            return
        with np.errstate(invalid="ignore"):
            badness = (gap - limit) / (abs(got) + abs(wanted) + 1e-300)
        worst = int(np.argmax(np.where(np.isfinite(got), badness, np.inf)))
        raise AssertionError(
            f"order {self.order}, mode {mode}: along a random direction the derivative is "
            f"{ours:.10g}, by central differences {theirs:.10g}; worst at {self._name(worst)}: "
            f"automatic {got[worst]:.10g}, central difference {wanted[worst]:.10g}"
        )

    def _along(self, v: Array) -> list[Slope]:
        return along(self.f, self.xs, self._split(v), self.floor)

    def _limit(self, exact: Slope) -> Array:
        return self.rtol * abs(exact.value) + exact.slack + self.floor

    def _kinks(self, exact: Slope) -> Array:
        return np.asarray(exact.jump / 2 > self.rtol * abs(exact.value) + 2 * exact.error)

    def _shaken(self) -> list[Array]:
        """Return the arguments with other last bits."""
        return [x * (1 + 4 * EPS * self.rng.uniform(-1, 1, x.shape)) for x in self.xs]

    def _split(self, v: Array) -> list[Array]:
        """Return a vector as one array for each argument."""
        parts = np.split(v, np.cumsum([x.size for x in self.xs])[:-1])
        return [part.reshape(x.shape) for part, x in zip(parts, self.xs, strict=True)]

    def _name(self, i: int) -> str:
        """Return the argument and the index of element i of the vector, as text."""
        k = 0
        while i >= self.xs[k].size:
            i, k = i - self.xs[k].size, k + 1
        index = ", ".join(map(str, np.unravel_index(i, self.xs[k].shape)))
        return f"{self.names[k]}[{index}]" if index else self.names[k]


def _apart(got: Array, v: Array) -> list[Array]:
    """Return a direction in parts whose shares got * v are of one size: large ones hide others."""
    shares = abs(got * v)
    top = size(shares)
    if not 0 < top < np.inf:
        return [v]
    shares = np.maximum(shares / top, HIDES**-8)  # so that 0 is in the last band
    bands = -np.log(shares) // np.log(HIDES)
    return [np.where(bands == band, v, 0) for band in np.unique(bands[v != 0])]


def _units(n: int) -> Iterator[Array]:
    """Yield the directions of n single elements."""
    for i in range(n):
        yield np.eye(1, n, i)[0]


def _flat(arrays: Iterable[Any]) -> Array:
    return np.concatenate([np.zeros(0), *[np.ravel(value_of(a)) for a in arrays]])


def direction(rng: np.random.Generator, like: Array) -> Array:
    """Return an array of random signs times numbers from 0.5 to 1.5."""
    return np.asarray(rng.uniform(0.5, 1.5, like.shape) * rng.choice([-1.0, 1.0], like.shape))


def inner(us: Iterable[Any], vs: Iterable[Any]) -> float:
    """Return the scalar product of two lists of arrays."""
    with np.errstate(invalid="ignore"):  # what is not finite is found by what comes out
        return float(sum(np.sum(value_of(u) * value_of(v)) for u, v in zip(us, vs, strict=True)))
