"""Random programs for the compiler, with what a recording could bake in.

To the smooth operations of `tests.random_graphs` come those that look at the data (comparisons, the
sign, the greatest, sorting, indices computed from values), loops with carried state over the rows
of an array, updates at indices, casts; and results in containers, integers among them.
"""

import hypothesis.strategies as st
import numpy as np

import minigrad as mg
from tests.random_graphs import BINARY, UNARY, broadcastable, programs

# From x alone; the result has the shape of x.
BY_DATA = {
    "relu": lambda x: mg.relu(x) if isinstance(x, mg.Tensor) else np.maximum(x, 0) * (x > 0),
    "abs": lambda x: np.abs(x) + 0.1 * x,
    "sign": lambda x: np.sign(x) * x**2,
    "masked": lambda x: np.where(x > 0.1, np.tanh(x), 0.3 * x),
    "clip": lambda x: np.clip(x, -0.4, 0.5),
    "between": lambda x: ((x > -0.5) & (x < 0.5)) * x,
    "outside": lambda x: np.where(~(np.abs(x) < 0.3), x, -x),
    "floor": lambda x: x - np.floor(2 * x),
    "remainder": lambda x: np.remainder(x, 0.7),
    "rounded": lambda x: x + mg.stop_gradient(np.round(x) - x),
    "sort": lambda x: np.sort(x, axis=-1) if np.ndim(x) else x * 1.0,
    "normed": lambda x: x - np.max(x) if np.size(x) else x * 1.0,
}
# From x and y, of one shape.
COMPARED = {
    "maximum": np.maximum,
    "minimum": lambda x, y: np.minimum(x, np.tanh(y)),
    "chosen": lambda x, y: np.where(x > y, x * y, x - y),
    "equal": lambda x, y: (x == y) * 1.0 + x * (x >= y),
    "copysign": lambda x, y: np.copysign(x, y),
}


def best_row(x):
    """Return the row that the data choose."""
    total = x.reshape(len(x), -1).sum(axis=1)
    return mg.getitem(x, np.argmax(total)) if isinstance(x, mg.Tensor) else x[np.argmax(total)]


def in_order(x):
    """Return the rows, ordered by their first element."""
    order = np.argsort(x.reshape(len(x), -1)[:, 0], kind="stable")
    return np.take(x, order, axis=0)


def middle(x):
    return np.median(x, axis=0)


def recurrent(x):
    """Return the states of a loop over the rows: two carries, each made of both."""
    h, c, states = x[0], 0.5 * x[-1], []
    for t in range(len(x)):
        gate = 1.0 / (1.0 + np.exp(-(h + x[t])))
        c, h = gate * c + (1 - gate) * np.tanh(h), np.tanh(c) * gate
        states.append(h)
    return np.stack(states)


def backwards(x):
    """Return the last state of a loop from the end, with a running maximum."""
    h, top = np.tanh(x[-1]), x[-1]
    for t in reversed(range(len(x))):
        top = np.maximum(top, x[t])
        h = np.tanh(0.5 * h + x[t]) * 0.9 + 0.1 * top
    return h


def matrix_loop(x):
    """Return the last state of a loop with a product in it; x is used as rows and as a matrix."""
    weight = np.tanh(x.T @ x) * 0.5
    h = x[0]
    for t in range(len(x)):
        h = np.tanh(h @ weight + x[t])
    return h


def long_loop(x):
    """Return what forty rounds of one map make of x."""
    for _ in range(40):
        x = np.tanh(1.1 * x + 0.05)
    return x


def updated(x):
    x = mg.tensor(x) if isinstance(x, np.ndarray) else x
    return x.at[0].set(x[-1] * 0.5).at[-1].add(1.0)


def pieces(x):
    first, second = np.split(x, [1]) if len(x) > 1 else (x, x)
    return np.concatenate([np.tanh(second), first, x[::-1]])


def cast_there_and_back(x):
    return np.astype(np.astype(x, np.float32), x.dtype) + x


WHOLE = {f.__name__: f for f in (long_loop, cast_there_and_back)}
ROWS = {f.__name__: f for f in (best_row, in_order, middle, recurrent, backwards, updated, pieces)}
KINDS = ("by data", "by data", "compared", "rows", "rows", "whole", "matrix", "unary", "binary")


def shape_of(function, *shapes):
    return np.shape(function(*[np.linspace(0.1, 0.9, int(np.prod(s))).reshape(s) for s in shapes]))


