"""A forward and a backward pass, run: on arrays, recorded, and again, always on the same numbers.

All that a run needs is built anew for it: the inputs, the state of `np.random`, the gradients of
outputs that are drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from ..core import tree
from ..core.context import recording
from ..core.dtypes import plain
from ..core.tensor import Tensor, value_of
from ..core.tree import Tree
from .calling import Call, calls, drawn, is_output, loss_of, parts
from .compare import entries
from .debug import located
from .inputs import Inputs, is_numbers, shape_text
from .returned import Returned, fits, returned, twins

__all__ = ["Runs"]

T = TypeVar("T")


class Runs:
    """A forward pass, a backward pass, and the inputs of both. `who` begins the texts of errors.

    `call` says what backward is called with, `douts` are the gradients of outputs, and `value` is
    the loss, or what takes its place.
    """

    def __init__(
        self, who: str, forward: Callable[..., Any], backward: Callable[..., Any], inputs: Inputs
    ) -> None:
        self.who, self.forward, self.backward, self.inputs = who, forward, backward, inputs
        self.on_tensors = False
        self.chance = np.random.get_state()
        self.draws: bool | None = None
        values, overwritten = self._values()
        self._forget(values, overwritten)
        ways = calls(who, inputs, forward, backward, values)
        self.call = ways[0] if len(ways) == 1 else self._chosen(ways, values)
        self.douts = drawn(values, self.call)
        self.value = plain(np.asarray(value_of(self._number(values))), f"{who}: forward", "gives")

    def loss(self, given: Mapping[str, Any]) -> Any:
        """Return the loss of inputs by name."""
        return self._number(self._run(self.forward, given))

    def recorded(
        self, forward: Callable[..., Any], dtype: Any = None
    ) -> tuple[Any, dict[str, Tensor]]:
        """Return the loss that forward gives on Tensors, and the inputs that gradients flow to."""
        given = self.inputs.copies(dtype)
        leaves = {name: Tensor(x, True, name) for name, x in given.items()}
        with recording():
            with located():
                values = self._run(forward, leaves)
            return self._number(values), leaves

    def manual(self, dtype: Any = None) -> Returned:
        """Return the gradients that backward gives, as arrays."""
        found = self._returned(dtype, self.call, self.douts)
        return found._replace(
            gradients=entries("manual", {n: _floating(x) for n, x in found.gradients.items()}),
            others={
                name: np.asarray(value_of(x)) for name, x in found.others.items() if is_numbers(x)
            },
        )

    def again(self) -> dict[str, Any]:
        """Return what backward gives in float64: the very objects, which are looked for again."""
        found = self._returned(np.float64, self.call, self.douts)
        return found.gradients | found.others

    def remarks(self) -> list[str]:
        """Return which loss takes the place of one, if forward gives outputs."""
        if not self.call.gradients:
            return []
        names, count = self.call.gradients, len(self.douts)
        if len(names) < count:  # all in one
            names = [f"{names[0]}[{k}]" for k in range(count)]
        outputs = [f"output {k}" if count > 1 else "output" for k in range(count)]
        terms = [
            f"np.sum({name}{place} * {output}{place})"
            for name, output, u in zip(names, outputs, self.douts, strict=True)
            for part in tree.names(tree.flatten(u)[1])
            for place in [f".{part}" if part[:1] not in ("", "[") else part]
        ]
        loss = " + ".join(terms if len(terms) < 5 else [*terms[:2], "...", terms[-1]])
        drawn = ", ".join(self.call.gradients)
        return [f"{drawn}: drawn at random (seed 0); gradients are those of {loss}"]

    def _run(self, forward: Callable[..., Any], given: Mapping[str, Any]) -> Sequence[Any]:
        """Return what forward gives, from the same state of `np.random` each time."""
        return self._by_chance(lambda: parts(forward(*self.inputs.built(given))))

    def _by_chance(self, run: Callable[[], T]) -> T:
        """Return what a run gives that draws the same numbers from `np.random` as the others.

        Looking after it takes longer than many a forward pass, so only if the first run draws any.
        """
        if self.draws is False:
            return run()
        before = np.random.get_state()
        np.random.set_state(self.chance)
        try:
            return run()
        finally:
            if self.draws is None:
                pairs = zip(np.random.get_state(), self.chance, strict=True)
                self.draws = not all(np.array_equal(a, b) for a, b in pairs)
            np.random.set_state(before)

    def _values(self) -> tuple[Sequence[Any], list[str]]:
        """Return what forward gives on arrays, or on Tensors if it needs these.

        And the inputs that it has overwritten.
        """
        errors = list[Exception]()
        for self.on_tensors in (False, True):
            given = self._given(None)
            arguments = self.inputs.built(given)
            try:
                values = self._by_chance(lambda: parts(self.forward(*arguments)))  # noqa: B023
            except Exception as error:
                errors.append(error)
            else:
                return values, self.inputs.changed(given, arguments)
        raise errors[0] from None

    def _forget(self, values: Sequence[Any], overwritten: list[str]) -> None:
        """Take out of the inputs what an earlier run has left there: caches and gradients.

        That is what forward overwrites, or is named as the gradient of what stands beside it; if it
        does not read it, so that with nan in its place it gives the same.
        """

        def is_read(names: Iterable[str]) -> bool:
            nans = {name: np.full_like(self.inputs.arrays[name], np.nan) for name in names}
            try:
                with np.errstate(all="ignore"):
                    found = self._run(self.forward, self.inputs.copies() | nans)
            except Exception:
                return True
            ours, theirs = (
                [x for k, y in enumerate(vs) if is_output(vs, k) for x in tree.flatten(y)[0]]
                for vs in (values, found)
            )
            return len(ours) != len(theirs) or not all(map(np.array_equal, ours, theirs))

        left = {*overwritten, *twins(self.inputs)}
        if left and not self.on_tensors:
            unread = left if not is_read(left) else {name for name in left if not is_read([name])}
            if unread < {*self.inputs.real}:
                self.inputs.forget(unread)

    def _given(self, dtype: Any) -> dict[str, Any]:
        given = self.inputs.copies(dtype)
        return {name: Tensor(x) for name, x in given.items()} if self.on_tensors else given

    def _number(self, values: Sequence[Any]) -> Any:
        """Return the loss."""
        loss = loss_of(values, self.call, self.douts)
        if np.size(value_of(loss)) != 1:
            raise ValueError(f"{self.who}: forward must give a scalar, not {shape_text([loss])}")
        return loss if isinstance(loss, Tensor) else np.asarray(loss)

    def _returned(self, dtype: Any, call: Call, douts: list[Tree]) -> Returned:
        """Return what backward gives, by name: the very objects.

        The forward pass runs before it, for the cache, and for what it keeps in objects and dicts.
        Arrays that it changes in place, but for those of objects, are as before.
        """
        given = self._given(dtype)
        arguments = self.inputs.built(given)
        values = self._by_chance(lambda: parts(self.forward(*arguments)))
        before = self.inputs.copies(dtype)
        if self.on_tensors:
            values = tree.map(value_of, values)
        if self.on_tensors or any(not np.array_equal(x, before[n]) for n, x in given.items()):
            arguments = self.inputs.restored(arguments, given, before)
        copies = tree.map(lambda u: np.array(u, dtype), [*douts])
        ordered, by_name = call.given(values, arguments, copies)
        found = self._by_chance(lambda: self.backward(*ordered, **by_name))
        return returned(self.who, found, self.inputs, self.backward)

    def _chosen(self, calls: list[Call], values: Sequence[Any]) -> Call:
        """Return the way to call backward that gives gradients in the shapes of the inputs."""
        errors, run = list[Exception](), list[tuple[bool, Call, Returned]]()
        for call in calls:
            try:
                found = self._returned(None, call, drawn(values, call))
            except Exception as error:
                errors.append(error)
            else:
                run.append((fits(found, self.inputs), call, found))
        if not run:
            ways = "\n".join([f"    {call}" for call in calls])
            errors[0].add_note(f"{self.who}: backward was called with\n{ways}")
            raise errors[0]
        best = [(call, found) for good, call, found in run if good == any(r[0] for r in run)]
        if len(best) > 1 and not all(_is_same(best[0][1], found) for _, found in best):
            ways = "\n".join([f"    {call}" for call, _ in best])
            raise ValueError(
                f"{self.who}: backward can be called in {len(best)} ways, and it cannot be told "
                "which is meant; name the gradients of outputs dout, inputs as in forward, and the "
                f"rest cache\n{ways}"
            )
        return best[0][0]


def _floating(x: Any) -> Any:
    """Return a gradient as an array, one of integers, such as counts, as floats."""
    array = np.asarray(value_of(x))
    return array.astype(np.float64) if array.dtype.kind in "iub" else array


def _is_same(a: Returned, b: Returned) -> bool:
    return a.gradients.keys() == b.gradients.keys() and all(
        np.array_equal(value_of(g), value_of(b.gradients[name])) for name, g in a.gradients.items()
    )
