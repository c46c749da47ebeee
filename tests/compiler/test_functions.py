"""mg.compile of functions in all of NumPy: compiled, each gives what it gives itself.

Results and gradients, at several draws, with indices, masks and orders that follow from numbers.
"""

import numpy as np
import pytest

import minigrad as mg
from minigrad.core.tensor import value_of
from minigrad.core.tree import flatten

RNG = np.random.default_rng(0)
W = mg.tensor(RNG.normal(size=(3, 3)), requires_grad=True)


def D(*shape):
    return np.asarray(RNG.normal(size=shape))


def i(n, *shape):
    return RNG.integers(0, n, shape)


CASES = [
    ("getitem traced index", lambda x, k: x[k], lambda: (D(5, 3), i(5, 4)), (0,)),
    ("2d index", lambda x, k, j: x[k, j], lambda: (D(5, 3), i(5, 4), i(3, 4)), (0,)),
    ("take", lambda x, k: np.take(x, k, axis=1), lambda: (D(5, 3), i(3, 4)), (0,)),
    (
        "take_along",
        lambda x: np.take_along_axis(x, np.argsort(x, axis=1), 1),
        lambda: (D(5, 3),),
        (0,),
    ),
    ("at add traced", lambda x, k, v: x.at[k].add(v), lambda: (D(5, 3), i(5, 2), D(2, 3)), (0, 2)),
    ("at mask set", lambda x: x.at[x > 0].set(0.5), lambda: (D(5, 3),), (0,)),
    ("at mult", lambda x, v: x.at[1].multiply(v), lambda: (D(5, 3), D(3)), (0, 1)),
    ("one hot", lambda x, k: (x * mg.one_hot(k, 3, float)).sum(), lambda: (D(5, 3), i(3, 5)), (0,)),
    ("embedding", lambda w, k: mg.embedding(w, k), lambda: (D(6, 3), i(6, 2, 2)), (0,)),
    (
        "interp",
        lambda x, xp, fp: np.interp(x, xp, fp),
        lambda: (D(5), np.sort(D(4)), D(4)),
        (0, 1, 2),
    ),
    ("quantile", lambda x, q: np.quantile(x, q, axis=0), lambda: (D(5, 3), RNG.random(2)), (0,)),
    ("median", lambda x: np.median(x, axis=1), lambda: (D(5, 4),), (0,)),
    ("searchsorted", lambda x, v: np.searchsorted(x, v), lambda: (np.sort(D(5)), D(3)), ()),
    ("digitize", lambda x, v: np.digitize(x, v), lambda: (D(5), np.sort(D(3))), ()),
    ("select", lambda x: np.select([x < -0.5, x < 0.5], [x * 2, x**2], 1.0), lambda: (D(5),), (0,)),
    ("clip int", lambda k: np.clip(k, 1, None), lambda: (i(5, 3),), ()),
    (
        "int math",
        lambda k: (k // 2, k % 2, k & 1, ~k, k << 1, k**2, -k, abs(k)),
        lambda: (i(5, 3) + 1,),
        (),
    ),
    ("astype int", lambda x: (x * 3).astype(int) + 1, lambda: (D(5),), ()),
    ("bool sum", lambda x: (x > 0).sum(), lambda: (D(5),), ()),
    ("bool mean", lambda x: (x > 0).mean(), lambda: (D(5),), ()),
    ("accuracy", lambda x, y: (x.argmax(axis=1) == y).mean(), lambda: (D(5, 3), i(3, 5)), ()),
    ("all any", lambda x: ((x > 0).all(axis=0), (x > 0).any()), lambda: (D(5, 2),), ()),
    ("count_nonzero", lambda x: np.count_nonzero(x > 0), lambda: (D(5, 2),), ()),
    ("allclose", lambda x: np.allclose(x, x + 1e-12), lambda: (D(5, 2),), ()),
    (
        "sign round floor",
        lambda x: np.sign(x) + np.round(x, 1) + np.floor(x) + np.ceil(x) + np.trunc(x) + np.rint(x),
        lambda: (D(5, 2),),
        (0,),
    ),
    ("heaviside", lambda x: np.heaviside(x, 0.5) * x, lambda: (D(5, 2),), (0,)),
    ("divmod", lambda x: divmod(x, 0.7), lambda: (D(5),), ()),
    (
        "isnan",
        lambda x: np.where(np.isnan(x), 0, x),
        lambda: (np.where(D(5) > 0, np.nan, 1.0),),
        (0,),
    ),
    ("nan_to_num", lambda x: np.nan_to_num(x), lambda: (np.where(D(5) > 0, np.nan, 1.0),), (0,)),
    (
        "nanmean",
        lambda x: np.nanmean(x, axis=0),
        lambda: (np.where(D(5, 3) > 0.5, np.nan, D(5, 3)),),
        (0,),
    ),
    ("cumprod", lambda x: np.cumprod(x), lambda: (np.round(D(5)),), (0,)),
    ("prod", lambda x: np.prod(x, axis=0), lambda: (np.round(D(5, 2)),), (0,)),
    ("norm", lambda x: np.linalg.norm(x, axis=0), lambda: (D(5, 2) * (RNG.random() > 0.3),), (0,)),
    ("svdvals", lambda x: np.linalg.svdvals(x).sum(), lambda: (D(4, 3),), (0,)),
    ("eye eigvalsh", lambda x: np.linalg.eigvalsh(x * np.eye(3)), lambda: (D(1, 1) + 3,), (0,)),
    (
        "det singular",
        lambda x: np.linalg.det(x),
        lambda: (D(3, 3) * (RNG.random((3, 1)) > 0.3),),
        (0,),
    ),
    ("slogdet", lambda x: np.linalg.slogdet(x), lambda: (D(3, 3),), (0,)),
    ("qr", lambda x: np.linalg.qr(x), lambda: (D(4, 3),), (0,)),
    ("lstsq", lambda a, b: np.linalg.lstsq(a, b)[0], lambda: (D(5, 3), D(5)), (0, 1)),
    ("matrix_rank", lambda a: np.linalg.matrix_rank(a), lambda: (D(5, 3),), ()),
    ("einsum", lambda a, b: np.einsum("ij,jk->ik", a, b), lambda: (D(5, 3), D(3, 2)), (0, 1)),
    (
        "conv",
        lambda x, w: mg.conv2d(x, w, padding=1),
        lambda: (D(1, 2, 5, 5), D(3, 2, 3, 3)),
        (0, 1),
    ),
    ("maxpool", lambda x: mg.max_pool2d(x, 2), lambda: (np.round(D(1, 2, 4, 4)),), (0,)),
    ("rfft", lambda x: mg.fft.rfft(x), lambda: (D(8),), (0,)),
    ("split", lambda x: np.split(x, 3), lambda: (D(6),), (0,)),
    (
        "unstack loop",
        lambda x: sum(np.tanh(r) * k for k, r in enumerate(x)),
        lambda: (D(6, 2),),
        (0,),
    ),
    ("roll traced", lambda x: np.roll(x, 1) + np.flip(x), lambda: (D(6, 2),), (0,)),
    (
        "grad grad",
        lambda x: mg.grad(lambda y: (mg.grad(lambda z: (np.sin(z) * z).sum())(y) ** 2).sum())(x),
        lambda: (D(3),),
        (),
    ),
    ("grad relu in", lambda x: mg.grad(lambda y: (mg.relu(y) * y).sum())(x), lambda: (D(5),), ()),
    (
        "vag captured",
        lambda x: mg.value_and_grad(lambda y: ((y @ W) ** 2).sum())(x),
        lambda: (D(2, 3),),
        (),
    ),
    (
        "vag live",
        lambda x: mg.value_and_grad(lambda y: ((y @ W) ** 2).sum())(x),
        lambda: (D(2, 3),),
        (0,),
    ),
    ("hessian", lambda x: mg.hessian(lambda y: (y**3).prod())(x), lambda: (D(3),), ()),
    ("jacobian", lambda x: mg.jacobian(lambda y: np.sort(y) * y)(x), lambda: (D(3),), ()),
    (
        "jvp relu",
        lambda x, v: mg.jvp(lambda y: mg.relu(y) * np.abs(y), (x,), (v,)),
        lambda: (D(5), D(5)),
        (),
    ),
    (
        "hvp",
        lambda x, v: mg.hvp(lambda y: (mg.relu(y) ** 3).sum(), (x,), (v,)),
        lambda: (D(5), D(5)),
        (),
    ),
    ("vjp", lambda x, g: mg.vjp(lambda y: np.maximum(y, 0) * y, x)[1](g), lambda: (D(5), D(5)), ()),
    (
        "linearize",
        lambda x, v: mg.linearize(lambda y: np.abs(y), x)[1](v),
        lambda: (D(5), D(5)),
        (),
    ),
    ("elementwise_grad", lambda x: mg.elementwise_grad(np.abs)(x), lambda: (D(5),), ()),
    ("stop_gradient", lambda x: mg.stop_gradient(x) * x, lambda: (D(5),), (0,)),
    ("flatten", lambda x: mg.flatten({"a": x, "b": x * 2})[0], lambda: (D(5),), ()),
    (
        "flatten live",
        lambda x: mg.flatten({"a": x, "b": x * 2})[1](mg.flatten({"a": x, "b": x * 2})[0] * 2)["a"],
        lambda: (D(5),),
        (0,),
    ),
    (
        "checkpoint",
        lambda x: mg.checkpoint(lambda y: np.tanh(y @ W) @ W)(x),
        lambda: (D(2, 3),),
        (0,),
    ),
    (
        "scan ckpt",
        lambda x: mg.scan(lambda c, y: (np.tanh(c + y), c), x[0], x, checkpoint=2),
        lambda: (D(6, 3),),
        (0,),
    ),
    ("no_grad inside", lambda x: x * mg.no_grad()(lambda: x * 2)(), lambda: (D(5),), (0,)),
    ("detach", lambda x: x.detach() * x, lambda: (D(5),), (0,)),
    ("mg.tensor of tensor", lambda x: mg.tensor(x.detach()) * x, lambda: (D(5),), (0,)),
    ("float32 mix", lambda x, y: x * 2.0 + y, lambda: (D(3).astype(np.float32), D(3)), (0,)),
    ("np scalar", lambda x, s: x * s, lambda: (D(3).astype(np.float32), np.float32(D())), (0,)),
    ("bool arg", lambda x, b: np.where(b, x, -x), lambda: (D(3), D(3) > 0), (0,)),
    ("same twice", lambda x, y: x * y, lambda: (lambda t: (t, t))(D(3)), (0,)),
    ("pad const", lambda x: np.pad(x, 1, constant_values=2.0), lambda: (D(3),), (0,)),
    ("pad tensor", lambda x, c: np.pad(x, 1, constant_values=c), lambda: (D(3), D()), (0, 1)),
    ("pad edge", lambda x: np.pad(x, 1, "edge"), lambda: (D(3),), (0,)),
    ("repeat tile", lambda x: np.repeat(x, 2) + np.tile(x, 2), lambda: (D(3),), (0,)),
    (
        "ptp average",
        lambda x, w: np.ptp(x) + np.average(x, weights=w),
        lambda: (D(3), abs(D(3)) + 0.1),
        (0, 1),
    ),
    ("logsumexp inf", lambda x: mg.logsumexp(x), lambda: (np.where(D(3) > 0, -np.inf, 1.0),), (0,)),
    ("softmax", lambda x: mg.log_softmax(x) + mg.softmax(x), lambda: (D(2, 3),), (0,)),
    ("std", lambda x: np.std(x) + np.var(x, ddof=1), lambda: (D(3) * (RNG.random() > 0.3),), (0,)),
    (
        "kron outer",
        lambda x, y: np.kron(x, y) + np.outer(x, y).ravel(),
        lambda: (D(3), D(2)),
        (0, 1),
    ),
    ("xp meshgrid", lambda x, y: np.meshgrid(x, y), lambda: (D(3), D(2)), (0, 1)),
    (
        "where tie",
        lambda x, y: np.maximum(x, y) + np.minimum(x, y) * 2 + np.fmax(x, y),
        lambda: (np.round(D(5)), np.round(D(5))),
        (0, 1),
    ),
    ("power 0", lambda x: x**2 + x**0 + np.abs(x) ** 0.5, lambda: (np.round(D(5)),), ()),
    ("cond", lambda x: np.linalg.cond(x), lambda: (D(3, 3),), (0,)),
    (
        "multi out unused",
        lambda x: np.linalg.svd(x, full_matrices=False)[1],
        lambda: (D(4, 3),),
        (0,),
    ),
    ("trapz gradient", lambda x: np.trapezoid(x) + np.gradient(x).sum(), lambda: (D(5),), (0,)),
    ("const out", lambda x: (x, 1, "a", None, True, 2.5), lambda: (D(5),), (0,)),
    ("alias out", lambda x: (x, x, x[0], x.T), lambda: (D(3, 2),), (0,)),
    (
        "iterate zip",
        lambda x, y: [a * b for a, b in zip(x, y, strict=True)],
        lambda: (D(3, 2), D(3)),
        (0, 1),
    ),
    ("np.stack list", lambda x: np.stack([x[0], x[1] * 2]), lambda: (D(3, 2),), (0,)),
    ("format", lambda x: x * 2 if f"{x[0]:.3f}" else x, lambda: (D(3),), ()),
    ("argpartition", lambda x: x[np.argpartition(x, 2)[2]], lambda: (D(5),), (0,)),
    ("unravel", lambda x: x.reshape(-1)[np.argmax(x)], lambda: (D(3, 2),), (0,)),
    ("tri", lambda x: np.tril(x) + np.triu(x, 1) * np.eye(3), lambda: (D(3, 3),), (0,)),
    ("0d", lambda x: np.sin(x) * x, lambda: (D(),), (0,)),
    ("empty", lambda x: x.sum(axis=0) + np.exp(x).sum(), lambda: (D(0, 3),), (0,)),
]


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:.*:minigrad.GraphWarning")
@pytest.mark.parametrize(("f", "draw", "live"), [pytest.param(*c[1:], id=c[0]) for c in CASES])
def test_function(f, draw, live):
    fast = mg.compile(f, "numpy")
    for _ in range(4):
        args = draw()
        found, grads = run(fast, args, live)
        expected, theirs = run(f, args, live)
        for y, z in zip(found, expected, strict=True):
            assert type(y) is type(z)
            same(value_of(y), value_of(z))
            assert getattr(y, "requires_grad", None) == getattr(z, "requires_grad", None)
        for g, h in zip(grads, theirs, strict=True):
            assert (g is None) == (h is None)
            if g is not None:
                same(g, h)
    assert "after the passes" in fast.explain(), "there is a program"


def run(f, args, live):
    """The leaves of the result, and the gradients of their sum by the arguments that are live."""
    given = [mg.tensor(x, requires_grad=True) if k in live else x for k, x in enumerate(args)]
    out = flatten(f(*given))[0]
    total = [y.sum() for y in out if isinstance(y, mg.Tensor) and y.requires_grad]
    if total:
        sum(total).backward()
    return out, [t.grad for t in given if isinstance(t, mg.Tensor)]


def same(a, b):
    if isinstance(a, (str, bool)) or a is None:
        assert a == b
        return
    a, b = np.asarray(a), np.asarray(b)
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)
