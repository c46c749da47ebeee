"""Memory: a checkpointed function forgets what is inside, and runs again for its derivative.

The gradient of T steps needs what the steps computed, so memory grows with T. A checkpointed
function keeps only what goes in and what comes out. With segments of about sqrt(T) steps the memory
grows with sqrt(T), for one more forward pass: Chen et al., "Training deep nets with sublinear
memory cost", 2016.
"""

from __future__ import annotations

import copy
import functools
import zlib
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from ..core import tape, tree
from ..core.context import Scope, current, recording, replays, tracing
from ..core.primitive import Joint
from ..core.tape import Node, Outputs
from ..core.tensor import Tensor, apply, value_of
from .arguments import Function, callable_for
from .autodiff import fresh

__all__ = ["checkpoint", "drawn", "repeating", "source"]


def checkpoint(f: Function) -> Function:
    """Return `f`, forgetting what it computes inside: the backward pass runs it again to know.

    The result is recorded as one operation, of the live tensors among the arguments and of those
    that `f` captured (a module's parameters), found by running it once. Its rules run `f` again on
    the recorded inputs, and walk the tape of that; so it can be nested and differentiated to any
    order, in both modes.

    Run again, dropout draws the same masks, a generator among the arguments stands where it stood,
    and batch norm does not count the batch once more. RuntimeError in the backward pass if `f`
    does anything else than before: if it draws from a generator that it captured, if an array that
    it uses was changed, or captured parameters were given new data.

    >>> w = Tensor(np.array(3.0), live=True)
    >>> y = checkpoint(lambda x: np.sin(w * x) ** 2)(2.0)
    >>> y.backward()
    >>> np.isclose(w.grad, 2 * 2 * np.sin(6) * np.cos(6))
    np.True_
    """

    @functools.wraps(callable_for("checkpoint", f), updated=())
    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        if not current().recording or tracing():  # a program keeps what it needs anyhow
            return f(*args, **kwargs)
        return _Segment(f, args, kwargs).result()

    return checkpointed


