"""compare: what is flagged, what is not, and what the report says."""

import math
from collections import OrderedDict, namedtuple
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
from minigrad import bptt
from minigrad.check.compare import GradientMismatch, Report, Row, compare
from minigrad.check.rows import TOLERANCE
from minigrad.core import tree
from minigrad.core.tensor import Tensor
from tests.helpers import leaf

W = np.array([[1.0, -2.0, 3.0], [4.0, 5.0, -6.0]])


def only(manual, automatic, **options):
    (row,) = compare({"w": manual}, {"w": automatic}, **options).rows
    return row


def graded(grad, name="w"):
    """A leaf that requires gradients and has this one."""
    t = mg.tensor(np.zeros_like(grad), requires_grad=True, name=name)
    t.grad = grad
    return t


# ---- the numbers of a row ------------------------------------------------------------------------


def test_a_row_says_by_how_much_and_where():
    m = W.copy()
    m[1, 0] += 0.5
    m[0, 2] -= 0.25
    row = only(m, W)
    assert (row.name, row.shape, row.verdict) == ("w", (2, 3), "differs")
    assert (row.worst_at, row.manual, row.automatic) == ((1, 0), 4.5, 4.0)
    assert [k for k in row.worst_at if type(k) is not int] == []
    assert row.max_abs == 0.5
    assert row.max_rel == 0.5 / 6
    flat, exact = m.ravel(), W.ravel()
    expected = flat @ exact / np.linalg.norm(flat) / np.linalg.norm(exact)
    assert row.cosine == pytest.approx(expected, rel=1e-14)


def test_the_scale_is_the_larger_of_the_two_sides():
    assert only(10 * W, W).max_rel == only(W, 10 * W).max_rel == 0.9
    assert only(-W, W).max_rel == 2
    assert only(0 * W, W).max_rel == 1


def test_cosine_is_of_the_directions():
    assert only(3 * W, W).cosine == pytest.approx(1)
    assert only(-W, W).cosine == pytest.approx(-1)
    assert only(np.array([1.0, 0.0]), np.array([0.0, 1.0])).cosine == 0
    for tiny in (1e-300, 5e-324, 1e300):
        assert only(tiny * np.ones(4), W[:, :2].reshape(4) ** 2).cosine == pytest.approx(
            np.sum(W[:, :2] ** 2) / 2 / np.linalg.norm(W[:, :2].ravel() ** 2)
        )
    assert math.isnan(only(0 * W, W).cosine)


def test_cosine_is_at_most_one_after_rounding():
    rng = np.random.default_rng(0)
    vectors = [rng.standard_normal(7) for _ in range(100)]
    cosines = [only(k / 7 * v, v).cosine for k, v in enumerate(vectors, 1)]
    assert max(cosines) == 1
    assert min(cosines) == pytest.approx(1, rel=1e-15)


def test_numbers_too_large_to_subtract():
    row = only(np.array([1.7e308, 1.0]), np.array([-1.7e308, 1.0]))
    assert (row.verdict, row.max_abs, row.worst_at) == ("differs", math.inf, (0,))


def test_the_errors_that_numpy_is_told_to_raise_do_not_matter():
    m, a = np.array([1.7e308, 1e-300, 5e-324]), np.array([-1.7e308, 5e-324, 1e-300])
    with np.errstate(all="raise"):
        assert only(m, a).verdict == "differs"
        assert only(m[1:], a[1:]).verdict == "differs"
        assert only(m[2:], a[1:2]).ok


# ---- the tolerance -------------------------------------------------------------------------------


@pytest.mark.parametrize("magnitude", [1e-300, 1e-30, 1e-12, 1.0, 1e12, 1e300])
def test_float64_is_flagged_from_1e_6_at_any_magnitude(magnitude):
    w = magnitude * W
    assert only(w * (1 + 1e-6), w).verdict == "differs"
    assert only(w * (1 + 1e-12), w).verdict == "ok"


def test_a_small_entry_is_not_hidden_by_a_large_one():
    automatic = {"large": 1e6 * W, "small": 1e-12 * W}
    report = compare({"large": 1e6 * W, "small": 1e-12 * W * (1 + 1e-3)}, automatic)
    assert (report.worst.name, report.worst.verdict) == ("small", "differs")
    assert report.rows[1].ok


def test_a_small_element_of_a_large_entry_may_carry_the_rounding_of_its_terms():
    automatic = np.array([1.0, 1e-14])
    assert only(np.array([1.0, 3e-14]), automatic).ok
    assert only(np.array([1.0, 3e-9]), automatic).verdict == "differs"


