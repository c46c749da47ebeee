"""Repetitions: what repeats itself on the tape is kept once, with its number.

Neighbouring scopes repeat one another if they have the same label and owner, and operation by
operation the same name, metadata, shape, dtype and inputs. An input that both have is

    the same    place inside, place in the repetition before, or node outside (a parameter)
    a constant  of one shape and dtype: the same for all, or every repetition has its own
    beside      from a loop before: its first round in the first, and so on, or in another order
    a state     from outside in the first repetition, from the one before in all the others

and an integer of the metadata is the same, or grows by the same from each to the next, as in
`x[t]`. Scopes without an index must pass on a state: if they do not, they are calls in different
places. Scopes inside that go on counting from one repetition to the next count anew in each.

Modules of one class that stand in a row, as the blocks of a deep network do, are repetitions too,
from 3 on, if their names differ in a number alone, each has parameters of its own, which nothing
else uses, and each takes what the one before returns.

A loop that was written without scopes is found by the period of the tape, as the candidate that
covers most of it, and put into scopes `loop`. Then it has to be a repetition by the rules above,
of at least 3 rounds and 12 operations; a candidate that is none is forgotten. Its rounds are
numbered as what they read: from t = 5 on where the first reads `x[5]`. Where nothing is read by
number, and an operation has the same parameter in another place around, as in the branches of a
loop or in a tree, nobody knows which t a round is: such a fold is called `repeats`, k = 0, 1 ...
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy as np

from ..core.context import Scope
from ..core.tree import is_module
from .nodes import Cluster, FoldPath, GraphNode, clusters, numbered
from .options import text_with_holes
from .parts import row
from .periods import ROUNDS, periods

__all__ = ["Folding"]

OPERATIONS = 12  # that a loop without scopes must have, in its rounds, to be taken for one


class Folding:
    """Fold the clusters below `root`: only the first of every repetition stays in their `items`.

    `shown[n]` is the node that stands for node n: itself, unless that is folded away. `paths[n]`
    are the folds around it, outermost first, each with the repetition that node n is in.
    """

    def __init__(self, nodes: list[GraphNode], root: Cluster, modules: bool = True) -> None:
        self.nodes, self.modules = nodes, modules
        self._uses_of: dict[int, list[int]] | None = None
        self.shown = list(range(len(nodes)))
        self.paths: list[FoldPath] = [()] * len(nodes)
        self.moving: dict[tuple[int, int], list[tuple[Cluster, int, int]]] = defaultdict(list)
        """By node and hole, how an integer moves: the folds, and a and b of `a * t + b`."""
        self._ids: dict[Any, int] = {}
        self.forms, self.holes = list[int](), list[list[Any]]()  # of every node, but its inputs
        for node in nodes:
            text, holes = text_with_holes(node.params) if node.params else ("", [])
            form = node.op, text, node.value.shape, node.value.dtype
            self.forms.append(self._ids.setdefault(form, len(self._ids)))
            self.holes.append(holes)
        self._cluster_numbers = count(1 + max([c.number for c in clusters(root)]))
        self._timed = set[Cluster]()  # loops in which something is read by number
        self._fold(root)
        self._name_repeats(root)
        self._tell_apart(root)

    def _fold(self, root: Cluster) -> None:
        stack = [root]  # from the outermost scopes to the innermost
        while stack:
            cluster, kept, k = stack.pop(), list[int | Cluster](), 0
            items = self._with_loops(cluster)
            while k < len(items):
                kept.append(items[k])
                k += self._fold_from(items, k)
            cluster.items = kept
            stack += [item for item in reversed(kept) if isinstance(item, Cluster)]
        for k, u in enumerate(self.shown):  # in folds within folds; u is first, and done
            if u != k:
                self.shown[k] = self.shown[u]
                self.paths[k] += self.paths[u][len(self.paths[k]) :]

    def _fold_from(self, items: Sequence[int | Cluster], start: int, least: int = 2) -> int:
        """Fold the repetitions that follow `items[start]` into it; return how many there are."""
        first, run, rule, owned = items[start], list[Cluster](), list[str](), list[list[Any]]()
        if not isinstance(first, Cluster) or first.moments or start + 1 == len(items):
            return 1
        begin = last = _Repetition(self, first, {})
        used = set(begin.constants())
        for k in range(start + 1, len(items)):
            item = items[k]
            if not isinstance(item, Cluster) or item.moments:
                break
            new = _Repetition(self, item, last.places)
            moves = new.moves(last, used)
            if moves is None or rule not in ([], moves):
                break
            if not rule:
                rule = ["same" if move == "state" else move for move in moves]
                own = [j for j, move in enumerate(rule) if move == "own"]
            run.append(item)
            if own:
                used.update(new.constants())
                owned.append([new.values[j] for j in own])
            last = new
        different = "modules" in rule
        odd = different or any(
            move[0] in "+-" and move != f"{int(rule[-1]):+d}" for move in rule[:-1]
        )
        if len(run) + 1 < max(least, ROUNDS if odd else 2):  # two repetitions fit any rule
            return 1
        frames = [first.frame, *[cluster.frame for cluster in run]]
        first.letter = "k" if first.frame.index is None else first.frame.label
        first.letter = "t" if first.detected or first.frame.label == "step" else first.letter
        first.moments = [
            r if frame.index is None else frame.index for r, frame in enumerate(frames)
        ]
        if first.shift:
            first.letter, first.moments = "r", [t - first.shift[2] for t in first.moments]
        step = next((int(move.split()[1]) for move in rule if move.startswith("shift")), 0)
        for item in first.items if step else ():
            if isinstance(item, Cluster) and item.frame.index is not None:
                item.shift = first, step, begin.start
        if different:
            self._name_modules(first, [cluster.frame for cluster in run])
        strides = list(zip(rule, begin.tokens, begin.values, strict=False))
        if first.detected:
            read = [
                hole
                for move, token, hole in strides
                if move == "+1"
                and token[0] == "hole"
                and self.nodes[first.numbers[token[1]]].op == "getitem"
            ]
            each = zip(*[[begin.values[j] for j in own], *owned], strict=True) if own else ()
            for constants in each:
                rows = [row(self.nodes[c].value) for c in constants]
                if rows[0] is not None and rows == [rows[0] + r for r in range(len(rows))]:
                    read.append(rows[0])
            if read and min(read) >= 0:
                self._timed.add(first)
                first.moments = list(range(min(read), min(read) + len(frames)))
        theirs = [begin.values[j] for j in own]
        for r, cluster in enumerate([first, *run]):
            here = ((first, r),)
            for v, u in zip(cluster.numbers, first.numbers, strict=True):
                self.shown[v] = u
                self.paths[v] += here
            if own:
                for v, u in dict(zip(owned[r - 1] if r else theirs, theirs, strict=True)).items():
                    self.shown[v] = u
                    self.paths[v] += here
        for move, token, hole in strides:
            if move[0] in "+-" and token[0] == "hole":
                factor = int(move) // (first.moments[1] - first.moments[0])
                offset = hole - factor * first.moments[0]
                self.moving[first.numbers[token[1]], token[2]].append((first, factor, offset))
        return len(run) + 1

    def _name_modules(self, first: Cluster, others: list[Any]) -> None:
        """Say which modules a fold stands for: `blocks ×6`, blocks = 0 … 5."""
        labels = [frame.label for frame in [first.frame, *others]]
        name, numbers = numbered(labels[0])[0], [numbered(label)[1] for label in labels]
        if numbers == list(range(numbers[0], numbers[0] + len(numbers))):
            first.moments = numbers
        owner = first.frame.owner
        first.letter = name or type(owner).__name__.lower()
        first.frame = Scope(first.frame.parent, first.letter, numbers[0], owner)

    def is_inside(self, k: int, cluster: Cluster) -> bool:
        """Whether an input is used in a cluster alone."""
        if self._uses_of is None:
            self._uses_of = {}
            for node in self.nodes:
                for arg in node.args:
                    if isinstance(arg, int) and self.nodes[arg].kind == "parameter":
                        ends = self._uses_of.setdefault(arg, [node.number, 0])
                        ends[1] = node.number
        first, last = self._uses_of[k]
        return cluster.numbers[0] <= first <= last <= cluster.numbers[-1]

    def _name_repeats(self, root: Cluster) -> None:
        """Rename the loops whose rounds may be only a part of the rounds of the program's loop."""
        for around in clusters(root):
            loops = [c for c in around.items if isinstance(c, Cluster) and c.detected]
            uses = Counter(self._uses(around)) if loops else {}
            for loop in loops:
                if loop not in self._timed and any(uses[use] > 1 for use in self._uses(loop)):
                    loop.frame, loop.letter = Scope(loop.frame.parent, "repeats", 0, None), "k"

    def _tell_apart(self, root: Cluster) -> None:
        """Give a fold within another a letter of its own: k = 0 … 9, and in each t = 0 … 4.

        What reads something by number keeps its t.
        """
        stack: list[tuple[Cluster, tuple[str, ...]]] = [(root, ())]
        while stack:
            cluster, around = stack.pop()
            if cluster.shift:
                base = "t" if cluster.frame.label == "step" else cluster.frame.label
                cluster.counted = base if base not in around else cluster.frame.label
            if cluster.moments:
                taken, is_timed = {*around}, cluster in self._timed or not cluster.detected
                if not is_timed:
                    taken.update([c.letter for c in clusters(cluster)[1:] if c in self._timed])
                letters = [cluster.letter, *("rsuvwpqmn" if is_timed else "krsuvwpqmn")]
                cluster.letter = next((c for c in letters if c not in taken), cluster.letter)
                around = (*around, cluster.letter)
            stack += [(item, around) for item in cluster.items if isinstance(item, Cluster)]

    def _uses(self, cluster: Cluster) -> list[Any]:
        """Return what is done with inputs that all repetitions share."""
        found = list[Any]()
        for n in cluster.numbers if cluster.frame else range(len(self.nodes)):
            node = self.nodes[n]
            if self.shown[n] == n and node.op != "getitem":
                args = [a for a in {*node.args} if isinstance(a, int) and not self.nodes[a].op]
                found += [(self.forms[n], a) for a in args if self.shown[a] == a]
        return found

    # ---- loops without scopes --------------------------------------------------------------------

    def _with_loops(self, cluster: Cluster) -> list[int | Cluster]:
        """Return the items of a cluster, those of a loop in the one cluster that they fold to."""
        items = cluster.items
        if len(items) < 2 * ROUNDS:
            return items
        tokens, found = np.array([self._token(item) for item in items]), list[Any]()
        taken = np.zeros(len(items), bool)
        sizes = [len(item.numbers) if isinstance(item, Cluster) else 1 for item in items]
        before = np.cumsum([0, *sizes])  # operations
        for start, stop, period in periods(tokens):
            if before[stop] - before[start] < OPERATIONS or taken[start:stop].any():
                continue
            if period == 1 and isinstance(items[start], Cluster):  # calls: are folded as they are
                taken[start:stop] = True
                continue
            for phase in self._phases(items, start, period):
                loops = self._loops(cluster, items, start + phase, stop, period)
                for first, last, loop in loops:
                    taken[first:last] = True
                    found.append((first, last, loop))
                if loops:
                    break
        rest = 0
        together = list[int | Cluster]()
        for first, last, loop in sorted(found, key=lambda row: row[0]):
            together += [*items[rest:first], loop]
            rest = last
        return together + items[rest:]

    def _loops(
        self, cluster: Cluster, items: list[int | Cluster], start: int, stop: int, period: int
    ) -> list[tuple[int, int, Cluster]]:
        """Cut a range of items into rounds; return those that fold: first, last, cluster."""
        rounds, found, k = list[Cluster](), list[tuple[int, int, Cluster]](), 0
        for r, first in enumerate(range(start, stop - period + 1, period)):
            scope = Scope(cluster.frame, "loop", r, None)
            loop = Cluster(next(self._cluster_numbers), scope, detected=True)
            loop.items = items[first : first + period]
            for item in loop.items:
                loop.numbers += item.numbers if isinstance(item, Cluster) else [item]
            rounds.append(loop)
        while k < len(rounds):
            least = max(ROUNDS, -(-OPERATIONS // len(rounds[k].numbers)))
            n = self._fold_from(rounds, k, least)
            if n > 1:
                found.append((start + k * period, start + (k + n) * period, rounds[k]))
            k += n
        return found

    def _token(self, item: int | Cluster) -> int:
        """Return a number for what an item is, its inputs left out."""
        if isinstance(item, int):
            return self.forms[item]
        frame, inside = item.frame, tuple([self.forms[n] for n in item.numbers])
        key = frame.label, frame.index, id(frame.owner), inside
        return self._ids.setdefault(key, len(self._ids))

    def _phases(self, items: list[int | Cluster], start: int, period: int) -> list[int]:
        """Return where a round may begin: best where fewest values are passed on to the next."""
        where: dict[int, int] = {}
        last_use: dict[int, int] = {}
        window = items[start : start + 3 * period]
        for k, item in enumerate(window):
            for n in item.numbers if isinstance(item, Cluster) else [item]:
                where[n] = k
                for arg in self.nodes[n].args:
                    if arg in where:
                        last_use[int(arg)] = k
        live = np.zeros(3 * period + 1, int)
        for n, k in last_use.items():  # is passed on at every cut from where[n] + 1 to k
            live[where[n] + 1] += 1
            live[k + 1] -= 1
        passed_on = np.cumsum(live)[period : 2 * period]
        return sorted(range(period), key=lambda phase: (passed_on[phase], phase))[:3]


class _Repetition:
    """A cluster read as a repetition, perhaps of the one with the places `before`.

    Integers of the metadata and inputs are slots: a token that must be equal, and a value.
    """

    def __init__(self, folding: Folding, cluster: Cluster, before: dict[Any, int]) -> None:
        nodes, paths, forms = folding.nodes, folding.paths, folding.forms
        self.nodes, self.before, frame = nodes, before, cluster.frame
        self.folding, self.cluster, self.frame = folding, cluster, frame
        self.is_module = folding.modules and frame.index is None and is_module(frame.owner)
        label = numbered(frame.label)[0] if self.is_module else frame.label
        self.form, self.owners = [label, frame.index is None, type(frame.owner)], [frame.owner]
        self.tokens, self.values = list[tuple[Any, ...]](), list[Any]()
        self.places: dict[Any, int] = {}  # of the operations
        form, places, add, value = self.form, self.places, self.tokens.append, self.values.append
        shared, around = dict[Any, int](), paths[cluster.numbers[0]]
        self.start, level = 0, 0  # what scopes inside begin to count with
        counted = [c.frame.index for c in cluster.items if isinstance(c, Cluster)]
        if counted and None not in counted:
            self.start = counted[0]
        holes, tokens = folding.holes, self.tokens
        stack: list[Any] = cluster.items[::-1]
        while stack:
            number = stack.pop()
            if isinstance(number, Cluster):
                s = number.frame
                index = s.index - self.start if self.start and not level else s.index
                form += ["(", s.label, index, type(s.owner)]
                level += 1
                self.owners.append(s.owner)
                stack += [None, *reversed(number.items)]
                continue
            if number is None:
                form.append(")")
                level -= 1
                continue
            place = len(places)
            form.append(forms[number])
            if holes[number]:
                for k, hole in enumerate(holes[number]):
                    add(("hole", place, k))
                    value(hole)
            for arg in nodes[number].args:
                if (at := places.get(arg)) is not None:
                    add(("inside", at))
                elif (at := before.get(arg)) is not None:
                    add(("before", at))
                elif (
                    isinstance(arg, int)
                    and nodes[arg].kind in ("constant", "parameter")
                    and paths[arg] in ((), around)
                ):
                    is_shared = paths[arg] == ()  # by all rounds of the loops around
                    add(("constant", shared.setdefault(arg, len(tokens)), forms[arg], is_shared))
                elif (beside := self._in_fold_beside(arg, around)) is not None:
                    add(("beside", *beside[:2]))
                    value(beside[2])
                    continue
                else:
                    add(("outside", arg))
                value(arg)
            places[number] = place
        if list(places) != cluster.numbers:  # other threads worked in between
            form.append(id(cluster))

    def _in_fold_beside(self, arg: Any, around: FoldPath) -> tuple[int, Cluster, int] | None:
        """Return of an input from another loop what stands for it, that fold, and the round."""
        path = self.folding.paths[arg] if isinstance(arg, int) else ()
        if len(path) != len(around) + 1 or path[:-1] != around:
            return None
        return self.folding.shown[arg], *path[-1]

    def constants(self) -> list[Any]:
        """Return the constant arrays and the parameters that it uses."""
        pairs = zip(self.tokens, self.values, strict=True)
        return [value for token, value in pairs if token[0] == "constant"]

    def moves(self, last: _Repetition, used: set[Any]) -> list[str] | None:
        """Return what each slot did since the `last` repetition; None if this is no repetition."""
        if last.form != self.form or len(last.tokens) != len(self.tokens):
            return None
        same = all(a is b for a, b in zip(last.owners, self.owners, strict=True))
        if last.frame.label != self.frame.label if same else not self._differs_from(last):
            return None
        owns = False
        moves, states, index = list[str](), dict[Any, int](), self.frame.index
        stride = 1 if index is None else index - last.frame.index
        for was, now, x, y in zip(last.tokens, self.tokens, last.values, self.values, strict=True):
            if was == now and (x == y or now[0] in ("inside", "before")):
                moves.append("same")
            elif was == now and now[0] == "constant" and y not in used:
                if self.nodes[y].kind == "parameter":
                    both = ((x, last.cluster), (y, self.cluster))
                    if same or not all(self.folding.is_inside(k, c) for k, c in both):
                        return None
                    owns = True
                moves.append("own")
            elif was == now and now[0] in ("hole", "beside") and _strides(x, y, stride):
                moves.append(f"{y - x:+d}")
            elif now[0] == "before" and states.setdefault(now, x) == x:
                start = self.nodes[x].value if isinstance(x, int) else np.float64()
                if was[0] == "inside" or start.shape != self.nodes[y].value.shape:
                    return None
                moves.append("state")
            else:
                return None
        passes_on = states or last.before or (index is not None and stride)
        if not passes_on or (not same and not owns):
            return None
        shift = self.start - last.start
        return [*moves, *["modules"] * (not same), *[f"shift {shift}"] * bool(shift), str(stride)]

    def _differs_from(self, last: _Repetition) -> bool:
        """Whether these are two modules, made of modules in the same way."""
        if not self.is_module or self.owners[0] is last.owners[0]:
            return False
        pairs = {(id(a), id(b)) for a, b in zip(last.owners, self.owners, strict=True)}
        sides: list[set[int]] = [set(side) for side in zip(*pairs, strict=True)]
        return len(sides[0]) == len(sides[1]) == len(pairs)


def _strides(x: Any, y: Any, stride: int) -> bool:
    """Whether an integer of the metadata moves with the index, by a whole multiple of it."""
    return isinstance(x, int) and isinstance(y, int) and stride != 0 and (y - x) % stride == 0