@st.composite
def compiled_programs(draw, dimensions=(1, 2, 3), ties=False):
    """Give a program: shapes of the inputs, instructions, and what is returned.

    With `ties`, what looks at the data looks at inputs alone: at numbers that are equal exactly,
    and not but for rounding.
    """
    inputs, smooth, _ = draw(programs(dimensions))
    body, names = [], []
    shapes = list(inputs)

    def put(name, function, *takes):
        body.append((function, takes))
        names.append(f"v{len(shapes)} = {name}({', '.join(f'v{k}' for k in takes)})")
        shapes.append(shape_of(function, *[shapes[k] for k in takes]))

    def some():
        return draw(st.integers(0, (len(inputs) if ties else len(shapes)) - 1))

    def add():
        kind, k = draw(st.sampled_from(KINDS)), some()
        if kind == "compared":
            j = draw(st.sampled_from([j for j, s in enumerate(shapes) if s == shapes[k]]))
            j = k if ties and j >= len(inputs) else j
            name = draw(st.sampled_from(sorted(COMPARED)))
            put(name, COMPARED[name], k, j)
        elif kind == "rows" and shapes[k] and 0 not in shapes[k]:
            name = draw(st.sampled_from(sorted(ROWS)))
            put(name, ROWS[name], k)
        elif kind == "matrix" and len(shapes[k]) == 2 and 0 not in shapes[k]:
            put("matrix_loop", matrix_loop, k)
        elif kind == "whole":
            name = draw(st.sampled_from(sorted(WHOLE)))
            put(name, WHOLE[name], k)
        elif kind == "binary":
            partners = [j for j, s in enumerate(shapes) if broadcastable(shapes[k], s) is not None]
            name = draw(st.sampled_from(sorted(BINARY)))
            put(name, lambda x, y, f=BINARY[name]: f(np, x, y), k, draw(st.sampled_from(partners)))
        elif kind == "unary":
            name = draw(st.sampled_from(sorted(UNARY)))
            put(name, lambda x, f=UNARY[name]: f(np, x), k)
        else:
            name = draw(st.sampled_from(sorted(BY_DATA)))
            put(name, BY_DATA[name], k)

    place = list(range(len(inputs)))  # of the values of the smooth program, in this one
    for function, takes in smooth[: draw(st.integers(0, 15))]:
        if draw(st.booleans()):
            add()
        place.append(len(shapes))
        put("smooth", lambda *xs, f=function: f(np, *xs), *[place[t] for t in takes])
    for _ in range(draw(st.integers(1, 5))):
        add()
    returned = draw(st.lists(st.integers(0, len(shapes) - 2), min_size=1, max_size=3, unique=True))
    return Program(inputs, body, names, returned)


class Program:
    """A function of arrays, which says what it does where hypothesis prints it."""

    def __init__(self, inputs, body, names, returned):
        self.inputs, self.body, self.names, self.returned = inputs, body, names, returned

    def __repr__(self):
        given = ", ".join(f"v{k} {s}" for k, s in enumerate(self.inputs))
        return "\n".join(["", f"given {given}", *self.names, f"return {self.returned}"])

    def __call__(self, *xs):
        values = list(xs)
        for function, takes in self.body:
            values.append(function(*[values[k] for k in takes]))
        made = values[len(xs) :]
        total = sum((0.3 + 0.1 * k) * np.sin(v).sum() for k, v in enumerate(made))
        last = values[-1]
        return {
            "total": total + 0.1 * sum((x * x).sum() for x in xs),
            "some": [values[k] for k in self.returned],
            "last": (last, {"positive": (last > 0).sum(), "none": None}),
        }

    def draws(self, seed, dtype=np.float64, steps=None):
        """Return inputs: uniform, or multiples of 1/`steps` among which many are equal."""
        rng = np.random.default_rng(seed)
        scale = (1.0, -1.0, 3.0, 0.2)[seed % 4]
        xs = [scale * rng.uniform(-1, 1, shape) for shape in self.inputs]
        return [np.asarray(np.round(x * steps) / steps if steps else x, dtype) for x in xs]


def join(x, y):
    """Return two halves of the columns of x and y, side by side."""
    half = x.shape[-1] // 2
    return np.concatenate([y[..., half:], x[..., :half]], axis=-1)


