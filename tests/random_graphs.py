"""Random programs, drawn by hypothesis: what transforms and compiled programs are tried on.

A program is a list of 5 to 40 operations on what came before it: elementwise with broadcasting,
reductions, products, indexing, views, joining; values are used again at will, and one value in
several kinds of use at once (a matrix in products, by rows, and whole).
"""

import importlib.util
import math

import hypothesis.strategies as st
import numpy as np
from hypothesis import HealthCheck, settings

torch = importlib.import_module("torch") if importlib.util.find_spec("torch") else None

# Each keeps values moderate and is smooth where it is used, so that central differences are good.
# Written with operators and methods that NumPy's arrays, Tensors and PyTorch's tensors share, and
# with the functions of `m`: NumPy (for arrays and Tensors alike) or PyTorch.
UNARY = {
    "tanh": lambda m, x: m.tanh(x),
    "sin": lambda m, x: m.sin(x),
    "exp": lambda m, x: m.exp(m.tanh(x)),
    "log": lambda m, x: m.log(x * x + 1.0),
    "sqrt": lambda m, x: m.sqrt(x * x + 0.5),
    "square": lambda m, x: m.tanh(x) ** 2,
    "power": lambda m, x: (m.sin(x) + 1.5) ** 1.7,
    "negative": lambda m, x: -x,
    "reciprocal": lambda m, x: 1.0 / (x * x + 1.0),
    "scalar": lambda m, x: 0.7 * x + 0.1,
}
BINARY = {
    "add": lambda m, x, y: m.tanh(x) + y,
    "subtract": lambda m, x, y: x - m.tanh(y),
    "multiply": lambda m, x, y: m.tanh(x) * m.sin(y),
    "divide": lambda m, x, y: m.sin(x) / (1.5 + m.sin(y)),
    "power": lambda m, x, y: (1.5 + m.sin(x)) ** m.tanh(y),
    "where": lambda m, x, y: m.where(SIGN(m, x + y), m.tanh(x + 0 * y), m.tanh(y + 0 * x)),
}
DIMENSIONS = (1, 2, 3)


def SIGN(m, like):
    """Choose among the elements by their place, which does not move."""
    mask = np.arange(math.prod(like.shape)).reshape(tuple(like.shape)) % 3 == 0
    return torch.tensor(mask) if m is torch else mask


def RAMP(m, like):
    """Weights for the rows of a matrix, in two combinations."""
    rows = like.shape[0]
    ramp = np.arange(2.0 * rows).reshape(2, rows) / rows - 0.5
    return torch.tensor(ramp) if m is torch else ramp


def broadcastable(a, b):
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        return None


@st.composite
def programs(draw, dimensions=DIMENSIONS):
    """Give the shapes of the inputs and the instructions: (function, numbers of what it takes)."""
    lengths = draw(st.lists(st.sampled_from(dimensions), min_size=3, max_size=3))
    some = st.sampled_from([1, *lengths])
    shapes = draw(st.lists(st.lists(some, max_size=3).map(tuple), min_size=1, max_size=3))
    inputs, body = list(shapes), []
    wanted = draw(st.integers(5, 40))
    while len(body) < wanted:
        k = draw(st.integers(0, len(shapes) - 1))
        shape = shapes[k]
        kind = draw(
            st.sampled_from(
                ["unary", "binary", "binary", "reduce", "index", "view", "matmul", "weight", "join"]
            )
        )
        if kind == "binary":
            name = draw(st.sampled_from(sorted(BINARY)))
            partners = [j for j, s in enumerate(shapes) if broadcastable(shape, s) is not None]
            j = draw(st.sampled_from(partners))
            body.append((BINARY[name], (k, j)))
            shapes.append(broadcastable(shape, shapes[j]))
            continue
        if kind == "matmul" and len(shape) >= 2:
            # x x' over the last two axes
            body.append((lambda m, x: m.tanh(x) @ m.tanh(x).swapaxes(-1, -2) * 0.3, (k,)))
            shapes.append((*shape[:-1], shape[-2]))
            continue
        if kind == "weight" and len(shape) == 2 and draw(st.booleans()):
            # the value itself is the matrix: on the right, as a weight, and by its differences
            body.append((lambda m, x: m.tanh(RAMP(m, x) @ x), (k,)))
            shapes.append((2, shape[1]))
            continue
        if kind == "weight" and shape and shape[-1]:
            body.append((lambda m, x: m.sin(m.diff(x)) if x.shape[-1] > 1 else m.sin(x), (k,)))
            shapes.append((*shape[:-1], shape[-1] - 1 or 1))
            continue
        if kind == "join":
            same = [j for j, s in enumerate(shapes) if s == shape]
            j, axis = draw(st.sampled_from(same)), draw(st.integers(0, len(shape)))
            if math.prod(shape) <= 12:
                body.append((lambda m, x, y, a=axis: m.stack([m.sin(x), m.tanh(y)], a), (k, j)))
                shapes.append((*shape[:axis], 2, *shape[axis:]))
                continue
        if kind == "reduce" and shape:
            axis, keep = draw(st.integers(-len(shape), len(shape) - 1)), draw(st.booleans())
            method = draw(st.sampled_from(["sum", "mean", "cumsum"] if 0 not in shape else ["sum"]))
            if method == "cumsum":
                body.append((lambda m, x, a=axis: m.tanh(m.cumsum(x, a)), (k,)))
                shapes.append(shape)
                continue
            body.append(
                (lambda m, x, f=method, a=axis, q=keep: reduced(m, m.sin(x), f, a, q), (k,))
            )
            shapes.append(np.sum(np.zeros(shape), axis=axis, keepdims=keep).shape)
            continue
        if kind == "index" and shape and shape[0]:
            n = shape[0]
            index = draw(
                st.sampled_from([-1, slice(0, 1), slice(None, None, None), None, Ellipsis, "again"])
            )
            if index == "again":
                index = np.array(draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=3)))
            body.append((lambda m, x, i=index: x[i], (k,)))
            shapes.append(np.zeros(shape)[index].shape)
            continue
        if kind == "view" and shape:
            if draw(st.booleans()):
                body.append((lambda m, x: x.swapaxes(0, -1), (k,)))
                shapes.append(np.zeros(shape).swapaxes(0, -1).shape)
            else:
                body.append((lambda m, x: x.reshape(-1), (k,)))
                shapes.append((math.prod(shape),))
            continue
        body.append((UNARY[draw(st.sampled_from(sorted(UNARY)))], (k,)))
        shapes.append(shape)
    last = draw(st.integers(0, len(shapes) - 1))
    return inputs, body, last


def reduced(m, x, method, axis, keep):
    keyword = "keepdim" if m is torch else "keepdims"
    return getattr(m, method)(x, axis, **{keyword: keep})


def run(program, m, xs):
    """Run the program and reduce everything it made last to one number; all values take part."""
    _, body, last = program
    values = list(xs)
    for function, takes in body:
        values.append(function(m, *[values[k] for k in takes]))
    weights = [0.3 + 0.1 * k for k in range(len(values))]
    return (
        sum(w * m.sin(v).mean() for w, v in zip(weights, values, strict=True)) + values[last].sum()
    )


def drawn(program, seed):
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.uniform(-1, 1, shape)) for shape in program[0]]


ROOMY = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    derandomize=True,
)