def test_zeros_against_zeros_agree_and_against_anything_normal_do_not():
    zeros = np.zeros(3)
    row = only(zeros, zeros)
    assert (row.verdict, row.max_abs, row.max_rel) == ("ok", 0, 0)
    assert only(-zeros, zeros).ok
    assert only(zeros, np.array([0, 0, 1e-300])).verdict == "differs"
    assert only(np.array([0, 1e-300, 0]), zeros).worst_at == (1,)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_last_bits_of_subnormal_numbers_do_not_count(dtype):
    bit = np.finfo(dtype).smallest_subnormal
    w = np.array([20 * bit, 0], dtype)
    assert only(w + 6 * bit, w).ok
    assert only(np.array([6 * bit]), np.array([0], dtype)).ok
    assert only(w * dtype(2), w).verdict == "differs"


@pytest.mark.parametrize("narrow", [np.float16, np.float32])
def test_the_coarser_dtype_gives_the_tolerance(narrow):
    limit = TOLERANCE[np.dtype(narrow).itemsize]
    for m, a in ((W, W.astype(narrow)), (W.astype(narrow), W), (2 * [W.astype(narrow)])):
        assert only(m, a).rtol == limit
        assert only(m * narrow(1 + limit / 2), a).ok
        assert only(m * narrow(1 + 2 * limit), a).verdict == "differs"
    assert TOLERANCE[8] < only(W, W.astype(np.longdouble) * (1 + 1e-6)).max_rel
    assert only(W, W.astype(np.longdouble)).rtol == TOLERANCE[8]
    assert only(np.float16(0.1), np.float32(0.1)).rtol == TOLERANCE[2]


def test_float16_does_not_overflow_while_it_is_measured():
    row = only(np.array([6e4, 6e4], np.float16), np.array([-6e4, 6e4], np.float16))
    assert row.max_abs == 2 * float(np.float16(6e4))
    assert row.max_rel == 2
    assert row.cosine == 0


def test_rtol_overrides_the_tolerance():
    near = W * (1 + 1e-6)
    assert only(near, W, rtol=1e-5).ok
    assert only(W * (1 + 1e-11), W, rtol=1e-12).verdict == "differs"
    assert only(W, W, rtol=0).ok
    assert only(np.nextafter(W, 9), W, rtol=0).verdict == "differs"
    for wrong in (-1e-3, math.nan, math.inf):
        with pytest.raises(ValueError, match="rtol must be a finite number"):
            compare(W, W, rtol=wrong)


def lstm(dtype, seed, steps=200, hidden=64):
    """A layer with the gradients of sum(dhs * hs), its input and dhs."""
    rng = np.random.default_rng(seed)
    model = mg.nn.LSTM(8, hidden, rng=seed, dtype=dtype)
    x = rng.standard_normal((steps, 2, 8)).astype(dtype)
    dhs = rng.standard_normal((steps, 2, hidden)).astype(dtype)
    (model(x)[0] * dhs).sum().backward()
    return model, x, dhs


def by_hand(model, x, dhs, pieces=1):
    """The same gradients by BPTT; with more than one piece, carrying none from piece to piece."""
    p, state, grads = model.state_dict(), (None, None), dict.fromkeys(model.state_dict(), 0)
    for part, d in zip(np.split(x, pieces), np.split(dhs, pieces), strict=True):
        hs, c, cache = bptt.lstm_forward(part, *p.values(), *state)
        state = hs[-1], c
        of_piece = bptt.lstm_backward(d, cache)
        grads = {name: g + of_piece[name.removesuffix("_l0")] for name, g in grads.items()}
    return grads


@pytest.mark.parametrize(
    ("dtype", "margin"), [(np.float16, 3), (np.float32, 100), (np.float64, 1000)]
)
def test_correct_bptt_over_200_steps_is_far_from_the_tolerance(dtype, margin):
    for seed in (0, 1):
        model, x, dhs = lstm(dtype, seed)
        report = compare(by_hand(model, x, dhs), model)
        assert report.ok, report
        assert 0 < report.worst.max_rel < report.worst.rtol / margin


