"""The user's backward pass, run with every value held against the truth: what is wrong, and where.

instrument.recording has the values, `truth` what there is on the tape, `blame` the frontier between
right and wrong, `repair` the proof. Here they are put together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..instrument.expressions import Site, Statement
from ..instrument.recording import Edit, Sum, record
from .attempts import COPY
from .backward import Backward
from .blame import Labels, Suspect, differing, suspects
from .repair import Repair, Repairs
from .truth import Match, Quantity, Truth
from .words import Words

__all__ = ["Annotation", "Finding", "Traced"]

ROUNDS = 3
"""How often mistakes are repaired to see those that they hide."""

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Finding:
    """A place in the backward pass that gives something wrong.

    `expression` gives `actual`, bound to `name`, the `times`-th time it is evaluated, and `step` is
    the time step on the tape; both are None where there is one only. `status` is what `actual` is:
    "unknown", "part", "scaled", "right" (but not for its use) or "neutral". What it should be is
    `expected`, in words `words`, in numbers `wanted`; None where that is not known. `repaired` are
    the gradients that became right, and none wrong, when that was put in its place; with a
    `factor`, when it was divided by that. `results` are the wrong gradients that depend on it.
    `times` is given for a loop or condition: how often it ran, and how often it should have.
    `loses` says that `a[i] = b` is written over something else than zero, which is lost.
    """

    file: str
    line: int
    last: int
    statement: str
    expression: str
    name: str
    step: int | None
    status: str
    actual: Array = field(repr=False)
    is_now: str
    inputs: tuple[str, ...]
    expected: Quantity | None
    words: str
    wanted: Array | None = field(repr=False)
    factor: float
    repaired: tuple[str, ...]
    results: tuple[str, ...]
    times: tuple[int, int] | None = None
    loses: bool = False


@dataclass(frozen=True, slots=True)
class Annotation:
    """A statement of the backward pass, how often it ran, and what it gives."""

    file: str
    line: int
    statement: str
    times: int
    status: str
    gives: str

    def __str__(self) -> str:
        return f"{self.line:5} {self.statement}    # {self.gives}"


class Round(NamedTuple):
    """What was found with the mistakes of earlier rounds repaired."""

    labels: Labels
    suspects: list[Suspect]
    chosen: list[Repair]


class Traced:
    """What is wrong in the code that `rerun` calls, and gives `wrong` gradients.

    `case` has `walk`, `words` and `keys`: by the names of gradients, the nodes of the tape.
    `findings` are best first, those of independent mistakes in order of execution. Where the code
    cannot be followed they are empty, and `reason` says why. Nothing is raised.
    """

    def __init__(
        self,
        case: Any,
        rerun: Callable[[], Mapping[str, Any]],
        wrong: Iterable[str],
        seconds: float = 1.5,
    ) -> None:
        self.findings: list[Finding] = []
        self.annotations: list[Annotation] = []
        self.reason = ""
        try:
            self._trace(case, rerun, {*wrong}, seconds)
        except Exception as error:
            self.reason = f"{type(error).__name__}: {error}"

    def _trace(self, case: Any, rerun: Any, wrong: set[str], seconds: float) -> None:
        walk: Backward = case.walk
        recorded = record(rerun)
        if recorded.recording.failure:
            self.reason = recorded.recording.failure
            return
        if not _same(rerun(), recorded.result):
            self.reason = "the backward pass gives other numbers when it runs again"
            return
        true = {
            name: np.asarray(walk.cots.get(k, np.zeros(np.shape(walk.z[k]))))
            for name, k in case.keys.items()
        }
        now = differing(recorded.result, true) & wrong
        truth = self.truth = Truth(walk)
        self.labels = Labels(recorded, truth, case.keys, now)
        if not self.labels.outputs:
            missing = dict.fromkeys(code.co_name for code in recorded.missing)
            names = ", ".join(f"`{name}`" for name in missing if not name.startswith("<"))
            self.reason = f"the source of {names or 'the backward pass'} is not known"
            return
        self.phrases = Phrases(walk, case.words)
        self.annotations = self._annotated()
        rounds, edits, sums = list[Round](), dict[Site, Edit](), dict[Site, Sum]()
        labels = self.labels
        while now and len(rounds) < ROUNDS:
            some = suspects(labels)
            repairs = Repairs(
                labels, truth, case.words, true, seconds / (len(rounds) + 1), (edits, sums)
            )
            found = repairs.found(some)
            chosen, now = self._chosen(labels, some, found)
            rounds.append(Round(labels, some, chosen))
            if not now or not chosen:
                break
            for r in chosen:  # what they hide shows when they are repaired
                edits |= r.edits
                if r.place.sum:
                    sums[r.place.site] = r.place.sum
            recorded = record(rerun, edits, sums)
            now = differing(recorded.result, true) & wrong
            if recorded.recording.failure:
                break
            labels = Labels(recorded, truth, case.keys, now)
        if rounds:
            self.findings = self._findings(rounds, bool(now))

    # ---- findings --------------------------------------------------------------------------------

    def _findings(self, rounds: list[Round], left: bool) -> list[Finding]:
        """Give repairs in the order of execution; where some is left, as blame has the first."""
        repaired = list[tuple[Labels, Suspect, Repair | None]]()
        for labels, some, chosen in rounds:
            for repair in sorted(chosen, key=lambda repair: repair.at):
                suspect = self._suspect([*some, *[s for _, s, _ in repaired]], repair)
                if all(suspect.statement is not s.statement for _, s, _ in repaired):
                    repaired.append((labels, suspect, repair))
        if not left:
            repaired.sort(key=lambda found: found[2].at if found[2] else 0)
        first = rounds[0]
        known = {id(s.statement): (labels, s, r) for labels, s, r in repaired}
        order = [known.get(id(s.statement), (first.labels, s, None)) for s in first.suspects]
        order = [*order, *repaired] if left else [*repaired, *order]
        found, seen = list[Finding](), set[int]()
        for labels, s, r in order:
            if id(s.statement) not in seen:
                seen.add(id(s.statement))
                found.append(self._finding(labels, s, r))
        return found

    def _suspect(self, some: list[Suspect], repair: Repair) -> Suspect:
        statement = repair.place.statement
        for suspect in some:
            if suspect.statement is statement:
                return suspect
        suspect = Suspect(statement)
        suspect.events.append(repair.event)
        suspect.results |= repair.cured
        return suspect

    def _chosen(
        self, labels: Labels, some: list[Suspect], repairs: list[Repair]
    ) -> tuple[list[Repair], set[str]]:
        """Choose repairs until all wrong results are cured; return what is left, too."""
        left, chosen = {*labels.wrong}, list[Repair]()
        if some and some[0].times:
            return chosen, left
        own = {id(s.statement) for s in some if not (s.second or s.weak)}
        for repair in repairs:
            everything = repair.cured == labels.wrong
            if not repair.cured & left or repair.fits < 0:
                continue
            if _proves_nothing(labels, some, repair):
                continue
            if everything or repair.together or id(repair.place.statement) in own:
                chosen.append(repair)
                left -= repair.cured
        return chosen, left

    def _finding(self, labels: Labels, s: Suspect, repair: Repair | None) -> Finding:
        i = repair.event if repair else s.events[0]
        e = labels.events[i]
        site = repair.place.site if repair else e.site
        expected = repair.quantity if repair else self._returned(i)
        wanted = expected.value if expected else None
        factor, text = repair.factor if repair else 1.0, site.text
        if repair and not repair.series and factor:
            wanted = e.value / factor
        statement, actual = s.statement, e.value
        if repair and repair.series and factor != 1:  # divided by later
            actual, wanted, factor = e.value / factor, factor * np.asarray(wanted), 1.0
        if expected and expected.kind in ("value", "derivative") and actual.ndim == 2:
            turned = expected.value.shape == actual.shape[::-1] != actual.shape
            actual = actual.T if turned else actual  # as it was repaired
        is_now, words = self.phrases.event(labels, i), ""
        if expected:
            times = (
                f"{repair.factor:.4g} times " if repair and repair.factor not in (1, COPY) else ""
            )
            words = times + self.phrases.quantity(expected)
        name = ", ".join(statement.targets)
        if repair is None and e.written:
            text = name or text
        if repair and repair.number:
            is_now, words, wanted = repair.number.now, repair.number.new, None
            name = name if site.whole else ""
        if s.times:
            is_now, words = [f"gone through {n} times" for n in s.times]
        if repair and factor == COPY:
            is_now, words = f"written into the array that is also `{text}`", "in one of its own"
            text, factor = ", ".join(statement.targets) or statement.text, 1.0
            wanted = e.value
        return Finding(
            statement.file, statement.line, statement.last, statement.text, text,
            name, expected.step if expected else None, labels.status[i],
            actual, is_now,
            tuple(
                f"`{(at.whole and at.name) or at.text}` is {self.phrases.event(labels, d)}"
                for d in e.deps[:4]
                for at in (labels.events[d].site,)
            ),
            None if s.times else expected, words, wanted,
            factor, tuple(sorted(repair.cured)) if repair else (),
            tuple(sorted(s.results)), s.times,
            repair is None and e.written and _loses(labels, site),
        )  # fmt: skip

    def _returned(self, i: int) -> Quantity | None:
        """Give the gradient that a wrong result should be, where nothing else is known."""
        keys = {self.labels.keys[name] for name, j in self.labels.outputs.items() if j == i}
        return self.truth.gradient(min(keys)) if len(keys) == 1 and i in self.labels.bad else None

    # ---- the pass as a whole ---------------------------------------------------------------------

    def _annotated(self) -> list[Annotation]:
        """Say of every statement that ran what it gives."""
        last: dict[Statement, tuple[Site, int]] = {}
        times: dict[Statement, int] = {}
        worst: dict[Statement, str] = {}
        for e in self.labels.events:
            for site, n in [(use.site, use.n) for use in e.uses] or [(e.site, e.n)]:
                if not (site.whole or e.written):
                    continue
                statement = site.statement
                times[statement] = max(times.get(statement, 0), n + 1)
                last[statement] = site, e.number
                status = self.labels.status[e.number]
                if BAD.index(status) >= BAD.index(worst.get(statement, "neutral")):
                    worst[statement] = status
        found = [
            Annotation(
                s.file, s.line, s.text, times[s], worst[s],
                ", ".join([*s.targets, *[""] * (not s.targets)])
                + (": " if s.targets else "") + self.phrases.event(self.labels, i),
            )
            for s, (_, i) in last.items()
        ]  # fmt: skip
        return sorted(found, key=lambda a: (a.file, a.line))


BAD = ["neutral", "right", "so far", "part", "scaled", "unknown"]


class Phrases:
    """What true quantities are called."""

    def __init__(self, walk: Backward, words: Words) -> None:
        self.walk, self.words = walk, words

    def node(self, k: int) -> str:
        """Name a node."""
        return f"`{self.words.short(k)}`"

    def quantity(self, q: Quantity) -> str:
        """Name a quantity, and its step."""
        node, when = self.node(q.k), ""
        if q.every:
            when = " at all steps"
        elif q.step is not None:
            when = f" at step {q.step}"
        sender = self.node(q.edges[0][0]) if q.edges else ""
        return {
            "gradient": f"the gradient of {node}",
            "contribution": f"what {sender} sends to {node}",
            "unsummed": f"what {sender} sends to {node}, before it is summed",
            "derivative": f"the derivative of {node}",
            "value": node,
            "so far": f"the gradient of {node} so far",
            "part": f"only a part of the gradient of {node}",
        }[q.kind] + when

    def match(self, m: Match) -> str:
        """Say what an array is."""
        factor = "" if m.factor == 1 else f"{m.factor:.4g} times "
        turned = ", transposed" if m.how == "transposed" else ""
        return f"{factor}{self.quantity(m.quantity)}{turned}"

    def event(self, labels: Labels, i: int) -> str:
        """Say what an event gives."""
        status, found = labels.status[i], labels.matches[i]
        if status == "neutral":
            return "zero" if not labels.events[i].value.any() else "one number"
        if not found:
            return "matches nothing" if labels.events[i].deps else "given"
        return self.match(found[0])


def _proves_nothing(labels: Labels, some: list[Suspect], repair: Repair) -> bool:
    """Whether a repair would help whatever is wrong before: suspects that are in its way.

    So does a result that is replaced, and what is computed from a suspect that is certain.
    """
    i, statement = repair.event, repair.place.statement
    others = [s for s in some if not (s.second or s.weak) and s.statement is not statement]
    if repair.factor == COPY or repair.number:
        return False
    if labels.runs_forward(statement) or (repair.series is None and labels.status[i] == "right"):
        return True
    if i in labels.final:
        made = labels.events[i].site.statement
        if any(s.statement is made for s in (some if repair.place.alias else others)):
            return True
        if not labels.another(i):
            return bool(others)
    before = labels.behind(i)
    return any(labels.certain(s.events[0]) and s.events[0] in before for s in others)


def _loses(labels: Labels, site: Site) -> bool:
    """Whether a plain assignment to elements is written over others than zeros."""
    if site.op in ("Add", "Sub"):
        return False
    pairs = [
        (labels.events[e.old].value, e.value)
        for e in labels.events if e.site is site and e.written and e.old is not None
    ]  # fmt: skip
    return any(a.shape == b.shape and np.any((a != b) & (a != 0)) for a, b in pairs)


def _same(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return a.keys() == b.keys() and all(
        np.array_equal(np.asarray(a[name]), np.asarray(b[name]), equal_nan=True) for name in a
    )
