"""What becomes of every public function of NumPy when it gets a Tensor.

Each is differentiable, or gives arrays that are constant to the graph: these are read off
minigrad's registry. Or it is refused, or does not take tensors at all: these are listed here, so
that a new function of NumPy is in no list until somebody decides. As a module this writes the page:

    python -m tests.ops.numpy_coverage > COVERAGE.md
"""

import numpy as np

import minigrad as mg
from minigrad.core.primitive import Primitive
from minigrad.core.tensor import OPS
from minigrad.guard.leaving import INSTEAD
from minigrad.testing import operations

NAMESPACES = {
    "": np, "linalg.": np.linalg, "fft.": np.fft, "random.": np.random,
    "lib.stride_tricks.": np.lib.stride_tricks,
}  # fmt: skip

CONVERTING = """
    array asanyarray asarray asarray_chkfinite ascontiguousarray asfortranarray asmatrix bmat full
    lib.stride_tricks.as_strided random.beta random.binomial random.chisquare random.choice
    random.dirichlet random.exponential random.f random.gamma random.geometric random.gumbel
    random.hypergeometric random.laplace random.logistic random.lognormal random.logseries
    random.multinomial random.multivariate_normal random.negative_binomial
    random.noncentral_chisquare random.noncentral_f random.normal random.pareto random.permutation
    random.poisson random.power random.rayleigh random.standard_gamma random.standard_t
    random.triangular random.uniform random.vonmises random.wald random.weibull random.zipf require
"""
"""Functions that NumPy does not hand to us: they ask a tensor for an array."""

REFUSED = {}
"""What to write instead of a function that is refused, as its error says, and which are."""
for _name, _remedy in INSTEAD.items():
    if _name not in CONVERTING.split():
        REFUSED[_remedy] = f"{REFUSED.get(_remedy, '')} {_name}".strip()

NOT_APPLICABLE = {
    "make arrays from sizes, text, buffers or files; `mg.tensor` makes tensors of them": """
        arange bartlett blackman diag_indices empty eye fft.fftfreq fft.rfftfreq from_dlpack
        frombuffer fromfile fromfunction fromiter fromregex fromstring genfromtxt hamming
        hanning identity indices kaiser load loadtxt mask_indices ones random.bytes random.rand
        random.randint random.randn random.random random.random_integers random.random_sample
        random.ranf random.sample random.standard_cauchy random.standard_exponential
        random.standard_normal tri tril_indices triu_indices zeros""",
    "take shapes, dtypes or numbers": """
        base_repr binary_repr broadcast_shapes format_float_positional format_float_scientific
        isdtype isfortran isscalar issubdtype iterable mintypecode promote_types typename""",
    "take dates": """
        busday_count busday_offset datetime_as_string datetime_data is_busday isnat""",
    "change or show NumPy's state, change lists, or wrap functions and buffers": """
        fft.test frompyfunc get_include get_printoptions getbufsize geterr geterrcall info
        linalg.test nested_iters printoptions random.default_rng random.get_bit_generator
        random.get_state random.seed random.set_bit_generator random.set_state random.shuffle
        random.test set_printoptions setbufsize seterr seterrcall
        show_config show_runtime test""",
    "are deprecated or gone": "in1d row_stack trapz",
}
"""Why a function does not take tensors, and which."""

KINDS = ("differentiable", "constant", "refused", "converting", "not applicable")


def functions():
    """Give every public function of NumPy by name; types are not functions."""
    found = {}
    for prefix, namespace in NAMESPACES.items():
        for name in dir(namespace):
            f = getattr(namespace, name)
            if callable(f) and not isinstance(f, type) and not name.startswith("_"):
                found[prefix + name] = f
    return found


def classified(name, f):
    """Say which kind a function is of, and why; None if nobody decided."""
    op = OPS.get(f)
    if op is not None:
        if getattr(op, "__annotations__", {}).get("return") == "NoReturn":
            return "refused", _said(op)
        constant = not isinstance(op, Primitive) and "constant to the graph" in (op.__doc__ or "")
        return ("constant" if constant else "differentiable"), ""
    if name in CONVERTING.split():
        return "converting", ""
    for kind, groups in (("refused", REFUSED), ("not applicable", NOT_APPLICABLE)):
        for why, names in groups.items():
            if name in names.split():
                return kind, why
    return None


def methods():
    """Name the methods of ufuncs that are differentiable, as `add.reduce`."""
    found = [f for f in OPS if isinstance(getattr(f, "__self__", None), np.ufunc)]
    found = [f for f in found if not hasattr(OPS[f], "is_constant")]
    return [f"{f.__self__.__name__}.{f.__name__}" for f in found]


def _said(refused):
    """What an operation that always raises says to write instead."""
    try:
        refused()
    except TypeError as error:
        return str(error).partition(": ")[2].partition(", or take")[0]


def page():
    """Write the page of the repository."""
    rows = {kind: {} for kind in KINDS}
    for name, f in functions().items():
        kind, why = classified(name, f)
        rows[kind].setdefault(why, []).append(name)
    counts = {kind: sum(map(len, groups.values())) for kind, groups in rows.items()}
    own = [
        name for name, op in operations().items() if name in mg.__dict__ and name not in functions()
    ]
    version = ".".join(np.__version__.split(".")[:2])

    def listed(names):
        return ", ".join(f"`{name}`" for name in sorted(names))

    lines = [
        "# NumPy on tensors",
        "",
        f"What becomes of the {sum(counts.values())} public functions of `numpy`, `numpy.linalg`, "
        f"`numpy.fft`, `numpy.random` and `numpy.lib.stride_tricks` {version} when they get a "
        "Tensor.",
        "Written by `python -m tests.ops.numpy_coverage > COVERAGE.md`; `tests/ops/test_numpy.py` "
        "calls each and keeps this page current, and `tests/ops/test_numpy_live.py` holds each to "
        "its word in every argument.",
        "",
        f"## Differentiable ({counts['differentiable']})",
        "",
        "`np.f(t)` is a Tensor equal to the result of the array, with derivatives of any order in "
        "both modes.",
        "`out=`, `where=`, `dtype=` and options that minigrad has not are refused with a "
        "TypeError.",
        "",
        listed(rows["differentiable"][""]),
        "",
        "Not in NumPy, as `mg.f(t)`: " + listed(own) + ".",
        "",
        f"Methods of ufuncs: {listed(methods())}; and `outer` of every function of two arguments.",
        "",
        f"## Constant ({counts['constant']})",
        "",
        "`np.f(t)` is what it is for the data: arrays, outside the graph.",
        "",
        listed(rows["constant"][""]),
        "",
        f"## Refused ({counts['refused']})",
        "",
        "`np.f(t)` raises a TypeError that names it. On the data it works: `np.f(t.data)`.",
        "",
        "| functions | instead |",
        "|---|---|",
        *[f"| {listed(names)} | {why} |" for why, names in rows["refused"].items()],
        "",
        f"## Made into arrays ({counts['converting']})",
        "",
        "NumPy does not hand these to minigrad, and asks a tensor for an array. One that "
        "gradients flow through is none: a TypeError says so, with the line, and what to write. Of "
        "a constant one it is a copy. The same holds for lists of tensors in any function but "
        "those that join them (`np.stack`), for `out[i] = t` and `array.dot(t)`, and for "
        "`np.random`.",
        "",
        listed(rows["converting"][""]),
        "",
        f"## Not applicable ({counts['not applicable']})",
        "",
        "| functions | they |",
        "|---|---|",
        *[f"| {listed(names)} | {why} |" for why, names in rows["not applicable"].items()],
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
