"""Random programs: operations on views, loops with what they carry and collect, two sections."""

import numpy as np

import minigrad as mg
from minigrad.compiler.program import (
    STACK,
    Carry,
    Collect,
    Function,
    Loop,
    Op,
    Program,
    Row,
    Section,
    Value,
    View,
)
from minigrad.ops import shape

UNARY = [mg.tanh, mg.sigmoid, mg.negative, mg.relu, mg.copy, mg.cos]
BINARY = [mg.add, mg.subtract, mg.multiply, mg.maximum]
GREATER, ARGSORT = Function("greater", np.greater), Function("argsort", np.argsort)


class Maker:
    """Makes a program with samples of all its values, which say what fits to what."""

    def __init__(self, rng, dtype=float, rows=2):
        self.rng, self.dtype = rng, np.dtype(dtype)
        self.shapes = [(3,), (rows, 3), (3, 3), (4, rows, 3), (4, 3), (), (1, 3), (0, 3)]
        self.known = {}
        self.outside = []

    def choice(self, options):
        return options[int(self.rng.integers(len(options)))]

    def chance(self, p):
        return self.rng.random() < p

    def value(self, array, name=""):
        array = np.asarray(array)
        value = Value(array.shape, array.dtype, name)
        self.known[value] = array
        return value

    # ---- operands ------------------------------------------------------------------------------

    def seen(self, view):
        return view.of(self.known[view.value]) if isinstance(view, View) else view

    def views(self, inner=(), rounds=0):
        """A few views of everything there is."""
        found = []
        for value in [*inner, *inner, *self.outside]:
            view = View(value)
            if len(value.shape) > 1 and self.chance(0.3):
                rows = [Row(0, k) for k in range(value.shape[0])]
                view = view._replace(row=self.choice(rows)) if rows else view
            if (
                rounds
                and value in self.outside
                and value.shape[:1] >= (rounds,)
                and self.chance(0.6)
            ):
                spare = value.shape[0] - rounds
                view = View(value, self.choice([Row(1, spare), Row(-1, rounds - 1), Row(1, 0)]))
            if view.shape and view.shape[-1] > 1 and self.chance(0.3):
                start = int(self.rng.integers(view.shape[-1]))
                view = view._replace(columns=(start, view.shape[-1]))
            if len(view.shape) == 2 and self.chance(0.2):
                view = view._replace(turned=True)
            found.append(view)
        return found

    def like(self, shape, views, kinds="f"):
        fits = [v for v in views if v.shape == shape and v.dtype.kind in kinds]
        return self.choice(fits) if fits else None

    # ---- operations ----------------------------------------------------------------------------

    def made(self, does, *args, **params):
        def filled(p):
            return self.seen(p) if isinstance(p, View) else p

        result = does.forward(*map(self.seen, args), **{k: filled(v) for k, v in params.items()})
        several = isinstance(result, (tuple, list))
        outs = tuple(map(self.value, result if several else (result,)))
        return Op(does, args, params, outs, several)

    def op(self, inner=(), rounds=0):
        views = self.views(inner, rounds)
        floats = [v for v in views if v.dtype.kind == "f"]
        a, kind = self.choice(floats), int(self.rng.integers(12))
        if kind == 0 and len(a.shape) >= 1:
            fits = [b for b in floats if len(b.shape) == 2 and b.shape[0] == a.shape[-1]]
            if fits:
                return self.made(mg.matmul, a, self.choice(fits))
        if kind == 1 and a.shape:
            axis = int(self.rng.integers(len(a.shape)))
            return self.made(mg.sum, a, axis=axis, keepdims=bool(self.chance(0.3)))
        if kind == 2 and a.shape:
            joined = [b for b in floats if b.shape[:-1] == a.shape[:-1] and b.shape]
            if len(a.shape) > 1:
                return self.made(shape.concatenated, a, self.choice(joined), a, axis=-1)
            return self.made(STACK, a, self.like(a.shape, floats), a)
        if kind == 3:
            reshaped = (int(np.prod(a.shape, dtype=int)),)
            if self.chance(0.5):
                return self.made(mg.reshape, a, shape=reshaped)
            if len(a.shape) == 2:
                return self.made(mg.swapaxes, a, axis1=0, axis2=1)
            return self.made(mg.expand_dims, a, axis=0)
        if kind == 4 and a.shape and a.shape[0] > 1:
            return self.made(mg.getitem, a, index=slice(1, None))
        if kind == 5 and a.shape and a.shape[-1] > 1:
            return self.made(shape.cut, a, at=(1,), axis=-1)
        if kind == 6:
            b = self.like(a.shape, floats)
            wider = self.made(GREATER, a, self.choice([b, 0.0]))
            return wider
        if kind == 7:
            flags = self.like(a.shape, views, "b")
            if flags is not None:
                return self.made(mg.ops.elementwise.selected, flags, a, self.choice([0.0, a]))
        if kind == 8 and len(a.shape) == 1 and a.shape[0]:
            order = self.like(a.shape, [v for v in views if v.columns is None], "i")
            if order is None:
                return self.made(ARGSORT, a)
            return self.made(mg.getitem, a, index=order)
        if kind < 10:
            return self.made(self.choice(UNARY), a)
        other = self.choice([0.5, 2, self.like(a.shape, floats), self.like(a.shape[-1:], floats)])
        other = 1.5 if other is None else other
        return self.made(self.choice(BINARY), *self.choice([(a, other), (other, a)]))

    def ops(self, inner=(), rounds=0):
        """An operation; or several whose results are joined, and columns of that, as gates are."""
        whole = [View(v) for v in inner if v.dtype.kind == "f" and len(v.shape) > 1 and v.shape[-1]]
        if not whole or self.chance(0.8):
            return [self.op(inner, rounds)]
        parts = [self.made(self.choice(UNARY), self.choice(whole[:1])) for _ in range(3)]
        whole = self.made(shape.concatenated, *[View(op.out) for op in parts], axis=-1)
        sums = self.made(mg.add, View(whole.out), 0.25)
        n = parts[0].out.shape[-1]
        cut = [View(sums.out, None, (k * n, (k + 1) * n)) for k in range(3)]
        return [*parts, whole, sums, *[self.made(self.choice(UNARY), v) for v in cut]]

    # ---- loops ---------------------------------------------------------------------------------

    def loop(self):
        rounds = int(self.rng.integers(1, 5))
        firsts = [v for v in self.views() if v.dtype == self.dtype]
        firsts = [self.choice(firsts) for _ in range(int(self.rng.integers(3)))]
        read = [self.value(self.seen(v)) for v in firsts]
        body, inner = [], list(read)
        for _ in range(int(self.rng.integers(1, 9))):
            for op in self.ops(inner, rounds):
                body.append(op)
                inner += op.outs
        carries = []
        for value, first in zip(read, firsts, strict=True):
            fits = [v for v in inner if v.shape == value.shape and v.dtype == value.dtype]
            newest = [v for v in fits if v not in read] if self.chance(0.8) else []
            carries.append(Carry(value, first, self.choice(newest or fits)))
        collects, lasts = [], []
        for value in inner:
            for _ in range(int(self.rng.integers(3))):
                collects.append(self.collect(value, carries, rounds))
            if self.chance(0.3):
                lasts.append((self.value(self.known[value]), value))
        loop = Loop(rounds, body, carries, collects, lasts)
        if not loop.outs:
            lasts.append((self.value(self.known[inner[-1]]), inner[-1]))
        return loop

    def collect(self, source, carries, rounds):
        first = None
        if self.chance(0.4):
            state = [c.first for c in carries if c.next is source]
            first = self.choice(state) if state else self.like(source.shape, self.views())
            if first is not None and first.dtype != source.dtype:
                first = None
        n = rounds + (first is not None)
        row = self.choice([Row(1, n - rounds), Row(-1, rounds - 1)])
        return Collect(self.value(np.zeros((n, *source.shape), source.dtype)), source, row, first)

    # ---- programs ------------------------------------------------------------------------------

    def section(self, inputs, length):
        items = []
        self.outside += inputs
        for _ in range(length):
            items.append(self.loop() if self.chance(0.25) else self.op())
            self.outside += items[-1].outs
        outputs = [v for v in self.views() if v.dtype.kind == "f"]
        return Section(inputs, items, [self.choice(outputs) for _ in range(4)] + [1.0])

    def inputs(self, shapes):
        return [self.value(self.rng.normal(size=s).astype(self.dtype)) for s in shapes]

    def program(self, length=8):
        constant = self.value(self.rng.normal(size=(2, 3)).astype(self.dtype))
        constant.array = self.known[constant]
        self.outside.append(constant)
        forward = self.section(self.inputs(self.shapes), length)
        if self.chance(0.5):
            return Program([forward])
        return Program([forward, self.section(self.inputs([(2, 3), (3,)]), length)])


def random_program(seed, dtype=float, length=8, rows=2):
    """Return a program and inputs for each of its sections."""
    with np.errstate(all="ignore"):
        maker = Maker(np.random.default_rng(seed), dtype, rows)
        program = maker.program(length)
    program.check()
    return program, [[maker.known[v] for v in s.inputs] for s in program.sections]
