"""A hand-written backward pass, held against the forward pass beside it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..core.dtypes import Array
from ..core.tape import between
from ..core.tensor import Tensor
from ..core.tree import Tree
from ..explain import Case
from ..instrument import numpy_code
from .compare import Report, compare, compared, replayed, report_of
from .inputs import Inputs
from .returned import Returned
from .rows import Row, rank
from .runs import Runs
from .witness import CLOSE, Witness, departures, held, lost, said

__all__ = ["Passes", "assert_same_gradients", "compare_backward"]

AGAINST = "so gradients are held against central differences, and no mistake is explained"


def compare_backward(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    inputs: Mapping[str, Any] | tuple[Any, ...] | object,
    *,
    wrt: str | Iterable[str] | None = None,
    rtol: float | None = None,
) -> Report:
    """Compare a hand-written backward pass with the gradients of the forward pass beside it.

    Both are plain NumPy, as they stand. `inputs` is what forward takes: one container of arrays,
    as in {"Ws": [W0, W1], "b": b} or a dataclass, or a tuple of its arguments, (x, w, b), which are
    named as its parameters, or a dict of these. Integers, texts and options are constants.

        forward returns        backward takes
        loss                   (inputs), or nothing
        loss, cache            (inputs, cache) or (cache)
        out, cache             (dout, cache) or (dout)
        out1, out2, cache      (dout1, dout2, cache) or ((dout1, dout2), cache)
        (h, c), cache          (dout, cache), where dout is (dh, dc)

    The first of several values, or the only one, may be a tuple, list or dict of outputs, nested at
    will; then dout is built like it. Inputs may also stand between dout and cache, or anywhere
    under the names that they have in forward. Gradients of outputs are drawn at random, the same
    ones each time.

    What backward returns are gradients under the names of the inputs, or dW, grad_W, W_grad for W;
    or in their order: a tuple, which may leave out what is constant. None is no gradient. A dict
    may also hold gradients of intermediates, by the names that `compare` takes. Only what is
    returned is compared; the first line of the report says which floating inputs are not. Those in
    `wrt`, a name or several, must be there, and then nothing else is compared. What an earlier run
    has left in objects or dicts is no input: what forward writes before it reads it, and a dW
    beside W that it does not read.

    The forward pass is recorded on Tensors, if need be as `numpy_code` does, and run on plain
    arrays for central differences: a few directions for each input, and the worst elements. Where
    the recording is not what forward computes, or forward cannot be recorded, gradients are held
    against differences alone; the report's `remarks` say why and where, and mistakes cannot be
    explained. They are searched for in float64, with the user's expressions.

    ValueError if forward does not give the same for the same inputs (`np.random` starts from one
    state each time), if backward takes something else, if it cannot be told whose gradients it
    returns, or if it returns none.

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

    >>> def layer_forward(x, w):
    ...     return np.tanh(x @ w), (x, w)
    >>> def layer_backward(dout, cache):
    ...     x, w = cache
    ...     dz = dout * (1 - np.tanh(x @ w) ** 2)
    ...     return dz @ w.T, x.T @ dz
    >>> compare_backward(layer_forward, layer_backward, (p["x"], p["w"])).ok
    True
    """
    who = "compare_backward"
    return Passes(who, forward, backward, Inputs(who, inputs, forward)).report(rtol, wrt)


class Passes:
    """A forward pass and a backward pass, compared. `who` begins the texts of errors.

    Forward is recorded as it is, which is faster, or else with hooks in it, which follow more. If
    neither recording is all of it, or anything goes wrong with one, differences are the judge.
    """

    def __init__(
        self, who: str, forward: Callable[..., Any], backward: Callable[..., Any], inputs: Inputs
    ) -> None:
        self.who, self.inputs, self.real = who, inputs, inputs.real
        self.recordable = (forward, numpy_code(forward))
        self.runs = Runs(who, forward, backward, inputs)

    def report(self, rtol: float | None, wrt: str | Iterable[str] | None = None) -> Report:
        """Return the comparison, and who is right where they differ."""
        witness = Witness(self.runs.loss, self.inputs.arrays, f"{self.who}: forward")
        manual = self.runs.manual()
        missing = self._narrowed(manual, wrt)
        if not (manual.gradients or manual.others or missing):
            raise ValueError(
                f"{self.who}: backward returned no gradients; it must return them by the names of "
                f"the inputs, {', '.join(map(repr, self.real))}, or in their order"
            )
        report = self._compared(witness, manual, rtol)
        known = {row.name for row in report.rows}
        rows = [*report.rows, *[row for row in missing if row.name not in known]]
        rest = [] if wrt is not None else [n for n in self.real if n not in manual.gradients]
        return replace(
            report,
            rows=tuple(sorted(rows, key=rank)),
            not_compared=tuple(rest),
            not_known=tuple([name for name in manual.others if name not in known]),
            remarks=(*self.runs.remarks(), *report.remarks),
        )

    def _narrowed(self, manual: Returned, wrt: str | Iterable[str] | None) -> list[Row]:
        """Take out of `manual` what is not in `wrt`; return rows for what it lacks."""
        if wrt is None:
            return []
        names = list[str]()
        for one in [wrt] if isinstance(wrt, str) else wrt:
            inside = [n for n in self.real if n == one or n.startswith((f"{one}.", f"{one}["))]
            if not inside and one not in manual.others:
                known = ", ".join(map(repr, self.real))
                what = "is an integer" if one in self.inputs.arrays else "is none of the inputs"
                raise ValueError(f"{self.who}: wrt: {one!r} {what}; the floating ones are {known}")
            names += inside or [one]
        if not names:
            raise ValueError(f"{self.who}: wrt is empty; leave it out to compare all gradients")
        for part in manual:
            for name in part.keys() - {*names}:
                del part[name]
        note = "backward returns no gradient of it"
        lacks = [name for name in names if name in self.real and name not in manual.gradients]
        return [Row(n, self.inputs.arrays[n].shape, "missing", note=note) for n in lacks]

    def _compared(self, witness: Witness, manual: Returned, rtol: float | None) -> Report:
        """Return the comparison with what is recorded, or else with central differences."""
        gradients, reasons, known = manual.gradients, list[Callable[[], str]](), dict[str, Row]()
        if not (gradients or manual.others):
            return report_of({}, witness, None)
        for forward in self.recordable:
            try:
                return self._with_recording(forward, witness, manual, rtol)
            except _Incomplete as error:
                reasons, known = [error.why, *reasons], error.rows
            except Exception as error:
                text = f"what was recorded cannot be compared with: {said(error)}"
                reasons, known = [lambda text=text: text, *reasons], {}  # type: ignore[misc]
        texts = [reason() for reason in reasons]
        why = next((text for text in texts if ", line " in text), texts[0])
        if not gradients:
            raise ValueError(
                f"{self.who}: {next(iter(manual.others))!r} is none of the inputs, which are "
                f"{', '.join(map(repr, self.real))}; nobody can tell whether its gradient is "
                f"right, for {why}"
            )
        rows = {n: known.get(n) or witness.row(n, m, rtol) for n, m in gradients.items()}
        return report_of(rows, witness, None, f"{why}\n{AGAINST}")

    def _with_recording(
        self, forward: Callable[..., Any], witness: Witness, manual: Returned, rtol: float | None
    ) -> Report:
        """Return the comparison with what is recorded of `forward`; _Incomplete if it is less."""
        try:
            loss, leaves = self.runs.recorded(forward)
        except Exception as error:
            text = f"forward cannot be recorded: {said(error)}"
            raise _Incomplete(lambda: text) from None
        if not isinstance(loss, Tensor) or not loss.live:
            raise _Incomplete(lambda: self._why_no_graph(loss, witness))
        if not _is_close(loss.value, value := self.runs.value):
            values = f"{loss.value.item():.8g}, and forward {value.item():.8g}"
            raise _Incomplete(lambda: f"what was recorded gives {values}")
        case, automatic = self._case(loss, leaves, manual)
        rows = compared(manual.gradients | case.manual, automatic, case.noise, rtol)
        rows = {name: row for name, row in rows.items() if row.verdict != "missing"}
        is_inner = len(case.manual.keys() - manual.gradients.keys()) > 0
        also = self.real if is_inner else ()  # what they rest on
        held_of = {name: a for name, a in automatic.items() if name in rows or name in also}
        again = lambda: replayed(case)
        wrong = held(witness, rows, manual.gradients, held_of, case.noise, rtol, again, also)
        if wrong:
            raise _Incomplete(lambda: self._why(case, witness, wrong), rows)
        narrow = any(self.inputs.arrays[name].itemsize < 8 for name in self.real)
        remarks = []
        if narrow and not all(row.ok for row in rows.values()):
            try:
                case = self._in_float64(forward, manual)
            except Exception as error:
                remarks = [f"mistakes are searched for in float32, for in float64: {said(error)}"]
        case.name_nodes()
        return report_of(rows, witness, case, *remarks)

    def _why_no_graph(self, loss: Any, witness: Witness) -> str:
        zeros = {name: np.zeros(self.inputs.arrays[name].shape) for name in self.real}
        if all(witness.mismatch(name, g) is None for name, g in zeros.items()):
            raise ValueError(
                f"{self.who}: the loss has no graph: forward must compute it from inputs with "
                f"NumPy functions; it gave {type(loss).__name__}"
            )
        return lost(self.real, self._departures())

    def _why(self, case: Case, witness: Witness, wrong: list[str]) -> str:
        """Return why the automatic gradients of some inputs are not those of forward."""
        ours = list[str]()
        with contextlib.suppress(Exception):
            recording, automatic = replayed(case), case.automatic()
            for name in [name for name in wrong if name in recording.arrays]:
                v = recording.mismatch(name, automatic[name])
                ours += [name] if v is not None and witness.agrees(recording, name, v) else []
        if ours == wrong:
            return (
                "MINIGRAD is wrong, please report it: these are not the gradients of the "
                f"operations that it recorded: {', '.join(map(repr, ours))}"
            )
        return lost(wrong, self._departures())

    def _departures(self) -> list[str]:
        """Return the lines at which forward takes tensors out of the graph, if any are seen."""
        found = list[str]()
        for forward in self.recordable:
            with contextlib.suppress(Exception):
                found = found or departures(functools.partial(self.runs.recorded, forward))
        return found

    def _in_float64(self, forward: Callable[..., Any], manual: Returned) -> Case:
        """Return the case to search for mistakes in, of all that is compared."""
        exact = self.runs.manual(np.float64)
        for ours, theirs in zip(exact, manual, strict=True):
            for name in ours.keys() - theirs.keys():
                del ours[name]
        return self._case(*self.runs.recorded(forward, np.float64), exact)[0]

    def _case(
        self, loss: Tensor, leaves: dict[str, Tensor], manual: Returned
    ) -> tuple[Case, dict[str, Array]]:
        """Return the case, and the automatic gradients: zero for inputs that nothing flows to."""
        nodes = {*between(None, [loss])[0]}
        apart = [name for name in manual.gradients if leaves[name] not in nodes]
        ours = {name: m for name, m in manual.gradients.items() if name not in apart}
        case, error = Case(loss, ours, self.runs.again), None
        for name, m in manual.others.items():
            try:
                case.add(name, m)
            except ValueError as unknown:
                error = error or unknown
        if error and not (case.manual or apart):
            raise error
        zeros = {name: np.zeros_like(leaves[name].value) for name in apart}
        return case, case.automatic() | zeros


class _Incomplete(Exception):  # noqa: N818
    """What was recorded is not all that forward computes: why, and the rows for which it is."""

    def __init__(self, why: Callable[[], str], rows: Mapping[str, Row] | None = None) -> None:
        super().__init__()
        self.why, self.rows = why, dict(rows or {})


def _is_close(a: Array, b: Array) -> bool:
    """Whether two losses are the same but for rounding."""
    wide = CLOSE[min(a.itemsize, b.itemsize, 8)]
    return bool(np.allclose(a.item(), b.item(), rtol=wide, atol=0, equal_nan=True))


def assert_same_gradients(
    manual: Tree | Callable[..., Any],
    automatic: Tree | Callable[..., Any],
    inputs: Mapping[str, Any] | tuple[Any, ...] | object | None = None,
    *,
    wrt: str | Iterable[str] | None = None,
) -> None:
    """Assert that gradients derived by hand are right: one line in somebody's tests.

    Give what `compare` takes (gradients and a loss, or two containers); or `forward`, `backward`,
    `inputs` and `wrt`, as `compare_backward` takes them. GradientMismatch, an AssertionError, has
    the table and the best explanation in its message.

    >>> def forward(p):
    ...     return np.sum(np.sin(p["x"]))
    >>> assert_same_gradients(forward, lambda p: {"x": np.cos(p["x"])}, {"x": np.arange(3.0)})
    """
    if inputs is None:
        if wrt is not None:
            raise TypeError("assert_same_gradients: wrt goes with forward, backward and inputs")
        compare(manual, automatic).raise_if_different()
    else:
        compare_backward(manual, automatic, inputs, wrt=wrt).raise_if_different()
