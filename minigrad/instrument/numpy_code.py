"""NumPy code, as people write it, made differentiable."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from types import CodeType, FunctionType, GeneratorType, MethodType
from typing import Any, TypeVar

import numpy as np

from ..core import tree
from ..core.tensor import Tensor, value_of
from .assignable import Assignable, NotFollowed, snapshots, wrapped
from .calls import Calls, Run, callee, running
from .held import carried_over, copied, generators, is_users, settle_names, settled, tensors
from .rewrite import Instrumented, codes_run, original

__all__ = ["numpy_code"]

F = TypeVar("F", bound=Callable[..., Any])
_unknown = object()
_NUMBERS = np.ndarray, np.generic, float, int


def numpy_code(f: F) -> F:
    """Return a function that does what f does, and that gradients flow through.

    f is NumPy code as one writes it: it may fill arrays that it has made (`h = np.zeros(...)`,
    `h[t] = ...`, `buf += x`, `out=`), multiply by `X.dot(W)`, collect numbers in `np.array([...])`,
    call `math.exp`, `float(x)`, `scipy.special.expit`, keep what it computes in dicts, lists and
    objects. Given Tensors, alone or nested in its arguments, as transforms do, the new function
    gives what f gives, with Tensors for arrays; given arrays alone, it is f.

    The first time, f is run on plain arrays as well, and both results are held against each other.
    What f returns are Tensors; what it keeps in objects or global names are arrays, through which
    no gradient flows.

    NotFollowed, a TypeError, says where gradients could not be followed and what to write instead;
    and where the results differ, as when random numbers are drawn anew in each run.

    >>> import minigrad as mg
    >>> @mg.numpy_code
    ... def last_state(w, xs):
    ...     h = np.zeros(len(xs) + 1)
    ...     for t, x in enumerate(xs):
    ...         h[t + 1] = np.tanh(w * h[t] + x)
    ...     return h[-1]
    >>> mg.grad(last_state)(0.5, np.array([1.0, -1.0]))  # doctest: +ELLIPSIS
    np.float64(0.5...)
    """
    known: Instrumented | None = None
    kind: Any = type(f)

    @functools.wraps(f)
    def run(*args: Any, **kwargs: Any) -> Any:
        kinds = {type(t) for t in tensors((args, kwargs))}
        if not kinds - {Assignable}:  # nothing to record, or it is recorded already
            return callee(f)(*args, **kwargs)
        nonlocal known
        function: Any = f
        given, instrumented = args, known
        if isinstance(f, MethodType):
            function, args = f.__func__, (f.__self__, *args)
        elif is_users(kind):
            function, args = kind.__call__, (f, *args)
        expected: Any = _unknown
        if instrumented is None:
            expected, codes = _plain_run(function, args, kwargs)
            known = instrumented = Instrumented(Calls, codes)
        try:
            result = _recorded_run(function, args, kwargs, instrumented)
            if expected is not _unknown:
                _same(function, expected, result)
            return result
        except Exception as error:
            refusal = _refusal(error)
            if refusal is None:
                raise
            known = None
            if expected is _unknown:  # other functions than the first time may have run
                return run(*given, **kwargs)
            raise _explained(refusal, error, instrumented.missing) from None

    vars(run)["records_numpy_code"] = True
    return run  # type: ignore[return-value]


# ---- the two runs ------------------------------------------------------------------------------


def _plain_run(f: Any, args: Any, kwargs: Any) -> tuple[Any, list[CodeType]]:
    """Run f on copies of everything, and leave what random numbers come from as it was."""
    args, kwargs = copied((args, kwargs), _as_array, {}, everything=True)
    token = running.set(None)
    rewind = _chance(f)
    try:
        return codes_run(lambda: f(*args, **kwargs))
    finally:
        running.reset(token)
        rewind()


def _chance(f: Any) -> Callable[[], None]:
    """Return what makes the next run draw the same random numbers as the one from here."""
    state = np.random.get_state()
    seen = [(g, g.bit_generator.state) for g in generators(f)]

    def rewind() -> None:
        np.random.set_state(state)
        for g, before in seen:
            g.bit_generator.state = before

    return rewind


def _recorded_run(f: Any, args: Any, kwargs: Any, instrumented: Instrumented) -> Any:
    copies: dict[int, tuple[Any, Any, Any]] = {}
    given = args, kwargs
    args, kwargs = copied(given, _as_assignable, copies)
    token, kept = running.set(Run(instrumented)), snapshots.set({})
    result, seen = None, dict[int, Any]()
    try:
        with instrumented:
            result = callee(f)(*args, **kwargs)
    finally:
        running.reset(token)
        snapshots.reset(kept)
        for x, made, before in copies.values():
            carried_over(x, made, before)
            seen[id(made)] = made, x
        result = settled(result, Assignable.now, seen)
        settled(given, _as_values, seen)
        settle_names([f, *[g for g, _ in instrumented.swaps]], _as_values, seen)
    if isinstance(result, GeneratorType):
        raise NotFollowed(f"{_described(f)} gives a generator; return a list of what it yields")
    return result


def _as_array(x: Any) -> Any:
    x = value_of(x)
    return x.copy() if x.ndim else x[()]


def _as_assignable(x: Any) -> Any:
    return wrapped(x) if isinstance(x, Tensor) else x


def _as_values(x: Assignable) -> Any:
    return x.value.copy() if x.ndim else x.value[()]


def _refusal(error: BaseException | None) -> NotFollowed | None:
    """Return the refusal that an error is, or that NumPy made it of."""
    while error is not None and not isinstance(error, NotFollowed):
        error = error.__cause__
    return error


def _explained(refusal: NotFollowed, error: BaseException, missing: list[CodeType]) -> NotFollowed:
    """Return a refusal, which says so if it comes from a function without hooks."""
    ran = [original(frame.f_code) for frame, _ in traceback.walk_tb(error.__traceback__)]
    for code in reversed(ran):
        if any(code is lost for lost in missing):
            return NotFollowed(
                f"{refusal}\nThe source of {code.co_qualname} is not known, or is not what runs, "
                "so calls in it are not followed: load it from a file or a notebook, as that is now"
            )
    return refusal


def _described(f: Any) -> str:
    code = f.__code__ if isinstance(f, FunctionType) else None
    where = f" ({code.co_filename}, line {code.co_firstlineno})" if code else ""
    return f"{getattr(f, '__qualname__', f)}{where}"


def _same(f: Any, expected: Any, result: Any) -> None:
    """Raise NotFollowed unless the recorded result is that of the plain run, but for rounding."""
    (wanted, structure), (found, _) = tree.flatten(expected), tree.flatten(result)
    if len(wanted) != len(found):
        raise _differs(f, "", f"{len(wanted)} values", f"{len(found)} values")
    for name, a, b in zip(
        tree.names(structure), map(value_of, wanted), map(value_of, found), strict=True
    ):
        if not isinstance(a, _NUMBERS) or not isinstance(b, _NUMBERS):
            continue
        a, b = np.asarray(a), np.asarray(b)
        if a.shape != b.shape:
            raise _differs(f, name, f"the shape {a.shape}", f"the shape {b.shape}")
        if a.dtype.kind not in "fiub" or b.dtype.kind not in "fiub":
            continue
        rounding = 1e4 * max(np.finfo(x.dtype).eps if x.dtype.kind == "f" else 0.0 for x in (a, b))
        with np.errstate(all="ignore"):
            size = np.max(np.abs(a), initial=0.0, where=np.isfinite(a))
            near = np.isclose(a, b, rounding, rounding * size, equal_nan=True)
        if not near.all():
            k = tuple(np.argwhere(~near)[0].tolist())
            raise _differs(f, f"{name}{list(k)}" if k else name, a[k], b[k])


def _differs(f: Any, path: str, a: Any, b: Any) -> NotFollowed:
    where = f" at {path}" if path else ""
    return NotFollowed(
        f"{_described(f)} gives {a} on arrays and {b} when it is recorded{where}. Each run must "
        "give the same: draw random numbers before it, or from a seed that it sets; keep no state "
        "from one run to the next; and load a file that was edited again"
    )
