"""Products, einsum, linear algebra, Fourier transforms: what the laws do not see."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.core.tensor import value_of
from minigrad.testing import check_grads
from tests.helpers import leaf

rng = np.random.default_rng(0)


def symmetric(n):
    a = rng.uniform(-1, 1, (n, n))
    return a + a.T


def same(a, b, tolerance=1e-12):
    np.testing.assert_allclose(value_of(a), value_of(b), rtol=tolerance, atol=tolerance)


# ---- einsum --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subscripts", "expected"),
    [
        ("ii->i", [[1, 0], [0, 1]]),
        ("ii->", [[1, 0], [0, 1]]),
        ("ii", [[1, 0], [0, 1]]),
        ("ij->", [[1, 1], [1, 1]]),
        ("ij->j", [[1, 1], [1, 1]]),
    ],
)
def test_einsum_of_diagonals_and_sums(subscripts, expected):
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert mg.einsum(subscripts, x).tolist() == np.einsum(subscripts, x).tolist()
    assert mg.grad(lambda x: mg.einsum(subscripts, x).sum())(x).tolist() == expected


LETTERS = "abc"


@st.composite
def sums(draw):
    """Subscripts and operands: letters repeat, axes of length 1 broadcast, ellipses appear."""
    sizes = {k: draw(st.integers(0, 3)) for k in LETTERS}
    hidden = draw(st.booleans())
    terms, shapes = [], []
    for _ in range(draw(st.integers(1, 3))):
        term = "".join(draw(st.lists(st.sampled_from(LETTERS), max_size=3)))
        single = {k for k in term if term.count(k) == 1 and draw(st.integers(0, 5)) == 0}
        shape = [1 if k in single else sizes[k] for k in term]
        if hidden:
            place, extra = draw(st.integers(0, len(term))), draw(st.sampled_from([[], [2], [1, 2]]))
            term = term[:place] + "..." + term[place:]
            shape = shape[:place] + extra + shape[place:]
        terms.append(term)
        shapes.append(shape)
    subscripts = ",".join(terms)
    if draw(st.booleans()):
        used = sorted(set(subscripts) & set(LETTERS))
        out = "".join(draw(st.permutations(used))[: draw(st.integers(0, len(used)))])
        subscripts += "->" + "..." * hidden + out
    return subscripts, [rng.uniform(-1, 1, s) for s in shapes]


@settings(max_examples=150, deadline=None)
@given(sums())
def test_einsum_of_any_subscripts(drawn):
    subscripts, xs = drawn
    z, pullback = mg.vjp(lambda *xs: mg.einsum(subscripts, *xs), *xs)
    wanted = np.einsum(subscripts, *xs)
    same(z, wanted)
    u = rng.uniform(-1, 1, wanted.shape)
    for x, gx in zip(xs, pullback(u), strict=True):
        assert gx.shape == x.shape  # <u, z> = <gx, x>, since z is linear in x
        same((gx * x).sum(), (u * wanted).sum())


def test_einsum_with_axes_by_number():
    a, b = rng.uniform(size=(2, 3)), rng.uniform(size=(4, 2, 3))
    for form in ([a, [0, 1], b, [2, 0, 1]], [a, [0, 1], b, [..., 0, 1], [..., 1]], [a, [1, 0]]):
        assert np.array_equal(mg.einsum(*form).data, np.einsum(*form))
    t = leaf(a)
    np.einsum(t, [0, 1], b, [2, 0, 1], [2]).sum().backward()
    same(t.grad, b.sum(axis=0))


def test_einsum_keeps_float32_beside_numbers():
    t = leaf([1, 2], np.float32)
    assert mg.einsum(",i->i", 2.0, t).dtype == np.float32
    assert np.einsum("i,i", t, np.ones(2)).dtype == np.float64


def test_einsum_says_what_is_wrong():
    t = leaf(np.ones((2, 3)))
    with pytest.raises(
        ValueError, match=r"einsum on shapes \(2, 3\), \(2, 3\), subscripts='ij,jk'"
    ):
        np.einsum("ij,jk", t, t)
    with pytest.raises(TypeError, match=r"einsum: 'out' would be"):
        np.einsum("ij", t, out=np.ones((3, 2)))


def test_large_sums_are_planned_and_differentiable():
    a, b = rng.uniform(size=(60, 40)), rng.uniform(size=(40, 50))
    da, db = mg.grad(lambda a, b: np.einsum("ij,jk->", a, b), argnums=(0, 1))(a, b)
    same(da, np.broadcast_to(b.sum(axis=1), a.shape))
    same(db, np.broadcast_to(a.sum(axis=0)[:, None], b.shape))


# ---- products ------------------------------------------------------------------------------------


def test_products_say_what_is_wrong():
    t = leaf(np.ones((2, 3)))
    with pytest.raises(
        ValueError, match=r"tensordot on shapes \(2, 3\), \(2, 3\): axes \[1\] and \[0\]"
    ):
        np.tensordot(t, t, 1)
    with pytest.raises(ValueError, match=r"cross on shapes \(2,\), \(2,\): .*append a 0"):
        np.cross(t[:, 0], t[:, 0])
    with pytest.raises(ValueError, match=r"diag: .*\(1, 2, 3\)"):
        np.diag(t[None])
    with pytest.raises(ValueError, match=r"matmul on shapes \(2, 3\), \(2, 3\)"):
        t @ t


def test_diag_builds_what_diagonal_takes():
    v = leaf([1, 2, 3])
    for k in (-2, 0, 1):
        assert np.array_equal(np.diag(v, k).data, np.diag(v.data, k))
        assert np.array_equal(np.diagonal(np.diag(v, k), k).data, v.data)
    assert leaf(np.ones((2, 3))).trace(2).item() == 1


@pytest.mark.parametrize("name", [n for n in np.linalg.__all__ if n not in {"eig", "eigvals"}])
def test_linalg_has_numpys_names(name):
    assert name == "LinAlgError" or callable(getattr(mg.linalg, name))


# ---- norms ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ord", [None, 1, 2, 3, 1.5, np.inf])
def test_norm_of_zeros_has_gradient_zero(ord):
    for x in (np.zeros(3), np.zeros(1)):
        assert mg.grad(lambda x: np.linalg.norm(x, ord))(x).tolist() == [0] * len(x)
    rows = mg.grad(lambda x: np.linalg.norm(x, ord, axis=1).sum())(np.array([[0.0, 0], [0, -2]]))
    assert rows.tolist() == [[0, 0], [0, -1]]


@pytest.mark.parametrize("ord", ["fro", 1, np.inf, 2, "nuc"])
def test_matrix_norms_of_zeros_have_gradient_zero(ord):
    assert mg.grad(lambda x: np.linalg.norm(x, ord))(np.zeros((2, 2))).tolist() == [[0, 0], [0, 0]]


def test_norm_curves_as_it_should():
    x = np.array([3.0, -4.0, 12.0])
    n = np.sqrt(x @ x)
    same(mg.hessian(mg.linalg.norm)(x), (np.eye(3) - np.outer(x, x) / n**2) / n)
    assert np.isnan(mg.hessian(mg.linalg.norm)(np.zeros(2))).all()


def test_a_tie_shares_the_gradient_of_the_largest():
    assert mg.grad(lambda x: np.linalg.norm(x, np.inf))(np.array([2.0, -2.0, 1.0])).tolist() == [
        0.5,
        -0.5,
        0,
    ]


def test_norm_takes_numpys_arguments():
    x = rng.uniform(-1, 1, (2, 3, 4))
    for options in (
        {}, {"axis": 1}, {"axis": (0, 2)}, {"axis": (-1, 0), "ord": 1}, {"axis": (0, 1), "ord": -2},
        {"keepdims": True}, {"axis": (2, 0), "ord": "nuc", "keepdims": True}, {"axis": 2, "ord": 0},
    ):  # fmt: skip
        same(np.linalg.norm(leaf(x), **options), np.linalg.norm(x, **options))
    with pytest.raises(ValueError, match=r"norm of shape \(2, 3, 4\): give one axis"):
        np.linalg.norm(leaf(x), 2)
    with pytest.raises(ValueError, match=r"matrix_norm: ord is one of .* not 3"):
        np.linalg.norm(leaf(x[0]), 3)


# ---- inverses, determinants, solutions -----------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "f"),
    [
        ("inv", np.linalg.inv),
        ("solve", lambda t: np.linalg.solve(t, np.ones(2))),
        ("cholesky", np.linalg.cholesky),
        ("slogdet", lambda t: np.linalg.slogdet(t).logabsdet.backward()),  # its value is -inf
    ],
)
def test_singular_matrices_are_named(name, f):
    with pytest.raises(np.linalg.LinAlgError, match=rf"{name} o[nf] shapes? \(2, 2\)"):
        f(leaf(np.zeros((2, 2))))


def test_det_is_a_polynomial_also_where_it_vanishes():
    same(mg.grad(np.linalg.det)(np.array([[1.0, 2], [2, 4]])), [[4, -2], [-2, 1]])
    assert mg.grad(np.linalg.det)(np.zeros((1, 1))).tolist() == [[1]]
    a = np.array([[1.0, 2, 3], [0, 0, 0], [4, 5, 6]])
    check_grads(np.linalg.det, (a,), order=3)
    stack = np.stack([a, np.eye(3)])
    same(mg.grad(lambda a: np.linalg.det(a).sum())(stack)[1], np.eye(3))


@pytest.mark.parametrize("rank", [8, 7, 6, 5, 0])
def test_cofactors_of_singular_matrices_are_signed_minors(rank):
    """And their change: of rank n - 1 one direction is left, of rank n - 3 and less nothing."""
    a = rng.uniform(-1, 1, (8, rank)) @ rng.uniform(-1, 1, (rank, 8)) if rank < 8 else np.eye(8)
    a[:, 0] = 0 if rank < 8 else a[:, 0]  # so that the determinant is exactly 0

    def minors(a):
        rows = [np.delete(a, i, 0) for i in range(8)]
        parts = [[np.linalg.det(np.delete(r, j, 1)) for j in range(8)] for r in rows]
        return parts * (-1.0) ** np.add.outer(range(8), range(8))

    same(mg.grad(np.linalg.det)(a), minors(a), 1e-11)
    v = rng.uniform(-1, 1, (8, 8))
    along = (minors(a + 1e-4 * v) - minors(a - 1e-4 * v)) / 2e-4
    same(mg.hvp(np.linalg.det, (a,), (v,))[0], along, 1e-6)
    same(mg.grad(lambda a: (mg.grad(np.linalg.det)(a) * v).sum())(a), along, 1e-6)


@pytest.mark.parametrize("name", ["cholesky", "eigh", "eigvalsh"])
def test_matrices_that_are_not_symmetric_are_refused(name):
    """NumPy reads one triangle: the symmetric part would silently be another matrix."""
    f = getattr(np.linalg, name)
    a = np.array([[4.0, 1, 2], [1, 5, 1], [2, 1, 6]])
    for i, off in (((0, 2), 9), ((2, 1), 0.9), ((0, 1), 1.001)):
        b = np.stack([a, a])
        b[1][i] = off
        for x in (b[1], b, b.mT):
            with pytest.raises(np.linalg.LinAlgError, match=rf"{name}.*not symmetric.*np\.tril\("):
                f(leaf(x))
    read = lambda a: np.tril(a) + np.tril(a, -1).mT  # what the error says to write
    wanted, got = f(b[1]), f(read(leaf(b[1])))
    for w, g in zip(wanted, got, strict=True) if name == "eigh" else [(wanted, got)]:
        same(abs(value_of(g)), abs(w))
    nearly = a + 1e-9 * rng.uniform(-1, 1, (3, 3))
    g = value_of(mg.grad(lambda a: np.linalg.cholesky(a).sum())(nearly))
    assert np.array_equal(g, g.T)
    check_grads(mg.linalg.eigvalsh, (a,))
    check_grads(lambda a: mg.linalg.cholesky(a, upper=True), (a,))
    f(leaf(a.astype(np.float32) * (1 + 1e-6 * rng.uniform(-1, 1, (3, 3)).astype(np.float32))))
    with pytest.raises(ValueError, match="UPLO"):
        np.linalg.eigh(leaf(a), UPLO="X")


def test_what_is_told_that_a_matrix_is_symmetric():
    """`hermitian=True`: NumPy's values for a symmetric matrix, and a symmetric gradient."""
    a = symmetric(4)
    b = a + [[0, 1.0, 0, 0]] + 0 * a
    for f in (
        lambda a: np.linalg.svd(a, hermitian=True)[1],
        lambda a: np.linalg.svd(a, compute_uv=False, hermitian=True),
        lambda a: (lambda u, s, vh: (u * s) @ vh)(*np.linalg.svd(a, True, True, True)),
        lambda a: np.linalg.pinv(a, hermitian=True),
        lambda a: np.linalg.pinv(a, None, True),
        lambda a: np.linalg.pinv(a, hermitian=True, rtol=1e-12),
    ):
        same(f(leaf(a)), f(a), 1e-10)
        g = mg.grad(lambda a: (f(a) ** 3).sum())(a)  # noqa: B023
        same(g, g.T)
        with pytest.raises(np.linalg.LinAlgError, match="not symmetric"):
            f(leaf(b))
    assert np.linalg.matrix_rank(leaf(b), hermitian=True) == np.linalg.matrix_rank(
        b, hermitian=True
    )
    same(
        mg.grad(lambda a: np.linalg.pinv(a, hermitian=True).sum())(a),
        mg.grad(lambda a: np.linalg.inv(a).sum())(a),
        1e-9,
    )


