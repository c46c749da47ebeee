"""Manual against automatic: which gradients agree, which do not, and where each is worst.

Entries are matched by name; `rows` says how far apart two of them are. Given a loss instead of
automatic gradients, a report also has the recorded graph: then `explain` says which mistake in the
backward pass would give the manual numbers. With the function itself, in `passes`, it also says
which side central differences confirm.
"""

from __future__ import annotations

import html
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import viz
from ..core import tree
from ..core.tensor import Tensor
from ..core.tree import Tree
from ..explain import Case, Divergence, Explanations, Listing
from .rows import HEAD, LEFT, Array, Row, rank, row_of, size
from .witness import Witness

if TYPE_CHECKING:
    import graphviz

    from ..viz.html import Page

__all__ = [
    "GradientMismatch", "Report", "Row", "compare", "compared", "entries", "replayed", "report_of",
]  # fmt: skip


class GradientMismatch(AssertionError):  # noqa: N818
    """Gradients that should agree do not; the message is the report."""


@dataclass(frozen=True, slots=True, repr=False)
class Report:
    """What `compare` found: rows, worst first. As text it is a table, and its truth is `ok`.

    So `assert compare(manual, automatic)` fails where gradients differ, and pytest shows the table.
    `remarks` say what the verdicts rest on, where that is not what was recorded. Of a backward
    pass, `not_compared` are the floating inputs that it gives no gradient of, and `not_known` the
    entries of its result that are no gradients of inputs or of named intermediates.
    """

    rows: tuple[Row, ...]
    case: Case | None = field(default=None, compare=False)
    remarks: tuple[str, ...] = ()
    not_compared: tuple[str, ...] = ()
    not_known: tuple[str, ...] = ()

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
        """Raise GradientMismatch unless everything agrees.

        The first line of its message is the wrong line, if it is known; then comes the table.
        """
        if not self.ok:
            why = self.explain() if self.case else Explanations()
            raise GradientMismatch("\n".join([*map(str, why[:1]), str(self), *map(str, why[1:])]))

    def explain(self, seconds: float = 4.0) -> Explanations:
        """Return what is wrong in the backward pass: the likeliest first, or in order of execution.

        A report of `compare_backward` names statements of the backward pass; one of `compare` the
        lines of the forward pass whose derivatives would give the manual numbers if they were so
        wrong. Repairs and mistakes are tried for about so many `seconds`. A gradient that is all
        zero may be a placeholder, and goes last. An empty list if everything agrees; ValueError
        for a report that knows no graph, because two containers of numbers were compared.
        """
        if self.ok:
            return Explanations()
        case, wrong = self._case("explain"), [row for row in self.rows if not row.ok]
        names = [row.name for row in wrong]
        shapes = [row.name for row in wrong if row.verdict == "shape"]
        found = case.explained(names, shapes, seconds)
        return found or case.unexplained([f"{row.name!r} {row.cells()[-1]}" for row in wrong])

    def annotated(self) -> Listing:
        """Return the backward pass line by line, with what each statement gives beside it.

        That is "dh: the gradient of `h` at step 3", or that it matches nothing; and what is wrong,
        under its line. So a right derivation can be read, too. Printed, or as a table in a
        notebook. ValueError for a report that has no backward pass to run.
        """
        case = self._case("annotated")
        if case.rerun is None:
            raise ValueError(
                "annotated: this report has no backward pass to run: use "
                "compare_backward(forward, backward, inputs)"
            )
        listing = None if self.ok else self.explain().listing
        return listing if isinstance(listing, Listing) else case.listing()

    @property
    def first_divergence(self) -> Divergence | None:
        """The first wrong gradient, coming from the loss, if some of intermediates were given."""
        wrong = [row.name for row in self.rows if row.verdict in ("differs", "shape", "non-finite")]
        return self._case("first_divergence").divergence(wrong)

    def draw(self, **options: Any) -> graphviz.Digraph:
        """Return a drawing in which every operation is coloured by how far off its gradient is.

        Where an explanation reproduces the manual numbers, the gradients of all operations are
        known to be those that it leads to; else only those that were compared. `options` are those
        of `viz.draw`.
        """
        case = self._case("draw")
        return viz.draw(case.loss, agreement=self._agreement(self.explain()), **options)

    def show(self, path: str | os.PathLike[str] | None = None, **options: Any) -> Page:
        """Return an interactive page of what `draw` draws, written to `path`: see `viz.show`.

        At its top stands what `explain` says, and the box that it is about is marked.
        """
        case, why = self._case("show"), self.explain()
        remarks = [
            (e.sentence, " ".join(f"{e.place}  {e.statement}".split()), case.tensor(e))
            for e in why[: why.proven or why.SHOWN]
        ]
        given: dict[str, Any] = {
            "grads": True,
            "agreement": self._agreement(why),
            "tolerance": max([row.rtol for row in self.rows if 0 < row.rtol < 1], default=None),
            "remarks": [*remarks, (self.summary, "", None)],
        }
        return viz.show(case.loss, path, **given | options)

    def _agreement(self, why: Explanations) -> dict[Tensor, tuple[float, str]]:
        errors = {row.name: (row.max_rel, row.cells()[-1]) for row in self.rows}
        return self._case("draw").agreement(errors, next(iter(why), None))

    def _case(self, what: str) -> Case:
        if self.case is None:
            raise ValueError(
                f"{what}: this report knows no graph: {'; '.join(self.remarks)}"
                if self.remarks
                else f"{what}: this report compares two containers of numbers and knows no graph; "
                "give compare() the loss itself, or use compare_backward(forward, backward, inputs)"
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
        text = "; ".join([text, *[f"{kind}: {bad.count(kind)}" for kind in sorted({*bad})]])
        for what, names in (("compared", self.not_compared), ("known", self.not_known)):
            text += f"; not {what}: {', '.join(map(repr, names))}" if names else ""
        return text

    def __str__(self) -> str:
        table = [[*HEAD], *[row.cells() for row in self.rows]]
        for k, column in enumerate(zip(*table, strict=True)):
            width = max(map(len, column))
            for cells in table:
                cells[k] = cells[k].ljust(width) if k in LEFT else cells[k].rjust(width)
        lines = ["  ".join(cells).rstrip() for cells in table]
        return "\n".join([self.summary, *lines, *self.remarks])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        # The page's own colours and a faint tint: readable in dark and in light.
        def line(cells: Iterable[str], tag: str, style: str = "") -> str:
            inside = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)
            return f"<tr{style}>{inside}</tr>"

        tint = ' style="background:rgba(220,60,60,.2)"'
        body = [line(row.cells(), "td", "" if row.ok else tint) for row in self.rows]
        caption = "\n".join([self.summary, *self.remarks])
        why = self.explain()._repr_html_() if self.case and not self.ok else ""
        return why + (
            f"<table><caption>{html.escape(caption)}</caption>"
            f"<thead>{line(HEAD, 'th')}</thead><tbody>{''.join(body)}</tbody></table>"
        )


