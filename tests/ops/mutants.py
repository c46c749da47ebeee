"""The mutation sweep: spoil one rule at a time over the whole registry, and see a law turn red.

    python -m tests.ops.mutants [name ...]        (or `make mutants`)

Each pull and push rule of each primitive is negated, made 1 % too large, dropped (zero), and, where
the primitive has two inputs, called with these exchanged. A rule that serves both directions, as in
elementwise functions, is spoilt in both. The laws of `minigrad.testing` then run on the samples of
the primitive; one that has none of its own is tried on the samples of the operations that use it.

A mutant is killed if a law fails that holds otherwise. One that survives, or whose rule no sample
calls, is a hole in the samples: it is listed, and the exit code is 1. An exchange that changes no
result (in g and g, the rules of a sum) makes no mutant. Nor does a factor of a rule that is 0 on
all samples, if a law notices 0.01 in its place: such a rule, of steps, is listed.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
import warnings
from collections import defaultdict

import numpy as np

import minigrad  # noqa: F401  (fills the registry)
from minigrad.check.laws import LAWS, Draw, _opened, operations
from minigrad.core import tape, tree
from minigrad.core.primitive import Primitive
from minigrad.core.tape import Deferred
from minigrad.core.tensor import OPS, tensor, value_of

LAW_ORDER = ("adjointness", "truth", "closure", "second_order")
MUTATIONS = {
    "negated": lambda rule: lambda *a, **k: spoilt(rule(*a, **k), lambda d: -d),
    "times 1.01": lambda rule: lambda *a, **k: spoilt(rule(*a, **k), lambda d: d * 1.01),
    "dropped": lambda rule: lambda *a, **k: spoilt(rule(*a, **k), lambda d: d * 0),
    "exchanged": lambda rule: lambda g, z, x, y, **k: rule(g, z, y, x, **k),
}
PLUS = {"plus 0.01": lambda rule: lambda *a, **k: spoilt(rule(*a, **k), lambda d: d + 0.01)}


def spoilt(derivative, change):
    """Change what a rule gave: an array, a Tensor, several, or something still to be summed."""
    if isinstance(derivative, Deferred):
        derivative.parts = {
            total: [(*how, spoilt(g, change)) for *how, g in parts]
            for total, parts in derivative.parts.items()
        }
        return derivative
    if isinstance(derivative, (tuple, list)):
        return type(derivative)([spoilt(d, change) for d in derivative])
    return derivative if derivative is None else change(derivative)


class Site:
    """One rule of a primitive, and the ways to put another in its place."""

    def __init__(self, primitive, label, rule, pull=None, push=None):
        self.primitive, self.label, self.rule = primitive, label, rule
        self.pull, self.push = pull, push  # position in the list; "all" for one function
        self.calls = self.changes = 0

    @contextlib.contextmanager
    def mutated(self, mutation, watch_changes):
        """Spoil the rule while the block runs, and count how often it was called and changed."""
        self.calls = self.changes = 0
        changed = (MUTATIONS | PLUS)[mutation](self.rule)

        def rule(*args, **params):
            self.calls += 1
            if not watch_changes:
                return changed(*args, **params)
            before = self.rule(*args, **params)
            try:
                after = changed(*args, **params)
            except Exception:
                self.changes += 1
                raise
            self.changes += not same(before, after)
            return after

        p, kept = self.primitive, (self.primitive.pulls, self.primitive.pushes)
        try:
            if self.pull is not None:
                p.pulls = replaced(kept[0], self.pull, rule)
            if self.push is not None:
                p.pushes = replaced(kept[1], self.push, rule)
            yield
        finally:
            p.pulls, p.pushes = kept


def replaced(rules, k, rule):
    if k == "all":
        return rule
    return [rule if j == k else r for j, r in enumerate(rules)]


def same(a, b):
    if isinstance(a, Deferred):
        a, b = ([g for parts in d.parts.values() for *_, g in parts] for d in (a, b))
    pairs = zip(tree.flatten(a)[0], tree.flatten(b)[0], strict=True)
    return all(np.array_equal(value_of(x), value_of(y)) for x, y in pairs)


def sites(p):
    """List the rules of a primitive; one that is both pull and push of an input is one."""
    if callable(p.pulls):
        yield Site(p, "pull", p.pulls, pull="all")
    else:
        for k, rule in enumerate(p.pulls):
            if rule is not None:
                both = not callable(p.pushes) and p.pushes[k] is rule
                label = f"rule {k}" if both else f"pull {k}"
                yield Site(p, label, rule, pull=k, push=k if both else None)
    if callable(p.pushes):
        yield Site(p, "push", p.pushes, push="all")
    else:
        for k, rule in enumerate(p.pushes):
            if rule is not None and (callable(p.pulls) or p.pulls[k] is not rule):
                yield Site(p, f"push {k}", rule, push=k)


def witnesses(primitives):
    """Give every primitive its samples: (operation, case), its own or those of what uses it."""
    found = {p: [(p, case) for case in p.samples(Draw(0))] for p in primitives}
    users = defaultdict(list)
    for op in operations().values():
        for case in op.samples(Draw(0)):
            f, xs = _opened(op, case)
            outputs = [t for t in f(*[tensor(x, requires_grad=True) for x in xs]) if t.live]
            path, _ = tape.between(None, outputs)
            for p in {node.primitive for node in path} - {None, op}:
                users[p].append((op, case))
    return {p: cases or users[p] for p, cases in found.items()}


class Laws:
    """The laws on samples; a law that fails without any mutation can kill nothing."""

    def __init__(self):
        self.broken = {}

    def fails(self, law, op, case):
        try:
            LAWS[law](op, case)
        except Exception:
            return True
        return False

    def killed(self, site, mutation, cases):
        """Whether a law fails with the mutation in place that holds without it."""
        for law in LAW_ORDER:
            for op, case in cases:
                with site.mutated(mutation, watch_changes=False):
                    failed = self.fails(law, op, case)
                if failed:
                    key = (law, id(op), id(case))
                    if key not in self.broken:
                        self.broken[key] = self.fails(law, op, case)
                    if not self.broken[key]:
                        return True
        return False


def sweep(wanted=()):
    """Spoil every rule in every way; list the mutants that survive, and count all."""
    primitives = [p for p in dict.fromkeys(OPS.values()) if isinstance(p, Primitive)]
    cases, laws = witnesses(primitives), Laws()
    total, survivors, idle, zero = 0, [], 0, {}
    for p in primitives:
        if wanted and p.name not in wanted:
            continue
        for site in sites(p):
            for mutation in MUTATIONS:
                if mutation == "exchanged":
                    if p.arity != 2 or site.pull == "all" or site.push == "all":
                        continue
                    if not watched(site, mutation, cases[p], laws)[1]:
                        idle += 1
                        continue
                total += 1
                if laws.killed(site, mutation, cases[p]):
                    continue
                calls, changes = watched(site, mutation, cases[p], laws)
                if calls and not changes and laws.killed(site, "plus 0.01", cases[p]):
                    zero[f"{p.name}, {site.label}"] = None
                    total -= 1
                else:
                    never = "" if calls else " (no sample calls it)"
                    survivors.append(f"{p.name}, {site.label} {mutation}{never}")
    broken = sorted({law for (law, _, _), failed in laws.broken.items() if failed})
    return total, survivors, idle, [*zero], broken, len(primitives)


def watched(site, mutation, cases, laws):
    """Count how often the samples call a rule with a mutation in place, and how often it tells."""
    with site.mutated(mutation, watch_changes=True):
        for law in LAW_ORDER:
            for op, case in cases:
                laws.fails(law, op, case)
    return site.calls, site.changes


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="only these primitives")
    names = parser.parse_args(argv).names
    start = time.perf_counter()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        total, survivors, idle, zero, broken, number = sweep(names)
    for line in zero:
        print(f"0 on all samples, as it should be: {line}")
    for line in survivors:
        print(f"survived: {line}")
    if broken:
        print(f"laws that fail without any mutation: {', '.join(broken)}")
    print(
        f"{total - len(survivors)} of {total} mutants killed, {number} primitives in the registry, "
        f"{idle} exchanges that change nothing, {time.perf_counter() - start:.0f} s"
    )
    if not total and not zero:
        print(f"no primitive is called {' or '.join(names)}")
    return 1 if survivors or broken or not (total or zero) else 0


if __name__ == "__main__":
    sys.exit(main())