def test_values_that_repeat_but_for_rounding_are_repeated():
    """Their vectors, and so second derivatives, are not determined: NaN, not rounding / 1e-16."""
    q = np.linalg.qr(rng.uniform(-1, 1, (3, 3))).Q
    a = (q * [2.0, 2.0, 1.0]) @ q.T
    a = (a + a.T) / 2
    for f in (
        lambda a: (np.linalg.eigvalsh(a) ** 2).sum(),
        lambda a: (np.linalg.svdvals(a) ** 2).sum(),
        lambda a: np.linalg.norm(a, 2) ** 2,
    ):
        assert np.isnan(mg.hessian(f)(a)).any()
    same(mg.grad(lambda a: (np.linalg.eigvalsh(a) ** 2).sum())(a), 2 * a)
    assert np.isnan(mg.grad(lambda a: np.linalg.eigh(a)[1][0, 0])(a)).any()
    apart = (q * [2.0, 2.001, 1.0]) @ q.T
    apart = (apart + apart.T) / 2
    h = mg.hessian(lambda a: (np.linalg.eigvalsh(a) ** 2).sum())(apart).reshape(9, 9)
    same(h, [np.ravel(e + e.T) for e in np.eye(9).reshape(9, 3, 3)], 1e-9)


def test_a_singular_value_that_is_rounding_is_a_corner():
    """The nuclear norm has one at every singular matrix: the gradient leaves the value out."""
    a = np.array([[1.0, 2], [2, 4]])
    same(mg.grad(lambda a: np.linalg.norm(a, "nuc"))(a), a / 5)
    assert np.isnan(mg.hessian(lambda a: np.linalg.norm(a, "nuc") ** 2)(a)).all()
    assert np.linalg.cond(leaf(a)).item() > 1e15


