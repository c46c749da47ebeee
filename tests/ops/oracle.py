"""What the oracle suites ask, of PyTorch and of JAX, and what minigrad answers.

A question is one sample of one operation f, at real arrays x in float64: its value, the gradient of
<u, f(x)>, and the Hessian of that times v, for random u and v.
"""

from functools import cached_property

import numpy as np

import minigrad as mg
from minigrad.core import tree
from minigrad.testing import Draw, operations

OPERATIONS = {  # those that other tests define are theirs
    name: op
    for name, op in operations().items()
    if not op.__module__.rpartition(".")[2].startswith("test_")
}


def is_real(x):
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


class Question:
    """One sample of one operation."""

    def __init__(self, name, k, case):
        self.name, self.k, self.op, self.params = name, k, OPERATIONS[name], case.params
        self.leaves, self.structure = tree.flatten(case.args)
        self.at = [k for k, x in enumerate(self.leaves) if is_real(x)]
        self.xs = [self.leaves[k] for k in self.at]
        rng = np.random.default_rng(5)
        self.us = [rng.uniform(-1, 1, self.values[k].shape) for k in self.real]
        self.vs = [rng.uniform(-1, 1, x.shape) for x in self.xs]

    def opened(self, f):
        """Make of a function with the operation's arguments one of its real arrays, to a list."""

        def of_arrays(*xs):
            full = list(self.leaves)
            for k, x in zip(self.at, xs, strict=True):
                full[k] = x
            return tree.flatten(f(*tree.unflatten(self.structure, full), **self.params))[0]

        return of_arrays

    @cached_property
    def values(self):
        return [z.data for z in self.opened(self.op)(*self.xs)]

    @cached_property
    def real(self):
        """Which of the outputs are real: the others have no derivative."""
        return [k for k, z in enumerate(self.values) if z.dtype.kind == "f"]

    def _scalar(self, *xs):
        zs = self.opened(self.op)(*xs)
        return sum([(zs[k] * u).sum() for k, u in zip(self.real, self.us, strict=True)])

    @cached_property
    def first(self):
        return list(mg.grad(self._scalar, tuple(range(len(self.xs))))(*self.xs))

    @cached_property
    def second(self):
        return list(mg.hvp(self._scalar, self.xs, self.vs))


def questions(name):
    """List the samples of an operation."""
    return [Question(name, k, case) for k, case in enumerate(OPERATIONS[name].samples(Draw(0)))]


class Tally:
    """What was compared, counted."""

    def __init__(self):
        self.operations = self.samples = self.values = self.first = self.second = 0

    def close(self, kind, ours, theirs, q):
        """Hold arrays of one kind against one another, and count them."""
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            what = f"{q.name}, sample {q.k}: {kind}"
            assert np.shape(a) == np.shape(b), what
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9, err_msg=what)
            setattr(self, kind, getattr(self, kind) + 1)
