"""Manual against automatic: which gradients agree, which do not, and where each is worst.

Entries are matched by name; `rows` says how far apart two of them are. Given a loss instead of
automatic gradients, or a hand-written function pair, a report also has the recorded graph: then it
says which side central differences confirm, and `explain` which mistake in the backward pass would
give the manual numbers.
"""

from __future__ import annotations

import html
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .. import viz
from ..core import tree
from ..core.context import recording
from ..core.dtypes import plain
from ..core.tensor import Tensor
from ..explain import Case, Divergence, Explanations
from .debug import located
from .rows import HEAD, LEFT, Array, Row, rank, row_of, size

__all__ = [
    "GradientMismatch", "Report", "Row", "assert_same_gradients", "compare", "compare_backward",
]  # fmt: skip


class GradientMismatch(AssertionError):  # noqa: N818
    """Gradients that should agree do not; the message is the report."""


@dataclass(frozen=True, slots=True, repr=False)
class Report:
    """What `compare` found: rows, worst first. As text it is a table, and its truth is `ok`.

    So `assert compare(manual, automatic)` fails where gradients differ, and pytest shows the table.
    """

    rows: tuple[Row, ...]
    case: Case | None = field(default=None, compare=False)

    @property
    def ok(self) -> bool:
        """Whether every entry is there on both sides and agrees."""
        return all(row.ok for row in self.rows)

    def __bool__(self) -> bool:
        return self.ok

    @property
    def worst(self) -> Row:
        """The row to look at first: one that is not ok if there is one."""
        return self.rows[0]

    def raise_if_different(self) -> None:
        """Raise GradientMismatch, the table in its message, unless everything agrees."""
        if not self.ok:
            why = f"\n{self.explain()}" if self.case else ""
            raise GradientMismatch(f"{self}{why}")

    def explain(self, seconds: float = 20.0) -> Explanations:
        """Return the mistakes that would give the manual numbers, the likeliest first.

        The search ends after some `seconds`. An empty list if everything agrees; ValueError for a
        report that knows no graph, because two containers of numbers were compared.
        """
        if self.ok:
            return Explanations()
        case, wrong = self._case("explain"), [row for row in self.rows if not row.ok]
        found = case.explained([row.name for row in wrong if row.verdict == "shape"], seconds)
        return found or case.unexplained([f"{row.name!r} is {row.verdict}" for row in wrong])

    @property
    def first_divergence(self) -> Divergence | None:
        """The first wrong gradient, coming from the loss, if some of intermediates were given."""
        wrong = [row.name for row in self.rows if row.verdict in ("differs", "shape", "non-finite")]
        return self._case("first_divergence").divergence(wrong)

    def draw(self, **options: Any) -> Any:
        """Draw the graph, every operation coloured by how far off its gradient is: see `viz.draw`.

        Where an explanation reproduces the manual numbers, the gradients of all operations are
        known to be those that it leads to; else only those that were compared.
        """
        case = self._case("draw")
        return viz.draw(case.loss, agreement=self._agreement(), **options)

    def show(self, path: str | os.PathLike[str] | None = None, **options: Any) -> Any:
        """Make an interactive page of what `draw` draws, written to `path`: see `viz.show`."""
        case = self._case("show")
        return viz.show(case.loss, path, agreement=self._agreement(), **options)

    def _agreement(self) -> dict[Any, tuple[float, str]]:
        errors = {row.name: (row.max_rel, row.cells()[-1]) for row in self.rows}
        return self._case("draw").agreement(errors, next(iter(self.explain()), None))

    def _case(self, what: str) -> Case:
        if self.case is None:
            raise ValueError(
                f"{what}: this report compares two containers of numbers and knows no graph; give "
                "compare() the loss itself, or use compare_backward(forward, backward, inputs)"
            )
        return self.case

    @property
    def summary(self) -> str:
        """How many entries agree, how closely, to which tolerance; and what the others are."""
        good = [row for row in self.rows if row.ok]
        bad = [row.verdict for row in self.rows if not row.ok]
        text = f"{len(good)} of {len(self.rows)} entries agree"
        if good:
            limits = " or ".join(f"{rtol:.2g}" for rtol in sorted({row.rtol for row in good}))
            within = max(row.max_rel for row in good)
            text += f" within {within:.2g} of their largest element (tolerance {limits})"
        return "; ".join([text, *[f"{kind}: {bad.count(kind)}" for kind in sorted({*bad})]])

    def __str__(self) -> str:
        table = [[*HEAD], *[row.cells() for row in self.rows]]
        for k, column in enumerate(zip(*table, strict=True)):
            width = max(map(len, column))
            for cells in table:
                cells[k] = cells[k].ljust(width) if k in LEFT else cells[k].rjust(width)
        return "\n".join([self.summary, *["  ".join(cells).rstrip() for cells in table]])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        # The page's own colours and a faint tint: readable in dark and in light.
        def line(cells: Iterable[str], tag: str, style: str = "") -> str:
            inside = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)
            return f"<tr{style}>{inside}</tr>"

        tint = ' style="background:rgba(220,60,60,.2)"'
        body = [line(row.cells(), "td", "" if row.ok else tint) for row in self.rows]
        return (
            f"<table><caption>{html.escape(self.summary)}</caption>"
            f"<thead>{line(HEAD, 'th')}</thead><tbody>{''.join(body)}</tbody></table>"
        )