def test_second_derivative_of_log_det():
    a = rng.uniform(-1, 1, (3, 3)) + 4 * np.eye(3)
    h = mg.hessian(lambda a: np.linalg.slogdet(a).logabsdet)(a)
    b = np.linalg.inv(a)
    same(h, -np.einsum("li,jk->ijkl", b, b))  # d inv(A)' = -(inv(A) dA inv(A))'


def test_solve_of_vectors_matrices_and_stacks():
    a = rng.uniform(-1, 1, (4, 3, 3)) + 4 * np.eye(3)
    for b in (np.ones(3), np.ones((3, 2)), np.ones((4, 3, 1)), np.ones((2, 1, 3, 2))):
        same(np.linalg.solve(leaf(a), b), np.linalg.solve(a, b))
        check_grads(np.linalg.solve, (a, b), order=1)


@pytest.mark.parametrize("shape", [(5, 2), (2, 5), (3, 3)])
@pytest.mark.parametrize("columns", [(), (2,)])
def test_lstsq_is_numpys(shape, columns):
    a, b = rng.uniform(-1, 1, shape), rng.uniform(-1, 1, (shape[0], *columns))
    for ours, theirs in zip(np.linalg.lstsq(leaf(a), b), np.linalg.lstsq(a, b), strict=True):
        assert ours.shape == np.shape(theirs)
        same(ours, theirs)


