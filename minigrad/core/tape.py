"""The tape, and its two directions: the whole of automatic differentiation on a page.

A `Node` is one entry: a value, the primitive that made it, and what it was made from. Nodes are
numbered as they are created, so sorting by number is a topological order, and each direction is a
sort and a loop, with no recursion:

    pull   reverse mode: cotangents of the outputs  ->  cotangents of the inputs   (J' u)
    push   forward mode: tangents of the inputs     ->  tangents of the outputs    (J v)

A rule is called as `rule(g, z, *xs, **params)`: cotangent (or tangent) `g`, output `z`, inputs
`xs`. On arrays it computes numbers. With `on_tensors` it gets the recorded nodes themselves, so its
result is recorded again and can be differentiated once more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import reduce
from itertools import count
from operator import add, attrgetter
from typing import Any, Protocol

import numpy as np

from . import hooks
from .context import Observer, current, mirrored, replays

__all__ = [
    "Deferred", "Node", "Outputs", "PrimitiveLike", "between", "close", "dense", "next_index",
    "plain_pull", "pull", "pulled", "push", "since",
]  # fmt: skip

next_index = count().__next__
_by_index = attrgetter("index")


class PrimitiveLike(Protocol):
    """What the tape asks of a primitive: a rule for each input, in each direction.

    None stands for an input that is not differentiable. For any number of inputs each may also be
    one function: `pushes(dxs, z, *xs)` of all tangents, None where there is none, and
    `pulls(wanted, g, z, *xs)`, which lists the cotangents, at least those that are wanted.
    """

    name: str
    forward: Callable[..., Any]
    pulls: Any
    pushes: Any


class Node:
    """One entry of the tape.

    `xs` are the input values as they were when the primitive ran, `inputs` the nodes they came from
    (None for a plain array or number). A leaf has no primitive. `live`: gradients flow here.
    `origin` is what an observer noted about the call, and unset without one.
    """

    __slots__ = (
        "index", "inputs", "live", "origin", "params", "primitive", "scope", "value", "xs",
    )  # fmt: skip

    value: Any
    primitive: PrimitiveLike | None
    inputs: tuple[Any, ...]
    xs: tuple[Any, ...]
    params: Mapping[str, Any]
    scope: Any
    index: int
    live: bool
    origin: Any

    def holding(self, value: Any) -> Any:
        """Return this node as it was when it held `value`: a leaf may have been rebound since."""
        raise NotImplementedError

    def opened(self) -> Any:
        """Return what a rule gets as `z`: this node, or the nodes of its several outputs."""
        raise NotImplementedError

    def hooked(self, g: Any) -> Any:
        """Return what a hook of this node gave, as its cotangent."""
        raise NotImplementedError


class Outputs(tuple[Any, ...]):
    """The value of a primitive with several outputs, or its tangent; it has no shape of its own."""

    shape = dtype = None

    def __add__(self, other: Any) -> Outputs:
        return Outputs([a + b for a, b in zip(self, other, strict=True)])


class Deferred:
    """A cotangent still to be summed: `total(parts, like)` does it, once the sum is needed.

    The gradient of `x[t]` is nearly all zeros: adding T of them one by one costs T^2, scattering
    them together costs T. And T uses of one matrix make one large product instead of T small ones.
    Parts of each kind, which have one `total`, are kept and summed apart from the others, and from
    the cotangents that were whole from the start.
    """

    __slots__ = ("dtype", "like", "parts", "shape", "whole")
    __array_ufunc__ = None  # so that `array + deferred` comes to __radd__

    def __init__(self, total: Callable[[list[Any], Any], Any], like: Any, part: Any) -> None:
        self.like, self.shape, self.dtype = like, like.shape, like.dtype
        self.parts, self.whole = {total: [part]}, None

    def __add__(self, other: Any) -> Deferred:
        """Add in place, and to what has been collected already: the one on the right, if any."""
        if type(other) is Deferred:
            for total, parts in self.parts.items():
                other.parts.setdefault(total, []).extend(parts)
            return other if self.whole is None else other + self.whole
        self.whole = other if self.whole is None else self.whole + other
        return self

    __iadd__ = __radd__ = __add__

    def total(self) -> Any:
        """Sum everything collected into one array (or Tensor) of the full shape."""
        sums = [total(parts, self.like) for total, parts in self.parts.items()]
        g = reduce(add, sums if self.whole is None else [*sums, self.whole])
        return g if g.dtype is self.dtype else cast(g, self.dtype)


def dense(g: Any) -> Any:
    """Return a cotangent with its sum done."""
    return g.total() if type(g) is Deferred else g


def between(wrt: Sequence[Node] | None, outputs: Sequence[Node]) -> tuple[list[Node], bool]:
    """List the live nodes on a way from `wrt` (None: any leaf) to `outputs`, in creation order.

    Also says whether the outputs depend on a live node that is not behind `wrt`: then a gradient
    with respect to `wrt` may be differentiated again, and the rules have to run on tensors.
    """
    reach = set(wrt or ())
    first = min([t.index for t in reach], default=0)
    outside = False
    seen: set[Node] = set()
    stack: list[Sequence[Node | None]] = [outputs]
    while stack:
        for t in stack.pop():
            if t is not None and t.live and t not in seen:
                if t.index >= first:
                    seen.add(t)
                    stack.append(t.inputs)
                elif is_open(t):  # created before wrt, so it cannot depend on them
                    outside = True
    found = sorted(seen, key=_by_index)
    if wrt is None:
        return found, outside
    path = []
    for node in found:
        if node in reach or not reach.isdisjoint(node.inputs):
            reach.add(node)
            path.append(node)
        elif node.primitive is None:
            outside = True
    return path, outside


def since(start: int, outputs: Sequence[Node]) -> tuple[list[Node], list[Node]]:
    """List the live nodes behind `outputs` that were created from index `start` on, in order.

    Also lists the older live nodes that these were made from, and does not look behind them.
    """
    seen: set[Node] = set()
    stack: list[Sequence[Node | None]] = [outputs]
    while stack:
        for t in stack.pop():
            if t is not None and t.live and t not in seen and is_open(t):
                seen.add(t)
                if t.index >= start:
                    stack.append(t.inputs)
    found = sorted(seen, key=_by_index)
    old = sum([t.index < start for t in found])
    return found[old:], found[:old]


def close(leaves: Sequence[Node]) -> None:
    """End a run: to every walk to come its leaves are constants, older than the first node."""
    for t in leaves:
        if t.primitive is None:
            t.index = ~t.index


def is_open(t: Node) -> bool:
    return t.index >= 0 or any(t in replay.captured for replay in replays())


def plain_pull(
    path: Sequence[Node],
    outputs: Sequence[Node],
    cotangents: Sequence[Any],
    wrt: Collection[Node] = (),
    on_tensors: bool = False,
    keep: Collection[Node] = (),
    watch: Observer = Observer(),  # noqa: B008 (it has no state)
    silent: Collection[Node] = (),
    mirror: mirrored | None = None,
) -> dict[Node, Any]:
    """Walk as `pull` does, in the plainest way, and show an observer every step.

    On tensors, what it records stands at a `mirror` of the node's scope.
    """
    reach, ends, kept, hooked = {*path}, {*wrt}, {*keep}, hooks.among(path, silent)
    cots, result = dict[Node, Any](), dict[Node, Any]()

    def add(node: Node, g: Any) -> None:
        if node in cots:
            g = g + cots[node] if type(g) is Deferred else cots[node] + g
        cots[node] = g

    watch.walk(path)
    for node, g in zip(outputs, cotangents, strict=True):
        if node in reach:
            add(node, watch.given(g))
    for node in reversed(path):
        if node not in cots:
            continue
        g = watch.given(dense(cots.pop(node)))
        g = hooks.changed(node, g) if node in hooked else g
        if mirror is not None:
            mirror.at(node.scope)
        with watch.at(node, g):
            if node.primitive is None or node in ends or node in kept:
                result[node] = g
            if node.primitive is None or node in ends:
                continue
            z, xs = node.value, node.xs
            if on_tensors:
                z, xs = node.opened(), recorded_inputs(node)
            z, xs = watch.given(z), tuple(map(watch.given, xs))
            wanted = [t in reach for t in node.inputs]
            for t, x, gx in zip(node.inputs, node.xs, pulled(node, wanted, g, z, xs), strict=True):
                if gx is not None:
                    watch.contribution(node, t, g, gx)
                    add(t, as_cotangent(gx, x))
    watch.done(result)
    return result


def pull(
    path: Sequence[Node],
    outputs: Sequence[Node],
    cotangents: Sequence[Any],
    wrt: Collection[Node] = (),
    on_tensors: bool = False,
    keep: Collection[Node] = (),
    watch: Observer | None = None,
    silent: Collection[Node] = (),
    mirror: mirrored | None = None,
) -> dict[Node, Any]:
    """Reverse mode: walk `path` backward, and return the cotangents of `wrt` and of the leaves.

    The walk ends at `wrt`. It goes on through `keep`, whose cotangents are returned, too. Hooks
    are called, but those of `silent`: a walk that this one is part of calls them. What is recorded
    on tensors stands in the scopes of the nodes again, in the `mirror` of this walk. An observer,
    the one in the context unless `watch` is given, is shown every step by `plain_pull`: read that
    first. This walk does the same, and counts nanoseconds, for small arrays are all overhead: it
    sums in place, defers sums, and calls the rules of one or two inputs directly.
    """
    watch = watch or current().observer
    if on_tensors and mirror is None:
        with mirrored("backward") as mirror:
            return pull(path, outputs, cotangents, wrt, True, keep, watch, silent, mirror)
    if watch is not None:
        return plain_pull(path, outputs, cotangents, wrt, on_tensors, keep, watch, silent, mirror)
    reach, ends, kept = set(path), set(wrt), set(keep)
    marked = hooks.among(path, silent) | kept
    cots: dict[Node, Any] = {}
    owned: set[Node] = set()  # whose cotangent is a buffer of our own, added to in place
    result: dict[Node, Any] = {}
    for node, g in zip(outputs, cotangents, strict=True):
        if node in reach:
            cots[node] = cots[node] + g if node in cots else g
    for node in reversed(path):
        g = cots.pop(node, None)
        if g is None:
            continue
        if type(g) is Deferred:
            g = g.total()
        if marked and node in marked:
            g = g if node in silent else hooks.changed(node, g)
            if node in kept:
                result[node] = g
        primitive = node.primitive
        if primitive is None or node in ends:
            result[node] = g
            continue
        inputs, values, params, rules = node.inputs, node.xs, node.params, primitive.pulls
        z, xs = node.value, values
        if mirror is not None:
            mirror.at(node.scope)
            z, xs = node.opened(), recorded_inputs(node)
        arity = 0 if params else len(xs)
        if arity == 2:
            x1, x2 = xs
        elif arity == 1:
            (x1,) = xs
        if callable(rules):
            given = rules([t in reach for t in inputs], g, z, *xs, **params)
            rules, arity, xs, params = map(_giving, given), 0, (), {}
        for t, x, rule in zip(inputs, values, rules):  # noqa: B905 (a check costs time)
            if t not in reach or rule is None:
                continue
            if arity == 2:  # Python calls a function faster by arguments than by a list of them
                gx = rule(g, z, x1, x2)
            elif arity == 1:
                gx = rule(g, z, x1)
            else:
                gx = rule(g, z, *xs, **params)
            if gx.shape != x.shape or gx.dtype is not x.dtype:
                gx = as_cotangent(gx, x)
            if t not in cots:
                cots[t] = gx
            elif type(gx) is Deferred:
                cots[t] = gx + cots[t]
            elif t in owned:
                cots[t] += gx
            else:
                cots[t] = cots[t] + gx
                if not on_tensors:
                    owned.add(t)
    return result


def _giving(gx: Any) -> Callable[..., Any]:
    return lambda *_, **__: gx


def pulled(node: Node, wanted: Sequence[bool], g: Any, z: Any, xs: Sequence[Any]) -> list[Any]:
    """List what the rules of one node make of `g` for its inputs, None for those not wanted."""
    rules = node.primitive.pulls if node.primitive else ()
    if callable(rules):
        given = rules(wanted, g, z, *xs, **node.params)
        return [gx if is_wanted else None for gx, is_wanted in zip(given, wanted, strict=True)]
    return [
        rule(g, z, *xs, **node.params) if rule and is_wanted else None
        for rule, is_wanted in zip(rules, wanted, strict=True)
    ]


def push(
    path: Sequence[Node],
    inputs: Sequence[Node],
    tangents: Sequence[Any],
    on_tensors: bool = False,
    mirror: mirrored | None = None,
) -> dict[Node, Any]:
    """Forward mode: walk `path` from `inputs` onward and return the tangent of every node on it.

    What is recorded on tensors stands in the scopes of the nodes again, as that of `pull` does.
    """
    if on_tensors and mirror is None:
        with mirrored("jvp") as mirror:
            return push(path, inputs, tangents, True, mirror)
    watch, dots = current().observer, dict(zip(inputs, tangents, strict=True))
    if watch is not None:
        dots = {node: watch.given(dx) for node, dx in dots.items()}
        watch.walk(path)
        for node, dx in dots.items():
            watch.tangent(node, dx)
    for node in path:
        if node in dots or node.primitive is None:
            continue
        if mirror is not None:
            mirror.at(node.scope)
        value, params, pushes = node.value, node.params, node.primitive.pushes
        z, xs = (node.opened(), recorded_inputs(node)) if on_tensors else (value, node.xs)
        dxs = [dots.get(t) for t in node.inputs]
        if watch is not None:
            z, xs, dxs = watch.given(z), tuple(map(watch.given, xs)), [*map(watch.given, dxs)]
        total = None
        if callable(pushes):
            total = pushes(dxs, z, *xs, **params)
            if isinstance(total, tuple):
                total = Outputs(total)
        else:
            for push_k, dx in zip(pushes, dxs, strict=True):
                if dx is None or push_k is None:
                    continue
                dz = push_k(dx, z, *xs, **params)
                if isinstance(dz, tuple):
                    dz = Outputs(dz)
                if dz.shape != value.shape:
                    dz = np.broadcast_to(dz, value.shape)
                total = dz if total is None else total + dz
        if total is not None:
            dots[node] = total if total.dtype is value.dtype else cast(total, value.dtype)
            if watch is not None:
                watch.tangent(node, dots[node])
    return dots


def recorded_inputs(node: Node) -> tuple[Any, ...]:
    """Return the inputs of `node`: the live nodes they came from, and plain values otherwise."""
    return tuple(
        [
            t.holding(x) if t is not None and t.live and is_open(t) else x
            for t, x in zip(node.inputs, node.xs, strict=True)
        ]
    )


def as_cotangent(gx: Any, x: Any) -> Any:
    """Return what a rule made as a cotangent of `x`: of its shape, and of its dtype."""
    gx = gx if gx.shape == x.shape else unbroadcast(gx, x.shape)
    return gx if gx.dtype is x.dtype else cast(gx, x.dtype)


def unbroadcast(g: Any, shape: tuple[int, ...]) -> Any:
    """Sum `g` down to `shape`: the transpose of broadcasting."""
    lead = len(g.shape) - len(shape)
    axes = tuple(range(lead)) + tuple(
        lead + k for k, n in enumerate(shape) if n == 1 and g.shape[lead + k] != 1
    )
    g = g.sum(axis=axes, keepdims=True) if axes else g
    return g.reshape(shape)


def cast(g: Any, dtype: Any) -> Any:
    """Return `g` in the dtype of what it is a derivative of; TypeError where that cannot be."""
    if g.dtype == dtype:
        return g
    if g.dtype.kind == "c":
        raise TypeError(
            f"a derivative became {g.dtype}: minigrad differentiates real functions only; "
            "write the real and imaginary parts as two tensors"
        )
    if dtype.kind != "f":
        raise TypeError(f"a derivative by a tensor of {dtype}: give a primitive floating results")
    return g.astype(dtype)
