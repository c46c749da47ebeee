"""What must hold for every shape, index and choice of axes: hypothesis draws them."""

import operator

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import minigrad as mg

often = settings(deadline=None, derandomize=True, max_examples=200)


def drawn(shape, seed=0, low=-1.5):
    return np.asarray(np.random.default_rng(seed).uniform(low, 1.5, shape))


@st.composite
def indexed(draw):
    """Give a shape, and an index of any kind that NumPy has for it."""
    shape = draw(hnp.array_shapes(max_dims=4, max_side=4))
    mask = hnp.arrays(bool, st.just(shape[: draw(st.integers(1, len(shape)))]))
    index = draw(
        st.one_of(
            hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True, max_dims=6),
            hnp.integer_array_indices(shape, result_shape=hnp.array_shapes(max_dims=2, max_side=6)),
            mask,
        )
    )
    return shape, index


@often
@given(indexed())
def test_reading(case):
    shape, index = case
    x, exact = drawn(shape), np.zeros(shape)
    w = drawn(x[index].shape, 1)
    np.add.at(exact, index, w)
    got, pullback = mg.vjp(lambda x: x[index], x)
    np.testing.assert_array_equal(got.data, x[index])
    np.testing.assert_allclose(pullback(w)[0].data, exact, rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(mg.jvp(lambda x: x[index], (x,), (exact,))[1].data, exact[index])


@often
@given(indexed(), st.booleans())
def test_writing(case, whole):
    shape, index = case
    x = drawn(shape)
    v = drawn(x[index].shape if whole else (), 1)
    written, added = x.copy(), x.copy()
    written[index] = v
    np.add.at(added, index, v)
    for f, exact in (
        (lambda x, v: mg.tensor(x).at[index].set(v), written),
        (lambda x, v: mg.tensor(x).at[index].add(v), added),
    ):
        np.testing.assert_allclose(f(x, v).data, exact, rtol=1e-12)
    for f in (
        lambda x, v: x.at[index].set(v),
        lambda x, v: x.at[index].add(v),
    ):
        u, dx, dv = drawn(shape, 2), drawn(shape, 3), drawn(v.shape, 4)
        gx, gv = mg.vjp(f, x, v)[1](u)
        dz = mg.jvp(f, (x, v), (dx, dv))[1]
        pulled = (gx.data * dx).sum() + (gv.data * dv).sum()
        assert pulled == pytest.approx((dz.data * u).sum(), rel=1e-10, abs=1e-12)


@often
@given(
    hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, min_side=0, max_side=4),
    st.sampled_from(["add", "sub", "mul", "truediv", "pow"]),
)
def test_broadcasting(shapes, name):
    op, (a, b) = getattr(operator, name), shapes.input_shapes
    x, y, u = drawn(a, 0, 0.5), drawn(b, 1, 0.5), drawn(shapes.result_shape, 2)
    z, pullback = mg.vjp(op, x, y)
    np.testing.assert_array_equal(z, op(x, y))
    wide = [np.broadcast_to(v, z.shape).copy() for v in (x, y)]
    for v, g, full in zip((x, y), pullback(u), mg.vjp(op, *wide)[1](u), strict=True):
        lead = z.ndim - v.ndim
        axes = tuple([k for k in range(z.ndim) if k < lead or v.shape[k - lead] != z.shape[k]])
        summed = full.sum(axis=axes).reshape(v.shape)
        np.testing.assert_allclose(g, summed, rtol=1e-12, atol=1e-14)


@st.composite
def axes_of(draw):
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, max_side=3))
    chosen = st.none()
    if shape:
        one = st.integers(-len(shape), len(shape) - 1)
        several = st.sets(st.integers(0, len(shape) - 1)).map(tuple)
        chosen = st.one_of(chosen, one, several)
    return shape, draw(chosen), draw(st.booleans())


@often
@given(axes_of(), st.sampled_from(["sum", "mean", "max", "min", "prod", "var", "std"]))
def test_reducing(case, name):
    shape, axis, keepdims = case
    x, f = drawn(shape), getattr(np, name)

    def reduced(x):
        return f(x, axis=axis, keepdims=keepdims)

    z, pullback = mg.vjp(reduced, x)
    np.testing.assert_array_equal(z.data, reduced(x))
    u, v = drawn(z.shape, 1), drawn(shape, 2)
    pushed = (mg.jvp(reduced, (x,), (v,))[1].data * u).sum()
    assert (pullback(u)[0].data * v).sum() == pytest.approx(pushed, rel=1e-10, abs=1e-12)
    h = 1e-6
    if name not in ("max", "min", "std"):  # these have corners, at which a step may end
        numeric = ((reduced(x + h * v) - reduced(x - h * v)) / (2 * h) * u).sum()
        assert pushed == pytest.approx(numeric, rel=1e-6, abs=1e-6)