def test_bptt_in_float32_against_the_tape_in_float64():
    model, x, dhs = lstm(np.float32, 0)
    exact = mg.nn.LSTM(8, 64, dtype=np.float64)
    exact.load_state_dict(model.state_dict())
    (exact(x.astype(np.float64))[0] * dhs.astype(np.float64)).sum().backward()
    report = compare(by_hand(model, x, dhs), exact)
    assert report.ok, report
    assert {row.rtol for row in report.rows} == {TOLERANCE[4]}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_carry_left_out_is_flagged_in_every_parameter(dtype):
    model, x, dhs = lstm(dtype, 0)
    report = compare(by_hand(model, x, dhs, pieces=2), model)
    assert [row.verdict for row in report.rows] == ["differs"] * 4


# ---- verdicts ------------------------------------------------------------------------------------


def test_missing_and_extra_entries_are_rows():
    report = compare({"a": W, "c": W[0]}, {"a": W, "b": W.T})
    assert [(row.name, row.verdict, row.shape) for row in report.rows] == [
        ("b", "missing", (3, 2)),
        ("c", "extra", (3,)),
        ("a", "ok", (2, 3)),
    ]
    assert not report.ok
    assert [row.verdict for row in compare({}, {"a": W}).rows] == ["missing"]
    assert [row.verdict for row in compare({"a": W}, None).rows] == ["extra"]
    assert [row.verdict for row in compare({"a": None}, {"a": W}).rows] == ["missing"]


@pytest.mark.parametrize(
    ("shape", "hint"), [((3, 2), True), ((1, 2, 3), False), ((3,), False), ((), False)]
)
def test_shapes_are_not_broadcast(shape, hint):
    row = only(np.ones(shape), np.ones((2, 3)))
    assert (row.verdict, row.shape) == ("shape", (2, 3))
    assert row.note == f"got {shape}, expected (2, 3)" + ": transposed?" * hint
    assert row.worst_at is None
    assert math.isnan(row.max_abs)


def test_size_one_is_not_broadcast_either():
    assert only(np.ones((1,)), np.ones(())).verdict == "shape"
    assert only(1.0, np.ones((1, 1))).verdict == "shape"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("sides", ["manual", "automatic", "both"])
def test_what_is_not_finite_is_never_ok(dtype, value, sides):
    m, a = W.astype(dtype), W.astype(dtype)
    for side, w in (("manual", m), ("automatic", a)):
        if sides in (side, "both"):
            w[1, 1:] = value
    row = only(m, a)
    assert (row.verdict, row.ok, row.worst_at) == ("non-finite", False, (1, 1))
    assert row.note == "2 of 6 elements"
    np.testing.assert_equal([row.manual, row.automatic], [m[1, 1], a[1, 1]])
    assert math.isnan(row.max_abs)
    assert math.isnan(row.max_rel)


def test_a_tolerance_does_not_make_nan_ok():
    assert only(np.array(np.nan), np.array(np.nan), rtol=1e9).verdict == "non-finite"


def test_numbers_and_arrays_without_axes():
    row = only(2.0, np.float64(2.0))
    assert (row.verdict, row.shape, row.worst_at, row.manual) == ("ok", (), (), 2.0)
    assert only(2, np.array(3.0)).max_abs == 1
    assert only(2, mg.tensor(2.0)).ok


@pytest.mark.parametrize("shape", [(0,), (3, 0)])
def test_an_empty_entry_agrees_with_itself(shape):
    row = only(np.ones(shape), np.ones(shape, np.float32))
    assert (row.verdict, row.max_abs, row.max_rel, row.worst_at) == ("ok", 0, 0, None)
    assert only(np.ones(shape), np.ones((0, 3))).verdict == "shape"


# ---- notes ---------------------------------------------------------------------------------------


def test_rounding_of_a_gradient_that_is_zero_gets_a_note():
    small = {"w": W, "b": np.array([1e-17, -2e-17])}
    row = compare({"w": W, "b": np.array([-1e-17, 1e-17])}, small).worst
    assert (row.name, row.verdict) == ("b", "differs")
    assert "zero but for rounding" in row.note
    alone = compare({"b": np.array([-1e-17, 1e-17])}, {"b": small["b"]}).worst
    assert (alone.verdict, alone.note) == ("differs", "")


def test_an_infinite_entry_is_not_the_largest():
    report = compare({"w": 2 * W, "b": W}, {"w": W, "b": W * np.inf})
    notes = [("b", "6 of 6 elements"), ("w", "2 times the automatic")]
    assert [(row.name, row.note) for row in report.rows] == notes


