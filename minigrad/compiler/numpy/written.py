"""Operations as lines of NumPy that write into an array which is there already.

Bit for bit what the operation's own `forward` gives, but for `sigmoid`, 1 / (1 + exp(-x)), and
`silu`, x / (1 + exp(-x)): right to 3 units in the last place, and 0 where they are below the least
normal number, as exp(-x) overflows there.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...core.tensor import OPS
from ...ops import elementwise, shape
from ..program import Op, View, held

__all__ = ["OVERFLOWING", "Written", "written"]

OVERFLOWING = (elementwise.sigmoid, elementwise.silu)
"""What is written with an exponential that may overflow, rightly."""


class Written(NamedTuple):
    """Lines with `{0}`, `{1}` for the operands, `{all}` for all of them, and `{out}`.

    `dtypes` are those that operands which are numbers take, if it matters. `over`: each element
    of the result may be written over those of the operands that it depends on.
    """

    lines: tuple[str, ...]
    dtypes: tuple[Any, ...] = ()
    over: bool = False


def written(op: Op) -> Written | None:
    """Return how an operation is done in the place of its result; None if its forward is called."""
    views = [a for a in op.args if isinstance(a, View)]
    if op.several or not views or any(isinstance(v, View) for v in held(op.params)):
        return None
    if any(v.dtype.kind not in "fiub" for v in views):
        return None
    forward = _UFUNCS.get(op.does.forward, op.does.forward)
    if op.does is OPS[np.matmul]:
        forward = np.matmul
    if isinstance(forward, np.ufunc):
        return None if op.params else _ufunc(op, forward)
    if any(v.dtype != op.out.dtype for v in views) or not isinstance(op.args[0], View):
        return None
    if op.does.forward is np.ascontiguousarray:
        return Written(("copyto({out}, {0})",))
    rule = _RULES.get(op.does)
    return rule(op) if rule else None


def _ufunc(op: Op, ufunc: np.ufunc) -> Written | None:
    """A ufunc in the dtypes that it takes for these operands, Python's numbers among them."""
    if ufunc.nout != 1 or ufunc.nin != len(op.args):
        return None
    given = [a.dtype if isinstance(a, View) else _kind(a) for a in op.args]
    try:
        dtypes = ufunc.resolve_dtypes((*given, None))
    except TypeError:
        return None
    if dtypes[-1] != op.out.dtype:
        return None
    args = ", ".join([f"{{{k}}}" for k in range(ufunc.nin)])
    name = "out=" * (ufunc in (np.maximum, np.minimum))  # which may not have it by position
    lines = (f"{ufunc.__name__}({args}, {name}{{out}})",)
    return Written(lines, dtypes[:-1], over=ufunc.signature is None)


def _kind(number: Any) -> Any:
    return np.dtype(bool) if isinstance(number, bool) else type(number)


_UFUNCS: dict[Any, Any] = {
    operator.lt: np.less,
    operator.le: np.less_equal,
    operator.gt: np.greater,
    operator.ge: np.greater_equal,
    operator.eq: np.equal,
    operator.ne: np.not_equal,
    operator.invert: np.invert,
}


def _on_floats(*lines: str, over: bool = True) -> Callable[[Op], Written | None]:
    def rule(op: Op) -> Written | None:
        kind = op.out.dtype
        if kind not in (np.float32, np.float64):
            return None
        return Written(tuple([line.replace("float_", f"{kind}_") for line in lines]), over=over)

    return rule


def _power(op: Op) -> Written | None:
    """What `x**2` is, and x to the other powers that NumPy has shorter ways for."""
    p = op.args[1]
    if op.out.dtype.kind != "f" or isinstance(p, (View, bool)):
        return None
    short = {2: "square", 1: "positive", 0.5: "sqrt", -1: "reciprocal"}.get(p)
    return Written((f"{short}({{0}}, {{out}})",), over=True) if short else None


def _reduction(ufunc: str) -> Callable[[Op], Written | None]:
    def rule(op: Op) -> Written | None:
        if op.out.dtype.kind != "f":
            return None
        axis, keep = op.params.get("axis"), bool(op.params.get("keepdims", False))
        return Written((f"{ufunc}.reduce({{0}}, {axis!r}, None, {{out}}, {keep})",))

    return rule


def _mean(op: Op) -> Written | None:
    (a,) = op.args
    if op.out.dtype not in (np.float32, np.float64) or not isinstance(a, View):
        return None
    size, parts = math.prod(a.shape), math.prod(op.out.shape)
    if not size:
        return None
    axis, keep = op.params.get("axis"), bool(op.params.get("keepdims", False))
    total = f"add.reduce({{0}}, {axis!r}, None, {{out}}, {keep})"
    return Written((total, f"divide({{out}}, {{{op.out.dtype}_{size // parts}}}, {{out}})"))


def _concatenate(op: Op) -> Written | None:
    axis = op.params.get("axis", 0)
    if axis is None or not all(isinstance(a, View) for a in op.args):
        return None
    return Written((f"concatenate(({{all}},), {axis}, {{out}})",))


_RULES: dict[Any, Callable[[Op], Written | None]] = {
    elementwise.sigmoid: _on_floats(
        "negative({0}, {out})",
        "exp({out}, {out})",
        "add({out}, {float_1}, {out})",
        "divide({float_1}, {out}, {out})",
    ),
    elementwise.relu: _on_floats("maximum({0}, {float_0}, out={out})"),
    elementwise.softplus: _on_floats("logaddexp({0}, {float_0}, {out})"),
    elementwise.silu: _on_floats(
        "negative({0}, {out})",
        "exp({out}, {out})",
        "add({out}, {float_1}, {out})",
        "divide({0}, {out}, {out})",
        over=False,
    ),
    elementwise.copy: lambda op: Written(("copyto({out}, {0})",), over=True),
    elementwise.power: _power,
    shape.concatenated: _concatenate,
    OPS[np.sum]: _reduction("add"),
    OPS[np.max]: _reduction("maximum"),
    OPS[np.min]: _reduction("minimum"),
    OPS[np.mean]: _mean,
}