def compare(manual: Any, automatic: Any, *, rtol: float | None = None) -> Report:
    """Compare gradients derived by hand with automatic ones, entry by entry.

    Each side is a nested container of arrays, numbers and Tensors, or a Module. A leaf Tensor that
    requires gradients, such as a parameter, stands for its `.grad`; any other Tensor for its data.
    Names match in any order, and nothing is broadcast. The verdict of an entry is

        ok, differs    max rel is at most the tolerance, or more
        missing        only automatic has it
        extra          only manual has it
        shape          the shapes differ
        non-finite     nan or infinity on either side, be they equal

    The tolerance is 1e-10 in float64, 1e-3 in float32 and 5e-2 in float16, the coarser of the two
    sides, unless `rtol` is given. TypeError for an entry that is not real and floating (integers,
    say); ValueError for a `.grad` that is None, a name twice on one side, or two empty sides.

    `automatic` may also be a loss: a Tensor of one element with a graph. Then `manual` is a dict of
    gradients by the names of parameters and other leaves, and of intermediates by name and scope
    path ("lstm/step[7].c", or an end of it that is unique); backward() need not have run, and
    `explain()` searches for the mistake. ValueError for a name that nothing has.

    >>> import minigrad as mg
    >>> w = mg.tensor(np.array([0.1, 0.2]), requires_grad=True)
    >>> mg.tanh(w).sum().backward()
    >>> print(compare({"w": 1 - np.tanh(w.data) ** 2}, {"w": w}))
    1 of 1 entries agree within 0 of their largest element (tolerance 1e-10)
    entry  shape  max abs  max rel  worst at      manual   automatic  cosine  verdict
    w      (2,)         0        0  [0]       0.99006629  0.99006629       1  ok
    >>> compare({"w": 1 - np.tanh(w.data)}, {"w": w}).worst.verdict
    'differs'
    """
    if rtol is not None and not 0 <= rtol < math.inf:
        raise ValueError(f"compare: rtol must be a finite number, at least 0, not {rtol}")
    if isinstance(automatic, Tensor) and isinstance(manual, Mapping) and automatic.primitive:
        return _with_graph(automatic, manual, rtol)
    if isinstance(automatic, Tensor) and isinstance(manual, Mapping) and not automatic.live:
        raise ValueError(
            "compare: the loss has no graph: compute it from tensors that require gradients, "
            "outside mg.no_grad()"
        )
    ours, theirs = _entries("manual", manual), _entries("automatic", automatic)
    if not (ours or theirs):
        raise ValueError("compare: both sides are empty; there are no gradients to compare")
    largest = max([float(size(a[np.isfinite(a)])) for a in theirs.values()], default=0.0)
    rows = [Row(name, m.shape, "extra") for name, m in ours.items() if name not in theirs]
    rows += [Row(name, a.shape, "missing") for name, a in theirs.items() if name not in ours]
    rows += [
        row_of(name, ours[name], theirs[name], rtol, largest) for name in ours if name in theirs
    ]
    return Report(tuple(sorted(rows, key=rank)))