def test_pinv_and_lstsq_of_lower_rank():
    a = np.outer([1.0, 2, 3], [1.0, 1.0])  # rank 1, and so along this path
    same(mg.jvp(lambda s: np.linalg.pinv(a * s), (2.0,), (1.0,))[1], -np.linalg.pinv(a) / 4, 1e-6)
    _, residuals, rank, _ = np.linalg.lstsq(leaf(a), np.ones(3))
    assert (residuals.shape, rank.item()) == ((0,), 1)


def test_matrix_powers():
    a = rng.uniform(-1, 1, (2, 3, 3)) + 3 * np.eye(3)
    for n in (-2, 0, 1, 7):
        same(np.linalg.matrix_power(leaf(a), n), np.linalg.matrix_power(a, n), 1e-10)


# ---- factorisations ------------------------------------------------------------------------------


def test_results_have_numpys_kinds():
    a = np.diag([3.0, 2.0, 1.0])
    for name in ("eigh", "qr", "slogdet"):
        ours, theirs = (getattr(np.linalg, name)(x) for x in (leaf(a), a))
        assert type(ours) is type(theirs)
        assert [t for t in ours if not isinstance(t, mg.Tensor)] == []
    assert np.linalg.svd(leaf(a[:, :2]), full_matrices=False).S.tolist() == [3, 2]
    assert np.linalg.qr(leaf(a[:2])).R.shape == (2, 3)


