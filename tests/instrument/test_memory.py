"""Random programs that write to arrays and read them: values and gradients as NumPy has them."""

import numpy as np
import pytest

import minigrad as mg
from minigrad.instrument.assignable import Assignable, wrapped


def drawn_index(rng, shape):
    """An index of an array of this shape: basic, of integers, or a mask."""
    kind = rng.integers(6)
    if kind == 0 and shape:
        return rng.random(shape) < 0.5
    if kind == 1 and shape:
        return rng.integers(-shape[0], shape[0], size=rng.integers(1, 4))
    if kind == 2 and len(shape) > 1:
        n = rng.integers(1, 4)
        return tuple(rng.integers(-m, m, size=n) for m in shape[:2])
    parts = []
    for m in shape[: rng.integers(len(shape) + 1)]:
        a, b = np.sort(rng.integers(0, m + 1, size=2)).tolist()
        choices = [
            slice(a, b),
            slice(None, None, -1),
            slice(None, None, 2),
            int(rng.integers(-m, m)),
        ]
        parts.append(choices[rng.integers(4)])
    if rng.random() < 0.2:
        parts.insert(rng.integers(len(parts) + 1), [..., None][rng.integers(2)])
    return tuple(parts)


VIEWS = [
    lambda a: a.T,
    lambda a: a.reshape(-1),
    lambda a: np.swapaxes(a, 0, -1),
    lambda a: np.expand_dims(a, 0),
    lambda a: np.flip(a, 0),
    lambda a: a[::-1],
    lambda a: a[1:],
    lambda a: a[..., 0],
]


def program(x, seed, steps=14):
    """Write and read at random; the seed decides what, so that every run does the same."""
    rng = np.random.default_rng(seed)
    fixed = np.random.default_rng(seed + 1).normal(size=(3, 4))
    arrays = [x * 1.0, np.zeros((3, 4)), np.zeros((2, 3, 2)), np.array(fixed)]
    total = 0.0
    for _ in range(steps):
        a = arrays[rng.integers(len(arrays))]
        other = arrays[rng.integers(len(arrays))]
        what, c = rng.integers(7), rng.normal()
        if what == 0 and np.ndim(a) and len(a) > 1:
            arrays.append(VIEWS[rng.integers(len(VIEWS))](a))
        elif what == 1:
            a *= 0.5
            a += np.resize(np.sin(other), a.shape)
        elif what == 2 and np.ndim(a) and len(a) > 1:
            a[1:] = a[:-1]
        elif np.ndim(a):
            i = drawn_index(rng, a.shape)
            shape = np.shape(a[i])
            if what == 3:
                a[i] = c
            elif what == 4:
                total += np.sum(np.sin(a[i]))
            elif what == 5:
                a[i] += c * np.resize(np.tanh(other), shape)
            else:
                a[i] = np.resize(np.cos(other), shape) if rng.random() < 0.8 else np.max(other)
    return total + sum(np.sum(np.sin(a * (k + 1))) for k, a in enumerate(arrays))


@pytest.mark.parametrize("seed", range(50))
def test_random_programs(seed):
    rng = np.random.default_rng(seed)
    x, v = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    value, g = mg.value_and_grad(mg.numpy_code(program))(x, seed)
    np.testing.assert_allclose(value, program(x, seed), rtol=1e-12)
    h = 1e-6
    wanted = (program(x + h * v, seed) - program(x - h * v, seed)) / (2 * h)
    np.testing.assert_allclose(np.sum(g * v), wanted, rtol=1e-6, atol=1e-7)


def test_the_programs_do_what_they_are_to_test():
    from minigrad.instrument import memory

    seen = set()
    for name in ("_masked", "_singly", "_in_slices", "_gathered"):
        way = getattr(memory.Memory, name)

        def noted(*args, way=way, name=name):
            t = way(*args)
            if t is not None:
                seen.add(name)
            return t

        setattr(memory.Memory, name, noted)
        try:
            for seed in range(30):
                mg.grad(mg.numpy_code(program))(np.ones((3, 4)), seed)
        finally:
            setattr(memory.Memory, name, way)
    assert seen == {"_masked", "_singly", "_in_slices", "_gathered"}


# ---- what is read back ---------------------------------------------------------------------------


@pytest.fixture
def x():
    return mg.tensor(np.arange(1.0, 7.0).reshape(2, 3), requires_grad=True)


def zeros(*shape):
    return wrapped(mg.tensor(np.zeros(shape)))


def test_what_was_written_whole_is_read_as_it_was(x):
    h, y = zeros(4, 2, 3), x * 2
    h[1] = y
    assert h[1].now() is y
    h[2] = h[1]
    assert h[2].now() is y
    assert h[-2].now() is y
    a = wrapped(x)
    assert a.now() is x


def test_rows_are_stacked_and_blocks_joined(x):
    h = zeros(3, 3)
    h[0], h[2] = x[0], x[1]
    assert h.now().primitive.name == "stack"
    h = zeros(2, 4)
    h[:, :3] = x
    assert h.now().primitive.name == "concatenate"
    a = wrapped(x * 1)
    a[a < 3] = 0
    assert a.now().primitive.name == "where"


def test_what_was_recorded_never_changes(x):
    a = wrapped(x * 1.0)
    y = a * 2
    recorded = y.now()
    a[0] = 7.0
    a *= 3
    assert (recorded.xs[0] == x.value).all()
    np.testing.assert_allclose(mg.grad(lambda x: np.sum(x * 2))(x.value), 2)
    y.now().sum().backward()
    np.testing.assert_allclose(x.grad, 2)


def test_reading_twice_costs_nothing(x):
    h = zeros(3, 3)
    h[:2] = x
    t = h.now()
    assert h.now() is t
    h[2] = 1.0
    assert h.now() is not t


def test_numbers_are_rebound_and_arrays_changed(x):
    a = b = wrapped(x.sum())
    a += 1
    assert (float(a.value), float(b.value)) == (22.0, 21.0)
    a = b = wrapped(x * 1)
    a += 1
    assert a is b


def test_as_numpy_says_no(x):
    a = wrapped(x)
    with pytest.raises(IndexError, match="out of bounds"):
        a[5] = 1.0
    with pytest.raises(ValueError, match="broadcast"):
        a[0] = np.ones(2)
    with pytest.raises(TypeError, match="unhashable"):
        hash(a)
    with pytest.raises(AttributeError, match="nothing_like_it"):
        a.nothing_like_it  # noqa: B018
    with pytest.raises(TypeError, match="by a way that is not followed"):
        mg.relu(a)  # not through a hook: never what memory holds at some time
    assert type(a) is Assignable
