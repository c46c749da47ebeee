"""Every function of NumPy with a tensor that gradients flow through, wherever an argument can be.

Either the gradient is right, against central differences of NumPy's own function, or an error says
what to write. What gives an array is listed as constant, or asks a question of its argument; and
the derivative is 0 there, also by differences.
"""

import warnings

import numpy as np
import pytest
from numpy_calls import callables, calls, fresh, places
from numpy_coverage import classified

import minigrad as mg
from minigrad.core import tree
from minigrad.guard.errors import GraphWarning

CALLABLES = callables()

FLAGS = """
    assume_unique atol bias check_bounds compute_uv copy cov ddof deg density descending dx
    edgeitems endpoint equal_nan full full_matrices gdict hermitian include_initial increasing
    invert keepdims ldict method order overwrite_input range replace retstep return_counts
    return_index return_indices return_inverse returned rowvar rtol shuffle sorted sparse stable
    subok suppress_small tol upper wrap writeable
"""
"""Options whose truth is asked, or that decide about others only."""

COMPARED = [("gradient", "edge_order"), ("rot90", "k"), ("unwrap", "discont")]
"""Options that are only compared with numbers."""

QUESTIONS = ["isscalar", "iterable"]
"""Functions outside minigrad's registry that answer a question."""

SHUFFLED = ["random.shuffle", "Generator.shuffle"]
"""NumPy shuffles a list in another way than an array, and gives the tensors in it back."""

BARE = ["frombuffer", "fromstring", "isfortran"]
"""What looks for an attribute or a buffer that tensors have not; NumPy's own error says which."""

REMEDIES = [
    ".data", ".item()", "detach", "write", "minigrad has no argument", "minigrad takes",
]  # fmt: skip

ONE_TRIANGLE = ["linalg.cholesky", "linalg.eigh", "linalg.eigvalsh"]
"""NumPy reads half of the matrix; how the gradient is shared with the other half is a choice."""


def outputs(out, args):
    """The arrays and tensors that a call gives, or if it gives nothing what it wrote into."""
    parts = tree.flatten(args if out is None else tuple(out) if type(out) is list else out)[0]
    for part in parts:
        yield from (
            part.ravel() if isinstance(part, np.ndarray) and part.dtype == object else [part]
        )


def weighted(parts):
    """The sum of all real numbers, each with a weight of its own."""
    total = 0.0
    for k, y in enumerate(parts):
        if isinstance(y, mg.Tensor) or np.asarray(y).dtype.kind == "f":
            total = total + (y * np.random.default_rng(k).uniform(0.5, 1.5, np.shape(y))).sum()
    return total


def of_arrays(f, call):
    """NumPy's own function, as one of the array in a place."""

    def run(x):
        args, options = call(x)
        args = fresh(tuple(args))
        np.random.seed(0)
        return weighted(outputs(f(*args, **options), args))

    return run


def differences(run, x, h=1e-5):
    slopes = np.zeros(x.shape)
    for k in np.ndindex(x.shape):
        e = np.zeros(x.shape)
        e[k] = h
        slopes[k] = (run(np.asarray(x + e)) - run(np.asarray(x - e))) / (2 * h)
    return slopes


def of_tensors(f, call, x):
    """The gradient that minigrad gives, and whether a tensor came out."""
    came = []

    def run(t):
        args, options = call(t)
        args = tree.map(lambda a: a.copy() if isinstance(a, np.ndarray) else a, tuple(args))
        np.random.seed(0)
        found = [*outputs(f(*args, **options), args)]
        came.extend(y for y in found if isinstance(y, mg.Tensor))
        return weighted([y for y in found if isinstance(y, mg.Tensor)]) + 0 * t.sum()

    return mg.grad(run)(x), bool(came)


def told(error):
    return f"{error}" + (told(cause) if (cause := error.__cause__ or error.__context__) else "")


def worked(run, x):
    try:
        run(x)
    except Exception:
        return False
    return True


@pytest.fixture
def seeded():
    state = np.random.get_state()
    yield
    np.random.set_state(state)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("name", CALLABLES)
def test_a_live_tensor_in_every_place(name):
    f = CALLABLES[name]
    trials = [(args, *trial) for args in calls(name, f) for trial in places(f, args)]
    for args, place, call, x in trials:
        what, gradient, error = f"np.{name} {args}, {place}", None, None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", GraphWarning)
                gradient, is_tensor = of_tensors(f, call, x)
        except Exception as caught:
            error = caught
        if place.startswith("out"):  # into an array, or into a tensor
            assert error, what
        elif place.startswith("dtype"):  # a tensor has one
            continue
        elif error:
            if name not in BARE and worked(of_arrays(f, call), x):
                assert isinstance(error, (TypeError, ValueError, IndexError)), what
                assert any(word in told(error) for word in REMEDIES), f"{what}: {told(error)}"
        else:
            option = place.partition("=")[0]
            assert is_tensor or asks(name, f, option), f"{what}: an array"
            if name not in SHUFFLED and worked(of_arrays(f, call), x):
                slopes = differences(of_arrays(f, call), x)
                if name in ONE_TRIANGLE:
                    gradient, slopes = gradient + gradient.T, slopes + slopes.T
                np.testing.assert_allclose(gradient, slopes, 1e-4, 1e-4, err_msg=what)
    assert trials


def asks(name, f, option):
    """Whether a function or an option is listed as one that gives no tensor."""
    constant = (classified(name, f) or ("",))[0] == "constant" or name.startswith("greater.")
    asked = option in FLAGS.split() or name in QUESTIONS or (name, option) in COMPARED
    return constant or asked


def test_the_lists_name_what_exists():
    named = [*QUESTIONS, *SHUFFLED, *BARE, *ONE_TRIANGLE, *[name for name, _ in COMPARED]]
    assert [name for name in named if name not in CALLABLES] == []


def test_the_value_of_a_step_at_its_place():
    """`np.heaviside(0, h)` is h."""
    x, h = np.array([-1.0, 0.0, 2.0]), np.array(0.5)
    assert mg.grad(lambda h: np.heaviside(x, h).sum())(h) == 1
    assert mg.grad(lambda x: np.heaviside(x, h).sum())(x).tolist() == [0, 0, 0]
