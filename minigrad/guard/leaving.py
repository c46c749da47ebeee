"""How a tensor leaves the graph: where it is said, never silently.

`.data`, `.numpy()`, `.item()`, `.tolist()`, `.detach()`, printing, formatting, comparing and `bool`
say so. Whatever else would make numbers of a live tensor comes here, for no gradient flows back
from them: `mg.grad` of `np.mean([a, b])` would be zero, and an optimiser content where it started.

    an array     np.array(t), np.mean([t, u]), out[i] = t, array.dot(t)     TypeError
    a number     float(t), int(t), math.exp(t), in a transform              TypeError
                 the same elsewhere, as in a training loop                  GraphWarning
                 the same under `no_grad`, where it is deliberate           as without a graph

A constant tensor may become either. What NumPy itself hands to us is differentiated.
"""

from __future__ import annotations

import dis
import sys
from types import FrameType
from typing import Any

import numpy as np

from .errors import NUMPY, GraphWarning, instruction_at, users_call, warn

__all__ = [
    "INSTEAD", "as_number", "described", "instruction", "may_be_rebound", "must_stay", "new_leaf",
    "no_array", "no_derivative", "no_writing", "not_recorded",
]  # fmt: skip

INSTEAD = {
    name: remedy
    for remedy, names in {
        "`x.at[i].set(v)`, for tensors are immutable":
            "copyto fill_diagonal place put put_along_axis putmask",
        "`x.at[i].multiply(v)`": "multiply.at",
        "`np.broadcast_to(t, shape)`": "full",
        "the function on the whole tensor, or `np.stack` of its results": "vectorize",
        "`np.lib.stride_tricks.sliding_window_view`, or indices": "as_strided",
        "call it on slices, and `np.stack` the results": "apply_along_axis",
        "the function with `axis=`": "apply_over_axes",
        "`np.where` or `np.select`": "choose piecewise",
        "`np.concatenate`": "insert",
        "`np.diff`": "ediff1d",
        "`x + np.spacing(x)`": "nextafter",
        "a slice": "trim_zeros",
        "arrays as indices": "ix_ ravel_multi_index",
        "`np.argsort`": "lexsort",
        "`np.sort`": "sort_complex",
        "`t[i]` with `_, i = np.unique(t.data, return_index=True)`": """
            intersect1d setdiff1d setxor1d union1d unique unique_all unique_counts unique_inverse
            unique_values""",
        "`t[~np.isnan(t)]`": "nanmedian nanpercentile nanquantile",
        "`np.mean` and `@`": "corrcoef cov",
        "`x.at[i].add(v)`": """
            add.at bincount histogram histogram2d histogram_bin_edges histogramdd""",
        "`np.stack` of the sums of slices": "add.reduceat",
        "Horner's rule, or `x[:, None] ** np.arange(n)`": """
            poly polyadd polyder polydiv polyfit polyint polymul polysub polyval roots vander""",
        "`base ** np.linspace(start, stop)`": "geomspace logspace",
        "`np.fmod(x, 1)` and `np.trunc(x)`": "modf",
        "`np.ldexp`": "frexp",
        "a primitive of your own, with `mg.define`": "i0 unwrap",
    }.items()
    for name in names.split()
}  # fmt: skip
"""What to write instead of a function of NumPy's that takes no live tensor."""


def described(t: Any) -> str:
    """Name a tensor, by its shape if it has no name."""
    return f"tensor {t.name!r}" if t.name else f"a tensor of shape {t.shape}"


def no_derivative(function: Any) -> TypeError:
    """Return the error that minigrad has no such operation, with what to write instead."""
    name = _full_name(function)
    instead = INSTEAD.get(name.removeprefix("numpy."))
    ways = f"instead: {_plain(instead)}; or " if instead else ""
    return TypeError(
        f"{name} has no derivative in minigrad; {ways}define it as a primitive (see mg.define), or "
        "take the array out of the graph with .data"
    )


