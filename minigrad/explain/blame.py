"""Where a hand-written backward pass goes wrong: from its wrong results back to what is right.

Every value that was recorded is held against the true quantities of the tape. It is

right      a gradient, a derivative, a value, what is sent to a leaf
part       some of the contributions to a node: a gradient that still lacks others
so far     a sum over time that is under way
scaled     a multiple of something right
neutral    zero, or the same number everywhere: nobody can tell
unknown    nothing of that

An unknown value is innocent if something right is computed from it: it was *served*.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..instrument.expressions import Site, Statement
from ..instrument.recording import Event, Recorded
from .truth import Truth

__all__ = ["Labels", "Suspect", "suspects"]

SUMS = ("sum", "mean", "max", "min")
MOVES = {"pad", "reshape", "transpose", "copy", "ravel", "squeeze", "swapaxes", "astype"}
"""What puts numbers elsewhere and changes none."""

LINEAR = {
    "",
    "Mult",
    "Div",
    "MatMult",
    "USub",
    "dot",
    "matmul",
    "outer",
    "einsum",
    "tensordot",
    *SUMS,
}
"""What hands on a factor."""

OF_GRADIENTS = ("gradient", "contribution", "unsummed")


class Labels:
    """What every event is, by its number."""

    def __init__(
        self, recorded: Recorded, truth: Truth, keys: Mapping[str, int], wrong: Iterable[str]
    ) -> None:
        self.recorded, self.truth, self.wrong = recorded, truth, {*wrong}
        self.keys = keys
        self.events = recorded.recording.events
        self.users: list[list[int]] = [[] for _ in self.events]
        self.of_site: dict[Site, list[int]] = defaultdict(list)
        self.of_frame: dict[int, list[int]] = defaultdict(list)
        for e in self.events:
            self.of_site[e.site].append(e.number)
            self.of_frame[e.frame].append(e.number)
            for d in e.deps:
                self.users[d].append(e.number)
        self.matches = [truth.matches(e.value) for e in self.events]
        self.status = [self._status(e) for e in self.events]
        self.forward = self._forward()
        places = [place for k in range(len(truth.walk.nodes)) if (place := truth.walk.place(k))]
        self.forward_lines = {(p.file, p.line) for place in places for p in place.chain}
        self.outputs = self._outputs()
        self.bad = {i for name, i in self.outputs.items() if name in self.wrong}
        self.final = self._final()
        self.served = self._served()
        self._scaled: dict[int, bool] = {}
        self.innocent = {
            e.value.tobytes() for e in self.events
            if self.served[e.number] and self.status[e.number] in ("scaled", "unknown")
        }  # fmt: skip

    def _outputs(self) -> dict[str, int]:
        """Find the events of what was returned, by the object or else by the numbers."""
        found = {}
        for name, value in self.recorded.result.items():
            if name not in self.keys:
                continue
            i = self.recorded.recording.lookup(value)
            if i is None:
                v = np.asarray(value)
                same = [e.number for e in self.events if np.array_equal(e.value, v)]
                i = same[-1] if same else None
            if i is not None:
                found[name] = i
        return found

    def _final(self) -> dict[int, set[int]]:
        """Find the events that are wrong results, or become them by being moved: of which nodes."""
        found = defaultdict[int, set[int]](set)
        for name, i in self.outputs.items():
            if name in self.wrong:
                found[i].add(self.keys[name])
        for i in reversed(range(len(self.events))):
            if i in found and self.moves(self.events[i]):
                for d in self.events[i].deps:
                    found[d] |= found[i]
        return found

    # ---- labels ----------------------------------------------------------------------------------

    def _status(self, e: Event) -> str:
        v, found = e.value, self.matches[e.number]
        if v.dtype.kind not in "fiub" or not v.size or not v.any():
            return "neutral"
        if v.size > 1 and np.all(v == v.flat[0]):
            return "neutral"
        exact = [m.quantity for m in found if m.factor == 1]
        leaves = self.truth.walk.leaves
        whole = [
            q for q in exact
            if q.kind not in ("so far", "part") and (q.kind != "contribution" or q.k in leaves)
        ]  # fmt: skip
        parts = [q for q in exact if q.kind in ("contribution", "part") and q.k not in leaves]
        if parts and self.adds(e) and all(q.kind in ("value", "derivative") for q in whole):
            whole = []  # a sum that is a part of a gradient is meant as that
        if whole:
            return "right"
        if any(q.kind == "contribution" for q in exact):
            return "part"
        if any(q.kind == "so far" for q in exact):
            return "so far"
        if any(m.quantity.kind not in ("so far", "part") for m in found):
            return "scaled"
        if found:
            return "part"
        return "unknown" if e.deps else "right"  # data, constants

    def _forward(self) -> list[bool]:
        """Find the events that no gradient is in: computed from values alone."""
        found: list[bool] = []
        for e, matches in zip(self.events, self.matches, strict=True):
            kinds = {m.quantity.kind for m in matches}
            known = not kinds or bool(kinds & {"value", "derivative"})
            found.append(known and all(found[d] for d in e.deps))
        return found

    def adds(self, e: Event) -> bool:
        """Whether a value is a sum of others."""
        return (e.written or e.site.kind == "BinOp") and e.site.op in ("Add", "Sub")

    def moves(self, e: Event) -> bool:
        """Whether a value is others in other places."""
        kinds = ("Subscript", "Attribute", "Name", "old")
        return not e.written and (e.site.kind in kinds or e.site.op in MOVES)

    def _served(self) -> list[bool]:
        """Find the events that something right is computed from."""
        good = {i for name, i in self.outputs.items() if name not in self.wrong}
        served = [False] * len(self.events)
        for i in reversed(range(len(self.events))):
            served[i] = i in good or any(self._serves(i, u, served[u]) for u in self.users[i])
        return served

    def _serves(self, i: int, u: int, served: bool) -> bool:
        """Whether event i is innocent as u is computed from it.

        A sum may be right although what is summed is not, for errors cancel: that says nothing.
        """
        user, status = self.events[u], self.status[u]
        smaller = user.value.size < self.events[i].value.size
        lossy = user.site.op in SUMS or user.site.kind in ("Subscript", "Name", "old")
        if smaller and lossy and self.status[i] == "unknown":
            return False
        if status in ("right", "so far", "part") and u not in self.bad:
            return user.site.kind != "Compare"
        return served and status != "neutral"

    def ok(self, i: int) -> bool:
        """Whether an event is what it should be, as far as numbers tell."""
        if i in self.bad:
            return False
        if self.status[i] == "scaled":
            if i not in self._scaled:
                self._scaled[i] = False
                mine = self._factors(i)
                self._scaled[i] = any(
                    mine & self._factors(d) and (self.served[d] or self.ok(d))
                    for d in self.events[i].deps
                    if self.status[d] == "scaled"
                ) or self._deferred(i)
            return self._scaled[i]
        return self.status[i] in ("right", "neutral", "so far")

    def _deferred(self, i: int) -> bool:
        """Whether a factor goes wherever an event does, until a function that is not linear.

        Then it is divided by later. A sum with what has not the factor is wrong already.
        """
        mine = {abs(f) for f in self._factors(i)}
        seen, stack, lost = {i}, [i], False
        while mine and stack:
            for u in self.users[stack.pop()]:
                e = self.events[u]
                has = bool(mine & {abs(f) for f in self._factors(u)})
                if u in self.bad or (self.adds(e) and not has):
                    return False
                if not has and not self.moves(e) and e.site.op not in LINEAR:
                    lost = True
                elif u not in seen:
                    seen.add(u)
                    stack.append(u)
        return lost

    def behind(self, i: int) -> set[int]:
        """Return the events that an event is computed from."""
        seen, stack = set[int](), [i]
        while stack:
            new = [d for d in self.events[stack.pop()].deps if d not in seen]
            seen.update(new)
            stack += new
        return seen

    def another(self, i: int) -> bool:
        """Whether a result is a value, or the gradient of something else."""
        return any(
            m.factor == 1 and m.how != "transposed"
            and (m.quantity.kind == "value"
                 or (m.quantity.kind == "gradient" and m.quantity.k not in self.final[i]))
            for m in self.matches[i]
        )  # fmt: skip

    def runs_forward(self, statement: Statement) -> bool:
        """Whether the forward pass runs a statement, too: then it is right."""
        lines = range(statement.line, statement.last + 1)
        return any((statement.file, line) in self.forward_lines for line in lines)

    def certain(self, i: int) -> bool:
        """Whether a suspected event is worth more than a repair of a later statement.

        A multiple of a value may be a step on the way to a derivative.
        """
        return self.status[i] == "unknown" or (
            self.status[i] == "scaled"
            and any(
                m.factor == 1 and m.quantity.kind in OF_GRADIENTS
                for j in (i, *self.behind(i)) for m in self.matches[j][:1]
            )
        )  # fmt: skip

    def _factors(self, i: int) -> set[float]:
        return {round(m.factor, 9) for m in self.matches[i] if m.quantity.kind in OF_GRADIENTS}

    def good(self, i: int, depth: int = 0) -> bool:
        """Whether an event can be no reason that something computed from it is wrong."""
        deps = self.events[i].deps
        if self.status[i] == "neutral" and deps and depth < 6:  # zeros out of what is wrong
            return all(self.good(d, depth + 1) for d in deps)
        e = self.events[i]
        if e.written and self.forward[i] and self.runs_forward(e.site.statement):
            return True  # an array that is not full yet
        if self.ok(i) or i in self.bad:
            return i not in self.bad
        return self.served[i] or self.events[i].value.tobytes() in self.innocent


class Suspect:
    """A statement that may be wrong: events in it, and the wrong results that depend on them.

    `times` is given for a loop or a condition: how often it was gone through, and should have been.
    """

    def __init__(self, statement: Statement) -> None:
        self.statement = statement
        self.times: tuple[int, int] | None = None
        self.events: list[int] = []
        self.results: set[str] = set()
        self.second = self.weak = False

    def __repr__(self) -> str:
        return repr(self.statement)


def suspects(labels: Labels) -> list[Suspect]:
    """Return the statements where wrong values come of right ones, the likeliest first."""
    return _Frontier(labels).found()


class _Frontier:
    def __init__(self, labels: Labels) -> None:
        self.labels, self.events = labels, labels.events
        self.suspects: dict[tuple[str, int, str], Suspect] = {}

    def found(self) -> list[Suspect]:
        labels, later = self.labels, list[tuple[int, str]]()
        for name in sorted(labels.wrong & labels.outputs.keys()):
            for i in self._first_wrong(labels.outputs[name]):
                at = self._completed(self._deviates(i))
                if at is None:
                    continue
                if labels.status[at] == "part" and labels.adds(self.events[at]):
                    empty = [
                        d for d in self.events[at].deps
                        if labels.status[d] == "neutral" and self.events[d].n > 0
                    ]  # fmt: skip
                    at = empty[0] if empty else at  # zeros made anew in the loop
                statement = self.statement(at)
                self._note(statement, at, name)
                if labels.status[at] == "part":
                    later += [
                        (u, name) for u in labels.users[at]
                        if not labels.served[u] and self.events[u].site.statement is not statement
                    ]  # fmt: skip
        for u, name in later:
            statement = self.statement(u)
            if _key(statement) not in self.suspects:
                self._note(statement, u, name)
                self.suspects[_key(statement)].second = True
        self._loops()
        for s in self.suspects.values():
            s.events.sort()
            s.weak = all(map(self._weak, s.events))
        self._missed()
        order = lambda s: (s.times is None, s.second, s.weak, -len(s.results), s.events[0])
        return sorted(self.suspects.values(), key=order)

    def _loops(self) -> None:
        """Blame loops for sums that stop too early, and for what goes to each other's names."""
        walk, swapped = self.labels.truth.walk, defaultdict[Statement, set[Suspect]](set)
        for s in [*self.suspects.values()]:
            for i in s.events:
                if self.labels.status[i] not in ("so far", "right"):
                    continue
                for loop in self._around(self.events[i].site.statement):
                    for q in [m.quantity for m in self.labels.matches[i]]:
                        times, needed = len(q.edges), len(walk.into(q.k))
                        early = q.kind in ("so far", "contribution") and not q.every
                        if early and needed > times == self._times(loop):
                            self._note(loop, i, *s.results)
                            self.suspects[_key(loop)].times = times, needed
                    if self._another(i, self.labels.wrong):
                        swapped[loop].add(s)
        for loop, some in swapped.items():
            if len(some) > 1:
                for s in some:
                    self._note(loop, s.events[0], *s.results)

    def _missed(self) -> None:
        """Blame loops that end before they come to a result, or to some of its rows."""
        labels, result = self.labels, self.labels.recorded.result
        alike = defaultdict[str, list[str]](list)
        for name in labels.outputs:
            alike[re.sub(r"\d+", "#", name)].append(name)
        for names in alike.values():
            zero = [n for n in names if n in labels.wrong and not np.any(result[n])]
            made = [labels.outputs[n] for n in names if n not in zero]
            statements = {self.events[i].site.statement for i in made}
            if zero and len(statements) == 1:
                at = labels.outputs[zero[0]]
                self._ended(statements.pop(), len(made), len(names), at, zero)
        for name in labels.wrong & labels.outputs.keys():
            e, t = self.events[labels.outputs[name]], labels.truth.walk.cots.get(labels.keys[name])
            r = np.asarray(result[name])
            if t is None or not e.written or not r.ndim or r.shape != np.shape(t):
                continue
            rows = [k for k in range(len(r)) if r[k].any()]
            missing = [k for k in range(len(r)) if k not in rows and np.any(t[k])]
            n = len(missing)
            ends = [*range(n)], [*range(len(r) - n, len(r))]
            if n and missing in ends and all(np.allclose(r[k], t[k], rtol=1e-8) for k in rows):
                needed = len(rows) + n
                self._ended(e.site.statement, len(rows), needed, e.number, [name])

    def _ended(
        self, statement: Statement, ran: int, needed: int, i: int, results: Iterable[str]
    ) -> None:
        """Blame the loop around a statement that ran so often, and should have run more often."""
        for loop in self._around(statement)[:1]:
            if self._times(loop) == ran:
                self._note(loop, i, *results)
                self.suspects[_key(loop)].times = ran, needed

    def _around(self, statement: Statement) -> list[Statement]:
        """List the loops that a statement stands in, the innermost first."""
        found, outer = [], statement.within
        while outer is not None:
            found += [outer] * outer.loop
            outer = outer.within
        return found

    def _times(self, loop: Statement) -> int:
        """Count how often a loop was gone through."""
        counts = self.labels.recorded.recording.counts
        return max(
            [n for s, n in counts.items() if s.whole and s.statement.within is loop], default=0
        )

    def _note(self, statement: Statement, i: int, *names: str) -> None:
        suspect = self.suspects.setdefault(_key(statement), Suspect(statement))
        suspect.results.update(names)
        if i not in suspect.events:
            suspect.events.append(i)

    def _first_wrong(self, result: int) -> list[int]:
        """List the events behind a wrong result that are wrong, and computed from good ones."""
        if self.labels.status[result] == "right" and self._another(result):
            return [result]
        seen, stack, found = {result}, [result], []
        while stack:
            i = stack.pop()
            wrong = [d for d in self.events[i].deps if not self.labels.good(d)]
            stack += [d for d in wrong if d not in seen]
            seen.update(wrong)
            if not wrong:
                found.append(i)
        return found

    def _deviates(self, i: int) -> int:
        """Follow what is innocent at other steps to where something is right at these."""
        labels, at = self.labels, i
        while self._weak(i) and not labels.moves(self.events[i]):
            after = [u for u in labels.users[at] if self._nothing(u)]
            if not after or after[0] in labels.bad:
                break
            at = after[0]
            others = labels.of_site[self.events[at].site]
            if any(labels.status[j] in ("right", "part", "so far") for j in others):
                return at
        return i

    def _completed(self, i: int) -> int | None:
        """Follow a part of a gradient to the last place where the others could have been added.

        None if another term of that sum is wrong itself: then the part is innocent.
        """
        labels = self.labels
        for _ in range(30):
            if labels.status[i] != "part":
                break
            nodes = {m.quantity.k for m in labels.matches[i]}
            after = None
            for u in labels.users[i]:
                if labels.served[u]:
                    continue
                if labels.adds(self.events[u]):
                    others = [d for d in self.events[u].deps if d != i]
                    if any(
                        labels.status[d] in ("unknown", "scaled") and not labels.good(d)
                        for d in others
                    ):
                        return None
                    after = u
                elif labels.status[u] == "part":
                    if nodes & {m.quantity.k for m in labels.matches[u]}:
                        after = u
                elif labels.moves(self.events[u]):
                    after = u
            if after is None:
                break
            i = after
        return i

    def statement(self, i: int) -> Statement:
        """Return the statement to blame for an event: perhaps the call of the helper it is in."""
        labels, e = self.labels, self.events[i]
        if i in labels.bad and e.uses and labels.status[i] in ("right", "so far"):
            named = [use.site for use in e.uses if use.site.whole and use.site.statement.targets]
            if named and named[-1] is not e.site:  # another name for it: `db = dy`
                return named[-1].statement
            if labels.served[i] or self._another(i, labels.wrong):  # returned under a wrong name
                return e.uses[-1].site.statement
        elsewhere = [
            j for j in labels.of_site[e.site]
            if self.events[j].frame != e.frame and (labels.served[j] or labels.status[j] == "right")
        ]  # fmt: skip
        if e.calls and self.labels.runs_forward(e.site.statement):
            return self._caller(e)
        if e.calls and elsewhere:
            inside = [j for j in labels.of_frame[e.frame] if self.events[j].deps]
            helpless = not any(labels.served[j] or labels.status[j] == "right" for j in inside)
            given = bool(e.deps) and all(labels.status[d] == "right" for d in e.deps)
            outside = any(self.events[d].frame != e.frame and self.events[d].deps for d in e.deps)
            if helpless or (given and outside):
                return self._caller(e)
        return e.site.statement

    def _caller(self, e: Event) -> Statement:
        """Return the statement that calls the function an event is in, outside the forward pass."""
        for call in e.calls:
            statement = self._at(*call)
            if statement and not self.labels.runs_forward(statement):
                return statement
        return e.site.statement

    def _another(self, i: int, names: Iterable[str] | None = None) -> bool:
        """Whether an event is what should be returned under another name, perhaps one of these."""
        labels = self.labels
        keys = {labels.keys[name] for name in names or labels.keys if name in labels.keys}
        mine = {labels.keys[name] for name, j in labels.outputs.items() if j == i}
        return any(
            m.factor == 1 and m.quantity.kind == "gradient" and m.quantity.k in keys - mine
            for m in labels.matches[i]
        )

    def _at(self, file: str, line: int) -> Statement | None:
        """Find the statement at a line."""
        above = [
            s.statement for s in self.labels.recorded.recording.counts
            if s.statement.file == file and s.statement.line <= line
        ]  # fmt: skip
        return max(above, key=lambda s: s.line, default=None)

    def _weak(self, i: int) -> bool:
        """Whether an event is seldom the reason: numbers moved, or innocent at other steps."""
        labels, e = self.labels, self.events[i]
        if labels.moves(e):
            return True
        return all(labels.good(d) for d in e.deps) and any(
            labels.served[j]
            for j in labels.of_site[e.site]
            if self._nothing(i) and self._nothing(j)
        )

    def _nothing(self, i: int) -> bool:
        """Whether an event is nothing that has a name, or a multiple of a value."""
        labels = self.labels
        kinds = {m.quantity.kind for m in labels.matches[i]}
        return labels.status[i] == "unknown" or (
            labels.status[i] == "scaled" and kinds <= {"value", "derivative"}
        )


def _key(statement: Statement) -> tuple[str, int, str]:
    return statement.file, statement.line, statement.text


def differing(
    result: Mapping[str, Any], true: Mapping[str, Any], tolerance: float = 1e-8
) -> set[str]:
    """Name the results that are not the true ones."""
    wrong = set()
    for name, t in true.items():
        r = np.asarray(result.get(name, np.nan))
        large = max(np.abs(t).max(initial=0), 1e-300)
        if r.shape != t.shape or not np.all(np.abs(r - t) <= tolerance * large):
            wrong.add(name)
    return wrong