@pytest.mark.parametrize(
    "f",
    [
        lambda a: (lambda q, r: q @ r)(*np.linalg.qr(a)),
        lambda a: (lambda u, s, vh: (u * s) @ vh)(*np.linalg.svd(a, full_matrices=False)),
    ],
)
@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (2, 4)])
def test_factors_multiply_to_the_matrix(f, shape):
    a = rng.uniform(-1, 1, shape)
    same(f(leaf(a)), a)
    same(mg.jacobian(f)(a), np.eye(a.size).reshape(shape + shape), 1e-10)


def test_symmetric_factors_multiply_to_the_matrix():
    a = part = symmetric(3) + 6 * np.eye(3)
    wanted = mg.jacobian(lambda a: (a + a.T) / 2)(a)
    for f in (
        lambda a: (lambda c: c @ c.T)(np.linalg.cholesky(a)),
        lambda a: (lambda c: c.T @ c)(np.linalg.cholesky(a, upper=True)),
        lambda a: (lambda w, v: (v * w) @ v.T)(*np.linalg.eigh(a)),
    ):
        same(f(leaf(a)), part)
        same(mg.jacobian(f)(a), wanted, 1e-10)
    g = mg.grad(lambda a: np.linalg.cholesky(a)[1, 0])(part)
    assert np.array_equal(g, g.T)


def test_functions_of_factors_that_have_a_name():
    a = symmetric(3) + 6 * np.eye(3)
    by_factor = mg.grad(lambda a: 2 * np.log(np.diagonal(np.linalg.cholesky(a))).sum())(a)
    by_values = mg.grad(lambda a: np.log(np.linalg.eigvalsh(a)).sum())(a)
    for g in (by_factor, by_values, mg.grad(lambda a: np.linalg.slogdet(a)[1])(a)):
        same(g, np.linalg.inv(a))


def test_what_is_not_determined_is_refused():
    t = leaf(np.ones((3, 2)))
    with pytest.raises(ValueError, match=r"qr of shape \(3, 2\), mode='complete'"):
        np.linalg.qr(t, "complete")
    with pytest.raises(ValueError, match=r"svd of shape \(3, 2\): pass full_matrices=False"):
        np.linalg.svd(t)
    for f in (np.linalg.eig, np.linalg.eigvals):
        with pytest.raises(TypeError, match=rf"numpy.linalg.{f.__name__} .*minigrad.linalg.eigh"):
            f(t)


def test_repeated_eigenvalues():
    eye = np.eye(3)
    same(mg.grad(lambda a: np.linalg.eigvalsh(a).sum())(eye), eye)
    same(mg.jvp(lambda a: np.linalg.eigvalsh(a).sum(), (eye,), (eye,))[1], 3)
    same(mg.grad(lambda a: np.linalg.norm(a, "nuc"))(2 * eye), eye)
    same(mg.grad(lambda a: np.linalg.norm(a, 2))(eye), eye / 3)
    for f in (lambda a: np.linalg.eigh(a)[1], lambda a: np.linalg.svd(a)[0]):
        assert np.isnan(mg.grad(lambda a, f=f: (f(a) ** 3).sum())(eye)).any()
    second = mg.hvp(lambda a: (np.linalg.eigvalsh(a) ** 2).sum(), (eye,), (symmetric(3),))[0]
    assert np.isnan(second).any()  # not determined by the vectors: NaN, not a wrong number