def test_a_small_difference_in_float32_gets_a_note():
    w = W.astype(np.float32)
    assert only(w * np.float32(1.01), w).note == "rounding? repeat in float64"
    assert only(w * np.float32(2), w).note == "2 times the automatic"
    assert only(W * 1.01, W).note == "1.01 times the automatic"
    assert only(w * np.float32(1.01), w, rtol=1e-4).note == "1.01 times the automatic"


# ---- what is accepted ----------------------------------------------------------------------------


def test_a_leaf_that_requires_gradients_stands_for_its_grad():
    x = mg.tensor(W, requires_grad=True)
    (x * x).sum().backward()
    assert compare({"x": 2 * W}, {"x": x}).ok
    assert compare({"x": x}, {"x": 2 * W}).ok
    assert compare({"x": W}, {"x": x}).worst.verdict == "differs"


def test_any_other_tensor_stands_for_its_data():
    x = mg.tensor(W, requires_grad=True)
    assert compare([mg.grad(lambda x: (x * x).sum())(x)], [2 * W]).ok
    assert compare([mg.tensor(2 * W)], [Tensor(2 * W)]).ok
    result = 2 * x
    assert result.live
    assert compare([result], [2 * W]).ok


def test_modules_stand_for_the_gradients_of_their_parameters():
    model = mg.nn.Linear(3, 2, rng=0, dtype=np.float64)
    model(W).sum().backward()
    manual = {"weight": np.tile(W.sum(axis=0), (2, 1)), "bias": np.full(2, 2.0)}
    assert compare(manual, model).ok
    assert compare(model, manual).ok
    del manual["bias"]
    assert compare(manual, model).worst.verdict == "missing"


def test_anything_with_named_parameters_is_a_module():
    class Foreign:
        def named_parameters(self):
            yield "w", namedtuple("Parameter", "grad")(W)

    assert compare({"w": W}, Foreign()).ok


def test_entries_match_by_name_in_nested_containers():
    Pair = namedtuple("Pair", "w b")
    automatic = {"first": Pair(W, W[0]), "rest": [W.T, (1.0, None)]}
    manual = OrderedDict(rest=[W.T, [1.0]], first={"b": W[0], "w": W})
    report = compare(manual, automatic)
    assert report.ok
    assert [row.name for row in report.rows] == ["first.b", "first.w", "rest[0]", "rest[1][0]"]


def test_a_lone_array_has_a_name_too():
    assert compare(W, W).worst.name == "gradient"
    assert compare(graded(W), 2 * W).worst.manual == -6


