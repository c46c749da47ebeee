"""A hand-written backward pass, held against the forward pass beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..core import tree
from ..core.context import recording
from ..core.dtypes import Array, plain
from ..core.tape import between
from ..core.tensor import ArrayLike, Tensor, value_of
from ..core.tree import Tree
from ..explain import Case
from .compare import Report, compare, compared, entries, replayed, report_of
from .debug import located
from .rows import Row
from .witness import Witness, departures, held, lost, said

__all__ = ["Passes", "assert_same_gradients", "compare_backward"]

AGAINST = "so gradients are held against central differences, and no mistake is explained"


def compare_backward(
    forward: Callable[[dict[str, Any]], ArrayLike],
    backward: Callable[[dict[str, Any]], Mapping[str, Any]],
    inputs: Mapping[str, Any],
    *,
    rtol: float | None = None,
) -> Report:
    """Compare a hand-written backward pass with the gradients of the forward pass beside it.

    `inputs` is a dict of arrays, which may be nested: {"Ws": [W0, W1]}. `forward(inputs)` gives the
    scalar loss, in plain NumPy; `backward(inputs)` a dict of gradients under the same names.
    Integer arrays are constants.

    The forward pass is recorded on Tensors, through NumPy's own protocols, and run on plain arrays
    for central differences: a few directions for each input, and the worst elements. Where the
    recording is not what forward computes, or forward cannot be recorded (it fills arrays, say),
    gradients are held against differences alone; the report's `remarks` say why and where, and
    mistakes cannot be explained. They are searched for in float64, with the user's expressions.

    ValueError if forward does not return one number, and the same for the same inputs.

    >>> def forward(p):
    ...     return np.sum(np.tanh(p["x"] @ p["w"]))
    >>> def backward(p):
    ...     y = np.tanh(p["x"] @ p["w"])
    ...     dz = 1 - y                                # a square is missing
    ...     return {"x": dz @ p["w"].T, "w": p["x"].T @ dz}
    >>> rng = np.random.default_rng(0)
    >>> p = {"x": rng.normal(size=(4, 3)), "w": rng.normal(size=(3, 2))}
    >>> report = compare_backward(forward, backward, p)
    >>> report.ok, report.explain()[0].kind
    (False, 'wrong derivative')
    """
    who = "compare_backward"
    if not isinstance(inputs, Mapping):
        raise TypeError(
            f"{who}: inputs is a dict of arrays by name, as in {{'x': x}}, not "
            f"{type(inputs).__name__}"
        )
    leaves, structure = tree.flatten(_nested(inputs))
    arrays = dict[str, Array]()
    for name, x in zip(tree.names(structure), leaves, strict=True):
        if name in arrays:
            raise ValueError(f"{who}: two inputs are named {name!r}; give them different names")
        arrays[name] = plain(value_of(x), f"{who}: input {name!r}", "takes")
        if arrays[name].dtype.kind == "f" and not np.isfinite(arrays[name]).all():
            raise ValueError(f"{who}: input {name!r} holds nan or infinity")
    if not arrays:
        raise ValueError(f"{who}: inputs is empty; there is nothing to differentiate")
    return Passes(who, forward, backward, arrays, structure).report(rtol)


class Passes:
    """A forward pass, a backward pass, and the inputs of both by name, in their containers.

    `who` begins the texts of errors.
    """

    def __init__(
        self,
        who: str,
        forward: Callable[[dict[str, Any]], Any],
        backward: Callable[[dict[str, Any]], Mapping[str, Any]],
        arrays: Mapping[str, Array],
        structure: tree.Structure,
    ) -> None:
        self.who, self.forward, self.backward = who, forward, backward
        self.on_tensors = False
        self.arrays, self.structure = arrays, structure
        self.real = [name for name, x in arrays.items() if x.dtype.kind == "f"]

    def report(self, rtol: float | None) -> Report:
        """Return the comparison, and who is right where they differ."""
        witness = Witness(self._loss, self.arrays, f"{self.who}: forward")
        self.on_tensors = witness.on_tensors
        manual = self._manual()
        if not manual:
            raise ValueError("compare: manual is empty; there are no gradients to compare")
        if whole := [name for name in manual if name in self.arrays and name not in self.real]:
            raise ValueError(
                f"{self.who}: {whole[0]!r} is an array of integers, which are constants; leave "
                "its gradient out, or give the input as floats"
            )
        try:
            loss, leaves = self._recorded()
        except Exception as error:
            why = f"forward cannot be recorded: {said(error)}"
            return self._by_differences(witness, manual, rtol, why)
        if not isinstance(loss, Tensor) or not loss.live:
            zeros = {name: np.zeros(self.arrays[name].shape) for name in self.real}
            if all(witness.mismatch(name, g) is None for name, g in zeros.items()):
                raise ValueError(
                    f"{self.who}: the loss has no graph: forward must compute it from inputs with "
                    f"NumPy functions; it gave {type(loss).__name__}"
                )
            why = lost(self.real, departures(self._recorded))
            return self._by_differences(witness, manual, rtol, why)
        case, automatic, noise = self._case(loss, leaves, manual)
        rows = compared(manual, automatic, noise, rtol)
        inner = [name for name in manual if name not in self.arrays]
        also = self.real if inner else ()  # what they rest on
        again = lambda: replayed(case)
        wrong = held(witness, rows, manual, automatic, noise, rtol, again, also)
        if not wrong:
            return report_of(rows, witness, self._explainable(case, rows))
        why = self._why(case, witness, wrong)
        if inner:
            raise ValueError(
                f"{self.who}: nobody can tell whether the gradient of {inner[0]!r} is right, for "
                f"what was recorded is not what forward computes; {why}"
            )
        return report_of(rows, witness, None, f"{why}\n{AGAINST}")

    def _by_differences(
        self, witness: Witness, manual: dict[str, Array], rtol: float | None, why: str
    ) -> Report:
        """Return a comparison without a recording."""
        if inner := [name for name in manual if name not in self.arrays]:
            raise ValueError(
                f"{self.who}: {inner[0]!r} is none of the inputs, which are "
                f"{', '.join(map(repr, self.arrays))}; others are not known, for {why}"
            )
        rows = {name: Row(name, self.arrays[name].shape, "missing") for name in self.real}
        rows |= {name: witness.row(name, m, rtol) for name, m in manual.items()}
        return report_of(rows, witness, None, f"{why}\n{AGAINST}")

    def _why(self, case: Case, witness: Witness, wrong: list[str]) -> str:
        """Return why the automatic gradients of some inputs are not those of forward."""
        recording, automatic = replayed(case), case.automatic()
        known = {name: recording.mismatch(name, automatic[name]) for name in recording.arrays}
        ours = [
            name
            for name in wrong
            if (v := known.get(name)) is not None and witness.agrees(recording, name, v)
        ]
        if ours == wrong:
            return (
                "MINIGRAD is wrong, please report it: these are not the gradients of the "
                f"operations that it recorded: {', '.join(map(repr, ours))}"
            )
        return lost(wrong, departures(self._recorded))

    def _explainable(self, case: Case, rows: Mapping[str, Row]) -> Case:
        """Return the case to search for mistakes in: in float64, with the user's names."""
        narrow = any(self.arrays[name].itemsize < 8 for name in self.real)
        if narrow and not all(row.ok for row in rows.values()):
            case, *_ = self._case(*self._recorded(np.float64), self._manual(np.float64))
        case.name_nodes()
        return case

    # ---- runs ------------------------------------------------------------------------------------

    def _loss(self, given: Mapping[str, Any]) -> Any:
        """Return the one number that forward gives."""
        outputs = tree.flatten(self.forward(self._nested(given)))[0]
        shapes = [np.shape(value_of(y)) for y in outputs]
        if len(shapes) != 1 or np.prod(shapes[0]) != 1:
            shown = ", ".join(map(str, shapes)) or "nothing"
            raise ValueError(f"{self.who}: forward must give a scalar, not {shown}")
        return outputs[0]

    def _recorded(self, dtype: Any = None) -> tuple[Any, dict[str, Tensor]]:
        """Return the loss that forward gives on Tensors, and the inputs that gradients flow to."""
        given = self._copies(dtype)
        leaves = {name: Tensor(given[name], True, name) for name in self.real}
        with located(), recording():
            return self.forward(self._nested({**given, **leaves})), leaves

    def _manual(self, dtype: Any = None) -> dict[str, Array]:
        """Return the gradients that backward gives, by name."""
        return entries("manual", self._returned(dtype))

    def _returned(self, dtype: Any) -> dict[str, Any]:
        """Return what backward gives, by name: the very objects.

        The forward pass runs before it, for what is kept on `self` and the like.
        """
        given = self._copies(dtype)
        if self.on_tensors:  # forward is written for them
            given |= {name: Tensor(given[name]) for name in self.real}
        self.forward(self._nested(given))
        manual = self.backward(self._nested(self._copies(dtype)))
        if not isinstance(manual, Mapping):
            raise TypeError(f"{self.who}: backward must return a dict of gradients by name")
        leaves, structure = tree.flatten(_nested(manual))
        named = dict(zip(tree.names(structure), leaves, strict=True))
        if len(named) < len(leaves):
            entries("manual", _nested(manual))  # says which one is there twice
        return named

    def _case(
        self, loss: Tensor, leaves: dict[str, Tensor], manual: dict[str, Array]
    ) -> tuple[Case, dict[str, Array], dict[str, float]]:
        """Return the case, and the automatic gradients: zero for inputs that nothing flows to."""
        nodes = {*between(None, [loss])[0]}
        apart = [name for name in manual if name in leaves and leaves[name] not in nodes]
        case = Case(
            loss,
            {name: m for name, m in manual.items() if name not in apart},
            lambda: self._returned(np.float64),
        )
        zeros = {name: np.zeros_like(leaves[name].value) for name in apart}
        return case, case.automatic() | zeros, case.noise() | dict.fromkeys(apart, 0.0)

    def _copies(self, dtype: Any) -> dict[str, Any]:
        return {
            name: np.array(x, dtype if dtype and name in self.real else x.dtype)
            for name, x in self.arrays.items()
        }

    def _nested(self, values: Mapping[str, Any]) -> Any:
        return tree.unflatten(self.structure, [values[name] for name in self.arrays])


def _nested(x: Any) -> Any:
    """Return a container with arrays for the lists that hold nothing but numbers."""
    if isinstance(x, Mapping):
        return {key: _nested(part) for key, part in x.items()}
    if not isinstance(x, (list, tuple)):
        return x
    if all(np.isscalar(y) for y in tree.flatten(x)[0]):
        return np.asarray(x)
    parts = [_nested(part) for part in x]
    return x._make(parts) if hasattr(x, "_make") else type(x)(parts)


def assert_same_gradients(
    manual: Tree | Callable[..., Any],
    automatic: Tree | Callable[..., Any],
    inputs: Mapping[str, Any] | None = None,
) -> None:
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