STEP_UNARY = {
    "tanh": np.tanh,
    "sigmoid": lambda x: 1.0 / (1.0 + np.exp(-x)),
    "scaled": lambda x: 0.5 * x + 0.1,
    "squared": lambda x: np.tanh(x) ** 2,
    "relu": lambda x: np.maximum(x, 0.0),
    "normed": lambda x: x - x.mean(axis=-1, keepdims=True),
}
STEP_BINARY = {
    "add": lambda x, y: np.tanh(x) + np.tanh(y),
    "multiply": lambda x, y: np.tanh(x) * y,
    "mixed": lambda x, y: 0.3 * x + 0.7 * y,
    "greater": lambda x, y: np.where(x > y + 0.037, x, 0.5 * y),  # no ties but for rounding
    "join": join,
}
ROWS_READ = {
    "x[t]": lambda x, t: x[t],
    "x[-1-t]": lambda x, t: x[len(x) - 1 - t],
    "x[max(t-1, 0)]": lambda x, t: x[max(t - 1, 0)],
    "x[t//2]": lambda x, t: x[t // 2],
    "x[0]": lambda x, t: x[0],
}


@st.composite
def recurrences(draw):
    """Give a program of one or two random cells over time; the second reads what the first gave.

    Its inputs: x (T, B, H), two matrices (H, H), a state (B, H), and a mask (T, B, 1) of numbers.
    """
    length, batch, width = (
        draw(st.integers(2, 9)),
        draw(st.integers(1, 3)),
        draw(st.sampled_from([2, 4])),
    )
    shapes = [
        (length, batch, width),
        (width, width),
        (width, width),
        (batch, width),
        (length, batch, 1),
    ]
    cells = [draw(_cells()) for _ in range(draw(st.integers(1, 2)))]

    def run(x, w, u, h0, mask):
        outputs = x
        for cell in cells:
            outputs, states = cell(outputs, (w, u), h0, mask)
        return outputs, states[0], sum(states)

    names = [line for cell in cells for line in cell.names]
    return Program(shapes, [(run_part(run, k), tuple(range(5))) for k in range(3)], names, [5, 6])


def run_part(run, k):
    return lambda *xs: run(*xs)[k]


@st.composite
def _cells(draw):
    """Give a cell: how many states it carries, the operations of a step, what is the next state."""
    states = draw(st.integers(1, 3))
    row = draw(st.sampled_from(sorted(ROWS_READ)))
    turned, masked, every = (
        draw(st.booleans()),
        draw(st.booleans()),
        draw(st.sampled_from([1, 1, 1, 2])),
    )
    count, steps = states + 1, []  # the states, and what is read of x
    for _ in range(draw(st.integers(2, 9))):
        kind = draw(st.sampled_from(["unary", "binary", "binary", "product"]))
        k, j = (draw(st.integers(0, count - 1)) for _ in "kj")
        if kind == "unary":
            steps.append((draw(st.sampled_from(sorted(STEP_UNARY))), k))
        elif kind == "binary":
            steps.append((draw(st.sampled_from(sorted(STEP_BINARY))), k, j))
        else:
            steps.append(("product", k, draw(st.integers(0, 1))))
        count += 1
    after = [draw(st.integers(0, count - 1)) for _ in range(states)]
    out = draw(st.integers(0, count - 1))
    return Cell(states, row, turned, masked, every, steps, after, out)


class Cell:
    """A loop over time, written as users write it."""

    def __init__(self, states, row, turned, masked, every, steps, after, out):
        self.states, self.row, self.turned, self.masked = states, row, turned, masked
        self.every, self.steps, self.after, self.out = every, steps, after, out
        order = "reversed time" if turned else "time"
        self.names = [
            f"for t in {order}: {states} states v0.., v{states} = {row}, {steps}, states <- {after}"
            f"{' where masked' if masked else ''}, every {every}. gives v{out}"
        ]

    def __call__(self, x, weights, h0, mask):
        states = [h0 * (k + 1.0) for k in range(self.states)]
        outputs, times = [], range(len(x))
        for t in reversed(times) if self.turned else times:
            values = [*states, ROWS_READ[self.row](x, t)]
            for name, k, *j in self.steps:
                if name == "product":
                    values.append(np.tanh(values[k] @ (0.5 * weights[j[0]])))
                elif j:
                    values.append(STEP_BINARY[name](values[k], values[j[0]]))
                else:
                    values.append(STEP_UNARY[name](values[k]))
            if t % self.every == 0:
                new = [values[k] for k in self.after]
                if self.masked:
                    new = [np.where(mask[t] > 0, n, s) for n, s in zip(new, states, strict=True)]
                states = new
            outputs.append(values[self.out])
        return np.stack(outputs), states