class _Segment:
    """One call of a checkpointed function: what it was given, and how to run it again."""

    def __init__(self, f: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.f, self.scope, self.first = f, current().scope, Replay()
        self.given, self.structure = tree.flatten((args, kwargs))
        self.leaves = _as_they_stand(self.given)
        self.places = [k for k, x in enumerate(self.leaves) if isinstance(x, Tensor) and x.live]

    def result(self) -> Any:
        """Run the function, and record it as one operation of what it depends on."""
        given = [self.leaves[k] for k in self.places]
        inputs = [fresh(x, "checkpoint") for x in given]
        outputs, path, self.captured, out, structure = self._run(inputs, self.given, self.first)
        if not outputs:
            return tree.unflatten(structure, out)
        self.signature = _signature([*inputs, *self.captured], path, outputs)
        self.values = [y.value for y in outputs]
        del self.given, inputs, outputs, path
        made: Any = apply(
            Joint("checkpoint", self.forward, self.pull, self.push, self.inside),
            [*given, *self.captured],
        )
        supply = iter(made if isinstance(made, tuple) else [made])
        return tree.unflatten(
            structure, [next(supply) if isinstance(y, Tensor) and y.live else y for y in out]
        )

    def forward(self, *xs: Any) -> Any:
        """Return the values that `result` computed, and compute them anew when asked again."""
        values, self.values = self.values, []
        if not values:
            outputs, *_ = self._repeated([fresh(x, "checkpoint") for x in xs[: len(self.places)]])
            values = [y.value for y in outputs]
        return tuple(values) if len(values) > 1 else values[0]

    def pull(self, g: Any, z: Any, *xs: Any) -> list[Any]:
        nodes, outputs, path = self._again(z, xs)
        gs = g if isinstance(g, tuple) else (g,)
        found = tape.pull(
            path, outputs, gs, nodes, _any_tensor(*gs, *xs), silent=set(self.captured)
        )
        return [found[t] if t in found else np.zeros_like(t.value) for t in nodes]

    def push(self, dxs: Sequence[Any], z: Any, *xs: Any) -> Any:
        nodes, outputs, path = self._again(z, xs)
        moved = [(t, dx) for t, dx in zip(nodes, dxs, strict=True) if dx is not None]
        inputs, tangents = zip(*moved, strict=True)
        dots = tape.push(path, inputs, tangents, _any_tensor(*tangents, *xs))
        dzs = [dots[y] if y in dots else np.zeros_like(y.value) for y in outputs]
        return Outputs(dzs) if isinstance(z, tuple) else dzs[0]

    def inside(self, z: Any, xs: Sequence[Any]) -> tuple[list[Tensor], list[Tensor]]:
        """Record the function once more, in a scope of its own: its inputs, and its outputs."""
        inputs = [fresh(x, "checkpoint") for x in xs[: len(self.places)]]
        scope = Scope(self.scope, "checkpoint", None, None)
        return inputs, self._as_before(z, xs, inputs, scope)[0]

    def _run(
        self, inputs: Sequence[Any], leaves: Sequence[Any], replay: Replay, scope: Any = None
    ) -> Any:
        """Run the function on inputs.

        The first run's are nodes of the outer tape, so that what the function gives away otherwise
        than by its return, as an attribute of a module, has its gradient as well.
        """
        with recording(scope or self.scope, replay):
            start, leaves = tape.next_index(), list(leaves)
            for k, t in zip(self.places, inputs, strict=True):
                leaves[k] = t
            args, kwargs = tree.unflatten(self.structure, leaves)
            out, structure = tree.flatten(self.f(*args, **kwargs))
        outputs = [y for y in out if isinstance(y, Tensor) and y.live]
        path, older = tape.since(start, outputs)
        captured = [t for t in older if t not in set(inputs)]
        return outputs, path, captured, out, structure

    def _repeated(self, inputs: Sequence[Any], scope: Any = None) -> Any:
        replay = Replay(self.first, {*self.captured})
        return self._run(inputs, _as_they_stand(self.leaves), replay, scope)

    def _again(self, z: Any, xs: Sequence[Any]) -> tuple[list[Node], list[Node], list[Node]]:
        """Run the function as it was run before; return inputs and captured, outputs, and path."""
        inputs = [fresh(x, "checkpoint") for x in xs[: len(self.places)]]
        outputs, path = self._as_before(z, xs, inputs)
        tape.close(inputs)
        nodes = [*inputs, *self.captured]
        return nodes, outputs, [*nodes, *path]

    def _as_before(self, z: Any, xs: Any, inputs: Sequence[Any], scope: Any = None) -> Any:
        """Run the function on inputs; RuntimeError if it does not do what it did before."""
        for t, x in zip(self.captured, xs[len(inputs) :], strict=True):
            if t.value is not value_of(x):
                raise RuntimeError(
                    f"checkpoint: {_called(t)} was given new data between forward and backward; "
                    "run backward before the parameters change"
                )
        outputs, path, *_ = self._repeated(inputs, scope)
        nodes = [*inputs, *self.captured]
        if self.signature != _signature(nodes, path, outputs) or not _same(z, outputs):
            raise RuntimeError(
                "checkpoint: the function did something else when it was run again, so its "
                "gradient would be wrong; pass in what it must not do itself: what changes, and "
                "random numbers, or the generator that draws them"
            )
        return outputs, path


def _any_tensor(*xs: Any) -> bool:
    return any(isinstance(x, Tensor) for x in xs)


def _as_they_stand(leaves: Sequence[Any]) -> list[Any]:
    """Copy random generators, which may draw more before they are needed again."""
    memo: dict[int, Any] = {}
    return [copy.deepcopy(x, memo) if hasattr(x, "bit_generator") else x for x in leaves]


def _signature(inputs: Sequence[Node], path: Sequence[Node], outputs: Sequence[Node]) -> int:
    """Sum up what a run did: its operations and their order, its constants and options.

    Two runs of one signature, on the same inputs, compute the same at every operation.
    """
    number = {t: k for k, t in enumerate([*inputs, *path])}
    done: list[Any] = [number.get(y, id(y)) for y in outputs]
    for node in path:
        done.append(node.primitive.name if node.primitive else id(node))
        for k, t in enumerate(node.inputs):
            if t in number:
                done.append(number[t])
            else:
                varies = t is not None and t.live and t.index >= 0
                done.append(id(t) if varies else _told(node.xs[k]))
        if node.params:
            options = repr(node.params)
            plain = "array(" not in options and " at 0x" not in options
            done += [options] if plain else map(_told, tree.flatten(node.params)[0])
    return hash(tuple(done))


def _told(x: Any) -> Any:
    """Return what tells a constant or an option from others."""
    if type(x) is np.ndarray:
        return x.shape, x.dtype.char, zlib.crc32(np.ascontiguousarray(x).data)
    text = repr(x)
    return type(x) if " at 0x" in text else text  # an object made anew is at another place


def _same(z: Any, outputs: Sequence[Node]) -> bool:
    """Whether the outputs are, bit for bit, those of the first run: the machine is the same."""
    expected = z if isinstance(z, tuple) else (z,)
    return len(expected) == len(outputs) and all(
        np.array_equal(a := value_of(x), y.value) or np.array_equal(a, y.value, equal_nan=True)
        for x, y in zip(expected, outputs, strict=True)
    )


def _called(t: Any) -> str:
    return repr(t.name) if t.name else f"a captured tensor of shape {t.shape}"


# ---- repeating: random numbers drawn, leaves met ------------------------------------------------


class Replay:
    """One run of a checkpointed function, with what it takes to repeat it.

    The `first` run notes how the generators stood that it drew from; a repetition draws from copies
    that stand there, and the leaves that were `captured` are variables again, whose run is over.
    """

    def __init__(self, first: Replay | None = None, captured: Collection[Any] = ()) -> None:
        self.outer, self.repeats, self.captured = current().replay, first is not None, captured
        stood = first.stood if first else {}
        self.stood: dict[Any, Any] = {rng: copy.deepcopy(then) for rng, then in stood.items()}

    def source(self, rng: Any) -> Any:
        """Return what to draw from in the place of `rng`."""
        if self.repeats:
            return self.stood.get(rng, rng)
        drawn = self.outer.source(rng) if self.outer else rng
        if rng not in self.stood:
            self.stood[rng] = copy.deepcopy(drawn)
        return drawn


def source(rng: Any) -> Any:
    """Return what to draw from in the place of `rng`, so that a checkpoint repeats itself."""
    replay = current().replay
    return replay.source(rng) if replay else rng


def drawn(rng: Any, method: str, *args: Any, **options: Any) -> Any:
    """Return random numbers, an array; where a program is traced, a tensor that it draws anew."""
    if (tracer := tracing()) is not None:
        return tracer.drawn(rng, method, args, options)
    return getattr(rng, method)(*args, **options)


def repeating() -> bool:
    """Whether this is run once more for its derivative: then it must not be counted again."""
    return any(replay.repeats for replay in replays())