def compare_backward(
    forward: Callable[[dict[str, Any]], Any],
    backward: Callable[[dict[str, Any]], Mapping[str, Any]],
    inputs: Mapping[str, Any],
    *,
    rtol: float | None = None,
) -> Report:
    """Compare a hand-written backward pass with the gradients of the forward pass beside it.

    `inputs` is a dict of arrays. `forward(inputs)` gives the scalar loss in plain NumPy, without
    in-place writes: it is run on Tensors, through NumPy's own protocols. `backward(inputs)` gives a
    dict of gradients under the same names; integer arrays are constants. Explanations are searched
    in float64, with the user's expressions recorded.

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
    who = "compare_backward: input {!r}"
    arrays = {name: plain(x, who.format(name), "takes") for name, x in inputs.items()}
    if not arrays:
        raise ValueError("compare_backward: inputs is empty; there is nothing to differentiate")
    for name, x in arrays.items():
        if x.dtype.kind == "f" and not np.isfinite(x).all():
            raise ValueError(f"compare_backward: input {name!r} holds nan or infinity")

    def run(dtype: Any) -> tuple[Tensor, Mapping[str, Any]]:
        def cast(x: Array) -> Array:
            return np.array(x, dtype) if dtype and x.dtype.kind == "f" else x.copy()

        leaves = {
            name: Tensor(cast(x), True, name) if x.dtype.kind == "f" else x
            for name, x in arrays.items()
        }
        with located(), recording():
            loss = forward(leaves)
        if not isinstance(loss, Tensor) or not loss.live:
            raise ValueError(
                "compare_backward: the loss has no graph: forward must compute it from inputs "
                f"with NumPy functions; it gave {type(loss).__name__}"
            )
        if loss.size != 1:
            raise ValueError(f"compare_backward: forward must give a scalar, not {loss.shape}")
        manual = backward({name: cast(x) for name, x in arrays.items()})
        if not isinstance(manual, Mapping):
            raise TypeError("compare_backward: backward must return a dict of gradients by name")
        return loss, manual

    report = _with_graph(*run(None), rtol)
    if not report.ok and any(x.dtype.kind == "f" and x.itemsize < 8 for x in arrays.values()):
        report = replace(report, case=_with_graph(*run(np.float64), rtol).case)
    if report.case:
        report.case.name_nodes()
    return report


def _with_graph(loss: Tensor, manual: Mapping[str, Any], rtol: float | None) -> Report:
    if loss.size != 1:
        raise ValueError(f"compare: the loss must have one element, not shape {loss.shape}")
    if not manual:
        raise ValueError("compare: manual is empty; there are no gradients to compare")
    case = Case(loss, _entries("manual", manual))
    theirs, noise = case.automatic(), case.noise()
    largest = max(float(size(a)) for a in theirs.values())
    rows = [Row(name, a.shape, "missing") for name, a in theirs.items() if name not in case.manual]
    for name, m in case.manual.items():
        row = row_of(name, m, theirs[name], rtol, largest)
        if row.verdict == "differs" and row.max_abs <= 100 * noise[name]:
            row = replace(row, verdict="ok", note="as far apart as rounding puts them")
        if row.verdict == "differs" and row.worst_at is not None:
            third = case.opinion(name, row.worst_at, row.manual, row.automatic)
            row = replace(row, note="; ".join(filter(None, [row.note, third])))
        rows.append(row)
    return Report(tuple(sorted(rows, key=rank)), case)


def _entries(side: str, given: Any) -> dict[str, Array]:
    """Take a side apart into arrays by name."""
    if tree.is_module(given):
        pairs = [(name, p.grad) for name, p in given.named_parameters()]
    else:
        leaves, structure = tree.flatten(given)
        pairs = list(zip(tree.names(structure), leaves, strict=True))
    entries: dict[str, Array] = {}
    for name, value in pairs:
        name = name or "gradient"  # of a lone array
        what = f"compare: {side} {name!r}"
        if isinstance(value, Tensor):
            value = value.grad if value.live and value.primitive is None else value.data
        if name in entries:
            raise ValueError(f"{what} is there twice; give its entries different names")
        if value is None:
            raise ValueError(f"{what} has no .grad yet: run backward() first")
        array = np.asarray(float(value) if type(value) is int else value)
        if array.dtype.kind != "f":
            kind = getattr(value, "dtype", type(value).__name__)
            raise TypeError(f"{what} is of type {kind}; give floating arrays, numbers or Tensors")
        entries[name] = array
    return entries


def assert_same_gradients(manual: Any, automatic: Any, inputs: Any = None) -> None:
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