def test_inputs_are_left_as_they_were():
    m, a = W.copy(), graded(W.copy())
    compare({"w": m}, {"w": a})
    np.testing.assert_array_equal(m, W)
    np.testing.assert_array_equal(a.grad, W)


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        (np.arange(3), "int64"),
        (np.int32(3), "int32"),
        (np.array([True]), "bool"),
        (True, "bool"),
        (1j, "complex"),
        (np.ones(2, complex), "complex128"),
        ("1.0", "str"),
        (np.array([W, None], object), "object"),
        ({1.0}, "set"),
        (mg.tensor([1, 2]), "int64"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("side", ["manual", "automatic"])
def test_what_is_not_real_and_floating_is_refused_by_name(wrong, kind, side):
    sides = {"manual": {"p": {"w": W}}, "automatic": {"p": {"w": W}}} | {side: {"p": {"w": wrong}}}
    with pytest.raises(TypeError, match=rf"{side} 'p\.w' is of type {kind};"):
        compare(**sides)


def test_a_gradient_that_is_not_there_yet_is_named():
    x = mg.tensor(W, requires_grad=True)
    with pytest.raises(ValueError, match=r"automatic 'x' has no \.grad yet: run backward"):
        compare({"x": W}, {"x": x})
    with pytest.raises(ValueError, match=r"manual 'weight' has no \.grad"):
        compare(mg.nn.Linear(2, 2), {"weight": W})


@pytest.mark.parametrize("empty", [{}, [], None, {"a": {}, "b": [None]}])
def test_nothing_to_compare(empty):
    with pytest.raises(ValueError, match="both sides are empty"):
        compare(empty, {})


def test_two_entries_of_one_name():
    with pytest.raises(ValueError, match=r"automatic 'a\.b' is there twice"):
        compare({}, {"a.b": W, "a": {"b": W}})


# ---- the report ----------------------------------------------------------------------------------


def all_verdicts():
    manual = {
        "fine": W, "equal": W, "slightly": W * (1 + 1e-9), "twice": 2 * W, "turned": W.T,
        "nan": W * np.nan, "only <here>": W,
    }  # fmt: skip
    names = ("fine", "equal", "slightly", "twice", "turned", "nan", "only there")
    return compare(manual, dict.fromkeys(names, W) | {"fine": W * (1 + 1e-14)})


def test_rows_come_worst_first():
    report = all_verdicts()
    assert [(row.name, row.verdict) for row in report.rows] == [
        ("nan", "non-finite"),
        ("only <here>", "extra"),
        ("only there", "missing"),
        ("turned", "shape"),
        ("twice", "differs"),
        ("slightly", "differs"),
        ("fine", "ok"),
        ("equal", "ok"),
    ]
    assert report.worst is report.rows[0]


def test_worst_is_measured_against_the_tolerance_of_the_dtype():
    w = W.astype(np.float32)
    report = compare({"a": w * np.float32(1.01), "b": W * (1 + 1e-6)}, {"a": w, "b": W})
    assert [row.name for row in report.rows] == ["b", "a"]


def test_rows_are_frozen():
    row = only(W, W)
    with pytest.raises(AttributeError):
        row.verdict = "ok"
    with pytest.raises(AttributeError):
        compare(W, W).rows = ()


def test_the_table():
    rows = (
        Row("lstm.weight", (4, 3), "differs", 0.125, 3.14159e-7, (2, 0), -0.421371, 0.5, 0.25, 1.0),
        Row("b", (), "ok", 3.1e-16, 2.2e-16, (), 2.5, 2.5, 0.999961, 1.0),
        Row("line\nbreak", (2,), "missing"),
    )  # fmt: skip
    text = """\
1 of 3 entries agree within 2.2e-16 of their largest element (tolerance 1); differs: 1; missing: 1
entry          shape   max abs  max rel  worst at     manual  automatic    cosine  verdict
lstm.weight    (4, 3)     0.12  3.1e-07  [2, 0]    -0.421371        0.5      0.25  differs
b              ()      3.1e-16  2.2e-16  -               2.5        2.5  0.999961  ok
'line\\nbreak'  (2,)          -        -  -                 -          -         -  missing"""
    assert str(Report(rows)) == text
    assert repr(Report(rows)) == text
    assert str(Report(rows)) == text  # printing leaves nothing behind


def test_the_two_values_have_enough_digits_to_differ():
    row = only(np.array([1 / 3]), np.array([1 / 3 * (1 + 1e-9)]))
    m, a = row.cells()[5:7]
    assert m != a
    assert float(m) == pytest.approx(1 / 3, rel=1e-8)
    assert only(np.array([1 / 3]), np.array([2 / 3])).cells()[5:7] == ["0.33333333", "0.66666667"]


def test_summary_of_tolerances():
    grads = [W, W.astype(np.float32), W.astype(np.float16)]
    assert compare(grads, grads).summary == (
        "3 of 3 entries agree within 0 of their largest element (tolerance 1e-10 or 0.001 or 0.05)"
    )
    assert compare([W], [2 * W]).summary == "0 of 1 entries agree; differs: 1"


def test_raising_shows_the_table():
    compare(W, W).raise_if_different()
    report = all_verdicts()
    with pytest.raises(GradientMismatch) as caught:
        report.raise_if_different()
    assert isinstance(caught.value, AssertionError)
    assert str(caught.value) == str(report)


def test_the_truth_of_a_report_is_whether_it_agrees():
    assert compare(W, W)
    assert not compare(W, 2 * W)


class Page(HTMLParser):
    """The cells of a table; a tag that is not closed, or is not of a table, fails."""

    def __init__(self, text):
        super().__init__()
        self.open, self.rows, self.attributes = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert tag in {"table", "caption", "thead", "tbody", "tr", "th", "td"}
        self.open.append(tag)
        self.attributes += attrs
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1] in ("td", "th"):
            self.rows[-1].append(data)


def test_the_html_table_has_the_same_cells_escaped():
    report = all_verdicts()
    page = Page(report._repr_html_())
    assert page.rows[1:] == [row.cells() for row in report.rows]
    assert page.rows[0][0] == "entry"
    hostile = "<script>alert('&')</script>\""
    page = Page(compare({hostile: W}, {hostile: W.T})._repr_html_())
    assert page.rows[1][0] == hostile


def test_the_html_table_takes_its_colours_from_the_page():
    page = Page(all_verdicts()._repr_html_())
    assert {name for name, _ in page.attributes} == {"style"}
    styles = [style for _, style in page.attributes]
    assert len(styles) == 6  # the rows that are not ok
    assert [style for style in styles if style != "background:rgba(220,60,60,.2)"] == []


