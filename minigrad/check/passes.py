"""A hand-written backward pass, held against the forward pass beside it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from ..core import tree
from ..core.context import recording
from ..core.dtypes import Array, plain
from ..core.tape import between
from ..core.tensor import Tensor, value_of
from ..core.tree import Tree
from ..explain import Case
from ..instrument import numpy_code
from .calling import Call, calls, drawn, is_output, loss_of, parts, shape_text
from .compare import Report, compare, compared, entries, replayed, report_of
from .debug import located
from .inputs import Inputs, is_numbers, is_object
from .returned import Returned, fits, returned, twins
from .rows import Row, rank
from .witness import CLOSE, Witness, departures, held, lost, said

__all__ = ["Passes", "assert_same_gradients", "compare_backward"]

AGAINST = "so gradients are held against central differences, and no mistake is explained"
T = TypeVar("T")


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
    """A forward pass, a backward pass, and the inputs of both. `who` begins the texts of errors."""

    def __init__(
        self, who: str, forward: Callable[..., Any], backward: Callable[..., Any], inputs: Inputs
    ) -> None:
        self.who, self.forward, self.backward, self.inputs = who, forward, backward, inputs
        self.real, self.on_tensors = inputs.real, False
        self.recordable = (forward, numpy_code(forward))  # the first is faster
        self.chance = np.random.get_state()
        self.draws: bool | None = None
        values, overwritten = self._values()
        self._forget(values, overwritten)
        ways = calls(who, inputs, forward, backward, values)
        self.call = ways[0] if len(ways) == 1 else self._chosen(ways, values)
        self.douts = drawn(values, self.call)
        loss = value_of(self._number(values))
        self.value = plain(np.asarray(loss), f"{who}: forward", "gives")

    def report(self, rtol: float | None, wrt: str | Iterable[str] | None = None) -> Report:
        """Return the comparison, and who is right where they differ."""
        witness = Witness(
            lambda given: self._number(self._run(self.forward, given)),
            self.inputs.arrays,
            f"{self.who}: forward",
        )
        manual = self._manual(None)
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
        said = [self._said_of_outputs()] if self.call.gradients else []
        return replace(
            report,
            rows=tuple(sorted(rows, key=rank)),
            not_compared=tuple(rest),
            not_known=tuple([name for name in manual.others if name not in known]),
            remarks=(*said, *report.remarks),
        )

    def _said_of_outputs(self) -> str:
        """Return which loss takes the place of one, where forward gives outputs."""
        names, count = self.call.gradients, len(self.douts)
        if len(names) < count:  # all in one
            names = [f"{names[0]}[{k}]" for k in range(count)]
        terms = [
            f"np.sum({name}{part} * {f'output {k}' if count > 1 else 'output'}{part})"
            for k, (name, u) in enumerate(zip(names, self.douts, strict=True))
            for part in _places(u)
        ]
        loss = " + ".join(terms if len(terms) < 5 else [*terms[:2], "...", terms[-1]])
        drawn = ", ".join(self.call.gradients)
        return f"{drawn}: drawn at random (seed 0); gradients are those of {loss}"

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
        for part in (manual.gradients, manual.others):
            for name in [name for name in part if name not in names]:
                del part[name]
        return [
            Row(name, self.inputs.arrays[name].shape, "missing", note=(
                "backward returns None for it" if name in manual.none else
                "backward does not return it"
            ))
            for name in names if name in self.real and name not in manual.gradients
        ]  # fmt: skip

    def _compared(self, witness: Witness, manual: Returned, rtol: float | None) -> Report:
        """Return the comparison with what is recorded, or else with central differences."""
        gradients = manual.gradients
        if not (gradients or manual.others):
            return report_of({}, witness, None)
        reasons = list[Callable[[], str]]()
        for forward in self.recordable:
            report, reason = self._attempt(forward, witness, manual, rtol)
            if reason is None:
                return report
            reasons.insert(0, reason)
        texts = [reason() for reason in reasons]
        why = next((text for text in texts if ", line " in text), texts[0])
        if not gradients:
            raise ValueError(
                f"{self.who}: {next(iter(manual.others))!r} is none of the inputs, which are "
                f"{', '.join(map(repr, self.real))}; nobody can tell whether its gradient is "
                f"right, for {why}"
            )
        known = {row.name: row for row in report.rows}
        rows = {n: known.get(n) or witness.row(n, m, rtol) for n, m in gradients.items()}
        return report_of(rows, witness, None, f"{why}\n{AGAINST}")

    def _attempt(
        self, forward: Callable[..., Any], witness: Witness, manual: Returned, rtol: float | None
    ) -> tuple[Report, Callable[[], str] | None]:
        """Return the comparison with what is recorded of `forward`.

        And what says why it is not all that forward computes; then there are those rows for which
        it is.
        """
        nothing = report_of({}, witness, None)
        try:
            loss, leaves = self._recorded(forward)
        except Exception as error:
            text = f"forward cannot be recorded: {said(error)}"
            return nothing, lambda: text
        if not isinstance(loss, Tensor) or not loss.live:
            zeros = {name: np.zeros(self.inputs.arrays[name].shape) for name in self.real}
            if all(witness.mismatch(name, g) is None for name, g in zeros.items()):
                raise ValueError(
                    f"{self.who}: the loss has no graph: forward must compute it from inputs with "
                    f"NumPy functions; it gave {type(loss).__name__}"
                )
            return nothing, lambda: lost(self.real, self._departures())
        if not _is_close(loss.value, self.value):
            values = f"{loss.value.item():.8g}, and forward {self.value.item():.8g}"
            return nothing, lambda: f"what was recorded gives {values}"
        case, automatic = self._case(loss, leaves, manual)
        rows = compared(manual.gradients | case.manual, automatic, case.noise, rtol)
        rows = {name: row for name, row in rows.items() if row.verdict != "missing"}
        is_inner = len(case.manual.keys() - manual.gradients.keys()) > 0
        also = self.real if is_inner else ()  # what they rest on
        held_of = {name: a for name, a in automatic.items() if name in rows or name in also}
        again = lambda: replayed(case)
        wrong = held(witness, rows, manual.gradients, held_of, case.noise, rtol, again, also)
        if wrong:
            return report_of(rows, witness, None), lambda: self._why(case, witness, wrong)
        return report_of(rows, witness, self._explainable(case, rows, manual, forward)), None

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
        return lost(wrong, self._departures())

    def _departures(self) -> list[str]:
        """Return the lines at which forward takes tensors out of the graph, if any are seen."""
        found = list[str]()
        for forward in self.recordable:
            with contextlib.suppress(Exception):
                found = found or departures(functools.partial(self._recorded, forward))
        return found

    def _explainable(
        self, case: Case, rows: Mapping[str, Row], manual: Returned, forward: Callable[..., Any]
    ) -> Case:
        """Return the case to search for mistakes in: in float64, with the user's names."""
        narrow = any(self.inputs.arrays[name].itemsize < 8 for name in self.real)
        if narrow and not all(row.ok for row in rows.values()):
            exact = self._manual(np.float64)
            for ours, theirs in zip(exact[:2], manual[:2], strict=True):
                for name in ours.keys() - theirs.keys():
                    del ours[name]
            case, _ = self._case(*self._recorded(forward, np.float64), exact)
        case.name_nodes()
        return case

    # ---- runs ------------------------------------------------------------------------------------

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

    def _recorded(
        self, forward: Callable[..., Any], dtype: Any = None
    ) -> tuple[Any, dict[str, Tensor]]:
        """Return the loss that forward gives on Tensors, and the inputs that gradients flow to."""
        given = self.inputs.copies(dtype)
        leaves = {name: Tensor(x, True, name) for name, x in given.items()}
        with recording():
            with located():
                values = self._run(forward, leaves)
            return self._number(values), leaves

    def _returned(self, dtype: Any, call: Call, douts: list[Tree]) -> Returned:
        """Return what backward gives, by name: the very objects.

        The forward pass runs before it, for the cache, and for what it keeps in objects. What else
        it changes of its arguments is as before.
        """
        given = self._given(dtype)
        arguments = self.inputs.built(given)
        values = self._by_chance(lambda: parts(self.forward(*arguments)))
        before = self.inputs.copies(dtype)
        if self.on_tensors:
            values = tree.map(value_of, values)
        if self.on_tensors or any(not np.array_equal(x, before[n]) for n, x in given.items()):
            arguments = [
                x if is_object(x) and not self.on_tensors else new
                for x, new in zip(arguments, self.inputs.built(before), strict=True)
            ]
        copies = tree.map(lambda u: np.array(u, dtype), [*douts])
        ordered, by_name = call.given(values, arguments, copies)
        found = self._by_chance(lambda: self.backward(*ordered, **by_name))
        return returned(self.who, found, self.inputs, self.backward)

    def _again(self) -> dict[str, Any]:
        found = self._returned(np.float64, self.call, self.douts)
        return found.gradients | found.others

    def _manual(self, dtype: Any) -> Returned:
        """Return the gradients that backward gives, as arrays."""
        found = self._returned(dtype, self.call, self.douts)
        others = {name: x for name, x in found.others.items() if x is not None}
        return found._replace(
            gradients=entries("manual", {n: _floating(x) for n, x in found.gradients.items()}),
            others={name: np.asarray(value_of(x)) for name, x in others.items() if is_numbers(x)},
        )

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

    def _case(
        self, loss: Tensor, leaves: dict[str, Tensor], manual: Returned
    ) -> tuple[Case, dict[str, Array]]:
        """Return the case, and the automatic gradients: zero for inputs that nothing flows to."""
        nodes = {*between(None, [loss])[0]}
        apart = [name for name in manual.gradients if leaves[name] not in nodes]
        ours = {name: m for name, m in manual.gradients.items() if name not in apart}
        case, error = Case(loss, ours, self._again), None
        for name, m in manual.others.items():
            try:
                case.add(name, m)
            except ValueError as unknown:
                error = error or unknown
        if error and not (case.manual or apart):
            raise error
        zeros = {name: np.zeros_like(leaves[name].value) for name in apart}
        return case, case.automatic() | zeros


def _places(x: Tree, at: str = "") -> list[str]:
    """Return where the arrays of a container are, as one writes it: `[0]['h']`."""
    if isinstance(x, (dict, list, tuple)):
        pairs = x.items() if isinstance(x, dict) else enumerate(x)
        return [place for key, part in pairs for place in _places(part, f"{at}[{key!r}]")]
    return [] if x is None else [at]


def _floating(x: Any) -> Any:
    """Return a gradient as an array, one of integers, such as counts, as floats."""
    array = np.asarray(value_of(x))
    return array.astype(np.float64) if array.dtype.kind in "iub" else array


def _is_close(a: Array, b: Array) -> bool:
    """Whether two losses are the same but for rounding."""
    wide = CLOSE[min(a.itemsize, b.itemsize, 8)]
    return bool(np.allclose(a.item(), b.item(), rtol=wide, atol=0, equal_nan=True))


def _is_same(a: Returned, b: Returned) -> bool:
    return a.gradients.keys() == b.gradients.keys() and all(
        np.array_equal(value_of(g), value_of(b.gradients[name])) for name, g in a.gradients.items()
    )


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
