"""How every function of NumPy can be called, so that a tensor can stand where each argument does.

Most take the first of a few arrays and numbers; the others are listed. Also the methods of ufuncs,
and those of random generators.
"""

import inspect
import itertools
import warnings

import numpy as np
from numpy_coverage import functions

from minigrad.core import tree

X = np.array([[0.91, 0.22, 0.13], [0.15, 0.84, 0.37], [0.12, 0.26, 0.73]])
Y = np.array([[0.42, 0.31, 0.57], [0.61, 0.38, 0.29], [0.45, 0.17, 0.81]])
V, W, S = np.array([0.31, 0.62, 0.93]), np.array([0.55, 0.24, 0.71]), 0.7
FEW, MASK = np.array([0, 1, 2]), np.array([True, False, True])
POOLS = [[X, V, S, 2, [X, Y], (2, 3), FEW], [Y, W, 0.4, 2, FEW, (2, 3)], [0, FEW]]

CALLS = {
    "acosh": [(V + 1,)],
    "apply_along_axis": [(lambda v: (v**2).sum(), 0, X)],
    "apply_over_axes": [(np.sum, X, [0])],
    "arange": [(S,), (0.1, S), (0.1, 2.0, S)],
    "arccosh": [(V + 1,)],
    "array_split": [(V, [1])],
    "astype": [(V, float)],
    "average": [(V,), (V, None, W)],
    "bincount": [(FEW, V)],
    "block": [([[X, Y], [Y, X]],)],
    "bmat": [([[X, Y]],)],
    "broadcast_to": [(V, (2, 3))],
    "choose": [(np.array([0, 1, 0]), [V, W])],
    "clip": [(V, 0.4, 0.8)],
    "compress": [(MASK, X, 0)],
    "copyto": [(V, W)],
    "delete": [(V, 1)],
    "diff": [(V,), (V, 1, -1)],
    "digitize": [(V, np.array([0.0, 0.5, 1.0]))],
    "dsplit": [(np.ones((1, 1, 2)), [1])],
    "einsum": [("ij,j->i", X, V)],
    "einsum_path": [("ij,j->i", X, V)],
    "extract": [(V > 0.5, V)],
    "fft.fftfreq": [(4, 0.5)],
    "fft.rfftfreq": [(4, 0.5)],
    "fill_diagonal": [(X, V), (X, S)],
    "frombuffer": [(V,)],
    "fromfunction": [(lambda i, j: i + j, (2, 2))],
    "fromiter": [([S, S], float)],
    "frompyfunc": [(abs, 1, 1)],
    "fromstring": [("1 2", float, -1, " ")],
    "full": [(3, S), ((2, 3), V)],
    "full_like": [(X, V)],
    "geomspace": [(S, 2.0, 4)],
    "gradient": [(V,), (V, 0.5), (V, np.array([0.1, 0.2, 0.5]))],
    "heaviside": [(V, 0.5)],
    "histogram": [(V, 2), (V, np.array([0.0, 0.5, 1.0]))],
    "histogram2d": [(V, W, 2)],
    "histogramdd": [(X, 2)],
    "hsplit": [(X, [1])],
    "insert": [(V, 1, S), (V, [0, 1], V[:2])],
    "interp": [(V, np.array([0.0, 0.5, 1.0]), np.array([1.0, 3.0, 2.0]))],
    "ix_": [(FEW[:2], FEW[:2])],
    "kaiser": [(4, 0.5)],
    "kron": [(X, Y)],
    "ldexp": [(V, 2)],
    "lib.stride_tricks.as_strided": [(V, (2, 2), (8, 8))],
    "lib.stride_tricks.sliding_window_view": [(V, 2)],
    "linalg.cholesky": [(X @ X.T,)],
    "linalg.eigh": [(X @ X.T,)],
    "linalg.eigvalsh": [(X @ X.T,)],
    "linalg.multi_dot": [([X, Y, X],)],
    "linalg.tensorinv": [(X, 1)],
    "linspace": [(S, 2.0, 4)],
    "logspace": [(S, 2.0, 4)],
    "min_scalar_type": [(S,)],
    "nanpercentile": [(V, 40.0)],
    "nanquantile": [(V, 0.4)],
    "pad": [(V, 1), (V, 1, "constant")],
    "partition": [(V, 1)],
    "percentile": [(V, 40.0)],
    "piecewise": [(V, [V < 0.5, V >= 0.5], [lambda v: v**2, lambda v: -v])],
    "place": [(V, MASK, W)],
    "polyfit": [(V, W, 1)],
    "polyval": [(V, 0.5), (V, W)],
    "put": [(V, [0], S), (V, [0, 1], W[:2])],
    "put_along_axis": [(X, FEW[None], V, 0)],
    "putmask": [(V, MASK, W)],
    "quantile": [(V, 0.4)],
    "random.binomial": [(5, 0.5)],
    "random.choice": [(V, 2)],
    "random.dirichlet": [(V,)],
    "random.hypergeometric": [(5, 4, 3)],
    "random.multinomial": [(5, [0.2, 0.8])],
    "random.multivariate_normal": [(V, X @ X.T)],
    "random.negative_binomial": [(5, 0.5)],
    "random.triangular": [(0.1, 0.5, 0.9)],
    "ravel_multi_index": [((FEW[:2], FEW[:2]), (2, 2))],
    "repeat": [(V, 2)],
    "reshape": [(X, 9)],
    "resize": [(V, 4)],
    "roll": [(V, 1)],
    "rollaxis": [(X, 1)],
    "rot90": [(X,)],
    "searchsorted": [(V, 0.5)],
    "select": [([V < 0.5, V >= 0.5], [V, W], S)],
    "split": [(V, [1])],
    "take": [(V, FEW)],
    "take_along_axis": [(X, FEW[None], 0)],
    "tensordot": [(X, Y), (X, Y, 1)],
    "tile": [(V, 2)],
    "trapezoid": [(V,), (V, W)],
    "tri": [(3,)],
    "trim_zeros": [(V,)],
    "unpackbits": [(FEW.astype(np.uint8),)],
    "unravel_index": [(FEW, (2, 2))],
    "unstack": [(X,)],
    "vsplit": [(X, [1])],
    "where": [(MASK, V, W)],
    "Generator.multivariate_hypergeometric": [([5, 4, 3], 2)],
}
"""Arguments of the functions that take none of the pools, or of which others are worth a trial."""