# ---- properties ----------------------------------------------------------------------------------

DTYPES = st.sampled_from([np.float32, np.float64])
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
NAMES = st.text("abc<é \n", min_size=1, max_size=4)


@st.composite
def finite_arrays(draw):
    dtype = draw(DTYPES)
    width = np.finfo(dtype).bits
    numbers = st.floats(width=width, allow_nan=False, allow_infinity=False)
    return draw(hnp.arrays(dtype, draw(SHAPES), elements=numbers))


TREES = st.recursive(
    finite_arrays(),
    lambda parts: (
        st.lists(parts, min_size=1, max_size=3)
        | st.dictionaries(NAMES, parts, min_size=1, max_size=3)
    ),
    max_leaves=6,
)


@given(TREES)
def test_everything_agrees_with_itself(grads):
    report = compare(grads, grads)
    assert report.ok
    assert bool(report)
    assert sorted(row.name for row in report.rows) == sorted(
        name or "gradient" for name in tree.names(tree.flatten(grads)[1])
    )
    assert {row.max_abs for row in report.rows} == {0}
    for row in report.rows:
        assert math.isnan(row.cosine) or row.cosine == pytest.approx(1)


@given(st.dictionaries(NAMES, st.tuples(*2 * [finite_arrays() | st.none()]), min_size=1), st.data())
def test_the_order_of_the_entries_does_not_matter(entries, data):
    sides = [{name: pair[k] for name, pair in entries.items()} for k in (0, 1)]
    if all(value is None for side in sides for value in side.values()):
        sides[0]["one"] = 1.0
    shuffled = [dict(data.draw(st.permutations([*side.items()]))) for side in sides]
    assert str(compare(*shuffled)) == str(compare(*sides))


@st.composite
def perturbed(draw):
    """Generic gradients in float64 of any magnitude, and one element of one entry to change."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    grads = {}
    for name in draw(st.lists(NAMES, min_size=1, max_size=4, unique=True)):
        shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, max_side=4))
        spread = rng.uniform(1e-3, 1, shape) * rng.choice([-1, 1], shape)
        grads[name] = np.asarray(10.0 ** draw(st.integers(-300, 300)) * spread)
    name = draw(st.sampled_from(sorted(grads)))
    index = tuple(draw(st.integers(0, side - 1)) for side in grads[name].shape)
    return grads, name, index


@given(perturbed(), st.sampled_from([-1e-6, 1e-6, 1e-3]), st.booleans())
@settings(max_examples=200)
def test_one_element_off_by_a_millionth_is_named(case, relative, by_hand):
    grads, name, index = case
    other = {key: value.copy() for key, value in grads.items()}
    other[name][index] *= 1 + relative
    report = compare(other, grads) if by_hand else compare(grads, other)
    assert not report.ok
    assert [row.name for row in report.rows if not row.ok] == [name]
    assert (report.worst.name, report.worst.worst_at) == (name, index)
    values = (report.worst.manual, report.worst.automatic)
    assert values == (other[name][index], grads[name][index])[:: 1 if by_hand else -1]


@given(TREES, st.data())
def test_the_sides_are_treated_alike(grads, data):
    leaves, structure = tree.flatten(grads)
    others = tree.unflatten(structure, [data.draw(finite_arrays()) for _ in leaves])
    there, back = (
        {row.name: (row.verdict, repr(row.max_abs), repr(row.max_rel)) for row in report.rows}
        for report in (compare(grads, others), compare(others, grads))
    )
    assert there == back


def test_a_lone_array_is_not_compared_with_the_value_of_a_loss():
    """The gradient of w * w at 3 is 6; 9 is its value."""
    w = leaf(3.0, name="w")
    with pytest.raises(ValueError, match=r"give manual as a dict, \{name: gradient\}"):
        compare(np.array(9.0), w * w)
    with pytest.raises(ValueError, match=r"automatic\.data"):
        compare([np.array(9.0)], w * w)
    assert not compare({"w": np.array(9.0)}, w * w).ok
    assert compare(np.array(9.0), (w * w).data).ok


def test_a_backward_pass_may_return_lists_of_numbers():
    x = np.array([1.0, 2.0])
    for factor, right in ((2, True), (3, False)):
        backward = lambda p, by=factor: {"x": (by * p["x"]).tolist()}
        assert mg.compare_backward(lambda p: np.sum(p["x"] ** 2), backward, {"x": x}).ok == right