def compare(manual: Tree, automatic: Tree, *, rtol: float | None = None) -> Report:
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
    if isinstance(automatic, Tensor) and automatic.primitive:
        raise ValueError(
            "compare: automatic is a result with a graph: for its gradients give manual as a dict, "
            "{name: gradient}, and for the numbers in it automatic.data"
        )
    ours, theirs = entries("manual", manual), entries("automatic", automatic)
    if not (ours or theirs):
        raise ValueError("compare: both sides are empty; there are no gradients to compare")
    largest = max([size(a[np.isfinite(a)]) for a in theirs.values()], default=0.0)
    rows = [Row(name, m.shape, "extra") for name, m in ours.items() if name not in theirs]
    rows += [Row(name, a.shape, "missing") for name, a in theirs.items() if name not in ours]
    rows += [
        row_of(name, ours[name], theirs[name], rtol, largest) for name in ours if name in theirs
    ]
    return Report(tuple(sorted(rows, key=rank)))


def _with_graph(loss: Tensor, manual: Mapping[str, Any], rtol: float | None) -> Report:
    if loss.size != 1:
        raise ValueError(f"compare: the loss must have one element, not shape {loss.shape}")
    case = Case(loss, entries("manual", manual))
    rows = compared(case.manual, case.automatic(), case.noise, rtol)
    witness = replayed(case)
    for name, row in rows.items():
        if row.verdict == "differs" and name in witness.arrays:
            opinion = witness.opinion(name, row)
            rows[name] = row.noted(f"{opinion.text}: {RECORDED[opinion.right]}")
    return report_of(rows, witness, case)


RECORDED = {
    "automatic": "automatic is the derivative of that",
    "manual": "MINIGRAD is wrong, please report it",
    "both": "both may be right",
    "neither": "neither agrees",
    "unknown": "too rough to tell",
}
"""What differences of a recording say; that it is what forward computes, they cannot."""


def report_of(
    rows: Mapping[str, Row], witness: Witness, case: Case | None, *remarks: str
) -> Report:
    """Return the report, with a remark on what the witness could not differentiate by."""
    mute = [
        f"there are no central differences by {name!r}: the function raises or is not finite "
        "around it, so its verdict rests on what was recorded"
        for name in witness.mute
    ]
    return Report(tuple(sorted(rows.values(), key=rank)), case, (*remarks, *mute))


def replayed(case: Case) -> Witness:
    """Return the witness that runs again what was recorded, with other values of the leaves."""
    keys = {name: k for name, k in case.keys.items() if k in case.walk.leaves}
    return Witness(
        lambda given: case.walk.replay({keys[name]: x for name, x in given.items()}).loss,
        {name: np.asarray(case.walk.z[k]) for name, k in keys.items()},
        "compare: the recording",
        "central differences of the recording",
    )


def compared(
    manual: Mapping[str, Array],
    automatic: Mapping[str, Array],
    noise: Callable[[str], float],
    rtol: float | None,
) -> dict[str, Row]:
    """Compare by name, where it is known how far rounding may move every entry."""
    if not manual:
        raise ValueError("compare: manual is empty; there are no gradients to compare")
    largest = max(size(a) for a in automatic.values())
    rows = {name: Row(name, a.shape, "missing") for name, a in automatic.items()}
    for name, m in manual.items():
        row = row_of(name, m, automatic[name], rtol, largest)
        if row.verdict == "differs" and row.max_abs <= 100 * noise(name):
            row = replace(row, verdict="ok", note="as far apart as rounding puts them")
        rows[name] = row
    return rows


def entries(side: str, given: Tree) -> dict[str, Array]:
    """Return the arrays of a side by name."""
    if tree.is_module(given):
        pairs = [
            (name, p.grad)
            for name, p in given.named_parameters()
            if getattr(p, "requires_grad", True)
        ]
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