def not_recorded(error: TypeError) -> TypeError:
    """Return the error of a function that takes no tensor, as it is in a compiled function."""
    return TypeError(
        f"mg.compile: {error}; a compiled function is recorded on tensors, in the place of arrays, "
        f"too\n    {users_call()}"
    )


def no_writing(function: Any) -> TypeError:
    """Return the error that a result cannot be written into an array, nor into a tensor."""
    name = _full_name(function)
    return TypeError(
        f"{name}: 'out' would be written into, but no gradients flow through arrays, and tensors "
        f"are immutable; write a = {name.replace('numpy', 'np')}(...), and a = a + t for a += t"
    )


def _full_name(function: Any) -> str:
    """Name a function of NumPy's, a ufunc, a method of a ufunc, or any other function."""
    ufunc = getattr(function, "__self__", function)
    if isinstance(ufunc, np.ufunc):
        known = getattr(np, ufunc.__name__, None) is ufunc
        names = ["numpy"] * known + [ufunc.__name__] + [function.__name__] * (function is not ufunc)
        return ".".join(names)
    return f"{function.__module__}.{function.__name__}"


def must_stay(t: Any, context: Any) -> bool:
    """Whether a transform is recording: then what leaves the graph cannot be meant."""
    return bool(t.live and context.transform and context.recording)


def no_array(t: Any) -> TypeError:
    """Return the error that a live tensor may not become an array, with the user's line."""
    call = users_call()
    instead = INSTEAD.get(call.function)
    ways = (
        f"instead of np.{call.function}: {_plain(instead)}"
        if instead
        else "write np.stack(list) for a list of tensors, out = mg.tensor(out).at[i].set(t) for "
        "out[i] = t, array @ t for array.dot(t)"
    )
    return TypeError(
        f"{described(t)}, through which gradients flow, would become an array, through which none "
        f"do\n    {call}\n{ways}; t.data is its array where no gradient is meant to flow"
    )


def as_number(t: Any, context: Any) -> Any:
    """Return the one number of a tensor, for Python: see above for what a live one may become."""
    if t.live:
        frame = sys._getframe(2)
        how = instruction(frame)
        if how == "STORE_SUBSCR" or frame.f_code.co_filename.startswith(NUMPY):
            raise no_array(t)
        if context.recording and how != "BINARY_OP":  # that is "%.3f" % t
            text = (
                f"{described(t)}, through which gradients flow, becomes a number, through which "
                "none do; "
            )
            if must_stay(t, context):
                raise TypeError(
                    f"{text}write np.exp(t) for math.exp(t), and t.item() where no gradient is "
                    f"meant to flow\n    {users_call()}"
                )
            text += "write t.item() if that is meant, or np.exp(t) for math.exp(t)"
            warn(text, GraphWarning)
    return t.value.item()


def new_leaf(t: Any, context: Any) -> None:
    """Warn that a result is copied into a leaf, from which no gradient goes on."""
    if t.live and t.primitive is not None and context.recording:
        warn(
            f"{described(t)} is copied into a leaf, and what it was computed from gets no gradient "
            "through that; write np.copy(t) if it should, t.detach() if not",
            GraphWarning,
        )


def may_be_rebound(t: Any, sign: str, context: Any) -> None:
    """Raise TypeError where `t -= y`, t being a leaf, is to move it: Python only rebinds the name.

    That is where nothing is recorded, or t has a gradient already; in a transform it is meant.
    """
    if t.live and not context.transform and not (context.recording and t.grad is None):
        name = t.name if t.name and t.name.isidentifier() else "t"
        raise TypeError(
            f"{described(t)} requires gradients, and {name} {sign} y would not change it but make "
            f"a new tensor: write {name}.data {sign} y, y being an array\n    {users_call()}"
        )


def instruction(frame: FrameType) -> str:
    """Name the instruction that a frame is at."""
    code = frame.f_code
    return dis.opname[code.co_code[instruction_at(code, frame.f_lasti)]]


def _plain(text: str) -> str:
    return text.replace("`", "")  # quotes of COVERAGE.md