NOT_CALLED = """
    busday_count busday_offset can_cast datetime_as_string datetime_data empty_like fft.test
    fromfile fromregex genfromtxt get_include get_printoptions getbufsize geterr geterrcall info
    is_busday isdtype isnat issubdtype linalg.test load loadtxt mask_indices mintypecode
    nested_iters printoptions promote_types random.get_bit_generator random.get_state random.seed
    random.set_bit_generator random.set_state random.test row_stack save savetxt savez
    savez_compressed set_printoptions setbufsize seterr seterrcall show_config show_runtime test
    typename
"""
"""Functions of files, of dates, of types and of NumPy's state; one that gives garbage, one gone."""

UFUNCS = ("add", "multiply", "maximum", "logaddexp", "subtract", "arctan2", "greater")


def callables():
    """Every function of NumPy by name, methods of some ufuncs, and those of a random generator."""
    found = {name: f for name, f in functions().items() if name not in NOT_CALLED.split()}
    for name in UFUNCS:
        ufunc = getattr(np, name)
        given = {"reduce": (X,), "accumulate": (X,), "outer": (V, W[:2]), "reduceat": (V, [0, 1])}
        for method, args in (given | {"at": (V, [0, 1], W[:2])}).items():
            found[f"{name}.{method}"] = getattr(ufunc, method)
            CALLS[f"{name}.{method}"] = [args]
    for name in dir(np.random.Generator):
        if not name.startswith("_") and name not in ("bit_generator", "spawn"):
            found[f"Generator.{name}"] = _of_generator(name)
            if f"random.{name}" in CALLS:
                CALLS[f"Generator.{name}"] = CALLS[f"random.{name}"]
    return found


def _of_generator(name):
    def method(*args, **options):
        return getattr(np.random.default_rng(0), name)(*args, **options)

    vars(method)["__wrapped__"] = getattr(np.random.Generator, name)
    return method


def fresh(args):
    """The same arguments, the arrays copied: some functions write into them."""
    return tree.map(lambda x: x.copy() if isinstance(x, np.ndarray) else x, args)


def calls(name, f):
    """Arguments that a function takes: those that are listed, or the first two of the pools."""
    if name in CALLS:
        return CALLS[name]
    found = []
    for n in (1, 2, 3):
        for args in itertools.product(*POOLS[:n]):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    f(*fresh(args))
            except Exception:
                continue
            found.append(args)
            if len(found) == 2:
                return found
        if found:
            return found
    return found


def options(f, args):
    """The names of the arguments that a call leaves out."""
    if isinstance(f, np.ufunc):
        return ["out", "where", "dtype"]
    try:
        parameters = [*inspect.signature(f).parameters.values()]
    except (ValueError, TypeError):  # methods of ufuncs, and what is built in
        return ["axis", "dtype", "out", "initial", "where"]
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    by_place = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [p.name for p in named if p not in by_place[: len(args)]]


def places(f, args):
    """Every place of a call that a tensor can take: its name, the call with x there, x as it was.

    An argument, one of a list of them, the list of its elements, and what the call leaves out.
    """
    leaves, structure = tree.flatten(tuple(args))
    names = tree.names(structure)
    for k, (name, a) in enumerate(zip(names, leaves, strict=True)):
        if isinstance(a, type):
            continue
        x = np.array(a if isinstance(a, (np.ndarray, float, int)) else 0.5, float)

        def put(x, k=k):
            return tree.unflatten(structure, [*leaves[:k], x, *leaves[k + 1 :]]), {}

        yield f"argument {name}", put, x
        yield f"argument {name}, a list", lambda x, put=put: put([*x] if x.ndim else [x]), x
    for name in options(f, args):
        for x in (np.array(0.5), V.copy()):
            yield f"{name}=", lambda x, name=name: (args, {name: x}), x
        if name != "out":
            yield f"{name}=[]", lambda x, name=name: (args, {name: [x]}), np.array(0.5)
