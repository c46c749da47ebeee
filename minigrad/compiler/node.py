"""A compiled function as an operation on the tape: what it keeps for its backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core import tape, tree
from ..core.context import recording
from ..core.tape import Outputs
from ..core.tensor import Tensor, made_by, value_of
from ..transforms.autodiff import fresh
from ..transforms.checkpoint import Replay
from .numpy.execute import Executable
from .tracing.recording import Recording

__all__ = ["Node"]


class Kept:
    """What one call leaves for its backward pass: a workspace, and the arguments.

    The workspace goes back to the pool with it.
    """

    __slots__ = ("executable", "leaves", "structure", "workspace")

    def __init__(self, executable: Executable, workspace: Any, leaves: Any, structure: Any) -> None:
        self.executable, self.workspace = executable, workspace
        self.leaves, self.structure = leaves, structure

    def __del__(self) -> None:
        self.executable.give_back(self.workspace)

    def __repr__(self) -> str:
        return "..."


class Node:
    """The primitive of one program: its rules run the backward section, or the function itself."""

    def __init__(
        self,
        owner: Any,
        recording: Recording,
        live: Sequence[int],
        executable: Executable,
        places: Sequence[int],
    ) -> None:
        self.owner, self.executable, self.recording = owner, executable, recording
        self.name = self.__name__ = f"compiled {owner._name}"
        self.live = [k for k, out in enumerate(recording.outputs) if out.live]
        shown = [k for k, out in enumerate(recording.outputs) if out.operand is not None]
        self.numbers = [shown.index(k) for k in live]
        self.places = [places[s] for s in recording.sources if isinstance(s, int)]
        self.captured = [s for s in recording.sources if isinstance(s, Tensor)]
        self.pulls, self.pushes = self.pull, self.push

    def forward(self, *xs: Any, **params: Any) -> Any:
        raise NotImplementedError("it may draw random numbers, which it must not once more")

    def run(
        self, leaves: Sequence[Any], structure: Any, inputs: Sequence[Any], scope: Any
    ) -> list[Any]:
        """Return the outputs of the forward section, those that are live as tensors."""
        executable = self.executable
        workspace = executable.take()
        kept = Kept(executable, workspace, leaves, structure)
        found = executable.run(0, inputs, workspace)
        nodes = (*[leaves[k] for k in self.places], *self.captured)
        given = nodes, tuple([t.value for t in nodes]), {"kept": kept}, scope
        if len(self.numbers) == 1:
            k = self.numbers[0]
            found[k] = made_by(found[k], self, *given)
        else:
            values: Any = Outputs([found[k] for k in self.numbers])
            node = Tensor(values, True)._made_by(self, *given)
            for k, t in zip(self.numbers, node.opened(), strict=True):
                found[k] = t
        return found

    # ---- rules -----------------------------------------------------------------------------------

    def pull(self, wanted: Any, g: Any, z: Any, *xs: Any, kept: Kept) -> list[Any]:
        gs = g if isinstance(g, tuple) else (g,)
        if not _any_tensor(*gs, *xs):
            return self.executable.run(1, gs, kept.workspace)
        nodes, outputs, path = self._again(xs, kept)
        found = tape.pull(path, outputs, gs, nodes, True, silent=set(self.captured))
        return [found[t] if t in found else np.zeros_like(t.value) for t in nodes]

    def push(self, dxs: Sequence[Any], z: Any, *xs: Any, kept: Kept) -> Any:
        nodes, outputs, path = self._again(xs, kept)
        moved = [(t, dx) for t, dx in zip(nodes, dxs, strict=True) if dx is not None]
        inputs, tangents = zip(*moved, strict=True)
        dots = tape.push(path, inputs, tangents, _any_tensor(*tangents, *xs))
        dzs = [dots[y] if y in dots else np.zeros_like(y.value) for y in outputs]
        return Outputs(dzs) if isinstance(z, tuple) else dzs[0]

    def _again(self, xs: Sequence[Any], kept: Kept) -> Any:
        """Run the function itself; return inputs and captured tensors, outputs, and the path."""
        if self.recording.drawn:
            raise RuntimeError(
                f"{self.name}: draws random numbers, so it cannot be run again for derivatives of "
                "higher order, or in forward mode; take those of the function without mg.compile"
            )
        n = len(self.places)
        for t, x in zip(self.captured, xs[n:], strict=True):
            if t.value is not value_of(x):
                raise RuntimeError(
                    f"{self.name}: {t.name or 'a captured tensor'} was given new data between "
                    "forward and backward; differentiate before the parameters change"
                )
        with recording(None, Replay(Replay())):
            inputs = [fresh(x, self.name) for x in xs[:n]]
            start, leaves = tape.next_index(), list(kept.leaves)
            for k, t in zip(self.places, inputs, strict=True):
                leaves[k] = t
            out = tree.flatten(self.owner.applied(leaves, kept.structure))[0]
        outputs = [out[k] for k in self.live]
        path, _ = tape.since(start, outputs)
        tape.close(inputs)
        nodes = [*inputs, *self.captured]
        known = set(nodes)
        return nodes, outputs, [*nodes, *[t for t in path if t not in known]]


def _any_tensor(*xs: Any) -> bool:
    return any(isinstance(x, Tensor) for x in xs)
