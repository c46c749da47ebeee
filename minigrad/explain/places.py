"""Where a backward pass may be repaired: suspected expressions, and what its statements bind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ..instrument.expressions import Site, Statement
from ..instrument.recording import Event, Sum
from .blame import Labels, Suspect

__all__ = ["NAMES", "Place", "Places"]

LARGER = 12
"""How many larger expressions around a suspected one are places."""

SHARED = 20
"""How many places are tried where an array gets another name."""

NAMES = ("Name", "Subscript", "Attribute", "IfExp")
LITERALS = ("Tuple", "List", "Dict")
UNREAD = ("old", "write", *LITERALS)


class Place(NamedTuple):
    """An expression that may be replaced, and the statement that is blamed if that helps.

    `sum` is given where the right side of `a += b` is replaced such that a is what is given.
    `alias` says that the expression computes nothing: the statement gives a value another name;
    `operand` that it is read by a statement on the way to wrong results, and `others` that the
    statement reads the same there; `some` that not all wrong results depend on it.
    """

    site: Site
    statement: Statement
    values: list[tuple[int, int]]  # the event each time, and when it was
    sum: Sum | None = None
    alias: bool = False
    own: bool = False
    operand: bool = False
    others: tuple[Site, ...] = ()
    some: bool = False

    @property
    def sites(self) -> tuple[Site, ...]:
        """All that is replaced."""
        return self.site, *self.others


class Places:
    """Lists places. `meant` says whether an event is what the name says that it is bound to."""

    def __init__(self, labels: Labels, meant: Callable[[int, str], bool]) -> None:
        self.labels, self.meant = labels, meant
        self.values: dict[Site, list[tuple[int, int]]] = defaultdict(list)
        for e in labels.events:
            for use in e.uses:
                self.values[use.site].append((e.number, use.at))
            if e.written:
                self.values[e.site].append((e.number, e.number))
        for some in self.values.values():
            some.sort(key=lambda pair: pair[1])

    def around(self, suspects: list[Suspect]) -> list[tuple[float, Place]]:
        """List suspected expressions and what statements on the way to results give.

        Each with a penalty: how much farther a quantity may be that is tried before it.
        """
        labels, found = self.labels, dict[tuple[Site, bool], tuple[float, Place]]()
        bindings = self._bindings()
        every = [(0.0, p) for s in suspects if not s.weak for p in self._own(s)]
        for place in bindings:
            handed = not (place.site.whole or place.site.name)
            doubt = 2 * (handed and labels.forward[place.values[0][0]])
            every.append((doubt + 0.5 * (not place.alias) + 3 * place.some, place))
        every += [(1.0, p) for s in suspects for p in self._read(s)]
        every += [(3.0, p) for s in suspects if s.weak for p in self._own(s)]
        for penalty, place in every:
            if not place.values or place.site.kind == "old" or self._beyond_doubt(place):
                continue
            v = self.labels.events[place.values[0][0]].value
            if v.size and v.dtype.kind == "f":
                found.setdefault((place.site, place.sum is not None), (penalty, place))
        return [*found.values()]

    def shared(self) -> list[Place]:
        """List where an array gets another name and is written to later: the writing is blamed."""
        events, found = self.labels.events, dict[Site, Place]()
        for write in events:
            before = write.old if write.written else None
            while before is not None and len(found) < SHARED:
                for use in events[before].uses:
                    around = use.site.around
                    handed = use.site.whole or (around and around.kind in (*LITERALS, "Call"))
                    if use.site.kind in NAMES and handed and use.at <= write.number:
                        values, statement = self.values[use.site], write.site.statement
                        found.setdefault(use.site, Place(use.site, statement, values))
                before = events[before].old
        return [*found.values()]

    def operands(self) -> list[Place]:
        """List what statements between right values and wrong results read: each, and all alike."""
        events, found = self.labels.events, list[Place]()
        statements = {
            site.statement for i in self.doubtful()
            for site in [events[i].site, *[use.site for use in events[i].uses]]
        }  # fmt: skip
        alike: dict[tuple[Statement, str], list[Site]] = defaultdict(list)
        for site, values in self.values.items():
            if site.statement in statements and not site.whole and site.kind not in UNREAD:
                v = events[values[0][0]].value
                if v.size > 1 and v.dtype.kind == "f" and self._known(values[0][0]):
                    alike[site.statement, site.text].append(site)
        for (statement, _), sites in alike.items():
            if len({len(self.values[site]) for site in sites}) == 1 < len(sites):
                values = self.values[sites[0]]
                place = Place(sites[0], statement, values, operand=True, others=(*sites[1:],))
                found.append(place)
            found += [Place(s, statement, self.values[s], operand=True) for s in sites]
        return found

    def doubtful(self) -> set[int]:
        """Return the events behind wrong results, as far as what is right."""
        labels = self.labels
        found = {i for name in labels.wrong if (i := labels.outputs.get(name)) is not None}
        stack = [*found]
        while stack:
            new = {d for d in labels.events[stack.pop()].deps if d not in found}
            new = {d for d in new if not labels.good(d)}
            found |= new
            stack += new
        return found

    def _known(self, i: int) -> bool:
        """Whether an event may be an operand that is right, and not what is meant."""
        written = self.written(i) is not None
        return written or self.labels.forward[i] or self.labels.status[i] == "right"

    def written(self, i: int) -> Event | None:
        """Return what has written to the array that an event gives, as it stands."""
        e = self.labels.events[i]
        while not e.written and e.deps and e.site.kind in NAMES:
            e = self.labels.events[e.deps[0]]
        return e if e.written else None

    def _beyond_doubt(self, place: Place) -> bool:
        """Whether a place gives data, or always what its name says."""
        labels = self.labels
        return all(
            not labels.events[i].deps
            or (labels.status[i] == "right" and self.meant(i, place.site.name))
            for i, _ in place.values
        )

    def _own(self, s: Suspect) -> Iterator[Place]:
        """List the suspected expressions, and the larger ones in their statements."""
        events, users, served = self.labels.events, self.labels.users, self.labels.served
        for i in s.events[:2]:
            e = events[i]
            if e.written:
                yield from self._added(s.statement, i)
                continue
            yield Place(e.site, s.statement, self.values[e.site], own=True)
            at = i
            for _ in range(LARGER):
                larger = [
                    u for u in users[at]
                    if events[u].site.statement is e.site.statement
                    and not events[u].written and not served[u]
                ]  # fmt: skip
                if not larger:
                    break
                at = larger[0]
                yield Place(events[at].site, s.statement, self.values[events[at].site], own=True)
            for u in users[at]:
                if events[u].written and events[u].site.statement is e.site.statement:
                    yield from self._added(s.statement, u)

    def _added(self, blamed: Statement, i: int) -> Iterator[Place]:
        """List the right side of `a += b` or `a[k] = b`, and what it makes of a."""
        e = self.labels.events[i]
        kids = [kid for kid in e.site.kids if kid.kind != "old"]
        olds = [kid for kid in e.site.kids if kid.kind == "old"]
        if kids:
            yield Place(kids[-1], blamed, self.values[kids[-1]], own=True)
        whole = "[" not in "".join(e.site.statement.targets)
        if kids and olds and whole and e.site.op in ("Add", "Sub"):
            sign = 1 if e.site.op == "Add" else -1
            yield Place(kids[-1], blamed, self.values[e.site], (olds[0], sign), own=True)

    def _bindings(self) -> list[Place]:
        """List what statements bind, of those that wrong results depend on."""
        labels = self.labels
        results = [
            i for name in sorted(labels.wrong) if (i := labels.outputs.get(name)) is not None
        ]
        behind: dict[Site, set[int]] = defaultdict(set)
        for result in {*results}:
            seen, stack = {result}, [result]
            while stack:
                e = labels.events[stack.pop()]
                for use in e.uses:
                    behind[use.site].add(result)
                new = [d for d in e.deps if d not in seen]
                seen.update(new)
                stack += new
        found = []
        for site, reached in behind.items():
            bound = site.whole or site.name or (site.around and site.around.kind in LITERALS)
            if not bound or not reached or site.kind in ("write", "Tuple", "Dict"):
                continue
            alias = site.kind in NAMES and bool(site.name or not site.whole)
            some = reached != {*results}
            found.append(Place(site, site.statement, self.values[site], alias=alias, some=some))
        return found

    def _read(self, s: Suspect) -> Iterator[Place]:
        """List what a suspect reads."""
        events = self.labels.events
        for i in s.events[:2]:
            here = events[i].site.statement
            deps = [*events[i].deps]
            for d in deps:
                if events[d].site.statement is here and len(deps) < 50:
                    deps += events[d].deps
            for d in dict.fromkeys(deps):
                for use in events[d].uses:
                    if use.site.statement is here and use.site.kind in ("Name", "Subscript"):
                        yield Place(use.site, here, self.values[use.site], own=True)