def test_an_eigenvector_cotangent_of_zero_still_counts():
    """At V = V0 the loss |V - V0|^2 has no slope, but it curves."""
    a = symmetric(3) + np.diag([0.0, 4.0, 9.0])
    v0 = np.linalg.eigh(a)[1]
    loss = lambda a: ((np.linalg.eigh(a)[1] - v0) ** 2).sum()
    direction = symmetric(3)
    assert not mg.grad(loss)(a).any()
    dv = mg.jvp(lambda a: np.linalg.eigh(a)[1], (a,), (direction,))[1]
    same((mg.hvp(loss, (a,), (direction,))[0] * direction).sum(), 2 * (dv**2).sum(), 1e-10)
    second = mg.grad(lambda s: mg.grad(lambda s: loss(a + s * direction))(s))(0.0)
    same(second, 2 * (dv**2).sum(), 1e-6)


# ---- Fourier transforms --------------------------------------------------------------------------


@pytest.mark.parametrize("norm", [None, "backward", "ortho", "forward"])
@pytest.mark.parametrize(("n", "axis"), [(None, -1), (4, 0), (7, 1)])
def test_spectra_are_numpys(n, axis, norm):
    x = rng.uniform(-1, 1, (5, 6))
    z, wanted = mg.fft.rfft(leaf(x), n, axis, norm), np.fft.rfft(x, n, axis, norm)
    same(z.real, wanted.real)
    same(z.imag, wanted.imag)
    for back in (None, 3, 6):
        same(mg.fft.irfft(*z, back, axis, norm), np.fft.irfft(wanted, back, axis, norm))


@pytest.mark.parametrize("n", [6, 7])
def test_the_energy_of_a_spectrum(n):
    x = rng.uniform(-1, 1, n)

    def energy(x):
        real, imag = mg.fft.rfft(x, norm="ortho")
        power = real**2 + imag**2
        return 2 * power.sum() - power[0] - (power[-1] if n % 2 == 0 else 0)

    same(energy(leaf(x)), (x**2).sum())  # Parseval
    same(mg.grad(energy)(x), 2 * x)
    same(mg.hessian(energy)(x), 2 * np.eye(n))


def test_complex_functions_are_refused_by_name():
    t = leaf(np.ones(4))
    for name in np.fft.__all__:
        f = getattr(np.fft, name)
        if name in ("fftshift", "ifftshift"):
            same(f(t), f(t.data))
        elif "freq" not in name:
            with pytest.raises(TypeError, match=rf"numpy.fft.{name} .*minigrad.fft.rfft\(signal"):
                f(t)


# ---- singular matrices ---------------------------------------------------------------------------


@pytest.mark.parametrize("p", [None, 2, -2])
def test_the_condition_of_zeros_is_numpys(p):
    for a in (np.zeros((2, 2)), np.stack([np.eye(2), np.zeros((2, 2))])):
        np.testing.assert_array_equal(np.linalg.cond(leaf(a), p).data, np.linalg.cond(a, p))


def test_qr_of_dependent_columns_has_no_derivative():
    a = np.ones((3, 2)) * [1, 0]
    assert np.linalg.qr(leaf(a)).R.shape == (2, 2)
    for derive in (
        lambda: mg.grad(lambda a: np.linalg.qr(a).R.sum())(a),
        lambda: mg.jvp(lambda a: np.linalg.qr(a).R, (a,), (a,)),
    ):
        with pytest.raises(np.linalg.LinAlgError, match=r"qr with R of shape \(2, 2\): columns"):
            derive()


def test_a_singular_value_of_zero_has_gradient_zero():
    for f in (lambda a: np.linalg.svdvals(a).sum(), lambda a: np.linalg.norm(a, "nuc")):
        same(mg.grad(f)(np.diag([2.0, 0.0])), np.diag([1.0, 0.0]))
